//! Unions, intersections and differences of sorted sets and sets: ZUNION, ZINTER, ZDIFF, their storing forms, ZINTERCARD.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::store::store;
use super::{Listing, compare_members};
use crate::command::key_range::{key_num, key_range};
use crate::command::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::keyspace::{Db, Key, Kind, NewZSet, SetRef, ZSetRef};
use crate::resp::Args;
use crate::types::listpack::{Elem, ElemBuf};
use crate::types::number::{parse_f64, parse_i64};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // Infinities of both signs make nothing.
            Aggregate::Sum => number(a + b),
            Aggregate::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Aggregate::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// The keys, and which of them are there.
type Keys<'a> = SmallVec<[Option<Key<'a>>; 4]>;

struct Options {
    weights: SmallVec<[f64; 4]>,
    aggregate: Aggregate,
    with_scores: bool,
    /// ZINTERCARD; 0 for none.
    limit: u64,
}

/// What a command may be told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Replies,
    Stores,
    Counts,
}

/// Reads the number of keys at `at` and looks the keys behind it up, then reads the options.
fn parse<'a>(ctx: &mut Ctx<'a>, at: usize, operation: Operation, form: Form) -> Result<(Keys<'a>, Options), CommandError> {
    let args = ctx.args.tail(at);
    let count = parse_i64(args.at(0)).ok_or(CommandError::NOT_INTEGER)?;
    let name = ctx.spec.name;
    let count = usize::try_from(count).ok().filter(|count| *count > 0);
    let count = count.ok_or_else(|| CommandError::from(format!("ERR at least 1 input key is needed for '{name}' command")))?;
    if count >= args.len() {
        return Err(CommandError::SYNTAX);
    }
    let mut keys = Keys::new();
    for index in at + 1..=at + count {
        let key = ctx.key(index);
        keys.push(match ctx.read(key) {
            None => None,
            Some(entry) if matches!(entry.kind(), Kind::ZSet | Kind::Set) => Some(key),
            Some(_) => return Err(CommandError::WRONG_TYPE),
        });
    }
    Ok((keys, Options::parse(args.tail(1 + count), count, operation, form)?))
}

impl Options {
    fn parse(args: Args<'_>, keys: usize, operation: Operation, form: Form) -> Result<Self, CommandError> {
        let mut options = Options { weights: SmallVec::from_elem(1.0, keys), aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let weighs = operation != Operation::Diff && form != Form::Counts;
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            let (is, left) = (|name: &[u8]| arg.eq_ignore_ascii_case(name), args.len() - at);
            if weighs && left > keys && is(b"WEIGHTS") {
                for (weight, text) in options.weights.iter_mut().zip(args.tail(at + 1).iter()) {
                    *weight = parse_f64(text).ok_or(CommandError::text("ERR weight value is not a float"))?;
                }
                at += keys;
            } else if weighs && left > 1 && is(b"AGGREGATE") {
                let names: [(&[u8], Aggregate); 3] = [(b"SUM", Aggregate::Sum), (b"MIN", Aggregate::Min), (b"MAX", Aggregate::Max)];
                let named = names.into_iter().find(|(name, _)| args.at(at + 1).eq_ignore_ascii_case(name));
                options.aggregate = named.ok_or(CommandError::SYNTAX)?.1;
                at += 1;
            } else if form == Form::Replies && is(b"WITHSCORES") {
                options.with_scores = true;
            } else if form == Form::Counts && left > 1 && is(b"LIMIT") {
                let limit = parse_i64(args.at(at + 1)).and_then(|limit| u64::try_from(limit).ok());
                options.limit = limit.ok_or(CommandError::text("ERR LIMIT can't be negative"))?;
                at += 1;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }
}

#[derive(Clone, Copy)]
enum Source<'a> {
    ZSet(ZSetRef<'a>),
    Set(SetRef<'a>),
    Missing,
}

impl<'a> Source<'a> {
    fn at(db: &'a Db, key: Option<Key<'_>>) -> Self {
        let Some(entry) = key.and_then(|key| db.get(key)) else { return Source::Missing };
        match (entry.zset(), entry.set()) {
            (Some(zset), _) => Source::ZSet(zset),
            (_, Some(set)) => Source::Set(set),
            _ => unreachable!("it has just been looked up"),
        }
    }
    fn len(self) -> u64 {
        match self {
            Source::ZSet(zset) => zset.len(),
            Source::Set(set) => set.len(),
            Source::Missing => 0,
        }
    }
    /// The members, each with its score; a set's count 1.
    fn for_each(self, mut f: impl FnMut(Elem<'a>, f64)) {
        match self {
            Source::ZSet(zset) => zset.for_each(|member, score| f(normal(member), score)),
            Source::Set(set) => set.iter().for_each(|member| f(normal(member), 1.0)),
            Source::Missing => {}
        }
    }
    fn score(self, member: Elem<'_>) -> Option<f64> {
        match self {
            Source::ZSet(zset) => zset.score(member.bytes(&mut ElemBuf::new())),
            Source::Set(set) => set.contains(member).then_some(1.0),
            Source::Missing => None,
        }
    }
}

/// Equal members must be equal elements.
fn normal(member: Elem<'_>) -> Elem<'_> {
    match member {
        Elem::Bytes(bytes) => Elem::of(bytes),
        int => int,
    }
}

type Pairs<'a> = Vec<(Elem<'a>, f64)>;

/// The sources with their weights.
type Weighed<'a> = SmallVec<[(Source<'a>, f64); 4]>;

/// Members of any source: all of them sorted, so that equal ones meet in the order of their sources.
fn union<'a>(sources: &Weighed<'a>, aggregate: Aggregate) -> Pairs<'a> {
    let mut all = Pairs::new();
    for &(source, weight) in sources {
        source.for_each(|member, score| all.push((member, number(score * weight))));
    }
    if sources.len() > 1 {
        all.sort_by(|a, b| compare_members(a.0, b.0));
        all.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = aggregate.of(kept.1, next.1);
            }
            same
        });
    }
    all
}

