//! Bitmaps: single bits of a string, counting and finding them, operations on whole strings. BITFIELD is in `bitfield`.

use std::borrow::Cow;
use std::ops::Range;

use super::key_range::key_range;
use super::strings::{string_of, with_bytes};
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::config::Events;
use crate::keyspace::{Entry, Key, Kind, SetExpire, StrRef};
use crate::types::bits::{self, Op};
use crate::types::number::parse_i64;

const NO_OFFSET: CommandError = CommandError::text("ERR bit offset is not an integer or out of range");
const NO_BIT: CommandError = CommandError::text("ERR bit is not an integer or out of range");

/// A bit's offset. With `#` (only where a field has `bits`) it counts fields. The master's commands are obeyed whatever the limit is here.
pub(super) fn bit_offset(ctx: &Ctx<'_>, text: &[u8], bits: Option<u32>) -> Result<u64, CommandError> {
    let (digits, factor) = match (text, bits) {
        ([b'#', digits @ ..], Some(bits)) => (digits, i64::from(bits)),
        _ => (text, 1),
    };
    let offset = parse_i64(digits).ok_or(NO_OFFSET)?.wrapping_mul(factor);
    let offset = u64::try_from(offset).map_err(|_| NO_OFFSET)?;
    if offset / 8 >= ctx.node.config.proto_max_bulk_len && !ctx.node.applying_stream { Err(NO_OFFSET) } else { Ok(offset) }
}

fn setbit(ctx: &mut Ctx<'_>) -> CmdResult {
    let offset = bit_offset(ctx, ctx.args.at(2), None)?;
    let on = match parse_i64(ctx.args.at(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(NO_BIT),
    };
    let key = ctx.key(1);
    let len = offset as usize / 8 + 1;
    let old_len = string_of(ctx.write(key))?.map(StrRef::len);
    let grows = old_len.is_none_or(|old_len| old_len < len);
    let old = ctx.node.keyspace.db_mut(ctx.db).modify_bytes(key, len, |bytes| bits::set(bytes, offset, on));
    if grows || old != on {
        ctx.changed(key.bytes);
        ctx.notify_string("setbit", old_len.is_none(), key.bytes);
    }
    ctx.out.int(old.into());
    Ok(())
}

fn getbit(ctx: &mut Ctx<'_>) -> CmdResult {
    let offset = bit_offset(ctx, ctx.args.at(2), None)?;
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        let bit = string_of(entry)?.is_some_and(|value| with_bytes(value, |bytes| bits::get(bytes, offset)));
        out.int(bit.into());
        Ok(())
    })
}

/// True if a range counts bits, false if it counts bytes.
fn counts_bits(unit: Option<&[u8]>) -> Result<bool, CommandError> {
    match unit {
        None => Ok(false),
        Some(unit) if unit.eq_ignore_ascii_case(b"byte") => Ok(false),
        Some(unit) if unit.eq_ignore_ascii_case(b"bit") => Ok(true),
        Some(_) => Err(CommandError::SYNTAX),
    }
}

/// The bits that `start` and `end` (inclusive, negative from the end) mean in a string of `len` bytes.
fn bit_range(start: i64, end: i64, in_bits: bool, len: usize) -> Range<u64> {
    let unit = if in_bits { 1 } else { 8 };
    let total = len as i64 * 8 / unit;
    let from_front = |at: i64| if at < 0 { at.saturating_add(total).max(0) } else { at };
    let (start, end) = (from_front(start), from_front(end).min(total - 1));
    if start > end { 0..0 } else { (start * unit) as u64..((end + 1) * unit) as u64 }
}

fn bitcount(ctx: &mut Ctx<'_>) -> CmdResult {
    let (start, end, in_bits) = match ctx.args.len() {
        2 => (0, -1, false),
        4 | 5 => (ctx.int(2)?, ctx.int(3)?, counts_bits(ctx.args.get(4))?),
        _ => return Err(CommandError::SYNTAX),
    };
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        // Both before the front are not cut to the first byte when they are the wrong way round.
        let reversed = start < 0 && end < 0 && start > end;
        let count = match string_of(entry)? {
            Some(value) if !reversed => with_bytes(value, |bytes| bits::count(bytes, bit_range(start, end, in_bits, bytes.len()))),
            _ => 0,
        };
        out.int(count as i64);
        Ok(())
    })
}

