//! Encodes one snapshot to RDB on a thread of its own: into the dump file (BGSAVE), or into a spool that slaves are sent from.
//!
//! Owns: the file. Receives: `WriteChunks` from the Keyspace, `ReadSpool` from ReplicaSessions, `Release`. Sends: `ChunksWritten` (credit) to the
//! Keyspace, `SnapshotGrew` to the ReplicationMaster. Stops when released, or when writing fails, which it reports.

use std::io;
use std::path::PathBuf;

use actix::dev::channel;
use actix::prelude::*;
use bytes::Bytes;

use super::keyspace::{ChunksWritten, Keyspace};
use super::replication_master::{ReplicationMaster, SnapshotGrew};
use crate::env::{Env, WorkerExit};
use crate::keyspace::{Chunk, SnapshotId};
use crate::persistence::{SaveOptions, SnapshotFile, Spool};
use crate::rdb::{Head, WriterOptions, crc64};
use crate::replication::Made;

/// Messages that may wait for the worker; the Keyspace's credits bound what they hold.
const MAILBOX: usize = 64;

/// What one worker is to do.
pub(super) struct Task {
    pub id: SnapshotId,
    pub dir: PathBuf,
    pub head: Head,
    pub options: WriterOptions,
    /// `dbfilename`, where the whole snapshot goes; `None` for one that is only sent.
    pub dump: Option<String>,
}

/// Where the encoded bytes go. `Failed`: nowhere any more.
enum Output {
    File(Box<SnapshotFile>),
    Spool(Spool),
    Failed,
}

/// The actor of one snapshot's encoding.
pub struct SnapshotWorker {
    task: Task,
    output: Output,
    keyspace: Addr<Keyspace>,
    master: Addr<ReplicationMaster>,
    exit: Option<WorkerExit>,
}

/// Captured keys, in the order of capture; the last message says `done`.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct WriteChunks {
    pub chunks: Vec<Chunk>,
    pub bytes: usize,
    pub done: bool,
    pub keys_done: u64,
    pub keys_total: u64,
}

/// Bytes of the snapshot, which have been encoded already.
#[derive(Message)]
#[rtype(result = "io::Result<SpoolPart>")]
pub(super) struct ReadSpool {
    pub offset: u64,
    pub bytes: u64,
    /// With their checksum.
    pub is_chunk: bool,
}

/// The bytes asked for, all of them.
pub(super) struct SpoolPart {
    pub bytes: Bytes,
    /// 0 unless asked for.
    pub crc64: u64,
}

/// Nobody needs the snapshot any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Release;

impl SnapshotWorker {
    /// Starts the worker on its thread.
    pub(super) fn spawn(env: &Env, task: Task, keyspace: Addr<Keyspace>, master: Addr<ReplicationMaster>) -> io::Result<Addr<SnapshotWorker>> {
        let (sender, receiver) = channel::channel(MAILBOX);
        let worker_env = env.clone();
        let start = move |exit: WorkerExit| {
            let (output, failed) = match open(&worker_env, &task) {
                Ok(output) => (output, None),
                Err(error) => (Output::Failed, Some(error)),
            };
            let worker = SnapshotWorker { task, output, keyspace, master, exit: Some(exit) };
            if let Some(error) = failed {
                worker.report(None, Err(error));
            }
            let ctx = Context::with_receiver(receiver);
            actix_rt::spawn(ctx.into_future(worker));
        };
        env.spawner.spawn_worker("snapshot", Box::new(start))?;
        Ok(Addr::new(sender))
    }

    /// Returns how many bytes of the snapshot there are now.
    fn write(&mut self, message: &WriteChunks) -> io::Result<u64> {
        match &mut self.output {
            Output::Failed => return Err(io::Error::other("the snapshot has failed before")),
            Output::File(file) => {
                for chunk in &message.chunks {
                    file.push(chunk).map_err(io::Error::other)?;
                }
            }
            Output::Spool(spool) => {
                for chunk in &message.chunks {
                    spool.push(chunk)?;
                }
                if message.done {
                    spool.finish()?;
                }
                return Ok(spool.len());
            }
        }
        if !message.done {
            return Ok(0);
        }
        match std::mem::replace(&mut self.output, Output::Failed) {
            Output::File(file) => Ok(file.finish().map_err(io::Error::other)?.bytes),
            _ => unreachable!("the output is a file"),
        }
    }

    fn report(&self, message: Option<&WriteChunks>, result: io::Result<u64>) {
        let (bytes, error) = match result {
            Ok(bytes) => (bytes, None),
            Err(error) => (0, Some(error.to_string())),
        };
        let made = message.map_or(Made::default(), |message| Made {
            bytes,
            done: message.done && error.is_none(),
            keys_done: message.keys_done,
            keys_total: message.keys_total,
        });
        self.master.do_send(SnapshotGrew { id: self.task.id, made, error });
    }
}

fn open(env: &Env, task: &Task) -> io::Result<Output> {
    match &task.dump {
        Some(dbfilename) => {
            let options = SaveOptions { writer: task.options, ..SaveOptions::default() };
            let file = SnapshotFile::create(env, &task.dir, dbfilename, &task.head, options).map_err(io::Error::other)?;
            Ok(Output::File(Box::new(file)))
        }
        None => Ok(Output::Spool(Spool::create(env, &task.dir, &task.head, task.options)?)),
    }
}

impl Actor for SnapshotWorker {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        // An unfinished file, and any spool, is removed when dropped.
        self.output = Output::Failed;
        if let Some(exit) = self.exit.take() {
            exit();
        }
    }
}

impl Handler<WriteChunks> for SnapshotWorker {
    type Result = ();

    fn handle(&mut self, message: WriteChunks, _: &mut Context<Self>) {
        let failed_before = matches!(self.output, Output::Failed);
        let result = self.write(&message);
        self.keyspace.do_send(ChunksWritten { id: self.task.id, bytes: message.bytes });
        if result.is_err() {
            self.output = Output::Failed;
        }
        if !failed_before {
            self.report(Some(&message), result);
        }
    }
}

impl Handler<ReadSpool> for SnapshotWorker {
    type Result = io::Result<SpoolPart>;

    fn handle(&mut self, message: ReadSpool, _: &mut Context<Self>) -> io::Result<SpoolPart> {
        let Output::Spool(spool) = &self.output else { return Err(io::Error::other("the snapshot has failed")) };
        let mut bytes = vec![0; usize::try_from(message.bytes).map_err(io::Error::other)?];
        let mut filled = 0;
        while filled < bytes.len() {
            match spool.read_at(message.offset + filled as u64, &mut bytes[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        let crc64 = if message.is_chunk { crc64(&bytes) } else { 0 };
        Ok(SpoolPart { bytes: bytes.into(), crc64 })
    }
}

impl Handler<Release> for SnapshotWorker {
    type Result = ();

    fn handle(&mut self, _: Release, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
