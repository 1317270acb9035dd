//! A database: the main table, an index of the keys that expire, counts.
//!
//! Every change passes through here: it captures the bucket for running snapshots first (the table does, with `captures` as its guard),
//! then keeps the expiry index and the count of bytes in step.

use super::big::{BigBox, Value};
use super::entry::{Alias, Entry, Key, Kind, OwnedEntry, StrRef};
use super::expires::Expires;
use super::hasher::KeyHasher;
use super::index::{Index, Marks};
use super::snapshot::{Captures, Chunk, SnapshotId};
use super::table::{Slot, Table};
use super::{DbIndex, UnixMs};
use crate::types::limits::Limits;
use crate::types::stream::Facts;

/// Entries from this size on are freed elsewhere, whether the command asked for it or not.
const GARBAGE_BYTES: usize = 64 * 1024;

/// What a write does to a key's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetExpire {
    Keep,
    Clear,
    At(UnixMs),
}

/// What `Db::edit_collection` has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edited<R> {
    pub result: R,
    /// The collection has lost its last element, and the key is gone.
    pub emptied: bool,
}

impl SetExpire {
    /// The expiry of what is new.
    pub(super) fn at(self) -> Option<UnixMs> {
        self.apply(None)
    }
    fn apply(self, old: Option<UnixMs>) -> Option<UnixMs> {
        match self {
            SetExpire::Keep => old,
            SetExpire::Clear => None,
            SetExpire::At(at) => Some(at),
        }
    }
}

impl Slot for OwnedEntry {
    #[inline]
    fn hash(&self, hasher: &KeyHasher) -> u64 {
        hasher.hash(self.entry().key())
    }
    #[inline]
    fn prefetch(&self) {
        self.entry().prefetch();
    }
}

/// An entry that comes without access bits (RENAME and RDB bring some along) gets those of a new one.
#[inline]
fn started(entry: &OwnedEntry, fresh_access: u32) {
    if entry.entry().lru() == 0 {
        entry.entry().set_lru(fresh_access);
    }
}

/// Bytes of a database's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableBytes {
    pub keys: usize,
    pub expires: usize,
}

/// One database. Reads do not look at expiry times: callers compare `Entry::expire_at` with their own now, because a slave must not delete.
pub struct Db {
    table: Table<OwnedEntry>,
    index: Index,
    captures: Captures,
    hasher: KeyHasher,
    /// Allocated for entries.
    entry_bytes: usize,
    garbage: Vec<OwnedEntry>,
    /// Big collections that snapshots have let go of.
    big_garbage: Vec<BigBox>,
    limits: Limits,
    /// The buffer of a block that is being changed.
    scratch: Vec<u8>,
    /// 0 under LFU.
    lru_clock: u32,
    /// The access bits of a new entry.
    fresh_access: u32,
}

#[inline]
fn same_key(key: Key<'_>) -> impl FnMut(&OwnedEntry) -> bool {
    move |slot| slot.entry().key() == key.bytes
}

