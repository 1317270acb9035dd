//! The parser: an incremental pass over a stream of bytes, item by item, with a buffer of its own and a count of the bytes consumed.
//!
//! Short strings are handed out in place. Long ones gather in a scratch buffer that grows as their bytes arrive, so a length that lies costs
//! nothing. The reader asks for more input only when what it has does not do, so it never waits for bytes behind the end.

use std::io::Read;

use super::error::{LoadCause, LoadError};
use super::source::{BUFFER_BYTES, BUFFER_BYTES_MIN, Source};
use super::types::{self, Family};
use super::value::Sink;
use super::{STRING_BYTES_MAX, VALKEY_VERSIONS, VERSIONS, encoding, lzf, opcode};
use crate::keyspace::{DbIndex, Kind, UnixMs};

/// A key's value: a string as it stands in the input, or a collection whose parts the sink has been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    /// `elements` is 0 only for a stream, or if the file has what no server keeps.
    Collection {
        kind: Kind,
        elements: u64,
    },
}

/// What comes next in a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Aux {
        name: &'a [u8],
        value: &'a [u8],
    },
    Key {
        db: DbIndex,
        key: &'a [u8],
        expire: Option<UnixMs>,
        idle: Option<u64>,
        freq: Option<u8>,
        value: Value<'a>,
    },
    /// A library of functions: its text.
    Library {
        code: &'a [u8],
    },
    /// The end; the checksum was right, or there is none.
    End,
}

/// Where a string that has just been read lies.
enum At {
    Int(i64),
    Buffered(usize),
    Scratch,
}

/// A value that has just been read.
enum Body {
    String(At),
    Collection { kind: Kind, elements: u64 },
}

pub struct Reader<R> {
    pub(super) source: Source<R>,
    family: Family,
    version: u32,
    check: bool,
    string_max: u64,
    databases: u32,
    db: DbIndex,
    keys_told: u64,
    key: Vec<u8>,
    packed: Vec<u8>,
    scratch: Vec<u8>,
    /// Texts that outlast the reading of what is behind them.
    pub(super) held: Vec<u8>,
    pub(super) held_second: Vec<u8>,
}

impl<'a> Reader<&'a [u8]> {
    /// For the one value in a payload.
    pub(super) fn of_payload(value: &'a [u8], family: Family) -> Self {
        Self::with_source(Source::new(value, value.len().clamp(BUFFER_BYTES_MIN, BUFFER_BYTES)), family, 0)
    }
}

impl<R: Read> Reader<R> {
    /// Reads magic and version.
    pub fn new(inner: R) -> Result<Self, LoadError> {
        let mut source = Source::new(inner, BUFFER_BYTES);
        let magic = source.take(9)?;
        let (family, digits, known) = match magic {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => (Family::Redis, digits, VERSIONS),
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => (Family::Valkey, digits, VALKEY_VERSIONS),
            _ => return Err(LoadCause::BadMagic.at(0)),
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(LoadCause::BadMagic.at(0));
        }
        let version = digits.iter().fold(0, |version, digit| version * 10 + u32::from(digit - b'0'));
        if !known.contains(&version) {
            let (min, max) = known.into_inner();
            return Err(LoadCause::Version { found: version, min, max }.at(0));
        }
        Ok(Self::with_source(source, family, version))
    }

    fn with_source(source: Source<R>, family: Family, version: u32) -> Self {
        Reader {
            source,
            family,
            version,
            check: true,
            string_max: STRING_BYTES_MAX,
            databases: u32::MAX,
            db: DbIndex(0),
            keys_told: 0,
            key: Vec::new(),
            packed: Vec::new(),
            scratch: Vec::new(),
            held: Vec::new(),
            held_second: Vec::new(),
        }
    }

    /// Does not compare the checksum (`rdbchecksum no`).
    pub fn ignore_checksum(&mut self) {
        self.check = false;
    }

    /// Refuses values above `bytes`. Keys have a limit that does not move.
    pub fn limit_strings(&mut self, bytes: u64) {
        self.string_max = bytes;
    }

    /// Refuses databases from number `databases` on, even those without keys.
    pub fn limit_databases(&mut self, databases: u32) {
        self.databases = databases;
    }

    /// How many keys the databases that have begun are said to have.
    pub fn keys_told(&self) -> u64 {
        self.keys_told
    }

    pub fn family(&self) -> Family {
        self.family
    }

    pub fn version(&self) -> u32 {
        self.version
    }

    /// Bytes consumed so far.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// Bytes taken from the input that lie behind `offset`: after the end, what follows the snapshot.
    pub fn unread(&self) -> &[u8] {
        self.source.unread()
    }

    /// Bytes allocated beside the buffer.
    #[cfg(test)]
    pub fn allocated(&self) -> usize {
        let own = [&self.key, &self.packed, &self.scratch, &self.held, &self.held_second];
        own.into_iter().map(Vec::capacity).sum()
    }

