//! The databases: table, entries, expiry, snapshots' capture, watched keys. Knows no clients, no wire, no clock but what it is told.

mod big;
mod building;
mod databases;
mod db;
pub mod digest;
mod due;
mod entry;
pub mod eviction;
mod expires;
mod hash;
mod hasher;
mod index;
mod list;
mod members;
mod memory;
mod set;
mod snapshot;
mod stream;
mod table;
mod watch;
mod zset;

pub use big::Big;
pub use building::Building;
pub use databases::{Keyspace, lru_clock};
pub use db::{Db, Edited, SetExpire, TableBytes};
pub use entry::{Entry, Form, Key, Kind, OwnedEntry, StrRef, ValueRef};
pub use hash::{Field, FieldPack, HashEdit, HashRef, field_of};
pub use list::{ListBlocks, ListEdit, ListRef, NewList, Side};
pub use members::Members;
pub use set::{NewSet, SetEdit, SetRef};
pub use snapshot::{Chunk, CollectionId, Record, RecordValue, SnapshotId, SnapshotStep};
pub use watch::Watches;
pub use zset::{Bound, LexBound, LexRange, NewZSet, ScoreRange, Sorted, ZSetEdit, ZSetRef};

/// The number of a database, 0 to `databases` - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbIndex(pub u32);

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

#[cfg(test)]
mod tests;
