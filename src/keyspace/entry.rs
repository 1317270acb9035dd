//! One key with its value in one allocation: header, expiry if it has one, key, small value.
//!
//! Layout, from the front: 8 bytes of header (kind and encoding, flags, LRU/LFU bits, key length, value length), 8 bytes of expiry behind a
//! flag bit, the key, then the value: an integer in 8 bytes, the bytes of a short string, or a pointer to a shared block for a long one
//! (refcounted and `Send`, so that a snapshot takes it without a copy and UNLINK frees it elsewhere).

use std::sync::Arc;

use super::UnixMs;

/// A key's bytes with their hash, computed once a command.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    pub bytes: &'a [u8],
    pub hash: u64,
}

/// The type of a value, as TYPE names it; the numbers are RDB's object types (DEBUG DIGEST mixes them in).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    String = 0,
    List = 1,
    Set = 2,
    ZSet = 3,
    Hash = 4,
    Stream = 6,
}

/// A string value as stored: integers in range are kept as numbers (encoding `int`).
#[derive(Clone, Copy)]
pub enum StrRef<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

/// A value, borrowed.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    String(StrRef<'a>),
}

/// A stored entry, as the table gives it out for reading.
pub struct Entry {
    _header: [u8; 8],
}

impl Entry {
    pub fn key(&self) -> &[u8] {
        todo!()
    }
    pub fn kind(&self) -> Kind {
        todo!()
    }
    pub fn expire_at(&self) -> Option<UnixMs> {
        todo!()
    }
    pub fn value(&self) -> ValueRef<'_> {
        todo!()
    }
    /// The value if it is a string.
    pub fn string(&self) -> Option<StrRef<'_>> {
        todo!()
    }
    /// The 24 LRU/LFU bits; what they mean depends on `maxmemory-policy`.
    pub fn lru(&self) -> u32 {
        todo!()
    }
    /// Does not count as a change: snapshots and watches are not told.
    pub fn set_lru(&self, bits: u32) {
        let _ = bits;
        todo!()
    }
    /// Bytes that this entry has allocated, as `maxmemory` and MEMORY USAGE count them.
    pub fn allocated(&self) -> usize {
        todo!()
    }
    /// OBJECT ENCODING: `int`, `embstr` (up to 44 bytes), `raw`.
    pub fn encoding(&self) -> &'static str {
        todo!()
    }
}

/// An entry that has been taken out of its table (or not yet put in): for RENAME, COPY, MOVE, RDB loading, freeing elsewhere.
pub struct OwnedEntry {
    _ptr: std::ptr::NonNull<Entry>,
}

// SAFETY: an entry is one allocation of plain bytes and `Arc`s, owned by whoever holds it.
unsafe impl Send for OwnedEntry {}

impl OwnedEntry {
    pub fn new_string(key: &[u8], value: StrRef<'_>, expire: Option<UnixMs>) -> Self {
        let _ = (key, value, expire);
        todo!()
    }
    /// The same value under another key (RENAME, COPY); long values are shared, not copied.
    pub fn with_key(&self, key: &[u8]) -> OwnedEntry {
        let _ = key;
        todo!()
    }
    pub fn entry(&self) -> &Entry {
        todo!()
    }
}

/// A long string's shared bytes.
pub type SharedBytes = Arc<Vec<u8>>;
