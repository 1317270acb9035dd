//! Values of collections, part by part, as the reader finds them and the loader puts them together: neither has to hold a whole one, and the
//! many forms that RDB has for the same thing are one here.

use super::error::LoadCause;
use crate::keyspace::{Kind, UnixMs};
use crate::types::stream::{Block, StreamId};

/// A piece of a collection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part<'a> {
    /// The next element of a list, or a member of a set.
    Element(&'a [u8]),
    /// A member of a sorted set. The score is a number.
    Member { member: &'a [u8], score: f64 },
    /// A field of a hash, with its own expiry if it has one.
    Field { field: &'a [u8], value: &'a [u8], expire: Option<UnixMs> },
    /// The next block of a stream's entries: behind those before.
    Block(&'a Block),
    /// What is told of the whole stream, behind its entries.
    Stream(StreamInfo),
    /// A consumer group of the stream.
    Group { name: &'a [u8], last_id: StreamId, entries_read: EntriesRead },
    /// A consumer of the last group.
    Consumer { name: &'a [u8], seen: UnixMs, active: Option<UnixMs> },
    /// An entry that the last consumer has been given and has not acknowledged. Ids ascend.
    Pending { id: StreamId, delivered: UnixMs, count: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    pub len: u64,
    pub last_id: StreamId,
    /// Before 7.0 none of this was kept.
    pub history: Option<StreamHistory>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHistory {
    pub max_deleted_id: StreamId,
    pub entries_added: u64,
}

/// How many entries of its stream a group has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntriesRead {
    Known(u64),
    /// Entries were deleted where it read, or it was placed by an id.
    Unknown,
    /// Before 7.0 nobody counted.
    NotKept,
}

/// Takes a collection's parts.
pub trait Sink {
    /// A collection of this kind begins. What was begun before and not asked for is of no use.
    fn begin(&mut self, kind: Kind);
    /// Refuses what can't be: a member twice.
    fn part(&mut self, part: Part<'_>) -> Result<(), LoadCause>;
}

/// Takes nothing: for verifying.
pub(super) struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _: Kind) {}
    fn part(&mut self, _: Part<'_>) -> Result<(), LoadCause> {
        Ok(())
    }
}
