//! The master's end of one link: keeps the slave waiting until its snapshot begins, writes that, then what was written meanwhile, then the live stream.
//!
//! Owns: the writing end of one slave's socket from its PSYNC on. Receives: `BeginSnapshot`, `Kick` when the stream or an ACK may let it go on, `SnapshotNews`
//! when the spool has grown. Sends: `ReadSpool` to the SnapshotWorker, `ReadSpill` to the SpillWorker while its slave is far behind. What the slave says is read by its Connection and executed in the turn (REPLCONF
//! ACK). Stops when the connection is closed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use bytes::{Buf, Bytes};
use futures::future::poll_fn;
use slog::{info, warn};

use super::shell::{Conn, Shell};
use super::snapshot_worker::{ReadSpool, SnapshotWorker, SpoolPart};
use super::spill_worker::ReadSpill;
use super::timer::every;
use crate::command::{NodeState, Request};
use crate::env::Mistake;
use crate::keyspace::SnapshotId;
use crate::replication::{Made, Next, ReplId, ReplOffset, Replica, ReplicaState, SendFraming, SendRate, SendingFrame, SyncId};

/// Bytes asked of the spill at a time.
const SPILL_READ_BYTES: usize = 256 << 10;
/// Bytes written before other actors have their turn.
const BURST_BYTES_MAX: usize = 512 << 10;
/// Signs of life while a snapshot is prepared.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// The snapshot that a session sends.
pub(super) struct Source {
    pub id: SnapshotId,
    pub sync_id: SyncId,
    pub worker: Addr<SnapshotWorker>,
    pub replid: ReplId,
    pub offset: ReplOffset,
    pub made: Made,
    /// The first chunk to send, for a slave that takes chunks.
    pub first_chunk: u64,
}

/// How far the session is. Each piece is sent whole before the next.
enum Phase {
    /// No snapshot has begun for this slave yet.
    Waiting,
    Snapshot {
        frame: SendingFrame,
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
    pieces: VecDeque<Bytes>,
    rate: Rc<RefCell<SendRate>>,
    /// Bytes of the snapshot that may go now, where `repl-sync-max-rate` is set.
    granted: usize,
    waiting_rate: bool,
    reading_spill: bool,
    waiting_writable: bool,
    resuming: bool,
}

/// There may be something to send.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Kick;

/// The slave's snapshot has begun.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct BeginSnapshot(pub Source);

/// A snapshot's spool has grown.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SnapshotNews {
    pub id: SnapshotId,
    pub made: Made,
    pub failed: bool,
}

/// The connection is closed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct End;

