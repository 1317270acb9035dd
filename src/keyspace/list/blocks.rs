//! A big list: a tree of listpack blocks, cut where Redis's quicklist cuts its nodes, so that both are encoded alike whatever is done to them.
//!
//! A clone shares the tree and the blocks; a change copies the one block it meets, if that is shared. An element that is longer than a block may be
//! has one of its own, which is replaced and never changed, however long it is.
//!
//! Invariants: no block is empty; `bodies` is what the blocks have allocated, shared or not.

use std::sync::Arc;

use super::{Elems, ElemsBack, Side};
use crate::types::limits::Limits;
use crate::types::listpack::{ELEMENTS_MAX, Elem, Pack, PackMut};
use crate::types::memory::size_class;
use crate::types::tree::{Cursor, Tree, Weigh};

/// What Redis's form of a listpack has more than ours: its sizes decide where blocks end.
const REDIS_OVERHEAD: usize = 5;
/// What Redis reserves for an element's head and backlen when it asks whether one more fits.
const ELEMENT_OVERHEAD: usize = 8;
/// An empty listpack in Redis's form.
const REDIS_EMPTY: usize = 7;

/// `list-max-listpack-size`: how big a block may get.
#[derive(Clone, Copy)]
pub(super) struct Fill {
    bytes: usize,
    elements: usize,
    /// The limit is one of bytes alone.
    by_size: bool,
}

impl Fill {
    pub fn of(limits: &Limits) -> Fill {
        match limits.list_size {
            size @ ..0 => Fill { bytes: 4096 << (-1 - size.max(-5)), elements: ELEMENTS_MAX, by_size: true },
            count => Fill { bytes: 8192, elements: (count.max(1) as usize).min(ELEMENTS_MAX), by_size: false },
        }
    }
    fn exceeded(self, redis_bytes: usize, elements: usize) -> bool {
        redis_bytes > self.bytes || elements > self.elements
    }
    /// Whether an element gets a block of its own.
    fn is_large(self, text: &[u8]) -> bool {
        text.len() > self.bytes
    }
    /// Whether a compact block may take so many elements more, of so many bytes together.
    pub fn allows(self, body: &[u8], elements: usize, bytes: usize) -> bool {
        let pack = Pack::new(body);
        pack.len() + elements <= ELEMENTS_MAX && !self.exceeded(redis_len(body) + bytes, pack.len() + elements)
    }
}

fn redis_len(body: &[u8]) -> usize {
    (body.len() + REDIS_OVERHEAD).max(REDIS_EMPTY)
}

/// One block.
#[derive(Clone)]
pub(super) struct Block {
    body: Arc<Vec<u8>>,
    elements: u32,
    /// It is there for one long element.
    is_plain: bool,
}

impl Weigh for Block {
    type Hint = ();
    fn weight(&self) -> u64 {
        u64::from(self.elements)
    }
    fn hint(&self) {}
}

impl Block {
    fn new(body: Vec<u8>) -> Self {
        let elements = Pack::new(&body).len() as u32;
        Block { body: Arc::new(body), elements, is_plain: false }
    }
    fn of(text: &[u8], fill: Fill) -> Self {
        let mut body = Vec::new();
        push(&mut body, Side::Right, text, fill);
        Block { is_plain: fill.is_large(text), ..Block::new(body) }
    }
    pub fn pack(&self) -> Pack<'_> {
        Pack::new(&self.body)
    }
    fn allocated(&self) -> usize {
        size_class(size_of::<Vec<u8>>() + 16) + size_class(self.body.capacity())
    }
    fn allows(&self, text: &[u8], fill: Fill) -> bool {
        let bytes = redis_len(&self.body) + text.len() + ELEMENT_OVERHEAD;
        !self.is_plain && !fill.is_large(text) && !fill.exceeded(bytes, self.elements as usize + 1)
    }
    fn allows_merge(&self, next: &Block, fill: Fill) -> bool {
        let bytes = redis_len(&self.body) + redis_len(&next.body) - REDIS_EMPTY;
        !self.is_plain && !next.is_plain && !fill.exceeded(bytes, (self.elements + next.elements) as usize)
    }
}

