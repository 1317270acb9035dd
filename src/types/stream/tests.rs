//! Streams and groups against plain models under seeded writes; nodes as Redis has them.

use std::collections::BTreeMap;

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::types::listpack::Elem;

type Model = BTreeMap<StreamId, Vec<Vec<u8>>>;

const LIMITS: NodeLimits = NodeLimits { bytes: 200, entries: 7 };

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId { ms, seq }
}

fn below(random: &mut Xoshiro256PlusPlus, limit: u64) -> u64 {
    random.next_u64() % limit.max(1)
}

fn texts(entry: &Entry<'_>) -> Vec<Vec<u8>> {
    entry.pairs().flat_map(|(field, value)| [field.to_vec(), value.to_vec()]).collect()
}

fn append(stream: &mut Stream, model: &mut Model, id: StreamId, texts: Vec<Vec<u8>>) {
    let pairs: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    stream.append(id, &pairs, LIMITS);
    model.insert(id, texts);
}

fn random_texts(random: &mut Xoshiro256PlusPlus) -> Vec<Vec<u8>> {
    let fields = 1 + below(random, 3);
    let text = |random: &mut Xoshiro256PlusPlus, is_field: bool| match below(random, 6) {
        0 => random.next_u64().to_string().into_bytes(),
        1 if !is_field => vec![b'x'; below(random, 100) as usize],
        2 if !is_field => Vec::new(),
        _ => vec![b'a' + below(random, 3) as u8],
    };
    (0..2 * fields).map(|at| text(random, at % 2 == 0)).collect()
}

/// What is allocated, counted anew.
fn recount(stream: &Stream) -> usize {
    let groups = stream.groups().map(|(name, group)| {
        let consumers: usize = group.consumers().map(Consumer::allocated).sum();
        GROUP_SLOT + size_class(name.len()) + group.allocated_but_for_consumers() + consumers
    });
    stream.blocks.allocated() + stream.blocks().map(Block::allocated).sum::<usize>() + groups.sum::<usize>()
}

fn compare(stream: &Stream, model: &Model, random: &mut Xoshiro256PlusPlus) {
    assert_eq!(stream.len(), model.len() as u64);
    assert_eq!(stream.first_id(), model.keys().next().copied().unwrap_or_default());
    assert_eq!(stream.allocated(), recount(stream));
    let all = || stream.range(StreamId::MIN, StreamId::MAX);
    assert!(all().map(|entry| (entry.id, texts(&entry))).eq(model.iter().map(|(id, texts)| (*id, texts.clone()))));
    assert!(all().rev().map(|entry| entry.id).eq(model.keys().rev().copied()));
    for _ in 0..5 {
        let mut ends = [id(below(random, 40), below(random, 4)), id(below(random, 40), below(random, 4))];
        ends.sort();
        let [start, end] = ends;
        let expected: Vec<_> = model.range(start..=end).map(|(id, _)| *id).collect();
        let (mut front, mut back) = (Vec::new(), Vec::new());
        let mut range = stream.range(start, end);
        // From both ends in turn, until they meet.
        loop {
            let is_front = below(random, 2) == 0;
            let Some(entry) = (if is_front { range.next() } else { range.next_back() }) else { break };
            if is_front { &mut front } else { &mut back }.push(entry.id);
        }
        assert!(front.iter().chain(back.iter().rev()).eq(&expected), "{start} {end}: {front:?} {back:?}");
        assert_eq!(stream.get(start).map(|entry| texts(&entry)).as_ref(), model.get(&start));
    }
    let mut copy = Stream::new();
    for block in stream.blocks() {
        let mut listpack = Vec::new();
        block.to_redis(&mut listpack);
        let read = Block::from_redis(block.id(), &listpack).unwrap();
        assert_eq!((&read, read.last()), (block, block.last()));
        assert!(copy.append_block(read));
    }
    assert!(copy.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).eq(model.keys().copied()));
}

fn trim_model(model: &mut Model, to: TrimTo) {
    match to {
        TrimTo::MaxLen(max) => {
            while model.len() as u64 > max {
                model.pop_first();
            }
        }
        TrimTo::MinId(min) => *model = model.split_off(&min),
    }
}

