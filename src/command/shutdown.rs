//! SHUTDOWN: a node that goes lets its slaves have the last of the stream first, for as long as `shutdown-timeout` says. Changes the pause of writes and
//! `NodeState::shutdown`; waiting needs no actor, since the turn asks at its end whether it is over. Saving and going are the Keyspace's.
//!
//! Invariant: writes are paused for it exactly while there is a shutdown.

use slog::{Logger, info};

use super::blocked::Wait;
use super::role_info::replica_address;
use super::{CmdResult, CommandError, Ctx, Flags, NodeState, Request, Spec};
use crate::replication::{GETACK, ReplOffset, Replica, Role};

/// A shutdown that waits for slaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    how: ShutdownHow,
    deadline_ms: i64,
    /// What was written before it: a slave that has acknowledged so much has all of it.
    wanted: ReplOffset,
}

/// What SHUTDOWN's words say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownHow {
    /// SAVE or NOSAVE; `None`: by the save points.
    pub save: Option<bool>,
    /// Do not wait for slaves.
    pub now: bool,
    /// Go even if the data can't be saved.
    pub force: bool,
}

/// The node answers by going: the connection closes. Only if that comes to nothing is it told, later.
fn shutdown(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut how = ShutdownHow::default();
    let mut abort = false;
    for option in ctx.args.iter().skip(1) {
        match option.to_ascii_uppercase().as_slice() {
            b"NOSAVE" if how.save.is_none_or(|save| !save) => how.save = Some(false),
            b"SAVE" if how.save.is_none_or(|save| save) => how.save = Some(true),
            b"NOW" => how.now = true,
            b"FORCE" => how.force = true,
            b"ABORT" => abort = true,
            _ => return Err(CommandError::SYNTAX),
        }
    }
    if abort && how != ShutdownHow::default() {
        return Err(CommandError::SYNTAX);
    }
    if abort {
        if ctx.node.shutdown.is_none() {
            return Err("ERR No shutdown in progress.".into());
        }
        info!(ctx.node.log, "Shutdown manually aborted.");
        ctx.node.fail_shutdown();
        ctx.out.ok();
        return Ok(());
    }
    // A script that is ended for it has written what slaves shall not wait for.
    how.now |= ctx.node.scripts.is_running();
    ctx.node.suspend(ctx.slot, Wait::Shutdown, None);
    ctx.node.requests.push(Request::Shutdown(how));
    Ok(())
}

impl NodeState {
    /// What is to be done of a SHUTDOWN now: `Some` is to go at once. Else writes are paused until `shutdown_due`; one more SHUTDOWN waits for the end of the first.
    pub fn begin_shutdown(&mut self, how: ShutdownHow) -> Option<ShutdownHow> {
        if self.shutdown.is_some() {
            return None;
        }
        info!(self.log, "User requested shutdown...");
        let wanted = self.stream.offset();
        let seconds = self.config.shutdown_timeout;
        if how.now || seconds == 0 || !self.lags_behind(wanted) {
            self.log_lagging(wanted);
            return Some(how);
        }
        info!(self.log, "Waiting for replicas before shutting down.");
        if matches!(self.role, Role::Master) && !self.is_stream_held() {
            // Who is asked answers at once, not at its next second.
            self.stream.append(GETACK);
        }
        let deadline_ms = self.steady_ms.saturating_add((seconds as i64).saturating_mul(1000));
        self.shutdown = Some(Shutdown { how, deadline_ms, wanted });
        self.pause_for_shutdown(true);
        None
    }

    /// The shutdown that has waited for long enough, once. A failover under way is let end first: who takes over has to be asked by this node.
    pub fn shutdown_due(&mut self) -> Option<ShutdownHow> {
        let shutdown = self.shutdown?;
        let waits = self.failover.is_some() || self.lags_behind(shutdown.wanted);
        if waits && self.steady_ms < shutdown.deadline_ms {
            return None;
        }
        self.log_lagging(shutdown.wanted);
        Some(shutdown.how)
    }

