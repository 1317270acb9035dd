//! Reading streams: nodes of entries in listpacks, the stream's own numbers, groups with their consumers and what these have not acknowledged.
//!
//! A node: an id that its entries' ids are told from, and a listpack. That begins with the counts of entries and of deleted ones, how many
//! fields its first entry had, these fields, and 0. Then every entry: flags, milliseconds and sequence number from the node's id, the fields
//! with their values, or values alone where the fields are those of the first; and how many elements it has had.

use std::io::Read;

use super::collections::Refused;
use super::error::{LoadCause, LoadError};
use super::reader::Reader;
use super::types;
use super::value::{EntriesRead, Id, Part, Sink, StreamHistory, StreamInfo};
use crate::keyspace::{Kind, UnixMs};
use crate::types::listpack::{Elem, RedisElems};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

const CUT: LoadCause = LoadCause::Corrupt("a stream's node ends too early");
const COUNT: LoadCause = LoadCause::Corrupt("a stream's node with other counts than it says");
const ORDER: LoadCause = LoadCause::Corrupt("ids of a stream out of order");
const PENDING: LoadCause = LoadCause::Corrupt("a group's and its consumers' pending entries are not the same");

impl<R: Read> Reader<R> {
    /// Reads a stream of type `number` into `sink`, and tells of how many entries.
    pub(super) fn stream(&mut self, number: u8, sink: &mut dyn Sink) -> Result<u64, LoadError> {
        sink.begin(Kind::Stream);
        let mut entries = Entries { last: None, count: 0 };
        for _ in 0..self.plain_length()? {
            let at = self.offset();
            self.node(&mut entries, sink).map_err(|error| error.or_at(at))?;
        }
        let at = self.offset();
        self.info(number, &entries, sink).map_err(|error| error.or_at(at))?;
        for _ in 0..self.plain_length()? {
            let at = self.offset();
            self.group(number, sink).map_err(|error| error.or_at(at))?;
        }
        Ok(entries.count)
    }

    fn node(&mut self, entries: &mut Entries, sink: &mut dyn Sink) -> Result<(), Refused> {
        let id = self.text()?.try_into().map_err(|_| LoadCause::Corrupt("a stream's node without an id"))?;
        let id = id_from(id);
        entries.node(id, self.text()?, sink)?;
        Ok(())
    }

    fn info(&mut self, number: u8, entries: &Entries, sink: &mut dyn Sink) -> Result<(), Refused> {
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
        if len != entries.count {
            return Err(LoadCause::Corrupt("a stream of another length than it says").into());
        }
        if entries.last.is_some_and(|last| last > last_id) {
            return Err(ORDER.into());
        }
        Ok(sink.part(Part::Stream(StreamInfo { len, last_id, history }))?)
    }

    fn id(&mut self) -> Result<Id, LoadError> {
        Ok((self.plain_length()?, self.plain_length()?))
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
            let id = id_from(self.source.array()?);
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
            let id = id_from(self.source.array()?);
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
    id: Id,
    delivered: UnixMs,
    count: u64,
    is_owned: bool,
}

fn id_from(bytes: [u8; 16]) -> Id {
    let both = u128::from_be_bytes(bytes);
    ((both >> 64) as u64, both as u64)
}

/// The entries so far.
struct Entries {
    last: Option<Id>,
    count: u64,
}

impl Entries {
    fn node(&mut self, node: Id, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), LoadCause> {
        let mut elements = NodeElements(RedisElems::new(bytes)?);
        let (live, deleted) = (elements.number()?, elements.number()?);
        let mut node_fields = Vec::new();
        for _ in 0..elements.number()? {
            node_fields.push(elements.next()?);
        }
        if elements.number()? != 0 {
            return Err(COUNT);
        }
        let (mut live_met, mut deleted_met) = (0, 0);
        let mut fields = Vec::new();
        while let Some(flags) = elements.next_if_any()? {
            let flags = flags.as_int().ok_or(COUNT)?;
            let id = (node.0.wrapping_add_signed(elements.signed()?), node.1.wrapping_add_signed(elements.signed()?));
            elements.fields(flags & SAME_FIELDS != 0, &node_fields, &mut fields)?;
            if id < node || self.last.is_some_and(|last| last >= id) {
                return Err(ORDER);
            }
            self.last = Some(id);
            if flags & DELETED != 0 {
                deleted_met += 1;
                continue;
            }
            live_met += 1;
            sink.part(Part::Entry { id, fields: &fields })?;
        }
        self.count += live_met;
        if (live_met, deleted_met) == (live, deleted) { Ok(()) } else { Err(COUNT) }
    }
}

struct NodeElements<'a>(RedisElems<'a>);

impl<'a> NodeElements<'a> {
    fn next_if_any(&mut self) -> Result<Option<Elem<'a>>, LoadCause> {
        Ok(self.0.next().transpose()?)
    }

    fn next(&mut self) -> Result<Elem<'a>, LoadCause> {
        self.next_if_any()?.ok_or(CUT)
    }

    fn signed(&mut self) -> Result<i64, LoadCause> {
        self.next()?.as_int().ok_or(COUNT)
    }

    fn number(&mut self) -> Result<u64, LoadCause> {
        u64::try_from(self.signed()?).map_err(|_| COUNT)
    }

    /// An entry's fields and values in turn, and the number of its elements behind them.
    fn fields(&mut self, same: bool, node_fields: &[Elem<'a>], into: &mut Vec<Elem<'a>>) -> Result<(), LoadCause> {
        into.clear();
        let elements = if same {
            for &field in node_fields {
                into.extend([field, self.next()?]);
            }
            node_fields.len() as u64 + 3
        } else {
            let count = self.number()?;
            for _ in 0..count {
                into.extend([self.next()?, self.next()?]);
            }
            into.len() as u64 + 4
        };
        if self.number()? == elements { Ok(()) } else { Err(COUNT) }
    }
}
