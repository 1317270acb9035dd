//! A small RESP client over a host's network, for tests. Its time-outs are virtual.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::env::{Env, Socket};

/// A reply. RESP3's aggregates keep their elements in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    Double(String),
    Bool(bool),
    /// `*`, `~` and `>`.
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// The text of a simple string, error, bulk, number or double; empty for the rest.
    pub fn text(&self) -> String {
        match self {
            Value::Simple(text) | Value::Error(text) | Value::Double(text) => text.clone(),
            Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Int(n) => n.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Map(_) => String::new(),
        }
    }

    pub fn is_ok(&self) -> bool {
        *self == Value::Simple("OK".to_owned())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("(nil)"),
            Value::Bool(value) => value.fmt(f),
            Value::Array(values) => f.debug_list().entries(values.iter().map(Value::to_string)).finish(),
            Value::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(key, value)| (key.to_string(), value.to_string()))).finish(),
            _ => f.write_str(&self.text()),
        }
    }
}

/// One connection to a server. After an error it is of no more use.
pub struct SimClient {
    socket: Box<dyn Socket>,
    input: Vec<u8>,
    /// How long a connection or a reply may take; a minute to begin with.
    pub timeout: Duration,
}

const TIMEOUT: Duration = Duration::from_secs(60);
/// Replies nested deeper than this are taken for garbage.
const DEPTH_MAX: usize = 32;

