//! Trimming: entries go from the front, by blocks where an approximation will do.

use super::{Block, NodeLimits, Refs, Stream, StreamId};
use crate::types::tree::Cursor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// So many entries stay.
    MaxLen(u64),
    /// Entries before this ID go.
    MinId(StreamId),
}

/// What XTRIM is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    pub to: TrimTo,
    /// `~`: whole blocks only.
    pub approx: bool,
    /// Entries that may go at most; 0 for no limit. With `~` alone.
    pub limit: u64,
    pub refs: Refs,
}

impl Trim {
    /// What Redis takes for `limit` where none was given with `~`.
    pub fn default_limit(limits: NodeLimits) -> u64 {
        match limits.entries {
            0 => 10_000,
            entries => entries.saturating_mul(100).min(1_000_000),
        }
    }

    /// Whether the entry `id` of a stream that now has `len` stays.
    fn keeps(&self, id: StreamId, len: u64) -> bool {
        match self.to {
            TrimTo::MaxLen(max) => len <= max,
            TrimTo::MinId(min) => id >= min,
        }
    }
}

impl Block {
    /// Whether all of it goes from a stream that now has `len` entries.
    fn goes_with(&self, trim: &Trim, len: u64) -> bool {
        match trim.to {
            TrimTo::MaxLen(max) => len - u64::from(self.live) >= max,
            TrimTo::MinId(min) => self.last() < min,
        }
    }
}

/// What went with entries that were deleted by themselves.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub ids: Vec<StreamId>,
    /// What groups had pending of them and gave up.
    pub released: Vec<(Box<[u8]>, StreamId)>,
}

/// What came of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    Done,
    Missing,
    /// A group has yet to read or to acknowledge it, or would have if it were there.
    Referenced,
}

impl Stream {
    /// Trims; `removed` hears of single entries, where groups have a say. Returns how many entries went.
    pub fn trim(&mut self, trim: &Trim, removed: &mut Removed) -> u64 {
        let before = self.len();
        if trim.refs != Refs::Keep {
            // Redis looks at no entry by itself when an approximation will do, and drops no block as a whole that a group may have entries of.
            if !trim.approx {
                self.trim_one_by_one(trim, removed);
            }
            return before - self.len();
        }
        while let Some(block) = self.blocks.first() {
            let (live, len) = (block.len(), self.len());
            if matches!(trim.to, TrimTo::MaxLen(max) if len <= max) || trim.limit > 0 && before - len + live > trim.limit {
                break;
            }
            if block.goes_with(trim, len) {
                self.remove_block(&self.blocks.start());
                continue;
            }
            if !trim.approx {
                let gone = block.entries().zip(0..).take_while(|(entry, gone)| !trim.keeps(entry.id, len - gone));
                let places: Vec<usize> = gone.map(|(entry, _)| entry.place()).collect();
                // Where the last ones were deleted before, Redis keeps a node without entries.
                match places.len() as u64 == live {
                    true => self.remove_block(&self.blocks.start()),
                    false => self.edit_block(&self.blocks.start(), |block| places.iter().for_each(|place| block.delete(*place))),
                }
            }
            break;
        }
        before - self.len()
    }

    /// Looks at every entry that is to go: groups must have done with it, or give up what they have of it.
    fn trim_one_by_one(&mut self, trim: &Trim, removed: &mut Removed) {
        let len = self.len();
        let ids = self.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).zip(0..);
        let ids: Vec<_> = ids.take_while(|(id, gone)| !trim.keeps(*id, len - gone)).map(|(id, _)| id).collect();
        for id in ids {
            self.remove(id, trim.refs, removed);
        }
    }

    /// Deletes an entry as groups allow; `max_deleted_id` stays.
    fn remove(&mut self, id: StreamId, refs: Refs, removed: &mut Removed) -> Removal {
        if refs == Refs::Acked && self.is_referenced(id) {
            return Removal::Referenced;
        }
        if refs == Refs::Delete {
            // Even of what was deleted before.
            self.release(id, removed);
        }
        let Some((block, place, live)) = self.place_of(id) else { return Removal::Missing };
        self.delete_at(&block, place, live);
        removed.ids.push(id);
        Removal::Done
    }

    /// XDEL and XDELEX of one entry.
    pub fn delete(&mut self, id: StreamId, refs: Refs, removed: &mut Removed) -> Removal {
        let removal = self.remove(id, refs, removed);
        if removal == Removal::Done {
            self.max_deleted_id = self.max_deleted_id.max(id);
        }
        removal
    }

    /// Where a live entry stands: its block, the place in it, how many live ones the block has.
    fn place_of(&self, id: StreamId) -> Option<(Cursor, usize, u64)> {
        let at = self.block_of(id)?;
        let block = self.blocks.get(&at).expect("a block at its place");
        let entry = block.find(id).filter(|entry| !entry.is_deleted())?;
        Some((at, entry.place(), block.len()))
    }

    /// Marks an entry as deleted, or removes its block with it, of whose `live` ones it may be the last.
    fn delete_at(&mut self, block: &Cursor, place: usize, live: u64) {
        match live {
            1 => self.remove_block(block),
            _ => self.edit_block(block, |block| block.delete(place)),
        }
    }

    /// Whether a group has yet to read or to acknowledge this entry.
    fn is_referenced(&self, id: StreamId) -> bool {
        self.groups().any(|(_, group)| group.last_id() < id || group.pending(id).is_some())
    }

    /// Every group forgets that the entry is pending.
    fn release(&mut self, id: StreamId, removed: &mut Removed) {
        let names: Vec<Box<[u8]>> = self.groups().filter(|(_, group)| group.pending(id).is_some()).map(|(name, _)| name.into()).collect();
        for name in names {
            self.edit_group(&name, |group| group.ack(id));
            removed.released.push((name, id));
        }
    }
}
