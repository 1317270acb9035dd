//! From a snapshot that has come as a whole to the data that is served: whether it is admitted, the dump file, the swap.
//!
//! The old data is served until the new is verified and admitted. It goes in the turn in which the new takes its place; only where memory holds no two
//! data sets it goes before the new is loaded, from a file that has been verified and is the dump file by then.

use std::io;
use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::poll_fn;
use slog::{info, warn};

use super::replica_attempt::{Attempt, LinkFailure, held, link_of};
use super::replica_load::{Gauge, Incoming, Whole};
use super::shell::Shell;
use crate::command::{Loading, Request};
use crate::env::Mistake;
use crate::keyspace::DbIndex;
use crate::persistence::ReceivedFile;
use crate::rdb::{Library, Loaded};
use crate::replication::{ReplId, ReplOffset};

/// While it stands, clients are told LOADING.
struct TellLoading(Rc<Shell>);

impl Drop for TellLoading {
    fn drop(&mut self) {
        self.0.state.borrow_mut().loading = None;
        self.0.notify_loaded();
    }
}

impl Attempt {
    /// The snapshot has been received: puts the new data in the place of the old, if that may be.
    pub(super) async fn finish_load(&mut self) -> Result<(), LinkFailure> {
        let mut incoming = self.incoming.take().expect("the snapshot has begun");
        let gauge = incoming.gauge.clone();
        match self.alive(&gauge, incoming.whole()).await? {
            Whole::Loaded(loaded, file) => {
                self.admit(loaded.keys_loaded, &loaded.libraries)?;
                let is_saved = match file {
                    Some(file) => self.settle(file).await?.1,
                    None => false,
                };
                self.put_in_place(*loaded)?;
                self.saved_by_sync(is_saved);
                Ok(())
            }
            Whole::OnDisk(file) => self.load_alone(file, &incoming).await,
        }
    }

    fn admit(&self, keys: u64, libraries: &[Library]) -> Result<(), LinkFailure> {
        let mut state = self.shell.state.borrow_mut();
        if let Some(held) = held(&mut state)? {
            held.admits_keys(self.history.map(|(replid, _)| replid), keys)?;
        }
        Ok(state.check_libraries(libraries)?)
    }

    /// Memory holds one data set, or shall: the old goes when the new one's file is verified.
    async fn load_alone(&mut self, file: ReceivedFile, incoming: &Incoming) -> Result<(), LinkFailure> {
        let (options, gauge) = (incoming.options, incoming.gauge.clone());
        let of_job = gauge.clone();
        let verify = move || {
            let summary = file.verify(&options, &mut |at| {
                of_job.set(at);
                ControlFlow::Continue(())
            });
            (file, summary)
        };
        let (file, summary) = self.on_thread("replica-verify", &gauge, verify).await?;
        let summary = summary?;
        self.admit(summary.keys, &summary.libraries)?;
        let (file, is_saved) = self.settle(file).await?;
        let loading = self.flush(summary.bytes)?;
        let garbage: Vec<_> = {
            let mut state = self.shell.state.borrow_mut();
            std::iter::from_fn(|| state.keyspace.take_garbage()).collect()
        };
        self.on_thread("free", &gauge, move || drop(garbage)).await?;
        let of_job = gauge.clone();
        let load = move || {
            file.load(&options, &mut |at| {
                of_job.set(at);
                ControlFlow::Continue(())
            })
        };
        let loaded = self.on_thread("replica-load", &gauge, load).await??;
        drop(loading);
        self.put_in_place(loaded)?;
        self.saved_by_sync(is_saved);
        Ok(())
    }

    /// Drops the old data; what comes next can't be continued until the new is there.
    fn flush(&mut self, total_bytes: u64) -> Result<TellLoading, LinkFailure> {
        let mut guard = self.shell.state.borrow_mut();
        let state = &mut *guard;
        info!(state.log, "MASTER <-> REPLICA sync: the snapshot is verified. Flushing old data, loading the new"; "bytes" => total_bytes);
        let link = link_of(state)?;
        (link.cached, link.history_broken) = (None, true);
        for db in 0..state.keyspace.databases() {
            state.keyspace.flush(DbIndex(db));
            state.touch_all_watchers(DbIndex(db));
        }
        state.loading = Some(Loading { started_unix: state.now_ms / 1000, total_bytes, ..Loading::default() });
        Ok(TellLoading(self.shell.clone()))
    }

