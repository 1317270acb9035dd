//! Sets: of integers in an intset, small ones in a listpack, big ones in a table.

use std::collections::BTreeSet;

use super::Kind;
use super::big::{Big, BigBox, Value};
use super::db::{Db, Edited};
use super::entry::{Entry, Form, Key, ValueRef};
use super::hasher::KeyHasher;
use super::members::Members;
use crate::types::intset::{self, IntSet};
use crate::types::limits::Limits;
use crate::types::listpack::{Elem, ElemBuf, Pack, PackMut};

/// A set, for reading.
#[derive(Clone, Copy)]
pub enum SetRef<'a> {
    Ints(IntSet<'a>),
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
            ValueRef::Block(Form::IntSet, bytes) => Some(SetRef::Ints(IntSet::new(bytes))),
            ValueRef::Block(_, bytes) => Some(SetRef::Pack(Pack::new(bytes))),
            ValueRef::Big(Big::Set(members)) => Some(SetRef::Table(members)),
            _ => unreachable!("a set has a set's forms"),
        }
    }
}

impl<'a> SetRef<'a> {
    /// SCARD.
    pub fn len(self) -> u64 {
        match self {
            SetRef::Ints(ints) => ints.len() as u64,
            SetRef::Pack(pack) => pack.len() as u64,
            SetRef::Table(members) => members.len(),
        }
    }
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
    pub fn contains(self, member: Elem<'_>) -> bool {
        match self {
            SetRef::Ints(ints) => member.as_int().is_some_and(|number| ints.contains(number)),
            SetRef::Pack(pack) => pack.find(member.bytes(&mut ElemBuf::new()), 1).is_some(),
            SetRef::Table(members) => members.get(member.bytes(&mut ElemBuf::new())).is_some(),
        }
    }
    /// Every member: integers ascending, those of a listpack in the order in which they came, those of a table in its order.
    pub fn iter(self) -> impl Iterator<Item = Elem<'a>> {
        let (ints, pack, table) = match self {
            SetRef::Ints(ints) => (Some(ints), None, None),
            SetRef::Pack(pack) => (None, Some(pack), None),
            SetRef::Table(members) => (None, None, Some(members)),
        };
        let ints = ints.into_iter().flat_map(|ints| ints.iter().map(Elem::Int));
        let pack = pack.into_iter().flat_map(Pack::iter);
        ints.chain(pack).chain(table.into_iter().flat_map(|members| members.iter().map(|entry| Elem::of(entry.key()))))
    }
    /// `count` different members, uniformly chosen; the set has more.
    pub fn sample(self, count: usize, random: &mut dyn FnMut() -> u64) -> Vec<Elem<'a>> {
        let mut chosen = Vec::with_capacity(count);
        match self {
            SetRef::Table(members) if (count as u64) < members.len() / 3 => {
                let mut seen = BTreeSet::new();
                while chosen.len() < count {
                    let member = self.random(random);
                    let mut buffer = ElemBuf::new();
                    if seen.insert(member.bytes(&mut buffer).to_vec()) {
                        chosen.push(member);
                    }
                }
            }
            _ => {
                // Each is taken with the chance that makes the rest come out even.
                let mut left = self.len();
                for member in self.iter() {
                    if random() % left < (count - chosen.len()) as u64 {
                        chosen.push(member);
                    }
                    left -= 1;
                }
            }
        }
        chosen
    }
    /// A uniformly chosen member of a set that is not empty; `random` gives 64-bit numbers.
    pub fn random(self, random: &mut dyn FnMut() -> u64) -> Elem<'a> {
        let mut index = |len: usize| (random() % len as u64) as usize;
        let chosen = match self {
            SetRef::Ints(ints) => ints.get(index(ints.len())).map(Elem::Int),
            SetRef::Pack(pack) => pack.get(index(pack.len())),
            SetRef::Table(members) => members.random(random).map(|entry| Elem::of(entry.key())),
        };
        chosen.expect("a set has members")
    }
}

/// A set that belongs to no key yet.
pub struct NewSet {
    value: Value,
    limits: Limits,
    hasher: KeyHasher,
}

