//! XREAD and XREADGROUP.

use smallvec::SmallVec;

use super::super::error::cited;
use super::super::key_waits::{KeysWanted, timeout_ms};
use super::super::{Acl, Begin, CmdResult, CommandError, Ctx, Find, Flags, KeySpec, Propagate, Spec};
use super::claim::propagate_claims;
use super::{IDS_PER_EFFECT, put_counted, put_entry, put_id, stream_of, strict_id};
use crate::config::Events;
use crate::keyspace::{Key, Kind};
use crate::resp::{Args, Proto, Reply};
use crate::types::number::parse_i64;
use crate::types::stream::{Stream, StreamId};

/// The group and the consumer that XREADGROUP reads for.
#[derive(Clone, Copy)]
struct Reader<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
    /// Entries are delivered without becoming pending.
    no_ack: bool,
}

/// What is wanted of one stream.
#[derive(Clone, Copy)]
enum Wanted {
    /// Entries behind this one.
    After(StreamId),
    /// `>`: what the group has not read yet.
    New,
    /// What is pending for the consumer, behind this entry.
    History(StreamId),
}

struct Options<'a> {
    reader: Option<Reader<'a>>,
    count: usize,
    /// With BLOCK; until when, if not for ever.
    block: Option<Option<i64>>,
    first_key: usize,
    keys: usize,
}

