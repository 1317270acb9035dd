//! Streams: entries that are only ever appended, in blocks as Redis's nodes are; consumer groups over them. A persistent value: a clone costs a few
//! counts, and later writes copy what they touch. No clock: IDs and times are told.
//!
//! # Invariants
//!
//! - Blocks stand in a tree by the ID of their first entry; all entries of one are before those of the next. No block is without live entries.
//! - `last_id` is at or above every entry there is or was.
//! - `allocated` is kept as it changes, with the blocks' bytes counted wherever a clone shares them.

mod block;
mod facts;
mod group;
mod id;
mod radix;
mod range;
#[cfg(test)]
mod tests;
mod trim;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::memory::size_class;
use super::tree::{Cursor, Tree};
pub use block::{Block, BlockError, Entry, NodeLimits};
pub use facts::Facts;
pub use group::{Consumer, Group, Name, Pending};
pub use id::{IdBuf, StreamId};
pub use range::Range;
pub use trim::{Removal, Removed, Trim, TrimTo};

/// What a map of groups takes for each, roughly: key and value in nodes that are not all full.
const GROUP_SLOT: usize = 64;

/// What a group has of an entry when it is deleted (KEEPREF, DELREF, ACKED).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refs {
    /// Pending entries stay, of what is not there any more.
    #[default]
    Keep,
    /// They go along.
    Delete,
    /// Entries that a group has yet to read or to acknowledge are not deleted.
    Acked,
}

#[derive(Clone, Default)]
pub struct Stream {
    blocks: Tree<Block>,
    block_bytes: usize,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
    groups: Arc<BTreeMap<Box<[u8]>, Arc<Group>>>,
    group_bytes: usize,
    /// Groups with consumers that have been seen since they last got entries.
    restless_groups: usize,
}

impl Stream {
    pub fn new() -> Self {
        Stream::default()
    }

    /// Entries.
    pub fn len(&self) -> u64 {
        self.blocks.total()
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// The first entry's ID, 0-0 when there is none.
    pub fn first_id(&self) -> StreamId {
        self.range(StreamId::MIN, StreamId::MAX).next().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// Bytes allocated for it.
    pub fn allocated(&self) -> usize {
        self.blocks.allocated() + self.block_bytes + self.group_bytes
    }

    /// Redis's `radix-tree-keys`: nodes with entries.
    pub fn blocks_len(&self) -> usize {
        self.blocks.items()
    }

    /// Redis's `radix-tree-nodes`.
    pub fn radix_nodes(&self) -> u64 {
        radix::nodes(self.blocks.iter().map(|block| block.first))
    }

    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter()
    }

    /// Appends an entry. `id` must be above `last_id`; `pairs` are fields and values in turn.
    pub fn append(&mut self, id: StreamId, pairs: &[&[u8]], limits: NodeLimits) {
        assert!(id > self.last_id, "an entry that is not the last");
        let len = pairs.iter().map(|text| text.len()).sum();
        match self.blocks.last() {
            Some(block) if !block.is_full_for(len, limits) => self.edit_block(&self.last_block(), |block| block.push(id, pairs)),
            last => {
                if last.is_some() {
                    self.edit_block(&self.last_block(), Block::shrink);
                }
                let block = Block::new(id, pairs);
                self.block_bytes += block.allocated();
                self.blocks.push_back(block);
            }
        }
        self.last_id = id;
        self.entries_added = self.entries_added.wrapping_add(1);
    }

    /// Appends a block as a whole, when a stream is loaded. False when it doesn't come behind the others.
    pub fn append_block(&mut self, block: Block) -> bool {
        if self.blocks.last().is_some_and(|last| last.last() >= block.first) {
            return false;
        }
        if block.is_empty() {
            return true;
        }
        self.block_bytes += block.allocated();
        self.blocks.push_back(block);
        true
    }

    /// XSETID, and what a loaded stream says of itself.
    pub fn set_last_id(&mut self, id: StreamId) {
        self.last_id = id;
    }

    pub fn set_entries_added(&mut self, entries: u64) {
        self.entries_added = entries;
    }

    pub fn set_max_deleted_id(&mut self, id: StreamId) {
        self.max_deleted_id = id;
    }

    fn last_block(&self) -> Cursor {
        self.blocks.seek(self.blocks.total() - 1).0
    }

    /// The block that would hold `id`, if it is in any.
    fn block_of(&self, id: StreamId) -> Option<Cursor> {
        let behind = self.blocks.search(|first| Some(first <= id), |_| unreachable!("hints decide"));
        Some(self.blocks.seek(behind.position().checked_sub(1)?).0)
    }

    /// Changes a block, and counts what that costs.
    fn edit_block<R>(&mut self, at: &Cursor, change: impl FnOnce(&mut Block) -> R) -> R {
        let bytes = &mut self.block_bytes;
        self.blocks.edit(at, |block| {
            *bytes -= block.allocated();
            let result = change(block);
            *bytes += block.allocated();
            result
        })
    }

    fn remove_block(&mut self, at: &Cursor) {
        let block = self.blocks.remove(at).expect("a block at its place");
        self.block_bytes -= block.allocated();
    }

    /// The entry with this ID.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.blocks.get(&self.block_of(id)?)?.find(id).filter(|entry| !entry.is_deleted())
    }