fn bitpos(ctx: &mut Ctx<'_>) -> CmdResult {
    let bit = match ctx.int(2)? {
        0 => false,
        1 => true,
        _ => return Err("ERR The bit argument must be 1 or 0.".into()),
    };
    if ctx.args.len() > 6 {
        return Err(CommandError::SYNTAX);
    }
    let start = if ctx.args.len() > 3 { ctx.int(3)? } else { 0 };
    let in_bits = counts_bits(ctx.args.get(5))?;
    let given_end = if ctx.args.len() > 4 { Some(ctx.int(4)?) } else { None };
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        let position = match string_of(entry)? {
            None => (!bit).then_some(0),
            Some(value) => with_bytes(value, |bytes| {
                let range = bit_range(start, given_end.unwrap_or(-1), in_bits, bytes.len());
                // Behind the string there are zeros, unless the caller said where to end.
                let behind = (!bit && given_end.is_none() && !range.is_empty()).then_some(bytes.len() as u64 * 8);
                bits::first(bytes, bit, range).or(behind)
            }),
        };
        out.int(position.map_or(-1, |position| position as i64));
        Ok(())
    })
}

fn bitop(ctx: &mut Ctx<'_>) -> CmdResult {
    let op = Op::parse(ctx.args.at(1)).ok_or(CommandError::SYNTAX)?;
    let count = ctx.args.len() - 3;
    match op {
        Op::Not if count != 1 => return Err("ERR BITOP NOT must be called with a single source key.".into()),
        Op::Diff | Op::Diff1 | Op::AndOr if count < 2 => {
            return Err(format!("ERR BITOP {} must be called with at least two source keys.", format!("{op:?}").to_uppercase()).into());
        }
        _ => {}
    }
    let mut keys: Vec<Option<Key<'_>>> = Vec::new();
    for index in 3..ctx.args.len() {
        let key = ctx.key(index);
        keys.push(ctx.read_string(key)?.map(|_| key));
    }
    let db = ctx.node.keyspace.db(ctx.db);
    let value = |key: &Option<Key<'_>>| match key.and_then(|key| db.str_value(key)) {
        None => Cow::Borrowed(&b""[..]),
        Some(StrRef::Bytes(bytes)) => Cow::Borrowed(bytes),
        Some(StrRef::Int(number)) => Cow::Owned(number.to_string().into_bytes()),
    };
    let values: Vec<Cow<'_, [u8]>> = keys.iter().map(value).collect();
    let sources: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
    let result = bits::combine(op, &sources);
    store(ctx, op, result);
    Ok(())
}

