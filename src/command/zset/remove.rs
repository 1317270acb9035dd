//! ZREM and ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.

use super::range_args::{Span, lex_range, rank_range, score_range};
use super::{look_up, tell};
use crate::command::key_range::key_range;
use crate::command::{Acl, CmdResult, Ctx, Flags, Spec};

fn zrem(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, members) = (ctx.key(1), ctx.args.tail(2));
    look_up(ctx, key)?;
    let db = ctx.node.keyspace.db_mut(ctx.db);
    let edited = db.edit_zset(key, false, |zset| members.iter().filter(|member| zset.remove(member).is_some()).count() as u64);
    let (removed, emptied) = edited.map_or((0, false), |edited| (edited.result, edited.emptied));
    tell(ctx, key, removed, "zrem", emptied);
    ctx.out.int(removed as i64);
    Ok(())
}

fn remove_span(ctx: &mut Ctx<'_>, span: Span<'_>, event: &str) -> CmdResult {
    let key = ctx.key(1);
    let (mut removed, mut emptied) = (0, false);
    if look_up(ctx, key)? {
        let edited = ctx.node.keyspace.db_mut(ctx.db).edit_zset(key, false, |zset| {
            let ranks = span.ranks(zset.view(), false);
            zset.remove_range(ranks.clone(), |_, _| ());
            ranks.end - ranks.start
        });
        (removed, emptied) = edited.map_or((0, false), |edited| (edited.result, edited.emptied));
    }
    tell(ctx, key, removed, event, emptied);
    ctx.out.int(removed as i64);
    Ok(())
}

fn zremrangebyrank(ctx: &mut Ctx<'_>) -> CmdResult {
    let span = rank_range(ctx.args.at(2), ctx.args.at(3))?;
    remove_span(ctx, span, "zremrangebyrank")
}

fn zremrangebyscore(ctx: &mut Ctx<'_>) -> CmdResult {
    let span = Span::Scores(score_range(ctx.args.at(2), ctx.args.at(3))?);
    remove_span(ctx, span, "zremrangebyscore")
}

fn zremrangebylex(ctx: &mut Ctx<'_>) -> CmdResult {
    let span = Span::Members(lex_range(ctx.args.at(2), ctx.args.at(3))?);
    remove_span(ctx, span, "zremrangebylex")
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("zrem", -3, Flags::WRITE.union(Flags::FAST), zrem)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "1.2.0",
            "O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements to be removed.",
            "Removes one or more members from a sorted set. Deletes the sorted set if all members were removed.",
        ),
    Spec::new("zremrangebylex", 4, Flags::WRITE, zremrangebylex)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "2.8.9",
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
            "Removes members in a sorted set within a lexicographical range. Deletes the sorted set if all members were removed.",
        ),
    Spec::new("zremrangebyrank", 4, Flags::WRITE, zremrangebyrank)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "2.0.0",
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
            "Removes members in a sorted set within a range of indexes. Deletes the sorted set if all members were removed.",
        ),
    Spec::new("zremrangebyscore", 4, Flags::WRITE, zremrangebyscore)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "1.2.0",
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
            "Removes members in a sorted set within a range of scores. Deletes the sorted set if all members were removed.",
        ),
];
