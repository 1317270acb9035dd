//! Replies in RESP2 and RESP3, and commands as requests (for the replication stream and for links).

/// The protocol that a client has chosen with HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    #[default]
    Resp2,
    Resp3,
}

/// A buffer of encoded replies for one client. RESP3 types fall back to their RESP2 forms as in Redis.
#[derive(Default)]
pub struct Reply {
    pub buf: Vec<u8>,
    pub proto: Proto,
}

impl Reply {
    pub fn new(proto: Proto) -> Self {
        Reply { buf: Vec::new(), proto }
    }
    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }
    /// `+text`
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }
    /// `-text`, where `text` begins with its code; CR and LF become spaces, but for those at the end.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }
    /// `:n`
    #[inline]
    pub fn int(&mut self, n: i64) {
        match u8::try_from(n) {
            Ok(digit @ 0..=9) => self.buf.extend_from_slice(&[b':', b'0' + digit, b'\r', b'\n']),
            _ => header(&mut self.buf, b':', n),
        }
    }
    /// `$len` and the bytes
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        bulk(&mut self.buf, bytes);
    }
    /// An integer as a bulk string, as GET of an integer value.
    #[inline]
    pub fn bulk_int(&mut self, n: i64) {
        self.bulk(itoa::Buffer::new().format(n).as_bytes());
    }
    /// `$-1`, in RESP3 `_`
    #[inline]
    pub fn null(&mut self) {
        let text: &[u8] = if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" };
        self.buf.extend_from_slice(text);
    }
    /// `*-1`, in RESP3 `_`
    pub fn null_array(&mut self) {
        let text: &[u8] = if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" };
        self.buf.extend_from_slice(text);
    }
    pub fn array(&mut self, len: usize) {
        length(&mut self.buf, b'*', len);
    }
    /// RESP3 `%pairs`, RESP2 an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        match self.proto {
            Proto::Resp2 => self.array(pairs * 2),
            Proto::Resp3 => length(&mut self.buf, b'%', pairs),
        }
    }
    /// RESP3 `~len`, RESP2 an array.
    pub fn set(&mut self, len: usize) {
        let kind = if self.is_resp3() { b'~' } else { b'*' };
        length(&mut self.buf, kind, len);
    }
    /// RESP3 `>len`, RESP2 an array.
    pub fn push(&mut self, len: usize) {
        let kind = if self.is_resp3() { b'>' } else { b'*' };
        length(&mut self.buf, kind, len);
    }
    /// RESP3 `,d`, RESP2 a bulk string; `inf`, `-inf`, `nan` spelled as in Redis; the shortest digits that round-trip, as Redis does since 7.2.
    pub fn double(&mut self, d: f64) {
        let mut buffer = crate::types::number::DoubleBuf::default();
        let text = buffer.reply(d);
        match self.proto {
            Proto::Resp2 => self.bulk(text.as_bytes()),
            Proto::Resp3 => self.line(b',', text),
        }
    }
    /// RESP3 `#t`/`#f`, RESP2 `:1`/`:0`
    pub fn bool(&mut self, b: bool) {
        match self.proto {
            Proto::Resp2 => self.int(i64::from(b)),
            Proto::Resp3 => self.buf.extend_from_slice(if b { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }
    /// RESP3 `=len fmt:text` (fmt of three letters, "txt"), RESP2 a bulk string.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        assert_eq!(format.len(), 3, "a verbatim format has three letters");
        if !self.is_resp3() {
            return self.bulk(text);
        }
        length(&mut self.buf, b'=', text.len() + 4);
        self.buf.extend_from_slice(format.as_bytes());
        self.buf.push(b':');
        self.buf.extend_from_slice(text);
        self.buf.extend_from_slice(b"\r\n");
    }
    /// RESP3 `(digits`, RESP2 a bulk string.
    pub fn big_number(&mut self, digits: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(digits.as_bytes()),
            Proto::Resp3 => self.line(b'(', digits),
        }
    }

    fn is_resp3(&self) -> bool {
        self.proto == Proto::Resp3
    }

    /// A line can't hold a line end; Redis puts blanks there.
    fn line(&mut self, kind: u8, text: &str) {
        // As Redis does: line ends at the end are dropped, others become spaces.
        let text = text.trim_end_matches(['\r', '\n']);
        self.buf.reserve(text.len() + 3);
        self.buf.push(kind);
        let start = self.buf.len();
        self.buf.extend_from_slice(text.as_bytes());
        for byte in &mut self.buf[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.buf.extend_from_slice(b"\r\n");
    }
}

/// Appends `*n $len arg ...` to `out`.
pub fn encode_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    length(out, b'*', args.len());
    for arg in args {
        bulk(out, arg);
    }
}

