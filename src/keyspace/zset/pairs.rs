//! A small sorted set in its listpack: member, score, member, score, in order.

use std::cmp::Ordering;
use std::ops::Range;

use super::LexBound;
use crate::types::listpack::{Elem, Pack, PackMut};
use crate::types::number::{DoubleBuf, parse_f64, whole};

const SCORE: &str = "a score behind every member";

pub(super) fn len(pack: Pack<'_>) -> u64 {
    pack.len() as u64 / 2
}

/// The score that an element says.
fn score_of(elem: Elem<'_>) -> f64 {
    match elem {
        Elem::Int(number) => number as f64,
        Elem::Bytes(text) => parse_f64(text).expect("a score is a number"),
    }
}

/// Calls `f` with the element for a score.
fn with_score<R>(score: f64, f: impl FnOnce(Elem<'_>) -> R) -> R {
    match whole(score) {
        Some(number) => f(Elem::Int(number)),
        None => f(Elem::Bytes(DoubleBuf::default().shortest(score).as_bytes())),
    }
}

/// The score behind the member at a position.
fn score_behind(pack: Pack<'_>, pos: usize) -> f64 {
    score_of(pack.at(pack.next(pos).expect(SCORE)))
}

fn iter(pack: Pack<'_>) -> impl Iterator<Item = (usize, Elem<'_>, f64)> {
    let mut elems = pack.entries();
    std::iter::from_fn(move || {
        let (pos, member) = elems.next()?;
        let (_, score) = elems.next().expect(SCORE);
        Some((pos, member, score_of(score)))
    })
}

/// Where a member is, and its score.
pub(super) fn find(pack: Pack<'_>, member: &[u8]) -> Option<(usize, f64)> {
    let pos = pack.find(member, 2)?;
    Some((pos, score_behind(pack, pos)))
}

pub(super) fn rank(pack: Pack<'_>, member: &[u8]) -> Option<(u64, f64)> {
    iter(pack).zip(0..).find(|((_, elem, _), _)| elem.is(member)).map(|((_, _, score), rank)| (rank, score))
}

/// How many of the first pairs `before` holds for.
pub(super) fn partition(pack: Pack<'_>, before: impl Fn(Elem<'_>, f64) -> bool) -> u64 {
    iter(pack).take_while(|(_, member, score)| before(*member, *score)).count() as u64
}

pub(super) fn ranks_by_lex(pack: Pack<'_>, min: LexBound<'_>, max: LexBound<'_>, reverse: bool) -> Range<u64> {
    let members = || iter(pack).map(|(_, member, _)| member);
    let len = len(pack);
    if members().next().is_none_or(|first| !max.admits(first)) || members().last().is_none_or(|last| min.is_above(last)) {
        return 0..0;
    }
    if reverse {
        let end = members().zip(1..).filter(|(member, _)| max.admits(*member)).last().map_or(0, |(_, end)| end);
        let start = members().zip(1..=end).filter(|(member, _)| min.is_above(*member)).last().map_or(0, |(_, start)| start);
        return start..end;
    }
    let start = members().position(|member| !min.is_above(member)).map_or(len, |start| start as u64);
    let admitted = members().skip(start as usize).take_while(|member| max.admits(*member)).count() as u64;
    start..start + admitted
}

pub(super) fn for_range<'a>(pack: Pack<'a>, ranks: Range<u64>, reverse: bool, mut f: impl FnMut(Elem<'a>, f64)) {
    let Some(first) = pack.position(2 * ranks.start as usize) else { return };
    let elems = pack.entries_from(first, 2 * (ranks.end - ranks.start) as usize);
    if !reverse {
        let mut elems = elems;
        while let (Some((_, member)), Some((_, score))) = (elems.next(), elems.next()) {
            f(member, score_of(score));
        }
        return;
    }
    let mut end = if ranks.end == len(pack) { Some(pack.end()) } else { pack.position(2 * ranks.end as usize) };
    for _ in ranks {
        let score = end.and_then(|end| pack.prev(end)).expect(SCORE);
        let member = pack.prev(score).expect(SCORE);
        f(pack.at(member), score_of(pack.at(score)));
        end = Some(member);
    }
}

/// Puts a pair in that is not there.
pub(super) fn insert(bytes: &mut Vec<u8>, member: &[u8], score: f64) {
    let pack = Pack::new(bytes);
    let is_behind = |(_, elem, other): &(usize, Elem<'_>, f64)| match other.partial_cmp(&score).expect("scores are numbers") {
        Ordering::Equal => elem.cmp_bytes(member).is_gt(),
        order => order.is_gt(),
    };
    let pos = iter(pack).find(is_behind).map_or(pack.end(), |(pos, ..)| pos);
    let mut pack = PackMut::new(bytes);
    with_score(score, |score| pack.insert(pos, score));
    pack.insert(pos, Elem::of(member));
}

/// Puts a pair behind the last.
pub(super) fn push(bytes: &mut Vec<u8>, member: Elem<'_>, score: f64) {
    let mut pack = PackMut::new(bytes);
    pack.push_back(member);
    with_score(score, |score| pack.push_back(score));
}

/// Takes out the pair at a position.
pub(super) fn remove_at(bytes: &mut Vec<u8>, pos: usize) {
    PackMut::new(bytes).remove(pos, 2);
}

/// Takes out the pairs at `ranks` and hands them to `each` before.
pub(super) fn remove_range(bytes: &mut Vec<u8>, ranks: Range<u64>, each: impl FnMut(Elem<'_>, f64)) {
    let pack = Pack::new(bytes);
    let Some(first) = pack.position(2 * ranks.start as usize) else { return };
    for_range(pack, ranks.clone(), false, each);
    PackMut::new(bytes).remove(first, 2 * (ranks.end - ranks.start) as usize);
}
