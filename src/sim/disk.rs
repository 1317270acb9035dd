//! A host's files, in memory, with the promises of a real disk and no more: content is durable once the file is synced, names
//! (created, renamed, removed) once their directory is synced. A crash leaves exactly what was durable.
//! Directories themselves are durable at once: the server never makes one that it then depends on.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use crate::env::{Disk, DiskFile};

/// What of a file's content survives a crash.
enum Durable {
    /// The first bytes of `data`: it was only appended to since the last sync.
    Prefix(usize),
    /// What the last sync saw: the file was truncated since.
    Old(Vec<u8>),
}

struct Inode {
    data: Vec<u8>,
    durable: Durable,
    /// Whose lock it is.
    locked: Weak<()>,
}

impl Inode {
    fn new() -> Self {
        Inode { data: Vec::new(), durable: Durable::Prefix(0), locked: Weak::new() }
    }

    fn truncate(&mut self) {
        let data = std::mem::take(&mut self.data);
        if let Durable::Prefix(len) = self.durable {
            let mut old = data;
            old.truncate(len);
            self.durable = Durable::Old(old);
        }
    }

    fn crash(&mut self) {
        self.locked = Weak::new();
        match std::mem::replace(&mut self.durable, Durable::Prefix(0)) {
            Durable::Prefix(len) => self.data.truncate(len),
            Durable::Old(old) => self.data = old,
        }
        self.durable = Durable::Prefix(self.data.len());
    }
}

type File = Arc<Mutex<Inode>>;

#[derive(Clone)]
enum Entry {
    Dir,
    File(File),
}

struct State {
    live: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    capacity: Option<u64>,
    failing_syncs: u32,
    /// Changes that still succeed, if the disk is dying.
    changes_left: Option<u64>,
    /// Counts crashes: a file opened before one is dead.
    boot: u64,
}

/// One host's disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl Default for SimDisk {
    fn default() -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), Entry::Dir)]);
        SimDisk(Arc::new(Mutex::new(State { live: root.clone(), durable: root, capacity: None, failing_syncs: 0, changes_left: None, boot: 0 })))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The path from the root, without `.` and `..`.
fn absolute(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

fn error(kind: io::ErrorKind, path: &Path) -> io::Error {
    io::Error::new(kind, format!("{}: {kind}", path.display()))
}

impl State {
    fn need_dir(&self, path: &Path) -> io::Result<()> {
        match self.live.get(path) {
            Some(Entry::Dir) => Ok(()),
            Some(Entry::File(_)) => Err(error(io::ErrorKind::NotADirectory, path)),
            None => Err(error(io::ErrorKind::NotFound, path)),
        }
    }

    fn need_file(&self, path: &Path) -> io::Result<File> {
        match self.live.get(path) {
            Some(Entry::File(file)) => Ok(file.clone()),
            Some(Entry::Dir) => Err(error(io::ErrorKind::IsADirectory, path)),
            None => Err(error(io::ErrorKind::NotFound, path)),
        }
    }

    fn children<'a>(entries: &'a BTreeMap<PathBuf, Entry>, dir: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Entry)> {
        entries.iter().filter(move |(path, _)| path.as_path() != dir && path.parent() == Some(dir))
    }

    /// Called before each change of a file or directory.
    fn change(&mut self) -> io::Result<()> {
        match &mut self.changes_left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the simulated disk has died")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn used(&self) -> u64 {
        let sizes = self.live.values().map(|entry| match entry {
            Entry::File(file) => lock(file).data.len() as u64,
            Entry::Dir => 0,
        });
        sizes.sum()
    }
}

