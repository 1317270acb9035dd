//! Collections as real servers dump them (`fuzz/corpus/restore`), forms that none of today's writes, and damage.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::tests::{file, keys, refusal};
use super::{Dialect, Dumper, LoadOptions, Payload, verify};
use crate::keyspace::Keyspace;
use crate::types::limits::Limits;

const HASH: &str = "f0: 0; f1: 1; f2: 12; f3: 13; f4: -1; f5: 127; f6: 128; f7: 255; f8: -128; f9: -129";
const STREAM: &str =
    "4 Stream; 1-1 f v g w; 2-0 other 5; 5-7 f 9 g xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; 6-0 a b; 4 6-0";

macro_rules! sample {
    ($name:literal) => {
        include_bytes!(concat!("../../fuzz/corpus/restore/", $name)).as_slice()
    };
}

/// Payloads of DUMP.
const SAMPLES: [&[u8]; 16] = [
    sample!("6.2-hash-compact"),
    sample!("7.0-hash-compact"),
    sample!("6.2-list-nodes"),
    sample!("8.2-list-nodes"),
    sample!("8.2-list-plain"),
    sample!("6.2-zset-compact"),
    sample!("8.2-zset-compact"),
    sample!("8.2-plain-s"),
    sample!("6.2-plain-s"),
    sample!("6.2-plain-z"),
    sample!("6.2-plain-h"),
    sample!("6.2-stream"),
    sample!("7.0-stream"),
    sample!("8.2-stream"),
    sample!("8.2-hash-ttl"),
    sample!("8.2-hash-ttl-listpack"),
];

/// A snapshot with a payload's value under the key `k`.
fn snapshot(payload: &[u8]) -> Vec<u8> {
    let (value, _) = payload.split_at(payload.len() - 10);
    file("REDIS0012", &[&value[..1], b"\x01k", &value[1..]].concat())
}

fn value(payload: &[u8]) -> String {
    let found = keys(&snapshot(payload)).unwrap();
    assert_eq!(found.len(), 1);
    found[0].strip_prefix("0 k = ").unwrap().to_owned()
}

/// The value of a type whose body is this.
fn of(version: &str, body: &[u8]) -> String {
    keys(&file(version, &[&body[..1], b"\x01k", &body[1..]].concat())).unwrap_or_else(|error| vec![error.to_string()]).remove(0)
}

#[test]
fn hashes_of_real_servers() {
    let small = value(SAMPLES[0]);
    assert!(small.starts_with(&format!("35 Hash; {HASH}; ")), "{small}");
    assert!(small.ends_with(&format!("; f33: {}; f34: after", "z".repeat(300))), "{small}");
    assert_eq!(value(SAMPLES[1]), small);
    assert_eq!(value(sample!("8.2-hash-compact")), small);
    let mut fields: Vec<_> = value(SAMPLES[10]).split("; ").map(str::to_owned).collect();
    fields[1..].sort();
    let long = "long value long value long value";
    assert_eq!(fields, ["4 Hash", &format!("300: {long}"), "a: 1", "b: 2", &format!("c: {}", "x".repeat(100))]);
    assert_eq!(value(sample!("zipmap")), format!("2 Hash; a: bc; {}: 5", "d".repeat(300)));
    assert_eq!(value(SAMPLES[14]), "3 Hash; f2: v2 at 4102444800001; f3: 3 at 4102444800000; f1: v1");
    assert_eq!(value(SAMPLES[15]), "3 Hash; f3: 3 at 4102444800000; f2: v2 at 4102444800001; f1: v1");
}

#[test]
fn lists_sets_and_sorted_sets_of_real_servers() {
    let nodes = format!("6 List; a; b; 1; 2; {}; 9", "c".repeat(80));
    for sample in [SAMPLES[2], SAMPLES[3], sample!("7.0-list-nodes")] {
        assert_eq!(value(sample), nodes);
    }
    for sample in [SAMPLES[4], sample!("7.0-list-plain")] {
        assert_eq!(value(sample), format!("4 List; a; {}; {}; b", "p".repeat(150), "q".repeat(101)));
    }
    for sample in [SAMPLES[7], SAMPLES[8]] {
        let mut members: Vec<_> = value(sample).split("; ").map(str::to_owned).collect();
        members[1..].sort();
        assert_eq!(members, ["4 Set", "-70000", "1", "2", "abc"]);
    }
    assert_eq!(value(sample!("8.2-intset-64")), "3 Set; -9223372036854775808; 5; 1099511627776");
    let mut plain: Vec<_> = value(SAMPLES[9]).split("; ").map(str::to_owned).collect();
    plain[1..].sort();
    assert_eq!(plain, ["5 ZSet", "55 3.0", "a 1.5", "b -inf", "c inf", "d 0.1"]);
    for sample in [SAMPLES[5], SAMPLES[6], sample!("7.0-zset-compact")] {
        let members = value(sample);
        assert!(members.starts_with("35 ZSet; -4097 -3.0; -8388609 -3.0; "), "{members}");
        assert!(members.contains("; 13 0.1; ") && members.contains("; -1 1e300; ") && members.contains("; 12 inf"), "{members}");
    }
}

