//! Going through a tree, both ways, without allocating.

use super::{
    HEIGHT_MAX, Weigh,
    node::{Child, Node},
};

/// Items from a place on.
pub struct Iter<'a, T: Weigh> {
    /// The inner nodes above the leaf, and which child leads to it.
    above: [(&'a [Child<T>], usize); HEIGHT_MAX],
    height: usize,
    leaf: &'a [T],
    at: usize,
}

/// Items before a place, the nearest first.
pub struct IterBack<'a, T: Weigh>(pub(super) Iter<'a, T>);

impl<'a, T: Weigh> Iter<'a, T> {
    pub(super) fn new(root: Option<&'a Node<T>>, path: &[u16; HEIGHT_MAX + 1]) -> Self {
        let mut iter = Iter { above: [(&[], 0); HEIGHT_MAX], height: 0, leaf: &[], at: 0 };
        let Some(mut node) = root else { return iter };
        loop {
            let index = usize::from(path[iter.height]);
            match node {
                Node::Inner(children) => {
                    iter.above[iter.height] = (children, index);
                    iter.height += 1;
                    node = &children[index].node;
                }
                Node::Leaf(items) => {
                    assert!(index <= items.len(), "a place of another tree");
                    (iter.leaf, iter.at) = (items, index);
                    return iter;
                }
            }
        }
    }

    pub(super) fn path(&self) -> [u16; HEIGHT_MAX + 1] {
        let mut path = [0; HEIGHT_MAX + 1];
        for (step, (_, index)) in path.iter_mut().zip(&self.above[..self.height]) {
            *step = *index as u16;
        }
        path[self.height] = self.at as u16;
        path
    }

    /// Goes on to the next leaf at the end of one.
    #[inline]
    pub(super) fn settle(&mut self) {
        if self.at == self.leaf.len() {
            self.step::<true>();
        }
    }

    /// How many items of this leaf weigh `weight` together, or less if the leaf ends before.
    pub(super) fn count_within(mut self, mut weight: u64) -> usize {
        self.settle();
        let fits = |item: &&T| match weight.checked_sub(item.weight()) {
            Some(rest) => {
                weight = rest;
                true
            }
            None => false,
        };
        self.leaf[self.at..].iter().take_while(fits).count()
    }

    /// To the start of the next leaf, or to the end of the one before; false where there is none.
    fn step<const FORWARD: bool>(&mut self) -> bool {
        let is_inside = |(children, index): &(&[Child<T>], usize)| if FORWARD { index + 1 < children.len() } else { *index > 0 };
        let Some(turn) = self.above[..self.height].iter().rposition(is_inside) else { return false };
        let (children, index) = &mut self.above[turn];
        *index = if FORWARD { *index + 1 } else { *index - 1 };
        let mut node = &*children[*index].node;
        for above in &mut self.above[turn + 1..self.height] {
            let Node::Inner(children) = node else { unreachable!("leaves of different depths") };
            let index = if FORWARD { 0 } else { children.len() - 1 };
            *above = (children, index);
            node = &children[index].node;
        }
        let Node::Leaf(items) = node else { unreachable!("leaves of different depths") };
        (self.leaf, self.at) = (items, if FORWARD { 0 } else { items.len() });
        true
    }
}

impl<'a, T: Weigh> Iterator for Iter<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        self.settle();
        let item = self.leaf.get(self.at)?;
        self.at += 1;
        Some(item)
    }
}

impl<'a, T: Weigh> Iterator for IterBack<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        let iter = &mut self.0;
        if iter.at == 0 && !iter.step::<false>() {
            return None;
        }
        iter.at -= 1;
        Some(&iter.leaf[iter.at])
    }
}
