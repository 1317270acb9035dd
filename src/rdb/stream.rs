//! Reading streams: nodes of entries in listpacks, the stream's own numbers, groups with their consumers and what these have not acknowledged.
//! A node is an id and a listpack, `types::stream`'s block.

use std::io::Read;

use super::collections::Refused;
use super::error::{LoadCause, LoadError};
use super::reader::Reader;
use super::types;
use super::value::{EntriesRead, Part, Sink, StreamHistory, StreamInfo};
use crate::keyspace::{Kind, UnixMs};
use crate::types::stream::{Block, StreamId};

const ORDER: LoadCause = LoadCause::Corrupt("ids of a stream out of order");
const PENDING: LoadCause = LoadCause::Corrupt("a group's and its consumers' pending entries are not the same");

impl<R: Read> Reader<R> {
    /// Reads a stream of type `number` into `sink`, and tells of how many entries.
    pub(super) fn stream(&mut self, number: u8, sink: &mut dyn Sink) -> Result<u64, LoadError> {
        sink.begin(Kind::Stream);
        let (mut last, mut count) = (None, 0);
        for _ in 0..self.plain_length()? {
            let at = self.offset();
            let block = self.node().map_err(|error| error.or_at(at))?;
            if last.replace(block.last()).is_some_and(|last| last >= block.id()) {
                return Err(ORDER.at(at));
            }
            count += block.len();
            sink.part(Part::Block(&block)).map_err(|cause| cause.at(at))?;
        }
        let at = self.offset();
        self.info(number, count, last, sink).map_err(|error| error.or_at(at))?;
        for _ in 0..self.plain_length()? {
            let at = self.offset();
            self.group(number, sink).map_err(|error| error.or_at(at))?;
        }
        Ok(count)
    }

    fn node(&mut self) -> Result<Block, Refused> {
        let id = self.text()?.try_into().map_err(|_| LoadCause::Corrupt("a stream's node without an id"))?;
        Ok(Block::from_redis(StreamId::from_be_bytes(id), self.text()?).map_err(LoadCause::from)?)
    }

    fn info(&mut self, number: u8, count: u64, last: Option<StreamId>, sink: &mut dyn Sink) -> Result<(), Refused> {
        let len = self.plain_length()?;
        let last_id = self.id()?;
        let history = match number {
            types::STREAM_LISTPACKS => None,
            _ => {
                // The first entry's id is that of the first entry.
                self.id()?;
                let max_deleted_id = self.id()?;
                Some(StreamHistory { max_deleted_id, entries_added: self.plain_length()? })
            }
        };
        if len != count {
            return Err(LoadCause::Corrupt("a stream of another length than it says").into());
        }
        if last.is_some_and(|last| last > last_id) {
            return Err(ORDER.into());
        }
        Ok(sink.part(Part::Stream(StreamInfo { len, last_id, history }))?)
    }

    fn id(&mut self) -> Result<StreamId, LoadError> {
        Ok(StreamId { ms: self.plain_length()?, seq: self.plain_length()? })
    }

    fn time(&mut self) -> Result<UnixMs, LoadError> {
        Ok(UnixMs(i64::from_le_bytes(self.source.array()?)))
    }

    fn group(&mut self, number: u8, sink: &mut dyn Sink) -> Result<(), Refused> {
        self.hold_text()?;
        let last_id = self.id()?;
        let entries_read = match number {
            types::STREAM_LISTPACKS => EntriesRead::NotKept,
            _ => match self.plain_length()? {
                u64::MAX => EntriesRead::Unknown,
                count => EntriesRead::Known(count),
            },
        };
        sink.part(Part::Group { name: &self.held, last_id, entries_read })?;
        let mut pending: Vec<Pending> = Vec::new();
        for _ in 0..self.plain_length()? {
            let id = StreamId::from_be_bytes(self.source.array()?);
            if pending.last().is_some_and(|last| last.id >= id) {
                return Err(ORDER.into());
            }
            let delivered = self.time()?;
            pending.push(Pending { id, delivered, count: self.plain_length()?, is_owned: false });
        }
        for _ in 0..self.plain_length()? {
            self.consumer(number, &mut pending, sink)?;
        }
        if pending.iter().all(|entry| entry.is_owned) { Ok(()) } else { Err(PENDING.into()) }
    }

    fn consumer(&mut self, number: u8, pending: &mut [Pending], sink: &mut dyn Sink) -> Result<(), Refused> {
        self.hold_text()?;
        let seen = self.time()?;
        let active = match number {
            types::STREAM_LISTPACKS_3 => Some(self.time()?).filter(|at| at.0 != -1),
            _ => Some(seen),
        };
        sink.part(Part::Consumer { name: &self.held, seen, active })?;
        let mut last = None;
        for _ in 0..self.plain_length()? {
            let id = StreamId::from_be_bytes(self.source.array()?);
            if last.replace(id).is_some_and(|last| last >= id) {
                return Err(ORDER.into());
            }
            let found = pending.binary_search_by_key(&id, |entry| entry.id).map_err(|_| PENDING)?;
            let Pending { delivered, count, is_owned, .. } = &mut pending[found];
            if std::mem::replace(is_owned, true) {
                return Err(PENDING.into());
            }
            sink.part(Part::Pending { id, delivered: *delivered, count: *count })?;
        }
        Ok(())
    }
}

/// A group's entry that is not acknowledged; each belongs to one consumer.
struct Pending {
    id: StreamId,
    delivered: UnixMs,
    count: u64,
    is_owned: bool,
}