/// Members of all sources, from those of the smallest one; stops where `put` says false.
fn inter<'a>(sources: &Weighed<'a>, aggregate: Aggregate, mut put: impl FnMut(Elem<'a>, f64) -> bool) {
    let mut goes_on = true;
    let [(smallest, weight), others @ ..] = sources.as_slice() else { return };
    smallest.for_each(|member, score| {
        if !goes_on {
            return;
        }
        let first = Some(number(score * weight));
        let score = others.iter().try_fold(first, |sum, (other, weight)| {
            let score = other.score(member)? * weight;
            Some(sum.map(|sum| aggregate.of(sum, score)))
        });
        if let Some(Some(score)) = score {
            goes_on = put(member, score);
        }
    });
}

fn difference<'a>(sources: &Weighed<'a>) -> Pairs<'a> {
    let mut pairs = Pairs::new();
    let [(first, _), others @ ..] = sources.as_slice() else { return pairs };
    first.for_each(|member, score| {
        if others.iter().all(|(other, _)| other.score(member).is_none()) {
            pairs.push((member, score));
        }
    });
    pairs
}

fn weighed<'a>(db: &'a Db, keys: &Keys<'_>, options: &Options, operation: Operation) -> Weighed<'a> {
    let mut sources: Weighed<'a> = keys.iter().map(|key| Source::at(db, *key)).zip(options.weights.iter().copied()).collect();
    if operation != Operation::Diff {
        // The order in which scores are added shows in the last digits.
        sources.sort_by_key(|(source, _)| source.len());
    }
    sources
}

/// What the operation makes, in the order of a sorted set.
fn pairs<'a>(db: &'a Db, keys: &Keys<'_>, options: &Options, operation: Operation) -> Pairs<'a> {
    let sources = weighed(db, keys, options, operation);
    let mut pairs = match operation {
        Operation::Union => union(&sources, options.aggregate),
        Operation::Diff => difference(&sources),
        Operation::Inter => {
            let mut pairs = Pairs::new();
            inter(&sources, options.aggregate, |member, score| {
                pairs.push((member, score));
                true
            });
            pairs
        }
    };
    pairs.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal).then_with(|| compare_members(a.0, b.0)));
    pairs
}

fn reply(ctx: &mut Ctx<'_>, operation: Operation) -> CmdResult {
    let (keys, options) = parse(ctx, 1, operation, Form::Replies)?;
    let pairs = pairs(ctx.node.keyspace.db(ctx.db), &keys, &options, operation);
    let listing = Listing { with_scores: options.with_scores };
    listing.begin(ctx.out, pairs.len() as u64);
    pairs.iter().for_each(|(member, score)| listing.put(ctx.out, *member, *score));
    Ok(())
}

