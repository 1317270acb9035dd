//! Compares slaves with this master, and repairs them; on a slave, digests what a mark asks for and tells the master.
//!
//! Owns: the running verification, its round, and what is still to be said in the stream. Receives: `Verify`, `StopVerifying`, `Digest` and
//! `ReadReports` from the Keyspace for commands, `RoundEnded` and `ReportReady` from the DigestWorker. Sends: `CaptureInto` to the Keyspace,
//! reports of slaves to the worker. Never awaits a peer: a tick sees who has gone and what takes too long. Stops when the node stops.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use slog::{info, warn};

use super::digest_worker::{DigestTask, DigestWorker, GiveUp, Part, ReplicaLost, Reported};
use super::keyspace::{CancelSnapshot, CaptureInto};
use super::replication_master::StreamAdvanced;
use super::shell::Shell;
use super::snapshot_worker::Release;
use super::timer::every;
use super::verifier_plan::{Next, Plan};
use crate::command::{Marked, Mended, NodeState, Request, VerifyResult};
use crate::keyspace::SnapshotId;
use crate::replication::Role;
use crate::replication::verify::{Comparison, Expected, Mark, Message, Outcome, Report, Scope};

const TICK: Duration = Duration::from_millis(500);
/// Signs of life of a slave that digests.
const LIFE_TICKS: u64 = 2;
/// CPU of one step of a repair; one thing to say comes on top.
const MEND_STEP_NS: u64 = 200_000;
/// Bytes of the stream that one step adds.
const MEND_STEP_BYTES: u64 = 256 << 10;
/// Between two steps clients have the thread.
const MEND_REST: Duration = Duration::from_millis(1);
/// Bytes that the slowest slave may be behind while a repair goes on.
const BEHIND_BYTES_MAX: u64 = 4 << 20;
/// Reports are handed to the link so many bytes at a time.
const UNSENT_BYTES_MAX: usize = 128 << 10;
const REPORT_REST: Duration = Duration::from_millis(5);

/// The actor of verifications.
pub struct Verifier {
    shell: Rc<Shell>,
    /// The master's.
    plan: Option<Plan>,
    /// The master's round, or what a slave digests for its master.
    round: Option<Round>,
    /// A slave's report that is on its way.
    unsent: VecDeque<Vec<u8>>,
    sending: bool,
    mending: bool,
    ticks: u64,
}

struct Round {
    id: u64,
    snapshot: SnapshotId,
    worker: Addr<DigestWorker>,
    /// Slaves that have been asked, by their clients' numbers.
    asked: Vec<u64>,
    /// Steady ms when somebody was last heard of.
    heard_ms: i64,
}

/// `Verification::running` says what is wanted.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Verify;

/// The verification ends, for this reason.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StopVerifying(pub String);

/// A slave has met a mark.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Digest(pub Marked);

/// `Verification::inbox` has something.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ReadReports;

/// A master's round is over.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RoundEnded {
    pub id: u64,
    pub outcome: Outcome,
}

/// A slave has what its master wants to be told.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ReportReady {
    pub id: u64,
    pub commands: Vec<Vec<u8>>,
}

/// The node stops.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StopAll;

impl Verifier {
    pub fn new(shell: Rc<Shell>) -> Self {
        Verifier { shell, plan: None, round: None, unsent: VecDeque::new(), sending: false, mending: false, ticks: 0 }
    }

