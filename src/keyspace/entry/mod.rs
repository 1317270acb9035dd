//! One key with its value in one allocation: header, expiry if it has one, key, small value.
//!
//! Layout, from the front: 8 bytes of header (LRU/LFU bits, kind and encoding, flags, key length, value length), 8 bytes of expiry behind a
//! flag bit, 4 bytes of key length if the header's byte says 255, the key, then the value: an integer in 8 bytes, the bytes of a short
//! string or of a small collection's compact block, or a pointer: to a shared block for a longer one (refcounted and `Send`, so that a
//! snapshot takes it without a copy and UNLINK frees it elsewhere), or to a big collection.
//!
//! Nothing here asks for alignment: allocators align anyway, but told to they may take a larger block to align in (mimalloc 3 does, even for
//! 8). So every number is read and written unaligned, and the pointer types are packed, for buckets that are allocated the same way.
//!
//! Ownership: an `OwnedEntry` owns the allocation and frees it; `Entry` is what it lends out; an `Alias` is a second, non-owning pointer for
//! the expiry index.

mod owned;

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Arc;

use super::UnixMs;
use super::big::{Big, BigBox};
use super::memory::prefetch;
use crate::types::memory::size_class;
use crate::types::number::parse_i64;
pub use owned::OwnedEntry;

/// Longer string values and compact blocks live in a shared block of their own. Bounds what a snapshot has to copy when a write meets a segment that it has
/// not visited.
pub(super) const INLINE_MAX: usize = 1024;
/// Redis's limit of `embstr`.
const EMBSTR_MAX: usize = 44;

/// A key's bytes with their hash, computed once a command.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    pub bytes: &'a [u8],
    pub hash: u64,
}

/// The type of a value, as TYPE names it; the numbers are Redis's object types (DEBUG DIGEST mixes them in).
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

impl Kind {
    pub(super) fn from_bits(bits: u8) -> Kind {
        match bits {
            0 => Kind::String,
            1 => Kind::List,
            2 => Kind::Set,
            3 => Kind::ZSet,
            4 => Kind::Hash,
            6 => Kind::Stream,
            _ => unreachable!("kind {bits}"),
        }
    }
}

/// A string value as stored: integers in range are kept as numbers (encoding `int`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrRef<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> StrRef<'a> {
    /// STRLEN.
    pub fn len(self) -> usize {
        match self {
            StrRef::Int(number) => itoa::Buffer::new().format(number).len(),
            StrRef::Bytes(bytes) => bytes.len(),
        }
    }
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
    /// As Redis stores a string that a client gives it.
    #[inline]
    pub(super) fn encode(bytes: &'a [u8]) -> Self {
        match parse_i64(bytes) {
            Some(number) => StrRef::Int(number),
            None => StrRef::Bytes(bytes),
        }
    }
}

/// How the compact block of a small collection is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// `types::listpack`: a list's or a set's elements, a hash's fields and values, a sorted set's members and scores.
    ListPack = 0,
    /// `types::intset`: a set of integers.
    IntSet = 1,
    /// A listpack of fields, values and expiry times: a hash of whose fields some expire.
    ListPackEx = 2,
}

impl Form {
    pub(super) fn from_bits(bits: u8) -> Form {
        match bits {
            0 => Form::ListPack,
            1 => Form::IntSet,
            2 => Form::ListPackEx,
            _ => unreachable!("form {bits}"),
        }
    }
}

