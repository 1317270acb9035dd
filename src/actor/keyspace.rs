//! The sole executor.
//!
//! Owns: the turn, and the snapshots in the making. Receives: `Drain` (connections are ready), credits from SnapshotWorkers, `BeginSnapshot` from the
//! ReplicationMaster. Sends: captured chunks to SnapshotWorkers; what commands have asked for (`Request`) to the other actors. Never awaits a
//! peer or a disk. Stops when the node stops.

use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use slog::{error, info, warn};

use super::replica_client::{Follow, StopFollowing};
use super::replication_master::{ContinueSync, DropReplicas, ReplicaAcked, StartFullSync, StartSave, StreamAdvanced};
use super::shell::Shell;
use super::snapshot_worker::WriteChunks;
use crate::command::{NodeState, Request, ShutdownHow};
use crate::env::is_unwinding;
use crate::keyspace::SnapshotId;
use crate::replication::ReplOffset;

/// CPU that one step of a snapshot may take; what a bucket holds comes on top.
const SNAPSHOT_STEP_NS: u64 = 200_000;
/// While clients are served, steps rest this many times as long as they take: a thread that is always busy waits longer for a core where cores are
/// scarce, and its clients with it.
const SNAPSHOT_REST: u64 = 2;
/// After a command clients count as being served for so long.
const SERVING_NS: u64 = 10_000_000;
/// Bytes of one step.
const SNAPSHOT_STEP_BYTES: usize = 256 << 10;
/// Captured bytes of one snapshot that its worker has not written yet: above it no further steps are made. So `repl-max-concurrent-syncs` snapshots, with a BGSAVE
/// beside them, hold so much each, and one step more. What clients change meanwhile comes on top, each key once a snapshot: it can't wait, since its old value goes.
const SNAPSHOT_IN_FLIGHT_MAX: usize = 8 << 20;

/// The longest timer for suspended clients.
const TIMER_MS_MAX: i64 = 60_000;

/// The actor that owns every database.
pub struct Keyspace {
    pub(super) shell: Rc<Shell>,
    /// Whether an actix System runs this node, and may end before it.
    has_system: bool,
    snapshots: Vec<Running>,
    /// The offset up to which the ReplicationMaster has been told.
    told: ReplOffset,
    /// A turn is scheduled behind the runtime's other work.
    resuming: bool,
    /// When clients are being served, the next step of a snapshot waits until then.
    step_again_ns: u64,
    serving_until_ns: u64,
    commands_at_step: u64,
    step_timer: bool,
    /// When the timer for suspended clients goes off, if it is set.
    timer: Option<(i64, SpawnHandle)>,
}

struct Running {
    id: SnapshotId,
    worker: Recipient<WriteChunks>,
    in_flight_bytes: usize,
}

/// Connections are ready, or a turn is wanted for what a timer has done.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

/// The cut is now: from here on chunks go to the worker.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct CaptureInto {
    pub id: SnapshotId,
    pub worker: Recipient<WriteChunks>,
}

/// A worker has dealt with so many captured bytes.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ChunksWritten {
    pub id: SnapshotId,
    pub bytes: usize,
}

/// Nobody wants the snapshot any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct CancelSnapshot(pub SnapshotId);

impl Keyspace {
    pub fn new(shell: Rc<Shell>) -> Self {
        Keyspace {
            shell,
            has_system: System::try_current().is_some(),
            snapshots: Vec::new(),
            told: ReplOffset(0),
            resuming: false,
            timer: None,
            step_again_ns: 0,
            serving_until_ns: 0,
            commands_at_step: 0,
            step_timer: false,
        }
    }

    /// One turn, one step of each snapshot, then what commands have asked for.
    pub(super) fn run_turn(&mut self, ctx: &mut Context<Self>) {
        self.shell.turn_begins();
        if self.shell.is_stopping() {
            return;
        }
        let cpu_from = self.cpu_ns();
        let Some(left) = self.shell.guarded_turn() else { return };
        let turned = self.cpu_ns();
        let capturing = self.step_snapshots(ctx);
        let ended = if self.snapshots.is_empty() { turned } else { self.cpu_ns() };
        {
            let stats = &mut self.shell.state.borrow_mut().stats;
            stats.turns += 1;
            stats.turns_ns += ended - cpu_from;
            stats.longest_turn_ns = stats.longest_turn_ns.max(ended - cpu_from);
            stats.longest_turn_ever_ns = stats.longest_turn_ever_ns.max(ended - cpu_from);
            stats.longest_snapshot_step_ns = stats.longest_snapshot_step_ns.max(ended - turned);
            stats.longest_snapshot_step_ever_ns = stats.longest_snapshot_step_ever_ns.max(ended - turned);
        }
        self.advance_waits();
        self.carry_out();
        let evicting = self.shell.state.borrow_mut().evict_more();
        self.tell_stream();
        self.set_timer(ctx);
        if left || capturing || evicting {
            self.resume(ctx);
        }
    }

