//! Nodes: arrays of items or of children, how they split and merge, what they cost.

use std::{mem, sync::Arc};

use super::Weigh;
use crate::types::memory::size_class;

const NODE_BYTES: usize = 4096;
/// Children of an inner node, at most.
const FAN_OUT: usize = 128;
/// What precedes the contents of an `Arc`: two counts.
const ARC_HEADER: usize = 16;

pub(super) enum Node<T: Weigh> {
    Leaf(Vec<T>),
    Inner(Vec<Child<T>>),
}

pub(super) struct Child<T: Weigh> {
    pub(super) node: Arc<Node<T>>,
    pub(super) weight: u64,
    pub(super) hint: T::Hint,
}

/// Whether a node is the first, the last of its depth in the tree: these may be all but empty.
#[derive(Clone, Copy)]
pub(super) struct Edges {
    pub(super) first: bool,
    pub(super) last: bool,
}

impl Edges {
    /// The root's.
    pub(super) const BOTH: Edges = Edges { first: true, last: true };

    pub(super) fn of_child(self, index: usize, children: usize) -> Edges {
        Edges { first: self.first && index == 0, last: self.last && index + 1 == children }
    }
}

impl<T: Weigh> Child<T> {
    pub(super) fn new(node: Arc<Node<T>>) -> Self {
        Child { weight: node.weight(), hint: node.hint(), node }
    }
}

impl<T: Weigh> Clone for Child<T> {
    fn clone(&self) -> Self {
        Child { node: self.node.clone(), ..*self }
    }
}

impl<T: Weigh + Clone> Clone for Node<T> {
    /// With the same room, so that a copy costs what the original does.
    fn clone(&self) -> Self {
        match self {
            Node::Leaf(items) => Node::Leaf(copy(items)),
            Node::Inner(children) => Node::Inner(copy(children)),
        }
    }
}

impl<T: Weigh> Node<T> {
    /// Items that a leaf holds at most.
    pub(super) const ITEMS_MAX: usize = {
        let items = NODE_BYTES / if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
        if items < 8 { 8 } else { items }
    };

    pub(super) fn len(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(children) => children.len(),
        }
    }

    pub(super) fn len_max(&self) -> usize {
        match self {
            Node::Leaf(_) => Self::ITEMS_MAX,
            Node::Inner(_) => FAN_OUT,
        }
    }

    /// Below it, a node that is on neither edge is filled up from its neighbour.
    pub(super) fn len_min(&self) -> usize {
        self.len_max() / 3
    }

    pub(super) fn first(&self) -> Option<&T> {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(items) => return items.first(),
                Node::Inner(children) => node = &children[0].node,
            }
        }
    }

    pub(super) fn weight(&self) -> u64 {
        match self {
            Node::Leaf(items) => weigh(items),
            Node::Inner(children) => children.iter().map(|child| child.weight).sum(),
        }
    }

    fn hint(&self) -> T::Hint {
        match self {
            Node::Leaf(items) => items[0].hint(),
            Node::Inner(children) => children[0].hint,
        }
    }

    /// Bytes of this node alone.
    pub(super) fn cost(&self) -> usize {
        let array = match self {
            Node::Leaf(items) => items.capacity() * size_of::<T>(),
            Node::Inner(children) => children.capacity() * size_of::<Child<T>>(),
        };
        size_class(ARC_HEADER + size_of::<Self>()) + size_class(array)
    }
}

