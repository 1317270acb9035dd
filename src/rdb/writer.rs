//! The encoder: header, AUX fields, captured keys, end and checksum, into anything that takes bytes.
//!
//! Bytes gather in one buffer and are hashed when it goes out; a long string goes around it. Keys of different databases may interleave:
//! SELECTDB is written whenever the database changes. Nothing is allocated for a record.

use std::io::{self, Write};

use super::checksum::{self, Checksum};
use super::lzf::Compressor;
use super::stream_writer::stream_type;
use super::{Access, Head, LRU_BITS, VERSION_WRITTEN, VERSIONS, encoding, holds_field_expiry, holds_functions, opcode, types};
use crate::keyspace::{CollectionId, DbIndex, Entry, FieldPack, Form, Kind, ListBlocks, Record, RecordValue, UnixMs, ValueRef, ZSetRef};
use crate::types::intset::IntSet;
use crate::types::listpack::{ElemBuf, Pack};
use crate::types::number;

const BUFFER_BYTES: usize = 64 * 1024;
/// Redis compresses only strings longer than this.
const COMPRESS_ABOVE: usize = 20;
/// The longest text of a number that is tried as an integer: `-2147483648`.
const INT_TEXT_MAX: usize = 11;

#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// In the header; `VERSION_WRITTEN` to the newest of `VERSIONS`. Every version so far writes strings in the same way.
    pub version: u32,
    /// `rdbcompression`.
    pub compress: bool,
    /// `rdbchecksum`: without it, 0 stands in the checksum's place.
    pub checksum: bool,
    pub access: Access,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions { version: VERSION_WRITTEN, compress: true, checksum: true, access: Access::Ignored }
    }
}

/// The buffer before the sink, with the checksum of what has passed.
struct Output<W> {
    inner: W,
    buffer: Vec<u8>,
    /// Bytes that have left the buffer.
    written: u64,
    hashing: bool,
    checksum: Checksum,
}

impl<W: Write> Output<W> {
    fn length(&mut self, len: u64) {
        match len {
            0..0x40 => self.buffer.push(len as u8),
            0x40..0x4000 => self.buffer.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
            0x4000..=0xFFFF_FFFF => {
                self.buffer.push(0x80);
                self.buffer.extend_from_slice(&(len as u32).to_be_bytes());
            }
            _ => {
                self.buffer.push(0x81);
                self.buffer.extend_from_slice(&len.to_be_bytes());
            }
        }
    }

