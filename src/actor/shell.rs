//! What the actors of one node share on its thread: the state, the sockets, the inbox of connections that have something to read, each other's
//! addresses. Nothing here is static: several nodes live in one thread.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use actix::Addr;
use actix_rt::task::yield_now;

use super::spill_worker::Spill;
use super::turn::Turn;
use super::{Drain, Keyspace, ReplicaClient, ReplicationMaster, Verifier};
use crate::command::{ClientFlags, NodeState, Slot};
use crate::env::{Listener, Socket};
use crate::keyspace::DbIndex;
use crate::replication::{NodeEvent, ReplicaState, Role};
use crate::resp::Decoder;

/// Unsent replies above this pause reading from a client, whatever its output limits say: one that never reads can't grow for ever.
const UNSENT_PAUSE_BYTES: usize = 64 << 20;
/// Buffers above this are given back to the allocator instead of the pool.
const POOLED_BYTES_MAX: usize = 64 << 10;
const POOL_LEN_MAX: usize = 256;

/// The addresses of the actors that live as long as the node.
pub struct Addresses {
    pub keyspace: Addr<Keyspace>,
    pub master: Addr<ReplicationMaster>,
    pub replica: Addr<ReplicaClient>,
    pub verifier: Addr<Verifier>,
}

/// Why a node has stopped without being asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeFailure {
    /// A bug: the host application lives, the node does not.
    #[error("panic: {0}")]
    Panic(String),
    /// The dump file can't be loaded.
    #[error("Fatal error loading the DB: {0}. Exiting.")]
    Load(String),
    /// The system gives no thread to load the dump file on.
    #[error("no thread to load the dump file on: {0}")]
    Thread(String),
}

/// A listening socket, of its task and of who accepts without the runtime.
type SharedListener = Rc<RefCell<Box<dyn Listener>>>;

/// One node's shared state.
pub struct Shell {
    pub state: RefCell<NodeState>,
    pub(super) inbox: RefCell<VecDeque<Rc<Conn>>>,
    drain_sent: Cell<bool>,
    conns: RefCell<Vec<Option<Rc<Conn>>>>,
    addresses: OnceCell<Addresses>,
    /// Empty buffers for reading and for replies, so that idle connections hold none.
    pool: RefCell<Vec<Vec<u8>>>,
    stopping: Cell<bool>,
    stopped: tokio::sync::Notify,
    loaded: tokio::sync::Notify,
    /// Why the node has stopped, if not by request.
    failure: RefCell<Option<NodeFailure>>,
    /// The turn's scratch memory: whoever runs one has it.
    pub(super) turn: RefCell<Turn>,
    listeners: RefCell<Vec<(actix_rt::task::JoinHandle<()>, SharedListener)>>,
    /// What slaves that are far behind are sent from; kept by the ReplicationMaster.
    pub(super) spill: RefCell<Option<Spill>>,
    pub(super) spills_begun: Cell<u64>,
}

/// One socket with its buffers, whoever reads or writes it.
pub struct Conn {
    pub(super) slot: Slot,
    pub(super) io: RefCell<ConnIo>,
    /// Stands in the inbox.
    pub(super) queued: Cell<bool>,
    /// The running turn has its input.
    pub(super) in_turn: Cell<bool>,
    pub(super) closed: Cell<bool>,
    /// The peer has ended its side, or the socket has failed: close when what it sent is done.
    pub(super) ended: Cell<bool>,
    /// The pump waits for the turn to make room.
    pub(super) paused: Cell<bool>,
    /// A write would block: the pump waits for the socket.
    pub(super) write_blocked: Cell<bool>,
    pub(super) waker: RefCell<Option<Waker>>,
    /// Reads that the turn has not counted yet.
    pub(super) reads: Cell<u32>,
}

pub(super) struct ConnIo {
    /// `None` once closed.
    pub socket: Option<Box<dyn Socket>>,
    /// Bytes read and not yet executed.
    pub input: Vec<u8>,
    pub decoder: Decoder,
    /// How much of the client's `out` is written already.
    pub out_sent: usize,
}

impl Conn {
    fn new(slot: Slot, socket: Box<dyn Socket>, input: Vec<u8>) -> Self {
        Conn {
            slot,
            io: RefCell::new(ConnIo { socket: Some(socket), input, decoder: Decoder::default(), out_sent: 0 }),
            queued: Cell::new(false),
            in_turn: Cell::new(false),
            closed: Cell::new(false),
            ended: Cell::new(false),
            paused: Cell::new(false),
            write_blocked: Cell::new(false),
            waker: RefCell::new(None),
            reads: Cell::new(0),
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// As `wake`, but the pump goes on only when the runtime has asked the system which other sockets are ready. A peer that always has more would
    /// else be read and served many times in between, while nobody looks at the others.
    pub(super) fn wake_after_others(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            // Polled once, it leaves the waker with the runtime, and has nothing else to do.
            let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
        }
    }
}

impl Shell {
    pub fn new(state: NodeState) -> Rc<Self> {
        Rc::new(Shell {
            state: RefCell::new(state),
            inbox: RefCell::default(),
            drain_sent: Cell::new(false),
            conns: RefCell::default(),
            addresses: OnceCell::new(),
            pool: RefCell::default(),
            stopping: Cell::new(false),
            stopped: tokio::sync::Notify::new(),
            loaded: tokio::sync::Notify::new(),
            failure: RefCell::default(),
            turn: RefCell::default(),
            listeners: RefCell::default(),
            spill: RefCell::default(),
            spills_begun: Cell::new(0),
        })
    }

