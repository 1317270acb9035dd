//! All databases of a node, the snapshots that run over them, and what is waiting to be freed.

use super::big::BigBox;
use super::db::Db;
use super::entry::OwnedEntry;
use super::eviction::Lfu;
use super::hasher::KeyHasher;
use super::snapshot::{Chunk, SnapshotId, SnapshotStep};
use super::{DbIndex, UnixMs};
use crate::types::limits::Limits;

/// All databases of a node, one hash seed for all. `Send`: built on another thread when loading.
pub struct Keyspace {
    dbs: Vec<Db>,
    hasher: KeyHasher,
    /// The time as entries keep it: for LRU as `lru_clock`, for LFU with its minutes.
    clock: AccessClock,
    is_lfu: bool,
    limits: Limits,
    /// Flushed or replaced databases that a snapshot has not seen all of.
    retired: Vec<Db>,
    garbage: Garbage,
    snapshots: Vec<Snapshot>,
    snapshots_begun: u64,
}

/// The 24 bits that an entry keeps of the time of its last access: seconds, wrapping after half a year.
#[inline]
pub fn lru_clock(now: UnixMs) -> u32 {
    (now.0 / 1000) as u32 & 0x00ff_ffff
}

/// What accesses write into entries, until the clock goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct AccessClock {
    /// 0 under LFU: the bits outlive a value then.
    lru: u32,
    /// The bits of a new entry.
    fresh: u32,
}

struct Snapshot {
    id: SnapshotId,
    keys_done: u64,
    keys_total: u64,
}

#[derive(Default)]
struct Garbage {
    dbs: Vec<Db>,
    entries: Vec<OwnedEntry>,
    bigs: Vec<BigBox>,
}

impl Garbage {
    fn take_from(&mut self, db: &mut Db) {
        let (mut entries, mut bigs) = db.take_garbage();
        self.entries.append(&mut entries);
        self.bigs.append(&mut bigs);
    }
}

