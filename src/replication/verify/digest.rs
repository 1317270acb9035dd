//! Digests of captured chunks, the same wherever the same data are: without a seed, whatever form a value has here or there, whatever only one side knows
//! (access times, when a consumer was seen, counts that old snapshots don't carry).
//!
//! An item (a key, or an element of a collection) has a hash of 128 bits. A slot's digest is the sum of its items' hashes with their number, so that
//! the order of capture does not matter. XXH3 finds what went wrong, not what somebody has forged: who can write to a slave needs no collisions.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::scope::{Scope, SlotId};
use super::slot::key_slot;
use crate::keyspace::{Chunk, CollectionId, DbIndex, FieldPack, Form, Kind, Record, RecordValue, UnixMs, ZSetRef};
use crate::types::intset::IntSet;
use crate::types::listpack::{ElemBuf, Pack};
use crate::types::stream::{Group, Stream, StreamId};

/// Shorter items are hashed in one go, which is several times faster.
const ONE_GO_BYTES: usize = 2048;
/// What the names of a round may take; a slave that would tell more says so instead.
pub const NAMES_BYTES_MAX: usize = 64 << 20;
/// What a name takes beside its own bytes.
const NAME_OVERHEAD: usize = 64;

/// No expiry, in a hash.
const NEVER: i64 = i64::MIN;

/// The items of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotDigest {
    pub sum: u128,
    pub items: u64,
}

impl SlotDigest {
    fn add(&mut self, hash: u128) {
        self.sum = self.sum.wrapping_add(hash);
        self.items += 1;
    }
}

/// One item. Ordered by where it belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub space: u32,
    pub name: Vec<u8>,
    pub kind: u8,
    pub hash: u128,
}

/// What has been found, as the scope asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Sums(BTreeMap<SlotId, SlotDigest>),
    /// Sorted.
    Names(Vec<Named>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Items within the scope.
    pub items: u64,
    pub found: Found,
}

/// There are more names than may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the slots that differ have more keys than are compared one by one")]
pub struct TooMany;

/// A big collection whose elements come in chunks of their own.
enum Open {
    /// Its key is the item.
    Key { key: Vec<u8>, kind: Kind, expire: Option<UnixMs>, content: SlotDigest },
    /// Its elements are items, of this space.
    Elements(u32),
}

/// Takes the chunks of one snapshot.
pub struct Digester {
    scope: Scope,
    /// The collections of the scope.
    wanted: BTreeMap<(DbIndex, Vec<u8>), u32>,
    open: BTreeMap<(DbIndex, CollectionId), Open>,
    sums: BTreeMap<SlotId, SlotDigest>,
    names: Vec<Named>,
    names_bytes: usize,
    items: u64,
    scratch: Vec<u8>,
}

impl Digester {
    pub fn new(scope: Scope) -> Self {
        let wanted = scope.collections.iter().cloned().zip(0..).collect();
        Digester { scope, wanted, open: BTreeMap::new(), sums: BTreeMap::new(), names: Vec::new(), names_bytes: 0, items: 0, scratch: Vec::new() }
    }

    pub fn push(&mut self, chunk: &Chunk) {
        match chunk.elements_of {
            Some(id) => self.elements(id, chunk),
            None if self.scope.db.is_some_and(|db| db != chunk.db) => {}
            None if self.scope.collections.is_empty() => chunk.iter().for_each(|record| self.key(chunk.db, &record)),
            None => chunk.iter().for_each(|record| self.collection(chunk.db, &record)),
        }
    }

    /// What was found, once all chunks have been pushed.
    pub fn finish(mut self) -> Result<Findings, TooMany> {
        assert!(self.open.is_empty(), "a collection without its elements");
        if self.names_bytes > NAMES_BYTES_MAX {
            return Err(TooMany);
        }
        self.names.sort();
        let found = if self.scope.slots.is_some() { Found::Names(self.names) } else { Found::Sums(self.sums) };
        Ok(Findings { items: self.items, found })
    }

