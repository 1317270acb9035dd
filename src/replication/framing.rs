//! The framing of a snapshot, as a slave reads it: `$<len>` and so many bytes, `$EOF:<mark>` and bytes up to the same mark, or `$CHUNKS:<sync id>` and
//! chunks. Owns how far the frame has been read and nothing else: payload is handed on as slices of the caller's own buffer, and bytes that may be the beginning
//! of the mark are left there, so that nothing is copied and no claimed size is ever allocated.

use memchr::memmem::Finder;

use super::LinkError;
use super::chunks::{CHUNKS_HEADER, ChunkFraming, ChunkPos, Chunked, SyncId};

/// Length of the mark after `$EOF:`.
const MARK_BYTES: usize = 40;

/// A line of a peer that has no end within this many bytes ends the link.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a peer's line that an error quotes.
const QUOTE_BYTES_MAX: usize = 200;

/// How a snapshot is framed, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotForm {
    /// So many bytes follow.
    Length(u64),
    /// Bytes up to a mark follow.
    Mark,
    /// Chunks follow, from this place on.
    Chunks(ChunkPos),
}

/// What the frame's next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// The header has been read.
    Header(SnapshotForm),
    Payload(&'a [u8]),
    /// A whole chunk; how many thousandths of the sync have come with it, and the place behind it.
    Chunk {
        bytes: &'a [u8],
        permille: u16,
        at: ChunkPos,
    },
    /// The frame is over; what follows is the stream.
    End,
}

enum State {
    Header,
    Length { left: u64 },
    Mark { finder: Box<Finder<'static>> },
    Chunks(ChunkFraming),
    Done,
}

/// Reads one frame.
pub struct SnapshotFraming {
    state: State,
    /// Where the reader would like to go on in a snapshot of chunks.
    resume: Option<ChunkPos>,
}

impl SnapshotFraming {
    /// `resume`: what the reader has of a snapshot already. It goes on there if the header names the same one.
    pub fn new(resume: Option<ChunkPos>) -> Self {
        SnapshotFraming { state: State::Header, resume }
    }

    /// Reads from the front of `input`: how many bytes are used up, and what they were. Without an event more bytes are needed; the next
    /// call must begin with those not used up.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Framed<'a>>), LinkError> {
        match &mut self.state {
            State::Header => self.header(input),
            State::Length { left: 0 } => {
                self.state = State::Done;
                Ok((0, Some(Framed::End)))
            }
            State::Length { left } => {
                let n = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= n as u64;
                Ok((n, (n > 0).then_some(Framed::Payload(&input[..n]))))
            }
            State::Mark { finder } => match finder.find(input) {
                Some(0) => {
                    self.state = State::Done;
                    Ok((MARK_BYTES, Some(Framed::End)))
                }
                // The mark itself is left for the next call.
                Some(at) => Ok((at, Some(Framed::Payload(&input[..at])))),
                None => {
                    let n = input.len() - withheld(input, finder.needle());
                    Ok((n, (n > 0).then_some(Framed::Payload(&input[..n]))))
                }
            },
            State::Chunks(chunks) => {
                let (used, event) = chunks.next(input)?;
                let event = event.map(|event| match event {
                    Chunked::Chunk { bytes, permille, at } => Framed::Chunk { bytes, permille, at },
                    Chunked::End => {
                        self.state = State::Done;
                        Framed::End
                    }
                });
                Ok((used, event))
            }
            State::Done => Ok((0, None)),
        }
    }

    fn header<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Framed<'a>>), LinkError> {
        let mut used = 0;
        // Blank lines say that the master still prepares the snapshot.
        while let Some((line, len)) = next_line(&input[used..])? {
            used += len;
            if !line.is_empty() {
                let (state, form) = parse_header(line, self.resume)?;
                self.state = state;
                return Ok((used, Some(Framed::Header(form))));
            }
        }
        Ok((used, None))
    }
}

