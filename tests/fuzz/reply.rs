//! Replies as they are on the wire: where one ends, and its parts when two of them are not the same to the byte.

use std::fmt;

/// Types by their first byte, so that a number that one server sends as a string is not the number that the other sends.
#[derive(Clone, PartialEq)]
pub enum Reply {
    /// Simple strings, errors, numbers, nulls: all that is one line.
    Line(u8, Vec<u8>),
    Blob(u8, Vec<u8>),
    /// Arrays, sets, pushes; a map's keys and values in turn.
    Items(u8, Vec<Reply>),
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Reply {
        let (reply, end) = parse(bytes, 0);
        assert_eq!(end, bytes.len(), "more than one reply");
        reply
    }

    pub fn number(&self) -> Option<i64> {
        match self {
            Reply::Line(b':', digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
            _ => None,
        }
    }

    pub fn items(&self) -> Option<&[Reply]> {
        match self {
            Reply::Items(_, items) => Some(items),
            _ => None,
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Line(b'-', _))
    }

    pub fn is_line(&self, kind: u8, text: &str) -> bool {
        matches!(self, Reply::Line(of, line) if *of == kind && line == text.as_bytes())
    }

    /// What OBJECT ENCODING says of a key that is there.
    pub fn encoding(&self) -> Option<String> {
        match self {
            Reply::Blob(_, name) => Some(String::from_utf8_lossy(name).into_owned()),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<String> {
        match self {
            Reply::Line(_, bytes) | Reply::Blob(_, bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Reply::Items(..) => None,
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Line(kind, line) => write!(f, "{}{}", *kind as char, line.escape_ascii()),
            Reply::Blob(b'$', bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Reply::Blob(kind, bytes) => write!(f, "{}\"{}\"", *kind as char, bytes.escape_ascii()),
            Reply::Items(b'*', items) => f.debug_list().entries(items).finish(),
            Reply::Items(kind, items) => {
                write!(f, "{}", *kind as char)?;
                f.debug_list().entries(items).finish()
            }
        }
    }
}

fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    bytes[from..].windows(2).position(|pair| pair == b"\r\n").map(|at| from + at)
}

fn length(line: &[u8]) -> i64 {
    std::str::from_utf8(line).ok().and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("a length: {:?}", line.escape_ascii().to_string()))
}

/// Where the reply that begins at `from` ends, if all of it is there.
pub fn end_of_reply(bytes: &[u8], mut from: usize) -> Option<usize> {
    let mut open: u64 = 1;
    while open > 0 {
        let kind = *bytes.get(from)?;
        let end = line_end(bytes, from + 1)?;
        let line = from + 1..end;
        from = end + 2;
        open -= 1;
        match kind {
            b'$' | b'=' | b'!' => match length(&bytes[line]) {
                -1 => {}
                length => {
                    from += length as usize + 2;
                    if from > bytes.len() {
                        return None;
                    }
                }
            },
            b'*' | b'~' | b'>' => open += length(&bytes[line]).max(0) as u64,
            b'%' => open += 2 * length(&bytes[line]) as u64,
            // An attribute comes before the reply that it belongs to.
            b'|' => open += 2 * length(&bytes[line]) as u64 + 1,
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {}
            _ => panic!("no reply: {:?}", bytes[from.saturating_sub(40)..].escape_ascii().to_string()),
        }
    }
    Some(from)
}

fn parse(bytes: &[u8], from: usize) -> (Reply, usize) {
    let kind = bytes[from];
    let end = line_end(bytes, from + 1).expect("a whole reply");
    let line = &bytes[from + 1..end];
    let mut next = end + 2;
    let reply = match kind {
        b'$' | b'*' if line == b"-1" => Reply::Line(kind, line.to_vec()),
        b'$' | b'=' | b'!' => {
            let length = length(line) as usize;
            next += length + 2;
            Reply::Blob(kind, bytes[end + 2..next - 2].to_vec())
        }
        b'*' | b'~' | b'>' | b'%' | b'|' => {
            let count = length(line) as usize;
            let count = if matches!(kind, b'%' | b'|') { 2 * count } else { count };
            let mut items = Vec::new();
            for _ in 0..count {
                let (item, end) = parse(bytes, next);
                items.push(item);
                next = end;
            }
            Reply::Items(kind, items)
        }
        _ => Reply::Line(kind, line.to_vec()),
    };
    (reply, next)
}
