//! XCLAIM and XAUTOCLAIM: pending entries go from one consumer to another.

use smallvec::SmallVec;

use super::super::error::cited;
use super::super::key_range::key_range;
use super::super::{Acl, CmdResult, CommandError, Ctx, Flags, Propagate, Spec};
use super::read::{meet_consumer, propagate_consumer};
use super::{IDS_PER_EFFECT, no_group, propagate_ids, put_entry, put_id, range_start, stream_of, strict_id};
use crate::keyspace::Key;
use crate::resp::{Args, Reply};
use crate::types::number::parse_i64;
use crate::types::stream::{Stream, StreamId};

/// Entries that XAUTOCLAIM looks at for each one that it may claim.
const ATTEMPTS_PER_ENTRY: usize = 10;
/// Redis sets memory for so many IDs aside at once.
const COUNT_MAX: i64 = i64::MAX / 16;

/// A group and the consumer who claims.
#[derive(Clone, Copy)]
struct Claimant<'a> {
    key: Key<'a>,
    group: &'a [u8],
    consumer: &'a [u8],
}

impl<'a> Claimant<'a> {
    fn of(ctx: &Ctx<'a>) -> Self {
        Claimant { key: ctx.key(1), group: ctx.args.at(2), consumer: ctx.args.at(3) }
    }

    fn check(self, ctx: &mut Ctx<'_>) -> CmdResult {
        match stream_of(ctx.read(self.key))?.and_then(|stream| stream.group(self.group)) {
            Some(_) => Ok(()),
            None => Err(no_group(self.key, self.group)),
        }
    }
}

/// How entries are claimed.
struct Claim {
    min_idle_ms: i64,
    /// What their time of delivery becomes.
    delivered_ms: i64,
    retry_count: Option<u64>,
    /// They need not be pending.
    force: bool,
    /// Neither shown nor counted as delivered.
    just_id: bool,
}

/// What came of claims: what the client is shown, and what the replication stream is to say.
struct Claimed {
    reply: Reply,
    shown: usize,
    claims: Vec<(StreamId, u64)>,
    /// Not in the stream any more, and so not pending either.
    gone: Vec<StreamId>,
}

impl Claimed {
    fn new(ctx: &Ctx<'_>) -> Self {
        Claimed { reply: Reply::new(ctx.out.proto), shown: 0, claims: Vec::new(), gone: Vec::new() }
    }

    /// Claims one entry; false if there was nothing to claim.
    fn claim(&mut self, stream: &mut Stream, to: Claimant<'_>, id: StreamId, claim: &Claim, now_ms: i64) -> bool {
        let group = stream.group(to.group).expect("the group is there");
        let pending = group.pending(id).map(|pending| (pending.delivered_ms, pending.deliveries));
        let Some(entry) = stream.get(id) else {
            if pending.is_some() {
                stream.edit_group(to.group, |group| group.ack(id));
                self.gone.push(id);
            }
            return pending.is_some();
        };
        let deliveries = match pending {
            Some((delivered_ms, _)) if claim.min_idle_ms > 0 && now_ms - delivered_ms < claim.min_idle_ms => return false,
            Some((_, deliveries)) => deliveries,
            None if claim.force => 1,
            None => return false,
        };
        match claim.just_id {
            true => put_id(&mut self.reply, id),
            false => put_entry(&mut self.reply, &entry),
        }
        self.shown += 1;
        let deliveries = claim.retry_count.unwrap_or(deliveries + u64::from(!claim.just_id));
        stream.edit_group(to.group, |group| {
            group.assign(id, to.consumer, claim.delivered_ms, deliveries);
            group.edit_consumer(to.consumer, |consumer| consumer.active_ms = now_ms);
        });
        self.claims.push((id, deliveries));
        true
    }

    /// Says in the replication stream what has happened, and counts it.
    fn propagate(&self, ctx: &mut Ctx<'_>, to: Claimant<'_>, claim: &Claim, is_new: bool) {
        if is_new && self.claims.is_empty() {
            propagate_consumer(ctx, to.key, to.group, to.consumer);
        }
        let stream = stream_of(ctx.node.keyspace.db(ctx.db).get(to.key)).ok().flatten().expect("the stream is there");
        let last_id = stream.group(to.group).expect("the group is there").last_id();
        for claims in self.claims.chunk_by(|(_, a), (_, b)| a == b).flat_map(|same| same.chunks(IDS_PER_EFFECT)) {
            let ids: SmallVec<[StreamId; 16]> = claims.iter().map(|(id, _)| *id).collect();
            propagate_claims(ctx, to.key, (to.group, to.consumer), &ids, claim.delivered_ms, claims[0].1, last_id);
        }
        propagate_ids(ctx, &[b"XACK", to.key.bytes, to.group], &self.gone);
        ctx.node.dirty += (self.claims.len() + self.gone.len()) as u64;
    }
}

