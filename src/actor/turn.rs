//! One turn of the node: the requests of the ready connections, parsed, looked up, executed and answered in groups.
//!
//! A group is staged, so that the waits for memory overlap: all its requests are parsed and their first keys hashed while the buckets are fetched;
//! then the entries are fetched; then everything is executed in order. What staging has found is a hint only: execution looks again.
//! Requests of one connection are executed in the order in which they came.

use std::rc::Rc;

use slog::{debug, warn};

use super::shell::{Conn, Shell};
use crate::command::{ClientFlags, Executed, NodeState, Request, Slot, execute};
use crate::env::Mistake;
use crate::keyspace::DbIndex;
use crate::resp::{ArgRange, Args, Limits, ProtocolError, Reply};

/// Requests a group: enough to overlap their cache misses, few enough to stay in the first-level cache.
const GROUP_LEN: usize = 64;
/// The clock is asked after a group only, so requests with many arguments make a smaller one.
const GROUP_BYTES: usize = 16 << 10;
/// What one connection may do in a turn before others get theirs.
const CONN_COMMANDS_MAX: u32 = 64;
const CONN_BYTES_MAX: usize = 64 << 10;
/// After this long a turn ends, and timers and other actors run.
const TURN_NS: u64 = 500_000;

/// One parsed request of the running group.
struct Item {
    conn: u32,
    /// Where its bytes start in the connection's input, or in `Turn::inline`.
    start: usize,
    /// Where the next request starts in the input.
    end: usize,
    inline: bool,
    ranges: std::ops::Range<usize>,
    row: Option<usize>,
    first_key_hash: Option<u64>,
}

/// One connection of the running group, with its input taken out of the cell.
struct GroupConn {
    conn: Rc<Conn>,
    input: Vec<u8>,
    /// How far requests have been parsed, and executed.
    parsed: usize,
    consumed: usize,
    /// Parsing stopped at a bound of the group, not for want of bytes.
    more: bool,
    /// Nothing more is executed for it in this group: suspended, or to be closed.
    stopped: bool,
    /// Set when the bytes behind the parsed requests break the protocol: replied after them, then closed.
    violation: Option<ProtocolError>,
    is_master: bool,
    /// Parsing stopped before a script, which comes first in the next group.
    script_next: bool,
}

/// The scratch memory of turns, kept from one to the next.
#[derive(Default)]
pub(super) struct Turn {
    items: Vec<Item>,
    ranges: Vec<ArgRange>,
    inline: Vec<u8>,
    request: Vec<ArgRange>,
    conns: Vec<GroupConn>,
    /// Connections with unsent replies.
    unflushed: Vec<Rc<Conn>>,
    /// The last command name that was looked up, and its row: pipelines repeat themselves.
    last_name: (Vec<u8>, Option<usize>),
    reply: Reply,
    /// The group takes no more connections: it has a script, or the next one begins with one. While a script runs for too long others are served, but
    /// for those whose input the group has.
    full: bool,
    /// Bytes of the group's requests.
    bytes: usize,
}

impl Turn {
    /// Runs one turn. True if requests are left for the next.
    pub fn run(&mut self, shell: &Shell) -> bool {
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        let started_ns = state.env.clock.monotonic_ns();
        let left = loop {
            state.tick();
            resume(shell, state);
            self.gather(shell, state);
            if self.conns.is_empty() {
                break false;
            }
            self.prefetch(state);
            self.execute(state);
            self.release(shell, state);
            let left = !shell.inbox.borrow().is_empty() || state.blocked.has_news();
            if !left || state.env.clock.monotonic_ns() - started_ns > TURN_NS {
                break left;
            }
        };
        self.flush(shell, state);
        left
    }

    /// Takes ready connections and parses what they have read, until the group is full.
    fn gather(&mut self, shell: &Shell, state: &mut NodeState) {
        self.items.clear();
        self.ranges.clear();
        self.inline.clear();
        self.full = false;
        self.bytes = 0;
        while !self.has_enough() && !self.full {
            let Some(conn) = shell.inbox.borrow_mut().pop_front() else { return };
            conn.queued.set(false);
            if conn.closed.get() {
                continue;
            }
            self.parse(shell, state, conn);
        }
    }

    fn has_enough(&self) -> bool {
        self.items.len() >= GROUP_LEN || self.bytes >= GROUP_BYTES
    }

