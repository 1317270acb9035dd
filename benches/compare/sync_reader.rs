//! The slave of a full sync that is measured: reads as fast as its link is, and does nothing with what it reads, so that the master is what is measured.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Client, offset};

/// What the kernel may hold of a slow link: little, so that the link's speed is what the master sees.
const SLOW_WINDOW_BYTES: usize = 256 << 10;
/// How long a sync may take, or its reader be without news.
const PATIENCE: Duration = Duration::from_secs(600);

/// A slave that only reads.
pub struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: Instant,
    /// Where the snapshot was cut.
    cut: u64,
    link: Link,
}

/// How fast bytes may be read.
struct Link {
    bytes_a_second: Option<u64>,
    start: Instant,
    read: u64,
}

impl Link {
    /// Lets the time pass that these bytes take.
    fn pass(&mut self, bytes: usize) {
        self.read += bytes as u64;
        if let Some(rate) = self.bytes_a_second {
            let due = Duration::from_nanos((self.read as f64 * 1e9 / rate as f64) as u64);
            std::thread::sleep(due.saturating_sub(self.start.elapsed()));
        }
    }
}

/// How a sync went.
pub struct Times {
    pub snapshot: Duration,
    pub caught_up: Duration,
    pub snapshot_bytes: u64,
}

const MARK_BYTES: usize = 40;

impl Reader {
    /// Asks for a full sync, by a link of so many bytes a second.
    pub fn attach(port: u16, bytes_a_second: Option<u64>) -> Reader {
        let start = Instant::now();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("making a socket");
        if bytes_a_second.is_some() {
            socket.set_recv_buffer_size(SLOW_WINDOW_BYTES).expect("setting the window");
        }
        socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("connecting the reader");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("setting a time-out");
        stream.set_nodelay(true).expect("setting TCP_NODELAY");
        let link = Link { bytes_a_second, start, read: 0 };
        // A slow link is read often and little at a time.
        let buffer = vec![0; if bytes_a_second.is_some() { 32 << 10 } else { 256 << 10 }];
        let mut reader = Reader { stream, buffer, start, cut: 0, link };
        for line in ["REPLCONF listening-port 1\r\n", "REPLCONF capa eof capa psync2\r\n"] {
            reader.stream.write_all(line.as_bytes()).expect("shaking hands");
            assert_eq!(reader.line(), "+OK");
        }
        // Redis refuses PSYNC from a client that has replies to read, so it does not share a write with the others.
        reader.stream.write_all(b"PSYNC ? -1\r\n").expect("asking for a sync");
        let answer = reader.line();
        let position = answer.strip_prefix("+FULLRESYNC ").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        reader.cut = position.unwrap_or_else(|| panic!("no full sync: {answer}"));
        reader
    }

    fn some(&mut self, most: usize) -> usize {
        loop {
            match self.stream.read(&mut self.buffer[..most]) {
                Ok(0) => panic!("the master closed the link"),
                Ok(count) => {
                    self.link.pass(count);
                    return count;
                }
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    assert!(self.start.elapsed() < PATIENCE, "the sync does not end");
                }
                Err(error) => panic!("reading the link: {error}"),
            }
        }
    }

    /// The next line of the handshake that is not empty, byte by byte so as to leave what follows.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            self.some(1);
            match self.buffer[0] {
                b'\n' if !line.is_empty() => return String::from_utf8_lossy(&line).into_owned(),
                b'\r' | b'\n' => {}
                byte => line.push(byte),
            }
        }
    }

    fn ack(&mut self, offset: u64) {
        let text = offset.to_string();
        let request = format!("*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n${}\r\n{text}\r\n", text.len());
        self.stream.write_all(request.as_bytes()).expect("sending an ACK");
    }

    /// Reads the snapshot, then the stream until it has everything that was written up to the snapshot's end: how long both took.
    pub fn follow(mut self, client: &mut Client) -> Times {
        let header = self.line();
        let before = self.link.read;
        match header.strip_prefix("$EOF:") {
            Some(mark) => self.read_to_mark(mark.as_bytes()),
            None => {
                let mut left: usize = header[1..].parse().expect("a length");
                while left > 0 {
                    left -= self.some(left.min(self.buffer.len()));
                }
            }
        }
        let (snapshot, snapshot_bytes) = (self.start.elapsed(), self.link.read - before);
        let goal = offset(client);
        let mut have = self.cut;
        let mut acked = Instant::now();
        self.ack(have);
        while have < goal {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => panic!("the master closed the link"),
                Ok(count) => {
                    have += count as u64;
                    self.link.pass(count);
                }
                Err(_) => assert!(self.start.elapsed() < PATIENCE, "the stream does not start"),
            }
            if acked.elapsed() > Duration::from_millis(100) {
                acked = Instant::now();
                self.ack(have);
            }
        }
        Times { snapshot, caught_up: self.start.elapsed(), snapshot_bytes }
    }

    /// No byte follows the mark before the first ACK, so only the end of what was read matters.
    fn read_to_mark(&mut self, mark: &[u8]) {
        let mut tail = Vec::new();
        while tail != mark {
            let count = self.some(self.buffer.len());
            tail.extend_from_slice(&self.buffer[count.saturating_sub(MARK_BYTES)..count]);
            let surplus = tail.len().saturating_sub(MARK_BYTES);
            tail.drain(..surplus);
        }
    }
}
