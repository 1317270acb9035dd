//! Compact forms as real servers write them (`fuzz/corpus/restore` has payloads of DUMP), and damaged ones.

use proptest::prelude::*;

use super::*;

/// What the samples hold. The hashes have fields f0, f1, ... to these.
fn texts() -> Vec<Vec<u8>> {
    let numbers = "0 1 12 13 -1 127 128 255 -128 -129 4095 4096 -4096 -4097 32767 32768 -32768 -32769 -8388608 -8388609 8388607 8388608 \
                   2147483647 -2147483648 2147483648 -9223372036854775808 9223372036854775807";
    let mut texts: Vec<Vec<u8>> = numbers.split_ascii_whitespace().map(|text| text.as_bytes().to_vec()).collect();
    texts.extend([b"".to_vec(), b"-0".to_vec(), b"hello".to_vec(), vec![b'x'; 63], vec![b'y'; 64]]);
    texts.extend([b"\xC3\xA9\x00\xFF\r\n".to_vec(), vec![b'z'; 300], b"after".to_vec()]);
    texts
}

const SAMPLES: [(Form, &[u8]); 10] = [
    (Form::Ziplist, include_bytes!("../../../fuzz/corpus/restore/6.2-hash-compact")),
    (Form::Listpack, include_bytes!("../../../fuzz/corpus/restore/7.0-hash-compact")),
    (Form::Listpack, include_bytes!("../../../fuzz/corpus/restore/8.2-hash-compact")),
    (Form::Ziplist, include_bytes!("../../../fuzz/corpus/restore/6.2-hash-compact-long")),
    (Form::Listpack, include_bytes!("../../../fuzz/corpus/restore/7.0-hash-compact-long")),
    (Form::Ziplist, include_bytes!("../../../fuzz/corpus/restore/6.2-zset-compact")),
    (Form::Listpack, include_bytes!("../../../fuzz/corpus/restore/8.2-zset-compact")),
    (Form::Intset, include_bytes!("../../../fuzz/corpus/restore/8.2-intset-16")),
    (Form::Intset, include_bytes!("../../../fuzz/corpus/restore/8.2-intset-32")),
    (Form::Intset, include_bytes!("../../../fuzz/corpus/restore/6.2-intset-64")),
];

/// The string in a payload: between the type with a length in the shortest form, and the footer of ten bytes.
fn string(payload: &[u8]) -> &[u8] {
    let from = match payload[1] {
        0..0x40 => 2,
        0x40..0x80 => 3,
        _ => 6,
    };
    &payload[from..payload.len() - 10]
}