impl<T: Weigh + Clone> Node<T> {
    /// Inserts at `path`. What no longer fits comes back as a node to the right of this one.
    pub(super) fn insert(this: &mut Arc<Self>, path: &[u16], item: T, edges: Edges, bytes: &mut usize) -> Option<Arc<Self>> {
        let (at, weight) = (usize::from(path[0]), item.weight());
        // At the ends of the tree a full leaf stays full, and is not even copied where it is shared.
        if let Node::Leaf(items) = &**this
            && items.len() == Self::ITEMS_MAX
            && (edges.last && at == items.len() || edges.first && at == 0)
        {
            let mut fresh = Vec::with_capacity(Self::ITEMS_MAX / 4);
            fresh.push(item);
            let fresh = Node::Leaf(fresh);
            *bytes += fresh.cost();
            let fresh = Arc::new(fresh);
            return Some(if at == 0 { mem::replace(this, fresh) } else { fresh });
        }
        let node = Arc::make_mut(this);
        let before = node.cost();
        let right = match node {
            Node::Leaf(items) => insert_or_split(items, at, item, Self::ITEMS_MAX, Edges { first: false, last: false }).map(Node::Leaf),
            Node::Inner(children) => {
                let edges_below = edges.of_child(at, children.len());
                let child = &mut children[at];
                let right = Node::insert(&mut child.node, &path[1..], item, edges_below, bytes);
                child.hint = child.node.hint();
                let Some(right) = right else {
                    child.weight += weight;
                    return None;
                };
                child.weight = child.node.weight();
                insert_or_split(children, at + 1, Child::new(right), FAN_OUT, edges).map(Node::Inner)
            }
        };
        *bytes = *bytes - before + node.cost();
        right.map(|right| {
            *bytes += right.cost();
            Arc::new(right)
        })
    }

    /// Takes up to `count` items out of the leaf at `path`. Returns how many, and their weight. May leave this node empty.
    pub(super) fn take(this: &mut Arc<Self>, path: &[u16], count: usize, edges: Edges, bytes: &mut usize, each: &mut impl FnMut(T)) -> (usize, u64) {
        let at = usize::from(path[0]);
        let node = Arc::make_mut(this);
        let before = node.cost();
        let taken = match node {
            Node::Leaf(items) => {
                let count = count.min(items.len() - at);
                let weight = weigh(&items[at..at + count]);
                items.drain(at..at + count).for_each(each);
                trim(items);
                (count, weight)
            }
            Node::Inner(children) => {
                let edges = edges.of_child(at, children.len());
                let child = &mut children[at];
                let taken = Node::take(&mut child.node, &path[1..], count, edges, bytes, each);
                child.weight -= taken.1;
                if child.node.len() == 0 {
                    *bytes -= children.remove(at).node.cost();
                } else {
                    child.hint = child.node.hint();
                    fill_up(children, at, edges, bytes);
                }
                trim(children);
                taken
            }
        };
        *bytes = *bytes - before + node.cost();
        taken
    }

    /// Changes the item at `path`. Returns the weight that came to it, wrapping where it lost some.
    pub(super) fn edit<R>(this: &mut Arc<Self>, path: &[u16], change: impl FnOnce(&mut T) -> R) -> (R, u64) {
        let at = usize::from(path[0]);
        match Arc::make_mut(this) {
            Node::Leaf(items) => {
                let item = &mut items[at];
                let before = item.weight();
                let result = change(item);
                assert!(item.weight() > 0, "an item without weight");
                (result, item.weight().wrapping_sub(before))
            }
            Node::Inner(children) => {
                let child = &mut children[at];
                let (result, gained) = Node::edit(&mut child.node, &path[1..], change);
                child.weight = child.weight.wrapping_add(gained);
                child.hint = child.node.hint();
                (result, gained)
            }
        }
    }

    /// Moves items or children between two neighbours until the left has `len_left` of them.
    fn shift(left: &mut Self, right: &mut Self, len_left: usize) {
        match (left, right) {
            (Node::Leaf(left), Node::Leaf(right)) => shift(left, right, len_left, Self::ITEMS_MAX),
            (Node::Inner(left), Node::Inner(right)) => shift(left, right, len_left, FAN_OUT),
            _ => unreachable!("leaves of different depths"),
        }
    }
}

/// Merges a child that has become too small with a neighbour, or levels the two. On the tree's edges only where little is left of both:
/// there a new leaf begins with one item, and must not be merged as soon as an item goes.
fn fill_up<T: Weigh + Clone>(children: &mut Vec<Child<T>>, at: usize, edges: Edges, bytes: &mut usize) {
    let node = &children[at].node;
    if node.len() >= node.len_min() || children.len() == 1 {
        return;
    }
    let at = if at + 1 < children.len() { at } else { at - 1 };
    let (max, len) = (node.len_max(), children[at].node.len() + children[at + 1].node.len());
    if (edges.first || edges.last) && len > max / 2 {
        return;
    }
    let [left, right] = &mut children[at..at + 2] else { unreachable!() };
    let before = left.node.cost() + right.node.cost();
    // Not up to the brim, or the next insert would split it again.
    let merges = len <= max / 8 * 7;
    Node::shift(Arc::make_mut(&mut left.node), Arc::make_mut(&mut right.node), if merges { len } else { len / 2 });
    let weight = left.weight + right.weight;
    left.hint = left.node.hint();
    if merges {
        left.weight = weight;
        *bytes = *bytes + left.node.cost() - before;
        children.remove(at + 1);
        return;
    }
    left.weight = left.node.weight();
    right.weight = weight - left.weight;
    right.hint = right.node.hint();
    *bytes = *bytes + left.node.cost() + right.node.cost() - before;
}

