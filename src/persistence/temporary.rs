//! A file that is removed when its owner goes, unless it has been given its final name.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{Disk, DiskFile, Env};
use crate::rdb::{MakeOverflow, Overflow};

/// Bytes between two syncs of a file being written, so that the last sync has little left to do.
const SYNC_BYTES: u64 = 4 * 1024 * 1024;

pub(super) struct Temporary {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// `rdb-save-incremental-fsync`.
    sync_often: bool,
    unsynced: u64,
    /// It has its final name, or is gone.
    settled: bool,
}

impl Temporary {
    /// `temp-<random>.rdb` in `dir`.
    pub fn create(env: &Env, dir: &Path, sync_often: bool) -> io::Result<Self> {
        let path = dir.join(format!("temp-{}.rdb", env.random.hex(16)));
        let file = env.disk.create(&path)?;
        Ok(Temporary { disk: env.disk.clone(), dir: dir.to_owned(), path, file, sync_often, unsynced: 0, settled: false })
    }

    /// What a file being written keeps aside goes to a temporary one in the same directory.
    pub fn overflows(env: &Env, dir: &Path) -> MakeOverflow {
        let (env, dir) = (env.clone(), dir.to_owned());
        Box::new(move || Ok(Box::new(Temporary::create(&env, &dir, false)?)))
    }

    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    /// Brings the file to the disk and gives it the name `name`, whatever had that name before.
    pub fn settle(&mut self, name: &str) -> io::Result<()> {
        self.file.sync()?;
        self.disk.rename(&self.path, &self.dir.join(name))?;
        self.settled = true;
        self.disk.sync_dir(&self.dir)
    }
}

impl Write for Temporary {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buf)?;
        self.unsynced += written as u64;
        if self.sync_often && self.unsynced >= SYNC_BYTES {
            self.file.sync()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Overflow for Temporary {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Temporary::read_at(self, offset, buf)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.settled {
            // A file that can't be removed is left behind: nothing reads it again.
            let _ = self.disk.remove(&self.path);
        }
    }
}
