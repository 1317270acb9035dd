//! The last bytes of the stream, once for all its readers: in memory as reference-counted blocks, and before those, while some slave is far behind, in a
//! file that another thread writes.
//!
//! Owns: the blocks, and the account of what is in the file. Never touches the file: it says which blocks are to be written, and is told when they are.
//! Invariant: what is in the file ends where memory begins or later, so nothing is missing between them.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::replication::{ReplOffset, StreamPos};

/// Bytes a block; slaves are sent slices of the same blocks.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;
/// Blocks that one append frees, and one look at the slaves, which happens once a turn and twice a second.
pub(super) const TRIM_BLOCKS_APPEND: usize = 4;
pub(super) const TRIM_BLOCKS_LOOK: usize = 32;
/// Bytes of one file of a spill: what is not needed any more goes file by file.
pub const SPILL_SEGMENT_BYTES: u64 = 8 << 20;
/// A spill begins only for so much, so that a slave that is just a little slow does not begin and end one all the time.
const SPILL_BEGIN_BYTES: u64 = 1 << 20;
/// Bytes that may wait for the disk. Writes to memory are faster than any, so a burst has to fit in here.
pub(super) const SPILL_QUEUE_BYTES: u64 = 44 << 20;

/// What may be kept for slaves that are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpillLimits {
    /// `repl-backlog-size`: always in memory.
    pub backlog_bytes: u64,
    /// `repl-spill-memory`: in memory on top of it.
    pub memory_bytes: u64,
    /// `repl-spill-disk-max`; 0 is no limit.
    pub disk_bytes: u64,
}

impl SpillLimits {
    /// Memory at which slaves are given up: what waits for the disk comes on top of the rest.
    fn memory_bytes_max(&self) -> u64 {
        self.backlog_bytes.saturating_add(self.memory_bytes).saturating_add(SPILL_QUEUE_BYTES)
    }
}

/// Why what a slave still needs can't be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpillRefusal {
    /// The file can't be created or written.
    DiskFailed,
    /// `repl-spill-disk-max` is reached.
    DiskMax,
    /// The stream is faster than the disk.
    DiskSlow,
}

impl SpillRefusal {
    /// The code in logs and INFO.
    pub fn code(self) -> &'static str {
        match self {
            SpillRefusal::DiskFailed => "spill-disk-failed",
            SpillRefusal::DiskMax => "spill-disk-max",
            SpillRefusal::DiskSlow => "spill-disk-slow",
        }
    }
}

/// What the file has: the bytes after `start`, up to `written_to`; those up to `queued_to` are on their way.
struct Spill {
    start: u64,
    queued_to: u64,
    written_to: u64,
    failed: bool,
}

/// Blocks of one size but for the last.
pub struct Backlog {
    blocks: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// Bytes of the stream before the first one in memory.
    memory_start: u64,
    end: u64,
    spill: Option<Spill>,
}

impl Backlog {
    pub(super) fn new(at: ReplOffset) -> Self {
        Backlog { blocks: VecDeque::new(), tail: Vec::with_capacity(BLOCK_BYTES), memory_start: at.0, end: at.0, spill: None }
    }