    /// The next item; a collection's parts go to `sink` first. After `End` there is none: do not ask.
    pub fn next_item(&mut self, sink: &mut dyn Sink) -> Result<Item<'_>, LoadError> {
        let (mut expire, mut idle, mut freq) = (None, None, None);
        loop {
            let opcode_at = self.source.offset();
            match self.source.byte()? {
                opcode::AUX => return self.aux(),
                opcode::SELECTDB => self.db = self.select(opcode_at)?,
                opcode::RESIZEDB => {
                    self.keys_told = self.keys_told.saturating_add(self.plain_length()?);
                    self.skip_lengths(1)?;
                }
                opcode::SLOT_INFO => self.skip_lengths(3)?,
                opcode::EXPIRETIME => expire = Some(UnixMs(i64::from(i32::from_le_bytes(self.source.array()?)) * 1000)),
                opcode::EXPIRETIME_MS => expire = Some(UnixMs(i64::from_le_bytes(self.source.array()?))),
                opcode::IDLE => idle = Some(self.plain_length()?),
                opcode::FREQ => freq = Some(self.source.byte()?),
                opcode::EOF => return self.end(),
                opcode::FUNCTION2 => {
                    let at = self.string(STRING_BYTES_MAX)?;
                    self.keep(at, |reader| &mut reader.key);
                    return Ok(Item::Library { code: &self.key });
                }
                number if types::is_held(self.family, number) => {
                    let at = self.string(STRING_BYTES_MAX)?;
                    self.keep(at, |reader| &mut reader.key);
                    let body = self.body(number, sink)?;
                    return Ok(Item::Key { db: self.db, key: &self.key, expire, idle, freq, value: self.shown_value(body) });
                }
                types::MODULE_EARLY | types::MODULE => {
                    let at = self.string(STRING_BYTES_MAX)?;
                    self.keep(at, |reader| &mut reader.key);
                    let module = types::module_name(self.plain_length()?);
                    let name = format!("key {} of a module's type {module}", self.key.escape_ascii());
                    return Err(LoadCause::UnsupportedType { name }.at(opcode_at));
                }
                other => return Err(self.refused(other).at(opcode_at)),
            }
        }
    }

    /// A value with its type in front, as in a payload.
    pub(super) fn value(&mut self, sink: &mut dyn Sink) -> Result<Value<'_>, LoadError> {
        let number = self.source.byte()?;
        if !types::is_held(self.family, number) {
            return Err(self.refused(number).at(0));
        }
        let body = self.body(number, sink)?;
        Ok(self.shown_value(body))
    }

    fn shown_value(&self, body: Body) -> Value<'_> {
        match body {
            Body::String(At::Int(number)) => Value::Int(number),
            Body::String(At::Buffered(len)) => Value::Bytes(self.source.before(len)),
            Body::String(At::Scratch) => Value::Bytes(&self.scratch),
            Body::Collection { kind, elements } => Value::Collection { kind, elements },
        }
    }

    /// The value of a key, of a type that can be held.
    fn body(&mut self, number: u8, sink: &mut dyn Sink) -> Result<Body, LoadError> {
        if number == types::STRING {
            return Ok(Body::String(self.string(self.string_max)?));
        }
        let (kind, elements) = match types::layout(self.family, number) {
            Some((kind, layout)) => (kind, self.collection(kind, layout, sink)?),
            None => (Kind::Stream, self.stream(number, sink)?),
        };
        Ok(Body::Collection { kind, elements })
    }

    fn select(&mut self, at: u64) -> Result<DbIndex, LoadError> {
        let (found, databases) = (self.plain_length()?, self.databases);
        let db = u32::try_from(found).ok().filter(|db| *db < databases);
        db.map(DbIndex).ok_or_else(|| LoadCause::DatabaseOutOfRange { found, databases }.at(at))
    }

    fn refused(&self, number: u8) -> LoadCause {
        let name = match (self.family, number) {
            (_, opcode::FUNCTION_EARLY) => Some("a library of functions of a pre-release (opcode 246)".to_owned()),
            (_, opcode::MODULE_AUX) => Some("data of a module (opcode 247)".to_owned()),
            (Family::Valkey, 243) => Some("slots being imported (opcode 243)".to_owned()),
            (family, number) => types::refused_name(family, number),
        };
        match name {
            Some(name) => LoadCause::UnsupportedType { name },
            None => LoadCause::Corrupt("unknown opcode or object type"),
        }
    }

    fn aux(&mut self) -> Result<Item<'_>, LoadError> {
        let at = self.string(STRING_BYTES_MAX)?;
        self.keep(at, |reader| &mut reader.key);
        let at = self.string(STRING_BYTES_MAX)?;
        self.keep(at, |reader| &mut reader.held);
        Ok(Item::Aux { name: &self.key, value: &self.held })
    }

    fn end(&mut self) -> Result<Item<'_>, LoadError> {
        let computed = self.source.checksum();
        let at = self.source.offset();
        let found = u64::from_le_bytes(self.source.array()?);
        if self.check && found != 0 && found != computed {
            return Err(LoadCause::Checksum { found, computed }.at(at));
        }
        Ok(Item::End)
    }

    /// Moves or copies a string that has just been read to where it outlasts further reading.
    fn keep(&mut self, at: At, place: fn(&mut Self) -> &mut Vec<u8>) {
        let mut kept = std::mem::take(place(self));
        match at {
            At::Scratch => std::mem::swap(&mut kept, &mut self.scratch),
            At::Int(number) => {
                kept.clear();
                kept.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            }
            At::Buffered(len) => {
                kept.clear();
                kept.extend_from_slice(self.source.before(len));
            }
        }
        *place(self) = kept;
    }

    /// The next string as text. It holds until more is read.
    pub(super) fn text(&mut self) -> Result<&[u8], LoadError> {
        let at = self.string(self.string_max)?;
        Ok(self.shown(at))
    }

    fn shown(&mut self, at: At) -> &[u8] {
        match at {
            At::Buffered(len) => self.source.before(len),
            At::Scratch => &self.scratch,
            At::Int(number) => {
                self.scratch.clear();
                self.scratch.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                &self.scratch
            }
        }
    }

    /// Reads a text into `held`.
    pub(super) fn hold_text(&mut self) -> Result<(), LoadError> {
        let at = self.string(self.string_max)?;
        self.keep(at, |reader| &mut reader.held);
        Ok(())
    }

    /// Reads a text into `held_second`.
    pub(super) fn hold_second_text(&mut self) -> Result<(), LoadError> {
        let at = self.string(self.string_max)?;
        self.keep(at, |reader| &mut reader.held_second);
        Ok(())
    }

    /// A length whose first byte is `first`, unless that byte announces an encoding.
    fn length_from(&mut self, first: u8) -> Result<Option<u64>, LoadError> {
        Ok(Some(match first >> 6 {
            0 => u64::from(first),
            1 => u64::from(first & 0x3F) << 8 | u64::from(self.source.byte()?),
            2 => match first {
                0x80 => u64::from(u32::from_be_bytes(self.source.array()?)),
                0x81 => u64::from_be_bytes(self.source.array()?),
                _ => return Err(LoadCause::Corrupt("unknown form of length").at(self.source.offset() - 1)),
            },
            _ => return Ok(None),
        }))
    }

    /// A length where no encoding may stand.
    pub(super) fn plain_length(&mut self) -> Result<u64, LoadError> {
        let at = self.source.offset();
        let first = self.source.byte()?;
        self.length_from(first)?.ok_or_else(|| LoadCause::Corrupt("an encoding in the place of a length").at(at))
    }

    /// Hints are read and not believed: nothing is allocated by them.
    fn skip_lengths(&mut self, count: usize) -> Result<(), LoadError> {
        for _ in 0..count {
            self.plain_length()?;
        }
        Ok(())
    }

    /// Reads a string. What it returns holds until more is read.
    fn string(&mut self, max: u64) -> Result<At, LoadError> {
        let at = self.source.offset();
        let first = self.source.byte()?;
        if let Some(len) = self.length_from(first)? {
            bounded(len, max, at)?;
            if len <= self.source.in_place_max() {
                self.source.take(len as usize)?;
                return Ok(At::Buffered(len as usize));
            }
            self.source.gather(len, &mut self.scratch)?;
            return Ok(At::Scratch);
        }
        match first {
            encoding::INT8 => Ok(At::Int(i64::from(self.source.byte()? as i8))),
            encoding::INT16 => Ok(At::Int(i64::from(i16::from_le_bytes(self.source.array()?)))),
            encoding::INT32 => Ok(At::Int(i64::from(i32::from_le_bytes(self.source.array()?)))),
            encoding::LZF => self.unpacked(max, at),
            _ => Err(LoadCause::Corrupt("unknown encoding of a string").at(at)),
        }
    }

    fn unpacked(&mut self, max: u64, at: u64) -> Result<At, LoadError> {
        let packed_len = self.plain_length()?;
        let raw_len = self.plain_length()?;
        bounded(packed_len, max, at)?;
        bounded(raw_len, max, at)?;
        let packed = if packed_len <= self.source.in_place_max() {
            self.source.take(packed_len as usize)?
        } else {
            self.source.gather(packed_len, &mut self.packed)?;
            &self.packed
        };
        lzf::decompress(packed, raw_len, &mut self.scratch).map_err(|_| LoadCause::Corrupt("a compressed string is damaged").at(at))?;
        Ok(At::Scratch)
    }
}

fn bounded(len: u64, max: u64, at: u64) -> Result<(), LoadError> {
    if len > max { Err(LoadCause::Corrupt("a string above the allowed length").at(at)) } else { Ok(()) }
}
