//! Tests of the module as a whole: bytes as real servers write them, damage of every kind, roundtrips.

use super::reader::{Item, Reader, Value};
use super::{LoadCause, LoadError, checksum};
use crate::keyspace::UnixMs;

/// A snapshot with a right checksum.
fn file(version: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = [version.as_bytes(), body, &[0xFF]].concat();
    let mut checksum = checksum::start();
    checksum.update(&bytes);
    bytes.extend_from_slice(&checksum.finalize().to_le_bytes());
    bytes
}

fn keys(bytes: &[u8]) -> Result<Vec<String>, LoadError> {
    let mut reader = Reader::new(bytes)?;
    let mut found = Vec::new();
    loop {
        match reader.next_item()? {
            Item::Aux { name, value } => found.push(format!("{}: {}", name.escape_ascii(), value.escape_ascii())),
            Item::Key { db, key, expire, idle, freq, value } => {
                let value = match value {
                    Value::Int(number) => number.to_string(),
                    Value::Bytes(bytes) => format!("{:?}", bytes.escape_ascii().to_string()),
                };
                let expire = expire.map_or(String::new(), |UnixMs(at)| format!(" at {at}"));
                let idle = idle.map_or(String::new(), |idle| format!(" idle {idle}"));
                let freq = freq.map_or(String::new(), |freq| format!(" freq {freq}"));
                found.push(format!("{db} {} = {value}{expire}{idle}{freq}", key.escape_ascii()));
            }
            Item::End => return Ok(found),
        }
    }
}

fn refusal(bytes: &[u8]) -> (u64, String) {
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
    for good in ["REDIS0006", "REDIS0012", "VALKEY080", "VALKEY081"] {
        assert_eq!(keys(&file(good, b"")).unwrap(), [""; 0]);
    }
    assert_eq!(refusal(&file("REDIS0013", b"")).1, "can't handle RDB format version 13: the newest one known is 12");
    assert_eq!(refusal(&file("VALKEY082", b"")).1, "can't handle RDB format version 82: the newest one known is 81");
    assert_eq!(refusal(&file("REDIS0000", b"")).1, "can't handle RDB format version 0: the newest one known is 12");
    for bad in ["REDIX0009", "REDIS00x9", "valkey080", "VALKEY0 0"] {
        assert!(matches!(keys(&file(bad, b"")), Err(LoadError { offset: 0, cause: LoadCause::BadMagic })), "{bad}");
    }
}

#[test]
fn what_cannot_be_held_is_named() {
    let named = |version, body| refusal(&file(version, body));
    assert_eq!(named("REDIS0010", b"\x10\x01h\x00"), (9, "can't load key of type hash (RDB type 16, hash listpack): not built yet".to_owned()));
    assert_eq!(named("REDIS0012", b"\x00\x01a\x01b\x18\x01h\x00").0, 14);
    assert_eq!(named("VALKEY080", b"\x16\x01h").1, "can't load key of type hash (RDB type 22, hash 2, with field TTLs): not built yet");
    assert_eq!(named("REDIS0010", b"\xF5\x01f").1, "can't load a library of functions (opcode 245): not built yet");
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
    while reader.next_item().unwrap() != Item::End {}
    assert_eq!(reader.offset(), end as u64);
    bytes[end - 8..].fill(0);
    assert_eq!(keys(&bytes).unwrap(), ["0 a = \"c\""]);
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    for lie in [b"\x00\x81\x00\x00\x00\x00\x1F\xFF\xFF\xFF".as_slice(), b"\x00\x01k\x80\x1F\xFF\xFF\xFF"] {
        let bytes = [b"REDIS0009", lie, &[b'x'; 100]].concat();
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        let error = reader.next_item().unwrap_err();
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
