//! Streams in a database: they are captured as they were at the cut, cost what is counted, and stay when they are empty.

use super::*;
use crate::types::stream::{Group, Refs, Removed, Stream, StreamId};

fn id(seq: u64) -> StreamId {
    StreamId { ms: 0, seq }
}

fn key<'a>(keyspace: &Keyspace, bytes: &'a [u8]) -> Key<'a> {
    Key { bytes, hash: keyspace.hash(bytes) }
}

fn edit<R>(keyspace: &mut Keyspace, name: &[u8], change: impl FnOnce(&mut Stream) -> R) -> R {
    let key = key(keyspace, name);
    keyspace.db_mut(DbIndex(0)).edit_stream(key, true, |stream, _| change(stream)).expect("it has been created")
}

fn append(keyspace: &mut Keyspace, name: &[u8], count: u64) {
    let key = key(keyspace, name);
    keyspace.db_mut(DbIndex(0)).edit_stream(key, true, |stream, limits| {
        for _ in 0..count {
            let next = stream.last_id().next().expect("another ID");
            stream.append(next, &[b"field", next.to_string().as_bytes()], limits);
        }
    });
}

/// Entries, groups and what is pending, as text.
fn shown(stream: &Stream) -> String {
    let entries: Vec<String> = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| format!("{} {:?}", entry.id, entry.pairs().last())).collect();
    let groups = stream.groups().map(|(name, group)| {
        let pending: Vec<_> = group.pending_from(StreamId::MIN).collect();
        format!("{} {} {pending:?}", name.escape_ascii(), group.last_id())
    });
    format!("{entries:?} {:?} {} {}", groups.collect::<Vec<_>>(), stream.last_id(), stream.max_deleted_id())
}

fn all_shown(keyspace: &Keyspace) -> BTreeMap<Vec<u8>, String> {
    let streams = keyspace.db(DbIndex(0)).iter().filter_map(|entry| Some((entry.key().to_vec(), shown(entry.stream()?))));
    streams.collect()
}

#[test]
fn what_is_captured_is_the_state_at_the_cut() {
    let mut keyspace = Keyspace::new(1, 5);
    for name in [b"a".as_slice(), b"b", b"c", b"d"] {
        append(&mut keyspace, name, scaled(3000));
        edit(&mut keyspace, name, |stream| {
            let mut group = Group::new(id(20), Some(20));
            (1..20).for_each(|seq| group.assign(id(seq), b"consumer", 1, 1));
            stream.create_group(b"g", group)
        });
    }
    let at_cut = all_shown(&keyspace);
    let snapshot = keyspace.begin_snapshot();
    for name in [b"a".as_slice(), b"b", b"new"] {
        append(&mut keyspace, name, 5);
        edit(&mut keyspace, name, |stream| {
            stream.delete(id(3), Refs::Delete, &mut Removed::default());
            stream.edit_group(b"g", |group| group.ack(id(1)));
        });
    }
    let deleted = key(&keyspace, b"c");
    keyspace.db_mut(DbIndex(0)).remove(deleted, true);
    let mut captured = BTreeMap::new();
    loop {
        let step = keyspace.snapshot_step(snapshot, 1, &mut || true);
        for record in step.chunks.iter().flat_map(Chunk::iter) {
            let RecordValue::Stream(stream) = record.value else { panic!("only streams are here") };
            captured.insert(record.key.to_vec(), shown(stream));
        }
        // Captured or not, they are written to on.
        append(&mut keyspace, b"d", 1);
        if step.done {
            break;
        }
    }
    assert_eq!(captured, at_cut);
    assert_ne!(all_shown(&keyspace), at_cut);
}

#[test]
fn what_is_counted_goes_with_them() {
    let mut keyspace = Keyspace::new(1, 5);
    append(&mut keyspace, b"s", 1);
    let tables = keyspace.allocated() - entry_bytes(&keyspace);
    for round in 0..10 {
        append(&mut keyspace, b"s", 50);
        edit(&mut keyspace, b"s", |stream| {
            stream.create_group(format!("group:{round}").as_bytes(), Group::new(StreamId::MIN, None));
            stream.delete(id(round * 7), Refs::Keep, &mut Removed::default());
        });
        assert_eq!(keyspace.allocated(), tables + entry_bytes(&keyspace));
    }
    let key = key(&keyspace, b"s");
    keyspace.db_mut(DbIndex(0)).remove(key, false);
    while keyspace.db_mut(DbIndex(0)).shrink_step() {}
    assert_eq!(keyspace.allocated(), Keyspace::new(1, 5).allocated());
}

fn entry_bytes(keyspace: &Keyspace) -> usize {
    keyspace.db(DbIndex(0)).iter().map(Entry::allocated).sum()
}

#[test]
fn an_emptied_stream_stays_and_a_copy_is_its_own() {
    let mut keyspace = Keyspace::new(1, 5);
    append(&mut keyspace, b"s", 3);
    let (from, to) = (key(&keyspace, b"s"), key(&keyspace, b"t"));
    let mut copy = keyspace.db(DbIndex(0)).copy_of(from).expect("it is there");
    copy = copy.with_key(b"t");
    keyspace.db_mut(DbIndex(0)).insert(to.hash, copy);
    for seq in 1..=3 {
        edit(&mut keyspace, b"s", |stream| stream.delete(id(seq), Refs::Keep, &mut Removed::default()));
    }
    let len = |name| keyspace.db(DbIndex(0)).get(name).and_then(Entry::stream).map(Stream::len);
    assert_eq!([len(from), len(to)], [Some(0), Some(3)]);
}
