//! The framing of a snapshot that can be resumed, as a slave reads it: numbered chunks with a checksum each, after the header `$CHUNKS:<sync id>`.
//! Only between two servers of ours, to a slave that has said `capa chunks`.
//!
//! `@<number> <bytes> <crc64, 16 hex digits> <permille>` and the bytes, for each chunk; blank lines between them are signs of life;
//! `@end <number of chunks> <total bytes>` at last. A chunk is handed on when it has come as a whole and its checksum is right, as a slice of the
//! caller's own buffer, which so grows to one chunk at the most. What was handed on stays good whatever comes after it.

use std::fmt;

use super::framing::{next_line, quote};
use super::{LinkError, ReplId};
use crate::env::Random;
use crate::rdb::crc64;

/// Bytes of every chunk but the last one, which may have fewer.
pub const CHUNK_BYTES: u64 = 256 * 1024;

/// How a header begins that says that chunks follow; the sync id is the rest of the line.
pub const CHUNKS_HEADER: &[u8] = b"$CHUNKS:";

/// Names one snapshot of one master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncId(ReplId);

impl SyncId {
    pub fn random(random: &dyn Random) -> Self {
        SyncId(ReplId::random(random))
    }

    /// `None` unless `text` is 40 hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        ReplId::parse(text).map(SyncId)
    }
}

impl fmt::Display for SyncId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place between two chunks of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPos {
    pub id: SyncId,
    /// The number of the chunk behind it.
    pub next: u64,
    /// The bytes of those before it.
    pub bytes: u64,
}

impl ChunkPos {
    pub fn start(id: SyncId) -> Self {
        ChunkPos { id, next: 0, bytes: 0 }
    }
}

/// What comes next in a snapshot of chunks.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunked<'a> {
    /// A whole chunk whose checksum was right.
    Chunk {
        bytes: &'a [u8],
        /// The master's estimate of how much of the sync it ends.
        permille: u16,
        /// The place behind it.
        at: ChunkPos,
    },
    /// All chunks have come; what follows is the stream.
    End,
}

struct Head {
    bytes: usize,
    crc: u64,
    permille: u16,
}

/// Reads the chunks of one snapshot from a place on.
pub struct ChunkFraming {
    at: ChunkPos,
    head: Option<Head>,
}

type Step<'a> = Result<(usize, Option<Chunked<'a>>), LinkError>;

impl ChunkFraming {
    /// The header has been read; the chunk behind `at` comes first.
    pub fn new(at: ChunkPos) -> Self {
        ChunkFraming { at, head: None }
    }