    fn parse(&mut self, shell: &Shell, state: &mut NodeState, conn: Rc<Conn>) {
        let index = self.conns.len() as u32;
        let congested = shell.is_congested(state, conn.slot);
        let Some(client) = state.clients.get_mut(conn.slot) else { return };
        client.last_interaction_ms = state.steady_ms;
        state.stats.reads_processed += u64::from(conn.reads.take());
        let limits = limits(client.is(ClientFlags::AUTHENTICATED), &state.config);
        let db = client.db;
        let waits = congested || client.flags.intersects(ClientFlags::BLOCKED | ClientFlags::CLOSE_AFTER_REPLY);
        let is_master = client.is(ClientFlags::MASTER);
        conn.in_turn.set(true);
        let mut io = conn.io.borrow_mut();
        let input = std::mem::take(&mut io.input);
        let mut group = GroupConn {
            conn: conn.clone(),
            input,
            parsed: 0,
            consumed: 0,
            more: false,
            stopped: waits,
            violation: None,
            is_master,
            script_next: false,
        };
        let mut commands = 0;
        while !waits && group.parsed < group.input.len() {
            if self.has_enough() || commands >= CONN_COMMANDS_MAX || group.parsed >= CONN_BYTES_MAX {
                group.more = true;
                break;
            }
            let start = group.parsed;
            match io.decoder.decode(&group.input[start..], &limits, &mut self.request) {
                Ok(Some(len)) => {
                    group.parsed += len;
                    self.bytes += len;
                }
                Ok(None) => {
                    break;
                }
                Err(violation) => {
                    group.violation = Some(violation);
                    break;
                }
            }
            if self.request.is_empty() {
                // An empty line asks for nothing; in a stream its bytes count with the next command's.
                if commands == 0 && !is_master {
                    group.consumed = group.parsed;
                }
                continue;
            }
            commands += 1;
            let request_start = start;
            let (start, inline) = match io.decoder.inline_bytes() {
                Some(bytes) => {
                    self.inline.extend_from_slice(bytes);
                    (self.inline.len() - bytes.len(), true)
                }
                None => (start, false),
            };
            let from = self.ranges.len();
            self.ranges.extend_from_slice(&self.request);
            let mut item = Item { conn: index, start, end: group.parsed, inline, ranges: from..self.ranges.len(), row: None, first_key_hash: None };
            let source = if inline { &self.inline } else { &group.input };
            look_up(&mut self.last_name, state, Args::new(&source[start..], &self.request), &mut item);
            if item.row.is_some_and(|row| may_run_script(state, conn.slot, row)) {
                self.full = true;
                if index > 0 {
                    self.ranges.truncate(item.ranges.start);
                    (group.parsed, group.more, group.script_next) = (request_start, true, true);
                    break;
                }
            }
            if let Some(hash) = item.first_key_hash {
                state.keyspace.db(db).prefetch_bucket(hash);
            }
            self.items.push(item);
        }
        drop(io);
        // What is left is one incomplete request.
        let incomplete = if group.more { 0 } else { group.input.len() - group.parsed };
        if incomplete as u64 > state.config.client_query_buffer_limit && !is_master {
            let client = state.clients.at_mut(conn.slot);
            warn!(state.log, "Closing client that reached max query buffer length"; "addr" => %client.addr, "bytes" => incomplete);
            state.stats.query_limit_disconnections += 1;
            client.flags |= ClientFlags::CLOSE_ASAP;
        }
        self.conns.push(group);
    }

    fn prefetch(&mut self, state: &NodeState) {
        for item in &self.items {
            if let Some(hash) = item.first_key_hash {
                let slot = self.conns[item.conn as usize].conn.slot;
                let db = state.clients.get(slot).map_or(DbIndex(0), |client| client.db);
                state.keyspace.db(db).prefetch_entry(hash);
            }
        }
    }

    /// Executes the group in order. A connection's items stand together.
    fn execute(&mut self, state: &mut NodeState) {
        let items = std::mem::take(&mut self.items);
        state.clock_ns = state.env.clock.monotonic_ns();
        let mut from = 0;
        for index in 0..self.conns.len() {
            let len = items[from..].iter().take_while(|item| item.conn as usize == index).count();
            if self.conns[index].is_master {
                self.apply_stream(state, index, &items[from..from + len]);
            } else {
                self.serve(state, index, &items[from..from + len]);
            }
            from += len;
        }
        self.items = items;
    }

