//! Streams. Here: what the family's files share. Entries come in by `append`, go by `remove`; `range` and `read` show them; `groups` are made and
//! shown, `claim` is about what is delivered and not acknowledged, `info` shows a stream from inside.
//!
//! What a write becomes in the replication stream is known to 6.2: IDs as they were chosen, trims by the length that they left, DELREF and ACKED by the
//! entries that went and the acknowledgements that came with them.

pub(super) mod append;
pub(super) mod claim;
pub(super) mod groups;
pub(super) mod info;
pub(super) mod pending;
pub(super) mod range;
pub(super) mod read;
pub(super) mod remove;
#[cfg(test)]
mod tests;

use super::error::cited;
use super::{CommandError, Ctx};
use crate::keyspace::{Entry, Key};
use crate::resp::Reply;
use crate::types::listpack::{Elem, ElemBuf};
use crate::types::stream::{self, IdBuf, Removed, Stream, StreamId};

const INVALID_ID: CommandError = CommandError::text("ERR Invalid stream ID specified as stream command argument");
/// IDs that one command of the replication stream names, at most.
const IDS_PER_EFFECT: usize = 1024;

/// The stream at a key, if there is one; WRONGTYPE if it is something else.
fn stream_of(entry: Option<&Entry>) -> Result<Option<&Stream>, CommandError> {
    entry.map_or(Ok(None), |entry| entry.stream().map(Some).ok_or(CommandError::WRONG_TYPE))
}

/// An ID as such: `-` and `+` are none. Without a number behind the time it is `seq`.
fn strict_id(text: &[u8], seq: u64) -> Result<StreamId, CommandError> {
    StreamId::parse(text, seq).ok_or(INVALID_ID)
}

/// An ID, or `-` and `+` for the least and the greatest.
fn any_id(text: &[u8], seq: u64) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => strict_id(text, seq),
    }
}

/// The start of a range, excluded behind a `(`.
fn range_start(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => strict_id(id, 0)?.next().ok_or("ERR invalid start ID for the interval".into()),
        _ => any_id(text, 0),
    }
}

/// The end of a range.
fn range_end(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => strict_id(id, u64::MAX)?.prev().ok_or("ERR invalid end ID for the interval".into()),
        _ => any_id(text, u64::MAX),
    }
}

fn put_id(out: &mut Reply, id: StreamId) {
    out.bulk(id.text(&mut IdBuf::default()));
}

fn put_elem(out: &mut Reply, elem: Elem<'_>) {
    out.bulk(elem.bytes(&mut ElemBuf::new()));
}

fn put_entry(out: &mut Reply, entry: &stream::Entry<'_>) {
    out.array(2);
    put_id(out, entry.id);
    out.array(2 * entry.len());
    for (field, value) in entry.pairs() {
        put_elem(out, field);
        put_elem(out, value);
    }
}

/// An array of what `fill` puts; it tells how many that were.
fn put_counted(out: &mut Reply, fill: impl FnOnce(&mut Reply) -> usize) {
    let mut items = Reply::new(out.proto);
    let count = fill(&mut items);
    out.array(count);
    out.buf.extend_from_slice(&items.buf);
}

/// `command`, a few words, then IDs, as many commands as that takes.
fn propagate_ids(ctx: &mut Ctx<'_>, words: &[&[u8]], ids: &[StreamId]) {
    for ids in ids.chunks(IDS_PER_EFFECT) {
        let ids: Vec<String> = ids.iter().map(StreamId::to_string).collect();
        let args: Vec<&[u8]> = words.iter().copied().chain(ids.iter().map(String::as_bytes)).collect();
        ctx.propagate(&args);
    }
}

/// What went because groups had a say in it: entries, and what groups had pending of them.
fn propagate_removed(ctx: &mut Ctx<'_>, key: &[u8], removed: &Removed) {
    propagate_ids(ctx, &[b"XDEL", key], &removed.ids);
    propagate_released(ctx, key, removed);
}

fn propagate_released(ctx: &mut Ctx<'_>, key: &[u8], removed: &Removed) {
    let mut groups: Vec<&[u8]> = removed.released.iter().map(|(group, _)| &**group).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        let ids: Vec<StreamId> = removed.released.iter().filter(|(name, _)| **name == *group).map(|(_, id)| *id).collect();
        propagate_ids(ctx, &[b"XACK", key, group], &ids);
    }
}

fn no_group(key: Key<'_>, group: &[u8]) -> CommandError {
    format!("NOGROUP No such key '{}' or consumer group '{}'", cited(key.bytes, usize::MAX), cited(group, usize::MAX)).into()
}