/// XCLAIM of entries that have been delivered to a consumer so many times, last at that time. 6.2 has no other word for a delivery.
pub(super) fn propagate_claims(
    ctx: &mut Ctx<'_>,
    key: Key<'_>,
    (group, consumer): (&[u8], &[u8]),
    ids: &[StreamId],
    delivered_ms: i64,
    deliveries: u64,
    last_id: StreamId,
) {
    let ids: Vec<String> = ids.iter().chain([&last_id]).map(StreamId::to_string).collect();
    let (last_id, ids) = ids.split_last().expect("it has just been added");
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut effect: Vec<&[u8]> = vec![b"XCLAIM", key.bytes, group, consumer, b"0"];
    effect.extend(ids.iter().map(String::as_bytes));
    let (time, count) = (time.format(delivered_ms).as_bytes(), count.format(deliveries).as_bytes());
    effect.extend([b"TIME", time, b"RETRYCOUNT", count, b"FORCE", b"JUSTID", b"LASTID", last_id.as_bytes()]);
    ctx.propagate(&effect);
}

fn min_idle(text: &[u8], command: &str) -> Result<i64, CommandError> {
    parse_i64(text).map(|ms| ms.max(0)).ok_or_else(|| format!("ERR Invalid min-idle-time argument for {command}").into())
}

/// XCLAIM's options, from argument `at` on; with LASTID's.
fn claim_options(args: Args<'_>, mut at: usize, min_idle_ms: i64, now_ms: i64) -> Result<(Claim, StreamId), CommandError> {
    let mut claim = Claim { min_idle_ms, delivered_ms: -1, retry_count: None, force: false, just_id: false };
    let mut last_id = StreamId::MIN;
    while at < args.len() {
        let word = args.at(at);
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let number = |option: &str| {
            let text = args.get(at + 1).ok_or_else(|| unrecognized(word))?;
            parse_i64(text).ok_or_else(|| CommandError::from(format!("ERR Invalid {option} option argument for XCLAIM")))
        };
        let takes_value = !(is("force") || is("justid"));
        if is("force") {
            claim.force = true;
        } else if is("justid") {
            claim.just_id = true;
        } else if is("idle") {
            claim.delivered_ms = now_ms.saturating_sub(number("IDLE")?);
        } else if is("time") {
            claim.delivered_ms = number("TIME")?;
        } else if is("retrycount") {
            claim.retry_count = u64::try_from(number("RETRYCOUNT")?).ok();
        } else if is("lastid") {
            last_id = strict_id(args.get(at + 1).ok_or_else(|| unrecognized(word))?, 0)?;
        } else {
            return Err(unrecognized(word));
        }
        at += 1 + usize::from(takes_value);
    }
    if !(0..=now_ms).contains(&claim.delivered_ms) {
        claim.delivered_ms = now_ms;
    }
    Ok((claim, last_id))
}

fn unrecognized(word: &[u8]) -> CommandError {
    format!("ERR Unrecognized XCLAIM option '{}'", cited(word, usize::MAX)).into()
}