fn parse_header(line: &[u8], resume: Option<ChunkPos>) -> Result<(State, SnapshotForm), LinkError> {
    if let Some(id) = line.strip_prefix(CHUNKS_HEADER) {
        let id = SyncId::parse(id).ok_or_else(|| LinkError::Protocol(format!("bad sync id: {}", quote(line))))?;
        let at = resume.filter(|at| at.id == id).unwrap_or(ChunkPos::start(id));
        return Ok((State::Chunks(ChunkFraming::new(at)), SnapshotForm::Chunks(at)));
    }
    match line {
        [b'-', ..] => Err(LinkError::from_error_line(line)),
        [b'$', b'E', b'O', b'F', b':', mark @ ..] if mark.len() == MARK_BYTES => {
            Ok((State::Mark { finder: Box::new(Finder::new(mark).into_owned()) }, SnapshotForm::Mark))
        }
        [b'$', digits @ ..] => {
            let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let len = std::str::from_utf8(digits).ok().filter(|_| all_digits).and_then(|text| text.parse::<i64>().ok());
            let len = len.ok_or_else(|| LinkError::Protocol(format!("bad length of the snapshot: {}", quote(line))))? as u64;
            Ok((State::Length { left: len }, SnapshotForm::Length(len)))
        }
        _ => Err(LinkError::Protocol(format!("the snapshot begins with {} in place of '$'", quote(line)))),
    }
}

/// How many bytes at the end of `input` may be the beginning of the mark.
fn withheld(input: &[u8], mark: &[u8]) -> usize {
    (1..mark.len().min(input.len() + 1)).rev().find(|n| mark.starts_with(&input[input.len() - n..])).unwrap_or(0)
}

/// The line at the front without its end, and its length with it; `None` if its end has not come yet.
pub(super) fn next_line(input: &[u8]) -> Result<Option<(&[u8], usize)>, LinkError> {
    let window = &input[..input.len().min(LINE_BYTES_MAX)];
    match memchr::memchr(b'\n', window) {
        Some(end) => {
            let line = &window[..end];
            Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1)))
        }
        None if window.len() == LINE_BYTES_MAX => Err(LinkError::Protocol(format!("no end of line within {LINE_BYTES_MAX} bytes: {}", quote(input)))),
        None => Ok(None),
    }
}

