//! What a node remembers of the last syncs: with whom, which way, how much, how long, and why a full one was needed. Kept on the node's thread by whoever
//! starts and ends a sync; commands read it.

use std::collections::VecDeque;

use super::{Events, NodeEvent, PsyncRefusal, ReplId, ReplOffset};

/// Syncs that are remembered.
const SYNCS_MAX: usize = 128;
/// Bytes of an error's text that are kept.
const ERROR_BYTES_MAX: usize = 256;

/// Which end of the link this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// This node feeds a slave.
    ToReplica,
    /// This node is fed by its master.
    FromMaster,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Direction::ToReplica => "to-replica",
            Direction::FromMaster => "from-master",
        }
    }
}

/// Why the slave was not simply sent what it lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncReason {
    /// It was: a partial resync.
    Continued,
    /// A full one, since PSYNC could not be granted.
    Psync(PsyncRefusal),
    /// A full one, since the slave knows only SYNC, or the master does.
    PlainSync,
}

impl SyncReason {
    /// The code in logs, INFO and REPLICATION HISTORY.
    pub fn code(self) -> &'static str {
        match self {
            SyncReason::Continued => "continued",
            SyncReason::Psync(refusal) => refusal.code(),
            SyncReason::PlainSync => "plain-sync",
        }
    }

    pub fn is_full(self) -> bool {
        self != SyncReason::Continued
    }

    /// What a slave can tell of its master's refusal: it asked for `asked` and was answered with a snapshot of `answered`.
    pub fn seen_by_replica(asked: Option<ReplId>, answered: Option<ReplId>) -> SyncReason {
        match (asked, answered) {
            (_, None) => SyncReason::PlainSync,
            (None, _) => SyncReason::Psync(PsyncRefusal::FirstSync),
            (Some(asked), Some(answered)) if asked == answered => SyncReason::Psync(PsyncRefusal::OutOfBacklog),
            _ => SyncReason::Psync(PsyncRefusal::OtherHistory),
        }
    }
}

/// How a sync stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncOutcome {
    Running,
    Done,
    /// Why it broke off.
    Failed(String),
}

impl SyncOutcome {
    pub fn name(&self) -> &'static str {
        match self {
            SyncOutcome::Running => "running",
            SyncOutcome::Done => "done",
            SyncOutcome::Failed(_) => "failed",
        }
    }
}

/// Names one sync of a node: the first since its start is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncNumber(pub u64);

/// One sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRecord {
    pub number: SyncNumber,
    /// Unix ms of the start.
    pub started_unix_ms: i64,
    started_steady_ms: i64,
    pub direction: Direction,
    /// The other end, as host and port.
    pub peer: String,
    pub reason: SyncReason,
    pub outcome: SyncOutcome,
    /// Where in the history the snapshot was taken, or from where on the stream continues.
    pub offset: ReplOffset,
    /// Bytes of the snapshot, or of the stream that was lacking.
    pub bytes: u64,
    /// Cuts after which it went on instead of starting over.
    pub resumed: u32,
    /// How long it took; `None` while it runs.
    pub took_ms: Option<i64>,
}

impl SyncRecord {
    /// Milliseconds so far, or in all.
    pub fn age_ms(&self, steady_ms: i64) -> i64 {
        self.took_ms.unwrap_or(steady_ms - self.started_steady_ms).max(0)
    }
}

/// When something happens, on both clocks: Unix ms for people, steady ms for durations.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub unix_ms: i64,
    pub steady_ms: i64,
}

/// The last syncs, the oldest first.
#[derive(Debug, Default)]
pub struct SyncHistory {
    records: VecDeque<SyncRecord>,
    begun: u64,
    /// Told of every beginning and end.
    pub events: Events,
}

impl SyncHistory {
    /// A sync begins. Its number is for the calls that follow; they do nothing once it is forgotten.
    pub fn begin(&mut self, at: Moment, direction: Direction, peer: String, reason: SyncReason, offset: ReplOffset) -> SyncNumber {
        self.begun += 1;
        if self.records.len() == SYNCS_MAX {
            self.records.pop_front();
        }
        let number = SyncNumber(self.begun);
        self.records.push_back(SyncRecord {
            number,
            started_unix_ms: at.unix_ms,
            started_steady_ms: at.steady_ms,
            direction,
            peer,
            reason,
            outcome: SyncOutcome::Running,
            offset,
            bytes: 0,
            resumed: 0,
            took_ms: None,
        });
        self.events.emit(|| NodeEvent::SyncBegan(self.records[self.records.len() - 1].clone()));
        number
    }

