//! A big sorted set: a table of members with their scores, and a tree of the same in order.
//!
//! The table owns the members: an entry each, whose value is the bits of the score. The tree's items point to those entries, which stay where they are
//! while a score is overwritten. A snapshot captures the table and never looks at the tree.
//!
//! Invariant: the tree has one item for each entry of the table, with the same score. An item goes before its entry does.

use std::ops::Range;

use smallvec::SmallVec;

use crate::keyspace::entry::{Alias, Entry, Key, OwnedEntry, StrRef};
use crate::keyspace::hasher::KeyHasher;
use crate::keyspace::members::Members;
use crate::types::listpack::{Elem, ElemBuf};
use crate::types::tree::{Cursor, Tree, Weigh};

/// How far ahead of the one that is used a member is asked of memory.
const AHEAD: usize = 8;
/// Members that are removed or copied together.
const BATCH: usize = 32;

#[derive(Clone, Copy)]
struct Item {
    score: f64,
    member: Alias,
}

impl Item {
    fn bytes(&self) -> &[u8] {
        self.member.entry().key()
    }
}

impl Weigh for Item {
    type Hint = f64;
    const UNIFORM: bool = true;

    #[inline]
    fn weight(&self) -> u64 {
        1
    }
    #[inline]
    fn hint(&self) -> f64 {
        self.score
    }
}

pub struct Sorted {
    members: Members,
    order: Tree<Item>,
}

fn score_of(entry: &Entry) -> f64 {
    match entry.string() {
        Some(StrRef::Int(bits)) => f64::from_bits(bits as u64),
        _ => unreachable!("a member's value is its score"),
    }
}

impl Sorted {
    pub(super) fn new(hasher: &KeyHasher) -> Self {
        Sorted { members: Members::new(hasher), order: Tree::new() }
    }
    pub fn len(&self) -> u64 {
        self.members.len()
    }
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
    /// For scans and snapshots.
    pub fn members(&self) -> &Members {
        &self.members
    }
    pub(in crate::keyspace) fn members_mut(&mut self) -> &mut Members {
        &mut self.members
    }
    pub(in crate::keyspace) fn allocated(&self) -> usize {
        self.members.allocated() + self.order.allocated()
    }
    pub(in crate::keyspace) fn deep_copy(&self) -> Sorted {
        let mut copy = Sorted::new(self.members.db().hasher());
        let mut items = self.order.iter();
        loop {
            let batch: SmallVec<[Item; BATCH]> = items.by_ref().take(BATCH).copied().collect();
            if batch.is_empty() {
                return copy;
            }
            batch.iter().for_each(|item| item.member.entry().prefetch());
            for (item, hash) in batch.iter().zip(hashes_of(&copy.members, &batch)) {
                let member = copy.members.insert_int(Key { bytes: item.bytes(), hash }, item.score.to_bits() as i64);
                copy.order.push_back(Item { member, ..*item });
            }
        }
    }
    #[inline]
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.members.get(member).map(score_of)
    }
    pub(super) fn rank(&self, member: &[u8]) -> Option<(u64, f64)> {
        let score = self.score(member)?;
        Some((self.place(score, member).position(), score))
    }
    pub(super) fn random(&self, random: &mut dyn FnMut() -> u64) -> Option<(Elem<'_>, f64)> {
        self.members.random(random).map(|entry| (Elem::Bytes(entry.key()), score_of(entry)))
    }
    /// SCAN over the members, as `Members::scan`.
    pub fn scan(&self, cursor: u64, count: usize, f: &mut dyn FnMut(&[u8], f64)) -> u64 {
        self.members.scan(cursor, count, &mut |entry| f(entry.key(), score_of(entry)))
    }
    /// Where the pair is, or would be put.
    fn place(&self, score: f64, member: &[u8]) -> Cursor {
        self.order.search(|other| (other != score).then_some(other < score), |item| item.bytes() < member)
    }
    /// How many of the first members `before` holds for.
    pub(super) fn partition_by_score(&self, before: impl Fn(f64) -> bool) -> u64 {
        self.order.search(|score| Some(before(score)), |item| before(item.score)).position()
    }
    pub(super) fn partition_by_member(&self, before: impl Fn(Elem<'_>) -> bool) -> u64 {
        self.order.partition_point(|item| before(Elem::Bytes(item.bytes()))).position()
    }
    pub(super) fn for_range<'a>(&'a self, ranks: Range<u64>, reverse: bool, f: impl FnMut(Elem<'a>, f64)) {
        let count = (ranks.end - ranks.start) as usize;
        if reverse {
            let end = self.order.seek(ranks.end).0;
            walk(self.order.iter_back_from(&end), self.order.iter_back_from(&end), count, f);
        } else {
            let start = self.order.seek(ranks.start).0;
            walk(self.order.iter_from(&start), self.order.iter_from(&start), count, f);
        }
    }

    /// Sets a member's score to what `change` makes of it; `None` leaves it, or leaves the member out.
    pub(super) fn update(&mut self, member: &[u8], change: impl FnOnce(Option<f64>) -> Option<f64>) {
        let key = self.members.key(member);
        let old = self.members.db().get(key).map(score_of);
        let Some(new) = change(old) else { return };
        let Some(old) = old else {
            let place = self.place(new, member);
            let member = self.members.insert_int(key, new.to_bits() as i64);
            self.order.insert(&place, Item { score: new, member });
            return;
        };
        self.members.set_int(key, new.to_bits() as i64);
        let place = self.place(old, member);
        if self.stays(&place, old, new) {
            self.order.edit(&place, |item| item.score = new);
            return;
        }
        let item = self.order.remove(&place).expect("an item for every member");
        let place = self.place(new, member);
        self.order.insert(&place, Item { score: new, ..item });
    }
    /// Adds a member that comes behind all there are.
    pub(super) fn push(&mut self, member: Elem<'_>, score: f64) {
        let mut buffer = ElemBuf::new();
        let member = self.members.insert_int(self.members.key(member.bytes(&mut buffer)), score.to_bits() as i64);
        self.order.push_back(Item { score, member });
    }
    /// Whether the item at `place` has the same place with the new score. Equal neighbours are left to the search.
    fn stays(&self, place: &Cursor, old: f64, new: f64) -> bool {
        if new >= old {
            self.order.iter_from(place).nth(1).is_none_or(|next| new < next.score)
        } else {
            self.order.iter_back_from(place).next().is_none_or(|prev| prev.score < new)
        }
    }
    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let key = self.members.key(member);
        let score = score_of(self.members.db().get(key)?);
        let place = self.place(score, member);
        self.order.remove(&place).expect("an item for every member");
        self.members.remove(member);
        Some(score)
    }
    /// Takes out the members at `ranks` and hands each to `each`.
    pub(super) fn remove_range(&mut self, ranks: Range<u64>, mut each: impl FnMut(Elem<'_>, f64)) {
        let Sorted { members, order } = self;
        // In batches, so that memory is asked for many of them at once.
        let mut batch = SmallVec::<[Item; BATCH]>::new();
        order.remove_range(ranks, |item| {
            item.member.entry().prefetch();
            batch.push(item);
            if batch.len() == BATCH {
                remove_all(members, &mut batch, &mut each);
            }
        });
        remove_all(members, &mut batch, &mut each);
    }
}

