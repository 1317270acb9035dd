//! What ZRANGE and its kin are asked for: bounds, directions, limits.

use std::ops::Range;

use crate::command::CommandError;
use crate::keyspace::{Bound, LexBound, LexRange, ScoreRange, ZSetRef};
use crate::resp::Args;
use crate::types::number::parse_i64;

/// What a range is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Rank,
    Score,
    Lex,
}

/// What a command's name leaves open.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub by: Option<By>,
    pub reverse: Option<bool>,
    pub stores: bool,
}

/// A range with its bounds, the lower one first.
#[derive(Clone, Copy)]
pub(super) enum Span<'a> {
    /// In the direction of the request; negative from the end.
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexRange<'a>),
}

pub(super) struct RangeArgs<'a> {
    span: Span<'a>,
    pub reverse: bool,
    offset: i64,
    limit: i64,
    pub with_scores: bool,
}

impl<'a> RangeArgs<'a> {
    /// Reads bounds and options from `args` on.
    pub(super) fn parse(args: Args<'a>, form: Form) -> Result<Self, CommandError> {
        let (mut by, mut reverse) = (form.by, form.reverse);
        let (mut offset, mut limit, mut with_scores) = (0, -1, false);
        let mut at = 2;
        while let Some(arg) = args.get(at) {
            let is = |name: &[u8]| arg.eq_ignore_ascii_case(name);
            if !form.stores && is(b"WITHSCORES") {
                with_scores = true;
            } else if is(b"LIMIT") && args.len() - at > 2 {
                offset = parse_i64(args.at(at + 1)).ok_or(CommandError::NOT_INTEGER)?;
                limit = parse_i64(args.at(at + 2)).ok_or(CommandError::NOT_INTEGER)?;
                at += 2;
            } else if reverse.is_none() && is(b"REV") {
                reverse = Some(true);
            } else if by.is_none() && is(b"BYLEX") {
                by = Some(By::Lex);
            } else if by.is_none() && is(b"BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX".into());
        }
        if with_scores && by == By::Lex {
            return Err("ERR syntax error, WITHSCORES not supported in combination with BYLEX".into());
        }
        let (low, high) = if reverse && by != By::Rank { (args.at(1), args.at(0)) } else { (args.at(0), args.at(1)) };
        let span = match by {
            By::Rank => rank_range(low, high)?,
            By::Score => Span::Scores(score_range(low, high)?),
            By::Lex => Span::Members(lex_range(low, high)?),
        };
        Ok(RangeArgs { span, reverse, offset, limit, with_scores })
    }

    pub(super) fn is_by_rank(&self) -> bool {
        matches!(self.span, Span::Ranks(..))
    }

    /// The ranks that are asked for.
    pub(super) fn ranks(&self, zset: ZSetRef<'_>) -> Range<u64> {
        let ranks = self.span.ranks(zset, self.reverse);
        if self.is_by_rank() {
            let len = zset.len();
            return if self.reverse { len - ranks.end..len - ranks.start } else { ranks };
        }
        let Ok(offset) = u64::try_from(self.offset) else { return 0..0 };
        let limit = u64::try_from(self.limit).unwrap_or(u64::MAX);
        let len = ranks.end - ranks.start;
        let skipped = offset.min(len);
        let taken = (len - skipped).min(limit);
        if self.reverse { ranks.end - skipped - taken..ranks.end - skipped } else { ranks.start + skipped..ranks.start + skipped + taken }
    }
}

impl Span<'_> {
    pub(super) fn ranks(self, zset: ZSetRef<'_>, reverse: bool) -> Range<u64> {
        match self {
            Span::Scores(range) => zset.ranks_by_score(range),
            Span::Members(range) => zset.ranks_by_lex(range, reverse),
            Span::Ranks(start, stop) => {
                let len = zset.len() as i64;
                let from_end = |rank: i64| if rank < 0 { rank.saturating_add(len) } else { rank };
                let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
                if start > stop { 0..0 } else { start as u64..stop as u64 + 1 }
            }
        }
    }
}

pub(super) fn rank_range<'a>(start: &[u8], stop: &[u8]) -> Result<Span<'a>, CommandError> {
    let rank = |text| parse_i64(text).ok_or(CommandError::NOT_INTEGER);
    Ok(Span::Ranks(rank(start)?, rank(stop)?))
}

/// One end of a range of scores. Redis reads it up to a NUL and takes nothing for 0; it may be too large or too small for a double.
fn score_bound(text: &[u8]) -> Option<Bound<f64>> {
    let (exclusive, text) = text.strip_prefix(b"(").map_or((false, text), |rest| (true, rest));
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let at = if text.is_empty() { 0.0 } else { std::str::from_utf8(text).ok()?.parse().ok()? };
    (!f64::is_nan(at)).then_some(Bound { at, exclusive })
}

pub(super) fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
    let bound = |text| score_bound(text).ok_or(CommandError::text("ERR min or max is not a float"));
    Ok((bound(min)?, bound(max)?))
}

fn lex_bound(text: &[u8]) -> Option<LexBound<'_>> {
    match text {
        [b'-'] | [b'-', 0, ..] => Some(LexBound::First),
        [b'+'] | [b'+', 0, ..] => Some(LexBound::Last),
        [b'(', at @ ..] => Some(LexBound::At(Bound { at, exclusive: true })),
        [b'[', at @ ..] => Some(LexBound::At(Bound { at, exclusive: false })),
        _ => None,
    }
}

pub(super) fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, CommandError> {
    let bound = |text| lex_bound(text).ok_or(CommandError::text("ERR min or max not valid string range item"));
    Ok((bound(min)?, bound(max)?))
}
