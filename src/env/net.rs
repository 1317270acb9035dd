//! Sockets. A `Socket` is polled for reading, which tells by a short read that it is drained, and written to
//! at once, as far as the peer takes it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// One end of a connection, printed as Redis prints it: `127.0.0.1:6379`, `[::1]:6379`, `/path:0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Addr {
    Ip(SocketAddr),
    Unix(PathBuf),
}

impl Addr {
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Addr::Ip(addr) => Some(canonical(addr.ip())),
            Addr::Unix(_) => None,
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Addr::Ip(addr) => addr.port(),
            Addr::Unix(_) => 0,
        }
    }
}

fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        v4 => v4,
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Ip(addr) => SocketAddr::new(canonical(addr.ip()), addr.port()).fmt(f),
            Addr::Unix(path) => write!(f, "{}:0", path.display()),
        }
    }
}

/// Where to listen. A TCP port of 0 lets the system choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    Tcp(SocketAddr),
    Unix { path: PathBuf, mode: Option<u32> },
}

/// Makes sockets.
pub trait Net: Send + Sync {
    fn listen(&self, addr: &ListenAddr, backlog: u32) -> io::Result<Box<dyn Listener>>;
    /// Connects by TCP, from `source` if given.
    fn connect(&self, host: &str, port: u16, source: Option<IpAddr>) -> LocalBoxFuture<'static, io::Result<Box<dyn Socket>>>;
}

