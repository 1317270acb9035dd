//! The master's end of one link: writes the snapshot, then what was written meanwhile, then the live stream.
//!
//! Owns: the writing end of one slave's socket from its PSYNC on. Receives: `Kick` when the stream or an ACK may let it go on, `SnapshotNews` when the spool
//! has grown. Sends: `ReadSpool` to the SnapshotWorker, `ReadSpill` to the SpillWorker while its slave is far behind. What the slave says is read by its Connection and executed in the turn (REPLCONF ACK).
//! Stops when the connection is closed.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use futures::future::poll_fn;
use slog::{info, warn};

use super::shell::{Conn, Shell};
use super::snapshot_worker::{ReadSpool, SnapshotWorker};
use super::spill_worker::ReadSpill;
use super::timer::every;
use crate::command::{NodeState, Request};
use crate::keyspace::SnapshotId;
use crate::replication::{ReplId, ReplOffset, Replica, ReplicaState};

/// Bytes asked of the spool or the spill at a time.
const SPOOL_READ_BYTES: usize = 256 << 10;
/// Bytes written before other actors have their turn.
const BURST_BYTES_MAX: usize = 512 << 10;
/// Signs of life while a snapshot is prepared.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// The snapshot that a session sends.
pub(super) struct Source {
    pub id: SnapshotId,
    pub worker: Addr<SnapshotWorker>,
    pub replid: ReplId,
    pub offset: ReplOffset,
    pub bytes: u64,
    pub done: bool,
}

/// How far the session is. Each piece is sent whole before the next.
enum Phase {
    /// The snapshot's frame has begun, or waits for its length.
    Snapshot {
        /// `$EOF`'s mark; without one the length is told, once it is known.
        mark: Option<String>,
        header_sent: bool,
        asked_from: u64,
        reading: bool,
    },
    /// The frame is complete; the stream waits for the first ACK.
    AwaitAck,
    Stream,
}

/// The actor of one slave.
pub struct ReplicaSession {
    shell: Rc<Shell>,
    conn: Rc<Conn>,
    source: Option<Source>,
    /// What the slave follows. A stream of another name has no byte for it, at whatever offset.
    history: ReplId,
    phase: Phase,
    /// What is being written: snapshot or frame bytes, or bytes of the stream that came from the spill.
    piece: Bytes,
    reading_spill: bool,
    waiting_writable: bool,
    resuming: bool,
}

/// There may be something to send.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Kick;

/// A snapshot's spool has grown.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SnapshotNews {
    pub id: SnapshotId,
    pub bytes: u64,
    pub done: bool,
    pub failed: bool,
}

/// The connection is closed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct End;

impl ReplicaSession {
    /// A session for a slave's connection; without a source it streams from `Replica::sent` on.
    pub(super) fn new(shell: Rc<Shell>, conn: Rc<Conn>, history: ReplId, source: Option<Source>) -> Self {
        ReplicaSession {
            shell,
            conn,
            source,
            history,
            phase: Phase::Stream,
            piece: Bytes::new(),
            reading_spill: false,
            waiting_writable: false,
            resuming: false,
        }
    }

    fn with_replica<T>(&self, f: impl FnOnce(&mut NodeState, &mut Replica) -> T) -> Option<T> {
        let mut state = self.shell.state.borrow_mut();
        let mut replica = state.clients.get_mut(self.conn.slot)?.replica.take()?;
        let result = f(&mut state, &mut replica);
        state.clients.at_mut(self.conn.slot).replica = Some(replica);
        Some(result)
    }

    /// Says FULLRESYNC and opens the frame.
    fn begin_snapshot(&mut self, source: &Source) {
        let (replid, offset) = (source.replid, source.offset);
        let begun = self.with_replica(|state, replica| {
            replica.progress_ms = state.steady_ms;
            let diskless = replica.capa_eof && state.config.repl_diskless_sync;
            let mark = diskless.then(|| state.env.random.hex(40));
            (mark, replica.plain_sync)
        });
        let Some((mark, plain_sync)) = begun else { return };
        let mut opening = Vec::new();
        if !plain_sync {
            opening.extend_from_slice(format!("+FULLRESYNC {replid} {offset}\r\n").as_bytes());
        }
        if let Some(mark) = &mark {
            opening.extend_from_slice(format!("$EOF:{mark}\r\n").as_bytes());
        }
        self.piece = opening.into();
        let header_sent = mark.is_some();
        self.phase = Phase::Snapshot { mark, header_sent, asked_from: 0, reading: false };
    }

