//! Repairing a long string or list, whose order matters: it is said in pieces under another name, while the old value stays on the slaves, and takes its
//! place when it is whole. Only a key that nobody has written meanwhile can be put in place so; else it begins anew, a few times.

use super::NodeState;
use super::mend::{Mend, Mended};
use crate::keyspace::{DbIndex, Key, Kind, StrRef};
use crate::resp::encode_command;
use crate::types::listpack::ElemBuf;

/// What one step says at the most.
const STEP_BYTES: usize = 64 << 10;
const STEP_ELEMENTS: usize = 512;
const TRIES_MAX: u8 = 4;
/// No client has this slot: the watch belongs to the copy.
const WATCHER: u32 = u32::MAX;

/// The one copy that is being said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copying {
    db: DbIndex,
    key: Vec<u8>,
    /// What it is called until it is whole. No key of the master is called so.
    temporary: Vec<u8>,
    /// Somebody has written to the key.
    pub touched: bool,
}

impl NodeState {
    /// The watched key of a copy has been written, if it was that watcher's.
    #[inline]
    pub(super) fn note_touched(&mut self, watcher: u32) {
        if watcher == WATCHER
            && let Some(copying) = &mut self.verification.copying
        {
            copying.touched = true;
        }
    }

    /// The next piece of the value, from this byte or element on.
    pub(super) fn copy_piece(&mut self, db: DbIndex, bytes: Vec<u8>, from: u64, tries: u8) -> Mended {
        if from == 0 {
            self.begin_copy(db, &bytes);
        }
        let Some(copying) = self.verification.copying.clone() else { return Mended::Left };
        if copying.touched {
            self.end_copy();
            return if tries >= TRIES_MAX { Mended::Left } else { Mended::Then(Mend::Copy { db, key: bytes, from: 0, tries: tries + 1 }) };
        }
        let key = Key { bytes: &bytes, hash: self.keyspace.hash(&bytes) };
        let Some(entry) = self.keyspace.db(db).get(key) else { return Mended::Left };
        let temporary = &copying.temporary[..];
        let (mut command, mut next) = (Vec::new(), from);
        if let Some(StrRef::Bytes(text)) = entry.string() {
            let start = from as usize;
            let piece = &text[start..text.len().min(start + STEP_BYTES)];
            next += piece.len() as u64;
            if !piece.is_empty() {
                encode_command(&mut command, &[b"APPEND", temporary, piece]);
            }
        } else if let Some(list) = entry.list() {
            let (mut elements, mut size, mut buffer) = (Vec::new(), 0, ElemBuf::new());
            for element in list.iter_from(from) {
                let text = element.bytes(&mut buffer);
                size += text.len() + 16;
                elements.push(text.to_vec());
                if size >= STEP_BYTES || elements.len() >= STEP_ELEMENTS {
                    break;
                }
            }
            next += elements.len() as u64;
            if !elements.is_empty() {
                let words: Vec<&[u8]> = [&b"RPUSH"[..], temporary].into_iter().chain(elements.iter().map(|element| &element[..])).collect();
                encode_command(&mut command, &words);
            }
        }
        if !command.is_empty() {
            self.add_effect(db, |out| out.extend_from_slice(&command));
            return Mended::Then(Mend::Copy { db, key: bytes, from: next, tries });
        }
        // All is said: it takes the old one's place, with its time.
        let expire = entry.expire_at();
        if let Some(at) = expire {
            self.add_effect(db, |out| encode_command(out, &[b"PEXPIREAT", temporary, itoa::Buffer::new().format(at.0).as_bytes()]));
        }
        self.add_effect(db, |out| encode_command(out, &[b"RENAME", temporary, &bytes]));
        self.verification.copying = None;
        self.watches.remove(db, &bytes, WATCHER);
        Mended::Done
    }

    fn begin_copy(&mut self, db: DbIndex, key: &[u8]) {
        self.end_copy();
        let temporary = format!("replikant:repair:{}", self.env.random.hex(16)).into_bytes();
        self.watches.add(db, key, WATCHER);
        self.verification.copying = Some(Copying { db, key: key.to_vec(), temporary, touched: false });
    }

    /// Gives up what has been said of a copy.
    pub(super) fn end_copy(&mut self) {
        if let Some(Copying { db, key, temporary, .. }) = self.verification.copying.take() {
            self.watches.remove(db, &key, WATCHER);
            // While clients are paused nothing may enter the stream; what is left on slaves then is what the next comparison finds.
            if !self.data_is_frozen() {
                self.add_effect(db, |out| encode_command(out, &[b"UNLINK", &temporary]));
                self.flush_effects();
            }
        }
    }
}

/// What is copied so.
pub(super) fn is_copied(kind: Kind) -> bool {
    matches!(kind, Kind::String | Kind::List)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use crate::replication::verify::Wrong;

    /// Says all there is to say of a key; `meanwhile` runs after each step.
    fn mend_all(b: &mut Bench, key: &str, mut meanwhile: impl FnMut(&mut Bench, usize)) -> (Mended, usize) {
        let mut mend = Mend::Key { db: DbIndex(0), key: key.as_bytes().to_vec(), wrong: Wrong::default() };
        for step in 0.. {
            match b.node.mend(mend) {
                Mended::Then(next) => mend = next,
                end => return (end, step),
            }
            meanwhile(b, step);
        }
        unreachable!("it ends")
    }

    /// Runs what the stream says on a server of its own, and asks that for digests.
    fn applied(b: &mut Bench) -> Bench {
        let mut slave = Bench::new();
        for line in b.stream() {
            slave.say(&line);
        }
        slave
    }

    fn big(b: &mut Bench) {
        let text = "0123456789".repeat(30_000);
        b.say(&format!("set string {text} px 10000000"));
        for n in 0..6000 {
            b.say(&format!("rpush list {n} some-longer-element-{n}-that-is-a-text"));
        }
        b.stream();
    }

    #[test]
    fn long_values_are_said_in_pieces_and_put_in_place_at_once() {
        let mut b = Bench::new();
        big(&mut b);
        for key in ["string", "list"] {
            let (end, steps) = mend_all(&mut b, key, |_, _| {});
            assert!(end == Mended::Done && steps > 3, "{key}: {end:?} after {steps}");
            let mut slave = applied(&mut b);
            let value = format!("debug digest-value {key}");
            assert_eq!(slave.say(&value), b.say(&value));
            assert_eq!(slave.say(&format!("pexpiretime {key}")), b.say(&format!("pexpiretime {key}")));
            assert_eq!(slave.say("dbsize"), ":1");
        }
        assert!(b.node.watches.is_empty());
    }

    #[test]
    fn a_value_that_is_written_meanwhile_is_begun_anew_but_not_for_ever() {
        let mut b = Bench::new();
        big(&mut b);
        let (end, _) = mend_all(&mut b, "list", |b, step| {
            if step == 2 {
                b.say("lset list 5 changed");
                b.stream();
            }
        });
        assert_eq!(end, Mended::Done);
        // What came before the change is not in this stream, and what is given up is taken away.
        assert_eq!(applied(&mut b).say("debug digest-value list"), b.say("debug digest-value list"));
        let (end, _) = mend_all(&mut b, "list", |b, _| drop(b.say("rpush list more")));
        assert_eq!(end, Mended::Left);
        assert!(b.stream().last().unwrap().starts_with("UNLINK replikant:repair:"));
        assert!(b.node.watches.is_empty());
    }
}
