//! Hashes: small ones in a listpack, big ones in a table. Fields may have an expiry of their own; nothing here looks at the clock, so a field that is
//! past its time is one like others.

mod edit;
mod pack;

pub use edit::HashEdit;
pub use pack::FieldPack;

use std::collections::BTreeSet;

use super::big::Big;
use super::entry::{Entry, StrRef, ValueRef};
use super::members::Members;
use super::{Kind, UnixMs};
use crate::types::listpack::Elem;

/// So often a field is drawn anew that is past its time, before they are counted off.
const RANDOM_TRIES: usize = 100;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub value: Elem<'a>,
    pub expire: Option<UnixMs>,
}

impl Field<'_> {
    /// Whether it is past its time.
    #[inline]
    pub fn is_due(&self, now: UnixMs) -> bool {
        self.expire.is_some_and(|at| at < now)
    }
}

/// A hash, for reading.
#[derive(Clone, Copy)]
pub enum HashRef<'a> {
    Pack(FieldPack<'a>),
    Table(&'a Members),
}

impl Entry {
    /// The value if it is a hash.
    #[inline]
    pub fn hash(&self) -> Option<HashRef<'_>> {
        if self.kind() != Kind::Hash {
            return None;
        }
        match self.value() {
            ValueRef::Block(form, bytes) => Some(HashRef::Pack(FieldPack::new(form, bytes))),
            ValueRef::Big(Big::Hash(members)) => Some(HashRef::Table(members)),
            _ => unreachable!("a hash has a hash's forms"),
        }
    }
}

impl<'a> HashRef<'a> {
    /// HLEN: fields that are past their time count.
    pub fn len(self) -> u64 {
        match self {
            HashRef::Pack(pack) => pack.len() as u64,
            HashRef::Table(members) => members.len(),
        }
    }
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
    #[inline]
    pub fn get(self, name: &[u8]) -> Option<Field<'a>> {
        match self {
            HashRef::Pack(pack) => pack.get(name),
            HashRef::Table(members) => members.get(name).map(|entry| field_of(entry).1),
        }
    }
    /// Every field with its name: those of a listpack in its order, others in the table's.
    pub fn iter(self) -> impl Iterator<Item = (Elem<'a>, Field<'a>)> {
        let (pack, table) = match self {
            HashRef::Pack(pack) => (Some(pack), None),
            HashRef::Table(members) => (None, Some(members)),
        };
        pack.into_iter().flat_map(FieldPack::iter).chain(table.into_iter().flat_map(|members| members.iter().map(field_of)))
    }
    /// Fields that are not past their time at `now`.
    pub fn live_len(self, now: UnixMs) -> u64 {
        let due = match self {
            HashRef::Pack(pack) => pack.due_len(now) as u64,
            HashRef::Table(members) => members.expiring_before(now),
        };
        self.len() - due
    }
    /// Those fields.
    pub fn live(self, now: UnixMs) -> impl Iterator<Item = (Elem<'a>, Field<'a>)> {
        self.iter().filter(move |(_, field)| !field.is_due(now))
    }
    /// A uniformly chosen one of them, if there are any; `random` gives 64-bit numbers.
    pub fn random(self, now: UnixMs, random: &mut dyn FnMut() -> u64) -> Option<(Elem<'a>, Field<'a>)> {
        let live = self.live_len(now);
        if live == 0 {
            return None;
        }
        if let HashRef::Table(members) = self {
            let mut draws = (0..RANDOM_TRIES).filter_map(|_| members.random(random).map(field_of));
            let found = draws.find(|(_, field)| !field.is_due(now));
            if found.is_some() {
                return found;
            }
        }
        self.live(now).nth((random() % live) as usize)
    }
    /// `count` different ones of them, uniformly chosen; there are more.
    pub fn sample(self, count: usize, now: UnixMs, random: &mut dyn FnMut() -> u64) -> Vec<(Elem<'a>, Field<'a>)> {
        let mut chosen = Vec::with_capacity(count);
        let mut left = self.live_len(now);
        match self {
            HashRef::Table(_) if (count as u64) < left / 3 => {
                let mut seen = BTreeSet::new();
                while chosen.len() < count {
                    let (name, field) = self.random(now, random).expect("more fields than were asked for");
                    let Elem::Bytes(bytes) = name else { unreachable!("a table's names are bytes") };
                    if seen.insert(bytes.as_ptr()) {
                        chosen.push((name, field));
                    }
                }
            }
            _ => {
                // Each is taken with the chance that makes the rest come out even.
                for found in self.live(now) {
                    if random() % left < (count - chosen.len()) as u64 {
                        chosen.push(found);
                    }
                    left -= 1;
                }
            }
        }
        chosen
    }
    /// When the first of its fields expires.
    #[inline]
    pub fn next_expiry(self) -> Option<UnixMs> {
        match self {
            HashRef::Pack(pack) => pack.next_expiry(),
            HashRef::Table(members) => members.first_expiring().map(|(at, _)| at),
        }
    }
}

/// The field that an entry of a big hash's table is.
#[inline]
pub fn field_of(entry: &Entry) -> (Elem<'_>, Field<'_>) {
    let value = match entry.string().expect("a field's value is a string") {
        StrRef::Int(number) => Elem::Int(number),
        StrRef::Bytes(bytes) => Elem::Bytes(bytes),
    };
    (Elem::Bytes(entry.key()), Field { value, expire: entry.expire_at() })
}
