//! Digests one snapshot on a thread of its own; on a master it also compares what slaves report of theirs, which may be much.
//!
//! Owns: the findings. Receives: `WriteChunks` from the Keyspace, `Reported`, `ReplicaLost` and `GiveUp` from the Verifier. Sends: `ChunksWritten`
//! (credit) to the Keyspace, `RoundEnded` or `ReportReady` to the Verifier. Stops when it has sent that, or is released.

use std::io;

use actix::dev::channel;
use actix::prelude::*;

use super::keyspace::{ChunksWritten, Keyspace};
use super::snapshot_worker::{Release, WriteChunks};
use super::verifier::{ReportReady, RoundEnded, Verifier};
use crate::env::{Env, WorkerExit};
use crate::keyspace::SnapshotId;
use crate::replication::verify::{Comparison, Digester, Message, Report, Scope, commands_of};

/// Messages that may wait for the worker; the Keyspace's credits bound what they hold.
const MAILBOX: usize = 64;

/// Whose digests they are.
pub(super) enum Part {
    Master(Box<Comparison>),
    Replica,
}

/// One worker's work.
pub(super) struct DigestTask {
    /// The mark's number.
    pub id: u64,
    pub snapshot: SnapshotId,
    pub scope: Scope,
    pub part: Part,
}

/// The actor of one snapshot's digests.
pub struct DigestWorker {
    id: u64,
    snapshot: SnapshotId,
    /// `None` once all is digested.
    digester: Option<Digester>,
    /// `None` once it has been told how the round ended.
    part: Option<Part>,
    keyspace: Addr<Keyspace>,
    verifier: Addr<Verifier>,
    exit: Option<WorkerExit>,
}

/// A slave's message.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Reported {
    pub client: u64,
    pub body: Vec<u8>,
}

/// A slave has gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ReplicaLost(pub u64);

/// The round ends with what there is.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct GiveUp(pub String);

impl DigestWorker {
    /// Starts the worker on its thread.
    pub(super) fn spawn(env: &Env, task: DigestTask, keyspace: Addr<Keyspace>, verifier: Addr<Verifier>) -> io::Result<Addr<DigestWorker>> {
        let (sender, receiver) = channel::channel(MAILBOX);
        let start = move |exit: WorkerExit| {
            let DigestTask { id, snapshot, scope, part } = task;
            let digester = Some(Digester::new(scope));
            let worker = DigestWorker { id, snapshot, digester, part: Some(part), keyspace, verifier, exit: Some(exit) };
            actix_rt::spawn(Context::with_receiver(receiver).into_future(worker));
        };
        env.spawner.spawn_worker("digest", Box::new(start))?;
        Ok(Addr::new(sender))
    }

    /// All chunks have come.
    fn digested(&mut self) {
        let Some(digester) = self.digester.take() else { return };
        match (digester.finish(), &mut self.part) {
            (Ok(findings), Some(Part::Master(comparison))) => {
                comparison.own(findings);
                self.end_if_complete();
            }
            (Err(error), Some(Part::Master(_))) => self.end(&error.to_string()),
            (result, Some(Part::Replica)) => {
                let commands = match result {
                    Ok(findings) => commands_of(self.id, findings),
                    Err(error) => vec![Report::new(self.id, Message::Failed(error.to_string())).command()],
                };
                self.part = None;
                self.verifier.do_send(ReportReady { id: self.id, commands });
            }
            (_, None) => {}
        }
    }

    fn end_if_complete(&mut self) {
        if matches!(&self.part, Some(Part::Master(comparison)) if comparison.is_complete()) {
            self.end("");
        }
    }

    fn end(&mut self, reason: &str) {
        if let Some(Part::Master(comparison)) = self.part.take() {
            self.verifier.do_send(RoundEnded { id: self.id, outcome: comparison.finish(reason) });
        }
    }
}

impl Actor for DigestWorker {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        if let Some(exit) = self.exit.take() {
            exit();
        }
    }
}

impl Handler<WriteChunks> for DigestWorker {
    type Result = ();

    fn handle(&mut self, message: WriteChunks, _: &mut Context<Self>) {
        if let Some(digester) = &mut self.digester {
            message.chunks.iter().for_each(|chunk| digester.push(chunk));
        }
        self.keyspace.do_send(ChunksWritten { id: self.snapshot, bytes: message.bytes });
        if message.done {
            self.digested();
        }
    }
}

impl Handler<Reported> for DigestWorker {
    type Result = ();

    fn handle(&mut self, message: Reported, _: &mut Context<Self>) {
        if let Some(Part::Master(comparison)) = &mut self.part {
            comparison.reported(message.client, &message.body);
            self.end_if_complete();
        }
    }
}

impl Handler<ReplicaLost> for DigestWorker {
    type Result = ();

    fn handle(&mut self, message: ReplicaLost, _: &mut Context<Self>) {
        if let Some(Part::Master(comparison)) = &mut self.part {
            comparison.lost(message.0);
            self.end_if_complete();
        }
    }
}

impl Handler<GiveUp> for DigestWorker {
    type Result = ();

    fn handle(&mut self, message: GiveUp, _: &mut Context<Self>) {
        self.end(&message.0);
    }
}

impl Handler<Release> for DigestWorker {
    type Result = ();

    fn handle(&mut self, _: Release, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
