//! The master's end of a snapshot's frame, without I/O: what goes onto the wire next, in each of the three framings, and how much of the sync that is.

use super::{CHUNK_BYTES, SyncId};

/// Bytes asked of the snapshot at a time.
const READ_BYTES: u64 = 256 << 10;

/// What opens a frame of chunks.
fn chunks_line(id: SyncId) -> String {
    format!("$CHUNKS:{id}\r\n")
}

/// Stands before a chunk's bytes; `permille` is the sender's estimate of how much of the whole sync is done with this chunk.
fn chunk_line(number: u64, bytes: usize, crc64: u64, permille: u16) -> String {
    format!("@{number} {bytes} {crc64:016x} {permille}\r\n")
}

/// Ends a frame of chunks; the stream follows at once.
fn end_line(chunks: u64, bytes: u64) -> String {
    format!("@end {chunks} {bytes}\r\n")
}

/// How a slave is told where the snapshot ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendFraming {
    /// `$EOF:` and this mark, which comes again behind the snapshot.
    Mark(String),
    /// `$<length>`, once it is known.
    Length,
    /// In chunks, from this one on.
    Chunks { id: SyncId, first: u64 },
}

/// How much there is of the snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Encoded so far; the snapshot's length once it is `done`.
    pub bytes: u64,
    pub done: bool,
    pub keys_done: u64,
    pub keys_total: u64,
}

impl Made {
    /// The part of the whole sync that so many bytes are: keys captured of all, times bytes sent of those encoded.
    pub fn permille(&self, sent: u64) -> u16 {
        let captured = if self.done || self.keys_total == 0 { 1.0 } else { self.keys_done as f64 / self.keys_total as f64 };
        let sent = if self.bytes == 0 { 0.0 } else { sent as f64 / self.bytes as f64 };
        (captured.min(1.0) * sent.min(1.0) * 1000.0) as u16
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Send(String),
    /// Read these bytes of the snapshot, and give them to `read`.
    Read {
        offset: u64,
        bytes: u64,
    },
    /// They are not there yet.
    Wait,
    /// The frame is complete.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Bytes,
    Closed,
}

/// One slave's frame.
#[derive(Debug)]
pub struct SendingFrame {
    framing: SendFraming,
    stage: Stage,
    /// The next byte of the snapshot to read.
    at: u64,
    /// The estimate never goes back.
    permille: u16,
}

impl SendingFrame {
    pub fn new(framing: SendFraming) -> Self {
        let at = match framing {
            SendFraming::Chunks { first, .. } => first * CHUNK_BYTES,
            _ => 0,
        };
        SendingFrame { framing, stage: Stage::Opening, at, permille: 0 }
    }

    /// What comes next, when all before it has been sent.
    pub fn next(&mut self, made: Made) -> Next {
        match self.stage {
            Stage::Opening => self.open(made),
            Stage::Bytes if self.at < made.bytes => {
                let left = made.bytes - self.at;
                match self.framing {
                    // Only the last chunk is shorter, so one that is still growing is not sent.
                    SendFraming::Chunks { .. } if left < CHUNK_BYTES && !made.done => Next::Wait,
                    SendFraming::Chunks { .. } => Next::Read { offset: self.at, bytes: left.min(CHUNK_BYTES) },
                    _ => Next::Read { offset: self.at, bytes: left.min(READ_BYTES) },
                }
            }
            Stage::Bytes if !made.done => Next::Wait,
            Stage::Bytes => {
                self.stage = Stage::Closed;
                match &self.framing {
                    SendFraming::Mark(mark) => Next::Send(mark.clone()),
                    SendFraming::Length => Next::Over,
                    SendFraming::Chunks { .. } => Next::Send(end_line(made.bytes.div_ceil(CHUNK_BYTES), made.bytes)),
                }
            }
            Stage::Closed => Next::Over,
        }
    }

    fn open(&mut self, made: Made) -> Next {
        let line = match &self.framing {
            SendFraming::Mark(mark) => format!("$EOF:{mark}\r\n"),
            SendFraming::Length if !made.done => return Next::Wait,
            SendFraming::Length => format!("${}\r\n", made.bytes),
            SendFraming::Chunks { id, .. } => chunks_line(*id),
        };
        self.stage = Stage::Bytes;
        Next::Send(line)
    }

    /// These bytes have been read as asked for; returns the line that stands before them, if one does. `crc64` is that of the bytes.
    pub fn read(&mut self, bytes: usize, crc64: u64, made: Made) -> Option<String> {
        let number = self.at / CHUNK_BYTES;
        self.at += bytes as u64;
        self.permille = self.permille.max(made.permille(self.at));
        matches!(self.framing, SendFraming::Chunks { .. }).then(|| chunk_line(number, bytes, crc64, self.permille))
    }

    pub fn is_chunked(&self) -> bool {
        matches!(self.framing, SendFraming::Chunks { .. })
    }

    /// Whether a mark ends the snapshot: then the stream waits for the first ACK.
    pub fn is_marked(&self) -> bool {
        matches!(self.framing, SendFraming::Mark(_))
    }

    /// Whether a bare line end may stand where `next` is about to go on: before the frame, and between chunks.
    pub fn may_keep_alive(&self) -> bool {
        match self.stage {
            Stage::Opening => true,
            Stage::Bytes => self.is_chunked(),
            Stage::Closed => false,
        }
    }

