//! The slave's end of a link as a state machine without I/O: it tells what to send, and reads what the master answers, from PING to the end
//! of the snapshot or to `+CONTINUE`. Owns how far the handshake is; sockets, timeouts and the loading belong to the caller. Whatever the
//! master sends, it costs no more memory than the caller's buffer of unread bytes, which needs to hold one line.

use std::collections::VecDeque;

use super::framing::{Framed, SnapshotForm, SnapshotFraming, next_line, quote};
use super::{ChunkPos, LinkState, ReplId, ReplOffset, StreamPos};
use crate::resp::encode_command;

/// Why a link ends; what was applied of the stream stays good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The master cannot serve slaves right now, and says so.
    #[error("the master is not ready: {0}")]
    RetryLater(String),
    /// The master does not want this slave, as it is configured.
    #[error("the master refuses: {0}")]
    Refused(String),
    /// What the master has sent is not the protocol.
    #[error("the master breaks the protocol: {0}")]
    Protocol(String),
}

/// Error codes of a master that has the command but cannot serve it now.
const RETRY_CODES: [&[u8]; 5] = [b"NOMASTERLINK", b"LOADING", b"BUSY", b"MASTERDOWN", b"TRYAGAIN"];
/// Error codes that a plain SYNC would get as well.
const REFUSAL_CODES: [&[u8]; 4] = [b"NOAUTH", b"NOPERM", b"WRONGPASS", b"DENIED"];

/// An offset is a signed number for every other server; what a stream could add to a greater one does not fit.
const OFFSET_MAX: i64 = i64::MAX / 2;

fn code(line: &[u8]) -> &[u8] {
    let text = &line[1..];
    &text[..text.iter().position(|byte| *byte == b' ').unwrap_or(text.len())]
}

impl LinkError {
    /// What an error line that ends the handshake means.
    pub(super) fn from_error_line(line: &[u8]) -> LinkError {
        if RETRY_CODES.contains(&code(line)) { LinkError::RetryLater(quote(line)) } else { LinkError::Refused(quote(line)) }
    }
}

/// What the slave says of itself and asks for.
#[derive(Clone, Debug, Default)]
pub struct HandshakeOptions {
    /// `masteruser` and `masterauth`; without a password there is no AUTH.
    pub user: Option<String>,
    pub password: Option<String>,
    /// `replica-announce-port`, else the port that is bound.
    pub listening_port: u16,
    pub announce_ip: Option<String>,
    /// Told by `REPLCONF version`, which older servers refuse without harm.
    pub version: Option<String>,
    /// The history to continue and the next byte of it.
    pub ask: Option<(ReplId, StreamPos)>,
    /// What there is of a snapshot whose sending broke off: asked for from there on, should it come to a full sync.
    pub resume: Option<ChunkPos>,
    /// Says no more of itself than stock Redis does: nothing of chunks and verification.
    pub stock: bool,
    /// Asks the other side to take over as master. One that does not is not followed.
    pub failover: bool,
    /// Keeps no data of which it could report a digest.
    pub keeps_nothing: bool,
}

/// What happens on the link.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkEvent<'a> {
    /// Write these bytes to the master.
    Send(Vec<u8>),
    /// Something that harms nothing but may explain a failure later: for the log.
    Notice(String),
    /// The stream goes on where it was left, maybe under another id; all that follows is the stream.
    Continue {
        replid: Option<ReplId>,
    },
    /// A snapshot follows, taken at this place of the master's history; a master that knows only SYNC does not tell it.
    FullSync {
        history: Option<(ReplId, ReplOffset)>,
    },
    SnapshotBegin(SnapshotForm),
    SnapshotBytes(&'a [u8]),
    /// A verified chunk of the snapshot; how many thousandths of the sync have come with it, and the place behind it.
    SnapshotChunk {
        bytes: &'a [u8],
        permille: u16,
        at: ChunkPos,
    },
    /// The snapshot is complete; all that follows is the stream.
    SnapshotEnd,
}

/// Requests whose replies are read in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Auth,
    Replconf(&'static str),
}

enum State {
    /// Nothing has been sent.
    Idle,
    Ping,
    /// Waits for these replies; PSYNC follows the last one.
    Introduced(VecDeque<Asked>),
    Psync,
    /// SYNC has been sent, which has no reply but the snapshot.
    PlainSync,
    Snapshot(SnapshotFraming),
    Stream,
}

