//! What master and slaves are to look at, and the mark that says so in the stream.
//!
//! The mark is a PING with an argument, which every server that ever followed a master takes, answers to nobody, counts and hands on verbatim. No client
//! can put one into the stream, as it could a PUBLISH, and nobody who is subscribed to anything sees it.

use std::collections::BTreeSet;

use super::slot::{SLOTS, ranges};
use crate::keyspace::DbIndex;
use crate::resp::encode_command;

const MARK: &[u8] = b"replikant-verify ";

/// A slot of a database; of a collection's elements, with its number in the scope in the database's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId {
    pub space: u32,
    pub slot: u16,
}

/// Which items are to be digested: keys, or elements of collections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Keys of that database alone.
    pub db: Option<DbIndex>,
    /// Elements of these, instead of keys.
    pub collections: Vec<(DbIndex, Vec<u8>)>,
    /// Each item in these slots by its name, instead of a sum of every slot.
    pub slots: Option<BTreeSet<SlotId>>,
}

/// The numbers of a verification's rounds never come twice on one master; slaves give them back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub id: u64,
    pub scope: Scope,
}

impl Mark {
    /// The command for the stream.
    pub fn command(&self) -> Vec<u8> {
        let mut text = String::from_utf8_lossy(MARK).into_owned();
        text.push_str(&format!("{:016x}", self.id));
        if let Some(DbIndex(db)) = self.scope.db {
            text.push_str(&format!(" db:{db}"));
        }
        for (DbIndex(db), key) in &self.scope.collections {
            text.push_str(&format!(" of:{db}:"));
            key.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        }
        if let Some(slots) = &self.scope.slots {
            let mut spaces: Vec<u32> = slots.iter().map(|id| id.space).collect();
            spaces.dedup();
            for space in spaces {
                let all = slots.range(SlotId { space, slot: 0 }..=SlotId { space, slot: SLOTS });
                text.push_str(&format!(" in:{space}:{}", ranges(all.map(|id| id.slot)).join(",")));
            }
        }
        let mut command = Vec::with_capacity(text.len() + 32);
        encode_command(&mut command, &[b"PING", text.as_bytes()]);
        command
    }

    /// Whether it is a mark that a PING has as its argument.
    #[inline]
    pub fn is_one(text: &[u8]) -> bool {
        text.starts_with(MARK)
    }

    /// Reads one. What a newer server may say in it is not guessed at.
    pub fn parse(text: &[u8]) -> Option<Mark> {
        let text = std::str::from_utf8(text.strip_prefix(MARK)?).ok()?;
        let mut words = text.split(' ');
        let id = u64::from_str_radix(words.next()?, 16).ok()?;
        let mut scope = Scope::default();
        for word in words {
            let (name, value) = word.split_once(':')?;
            match name {
                "db" => scope.db = Some(DbIndex(value.parse().ok()?)),
                "of" => {
                    let (db, key) = value.split_once(':')?;
                    scope.collections.push((DbIndex(db.parse().ok()?), unhex(key)?));
                }
                "in" => {
                    let (space, listed) = value.split_once(':')?;
                    add_slots(scope.slots.get_or_insert_default(), space.parse().ok()?, listed)?;
                }
                _ => return None,
            }
        }
        Some(Mark { id, scope })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn add_slots(slots: &mut BTreeSet<SlotId>, space: u32, listed: &str) -> Option<()> {
    for range in listed.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if last >= SLOTS {
            return None;
        }
        slots.extend((first..=last).map(|slot| SlotId { space, slot }));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_were_written() {
        let slot = |space, slot| SlotId { space, slot };
        let scopes = [
            Scope::default(),
            Scope { db: Some(DbIndex(3)), ..Scope::default() },
            Scope { slots: Some(BTreeSet::from([slot(0, 7), slot(0, 8), slot(0, 9), slot(2, 0), slot(2, 16383)])), ..Scope::default() },
            Scope {
                collections: vec![(DbIndex(0), b"a key\r\n\xff".to_vec()), (DbIndex(15), Vec::new())],
                slots: Some(BTreeSet::from([slot(1, 5)])),
                ..Scope::default()
            },
        ];
        for scope in scopes {
            let mark = Mark { id: 0xfedc_ba98_7654_3210, scope };
            let command = mark.command();
            let text = command.split(|byte| *byte == b'\n').nth(4).unwrap().strip_suffix(b"\r").unwrap();
            assert!(Mark::is_one(text));
            assert_eq!(Mark::parse(text), Some(mark), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn what_is_no_mark_is_not_taken_for_one() {
        for text in [
            &b"replikant-verify "[..],
            b"replikant-verify xyz",
            b"replikant-verify 1 new:1",
            b"replikant-verify 1 db:x",
            b"replikant-verify 1 of:1:0",
            b"replikant-verify 1 of:1:0\xc3\xa9a",
            b"replikant-verify 1 in:0:16384",
            b"replikant-verify 1 in:0:",
            b"replikant-verify 1  ",
            b"hello",
        ] {
            assert_eq!(Mark::parse(text), None, "{}", String::from_utf8_lossy(text));
        }
    }
}