    pub fn set_addresses(&self, addresses: Addresses) {
        assert!(self.addresses.set(addresses).is_ok(), "a node's actors start once");
    }

    pub fn addresses(&self) -> &Addresses {
        self.addresses.get().expect("a node's actors start together")
    }

    /// Gives a socket to a client that has been registered in the state; `input` has been read already.
    pub(super) fn attach(&self, slot: Slot, socket: Box<dyn Socket>, input: Vec<u8>) -> Rc<Conn> {
        let conn = Rc::new(Conn::new(slot, socket, input));
        let mut conns = self.conns.borrow_mut();
        let at = slot.0 as usize;
        if conns.len() <= at {
            conns.resize(at + 1, None);
        }
        conns[at] = Some(conn.clone());
        conn
    }

    pub(super) fn conn(&self, slot: Slot) -> Option<Rc<Conn>> {
        self.conns.borrow().get(slot.0 as usize)?.clone()
    }

    /// Puts a connection into the inbox and sees that a turn comes.
    pub(super) fn ready(&self, conn: &Rc<Conn>) {
        if self.queue(conn) {
            self.request_turn();
        }
    }

    /// Puts a connection into the inbox, if it is not there; the caller sees to the turn.
    pub(super) fn queue(&self, conn: &Rc<Conn>) -> bool {
        let is_new = !conn.queued.replace(true);
        if is_new {
            self.inbox.borrow_mut().push_back(conn.clone());
        }
        is_new
    }

    /// Sees that a turn comes.
    pub(super) fn request_turn(&self) {
        if !self.drain_sent.replace(true) {
            self.addresses().keyspace.do_send(Drain);
        }
    }

    pub(super) fn turn_begins(&self) {
        self.drain_sent.set(false);
    }

    pub(super) fn take_buffer(&self) -> Vec<u8> {
        self.pool.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut pool = self.pool.borrow_mut();
        if buffer.capacity() > 0 && buffer.capacity() <= POOLED_BYTES_MAX && pool.len() < POOL_LEN_MAX {
            buffer.clear();
            pool.push(buffer);
        }
    }