impl<'a> Options<'a> {
    fn parse(ctx: &Ctx<'a>, is_group: bool) -> Result<Self, CommandError> {
        let args = ctx.args;
        let mut options = Options { reader: None, count: usize::MAX, block: None, first_key: 0, keys: 0 };
        let (mut at, mut no_ack) = (1, false);
        while at < args.len() && options.first_key == 0 {
            let word = args.at(at);
            let is = |name: &str, more: usize| word.eq_ignore_ascii_case(name.as_bytes()) && at + more < args.len();
            if is("block", 1) {
                options.block = Some(timeout_ms(ctx, at + 1)?);
                at += 1;
            } else if is("count", 1) {
                let count = parse_i64(args.at(at + 1)).ok_or(CommandError::NOT_INTEGER)?;
                options.count = usize::try_from(count).ok().filter(|count| *count > 0).unwrap_or(usize::MAX);
                at += 1;
            } else if is("streams", 1) {
                options.first_key = at + 1;
                options.keys = key_count(args, at + 1, is_group)?;
            } else if is("group", 2) {
                refuse_unless(is_group, "GROUP")?;
                options.reader = Some(Reader { group: args.at(at + 1), consumer: args.at(at + 2), no_ack: false });
                at += 2;
            } else if is("noack", 0) {
                refuse_unless(is_group, "NOACK")?;
                no_ack = true;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        if options.first_key == 0 {
            return Err(CommandError::SYNTAX);
        }
        match &mut options.reader {
            Some(reader) => reader.no_ack = no_ack,
            None if is_group => return Err("ERR Missing GROUP option for XREADGROUP".into()),
            None => {}
        }
        Ok(options)
    }
}

fn refuse_unless(is_group: bool, option: &str) -> CmdResult {
    match is_group {
        true => Ok(()),
        false => Err(format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.").into()),
    }
}

fn key_count(args: Args<'_>, first: usize, is_group: bool) -> Result<usize, CommandError> {
    let (count, odd) = ((args.len() - first) / 2, (args.len() - first) % 2 == 1);
    match (odd, is_group) {
        (false, _) => Ok(count),
        (_, false) => Err("ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.".into()),
        (_, true) => Err("ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified.".into()),
    }
}

fn xread(ctx: &mut Ctx<'_>) -> CmdResult {
    let options = Options::parse(ctx, false)?;
    read(ctx, &options)
}

fn xreadgroup(ctx: &mut Ctx<'_>) -> CmdResult {
    let options = Options::parse(ctx, true)?;
    read(ctx, &options)
}

fn read(ctx: &mut Ctx<'_>, options: &Options<'_>) -> CmdResult {
    let keys: SmallVec<[usize; 4]> = (options.first_key..options.first_key + options.keys).collect();
    let mut wanted: SmallVec<[Wanted; 4]> = SmallVec::new();
    for index in &keys {
        let (key, id) = (ctx.key(*index), ctx.args.at(index + options.keys));
        wanted.push(parse_wanted(stream_of(ctx.read(key))?, key, id, options.reader)?);
    }
    let mut found = Reply::new(ctx.out.proto);
    let mut count = 0;
    for (index, wanted) in keys.iter().zip(&wanted) {
        let key = ctx.key(*index);
        count += usize::from(match options.reader {
            Some(reader) => read_for(ctx, key, reader, *wanted, options.count, &mut found),
            None => read_after(ctx, key, *wanted, options.count, &mut found),
        });
    }
    if count == 0 {
        if !wait(ctx, options, &wanted) {
            ctx.out.null_array();
        }
        return Ok(());
    }
    match ctx.out.proto {
        Proto::Resp2 => ctx.out.array(count),
        Proto::Resp3 => ctx.out.map(count),
    }
    ctx.out.buf.extend_from_slice(&found.buf);
    Ok(())
}

/// Waits for entries, if that is wanted and possible.
fn wait(ctx: &mut Ctx<'_>, options: &Options<'_>, wanted: &[Wanted]) -> bool {
    let Some(deadline_ms) = options.block else { return false };
    let mut keys = KeysWanted::new(Kind::Stream, options.first_key..options.first_key + options.keys, deadline_ms);
    if options.reader.is_some() {
        keys = keys.or_without_key();
    }
    for (index, wanted) in wanted.iter().enumerate() {
        let index = options.first_key + options.keys + index;
        // What is the last ID now must not be another one later.
        if let (b"$", Wanted::After(id)) = (ctx.args.at(index), wanted) {
            keys = keys.rewrite(index, id.to_string().into_bytes());
        }
    }
    ctx.wait_for_keys(keys)
}

fn parse_wanted(stream: Option<&Stream>, key: Key<'_>, id: &[u8], reader: Option<Reader<'_>>) -> Result<Wanted, CommandError> {
    if let Some(reader) = reader
        && stream.is_none_or(|stream| stream.group(reader.group).is_none())
    {
        let (key, group) = (cited(key.bytes, usize::MAX), cited(reader.group, usize::MAX));
        return Err(format!("NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP with GROUP option").into());
    }
    let meaningless = |sign: &str| {
        let text = format!(
            "ERR The {sign} ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or \
             use the > ID to get new messages. The {sign} ID would just return an empty result set."
        );
        Err(text.into())
    };
    match (id, reader) {
        (b"$", Some(_)) => meaningless("$"),
        (b"+", Some(_)) => meaningless("+"),
        (b"$", None) => Ok(Wanted::After(stream.map_or(StreamId::MIN, Stream::last_id))),
        (b"+", None) => {
            // The last entry: what comes behind the one before it.
            let last = stream.and_then(|stream| Some(stream.range(StreamId::MIN, StreamId::MAX).next_back()?.id));
            Ok(Wanted::After(match last {
                Some(last) => last.prev().unwrap_or(StreamId::MIN),
                None => stream.map_or(StreamId::MIN, Stream::last_id),
            }))
        }
        (b">", Some(_)) => Ok(Wanted::New),
        (b">", None) => Err("ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.".into()),
        // The greatest ID is Redis's own word for `>`.
        (id, Some(_)) => Ok(match strict_id(id, 0)? {
            StreamId::MAX => Wanted::New,
            id => Wanted::History(id),
        }),
        (id, None) => Ok(Wanted::After(strict_id(id, 0)?)),
    }
}

/// A key with what follows of its stream: an element of the reply.
fn put_stream(out: &mut Reply, key: Key<'_>) {
    if out.proto == Proto::Resp2 {
        out.array(2);
    }
    out.bulk(key.bytes);
}

/// XREAD of one stream; false if there is nothing to show.
fn read_after(ctx: &mut Ctx<'_>, key: Key<'_>, wanted: Wanted, count: usize, out: &mut Reply) -> bool {
    let Wanted::After(id) = wanted else { unreachable!("no group is read for") };
    let (Ok(Some(stream)), Some(start)) = (stream_of(ctx.read(key)), id.next()) else { return false };
    let mut entries = stream.range(start, StreamId::MAX).take(count).peekable();
    if entries.peek().is_none() {
        return false;
    }
    put_stream(out, key);
    super::range::put_entries(out, entries);
    true
}

/// Creates the consumer if need be, and notes that it has been heard of. Tells whether it is new.
pub(super) fn meet_consumer(ctx: &mut Ctx<'_>, key: Key<'_>, group: &[u8], consumer: &[u8]) -> bool {
    let now_ms = ctx.node.now_ms;
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, false, |stream, _| {
        stream.edit_group(group, |group| {
            let is_new = group.create_consumer(consumer, now_ms);
            group.edit_consumer(consumer, |consumer| consumer.seen_ms = now_ms);
            is_new
        })
    });
    let is_new = edited.flatten().expect("the group was there");
    if is_new {
        ctx.node.dirty += 1;
        ctx.notify(Events::STREAM, "xgroup-createconsumer", key.bytes);
    }
    is_new
}

/// A new consumer of whom no delivery tells.
pub(super) fn propagate_consumer(ctx: &mut Ctx<'_>, key: Key<'_>, group: &[u8], consumer: &[u8]) {
    ctx.propagate(&[b"XGROUP", b"CREATECONSUMER", key.bytes, group, consumer]);
}

/// XREADGROUP of one stream; false if there is nothing to show.
fn read_for(ctx: &mut Ctx<'_>, key: Key<'_>, reader: Reader<'_>, wanted: Wanted, count: usize, out: &mut Reply) -> bool {
    // The second time, as Redis counts it.
    ctx.read(key);
    let is_new = meet_consumer(ctx, key, reader.group, reader.consumer);
    let delivered = match wanted {
        Wanted::New => deliver(ctx, key, reader, count, out),
        Wanted::History(after) => {
            put_stream(out, key);
            show_history(ctx, key, reader, after, count, out);
            Vec::new()
        }
        Wanted::After(_) => unreachable!("a group is read for"),
    };
    if is_new && (delivered.is_empty() || reader.no_ack) {
        propagate_consumer(ctx, key, reader.group, reader.consumer);
    }
    if let Some(last_id) = delivered.last() {
        ctx.node.dirty += 1;
        propagate_delivery(ctx, key, reader, &delivered, *last_id);
    }
    !delivered.is_empty() || matches!(wanted, Wanted::History(_))
}

/// Shows what the group has not read yet, and moves it on. Returns the entries' IDs.
fn deliver(ctx: &mut Ctx<'_>, key: Key<'_>, reader: Reader<'_>, count: usize, out: &mut Reply) -> Vec<StreamId> {
    let now_ms = ctx.node.now_ms;
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, false, |stream, _| {
        let last_id = stream.group(reader.group).expect("the group was there").last_id();
        let start = last_id.next().unwrap_or(StreamId::MAX);
        let mut ids = Vec::new();
        let mut entries = stream.range(start, StreamId::MAX).take(count).peekable();
        if last_id == StreamId::MAX || entries.peek().is_none() {
            return ids;
        }
        put_stream(out, key);
        put_counted(out, |out| {
            for entry in entries {
                ids.push(entry.id);
                put_entry(out, &entry);
            }
            ids.len()
        });
        stream.note_deliveries(reader.group, ids.iter().copied());
        if !reader.no_ack {
            stream.edit_group(reader.group, |group| {
                group.assign_all(&ids, reader.consumer, now_ms, 1);
                group.edit_consumer(reader.consumer, |consumer| consumer.active_ms = now_ms);
            });
        }
        ids
    });
    edited.expect("the stream was there")
}

/// Shows what is pending for the consumer, which counts as another delivery. As in Redis, slaves do not hear of it.
fn show_history(ctx: &mut Ctx<'_>, key: Key<'_>, reader: Reader<'_>, after: StreamId, count: usize, out: &mut Reply) {
    let now_ms = ctx.node.now_ms;
    ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, false, |stream, _| {
        let group = stream.group(reader.group).expect("the group was there");
        let consumer = group.consumer(reader.consumer).expect("the consumer was there");
        let ids: Vec<StreamId> = after.next().map_or(Vec::new(), |start| consumer.pending_from(start).take(count).collect());
        out.array(ids.len());
        let mut shown = Vec::new();
        for id in ids {
            match stream.get(id) {
                Some(entry) => {
                    put_entry(out, &entry);
                    shown.push(id);
                }
                None => {
                    out.array(2);
                    put_id(out, id);
                    out.null_array();
                }
            }
        }
        stream.edit_group(reader.group, |group| {
            for id in shown {
                let deliveries = group.pending(id).map_or(0, |pending| pending.deliveries);
                group.assign(id, reader.consumer, now_ms, deliveries + 1);
            }
        });
    });
}

