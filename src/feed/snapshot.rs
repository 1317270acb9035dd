//! A snapshot's keys as values of Rust. They are read on a thread of their own, and handed on when the whole snapshot has been verified.

use std::io::Read;

use crate::keyspace::{Kind, UnixMs};
use crate::rdb::{EntriesRead, Item, LoadCause, LoadError, Part, Reader, Sink, Value};
use crate::types::listpack::Elem;
use crate::types::stream::StreamId;

/// One key of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotKey {
    /// Its database.
    pub db: u32,
    /// Its name.
    pub key: Vec<u8>,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expires_unix_ms: Option<i64>,
    /// What it holds.
    pub value: SnapshotValue,
}

/// A field and its value.
pub type FieldValue = (Vec<u8>, Vec<u8>);

/// The id of a stream's entry, and its fields and values.
pub type StreamItem = (String, Vec<FieldValue>);

/// What a key of a snapshot holds.
#[derive(Clone, Debug, PartialEq)]
pub enum SnapshotValue {
    /// A string.
    String(Vec<u8>),
    /// A list, from its head on.
    List(Vec<Vec<u8>>),
    /// A set.
    Set(Vec<Vec<u8>>),
    /// A hash.
    Hash(Vec<HashField>),
    /// A sorted set: members and scores.
    SortedSet(Vec<(Vec<u8>, f64)>),
    /// A stream.
    Stream(StreamValue),
}

/// A field of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashField {
    /// Its name.
    pub field: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// When it expires, in milliseconds since the Unix epoch, if it has a time of its own.
    pub expires_unix_ms: Option<i64>,
}

/// A stream, with all that XSETID and XGROUP need to make an equal one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamValue {
    /// The entries that are there: ids, each with its fields and values.
    pub entries: Vec<StreamItem>,
    /// The greatest id that there ever was.
    pub last_id: String,
    /// The greatest id that was deleted; `0-0` if none was, or a server before 7.0 did not keep it.
    pub max_deleted_id: String,
    /// How many entries were ever added; as many as there are, if a server before 7.0 did not count.
    pub entries_added: u64,
    /// Its consumer groups.
    pub groups: Vec<StreamGroup>,
}

/// A consumer group of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamGroup {
    /// Its name.
    pub name: Vec<u8>,
    /// The last id that was delivered to it.
    pub last_id: String,
    /// How many entries it has read, where that is known.
    pub entries_read: Option<u64>,
    /// Its consumers.
    pub consumers: Vec<StreamConsumer>,
}

/// A consumer of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConsumer {
    /// Its name.
    pub name: Vec<u8>,
    /// When it last tried to read, in milliseconds since the Unix epoch.
    pub seen_unix_ms: i64,
    /// When it last was given something; a server before 7.2 does not keep it, and then it is when it last tried.
    pub active_unix_ms: Option<i64>,
    /// What it was given and has not acknowledged.
    pub pending: Vec<PendingEntry>,
}

/// An entry that a consumer has not acknowledged. The stream may not have it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEntry {
    /// Its id.
    pub id: String,
    /// When it was last delivered, in milliseconds since the Unix epoch.
    pub delivered_unix_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// A snapshot that has been read to its end.
pub(super) struct ReadSnapshot {
    /// The texts of the libraries of functions.
    pub libraries: Vec<Vec<u8>>,
    pub keys: Vec<SnapshotKey>,
    /// The database that the stream has selected at the cut, where the snapshot tells.
    pub selected: Option<u32>,
}

/// Reads a whole snapshot; `skip`: verifies it and keeps nothing of it. When keys were last used, and how often, is left out.
pub(super) fn read(input: impl Read, skip: bool) -> Result<ReadSnapshot, LoadError> {
    let mut reader = Reader::new(input)?;
    let mut collected = Collected(SnapshotValue::String(Vec::new()));
    let mut snapshot = ReadSnapshot { libraries: Vec::new(), keys: Vec::new(), selected: None };
    loop {
        match reader.next_item(&mut collected)? {
            Item::Aux { name: b"repl-stream-db", value } => {
                snapshot.selected = std::str::from_utf8(value).ok().and_then(|db| db.parse().ok());
            }
            Item::Library { code } if !skip => snapshot.libraries.push(code.to_vec()),
            Item::Aux { .. } | Item::Library { .. } => {}
            Item::Key { db, key, expire, value, .. } if !skip => {
                let (key, expires_unix_ms) = (key.to_vec(), expire.map(|UnixMs(ms)| ms));
                let value = match value {
                    Value::Int(n) => SnapshotValue::String(n.to_string().into_bytes()),
                    Value::Bytes(bytes) => SnapshotValue::String(bytes.to_vec()),
                    Value::Collection { .. } => collected.take(),
                };
                snapshot.keys.push(SnapshotKey { db: db.0, key, expires_unix_ms, value });
            }
            Item::Key { .. } => drop(collected.take()),
            Item::End => return Ok(snapshot),
        }
    }
}