    /// How much of the sync the bytes read so far are.
    pub fn permille(&self) -> u16 {
        self.permille
    }

    /// Bytes of the snapshot that have been read.
    pub fn position(&self) -> u64 {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(bytes: u64, done: bool) -> Made {
        Made { bytes, done, keys_done: if done { 10 } else { 5 }, keys_total: 10 }
    }

    fn id() -> SyncId {
        SyncId::parse(&[b'a'; 40]).unwrap()
    }

    #[test]
    fn lines_are_as_the_other_end_reads_them() {
        assert_eq!(chunks_line(id()), format!("$CHUNKS:{}\r\n", "a".repeat(40)));
        assert_eq!(chunk_line(7, 262_144, 0xab, 1000), "@7 262144 00000000000000ab 1000\r\n");
        assert_eq!(end_line(8, 2_000_000), "@end 8 2000000\r\n");
    }

    #[test]
    fn a_mark_opens_at_once_and_closes_at_the_end() {
        let mut frame = SendingFrame::new(SendFraming::Mark("m".repeat(40)));
        assert!(frame.may_keep_alive());
        assert_eq!(frame.next(made(0, false)), Next::Send(format!("$EOF:{}\r\n", "m".repeat(40))));
        assert!(!frame.may_keep_alive());
        assert_eq!(frame.next(made(0, false)), Next::Wait);
        assert_eq!(frame.next(made(300_000, false)), Next::Read { offset: 0, bytes: READ_BYTES });
        assert_eq!(frame.read(READ_BYTES as usize, 0, made(300_000, false)), None);
        assert_eq!(frame.next(made(300_000, true)), Next::Read { offset: READ_BYTES, bytes: 300_000 - READ_BYTES });
        frame.read((300_000 - READ_BYTES) as usize, 0, made(300_000, true));
        assert_eq!(frame.permille(), 1000);
        assert_eq!(frame.next(made(300_000, true)), Next::Send("m".repeat(40)));
        assert_eq!(frame.next(made(300_000, true)), Next::Over);
    }

    #[test]
    fn a_length_waits_until_it_is_known() {
        let mut frame = SendingFrame::new(SendFraming::Length);
        assert_eq!(frame.next(made(100, false)), Next::Wait);
        assert!(frame.may_keep_alive());
        assert_eq!(frame.next(made(150, true)), Next::Send("$150\r\n".to_owned()));
        assert_eq!(frame.next(made(150, true)), Next::Read { offset: 0, bytes: 150 });
        frame.read(150, 0, made(150, true));
        assert_eq!(frame.next(made(150, true)), Next::Over);
    }

    #[test]
    fn chunks_are_whole_but_for_the_last() {
        let mut frame = SendingFrame::new(SendFraming::Chunks { id: id(), first: 0 });
        assert_eq!(frame.next(made(9, false)), Next::Send(chunks_line(id())));
        assert_eq!(frame.next(made(CHUNK_BYTES - 1, false)), Next::Wait);
        assert!(frame.may_keep_alive());
        let half = made(CHUNK_BYTES, false);
        assert_eq!(frame.next(half), Next::Read { offset: 0, bytes: CHUNK_BYTES });
        assert_eq!(frame.read(CHUNK_BYTES as usize, 1, half).unwrap(), chunk_line(0, CHUNK_BYTES as usize, 1, 500));
        let all = made(CHUNK_BYTES + 5, true);
        assert_eq!(frame.next(all), Next::Read { offset: CHUNK_BYTES, bytes: 5 });
        assert_eq!(frame.read(5, 2, all).unwrap(), chunk_line(1, 5, 2, 1000));
        assert_eq!(frame.next(all), Next::Send(end_line(2, CHUNK_BYTES + 5)));
        assert_eq!(frame.next(all), Next::Over);
    }

    #[test]
    fn a_frame_goes_on_with_the_chunk_that_is_asked_for() {
        let all = made(3 * CHUNK_BYTES, true);
        let mut frame = SendingFrame::new(SendFraming::Chunks { id: id(), first: 2 });
        frame.next(all);
        assert_eq!(frame.next(all), Next::Read { offset: 2 * CHUNK_BYTES, bytes: CHUNK_BYTES });
        assert_eq!(frame.read(CHUNK_BYTES as usize, 3, all).unwrap(), chunk_line(2, CHUNK_BYTES as usize, 3, 1000));
        assert_eq!(frame.next(all), Next::Send(end_line(3, 3 * CHUNK_BYTES)));
        // All chunks were there already.
        let mut frame = SendingFrame::new(SendFraming::Chunks { id: id(), first: 3 });
        frame.next(all);
        assert_eq!(frame.next(all), Next::Send(end_line(3, 3 * CHUNK_BYTES)));
    }

    #[test]
    fn progress_is_keys_captured_times_bytes_sent() {
        assert_eq!(made(1000, false).permille(500), 250);
        assert_eq!(made(1000, true).permille(500), 500);
        assert_eq!(Made { done: true, ..Made::default() }.permille(0), 0);
        assert_eq!(made(1000, true).permille(5000), 1000);
    }
}
