//! A small blocking client for RESP2 and RESP3. Every read has a time-out, so that a server that hangs fails its test.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A reply.
#[derive(Clone, PartialEq)]
pub enum Value {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Double(f64),
    Bool(bool),
    Big(String),
    Verbatim(Vec<u8>),
}

impl Value {
    pub fn ok() -> Value {
        Value::Simple("OK".to_owned())
    }

    pub fn bulk(text: impl AsRef<[u8]>) -> Value {
        Value::Bulk(text.as_ref().to_vec())
    }

    /// The text of a string, simple or bulk; panics on other replies.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Value::Simple(text) => text.clone(),
            Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Verbatim(bytes) => String::from_utf8_lossy(&bytes[4..]).into_owned(),
            other => panic!("no string: {other:?}"),
        }
    }

    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Value::Int(number) => *number,
            other => panic!("no integer: {other:?}"),
        }
    }

    #[track_caller]
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => items,
            other => panic!("no array: {other:?}"),
        }
    }

    /// The items of an array as texts, sorted: for KEYS and the like.
    #[track_caller]
    pub fn sorted_texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.items().iter().map(Value::text).collect();
        texts.sort();
        texts
    }

    pub fn is_error(&self, code: &str) -> bool {
        matches!(self, Value::Error(text) if text.split(' ').next() == Some(code))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Simple(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::Int(number) => write!(f, ":{number}"),
            Value::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Value::Verbatim(bytes) => write!(f, "=\"{}\"", bytes.escape_ascii()),
            Value::Nil => write!(f, "nil"),
            Value::Array(items) => f.debug_list().entries(items).finish(),
            Value::Set(items) => f.debug_set().entries(items).finish(),
            Value::Push(items) => write!(f, ">{items:?}"),
            Value::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(key, value)| (key, value))).finish(),
            Value::Double(number) => write!(f, ",{number}"),
            Value::Bool(truth) => write!(f, "#{truth}"),
            Value::Big(digits) => write!(f, "({digits}"),
        }
    }
}

/// The words as a multi-bulk request, appended to `out`.
pub fn encode<A: AsRef<[u8]>>(out: &mut Vec<u8>, words: &[A]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
        out.extend_from_slice(word.as_ref());
        out.extend_from_slice(b"\r\n");
    }
}

pub struct Client {
    pub reader: BufReader<TcpStream>,
    pub peer: SocketAddr,
}

/// How many requests `pipeline` has on the way at once: few enough that the replies fit into socket buffers.
const PIPELINE_MAX: usize = 500;

impl Client {
    /// Connects to a port of this machine.
    #[track_caller]
    pub fn connect(port: u16) -> Client {
        Client::try_connect(port).unwrap_or_else(|error| panic!("connecting to port {port}: {error}"))
    }

    pub fn try_connect(port: u16) -> io::Result<Client> {
        let peer = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&peer, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        let mut client = Client { reader: BufReader::with_capacity(64 * 1024, stream), peer };
        client.patience(Duration::from_secs(60))?;
        Ok(client)
    }

    /// How long a read or a write may take.
    pub fn patience(&mut self, limit: Duration) -> io::Result<()> {
        self.stream().set_read_timeout(Some(limit))?;
        self.stream().set_write_timeout(Some(limit))
    }

    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Value {
        self.try_command(words).unwrap_or_else(|error| panic!("{:?}: {error}", words[0].as_ref().escape_ascii().to_string()))
    }

    /// A command as one would type it; for words without spaces.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> Value {
        self.command(&line.split_ascii_whitespace().collect::<Vec<_>>())
    }

    /// As `run`, for a command that must say OK.
    #[track_caller]
    pub fn ok(&mut self, line: &str) {
        let reply = self.run(line);
        assert_eq!(reply, Value::ok(), "{line}");
    }

    pub fn try_command<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<Value> {
        let mut request = Vec::new();
        encode(&mut request, words);
        self.send(&request)?;
        self.reply()
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Sends many requests without waiting for each; the replies in order.
    #[track_caller]
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, requests: &[Vec<A>]) -> Vec<Value> {
        self.try_pipeline(requests).unwrap_or_else(|error| panic!("a pipeline: {error}"))
    }

    pub fn try_pipeline<A: AsRef<[u8]>>(&mut self, requests: &[Vec<A>]) -> io::Result<Vec<Value>> {
        let mut replies = Vec::with_capacity(requests.len());
        for part in requests.chunks(PIPELINE_MAX) {
            let mut bytes = Vec::new();
            for request in part {
                encode(&mut bytes, request);
            }
            self.send(&bytes)?;
            for _ in part {
                replies.push(self.reply()?);
            }
        }
        Ok(replies)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\r\n") {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("closed within a line: {:?}", line.escape_ascii().to_string())));
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn blob(&mut self, length: i64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize + 2];
        self.reader.read_exact(&mut bytes)?;
        assert!(bytes.ends_with(b"\r\n"), "a bulk string without its line end");
        bytes.truncate(length as usize);
        Ok(bytes)
    }

    fn replies(&mut self, count: i64) -> io::Result<Vec<Value>> {
        (0..count).map(|_| self.reply()).collect()
    }

    /// The next reply (or push) that the server sends.
    pub fn reply(&mut self) -> io::Result<Value> {
        let line = self.line()?;
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, format!("no reply: {line:?}"));
        if line.is_empty() || !line.is_char_boundary(1) {
            return Err(unknown());
        }
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().map_err(|_| unknown());
        Ok(match kind {
            "+" => Value::Simple(rest.to_owned()),
            "-" => Value::Error(rest.to_owned()),
            ":" => Value::Int(number()?),
            "$" | "*" if rest == "-1" => Value::Nil,
            "$" => Value::Bulk(self.blob(number()?)?),
            "=" => Value::Verbatim(self.blob(number()?)?),
            "*" => Value::Array(self.replies(number()?)?),
            "~" => Value::Set(self.replies(number()?)?),
            ">" => Value::Push(self.replies(number()?)?),
            "%" => {
                let flat = self.replies(number()? * 2)?;
                Value::Map(flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
            }
            "_" => Value::Nil,
            "," => Value::Double(rest.parse().map_err(|_| unknown())?),
            "#" => Value::Bool(rest == "t"),
            "(" => Value::Big(rest.to_owned()),
            _ => return Err(unknown()),
        })
    }

    /// Reads on until the server closes; true if it does within the client's patience.
    pub fn closed_by_server(&mut self) -> bool {
        let mut scratch = [0; 4096];
        loop {
            match self.reader.read(&mut scratch) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => return true,
                Err(_) => return false,
            }
        }
    }
}