/// One attempt to link up with a master.
pub struct ReplicaHandshake {
    options: HandshakeOptions,
    state: State,
    takes_reports: bool,
}

type Step<'a> = Result<(usize, Option<LinkEvent<'a>>), LinkError>;

impl ReplicaHandshake {
    pub fn new(options: HandshakeOptions) -> Self {
        ReplicaHandshake { options, state: State::Idle, takes_reports: false }
    }

    /// The first bytes to send. To be called once, when the connection is there.
    pub fn start(&mut self) -> Vec<u8> {
        assert!(matches!(self.state, State::Idle), "a handshake starts once");
        self.state = State::Ping;
        command(&[b"PING"])
    }

    /// How far the link is, as ROLE names it.
    pub fn link_state(&self) -> LinkState {
        match self.state {
            State::Idle => LinkState::Connecting,
            State::Ping | State::Introduced(_) | State::Psync => LinkState::Handshake,
            State::PlainSync | State::Snapshot(_) => LinkState::Sync,
            State::Stream => LinkState::Connected,
        }
    }

    /// True once PSYNC has been sent.
    pub fn has_asked(&self) -> bool {
        !matches!(self.state, State::Idle | State::Ping | State::Introduced(_))
    }

    /// Whether the master reads what a slave reports of a verification; another one would end the link for it.
    pub fn takes_reports(&self) -> bool {
        self.takes_reports
    }

    /// True once all bytes that are not used up belong to the stream.
    pub fn is_stream(&self) -> bool {
        matches!(self.state, State::Stream)
    }