#[test]
fn streams_of_real_servers() {
    let at = |text: &str| text.split_ascii_whitespace().map(|word| if word.len() == 13 { "T" } else { word }).collect::<Vec<_>>().join(" ");
    let groups = |read: &str, idle: &str| {
        format!(
            "group g1 5-7 {read}; consumer alice T active T; pending 1-1 T x1; pending 2-0 T x1; consumer bob T active T; pending 5-7 T x1; \
             group g2 5-7 {read}; consumer carol T{idle}; consumer idle T{idle}"
        )
    };
    let seen = |payload: &[u8]| at(&value(payload).replace(';', " ;")).replace(" ;", ";");
    let deleted_and_added = "1-2 5";
    assert_eq!(seen(SAMPLES[11]), format!("{STREAM}; {}", groups("NotKept", " active T")));
    assert_eq!(seen(SAMPLES[12]), format!("{STREAM} {deleted_and_added}; {}", groups("Unknown", " active T")));
    assert_eq!(seen(SAMPLES[13]), format!("{STREAM} {deleted_and_added}; {}", groups("Unknown", "")));
    assert_eq!(seen(sample!("vk-stream")), seen(SAMPLES[13]));
    assert_eq!(value(sample!("6.2-stream-empty")), "0 Stream; 0 1-1");
    assert_eq!(value(sample!("8.2-stream-empty")), "0 Stream; 0 1-1 1-1 1");
}

/// 8.2.3 restores the first two to these; Valkey 9 writes the third.
#[test]
fn forms_that_few_write() {
    let at = 4_102_444_800_000i64;
    let early = [b"\x16\x02\x81".as_slice(), &at.to_be_bytes(), b"\x01f\x01v\x00\x01g\x01w"].concat();
    assert_eq!(of("REDIS0012", &early), "0 k = 2 Hash; f: v at 4102444800000; g: w");
    let pack = [b"\x1F\0\0\0\x06\0\x81f\x02\x81v\x02\xF4".as_slice(), &at.to_le_bytes(), b"\x09\x81g\x02\x81w\x02\x00\x01\xFF"].concat();
    let early_pack = [&[0x17, pack.len() as u8], pack.as_slice()].concat();
    assert_eq!(of("REDIS0012", &early_pack), "0 k = 2 Hash; f: v at 4102444800000; g: w");
    let behind = [b"\x16\x02\x01f\x01v".as_slice(), &at.to_le_bytes(), b"\x01g\x01w", &[0xFF; 8]].concat();
    assert_eq!(of("VALKEY080", &behind), "0 k = 2 Hash; f: v at 4102444800000; g: w");
    let text_scores = b"\x03\x04\x01f\x031.5\x01g\xFF\x01h\xFE\x01i\x040x10";
    assert_eq!(of("REDIS0009", text_scores), "0 k = 4 ZSet; f 1.5; g -inf; h inf; i 16.0");
    assert_eq!(of("REDIS0009", b"\x01\x02\x01f\xC0\x05"), "0 k = 2 List; f; 5");
    assert_eq!(of("REDIS0009", b"\x0A\x0F\x0F\0\0\0\x0C\0\0\0\x02\0\0\xF2\x02\xF3\xFF"), "0 k = 2 List; 1; 2");
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |body: &[u8]| refusal(&file("REDIS0012", &[&body[..1], b"\x01k", &body[1..]].concat()));
    let no_score = "corrupt RDB: a score that is no number".to_owned();
    assert_eq!(refused(b"\x03\x01\x01f\xFD"), (13, no_score.clone()));
    assert_eq!(refused(b"\x03\x01\x01f\x03abc").1, no_score);
    assert_eq!(refused(b"\x05\x01\x01f\0\0\0\0\0\0\xF8\x7F").1, no_score);
    assert_eq!(refused(b"\x11\x0D\x0D\0\0\0\x02\0\x81f\x02\x81x\x02\xFF").1, no_score);
    assert_eq!(refused(b"\x10\x0A\x0A\0\0\0\x01\0\x81f\x02\xFF"), (12, "corrupt RDB: a field without a value".to_owned()));
    assert_eq!(refused(b"\x10\x0B\x0A\0\0\0\x01\0\x81f\x02\xFFx").1, "corrupt RDB: listpack of another length than it says");
    assert_eq!(refused(b"\x12\x01\x03\x01a").1, "corrupt RDB: unknown kind of a list's node");
    let no_expiry = "corrupt RDB: a field's expiry that is no time";
    assert_eq!(refused(&[b"\x18".as_slice(), &i64::MAX.to_le_bytes(), b"\x01\x02\x01f\x01v"].concat()).1, no_expiry);
    assert_eq!(refused(b"\x19\0\0\0\0\0\0\0\0\x10\x10\0\0\0\x03\0\x81f\x02\x81v\x02\xDF\xFF\x02\xFF").1, no_expiry);
    assert_eq!(refused(b"\x0B\xC0\x05").1, "corrupt RDB: Intset without its frame or of another length than it says");
    assert_eq!(refused(b"\x0F\x01\x03abc\x01x").1, "corrupt RDB: a stream's node without an id");
    assert_eq!(refused(b"\x0F\x00\x01\x01\x01\x00").1, "corrupt RDB: a stream of another length than it says");
    let group = b"\x0F\x00\x00\x05\x05\x01\x01g\x05\x05\x01";
    let pending = [[0; 16].as_slice(), &[0; 8], b"\x01"].concat();
    let unowned = [group.as_slice(), &pending, b"\x00"].concat();
    assert_eq!(refused(&unowned).1, "corrupt RDB: a group's and its consumers' pending entries are not the same");
    let owned_twice = [group.as_slice(), &pending, b"\x02\x01a", &[0; 8], b"\x01", &[0; 16], b"\x01b", &[0; 8], b"\x01", &[0; 16]].concat();
    assert_eq!(refused(&owned_twice).1, "corrupt RDB: a group's and its consumers' pending entries are not the same");
}