/// A value, borrowed.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    String(StrRef<'a>),
    /// A small collection; `Entry::kind` says of what.
    Block(Form, &'a [u8]),
    Big(&'a Big),
}

/// The shared bytes of a long string or compact block.
pub type SharedBytes = Arc<Vec<u8>>;

#[derive(Clone, Copy)]
#[repr(C)]
struct Header {
    /// LRU bits << 8 | kind << 4 | encoding.
    meta: u32,
    flags: u8,
    key_len: u8,
    /// Length of inline bytes.
    value_len: u16,
}

const HEADER: usize = size_of::<Header>();

/// Encodings, the low four bits of `meta`.
const INT: u8 = 0;
const INLINE: u8 = 1;
const SHARED: u8 = 2;
const BIG: u8 = 3;

/// Flag bits. `EXPIRE` must be bit 0: the offset of the key is computed from it without a branch.
const EXPIRE: u8 = 1;
/// Made by APPEND or SETRANGE: OBJECT ENCODING says raw whatever the length.
const RAW: u8 = 2;
/// A block's `Form`, two bits.
const FORM_SHIFT: u32 = 2;

/// This key length says that 4 bytes of length stand before the key.
const LONG_KEY: u8 = 255;

/// A stored entry, as the table gives it out for reading. A pointer: whoever has a `&Entry` borrows from the entry's owner.
#[repr(C, packed)]
pub struct Entry(NonNull<Header>);

// SAFETY: an entry is one allocation of plain bytes and at most one `Arc<Vec<u8>>` or `BigBox`; nothing in it belongs to a thread. (It is not `Sync`:
// `set_lru` writes through a shared reference.)
unsafe impl Send for Entry {}

impl Entry {
    #[inline]
    fn header(&self) -> Header {
        // SAFETY: every `Entry` points to a live allocation that begins with an initialized header.
        unsafe { self.0.as_ptr().read_unaligned() }
    }
    #[inline]
    fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: all callers' offsets come from the header and lie within the allocation.
        unsafe { self.0.as_ptr().cast::<u8>().add(offset) }
    }
    /// Where the key begins, and its length.
    #[inline]
    fn key_span(&self) -> (usize, usize) {
        let header = self.header();
        let start = HEADER + 8 * usize::from(header.flags & EXPIRE);
        if header.key_len != LONG_KEY {
            return (start, usize::from(header.key_len));
        }
        // SAFETY: with this key length, four initialized bytes of length stand here.
        let len = unsafe { self.at(start).cast::<u32>().read_unaligned() };
        (start + 4, len as usize)
    }
    #[inline]
    fn value_start(&self) -> usize {
        let (start, len) = self.key_span();
        start + len
    }
    #[inline]
    fn value_word(&self) -> *mut u64 {
        self.at(self.value_start()).cast()
    }
    #[inline]
    fn encoding_bits(&self) -> u8 {
        (self.header().meta & 0xf) as u8
    }
    /// The size that was allocated.
    fn layout(&self) -> Layout {
        let header = self.header();
        let value = if (header.meta & 0xf) as u8 == INLINE { usize::from(header.value_len) } else { 8 };
        layout_of(self.value_start() + value)
    }
    #[inline]
    pub(super) fn is_shared(&self) -> bool {
        self.encoding_bits() == SHARED
    }
    #[inline]
    pub(super) fn is_big(&self) -> bool {
        self.encoding_bits() == BIG
    }
    fn form(&self) -> Form {
        Form::from_bits(self.header().flags >> FORM_SHIFT & 3)
    }
    /// The pointer of a big collection, from `BigBox::into_raw`.
    fn big_pointer(&self) -> NonNull<()> {
        assert!(self.is_big());
        // SAFETY: with this encoding the value is that pointer.
        unsafe { self.value_word().cast::<NonNull<()>>().read_unaligned() }
    }
    fn big(&self) -> &Big {
        // SAFETY: this entry holds a count of the collection, which changes only through its owner (see `BigBox`).
        unsafe { BigBox::peek(self.big_pointer()) }
    }
    /// The big collection, counted once more.
    pub(super) fn share_big(&self) -> Option<BigBox> {
        // SAFETY: this entry holds a count.
        self.is_big().then(|| unsafe { BigBox::clone_raw(self.big_pointer()) })
    }
    /// The pointer of a long value, from `Arc::into_raw`; this entry holds a count of it.
    fn shared_pointer(&self) -> *const Vec<u8> {
        assert!(self.is_shared());
        // SAFETY: with this encoding the value is that pointer.
        unsafe { self.value_word().cast::<*const Vec<u8>>().read_unaligned() }
    }
    fn shared(&self) -> &Vec<u8> {
        // SAFETY: the block lives as long as this entry's count of it, and only `&mut OwnedEntry` changes it.
        unsafe { &*self.shared_pointer() }
    }
    /// The shared block, counted once more.
    pub(super) fn share(&self) -> Option<SharedBytes> {
        if !self.is_shared() {
            return None;
        }
        let pointer = self.shared_pointer();
        // SAFETY: as in `shared`; the count that this makes belongs to the returned `Arc`.
        unsafe {
            Arc::increment_strong_count(pointer);
            Some(Arc::from_raw(pointer))
        }
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        let (start, len) = self.key_span();
        // SAFETY: `len` initialized bytes of key stand at `start` and do not change while the entry lives.
        unsafe { std::slice::from_raw_parts(self.at(start), len) }
    }
    #[inline]
    pub fn kind(&self) -> Kind {
        Kind::from_bits((self.header().meta >> 4) as u8 & 0xf)
    }
    #[inline]
    pub fn expire_at(&self) -> Option<UnixMs> {
        if self.header().flags & EXPIRE == 0 {
            return None;
        }
        // SAFETY: with the flag set, eight initialized bytes stand behind the header.
        Some(UnixMs(unsafe { self.at(HEADER).cast::<i64>().read_unaligned() }))
    }
    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        if self.is_string() {
            return ValueRef::String(self.str_ref());
        }
        match self.encoding_bits() {
            BIG => ValueRef::Big(self.big()),
            _ => ValueRef::Block(self.form(), self.bytes()),
        }
    }
    #[inline]
    fn is_string(&self) -> bool {
        (self.header().meta >> 4) & 0xf == Kind::String as u32
    }
    /// The bytes of a string or block that is not an integer.
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self.encoding_bits() {
            // SAFETY: with this encoding the value is `value_len` initialized bytes.
            INLINE => unsafe { std::slice::from_raw_parts(self.at(self.value_start()), usize::from(self.header().value_len)) },
            _ => self.shared(),
        }
    }
    #[inline]
    fn str_ref(&self) -> StrRef<'_> {
        let header = self.header();
        let start = self.value_start();
        match (header.meta & 0xf) as u8 {
            // SAFETY: with this encoding the value is eight initialized bytes.
            INT => StrRef::Int(unsafe { self.at(start).cast::<i64>().read_unaligned() }),
            // SAFETY: with this encoding the value is `value_len` initialized bytes.
            INLINE => StrRef::Bytes(unsafe { std::slice::from_raw_parts(self.at(start), usize::from(header.value_len)) }),
            _ => StrRef::Bytes(self.shared()),
        }
    }
    /// The value if it is a string.
    #[inline]
    pub fn string(&self) -> Option<StrRef<'_>> {
        if self.is_string() { Some(self.str_ref()) } else { None }
    }
    /// The 24 LRU/LFU bits; what they mean depends on `maxmemory-policy`.
    #[inline]
    pub fn lru(&self) -> u32 {
        self.header().meta >> 8
    }
    /// Does not count as a change: snapshots and watches are not told.
    #[inline]
    pub fn set_lru(&self, bits: u32) {
        let meta = (bits << 8) | (self.header().meta & 0xff);
        // SAFETY: `meta` is the header's first field; no reference to the header exists, and `Entry` is not `Sync`.
        unsafe { self.0.as_ptr().cast::<u32>().write_unaligned(meta) }
    }
    /// Bytes that this entry has allocated, as `maxmemory` and MEMORY USAGE count them.
    pub fn allocated(&self) -> usize {
        let entry = size_class(self.layout().size());
        match self.encoding_bits() {
            SHARED => entry + size_class(size_of::<Vec<u8>>() + 16) + size_class(self.shared().capacity()),
            BIG => entry + self.big().allocated(),
            _ => entry,
        }
    }
    /// OBJECT ENCODING.
    pub fn encoding(&self) -> &'static str {
        match self.value() {
            ValueRef::String(StrRef::Int(_)) => "int",
            ValueRef::String(StrRef::Bytes(bytes)) if bytes.len() <= EMBSTR_MAX && self.header().flags & RAW == 0 => "embstr",
            ValueRef::String(StrRef::Bytes(_)) => "raw",
            ValueRef::Block(Form::ListPack, _) => "listpack",
            ValueRef::Block(Form::IntSet, _) => "intset",
            ValueRef::Block(Form::ListPackEx, _) => "listpackex",
            ValueRef::Big(big) => big.encoding(),
        }
    }
    /// Asks the CPU for the lines that hold header, key and the beginning of the value.
    #[inline]
    pub(super) fn prefetch(&self) {
        prefetch(self.at(0));
        // Past the end of a short entry this address is not ours; a prefetch never faults.
        prefetch(self.0.as_ptr().cast::<u8>().wrapping_add(64));
    }
}

/// A non-owning pointer to an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, packed)]
pub(super) struct Alias(NonNull<Header>);

// SAFETY: as for `Entry`; an alias moves between threads only together with the entry's owner (both are in one `Db`).
unsafe impl Send for Alias {}

impl Alias {
    /// Tells entries apart.
    #[inline]
    pub(super) fn address(&self) -> usize {
        self.0.addr().get()
    }
    #[inline]
    pub(super) fn entry(&self) -> &Entry {
        // SAFETY: `Entry` is a transparent wrapper of this pointer; whoever made the alias vouched that the entry lives.
        unsafe { &*(&raw const self.0).cast::<Entry>() }
    }
}

/// Rounded up, as the allocator will, so that a value of about the same length can take another's place.
#[inline]
fn layout_of(size: usize) -> Layout {
    Layout::from_size_align(size.next_multiple_of(8), 1).expect("an entry is smaller than half the address space")
}
