//! A file that is removed when its owner goes, unless it has been given its final name.
//!
//! A process that is killed leaves its files behind (as Redis leaves its own, for ever). So each is locked while its owner lives: who starts in the same directory
//! removes those that nobody has locked.
//!
//! Invariant: a temporary file that is in use is locked, where the file system has locks; where it has none, nobody removes another's file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{Disk, DiskFile, Env};
use crate::rdb::{MakeOverflow, Overflow};

/// Bytes between two syncs of a file being written, so that the last sync has little left to do.
const SYNC_BYTES: u64 = 4 * 1024 * 1024;
/// More than a pid has, which Redis uses in such names.
const NAME_DIGITS: usize = 16;

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
        let (path, file) = loop {
            let path = dir.join(format!("temp-{}.rdb", env.random.hex(NAME_DIGITS)));
            let file = env.disk.create(&path)?;
            // Who starts just now may have found it before it was locked, and then removes it.
            if file.try_lock().unwrap_or(true) && env.disk.exists(&path) {
                break (path, file);
            }
        };
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

/// Removes what processes that have ended left in `dir`, and returns how many files that were. Those of live ones, of this process or another, stay, and so do
/// Redis's (`temp-<pid>.rdb`).
pub fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> usize {
    let Ok(paths) = disk.list(dir) else { return 0 };
    let named = paths.into_iter().filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours));
    named.filter(|path| remove_if_free(disk, path)).count()
}

/// Removes the file if nobody has it. It stays locked until it is gone.
fn remove_if_free(disk: &dyn Disk, path: &Path) -> bool {
    disk.open(path).is_ok_and(|file| file.try_lock().unwrap_or(false) && disk.remove(path).is_ok())
}

fn is_ours(name: &str) -> bool {
    let digits = name.strip_prefix("temp-").and_then(|rest| rest.strip_suffix(".rdb"));
    digits.is_some_and(|digits| digits.len() == NAME_DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::RealDisk;

    #[test]
    fn what_the_dead_left_goes_and_what_lives_stays() {
        let dir = tempfile::tempdir().unwrap();
        let live = Temporary::create(&Env::real(), dir.path(), false).unwrap();
        let dead = dir.path().join("temp-0123456789abcdef.rdb");
        let others = ["temp-1234567.rdb", "temp-0123456789abcdeF.rdb", "temp-0123456789abcdef0.rdb", "dump.rdb", "temp-rewriteaof-12.aof"];
        std::fs::write(&dead, b"REDIS").unwrap();
        others.iter().for_each(|name| std::fs::write(dir.path().join(name), b"").unwrap());
        assert_eq!(remove_leftovers(&RealDisk, dir.path()), 1);
        assert!(!dead.exists() && live.path.exists());
        assert!(others.iter().all(|name| dir.path().join(name).exists()));
        // As if its process had been killed.
        let left = live.path.clone();
        drop(live);
        std::fs::write(&left, b"").unwrap();
        assert_eq!((remove_leftovers(&RealDisk, dir.path()), remove_leftovers(&RealDisk, &dir.path().join("none"))), (1, 0));
    }
}
