//! A database's indexes of what expires. `Db` tells them of every entry that comes, goes, moves or changes its times.
//!
//! Keys that expire are in a table that the active cycle samples. The fields of a big hash (a database of their own) are in order instead, and so
//! are the hashes of whose fields some expire, by the first of these: there nothing has to be looked for.

use super::UnixMs;
use super::due::{Due, Timed};
use super::entry::{Alias, Entry, OwnedEntry};
use super::expires::Expires;
use super::hasher::KeyHasher;

enum Keys {
    Sampled(Expires),
    Ordered(Due),
}

pub(super) struct Index {
    keys: Keys,
    /// Hashes by the moment when the first of their fields expires.
    hashes: Due,
}

/// What the indexes must know of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    alias: Alias,
    expire: Option<UnixMs>,
    fields: Option<UnixMs>,
}

impl Marks {
    #[inline]
    pub(super) fn of(entry: &OwnedEntry) -> Self {
        // SAFETY: `Db` takes an entry's alias out of the indexes before it drops or reallocates the entry, and looks at no other aliases.
        let alias = unsafe { entry.alias() };
        let entry = entry.entry();
        Marks { alias, expire: entry.expire_at(), fields: entry.hash().and_then(|hash| hash.next_expiry()) }
    }
    fn timed(self, at: Option<UnixMs>) -> Option<Timed> {
        at.map(|at| Timed { at, alias: self.alias })
    }
}

impl Index {
    pub(super) fn sampled() -> Self {
        Index { keys: Keys::Sampled(Expires::new()), hashes: Due::default() }
    }
    pub(super) fn ordered() -> Self {
        Index { keys: Keys::Ordered(Due::default()), hashes: Due::default() }
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
    /// An entry, `new`, takes the place of `old`, both under the key with `hash`. To be called while `old` is alive, before it is dropped, and once
    /// `new` stays where it is.
    #[inline]
    pub(super) fn moved(&mut self, hash: u64, old: Option<Marks>, new: Option<Marks>, hasher: &KeyHasher) {
        let expires = |marks: Option<Marks>| marks.and_then(|marks| marks.timed(marks.expire));
        match (&mut self.keys, expires(old), expires(new)) {
            (_, None, None) => {}
            (Keys::Sampled(index), old, new) => index.moved(hash, old.map(|old| old.alias), new.map(|new| new.alias), hasher),
            (Keys::Ordered(index), old, new) => index.moved(old, new),
        }
        let fields = |marks: Option<Marks>| marks.and_then(|marks| marks.timed(marks.fields));
        let (old, new) = (fields(old), fields(new));
        if old.is_some() || new.is_some() {
            self.hashes.moved(old, new);
        }
    }
}
