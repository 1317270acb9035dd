//! The request decoder: multi-bulk and inline requests, in slices of the buffer they came in, with limits.
//! Remembers how far it came in an incomplete request, so that a request in many pieces is read once.

use std::ops::Index;

/// One argument's place, relative to the start of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgRange {
    pub start: u32,
    pub len: u32,
}

/// The arguments of one request: the command's name first. Slices of the request's bytes; cheap to copy.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [ArgRange],
}

impl<'a> Args<'a> {
    /// `bytes` starts where the request starts.
    pub fn new(bytes: &'a [u8], ranges: &'a [ArgRange]) -> Self {
        Args { bytes, ranges }
    }

    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The argument at `index`; panics beyond the end, which arity checks exclude.
    pub fn at(&self, index: usize) -> &'a [u8] {
        let range = self.ranges[index];
        &self.bytes[range.start as usize..(range.start + range.len) as usize]
    }

    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        (index < self.len()).then(|| self.at(index))
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + use<'a> {
        let this = *self;
        (0..this.len()).map(move |i| this.at(i))
    }

    /// The arguments from `first` on.
    pub fn tail(&self, first: usize) -> Args<'a> {
        Args { bytes: self.bytes, ranges: &self.ranges[first.min(self.ranges.len())..] }
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}

/// Bounds on what one request may claim.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`; 16384 before AUTH.
    pub bulk_bytes_max: usize,
    /// 1024 * 1024; 10 before AUTH.
    pub args_max: usize,
    /// Bytes of an inline request or of a length line without a line end: 64 KiB.
    pub line_bytes_max: usize,
    /// True before AUTH: errors then say "unauthenticated multibulk length" and the like.
    pub unauthenticated: bool,
}

/// What ends a connection; the text follows `-ERR Protocol error: `.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub struct ProtocolError(pub String);

/// Progress in the request at the front of a buffer.
#[derive(Default)]
pub struct Decoder {}

impl Decoder {
    /// Reads one request from the front of `buf` into `args` (cleared first). `Ok(Some(n))`: whole, `n` bytes long; `args` may be
    /// empty (an empty line or `*0`), then there is nothing to execute. `Ok(None)`: more bytes are needed; call again with the same front.
    pub fn decode(&mut self, buf: &[u8], limits: &Limits, args: &mut Vec<ArgRange>) -> Result<Option<usize>, ProtocolError> {
        let _ = (buf, limits, args);
        todo!()
    }

    /// How many bytes the request at the front still lacks, where a bulk length has told (0: unknown). A hint for the read size.
    pub fn missing(&self) -> usize {
        todo!()
    }
}
