//! Reading a table in hash order: scans that outlive growth, iteration, random choice, the visit of a snapshot.

use super::bucket::SLOTS;
use super::{BUCKETS_MAX, Guard, KeyHasher, Segment, Slot, Table};

/// A cursor is a position in hash space without its low bits, so that it stays below 2^48: some clients keep it in a signed or a floating-point
/// number. A bucket is wider than 2^16 at any depth, hence a cursor that is rounded down still makes progress.
const CURSOR_SHIFT: u32 = 16;
/// Buckets that a scan looks at for each entry it was asked for, as Redis does.
const SCAN_BUCKETS: usize = 10;

impl<S> Segment<S> {
    /// The smallest hash of the next segment, when `hash` is in this one; `None` behind the last.
    pub(super) fn next(&self, hash: u64) -> Option<u64> {
        if self.depth == 0 {
            return None;
        }
        let width = 1_u64 << (64 - self.depth());
        (hash & !(width - 1)).checked_add(width)
    }
    /// The smallest hash whose home is behind `bucket`, when `hash` is in this segment.
    fn next_bucket(&self, hash: u64, bucket: usize) -> Option<u64> {
        if bucket + 1 >= self.count() {
            return self.next(hash);
        }
        let prefix = if self.depth == 0 { 0 } else { hash & !(u64::MAX >> self.depth) };
        let within = (((bucket as u64 + 1) << 32).div_ceil(u64::from(self.count)) << 32) >> self.depth;
        Some(prefix | within)
    }
}

impl<S: Slot> Table<S> {
    /// Calls `f` for the entries of at least one bucket from `cursor` on until about `count` were seen; returns the next cursor, 0 at the end.
    /// What is there from the first call to the last is seen, however the table is resized in between.
    pub(in crate::keyspace) fn scan(&self, cursor: u64, count: usize, hasher: &KeyHasher, f: &mut dyn FnMut(&S)) -> u64 {
        if cursor >> (64 - CURSOR_SHIFT) != 0 {
            return 0;
        }
        let mut position = cursor << CURSOR_SHIFT;
        let mut seen = 0;
        for _ in 0..count.saturating_mul(SCAN_BUCKETS).max(1) {
            let segment = self.segment(position);
            let home = segment.home(position);
            self.for_each_at_home(segment, home, hasher, &mut |hash, slot| {
                if hash >= position {
                    seen += 1;
                    f(slot);
                }
            });
            match segment.next_bucket(position, home) {
                None => return 0,
                Some(next) => position = next,
            }
            if seen >= count {
                break;
            }
        }
        position >> CURSOR_SHIFT
    }
    /// The entries whose home is this bucket, wherever they stand.
    fn for_each_at_home(&self, segment: &Segment<S>, home: usize, hasher: &KeyHasher, f: &mut dyn FnMut(u64, &S)) {
        let window = if self.bucket(segment, home).overflow() == 0 { 1 } else { segment.window() };
        let buckets = (0..window).map(|step| self.bucket(segment, segment.neighbour(home, step)));
        buckets.clone().flat_map(|bucket| bucket.iter()).for_each(Slot::prefetch);
        for slot in buckets.flat_map(|bucket| bucket.iter()) {
            let hash = slot.hash(hasher);
            if segment.home(hash) == home {
                f(hash, slot);
            }
        }
    }
    /// A uniformly chosen entry.
    pub(in crate::keyspace) fn random(&self, random: &mut dyn FnMut() -> u64) -> Option<&S> {
        if self.len == 0 {
            return None;
        }
        // A directory entry, a bucket of 64, a slot of 7, each uniform, and again if there is none: a segment is hit only by its first
        // directory entry, so that every slot has the same chance.
        let buckets = if self.depth == 0 { self.directory[0].count() } else { BUCKETS_MAX };
        for _ in 0..256 {
            let bits = random();
            let index = ((bits >> 1) >> (63 - self.depth)) as usize;
            let segment = &self.directory[index];
            let at = ((bits & 0xffff) as usize * buckets) >> 16;
            let slot = (((bits >> 16) & 0xffff) as usize * SLOTS) >> 16;
            let first = index & ((1 << (self.depth - segment.depth())) - 1) == 0;
            if first
                && at < segment.count()
                && let Some(found) = self.bucket(segment, at).get(slot)
            {
                return Some(found);
            }
        }
        // Almost empty for its size: the next one from some place on.
        let start = random();
        self.iter_from(start).next().or_else(|| self.iter().next())
    }
    /// Shows the guard every bucket from `position`'s segment on that the images up to `up_to` have not got, until `stop` (asked after each
    /// captured bucket) says so: then the position to go on from. `None` when all is captured.
    pub(in crate::keyspace) fn capture_from<G: Guard<S>>(
        &mut self,
        position: u64,
        up_to: u64,
        guard: &mut G,
        stop: &mut dyn FnMut(&G) -> bool,
    ) -> Option<u64> {
        let mut position = position;
        loop {
            let segment = *self.segment(position);
            if !self.epochs[segment.epochs as usize].settle(up_to) {
                for at in 0..segment.count() {
                    let ahead = (at + 2).min(segment.count() - 1);
                    self.bucket(&segment, ahead).iter().for_each(Slot::prefetch);
                    if self.capture(&segment, at, up_to, guard) && stop(guard) {
                        return Some(position);
                    }
                }
                self.epochs[segment.epochs as usize].settle(up_to);
            } else if stop(guard) {
                return segment.next(position);
            }
            position = segment.next(position)?;
        }
    }
}

impl<S> Table<S> {
    /// Everything, segment by segment.
    pub(in crate::keyspace) fn iter(&self) -> impl Iterator<Item = &S> {
        self.iter_from(0)
    }
    /// From the segment of `position` on.
    fn iter_from(&self, position: u64) -> impl Iterator<Item = &S> {
        let mut next = Some(position);
        std::iter::from_fn(move || {
            let position = next?;
            let segment = self.segment(position);
            next = segment.next(position);
            Some(segment)
        })
        .flat_map(move |segment| (0..segment.count()).flat_map(move |at| self.bucket(segment, at).iter()))
    }
}
