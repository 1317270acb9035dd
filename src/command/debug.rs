//! DEBUG, as far as it is real here: digests, sleeping, what an entry is, filling, reloading, every type of reply. Guarded by `enable-debug-command`.

use std::ops::ControlFlow;
use std::time::Duration;

use slog::{error, warn};

use super::help::{help, unknown_or_arity};
use super::{Client, ClientFlags, CmdResult, CommandError, Ctx, Flags, NodeState, Spec};
use crate::config::EnableWhere;
use crate::keyspace::{Entry, SetExpire, UnixMs, digest, lru_clock};
use crate::persistence::load_file;
use crate::rdb::{LoadOptions, VERSIONS, Writer, WriterOptions};
use crate::replication::ReplId;
use crate::resp::{Proto, Reply};
use crate::types::number::{parse_f64, parse_i64};

/// Whether `enable-debug-command` lets this client use DEBUG.
pub(super) fn check_allowed(node: &NodeState, client: &Client) -> CmdResult {
    let is_local = client.flags.intersects(ClientFlags::UNIX_SOCKET | ClientFlags::IN_PROCESS) || client.addr.ip().is_some_and(|ip| ip.is_loopback());
    match node.config.enable_debug_command {
        EnableWhere::Yes => Ok(()),
        EnableWhere::Local if is_local => Ok(()),
        _ => Err("ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, \
                  otherwise you need to set this option in the configuration file, and then restart the server."
            .into()),
    }
}

/// What each subcommand is called, how many arguments it takes (least and most, both names included), what it does.
type Subcommand = (&'static str, usize, usize, fn(&mut Ctx<'_>) -> CmdResult);

const SUBCOMMANDS: &[Subcommand] = &[
    ("CHANGE-REPL-ID", 2, 2, change_repl_id),
    ("DIGEST", 2, 2, dataset_digest),
    ("DIGEST-VALUE", 2, usize::MAX, digest_value),
    ("ERROR", 3, 3, error_reply),
    ("HELP", 2, 2, debug_help),
    ("LOG", 3, 3, log),
    ("OBJECT", 3, 3, object),
    ("POPULATE", 3, 5, populate),
    ("PROTOCOL", 3, 3, protocol),
    ("RELOAD", 2, usize::MAX, reload),
    ("REPLICATE", 3, usize::MAX, replicate),
    ("SET-ACTIVE-EXPIRE", 3, 3, set_active_expire),
    ("SLEEP", 3, 3, sleep),
];

fn debug(ctx: &mut Ctx<'_>) -> CmdResult {
    let given = ctx.args.at(1);
    let fits = |(name, least, most, _): &&Subcommand| name.as_bytes().eq_ignore_ascii_case(given) && (*least..=*most).contains(&ctx.args.len());
    match SUBCOMMANDS.iter().find(fits) {
        Some((_, _, _, handler)) => handler(ctx),
        None => Err(unknown_or_arity(given, "DEBUG")),
    }
}