    /// Does what the plan says next, until something is to be waited for.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        if self.round.is_some() || self.mending {
            return;
        }
        let Some(plan) = &mut self.plan else { return };
        match plan.next() {
            Next::Mend => self.mend_later(ctx),
            Next::Round(scope) => {
                if let Err(error) = self.begin_round(scope) {
                    self.end(Some(error));
                }
            }
            Next::End => self.end(None),
        }
    }

    /// Puts the mark into the stream and makes the cut there, between two turns.
    fn begin_round(&mut self, scope: Scope) -> Result<(), String> {
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        state.tick();
        may_write(state)?;
        let Some(plan) = &mut self.plan else { return Ok(()) };
        let id = state.env.random.next_u64();
        let offset = state.stream.offset();
        let slaves = state.slaves_to_verify();
        let asked = slaves.iter().map(|(client, ..)| *client).collect();
        let expected = slaves.into_iter().map(|(client, address, unable)| Expected { client, address, unable }).collect();
        let spaces = if scope.collections.is_empty() { state.keyspace.databases() } else { scope.collections.len() as u32 };
        // Those that are not asked about are repaired along with the others: the stream is one.
        let only = plan.only_shown().filter(|_| scope.slots.is_none() && scope.collections.is_empty());
        let comparison = Comparison::new(id, offset, spaces, expected, only);
        plan.round_begins(offset);
        let mark = Mark { id, scope };
        state.stream.append(&mark.command());
        let snapshot = state.keyspace.begin_snapshot();
        self.shell.addresses().master.do_send(StreamAdvanced);
        let worker = self.spawn(state, DigestTask { id, snapshot, scope: mark.scope, part: Part::Master(Box::new(comparison)) })?;
        state.verification.round_begins();
        if let (Some(progress), Some(plan)) = (&mut state.verification.running, &self.plan) {
            plan.show(progress);
        }
        self.round = Some(Round { id, snapshot, worker, asked, heard_ms: state.steady_ms });
        Ok(())
    }

    fn spawn(&self, state: &mut NodeState, task: DigestTask) -> Result<Addr<DigestWorker>, String> {
        let snapshot = task.snapshot;
        let (keyspace, own) = (self.shell.addresses().keyspace.clone(), self.shell.addresses().verifier.clone());
        match DigestWorker::spawn(&state.env, task, keyspace.clone(), own) {
            Ok(worker) => {
                keyspace.do_send(CaptureInto { id: snapshot, worker: worker.clone().recipient() });
                state.stats.snapshots += 1;
                Ok(worker)
            }
            Err(error) => {
                state.keyspace.end_snapshot(snapshot);
                Err(format!("no thread to compare on: {error}"))
            }
        }
    }

    /// Gives up the round that is going on, if any.
    fn drop_round(&mut self) {
        if let Some(round) = self.round.take() {
            self.shell.addresses().keyspace.do_send(CancelSnapshot(round.snapshot));
            round.worker.do_send(Release);
        }
    }

    /// The verification is over: its result is told.
    fn end(&mut self, error: Option<String>) {
        self.drop_round();
        let Some(plan) = self.plan.take() else { return };
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        state.tick();
        let started_ms = state.verification.running.as_ref().map_or(state.steady_ms, |running| running.started_ms);
        let result = VerifyResult { took_ms: state.steady_ms - started_ms, ..plan.result(error) };
        match &result.error {
            None => info!(state.log, "Replicas have been compared"; "offset" => result.offset.0, "keys" => result.keys, "repaired" => result.mended),
            Some(error) => warn!(state.log, "Replicas could not be compared"; "why" => error),
        }
        state.verification_ended(result);
        self.shell.request_turn();
    }

    fn mend_later(&mut self, ctx: &mut Context<Self>) {
        self.mending = true;
        ctx.run_later(MEND_REST, |act, ctx| {
            act.mending = false;
            act.mend(ctx);
        });
    }

    /// Says some of what is to be said.
    fn mend(&mut self, ctx: &mut Context<Self>) {
        let shell = self.shell.clone();
        let mut guard = shell.state.borrow_mut();
        let state = &mut *guard;
        let Some(plan) = &mut self.plan else { return };
        if !matches!(state.role, Role::Master) {
            drop(guard);
            return self.end(Some(NOT_MASTER.to_owned()));
        }
        let offset = state.stream.offset();
        let slowest = state.clients.replicas().filter(|(.., replica)| replica.is_online()).map(|(.., replica)| replica.sent).min();
        let is_behind = slowest.is_some_and(|sent| offset.0 - sent.0.min(offset.0) > BEHIND_BYTES_MAX);
        if state.is_stream_held() || is_behind {
            return self.mend_later(ctx);
        }
        state.tick();
        let clock = state.env.clock.clone();
        let cpu_from = clock.thread_cpu_ns();
        let until_ns = clock.monotonic_ns() + MEND_STEP_NS;
        while let Some(mend) = plan.take_mend() {
            match state.mend(mend.clone()) {
                Mended::Done => plan.mended(),
                Mended::Then(next) => plan.mend_next(next),
                Mended::Elements => plan.compare_elements(mend),
                Mended::Left => plan.leave(mend),
            }
            if clock.monotonic_ns() >= until_ns || state.stream.offset().0 - offset.0 >= MEND_STEP_BYTES {
                break;
            }
        }
        state.stats.longest_repair_step_ns = state.stats.longest_repair_step_ns.max(clock.thread_cpu_ns() - cpu_from);
        if let Some(progress) = &mut state.verification.running {
            plan.show(progress);
        }
        drop(guard);
        self.shell.addresses().master.do_send(StreamAdvanced);
        self.go_on(ctx);
    }

    /// A slave's report goes to its link as fast as that takes it.
    fn send_report(&mut self, ctx: &mut Context<Self>) {
        self.sending = false;
        {
            let mut state = self.shell.state.borrow_mut();
            if !state.has_master_link() {
                self.unsent.clear();
                return;
            }
            let mut room = UNSENT_BYTES_MAX.saturating_sub(state.unsent_to_master());
            while room > 0
                && let Some(command) = self.unsent.pop_front()
            {
                room = room.saturating_sub(command.len());
                state.tell_master(&command);
            }
        }
        self.shell.request_turn();
        if !self.unsent.is_empty() {
            self.sending = true;
            ctx.run_later(REPORT_REST, Self::send_report);
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        if self.plan.is_some() {
            self.watch_round();
        } else if let Some(round) = &self.round {
            let mut state = self.shell.state.borrow_mut();
            if !state.has_master_link() {
                drop(state);
                self.drop_round();
            } else if self.ticks.is_multiple_of(LIFE_TICKS) && self.unsent.is_empty() {
                state.tell_master(&Report::new(round.id, Message::Working).command());
                self.shell.request_turn();
            }
        }
        let mut state = self.shell.state.borrow_mut();
        if matches!(state.role, Role::Replica(_)) {
            state.report_lost_slaves();
        }
    }

    /// Who has gone answers no more; who is silent for too long is not waited for.
    fn watch_round(&mut self) {
        let Some(round) = &mut self.round else { return };
        let mut state = self.shell.state.borrow_mut();
        state.tick();
        if !matches!(state.role, Role::Master) {
            drop(state);
            return self.end(Some(NOT_MASTER.to_owned()));
        }
        round.asked.retain(|client| {
            let is_there = state.clients.by_id(*client).is_some();
            if !is_there {
                round.worker.do_send(ReplicaLost(*client));
            }
            is_there
        });
        let silent_ms = state.steady_ms - round.heard_ms;
        let capturing = state.keyspace.is_captured_by(round.snapshot);
        if capturing {
            round.heard_ms = state.steady_ms;
        } else if silent_ms > state.config.repl_timeout as i64 * 1000 {
            round.worker.do_send(GiveUp(format!("no report for {} s (repl-timeout)", silent_ms / 1000)));
            round.heard_ms = state.steady_ms;
        }
    }
}

