//! When keys expire: EXPIRE and its kin, TTL and its kin, PERSIST. What deletes keys in the background is in `expire_cycle`.

use super::key_range::key_range;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Propagate, Spec};
use crate::config::Events;
use crate::keyspace::{Entry, Key, UnixMs};
use crate::replication::Role;

pub(super) fn invalid_expire(command: &str) -> CommandError {
    CommandError(format!("ERR invalid expire time in '{command}' command").into())
}

/// NX, XX, GT and LT of the EXPIRE family.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(ctx: &Ctx<'_>, first: usize) -> Result<Self, CommandError> {
        let mut conditions = Conditions::default();
        for arg in ctx.args.tail(first).iter() {
            let is = |name: &str| arg.eq_ignore_ascii_case(name.as_bytes());
            if is("NX") {
                conditions.nx = true;
            } else if is("XX") {
                conditions.xx = true;
            } else if is("GT") {
                conditions.gt = true;
            } else if is("LT") {
                conditions.lt = true;
            } else {
                // Redis prints it as a C string and trims line ends.
                let shown = arg.split(|byte| *byte == 0).next().unwrap_or_default();
                return Err(CommandError(format!("ERR Unsupported option {}", String::from_utf8_lossy(shown).trim_end_matches(['\r', '\n'])).into()));
            }
        }
        if conditions.nx && (conditions.xx || conditions.gt || conditions.lt) {
            return Err("ERR NX and XX, GT or LT options at the same time are not compatible".into());
        }
        if conditions.gt && conditions.lt {
            return Err("ERR GT and LT options at the same time are not compatible".into());
        }
        Ok(conditions)
    }

    /// Whether a key that expires at `old` (never, if `None`) may be given `new`.
    fn allow(self, old: Option<UnixMs>, new: UnixMs) -> bool {
        let never_or = |test: fn(UnixMs, UnixMs) -> bool| old.is_none_or(|old| test(new, old));
        (!self.nx || old.is_none())
            && (!self.xx || old.is_some())
            && (!self.gt || old.is_some_and(|old| new > old))
            && (!self.lt || never_or(|new, old| new < old))
    }
}

/// Sets the expiry of a key that is there, or deletes it if that moment has passed; the stream is told which. A slave leaves all deletion
/// to its master and sets the past moment as it is.
pub(super) fn apply(ctx: &mut Ctx<'_>, key: Key<'_>, at: UnixMs) {
    let deletes = at <= ctx.now() && ctx.node.loading.is_none() && !ctx.node.applying_stream && matches!(ctx.node.role, Role::Master);
    if deletes {
        let lazy = ctx.node.config.lazyfree_lazy_expire;
        ctx.node.keyspace.db_mut(ctx.db).remove(key, lazy);
        ctx.changed(key.bytes);
        ctx.notify(Events::GENERIC, "del", key.bytes);
        let verb: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
        ctx.propagate(&[verb, key.bytes]);
    } else {
        ctx.node.keyspace.db_mut(ctx.db).set_expire(key, Some(at));
        ctx.changed(key.bytes);
        ctx.notify(Events::GENERIC, "expire", key.bytes);
        // Without the conditions, which have been met and which 6.2 does not know.
        ctx.propagate(&[b"PEXPIREAT", key.bytes, itoa::Buffer::new().format(at.0).as_bytes()]);
    }
}

fn expire_generic(ctx: &mut Ctx<'_>, seconds: bool, base_ms: i64) -> CmdResult {
    let conditions = Conditions::parse(ctx, 3)?;
    let given = ctx.int(2)?;
    let ms = if seconds { given.checked_mul(1000) } else { Some(given) };
    let at = ms.and_then(|ms| ms.checked_add(base_ms)).map(UnixMs).ok_or_else(|| invalid_expire(ctx.spec.name))?;
    let key = ctx.key(1);
    let old = ctx.write(key).map(Entry::expire_at);
    let applies = old.is_some_and(|old| conditions.allow(old, at));
    if applies {
        apply(ctx, key, at);
    }
    ctx.out.int(i64::from(applies));
    Ok(())
}

fn expire(ctx: &mut Ctx<'_>) -> CmdResult {
    expire_generic(ctx, true, ctx.now().0)
}

fn pexpire(ctx: &mut Ctx<'_>) -> CmdResult {
    expire_generic(ctx, false, ctx.now().0)
}