fn hex(digest: [u8; 20]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn dataset_digest(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.simple(&hex(digest::dataset(&ctx.node.keyspace)));
    Ok(())
}

fn digest_value(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.array(ctx.args.len() - 2);
    for name in ctx.args.iter().skip(2) {
        let key = ctx.hashed(name);
        let digest = ctx.node.keyspace.db(ctx.db).get(key).map_or([0; 20], digest::value);
        ctx.out.simple(&hex(digest));
    }
    Ok(())
}

fn set_active_expire(ctx: &mut Ctx<'_>) -> CmdResult {
    // As `atoi`: what is no number is 0.
    ctx.node.active_expire = parse_i64(ctx.args.at(2)).unwrap_or(0) != 0;
    ctx.out.ok();
    Ok(())
}

/// The whole node stands still, as Redis does.
fn sleep(ctx: &mut Ctx<'_>) -> CmdResult {
    let seconds = parse_f64(ctx.args.at(2)).unwrap_or(0.0);
    if let Ok(time) = Duration::try_from_secs_f64(seconds) {
        ctx.node.env.clock.block_for(time);
    }
    ctx.out.ok();
    Ok(())
}

/// Bytes that the value takes in an RDB file, without its type.
fn serialized_len(entry: &Entry) -> u64 {
    let mut writer = Writer::new(std::io::sink(), WriterOptions { version: *VERSIONS.end(), ..WriterOptions::default() });
    writer.value(entry).expect("a sink takes everything");
    writer.bytes() - 1
}

fn object(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.hashed(ctx.args.at(2));
    let clock = lru_clock(ctx.now());
    let Some(entry) = ctx.node.keyspace.db(ctx.db).get(key) else { return Err(CommandError::NO_KEY) };
    let text = format!(
        "Value at:{entry:p} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        entry.encoding(),
        serialized_len(entry),
        entry.lru(),
        clock.wrapping_sub(entry.lru()) & 0x00ff_ffff
    );
    ctx.out.simple(&text);
    Ok(())
}

/// The history gets another name: slaves can't continue.
fn change_repl_id(ctx: &mut Ctx<'_>) -> CmdResult {
    let node = &mut *ctx.node;
    warn!(node.log, "Changing replication IDs after receiving change-repl-id");
    node.stream.replid = ReplId::random(&*node.env.random);
    node.stream.replid2 = None;
    ctx.out.ok();
    Ok(())
}

/// Keys `prefix:0` and on, which the stream does not get. Those that exist stay.
fn populate(ctx: &mut Ctx<'_>) -> CmdResult {
    let positive = |index: usize| {
        let number = parse_i64(ctx.args.at(index)).and_then(|number| u64::try_from(number).ok());
        number.ok_or(CommandError::text("ERR value is out of range, must be positive"))
    };
    let count = positive(2)?;
    let prefix = ctx.args.get(3).unwrap_or(b"key");
    let size = if ctx.args.len() == 5 { positive(4)? } else { 0 };
    if size > ctx.node.config.proto_max_bulk_len {
        return Err("ERR value is out of range, must be positive".into());
    }
    let mut name = prefix.to_vec();
    name.push(b':');
    for number in 0..count {
        let digits = number.to_string();
        name.truncate(prefix.len() + 1);
        name.extend_from_slice(digits.as_bytes());
        let key = ctx.hashed(&name);
        if ctx.node.keyspace.db(ctx.db).get(key).is_some() {
            continue;
        }
        let mut value = format!("value:{digits}").into_bytes();
        if size > 0 {
            // Redis fills up with zero bytes and cuts what is longer.
            value.resize(size as usize, 0);
        }
        ctx.node.keyspace.db_mut(ctx.db).set_string(key, &value, SetExpire::Clear);
        ctx.node.changed(ctx.db, &name);
    }
    ctx.propagate_nothing();
    ctx.out.ok();
    Ok(())
}

fn replicate(ctx: &mut Ctx<'_>) -> CmdResult {
    let command: Vec<&[u8]> = ctx.args.iter().skip(2).collect();
    ctx.propagate(&command);
    ctx.out.ok();
    Ok(())
}

/// Saves and loads again; with NOSAVE loads what the file has.
fn reload(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut save = true;
    for option in ctx.args.iter().skip(2) {
        match option.eq_ignore_ascii_case(b"NOSAVE") {
            true => save = false,
            false => return Err("ERR DEBUG RELOAD only supports the NOSAVE option.".into()),
        }
    }
    let node = &mut *ctx.node;
    if save && let Err(error) = node.save_now() {
        error!(node.log, "Error trying to save the DB"; "error" => %error);
        return Err("ERR".into());
    }
    let path = node.config.dir.join(&node.config.dbfilename);
    let mut options = LoadOptions::new(node.keyspace.databases(), node.keyspace.hash_seed());
    options.checksum = node.config.rdbchecksum;
    options.access = node.access_when_loading();
    options.limits = node.config.limits;
    options.drop_expired_at = matches!(node.role, crate::replication::Role::Master).then_some(UnixMs(node.now_ms));
    let loaded = load_file(&*node.env.disk, &path, &options, &mut |_| ControlFlow::Continue(()));
    let placed = loaded.and_then(|loaded| loaded.map(|loaded| node.put_in_place(loaded.keyspace, &loaded.libraries)).transpose());
    match placed {
        Ok(Some(())) => {}
        Ok(None) => return Err("ERR Error trying to load the RDB dump, check server logs.".into()),
        Err(error) => {
            error!(node.log, "Error trying to load the RDB dump"; "error" => %error);
            return Err("ERR Error trying to load the RDB dump, check server logs.".into());
        }
    }
    warn!(node.log, "DB reloaded by DEBUG RELOAD");
    ctx.out.ok();
    Ok(())
}

fn log(ctx: &mut Ctx<'_>) -> CmdResult {
    warn!(ctx.node.log, "DEBUG LOG: {}", String::from_utf8_lossy(ctx.args.at(2)));
    ctx.out.ok();
    Ok(())
}

/// The error is the client's own, so it is a reply and does not count as a failure.
fn error_reply(ctx: &mut Ctx<'_>) -> CmdResult {
    let text = String::from_utf8_lossy(ctx.args.at(2)).into_owned();
    ctx.out.error(&text);
    Ok(())
}

/// The sample values are Redis's.
#[expect(clippy::approx_constant, reason = "3.141 is what Redis replies")]
fn protocol(ctx: &mut Ctx<'_>) -> CmdResult {
    let out = &mut *ctx.out;
    match ctx.args.at(2).to_ascii_lowercase().as_slice() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double(3.141),
        b"null" => out.null(),
        b"bignum" => out.big_number("1234567999999999999999999999999999999"),
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => out.bool(true),
        b"false" => out.bool(false),
        b"array" => {
            out.array(3);
            (0..3).for_each(|number| out.int(number));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|number| out.int(number));
        }
        b"map" => {
            out.map(3);
            (0..3).for_each(|number| {
                out.int(number);
                out.bool(number == 1);
            });
        }
        b"attrib" => attribute(out),
        b"push" => return push(out),
        _ => {
            return Err("ERR Wrong protocol type name. Please use one of the following: \
                        string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"
                .into());
        }
    }
    Ok(())
}

