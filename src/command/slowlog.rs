//! SLOWLOG: the commands that took longest, the newest first, in bounded memory. Passwords are not kept.

use std::collections::VecDeque;

use super::help::{container, help, unknown_or_arity};
use super::{CmdResult, Ctx, Flags, NodeState, Slot, Spec};
use crate::resp::Args;
use crate::types::number::parse_i64;

/// Arguments kept of an entry, and bytes of each, as in Redis.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
struct SlowEntry {
    id: u64,
    unix_seconds: i64,
    us: u64,
    args: Vec<Vec<u8>>,
    addr: String,
    name: Vec<u8>,
}

/// The newest entries; never more than `slowlog-max-len` was when the last one came.
#[derive(Default)]
pub struct Slowlog {
    entries: VecDeque<SlowEntry>,
    next_id: u64,
}

impl NodeState {
    /// Notes a command that has run, if it was slow. The executor calls this for each command, so the common answer comes first.
    #[inline]
    pub fn note_duration(&mut self, slot: Slot, spec: &'static Spec, args: Args<'_>, elapsed_ns: u64) {
        let threshold_us = self.config.slowlog_log_slower_than;
        if threshold_us < 0 || elapsed_ns / 1000 < threshold_us as u64 {
            return;
        }
        self.record_slow(slot, spec, args, elapsed_ns / 1000);
    }

    #[cold]
    fn record_slow(&mut self, slot: Slot, spec: &'static Spec, args: Args<'_>, us: u64) {
        if spec.flags.contains(Flags::SKIP_SLOWLOG) {
            return;
        }
        let (addr, name) = match self.clients.get(slot) {
            Some(client) => (client.addr.to_string(), client.name.clone()),
            None => (String::new(), Vec::new()),
        };
        let log = &mut self.slowlog;
        let entry = SlowEntry { id: log.next_id, unix_seconds: self.now_ms / 1000, us, args: kept_args(args), addr, name };
        log.next_id += 1;
        log.entries.push_front(entry);
        log.entries.truncate(usize::try_from(self.config.slowlog_max_len).unwrap_or(usize::MAX));
    }
}

/// Whether the argument at `index` may be a password: neither the log nor monitors get it.
pub(super) fn is_secret(args: Args<'_>, index: usize) -> bool {
    let is = |at: usize, word: &[u8]| args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
    let sensitive = |at: usize| ["requirepass", "masterauth", "masteruser"].iter().any(|name| is(at, name.as_bytes()));
    if is(0, b"auth") {
        index > 0
    } else if is(0, b"hello") {
        (index > 1 && is(index - 1, b"auth")) || (index > 2 && is(index - 2, b"auth"))
    } else if is(0, b"migrate") {
        let user = is(index.wrapping_sub(1), b"auth2") || is(index.wrapping_sub(2), b"auth2");
        index > 6 && (is(index - 1, b"auth") || user)
    } else {
        is(0, b"config") && is(1, b"set") && index > 2 && index % 2 == 1 && sensitive(index - 1)
    }
}

fn kept_args(args: Args<'_>) -> Vec<Vec<u8>> {
    let mut kept = Vec::with_capacity(args.len().min(ARGS_MAX));
    for (index, arg) in args.iter().enumerate() {
        if index == ARGS_MAX - 1 && args.len() > ARGS_MAX {
            kept.push(format!("... ({} more arguments)", args.len() - index).into_bytes());
            break;
        }
        if is_secret(args, index) {
            kept.push(b"(redacted)".to_vec());
        } else if arg.len() > ARG_BYTES_MAX {
            let mut cut = arg[..ARG_BYTES_MAX].to_vec();
            cut.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
            kept.push(cut);
        } else {
            kept.push(arg.to_vec());
        }
    }
    kept
}

fn get(ctx: &mut Ctx<'_>) -> CmdResult {
    let count = match ctx.args.len() {
        2 => 10,
        3 => match parse_i64(ctx.args.at(2)) {
            Some(-1) => usize::MAX,
            Some(count) if count >= 0 => count as usize,
            _ => return Err("ERR count should be greater than or equal to -1".into()),
        },
        _ => return Err(unknown_or_arity(ctx.args.at(1), "SLOWLOG")),
    };
    let entries = &ctx.node.slowlog.entries;
    ctx.out.array(count.min(entries.len()));
    for entry in entries.iter().take(count) {
        ctx.out.array(6);
        ctx.out.int(entry.id as i64);
        ctx.out.int(entry.unix_seconds);
        ctx.out.int(entry.us as i64);
        ctx.out.array(entry.args.len());
        for arg in &entry.args {
            ctx.out.bulk(arg);
        }
        ctx.out.bulk(entry.addr.as_bytes());
        ctx.out.bulk(&entry.name);
    }
    Ok(())
}