fn garbage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl SimClient {
    /// Connects from `env`'s host.
    pub async fn connect(env: &Env, host: &str, port: u16) -> io::Result<SimClient> {
        let socket = tokio::time::timeout(TIMEOUT, env.net.connect(host, port, None)).await??;
        Ok(SimClient { socket, input: Vec::new(), timeout: TIMEOUT })
    }

    /// Sends one command and awaits its reply.
    pub async fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Value> {
        self.send(args).await?;
        self.reply().await
    }

    /// A command given as words without blanks in them.
    pub async fn line(&mut self, command: &str) -> io::Result<Value> {
        let words: Vec<&str> = command.split_whitespace().collect();
        self.command(&words).await
    }

    /// Sends one command and does not wait.
    pub async fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
            request.extend_from_slice(arg.as_ref());
            request.extend_from_slice(b"\r\n");
        }
        self.write(&request).await
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let socket = &mut self.socket;
        let write = async {
            let mut rest = bytes;
            while !rest.is_empty() {
                match socket.try_write(rest) {
                    Ok(n) => rest = &rest[n..],
                    Err(full) if full.kind() == io::ErrorKind::WouldBlock => std::future::poll_fn(|cx| socket.poll_write_ready(cx)).await?,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        tokio::time::timeout(self.timeout, write).await?
    }

    /// The next reply or push.
    pub async fn reply(&mut self) -> io::Result<Value> {
        let deadline = tokio::time::Instant::now() + self.timeout;
        loop {
            let mut parser = Parser { bytes: &self.input, at: 0 };
            if let Some(value) = parser.value(0)? {
                let used = parser.at;
                self.input.drain(..used);
                return Ok(value);
            }
            if tokio::time::timeout_at(deadline, self.read()).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads what comes next into the buffer of bytes that are not yet a reply. 0 is the server's end.
    pub async fn read(&mut self) -> io::Result<usize> {
        let (socket, input) = (&mut self.socket, &mut self.input);
        std::future::poll_fn(|cx| socket.poll_read(cx, input, 16 << 10)).await
    }

    /// Takes the bytes read so far, whatever they are.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// DEBUG DIGEST.
    pub async fn digest(&mut self) -> io::Result<String> {
        match self.command(&["DEBUG", "DIGEST"]).await? {
            Value::Error(error) => Err(io::Error::other(error)),
            value => Ok(value.text()),
        }
    }

    /// One field of a section of INFO, if it is there.
    pub async fn info(&mut self, section: &str, field: &str) -> io::Result<Option<String>> {
        let text = self.command(&["INFO", section]).await?.text();
        let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(found.map(str::to_owned))
    }
}

/// Reads a reply from the front of the bytes; `None` while it is incomplete.
struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn line(&mut self) -> io::Result<Option<String>> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
        self.at += end + 2;
        String::from_utf8(rest[..end].to_vec()).map(Some).map_err(|_| garbage("a line that is not UTF-8"))
    }

    fn value(&mut self, depth: usize) -> io::Result<Option<Value>> {
        if depth > DEPTH_MAX {
            return Err(garbage("a reply nested too deep"));
        }
        let Some(line) = self.line()? else { return Ok(None) };
        let mut chars = line.chars();
        let kind = chars.next().ok_or_else(|| garbage("an empty line"))?;
        let rest = chars.as_str();
        let number = || rest.parse::<i64>().map_err(|_| garbage("a bad length"));
        match kind {
            '+' => Ok(Some(Value::Simple(rest.to_owned()))),
            '-' => Ok(Some(Value::Error(rest.to_owned()))),
            ':' => Ok(Some(Value::Int(number()?))),
            ',' | '(' => Ok(Some(Value::Double(rest.to_owned()))),
            '_' => Ok(Some(Value::Null)),
            '#' => Ok(Some(Value::Bool(rest == "t"))),
            '$' | '=' => self.bulk(number()?),
            '!' => Ok(self.bulk(number()?)?.map(|error| Value::Error(error.text()))),
            '*' | '~' | '>' => self.array(number()?, depth),
            '%' => {
                let flat = self.array(number()?.saturating_mul(2), depth)?;
                let Some(Value::Array(flat)) = flat else { return Ok(None) };
                Ok(Some(Value::Map(flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())))
            }
            _ => Err(garbage("an unknown kind of reply")),
        }
    }

    fn bulk(&mut self, len: i64) -> io::Result<Option<Value>> {
        let Ok(len) = usize::try_from(len) else { return Ok(Some(Value::Null)) };
        let end = self.at.saturating_add(len);
        let Some(bytes) = self.bytes.get(self.at..end) else { return Ok(None) };
        match self.bytes.get(end..end.saturating_add(2)) {
            None => Ok(None),
            Some(b"\r\n") => {
                self.at = end + 2;
                Ok(Some(Value::Bulk(bytes.to_vec())))
            }
            Some(_) => Err(garbage("a bulk without its end")),
        }
    }

    fn array(&mut self, len: i64, depth: usize) -> io::Result<Option<Value>> {
        if len < 0 {
            return Ok(Some(Value::Null));
        }
        let mut values = Vec::new();
        for _ in 0..len {
            match self.value(depth + 1)? {
                Some(value) => values.push(value),
                None => return Ok(None),
            }
        }
        Ok(Some(Value::Array(values)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> io::Result<Option<(Value, usize)>> {
        let mut parser = Parser { bytes, at: 0 };
        Ok(parser.value(0)?.map(|value| (value, parser.at)))
    }

    #[test]
    fn replies_are_read_whole_or_not_at_all() {
        let reply = b"*4\r\n$2\r\na\r\r\n:-3\r\n$-1\r\n%1\r\n+k\r\n~1\r\n#t\r\n";
        let expected = Value::Array(vec![
            Value::Bulk(b"a\r".to_vec()),
            Value::Int(-3),
            Value::Null,
            Value::Map(vec![(Value::Simple("k".to_owned()), Value::Array(vec![Value::Bool(true)]))]),
        ]);
        for end in 0..reply.len() {
            assert_eq!(parse(&reply[..end]).unwrap(), None, "{end} bytes");
        }
        assert_eq!(parse(reply).unwrap(), Some((expected, reply.len())));
    }

    #[test]
    fn garbage_is_an_error() {
        for bytes in [&b"?\r\n"[..], b"$1\r\nabc\r\n", b":x\r\n", b"\r\n", &b"*1\r\n".repeat(40)] {
            assert_eq!(parse(bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
