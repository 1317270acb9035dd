//! SAVE, and the file that a BGSAVE fills chunk by chunk.

use std::io;
use std::path::{Path, PathBuf};

use super::temporary::Temporary;
use crate::env::Env;
use crate::keyspace::{Chunk, Keyspace};
use crate::rdb::{Assembly, Head, Writer, WriterOptions};

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
    assembly: Assembly<Temporary>,
    name: String,
    target: PathBuf,
}

impl SnapshotFile {
    /// Creates the temporary file and writes the header. Dropped before `finish`, it leaves nothing behind.
    pub fn create(env: &Env, dir: &Path, dbfilename: &str, head: &Head, options: SaveOptions) -> Result<Self, SaveError> {
        let target = dir.join(dbfilename);
        let failed = |source| SaveError { path: target.clone(), source };
        let file = Temporary::create(env, dir, options.incremental_fsync).map_err(failed)?;
        let mut writer = Writer::new(file, options.writer);
        writer.header(head).map_err(failed)?;
        Ok(SnapshotFile { assembly: Assembly::new(writer, Temporary::overflows(env, dir)), name: dbfilename.to_owned(), target })
    }

    pub fn push(&mut self, chunk: &Chunk) -> Result<(), SaveError> {
        self.assembly.push(chunk).map_err(|source| SaveError { path: self.target.clone(), source })
    }

    /// Ends the snapshot and puts it, durably, in the place of the old file.
    pub fn finish(self) -> Result<Saved, SaveError> {
        let SnapshotFile { assembly, name, target } = self;
        let keys = assembly.writer().keys();
        let settled = assembly.finish().and_then(|(mut file, bytes)| file.settle(&name).map(|()| Saved { bytes, keys }));
        settled.map_err(|source| SaveError { path: target, source })
    }
}

/// SAVE: the whole keyspace as it is now, before this returns.
pub fn save(env: &Env, dir: &Path, dbfilename: &str, keyspace: &mut Keyspace, head: &Head, options: SaveOptions) -> Result<Saved, SaveError> {
    let mut file = SnapshotFile::create(env, dir, dbfilename, head, options)?;
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

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::env::{Disk, DiskFile, RealDisk, SeededRandom};
    use crate::keyspace::{DbIndex, Key, SetExpire, digest};
    use crate::persistence::load_file;
    use crate::rdb::{Aux, LoadOptions, Loaded};

    const SEED: u64 = 3;

    fn keyspace(keys: u32) -> Keyspace {
        let mut keyspace = Keyspace::new(4, SEED);
        for n in 0..keys {
            let key = format!("key:{n}");
            let hash = keyspace.hash(key.as_bytes());
            keyspace.db_mut(DbIndex(n % 4)).set_string(Key { bytes: key.as_bytes(), hash }, &key.repeat(9).into_bytes(), SetExpire::Clear);
        }
        keyspace
    }

    fn env(disk: Arc<dyn Disk>) -> Env {
        Env { random: Arc::new(SeededRandom::from_seed(1)), disk, ..Env::real() }
    }

    fn load(dir: &Path) -> Option<Loaded> {
        load_file(&RealDisk, &dir.join("dump.rdb"), &LoadOptions::new(4, SEED), &mut |_| ControlFlow::Continue(())).unwrap()
    }

    fn files(dir: &Path) -> Vec<String> {
        let names = RealDisk.list(dir).unwrap();
        names.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_save_is_loaded_back_and_replaces_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).is_none());
        let env = env(Arc::new(RealDisk));
        for keys in [5000, 0, 300] {
            let mut keyspace = keyspace(keys);
            let saved = save(&env, dir.path(), "dump.rdb", &mut keyspace, &Aux::written_at(5, 6).into(), SaveOptions::default()).unwrap();
            let loaded = load(dir.path()).unwrap();
            assert_eq!((loaded.keys_loaded, loaded.bytes), (saved.keys, saved.bytes));
            assert_eq!(saved.keys, u64::from(keys));
            assert_eq!(digest::dataset(&loaded.keyspace), digest::dataset(&keyspace));
            assert_eq!(loaded.aux, Aux::written_at(5, 6));
            assert_eq!(files(dir.path()), ["dump.rdb"]);
        }
    }

    #[test]
    fn a_snapshot_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = SnapshotFile::create(&env(Arc::new(RealDisk)), dir.path(), "dump.rdb", &Head::default(), SaveOptions::default()).unwrap();
        assert_eq!(files(dir.path()).len(), 1);
        assert!(file.assembly.writer().bytes() > 0);
        drop(file);
        assert_eq!(files(dir.path()), [""; 0]);
    }

    /// The real disk, until its operations are used up; removing still works.
    struct Failing(Arc<AtomicU64>);
    struct FailingFile(Box<dyn DiskFile>, Arc<AtomicU64>);

    fn spend(left: &AtomicU64) -> io::Result<()> {
        let spent = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        spent.map(|_| ()).map_err(|_| io::Error::other("the disk is broken"))
    }

    impl io::Read for FailingFile {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }

    impl io::Write for FailingFile {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            spend(&self.1)?;
            // Short writes are legal.
            self.0.write(&buf[..buf.len().min(50_000)])
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    impl DiskFile for FailingFile {
        fn sync(&mut self) -> io::Result<()> {
            spend(&self.1)?;
            self.0.sync()
        }
        fn size(&self) -> io::Result<u64> {
            self.0.size()
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            self.0.read_at(buf, offset)
        }
        fn try_lock(&self) -> io::Result<bool> {
            self.0.try_lock()
        }
    }

    impl Disk for Failing {
        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            spend(&self.0)?;
            Ok(Box::new(FailingFile(RealDisk.create(path)?, self.0.clone())))
        }
        fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            RealDisk.open(path)
        }
        fn exists(&self, path: &Path) -> bool {
            RealDisk.exists(path)
        }
        fn is_dir(&self, path: &Path) -> bool {
            RealDisk.is_dir(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            spend(&self.0)?;
            RealDisk.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            RealDisk.remove(path)
        }
        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            spend(&self.0)?;
            RealDisk.sync_dir(dir)
        }
        fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
            RealDisk.create_dir_all(dir)
        }
        fn current_dir(&self) -> io::Result<PathBuf> {
            RealDisk.current_dir()
        }
        fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
            RealDisk.list(dir)
        }
    }

    #[test]
    fn a_disk_that_fails_at_any_step_leaves_a_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let (mut old, mut new) = (keyspace(10), keyspace(4000));
        let real = env(Arc::new(RealDisk));
        let mut failures = 0;
        for operations in 0.. {
            save(&real, dir.path(), "dump.rdb", &mut old, &Head::default(), SaveOptions::default()).unwrap();
            let failing = env(Arc::new(Failing(Arc::new(AtomicU64::new(operations)))));
            let saved = save(&failing, dir.path(), "dump.rdb", &mut new, &Head::default(), SaveOptions::default());
            assert_eq!(files(dir.path()), ["dump.rdb"]);
            let keys = load(dir.path()).unwrap().keys_loaded;
            match saved {
                Ok(saved) => {
                    assert_eq!((saved.keys, keys), (4000, 4000));
                    break;
                }
                Err(error) => assert!(error.to_string().ends_with("dump.rdb: the disk is broken")),
            }
            // Only the sync of the directory comes after the rename.
            assert!(keys == 10 || keys == 4000);
            failures += 1;
        }
        assert!(failures >= 6, "create, writes, sync, rename and sync of the directory: {failures}");
    }
}
