//! What a slave tells its master of a round: messages that travel up the link as `REPLCONF replikant-verify <message>`, without a reply as ACKs are.
//!
//! A slave between hands its own slaves' messages on and writes into them whose they are. What is read here comes from the network: every length is
//! checked against what is there.

use std::collections::BTreeMap;

use super::digest::{Findings, Found, Named, SlotDigest};
use super::scope::SlotId;
use crate::replication::ReplOffset;
use crate::resp::encode_command;

/// The option of REPLCONF, and the capability that both ends of a link tell each other.
pub const OPTION: &str = "replikant-verify";

/// A message is closed when it has this many bytes.
const MESSAGE_BYTES: usize = 16 << 10;
/// Addresses and reasons are no longer.
const TEXT_BYTES_MAX: usize = 300;

/// A slave of the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    pub address: String,
    /// Its messages will come, too.
    pub reports: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The cut is made, at this offset.
    Begun {
        offset: ReplOffset,
        behind: Vec<Behind>,
    },
    Sums(Vec<(SlotId, SlotDigest)>),
    Names(Vec<Named>),
    /// A sign of life.
    Working,
    /// All has been told.
    Ended {
        items: u64,
    },
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The mark's.
    pub id: u64,
    /// Whose it is; nothing if the sender's own.
    pub from: String,
    pub message: Message,
}

const BEGUN: u8 = 1;
const SUMS: u8 = 2;
const NAMES: u8 = 3;
const ENDED: u8 = 4;
const FAILED: u8 = 5;
const WORKING: u8 = 6;

fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(TEXT_BYTES_MAX)];
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text);
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    rest.split_off(..N)?.try_into().ok()
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let len = usize::from(u16::from_le_bytes(array(rest)?));
    let bytes = rest.split_off(..len)?;
    let is_plain = bytes.len() <= TEXT_BYTES_MAX && !bytes.iter().any(u8::is_ascii_control);
    is_plain.then(|| String::from_utf8_lossy(bytes).into_owned())
}

impl Report {
    pub fn new(id: u64, message: Message) -> Self {
        Report { id, from: String::new(), message }
    }

    /// The whole command.
    pub fn command(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.id.to_le_bytes());
        put_text(&mut body, &self.from);
        match &self.message {
            Message::Begun { offset, behind } => {
                body.push(BEGUN);
                body.extend_from_slice(&offset.0.to_le_bytes());
                for one in behind {
                    body.push(u8::from(one.reports));
                    put_text(&mut body, &one.address);
                }
            }
            Message::Sums(sums) => {
                body.push(SUMS);
                for (id, digest) in sums {
                    body.extend_from_slice(&id.space.to_le_bytes());
                    body.extend_from_slice(&id.slot.to_le_bytes());
                    body.extend_from_slice(&digest.items.to_le_bytes());
                    body.extend_from_slice(&digest.sum.to_le_bytes());
                }
            }
            Message::Names(names) => {
                body.push(NAMES);
                for named in names {
                    body.extend_from_slice(&named.space.to_le_bytes());
                    body.push(named.kind);
                    body.extend_from_slice(&named.hash.to_le_bytes());
                    body.extend_from_slice(&(named.name.len() as u32).to_le_bytes());
                    body.extend_from_slice(&named.name);
                }
            }
            Message::Working => body.push(WORKING),
            Message::Ended { items } => {
                body.push(ENDED);
                body.extend_from_slice(&items.to_le_bytes());
            }
            Message::Failed(reason) => {
                body.push(FAILED);
                put_text(&mut body, reason);
            }
        }
        let mut command = Vec::with_capacity(body.len() + 64);
        encode_command(&mut command, &[b"REPLCONF", OPTION.as_bytes(), &body]);
        command
    }

    /// Reads the argument of the command.
    pub fn parse(mut rest: &[u8]) -> Option<Report> {
        let rest = &mut rest;
        let id = u64::from_le_bytes(array(rest)?);
        let from = text(rest)?;
        let message = match *rest.split_off_first()? {
            BEGUN => {
                let offset = ReplOffset(u64::from_le_bytes(array(rest)?));
                let mut behind = Vec::new();
                while let Some(reports) = rest.split_off_first() {
                    behind.push(Behind { reports: *reports == 1, address: text(rest)? });
                }
                Message::Begun { offset, behind }
            }
            SUMS => {
                let mut sums = Vec::new();
                while !rest.is_empty() {
                    let id = SlotId { space: u32::from_le_bytes(array(rest)?), slot: u16::from_le_bytes(array(rest)?) };
                    let items = u64::from_le_bytes(array(rest)?);
                    sums.push((id, SlotDigest { items, sum: u128::from_le_bytes(array(rest)?) }));
                }
                Message::Sums(sums)
            }
            NAMES => {
                let mut names = Vec::new();
                while !rest.is_empty() {
                    let (space, kind) = (u32::from_le_bytes(array(rest)?), *rest.split_off_first()?);
                    let hash = u128::from_le_bytes(array(rest)?);
                    let len = usize::try_from(u32::from_le_bytes(array(rest)?)).ok()?;
                    names.push(Named { space, kind, hash, name: rest.split_off(..len)?.to_vec() });
                }
                Message::Names(names)
            }
            ENDED => Message::Ended { items: u64::from_le_bytes(array(rest)?) },
            WORKING => Message::Working,
            FAILED => Message::Failed(text(rest)?),
            _ => return None,
        };
        Some(Report { id, from, message })
    }
}

