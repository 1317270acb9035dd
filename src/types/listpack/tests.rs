//! Packs against a model (a `Vec` of texts), byte for byte against Redis, and against damaged bytes.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

/// Texts on both sides of every limit between forms.
fn texts() -> Vec<Vec<u8>> {
    let numbers: [i64; 9] = [0, 0x80, 0x1000, 0x8000, 0x80_0000, 0x8000_0000, 1 << 40, i64::MAX, i64::MIN];
    let near = numbers.iter().flat_map(|&number| [number.wrapping_sub(1), number, number.wrapping_neg(), number.wrapping_neg().wrapping_sub(1)]);
    let lengths = [0, 1, 63, 64, 125, 126, 127, 4095, 4096, 16_377, 16_378, 16_379, 16_383, 70_000];
    near.map(|number| number.to_string().into_bytes())
        .chain(lengths.map(|len| vec![b'x'; len]))
        .chain(["-0", "+1", "01", " 1", "9223372036854775808", "1.5"].map(|text| text.as_bytes().to_vec()))
        .collect()
}

fn body_of(texts: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut pack = PackMut::new(&mut body);
    for text in texts {
        pack.push_back(Elem::of(text));
    }
    body
}

/// Everything that can be read of a pack, against the model.
fn check(body: &[u8], model: &[Vec<u8>]) {
    validate(body).unwrap();
    let pack = Pack::new(body);
    assert_eq!(pack.len(), model.len());
    assert_eq!(pack.is_empty(), model.is_empty());
    assert!(pack.iter().map(Elem::to_vec).eq(model.iter().cloned()));
    assert!(pack.iter().rev().map(Elem::to_vec).eq(model.iter().rev().cloned()));
    let entries: Vec<_> = pack.entries().collect();
    assert!(pack.entries().rev().eq(entries.iter().rev().copied()));
    for (index, &(pos, elem)) in entries.iter().enumerate() {
        assert_eq!((pack.position(index), pack.get(index), pack.at(pos)), (Some(pos), Some(elem), elem));
        assert_eq!(pack.next(pos), entries.get(index + 1).map(|entry| entry.0));
        assert_eq!(pack.prev(pos), index.checked_sub(1).map(|before| entries[before].0));
    }
    assert_eq!((pack.first(), pack.last()), (entries.first().map(|entry| entry.0), entries.last().map(|entry| entry.0)));
    assert_eq!((pack.position(model.len()), pack.get(usize::MAX)), (None, None));
}

#[test]
fn elements_are_their_texts() {
    for text in texts() {
        let elem = Elem::of(&text);
        assert_eq!((elem.len(), elem.to_vec(), elem.is(&text), elem.is_empty()), (text.len(), text.clone(), true, text.is_empty()));
        assert_eq!(elem.as_int().map(|number| number.to_string().into_bytes()), elem.as_int().map(|_| text.clone()));
        assert_eq!(elem.cmp_bytes(&text), Ordering::Equal);
        let longer = [&text[..], b"0"].concat();
        assert!(!elem.is(&longer) && elem.cmp_bytes(&longer) == Ordering::Less);
        let (mut body, mut out) = (Vec::new(), b"+".to_vec());
        PackMut::new(&mut body).push_back(elem);
        assert_eq!(body.len(), HEADER + encoded_len(elem));
        check(&body, std::slice::from_ref(&text));
        elem.append_to(&mut out);
        assert_eq!(out[1..], text);
    }
    assert_eq!(Elem::of(b"-0"), Elem::Bytes(b"-0"));
    assert_eq!(Elem::of(b"-9223372036854775808"), Elem::Int(i64::MIN));
}

#[test]
fn a_pack_of_every_form_from_both_ends() {
    let all = texts();
    let body = body_of(&all);
    check(&body, &all);
    for (index, text) in all.iter().enumerate() {
        let first = all.iter().position(|other| other == text).unwrap();
        let pack = Pack::new(&body);
        assert_eq!(pack.find(text, 1), pack.position(first));
        let third = (0..all.len()).step_by(3).find(|&at| all[at] == *text);
        assert_eq!(pack.find(text, 3), third.and_then(|at| pack.position(at)), "{index}");
    }
    check(&[], &[]);
    check(&[0, 0], &[]);
    assert_eq!((Pack::new(&[]).find(b"", 2), Pack::new(&[]).end()), (None, HEADER));
}