#[test]
fn a_stream_is_a_map_and_its_clones_stay_what_they_were() {
    for seed in 0..10 {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (mut stream, mut model) = (Stream::new(), Model::new());
        let mut clones: Vec<(Stream, Model)> = Vec::new();
        for _ in 0..800 {
            let last = stream.last_id();
            match below(&mut random, 20) {
                0..12 => {
                    let next = if below(&mut random, 3) == 0 { id(last.ms + 1, 0) } else { last.next().unwrap() };
                    append(&mut stream, &mut model, next, random_texts(&mut random));
                }
                12..18 => {
                    let id = id(below(&mut random, last.ms + 2), below(&mut random, 4));
                    let removal = stream.delete(id, Refs::Keep, &mut Removed::default());
                    assert_eq!(removal == Removal::Done, model.remove(&id).is_some());
                }
                18 => {
                    let to = match below(&mut random, 2) {
                        0 => TrimTo::MaxLen(stream.len().saturating_sub(below(&mut random, 20))),
                        _ => TrimTo::MinId(id(stream.first_id().ms + below(&mut random, 3), 1)),
                    };
                    let approx = below(&mut random, 2) == 0;
                    let before = model.clone();
                    trim_model(&mut model, to);
                    let gone = stream.trim(&Trim { to, approx, limit: 0, refs: Refs::Keep }, &mut Removed::default());
                    if approx {
                        // Fewer may have gone, but less than a block's worth.
                        let exact = model.len();
                        model = if stream.is_empty() { Model::new() } else { before.clone().split_off(&stream.first_id()) };
                        assert!((exact..exact + LIMITS.entries as usize).contains(&model.len()));
                    }
                    assert_eq!(gone, (before.len() - model.len()) as u64);
                }
                _ => {
                    compare(&stream, &model, &mut random);
                    clones.push((stream.clone(), model.clone()));
                }
            }
        }
        clones.push((stream, model));
        clones.iter().for_each(|(stream, model)| compare(stream, model, &mut random));
    }
}

/// Consumer, time and count of what is pending, by ID.
type PendingModel = BTreeMap<StreamId, (u8, i64, u64)>;

fn compare_group(group: &Group, model: &PendingModel, consumers: &BTreeMap<u8, i64>) {
    let seen = group.pending_from(StreamId::MIN).map(|pending| (pending.id, (pending.consumer[0], pending.delivered_ms, pending.deliveries)));
    assert!(seen.eq(model.iter().map(|(id, pending)| (*id, *pending))));
    assert_eq!(group.pending_len(), model.len() as u64);
    assert!(group.consumers().map(|consumer| (consumer.name()[0], consumer.seen_ms)).eq(consumers.iter().map(|(name, seen)| (*name, *seen))));
    for consumer in group.consumers() {
        let name = consumer.name()[0];
        let own: Vec<_> = model.iter().filter(|(_, pending)| pending.0 == name).map(|(id, _)| *id).collect();
        assert!(consumer.pending_from(StreamId::MIN).eq(own.iter().copied()));
        assert_eq!(consumer.pending_len(), own.len() as u64);
    }
}

#[test]
fn a_groups_pending_entries_are_its_consumers() {
    for seed in 0..10 {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut stream = Stream::new();
        assert!(stream.create_group(b"g", Group::new(StreamId::MIN, None)));
        assert!(!stream.create_group(b"g", Group::new(StreamId::MAX, None)));
        let (mut model, mut consumers) = (PendingModel::new(), BTreeMap::new());
        let mut clones = Vec::new();
        for step in 0..1500 {
            let id = id(below(&mut random, 60), below(&mut random, 4));
            let name = b'a' + below(&mut random, 5) as u8;
            let edit = |stream: &mut Stream, change: &mut dyn FnMut(&mut Group)| stream.edit_group(b"g", change).unwrap();
            match below(&mut random, 10) {
                0 => edit(&mut stream, &mut |group| {
                    assert_eq!(group.create_consumer(&[name], step), !consumers.contains_key(&name));
                    consumers.entry(name).or_insert(step);
                }),
                1 if step % 7 == 0 => edit(&mut stream, &mut |group| {
                    let had = model.values().filter(|pending| pending.0 == name).count() as u64;
                    assert_eq!(group.delete_consumer(&[name]), consumers.remove(&name).map(|_| had));
                    model.retain(|_, pending| pending.0 != name);
                }),
                2 => edit(&mut stream, &mut |group| {
                    let edited = group.edit_consumer(&[name], |consumer| {
                        consumer.seen_ms = step;
                        consumer.active_ms = if step % 3 == 0 { -1 } else { step };
                    });
                    let known = edited.is_some();
                    assert_eq!(known, consumers.insert(name, step).is_some() || consumers.remove(&name).is_none());
                }),
                3 | 4 => edit(&mut stream, &mut |group| assert_eq!(group.ack(id), model.remove(&id).is_some())),
                5 if step % 7 == 0 => clones.push((stream.clone(), model.clone(), consumers.clone())),
                _ => edit(&mut stream, &mut |group| {
                    group.assign(id, &[name], step, 3);
                    model.insert(id, (name, step, 3));
                    consumers.entry(name).or_insert(step);
                }),
            }
        }
        clones.push((stream, model, consumers));
        for (stream, model, consumers) in &clones {
            compare_group(stream.group(b"g").unwrap(), model, consumers);
            assert_eq!(stream.allocated(), recount(stream));
            assert_eq!(
                stream.facts() == Facts::Activity,
                stream.group(b"g").unwrap().consumers().any(|consumer| consumer.active_ms != consumer.seen_ms)
            );
        }
        let mut stream = clones.pop().unwrap().0;
        assert!(stream.destroy_group(b"g") && !stream.destroy_group(b"g"));
        assert_eq!((stream.allocated(), stream.facts_at_most()), (0, Facts::Derived));
    }
}

