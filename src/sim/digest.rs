//! A quick digest of a whole dataset, for comparisons at every moment of a run. It covers more than DEBUG DIGEST does: times of expiry, and what
//! streams have besides their entries. Equal data has equal digests in every process.

use std::collections::{BTreeMap, BTreeSet};

use crate::env::Random;
use crate::keyspace::{DbIndex, Entry, Keyspace, StrRef, ValueRef};
use crate::rdb::crc64;
use crate::types::listpack::ElemBuf;
use crate::types::number::DoubleBuf;
use crate::types::stream::{Stream, StreamId};

/// The digest of all databases. Keys that are due and not deleted count, as what they are.
pub(super) fn digest(keyspace: &Keyspace) -> u64 {
    let mut total = 0u64;
    // The order of keys is a matter of the node's hash seed.
    each(keyspace, |_, bytes| total = total.wrapping_add(mixed(bytes)));
    total
}

/// Calls `f` with every key, as database and name, and all that there is to it.
fn each(keyspace: &Keyspace, mut f: impl FnMut((u32, &[u8]), &[u8])) {
    let mut scratch = Vec::new();
    for number in 0..keyspace.databases() {
        for entry in keyspace.db(DbIndex(number)).iter() {
            scratch.clear();
            scratch.extend_from_slice(&number.to_le_bytes());
            put(&mut scratch, entry.key());
            scratch.push(entry.kind() as u8);
            scratch.extend_from_slice(&entry.expire_at().map_or(i64::MIN, |at| at.0).to_le_bytes());
            put_value(&mut scratch, entry);
            f((number, entry.key()), &scratch);
        }
    }
}

/// Says of some keys that differ what each side has, for people.
pub(super) fn difference(one: &Keyspace, other: &Keyspace) -> String {
    let all = |keyspace| {
        let mut all = BTreeMap::new();
        each(keyspace, |(db, key), bytes| drop(all.insert((db, key.to_vec()), bytes.to_vec())));
        all
    };
    let (one, other) = (all(one), all(other));
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differing = keys.into_iter().filter(|key| one.get(*key) != other.get(*key));
    let text = |bytes: Option<&Vec<u8>>| bytes.map_or("nothing".to_owned(), |bytes| bytes[..bytes.len().min(300)].escape_ascii().to_string());
    let tell = |key: &(u32, Vec<u8>)| format!("{}/{}: {} / {}", key.0, key.1.escape_ascii(), text(one.get(key)), text(other.get(key)));
    differing.take(5).map(tell).collect::<Vec<_>>().join("; ")
}

/// A checksum that no sum of others is likely to make up for.
fn mixed(bytes: &[u8]) -> u64 {
    let hash = crc64(bytes);
    let hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ hash >> 29
}

/// How many keys there are in all databases.
pub(super) fn keys(keyspace: &Keyspace) -> u64 {
    (0..keyspace.databases()).map(|number| keyspace.db(DbIndex(number)).len()).sum()
}

/// Bytes with their length, so that no two sequences look alike.
fn put(scratch: &mut Vec<u8>, bytes: &[u8]) {
    scratch.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    scratch.extend_from_slice(bytes);
}

/// The sum of what `of` makes of each element: their order does not matter.
struct Unordered(u64);

impl Unordered {
    fn add(&mut self, parts: &[&[u8]], scratch: &mut Vec<u8>) {
        scratch.clear();
        parts.iter().for_each(|part| put(scratch, part));
        self.0 = self.0.wrapping_add(mixed(scratch));
    }
}

fn put_value(scratch: &mut Vec<u8>, entry: &Entry) {
    match entry.value() {
        ValueRef::String(StrRef::Int(number)) => return put(scratch, itoa::Buffer::new().format(number).as_bytes()),
        ValueRef::String(StrRef::Bytes(bytes)) => return put(scratch, bytes),
        ValueRef::Block(..) | ValueRef::Big(_) => {}
    }
    let mut buffer = ElemBuf::new();
    if let Some(list) = entry.list() {
        list.iter().for_each(|elem| put(scratch, elem.bytes(&mut buffer)));
    }
    if let Some(stream) = entry.stream() {
        put_stream(scratch, stream);
    }
    let (mut sum, mut one) = (Unordered(0), Vec::new());
    if let Some(set) = entry.set() {
        set.iter().for_each(|member| sum.add(&[member.bytes(&mut buffer)], &mut one));
    }
    if let Some(hash) = entry.hash() {
        let mut value = ElemBuf::new();
        for (name, field) in hash.iter() {
            let expire = field.expire.map_or(i64::MIN, |at| at.0).to_le_bytes();
            sum.add(&[name.bytes(&mut buffer), field.value.bytes(&mut value), &expire], &mut one);
        }
    }
    if let Some(zset) = entry.zset() {
        let mut text = DoubleBuf::default();
        zset.for_each(|member, score| sum.add(&[member.bytes(&mut buffer), text.shortest(score).as_bytes()], &mut one));
    }
    scratch.extend_from_slice(&sum.0.to_le_bytes());
}

fn put_stream(scratch: &mut Vec<u8>, stream: &Stream) {
    let (mut field_text, mut value_text) = (ElemBuf::new(), ElemBuf::new());
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        scratch.extend_from_slice(&entry.id.to_be_bytes());
        for (field, value) in entry.pairs() {
            put(scratch, field.bytes(&mut field_text));
            put(scratch, value.bytes(&mut value_text));
        }
    }
    scratch.extend_from_slice(&stream.last_id().to_be_bytes());
    for (name, group) in stream.groups() {
        put(scratch, name);
        scratch.extend_from_slice(&group.last_id().to_be_bytes());
        for consumer in group.consumers() {
            put(scratch, consumer.name());
        }
        for pending in group.pending_from(StreamId::MIN) {
            scratch.extend_from_slice(&pending.id.to_be_bytes());
            put(scratch, &pending.consumer);
        }
    }
}

/// So many bytes that no compression shortens.
pub(super) fn noise(random: &dyn Random, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| random.next_u64().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}
