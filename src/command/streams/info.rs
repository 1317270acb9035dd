//! XINFO: a stream from inside.

use super::super::error::cited;
use super::super::help::{container, help, unknown_or_arity};
use super::super::key_range::key_range;
use super::super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use super::range::put_entries;
use super::{put_entry, put_id, stream_of};
use crate::resp::Reply;
use crate::types::number::parse_i64;
use crate::types::stream::{Consumer, Group, Stream, StreamId};

/// Entries and pending ones that FULL shows unless told otherwise.
const SHOWN: usize = 10;

fn name(out: &mut Reply, name: &str) {
    out.bulk(name.as_bytes());
}

/// Counts that clients can set wrap around where Redis's do.
fn field(out: &mut Reply, label: &str, number: i64) {
    name(out, label);
    out.int(number);
}

fn id_field(out: &mut Reply, label: &str, id: StreamId) {
    name(out, label);
    put_id(out, id);
}

fn field_or_null(out: &mut Reply, label: &str, number: Option<i64>) {
    name(out, label);
    match number {
        Some(number) => out.int(number),
        None => out.null(),
    }
}

/// What both forms of XINFO STREAM begin with: seven fields.
fn put_head(stream: &Stream, out: &mut Reply) {
    field(out, "length", stream.len() as i64);
    field(out, "radix-tree-keys", stream.blocks_len() as i64);
    field(out, "radix-tree-nodes", stream.radix_nodes() as i64);
    id_field(out, "last-generated-id", stream.last_id());
    id_field(out, "max-deleted-entry-id", stream.max_deleted_id());
    field(out, "entries-added", stream.entries_added() as i64);
    id_field(out, "recorded-first-entry-id", stream.first_id());
}

fn xinfo_stream(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, args) = (ctx.key(2), ctx.args);
    ctx.read_with(key, |entry, out| {
        let stream = stream_of(entry)?.ok_or(CommandError::NO_KEY)?;
        if args.len() == 3 {
            put_brief(stream, out);
            return Ok(());
        }
        let bad = || unknown_or_arity(args.at(1), "XINFO");
        if !args.at(3).eq_ignore_ascii_case(b"full") {
            return Err(bad());
        }
        let count = match (args.get(4), args.get(5)) {
            (None, _) => SHOWN,
            (Some(word), Some(count)) if word.eq_ignore_ascii_case(b"count") && args.len() == 6 => {
                match parse_i64(count).ok_or(CommandError::NOT_INTEGER)? {
                    0 => usize::MAX,
                    count => usize::try_from(count).unwrap_or(SHOWN),
                }
            }
            _ => return Err(bad()),
        };
        put_full(stream, count, out);
        Ok(())
    })
}

fn put_brief(stream: &Stream, out: &mut Reply) {
    out.map(10);
    put_head(stream, out);
    field(out, "groups", stream.groups_len() as i64);
    let all = || stream.range(StreamId::MIN, StreamId::MAX);
    for (label, entry) in [("first-entry", all().next()), ("last-entry", all().next_back())] {
        name(out, label);
        match entry {
            Some(entry) => put_entry(out, &entry),
            None => out.null(),
        }
    }
}

fn put_full(stream: &Stream, count: usize, out: &mut Reply) {
    out.map(9);
    put_head(stream, out);
    name(out, "entries");
    put_entries(out, stream.range(StreamId::MIN, StreamId::MAX).take(count));
    name(out, "groups");
    out.array(stream.groups_len());
    for (group_name, group) in stream.groups() {
        out.map(7);
        name(out, "name");
        out.bulk(group_name);
        id_field(out, "last-delivered-id", group.last_id());
        put_progress(stream, group, out);
        field(out, "pel-count", group.pending_len() as i64);
        name(out, "pending");
        out.array(count.min(group.pending_len() as usize));
        for pending in group.pending_from(StreamId::MIN).take(count) {
            out.array(4);
            put_id(out, pending.id);
            out.bulk(&pending.consumer);
            out.int(pending.delivered_ms);
            out.int(pending.deliveries as i64);
        }
        name(out, "consumers");
        out.array(group.consumers_len());
        group.consumers().for_each(|consumer| put_full_consumer(group, consumer, count, out));
    }
}

