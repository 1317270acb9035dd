//! XADD, XTRIM, XSETID.

use smallvec::SmallVec;

use super::super::key_range::key_range;
use super::super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use super::{propagate_ids, propagate_released, put_id, stream_of, strict_id};
use crate::config::Events;
use crate::keyspace::Key;
use crate::resp::Args;
use crate::types::number::{parse_i64, parse_u64};
use crate::types::stream::{IdBuf, NodeLimits, Refs, Removed, Stream, StreamId, Trim, TrimTo};

const EXHAUSTED: CommandError = CommandError::text("ERR The stream has exhausted the last possible ID, unable to add more items");
const TOO_SMALL: CommandError = CommandError::text("ERR The ID specified in XADD is equal or smaller than the target stream top item");
/// No entry's fields and values are longer together.
const ENTRY_BYTES_MAX: usize = 1 << 30;

/// KEEPREF, DELREF or ACKED.
pub(super) fn refs_of(word: &[u8]) -> Option<Refs> {
    let words = [(b"keepref".as_slice(), Refs::Keep), (b"delref", Refs::Delete), (b"acked", Refs::Acked)];
    words.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, refs)| refs)
}

/// The ID that XADD asks for.
#[derive(Clone, Copy)]
enum NewId {
    /// `*`
    Auto,
    /// `ms-*`
    At(u64),
    Full(StreamId),
}

impl NewId {
    fn parse(text: &[u8]) -> Result<Self, CommandError> {
        match text {
            b"*" => Ok(NewId::Auto),
            // Redis reads at most 127 bytes of an ID.
            [ms @ .., b'-', b'*'] if text.len() < 128 => Ok(NewId::At(parse_u64(ms).ok_or(super::INVALID_ID)?)),
            _ => Ok(NewId::Full(strict_id(text, 0)?)),
        }
    }

    /// The ID behind `last`.
    fn resolve(self, last: StreamId, now_ms: i64) -> Result<StreamId, CommandError> {
        if last == StreamId::MAX {
            return Err(EXHAUSTED);
        }
        let id = match self {
            NewId::Auto if now_ms as u64 > last.ms => StreamId { ms: now_ms as u64, seq: 0 },
            NewId::Auto => last.next().ok_or(EXHAUSTED)?,
            NewId::At(ms) if ms == last.ms => StreamId { ms, seq: last.seq.checked_add(1).ok_or(TOO_SMALL)? },
            NewId::At(ms) => StreamId { ms, seq: 0 },
            NewId::Full(id) => id,
        };
        if id > last { Ok(id) } else { Err(TOO_SMALL) }
    }
}

/// The options that XADD and XTRIM have in common.
#[derive(Default)]
struct Options {
    trim_to: Option<TrimTo>,
    approx: bool,
    limit: Option<u64>,
    refs: Option<Refs>,
    no_mkstream: bool,
}