    fn running(&mut self, number: SyncNumber) -> Option<&mut SyncRecord> {
        let first = self.records.front()?.number;
        let index = usize::try_from(number.0.checked_sub(first.0)?).ok()?;
        self.records.get_mut(index).filter(|record| record.outcome == SyncOutcome::Running)
    }

    /// The snapshot's place, when it is known only later.
    pub fn set_offset(&mut self, number: SyncNumber, offset: ReplOffset) {
        if let Some(record) = self.running(number) {
            record.offset = offset;
        }
    }

    /// It goes on after a cut.
    pub fn resumed(&mut self, number: SyncNumber) {
        if let Some(record) = self.running(number) {
            record.resumed += 1;
        }
    }

    /// All of it is sent, or applied.
    pub fn done(&mut self, number: SyncNumber, at: Moment, bytes: u64) {
        self.end(number, at, bytes, SyncOutcome::Done);
    }

    /// It has broken off after so many bytes. One that has ended before stays as it was.
    pub fn failed(&mut self, number: SyncNumber, at: Moment, bytes: u64, why: &str) {
        let mut end = why.len().min(ERROR_BYTES_MAX);
        while !why.is_char_boundary(end) {
            end -= 1;
        }
        self.end(number, at, bytes, SyncOutcome::Failed(why[..end].to_owned()));
    }

    fn end(&mut self, number: SyncNumber, at: Moment, bytes: u64, outcome: SyncOutcome) {
        if let Some(record) = self.running(number) {
            record.took_ms = Some((at.steady_ms - record.started_steady_ms).max(0));
            record.bytes = bytes;
            record.outcome = outcome;
            let record = record.clone();
            if record.direction == Direction::ToReplica && record.outcome == SyncOutcome::Done {
                self.events.emit(|| NodeEvent::SlaveAttached { slave: record.peer.clone() });
            }
            self.events.emit(|| NodeEvent::SyncEnded(record));
        }
    }

    /// The newest first.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &SyncRecord> {
        self.records.iter().rev()
    }

    /// The last full sync.
    pub fn last_full(&self) -> Option<&SyncRecord> {
        self.records().find(|record| record.reason.is_full())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededRandom;

    fn at(ms: i64) -> Moment {
        Moment { unix_ms: 1_000_000 + ms, steady_ms: ms }
    }

    fn begin(history: &mut SyncHistory, ms: i64, reason: SyncReason) -> SyncNumber {
        history.begin(at(ms), Direction::ToReplica, format!("10.0.0.2:{ms}"), reason, ReplOffset(7))
    }

    #[test]
    fn a_sync_ends_once_and_says_how() {
        let mut history = SyncHistory::default();
        let full = begin(&mut history, 10, SyncReason::Psync(PsyncRefusal::OutOfBacklog));
        let partial = begin(&mut history, 11, SyncReason::Continued);
        history.done(partial, at(11), 55);
        history.resumed(full);
        assert_eq!(history.records().map(|record| record.outcome.name()).collect::<Vec<_>>(), ["done", "running"]);
        assert_eq!(history.last_full().unwrap().age_ms(14), 4);
        history.failed(full, at(30), 1000, &"ö".repeat(200));
        history.done(full, at(99), 2000);
        let record = history.last_full().unwrap();
        assert_eq!((record.bytes, record.took_ms, record.age_ms(500), record.resumed), (1000, Some(20), 20, 1));
        assert_eq!(record.outcome, SyncOutcome::Failed("ö".repeat(128)));
        assert_eq!((record.reason.code(), record.started_unix_ms), ("out-of-backlog", 1_000_010));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut history = SyncHistory::default();
        let first = begin(&mut history, 0, SyncReason::PlainSync);
        for ms in 1..=SYNCS_MAX as i64 {
            begin(&mut history, ms, SyncReason::Continued);
        }
        history.done(first, at(500), 1);
        assert_eq!(history.records().len(), SYNCS_MAX);
        assert!(history.last_full().is_none());
        assert_eq!(history.records().next().unwrap().number, SyncNumber(SYNCS_MAX as u64 + 1));
    }

    #[test]
    fn a_slave_tells_the_reason_from_question_and_answer() {
        let random = SeededRandom::from_seed(1);
        let (a, b) = (ReplId::random(&random), ReplId::random(&random));
        let code = |asked, answered| SyncReason::seen_by_replica(asked, answered).code();
        assert_eq!([code(None, Some(a)), code(Some(a), Some(a)), code(Some(a), Some(b))], ["first-sync", "out-of-backlog", "other-history"]);
        assert_eq!([code(None, None), code(Some(a), None)], ["plain-sync"; 2]);
    }
}
