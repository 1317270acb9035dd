//! The request decoder: multi-bulk and inline requests, in slices of the buffer they came in, with limits.
//! Remembers how far it came in an incomplete request, so that a request in many pieces is read once.

use std::ops::Index;

use crate::types::number::parse_i64;
use crate::types::split::split_into;

/// One argument's place, relative to the start of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgRange {
    pub start: u32,
    pub len: u32,
}

/// The arguments of one request: the command's name first. Slices of the request's bytes; cheap to copy.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [ArgRange],
}

impl<'a> Args<'a> {
    /// `bytes` starts where the request starts.
    pub fn new(bytes: &'a [u8], ranges: &'a [ArgRange]) -> Self {
        Args { bytes, ranges }
    }

    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The argument at `index`; panics beyond the end, which arity checks exclude.
    pub fn at(&self, index: usize) -> &'a [u8] {
        let range = self.ranges[index];
        &self.bytes[range.start as usize..(range.start + range.len) as usize]
    }

    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        (index < self.len()).then(|| self.at(index))
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone + use<'a> {
        let this = *self;
        (0..this.len()).map(move |i| this.at(i))
    }

    /// The arguments from `first` on.
    pub fn tail(&self, first: usize) -> Args<'a> {
        Args { bytes: self.bytes, ranges: &self.ranges[first.min(self.ranges.len())..] }
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}

/// Bounds on what one request may claim.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`. Before AUTH 16384 holds.
    pub bulk_bytes_max: usize,
    /// Arguments of a request. Before AUTH 10 holds.
    pub args_max: usize,
    /// Bytes of an inline request or of a length line without a line end: 64 KiB.
    pub line_bytes_max: usize,
    /// True before AUTH: tighter bounds, and errors then say "unauthenticated multibulk length" and the like.
    pub unauthenticated: bool,
}

const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16 * 1024;
const UNAUTHENTICATED_ARGS_MAX: usize = 10;

impl Limits {
    /// Redis 7.0's: any number of arguments that an `int` counts, since none of them takes memory before its bytes have come.
    pub fn new(proto_max_bulk_len: u64, unauthenticated: bool) -> Self {
        let bulk_bytes_max = usize::try_from(proto_max_bulk_len).unwrap_or(usize::MAX);
        Limits { bulk_bytes_max, args_max: i32::MAX as usize, line_bytes_max: 64 * 1024, unauthenticated }
    }
}

/// What ends a connection; the text follows `-ERR Protocol error: `.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub struct ProtocolError(pub String);

/// What the bytes at `Decoder::at` are.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Expect {
    /// A new request, of whichever form.
    #[default]
    Request,
    InlineLine,
    /// `*n`
    Count,
    /// `$n`
    BulkLength,
    /// So many bytes and a line end.
    Bulk(usize),
}

/// Progress in the request at the front of a buffer. Between calls it remembers what is read, so no byte is looked at twice.
/// Like Redis it does not check the second byte of a line end, nor the one behind a bulk.
#[derive(Default)]
pub struct Decoder {
    expect: Expect,
    /// Everything of the request before this place is read.
    at: usize,
    /// Bytes from `at` on that are known to hold no line end.
    scanned: usize,
    args_left: usize,
    missing: usize,
    /// The arguments of an incomplete request.
    partial: Vec<ArgRange>,
    /// The arguments of the last inline request, unescaped.
    inline: Option<Vec<u8>>,
}

/// One step's outcome: the bytes do not suffice.
struct Incomplete;

