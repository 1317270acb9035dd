//! Connections of the simulated network: what is on its way, what has arrived, and what faults do to it. A plain core: it is told the
//! time, and collects the wakers that its owner calls once the lock is released.
//!
//! Each direction of a connection is one queue of packets in order, acknowledgements among them. A packet that comes due on a blocked
//! link stays at the front, and all behind it, until the link heals or the sender's retransmission time-out resets its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use super::trace::{Trace, fingerprint};
use crate::env::{Addr, Random, SeededRandom};

/// Delays of a link in microseconds: each packet takes `base_us` and up to `jitter_us` more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    pub base_us: u64,
    pub jitter_us: u64,
}

/// Packets from this size on are parts of something bigger, such as a snapshot.
const CORRUPTIBLE_BYTES: usize = 512;

/// An end of a connection: 0 connected, 1 accepted.
pub(super) type Side = usize;
pub(super) type ConnId = u64;

/// What a listener is bound to on its host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bound {
    Tcp(std::net::SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug)]
enum Packet {
    Syn(Bound),
    Accepted,
    Refused,
    Data(Bytes),
    Ack(usize),
    Fin,
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndState {
    Connecting,
    Open,
    Dead(io::ErrorKind),
    /// Its socket is gone.
    Closed,
}

pub(super) struct End {
    pub host: Ipv4Addr,
    pub addr: Addr,
    pub state: EndState,
    pub inbox: BytesMut,
    pub fin: bool,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Pipe {
    packets: VecDeque<(u64, Packet)>,
    last_due: u64,
    /// Identifies the present stall, if the packet at the front came due on a blocked link.
    stall: Option<u64>,
    /// Bytes sent that the peer has not taken out of its inbox, as far as the sender knows.
    unacked: usize,
    pub delivered: u64,
    /// Bytes that may still be delivered before the connection is cut.
    cut_after: Option<u64>,
}

pub(super) struct Conn {
    pub ends: [End; 2],
    /// `pipes[side]` carries what `side` sends.
    pub pipes: [Pipe; 2],
}

#[derive(Default)]
pub(super) struct ListenerState {
    /// Tells it from a later listener at the same place.
    pub id: u64,
    pub backlog: VecDeque<ConnId>,
    pub backlog_max: usize,
    pub acceptor: Option<Waker>,
}

#[derive(Default)]
pub(super) struct HostNet {
    pub listeners: BTreeMap<Bound, ListenerState>,
    pub ports_given: u16,
    pub sources_given: u16,
    pub fds_given: i32,
}

enum Event {
    Arrive(ConnId, Side),
    TimeOut(ConnId, Side, u64),
}

pub(super) struct Wire {
    pub random: SeededRandom,
    pub hosts: BTreeMap<Ipv4Addr, HostNet>,
    pub names: BTreeMap<String, Ipv4Addr>,
    pub conns: BTreeMap<ConnId, Conn>,
    pub latency: Latency,
    pub latencies: BTreeMap<(Ipv4Addr, Ipv4Addr), Latency>,
    pub blocked: BTreeSet<(Ipv4Addr, Ipv4Addr)>,
    pub window: usize,
    /// One write in so many takes only a part of what it could; 0: none.
    pub short_writes: u64,
    /// How long data, and a connection attempt, is retried on a blocked link.
    pub retransmit_ns: u64,
    pub syn_ns: u64,
    pub wakes: Vec<Waker>,
    queue: BTreeMap<(u64, u64), Event>,
    carrier: Option<Waker>,
    /// Numbers connections, events and stalls.
    counter: u64,
}

impl Wire {
    pub fn new(random: SeededRandom) -> Self {
        Wire {
            random,
            hosts: BTreeMap::new(),
            names: BTreeMap::new(),
            conns: BTreeMap::new(),
            latency: Latency { base_us: 500, jitter_us: 2000 },
            latencies: BTreeMap::new(),
            blocked: BTreeSet::new(),
            window: 64 << 10,
            short_writes: 0,
            retransmit_ns: 900_000_000_000,
            syn_ns: 127_000_000_000,
            wakes: Vec::new(),
            queue: BTreeMap::new(),
            carrier: None,
            counter: 0,
        }
    }

