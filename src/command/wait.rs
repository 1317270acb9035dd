//! WAIT and WAITAOF; CLIENT PAUSE, UNPAUSE and UNBLOCK, whose rows are with CLIENT's.

use super::blocked::Wait;
use super::key_waits::timeout_ms;
use super::{Acl, ClientFlags, CmdResult, CommandError, Ctx, Flags, NodeState, Slot, Spec};
use crate::replication::Role;
use crate::types::number::parse_i64;

/// A time-out in ms at `index`, as a moment of the steady clock.
fn moment(ctx: &Ctx<'_>, index: usize) -> Result<i64, CommandError> {
    let ms = parse_i64(ctx.args.at(index)).ok_or(CommandError::text("ERR timeout is not an integer or out of range"))?;
    if ms < 0 {
        return Err("ERR timeout is negative".into());
    }
    ctx.node.steady_ms.checked_add(ms).ok_or(CommandError::text("ERR timeout is out of range"))
}

fn wait(ctx: &mut Ctx<'_>) -> CmdResult {
    if !matches!(ctx.node.role, Role::Master) {
        return Err(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which \
                    is not the default) writes to replicas are just local and are not propagated."
                .into(),
        );
    }
    let replicas = ctx.int(1)?;
    let deadline_ms = timeout_ms(ctx, 2)?;
    let offset = ctx.client().last_write;
    ctx.node.await_acks(ctx.slot, Wait::Acks { replicas, offset }, deadline_ms, ctx.out);
    Ok(())
}

fn waitaof(ctx: &mut Ctx<'_>) -> CmdResult {
    let local = ctx.int(1)?;
    if !(0..=1).contains(&local) {
        return Err("ERR value is out of range, value must between 0 and 1".into());
    }
    let replicas = ctx.int(2)?;
    if replicas < 0 {
        return Err("ERR value is out of range, must be positive".into());
    }
    let deadline_ms = timeout_ms(ctx, 3)?;
    if !matches!(ctx.node.role, Role::Master) {
        return Err(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated."
                .into(),
        );
    }
    if local > 0 {
        return Err("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.".into());
    }
    let offset = ctx.client().last_write;
    ctx.node.await_acks(ctx.slot, Wait::AofAcks { replicas, offset }, deadline_ms, ctx.out);
    Ok(())
}

pub(super) fn client_pause(ctx: &mut Ctx<'_>) -> CmdResult {
    let writes_only = match ctx.args.len() {
        3 => false,
        4 if ctx.args.at(3).eq_ignore_ascii_case(b"write") => true,
        4 if ctx.args.at(3).eq_ignore_ascii_case(b"all") => false,
        4 => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".into()),
        _ => return Err(wrong_arguments("pause")),
    };
    let until_ms = moment(ctx, 2)?;
    ctx.node.pause_clients(writes_only, until_ms);
    ctx.out.ok();
    Ok(())
}

pub(super) fn client_unpause(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.node.unpause();
    ctx.out.ok();
    Ok(())
}

fn wrong_arguments(subcommand: &str) -> CommandError {
    format!("ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try CLIENT HELP.").into()
}

pub(super) fn client_unblock(ctx: &mut Ctx<'_>) -> CmdResult {
    let with_error = match ctx.args.len() {
        3 => false,
        4 if ctx.args.at(3).eq_ignore_ascii_case(b"timeout") => false,
        4 if ctx.args.at(3).eq_ignore_ascii_case(b"error") => true,
        4 => return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".into()),
        _ => return Err(wrong_arguments("unblock")),
    };
    let id = ctx.int(2)?;
    let node = &mut *ctx.node;
    let slot = u64::try_from(id).ok().and_then(|id| node.clients.by_id(id));
    // A paused client has asked for nothing that could be broken off, and a shutdown is aborted by other words.
    let waiting = slot.filter(|slot| node.blocked.wait_of(*slot).is_some_and(|wait| !matches!(wait, Wait::Unpause | Wait::Shutdown)));
    if let Some(slot) = waiting {
        match with_error {
            true => node.unblock_with_error(slot, "UNBLOCKED client unblocked via CLIENT UNBLOCK"),
            false => node.time_out(slot),
        }
    }
    ctx.out.int(i64::from(waiting.is_some()));
    Ok(())
}