    /// A key as an item.
    fn key(&mut self, db: DbIndex, record: &Record<'_>) {
        let id = SlotId { space: db.0, slot: key_slot(record.key) };
        if !self.is_within(id) {
            return;
        }
        let content = match record.value {
            RecordValue::Elements { id, .. } => {
                let (key, kind, expire) = (record.key.to_vec(), record.kind, record.expire);
                self.open.insert((db, id), Open::Key { key, kind, expire, content: SlotDigest::default() });
                return;
            }
            RecordValue::Int(number) => one(xxh3_128(itoa::Buffer::new().format(number).as_bytes())),
            RecordValue::Bytes(bytes) => one(xxh3_128(bytes)),
            RecordValue::List(blocks) => list(blocks.packs()),
            RecordValue::Block(_, bytes) if record.kind == Kind::List => list(std::iter::once(Pack::new(bytes))),
            RecordValue::Block(form, bytes) => {
                let mut content = SlotDigest::default();
                each_of_block(record.kind, form, bytes, &mut self.scratch, &mut |_, hash| content.add(hash));
                content
            }
            RecordValue::Stream(value) => stream(value),
        };
        self.add_key(db, record.key, record.kind, record.expire, content);
    }

    fn add_key(&mut self, db: DbIndex, key: &[u8], kind: Kind, expire: Option<UnixMs>, content: SlotDigest) {
        let hash = hash_parts(
            &mut self.scratch,
            &[
                &[kind as u8],
                &(key.len() as u64).to_le_bytes(),
                key,
                &expire.map_or(NEVER, |at| at.0).to_le_bytes(),
                &content.items.to_le_bytes(),
                &content.sum.to_le_bytes(),
            ],
        );
        self.add(db.0, key, kind, hash);
    }

    /// A key whose elements may be items.
    fn collection(&mut self, db: DbIndex, record: &Record<'_>) {
        let Some(space) = self.wanted.get(&(db, record.key.to_vec())).copied() else { return };
        match record.value {
            RecordValue::Elements { id, .. } => {
                self.open.insert((db, id), Open::Elements(space));
            }
            RecordValue::Block(form, bytes) if record.kind != Kind::List => {
                let mut scratch = std::mem::take(&mut self.scratch);
                each_of_block(record.kind, form, bytes, &mut scratch, &mut |name, hash| self.add(space, name, record.kind, hash));
                self.scratch = scratch;
            }
            _ => {}
        }
    }

    fn elements(&mut self, id: CollectionId, chunk: &Chunk) {
        // Most are of no interest where only some keys are asked for.
        let Some(mut open) = self.open.remove(&(chunk.db, id)) else { return };
        match &mut open {
            Open::Key { content, .. } => {
                for element in chunk.iter() {
                    content.add(hash_of_element(&mut self.scratch, &element));
                }
            }
            Open::Elements(space) => {
                for element in chunk.iter() {
                    let hash = hash_of_element(&mut self.scratch, &element);
                    self.add(*space, element.key, element.kind, hash);
                }
            }
        }
        match open {
            Open::Key { key, kind, expire, content } if chunk.is_last => self.add_key(chunk.db, &key, kind, expire, content),
            open if !chunk.is_last => drop(self.open.insert((chunk.db, id), open)),
            _ => {}
        }
    }

    fn is_within(&self, id: SlotId) -> bool {
        self.scope.slots.as_ref().is_none_or(|slots| slots.contains(&id))
    }

    fn add(&mut self, space: u32, name: &[u8], kind: Kind, hash: u128) {
        let id = SlotId { space, slot: key_slot(name) };
        if !self.is_within(id) {
            return;
        }
        self.items += 1;
        if self.scope.slots.is_none() {
            self.sums.entry(id).or_default().add(hash);
            return;
        }
        self.names_bytes += name.len() + NAME_OVERHEAD;
        if self.names_bytes <= NAMES_BYTES_MAX {
            self.names.push(Named { space, name: name.to_vec(), kind: kind as u8, hash });
        }
    }
}

/// The content of what is no collection, or has an order: one hash.
fn one(hash: u128) -> SlotDigest {
    SlotDigest { sum: hash, items: 1 }
}

fn hash_parts(scratch: &mut Vec<u8>, parts: &[&[u8]]) -> u128 {
    if parts.iter().map(|part| part.len()).sum::<usize>() <= ONE_GO_BYTES {
        scratch.clear();
        parts.iter().for_each(|part| scratch.extend_from_slice(part));
        return xxh3_128(scratch);
    }
    let mut hasher = Xxh3::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.digest128()
}

/// A set's member.
fn hash_of_member(scratch: &mut Vec<u8>, name: &[u8]) -> u128 {
    hash_parts(scratch, &[&[Kind::Set as u8], name])
}

