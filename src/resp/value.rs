//! Replies as values: the other direction of `Reply`, for clients. Reads RESP3, of which RESP2 is a part, from the front of a buffer: whole values or nothing.
//! A length that is claimed is never allocated before its bytes are there.

use std::fmt;

use crate::types::number::parse_i64;

/// Values nested deeper than this are no reply of any command.
const DEPTH_MAX: usize = 256;

/// A reply, with the types of RESP3.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: no such key, no such field, a time-out.
    Null,
    /// A status such as `OK`.
    Simple(String),
    /// An error inside a reply, as one command of a transaction may have.
    Error(ReplyError),
    /// An integer.
    Int(i64),
    /// A string of bytes.
    Bulk(Vec<u8>),
    /// A floating point number, such as a score.
    Double(f64),
    /// True or false.
    Bool(bool),
    /// A number of any size, in digits.
    BigNumber(String),
    /// A text with a hint of three letters how to show it.
    Verbatim {
        /// `txt` or `mkd`.
        format: String,
        /// The text itself.
        text: Vec<u8>,
    },
    /// Values in order.
    Array(Vec<Value>),
    /// Values whose order means nothing.
    Set(Vec<Value>),
    /// Pairs.
    Map(Vec<(Value, Value)>),
    /// What nobody has asked for: messages of channels.
    Push(Vec<Value>),
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Simple(_) => "status",
            Value::Error(_) => "error",
            Value::Int(_) => "integer",
            Value::Bulk(_) => "string",
            Value::Double(_) => "double",
            Value::Bool(_) => "boolean",
            Value::BigNumber(_) => "big number",
            Value::Verbatim { .. } => "verbatim string",
            Value::Array(_) => "array",
            Value::Set(_) => "set",
            Value::Map(_) => "map",
            Value::Push(_) => "push",
        }
    }
}

/// An error that a command has replied with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyError {
    text: String,
}

impl ReplyError {
    /// From the text of an error reply, which begins with its code.
    pub fn new(text: impl Into<String>) -> Self {
        ReplyError { text: text.into() }
    }

    /// The code as it was sent: `WRONGTYPE`, `ERR`, ...
    pub fn code(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }

