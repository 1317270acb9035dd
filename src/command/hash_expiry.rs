//! When fields of hashes expire: HEXPIRE and its kin, HTTL and its kin, HPERSIST. What deletes fields in the background is in `expire_cycle`.

use super::expire::invalid_expire;
use super::hashes::hash_of;
use super::key_range::key_range;
use super::set::{EX, EXAT, PX, PXAT, Unit};
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Propagate, Spec};
use crate::config::Events;
use crate::keyspace::{Key, UnixMs};
use crate::replication::Role;
use crate::resp::Args;
use crate::types::number::parse_i64;

/// The last moment that Redis can keep for a field: 46 bits.
const MOMENT_MAX: i64 = (1 << 46) - 1;

/// What HEXPIRE says of a count that is none; the others say `BAD_COUNT`.
const BAD_COUNT_OF_HEXPIRE: &str = "ERR Parameter `numFields` should be greater than 0";
pub(super) const BAD_COUNT: &str = "ERR Number of fields must be a positive integer";

/// Replies for a field.
const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const UNMET: i64 = 0;
const SET: i64 = 1;
const DELETED: i64 = 2;

/// The names behind `FIELDS count` at `index`, with which the request ends.
pub(super) fn names_at<'a>(args: Args<'a>, index: usize, command: &str, bad_count: &'static str) -> Result<Args<'a>, CommandError> {
    if !args.get(index).is_some_and(|word| word.eq_ignore_ascii_case(b"FIELDS")) {
        return Err("ERR Mandatory argument FIELDS is missing or not at the right position".into());
    }
    let Some(count) = args.get(index + 1) else { return Err(CommandError::arity(command)) };
    let count = parse_i64(count).filter(|count| *count > 0).ok_or(CommandError::text(bad_count))?;
    let names = args.tail(index + 2);
    if names.len() as i64 != count {
        return Err("ERR The `numfields` parameter must match the number of arguments".into());
    }
    Ok(names)
}

/// The moment that an expiry argument means; it may be in the past, but not before 1970 or beyond what Redis can keep.
pub(super) fn moment(ctx: &Ctx<'_>, text: &[u8], unit: Unit) -> Result<UnixMs, CommandError> {
    let given = parse_i64(text).ok_or(CommandError::NOT_INTEGER)?;
    if given < 0 {
        return Err("ERR invalid expire time, must be >= 0".into());
    }
    let at = unit.moment(given, ctx.now());
    at.filter(|at| at.0 <= MOMENT_MAX).ok_or_else(|| invalid_expire(ctx.spec.name))
}

/// Which expiries a new one may take the place of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Any,
    Nx,
    Xx,
    Gt,
    Lt,
}

impl Condition {
    fn parse(word: &[u8]) -> Option<Self> {
        let words = [("NX", Condition::Nx), ("XX", Condition::Xx), ("GT", Condition::Gt), ("LT", Condition::Lt)];
        words.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, condition)| condition)
    }
    fn allows(self, old: Option<UnixMs>, new: UnixMs) -> bool {
        match self {
            Condition::Any => true,
            Condition::Nx => old.is_none(),
            Condition::Xx => old.is_some(),
            Condition::Gt => old.is_some_and(|old| new > old),
            Condition::Lt => old.is_none_or(|old| new < old),
        }
    }
}

impl Ctx<'_> {
    /// Whether a field that gets this expiry is deleted instead. A slave leaves that to its master and sets the past moment as it is.
    pub(super) fn deletes_at_once(&self, at: UnixMs) -> bool {
        at <= self.now() && self.node.loading.is_none() && !self.node.applying_stream && matches!(self.node.role, Role::Master)
    }

    /// Fields of a hash have got an expiry, or have been deleted because it is in the past: tells everybody who cares.
    pub(super) fn fields_expire_at(&mut self, key: Key<'_>, names: &[&[u8]], at: UnixMs, deleted: bool, emptied: bool) {
        if names.is_empty() {
            return;
        }
        self.changed_by(names.len(), key.bytes);
        if deleted {
            return self.fields_deleted(key, names, emptied);
        }
        self.notify(Events::HASH, "hexpire", key.bytes);
        self.propagate_fields(&[b"HPEXPIREAT", key.bytes, itoa::Buffer::new().format(at.0).as_bytes()], names);
    }

    /// Fields of a hash have been deleted.
    pub(super) fn fields_deleted(&mut self, key: Key<'_>, names: &[&[u8]], emptied: bool) {
        self.notify(Events::HASH, "hdel", key.bytes);
        if emptied {
            self.notify(Events::GENERIC, "del", key.bytes);
        }
        self.propagate(&[&[b"HDEL", key.bytes], names].concat());
    }

    /// Puts a command into the stream that ends with FIELDS and names.
    pub(super) fn propagate_fields(&mut self, head: &[&[u8]], names: &[&[u8]]) {
        self.propagate(&[head, &[b"FIELDS", itoa::Buffer::new().format(names.len()).as_bytes()], names].concat());
    }
}