impl NewSet {
    pub fn edit(&mut self) -> SetEdit<'_> {
        SetEdit::new(&mut self.value, &self.limits, &self.hasher)
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
    /// As it is now.
    pub fn get(&self) -> SetRef<'_> {
        match &*self.value {
            Value::Block(Form::IntSet, bytes) => SetRef::Ints(IntSet::new(bytes)),
            Value::Block(_, bytes) => SetRef::Pack(Pack::new(bytes)),
            Value::Big(big) => match big.get() {
                Big::Set(members) => SetRef::Table(members),
                _ => unreachable!("a set has a set's forms"),
            },
        }
    }
    /// The form that a new set has until it gets another member than an integer.
    pub(super) fn expect_ints(&mut self) {
        let Value::Block(form, bytes) = &mut *self.value else { unreachable!("only a new set is told what to expect") };
        *form = Form::IntSet;
        bytes.clear();
    }
    /// About to add `count` members, of which the first is `member`: a new set takes the form for that, an old one gives up one that would be too
    /// small, even if they are in it already (SADD, Redis 7.2).
    pub fn expect(&mut self, count: u64, member: Elem<'_>) {
        let is_int = member.as_int().is_some();
        let wanted = match &mut *self.value {
            Value::Big(_) => return,
            Value::Block(form, bytes) if *form == Form::ListPack && Pack::new(bytes).is_empty() && is_int && count <= self.limits.intset_entries => {
                *form = Form::IntSet;
                bytes.clear();
                return;
            }
            Value::Block(Form::IntSet, _) => self.limits.intset_entries,
            Value::Block(..) => self.limits.set_entries,
        };
        if count > wanted {
            self.grow();
        }
    }
    /// True if the member is new.
    pub fn add(&mut self, member: Elem<'_>) -> bool {
        match &mut *self.value {
            Value::Block(Form::IntSet, bytes) => {
                let Some(number) = member.as_int() else {
                    self.leave_intset(member.len() as u64);
                    return self.add(member);
                };
                let added = intset::insert(bytes, number);
                if added && IntSet::new(bytes).len() as u64 > self.limits.intset_entries {
                    self.grow();
                }
                added
            }
            Value::Block(_, bytes) => {
                let pack = Pack::new(bytes);
                if pack.find(member.bytes(&mut ElemBuf::new()), 1).is_some() {
                    return false;
                }
                if (pack.len() as u64) < self.limits.set_entries && member.len() as u64 <= self.limits.set_value {
                    PackMut::new(bytes).push_back(member);
                    return true;
                }
                self.grow();
                self.add(member)
            }
            Value::Big(big) => members_mut(big).insert_name(member.bytes(&mut ElemBuf::new())),
        }
    }
    /// True if the member was there.
    pub fn remove(&mut self, member: Elem<'_>) -> bool {
        match &mut *self.value {
            Value::Block(Form::IntSet, bytes) => member.as_int().is_some_and(|number| intset::remove(bytes, number)),
            Value::Block(_, bytes) => {
                let Some(pos) = Pack::new(bytes).find(member.bytes(&mut ElemBuf::new()), 1) else { return false };
                PackMut::new(bytes).remove(pos, 1);
                true
            }
            Value::Big(big) => members_mut(big).remove(member.bytes(&mut ElemBuf::new())),
        }
    }
    /// Makes a set of integers ready for another member of `len` bytes: a listpack if it fits one.
    fn leave_intset(&mut self, len: u64) {
        let ints: Vec<Elem<'_>> = self.get().iter().collect();
        let longest = ints.first().into_iter().chain(ints.last()).map(|elem| elem.len() as u64).max().unwrap_or(0);
        if ints.len() as u64 >= self.limits.set_entries || len.max(longest) > self.limits.set_value {
            self.grow();
            return;
        }
        let mut packed = Vec::new();
        let mut pack = PackMut::new(&mut packed);
        ints.into_iter().for_each(|number| pack.push_back(number));
        *self.value = Value::Block(Form::ListPack, packed);
    }
    /// From a block to a table.
    pub fn grow(&mut self) {
        let mut members = Members::new(self.hasher);
        let mut buffer = ElemBuf::new();
        for elem in self.get().iter() {
            members.insert_name(elem.bytes(&mut buffer));
        }
        *self.value = Value::Big(BigBox::new(Big::Set(members)));
    }
}

fn members_mut(big: &mut BigBox) -> &mut Members {
    match big.get_mut() {
        Big::Set(members) => members,
        _ => unreachable!("a set has a set's forms"),
    }
}

impl Db {
    /// Changes a set, or creates it when `create` says so; an emptied one is gone. `None` if there is none. The key must not hold another type.
    pub fn edit_set<R>(&mut self, key: Key<'_>, create: bool, change: impl FnOnce(&mut SetEdit<'_>) -> R) -> Option<Edited<R>> {
        self.edit_collection(key, Kind::Set, create, |value, limits, hasher| change(&mut SetEdit::new(value, limits, hasher)))
    }
    /// An empty set, to be filled and perhaps stored.
    pub fn new_set(&self) -> NewSet {
        let mut set = NewSet { value: Value::new(Vec::new()), limits: *self.limits(), hasher: self.hasher().clone() };
        set.edit().expect_ints();
        set
    }
    /// Creates or overwrites with a set, without expiry; if it is empty the key is deleted. True if the key exists afterwards.
    pub fn store_set(&mut self, key: Key<'_>, set: NewSet) -> bool {
        self.store_collection(key, Kind::Set, set.value)
    }
}
