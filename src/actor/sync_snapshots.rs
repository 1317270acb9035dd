//! The snapshots of the ReplicationMaster: begins them, for BGSAVE and for slaves that may have one, joins slaves to those that are there, keeps one whose
//! slave was lost, and lets go of what nobody needs.

use std::io;

use actix::prelude::*;
use slog::{error, info, warn};

use super::keyspace::{CancelSnapshot, CaptureInto};
use super::replica_session::{BeginSnapshot, ReplicaSession, Source};
use super::replication_master::ReplicationMaster;
use super::snapshot_worker::{Release, SnapshotWorker, Task};
use crate::command::{ClientFlags, NodeState, Slot, replica_address};
use crate::env::Mistake;
use crate::keyspace::SnapshotId;
use crate::rdb::Dialect;
use crate::replication::{AdmissionRules, Made, ReplOffset, Replica, ReplicaState, SharedSnapshot, StreamKept, SyncId};

/// A snapshot that is being made, sent or kept.
pub(super) struct Snapshot {
    pub worker: Addr<SnapshotWorker>,
    pub kind: Kind,
    pub made: Made,
}

pub(super) enum Kind {
    Save { dirty: u64, started_ms: i64 },
    Replicas(SharedSnapshot),
}

impl Snapshot {
    pub fn shared(&self) -> Option<&SharedSnapshot> {
        match &self.kind {
            Kind::Replicas(shared) => Some(shared),
            Kind::Save { .. } => None,
        }
    }

    pub fn shared_mut(&mut self) -> Option<&mut SharedSnapshot> {
        match &mut self.kind {
            Kind::Replicas(shared) => Some(shared),
            Kind::Save { .. } => None,
        }
    }
}

/// A slave's session.
pub(super) struct Session {
    pub addr: Addr<ReplicaSession>,
    /// Under which its attempts are counted.
    pub address: String,
    /// What it is being sent, until it has acknowledged it.
    pub snapshot: Option<SnapshotId>,
    /// The snapshot is written to its socket.
    pub is_sent: bool,
    /// It takes chunks, so that it may come back for the rest.
    pub resumes: bool,
}

/// What of the stream is there.
fn stream_kept(state: &NodeState) -> StreamKept {
    StreamKept::of(&state.stream)
}

fn replica(state: &mut NodeState, slot: Slot) -> Option<&mut Replica> {
    state.clients.get_mut(slot)?.replica.as_deref_mut()
}

/// What a slave is known to read, or else what the directive says that it does.
fn dialect_of(state: &NodeState, slot: Slot) -> Dialect {
    let replica = state.clients.get(slot).and_then(|client| client.replica.as_ref());
    replica.map_or(Dialect::Oldest, |replica| state.dialect_of(replica))
}

impl ReplicationMaster {
    /// Fixes a cut now, between two turns, and sets a worker and the Keyspace to it.
    pub(super) fn begin(&mut self, state: &mut NodeState, kind: Kind) -> io::Result<SnapshotId> {
        let mut options = state.writer_options(Dialect::Full);
        if let Kind::Replicas(shared) = &kind {
            options.version = shared.version;
        }
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
        self.snapshots.insert(id, Snapshot { worker, kind, made: Made::default() });
        Ok(id)
    }

    /// A slave needs a whole copy: it is kept waiting until there is a snapshot for it.
    pub(super) fn ask_for_snapshot(&mut self, state: &mut NodeState, slot: Slot) {
        let Some(conn) = self.shell.conn(slot) else { return };
        let asked = state.clients.get(slot).and_then(|client| {
            let replica = client.replica.as_deref()?;
            Some((replica_address(client, replica), replica.has, replica.capa_chunks && !replica.plain_sync))
        });
        let Some((address, has, resumes)) = asked else { return };
        self.admission.ask(slot, &address, has, state.steady_ms, state.env.random.next_u64());
        let addr = ReplicaSession::new(self.shell.clone(), conn, state.stream.replid, self.rate.clone(), true).start();
        self.sessions.insert(slot, Session { addr, address, snapshot: None, is_sent: false, resumes });
    }