    pub(super) fn append(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.tail.len() == BLOCK_BYTES {
                let full = std::mem::replace(&mut self.tail, Vec::with_capacity(BLOCK_BYTES));
                self.blocks.push_back(full.into());
            }
            let n = bytes.len().min(BLOCK_BYTES - self.tail.len());
            self.tail.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
        }
    }

    /// Bytes kept, in memory and in the file.
    pub fn histlen(&self) -> u64 {
        self.end - self.start()
    }

    /// Bytes kept in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.end - self.memory_start
    }

    /// Bytes kept in the file, some of which may still be in memory.
    pub fn spilled_bytes(&self) -> u64 {
        self.spill.as_ref().map_or(0, |spill| spill.written_to - spill.start)
    }

    fn start(&self) -> u64 {
        self.spill.as_ref().map_or(self.memory_start, |spill| self.memory_start.min(spill.start))
    }

    /// The first byte kept.
    pub fn first(&self) -> StreamPos {
        StreamPos(self.start() + 1)
    }

    /// How many of the bytes after `from` are in the file alone; 0: they are in memory.
    pub fn spilled_after(&self, from: ReplOffset) -> u64 {
        self.memory_start.saturating_sub(from.0)
    }

    /// Where memory should begin by the limits.
    fn memory_from(&self, limits: &SpillLimits) -> u64 {
        self.end.saturating_sub(limits.backlog_bytes.saturating_add(limits.memory_bytes))
    }

    /// Frees some blocks that lie before `keep_from` or are in the file: what is left goes with the next ones, so that no turn frees hundreds of
    /// megabytes when a slave that was far behind has gone.
    pub(super) fn trim(&mut self, keep_from: u64, limits: &SpillLimits, blocks_max: usize) {
        let memory_from = self.memory_from(limits);
        let free_to = self.spill.as_ref().map_or(keep_from, |spill| keep_from.max(spill.written_to.min(memory_from)));
        for _ in 0..blocks_max {
            match self.blocks.front() {
                Some(front) if self.memory_start + front.len() as u64 <= free_to => {
                    self.memory_start += front.len() as u64;
                    self.blocks.pop_front();
                }
                _ => break,
            }
        }
        let is_over = |spill: &Spill| keep_from >= memory_from || keep_from >= spill.queued_to;
        if keep_from >= self.memory_start && self.spill.as_ref().is_some_and(is_over) {
            self.spill = None;
        }
    }

    /// Calls `f` with the kept bytes after `from`, in order, piece by piece, until it says stop (false). `from` must not be before memory's first.
    pub fn read(&self, from: ReplOffset, mut f: impl FnMut(&[u8]) -> bool) {
        assert!(from.0 >= self.memory_start && from.0 <= self.end, "memory holds the bytes after {from}");
        let mut skip = (from.0 - self.memory_start) as usize;
        // Blocks but the tail are all of one size.
        let whole = skip / BLOCK_BYTES;
        skip -= whole.min(self.blocks.len()) * BLOCK_BYTES;
        for block in self.blocks.iter().skip(whole).map(|b| &b[..]).chain(std::iter::once(&self.tail[..])) {
            if skip >= block.len() {
                skip -= block.len();
                continue;
            }
            if !f(&block[skip..]) {
                return;
            }
            skip = 0;
        }
    }

    /// The blocks that are to be written now, and the offset before the first, if slaves need more than memory should hold. They stay until
    /// `spilled_to` says that they are written.
    pub(super) fn take_to_spill(&mut self, keep_from: u64, limits: &SpillLimits) -> Option<(ReplOffset, Vec<Bytes>)> {
        let memory_from = self.memory_from(limits);
        let wanted = keep_from + if self.spill.is_some() { BLOCK_BYTES as u64 } else { SPILL_BEGIN_BYTES };
        if memory_from < wanted {
            return None;
        }
        let memory_start = self.memory_start;
        let first_needed = memory_start + keep_from.saturating_sub(memory_start) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let new = Spill { start: first_needed, queued_to: first_needed, written_to: first_needed, failed: false };
        let spill = self.spill.get_or_insert(new);
        if spill.failed {
            return None;
        }
        let from = spill.queued_to;
        let mut blocks = Vec::new();
        let skip = ((from - memory_start) / BLOCK_BYTES as u64) as usize;
        for block in self.blocks.iter().skip(skip) {
            let end = spill.queued_to + block.len() as u64;
            let over_disk = limits.disk_bytes > 0 && end - spill.start > limits.disk_bytes;
            if end > memory_from || end - spill.written_to > SPILL_QUEUE_BYTES || over_disk {
                break;
            }
            spill.queued_to = end;
            blocks.push(block.clone());
        }
        (!blocks.is_empty()).then_some((ReplOffset(from), blocks))
    }

    /// The file has the bytes up to here.
    pub(super) fn spilled_to(&mut self, to: ReplOffset) {
        if let Some(spill) = &mut self.spill {
            assert!(to.0 <= spill.queued_to, "only what was handed out is written");
            spill.written_to = to.0;
        }
    }

    /// Nothing more can be written. What is in the file can still be read.
    pub(super) fn spill_failed(&mut self) {
        if let Some(spill) = &mut self.spill {
            spill.failed = true;
        }
    }

    pub fn is_spilling(&self) -> bool {
        self.spill.is_some()
    }

    /// Forgets whole segments of the file that nobody needs. Returns where it begins from now on, if that has changed.
    pub(super) fn trim_spill(&mut self, keep_from: u64) -> Option<ReplOffset> {
        let spill = self.spill.as_mut()?;
        let segments = keep_from.min(spill.written_to).saturating_sub(spill.start) / SPILL_SEGMENT_BYTES;
        spill.start += segments * SPILL_SEGMENT_BYTES;
        (segments > 0).then_some(ReplOffset(spill.start))
    }

    /// Why the slave that is farthest behind has to be given up, if it has.
    pub(super) fn refusal(&self, keep_from: u64, limits: &SpillLimits) -> Option<SpillRefusal> {
        let memory_from = self.memory_from(limits);
        if keep_from >= memory_from || self.memory_bytes() <= limits.memory_bytes_max() {
            return None;
        }
        let spill = self.spill.as_ref()?;
        let over_disk = limits.disk_bytes > 0 && spill.queued_to + BLOCK_BYTES as u64 - spill.start > limits.disk_bytes;
        Some(match (spill.failed, over_disk) {
            (true, _) => SpillRefusal::DiskFailed,
            (_, true) => SpillRefusal::DiskMax,
            _ => SpillRefusal::DiskSlow,
        })
    }
}
