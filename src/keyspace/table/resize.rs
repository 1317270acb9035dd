//! Growth and shrinking: a segment at a time, its entries captured before they move.

use std::ptr::NonNull;

use super::bucket::{Bucket, SLOTS};
use super::epochs::Epochs;
use super::{BUCKETS_MAX, DEPTH_MAX, Guard, KeyHasher, Segment, Slot, Table, WINDOW, home, tag};

/// A table's only segment may be small; segments that have been split have at least `SPLIT_MIN` buckets.
const SIZES: [usize; 11] = [0, 1, 2, 4, 8, 16, 32, 40, 48, 56, BUCKETS_MAX];
const SPLIT_MIN: usize = 32;
/// From this load in percent on a segment grows rather than move its entries about.
const LOAD_GROW: usize = 92;
/// Load in percent that a resized segment should have at most.
const LOAD_RESIZED: usize = 80;
/// Below this load a segment shrinks.
const LOAD_SHRINK: usize = 55;
/// Segments that one housekeeping step looks at.
const SHRINK_SEGMENTS: usize = 4;

fn size_for(entries: usize, depth: u32) -> usize {
    let least = if depth == 0 { 0 } else { SPLIT_MIN };
    SIZES.into_iter().find(|size| *size >= least && entries * 100 <= size * SLOTS * LOAD_RESIZED).unwrap_or(BUCKETS_MAX)
}

impl<S: Slot> Table<S> {
    /// Makes a place for `hash`, whose window is full: moves entries within the segment, grows it, or splits it.
    #[cold]
    pub(super) fn make_room(&mut self, hash: u64, hasher: &KeyHasher, guard: &mut impl Guard<S>) {
        let segment = *self.segment(hash);
        let crowded = self.entries_of(&segment) * 100 >= segment.count() * SLOTS * LOAD_GROW;
        if !crowded && self.make_way(hash, hasher, guard) {
            return;
        }
        let entries = self.drain(&segment, hasher, guard);
        let larger = SIZES.into_iter().find(|size| *size > segment.count());
        self.build(hash, segment.depth(), larger, entries, guard.newest());
    }
    /// Frees a slot in the window of `hash` as hopscotch hashing does: takes the next free slot behind it, and moves into that an entry from
    /// before it, as far as the entry's own window lets it, until the free slot has come near enough. False if it gets stuck.
    fn make_way(&mut self, hash: u64, hasher: &KeyHasher, guard: &mut impl Guard<S>) -> bool {
        let segment = *self.segment(hash);
        let home = segment.home(hash);
        let distance = |from: usize, to: usize| if to >= from { to - from } else { to + segment.count() - from };
        let is_free = |at: &usize| self.bucket(&segment, *at).free_slot().is_some();
        let Some(mut free) = (segment.window()..segment.count()).map(|step| segment.neighbour(home, step)).find(is_free) else { return false };
        while distance(home, free) >= WINDOW {
            let behind = (1..WINDOW).rev().map(|back| segment.neighbour(free, segment.count() - back));
            let movable =
                behind.flat_map(|at| self.bucket(&segment, at).occupied_slots().map(move |found| (at, found))).find_map(|(at, (slot, entry))| {
                    let entry_hash = entry.hash(hasher);
                    (distance(segment.home(entry_hash), free) < WINDOW).then_some((at, slot, entry_hash))
                });
            let Some((at, slot, entry_hash)) = movable else { return false };
            self.before_change(&segment, at, guard);
            self.before_change(&segment, free, guard);
            let entry = self.bucket_mut(&segment, at).take(slot);
            let into = self.bucket_mut(&segment, free);
            into.put(into.free_slot().expect("chosen because it has one"), tag(entry_hash), entry);
            let entry_home = segment.home(entry_hash);
            if entry_home == at {
                self.bucket_mut(&segment, entry_home).add_overflow();
            }
            if entry_home == free {
                self.bucket_mut(&segment, entry_home).sub_overflow();
            }
            free = at;
        }
        true
    }
    /// Shrinks the segment of `hash` by as much as its load allows, or joins it with its other half.
    pub(super) fn try_shrink(&mut self, hash: u64, hasher: &KeyHasher, guard: &mut impl Guard<S>) {
        let segment = *self.segment(hash);
        let entries = self.entries_of(&segment);
        let depth = segment.depth();
        if entries * 100 > segment.count() * SLOTS * LOAD_SHRINK {
            return;
        }
        if depth > 0 {
            let other = *self.segment(hash ^ (1 << (64 - depth)));
            let both = entries + self.entries_of(&other);
            if other.depth() == depth && both * 100 <= BUCKETS_MAX * SLOTS * LOAD_SHRINK {
                let (low, high) = if hash & (1 << (64 - depth)) == 0 { (segment, other) } else { (other, segment) };
                let mut entries = self.drain(&low, hasher, guard);
                entries.append(&mut self.drain(&high, hasher, guard));
                self.build(hash, depth - 1, Some(size_for(both, depth - 1)), entries, guard.newest());
                self.halve_directory();
                return;
            }
        }
        let size = size_for(entries, depth);
        if size < segment.count() {
            let entries = self.drain(&segment, hasher, guard);
            self.build(hash, depth, Some(size), entries, guard.newest());
        }
    }
    /// Looks at a few segments whether they can shrink, if enough was removed to be worth a pass. True while the pass is not over.
    pub(in crate::keyspace) fn shrink_step(&mut self, hasher: &KeyHasher, guard: &mut impl Guard<S>) -> bool {
        if self.shrinking.is_none() {
            if self.removals == 0 || self.removals < self.len / 4 {
                return false;
            }
            self.removals = 0;
            self.shrinking = Some(0);
        }
        for _ in 0..SHRINK_SEGMENTS {
            let Some(position) = self.shrinking else { break };
            self.try_shrink(position, hasher, guard);
            self.shrinking = self.segment(position).next(position);
        }
        self.shrinking.is_some()
    }
    fn entries_of(&self, segment: &Segment<S>) -> usize {
        (0..segment.count()).map(|at| self.bucket(segment, at).occupied()).sum()
    }

