//! ZRANGESTORE, and how every command stores a sorted set that it has made.

use super::range_args::{Form, RangeArgs};
use crate::command::key_range::key_range;
use crate::command::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::config::Events;
use crate::keyspace::{Entry, Key, Kind, NewZSet};
use crate::types::listpack::ElemBuf;

/// Puts a new sorted set in the place of whatever is there; if it is empty the key is deleted. Replies how many members there are, and
/// returns it.
pub(in crate::command) fn store(ctx: &mut Ctx<'_>, key: Key<'_>, mut new: NewZSet, event: &str) -> u64 {
    let old = ctx.write(key).map(Entry::kind);
    let len = new.edit().view().len();
    ctx.out.int(len as i64);
    let exists = ctx.node.keyspace.db_mut(ctx.db).store_zset(key, new);
    if !exists && old.is_none() {
        return len;
    }
    ctx.changed(key.bytes);
    match old {
        _ if !exists => {
            ctx.notify(Events::GENERIC, "del", key.bytes);
            return len;
        }
        None => ctx.notify(Events::NEW, "new", key.bytes),
        Some(old) => ctx.notify_overwritten(ctx.db, old, Kind::ZSet, key.bytes),
    }
    ctx.notify(Events::ZSET, event, key.bytes);
    len
}

fn zrangestore(ctx: &mut Ctx<'_>) -> CmdResult {
    let (to, from) = (ctx.key(1), ctx.key(2));
    let asked = RangeArgs::parse(ctx.args.tail(3), Form { by: None, reverse: None, stores: true })?;
    let exists = match ctx.read(from) {
        Some(entry) if entry.kind() != Kind::ZSet => return Err(CommandError::WRONG_TYPE),
        found => found.is_some(),
    };
    let db = ctx.node.keyspace.db(ctx.db);
    let mut new = db.new_zset();
    if exists && let Some(zset) = db.get(from).and_then(Entry::zset) {
        let mut edit = new.edit();
        let ranks = asked.ranks(zset);
        if asked.is_by_rank() {
            // Only of these Redis knows before how many there will be. It shows in the sign of -0, which a listpack forgets.
            edit.expect(ranks.end - ranks.start, 0);
        }
        // In the order in which Redis takes them, for the same reason.
        if asked.reverse {
            zset.for_range(ranks, true, |member, score| edit.set(member.bytes(&mut ElemBuf::new()), score));
        } else {
            zset.for_range(ranks, false, |member, score| edit.push(member, score));
        }
    }
    store(ctx, to, new, "zrangestore");
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[Spec::new("zrangestore", -5, Flags::WRITE.union(Flags::DENYOOM), zrangestore)
    .keys(1, 2, 1)
    .key_specs(&[key_range(&["OW", "update"], 1, 0, 1), key_range(&["RO", "access"], 2, 0, 1)])
    .acl(Acl::SORTEDSET)
    .docs(
        "sorted-set",
        "6.2.0",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements stored into the destination key.",
        "Stores a range of members from sorted set in a key.",
    )];
