//! Keeps the slaves: a session for each, and snapshots for those that need one.
//!
//! Owns: the running and kept snapshots (BGSAVE's too), the sessions, and who waits. Receives: requests of the turn, `StreamAdvanced` once a turn,
//! `SnapshotGrew` from workers, `ReplicaGone`. Sends: to sessions what has grown, to the Keyspace what to capture. The stream itself is in the node's state,
//! where the turn appends to it. Stops when the node stops.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use slog::{error, info};

use super::keyspace::CancelSnapshot;
use super::replica_session::{Kick, ReplicaSession, SnapshotNews};
use super::shell::Shell;
use super::snapshot_worker::Release;
use super::sync_snapshots::{Kind, Session, Snapshot};
use super::timer::every;
use crate::command::{NodeState, Slot};
use crate::keyspace::SnapshotId;
use crate::replication::{Admission, Made, SendRate};

/// How often slaves are looked after: pings, lag, time-outs.
const TICK: Duration = Duration::from_millis(500);

/// The actor that owns the stream's readers.
pub struct ReplicationMaster {
    pub(super) shell: Rc<Shell>,
    pub(super) snapshots: BTreeMap<SnapshotId, Snapshot>,
    pub(super) sessions: BTreeMap<Slot, Session>,
    /// Slaves that wait for a snapshot.
    pub(super) admission: Admission<Slot>,
    /// `repl-sync-max-rate`, of all sessions.
    pub(super) rate: Rc<RefCell<SendRate>>,
    pub(super) last_ping_ms: i64,
    pub(super) last_tick_ms: i64,
    /// Since when there are no slaves, for `repl-backlog-ttl`.
    pub(super) alone_since_ms: Option<i64>,
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
pub(super) struct SnapshotSent(pub Slot);

/// The stream is longer than at the last notice.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StreamAdvanced;

/// A worker has written more of its snapshot, or failed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SnapshotGrew {
    pub id: SnapshotId,
    pub made: Made,
    pub error: Option<String>,
}

/// The node stops: workers end, unfinished files are removed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StopAll;

impl ReplicationMaster {
    pub fn new(shell: Rc<Shell>) -> Self {
        let started_ms = shell.state.borrow().steady_ms;
        ReplicationMaster {
            shell,
            snapshots: BTreeMap::new(),
            sessions: BTreeMap::new(),
            admission: Admission::default(),
            rate: Rc::default(),
            last_ping_ms: started_ms,
            last_tick_ms: 0,
            alone_since_ms: None,
        }
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
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        state.tick();
        self.ask_for_snapshot(&mut state, message.0);
        self.serve_waiting(&mut state);
    }
}

impl Handler<ContinueSync> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, message: ContinueSync, _: &mut Context<Self>) {
        let slot = message.0;
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let (Some(conn), now_ms) = (shell.conn(slot), state.steady_ms) else { return };
        let Some(replica) = state.clients.get_mut(slot).and_then(|client| client.replica.as_deref_mut()) else { return };
        replica.ack_ms = now_ms;
        let addr = ReplicaSession::new(shell.clone(), conn, state.stream.replid, self.rate.clone(), false).start();
        self.sessions.insert(slot, Session { addr, address: String::new(), snapshot: None, is_sent: true, resumes: false });
        self.hold(&mut state);
    }
}

impl Handler<ReplicaAcked> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, message: ReplicaAcked, _: &mut Context<Self>) {
        let shell = self.shell.clone();
        self.sync_completed(&mut shell.state.borrow_mut(), message.0);
        if let Some(session) = self.sessions.get(&message.0) {
            session.addr.do_send(Kick);
        }
    }
}

impl Handler<ReplicaGone> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, message: ReplicaGone, _: &mut Context<Self>) {
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        self.session_ended(&mut state, message.0);
        self.serve_waiting(&mut state);
    }
}

impl Handler<SnapshotSent> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, message: SnapshotSent, _: &mut Context<Self>) {
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let Some(session) = self.sessions.get_mut(&message.0) else { return };
        session.is_sent = true;
        // Who never acknowledges has it now, as far as can be known.
        if state.clients.get(message.0).and_then(|client| client.replica.as_ref()).is_some_and(|replica| replica.plain_sync) {
            self.sync_completed(&mut state, message.0);
        }
        self.serve_waiting(&mut state);
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
            session.addr.do_send(Kick);
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
        let SnapshotGrew { id, made, error } = message;
        let failed = error.is_some();
        snapshot.made = made;
        match &mut snapshot.kind {
            Kind::Replicas(shared) => {
                shared.made = made;
                if let Some(error) = &error {
                    error!(state.log, "The snapshot for replicas has failed"; "error" => error);
                }
                for session in self.sessions.values_mut().filter(|session| session.snapshot == Some(id)) {
                    session.addr.do_send(SnapshotNews { id, made, failed });
                    session.snapshot = session.snapshot.filter(|_| !failed);
                }
            }
            Kind::Save { dirty, started_ms } if failed || made.done => {
                let (dirty, started_ms) = (*dirty, *started_ms);
                snapshot.worker.do_send(Release);
                self.snapshots.remove(&id);
                self.save_ended(state, dirty, started_ms, error);
            }
            Kind::Save { .. } => {
                state.save.keys_done = made.keys_done;
                state.save.keys_total = made.keys_total;
            }
        }
        if failed {
            self.snapshots.remove(&id);
            self.shell.addresses().keyspace.do_send(CancelSnapshot(id));
        }
        if failed || made.done {
            self.serve_waiting(state);
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
            session.addr.do_send(super::replica_session::End);
        }
        self.end_spill();
        ctx.stop();
    }
}