#[test]
fn what_groups_still_want_stays_or_goes_along() {
    let build = || {
        let (mut stream, mut model) = (Stream::new(), Model::new());
        (1..=9).for_each(|seq| append(&mut stream, &mut model, id(0, seq), vec![b"f".to_vec(), b"v".to_vec()]));
        for (name, last, pending) in [(b"g", 7, [2, 5]), (b"h", 5, [3, 5])] {
            let mut group = Group::new(id(0, last), None);
            pending.iter().for_each(|seq| group.assign(id(0, *seq), b"c", 0, 1));
            stream.create_group(name, group);
        }
        stream
    };
    let left = |stream: &Stream| stream.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id.seq).collect::<Vec<_>>();
    let trim = |refs, approx| {
        let (mut stream, mut removed) = (build(), Removed::default());
        let gone = stream.trim(&Trim { to: TrimTo::MaxLen(3), approx, limit: 0, refs }, &mut removed);
        (gone, left(&stream), removed)
    };
    assert_eq!(trim(Refs::Keep, false), (6, vec![7, 8, 9], Removed::default()));
    assert_eq!(trim(Refs::Acked, true).0, 0);
    let (gone, left_ids, removed) = trim(Refs::Acked, false);
    assert_eq!((gone, left_ids, removed.ids), (2, vec![2, 3, 5, 6, 7, 8, 9], vec![id(0, 1), id(0, 4)]));
    let (gone, left_ids, removed) = trim(Refs::Delete, false);
    assert_eq!((gone, left_ids), (6, vec![7, 8, 9]));
    let released: Vec<_> = removed.released.iter().map(|(name, id)| (name[0], id.seq)).collect();
    assert_eq!(released, [(b'g', 2), (b'h', 3), (b'g', 5), (b'h', 5)]);
    let mut stream = build();
    assert_eq!(stream.delete(id(0, 5), Refs::Acked, &mut Removed::default()), Removal::Referenced);
    assert_eq!(stream.delete(id(0, 8), Refs::Acked, &mut Removed::default()), Removal::Referenced);
    assert_eq!(stream.delete(id(0, 1), Refs::Acked, &mut Removed::default()), Removal::Done);
    assert_eq!(stream.delete(id(0, 1), Refs::Acked, &mut Removed::default()), Removal::Missing);
    assert_eq!(stream.max_deleted_id(), id(0, 1));
}

#[test]
fn trimming_about_stops_at_its_limit() {
    let (mut stream, mut model) = (Stream::new(), Model::new());
    (1..=70).for_each(|seq| append(&mut stream, &mut model, id(0, seq), vec![b"f".to_vec(), b"v".to_vec()]));
    let mut trim = |to, limit| stream.trim(&Trim { to: TrimTo::MaxLen(to), approx: true, limit, refs: Refs::Keep }, &mut Removed::default());
    assert_eq!([trim(10, 20), trim(10, 6), trim(10, 7), trim(47, 0), trim(0, 0)], [14, 0, 7, 0, 49]);
}

