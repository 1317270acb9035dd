//! Changes to a pack, in place in its body. Each moves the bytes behind it once.

use super::element::Encoded;
use super::{ELEMENTS_MAX, Elem, HEADER, Pack};

/// Bytes that an element takes in a pack.
pub fn encoded_len(elem: Elem<'_>) -> usize {
    Encoded::of(elem).len()
}

/// A body to change. Its `Vec` grows as a `Vec` does, and never shrinks here.
#[derive(Debug)]
pub struct PackMut<'a>(&'a mut Vec<u8>);

impl<'a> PackMut<'a> {
    pub fn new(body: &'a mut Vec<u8>) -> Self {
        if body.is_empty() {
            body.extend_from_slice(&[0; HEADER]);
        }
        PackMut(body)
    }

    pub fn pack(&self) -> Pack<'_> {
        Pack(self.0)
    }

    pub fn push_back(&mut self, elem: Elem<'_>) {
        self.insert(self.0.len(), elem);
    }

    pub fn push_front(&mut self, elem: Elem<'_>) {
        self.insert(HEADER, elem);
    }

    /// Puts an element before the one at `pos`, or last when that is the end.
    pub fn insert(&mut self, pos: usize, elem: Elem<'_>) {
        let encoded = Encoded::of(elem);
        let len = encoded.len();
        self.resize(pos, 0, len);
        encoded.write(&mut self.0[pos..pos + len]);
        self.set_len(self.pack().len() + 1);
    }

    /// Puts an element in the place of the one at `pos`.
    pub fn replace(&mut self, pos: usize, elem: Elem<'_>) {
        let encoded = Encoded::of(elem);
        let (old, new) = (self.pack().skip(pos) - pos, encoded.len());
        self.resize(pos, old, new);
        encoded.write(&mut self.0[pos..pos + new]);
    }

    /// Removes `count` elements from `pos` on; the one behind them stands there afterwards.
    pub fn remove(&mut self, pos: usize, count: usize) {
        let behind = (0..count).fold(pos, |at, _| self.pack().skip(at));
        self.resize(pos, behind - pos, 0);
        self.set_len(self.pack().len() - count);
    }

    /// Adds another pack's elements behind these.
    pub fn append(&mut self, other: Pack<'_>) {
        if let Some(elements) = other.0.get(HEADER..) {
            self.0.extend_from_slice(elements);
            self.set_len(self.pack().len() + other.len());
        }
    }

    /// Keeps what is before `pos` and returns the rest as a body of its own.
    pub fn split_off(&mut self, pos: usize) -> Vec<u8> {
        let (pack, len) = (self.pack(), self.pack().len());
        let kept = if pos < self.0.len() / 2 { pack.count(HEADER, pos) } else { len - pack.count(pos, self.0.len()) };
        let mut rest = Vec::with_capacity(HEADER + self.0.len() - pos);
        rest.extend_from_slice(&[0; HEADER]);
        rest.extend_from_slice(&self.0[pos..]);
        PackMut(&mut rest).set_len(len - kept);
        self.0.truncate(pos);
        self.set_len(kept);
        rest
    }

    pub fn clear(&mut self) {
        self.0.truncate(HEADER);
        self.set_len(0);
    }

    /// Makes `new` bytes of the `old` ones at `pos`; what they hold is the caller's to write.
    fn resize(&mut self, pos: usize, old: usize, new: usize) {
        let end = self.0.len();
        assert!(pos >= HEADER && pos + old <= end, "a position in the pack");
        if new > old {
            self.0.resize(end + new - old, 0);
        }
        if new != old {
            self.0.copy_within(pos + old..end, pos + new);
            self.0.truncate(end - old + new);
        }
    }

    fn set_len(&mut self, len: usize) {
        assert!(len <= ELEMENTS_MAX, "a pack of {len} elements");
        self.0[..HEADER].copy_from_slice(&(len as u16).to_le_bytes());
    }
}

impl Pack<'_> {
    /// How many elements there are between two positions.
    fn count(self, from: usize, to: usize) -> usize {
        let (mut at, mut count) = (from, 0);
        while at < to {
            at = self.skip(at);
            count += 1;
        }
        count
    }
}