fn read(form: Form, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CompactError> {
    Elements::new(form, bytes)?.map(|elem| Ok(elem?.to_vec())).collect()
}

fn sample(index: usize) -> Vec<Vec<u8>> {
    let (form, payload) = SAMPLES[index];
    read(form, string(payload)).unwrap()
}

fn numbers(numbers: &[i64]) -> Vec<Vec<u8>> {
    numbers.iter().map(|number| number.to_string().into_bytes()).collect()
}

#[test]
fn forms_of_real_servers() {
    let pairs: Vec<_> = texts().into_iter().enumerate().flat_map(|(at, text)| [format!("f{at}").into_bytes(), text]).collect();
    for hash in 0..3 {
        assert_eq!(sample(hash), pairs);
    }
    for long in 3..5 {
        assert_eq!(sample(long), [b"a".to_vec(), vec![b'b'; 5000], b"c".to_vec(), vec![b'd'; 17_000], b"e".to_vec(), b"f".to_vec()]);
    }
    for zset in 5..7 {
        let elements = sample(zset);
        let (mut members, mut expected) = (elements.iter().step_by(2).cloned().collect::<Vec<_>>(), texts());
        members.sort();
        expected.sort();
        assert_eq!(members, expected);
        assert!(elements.iter().skip(1).step_by(2).all(|score| crate::types::number::parse_f64(score).is_some()));
    }
    assert_eq!(sample(7), numbers(&[-5, 0, 300]));
    assert_eq!(sample(8), numbers(&[-70_000, 1, i64::from(i32::MAX)]));
    assert_eq!(sample(9), numbers(&[i64::MIN, 5, 1 << 40]));
}

/// What 7.0.15 makes of these bytes: HGETALL after RESTORE of a hash of type 9.
#[test]
fn zipmaps() {
    let long = [b"\x02\x01a\x02\x03bc   \xFE\x2C\x01\x00\x00".as_slice(), &[b'd'; 300], b"\x01\x005\xFF"].concat();
    let expected = [b"a".to_vec(), b"bc".to_vec(), vec![b'd'; 300], b"5".to_vec()];
    assert_eq!(read(Form::Zipmap, &long).as_deref(), Ok(expected.as_slice()));
    let unknown = [b"\xFE", &long[1..]].concat();
    assert_eq!(read(Form::Zipmap, &unknown).as_deref(), Ok(expected.as_slice()));
    assert_eq!(read(Form::Zipmap, b"\x00\xFF"), Ok(Vec::new()));
}

#[test]
fn damage_is_named() {
    let refused = |form, bytes: &[u8]| read(form, bytes).unwrap_err();
    let two = b"\x11\0\0\0\x0D\0\0\0\x02\0\x00\x01a\x03\x01b\xFF";
    assert_eq!(read(Form::Ziplist, two), Ok(vec![b"a".to_vec(), b"b".to_vec()]));
    let changed = |at: usize, to: u8| {
        let mut bytes = two.to_vec();
        bytes[at] = to;
        refused(Form::Ziplist, &bytes)
    };
    assert_eq!(changed(0, 0x12), CompactError::Frame(Form::Ziplist));
    assert_eq!(changed(16, 0xFE), CompactError::Frame(Form::Ziplist));
    assert_eq!(changed(4, 0x0A), CompactError::Backlen(Form::Ziplist));
    assert_eq!(changed(13, 2), CompactError::Backlen(Form::Ziplist));
    assert_eq!(changed(8, 3), CompactError::Count(Form::Ziplist));
    assert_eq!(changed(8, 1), CompactError::Count(Form::Ziplist));
    assert_eq!(changed(14, 2), CompactError::Element(Form::Ziplist));
    assert_eq!(changed(14, 0x81), CompactError::Element(Form::Ziplist));
    assert_eq!(changed(14, 0xFF), CompactError::Element(Form::Ziplist));
    assert_eq!(refused(Form::Zipmap, b"\x02\x01a\x01\x00b\xFF"), CompactError::Count(Form::Zipmap));
    assert_eq!(refused(Form::Zipmap, b"\xFE\x01a\xFF"), CompactError::Count(Form::Zipmap));
    assert_eq!(refused(Form::Zipmap, b"\x01\x01a\x01\x09b\xFF"), CompactError::Element(Form::Zipmap));
    assert_eq!(refused(Form::Zipmap, b"\x01\xFF"), CompactError::Count(Form::Zipmap));
    assert_eq!(refused(Form::Intset, b"\x02\0\0\0\x02\0\0\0\x05\0\x05\0"), CompactError::Order);
    assert_eq!(refused(Form::Intset, b"\x02\0\0\0\x03\0\0\0\x05\0\x06\0"), CompactError::Count(Form::Intset));
    assert_eq!(refused(Form::Intset, b"\x03\0\0\0\x00\0\0\0"), CompactError::Frame(Form::Intset));
    assert_eq!(refused(Form::Listpack, b"\x08\0\0\0\x01\0\x05\xFF"), CompactError::Listpack(PackError::Element));
}

/// Elements end, and never panic.
fn drain(form: Form, bytes: &[u8]) {
    if let Ok(elements) = Elements::new(form, bytes) {
        let mut errors = 0;
        for (index, elem) in elements.enumerate() {
            assert!(index <= bytes.len() && errors == 0, "ends behind an error");
            errors += usize::from(elem.is_err());
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        sample in 0..SAMPLES.len(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (own, payload) = SAMPLES[sample];
        let mut damaged = string(payload).to_vec();
        for (at, byte) in flips {
            let at = at.index(damaged.len().min(400));
            damaged[at] ^= byte;
        }
        damaged.truncate(cut.map_or(damaged.len(), |at| at.index(damaged.len())));
        for form in [Form::Listpack, Form::Ziplist, Form::Zipmap, Form::Intset] {
            drain(form, &bytes);
            drain(form, if form == own { &damaged } else { string(payload) });
        }
    }
}