impl SimDisk {
    /// Bytes that all files together may have; beyond it writes fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.0).capacity = bytes;
    }

    /// The next `n` file or directory syncs fail.
    pub fn fail_syncs(&self, n: u32) {
        lock(&self.0).failing_syncs = n;
    }

    /// After `n` more changes (creations, writes, syncs, renames, removals) all fail, until the host crashes: a crash at any one of them.
    pub fn die_after(&self, n: u64) {
        lock(&self.0).changes_left = Some(n);
    }

    /// A disk that has died, or was about to, works again.
    pub fn revive(&self) {
        lock(&self.0).changes_left = None;
    }

    /// A file's content now, for tests.
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        let file = lock(&self.0).need_file(&absolute(Path::new(path))).ok()?;
        let data = lock(&file).data.clone();
        Some(data)
    }

    /// Puts a durable file there, for tests.
    pub fn put(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let path = absolute(Path::new(path));
        self.create_dir_all(&parent(&path))?;
        let mut file = self.create(&path)?;
        file.write_all(content)?;
        file.sync()?;
        self.sync_dir(&parent(&path))
    }

    /// Drops all that is not durable.
    pub(super) fn crash(&self) {
        let mut state = lock(&self.0);
        state.boot += 1;
        state.changes_left = None;
        state.live = state.durable.clone();
        for entry in state.live.values() {
            if let Entry::File(file) = entry {
                lock(file).crash();
            }
        }
    }

    fn handle(&self, state: &State, file: File, writable: bool) -> Box<dyn DiskFile> {
        Box::new(SimFile { disk: self.clone(), boot: state.boot, file, position: 0, writable, lock: Arc::new(()) })
    }

    fn try_sync(state: &mut State) -> io::Result<()> {
        state.change()?;
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            return Err(io::Error::other("the simulated disk failed to sync"));
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let path = absolute(path);
        let mut state = lock(&self.0);
        state.need_dir(&parent(&path))?;
        state.change()?;
        let file = match state.need_file(&path) {
            Ok(file) => {
                lock(&file).truncate();
                file
            }
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                let file = Arc::new(Mutex::new(Inode::new()));
                state.live.insert(path, Entry::File(file.clone()));
                file
            }
            Err(is_dir) => return Err(is_dir),
        };
        Ok(self.handle(&state, file, true))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = lock(&self.0);
        let file = state.need_file(&absolute(path))?;
        Ok(self.handle(&state, file, false))
    }

    fn exists(&self, path: &Path) -> bool {
        lock(&self.0).live.contains_key(&absolute(path))
    }

    fn is_dir(&self, path: &Path) -> bool {
        lock(&self.0).need_dir(&absolute(path)).is_ok()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (absolute(from), absolute(to));
        let mut state = lock(&self.0);
        let file = state.need_file(&from)?;
        state.need_dir(&parent(&to))?;
        if let Some(Entry::Dir) = state.live.get(&to) {
            return Err(error(io::ErrorKind::IsADirectory, &to));
        }
        state.change()?;
        state.live.remove(&from);
        state.live.insert(to, Entry::File(file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        let mut state = lock(&self.0);
        state.need_file(&path)?;
        state.change()?;
        state.live.remove(&path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = absolute(dir);
        let mut state = lock(&self.0);
        state.need_dir(&dir)?;
        Self::try_sync(&mut state)?;
        let live: Vec<_> = State::children(&state.live, &dir).map(|(path, entry)| (path.clone(), entry.clone())).collect();
        state.durable.retain(|path, _| path == &dir || path.parent() != Some(&dir));
        state.durable.extend(live);
        Ok(())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let dir = absolute(dir);
        let mut state = lock(&self.0);
        let mut missing = Vec::new();
        for ancestor in dir.ancestors() {
            match state.live.get(ancestor) {
                Some(Entry::Dir) => break,
                Some(Entry::File(_)) => return Err(error(io::ErrorKind::NotADirectory, ancestor)),
                None => missing.push(ancestor.to_owned()),
            }
        }
        for path in missing {
            state.live.insert(path.clone(), Entry::Dir);
            state.durable.insert(path, Entry::Dir);
        }
        Ok(())
    }

    fn current_dir(&self) -> io::Result<PathBuf> {
        Ok(PathBuf::from("/"))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let from_root = absolute(dir);
        let state = lock(&self.0);
        state.need_dir(&from_root)?;
        Ok(State::children(&state.live, &from_root).filter_map(|(path, _)| Some(dir.join(path.file_name()?))).collect())
    }
}

struct SimFile {
    disk: SimDisk,
    boot: u64,
    file: File,
    position: usize,
    writable: bool,
    /// What a locked inode points at, as long as this handle is open.
    lock: Arc<()>,
}

impl SimFile {
    /// The disk, if the host has not crashed since the file was opened.
    fn disk(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = lock(&self.disk.0);
        if state.boot != self.boot {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the host crashed while the file was open"));
        }
        Ok(state)
    }
}

impl Read for SimFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.read_at(buf, self.position as u64)?;
        self.position += n;
        Ok(n)
    }
}