    pub fn next_id(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn schedule(&mut self, due: u64, event: Event) {
        let sequence = self.next_id();
        self.queue.insert((due, sequence), event);
        self.wakes.extend(self.carrier.take());
    }

    fn delay_ns(&mut self, from: Ipv4Addr, to: Ipv4Addr) -> u64 {
        let default = if from == to { Latency { base_us: 0, jitter_us: 0 } } else { self.latency };
        let latency = self.latencies.get(&(from, to)).copied().unwrap_or(default);
        (latency.base_us + self.random.below(latency.jitter_us + 1)) * 1000
    }

    fn send(&mut self, now: u64, id: ConnId, side: Side, packet: Packet) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (from, to) = (conn.ends[side].host, conn.ends[1 - side].host);
        let delay = self.delay_ns(from, to);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let pipe = &mut conn.pipes[side];
        let due = (now + delay).max(pipe.last_due);
        pipe.last_due = due;
        pipe.packets.push_back((due, packet));
        self.schedule(due, Event::Arrive(id, side));
    }

    /// Handles all that is due. Returns when the next event is; `carrier` is woken if an earlier one comes.
    pub fn run(&mut self, now: u64, carrier: &Waker, trace: &Trace) -> Option<u64> {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > now {
                break;
            }
            match entry.remove() {
                Event::Arrive(id, side) => self.arrive(now, id, side, trace),
                Event::TimeOut(id, side, stall) => self.time_out(id, side, stall, trace),
            }
        }
        self.carrier = Some(carrier.clone());
        self.queue.first_key_value().map(|(&(due, _), _)| due)
    }

    fn arrive(&mut self, now: u64, id: ConnId, side: Side, trace: &Trace) {
        loop {
            let Some(conn) = self.conns.get_mut(&id) else { return };
            let link = (conn.ends[side].host, conn.ends[1 - side].host);
            let pipe = &mut conn.pipes[side];
            match pipe.packets.front() {
                Some((due, _)) if *due <= now => {}
                _ => break,
            }
            if self.blocked.contains(&link) {
                if pipe.stall.is_none() {
                    self.stall(now, id, side);
                }
                return;
            }
            let Some((_, packet)) = pipe.packets.pop_front() else { break };
            self.deliver(now, id, side, packet, trace);
        }
        self.forget_if_done(id);
    }

    fn stall(&mut self, now: u64, id: ConnId, side: Side) {
        let stall = self.next_id();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.pipes[side].stall = Some(stall);
        let connecting = conn.ends[0].state == EndState::Connecting;
        let wait = if connecting { self.syn_ns } else { self.retransmit_ns };
        self.schedule(now + wait, Event::TimeOut(id, side, stall));
    }

    /// The link has been blocked for too long: the ends that wait for an acknowledgement give up.
    fn time_out(&mut self, id: ConnId, side: Side, stall: u64, trace: &Trace) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.pipes[side].stall != Some(stall) {
            return;
        }
        let packets = &conn.pipes[side].packets;
        let sender_waits = packets.iter().any(|(_, packet)| !matches!(packet, Packet::Ack(_)));
        let peer_waits = conn.pipes[1 - side].unacked > 0 && packets.iter().any(|(_, packet)| matches!(packet, Packet::Ack(_)));
        let connecting = conn.ends[0].state == EndState::Connecting;
        conn.pipes[side].packets.clear();
        conn.pipes[side].stall = None;
        for (gives_up, end) in [(sender_waits || connecting, side), (peer_waits || connecting, 1 - side)] {
            if gives_up && self.kill(id, end, io::ErrorKind::TimedOut) {
                trace.event(format_args!("timeout c{id}.{end}"));
            }
        }
        self.forget_if_done(id);
    }

