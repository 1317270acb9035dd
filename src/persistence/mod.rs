//! Snapshots as files: SAVE and BGSAVE write a temporary file that takes the place of the old one once it is whole and on disk; a spool holds
//! a snapshot for slaves while it grows; a file is loaded at start. Uses `rdb` for the bytes and `env` for the disk; runs on whatever thread
//! calls it.
//!
//! Invariant: a file under its final name is always a whole snapshot; a temporary one goes when its owner does.

mod points;
mod received;
mod save;
mod spill;
mod spool;
mod temporary;

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

pub use points::{Attempt, save_due};
pub use received::ReceivedFile;
pub use save::{SaveError, SaveOptions, Saved, SnapshotFile, save};
pub use spill::SpillFiles;
pub use spool::Spool;
pub use temporary::remove_leftovers;

use crate::env::Disk;
use crate::rdb::{self, LoadCause, LoadError, LoadOptions, Loaded, Progress};

/// Loads a snapshot file; `None` if there is none. What follows the snapshot in the file is ignored, as in Redis.
pub fn load_file(
    disk: &dyn Disk,
    path: &Path,
    options: &LoadOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Option<Loaded>, LoadError> {
    match disk.open(path) {
        Ok(file) => rdb::load(file, options, progress).map(Some),
        Err(error) => missing(error),
    }
}

fn missing<T>(error: io::Error) -> Result<Option<T>, LoadError> {
    if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(LoadError { offset: 0, cause: LoadCause::Io(error) }) }
}
