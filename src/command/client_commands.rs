//! CLIENT: names, modes, waking; CLIENT LIST and KILL are in `client_list`. PAUSE and UNBLOCK in `wait`. TRACKING is absent: nothing here could honour it.

use super::client_list::{info, kill, list};
use super::help::{container, help};
use super::wait::{client_pause, client_unblock, client_unpause};
use super::{Acl, Client, ClientFlags, CmdResult, CommandError, Ctx, Flags, ReplyMode, Spec};

/// Names are seen in space-separated lists, so they hold printable characters other than the space.
pub(super) fn valid_name(what: &str, name: &[u8]) -> CmdResult {
    match name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        true => Ok(()),
        false => Err(format!("ERR {what} cannot contain spaces, newlines or special characters.").into()),
    }
}

pub(super) fn set_name(client: &mut Client, name: &[u8]) {
    client.name = name.to_vec();
}

fn id(ctx: &mut Ctx<'_>) -> CmdResult {
    let id = ctx.client().id as i64;
    ctx.out.int(id);
    Ok(())
}

fn setname(ctx: &mut Ctx<'_>) -> CmdResult {
    let name = ctx.args.at(2);
    valid_name("Client names", name)?;
    set_name(ctx.client_mut(), name);
    ctx.out.ok();
    Ok(())
}

fn getname(ctx: &mut Ctx<'_>) -> CmdResult {
    match &ctx.node.clients.at(ctx.slot).name {
        name if name.is_empty() => ctx.out.null(),
        name => ctx.out.bulk(name),
    }
    Ok(())
}

fn setinfo(ctx: &mut Ctx<'_>) -> CmdResult {
    let (attribute, value) = (ctx.args.at(2), ctx.args.at(3));
    let shown = String::from_utf8_lossy(attribute).into_owned();
    let is_name = attribute.eq_ignore_ascii_case(b"LIB-NAME");
    if !is_name && !attribute.eq_ignore_ascii_case(b"LIB-VER") {
        return Err(format!("ERR Unrecognized option '{shown}'").into());
    }
    valid_name(&shown, value)?;
    let client = ctx.client_mut();
    let attribute = if is_name { &mut client.lib_name } else { &mut client.lib_ver };
    *attribute = value.to_vec();
    ctx.out.ok();
    Ok(())
}

/// `on` or `off`, into a flag of the client.
fn switch(ctx: &mut Ctx<'_>, flag: ClientFlags) -> CmdResult {
    let on = match ctx.args.at(2) {
        word if word.eq_ignore_ascii_case(b"on") => true,
        word if word.eq_ignore_ascii_case(b"off") => false,
        _ => return Err(CommandError::SYNTAX),
    };
    ctx.client_mut().flags.set(flag, on);
    ctx.out.ok();
    Ok(())
}

fn no_evict(ctx: &mut Ctx<'_>) -> CmdResult {
    switch(ctx, ClientFlags::NO_EVICT)
}

fn no_touch(ctx: &mut Ctx<'_>) -> CmdResult {
    switch(ctx, ClientFlags::NO_TOUCH)
}

fn reply(ctx: &mut Ctx<'_>) -> CmdResult {
    let client = ctx.node.clients.at_mut(ctx.slot);
    match ctx.args.at(2).to_ascii_uppercase().as_slice() {
        b"ON" => {
            client.reply_mode = ReplyMode::On;
            ctx.out.ok();
        }
        b"OFF" => client.reply_mode = ReplyMode::Off,
        b"SKIP" if client.reply_mode == ReplyMode::Off => {}
        b"SKIP" => client.reply_mode = ReplyMode::SkipNext,
        _ => return Err(CommandError::SYNTAX),
    }
    Ok(())
}

/// Without tracking there is nobody to redirect to.
fn getredir(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.int(-1);
    Ok(())
}

fn trackinginfo(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.map(3);
    ctx.out.bulk(b"flags");
    ctx.out.set(1);
    ctx.out.bulk(b"off");
    ctx.out.bulk(b"redirect");
    ctx.out.int(-1);
    ctx.out.bulk(b"prefixes");
    ctx.out.array(0);
    Ok(())
}

