//! Writes and reads, on a thread of its own, what slaves that are far behind still need of the stream and memory should not hold.
//!
//! Owns: the files. Receives: `Append` and `Trim` from the ReplicationMaster, `ReadSpill` from ReplicaSessions, `End`. Sends: `SpillWritten` to the
//! ReplicationMaster. Stops when told that nobody needs the files any more, which removes them.

use std::io;

use actix::dev::channel;
use actix::prelude::*;
use bytes::Bytes;
use slog::{info, warn};

use super::replication_master::ReplicationMaster;
use crate::command::{NodeState, Slot};
use crate::env::{Env, WorkerExit};
use crate::persistence::SpillFiles;
use crate::replication::{ReplOffset, ReplicaState, SPILL_SEGMENT_BYTES};

/// Messages that may wait for the worker; the stream bounds the bytes in them.
const MAILBOX: usize = 64;

/// The actor of one spill.
pub struct SpillWorker {
    /// Later spills of the node have other numbers.
    number: u64,
    files: SpillFiles,
    failed: bool,
    master: Addr<ReplicationMaster>,
    exit: Option<WorkerExit>,
}

/// The spill that is being written, as its readers find it.
#[derive(Clone)]
pub(super) struct Spill {
    number: u64,
    pub worker: Addr<SpillWorker>,
}

/// Blocks of the stream after an offset.
#[derive(Message)]
#[rtype(result = "()")]
struct Append {
    from: ReplOffset,
    blocks: Vec<Bytes>,
}

/// Nobody needs the bytes up to here.
#[derive(Message)]
#[rtype(result = "()")]
struct Trim(ReplOffset);

/// Bytes of the stream after an offset: at least one.
#[derive(Message)]
#[rtype(result = "io::Result<Bytes>")]
pub(super) struct ReadSpill {
    pub from: ReplOffset,
    pub bytes_max: usize,
}

/// Nobody needs the spill any more.
#[derive(Message)]
#[rtype(result = "()")]
struct End;

/// The spill has been written so far, or can't be written any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SpillWritten {
    number: u64,
    to: io::Result<ReplOffset>,
}

impl Spill {
    /// Starts a worker on its thread.
    fn begin(state: &NodeState, number: u64, master: Addr<ReplicationMaster>) -> io::Result<Spill> {
        let (sender, receiver) = channel::channel(MAILBOX);
        let (env, dir): (Env, _) = (state.env.clone(), state.config.dir.clone());
        let start = move |exit: WorkerExit| {
            let files = SpillFiles::new(&env, &dir, SPILL_SEGMENT_BYTES);
            let worker = SpillWorker { number, files, failed: false, master, exit: Some(exit) };
            actix_rt::spawn(Context::with_receiver(receiver).into_future(worker));
        };
        state.env.spawner.spawn_worker("spill", Box::new(start))?;
        Ok(Spill { number, worker: Addr::new(sender) })
    }
}

impl ReplicationMaster {
    /// Keeps what some slave has not been sent, and what belongs to a snapshot that may still be sent: in memory, and what is too much for it in a spill. Where
    /// neither has room, first snapshots that are kept are given up, then slaves.
    pub(super) fn hold(&mut self, state: &mut NodeState) {
        state.stream.set_spill_limits(state.config.repl_spill_memory, state.config.repl_spill_disk_max);
        self.hold_from(state);
        self.spill(state);
        while let Some(refusal) = state.stream.spill_refusal() {
            let (snapshot, replica) = (self.farthest_snapshot(state), farthest_behind(state));
            if let Some((id, offset)) = snapshot
                && replica.is_none_or(|(_, sent)| offset <= sent)
            {
                info!(state.log, "What was written since a snapshot can't be kept: nobody else is sent it"; "reason" => refusal.code(),
                    "bytes" => state.stream.offset().0 - offset.0);
                self.release_snapshot(id);
                self.hold_from(state);
                continue;
            }
            let Some((slot, sent)) = replica else { return };
            let client = state.clients.at(slot);
            warn!(state.log, "Replica closed: what it still needs of the stream can't be kept"; "addr" => %client.addr, "reason" => refusal.code(),
                "behind" => state.stream.offset().0 - sent.0);
            state.stats.spill_aborts += 1;
            state.stats.spill_last_abort = Some(refusal);
            if let Some(replica) = &mut state.clients.at_mut(slot).replica {
                replica.lost_because = Some(refusal.code().to_owned());
            }
            self.shell.close(state, slot);
            self.hold_from(state);
        }
    }