/// A hash's field.
fn hash_of_field(scratch: &mut Vec<u8>, name: &[u8], value: &[u8], expire: Option<UnixMs>) -> u128 {
    let at = expire.map_or(NEVER, |at| at.0).to_le_bytes();
    hash_parts(scratch, &[&[Kind::Hash as u8], &(name.len() as u64).to_le_bytes(), name, value, &at])
}

/// A sorted set's member. A listpack forgets the sign of -0, so it does not count.
fn hash_of_scored(scratch: &mut Vec<u8>, name: &[u8], score: f64) -> u128 {
    let score = if score == 0.0 { 0.0 } else { score };
    hash_parts(scratch, &[&[Kind::ZSet as u8], name, &score.to_bits().to_le_bytes()])
}

/// An element of a big collection.
fn hash_of_element(scratch: &mut Vec<u8>, element: &Record<'_>) -> u128 {
    match (element.kind, element.value) {
        (Kind::Hash, RecordValue::Int(number)) => hash_of_field(scratch, element.key, itoa::Buffer::new().format(number).as_bytes(), element.expire),
        (Kind::Hash, RecordValue::Bytes(bytes)) => hash_of_field(scratch, element.key, bytes, element.expire),
        (Kind::ZSet, RecordValue::Int(bits)) => hash_of_scored(scratch, element.key, f64::from_bits(bits as u64)),
        _ => hash_of_member(scratch, element.key),
    }
}

/// Each element of a small set, hash or sorted set, with its hash.
fn each_of_block(kind: Kind, form: Form, bytes: &[u8], scratch: &mut Vec<u8>, found: &mut dyn FnMut(&[u8], u128)) {
    let (mut buffer, mut value_buffer) = (ElemBuf::new(), ElemBuf::new());
    match kind {
        Kind::Set if form == Form::IntSet => IntSet::new(bytes).iter().for_each(|number| {
            let name = buffer.format(number).as_bytes();
            found(name, hash_of_member(scratch, name));
        }),
        Kind::Set => Pack::new(bytes).iter().for_each(|member| {
            let name = member.bytes(&mut buffer);
            found(name, hash_of_member(scratch, name));
        }),
        Kind::Hash => FieldPack::new(form, bytes).iter().for_each(|(name, field)| {
            let name = name.bytes(&mut buffer);
            found(name, hash_of_field(scratch, name, field.value.bytes(&mut value_buffer), field.expire));
        }),
        Kind::ZSet => ZSetRef::Pack(Pack::new(bytes)).for_each(|member, score| {
            let name = member.bytes(&mut buffer);
            found(name, hash_of_scored(scratch, name, score));
        }),
        Kind::String | Kind::List | Kind::Stream => unreachable!("what has no elements by name"),
    }
}

fn put(hasher: &mut Xxh3, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn list<'a>(packs: impl Iterator<Item = Pack<'a>>) -> SlotDigest {
    let (mut hasher, mut buffer) = (Xxh3::new(), ElemBuf::new());
    for element in packs.flat_map(Pack::iter) {
        put(&mut hasher, element.bytes(&mut buffer));
    }
    one(hasher.digest128())
}

/// Entries, groups with what is pending, and consumers by name: what reaches every slave. Counts that the oldest form of a snapshot lacks may differ.
fn stream(stream: &Stream) -> SlotDigest {
    let mut hasher = Xxh3::new();
    let mut buffer = ElemBuf::new();
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        hasher.update(&entry.id.to_be_bytes());
        hasher.update(&(entry.len() as u64).to_le_bytes());
        for (field, value) in entry.pairs() {
            put(&mut hasher, field.bytes(&mut buffer));
            put(&mut hasher, value.bytes(&mut buffer));
        }
    }
    hasher.update(&stream.last_id().to_be_bytes());
    for (name, its) in stream.groups() {
        put(&mut hasher, name);
        group(&mut hasher, its);
    }
    one(hasher.digest128())
}

fn group(hasher: &mut Xxh3, group: &Group) {
    hasher.update(&group.last_id().to_be_bytes());
    hasher.update(&(group.consumers_len() as u64).to_le_bytes());
    let mut names: Vec<&[u8]> = group.consumers().map(|consumer| &consumer.name()[..]).collect();
    names.sort_unstable();
    names.iter().for_each(|name| put(hasher, name));
    for pending in group.pending_from(StreamId::MIN) {
        hasher.update(&pending.id.to_be_bytes());
        put(hasher, &pending.consumer);
        hasher.update(&pending.delivered_ms.to_le_bytes());
        hasher.update(&pending.deliveries.to_le_bytes());
    }
}