/// An attribute goes before a reply; RESP2 has none.
fn attribute(out: &mut Reply) {
    if out.proto == Proto::Resp3 {
        out.buf.extend_from_slice(b"|1\r\n");
        out.bulk(b"key-popularity");
        out.array(2);
        out.bulk(b"key:123");
        out.int(90);
    }
    out.bulk(b"Some real reply following the attribute");
}

fn push(out: &mut Reply) -> CmdResult {
    if out.proto == Proto::Resp2 {
        return Err("ERR RESP2 is not supported by this command".into());
    }
    out.push(2);
    out.bulk(b"server-cpu-usage");
    out.int(42);
    Ok(())
}

fn debug_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(ctx.out, "DEBUG", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "CHANGE-REPL-ID",
    "    Change the replication IDs of the instance.",
    "    Dangerous: should be used only for testing the replication subsystem.",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "ERROR <string>",
    "    Return a Redis protocol error with <string> as message. Useful for clients",
    "    unit tests to simulate Redis errors.",
    "LOG <message>",
    "    Write <message> to the server log.",
    "REPLICATE <string>",
    "    Replicates the provided string to replicas, allowing data divergence.",
    "OBJECT <key>",
    "    Show low level info about `key` and associated value.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>. If <prefix> is specified then",
    "    it is used instead of the 'key' prefix. These are not propagated to",
    "    replicas. Cluster slots are not respected so keys not belonging to the",
    "    current node can be created in cluster mode.",
    "PROTOCOL <type>",
    "    Reply with a test value of the specified type. <type> can be: string,",
    "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
    "    true, false.",
    "RELOAD [NOSAVE]",
    "    Save the RDB on disk and reload it back to memory. With NOSAVE the database",
    "    will be loaded from an existing RDB file.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys (and hash-fields) in background",
    "    when they are not accessed (otherwise the Redis behavior). Setting it",
    "    to 1 reenables back the default.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
];

pub(super) const ROWS: &[Spec] = &[Spec::new("debug", -2, Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE), debug)
    .docs("server", "1.0.0", "Depends on subcommand.", "A container for debugging commands.")];

