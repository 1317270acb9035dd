//! What slaves that are far behind still need of the stream, in files that are removed one by one as it is sent.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::temporary::Temporary;
use crate::env::Env;

/// Consecutive bytes of the stream. The files are removed when they are trimmed, and on drop; nothing is synced, since they never outlive their owner.
pub struct SpillFiles {
    env: Env,
    dir: PathBuf,
    segment_bytes: u64,
    segments: VecDeque<Segment>,
}

struct Segment {
    /// Bytes of the stream before its first.
    start: u64,
    len: u64,
    file: Temporary,
}

impl SpillFiles {
    /// Files of `segment_bytes` each in `dir`; the first is created with the first bytes.
    pub fn new(env: &Env, dir: &Path, segment_bytes: u64) -> Self {
        SpillFiles { env: env.clone(), dir: dir.to_owned(), segment_bytes, segments: VecDeque::new() }
    }

    /// Appends the bytes of the stream after the offset `at`, which is where the last ones ended. After an error nothing can be appended.
    pub fn append(&mut self, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let segment_bytes = self.segment_bytes;
            let room = |segment: &&mut Segment| segment.len < segment_bytes;
            let segment = match self.segments.back_mut().filter(room) {
                Some(segment) => segment,
                None => {
                    let file = Temporary::create(&self.env, &self.dir, false)?;
                    self.segments.push_back(Segment { start: at, len: 0, file });
                    self.segments.back_mut().expect("one was just added")
                }
            };
            assert_eq!(segment.start + segment.len, at, "the stream has no gaps");
            let n = bytes.len().min(usize::try_from(segment_bytes - segment.len).unwrap_or(usize::MAX));
            segment.file.write_all(&bytes[..n])?;
            segment.len += n as u64;
            at += n as u64;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Fills `buf` with the bytes after the offset `at`, up to the end of a file; 0: they are not here.
    pub fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let Some(segment) = self.segments.iter().find(|segment| segment.start <= at && at < segment.start + segment.len) else { return Ok(0) };
        let n = buf.len().min(usize::try_from(segment.start + segment.len - at).unwrap_or(usize::MAX));
        segment.file.read_at(at - segment.start, &mut buf[..n])
    }

    /// Removes the files that have only bytes before the offset `keep_from`.
    pub fn trim(&mut self, keep_from: u64) {
        while self.segments.front().is_some_and(|segment| segment.start + segment.len <= keep_from) {
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Disk, RealDisk};

    #[test]
    fn what_was_appended_is_read_back_until_it_is_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        let mut spill = SpillFiles::new(&Env::real(), dir.path(), 1000);
        let all: Vec<u8> = (0..5500u32).map(|n| (n / 3) as u8).collect();
        let files = || RealDisk.list(dir.path()).unwrap().len();
        let mut at = 0;
        for len in [1, 999, 300, 2500, 1700] {
            spill.append(70 + at as u64, &all[at..at + len]).unwrap();
            at += len;
        }
        assert_eq!(files(), 6);
        let mut buf = vec![0; 700];
        let mut read = 0;
        while read < all.len() {
            let n = spill.read_at(70 + read as u64, &mut buf).unwrap();
            assert!(n > 0 && buf[..n] == all[read..read + n]);
            read += n;
        }
        assert_eq!((spill.read_at(70 + 5500, &mut buf).unwrap(), spill.read_at(69, &mut buf).unwrap()), (0, 0));
        spill.trim(70 + 1999);
        assert_eq!((files(), spill.read_at(70, &mut buf).unwrap(), spill.read_at(70 + 1000, &mut buf).unwrap()), (5, 0, 700));
        drop(spill);
        assert_eq!(files(), 0);
    }
}
