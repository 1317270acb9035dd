//! The hash table: extendible hashing over segments of 64-byte buckets, positions in hash order.
//!
//! A directory indexed by the hash's top bits names the segments; a segment is an array of at most 64 buckets, a bucket a cache line: seven
//! one-byte tags, a count of entries that found no place here, seven slots. The hash bits behind the segment's choose the home bucket by
//! multiplication, so bucket order is hash order in every segment, however many buckets it has: a position in hash space is a scan cursor
//! that outlives every growth. An entry stands in its home bucket or, if that was full, in one of the next `WINDOW - 1` (wrapping round in the
//! segment); its home bucket counts it, so that a miss usually touches one line. A full segment grows by 8 buckets, at 64 it splits.
//!
//! Every bucket has an epoch: up to which image (snapshot) its entries have been captured. A `Guard` is told of a bucket's entries before
//! any change to the bucket, and every segment's before its entries move. `resize` moves entries, `walk` reads in hash order.
//!
//! Invariants: the directory's entries point to live arrays (or to the shared empty bucket, `count` 0); a slot is initialized exactly when
//! its tag is not 0; a bucket's `overflow` is the number of entries whose home it is and that stand elsewhere.

mod bucket;
mod epochs;
mod resize;
mod walk;

use std::ptr::NonNull;

use super::hasher::KeyHasher;
use super::memory::prefetch;
use bucket::Bucket;
use epochs::Epochs;

/// Buckets in which an entry may stand, its home included.
const WINDOW: usize = 5;
/// Buckets of a full-grown segment.
const BUCKETS_MAX: usize = 64;
/// Directories end here: 2^32 segments, and the bucket choice still has 32 bits of hash.
const DEPTH_MAX: u32 = 32;

/// What a table keeps: something the size of a pointer that knows its hash.
pub(in crate::keyspace) trait Slot {
    fn hash(&self, hasher: &KeyHasher) -> u64;
    fn prefetch(&self);
}

/// Whoever keeps images of a table: is shown entries before they change or move.
pub(in crate::keyspace) trait Guard<S> {
    /// The newest image that still runs; 0 if none. Rises until none runs.
    fn newest(&self) -> u64;
    /// `slot` belongs to the running images above `after`, up to and with `up_to`.
    fn capture(&mut self, slot: &S, after: u64, up_to: u64);
}

/// The guard of a table that no image is taken of.
pub(in crate::keyspace) struct Unguarded;

impl<S> Guard<S> for Unguarded {
    #[inline]
    fn newest(&self) -> u64 {
        0
    }
    fn capture(&mut self, _: &S, _: u64, _: u64) {}
}

/// Where a segment is: all that a lookup needs.
struct Segment<S> {
    buckets: NonNull<Bucket<S>>,
    /// Index of its `Epochs`.
    epochs: u32,
    /// Buckets.
    count: u8,
    /// Hash bits that all its entries have in common.
    depth: u8,
}

impl<S> Clone for Segment<S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S> Copy for Segment<S> {}

impl<S> Segment<S> {
    #[inline]
    fn count(&self) -> usize {
        usize::from(self.count)
    }
    #[inline]
    fn depth(&self) -> u32 {
        u32::from(self.depth)
    }
    /// The home bucket of `hash`; rises with the hash.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        home(hash, self.depth(), self.count())
    }
    /// The bucket `step` places behind `home`.
    #[inline]
    fn neighbour(&self, home: usize, step: usize) -> usize {
        let at = home + step;
        if at < self.count() { at } else { at - self.count() }
    }
    fn window(&self) -> usize {
        self.count().min(WINDOW)
    }
}

#[inline]
fn home(hash: u64, depth: u32, count: usize) -> usize {
    ((((hash << depth) >> 32) * count as u64) >> 32) as usize
}

/// Never 0, which marks an empty slot. From the low bits: the high ones chose the bucket.
#[inline]
fn tag(hash: u64) -> u8 {
    (hash as u8).max(1)
}