const NOT_MASTER: &str = "this server is no master any more";

/// Whether a mark may enter the stream.
fn may_write(state: &NodeState) -> Result<(), String> {
    if !matches!(state.role, Role::Master) {
        return Err(NOT_MASTER.to_owned());
    }
    if state.is_stream_held() {
        return Err("clients have been paused meanwhile: nothing may enter the stream".to_owned());
    }
    assert!(state.effects.ends.is_empty(), "between two turns all effects are in the stream");
    Ok(())
}

impl Actor for Verifier {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        every(ctx, TICK, |act, _| act.tick());
    }
}

impl Handler<Verify> for Verifier {
    type Result = ();

    fn handle(&mut self, _: Verify, ctx: &mut Context<Self>) {
        let order = self.shell.state.borrow().verification.running.as_ref().map(|running| running.order.clone());
        let Some(order) = order.filter(|_| self.plan.is_none()) else { return };
        // What this node may still digest as a slave, it is no more.
        self.drop_round();
        self.plan = Some(Plan::new(order));
        self.go_on(ctx);
    }
}

impl Handler<StopVerifying> for Verifier {
    type Result = ();

    fn handle(&mut self, message: StopVerifying, _: &mut Context<Self>) {
        self.end(Some(message.0));
    }
}

impl Handler<Digest> for Verifier {
    type Result = ();

    fn handle(&mut self, message: Digest, _: &mut Context<Self>) {
        self.drop_round();
        self.unsent.clear();
        let Marked { mark, snapshot } = message.0;
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        match self.spawn(&mut state, DigestTask { id: mark.id, snapshot, scope: mark.scope, part: Part::Replica }) {
            Ok(worker) => {
                let heard_ms = state.steady_ms;
                self.round = Some(Round { id: mark.id, snapshot, worker, asked: Vec::new(), heard_ms });
            }
            Err(error) => {
                state.tell_master(&Report::new(mark.id, Message::Failed(error)).command());
                self.shell.request_turn();
            }
        }
    }
}

impl Handler<ReadReports> for Verifier {
    type Result = ();

    fn handle(&mut self, _: ReadReports, _: &mut Context<Self>) {
        let mut state = self.shell.state.borrow_mut();
        let inbox = std::mem::take(&mut state.verification.inbox);
        if let Some(round) = &mut self.round {
            round.heard_ms = state.steady_ms;
            inbox.into_iter().for_each(|(client, body)| round.worker.do_send(Reported { client, body }));
        }
    }
}

impl Handler<RoundEnded> for Verifier {
    type Result = ();

    fn handle(&mut self, message: RoundEnded, ctx: &mut Context<Self>) {
        if self.round.as_ref().is_none_or(|round| round.id != message.id) {
            return;
        }
        self.drop_round();
        if let Some(plan) = &mut self.plan {
            plan.round_ended(message.outcome);
            self.go_on(ctx);
        }
    }
}

impl Handler<ReportReady> for Verifier {
    type Result = ();

    fn handle(&mut self, message: ReportReady, ctx: &mut Context<Self>) {
        if self.plan.is_some() || self.round.as_ref().is_none_or(|round| round.id != message.id) {
            return;
        }
        self.drop_round();
        self.unsent = message.commands.into();
        if !self.sending {
            self.send_report(ctx);
        }
    }
}

impl Handler<StopAll> for Verifier {
    type Result = ();

    fn handle(&mut self, _: StopAll, ctx: &mut Context<Self>) {
        if let Some(round) = self.round.take() {
            round.worker.do_send(Release);
        }
        ctx.stop();
    }
}

/// The requests of commands that are for this actor.
pub(super) fn carry_out(verifier: &Addr<Verifier>, request: Request) {
    match request {
        Request::Verify => verifier.do_send(Verify),
        Request::StopVerifying(reason) => verifier.do_send(StopVerifying(reason)),
        Request::Digest(marked) => verifier.do_send(Digest(*marked)),
        Request::ReadReports => verifier.do_send(ReadReports),
        _ => unreachable!("a request for another actor"),
    }
}
