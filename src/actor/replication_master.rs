//! Keeps the slaves: starts snapshots for those that need one, and a session for each.
//!
//! Owns: the running snapshots (BGSAVE's too) and the sessions. Receives: requests of the turn, `StreamAdvanced` once a turn, `SnapshotGrew` from
//! workers, `ReplicaGone`. Sends: to sessions what has grown, to the Keyspace what to capture. The stream itself is in the node's state,
//! where the turn appends to it. Stops when the node stops.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use slog::{error, info, warn};

use super::keyspace::{CancelSnapshot, CaptureInto};
use super::replica_session::{Kick, ReplicaSession, SnapshotNews, Source};
use super::shell::Shell;
use super::snapshot_worker::{Release, SnapshotWorker, Task};
use super::timer::{every, is_late};
use crate::command::{ClientFlags, NodeState, Slot};
use crate::keyspace::SnapshotId;
use crate::rdb::Dialect;
use crate::replication::{ReplId, ReplOffset, ReplicaState};

/// How often slaves are looked after: pings, lag, time-outs.
const TICK: Duration = Duration::from_millis(500);

/// The actor that owns the stream's readers.
pub struct ReplicationMaster {
    pub(super) shell: Rc<Shell>,
    snapshots: BTreeMap<SnapshotId, Snapshot>,
    sessions: BTreeMap<Slot, Addr<ReplicaSession>>,
    /// Slaves that wait until `repl-diskless-sync-delay` has passed, and since when the first one waits.
    waiting: Vec<Slot>,
    waiting_since_ms: i64,
    last_ping_ms: i64,
    last_tick_ms: i64,
    /// Since when there are no slaves, for `repl-backlog-ttl`.
    alone_since_ms: Option<i64>,
}

struct Snapshot {
    worker: Addr<SnapshotWorker>,
    kind: Kind,
    bytes: u64,
    done: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Save { dirty: u64, started_ms: i64 },
    Replicas { replid: ReplId, offset: ReplOffset, dialect: Dialect },
}

/// A slave needs a whole copy.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StartFullSync(pub Slot);

/// A slave goes on from `Replica::sent`; it has been told so.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ContinueSync(pub Slot);

/// A slave has acknowledged.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ReplicaAcked(pub Slot);

/// A slave's connection is closed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ReplicaGone(pub Slot);

/// All slaves must ask again.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct DropReplicas {
    pub why: &'static str,
}

/// BGSAVE.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StartSave;

/// A session has sent its snapshot.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SnapshotSent;

/// The stream is longer than at the last notice.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StreamAdvanced;

/// A worker has written more of its snapshot, or failed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SnapshotGrew {
    pub id: SnapshotId,
    pub bytes: u64,
    pub done: bool,
    pub keys_done: u64,
    pub keys_total: u64,
    pub error: Option<String>,
}

/// The node stops: workers end, unfinished files are removed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StopAll;

impl ReplicationMaster {
    pub fn new(shell: Rc<Shell>) -> Self {
        ReplicationMaster {
            shell,
            snapshots: BTreeMap::new(),
            sessions: BTreeMap::new(),
            waiting: Vec::new(),
            waiting_since_ms: 0,
            last_ping_ms: 0,
            last_tick_ms: 0,
            alone_since_ms: None,
        }
    }

    /// Fixes a cut now, between two turns, and sets a worker and the Keyspace to it.
    fn begin(&mut self, state: &mut NodeState, kind: Kind) -> std::io::Result<SnapshotId> {
        let dialect = match kind {
            Kind::Save { .. } => Dialect::Full,
            Kind::Replicas { dialect, .. } => dialect,
        };
        let options = state.writer_options(dialect);
        let head = state.snapshot_head(&options);
        let dump = matches!(kind, Kind::Save { .. }).then(|| state.config.dbfilename.clone());
        let id = state.keyspace.begin_snapshot();
        let task = Task { id, dir: state.config.dir.clone(), head, options, dump };
        let keyspace = self.shell.addresses().keyspace.clone();
        let worker = match SnapshotWorker::spawn(&state.env, task, keyspace.clone(), self.shell.addresses().master.clone()) {
            Ok(worker) => worker,
            Err(error) => {
                state.keyspace.end_snapshot(id);
                return Err(error);
            }
        };
        keyspace.do_send(CaptureInto { id, worker: worker.clone().recipient() });
        state.stats.snapshots += 1;
        self.snapshots.insert(id, Snapshot { worker, kind, bytes: 0, done: false });
        Ok(id)
    }

