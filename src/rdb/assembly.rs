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
        if let RecordValue::Elements { id, len } = record.value {
            let Record { kind, expire, lru, .. } = *record;
            let value = RecordValue::Elements { id, len };
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