impl Keyspace {
    /// Databases 0 to `databases` - 1, empty. Seeds come from `env`'s randomness.
    pub fn new(databases: u32, hash_seed: u64) -> Self {
        let hasher = KeyHasher::new(hash_seed);
        let dbs = (0..databases).map(|_| Db::new(hasher.clone())).collect();
        Keyspace {
            dbs,
            hasher,
            clock: AccessClock::default(),
            is_lfu: false,
            limits: Limits::default(),
            retired: Vec::new(),
            garbage: Garbage::default(),
            snapshots: Vec::new(),
            snapshots_begun: 0,
        }
    }
    pub fn hash_seed(&self) -> u64 {
        self.hasher.seed()
    }
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }
    /// The time that entries get as their last access when they are written, until the next call.
    #[inline]
    pub fn set_clock(&mut self, now: UnixMs) {
        let clock = match self.is_lfu {
            // Never 0, which says LFU.
            false => AccessClock { lru: lru_clock(now).max(1), fresh: lru_clock(now).max(1) },
            true => AccessClock { lru: 0, fresh: Lfu::initial(Lfu::minutes_of(now.0)) },
        };
        if self.clock != clock {
            self.clock = clock;
            self.wind_access_clocks();
        }
    }
    fn wind_access_clocks(&mut self) {
        for db in &mut self.dbs {
            db.set_access_clocks(self.clock.lru, self.clock.fresh);
        }
    }
    /// Whether the access bits are LFU's, from the next `set_clock` on.
    pub fn set_lfu(&mut self, is_lfu: bool) {
        self.is_lfu = is_lfu;
    }
    /// The limits of compact forms, for collections that are changed from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        for db in &mut self.dbs {
            db.set_limits(limits);
        }
    }
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }
    pub(super) fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }
    /// What an access writes into an entry; 0 under LFU, where `Lfu` computes it.
    #[inline]
    pub fn access_clock(&self) -> u32 {
        self.clock.lru
    }
    pub fn databases(&self) -> u32 {
        self.dbs.len() as u32
    }
    #[inline]
    pub fn db(&self, db: DbIndex) -> &Db {
        &self.dbs[db.0 as usize]
    }
    #[inline]
    pub fn db_mut(&mut self, db: DbIndex) -> &mut Db {
        &mut self.dbs[db.0 as usize]
    }
    /// SWAPDB.
    pub fn swap(&mut self, a: DbIndex, b: DbIndex) {
        self.dbs.swap(a.0 as usize, b.0 as usize);
    }
    /// Empties a database in constant time; what it held goes to running snapshots and then to `garbage` (see `take_garbage`). Returns how
    /// many keys there were.
    pub fn flush(&mut self, db: DbIndex) -> u64 {
        let mut empty = Db::new(self.hasher.clone());
        empty.set_access_clocks(self.clock.lru, self.clock.fresh);
        empty.set_limits(self.limits);
        let old = std::mem::replace(self.db_mut(db), empty);
        let keys = old.len();
        self.retire(old);
        keys
    }
    /// Puts `loaded`'s databases in the place of this keyspace's (same hash seed); old ones become garbage, running snapshots keep their image.
    pub fn replace(&mut self, loaded: Keyspace) {
        assert_eq!(loaded.hash_seed(), self.hash_seed());
        assert_eq!(loaded.databases(), self.databases());
        assert!(loaded.snapshots.is_empty(), "snapshots are taken of what is being served");
        let Keyspace { dbs, mut garbage, .. } = loaded;
        for old in std::mem::replace(&mut self.dbs, dbs) {
            self.retire(old);
        }
        self.wind_access_clocks();
        self.set_limits(self.limits);
        self.garbage.dbs.append(&mut garbage.dbs);
        self.garbage.entries.append(&mut garbage.entries);
        self.garbage.bigs.append(&mut garbage.bigs);
    }
    fn retire(&mut self, mut old: Db) {
        self.garbage.take_from(&mut old);
        if !old.is_all_captured() {
            self.retired.push(old);
        } else if !old.is_empty() {
            self.garbage.dbs.push(old);
        }
    }
    /// Lets go of the retired databases that no snapshot needs any more.
    fn release(&mut self) {
        for old in std::mem::take(&mut self.retired) {
            self.retire(old);
        }
    }
    /// Discarded values too big to free in a turn (flushed tables, long strings of UNLINK): dropped by the caller on another thread.
    pub fn take_garbage(&mut self) -> Option<Box<dyn Send>> {
        for db in &mut self.dbs {
            self.garbage.take_from(db);
        }
        if self.garbage.dbs.is_empty() && self.garbage.entries.is_empty() && self.garbage.bigs.is_empty() {
            return None;
        }
        Some(Box::new(std::mem::take(&mut self.garbage)))
    }
    /// Allocated bytes of keys, values and tables.
    pub fn allocated(&self) -> usize {
        self.dbs.iter().chain(&self.retired).map(Db::allocated).sum()
    }

    /// Fixes a snapshot's cut at this moment, in constant time.
    pub fn begin_snapshot(&mut self) -> SnapshotId {
        self.snapshots_begun += 1;
        let id = SnapshotId(self.snapshots_begun);
        for (db, number) in self.dbs.iter_mut().zip(0..) {
            db.begin_snapshot(id, DbIndex(number));
        }
        self.snapshots.push(Snapshot { id, keys_done: 0, keys_total: self.dbs.iter().map(Db::len).sum() });
        id
    }
    /// Visits buckets not yet captured until about `bytes_max` bytes are captured or `budget_spent` (asked every few buckets) says
    /// stop. Empties what writes have captured meanwhile. A snapshot that is over or unknown is `done`, with nothing in it.
    pub fn snapshot_step(&mut self, id: SnapshotId, bytes_max: usize, budget_spent: &mut dyn FnMut() -> bool) -> SnapshotStep {
        let mut chunks = Vec::new();
        let (mut keys, mut done) = (0, true);
        let (mut bytes_left, mut spent) = (bytes_max, false);
        let mut dbs: Vec<&mut Db> = self.dbs.iter_mut().chain(&mut self.retired).collect();
        // A collection's elements are not mixed with another's.
        dbs.sort_by_key(|db| !db.is_amid_collection(id));
        for db in dbs {
            let fetched = chunks.len();
            let visit_bytes = if spent { 0 } else { bytes_left };
            let mut is_spent = || {
                spent |= budget_spent();
                spent
            };
            keys += db.snapshot_step(id, visit_bytes, &mut is_spent, &mut chunks);
            bytes_left = bytes_left.saturating_sub(chunks[fetched..].iter().map(Chunk::size).sum());
            done &= !db.is_wanted_by(id);
        }
        let mut step = SnapshotStep { chunks, done, keys_done: keys, keys_total: keys };
        if let Some(snapshot) = self.snapshots.iter_mut().find(|snapshot| snapshot.id == id) {
            snapshot.keys_done += keys;
            (step.keys_done, step.keys_total) = (snapshot.keys_done, snapshot.keys_total);
        }
        if done {
            self.end_snapshot(id);
        }
        step
    }
    /// Bytes that writes have captured for a snapshot and that no step has fetched yet.
    pub fn snapshot_pending(&self, id: SnapshotId) -> usize {
        self.dbs.iter().chain(&self.retired).map(|db| db.snapshot_pending(id)).sum()
    }
    /// Whether that snapshot has yet to see something.
    pub fn is_captured_by(&self, id: SnapshotId) -> bool {
        self.snapshots.iter().any(|snapshot| snapshot.id == id)
    }
    /// Drops a snapshot that is not wanted any more.
    pub fn end_snapshot(&mut self, id: SnapshotId) {
        for db in self.dbs.iter_mut().chain(&mut self.retired) {
            db.end_snapshot(id);
        }
        self.snapshots.retain(|snapshot| snapshot.id != id);
        self.release();
    }
}
