//! The elements of a big collection: members of a set or sorted set, fields of a hash. They are what keys are to a database - named, hashed, some
//! with a value, some expiring - so this is one, and grows, shrinks, scans and is captured by snapshots like one.

use super::db::{Db, SetExpire};
use super::entry::{Alias, Entry, Key, OwnedEntry, StrRef};
use super::hasher::KeyHasher;
use super::snapshot::{Chunk, SnapshotId};
use super::{DbIndex, UnixMs};

/// A big collection's elements by name.
pub struct Members(Db);

impl Members {
    pub(super) fn new(hasher: &KeyHasher) -> Self {
        Members(Db::in_order(hasher.clone()))
    }
    pub fn len(&self) -> u64 {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    #[inline]
    pub(super) fn key<'a>(&self, name: &'a [u8]) -> Key<'a> {
        Key { bytes: name, hash: self.0.hasher().hash(name) }
    }
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<&Entry> {
        self.0.get(self.key(name))
    }
    /// Puts a name in without a value; false if it was there.
    pub(super) fn insert_name(&mut self, name: &[u8]) -> bool {
        let key = self.key(name);
        // Without a look-up it would be written for nothing, which a running snapshot would pay for.
        self.0.get(key).is_none() && !self.0.set_value(key, StrRef::Bytes(b""), SetExpire::Clear)
    }
    /// Sets a name's value; true if the name was there.
    pub(super) fn set(&mut self, name: &[u8], value: StrRef<'_>, expire: SetExpire) -> bool {
        self.0.set_value(self.key(name), value, expire)
    }
    /// Puts a name in that is not there, with a number. Whoever keeps the pointer must forget it before the name is removed.
    pub(super) fn insert_int(&mut self, key: Key<'_>, value: i64) -> Alias {
        self.0.insert_int(key, value)
    }
    /// Overwrites a name's number, in place.
    pub(super) fn set_int(&mut self, key: Key<'_>, value: i64) {
        let existed = self.0.set_value(key, StrRef::Int(value), SetExpire::Clear);
        assert!(existed, "a name that is there");
    }
    /// Takes out the element that `insert_int` gave this pointer to; `hash` is its name's.
    pub(super) fn take_alias(&mut self, hash: u64, alias: Alias) -> OwnedEntry {
        self.0.take_alias(hash, alias)
    }
    /// For an element that has been taken out.
    pub(super) fn discard(&mut self, entry: OwnedEntry) {
        self.0.discard(entry, false);
    }
    pub(super) fn set_expire(&mut self, name: &[u8], expire: Option<UnixMs>) -> bool {
        self.0.set_expire(self.key(name), expire)
    }
    /// Elements that expire.
    pub fn expires_len(&self) -> u64 {
        self.0.expires_len()
    }
    /// The element that expires first, and when.
    pub fn first_expiring(&self) -> Option<(UnixMs, &Entry)> {
        self.0.first_expiring()
    }
    /// Elements that expire before `now`.
    pub fn expiring_before(&self, now: UnixMs) -> u64 {
        self.0.expiring_before(now)
    }
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        self.0.remove(self.key(name), false)
    }
    /// As `Db::scan`.
    pub fn scan(&self, cursor: u64, count: usize, f: &mut dyn FnMut(&Entry)) -> u64 {
        self.0.scan(cursor, count, f)
    }
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
    /// A uniformly chosen element; `random` gives 64-bit numbers.
    pub fn random(&self, random: &mut dyn FnMut() -> u64) -> Option<&Entry> {
        self.0.random(random)
    }
    pub(super) fn db(&self) -> &Db {
        &self.0
    }
    pub(super) fn db_mut(&mut self) -> &mut Db {
        &mut self.0
    }
    pub(super) fn allocated(&self) -> usize {
        self.0.allocated()
    }
    pub(super) fn deep_copy(&self) -> Members {
        let mut copy = Members::new(self.0.hasher());
        for entry in self.iter() {
            let key = self.key(entry.key());
            copy.0.insert(key.hash, self.0.copy_of(key).expect("it has just been seen"));
        }
        copy
    }

    pub(super) fn begin_snapshot(&mut self, id: SnapshotId) {
        self.0.begin_snapshot(id, DbIndex(0));
    }
    /// As `Db::snapshot_step`; true when all elements have been captured.
    pub(super) fn snapshot_step(
        &mut self,
        id: SnapshotId,
        bytes_max: usize,
        budget_spent: &mut dyn FnMut() -> bool,
        chunks: &mut Vec<Chunk>,
    ) -> bool {
        self.0.snapshot_step(id, bytes_max, budget_spent, chunks);
        !self.0.is_wanted_by(id)
    }
    pub(super) fn end_snapshot(&mut self, id: SnapshotId) {
        self.0.end_snapshot(id);
    }
}
