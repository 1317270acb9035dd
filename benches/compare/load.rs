//! Load from one thread by epoll, made to cost less than a server does: requests are formatted once and only their keys are patched, replies
//! are counted by their known lengths or line ends and not parsed.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

pub const VALUE_BYTES: usize = 64;
const KEY_BYTES: usize = 16;
/// Keys differ in their last digits; that many are patched.
const DIGITS: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Set,
    /// Values that nothing compresses.
    SetNoise,
    /// Members of one sorted set, each time with another score.
    Zadd,
    Get,
    Incr,
    /// Sets a counter to zero.
    Counter,
}

impl Op {
    pub fn name(self) -> &'static str {
        match self {
            Op::Set | Op::SetNoise => "SET",
            Op::Zadd => "ZADD",
            Op::Get => "GET",
            Op::Incr => "INCR",
            Op::Counter => "counters",
        }
    }

    /// One request with a key of zeros.
    fn template(self) -> Template {
        if self == Op::Zadd {
            let text = format!("*4\r\n$4\r\nZADD\r\n$3\r\nbig\r\n${DIGITS}\r\n{:09}\r\n${KEY_BYTES}\r\nmbr:{:012}\r\n", 0, 0);
            let score = text.find(&"0".repeat(DIGITS)).expect("just put in");
            return Template { digits_at: text.len() - 2 - DIGITS, score_at: Some(score), bytes: text.into_bytes() };
        }
        let (command, prefix, value) = match self {
            Op::Set => ("SET", "key", Some("v".repeat(VALUE_BYTES))),
            Op::SetNoise => ("SET", "key", Some((0..VALUE_BYTES as u32).map(noise).collect())),
            Op::Incr => ("INCR", "cnt", None),
            Op::Counter => ("SET", "cnt", Some("0".to_owned())),
            Op::Get | Op::Zadd => ("GET", "key", None),
        };
        let words = 2 + usize::from(value.is_some());
        let mut text = format!("*{words}\r\n${}\r\n{command}\r\n${KEY_BYTES}\r\n{prefix}:{:012}\r\n", command.len(), 0);
        let digits_at = text.len() - 2 - DIGITS;
        if let Some(value) = value {
            text += &format!("${}\r\n{value}\r\n", value.len());
        }
        Template { bytes: text.into_bytes(), digits_at, score_at: None }
    }

    /// What a good reply begins with.
    pub fn sign(self) -> u8 {
        match self {
            Op::Set | Op::SetNoise | Op::Counter => b'+',
            Op::Get => b'$',
            Op::Incr | Op::Zadd => b':',
        }
    }

    /// The length of every reply, or `None` when replies are lines of differing length.
    fn reply_bytes(self) -> Option<usize> {
        match self {
            Op::Set | Op::SetNoise | Op::Counter => Some("+OK\r\n".len()),
            Op::Get => Some("$64\r\n".len() + VALUE_BYTES + 2),
            Op::Incr | Op::Zadd => None,
        }
    }
}

/// A letter or digit that has nothing to do with the one before.
fn noise(number: u32) -> char {
    char::from_digit(number.wrapping_mul(2_654_435_761).rotate_left(7) % 36, 36).expect("a digit")
}

/// A request, with where the patched digits of its key begin, and those of a score.
struct Template {
    bytes: Vec<u8>,
    digits_at: usize,
    score_at: Option<usize>,
}

impl Template {
    /// Makes a copy of the bytes the request for this key.
    fn patch(&self, digits: &Digits, request: &mut [u8], key: u64, turn: u64) {
        digits.patch(&mut request[self.digits_at..self.digits_at + DIGITS], key);
        if let Some(at) = self.score_at {
            digits.patch(&mut request[at..at + DIGITS], (key * 7919 + turn * 104_729) % 1_000_000_000);
        }
    }
}

/// Three decimal digits of every number below 1000.
struct Digits(Vec<[u8; 3]>);

impl Digits {
    fn new() -> Self {
        Digits((0..1000).map(|n| [b'0' + (n / 100) as u8, b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]).collect())
    }

