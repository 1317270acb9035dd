//! Lists: small ones in a listpack, big ones in a tree of such blocks.

mod blocks;
#[cfg(test)]
mod tests;

use super::Kind;
use super::big::{Big, BigBox, Value};
use super::db::{Db, Edited};
use super::entry::{Entry, Form, Key, ValueRef};
use crate::types::limits::Limits;
use crate::types::listpack::{self, Elem, Pack, PackMut};
use crate::types::tree::{Iter, IterBack};
pub use blocks::ListBlocks;
use blocks::{Block, Fill};

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// A list, for reading.
#[derive(Clone, Copy)]
pub enum ListRef<'a> {
    Pack(Pack<'a>),
    Blocks(&'a ListBlocks),
}

impl Entry {
    /// The value if it is a list.
    pub fn list(&self) -> Option<ListRef<'_>> {
        if self.kind() != Kind::List {
            return None;
        }
        match self.value() {
            ValueRef::Block(_, bytes) => Some(ListRef::Pack(Pack::new(bytes))),
            ValueRef::Big(Big::List(blocks)) => Some(ListRef::Blocks(blocks)),
            _ => unreachable!("a list has a list's forms"),
        }
    }
}

impl<'a> ListRef<'a> {
    /// LLEN.
    pub fn len(self) -> u64 {
        match self {
            ListRef::Pack(pack) => pack.len() as u64,
            ListRef::Blocks(blocks) => blocks.len(),
        }
    }
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
    pub fn get(self, index: u64) -> Option<Elem<'a>> {
        match self {
            ListRef::Pack(pack) => pack.get(usize::try_from(index).ok()?),
            ListRef::Blocks(blocks) => blocks.get(index),
        }
    }
    /// Elements from an index on; none if it is beyond the end.
    pub fn iter_from(self, index: u64) -> Elems<'a> {
        match self {
            ListRef::Pack(pack) => Elems::new(pack, index as usize, None),
            ListRef::Blocks(blocks) => blocks.iter_from(index),
        }
    }
    pub fn iter(self) -> Elems<'a> {
        self.iter_from(0)
    }
    /// The element at an index and those before it, backward; none if it is beyond the end.
    pub fn iter_back_from(self, index: u64) -> ElemsBack<'a> {
        match self {
            ListRef::Pack(pack) => ElemsBack::new(pack, pack.position(index as usize), None),
            ListRef::Blocks(blocks) => blocks.iter_back_from(index),
        }
    }
}

/// Elements of a list, forward.
pub struct Elems<'a> {
    current: listpack::Entries<'a>,
    blocks: Option<Iter<'a, Block>>,
}

impl<'a> Elems<'a> {
    fn new(first: Pack<'a>, offset: usize, blocks: Option<Iter<'a, Block>>) -> Self {
        let left = first.len().saturating_sub(offset);
        let pos = first.position(offset).unwrap_or(first.end());
        Elems { current: first.entries_from(pos, left), blocks }
    }
}

impl<'a> Iterator for Elems<'a> {
    type Item = Elem<'a>;

    #[inline]
    fn next(&mut self) -> Option<Elem<'a>> {
        loop {
            if let Some((_, elem)) = self.current.next() {
                return Some(elem);
            }
            self.current = self.blocks.as_mut()?.next()?.pack().entries();
        }
    }
}

/// Elements of a list, backward.
pub struct ElemsBack<'a> {
    pack: Pack<'a>,
    next: Option<usize>,
    blocks: Option<IterBack<'a, Block>>,
}

impl<'a> ElemsBack<'a> {
    fn new(pack: Pack<'a>, next: Option<usize>, blocks: Option<IterBack<'a, Block>>) -> Self {
        ElemsBack { pack, next, blocks }
    }
}

impl<'a> Iterator for ElemsBack<'a> {
    type Item = Elem<'a>;

    fn next(&mut self) -> Option<Elem<'a>> {
        if self.next.is_none() {
            self.pack = self.blocks.as_mut()?.next()?.pack();
            self.next = self.pack.last();
        }
        let pos = self.next?;
        self.next = self.pack.prev(pos);
        Some(self.pack.at(pos))
    }
}

/// A list, for changing. What removes elements makes a small one compact again.
pub struct ListEdit<'a> {
    value: &'a mut Value,
    fill: Fill,
}

