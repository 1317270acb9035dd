//! SET, its older kin, and GETEX, which shares its options.

use smallvec::SmallVec;

use super::key_range::key_range;
use super::strings::reply_value;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Propagate, Spec};
use crate::config::Events;
use crate::keyspace::{Entry, Kind, SetExpire, UnixMs};
use crate::types::number::parse_i64;

/// What an expiry argument counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    seconds: bool,
    /// From now, not from 1970.
    relative: bool,
}

impl Unit {
    /// The unit that an option names.
    pub fn named(option: &[u8]) -> Option<Self> {
        let units = [("EX", EX), ("PX", PX), ("EXAT", EXAT), ("PXAT", PXAT)];
        units.into_iter().find(|(name, _)| option.eq_ignore_ascii_case(name.as_bytes())).map(|(_, unit)| unit)
    }
    /// The moment that so many mean; `None` if there is none.
    pub fn moment(self, given: i64, now: UnixMs) -> Option<UnixMs> {
        let ms = if self.seconds { given.checked_mul(1000)? } else { given };
        if self.relative { ms.checked_add(now.0) } else { Some(ms) }.map(UnixMs)
    }
}

pub(super) const EX: Unit = Unit { seconds: true, relative: true };
pub(super) const PX: Unit = Unit { seconds: false, relative: true };
pub(super) const EXAT: Unit = Unit { seconds: true, relative: false };
pub(super) const PXAT: Unit = Unit { seconds: false, relative: false };

/// The options of SET or GETEX.
#[derive(Clone, Copy, Debug, Default)]
struct Options<'a> {
    nx: bool,
    xx: bool,
    get: bool,
    keepttl: bool,
    persist: bool,
    expire: Option<(Unit, &'a [u8])>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Set,
    GetEx,
}

impl<'a> Options<'a> {
    /// Reads the arguments from `first` on. An option may be repeated, but contradicts what excludes it, as in Redis.
    fn parse(ctx: &Ctx<'a>, first: usize, of: For) -> Result<Self, CommandError> {
        let mut options = Options::default();
        let mut args = ctx.args.tail(first).iter();
        let set = of == For::Set;
        while let Some(arg) = args.next() {
            let is = |name: &str| arg.eq_ignore_ascii_case(name.as_bytes());
            let expires = options.expire.is_some();
            if set && is("NX") && !options.xx {
                options.nx = true;
            } else if set && is("XX") && !options.nx {
                options.xx = true;
            } else if set && is("GET") {
                options.get = true;
            } else if set && is("KEEPTTL") && !expires {
                options.keepttl = true;
            } else if !set && is("PERSIST") && !expires {
                options.persist = true;
            } else {
                let unit = Unit::named(arg).ok_or(CommandError::SYNTAX)?;
                let other_unit = options.expire.is_some_and(|(before, _)| before != unit);
                if other_unit || options.keepttl || options.persist {
                    return Err(CommandError::SYNTAX);
                }
                options.expire = Some((unit, args.next().ok_or(CommandError::SYNTAX)?));
            }
        }
        Ok(options)
    }

    fn expire_at(&self, ctx: &Ctx<'_>) -> Result<Option<UnixMs>, CommandError> {
        self.expire.map(|(unit, arg)| expire_at(ctx, unit, arg)).transpose()
    }
}

/// The moment that an expiry argument means; it must be above zero.
fn expire_at(ctx: &Ctx<'_>, unit: Unit, arg: &[u8]) -> Result<UnixMs, CommandError> {
    let given = parse_i64(arg).ok_or(CommandError::NOT_INTEGER)?;
    match unit.moment(given, ctx.now()) {
        Some(at) if given > 0 => Ok(at),
        _ => Err(super::expire::invalid_expire(ctx.spec.name)),
    }
}

fn set(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.args.len() > 3 {
        return set_with_options(ctx);
    }
    // An expired value is not looked for: overwriting it is deletion enough.
    let key = ctx.key(1);
    ctx.replace(key, ctx.args.at(2));
    ctx.out.ok();
    Ok(())
}

fn set_with_options(ctx: &mut Ctx<'_>) -> CmdResult {
    let options = Options::parse(ctx, 3, For::Set)?;
    let at = options.expire_at(ctx)?;
    let (key, value) = (ctx.key(1), ctx.args.at(2));
    if options.get {
        reply_value(ctx, key)?;
    }
    let exists = ctx.write(key).is_some();
    if options.nx && exists || options.xx && !exists {
        if !options.get {
            ctx.out.null();
        }
        return Ok(());
    }
    let expire = match at {
        Some(at) => SetExpire::At(at),
        None if options.keepttl => SetExpire::Keep,
        None => SetExpire::Clear,
    };
    ctx.store(key, value, expire);
    if !options.get {
        ctx.out.ok();
    }
    match at {
        Some(at) => propagate_set_at(ctx, key.bytes, value, at),
        // 6.2 refuses NX together with GET, and the old value is of no use to a slave.
        None if options.get => {
            let args = ctx.args;
            let kept: SmallVec<[&[u8]; 8]> =
                (0..args.len()).filter(|i| *i < 3 || !args.at(*i).eq_ignore_ascii_case(b"GET")).map(|i| args.at(i)).collect();
            ctx.propagate(&kept);
        }
        None => {}
    }
    Ok(())
}

