//! XPENDING: what is delivered and not acknowledged.

use super::super::key_range::key_range;
use super::super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use super::{no_group, put_counted, put_id, range_end, range_start, stream_of};
use crate::resp::{Args, Reply};
use crate::types::number::parse_i64;
use crate::types::stream::{Group, Pending, StreamId};

/// What the longer form asks for.
struct Wanted<'a> {
    min_idle_ms: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        if !(6..=9).contains(&args.len()) {
            return Err(CommandError::SYNTAX);
        }
        let (mut at, mut min_idle_ms) = (3, 0);
        if args.at(3).eq_ignore_ascii_case(b"idle") {
            min_idle_ms = parse_i64(args.at(4)).ok_or(CommandError::NOT_INTEGER)?;
            if args.len() < 8 {
                return Err(CommandError::SYNTAX);
            }
            at = 5;
        }
        let count = parse_i64(args.at(at + 2)).ok_or(CommandError::NOT_INTEGER)?.max(0) as usize;
        let (start, end) = (range_start(args.at(at))?, range_end(args.at(at + 1))?);
        Ok(Wanted { min_idle_ms, start, end, count, consumer: args.get(at + 3) })
    }
}

fn xpending(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name) = (ctx.key(1), ctx.args.at(2));
    let wanted = if ctx.args.len() > 3 { Some(Wanted::parse(ctx.args)?) } else { None };
    let now_ms = ctx.node.now_ms;
    ctx.read_with(key, |entry, out| {
        let group = stream_of(entry)?.and_then(|stream| stream.group(name)).ok_or_else(|| no_group(key, name))?;
        match wanted {
            None => summary(group, out),
            Some(wanted) => list(group, &wanted, now_ms, out),
        }
        Ok(())
    })
}

fn summary(group: &Group, out: &mut Reply) {
    out.array(4);
    out.int(group.pending_len() as i64);
    let (Some(first), Some(last)) = (group.pending_from(StreamId::MIN).next(), group.last_pending()) else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    put_id(out, first.id);
    put_id(out, last.id);
    let busy = || group.consumers().filter(|consumer| consumer.pending_len() > 0);
    out.array(busy().count());
    for consumer in busy() {
        out.array(2);
        out.bulk(consumer.name());
        out.bulk_int(consumer.pending_len() as i64);
    }
}

fn list(group: &Group, wanted: &Wanted<'_>, now_ms: i64, out: &mut Reply) {
    let idle_ms = |pending: &Pending| (now_ms - pending.delivered_ms).max(0);
    let put = |out: &mut Reply, pending: &Pending| {
        out.array(4);
        put_id(out, pending.id);
        out.bulk(&pending.consumer);
        out.int(idle_ms(pending));
        out.int(pending.deliveries as i64);
    };
    let fits = |pending: &&Pending| wanted.min_idle_ms <= 0 || idle_ms(pending) >= wanted.min_idle_ms;
    put_counted(out, |out| {
        let of_group = |id: &StreamId| group.pending(*id).expect("a consumer's entries are its group's");
        match wanted.consumer.map(|name| group.consumer(name)) {
            None => {
                let found = group.pending_from(wanted.start).take_while(|pending| pending.id <= wanted.end).filter(fits).take(wanted.count);
                found.map(|pending| put(out, pending)).count()
            }
            Some(None) => 0,
            Some(Some(consumer)) => {
                let ids = consumer.pending_from(wanted.start).take_while(|id| *id <= wanted.end);
                let found = ids.map(|id| of_group(&id)).filter(fits).take(wanted.count);
                found.map(|pending| put(out, pending)).count()
            }
        }
    });
}

pub(in crate::command) const ROWS: &[Spec] = &[
    Spec::new("xpending", -3, Flags::READONLY, xpending).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::STREAM).tips(&["nondeterministic_output"]).docs("stream", "5.0.0", "O(N) with N being the number of elements returned, so asking for a small fixed number of entries per call is O(1). O(M), where M is the total number of entries scanned when used with the IDLE filter. When the command returns just the summary and the list of consumers is small, it runs in O(1) time; otherwise, an additional O(N) time for iterating every consumer.", "Returns the information and entries from a stream consumer group's pending entries list."),
];
