//! A replica made by hand that takes its snapshot in chunks: checks every number, length and checksum, and can break off and come back.

use std::io::{self, BufRead, Read};

use super::Client;
use super::client::{Value, encode};

pub const CHUNK_BYTES: usize = 256 << 10;

/// What a link has brought so far.
pub struct ChunkTap {
    pub client: Client,
    pub replid: String,
    /// Where the snapshot was cut.
    pub offset: u64,
    pub sync_id: String,
    /// Bytes of the snapshot of this link.
    pub bytes: Vec<u8>,
    /// Number of the next chunk, and of the first of this link.
    pub next: u64,
    pub first: u64,
    /// The estimate in the last chunk.
    pub permille: u16,
    /// Bare line ends before the frame and in it.
    pub signs_of_life: usize,
    /// The end line has come.
    pub is_over: bool,
}

impl ChunkTap {
    /// Asks for a snapshot, or for the rest of one.
    #[track_caller]
    pub fn attach(port: u16, resume: Option<(&str, u64)>) -> ChunkTap {
        let mut tap = ChunkTap::ask(port, "7001", resume);
        tap.open().unwrap_or_else(|error| panic!("the frame of chunks: {error}"));
        tap
    }

    /// As `attach`, without waiting for the answer. The listening port is what a master tells slaves apart by.
    #[track_caller]
    pub fn ask(port: u16, listening_port: &str, resume: Option<(&str, u64)>) -> ChunkTap {
        let client = Client::connect(port);
        let mut tap = ChunkTap {
            client,
            replid: String::new(),
            offset: 0,
            sync_id: String::new(),
            bytes: Vec::new(),
            next: 0,
            first: 0,
            permille: 0,
            signs_of_life: 0,
            is_over: false,
        };
        let ok = |tap: &mut ChunkTap, words: &[&str]| assert_eq!(tap.client.command(words), Value::ok(), "{words:?}");
        ok(&mut tap, &["REPLCONF", "listening-port", listening_port]);
        ok(&mut tap, &["REPLCONF", "capa", "eof", "capa", "psync2", "capa", "chunks"]);
        if let Some((id, chunk)) = resume {
            ok(&mut tap, &["REPLCONF", "resume-sync", id, &chunk.to_string()]);
        }
        let mut request = Vec::new();
        encode(&mut request, &["PSYNC", "?", "-1"]);
        tap.client.send(&request).expect("PSYNC");
        tap.next = resume.map_or(0, |(_, chunk)| chunk);
        tap
    }

    /// Reads up to the first chunk.
    pub fn open(&mut self) -> io::Result<()> {
        let answer = self.line()?;
        let words: Vec<&str> = answer.split(' ').collect();
        assert_eq!((words[0], words.len()), ("+FULLRESYNC", 3), "{answer}");
        self.replid = words[1].to_owned();
        self.offset = words[2].parse().expect("an offset");
        let header = self.line()?;
        let sync_id = header.strip_prefix("$CHUNKS:").unwrap_or_else(|| panic!("{header}"));
        assert_eq!(sync_id.len(), 40);
        self.sync_id = sync_id.to_owned();
        Ok(())
    }

    /// The chunk asked for is not what comes: everything starts over.
    pub fn starts_over(&mut self) {
        self.next = 0;
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            self.client.reader.read_line(&mut line)?;
            match line.as_str() {
                "" => return Err(io::ErrorKind::UnexpectedEof.into()),
                "\n" => self.signs_of_life += 1,
                _ => return Ok(line.strip_suffix("\r\n").unwrap_or_else(|| panic!("a line's end: {line:?}")).to_owned()),
            }
        }
    }

    /// Reads a chunk, or the end line (false).
    pub fn chunk(&mut self) -> io::Result<bool> {
        let line = self.line()?;
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
        if words[0] == "@end" {
            let whole = self.bytes.len() as u64 + self.first * CHUNK_BYTES as u64;
            assert_eq!((number(1), number(2)), (self.next, whole), "{line}");
            self.is_over = true;
            return Ok(false);
        }
        if self.bytes.is_empty() {
            self.first = self.next;
        }
        assert_eq!(words[0], format!("@{}", self.next), "{line}");
        assert!(self.bytes.len().is_multiple_of(CHUNK_BYTES), "a chunk after one that was shorter");
        let mut bytes = vec![0; number(1) as usize];
        assert!(!bytes.is_empty() && bytes.len() <= CHUNK_BYTES, "{line}");
        self.client.reader.read_exact(&mut bytes)?;
        assert_eq!(words[2], format!("{:016x}", crc64(&bytes)), "{line}");
        let permille = number(3) as u16;
        assert!(permille >= self.permille && permille <= 1000, "{line} after {}", self.permille);
        self.permille = permille;
        self.bytes.extend_from_slice(&bytes);
        self.next += 1;
        Ok(true)
    }

    /// Reads all chunks to the end line.
    #[track_caller]
    pub fn read_rest(&mut self) {
        while self.chunk().unwrap_or_else(|error| panic!("chunk {}: {error}", self.next)) {}
    }

    /// Says that the snapshot is loaded.
    pub fn acknowledge(&mut self) {
        let offset = self.offset.to_string();
        let mut request = Vec::new();
        encode(&mut request, &["REPLCONF", "ACK", &offset]);
        self.client.send(&request).expect("an ACK");
    }
}

/// As RDB has it, a bit at a time: what the server computes is checked by other means than its own.
pub fn crc64(bytes: &[u8]) -> u64 {
    const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ u64::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 }))
}