#[inline]
fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 32);
    length(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// One or two digits, which is nearly every length there is, go out as one array.
#[inline]
fn length(out: &mut Vec<u8>, kind: u8, len: usize) {
    let digit = |n: usize| b'0' + n as u8;
    match len {
        0..=9 => out.extend_from_slice(&[kind, digit(len), b'\r', b'\n']),
        10..=99 => out.extend_from_slice(&[kind, digit(len / 10), digit(len % 10), b'\r', b'\n']),
        _ => header(out, kind, len as i64),
    }
}

fn header(out: &mut Vec<u8>, kind: u8, n: i64) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(n).as_bytes();
    out.reserve(digits.len() + 3);
    out.push(kind);
    out.extend_from_slice(digits);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `write` encodes in RESP2 and in RESP3.
    fn both(write: impl Fn(&mut Reply)) -> [String; 2] {
        [Proto::Resp2, Proto::Resp3].map(|proto| {
            let mut reply = Reply::new(proto);
            write(&mut reply);
            String::from_utf8(reply.buf).unwrap()
        })
    }

    #[test]
    fn types_of_resp2_are_the_same_in_both() {
        let same = |write: fn(&mut Reply), text: &str| assert_eq!(both(write), [text, text]);
        same(Reply::ok, "+OK\r\n");
        same(|reply| reply.simple("PONG"), "+PONG\r\n");
        same(|reply| reply.error("ERR a\r\nb"), "-ERR a  b\r\n");
        same(|reply| reply.error("ERR a\r\n"), "-ERR a\r\n");
        same(|reply| reply.int(0), ":0\r\n");
        same(|reply| reply.int(10), ":10\r\n");
        same(|reply| reply.int(i64::MIN), ":-9223372036854775808\r\n");
        same(|reply| reply.bulk(b""), "$0\r\n\r\n");
        same(|reply| reply.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n");
        same(|reply| reply.bulk_int(-12), "$3\r\n-12\r\n");
        same(|reply| reply.array(0), "*0\r\n");
        same(|reply| reply.array(123456), "*123456\r\n");
    }

    #[test]
    fn lengths_are_written_at_every_width() {
        for len in [0, 9, 10, 99, 100, 999, 1000, 65536] {
            let [text, _] = both(|reply| reply.bulk(&vec![b'x'; len]));
            assert_eq!(text, format!("${len}\r\n{}\r\n", "x".repeat(len)));
        }
    }

    #[test]
    fn types_of_resp3_fall_back() {
        assert_eq!(both(Reply::null), ["$-1\r\n", "_\r\n"]);
        assert_eq!(both(Reply::null_array), ["*-1\r\n", "_\r\n"]);
        assert_eq!(both(|reply| reply.map(2)), ["*4\r\n", "%2\r\n"]);
        assert_eq!(both(|reply| reply.set(2)), ["*2\r\n", "~2\r\n"]);
        assert_eq!(both(|reply| reply.push(3)), ["*3\r\n", ">3\r\n"]);
        assert_eq!(both(|reply| reply.bool(true)), [":1\r\n", "#t\r\n"]);
        assert_eq!(both(|reply| reply.bool(false)), [":0\r\n", "#f\r\n"]);
        assert_eq!(both(|reply| reply.double(1.5)), ["$3\r\n1.5\r\n", ",1.5\r\n"]);
        assert_eq!(both(|reply| reply.double(f64::NEG_INFINITY)), ["$4\r\n-inf\r\n", ",-inf\r\n"]);
        assert_eq!(both(|reply| reply.verbatim("txt", b"some\r\n")), ["$6\r\nsome\r\n\r\n", "=10\r\ntxt:some\r\n\r\n"]);
        assert_eq!(both(|reply| reply.big_number("12345678901234567890")), ["$20\r\n12345678901234567890\r\n", "(12345678901234567890\r\n"]);
    }

    #[test]
    fn commands_are_requests() {
        let mut out = b"x".to_vec();
        encode_command(&mut out, &[b"SET", b"key", &[0xff; 12]]);
        assert_eq!(out, [b"x*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$12\r\n".as_slice(), &[0xff; 12], b"\r\n"].concat());
    }
}
