//! The order behind big sorted sets, lists and streams: a counted, persistent B+tree of plain items.
//!
//! Owns its nodes and what they weigh and cost; knows nothing of what the items mean. A clone of a tree is the root's `Arc`; a later write copies the
//! nodes on its path that are still shared, and only then. So an item's `Clone` must be cheap: an item that holds much holds it behind an `Arc`, with its
//! weight beside the pointer, since weights are summed when a position is sought.
//!
//! # Invariants
//!
//! - Every leaf is equally deep; no node is empty; nodes that are not first or last of their depth are at least a third full.
//! - A child is kept with the weight of all its items and with the hint of its first item.
//! - Every item weighs at least 1, so a position (the weight before it) tells one place.
//! - `allocated` is the sum of the nodes' size classes, shared or not, whatever writes came.

mod iter;
mod node;
#[cfg(test)]
mod tests;

use std::{ops::Range, sync::Arc};

pub use iter::{Iter, IterBack};
use node::{Child, Edges, Node};

/// What can be an item of a tree.
pub trait Weigh {
    /// What inner nodes know of a child's first item, so that a search need not touch it: a sorted set's score, a stream's ID. `()` where none searches.
    type Hint: Copy;
    /// Whether every item weighs 1, so that positions can be indexes.
    const UNIFORM: bool = false;

    /// How many elements the item holds; at least 1. Must not change but inside [`Tree::edit`].
    fn weight(&self) -> u64;
    fn hint(&self) -> Self::Hint;
}

/// Inner nodes above a leaf, at most: their fan-out is at least 42, but along the edges.
const HEIGHT_MAX: usize = 8;

/// A place between items: before the item that [`Tree::get`] gives for it, or at the end. Holds until the tree is written to.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    position: u64,
    /// An index for every inner node from the root on, then one into the leaf.
    path: [u16; HEIGHT_MAX + 1],
}

impl Cursor {
    /// The weight of all items before this place.
    pub fn position(&self) -> u64 {
        self.position
    }
}

pub struct Tree<T: Weigh> {
    root: Option<Arc<Node<T>>>,
    weight: u64,
    items: usize,
    allocated: usize,
    height: usize,
}

impl<T: Weigh> Clone for Tree<T> {
    fn clone(&self) -> Self {
        Tree { root: self.root.clone(), ..*self }
    }
}

impl<T: Weigh> Default for Tree<T> {
    fn default() -> Self {
        Tree { root: None, weight: 0, items: 0, allocated: 0, height: 0 }
    }
}

impl<T: Weigh> Tree<T> {
    pub fn new() -> Self {
        Tree::default()
    }

    /// The weight of all items.
    pub fn total(&self) -> u64 {
        self.weight
    }

    pub fn items(&self) -> usize {
        self.items
    }

    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Bytes of the nodes; what items hold elsewhere is not in it. Nodes shared with clones count in each.
    pub fn allocated(&self) -> usize {
        self.allocated
    }

    pub fn first(&self) -> Option<&T> {
        self.root.as_ref()?.first()
    }

    pub fn last(&self) -> Option<&T> {
        let mut node = &**self.root.as_ref()?;
        loop {
            match node {
                Node::Leaf(items) => return items.last(),
                Node::Inner(children) => node = &children[children.len() - 1].node,
            }
        }
    }

    pub fn start(&self) -> Cursor {
        Cursor { position: 0, path: [0; HEIGHT_MAX + 1] }
    }

    pub fn end(&self) -> Cursor {
        let mut cursor = Cursor { position: self.weight, path: [0; HEIGHT_MAX + 1] };
        let mut node = self.root.as_deref();
        for step in cursor.path.iter_mut().take(self.height + 1) {
            match node {
                Some(Node::Inner(children)) => {
                    *step = (children.len() - 1) as u16;
                    node = Some(&children[children.len() - 1].node);
                }
                Some(Node::Leaf(items)) => *step = items.len() as u16,
                None => break,
            }
        }
        cursor
    }