impl Options {
    /// Reads options from argument 2 on, up to XADD's ID. Returns where they end.
    fn parse(&mut self, args: Args<'_>, is_xadd: bool) -> Result<usize, CommandError> {
        let mut at = 2;
        while at < args.len() {
            let (word, is_last) = (args.at(at), at + 1 == args.len());
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is_xadd && word == b"*" {
                break;
            } else if (is("maxlen") || is("minid")) && !is_last {
                at += self.parse_strategy(args, at, is("maxlen"))?;
            } else if is("limit") && !is_last {
                let limit = parse_i64(args.at(at + 1)).ok_or(CommandError::NOT_INTEGER)?;
                self.limit = Some(u64::try_from(limit).map_err(|_| CommandError::text("ERR The LIMIT argument must be >= 0."))?);
                at += 1;
            } else if is_xadd && is("nomkstream") {
                self.no_mkstream = true;
            } else if self.refs.is_none()
                && let Some(refs) = refs_of(word)
            {
                self.refs = Some(refs);
            } else if is_xadd {
                break;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        Ok(at)
    }

    /// MAXLEN or MINID with what belongs to it; returns how many arguments that is.
    fn parse_strategy(&mut self, args: Args<'_>, at: usize, is_maxlen: bool) -> Result<usize, CommandError> {
        if self.trim_to.is_some() {
            return Err("ERR syntax error, MAXLEN and MINID options at the same time are not compatible".into());
        }
        let sign = match args.at(at + 1) {
            sign @ (b"~" | b"=") if at + 2 < args.len() => Some(sign),
            _ => None,
        };
        self.approx = sign == Some(b"~");
        let skipped = usize::from(sign.is_some());
        let threshold = args.at(at + 1 + skipped);
        self.trim_to = Some(if is_maxlen {
            let max = parse_i64(threshold).ok_or(CommandError::NOT_INTEGER)?;
            TrimTo::MaxLen(u64::try_from(max).map_err(|_| CommandError::text("ERR The MAXLEN argument must be >= 0."))?)
        } else {
            TrimTo::MinId(strict_id(threshold, 0)?)
        });
        Ok(1 + skipped)
    }

    /// What to trim, once all options are known; `limits` tell how much is enough with `~`.
    fn trim(&self, limits: NodeLimits, obeys_master: bool) -> Result<Option<Trim>, CommandError> {
        let Some(to) = self.trim_to else {
            return match self.limit {
                Some(1..) => Err("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy".into()),
                _ => Ok(None),
            };
        };
        let limit = match self.limit {
            _ if obeys_master => 0,
            Some(_) if !self.approx => return Err("ERR syntax error, LIMIT cannot be used without the special ~ option".into()),
            Some(limit) => limit,
            None if self.approx => Trim::default_limit(limits),
            None => 0,
        };
        Ok(Some(Trim { to, approx: self.approx, limit, refs: self.refs.unwrap_or_default() }))
    }
}

fn node_limits(ctx: &Ctx<'_>) -> NodeLimits {
    let limits = &ctx.node.config.limits;
    NodeLimits { bytes: limits.stream_node_bytes, entries: limits.stream_node_entries }
}

fn xadd(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, args) = (ctx.key(1), ctx.args);
    let mut options = Options::default();
    let at = options.parse(args, true)?;
    let new_id = args.get(at).map(NewId::parse).transpose()?;
    let trim = options.trim(node_limits(ctx), ctx.node.applying_stream)?;
    let (Some(new_id), Some(pairs)) = (new_id, args.len().checked_sub(at + 1).filter(|count| *count >= 2 && count.is_multiple_of(2))) else {
        return Err(CommandError::arity("xadd"));
    };
    if matches!(new_id, NewId::Full(StreamId::MIN)) {
        return Err("ERR The ID specified in XADD must be greater than 0-0".into());
    }
    let last = stream_of(ctx.write(key))?.map(Stream::last_id);
    if last.is_none() && options.no_mkstream {
        ctx.out.null();
        return Ok(());
    }
    let id = new_id.resolve(last.unwrap_or_default(), ctx.node.now_ms)?;
    let pairs: SmallVec<[&[u8]; 16]> = args.tail(args.len() - pairs).iter().collect();
    if pairs.iter().map(|text| text.len()).sum::<usize>() > ENTRY_BYTES_MAX {
        return Err("ERR Elements are too large to be stored".into());
    }
    let mut removed = Removed::default();
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, true, |stream, limits| {
        stream.append(id, &pairs, limits);
        trim.map_or(Trimmed::default(), |trim| Trimmed::by(&trim, stream, &mut removed))
    });
    let trimmed = edited.expect("it has been created");
    put_id(ctx.out, id);
    ctx.changed(key.bytes);
    ctx.notify_new(Events::STREAM, "xadd", last.is_none(), key.bytes);
    if trimmed.count > 0 {
        ctx.notify(Events::STREAM, "xtrim", key.bytes);
    }
    if at > 2 || !matches!(new_id, NewId::Full(_)) {
        propagate_added(ctx, key, (id, &pairs), trimmed, &removed);
    }
    Ok(())
}

/// What a trim has left.
#[derive(Clone, Copy, Default)]
struct Trimmed {
    count: u64,
    len: u64,
    /// Some of what went has stood behind what stays, so that the length alone does not tell it.
    is_amid: bool,
}

impl Trimmed {
    fn by(trim: &Trim, stream: &mut Stream, removed: &mut Removed) -> Self {
        let count = stream.trim(trim, removed);
        let is_amid = !stream.is_empty() && removed.ids.last().is_some_and(|last| *last > stream.first_id());
        Trimmed { count, len: stream.len(), is_amid }
    }

    fn is_by_length(self) -> bool {
        self.count > 0 && !self.is_amid
    }
}

/// XADD as it was decided, with what it has trimmed.
fn propagate_added(ctx: &mut Ctx<'_>, key: Key<'_>, (id, pairs): (StreamId, &[&[u8]]), trimmed: Trimmed, removed: &Removed) {
    let (mut id_text, mut len_text) = (IdBuf::default(), itoa::Buffer::new());
    let mut effect: SmallVec<[&[u8]; 16]> = SmallVec::from_slice(&[b"XADD", key.bytes]);
    if trimmed.is_by_length() {
        effect.extend_from_slice(&[b"MAXLEN", b"=", len_text.format(trimmed.len).as_bytes()]);
    }
    effect.push(id.text(&mut id_text));
    effect.extend_from_slice(pairs);
    ctx.propagate(&effect);
    propagate_trimmed_singly(ctx, key, trimmed, removed);
}