fn expireat(ctx: &mut Ctx<'_>) -> CmdResult {
    expire_generic(ctx, true, 0)
}

fn pexpireat(ctx: &mut Ctx<'_>) -> CmdResult {
    expire_generic(ctx, false, 0)
}

fn persist(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    let expires = ctx.write(key).and_then(Entry::expire_at).is_some();
    if expires {
        ctx.node.keyspace.db_mut(ctx.db).set_expire(key, None);
        ctx.changed(key.bytes);
        ctx.notify(Events::GENERIC, "persist", key.bytes);
    }
    ctx.out.int(i64::from(expires));
    Ok(())
}

/// Replies what `show` makes of the expiry; -2 if there is no key, -1 if it does not expire.
fn reply_expiry(ctx: &mut Ctx<'_>, show: impl FnOnce(i64) -> i64) -> CmdResult {
    let key = ctx.key(1);
    ctx.peek_with(key, |entry, out| {
        out.int(match entry.map(Entry::expire_at) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => show(at.0),
        });
    });
    Ok(())
}

fn rounded_seconds(ms: i64) -> i64 {
    ((i128::from(ms) + 500) / 1000) as i64
}

fn ttl(ctx: &mut Ctx<'_>) -> CmdResult {
    let now = ctx.now().0;
    reply_expiry(ctx, |at| rounded_seconds(at.saturating_sub(now).max(0)))
}

fn pttl(ctx: &mut Ctx<'_>) -> CmdResult {
    let now = ctx.now().0;
    reply_expiry(ctx, |at| at.saturating_sub(now).max(0))
}

fn expiretime(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_expiry(ctx, rounded_seconds)
}