impl Db {
    pub(super) fn new(hasher: KeyHasher) -> Self {
        Db::with_index(hasher, Index::sampled())
    }
    /// One whose keys are known in the order in which they expire.
    pub(super) fn in_order(hasher: KeyHasher) -> Self {
        Db::with_index(hasher, Index::ordered())
    }
    fn with_index(hasher: KeyHasher, index: Index) -> Self {
        Db {
            table: Table::new(),
            index,
            captures: Captures::default(),
            hasher,
            entry_bytes: 0,
            garbage: Vec::new(),
            big_garbage: Vec::new(),
            limits: Limits::default(),
            scratch: Vec::new(),
            lru_clock: 0,
            fresh_access: 0,
        }
    }
    pub(super) fn set_access_clocks(&mut self, lru_clock: u32, fresh_access: u32) {
        (self.lru_clock, self.fresh_access) = (lru_clock, fresh_access);
    }
    pub(super) fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }
    #[inline]
    pub fn len(&self) -> u64 {
        self.table.len() as u64
    }
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Keys with an expiry.
    pub fn expires_len(&self) -> u64 {
        self.index.len()
    }
    /// Average TTL in ms as sampled by the active expiry cycle, for INFO keyspace.
    pub fn avg_ttl(&self) -> i64 {
        self.index.sampler().map_or(0, Expires::avg_ttl)
    }
    /// Bytes allocated for tables, keys and values.
    pub fn allocated(&self) -> usize {
        self.entry_bytes + self.table.allocated() + self.index.allocated()
    }

    /// What the tables alone take.
    pub fn table_bytes(&self) -> TableBytes {
        TableBytes { keys: self.table.allocated(), expires: self.index.allocated() }
    }

    /// Stage one: asks the CPU for the bucket of `hash`.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        self.table.prefetch_bucket(hash);
    }
    /// Stage two: asks the CPU for the entries in that bucket whose tag matches.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        self.table.prefetch_slot(hash);
    }

    #[inline]
    pub fn get(&self, key: Key<'_>) -> Option<&Entry> {
        self.table.get(key.hash, same_key(key)).map(OwnedEntry::entry)
    }
    #[inline]
    pub fn str_value(&self, key: Key<'_>) -> Option<StrRef<'_>> {
        self.get(key).and_then(Entry::string)
    }
    /// Creates or overwrites with a string; `value` is stored as `int` where it is one. True if the key existed.
    #[inline]
    pub fn set_string(&mut self, key: Key<'_>, value: &[u8], expire: SetExpire) -> bool {
        self.set_value(key, StrRef::encode(value), expire)
    }
    /// Like `set_string`, for a number (INCR): in place where it can.
    #[inline]
    pub fn set_int(&mut self, key: Key<'_>, value: i64, expire: SetExpire) -> bool {
        self.set_value(key, StrRef::Int(value), expire)
    }
    #[inline]
    pub(super) fn set_value(&mut self, key: Key<'_>, value: StrRef<'_>, expire: SetExpire) -> bool {
        let Some(slot) = self.table.get_mut(key.hash, same_key(key), &mut self.captures) else {
            self.insert_new(key.hash, OwnedEntry::new_string(key.bytes, value, expire.apply(None)));
            return false;
        };
        let old = self.index.is_ordered().then(|| Marks::of(slot));
        let expire = expire.apply(slot.entry().expire_at());
        // Without a clock (LFU) the access bits outlive the value.
        let lru = if self.lru_clock == 0 { slot.entry().lru() } else { self.lru_clock };
        if !slot.overwrite(value, expire) {
            let new = OwnedEntry::new_string(key.bytes, value, expire);
            new.entry().set_lru(lru);
            let old = std::mem::replace(slot, new);
            let new = (Marks::of(slot), slot.entry().allocated());
            self.replaced(key.hash, old, new);
            return true;
        }
        slot.entry().set_lru(lru);
        if let Some(old) = old {
            let new = Marks::of(slot);
            self.index.moved(key.hash, Some(old), Some(new), &self.hasher);
        }
        true
    }
    /// Appends to a string value, or creates it; amortised O(len of `tail`). Returns the new length. The value becomes raw. The key must not hold another type.
    pub fn append(&mut self, key: Key<'_>, tail: &[u8]) -> usize {
        if let Some(len) = self.edit(key, |entry| entry.append(tail)) {
            return len;
        }
        // Redis encodes what APPEND creates as it does SET's values.
        self.insert_new(key.hash, OwnedEntry::new_string(key.bytes, StrRef::encode(tail), None));
        tail.len()
    }
    /// SETRANGE: overwrites at `offset`, padding with zeros; creates the key if need be. Returns the new length. Without any bytes to write it
    /// changes nothing, and the length is what there was.
    pub fn set_range(&mut self, key: Key<'_>, offset: usize, value: &[u8]) -> usize {
        if value.is_empty() {
            return self.str_value(key).map_or(0, StrRef::len);
        }
        if let Some(len) = self.edit(key, |entry| entry.write_at(offset, value)) {
            return len;
        }
        self.insert_new(key.hash, OwnedEntry::new_range(key.bytes, offset, value));
        offset + value.len()
    }
    /// Changes a string's bytes in place (SETBIT, BITFIELD, PFADD): `change` gets at least `len` of them, zeros behind the old end. Creates the
    /// key if need be. The value becomes raw. The key must not hold another type.
    pub fn modify_bytes<R>(&mut self, key: Key<'_>, len: usize, change: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut change = Some(change);
        let mut run = |bytes: &mut [u8]| (change.take().expect("runs once"))(bytes);
        if let Some(result) = self.edit(key, |entry| entry.modify(len, &mut run)) {
            return result;
        }
        let mut bytes = vec![0; len];
        let result = run(&mut bytes);
        self.insert_new(key.hash, OwnedEntry::new_raw(key.bytes, bytes, None));
        result
    }
    /// Creates or overwrites with a string that is raw whatever its length.
    pub fn set_raw(&mut self, key: Key<'_>, bytes: Vec<u8>, expire: SetExpire) {
        let old = self.get(key).and_then(Entry::expire_at);
        self.insert(key.hash, OwnedEntry::new_raw(key.bytes, bytes, expire.apply(old)));
    }
    /// Changes an entry, which `change` may reallocate; it must not change whether there is an expiry.
    fn edit<R>(&mut self, key: Key<'_>, change: impl FnOnce(&mut OwnedEntry) -> R) -> Option<R> {
        let slot = self.table.get_mut(key.hash, same_key(key), &mut self.captures)?;
        let (old, old_bytes) = (Marks::of(slot), slot.entry().allocated());
        let result = change(slot);
        self.entry_bytes = self.entry_bytes - old_bytes + slot.entry().allocated();
        let new = Marks::of(slot);
        if old != new {
            self.index.moved(key.hash, Some(old), Some(new), &self.hasher);
        }
        Some(result)
    }
    /// Deletes; true if it existed. A long value goes to garbage when `lazy`.
    pub fn remove(&mut self, key: Key<'_>, lazy: bool) -> bool {
        let Some(entry) = self.take(key) else { return false };
        self.discard(entry, lazy);
        true
    }
    /// Takes an entry out.
    pub fn take(&mut self, key: Key<'_>) -> Option<OwnedEntry> {
        let entry = self.table.remove(key.hash, same_key(key), &self.hasher, &mut self.captures)?;
        self.entry_bytes -= entry.entry().allocated();
        self.index.moved(key.hash, Some(Marks::of(&entry)), None, &self.hasher);
        Some(entry)
    }
    /// Puts an entry in under its own key, whose hash is `hash`; replaces what was there. True if it replaced.
    pub fn insert(&mut self, hash: u64, entry: OwnedEntry) -> bool {
        let key = Key { bytes: entry.entry().key(), hash };
        let Some(slot) = self.table.get_mut(hash, same_key(key), &mut self.captures) else {
            self.insert_new(hash, entry);
            return false;
        };
        started(&entry, self.fresh_access);
        let old = std::mem::replace(slot, entry);
        let new = (Marks::of(slot), slot.entry().allocated());
        self.replaced(hash, old, new);
        true
    }
    /// A copy of an entry (COPY); long strings and blocks are shared until one of them is changed.
    pub fn copy_of(&self, key: Key<'_>) -> Option<OwnedEntry> {
        self.table.get(key.hash, same_key(key)).map(|entry| entry.copy_with_key(key.bytes))
    }
    /// Changes a collection, or creates it when `create` says so; one that is empty afterwards is gone. `None` if there is none. The key must
    /// not hold another type.
    pub(super) fn edit_collection<R>(
        &mut self,
        key: Key<'_>,
        kind: Kind,
        create: bool,
        change: impl FnOnce(&mut Value, &Limits, &KeyHasher) -> R,
    ) -> Option<Edited<R>> {
        let scratch = std::mem::take(&mut self.scratch);
        let Some(slot) = self.table.get_mut(key.hash, same_key(key), &mut self.captures) else {
            if !create {
                self.scratch = scratch;
                return None;
            }
            let mut value = Value::new(scratch);
            let result = change(&mut value, &self.limits, &self.hasher);
            let entry = OwnedEntry::from_value(key.bytes, kind, &mut value, None);
            self.scratch = value.into_scratch();
            let emptied = entry.is_none();
            if let Some(entry) = entry {
                self.insert_new(key.hash, entry);
            }
            return Some(Edited { result, emptied });
        };
        assert!(slot.entry().kind() == kind);
        let (old, old_bytes) = (Marks::of(slot), slot.entry().allocated());
        let mut value = slot.take_value(scratch);
        let result = change(&mut value, &self.limits, &self.hasher);
        if value.is_empty() && kind != Kind::Stream {
            // Put back as it is, the entry would be one that cannot be; `take` wants its size
            // and its times as they were counted.
            self.entry_bytes -= old_bytes;
            self.entry_bytes += slot.entry().allocated();
            let new = Marks::of(slot);
            self.index.moved(key.hash, Some(old), Some(new), &self.hasher);
            let entry = self.take(key).expect("it has just been changed");
            self.discard(entry, false);
            self.scratch = value.into_scratch();
            return Some(Edited { result, emptied: true });
        }
        if let Value::Big(big) = &mut value
            && let Some(members) = big.get_mut().members_mut()
        {
            self.garbage.append(&mut members.db_mut().take_garbage().0);
            // Nobody else comes by: what has lost many elements shrinks with the changes that follow.
            members.db_mut().shrink_step();
        }
        slot.put_value(&mut value);
        self.entry_bytes = self.entry_bytes - old_bytes + slot.entry().allocated();
        let new = Marks::of(slot);
        if old != new {
            self.index.moved(key.hash, Some(old), Some(new), &self.hasher);
        }
        self.scratch = value.into_scratch();
        Some(Edited { result, emptied: false })
    }
    /// Creates or overwrites with a collection, without expiry; if it is empty the key is deleted. True if the key exists afterwards.
    pub(super) fn store_collection(&mut self, key: Key<'_>, kind: Kind, mut value: Value) -> bool {
        match OwnedEntry::from_value(key.bytes, kind, &mut value, None) {
            Some(entry) => {
                self.insert(key.hash, entry);
                true
            }
            None => {
                self.remove(key, false);
                false
            }
        }
    }
    /// Sets or clears the expiry; false if there is no such key.
    pub fn set_expire(&mut self, key: Key<'_>, expire: Option<UnixMs>) -> bool {
        let Some(slot) = self.table.get_mut(key.hash, same_key(key), &mut self.captures) else { return false };
        let old = Marks::of(slot);
        if slot.overwrite_expire(expire) {
            if self.index.is_ordered() {
                let new = Marks::of(slot);
                self.index.moved(key.hash, Some(old), Some(new), &self.hasher);
            }
        } else {
            let new = slot.with_expire(expire);
            let old = std::mem::replace(slot, new);
            let new = (Marks::of(slot), slot.entry().allocated());
            self.replaced(key.hash, old, new);
        }
        true
    }
    /// Puts in a number under a key that is not there. The pointer holds until the key is removed or gets a value that is no number.
    pub(super) fn insert_int(&mut self, key: Key<'_>, value: i64) -> Alias {
        let entry = OwnedEntry::new_string(key.bytes, StrRef::Int(value), None);
        // SAFETY: the caller forgets it in time.
        let alias = unsafe { entry.alias() };
        self.insert_new(key.hash, entry);
        alias
    }
    /// Takes out the entry that `insert_int` gave this pointer to.
    pub(super) fn take_alias(&mut self, hash: u64, alias: Alias) -> OwnedEntry {
        // SAFETY: the pointer is only compared.
        let is_it = |slot: &OwnedEntry| unsafe { slot.alias() } == alias;
        let entry = self.table.remove(hash, is_it, &self.hasher, &mut self.captures).expect("an entry that is there");
        self.entry_bytes -= entry.entry().allocated();
        entry
    }
    /// Puts in what is not there yet.
    fn insert_new(&mut self, hash: u64, entry: OwnedEntry) {
        started(&entry, self.fresh_access);
        self.entry_bytes += entry.entry().allocated();
        self.index.moved(hash, None, Some(Marks::of(&entry)), &self.hasher);
        self.table.insert_new(hash, entry, &self.hasher, &mut self.captures);
    }
    /// Follows up on an entry whose slot has got another one: its alias and size.
    fn replaced(&mut self, hash: u64, old: OwnedEntry, (new, new_bytes): (Marks, usize)) {
        self.entry_bytes = self.entry_bytes - old.entry().allocated() + new_bytes;
        self.index.moved(hash, Some(Marks::of(&old)), Some(new), &self.hasher);
        self.discard(old, false);
    }
    pub(super) fn discard(&mut self, entry: OwnedEntry, lazy: bool) {
        let entry_ref = entry.entry();
        if entry_ref.allocated() >= GARBAGE_BYTES || lazy && (entry_ref.is_shared() || entry_ref.is_big()) {
            self.garbage.push(entry);
        }
    }

    /// SCAN: calls `f` for every entry of at least one bucket from `cursor` on, until about `count` were seen; returns the next cursor, 0 at
    /// the end. Every entry that is there from a scan's start to its end is seen at least once, however the table grows or shrinks meanwhile.
    pub fn scan(&self, cursor: u64, count: usize, f: &mut dyn FnMut(&Entry)) -> u64 {
        self.table.scan(cursor, count, &self.hasher, &mut |slot| f(slot.entry()))
    }
    /// Every entry, in the table's order: by hash, but for entries that found their bucket full.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter().map(OwnedEntry::entry)
    }
    /// A uniformly chosen entry for RANDOMKEY; `random` gives 64-bit numbers.
    pub fn random(&self, random: &mut dyn FnMut() -> u64) -> Option<&Entry> {
        self.table.random(random).map(OwnedEntry::entry)
    }
    /// The same, of the entries that expire.
    pub fn random_volatile(&self, random: &mut dyn FnMut() -> u64) -> Option<&Entry> {
        self.index.sampler()?.random(random)
    }
    /// One small step of active expiry: visits about `count` entries that have an expiry from a cursor kept inside, and returns
    /// the keys that are due at `now`, and how many it looked at.
    pub fn expire_sample(&mut self, now: UnixMs, count: usize, due: &mut Vec<Vec<u8>>) -> usize {
        self.index.sampler_mut().map_or(0, |expires| expires.sample(now, count, &self.hasher, due))
    }
    /// Hashes of whose fields some expire.
    pub fn expiring_hashes(&self) -> u64 {
        self.index.hashes().len()
    }
    /// The most that a stream may know beside its entries: none knows more.
    pub fn stream_facts(&self) -> Facts {
        self.index.stream_facts()
    }
    /// The hash whose next field expires first, and when.
    pub fn first_expiring_hash(&self) -> Option<(UnixMs, &Entry)> {
        self.index.hashes().first()
    }
    /// The key that expires first, where they are known in order.
    pub(super) fn first_expiring(&self) -> Option<(UnixMs, &Entry)> {
        self.index.first_key()
    }
    /// Keys that expire before `now`, where they are known in order.
    pub(super) fn expiring_before(&self, now: UnixMs) -> u64 {
        self.index.keys_before(now)
    }
    /// Housekeeping in small steps: shrinks segments that have become empty. True while there is more to do.
    pub fn shrink_step(&mut self) -> bool {
        let main = self.table.shrink_step(&self.hasher, &mut self.captures);
        self.index.sampler_mut().is_some_and(|expires| expires.shrink_step(&self.hasher)) || main
    }

    pub(super) fn take_garbage(&mut self) -> (Vec<OwnedEntry>, Vec<BigBox>) {
        (std::mem::take(&mut self.garbage), std::mem::take(&mut self.big_garbage))
    }
    pub(super) fn begin_snapshot(&mut self, id: SnapshotId, db: DbIndex) {
        if !self.is_empty() {
            self.captures.begin(id, db);
        }
    }
    pub(super) fn end_snapshot(&mut self, id: SnapshotId) {
        self.captures.end(id);
    }
    pub(super) fn snapshot_pending(&self, id: SnapshotId) -> usize {
        self.captures.pending(id)
    }
    pub(super) fn is_all_captured(&self) -> bool {
        self.captures.is_empty()
    }
    /// Visits buckets, at least one unless writes have captured enough, until `bytes_max` wait to be fetched or `budget_spent`, then fetches. A big
    /// collection that comes along is finished first. Returns how many keys that are; the snapshot has let go of this database when everything is
    /// fetched.
    pub(super) fn snapshot_step(&mut self, id: SnapshotId, bytes_max: usize, budget_spent: &mut dyn FnMut() -> bool, chunks: &mut Vec<Chunk>) -> u64 {
        let mut keys = 0;
        let (start, mut spent) = (chunks.len(), false);
        let mut budget_spent = || {
            spent = spent || budget_spent();
            spent
        };
        while self.captures.is_wanted_by(id) {
            keys += self.captures.fetch(id, chunks);
            let bytes_left = bytes_max.saturating_sub(chunks[start..].iter().map(Chunk::size).sum());
            if bytes_left == 0 || !self.captures.collections_step(id, bytes_left, &mut budget_spent, chunks, &mut self.big_garbage) {
                break;
            }
            let Some(position) = self.captures.position(id) else {
                self.captures.end(id);
                break;
            };
            let bytes_left = bytes_max.saturating_sub(chunks[start..].iter().map(Chunk::size).sum());
            if bytes_left == 0 {
                break;
            }
            let mut stop = |captures: &Captures| captures.has_collections(id) || captures.pending(id) >= bytes_left || budget_spent();
            let next = self.table.capture_from(position, id.0, &mut self.captures, &mut stop);
            self.captures.set_position(id, next);
            keys += self.captures.fetch(id, chunks);
            if next.is_some() && !self.captures.has_collections(id) {
                break;
            }
        }
        keys
    }
    /// Whether some elements of a big collection have been fetched and others not.
    pub(super) fn is_amid_collection(&self, id: SnapshotId) -> bool {
        self.captures.is_amid_collection(id)
    }
    pub(super) fn is_wanted_by(&self, id: SnapshotId) -> bool {
        self.captures.is_wanted_by(id)
    }
}
