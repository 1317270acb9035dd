//! The reader's buffer: bytes from any `Read`, counted, hashed once they are consumed.

use std::io::{ErrorKind, Read};

use super::checksum::{self, Checksum};
use super::error::{LoadCause, LoadError};

pub(super) const BUFFER_BYTES: usize = 128 * 1024;
/// Room for what is taken in one piece whatever its length.
pub(super) const BUFFER_BYTES_MIN: usize = 512;

pub(super) struct Source<R> {
    inner: R,
    buffer: Box<[u8]>,
    /// Consumed up to here, filled up to there.
    at: usize,
    end: usize,
    /// The offset of the buffer's first byte.
    base: u64,
    /// Hashed up to here.
    hashed: usize,
    checksum: Checksum,
}

impl<R: Read> Source<R> {
    pub fn new(inner: R, buffer_bytes: usize) -> Self {
        let buffer = vec![0; buffer_bytes].into_boxed_slice();
        Source { inner, buffer, at: 0, end: 0, base: 0, hashed: 0, checksum: checksum::start() }
    }

    /// The longest string to take in place.
    pub fn in_place_max(&self) -> u64 {
        self.buffer.len() as u64 / 2
    }

    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    pub fn unread(&self) -> &[u8] {
        &self.buffer[self.at..self.end]
    }

    /// The checksum of all bytes consumed.
    pub fn checksum(&mut self) -> u64 {
        self.hash();
        self.checksum.clone().finalize()
    }

    fn hash(&mut self) {
        self.checksum.update(&self.buffer[self.hashed..self.at]);
        self.hashed = self.at;
    }

    #[inline]
    pub fn byte(&mut self) -> Result<u8, LoadError> {
        self.need(1)?;
        self.at += 1;
        Ok(self.buffer[self.at - 1])
    }

    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returns as many bytes as asked"))
    }

    /// Consumes `n` bytes (at most the buffer's size), in place.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&[u8], LoadError> {
        self.need(n)?;
        self.at += n;
        Ok(self.before(n))
    }

    /// The last `n` bytes consumed, which were taken in one piece.
    #[inline]
    pub fn before(&self, n: usize) -> &[u8] {
        &self.buffer[self.at - n..self.at]
    }

    /// Consumes `n` bytes into `out`, in place of what it held; it grows as they arrive.
    pub fn gather(&mut self, n: u64, out: &mut Vec<u8>) -> Result<(), LoadError> {
        out.clear();
        let mut left = n;
        while left > 0 {
            if self.at == self.end {
                self.need(1)?;
            }
            let piece = self.unread().len().min(usize::try_from(left).unwrap_or(usize::MAX));
            out.extend_from_slice(&self.buffer[self.at..self.at + piece]);
            self.at += piece;
            left -= piece as u64;
        }
        Ok(())
    }

    #[inline]
    fn need(&mut self, n: usize) -> Result<(), LoadError> {
        if self.end - self.at >= n { Ok(()) } else { self.fill(n) }
    }

    #[cold]
    fn fill(&mut self, n: usize) -> Result<(), LoadError> {
        assert!(n <= self.buffer.len(), "{n} bytes in place");
        self.hash();
        self.buffer.copy_within(self.at..self.end, 0);
        self.base += self.at as u64;
        self.end -= self.at;
        self.at = 0;
        self.hashed = 0;
        while self.end < n {
            let stop = self.base + self.end as u64;
            match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(LoadCause::Eof.at(stop)),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(LoadCause::Eof.at(stop)),
                Err(error) => return Err(LoadCause::Io(error).at(stop)),
            }
        }
        Ok(())
    }
}
