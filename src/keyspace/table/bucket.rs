//! One cache line of a table, and arrays of them.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

pub(super) const SLOTS: usize = 7;

/// `word`'s first seven bytes are the slots' tags, 0 for an empty one; the last counts the entries that found no place here. All zero is an
/// empty bucket.
#[repr(C)]
pub(super) struct Bucket<S> {
    word: [u8; 8],
    slots: [MaybeUninit<S>; SLOTS],
}

const LINE: usize = 64;
static EMPTY: [u64; LINE / 8] = [0; LINE / 8];

const EVERY: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each tag.
const MARKS: u64 = 0x0080_8080_8080_8080;

/// The highest bit of every tag that equals `tag`; exact, since an empty slot must not be read.
#[inline]
fn matches(word: u64, tag: u8) -> u64 {
    let differs = word ^ (EVERY * u64::from(tag));
    let low = !(EVERY << 7);
    !(((differs & low) + low) | differs) & MARKS
}

impl<S> Bucket<S> {
    /// Slots are packed types: see `layout`.
    const FITS: () = assert!(size_of::<Bucket<S>>() == LINE && align_of::<Bucket<S>>() == 1);

    /// The bucket that all empty tables share, never written.
    pub(super) fn empty() -> NonNull<Self> {
        let () = Self::FITS;
        NonNull::from(&EMPTY).cast()
    }
    fn layout(count: usize) -> Layout {
        let () = Self::FITS;
        // Allocators align blocks of these sizes to 64, but asked for it they may take a larger block to align in. A bucket across two
        // lines would cost time, nothing else.
        Layout::from_size_align(count * LINE, 1).expect("a segment is small")
    }
    /// `count` empty buckets.
    pub(super) fn array(count: usize) -> NonNull<Self> {
        if count == 0 {
            return Self::empty();
        }
        // SAFETY: the size is not 0; zero bytes are empty buckets.
        let array = unsafe { alloc_zeroed(Self::layout(count)) };
        NonNull::new(array.cast()).unwrap_or_else(|| handle_alloc_error(Self::layout(count)))
    }
    /// Frees an array made by `array`, whose contents have been moved or dropped.
    pub(super) fn free(array: NonNull<Self>, count: usize) {
        if count > 0 {
            // SAFETY: made by `array` with the same count.
            unsafe { dealloc(array.as_ptr().cast(), Self::layout(count)) }
        }
    }

    #[inline]
    fn word(&self) -> u64 {
        u64::from_le_bytes(self.word)
    }
    /// The number of the slot that has `tag` and for which `eq` holds.
    #[inline]
    pub(super) fn find(&self, tag: u8, eq: &mut impl FnMut(&S) -> bool) -> Option<usize> {
        let mut marks = matches(self.word(), tag);
        while marks != 0 {
            let slot = (marks.trailing_zeros() / 8) as usize;
            // SAFETY: `tag` is never 0, so the slot is occupied.
            if eq(unsafe { self.slots.get_unchecked(slot).assume_init_ref() }) {
                return Some(slot);
            }
            marks &= marks - 1;
        }
        None
    }
    #[inline]
    pub(super) fn free_slot(&self) -> Option<usize> {
        let marks = matches(self.word(), 0);
        (marks != 0).then(|| (marks.trailing_zeros() / 8) as usize)
    }
    #[inline]
    fn is_occupied(&self, slot: usize) -> bool {
        slot < SLOTS && self.word[slot] != 0
    }
    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<&S> {
        // SAFETY: the tag says that the slot is occupied.
        self.is_occupied(slot).then(|| unsafe { self.slots[slot].assume_init_ref() })
    }
    #[inline]
    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut S> {
        // SAFETY: the tag says that the slot is occupied.
        self.is_occupied(slot).then(|| unsafe { self.slots[slot].assume_init_mut() })
    }
    #[inline]
    pub(super) fn put(&mut self, slot: usize, tag: u8, value: S) {
        assert!(!self.is_occupied(slot) && tag != 0);
        self.slots[slot].write(value);
        self.word[slot] = tag;
    }
    #[inline]
    pub(super) fn take(&mut self, slot: usize) -> S {
        assert!(self.is_occupied(slot));
        self.word[slot] = 0;
        // SAFETY: the slot was occupied, and its tag has just been cleared: the contents move out once.
        unsafe { self.slots[slot].assume_init_read() }
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = &S> {
        self.occupied_slots().map(|(_, value)| value)
    }
    pub(super) fn occupied_slots(&self) -> impl Iterator<Item = (usize, &S)> {
        (0..SLOTS).filter_map(|slot| Some((slot, self.get(slot)?)))
    }
    pub(super) fn occupied(&self) -> usize {
        SLOTS - matches(self.word(), 0).count_ones() as usize
    }
    pub(super) fn is_empty(&self) -> bool {
        self.occupied() == 0
    }
    /// Drops what is in it.
    pub(super) fn clear(&mut self) {
        for slot in 0..SLOTS {
            if self.is_occupied(slot) {
                drop(self.take(slot));
            }
        }
        self.word = [0; 8];
    }
    #[inline]
    pub(super) fn overflow(&self) -> u8 {
        self.word[SLOTS]
    }
    pub(super) fn add_overflow(&mut self) {
        // At most the slots of the rest of the window.
        self.word[SLOTS] += 1;
    }
    pub(super) fn sub_overflow(&mut self) {
        assert!(self.overflow() > 0);
        self.word[SLOTS] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags that differ in one bit, or stand behind an equal one, are what inexact comparisons trip over.
    #[test]
    fn only_equal_tags_match() {
        for tag in 0..=255_u8 {
            for near in [0, 1, tag ^ 1, tag ^ 0x80, tag.wrapping_add(1), tag] {
                let tags = [tag, near, tag, near, near, tag, near, tag];
                let expected: u64 = (0..SLOTS).filter(|slot| tags[*slot] == tag).map(|slot| 0x80 << (8 * slot)).sum();
                assert_eq!(matches(u64::from_le_bytes(tags), tag), expected, "{tag} {near}");
            }
        }
    }
}