    /// Reads from the front of `input`: how many bytes are used up, and what they were. Without an event more bytes are needed; the next
    /// call must begin with those not used up. Must not be called after the end or an error.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Step<'a> {
        let mut used = 0;
        while self.head.is_none() {
            let Some((line, len)) = next_line(&input[used..])? else { return Ok((used, None)) };
            used += len;
            if let Some(end) = line.strip_prefix(b"@end ") {
                self.check_end(end).ok_or_else(|| wrong("bad end of the snapshot", line))?;
                return Ok((used, Some(Chunked::End)));
            }
            if !line.is_empty() {
                self.head = Some(self.parse_head(line)?);
            }
        }
        let Some(head) = self.head.take_if(|head| input.len() - used >= head.bytes) else { return Ok((used, None)) };
        let bytes = &input[used..used + head.bytes];
        let crc = crc64(bytes);
        if crc != head.crc {
            let number = self.at.next;
            return Err(LinkError::Protocol(format!("chunk {number} of the snapshot says checksum {:016x}, its bytes give {crc:016x}", head.crc)));
        }
        self.at.next += 1;
        self.at.bytes += bytes.len() as u64;
        Ok((used + head.bytes, Some(Chunked::Chunk { bytes, permille: head.permille, at: self.at })))
    }

    fn parse_head(&self, line: &[u8]) -> Result<Head, LinkError> {
        let mut words = line.strip_prefix(b"@").unwrap_or_default().split(|byte| *byte == b' ');
        let mut number = || words.next().and_then(decimal);
        let (Some(chunk), Some(bytes)) = (number(), number()) else { return Err(wrong("bad chunk of the snapshot", line)) };
        let crc = words.next().filter(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit));
        let crc = crc.and_then(|digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        let permille = words.next().and_then(decimal).filter(|permille| *permille <= 1000);
        let (Some(crc), Some(permille), None) = (crc, permille, words.next()) else { return Err(wrong("bad chunk of the snapshot", line)) };
        if chunk != self.at.next {
            return Err(wrong(&format!("chunk {} of the snapshot should follow", self.at.next), line));
        }
        // Behind a shorter one there is none.
        if bytes == 0 || bytes > CHUNK_BYTES || !self.at.bytes.is_multiple_of(CHUNK_BYTES) {
            return Err(wrong("a chunk of the snapshot has a wrong length", line));
        }
        Ok(Head { bytes: bytes as usize, crc, permille: permille as u16 })
    }

    fn check_end(&self, counts: &[u8]) -> Option<()> {
        let mut words = counts.split(|byte| *byte == b' ');
        let (chunks, bytes) = (decimal(words.next()?)?, decimal(words.next()?)?);
        (words.next().is_none() && (chunks, bytes) == (self.at.next, self.at.bytes)).then_some(())
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

fn wrong(what: &str, line: &[u8]) -> LinkError {
    LinkError::Protocol(format!("{what}: {}", quote(line)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &[u8] = b"0123456789abcdef0123456789abcdef01234567";

    fn start() -> ChunkPos {
        ChunkPos::start(SyncId::parse(ID).unwrap())
    }

    fn chunk(number: u64, bytes: &[u8], permille: u32) -> Vec<u8> {
        [format!("@{number} {} {:016x} {permille}\r\n", bytes.len(), crc64(bytes)).as_bytes(), bytes].concat()
    }

    /// A snapshot as its master sends it, from a chunk on, with signs of life between chunks where `alive` says so.
    fn framed(rdb: &[u8], from: u64, alive: impl Fn(u64) -> bool) -> Vec<u8> {
        let mut out = Vec::new();
        let chunks: Vec<&[u8]> = rdb.chunks(CHUNK_BYTES as usize).collect();
        for (number, bytes) in (0..).zip(&chunks).skip(from as usize) {
            if alive(number) {
                out.extend_from_slice(b"\n\n");
            }
            out.extend(chunk(number, bytes, (number as u32 + 1) * 1000 / chunks.len() as u32));
        }
        out.extend(format!("@end {} {}\r\n", chunks.len(), rdb.len()).into_bytes());
        out
    }

    /// What came: the payload, the last permille, the last place, and what is left after the end, if it has come.
    #[derive(Debug, Default, PartialEq)]
    struct Got {
        payload: Vec<u8>,
        permille: u16,
        at: Option<ChunkPos>,
        rest: Option<Vec<u8>>,
        error: Option<LinkError>,
    }

    /// Feeds `session` in pieces that end at `cuts`.
    fn read(from: ChunkPos, session: &[u8], cuts: &[usize]) -> Got {
        let mut framing = ChunkFraming::new(from);
        let mut got = Got::default();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (session.len() + 1)).collect();
        ends.push(session.len());
        ends.sort();
        let (mut buf, mut fed, mut ended) = (Vec::new(), 0, false);
        for end in ends {
            buf.extend_from_slice(&session[fed..end]);
            fed = end;
            while !ended {
                let (used, event) = match framing.next(&buf) {
                    Ok(step) => step,
                    Err(error) => return Got { error: Some(error), ..got },
                };
                let over = event.is_none();
                match event {
                    Some(Chunked::Chunk { bytes, permille, at }) => {
                        got.payload.extend_from_slice(bytes);
                        (got.permille, got.at) = (permille, Some(at));
                    }
                    Some(Chunked::End) => ended = true,
                    None => {}
                }
                buf.drain(..used);
                if over {
                    break;
                }
            }
        }
        got.rest = ended.then_some(buf);
        got
    }

    fn rdb(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at * 31 + at / 977) as u8).collect()
    }

    #[test]
    fn a_snapshot_is_read_from_any_chunk_on() {
        for bytes in [1, 1000, CHUNK_BYTES as usize, CHUNK_BYTES as usize + 1, 3 * CHUNK_BYTES as usize] {
            let rdb = rdb(bytes);
            let chunks = (bytes as u64).div_ceil(CHUNK_BYTES);
            for next in 0..=chunks {
                let had = (next * CHUNK_BYTES).min(bytes as u64);
                let session = [framed(&rdb, next, |number| number == 1), b"*1\r\n".to_vec()].concat();
                let from = ChunkPos { next, bytes: had, ..start() };
                let got = read(from, &session, &[3, 70_000, 300_000]);
                assert_eq!(got.error, None);
                assert_eq!(got.payload, rdb[had as usize..]);
                assert_eq!(got.rest.as_deref(), Some(&b"*1\r\n"[..]));
                if next < chunks {
                    assert_eq!((got.permille, got.at), (1000, Some(ChunkPos { next: chunks, bytes: bytes as u64, ..start() })));
                }
            }
        }
    }

    #[test]
    fn a_broken_chunk_keeps_what_came_before_it() {
        let rdb = rdb(2 * CHUNK_BYTES as usize + 100);
        let whole = framed(&rdb, 0, |_| false);
        let second = whole.windows(3).position(|window| window == b"@1 ").unwrap();
        let mut flipped = whole.clone();
        flipped[second + 1000] ^= 1;
        let got = read(start(), &flipped, &[]);
        assert_eq!((got.at, got.payload), (Some(ChunkPos { next: 1, bytes: CHUNK_BYTES, ..start() }), rdb[..CHUNK_BYTES as usize].to_vec()));
        assert!(got.error.unwrap().to_string().contains("chunk 1 of the snapshot says checksum"));
        let mut renumbered = whole.clone();
        renumbered[second + 1] = b'2';
        let got = read(start(), &renumbered, &[]);
        assert!(got.error.unwrap().to_string().contains("chunk 1 of the snapshot should follow: @2 262144 "));
        // One that has not come as a whole is not given out.
        let got = read(start(), &whole[..whole.len() - 30], &[]);
        assert_eq!((got.at.unwrap().next, got.rest, got.error), (2, None, None));
    }

    #[test]
    fn false_lines_are_refused_without_panic() {
        let good = chunk(0, b"abc", 1000);
        let crc = format!("{:016x}", crc64(b"abc"));
        for bad in [
            "hello\r\n".to_owned(),
            format!("@0 3 {crc}\r\nabc"),
            format!("@0 3 {crc} 1001\r\nabc"),
            format!("@0 3 {crc} 1 1\r\nabc"),
            format!("@0 3 {} 1\r\nabc", &crc[1..]),
            format!("@0 0 {crc} 1\r\n"),
            format!("@0 262145 {crc} 1\r\n"),
            format!("@0 -3 {crc} 1\r\nabc"),
            format!("@ 3 {crc} 1\r\nabc"),
            format!("@99999999999999999999 3 {crc} 1\r\nabc"),
            format!("@0 3 {:>16} 1\r\nabc", "+1"),
            "@end 1 0\r\n".to_owned(),
            "@end 0\r\n".to_owned(),
            "@end 0 0 0\r\n".to_owned(),
            "@\r\n".to_owned(),
            "$5\r\n".to_owned(),
            "@".repeat(70_000),
        ] {
            let got = read(start(), bad.as_bytes(), &[]);
            assert!(matches!(got.error, Some(LinkError::Protocol(_))), "{bad:.60}");
        }
        for bad_end in ["@end 1 4\r\n", "@end 2 3\r\n", "@end 1 3x\r\n", "@1 1 0000000000000000 1000\r\nx"] {
            let got = read(start(), &[&good, bad_end.as_bytes()].concat(), &[]);
            assert_eq!(got.payload, b"abc");
            assert!(matches!(got.error, Some(LinkError::Protocol(_))), "{bad_end}");
        }
        // Claims cost nothing until their bytes come.
        assert_eq!(read(start(), format!("@0 262144 {crc} 1\r\nab").as_bytes(), &[]), Got::default());
    }

    proptest! {
        #[test]
        fn any_cutting_of_the_input_gives_the_same(
            bytes in 0usize..3 * CHUNK_BYTES as usize, alive: u8, cuts in prop::collection::vec(any::<usize>(), 0..20), flip in any::<Option<usize>>(),
        ) {
            let mut session = framed(&rdb(bytes), 0, |number| alive >> number & 1 == 1);
            if let Some(at) = flip {
                let at = at % session.len();
                session[at] ^= 0x20;
            }
            let at_once = read(start(), &session, &[]);
            prop_assert_eq!(&read(start(), &session, &cuts), &at_once);
            if flip.is_none() {
                prop_assert_eq!((at_once.payload, at_once.error), (rdb(bytes), None));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(any::<usize>(), 0..5)) {
            read(start(), &bytes, &cuts);
            read(start(), &[b"@0 ", &bytes[..]].concat(), &cuts);
            read(start(), &[b"@end ", &bytes[..]].concat(), &cuts);
        }
    }
}
