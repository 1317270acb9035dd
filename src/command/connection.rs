//! PING, ECHO, SELECT, QUIT, RESET and logging in: AUTH, HELLO. There is one user, `default`, whose password is `requirepass`.

use super::client_commands::{set_name, valid_name};
use super::{Acl, ClientFlags, CmdResult, CommandError, Ctx, Flags, NodeState, ReplyMode, Spec};
use crate::keyspace::DbIndex;
use crate::replication::{Role, verify::Mark};
use crate::resp::Proto;
use crate::types::number::parse_i64;

const WRONG_PASS: CommandError = CommandError::text("WRONGPASS invalid username-password pair or user is disabled.");

/// What a RESP2 client reads while it is subscribed must look like a message.
fn ping(ctx: &mut Ctx<'_>) -> CmdResult {
    let listens = ctx.client().is(ClientFlags::PUBSUB) && ctx.out.proto == Proto::Resp2;
    match ctx.args.len() {
        1 | 2 if listens => {
            ctx.out.array(2);
            ctx.out.bulk(b"pong");
            ctx.out.bulk(ctx.args.get(1).unwrap_or_default());
        }
        1 => ctx.out.simple("PONG"),
        2 => {
            if Mark::is_one(ctx.args.at(1)) && ctx.client().is(ClientFlags::MASTER) {
                super::verify::marked(ctx.node, ctx.args.at(1));
            }
            ctx.out.bulk(ctx.args.at(1));
        }
        _ => return Err(CommandError::arity("ping")),
    }
    Ok(())
}

fn echo(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.bulk(ctx.args.at(1));
    Ok(())
}

fn select(ctx: &mut Ctx<'_>) -> CmdResult {
    let number = ctx.int(1)?;
    if i32::try_from(number).is_err() {
        return Err("ERR value is out of range, value must between -2147483648 and 2147483647".into());
    }
    match u32::try_from(number) {
        Ok(db) if db < ctx.node.keyspace.databases() => ctx.client_mut().db = DbIndex(db),
        _ => return Err(CommandError::DB_OUT_OF_RANGE),
    }
    ctx.out.ok();
    Ok(())
}

fn quit(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.client_mut().flags |= ClientFlags::CLOSE_AFTER_REPLY;
    ctx.out.ok();
    Ok(())
}

/// Puts the connection back to where it was when it came, but for what CLIENT SETINFO has told.
fn reset(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.client().flags.intersects(ClientFlags::MASTER | ClientFlags::REPLICA) {
        return Err("ERR can only reset normal connections".into());
    }
    super::discard(ctx.node, ctx.slot);
    ctx.node.unsubscribe_all(ctx.slot);
    ctx.node.clients.end_monitor(ctx.slot);
    let needs_password = !ctx.node.config.requirepass.is_empty();
    let client = ctx.client_mut();
    client.flags -= ClientFlags::NO_EVICT | ClientFlags::NO_TOUCH;
    client.flags.set(ClientFlags::AUTHENTICATED, !needs_password);
    client.user = "default".to_owned();
    client.name.clear();
    client.db = DbIndex(0);
    client.reply_mode = ReplyMode::On;
    set_proto(ctx, Proto::Resp2);
    ctx.out.simple("RESET");
    Ok(())
}

/// The replies that follow, in this turn too, are in the new protocol.
fn set_proto(ctx: &mut Ctx<'_>, proto: Proto) {
    ctx.client_mut().proto = proto;
    ctx.out.proto = proto;
}

/// Takes the same time whatever the first difference is, so that a password cannot be found byte by byte.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

/// Whether `default` may log in with this password; without `requirepass` any will do.
fn password_fits(node: &NodeState, user: &[u8], password: &[u8]) -> bool {
    let wanted = node.config.requirepass.as_bytes();
    user == b"default" && (wanted.is_empty() || same_bytes(wanted, password))
}

