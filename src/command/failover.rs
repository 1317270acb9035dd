//! FAILOVER: a master hands its place over to a slave that has everything. Changes the role, the pause of writes and `NodeState::failover`; waiting needs no
//! actor, since the turn asks at its end how far the slaves are, and the link to the new master is made as any other.
//!
//! Invariant: writes are paused exactly while there is a failover.

use slog::{info, warn};

use super::replication::{follow, promote};
use super::role_info::address;
use super::{Client, Clients, CmdResult, CommandError, Ctx, Flags, NodeState, Spec};
use crate::env::Mistake;
use crate::replication::{Candidate, Failover, FailoverStep, Replica, ReplicaState, Role};
use crate::types::number::parse_i64;

/// What the arguments say.
#[derive(Default)]
struct Asked {
    target: Option<(String, i64)>,
    timeout_ms: Option<i64>,
    force: bool,
    abort: bool,
}

impl Asked {
    fn parse(ctx: &Ctx<'_>) -> Result<Self, CommandError> {
        let args = ctx.args;
        let number = |at: usize| parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER);
        let mut asked = Asked::default();
        let mut at = 1;
        while at < args.len() {
            let left = args.len() - at - 1;
            match args.at(at).to_ascii_lowercase().as_slice() {
                b"abort" if args.len() == 2 => asked.abort = true,
                b"timeout" if left >= 1 && asked.timeout_ms.is_none() => {
                    let ms = number(at + 1)?;
                    if ms <= 0 {
                        return Err("ERR FAILOVER timeout must be greater than 0".into());
                    }
                    asked.timeout_ms = Some(ms);
                    at += 1;
                }
                b"to" if left >= 2 && asked.target.is_none() => {
                    let port = number(at + 2)?;
                    asked.target = Some((String::from_utf8_lossy(args.at(at + 1)).into_owned(), port));
                    at += 2;
                }
                b"force" if !asked.force => asked.force = true,
                _ => return Err(CommandError::SYNTAX),
            }
            at += 1;
        }
        Ok(asked)
    }
}

fn failover(ctx: &mut Ctx<'_>) -> CmdResult {
    let asked = Asked::parse(ctx)?;
    if asked.abort {
        if ctx.node.failover.is_none() {
            return Err("ERR No failover in progress.".into());
        }
        ctx.node.abort_failover("Failover manually aborted");
        ctx.out.ok();
        return Ok(());
    }
    if ctx.node.failover.is_some() {
        return Err("ERR FAILOVER already in progress.".into());
    }
    if !matches!(ctx.node.role, Role::Master) {
        return Err("ERR FAILOVER is not valid when server is a replica.".into());
    }
    if servers(&ctx.node.clients).next().is_none() {
        return Err("ERR FAILOVER requires connected replicas.".into());
    }
    if asked.force && (asked.timeout_ms.is_none() || asked.target.is_none()) {
        return Err("ERR FAILOVER with force option requires both a timeout and target HOST and IP.".into());
    }
    let target = match asked.target {
        Some((host, port)) => Some(target(ctx.node, host, port)?),
        None => None,
    };
    let deadline_ms = asked.timeout_ms.map(|ms| ctx.node.steady_ms.saturating_add(ms));
    let failover = Failover::new(target, deadline_ms, asked.force);
    info!(ctx.node.log, "FAILOVER requested to {}.", failover.target(); "addr" => %ctx.client().addr);
    ctx.node.failover = Some(failover);
    ctx.node.pause_for_failover(true);
    ctx.out.ok();
    Ok(())
}

/// Slaves without a port serve nobody, and can take nothing over: change feeds, `redis-cli --replica`.
fn servers(clients: &Clients) -> impl Iterator<Item = (&Client, &Replica)> {
    clients.replicas().filter(|(.., replica)| replica.listening_port != 0).map(|(_, client, replica)| (client, replica))
}

/// The slave that is reached there; it must follow the stream.
fn target(node: &NodeState, host: String, port: i64) -> Result<(String, u16), CommandError> {
    let is_meant = |at: &str, listening: u16| at.eq_ignore_ascii_case(&host) && i64::from(listening) == port;
    let found = servers(&node.clients).find(|(client, replica)| is_meant(&address(client, replica), replica.listening_port));
    match found {
        None => Err("ERR FAILOVER target HOST and PORT is not a replica.".into()),
        Some((_, replica)) if replica.state != ReplicaState::Online => Err("ERR FAILOVER target replica is not online.".into()),
        Some((_, replica)) => Ok((host, replica.listening_port)),
    }
}

impl NodeState {
    /// At the end of a turn: hands over to a slave that has all of the stream, or gives up when the time is over.
    pub fn advance_failover(&mut self) {
        let Some(failover) = &mut self.failover else { return };
        let online = servers(&self.clients).filter(|(_, replica)| replica.state == ReplicaState::Online);
        let (offset, waits) = (self.stream.offset(), !self.env.planted(Mistake::FailoverUnwaited));
        let candidates = online.map(|(client, replica)| {
            let acked = if waits { replica.ack_offset } else { offset };
            Candidate { host: address(client, replica), port: replica.listening_port, acked }
        });
        match failover.next(self.steady_ms, offset, candidates) {
            FailoverStep::Wait => {}
            FailoverStep::GiveUp => self.abort_failover("Replica never caught up before timeout"),
            FailoverStep::HandOver { host, port } => {
                info!(self.log, "Failing over to {host}:{port}"; "offset" => self.stream.offset().0);
                follow(self, &host, port);
            }
        }
    }

