//! A snapshot that is being received: it is loaded on another thread, aside from the data that is served, while it comes.
//!
//! Owns: the loader and the way to it. What has been handed over stays with it when the link breaks: a later link may bring the rest. Dropped before
//! the snapshot is whole, it leaves nothing behind.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;

use super::replica_attempt::LinkFailure;
use crate::command::NodeState;
use crate::env::{Feed, Mistake};
use crate::rdb::{self, LoadError, LoadOptions, Loaded};
use crate::replication::{ChunkPos, ReplId, ReplOffset, SnapshotForm};

/// Snapshot bytes that wait for the loader: above it the socket waits.
const UNLOADED_BYTES_MAX: usize = 16 << 20;

pub(super) struct Incoming {
    /// The place of the master's history at which it was taken; a master that knows only SYNC does not tell it.
    pub history: Option<(ReplId, ReplOffset)>,
    /// How far a snapshot of chunks has come.
    pub at: Option<ChunkPos>,
    loader: Job<Loaded>,
}

/// A job that reads the snapshot on another thread.
struct Job<T> {
    feed: Option<Box<dyn Feed>>,
    result: oneshot::Receiver<Result<T, LoadError>>,
}

impl<T> Job<T> {
    fn push(&mut self, bytes: Bytes) -> bool {
        self.feed.as_mut().is_some_and(|feed| feed.push(bytes).is_ok())
    }

    fn pending(&self) -> usize {
        self.feed.as_ref().map_or(0, |feed| feed.pending())
    }

    fn finish(&mut self) {
        if let Some(feed) = self.feed.take() {
            feed.finish();
        }
    }

    async fn result(&mut self) -> Result<T, LinkFailure> {
        let ended = || LinkFailure::Io(std::io::Error::other("the loader has ended without a result"));
        Ok((&mut self.result).await.map_err(|_| ended())??)
    }
}

impl Incoming {
    /// Sets a loader on another thread to the snapshot.
    pub fn begin(state: &NodeState, history: Option<(ReplId, ReplOffset)>, form: SnapshotForm) -> Result<Self, LinkFailure> {
        let mut options = LoadOptions::new(state.keyspace.databases(), state.keyspace.hash_seed());
        options.checksum = state.config.rdbchecksum && !state.env.planted(Mistake::SnapshotUnverified);
        options.access = state.access_when_loading();
        options.limits = state.config.limits;
        let (sender, result) = oneshot::channel();
        let job = move |input: Box<dyn std::io::Read + Send>| {
            // The receiver may be gone: then the link has ended, and what was loaded is dropped here.
            let _ = sender.send(rdb::load(input, &options, &mut |_| ControlFlow::Continue(())));
        };
        let feed = state.env.spawner.spawn_reader("replica-load", Box::new(job))?;
        let at = match form {
            SnapshotForm::Chunks(at) => Some(at),
            SnapshotForm::Length(_) | SnapshotForm::Mark => None,
        };
        Ok(Incoming { history, at, loader: Job { feed: Some(feed), result } })
    }

    /// Hands the next bytes over, and waits while too many are still to be loaded.
    pub async fn push(&mut self, bytes: Bytes) -> Result<(), LinkFailure> {
        if !self.loader.push(bytes) {
            // A loader that has ended early says why in its result.
            return Err(self.loader.result().await.err().unwrap_or(LinkFailure::Closed));
        }
        while self.loader.pending() > UNLOADED_BYTES_MAX {
            actix_rt::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// All bytes have come: waits until they are loaded.
    pub async fn whole(&mut self) -> Result<Loaded, LinkFailure> {
        self.loader.finish();
        self.loader.result().await
    }

    /// Whether a later link may go on with it.
    pub fn can_be_resumed(&self) -> bool {
        self.at.is_some_and(|at| at.next > 0)
    }
}
