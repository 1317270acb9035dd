//! Strings: reading, appending, counting. SET and its kin are in `set`, LCS in `lcs`.

use super::key_range::key_range;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Propagate, Spec};
use crate::config::Events;
use crate::keyspace::{Entry, Key, OwnedEntry, SetExpire, StrRef};
use crate::resp::Reply;
use crate::types::long_double::LongDouble;
use crate::types::number::parse_i64;

const TOO_LONG: CommandError = CommandError::text("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

/// A string value as a bulk.
#[inline]
pub(super) fn bulk(out: &mut Reply, value: StrRef<'_>) {
    match value {
        StrRef::Int(n) => out.bulk_int(n),
        StrRef::Bytes(bytes) => out.bulk(bytes),
    }
}

/// A string value as the bytes that clients see.
pub(super) fn with_bytes<R>(value: StrRef<'_>, f: impl FnOnce(&[u8]) -> R) -> R {
    match value {
        StrRef::Int(n) => f(itoa::Buffer::new().format(n).as_bytes()),
        StrRef::Bytes(bytes) => f(bytes),
    }
}

/// The string in an entry, if there is one; WRONGTYPE if it holds something else.
#[inline]
pub(super) fn string_of(entry: Option<&Entry>) -> Result<Option<StrRef<'_>>, CommandError> {
    match entry {
        None => Ok(None),
        Some(entry) => entry.string().map(Some).ok_or(CommandError::WRONG_TYPE),
    }
}

/// Replies with the value of a key, as GET does; true if the key is there.
#[inline]
pub(super) fn reply_value(ctx: &mut Ctx<'_>, key: Key<'_>) -> Result<bool, CommandError> {
    ctx.read_with(key, |entry, out| {
        let value = string_of(entry)?;
        match value {
            Some(value) => bulk(out, value),
            None => out.null(),
        }
        Ok(value.is_some())
    })
}

fn get(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    reply_value(ctx, key).map(drop)
}

fn mget(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.array(ctx.args.len() - 1);
    for index in 1..ctx.args.len() {
        let key = ctx.key(index);
        ctx.read_with(key, |entry, out| match entry.and_then(Entry::string) {
            Some(value) => bulk(out, value),
            None => out.null(),
        });
    }
    Ok(())
}

fn getdel(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    if reply_value(ctx, key)? {
        let lazy = ctx.node.config.lazyfree_lazy_user_del;
        ctx.node.keyspace.db_mut(ctx.db).remove(key, lazy);
        ctx.changed(key.bytes);
        ctx.notify(Events::GENERIC, "del", key.bytes);
        ctx.propagate(&[b"DEL", key.bytes]);
    }
    Ok(())
}

fn strlen(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        let len = string_of(entry)?.map_or(0, |value| with_bytes(value, <[u8]>::len));
        out.int(len as i64);
        Ok(())
    })
}

/// The range that `start` and `end` (inclusive, negative from the end) mean in a string of `len` bytes.
fn clamp_range(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let len = len as i64;
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_front = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (from_front(start), from_front(end).min(len - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

fn getrange(ctx: &mut Ctx<'_>) -> CmdResult {
    let (start, end) = (ctx.int(2)?, ctx.int(3)?);
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        match string_of(entry)? {
            Some(value) => with_bytes(value, |bytes| out.bulk(&bytes[clamp_range(start, end, bytes.len())])),
            None => out.bulk(b""),
        }
        Ok(())
    })
}

/// Fails if a string of `len` bytes may not exist. The master's commands are obeyed whatever the limit is here.
fn check_len(ctx: &Ctx<'_>, len: u64) -> CmdResult {
    if len > ctx.node.config.proto_max_bulk_len && !ctx.node.applying_stream { Err(TOO_LONG) } else { Ok(()) }
}

/// The length of a key's string, looked up for writing; `None` if there is no such key.
fn len_for_writing(ctx: &mut Ctx<'_>, key: Key<'_>) -> Result<Option<usize>, CommandError> {
    Ok(string_of(ctx.write(key))?.map(|value| with_bytes(value, <[u8]>::len)))
}

fn append(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, tail) = (ctx.key(1), ctx.args.at(2));
    let old_len = len_for_writing(ctx, key)?;
    let len = match old_len {
        None => {
            ctx.node.keyspace.db_mut(ctx.db).set_string(key, tail, SetExpire::Clear);
            tail.len()
        }
        Some(len) => {
            check_len(ctx, len as u64 + tail.len() as u64)?;
            ctx.node.keyspace.db_mut(ctx.db).append(key, tail)
        }
    };
    ctx.changed(key.bytes);
    ctx.notify_string("append", old_len.is_none(), key.bytes);
    ctx.out.int(len as i64);
    Ok(())
}

