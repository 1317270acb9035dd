//! Tests of the module as a whole: bytes as real servers write them, damage of every kind, roundtrips.

use std::io::{ErrorKind, Read};

use super::reader::{Item, Reader, Value};
use super::value::{Nowhere, Part, Sink, StreamHistory, StreamInfo};
use super::{Access, Aux, Head, LoadCause, LoadError, Writer, WriterOptions, checksum};
use crate::keyspace::{DbIndex, Kind, Record, RecordValue, UnixMs};
use crate::types::listpack::Elem;
use crate::types::stream::{Entry, StreamId};

/// A snapshot with a right checksum.
pub(super) fn file(version: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = [version.as_bytes(), body, &[0xFF]].concat();
    let mut checksum = checksum::start();
    checksum.update(&bytes);
    bytes.extend_from_slice(&checksum.finalize().to_le_bytes());
    bytes
}

pub(super) fn keys(bytes: &[u8]) -> Result<Vec<String>, LoadError> {
    keys_of(bytes)
}

fn keys_of(input: impl Read) -> Result<Vec<String>, LoadError> {
    let mut reader = Reader::new(input)?;
    let mut found = Vec::new();
    loop {
        let mut parts = Recorder::default();
        match reader.next_item(&mut parts)? {
            Item::Aux { name, value } => found.push(format!("{}: {}", name.escape_ascii(), value.escape_ascii())),
            Item::Key { db: DbIndex(db), key, expire, idle, freq, value } => {
                let value = match value {
                    Value::Int(number) => number.to_string(),
                    Value::Bytes(bytes) => format!("{:?}", bytes.escape_ascii().to_string()),
                    Value::Collection { elements, .. } => format!("{elements} {}", parts.0.join("; ")),
                };
                let expire = expire.map_or(String::new(), |UnixMs(at)| format!(" at {at}"));
                let idle = idle.map_or(String::new(), |idle| format!(" idle {idle}"));
                let freq = freq.map_or(String::new(), |freq| format!(" freq {freq}"));
                found.push(format!("{db} {} = {value}{expire}{idle}{freq}", key.escape_ascii()));
            }
            Item::Library { code } => found.push(format!("library {}", code.escape_ascii())),
            Item::End => return Ok(found),
        }
    }
}

/// Parts as text.
#[derive(Default)]
struct Recorder(Vec<String>);

impl Sink for Recorder {
    fn begin(&mut self, kind: Kind) {
        self.0 = vec![format!("{kind:?}")];
    }
    fn part(&mut self, part: Part<'_>) -> Result<(), LoadCause> {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let id = |id: StreamId| id.to_string();
        self.0.push(match part {
            Part::Element(element) => text(element),
            Part::Member { member, score } => format!("{} {score:?}", text(member)),
            Part::Field { field, value, expire } => {
                format!("{}: {}{}", text(field), text(value), expire.map_or(String::new(), |at| format!(" at {}", at.0)))
            }
            Part::Block(block) => {
                let entry = |entry: Entry<'_>| {
                    let pair = |(field, value): (Elem<'_>, Elem<'_>)| format!(" {} {}", text(&field.to_vec()), text(&value.to_vec()));
                    format!("{}{}", entry.id, entry.pairs().map(pair).collect::<String>())
                };
                block.entries().map(entry).collect::<Vec<_>>().join("; ")
            }
            Part::Stream(StreamInfo { len, last_id, history }) => {
                let history = history.map(|StreamHistory { max_deleted_id, entries_added }| format!(" {} {entries_added}", id(max_deleted_id)));
                format!("{len} {}{}", id(last_id), history.unwrap_or_default())
            }
            Part::Group { name, last_id, entries_read } => format!("group {} {} {entries_read:?}", text(name), id(last_id)),
            Part::Consumer { name, seen, active } => {
                format!("consumer {} {}{}", text(name), seen.0, active.map_or(String::new(), |at| format!(" active {}", at.0)))
            }
            Part::Pending { id: at, delivered, count } => format!("pending {} {} x{count}", id(at), delivered.0),
        });
        Ok(())
    }
}

