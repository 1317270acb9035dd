//! Brings captured chunks into the order of a file: there a big collection's elements stand behind its key with nothing in between, while a
//! snapshot delivers other keys meanwhile. Those are encoded aside, in memory up to a bound and then in a file that the caller provides.

use std::io::{self, Write};

use super::{Writer, WriterOptions};
use crate::keyspace::{Chunk, CollectionId, DbIndex, Record, RecordValue};

/// Bytes that are kept aside in memory.
const MEMORY_BYTES: usize = 4 * 1024 * 1024;
const COPY_BYTES: usize = 64 * 1024;

/// Where what is kept aside goes when there is much of it; dropped when it has been read.
pub trait Overflow: Write + Send {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

/// Makes an `Overflow`.
pub type MakeOverflow = Box<dyn FnMut() -> io::Result<Box<dyn Overflow>> + Send>;

/// The bytes kept aside.
struct Aside {
    memory: Vec<u8>,
    file: Option<Box<dyn Overflow>>,
    file_bytes: u64,
    make: MakeOverflow,
}

impl Write for Aside {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.file.is_none() && self.memory.len() + buf.len() > MEMORY_BYTES {
            self.file = Some((self.make)()?);
        }
        match &mut self.file {
            None => {
                self.memory.extend_from_slice(buf);
                Ok(buf.len())
            }
            Some(file) => {
                let written = file.write(buf)?;
                self.file_bytes += written as u64;
                Ok(written)
            }
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Aside {
    /// Gives all bytes to `sink` and is empty again.
    fn drain(&mut self, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        sink(&self.memory)?;
        self.memory.clear();
        let Some(file) = self.file.take() else { return Ok(()) };
        let (mut offset, mut buf) = (0, vec![0; COPY_BYTES]);
        while offset < self.file_bytes {
            let want = buf.len().min((self.file_bytes - offset) as usize);
            match file.read_at(offset, &mut buf[..want])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    sink(&buf[..read])?;
                    offset += read as u64;
                }
            }
        }
        self.file_bytes = 0;
        Ok(())
    }
}

/// A big collection whose elements are still to come.
struct Waiting {
    db: DbIndex,
    id: CollectionId,
    key: Vec<u8>,
    /// The record of the key, without its name.
    record: Record<'static>,
}

/// A `Writer` that takes chunks as they are captured.
pub struct Assembly<W> {
    writer: Writer<W>,
    waiting: Vec<Waiting>,
    /// The collection whose elements are being written.
    open: Option<(DbIndex, CollectionId)>,
    /// Keys that came while one was open.
    aside: Writer<Aside>,
}

impl<W: Write> Assembly<W> {
    pub fn new(writer: Writer<W>, make: MakeOverflow) -> Self {
        let aside = Aside { memory: Vec::new(), file: None, file_bytes: 0, make };
        let options = WriterOptions { checksum: false, ..writer.options() };
        Assembly { writer, waiting: Vec::new(), open: None, aside: Writer::new(aside, options) }
    }

    pub fn push(&mut self, chunk: &Chunk) -> io::Result<()> {
        match chunk.elements_of {
            None => chunk.iter().try_for_each(|record| self.key(chunk.db, &record)),
            Some(id) => self.elements(id, chunk),
        }
    }

    fn key(&mut self, db: DbIndex, record: &Record<'_>) -> io::Result<()> {
        if let RecordValue::Elements { id, len, first_expiry } = record.value {
            let Record { kind, expire, lru, .. } = *record;
            let value = RecordValue::Elements { id, len, first_expiry };
            self.waiting.push(Waiting { db, id, key: record.key.to_vec(), record: Record { key: b"", kind, expire, lru, value } });
            return Ok(());
        }
        match self.open {
            None => self.writer.record(db, record),
            Some(_) => self.aside.record(db, record),
        }
    }