    /// The failover has failed, or is not wanted any more: this node is the master as before. If the target has been asked already it may have taken over all the
    /// same, without our knowing.
    pub fn abort_failover(&mut self, why: &str) {
        let Some(failover) = self.failover.take() else { return };
        warn!(self.log, "Aborting failover to {}", failover.target(); "why" => why);
        if failover.is_in_progress() {
            promote(self);
        }
        self.pause_for_failover(false);
    }

    /// The target has taken over: what waits to be written here is told that this is a slave now.
    pub fn failover_accepted(&mut self) {
        if self.failover.take().is_some() {
            self.pause_for_failover(false);
        }
    }

    /// When suspended clients, a pause, a failover or a shutdown have something due next.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        let failover = self.failover.as_ref().and_then(Failover::deadline_ms);
        self.blocked.next_deadline_ms().into_iter().chain(failover).chain(self.shutdown_deadline_ms()).min()
    }
}

pub(super) const ROWS: &[Spec] = &[Spec::new("failover", -1, Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE), failover).docs(
    "server",
    "6.2.0",
    "O(1)",
    "Starts a coordinated failover from a server to one of its replicas.",
)];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{ClientFlags, Request, Slot};
    use super::*;
    use crate::env::Addr;

    /// A slave that is online on port 7000 of 10.0.0.9.
    fn slave(b: &mut Bench) -> Slot {
        slave_on(b, 7000)
    }

    fn slave_on(b: &mut Bench, listening_port: u16) -> Slot {
        let addr = Addr::Ip(([10, 0, 0, 9], 4000).into());
        let mut client = Client::new(b.node.clients.next_id(), addr.clone(), addr, -1, b.node.steady_ms);
        client.flags |= ClientFlags::AUTHENTICATED;
        let slot = b.node.clients.insert(client);
        let replica = Replica { state: ReplicaState::Online, listening_port, ..Replica::default() };
        b.node.clients.make_replica(slot).replica = Some(Box::new(replica));
        slot
    }

    fn master_of(b: &Bench) -> Option<(String, u16)> {
        match &b.node.role {
            Role::Master => None,
            Role::Replica(link) => Some((link.host.clone(), link.port)),
        }
    }

    #[test]
    fn the_place_is_handed_over_once_a_slave_has_everything() {
        let mut b = Bench::new();
        let slave = slave(&mut b);
        b.say("set a 1");
        assert_eq!(b.say("failover to 10.0.0.9 7000"), "+OK");
        b.node.advance_failover();
        assert_eq!(master_of(&b), None);
        let offset = b.node.stream.offset();
        b.node.run(slave, &[b"REPLCONF", b"ACK", offset.0.to_string().as_bytes()]);
        b.node.advance_failover();
        assert_eq!(master_of(&b), Some(("10.0.0.9".to_owned(), 7000)));
        assert!(b.node.requests.contains(&Request::Follow) && b.node.blocked.is_paused());
        b.node.failover_accepted();
        assert!(b.node.failover.is_none() && !b.node.blocked.is_paused());
    }

    #[test]
    fn a_slave_that_listens_nowhere_takes_nothing_over() {
        let mut b = Bench::new();
        let feed = slave_on(&mut b, 0);
        b.say("set a 1");
        assert_eq!(b.say("failover"), "-ERR FAILOVER requires connected replicas.");
        slave(&mut b);
        assert_eq!(b.say("failover to 10.0.0.9 0"), "-ERR FAILOVER target HOST and PORT is not a replica.");
        assert_eq!(b.say("failover"), "+OK");
        let offset = b.node.stream.offset();
        b.node.run(feed, &[b"REPLCONF", b"ACK", offset.0.to_string().as_bytes()]);
        b.node.advance_failover();
        assert_eq!(master_of(&b), None);
    }

    #[test]
    fn a_failover_that_takes_too_long_ends_by_itself() {
        let mut b = Bench::new();
        slave(&mut b);
        b.say("set a 1");
        assert_eq!(b.say("failover timeout 100"), "+OK");
        assert_eq!(b.node.next_deadline_ms(), Some(b.node.steady_ms + 100));
        assert_eq!(b.say("client pause 10 write"), "+OK");
        b.pass_ms(99);
        b.node.end_waits();
        b.node.advance_failover();
        assert!(b.node.blocked.is_paused(), "the client's pause is over, this one is not");
        b.pass_ms(1);
        b.node.advance_failover();
        assert!(b.node.failover.is_none() && !b.node.blocked.is_paused());
        assert_eq!((master_of(&b), b.node.next_deadline_ms()), (None, None));
    }

    #[test]
    fn aborting_after_the_target_was_asked_makes_a_new_history() {
        let mut b = Bench::new();
        slave(&mut b);
        b.say("set a 1");
        let before = b.node.stream.replid;
        b.say("failover to 10.0.0.9 7000 force timeout 5");
        b.pass_ms(5);
        b.node.advance_failover();
        assert!(master_of(&b).is_some());
        assert_eq!(b.say("failover abort"), "+OK");
        assert_eq!(master_of(&b), None);
        assert_eq!(b.node.stream.replid2.map(|(replid, _)| replid), Some(before));
        assert!(!b.node.blocked.is_paused());
    }
}