/// Slaves are told moments, not spans, so that a late one counts no second twice. The conditions have been met and are left out.
fn propagate_set_at(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], at: UnixMs) {
    ctx.propagate(&[b"SET", key, value, b"PXAT", itoa::Buffer::new().format(at.0).as_bytes()]);
}

fn set_expiring(ctx: &mut Ctx<'_>, unit: Unit) -> CmdResult {
    let at = expire_at(ctx, unit, ctx.args.at(2))?;
    let (key, value) = (ctx.key(1), ctx.args.at(3));
    // Only so that an expired key is counted as such, and deleted in the stream, as Redis does.
    ctx.write(key);
    ctx.store(key, value, SetExpire::At(at));
    ctx.out.ok();
    propagate_set_at(ctx, key.bytes, value, at);
    Ok(())
}

fn setex(ctx: &mut Ctx<'_>) -> CmdResult {
    set_expiring(ctx, EX)
}

fn psetex(ctx: &mut Ctx<'_>) -> CmdResult {
    set_expiring(ctx, PX)
}

fn setnx(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    let exists = ctx.write(key).is_some();
    if !exists {
        ctx.store(key, ctx.args.at(2), SetExpire::Clear);
    }
    ctx.out.int(i64::from(!exists));
    Ok(())
}

fn getset(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, value) = (ctx.key(1), ctx.args.at(2));
    reply_value(ctx, key)?;
    ctx.store(key, value, SetExpire::Clear);
    ctx.propagate(&[b"SET", key.bytes, value]);
    Ok(())
}

/// MSET takes pairs, which the row's arity cannot say.
fn check_pairs(ctx: &Ctx<'_>) -> CmdResult {
    if ctx.args.len().is_multiple_of(2) { Err(CommandError::arity(ctx.spec.name)) } else { Ok(()) }
}

fn set_pairs(ctx: &mut Ctx<'_>) {
    for index in (1..ctx.args.len()).step_by(2) {
        let key = ctx.key(index);
        ctx.replace(key, ctx.args.at(index + 1));
    }
}

fn mset(ctx: &mut Ctx<'_>) -> CmdResult {
    check_pairs(ctx)?;
    set_pairs(ctx);
    ctx.out.ok();
    Ok(())
}

fn msetnx(ctx: &mut Ctx<'_>) -> CmdResult {
    check_pairs(ctx)?;
    for index in (1..ctx.args.len()).step_by(2) {
        let key = ctx.key(index);
        if ctx.write(key).is_some() {
            ctx.out.int(0);
            return Ok(());
        }
    }
    set_pairs(ctx);
    ctx.out.int(1);
    Ok(())
}