    /// The whole text, code and all.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The code as a type.
    pub fn kind(&self) -> ErrorKind {
        match self.code() {
            "ERR" => ErrorKind::General,
            "WRONGTYPE" => ErrorKind::WrongType,
            "READONLY" => ErrorKind::ReadOnly,
            "NOAUTH" | "WRONGPASS" | "NOPERM" => ErrorKind::NotAllowed,
            "LOADING" => ErrorKind::Loading,
            "MASTERDOWN" | "NOMASTERLINK" => ErrorKind::MasterDown,
            "BUSY" => ErrorKind::Busy,
            "EXECABORT" => ErrorKind::Aborted,
            "NOSCRIPT" => ErrorKind::NoScript,
            "OOM" => ErrorKind::OutOfMemory,
            "MISCONF" => ErrorKind::CannotPersist,
            "NOREPLICAS" => ErrorKind::TooFewReplicas,
            "BUSYKEY" => ErrorKind::KeyExists,
            "BUSYGROUP" => ErrorKind::GroupExists,
            "NOGROUP" => ErrorKind::NoGroup,
            "UNBLOCKED" => ErrorKind::Unblocked,
            _ => ErrorKind::Other,
        }
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ReplyError {}

/// What kind of error a command has replied with: its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// `ERR`: wrong arguments, no such command, and whatever has no code of its own.
    General,
    /// `WRONGTYPE`: the key holds another type.
    WrongType,
    /// `READONLY`: a write on a slave.
    ReadOnly,
    /// `NOAUTH`, `WRONGPASS`, `NOPERM`
    NotAllowed,
    /// `LOADING`: the data are not in memory yet.
    Loading,
    /// `MASTERDOWN`, `NOMASTERLINK`: the link to the master is down.
    MasterDown,
    /// `BUSY`: a script runs for too long.
    Busy,
    /// `EXECABORT`: a command was refused while the transaction was queued.
    Aborted,
    /// `NOSCRIPT`: no script with that hash.
    NoScript,
    /// `OOM`: `maxmemory` is reached.
    OutOfMemory,
    /// `MISCONF`: the last save has failed.
    CannotPersist,
    /// `NOREPLICAS`: fewer slaves are there than `min-replicas-to-write`.
    TooFewReplicas,
    /// `BUSYKEY`: RESTORE onto a key that is there.
    KeyExists,
    /// `BUSYGROUP`: the consumer group is there already.
    GroupExists,
    /// `NOGROUP`: no such consumer group.
    NoGroup,
    /// `UNBLOCKED`: a blocking command was ended from outside.
    Unblocked,
    /// A code that is not listed here: a script may reply with any.
    Other,
}

/// The bytes are not RESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what came is not RESP")]
pub struct NotResp;

/// The value at the front of the bytes, with its length; `None` while it is incomplete.
pub fn decode_value(bytes: &[u8]) -> Result<Option<(Value, usize)>, NotResp> {
    let mut parser = Parser { bytes, at: 0 };
    Ok(parser.value(0)?.map(|value| (value, parser.at)))
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    #[inline]
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let end = memchr::memchr(b'\n', rest)?;
        self.at += end + 1;
        Some(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]))
    }

    fn value(&mut self, depth: usize) -> Result<Option<Value>, NotResp> {
        if depth > DEPTH_MAX {
            return Err(NotResp);
        }
        let Some(line) = self.line() else { return Ok(None) };
        let (&kind, rest) = line.split_first().ok_or(NotResp)?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        let number = || parse_i64(rest).ok_or(NotResp);
        Ok(Some(match kind {
            b'$' => match self.bulk(number()?)? {
                Bulk::Whole(bytes) => Value::Bulk(bytes.to_vec()),
                Bulk::Null => Value::Null,
                Bulk::Incomplete => return Ok(None),
            },
            b':' => Value::Int(number()?),
            b'+' => Value::Simple(text()),
            b'-' => Value::Error(ReplyError { text: text() }),
            b'_' => Value::Null,
            b',' => Value::Double(double(rest)?),
            b'#' => Value::Bool(rest == b"t"),
            b'(' => Value::BigNumber(text()),
            b'=' | b'!' => match self.bulk(number()?)? {
                Bulk::Whole(bytes) if kind == b'!' => Value::Error(ReplyError { text: String::from_utf8_lossy(bytes).into_owned() }),
                Bulk::Whole(bytes) => verbatim(bytes)?,
                Bulk::Null => Value::Null,
                Bulk::Incomplete => return Ok(None),
            },
            b'*' | b'~' | b'>' => {
                let len = number()?;
                if len < 0 {
                    return Ok(Some(Value::Null));
                }
                let Some(values) = self.values(len, depth)? else { return Ok(None) };
                match kind {
                    b'*' => Value::Array(values),
                    b'~' => Value::Set(values),
                    _ => Value::Push(values),
                }
            }
            b'%' => {
                let mut pairs = Vec::new();
                for _ in 0..number()? {
                    let (Some(key), Some(value)) = (self.value(depth + 1)?, self.value(depth + 1)?) else { return Ok(None) };
                    pairs.push((key, value));
                }
                Value::Map(pairs)
            }
            _ => return Err(NotResp),
        }))
    }

    fn values(&mut self, len: i64, depth: usize) -> Result<Option<Vec<Value>>, NotResp> {
        let mut values = Vec::new();
        for _ in 0..len {
            match self.value(depth + 1)? {
                Some(value) => values.push(value),
                None => return Ok(None),
            }
        }
        Ok(Some(values))
    }

    #[inline]
    fn bulk(&mut self, len: i64) -> Result<Bulk<'a>, NotResp> {
        let Ok(len) = usize::try_from(len) else { return Ok(Bulk::Null) };
        let rest = &self.bytes[self.at..];
        if rest.len() < len.saturating_add(2) {
            return Ok(Bulk::Incomplete);
        }
        if &rest[len..len + 2] != b"\r\n" {
            return Err(NotResp);
        }
        self.at += len + 2;
        Ok(Bulk::Whole(&rest[..len]))
    }
}

