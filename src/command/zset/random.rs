//! ZRANDMEMBER.

use std::collections::BTreeSet;

use super::{Listing, read, reply_member};
use crate::command::key_range::key_range;
use crate::command::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::keyspace::ZSetRef;
use crate::resp::Reply;
use crate::types::number::parse_i64;

/// The most members that are repeated: Redis would try to answer with more than any memory.
const REPEATED_MAX: u64 = 1 << 32;

/// Below this share of the set, members are drawn; above, they are gone through.
const DRAWN_SHARE: u64 = 3;

/// Replies `count` different members.
fn different(zset: ZSetRef<'_>, count: u64, random: &mut dyn FnMut() -> u64, out: &mut Reply, listing: Listing) {
    let len = zset.len();
    let count = count.min(len);
    listing.begin(out, count);
    if count * DRAWN_SHARE <= len {
        // Floyd's: each draw is among those that may still come, and the last of them stands for one that has come.
        let mut drawn = BTreeSet::new();
        for last in len - count..len {
            let rank = random() % (last + 1);
            let rank = if drawn.insert(rank) { rank } else { last };
            drawn.insert(rank);
            let (member, score) = zset.at(rank).expect("a rank within the set");
            listing.put(out, member, score);
        }
        return;
    }
    let (mut wanted, mut left) = (count, len);
    zset.for_each(|member, score| {
        if random() % left < wanted {
            listing.put(out, member, score);
            wanted -= 1;
        }
        left -= 1;
    });
}

fn zrandmember(ctx: &mut Ctx<'_>) -> CmdResult {
    let (args, key) = (ctx.args, ctx.key(1));
    let random = ctx.node.env.random.clone();
    let mut random = || random.next_u64();
    let Some(count) = args.get(2) else {
        return read(ctx, key, |zset, out| match zset.and_then(|zset| zset.random(&mut random)) {
            Some((elem, _)) => reply_member(out, elem),
            None => out.null(),
        });
    };
    let count = parse_i64(count).ok_or(CommandError::NOT_INTEGER)?;
    if count == i64::MIN {
        return Err("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807".into());
    }
    let with_scores = match args.get(3) {
        None => false,
        Some(arg) if args.len() == 4 && arg.eq_ignore_ascii_case(b"WITHSCORES") => true,
        Some(_) => return Err(CommandError::SYNTAX),
    };
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err("ERR value is out of range".into());
    }
    let listing = Listing { with_scores };
    read(ctx, key, |zset, out| {
        let Some(zset) = zset else {
            out.array(0);
            return Ok(());
        };
        if count >= 0 {
            different(zset, count as u64, &mut random, out, listing);
            return Ok(());
        }
        if count.unsigned_abs() > REPEATED_MAX {
            return Err("ERR value is out of range".into());
        }
        listing.begin(out, count.unsigned_abs());
        for _ in 0..count.unsigned_abs() {
            let (member, score) = zset.random(&mut random).expect("no set is empty");
            listing.put(out, member, score);
        }
        Ok(())
    })?
}

pub(super) const ROWS: &[Spec] = &[Spec::new("zrandmember", -2, Flags::READONLY, zrandmember)
    .keys(1, 1, 1)
    .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
    .acl(Acl::SORTEDSET)
    .tips(&["nondeterministic_output"])
    .docs("sorted-set", "6.2.0", "O(N) where N is the number of members returned", "Returns one or more random members from a sorted set.")];
