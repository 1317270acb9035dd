//! Lists against a plain model, whatever is done to them, and copies of them that must not change.

use std::collections::VecDeque;

use super::super::tests::{Random, key};
use super::super::{DbIndex, Keyspace, Record, RecordValue, SnapshotId};
use super::*;

type Model = VecDeque<Vec<u8>>;

const KEY: &[u8] = b"list";

fn element(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => vec![b'l'; 4000 + random.below(6000) as usize],
        1..=4 => vec![b'm'; random.below(900) as usize],
        5..=20 => (random.next() as i64 >> random.below(64)).to_string().into_bytes(),
        _ => format!("e{}", random.below(30)).into_bytes(),
    }
}

fn side(random: &mut Random) -> Side {
    if random.below(2) == 0 { Side::Left } else { Side::Right }
}

fn push_all(edit: &mut ListEdit<'_>, model: &mut Model, random: &mut Random) {
    let count = if random.below(6) == 0 { 300 } else { 1 + random.below(4) };
    let side = side(random);
    let elements: Vec<_> = (0..count).map(|_| element(random)).collect();
    edit.expect(elements.len(), elements.iter().map(Vec::len).sum());
    for element in elements {
        edit.push(side, &element);
        match side {
            Side::Left => model.push_front(element),
            Side::Right => model.push_back(element),
        }
    }
}

fn model_remove_equal(model: &mut Model, from: Side, text: &[u8], max: u64) -> u64 {
    let mut removed = 0;
    let mut keep = |element: &Vec<u8>| {
        let goes = element == text && removed < max;
        removed += u64::from(goes);
        !goes
    };
    match from {
        Side::Left => model.retain(&mut keep),
        Side::Right => {
            let kept: Vec<_> = model.drain(..).rev().filter(&mut keep).collect();
            model.extend(kept.into_iter().rev());
        }
    }
    removed
}

/// One random change to a list that is not empty.
fn change(edit: &mut ListEdit<'_>, model: &mut Model, random: &mut Random) {
    let index = random.below(model.len() as u64);
    let new = element(random);
    match random.below(12) {
        0..=4 => push_all(edit, model, random),
        5 => {
            let many = if random.below(5) == 0 { 400 } else { 4 };
            let (side, count) = (side(random), random.below(many));
            edit.pop(side, count);
            let kept = model.len() - model.len().min(count as usize);
            match side {
                Side::Left => drop(model.drain(..model.len() - kept)),
                Side::Right => model.truncate(kept),
            }
        }
        6..=7 => {
            let after = random.below(2) == 0;
            edit.expect(1, new.len());
            edit.insert(index, after, &new);
            model.insert(index as usize + usize::from(after), new);
        }
        8..=9 => {
            edit.expect(1, new.len());
            edit.set(index, &new);
            model[index as usize] = new;
        }
        10 => {
            let count = random.below(200);
            edit.remove_range(index, count);
            let end = model.len().min((index + count) as usize);
            model.drain(index as usize..end);
        }
        _ => {
            let (side, max) = (side(random), if random.below(2) == 0 { u64::MAX } else { 1 + random.below(5) });
            let text = model[index as usize].clone();
            assert_eq!(edit.remove_equal(side, &text, max), model_remove_equal(model, side, &text, max));
        }
    }
}

fn texts<'a>(elems: impl Iterator<Item = Elem<'a>>) -> Vec<Vec<u8>> {
    elems.map(Elem::to_vec).collect()
}

fn check(list: ListRef<'_>, model: &Model, random: &mut Random) {
    if let ListRef::Blocks(blocks) = list {
        blocks.check();
    }
    assert_eq!(list.len(), model.len() as u64);
    assert!(texts(list.iter()).iter().eq(model.iter()));
    let index = random.below(model.len() as u64 + 2);
    assert_eq!(list.get(index).map(Elem::to_vec).as_ref(), model.get(index as usize));
    assert!(texts(list.iter_from(index)).iter().eq(model.iter().skip(index as usize)));
    let back = if index < model.len() as u64 { index as usize + 1 } else { 0 };
    assert!(texts(list.iter_back_from(index)).iter().eq(model.iter().take(back).rev()));
}

