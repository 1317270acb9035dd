//! Entries that go one by one, and what groups have of them: XDEL, XDELEX, XACK, XACKDEL.

use super::super::key_range::key_range;
use super::super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use super::append::refs_of;
use super::{propagate_ids, propagate_removed, stream_of, strict_id};
use crate::config::Events;
use crate::resp::Args;
use crate::types::number::parse_i64;
use crate::types::stream::{Refs, Removal, Removed, StreamId};

/// All arguments from `first` on as IDs.
fn ids_from(args: Args<'_>, first: usize) -> Result<Vec<StreamId>, CommandError> {
    args.tail(first).iter().map(|id| strict_id(id, 0)).collect()
}

fn xdel(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    if stream_of(ctx.write(key))?.is_none() {
        ctx.out.int(0);
        return Ok(());
    }
    let ids = ids_from(ctx.args, 2)?;
    let mut removed = Removed::default();
    ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, false, |stream, _| {
        ids.iter().for_each(|id| {
            stream.delete(*id, Refs::Keep, &mut removed);
        });
    });
    let count = removed.ids.len();
    if count > 0 {
        ctx.changed_by(count, key.bytes);
        ctx.notify(Events::STREAM, "xdel", key.bytes);
    }
    ctx.out.int(count as i64);
    Ok(())
}

fn xack(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, group) = (ctx.key(1), ctx.args.at(2));
    if stream_of(ctx.read(key))?.and_then(|stream| stream.group(group)).is_none() {
        ctx.out.int(0);
        return Ok(());
    }
    let ids = ids_from(ctx.args, 3)?;
    let acked = ctx
        .node
        .keyspace
        .db_mut(ctx.db)
        .edit_stream(key, false, |stream, _| stream.edit_group(group, |group| ids.iter().filter(|id| group.ack(**id)).count()));
    let count = acked.flatten().expect("the group was there");
    ctx.node.dirty += count as u64;
    ctx.out.int(count as i64);
    Ok(())
}

/// `[KEEPREF|DELREF|ACKED] IDS numids id...` from argument `first` on. The IDs are left as they are.
fn refs_and_ids<'a>(args: Args<'a>, first: usize) -> Result<(Refs, Vec<&'a [u8]>), CommandError> {
    let (mut refs, mut at) = (None, first);
    let mut ids = None;
    while at < args.len() {
        let word = args.at(at);
        if word.eq_ignore_ascii_case(b"ids") && at + 1 < args.len() {
            let count = parse_i64(args.at(at + 1)).and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
            let count = count.ok_or(CommandError::text("ERR Number of IDs must be a positive integer"))?;
            if count > args.len() - at - 2 {
                return Err("ERR The `numids` parameter must match the number of arguments".into());
            }
            ids = Some(args.tail(at + 2).iter().take(count).collect());
            at += 2 + count;
            continue;
        }
        refs = match refs_of(word) {
            Some(given) if refs.is_none() => Some(given),
            _ => return Err(CommandError::SYNTAX),
        };
        at += 1;
    }
    Ok((refs.unwrap_or_default(), ids.ok_or(CommandError::SYNTAX)?))
}

/// How XDELEX and XACKDEL tell of one entry.
fn shown(removal: Removal) -> i64 {
    match removal {
        Removal::Done => 1,
        Removal::Missing => -1,
        Removal::Referenced => 2,
    }
}

fn put_all_missing(ctx: &mut Ctx<'_>, count: usize) {
    ctx.out.array(count);
    (0..count).for_each(|_| ctx.out.int(-1));
}

fn xdelex(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    let found = stream_of(ctx.write(key))?.is_some();
    let (refs, ids) = refs_and_ids(ctx.args, 2)?;
    if !found {
        put_all_missing(ctx, ids.len());
        return Ok(());
    }
    let ids = ids.into_iter().map(|id| strict_id(id, 0)).collect::<Result<Vec<_>, _>>()?;
    let mut removed = Removed::default();
    let removals = ctx
        .node
        .keyspace
        .db_mut(ctx.db)
        .edit_stream(key, false, |stream, _| ids.iter().map(|id| stream.delete(*id, refs, &mut removed)).collect::<Vec<_>>());
    let removals = removals.expect("it was there");
    ctx.out.array(removals.len());
    removals.iter().for_each(|removal| ctx.out.int(shown(*removal)));
    if !removed.ids.is_empty() {
        ctx.changed_by(removed.ids.len(), key.bytes);
        ctx.notify(Events::STREAM, "xdel", key.bytes);
    }
    ctx.node.dirty += removed.released.len() as u64;
    propagate_removed(ctx, key.bytes, &removed);
    Ok(())
}

fn xackdel(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name) = (ctx.key(1), ctx.args.at(2));
    let found = stream_of(ctx.read(key))?.is_some_and(|stream| stream.group(name).is_some());
    let (refs, ids) = refs_and_ids(ctx.args, 3)?;
    if !found {
        put_all_missing(ctx, ids.len());
        return Ok(());
    }
    let ids = ids.into_iter().map(|id| strict_id(id, 0)).collect::<Result<Vec<_>, _>>()?;
    let (mut removed, mut acked) = (Removed::default(), Vec::new());
    let results = ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, false, |stream, _| {
        let mut remove = |id: StreamId| {
            if stream.edit_group(name, |group| group.ack(id)) != Some(true) {
                return Removal::Missing;
            }
            acked.push(id);
            match stream.delete(id, refs, &mut removed) {
                // It was acknowledged, and is not there: that is all one could want.
                Removal::Missing => Removal::Done,
                removal => removal,
            }
        };
        ids.iter().map(|id| remove(*id)).collect::<Vec<_>>()
    });
    let results = results.expect("it was there");
    ctx.out.array(results.len());
    results.iter().for_each(|removal| ctx.out.int(shown(*removal)));
    if !acked.is_empty() {
        ctx.node.dirty += acked.len() as u64;
        propagate_ids(ctx, &[b"XACK", key.bytes, name], &acked);
    }
    if !removed.ids.is_empty() {
        ctx.node.signal(ctx.db, key.bytes);
        ctx.notify(Events::STREAM, "xdel", key.bytes);
    }
    propagate_removed(ctx, key.bytes, &removed);
    Ok(())
}

pub(in crate::command) const ROWS: &[Spec] = &[
    Spec::new("xack", -4, Flags::WRITE.union(Flags::FAST), xack)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::STREAM)
        .docs(
            "stream",
            "5.0.0",
            "O(1) for each message ID processed.",
            "Returns the number of messages that were successfully acknowledged by the consumer group member of a stream.",
        ),
    Spec::new("xackdel", -6, Flags::WRITE.union(Flags::FAST), xackdel)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update", "delete"], 1, 0, 1)])
        .acl(Acl::STREAM)
        .docs(
            "stream",
            "8.2.0",
            "O(1) for each message ID processed.",
            "Acknowledges and deletes one or multiple messages for a stream consumer group.",
        ),
    Spec::new("xdel", -3, Flags::WRITE.union(Flags::FAST), xdel)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)])
        .acl(Acl::STREAM)
        .docs(
            "stream",
            "5.0.0",
            "O(1) for each single item to delete in the stream, regardless of the stream size.",
            "Returns the number of messages after removing them from a stream.",
        ),
    Spec::new("xdelex", -5, Flags::WRITE.union(Flags::FAST), xdelex)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)])
        .acl(Acl::STREAM)
        .docs(
            "stream",
            "8.2.0",
            "O(1) for each single item to delete in the stream, regardless of the stream size.",
            "Deletes one or multiple entries from the stream.",
        ),
];