fn expire_fields(ctx: &mut Ctx<'_>, unit: Unit) -> CmdResult {
    let (key, args) = (ctx.key(1), ctx.args);
    let is_there = hash_of(ctx.write(key))?.is_some();
    let at = moment(ctx, args.at(2), unit)?;
    let condition = Condition::parse(args.at(3));
    let names = names_at(args, if condition.is_some() { 4 } else { 3 }, ctx.spec.name, BAD_COUNT_OF_HEXPIRE)?;
    let condition = condition.unwrap_or(Condition::Any);
    ctx.out.array(names.len());
    if !is_there {
        names.iter().for_each(|_| ctx.out.int(NO_FIELD));
        return Ok(());
    }
    let deletes = ctx.deletes_at_once(at);
    let mut changed: Vec<&[u8]> = Vec::new();
    let out = &mut *ctx.out;
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_hash(key, false, |hash| {
        hash.keep_times();
        for name in names.iter() {
            let reply = match hash.get().get(name) {
                None => NO_FIELD,
                Some(field) if !condition.allows(field.expire, at) => UNMET,
                Some(_) if deletes => DELETED,
                Some(_) => SET,
            };
            let is_changed = match reply {
                DELETED => hash.remove(name),
                SET => hash.set_expire(name, Some(at)),
                _ => false,
            };
            if is_changed {
                changed.push(name);
            }
            out.int(reply);
        }
    });
    ctx.fields_expire_at(key, &changed, at, deletes, edited.is_some_and(|edited| edited.emptied));
    Ok(())
}

fn hexpire(ctx: &mut Ctx<'_>) -> CmdResult {
    expire_fields(ctx, EX)
}

fn hpexpire(ctx: &mut Ctx<'_>) -> CmdResult {
    expire_fields(ctx, PX)
}

fn hexpireat(ctx: &mut Ctx<'_>) -> CmdResult {
    expire_fields(ctx, EXAT)
}

fn hpexpireat(ctx: &mut Ctx<'_>) -> CmdResult {
    expire_fields(ctx, PXAT)
}

fn hpersist(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, now) = (ctx.key(1), ctx.field_clock());
    let is_there = hash_of(ctx.write(key))?.is_some();
    let names = names_at(ctx.args, 2, ctx.spec.name, BAD_COUNT)?;
    ctx.out.array(names.len());
    if !is_there {
        names.iter().for_each(|_| ctx.out.int(NO_FIELD));
        return Ok(());
    }
    let mut persisted = 0;
    let out = &mut *ctx.out;
    ctx.node.keyspace.db_mut(ctx.db).edit_hash(key, false, |hash| {
        for name in names.iter() {
            let reply = match hash.get().get(name) {
                Some(field) if !field.is_due(now) => {
                    if field.expire.is_some() {
                        SET
                    } else {
                        NO_EXPIRY
                    }
                }
                _ => NO_FIELD,
            };
            if reply == SET {
                hash.set_expire(name, None);
                persisted += 1;
            }
            out.int(reply);
        }
    });
    if persisted > 0 {
        ctx.changed_by(persisted, key.bytes);
        ctx.notify(Events::HASH, "hpersist", key.bytes);
    }
    Ok(())
}

/// Replies for each field what `show` makes of its expiry and of now.
fn reply_expiries(ctx: &mut Ctx<'_>, show: fn(i64, i64) -> i64) -> CmdResult {
    let (key, args, clock, now, command) = (ctx.key(1), ctx.args, ctx.field_clock(), ctx.now(), ctx.spec.name);
    ctx.read_with(key, |entry, out| {
        let hash = hash_of(entry)?;
        let names = names_at(args, 2, command, BAD_COUNT)?;
        out.array(names.len());
        for name in names.iter() {
            out.int(match hash.and_then(|hash| hash.get(name)) {
                Some(field) if !field.is_due(clock) => field.expire.map_or(NO_EXPIRY, |at| show(at.0, now.0)),
                _ => NO_FIELD,
            });
        }
        Ok(())
    })
}