/// Adds to a block, which grows to twice its size, but not beyond what a block may have.
fn push(body: &mut Vec<u8>, side: Side, text: &[u8], fill: Fill) {
    make_room(body, text.len() + 2 * ELEMENT_OVERHEAD, fill);
    let mut pack = PackMut::new(body);
    match side {
        Side::Left => pack.push_front(Elem::of(text)),
        Side::Right => pack.push_back(Elem::of(text)),
    }
}

fn make_room(body: &mut Vec<u8>, bytes: usize, fill: Fill) {
    let needed = body.len() + bytes;
    if body.capacity() < needed {
        let wanted = needed.max((2 * body.len()).min(fill.bytes));
        body.reserve_exact(wanted - body.len());
    }
}

/// A list that has outgrown the compact block.
#[derive(Clone, Default)]
pub struct ListBlocks {
    tree: Tree<Block>,
    bodies: usize,
}

impl ListBlocks {
    /// Around a compact block.
    pub(super) fn new(body: Vec<u8>) -> Self {
        let mut list = ListBlocks::default();
        if !Pack::new(&body).is_empty() {
            list.insert_block(&list.tree.start(), Block::new(body));
        }
        list
    }
    pub fn len(&self) -> u64 {
        self.tree.total()
    }
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }
    /// Bytes allocated; what is shared with clones counts in each.
    pub(in crate::keyspace) fn allocated(&self) -> usize {
        self.tree.allocated() + self.bodies
    }
    pub(super) fn get(&self, index: u64) -> Option<Elem<'_>> {
        let (block, offset) = self.tree.find(index)?;
        block.pack().get(offset as usize)
    }
    /// The blocks, in order.
    pub fn packs(&self) -> impl Iterator<Item = Pack<'_>> {
        self.tree.iter().map(Block::pack)
    }
    pub(super) fn iter_from(&self, index: u64) -> Elems<'_> {
        let (cursor, offset) = self.tree.seek(index);
        let mut blocks = self.tree.iter_from(&cursor);
        let first = blocks.next().map_or(Pack::new(b""), Block::pack);
        Elems::new(first, offset as usize, Some(blocks))
    }
    pub(super) fn iter_back_from(&self, index: u64) -> ElemsBack<'_> {
        let (cursor, offset) = self.tree.seek(index);
        let Some(pack) = self.tree.get(&cursor).map(Block::pack) else { return ElemsBack::new(Pack::new(b""), None, None) };
        ElemsBack::new(pack, pack.position(offset as usize), Some(self.tree.iter_back_from(&cursor)))
    }

    pub(super) fn push(&mut self, side: Side, text: &[u8], fill: Fill) {
        let (place, cursor) = match side {
            Side::Left => (Some(self.tree.start()), self.tree.start()),
            Side::Right => (self.tree.last_place(), self.tree.end()),
        };
        match place.filter(|place| self.tree.get(place).is_some_and(|block| block.allows(text, fill))) {
            Some(place) => self.edit_body(&place, |body| push(body, side, text, fill)),
            None => self.insert_block(&cursor, Block::of(text, fill)),
        }
    }
    /// Puts an element before or behind the one at `index`, which must be there.
    pub(super) fn insert(&mut self, index: u64, after: bool, text: &[u8], fill: Fill) {
        let (cursor, offset) = self.tree.seek(index);
        let block = self.tree.get(&cursor).expect("an element at the index");
        let (start, len) = (index - offset, block.weight());
        if block.allows(text, fill) {
            let pos = block.pack().position(offset as usize + usize::from(after)).unwrap_or(block.pack().end());
            return self.edit_body(&cursor, |body| {
                make_room(body, text.len() + 2 * ELEMENT_OVERHEAD, fill);
                PackMut::new(body).insert(pos, Elem::of(text));
            });
        }
        if after && offset + 1 == len || !after && offset == 0 {
            return self.insert_between(start + if after { len } else { 0 }, after, text, fill);
        }
        // In the middle of a full block: it is cut there.
        let cut = offset + u64::from(after);
        self.split(&cursor, cut);
        if fill.is_large(text) {
            return self.insert_between(start + cut, true, text, fill);
        }
        let side = if after { Side::Left } else { Side::Right };
        let (part, _) = self.tree.seek(if after { start + cut } else { start });
        self.edit_body(&part, |body| push(body, side, text, fill));
        let center = if after { start } else { start + cut + 1 };
        self.merge_around(center, fill);
    }
    /// Puts an element between the blocks that meet at a position: into the one that is not full, or into one of its own.
    fn insert_between(&mut self, position: u64, after: bool, text: &[u8], fill: Fill) {
        // Behind a full block its next one may have room, before one the one before that.
        let neighbour = if after { (position < self.len()).then_some(position) } else { position.checked_sub(1) };
        if let Some((place, _)) = neighbour.map(|position| self.tree.seek(position))
            && self.tree.get(&place).is_some_and(|block| block.allows(text, fill))
        {
            let side = if after { Side::Left } else { Side::Right };
            return self.edit_body(&place, |body| push(body, side, text, fill));
        }
        let (cursor, _) = self.tree.seek(position);
        self.insert_block(&cursor, Block::of(text, fill));
    }
    /// Puts an element in the place of the one at `index`, which must be there.
    pub(super) fn set(&mut self, index: u64, text: &[u8], fill: Fill) {
        let (cursor, offset) = self.tree.seek(index);
        let block = self.tree.get(&cursor).expect("an element at the index");
        if block.is_plain || fill.is_large(text) {
            if block.elements == 1 {
                self.remove_block(&cursor);
                let (cursor, _) = self.tree.seek(index);
                return self.insert_block(&cursor, Block::of(text, fill));
            }
            self.insert(index, true, text, fill);
            return self.remove_range(index, 1);
        }
        let pos = block.pack().position(offset as usize).expect("an element at the index");
        self.edit_body(&cursor, |body| {
            make_room(body, text.len() + 2 * ELEMENT_OVERHEAD, fill);
            PackMut::new(body).replace(pos, Elem::of(text));
        });
        // Redis lets such a block grow on; cut in time, no change copies much more than a block.
        if self.tree.get(&cursor).is_some_and(|block| block.elements > 1 && block.body.len() > 2 * fill.bytes) {
            let half = self.tree.get(&cursor).map_or(0, |block| block.weight() / 2);
            self.split(&cursor, half);
        }
    }
    /// Removes elements; the range must lie within the list.
    pub(super) fn remove_range(&mut self, start: u64, count: u64) {
        let mut left = count;
        while left > 0 {
            let (cursor, offset) = self.tree.seek(start);
            let block = self.tree.get(&cursor).expect("a range within the list");
            let here = left.min(block.weight() - offset);
            if here == block.weight() {
                self.remove_block(&cursor);
            } else {
                let pos = block.pack().position(offset as usize).expect("an element at the offset");
                self.edit_body(&cursor, |body| PackMut::new(body).remove(pos, here as usize));
            }
            left -= here;
        }
    }
    /// Removes the elements that are this text, at most so many, beginning at one end. Returns how many there were.
    pub(super) fn remove_equal(&mut self, from: Side, text: &[u8], max: u64) -> u64 {
        let elem = Elem::of(text);
        let (mut removed, mut seen) = (0, 0);
        while removed < max && seen < self.len() {
            let (cursor, _) = self.tree.seek(if from == Side::Left { seen } else { self.len() - 1 - seen });
            let block = self.tree.get(&cursor).expect("a block at a position within the list");
            let is_wanted = |(_, element): &(usize, Elem<'_>)| *element == elem;
            let left = (max - removed) as usize;
            let mut found: Vec<usize> = match from {
                Side::Left => block.pack().entries().filter(is_wanted).take(left).map(|(pos, _)| pos).collect(),
                Side::Right => block.pack().entries().rev().filter(is_wanted).take(left).map(|(pos, _)| pos).collect(),
            };
            if from == Side::Left {
                found.reverse();
            }
            let (here, len) = (found.len() as u64, block.weight());
            if here == len {
                self.remove_block(&cursor);
            } else if here > 0 {
                // From the last on, so that positions before stay.
                self.edit_body(&cursor, |body| found.iter().for_each(|pos| PackMut::new(body).remove(*pos, 1)));
            }
            removed += here;
            seen += len - here;
        }
        removed
    }
    /// The only block, if it is small enough to be a compact one: half of what it may be, so that not every step goes to and fro.
    pub(super) fn take_small(&mut self, fill: Fill) -> Option<Vec<u8>> {
        let block = self.tree.first().filter(|_| self.tree.items() == 1)?;
        let small = match fill.by_size {
            true => redis_len(&block.body) <= fill.bytes / 2,
            false => block.elements as usize <= fill.elements / 2,
        };
        if block.is_plain || !small {
            return None;
        }
        let block = self.tree.pop_front()?;
        self.bodies = 0;
        Some(Arc::try_unwrap(block.body).unwrap_or_else(|shared| Vec::clone(&shared)))
    }

    fn insert_block(&mut self, cursor: &Cursor, block: Block) {
        self.bodies += block.allocated();
        self.tree.insert(cursor, block);
    }
    fn remove_block(&mut self, cursor: &Cursor) -> Option<Block> {
        let block = self.tree.remove(cursor)?;
        self.bodies -= block.allocated();
        Some(block)
    }
    /// Changes a block's bytes, a copy of them where they are shared. They must not become empty.
    fn edit_body<R>(&mut self, cursor: &Cursor, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let bodies = &mut self.bodies;
        self.tree.edit(cursor, |block| {
            *bodies -= block.allocated();
            let result = change(Arc::make_mut(&mut block.body));
            block.elements = Pack::new(&block.body).len() as u32;
            *bodies += block.allocated();
            result
        })
    }
    /// Cuts a block in two before its element at `offset`.
    fn split(&mut self, cursor: &Cursor, offset: u64) {
        let rest = self.edit_body(cursor, |body| {
            let pos = Pack::new(body).position(offset as usize).expect("an element to cut before");
            let rest = PackMut::new(body).split_off(pos);
            body.shrink_to_fit();
            rest
        });
        let (next, _) = self.tree.seek(cursor.position() + offset);
        self.insert_block(&next, Block::new(rest));
    }
    /// Joins what fits together around the block that begins at `center`: the two before it, the two behind it, then it with both.
    fn merge_around(&mut self, center: u64, fill: Fill) {
        let mut center = center;
        if let Some(previous) = self.before(center)
            && let Some(first) = self.before(previous)
        {
            self.merge(first, fill);
        }
        if let Some(next) = self.behind(center) {
            self.merge(next, fill);
        }
        if let Some(previous) = self.before(center)
            && self.merge(previous, fill)
        {
            center = previous;
        }
        self.merge(center, fill);
    }
    /// Where the block before the one that begins at a position begins.
    fn before(&self, start: u64) -> Option<u64> {
        let (cursor, _) = self.tree.seek(start.checked_sub(1)?);
        Some(cursor.position())
    }
    /// Where the block behind the one that begins at a position begins.
    fn behind(&self, start: u64) -> Option<u64> {
        let (block, _) = self.tree.find(start)?;
        Some(start + block.weight()).filter(|next| *next < self.len())
    }
    /// Joins the block that begins at `start` with the next one, if they fit.
    fn merge(&mut self, start: u64, fill: Fill) -> bool {
        let Some((cursor, _)) = self.behind(start).map(|next| self.tree.seek(next)) else { return false };
        let first = self.tree.find(start).map(|(block, _)| block);
        if !first.zip(self.tree.get(&cursor)).is_some_and(|(first, next)| first.allows_merge(next, fill)) {
            return false;
        }
        let Some(next) = self.remove_block(&cursor) else { return false };
        let (place, _) = self.tree.seek(start);
        self.edit_body(&place, |body| PackMut::new(body).append(next.pack()));
        true
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let bodies: usize = self.tree.iter().map(Block::allocated).sum();
        assert_eq!(self.bodies, bodies);
        for block in self.tree.iter() {
            assert_eq!(block.pack().len(), block.elements as usize);
            assert!(block.elements > 0 && (!block.is_plain || block.elements == 1));
            crate::types::listpack::validate(&block.body).expect("a valid pack");
        }
    }
}