pub(super) fn refusal(bytes: &[u8]) -> (u64, String) {
    let error = keys(bytes).unwrap_err();
    (error.offset, error.cause.to_string())
}

#[test]
fn every_opcode_of_strings() {
    let body = [
        b"\xFA\x05hello\xC0\x7B".as_slice(),
        b"\xFE\x00\xFB\x05\x80\xFF\xFF\xFF\xFF",
        b"\x00\x01a\x01b",
        b"\xF4\x01\x02\x03",
        b"\xFC\xE8\x03\x00\x00\x00\x00\x00\x00\xF8\x41\x00\x00\xC1\x2C\x01\xC0\xFF",
        b"\xFE\x0F\xFD\x02\x00\x00\x00\xF9\x07\x00\xC2\x00\x00\x01\x00\xC2\x00\x00\x00\x80",
        b"\x00\x81\x00\x00\x00\x00\x00\x00\x00\x02kk\xC3\x05\x0A\x00x\xE0\x00\x00",
    ]
    .concat();
    let expected = ["hello: 123", "0 a = \"b\"", "0 300 = -1 at 1000 idle 256", "15 65536 = -2147483648 at 2000 freq 7", "15 kk = \"xxxxxxxxxx\""];
    assert_eq!(keys(&file("REDIS0009", &body)).unwrap(), expected);
    assert_eq!(keys(&file("VALKEY080", &body)).unwrap(), expected);
}

#[test]
fn magics_and_versions() {
    // Version 1 has no checksum: were it taken, one flipped bit of a 9 would go unseen.
    assert_eq!(refusal(b"REDIS0001\xFF").1, "can't handle RDB format version 1: known are 5 to 12");
    for good in ["REDIS0005", "REDIS0012", "VALKEY080", "VALKEY081"] {
        assert_eq!(keys(&file(good, b"")).unwrap(), [""; 0]);
    }
    assert_eq!(refusal(&file("REDIS0013", b"")).1, "can't handle RDB format version 13: known are 5 to 12");
    assert_eq!(refusal(&file("VALKEY082", b"")).1, "can't handle RDB format version 82: known are 80 to 81");
    assert_eq!(refusal(&file("REDIS0000", b"")).1, "can't handle RDB format version 0: known are 5 to 12");
    for bad in ["REDIX0009", "REDIS00x9", "valkey080", "VALKEY0 0"] {
        assert!(matches!(keys(&file(bad, b"")), Err(LoadError { offset: 0, cause: LoadCause::BadMagic })), "{bad}");
    }
}

#[test]
fn what_cannot_be_held_is_named() {
    let named = |version, body| refusal(&file(version, body));
    let module = "can't load key k of a module's type hellotype: not built yet";
    assert_eq!(named("REDIS0009", b"\x00\x01a\x01b\x07\x01k\x81\x85\xe9\x65\xa2\xdc\xa9\x78\x00"), (14, module.to_owned()));
    assert_eq!(named("REDIS0009", b"\x06\x01k\x81\x85\xe9\x65\xa2\xdc\xa9\x78\x00").1, module);
    assert_eq!(named("VALKEY080", b"\x17\x01h").1, "can't load key of type a type of Valkey 9.2 (RDB type 23, number 23): not built yet");
    assert_eq!(named("REDIS0010", b"\xF6\x01f").1, "can't load a library of functions of a pre-release (opcode 246): not built yet");
    assert_eq!(named("REDIS0009", b"\xF7\x01f").1, "can't load data of a module (opcode 247): not built yet");
    assert_eq!(named("VALKEY080", b"\xF3").1, "can't load slots being imported (opcode 243): not built yet");
    assert_eq!(named("REDIS0012", b"\xF3").1, "corrupt RDB: unknown opcode or object type");
    assert_eq!(named("REDIS0009", b"\x08").1, "corrupt RDB: unknown opcode or object type");
}