    /// Executes one client's requests.
    fn serve(&mut self, state: &mut NodeState, index: usize, items: &[Item]) {
        let group = &mut self.conns[index];
        let slot = group.conn.slot;
        // It may have been killed by another one of the group.
        let Some(client) = state.clients.get_mut(slot) else { return };
        self.reply.buf = std::mem::take(&mut client.out);
        self.reply.proto = client.proto;
        for item in items {
            if group.stopped {
                break;
            }
            let source = if item.inline { &self.inline } else { &group.input };
            let args = Args::new(&source[item.start..], &self.ranges[item.ranges.clone()]);
            if execute(state, slot, args, item.row, item.first_key_hash, &mut self.reply) == Executed::Postponed {
                group.stopped = true;
                break;
            }
            group.consumed = item.end;
            match state.clients.get_mut(slot) {
                Some(client) => {
                    let stop = ClientFlags::CLOSE_AFTER_REPLY | ClientFlags::CLOSE_ASAP | ClientFlags::BLOCKED;
                    group.stopped = client.flags.intersects(stop);
                    if !client.out.is_empty() {
                        // Others (or its own command) have pushed something to this client meanwhile.
                        self.reply.buf.append(&mut client.out);
                    }
                }
                None => group.stopped = true,
            }
        }
        let Some(client) = state.clients.get_mut(slot) else { return };
        if let Some(violation) = group.violation.take()
            && !group.stopped
        {
            debug!(state.log, "Protocol error from client"; "addr" => %client.addr, "error" => %violation);
            self.reply.error(&format!("ERR {violation}"));
            client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
            group.stopped = true;
        }
        client.out = std::mem::take(&mut self.reply.buf);
        client.bytes_in += group.consumed as u64;
        state.stats.net_input_bytes += group.consumed as u64;
        client.query_buffer = group.input.len() - group.consumed;
        client.query_buffer_free = group.input.capacity() - group.input.len();
    }

    /// Executes commands of the master's stream. They are counted when they have been applied, inside MULTI when EXEC has been.
    fn apply_stream(&mut self, state: &mut NodeState, index: usize, items: &[Item]) {
        let group = &mut self.conns[index];
        let slot = group.conn.slot;
        // After REPLICAOF or promotion no more of the old master's stream is applied.
        if state.clients.get(slot).is_none_or(|client| client.is(ClientFlags::CLOSE_ASAP)) {
            group.stopped = true;
            return;
        }
        let from = group.consumed;
        let mut failure = group.violation.take().map(|violation| violation.to_string());
        for item in items {
            let source = if item.inline { &self.inline } else { &group.input };
            let args = Args::new(&source[item.start..], &self.ranges[item.ranges.clone()]);
            self.reply.buf.clear();
            state.applying_stream = true;
            let executed = execute(state, slot, args, item.row, item.first_key_hash, &mut self.reply);
            state.applying_stream = false;
            if executed == Executed::Postponed {
                group.stopped = true;
                break;
            }
            if let Executed::Failed(error) = executed {
                let name = String::from_utf8_lossy(args.at(0)).into_owned();
                failure = Some(format!("the master's command '{name}' can't be applied here: {error}"));
                break;
            }
            // A command may have ended the link.
            let Some(client) = state.clients.get(slot) else { return };
            let in_multi = client.is(ClientFlags::MULTI);
            let bytes = &group.input[group.consumed..item.end];
            group.consumed = item.end;
            if in_multi && !state.env.planted(Mistake::CountedBeforeApplied) {
                state.unapplied.extend_from_slice(bytes);
            } else if state.unapplied.is_empty() {
                state.stream.append_applied(bytes);
            } else {
                state.unapplied.extend_from_slice(bytes);
                let whole = std::mem::take(&mut state.unapplied);
                state.stream.append_applied(&whole);
            }
        }
        let read = (group.consumed - from) as u64;
        state.stats.net_repl_input_bytes += read;
        if let Some(client) = state.clients.get_mut(slot) {
            client.bytes_in += read;
        }
        if let Some(reason) = failure {
            state.stop_link(reason);
            group.stopped = true;
        }
    }