    /// Reads from the front of `input`: how many bytes are used up, and what has happened. Call again until there is no event: then more
    /// bytes are needed, and the next call must begin with those not used up. After an error the link is to be closed.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Step<'a> {
        match &mut self.state {
            State::PlainSync => {
                self.state = State::Snapshot(SnapshotFraming::new(None));
                return Ok((0, Some(LinkEvent::FullSync { history: None })));
            }
            State::Snapshot(_) => return self.snapshot(input),
            _ => {}
        }
        let mut used = 0;
        while !self.is_stream() {
            if matches!(&self.state, State::Introduced(asked) if asked.is_empty()) {
                return Ok((used, Some(self.psync())));
            }
            let Some((line, len)) = next_line(&input[used..])? else { break };
            used += len;
            // A blank line before any reply is a sign of life.
            if line.is_empty() {
                continue;
            }
            if let Some(event) = self.line(line)? {
                return Ok((used, Some(event)));
            }
        }
        Ok((used, None))
    }

    fn snapshot<'a>(&mut self, input: &'a [u8]) -> Step<'a> {
        let State::Snapshot(framing) = &mut self.state else { unreachable!("called in this state alone") };
        let (used, event) = framing.next(input)?;
        let event = event.map(|event| match event {
            Framed::Header(form) => LinkEvent::SnapshotBegin(form),
            Framed::Payload(bytes) => LinkEvent::SnapshotBytes(bytes),
            Framed::Chunk { bytes, permille, at } => LinkEvent::SnapshotChunk { bytes, permille, at },
            Framed::End => {
                self.state = State::Stream;
                LinkEvent::SnapshotEnd
            }
        });
        Ok((used, event))
    }

    /// Reads one reply. Every reply is a status or an error.
    fn line<'a>(&mut self, line: &[u8]) -> Result<Option<LinkEvent<'a>>, LinkError> {
        let is_error = match line[0] {
            b'+' => false,
            b'-' => true,
            _ => return Err(LinkError::Protocol(format!("unexpected reply in the handshake: {}", quote(line)))),
        };
        match &mut self.state {
            State::Idle => Err(LinkError::Protocol(format!("the master speaks first: {}", quote(line)))),
            State::Ping => {
                // Errors for want of a password are mended by the AUTH that comes next.
                let harmless = matches!(code(line), b"NOAUTH" | b"NOPERM") || line.starts_with(b"-ERR operation not permitted");
                match is_error && !harmless {
                    true if code(line) == b"DENIED" => Err(LinkError::Refused(quote(line))),
                    true => Err(LinkError::RetryLater(quote(line))),
                    false => Ok(Some(self.introduce())),
                }
            }
            State::Introduced(asked) => {
                let about = asked.pop_front().expect("PSYNC follows the last reply");
                match about {
                    Asked::Auth if is_error => Err(LinkError::Refused(format!("AUTH: {}", quote(line)))),
                    // Old masters do not know every option; the link works without.
                    Asked::Replconf(option) if is_error => Ok(Some(LinkEvent::Notice(format!("REPLCONF {option}: {}", quote(line))))),
                    Asked::Replconf("capa") => {
                        // Only a master of this kind says more than OK, and only to a slave that can make use of it.
                        self.takes_reports |= line.split(|byte| *byte == b' ').skip(1).any(|word| word == b"verify");
                        Ok(None)
                    }
                    Asked::Auth | Asked::Replconf(_) => Ok(None),
                }
            }
            State::Psync if is_error => self.psync_refused(line).map(Some),
            State::Psync => self.psync_accepted(line).map(Some),
            State::PlainSync | State::Snapshot(_) | State::Stream => unreachable!("these states read no replies"),
        }
    }

    /// AUTH and REPLCONF, in one write.
    fn introduce<'a>(&mut self) -> LinkEvent<'a> {
        let mut bytes = Vec::new();
        let mut asked = VecDeque::new();
        if let Some(password) = &self.options.password {
            match &self.options.user {
                Some(user) => encode_command(&mut bytes, &[b"AUTH", user.as_bytes(), password.as_bytes()]),
                None => encode_command(&mut bytes, &[b"AUTH", password.as_bytes()]),
            }
            asked.push_back(Asked::Auth);
        }
        let mut tell = |option: &'static str, args: &[&[u8]]| {
            encode_command(&mut bytes, &[&[b"REPLCONF", option.as_bytes()], args].concat());
            asked.push_back(Asked::Replconf(option));
        };
        tell("listening-port", &[self.options.listening_port.to_string().as_bytes()]);
        if let Some(ip) = &self.options.announce_ip {
            tell("ip-address", &[ip.as_bytes()]);
        }
        let capas: [&[u8]; 7] = [b"eof", b"capa", b"psync2", b"capa", b"chunks", b"capa", b"verify"];
        let told = match (self.options.stock, self.options.keeps_nothing) {
            (true, _) => 3,
            (_, true) => 5,
            _ => 7,
        };
        tell("capa", &capas[..told]);
        if let Some(version) = &self.options.version {
            tell("version", &[version.as_bytes()]);
        }
        if let Some(at) = &self.options.resume {
            tell("resume-sync", &[at.id.to_string().as_bytes(), at.next.to_string().as_bytes()]);
        }
        self.state = State::Introduced(asked);
        LinkEvent::Send(bytes)
    }

    fn psync<'a>(&mut self) -> LinkEvent<'a> {
        self.state = State::Psync;
        LinkEvent::Send(match self.options.ask {
            Some((replid, next)) => {
                let next = next.0.to_string();
                let asked: [&[u8]; 4] = [b"PSYNC", replid.as_str().as_bytes(), next.as_bytes(), b"FAILOVER"];
                command(if self.options.failover { &asked } else { &asked[..3] })
            }
            None => command(&[b"PSYNC", b"?", b"-1"]),
        })
    }

    fn psync_accepted<'a>(&mut self, line: &[u8]) -> Result<LinkEvent<'a>, LinkError> {
        let wrong = |what: &str| LinkError::Protocol(format!("{what}: {}", quote(line)));
        let words: Vec<&[u8]> = line.splitn(4, |byte| *byte == b' ').collect();
        match words[..] {
            [b"+FULLRESYNC", replid, offset] => {
                let replid = ReplId::parse(replid).ok_or_else(|| wrong("bad replid"))?;
                let digits = std::str::from_utf8(offset).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let offset =
                    digits.and_then(|text| text.parse::<i64>().ok()).filter(|offset| *offset <= OFFSET_MAX).ok_or_else(|| wrong("bad offset"))?;
                self.state = State::Snapshot(SnapshotFraming::new(self.options.resume));
                Ok(LinkEvent::FullSync { history: Some((replid, ReplOffset(offset as u64))) })
            }
            [b"+CONTINUE"] | [b"+CONTINUE", _] if self.options.ask.is_none() => Err(wrong("continues what was not asked for")),
            [b"+CONTINUE"] => {
                self.state = State::Stream;
                Ok(LinkEvent::Continue { replid: None })
            }
            [b"+CONTINUE", replid] => {
                let replid = ReplId::parse(replid).ok_or_else(|| wrong("bad replid"))?;
                self.state = State::Stream;
                Ok(LinkEvent::Continue { replid: Some(replid) })
            }
            _ => Err(wrong("unexpected reply to PSYNC")),
        }
    }

    /// A master that does not know PSYNC is asked by SYNC.
    fn psync_refused<'a>(&mut self, line: &[u8]) -> Result<LinkEvent<'a>, LinkError> {
        let code = code(line);
        if RETRY_CODES.contains(&code) || REFUSAL_CODES.contains(&code) || self.options.failover {
            return Err(LinkError::from_error_line(line));
        }
        self.state = State::PlainSync;
        Ok(LinkEvent::Send(command(&[b"SYNC"])))
    }
}

