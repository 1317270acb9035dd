//! Point-in-time capture without a fork: `Keyspace::begin_snapshot` fixes the cut; from then on a bucket that the snapshot has not visited is
//! captured before it is changed, and `Keyspace::snapshot_step` visits the rest in bounded steps. Several snapshots may run at once.
//!
//! Here: what is captured (`Chunk`) and who wants it (`Captures`, one a database, the guard of its table). The table knows which buckets
//! a snapshot has yet to see, so every key is captured once.
//!
//! A big hash, set or sorted set is captured like a database of its own, from the moment on that its key is: the key's record says how many
//! elements there are, and they come in chunks of their own, the collections one after the other in the order of their records. Records of other
//! keys may come in between.

use std::collections::VecDeque;

use super::big::{Big, BigBox};
use super::entry::{Entry, Form, OwnedEntry, SharedBytes};
use super::list::ListBlocks;
use super::table::Guard;
use super::{DbIndex, Kind, StrRef, UnixMs, ValueRef};
use crate::types::stream::Stream;

/// A chunk is closed when it holds this many bytes of records.
const CHUNK_BYTES: usize = 64 * 1024;

/// Numbers rise; a bucket's epoch says up to which snapshot it has been captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

/// The number of a captured big collection, within its snapshot and database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionId(pub u64);

/// Captured entries of one database, or elements of one of its big collections: copies, or shared immutable blocks. `Send`: encoded by a
/// SnapshotWorker.
pub struct Chunk {
    pub db: DbIndex,
    /// The records are elements of that collection; else they are keys.
    pub elements_of: Option<CollectionId>,
    /// Then, what that collection is.
    elements_kind: Option<Kind>,
    /// No more elements of that collection will come.
    pub is_last: bool,
    /// One behind the other: tag byte, LRU bits (4), key length (4), key, expiry (8, behind a flag), then by the tag's `VALUE` bits: the integer (8);
    /// or the length (4) of the bytes that follow; or nothing for the next of `shared`, bytes or a list; or the collection's number (8), its count of
    /// elements (8) and the first expiry of one (8).
    /// A block's form (1) stands before it.
    pub(super) records: Vec<u8>,
    shared: Vec<Shared>,
    shared_bytes: usize,
}

/// What a chunk holds a count of, instead of copying it.
enum Shared {
    Bytes(SharedBytes),
    List(ListBlocks),
    /// A clone, which costs a few counts.
    Stream(Box<Stream>),
}

/// One captured key, or one element of a collection: a set's member, a hash's field with its value, a sorted set's member with its score (the bits
/// of the double).
pub struct Record<'a> {
    pub key: &'a [u8],
    /// The key's; of an element that of its collection.
    pub kind: Kind,
    pub expire: Option<UnixMs>,
    pub lru: u32,
    pub value: RecordValue<'a>,
}