    /// Gives those who wait a snapshot: one that is there, or a new one, as far as the rules let them.
    pub(super) fn serve_waiting(&mut self, state: &mut NodeState) {
        if self.admission.is_empty() {
            return;
        }
        state.tick();
        for slot in self.admission.waiting().collect::<Vec<_>>() {
            if !state.clients.get(slot).is_some_and(|client| client.is(ClientFlags::REPLICA)) {
                self.admission.forget(slot);
            } else if let Some((id, chunk)) = self.snapshot_for(state, slot) {
                self.send_snapshot(state, slot, id, chunk);
            }
        }
        let delay_ms = if state.config.repl_diskless_sync { state.config.repl_diskless_sync_delay as i64 * 1000 } else { 0 };
        let rules = AdmissionRules { delay_ms, replicas_max: state.config.repl_diskless_sync_max_replicas as usize };
        let mut ready = self.admission.ready(state.steady_ms, rules);
        while let Some(first) = ready.first()
            && self.has_room(state)
        {
            // Those for whom all is written alike share one.
            let version_for = |slot: &Slot| state.writer_options(dialect_of(state, *slot)).version;
            let version = version_for(first);
            let (now, later): (Vec<Slot>, Vec<Slot>) = ready.iter().copied().partition(|slot| version_for(slot) == version);
            self.begin_for(state, &now, version);
            ready = later;
        }
        for (slot, hold, left_ms) in self.admission.untold(state.steady_ms, &ready) {
            let Some(client) = state.clients.get_mut(slot) else { continue };
            info!(state.log, "A replica waits for its snapshot"; "replica" => %client.addr, "reason" => hold.code(), "at_least_ms" => left_ms);
            if let Some(replica) = client.replica.as_deref_mut() {
                replica.hold = Some(hold);
            }
        }
    }

    /// A snapshot that this slave can be sent, and from which chunk on: the one that a former link broke off, or one that others are sent, or that is kept.
    fn snapshot_for(&self, state: &NodeState, slot: Slot) -> Option<(SnapshotId, u64)> {
        let (wanted, kept) = (dialect_of(state, slot), stream_kept(state));
        let replica = state.clients.get(slot)?.replica.as_deref()?;
        let shared = || self.snapshots.iter().rev().filter_map(|(id, snapshot)| Some((*id, snapshot.shared()?)));
        let resume = replica.resume.filter(|_| replica.capa_chunks && !replica.plain_sync);
        let resumed =
            resume.and_then(|(sync_id, chunk)| shared().find_map(|(id, shared)| Some((id, shared.resume_at(sync_id, chunk, wanted, kept)?))));
        // The name of the snapshot that it has some of would tell it that it goes on with that.
        let is_misleading = |shared: &SharedSnapshot| resume.is_some_and(|(sync_id, chunk)| sync_id == shared.id && chunk > 0);
        resumed.or_else(|| shared().find(|(_, shared)| shared.serves(wanted, kept) && !is_misleading(shared)).map(|(id, _)| (id, 0)))
    }

    /// Whether a snapshot may be begun. One that is made for nobody but slaves that may come back gives way.
    fn has_room(&mut self, state: &NodeState) -> bool {
        let max = state.config.repl_max_concurrent_syncs as usize;
        loop {
            let sent: Vec<SnapshotId> = self.sessions.values().filter(|session| !session.is_sent).filter_map(|session| session.snapshot).collect();
            let busy: Vec<SnapshotId> =
                self.snapshots.iter().filter(|(id, s)| s.shared().is_some() && (!s.made.done || sent.contains(id))).map(|(id, _)| *id).collect();
            if busy.len() < max {
                return true;
            }
            let Some(unused) = busy.into_iter().find(|id| !self.is_used(*id)) else { return false };
            info!(state.log, "A kept snapshot gives way to a replica that is here");
            self.drop_snapshot(unused);
        }
    }

    fn is_used(&self, id: SnapshotId) -> bool {
        self.sessions.values().any(|session| session.snapshot == Some(id))
    }

