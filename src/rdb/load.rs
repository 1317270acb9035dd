//! From a snapshot's bytes to a new keyspace, aside from the one in use: nothing is kept of a snapshot that fails.

use std::io::Read;
use std::ops::ControlFlow;

use super::error::{LoadCause, LoadError};
use super::reader::{Item, Reader, Value};
use super::{Access, Aux, LRU_BITS, STRING_BYTES_MAX};
use crate::keyspace::{DbIndex, Keyspace, OwnedEntry, StrRef, UnixMs};
use crate::types::number;

const PROGRESS_BYTES: u64 = 2 * 1024 * 1024;
const PROGRESS_KEYS: u64 = 10_000;
/// Entries whose buckets are asked for before the first is put in.
const BATCH: usize = 32;
/// The counter of a new key under LFU.
const LFU_INITIAL: u32 = 5;

#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    pub databases: u32,
    /// For the new keyspace: the same as that of the keyspace which it will replace.
    pub hash_seed: u64,
    /// A master drops keys that were due before this moment; a slave (`None`) keeps them until its master says DEL.
    pub drop_expired_at: Option<UnixMs>,
    /// `rdbchecksum`.
    pub checksum: bool,
    pub string_bytes_max: u64,
    pub access: Access,
}

impl LoadOptions {
    pub fn new(databases: u32, hash_seed: u64) -> Self {
        let (drop_expired_at, checksum, access) = (None, true, Access::Ignored);
        LoadOptions { databases, hash_seed, drop_expired_at, checksum, string_bytes_max: STRING_BYTES_MAX, access }
    }
}

/// How far a load has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub bytes: u64,
    pub keys: u64,
}

/// What a snapshot contains, without the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub version: u32,
    pub aux: Aux,
    pub keys: u64,
    /// Keys with an expiry.
    pub expires: u64,
    /// The snapshot's length: header to checksum.
    pub bytes: u64,
    /// Bytes that were read from the input behind the end. Redis ignores what follows in a file.
    pub read_ahead: u64,
}

pub struct Loaded {
    pub keyspace: Keyspace,
    pub version: u32,
    pub aux: Aux,
    pub keys_loaded: u64,
    pub keys_expired: u64,
    pub bytes: u64,
    pub read_ahead: u64,
}