impl Write for SimFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if !self.writable {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is open for reading"));
        }
        let room = {
            let mut state = self.disk()?;
            state.change()?;
            state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used()))
        };
        if room == 0 && !buf.is_empty() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"));
        }
        let n = buf.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        lock(&self.file).data.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn sync(&mut self) -> io::Result<()> {
        SimDisk::try_sync(&mut *self.disk()?)?;
        let mut inode = lock(&self.file);
        inode.durable = Durable::Prefix(inode.data.len());
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.file).data.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        drop(self.disk()?);
        let inode = lock(&self.file);
        let rest = usize::try_from(offset).ok().and_then(|offset| inode.data.get(offset..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn try_lock(&self) -> io::Result<bool> {
        drop(self.disk()?);
        let mut inode = lock(&self.file);
        let is_free = inode.locked.upgrade().is_none_or(|owner| Arc::ptr_eq(&owner, &self.lock));
        if is_free {
            inode.locked = Arc::downgrade(&self.lock);
        }
        Ok(is_free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &SimDisk, path: &str, content: &[u8], sync: bool) {
        let mut file = disk.create(Path::new(path)).unwrap();
        file.write_all(content).unwrap();
        if sync {
            file.sync().unwrap();
        }
    }

    #[test]
    fn a_new_file_needs_both_syncs() {
        for (file_synced, dir_synced, expected) in
            [(false, false, None), (true, false, None), (false, true, Some(vec![])), (true, true, Some(b"x".to_vec()))]
        {
            let disk = SimDisk::default();
            disk.create_dir_all(Path::new("/data")).unwrap();
            write(&disk, "/data/f", b"x", file_synced);
            if dir_synced {
                disk.sync_dir(Path::new("/data")).unwrap();
            }
            assert_eq!(disk.content("/data/f"), Some(b"x".to_vec()));
            disk.crash();
            assert_eq!(disk.content("/data/f"), expected);
        }
    }

    #[test]
    fn a_rename_is_undone_by_a_crash_unless_the_directory_was_synced() {
        for dir_synced in [false, true] {
            let disk = SimDisk::default();
            disk.put("/dump.rdb", b"old").unwrap();
            write(&disk, "temp.rdb", b"new", true);
            disk.rename(Path::new("temp.rdb"), Path::new("./dump.rdb")).unwrap();
            assert_eq!(disk.content("/dump.rdb").unwrap(), b"new");
            if dir_synced {
                disk.sync_dir(Path::new(".")).unwrap();
            }
            disk.crash();
            assert_eq!(disk.content("/dump.rdb").unwrap(), if dir_synced { b"new" } else { b"old" });
            assert!(!disk.exists(Path::new("/temp.rdb")));
        }
    }

    #[test]
    fn truncation_and_appends_since_the_sync_are_lost() {
        let disk = SimDisk::default();
        disk.put("/f", b"synced").unwrap();
        write(&disk, "/f", b"other", false);
        assert_eq!(disk.content("/f").unwrap(), b"other");
        disk.crash();
        assert_eq!(disk.content("/f").unwrap(), b"synced");

        let mut file = disk.create(Path::new("/f")).unwrap();
        file.write_all(b"one").unwrap();
        file.sync().unwrap();
        file.write_all(b"two").unwrap();
        disk.crash();
        assert_eq!(disk.content("/f").unwrap(), b"one");
        assert!(file.write_all(b"three").is_err(), "a handle from before the crash is dead");
    }

    #[test]
    fn a_lock_ends_with_its_handle_and_with_the_host() {
        let disk = SimDisk::default();
        disk.put("/f", b"").unwrap();
        let open = || disk.open(Path::new("/f")).unwrap();
        let (first, second) = (open(), open());
        assert!(first.try_lock().unwrap() && first.try_lock().unwrap() && !second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
        disk.crash();
        assert!(second.try_lock().is_err() && open().try_lock().unwrap());
    }

    #[test]
    fn reads_lists_and_errors() {
        let disk = SimDisk::default();
        disk.put("/d/b", b"0123456789").unwrap();
        disk.put("/d/a", b"").unwrap();
        disk.put("/d/sub/c", b"").unwrap();
        assert_eq!(disk.list(Path::new("d")).unwrap(), [PathBuf::from("d/a"), PathBuf::from("d/b"), PathBuf::from("d/sub")]);
        let mut file = disk.open(Path::new("/d/../d/./b")).unwrap();
        let mut buf = [0; 4];
        assert_eq!((file.read(&mut buf).unwrap(), &buf), (4, b"0123"));
        assert_eq!((file.read_at(&mut buf, 8).unwrap(), &buf[..2]), (2, &b"89"[..]));
        assert_eq!((file.read(&mut buf).unwrap(), &buf), (4, b"4567"));
        assert_eq!(file.read_at(&mut buf, u64::MAX).unwrap(), 0);
        assert_eq!(file.write(b"x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(disk.open(Path::new("/none")).err().unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.create(Path::new("/none/f")).err().unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.create(Path::new("/d")).err().unwrap().kind(), io::ErrorKind::IsADirectory);
        assert!(disk.is_dir(Path::new("/d")) && !disk.is_dir(Path::new("/d/a")));
        disk.remove(Path::new("/d/a")).unwrap();
        assert!(!disk.exists(Path::new("/d/a")));
    }

    #[test]
    fn a_full_disk_and_a_failing_sync_say_so() {
        let disk = SimDisk::default();
        disk.set_capacity(Some(5));
        let mut file = disk.create(Path::new("/f")).unwrap();
        assert_eq!(file.write(b"1234567").unwrap(), 5);
        assert_eq!(file.write(b"8").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.fail_syncs(1);
        assert!(file.sync().is_err());
        file.sync().unwrap();
    }

    #[test]
    fn a_dying_disk_keeps_what_came_before() {
        let disk = SimDisk::default();
        disk.put("/f", b"old").unwrap();
        disk.die_after(3);
        write(&disk, "/temp", b"new", true);
        assert!(disk.rename(Path::new("/temp"), Path::new("/f")).is_err());
        assert!(disk.remove(Path::new("/f")).is_err() && disk.sync_dir(Path::new("/")).is_err());
        disk.crash();
        assert_eq!(disk.content("/f").unwrap(), b"old");
        disk.remove(Path::new("/f")).unwrap();
    }
}
