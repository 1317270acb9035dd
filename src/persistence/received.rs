//! A snapshot that a slave receives into a file: first a temporary one, which takes the dump file's name when all of it has come.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use super::temporary::Temporary;
use crate::env::Env;
use crate::rdb::{self, LoadError, LoadOptions, Loaded, Progress, Summary};

const COPY_BYTES: usize = 128 * 1024;

/// Until it has its final name, the file goes with its owner.
pub struct ReceivedFile {
    file: Temporary,
}

impl ReceivedFile {
    /// Writes all of `input` to a temporary file in `dir`.
    pub fn receive(env: &Env, dir: &Path, mut input: impl Read) -> io::Result<Self> {
        let mut file = Temporary::create(env, dir, true)?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match input.read(&mut buffer)? {
                0 => return Ok(ReceivedFile { file }),
                n => file.write_all(&buffer[..n])?,
            }
        }
    }

    /// Reads it to its end and checks everything, without loading it.
    pub fn verify(&self, options: &LoadOptions, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Summary, LoadError> {
        rdb::verify(FromStart { file: &self.file, offset: 0 }, options, progress)
    }

    pub fn load(&self, options: &LoadOptions, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Loaded, LoadError> {
        rdb::load(FromStart { file: &self.file, offset: 0 }, options, progress)
    }

    /// Puts it, durably, in the place of the dump file; it can still be read.
    pub fn settle(&mut self, dbfilename: &str) -> io::Result<()> {
        self.file.settle(dbfilename)
    }
}

struct FromStart<'a> {
    file: &'a Temporary,
    offset: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(self.offset, buf)?;
        self.offset += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Disk, RealDisk};
    use crate::rdb::LoadCause;

    fn go(_: Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn a_received_file_is_verified_loaded_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let rdb = include_bytes!("../../fuzz/corpus/rdb/redis-7.0");
        let options = LoadOptions::new(16, 3);
        let mut received = ReceivedFile::receive(&Env::real(), dir.path(), rdb.as_slice()).unwrap();
        assert_eq!(received.verify(&options, &mut go).unwrap().keys, 12);
        assert!(!dir.path().join("dump.rdb").exists());
        received.settle("dump.rdb").unwrap();
        assert_eq!(received.load(&options, &mut go).unwrap().keys_loaded, 12);
        drop(received);
        assert_eq!(std::fs::read(dir.path().join("dump.rdb")).unwrap(), rdb);
    }

    #[test]
    fn one_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let received = ReceivedFile::receive(&Env::real(), dir.path(), b"REDIS0099".as_slice()).unwrap();
        let error = received.verify(&LoadOptions::new(16, 3), &mut go).unwrap_err();
        assert!(matches!(error.cause, LoadCause::Version { found: 99, .. }));
        drop(received);
        assert_eq!(RealDisk.list(dir.path()).unwrap().len(), 0);
    }
}