    /// Starts a snapshot for these slaves.
    fn begin_for(&mut self, state: &mut NodeState, slots: &[Slot], version: u32) {
        let needed = state.writer_options(Dialect::Full).version;
        if version < needed && state.config.repl_dialect_refuses {
            return self.refuse_by_dialect(state, slots, needed);
        }
        info!(state.log, "Starting a snapshot for replicas"; "replicas" => slots.len(), "offset" => state.stream.offset().0);
        // Every start of a full sync makes the stream say SELECT again.
        state.stream.forget_selected();
        let sync_id = SyncId::random(&*state.env.random);
        let shared = SharedSnapshot::new(sync_id, state.stream.replid, state.stream.offset(), version, needed);
        let begun = self.begin(state, Kind::Replicas(shared));
        if let Err(error) = &begun {
            error!(state.log, "Can't start a snapshot for replicas"; "error" => %error);
        }
        for slot in slots {
            let Some(session) = self.sessions.get(slot) else { continue };
            self.admission.begun(&session.address, state.stream.offset(), state.steady_ms);
            match &begun {
                Ok(id) => self.send_snapshot(state, *slot, *id, 0),
                Err(error) => {
                    self.admission.forget(*slot);
                    if let Some(replica) = replica(state, *slot) {
                        replica.lost_because = Some(format!("the snapshot can't be started: {error}"));
                    }
                    self.shell.close(state, *slot);
                }
            }
        }
    }

    /// These slaves would lose something: they get nothing, and are held back longer each time.
    fn refuse_by_dialect(&mut self, state: &mut NodeState, slots: &[Slot], needed: u32) {
        for slot in slots {
            let Some(session) = self.sessions.get(slot) else { continue };
            self.admission.begun(&session.address, state.stream.offset(), state.steady_ms);
            self.admission.forget(*slot);
            warn!(state.log, "A replica is refused: its dialect can't hold all there is"; "replica" => &session.address, "reason" => "dialect-loss",
                "rdb_version_needed" => needed);
            if let Some(replica) = replica(state, *slot) {
                replica.lost_because = Some("dialect-loss".to_owned());
            }
            self.shell.close(state, *slot);
        }
    }

    /// Lets a slave's session send a snapshot, from a chunk on.
    fn send_snapshot(&mut self, state: &mut NodeState, slot: Slot, id: SnapshotId, first_chunk: u64) {
        self.admission.forget(slot);
        let moment = state.moment();
        let (Some(session), Some(Snapshot { worker, kind: Kind::Replicas(shared), made })) =
            (self.sessions.get_mut(&slot), self.snapshots.get_mut(&id))
        else {
            return;
        };
        let Some(replica) = state.clients.get_mut(slot).and_then(|client| client.replica.as_deref_mut()) else { return };
        // From here on, not when the session runs first: the end of another sync would take the snapshot for unused before.
        let is_misplaced = first_chunk > 0 && state.env.planted(Mistake::ResumedElsewhere);
        let offset = if is_misplaced { state.stream.offset() } else { shared.offset };
        replica.sent = offset;
        replica.snapshot = Some(id);
        replica.state = ReplicaState::SendBulk;
        replica.ack_ms = moment.steady_ms;
        replica.hold = None;
        replica.sync_permille = Some(0);
        let sync = replica.sync;
        shared.taken_by(&session.address);
        session.snapshot = Some(id);
        session.is_sent = false;
        let source = Source { id, sync_id: shared.id, worker: worker.clone(), replid: shared.replid, offset, made: *made, first_chunk };
        session.addr.do_send(BeginSnapshot(source));
        if let Some(number) = sync {
            state.syncs.set_offset(number, shared.offset);
            if first_chunk > 0 {
                state.syncs.resumed(number);
            }
        }
        if first_chunk > 0 {
            info!(state.log, "A broken full sync goes on"; "replica" => &session.address, "sync" => %shared.id, "chunk" => first_chunk);
        }
        self.hold(state);
    }