    /// Starts the snapshot that the waiting slaves share, once the delay has passed.
    fn serve_waiting(&mut self) {
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        state.tick();
        self.waiting.retain(|slot| state.clients.get(*slot).is_some_and(|client| client.is(ClientFlags::REPLICA)));
        let delay_ms = if state.config.repl_diskless_sync { state.config.repl_diskless_sync_delay as i64 * 1000 } else { 0 };
        if self.waiting.is_empty() || state.steady_ms < self.waiting_since_ms + delay_ms {
            return;
        }
        // Every start of a full sync makes the stream say SELECT again.
        state.stream.forget_selected();
        let (replid, offset) = (state.stream.replid, state.stream.offset());
        let waiting = std::mem::take(&mut self.waiting);
        for dialect in [Dialect::Oldest, Dialect::Full] {
            let slots: Vec<Slot> = waiting.iter().copied().filter(|slot| dialect_for(state, *slot) == dialect).collect();
            if !slots.is_empty() {
                self.serve(state, &slots, Kind::Replicas { replid, offset, dialect });
            }
        }
    }

    /// Starts a snapshot for these slaves.
    fn serve(&mut self, state: &mut NodeState, slots: &[Slot], kind: Kind) {
        info!(state.log, "Starting a snapshot for replicas"; "replicas" => slots.len(), "offset" => state.stream.offset().0);
        let begun = self.begin(state, kind);
        if let Err(error) = &begun {
            error!(state.log, "Can't start a snapshot for replicas"; "error" => %error);
        }
        for slot in slots {
            match begun {
                Ok(id) => self.start_session(state, *slot, Some(id)),
                Err(_) => self.shell.close(state, *slot),
            }
        }
    }

    /// Starts the session of a slave: with a snapshot, or from `Replica::sent` on.
    fn start_session(&mut self, state: &mut NodeState, slot: Slot, snapshot: Option<SnapshotId>) {
        let Some(conn) = self.shell.conn(slot) else { return };
        let source = snapshot.and_then(|id| {
            let snapshot = self.snapshots.get(&id)?;
            let Kind::Replicas { replid, offset, .. } = snapshot.kind else { return None };
            Some(Source { id, worker: snapshot.worker.clone(), replid, offset, bytes: snapshot.bytes, done: snapshot.done })
        });
        let Some(replica) = state.clients.get_mut(slot).and_then(|client| client.replica.as_deref_mut()) else { return };
        if let Some(source) = &source {
            replica.sent = source.offset;
            // From here on, not when the session runs first: the end of another sync would take the snapshot for unused before.
            replica.snapshot = Some(source.id);
            replica.state = ReplicaState::SendBulk;
        }
        replica.ack_ms = state.steady_ms;
        let session = ReplicaSession::new(self.shell.clone(), conn, state.stream.replid, source).start();
        self.sessions.insert(slot, session);
        self.hold(state);
    }

    /// Gives up snapshots that no slave is sent any more.
    fn drop_unused_snapshots(&mut self, state: &NodeState) {
        let used: Vec<SnapshotId> = self.sessions.keys().filter_map(|slot| state.clients.get(*slot)?.replica.as_ref()?.snapshot).collect();
        let keyspace = self.shell.addresses().keyspace.clone();
        self.snapshots.retain(|id, snapshot| {
            let keep = matches!(snapshot.kind, Kind::Save { .. }) || used.contains(id);
            if !keep {
                snapshot.worker.do_send(Release);
                if !snapshot.done {
                    keyspace.do_send(CancelSnapshot(*id));
                }
            }
            keep
        });
    }

    fn save_ended(&mut self, state: &mut NodeState, dirty: u64, started_ms: i64, error: Option<String>) {
        state.tick();
        state.save.bgsave_started_ms = None;
        state.save.last_bgsave_seconds = (state.now_ms - started_ms) / 1000;
        state.save.last_bgsave_ok = error.is_none();
        state.save.last_try_ms = state.now_ms;
        match error {
            None => {
                state.save.last_save_unix = state.now_ms / 1000;
                state.save.dirty_at_last_save = dirty;
                info!(state.log, "Background saving terminated with success");
            }
            Some(error) => error!(state.log, "Background saving error"; "error" => error),
        }
        if std::mem::take(&mut state.save.scheduled) {
            self.shell.addresses().master.do_send(StartSave);
        }
    }

