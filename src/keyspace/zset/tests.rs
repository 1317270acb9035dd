//! Sorted sets against a model under seeded writes, and the snapshots that are taken meanwhile.

use std::collections::BTreeMap;

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::keyspace::{DbIndex, Key, Keyspace, RecordValue, SnapshotId};
use crate::types::limits::Limits;
use crate::types::listpack::ElemBuf;

const DB: DbIndex = DbIndex(0);
const KEYS: u64 = 3;

/// Scores by member.
type Model = BTreeMap<Vec<u8>, f64>;

struct Bed {
    keyspace: Keyspace,
    models: Vec<Model>,
    random: Xoshiro256PlusPlus,
}

fn in_order(model: &Model) -> Vec<(Vec<u8>, f64)> {
    let mut pairs: Vec<_> = model.iter().map(|(member, score)| (member.clone(), *score)).collect();
    pairs.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap().then_with(|| a.0.cmp(&b.0)));
    pairs
}

fn collect(zset: ZSetRef<'_>, ranks: Range<u64>, reverse: bool) -> Vec<(Vec<u8>, f64)> {
    let mut pairs = Vec::new();
    zset.for_range(ranks, reverse, |member, score| pairs.push((member.to_vec(), score)));
    pairs
}

impl Bed {
    fn new(seed: u64, limits: Limits) -> Self {
        let mut keyspace = Keyspace::new(1, seed);
        keyspace.set_limits(limits);
        Bed { keyspace, models: vec![Model::new(); KEYS as usize], random: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit.max(1)
    }
    fn name(key: u64) -> Vec<u8> {
        format!("zset:{key}").into_bytes()
    }
    fn key<'a>(&self, name: &'a [u8]) -> Key<'a> {
        Key { bytes: name, hash: self.keyspace.hash(name) }
    }
    fn member(&mut self, members: u64) -> Vec<u8> {
        match self.below(members) {
            number if number % 3 == 0 => number.to_string().into_bytes(),
            number if number % 50 == 1 => format!("{number}{}", "x".repeat(300)).into_bytes(),
            number => format!("member:{number}").into_bytes(),
        }
    }
    fn score(&mut self) -> f64 {
        match self.below(8) {
            0 => f64::INFINITY,
            1 => f64::from_bits(self.random.next_u64() & !(0x7ff << 52)),
            2 => self.below(1000) as f64 / 7.0,
            3 => -(self.below(1000) as f64) * 1e15,
            // Never -0, whose sign a listpack forgets.
            _ => self.below(20) as f64,
        }
    }
    fn write(&mut self, members: u64, grows: bool) {
        let at = self.below(KEYS);
        let (name, member, score) = (Self::name(at), self.member(members), self.score());
        let key = self.key(&name);
        let (draw, from, to) = (self.below(if grows { 40 } else { 12 }), self.below(members), self.below(30));
        let model = &mut self.models[at as usize];
        let db = self.keyspace.db_mut(DB);
        let exists = !model.is_empty();
        match draw {
            0 => {
                let ranks = from.min(model.len() as u64)..(from + to).min(model.len() as u64);
                let expected = in_order(model)[ranks.start as usize..ranks.end as usize].to_vec();
                let mut removed = Vec::new();
                let edited = db.edit_zset(key, false, |zset| zset.remove_range(ranks, |member, score| removed.push((member.to_vec(), score))));
                assert_eq!(removed, expected);
                model.retain(|member, _| !removed.iter().any(|(gone, _)| gone == member));
                assert_eq!(edited.map(|edited| edited.emptied), exists.then_some(model.is_empty()));
            }
            1..8 => {
                let edited = db.edit_zset(key, false, |zset| zset.remove(&member));
                assert_eq!(edited.map(|edited| edited.result), exists.then(|| model.remove(&member)));
            }
            8 => {
                // Another key gets a copy; sometimes of itself.
                let other = (at + from) % KEYS;
                let name = Self::name(other);
                if let Some(copy) = db.copy_of(key) {
                    let copy = copy.with_key(&name);
                    let hash = self.keyspace.hash(&name);
                    self.keyspace.db_mut(DB).insert(hash, copy);
                    self.models[other as usize] = self.models[at as usize].clone();
                }
            }
            9 if !grows => {
                db.remove(key, to % 2 == 0);
                model.clear();
            }
            _ => {
                let old = model.get(&member).copied();
                let new = if to == 0 { old } else { Some(score) };
                db.edit_zset(key, true, |zset| {
                    zset.update(&member, |found| {
                        assert_eq!(found, old);
                        new
                    });
                });
                if let Some(new) = new {
                    model.insert(member, new);
                }
            }
        }
    }
    /// All that can be asked of one of the sets.
    fn check(&mut self) {
        let at = self.below(KEYS);
        let name = Self::name(at);
        let pairs = in_order(&self.models[at as usize]);
        let len = pairs.len() as u64;
        let ranks = self.below(len + 1)..len - self.below(len + 1);
        let (low, high, member) = (self.score(), self.score(), self.member(300));
        let (low_out, high_out) = (self.below(2) == 0, self.below(2) == 0);
        let Some(entry) = self.keyspace.db(DB).get(self.key(&name)) else { return assert_eq!(len, 0) };
        let zset = entry.zset().unwrap();
        if let ZSetRef::Sorted(sorted) = zset {
            sorted.check();
        }
        assert_eq!(zset.len(), len);
        assert_eq!(collect(zset, 0..len, false), pairs);
        if ranks.start < ranks.end {
            let mut expected = pairs[ranks.start as usize..ranks.end as usize].to_vec();
            assert_eq!(collect(zset, ranks.clone(), false), expected);
            expected.reverse();
            assert_eq!(collect(zset, ranks, true), expected);
        }
        let rank = pairs.iter().position(|pair| pair.0 == member);
        assert_eq!(zset.rank(&member), rank.map(|rank| (rank as u64, pairs[rank].1)));
        assert_eq!(zset.score(&member), rank.map(|rank| pairs[rank].1));
        let within = |score: f64| (score > low || !low_out && score == low) && (score < high || !high_out && score == high);
        let by_score = zset.ranks_by_score((Bound { at: low, exclusive: low_out }, Bound { at: high, exclusive: high_out }));
        let expected: Vec<_> = pairs.iter().filter(|(_, score)| within(*score)).cloned().collect();
        assert_eq!(by_score.end - by_score.start, expected.len() as u64);
        assert_eq!(collect(zset, by_score, false), expected);
        let held = entry.allocated();
        let copy = self.keyspace.db(DB).copy_of(self.key(&name)).unwrap();
        assert!(copy.entry().zset().unwrap().len() == len && held > 0);
    }
}

