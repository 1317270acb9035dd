//! One client socket.
//!
//! Owns: the reading end of a `Conn`, by its pump. Receives: nothing but the socket's readiness. Sends: `Drain` to the Keyspace, once a turn,
//! through `Shell::ready`. Stops when: the turn has closed the connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use actix::prelude::*;

use super::shell::{Conn, ConnIo, Shell};
use crate::command::{Client, ClientFlags, NodeState, Request};
use crate::env::{Addr as NetAddr, Socket};

/// Bytes of one read; a short read means that the socket is drained.
const READ_BYTES: usize = 16 << 10;
/// A buffer with less room than this is grown before a read.
const READ_BYTES_MIN: usize = 4 << 10;
/// Bytes of one read in the middle of a long argument.
const READ_BYTES_MAX: usize = 1 << 20;
/// A connection that waits for its turn reads no further than this.
const UNEXECUTED_BYTES_MAX: usize = 64 << 10;

/// The actor of one client's socket.
pub struct Connection {
    shell: Rc<Shell>,
    conn: Rc<Conn>,
}

impl Connection {
    /// Takes an accepted socket: registers the client, or turns it away with the error Redis gives.
    pub fn accept(shell: &Rc<Shell>, socket: Box<dyn Socket>) {
        let mut state = shell.state.borrow_mut();
        state.tick();
        Connection::register(shell, &mut state, socket);
    }

    /// `accept` for who has the state.
    pub(super) fn register(shell: &Rc<Shell>, state: &mut NodeState, mut socket: Box<dyn Socket>) {
        state.stats.connections_received += 1;
        if let Some(refusal) = refusal(state, &*socket) {
            state.stats.connections_rejected += 1;
            // The peer may not read it: then it just sees the end.
            let _ = socket.try_write(refusal.as_bytes());
            return;
        }
        let period = state.config.tcp_keepalive;
        socket.set_keepalive((period > 0).then(|| std::time::Duration::from_secs(period)));
        let id = state.clients.next_id();
        let mut client = Client::new(id, socket.peer_addr(), socket.local_addr(), socket.fd(), state.steady_ms);
        if matches!(client.addr, NetAddr::Unix(_)) {
            client.flags |= ClientFlags::UNIX_SOCKET;
        }
        if state.config.requirepass.is_empty() {
            client.flags |= ClientFlags::AUTHENTICATED;
        }
        let slot = state.clients.insert(client);
        let conn = shell.attach(slot, socket, Vec::new());
        Connection { shell: shell.clone(), conn }.start();
    }
}