    /// Sees that a turn comes when the first deadline of suspended clients is over.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let (deadline_ms, now_ms) = {
            let state = self.shell.state.borrow();
            (state.next_deadline_ms(), state.steady_ms)
        };
        if self.timer.map(|(at, _)| at) == deadline_ms {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        let Some(at) = deadline_ms else { return };
        // A deadline may be years away, which timers need not know.
        let ms = (at - now_ms).clamp(1, TIMER_MS_MAX);
        let handle = ctx.run_later(Duration::from_millis(ms as u64), |act, ctx| {
            act.timer = None;
            {
                let mut state = act.shell.state.borrow_mut();
                state.tick();
                state.end_waits();
            }
            act.run_turn(ctx);
        });
        self.timer = Some((at, handle));
    }

    fn cpu_ns(&self) -> u64 {
        self.shell.state.borrow().env.clock.thread_cpu_ns()
    }

    /// Another turn, after timers and other actors had theirs.
    fn resume(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.resuming, true) {
            let later = actix_rt::task::yield_now();
            ctx.spawn(later.into_actor(self).map(|(), act, ctx| {
                act.resuming = false;
                act.run_turn(ctx);
            }));
        }
    }

    /// Captures a little more for every running snapshot. True if there is more to do at once.
    fn step_snapshots(&mut self, ctx: &mut Context<Self>) -> bool {
        if self.snapshots.is_empty() {
            return false;
        }
        let mut more = false;
        let shell = self.shell.clone();
        let (clock, commands) = {
            let state = shell.state.borrow();
            (state.env.clock.clone(), state.stats.commands_processed)
        };
        let started_ns = clock.monotonic_ns();
        if std::mem::replace(&mut self.commands_at_step, commands) != commands {
            self.serving_until_ns = started_ns + SERVING_NS;
        }
        if started_ns < self.step_again_ns && started_ns < self.serving_until_ns {
            self.step_later(ctx);
            return false;
        }
        let step_ns = SNAPSHOT_STEP_NS / self.snapshots.len() as u64;
        self.snapshots.retain_mut(|running| {
            let mut state = shell.state.borrow_mut();
            let state = &mut *state;
            let full = running.in_flight_bytes >= SNAPSHOT_IN_FLIGHT_MAX;
            if full && state.keyspace.snapshot_pending(running.id) < SNAPSHOT_STEP_BYTES {
                return true;
            }
            let until_ns = clock.monotonic_ns() + if full { 0 } else { step_ns };
            let step = state.keyspace.snapshot_step(running.id, SNAPSHOT_STEP_BYTES, &mut || clock.monotonic_ns() >= until_ns);
            let bytes: usize = step.chunks.iter().map(|chunk| chunk.size()).sum();
            running.in_flight_bytes += bytes;
            let done = step.done;
            running.worker.do_send(WriteChunks { chunks: step.chunks, bytes, done, keys_done: step.keys_done, keys_total: step.keys_total });
            more |= !done && running.in_flight_bytes < SNAPSHOT_IN_FLIGHT_MAX;
            !done
        });
        let ended_ns = clock.monotonic_ns();
        self.step_again_ns = ended_ns + SNAPSHOT_REST * (ended_ns - started_ns);
        self.free_garbage();
        more
    }

    /// A step that had to wait for its time comes by a timer, should no turn come before.
    fn step_later(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.step_timer, true) {
            ctx.run_later(Duration::from_millis(1), |act, ctx| {
                act.step_timer = false;
                act.resume(ctx);
            });
        }
    }

    /// What is too big to be freed here is freed on another thread.
    fn free_garbage(&mut self) {
        let mut state = self.shell.state.borrow_mut();
        while let Some(garbage) = state.keyspace.take_garbage() {
            if let Err(error) = state.env.spawner.spawn_job("free", Box::new(move || drop(garbage))) {
                warn!(state.log, "No thread to free memory on: it is freed here"; "error" => %error);
            }
        }
    }

    /// Does what the turn's commands have asked for, in order.
    pub(super) fn carry_out(&mut self) {
        loop {
            let mut state = self.shell.state.borrow_mut();
            if state.requests.is_empty() {
                break;
            }
            let requests = std::mem::take(&mut state.requests);
            for request in requests {
                self.carry_out_one(&mut state, request);
            }
        }
        self.free_garbage();
    }

    fn carry_out_one(&self, state: &mut NodeState, request: Request) {
        let to = self.shell.addresses();
        match request {
            Request::Follow => to.replica.do_send(Follow),
            Request::StopFollowing => to.replica.do_send(StopFollowing { reason: None }),
            Request::StopLink(reason) => to.replica.do_send(StopFollowing { reason: Some(reason) }),
            Request::FullSync(slot) => to.master.do_send(StartFullSync(slot)),
            Request::ContinueSync(slot) => to.master.do_send(ContinueSync(slot)),
            Request::ReplicaAcked(slot) => to.master.do_send(ReplicaAcked(slot)),
            Request::DropReplicas => to.master.do_send(DropReplicas { why: "the history has changed" }),
            Request::BackgroundSave => to.master.do_send(StartSave),
            Request::Close(slot) => self.shell.close(state, slot),
            Request::Relisten => super::listeners::relisten(&self.shell),
            Request::Reconfigure => reconfigure(state),
            Request::Shutdown(_) if self.shell.is_stopping() => {}
            Request::Shutdown(how) => {
                if let Some(how) = state.begin_shutdown(how) {
                    self.shut_down(state, how);
                }
            }
            request @ (Request::Verify | Request::StopVerifying(_) | Request::Digest(_) | Request::ReadReports) => {
                super::verifier::carry_out(&to.verifier, request);
            }
        }
    }

    /// Slaves are waited for no longer: saves if asked or if there are save points, then stops the node.
    fn shut_down(&self, state: &mut NodeState, how: ShutdownHow) {
        let wanted = how.save.unwrap_or(!state.config.save.is_empty());
        if wanted && state.loading.is_none() {
            info!(state.log, "Saving the final RDB snapshot before exiting.");
            if let Err(error) = state.save_now() {
                error!(state.log, "Error trying to save the DB"; "error" => %error);
                if !how.force {
                    warn!(state.log, "Can't exit because of it: SHUTDOWN FORCE or NOSAVE exits without saving");
                    return state.fail_shutdown();
                }
            }
        }
        info!(state.log, "Bye bye...");
        self.shell.stop(None);
    }

    /// What waits for slaves sees how far they are.
    fn advance_waits(&self) {
        let mut state = self.shell.state.borrow_mut();
        state.advance_failover();
        if let Some(how) = state.shutdown_due() {
            self.shut_down(&mut state, how);
        }
    }

    /// One notice a turn to the readers of the stream.
    fn tell_stream(&mut self) {
        let offset = {
            let mut state = self.shell.state.borrow_mut();
            state.ask_for_acks();
            let (offset, now_ms) = (state.stream.offset(), state.steady_ms);
            state.stream_marks.note(offset, now_ms);
            offset
        };
        if offset != self.told {
            self.told = offset;
            self.shell.addresses().master.do_send(StreamAdvanced);
        }
    }
}