impl Decoder {
    /// Reads one request from the front of `buf` into `args` (cleared first). `Ok(Some(n))`: whole, `n` bytes long; `args` may be
    /// empty (an empty line or `*0`), then there is nothing to execute. `Ok(None)`: more bytes are needed; call again with the same front.
    /// Ranges are of `inline_bytes` where that is there, else of `buf`.
    #[inline]
    pub fn decode(&mut self, buf: &[u8], limits: &Limits, args: &mut Vec<ArgRange>) -> Result<Option<usize>, ProtocolError> {
        args.clear();
        if self.expect == Expect::Request {
            if let Some(end) = decode_plain(buf, limits, args) {
                self.inline = None;
                return Ok(Some(end));
            }
            args.clear();
            match buf.first() {
                None => return Ok(None),
                Some(b'*') => self.expect = Expect::Count,
                Some(_) => self.expect = Expect::InlineLine,
            }
            self.inline = None;
        } else {
            std::mem::swap(args, &mut self.partial);
        }
        let done = if self.expect == Expect::InlineLine { self.inline(buf, limits, args) } else { self.multibulk(buf, limits, args) };
        match done? {
            Ok(end) => {
                self.restart();
                Ok(Some(end))
            }
            Err(Incomplete) => {
                std::mem::swap(args, &mut self.partial);
                Ok(None)
            }
        }
    }

    /// The bytes that the ranges of the last whole request apply to, if it was inline: quotes and escapes are gone from them.
    #[inline]
    pub fn inline_bytes(&self) -> Option<&[u8]> {
        self.inline.as_deref()
    }

    /// How many bytes the request at the front still lacks, where a bulk length has told (0: unknown). A hint for the read size.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// Ready for the next request. An incomplete one may have left a large vector here, which an idle connection should not keep.
    #[inline]
    fn restart(&mut self) {
        self.expect = Expect::Request;
        self.at = 0;
        self.scanned = 0;
        self.missing = 0;
        if self.partial.capacity() > 0 {
            self.partial = Vec::new();
        }
    }

    fn multibulk(&mut self, buf: &[u8], limits: &Limits, args: &mut Vec<ArgRange>) -> Result<Result<usize, Incomplete>, ProtocolError> {
        if self.expect == Expect::Count {
            let Some((count, end)) = self.length_line(buf, limits, "mbulk")? else { return Ok(Err(Incomplete)) };
            self.args_left = check_count(count, limits)?;
            self.at = end;
            self.expect = Expect::BulkLength;
        }
        let (mut at, mut left) = (self.at, self.args_left);
        while left > 0 {
            let len = match self.expect {
                Expect::Bulk(len) => len,
                _ => {
                    self.at = at;
                    let Some((len, end)) = self.length_line(buf, limits, "bulk")? else {
                        self.args_left = left;
                        return Ok(Err(Incomplete));
                    };
                    let len = check_bulk(buf[at], len, limits)?;
                    at = end;
                    len
                }
            };
            let Some(end) = at.checked_add(len).and_then(|end| end.checked_add(2)).filter(|&end| end <= u32::MAX as usize) else {
                return Err(error("invalid bulk length"));
            };
            if end > buf.len() {
                (self.at, self.args_left, self.missing, self.expect) = (at, left, end - buf.len(), Expect::Bulk(len));
                return Ok(Err(Incomplete));
            }
            args.push(ArgRange { start: at as u32, len: len as u32 });
            at = end;
            left -= 1;
            self.expect = Expect::BulkLength;
        }
        Ok(Ok(at))
    }