/// A listening socket.
pub trait Listener {
    fn local_addr(&self) -> Addr;
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Socket>>>;
    /// Accepts without the runtime, which does not run while a script does, or `WouldBlock`.
    fn accept_now(&mut self) -> io::Result<Box<dyn Socket>> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// A connected stream of bytes.
pub trait Socket {
    /// Appends at most `max` bytes to `buf`. `Ok(0)` is the peer's end. After a read of less than `max` the
    /// next poll waits for news without asking the system.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>>;
    /// Appends what is there without the runtime, or `WouldBlock`. `Ok(0)` is the peer's end.
    fn read_now(&mut self, _buf: &mut Vec<u8>) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    /// Writes what the peer takes now, or `WouldBlock`.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Ready when a write may succeed (it may still say `WouldBlock`).
    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn peer_addr(&self) -> Addr;
    fn local_addr(&self) -> Addr;
    /// The descriptor's number for CLIENT LIST; -1 where there is none.
    fn fd(&self) -> i32;
    /// Turns keepalive probes on, every `period`, or off.
    fn set_keepalive(&self, period: Option<Duration>);
    fn set_nodelay(&self, on: bool);
}

/// The machine's network.
pub struct RealNet;

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

struct RealSocket {
    stream: Stream,
    peer: Addr,
    local: Addr,
}

enum RealListener {
    Tcp(TcpListener, Addr),
    Unix(UnixListener, PathBuf),
}

fn tcp_socket(stream: TcpStream) -> io::Result<Box<dyn Socket>> {
    stream.set_nodelay(true)?;
    let peer = Addr::Ip(stream.peer_addr()?);
    let local = Addr::Ip(stream.local_addr()?);
    Ok(Box::new(RealSocket { stream: Stream::Tcp(stream), peer, local }))
}

fn unix_socket(stream: UnixStream, path: &std::path::Path) -> Box<dyn Socket> {
    let addr = Addr::Unix(path.to_owned());
    Box::new(RealSocket { stream: Stream::Unix(stream), peer: addr.clone(), local: addr })
}

impl Net for RealNet {
    fn listen(&self, addr: &ListenAddr, backlog: u32) -> io::Result<Box<dyn Listener>> {
        match addr {
            ListenAddr::Tcp(addr) => {
                let domain = if addr.is_ipv6() { socket2::Domain::IPV6 } else { socket2::Domain::IPV4 };
                let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
                if addr.is_ipv6() {
                    socket.set_only_v6(true)?;
                }
                socket.set_reuse_address(true)?;
                socket.bind(&(*addr).into())?;
                socket.listen(backlog.min(i32::MAX as u32) as i32)?;
                socket.set_nonblocking(true)?;
                let listener = TcpListener::from_std(socket.into())?;
                let local = Addr::Ip(listener.local_addr()?);
                Ok(Box::new(RealListener::Tcp(listener, local)))
            }
            ListenAddr::Unix { path, mode } => {
                // A socket file left by an earlier run would make the bind fail.
                let _ = std::fs::remove_file(path);
                let listener = UnixListener::bind(path)?;
                if let Some(mode) = mode {
                    use std::os::unix::fs::PermissionsExt;
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode))?;
                }
                Ok(Box::new(RealListener::Unix(listener, path.clone())))
            }
        }
    }

    fn connect(&self, host: &str, port: u16, source: Option<IpAddr>) -> LocalBoxFuture<'static, io::Result<Box<dyn Socket>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
            for addr in tokio::net::lookup_host((host.as_str(), port)).await? {
                let socket = match addr {
                    SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
                    SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
                };
                if let Some(source) = source {
                    socket.bind(SocketAddr::new(source, 0))?;
                }
                match socket.connect(addr).await {
                    Ok(stream) => return tcp_socket(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }
}

impl Listener for RealListener {
    fn local_addr(&self) -> Addr {
        match self {
            RealListener::Tcp(_, local) => local.clone(),
            RealListener::Unix(_, path) => Addr::Unix(path.clone()),
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Socket>>> {
        match self {
            RealListener::Tcp(listener, _) => match listener.poll_accept(cx) {
                Poll::Ready(accepted) => Poll::Ready(accepted.and_then(|(stream, _)| tcp_socket(stream))),
                Poll::Pending => Poll::Pending,
            },
            RealListener::Unix(listener, path) => match listener.poll_accept(cx) {
                Poll::Ready(accepted) => Poll::Ready(accepted.map(|(stream, _)| unix_socket(stream, path))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn accept_now(&mut self) -> io::Result<Box<dyn Socket>> {
        let socket = match self {
            RealListener::Tcp(listener, _) => socket2::SockRef::from(&*listener).accept()?.0,
            RealListener::Unix(listener, _) => socket2::SockRef::from(&*listener).accept()?.0,
        };
        socket.set_nonblocking(true)?;
        match self {
            RealListener::Tcp(..) => tcp_socket(TcpStream::from_std(socket.into())?),
            RealListener::Unix(_, path) => Ok(unix_socket(UnixStream::from_std(socket.into())?, path)),
        }
    }
}

impl RealSocket {
    /// The socket as the system has it.
    fn raw(&self) -> socket2::SockRef<'_> {
        match &self.stream {
            Stream::Tcp(stream) => socket2::SockRef::from(stream),
            Stream::Unix(stream) => socket2::SockRef::from(stream),
        }
    }
}

impl Socket for RealSocket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>> {
        buf.reserve(max);
        let spare = &mut buf.spare_capacity_mut()[..max];
        let mut read_buf = ReadBuf::uninit(spare);
        let poll = match &mut self.stream {
            Stream::Tcp(stream) => std::pin::Pin::new(stream).poll_read(cx, &mut read_buf),
            Stream::Unix(stream) => std::pin::Pin::new(stream).poll_read(cx, &mut read_buf),
        };
        match poll {
            Poll::Ready(Ok(())) => {
                let n = read_buf.filled().len();
                // SAFETY: `poll_read` has initialised the first `n` bytes of the spare capacity.
                unsafe { buf.set_len(buf.len() + n) };
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn read_now(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let n = io::Read::read(&mut &*self.raw(), &mut bytes)?;
        buf.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let tried = match &self.stream {
            Stream::Tcp(stream) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
        };
        match tried {
            // Of a socket that is new, or has become writable while the runtime did not run, only the system knows.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => io::Write::write(&mut &*self.raw(), bytes),
            other => other,
        }
    }

    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Tcp(stream) => stream.poll_write_ready(cx),
            Stream::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    fn peer_addr(&self) -> Addr {
        self.peer.clone()
    }

    fn local_addr(&self) -> Addr {
        self.local.clone()
    }

    fn fd(&self) -> i32 {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        }
    }

    fn set_keepalive(&self, period: Option<Duration>) {
        let Stream::Tcp(stream) = &self.stream else { return };
        let socket = socket2::SockRef::from(stream);
        // A failure leaves the connection usable, without probes.
        let _ = match period {
            Some(period) => {
                let keepalive =
                    socket2::TcpKeepalive::new().with_time(period).with_interval((period / 3).max(Duration::from_secs(1))).with_retries(3);
                socket.set_tcp_keepalive(&keepalive)
            }
            None => socket.set_keepalive(false),
        };
    }

    fn set_nodelay(&self, on: bool) {
        if let Stream::Tcp(stream) = &self.stream {
            let _ = stream.set_nodelay(on);
        }
    }
}
