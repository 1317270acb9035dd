//! One attempt to link up with the master: connects, shakes hands, receives a snapshot if one is sent, and then makes the master a client of this node.
//!
//! Owns: the socket, until the turn reads it, and the snapshot that comes. The old data stays in place until the new is whole. A snapshot of chunks that
//! breaks off is handed back, for the next attempt to go on with.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::poll_fn;
use slog::info;

use super::connection::Pump;
use super::replica_load::Incoming;
use super::shell::Shell;
use crate::command::{Client, ClientFlags, NodeState, Request};
use crate::env::{Mistake, Socket};
use crate::rdb::LoadError;
use crate::replication::{
    ChunkPos, HandshakeOptions, Held, LinkDownCause, LinkError, LinkEvent, LinkState, MasterLink, Pace, ReplId, ReplOffset, ReplicaHandshake, Role,
    SnapshotForm, SyncRefusal,
};
use crate::resp::encode_command;

const READ_BYTES: usize = 64 << 10;

/// Why an attempt, or a link that was up, has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkFailure {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("the snapshot can't be loaded, the old data stays: {0}")]
    Load(#[from] LoadError),
    #[error("the snapshot can't be written to a file: {0}")]
    NoFile(std::io::Error),
    #[error("old and new data don't fit maxmemory together, and the snapshot can't be written to a file")]
    NoRoom,
    #[error("full sync refused: {0}")]
    Refused(#[from] SyncRefusal),
    #[error("no answer from the master within repl-timeout")]
    Timeout,
    #[error("the master closed the connection")]
    Closed,
    #[error("the node follows nobody")]
    NotReplica,
}

impl LinkFailure {
    /// What listeners are told of it.
    pub fn cause(&self) -> LinkDownCause {
        match self {
            LinkFailure::Closed => LinkDownCause::Closed,
            LinkFailure::Io(_) => LinkDownCause::Io,
            LinkFailure::Timeout => LinkDownCause::Timeout,
            LinkFailure::Link(_) => LinkDownCause::Refused,
            LinkFailure::Load(_) | LinkFailure::NoFile(_) | LinkFailure::NoRoom | LinkFailure::Refused(_) => LinkDownCause::Snapshot,
            LinkFailure::NotReplica => LinkDownCause::Other,
        }
    }

    /// How soon to try again.
    pub fn pace(&self) -> Pace {
        match self {
            LinkFailure::Link(LinkError::RetryLater(_)) => Pace::Busy,
            LinkFailure::Load(_) | LinkFailure::NoFile(_) | LinkFailure::NoRoom => Pace::Costly,
            // It may be catching up with the history that both have.
            LinkFailure::Refused(SyncRefusal::OffsetRegression { .. }) => Pace::Busy,
            LinkFailure::Refused(SyncRefusal::EmptiedMaster { .. }) => Pace::Operator,
            _ => Pace::Broken,
        }
    }
}

/// How an attempt has ended.
pub(super) struct Ended {
    /// `Ok` when the link was up and has ended, else why it did not come up.
    pub result: Result<(), LinkFailure>,
    /// What has come of a snapshot that may be gone on with.
    pub kept: Option<Incoming>,
}

/// Links up, follows the stream, and returns when the link has ended. `kept` is what an attempt before has handed back.
pub(super) async fn link_up(shell: Rc<Shell>, kept: Option<Incoming>) -> Ended {
    let mut attempt = match connect(shell, kept.as_ref().and_then(|incoming| incoming.at)).await {
        Ok(attempt) => attempt,
        Err(failure) => return Ended { result: Err(failure), kept },
    };
    attempt.incoming = kept;
    match attempt.handshake().await {
        Ok(()) => {
            attempt.follow().await;
            Ended { result: Ok(()), kept: None }
        }
        Err(failure) => {
            if attempt.handshake.has_asked() {
                attempt.shell.state.borrow_mut().abort_failover("Failover target rejected psync request");
                attempt.shell.request_turn();
            }
            let link_broke = matches!(failure, LinkFailure::Io(_) | LinkFailure::Link(_) | LinkFailure::Timeout | LinkFailure::Closed);
            let kept = attempt.incoming.filter(|incoming| link_broke && incoming.can_be_resumed());
            Ended { result: Err(failure), kept }
        }
    }
}

async fn connect(shell: Rc<Shell>, resume: Option<ChunkPos>) -> Result<Attempt, LinkFailure> {
    let (env, host, port, timeout, options) = {
        let mut state = shell.state.borrow_mut();
        let options = handshake_options(&state, resume);
        let timeout = Duration::from_secs(state.config.repl_timeout);
        let env = state.env.clone();
        let link = link_of(&mut state)?;
        link.begin_attempt();
        (env, link.host.clone(), link.port, timeout, options)
    };
    info!(shell.state.borrow().log, "Connecting to MASTER {host}:{port}");
    let socket = within(timeout, env.net.connect(&host, port, None)).await??;
    Ok(Attempt { shell, socket, input: Vec::new(), timeout, handshake: ReplicaHandshake::new(options), history: None, incoming: None })
}

async fn within<T>(timeout: Duration, future: impl Future<Output = T>) -> Result<T, LinkFailure> {
    actix_rt::time::timeout(timeout, future).await.map_err(|_| LinkFailure::Timeout)
}

pub(super) fn link_of(state: &mut NodeState) -> Result<&mut MasterLink, LinkFailure> {
    match &mut state.role {
        Role::Replica(link) => Ok(link),
        Role::Master => Err(LinkFailure::NotReplica),
    }
}

fn handshake_options(state: &NodeState, resume: Option<ChunkPos>) -> HandshakeOptions {
    let (config, stock) = (&state.config, state.env.is_stock_replica());
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
        version: (!stock).then(|| crate::REDIS_VERSION_CLAIMED.to_owned()),
        ask,
        resume,
        keeps_nothing: false,
        stock,
    }
}