#[derive(Clone, Copy)]
pub enum RecordValue<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    /// A small collection.
    Block(Form, &'a [u8]),
    /// A big list.
    List(&'a ListBlocks),
    /// A big one, whose elements come in other chunks.
    Elements {
        id: CollectionId,
        len: u64,
        /// When the first of a hash's fields expires.
        first_expiry: Option<UnixMs>,
    },
    Stream(&'a Stream),
}

impl<'a> Record<'a> {
    /// An entry's record; `id` is the number that its elements come under, if they come apart.
    pub fn of(entry: &'a Entry, id: CollectionId) -> Self {
        let value = match entry.value() {
            ValueRef::String(StrRef::Int(number)) => RecordValue::Int(number),
            ValueRef::String(StrRef::Bytes(bytes)) => RecordValue::Bytes(bytes),
            ValueRef::Block(form, bytes) => RecordValue::Block(form, bytes),
            ValueRef::Big(Big::List(blocks)) => RecordValue::List(blocks),
            ValueRef::Big(Big::Stream(stream)) => RecordValue::Stream(stream),
            ValueRef::Big(big) => {
                let first_expiry = entry.hash().and_then(|hash| hash.next_expiry());
                RecordValue::Elements { id, len: big.len(), first_expiry }
            }
        };
        Record { key: entry.key(), kind: entry.kind(), expire: entry.expire_at(), lru: entry.lru(), value }
    }
}

/// No expiry, in a record.
const NEVER: i64 = i64::MIN;

/// A record's tag byte: the kind in its low four bits, and these.
const EXPIRE: u8 = 0x10;
const VALUE: u8 = 0xE0;
const BYTES: u8 = 0;
const INT: u8 = 0x20;
const SHARED: u8 = 0x40;
const ELEMENTS: u8 = 0x60;
const LIST: u8 = 0x80;

impl Chunk {
    fn new(db: DbIndex) -> Self {
        Chunk { db, elements_of: None, elements_kind: None, is_last: false, records: Vec::new(), shared: Vec::new(), shared_bytes: 0 }
    }
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut rest = self.records.as_slice();
        let mut shared = self.shared.iter();
        std::iter::from_fn(move || {
            let tag = *rest.split_off_first()?;
            let lru = u32::from_le_bytes(array(&mut rest));
            let key_len = u32::from_le_bytes(array(&mut rest)) as usize;
            let key = bytes(&mut rest, key_len);
            let expire = (tag & EXPIRE != 0).then(|| UnixMs(i64::from_le_bytes(array(&mut rest))));
            let kind = Kind::from_bits(tag & 0xf);
            let value = match tag & VALUE {
                INT => RecordValue::Int(i64::from_le_bytes(array(&mut rest))),
                ELEMENTS => {
                    let id = CollectionId(u64::from_le_bytes(array(&mut rest)));
                    let len = u64::from_le_bytes(array(&mut rest));
                    let first_expiry = Some(i64::from_le_bytes(array(&mut rest))).filter(|at| *at != NEVER).map(UnixMs);
                    RecordValue::Elements { id, len, first_expiry }
                }
                LIST => match shared.next() {
                    Some(Shared::List(blocks)) => RecordValue::List(blocks),
                    _ => unreachable!("a list for every record that says so"),
                },
                _ if kind == Kind::Stream => match shared.next() {
                    Some(Shared::Stream(stream)) => RecordValue::Stream(stream),
                    _ => unreachable!("a shared value for every record that says so"),
                },
                value => {
                    let form = (kind != Kind::String).then(|| Form::from_bits(array::<1>(&mut rest)[0]));
                    let bytes = match value {
                        SHARED => match shared.next() {
                            Some(Shared::Bytes(bytes)) => bytes,
                            _ => unreachable!("a shared value for every record that says so"),
                        },
                        _ => {
                            let len = u32::from_le_bytes(array(&mut rest)) as usize;
                            bytes(&mut rest, len)
                        }
                    };
                    form.map_or(RecordValue::Bytes(bytes), |form| RecordValue::Block(form, bytes))
                }
            };
            Some(Record { key, kind: self.elements_kind.unwrap_or(kind), expire, lru, value })
        })
    }
    /// Bytes held, shared blocks included.
    pub fn size(&self) -> usize {
        self.records.len() + self.shared_bytes
    }
    #[cfg(test)]
    pub(super) fn first_shared(&self) -> *const u8 {
        let Shared::Bytes(bytes) = &self.shared[0] else { panic!("a list or a stream") };
        bytes.as_ptr()
    }
    /// Adds an entry's record; `collection` is the number that its elements will come under, if they come apart.
    fn push(&mut self, entry: &Entry, collection: CollectionId) {
        let record = Record::of(entry, collection);
        let shared = entry.share();
        let value = match (&shared, record.value) {
            (_, RecordValue::Elements { .. }) => ELEMENTS,
            (_, RecordValue::List(_)) => LIST,
            (Some(_), _) | (_, RecordValue::Stream(_)) => SHARED,
            (None, RecordValue::Int(_)) => INT,
            (None, _) => BYTES,
        };
        self.records.push(record.kind as u8 | value | if record.expire.is_some() { EXPIRE } else { 0 });
        self.records.extend_from_slice(&record.lru.to_le_bytes());
        self.records.extend_from_slice(&len_bytes(record.key));
        self.records.extend_from_slice(record.key);
        if let Some(UnixMs(at)) = record.expire {
            self.records.extend_from_slice(&at.to_le_bytes());
        }
        if let RecordValue::Block(form, _) = record.value {
            self.records.push(form as u8);
        }
        match (shared, record.value) {
            (_, RecordValue::Elements { id, len, first_expiry }) => {
                self.records.extend_from_slice(&id.0.to_le_bytes());
                self.records.extend_from_slice(&len.to_le_bytes());
                self.records.extend_from_slice(&first_expiry.map_or(NEVER, |at| at.0).to_le_bytes());
            }
            (_, RecordValue::List(blocks)) => {
                self.shared_bytes += blocks.allocated();
                self.shared.push(Shared::List(blocks.clone()));
            }
            (Some(shared), _) => {
                self.shared_bytes += shared.len();
                self.shared.push(Shared::Bytes(shared));
            }
            (None, RecordValue::Stream(stream)) => {
                self.shared_bytes += stream.allocated();
                self.shared.push(Shared::Stream(Box::new(stream.clone())));
            }
            (None, RecordValue::Int(number)) => self.records.extend_from_slice(&number.to_le_bytes()),
            (None, RecordValue::Bytes(bytes) | RecordValue::Block(_, bytes)) => {
                self.records.extend_from_slice(&len_bytes(bytes));
                self.records.extend_from_slice(bytes);
            }
        }
    }
}

fn len_bytes(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("keys and small values are shorter than 4 GiB").to_le_bytes()
}
fn bytes<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    rest.split_off(..len).expect("records are whole")
}
fn array<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    bytes(rest, N).try_into().expect("as long as asked for")
}

