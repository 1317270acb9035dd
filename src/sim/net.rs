//! The simulated network: sockets behind `env::Net` for the hosts, and faults for the test.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::time::Sleep;

use super::clock::Timeline;
use super::trace::Trace;
use super::wire::{Bound, ConnId, EndState, HostNet, Latency, ListenerState, Side, Wire};
use super::world::Host;
use crate::env::{Addr, ListenAddr, Listener, Net, SeededRandom, Socket};

const FIRST_FREE_PORT: u16 = 20_000;
const FIRST_SOURCE_PORT: u16 = 40_000;

/// A connection that two sockets, or their owners' crash, have not ended yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    pub id: u64,
    /// The connecting end, then the accepting one.
    pub addrs: [Addr; 2],
    /// Bytes that have arrived at the other end, of what each end sent.
    pub delivered: [u64; 2],
}

/// All hosts' network. Clones are the same network.
#[derive(Clone)]
pub struct Network {
    wire: Arc<Mutex<Wire>>,
    timeline: Arc<Timeline>,
    trace: Arc<Trace>,
}

impl Network {
    pub(super) fn new(random: SeededRandom, timeline: Arc<Timeline>, trace: Arc<Trace>) -> Self {
        Network { wire: Arc::new(Mutex::new(Wire::new(random))), timeline, trace }
    }

    /// Wakers are called without the lock: a task that they end may drop sockets.
    fn with<T>(&self, f: impl FnOnce(&mut Wire, u64) -> T) -> T {
        let now = self.timeline.now_ns();
        let (out, wakes) = {
            let mut wire = self.wire.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let out = f(&mut wire, now);
            (out, std::mem::take(&mut wire.wakes))
        };
        wakes.into_iter().for_each(|waker| waker.wake());
        out
    }

    pub(super) fn add_host(&self, name: &str, ip: Ipv4Addr) {
        self.with(|wire, _| {
            wire.hosts.insert(ip, HostNet { fds_given: 8, ..HostNet::default() });
            wire.names.insert(name.to_owned(), ip);
        });
    }

    pub(super) fn crash(&self, host: Host) {
        self.with(|wire, now| wire.crash(now, host.ip()));
    }

    /// The delay of every link without one of its own. Timers have a resolution of 1 ms.
    pub fn set_latency(&self, latency: Latency) {
        self.with(|wire, _| wire.latency = latency);
    }

    /// The delay of one direction between two hosts.
    pub fn set_link_latency(&self, from: Host, to: Host, latency: Latency) {
        self.with(|wire, _| wire.latencies.insert((from.ip(), to.ip()), latency));
    }

    /// The direction has the network's delay again.
    pub fn clear_link_latency(&self, from: Host, to: Host) {
        self.with(|wire, _| wire.latencies.remove(&(from.ip(), to.ip())));
    }

    /// Every direction has the network's delay again.
    pub fn clear_link_latencies(&self) {
        self.with(|wire, _| wire.latencies.clear());
    }

    /// Bytes that a sender may have under way or unread by its peer, a connection and direction.
    pub fn set_window(&self, bytes: usize) {
        self.with(|wire, _| wire.window = bytes);
    }

    /// One write in `one_in` takes only a part of what the window allows, as a busy kernel's does; 0, as at first: none.
    pub fn set_short_writes(&self, one_in: u64) {
        self.with(|wire, _| wire.short_writes = one_in);
    }

    /// How long a sender retransmits to a host that it can't reach before its end is reset.
    pub fn set_retransmit_timeout(&self, time: Duration) {
        self.with(|wire, _| wire.retransmit_ns = time.as_nanos() as u64);
    }

    /// Nothing passes between the two, in either direction, until they heal.
    pub fn partition(&self, a: Host, b: Host) {
        self.partition_one_way(a, b);
        self.partition_one_way(b, a);
    }

    /// Nothing passes from one host to the other: data, acknowledgements and resets wait.
    pub fn partition_one_way(&self, from: Host, to: Host) {
        self.trace.event(format_args!("partition {} to {}", from.ip(), to.ip()));
        self.with(|wire, _| wire.blocked.insert((from.ip(), to.ip())));
    }

    /// Ends partitions between the two.
    pub fn heal(&self, a: Host, b: Host) {
        self.trace.event(format_args!("heal {} and {}", a.ip(), b.ip()));
        self.with(|wire, now| {
            wire.blocked.remove(&(a.ip(), b.ip()));
            wire.blocked.remove(&(b.ip(), a.ip()));
            wire.resume(now);
        });
    }

    /// Ends a partition from one host to the other.
    pub fn heal_one_way(&self, from: Host, to: Host) {
        self.trace.event(format_args!("heal {} to {}", from.ip(), to.ip()));
        self.with(|wire, now| {
            wire.blocked.remove(&(from.ip(), to.ip()));
            wire.resume(now);
        });
    }