/// Sets BITOP's destination, deletes it where there is nothing to store, and replies with the length. Slaves older than 8.2 do not know the newer
/// operations, so they get what came of them.
fn store(ctx: &mut Ctx<'_>, op: Op, result: Vec<u8>) {
    let dest = ctx.key(2);
    let is_known = matches!(op, Op::And | Op::Or | Op::Xor | Op::Not);
    let old = ctx.write(dest).map(Entry::kind);
    let len = result.len();
    if len > 0 {
        if !is_known {
            ctx.propagate(&[b"SET", dest.bytes, &result]);
        }
        ctx.node.keyspace.db_mut(ctx.db).set_raw(dest, result, SetExpire::Clear);
        ctx.changed(dest.bytes);
        if let Some(old) = old {
            ctx.notify_overwritten(ctx.db, old, Kind::String, dest.bytes);
        }
        ctx.notify_string("set", old.is_none(), dest.bytes);
    } else if old.is_some() {
        let lazy = ctx.node.config.lazyfree_lazy_server_del;
        ctx.node.keyspace.db_mut(ctx.db).remove(dest, lazy);
        ctx.changed(dest.bytes);
        ctx.notify(Events::GENERIC, "del", dest.bytes);
        if !is_known {
            ctx.propagate(&[b"DEL", dest.bytes]);
        }
    }
    ctx.out.int(len as i64);
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("bitcount", -2, Flags::READONLY, bitcount).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::BITMAP).docs(
        "bitmap",
        "2.6.0",
        "O(N)",
        "Counts the number of set bits (population counting) in a string.",
    ),
    Spec::new("bitop", -4, Flags::WRITE.union(Flags::DENYOOM), bitop)
        .keys(2, -1, 1)
        .key_specs(&[key_range(&["OW", "update"], 2, 0, 1), key_range(&["RO", "access"], 3, -1, 1)])
        .acl(Acl::BITMAP)
        .docs("bitmap", "2.6.0", "O(N)", "Performs bitwise operations on multiple strings, and stores the result."),
    Spec::new("bitpos", -3, Flags::READONLY, bitpos).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::BITMAP).docs(
        "bitmap",
        "2.8.7",
        "O(N)",
        "Finds the first set (1) or clear (0) bit in a string.",
    ),
    Spec::new("getbit", 3, Flags::READONLY.union(Flags::FAST), getbit)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::BITMAP)
        .docs("bitmap", "2.2.0", "O(1)", "Returns a bit value by offset."),
    Spec::new("setbit", 4, Flags::WRITE.union(Flags::DENYOOM), setbit)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1)])
        .acl(Acl::BITMAP)
        .docs("bitmap", "2.2.0", "O(1)", "Sets or clears the bit at offset of the string value. Creates the key if it doesn't exist."),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn bits_are_set_where_something_changes() {
        let mut b = Bench::new();
        assert_eq!(b.streamed("setbit k 7 0"), ["setbit k 7 0"]);
        assert_eq!(b.say("strlen k"), ":1");
        assert_eq!(b.streamed("setbit k 7 0"), [""; 0]);
        assert_eq!(b.streamed("setbit k 1 1"), ["setbit k 1 1"]);
        assert_eq!(b.say("get k"), "$1 @");
        assert_eq!(b.say("setbit k 1 0"), ":1");
        assert_eq!(b.say("getbit k 1"), ":0");
        assert_eq!(b.say("getbit k 4000000"), ":0");
        assert_eq!(b.say("setbit k -1 1"), "-ERR bit offset is not an integer or out of range");
        assert_eq!(b.say("setbit k 4294967296 1"), "-ERR bit offset is not an integer or out of range");
        assert_eq!(b.say("setbit k 0 2"), "-ERR bit is not an integer or out of range");
    }

    #[test]
    fn numbers_become_text_when_their_bits_change() {
        let mut b = Bench::new();
        b.say("set k 5 px 4000");
        assert_eq!(b.say("object encoding k"), "$3 int");
        assert_eq!(b.say("bitcount k"), ":4");
        assert_eq!(b.say("setbit k 6 1"), ":0");
        assert_eq!(b.say("get k"), "$1 7");
        assert_eq!(b.say("object encoding k"), "$3 raw");
        assert_eq!(b.say("pttl k"), ":4000");
    }

    #[test]
    fn ranges_are_of_bytes_or_bits() {
        let mut b = Bench::new();
        b.say("set k foobar");
        assert_eq!(b.say("bitcount k 1 1"), ":6");
        assert_eq!(b.say("bitcount k 5 30 bit"), ":17");
        assert_eq!(b.say("bitcount k -1 -5"), ":0");
        assert_eq!(b.say("bitcount k -10 -9"), ":4");
        assert_eq!(b.say("bitcount k -9 -10"), ":0");
        assert_eq!(b.say("bitcount k 0"), "-ERR syntax error");
        assert_eq!(b.say("bitpos k 1 2 -1 byte"), ":17");
        assert_eq!(b.say("bitpos k 0 1 1 bit"), ":-1");
        assert_eq!(b.say("bitpos nokey 0"), ":0");
        assert_eq!(b.say("bitpos nokey 1"), ":-1");
        b.say("setbit ones 7 1");
        b.say("bitop not ones ones");
        b.say("setbit ones 7 1");
        assert_eq!(b.say("bitpos ones 0"), ":8");
        assert_eq!(b.say("bitpos ones 0 0 -1"), ":-1");
    }

    #[test]
    fn an_operation_on_nothing_deletes_its_destination() {
        let mut b = Bench::new();
        b.say("set a ab px 5000");
        b.say("set b b");
        assert_eq!(b.streamed("bitop or a a b"), ["bitop or a a b"]);
        assert_eq!(b.say("get a"), "$2 cb");
        assert_eq!(b.say("ttl a"), ":-1");
        assert_eq!(b.streamed("bitop and a nokey"), ["bitop and a nokey"]);
        assert_eq!(b.say("exists a"), ":0");
        assert_eq!(b.streamed("bitop and a nokey"), [""; 0]);
        assert_eq!(b.streamed("bitop diff a b nokey"), ["SET a b"]);
        assert_eq!(b.streamed("bitop one a nokey"), ["DEL a"]);
        assert_eq!(b.streamed("bitop one a nokey"), [""; 0]);
        assert_eq!(b.say("bitop andor a b"), "-ERR BITOP ANDOR must be called with at least two source keys.");
        assert_eq!(b.say("bitop not a b b"), "-ERR BITOP NOT must be called with a single source key.");
        assert_eq!(b.say("bitop nor a b b"), "-ERR syntax error");
    }
}
