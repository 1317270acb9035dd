//! RDB: the snapshot format of Redis, as bytes. `Writer` encodes captured chunks, `Reader` parses any stream of bytes, `load` builds a
//! `Keyspace` from it, `verify` reads it without building anything; `Dumper` and `Payload` are DUMP's and RESTORE's. Knows readers and writers of bytes only: no files, no sockets, no clock.
//!
//! Invariants: a length read from the input never sizes an allocation by itself; an error carries the offset of the byte at which the item
//! that is wrong starts; the writer emits only what its version knows.

mod assembly;
mod build;
mod check;
mod checksum;
mod collections;
mod compact;
mod dump;
mod error;
mod functions;
mod load;
pub mod lzf;
mod reader;
mod source;
mod stream;
mod stream_writer;
mod types;
mod value;
mod writer;

#[cfg(test)]
mod collections_tests;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use crate::keyspace::{DbIndex, Keyspace};

pub use assembly::{Assembly, MakeOverflow, Overflow};
pub use check::check_payload;
pub use checksum::crc64;
pub use compact::CompactError;
#[cfg(test)]
pub use dump::payload_of;
pub use dump::{Dumper, Payload, RestoreError};
pub use error::{LoadCause, LoadError};
pub use functions::{functions_of, functions_payload};
pub use load::{LoadOptions, Loaded, Progress, Summary, load, verify};
pub use reader::{Item, Reader, Value};
pub use types::Family;
pub use value::{EntriesRead, Part, Sink, StreamHistory, StreamInfo};
pub use writer::{Writer, WriterOptions};

/// The versions of the REDIS family that the reader takes: all that end in a checksum, up to Redis 8.4's.
pub const VERSIONS: RangeInclusive<u32> = 5..=12;
/// The versions of the VALKEY family that the reader takes.
pub const VALKEY_VERSIONS: RangeInclusive<u32> = 80..=81;
/// The version written by default: the one that 6.2 loads.
pub const VERSION_WRITTEN: u32 = 9;
/// The first that has hashes with fields that expire.
const VERSION_OF_FIELD_EXPIRY: u32 = 12;
/// The first that has libraries of functions.
const VERSION_OF_FUNCTIONS: u32 = 10;

/// The oldest version that holds all of a dataset.
pub fn version_needed(keyspace: &Keyspace, has_libraries: bool) -> u32 {
    let dbs = || (0..keyspace.databases()).map(|db| keyspace.db(DbIndex(db)));
    if dbs().any(|db| db.expiring_hashes() > 0) {
        return VERSION_OF_FIELD_EXPIRY;
    }
    let facts = dbs().map(|db| db.stream_facts()).max().unwrap_or_default();
    let functions = if has_libraries { VERSION_OF_FUNCTIONS } else { VERSION_WRITTEN };
    functions.max(stream_writer::version_for(facts))
}

/// The oldest version that holds as much of a dataset as its readers know.
pub fn version_for(keyspace: &Keyspace, has_libraries: bool, dialect: Dialect) -> u32 {
    version_needed(keyspace, has_libraries).min(dialect.version_max())
}

/// Whether a version has the times of hashes' fields.
pub fn holds_field_expiry(version: u32) -> bool {
    version >= VERSION_OF_FIELD_EXPIRY
}

/// Whether a version has libraries of functions.
pub fn holds_functions(version: u32) -> bool {
    version >= VERSION_OF_FUNCTIONS
}

/// proto-max-bulk-len's default: no string is longer.
pub const STRING_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The bits of an entry's access information.
const LRU_BITS: u32 = 0xFF_FFFF;

/// The counter of a new key under LFU.
const LFU_INITIAL: u32 = 5;

/// What the 24 access bits of an entry mean, for the IDLE and FREQ opcodes. Follows `maxmemory-policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Neither written nor used when loading.
    #[default]
    Ignored,
    /// The bits are seconds of the LRU clock, whose present value this is.
    Lru { clock: u32 },
    /// The bits are 16 bits of minutes, whose present value this is, and 8 bits of counter.
    Lfu { minutes: u16 },
}