    /// Twice a second: pings, time-outs, slaves that are too far behind, an unused backlog.
    fn tick(&mut self) {
        if !self.shell.addresses().keyspace.connected() {
            self.shell.stop(Some(super::NodeFailure::Panic("the Keyspace has ended by a bug".to_owned())));
        }
        self.serve_waiting();
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        state.tick();
        let now_ms = state.steady_ms;
        let is_master = matches!(state.role, crate::replication::Role::Master);
        let ping_ms = state.config.repl_ping_replica_period as i64 * 1000;
        // While writes are paused for a failover nothing else may make the stream longer, or no slave ever has all of it.
        if is_master && state.failover.is_none() && !self.sessions.is_empty() && now_ms - self.last_ping_ms >= ping_ms {
            self.last_ping_ms = now_ms;
            state.stream.append(b"*1\r\n$4\r\nPING\r\n");
        }
        if !is_late(std::mem::replace(&mut self.last_tick_ms, now_ms), now_ms) {
            self.drop_lost(state);
        }
        self.expire_backlog(state, is_master);
        self.hold(state);
        for session in self.sessions.values() {
            session.do_send(Kick);
        }
    }

    /// Closes links to slaves that say nothing or are too far behind.
    fn drop_lost(&mut self, state: &mut NodeState) {
        let now_ms = state.steady_ms;
        let timeout_ms = state.config.repl_timeout as i64 * 1000;
        let limit = state.config.client_output_buffer_limit[1];
        let offset = state.stream.offset().0;
        let mut lost = Vec::new();
        let mut soft = Vec::new();
        for (slot, client, replica) in state.clients.replicas() {
            let behind = offset - replica.sent.0.min(offset);
            // A limit below the backlog's size counts as that size: those bytes are kept anyway.
            let hard = limit.hard.max(state.config.repl_backlog_size);
            let silent =
                !replica.plain_sync && now_ms - replica.ack_ms > timeout_ms && matches!(replica.state, ReplicaState::Online | ReplicaState::WaitAck);
            // What a sync leaves a slave behind by is spilled, and its socket may be slow, but has to move.
            let catching_up = replica.catching_up;
            let stalled = (replica.state == ReplicaState::SendBulk || catching_up && replica.state == ReplicaState::Online)
                && now_ms - replica.progress_ms.max(client.last_interaction_ms) > timeout_ms;
            let over_soft = !catching_up && limit.soft > 0 && behind > limit.soft.max(state.config.repl_backlog_size);
            let soft_since = over_soft.then(|| client.soft_limit_since_ms.unwrap_or(now_ms));
            soft.push((slot, soft_since));
            if silent || stalled {
                warn!(state.log, "Disconnecting timedout replica"; "addr" => %client.addr, "state" => replica.state.info_name());
                lost.push(slot);
            } else if !catching_up && limit.hard > 0 && behind > hard
                || soft_since.is_some_and(|since| now_ms - since > limit.soft_seconds as i64 * 1000)
            {
                warn!(state.log, "Replica closed for overcoming of output buffer limits"; "addr" => %client.addr, "behind" => behind);
                state.stats.output_limit_disconnections += 1;
                lost.push(slot);
            }
        }
        for (slot, since) in soft {
            state.clients.at_mut(slot).soft_limit_since_ms = since;
        }
        for slot in lost {
            self.shell.close(state, slot);
        }
    }

    fn expire_backlog(&mut self, state: &mut NodeState, is_master: bool) {
        let ttl_ms = state.config.repl_backlog_ttl as i64 * 1000;
        let alone = state.clients.replicas().len() == 0;
        let since = if alone { *self.alone_since_ms.get_or_insert(state.steady_ms) } else { state.steady_ms };
        if !alone {
            self.alone_since_ms = None;
        }
        if alone && is_master && ttl_ms > 0 && state.stream.is_active() && state.steady_ms - since > ttl_ms {
            state.stream.deactivate(ReplId::random(&*state.env.random));
            info!(state.log, "Replication backlog freed after {} seconds without connected replicas.", ttl_ms / 1000);
        }
    }
}

/// How a snapshot for this slave is written now. Where all are written alike they share one.
fn dialect_for(state: &NodeState, slot: Slot) -> Dialect {
    let told = state.clients.get(slot).and_then(|client| client.replica.as_ref()).map_or(Dialect::Oldest, |replica| replica.dialect());
    let is_alike = state.writer_options(Dialect::Full).version == state.writer_options(Dialect::Oldest).version;
    if is_alike { Dialect::Oldest } else { told }
}

impl Actor for ReplicationMaster {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        every(ctx, TICK, |act, _| act.tick());
    }
}

