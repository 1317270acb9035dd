//! Repairing a slave through the stream: what the master has of a key, or of an element of a big collection, is said anew, in commands that 6.2 knows
//! and that do the same on every slave, whatever it has. The master's own data stay as they are.
//!
//! Each step says what there is at its own place in the stream, so that it does not matter what has been written since the comparison.

use super::NodeState;
use super::mend_copy::is_copied;
use crate::keyspace::{Big, DbIndex, Entry, HashRef, Key, Kind, ValueRef, ZSetRef, field_of};
use crate::rdb::Dialect;
use crate::replication::verify::Wrong;
use crate::resp::encode_command;
use crate::types::listpack::{Elem, ElemBuf};
use crate::types::number::DoubleBuf;

/// Greater values are not said in one command: a step is to take a fraction of a millisecond.
const WHOLE_BYTES_MAX: usize = 128 << 10;
/// Elements a step, of a collection that is said piece by piece.
const FILL_ELEMENTS: usize = 128;

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    Key {
        db: DbIndex,
        key: Vec<u8>,
        wrong: Wrong,
    },
    /// An element of a big collection, which slaves have with the same type.
    Element {
        db: DbIndex,
        key: Vec<u8>,
        name: Vec<u8>,
    },
    /// When the key expires.
    Expiry {
        db: DbIndex,
        key: Vec<u8>,
    },
    /// All elements of a big collection, from this cursor on.
    Fill {
        db: DbIndex,
        key: Vec<u8>,
        cursor: u64,
    },
    /// A long string or list, from this byte or element on, for the n-th time.
    Copy {
        db: DbIndex,
        key: Vec<u8>,
        from: u64,
        tries: u8,
    },
}

/// What has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mended {
    Done,
    /// This is to be done next.
    Then(Mend),
    /// Its elements must be compared first.
    Elements,
    /// It can't be said in short steps.
    Left,
}

impl NodeState {
    /// Says one thing. Only a master whose clients are not paused may do it, between two turns.
    pub fn mend(&mut self, mend: Mend) -> Mended {
        let mended = match mend {
            Mend::Key { db, key, wrong } => self.mend_key(db, key, wrong),
            Mend::Element { db, key, name } => {
                self.mend_element(db, &key, &name);
                Mended::Done
            }
            Mend::Expiry { db, key } => {
                self.mend_expiry(db, &key);
                Mended::Done
            }
            Mend::Fill { db, key, cursor } => self.fill(db, key, cursor),
            Mend::Copy { db, key, from, tries } => self.copy_piece(db, key, from, tries),
        };
        self.flush_effects();
        mended
    }

    /// Whether nothing may enter the stream just now.
    pub(crate) fn is_stream_held(&self) -> bool {
        self.data_is_frozen()
    }

    fn mend_key(&mut self, db: DbIndex, bytes: Vec<u8>, wrong: Wrong) -> Mended {
        let key = Key { bytes: &bytes, hash: self.keyspace.hash(&bytes) };
        let Some(entry) = self.keyspace.db(db).get(key) else {
            self.add_effect(db, |out| encode_command(out, &[b"UNLINK", key.bytes]));
            return Mended::Done;
        };
        if self.is_due(entry) {
            self.delete_expired(db, key);
            return Mended::Done;
        }
        if entry.allocated() <= WHOLE_BYTES_MAX {
            self.restore(db, key);
            return Mended::Done;
        }
        match entry.kind() {
            kind if is_copied(kind) => Mended::Then(Mend::Copy { db, key: bytes, from: 0, tries: 1 }),
            Kind::String | Kind::List | Kind::Stream => Mended::Left,
            Kind::Set | Kind::Hash | Kind::ZSet if wrong.is_missing || wrong.is_other_kind => {
                if wrong.is_other_kind {
                    self.add_effect(db, |out| encode_command(out, &[b"UNLINK", key.bytes]));
                }
                Mended::Then(Mend::Fill { db, key: bytes, cursor: 0 })
            }
            Kind::Set | Kind::Hash | Kind::ZSet => Mended::Elements,
        }
    }

    /// The whole value, in the form that the oldest slave loads.
    fn restore(&mut self, db: DbIndex, key: Key<'_>) {
        let NodeState { keyspace, dumper, .. } = self;
        let Some(entry) = keyspace.db(db).get(key) else { return };
        let at = entry.expire_at().map_or(0, |at| at.0);
        let payload = dumper.dump(entry, Dialect::Oldest, false).to_vec();
        let mut digits = itoa::Buffer::new();
        let at = digits.format(at).as_bytes();
        self.add_effect(db, |out| encode_command(out, &[b"RESTORE", key.bytes, at, &payload, b"REPLACE", b"ABSTTL"]));
    }