    /// Writes as much of a client's replies as its socket takes. False: the connection has to be closed.
    pub(super) fn flush(&self, state: &mut NodeState, conn: &Conn) -> bool {
        let Some(client) = state.clients.get_mut(conn.slot) else { return true };
        let mut io = conn.io.borrow_mut();
        let ConnIo { socket: Some(socket), out_sent, .. } = &mut *io else { return true };
        while *out_sent < client.out.len() {
            match socket.try_write(&client.out[*out_sent..]) {
                Ok(0) => return false,
                Ok(n) => {
                    *out_sent += n;
                    client.bytes_out += n as u64;
                    state.stats.net_output_bytes += n as u64;
                    state.stats.writes_processed += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // What is written already is dropped when it is worth a move.
                    if *out_sent > client.out.len() / 2 {
                        client.out.drain(..*out_sent);
                        *out_sent = 0;
                    }
                    conn.write_blocked.set(true);
                    conn.wake();
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        *out_sent = 0;
        self.give_buffer(std::mem::take(&mut client.out));
        conn.write_blocked.set(false);
        !client.is(ClientFlags::CLOSE_AFTER_REPLY)
    }

    /// Whether a client has so many unsent replies that its requests must wait.
    pub(super) fn is_congested(&self, state: &NodeState, slot: Slot) -> bool {
        state.clients.get(slot).is_some_and(|client| client.out.len() > UNSENT_PAUSE_BYTES)
    }

    /// Ends the node: no turn runs any more, sockets close, `wait_stopped` returns.
    pub fn stop(&self, failure: Option<NodeFailure>) {
        if self.stopping.replace(true) {
            return;
        }
        *self.failure.borrow_mut() = failure;
        self.drop_listeners();
        let keyspace = &self.addresses().keyspace;
        match keyspace.connected() {
            true => keyspace.do_send(super::keyspace::Stop),
            // It has ended by a bug, which is why the node stops.
            false => self.end_actors(),
        }
    }

    /// The actors are gone, with the System or LocalSet that ran them, and nobody will take turns. `all`: sockets are written once more and closed as well.
    pub(super) fn abandon(&self, all: bool) {
        if self.stopping.replace(true) {
            return;
        }
        if all {
            self.drop_listeners();
            self.close_all();
        } else {
            let mut state = self.state.borrow_mut();
            let of_this_process = state.clients.iter().filter(|(_, client)| client.is(ClientFlags::IN_PROCESS));
            let slots: Vec<Slot> = of_this_process.map(|(slot, _)| slot).collect();
            slots.into_iter().for_each(|slot| self.close(&mut state, slot));
        }
        self.notify_stopped();
    }

    /// Closes every socket and ends the other actors: the last thing that a node does.
    pub(super) fn end_actors(&self) {
        self.close_all();
        let to = self.addresses();
        to.master.do_send(super::replication_master::StopAll);
        to.replica.do_send(super::replica_client::StopAll);
        to.verifier.do_send(super::verifier::StopAll);
        self.notify_stopped();
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// The actors have ended.
    fn notify_stopped(&self) {
        self.state.borrow().syncs.events.emit(|| NodeEvent::Stopped);
        self.stopped.notify_one();
        self.loaded.notify_waiters();
    }

    /// Returns when the node has stopped: with the reason, if it was not asked to.
    pub(crate) async fn wait_stopped(&self) -> Option<NodeFailure> {
        self.stopped.notified().await;
        // Others may wait as well.
        self.stopped.notify_one();
        self.failure.borrow().clone()
    }

    pub(crate) async fn loaded(&self) {
        self.loaded.notified().await;
    }

    pub(crate) fn notify_loaded(&self) {
        self.loaded.notify_waiters();
    }

    /// Sees that what was put into `requests` from outside a turn is carried out.
    pub(crate) fn wake(&self) {
        self.request_turn();
    }

    pub(crate) fn add_listener(&self, task: actix_rt::task::JoinHandle<()>, listener: SharedListener) {
        self.listeners.borrow_mut().push((task, listener));
    }

    pub(crate) fn drop_listeners(&self) {
        self.take_listeners().iter().for_each(|listener| listener.abort());
    }

    pub(crate) fn take_listeners(&self) -> Vec<actix_rt::task::JoinHandle<()>> {
        self.listeners.take().into_iter().map(|(task, _)| task).collect()
    }

    /// A connection that waits, if there is one, without the runtime.
    pub(super) fn accept_now(&self) -> Option<Box<dyn Socket>> {
        self.listeners.borrow().iter().find_map(|(_, listener)| listener.borrow_mut().accept_now().ok())
    }

    /// Every connection that is open.
    pub(super) fn open_conns(&self) -> Vec<Rc<Conn>> {
        self.conns.borrow().iter().flatten().cloned().collect()
    }

    /// Closes every socket: the node stops. What is written already is sent.
    fn close_all(&self) {
        let mut state = self.state.borrow_mut();
        let slots: Vec<Slot> = state.clients.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            if let Some(conn) = self.conn(slot) {
                self.flush(&mut state, &conn);
                send_rest(&mut state, &conn);
            }
            self.close(&mut state, slot);
        }
    }

    /// Forgets a client and closes its socket.
    pub(super) fn close(&self, state: &mut NodeState, slot: Slot) {
        if let Some(at) = self.conns.borrow_mut().get_mut(slot.0 as usize)
            && let Some(conn) = at.take()
        {
            conn.closed.set(true);
            let mut io = conn.io.borrow_mut();
            io.socket = None;
            self.give_buffer(std::mem::take(&mut io.input));
            drop(io);
            conn.wake();
        }
        crate::command::discard(state, slot);
        state.blocked.forget(slot);
        state.unsubscribe_all(slot);
        if let Some(mut gone) = state.clients.remove(slot) {
            let client = &mut *gone;
            self.give_buffer(std::mem::take(&mut client.out));
            if client.flags.contains(ClientFlags::MASTER) {
                remember_history(state, client.db);
            }
            if client.flags.contains(ClientFlags::REPLICA) {
                if let Some((number, replica)) = client.replica.as_ref().and_then(|replica| Some((replica.sync?, replica))) {
                    let why = replica.lost_because.as_deref().unwrap_or("the connection was lost");
                    state.syncs.failed(number, state.moment(), replica.snapshot_sent, why);
                }
                state.slave_is_gone(&gone);
                self.addresses().master.do_send(super::replication_master::ReplicaGone(slot));
            }
        }
    }
}

/// Writes a slave what there is of the stream, as far as its socket takes it: it can then continue after a restart.
fn send_rest(state: &mut NodeState, conn: &Conn) {
    let Some(client) = state.clients.get_mut(conn.slot).filter(|client| client.out.is_empty()) else { return };
    let (Some(replica), Some(backlog)) = (client.replica.as_mut(), state.stream.backlog()) else { return };
    if replica.state != ReplicaState::Online || backlog.spilled_after(replica.sent) > 0 || replica.sent > state.stream.offset() {
        return;
    }
    let mut io = conn.io.borrow_mut();
    let Some(socket) = &mut io.socket else { return };
    backlog.read(replica.sent, |piece| socket.try_write(piece).is_ok_and(|n| n == piece.len()));
}

/// The link to the master has ended: what was applied can be continued from. An open MULTI was not, and comes again.
fn remember_history(state: &mut NodeState, stream_db: DbIndex) {
    state.unapplied.clear();
    if let Role::Replica(link) = &mut state.role
        && !link.history_broken
    {
        link.cached = Some((state.stream.replid, state.stream.offset()));
        link.stream_db = Some(stream_db);
    }
}
