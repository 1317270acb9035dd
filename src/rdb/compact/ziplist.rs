//! Ziplist: length of the whole (4 bytes), offset of the last entry (4), count (2; 65,535 when there are more or it is unknown), entries, 0xFF.
//! All of these are little-endian. An entry: the length of the one before (1 byte, or 0xFE and 4 bytes, little-endian, also where 1 would do),
//! its own kind and length (strings' lengths are big-endian), and its bytes.

use super::{CompactError, Form, take, take_len};
use crate::types::listpack::Elem;

const HEADER: usize = 10;
const END: u8 = 0xFF;
const LONG: u8 = 0xFE;

#[derive(Clone, Debug)]
pub(in crate::rdb) struct Elements<'a> {
    /// Without the end's byte.
    rest: &'a [u8],
    /// Bytes of the entry before.
    before: usize,
    /// Where the next entry starts in the whole.
    at: usize,
    /// Where the last one does.
    tail: usize,
    left: Option<usize>,
}

impl<'a> Elements<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Self, CompactError> {
        let mut rest = bytes;
        let (total, tail, count) = (take(&mut rest), take(&mut rest), take(&mut rest));
        let (Some(total), Some(tail), Some(count)) = (total, tail, count) else { return Err(CompactError::Frame(Form::Ziplist)) };
        let (total, tail, count) = (u32::from_le_bytes(total), u32::from_le_bytes(tail), u16::from_le_bytes(count));
        match rest {
            [entries @ .., END] if total as usize == bytes.len() => {
                let left = (count != u16::MAX).then_some(usize::from(count));
                Ok(Elements { rest: entries, before: 0, at: HEADER, tail: tail as usize, left })
            }
            _ => Err(CompactError::Frame(Form::Ziplist)),
        }
    }

    pub fn step(&mut self) -> Result<Option<Elem<'a>>, CompactError> {
        if self.rest.is_empty() {
            return self.end();
        }
        self.left = match self.left {
            Some(left) => Some(left.checked_sub(1).ok_or(CompactError::Count(Form::Ziplist))?),
            None => None,
        };
        let len = self.rest.len();
        let before = back_len(&mut self.rest).ok_or(CompactError::Element(Form::Ziplist))?;
        if before != self.before {
            return Err(CompactError::Backlen(Form::Ziplist));
        }
        let elem = element(&mut self.rest).ok_or(CompactError::Element(Form::Ziplist))?;
        self.before = len - self.rest.len();
        self.at += self.before;
        Ok(Some(elem))
    }

    fn end(&self) -> Result<Option<Elem<'a>>, CompactError> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(CompactError::Count(Form::Ziplist));
        }
        if self.at - self.before != self.tail {
            return Err(CompactError::Backlen(Form::Ziplist));
        }
        Ok(None)
    }
}

fn back_len(rest: &mut &[u8]) -> Option<usize> {
    match take(rest)? {
        [LONG] => take(rest).map(|len| u32::from_le_bytes(len) as usize),
        [END] => None,
        [short] => Some(usize::from(short)),
    }
}

fn element<'a>(rest: &mut &'a [u8]) -> Option<Elem<'a>> {
    let [kind] = take(rest)?;
    let len = match kind {
        0..0x40 => usize::from(kind),
        0x40..0x80 => usize::from(kind & 0x3F) << 8 | usize::from(u8::from_be_bytes(take(rest)?)),
        0x80 => u32::from_be_bytes(take(rest)?) as usize,
        _ => return integer(kind, rest).map(Elem::Int),
    };
    take_len(rest, len).map(Elem::of)
}

fn integer(kind: u8, rest: &mut &[u8]) -> Option<i64> {
    Some(match kind {
        0xC0 => i64::from(i16::from_le_bytes(take(rest)?)),
        0xD0 => i64::from(i32::from_le_bytes(take(rest)?)),
        0xE0 => i64::from_le_bytes(take(rest)?),
        0xF0 => {
            let [low, middle, high] = take(rest)?;
            i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8)
        }
        0xFE => i64::from(i8::from_le_bytes(take(rest)?)),
        0xF1..=0xFD => i64::from(kind & 0x0F) - 1,
        _ => return None,
    })
}