impl NodeState {
    /// Postpones a request until a pause ends, if there is one that concerns it: its client is suspended then. Slaves are never paused.
    #[cold]
    pub(super) fn postpone(&mut self, slot: Slot, spec: &'static Spec, flags: Flags) -> bool {
        let Some(pause) = self.blocked.pause(self.steady_ms) else {
            self.unpause();
            return false;
        };
        let client = self.clients.at_mut(slot);
        let replicates = Flags::WRITE.union(Flags::MAY_REPLICATE);
        let writes = flags.intersects(replicates)
            || spec.name == "exec" && client.queued.commands.iter().any(|(queued, ..)| queued.flags.intersects(replicates));
        if client.is(ClientFlags::REPLICA) || pause.writes_only && !writes {
            return false;
        }
        client.last_command = Some(spec);
        client.last_subcommand = None;
        self.suspend(slot, Wait::Unpause, None);
        true
    }
}

const TIPS: &[&str] = &["request_policy:all_shards", "response_policy:agg_min"];

pub(super) const ROWS: &[Spec] = &[
    Spec::new("wait", 3, Flags::BLOCKING, wait).acl(Acl::CONNECTION).tips(TIPS).docs(
        "generic",
        "3.0.0",
        "O(1)",
        "Blocks until the asynchronous replication of all preceding write commands sent by the connection is completed.",
    ),
    Spec::new("waitaof", 4, Flags::BLOCKING, waitaof).acl(Acl::CONNECTION).tips(TIPS).docs(
        "generic",
        "7.2.0",
        "O(1)",
        "Blocks until all of the preceding write commands sent by the connection are written to the append-only file of the master and/or replicas.",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{Client, Executed, execute};
    use super::*;
    use crate::replication::{ReplOffset, Replica, ReplicaState};
    use crate::resp::{ArgRange, Args, Reply};

    /// A slave that is online.
    fn slave(b: &mut Bench) -> Slot {
        let slot = other(b);
        b.node.clients.make_replica(slot).replica = Some(Box::new(Replica { state: ReplicaState::Online, ..Replica::default() }));
        slot
    }

    fn other(b: &mut Bench) -> Slot {
        let addr = b.node.clients.at(b.slot).addr.clone();
        let mut client = Client::new(b.node.clients.next_id(), addr.clone(), addr, -1, b.node.steady_ms);
        client.flags |= ClientFlags::AUTHENTICATED;
        b.node.clients.insert(client)
    }

    fn ack(b: &mut Bench, slave: Slot, offset: ReplOffset) {
        let reply = b.node.run(slave, &[b"REPLCONF", b"ACK", offset.0.to_string().as_bytes()]);
        assert_eq!(reply, b"");
        b.node.wake_acked();
    }

    fn pushed(b: &mut Bench, slot: Slot) -> String {
        String::from_utf8(std::mem::take(&mut b.node.clients.at_mut(slot).out)).unwrap()
    }

    /// Executes as the turn does, which sees whether the request was postponed.
    fn is_postponed(b: &mut Bench, slot: Slot, name: &[u8], key: &[u8]) -> bool {
        let bytes = [name, key, key].concat();
        let (n, k) = (name.len() as u32, key.len() as u32);
        let all = [ArgRange { start: 0, len: n }, ArgRange { start: n, len: k }, ArgRange { start: n + k, len: k }];
        let ranges = &all[..if name == b"GET" { 2 } else { 3 }];
        let row = b.node.commands.find(name);
        let mut out = Reply::new(b.node.clients.at(slot).proto);
        let executed = execute(&mut b.node, slot, Args::new(&bytes, ranges), row, None, &mut out);
        assert_eq!(out.buf.is_empty(), executed == Executed::Postponed);
        executed == Executed::Postponed
    }

    #[test]
    fn wait_counts_slaves_that_have_the_last_write() {
        let mut b = Bench::new();
        let slave = slave(&mut b);
        assert_eq!(b.say("wait 1 0"), ":1", "nothing written yet");
        b.say("set a 1");
        let offset = b.node.stream.offset();
        assert_eq!(b.say("wait 1 1000"), "");
        assert!(b.node.clients.at(b.slot).is(ClientFlags::BLOCKED));
        b.node.ask_for_acks();
        b.node.ask_for_acks();
        assert_eq!(b.stream(), ["set a 1", "REPLCONF GETACK *"]);
        ack(&mut b, slave, ReplOffset(offset.0 - 1));
        assert!(!b.node.blocked.has_news());
        ack(&mut b, slave, offset);
        assert_eq!(b.node.blocked.take_resumed(), [b.slot]);
        assert_eq!(pushed(&mut b, Slot(0)), ":1\r\n");
        assert_eq!(b.say("wait 1 0"), ":1");
        assert_eq!(b.node.blocked.next_deadline_ms(), None);
    }

    #[test]
    fn a_wait_ends_with_its_time_and_says_how_many_there_were() {
        let mut b = Bench::new();
        slave(&mut b);
        b.say("set a 1");
        assert_eq!(b.say("wait 2 100"), "");
        assert_eq!(b.node.blocked.next_deadline_ms(), Some(b.node.steady_ms + 100));
        b.pass_ms(99);
        b.node.end_waits();
        assert_eq!(pushed(&mut b, Slot(0)), "");
        b.pass_ms(1);
        b.node.end_waits();
        assert_eq!(pushed(&mut b, Slot(0)), ":0\r\n");
        assert!(!b.node.clients.at(b.slot).is(ClientFlags::BLOCKED));
    }

    #[test]
    fn inside_a_transaction_nobody_waits() {
        let mut b = Bench::new();
        for line in ["multi", "set a 1", "wait 1 0", "waitaof 0 1 0"] {
            b.say(line);
        }
        assert_eq!(b.say("exec"), "*3 +OK :0 *2 :0 :0");
        assert_eq!(b.node.blocked.next_deadline_ms(), None);
    }

    #[test]
    fn waitaof_counts_what_slaves_have_in_their_files() {
        let mut b = Bench::new();
        let slave = slave(&mut b);
        b.say("set a 1");
        let offset = b.node.stream.offset();
        assert_eq!(b.say("waitaof 0 1 0"), "");
        ack(&mut b, slave, offset);
        assert!(!b.node.blocked.has_news());
        let text = offset.0.to_string();
        b.node.run(slave, &[b"REPLCONF", b"ACK", text.as_bytes(), b"FACK", text.as_bytes()]);
        b.node.wake_acked();
        assert_eq!(pushed(&mut b, Slot(0)), "*2\r\n:0\r\n:1\r\n");
    }

    #[test]
    fn clients_are_unblocked_by_others_and_forgotten_when_they_go() {
        let mut b = Bench::new();
        let waiting = other(&mut b);
        let id = b.node.clients.at(waiting).id;
        b.node.run(waiting, &[b"WAIT", b"1", b"0"]);
        assert_eq!(b.say(&format!("client unblock {id} error")), ":1");
        assert_eq!(pushed(&mut b, waiting), "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
        assert_eq!(b.say(&format!("client unblock {id}")), ":0");
        assert_eq!(b.node.blocked.take_resumed(), [waiting]);
        b.node.run(waiting, &[b"WAIT", b"1", b"50"]);
        b.node.blocked.forget(waiting);
        assert_eq!(b.node.blocked.next_deadline_ms(), None);
    }

    #[test]
    fn a_pause_of_writes_postpones_writes_in_their_order() {
        let mut b = Bench::new();
        let (first, second) = (other(&mut b), other(&mut b));
        b.say("set due x px 10");
        assert_eq!(b.say("client pause 100 write"), "+OK");
        b.stream();
        assert!(is_postponed(&mut b, second, b"SET", b"a"));
        assert!(is_postponed(&mut b, first, b"SET", b"a"));
        b.pass_ms(20);
        let own = b.slot;
        assert!(!is_postponed(&mut b, own, b"GET", b"due"));
        assert_eq!(b.say("dbsize"), ":1", "nothing expires for good");
        assert!(b.stream().is_empty());
        b.say("client pause 50 write");
        assert_eq!(b.node.blocked.next_deadline_ms(), Some(b.node.steady_ms + 80), "the longer pause stays");
        assert_eq!(b.node.blocked.take_resumed(), [second, first], "to look again");
        assert!(is_postponed(&mut b, second, b"SET", b"a"));
        b.pass_ms(80);
        b.node.end_waits();
        assert_eq!(b.node.blocked.take_resumed(), [second]);
        assert!(!is_postponed(&mut b, second, b"SET", b"a"));
    }

    #[test]
    fn a_pause_of_all_spares_slaves_only() {
        let mut b = Bench::new();
        let (slave, reader) = (slave(&mut b), other(&mut b));
        b.say("client pause 100");
        assert!(is_postponed(&mut b, reader, b"GET", b"a"));
        let offset = b.node.stream.offset();
        ack(&mut b, slave, offset);
        assert_eq!(b.node.clients.at(slave).replica.as_ref().unwrap().ack_offset, offset);
    }
}
