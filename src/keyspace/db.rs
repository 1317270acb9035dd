//! A database: the main table, an index of the keys that expire, counts.

use super::entry::{Entry, Key, OwnedEntry, StrRef};
use super::snapshot::{SnapshotId, SnapshotStep};
use super::{DbIndex, UnixMs};

/// What a write does to a key's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetExpire {
    Keep,
    Clear,
    At(UnixMs),
}

/// All databases of a node, one hash seed for all. `Send`: built on another thread when loading.
pub struct Keyspace {
    dbs: Vec<Db>,
}

impl Keyspace {
    /// Databases 0 to `databases` - 1, empty. Seeds come from `env`'s randomness.
    pub fn new(databases: u32, hash_seed: u64) -> Self {
        let _ = (databases, hash_seed);
        todo!()
    }
    pub fn hash_seed(&self) -> u64 {
        todo!()
    }
    pub fn hash(&self, key: &[u8]) -> u64 {
        let _ = key;
        todo!()
    }
    pub fn databases(&self) -> u32 {
        self.dbs.len() as u32
    }
    pub fn db(&self, db: DbIndex) -> &Db {
        &self.dbs[db.0 as usize]
    }
    pub fn db_mut(&mut self, db: DbIndex) -> &mut Db {
        &mut self.dbs[db.0 as usize]
    }
    /// SWAPDB.
    pub fn swap(&mut self, a: DbIndex, b: DbIndex) {
        let _ = (a, b);
        todo!()
    }
    /// Empties a database in constant time; what it held goes to running snapshots and then to `garbage` (see `take_garbage`).
    pub fn flush(&mut self, db: DbIndex) -> u64 {
        let _ = db;
        todo!()
    }
    /// Puts `loaded`'s databases in the place of this keyspace's (same hash seed); old ones become garbage, running snapshots keep their image.
    pub fn replace(&mut self, loaded: Keyspace) {
        let _ = loaded;
        todo!()
    }
    /// Discarded values too big to free in a turn (flushed tables, long strings of UNLINK): dropped by the caller on another thread.
    pub fn take_garbage(&mut self) -> Option<Box<dyn Send>> {
        todo!()
    }
    /// Allocated bytes of keys, values and tables.
    pub fn allocated(&self) -> usize {
        todo!()
    }
    /// Fixes a snapshot's cut at this moment, in constant time.
    pub fn begin_snapshot(&mut self) -> SnapshotId {
        todo!()
    }
    /// Visits buckets not yet captured until about `bytes_max` bytes are captured or `budget_spent` (asked every few buckets) says
    /// stop. Empties what writes have captured meanwhile.
    pub fn snapshot_step(&mut self, id: SnapshotId, bytes_max: usize, budget_spent: &mut dyn FnMut() -> bool) -> SnapshotStep {
        let _ = (id, bytes_max, budget_spent);
        todo!()
    }
    /// Bytes that writes have captured for a snapshot and that no step has fetched yet.
    pub fn snapshot_pending(&self, id: SnapshotId) -> usize {
        let _ = id;
        todo!()
    }
    /// Drops a snapshot that is not wanted any more.
    pub fn end_snapshot(&mut self, id: SnapshotId) {
        let _ = id;
        todo!()
    }
}

/// One database. Reads do not look at expiry times: callers compare `Entry::expire_at` with their own now, because a slave must not delete.
pub struct Db {}

impl Db {
    pub fn len(&self) -> u64 {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Keys with an expiry.
    pub fn expires_len(&self) -> u64 {
        todo!()
    }
    /// Average TTL in ms as sampled by the active expiry cycle, for INFO keyspace.
    pub fn avg_ttl(&self) -> i64 {
        todo!()
    }

    /// Stage one: asks the CPU for the bucket of `hash`.
    pub fn prefetch_bucket(&self, hash: u64) {
        let _ = hash;
        todo!()
    }
    /// Stage two: asks the CPU for the entries in that bucket whose tag matches.
    pub fn prefetch_entry(&self, hash: u64) {
        let _ = hash;
        todo!()
    }

    pub fn get(&self, key: Key<'_>) -> Option<&Entry> {
        let _ = key;
        todo!()
    }
    /// Creates or overwrites with a string; `value` is stored as `int` where it is one. True if the key existed.
    pub fn set_string(&mut self, key: Key<'_>, value: &[u8], expire: SetExpire) -> bool {
        let _ = (key, value, expire);
        todo!()
    }
    /// Like `set_string`, for a number (INCR): in place where it can.
    pub fn set_int(&mut self, key: Key<'_>, value: i64, expire: SetExpire) -> bool {
        let _ = (key, value, expire);
        todo!()
    }
    /// Appends to a string value, or creates it; amortised O(len of `tail`). Returns the new length. The value becomes raw. The key must not hold another type.
    pub fn append(&mut self, key: Key<'_>, tail: &[u8]) -> usize {
        let _ = (key, tail);
        todo!()
    }
    /// SETRANGE: overwrites at `offset`, padding with zeros; creates the key if need be. Returns the new length.
    pub fn set_range(&mut self, key: Key<'_>, offset: usize, value: &[u8]) -> usize {
        let _ = (key, offset, value);
        todo!()
    }
    /// Deletes; true if it existed. A long value goes to garbage when `lazy`.
    pub fn remove(&mut self, key: Key<'_>, lazy: bool) -> bool {
        let _ = (key, lazy);
        todo!()
    }
    /// Takes an entry out.
    pub fn take(&mut self, key: Key<'_>) -> Option<OwnedEntry> {
        let _ = key;
        todo!()
    }
    /// Puts an entry in under its own key, whose hash is `hash`; replaces what was there. True if it replaced.
    pub fn insert(&mut self, hash: u64, entry: OwnedEntry) -> bool {
        let _ = (hash, entry);
        todo!()
    }
    /// A copy of an entry (COPY); long values are shared.
    pub fn copy_of(&self, key: Key<'_>) -> Option<OwnedEntry> {
        let _ = key;
        todo!()
    }
    /// Sets or clears the expiry; false if there is no such key.
    pub fn set_expire(&mut self, key: Key<'_>, expire: Option<UnixMs>) -> bool {
        let _ = (key, expire);
        todo!()
    }

    /// SCAN: calls `f` for every entry of at least one bucket from `cursor` on, until about `count` were seen; returns the next cursor, 0 at
    /// the end. Every entry that is there from a scan's start to its end is seen at least once, however the table grows or shrinks meanwhile.
    pub fn scan(&self, cursor: u64, count: usize, f: &mut dyn FnMut(&Entry)) -> u64 {
        let _ = (cursor, count, f);
        todo!()
    }
    /// Every entry, in hash order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let none: Option<&Entry> = todo!();
        none.into_iter()
    }
    /// A uniformly chosen entry for RANDOMKEY; `random` gives 64-bit numbers.
    pub fn random(&self, random: &mut dyn FnMut() -> u64) -> Option<&Entry> {
        let _ = random;
        todo!()
    }
    /// One small step of active expiry: visits about `count` entries that have an expiry from a cursor kept inside, and returns
    /// the keys that are due at `now`, and how many it looked at.
    pub fn expire_sample(&mut self, now: UnixMs, count: usize, due: &mut Vec<Vec<u8>>) -> usize {
        let _ = (now, count, due);
        todo!()
    }
    /// Housekeeping in small steps: shrinks segments that have become empty. True while there is more to do.
    pub fn shrink_step(&mut self) -> bool {
        todo!()
    }
    pub fn str_value(&self, key: Key<'_>) -> Option<StrRef<'_>> {
        let _ = key;
        todo!()
    }
}
