//! A snapshot for slaves: a file that is read while it grows, and that goes when nobody needs it any more.

use std::io;
use std::path::Path;

use super::temporary::Temporary;
use crate::env::Env;
use crate::keyspace::Chunk;
use crate::rdb::{Assembly, Head, Writer, WriterOptions};

/// The file is removed on drop.
pub struct Spool {
    state: State,
    /// Bytes in the file.
    len: u64,
    keys: u64,
}

enum State {
    Writing(Box<Assembly<Temporary>>),
    Written(Temporary),
    /// A write has failed and the file is gone: what was in it is no snapshot.
    Failed,
}

impl Spool {
    /// Creates the file in `dir` and encodes the header.
    pub fn create(env: &Env, dir: &Path, head: &Head, options: WriterOptions) -> io::Result<Self> {
        let mut writer = Writer::new(Temporary::create(env, dir, false)?, options);
        writer.header(head)?;
        writer.flush()?;
        Ok(Spool { len: writer.bytes_out(), keys: 0, state: State::Writing(Box::new(Assembly::new(writer, Temporary::overflows(env, dir)))) })
    }

    /// Encodes a chunk; its last bytes may become readable only with the next one. After an error the spool is of no use.
    pub fn push(&mut self, chunk: &Chunk) -> io::Result<()> {
        let State::Writing(assembly) = &mut self.state else { return Err(closed()) };
        if let Err(error) = assembly.push(chunk) {
            self.state = State::Failed;
            return Err(error);
        }
        let writer = assembly.writer();
        self.len = writer.bytes_out();
        self.keys = writer.keys();
        Ok(())
    }

    /// Ends the snapshot. All its bytes are readable from now on; nothing is synced, since the file never outlives its owner.
    pub fn finish(&mut self) -> io::Result<u64> {
        let State::Writing(assembly) = std::mem::replace(&mut self.state, State::Failed) else { return Err(closed()) };
        let (file, bytes) = assembly.finish()?;
        self.state = State::Written(file);
        self.len = bytes;
        Ok(bytes)
    }

    #[cfg(test)]
    fn is_finished(&self) -> bool {
        matches!(self.state, State::Written(_))
    }

    /// Bytes that `read_at` can give now: the snapshot's length once it is finished.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` with what there is from `offset` on; 0 when there is nothing yet, or at the end.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let file = match &self.state {
            State::Writing(assembly) => assembly.writer().get_ref(),
            State::Written(file) => file,
            State::Failed => return Err(closed()),
        };
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        if there == 0 { Ok(0) } else { file.read_at(offset, &mut buf[..there]) }
    }
}

fn closed() -> io::Error {
    io::Error::other("the snapshot takes no more data")
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::env::{Disk, RealDisk};
    use crate::keyspace::{DbIndex, Key, Keyspace, SetExpire};
    use crate::rdb::{self, LoadOptions};

    #[test]
    fn a_spool_is_read_while_it_grows_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut keyspace = Keyspace::new(1, 5);
        for n in 0..20_000 {
            let key = format!("key:{n}");
            let hash = keyspace.hash(key.as_bytes());
            keyspace.db_mut(DbIndex(0)).set_string(Key { bytes: key.as_bytes(), hash }, key.as_bytes(), SetExpire::Clear);
        }
        let mut spool = Spool::create(&Env::real(), dir.path(), &Head::default(), WriterOptions::default()).unwrap();
        assert!(spool.len() > 9, "the header can be sent at once");
        let snapshot = keyspace.begin_snapshot();
        let (mut sent, mut buf, mut pieces) = (Vec::new(), vec![0; 30_000], 0);
        let mut done = false;
        while !done || (sent.len() as u64) < spool.len() {
            if !done {
                let step = keyspace.snapshot_step(snapshot, 100_000, &mut || false);
                step.chunks.iter().for_each(|chunk| spool.push(chunk).unwrap());
                done = step.done;
                if done {
                    assert_eq!(spool.finish().unwrap(), spool.len());
                }
            }
            let read = spool.read_at(sent.len() as u64, &mut buf).unwrap();
            assert!(sent.len() as u64 + read as u64 <= spool.len());
            sent.extend_from_slice(&buf[..read]);
            pieces += usize::from(!spool.is_finished() && read > 0);
        }
        assert!(pieces > 1, "nothing could be read before the end");
        assert_eq!(spool.read_at(spool.len(), &mut buf).unwrap(), 0);
        assert_eq!(spool.read_at(u64::MAX, &mut buf).unwrap(), 0);
        assert_eq!(spool.keys, 20_000);
        let loaded = rdb::load(sent.as_slice(), &LoadOptions::new(1, 5), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((loaded.keys_loaded, loaded.bytes), (20_000, spool.len()));
        assert!(spool.finish().is_err(), "a second end");
        drop(spool);
        assert_eq!(RealDisk.list(dir.path()).unwrap().len(), 0);
    }
}