fn log_in(ctx: &mut Ctx<'_>, user: &[u8], password: &[u8]) -> CmdResult {
    if !password_fits(ctx.node, user, password) {
        return Err(WRONG_PASS);
    }
    ctx.client_mut().flags |= ClientFlags::AUTHENTICATED;
    Ok(())
}

fn auth(ctx: &mut Ctx<'_>) -> CmdResult {
    let args = ctx.args;
    match args.len() {
        2 if ctx.node.config.requirepass.is_empty() => {
            return Err(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?".into(),
            );
        }
        2 => log_in(ctx, b"default", args.at(1))?,
        3 => log_in(ctx, args.at(1), args.at(2))?,
        _ => return Err(CommandError::SYNTAX),
    }
    ctx.out.ok();
    Ok(())
}

fn hello_version(version: &[u8]) -> Result<Proto, CommandError> {
    match parse_i64(version) {
        Some(2) => Ok(Proto::Resp2),
        Some(3) => Ok(Proto::Resp3),
        Some(_) => Err("NOPROTO unsupported protocol version".into()),
        None => Err("ERR Protocol version is not an integer or out of range".into()),
    }
}

/// Nothing changes unless every option is right, as in Redis 8 (7.0 set the name before it saw the rest).
fn hello(ctx: &mut Ctx<'_>) -> CmdResult {
    let args = ctx.args;
    let proto = args.get(1).map(hello_version).transpose()?;
    let mut credentials = None;
    let mut name = None;
    let mut at = 2;
    while at < args.len() {
        let option = args.at(at);
        if option.eq_ignore_ascii_case(b"AUTH") && at + 2 < args.len() {
            credentials = Some((args.at(at + 1), args.at(at + 2)));
            at += 3;
        } else if option.eq_ignore_ascii_case(b"SETNAME") && at + 1 < args.len() {
            valid_name("Client names", args.at(at + 1))?;
            name = Some(args.at(at + 1));
            at += 2;
        } else {
            return Err(format!("ERR Syntax error in HELLO option '{}'", String::from_utf8_lossy(option)).into());
        }
    }
    if let Some((user, password)) = credentials {
        log_in(ctx, user, password)?;
    }
    if !ctx.client().is(ClientFlags::AUTHENTICATED) {
        return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to \
                    authenticate the client and select the RESP protocol version at the same time"
            .into());
    }
    if let Some(name) = name {
        set_name(ctx.client_mut(), name);
    }
    if let Some(proto) = proto {
        set_proto(ctx, proto);
    }
    describe_server(ctx);
    Ok(())
}

/// Clients compare `server` and `version` to know what they may send.
fn describe_server(ctx: &mut Ctx<'_>) {
    let client = ctx.client();
    let id = client.id as i64;
    let proto = if client.proto == Proto::Resp3 { 3 } else { 2 };
    let role: &[u8] = if matches!(ctx.node.role, Role::Master) { b"master" } else { b"replica" };
    let out = &mut *ctx.out;
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(crate::REDIS_VERSION_CLAIMED.as_bytes());
    out.bulk(b"proto");
    out.int(proto);
    out.bulk(b"id");
    out.int(id);
    out.bulk(b"mode");
    out.bulk(b"standalone");
    out.bulk(b"role");
    out.bulk(role);
    out.bulk(b"modules");
    out.array(0);
}

const LOGIN: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST).union(Flags::NO_AUTH).union(Flags::ALLOW_BUSY);
const ANY_TIME_FAST: Flags = Flags::LOADING.union(Flags::STALE).union(Flags::FAST);

