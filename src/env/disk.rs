//! Files. The trait holds what the server needs and a simulated disk can model: writes that are lost unless
//! synced, and renames that are atomic once the directory is synced.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An open file: appended to by `Write`, read in order by `Read`, or at a place by `read_at`.
pub trait DiskFile: Read + Write + Send {
    /// Data and length reach the disk before this returns.
    fn sync(&mut self) -> io::Result<()>;
    /// Bytes in the file now.
    fn size(&self) -> io::Result<u64>;
    /// Fills as much of `buf` as the file has at `offset`; 0 at its end. Does not move `Read`'s position.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Takes the file's lock, which ends with the file or its process; false: another one has it. It keeps nobody from reading or removing the file.
    fn try_lock(&self) -> io::Result<bool>;
}

/// A node's view of the file system.
pub trait Disk: Send + Sync {
    /// Creates or truncates, for writing and reading.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    fn exists(&self, path: &Path) -> bool;
    fn is_dir(&self, path: &Path) -> bool;
    /// Atomic within a directory; durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// The folder that relative paths start from.
    fn current_dir(&self) -> io::Result<PathBuf>;
    /// Files matching a shell pattern, sorted, for `include`.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
}

/// The machine's file system.
pub struct RealDisk;

struct RealFile(fs::File);

impl Read for RealFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for RealFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl DiskFile for RealFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(fs::File::open(path)?)))
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn current_dir(&self) -> io::Result<PathBuf> {
        std::env::current_dir()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }
}
