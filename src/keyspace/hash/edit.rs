//! Changing hashes.

use super::HashRef;
use super::pack::{FieldPack, FieldPackMut, with_times};
use crate::keyspace::big::{Big, BigBox, Value};
use crate::keyspace::db::{Db, Edited};
use crate::keyspace::entry::{Form, Key, StrRef};
use crate::keyspace::hasher::KeyHasher;
use crate::keyspace::members::Members;
use crate::keyspace::{Kind, SetExpire, UnixMs};
use crate::types::limits::Limits;
use crate::types::listpack::{ELEMENTS_MAX, Elem, ElemBuf};

/// A hash, for changing.
pub struct HashEdit<'a> {
    value: &'a mut Value,
    limits: &'a Limits,
    hasher: &'a KeyHasher,
}

impl<'a> HashEdit<'a> {
    pub(in crate::keyspace) fn new(value: &'a mut Value, limits: &'a Limits, hasher: &'a KeyHasher) -> Self {
        HashEdit { value, limits, hasher }
    }
    /// As it is now.
    pub fn get(&self) -> HashRef<'_> {
        match &*self.value {
            Value::Block(form, bytes) => HashRef::Pack(FieldPack::new(*form, bytes)),
            Value::Big(big) => match big.get() {
                Big::Hash(members) => HashRef::Table(members),
                _ => unreachable!("a hash has a hash's forms"),
            },
        }
    }
    /// About to set so many fields: more than a block may have make it a table, even if they are in it already (HSET, Redis 7.0).
    pub fn expect(&mut self, fields: u64) {
        if fields > self.limits.hash_entries {
            self.grow();
        }
    }
    /// Sets a field; true if it was there.
    pub fn set(&mut self, name: &[u8], value: Elem<'_>, expire: SetExpire) -> bool {
        if let SetExpire::At(_) = expire {
            self.keep_times();
        }
        match &mut *self.value {
            Value::Block(form, bytes) => {
                let pack = FieldPack::new(*form, bytes);
                let (found, fields) = (pack.find(name), pack.len() as u64);
                let fits = name.len() as u64 <= self.limits.hash_value && value.len() as u64 <= self.limits.hash_value;
                let fields_then = fields + u64::from(found.is_none());
                if !fits || fields_then > self.limits.hash_entries.min(ELEMENTS_MAX as u64 / 3) {
                    self.grow();
                    return self.set(name, value, expire);
                }
                let timed = *form == Form::ListPackEx;
                let mut pack = FieldPackMut::new(*form, bytes);
                let Some(pos) = found else {
                    pack.push(name, value, expire.at());
                    return false;
                };
                pack.set_value(pos, value);
                if timed && expire != SetExpire::Keep {
                    pack.set_expire(pos, expire.at());
                }
                true
            }
            Value::Big(big) => members_mut(big).set(name, str_ref(value), expire),
        }
    }
    /// True if the field was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match &mut *self.value {
            Value::Block(form, bytes) => {
                let Some(pos) = FieldPack::new(*form, bytes).find(name) else { return false };
                FieldPackMut::new(*form, bytes).remove(pos);
                true
            }
            Value::Big(big) => members_mut(big).remove(name),
        }
    }
    /// Sets or clears a field's expiry; false if there is no such field.
    pub fn set_expire(&mut self, name: &[u8], expire: Option<UnixMs>) -> bool {
        if expire.is_some() {
            self.keep_times();
        }
        match &mut *self.value {
            Value::Block(form, bytes) => {
                let Some(pos) = FieldPack::new(*form, bytes).find(name) else { return false };
                if *form == Form::ListPackEx {
                    FieldPackMut::new(*form, bytes).set_expire(pos, expire);
                }
                true
            }
            Value::Big(big) => members_mut(big).set_expire(name, expire),
        }
    }
    /// Gives a block room for times: `listpackex`, which it stays.
    pub fn keep_times(&mut self) {
        if let Value::Block(form @ Form::ListPack, bytes) = &mut *self.value {
            *bytes = with_times(bytes);
            *form = Form::ListPackEx;
        }
    }
    /// Removes fields that expire before `now`, the first ones first, `max` at most; `each` is told their names. Returns how many.
    pub fn take_due(&mut self, now: UnixMs, max: usize, each: &mut dyn FnMut(Elem<'_>)) -> usize {
        match &mut *self.value {
            Value::Block(form, bytes) => FieldPackMut::new(*form, bytes).take_due(now, max, each),
            Value::Big(big) => {
                let members = members_mut(big);
                let mut name = Vec::new();
                for taken in 0..max {
                    let Some((_, first)) = members.first_expiring().filter(|(at, _)| *at < now) else { return taken };
                    name.clear();
                    name.extend_from_slice(first.key());
                    members.remove(&name);
                    each(Elem::Bytes(&name));
                }
                max
            }
        }
    }
    /// From a block to a table.
    fn grow(&mut self) {
        let Value::Block(form, bytes) = &*self.value else { return };
        let mut members = Members::new(self.hasher);
        let mut buffer = ElemBuf::new();
        for (name, field) in FieldPack::new(*form, bytes).iter() {
            members.set(name.bytes(&mut buffer), str_ref(field.value), field.expire.map_or(SetExpire::Clear, SetExpire::At));
        }
        *self.value = Value::Big(BigBox::new(Big::Hash(members)));
    }
}

fn members_mut(big: &mut BigBox) -> &mut Members {
    match big.get_mut() {
        Big::Hash(members) => members,
        _ => unreachable!("a hash has a hash's forms"),
    }
}

fn str_ref(value: Elem<'_>) -> StrRef<'_> {
    match value {
        Elem::Int(number) => StrRef::Int(number),
        Elem::Bytes(bytes) => StrRef::Bytes(bytes),
    }
}

impl Db {
    /// Changes a hash, or creates it when `create` says so; an emptied one is gone. `None` if there is none. The key must not hold another type.
    pub fn edit_hash<R>(&mut self, key: Key<'_>, create: bool, change: impl FnOnce(&mut HashEdit<'_>) -> R) -> Option<Edited<R>> {
        self.edit_collection(key, Kind::Hash, create, |value, limits, hasher| change(&mut HashEdit::new(value, limits, hasher)))
    }
}
