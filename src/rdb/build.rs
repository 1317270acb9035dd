//! Puts collections together from their parts, for the loader and for RESTORE.

use super::error::LoadCause;
use super::reader::Value;
use super::value::{Part, Sink};
use crate::keyspace::{Building, Keyspace, Kind, OwnedEntry, StrRef, UnixMs};
use crate::types::listpack::Elem;
use crate::types::number::parse_i64;

pub(super) struct Builder {
    building: Building,
}

impl Builder {
    pub fn new(keyspace: &Keyspace) -> Self {
        Builder { building: keyspace.building() }
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

impl Sink for Builder {
    fn begin(&mut self, kind: Kind) {
        self.building.begin(kind);
    }

    fn part(&mut self, part: Part<'_>) -> Result<(), LoadCause> {
        let is_new = match (self.building.kind(), part) {
            (Kind::Set, Part::Element(member)) => self.building.set().add(Elem::of(member)),
            (kind, _) => return Err(LoadCause::UnsupportedType { name: format!("{kind:?}") }),
        };
        if is_new { Ok(()) } else { Err(LoadCause::DuplicateElement) }
    }
}
