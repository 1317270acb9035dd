//! The replication stream: numbers every byte, keeps the last ones for partial resync and for slaves that are behind (`backlog.rs`). The only
//! owner of the offset.

mod backlog;

use bytes::Bytes;

use super::{ReplId, ReplOffset, StreamPos};
use crate::keyspace::DbIndex;
use backlog::{TRIM_BLOCKS_APPEND, TRIM_BLOCKS_LOOK};

pub use backlog::{Backlog, SPILL_SEGMENT_BYTES, SpillLimits, SpillRefusal};

/// Asks slaves how far they are.
pub const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

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
    limits: SpillLimits,
    /// The database that the last SELECT in the stream named; `None`: the next write must say SELECT.
    selected: Option<DbIndex>,
    /// Offset that some slave still has to be sent; blocks after it stay.
    hold_from: Option<ReplOffset>,
}

impl Stream {
    pub fn new(replid: ReplId, backlog_bytes: u64) -> Self {
        let limits = SpillLimits { backlog_bytes, memory_bytes: u64::MAX, disk_bytes: 0 };
        Stream { replid, replid2: None, offset: ReplOffset(0), backlog: None, limits, selected: None, hold_from: None }
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
        self.limits.backlog_bytes
    }

    pub fn set_backlog_bytes(&mut self, bytes: u64) {
        self.limits.backlog_bytes = bytes;
        self.trim(TRIM_BLOCKS_LOOK);
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
        self.trim(TRIM_BLOCKS_APPEND);
    }

    /// A slave has applied these bytes of its master's stream. They are counted even where no backlog is kept.
    pub fn append_applied(&mut self, bytes: &[u8]) {
        if let Some(backlog) = &mut self.backlog {
            backlog.append(bytes);
        }
        self.offset.0 += bytes.len() as u64;
        self.trim(TRIM_BLOCKS_APPEND);
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
        self.trim(TRIM_BLOCKS_LOOK);
    }

    /// As `hold_from`, for one more slave.
    pub fn hold_also(&mut self, offset: ReplOffset) {
        self.hold_from = Some(self.hold_from.map_or(offset, |held| held.min(offset)));
    }

    fn keep_from(&self) -> u64 {
        let by_size = self.offset.0.saturating_sub(self.limits.backlog_bytes);
        self.hold_from.map_or(by_size, |held| held.0.min(by_size))
    }

    fn trim(&mut self, blocks_max: usize) {
        let keep_from = self.keep_from();
        if let Some(backlog) = &mut self.backlog {
            backlog.trim(keep_from, &self.limits, blocks_max);
        }
    }

    /// Without a call nothing is spilled.
    pub fn set_spill_limits(&mut self, memory_bytes: u64, disk_bytes: u64) {
        (self.limits.memory_bytes, self.limits.disk_bytes) = (memory_bytes, disk_bytes);
    }

    /// Blocks that are to be written to the spill now, and the offset before the first. `spilled_to` says how far that has been done.
    pub fn take_to_spill(&mut self) -> Option<(ReplOffset, Vec<Bytes>)> {
        let keep_from = self.keep_from();
        self.backlog.as_mut()?.take_to_spill(keep_from, &self.limits)
    }

    /// Something is in a spill, or was to be; once false, the files can go.
    pub fn is_spilling(&self) -> bool {
        self.backlog.as_ref().is_some_and(Backlog::is_spilling)
    }

    /// The spill has been written up to here.
    pub fn spilled_to(&mut self, offset: ReplOffset) {
        if let Some(backlog) = &mut self.backlog {
            backlog.spilled_to(offset);
        }
        self.trim(TRIM_BLOCKS_LOOK);
    }

    /// The spill can't be written any more.
    pub fn spill_failed(&mut self) {
        if let Some(backlog) = &mut self.backlog {
            backlog.spill_failed();
        }
    }

    /// Forgets what nobody needs of the spill, in whole segments. Returns where it begins now, if that has changed.
    pub fn trim_spill(&mut self) -> Option<ReplOffset> {
        let keep_from = self.keep_from();
        self.backlog.as_mut()?.trim_spill(keep_from)
    }

    /// Why the slave that is farthest behind must be given up, if it must.
    pub fn spill_refusal(&self) -> Option<SpillRefusal> {
        self.backlog.as_ref()?.refusal(self.keep_from(), &self.limits)
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
mod tests;