    /// Takes all entries out of a segment, with their hashes, and frees it. Its directory entries dangle until `build`.
    fn drain(&mut self, segment: &Segment<S>, hasher: &KeyHasher, guard: &mut impl Guard<S>) -> Vec<(u64, S)> {
        for at in 0..segment.count() {
            self.bucket(segment, at).iter().for_each(Slot::prefetch);
            self.before_change(segment, at, guard);
        }
        let mut entries = Vec::with_capacity(self.entries_of(segment));
        for at in 0..segment.count() {
            let bucket = self.bucket_mut(segment, at);
            for slot in 0..SLOTS {
                if bucket.get(slot).is_some() {
                    let entry = bucket.take(slot);
                    entries.push((entry.hash(hasher), entry));
                }
            }
        }
        Bucket::free(segment.buckets, segment.count());
        self.bucket_bytes -= segment.count() * size_of::<Bucket<S>>();
        self.epochs_free.push(segment.epochs);
        if segment.depth() == self.depth {
            self.deepest -= 1;
        }
        entries
    }
    /// Makes the segment of the first `depth` bits of `hash` from its entries, of `size` buckets or as many more as it takes; two segments
    /// if `BUCKETS_MAX` do not suffice or `size` is `None`.
    fn build(&mut self, hash: u64, depth: u32, size: Option<usize>, entries: Vec<(u64, S)>, epoch: u64) {
        for size in SIZES.into_iter().filter(|candidate| size.is_some_and(|size| *candidate >= size)) {
            if let Some(plan) = plan(&entries, depth, size) {
                return self.install(hash, depth, fill(entries, &plan, depth, size), size, epoch);
            }
        }
        assert!(depth < DEPTH_MAX, "more than {} keys with the same {DEPTH_MAX} bits of hash", entries.len());
        let bit = 1 << (63 - depth);
        let (high, low): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(hash, _)| hash & bit != 0);
        let (low_size, high_size) = (size_for(low.len(), depth + 1), size_for(high.len(), depth + 1));
        self.build(hash & !bit, depth + 1, Some(low_size), low, epoch);
        self.build(hash | bit, depth + 1, Some(high_size), high, epoch);
    }
    /// Enters a segment in the directory, doubling that if need be.
    fn install(&mut self, hash: u64, depth: u32, buckets: NonNull<Bucket<S>>, size: usize, epoch: u64) {
        while self.depth < depth {
            self.directory = self.directory.iter().flat_map(|segment| [*segment; 2]).collect();
            self.depth += 1;
            self.deepest = 0;
        }
        let epochs = match self.epochs_free.pop() {
            Some(free) => free,
            None => {
                self.epochs.push(Epochs::new(0));
                u32::try_from(self.epochs.len() - 1).expect("at most 2^32 segments")
            }
        };
        self.epochs[epochs as usize] = Epochs::new(epoch);
        let segment = Segment { buckets, epochs, count: size as u8, depth: depth as u8 };
        let span = 1 << (self.depth - depth);
        let first = ((hash >> 1) >> (63 - self.depth)) as usize & !(span - 1);
        self.directory[first..first + span].fill(segment);
        self.bucket_bytes += size * size_of::<Bucket<S>>();
        if depth == self.depth {
            self.deepest += 1;
        }
    }
    fn halve_directory(&mut self) {
        while self.deepest == 0 && self.depth > 0 {
            self.directory = self.directory.iter().step_by(2).copied().collect();
            self.depth -= 1;
            self.deepest = self.directory.iter().filter(|segment| segment.depth() == self.depth).count();
            self.renumber_epochs();
        }
    }
    /// Closes the gaps that segments have left in `epochs`.
    fn renumber_epochs(&mut self) {
        let mut epochs = Vec::with_capacity(self.directory.len());
        let mut index = 0;
        while index < self.directory.len() {
            let segment = &self.directory[index];
            let span = 1 << (self.depth - segment.depth());
            epochs.push(std::mem::replace(&mut self.epochs[segment.epochs as usize], Epochs::new(0)));
            for entry in &mut self.directory[index..index + span] {
                entry.epochs = (epochs.len() - 1) as u32;
            }
            index += span;
        }
        epochs.shrink_to_fit();
        self.epochs = epochs;
        self.epochs_free = Vec::new();
    }
}