/// Why a new connection is turned away, as Redis says it.
fn refusal(state: &NodeState, socket: &dyn Socket) -> Option<&'static str> {
    if state.clients.len() >= state.config.maxclients as usize {
        return Some("-ERR max number of clients reached\r\n");
    }
    let open = !state.config.protected_mode || !state.config.requirepass.is_empty();
    let local = socket.peer_addr().ip().is_none_or(|ip| ip.is_loopback());
    if !open && !local {
        return Some(
            "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode \
             connections are only accepted from the loopback interface. If you want to connect from external computers to Redis you may adopt one of the \
             following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by \
             connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do \
             so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis \
             configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually \
             just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You \
             only need to do one of the above things in order for the server to start accepting connections from the outside.\r\n",
        );
    }
    None
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let pump = Pump::new(self.shell.clone(), self.conn.clone());
        ctx.spawn(pump.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

/// Reads a `Conn` for the turn and writes what the turn could not; ends when the connection is closed.
pub(super) struct Pump {
    shell: Rc<Shell>,
    conn: Rc<Conn>,
}

impl Pump {
    pub fn new(shell: Rc<Shell>, conn: Rc<Conn>) -> Self {
        Pump { shell, conn }
    }

    /// Goes on writing replies once the socket takes more.
    pub fn write(&self, cx: &mut TaskContext<'_>) {
        while self.conn.write_blocked.get() {
            let ready = match &mut self.conn.io.borrow_mut().socket {
                Some(socket) => socket.poll_write_ready(cx),
                None => return,
            };
            match ready {
                Poll::Pending => return,
                Poll::Ready(Err(_)) => return self.end(),
                Poll::Ready(Ok(())) => {}
            }
            self.conn.write_blocked.set(false);
            let mut state = self.shell.state.borrow_mut();
            if !self.shell.flush(&mut state, &self.conn) {
                state.requests.push(Request::Close(self.conn.slot));
                drop(state);
                return self.shell.request_turn();
            }
            if self.conn.paused.get() && !self.shell.is_congested(&state, self.conn.slot) {
                self.conn.paused.set(false);
                self.shell.ready(&self.conn);
            }
        }
    }

    fn end(&self) {
        self.conn.ended.set(true);
        self.shell.ready(&self.conn);
    }

    /// Reads what is there. Pauses when more waits for execution than it should.
    fn read(&self, cx: &mut TaskContext<'_>) {
        let mut io = self.conn.io.borrow_mut();
        let missing = io.decoder.missing().min(READ_BYTES_MAX);
        // What the turn has left is an incomplete request: the rest of it may come. While the turn is still due, whole requests wait.
        let len = io.input.len();
        let bound = if self.conn.queued.get() { UNEXECUTED_BYTES_MAX.max(len) } else { len + missing.max(UNEXECUTED_BYTES_MAX) };
        while !self.conn.ended.get() {
            let ConnIo { socket: Some(socket), input, .. } = &mut *io else { return };
            if input.len() >= bound {
                self.conn.paused.set(true);
                return;
            }
            if input.capacity() == 0 {
                *input = self.shell.take_buffer();
            }
            let spare = input.capacity() - input.len();
            let max = if missing > READ_BYTES || spare < READ_BYTES_MIN { missing.max(READ_BYTES) } else { spare };
            let polled = socket.poll_read(cx, input, max);
            if input.is_empty() {
                self.shell.give_buffer(std::mem::take(input));
            }
            match polled {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => self.end(),
                Poll::Ready(Ok(_)) => {
                    self.conn.reads.set(self.conn.reads.get() + 1);
                    self.shell.ready(&self.conn);
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(_)) => self.end(),
            }
        }
    }

    fn remember(&self, cx: &TaskContext<'_>) {
        let mut waker = self.conn.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.remember(cx);
        if !self.conn.closed.get() {
            self.write(cx);
            self.read(cx);
        }
        if self.conn.closed.get() { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::resp::encode_command;
    use crate::server::Node;

    /// A peer that always has another request, and takes every reply.
    struct Tireless {
        /// So large that a turn is done with all that is read.
        request: Vec<u8>,
        read: Rc<Cell<usize>>,
    }

    impl Socket for Tireless {
        fn poll_read(&mut self, _: &mut TaskContext<'_>, buf: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>> {
            let at = self.read.get() % self.request.len();
            let piece = &self.request[at..self.request.len().min(at + max)];
            buf.extend_from_slice(piece);
            self.read.set(self.read.get() + piece.len());
            Poll::Ready(Ok(piece.len()))
        }

        fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn poll_write_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn peer_addr(&self) -> NetAddr {
            NetAddr::Unix("tireless".into())
        }

        fn local_addr(&self) -> NetAddr {
            self.peer_addr()
        }

        fn fd(&self) -> i32 {
            -1
        }

        fn set_keepalive(&self, _: Option<Duration>) {}

        fn set_nodelay(&self, _: bool) {}
    }

    #[test]
    fn who_always_has_more_is_read_once_before_the_other_sockets_are_looked_at() {
        const LOOKS: usize = 200;
        actix::System::new().block_on(async {
            let node = Node::builder().no_listener().start().await.unwrap();
            let read = Rc::new(Cell::new(0));
            let mut request = Vec::new();
            encode_command(&mut request, &[b"SET", b"key", &[b'v'; 16 << 10]]);
            Connection::accept(node.shell(), Box::new(Tireless { request, read: read.clone() }));
            let mut most = 0;
            for _ in 0..LOOKS {
                let before = read.get();
                // Goes on when the runtime has asked the system what is ready.
                actix_rt::task::yield_now().await;
                most = most.max(read.get() - before);
            }
            // The bound, and a read that begins below it.
            assert!(most <= 2 * UNEXECUTED_BYTES_MAX, "{most} bytes of one connection while others were not looked at");
            let executed = node.shell().state.borrow().stats.commands_processed;
            assert!(executed as usize > LOOKS / 2, "only {executed} commands");
            node.stop(None).await;
        });
    }
}