/// A snapshot that is being taken.
struct Taken {
    id: SnapshotId,
    expected: Vec<Model>,
    captured: Vec<Model>,
    /// Keys by the numbers of their collections.
    collections: BTreeMap<u64, (usize, u64)>,
}

impl Taken {
    fn step(&mut self, bed: &mut Bed) -> bool {
        let mut asked = bed.below(6);
        let mut spent = || {
            asked = asked.saturating_sub(1);
            asked == 0
        };
        let bytes = bed.below(3000) as usize;
        let step = bed.keyspace.snapshot_step(self.id, bytes, &mut spent);
        for chunk in &step.chunks {
            for record in chunk.iter() {
                let at = |key: &[u8]| usize::from(key.last().unwrap() - b'0');
                match (chunk.elements_of, record.value) {
                    (Some(id), RecordValue::Int(bits)) => {
                        let (at, left) = self.collections.get_mut(&id.0).unwrap();
                        let again = self.captured[*at].insert(record.key.to_vec(), f64::from_bits(bits as u64));
                        assert!(again.is_none());
                        *left -= 1;
                    }
                    (None, RecordValue::Elements { id, len, .. }) => drop(self.collections.insert(id.0, (at(record.key), len))),
                    (None, RecordValue::Block(_, bytes)) => {
                        let mut buffer = ElemBuf::new();
                        let model = &mut self.captured[at(record.key)];
                        ZSetRef::Pack(Pack::new(bytes)).for_each(|member, score| {
                            model.insert(member.bytes(&mut buffer).to_vec(), score);
                        });
                    }
                    _ => panic!("no such record belongs to a sorted set"),
                }
            }
        }
        if step.done {
            assert!(self.captured == self.expected);
            assert!(self.collections.values().all(|(_, left)| *left == 0));
        }
        step.done
    }
}

