//! A snapshot's keys as values of Rust. They are read on a thread of their own, and handed on when the whole snapshot has been verified.

use std::io::Read;

use crate::keyspace::{Kind, UnixMs};
use crate::rdb::{Item, LoadCause, LoadError, Part, Reader, Sink, Value};
use crate::types::listpack::Elem;

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
    /// A hash: fields and values.
    Hash(Vec<FieldValue>),
    /// A sorted set: members and scores.
    SortedSet(Vec<(Vec<u8>, f64)>),
    /// A stream: ids, each with its fields and values. Consumer groups are left out.
    Stream(Vec<StreamItem>),
}

/// A snapshot that has been read to its end.
pub(super) struct ReadSnapshot {
    pub keys: Vec<SnapshotKey>,
    /// The database that the stream has selected at the cut, where the snapshot tells.
    pub selected: Option<u32>,
}

/// Reads a whole snapshot; `skip`: verifies it and keeps no key.
pub(super) fn read(input: impl Read, skip: bool) -> Result<ReadSnapshot, LoadError> {
    let mut reader = Reader::new(input)?;
    let mut collected = Collected(SnapshotValue::String(Vec::new()));
    let mut snapshot = ReadSnapshot { keys: Vec::new(), selected: None };
    loop {
        match reader.next_item(&mut collected)? {
            Item::Aux { name: b"repl-stream-db", value } => {
                snapshot.selected = std::str::from_utf8(value).ok().and_then(|db| db.parse().ok());
            }
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
            Kind::Stream => SnapshotValue::Stream(Vec::new()),
        };
    }

    fn part(&mut self, part: Part<'_>) -> Result<(), LoadCause> {
        match (&mut self.0, part) {
            (SnapshotValue::List(elements) | SnapshotValue::Set(elements), Part::Element(element)) => elements.push(element.to_vec()),
            (SnapshotValue::SortedSet(members), Part::Member { member, score }) => members.push((member.to_vec(), score)),
            (SnapshotValue::Hash(fields), Part::Field { field, value, .. }) => fields.push((field.to_vec(), value.to_vec())),
            (SnapshotValue::Stream(entries), Part::Block(block)) => {
                for entry in block.entries() {
                    let pairs = entry.pairs().map(|(field, value)| (bytes_of(field), bytes_of(value))).collect();
                    entries.push((entry.id.to_string(), pairs));
                }
            }
            // What a stream tells beside its entries.
            _ => {}
        }
        Ok(())
    }
}

fn bytes_of(element: Elem<'_>) -> Vec<u8> {
    element.bytes(&mut Default::default()).to_vec()
}