#[test]
fn checksums() {
    let mut bytes = file("REDIS0009", b"\x00\x01a\x01b");
    let end = bytes.len();
    bytes[13] ^= 1;
    assert!(matches!(keys(&bytes), Err(LoadError { offset: 15, cause: LoadCause::Checksum { .. } })));
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    reader.ignore_checksum();
    while reader.next_item(&mut Nowhere).unwrap() != Item::End {}
    assert_eq!(reader.offset(), end as u64);
    bytes[end - 8..].fill(0);
    assert_eq!(keys(&bytes).unwrap(), ["0 a = \"c\""]);
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    for lie in [b"\x00\x81\x00\x00\x00\x00\x1F\xFF\xFF\xFF".as_slice(), b"\x00\x01k\x80\x1F\xFF\xFF\xFF"] {
        let bytes = [b"REDIS0009", lie, &[b'x'; 100]].concat();
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        let error = reader.next_item(&mut Nowhere).unwrap_err();
        assert!(matches!(error.cause, LoadCause::Eof));
        assert_eq!(error.offset, bytes.len() as u64);
        assert!(reader.allocated() < 1000, "{}", reader.allocated());
    }
    for lie in [b"\x00\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF".as_slice(), b"\x00\x80\x20\x00\x00\x01", b"\x00\xC3\x05\x80\x20\x00\x00\x01"] {
        assert_eq!(refusal(&[b"REDIS0009", lie, &[b'x'; 100]].concat()), (10, "corrupt RDB: a string above the allowed length".to_owned()));
    }
    assert_eq!(refusal(b"REDIS0009\x00\xC3\x02\x80\x1F\xFF\xFF\xFF\x00a").1, "corrupt RDB: a compressed string is damaged");
    assert_eq!(refusal(b"REDIS0009\x00\xC4").1, "corrupt RDB: unknown encoding of a string");
    assert_eq!(refusal(b"REDIS0009\x00\x82").1, "corrupt RDB: unknown form of length");
    assert_eq!(refusal(b"REDIS0009\xFE\xC0\x01").1, "corrupt RDB: an encoding in the place of a length");
}

const KEY_OF_300: [u8; 300] = [b'k'; 300];

/// A snapshot that has one of everything the writer knows.
fn written(options: WriterOptions) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), options);
    let mut aux = Aux::written_at(1_700_000_000, 77);
    aux.repl_stream_db = Some(-1);
    aux.repl_id = Some("0123456789abcdef0123456789abcdef01234567".to_owned());
    aux.repl_offset = Some(1 << 40);
    writer.header(&aux.into()).unwrap();
    writer.resize_hint(DbIndex(2), 3, 1).unwrap();
    let mut put = |db, key: &[u8], expire, value| {
        writer.record(DbIndex(db), &Record { key, kind: Kind::String, expire, lru: 990, value }).unwrap();
    };
    put(2, b"raw", None, RecordValue::Bytes(b"value"));
    put(2, b"-12", Some(UnixMs(1 << 41)), RecordValue::Int(i64::MIN));
    put(70_000, b"70000", None, RecordValue::Int(-70_000));
    put(2, &KEY_OF_300, Some(UnixMs(-1)), RecordValue::Bytes(b"01"));
    put(0, b"lzf", None, RecordValue::Bytes(&b"replication ".repeat(30)));
    writer.finish().unwrap().0
}

fn all_options() -> impl Iterator<Item = WriterOptions> {
    let access = [Access::Ignored, Access::Lru { clock: 1000 }, Access::Lfu { minutes: 9 }];
    [(9, true, true), (12, false, true), (10, true, false)]
        .into_iter()
        .flat_map(move |(version, compress, checksum)| access.map(|access| WriterOptions { version, compress, checksum, access }))
}

