//! Sorted sets: small ones in a listpack of members and scores in their order, big ones in a table by member beside a tree in the order.
//!
//! The order is by score, then by the member's bytes. Scores are never NaN. -0 and 0 are equal in it; a listpack forgets the sign, as Redis's does.
//! Places in the order are ranks, from 0 on; every question about a range is answered by ranks first.

mod edit;
mod pairs;
mod sorted;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::Kind;
use super::big::Big;
use super::entry::{Entry, ValueRef};
use crate::types::listpack::{Elem, Pack};
pub use edit::{NewZSet, ZSetEdit};
pub use sorted::Sorted;

/// A sorted set, for reading.
#[derive(Clone, Copy)]
pub enum ZSetRef<'a> {
    Pack(Pack<'a>),
    Sorted(&'a Sorted),
}

/// One end of a range; of scores, or of members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound<T> {
    pub at: T,
    pub exclusive: bool,
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LexBound<'a> {
    First,
    Last,
    At(Bound<&'a [u8]>),
}

pub type ScoreRange = (Bound<f64>, Bound<f64>);
pub type LexRange<'a> = (LexBound<'a>, LexBound<'a>);

impl Bound<f64> {
    /// Whether a score lies before a range that begins here.
    #[inline]
    fn is_above(self, score: f64) -> bool {
        score < self.at || self.exclusive && score == self.at
    }
    /// Whether a score lies within or before a range that ends here.
    #[inline]
    fn admits(self, score: f64) -> bool {
        score < self.at || !self.exclusive && score == self.at
    }
}

impl LexBound<'_> {
    fn is_above(self, member: Elem<'_>) -> bool {
        match self {
            LexBound::First => false,
            LexBound::Last => true,
            LexBound::At(bound) => {
                let order = member.cmp_bytes(bound.at);
                order.is_lt() || bound.exclusive && order.is_eq()
            }
        }
    }
    fn admits(self, member: Elem<'_>) -> bool {
        match self {
            LexBound::First => false,
            LexBound::Last => true,
            LexBound::At(bound) => {
                let order = member.cmp_bytes(bound.at);
                order.is_lt() || !bound.exclusive && order.is_eq()
            }
        }
    }
}

impl Entry {
    /// The value if it is a sorted set.
    pub fn zset(&self) -> Option<ZSetRef<'_>> {
        if self.kind() != Kind::ZSet {
            return None;
        }
        match self.value() {
            ValueRef::Block(_, bytes) => Some(ZSetRef::Pack(Pack::new(bytes))),
            ValueRef::Big(Big::ZSet(sorted)) => Some(ZSetRef::Sorted(sorted)),
            _ => unreachable!("a sorted set has a sorted set's forms"),
        }
    }
}

impl<'a> ZSetRef<'a> {
    /// ZCARD.
    pub fn len(self) -> u64 {
        match self {
            ZSetRef::Pack(pack) => pairs::len(pack),
            ZSetRef::Sorted(sorted) => sorted.len(),
        }
    }
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
    #[inline]
    pub fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            ZSetRef::Pack(pack) => pairs::find(pack, member).map(|(_, score)| score),
            ZSetRef::Sorted(sorted) => sorted.score(member),
        }
    }
    /// The member's rank and score.
    pub fn rank(self, member: &[u8]) -> Option<(u64, f64)> {
        match self {
            ZSetRef::Pack(pack) => pairs::rank(pack, member),
            ZSetRef::Sorted(sorted) => sorted.rank(member),
        }
    }
    /// The ranks of a range of scores; empty where there are none.
    pub fn ranks_by_score(self, (min, max): ScoreRange) -> Range<u64> {
        let range = match self {
            ZSetRef::Pack(pack) => pairs::partition(pack, |_, score| min.is_above(score))..pairs::partition(pack, |_, score| max.admits(score)),
            ZSetRef::Sorted(sorted) => sorted.partition_by_score(|score| min.is_above(score))..sorted.partition_by_score(|score| max.admits(score)),
        };
        range.start..range.end.max(range.start)
    }
    /// The ranks of a range of members, of a set whose scores are all the same. Of others it makes no sense, but small ones answer as Redis does, which
    /// looks from the end at which `reverse` begins.
    pub fn ranks_by_lex(self, (min, max): LexRange<'_>, reverse: bool) -> Range<u64> {
        let range = match self {
            ZSetRef::Pack(pack) => return pairs::ranks_by_lex(pack, min, max, reverse),
            ZSetRef::Sorted(sorted) => {
                sorted.partition_by_member(|member| min.is_above(member))..sorted.partition_by_member(|member| max.admits(member))
            }
        };
        range.start..range.end.max(range.start)
    }
    /// Calls `f` for the members at `ranks` with their scores, from the last to the first if `reverse`. The range must be within the set.
    pub fn for_range(self, ranks: Range<u64>, reverse: bool, f: impl FnMut(Elem<'a>, f64)) {
        match self {
            ZSetRef::Pack(pack) => pairs::for_range(pack, ranks, reverse, f),
            ZSetRef::Sorted(sorted) => sorted.for_range(ranks, reverse, f),
        }
    }
    /// Calls `f` for every member, in order.
    pub fn for_each(self, f: impl FnMut(Elem<'a>, f64)) {
        self.for_range(0..self.len(), false, f);
    }
    /// The member at a rank.
    pub fn at(self, rank: u64) -> Option<(Elem<'a>, f64)> {
        let mut found = None;
        if rank < self.len() {
            self.for_range(rank..rank + 1, false, |member, score| found = Some((member, score)));
        }
        found
    }
    /// A uniformly chosen member; `random` gives 64-bit numbers.
    pub fn random(self, random: &mut dyn FnMut() -> u64) -> Option<(Elem<'a>, f64)> {
        match self {
            ZSetRef::Pack(_) => self.at(random() % self.len().max(1)),
            ZSetRef::Sorted(sorted) => sorted.random(random),
        }
    }
}