/// The only node of a list in a DUMP by 7.0.15, after RPUSH of these texts: the forms are not ours to choose.
#[test]
fn the_forms_are_redis_s() {
    let mut long = vec![0xE0, 64];
    long.extend([b'x'; 64]);
    long.push(66);
    let redis = [
        &[0x71, 0, 0, 0, 10, 0][..],
        &[1, 1, 0xDF, 0xFF, 2, 0x85, b'h', b'e', b'l', b'l', b'o', 6, 0x7F, 1, 0xC0, 0x80, 2, 0xD0, 0, 2, 0xF1, 0, 0x10, 3],
        &[0xF2, 0x40, 0x9C, 0, 4, 0xF4, 0, 0x5E, 0xD0, 0xB2, 0, 0, 0, 0, 9],
        &long,
        &[0xFF],
    ]
    .concat();
    let texts = ["1", "-1", "hello", "127", "128", "-4096", "4096", "40000", "3000000000"].map(|text| text.as_bytes().to_vec());
    let texts: Vec<_> = texts.into_iter().chain([vec![b'x'; 64]]).collect();
    let body = from_redis(&redis).unwrap();
    assert_eq!(body, body_of(&texts));
    let mut back = Vec::new();
    Pack::new(&body).to_redis(&mut back);
    assert_eq!(back, redis);
}

#[test]
fn redis_s_form_is_checked_and_shortened() {
    let framed = |count: u16, elements: &[u8]| {
        let mut bytes = (7 + elements.len() as u32).to_le_bytes().to_vec();
        bytes.extend(count.to_le_bytes());
        bytes.extend(elements);
        bytes.push(0xFF);
        bytes
    };
    let five = body_of(&[b"5".to_vec()]);
    for elements in [&[5, 1][..], &[0x81, b'5', 2], &[0xE0, 1, b'5', 3], &[0xF1, 5, 0, 3], &[0xF4, 5, 0, 0, 0, 0, 0, 0, 0, 9]] {
        assert_eq!(from_redis(&framed(1, elements)).as_ref(), Ok(&five), "{elements:?}");
        assert_eq!(from_redis(&framed(u16::MAX, elements)).as_ref(), Ok(&five));
        let ours = [&[1, 0], elements].concat();
        assert_eq!(validate(&ours), if ours == five { Ok(()) } else { Err(PackError::NotShortest) });
    }
    for (count, elements, error) in [
        (2, &[5, 1][..], PackError::Count),
        (0, &[5, 1], PackError::Count),
        (1, &[5, 2], PackError::Backlen),
        (1, &[5], PackError::Element),
        (1, &[0xF5, 1], PackError::Element),
        (1, &[0x82, b'a', 2], PackError::Element),
        (1, &[0xF0, 0xFF, 0xFF, 0xFF, 0xFF, 5], PackError::Element),
        (1, &[0xFF, 1], PackError::Element),
        (1, &[5, 0x80, 1], PackError::Backlen),
    ] {
        assert_eq!(from_redis(&framed(count, elements)), Err(error), "{elements:?}");
        assert!(validate(&[&count.to_le_bytes(), elements].concat()).is_err());
    }
    let mut wrong = framed(1, &[5, 1]);
    wrong[0] += 1;
    assert_eq!(from_redis(&wrong), Err(PackError::Length));
    wrong[0] -= 1;
    *wrong.last_mut().unwrap() = 0xFE;
    assert_eq!(from_redis(&wrong), Err(PackError::Frame));
    for len in 0..7 {
        assert!(from_redis(&wrong[..len]).is_err());
    }
    let many = framed(u16::MAX, &[5, 1].repeat(ELEMENTS_MAX + 1));
    assert_eq!(from_redis(&many), Err(PackError::TooMany));
    assert_eq!(RedisElems::new(&many).unwrap().filter(Result::is_ok).count(), ELEMENTS_MAX + 1);
    assert_eq!(Pack::new(&from_redis(&framed(u16::MAX, &[5, 1].repeat(ELEMENTS_MAX))).unwrap()).len(), ELEMENTS_MAX);
}