    /// Gives the inputs back to their connections and puts those with more to do at the end of the inbox.
    fn release(&mut self, shell: &Shell, state: &mut NodeState) {
        for mut group in self.conns.drain(..) {
            let conn = &group.conn;
            conn.in_turn.set(false);
            if conn.closed.get() {
                shell.give_buffer(group.input);
                continue;
            }
            let all = group.consumed == group.input.len();
            let mut io = conn.io.borrow_mut();
            if group.consumed < group.parsed {
                // What was parsed and not executed is parsed again, from its start.
                io.decoder = Default::default();
            }
            if all {
                shell.give_buffer(std::mem::take(&mut group.input));
            } else {
                group.input.drain(..group.consumed);
            }
            io.input = group.input;
            drop(io);
            if group.more && !group.stopped {
                if !conn.queued.replace(true) {
                    let mut inbox = shell.inbox.borrow_mut();
                    if group.script_next { inbox.push_front(conn.clone()) } else { inbox.push_back(conn.clone()) }
                }
            } else if conn.ended.get() {
                state.requests.push(Request::Close(conn.slot));
            }
            if conn.paused.get() && !shell.is_congested(state, conn.slot) && !group.stopped {
                conn.paused.set(false);
                conn.wake_after_others();
            }
            self.unflushed.push(group.conn);
        }
    }

    /// Writes every reply of the turn, once a socket.
    fn flush(&mut self, shell: &Shell, state: &mut NodeState) {
        for slot in std::mem::take(&mut state.written) {
            if let Some(client) = state.clients.get_mut(slot) {
                client.flags -= ClientFlags::PUSHED;
            }
            self.unflushed.extend(shell.conn(slot));
        }
        for conn in self.unflushed.drain(..) {
            let Some(client) = state.clients.get(conn.slot) else { continue };
            if conn.closed.get() {
                continue;
            }
            let killed = client.is(ClientFlags::CLOSE_ASAP);
            let keep = !killed && (conn.write_blocked.get() || shell.flush(state, &conn));
            let over_limit = over_hard_limit(state, conn.slot);
            state.stats.output_limit_disconnections += u64::from(over_limit);
            if !keep || over_limit {
                state.requests.push(Request::Close(conn.slot));
            }
            state.count_client(conn.slot);
        }
        state.evict_clients();
    }
}

/// Puts the connections of clients that wait no longer into the inbox.
fn resume(shell: &Shell, state: &mut NodeState) {
    if !state.blocked.has_news() {
        return;
    }
    state.wake_acked();
    state.serve_ready_keys();
    for slot in state.blocked.take_resumed() {
        if let Some(conn) = shell.conn(slot)
            && !conn.queued.replace(true)
        {
            shell.inbox.borrow_mut().push_back(conn);
        }
    }
}

/// `client-output-buffer-limit`'s hard bound for normal clients; slaves are bounded by their place in the stream.
fn over_hard_limit(state: &NodeState, slot: Slot) -> bool {
    let Some(client) = state.clients.get(slot) else { return false };
    let class = usize::from(client.is(ClientFlags::PUBSUB)) * 2;
    let hard = state.config.client_output_buffer_limit[class].hard;
    let over = hard > 0 && client.out.len() as u64 > hard;
    if over {
        warn!(state.log, "Client closed for overcoming of output buffer limits"; "id" => client.id, "addr" => %client.addr);
    }
    over
}

pub(super) fn limits(authenticated: bool, config: &crate::config::Config) -> Limits {
    let line_bytes_max = 64 << 10;
    match authenticated {
        true => Limits { bulk_bytes_max: config.proto_max_bulk_len as usize, args_max: 1 << 20, line_bytes_max, unauthenticated: false },
        false => Limits { bulk_bytes_max: 16 << 10, args_max: 10, line_bytes_max, unauthenticated: true },
    }
}

/// Whether the request may run a script: one of its own, or one that MULTI has queued.
#[inline]
fn may_run_script(state: &NodeState, slot: Slot, row: usize) -> bool {
    let spec = state.commands.rows[row];
    let has_queued = || state.clients.get(slot).is_some_and(|client| client.queued.commands.iter().any(|(queued, ..)| queued.runs_scripts()));
    spec.runs_scripts() || (spec.name == "exec" && has_queued())
}

/// Finds a request's row and the hash of its first key.
#[inline]
fn look_up(last_name: &mut (Vec<u8>, Option<usize>), state: &NodeState, args: Args<'_>, item: &mut Item) {
    let name = args.at(0);
    if last_name.0 != name {
        last_name.1 = state.commands.find(name);
        last_name.0.clear();
        last_name.0.extend_from_slice(name);
    }
    item.row = last_name.1;
    let Some(row) = item.row else { return };
    let first = state.commands.rows[row].keys.0;
    if first > 0 && args.len() > first as usize {
        item.first_key_hash = Some(state.keyspace.hash(args.at(first as usize)));
    }
}