/// Begun seconds count.
fn seconds(ms: i64) -> i64 {
    ms.saturating_add(999) / 1000
}

fn httl(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_expiries(ctx, |at, now| seconds((at - now).max(0)))
}

fn hpttl(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_expiries(ctx, |at, now| (at - now).max(0))
}

fn hexpiretime(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_expiries(ctx, |at, _| seconds(at))
}

fn hpexpiretime(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_expiries(ctx, |at, _| at)
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("hexpire", -6, Flags::WRITE.union(Flags::FAST), hexpire)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::HASH)
        .propagate(Propagate::Effects)
        .docs("hash", "7.4.0", "O(N) where N is the number of specified fields", "Set expiry for hash field using relative time to expire (seconds)"),
    Spec::new("hexpireat", -6, Flags::WRITE.union(Flags::FAST), hexpireat)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::HASH)
        .propagate(Propagate::Effects)
        .docs(
            "hash",
            "7.4.0",
            "O(N) where N is the number of specified fields",
            "Set expiry for hash field using an absolute Unix timestamp (seconds)",
        ),
    Spec::new("hexpiretime", -5, Flags::READONLY.union(Flags::FAST), hexpiretime)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::HASH)
        .docs(
            "hash",
            "7.4.0",
            "O(N) where N is the number of specified fields",
            "Returns the expiration time of a hash field as a Unix timestamp, in seconds.",
        ),
    Spec::new("hpersist", -5, Flags::WRITE.union(Flags::FAST), hpersist)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::HASH)
        .docs("hash", "7.4.0", "O(N) where N is the number of specified fields", "Removes the expiration time for each specified field"),
    Spec::new("hpexpire", -6, Flags::WRITE.union(Flags::FAST), hpexpire)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::HASH)
        .propagate(Propagate::Effects)
        .docs(
            "hash",
            "7.4.0",
            "O(N) where N is the number of specified fields",
            "Set expiry for hash field using relative time to expire (milliseconds)",
        ),
    Spec::new("hpexpireat", -6, Flags::WRITE.union(Flags::FAST), hpexpireat)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::HASH)
        .propagate(Propagate::Effects)
        .docs(
            "hash",
            "7.4.0",
            "O(N) where N is the number of specified fields",
            "Set expiry for hash field using an absolute Unix timestamp (milliseconds)",
        ),
    Spec::new("hpexpiretime", -5, Flags::READONLY.union(Flags::FAST), hpexpiretime)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::HASH)
        .docs(
            "hash",
            "7.4.0",
            "O(N) where N is the number of specified fields",
            "Returns the expiration time of a hash field as a Unix timestamp, in msec.",
        ),
    Spec::new("hpttl", -5, Flags::READONLY.union(Flags::FAST), hpttl)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::HASH)
        .tips(&["nondeterministic_output"])
        .docs("hash", "7.4.0", "O(N) where N is the number of specified fields", "Returns the TTL in milliseconds of a hash field."),
    Spec::new("httl", -5, Flags::READONLY.union(Flags::FAST), httl)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::HASH)
        .tips(&["nondeterministic_output"])
        .docs("hash", "7.4.0", "O(N) where N is the number of specified fields", "Returns the TTL in seconds of a hash field."),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{CycleKind, active_expire_cycle};
    use crate::keyspace::DbIndex;
    use crate::replication::{MasterLink, Role};

    fn bench() -> Bench {
        let mut b = Bench::new();
        b.say("hset h a 1 b 2 c 3");
        b.stream();
        b
    }

    #[test]
    fn conditions_look_at_the_old_moment() {
        let mut b = bench();
        for (line, reply) in [
            ("hexpire h 100 XX FIELDS 1 a", "*1 :0"),
            ("hexpire h 100 GT FIELDS 1 a", "*1 :0"),
            ("hexpire h 100 LT FIELDS 2 a nope", "*2 :1 :-2"),
            ("hexpire h 100 NX fields 2 a b", "*2 :0 :1"),
            ("hexpire h 200 gt FIELDS 1 a", "*1 :1"),
            ("hexpire h 200 lt FIELDS 1 b", "*1 :0"),
            ("httl h FIELDS 4 a b c nope", "*4 :200 :100 :-1 :-2"),
            ("hpersist h FIELDS 4 a b c nope", "*4 :1 :1 :-1 :-2"),
            ("hpexpire h 0 FIELDS 2 a nope", "*2 :2 :-2"),
            ("hexpire nope 10 FIELDS 2 a b", "*2 :-2 :-2"),
            ("httl nope FIELDS 2 a b", "*2 :-2 :-2"),
        ] {
            assert_eq!(b.say(line), reply, "{line}");
        }
        assert_eq!(b.say("object encoding h"), "$10 listpackex");
    }

    #[test]
    fn what_is_wrong_with_a_request_is_told_as_redis_does() {
        let mut b = bench();
        b.say("set s 1");
        for (line, error) in [
            ("hexpire s x FIELDS 2 a", "WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("hexpire h x FIELDS 2 a", "ERR value is not an integer or out of range"),
            ("hexpire h -1 ZZ 0 a", "ERR invalid expire time, must be >= 0"),
            ("hexpire h 99999999999999 ZZ 0 a", "ERR invalid expire time in 'hexpire' command"),
            ("hpexpireat h 70368744177664 FIELDS 1 a", "ERR invalid expire time in 'hpexpireat' command"),
            ("hexpire h 10 NX XX FIELDS 1 a", "ERR Mandatory argument FIELDS is missing or not at the right position"),
            ("hexpire h 10 FIELDS 0 a", "ERR Parameter `numFields` should be greater than 0"),
            ("hpersist h FIELDS 0 a", "ERR Number of fields must be a positive integer"),
            ("hexpire h 10 FIELDS 2 a", "ERR The `numfields` parameter must match the number of arguments"),
            ("httl h FIELDS 1 a b", "ERR The `numfields` parameter must match the number of arguments"),
        ] {
            assert_eq!(b.say(line), format!("-{error}"), "{line}");
        }
    }

    #[test]
    fn the_stream_has_moments_and_deletions() {
        let mut b = bench();
        let at = b.node.now_ms + 10_000;
        assert_eq!(b.streamed("hexpire h 10 NX FIELDS 3 a nope b"), [format!("HPEXPIREAT h {at} FIELDS 2 a b")]);
        assert_eq!(b.streamed("hexpire h 20 NX FIELDS 1 a"), [""; 0]);
        assert_eq!(b.streamed("hincrby h a 1"), ["hincrby h a 1"]);
        // In no transaction: who does not know the second shall have the first.
        assert_eq!(b.streamed("hincrbyfloat h a 1"), ["HSET h a 3".to_owned(), format!("HPEXPIREAT h {at} FIELDS 1 a")]);
        assert_eq!(b.streamed("hpersist h FIELDS 1 b"), ["hpersist h FIELDS 1 b"]);
        assert_eq!(b.streamed("hset h a 1"), ["hset h a 1"]);
        assert_eq!(b.say("httl h FIELDS 1 a"), "*1 :-1");
        assert_eq!(b.streamed("hpexpireat h 1 FIELDS 3 a nope b"), ["HDEL h a b"]);
        b.say("multi");
        b.say("hincrbyfloat h c 1");
        b.say("hexpire h 10 FIELDS 1 c");
        b.say("hincrbyfloat h c 1");
        let moved = format!("HPEXPIREAT h {at} FIELDS 1 c");
        assert_eq!(b.streamed("exec"), ["MULTI", "HSET h c 4", &moved, "HSET h c 5", &moved, "EXEC"]);
    }

    #[test]
    fn a_field_past_its_time_is_missing_and_deleted_by_who_comes_across_it() {
        for (line, reply, effects) in [
            ("hget h a", "$-1", vec!["HDEL h a"]),
            ("hmget h a c b", "*3 $-1 $1 3 $-1", vec!["HDEL h a b"]),
            ("hexists h a", ":0", vec!["HDEL h a"]),
            ("hstrlen h a", ":0", vec!["HDEL h a"]),
            ("hgetall h", "*2 $1 c $1 3", vec![]),
            ("hkeys h", "*1 $1 c", vec![]),
            ("hscan h 0", "*2 $1 0 *2 $1 c $1 3", vec![]),
            ("hlen h", ":3", vec![]),
            ("hrandfield h 5", "*1 $1 c", vec!["HDEL h b a"]),
            ("httl h FIELDS 1 a", "*1 :-2", vec![]),
            ("hpersist h FIELDS 1 a", "*1 :-2", vec![]),
            ("hdel h a", ":1", vec!["hdel h a"]),
            ("hset h a 5", ":0", vec!["hset h a 5"]),
            ("hsetnx h a 5", ":1", vec!["MULTI", "HDEL h a", "hsetnx h a 5", "EXEC"]),
            ("hincrby h a 5", ":5", vec!["MULTI", "HDEL h a", "hincrby h a 5", "EXEC"]),
            ("hgetdel h FIELDS 2 a c", "*2 $-1 $1 3", vec!["MULTI", "HDEL h a", "HDEL h c", "EXEC"]),
            ("hgetex h FIELDS 2 a c", "*2 $-1 $1 3", vec!["HDEL h a"]),
            ("hsetex h FNX FIELDS 1 a 7", ":1", vec!["MULTI", "HDEL h a", "HSET h a 7", "EXEC"]),
        ] {
            let mut b = bench();
            b.say("hpexpire h 10 FIELDS 2 a b");
            b.pass_ms(10);
            assert_eq!(b.say("hget h a"), "$1 1");
            b.pass_ms(1);
            b.stream();
            assert_eq!(b.say(line), reply, "{line}");
            assert_eq!(b.stream(), effects, "{line}");
        }
    }

    #[test]
    fn the_last_field_takes_the_hash_along() {
        for form in ["", "config set hash-max-listpack-entries 1"] {
            let mut b = bench();
            if !form.is_empty() {
                b.say(form);
                b.say("hset h a 1");
            }
            b.say("hpexpire h 10 FIELDS 3 a b c");
            b.pass_ms(11);
            b.say("hmget h a b");
            assert_eq!(b.say("exists h"), ":1");
            assert_eq!(b.streamed("hget h c"), ["HDEL h c"]);
            assert_eq!(b.say("exists h"), ":0");
            assert_eq!(b.node.stats.expired_subkeys, 3);
            assert_eq!(b.node.keyspace.db(DbIndex(0)).expiring_hashes(), 0);
        }
    }

    #[test]
    fn the_cycle_deletes_what_is_due_and_no_more() {
        let mut b = Bench::new();
        for hash in 0..4 {
            for field in 0..700 {
                let ms = if field == 0 { 100_000 } else { 10 + field };
                b.say(&format!("hset h{hash} f{field} x"));
                b.say(&format!("hpexpire h{hash} {ms} FIELDS 1 f{field}"));
            }
        }
        b.pass_ms(411);
        b.stream();
        assert!(active_expire_cycle(&mut b.node, CycleKind::Slow, 0), "without time it makes a step, and says that there is more");
        let deleted: usize = b.stream().iter().map(|command| command.split(' ').count() - 2).sum();
        assert_eq!((deleted as u64, deleted), (b.node.stats.expired_subkeys, 64));
        while active_expire_cycle(&mut b.node, CycleKind::Slow, 1_000_000_000) {}
        assert!(b.stream().iter().all(|command| command.starts_with("HDEL h")));
        assert_eq!(b.node.stats.expired_subkeys, 4 * 400);
        assert_eq!(b.say("hlen h3"), ":300");
        b.pass_ms(1000);
        while active_expire_cycle(&mut b.node, CycleKind::Slow, 1_000_000_000) {}
        assert_eq!(b.say("hkeys h3"), "*1 $2 f0");
        assert!(b.say("info keyspace").contains("db0:keys=4,expires=0,avg_ttl=0,subexpiry=4"));
        b.pass_ms(100_000);
        while active_expire_cycle(&mut b.node, CycleKind::Slow, 1_000_000_000) {}
        assert_eq!(b.say("dbsize"), ":0");
    }

    #[test]
    fn a_slave_hides_what_is_over_and_leaves_it_to_its_master() {
        let mut b = bench();
        b.say("hpexpire h 10 FIELDS 2 a b");
        b.pass_ms(11);
        b.stream();
        b.node.role = Role::Replica(Box::new(MasterLink::new("master".to_owned(), 6379, b.node.now_ms)));
        for (line, reply) in [("hget h a", "$-1"), ("hlen h", ":3"), ("hgetall h", "*2 $1 c $1 3"), ("hrandfield h 5", "*1 $1 c")] {
            assert_eq!(b.say(line), reply, "{line}");
        }
        assert!(!active_expire_cycle(&mut b.node, CycleKind::Slow, 1_000_000_000));
        assert_eq!(b.say("hlen h"), ":3");
        (b.node.applying_stream, b.node.config.replica_read_only) = (true, false);
        for (line, reply) in [
            ("hget h a", "$1 1"),
            ("hincrby h a 1", ":2"),
            ("hpexpireat h 1 FIELDS 1 c", "*1 :1"),
            ("hsetex h PXAT 1 FIELDS 1 d 4", ":1"),
            ("hlen h", ":4"),
            ("hdel h a b c d", ":4"),
        ] {
            assert_eq!(b.say(line), reply, "{line}");
        }
        assert_eq!(b.stream(), [""; 0]);
    }
}
