//! Going through entries by their IDs, from both ends.

use super::{Block, Entry, Stream, StreamId};
use crate::types::tree::{Iter, IterBack};

/// Live entries between two IDs, both included.
pub struct Range<'a> {
    stream: &'a Stream,
    start: StreamId,
    end: StreamId,
    front: Option<Front<'a>>,
    back: Option<Back<'a>>,
}

struct Front<'a> {
    blocks: Iter<'a, Block>,
    block: &'a Block,
    at: usize,
}

struct Back<'a> {
    blocks: IterBack<'a, Block>,
    block: &'a Block,
    at: usize,
}

impl<'a> Range<'a> {
    pub(super) fn new(stream: &'a Stream, start: StreamId, end: StreamId) -> Self {
        Range { stream, start, end, front: None, back: None }
    }

    /// Nothing is left.
    fn finish<T>(&mut self) -> Option<T> {
        (self.start, self.end) = (StreamId::MAX, StreamId::MIN);
        None
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.start > self.end {
            return None;
        }
        let tree = &self.stream.blocks;
        if self.front.is_none() {
            let from = self.stream.block_of(self.start).unwrap_or_else(|| tree.start());
            let mut blocks = tree.iter_from(&from);
            let Some(block) = blocks.next() else { return self.finish() };
            self.front = Some(Front { blocks, block, at: block.start() });
        }
        let front = self.front.as_mut()?;
        loop {
            let Some(entry) = front.block.entry_at(front.at) else {
                let Some(block) = front.blocks.next() else { return self.finish() };
                (front.block, front.at) = (block, block.start());
                continue;
            };
            front.at = front.block.behind(&entry);
            if entry.id > self.end {
                return self.finish();
            }
            if entry.id >= self.start && !entry.is_deleted() {
                match entry.id.next() {
                    Some(next) => self.start = next,
                    None => self.end = StreamId::MIN,
                }
                return Some(entry);
            }
        }
    }
}

impl<'a> DoubleEndedIterator for Range<'a> {
    fn next_back(&mut self) -> Option<Entry<'a>> {
        if self.start > self.end {
            return None;
        }
        let tree = &self.stream.blocks;
        if self.back.is_none() {
            let behind = tree.search(|first| Some(first <= self.end), |_| unreachable!("hints decide"));
            let mut blocks = tree.iter_back_from(&behind);
            let Some(block) = blocks.next() else { return self.finish() };
            self.back = Some(Back { blocks, block, at: block.end() });
        }
        let back = self.back.as_mut()?;
        loop {
            if back.at == back.block.start() {
                let Some(block) = back.blocks.next() else { return self.finish() };
                (back.block, back.at) = (block, block.end());
                continue;
            }
            back.at = back.block.before(back.at);
            let entry = back.block.entry_at(back.at).expect("an entry before the end");
            if entry.id < self.start {
                return self.finish();
            }
            if entry.id <= self.end && !entry.is_deleted() {
                match entry.id.prev() {
                    Some(prev) => self.end = prev,
                    None => self.start = StreamId::MAX,
                }
                return Some(entry);
            }
        }
    }
}
