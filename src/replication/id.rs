//! Replication ids and positions, as types that cannot be mixed up.

use std::fmt;

use crate::env::Random;

/// 40 lower-case hexadecimal digits that name one history of writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplId([u8; 40]);

impl ReplId {
    pub const ZERO: ReplId = ReplId([b'0'; 40]);

    pub fn random(random: &dyn Random) -> Self {
        let mut id = [0; 40];
        id.copy_from_slice(random.hex(40).as_bytes());
        ReplId(id)
    }

    /// `None` unless `text` is 40 hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let id: [u8; 40] = text.try_into().ok()?;
        id.iter().all(u8::is_ascii_hexdigit).then_some(ReplId(id))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are UTF-8")
    }
}

impl fmt::Display for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bytes of the stream so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplOffset(pub u64);

impl fmt::Display for ReplOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The 1-based number of a byte of the stream: what PSYNC asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPos(pub u64);

impl ReplOffset {
    /// The next byte after these.
    pub fn next(self) -> StreamPos {
        StreamPos(self.0 + 1)
    }
}

impl StreamPos {
    /// How many bytes come before this one.
    pub fn before(self) -> ReplOffset {
        ReplOffset(self.0.saturating_sub(1))
    }
}
