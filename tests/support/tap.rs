//! A replica made by hand: attaches to any server by PSYNC or SYNC, keeps the snapshot's bytes, and yields the stream's commands, so that
//! tests can assert what was propagated.

use std::io::{self, BufRead, Read};
use std::time::{Duration, Instant};

use super::client::Value;
use super::{Client, SOON};

pub struct TapOptions {
    /// Says `capa eof`; without it the snapshot comes with its length.
    pub eof: bool,
    /// Sends the old SYNC in the place of the handshake and PSYNC.
    pub plain_sync: bool,
    /// Continues a history from this next byte on.
    pub continue_from: Option<(String, u64)>,
    pub password: Option<String>,
    /// Where it says that it is reached.
    pub listening_port: u16,
}

impl Default for TapOptions {
    fn default() -> Self {
        TapOptions { eof: true, plain_sync: false, continue_from: None, password: None, listening_port: 1 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `$EOF:` and a mark of 40 bytes.
    Mark,
    Length,
    /// The stream continued, without a snapshot.
    None,
}

pub struct StreamTap {
    client: Client,
    pub framing: Framing,
    /// Empty after a plain SYNC.
    pub replid: String,
    /// Where the snapshot was cut, or where the stream continued.
    pub start: u64,
    /// Bytes of the stream read so far, counted as a slave counts them.
    pub offset: u64,
    pub snapshot: Vec<u8>,
}

const MARK_BYTES: usize = 40;
const ACK_EVERY: Duration = Duration::from_millis(100);

impl StreamTap {
    #[track_caller]
    pub fn attach(port: u16) -> StreamTap {
        StreamTap::with(port, TapOptions::default())
    }

    #[track_caller]
    pub fn with(port: u16, options: TapOptions) -> StreamTap {
        StreamTap::try_with(port, &options).unwrap_or_else(|error| panic!("attaching as a replica to port {port}: {error}"))
    }

    pub fn try_with(port: u16, options: &TapOptions) -> io::Result<StreamTap> {
        let client = Client::try_connect(port)?;
        let mut tap = StreamTap { client, framing: Framing::None, replid: String::new(), start: 0, offset: 0, snapshot: Vec::new() };
        if options.plain_sync {
            tap.client.send(b"SYNC\r\n")?;
            tap.read_snapshot()?;
            return Ok(tap);
        }
        tap.handshake(options)?;
        let (replid, next) = options.continue_from.clone().unwrap_or_else(|| ("?".to_owned(), 0));
        let next_byte = if replid == "?" { "-1".to_owned() } else { next.to_string() };
        tap.request(&["PSYNC", &replid, &next_byte])?;
        let answer = tap.line()?;
        match answer.split_ascii_whitespace().collect::<Vec<_>>()[..] {
            ["+FULLRESYNC", replid, offset] => {
                tap.replid = replid.to_owned();
                tap.start = offset.parse().map_err(|_| invalid(&answer))?;
                tap.offset = tap.start;
                tap.read_snapshot()?;
            }
            ["+CONTINUE"] | ["+CONTINUE", _] => {
                tap.replid = answer.split_ascii_whitespace().nth(1).map_or(replid, str::to_owned);
                tap.start = next - 1;
                tap.offset = tap.start;
            }
            _ => return Err(invalid(&answer)),
        }
        Ok(tap)
    }

    fn handshake(&mut self, options: &TapOptions) -> io::Result<()> {
        self.expect(&["PING"], "PONG")?;
        if let Some(password) = &options.password {
            self.expect(&["AUTH", password], "OK")?;
        }
        self.expect(&["REPLCONF", "listening-port", &options.listening_port.to_string()], "OK")?;
        if options.eof {
            self.expect(&["REPLCONF", "capa", "eof", "capa", "psync2"], "OK")
        } else {
            self.expect(&["REPLCONF", "capa", "psync2"], "OK")
        }
    }

    fn request(&mut self, words: &[&str]) -> io::Result<()> {
        let mut bytes = Vec::new();
        super::client::encode(&mut bytes, words);
        self.client.send(&bytes)
    }

    fn expect(&mut self, words: &[&str], reply: &str) -> io::Result<()> {
        self.request(words)?;
        match self.client.reply()? {
            // Errors come to PING before AUTH.
            Value::Error(text) if words[0] == "PING" && text.starts_with("NOAUTH") => Ok(()),
            answer if answer == Value::Simple(reply.to_owned()) => Ok(()),
            answer => Err(invalid(&format!("{words:?} -> {answer:?}"))),
        }
    }

    /// A line of the handshake; empty ones are signs of life.
    fn line(&mut self) -> io::Result<String> {
        loop {
            let mut line = Vec::new();
            self.client.reader.read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if !line.is_empty() {
                return Ok(line);
            }
        }
    }

    fn read_snapshot(&mut self) -> io::Result<()> {
        let header = self.line()?;
        let header = header.strip_prefix('$').ok_or_else(|| invalid(&header))?.to_owned();
        match header.strip_prefix("EOF:") {
            Some(mark) if mark.len() == MARK_BYTES => {
                self.framing = Framing::Mark;
                self.read_to_mark(mark.as_bytes())?;
                self.ack()
            }
            Some(_) => Err(invalid(&header)),
            None => {
                self.framing = Framing::Length;
                let length: u64 = header.parse().map_err(|_| invalid(&header))?;
                (&mut self.client.reader).take(length).read_to_end(&mut self.snapshot)?;
                if self.snapshot.len() as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
            }
        }
    }

    /// No byte of the stream may follow the mark before the first ACK, so everything up to there is read greedily.
    fn read_to_mark(&mut self, mark: &[u8]) -> io::Result<()> {
        while !self.snapshot.ends_with(mark) {
            let part = self.client.reader.fill_buf()?;
            if part.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.snapshot.extend_from_slice(part);
            let count = part.len();
            self.client.reader.consume(count);
        }
        self.snapshot.truncate(self.snapshot.len() - mark.len());
        Ok(())
    }

    /// Tells the master how far this replica is.
    pub fn ack(&mut self) -> io::Result<()> {
        let offset = self.offset.to_string();
        self.request(&["REPLCONF", "ACK", &offset])
    }

    /// The next command of the stream, whatever it is, with `offset` moved past it.
    #[track_caller]
    pub fn next(&mut self) -> Vec<Vec<u8>> {
        self.try_next().unwrap_or_else(|error| panic!("reading the stream: {error}"))
    }

    pub fn try_next(&mut self) -> io::Result<Vec<Vec<u8>>> {
        self.wait_for_bytes()?;
        let (count, mut bytes) = self.number(b'*')?;
        let mut words = Vec::new();
        for _ in 0..count {
            let (length, header) = self.number(b'$')?;
            let mut word = vec![0; length as usize + 2];
            self.client.reader.read_exact(&mut word)?;
            bytes += header + word.len() as u64;
            if word.split_off(length as usize) != b"\r\n" {
                return Err(invalid("a bulk string without its line end"));
            }
            words.push(word);
        }
        self.offset += bytes;
        Ok(words)
    }

    /// Waits for the stream to go on, with ACKs meanwhile as a slave sends them: after `$EOF` a real master starts the stream on the first
    /// ACK that comes once its child is gone, and ignores earlier ones.
    fn wait_for_bytes(&mut self) -> io::Result<()> {
        if !self.client.reader.buffer().is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        self.client.patience(ACK_EVERY)?;
        loop {
            match self.client.reader.fill_buf() {
                Ok([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return self.client.patience(SOON),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) && start.elapsed() < SOON => self.ack()?,
                Err(error) => return Err(error),
            }
        }
    }

    /// So many bytes of the stream as they come.
    #[track_caller]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.client.reader.read_exact(&mut bytes).unwrap_or_else(|error| panic!("reading the stream: {error}"));
        self.offset += count as u64;
        bytes
    }

    /// A number after its sign, and the bytes of its line.
    fn number(&mut self, sign: u8) -> io::Result<(u64, u64)> {
        let mut line = Vec::new();
        self.client.reader.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let strict = line.first() == Some(&sign) && line.ends_with(b"\r\n");
        let number = strict.then(|| text[1..text.len() - 2].parse().ok()).flatten();
        number.map(|number| (number, line.len() as u64)).ok_or_else(|| invalid(&text))
    }

    /// The next command that changes data, as text: pings and requests for an ACK are left out, SELECT is not.
    #[track_caller]
    pub fn effect(&mut self) -> Vec<String> {
        loop {
            let words: Vec<String> = self.next().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            if !words[0].eq_ignore_ascii_case("ping") && !words[0].eq_ignore_ascii_case("replconf") {
                return words;
            }
        }
    }

    /// The effects up to and without one that begins with these words.
    #[track_caller]
    pub fn effects_until(&mut self, end: &[&str]) -> Vec<Vec<String>> {
        let mut effects = Vec::new();
        loop {
            let effect = self.effect();
            if effect.iter().zip(end).filter(|(have, want)| have.eq_ignore_ascii_case(want)).count() == end.len() {
                return effects;
            }
            effects.push(effect);
        }
    }

    /// True if the master closes the link within this time; what comes before is thrown away.
    pub fn closed_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        let mut scratch = [0; 64 * 1024];
        let _ = self.client.patience(Duration::from_millis(100));
        while start.elapsed() < limit {
            match self.client.reader.read(&mut scratch) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(_) => return true,
            }
        }
        false
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