fn client_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(ctx.out, "CLIENT", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "    * ID <client-id>",
    "      Kill connections by client id.",
    "    * MAXAGE <maxage>",
    "      Kill connections older than the specified age.",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
];

const ANYONE: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
const OPERATOR: Flags = Flags::ADMIN.union(ANYONE);

const CLIENT_ROWS: &[Spec] = &[
    Spec::new("getname", 2, ANYONE, getname).acl(Acl::CONNECTION).docs("connection", "2.6.9", "O(1)", "Returns the name of the connection."),
    Spec::new("getredir", 2, ANYONE, getredir).acl(Acl::CONNECTION).docs(
        "connection",
        "6.0.0",
        "O(1)",
        "Returns the client ID to which the connection's tracking notifications are redirected.",
    ),
    Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), client_help).acl(Acl::CONNECTION).docs(
        "connection",
        "5.0.0",
        "O(1)",
        "Returns helpful text about the different subcommands.",
    ),
    Spec::new("id", 2, ANYONE, id).acl(Acl::CONNECTION).docs("connection", "5.0.0", "O(1)", "Returns the unique client ID of the connection."),
    Spec::new("info", 2, ANYONE, info)
        .acl(Acl::CONNECTION)
        .docs("connection", "6.2.0", "O(1)", "Returns information about the connection.")
        .tips(&["nondeterministic_output"]),
    Spec::new("kill", -3, OPERATOR, kill).acl(Acl::CONNECTION).docs(
        "connection",
        "2.4.0",
        "O(N) where N is the number of client connections",
        "Terminates open connections.",
    ),
    Spec::new("list", -2, OPERATOR, list)
        .acl(Acl::CONNECTION)
        .docs("connection", "2.4.0", "O(N) where N is the number of client connections", "Lists open connections.")
        .tips(&["nondeterministic_output"]),
    Spec::new("no-evict", 3, OPERATOR, no_evict).acl(Acl::CONNECTION).docs(
        "connection",
        "7.0.0",
        "O(1)",
        "Sets the client eviction mode of the connection.",
    ),
    Spec::new("no-touch", 3, ANYONE, no_touch).acl(Acl::CONNECTION).docs(
        "connection",
        "7.2.0",
        "O(1)",
        "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
    ),
    Spec::new("pause", -3, OPERATOR, client_pause).acl(Acl::CONNECTION).docs("connection", "3.0.0", "O(1)", "Suspends commands processing."),
    Spec::new("reply", 3, ANYONE, reply).acl(Acl::CONNECTION).docs(
        "connection",
        "3.2.0",
        "O(1)",
        "Instructs the server whether to reply to commands.",
    ),
    Spec::new("setinfo", 4, ANYONE, setinfo)
        .acl(Acl::CONNECTION)
        .docs("connection", "7.2.0", "O(1)", "Sets information specific to the client or connection.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    Spec::new("setname", 3, ANYONE, setname)
        .acl(Acl::CONNECTION)
        .docs("connection", "2.6.9", "O(1)", "Sets the connection name.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    Spec::new("trackinginfo", 2, ANYONE, trackinginfo).acl(Acl::CONNECTION).docs(
        "connection",
        "6.2.0",
        "O(1)",
        "Returns information about server-assisted client-side caching for the connection.",
    ),
    Spec::new("unblock", -3, OPERATOR, client_unblock).acl(Acl::CONNECTION).docs(
        "connection",
        "5.0.0",
        "O(log N) where N is the number of client connections",
        "Unblocks a client blocked by a blocking command from a different connection.",
    ),
    Spec::new("unpause", 2, OPERATOR, client_unpause).acl(Acl::CONNECTION).docs(
        "connection",
        "6.2.0",
        "O(N) Where N is the number of paused clients",
        "Resumes processing commands from paused clients.",
    ),
];

pub(super) const ROWS: &[Spec] = &[Spec::new("client", -2, Flags::empty(), container)
    .docs("connection", "2.4.0", "Depends on subcommand.", "A container for client connection commands.")
    .subcommands(CLIENT_ROWS)];