/// Owns its slots' contents: dropping the table drops them.
pub(in crate::keyspace) struct Table<S> {
    /// 2^depth entries; a segment of less depth stands in several.
    directory: Vec<Segment<S>>,
    depth: u32,
    /// Segments as deep as the directory: when there are none it can halve.
    deepest: usize,
    epochs: Vec<Epochs>,
    epochs_free: Vec<u32>,
    len: usize,
    /// Allocated for buckets.
    bucket_bytes: usize,
    /// Removals since the last shrinking pass began.
    removals: usize,
    /// Where the shrinking pass is; `None` if none runs.
    shrinking: Option<u64>,
}

// SAFETY: the pointers are to arrays that the table alone owns; the shared empty bucket is never written.
unsafe impl<S: Send> Send for Table<S> {}

impl<S> Table<S> {
    pub(in crate::keyspace) fn new() -> Self {
        let empty = Segment { buckets: Bucket::empty(), epochs: 0, count: 0, depth: 0 };
        Table {
            directory: vec![empty],
            depth: 0,
            deepest: 1,
            epochs: vec![Epochs::new(0)],
            epochs_free: Vec::new(),
            len: 0,
            bucket_bytes: 0,
            removals: 0,
            shrinking: None,
        }
    }
    #[inline]
    pub(in crate::keyspace) fn len(&self) -> usize {
        self.len
    }
    /// Bytes allocated for the table itself.
    pub(in crate::keyspace) fn allocated(&self) -> usize {
        self.bucket_bytes + self.directory.capacity() * size_of::<Segment<S>>() + self.epochs.capacity() * size_of::<Epochs>()
    }
    #[inline]
    fn segment(&self, hash: u64) -> &Segment<S> {
        // Two shifts: one by 64 would be undefined for depth 0.
        let index = ((hash >> 1) >> (63 - self.depth)) as usize;
        debug_assert!(index < self.directory.len());
        // SAFETY: the directory has 2^depth entries and the index `depth` bits.
        unsafe { self.directory.get_unchecked(index) }
    }
    #[inline]
    fn bucket(&self, segment: &Segment<S>, index: usize) -> &Bucket<S> {
        debug_assert!(index < segment.count().max(1));
        // SAFETY: a segment of the directory has `count` live buckets (one if empty), which only `&mut self` changes.
        unsafe { segment.buckets.add(index).as_ref() }
    }
    /// # Panics
    /// If there is no such bucket: the shared empty one must not be written.
    #[inline]
    fn bucket_mut(&mut self, segment: &Segment<S>, index: usize) -> &mut Bucket<S> {
        assert!(index < segment.count());
        // SAFETY: as in `bucket`; this table alone owns the array, and `&mut self` is borrowed as long as the bucket.
        unsafe { segment.buckets.add(index).as_mut() }
    }
}

impl<S: Slot> Table<S> {
    /// Where the slot for which `eq` holds is: segment, bucket, slot number.
    #[inline]
    fn find(&self, hash: u64, mut eq: impl FnMut(&S) -> bool) -> Option<(&Segment<S>, usize, usize)> {
        let segment = self.segment(hash);
        let home = segment.home(hash);
        let tag = tag(hash);
        let bucket = self.bucket(segment, home);
        if let Some(slot) = bucket.find(tag, &mut eq) {
            return Some((segment, home, slot));
        }
        if bucket.overflow() == 0 {
            return None;
        }
        for step in 1..segment.window() {
            let at = segment.neighbour(home, step);
            if let Some(slot) = self.bucket(segment, at).find(tag, &mut eq) {
                return Some((segment, at, slot));
            }
        }
        None
    }
    #[inline]
    pub(in crate::keyspace) fn get(&self, hash: u64, eq: impl FnMut(&S) -> bool) -> Option<&S> {
        let (segment, at, slot) = self.find(hash, eq)?;
        self.bucket(segment, at).get(slot)
    }
    /// For changing: its bucket is captured first.
    #[inline]
    pub(in crate::keyspace) fn get_mut(&mut self, hash: u64, eq: impl FnMut(&S) -> bool, guard: &mut impl Guard<S>) -> Option<&mut S> {
        let (&segment, at, slot) = self.find(hash, eq)?;
        self.before_change(&segment, at, guard);
        self.bucket_mut(&segment, at).get_mut(slot)
    }
    /// Prefetches the home bucket and the one behind it, where most entries are that found no place at home.
    #[inline]
    pub(in crate::keyspace) fn prefetch_bucket(&self, hash: u64) {
        let segment = self.segment(hash);
        let home = segment.home(hash);
        prefetch(segment.buckets.as_ptr().wrapping_add(home));
        prefetch(segment.buckets.as_ptr().wrapping_add(segment.neighbour(home, 1)));
    }
    /// Prefetches the slots in those two buckets whose tag fits. Buckets further away are prefetched themselves: to read them would be to wait.
    #[inline]
    pub(in crate::keyspace) fn prefetch_slot(&self, hash: u64) {
        let segment = self.segment(hash);
        let (home, tag) = (segment.home(hash), tag(hash));
        let mut found = false;
        let mut fetch = |slot: &S| {
            slot.prefetch();
            found = true;
            false
        };
        let bucket = self.bucket(segment, home);
        bucket.find(tag, &mut fetch);
        if bucket.overflow() == 0 || segment.window() < 2 {
            return;
        }
        self.bucket(segment, segment.neighbour(home, 1)).find(tag, &mut fetch);
        if !found && segment.window() > 2 {
            prefetch(segment.buckets.as_ptr().wrapping_add(segment.neighbour(home, 2)));
        }
    }

