//! ZPOPMIN, ZPOPMAX, ZMPOP, and those that wait: BZPOPMIN, BZPOPMAX, BZMPOP.

use std::ops::Range;

use super::{Listing, look_up, reply_member, tell};
use crate::command::key_range::{key_num, key_range};
use crate::command::key_waits::{KeysWanted, timeout_seconds};
use crate::command::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::keyspace::{Key, Kind, ZSetEdit};
use crate::resp::Reply;
use crate::types::listpack::Elem;
use crate::types::number::parse_i64;

/// Which end of a sorted set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn command(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }
    /// MIN or MAX as an argument.
    fn parse(arg: &[u8]) -> Result<Self, CommandError> {
        if arg.eq_ignore_ascii_case(b"MIN") {
            Ok(End::Min)
        } else if arg.eq_ignore_ascii_case(b"MAX") {
            Ok(End::Max)
        } else {
            Err(CommandError::SYNTAX)
        }
    }
    /// Takes out up to `count` members, from this end inward, and hands each to `each` once it is known how many there will be.
    fn take(
        self,
        zset: &mut ZSetEdit<'_>,
        count: u64,
        out: &mut Reply,
        begin: impl FnOnce(&mut Reply, u64),
        each: impl Fn(&mut Reply, Elem<'_>, f64),
    ) -> u64 {
        let len = zset.view().len();
        let count = count.min(len);
        begin(out, count);
        match self {
            End::Min => zset.remove_range(0..count, |elem, score| each(out, elem, score)),
            End::Max => {
                // They leave in ascending order, but the reply is in the other.
                zset.view().for_range(len - count..len, true, |elem, score| each(out, elem, score));
                zset.remove_range(len - count..len, |_, _| ());
            }
        }
        count
    }
}

/// Pops from a key that is a sorted set. Returns how many.
fn pop(ctx: &mut Ctx<'_>, key: Key<'_>, end: End, count: u64, begin: impl FnOnce(&mut Reply, u64), each: impl Fn(&mut Reply, Elem<'_>, f64)) -> u64 {
    let out = &mut *ctx.out;
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_zset(key, false, |zset| end.take(zset, count, out, begin, each));
    let edited = edited.expect("it has just been looked up");
    tell(ctx, key, edited.result, end.command(), edited.emptied);
    edited.result
}

fn pop_command(ctx: &mut Ctx<'_>, end: End) -> CmdResult {
    let (args, key) = (ctx.args, ctx.key(1));
    if args.len() > 3 {
        return Err(CommandError::SYNTAX);
    }
    let count = match args.get(2) {
        None => None,
        Some(arg) => {
            let count = parse_i64(arg).and_then(|count| u64::try_from(count).ok());
            Some(count.ok_or(CommandError::text("ERR value is out of range, must be positive"))?)
        }
    };
    if !look_up(ctx, key)? || count == Some(0) {
        ctx.out.array(0);
        return Ok(());
    }
    match count {
        Some(count) => {
            let listing = Listing { with_scores: true };
            pop(ctx, key, end, count, |out, count| listing.begin(out, count), |out, elem, score| listing.put(out, elem, score));
        }
        None => {
            pop(ctx, key, end, 1, |out, _| out.array(2), reply_pair);
        }
    }
    Ok(())
}

fn reply_pair(out: &mut Reply, elem: Elem<'_>, score: f64) {
    reply_member(out, elem);
    out.double(score);
}

fn zpopmin(ctx: &mut Ctx<'_>) -> CmdResult {
    pop_command(ctx, End::Min)
}

fn zpopmax(ctx: &mut Ctx<'_>) -> CmdResult {
    pop_command(ctx, End::Max)
}

/// The arguments of ZMPOP and BZMPOP from the number of keys on.
struct MultiPop {
    /// The indexes of the keys.
    keys: Range<usize>,
    end: End,
    count: u64,
}

impl MultiPop {
    /// `at` is the index of the number of keys.
    fn parse(ctx: &Ctx<'_>, at: usize) -> Result<Self, CommandError> {
        let args = ctx.args.tail(at);
        let keys = parse_i64(args.at(0)).and_then(|keys| usize::try_from(keys).ok()).filter(|keys| *keys > 0);
        let keys = keys.ok_or(CommandError::text("ERR numkeys should be greater than 0"))?;
        let end = End::parse(args.get(keys.saturating_add(1)).ok_or(CommandError::SYNTAX)?)?;
        let mut count = None;
        let mut options = args.tail(keys + 2).iter();
        while let Some(option) = options.next() {
            if count.is_some() || !option.eq_ignore_ascii_case(b"COUNT") {
                return Err(CommandError::SYNTAX);
            }
            let given = parse_i64(options.next().ok_or(CommandError::SYNTAX)?).and_then(|count| u64::try_from(count).ok());
            count = Some(given.filter(|count| *count > 0).ok_or(CommandError::text("ERR count should be greater than 0"))?);
        }
        Ok(MultiPop { keys: at + 1..at + 1 + keys, end, count: count.unwrap_or(1) })
    }
}

/// Replies the key and the pairs that ZMPOP pops from it. The stream is told how many they were.
fn pop_many(ctx: &mut Ctx<'_>, key: Key<'_>, end: End, count: u64) {
    ctx.out.array(2);
    ctx.out.bulk(key.bytes);
    let each = |out: &mut Reply, elem: Elem<'_>, score| {
        out.array(2);
        reply_pair(out, elem, score);
    };
    let popped = pop(ctx, key, end, count, |out, count| out.array(count as usize), each);
    ctx.propagate(&[end.command().to_ascii_uppercase().as_bytes(), key.bytes, itoa::Buffer::new().format(popped).as_bytes()]);
}