    /// The place of the last item.
    pub fn last_place(&self) -> Option<Cursor> {
        let mut cursor = self.end();
        let step = &mut cursor.path[self.height];
        *step = step.checked_sub(1)?;
        cursor.position -= self.last()?.weight();
        Some(cursor)
    }

    /// The place of the item that holds element `position`, and how many of its elements are before that one. The end for positions beyond.
    pub fn seek(&self, position: u64) -> (Cursor, u64) {
        if position >= self.weight {
            return (self.end(), position - self.weight);
        }
        let mut cursor = self.start();
        let mut rest = position;
        let mut node = &**self.root.as_ref().expect("a weight without a root");
        let mut depth = 0;
        loop {
            let index;
            match node {
                Node::Inner(children) => {
                    (index, rest) = node::locate(children, rest, |child| child.weight);
                    node = &children[index].node;
                }
                Node::Leaf(items) => {
                    (index, rest) = if T::UNIFORM { (rest as usize, 0) } else { node::locate(items, rest, T::weight) };
                    cursor.path[depth] = index as u16;
                    cursor.position = position - rest;
                    return (cursor, rest);
                }
            }
            cursor.path[depth] = index as u16;
            depth += 1;
        }
    }

    /// The item that holds element `position`, and how many of its elements are before that one.
    pub fn find(&self, position: u64) -> Option<(&T, u64)> {
        let mut node = &**self.root.as_ref().filter(|_| position < self.weight)?;
        let mut rest = position;
        loop {
            let index;
            match node {
                Node::Inner(children) => {
                    (index, rest) = node::locate(children, rest, |child| child.weight);
                    node = &children[index].node;
                }
                Node::Leaf(items) => {
                    (index, rest) = if T::UNIFORM { (rest as usize, 0) } else { node::locate(items, rest, T::weight) };
                    return Some((&items[index], rest));
                }
            }
        }
    }

    /// The place behind all items of which `before` holds; it must hold of no item after one of which it doesn't.
    pub fn partition_point(&self, before: impl Fn(&T) -> bool) -> Cursor {
        self.search(|_| None, before)
    }

    /// As [`Tree::partition_point`], where `decide` tells by an item's hint alone, or leaves it (None) to `before`.
    pub fn search(&self, decide: impl Fn(T::Hint) -> Option<bool>, before: impl Fn(&T) -> bool) -> Cursor {
        let mut cursor = self.start();
        let Some(mut node) = self.root.as_deref() else { return cursor };
        let mut depth = 0;
        loop {
            match node {
                Node::Inner(children) => {
                    let first = |child: &Child<T>| before(child.node.first().expect("an empty node"));
                    let index = node::bisect(&children[1..], |child| decide(child.hint), first);
                    cursor.position += children[..index].iter().map(|child| child.weight).sum::<u64>();
                    cursor.path[depth] = index as u16;
                    node = &children[index].node;
                }
                Node::Leaf(items) => {
                    let index = node::bisect(items, |item| decide(item.hint()), &before);
                    cursor.position += node::weigh(&items[..index]);
                    cursor.path[depth] = index as u16;
                    return if index < items.len() { cursor } else { self.settled(cursor) };
                }
            }
            depth += 1;
        }
    }

    /// The item behind `cursor`; None at the end.
    pub fn get(&self, cursor: &Cursor) -> Option<&T> {
        let mut node = &**self.root.as_ref()?;
        for step in cursor.path {
            match node {
                Node::Inner(children) => node = &children[usize::from(step)].node,
                Node::Leaf(items) => return items.get(usize::from(step)),
            }
        }
        None
    }

    pub fn iter(&self) -> Iter<'_, T> {
        self.iter_from(&self.start())
    }

    /// Items from `cursor` on, forward.
    pub fn iter_from(&self, cursor: &Cursor) -> Iter<'_, T> {
        Iter::new(self.root.as_deref(), &cursor.path)
    }

    /// Items before `cursor`, backward.
    pub fn iter_back_from(&self, cursor: &Cursor) -> IterBack<'_, T> {
        IterBack(self.iter_from(cursor))
    }

    /// As `cursor`, but behind the last item of a leaf only where no other leaf follows: all that is handed out is so.
    #[cold]
    fn settled(&self, cursor: Cursor) -> Cursor {
        let mut iter = self.iter_from(&cursor);
        iter.settle();
        Cursor { path: iter.path(), ..cursor }
    }
}

