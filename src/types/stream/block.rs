//! A block: entries one behind the other in one run of bytes, laid out as in Redis's nodes, so that they travel in RDB files without work.
//!
//! Redis's node begins with two counts, entries and deleted entries, that it changes with every write. Here they stand beside the bytes. What follows is
//! as it has it: the first entry's fields as the master's (their number, the fields, a 0), then the entries:
//! flags, difference to the block's ID in ms and seq, then either values alone (the fields are the master's) or the number of fields and fields and
//! values, then how many elements that was, to go backward by.
//!
//! Invariants: entries rise; a deleted one keeps its place, marked, until no other is left. There is at least one, deleted or not.

use std::sync::Arc;

use super::StreamId;
use crate::types::listpack::{Elem, PackError, RedisElems, encoded_len, run};
use crate::types::memory::size_class;
use crate::types::tree::Weigh;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
/// No node of Redis's is larger, whatever `stream-node-max-bytes` says.
const BYTES_MAX: u64 = 1 << 30;

/// `stream-node-max-bytes` and `stream-node-max-entries`; 0 for no limit.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    pub bytes: u64,
    pub entries: u64,
}

/// A block with its counts. Its bytes are shared with clones until one of them is changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its first entry's ID, deleted or not.
    pub(super) first: StreamId,
    pub(super) live: u32,
    pub(super) deleted: u32,
    bytes: Arc<Vec<u8>>,
}

impl Weigh for Block {
    type Hint = StreamId;

    fn weight(&self) -> u64 {
        u64::from(self.live)
    }

    fn hint(&self) -> StreamId {
        self.first
    }
}

/// One entry, where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub id: StreamId,
    bytes: &'a [u8],
    /// Where its flags stand.
    at: usize,
    flags: i64,
    fields: usize,
    /// Where the master's fields stand, or the first of its own.
    names: usize,
    values: usize,
}

/// Why bytes are no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error("stream node that ends inside an entry")]
    Cut,
    #[error("stream node with a wrong number")]
    Number,
    #[error("stream node with other counts than it says")]
    Counts,
    #[error("stream node with IDs out of order")]
    Order,
}

fn int(elem: Elem<'_>) -> i64 {
    elem.as_int().expect("a valid block")
}

impl<'a> Entry<'a> {
    /// Reads the entry at `at`.
    fn read(block: &'a Block, at: usize) -> Self {
        let bytes = &block.bytes[..];
        let (flags, pos) = run::read(bytes, at);
        let (ms, pos) = run::read(bytes, pos);
        let (seq, mut pos) = run::read(bytes, pos);
        let id = StreamId { ms: block.first.ms.wrapping_add(int(ms) as u64), seq: block.first.seq.wrapping_add(int(seq) as u64) };
        let flags = int(flags);
        let (fields, names);
        if flags & SAME_FIELDS != 0 {
            let (count, first) = run::read(bytes, 0);
            (fields, names) = (int(count) as usize, first);
        } else {
            let (count, first) = run::read(bytes, pos);
            (fields, names, pos) = (int(count) as usize, first, first);
        }
        Entry { id, bytes, at, flags, fields, names, values: pos }
    }

    /// Where in its block it stands.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.fields
    }

    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// Fields and values.
    pub fn pairs(&self) -> impl Iterator<Item = (Elem<'a>, Elem<'a>)> {
        let (bytes, is_same) = (self.bytes, self.flags & SAME_FIELDS != 0);
        let (mut name_at, mut value_at) = (self.names, self.values);
        (0..self.fields).map(move |_| {
            let (name, behind) = run::read(bytes, if is_same { name_at } else { value_at });
            (name_at, value_at) = if is_same { (behind, value_at) } else { (name_at, behind) };
            let (value, behind) = run::read(bytes, value_at);
            value_at = behind;
            (name, value)
        })
    }

    /// Where the next entry stands.
    fn end(&self) -> usize {
        let elements = if self.flags & SAME_FIELDS != 0 { self.fields } else { 2 * self.fields };
        run::skip(self.bytes, self.values, elements + 1)
    }
}

impl Block {
    /// A block of one entry. `pairs` are fields and values in turn.
    pub(super) fn new(id: StreamId, pairs: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        run::push(&mut bytes, Elem::Int((pairs.len() / 2) as i64));
        for field in pairs.iter().step_by(2) {
            run::push(&mut bytes, Elem::of(field));
        }
        run::push(&mut bytes, Elem::Int(0));
        let mut block = Block { first: id, live: 0, deleted: 0, bytes: Arc::new(bytes) };
        block.push(id, pairs);
        block
    }