impl<'a> ListEdit<'a> {
    pub(super) fn new(value: &'a mut Value, limits: &Limits) -> Self {
        ListEdit { value, fill: Fill::of(limits) }
    }
    pub fn read(&self) -> ListRef<'_> {
        match &*self.value {
            Value::Block(_, bytes) => ListRef::Pack(Pack::new(bytes)),
            Value::Big(big) => match big.get() {
                Big::List(blocks) => ListRef::Blocks(blocks),
                _ => unreachable!("a list has a list's forms"),
            },
        }
    }
    /// Says how many elements are to come, of how many bytes together: a list that is to outgrow the compact block does so at once, as in Redis.
    pub fn expect(&mut self, elements: usize, bytes: usize) {
        if let Value::Block(_, body) = self.value
            && !self.fill.allows(body, elements, bytes)
        {
            let blocks = ListBlocks::new(std::mem::take(body));
            *self.value = Value::Big(BigBox::new(Big::List(blocks)));
        }
    }
    /// Adds an element at an end. Several that come together are to be announced by `expect`.
    pub fn push(&mut self, side: Side, text: &[u8]) {
        self.expect(1, 0);
        match (self.parts(), side) {
            (Parts::Block(body), Side::Left) => PackMut::new(body).push_front(Elem::of(text)),
            (Parts::Block(body), Side::Right) => PackMut::new(body).push_back(Elem::of(text)),
            (Parts::Big(blocks, fill), side) => blocks.push(side, text, fill),
        }
    }
    /// Puts an element before or behind the one at `index`, which must be there. To be announced by `expect`.
    pub fn insert(&mut self, index: u64, after: bool, text: &[u8]) {
        match self.parts() {
            Parts::Block(body) => {
                let pack = Pack::new(body);
                let pos = pack.position(index as usize + usize::from(after)).unwrap_or(pack.end());
                PackMut::new(body).insert(pos, Elem::of(text));
            }
            Parts::Big(blocks, fill) => blocks.insert(index, after, text, fill),
        }
    }
    /// Puts an element in the place of the one at `index`, which must be there. To be announced by `expect`.
    pub fn set(&mut self, index: u64, text: &[u8]) {
        match self.parts() {
            Parts::Block(body) => {
                let pos = Pack::new(body).position(index as usize).expect("an element at the index");
                PackMut::new(body).replace(pos, Elem::of(text));
            }
            Parts::Big(blocks, fill) => blocks.set(index, text, fill),
        }
        self.shrink();
    }
    /// Removes `count` elements from `start` on, or what there is of them.
    pub fn remove_range(&mut self, start: u64, count: u64) {
        let len = self.read().len();
        let start = start.min(len);
        let count = count.min(len - start);
        match self.parts() {
            _ if count == 0 => return,
            Parts::Block(body) => {
                let pos = Pack::new(body).position(start as usize).expect("an element at the index");
                PackMut::new(body).remove(pos, count as usize);
            }
            // What there was goes with the key's entry, and is freed elsewhere if it is much.
            Parts::Big(..) if count == len => *self.value = Value::new(Vec::new()),
            Parts::Big(blocks, _) => blocks.remove_range(start, count),
        }
        self.shrink();
    }
    /// Removes elements at an end.
    pub fn pop(&mut self, side: Side, count: u64) {
        match side {
            Side::Left => self.remove_range(0, count),
            Side::Right => {
                let count = count.min(self.read().len());
                self.remove_range(self.read().len() - count, count);
            }
        }
    }
    /// Removes the elements that are this text, at most so many, beginning at one end. Returns how many there were.
    pub fn remove_equal(&mut self, from: Side, text: &[u8], max: u64) -> u64 {
        let removed = match self.parts() {
            Parts::Block(body) => remove_equal(body, from, text, max),
            Parts::Big(blocks, _) => blocks.remove_equal(from, text, max),
        };
        self.shrink();
        removed
    }

    fn parts(&mut self) -> Parts<'_> {
        match self.value {
            Value::Block(_, body) => Parts::Block(body),
            Value::Big(big) => match big.get_mut() {
                Big::List(blocks) => Parts::Big(blocks, self.fill),
                _ => unreachable!("a list has a list's forms"),
            },
        }
    }
    /// Makes a list that has become small compact again.
    fn shrink(&mut self) {
        if let Parts::Big(blocks, fill) = self.parts()
            && let Some(body) = blocks.take_small(fill)
        {
            *self.value = Value::Block(Form::ListPack, body);
        }
    }
}

enum Parts<'a> {
    Block(&'a mut Vec<u8>),
    Big(&'a mut ListBlocks, Fill),
}

/// `ListEdit::remove_equal` in a compact block.
fn remove_equal(body: &mut Vec<u8>, from: Side, text: &[u8], max: u64) -> u64 {
    let mut removed = 0;
    let elem = Elem::of(text);
    let mut pack = PackMut::new(body);
    let mut next = match from {
        Side::Left => pack.pack().find(text, 1),
        Side::Right => pack.pack().last(),
    };
    while let Some(pos) = next
        && removed < max
    {
        let is_it = pack.pack().at(pos) == elem;
        if is_it {
            pack.remove(pos, 1);
            removed += 1;
        }
        next = match from {
            Side::Left => pack.pack().find_from(pos, text, 1),
            Side::Right => pack.pack().prev(pos),
        };
    }
    removed
}

impl Db {
    /// Changes a list, or creates it when `create` says so; an emptied one is gone. `None` if there is none. The key must not hold another type.
    pub fn edit_list<R>(&mut self, key: Key<'_>, create: bool, change: impl FnOnce(&mut ListEdit<'_>) -> R) -> Option<Edited<R>> {
        self.edit_collection(key, Kind::List, create, |value, limits, _| change(&mut ListEdit::new(value, limits)))
    }
    /// An empty list, to be filled aside for this database.
    pub fn new_list(&self) -> NewList {
        NewList { value: Value::new(Vec::new()), limits: *self.limits() }
    }
    /// Creates or overwrites with a list, without expiry; if it is empty the key is deleted. True if the key exists afterwards.
    pub fn store_list(&mut self, key: Key<'_>, list: NewList) -> bool {
        self.store_collection(key, Kind::List, list.value)
    }
}

/// A list that is being made aside, for SORT's STORE.
pub struct NewList {
    value: Value,
    limits: Limits,
}

impl NewList {
    pub fn edit(&mut self) -> ListEdit<'_> {
        ListEdit::new(&mut self.value, &self.limits)
    }
}
