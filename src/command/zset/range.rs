//! ZRANGE and its older kin.

use super::range_args::{By, Form, RangeArgs};
use super::{Listing, read};
use crate::command::key_range::key_range;
use crate::command::{Acl, CmdResult, Ctx, Flags, Spec};

fn range(ctx: &mut Ctx<'_>, by: Option<By>, reverse: Option<bool>) -> CmdResult {
    let key = ctx.key(1);
    let asked = RangeArgs::parse(ctx.args.tail(2), Form { by, reverse, stores: false })?;
    let listing = Listing { with_scores: asked.with_scores };
    read(ctx, key, |zset, out| {
        let Some(zset) = zset else { return out.array(0) };
        let ranks = asked.ranks(zset);
        listing.begin(out, ranks.end - ranks.start);
        zset.for_range(ranks, asked.reverse, |member, score| listing.put(out, member, score));
    })
}

fn zrange(ctx: &mut Ctx<'_>) -> CmdResult {
    range(ctx, None, None)
}

fn zrevrange(ctx: &mut Ctx<'_>) -> CmdResult {
    range(ctx, Some(By::Rank), Some(true))
}

fn zrangebyscore(ctx: &mut Ctx<'_>) -> CmdResult {
    range(ctx, Some(By::Score), Some(false))
}

fn zrevrangebyscore(ctx: &mut Ctx<'_>) -> CmdResult {
    range(ctx, Some(By::Score), Some(true))
}

fn zrangebylex(ctx: &mut Ctx<'_>) -> CmdResult {
    range(ctx, Some(By::Lex), Some(false))
}

fn zrevrangebylex(ctx: &mut Ctx<'_>) -> CmdResult {
    range(ctx, Some(By::Lex), Some(true))
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("zrange", -4, Flags::READONLY, zrange).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::SORTEDSET).docs(
        "sorted-set",
        "1.2.0",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.",
        "Returns members in a sorted set within a range of indexes.",
    ),
    Spec::new("zrangebylex", -4, Flags::READONLY, zrangebylex)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "2.8.9",
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. \
             always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
            "Returns members in a sorted set within a lexicographical range.",
        ),
    Spec::new("zrangebyscore", -4, Flags::READONLY, zrangebyscore)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "1.0.5",
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. \
             always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
            "Returns members in a sorted set within a range of scores.",
        ),
    Spec::new("zrevrange", -4, Flags::READONLY, zrevrange)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "1.2.0",
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.",
            "Returns members in a sorted set within a range of indexes in reverse order.",
        ),
    Spec::new("zrevrangebylex", -4, Flags::READONLY, zrevrangebylex)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "2.8.9",
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. \
             always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
            "Returns members in a sorted set within a lexicographical range in reverse order.",
        ),
    Spec::new("zrevrangebyscore", -4, Flags::READONLY, zrevrangebyscore)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "2.2.0",
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. \
             always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
            "Returns members in a sorted set within a range of scores in reverse order.",
        ),
];
