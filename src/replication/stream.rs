//! The replication stream: numbers every byte, keeps the last ones for partial resync and for slaves that are behind. The only owner of
//! the offset.

use std::collections::VecDeque;

use super::{ReplId, ReplOffset, StreamPos};
use crate::keyspace::DbIndex;

/// Bytes a block of the backlog; slaves are sent slices of the same blocks.
const BLOCK_BYTES: usize = 64 * 1024;
/// Blocks that one append or look around frees.
const TRIM_BLOCKS_MAX: usize = 4;

/// The last bytes of the stream, in blocks of one size but for the last.
#[derive(Default)]
pub struct Backlog {
    blocks: VecDeque<Box<[u8]>>,
    tail: Vec<u8>,
    /// Bytes of the stream before the first one kept.
    start: u64,
    end: u64,
}

impl Backlog {
    fn new(at: ReplOffset) -> Self {
        Backlog { blocks: VecDeque::new(), tail: Vec::with_capacity(BLOCK_BYTES), start: at.0, end: at.0 }
    }

    fn append(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.tail.len() == BLOCK_BYTES {
                let full = std::mem::replace(&mut self.tail, Vec::with_capacity(BLOCK_BYTES));
                self.blocks.push_back(full.into_boxed_slice());
            }
            let n = bytes.len().min(BLOCK_BYTES - self.tail.len());
            self.tail.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
        }
    }

    /// Bytes kept.
    pub fn histlen(&self) -> u64 {
        self.end - self.start
    }

    /// The first byte kept.
    pub fn first(&self) -> StreamPos {
        StreamPos(self.start + 1)
    }

    /// Frees a few blocks that lie before `keep_from`: what is left goes with the next ones, so that no turn frees hundreds of megabytes when a slave
    /// that was far behind has gone.
    fn trim(&mut self, keep_from: u64) {
        for _ in 0..TRIM_BLOCKS_MAX {
            match self.blocks.front() {
                Some(front) if self.start + front.len() as u64 <= keep_from => {
                    self.start += front.len() as u64;
                    self.blocks.pop_front();
                }
                _ => break,
            }
        }
    }

    /// Calls `f` with the kept bytes after `from`, in order, piece by piece, until it says stop (false). `from` must not be before the first.
    pub fn read(&self, from: ReplOffset, mut f: impl FnMut(&[u8]) -> bool) {
        assert!(from.0 >= self.start && from.0 <= self.end, "the backlog holds the bytes after {from}");
        let mut skip = (from.0 - self.start) as usize;
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
}

/// Why a partial resync is refused; the coded reason of a full one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsyncRefusal {
    /// The slave has no history: `PSYNC ? -1`.
    FirstSync,
    /// It follows another history than this one or the one before.
    OtherHistory,
    /// It follows the history before, but went beyond the switch.
    BeyondSwitch,
    /// There is no backlog.
    NoBacklog,
    /// It wants bytes that are not kept any more, or that do not exist yet.
    OutOfBacklog,
}