fn run(seed: u64, limits: Limits, members: u64, turns: u64) {
    let mut bed = Bed::new(seed, limits);
    let mut running: Vec<Taken> = Vec::new();
    for turn in 0..turns {
        for _ in 0..bed.below(40) {
            // Grows for a while, then shrinks.
            bed.write(members, turn % 120 < 90);
        }
        bed.check();
        if running.len() < 3 && bed.below(20) == 0 {
            let id = bed.keyspace.begin_snapshot();
            running.push(Taken { id, expected: bed.models.clone(), captured: vec![Model::new(); KEYS as usize], collections: BTreeMap::new() });
        }
        running.retain_mut(|taken| bed.below(3) > 0 || !taken.step(&mut bed));
        drop(bed.keyspace.take_garbage());
    }
    for mut taken in running {
        while !taken.step(&mut bed) {}
    }
    let before = bed.keyspace.allocated();
    for at in 0..KEYS {
        let name = Bed::name(at);
        let key = bed.key(&name);
        bed.keyspace.db_mut(DB).remove(key, false);
    }
    assert!(bed.keyspace.allocated() <= before);
}

#[test]
fn small_sets_are_their_models() {
    for seed in 0..3 {
        run(seed, Limits { zset_entries: 1000, zset_value: 1000, ..Limits::default() }, 60, 300);
    }
}

#[test]
fn sets_that_grow_out_of_their_blocks_are_their_models() {
    for seed in 0..3 {
        run(seed, Limits { zset_entries: 20, ..Limits::default() }, 60, 300);
    }
}

#[test]
fn big_sets_are_their_models_and_snapshots_exact() {
    for seed in 0..3 {
        run(seed, Limits { zset_entries: 0, ..Limits::default() }, 2500, 600);
    }
}

#[test]
fn members_of_one_score_are_found_by_their_bytes() {
    for entries in [0, 128] {
        let mut bed = Bed::new(5, Limits { zset_entries: entries, ..Limits::default() });
        let key = bed.key(b"lex");
        let names: Vec<String> = (b'a'..=b'z').map(|byte| char::from(byte).to_string()).collect();
        bed.keyspace.db_mut(DB).edit_zset(key, true, |zset| names.iter().rev().for_each(|name| zset.set(name.as_bytes(), 0.0)));
        let zset = bed.keyspace.db(DB).get(key).unwrap().zset().unwrap();
        let at = |at, exclusive| LexBound::At(Bound { at, exclusive });
        for (range, ranks) in [
            ((LexBound::First, LexBound::Last), 0..26),
            ((at(b"c", false), LexBound::First), 2..2),
            ((at(b"c", false), at(b"e", false)), 2..5),
            ((at(b"c", true), at(b"e", true)), 3..4),
            ((at(b"c", true), at(b"c", false)), 3..3),
            ((at(b"bb", false), LexBound::Last), 2..26),
            ((LexBound::First, at(b"", false)), 0..0),
        ] {
            for reverse in [false, true] {
                let found = zset.ranks_by_lex(range, reverse);
                assert!(found == ranks || found.is_empty() && ranks.is_empty(), "{range:?}: {found:?}");
            }
        }
    }
}

#[test]
fn a_trimmed_set_gives_its_memory_back() {
    let mut bed = Bed::new(6, Limits { zset_entries: 0, ..Limits::default() });
    let key = bed.key(b"trimmed");
    let db = bed.keyspace.db_mut(DB);
    db.edit_zset(key, true, |zset| (0..20_000).for_each(|number| zset.set(format!("member:{number}").as_bytes(), f64::from(number))));
    let full = db.get(key).unwrap().allocated();
    for _ in 0..198 {
        db.edit_zset(key, false, |zset| zset.remove_range(0..100, |_, _| ()));
    }
    let entry = db.get(key).unwrap();
    assert_eq!(entry.zset().unwrap().len(), 200);
    assert!(entry.allocated() < full / 20, "{} of {full}", entry.allocated());
}