    /// The number behind the type byte at `self.at`, and the place behind its line. The inner `None` is a malformed number.
    fn length_line(&mut self, buf: &[u8], limits: &Limits, what: &str) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
        match self.line_end(buf, b'\r', limits) {
            Ok(end) if end + 2 <= buf.len() => {
                self.scanned = 0;
                // A line end where the type byte should be leaves no digits.
                Ok(Some((buf.get(self.at + 1..end).and_then(parse_i64), end + 2)))
            }
            Ok(_) => Ok(None),
            Err(too_long) if too_long => Err(ProtocolError(format!("too big {what} count string"))),
            Err(_) => Ok(None),
        }
    }

    /// The place of the line's end. `Err(true)`: the line is longer than it may be. `Err(false)`: its end has not come yet.
    fn line_end(&mut self, buf: &[u8], mark: u8, limits: &Limits) -> Result<usize, bool> {
        let line = buf.get(self.at..).unwrap_or_default();
        let allowed = &line[..line.len().min(limits.line_bytes_max.saturating_add(1))];
        match memchr::memchr(mark, &allowed[self.scanned.min(allowed.len())..]) {
            Some(found) => Ok(self.at + self.scanned + found),
            None => {
                self.scanned = allowed.len();
                Err(line.len() > limits.line_bytes_max)
            }
        }
    }

    #[inline(never)]
    fn inline(&mut self, buf: &[u8], limits: &Limits, args: &mut Vec<ArgRange>) -> Result<Result<usize, Incomplete>, ProtocolError> {
        let end = match self.line_end(buf, b'\n', limits) {
            Ok(end) => end,
            Err(too_long) if too_long => return Err(error("too big inline request")),
            Err(_) => return Ok(Err(Incomplete)),
        };
        let mut bytes = Vec::new();
        let mut start = 0;
        let whole = split_into(&buf[..end], &mut bytes, |end| {
            args.push(ArgRange { start, len: end as u32 - start });
            start = end as u32;
        });
        whole.map_err(|_| error("unbalanced quotes in request"))?;
        self.inline = Some(bytes);
        Ok(Ok(end + 1))
    }
}

/// The request that nearly all are: whole, in its plainest form, of less than 1000 arguments of less than 1000 bytes. `None` says nothing about the
/// request; then the decoder reads it step by step, so that these bytes are looked at twice at most.
#[inline]
fn decode_plain(buf: &[u8], limits: &Limits, args: &mut Vec<ArgRange>) -> Option<usize> {
    if limits.unauthenticated || limits.args_max < 999 || limits.bulk_bytes_max < 999 || limits.line_bytes_max < 8 {
        return None;
    }
    let (count, mut at) = plain_number(buf, 0, b'*')?;
    for _ in 0..count {
        let (len, start) = plain_number(buf, at, b'$')?;
        at = start + len as usize + 2;
        if at > buf.len() {
            return None;
        }
        args.push(ArgRange { start: start as u32, len });
    }
    Some(at)
}

/// A number of one to three digits without a leading zero, with its type byte at `at`, and the place behind its line.
#[inline]
fn plain_number(buf: &[u8], at: usize, kind: u8) -> Option<(u32, usize)> {
    let line: &[u8; 6] = buf.get(at..at + 6)?.first_chunk()?;
    let digit = |i: usize| u32::from(line[i].wrapping_sub(b'0'));
    let (first, second, third) = (digit(1), digit(2), digit(3));
    if line[0] != kind || first > 9 {
        return None;
    }
    if line[2] == b'\r' {
        return Some((first, at + 4));
    }
    if first == 0 || second > 9 {
        return None;
    }
    if line[3] == b'\r' {
        return Some((first * 10 + second, at + 5));
    }
    (third <= 9 && line[4] == b'\r').then_some((first * 100 + second * 10 + third, at + 6))
}

/// `*n`; none or fewer than none is an empty request.
fn check_count(count: Option<i64>, limits: &Limits) -> Result<usize, ProtocolError> {
    let valid_max = if limits.unauthenticated { limits.args_max.max(i32::MAX as usize) } else { limits.args_max };
    let count = count.filter(|&count| count <= 0 || count as usize <= valid_max);
    let count = count.ok_or_else(|| error("invalid multibulk length"))?.max(0) as usize;
    if limits.unauthenticated && count > UNAUTHENTICATED_ARGS_MAX {
        return Err(error("unauthenticated multibulk length"));
    }
    Ok(count)
}

fn check_bulk(kind: u8, len: Option<i64>, limits: &Limits) -> Result<usize, ProtocolError> {
    if kind != b'$' {
        return Err(ProtocolError(format!("expected '$', got '{}'", char::from(kind))));
    }
    let valid_max = if limits.unauthenticated { limits.bulk_bytes_max.max(512 << 20) } else { limits.bulk_bytes_max };
    let len = len.and_then(|len| usize::try_from(len).ok()).filter(|&len| len <= valid_max);
    let len = len.ok_or_else(|| error("invalid bulk length"))?;
    if limits.unauthenticated && len > UNAUTHENTICATED_BULK_BYTES_MAX {
        return Err(error("unauthenticated bulk length"));
    }
    Ok(len)
}

