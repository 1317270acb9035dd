//! Intset: the width of its integers (2, 4 or 8; 4 bytes), their count (4), and they in ascending order; all little-endian.

use super::{CompactError, Form, take};
use crate::types::listpack::Elem;

#[derive(Clone, Debug, Default)]
pub(in crate::rdb) struct Elements<'a> {
    width: usize,
    rest: &'a [u8],
    before: Option<i64>,
}

impl<'a> Elements<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Self, CompactError> {
        let mut rest = bytes;
        let width = take(&mut rest).map(u32::from_le_bytes).filter(|width| matches!(width, 2 | 4 | 8));
        let count = take(&mut rest).map(u32::from_le_bytes);
        let (Some(width), Some(count)) = (width, count) else { return Err(CompactError::Frame(Form::Intset)) };
        if u64::from(width) * u64::from(count) != rest.len() as u64 {
            return Err(CompactError::Count(Form::Intset));
        }
        Ok(Elements { width: width as usize, rest, before: None })
    }

    pub fn step(&mut self) -> Result<Option<Elem<'a>>, CompactError> {
        let number = match (self.width, self.rest) {
            (_, []) => return Ok(None),
            (2, _) => take(&mut self.rest).map(|bytes| i64::from(i16::from_le_bytes(bytes))),
            (4, _) => take(&mut self.rest).map(|bytes| i64::from(i32::from_le_bytes(bytes))),
            _ => take(&mut self.rest).map(i64::from_le_bytes),
        };
        let number = number.ok_or(CompactError::Element(Form::Intset))?;
        if self.before.is_some_and(|before| before >= number) {
            return Err(CompactError::Order);
        }
        self.before = Some(number);
        Ok(Some(Elem::Int(number)))
    }
}