impl Access {
    /// The bits that a key starts with that was idle for so many seconds, or has this counter; `None` where they mean nothing.
    pub fn bits(self, idle: Option<u64>, freq: Option<u8>) -> Option<u32> {
        match self {
            Access::Ignored => None,
            Access::Lru { clock } => Some(clock.wrapping_sub(idle.unwrap_or(0).min(u64::from(LRU_BITS)) as u32) & LRU_BITS),
            Access::Lfu { minutes } => Some(u32::from(minutes) << 8 | freq.map_or(LFU_INITIAL, u32::from)),
        }
    }
}

/// The AUX fields that mean something to a node. Unknown ones are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aux {
    pub redis_ver: Option<String>,
    /// Seconds since the Unix epoch.
    pub ctime: Option<i64>,
    pub used_mem: Option<u64>,
    /// The database that the stream has selected at the cut; -1 when it is not known.
    pub repl_stream_db: Option<i64>,
    pub repl_id: Option<String>,
    pub repl_offset: Option<i64>,
    /// The snapshot is the base of an append-only file.
    pub aof_base: Option<bool>,
}

impl Aux {
    /// The fields of a snapshot that this node writes; those of replication are added by its owner.
    pub fn written_at(unix_seconds: i64, used_mem: u64) -> Aux {
        Aux {
            redis_ver: Some(crate::REDIS_VERSION_CLAIMED.to_owned()),
            ctime: Some(unix_seconds),
            used_mem: Some(used_mem),
            aof_base: Some(false),
            ..Aux::default()
        }
    }

    /// The snapshot names its place in a stream, which whoever loads it can go on from.
    pub fn has_place(&self) -> bool {
        self.repl_id.is_some() && self.repl_offset.is_some_and(|offset| offset >= 0)
    }
}

/// What stands before the keys of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub aux: Aux,
    /// The texts of the libraries of functions; none where the version doesn't know them.
    pub libraries: Vec<Vec<u8>>,
}

impl From<Aux> for Head {
    fn from(aux: Aux) -> Self {
        Head { aux, libraries: Vec::new() }
    }
}

/// A library of functions in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Where in the snapshot it stands.
    pub offset: u64,
    pub code: Vec<u8>,
}

/// Who is to read what is written: the first Redis that reads it. What that cannot hold is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// 6.2.
    Oldest,
    /// 7.0: functions, and how many entries a stream has had.
    V7_0,
    /// 7.2, and Valkey to 8.1: when consumers of a stream were active.
    V7_2,
    /// 8.2, and who knows all this server does: itself with its own files, and slaves of its kind. Nothing is left out.
    Full,
}

impl Dialect {
    /// The newest version that its readers take.
    pub fn version_max(self) -> u32 {
        match self {
            Dialect::Oldest => VERSION_WRITTEN,
            Dialect::V7_0 => 10,
            Dialect::V7_2 => 11,
            Dialect::Full => *VERSIONS.end(),
        }
    }
}

/// The bytes that introduce something other than a key.
mod opcode {
    pub const SLOT_INFO: u8 = 244;
    pub const FUNCTION2: u8 = 245;
    pub const FUNCTION_EARLY: u8 = 246;
    pub const MODULE_AUX: u8 = 247;
    pub const IDLE: u8 = 248;
    pub const FREQ: u8 = 249;
    pub const AUX: u8 = 250;
    pub const RESIZEDB: u8 = 251;
    pub const EXPIRETIME_MS: u8 = 252;
    pub const EXPIRETIME: u8 = 253;
    pub const SELECTDB: u8 = 254;
    pub const EOF: u8 = 255;
}

/// The second halves of length bytes that announce a specially encoded string.
mod encoding {
    pub const INT8: u8 = 0xC0;
    pub const INT16: u8 = 0xC1;
    pub const INT32: u8 = 0xC2;
    pub const LZF: u8 = 0xC3;
}
