//! Clients of this process: connections without a socket. What such a client asks for is put straight into its `Conn`'s input, and the turn, which is the one
//! that sockets have, writes the replies through a `Socket` that hands them to whoever awaits them.
//!
//! Owns: the requests of one connection whose replies have not been taken, in order, and the messages of its channels. A request that is awaited while
//! nobody has the turn gets its turn at once, on the caller's stack; the runtime's budget for a task sees to it that others come as well.
//!
//! Invariant: there is a slot for every reply that is still to come, in the order of the requests, even when nobody wants the reply any more.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use smallvec::SmallVec;

use super::connection::Pump;
use super::shell::{Conn, Shell};
use crate::command::{Client, ClientFlags};
use crate::env::{Addr, Socket};
use crate::resp::{Proto, Value, decode_value, encode_command};

/// Messages that nobody takes are held up to here; then they count as the client's unsent output, which has its limits.
const PUSHED_BYTES_MAX: usize = 1 << 20;

/// The replies to one request, or to those of a batch.
pub(crate) type Replies = SmallVec<[Value; 1]>;

/// The connection has been closed, by a command or because the node has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// One client without a socket. Dropping it closes the connection.
pub(crate) struct LocalConn {
    shell: Rc<Shell>,
    conn: Rc<Conn>,
    inbox: Rc<RefCell<Inbox>>,
}

#[derive(Default)]
struct Inbox {
    /// The beginning of a reply whose end has not come.
    partial: Vec<u8>,
    slots: VecDeque<Slot>,
    /// The number of the first slot, and of the one that gets the next reply.
    first: u64,
    next: u64,
    pushed: VecDeque<Vec<Value>>,
    pushed_bytes: usize,
    push_waker: Option<Waker>,
    closed: bool,
}

/// Replies to come, or that have come.
struct Slot {
    left: usize,
    got: Replies,
    waker: Option<Waker>,
    /// Taken, or nobody wants them: the slot goes when it is complete and the first.
    unwanted: bool,
}

impl Inbox {
    fn expect(&mut self, replies: usize) -> u64 {
        assert!(replies > 0, "a request has a reply");
        self.slots.push_back(Slot { left: replies, got: Replies::new(), waker: None, unwanted: false });
        self.first + self.slots.len() as u64 - 1
    }

    fn slot(&mut self, number: u64) -> &mut Slot {
        &mut self.slots[(number - self.first) as usize]
    }

    fn drop_settled(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.left == 0 && slot.unwanted) {
            self.slots.pop_front();
            self.first += 1;
        }
    }

    /// The replies of a request, once all have come.
    fn take(&mut self, number: u64) -> Option<Replies> {
        let slot = self.slot(number);
        if slot.left > 0 {
            return None;
        }
        slot.unwanted = true;
        let got = std::mem::take(&mut slot.got);
        self.drop_settled();
        Some(got)
    }

    /// Takes encoded replies and messages.
    fn deliver(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.partial.is_empty() {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(bytes);
            return self.deliver_from(&whole);
        }
        self.deliver_from(bytes)
    }

    fn deliver_from(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut at = 0;
        while at < bytes.len() {
            let Some((value, len)) = decode_value(&bytes[at..]).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? else {
                self.partial.extend_from_slice(&bytes[at..]);
                break;
            };
            at += len;
            match value {
                Value::Push(parts) => self.push(parts, len),
                reply => self.reply(reply),
            }
        }
        Ok(())
    }

    fn push(&mut self, parts: Vec<Value>, len: usize) {
        self.pushed_bytes += len;
        self.pushed.push_back(parts);
        if let Some(waker) = self.push_waker.take() {
            waker.wake();
        }
    }

    fn reply(&mut self, reply: Value) {
        let Some(slot) = self.slots.get_mut((self.next - self.first) as usize) else { return };
        slot.left -= 1;
        if !slot.unwanted {
            slot.got.push(reply);
        }
        if slot.left == 0 {
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
            self.next += 1;
            self.drop_settled();
        }
    }

    fn close(&mut self) {
        self.closed = true;
        let waiting = self.slots.iter_mut().filter_map(|slot| slot.waker.take());
        waiting.chain(self.push_waker.take()).for_each(Waker::wake);
    }
}

/// The turn's end of the connection.
struct LocalSocket {
    inbox: Rc<RefCell<Inbox>>,
    addr: Addr,
}

impl Socket for LocalSocket {
    /// Requests do not come this way.
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut Vec<u8>, _: usize) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inbox = self.inbox.borrow_mut();
        if inbox.pushed_bytes > PUSHED_BYTES_MAX {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        inbox.deliver(bytes)?;
        Ok(bytes.len())
    }

    /// Asked by who has just made room.
    fn poll_write_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inbox.borrow().pushed_bytes > PUSHED_BYTES_MAX { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn peer_addr(&self) -> Addr {
        self.addr.clone()
    }

    fn local_addr(&self) -> Addr {
        self.addr.clone()
    }

    fn fd(&self) -> i32 {
        -1
    }

    fn set_keepalive(&self, _: Option<Duration>) {}

    fn set_nodelay(&self, _: bool) {}
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        self.inbox.borrow_mut().close();
    }
}

