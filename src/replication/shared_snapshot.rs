//! One snapshot for slaves, as far as deciding goes: whom it serves, and for how long it is kept when a slave is lost that was being sent it. The stream
//! after its place is kept with it.

use std::collections::BTreeMap;

use super::{CHUNK_BYTES, Made, ReplId, ReplOffset, Stream, SyncId};
use crate::rdb::Dialect;

/// A snapshot that slaves share.
#[derive(Debug)]
pub struct SharedSnapshot {
    pub id: SyncId,
    pub replid: ReplId,
    /// Its place in the stream.
    pub offset: ReplOffset,
    /// Its version of RDB, and the one that would hold all there was.
    pub version: u32,
    pub needed: u32,
    pub made: Made,
    /// Slaves that were lost before they had it, by address.
    lost: BTreeMap<String, Lost>,
    /// The stream after it is not kept any more: it serves nobody else.
    released: bool,
}

#[derive(Debug)]
struct Lost {
    ms: i64,
    /// It will ask for the rest, which is worth more than what was written since.
    resumes: bool,
}

/// What there is of the stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamKept {
    pub replid: ReplId,
    pub offset: ReplOffset,
    /// The bytes after this are there.
    pub from: ReplOffset,
    pub backlog_bytes: u64,
}

impl StreamKept {
    pub fn of(stream: &Stream) -> Self {
        StreamKept { replid: stream.replid, offset: stream.offset(), from: stream.kept_from(), backlog_bytes: stream.backlog_bytes() }
    }
}

impl SharedSnapshot {
    pub fn new(id: SyncId, replid: ReplId, offset: ReplOffset, version: u32, needed: u32) -> Self {
        SharedSnapshot { id, replid, offset, version, needed, made: Made::default(), lost: BTreeMap::new(), released: false }
    }

    /// Whether a slave of this dialect may be sent it now, from its beginning.
    pub fn serves(&self, dialect: Dialect, kept: StreamKept) -> bool {
        self.is_for(dialect) && self.can_go_on(kept) && self.is_worth_it(kept)
    }

    /// The chunk from which a slave goes on that asks for this one.
    pub fn resume_at(&self, id: SyncId, chunk: u64, dialect: Dialect, kept: StreamKept) -> Option<u64> {
        let there = if self.made.done { self.made.bytes.div_ceil(CHUNK_BYTES) } else { self.made.bytes / CHUNK_BYTES };
        (self.id == id && chunk <= there && self.is_for(dialect) && self.can_go_on(kept)).then_some(chunk)
    }

    /// Whether one made for readers of this dialect would have been the same.
    fn is_for(&self, dialect: Dialect) -> bool {
        self.version == self.needed.min(dialect.version_max())
    }

    fn can_go_on(&self, kept: StreamKept) -> bool {
        !self.released && self.replid == kept.replid && self.offset >= kept.from && self.offset <= kept.offset
    }

    /// Whether less was written since than it has itself: else a new one is sent sooner than that is caught up with. While it is being made it is the youngest
    /// there can be.
    fn is_worth_it(&self, kept: StreamKept) -> bool {
        let since = kept.offset.0 - self.offset.0;
        !self.made.done || since <= self.made.bytes.max(kept.backlog_bytes)
    }

    /// A slave is being sent it.
    pub fn taken_by(&mut self, address: &str) {
        self.lost.remove(address);
    }

    /// A slave is gone that was being sent it.
    pub fn lost(&mut self, address: &str, resumes: bool, now_ms: i64) {
        self.lost.insert(address.to_owned(), Lost { ms: now_ms, resumes });
    }

    /// Whether it is kept for a slave that may come back.
    pub fn is_kept(&self, now_ms: i64, keep_ms: i64, kept: StreamKept) -> bool {
        self.can_go_on(kept) && self.last_lost_ms().is_some_and(|lost_ms| now_ms - lost_ms < keep_ms)
    }

    /// When the last slave was lost that may come back.
    pub fn last_lost_ms(&self) -> Option<i64> {
        self.lost.values().map(|lost| lost.ms).max()
    }

    /// Lets the stream after it go when that has become too much, which is for when no slave is sent it any more. For one that may resume it is kept as long
    /// as there is room.
    pub fn release_if_outgrown(&mut self, kept: StreamKept) {
        if self.lost.values().any(|lost| lost.resumes) {
            return;
        }
        let since = kept.offset.0.saturating_sub(self.offset.0);
        if self.made.done && since > self.made.bytes.max(kept.backlog_bytes) {
            self.released = true;
        }
    }

    /// Lets the stream after it go.
    pub fn release(&mut self) {
        self.released = true;
    }