    /// Whether Redis would begin another node for an entry whose fields and values have `len` bytes.
    pub(super) fn is_full_for(&self, len: usize, limits: NodeLimits) -> bool {
        let bytes_max = if limits.bytes == 0 { BYTES_MAX } else { limits.bytes.min(BYTES_MAX) };
        let counts = encoded_len(Elem::Int(i64::from(self.live))) + encoded_len(Elem::Int(i64::from(self.deleted)));
        let bytes = run::redis_len(counts + self.bytes.len());
        bytes as u64 + len as u64 >= bytes_max || limits.entries != 0 && u64::from(self.live) + u64::from(self.deleted) >= limits.entries
    }

    /// Appends an entry behind all others.
    pub(super) fn push(&mut self, id: StreamId, pairs: &[&[u8]]) {
        let is_same = self.has_fields(pairs);
        let bytes = Arc::make_mut(&mut self.bytes);
        run::push(bytes, Elem::Int(if is_same { SAME_FIELDS } else { 0 }));
        run::push(bytes, Elem::Int(id.ms.wrapping_sub(self.first.ms) as i64));
        run::push(bytes, Elem::Int(id.seq.wrapping_sub(self.first.seq) as i64));
        let fields = pairs.len() / 2;
        if is_same {
            pairs.iter().skip(1).step_by(2).for_each(|value| run::push(bytes, Elem::of(value)));
            run::push(bytes, Elem::Int(fields as i64 + 3));
        } else {
            run::push(bytes, Elem::Int(fields as i64));
            pairs.iter().for_each(|text| run::push(bytes, Elem::of(text)));
            run::push(bytes, Elem::Int(2 * fields as i64 + 4));
        }
        self.live += 1;
    }

    /// Whether an entry's fields are the master's.
    fn has_fields(&self, pairs: &[&[u8]]) -> bool {
        let (count, mut pos) = run::read(&self.bytes, 0);
        int(count) as usize == pairs.len() / 2
            && pairs.iter().step_by(2).all(|field| {
                let (name, behind) = run::read(&self.bytes, pos);
                pos = behind;
                name.is(field)
            })
    }