impl Handler<StartFullSync> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, message: StartFullSync, _: &mut Context<Self>) {
        {
            let shell = self.shell.clone();
            let mut state = shell.state.borrow_mut();
            state.tick();
            // A snapshot that is being made has its stream kept from its cut on, as long as its slaves live: later ones share both.
            let wanted = dialect_for(&state, message.0);
            let kept = state.stream.kept_from();
            let is_for_it = |kind: Kind| {
                matches!(kind, Kind::Replicas { replid, dialect, offset }
                    if replid == state.stream.replid && dialect == wanted && offset >= kept)
            };
            let shared = self.snapshots.iter().find(|(_, snapshot)| is_for_it(snapshot.kind) && !snapshot.done);
            if let Some((id, _)) = shared {
                let id = *id;
                return self.start_session(&mut state, message.0, Some(id));
            }
            if self.waiting.is_empty() {
                self.waiting_since_ms = state.steady_ms;
            }
        }
        if !self.waiting.contains(&message.0) {
            self.waiting.push(message.0);
        }
        self.serve_waiting();
    }
}

impl Handler<ContinueSync> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, message: ContinueSync, _: &mut Context<Self>) {
        let shell = self.shell.clone();
        self.start_session(&mut shell.state.borrow_mut(), message.0, None);
    }
}

impl Handler<ReplicaAcked> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, message: ReplicaAcked, _: &mut Context<Self>) {
        if let Some(session) = self.sessions.get(&message.0) {
            session.do_send(Kick);
        }
    }
}

impl Handler<ReplicaGone> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, message: ReplicaGone, _: &mut Context<Self>) {
        if let Some(session) = self.sessions.remove(&message.0) {
            session.do_send(super::replica_session::End);
        }
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        self.hold(&mut state);
        self.drop_unused_snapshots(&state);
    }
}

impl Handler<SnapshotSent> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, _: SnapshotSent, _: &mut Context<Self>) {
        let shell = self.shell.clone();
        self.drop_unused_snapshots(&shell.state.borrow());
    }
}

impl Handler<DropReplicas> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, message: DropReplicas, _: &mut Context<Self>) {
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let slots: Vec<Slot> = state.clients.replicas().map(|(slot, ..)| slot).collect();
        if !slots.is_empty() {
            info!(state.log, "Disconnecting replicas"; "why" => message.why, "replicas" => slots.len());
        }
        for slot in slots {
            self.shell.close(&mut state, slot);
        }
    }
}

impl Handler<StartSave> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, _: StartSave, _: &mut Context<Self>) {
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        if self.snapshots.values().any(|snapshot| matches!(snapshot.kind, Kind::Save { .. })) {
            return;
        }
        state.tick();
        let (dirty, started_ms) = (state.dirty, state.now_ms);
        state.save.bgsave_started_ms = Some(started_ms);
        state.save.last_try_ms = started_ms;
        match self.begin(state, Kind::Save { dirty, started_ms }) {
            Ok(_) => info!(state.log, "Background saving started"),
            Err(error) => self.save_ended(state, dirty, started_ms, Some(error.to_string())),
        }
    }
}

impl Handler<StreamAdvanced> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, _: StreamAdvanced, _: &mut Context<Self>) {
        for session in self.sessions.values() {
            session.do_send(Kick);
        }
        let shell = self.shell.clone();
        self.hold(&mut shell.state.borrow_mut());
    }
}

impl Handler<SnapshotGrew> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, message: SnapshotGrew, _: &mut Context<Self>) {
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        let Some(snapshot) = self.snapshots.get_mut(&message.id) else { return };
        snapshot.bytes = message.bytes;
        snapshot.done = message.done;
        let failed = message.error.is_some();
        match snapshot.kind {
            Kind::Replicas { .. } => {
                if let Some(error) = &message.error {
                    error!(state.log, "The snapshot for replicas has failed"; "error" => error);
                }
                for session in self.sessions.values() {
                    session.do_send(SnapshotNews { id: message.id, bytes: message.bytes, done: message.done, failed });
                }
            }
            Kind::Save { dirty, started_ms } if failed || message.done => {
                snapshot.worker.do_send(Release);
                self.snapshots.remove(&message.id);
                self.save_ended(state, dirty, started_ms, message.error);
            }
            Kind::Save { .. } => {
                state.save.keys_done = message.keys_done;
                state.save.keys_total = message.keys_total;
            }
        }
        if failed {
            self.snapshots.remove(&message.id);
            self.shell.addresses().keyspace.do_send(CancelSnapshot(message.id));
        }
    }
}

impl Handler<StopAll> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, _: StopAll, ctx: &mut Context<Self>) {
        for snapshot in std::mem::take(&mut self.snapshots).into_values() {
            snapshot.worker.do_send(Release);
        }
        for session in std::mem::take(&mut self.sessions).into_values() {
            session.do_send(super::replica_session::End);
        }
        self.end_spill();
        ctx.stop();
    }
}