fn new_zset(db: &Db, pairs: &Pairs<'_>) -> NewZSet {
    let mut new = db.new_zset();
    let longest = pairs.iter().map(|(member, _)| member.len()).max().unwrap_or(0);
    let mut edit = new.edit();
    edit.expect(pairs.len() as u64, longest);
    pairs.iter().for_each(|(member, score)| edit.push(*member, *score));
    new
}

fn store_result(ctx: &mut Ctx<'_>, operation: Operation) -> CmdResult {
    let to = ctx.key(1);
    let (keys, options) = parse(ctx, 2, operation, Form::Stores)?;
    let db = ctx.node.keyspace.db(ctx.db);
    let new = new_zset(db, &pairs(db, &keys, &options, operation));
    let event = ctx.spec.name;
    store(ctx, to, new, event);
    Ok(())
}

fn zunion(ctx: &mut Ctx<'_>) -> CmdResult {
    reply(ctx, Operation::Union)
}

fn zinter(ctx: &mut Ctx<'_>) -> CmdResult {
    reply(ctx, Operation::Inter)
}

fn zdiff(ctx: &mut Ctx<'_>) -> CmdResult {
    reply(ctx, Operation::Diff)
}

fn zunionstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store_result(ctx, Operation::Union)
}

fn zinterstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store_result(ctx, Operation::Inter)
}

fn zdiffstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store_result(ctx, Operation::Diff)
}

fn zintercard(ctx: &mut Ctx<'_>) -> CmdResult {
    let (keys, options) = parse(ctx, 1, Operation::Inter, Form::Counts)?;
    let sources = weighed(ctx.node.keyspace.db(ctx.db), &keys, &options, Operation::Inter);
    let mut count = 0;
    inter(&sources, options.aggregate, |_, _| {
        count += 1;
        count != options.limit
    });
    ctx.out.int(count as i64);
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("zdiff", -3, Flags::READONLY.union(Flags::MOVABLEKEYS), zdiff)
        .keys(0, 0, 0)
        .key_specs(&[key_num(&["RO", "access"], 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "6.2.0",
            "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the \
             size of the result set.",
            "Returns the difference between multiple sorted sets.",
        ),
    Spec::new("zdiffstore", -4, Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS), zdiffstore)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["OW", "update"], 1, 0, 1), key_num(&["RO", "access"], 2)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "6.2.0",
            "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the \
             size of the result set.",
            "Stores the difference of multiple sorted sets in a key.",
        ),
    Spec::new("zinter", -3, Flags::READONLY.union(Flags::MOVABLEKEYS), zinter)
        .keys(0, 0, 0)
        .key_specs(&[key_num(&["RO", "access"], 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "6.2.0",
            "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the \
             number of elements in the resulting sorted set.",
            "Returns the intersect of multiple sorted sets.",
        ),
    Spec::new("zintercard", -3, Flags::READONLY.union(Flags::MOVABLEKEYS), zintercard)
        .keys(0, 0, 0)
        .key_specs(&[key_num(&["RO", "access"], 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "7.0.0",
            "O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets.",
            "Returns the number of members of the intersect of multiple sorted sets.",
        ),
    Spec::new("zinterstore", -4, Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS), zinterstore)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["OW", "update"], 1, 0, 1), key_num(&["RO", "access"], 2)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "2.0.0",
            "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the \
             number of elements in the resulting sorted set.",
            "Stores the intersect of multiple sorted sets in a key.",
        ),
    Spec::new("zunion", -3, Flags::READONLY.union(Flags::MOVABLEKEYS), zunion)
        .keys(0, 0, 0)
        .key_specs(&[key_num(&["RO", "access"], 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "6.2.0",
            "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting \
             sorted set.",
            "Returns the union of multiple sorted sets.",
        ),
    Spec::new("zunionstore", -4, Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS), zunionstore)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["OW", "update"], 1, 0, 1), key_num(&["RO", "access"], 2)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "2.0.0",
            "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting \
             sorted set.",
            "Stores the union of multiple sorted sets in a key.",
        ),
];