fn xclaim(ctx: &mut Ctx<'_>) -> CmdResult {
    let (to, args, now_ms) = (Claimant::of(ctx), ctx.args, ctx.node.now_ms);
    to.check(ctx)?;
    let min_idle_ms = min_idle(args.at(4), "XCLAIM")?;
    let ids: Vec<StreamId> = args.tail(5).iter().map_while(|text| StreamId::parse(text, 0)).collect();
    let (claim, last_id) = claim_options(args, 5 + ids.len(), min_idle_ms, now_ms)?;
    let applies_stream = ctx.node.applying_stream;
    let moved = edit(ctx, to.key, |stream| {
        if applies_stream {
            stream.note_deliveries(to.group, ids.iter().copied().filter(|id| *id <= last_id));
        }
        let moves = stream.group(to.group).is_some_and(|group| last_id > group.last_id());
        if moves {
            stream.edit_group(to.group, |group| group.set_last_id(last_id));
        }
        moves
    });
    if moved && !applies_stream {
        // By itself: with entries, it would say that these have been delivered.
        ctx.propagate(&[b"XCLAIM", to.key.bytes, to.group, to.consumer, b"0", b"0-0", b"JUSTID", b"LASTID", last_id.to_string().as_bytes()]);
        ctx.node.dirty += 1;
    }
    let is_new = meet_consumer(ctx, to.key, to.group, to.consumer);
    let mut claimed = Claimed::new(ctx);
    edit(ctx, to.key, |stream| {
        for id in &ids {
            claimed.claim(stream, to, *id, &claim, now_ms);
        }
    });
    ctx.out.array(claimed.shown);
    ctx.out.buf.extend_from_slice(&claimed.reply.buf);
    claimed.propagate(ctx, to, &claim, is_new);
    Ok(())
}

fn edit<R>(ctx: &mut Ctx<'_>, key: Key<'_>, change: impl FnOnce(&mut Stream) -> R) -> R {
    ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, false, |stream, _| change(stream)).expect("the stream is there")
}

fn xautoclaim(ctx: &mut Ctx<'_>) -> CmdResult {
    let (to, args, now_ms) = (Claimant::of(ctx), ctx.args, ctx.node.now_ms);
    let min_idle_ms = min_idle(args.at(4), "XAUTOCLAIM")?;
    let start = range_start(args.at(5))?;
    let (mut count, mut just_id, mut at) = (100, false, 6);
    while at < args.len() {
        if args.at(at).eq_ignore_ascii_case(b"count") && at + 1 < args.len() {
            let given = parse_i64(args.at(at + 1)).filter(|count| (1..=COUNT_MAX).contains(count));
            count = given.ok_or(CommandError::text("ERR COUNT must be > 0"))? as usize;
            at += 1;
        } else if args.at(at).eq_ignore_ascii_case(b"justid") {
            just_id = true;
        } else {
            return Err(CommandError::SYNTAX);
        }
        at += 1;
    }
    to.check(ctx)?;
    let is_new = meet_consumer(ctx, to.key, to.group, to.consumer);
    let claim = Claim { min_idle_ms, delivered_ms: now_ms, retry_count: None, force: false, just_id };
    let mut claimed = Claimed::new(ctx);
    let mut next = Some(start);
    edit(ctx, to.key, |stream| {
        let (mut attempts, mut left) = (count.saturating_mul(ATTEMPTS_PER_ENTRY), count);
        while let Some(id) = next.and_then(|next| stream.group(to.group)?.pending_from(next).next()).map(|pending| pending.id)
            && attempts > 0
            && left > 0
        {
            attempts -= 1;
            left -= usize::from(claimed.claim(stream, to, id, &claim, now_ms));
            next = id.next();
        }
        next = next.and_then(|next| stream.group(to.group)?.pending_from(next).next()).map(|pending| pending.id);
    });
    ctx.out.array(3);
    put_id(ctx.out, next.unwrap_or(StreamId::MIN));
    ctx.out.array(claimed.shown);
    ctx.out.buf.extend_from_slice(&claimed.reply.buf);
    ctx.out.array(claimed.gone.len());
    claimed.gone.iter().for_each(|id| put_id(ctx.out, *id));
    claimed.propagate(ctx, to, &claim, is_new);
    Ok(())
}

pub(in crate::command) const ROWS: &[Spec] = &[
    Spec::new("xautoclaim", -6, Flags::WRITE.union(Flags::FAST), xautoclaim)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)])
        .acl(Acl::STREAM)
        .tips(&["nondeterministic_output"])
        .propagate(Propagate::Effects)
        .docs(
            "stream",
            "6.2.0",
            "O(1) if COUNT is small.",
            "Changes, or acquires, ownership of messages in a consumer group, as if the messages were delivered to as consumer group member.",
        ),
    Spec::new("xclaim", -6, Flags::WRITE.union(Flags::FAST), xclaim)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::STREAM)
        .tips(&["nondeterministic_output"])
        .propagate(Propagate::Effects)
        .docs(
            "stream",
            "5.0.0",
            "O(log N) with N being the number of messages in the PEL of the consumer group.",
            "Changes, or acquires, ownership of a message in a consumer group, as if the message was delivered a consumer group member.",
        ),
];