    /// The offset after which it wants the stream to be kept.
    pub fn holds(&self, replid: ReplId) -> Option<ReplOffset> {
        (!self.released && self.replid == replid).then_some(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededRandom;

    fn snapshot() -> (SharedSnapshot, StreamKept) {
        let random = SeededRandom::from_seed(3);
        let replid = ReplId::random(&random);
        let snapshot = SharedSnapshot::new(SyncId::random(&random), replid, ReplOffset(1000), 9, 10);
        (snapshot, StreamKept { replid, offset: ReplOffset(1500), from: ReplOffset(900), backlog_bytes: 200 })
    }

    #[test]
    fn it_serves_slaves_of_its_history_and_dialect_whose_stream_is_there() {
        let (mut snapshot, kept) = snapshot();
        assert!(snapshot.serves(Dialect::Oldest, kept));
        assert!(!snapshot.serves(Dialect::V7_0, kept), "there was more than it has");
        let all = SharedSnapshot::new(snapshot.id, snapshot.replid, snapshot.offset, 10, 10);
        assert!([Dialect::V7_0, Dialect::V7_2, Dialect::Full].iter().all(|dialect| all.serves(*dialect, kept)));
        assert!(!all.serves(Dialect::Oldest, kept));
        assert!(!snapshot.serves(Dialect::Oldest, StreamKept { replid: ReplId::ZERO, ..kept }));
        assert!(!snapshot.serves(Dialect::Oldest, StreamKept { from: ReplOffset(1001), ..kept }));
        assert!(!snapshot.serves(Dialect::Oldest, StreamKept { offset: ReplOffset(999), ..kept }), "a history that was cut back");
        // Five hundred bytes were written since.
        snapshot.made = Made { bytes: 499, done: true, ..Made::default() };
        assert!(!snapshot.serves(Dialect::Oldest, kept));
        assert!(snapshot.serves(Dialect::Oldest, StreamKept { backlog_bytes: 500, ..kept }));
        snapshot.made.bytes = 500;
        assert!(snapshot.serves(Dialect::Oldest, kept));
    }

    #[test]
    fn it_goes_on_with_chunks_that_are_there() {
        let (mut snapshot, kept) = snapshot();
        let (id, other) = (snapshot.id, SyncId::parse(&[b'f'; 40]).unwrap());
        snapshot.made.bytes = 3 * CHUNK_BYTES - 1;
        let at = |snapshot: &SharedSnapshot, id, chunk| snapshot.resume_at(id, chunk, Dialect::Oldest, kept);
        assert_eq!([0, 2, 3, u64::MAX].map(|chunk| at(&snapshot, id, chunk)), [Some(0), Some(2), None, None]);
        assert_eq!(at(&snapshot, other, 0), None);
        snapshot.made.done = true;
        assert_eq!([3, 4].map(|chunk| at(&snapshot, id, chunk)), [Some(3), None]);
    }

    #[test]
    fn it_is_kept_for_who_was_lost_and_for_a_time() {
        let (mut snapshot, kept) = snapshot();
        assert!(!snapshot.is_kept(0, 60_000, kept));
        snapshot.lost("a", false, 1000);
        snapshot.lost("b", true, 2000);
        assert!(snapshot.is_kept(61_999, 60_000, kept) && !snapshot.is_kept(62_000, 60_000, kept));
        assert!(!snapshot.is_kept(2000, 0, kept), "never, where the time is 0");
        snapshot.taken_by("b");
        assert!(snapshot.is_kept(60_999, 60_000, kept) && !snapshot.is_kept(61_000, 60_000, kept));
        snapshot.taken_by("a");
        assert!(!snapshot.is_kept(1000, 60_000, kept));
    }

    #[test]
    fn it_lets_a_stream_go_that_has_outgrown_it() {
        let (mut snapshot, kept) = snapshot();
        snapshot.made = Made { bytes: 500, done: true, ..Made::default() };
        snapshot.release_if_outgrown(kept);
        assert_eq!((snapshot.holds(kept.replid), snapshot.holds(ReplId::ZERO)), (Some(ReplOffset(1000)), None));
        snapshot.lost("a", true, 0);
        snapshot.release_if_outgrown(StreamKept { offset: ReplOffset(1501), ..kept });
        assert!(snapshot.holds(kept.replid).is_some(), "its rest is still of use");
        snapshot.taken_by("a");
        snapshot.lost("a", false, 0);
        snapshot.release_if_outgrown(StreamKept { offset: ReplOffset(1501), ..kept });
        assert_eq!(snapshot.holds(kept.replid), None);
        assert!(!snapshot.serves(Dialect::Oldest, kept));
        let (mut snapshot, kept) = self::snapshot();
        snapshot.release_if_outgrown(StreamKept { offset: ReplOffset(9_000_000), ..kept });
        assert!(snapshot.holds(kept.replid).is_some(), "one that is being made has no size yet");
        snapshot.release();
        assert_eq!(snapshot.holds(kept.replid), None);
    }
}