    fn hold_from(&self, state: &mut NodeState) {
        let snapshot = self.farthest_snapshot(state).map(|(_, offset)| offset);
        let replica = farthest_behind(state).map(|(_, sent)| sent);
        state.stream.hold_from(snapshot.into_iter().chain(replica).min());
    }

    fn spill(&self, state: &mut NodeState) {
        if !state.stream.is_spilling() {
            self.end_spill();
        }
        if let Some(to) = state.stream.trim_spill()
            && let Some(spill) = &*self.shell.spill.borrow()
        {
            spill.worker.do_send(Trim(to));
        }
        let Some((from, blocks)) = state.stream.take_to_spill() else { return };
        let mut spill = self.shell.spill.borrow_mut();
        if spill.is_none() {
            info!(state.log, "What replicas still need of the stream is more than memory should hold: it goes to a file"; "from" => from.0);
            self.shell.spills_begun.set(self.shell.spills_begun.get() + 1);
            match Spill::begin(state, self.shell.spills_begun.get(), self.shell.addresses().master.clone()) {
                Ok(begun) => *spill = Some(begun),
                Err(error) => {
                    warn!(state.log, "No thread to write the stream to a file on"; "error" => %error);
                    state.stream.spill_failed();
                }
            }
        }
        if let Some(spill) = &*spill {
            spill.worker.do_send(Append { from, blocks });
        }
    }

    pub(super) fn end_spill(&self) {
        if let Some(spill) = self.shell.spill.borrow_mut().take() {
            spill.worker.do_send(End);
        }
    }
}

/// The slave that has been sent the least of the stream, among those that get it.
fn farthest_behind(state: &NodeState) -> Option<(Slot, ReplOffset)> {
    let gets_stream = |state| !matches!(state, ReplicaState::Handshake | ReplicaState::WaitSnapshot);
    let replicas = state.clients.replicas().filter(|(.., replica)| gets_stream(replica.state));
    replicas.map(|(slot, _, replica)| (slot, replica.sent)).min_by_key(|(_, sent)| *sent)
}

impl Actor for SpillWorker {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.files.trim(u64::MAX);
        if let Some(exit) = self.exit.take() {
            exit();
        }
    }
}

impl Handler<Append> for SpillWorker {
    type Result = ();

    fn handle(&mut self, message: Append, _: &mut Context<Self>) {
        if self.failed {
            return;
        }
        let mut at = message.from.0;
        let mut append = |block: &Bytes| {
            self.files.append(at, block)?;
            at += block.len() as u64;
            Ok(())
        };
        let written: io::Result<()> = message.blocks.iter().try_for_each(&mut append);
        self.failed = written.is_err();
        self.master.do_send(SpillWritten { number: self.number, to: written.map(|()| ReplOffset(at)) });
    }
}

impl Handler<Trim> for SpillWorker {
    type Result = ();

    fn handle(&mut self, message: Trim, _: &mut Context<Self>) {
        self.files.trim(message.0.0);
    }
}

impl Handler<ReadSpill> for SpillWorker {
    type Result = io::Result<Bytes>;

    fn handle(&mut self, message: ReadSpill, _: &mut Context<Self>) -> io::Result<Bytes> {
        let mut buffer = vec![0; message.bytes_max];
        let n = self.files.read_at(message.from.0, &mut buffer)?;
        buffer.truncate(n);
        if n == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(buffer.into()) }
    }
}

impl Handler<End> for SpillWorker {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<SpillWritten> for ReplicationMaster {
    type Result = ();

    fn handle(&mut self, message: SpillWritten, _: &mut Context<Self>) {
        let is_present = self.shell.spill.borrow().as_ref().is_some_and(|spill| spill.number == message.number);
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        if !is_present {
            return;
        }
        match message.to {
            Ok(to) => state.stream.spilled_to(to),
            Err(error) => {
                warn!(state.log, "The stream can't be written to a file"; "error" => %error);
                state.stream.spill_failed();
            }
        }
        self.hold(state);
    }
}
