//! IDs of entries: a time in milliseconds and a number within it.

use std::fmt;

use crate::types::number::parse_u64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

impl StreamId {
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// `ms-seq`, or `ms` alone with `seq` in the other's place. Redis reads a C string of less than 128 bytes.
    pub fn parse(text: &[u8], seq: u64) -> Option<StreamId> {
        if text.len() >= 128 {
            return None;
        }
        let text = text.split(|byte| *byte == 0).next()?;
        match text.iter().position(|byte| *byte == b'-') {
            None => Some(StreamId { ms: parse_u64(text)?, seq }),
            Some(dash) => Some(StreamId { ms: parse_u64(&text[..dash])?, seq: parse_u64(&text[dash + 1..])? }),
        }
    }

    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    pub fn prev(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// As Redis's radix trees have it: big-endian, so that bytes sort as IDs do.
    pub fn to_be_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    pub fn from_be_bytes(bytes: [u8; 16]) -> Self {
        let number = u128::from_be_bytes(bytes);
        StreamId { ms: (number >> 64) as u64, seq: number as u64 }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Room for an ID's text.
pub struct IdBuf([u8; 41]);

impl Default for IdBuf {
    fn default() -> Self {
        IdBuf([0; 41])
    }
}

impl StreamId {
    /// The text.
    pub fn text(self, buffer: &mut IdBuf) -> &[u8] {
        let mut len = 0;
        for (number, dash) in [(self.ms, true), (self.seq, false)] {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(number).as_bytes();
            buffer.0[len..len + digits.len()].copy_from_slice(digits);
            len += digits.len();
            if dash {
                buffer.0[len] = b'-';
                len += 1;
            }
        }
        &buffer.0[..len]
    }
}
