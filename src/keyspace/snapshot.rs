//! Point-in-time capture without a fork: `Keyspace::begin_snapshot` fixes the cut; from then on a bucket that the snapshot has not visited is
//! captured before it is changed, and `Keyspace::snapshot_step` visits the rest in bounded steps. Several snapshots may run at once.
//!
//! Here: what is captured (`Chunk`) and who wants it (`Captures`, one a database, the guard of its table). The table knows which buckets
//! a snapshot has yet to see, so every key is captured once.

use super::entry::{Entry, OwnedEntry, SharedBytes};
use super::table::Guard;
use super::{DbIndex, Kind, StrRef, UnixMs};

/// A chunk is closed when it holds this many bytes of records.
const CHUNK_BYTES: usize = 64 * 1024;

/// Numbers rise; a bucket's epoch says up to which snapshot it has been captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

/// Captured entries of one database: copies, or shared immutable blocks. `Send`: encoded by a SnapshotWorker.
pub struct Chunk {
    pub db: DbIndex,
    /// One behind the other: tag byte, LRU bits (4), key length (4), key, expiry (8, behind a flag), then the integer (8), or the length (4)
    /// of the bytes that follow, or nothing for the next of `shared`.
    pub(super) records: Vec<u8>,
    pub(super) shared: Vec<SharedBytes>,
    shared_bytes: usize,
}

/// One captured key.
pub struct Record<'a> {
    pub key: &'a [u8],
    pub kind: Kind,
    pub expire: Option<UnixMs>,
    pub lru: u32,
    pub value: RecordValue<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordValue<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

/// A record's tag byte: the kind in its low four bits, and these.
const EXPIRE: u8 = 0x10;
const INT: u8 = 0x20;
const SHARED: u8 = 0x40;

impl Chunk {
    fn new(db: DbIndex) -> Self {
        Chunk { db, records: Vec::new(), shared: Vec::new(), shared_bytes: 0 }
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
            let value = if tag & INT != 0 {
                RecordValue::Int(i64::from_le_bytes(array(&mut rest)))
            } else if tag & SHARED != 0 {
                RecordValue::Bytes(shared.next().expect("a shared block for every record that says so"))
            } else {
                let len = u32::from_le_bytes(array(&mut rest)) as usize;
                RecordValue::Bytes(bytes(&mut rest, len))
            };
            Some(Record { key, kind: Kind::from_bits(tag & 0xf), expire, lru, value })
        })
    }
    /// Bytes held, shared blocks included.
    pub fn size(&self) -> usize {
        self.records.len() + self.shared_bytes
    }
    fn push(&mut self, entry: &Entry) {
        let expire = entry.expire_at();
        let shared = entry.share();
        let super::ValueRef::String(string) = entry.value();
        let form = match (&shared, string) {
            (Some(_), _) => SHARED,
            (None, StrRef::Int(_)) => INT,
            (None, StrRef::Bytes(_)) => 0,
        };
        self.records.push(entry.kind() as u8 | form | if expire.is_some() { EXPIRE } else { 0 });
        self.records.extend_from_slice(&entry.lru().to_le_bytes());
        self.records.extend_from_slice(&len_bytes(entry.key()));
        self.records.extend_from_slice(entry.key());
        if let Some(UnixMs(at)) = expire {
            self.records.extend_from_slice(&at.to_le_bytes());
        }
        match (shared, string) {
            (Some(shared), _) => {
                self.shared_bytes += shared.len();
                self.shared.push(shared);
            }
            (None, StrRef::Int(number)) => self.records.extend_from_slice(&number.to_le_bytes()),
            (None, StrRef::Bytes(bytes)) => {
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

/// One running snapshot's view of one database.
struct Capture {
    id: u64,
    /// The database's number at the cut.
    db: DbIndex,
    /// In hash order everything before is captured.
    position: u64,
    keys: u64,
    filling: Chunk,
    full: Vec<Chunk>,
    full_bytes: usize,
}

impl Capture {
    fn pending(&self) -> usize {
        self.full_bytes + self.filling.size()
    }
    fn push(&mut self, entry: &Entry) {
        if self.filling.records.is_empty() {
            self.filling.records.reserve(CHUNK_BYTES);
        }
        self.filling.push(entry);
        self.keys += 1;
        if self.filling.records.len() >= CHUNK_BYTES {
            self.close();
        }
    }
    fn close(&mut self) {
        self.full_bytes += self.filling.size();
        self.full.push(std::mem::replace(&mut self.filling, Chunk::new(self.db)));
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
        self.running.push(Capture { id: id.0, db, position: 0, keys: 0, filling: Chunk::new(db), full: Vec::new(), full_bytes: 0 });
    }
    pub(super) fn end(&mut self, id: SnapshotId) {
        self.running.retain(|capture| capture.id != id.0);
    }
    fn get(&self, id: SnapshotId) -> Option<&Capture> {
        self.running.iter().find(|capture| capture.id == id.0)
    }
    fn get_mut(&mut self, id: SnapshotId) -> Option<&mut Capture> {
        self.running.iter_mut().find(|capture| capture.id == id.0)
    }
    /// Where the visit for `id` is to go on; `None` if that snapshot has all of this database.
    pub(super) fn position(&self, id: SnapshotId) -> Option<u64> {
        self.get(id).map(|capture| capture.position)
    }
    pub(super) fn set_position(&mut self, id: SnapshotId, position: u64) {
        if let Some(capture) = self.get_mut(id) {
            capture.position = position;
        }
    }
    /// Bytes captured and not fetched.
    pub(super) fn pending(&self, id: SnapshotId) -> usize {
        self.get(id).map_or(0, Capture::pending)
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
}

impl Guard<OwnedEntry> for Captures {
    #[inline]
    fn newest(&self) -> u64 {
        self.running.last().map_or(0, |capture| capture.id)
    }
    fn capture(&mut self, slot: &OwnedEntry, after: u64, up_to: u64) {
        for capture in self.running.iter_mut().filter(|capture| after < capture.id && capture.id <= up_to) {
            capture.push(slot.entry());
        }
    }
}
