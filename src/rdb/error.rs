//! Why a snapshot can't be loaded, and at which byte.

use std::io;

use super::compact::CompactError;
use crate::types::listpack::PackError;
use crate::types::stream::BlockError;

/// A refused snapshot. Nothing of it has been kept.
#[derive(Debug, thiserror::Error)]
#[error("{cause} (at byte {offset})")]
pub struct LoadError {
    /// Where the item starts that could not be read; for the end of input, where the bytes stop.
    pub offset: u64,
    #[source]
    pub cause: LoadCause,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadCause {
    #[error("this is not an RDB file: wrong magic")]
    BadMagic,
    #[error("can't handle RDB format version {found}: known are {min} to {max}")]
    Version { found: u32, min: u32, max: u32 },
    #[error("wrong checksum: the file says {found:016x}, its bytes give {computed:016x}")]
    Checksum { found: u64, computed: u64 },
    #[error("unexpected end of the RDB")]
    Eof,
    #[error("can't load {name}: not built yet")]
    UnsupportedType { name: String },
    #[error("corrupt RDB: {0}")]
    Corrupt(&'static str),
    #[error("corrupt RDB: {0}")]
    Compact(#[from] CompactError),
    #[error("corrupt RDB: {0}")]
    StreamNode(#[from] BlockError),
    #[error("the RDB uses database {found}, and there are only {databases} here")]
    DatabaseOutOfRange { found: u64, databases: u32 },
    #[error("the RDB has a key twice")]
    DuplicateKey,
    #[error("the RDB has an element of a collection twice")]
    DuplicateElement,
    #[error("the RDB has a library of functions that can't be loaded: {0}")]
    Library(String),
    #[error("what is loaded takes more than {max} bytes of memory")]
    Memory { max: u64 },
    #[error("loading was stopped")]
    Stopped,
    #[error("can't read the RDB: {0}")]
    Io(#[from] io::Error),
}

impl From<PackError> for LoadCause {
    fn from(error: PackError) -> Self {
        LoadCause::Compact(error.into())
    }
}

impl LoadCause {
    pub(super) fn at(self, offset: u64) -> LoadError {
        LoadError { offset, cause: self }
    }
}
