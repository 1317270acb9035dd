//! CONFIG: GET and SET on the node's directives with what a change does at once, REWRITE of the conf file, RESETSTAT.

use std::io::{self, Read, Write};
use std::path::Path;

use slog::{error, info};

use super::help::{container, help};
use super::{ClientFlags, CmdResult, CommandError, Ctx, Flags, NodeState, Request, Spec, Stats};
use crate::config::{self, Config};
use crate::env::{Disk, Env, ListenAddr};
use crate::replication::Role;

/// The configuration as it is now: `replicaof` follows the role, whoever has changed it.
fn effective(node: &NodeState) -> Config {
    let mut config = node.config.clone();
    config.slaveof = match &node.role {
        Role::Master => None,
        Role::Replica(link) => Some((link.host.clone(), link.port)),
    };
    config
}

fn get(ctx: &mut Ctx<'_>) -> CmdResult {
    let found = config::get(&effective(ctx.node), ctx.args.iter().skip(2));
    ctx.out.map(found.len());
    for (name, value) in found {
        ctx.out.bulk(&name);
        ctx.out.bulk(value.as_bytes());
    }
    Ok(())
}

fn set(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.args.len() % 2 == 1 {
        return Err(CommandError::SYNTAX);
    }
    let client = ctx.client();
    let is_local = client.flags.intersects(ClientFlags::UNIX_SOCKET | ClientFlags::IN_PROCESS) || client.addr.ip().is_some_and(|ip| ip.is_loopback());
    let args = ctx.args;
    let pairs = (2..args.len()).step_by(2).map(|at| (args.at(at), args.at(at + 1)));
    let node = &mut *ctx.node;
    let old_dir = node.config.dir.clone();
    let (env, old_port) = (node.env.clone(), node.tcp_port);
    let mut check = |name: &'static str, new: &Config| match name {
        "dir" if new.dir.as_os_str().is_empty() => Err("No such file or directory".to_owned()),
        "dir" => check_dir(&*env.disk, &old_dir.join(&new.dir)),
        "bind" if !can_listen(&env, new, old_port) => Err("Failed to bind to specified addresses.".to_owned()),
        "port" if !can_listen(&env, new, old_port) => Err("Unable to listen on this port. Check server logs.".to_owned()),
        _ => Ok(()),
    };
    let changed = config::set(&mut node.config, pairs, is_local, &mut check)?;
    // As after `chdir`: a relative folder lies in the one before.
    node.config.dir = old_dir.join(&node.config.dir);
    apply(node, &changed);
    ctx.out.ok();
    Ok(())
}

fn check_dir(disk: &dyn Disk, dir: &Path) -> Result<(), String> {
    match (disk.is_dir(dir), disk.exists(dir)) {
        (true, _) => Ok(()),
        (false, true) => Err("Not a directory".to_owned()),
        (false, false) => Err("No such file or directory".to_owned()),
    }
}

/// Tries the addresses out, since the real change comes when the turn ends and can't be refused any more. On the port that the node has now its
/// own sockets are in the way, so there only the addresses are tried.
fn can_listen(env: &Env, new: &Config, old_port: u16) -> bool {
    let port = if new.port == old_port { 0 } else { new.port };
    let works = |bind: &String| match config::bind_address(bind) {
        Some((ip, optional)) => optional || env.net.listen(&ListenAddr::Tcp((ip, port).into()), new.tcp_backlog).is_ok(),
        None => false,
    };
    new.bind.iter().all(works)
}

