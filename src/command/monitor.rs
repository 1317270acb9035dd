//! MONITOR: every command that has run, as a line to those who asked for it. Administrative commands and passwords are left out. Costs nothing but
//! one comparison a command while nobody watches.

use super::slowlog::is_secret;
use super::{ClientFlags, CmdResult, CommandError, Ctx, Flags, NodeState, ReplyMode, Slot, Spec};
use crate::resp::Args;

fn monitor(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.node.effects.depth > 1 {
        return Err("ERR MONITOR isn't allowed for DENY BLOCKING client".into());
    }
    // Neither a slave nor somebody who watches already gets an answer, as in Redis.
    if !ctx.client().flags.intersects(ClientFlags::REPLICA | ClientFlags::MONITOR) {
        ctx.node.clients.make_monitor(ctx.slot);
        ctx.out.ok();
    }
    Ok(())
}

/// Whether monitors are told of such commands at all.
fn is_shown(spec: &Spec) -> bool {
    !spec.flags.intersects(Flags::ADMIN | Flags::SKIP_MONITOR)
}

/// What a monitor may not do: Redis takes it for a kind of slave.
pub(super) fn refuse_data_commands(spec: &Spec) -> CmdResult {
    match spec.flags.intersects(Flags::WRITE | Flags::READONLY | Flags::MAY_REPLICATE) {
        true => Err(CommandError::text("ERR Replica can't interact with the keyspace")),
        false => Ok(()),
    }
}

impl NodeState {
    /// Tells everybody who watches of a command that has run. Scripts have the flag SKIP_MONITOR: their line comes before those of what they call.
    #[inline]
    pub(super) fn tell_monitors(&mut self, slot: Slot, spec: &Spec, args: Args<'_>) {
        if !self.clients.monitors().is_empty() && is_shown(spec) {
            self.show_to_monitors(slot, args);
        }
    }

    #[cold]
    fn show_to_monitors(&mut self, slot: Slot, args: Args<'_>) {
        let Some(client) = self.clients.get(slot) else { return };
        let now_us = self.env.clock.unix_us();
        let source = match &self.config.unixsocket {
            _ if self.scripts.is_running() => "lua".to_owned(),
            Some(path) if client.is(ClientFlags::UNIX_SOCKET) => format!("unix:{}", path.display()),
            _ => client.addr.to_string(),
        };
        let mut line = format!("+{}.{:06} [{} {source}]", now_us.div_euclid(1_000_000), now_us.rem_euclid(1_000_000), client.db.0).into_bytes();
        for (index, arg) in args.iter().enumerate() {
            line.push(b' ');
            quote(&mut line, if is_secret(args, index) { b"(redacted)" } else { arg });
        }
        line.extend_from_slice(b"\r\n");
        for monitor in self.clients.monitors().to_vec() {
            if self.clients.at(monitor).reply_mode == ReplyMode::On {
                self.push(monitor, &line);
            }
        }
    }
}

impl Ctx<'_> {
    /// Tells those who watch before the command has run.
    pub(super) fn show_to_monitors(&mut self) {
        if !self.node.clients.monitors().is_empty() {
            self.node.show_to_monitors(self.slot, self.args);
        }
    }
}

/// Bytes in quotes, what does not print escaped.
fn quote(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(*byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

pub(super) const ROWS: &[Spec] = &[Spec::new("monitor", 1, Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE), monitor)
    .docs("server", "1.0.0", "", "Listens for all requests received by the server in real-time.")];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{Client, Slot};

    fn watcher(b: &mut Bench) -> Slot {
        let addr = b.node.clients.at(b.slot).addr.clone();
        let mut client = Client::new(b.node.clients.next_id(), addr.clone(), addr, -1, 0);
        client.flags |= super::ClientFlags::AUTHENTICATED;
        let slot = b.node.clients.insert(client);
        assert_eq!(b.node.run(slot, &[b"MONITOR"]), b"+OK\r\n");
        slot
    }

    /// What the watcher has seen since the last call, without times.
    fn seen(b: &mut Bench, slot: Slot) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut b.node.clients.at_mut(slot).out)).unwrap();
        let line = |line: &str| line.split_once(' ').unwrap().1.to_owned();
        text.lines().map(line).collect()
    }

    #[test]
    fn commands_that_have_run_are_shown_without_passwords() {
        let mut b = Bench::new();
        let watcher = watcher(&mut b);
        b.node.run(b.slot, &[b"SET", b"a\"\\\x07\n\t\xe9 ", b""]);
        for line in ["get", "nosuch", "select 3", "hello 2 auth default x", "auth x y", "config get x", "exec"] {
            b.say(line);
        }
        let wanted = [
            r#"[0 127.0.0.1:1] "SET" "a\"\\\a\n\t\xe9 " """#,
            r#"[3 127.0.0.1:1] "select" "3""#,
            r#"[3 127.0.0.1:1] "hello" "2" "auth" "(redacted)" "(redacted)""#,
            r#"[3 127.0.0.1:1] "auth" "(redacted)" "(redacted)""#,
            r#"[3 127.0.0.1:1] "exec""#,
        ];
        assert_eq!(seen(&mut b, watcher), wanted);
    }

    #[test]
    fn a_transaction_is_shown_when_it_runs() {
        let mut b = Bench::new();
        let watcher = watcher(&mut b);
        for line in ["multi", "set a 1", "monitor"] {
            b.say(line);
        }
        assert_eq!(seen(&mut b, watcher), [r#"[0 127.0.0.1:1] "multi""#]);
        assert_eq!(b.say("exec"), "*2 +OK -ERR MONITOR isn't allowed for DENY BLOCKING client");
        assert_eq!(seen(&mut b, watcher), [r#"[0 127.0.0.1:1] "set" "a" "1""#, r#"[0 127.0.0.1:1] "exec""#]);
    }

    #[test]
    fn a_watcher_keeps_to_watching_until_it_resets() {
        let mut b = Bench::new();
        let watcher = watcher(&mut b);
        assert_eq!(b.node.run(watcher, &[b"MONITOR"]), b"");
        assert_eq!(b.node.run(watcher, &[b"GET", b"a"]), b"-ERR Replica can't interact with the keyspace\r\n");
        assert_eq!(b.node.run(watcher, &[b"PING"]), b"+PONG\r\n");
        assert_eq!(b.node.run(watcher, &[b"RESET"]), b"+RESET\r\n");
        seen(&mut b, watcher);
        b.say("ping");
        assert!(seen(&mut b, watcher).is_empty());
        assert_eq!(b.node.run(watcher, &[b"GET", b"a"]), b"$-1\r\n");
    }
}