#[cfg(test)]
mod tests {
    use super::super::Slot;
    use super::*;

    fn debugged() -> (NodeState, Slot) {
        let (mut node, slot) = NodeState::for_tests();
        node.config.enable_debug_command = EnableWhere::Yes;
        (node, slot)
    }

    #[test]
    fn only_the_configuration_lets_debug_in() {
        let (mut node, slot) = NodeState::for_tests();
        let ask = |node: &mut NodeState| node.run(slot, &[b"DEBUG", b"SLEEP", b"0"]);
        assert!(ask(&mut node).starts_with(b"-ERR DEBUG command not allowed."));
        node.config.enable_debug_command = EnableWhere::Local;
        assert_eq!(ask(&mut node), b"+OK\r\n");
        node.clients.at_mut(slot).addr = crate::env::Addr::Ip(([10, 0, 0, 1], 1).into());
        assert!(ask(&mut node).starts_with(b"-ERR DEBUG command not allowed."));
        node.config.enable_debug_command = EnableWhere::Yes;
        assert_eq!(ask(&mut node), b"+OK\r\n");
    }

    #[test]
    fn populate_makes_keys_that_are_not_there() {
        let (mut node, slot) = debugged();
        node.run(slot, &[b"SET", b"q:1", b"mine"]);
        assert_eq!(node.run(slot, &[b"DEBUG", b"POPULATE", b"3", b"q", b"10"]), b"+OK\r\n");
        assert_eq!(
            node.run(slot, &[b"MGET", b"q:0", b"q:1", b"q:2", b"q:3"]),
            b"*4\r\n$10\r\nvalue:0\0\0\0\r\n$4\r\nmine\r\n$10\r\nvalue:2\0\0\0\r\n$-1\r\n"
        );
    }

    #[test]
    fn digests_are_those_of_redis() {
        let (mut node, slot) = debugged();
        assert_eq!(node.run(slot, &[b"DEBUG", b"DIGEST"]), b"+0000000000000000000000000000000000000000\r\n");
        // Without repetitions, since other compressors come to other sizes.
        let long: Vec<u8> = (b'0'..b'0' + 60).collect();
        for (key, value) in [(&b"a"[..], &b"foo"[..]), (b"n", b"12345"), (b"long", &long[..])] {
            node.run(slot, &[b"SET", key, value]);
        }
        let expected = b"*2\r\n+b7f507e4e114eaf82bb9a21d385c60ee2545432e\r\n+0000000000000000000000000000000000000000\r\n";
        assert_eq!(node.run(slot, &[b"DEBUG", b"DIGEST-VALUE", b"a", b"nosuch"]), expected);
        let described = |node: &mut NodeState, key: &[u8]| String::from_utf8(node.run(slot, &[b"DEBUG", b"OBJECT", key])).unwrap();
        let text = described(&mut node, b"a");
        assert!(text.contains(" encoding:embstr serializedlength:4 "), "{text}");
        assert!(described(&mut node, b"n").contains(" encoding:int serializedlength:3 "));
        assert!(described(&mut node, b"long").contains(" encoding:raw serializedlength:61 "));
    }

    #[test]
    fn a_reload_brings_everything_back() {
        let dir = tempfile::tempdir().unwrap();
        let (mut node, slot) = debugged();
        node.config.dir = dir.path().to_owned();
        node.run(slot, &[b"SET", b"a", b"1"]);
        assert_eq!(node.run(slot, &[b"DEBUG", b"RELOAD", b"NOSAVE"]), b"-ERR Error trying to load the RDB dump, check server logs.\r\n");
        assert_eq!(node.run(slot, &[b"DEBUG", b"RELOAD"]), b"+OK\r\n");
        node.run(slot, &[b"SET", b"a", b"2"]);
        assert_eq!(node.run(slot, &[b"DEBUG", b"RELOAD", b"NOSAVE"]), b"+OK\r\n");
        assert_eq!(node.run(slot, &[b"GET", b"a"]), b"$1\r\n1\r\n");
    }
}