/// What one step has captured, together with what writes have captured since the step before.
pub struct SnapshotStep {
    pub chunks: Vec<Chunk>,
    /// Everything has been captured: the snapshot is over.
    pub done: bool,
    /// Keys captured so far, and keys there were at the cut: for progress.
    pub keys_done: u64,
    pub keys_total: u64,
}

/// A big collection whose key has been captured and whose elements are being.
struct Collection {
    id: CollectionId,
    value: BigBox,
}

impl Collection {
    fn end(&mut self, snapshot: SnapshotId) {
        if let Some(members) = self.value.get_mut().members_mut() {
            members.end_snapshot(snapshot);
        }
    }
}

/// One running snapshot's view of one database.
struct Capture {
    id: SnapshotId,
    /// The database's number at the cut.
    db: DbIndex,
    /// In hash order everything before is captured; `None` when everything is.
    position: Option<u64>,
    keys: u64,
    filling: Chunk,
    full: Vec<Chunk>,
    full_bytes: usize,
    /// First come, first served.
    collections: VecDeque<Collection>,
    /// Of the first one some elements have been fetched.
    is_amid: bool,
    collections_met: u64,
}

impl Capture {
    fn pending(&self) -> usize {
        self.full_bytes + self.filling.size()
    }
    fn push(&mut self, entry: &Entry) {
        if self.filling.records.is_empty() {
            self.filling.records.reserve(CHUNK_BYTES);
        }
        let collection = CollectionId(self.collections_met);
        self.filling.push(entry, collection);
        self.keys += 1;
        if let Some(mut value) = entry.share_big()
            && let Some(members) = value.get_mut().members_mut()
        {
            members.begin_snapshot(self.id);
            self.collections.push_back(Collection { id: collection, value });
            self.collections_met += 1;
        }
        if self.filling.records.len() >= CHUNK_BYTES {
            self.close();
        }
    }
    fn close(&mut self) {
        self.full_bytes += self.filling.size();
        self.full.push(std::mem::replace(&mut self.filling, Chunk::new(self.db)));
    }
    /// Captures elements of the collections that wait, until `bytes_max` of them or `budget_spent`. True when none waits any more. Those that
    /// are finished go to `finished`: this may have been their last count.
    fn step(&mut self, bytes_max: usize, budget_spent: &mut dyn FnMut() -> bool, chunks: &mut Vec<Chunk>, finished: &mut Vec<BigBox>) -> bool {
        let mut bytes_left = bytes_max;
        while let Some(front) = self.collections.front_mut() {
            let before = chunks.len();
            let members = front.value.get_mut().members_mut().expect("only such collections wait");
            let done = members.snapshot_step(self.id, bytes_left, budget_spent, chunks);
            if done {
                chunks.push(Chunk { is_last: true, ..Chunk::new(self.db) });
            }
            let kind = Some(front.value.get().kind());
            for chunk in &mut chunks[before..] {
                (chunk.db, chunk.elements_of, chunk.elements_kind) = (self.db, Some(front.id), kind);
                bytes_left = bytes_left.saturating_sub(chunk.size());
            }
            self.is_amid = !done;
            if !done {
                return false;
            }
            finished.extend(self.collections.pop_front().map(|collection| collection.value));
        }
        true
    }
}