#[test]
fn what_is_written_is_read() {
    for options in all_options() {
        let bytes = written(options);
        let access = match options.access {
            Access::Ignored => "",
            Access::Lru { .. } => " idle 10",
            Access::Lfu { .. } => " freq 222",
        };
        let text = "replication ".repeat(30);
        let expected = [
            "redis-ver: 7.2.4".to_owned(),
            "redis-bits: 64".to_owned(),
            "ctime: 1700000000".to_owned(),
            "used-mem: 77".to_owned(),
            "repl-stream-db: -1".to_owned(),
            "repl-id: 0123456789abcdef0123456789abcdef01234567".to_owned(),
            "repl-offset: 1099511627776".to_owned(),
            "aof-base: 0".to_owned(),
            format!("2 raw = \"value\"{access}"),
            format!("2 -12 = \"-9223372036854775808\" at 2199023255552{access}"),
            format!("70000 70000 = -70000{access}"),
            format!("2 {} = \"01\" at -1{access}", "k".repeat(300)),
            format!("0 lzf = {text:?}{access}"),
        ];
        assert_eq!(keys(&bytes).unwrap(), expected);
        assert_eq!(bytes.ends_with(&[0; 8]), !options.checksum);
    }
}

#[test]
fn every_truncation_is_noticed() {
    for options in all_options() {
        let bytes = written(options);
        for len in 0..bytes.len() {
            let error = keys(&bytes[..len]).unwrap_err();
            assert!(matches!(error.cause, LoadCause::Eof), "{len}: {error}");
            assert_eq!(error.offset, len as u64);
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = written(WriterOptions::default());
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = keys(&damaged).unwrap_err();
        assert!(error.offset <= bytes.len() as u64, "{bit}: {error}");
    }
}

#[test]
fn without_a_checksum_damage_never_panics() {
    let bytes = written(WriterOptions { checksum: false, ..WriterOptions::default() });
    for at in 0..bytes.len() {
        // What begins lengths, encodings and opcodes.
        for byte in [0, 1, 2, 0x3F, 0x40, 0x7F, 0x80, 0x81, 0x82, 0xC0, 0xC1, 0xC2, 0xC3, 0xC4].into_iter().chain(0xF0..=0xFF) {
            let mut damaged = bytes.clone();
            damaged[at] = byte;
            let _ = keys(&damaged);
        }
    }
}

/// Gives its bytes piece by piece, with an interruption before each, and refuses to be asked for more than it has.
struct Trickle<'a> {
    bytes: &'a [u8],
    piece: usize,
    interrupted: bool,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        assert!(!self.bytes.is_empty(), "read behind the end");
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(ErrorKind::Interrupted.into());
        }
        let (now, later) = self.bytes.split_at(self.piece.min(self.bytes.len()).min(buf.len()));
        buf[..now.len()].copy_from_slice(now);
        self.bytes = later;
        Ok(now.len())
    }
}

#[test]
fn input_in_small_pieces_and_no_wait_behind_the_end() {
    let big: Vec<u8> = (0..700_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut writer = Writer::new(Vec::new(), WriterOptions::default());
    writer.header(&Head::default()).unwrap();
    let repeated = big[..4000].repeat(90);
    for (key, value) in [(&b"big"[..], &big[..]), (&big[..200_000], b"small"), (b"lzf", &repeated), (b"edge", &big[..64 * 1024])] {
        writer.record(DbIndex(0), &Record { key, kind: Kind::String, expire: None, lru: 0, value: RecordValue::Bytes(value) }).unwrap();
    }
    let (bytes, len) = writer.finish().unwrap();
    assert_eq!(bytes.len() as u64, len);
    let expected = keys(&bytes).unwrap();
    assert_eq!(expected.len(), 1 + 4);
    for piece in [1, 7, 4096, 100_000] {
        let trickle = Trickle { bytes: &bytes, piece, interrupted: false };
        assert!(keys_of(trickle).unwrap() == expected);
    }
    let surplus = [bytes.as_slice(), b"surplus"].concat();
    let mut reader = Reader::new(surplus.as_slice()).unwrap();
    while reader.next_item(&mut Nowhere).unwrap() != Item::End {}
    assert_eq!((reader.offset(), reader.unread()), (len, &b"surplus"[..]));
}
