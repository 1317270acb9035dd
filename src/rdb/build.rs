//! Puts collections together from their parts, for the loader and for RESTORE.

use super::error::LoadCause;
use super::value::{Part, Sink};
use crate::keyspace::{Building, Keyspace, Kind, OwnedEntry, UnixMs};
use crate::types::listpack::Elem;

pub(super) struct Builder {
    building: Building,
}

impl Builder {
    pub fn new(keyspace: &Keyspace) -> Self {
        Builder { building: keyspace.building() }
    }

    /// The entry with the collection whose last part has been taken.
    pub fn finish(&mut self, key: &[u8], expire: Option<UnixMs>) -> Result<OwnedEntry, LoadCause> {
        self.building.finish(key, expire).ok_or(LoadCause::Corrupt("an empty collection"))
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