    fn small_integer(&mut self, number: i32) {
        if let Ok(number) = i8::try_from(number) {
            self.buffer.extend_from_slice(&[encoding::INT8, number as u8]);
        } else if let Ok(number) = i16::try_from(number) {
            self.buffer.push(encoding::INT16);
            self.buffer.extend_from_slice(&number.to_le_bytes());
        } else {
            self.buffer.push(encoding::INT32);
            self.buffer.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn integer(&mut self, number: i64) {
        match i32::try_from(number) {
            Ok(number) => self.small_integer(number),
            Err(_) => {
                let mut text = itoa::Buffer::new();
                let text = text.format(number).as_bytes();
                self.length(text.len() as u64);
                self.buffer.extend_from_slice(text);
            }
        }
    }

    /// Bytes of a string: through the buffer, or around it when they are many.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        self.send(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let sent = self.send(&buffer);
        buffer.clear();
        self.buffer = buffer;
        sent
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.hashing {
            self.checksum.update(bytes);
        }
        self.inner.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

pub struct Writer<W> {
    out: Output<W>,
    options: WriterOptions,
    db: Option<DbIndex>,
    keys: u64,
    /// When the first field of the hash expires whose fields are being written.
    fields_from: Option<UnixMs>,
    compressor: Compressor,
}

impl<W: Write> Writer<W> {
    pub fn new(inner: W, options: WriterOptions) -> Self {
        assert!(options.version >= VERSION_WRITTEN && VERSIONS.contains(&options.version), "RDB version {}", options.version);
        let buffer = Vec::with_capacity(BUFFER_BYTES + 1024);
        let out = Output { inner, buffer, written: 0, hashing: options.checksum, checksum: checksum::start() };
        Writer { out, options, db: None, keys: 0, fields_from: None, compressor: Compressor::default() }
    }

    /// Magic, version, AUX fields and libraries: first, and once.
    pub fn header(&mut self, head: &Head) -> io::Result<()> {
        assert!(self.bytes() == 0, "the header comes first");
        assert!(head.libraries.is_empty() || holds_functions(self.options.version), "a version that knows no functions");
        let aux = &head.aux;
        write!(self.out.buffer, "REDIS{:04}", self.options.version)?;
        if let Some(version) = &aux.redis_ver {
            self.aux(b"redis-ver", version.as_bytes())?;
        }
        self.aux_number(b"redis-bits", Some(64))?;
        self.aux_number(b"ctime", aux.ctime)?;
        self.aux_number(b"used-mem", aux.used_mem.map(|bytes| bytes as i64))?;
        self.aux_number(b"repl-stream-db", aux.repl_stream_db)?;
        if let Some(id) = &aux.repl_id {
            self.aux(b"repl-id", id.as_bytes())?;
        }
        self.aux_number(b"repl-offset", aux.repl_offset)?;
        self.aux_number(b"aof-base", aux.aof_base.map(i64::from))?;
        head.libraries.iter().try_for_each(|code| self.library(code))
    }

    pub(super) fn library(&mut self, code: &[u8]) -> io::Result<()> {
        self.out.buffer.push(opcode::FUNCTION2);
        self.string(code)?;
        self.drain()
    }

    fn aux_number(&mut self, name: &[u8], number: Option<i64>) -> io::Result<()> {
        match number {
            Some(number) => self.aux(name, itoa::Buffer::new().format(number).as_bytes()),
            None => Ok(()),
        }
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.out.buffer.push(opcode::AUX);
        self.string(name)?;
        self.string(value)
    }

    /// A hint for loaders: keys of a database, and those of them that expire.
    pub fn resize_hint(&mut self, db: DbIndex, keys: u64, expires: u64) -> io::Result<()> {
        self.select(db);
        self.out.buffer.push(opcode::RESIZEDB);
        self.out.length(keys);
        self.out.length(expires);
        self.drain()
    }

    /// Encodes one key; of a big collection that comes in pieces all but its elements, which `element` is to be given next.
    pub fn record(&mut self, db: DbIndex, record: &Record<'_>) -> io::Result<()> {
        self.select(db);
        if let Some(at) = record.expire {
            self.out.buffer.push(opcode::EXPIRETIME_MS);
            self.out.buffer.extend_from_slice(&at.0.to_le_bytes());
        }
        self.access(record.lru);
        self.out.buffer.push(type_of(record, self.options.version));
        self.string(record.key)?;
        self.body(record)?;
        self.keys += 1;
        self.drain()
    }

    /// A record's value, or what stands before the elements that follow.
    fn body(&mut self, record: &Record<'_>) -> io::Result<()> {
        match record.value {
            RecordValue::Int(number) => self.out.integer(number),
            RecordValue::Bytes(bytes) => self.string(bytes)?,
            RecordValue::Block(form, bytes) if record.kind == Kind::Hash => self.fields(FieldPack::new(form, bytes))?,
            RecordValue::Block(_, bytes) if record.kind == Kind::ZSet => self.pairs(ZSetRef::Pack(Pack::new(bytes)))?,
            RecordValue::Block(form, bytes) => self.block(form, bytes)?,
            RecordValue::List(blocks) => self.list(blocks)?,
            RecordValue::Elements { len, first_expiry, .. } => {
                self.first_expiry(first_expiry);
                self.out.length(len);
            }
            RecordValue::Stream(stream) => self.stream(stream)?,
        }
        Ok(())
    }

    /// One element of the collection that `record` has begun.
    pub fn element(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.field_expiry(record.expire);
        self.string(record.key)?;
        match (record.kind, record.value) {
            (Kind::Hash, RecordValue::Int(number)) => self.out.integer(number),
            (Kind::Hash, RecordValue::Bytes(bytes)) => self.string(bytes)?,
            (Kind::ZSet, RecordValue::Int(bits)) => self.out.buffer.extend_from_slice(&bits.to_le_bytes()),
            _ => {}
        }
        self.drain()
    }

    /// Encodes one value, its type in front.
    pub fn value(&mut self, entry: &Entry) -> io::Result<()> {
        let record = Record::of(entry, CollectionId(0));
        self.out.buffer.push(type_of(&record, self.options.version));
        self.body(&record)?;
        match entry.value() {
            ValueRef::Big(big) => big.elements().try_for_each(|element| self.element(&element)),
            _ => self.drain(),
        }
    }

    /// A small collection.
    fn block(&mut self, form: Form, bytes: &[u8]) -> io::Result<()> {
        match form {
            Form::IntSet => {
                let numbers = IntSet::new(bytes);
                self.out.length(numbers.len() as u64);
                numbers.iter().for_each(|number| self.out.integer(number));
                Ok(())
            }
            Form::ListPack => {
                let pack = Pack::new(bytes);
                self.out.length(pack.len() as u64);
                self.pack(pack)
            }
            Form::ListPackEx => unreachable!("only a hash has times"),
        }
    }

    fn pack(&mut self, pack: Pack<'_>) -> io::Result<()> {
        let mut buffer = ElemBuf::new();
        pack.iter().try_for_each(|elem| self.string(elem.bytes(&mut buffer)))
    }

    /// Bytes that another writer has encoded, without a header.
    pub(super) fn encoded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.raw(bytes)
    }

    /// The keys of `other`, whose bytes have been added, are this one's; `other` begins anew.
    pub(super) fn adopt<O>(&mut self, other: &mut Writer<O>) {
        self.keys += std::mem::take(&mut other.keys);
        self.db = other.db.take();
    }

    /// A big list.
    fn list(&mut self, blocks: &ListBlocks) -> io::Result<()> {
        self.out.length(blocks.len());
        blocks.packs().try_for_each(|pack| {
            self.pack(pack)?;
            self.drain()
        })
    }

    /// A small hash.
    fn fields(&mut self, pack: FieldPack<'_>) -> io::Result<()> {
        self.first_expiry(pack.next_expiry());
        self.out.length(pack.len() as u64);
        let mut buffer = ElemBuf::new();
        pack.iter().try_for_each(|(name, field)| {
            self.field_expiry(field.expire);
            self.string(name.bytes(&mut buffer))?;
            self.string(field.value.bytes(&mut buffer))
        })
    }

    /// A small sorted set.
    fn pairs(&mut self, zset: ZSetRef<'_>) -> io::Result<()> {
        self.out.length(zset.len());
        let mut result = Ok(());
        zset.for_each(|member, score| {
            if result.is_ok() {
                result = self.string(member.bytes(&mut ElemBuf::new()));
                self.out.buffer.extend_from_slice(&score.to_bits().to_le_bytes());
            }
        });
        result
    }

    /// Of a collection whose elements come next. Only the type for hashes with such fields has it; in a version without that type they have no times.
    fn first_expiry(&mut self, at: Option<UnixMs>) {
        let at = at.filter(|_| holds_field_expiry(self.options.version));
        self.fields_from = at;
        if let Some(UnixMs(at)) = at {
            self.out.buffer.extend_from_slice(&at.to_le_bytes());
        }
    }

    fn field_expiry(&mut self, at: Option<UnixMs>) {
        if let Some(UnixMs(first)) = self.fields_from {
            self.out.length(at.map_or(0, |UnixMs(at)| at.abs_diff(first) + 1));
        }
    }

    /// The end and the checksum. Returns the sink, and how many bytes it has been given.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        assert!(self.bytes() > 0, "a header comes first");
        self.out.buffer.push(opcode::EOF);
        self.out.flush()?;
        let checksum = if self.options.checksum { self.out.checksum.clone().finalize() } else { 0 };
        self.out.buffer.extend_from_slice(&checksum.to_le_bytes());
        self.out.flush()?;
        self.out.inner.flush()?;
        Ok((self.out.inner, self.out.written))
    }

    /// Gives the sink everything encoded so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Bytes encoded so far, those still in the buffer included.
    pub fn bytes(&self) -> u64 {
        self.out.written + self.out.buffer.len() as u64
    }

    /// Bytes that the sink has been given so far.
    pub fn bytes_out(&self) -> u64 {
        self.out.written
    }

    pub fn keys(&self) -> u64 {
        self.keys
    }

    pub fn options(&self) -> WriterOptions {
        self.options
    }

    /// For what follows.
    pub(super) fn set_options(&mut self, options: WriterOptions) {
        self.options = options;
    }

    pub fn get_ref(&self) -> &W {
        &self.out.inner
    }

    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out.inner
    }