impl LocalConn {
    /// A new client of the node. It needs no password, speaks RESP3, and is neither closed for being idle nor evicted.
    pub fn open(shell: &Rc<Shell>) -> Self {
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        let mut state = shell.state.borrow_mut();
        state.tick();
        let addr = Addr::Unix(PathBuf::from("in-process"));
        let mut client = Client::new(state.clients.next_id(), addr.clone(), addr.clone(), -1, state.steady_ms);
        client.flags |= ClientFlags::IN_PROCESS | ClientFlags::AUTHENTICATED;
        client.proto = Proto::Resp3;
        state.stats.connections_received += 1;
        let slot = state.clients.insert(client);
        let conn = shell.attach(slot, Box::new(LocalSocket { inbox: inbox.clone(), addr }), Vec::new());
        if shell.is_stopping() {
            shell.close(&mut state, slot);
        }
        drop(state);
        LocalConn { shell: shell.clone(), conn, inbox }
    }

    /// Another client, in the same database.
    pub fn open_beside(&self) -> Self {
        let beside = LocalConn::open(&self.shell);
        let mut state = self.shell.state.borrow_mut();
        let db = state.clients.get(self.conn.slot).filter(|_| !self.conn.closed.get()).map(|client| client.db);
        if let (Some(db), Some(client)) = (db, state.clients.get_mut(beside.conn.slot)) {
            client.db = db;
        }
        drop(state);
        beside
    }

    /// Hands one request over. It is executed at the latest when its reply is awaited, or dropped.
    pub fn request(self: &Rc<Self>, args: &[&[u8]]) -> Awaited {
        self.requests(1, |input| encode_command(input, args))
    }

    /// Hands over what `encode` appends: so many requests, that nothing of this connection comes between. `replies` of them are awaited together.
    pub fn requests(self: &Rc<Self>, replies: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Awaited {
        let number = self.inbox.borrow_mut().expect(replies);
        self.hand_over(encode);
        Awaited { conn: self.clone(), number, taken: false }
    }

    /// Hands over a request that has no reply: it is answered by pushes.
    pub fn say(&self, args: &[&[u8]]) {
        self.hand_over(|input| encode_command(input, args));
    }

    #[inline]
    fn hand_over(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.conn.closed.get() {
            return;
        }
        let mut io = self.conn.io.borrow_mut();
        assert!(!self.conn.in_turn.get(), "no request is made inside a turn");
        if io.input.capacity() == 0 {
            io.input = self.shell.take_buffer();
        }
        encode(&mut io.input);
        drop(io);
        self.shell.queue(&self.conn);
    }

    /// The next message of a channel, or confirmation of a subscription. `None`: the connection is closed.
    pub fn poll_push(&self, cx: &mut Context<'_>) -> Poll<Option<Vec<Value>>> {
        let coop = ready!(tokio::task::coop::poll_proceed(cx));
        if self.conn.queued.get() {
            self.shell.turn_now();
        }
        let mut inbox = self.inbox.borrow_mut();
        let polled = match inbox.pushed.pop_front() {
            Some(parts) => {
                if inbox.pushed.is_empty() {
                    inbox.pushed_bytes = 0;
                }
                Poll::Ready(Some(parts))
            }
            None if inbox.closed => Poll::Ready(None),
            None => {
                inbox.push_waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        };
        let has_room = inbox.pushed_bytes == 0;
        drop(inbox);
        coop.made_progress();
        if has_room && self.conn.write_blocked.get() {
            Pump::new(self.shell.clone(), self.conn.clone()).write(cx);
        }
        polled
    }
}

impl Drop for LocalConn {
    fn drop(&mut self) {
        // As a socket's end: what was asked for is done first.
        self.conn.ended.set(true);
        if !self.conn.closed.get() {
            self.shell.queue(&self.conn);
            self.shell.wake();
        }
    }
}

/// The replies to come of one `request`. Dropping it gives up the replies; what was asked for is done all the same.
pub(crate) struct Awaited {
    conn: Rc<LocalConn>,
    number: u64,
    taken: bool,
}

impl Awaited {
    fn taken(&mut self) -> Option<Result<Replies, Closed>> {
        let mut inbox = self.conn.inbox.borrow_mut();
        let taken = match inbox.take(self.number) {
            Some(replies) => Ok(replies),
            None if inbox.closed => Err(Closed),
            None => return None,
        };
        self.taken = taken.is_ok();
        Some(taken)
    }
}

impl Future for Awaited {
    type Output = Result<Replies, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A task that awaits replies all the time lets others have the thread now and then.
        let coop = ready!(tokio::task::coop::poll_proceed(cx));
        let mut taken = self.taken();
        if taken.is_none() && self.conn.conn.queued.get() {
            self.conn.shell.turn_now();
            taken = self.taken();
        }
        match taken {
            Some(taken) => {
                coop.made_progress();
                Poll::Ready(taken)
            }
            None => {
                let number = self.number;
                self.conn.inbox.borrow_mut().slot(number).waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let number = self.number;
        let mut inbox = self.conn.inbox.borrow_mut();
        let slot = inbox.slot(number);
        slot.unwanted = true;
        slot.got.clear();
        inbox.drop_settled();
        drop(inbox);
        if self.conn.conn.queued.get() {
            self.conn.shell.wake();
        }
    }
}