/// Reads a whole snapshot, which must hold this list.
fn check_snapshot(keyspace: &mut Keyspace, id: SnapshotId, expected: &Model) {
    let step = keyspace.snapshot_step(id, usize::MAX, &mut || false);
    assert!(step.done);
    let mut seen = Vec::new();
    for record in step.chunks.iter().flat_map(|chunk| chunk.iter()) {
        let Record { kind: Kind::List, value, .. } = record else { panic!("a {:?}", record.kind) };
        match value {
            RecordValue::Block(_, bytes) => seen.extend(texts(Pack::new(bytes).iter())),
            RecordValue::List(blocks) => seen.extend(texts(blocks.packs().flatten())),
            _ => panic!("no list's value"),
        }
    }
    assert!(seen.iter().eq(expected.iter()));
}

fn lists_under_changes(seed: u64, list_size: i64) {
    let mut random = Random(seed);
    let mut keyspace = Keyspace::new(1, seed);
    keyspace.set_limits(Limits { list_size, ..Limits::default() });
    let mut model = Model::new();
    let mut snapshot: Option<(SnapshotId, Model)> = None;
    let mut copy: Option<(ListBlocks, Model)> = None;
    for _ in 0..400 {
        let key = key(&keyspace, KEY);
        let db = keyspace.db_mut(DbIndex(0));
        let edited = match model.is_empty() {
            true => db.edit_list(key, true, |edit| push_all(edit, &mut model, &mut random)),
            false => db.edit_list(key, false, |edit| change(edit, &mut model, &mut random)),
        };
        assert_eq!(edited.map(|edited| edited.emptied), Some(model.is_empty()));
        if random.below(60) == 0 && db.remove(key, false) {
            model.clear();
        }
        match db.get(key).and_then(Entry::list) {
            Some(list) => check(list, &model, &mut random),
            None => assert!(model.is_empty()),
        }
        if let Some(ListRef::Blocks(blocks)) = db.get(key).and_then(Entry::list)
            && random.below(20) == 0
            && let Some((copy, expected)) = copy.replace((blocks.clone(), model.clone()))
        {
            assert!(texts(copy.packs().flatten()).iter().eq(expected.iter()));
        }
        match snapshot.take_if(|_| random.below(10) == 0) {
            Some((id, expected)) => check_snapshot(&mut keyspace, id, &expected),
            None if snapshot.is_none() => snapshot = Some((keyspace.begin_snapshot(), model.clone())),
            None => {}
        }
    }
    // What was counted while it changed is what goes with it; the table's own few bytes may stay.
    let key = key(&keyspace, KEY);
    let db = keyspace.db_mut(DbIndex(0));
    db.remove(key, false);
    assert!(db.allocated() < 256, "{}", db.allocated());
}

#[test]
fn lists_are_what_a_model_says_and_copies_of_them_never_change() {
    for seed in 0..30 {
        lists_under_changes(seed, [-2, -1, 3, 128, -5][seed as usize % 5]);
    }
}

/// How Redis 8.2.3 encodes lists of so many elements of this length that were pushed one by one, and how far they must shrink for the compact form.
#[test]
fn lists_are_encoded_as_redis_does() {
    let mut keyspace = Keyspace::new(1, 1);
    for (bytes, list_size, first_big) in [(1, -2, 2730), (10, -2, 683), (60, -2, 133), (1000, -2, 9), (1, 10, 11), (2000, 10, 5)] {
        keyspace.set_limits(Limits { list_size, ..Limits::default() });
        let key = key(&keyspace, KEY);
        let db = keyspace.db_mut(DbIndex(0));
        db.remove(key, false);
        let encoding = |db: &Db| db.get(key).map(Entry::encoding);
        let push = |db: &mut Db, text: &[u8]| {
            db.edit_list(key, true, |edit| {
                edit.expect(1, text.len());
                edit.push(Side::Right, text);
            });
        };
        for _ in 1..first_big {
            push(db, &vec![b'x'; bytes]);
            assert_eq!(encoding(db), Some("listpack"), "{bytes} {list_size}");
        }
        push(db, &vec![b'x'; bytes]);
        assert_eq!(encoding(db), Some("quicklist"), "{bytes} {list_size}");
        // The first block is as good as full, the second has one element.
        db.edit_list(key, false, |edit| edit.pop(Side::Left, first_big - 2));
        assert_eq!(encoding(db), Some("quicklist"), "{bytes} {list_size}");
        db.edit_list(key, false, |edit| edit.pop(Side::Left, 1));
        assert_eq!(encoding(db), Some("listpack"), "{bytes} {list_size}");
    }
}