/// What the node has to lose by a full sync; `None` where nothing holds it back: a client has asked for this master, or the directive is off.
pub(super) fn held(state: &mut NodeState) -> Result<Option<Held>, LinkFailure> {
    let (is_on, keys) = (state.config.replica_refuse_emptied_master, state.keys_len());
    let (replid, replid2) = (state.stream.replid, state.stream.replid2.map(|(replid, _)| replid));
    let link = link_of(state)?;
    let offset = link.cached.filter(|(cached, _)| *cached == replid).map(|(_, offset)| offset);
    Ok((is_on && !link.consent).then_some(Held { replid, replid2, offset, keys }))
}

/// The state of one attempt.
pub(super) struct Attempt {
    pub(super) shell: Rc<Shell>,
    pub(super) socket: Box<dyn Socket>,
    /// Bytes read and not used up.
    input: Vec<u8>,
    timeout: Duration,
    handshake: ReplicaHandshake,
    /// The place of the master's history at which its snapshot is taken.
    pub(super) history: Option<(ReplId, ReplOffset)>,
    pub(super) incoming: Option<Incoming>,
}

impl Attempt {
    /// Goes through the handshake and the snapshot, if one is sent, to the place where the stream begins.
    async fn handshake(&mut self) -> Result<(), LinkFailure> {
        let hello = self.handshake.start();
        link_of(&mut self.shell.state.borrow_mut())?.state = self.handshake.link_state();
        self.write(&hello).await?;
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
                    LinkEvent::FullSync { history } => self.full_sync_is_offered(history)?,
                    LinkEvent::SnapshotBegin(form) => self.snapshot_begins(form)?,
                    LinkEvent::SnapshotBytes(bytes) => {
                        let bytes = Bytes::copy_from_slice(bytes);
                        self.receive(bytes, None).await?;
                    }
                    LinkEvent::SnapshotChunk { bytes, permille, at } => {
                        let bytes = Bytes::copy_from_slice(bytes);
                        self.receive(bytes, Some((permille, at))).await?;
                    }
                    LinkEvent::SnapshotEnd => {
                        self.input.drain(..used);
                        return self.finish_load().await;
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

    fn full_sync_is_offered(&mut self, history: Option<(ReplId, ReplOffset)>) -> Result<(), LinkFailure> {
        self.history = history;
        let held = held(&mut self.shell.state.borrow_mut())?;
        if let (Some(held), Some((replid, offset))) = (held, history) {
            held.admits_place(replid, offset)?;
        }
        Ok(())
    }

    /// The header of the snapshot has come: it is the rest of the one that is kept, or a new one.
    fn snapshot_begins(&mut self, form: SnapshotForm) -> Result<(), LinkFailure> {
        let mut state = self.shell.state.borrow_mut();
        let state = &mut *state;
        state.tick();
        let history = self.history;
        let kept = self.incoming.take().filter(|incoming| form == SnapshotForm::Chunks(incoming.at.expect("only chunks are kept")));
        let (incoming, has_come) = match kept {
            Some(mut incoming) => {
                if state.env.planted(Mistake::ResumedElsewhere) {
                    incoming.history = history;
                }
                if incoming.history != history {
                    let told = LinkError::Protocol("the same snapshot is told to be of another place of the history".to_owned());
                    return Err(told.into());
                }
                let at = incoming.at.expect("only chunks are kept");
                info!(state.log, "MASTER <-> REPLICA sync: goes on where it broke off"; "chunk" => at.next, "bytes" => at.bytes);
                state.sync_from_master_resumed();
                (incoming, at.bytes)
            }
            None => {
                match history {
                    Some((replid, offset)) => info!(state.log, "Full resync from master: {replid}:{offset}"; "as" => ?form),
                    None => info!(state.log, "Full resync from a master that knows only SYNC"; "as" => ?form),
                }
                state.sync_from_master_began(history);
                (Incoming::begin(state, history, form)?, 0)
            }
        };
        self.incoming = Some(incoming);
        let now_ms = state.steady_ms;
        let link = link_of(state)?;
        link.sync_read_bytes = has_come;
        link.sync_total_bytes = match form {
            SnapshotForm::Length(bytes) => Some(bytes),
            SnapshotForm::Mark | SnapshotForm::Chunks(_) => None,
        };
        (link.sync_permille, link.sync_keys, link.sync_keys_told) = (None, 0, 0);
        link.sync_last_io_ms = now_ms;
        Ok(())
    }

    /// Takes bytes of the snapshot; of a chunk they end, how much of the sync has come with it, and the place behind it.
    async fn receive(&mut self, bytes: Bytes, chunk: Option<(u16, ChunkPos)>) -> Result<(), LinkFailure> {
        let len = bytes.len() as u64;
        let incoming = self.incoming.as_mut().expect("the snapshot has begun");
        incoming.at = chunk.map(|(_, at)| at);
        incoming.push(bytes).await?;
        let gauged = (incoming.gauge.keys(), incoming.gauge.keys_told());
        let mut state = self.shell.state.borrow_mut();
        state.tick();
        let now_ms = state.steady_ms;
        let link = link_of(&mut state)?;
        link.sync_read_bytes += len;
        link.sync_permille = chunk.map(|(permille, _)| permille);
        (link.sync_keys, link.sync_keys_told) = gauged;
        link.sync_last_io_ms = now_ms;
        link.last_io_ms = now_ms;
        Ok(())
    }

    /// The master has what this node lacks: the stream goes on where it stopped.
    fn continue_history(&mut self, replid: Option<ReplId>) -> Result<(), LinkFailure> {
        let mut state = self.shell.state.borrow_mut();
        let state = &mut *state;
        info!(state.log, "Successful partial resynchronization with master."; "offset" => state.stream.offset().0);
        state.sync_from_master_failed("the stream could be continued instead");
        self.incoming = None;
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
            link.come_up(state.steady_ms);
            link.takes_reports = self.handshake.takes_reports();
            let mut client =
                Client::new(state.clients.next_id(), self.socket.peer_addr(), self.socket.local_addr(), self.socket.fd(), state.steady_ms);
            client.flags |= ClientFlags::MASTER | ClientFlags::AUTHENTICATED;
            client.user = "(superuser)".to_owned();
            if !state.env.planted(Mistake::SelectLost) {
                client.db = link.stream_db.unwrap_or_default();
            }
            let offset = state.stream.offset().to_string();
            // The first ACK opens a stream that came by `$EOF`.
            encode_command(&mut client.out, &[b"REPLCONF", b"ACK", offset.as_bytes()]);
            let slot = state.clients.insert(client);
            state.written.push(slot);
            state.link_is_up();
            drop(guard);
            self.shell.attach(slot, self.socket, input)
        };
        self.shell.ready(&conn);
        Pump::new(self.shell.clone(), conn).await;
    }
}