impl<T: Weigh + Clone> Tree<T> {
    /// Puts `item` at `cursor`, before the item there.
    pub fn insert(&mut self, cursor: &Cursor, item: T) {
        let weight = item.weight();
        assert!(weight > 0, "an item without weight");
        self.weight += weight;
        self.items += 1;
        let Some(root) = &mut self.root else {
            let root = Node::Leaf(vec![item]);
            self.allocated = root.cost();
            self.root = Some(Arc::new(root));
            return;
        };
        let Some(right) = Node::insert(root, &cursor.path, item, Edges::BOTH, &mut self.allocated) else { return };
        assert!(self.height < HEIGHT_MAX, "a tree that is too high");
        let left = self.root.take().expect("the root that was split");
        let root = Node::Inner(vec![Child::new(left), Child::new(right)]);
        self.allocated += root.cost();
        self.root = Some(Arc::new(root));
        self.height += 1;
    }

    pub fn push_front(&mut self, item: T) {
        self.insert(&self.start(), item);
    }

    pub fn push_back(&mut self, item: T) {
        self.insert(&self.end(), item);
    }

    pub fn pop_front(&mut self) -> Option<T> {
        self.remove(&self.start())
    }

    pub fn pop_back(&mut self) -> Option<T> {
        self.remove(&self.last_place()?)
    }

    /// Takes the item behind `cursor` out; None at the end.
    pub fn remove(&mut self, cursor: &Cursor) -> Option<T> {
        let mut removed = None;
        self.take(cursor, 1, &mut |item| removed = Some(item));
        removed
    }

    /// Takes out the items that hold the elements at `positions`, which must begin and end between items, and hands each to `each`.
    pub fn remove_range(&mut self, positions: Range<u64>, mut each: impl FnMut(T)) {
        assert!(positions.start <= positions.end && positions.end <= self.weight, "a range beyond the tree");
        let mut left = positions.end - positions.start;
        while left > 0 {
            // Leaf by leaf; the next one is found anew, since nodes merge meanwhile.
            let (cursor, offset) = self.seek(positions.start);
            assert_eq!(offset, 0, "a range that begins inside an item");
            let items = self.iter_from(&cursor).count_within(left);
            assert!(items > 0, "a range that ends inside an item");
            left -= self.take(&cursor, items, &mut each);
        }
    }

    /// Changes the item behind `cursor` in place, its weight as well (not to 0) but not its order. The place must not be the end.
    pub fn edit<R>(&mut self, cursor: &Cursor, change: impl FnOnce(&mut T) -> R) -> R {
        let root = self.root.as_mut().expect("an edit of an empty tree");
        let (result, gained) = Node::edit(root, &cursor.path, change);
        self.weight = self.weight.wrapping_add(gained);
        result
    }

    /// Takes `count` items of one leaf out, or fewer where the leaf ends. Returns their weight.
    fn take(&mut self, cursor: &Cursor, count: usize, each: &mut impl FnMut(T)) -> u64 {
        let Some(root) = &mut self.root else { return 0 };
        let (items, weight) = Node::take(root, &cursor.path, count, Edges::BOTH, &mut self.allocated, each);
        self.items -= items;
        self.weight -= weight;
        loop {
            let under = match &**root {
                node if node.len() == 0 => None,
                Node::Inner(children) if children.len() == 1 => Some(children[0].node.clone()),
                _ => break,
            };
            self.allocated -= root.cost();
            let Some(under) = under else {
                self.root = None;
                break;
            };
            *root = under;
            self.height -= 1;
        }
        weight
    }
}

impl<T: Weigh + Clone> Extend<T> for Tree<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push_back(item));
    }
}

impl<T: Weigh + Clone> FromIterator<T> for Tree<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut tree = Tree::new();
        tree.extend(items);
        tree
    }
}
