//! Puts collections together from their parts, for the loader and for RESTORE.

use super::error::LoadCause;
use super::reader::Value;
use super::value::{EntriesRead, Part, Sink, StreamInfo};
use crate::keyspace::{Building, Keyspace, Kind, OwnedEntry, SetExpire, Side, StrRef, UnixMs};
use crate::types::listpack::Elem;
use crate::types::number::parse_i64;
use crate::types::stream::{Group, StreamId};

pub(super) struct Builder {
    building: Building,
    /// The latest group and consumer of a stream.
    group: Vec<u8>,
    consumer: Vec<u8>,
}

impl Builder {
    pub fn new(keyspace: &Keyspace) -> Self {
        Builder { building: keyspace.building(), group: Vec::new(), consumer: Vec::new() }
    }

    /// The entry for a key whose value has been read; of a collection the last parts that have been taken.
    pub fn entry(&mut self, key: &[u8], value: Value<'_>, expire: Option<UnixMs>) -> Result<OwnedEntry, LoadCause> {
        let string = match value {
            Value::Int(number) => StrRef::Int(number),
            Value::Bytes(bytes) => parse_i64(bytes).map_or(StrRef::Bytes(bytes), StrRef::Int),
            Value::Collection { .. } => return self.building.finish(key, expire).ok_or(LoadCause::Corrupt("an empty collection")),
        };
        Ok(OwnedEntry::new_string(key, string, expire))
    }
}

impl Builder {
    /// Adds a part of a stream; false if it can't be there again.
    fn stream_part(&mut self, part: Part<'_>) -> bool {
        let stream = self.building.stream();
        match part {
            Part::Block(block) => stream.append_block(block.clone()),
            Part::Stream(StreamInfo { len, last_id, history }) => {
                stream.set_last_id(last_id);
                stream.set_entries_added(history.map_or(len, |history| history.entries_added));
                stream.set_max_deleted_id(history.map_or(StreamId::MIN, |history| history.max_deleted_id));
                true
            }
            Part::Group { name, last_id, entries_read } => {
                set(&mut self.group, name);
                let entries_read = match entries_read {
                    EntriesRead::Known(count) => Some(count),
                    EntriesRead::Unknown => None,
                    EntriesRead::NotKept => stream.entries_added_up_to(last_id),
                };
                stream.create_group(name, Group::new(last_id, entries_read))
            }
            Part::Consumer { name, seen, active } => {
                set(&mut self.consumer, name);
                let created = stream.edit_group(&self.group, |group| {
                    let is_new = group.create_consumer(name, seen.0);
                    group.edit_consumer(name, |consumer| consumer.active_ms = active.map_or(-1, |at| at.0));
                    is_new
                });
                created.unwrap_or(false)
            }
            Part::Pending { id, delivered, count } => {
                stream.edit_group(&self.group, |group| group.assign(id, &self.consumer, delivered.0, count)).is_some()
            }
            _ => unreachable!("a part of another collection"),
        }
    }
}

fn set(text: &mut Vec<u8>, to: &[u8]) {
    text.clear();
    text.extend_from_slice(to);
}

impl Sink for Builder {
    fn begin(&mut self, kind: Kind) {
        self.building.begin(kind);
    }

    fn part(&mut self, part: Part<'_>) -> Result<(), LoadCause> {
        let is_new = match (self.building.kind(), part) {
            (Kind::List, Part::Element(element)) => {
                let mut list = self.building.list();
                list.expect(1, element.len());
                list.push(Side::Right, element);
                true
            }
            (Kind::Set, Part::Element(member)) => self.building.set().add(Elem::of(member)),
            (Kind::ZSet, Part::Member { member, score }) => {
                let mut is_new = false;
                self.building.zset().update(member, |old| {
                    is_new = old.is_none();
                    Some(score)
                });
                is_new
            }
            (Kind::Stream, part) => self.stream_part(part),
            (Kind::Hash, Part::Field { field, value, expire }) => {
                !self.building.hash().set(field, Elem::of(value), expire.map_or(SetExpire::Clear, SetExpire::At))
            }
            (kind, part) => unreachable!("{part:?} of a {kind:?}"),
        };
        if is_new { Ok(()) } else { Err(LoadCause::DuplicateElement) }
    }
}