enum Bulk<'a> {
    Whole(&'a [u8]),
    Null,
    Incomplete,
}

fn double(text: &[u8]) -> Result<f64, NotResp> {
    // `inf`, `-inf` and `nan` are spelled so in Rust as well.
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(NotResp)
}

fn verbatim(bytes: &[u8]) -> Result<Value, NotResp> {
    match bytes {
        [a, b, c, b':', text @ ..] => Ok(Value::Verbatim { format: String::from_utf8_lossy(&[*a, *b, *c]).into_owned(), text: text.to_vec() }),
        _ => Err(NotResp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Proto, Reply};

    #[test]
    fn every_type_is_read_whole_or_not_at_all() {
        let mut reply = Reply::new(Proto::Resp3);
        reply.array(12);
        reply.bulk(b"a\r\n");
        reply.int(-3);
        reply.null();
        reply.map(1);
        reply.simple("k");
        reply.set(1);
        reply.bool(true);
        reply.double(f64::NEG_INFINITY);
        reply.double(1.5);
        reply.error("WRONGTYPE of key");
        reply.big_number("123456789012345678901");
        reply.verbatim("txt", b"some");
        reply.bulk(b"");
        reply.push(1);
        reply.int(1);
        reply.array(0);
        let expected = Value::Array(vec![
            Value::Bulk(b"a\r\n".to_vec()),
            Value::Int(-3),
            Value::Null,
            Value::Map(vec![(Value::Simple("k".to_owned()), Value::Set(vec![Value::Bool(true)]))]),
            Value::Double(f64::NEG_INFINITY),
            Value::Double(1.5),
            Value::Error(ReplyError::new("WRONGTYPE of key")),
            Value::BigNumber("123456789012345678901".to_owned()),
            Value::Verbatim { format: "txt".to_owned(), text: b"some".to_vec() },
            Value::Bulk(Vec::new()),
            Value::Push(vec![Value::Int(1)]),
            Value::Array(Vec::new()),
        ]);
        for end in 0..reply.buf.len() {
            assert_eq!(decode_value(&reply.buf[..end]), Ok(None), "{end} bytes");
        }
        assert_eq!(decode_value(&reply.buf), Ok(Some((expected, reply.buf.len()))));
        assert_eq!(decode_value(b"$-1\r\n*-1\r\n"), Ok(Some((Value::Null, 5))));
    }

    #[test]
    fn garbage_is_refused_and_lies_cost_nothing() {
        let deep = b"*1\r\n".repeat(DEPTH_MAX + 2);
        for bytes in [&b"?\r\n"[..], b"$1\r\nabc\r\n", b":x\r\n", b"\r\n", b"=2\r\nab\r\n", b",x\r\n", &deep] {
            assert_eq!(decode_value(bytes), Err(NotResp));
        }
        for bytes in [&b"*2000000000\r\n"[..], b"%2000000000\r\n", b"$9223372036854775807\r\n"] {
            assert_eq!(decode_value(bytes), Ok(None));
        }
    }

    #[test]
    fn codes_are_types() {
        let kind = |text: &str| ReplyError::new(text).kind();
        assert_eq!(
            [kind("ERR syntax error"), kind("WRONGTYPE x"), kind("MYCODE x"), kind("")],
            [ErrorKind::General, ErrorKind::WrongType, ErrorKind::Other, ErrorKind::Other]
        );
    }
}
