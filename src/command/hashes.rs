//! Hashes: setting, reading, counting fields. What chooses fields is in `hash_walks`, what gives them an expiry in `hash_expiry`; a field that is past its
//! time is missing here, and `hash_due` deletes it.

use super::key_range::key_range;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Propagate, Spec};
use crate::config::Events;
use crate::keyspace::{Entry, HashRef, Key, SetExpire, UnixMs};
use crate::resp::Reply;
use crate::types::listpack::{Elem, ElemBuf};
use crate::types::long_double::LongDouble;

/// The hash at a key, if there is one; WRONGTYPE if it is something else.
#[inline]
pub(super) fn hash_of(entry: Option<&Entry>) -> Result<Option<HashRef<'_>>, CommandError> {
    entry.map_or(Ok(None), |entry| entry.hash().map(Some).ok_or(CommandError::WRONG_TYPE))
}

#[inline]
pub(super) fn put(out: &mut Reply, value: Elem<'_>) {
    out.bulk(value.bytes(&mut ElemBuf::new()));
}

/// What a command sees of a field: nothing if it is past its time, which `due` is told.
#[inline]
pub(super) fn visible<'h>(hash: Option<HashRef<'h>>, name: &[u8], now: UnixMs, due: &mut bool) -> Option<Elem<'h>> {
    let field = hash?.get(name)?;
    if field.is_due(now) {
        *due = true;
        return None;
    }
    Some(field.value)
}

/// Answers with a field as `reply` says; one that is past its time is missing, and deleted after that.
fn read_field(ctx: &mut Ctx<'_>, reply: impl FnOnce(Option<Elem<'_>>, &mut Reply)) -> CmdResult {
    let (key, names, now) = (ctx.key(1), ctx.args.tail(2), ctx.field_clock());
    let mut due = false;
    ctx.read_with(key, |entry, out| {
        reply(visible(hash_of(entry)?, names.at(0), now, &mut due), out);
        CmdResult::Ok(())
    })?;
    if due {
        ctx.delete_due_fields(key, names.iter());
    }
    Ok(())
}

fn hget(ctx: &mut Ctx<'_>) -> CmdResult {
    read_field(ctx, |value, out| match value {
        Some(value) => put(out, value),
        None => out.null(),
    })
}

fn hstrlen(ctx: &mut Ctx<'_>) -> CmdResult {
    read_field(ctx, |value, out| out.int(value.map_or(0, |value| value.len() as i64)))
}

fn hexists(ctx: &mut Ctx<'_>) -> CmdResult {
    read_field(ctx, |value, out| out.int(value.is_some().into()))
}

fn hmget(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, names, now) = (ctx.key(1), ctx.args.tail(2), ctx.field_clock());
    let mut due = false;
    ctx.read_with(key, |entry, out| {
        let hash = hash_of(entry)?;
        out.array(names.len());
        for name in names.iter() {
            match visible(hash, name, now, &mut due) {
                Some(value) => put(out, value),
                None => out.null(),
            }
        }
        CmdResult::Ok(())
    })?;
    if due {
        ctx.delete_due_fields(key, names.iter());
    }
    Ok(())
}

/// Fields that are past their time count, until they are deleted.
fn hlen(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        out.int(hash_of(entry)?.map_or(0, |hash| hash.len() as i64));
        Ok(())
    })
}

/// Answers with all fields: `head` with the reply's head for so many, then names, values or both.
fn read_all(ctx: &mut Ctx<'_>, head: fn(&mut Reply, usize), names: bool, values: bool) -> CmdResult {
    let (key, now) = (ctx.key(1), ctx.field_clock());
    ctx.read_with(key, |entry, out| {
        let hash = hash_of(entry)?;
        head(out, hash.map_or(0, |hash| hash.live_len(now) as usize));
        for (name, field) in hash.into_iter().flat_map(|hash| hash.live(now)) {
            if names {
                put(out, name);
            }
            if values {
                put(out, field.value);
            }
        }
        Ok(())
    })
}

fn hgetall(ctx: &mut Ctx<'_>) -> CmdResult {
    read_all(ctx, Reply::map, true, true)
}

fn hkeys(ctx: &mut Ctx<'_>) -> CmdResult {
    read_all(ctx, Reply::array, true, false)
}

fn hvals(ctx: &mut Ctx<'_>) -> CmdResult {
    read_all(ctx, Reply::array, false, true)
}