/// What a trim leaves to say beside the length.
fn propagate_trimmed_singly(ctx: &mut Ctx<'_>, key: Key<'_>, trimmed: Trimmed, removed: &Removed) {
    if trimmed.is_amid {
        propagate_ids(ctx, &[b"XDEL", key.bytes], &removed.ids);
    }
    propagate_released(ctx, key.bytes, removed);
}

fn xtrim(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    let mut options = Options::default();
    options.parse(ctx.args, false)?;
    let trim = options.trim(node_limits(ctx), ctx.node.applying_stream)?;
    let trim = trim.ok_or(CommandError::text("ERR syntax error, XTRIM must be called with a trimming strategy"))?;
    if stream_of(ctx.write(key))?.is_none() {
        ctx.out.int(0);
        return Ok(());
    }
    let mut removed = Removed::default();
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, false, |stream, _| Trimmed::by(&trim, stream, &mut removed));
    let trimmed = edited.expect("it was there");
    if trimmed.count > 0 {
        ctx.changed_by(trimmed.count as usize, key.bytes);
        ctx.notify(Events::STREAM, "xtrim", key.bytes);
        if trim.approx || options.refs.is_some() {
            if trimmed.is_by_length() {
                ctx.propagate(&[b"XTRIM", key.bytes, b"MAXLEN", b"=", itoa::Buffer::new().format(trimmed.len).as_bytes()]);
            }
            propagate_trimmed_singly(ctx, key, trimmed, &removed);
        }
    }
    ctx.out.int(trimmed.count as i64);
    Ok(())
}

fn xsetid(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    let id = strict_id(ctx.args.at(2), 0)?;
    let (mut added, mut max_deleted) = (None, StreamId::MIN);
    let mut at = 3;
    while at < ctx.args.len() {
        let (word, Some(value)) = (ctx.args.at(at), ctx.args.get(at + 1)) else { return Err(CommandError::SYNTAX) };
        if word.eq_ignore_ascii_case(b"entriesadded") {
            let count = parse_i64(value).ok_or(CommandError::NOT_INTEGER)?;
            added = Some(u64::try_from(count).map_err(|_| CommandError::text("ERR entries_added must be positive"))?);
        } else if word.eq_ignore_ascii_case(b"maxdeletedid") {
            max_deleted = strict_id(value, 0)?;
            if id < max_deleted {
                return Err("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id".into());
            }
        } else {
            return Err(CommandError::SYNTAX);
        }
        at += 2;
    }
    let stream = stream_of(ctx.write(key))?.ok_or(CommandError::NO_KEY)?;
    if id < stream.max_deleted_id() {
        return Err("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id".into());
    }
    if let Some(last) = stream.range(StreamId::MIN, StreamId::MAX).next_back() {
        if id < last.id {
            return Err("ERR The ID specified in XSETID is smaller than the target stream top item".into());
        }
        if added.is_some_and(|added| added < stream.len()) {
            return Err("ERR The entries_added specified in XSETID is smaller than the target stream length".into());
        }
    }
    ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, false, |stream, _| {
        stream.set_last_id(id);
        if let Some(added) = added {
            stream.set_entries_added(added);
        }
        if max_deleted != StreamId::MIN {
            stream.set_max_deleted_id(max_deleted);
        }
    });
    ctx.node.dirty += 1;
    ctx.notify(Events::STREAM, "xsetid", key.bytes);
    ctx.out.ok();
    Ok(())
}

pub(in crate::command) const ROWS: &[Spec] = &[
    Spec::new("xadd", -5, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), xadd).keys(1, 1, 1).key_specs(&[key_range(&["RW", "update"], 1, 0, 1).notes("UPDATE instead of INSERT because of the optional trimming feature")]).acl(Acl::STREAM).tips(&["nondeterministic_output"]).docs("stream", "5.0.0", "O(1) when adding a new entry, O(N) when trimming where N being the number of entries evicted.", "Appends a new message to a stream. Creates the key if it doesn't exist."),
    Spec::new("xsetid", -3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), xsetid).keys(1, 1, 1).key_specs(&[key_range(&["RW", "update"], 1, 0, 1)]).acl(Acl::STREAM).docs("stream", "5.0.0", "O(1)", "An internal command for replicating stream values."),
    Spec::new("xtrim", -4, Flags::WRITE, xtrim).keys(1, 1, 1).key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)]).acl(Acl::STREAM).tips(&["nondeterministic_output"]).docs("stream", "5.0.0", "O(N), with N being the number of evicted entries. Constant times are very small however, since entries are organized in macro nodes containing multiple entries that can be released with a single deallocation.", "Deletes messages from the beginning of a stream."),
];