/// What changed directives do at once. All others are looked at when they are needed.
fn apply(node: &mut NodeState, changed: &[&'static str]) {
    for name in changed {
        match *name {
            "requirepass" if node.config.requirepass.is_empty() => {
                // Nobody needs a password any more; with a new password those that are logged in stay so.
                node.clients.iter_mut().for_each(|(_, client)| client.flags |= ClientFlags::AUTHENTICATED);
            }
            "maxmemory-policy" => node.policy_changed(),
            "maxmemory" => {
                node.clients.count_all();
                node.eviction.request();
            }
            "maxmemory-clients" => node.clients.count_all(),
            name if name.contains("-max-listpack-") || name == "set-max-intset-entries" || name.starts_with("stream-node-max-") => {
                node.keyspace.set_limits(node.config.limits);
            }
            "repl-backlog-size" => node.stream.set_backlog_bytes(node.config.repl_backlog_size),
            "port" | "bind" if !node.requests.contains(&Request::Relisten) => node.requests.push(Request::Relisten),
            _ => {}
        }
    }
    if !changed.is_empty() {
        node.requests.push(Request::Reconfigure);
    }
}

fn rewrite(ctx: &mut Ctx<'_>) -> CmdResult {
    let node = &mut *ctx.node;
    let Some(path) = node.config_file.clone() else { return Err("ERR The server is running without a config file".into()) };
    if let Err(error) = replace_file(node, &path) {
        error!(node.log, "CONFIG REWRITE failed"; "path" => %path.display(), "error" => %error);
        return Err(format!("ERR Rewriting config file: {}", reason(&error)).into());
    }
    info!(node.log, "CONFIG REWRITE executed with success");
    ctx.out.ok();
    Ok(())
}

/// The system's words for an error, without the number that Rust appends.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Puts the new text in the place of the old file so that a crash leaves one of them, whole.
fn replace_file(node: &NodeState, path: &Path) -> io::Result<()> {
    let disk = &*node.env.disk;
    let mut old = Vec::new();
    match disk.open(path) {
        Ok(mut file) => drop(file.read_to_end(&mut old)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let new = config::rewrite(&old, &effective(node));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", node.env.random.hex(8)));
    let temporary = path.with_file_name(name);
    let written = write_synced(disk, &temporary, &new).and_then(|()| disk.rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = disk.remove(&temporary);
    }
    written?;
    match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => disk.sync_dir(dir),
        None => disk.sync_dir(Path::new(".")),
    }
}

fn write_synced(disk: &dyn Disk, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = disk.create(path)?;
    file.write_all(text)?;
    file.sync()
}

/// Counters go back to zero; what was longest or most since the start stays.
fn resetstat(ctx: &mut Ctx<'_>) -> CmdResult {
    let node = &mut *ctx.node;
    node.commands.reset_stats();
    node.expire_cycle.reset_stats();
    let Stats { longest_turn_ever_ns, longest_snapshot_step_ever_ns, peak_memory, peak_memory_unix, .. } = node.stats;
    node.stats = Stats { longest_turn_ever_ns, longest_snapshot_step_ever_ns, peak_memory, peak_memory_unix, ..Stats::default() };
    ctx.out.ok();
    Ok(())
}

fn config_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(ctx.out, "CONFIG", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
];

const OPERATOR: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

const CONFIG_ROWS: &[Spec] = &[
    Spec::new("get", -3, OPERATOR, get).docs(
        "server",
        "2.0.0",
        "O(N) when N is the number of configuration parameters provided",
        "Returns the effective values of configuration parameters.",
    ),
    Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), config_help).docs(
        "server",
        "5.0.0",
        "O(1)",
        "Returns helpful text about the different subcommands.",
    ),
    Spec::new("resetstat", 2, OPERATOR, resetstat)
        .docs("server", "2.0.0", "O(1)", "Resets the server's statistics.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    Spec::new("rewrite", 2, OPERATOR, rewrite)
        .docs("server", "2.8.0", "O(1)", "Persists the effective configuration to file.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    Spec::new("set", -4, OPERATOR, set)
        .docs("server", "2.0.0", "O(N) when N is the number of configuration parameters provided", "Sets configuration parameters in-flight.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
];

pub(super) const ROWS: &[Spec] = &[Spec::new("config", -2, Flags::empty(), container)
    .docs("server", "2.0.0", "Depends on subcommand.", "A container for server configuration commands.")
    .subcommands(CONFIG_ROWS)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_take_effect_or_none_is_made() {
        let (mut node, slot) = NodeState::for_tests();
        assert_eq!(node.run(slot, &[b"CONFIG", b"SET", b"repl-backlog-size", b"32768", b"timeout", b"5"]), b"+OK\r\n");
        assert_eq!((node.stream.backlog_bytes(), node.config.timeout), (32768, 5));
        assert_eq!(node.requests, [Request::Reconfigure]);
        assert!(node.run(slot, &[b"CONFIG", b"SET", b"timeout", b"6", b"hz", b"x"]).starts_with(b"-ERR CONFIG SET failed"));
        assert_eq!(node.config.timeout, 5);
        assert_eq!(node.run(slot, &[b"CONFIG", b"SET", b"timeout", b"6", b"hz"]), b"-ERR syntax error\r\n");
    }

    #[test]
    fn taking_the_password_away_lets_everyone_in() {
        let (mut node, slot) = NodeState::for_tests();
        assert_eq!(node.run(slot, &[b"CONFIG", b"SET", b"requirepass", b"x"]), b"+OK\r\n");
        assert_eq!(node.run(slot, &[b"PING"]), b"+PONG\r\n");
        node.clients.at_mut(slot).flags -= ClientFlags::AUTHENTICATED;
        assert!(node.run(slot, &[b"PING"]).starts_with(b"-NOAUTH"));
        node.run(slot, &[b"AUTH", b"x"]);
        let other = super::super::Client::new(9, node.clients.at(slot).addr.clone(), node.clients.at(slot).laddr.clone(), -1, 0);
        let other = node.clients.insert(other);
        node.run(slot, &[b"CONFIG", b"SET", b"requirepass", b""]);
        assert_eq!(node.run(other, &[b"PING"]), b"+PONG\r\n");
    }

    #[test]
    fn a_rewrite_leaves_a_whole_file_that_says_what_is_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.conf");
        let (mut node, slot) = NodeState::for_tests();
        assert_eq!(node.run(slot, &[b"CONFIG", b"REWRITE"]), b"-ERR The server is running without a config file\r\n");
        std::fs::write(&path, "# mine\ntimeout 1\nslaveof h 1\n").unwrap();
        node.config_file = Some(path.clone());
        node.config.timeout = 7;
        node.config.slaveof = Some(("h".to_owned(), 1));
        assert_eq!(node.run(slot, &[b"CONFIG", b"REWRITE"]), b"+OK\r\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# mine\ntimeout 7\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        node.config_file = Some(dir.path().join("nosuch/node.conf"));
        assert_eq!(node.run(slot, &[b"CONFIG", b"REWRITE"]), b"-ERR Rewriting config file: No such file or directory\r\n");
    }

    #[test]
    fn the_folder_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let (mut node, slot) = NodeState::for_tests();
        node.config.enable_protected_configs = config::EnableWhere::Yes;
        let mut ask =
            |name: &str| String::from_utf8(node.run(slot, &[b"CONFIG", b"SET", b"dir", dir.path().join(name).to_str().unwrap().as_bytes()])).unwrap();
        assert_eq!(ask("nosuch"), "-ERR CONFIG SET failed (possibly related to argument 'dir') - No such file or directory\r\n");
        assert_eq!(ask("file"), "-ERR CONFIG SET failed (possibly related to argument 'dir') - Not a directory\r\n");
        assert_eq!(ask("."), "+OK\r\n");
    }

    #[test]
    fn statistics_start_again() {
        let (mut node, slot) = NodeState::for_tests();
        node.run(slot, &[b"GET", b"a"]);
        node.stats.longest_turn_ever_ns = 5;
        assert_eq!(node.run(slot, &[b"CONFIG", b"RESETSTAT"]), b"+OK\r\n");
        assert_eq!((node.stats.keyspace_misses, node.stats.longest_turn_ever_ns), (0, 5));
        let text = String::from_utf8(node.run(slot, &[b"INFO", b"commandstats"])).unwrap();
        assert!(!text.contains("cmdstat_get:") && text.contains("cmdstat_config|resetstat:calls=1,"), "{text}");
    }
}