    /// Ends every partition.
    pub fn heal_all(&self) {
        self.trace.event(format_args!("heal all"));
        self.with(|wire, now| {
            wire.blocked.clear();
            wire.resume(now);
        });
    }

    /// The connections that some socket still holds, oldest first.
    pub fn connections(&self) -> Vec<ConnInfo> {
        self.with(|wire, _| {
            let alive = wire.conns.iter().filter(|(_, conn)| conn.ends.iter().any(|end| end.state == EndState::Open));
            let info = alive.map(|(&id, conn)| ConnInfo {
                id,
                addrs: [conn.ends[0].addr.clone(), conn.ends[1].addr.clone()],
                delivered: [conn.pipes[0].delivered, conn.pipes[1].delivered],
            });
            info.collect()
        })
    }

    fn between(&self, a: Host, b: Host) -> Vec<(ConnId, [Ipv4Addr; 2])> {
        self.with(|wire, _| {
            let hosts = wire.conns.iter().map(|(&id, conn)| (id, [conn.ends[0].host, conn.ends[1].host]));
            hosts.filter(|(_, ends)| *ends == [a.ip(), b.ip()] || *ends == [b.ip(), a.ip()]).collect()
        })
    }

    /// Resets every connection between the two hosts, at both ends.
    pub fn cut(&self, a: Host, b: Host) {
        for (id, _) in self.between(a, b) {
            self.cut_connection(id);
        }
    }

    /// Resets one connection at both ends.
    pub fn cut_connection(&self, id: u64) {
        self.with(|wire, _| wire.cut(id, &self.trace));
    }

    /// Resets each connection between the two once `bytes` more have gone over it in this direction.
    pub fn cut_after(&self, from: Host, to: Host, bytes: u64) {
        for (id, ends) in self.between(from, to) {
            let side = if ends[0] == from.ip() { 0 } else { 1 };
            self.with(|wire, _| wire.cut_after(id, side, bytes, &self.trace));
        }
    }

    /// Changes one byte of what is on its way to the end that connected from `addr`. False: nothing of some size is.
    pub fn corrupt(&self, addr: &Addr) -> bool {
        self.with(|wire, _| wire.corrupt(addr, &self.trace))
    }

    /// Connects to a Unix socket of the host itself.
    pub fn connect_unix(&self, host: Host, path: &Path) -> LocalBoxFuture<'static, io::Result<Box<dyn Socket>>> {
        let addr = Addr::Unix(path.to_owned());
        self.start_connect([host.ip(); 2], [addr.clone(), addr], Bound::Unix(path.to_owned()))
    }

    fn start_connect(&self, hosts: [Ipv4Addr; 2], addrs: [Addr; 2], target: Bound) -> LocalBoxFuture<'static, io::Result<Box<dyn Socket>>> {
        let id = self.with(|wire, now| {
            let id = wire.connect(now, hosts, addrs.clone(), target);
            self.trace.event(format_args!("connect c{id} {} to {}", addrs[0], addrs[1]));
            id
        });
        // From here on, dropping the future closes this end.
        let mut socket = Some(SimSocket::new(self.clone(), id, 0));
        Box::pin(std::future::poll_fn(move |cx| {
            let Some(pending) = &socket else { return Poll::Pending };
            let state = pending.network.with(|wire, _| {
                let end = &mut wire.conns.get_mut(&id)?.ends[0];
                end.writer = Some(cx.waker().clone());
                Some(end.state)
            });
            match state {
                Some(EndState::Connecting) => Poll::Pending,
                Some(EndState::Open) => match socket.take() {
                    Some(socket) => Poll::Ready(Ok(Box::new(socket) as Box<dyn Socket>)),
                    None => Poll::Pending,
                },
                Some(EndState::Dead(kind)) => Poll::Ready(Err(kind.into())),
                Some(EndState::Closed) | None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }))
    }
}

/// Moves packets when they are due: one task of the world.
pub(super) struct Carrier {
    network: Network,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Carrier {
    pub fn new(network: Network) -> Self {
        Carrier { network, sleep: None }
    }
}

impl Future for Carrier {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let network = self.network.clone();
            let next = network.with(|wire, now| wire.run(now, cx.waker(), &network.trace));
            let Some(due) = next else {
                self.sleep = None;
                return Poll::Pending;
            };
            let due = network.timeline.instant(due);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
    }
}

/// One host's network.
pub struct SimNet {
    network: Network,
    ip: Ipv4Addr,
}

impl SimNet {
    pub(super) fn new(network: Network, host: Host) -> Self {
        SimNet { network, ip: host.ip() }
    }

