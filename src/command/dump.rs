//! DUMP and RESTORE: values as payloads, in the format of RDB, to keep or to carry to another server.
//!
//! What DUMP writes every server from 6.2 on restores. What RESTORE takes from newer ones goes into the stream as DUMP would write it, for slaves
//! that are older.

use super::key_range::key_range;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, NodeState, Spec};
use crate::config::Events;
use smallvec::{SmallVec, smallvec};

use crate::keyspace::{Entry, Key, Kind, OwnedEntry, UnixMs};
use crate::rdb::{Dialect, Payload, RestoreError};
use crate::replication::Role;
use crate::types::number::parse_i64;

const BUSY: CommandError = CommandError::text("BUSYKEY Target key name already exists.");
const NEGATIVE_TTL: CommandError = CommandError::text("ERR Invalid TTL value, must be >= 0");
const NEGATIVE_IDLE: CommandError = CommandError::text("ERR Invalid IDLETIME value, must be >= 0");
const FREQ_RANGE: CommandError = CommandError::text("ERR Invalid FREQ value, must be >= 0 and <= 255");
const BAD_FOOTER: CommandError = CommandError::text("ERR DUMP payload version or checksum are wrong");
const BAD_DATA: CommandError = CommandError::text("ERR Bad data format");

fn dump(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    if ctx.read(key).is_none() {
        ctx.out.null();
        return Ok(());
    }
    let NodeState { keyspace, dumper, config, .. } = &mut *ctx.node;
    let entry = keyspace.db(ctx.db).get(key).expect("it has just been read");
    ctx.out.bulk(dumper.dump(entry, Dialect::Full, config.rdbcompression));
    Ok(())
}

/// RESTORE's options.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle: Option<u64>,
    freq: Option<u8>,
}

impl Options {
    fn parse(ctx: &Ctx<'_>) -> Result<Self, CommandError> {
        let mut options = Options::default();
        let mut index = 4;
        while index < ctx.args.len() {
            let word = ctx.args.at(index);
            let has_value = index + 1 < ctx.args.len();
            if word.eq_ignore_ascii_case(b"REPLACE") {
                options.replace = true;
            } else if word.eq_ignore_ascii_case(b"ABSTTL") {
                options.absolute = true;
            } else if word.eq_ignore_ascii_case(b"IDLETIME") && has_value && options.freq.is_none() {
                index += 1;
                options.idle = Some(u64::try_from(ctx.int(index)?).map_err(|_| NEGATIVE_IDLE)?);
            } else if word.eq_ignore_ascii_case(b"FREQ") && has_value && options.idle.is_none() {
                index += 1;
                options.freq = Some(u8::try_from(ctx.int(index)?).map_err(|_| FREQ_RANGE)?);
            } else {
                return Err(CommandError::SYNTAX);
            }
            index += 1;
        }
        Ok(options)
    }
}

