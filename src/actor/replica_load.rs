//! A snapshot that is being received. While it comes it is loaded on another thread, aside from the data that is served, written to a file on
//! a third, or both, as `repl-diskless-load` says.
//!
//! Owns: the jobs and the ways to them. What has been handed over stays with them when the link breaks: a later link may bring the rest. Dropped before
//! the snapshot is whole, it leaves nothing behind.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use slog::{Logger, info, warn};

use super::replica_attempt::LinkFailure;
use crate::command::NodeState;
use crate::config::DisklessLoad;
use crate::env::{Feed, Mistake};
use crate::persistence::ReceivedFile;
use crate::rdb::{self, LoadCause, LoadError, LoadOptions, Loaded, Progress};
use crate::replication::{ChunkPos, ReplId, ReplOffset, SnapshotForm};

/// Snapshot bytes that wait for a job: above it the socket waits.
const PENDING_BYTES_MAX: usize = 16 << 20;

pub(super) struct Incoming {
    /// The place of the master's history at which it was taken; a master that knows only SYNC does not tell it.
    pub history: Option<(ReplId, ReplOffset)>,
    /// How far a snapshot of chunks has come.
    pub at: Option<ChunkPos>,
    pub options: LoadOptions,
    pub gauge: Arc<Gauge>,
    log: Logger,
    loader: Option<Job<Loaded, LoadError>>,
    file: Option<Job<ReceivedFile, io::Error>>,
}

/// How far a job has come that loads or verifies.
#[derive(Default)]
pub(super) struct Gauge {
    bytes: AtomicU64,
    keys: AtomicU64,
    keys_told: AtomicU64,
}

impl Gauge {
    pub fn set(&self, at: Progress) {
        self.bytes.store(at.bytes, Ordering::Relaxed);
        self.keys.store(at.keys, Ordering::Relaxed);
        self.keys_told.store(at.keys_told, Ordering::Relaxed);
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    /// How many keys the snapshot has, as far as it tells.
    pub fn keys_told(&self) -> u64 {
        self.keys_told.load(Ordering::Relaxed)
    }
}

/// All of a snapshot.
pub(super) enum Whole {
    /// It is loaded, and in a file if one was wanted.
    Loaded(Box<Loaded>, Option<ReceivedFile>),
    /// It is in a file, and nobody has looked at it.
    OnDisk(ReceivedFile),
}

/// A job that reads the snapshot on another thread.
struct Job<T, E> {
    feed: Option<Box<dyn Feed>>,
    result: oneshot::Receiver<Result<T, E>>,
}

impl<T: Send + 'static, E: Send + 'static> Job<T, E> {
    fn spawn(state: &NodeState, name: &str, read: impl FnOnce(Box<dyn Read + Send>) -> Result<T, E> + Send + 'static) -> io::Result<Self> {
        let (sender, result) = oneshot::channel();
        let job = move |input: Box<dyn Read + Send>| {
            // The receiver may be gone: then the link has ended, and what was made is dropped here.
            let _ = sender.send(read(input));
        };
        Ok(Job { feed: Some(state.env.spawner.spawn_reader(name, Box::new(job))?), result })
    }

    fn push(&mut self, bytes: Bytes) -> bool {
        self.feed.as_mut().is_some_and(|feed| feed.push(bytes).is_ok())
    }

    fn pending(&self) -> usize {
        self.feed.as_ref().map_or(0, |feed| feed.pending())
    }