    /// The host that a name leads to, and the address that is called there.
    fn resolve(&self, name: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
        if name == "localhost" {
            return Some((self.ip, Ipv4Addr::LOCALHOST));
        }
        match name.parse::<Ipv4Addr>() {
            Ok(ip) if ip.is_loopback() || ip.is_unspecified() => Some((self.ip, Ipv4Addr::LOCALHOST)),
            Ok(ip) => Some((ip, ip)),
            Err(_) => self.network.with(|wire, _| wire.names.get(name).copied()).map(|ip| (ip, ip)),
        }
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        // IPv6 can be listened on, as the default `bind` wants; nothing ever connects there.
        ip.is_unspecified() || ip.is_loopback() || ip == IpAddr::V4(self.ip)
    }
}

impl HostNet {
    fn free_port(&mut self) -> u16 {
        loop {
            let port = FIRST_FREE_PORT + self.ports_given % (FIRST_SOURCE_PORT - FIRST_FREE_PORT);
            self.ports_given = self.ports_given.wrapping_add(1);
            let taken = self.listeners.keys().any(|bound| matches!(bound, Bound::Tcp(addr) if addr.port() == port));
            if !taken {
                return port;
            }
        }
    }
}

impl Net for SimNet {
    fn listen(&self, addr: &ListenAddr, backlog: u32) -> io::Result<Box<dyn Listener>> {
        let (id, bound) = self.network.with(|wire, _| {
            let id = wire.next_id();
            let host = wire.hosts.get_mut(&self.ip).ok_or(io::ErrorKind::NetworkDown)?;
            let bound = match addr {
                ListenAddr::Tcp(addr) if !self.is_local(addr.ip()) => return Err(io::Error::from(io::ErrorKind::AddrNotAvailable)),
                ListenAddr::Tcp(addr) => {
                    let port = if addr.port() == 0 { host.free_port() } else { addr.port() };
                    Bound::Tcp(SocketAddr::new(addr.ip(), port))
                }
                ListenAddr::Unix { path, .. } => Bound::Unix(path.clone()),
            };
            if host.listeners.contains_key(&bound) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let state = ListenerState { id, backlog_max: backlog.max(1) as usize, ..ListenerState::default() };
            host.listeners.insert(bound.clone(), state);
            Ok((id, bound))
        })?;
        Ok(Box::new(SimListener { network: self.network.clone(), ip: self.ip, id, bound }))
    }

    fn connect(&self, host: &str, port: u16, source: Option<IpAddr>) -> LocalBoxFuture<'static, io::Result<Box<dyn Socket>>> {
        let fail = |kind: io::ErrorKind| -> LocalBoxFuture<'static, io::Result<Box<dyn Socket>>> { Box::pin(async move { Err(kind.into()) }) };
        let Some((target, called)) = self.resolve(host) else { return fail(io::ErrorKind::NotFound) };
        if source.is_some_and(|source| !self.is_local(source)) {
            return fail(io::ErrorKind::AddrNotAvailable);
        }
        let source_port = self.network.with(|wire, _| {
            if !wire.hosts.contains_key(&target) {
                return None;
            }
            let host = wire.hosts.get_mut(&self.ip)?;
            host.sources_given = host.sources_given.wrapping_add(1);
            Some(FIRST_SOURCE_PORT + host.sources_given % (u16::MAX - FIRST_SOURCE_PORT))
        });
        let Some(source_port) = source_port else { return fail(io::ErrorKind::HostUnreachable) };
        let from = if called.is_loopback() { called } else { self.ip };
        let [from, to] = [SocketAddr::from((from, source_port)), SocketAddr::from((called, port))];
        self.network.start_connect([self.ip, target], [Addr::Ip(from), Addr::Ip(to)], Bound::Tcp(to))
    }
}

struct SimListener {
    network: Network,
    ip: Ipv4Addr,
    id: u64,
    bound: Bound,
}

impl SimListener {
    /// Its state, unless the host has crashed since.
    fn state<'a>(&self, wire: &'a mut Wire) -> Option<&'a mut ListenerState> {
        let state = wire.hosts.get_mut(&self.ip)?.listeners.get_mut(&self.bound)?;
        (state.id == self.id).then_some(state)
    }
}

impl Listener for SimListener {
    fn local_addr(&self) -> Addr {
        match &self.bound {
            Bound::Tcp(addr) => Addr::Ip(*addr),
            Bound::Unix(path) => Addr::Unix(path.clone()),
        }
    }