    /// Puts in what is not there yet.
    pub(in crate::keyspace) fn insert_new(&mut self, hash: u64, slot: S, hasher: &KeyHasher, guard: &mut impl Guard<S>) {
        self.len += 1;
        let mut slot = slot;
        while let Err(refused) = self.place(hash, slot, guard) {
            slot = refused;
            self.make_room(hash, hasher, guard);
        }
    }
    fn place(&mut self, hash: u64, slot: S, guard: &mut impl Guard<S>) -> Result<(), S> {
        let segment = *self.segment(hash);
        let home = segment.home(hash);
        for step in 0..segment.window() {
            let at = segment.neighbour(home, step);
            if let Some(free) = self.bucket(&segment, at).free_slot() {
                self.before_change(&segment, at, guard);
                self.bucket_mut(&segment, at).put(free, tag(hash), slot);
                if step > 0 {
                    self.bucket_mut(&segment, home).add_overflow();
                }
                return Ok(());
            }
        }
        Err(slot)
    }
    pub(in crate::keyspace) fn remove(&mut self, hash: u64, eq: impl FnMut(&S) -> bool, hasher: &KeyHasher, guard: &mut impl Guard<S>) -> Option<S> {
        let (&segment, at, slot) = self.find(hash, eq)?;
        self.before_change(&segment, at, guard);
        let removed = self.bucket_mut(&segment, at).take(slot);
        let home = segment.home(hash);
        if at != home {
            self.bucket_mut(&segment, home).sub_overflow();
        }
        self.len -= 1;
        self.removals += 1;
        // Rare at a usual load, and then worth the count that shrinking begins with.
        if self.bucket(&segment, at).is_empty() {
            self.try_shrink(hash, hasher, guard);
        }
        Some(removed)
    }

    #[inline]
    fn before_change(&mut self, segment: &Segment<S>, bucket: usize, guard: &mut impl Guard<S>) {
        let newest = guard.newest();
        if newest != 0 {
            self.capture(segment, bucket, newest, guard);
        }
    }
    /// Shows a bucket's entries to the guard on behalf of the images up to `up_to` that do not have them yet; false if all had.
    fn capture(&mut self, segment: &Segment<S>, bucket: usize, up_to: u64, guard: &mut impl Guard<S>) -> bool {
        let after = self.epochs[segment.epochs as usize].of(bucket);
        if after >= up_to {
            return false;
        }
        // A write has touched one of them at most; their cache misses shall overlap.
        self.bucket(segment, bucket).iter().for_each(Slot::prefetch);
        for slot in self.bucket(segment, bucket).iter() {
            guard.capture(slot, after, up_to);
        }
        self.epochs[segment.epochs as usize].raise(bucket, up_to, segment.count());
        true
    }
}

impl<S> Drop for Table<S> {
    fn drop(&mut self) {
        let mut index = 0;
        while index < self.directory.len() {
            let segment = self.directory[index];
            index += 1 << (self.depth - segment.depth());
            for at in 0..segment.count() {
                self.bucket_mut(&segment, at).clear();
            }
            Bucket::free(segment.buckets, segment.count());
        }
    }
}
