//! The slave's end of a link: connects, syncs, follows, and begins again when the link breaks.
//!
//! Owns: the attempts to link up, one at a time, and the reading end of the master's socket. Receives: `Follow`, `StopFollowing`. Sends: stream bytes to the
//! turn, as any connection does (the master is a client of this node whose commands are applied, counted and not answered). The old data stays
//! in place until the new is whole. Stops when the node stops.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::poll_fn;
use slog::{error, info, warn};

use super::connection::Pump;
use super::shell::Shell;
use super::timer::{every, is_late};
use crate::command::{Client, ClientFlags, NodeState, Request};
use crate::env::{Env, Feed, Socket};
use crate::rdb::{self, LoadError, LoadOptions, Loaded};
use crate::replication::{HandshakeOptions, LinkError, LinkEvent, LinkState, MasterLink, ReplId, ReplOffset, ReplicaHandshake, Role, SnapshotForm};
use crate::resp::encode_command;

/// The first wait after a link broke; doubled each time, up to the longest.
const BACKOFF_MIN_MS: u64 = 100;
const BACKOFF_MAX_MS: u64 = 5_000;
/// The wait after a command that can't be applied: an operator has to see to it.
const BACKOFF_STOPPED_MS: u64 = 30_000;
const READ_BYTES: usize = 64 << 10;
/// Snapshot bytes that wait for the loader: above it the socket waits.
const UNLOADED_BYTES_MAX: usize = 16 << 20;

/// The actor of the link to the master.
pub struct ReplicaClient {
    shell: Rc<Shell>,
    /// The number of the attempt that counts. A cancelled future may be polled once more: an attempt with another number does nothing then, so
    /// that there are never two links.
    current: Rc<Cell<u64>>,
    backoff_ms: u64,
    last_tick_ms: i64,
}

/// The role is replica of `MasterLink`'s host and port: link up, dropping what link there is.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Follow;

/// End the link: for good when the role has changed, or for a reason, to be tried again much later.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StopFollowing {
    pub reason: Option<String>,
}

/// Why an attempt, or a link that was up, has ended.
#[derive(Debug, thiserror::Error)]
enum LinkFailure {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("the snapshot can't be loaded, the old data stays: {0}")]
    Load(#[from] LoadError),
    #[error("no answer from the master within repl-timeout")]
    Timeout,
    #[error("the master closed the connection")]
    Closed,
    #[error("the node follows nobody")]
    NotReplica,
}

impl ReplicaClient {
    pub fn new(shell: Rc<Shell>) -> Self {
        ReplicaClient { shell, current: Rc::default(), backoff_ms: BACKOFF_MIN_MS, last_tick_ms: 0 }
    }

    /// Ends the attempt, the link, and a waiting retry.
    fn drop_link(&mut self) {
        self.current.set(self.current.get() + 1);
        let mut state = self.shell.state.borrow_mut();
        let masters: Vec<_> = state.clients.iter().filter(|(_, client)| client.is(ClientFlags::MASTER)).map(|(slot, _)| slot).collect();
        for slot in masters {
            self.shell.close(&mut state, slot);
        }
    }

    fn start(&mut self, ctx: &mut Context<Self>) {
        let (current, number) = (self.current.clone(), self.current.get());
        let mut link = Box::pin(link_up(self.shell.clone()));
        let link = poll_fn(move |cx| if current.get() == number { link.as_mut().poll(cx).map(Some) } else { Poll::Ready(None) });
        ctx.spawn(link.into_actor(self).map(move |ended, act, ctx| {
            if let Some(ended) = ended.filter(|_| act.current.get() == number) {
                act.ended(ended, ctx);
            }
        }));
    }

