//! One element: its two kinds, and its bytes in a pack. The length in front says where the next begins, the length behind (`backlen`) where
//! this one does.

use std::cmp::Ordering;

use crate::types::number::parse_i64;

/// Room for the text of an integer.
pub type ElemBuf = itoa::Buffer;

/// The longest text of an i64.
const INT_TEXT_MAX: usize = 20;
/// The longest head: the first byte and an i64.
const HEAD_MAX: usize = 9;

const INT13: u8 = 0xC0;
const STR12: u8 = 0xE0;
const STR32: u8 = 0xF0;
const INT16: u8 = 0xF1;
const INT24: u8 = 0xF2;
const INT32: u8 = 0xF3;
const INT64: u8 = 0xF4;

/// An element. A text that is a canonical integer is an `Int`, when it comes from `of` or from a pack; so two elements are the same text
/// exactly when they are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Elem<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Elem<'a> {
    #[inline]
    pub fn of(text: &'a [u8]) -> Self {
        if text.len() > INT_TEXT_MAX {
            return Elem::Bytes(text);
        }
        parse_i64(text).map_or(Elem::Bytes(text), Elem::Int)
    }

    /// The text's length.
    pub fn len(self) -> usize {
        match self {
            Elem::Int(number) => number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1 + usize::from(number < 0),
            Elem::Bytes(bytes) => bytes.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self == Elem::Bytes(b"")
    }

    pub fn as_int(self) -> Option<i64> {
        match self {
            Elem::Int(number) => Some(number),
            Elem::Bytes(_) => None,
        }
    }

    /// The text.
    pub fn bytes<'b>(self, buffer: &'b mut ElemBuf) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Elem::Int(number) => buffer.format(number).as_bytes(),
            Elem::Bytes(bytes) => bytes,
        }
    }

    pub fn append_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes(&mut ElemBuf::new()));
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut ElemBuf::new()).to_vec()
    }

    /// Whether the text is this one.
    pub fn is(self, text: &[u8]) -> bool {
        match self {
            Elem::Int(number) => text.len() <= INT_TEXT_MAX && parse_i64(text) == Some(number),
            Elem::Bytes(bytes) => bytes == text,
        }
    }

    /// Compares the texts, byte by byte.
    pub fn cmp_bytes(self, text: &[u8]) -> Ordering {
        self.bytes(&mut ElemBuf::new()).cmp(text)
    }
}

/// An element's bytes before they are laid into a pack: a head, then those of a text.
pub(super) struct Encoded<'a> {
    head: [u8; HEAD_MAX],
    head_len: usize,
    pub payload: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    pub fn of(elem: Elem<'a>) -> Self {
        match elem {
            Elem::Int(number) => Self::int(number),
            Elem::Bytes(bytes) => Self::text(bytes),
        }
    }

    fn int(number: i64) -> Self {
        let le = number.to_le_bytes();
        match number {
            0..=0x7F => Self::new(number as u8, &[], &[]),
            -0x1000..=0xFFF => Self::new(INT13 | (number >> 8) as u8 & 0x1F, &[number as u8], &[]),
            -0x8000..=0x7FFF => Self::new(INT16, &le[..2], &[]),
            -0x80_0000..=0x7F_FFFF => Self::new(INT24, &le[..3], &[]),
            -0x8000_0000..=0x7FFF_FFFF => Self::new(INT32, &le[..4], &[]),
            _ => Self::new(INT64, &le, &[]),
        }
    }

    fn text(bytes: &'a [u8]) -> Self {
        let len = u32::try_from(bytes.len()).expect("an element is shorter than 4 GiB");
        match len {
            0..0x40 => Self::new(0x80 | len as u8, &[], bytes),
            0x40..0x1000 => Self::new(STR12 | (len >> 8) as u8, &[len as u8], bytes),
            _ => Self::new(STR32, &len.to_le_bytes(), bytes),
        }
    }

    fn new(first: u8, rest: &[u8], payload: &'a [u8]) -> Self {
        let mut head = [0; HEAD_MAX];
        head[0] = first;
        head[1..=rest.len()].copy_from_slice(rest);
        Encoded { head, head_len: 1 + rest.len(), payload }
    }

    pub fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }

    /// All of its bytes in a pack, the length behind them included.
    pub fn len(&self) -> usize {
        let entry = self.head_len + self.payload.len();
        entry + backlen_width(entry)
    }

    /// Fills `place`, which has the length it needs.
    pub fn write(&self, place: &mut [u8]) {
        let entry = self.head_len + self.payload.len();
        let (content, backlen) = place.split_at_mut(entry);
        let (head, payload) = content.split_at_mut(self.head_len);
        head.copy_from_slice(self.head());
        payload.copy_from_slice(self.payload);
        write_backlen(entry, backlen);
    }
}

/// How many bytes tell the length of what stands before them. The limits are Redis's: one less than what the bits could hold.
#[inline]
pub(super) fn backlen_width(entry: usize) -> usize {
    match entry {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// Seven bits a byte, the highest first; all but the first are marked, since they are read from the last.
pub(super) fn write_backlen(entry: usize, place: &mut [u8]) {
    assert!(place.len() == backlen_width(entry), "room for the length");
    let mut rest = entry;
    for byte in place.iter_mut().rev() {
        *byte = (rest & 0x7F) as u8 | 0x80;
        rest >>= 7;
    }
    place[0] &= 0x7F;
}

/// The length that the last bytes tell of what stands before them.
#[inline]
pub(super) fn read_backlen(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    for (index, &byte) in bytes.iter().rev().take(5).enumerate() {
        len |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(len);
        }
    }
    None
}

/// The length of the element at the front of `bytes`, without its backlen. It may reach beyond them.
#[inline]
pub(super) fn entry_len(bytes: &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    Some(match first {
        0..=0x7F => 1,
        0x80..INT13 => 1 + usize::from(first & 0x3F),
        INT13..STR12 => 2,
        STR12..STR32 => 2 + (usize::from(first & 0x0F) << 8 | usize::from(*bytes.get(1)?)),
        STR32 => 5 + u32::from_le_bytes(*bytes.get(1..)?.first_chunk()?) as usize,
        INT16 => 3,
        INT24 => 4,
        INT32 => 5,
        INT64 => 9,
        _ => return None,
    })
}

/// The element at the front of `bytes`, and its length without the backlen. `None` when it is none or is cut.
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Option<(Elem<'_>, usize)> {
    let len = entry_len(bytes)?;
    let entry = bytes.get(..len)?;
    let elem = match entry[0] {
        first @ 0..=0x7F => Elem::Int(i64::from(first)),
        0x80..INT13 => Elem::Bytes(&entry[1..]),
        // The thirteenth bit is the sign.
        first @ INT13..STR12 => Elem::Int(i64::from(((u16::from(first) << 8 | u16::from(entry[1])) << 3) as i16 >> 3)),
        STR12..STR32 => Elem::Bytes(&entry[2..]),
        STR32 => Elem::Bytes(&entry[5..]),
        _ => Elem::Int(signed_le(&entry[1..])),
    };
    Some((elem, len))
}

/// A signed integer of up to eight bytes, little-endian.
pub(super) fn signed_le(bytes: &[u8]) -> i64 {
    let mut wide = [0; 8];
    wide[8 - bytes.len()..].copy_from_slice(bytes);
    i64::from_le_bytes(wide) >> (64 - 8 * bytes.len())
}
