//! When keys expire: EXPIRE and its kin, TTL and its kin, PERSIST. What deletes keys in the background is in `expire_cycle`.

use super::key_range::key_range;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Propagate, Spec};
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
                return Err(CommandError(format!("ERR Unsupported option {}", String::from_utf8_lossy(arg)).into()));
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
        let verb: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
        ctx.propagate(&[verb, key.bytes]);
    } else {
        ctx.node.keyspace.db_mut(ctx.db).set_expire(key, Some(at));
        ctx.changed(key.bytes);
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