/// The commands that tell what has been found, each of a bounded size but for a single long name.
pub fn commands_of(id: u64, findings: Findings) -> Vec<Vec<u8>> {
    let mut commands = Vec::new();
    match findings.found {
        Found::Sums(sums) => {
            let sums: Vec<_> = sums.into_iter().collect();
            for part in sums.chunks(MESSAGE_BYTES / 30) {
                commands.push(Report::new(id, Message::Sums(part.to_vec())).command());
            }
        }
        Found::Names(names) => {
            let (mut part, mut bytes) = (Vec::new(), 0);
            for named in names {
                bytes += named.name.len() + 25;
                part.push(named);
                if bytes >= MESSAGE_BYTES {
                    commands.push(Report::new(id, Message::Names(std::mem::take(&mut part))).command());
                    bytes = 0;
                }
            }
            if !part.is_empty() {
                commands.push(Report::new(id, Message::Names(part)).command());
            }
        }
    }
    commands.push(Report::new(id, Message::Ended { items: findings.items }).command());
    commands
}

/// Sums by slot, as messages told them.
pub type Sums = BTreeMap<SlotId, SlotDigest>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resp::{Args, Decoder, Limits};

    fn body(command: &[u8]) -> Vec<u8> {
        let limits = Limits { bulk_bytes_max: 1 << 20, args_max: 10, line_bytes_max: 1 << 16, unauthenticated: false };
        let mut ranges = Vec::new();
        Decoder::default().decode(command, &limits, &mut ranges).unwrap().expect("a whole command");
        let args = Args::new(command, &ranges);
        assert_eq!((args.at(0), args.at(1), args.len()), (&b"REPLCONF"[..], OPTION.as_bytes(), 3));
        args.at(2).to_vec()
    }

    #[test]
    fn reports_are_read_as_they_were_written() {
        let behind = vec![Behind { address: "10.0.0.3:6379".to_owned(), reports: true }, Behind { address: "h:1".to_owned(), reports: false }];
        let id = SlotId { space: 3, slot: 16383 };
        let named = Named { space: 1, name: b"a\r\nkey".to_vec(), kind: 4, hash: u128::MAX - 7 };
        for message in [
            Message::Begun { offset: ReplOffset(77), behind },
            Message::Sums(vec![(id, SlotDigest { sum: 1 << 100, items: 9 })]),
            Message::Names(vec![named]),
            Message::Working,
            Message::Ended { items: u64::MAX },
            Message::Failed("no thread".to_owned()),
        ] {
            let report = Report { id: 5, from: "10.0.0.4:1".to_owned(), message };
            let bytes = body(&report.command());
            assert_eq!(Report::parse(&bytes).as_ref(), Some(&report));
            for len in 0..bytes.len() {
                // A part is no report, or one with fewer items.
                assert_ne!(Report::parse(&bytes[..len]).as_ref(), Some(&report));
            }
        }
    }

    #[test]
    fn findings_come_in_messages_of_bounded_size() {
        let sums: Sums = (0..16384).map(|slot| (SlotId { space: 0, slot }, SlotDigest { sum: 7, items: 1 })).collect();
        let names: Vec<Named> = (0..3000u32).map(|n| Named { space: 0, name: vec![b'n'; 50], kind: 0, hash: n.into() }).collect();
        for found in [Found::Sums(sums), Found::Names(names)] {
            let findings = Findings { items: 16384, found };
            let commands = commands_of(1, findings.clone());
            assert!(commands.len() > 2 && commands.iter().all(|command| command.len() < 2 * MESSAGE_BYTES));
            let (mut sums, mut names) = (Sums::new(), Vec::new());
            for command in &commands {
                match Report::parse(&body(command)).unwrap().message {
                    Message::Sums(part) => sums.extend(part),
                    Message::Names(part) => names.extend(part),
                    message => assert_eq!(message, Message::Ended { items: 16384 }),
                }
            }
            assert!(findings.found == Found::Sums(sums) || findings.found == Found::Names(names));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..7) {
            let _ = Report::parse(&bytes);
            let _ = Report::parse(&[&[0; 10][..], &[kind], &bytes].concat());
        }
    }
}