/// Directives that something else than the configuration's readers must hear of.
fn reconfigure(state: &mut NodeState) {
    if let Some(switch) = &state.log_level {
        switch.set(state.config.loglevel);
    }
    state.stream.set_backlog_bytes(state.config.repl_backlog_size);
}

impl Actor for Keyspace {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        super::cron::start(self, ctx);
    }
}

/// The host application's System or LocalSet has ended without stopping the node first. Nothing can be awaited any more: peers see their connections end, and
/// what SHUTDOWN would save is saved, if it was a System. A bare LocalSet may be a simulated machine that has just crashed.
impl Drop for Keyspace {
    fn drop(&mut self) {
        if self.shell.is_stopping() || is_unwinding() || self.shell.state.try_borrow_mut().is_err() {
            return;
        }
        if self.has_system {
            self.save_at_the_end();
        }
        self.shell.abandon(self.has_system);
    }
}

impl Keyspace {
    fn save_at_the_end(&self) {
        let mut state = self.shell.state.borrow_mut();
        info!(state.log, "The System has ended, and the node with it");
        if state.loading.is_none()
            && !state.config.save.is_empty()
            && let Err(error) = state.save_now()
        {
            error!(state.log, "Error trying to save the DB"; "error" => %error);
        }
    }
}

impl Handler<Drain> for Keyspace {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) {
        self.run_turn(ctx);
    }
}