fn pexpiretime(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_expiry(ctx, |at| at)
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("expire", -3, Flags::WRITE.union(Flags::FAST), expire)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .propagate(Propagate::Effects)
        .docs("generic", "1.0.0", "O(1)", "Sets the expiration time of a key in seconds."),
    Spec::new("expireat", -3, Flags::WRITE.union(Flags::FAST), expireat)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .propagate(Propagate::Effects)
        .docs("generic", "1.2.0", "O(1)", "Sets the expiration time of a key to a Unix timestamp."),
    Spec::new("expiretime", 2, Flags::READONLY.union(Flags::FAST), expiretime)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .docs("generic", "7.0.0", "O(1)", "Returns the expiration time of a key as a Unix timestamp."),
    Spec::new("persist", 2, Flags::WRITE.union(Flags::FAST), persist)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .docs("generic", "2.2.0", "O(1)", "Removes the expiration time of a key."),
    Spec::new("pexpire", -3, Flags::WRITE.union(Flags::FAST), pexpire)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .propagate(Propagate::Effects)
        .docs("generic", "2.6.0", "O(1)", "Sets the expiration time of a key in milliseconds."),
    Spec::new("pexpireat", -3, Flags::WRITE.union(Flags::FAST), pexpireat)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .propagate(Propagate::Effects)
        .docs("generic", "2.6.0", "O(1)", "Sets the expiration time of a key to a Unix milliseconds timestamp."),
    Spec::new("pexpiretime", 2, Flags::READONLY.union(Flags::FAST), pexpiretime)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .docs("generic", "7.0.0", "O(1)", "Returns the expiration time of a key as a Unix milliseconds timestamp."),
    Spec::new("pttl", 2, Flags::READONLY.union(Flags::FAST), pttl)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .docs("generic", "2.6.0", "O(1)", "Returns the expiration time in milliseconds of a key."),
    Spec::new("ttl", 2, Flags::READONLY.union(Flags::FAST), ttl)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .docs("generic", "1.0.0", "O(1)", "Returns the expiration time in seconds of a key."),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{CycleKind, active_expire_cycle};
    use crate::keyspace::{DbIndex, Key};
    use crate::replication::{MasterLink, Role};

    #[test]
    fn conditions_look_at_the_old_moment() {
        let mut b = Bench::new();
        b.say("set a 1");
        for (line, reply) in [
            ("expire a 10 xx", ":0"),
            ("expire a 10 gt", ":0"),
            ("expire a 10 lt", ":1"),
            ("expire a 10 nx", ":0"),
            ("expire a 10 gt", ":0"),
            ("expire a 20 gt", ":1"),
            ("expire a 15 lt xx", ":1"),
            ("expire a 10 nx lt", "-ERR NX and XX, GT or LT options at the same time are not compatible"),
            ("expire a 10 gt lt", "-ERR GT and LT options at the same time are not compatible"),
            ("expire a 10 foo", "-ERR Unsupported option foo"),
            ("expire a 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
            ("pexpire nokey 9223372036854775807", "-ERR invalid expire time in 'pexpire' command"),
        ] {
            assert_eq!(b.say(line), reply, "{line}");
        }
        assert_eq!(b.say("ttl a"), ":15");
    }

    #[test]
    fn the_stream_has_moments_and_deletions() {
        let mut b = Bench::new();
        b.say("set a 1");
        let at = b.node.now_ms + 10_000;
        assert_eq!(b.streamed("expire a 10 lt"), [format!("PEXPIREAT a {at}")]);
        assert_eq!(b.streamed("persist a"), ["persist a"]);
        assert_eq!(b.streamed("expire a -1"), ["DEL a"]);
        b.say("set a 1");
        b.node.config.lazyfree_lazy_expire = true;
        assert_eq!(b.streamed("pexpireat a 1"), ["UNLINK a"]);
        assert_eq!(b.streamed("pexpireat a 1"), [""; 0]);
    }

    #[test]
    fn a_key_past_its_time_is_missing_and_deleted() {
        let mut b = Bench::new();
        b.say("set a 1 px 10");
        b.pass_ms(10);
        assert_eq!(b.say("get a"), "$1 1");
        b.pass_ms(1);
        assert_eq!(b.streamed("get a"), ["DEL a"]);
        assert_eq!(b.node.stats.expired_keys, 1);
        assert_eq!((b.node.stats.keyspace_hits, b.node.stats.keyspace_misses), (1, 1));
        assert_eq!(b.say("pttl a"), ":-2");
    }

    #[test]
    fn deleting_an_expired_key_is_no_change_of_the_command() {
        let mut b = Bench::new();
        for line in ["del a", "expire a 5", "persist a", "getdel a", "setrange a 0 \"\""] {
            b.say("set a 1 px 10");
            b.pass_ms(11);
            assert_eq!(b.streamed(line), ["DEL a"], "{line}");
        }
    }

    #[test]
    fn the_masters_stream_sets_the_past_as_it_is() {
        let mut b = Bench::new();
        b.node.applying_stream = true;
        b.say("set a 1 pxat 5");
        assert_eq!(b.say("pexpireat a 1"), ":1");
        assert_eq!(b.say("get a"), "$1 1");
        assert_eq!(b.say("incr a"), ":2");
        b.node.applying_stream = false;
        assert_eq!(b.say("exists a"), ":0");
    }

    #[test]
    fn a_slave_hides_what_is_over_and_leaves_it_to_its_master() {
        let mut b = Bench::new();
        b.say("set a 1 px 10");
        b.pass_ms(11);
        b.stream();
        b.node.role = Role::Replica(Box::new(MasterLink::new("master".to_owned(), 6379, b.node.now_ms)));
        for (line, reply) in [("get a", "$-1"), ("exists a", ":0"), ("ttl a", ":-2"), ("type a", "+none"), ("scan 0", "*2 $1 0 *0"), ("dbsize", ":1")]
        {
            assert_eq!(b.say(line), reply, "{line}");
        }
        // It can find no other, and says so as Redis does.
        assert_eq!(b.say("randomkey"), "$1 a");
        assert!(!active_expire_cycle(&mut b.node, CycleKind::Slow, 1_000_000_000));
        assert_eq!(b.say("dbsize"), ":1");
        // Who may write to it starts from nothing.
        b.node.config.replica_read_only = false;
        assert_eq!(b.say("incr a"), ":1");
        assert_eq!(b.say("pttl a"), ":-1");
        // The past is set as it is.
        assert_eq!(b.say("expire a -1"), ":1");
        assert_eq!(b.say("dbsize"), ":1");
        assert_eq!(b.stream(), [""; 0]);
    }

    #[test]
    fn far_moments_do_not_overflow() {
        let mut b = Bench::new();
        b.say("set a 1 pxat 9223372036854775807");
        assert_eq!(b.say("expiretime a"), ":9223372036854776");
        assert_eq!(b.say("pexpiretime a"), ":9223372036854775807");
        let key = Key { bytes: b"a", hash: b.node.keyspace.hash(b"a") };
        assert!(b.node.keyspace.db(DbIndex(0)).get(key).is_some());
    }
}