    /// It is aborted, or the data could not be saved: the node goes on as before.
    pub fn fail_shutdown(&mut self) {
        self.shutdown = None;
        for slot in self.blocked.waiting_for(Wait::Shutdown) {
            self.resume(slot, |out| out.error("ERR Errors trying to SHUTDOWN. Check logs."));
        }
        self.pause_for_shutdown(false);
    }

    /// What INFO shows of a shutdown that waits.
    pub(super) fn shutdown_in_ms(&self) -> Option<i64> {
        self.shutdown.map(|shutdown| shutdown.deadline_ms - self.steady_ms)
    }

    /// When the shutdown waits no longer.
    pub(super) fn shutdown_deadline_ms(&self) -> Option<i64> {
        self.shutdown.map(|shutdown| shutdown.deadline_ms)
    }

    fn lags_behind(&self, wanted: ReplOffset) -> bool {
        self.clients.replicas().any(|(_, _, replica)| lags(replica, wanted))
    }

    /// What is lost if no slave gets it later.
    fn log_lagging(&self, wanted: ReplOffset) {
        let (mut all, mut in_sync) = (0, 0);
        for (_, client, replica) in self.clients.replicas() {
            all += 1;
            if replica.ack_offset >= wanted {
                in_sync += 1;
                continue;
            }
            log_one(&self.log, &replica_address(client, replica), replica, wanted, self.steady_ms);
        }
        if all > 0 {
            info!(self.log, "{in_sync} of {all} replicas are in sync when shutting down.");
        }
    }
}

/// Whether it is waited for. One that has asked by SYNC never acknowledges.
fn lags(replica: &Replica, wanted: ReplOffset) -> bool {
    !replica.plain_sync && replica.ack_offset < wanted
}

fn log_one(log: &Logger, address: &str, replica: &Replica, wanted: ReplOffset, now_ms: i64) {
    let behind = wanted.0 - replica.ack_offset.0;
    let lag = (now_ms - replica.ack_ms).max(0) / 1000;
    info!(log, "Lagging replica {address} reported offset {behind} behind master, lag={lag}, state={}.", replica.state.info_name());
}