impl ReplicaSession {
    /// A session that streams from `Replica::sent` on, or, if it is to wait, sends a snapshot first.
    pub(super) fn new(shell: Rc<Shell>, conn: Rc<Conn>, history: ReplId, rate: Rc<RefCell<SendRate>>, waits: bool) -> Self {
        ReplicaSession {
            shell,
            conn,
            source: None,
            history,
            phase: if waits { Phase::Waiting } else { Phase::Stream },
            pieces: VecDeque::new(),
            rate,
            granted: 0,
            waiting_rate: false,
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

    /// Says FULLRESYNC and chooses the frame.
    fn begin_snapshot(&mut self, source: Source) {
        let begun = self.with_replica(|state, replica| {
            replica.progress_ms = state.steady_ms;
            let framing = if replica.capa_chunks && !replica.plain_sync {
                SendFraming::Chunks { id: source.sync_id, first: source.first_chunk }
            } else if replica.capa_eof && state.config.repl_diskless_sync {
                SendFraming::Mark(state.env.random.hex(40))
            } else {
                replica.state = ReplicaState::Prepared;
                SendFraming::Length
            };
            (framing, replica.plain_sync)
        });
        let Some((framing, plain_sync)) = begun else { return };
        if !plain_sync {
            self.pieces.push_back(format!("+FULLRESYNC {} {}\r\n", source.replid, source.offset).into_bytes().into());
        }
        self.phase = Phase::Snapshot { frame: SendingFrame::new(framing), reading: false };
        self.history = source.replid;
        self.source = Some(source);
    }

    /// Writes as much as the socket takes.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        let mut burst = 0;
        while !self.waiting_writable && !self.resuming && !self.waiting_rate {
            if self.conn.closed.get() {
                return ctx.stop();
            }
            if self.pieces.is_empty() && !self.next_piece(ctx) {
                if let Phase::Stream = self.phase {
                    self.write_stream(ctx);
                }
                return;
            }
            let Some(piece) = self.pieces.front().cloned() else { continue };
            let allowed = self.allowance(piece.len(), ctx);
            if allowed == 0 {
                return;
            }
            let Some(n) = self.write(&piece[..allowed], ctx) else { return };
            self.granted = self.granted.saturating_sub(n);
            let front = &mut self.pieces[0];
            front.advance(n);
            if front.is_empty() {
                self.pieces.pop_front();
            }
            if let Phase::Stream = self.phase {
                self.with_replica(|_, replica| replica.sent.0 += n as u64);
            }
            burst += n;
            if burst >= BURST_BYTES_MAX {
                self.resume(ctx);
            }
        }
    }

    /// How many of the next bytes may go by `repl-sync-max-rate`. None: a timer will tell.
    fn allowance(&mut self, wanted: usize, ctx: &mut Context<Self>) -> usize {
        let (rate, now_ns) = {
            let state = self.shell.state.borrow();
            (state.config.repl_sync_max_rate, state.env.clock.monotonic_ns())
        };
        if rate == 0 || matches!(self.phase, Phase::Stream) {
            return wanted;
        }
        if self.granted == 0 {
            self.granted = wanted.min(SendRate::piece(rate));
            let at_ns = self.rate.borrow_mut().reserve(now_ns, rate, self.granted);
            if at_ns > now_ns {
                self.waiting_rate = true;
                ctx.run_later(Duration::from_nanos(at_ns - now_ns), |act, ctx| {
                    act.waiting_rate = false;
                    act.go_on(ctx);
                });
                return 0;
            }
        }
        self.granted.min(wanted)
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
            Phase::Waiting | Phase::Stream => false,
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
        let (Phase::Snapshot { frame, reading: reading @ false }, Some(source)) = (&mut self.phase, &self.source) else { return false };
        match frame.next(source.made) {
            Next::Wait => false,
            Next::Send(line) => {
                self.pieces.push_back(line.into_bytes().into());
                self.with_replica(|_, replica| replica.state = ReplicaState::SendBulk);
                true
            }
            Next::Read { offset, bytes } => {
                *reading = true;
                let request = source.worker.send(ReadSpool { offset, bytes, is_chunk: frame.is_chunked() });
                ctx.spawn(request.into_actor(self).map(|answer, act, ctx| act.spool_read(answer, ctx)));
                false
            }
            Next::Over => {
                let is_marked = frame.is_marked();
                self.frame_complete(is_marked);
                !is_marked
            }
        }
    }

    fn spool_read(&mut self, answer: Result<io::Result<SpoolPart>, MailboxError>, ctx: &mut Context<Self>) {
        let part = match answer {
            Ok(Ok(part)) => part,
            Ok(Err(error)) => return self.fail(&format!("the snapshot can't be read: {error}")),
            Err(_) => return self.fail("the snapshot's worker has gone"),
        };
        let (Phase::Snapshot { frame, reading }, Some(source)) = (&mut self.phase, &self.source) else { return };
        *reading = false;
        if let Some(line) = frame.read(part.bytes.len(), part.crc64, source.made) {
            self.pieces.push_back(line.into_bytes().into());
        }
        self.pieces.push_back(part.bytes);
        let (permille, position) = (frame.permille(), frame.position());
        self.with_replica(|_, replica| {
            replica.sync_permille = Some(permille);
            replica.snapshot_sent = position;
        });
        self.go_on(ctx);
    }

    /// All of the snapshot is written. After `$EOF` the slave's first ACK opens the stream, since a slave that loads from disk looks for the
    /// mark in the last bytes that it read; after a length, after chunks, or to a slave that never acknowledges, the stream follows at once.
    fn frame_complete(&mut self, awaits: bool) {
        let source = self.source.take();
        self.phase = if awaits { Phase::AwaitAck } else { Phase::Stream };
        self.with_replica(|state, replica| {
            replica.state = if awaits { ReplicaState::WaitAck } else { ReplicaState::Online };
            replica.ack_ms = state.steady_ms;
            replica.sync_permille = None;
            info!(state.log, "Snapshot sent to replica"; "offset" => replica.sent.0, "bytes" => source.as_ref().map_or(0, |source| source.made.bytes));
        });
        self.shell.addresses().master.do_send(super::replication_master::SnapshotSent(self.conn.slot));
    }

    /// Asks for the next bytes of the stream where they are no longer in memory.
    fn read_spill(&mut self, from: ReplOffset, bytes: u64, ctx: &mut Context<Self>) {
        if self.reading_spill {
            return;
        }
        let Some(worker) = self.shell.spill.borrow().as_ref().map(|spill| spill.worker.clone()) else { return };
        self.reading_spill = true;
        let bytes_max = SPILL_READ_BYTES.min(usize::try_from(bytes).unwrap_or(usize::MAX));
        let request = worker.send(ReadSpill { from, bytes_max });
        ctx.spawn(request.into_actor(self).map(|answer, act, ctx| {
            act.reading_spill = false;
            match answer {
                Ok(Ok(mut bytes)) => {
                    if bytes.len() < SPILL_READ_BYTES && act.shell.state.borrow().env.planted(Mistake::SpillEndLost) {
                        let lost = bytes.split_off(bytes.len() / 2).len() as u64;
                        act.with_replica(|_, replica| replica.sent.0 += lost);
                    }
                    act.pieces.push_back(bytes);
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
            replica.note_all_sent();
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
            _ => replica.note_all_sent(),
        }
    }

    /// A bare line end keeps a slave that waits for the frame, or for a chunk, from giving up.
    fn keep_alive(&mut self) {
        let may = match &self.phase {
            Phase::Waiting => true,
            Phase::Snapshot { frame, .. } => frame.may_keep_alive(),
            _ => false,
        };
        if may && self.pieces.is_empty() {
            self.pieces.push_back(Bytes::from_static(b"\n"));
        }
    }
}

impl Actor for ReplicaSession {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        every(ctx, KEEPALIVE, |act, ctx| {
            act.keep_alive();
            act.go_on(ctx);
        });
        self.go_on(ctx);
    }
}

impl Handler<BeginSnapshot> for ReplicaSession {
    type Result = ();

    fn handle(&mut self, message: BeginSnapshot, ctx: &mut Context<Self>) {
        self.begin_snapshot(message.0);
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
        source.made = message.made;
        self.go_on(ctx);
    }
}

impl Handler<End> for ReplicaSession {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