    fn mend_expiry(&mut self, db: DbIndex, bytes: &[u8]) {
        let key = Key { bytes, hash: self.keyspace.hash(bytes) };
        let Some(entry) = self.keyspace.db(db).get(key) else { return };
        let at = entry.expire_at();
        self.add_effect(db, |out| match at {
            Some(at) => encode_command(out, &[b"PEXPIREAT", bytes, itoa::Buffer::new().format(at.0).as_bytes()]),
            None => encode_command(out, &[b"PERSIST", bytes]),
        });
    }

    fn mend_element(&mut self, db: DbIndex, bytes: &[u8], name: &[u8]) {
        let key = Key { bytes, hash: self.keyspace.hash(bytes) };
        let mut said = Vec::new();
        if let Some(entry) = self.keyspace.db(db).get(key) {
            element(&mut said, entry, name);
        }
        for words in said {
            self.add_effect(db, |out| encode_command(out, &words.iter().map(|word| &word[..]).collect::<Vec<_>>()));
        }
    }

    /// Some elements of a big collection. What is added meanwhile is in the stream anyway; no element that stays is missed.
    fn fill(&mut self, db: DbIndex, bytes: Vec<u8>, cursor: u64) -> Mended {
        let key = Key { bytes: &bytes, hash: self.keyspace.hash(&bytes) };
        let Some(entry) = self.keyspace.db(db).get(key) else { return Mended::Done };
        let ValueRef::Big(big) = entry.value() else {
            // It has been replaced by something smaller.
            return Mended::Then(Mend::Key { db, key: bytes, wrong: Wrong::default() });
        };
        let (mut words, mut expiring): (Vec<Vec<u8>>, Vec<Vec<Vec<u8>>>) = (Vec::new(), Vec::new());
        let next = match big {
            Big::Set(members) => {
                words.push(b"SADD".to_vec());
                words.push(bytes.clone());
                members.scan(cursor, FILL_ELEMENTS, &mut |entry| words.push(entry.key().to_vec()))
            }
            Big::Hash(members) => {
                words.push(b"HSET".to_vec());
                words.push(bytes.clone());
                members.scan(cursor, FILL_ELEMENTS, &mut |entry| {
                    let (name, field) = field_of(entry);
                    words.push(name.to_vec());
                    words.push(field.value.to_vec());
                    expiring.extend(field.expire.map(|at| expiry_of(&bytes, &name.to_vec(), at.0)));
                })
            }
            Big::ZSet(sorted) => {
                words.push(b"ZADD".to_vec());
                words.push(bytes.clone());
                sorted.scan(cursor, FILL_ELEMENTS, &mut |member, score| {
                    words.push(DoubleBuf::default().shortest(score).as_bytes().to_vec());
                    words.push(member.to_vec());
                })
            }
            Big::List(_) | Big::Stream(_) => return Mended::Left,
        };
        for words in (words.len() > 2).then_some(words).into_iter().chain(expiring) {
            self.add_effect(db, |out| encode_command(out, &words.iter().map(|word| &word[..]).collect::<Vec<_>>()));
        }
        Mended::Then(match next {
            0 => Mend::Expiry { db, key: bytes },
            cursor => Mend::Fill { db, key: bytes, cursor },
        })
    }
}

fn expiry_of(key: &[u8], name: &[u8], at: i64) -> Vec<Vec<u8>> {
    let at = itoa::Buffer::new().format(at).as_bytes().to_vec();
    vec![b"HPEXPIREAT".to_vec(), key.to_vec(), at, b"FIELDS".to_vec(), b"1".to_vec(), name.to_vec()]
}

/// The commands that say of an element what there is.
fn element(said: &mut Vec<Vec<Vec<u8>>>, entry: &Entry, name: &[u8]) {
    let key = entry.key();
    let mut say = |words: &[&[u8]]| said.push(words.iter().map(|word| word.to_vec()).collect());
    if let Some(hash) = entry.hash() {
        match HashRef::get(hash, name) {
            None => say(&[b"HDEL", key, name]),
            Some(field) => {
                say(&[b"HSET", key, name, field.value.bytes(&mut ElemBuf::new())]);
                if let Some(at) = field.expire {
                    said.push(expiry_of(key, name, at.0));
                }
            }
        }
    } else if let Some(set) = entry.set() {
        say(&[if set.contains(Elem::of(name)) { b"SADD" } else { b"SREM" }, key, name]);
    } else if let Some(zset) = entry.zset() {
        match ZSetRef::score(zset, name) {
            None => say(&[b"ZREM", key, name]),
            Some(score) => say(&[b"ZADD", key, DoubleBuf::default().shortest(score).as_bytes(), name]),
        }
    }
}