fn setrange(ctx: &mut Ctx<'_>) -> CmdResult {
    let offset = ctx.int(2)?;
    if offset < 0 {
        return Err("ERR offset is out of range".into());
    }
    let (key, value) = (ctx.key(1), ctx.args.at(3));
    let old_len = len_for_writing(ctx, key)?;
    if value.is_empty() {
        ctx.out.int(old_len.unwrap_or(0) as i64);
        return Ok(());
    }
    check_len(ctx, offset as u64 + value.len() as u64)?;
    let len = ctx.node.keyspace.db_mut(ctx.db).set_range(key, offset as usize, value);
    ctx.changed(key.bytes);
    ctx.notify_string("setrange", old_len.is_none(), key.bytes);
    ctx.out.int(len as i64);
    Ok(())
}

#[inline]
fn add(ctx: &mut Ctx<'_>, delta: i64) -> CmdResult {
    let key = ctx.key(1);
    let old = match string_of(ctx.write(key))? {
        None => 0,
        Some(StrRef::Int(n)) => n,
        Some(StrRef::Bytes(bytes)) => parse_i64(bytes).ok_or(CommandError::NOT_INTEGER)?,
    };
    let new = old.checked_add(delta).ok_or(CommandError::OVERFLOW)?;
    let existed = ctx.node.keyspace.db_mut(ctx.db).set_int(key, new, SetExpire::Keep);
    ctx.changed(key.bytes);
    ctx.notify_string("incrby", !existed, key.bytes);
    ctx.out.int(new);
    Ok(())
}

fn incr(ctx: &mut Ctx<'_>) -> CmdResult {
    add(ctx, 1)
}

fn decr(ctx: &mut Ctx<'_>) -> CmdResult {
    add(ctx, -1)
}

fn incrby(ctx: &mut Ctx<'_>) -> CmdResult {
    let delta = ctx.int(2)?;
    add(ctx, delta)
}

fn decrby(ctx: &mut Ctx<'_>) -> CmdResult {
    let delta = ctx.int(2)?.checked_neg().ok_or(CommandError::text("ERR decrement would overflow"))?;
    add(ctx, delta)
}