/// Sets the request's fields, which lose their expiry; returns how many are new.
fn set_fields(ctx: &mut Ctx<'_>) -> Result<usize, CommandError> {
    if !ctx.args.len().is_multiple_of(2) {
        return Err(CommandError::arity(ctx.spec.name));
    }
    let (key, pairs) = (ctx.key(1), ctx.args.tail(2));
    let count = pairs.len() / 2;
    let is_new = hash_of(ctx.write(key))?.is_none();
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_hash(key, true, |hash| {
        hash.expect(count as u64);
        (0..count).filter(|pair| !hash.set(pairs.at(2 * pair), Elem::of(pairs.at(2 * pair + 1)), SetExpire::Clear)).count()
    });
    ctx.changed_by(count, key.bytes);
    ctx.notify_new(Events::HASH, "hset", is_new, key.bytes);
    Ok(edited.map_or(0, |edited| edited.result))
}

fn hset(ctx: &mut Ctx<'_>) -> CmdResult {
    let added = set_fields(ctx)?;
    ctx.out.int(added as i64);
    Ok(())
}

fn hmset(ctx: &mut Ctx<'_>) -> CmdResult {
    set_fields(ctx)?;
    ctx.out.ok();
    Ok(())
}

/// What `read` makes of a field's value before a command changes it, and whether the hash would be new; a field that is past its time is deleted first.
fn for_writing<T>(ctx: &mut Ctx<'_>, key: Key<'_>, read: impl FnOnce(Option<Elem<'_>>) -> T) -> Result<(T, bool), CommandError> {
    let (name, now) = (ctx.args.at(2), ctx.field_clock());
    let mut due = false;
    let hash = hash_of(ctx.write(key))?;
    let mut is_new = hash.is_none();
    let value = read(visible(hash, name, now, &mut due));
    if due {
        ctx.delete_due_fields(key, std::iter::once(name));
        is_new = ctx.write(key).is_none();
    }
    Ok((value, is_new))
}

/// Sets one field, whose expiry stays.
fn store(ctx: &mut Ctx<'_>, key: Key<'_>, event: &str, is_new: bool, value: Elem<'_>) {
    let name = ctx.args.at(2);
    ctx.node.keyspace.db_mut(ctx.db).edit_hash(key, true, |hash| hash.set(name, value, SetExpire::Keep));
    ctx.changed(key.bytes);
    ctx.notify_new(Events::HASH, event, is_new, key.bytes);
}

fn hsetnx(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    let (exists, is_new) = for_writing(ctx, key, |value| value.is_some())?;
    if !exists {
        store(ctx, key, "hset", is_new, Elem::of(ctx.args.at(3)));
    }
    ctx.out.int(i64::from(!exists));
    Ok(())
}

fn hincrby(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, by) = (ctx.key(1), ctx.int(3)?);
    let (old, is_new) = for_writing(ctx, key, |value| match value {
        None => Some(0),
        Some(value) => value.as_int(),
    })?;
    let old = old.ok_or(CommandError::text("ERR hash value is not an integer"))?;
    let new = old.checked_add(by).ok_or(CommandError::OVERFLOW)?;
    store(ctx, key, "hincrby", is_new, Elem::Int(new));
    ctx.out.int(new);
    Ok(())
}

fn hincrbyfloat(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name) = (ctx.key(1), ctx.args.at(2));
    let by = LongDouble::parse(ctx.args.at(3)).ok_or(CommandError::NOT_FLOAT)?;
    if !by.is_finite() {
        return Err("ERR value is NaN or Infinity".into());
    }
    let (old, is_new) = for_writing(ctx, key, |value| LongDouble::parse(value.unwrap_or(Elem::Int(0)).bytes(&mut ElemBuf::new())))?;
    let old = old.ok_or(CommandError::text("ERR hash value is not a float"))?;
    let new = old.add(by).ok_or(CommandError::text("ERR increment would produce NaN or Infinity"))?.to_text();
    store(ctx, key, "hincrbyfloat", is_new, Elem::of(&new));
    ctx.out.bulk(&new);
    ctx.propagate(&[b"HSET", key.bytes, name, &new]);
    ctx.propagate_expiry(key, name);
    Ok(())
}

