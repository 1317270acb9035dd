//! Entries by their IDs: XRANGE, XREVRANGE, XLEN.

use super::super::key_range::key_range;
use super::super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use super::{put_counted, put_entry, range_end, range_start, stream_of};
use crate::resp::Reply;
use crate::types::number::parse_i64;
use crate::types::stream;

fn xlen(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        out.int(stream_of(entry)?.map_or(0, |stream| stream.len() as i64));
        Ok(())
    })
}

fn xrange(ctx: &mut Ctx<'_>) -> CmdResult {
    show(ctx, false)
}

fn xrevrange(ctx: &mut Ctx<'_>) -> CmdResult {
    show(ctx, true)
}

fn show(ctx: &mut Ctx<'_>, is_reverse: bool) -> CmdResult {
    let (key, args) = (ctx.key(1), ctx.args);
    let (first, second) = (args.at(2), args.at(3));
    let start = range_start(if is_reverse { second } else { first })?;
    let end = range_end(if is_reverse { first } else { second })?;
    let (mut count, mut at) = (None, 4);
    while at < args.len() {
        if !args.at(at).eq_ignore_ascii_case(b"count") || at + 1 == args.len() {
            return Err(CommandError::SYNTAX);
        }
        count = Some(parse_i64(args.at(at + 1)).ok_or(CommandError::NOT_INTEGER)?.max(0) as usize);
        at += 2;
    }
    ctx.read_with(key, |entry, out| {
        let Some(stream) = stream_of(entry)? else {
            out.array(0);
            return Ok(());
        };
        if count == Some(0) {
            out.null_array();
            return Ok(());
        }
        let (range, count) = (stream.range(start, end), count.unwrap_or(usize::MAX));
        match is_reverse {
            true => put_entries(out, range.rev().take(count)),
            false => put_entries(out, range.take(count)),
        }
        Ok(())
    })
}

/// Entries, as many as there are.
pub(super) fn put_entries<'a>(out: &mut Reply, entries: impl Iterator<Item = stream::Entry<'a>>) {
    put_counted(out, |out| entries.map(|entry| put_entry(out, &entry)).count());
}

pub(in crate::command) const ROWS: &[Spec] = &[
    Spec::new("xlen", 2, Flags::READONLY.union(Flags::FAST), xlen).keys(1, 1, 1).key_specs(&[key_range(&["RO"], 1, 0, 1)]).acl(Acl::STREAM).docs("stream", "5.0.0", "O(1)", "Return the number of messages in a stream."),
    Spec::new("xrange", -4, Flags::READONLY, xrange).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::STREAM).docs("stream", "5.0.0", "O(N) with N being the number of elements being returned. If N is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).", "Returns the messages from a stream within a range of IDs."),
    Spec::new("xrevrange", -4, Flags::READONLY, xrevrange).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::STREAM).docs("stream", "5.0.0", "O(N) with N being the number of elements returned. If N is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).", "Returns the messages from a stream within a range of IDs in reverse order."),
];