fn command(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(&mut bytes, args);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::SyncId;
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    /// Everything a session said, payload joined, as text.
    #[derive(Debug, Default, PartialEq)]
    struct Session {
        sent: String,
        events: Vec<String>,
        payload: Vec<u8>,
        /// Bytes of the stream after the handshake.
        stream: Option<Vec<u8>>,
        error: Option<LinkError>,
    }

    /// Reads what a master says, in pieces that end at `cuts`.
    fn run(options: &HandshakeOptions, master: &[u8], cuts: &[usize]) -> Session {
        let mut link = ReplicaHandshake::new(options.clone());
        let mut session = Session { sent: String::from_utf8(link.start()).unwrap(), ..Session::default() };
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (master.len() + 1)).collect();
        ends.push(master.len());
        ends.sort();
        let (mut buf, mut from) = (Vec::new(), 0);
        for end in ends {
            buf.extend_from_slice(&master[from..end]);
            from = end;
            loop {
                let (used, event) = match link.next(&buf) {
                    Ok(step) => step,
                    Err(error) => {
                        session.error = Some(error);
                        return session;
                    }
                };
                let over = event.is_none();
                match event {
                    Some(LinkEvent::Send(bytes)) => session.sent.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Some(LinkEvent::SnapshotBytes(bytes)) => session.payload.extend_from_slice(bytes),
                    Some(event) => session.events.push(format!("{event:?}")),
                    None => {}
                }
                buf.drain(..used);
                if over {
                    break;
                }
            }
        }
        session.stream = link.is_stream().then_some(buf);
        session
    }

    fn plain() -> HandshakeOptions {
        HandshakeOptions { listening_port: 6380, ..HandshakeOptions::default() }
    }

    fn everything() -> HandshakeOptions {
        HandshakeOptions {
            user: Some("repl".into()),
            password: Some("secret".into()),
            listening_port: 6380,
            announce_ip: Some("10.0.0.7".into()),
            version: Some("8.2.3".into()),
            ask: Some((ReplId::parse(ID.as_bytes()).unwrap(), StreamPos(101))),
            resume: None,
            stock: false,
            failover: false,
            keeps_nothing: false,
        }
    }

    fn words(sent: &str) -> Vec<&str> {
        sent.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with(['*', '$'])).collect()
    }

    #[test]
    fn who_is_to_take_over_and_does_not_is_not_asked_for_a_sync() {
        let asking = HandshakeOptions { failover: true, ..everything() };
        let hello = "+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n";
        let session = run(&asking, format!("{hello}+CONTINUE {ID}\r\n").as_bytes(), &[]);
        assert!(words(&session.sent).ends_with(&["PSYNC", ID, "101", "FAILOVER"]), "{}", session.sent);
        assert!(session.stream.is_some());
        let session = run(&asking, format!("{hello}-ERR no\r\n").as_bytes(), &[]);
        assert_eq!(session.error, Some(LinkError::Refused("-ERR no".into())));
        assert!(!session.sent.contains("SYNC\r\n*"), "{}", session.sent);
    }

    #[test]
    fn the_first_sync_says_what_a_slave_says_and_reads_the_snapshot() {
        let master = format!("+PONG\r\n+OK\r\n+OK\r\n\n\n+FULLRESYNC {ID} 77\r\n\n$5\r\nREDIS*1\r\n$4\r\nPING\r\n");
        let session = run(&plain(), master.as_bytes(), &[]);
        assert_eq!(
            words(&session.sent).join(" "),
            "PING REPLCONF listening-port 6380 REPLCONF capa eof capa psync2 capa chunks capa verify PSYNC ? -1"
        );
        assert_eq!(
            session.events,
            [format!("FullSync {{ history: Some(({ID}, ReplOffset(77))) }}"), "SnapshotBegin(Length(5))".into(), "SnapshotEnd".into()]
        );
        assert_eq!((session.payload.as_slice(), session.error), (&b"REDIS"[..], None));
        assert_eq!(session.stream.unwrap(), b"*1\r\n$4\r\nPING\r\n");
    }

    #[test]
    fn options_are_told_in_redis_order_in_one_write_and_errors_to_them_are_notices() {
        let master =
            "-NOAUTH Authentication required.\r\n+OK\r\n+OK\r\n-ERR ip\r\n+OK active-replica\r\n-ERR Unrecognized REPLCONF option: version\r\n";
        let session = run(&everything(), [master, "+CONTINUE\r\nrest"].concat().as_bytes(), &[]);
        let expected = "PING AUTH repl secret REPLCONF listening-port 6380 REPLCONF ip-address 10.0.0.7 REPLCONF capa eof capa psync2 capa chunks capa verify REPLCONF version 8.2.3 PSYNC";
        assert_eq!(words(&session.sent).join(" "), format!("{expected} {ID} 101"));
        let notices = ["Notice(\"REPLCONF ip-address: -ERR ip\")", "Notice(\"REPLCONF version: -ERR Unrecognized REPLCONF option: version\")"];
        assert_eq!(session.events, [&notices[..], &["Continue { replid: None }"]].concat());
        assert_eq!(session.stream.unwrap(), b"rest");

        let mut link = ReplicaHandshake::new(everything());
        link.start();
        let (_, event) = link.next(b"+PONG\r\n").unwrap();
        assert!(matches!(event, Some(LinkEvent::Send(bytes)) if words(std::str::from_utf8(&bytes).unwrap()).len() == 21), "one write from AUTH on");
        assert_eq!(link.next(b"").unwrap(), (0, None));
    }

    #[test]
    fn a_continue_may_rename_the_history() {
        let other = "f".repeat(40);
        let session = run(&everything(), format!("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+CONTINUE {other}\r\n").as_bytes(), &[]);
        assert_eq!(session.events, [format!("Continue {{ replid: Some({other}) }}")]);
        assert_eq!(session.stream, Some(vec![]));
    }

    #[test]
    fn a_sync_that_broke_off_is_asked_for_and_need_not_be_had() {
        let at = ChunkPos { id: SyncId::parse(ID.as_bytes()).unwrap(), next: 2, bytes: 2 * 262_144 };
        let options = HandshakeOptions { resume: Some(at), ..plain() };
        let chunk = |number: u64, all: u64| format!("@{number} 2 {:016x} 1000\r\nhi@end {} {all}\r\n*1", crate::rdb::crc64(b"hi"), number + 1);
        let master = format!("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+FULLRESYNC {ID} 9\r\n\n$CHUNKS:{ID}\r\n{}", chunk(2, 524_290));
        let session = run(&options, master.as_bytes(), &[]);
        let words = words(&session.sent).join(" ");
        assert!(words.ends_with(&format!("capa chunks capa verify REPLCONF resume-sync {ID} 2 PSYNC ? -1")), "{words}");
        assert_eq!((session.error, session.stream.as_deref()), (None, Some(&b"*1"[..])));
        assert_eq!(session.events[1], format!("SnapshotBegin(Chunks({at:?}))"));
        // Another snapshot, an older master, one that can go on without.
        let refused = "+PONG\r\n+OK\r\n+OK\r\n-ERR Unrecognized REPLCONF option: resume-sync\r\n";
        let other = format!("+FULLRESYNC {ID} 9\r\n$CHUNKS:{}\r\n{}", "f".repeat(40), chunk(0, 2));
        for reply in [other, format!("+FULLRESYNC {ID} 9\r\n$2\r\nhi*1")] {
            let session = run(&options, [refused, &reply].concat().as_bytes(), &[]);
            assert_eq!((session.error, session.stream.as_deref()), (None, Some(&b"*1"[..])));
        }
    }

    #[test]
    fn a_master_without_psync_is_asked_by_sync() {
        let session = run(&plain(), b"+PONG\r\n+OK\r\n-ERR x\r\n-ERR unknown command 'PSYNC'\r\n\n$3\r\nabc", &[]);
        assert!(session.sent.ends_with("PSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n*1\r\n$4\r\nSYNC\r\n"), "{}", session.sent);
        assert_eq!(session.events[1..], ["FullSync { history: None }", "SnapshotBegin(Length(3))", "SnapshotEnd"]);
        assert_eq!((session.payload.as_slice(), session.stream), (&b"abc"[..], Some(vec![])));
    }

    #[test]
    fn each_refusal_has_its_kind() {
        let ready = "+PONG\r\n+OK\r\n+OK\r\n";
        let kind = |reply: &str| run(&plain(), [ready, reply].concat().as_bytes(), &[]).error.map(|error| format!("{error}"));
        assert_eq!(kind("-NOMASTERLINK Can't SYNC\r\n").unwrap(), "the master is not ready: -NOMASTERLINK Can't SYNC");
        for reply in ["-LOADING Redis is loading\r\n", "-BUSY script\r\n", "+FULLRESYNC ID 0\r\n-LOADING x\r\n"] {
            assert!(kind(&reply.replace("ID", ID)).unwrap().starts_with("the master is not ready"));
        }
        for reply in ["-NOAUTH x\r\n", "-NOPERM x\r\n", "+FULLRESYNC ID 0\r\n-ERR x\r\n", "-ERR x\r\n-ERR unknown command 'SYNC'\r\n"] {
            assert!(kind(&reply.replace("ID", ID)).unwrap().starts_with("the master refuses"), "{reply}");
        }
        let error = |options: &HandshakeOptions, master: &[u8]| run(options, master, &[]).error.unwrap();
        assert!(matches!(error(&plain(), b"-ERR max number of clients reached\r\n"), LinkError::RetryLater(_)));
        assert!(matches!(error(&plain(), b"-DENIED Redis is running in protected mode\r\n"), LinkError::Refused(_)));
        assert!(matches!(error(&everything(), b"+PONG\r\n-WRONGPASS x\r\n"), LinkError::Refused(_)));
    }

    #[test]
    fn what_is_not_the_protocol_ends_the_link_with_a_reason() {
        let endless = vec![b'+'; 70_000];
        let ready = |reply: &str| ["+PONG\r\n+OK\r\n+OK\r\n", reply].concat().replace("ID", ID).into_bytes();
        let bad = [
            endless,
            b"$5\r\n".to_vec(),
            b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
            ready("+FULLRESYNC 0123 0\r\n"),
            ready("+FULLRESYNC ID\r\n"),
            ready("+FULLRESYNC ID -1\r\n"),
            ready("+FULLRESYNC ID 1 2\r\n"),
            ready("+FULLRESYNC ID 99999999999999999999\r\n"),
            ready("+FULLRESYNC ID 9223372036854775807\r\n"),
            ready("+CONTINUE ID\r\n"),
            ready("+RDBCHANNELSYNC 7\r\n"),
            ready("+FULLRESYNC ID 1\r\n$-1\r\n"),
            ready("+FULLRESYNC ID 1\r\n+OK\r\n"),
        ];
        for master in bad {
            let error = run(&plain(), &master, &[]).error;
            assert!(matches!(error, Some(LinkError::Protocol(_))), "{:?} to {}", error, master[..master.len().min(80)].escape_ascii());
        }
        let wrong_id = b"+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+CONTINUE abc\r\n";
        assert!(matches!(run(&everything(), wrong_id, &[]).error, Some(LinkError::Protocol(_))));
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => Just("+OK\r\n".to_owned()),
            2 => Just("\n".to_owned()),
            1 => Just("+PONG\n".to_owned()),
            1 => Just("-ERR unknown\r\n".to_owned()),
            1 => Just("-NOAUTH x\r\n".to_owned()),
            2 => Just(format!("+FULLRESYNC {ID} 5\r\n$EOF:{ID}\r\nREDIS{}{ID}*1", &ID[..30])),
            2 => Just(format!("+FULLRESYNC {ID} 5\r\n\n$7\r\nREDIS\r\n+OK")),
            2 => Just(format!("+FULLRESYNC {ID} 5\r\n\n$CHUNKS:{ID}\r\n@0 2 {:016x} 9\r\nhi\n@end 1 2\r\n+OK", crate::rdb::crc64(b"hi"))),
            1 => Just(format!("+CONTINUE {ID}\r\n")),
            1 => "\\PC{0,20}\r\n",
        ]
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_session(lines in prop::collection::vec(line(), 0..14), cuts in prop::collection::vec(any::<usize>(), 0..40), full: bool) {
            let options = if full { everything() } else { plain() };
            let master = lines.concat();
            prop_assert_eq!(run(&options, master.as_bytes(), &cuts), run(&options, master.as_bytes(), &[]));
            prop_assert_eq!(run(&options, master.as_bytes(), &(0..master.len()).collect::<Vec<_>>()), run(&options, master.as_bytes(), &[]));
        }
    }
}