    fn patch(&self, at: &mut [u8], number: u64) {
        at[..3].copy_from_slice(&self.0[(number / 1_000_000 % 1000) as usize]);
        at[3..6].copy_from_slice(&self.0[(number / 1000 % 1000) as usize]);
        at[6..9].copy_from_slice(&self.0[(number % 1000) as usize]);
    }
}

/// Which key comes next.
enum Keys {
    Random { state: u64, count: u64 },
    Sequence { next: u64, end: u64 },
}

impl Keys {
    fn next(&mut self) -> u64 {
        match self {
            Keys::Random { state, count } => {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                // The high half times the count: no division.
                ((*state >> 32) * *count) >> 32
            }
            Keys::Sequence { next, end } => {
                let key = (*next).min(*end - 1);
                *next += 1;
                key
            }
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, Keys::Sequence { next, end } if next >= end)
    }
}

struct Conn {
    stream: TcpStream,
    requests: Vec<u8>,
    /// How much of `requests` the socket has taken.
    written: usize,
    /// Replies of the present batch that are still to come: bytes or lines.
    pending: usize,
    first_byte_seen: bool,
}

/// Connections that each have one batch of requests on the way, all the time.
pub struct Generator {
    op: Op,
    pipeline: usize,
    template: Template,
    /// Requests so far.
    turn: u64,
    keys: Keys,
    digits: Digits,
    epoll: Epoll,
    conns: Vec<Conn>,
    started: bool,
    buffer: Vec<u8>,
}

pub struct Epoll(i32);

impl Epoll {
    pub fn new() -> Epoll {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0, "epoll_create1: {}", io::Error::last_os_error());
        Epoll(fd)
    }

    pub fn watch(&self, stream: &TcpStream, number: usize, write_too: bool, known: bool) {
        let interest = libc::EPOLLIN | if write_too { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: interest as u32, u64: number as u64 };
        let order = if known { libc::EPOLL_CTL_MOD } else { libc::EPOLL_CTL_ADD };
        // SAFETY: the event lives through the call, which only reads it.
        let done = unsafe { libc::epoll_ctl(self.0, order, stream.as_raw_fd(), &mut event) };
        assert!(done == 0, "epoll_ctl: {}", io::Error::last_os_error());
    }

    pub fn wait(&self, events: &mut [libc::epoll_event], timeout_ms: i32) -> usize {
        // SAFETY: the kernel writes at most `len` events into the slice.
        let count = unsafe { libc::epoll_wait(self.0, events.as_mut_ptr(), events.len() as i32, timeout_ms) };
        count.max(0) as usize
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        // SAFETY: the descriptor is this value's own.
        unsafe { libc::close(self.0) };
    }
}

const STALL: Duration = Duration::from_secs(20);
pub const EVENTS: usize = 512;

impl Generator {
    /// Random keys below `keys`.
    pub fn new(port: u16, op: Op, pipeline: usize, connections: usize, keys: u64) -> Generator {
        Generator::with_keys(port, op, pipeline, connections, Keys::Random { state: 0x2545_F491_4F6C_DD1D, count: keys })
    }

    /// Sets every key below `keys` once (the last ones a few times).
    pub fn fill(port: u16, op: Op, keys: u64) {
        let mut generator = Generator::with_keys(port, op, 64, 8, Keys::Sequence { next: 0, end: keys });
        while !generator.keys.is_done() {
            generator.run(Duration::from_millis(50));
        }
        generator.finish();
    }

    fn with_keys(port: u16, op: Op, pipeline: usize, connections: usize, keys: Keys) -> Generator {
        let template = op.template();
        let epoll = Epoll::new();
        let conns: Vec<Conn> = (0..connections)
            .map(|number| {
                let stream = connect(port);
                epoll.watch(&stream, number, false, false);
                Conn { stream, requests: template.bytes.repeat(pipeline), written: 0, pending: 0, first_byte_seen: false }
            })
            .collect();
        Generator { op, pipeline, template, turn: 0, keys, digits: Digits::new(), epoll, conns, started: false, buffer: vec![0; 256 * 1024] }
    }