    /// Writes as much as the socket takes.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        let mut burst = 0;
        while !self.waiting_writable && !self.resuming {
            if self.conn.closed.get() {
                return ctx.stop();
            }
            if self.piece.is_empty() && !self.next_piece(ctx) {
                if let Phase::Stream = self.phase {
                    self.write_stream(ctx);
                }
                return;
            }
            let piece = self.piece.clone();
            let Some(n) = self.write(&piece, ctx) else { return };
            let _ = self.piece.split_to(n);
            if let Phase::Stream = self.phase {
                self.with_replica(|_, replica| replica.sent.0 += n as u64);
            }
            burst += n;
            if burst >= BURST_BYTES_MAX {
                self.resume(ctx);
            }
        }
    }

    /// Writes once. `None`: not now, or never again.
    fn write(&mut self, bytes: &[u8], ctx: &mut Context<Self>) -> Option<usize> {
        let slot = self.conn.slot;
        let replies_unsent = self.shell.state.borrow().clients.get(slot).is_none_or(|client| !client.out.is_empty());
        if replies_unsent {
            // Replies given before PSYNC go first; the pump is at it.
            self.wait_writable(ctx);
            return None;
        }
        let written = match &mut self.conn.io.borrow_mut().socket {
            Some(socket) => socket.try_write(bytes),
            None => return None,
        };
        match written {
            Ok(n) => {
                self.with_replica(|state, replica| {
                    state.stats.net_repl_output_bytes += n as u64;
                    replica.progress_ms = state.steady_ms;
                });
                Some(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.wait_writable(ctx);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Some(0),
            Err(error) => {
                self.fail(&error.to_string());
                None
            }
        }
    }

    fn fail(&self, why: &str) {
        let mut state = self.shell.state.borrow_mut();
        let state = &mut *state;
        if let Some(client) = state.clients.get_mut(self.conn.slot) {
            warn!(state.log, "Connection with replica lost"; "addr" => %client.addr, "why" => why);
            client.replica.get_or_insert_default().lost_because = Some(why.to_owned());
        }
        state.requests.push(Request::Close(self.conn.slot));
        self.shell.request_turn();
    }

    fn wait_writable(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.waiting_writable, true) {
            return;
        }
        let conn = self.conn.clone();
        let writable = poll_fn(move |cx| match &mut conn.io.borrow_mut().socket {
            Some(socket) => socket.poll_write_ready(cx).map(|ready| ready.is_ok()),
            None => std::task::Poll::Ready(false),
        });
        ctx.spawn(writable.into_actor(self).map(|_, act, ctx| {
            act.waiting_writable = false;
            act.resume(ctx);
        }));
    }

    /// Goes on after other actors had their turn.
    fn resume(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.resuming, true) {
            ctx.spawn(actix_rt::task::yield_now().into_actor(self).map(|(), act, ctx| {
                act.resuming = false;
                act.go_on(ctx);
            }));
        }
    }

    /// Sees to the next bytes of the frame. False: they are not there yet, or the frame is over.
    fn next_piece(&mut self, ctx: &mut Context<Self>) -> bool {
        match &mut self.phase {
            Phase::Stream => false,
            Phase::AwaitAck => {
                let online = self.with_replica(|_, replica| replica.state == ReplicaState::Online).unwrap_or(false);
                if online {
                    self.phase = Phase::Stream;
                }
                false
            }
            Phase::Snapshot { .. } => self.next_of_snapshot(ctx),
        }
    }

    fn next_of_snapshot(&mut self, ctx: &mut Context<Self>) -> bool {
        let (Phase::Snapshot { mark, header_sent, asked_from, reading }, Some(source)) = (&mut self.phase, &self.source) else { return false };
        if *reading {
            return false;
        }
        if !*header_sent {
            if !source.done {
                return false;
            }
            *header_sent = true;
            self.piece = format!("${}\r\n", source.bytes).into_bytes().into();
            return true;
        }
        if *asked_from < source.bytes {
            *reading = true;
            let request = source.worker.send(ReadSpool { offset: *asked_from, bytes_max: SPOOL_READ_BYTES });
            ctx.spawn(request.into_actor(self).map(|answer, act, ctx| act.spool_read(answer, ctx)));
            return false;
        }
        if !source.done {
            return false;
        }
        let mark = mark.take();
        self.frame_complete(mark)
    }

    fn spool_read(&mut self, answer: Result<io::Result<Bytes>, MailboxError>, ctx: &mut Context<Self>) {
        let bytes = match answer {
            Ok(Ok(bytes)) if !bytes.is_empty() => bytes,
            Ok(Ok(_)) => return self.fail("the snapshot ended early"),
            Ok(Err(error)) => return self.fail(&format!("the snapshot can't be read: {error}")),
            Err(_) => return self.fail("the snapshot's worker has gone"),
        };
        if let Phase::Snapshot { asked_from, reading, .. } = &mut self.phase {
            *asked_from += bytes.len() as u64;
            *reading = false;
            let sent = *asked_from;
            self.with_replica(|_, replica| replica.snapshot_sent = sent);
            self.piece = bytes;
            self.go_on(ctx);
        }
    }

    /// All of the snapshot is written. After `$EOF` the slave's first ACK opens the stream, since a slave that loads from disk looks for the
    /// mark in the last bytes that it read; after a length, or to a slave that never acknowledges, the stream follows at once.
    fn frame_complete(&mut self, mark: Option<String>) -> bool {
        let source = self.source.take();
        let awaits = mark.is_some();
        self.phase = if awaits { Phase::AwaitAck } else { Phase::Stream };
        self.with_replica(|state, replica| {
            replica.snapshot = None;
            replica.state = if awaits { ReplicaState::WaitAck } else { ReplicaState::Online };
            replica.ack_ms = state.steady_ms;
            if let Some(number) = replica.sync.take() {
                state.syncs.done(number, state.moment(), replica.snapshot_sent);
            }
            info!(state.log, "Snapshot sent to replica"; "offset" => replica.sent.0, "bytes" => source.as_ref().map_or(0, |source| source.bytes));
        });
        self.shell.addresses().master.do_send(super::replication_master::SnapshotSent);
        match mark {
            Some(mark) => {
                self.piece = mark.into_bytes().into();
                true
            }
            None => false,
        }
    }

    /// Asks for the next bytes of the stream where they are no longer in memory.
    fn read_spill(&mut self, from: ReplOffset, bytes: u64, ctx: &mut Context<Self>) {
        if self.reading_spill {
            return;
        }
        let Some(worker) = self.shell.spill.borrow().as_ref().map(|spill| spill.worker.clone()) else { return };
        self.reading_spill = true;
        let bytes_max = SPOOL_READ_BYTES.min(usize::try_from(bytes).unwrap_or(usize::MAX));
        let request = worker.send(ReadSpill { from, bytes_max });
        ctx.spawn(request.into_actor(self).map(|answer, act, ctx| {
            act.reading_spill = false;
            match answer {
                Ok(Ok(bytes)) => {
                    act.piece = bytes;
                    act.go_on(ctx);
                }
                Ok(Err(error)) => act.fail(&format!("what was written to a file of the stream can't be read: {error}")),
                Err(_) => act.fail("the file of the stream has gone"),
            }
        }));
    }

    /// Writes the stream straight from the backlog's blocks, as far as the socket takes it.
    fn write_stream(&mut self, ctx: &mut Context<Self>) {
        let slot = self.conn.slot;
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        // A slave of a slave, whose node has just come to another history and drops it at the turn's end.
        if state.stream.replid != self.history {
            return;
        }
        let Some(client) = state.clients.get_mut(slot) else { return };
        let (Some(replica), Some(backlog)) = (client.replica.as_deref_mut(), state.stream.backlog()) else { return };
        if replica.sent >= state.stream.offset() {
            replica.catching_up = false;
            return;
        }
        let spilled = backlog.spilled_after(replica.sent);
        if spilled > 0 {
            return self.read_spill(replica.sent, spilled, ctx);
        }
        if !client.out.is_empty() {
            self.wait_writable(ctx);
            return;
        }
        let mut io = self.conn.io.borrow_mut();
        let Some(socket) = io.socket.as_mut() else { return };
        let mut burst = 0;
        let mut outcome = Ok(0);
        backlog.read(replica.sent, |piece| {
            outcome = socket.try_write(piece);
            let n = *outcome.as_ref().unwrap_or(&0);
            burst += n;
            n == piece.len() && burst < BURST_BYTES_MAX
        });
        drop(io);
        replica.sent.0 += burst as u64;
        client.bytes_out += burst as u64;
        if burst > 0 {
            replica.progress_ms = state.steady_ms;
        }
        state.stats.net_repl_output_bytes += burst as u64;
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_writable(ctx),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                warn!(state.log, "Connection with replica lost"; "addr" => %client.addr, "why" => %error);
                state.requests.push(Request::Close(slot));
                shell.request_turn();
            }
            // More may be left than one burst: go on after the others.
            _ if replica.sent < state.stream.offset() => self.resume(ctx),
            _ => replica.catching_up = false,
        }
    }

    /// A bare line end keeps a slave that waits for the frame from giving up.
    fn keep_alive(&mut self) {
        let preparing = matches!(self.phase, Phase::Snapshot { header_sent: false, .. });
        if preparing && self.piece.is_empty() {
            self.piece = Bytes::from_static(b"\n");
        }
    }
}

impl Actor for ReplicaSession {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Some(source) = self.source.take() {
            self.begin_snapshot(&source);
            self.source = Some(source);
        } else {
            self.with_replica(|_, replica| replica.state = ReplicaState::Online);
        }
        every(ctx, KEEPALIVE, |act, ctx| {
            act.keep_alive();
            act.go_on(ctx);
        });
        self.go_on(ctx);
    }
}

impl Handler<Kick> for ReplicaSession {
    type Result = ();

    fn handle(&mut self, _: Kick, ctx: &mut Context<Self>) {
        self.go_on(ctx);
    }
}

impl Handler<SnapshotNews> for ReplicaSession {
    type Result = ();

    fn handle(&mut self, message: SnapshotNews, ctx: &mut Context<Self>) {
        let Some(source) = self.source.as_mut().filter(|source| source.id == message.id) else { return };
        if message.failed {
            return self.fail("the snapshot has failed");
        }
        source.bytes = message.bytes;
        source.done = message.done;
        self.go_on(ctx);
    }
}

impl Handler<End> for ReplicaSession {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