    /// A packet from `side` reaches the other end.
    fn deliver(&mut self, now: u64, id: ConnId, side: Side, packet: Packet, trace: &Trace) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let peer = 1 - side;
        let state = conn.ends[peer].state;
        match packet {
            Packet::Syn(target) => self.syn(now, id, target, trace),
            Packet::Accepted => {
                if state == EndState::Connecting {
                    conn.ends[peer].state = EndState::Open;
                    self.wake_end(id, peer);
                } else {
                    // The connecting side went away meanwhile.
                    self.send(now, id, peer, Packet::Reset);
                }
            }
            Packet::Refused => {
                trace.event(format_args!("refused c{id}"));
                self.kill(id, peer, io::ErrorKind::ConnectionRefused);
            }
            Packet::Data(bytes) => match state {
                EndState::Open => self.data(id, side, bytes, trace),
                _ => self.send(now, id, peer, Packet::Reset),
            },
            Packet::Ack(n) => {
                conn.pipes[peer].unacked = conn.pipes[peer].unacked.saturating_sub(n);
                self.wakes.extend(conn.ends[peer].writer.take());
            }
            Packet::Fin => match state {
                EndState::Open => {
                    conn.ends[peer].fin = true;
                    trace.event(format_args!("fin c{id}.{side}"));
                    self.wake_end(id, peer);
                }
                EndState::Closed => {}
                _ => self.send(now, id, peer, Packet::Reset),
            },
            Packet::Reset => {
                if self.kill(id, peer, io::ErrorKind::ConnectionReset) {
                    trace.event(format_args!("reset c{id}.{peer}"));
                }
            }
        }
    }

    fn syn(&mut self, now: u64, id: ConnId, target: Bound, trace: &Trace) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let host = conn.ends[1].host;
        let listeners = self.hosts.get_mut(&host).map(|host| &mut host.listeners);
        let bound = listeners.and_then(|listeners| {
            let any = match &target {
                Bound::Tcp(addr) => Bound::Tcp((Ipv4Addr::UNSPECIFIED, addr.port()).into()),
                Bound::Unix(path) => Bound::Unix(path.clone()),
            };
            let exact = if listeners.contains_key(&target) { target } else { any };
            listeners.get_mut(&exact)
        });
        match bound {
            Some(listener) if listener.backlog.len() < listener.backlog_max => {
                listener.backlog.push_back(id);
                self.wakes.extend(listener.acceptor.take());
                conn.ends[1].state = EndState::Open;
                trace.event(format_args!("accepted c{id} {} by {}", conn.ends[0].addr, conn.ends[1].addr));
                self.send(now, id, 1, Packet::Accepted);
            }
            _ => {
                conn.ends[1].state = EndState::Closed;
                self.send(now, id, 1, Packet::Refused);
            }
        }
    }

    fn data(&mut self, id: ConnId, side: Side, mut bytes: Bytes, trace: &Trace) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let pipe = &mut conn.pipes[side];
        let mut cut = false;
        if let Some(left) = &mut pipe.cut_after {
            if *left <= bytes.len() as u64 {
                bytes.truncate(*left as usize);
                cut = true;
            }
            *left -= bytes.len() as u64;
        }
        pipe.delivered += bytes.len() as u64;
        if !trace.is_stopped() {
            trace.event(format_args!("data c{id}.{side} {} bytes {:016x}", bytes.len(), fingerprint(&bytes)));
        }
        conn.ends[1 - side].inbox.extend_from_slice(&bytes);
        if cut {
            self.cut(id, trace);
        } else {
            self.wake_end(id, 1 - side);
        }
    }

    fn wake_end(&mut self, id: ConnId, side: Side) {
        if let Some(conn) = self.conns.get_mut(&id) {
            self.wakes.extend(conn.ends[side].reader.take());
            self.wakes.extend(conn.ends[side].writer.take());
        }
    }

    /// An end that is not closed yet gets an error; what it had sent is not retransmitted.
    fn kill(&mut self, id: ConnId, side: Side, error: io::ErrorKind) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        if !matches!(conn.ends[side].state, EndState::Open | EndState::Connecting) {
            return false;
        }
        conn.ends[side].state = EndState::Dead(error);
        conn.pipes[side].packets.clear();
        conn.pipes[side].stall = None;
        self.wake_end(id, side);
        true
    }

    /// A connection whose two sockets are gone and that has nothing on the way leaves the books.
    fn forget_if_done(&mut self, id: ConnId) {
        let done = self
            .conns
            .get(&id)
            .is_some_and(|conn| conn.ends.iter().all(|end| end.state == EndState::Closed) && conn.pipes.iter().all(|pipe| pipe.packets.is_empty()));
        if done {
            self.conns.remove(&id);
        }
    }

    /// Begins a connection: `addrs` are the connecting and the called end.
    pub fn connect(&mut self, now: u64, hosts: [Ipv4Addr; 2], addrs: [Addr; 2], target: Bound) -> ConnId {
        let id = self.next_id();
        let end = |side: Side, state| End {
            host: hosts[side],
            addr: addrs[side].clone(),
            state,
            inbox: BytesMut::new(),
            fin: false,
            reader: None,
            writer: None,
        };
        let ends = [end(0, EndState::Connecting), end(1, EndState::Closed)];
        self.conns.insert(id, Conn { ends, pipes: [Pipe::default(), Pipe::default()] });
        self.send(now, id, 0, Packet::Syn(target));
        id
    }

    /// Sends what the window allows, in packets of random size.
    pub fn write(&mut self, now: u64, id: ConnId, side: Side, bytes: &[u8]) -> usize {
        let Some(conn) = self.conns.get_mut(&id) else { return 0 };
        let pipe = &mut conn.pipes[side];
        let mut n = bytes.len().min(self.window.saturating_sub(pipe.unacked));
        if n > 0 && self.short_writes > 0 && self.random.below(self.short_writes) == 0 {
            n = 1 + self.random.below(n as u64) as usize;
        }
        pipe.unacked += n;
        let mut rest = &bytes[..n];
        while !rest.is_empty() {
            // Mostly whole packets, and one in eight cut anywhere, so that readers meet every boundary.
            let most = rest.len().min(16 << 10);
            let len = if self.random.below(8) == 0 { 1 + self.random.below(most as u64) as usize } else { most };
            self.send(now, id, side, Packet::Data(Bytes::copy_from_slice(&rest[..len])));
            rest = &rest[len..];
        }
        n
    }

    pub fn has_room(&self, id: ConnId, side: Side) -> bool {
        self.conns.get(&id).is_some_and(|conn| conn.pipes[side].unacked < self.window)
    }

    /// Takes up to `max` arrived bytes and tells the sender.
    pub fn read(&mut self, now: u64, id: ConnId, side: Side, buf: &mut Vec<u8>, max: usize) -> usize {
        let Some(conn) = self.conns.get_mut(&id) else { return 0 };
        let inbox = &mut conn.ends[side].inbox;
        let n = inbox.len().min(max);
        buf.extend_from_slice(&inbox.split_to(n));
        if conn.ends[side].state == EndState::Open {
            self.send(now, id, side, Packet::Ack(n));
        }
        n
    }

    /// The socket is dropped. As in Linux, unread input turns the orderly end into a reset.
    pub fn close(&mut self, now: u64, id: ConnId, side: Side) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let end = &mut conn.ends[side];
        let was_open = end.state == EndState::Open;
        end.state = EndState::Closed;
        let unread = !std::mem::take(&mut end.inbox).is_empty();
        self.wakes.extend(end.reader.take());
        self.wakes.extend(end.writer.take());
        if was_open {
            self.send(now, id, side, if unread { Packet::Reset } else { Packet::Fin });
        }
        self.forget_if_done(id);
    }

    /// Both ends get a reset at once; what is on the way is lost, what has arrived can still be read.
    pub fn cut(&mut self, id: ConnId, trace: &Trace) {
        if !self.conns.contains_key(&id) {
            return;
        }
        trace.event(format_args!("cut c{id}"));
        for side in 0..2 {
            self.kill(id, side, io::ErrorKind::ConnectionReset);
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            for pipe in &mut conn.pipes {
                pipe.packets.clear();
                pipe.stall = None;
            }
        }
        self.forget_if_done(id);
    }

    /// Changes one byte of a big packet that is on its way to the end that connected from `addr`.
    pub fn corrupt(&mut self, addr: &Addr, trace: &Trace) -> bool {
        let Some((id, conn)) = self.conns.iter_mut().find(|(_, conn)| conn.ends[0].addr == *addr) else { return false };
        let big = conn.pipes[1].packets.iter_mut().find_map(|(_, packet)| match packet {
            Packet::Data(bytes) if bytes.len() >= CORRUPTIBLE_BYTES => Some(bytes),
            _ => None,
        });
        let Some(bytes) = big else { return false };
        let mut changed = bytes.to_vec();
        let at = self.random.below(changed.len() as u64) as usize;
        changed[at] ^= 1 << self.random.below(8);
        *bytes = changed.into();
        trace.event(format_args!("corrupt c{id} byte {at}"));
        true
    }

    pub fn cut_after(&mut self, id: ConnId, side: Side, bytes: u64, trace: &Trace) {
        if bytes == 0 {
            self.cut(id, trace);
        } else if let Some(conn) = self.conns.get_mut(&id) {
            conn.pipes[side].cut_after = Some(bytes);
        }
    }

    /// The host's listeners vanish; each of its connections ends with a reset, as far as the network carries it.
    pub fn crash(&mut self, now: u64, host: Ipv4Addr) {
        if let Some(net) = self.hosts.get_mut(&host) {
            for (_, listener) in std::mem::take(&mut net.listeners) {
                self.wakes.extend(listener.acceptor);
            }
        }
        let ids: Vec<ConnId> = self.conns.keys().copied().collect();
        for id in ids {
            for side in 0..2 {
                let Some(conn) = self.conns.get_mut(&id) else { break };
                let end = &mut conn.ends[side];
                if end.host != host || end.state == EndState::Closed {
                    continue;
                }
                let was_open = end.state == EndState::Open;
                end.state = EndState::Closed;
                end.inbox.clear();
                self.wakes.extend(end.reader.take());
                self.wakes.extend(end.writer.take());
                let pipe = &mut conn.pipes[side];
                if pipe.stall.take().is_some() {
                    // Nobody is left to retransmit.
                    pipe.packets.clear();
                }
                if was_open {
                    self.send(now, id, side, Packet::Reset);
                }
                self.forget_if_done(id);
            }
        }
    }

    /// Links that were blocked are open again: what stalled is sent anew.
    pub fn resume(&mut self, now: u64) {
        let ids: Vec<ConnId> = self.conns.keys().copied().collect();
        for id in ids {
            for side in 0..2 {
                let Some(conn) = self.conns.get(&id) else { break };
                let (from, to) = (conn.ends[side].host, conn.ends[1 - side].host);
                if conn.pipes[side].stall.is_none() || self.blocked.contains(&(from, to)) {
                    continue;
                }
                let due = now + self.delay_ns(from, to);
                let Some(conn) = self.conns.get_mut(&id) else { break };
                let pipe = &mut conn.pipes[side];
                pipe.stall = None;
                for packet in &mut pipe.packets {
                    packet.0 = packet.0.max(due);
                }
                pipe.last_due = pipe.last_due.max(due);
                self.schedule(due, Event::Arrive(id, side));
            }
        }
    }
}