    /// A slave has acknowledged, which tells that it has what it was sent.
    pub(super) fn sync_completed(&mut self, state: &mut NodeState, slot: Slot) {
        let Some(session) = self.sessions.get_mut(&slot).filter(|session| session.is_sent && session.snapshot.is_some()) else { return };
        session.snapshot = None;
        self.admission.completed(&session.address);
        let moment = state.moment();
        if let Some(replica) = replica(state, slot) {
            replica.snapshot = None;
            let (sync, bytes) = (replica.sync.take(), replica.snapshot_sent);
            if let Some(number) = sync {
                state.syncs.done(number, moment, bytes);
            }
        }
        self.drop_unused_snapshots(state);
    }

    /// A slave's connection is closed. If it was being sent a snapshot, that is kept for a while.
    pub(super) fn session_ended(&mut self, state: &mut NodeState, slot: Slot) {
        self.admission.forget(slot);
        let Some(session) = self.sessions.remove(&slot) else { return };
        session.addr.do_send(super::replica_session::End);
        if let Some(shared) = session.snapshot.and_then(|id| self.snapshots.get_mut(&id)?.shared_mut()) {
            shared.lost(&session.address, session.resumes, state.steady_ms);
        }
        self.drop_unused_snapshots(state);
    }

    /// The snapshot that needs the most of the stream kept, for those who may still be sent it.
    pub(super) fn farthest_snapshot(&self, state: &NodeState) -> Option<(SnapshotId, ReplOffset)> {
        let held = self.snapshots.iter().filter_map(|(id, snapshot)| Some((*id, snapshot.shared()?.holds(state.stream.replid)?)));
        held.min_by_key(|(_, offset)| *offset)
    }

    /// The stream behind a snapshot can't be kept: it goes on to those who are being sent it, as long as they are not given up themselves, and to nobody else.
    pub(super) fn release_snapshot(&mut self, id: SnapshotId) {
        if self.is_used(id) {
            if let Some(shared) = self.snapshots.get_mut(&id).and_then(Snapshot::shared_mut) {
                shared.release();
            }
        } else {
            self.drop_snapshot(id);
        }
    }

    /// Whether some snapshot waits for a slave to come back.
    pub(super) fn keeps_snapshots(&self) -> bool {
        self.snapshots.values().any(|snapshot| snapshot.shared().is_some())
    }

    /// Lets go of snapshots that no slave is sent any more, and that are not kept for one; then of what they held.
    pub(super) fn drop_unused_snapshots(&mut self, state: &mut NodeState) {
        let (kept, now_ms, keep_ms) = (stream_kept(state), state.steady_ms, state.config.repl_sync_keep_seconds as i64 * 1000);
        let wanted = self.sessions.values().filter(|session| !session.is_sent || session.resumes);
        let wanted: Vec<SnapshotId> = wanted.filter_map(|session| session.snapshot).collect();
        let used: Vec<SnapshotId> = self.sessions.values().filter_map(|session| session.snapshot).collect();
        let mut unneeded = Vec::new();
        let mut waiting = Vec::new();
        for (id, snapshot) in &mut self.snapshots {
            let Some(shared) = snapshot.shared_mut() else { continue };
            if !wanted.contains(id) {
                shared.release_if_outgrown(kept);
            }
            if !used.contains(id) {
                match shared.last_lost_ms().filter(|_| shared.is_kept(now_ms, keep_ms, kept)) {
                    Some(lost_ms) => waiting.push((lost_ms, *id)),
                    None => unneeded.push(*id),
                }
            }
        }
        waiting.sort_unstable();
        let too_many = waiting.len().saturating_sub(state.config.repl_max_concurrent_syncs as usize);
        unneeded.extend(waiting[..too_many].iter().map(|(_, id)| *id));
        for id in unneeded {
            self.drop_snapshot(id);
        }
        self.hold(state);
    }

    fn drop_snapshot(&mut self, id: SnapshotId) {
        let Some(snapshot) = self.snapshots.remove(&id) else { return };
        snapshot.worker.do_send(Release);
        if !snapshot.made.done {
            self.shell.addresses().keyspace.do_send(CancelSnapshot(id));
        }
    }
}