fn remove_all(members: &mut Members, batch: &mut SmallVec<[Item; BATCH]>, each: &mut impl FnMut(Elem<'_>, f64)) {
    let hashes = hashes_of(members, batch);
    for (item, hash) in batch.drain(..).zip(hashes) {
        let entry: OwnedEntry = members.take_alias(hash, item.member);
        each(Elem::Bytes(entry.entry().key()), item.score);
        members.discard(entry);
    }
}

/// The hashes of the items' names, whose buckets are asked of memory.
fn hashes_of(members: &Members, batch: &[Item]) -> SmallVec<[u64; BATCH]> {
    let hashes: SmallVec<[u64; BATCH]> = batch.iter().map(|item| members.key(item.bytes()).hash).collect();
    hashes.iter().for_each(|hash| members.db().prefetch_bucket(*hash));
    hashes
}

/// Goes through `items`, with `ahead` in front of them.
fn walk<'a>(items: impl Iterator<Item = &'a Item>, mut ahead: impl Iterator<Item = &'a Item>, count: usize, mut f: impl FnMut(Elem<'a>, f64)) {
    let mut prefetch = || {
        if let Some(item) = ahead.next() {
            item.member.entry().prefetch();
        }
    };
    (0..AHEAD.min(count)).for_each(|_| prefetch());
    for (item, left) in items.take(count).zip((0..count).rev()) {
        if left >= AHEAD {
            prefetch();
        }
        f(Elem::Bytes(item.bytes()), item.score);
    }
}

#[cfg(test)]
impl Sorted {
    /// The invariant, walked through.
    pub(super) fn check(&self) {
        assert_eq!(self.order.items() as u64, self.members.len());
        for (item, next) in self.order.iter().zip(self.order.iter().skip(1)) {
            assert!(item.score < next.score || item.score == next.score && item.bytes() < next.bytes());
        }
        for item in self.order.iter() {
            assert_eq!(self.score(item.bytes()).map(f64::to_bits), Some(item.score.to_bits()));
        }
    }
}
