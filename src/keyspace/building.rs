//! Collections that are put together apart from any database: by loading a snapshot, and by RESTORE.

use super::big::Value;
use super::entry::OwnedEntry;
use super::hash::HashEdit;
use super::hasher::KeyHasher;
use super::list::ListEdit;
use super::set::SetEdit;
use super::zset::ZSetEdit;
use super::{Keyspace, Kind, UnixMs};
use crate::types::limits::Limits;
use crate::types::stream::Stream;

/// One collection after another.
pub struct Building {
    kind: Kind,
    value: Value,
    limits: Limits,
    hasher: KeyHasher,
}

impl Keyspace {
    /// Builds collections for this keyspace, or one with the same seed.
    pub fn building(&self) -> Building {
        Building { kind: Kind::String, value: Value::new(Vec::new()), limits: self.limits(), hasher: self.hasher().clone() }
    }
}

impl Building {
    /// An empty collection, in the place of what there was.
    pub fn begin(&mut self, kind: Kind) {
        let old = std::mem::replace(&mut self.value, Value::new(Vec::new()));
        self.kind = kind;
        self.value = if kind == Kind::Stream { Value::new_stream() } else { Value::new(old.into_scratch()) };
        if kind == Kind::Set {
            self.set().expect_ints();
        }
    }
    pub fn kind(&self) -> Kind {
        self.kind
    }
    pub fn list(&mut self) -> ListEdit<'_> {
        assert!(self.kind == Kind::List);
        ListEdit::new(&mut self.value, &self.limits)
    }
    pub fn set(&mut self) -> SetEdit<'_> {
        assert!(self.kind == Kind::Set);
        SetEdit::new(&mut self.value, &self.limits, &self.hasher)
    }
    pub fn stream(&mut self) -> &mut Stream {
        self.value.stream_mut()
    }
    pub fn hash(&mut self) -> HashEdit<'_> {
        assert!(self.kind == Kind::Hash);
        HashEdit::new(&mut self.value, &self.limits, &self.hasher)
    }
    pub fn zset(&mut self) -> ZSetEdit<'_> {
        assert!(self.kind == Kind::ZSet);
        ZSetEdit::new(&mut self.value, &self.limits, &self.hasher)
    }
    /// An entry with the collection that has been built, which is gone here; `None` if that is empty, unless it is a stream.
    pub fn finish(&mut self, key: &[u8], expire: Option<UnixMs>) -> Option<OwnedEntry> {
        let entry = OwnedEntry::from_value(key, self.kind, &mut self.value, expire);
        self.begin(Kind::String);
        entry
    }
}