/// Loads a snapshot. `progress` is told about every 2 MB or 10,000 keys, and may stop the load.
pub fn load(input: impl Read, options: &LoadOptions, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Loaded, LoadError> {
    let mut loader =
        Loader { keyspace: Keyspace::new(options.databases, options.hash_seed), options, batch: Vec::with_capacity(BATCH), keys_expired: 0 };
    let summary = read_all(input, options, progress, &mut |key| loader.key(key))?;
    loader.put_in_batch()?;
    let Loader { keyspace, keys_expired, .. } = loader;
    let Summary { version, aux, keys, bytes, read_ahead, .. } = summary;
    Ok(Loaded { keyspace, version, aux, keys_loaded: keys - keys_expired, keys_expired, bytes, read_ahead })
}

/// Reads a snapshot to its end and checks everything but duplicate keys, which only a table could tell.
pub fn verify(input: impl Read, options: &LoadOptions, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Summary, LoadError> {
    read_all(input, options, progress, &mut |_| Ok(()))
}

/// A key of the input.
struct Incoming<'a> {
    db: DbIndex,
    key: &'a [u8],
    expire: Option<UnixMs>,
    idle: Option<u64>,
    freq: Option<u8>,
    value: Value<'a>,
    offset: u64,
}

fn read_all(
    input: impl Read,
    options: &LoadOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    sink: &mut dyn FnMut(Incoming<'_>) -> Result<(), LoadError>,
) -> Result<Summary, LoadError> {
    let mut reader = Reader::new(input)?;
    reader.limit_strings(options.string_bytes_max);
    reader.limit_databases(options.databases);
    if !options.checksum {
        reader.ignore_checksum();
    }
    let mut summary = Summary { version: reader.version(), ..Summary::default() };
    let mut told = Progress::default();
    loop {
        let offset = reader.offset();
        match reader.next_item()? {
            Item::Aux { name, value } => summary.aux.set(name, value),
            Item::Key { db, key, expire, idle, freq, value } => {
                summary.keys += 1;
                summary.expires += u64::from(expire.is_some());
                sink(Incoming { db, key, expire, idle, freq, value, offset })?;
            }
            Item::End => break,
        }
        let now = Progress { bytes: reader.offset(), keys: summary.keys };
        if now.bytes - told.bytes >= PROGRESS_BYTES || now.keys - told.keys >= PROGRESS_KEYS {
            told = now;
            if progress(now).is_break() {
                return Err(LoadCause::Stopped.at(now.bytes));
            }
        }
    }
    summary.bytes = reader.offset();
    summary.read_ahead = reader.unread().len() as u64;
    Ok(summary)
}

impl Aux {
    fn set(&mut self, name: &[u8], value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"redis-ver" | b"valkey-ver" => self.redis_ver = Some(text()),
            b"ctime" => self.ctime = number::parse_i64(value),
            b"used-mem" => self.used_mem = number::parse_i64(value).and_then(|bytes| u64::try_from(bytes).ok()),
            b"repl-stream-db" => self.repl_stream_db = number::parse_i64(value),
            b"repl-id" => self.repl_id = Some(text()),
            b"repl-offset" => self.repl_offset = number::parse_i64(value),
            b"aof-base" | b"aof-preamble" => self.aof_base = number::parse_i64(value).map(|flag| flag != 0),
            _ => {}
        }
    }
}

struct Pending {
    db: DbIndex,
    hash: u64,
    entry: OwnedEntry,
    offset: u64,
}

struct Loader<'o> {
    keyspace: Keyspace,
    options: &'o LoadOptions,
    batch: Vec<Pending>,
    keys_expired: u64,
}

impl Loader<'_> {
    fn key(&mut self, incoming: Incoming<'_>) -> Result<(), LoadError> {
        let Incoming { db, key, expire, idle, freq, value, offset } = incoming;
        if let (Some(now), Some(at)) = (self.options.drop_expired_at, expire)
            && at < now
        {
            self.keys_expired += 1;
            return Ok(());
        }
        let value = match value {
            Value::Int(number) => StrRef::Int(number),
            Value::Bytes(bytes) => number::parse_i64(bytes).map_or(StrRef::Bytes(bytes), StrRef::Int),
        };
        let hash = self.keyspace.hash(key);
        self.keyspace.db(db).prefetch_bucket(hash);
        let entry = OwnedEntry::new_string(key, value, expire);
        if let Some(bits) = access_bits(self.options.access, idle, freq) {
            entry.entry().set_lru(bits);
        }
        self.batch.push(Pending { db, hash, entry, offset });
        if self.batch.len() == BATCH { self.put_in_batch() } else { Ok(()) }
    }

    fn put_in_batch(&mut self) -> Result<(), LoadError> {
        for Pending { db, hash, entry, offset } in self.batch.drain(..) {
            if self.keyspace.db_mut(db).insert(hash, entry) {
                return Err(LoadCause::DuplicateKey.at(offset));
            }
        }
        Ok(())
    }
}

/// The bits that a loaded key starts with, where they mean something.
fn access_bits(access: Access, idle: Option<u64>, freq: Option<u8>) -> Option<u32> {
    match access {
        Access::Ignored => None,
        Access::Lru { clock } => Some(clock.wrapping_sub(idle.unwrap_or(0).min(u64::from(LRU_BITS)) as u32) & LRU_BITS),
        Access::Lfu { minutes } => Some(u32::from(minutes) << 8 | freq.map_or(LFU_INITIAL, u32::from)),
    }
}