fn propagate_delivery(ctx: &mut Ctx<'_>, key: Key<'_>, reader: Reader<'_>, ids: &[StreamId], last_id: StreamId) {
    if reader.no_ack {
        return ctx.propagate(&[b"XGROUP", b"SETID", key.bytes, reader.group, last_id.to_string().as_bytes()]);
    }
    let now_ms = ctx.node.now_ms;
    for ids in ids.chunks(IDS_PER_EFFECT) {
        let last_id = *ids.last().expect("chunks are not empty");
        propagate_claims(ctx, key, (reader.group, reader.consumer), ids, now_ms, 1, last_id);
    }
}

pub(in crate::command) const ROWS: &[Spec] = &[
    Spec::new("xread", -4, Flags::READONLY.union(Flags::BLOCKING).union(Flags::MOVABLEKEYS), xread).key_specs(&[KeySpec { flags: &["RO", "access"], begin: Begin::Keyword { keyword: "STREAMS", start_from: 1 }, find: Find::Range { last: -1, step: 1, limit: 2 }, notes: "" }]).acl(Acl::STREAM).docs("stream", "5.0.0", "", "Returns messages from multiple streams with IDs greater than the ones requested. Blocks until a message is available otherwise."),
    Spec::new("xreadgroup", -7, Flags::WRITE.union(Flags::BLOCKING).union(Flags::MOVABLEKEYS), xreadgroup).key_specs(&[KeySpec { flags: &["RO", "access"], begin: Begin::Keyword { keyword: "STREAMS", start_from: 4 }, find: Find::Range { last: -1, step: 1, limit: 2 }, notes: "" }]).acl(Acl::STREAM).propagate(Propagate::Effects).docs("stream", "5.0.0", "For each stream mentioned: O(M) with M being the number of elements returned. If M is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1). On the other side when XREADGROUP blocks, XADD will pay the O(N) time in order to serve the N clients blocked on the stream getting new data.", "Returns new or historical messages from a stream for a consumer in a group. Blocks until a message is available otherwise."),
];