fn restore(ctx: &mut Ctx<'_>) -> CmdResult {
    let options = Options::parse(ctx)?;
    let key = ctx.key(1);
    let old = ctx.write(key).map(Entry::kind);
    if old.is_some() && !options.replace {
        return Err(BUSY);
    }
    let ttl = parse_i64(ctx.args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let expire = match (u64::try_from(ttl), options.absolute) {
        (Err(_), _) => return Err(NEGATIVE_TTL),
        (Ok(0), _) => None,
        (Ok(_), true) => Some(UnixMs(ttl)),
        // As in Redis, what overflows has long been over.
        (Ok(_), false) => Some(UnixMs(ttl.wrapping_add(ctx.node.now_ms))),
    };
    let payload = Payload::new(ctx.args.at(3)).map_err(refused)?;
    let entry = payload.restore(key.bytes, expire, &ctx.node.keyspace).map_err(refused)?;
    // A slave leaves all deletion to its master.
    let is_over = expire.is_some_and(|at| at <= ctx.now()) && ctx.node.loading.is_none() && !ctx.node.applying_stream;
    if is_over && matches!(ctx.node.role, Role::Master) {
        delete_instead(ctx, key, old.is_some());
    } else {
        put(ctx, key, old, entry, &options);
        propagate(ctx, key, payload, &options, expire);
    }
    ctx.out.ok();
    Ok(())
}

fn refused(error: RestoreError) -> CommandError {
    match error {
        RestoreError::Footer => BAD_FOOTER,
        RestoreError::Value(_) => BAD_DATA,
    }
}

fn put(ctx: &mut Ctx<'_>, key: Key<'_>, old: Option<Kind>, entry: OwnedEntry, options: &Options) {
    if options.idle.is_some() || options.freq.is_some() {
        let bits = ctx.node.access_when_loading().bits(options.idle, options.freq);
        bits.into_iter().for_each(|bits| entry.entry().set_lru(bits));
    }
    let kind = entry.entry().kind();
    ctx.node.keyspace.db_mut(ctx.db).insert(key.hash, entry);
    ctx.changed(key.bytes);
    ctx.notify(Events::NEW, "new", key.bytes);
    ctx.notify(Events::GENERIC, "restore", key.bytes);
    if let Some(old) = old {
        ctx.notify_overwritten(ctx.db, old, kind, key.bytes);
    }
}

/// The value would have expired already: what it was to replace is gone.
fn delete_instead(ctx: &mut Ctx<'_>, key: Key<'_>, exists: bool) {
    if exists {
        let lazy = ctx.node.config.lazyfree_lazy_server_del;
        ctx.node.keyspace.db_mut(ctx.db).remove(key, lazy);
        ctx.changed(key.bytes);
        ctx.notify(Events::GENERIC, "del", key.bytes);
        ctx.propagate(&[if lazy { b"UNLINK" } else { b"DEL" }, key.bytes]);
    }
}

/// As it was asked for, but for the moment of expiry and a payload of a newer version.
fn propagate(ctx: &mut Ctx<'_>, key: Key<'_>, payload: Payload<'_>, options: &Options, expire: Option<UnixMs>) {
    let own = if payload.is_universal() {
        None
    } else {
        let NodeState { keyspace, dumper, config, .. } = &mut *ctx.node;
        let entry = keyspace.db(ctx.db).get(key).expect("it has just been put");
        Some(dumper.dump(entry, Dialect::Oldest, config.rdbcompression).to_vec())
    };
    let mut number = itoa::Buffer::new();
    let ttl = number.format(expire.map_or(0, |at| at.0)).as_bytes();
    let mut args: SmallVec<[&[u8]; 8]> = smallvec![ctx.args.at(0), key.bytes, ttl, own.as_deref().unwrap_or(ctx.args.at(3))];
    args.extend((4..ctx.args.len()).map(|index| ctx.args.at(index)));
    if expire.is_some() && !options.absolute {
        args.push(b"ABSTTL");
    }
    ctx.propagate(&args);
}

const fn row(name: &'static str, flags: Flags) -> Spec {
    Spec::new(name, -4, Flags::WRITE.union(Flags::DENYOOM).union(flags), restore)
        .keys(1, 1, 1)
        .key_specs(const { &[key_range(&["OW", "update"], 1, 0, 1)] })
        .acl(Acl::KEYSPACE.union(Acl::DANGEROUS))
}

const RESTORE_COMPLEXITY: &str = "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of Redis \
     objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so \
     simply O(1). However for sorted set values the complexity is O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).";

pub const ROWS: &[Spec] = &[
    Spec::new("dump", 2, Flags::READONLY, dump)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .docs(
            "generic",
            "2.6.0",
            "O(1) to access the key and additional O(N*M) to serialize it, where N is the number of Redis objects composing the value and M their \
             average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1).",
            "Returns a serialized representation of the value stored at a key.",
        ),
    row("restore", Flags::empty()).docs("generic", "2.6.0", RESTORE_COMPLEXITY, "Creates a key from the serialized representation of a value."),
    row("restore-asking", Flags::ASKING).docs("server", "3.0.0", RESTORE_COMPLEXITY, "An internal command for migrating keys in a cluster."),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use crate::replication::MasterLink;

    /// What 8.2.3 dumps of `a`: a payload of version 12, and of version 9 what 6.2.14 does.
    const A_12: &[u8] = b"\x00\x01a\x0c\x00t\x88\xdb[u\x1c\xe3\xfd";
    const A_9: &[u8] = b"\x00\x01a\t\x00o\x0c\xbeW\xdb\xb0\x1e\x05";

    /// A request with `{9}` or `{12}` in the place of a payload, and its reply.
    fn ask(b: &mut Bench, line: &str) -> String {
        let words: Vec<&[u8]> = line
            .split(' ')
            .map(|word| match word {
                "{9}" => A_9,
                "{12}" => A_12,
                word => word.as_bytes(),
            })
            .collect();
        String::from_utf8_lossy(&b.node.run(b.slot, &words)).trim_end().to_owned()
    }

    #[test]
    fn errors_come_in_the_order_of_redis() {
        let mut b = Bench::new();
        b.say("set old 1");
        let syntax = "-ERR syntax error";
        let busy = "-BUSYKEY Target key name already exists.";
        for (line, reply) in [
            ("restore k -1 {9}", "-ERR Invalid TTL value, must be >= 0"),
            ("restore k x {9}", "-ERR value is not an integer or out of range"),
            ("restore k x bad foo", syntax),
            ("restore k 0 {9} idletime", syntax),
            ("restore k 0 {9} idletime -1", "-ERR Invalid IDLETIME value, must be >= 0"),
            ("restore k 0 {9} idletime x", "-ERR value is not an integer or out of range"),
            ("restore k 0 {9} freq 256", "-ERR Invalid FREQ value, must be >= 0 and <= 255"),
            ("restore k 0 {9} freq 5 idletime 3", syntax),
            ("restore k 0 {9} idletime 5 freq 3", syntax),
            ("restore old -5 bad", busy),
            ("restore old 0 {9}", busy),
            ("restore old 0 bad replace", "-ERR DUMP payload version or checksum are wrong"),
            ("restore old 0 123456789 replace", "-ERR DUMP payload version or checksum are wrong"),
            ("get old", "$1\r\n1"),
            ("restore k 0", "-ERR wrong number of arguments for 'restore' command"),
            ("dump nokey", "$-1"),
            ("restore k 0 {9} replace REPLACE absttl", "+OK"),
            ("restore old 0 {12} replace", "+OK"),
            ("restore-asking k 0 {12} replace", "+OK"),
            ("mget k old", "*2\r\n$1\r\na\r\n$1\r\na"),
        ] {
            assert_eq!(ask(&mut b, line), reply, "{line}");
        }
    }

    #[test]
    fn payloads_that_hold_no_value_are_bad_data() {
        let mut b = Bench::new();
        for body in [&b"\x02\x00"[..], b"\x02\x02\x01a\x01a", b"\x07\x81\0\0\0\0\0\0\0\0\0", b"\x08\0", b"\x1A\0", b"\x63\0", b"\xFA\x01a\x01b", b""]
        {
            let payload = crate::rdb::payload_of(body, 9);
            let reply = b.node.run(b.slot, &[b"restore", b"k", b"0", &payload]);
            assert_eq!(String::from_utf8_lossy(&reply), "-ERR Bad data format\r\n", "{body:?}");
        }
        // Redis takes what stands in front, too.
        let payload = crate::rdb::payload_of(b"\x00\x01ajunk", 1);
        assert_eq!(b.node.run(b.slot, &[b"restore", b"k", b"0", &payload]), b"+OK\r\n");
        assert_eq!(b.node.run(b.slot, &[b"restore", b"j", b"0", &crate::rdb::payload_of(b"\x00\x01a", 13)])[..18], *b"-ERR DUMP payload ");
    }

    #[test]
    fn the_stream_has_what_old_slaves_know() {
        let mut b = Bench::new();
        b.node.now_ms = 1_000_000;
        let a_9 = String::from_utf8_lossy(A_9).into_owned();
        for (line, streamed) in [
            ("restore k 0 {9}", format!("restore k 0 {a_9}")),
            ("restore k 0 {12} replace", format!("restore k 0 {a_9} replace")),
            ("restore k 500 {12} replace freq 7", format!("restore k 1000500 {a_9} replace freq 7 ABSTTL")),
            ("restore k 2000000 {9} absttl replace", format!("restore k 2000000 {a_9} absttl replace")),
            ("restore k 1000 {9} absttl replace", "DEL k".to_owned()),
        ] {
            b.stream();
            assert_eq!(ask(&mut b, line), "+OK", "{line}");
            assert_eq!(b.stream(), [streamed], "{line}");
        }
        assert_eq!(ask(&mut b, "restore k 1000 {9} absttl replace"), "+OK");
        // Longer than time lasts: over, as in Redis.
        assert_eq!(ask(&mut b, "restore k 9223372036854775807 {9}"), "+OK");
        assert_eq!(b.stream(), [""; 0]);
        assert_eq!(ask(&mut b, "restore k 9223372036854775807 {9} absttl"), "+OK");
        assert_eq!(ask(&mut b, "pexpiretime k"), ":9223372036854775807");
        b.node.role = Role::Replica(Box::new(MasterLink::new("master".to_owned(), 6379, b.node.now_ms)));
        b.node.config.replica_read_only = false;
        assert_eq!(ask(&mut b, "restore k 1000 {9} absttl replace"), "+OK");
        assert_eq!(ask(&mut b, "dbsize"), ":1");
    }

    #[test]
    fn access_times_come_along() {
        let mut b = Bench::new();
        assert_eq!(ask(&mut b, "restore k 0 {9} idletime 10"), "+OK");
        assert_eq!(b.say("object idletime k"), ":10");
        assert_eq!(ask(&mut b, "restore k 0 {9} replace"), "+OK");
        assert_eq!(b.say("object idletime k"), ":0");
        b.node.config.maxmemory_policy = crate::config::EvictionPolicy::AllkeysLfu;
        b.node.policy_changed();
        assert_eq!(ask(&mut b, "restore k 0 {9} replace freq 77"), "+OK");
        assert_eq!(b.say("object freq k"), ":77");
    }

    #[test]
    fn what_is_dumped_is_restored() {
        let mut b = Bench::new();
        b.say("set int 12345678901");
        b.say("set raw value");
        let long = "replication ".repeat(3000);
        b.node.run(b.slot, &[b"set", b"long", long.as_bytes()]);
        b.say("sadd set a b 1 2 3");
        b.say("sadd ints 1 -70000 3");
        for n in 0..300 {
            b.say(&format!("sadd big member:{n}"));
        }
        for key in ["int", "raw", "long", "set", "ints", "big"] {
            for compression in ["yes", "no"] {
                b.say(&format!("config set rdbcompression {compression}"));
                let reply = b.node.run(b.slot, &[b"dump", key.as_bytes()]);
                let payload = &reply[reply.iter().position(|&byte| byte == b'\n').unwrap() + 1..reply.len() - 2];
                assert_eq!(b.node.run(b.slot, &[b"restore", b"copy", b"0", payload, b"replace"]), b"+OK\r\n", "{key}");
                assert_eq!(b.say("debug digest-value copy"), b.say(&format!("debug digest-value {key}")), "{key}");
                assert_eq!(b.say("object encoding copy"), b.say(&format!("object encoding {key}")), "{key}");
            }
        }
    }
}