    /// Makes the file that was received the dump file, and tells whether it is: that it can't be does not hold the sync up.
    async fn settle(&mut self, mut file: ReceivedFile) -> Result<(ReceivedFile, bool), LinkFailure> {
        let name = self.shell.state.borrow().config.dbfilename.clone();
        let settle = move || {
            let result = file.settle(&name);
            (file, result)
        };
        let (file, result) = self.on_thread("replica-file", &Gauge::default(), settle).await?;
        if let Err(error) = &result {
            warn!(self.shell.state.borrow().log, "The master's snapshot does not become the dump file"; "error" => %error);
        }
        Ok((file, result.is_ok()))
    }

    /// The dump file has what is in memory now, or else nothing has been saved of it.
    fn saved_by_sync(&self, is_saved: bool) {
        let mut guard = self.shell.state.borrow_mut();
        let state = &mut *guard;
        if !is_saved {
            state.dirty += 1;
            return;
        }
        state.save.dirty_at_last_save = state.dirty;
        state.save.last_save_unix = state.now_ms / 1000;
        // A save of the old data that still runs would come after the new one.
        state.save.scheduled |= state.save.bgsave_started_ms.is_some();
        if state.config.rdb_del_sync_files && state.config.save.is_empty() {
            let (disk, path) = (state.env.disk.clone(), state.config.dir.join(&state.config.dbfilename));
            let remove = move || {
                // One that can't be removed is no more than a file too many.
                let _ = disk.remove(&path);
            };
            if let Err(error) = state.env.spawner.spawn_job("replica-file", Box::new(remove)) {
                warn!(state.log, "The file of the sync can't be removed"; "error" => %error);
            }
        }
    }

    fn put_in_place(&mut self, loaded: Loaded) -> Result<(), LinkFailure> {
        let mut state = self.shell.state.borrow_mut();
        let state = &mut *state;
        let (replid, offset) = self.history.unwrap_or_else(|| (ReplId::random(&*state.env.random), ReplOffset(0)));
        // A slave that relays its master's stream does not say SELECT anew after a cut: its snapshot tells what is selected.
        let selected = loaded.aux.repl_stream_db.and_then(|db| u32::try_from(db).ok()).filter(|db| *db < loaded.keyspace.databases());
        state.put_in_place(loaded.keyspace, &loaded.libraries)?;
        (state.save.last_load_keys, state.save.last_load_expired) = (loaded.keys_loaded, loaded.keys_expired);
        info!(state.log, "MASTER <-> REPLICA sync: Finished with success"; "keys" => loaded.keys_loaded, "bytes" => loaded.bytes, "offset" => offset.0);
        for db in 0..state.keyspace.databases() {
            state.touch_all_watchers(DbIndex(db));
        }
        state.stream.adopt(replid, offset);
        state.sync_from_master_done(loaded.bytes);
        let link = link_of(state)?;
        link.history_broken = self.history.is_none();
        link.cached = self.history;
        link.stream_db = selected.map(DbIndex);
        // Our slaves have another history than this node has now.
        if !state.env.planted(Mistake::SubReplicasKept) {
            state.requests.push(Request::DropReplicas);
        }
        Ok(())
    }

    async fn on_thread<T: Send + 'static>(&mut self, name: &str, gauge: &Gauge, job: impl FnOnce() -> T + Send + 'static) -> Result<T, LinkFailure> {
        let (sender, result) = oneshot::channel();
        let job = move || {
            // The receiver may be gone: then the link has ended.
            let _ = sender.send(job());
        };
        self.shell.state.borrow().env.spawner.spawn_job(name, Box::new(job))?;
        let ended = |_| LinkFailure::Io(io::Error::other("a job of the sync has ended without a result"));
        self.alive(gauge, result).await.map_err(ended)
    }

    /// Waits for something that may take long. Meanwhile the master gets signs of life, and INFO shows the progress.
    async fn alive<T>(&mut self, gauge: &Gauge, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut life = actix_rt::time::interval(Duration::from_secs(1));
        loop {
            let next = poll_fn(|cx| match work.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => life.poll_tick(cx).map(|_| None),
            });
            if let Some(result) = next.await {
                return result;
            }
            // It may take nothing at this moment, which is no reason to end the link.
            let _ = self.socket.try_write(b"\n");
            let mut state = self.shell.state.borrow_mut();
            if let Some(loading) = &mut state.loading {
                (loading.loaded_bytes, loading.loaded_keys) = (gauge.bytes(), gauge.keys());
            }
            if let Ok(link) = link_of(&mut state) {
                (link.sync_keys, link.sync_keys_told) = (gauge.keys(), gauge.keys_told());
            }
        }
    }
}
