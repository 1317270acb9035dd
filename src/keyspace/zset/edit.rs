//! Changing sorted sets.

use std::ops::Range;

use super::{Sorted, ZSetRef, pairs};
use crate::keyspace::Kind;
use crate::keyspace::big::{Big, BigBox, Value};
use crate::keyspace::db::{Db, Edited};
use crate::keyspace::entry::Key;
use crate::keyspace::hasher::KeyHasher;
use crate::types::limits::Limits;
use crate::types::listpack::{Elem, Pack};

/// A sorted set that belongs to no key yet.
pub struct NewZSet {
    value: Value,
    limits: Limits,
    hasher: KeyHasher,
}

impl NewZSet {
    pub fn edit(&mut self) -> ZSetEdit<'_> {
        ZSetEdit::new(&mut self.value, &self.limits, &self.hasher)
    }
}

/// A sorted set, for changing.
pub struct ZSetEdit<'a> {
    value: &'a mut Value,
    limits: &'a Limits,
    hasher: &'a KeyHasher,
}

impl<'a> ZSetEdit<'a> {
    pub(in crate::keyspace) fn new(value: &'a mut Value, limits: &'a Limits, hasher: &'a KeyHasher) -> Self {
        ZSetEdit { value, limits, hasher }
    }
    pub fn view(&self) -> ZSetRef<'_> {
        match &*self.value {
            Value::Block(_, bytes) => ZSetRef::Pack(Pack::new(bytes)),
            Value::Big(big) => match big.get() {
                Big::ZSet(sorted) => ZSetRef::Sorted(sorted),
                _ => unreachable!("a sorted set"),
            },
        }
    }
    /// So many members are about to come, of up to `longest` bytes: a set that will not fit a listpack need not begin as one.
    pub fn expect(&mut self, members: u64, longest: usize) {
        if matches!(self.value, Value::Block(..)) && !self.fits(members, longest) {
            self.grow();
        }
    }
    fn fits(&self, members: u64, longest: usize) -> bool {
        members <= self.limits.zset_entries && longest as u64 <= self.limits.zset_value
    }
    /// Sets a member's score to what `change` makes of it (`None`: it is not there); `None` leaves it, or leaves the member out. Never NaN.
    pub fn update(&mut self, member: &[u8], change: impl FnOnce(Option<f64>) -> Option<f64>) {
        let bytes = match self.value {
            Value::Block(_, bytes) => bytes,
            Value::Big(big) => return sorted_mut(big).update(member, change),
        };
        let found = pairs::find(Pack::new(bytes), member);
        let Some(new) = change(found.map(|(_, score)| score)) else { return };
        if let Some((pos, _)) = found {
            pairs::remove_at(bytes, pos);
            pairs::insert(bytes, member, new);
            return;
        }
        let len = pairs::len(Pack::new(bytes));
        if self.fits(len + 1, member.len()) {
            if let Value::Block(_, bytes) = self.value {
                pairs::insert(bytes, member, new);
            }
            return;
        }
        self.grow().update(member, |_| Some(new));
    }
    /// As `update`, whatever there was.
    pub fn set(&mut self, member: &[u8], score: f64) {
        self.update(member, |_| Some(score));
    }
    /// Adds a member that comes behind all there are.
    pub fn push(&mut self, member: Elem<'_>, score: f64) {
        let member = match member {
            Elem::Bytes(bytes) => Elem::of(bytes),
            int => int,
        };
        let fits = self.fits(self.view().len() + 1, member.len());
        match self.value {
            Value::Block(_, bytes) if fits => pairs::push(bytes, member, score),
            Value::Block(..) => self.grow().push(member, score),
            Value::Big(big) => sorted_mut(big).push(member, score),
        }
    }
    /// The score that the member had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self.value {
            Value::Block(_, bytes) => {
                let (pos, score) = pairs::find(Pack::new(bytes), member)?;
                pairs::remove_at(bytes, pos);
                Some(score)
            }
            Value::Big(big) => sorted_mut(big).remove(member),
        }
    }
    /// Takes out the members at `ranks`, in order, and hands each to `each`. The range must be within the set.
    pub fn remove_range(&mut self, ranks: Range<u64>, each: impl FnMut(Elem<'_>, f64)) {
        match self.value {
            Value::Block(_, bytes) => pairs::remove_range(bytes, ranks, each),
            Value::Big(big) => sorted_mut(big).remove_range(ranks, each),
        }
    }
    /// From a listpack to a table and a tree.
    fn grow(&mut self) -> &mut Sorted {
        let mut sorted = Sorted::new(self.hasher);
        self.view().for_each(|member, score| sorted.push(member, score));
        *self.value = Value::Big(BigBox::new(Big::ZSet(sorted)));
        let Value::Big(big) = self.value else { unreachable!("it has just been made big") };
        sorted_mut(big)
    }
}

fn sorted_mut(big: &mut BigBox) -> &mut Sorted {
    match big.get_mut() {
        Big::ZSet(sorted) => sorted,
        _ => unreachable!("a sorted set"),
    }
}

impl Db {
    /// Changes a sorted set, or creates it when `create` says so; an emptied one is gone. `None` if there is none. The key must not hold another type.
    pub fn edit_zset<R>(&mut self, key: Key<'_>, create: bool, change: impl FnOnce(&mut ZSetEdit<'_>) -> R) -> Option<Edited<R>> {
        self.edit_collection(key, Kind::ZSet, create, |value, limits, hasher| change(&mut ZSetEdit::new(value, limits, hasher)))
    }
    pub fn new_zset(&self) -> NewZSet {
        NewZSet { value: Value::new(Vec::new()), limits: *self.limits(), hasher: self.hasher().clone() }
    }
    /// Creates or overwrites with a sorted set; without members the key is deleted. True if the key exists afterwards.
    pub fn store_zset(&mut self, key: Key<'_>, new: NewZSet) -> bool {
        self.store_collection(key, Kind::ZSet, new.value)
    }
}
