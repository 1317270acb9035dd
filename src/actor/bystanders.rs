//! Serving others while a script runs for too long. The script has the thread, and the turn the state: from Lua's hook the sockets are read and written
//! without the runtime. Others can connect, and say what the table allows them while the node is busy; the rest is answered with BUSY.
//!
//! Connections whose input the running turn has, links of masters and slaves, and clients that wait are left alone.

use std::io;
use std::rc::{Rc, Weak};

use super::Connection;
use super::shell::{Conn, ConnIo, Shell};
use super::turn::limits;
use crate::command::{Bystanders, ClientFlags, NodeState, Request, execute};
use crate::resp::{Args, Reply};

pub(crate) struct ServeBystanders(Weak<Shell>);

impl ServeBystanders {
    pub fn of(shell: &Rc<Shell>) -> Rc<Self> {
        Rc::new(ServeBystanders(Rc::downgrade(shell)))
    }
}

impl Bystanders for ServeBystanders {
    fn serve(&self, state: &mut NodeState) {
        let Some(shell) = self.0.upgrade() else { return };
        while let Some(socket) = shell.accept_now() {
            Connection::register(&shell, state, socket);
        }
        for conn in shell.open_conns() {
            serve(&shell, state, &conn);
        }
    }
}

fn serve(shell: &Shell, state: &mut NodeState, conn: &Rc<Conn>) {
    let left_alone = ClientFlags::MASTER | ClientFlags::REPLICA | ClientFlags::BLOCKED | ClientFlags::CLOSE_AFTER_REPLY | ClientFlags::CLOSE_ASAP;
    let Some(client) = state.clients.get(conn.slot) else { return };
    if conn.in_turn.get() || conn.closed.get() || conn.ended.get() || client.flags.intersects(left_alone) || shell.is_congested(state, conn.slot) {
        return;
    }
    read(shell, conn);
    let mut io = conn.io.borrow_mut();
    let ConnIo { input, decoder, .. } = &mut *io;
    let mut consumed = 0;
    let mut request = Vec::new();
    loop {
        let Some(client) = state.clients.get_mut(conn.slot) else { return };
        if client.flags.intersects(left_alone) {
            break;
        }
        let limits = limits(client.is(ClientFlags::AUTHENTICATED), &state.config);
        let start = consumed;
        // What breaks the protocol is answered by the turn.
        let Ok(Some(len)) = decoder.decode(&input[start..], &limits, &mut request) else { break };
        consumed += len;
        if request.is_empty() {
            continue;
        }
        let inline = decoder.inline_bytes().map(<[u8]>::to_vec);
        let args = Args::new(inline.as_deref().unwrap_or(&input[start..]), &request);
        let mut reply = Reply { buf: std::mem::take(&mut client.out), proto: client.proto };
        client.last_interaction_ms = state.steady_ms;
        let row = state.commands.find(args.at(0));
        execute(state, conn.slot, args, row, None, &mut reply);
        if let Some(client) = state.clients.get_mut(conn.slot) {
            reply.buf.append(&mut client.out);
            client.out = reply.buf;
            client.bytes_in += len as u64;
        }
    }
    if consumed > 0 {
        input.drain(..consumed);
        *decoder = Default::default();
    }
    drop(io);
    // There may be replies from before the script, which wait for the end of the turn.
    let has_replies = state.clients.get(conn.slot).is_some_and(|client| !client.out.is_empty());
    if has_replies && !conn.write_blocked.get() && !shell.flush(state, conn) {
        state.requests.push(Request::Close(conn.slot));
    }
}

/// Reads what is there. Its end, and what stays unexecuted, is the turn's business.
fn read(shell: &Shell, conn: &Rc<Conn>) {
    let mut io = conn.io.borrow_mut();
    let ConnIo { socket: Some(socket), input, .. } = &mut *io else { return };
    let read = socket.read_now(input);
    drop(io);
    match read {
        Ok(0) => conn.ended.set(true),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
        Err(_) => conn.ended.set(true),
    }
    shell.ready(conn);
}
