//! Point-in-time capture without a fork: `Keyspace::begin_snapshot` fixes the cut; from then on a bucket that the snapshot has not visited is
//! captured before it is changed, and `Keyspace::snapshot_step` visits the rest in bounded steps. Several snapshots may run at once.

use super::entry::SharedBytes;
use super::{DbIndex, Kind, UnixMs};

/// Numbers rise; a bucket's epoch says up to which snapshot it has been captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

/// Captured entries of one database: copies, or shared immutable blocks. `Send`: encoded by a SnapshotWorker.
pub struct Chunk {
    pub db: DbIndex,
    pub(super) records: Vec<u8>,
    pub(super) shared: Vec<SharedBytes>,
}

/// One captured key.
pub struct Record<'a> {
    pub key: &'a [u8],
    pub kind: Kind,
    pub expire: Option<UnixMs>,
    pub lru: u32,
    pub value: RecordValue<'a>,
}

pub enum RecordValue<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl Chunk {
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let _ = (&self.records, &self.shared);
        let none: Option<Record<'_>> = todo!();
        none.into_iter()
    }
    /// Bytes held, shared blocks included.
    pub fn size(&self) -> usize {
        todo!()
    }
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