    /// The attempt, or the link, is over: says why and tries again.
    fn ended(&mut self, ended: Result<(), LinkFailure>, ctx: &mut Context<Self>) {
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        state.tick();
        let was_up = ended.is_ok();
        let reason = ended.err().unwrap_or(LinkFailure::Closed).to_string();
        let state = &mut *state;
        state.sync_from_master_failed(&reason);
        let Role::Replica(link) = &mut state.role else { return };
        warn!(state.log, "The link to the master is down"; "master" => format!("{}:{}", link.host, link.port), "why" => &reason);
        link.last_error = Some(reason);
        set_down(link, state.steady_ms);
        if was_up {
            self.backoff_ms = BACKOFF_MIN_MS;
        }
        // Jitter keeps the slaves of a master that has come back from asking all at once.
        let delay_ms = self.backoff_ms / 2 + state.env.random.below(self.backoff_ms / 2 + 1);
        self.backoff_ms = (self.backoff_ms * 2).min(BACKOFF_MAX_MS);
        self.retry_after(delay_ms, ctx);
    }

    fn retry_after(&mut self, delay_ms: u64, ctx: &mut Context<Self>) {
        let number = self.current.get();
        ctx.run_later(Duration::from_millis(delay_ms), move |act, ctx| {
            if act.current.get() == number {
                act.start(ctx);
            }
        });
    }

    /// Once a second: an ACK, and whether the master is still there.
    fn tick(&mut self) {
        let mut state = self.shell.state.borrow_mut();
        state.tick();
        let state = &mut *state;
        let late = is_late(std::mem::replace(&mut self.last_tick_ms, state.steady_ms), state.steady_ms);
        let Role::Replica(link) = &mut state.role else { return };
        if !link.is_up() {
            return;
        }
        let Some((slot, client)) = state.clients.iter_mut().find(|(_, client)| client.is(ClientFlags::MASTER)) else { return };
        link.last_io_ms = client.last_interaction_ms;
        if !late && state.steady_ms - client.last_interaction_ms > state.config.repl_timeout as i64 * 1000 {
            warn!(state.log, "MASTER timeout: no data nor PING received...");
            state.requests.push(Request::Close(slot));
        } else {
            let offset = state.stream.offset().to_string();
            encode_command(&mut client.out, &[b"REPLCONF", b"ACK", offset.as_bytes()]);
            state.written.push(slot);
        }
        self.shell.request_turn();
    }
}

fn set_down(link: &mut MasterLink, now_ms: i64) {
    if link.is_up() {
        link.down_since_ms = Some(now_ms);
    }
    link.state = LinkState::Connect;
}

/// One attempt: `Ok` when the link was up and has ended, else why it did not come up.
async fn link_up(shell: Rc<Shell>) -> Result<(), LinkFailure> {
    let (env, host, port, timeout, options) = {
        let mut state = shell.state.borrow_mut();
        let options = handshake_options(&state);
        let timeout = Duration::from_secs(state.config.repl_timeout);
        let env = state.env.clone();
        let link = link_of(&mut state)?;
        link.state = LinkState::Connecting;
        (env, link.host.clone(), link.port, timeout, options)
    };
    info!(shell.state.borrow().log, "Connecting to MASTER {host}:{port}");
    let socket = within(timeout, env.net.connect(&host, port, None)).await??;
    let mut attempt = Attempt { shell, env, socket, input: Vec::new(), timeout, handshake: ReplicaHandshake::new(options), feed: None, loaded: None };
    if let Err(failure) = attempt.handshake().await {
        if attempt.handshake.has_asked() {
            attempt.shell.state.borrow_mut().abort_failover("Failover target rejected psync request");
            attempt.shell.request_turn();
        }
        return Err(failure);
    }
    attempt.follow().await;
    Ok(())
}

async fn within<T>(timeout: Duration, future: impl Future<Output = T>) -> Result<T, LinkFailure> {
    actix_rt::time::timeout(timeout, future).await.map_err(|_| LinkFailure::Timeout)
}

fn link_of(state: &mut NodeState) -> Result<&mut MasterLink, LinkFailure> {
    match &mut state.role {
        Role::Replica(link) => Ok(link),
        Role::Master => Err(LinkFailure::NotReplica),
    }
}