#[derive(Clone, Debug)]
enum Edit {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    Insert(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    Remove(usize, usize),
    Append(Vec<Vec<u8>>),
    SplitOff(usize, bool),
    Clear,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(texts()),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        any::<i16>().prop_map(|number| number.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = 0..40usize;
    prop_oneof![
        3 => text().prop_map(Edit::PushBack),
        3 => text().prop_map(Edit::PushFront),
        3 => (index.clone(), text()).prop_map(|(at, text)| Edit::Insert(at, text)),
        3 => (index.clone(), text()).prop_map(|(at, text)| Edit::Replace(at, text)),
        2 => (index.clone(), 0..4usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        1 => prop::collection::vec(text(), 0..4).prop_map(Edit::Append),
        1 => (index, any::<bool>()).prop_map(|(at, rest)| Edit::SplitOff(at, rest)),
        1 => Just(Edit::Clear),
    ]
}

fn apply(body: &mut Vec<u8>, model: &mut Vec<Vec<u8>>, edit: Edit) {
    let mut pack = PackMut::new(body);
    let place = |pack: &PackMut<'_>, index: usize| pack.pack().position(index).unwrap_or(pack.pack().end());
    match edit {
        Edit::PushBack(text) => {
            pack.push_back(Elem::of(&text));
            model.push(text);
        }
        Edit::PushFront(text) => {
            pack.push_front(Elem::of(&text));
            model.insert(0, text);
        }
        Edit::Insert(at, text) => {
            let at = at.min(model.len());
            pack.insert(place(&pack, at), Elem::of(&text));
            model.insert(at, text);
        }
        Edit::Replace(at, text) if !model.is_empty() => {
            let at = at % model.len();
            pack.replace(place(&pack, at), Elem::of(&text));
            model[at] = text;
        }
        Edit::Replace(..) => {}
        Edit::Remove(at, count) => {
            let at = at.min(model.len());
            let count = count.min(model.len() - at);
            pack.remove(place(&pack, at), count);
            model.drain(at..at + count);
        }
        Edit::Append(texts) => {
            pack.append(Pack::new(&body_of(&texts)));
            model.extend(texts);
        }
        Edit::SplitOff(at, keep_rest) => {
            let at = at.min(model.len());
            let rest = pack.split_off(place(&pack, at));
            let model_rest = model.split_off(at);
            check(&rest, &model_rest);
            if keep_rest {
                (*body, *model) = (rest, model_rest);
            }
        }
        Edit::Clear => {
            pack.clear();
            model.clear();
        }
    }
}

proptest! {
    #[test]
    fn edits_do_what_they_do_to_a_vec(edits in prop::collection::vec(edit(), 1..40)) {
        let (mut body, mut model) = (Vec::new(), Vec::new());
        for edit in edits {
            apply(&mut body, &mut model, edit);
            check(&body, &model);
            prop_assert_eq!(&body, &body_of(&model));
            let mut redis = Vec::new();
            Pack::new(&body).to_redis(&mut redis);
            prop_assert_eq!(from_redis(&redis).unwrap(), body.clone());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), flips in prop::collection::vec((0..400usize, any::<u8>()), 1..4)) {
        let _ = validate(&bytes);
        let _ = from_redis(&bytes);
        let mut body = body_of(&[b"field".to_vec(), b"300".to_vec(), vec![b'y'; 200], b"-1".to_vec()]);
        let mut redis = Vec::new();
        Pack::new(&body).to_redis(&mut redis);
        for (at, byte) in flips {
            let (at, in_body) = (at % redis.len(), at % body.len());
            redis[at] ^= byte;
            body[in_body] ^= byte;
        }
        if let Ok(body) = from_redis(&redis) {
            prop_assert!(validate(&body).is_ok());
        }
        if validate(&body).is_ok() {
            prop_assert_eq!(Pack::new(&body).iter().count(), Pack::new(&body).len());
            prop_assert_eq!(Pack::new(&body).iter().rev().count(), Pack::new(&body).len());
        }
    }
}