    fn accept_now(&mut self) -> io::Result<Box<dyn Socket>> {
        let waiting = self.network.with(|wire, _| self.state(wire).and_then(|listener| listener.backlog.pop_front()));
        let id = waiting.ok_or(io::ErrorKind::WouldBlock)?;
        Ok(Box::new(SimSocket::new(self.network.clone(), id, 1)))
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Socket>>> {
        let accepted: Result<_, io::ErrorKind> = self.network.with(|wire, _| {
            let listener = self.state(wire).ok_or(io::ErrorKind::ConnectionAborted)?;
            match listener.backlog.pop_front() {
                Some(id) => Ok(Some(id)),
                None => {
                    listener.acceptor = Some(cx.waker().clone());
                    Ok(None)
                }
            }
        });
        match accepted {
            Ok(Some(id)) => Poll::Ready(Ok(Box::new(SimSocket::new(self.network.clone(), id, 1)))),
            Ok(None) => Poll::Pending,
            Err(kind) => Poll::Ready(Err(io::Error::from(kind))),
        }
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.network.with(|wire, now| {
            let Some(state) = self.state(wire) else { return };
            let waiting = std::mem::take(&mut state.backlog);
            if let Some(host) = wire.hosts.get_mut(&self.ip) {
                host.listeners.remove(&self.bound);
            }
            for id in waiting {
                wire.close(now, id, 1);
            }
        });
    }
}

struct SimSocket {
    network: Network,
    id: ConnId,
    side: Side,
    local: Addr,
    peer: Addr,
    fd: i32,
}

impl SimSocket {
    fn new(network: Network, id: ConnId, side: Side) -> Self {
        let (local, peer, fd) = network.with(|wire, _| match wire.conns.get(&id) {
            Some(conn) => {
                let fd = wire.hosts.get_mut(&conn.ends[side].host).map(|host| {
                    host.fds_given += 1;
                    host.fds_given
                });
                (conn.ends[side].addr.clone(), conn.ends[1 - side].addr.clone(), fd.unwrap_or(-1))
            }
            // A backlog may hold a connection that a cut has ended.
            None => (Addr::Unix("gone".into()), Addr::Unix("gone".into()), -1),
        });
        SimSocket { network, id, side, local, peer, fd }
    }
}

impl SimSocket {
    /// Appends what has arrived. If nothing has, the waker will be called.
    fn read(&self, buf: &mut Vec<u8>, max: usize, waker: Option<&Waker>) -> Poll<io::Result<usize>> {
        self.network.with(|wire, now| {
            let Some(conn) = wire.conns.get_mut(&self.id) else { return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())) };
            let end = &mut conn.ends[self.side];
            if !end.inbox.is_empty() {
                return Poll::Ready(Ok(wire.read(now, self.id, self.side, buf, max)));
            }
            match end.state {
                EndState::Dead(kind) => Poll::Ready(Err(kind.into())),
                EndState::Closed => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                EndState::Open | EndState::Connecting if end.fin => Poll::Ready(Ok(0)),
                EndState::Open | EndState::Connecting => {
                    if let Some(waker) = waker {
                        end.reader = Some(waker.clone());
                    }
                    Poll::Pending
                }
            }
        })
    }
}

impl Socket for SimSocket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>> {
        if max == 0 {
            return Poll::Ready(Ok(0));
        }
        self.read(buf, max, Some(cx.waker()))
    }

    fn read_now(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        match self.read(buf, 64 << 10, None) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.network.with(|wire, now| {
            match wire.conns.get(&self.id).map(|conn| conn.ends[self.side].state) {
                Some(EndState::Open) => {}
                Some(EndState::Dead(kind)) => return Err(kind.into()),
                Some(EndState::Connecting | EndState::Closed) | None => return Err(io::ErrorKind::ConnectionReset.into()),
            }
            match wire.write(now, self.id, self.side, bytes) {
                0 if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
                n => Ok(n),
            }
        })
    }

    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.with(|wire, _| {
            let room = wire.has_room(self.id, self.side);
            match wire.conns.get_mut(&self.id) {
                Some(conn) if !room && conn.ends[self.side].state == EndState::Open => {
                    conn.ends[self.side].writer = Some(cx.waker().clone());
                    Poll::Pending
                }
                // Room, or an error that the next write tells.
                _ => Poll::Ready(Ok(())),
            }
        })
    }

    fn peer_addr(&self) -> Addr {
        self.peer.clone()
    }

    fn local_addr(&self) -> Addr {
        self.local.clone()
    }

    fn fd(&self) -> i32 {
        self.fd
    }

    /// Probes are not simulated: a silent peer is noticed by time-outs of the protocol, or when something is sent.
    fn set_keepalive(&self, _period: Option<Duration>) {}

    fn set_nodelay(&self, _on: bool) {}
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.network.with(|wire, now| wire.close(now, self.id, self.side));
    }
}