    /// All bytes have come, or the job wants no more: what it has come to.
    async fn result(mut self) -> io::Result<Result<T, E>> {
        if let Some(feed) = self.feed.take() {
            feed.finish();
        }
        self.result.await.map_err(|_| io::Error::other("a reader of the snapshot has ended without a result"))
    }
}

impl Incoming {
    /// Sets jobs on other threads to the snapshot.
    pub fn begin(state: &NodeState, history: Option<(ReplId, ReplOffset)>, form: SnapshotForm) -> io::Result<Self> {
        let mut options = LoadOptions::new(state.keyspace.databases(), state.keyspace.hash_seed());
        options.checksum = state.config.rdbchecksum && !state.env.planted(Mistake::SnapshotUnverified);
        options.access = state.access_when_loading();
        options.limits = state.config.limits;
        let (in_memory, in_file) = match state.config.repl_diskless_load {
            DisklessLoad::SwapDb => (true, false),
            DisklessLoad::OnEmptyDb => (true, state.keys_len() > 0),
            DisklessLoad::Disabled => (true, true),
            DisklessLoad::FlushBeforeLoad => (false, true),
        };
        let gauge = Arc::new(Gauge::default());
        // Without the file there is no other way than memory.
        let room = (in_file && state.config.maxmemory > 0).then(|| state.config.maxmemory.saturating_sub(state.keyspace.allocated() as u64));
        let load = {
            let gauge = gauge.clone();
            move |input| {
                let options = LoadOptions { memory_max: room, ..options };
                rdb::load(input, &options, &mut |at| {
                    gauge.set(at);
                    ControlFlow::Continue(())
                })
            }
        };
        let write = {
            let (env, dir) = (state.env.clone(), state.config.dir.clone());
            move |input| ReceivedFile::receive(&env, &dir, input)
        };
        let at = match form {
            SnapshotForm::Chunks(at) => Some(at),
            SnapshotForm::Length(_) | SnapshotForm::Mark => None,
        };
        let loader = in_memory.then(|| Job::spawn(state, "replica-load", load)).transpose()?;
        let file = in_file.then(|| Job::spawn(state, "replica-file", write)).transpose()?;
        Ok(Incoming { history, at, options, gauge, log: state.log.clone(), loader, file })
    }

    /// Hands the next bytes over, and waits while too many wait for a job.
    pub async fn push(&mut self, bytes: Bytes) -> Result<(), LinkFailure> {
        if let Some(mut file) = self.file.take() {
            match file.push(bytes.clone()) {
                true => self.file = Some(file),
                false => self.without_file(file.result().await?.err())?,
            }
        }
        if let Some(mut loader) = self.loader.take() {
            match loader.push(bytes) {
                true => self.loader = Some(loader),
                false => self.without_loader(loader.result().await?.err())?,
            }
        }
        let pending = |incoming: &Incoming| {
            let (loader, file) = (incoming.loader.as_ref().map_or(0, Job::pending), incoming.file.as_ref().map_or(0, Job::pending));
            loader.max(file)
        };
        while pending(self) > PENDING_BYTES_MAX {
            actix_rt::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The file can't be written. What is loaded aside does not need it.
    fn without_file(&self, error: Option<io::Error>) -> Result<(), LinkFailure> {
        let error = error.unwrap_or_else(|| io::Error::other("the file has ended before the snapshot"));
        if self.loader.is_none() {
            return Err(LinkFailure::NoFile(error));
        }
        warn!(self.log, "The master's snapshot does not become the dump file"; "error" => %error);
        Ok(())
    }

    /// The loader has ended early: it has found an error, or too little room.
    fn without_loader(&self, error: Option<LoadError>) -> Result<(), LinkFailure> {
        match error {
            Some(LoadError { cause: LoadCause::Memory { .. }, .. }) if self.file.is_some() => {
                info!(self.log, "MASTER <-> REPLICA sync: old and new data don't fit maxmemory together: the snapshot goes to a file first");
                Ok(())
            }
            Some(LoadError { cause: LoadCause::Memory { .. }, .. }) => Err(LinkFailure::NoRoom),
            Some(error) => Err(error.into()),
            None => Err(LinkFailure::Io(io::Error::other("the master's snapshot has ended before its frame"))),
        }
    }

    /// All bytes have come: waits for the jobs.
    pub async fn whole(&mut self) -> Result<Whole, LinkFailure> {
        let mut loaded = None;
        if let Some(loader) = self.loader.take() {
            match loader.result().await? {
                Ok(all) => loaded = Some(all),
                Err(error) => self.without_loader(Some(error))?,
            }
        }
        let file = match self.file.take() {
            Some(file) => Some(file.result().await?),
            None => None,
        };
        match (loaded, file) {
            (Some(loaded), Some(Err(error))) => {
                warn!(self.log, "The master's snapshot does not become the dump file"; "error" => %error);
                Ok(Whole::Loaded(Box::new(loaded), None))
            }
            (Some(loaded), file) => Ok(Whole::Loaded(Box::new(loaded), file.transpose().map_err(LinkFailure::NoFile)?)),
            (None, Some(file)) => Ok(Whole::OnDisk(file.map_err(LinkFailure::NoFile)?)),
            (None, None) => Err(LinkFailure::NoRoom),
        }
    }

    /// Whether a later link may go on with it.
    pub fn can_be_resumed(&self) -> bool {
        self.at.is_some_and(|at| at.next > 0)
    }
}