fn incrbyfloat(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, delta) = (ctx.key(1), ctx.args.at(2));
    let entry = ctx.write(key);
    let expire = entry.and_then(Entry::expire_at);
    let old = string_of(entry)?.map_or(LongDouble::parse(b"0"), |value| with_bytes(value, LongDouble::parse));
    let (old, delta) = old.zip(LongDouble::parse(delta)).ok_or(CommandError::NOT_FLOAT)?;
    let new = old.add(delta).ok_or(CommandError::text("ERR increment would produce NaN or Infinity"))?.to_text();
    // Not `set_string`: the result stays text (`embstr`) even where it is an integer, as in Redis.
    let entry = OwnedEntry::new_string(key.bytes, StrRef::Bytes(&new), expire);
    let existed = ctx.node.keyspace.db_mut(ctx.db).insert(key.hash, entry);
    ctx.changed(key.bytes);
    ctx.notify_string("incrbyfloat", !existed, key.bytes);
    ctx.out.bulk(&new);
    // A slave must not add in an arithmetic of its own.
    ctx.propagate(&[b"SET", key.bytes, &new, b"KEEPTTL"]);
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("append", 3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), append)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "insert"], 1, 0, 1)])
        .acl(Acl::STRING)
        .docs(
            "string",
            "2.0.0",
            "O(1). The amortized time complexity is O(1) assuming the appended value is small and the already present value is of any size, since \
             the dynamic string library used by Redis will double the free space available on every reallocation.",
            "Appends a string to the value of a key. Creates the key if it doesn't exist.",
        ),
    Spec::new("decr", 2, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), decr)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1)])
        .acl(Acl::STRING)
        .docs("string", "1.0.0", "O(1)", "Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist."),
    Spec::new("decrby", 3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), decrby)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1)])
        .acl(Acl::STRING)
        .docs("string", "1.0.0", "O(1)", "Decrements a number from the integer value of a key. Uses 0 as initial value if the key doesn't exist."),
    Spec::new("get", 2, Flags::READONLY.union(Flags::FAST), get)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::STRING)
        .docs("string", "1.0.0", "O(1)", "Returns the string value of a key."),
    Spec::new("getdel", 2, Flags::WRITE.union(Flags::FAST), getdel)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1)])
        .acl(Acl::STRING)
        .propagate(Propagate::Effects)
        .docs("string", "6.2.0", "O(1)", "Returns the string value of a key after deleting the key."),
    Spec::new("getrange", 4, Flags::READONLY, getrange).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::STRING).docs(
        "string",
        "2.4.0",
        "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because \
             creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.",
        "Returns a substring of the string stored at a key.",
    ),
    Spec::new("incr", 2, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), incr)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1)])
        .acl(Acl::STRING)
        .docs("string", "1.0.0", "O(1)", "Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist."),
    Spec::new("incrby", 3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), incrby)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1)])
        .acl(Acl::STRING)
        .docs("string", "1.0.0", "O(1)", "Increments the integer value of a key by a number. Uses 0 as initial value if the key doesn't exist."),
    Spec::new("incrbyfloat", 3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), incrbyfloat)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1)])
        .acl(Acl::STRING)
        .propagate(Propagate::Effects)
        .docs(
            "string",
            "2.6.0",
            "O(1)",
            "Increment the floating point value of a key by a number. Uses 0 as initial value if the key doesn't exist.",
        ),
    Spec::new("mget", -2, Flags::READONLY.union(Flags::FAST), mget)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, -1, 1)])
        .acl(Acl::STRING)
        .tips(&["request_policy:multi_shard"])
        .docs("string", "1.0.0", "O(N) where N is the number of keys to retrieve.", "Atomically returns the string values of one or more keys."),
    Spec::new("setrange", 4, Flags::WRITE.union(Flags::DENYOOM), setrange)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::STRING)
        .docs(
            "string",
            "2.2.0",
            "O(1), not counting the time taken to copy the new string in place. Usually, this string is very small so the amortized complexity is \
             O(1). Otherwise, complexity is O(M) with M being the length of the value argument.",
            "Overwrites a part of a string value with another by an offset. Creates the key if it doesn't exist.",
        ),
    Spec::new("strlen", 2, Flags::READONLY.union(Flags::FAST), strlen).keys(1, 1, 1).key_specs(&[key_range(&["RO"], 1, 0, 1)]).acl(Acl::STRING).docs(
        "string",
        "2.2.0",
        "O(1)",
        "Returns the length of a string value.",
    ),
    Spec::new("substr", 4, Flags::READONLY, getrange).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::STRING).docs(
        "string",
        "1.0.0",
        "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because \
             creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.",
        "Returns a substring from a string value.",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn ranges_are_clamped_as_redis_does() {
        for (start, end, range) in [(0, -1, 0..5), (1, 3, 1..4), (-3, -1, 2..5), (-1, -3, 0..0), (-100, 100, 0..5), (5, 10, 0..0), (0, -100, 0..1)] {
            assert_eq!(clamp_range(start, end, 5), range, "{start} {end}");
        }
        assert_eq!(clamp_range(i64::MAX, i64::MIN, 5), 0..0);
        assert_eq!(clamp_range(0, -1, 0), 0..0);
    }

    #[test]
    fn numbers_are_added_within_their_bounds() {
        let mut b = Bench::new();
        assert_eq!(b.say("incr n"), ":1");
        assert_eq!(b.say("decrby n 11"), ":-10");
        assert_eq!(b.say("set n 9223372036854775807"), "+OK");
        assert_eq!(b.say("incr n"), "-ERR increment or decrement would overflow");
        assert_eq!(b.say("decrby n -9223372036854775808"), "-ERR decrement would overflow");
        b.say("set n 01");
        assert_eq!(b.say("incr n"), "-ERR value is not an integer or out of range");
        assert_eq!(b.say("incrbyfloat n 0.1"), "$3 1.1");
        assert_eq!(b.say("incrbyfloat n inf"), "-ERR increment would produce NaN or Infinity");
        assert_eq!(b.say("incrbyfloat n x"), "-ERR value is not a valid float");
    }

    #[test]
    fn a_float_reaches_the_stream_as_its_result_and_keeps_its_expiry() {
        let mut b = Bench::new();
        b.say("set n 1 px 5000");
        assert_eq!(b.streamed("incrbyfloat n 2"), ["SET n 3 KEEPTTL"]);
        assert_eq!(b.say("pttl n"), ":5000");
        assert_eq!(b.say("object encoding n"), "$6 embstr");
    }

    #[test]
    fn strings_do_not_grow_beyond_the_limit() {
        let mut b = Bench::new();
        b.node.config.proto_max_bulk_len = 8;
        b.say("set a 12345");
        assert_eq!(b.say("append a 1234"), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        assert_eq!(b.say("setrange a 8 x"), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        assert_eq!(b.say("setrange a 9223372036854775807 x"), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        assert_eq!(b.say("append a 678"), ":8");
        assert_eq!(b.say("setrange a 7 x"), ":8");
        assert_eq!(b.say("get a"), "$8 1234567x");
        assert_eq!(b.streamed("setrange a 0 \"\""), [""; 0]);
    }

    #[test]
    fn getdel_reads_once() {
        let mut b = Bench::new();
        b.say("set a 1");
        b.stream();
        assert_eq!(b.say("getdel a"), "$1 1");
        assert_eq!(b.stream(), ["DEL a"]);
        assert_eq!(b.say("getdel a"), "$-1");
        assert_eq!(b.stream(), [""; 0]);
    }
}