fn handshake_options(state: &NodeState) -> HandshakeOptions {
    let config = &state.config;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let announced = if config.replica_announce_port != 0 { config.replica_announce_port } else { state.tcp_port };
    let ask = match &state.role {
        Role::Replica(link) => link.cached.map(|(replid, offset)| (replid, offset.next())),
        Role::Master => None,
    };
    HandshakeOptions {
        user: given(&config.masteruser),
        password: given(&config.masterauth),
        listening_port: announced,
        announce_ip: given(&config.replica_announce_ip),
        failover: state.failover.is_some(),
        // A master that is ours then holds nothing back that older ones don't know. Those that have no such option say so, without harm.
        version: Some(crate::REDIS_VERSION_CLAIMED.to_owned()),
        ask,
        resume: None,
    }
}

/// The state of one attempt.
struct Attempt {
    shell: Rc<Shell>,
    env: Env,
    socket: Box<dyn Socket>,
    /// Bytes read and not used up.
    input: Vec<u8>,
    timeout: Duration,
    handshake: ReplicaHandshake,
    feed: Option<Box<dyn Feed>>,
    loaded: Option<oneshot::Receiver<Result<Loaded, LoadError>>>,
}

impl Attempt {
    /// Goes through the handshake and the snapshot, if one is sent, to the place where the stream begins.
    async fn handshake(&mut self) -> Result<(), LinkFailure> {
        let hello = self.handshake.start();
        self.write(&hello).await?;
        let mut history = None;
        loop {
            let mut used = 0;
            loop {
                let (n, event) = self.handshake.next(&self.input[used..])?;
                used += n;
                let Some(event) = event else { break };
                if matches!(event, LinkEvent::Continue { .. } | LinkEvent::FullSync { .. }) {
                    self.shell.state.borrow_mut().failover_accepted();
                    self.shell.request_turn();
                }
                match event {
                    LinkEvent::Send(bytes) => self.write(&bytes).await?,
                    LinkEvent::Notice(text) => info!(self.shell.state.borrow().log, "{text}"),
                    LinkEvent::Continue { replid } => {
                        self.input.drain(..used);
                        return self.continue_history(replid);
                    }
                    LinkEvent::FullSync { history: at } => {
                        history = at;
                        self.note_full_sync(at)?;
                    }
                    LinkEvent::SnapshotBegin(form) => self.begin_load(form)?,
                    LinkEvent::SnapshotBytes(bytes) | LinkEvent::SnapshotChunk { bytes, .. } => {
                        let bytes = Bytes::copy_from_slice(bytes);
                        self.feed(bytes).await?;
                    }
                    LinkEvent::SnapshotEnd => {
                        self.input.drain(..used);
                        return self.finish_load(history).await;
                    }
                }
                let link_state = self.handshake.link_state();
                link_of(&mut self.shell.state.borrow_mut())?.state = if link_state == LinkState::Connected { LinkState::Sync } else { link_state };
            }
            self.input.drain(..used);
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), LinkFailure> {
        let (socket, input) = (&mut self.socket, &mut self.input);
        let n = within(self.timeout, poll_fn(|cx| socket.poll_read(cx, input, READ_BYTES))).await??;
        if n == 0 { Err(LinkFailure::Closed) } else { Ok(()) }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), LinkFailure> {
        while !bytes.is_empty() {
            match self.socket.try_write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let socket = &mut self.socket;
                    within(self.timeout, poll_fn(|cx| socket.poll_write_ready(cx))).await??;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn note_full_sync(&self, history: Option<(ReplId, ReplOffset)>) -> Result<(), LinkFailure> {
        let mut state = self.shell.state.borrow_mut();
        state.tick();
        match history {
            Some((replid, offset)) => info!(state.log, "Full resync from master: {replid}:{offset}"),
            None => info!(state.log, "Full resync from a master that knows only SYNC"),
        }
        let now_ms = state.steady_ms;
        state.sync_from_master_began(history);
        let link = link_of(&mut state)?;
        link.sync_read_bytes = 0;
        link.sync_total_bytes = None;
        link.sync_last_io_ms = now_ms;
        Ok(())
    }

    /// Sets a loader on another thread to the snapshot.
    fn begin_load(&mut self, form: SnapshotForm) -> Result<(), LinkFailure> {
        let mut state = self.shell.state.borrow_mut();
        info!(state.log, "MASTER <-> REPLICA sync: receiving the snapshot"; "as" => ?form);
        let mut options = LoadOptions::new(state.keyspace.databases(), state.keyspace.hash_seed());
        options.checksum = state.config.rdbchecksum;
        options.access = state.access_when_loading();
        options.limits = state.config.limits;
        link_of(&mut state)?.sync_total_bytes = match form {
            SnapshotForm::Length(bytes) => Some(bytes),
            SnapshotForm::Mark | SnapshotForm::Chunks(_) => None,
        };
        let (sender, receiver) = oneshot::channel();
        let job = move |input: Box<dyn std::io::Read + Send>| {
            // The receiver may be gone: then the link has ended, and what was loaded is dropped here.
            let _ = sender.send(rdb::load(input, &options, &mut |_| std::ops::ControlFlow::Continue(())));
        };
        self.feed = Some(self.env.spawner.spawn_reader("replica-load", Box::new(job))?);
        self.loaded = Some(receiver);
        Ok(())
    }

    async fn feed(&mut self, bytes: Bytes) -> Result<(), LinkFailure> {
        let len = bytes.len() as u64;
        if let Some(feed) = &mut self.feed {
            // A loader that has ended early says why in its result.
            if feed.push(bytes).is_err() {
                return Err(self.load_result().await.err().unwrap_or(LinkFailure::Closed));
            }
        }
        while self.feed.as_ref().is_some_and(|feed| feed.pending() > UNLOADED_BYTES_MAX) {
            actix_rt::time::sleep(Duration::from_millis(1)).await;
        }
        let mut state = self.shell.state.borrow_mut();
        state.tick();
        let now_ms = state.steady_ms;
        let link = link_of(&mut state)?;
        link.sync_read_bytes += len;
        link.sync_last_io_ms = now_ms;
        link.last_io_ms = now_ms;
        Ok(())
    }

    async fn load_result(&mut self) -> Result<Loaded, LinkFailure> {
        let ended = || LinkFailure::Io(std::io::Error::other("the loader has ended without a result"));
        let Some(mut loaded) = self.loaded.take() else { return Err(ended()) };
        // The master wants signs of life while a big snapshot is being loaded.
        let mut life = actix_rt::time::interval(Duration::from_secs(1));
        loop {
            let next = poll_fn(|cx| match std::pin::Pin::new(&mut loaded).poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => life.poll_tick(cx).map(|_| None),
            });
            match next.await {
                Some(result) => return Ok(result.map_err(|_| ended())??),
                None => {
                    let _ = self.socket.try_write(b"\n");
                }
            }
        }
    }

    /// The snapshot has been received: waits for the loader, then puts the new data in the place of the old.
    async fn finish_load(&mut self, history: Option<(ReplId, ReplOffset)>) -> Result<(), LinkFailure> {
        if let Some(feed) = self.feed.take() {
            feed.finish();
        }
        let loaded = self.load_result().await?;
        let mut state = self.shell.state.borrow_mut();
        let state = &mut *state;
        let (replid, offset) = history.unwrap_or_else(|| (ReplId::random(&*state.env.random), ReplOffset(0)));
        // A slave that relays its master's stream does not say SELECT anew after a cut: its snapshot tells what is selected.
        let selected = loaded.aux.repl_stream_db.and_then(|db| u32::try_from(db).ok()).filter(|db| *db < loaded.keyspace.databases());
        state.put_in_place(loaded.keyspace, &loaded.libraries)?;
        (state.save.last_load_keys, state.save.last_load_expired) = (loaded.keys_loaded, loaded.keys_expired);
        info!(state.log, "MASTER <-> REPLICA sync: Finished with success"; "keys" => loaded.keys_loaded, "bytes" => loaded.bytes, "offset" => offset.0);
        for db in 0..state.keyspace.databases() {
            state.touch_all_watchers(crate::keyspace::DbIndex(db));
        }
        state.stream.adopt(replid, offset);
        state.sync_from_master_done(loaded.bytes);
        let link = link_of(state)?;
        link.history_broken = history.is_none();
        link.cached = history;
        link.stream_db = selected.map(crate::keyspace::DbIndex);
        // Our slaves have another history than this node has now.
        state.requests.push(Request::DropReplicas);
        Ok(())
    }

    /// The master has what this node lacks: the stream goes on where it stopped.
    fn continue_history(&mut self, replid: Option<ReplId>) -> Result<(), LinkFailure> {
        let mut state = self.shell.state.borrow_mut();
        let state = &mut *state;
        info!(state.log, "Successful partial resynchronization with master."; "offset" => state.stream.offset().0);
        state.continued_from_master(state.stream.offset());
        state.stream.activate(None);
        if let Some(replid) = replid.filter(|replid| *replid != state.stream.replid) {
            info!(state.log, "Master replication ID changed to {replid}");
            state.stream.rename_history(replid);
            state.requests.push(Request::DropReplicas);
        }
        Ok(())
    }

    /// Makes the master a client of this node and reads its stream until the link ends.
    async fn follow(mut self) {
        let input = std::mem::take(&mut self.input);
        let conn = {
            let mut guard = self.shell.state.borrow_mut();
            let state = &mut *guard;
            state.tick();
            let Role::Replica(link) = &mut state.role else { return };
            link.state = LinkState::Connected;
            link.down_since_ms = None;
            link.last_error = None;
            link.last_io_ms = state.steady_ms;
            let mut client =
                Client::new(state.clients.next_id(), self.socket.peer_addr(), self.socket.local_addr(), self.socket.fd(), state.steady_ms);
            client.flags |= ClientFlags::MASTER | ClientFlags::AUTHENTICATED;
            client.db = link.stream_db.unwrap_or_default();
            let offset = state.stream.offset().to_string();
            // The first ACK opens a stream that came by `$EOF`.
            encode_command(&mut client.out, &[b"REPLCONF", b"ACK", offset.as_bytes()]);
            let slot = state.clients.insert(client);
            state.written.push(slot);
            drop(guard);
            self.shell.attach(slot, self.socket, input)
        };
        self.shell.ready(&conn);
        Pump::new(self.shell.clone(), conn).await;
    }
}

impl Actor for ReplicaClient {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        every(ctx, Duration::from_secs(1), |act, _| act.tick());
    }
}

impl Handler<Follow> for ReplicaClient {
    type Result = ();

    fn handle(&mut self, _: Follow, ctx: &mut Context<Self>) {
        self.drop_link();
        self.backoff_ms = BACKOFF_MIN_MS;
        self.start(ctx);
    }
}

impl Handler<StopFollowing> for ReplicaClient {
    type Result = ();

    fn handle(&mut self, message: StopFollowing, ctx: &mut Context<Self>) {
        self.drop_link();
        let Some(reason) = message.reason else { return };
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        state.tick();
        if let Role::Replica(link) = &mut state.role {
            error!(state.log, "The link to the master is stopped"; "why" => &reason);
            link.last_error = Some(reason);
            set_down(link, state.steady_ms);
            self.retry_after(BACKOFF_STOPPED_MS, ctx);
        }
    }
}

/// The node stops.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StopAll;

impl Handler<StopAll> for ReplicaClient {
    type Result = ();

    fn handle(&mut self, _: StopAll, ctx: &mut Context<Self>) {
        self.drop_link();
        ctx.stop();
    }
}