fn hdel(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, names) = (ctx.key(1), ctx.args.tail(2));
    hash_of(ctx.write(key))?;
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_hash(key, false, |hash| names.iter().filter(|name| hash.remove(name)).count());
    let deleted = edited.map_or(0, |edited| edited.result);
    if deleted > 0 {
        ctx.changed_by(deleted, key.bytes);
        ctx.notify(Events::HASH, "hdel", key.bytes);
    }
    if edited.is_some_and(|edited| edited.emptied) {
        ctx.notify(Events::GENERIC, "del", key.bytes);
    }
    ctx.out.int(deleted as i64);
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("hdel", -3, Flags::WRITE.union(Flags::FAST), hdel)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)])
        .acl(Acl::HASH)
        .docs(
            "hash",
            "2.0.0",
            "O(N) where N is the number of fields to be removed.",
            "Deletes one or more fields and their values from a hash. Deletes the hash if no fields remain.",
        ),
    Spec::new("hexists", 3, Flags::READONLY.union(Flags::FAST), hexists).keys(1, 1, 1).key_specs(&[key_range(&["RO"], 1, 0, 1)]).acl(Acl::HASH).docs(
        "hash",
        "2.0.0",
        "O(1)",
        "Determines whether a field exists in a hash.",
    ),
    Spec::new("hget", 3, Flags::READONLY.union(Flags::FAST), hget)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::HASH)
        .docs("hash", "2.0.0", "O(1)", "Returns the value of a field in a hash."),
    Spec::new("hgetall", 2, Flags::READONLY, hgetall)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::HASH)
        .tips(&["nondeterministic_output_order"])
        .docs("hash", "2.0.0", "O(N) where N is the size of the hash.", "Returns all fields and values in a hash."),
    Spec::new("hincrby", 4, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), hincrby)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1)])
        .acl(Acl::HASH)
        .docs(
            "hash",
            "2.0.0",
            "O(1)",
            "Increments the integer value of a field in a hash by a number. Uses 0 as initial value if the field doesn't exist.",
        ),
    Spec::new("hincrbyfloat", 4, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), hincrbyfloat)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1)])
        .acl(Acl::HASH)
        .propagate(Propagate::Effects)
        .docs(
            "hash",
            "2.6.0",
            "O(1)",
            "Increments the floating point value of a field by a number. Uses 0 as initial value if the field doesn't exist.",
        ),
    Spec::new("hkeys", 2, Flags::READONLY, hkeys)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::HASH)
        .tips(&["nondeterministic_output_order"])
        .docs("hash", "2.0.0", "O(N) where N is the size of the hash.", "Returns all fields in a hash."),
    Spec::new("hlen", 2, Flags::READONLY.union(Flags::FAST), hlen).keys(1, 1, 1).key_specs(&[key_range(&["RO"], 1, 0, 1)]).acl(Acl::HASH).docs(
        "hash",
        "2.0.0",
        "O(1)",
        "Returns the number of fields in a hash.",
    ),
    Spec::new("hmget", -3, Flags::READONLY.union(Flags::FAST), hmget)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::HASH)
        .docs("hash", "2.0.0", "O(N) where N is the number of fields being requested.", "Returns the values of all fields in a hash."),
    Spec::new("hmset", -4, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), hmset)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::HASH)
        .docs("hash", "2.0.0", "O(N) where N is the number of fields being set.", "Sets the values of multiple fields."),
    Spec::new("hset", -4, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), hset)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::HASH)
        .docs(
            "hash",
            "2.0.0",
            "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with multiple field/value pairs.",
            "Creates or modifies the value of a field in a hash.",
        ),
    Spec::new("hsetnx", 4, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), hsetnx)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "insert"], 1, 0, 1)])
        .acl(Acl::HASH)
        .docs("hash", "2.0.0", "O(1)", "Sets the value of a field in a hash only when the field doesn't exist."),
    Spec::new("hstrlen", 3, Flags::READONLY.union(Flags::FAST), hstrlen).keys(1, 1, 1).key_specs(&[key_range(&["RO"], 1, 0, 1)]).acl(Acl::HASH).docs(
        "hash",
        "3.2.0",
        "O(1)",
        "Returns the length of the value of a field.",
    ),
    Spec::new("hvals", 2, Flags::READONLY, hvals)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::HASH)
        .tips(&["nondeterministic_output_order"])
        .docs("hash", "2.0.0", "O(N) where N is the size of the hash.", "Returns all values in a hash."),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn fields_are_set_read_and_deleted() {
        let mut b = Bench::new();
        for (line, reply) in [
            ("hset h a 1 b two", ":2"),
            ("hset h a 3 c 4", ":1"),
            ("hget h a", "$1 3"),
            ("hget h nope", "$-1"),
            ("hget nope a", "$-1"),
            ("hmget h b nope a", "*3 $3 two $-1 $1 3"),
            ("hgetall h", "*6 $1 a $1 3 $1 b $3 two $1 c $1 4"),
            ("hkeys h", "*3 $1 a $1 b $1 c"),
            ("hvals h", "*3 $1 3 $3 two $1 4"),
            ("hlen h", ":3"),
            ("hstrlen h b", ":3"),
            ("hstrlen h nope", ":0"),
            ("hexists h b", ":1"),
            ("hsetnx h b 5", ":0"),
            ("hsetnx h d 5", ":1"),
            ("hmset h d 6", "+OK"),
            ("hset h a", "-ERR wrong number of arguments for 'hset' command"),
            ("hset h a 1 b", "-ERR wrong number of arguments for 'hset' command"),
            ("hdel h a a nope b", ":2"),
            ("hdel h c d", ":2"),
            ("exists h", ":0"),
            ("hgetall h", "*0"),
        ] {
            assert_eq!(b.say(line), reply, "{line}");
        }
        b.say("set s 1");
        for line in ["hset s a 1", "hget s a", "hdel s a", "hlen s", "hincrby s a 1", "hscan s 0", "hrandfield s", "hgetall s"] {
            assert!(b.say(line).starts_with("-WRONGTYPE"), "{line}");
        }
    }

    #[test]
    fn numbers_in_fields_are_counted_up() {
        let mut b = Bench::new();
        for (line, reply) in [
            ("hincrby h n 5", ":5"),
            ("hincrby h n -7", ":-2"),
            ("hincrbyfloat h n 2.5", "$3 0.5"),
            ("hincrby h n 1", "-ERR hash value is not an integer"),
            ("hset h max 9223372036854775807 text x", ":2"),
            ("hincrby h max 1", "-ERR increment or decrement would overflow"),
            ("hincrby h text 1", "-ERR hash value is not an integer"),
            ("hincrby h text 1.5", "-ERR value is not an integer or out of range"),
            ("hincrbyfloat h text 1", "-ERR hash value is not a float"),
            ("hincrbyfloat h max x", "-ERR value is not a valid float"),
            ("hincrbyfloat h max inf", "-ERR value is NaN or Infinity"),
            ("hincrbyfloat h max 1", "$19 9223372036854775808"),
            ("hset h big inf", ":1"),
            ("hincrbyfloat h big 1", "-ERR increment would produce NaN or Infinity"),
        ] {
            assert_eq!(b.say(line), reply, "{line}");
        }
        assert_eq!(b.streamed("hincrby h new 3"), ["hincrby h new 3"]);
        assert_eq!(b.streamed("hincrbyfloat h new 0.5"), ["HSET h new 3.5"]);
    }

    #[test]
    fn a_hash_takes_the_form_that_redis_gives_it() {
        let mut b = Bench::new();
        b.say("config set hash-max-listpack-entries 2");
        for (line, encoding) in [
            ("hset two a 1 b 2", "listpack"),
            ("hset twice a 1 b 2 b 3", "hashtable"),
            ("hset long a 0123456789012345678901234567890123456789012345678901234567890123", "listpack"),
            ("hset long a 01234567890123456789012345678901234567890123456789012345678901234", "hashtable"),
        ] {
            b.say(line);
            let name = line.split(' ').nth(1).unwrap_or_default();
            assert_eq!(b.say(&format!("object encoding {name}")), format!("${} {encoding}", encoding.len()), "{line}");
        }
        b.say("hset two c 3");
        assert_eq!(b.say("object encoding two"), "$9 hashtable");
        assert_eq!(b.say("hmget two a b c d"), "*4 $1 1 $1 2 $1 3 $-1");
        b.say("copy two other");
        b.say("hdel two a b c");
        assert_eq!(b.say("hlen other"), ":3");
    }

    #[test]
    fn each_field_is_a_change() {
        let mut b = Bench::new();
        let dirty = b.node.dirty;
        b.say("hset h a 1 b 2 c 3");
        b.say("hdel h a b nope");
        b.say("hdel h nope");
        assert_eq!(b.node.dirty - dirty, 5);
        assert_eq!(b.streamed("hdel h nope"), [""; 0]);
        assert_eq!(b.streamed("hdel h c"), ["hdel h c"]);
    }
}