/// Byte by byte what 8.2.3 has in DUMP for `XADD k 5-1 f v g 300`, `XADD k 5-2 f w g -1`, `XADD k 7-0 other 1`, `XDEL k 5-2`.
#[test]
fn nodes_are_those_of_redis() {
    let mut stream = Stream::new();
    let limits = NodeLimits { bytes: 4096, entries: 100 };
    stream.append(id(5, 1), &[b"f", b"v", b"g", b"300"], limits);
    stream.append(id(5, 2), &[b"f", b"w", b"g", b"-1"], limits);
    stream.append(id(7, 0), &[b"other", b"1"], limits);
    stream.delete(id(5, 2), Refs::Keep, &mut Removed::default());
    let mut node = Vec::new();
    stream.blocks().next().unwrap().to_redis(&mut node);
    let hex: String = node.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, NODE);
}
const NODE: &str =
    "4500000019000201010102018166028167020001020100010001817602c12c020501030100010101817702dfff02050100010201dfff020101856f746865720601010601ff";

#[test]
fn broken_nodes_are_refused_without_panic() {
    let (mut stream, mut model) = (Stream::new(), Model::new());
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    (1..=6).for_each(|seq| append(&mut stream, &mut model, id(0, seq), random_texts(&mut random)));
    let mut node = Vec::new();
    stream.blocks().next().unwrap().to_redis(&mut node);
    assert!(Block::from_redis(id(0, 1), &node).is_ok());
    assert_eq!(Block::from_redis(id(1, 2), &node).map(|block| block.last()), Ok(id(1, 7)));
    let mut refused = 0;
    for at in 0..node.len() {
        for bit in 0..8 {
            let mut broken = node.clone();
            broken[at] ^= 1 << bit;
            match Block::from_redis(id(0, 1), &broken) {
                // What is taken can be read.
                Ok(block) => assert!(block.entries_all().map(|entry| texts(&entry).len()).sum::<usize>() > 0),
                Err(_) => refused += 1,
            }
        }
        assert!(Block::from_redis(id(0, 1), &node[..at]).is_err());
    }
    assert!(refused > node.len());
}

#[test]
fn nodes_of_the_radix_tree_are_counted_as_redis_makes_them() {
    let nodes = |ids: &[(u64, u64)]| radix::nodes(ids.iter().map(|(ms, seq)| id(*ms, *seq)));
    for (ids, count) in RADIX {
        assert_eq!(nodes(ids), *count, "{ids:?}");
    }
}
/// IDs that were in a stream of one entry a node, and what 8.2.3 said of it.
const RADIX: &[(&[(u64, u64)], u64)] = &[
    (&[], 1),
    (&[(1, 1)], 2),
    (&[(11, 1), (258, 1), (1099511627779, 8), (3306906422018949284, 6)], 13),
    (&[(14, 263), (15, 412335533859180801), (256, 4), (256, 259), (260, 416423639517601821), (261, 3), (1099511627786, 8)], 22),
    (&[(15, 1086102588778761670), (65540, 4), (7203335039702467525, 3)], 9),
    (&[(65545, 3), (1099511627784, 258)], 6),
    (&[(65541, 288471172747106901), (1099511627776, 1137586616281968053), (1099511627778, 263)], 10),
    (&[(2, 6), (257, 973911876461893460), (266, 6), (65549, 6), (1099511627781, 259), (1099511627785, 153081447486717886)], 20),
];

#[test]
fn entries_of_more_elements_than_a_pack_may_have() {
    let texts: Vec<String> = (0..80_000).map(|n| format!("t{n}")).collect();
    let pairs: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let mut stream = Stream::new();
    stream.append(id(1, 0), &pairs, LIMITS);
    stream.append(id(1, 1), &pairs, LIMITS);
    assert_eq!((stream.blocks_len(), stream.get(id(1, 1)).unwrap().len()), (2, 40_000));
    let mut node = Vec::new();
    let block = stream.blocks().next().unwrap();
    block.to_redis(&mut node);
    assert_eq!(&node[4..6], [0xFF, 0xFF]);
    assert_eq!(Block::from_redis(id(1, 0), &node).as_ref(), Ok(block));
    assert_eq!(stream.get(id(1, 0)).unwrap().pairs().last(), Some((Elem::Bytes(b"t79998"), Elem::Bytes(b"t79999"))));
}