pub(super) const ROWS: &[Spec] = &[
    Spec::new("auth", -2, LOGIN, auth).acl(Acl::CONNECTION).docs(
        "connection",
        "1.0.0",
        "O(N) where N is the number of passwords defined for the user",
        "Authenticates the connection.",
    ),
    Spec::new("echo", 2, ANY_TIME_FAST, echo).acl(Acl::CONNECTION).docs("connection", "1.0.0", "O(1)", "Returns the given string."),
    Spec::new("hello", -1, LOGIN, hello).acl(Acl::CONNECTION).docs("connection", "6.0.0", "O(1)", "Handshakes with the Redis server."),
    Spec::new("ping", -1, Flags::FAST, ping)
        .acl(Acl::CONNECTION)
        .docs("connection", "1.0.0", "O(1)", "Returns the server's liveliness response.")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Spec::new("quit", -1, LOGIN, quit).acl(Acl::CONNECTION).docs("connection", "1.0.0", "O(1)", "Closes the connection."),
    Spec::new("reset", 1, LOGIN, reset).acl(Acl::CONNECTION).docs("connection", "6.2.0", "O(1)", "Resets the connection."),
    Spec::new("select", 2, ANY_TIME_FAST, select).acl(Acl::CONNECTION).docs("connection", "1.0.0", "O(1)", "Changes the selected database."),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn node_with_password() -> (NodeState, super::super::Slot) {
        let (mut node, slot) = NodeState::for_tests();
        node.config.requirepass = "secret".to_owned();
        node.clients.at_mut(slot).flags -= ClientFlags::AUTHENTICATED;
        (node, slot)
    }

    #[test]
    fn a_password_is_asked_for_and_checked() {
        let (mut node, slot) = node_with_password();
        assert!(node.run(slot, &[b"PING"]).starts_with(b"-NOAUTH Authentication required."));
        assert!(node.run(slot, &[b"AUTH", b"secre"]).starts_with(b"-WRONGPASS"));
        assert!(node.run(slot, &[b"AUTH", b"other", b"secret"]).starts_with(b"-WRONGPASS"));
        assert!(node.run(slot, &[b"HELLO", b"3"]).starts_with(b"-NOAUTH HELLO must"));
        assert_eq!(node.run(slot, &[b"AUTH", b"default", b"secret"]), b"+OK\r\n");
        assert_eq!(node.run(slot, &[b"PING"]), b"+PONG\r\n");
        assert_eq!(node.run(slot, &[b"RESET"]), b"+RESET\r\n");
        assert!(node.run(slot, &[b"PING"]).starts_with(b"-NOAUTH"));
    }

    #[test]
    fn hello_changes_nothing_when_an_option_is_wrong() {
        let (mut node, slot) = NodeState::for_tests();
        assert_eq!(node.run(slot, &[b"HELLO", b"3", b"SETNAME", b"x", b"AUTH", b"a"]), b"-ERR Syntax error in HELLO option 'AUTH'\r\n");
        assert_eq!(node.run(slot, &[b"CLIENT", b"GETNAME"]), b"$-1\r\n");
        assert!(node.run(slot, &[b"HELLO", b"3", b"SETNAME", b"x"]).starts_with(b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"));
        assert_eq!(node.run(slot, &[b"CLIENT", b"GETNAME"]), b"$1\r\nx\r\n");
        assert_eq!(node.run(slot, &[b"HELLO", b"4"]), b"-NOPROTO unsupported protocol version\r\n");
        assert_eq!(node.clients.at(slot).proto, Proto::Resp3);
    }

    #[test]
    fn select_stays_within_the_databases() {
        let (mut node, slot) = NodeState::for_tests();
        assert_eq!(node.run(slot, &[b"SELECT", b"15"]), b"+OK\r\n");
        assert_eq!(node.clients.at(slot).db, DbIndex(15));
        assert_eq!(node.run(slot, &[b"SELECT", b"16"]), b"-ERR DB index is out of range\r\n");
        assert_eq!(node.run(slot, &[b"SELECT", b"-1"]), b"-ERR DB index is out of range\r\n");
        assert_eq!(node.run(slot, &[b"SELECT", b"2147483648"]), b"-ERR value is out of range, value must between -2147483648 and 2147483647\r\n");
    }
}