/// The collection whose parts are being read.
struct Collected(SnapshotValue);

impl Collected {
    fn take(&mut self) -> SnapshotValue {
        std::mem::replace(&mut self.0, SnapshotValue::String(Vec::new()))
    }
}

impl Sink for Collected {
    fn begin(&mut self, kind: Kind) {
        self.0 = match kind {
            Kind::String => SnapshotValue::String(Vec::new()),
            Kind::List => SnapshotValue::List(Vec::new()),
            Kind::Set => SnapshotValue::Set(Vec::new()),
            Kind::Hash => SnapshotValue::Hash(Vec::new()),
            Kind::ZSet => SnapshotValue::SortedSet(Vec::new()),
            Kind::Stream => SnapshotValue::Stream(StreamValue::default()),
        };
    }

    fn part(&mut self, part: Part<'_>) -> Result<(), LoadCause> {
        match (&mut self.0, part) {
            (SnapshotValue::List(elements) | SnapshotValue::Set(elements), Part::Element(element)) => elements.push(element.to_vec()),
            (SnapshotValue::SortedSet(members), Part::Member { member, score }) => members.push((member.to_vec(), score)),
            (SnapshotValue::Hash(fields), Part::Field { field, value, expire }) => {
                let expires_unix_ms = expire.map(|UnixMs(ms)| ms);
                fields.push(HashField { field: field.to_vec(), value: value.to_vec(), expires_unix_ms });
            }
            (SnapshotValue::Stream(stream), part) => stream.part(part),
            _ => unreachable!("the reader gives parts of the kind that it has begun"),
        }
        Ok(())
    }
}

impl StreamValue {
    fn part(&mut self, part: Part<'_>) {
        match part {
            Part::Block(block) => self.entries.extend(block.entries().map(|entry| {
                let pairs = entry.pairs().map(|(field, value)| (bytes_of(field), bytes_of(value))).collect();
                (entry.id.to_string(), pairs)
            })),
            Part::Stream(info) => {
                self.last_id = info.last_id.to_string();
                self.max_deleted_id = info.history.map_or(StreamId::default(), |history| history.max_deleted_id).to_string();
                self.entries_added = info.history.map_or(info.len, |history| history.entries_added);
            }
            Part::Group { name, last_id, entries_read } => {
                let entries_read = match entries_read {
                    EntriesRead::Known(count) => Some(count),
                    EntriesRead::Unknown | EntriesRead::NotKept => None,
                };
                self.groups.push(StreamGroup { name: name.to_vec(), last_id: last_id.to_string(), entries_read, consumers: Vec::new() });
            }
            Part::Consumer { name, seen, active } => {
                let active_unix_ms = active.map(|UnixMs(ms)| ms);
                let consumer = StreamConsumer { name: name.to_vec(), seen_unix_ms: seen.0, active_unix_ms, pending: Vec::new() };
                self.groups.last_mut().expect("a consumer comes behind its group").consumers.push(consumer);
            }
            Part::Pending { id, delivered, count } => {
                let group = self.groups.last_mut().expect("a pending entry comes behind its group");
                let consumer = group.consumers.last_mut().expect("a pending entry comes behind its consumer");
                consumer.pending.push(PendingEntry { id: id.to_string(), delivered_unix_ms: delivered.0, deliveries: count });
            }
            Part::Element(_) | Part::Member { .. } | Part::Field { .. } => unreachable!("no part of a stream"),
        }
    }
}

fn bytes_of(element: Elem<'_>) -> Vec<u8> {
    element.bytes(&mut Default::default()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_fields_are_read_as_valkey_writes_them() {
        let fields = [&b"\x16\x01h\x02\x01a\x011"[..], &(-1i64).to_le_bytes(), b"\x01b\x012", &7_000_000_000_000i64.to_le_bytes()].concat();
        let snapshot = [&b"VALKEY080\xFE\x03"[..], &fields, b"\xFF", &[0; 8]].concat();
        let expected = [("a", "1", None), ("b", "2", Some(7_000_000_000_000))].map(|(field, value, expires_unix_ms)| HashField {
            field: field.into(),
            value: value.into(),
            expires_unix_ms,
        });
        let keys = read(&snapshot[..], false).unwrap().keys;
        assert_eq!((keys.len(), keys[0].db), (1, 3));
        assert_eq!(keys[0].value, SnapshotValue::Hash(expected.to_vec()));
        assert!(read(&snapshot[..], true).unwrap().keys.is_empty());
    }
}