#[test]
fn counts_that_lie_end_with_the_bytes() {
    for number in [1u8, 2, 3, 4, 5, 22, 24] {
        let body = [&[number][..], b"\x01k", if number == 24 { &[1; 8] } else { &[] }, b"\x81\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x01a"].concat();
        let bytes = [b"REDIS0012", body.as_slice()].concat();
        assert_eq!(refusal(&bytes).1, "unexpected end of the RDB", "{number}");
    }
}

/// What the real servers have saved of every type, in forms for small collections and for big ones.
#[test]
fn files_of_real_servers_verify() {
    for (version, keys, file) in [
        (9, 14, include_bytes!("../../fuzz/corpus/rdb/redis-6.2-types").as_slice()),
        (10, 14, include_bytes!("../../fuzz/corpus/rdb/redis-7.0-types")),
        (11, 14, include_bytes!("../../fuzz/corpus/rdb/valkey-8.1-types")),
        (12, 16, include_bytes!("../../fuzz/corpus/rdb/redis-8.2-types")),
    ] {
        let summary = verify(file, &LoadOptions::new(16, 1), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((summary.version, summary.keys, summary.expires, summary.bytes), (version, keys, 1, file.len() as u64));
    }
}

/// An entry made of a payload, dumped again.
fn dumped(payload: &[u8], limits: Limits, dialect: Dialect) -> Vec<u8> {
    let mut keyspace = Keyspace::new(1, 1);
    keyspace.set_limits(limits);
    let entry = Payload::new(payload).unwrap().restore(b"k", None, &keyspace).unwrap();
    Dumper::default().dump(entry.entry(), dialect, true).to_vec()
}

/// The parts of a value in an order that does not depend on its encoding.
fn sorted(payload: &[u8]) -> Vec<String> {
    let mut parts: Vec<_> = value(payload).split("; ").map(str::to_owned).collect();
    parts[1..].sort();
    parts
}

#[test]
fn what_servers_dump_is_dumped_again() {
    let big = Limits { hash_entries: 1, set_entries: 1, intset_entries: 1, zset_entries: 1, ..Limits::default() };
    let samples = [0, 1, 5, 6, 7, 8, 9, 10, 11, 14, 15].map(|index| SAMPLES[index]);
    for payload in samples.into_iter().chain([sample!("8.2-intset-64"), sample!("zipmap"), sample!("6.2-stream-empty")]) {
        for limits in [Limits::default(), big] {
            let ours = dumped(payload, limits, Dialect::Full);
            assert_eq!(sorted(&ours), sorted(payload));
            let has_times = value(payload).contains(" at ");
            assert_eq!(ours[ours.len() - 10], if has_times { 12 } else { 9 }, "the version");
        }
    }
}

/// The version follows from what a stream knows. For old readers it is left out.
#[test]
fn streams_are_dumped_whole_in_the_oldest_form() {
    for (payload, number, version) in
        [(sample!("6.2-stream"), 15, 9), (sample!("7.0-stream"), 19, 10), (sample!("8.2-stream"), 21, 11), (sample!("8.2-stream-empty"), 19, 10)]
    {
        let ours = dumped(payload, Limits::default(), Dialect::Full);
        let text = value(&ours);
        // What a younger form tells of times that an older one does not have follows from the others.
        assert_eq!(text, value(payload));
        assert_eq!((ours[0], ours[ours.len() - 10]), (number, version), "{text}");
        let for_old = dumped(payload, Limits::default(), Dialect::Oldest);
        assert_eq!((for_old[0], for_old[for_old.len() - 10]), (15, 9), "{text}");
        assert_eq!(dumped(&for_old, Limits::default(), Dialect::Full), for_old);
    }
}

proptest! {
    #[test]
    fn damage_never_panics(
        sample in prop::sample::select(SAMPLES.to_vec()),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = snapshot(sample);
        let end = bytes.len() - 8;
        for (at, byte) in flips {
            bytes[9 + at.index(end - 9)] ^= byte;
        }
        bytes[end..].fill(0);
        let _ = keys(&bytes);
    }
}