fn getex(ctx: &mut Ctx<'_>) -> CmdResult {
    let options = Options::parse(ctx, 2, For::GetEx)?;
    let key = ctx.key(1);
    // Redis looks at the value of an expiry only once it has found a string.
    let kind = ctx.write(key).map(Entry::kind);
    let at = match kind {
        Some(Kind::String) => options.expire_at(ctx)?,
        _ => None,
    };
    if !reply_value(ctx, key)? {
        return Ok(());
    }
    if let Some(at) = at {
        super::expire::apply(ctx, key, at);
    } else if options.persist {
        let expires = ctx.write(key).and_then(Entry::expire_at).is_some();
        if expires {
            ctx.node.keyspace.db_mut(ctx.db).set_expire(key, None);
            ctx.changed(key.bytes);
            ctx.notify(Events::GENERIC, "persist", key.bytes);
            ctx.propagate(&[b"PERSIST", key.bytes]);
        }
    }
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("getex", -2, Flags::WRITE.union(Flags::FAST), getex)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1).notes("RW and UPDATE because it changes the TTL")])
        .acl(Acl::STRING)
        .propagate(Propagate::Effects)
        .docs("string", "6.2.0", "O(1)", "Returns the string value of a key after setting its expiration time."),
    Spec::new("getset", 3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), getset)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1)])
        .acl(Acl::STRING)
        .propagate(Propagate::Effects)
        .docs("string", "1.0.0", "O(1)", "Returns the previous string value of a key after setting it to a new value."),
    Spec::new("mset", -3, Flags::WRITE.union(Flags::DENYOOM), mset)
        .keys(1, -1, 2)
        .key_specs(&[key_range(&["OW", "update"], 1, -1, 2)])
        .acl(Acl::STRING)
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .docs(
            "string",
            "1.0.1",
            "O(N) where N is the number of keys to set.",
            "Atomically creates or modifies the string values of one or more keys.",
        ),
    Spec::new("msetnx", -3, Flags::WRITE.union(Flags::DENYOOM), msetnx)
        .keys(1, -1, 2)
        .key_specs(&[key_range(&["OW", "insert"], 1, -1, 2)])
        .acl(Acl::STRING)
        .docs(
            "string",
            "1.0.1",
            "O(N) where N is the number of keys to set.",
            "Atomically modifies the string values of one or more keys only when all keys don't exist.",
        ),
    Spec::new("psetex", 4, Flags::WRITE.union(Flags::DENYOOM), psetex)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["OW", "update"], 1, 0, 1)])
        .acl(Acl::STRING)
        .docs(
            "string",
            "2.6.0",
            "O(1)",
            "Sets both string value and expiration time in milliseconds of a key. The key is created if it doesn't exist.",
        ),
    Spec::new("set", -3, Flags::WRITE.union(Flags::DENYOOM), set)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update", "variable_flags"], 1, 0, 1).notes("RW and ACCESS due to the optional `GET` argument")])
        .acl(Acl::STRING)
        .docs("string", "1.0.0", "O(1)", "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist."),
    Spec::new("setex", 4, Flags::WRITE.union(Flags::DENYOOM), setex)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["OW", "update"], 1, 0, 1)])
        .acl(Acl::STRING)
        .docs("string", "2.0.0", "O(1)", "Sets the string value and expiration time of a key. Creates the key if it doesn't exist."),
    Spec::new("setnx", 3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), setnx)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["OW", "insert"], 1, 0, 1)])
        .acl(Acl::STRING)
        .docs("string", "1.0.0", "O(1)", "Set the string value of a key only when the key doesn't exist."),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn spans_become_moments_in_the_stream() {
        let mut b = Bench::new();
        let at = b.node.now_ms + 10_000;
        let set = [format!("SET a 1 PXAT {at}")];
        for line in ["set a 1 ex 10", "set a 1 GET PX 10000", "setex a 10 1", "psetex a 10000 1"] {
            assert_eq!(b.streamed(line), set, "{line}");
        }
        assert_eq!(b.streamed("getex a px 20000"), [format!("PEXPIREAT a {}", at + 10_000)]);
        assert_eq!(b.streamed("getex a persist"), ["PERSIST a"]);
        assert_eq!(b.streamed("getex a persist"), [""; 0]);
        assert_eq!(b.streamed("getex a exat 1"), ["DEL a"]);
    }

    #[test]
    fn the_stream_needs_no_old_values() {
        let mut b = Bench::new();
        assert_eq!(b.streamed("set a 1 nx get"), ["set a 1 nx"]);
        assert_eq!(b.streamed("set a 1 nx get"), [""; 0]);
        assert_eq!(b.streamed("getset a 2"), ["SET a 2"]);
        assert_eq!(b.streamed("set a 3 keepttl xx"), ["set a 3 keepttl xx"]);
        assert_eq!(b.streamed("mset a 1 b 2"), ["mset a 1 b 2"]);
        assert_eq!(b.streamed("msetnx c 1 b 2"), [""; 0]);
        assert_eq!(b.say("exists c"), ":0");
    }

    #[test]
    fn options_exclude_each_other() {
        let mut b = Bench::new();
        for line in
            ["set a 1 nx xx", "set a 1 ex 1 px 1", "set a 1 keepttl ex 1", "set a 1 ex", "set a 1 persist", "getex a get", "getex a ex 1 persist"]
        {
            assert_eq!(b.say(line), "-ERR syntax error", "{line}");
        }
        for line in ["set a 1 ex 0", "set a 1 pxat -1", "set a 1 ex 9223372036854775", "set a 1 px 9223372036854775807"] {
            assert_eq!(b.say(line), "-ERR invalid expire time in 'set' command", "{line}");
        }
        assert_eq!(b.say("set a 1 ex x"), "-ERR value is not an integer or out of range");
        assert_eq!(b.say("mset a"), "-ERR wrong number of arguments for 'mset' command");
        assert_eq!(b.say("mset a 1 b"), "-ERR wrong number of arguments for 'mset' command");
        assert_eq!(b.say("getex nokey ex x"), "$-1");
    }

    #[test]
    fn keepttl_does_not_keep_what_is_over() {
        let mut b = Bench::new();
        b.say("set a 1 px 10");
        b.pass_ms(11);
        assert_eq!(b.streamed("set a 2 keepttl"), ["MULTI", "DEL a", "set a 2 keepttl", "EXEC"]);
        assert_eq!(b.say("pttl a"), ":-1");
    }
}