fn put_full_consumer(group: &Group, consumer: &Consumer, count: usize, out: &mut Reply) {
    out.map(5);
    name(out, "name");
    out.bulk(consumer.name());
    field(out, "seen-time", consumer.seen_ms);
    field(out, "active-time", consumer.active_ms);
    field(out, "pel-count", consumer.pending_len() as i64);
    name(out, "pending");
    out.array(count.min(consumer.pending_len() as usize));
    for id in consumer.pending_from(StreamId::MIN).take(count) {
        let pending = group.pending(id).expect("a consumer's entries are its group's");
        out.array(3);
        put_id(out, id);
        out.int(pending.delivered_ms);
        out.int(pending.deliveries as i64);
    }
}

/// How far a group has read, and how far it is behind.
fn put_progress(stream: &Stream, group: &Group, out: &mut Reply) {
    field_or_null(out, "entries-read", group.entries_read.map(|count| count as i64));
    field_or_null(out, "lag", stream.lag(group));
}

fn xinfo_groups(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(2);
    ctx.read_with(key, |entry, out| {
        let stream = stream_of(entry)?.ok_or(CommandError::NO_KEY)?;
        out.array(stream.groups_len());
        for (group_name, group) in stream.groups() {
            out.map(6);
            name(out, "name");
            out.bulk(group_name);
            field(out, "consumers", group.consumers_len() as i64);
            field(out, "pending", group.pending_len() as i64);
            id_field(out, "last-delivered-id", group.last_id());
            put_progress(stream, group, out);
        }
        Ok(())
    })
}

fn xinfo_consumers(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, group_name) = (ctx.key(2), ctx.args.at(3));
    let now_ms = ctx.node.now_ms;
    ctx.read_with(key, |entry, out| {
        let stream = stream_of(entry)?.ok_or(CommandError::NO_KEY)?;
        let Some(group) = stream.group(group_name) else {
            let (group, key) = (cited(group_name, usize::MAX), cited(key.bytes, usize::MAX));
            return Err(format!("NOGROUP No such consumer group '{group}' for key name '{key}'").into());
        };
        out.array(group.consumers_len());
        for consumer in group.consumers() {
            out.map(4);
            name(out, "name");
            out.bulk(consumer.name());
            field(out, "pending", consumer.pending_len() as i64);
            field(out, "idle", (now_ms - consumer.seen_ms).max(0));
            field(out, "inactive", if consumer.active_ms == -1 { -1 } else { (now_ms - consumer.active_ms).max(0) });
        }
        Ok(())
    })
}

fn xinfo_help(ctx: &mut Ctx<'_>) -> CmdResult {
    let lines = [
        "CONSUMERS <key> <groupname>",
        "    Show consumers of <groupname>.",
        "GROUPS <key>",
        "    Show the stream consumer groups.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    Show information about the stream.",
    ];
    help(ctx.out, "XINFO", &lines);
    Ok(())
}

const SUBCOMMANDS: &[Spec] =
    &[
        Spec::new("consumers", 4, Flags::READONLY, xinfo_consumers)
            .keys(2, 2, 1)
            .key_specs(&[key_range(&["RO", "access"], 2, 0, 1)])
            .acl(Acl::STREAM)
            .tips(&["nondeterministic_output"])
            .docs("stream", "5.0.0", "O(1)", "Returns a list of the consumers in a consumer group."),
        Spec::new("groups", 3, Flags::READONLY, xinfo_groups)
            .keys(2, 2, 1)
            .key_specs(&[key_range(&["RO", "access"], 2, 0, 1)])
            .acl(Acl::STREAM)
            .docs("stream", "5.0.0", "O(1)", "Returns a list of the consumer groups of a stream."),
        Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), xinfo_help).acl(Acl::STREAM).docs(
            "stream",
            "5.0.0",
            "O(1)",
            "Returns helpful text about the different subcommands.",
        ),
        Spec::new("stream", -3, Flags::READONLY, xinfo_stream)
            .keys(2, 2, 1)
            .key_specs(&[key_range(&["RO", "access"], 2, 0, 1)])
            .acl(Acl::STREAM)
            .docs("stream", "5.0.0", "O(1)", "Returns information about a stream."),
    ];

pub(in crate::command) const ROWS: &[Spec] = &[Spec::new("xinfo", -2, Flags::empty(), container)
    .docs("stream", "5.0.0", "Depends on subcommand.", "A container for stream introspection commands.")
    .subcommands(SUBCOMMANDS)];
