//! A database's indexes of what expires, and counts of streams. `Db` tells them of every entry that comes, goes, moves or changes its times.
//!
//! Keys that expire are in a table that the active cycle samples. The fields of a big hash (a database of their own) are in order instead, and so
//! are the hashes of whose fields some expire, by the first of these: there nothing has to be looked for.

use super::UnixMs;
use super::due::{Due, Timed};
use super::entry::{Alias, Entry, OwnedEntry};
use super::expires::Expires;
use super::hasher::KeyHasher;
use crate::types::stream::{Facts, Stream};

enum Keys {
    Sampled(Expires),
    Ordered(Due),
}

pub(super) struct Index {
    keys: Keys,
    /// Hashes by the moment when the first of their fields expires.
    hashes: Due,
    /// Streams by what they know at most beside their entries.
    streams: [u64; Facts::KINDS],
}

/// What the indexes must know of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    alias: Alias,
    expire: Option<UnixMs>,
    fields: Option<UnixMs>,
    stream: Option<Facts>,
}

impl Marks {
    #[inline]
    pub(super) fn of(entry: &OwnedEntry) -> Self {
        // SAFETY: `Db` takes an entry's alias out of the indexes before it drops or reallocates the entry, and looks at no other aliases.
        let alias = unsafe { entry.alias() };
        let entry = entry.entry();
        let stream = entry.stream().map(Stream::facts_at_most);
        Marks { alias, expire: entry.expire_at(), fields: entry.hash().and_then(|hash| hash.next_expiry()), stream }
    }
    fn timed(self, at: Option<UnixMs>) -> Option<Timed> {
        at.map(|at| Timed { at, alias: self.alias })
    }
}

impl Index {
    pub(super) fn sampled() -> Self {
        Index::of(Keys::Sampled(Expires::new()))
    }
    pub(super) fn ordered() -> Self {
        Index::of(Keys::Ordered(Due::default()))
    }
    fn of(keys: Keys) -> Self {
        Index { keys, hashes: Due::default(), streams: [0; Facts::KINDS] }
    }
    /// The most that any stream may know beside its entries.
    pub(super) fn stream_facts(&self) -> Facts {
        let is_there = |facts: &Facts| self.streams[*facts as usize] > 0;
        [Facts::Activity, Facts::History].into_iter().find(is_there).unwrap_or_default()
    }
    /// Whether it must hear of a key whose expiry has changed where the key stands.
    #[inline]
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self.keys, Keys::Ordered(_))
    }
    /// The keys that expire, where they are sampled.
    pub(super) fn sampler(&self) -> Option<&Expires> {
        match &self.keys {
            Keys::Sampled(expires) => Some(expires),
            Keys::Ordered(_) => None,
        }
    }
    pub(super) fn sampler_mut(&mut self) -> Option<&mut Expires> {
        match &mut self.keys {
            Keys::Sampled(expires) => Some(expires),
            Keys::Ordered(_) => None,
        }
    }
    /// Keys that expire.
    pub(super) fn len(&self) -> u64 {
        match &self.keys {
            Keys::Sampled(expires) => expires.len() as u64,
            Keys::Ordered(due) => due.len(),
        }
    }
    /// The key that expires first, where they are in order.
    pub(super) fn first_key(&self) -> Option<(UnixMs, &Entry)> {
        match &self.keys {
            Keys::Sampled(_) => None,
            Keys::Ordered(due) => due.first(),
        }
    }
    /// Keys that expire before `now`, where they are in order.
    pub(super) fn keys_before(&self, now: UnixMs) -> u64 {
        match &self.keys {
            Keys::Sampled(_) => 0,
            Keys::Ordered(due) => due.before(now),
        }
    }
    pub(super) fn hashes(&self) -> &Due {
        &self.hashes
    }
    pub(super) fn allocated(&self) -> usize {
        let keys = match &self.keys {
            Keys::Sampled(expires) => expires.allocated(),
            Keys::Ordered(due) => due.allocated(),
        };
        keys + self.hashes.allocated()
    }
    /// An entry, `is`, takes the place of what `was`, both under the key with `hash`. To be called while that is alive, before it is dropped, and once
    /// `is` stays where it is.
    #[inline]
    pub(super) fn moved(&mut self, hash: u64, was: Option<Marks>, is: Option<Marks>, hasher: &KeyHasher) {
        let expires = |marks: Option<Marks>| marks.and_then(|marks| marks.timed(marks.expire));
        match (&mut self.keys, expires(was), expires(is)) {
            (_, None, None) => {}
            (Keys::Sampled(index), old, new) => index.moved(hash, old.map(|old| old.alias), new.map(|new| new.alias), hasher),
            (Keys::Ordered(index), old, new) => index.moved(old, new),
        }
        let fields = |marks: Option<Marks>| marks.and_then(|marks| marks.timed(marks.fields));
        let (old, new) = (fields(was), fields(is));
        if old.is_some() || new.is_some() {
            self.hashes.moved(old, new);
        }
        let stream = |marks: Option<Marks>| marks.and_then(|marks| marks.stream);
        if let Some(facts) = stream(was) {
            self.streams[facts as usize] -= 1;
        }
        if let Some(facts) = stream(is) {
            self.streams[facts as usize] += 1;
        }
    }
}