    /// The entry at or behind the place `at`, if one is there. Deleted ones are given out as well.
    pub(super) fn entry_at(&self, at: usize) -> Option<Entry<'_>> {
        (at < self.bytes.len()).then(|| Entry::read(self, at))
    }

    /// The place of the first entry.
    pub(super) fn start(&self) -> usize {
        let (count, pos) = run::read(&self.bytes, 0);
        run::skip(&self.bytes, pos, int(count) as usize + 1)
    }

    pub(super) fn end(&self) -> usize {
        self.bytes.len()
    }

    /// The place of the entry before the place `at`.
    pub(super) fn before(&self, at: usize) -> usize {
        let (elements, _) = run::read(&self.bytes, run::skip_back(&self.bytes, at, 1));
        run::skip_back(&self.bytes, at, int(elements) as usize + 1)
    }

    /// The place behind an entry.
    pub(super) fn behind(&self, entry: &Entry<'_>) -> usize {
        entry.end()
    }

    /// All entries from the front, deleted ones as well.
    pub(super) fn entries_all(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut at = self.start();
        std::iter::from_fn(move || {
            let entry = self.entry_at(at)?;
            at = entry.end();
            Some(entry)
        })
    }

    /// The last entry's ID, deleted or not.
    pub fn last(&self) -> StreamId {
        self.entry_at(self.before(self.end())).expect("a block with entries").id
    }

    /// The entry with this ID, deleted or not.
    pub(super) fn find(&self, id: StreamId) -> Option<Entry<'_>> {
        self.entries_all().take_while(|entry| entry.id <= id).find(|entry| entry.id == id)
    }

    /// Marks the entry at `at` as deleted, which it was not.
    pub(super) fn delete(&mut self, at: usize) {
        let flags = int(run::read(&self.bytes, at).0);
        assert!(flags & DELETED == 0);
        let bytes = Arc::make_mut(&mut self.bytes);
        // The flags are a small number, one byte whatever they say.
        bytes[at] = (flags | DELETED) as u8;
        self.live -= 1;
        self.deleted += 1;
    }

    /// No more entries will come: gives the room for them back.
    pub(super) fn shrink(&mut self) {
        if let Some(bytes) = Arc::get_mut(&mut self.bytes) {
            bytes.shrink_to_fit();
        }
    }

    pub(super) fn allocated(&self) -> usize {
        size_class(16 + size_of::<Vec<u8>>()) + size_class(self.bytes.capacity())
    }

    /// What Redis has it under.
    pub fn id(&self) -> StreamId {
        self.first
    }

    /// Live entries.
    pub fn len(&self) -> u64 {
        u64::from(self.live)
    }

    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries_all().filter(|entry| !entry.is_deleted())
    }

    /// Appends the listpack that is Redis's node.
    pub fn to_redis(&self, out: &mut Vec<u8>) {
        let mut counts = Vec::with_capacity(16);
        run::push(&mut counts, Elem::Int(i64::from(self.live)));
        run::push(&mut counts, Elem::Int(i64::from(self.deleted)));
        run::to_redis(&counts, &self.bytes, out);
    }

    /// The block for Redis's node, all of it checked. `id` is its key.
    pub fn from_redis(id: StreamId, listpack: &[u8]) -> Result<Block, BlockError> {
        let mut elems = RedisElems::new(listpack)?;
        let mut bytes = Vec::with_capacity(listpack.len());
        let mut next = || elems.next().unwrap_or(Err(PackError::Count));
        let count = |elem: Elem<'_>| elem.as_int().and_then(|number| u32::try_from(number).ok()).ok_or(BlockError::Number);
        let (live, deleted) = (count(next()?)?, count(next()?)?);
        for elem in elems {
            run::push(&mut bytes, elem?);
        }
        check(id, &bytes, live, deleted)?;
        bytes.shrink_to_fit();
        Ok(Block { first: id, live, deleted, bytes: Arc::new(bytes) })
    }
}

/// A reader of a run that may end anywhere.
struct Checked<'a> {
    run: &'a [u8],
    pos: usize,
}

impl Checked<'_> {
    fn int(&mut self) -> Result<i64, BlockError> {
        if self.pos == self.run.len() {
            return Err(BlockError::Cut);
        }
        let (elem, behind) = run::read(self.run, self.pos);
        self.pos = behind;
        elem.as_int().ok_or(BlockError::Number)
    }

    fn skip(&mut self, count: i64) -> Result<(), BlockError> {
        for _ in 0..u64::try_from(count).map_err(|_| BlockError::Number)? {
            if self.pos == self.run.len() {
                return Err(BlockError::Cut);
            }
            self.pos = run::skip(self.run, self.pos, 1);
        }
        Ok(())
    }
}

/// Whether elements that are valid by themselves make a block.
fn check(id: StreamId, run: &[u8], live: u32, deleted: u32) -> Result<(), BlockError> {
    let mut rest = Checked { run, pos: 0 };
    let master_fields = rest.int()?;
    rest.skip(master_fields)?;
    if rest.int()? != 0 {
        return Err(BlockError::Number);
    }
    let (mut found_live, mut found_deleted, mut last) = (0, 0, None);
    while rest.pos < run.len() {
        let flags = rest.int()?;
        if flags & !(DELETED | SAME_FIELDS) != 0 {
            return Err(BlockError::Number);
        }
        *(if flags & DELETED != 0 { &mut found_deleted } else { &mut found_live }) += 1;
        let (ms, seq) = (rest.int()?, rest.int()?);
        let entry = StreamId { ms: id.ms.wrapping_add(ms as u64), seq: id.seq.wrapping_add(seq as u64) };
        if last.is_some_and(|last| last >= entry) || entry < id {
            return Err(BlockError::Order);
        }
        last = Some(entry);
        let elements = if flags & SAME_FIELDS != 0 {
            rest.skip(master_fields)?;
            master_fields + 3
        } else {
            let fields = rest.int()?;
            let elements = fields.checked_mul(2).ok_or(BlockError::Number)?;
            rest.skip(elements)?;
            elements + 4
        };
        if rest.int()? != elements {
            return Err(BlockError::Number);
        }
    }
    if (live, deleted) != (found_live, found_deleted) || last.is_none() { Err(BlockError::Counts) } else { Ok(()) }
}