pub(super) const ROWS: &[Spec] = &[Spec::new(
    "shutdown",
    -1,
    Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE).union(Flags::NO_MULTI).union(Flags::ALLOW_BUSY),
    shutdown,
)
.docs(
    "server",
    "1.0.0",
    "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
    "Synchronously saves the database(s) to disk and shuts down the Redis server.",
)];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{Client, ClientFlags, Slot};
    use super::*;
    use crate::env::Addr;
    use crate::replication::ReplicaState;

    const NOTHING: ShutdownHow = ShutdownHow { save: None, now: false, force: false };

    fn other(b: &mut Bench) -> Slot {
        let addr = Addr::Ip(([10, 0, 0, 9], 4000).into());
        let mut client = Client::new(b.node.clients.next_id(), addr.clone(), addr, -1, b.node.steady_ms);
        client.flags |= ClientFlags::AUTHENTICATED;
        b.node.clients.insert(client)
    }

    /// A slave that is online.
    fn slave(b: &mut Bench) -> Slot {
        let slot = other(b);
        b.node.clients.make_replica(slot).replica =
            Some(Box::new(Replica { state: ReplicaState::Online, listening_port: 7000, ..Replica::default() }));
        slot
    }

    /// Says SHUTDOWN and does what the turn's end does. The client that said it.
    fn begin(b: &mut Bench, words: &str) -> (Slot, Option<ShutdownHow>) {
        let slot = other(b);
        let line = format!("SHUTDOWN {words}");
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        assert_eq!(b.node.run(slot, &words), b"");
        let Some(Request::Shutdown(how)) = b.node.requests.pop() else { panic!("it is asked for") };
        (slot, b.node.begin_shutdown(how))
    }

    #[test]
    fn options_exclude_each_other() {
        let mut b = Bench::new();
        for wrong in ["SAVE NOSAVE", "NOSAVE SAVE", "ABORT NOW", "FORCE ABORT", "FOO"] {
            assert_eq!(b.say(&format!("SHUTDOWN {wrong}")), "-ERR syntax error");
        }
        assert_eq!(b.say("SHUTDOWN ABORT abort"), "-ERR No shutdown in progress.");
        assert!(b.node.requests.is_empty());
        let (_, how) = begin(&mut b, "nosave FORCE");
        assert_eq!(how, Some(ShutdownHow { save: Some(false), force: true, ..NOTHING }), "nobody to wait for");
    }

    #[test]
    fn a_slave_that_lags_is_waited_for() {
        let mut b = Bench::new();
        let slave = slave(&mut b);
        b.say("set a 1");
        let wanted = b.node.stream.offset();
        assert_eq!(begin(&mut b, "").1, None);
        assert_eq!(b.stream(), ["set a 1", "REPLCONF GETACK *"]);
        assert!(b.node.is_stream_held());
        assert_eq!(begin(&mut b, "NOW").1, None, "the first one counts");
        assert_eq!(b.node.shutdown_due(), None);
        b.node.run(slave, &[b"REPLCONF", b"ACK", wanted.0.to_string().as_bytes()]);
        assert_eq!(b.node.shutdown_due(), Some(NOTHING));
    }

    #[test]
    fn its_time_is_bounded() {
        let mut b = Bench::new();
        slave(&mut b);
        b.say("set a 1");
        b.say("config set shutdown-timeout 3");
        let from = b.node.steady_ms;
        assert_eq!(begin(&mut b, "SAVE").1, None);
        assert_eq!(b.node.next_deadline_ms(), Some(from + 3000));
        assert!(b.say("info server").contains("shutdown_in_milliseconds:3000"));
        b.say("config set shutdown-timeout 0");
        b.pass_ms(2999);
        assert_eq!(b.node.shutdown_due(), None);
        b.pass_ms(1);
        assert_eq!(b.node.shutdown_due(), Some(ShutdownHow { save: Some(true), ..NOTHING }));
    }

    #[test]
    fn now_and_a_time_of_zero_wait_for_nobody() {
        let mut b = Bench::new();
        slave(&mut b);
        b.say("set a 1");
        assert_eq!(begin(&mut b, "NOW").1, Some(ShutdownHow { now: true, ..NOTHING }));
        b.say("config set shutdown-timeout 0");
        assert_eq!(begin(&mut b, "").1, Some(NOTHING));
        assert!(!b.node.is_stream_held());
    }

    #[test]
    fn who_asked_is_told_of_an_abort_and_writes_go_on() {
        let mut b = Bench::new();
        slave(&mut b);
        b.say("set a 1");
        let (first, _) = begin(&mut b, "");
        let (second, _) = begin(&mut b, "NOSAVE");
        assert_eq!(b.say("client unpause"), "+OK");
        assert!(b.node.is_stream_held(), "that is another pause");
        let id = b.node.clients.at(first).id;
        assert_eq!(b.say(&format!("client unblock {id}")), ":0");
        assert_eq!(b.say("SHUTDOWN ABORT"), "+OK");
        for slot in [first, second] {
            let client = b.node.clients.at(slot);
            assert_eq!(client.out, b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
            assert!(!client.is(ClientFlags::BLOCKED));
        }
        assert!(!b.node.is_stream_held() && b.node.next_deadline_ms().is_none());
        assert_eq!(b.say("SHUTDOWN ABORT"), "-ERR No shutdown in progress.");
    }

    #[test]
    fn a_failover_is_let_end_first_and_who_never_acknowledges_is_not_waited_for() {
        let mut b = Bench::new();
        let slave = slave(&mut b);
        b.say("set a 1");
        assert_eq!(b.say("failover"), "+OK");
        assert_eq!(begin(&mut b, "").1, None);
        b.node.clients.at_mut(slave).replica.as_mut().expect("a slave").plain_sync = true;
        assert_eq!(b.node.shutdown_due(), None);
        b.say("failover abort");
        assert_eq!(b.node.shutdown_due(), Some(NOTHING));
    }
}