impl Handler<CaptureInto> for Keyspace {
    type Result = ();

    fn handle(&mut self, message: CaptureInto, ctx: &mut Context<Self>) {
        self.snapshots.push(Running { id: message.id, worker: message.worker, in_flight_bytes: 0 });
        self.resume(ctx);
    }
}

impl Handler<ChunksWritten> for Keyspace {
    type Result = ();

    fn handle(&mut self, message: ChunksWritten, ctx: &mut Context<Self>) {
        if let Some(running) = self.snapshots.iter_mut().find(|running| running.id == message.id) {
            running.in_flight_bytes -= message.bytes.min(running.in_flight_bytes);
            self.resume(ctx);
        }
    }
}

impl Handler<CancelSnapshot> for Keyspace {
    type Result = ();

    fn handle(&mut self, message: CancelSnapshot, _: &mut Context<Self>) {
        self.snapshots.retain(|running| running.id != message.0);
        self.shell.state.borrow_mut().keyspace.end_snapshot(message.0);
        self.free_garbage();
    }
}

/// The node stops.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

impl Handler<Stop> for Keyspace {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        for running in self.snapshots.drain(..) {
            self.shell.state.borrow_mut().keyspace.end_snapshot(running.id);
        }
        self.shell.end_actors();
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    use actix::prelude::*;

    use super::*;
    use crate::server::{Client, Commands, Node, NodeHandle};

    const KEYS: usize = 1500;
    const VALUE_BYTES: usize = 10_000;
    const DATA: usize = KEYS * VALUE_BYTES;
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A worker that takes what it is given and writes nothing.
    struct Stuck(Rc<Cell<usize>>);

    impl Actor for Stuck {
        type Context = Context<Self>;
    }

    impl Handler<WriteChunks> for Stuck {
        type Result = ();

        fn handle(&mut self, message: WriteChunks, _: &mut Context<Self>) {
            self.0.set(self.0.get() + message.bytes);
        }
    }

    /// One more snapshot, as a slave that comes now gets it: how much its worker holds.
    fn begin(node: &NodeHandle) -> Rc<Cell<usize>> {
        let held = Rc::new(Cell::new(0));
        let worker = Stuck(held.clone()).start().recipient();
        let shell = node.shell();
        let id = shell.state.borrow_mut().keyspace.begin_snapshot();
        shell.addresses().keyspace.do_send(CaptureInto { id, worker });
        held
    }

    async fn overwrite(client: &Client, from: usize, to: usize) {
        for n in from..to {
            client.set(format!("key:{n}"), vec![b'b'; VALUE_BYTES]).await.expect("a write");
        }
    }

    /// Turns go on until the worker has had so much.
    async fn fill(client: &Client, held: &Cell<usize>, bytes: usize) {
        let from = Instant::now();
        while held.get() < bytes {
            assert!(from.elapsed() < PATIENCE, "{} of {bytes}", held.get());
            client.get("no key").await.expect("a read");
            actix_rt::task::yield_now().await;
        }
    }

    #[test]
    fn snapshots_whose_workers_are_stuck_hold_what_the_credits_allow() {
        System::new().block_on(async {
            let node = Node::builder().no_listener().start().await.expect("a node");
            let client = node.client();
            overwrite(&client, 0, KEYS).await;
            let one_step = SNAPSHOT_STEP_BYTES + 2 * VALUE_BYTES + (64 << 10);
            let mut all: Vec<Rc<Cell<usize>>> = Vec::new();
            for _ in 0..3 {
                all.push(begin(&node));
                fill(&client, &all[all.len() - 1], SNAPSHOT_IN_FLIGHT_MAX).await;
                for held in &all {
                    assert!(held.get() <= SNAPSHOT_IN_FLIGHT_MAX + one_step, "{}", held.get());
                }
            }
            // Everything is written twice: each snapshot has each key once all the same.
            overwrite(&client, 0, KEYS).await;
            overwrite(&client, 0, KEYS).await;
            for held in &all {
                fill(&client, held, DATA).await;
                assert!(held.get() < DATA + DATA / 10, "{} of {DATA}", held.get());
            }
            node.stop(Some(false)).await;
        });
    }
}