    /// Entries from `start` to `end`, from both ends.
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        Range::new(self, start, end)
    }

    pub fn groups(&self) -> impl Iterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, &**group))
    }

    pub fn groups_len(&self) -> usize {
        self.groups.len()
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name).map(|group| &**group)
    }

    /// XGROUP CREATE, or a group that is loaded; false if it is there.
    pub fn create_group(&mut self, name: &[u8], group: Group) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        self.group_bytes += Self::group_cost(name, &group);
        self.restless_groups += usize::from(group.is_restless());
        Arc::make_mut(&mut self.groups).insert(name.into(), Arc::new(group));
        true
    }

    /// XGROUP DESTROY; false if there is none.
    pub fn destroy_group(&mut self, name: &[u8]) -> bool {
        let Some(group) = self.groups.get(name) else { return false };
        self.group_bytes -= Self::group_cost(name, group);
        self.restless_groups -= usize::from(group.is_restless());
        Arc::make_mut(&mut self.groups).remove(name);
        true
    }

    fn group_cost(name: &[u8], group: &Group) -> usize {
        GROUP_SLOT + size_class(name.len()) + group.allocated()
    }

    /// Changes a group; `None` if there is none.
    pub fn edit_group<R>(&mut self, name: &[u8], change: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let group = Arc::make_mut(Arc::make_mut(&mut self.groups).get_mut(name)?);
        self.group_bytes -= group.allocated();
        self.restless_groups -= usize::from(group.is_restless());
        let result = change(group);
        self.group_bytes += group.allocated();
        self.restless_groups += usize::from(group.is_restless());
        Some(result)
    }

    /// How many entries had been added up to and with `id`: exactly, or `None` where deletions have made that unknown.
    pub fn entries_added_up_to(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.is_empty() && id <= self.last_id {
            return Some(self.entries_added);
        }
        if id >= self.last_id {
            return (id == self.last_id).then_some(self.entries_added);
        }
        let first = self.first_id();
        let whole = self.max_deleted_id == StreamId::MIN || self.max_deleted_id < first;
        match id.cmp(&first) {
            _ if !whole => None,
            std::cmp::Ordering::Less => Some(self.entries_added.wrapping_sub(self.len())),
            std::cmp::Ordering::Equal => Some(self.entries_added.wrapping_sub(self.len()).wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// Whether a count of entries read up to `last_id` can be gone on with: it is among the entries there are, `first` being the first of them, and none
    /// behind it may have been deleted out of the middle.
    fn counts_on(&self, last_id: StreamId, first: StreamId) -> bool {
        let may_have_tombstones = self.max_deleted_id != StreamId::MIN && first.max(last_id) <= self.max_deleted_id;
        last_id >= first && (self.is_empty() || !may_have_tombstones)
    }

    /// A group has read these entries, one after the other. Those at or before what it had read already are none.
    pub fn note_deliveries(&mut self, name: &[u8], ids: impl Iterator<Item = StreamId>) {
        let Some(group) = self.group(name) else { return };
        let first = self.first_id();
        let (mut last_id, mut entries_read) = (group.last_id(), group.entries_read);
        for id in ids.filter(|id| *id > last_id).collect::<Vec<_>>() {
            entries_read = match entries_read {
                Some(count) if self.counts_on(last_id, first) => Some(count + 1),
                _ if self.entries_added > 0 => self.entries_added_up_to(id),
                kept => kept,
            };
            last_id = id;
        }
        self.edit_group(name, |group| {
            group.set_last_id(last_id);
            group.entries_read = entries_read;
        });
    }

    /// How many entries a group has yet to read; `None` where deletions have made that unknown.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.is_empty() {
            return Some(0);
        }
        let read = match group.entries_read {
            Some(count) if self.counts_on(group.last_id(), self.first_id()) => count,
            _ => self.entries_added_up_to(group.last_id())?,
        };
        Some((self.entries_added as i64).wrapping_sub(read as i64))
    }
}
