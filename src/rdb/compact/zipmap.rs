//! Zipmap: a count (1 byte; 254 and more: unknown), fields and values in turn, 0xFF. Each has its length in front (1 byte, or 0xFE and 4 bytes,
//! little-endian); behind a value's length stands how many unused bytes follow the value.

use super::{CompactError, Form, take, take_len};
use crate::types::listpack::Elem;

const END: u8 = 0xFF;
const LONG: u8 = 0xFE;

#[derive(Clone, Debug)]
pub(in crate::rdb) struct Elements<'a> {
    /// Without the end's byte.
    rest: &'a [u8],
    /// Elements, two a pair.
    left: Option<usize>,
    value_next: bool,
}

impl<'a> Elements<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Self, CompactError> {
        match bytes {
            [count, pairs @ .., END] => {
                let left = (*count < LONG).then_some(2 * usize::from(*count));
                Ok(Elements { rest: pairs, left, value_next: false })
            }
            _ => Err(CompactError::Frame(Form::Zipmap)),
        }
    }

    pub fn step(&mut self) -> Result<Option<Elem<'a>>, CompactError> {
        if self.rest.is_empty() {
            let whole = self.left.is_none_or(|left| left == 0) && !self.value_next;
            return if whole { Ok(None) } else { Err(CompactError::Count(Form::Zipmap)) };
        }
        self.left = match self.left {
            Some(left) => Some(left.checked_sub(1).ok_or(CompactError::Count(Form::Zipmap))?),
            None => None,
        };
        let text = text(&mut self.rest, self.value_next).ok_or(CompactError::Element(Form::Zipmap))?;
        self.value_next = !self.value_next;
        Ok(Some(Elem::of(text)))
    }
}

fn text<'a>(rest: &mut &'a [u8], value: bool) -> Option<&'a [u8]> {
    let len = match take(rest)? {
        [LONG] => u32::from_le_bytes(take(rest)?) as usize,
        [END] => return None,
        [short] => usize::from(short),
    };
    let [unused] = if value { take(rest)? } else { [0] };
    let text = take_len(rest, len)?;
    take_len(rest, usize::from(unused))?;
    Some(text)
}