    fn elements(&mut self, id: CollectionId, chunk: &Chunk) -> io::Result<()> {
        if self.open.is_none() {
            let at = self.waiting.iter().position(|waiting| waiting.db == chunk.db && waiting.id == id);
            let waiting = self.waiting.swap_remove(at.expect("a collection's key comes before its elements"));
            self.writer.record(waiting.db, &Record { key: &waiting.key, ..waiting.record })?;
            self.open = Some((chunk.db, id));
        }
        assert!(self.open == Some((chunk.db, id)), "one collection's elements at a time");
        chunk.iter().try_for_each(|element| self.writer.element(&element))?;
        if chunk.is_last {
            self.open = None;
            self.splice()?;
        }
        Ok(())
    }

    /// Adds what was kept aside.
    fn splice(&mut self) -> io::Result<()> {
        if self.aside.keys() == 0 {
            return Ok(());
        }
        self.aside.flush()?;
        let writer = &mut self.writer;
        self.aside.get_mut().drain(|bytes| writer.encoded(bytes))?;
        writer.adopt(&mut self.aside);
        Ok(())
    }

    /// The end and the checksum, as `Writer::finish`.
    pub fn finish(self) -> io::Result<(W, u64)> {
        assert!(self.open.is_none() && self.waiting.is_empty(), "a collection without its elements");
        self.writer.finish()
    }

    pub fn writer(&self) -> &Writer<W> {
        &self.writer
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::keyspace::{Key, Keyspace, SetExpire, digest};
    use crate::rdb::{Head, LoadOptions, load};
    use crate::types::listpack::Elem;

    /// A file in memory.
    #[derive(Default)]
    struct File(Vec<u8>);

    impl Write for File {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Overflow for File {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            let rest = &self.0[offset as usize..];
            let len = rest.len().min(buf.len()).min(1000);
            buf[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        }
    }

    fn set(keyspace: &mut Keyspace, db: u32, key: &[u8], value: &[u8]) {
        let key = Key { bytes: key, hash: keyspace.hash(key) };
        keyspace.db_mut(DbIndex(db)).set_string(key, value, SetExpire::Clear);
    }

    /// Strings that are overwritten while two sets in two databases are captured in small steps: what is written is the state at the cut.
    #[test]
    fn keys_that_come_amid_a_collection_do_not_split_it() {
        let mut keyspace = Keyspace::new(3, 11);
        let long = vec![b'x'; 900];
        for n in 0..12_000 {
            set(&mut keyspace, n % 2, format!("key:{n}").as_bytes(), &long);
        }
        for db in 0..2 {
            let key = Key { bytes: b"set", hash: keyspace.hash(b"set") };
            keyspace
                .db_mut(DbIndex(db))
                .edit_set(key, true, |set| (0..3000).filter(|n| set.add(Elem::Bytes(format!("member:{n}").as_bytes()))).count());
        }
        let at_cut = digest::dataset(&keyspace);
        let (mut files, mut written) = (0, 0);
        for spills in [false, true] {
            let counted = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let counter = counted.clone();
            let make: MakeOverflow = Box::new(move || {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(Box::new(File::default()))
            });
            let mut assembly = Assembly::new(Writer::new(Vec::new(), WriterOptions { compress: false, ..WriterOptions::default() }), make);
            assembly.writer.header(&Head::default()).unwrap();
            let id = keyspace.begin_snapshot();
            let mut next = 0;
            loop {
                let step = keyspace.snapshot_step(id, 4000, &mut || false);
                step.chunks.iter().for_each(|chunk| assembly.push(chunk).unwrap());
                if step.done {
                    break;
                }
                // The first time few keys come in between, the second time more than memory holds.
                let is_amid = step.chunks.iter().any(|chunk| chunk.elements_of.is_some());
                for _ in 0..if spills && is_amid && next < 12_000 { 12_000 } else { 3 } {
                    next += 1;
                    let name = format!("key:{}", next % 12_000);
                    // What is written is what was there, so that the second round has the same cut.
                    set(&mut keyspace, next % 2, name.as_bytes(), &long);
                }
            }
            let (bytes, _) = assembly.finish().unwrap();
            let loaded = load(bytes.as_slice(), &LoadOptions::new(3, 11), &mut |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(digest::dataset(&loaded.keyspace), at_cut);
            files = counted.load(std::sync::atomic::Ordering::Relaxed);
            written = bytes.len();
        }
        assert!(files > 0 && written > 12_000 * 900);
    }
}
