//! DUMP's payload: one value as it stands in a snapshot, its type in front, the version of the format (2 bytes, little-endian) and the CRC-64 of all
//! before it behind.

use super::build::Builder;
use super::error::LoadError;
use super::reader::Reader;
use super::stream_writer;
use super::types::Family;
use super::{Dialect, VALKEY_VERSIONS, VERSION_OF_FIELD_EXPIRY, VERSION_WRITTEN, VERSIONS, Writer, WriterOptions, checksum};
use crate::keyspace::{Entry, Keyspace, OwnedEntry, UnixMs};

const VERSION_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Too short, of a version that is not known, or with a wrong checksum.
    #[error("the payload's version or checksum are wrong")]
    Footer,
    #[error(transparent)]
    Value(#[from] LoadError),
}

/// Makes payloads; keeps its buffers.
pub struct Dumper {
    writer: Writer<Vec<u8>>,
}

impl Default for Dumper {
    fn default() -> Self {
        Dumper { writer: Writer::new(Vec::new(), WriterOptions { checksum: false, ..WriterOptions::default() }) }
    }
}

impl Dumper {
    /// The payload of an entry's value, until the next call: of the oldest version that holds it for its readers.
    pub fn dump(&mut self, entry: &Entry, dialect: Dialect, compress: bool) -> &[u8] {
        self.writer.get_mut().clear();
        let expires = entry.hash().is_some_and(|hash| hash.next_expiry().is_some());
        let version = match (entry.stream(), dialect) {
            _ if expires => VERSION_OF_FIELD_EXPIRY,
            (Some(stream), Dialect::Full) => stream_writer::version_for(stream.facts()),
            _ => VERSION_WRITTEN,
        };
        self.writer.set_options(WriterOptions { version, compress, ..self.writer.options() });
        self.writer.value(entry).and_then(|()| self.writer.flush()).expect("a vector takes everything");
        let payload = self.writer.get_mut();
        add_footer(payload, version);
        payload
    }
}

pub(super) fn add_footer(payload: &mut Vec<u8>, version: u32) {
    payload.extend_from_slice(&(version as u16).to_le_bytes());
    let checksum = checksum_of(payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
}

/// A payload of these bytes, with a right footer.
#[cfg(test)]
pub fn payload_of(value: &[u8], version: u32) -> Vec<u8> {
    let mut payload = value.to_vec();
    add_footer(&mut payload, version);
    payload
}

fn checksum_of(bytes: &[u8]) -> u64 {
    let mut checksum = checksum::start();
    checksum.update(bytes);
    checksum.finalize()
}

/// A payload whose footer is right.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    value: &'a [u8],
    family: Family,
    version: u32,
}

impl<'a> Payload<'a> {
    /// Checks the footer. There have been servers that wrote older versions than files may have.
    pub fn new(bytes: &'a [u8]) -> Result<Self, RestoreError> {
        let (checked, told) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(RestoreError::Footer)?;
        let (value, version) = checked.split_last_chunk::<VERSION_BYTES>().ok_or(RestoreError::Footer)?;
        let version = u32::from(u16::from_le_bytes(*version));
        let family = if VALKEY_VERSIONS.contains(&version) { Family::Valkey } else { Family::Redis };
        if (family == Family::Redis && version > *VERSIONS.end()) || checksum_of(checked) != u64::from_le_bytes(*told) {
            return Err(RestoreError::Footer);
        }
        Ok(Payload { value, family, version })
    }

    /// What stands before the footer.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.value
    }

    pub(super) fn family(self) -> Family {
        self.family
    }

    /// Whether 6.2 and all that came later know its version.
    pub fn is_universal(self) -> bool {
        self.version <= VERSION_WRITTEN
    }

    /// The value under a key, for `keyspace`. What stands behind the value is ignored, as in Redis.
    pub fn restore(self, key: &[u8], expire: Option<UnixMs>, keyspace: &Keyspace) -> Result<OwnedEntry, RestoreError> {
        let mut reader = Reader::of_payload(self.value, self.family);
        let mut builder = Builder::new(keyspace);
        let value = reader.value(&mut builder)?;
        let entry = builder.entry(key, value, expire).map_err(|cause| cause.at(0))?;
        Ok(entry)
    }
}