/// The beginning of a peer's line, made fit for a log line.
pub(super) fn quote(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(QUOTE_BYTES_MAX)]);
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARK: &[u8; 40] = b"0123456789abcdef0123456789abcdef01234567";

    /// The size told, the payload, and what is left after the end, if it has come.
    type Frame = (Option<u64>, Vec<u8>, Option<Vec<u8>>);

    /// Feeds `session` in pieces that end at `cuts`.
    fn read(session: &[u8], cuts: &[usize]) -> Result<Frame, LinkError> {
        let mut framing = SnapshotFraming::new(None);
        let (mut size, mut payload, mut begun, mut ended) = (None, Vec::new(), false, false);
        let (mut buf, mut from) = (Vec::new(), 0);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (session.len() + 1)).collect();
        ends.push(session.len());
        ends.sort();
        for end in ends {
            buf.extend_from_slice(&session[from..end]);
            from = end;
            while !ended {
                let (used, event) = framing.next(&buf)?;
                match event {
                    Some(Framed::Header(SnapshotForm::Length(told))) => (size, begun) = (Some(told), true),
                    Some(Framed::Header(_)) => begun = true,
                    Some(Framed::Chunk { bytes, .. }) => payload.extend_from_slice(bytes),
                    Some(Framed::Payload(bytes)) => payload.extend_from_slice(bytes),
                    Some(Framed::End) => ended = true,
                    None => {
                        buf.drain(..used);
                        break;
                    }
                }
                buf.drain(..used);
            }
            assert!(!begun || ended || buf.len() < MARK_BYTES, "no more than a part of the mark stays in the buffer");
        }
        Ok((size, payload, ended.then_some(buf)))
    }

    fn marked(payload: &[u8], rest: &[u8]) -> Vec<u8> {
        [b"\n\n$EOF:", &MARK[..], b"\r\n", payload, MARK, rest].concat()
    }

    #[test]
    fn a_length_ends_exactly_there() {
        let session = b"\n$11\r\nhello\r\n\0\xff**1\r\n$4\r\nPING\r\n".to_vec();
        for cut in 0..session.len() {
            let (size, payload, rest) = read(&session, &[cut]).unwrap();
            assert_eq!((size, &payload[..]), (Some(11), &b"hello\r\n\0\xff**"[..]));
            assert_eq!(rest.as_deref(), Some(&b"1\r\n$4\r\nPING\r\n"[..]));
        }
        assert_eq!(read(b"$0\r\nx", &[]).unwrap(), (Some(0), vec![], Some(b"x".to_vec())));
    }

    #[test]
    fn a_mark_split_anywhere_ends_the_payload_and_none_of_it_is_given_out() {
        // The payload ends with a prefix of the mark and holds others, so that a search that forgets or keeps too much shows.
        let payload = [&b"REDIS0011"[..], &MARK[..39], b"x", &MARK[..16], &MARK[..20]].concat();
        let session = marked(&payload, b"*1\r\n");
        for cut in 0..session.len() {
            for second in [0, cut + 1, cut + 7] {
                let (size, got, rest) = read(&session, &[cut, second]).unwrap();
                assert_eq!((size, &got), (None, &payload));
                assert_eq!(rest.as_deref(), Some(&b"*1\r\n"[..]));
            }
        }
    }

    #[test]
    fn a_frame_without_its_end_is_not_over() {
        let session = marked(b"abc", b"");
        let (_, payload, rest) = read(&session[..session.len() - 1], &[]).unwrap();
        assert_eq!((&payload[..], rest), (&b"abc"[..], None));
        assert_eq!(read(b"$5\r\nabcd", &[]).unwrap().2, None);
    }

    #[test]
    fn chunks_go_on_where_the_same_snapshot_was_left() {
        let (id, other) = (SyncId::parse(MARK).unwrap(), SyncId::parse(&[b'a'; 40]).unwrap());
        let chunk =
            |number: u64| format!("@{number} 2 {:016x} 1000\r\nhi@end {} {}\r\n*1", crate::rdb::crc64(b"hi"), number + 1, number * 262_144 + 2);
        let had = |id| ChunkPos { id, next: 3, bytes: 3 * 262_144 };
        for (resume, number) in [(None, 0), (Some(had(other)), 0), (Some(had(id)), 3)] {
            let session = [b"\n$CHUNKS:", &MARK[..], b"\r\n", chunk(number).as_bytes()].concat();
            let mut framing = SnapshotFraming::new(resume);
            let (mut used, mut events) = (0, Vec::new());
            while let (n, Some(event)) = framing.next(&session[used..]).unwrap() {
                used += n;
                events.push(event);
            }
            let begin = if number == 0 { ChunkPos::start(id) } else { had(id) };
            let at = ChunkPos { id, next: number + 1, bytes: begin.bytes + 2 };
            assert_eq!(events, [Framed::Header(SnapshotForm::Chunks(begin)), Framed::Chunk { bytes: b"hi", permille: 1000, at }, Framed::End]);
            assert_eq!(&session[used..], b"*1");
        }
        assert!(matches!(read(b"$CHUNKS:abc\r\n", &[]), Err(LinkError::Protocol(_))));
    }

    #[test]
    fn false_headers_are_refused_without_panic() {
        let long = [&b"$"[..], &vec![b'1'; LINE_BYTES_MAX]].concat();
        let short_mark = b"$EOF:0123\r\n".to_vec();
        for bad in [&b"$-1\r\n"[..], b"$\r\n", b"$+5\r\n", b"$99999999999999999999\r\n", b"hello\r\n", b"$ 5\r\n", b"$5x\n", &short_mark, &long] {
            assert!(matches!(read(bad, &[]), Err(LinkError::Protocol(_))), "{}", quote(bad));
        }
        // The biggest length that can be told costs nothing.
        assert_eq!(read(b"$9223372036854775807\r\nab", &[]).unwrap(), (Some(i64::MAX as u64), b"ab".to_vec(), None));
        assert_eq!(read(b"-LOADING x\r\n", &[]).unwrap_err(), LinkError::RetryLater("-LOADING x".to_owned()));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_payload(
            pieces in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..50),
                (0usize..40).prop_map(|n| MARK[..n].to_vec()),
                (1usize..40).prop_map(|n| MARK[n..].to_vec()),
            ], 0..20),
            rest in prop::collection::vec(any::<u8>(), 0..20),
            cuts in prop::collection::vec(any::<usize>(), 0..20),
        ) {
            let payload = pieces.concat();
            // Chance may put a whole mark together; the first one ends the payload, however it is read.
            let whole = [&payload[..], MARK, &rest].concat();
            let at = whole.windows(40).position(|window| window == MARK).unwrap();
            let (_, got, left) = read(&marked(&payload, &rest), &cuts).unwrap();
            prop_assert_eq!(&got[..], &whole[..at]);
            prop_assert_eq!(left.as_deref(), Some(&whole[at + 40..]));
            let framed = [format!("${}\r\n", payload.len()).as_bytes(), &payload, &rest].concat();
            let (_, got, left) = read(&framed, &cuts).unwrap();
            prop_assert_eq!(got, payload);
            prop_assert_eq!(left, Some(rest));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(any::<usize>(), 0..5)) {
            let _ = read(&[b"$EOF:", &bytes[..]].concat(), &cuts);
            let _ = read(&bytes, &cuts);
        }
    }
}
