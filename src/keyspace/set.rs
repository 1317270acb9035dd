//! Sets: of integers in an intset, small ones in a listpack, big ones in a table.

use super::Kind;
use super::big::{Big, BigBox, Value};
use super::db::{Db, Edited};
use super::entry::{Entry, Form, Key, ValueRef};
use super::hasher::KeyHasher;
use super::members::Members;
use crate::types::limits::Limits;
use crate::types::listpack::{Elem, ElemBuf, Pack, PackMut};

/// A set, for reading.
#[derive(Clone, Copy)]
pub enum SetRef<'a> {
    Pack(Pack<'a>),
    Table(&'a Members),
}

impl Entry {
    /// The value if it is a set.
    pub fn set(&self) -> Option<SetRef<'_>> {
        if self.kind() != Kind::Set {
            return None;
        }
        match self.value() {
            ValueRef::Block(_, bytes) => Some(SetRef::Pack(Pack::new(bytes))),
            ValueRef::Big(Big::Set(members)) => Some(SetRef::Table(members)),
            _ => unreachable!("a set has a set's forms"),
        }
    }
}

impl SetRef<'_> {
    /// SCARD.
    pub fn len(self) -> u64 {
        match self {
            SetRef::Pack(pack) => pack.len() as u64,
            SetRef::Table(members) => members.len(),
        }
    }
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
    pub fn contains(self, member: &[u8]) -> bool {
        match self {
            SetRef::Pack(pack) => pack.find(member, 1).is_some(),
            SetRef::Table(members) => members.get(member).is_some(),
        }
    }
    /// Calls `f` for every member: those of a listpack in the order in which they came.
    pub fn for_each(self, mut f: impl FnMut(Elem<'_>)) {
        match self {
            SetRef::Pack(pack) => pack.iter().for_each(f),
            SetRef::Table(members) => members.iter().for_each(|entry| f(Elem::Bytes(entry.key()))),
        }
    }
}

/// A set, for changing.
pub struct SetEdit<'a> {
    value: &'a mut Value,
    limits: &'a Limits,
    hasher: &'a KeyHasher,
}

impl<'a> SetEdit<'a> {
    pub(super) fn new(value: &'a mut Value, limits: &'a Limits, hasher: &'a KeyHasher) -> Self {
        SetEdit { value, limits, hasher }
    }
    /// True if the member is new.
    pub fn add(&mut self, member: &[u8]) -> bool {
        match self.value {
            Value::Block(_, bytes) => {
                let pack = Pack::new(bytes);
                if pack.find(member, 1).is_some() {
                    return false;
                }
                if (pack.len() as u64) < self.limits.set_entries && member.len() as u64 <= self.limits.set_value {
                    PackMut::new(bytes).push_back(Elem::of(member));
                    return true;
                }
                self.grow();
                self.add(member)
            }
            Value::Big(big) => members_mut(big).insert_name(member),
        }
    }
    /// True if the member was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self.value {
            Value::Block(_, bytes) => {
                let Some(pos) = Pack::new(bytes).find(member, 1) else { return false };
                PackMut::new(bytes).remove(pos, 1);
                true
            }
            Value::Big(big) => members_mut(big).remove(member),
        }
    }
    /// From a listpack to a table.
    fn grow(&mut self) {
        let Value::Block(Form::ListPack, bytes) = &*self.value else { unreachable!("only a block grows") };
        let mut members = Members::new(self.hasher);
        let mut buffer = ElemBuf::new();
        for elem in Pack::new(bytes) {
            members.insert_name(elem.bytes(&mut buffer));
        }
        *self.value = Value::Big(BigBox::new(Big::Set(members)));
    }
}

fn members_mut(big: &mut BigBox) -> &mut Members {
    match big.get_mut() {
        Big::Set(members) => members,
    }
}

impl Db {
    /// Changes a set, or creates it when `create` says so; an emptied one is gone. `None` if there is none. The key must not hold another type.
    pub fn edit_set<R>(&mut self, key: Key<'_>, create: bool, change: impl FnOnce(&mut SetEdit<'_>) -> R) -> Option<Edited<R>> {
        self.edit_collection(key, Kind::Set, create, |value, limits, hasher| change(&mut SetEdit::new(value, limits, hasher)))
    }
}
