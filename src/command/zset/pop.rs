//! ZPOPMIN, ZPOPMAX, ZMPOP.

use super::{Listing, look_up, member, tell};
use crate::command::key_range::key_range;
use crate::command::{Acl, Begin, CmdResult, CommandError, Ctx, Find, Flags, KeySpec, Spec};
use crate::keyspace::{Key, ZSetEdit};
use crate::resp::Reply;
use crate::types::listpack::Elem;
use crate::types::number::parse_i64;

/// Which end of a sorted set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
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
    member(out, elem);
    out.double(score);
}

fn zpopmin(ctx: &mut Ctx<'_>) -> CmdResult {
    pop_command(ctx, End::Min)
}

fn zpopmax(ctx: &mut Ctx<'_>) -> CmdResult {
    pop_command(ctx, End::Max)
}

/// The arguments of ZMPOP and BZMPOP from the number of keys on.
pub(super) struct MultiPop {
    /// Keys, from the argument behind the number on.
    pub keys: usize,
    pub end: End,
    pub count: u64,
}

impl MultiPop {
    /// `at` is the index of the number of keys.
    pub(super) fn parse(ctx: &Ctx<'_>, at: usize) -> Result<Self, CommandError> {
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
        Ok(MultiPop { keys, end, count: count.unwrap_or(1) })
    }
}

/// Replies the key and the pairs that ZMPOP pops from it. The stream is told how many they were.
pub(super) fn pop_many(ctx: &mut Ctx<'_>, key: Key<'_>, end: End, count: u64) {
    ctx.out.array(2);
    ctx.out.bulk(key.bytes);
    let each = |out: &mut Reply, elem: Elem<'_>, score| {
        out.array(2);
        reply_pair(out, elem, score);
    };
    let popped = pop(ctx, key, end, count, |out, count| out.array(count as usize), each);
    ctx.propagate(&[end.command().to_ascii_uppercase().as_bytes(), key.bytes, itoa::Buffer::new().format(popped).as_bytes()]);
}

fn zmpop(ctx: &mut Ctx<'_>) -> CmdResult {
    let asked = MultiPop::parse(ctx, 1)?;
    for index in 2..2 + asked.keys {
        let key = ctx.key(index);
        if look_up(ctx, key)? {
            pop_many(ctx, key, asked.end, asked.count);
            return Ok(());
        }
    }
    ctx.out.null_array();
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("zmpop", -4, Flags::WRITE.union(Flags::MOVABLEKEYS), zmpop)
        .keys(0, 0, 0)
        .key_specs(&[KeySpec {
            flags: &["RW", "access", "delete"],
            begin: Begin::Index(1),
            find: Find::KeyNum { keynum_index: 0, first_key: 1, step: 1 },
            notes: "",
        }])
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
