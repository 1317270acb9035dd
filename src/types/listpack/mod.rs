//! The compact block of small collections: elements one after another in one run of bytes, each encoded as Redis's listpack encodes it, so that
//! blocks travel in RDB files with little work. Owns the form of a block; knows nothing of what the elements mean. Pure functions on bytes.
//!
//! A body is a count (2 bytes, little-endian) and the elements; no bytes at all are an empty pack too. It lacks the six bytes before and the one
//! behind that Redis's form has (`to_redis`, `from_redis`).
//!
//! Invariants: an element has its shortest form, and a text that is a canonical integer is stored as one. So equal elements have equal bytes,
//! which `find` relies on. Fewer than 65,535 elements. Bodies from outside come in by `from_redis` or are checked by `validate`; on others
//! the functions here panic.

mod edit;
mod element;
mod redis;
pub mod run;
#[cfg(test)]
mod tests;

pub use edit::{PackMut, encoded_len};
pub use element::{Elem, ElemBuf};
pub use redis::{PackError, RedisElems, from_redis, validate};

use element::{Encoded, backlen_width, decode, entry_len, read_backlen};

/// Bytes before the first element.
const HEADER: usize = 2;
/// The most elements that a pack may have.
pub const ELEMENTS_MAX: usize = u16::MAX as usize - 1;
const VALID: &str = "a valid pack";

/// A body to read from. A position is the byte offset of an element in it, and `end` the one behind the last.
#[derive(Clone, Copy, Debug)]
pub struct Pack<'a>(&'a [u8]);

impl<'a> Pack<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Pack(body)
    }

    pub fn body(self) -> &'a [u8] {
        self.0
    }

    pub fn len(self) -> usize {
        match *self.0 {
            [low, high, ..] => usize::from(u16::from_le_bytes([low, high])),
            _ => 0,
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The position behind the last element, where `insert` appends.
    pub fn end(self) -> usize {
        self.0.len().max(HEADER)
    }

    pub fn first(self) -> Option<usize> {
        (!self.is_empty()).then_some(HEADER)
    }

    pub fn last(self) -> Option<usize> {
        self.prev(self.end())
    }

    /// The element at a position.
    pub fn at(self, pos: usize) -> Elem<'a> {
        decode(&self.0[pos..]).expect(VALID).0
    }

    /// The position behind that of `pos`, if an element is there.
    pub fn next(self, pos: usize) -> Option<usize> {
        Some(self.skip(pos)).filter(|&next| next < self.0.len())
    }

    /// The position before `pos`, which may be the end.
    pub fn prev(self, pos: usize) -> Option<usize> {
        (pos > HEADER).then(|| self.skip_back(pos))
    }

    /// The element at an index, looked for from the nearer end.
    pub fn get(self, index: usize) -> Option<Elem<'a>> {
        self.position(index).map(|pos| self.at(pos))
    }

    pub fn position(self, index: usize) -> Option<usize> {
        let len = self.len();
        if index >= len {
            return None;
        }
        if index < len / 2 {
            return Some((0..index).fold(HEADER, |pos, _| self.skip(pos)));
        }
        Some((index..len).fold(self.0.len(), |pos, _| self.skip_back(pos)))
    }

    /// The first element with this text among the first, the one `every` behind it, and so on: 1 looks at all, 2 at the fields of field-value
    /// pairs.
    pub fn find(self, text: &[u8], every: usize) -> Option<usize> {
        self.find_from(HEADER, text, every)
    }

    /// As `find`, beginning at a position.
    pub fn find_from(self, pos: usize, text: &[u8], every: usize) -> Option<usize> {
        assert!(every > 0, "every element at least");
        let needle = Encoded::of(Elem::of(text));
        let (head, payload) = (needle.head(), needle.payload);
        let mut pos = pos;
        while pos < self.0.len() {
            if self.0[pos..].strip_prefix(head).is_some_and(|rest| rest.starts_with(payload)) {
                return Some(pos);
            }
            for _ in 0..every {
                if pos == self.0.len() {
                    return None;
                }
                pos = self.skip(pos);
            }
        }
        None
    }

    pub fn iter(self) -> Iter<'a> {
        Iter(self.entries())
    }

    /// The elements with their positions.
    pub fn entries(self) -> Entries<'a> {
        Entries { pack: self, front: HEADER, back: self.end(), left: self.len() }
    }

    /// The elements from a position on, with their positions; `left` of them.
    pub fn entries_from(self, pos: usize, left: usize) -> Entries<'a> {
        Entries { pack: self, front: pos, back: self.end(), left }
    }

    fn skip(self, pos: usize) -> usize {
        let entry = entry_len(&self.0[pos..]).expect(VALID);
        pos + entry + backlen_width(entry)
    }

    fn skip_back(self, pos: usize) -> usize {
        let entry = read_backlen(&self.0[HEADER..pos]).expect(VALID);
        pos - backlen_width(entry) - entry
    }
}

impl<'a> IntoIterator for Pack<'a> {
    type Item = Elem<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Elements with their positions, from both ends.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    pack: Pack<'a>,
    front: usize,
    back: usize,
    left: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (usize, Elem<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let pos = self.front;
        let (elem, entry) = decode(&self.pack.0[pos..]).expect(VALID);
        self.front = pos + entry + backlen_width(entry);
        Some((pos, elem))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl DoubleEndedIterator for Entries<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.back = self.pack.skip_back(self.back);
        Some((self.back, self.pack.at(self.back)))
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// Elements, from both ends.
#[derive(Clone, Debug)]
pub struct Iter<'a>(Entries<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = Elem<'a>;

    fn next(&mut self) -> Option<Elem<'a>> {
        self.0.next().map(|(_, elem)| elem)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(_, elem)| elem)
    }
}

impl ExactSizeIterator for Iter<'_> {}