/// Pops from the first sorted set that there is, as many as ZMPOP would; false if there is none.
fn pop_first_many(ctx: &mut Ctx<'_>, asked: &MultiPop) -> Result<bool, CommandError> {
    for index in asked.keys.clone() {
        let key = ctx.key(index);
        if look_up(ctx, key)? {
            pop_many(ctx, key, asked.end, asked.count);
            return Ok(true);
        }
    }
    Ok(false)
}

fn zmpop(ctx: &mut Ctx<'_>) -> CmdResult {
    let asked = MultiPop::parse(ctx, 1)?;
    if !pop_first_many(ctx, &asked)? {
        ctx.out.null_array();
    }
    Ok(())
}

fn bzmpop(ctx: &mut Ctx<'_>) -> CmdResult {
    let asked = MultiPop::parse(ctx, 2)?;
    let deadline_ms = timeout_seconds(ctx, 1)?;
    if !pop_first_many(ctx, &asked)? && !ctx.wait_for_keys(KeysWanted::new(Kind::ZSet, asked.keys, deadline_ms)) {
        ctx.out.null_array();
    }
    Ok(())
}

fn pop_or_wait(ctx: &mut Ctx<'_>, end: End) -> CmdResult {
    let keys = 1..ctx.args.len() - 1;
    let deadline_ms = timeout_seconds(ctx, keys.end)?;
    for index in keys.clone() {
        let key = ctx.key(index);
        if look_up(ctx, key)? {
            ctx.out.array(3);
            ctx.out.bulk(key.bytes);
            pop(ctx, key, end, 1, |_, _| (), reply_pair);
            ctx.propagate(&[end.command().to_ascii_uppercase().as_bytes(), key.bytes]);
            return Ok(());
        }
    }
    if !ctx.wait_for_keys(KeysWanted::new(Kind::ZSet, keys, deadline_ms)) {
        ctx.out.null_array();
    }
    Ok(())
}

fn bzpopmin(ctx: &mut Ctx<'_>) -> CmdResult {
    pop_or_wait(ctx, End::Min)
}

fn bzpopmax(ctx: &mut Ctx<'_>) -> CmdResult {
    pop_or_wait(ctx, End::Max)
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("bzmpop", -5, Flags::WRITE.union(Flags::BLOCKING).union(Flags::MOVABLEKEYS), bzmpop)
        .keys(0, 0, 0)
        .key_specs(&[key_num(&["RW", "access", "delete"], 2)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "7.0.0",
            "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number \
             of elements popped.",
            "Removes and returns a member by score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted \
             set if the last element was popped.",
        ),
    Spec::new("bzpopmax", -3, Flags::WRITE.union(Flags::BLOCKING).union(Flags::FAST), bzpopmax)
        .keys(1, -2, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, -2, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "5.0.0",
            "O(log(N)) with N being the number of elements in the sorted set.",
            "Removes and returns the member with the highest score from one or more sorted sets. Blocks until a member available otherwise.  \
             Deletes the sorted set if the last element was popped.",
        ),
    Spec::new("bzpopmin", -3, Flags::WRITE.union(Flags::BLOCKING).union(Flags::FAST), bzpopmin)
        .keys(1, -2, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, -2, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "5.0.0",
            "O(log(N)) with N being the number of elements in the sorted set.",
            "Removes and returns the member with the lowest score from one or more sorted sets. Blocks until a member is available otherwise. \
             Deletes the sorted set if the last element was popped.",
        ),
    Spec::new("zmpop", -4, Flags::WRITE.union(Flags::MOVABLEKEYS), zmpop)
        .keys(0, 0, 0)
        .key_specs(&[key_num(&["RW", "access", "delete"], 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "7.0.0",
            "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number \
             of elements popped.",
            "Returns the highest- or lowest-scoring members from one or more sorted sets after removing them. Deletes the sorted set if the last \
             member was popped.",
        ),
    Spec::new("zpopmax", -2, Flags::WRITE.union(Flags::FAST), zpopmax)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "5.0.0",
            "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.",
            "Returns the highest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.",
        ),
    Spec::new("zpopmin", -2, Flags::WRITE.union(Flags::FAST), zpopmin)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "5.0.0",
            "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.",
            "Returns the lowest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.",
        ),
];
