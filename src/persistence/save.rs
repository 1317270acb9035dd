//! SAVE, and the file that a BGSAVE fills chunk by chunk.

use std::io;
use std::path::{Path, PathBuf};

use super::temporary::Temporary;
use crate::env::Env;
use crate::keyspace::{Chunk, Keyspace};
use crate::rdb::{Aux, Writer, WriterOptions};

/// Captured bytes handed from the keyspace to the writer at a time.
const STEP_BYTES: usize = 256 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct SaveOptions {
    pub writer: WriterOptions,
    /// `rdb-save-incremental-fsync`.
    pub incremental_fsync: bool,
}

impl Default for SaveOptions {
    fn default() -> Self {
        SaveOptions { writer: WriterOptions::default(), incremental_fsync: true }
    }
}

/// A finished snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    pub bytes: u64,
    pub keys: u64,
}

/// A snapshot that could not be written. The old file stands as it was, unless only the directory's sync failed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct SaveError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// A snapshot on its way to `dbfilename`.
pub struct SnapshotFile {
    writer: Writer<Temporary>,
    name: String,
    target: PathBuf,
}

impl SnapshotFile {
    /// Creates the temporary file and writes the header. Dropped before `finish`, it leaves nothing behind.
    pub fn create(env: &Env, dir: &Path, dbfilename: &str, aux: &Aux, options: SaveOptions) -> Result<Self, SaveError> {
        let target = dir.join(dbfilename);
        let failed = |source| SaveError { path: target.clone(), source };
        let file = Temporary::create(env, dir, options.incremental_fsync).map_err(failed)?;
        let mut writer = Writer::new(file, options.writer);
        writer.header(aux).map_err(failed)?;
        Ok(SnapshotFile { writer, name: dbfilename.to_owned(), target })
    }

    pub fn push(&mut self, chunk: &Chunk) -> Result<(), SaveError> {
        self.writer.chunk(chunk).map_err(|source| SaveError { path: self.target.clone(), source })
    }

    /// Bytes encoded so far.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Ends the snapshot and puts it, durably, in the place of the old file.
    pub fn finish(self) -> Result<Saved, SaveError> {
        let SnapshotFile { writer, name, target } = self;
        let keys = writer.keys();
        let settled = writer.finish().and_then(|(file, bytes)| file.settle(&name).map(|()| Saved { bytes, keys }));
        settled.map_err(|source| SaveError { path: target, source })
    }
}

/// SAVE: the whole keyspace as it is now, before this returns.
pub fn save(env: &Env, dir: &Path, dbfilename: &str, keyspace: &mut Keyspace, aux: &Aux, options: SaveOptions) -> Result<Saved, SaveError> {
    let mut file = SnapshotFile::create(env, dir, dbfilename, aux, options)?;
    let snapshot = keyspace.begin_snapshot();
    loop {
        let step = keyspace.snapshot_step(snapshot, STEP_BYTES, &mut || false);
        for chunk in &step.chunks {
            if let Err(error) = file.push(chunk) {
                keyspace.end_snapshot(snapshot);
                return Err(error);
            }
        }
        if step.done {
            return file.finish();
        }
    }
}