#[cold]
fn error(text: &str) -> ProtocolError {
    ProtocolError(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode_command;
    use proptest::prelude::*;

    type Request = Vec<Vec<u8>>;

    fn limits() -> Limits {
        Limits::new(512 * 1024 * 1024, false)
    }

    /// Everything that `bytes` hold when they come in pieces that end at `cuts`, and the error that ends it. A request leaves the buffer as
    /// soon as it is whole.
    fn read_all(bytes: &[u8], cuts: &[usize], limits: &Limits) -> (Vec<Request>, Option<String>) {
        let (mut decoder, mut ranges, mut requests) = (Decoder::default(), Vec::new(), Vec::new());
        let mut start = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            loop {
                let buf = &bytes[start..cut.clamp(start, bytes.len())];
                match decoder.decode(buf, limits, &mut ranges) {
                    Ok(Some(len)) => {
                        let args = Args::new(decoder.inline_bytes().unwrap_or(buf), &ranges);
                        requests.push(args.iter().map(<[u8]>::to_vec).collect());
                        start += len;
                    }
                    Ok(None) => break,
                    Err(ProtocolError(text)) => return (requests, Some(text)),
                }
            }
        }
        (requests, None)
    }

    fn one(bytes: &[u8]) -> Vec<String> {
        let (requests, error) = read_all(bytes, &[], &limits());
        assert_eq!((requests.len(), error), (1, None), "{bytes:?}");
        requests[0].iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
    }

    fn refusal(bytes: &[u8], limits: &Limits) -> String {
        read_all(bytes, &[], limits).1.unwrap_or_default()
    }

    #[test]
    fn reads_multibulk_and_inline() {
        assert_eq!(one(b"*2\r\n$4\r\nECHO\r\n$11\r\nhello world\r\n"), ["ECHO", "hello world"]);
        assert_eq!(one(b"ECHO  hello\r\n"), ["ECHO", "hello"]);
        assert_eq!(one(b"ECHO \"a b\" 'c'\n"), ["ECHO", "a b", "c"]);
        assert_eq!(one(b"*1\r\n$123\r\n".iter().copied().chain([b'x'; 125]).collect::<Vec<_>>().as_slice()), ["x".repeat(123)]);
        for nothing in ["\r\n", "\n", "  \r\n", "*0\r\n", "*-1\r\n", "*-10\r\n"] {
            assert!(one(nothing.as_bytes()).is_empty(), "{nothing:?}");
        }
        // Redis 7.0 looks at the first byte of a line end only.
        assert_eq!(one(b"*1\rX$4\rXPINGxx"), ["PING"]);
    }

    #[test]
    fn refuses_in_the_words_of_redis() {
        let cases: [(&[u8], &str); 15] = [
            (b"*2147483648\r\n", "invalid multibulk length"),
            (b"*+1\r\n", "invalid multibulk length"),
            (b"*01\r\n", "invalid multibulk length"),
            (b"*\r\n", "invalid multibulk length"),
            (b"*1\r\nX4\r\n", "expected '$', got 'X'"),
            (b"*1\r\n\r\n", "expected '$', got '\r'"),
            (b"*1\r\n$04\r\n", "invalid bulk length"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$\r\n", "invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "invalid bulk length"),
            (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
            (b"ECHO \"a\n", "unbalanced quotes in request"),
            (b"ECHO 'a'b\n", "unbalanced quotes in request"),
            (b"*2147483647\r\n", ""),
            (b"*1\r\n$536870912\r\n", ""),
        ];
        for (bytes, text) in cases {
            assert_eq!(refusal(bytes, &limits()), text, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn bounds_lines_without_an_end() {
        for (front, text) in [("*", "too big mbulk count string"), ("*1\r\n$", "too big bulk count string"), ("", "too big inline request")] {
            let line_start = front.len().saturating_sub(1) * usize::from(front.len() > 1);
            let fits = [front.as_bytes(), &vec![b'1'; 64 * 1024 - (front.len() - line_start)]].concat();
            assert_eq!(refusal(&fits, &limits()), "");
            assert_eq!(refusal(&[&fits, b"1".as_slice()].concat(), &limits()), text);
        }
    }

    #[test]
    fn is_tighter_before_auth() {
        for limits in
            [Limits::new(512 * 1024 * 1024, true), Limits { bulk_bytes_max: 16 << 10, args_max: 10, line_bytes_max: 1 << 16, unauthenticated: true }]
        {
            refuses_before_auth(limits);
        }
    }

    fn refuses_before_auth(limits: Limits) {
        assert_eq!(refusal(b"*11\r\n", &limits), "unauthenticated multibulk length");
        assert_eq!(refusal(b"*10\r\n", &limits), "");
        assert_eq!(refusal(b"*2147483648\r\n", &limits), "invalid multibulk length");
        assert_eq!(refusal(b"*1\r\n$16385\r\n", &limits), "unauthenticated bulk length");
        assert_eq!(refusal(b"*1\r\n$16384\r\n", &limits), "");
        assert_eq!(refusal(b"*1\r\n$536870913\r\n", &limits), "invalid bulk length");
    }

    #[test]
    fn tells_how_much_is_missing() {
        let (mut decoder, mut ranges) = (Decoder::default(), Vec::new());
        assert_eq!(decoder.decode(b"*1\r\n$100\r\nabc", &limits(), &mut ranges), Ok(None));
        assert_eq!(decoder.missing(), 99);
        let whole = [b"*1\r\n$100\r\n".as_slice(), &[b'x'; 102]].concat();
        assert_eq!(decoder.decode(&whole, &limits(), &mut ranges), Ok(Some(whole.len())));
        assert_eq!(decoder.missing(), 0);
    }

    #[test]
    fn claims_take_no_memory() {
        let (mut decoder, mut ranges) = (Decoder::default(), Vec::new());
        assert_eq!(decoder.decode(b"*1000000\r\n$500000000\r\n", &limits(), &mut ranges), Ok(None));
        assert!(ranges.capacity() + decoder.partial.capacity() < 64);
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(requests in prop::collection::vec(prop::collection::vec(any::<Vec<u8>>(), 1..8), 1..5)) {
            let mut bytes = Vec::new();
            for request in &requests {
                encode_command(&mut bytes, &request.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
            prop_assert_eq!(read_all(&bytes, &[], &limits()), (requests, None));
        }

        #[test]
        fn pieces_do_not_matter(
            parts in prop::collection::vec(wire_piece(), 0..12),
            mut cuts in prop::collection::vec(0..200usize, 0..20),
            tight: bool,
        ) {
            let bytes = parts.concat();
            cuts.sort_unstable();
            // Requests that come whole take another way under wide limits.
            let tight_limits = Limits { bulk_bytes_max: 100, args_max: 50, line_bytes_max: 12, unauthenticated: false };
            let limits = if tight { tight_limits } else { limits() };
            let whole = read_all(&bytes, &[], &limits);
            prop_assert_eq!(&read_all(&bytes, &cuts, &limits), &whole);
            let every_byte: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(read_all(&bytes, &every_byte, &limits), whole);
        }
    }

    /// Mostly well-formed pieces of requests, so that random ones get far.
    fn wire_piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            3 => Just(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec()),
            2 => Just(b"*1\r\n".to_vec()),
            1 => (0..1200usize).prop_map(|len| [format!("*1\r\n${len}\r\n").as_bytes(), &vec![b'x'; len + 2]].concat()),
            2 => Just(b"$12\r\nabcdefghijkl\r\n".to_vec()),
            2 => Just(b"GET 'a b'\r\n".to_vec()),
            1 => Just(b"*0\r\n\n".to_vec()),
            1 => "[*$\r\n0-9a\"' ]{0,16}".prop_map(String::into_bytes),
        ]
    }
}