impl PsyncRefusal {
    /// The code in logs and INFO.
    pub fn code(self) -> &'static str {
        match self {
            PsyncRefusal::FirstSync => "first-sync",
            PsyncRefusal::OtherHistory => "other-history",
            PsyncRefusal::BeyondSwitch => "beyond-switch",
            PsyncRefusal::NoBacklog => "no-backlog",
            PsyncRefusal::OutOfBacklog => "out-of-backlog",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsyncDecision {
    /// `+CONTINUE`, from the byte after this offset on.
    Continue(ReplOffset),
    Full(PsyncRefusal),
}

/// The stream of a node, as master or as slave (whose stream is its master's, byte for byte).
pub struct Stream {
    pub replid: ReplId,
    /// The history before, and the first byte that is not its own any more.
    pub replid2: Option<(ReplId, StreamPos)>,
    offset: ReplOffset,
    backlog: Option<Backlog>,
    backlog_bytes: u64,
    /// The database that the last SELECT in the stream named; `None`: the next write must say SELECT.
    selected: Option<DbIndex>,
    /// Offset that some slave still has to be sent; blocks after it stay.
    hold_from: Option<ReplOffset>,
}

impl Stream {
    pub fn new(replid: ReplId, backlog_bytes: u64) -> Self {
        Stream { replid, replid2: None, offset: ReplOffset(0), backlog: None, backlog_bytes, selected: None, hold_from: None }
    }

    pub fn offset(&self) -> ReplOffset {
        self.offset
    }

    pub fn backlog(&self) -> Option<&Backlog> {
        self.backlog.as_ref()
    }

    /// Bytes after this offset can be sent.
    pub fn kept_from(&self) -> ReplOffset {
        self.backlog.as_ref().map_or(self.offset, |backlog| backlog.first().before())
    }

    pub fn backlog_bytes(&self) -> u64 {
        self.backlog_bytes
    }

    pub fn set_backlog_bytes(&mut self, bytes: u64) {
        self.backlog_bytes = bytes;
        self.trim();
    }

    /// True once slaves or a backlog want the stream: until then nothing is numbered, as in Redis.
    pub fn is_active(&self) -> bool {
        self.backlog.is_some()
    }

    /// Starts numbering; the history gets a new name unless `keep_id`, since what came before was not numbered.
    pub fn activate(&mut self, new_id: Option<ReplId>) {
        if self.backlog.is_none() {
            if let Some(id) = new_id {
                self.replid = id;
                self.replid2 = None;
            }
            self.backlog = Some(Backlog::new(self.offset));
            self.selected = None;
        }
    }

    /// Drops the backlog (`repl-backlog-ttl`); the history must get a new name.
    pub fn deactivate(&mut self, new_id: ReplId) {
        self.backlog = None;
        self.replid = new_id;
        self.replid2 = None;
    }

    /// Appends whole commands of this node's own.
    pub fn append(&mut self, bytes: &[u8]) {
        let Some(backlog) = &mut self.backlog else { return };
        backlog.append(bytes);
        self.offset.0 += bytes.len() as u64;
        self.trim();
    }

    /// A slave has applied these bytes of its master's stream. They are counted even where no backlog is kept.
    pub fn append_applied(&mut self, bytes: &[u8]) {
        if let Some(backlog) = &mut self.backlog {
            backlog.append(bytes);
        }
        self.offset.0 += bytes.len() as u64;
        self.trim();
    }

    /// The next write says SELECT again (start of a full sync, promotion).
    pub fn forget_selected(&mut self) {
        self.selected = None;
    }

    pub fn selected(&self) -> Option<DbIndex> {
        self.selected
    }

    /// Appends SELECT if the stream's database is another one.
    pub fn select(&mut self, db: DbIndex) {
        if self.selected == Some(db) || self.backlog.is_none() {
            return;
        }
        let mut command = Vec::with_capacity(32);
        let digits = db.0.to_string();
        crate::resp::encode_command(&mut command, &[b"SELECT", digits.as_bytes()]);
        self.append(&command);
        self.selected = Some(db);
    }

    /// A slave is promoted: its own history begins after what it has applied, and its old id serves slaves up to here.
    pub fn shift_id(&mut self, new_id: ReplId) {
        self.replid2 = Some((self.replid, self.offset.next()));
        self.replid = new_id;
        self.selected = None;
    }

    /// The master continues under another id (`+CONTINUE <id>`): the old one stays valid up to here.
    pub fn rename_history(&mut self, new_id: ReplId) {
        if new_id != self.replid {
            self.replid2 = Some((self.replid, self.offset.next()));
            self.replid = new_id;
        }
    }

    /// A full sync has put this node at a place of its master's history; what was kept belongs to another one.
    pub fn adopt(&mut self, replid: ReplId, offset: ReplOffset) {
        self.replid = replid;
        self.replid2 = None;
        self.offset = offset;
        self.selected = None;
        self.hold_from = None;
        self.backlog = Some(Backlog::new(offset));
    }

    /// Keeps the bytes after `offset` for slaves that have not been sent them; `None`: nobody is behind.
    pub fn hold_from(&mut self, offset: Option<ReplOffset>) {
        self.hold_from = offset;
        self.trim();
    }

    /// As `hold_from`, for one more slave.
    pub fn hold_also(&mut self, offset: ReplOffset) {
        self.hold_from = Some(self.hold_from.map_or(offset, |held| held.min(offset)));
    }

    fn trim(&mut self) {
        let Some(backlog) = &mut self.backlog else { return };
        let by_size = self.offset.0.saturating_sub(self.backlog_bytes);
        let keep_from = self.hold_from.map_or(by_size, |held| held.0.min(by_size));
        backlog.trim(keep_from);
    }

    /// What a PSYNC that asks for `wanted` of history `replid` gets (`None`: `?`).
    pub fn decide(&self, replid: Option<ReplId>, wanted: StreamPos) -> PsyncDecision {
        let Some(replid) = replid else { return PsyncDecision::Full(PsyncRefusal::FirstSync) };
        if replid != self.replid {
            match self.replid2 {
                Some((id, switch)) if id == replid => {
                    if wanted > switch {
                        return PsyncDecision::Full(PsyncRefusal::BeyondSwitch);
                    }
                }
                _ => return PsyncDecision::Full(PsyncRefusal::OtherHistory),
            }
        }
        let Some(backlog) = &self.backlog else { return PsyncDecision::Full(PsyncRefusal::NoBacklog) };
        if wanted < backlog.first() || wanted > self.offset.next() {
            return PsyncDecision::Full(PsyncRefusal::OutOfBacklog);
        }
        PsyncDecision::Continue(wanted.before())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededRandom;

    fn stream() -> Stream {
        let mut stream = Stream::new(ReplId::random(&SeededRandom::from_seed(1)), 100_000);
        stream.activate(None);
        stream
    }

    fn kept(stream: &Stream, from: u64) -> Vec<u8> {
        let mut out = Vec::new();
        stream.backlog().unwrap().read(ReplOffset(from), |piece| {
            out.extend_from_slice(piece);
            true
        });
        out
    }

    #[test]
    fn the_backlog_gives_back_every_byte_after_an_offset() {
        let mut stream = stream();
        let all: Vec<u8> = (0..1_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
        let mut at = 0;
        for len in [1usize, 65_535, 65_536, 65_537, 300_000, 3] {
            stream.append(&all[at..at + len]);
            at += len;
            let first = stream.backlog().unwrap().first().before().0 as usize;
            assert_eq!(kept(&stream, first as u64), &all[first..at]);
            assert_eq!(kept(&stream, at as u64 - 1), &all[at - 1..at]);
            assert_eq!(kept(&stream, at as u64), b"");
            assert!(stream.backlog().unwrap().histlen() >= 100_000.min(at as u64));
        }
    }

    #[test]
    fn blocks_stay_while_a_slave_wants_them() {
        let mut stream = stream();
        stream.hold_from(Some(ReplOffset(10)));
        stream.append(&vec![7; 1_000_000]);
        assert_eq!(kept(&stream, 10).len(), 999_990);
        // One that has just been told that it continues, before its session runs.
        stream.hold_from(Some(ReplOffset(800_000)));
        stream.hold_also(ReplOffset(500_000));
        stream.append(&vec![7; 1_000_000]);
        assert_eq!(kept(&stream, 500_000).len(), 1_500_000);
        for _ in 0..2_000_000 / BLOCK_BYTES {
            stream.hold_from(None);
        }
        assert!(stream.backlog().unwrap().histlen() < 100_000 + 2 * BLOCK_BYTES as u64);
    }

    #[test]
    fn psync_is_decided_by_history_switch_and_backlog() {
        let random = SeededRandom::from_seed(2);
        let mut stream = stream();
        let old = stream.replid;
        stream.append(&[0; 50]);
        stream.shift_id(ReplId::random(&random));
        stream.append(&[0; 50]);
        let new = stream.replid;
        let ask = |id, pos| stream.decide(Some(id), StreamPos(pos));
        assert_eq!(ask(old, 51), PsyncDecision::Continue(ReplOffset(50)));
        assert_eq!(ask(old, 52), PsyncDecision::Full(PsyncRefusal::BeyondSwitch));
        assert_eq!(ask(new, 101), PsyncDecision::Continue(ReplOffset(100)));
        assert_eq!(ask(new, 102), PsyncDecision::Full(PsyncRefusal::OutOfBacklog));
        assert_eq!(ask(ReplId::random(&random), 1), PsyncDecision::Full(PsyncRefusal::OtherHistory));
        assert_eq!(stream.decide(None, StreamPos(0)), PsyncDecision::Full(PsyncRefusal::FirstSync));
    }
}