    fn select(&mut self, db: DbIndex) {
        if self.db != Some(db) {
            self.out.buffer.push(opcode::SELECTDB);
            self.out.length(u64::from(db.0));
            self.db = Some(db);
        }
    }

    fn access(&mut self, bits: u32) {
        match self.options.access {
            Access::Ignored => {}
            Access::Lru { clock } => {
                self.out.buffer.push(opcode::IDLE);
                self.out.length(u64::from(clock.wrapping_sub(bits) & LRU_BITS));
            }
            Access::Lfu { .. } => self.out.buffer.extend_from_slice(&[opcode::FREQ, bits as u8]),
        }
    }

    /// A string in its shortest form.
    pub(super) fn string(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() <= INT_TEXT_MAX
            && let Some(number) = number::parse_i64(bytes).and_then(|number| i32::try_from(number).ok())
        {
            self.out.small_integer(number);
            return Ok(());
        }
        if self.options.compress
            && bytes.len() > COMPRESS_ABOVE
            && let Some(packed) = self.compressor.compress(bytes)
        {
            self.out.buffer.push(encoding::LZF);
            self.out.length(packed.len() as u64);
            self.out.length(bytes.len() as u64);
            return self.out.put(packed);
        }
        self.out.length(bytes.len() as u64);
        self.out.put(bytes)
    }

    pub(super) fn length(&mut self, len: u64) {
        self.out.length(len);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.put(bytes)?;
        self.drain()
    }

    fn drain(&mut self) -> io::Result<()> {
        if self.out.buffer.len() >= BUFFER_BYTES { self.out.flush() } else { Ok(()) }
    }
}

fn has_expiring_fields(record: &Record<'_>) -> bool {
    match record.value {
        RecordValue::Elements { first_expiry, .. } => first_expiry.is_some(),
        RecordValue::Block(form, bytes) => FieldPack::new(form, bytes).next_expiry().is_some(),
        _ => false,
    }
}

/// The oldest type that holds the value, as far as this version does.
fn type_of(record: &Record<'_>, version: u32) -> u8 {
    match record.kind {
        Kind::String => types::STRING,
        Kind::List => types::LIST,
        Kind::Set => types::SET,
        Kind::ZSet => types::ZSET_2,
        Kind::Hash if holds_field_expiry(version) && has_expiring_fields(record) => types::HASH_EXPIRES,
        Kind::Hash => types::HASH,
        Kind::Stream => match record.value {
            RecordValue::Stream(stream) => stream_type(stream, version),
            _ => unreachable!("a stream is in one piece"),
        },
    }
}
