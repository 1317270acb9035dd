//! Packs from outside: Redis's own form of a listpack, and the check of a body. Nothing here trusts its input.
//!
//! Redis: length of the whole (4 bytes, little-endian), count (2; 65,535 when there are more or it is unknown), elements, 0xFF.

use super::element::{backlen_width, decode, write_backlen};
use super::{ELEMENTS_MAX, Elem, Encoded, HEADER, Pack, PackMut};

pub(super) const REDIS_HEADER: usize = 6;
pub(super) const REDIS_END: u8 = 0xFF;
/// The longest backlen.
const BACKLEN_MAX: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    #[error("listpack too short for its frame")]
    Frame,
    #[error("listpack of another length than it says")]
    Length,
    #[error("listpack with an unknown or cut element")]
    Element,
    #[error("listpack with a wrong backward length")]
    Backlen,
    #[error("listpack with another count than it says")]
    Count,
    #[error("listpack with too many elements for one block")]
    TooMany,
    #[error("listpack with an element that is not in its shortest form")]
    NotShortest,
}

impl Pack<'_> {
    /// Appends the pack in Redis's form.
    pub fn to_redis(self, out: &mut Vec<u8>) {
        let elements = self.0.get(HEADER..).unwrap_or_default();
        let len = u32::try_from(REDIS_HEADER + elements.len() + 1).expect("a pack is shorter than 4 GiB");
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(self.len() as u16).to_le_bytes());
        out.extend_from_slice(elements);
        out.push(REDIS_END);
    }
}

/// The body for a listpack in Redis's form. Everything is checked, and elements get their shortest form: Redis tolerates others.
pub fn from_redis(bytes: &[u8]) -> Result<Vec<u8>, PackError> {
    let mut body = Vec::with_capacity(bytes.len());
    let mut pack = PackMut::new(&mut body);
    for elem in RedisElems::new(bytes)? {
        if pack.pack().len() == ELEMENTS_MAX {
            return Err(PackError::TooMany);
        }
        pack.push_back(elem?);
    }
    Ok(body)
}

/// The elements of a listpack in Redis's form, checked one by one, however many they are. Ends behind the first error.
#[derive(Clone, Debug)]
pub struct RedisElems<'a> {
    rest: &'a [u8],
    /// `None` when the count is unknown.
    left: Option<usize>,
}

impl<'a> RedisElems<'a> {
    /// Checks the frame alone.
    pub fn new(bytes: &'a [u8]) -> Result<Self, PackError> {
        let (&[a, b, c, d, low, high], rest) = bytes.split_first_chunk::<REDIS_HEADER>().ok_or(PackError::Frame)?;
        let (&end, rest) = rest.split_last().ok_or(PackError::Frame)?;
        if u32::from_le_bytes([a, b, c, d]) as usize != bytes.len() {
            return Err(PackError::Length);
        }
        if end != REDIS_END {
            return Err(PackError::Frame);
        }
        let count = u16::from_le_bytes([low, high]);
        Ok(RedisElems { rest, left: (count != u16::MAX).then_some(usize::from(count)) })
    }

    /// How many elements there are at most, by the bytes there are: enough to reserve for.
    pub fn at_most(&self) -> usize {
        self.left.unwrap_or(usize::MAX).min(self.rest.len() / 2)
    }

    fn step(&mut self) -> Result<Option<Elem<'a>>, PackError> {
        if self.rest.is_empty() {
            return if self.left.is_some_and(|left| left > 0) { Err(PackError::Count) } else { Ok(None) };
        }
        self.left = match self.left {
            Some(left) => Some(left.checked_sub(1).ok_or(PackError::Count)?),
            None => None,
        };
        let (elem, len) = checked(self.rest)?;
        self.rest = &self.rest[len..];
        Ok(Some(match elem {
            Elem::Bytes(bytes) => Elem::of(bytes),
            int => int,
        }))
    }
}

impl<'a> Iterator for RedisElems<'a> {
    type Item = Result<Elem<'a>, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            (self.rest, self.left) = (&[], None);
        }
        step.transpose()
    }
}

/// Whether a body is a valid pack.
pub fn validate(body: &[u8]) -> Result<(), PackError> {
    if body.is_empty() {
        return Ok(());
    }
    let Some((count, mut rest)) = body.split_first_chunk::<HEADER>() else { return Err(PackError::Frame) };
    let mut left = usize::from(u16::from_le_bytes(*count));
    if left > ELEMENTS_MAX {
        return Err(PackError::TooMany);
    }
    while !rest.is_empty() {
        let (elem, len) = checked(rest)?;
        left = left.checked_sub(1).ok_or(PackError::Count)?;
        let shortest = match elem {
            Elem::Bytes(bytes) => Elem::of(bytes) == elem,
            Elem::Int(_) => true,
        };
        if !shortest || Encoded::of(elem).len() != len {
            return Err(PackError::NotShortest);
        }
        rest = &rest[len..];
    }
    if left == 0 { Ok(()) } else { Err(PackError::Count) }
}

/// The element at the front, and its length with the backlen, which is right.
fn checked(bytes: &[u8]) -> Result<(Elem<'_>, usize), PackError> {
    let (elem, entry) = decode(bytes).ok_or(PackError::Element)?;
    let width = backlen_width(entry);
    let told = bytes.get(entry..entry + width).ok_or(PackError::Element)?;
    let mut right = [0; BACKLEN_MAX];
    write_backlen(entry, &mut right[..width]);
    if told == &right[..width] { Ok((elem, entry + width)) } else { Err(PackError::Backlen) }
}