fn len(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.int(ctx.node.slowlog.entries.len() as i64);
    Ok(())
}

fn reset(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.node.slowlog.entries.clear();
    ctx.out.ok();
    Ok(())
}

fn slowlog_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(ctx.out, "SLOWLOG", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
];

const OPERATOR: Flags = Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE);

const SLOWLOG_ROWS: &[Spec] = &[
    Spec::new("get", -2, OPERATOR, get)
        .docs("server", "2.2.12", "O(N) where N is the number of entries returned", "Returns the slow log's entries.")
        .tips(&["request_policy:all_nodes", "nondeterministic_output"]),
    Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), slowlog_help).docs(
        "server",
        "6.2.0",
        "O(1)",
        "Show helpful text about the different subcommands",
    ),
    Spec::new("len", 2, OPERATOR, len).docs("server", "2.2.12", "O(1)", "Returns the number of entries in the slow log.").tips(&[
        "request_policy:all_nodes",
        "response_policy:agg_sum",
        "nondeterministic_output",
    ]),
    Spec::new("reset", 2, OPERATOR, reset)
        .docs("server", "2.2.12", "O(N) where N is the number of entries in the slowlog", "Clears all entries from the slow log.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
];

pub(super) const ROWS: &[Spec] = &[Spec::new("slowlog", -2, Flags::empty(), container)
    .docs("server", "2.2.12", "Depends on subcommand.", "A container for slow log commands.")
    .subcommands(SLOWLOG_ROWS)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_commands_are_kept_newest_first_within_the_bound() {
        let (mut node, slot) = NodeState::for_tests();
        node.config.slowlog_log_slower_than = -1;
        node.run(slot, &[b"PING"]);
        assert_eq!(node.run(slot, &[b"SLOWLOG", b"LEN"]), b":0\r\n");
        node.config.slowlog_log_slower_than = 0;
        node.config.slowlog_max_len = 2;
        for word in [b"one", b"two", b"six"] {
            node.run(slot, &[b"ECHO", word]);
        }
        node.config.slowlog_log_slower_than = -1;
        assert_eq!(node.run(slot, &[b"SLOWLOG", b"LEN"]), b":2\r\n");
        let reply = String::from_utf8(node.run(slot, &[b"SLOWLOG", b"GET", b"1"])).unwrap();
        assert!(reply.starts_with("*1\r\n*6\r\n:2\r\n:") && reply.contains("$3\r\nsix\r\n"), "{reply}");
        assert_eq!(node.run(slot, &[b"SLOWLOG", b"RESET"]), b"+OK\r\n");
        assert_eq!(node.run(slot, &[b"SLOWLOG", b"GET", b"-1"]), b"*0\r\n");
    }

    #[test]
    fn long_commands_are_cut_and_passwords_left_out() {
        let (mut node, slot) = NodeState::for_tests();
        node.config.slowlog_log_slower_than = 0;
        let long = [b'x'; 200];
        let mut command: Vec<&[u8]> = vec![b"PING"];
        command.extend(std::iter::repeat_n(&long[..], 40));
        node.run(slot, &command[..2]);
        node.run(slot, &[b"HELLO", b"2", b"AUTH", b"default", b"secret"]);
        let reply = String::from_utf8(node.run(slot, &[b"SLOWLOG", b"GET"])).unwrap();
        assert!(reply.contains(&format!("${}\r\n{}... (72 more bytes)\r\n", 128 + 19, "x".repeat(128))), "{reply}");
        assert!(!reply.contains("secret") && reply.contains("(redacted)"), "{reply}");
        let ranges: Vec<_> = (0..40).map(|_| crate::resp::ArgRange { start: 0, len: 1 }).collect();
        let kept = kept_args(Args::new(b"a", &ranges));
        assert_eq!((kept.len(), kept[31].as_slice()), (32, &b"... (9 more arguments)"[..]));
    }
}