/// The snapshots that have not yet seen all of a database, oldest first.
#[derive(Default)]
pub(super) struct Captures {
    running: Vec<Capture>,
}

impl Captures {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
    pub(super) fn begin(&mut self, id: SnapshotId, db: DbIndex) {
        assert!(self.newest() < id.0);
        self.running.push(Capture {
            id,
            db,
            position: Some(0),
            keys: 0,
            filling: Chunk::new(db),
            full: Vec::new(),
            full_bytes: 0,
            collections: VecDeque::new(),
            is_amid: false,
            collections_met: 0,
        });
    }
    pub(super) fn end(&mut self, id: SnapshotId) {
        for capture in self.running.extract_if(.., |capture| capture.id == id) {
            capture.collections.into_iter().for_each(|mut collection| collection.end(id));
        }
    }
    fn get(&self, id: SnapshotId) -> Option<&Capture> {
        self.running.iter().find(|capture| capture.id == id)
    }
    fn get_mut(&mut self, id: SnapshotId) -> Option<&mut Capture> {
        self.running.iter_mut().find(|capture| capture.id == id)
    }
    pub(super) fn is_wanted_by(&self, id: SnapshotId) -> bool {
        self.get(id).is_some()
    }
    /// Where the visit for `id` is to go on; `None` if that snapshot has all keys of this database.
    pub(super) fn position(&self, id: SnapshotId) -> Option<u64> {
        self.get(id)?.position
    }
    pub(super) fn set_position(&mut self, id: SnapshotId, position: Option<u64>) {
        if let Some(capture) = self.get_mut(id) {
            capture.position = position;
        }
    }
    /// Bytes captured and not fetched.
    pub(super) fn pending(&self, id: SnapshotId) -> usize {
        self.get(id).map_or(0, Capture::pending)
    }
    /// Whether a big collection's elements are still to be captured.
    pub(super) fn has_collections(&self, id: SnapshotId) -> bool {
        self.get(id).is_some_and(|capture| !capture.collections.is_empty())
    }
    pub(super) fn is_amid_collection(&self, id: SnapshotId) -> bool {
        self.get(id).is_some_and(|capture| capture.is_amid)
    }
    /// Moves what has been captured to `chunks`; returns how many keys it is.
    pub(super) fn fetch(&mut self, id: SnapshotId, chunks: &mut Vec<Chunk>) -> u64 {
        let Some(capture) = self.get_mut(id) else { return 0 };
        if capture.filling.size() > 0 {
            capture.close();
        }
        capture.full_bytes = 0;
        chunks.append(&mut capture.full);
        std::mem::take(&mut capture.keys)
    }
    /// Captures elements of big collections whose records have been fetched; see `Capture::step`.
    pub(super) fn collections_step(
        &mut self,
        id: SnapshotId,
        bytes_max: usize,
        budget_spent: &mut dyn FnMut() -> bool,
        chunks: &mut Vec<Chunk>,
        finished: &mut Vec<BigBox>,
    ) -> bool {
        self.get_mut(id).is_none_or(|capture| capture.step(bytes_max, budget_spent, chunks, finished))
    }
}

impl Guard<OwnedEntry> for Captures {
    #[inline]
    fn newest(&self) -> u64 {
        self.running.last().map_or(0, |capture| capture.id.0)
    }
    fn capture(&mut self, slot: &OwnedEntry, after: u64, up_to: u64) {
        for capture in self.running.iter_mut().filter(|capture| after < capture.id.0 && capture.id.0 <= up_to) {
            capture.push(slot.entry());
        }
    }
}
