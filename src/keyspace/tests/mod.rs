//! The keyspace as a whole against models: random operations, scans under growth, snapshots under writes, memory.

mod hashes;
mod model;
mod scans;
mod snapshots;
mod streams;

use std::collections::BTreeMap;

use super::*;

/// Under Miri everything is smaller by much: it looks for undefined behaviour, not for rare orders.
fn scaled(full: u64) -> u64 {
    if cfg!(miri) { full / 64 } else { full }
}

fn config(cases: u32) -> proptest::test_runner::Config {
    let cases = if cfg!(miri) { 2 } else { cases };
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}

/// A plain generator: tests must be the same every run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What a key is expected to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    value: Vec<u8>,
    encoding: &'static str,
    expire: Option<UnixMs>,
}

type Model = BTreeMap<Vec<u8>, Held>;

fn text(value: StrRef<'_>) -> Vec<u8> {
    match value {
        StrRef::Int(number) => number.to_string().into_bytes(),
        StrRef::Bytes(bytes) => bytes.to_vec(),
    }
}

fn held(entry: &Entry) -> Held {
    let ValueRef::String(value) = entry.value() else { unreachable!("only strings are here") };
    Held { value: text(value), encoding: entry.encoding(), expire: entry.expire_at() }
}

pub(super) fn key<'a>(keyspace: &Keyspace, bytes: &'a [u8]) -> Key<'a> {
    Key { bytes, hash: keyspace.hash(bytes) }
}

/// One random write to a database and its model; keys are drawn from `keys` names.
fn write(keyspace: &mut Keyspace, db: DbIndex, model: &mut Model, random: &mut Random, keys: u64) {
    let name = name(random.below(keys));
    let key = key(keyspace, &name);
    let old = model.get(&name).cloned();
    let expire = match random.below(4) {
        0 => SetExpire::Keep,
        1 => SetExpire::At(UnixMs(1 + random.below(1_000_000) as i64)),
        _ => SetExpire::Clear,
    };
    let old_expire = old.as_ref().and_then(|held| held.expire);
    let new_expire = match expire {
        SetExpire::Keep => old_expire,
        SetExpire::Clear => None,
        SetExpire::At(at) => Some(at),
    };
    let target = keyspace.db_mut(db);
    match random.below(14) {
        0..=3 => {
            let value = some_value(random);
            assert_eq!(target.set_string(key, &value, expire), old.is_some());
            model.insert(name, Held { encoding: encoding(&value), value, expire: new_expire });
        }
        4 => {
            let number = random.next() as i64 >> random.below(64);
            assert_eq!(target.set_int(key, number, expire), old.is_some());
            model.insert(name, Held { encoding: "int", value: number.to_string().into_bytes(), expire: new_expire });
        }
        5 => {
            let tail = some_value(random);
            let mut value = old.as_ref().map_or(Vec::new(), |held| held.value.clone());
            value.extend_from_slice(&tail);
            assert_eq!(target.append(key, &tail), value.len());
            let encoding = if old.is_some() { "raw" } else { encoding(&value) };
            model.insert(name, Held { encoding, value, expire: old_expire });
        }
        6 => {
            let offset_max = if random.below(8) == 0 { 3000 } else { 40 };
            let (offset, bytes) = (random.below(offset_max) as usize, some_value(random));
            let mut value = old.as_ref().map_or(Vec::new(), |held| held.value.clone());
            if bytes.is_empty() {
                assert_eq!(target.set_range(key, offset, &bytes), value.len());
                return;
            }
            value.resize(value.len().max(offset + bytes.len()), 0);
            value[offset..offset + bytes.len()].copy_from_slice(&bytes);
            assert_eq!(target.set_range(key, offset, &bytes), value.len());
            model.insert(name, Held { encoding: "raw", value, expire: old_expire });
        }
        12 => {
            let len_max = if random.below(8) == 0 { 3000 } else { 40 };
            let len = random.below(len_max) as usize;
            let mut value = old.as_ref().map_or(Vec::new(), |held| held.value.clone());
            value.resize(value.len().max(len), 0);
            value.reverse();
            target.modify_bytes(key, len, <[u8]>::reverse);
            model.insert(name, Held { encoding: "raw", value, expire: old_expire });
        }
        13 => {
            let value = some_value(random);
            target.set_raw(key, value.clone(), expire);
            model.insert(name, Held { encoding: "raw", value, expire: new_expire });
        }
        7 => {
            assert_eq!(target.set_expire(key, new_expire), old.is_some());
            if let Some(held) = model.get_mut(&name) {
                held.expire = new_expire;
            }
        }
        8 => {
            let taken = target.take(key);
            assert_eq!(taken.as_ref().map(|entry| held(entry.entry())), model.remove(&name));
            let other = self::name(random.below(keys));
            if let Some(taken) = taken {
                let hash = keyspace.hash(&other);
                let replaced = keyspace.db_mut(db).insert(hash, taken.with_key(&other));
                let old = model.insert(other, held(taken.entry()));
                assert_eq!(replaced, old.is_some());
            }
        }
        _ => {
            assert_eq!(target.remove(key, random.below(2) == 0), old.is_some());
            model.remove(&name);
        }
    }
}

fn name(number: u64) -> Vec<u8> {
    // Some longer than 255 bytes, where the length has its own place.
    let mut name = format!("key:{number}").into_bytes();
    if number % 50 == 7 {
        name.resize(200 + (number % 200) as usize, b'.');
    }
    name
}

fn encoding(value: &[u8]) -> &'static str {
    match crate::types::number::parse_i64(value) {
        Some(_) => "int",
        None if value.len() <= 44 => "embstr",
        None => "raw",
    }
}

fn some_value(random: &mut Random) -> Vec<u8> {
    match random.below(16) {
        0..=3 => (random.next() as i64 >> random.below(64)).to_string().into_bytes(),
        4 => vec![b'L'; 1000 + random.below(2000) as usize],
        5 => Vec::new(),
        _ => vec![b'a' + random.below(26) as u8; random.below(100) as usize],
    }
}

/// Database and model hold the same, by every way of reading.
fn check(keyspace: &Keyspace, db: DbIndex, model: &Model) {
    let target = keyspace.db(db);
    assert_eq!(target.len(), model.len() as u64);
    assert_eq!(target.expires_len(), model.values().filter(|held| held.expire.is_some()).count() as u64);
    for (name, expected) in model {
        assert_eq!(target.get(key(keyspace, name)).map(held).as_ref(), Some(expected), "{:?}", String::from_utf8_lossy(name));
    }
    let by_iter: Model = target.iter().map(|entry| (entry.key().to_vec(), held(entry))).collect();
    assert_eq!(by_iter.len() as u64, target.len());
    assert!(&by_iter == model);
}
