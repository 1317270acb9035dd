//! ZCARD, ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCOUNT, ZLEXCOUNT, ZSCAN.

use super::range_args::{lex_range, score_range};
use super::read;
use crate::command::key_range::key_range;
use crate::command::scan::scan_elements;
use crate::command::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::keyspace::{Kind, ZSetRef};
use crate::types::listpack::ElemBuf;
use crate::types::number::{DoubleBuf, format_17_digits};

fn zcard(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    read(ctx, key, |zset, out| out.int(zset.map_or(0, |zset| zset.len() as i64)))
}

fn zscore(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, member) = (ctx.key(1), ctx.args.at(2));
    read(ctx, key, |zset, out| match zset.and_then(|zset| zset.score(member)) {
        Some(score) => out.double(score),
        None => out.null(),
    })
}

fn zmscore(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, members) = (ctx.key(1), ctx.args.tail(2));
    read(ctx, key, |zset, out| {
        out.array(members.len());
        for member in members.iter() {
            match zset.and_then(|zset| zset.score(member)) {
                Some(score) => out.double(score),
                None => out.null(),
            }
        }
    })
}

fn reply_rank(ctx: &mut Ctx<'_>, reverse: bool) -> CmdResult {
    let (args, key) = (ctx.args, ctx.key(1));
    let with_score = match args.get(3) {
        None => false,
        Some(_) if args.len() > 4 => return Err(CommandError::arity(ctx.spec.name)),
        Some(arg) if arg.eq_ignore_ascii_case(b"WITHSCORE") => true,
        Some(_) => return Err(CommandError::SYNTAX),
    };
    read(ctx, key, |zset, out| {
        let found = zset.and_then(|zset| zset.rank(args.at(2)).map(|(rank, score)| (if reverse { zset.len() - 1 - rank } else { rank }, score)));
        match found {
            None if with_score => out.null_array(),
            None => out.null(),
            Some((rank, score)) => {
                if with_score {
                    out.array(2);
                }
                out.int(rank as i64);
                if with_score {
                    out.double(score);
                }
            }
        }
    })
}

fn zrank(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_rank(ctx, false)
}

fn zrevrank(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_rank(ctx, true)
}

fn zcount(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    let range = score_range(ctx.args.at(2), ctx.args.at(3))?;
    read(ctx, key, |zset, out| {
        let ranks = zset.map_or(0..0, |zset| zset.ranks_by_score(range));
        out.int((ranks.end - ranks.start) as i64);
    })
}

fn zlexcount(ctx: &mut Ctx<'_>) -> CmdResult {
    let (args, key) = (ctx.args, ctx.key(1));
    let range = lex_range(args.at(2), args.at(3))?;
    read(ctx, key, |zset, out| {
        let ranks = zset.map_or(0..0, |zset| zset.ranks_by_lex(range, false));
        out.int((ranks.end - ranks.start) as i64);
    })
}

fn zscan(ctx: &mut Ctx<'_>) -> CmdResult {
    scan_elements(ctx, Kind::ZSet, |entry, scan, found| match entry.zset() {
        Some(ZSetRef::Sorted(sorted)) => sorted.scan(scan.cursor, scan.count, &mut |name, score| {
            if scan.wants(name) {
                found.put(name);
                found.put(format_17_digits(score).as_bytes());
            }
        }),
        zset => {
            let mut buffer = ElemBuf::new();
            zset.expect("a sorted set").for_each(|member, score| {
                let name = member.bytes(&mut buffer);
                if scan.wants(name) {
                    found.put(name);
                    found.put(DoubleBuf::default().reply(score).as_bytes());
                }
            });
            0
        }
    })
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("zcard", 2, Flags::READONLY.union(Flags::FAST), zcard)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs("sorted-set", "1.2.0", "O(1)", "Returns the number of members in a sorted set."),
    Spec::new("zcount", 4, Flags::READONLY.union(Flags::FAST), zcount)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "2.0.0",
            "O(log(N)) with N being the number of elements in the sorted set.",
            "Returns the count of members in a sorted set that have scores within a range.",
        ),
    Spec::new("zlexcount", 4, Flags::READONLY.union(Flags::FAST), zlexcount)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "2.8.9",
            "O(log(N)) with N being the number of elements in the sorted set.",
            "Returns the number of members in a sorted set within a lexicographical range.",
        ),
    Spec::new("zmscore", -3, Flags::READONLY.union(Flags::FAST), zmscore)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "6.2.0",
            "O(N) where N is the number of members being requested.",
            "Returns the score of one or more members in a sorted set.",
        ),
    Spec::new("zrank", -3, Flags::READONLY.union(Flags::FAST), zrank)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs("sorted-set", "2.0.0", "O(log(N))", "Returns the index of a member in a sorted set ordered by ascending scores."),
    Spec::new("zrevrank", -3, Flags::READONLY.union(Flags::FAST), zrevrank)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs("sorted-set", "2.0.0", "O(log(N))", "Returns the index of a member in a sorted set ordered by descending scores."),
    Spec::new("zscore", 3, Flags::READONLY.union(Flags::FAST), zscore)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs("sorted-set", "1.2.0", "O(1)", "Returns the score of a member in a sorted set."),
    Spec::new("zscan", -3, Flags::READONLY, zscan)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .tips(&["nondeterministic_output"])
        .docs(
            "sorted-set",
            "2.8.0",
            "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the \
             number of elements inside the collection.",
            "Iterates over members and scores of a sorted set.",
        ),
];