/// The element that weight `rest` falls into, and what of it is left there.
pub(super) fn locate<E>(elements: &[E], mut rest: u64, weight: impl Fn(&E) -> u64) -> (usize, u64) {
    for (index, element) in elements.iter().enumerate() {
        let weight = weight(element);
        if rest < weight {
            return (index, rest);
        }
        rest -= weight;
    }
    unreachable!("a position beyond its node")
}

/// How many elements at the front are before a place: by `decide` where that knows, else by `before`.
///
/// By samples, then among the elements after the last sample before the place: loads that don't wait for each other, where a binary search would wait
/// for one after another out of memory that is in no cache.
pub(super) fn bisect<E>(elements: &[E], decide: impl Fn(&E) -> Option<bool>, before: impl Fn(&E) -> bool) -> usize {
    const STRIDE: usize = 16;
    let is_before = |element: &&E| decide(element) == Some(true);
    let samples = elements.iter().skip(STRIDE - 1).step_by(STRIDE).filter(is_before).count();
    let block = &elements[samples * STRIDE..];
    let known = samples * STRIDE + block.iter().take(STRIDE).filter(is_before).count();
    match elements.get(known).map(&decide) {
        Some(None) => known + elements[known..].partition_point(|element| decide(element).unwrap_or_else(|| before(element))),
        _ => known,
    }
}

pub(super) fn weigh<T: Weigh>(items: &[T]) -> u64 {
    if T::UNIFORM { items.len() as u64 } else { items.iter().map(T::weight).sum() }
}

/// Inserts into an array of at most `max`. A full one is cut in the middle, or on an edge of the tree so that the other side stays full;
/// the right part comes back.
fn insert_or_split<E>(array: &mut Vec<E>, at: usize, element: E, max: usize, edges: Edges) -> Option<Vec<E>> {
    let len = array.len();
    if len < max {
        make_room(array, 1, max);
        array.insert(at, element);
        return None;
    }
    let cut = match at {
        _ if edges.last && at == len => len,
        1 if edges.first => 1,
        _ => len / 2,
    };
    let mut right = Vec::with_capacity(room_for::<E>(len - cut + 1, max));
    right.extend(array.drain(cut..));
    array.shrink_to(room_for::<E>(cut + 1, max));
    let (part, at) = if at < cut { (array, at) } else { (&mut right, at - cut) };
    make_room(part, 1, max);
    part.insert(at, element);
    Some(right)
}

fn shift<E>(left: &mut Vec<E>, right: &mut Vec<E>, len_left: usize, max: usize) {
    if let Some(more) = len_left.checked_sub(left.len()) {
        make_room(left, more, max);
        left.extend(right.drain(..more));
        trim(right);
    } else {
        make_room(right, left.len() - len_left, max);
        right.splice(0..0, left.drain(len_left..));
        trim(left);
    }
}

fn copy<E: Clone>(array: &Vec<E>) -> Vec<E> {
    let mut copy = Vec::with_capacity(array.capacity());
    copy.extend_from_slice(array);
    copy
}

/// Room to grow by a quarter, and what of the size class is left.
fn room_for<E>(len: usize, max: usize) -> usize {
    let room = size_class((len + len / 4) * size_of::<E>()) / size_of::<E>().max(1);
    room.min(max).max(len)
}

fn make_room<E>(array: &mut Vec<E>, more: usize, max: usize) {
    let len = array.len() + more;
    if len > array.capacity() {
        array.reserve_exact(room_for::<E>(len, max) - array.len());
    }
}

/// Gives room back once less than half is used.
fn trim<E>(array: &mut Vec<E>) {
    if array.len() * 2 < array.capacity() {
        array.shrink_to(room_for::<E>(array.len(), usize::MAX));
    }
}