    /// Drives all connections for this long; how many replies came.
    pub fn run(&mut self, span: Duration) -> u64 {
        if !self.started {
            self.started = true;
            for number in 0..self.conns.len() {
                self.start_batch(number);
            }
        }
        self.drive(span, true)
    }

    /// Waits for the replies that are still to come and sends no more.
    pub fn finish(mut self) {
        while self.conns.iter().any(|conn| conn.pending > 0) {
            self.drive(Duration::from_millis(10), false);
        }
    }

    fn drive(&mut self, span: Duration, go_on: bool) -> u64 {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let (start, mut batches, mut last) = (Instant::now(), 0, Instant::now());
        loop {
            let count = self.epoll.wait(&mut events, 10);
            let now = Instant::now();
            if count > 0 {
                last = now;
            }
            assert!(now - last < STALL, "the server answers nothing for {STALL:?}");
            for event in &events[..count] {
                let number = event.u64 as usize;
                if event.events & libc::EPOLLOUT as u32 != 0 {
                    self.write(number);
                }
                if event.events & !(libc::EPOLLOUT as u32) != 0 && self.read(number) {
                    batches += 1;
                    if go_on && !self.keys.is_done() {
                        self.start_batch(number);
                    }
                }
            }
            if now - start >= span {
                return batches * self.pipeline as u64;
            }
        }
    }

    fn start_batch(&mut self, number: usize) {
        let conn = &mut self.conns[number];
        for request in conn.requests.chunks_exact_mut(self.template.bytes.len()) {
            self.turn += 1;
            self.template.patch(&self.digits, request, self.keys.next(), self.turn);
        }
        conn.written = 0;
        conn.first_byte_seen = false;
        conn.pending = self.pipeline * self.op.reply_bytes().unwrap_or(1);
        self.write(number);
    }

    fn write(&mut self, number: usize) {
        let conn = &mut self.conns[number];
        let had_to_wait = conn.written > 0;
        match conn.stream.write(&conn.requests[conn.written..]) {
            Ok(count) => conn.written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("writing requests: {error}"),
        }
        let must_wait = conn.written < conn.requests.len();
        if must_wait || had_to_wait {
            self.epoll.watch(&conn.stream, number, must_wait, true);
        }
    }

    /// Takes what the server sent; true when the batch is complete.
    fn read(&mut self, number: usize) -> bool {
        let conn = &mut self.conns[number];
        let count = match conn.stream.read(&mut self.buffer) {
            Ok(0) => panic!("the server closed a connection of the load"),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => panic!("reading replies: {error}"),
        };
        if !conn.first_byte_seen {
            conn.first_byte_seen = true;
            let text = || String::from_utf8_lossy(&self.buffer[..count.min(100)]).into_owned();
            assert!(self.buffer[0] == self.op.sign(), "unexpected reply to {}: {}", self.op.name(), text());
        }
        let got = match self.op.reply_bytes() {
            Some(_) => count,
            None => memchr::memchr_iter(b'\n', &self.buffer[..count]).count(),
        };
        assert!(got <= conn.pending, "more replies to {} than requests", self.op.name());
        conn.pending -= got;
        conn.pending == 0
    }
}

pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connecting the load");
    stream.set_nodelay(true).expect("setting TCP_NODELAY");
    stream.set_nonblocking(true).expect("setting O_NONBLOCK");
    stream
}

/// One request of `op` for a key, for loads that send one at a time.
pub struct Single {
    template: Template,
    bytes: Vec<u8>,
    turn: u64,
    digits: Digits,
    keys: Keys,
}

impl Single {
    pub fn new(op: Op, keys: u64) -> Single {
        let template = op.template();
        let bytes = template.bytes.clone();
        Single { template, bytes, turn: 0, digits: Digits::new(), keys: Keys::Random { state: 0x9E37_79B9_7F4A_7C15, count: keys } }
    }

    pub fn next(&mut self) -> &[u8] {
        self.turn += 1;
        let key = self.keys.next();
        self.template.patch(&self.digits, &mut self.bytes, key, self.turn);
        &self.bytes
    }
}