/// Which bucket each entry will be in, in a segment of `size`; `None` if one finds no place. Entries come nearly in hash order, so that each is
/// about as far from home as its neighbours and few windows overflow.
fn plan<S>(entries: &[(u64, S)], depth: u32, size: usize) -> Option<Vec<u8>> {
    let mut used = [0; BUCKETS_MAX];
    let place = |(hash, _): &(u64, S)| {
        let home = home(*hash, depth, size);
        let at = (0..size.min(WINDOW)).map(|step| (home + step) % size).find(|at| used[*at] < SLOTS)?;
        used[at] += 1;
        Some(at as u8)
    };
    if entries.len() > size * SLOTS { None } else { entries.iter().map(place).collect() }
}

/// A new array of `size` buckets with these entries where `plan` says.
fn fill<S>(entries: Vec<(u64, S)>, plan: &[u8], depth: u32, size: usize) -> NonNull<Bucket<S>> {
    let array = Bucket::<S>::array(size);
    // SAFETY: `size` empty buckets that nothing else knows yet (the shared empty one is not among them: then `size` is 0).
    let buckets = unsafe { std::slice::from_raw_parts_mut(array.as_ptr(), size) };
    for ((hash, entry), at) in entries.into_iter().zip(plan) {
        let (home, at) = (home(hash, depth, size), usize::from(*at));
        let slot = buckets[at].free_slot().expect("the plan puts no more into a bucket than fits");
        buckets[at].put(slot, tag(hash), entry);
        if at != home {
            buckets[home].add_overflow();
        }
    }
    array
}
