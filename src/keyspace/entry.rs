//! One key with its value in one allocation: header, expiry if it has one, key, small value.
//!
//! Layout, from the front: 8 bytes of header (LRU/LFU bits, kind and encoding, flags, key length, value length), 8 bytes of expiry behind a
//! flag bit, 4 bytes of key length if the header's byte says 255, the key, then the value: an integer in 8 bytes, the bytes of a short
//! string, or a pointer to a shared block for a long one (refcounted and `Send`, so that a snapshot takes it without a copy and UNLINK
//! frees it elsewhere).
//!
//! Nothing here asks for alignment: allocators align anyway, but told to they may take a larger block to align in (mimalloc 3 does, even for
//! 8). So every number is read and written unaligned, and the pointer types are packed, for buckets that are allocated the same way.
//!
//! Ownership: an `OwnedEntry` owns the allocation and frees it; `Entry` is what it lends out; an `Alias` is a second, non-owning pointer for
//! the expiry index.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use super::UnixMs;
use super::memory::prefetch;
use crate::types::memory::size_class;
use crate::types::number::parse_i64;

/// Longer string values live in a shared block of their own. Bounds what a snapshot has to copy when a write meets a segment that it has
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

/// A value, borrowed.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    String(StrRef<'a>),
}

/// A long string's shared bytes.
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

/// Flag bits. `EXPIRE` must be bit 0: the offset of the key is computed from it without a branch.
const EXPIRE: u8 = 1;
/// Made by APPEND or SETRANGE: OBJECT ENCODING says raw whatever the length.
const RAW: u8 = 2;

/// This key length says that 4 bytes of length stand before the key.
const LONG_KEY: u8 = 255;

/// A stored entry, as the table gives it out for reading. A pointer: whoever has a `&Entry` borrows from the entry's owner.
#[repr(C, packed)]
pub struct Entry(NonNull<Header>);

// SAFETY: an entry is one allocation of plain bytes and at most one `Arc<Vec<u8>>`; nothing in it belongs to a thread. (It is not `Sync`:
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
        ValueRef::String(self.str_ref())
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
        match self.value() {
            ValueRef::String(string) => Some(string),
        }
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
        if !self.is_shared() {
            return entry;
        }
        entry + size_class(size_of::<Vec<u8>>() + 16) + size_class(self.shared().capacity())
    }
    /// OBJECT ENCODING: `int`, `embstr` (up to 44 bytes), `raw`.
    pub fn encoding(&self) -> &'static str {
        match self.str_ref() {
            StrRef::Int(_) => "int",
            StrRef::Bytes(bytes) if bytes.len() <= EMBSTR_MAX && self.header().flags & RAW == 0 => "embstr",
            StrRef::Bytes(_) => "raw",
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

/// An entry that has been taken out of its table (or not yet put in): for RENAME, COPY, MOVE, RDB loading, freeing elsewhere.
#[repr(transparent)]
pub struct OwnedEntry(Entry);

/// What a new entry's value is made of.
enum Parts<'a> {
    Int(i64),
    Inline(&'a [u8]),
    Shared(SharedBytes),
}

impl<'a> Parts<'a> {
    /// A string's bytes; a long one is moved out.
    fn of(bytes: &'a mut Vec<u8>) -> Self {
        if bytes.len() <= INLINE_MAX { Parts::Inline(bytes) } else { Parts::Shared(Arc::new(std::mem::take(bytes))) }
    }
}

impl OwnedEntry {
    pub fn new_string(key: &[u8], value: StrRef<'_>, expire: Option<UnixMs>) -> Self {
        let parts = match value {
            StrRef::Int(number) => Parts::Int(number),
            StrRef::Bytes(bytes) if bytes.len() <= INLINE_MAX => Parts::Inline(bytes),
            StrRef::Bytes(bytes) => Parts::Shared(Arc::new(bytes.to_vec())),
        };
        Self::build(key, expire, 0, 0, parts)
    }
    /// SETRANGE on a key that is not there.
    pub(super) fn new_range(key: &[u8], offset: usize, bytes: &[u8]) -> Self {
        let mut value = vec![0; offset];
        value.extend_from_slice(bytes);
        Self::build(key, None, 0, RAW, Parts::of(&mut value))
    }
    /// A string that commands change in place (a bitmap, a HyperLogLog).
    pub(super) fn new_raw(key: &[u8], mut bytes: Vec<u8>, expire: Option<UnixMs>) -> Self {
        Self::build(key, expire, 0, RAW, Parts::of(&mut bytes))
    }
    /// The same value under another key (RENAME, COPY); long values are shared, not copied.
    pub fn with_key(&self, key: &[u8]) -> OwnedEntry {
        self.rebuilt(key, self.0.expire_at())
    }
    /// The same key and value with another expiry.
    pub(super) fn with_expire(&self, expire: Option<UnixMs>) -> OwnedEntry {
        self.rebuilt(self.0.key(), expire)
    }
    fn rebuilt(&self, key: &[u8], expire: Option<UnixMs>) -> OwnedEntry {
        let parts = match (self.0.share(), self.0.str_ref()) {
            (Some(shared), _) => Parts::Shared(shared),
            (None, StrRef::Int(number)) => Parts::Int(number),
            (None, StrRef::Bytes(bytes)) => Parts::Inline(bytes),
        };
        Self::build(key, expire, self.0.lru(), self.0.header().flags & RAW, parts)
    }
    #[inline]
    pub fn entry(&self) -> &Entry {
        &self.0
    }

    fn build(key: &[u8], expire: Option<UnixMs>, lru: u32, flags: u8, parts: Parts<'_>) -> Self {
        let (encoding, value_len, value_size) = match &parts {
            Parts::Int(_) => (INT, 0, 8),
            Parts::Inline(bytes) => (INLINE, bytes.len(), bytes.len()),
            Parts::Shared(_) => (SHARED, 0, 8),
        };
        assert!(value_len <= INLINE_MAX);
        let long_key = key.len() >= usize::from(LONG_KEY);
        let key_start = HEADER + if expire.is_some() { 8 } else { 0 } + if long_key { 4 } else { 0 };
        let layout = layout_of(key_start + key.len() + value_size);
        let header = Header {
            meta: (lru << 8) | u32::from((Kind::String as u8) << 4 | encoding),
            flags: flags | if expire.is_some() { EXPIRE } else { 0 },
            key_len: if long_key { LONG_KEY } else { key.len() as u8 },
            value_len: value_len as u16,
        };
        // SAFETY: the allocation is as long as the pieces written into it one behind the other; all is written unaligned.
        unsafe {
            let Some(pointer) = NonNull::new(alloc(layout).cast::<Header>()) else { handle_alloc_error(layout) };
            let base = pointer.as_ptr().cast::<u8>();
            pointer.as_ptr().write_unaligned(header);
            if let Some(UnixMs(at)) = expire {
                base.add(HEADER).cast::<i64>().write_unaligned(at);
            }
            if long_key {
                let len = u32::try_from(key.len()).expect("a key is shorter than 4 GiB");
                base.add(key_start - 4).cast::<u32>().write_unaligned(len);
            }
            base.add(key_start).copy_from_nonoverlapping(key.as_ptr(), key.len());
            let value = base.add(key_start + key.len());
            match parts {
                Parts::Int(number) => value.cast::<i64>().write_unaligned(number),
                Parts::Shared(shared) => value.cast::<*const Vec<u8>>().write_unaligned(Arc::into_raw(shared)),
                Parts::Inline(bytes) => value.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()),
            }
            OwnedEntry(Entry(pointer))
        }
    }

    /// Another value and expiry in this allocation, if it has the right size. The LRU bits stay.
    #[inline]
    pub(super) fn overwrite(&mut self, value: StrRef<'_>, expire: Option<UnixMs>) -> bool {
        let mut header = self.0.header();
        let old_encoding = (header.meta & 0xf) as u8;
        let (encoding, len, size) = match value {
            StrRef::Int(_) => (INT, 0, 8),
            StrRef::Bytes(bytes) => (INLINE, bytes.len(), bytes.len()),
        };
        if len > INLINE_MAX || old_encoding == SHARED || expire.is_some() != (header.flags & EXPIRE != 0) {
            return false;
        }
        let start = self.0.value_start();
        let old_size = if old_encoding == INLINE { usize::from(header.value_len) } else { 8 };
        if layout_of(start + size) != layout_of(start + old_size) {
            return false;
        }
        header.meta = header.meta & !0xf | u32::from(encoding);
        header.flags &= !RAW;
        header.value_len = len as u16;
        // SAFETY: `&mut self` is the only access; the allocation has room for this value at `start`, as the equal layouts say, and for
        // the expiry, as the flag says.
        unsafe {
            self.0.0.as_ptr().write_unaligned(header);
            match value {
                StrRef::Int(number) => self.0.at(start).cast::<i64>().write_unaligned(number),
                StrRef::Bytes(bytes) => self.0.at(start).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()),
            }
            if let Some(UnixMs(at)) = expire {
                self.0.at(HEADER).cast::<i64>().write_unaligned(at);
            }
        }
        true
    }
    /// Changes the expiry's time in place; false if there is no room for one, or one to take away.
    pub(super) fn overwrite_expire(&mut self, expire: Option<UnixMs>) -> bool {
        match (self.0.header().flags & EXPIRE != 0, expire) {
            (true, Some(UnixMs(at))) => {
                // SAFETY: with the flag set, eight bytes of expiry stand behind the header; `&mut self` is the only access.
                unsafe { self.0.at(HEADER).cast::<i64>().write_unaligned(at) };
                true
            }
            (had, expire) => !had && expire.is_none(),
        }
    }
    /// SETRANGE and APPEND: writes `bytes` at `offset`, zeros in between. The value becomes raw. A long value is changed in place unless
    /// a snapshot shares it. Returns the new length.
    pub(super) fn write_at(&mut self, offset: usize, bytes: &[u8]) -> usize {
        self.write(|_| offset, bytes)
    }
    pub(super) fn append(&mut self, bytes: &[u8]) -> usize {
        self.write(|len| len, bytes)
    }
    fn write(&mut self, offset: impl FnOnce(usize) -> usize, bytes: &[u8]) -> usize {
        if self.0.is_shared() {
            return self.edit_shared(|long| {
                let offset = offset(long.len());
                write_range(long, offset, bytes);
                long.len()
            });
        }
        self.edit_short(|value| {
            let offset = offset(value.len());
            write_range(value, offset, bytes);
            value.len()
        })
    }
    /// SETBIT and its like: `change` gets the bytes to change, at least `len` of them, zeros behind the old end. The value becomes raw. Nothing moves
    /// where nothing grows, unless a snapshot shares a long value.
    pub(super) fn modify<R>(&mut self, len: usize, change: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut header = self.0.header();
        let encoding = self.0.encoding_bits();
        if encoding == INLINE && usize::from(header.value_len) >= len {
            header.flags |= RAW;
            // SAFETY: with this encoding the value is `value_len` initialized bytes; `&mut self` is the only access.
            let bytes = unsafe {
                self.0.0.as_ptr().write_unaligned(header);
                std::slice::from_raw_parts_mut(self.0.at(self.0.value_start()), usize::from(header.value_len))
            };
            return change(bytes);
        }
        let grow = |bytes: &mut Vec<u8>| {
            if bytes.len() < len {
                reserve(bytes, len);
                bytes.resize(len, 0);
            }
            change(bytes)
        };
        if encoding == SHARED { self.edit_shared(grow) } else { self.edit_short(grow) }
    }
    /// Rebuilds an entry around its edited value.
    fn edit_short<R>(&mut self, edit: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut value = match self.0.str_ref() {
            StrRef::Int(number) => itoa::Buffer::new().format(number).as_bytes().to_vec(),
            StrRef::Bytes(bytes) => bytes.to_vec(),
        };
        let result = edit(&mut value);
        *self = Self::build(self.0.key(), self.0.expire_at(), self.0.lru(), RAW, Parts::of(&mut value));
        result
    }
    fn edit_shared<R>(&mut self, edit: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut header = self.0.header();
        header.flags |= RAW;
        let word = self.0.value_word().cast::<*const Vec<u8>>();
        // SAFETY: with this encoding the word is a pointer from `Arc::into_raw` whose count this entry holds. The count moves into
        // `shared` and, perhaps as another block's, back into the word; `ManuallyDrop` keeps an unwinding `edit` from freeing it twice.
        unsafe {
            self.0.0.as_ptr().write_unaligned(header);
            let mut shared = ManuallyDrop::new(Arc::from_raw(self.0.shared_pointer()));
            if Arc::get_mut(&mut shared).is_none() {
                let copy = Arc::new(Vec::clone(&shared));
                ManuallyDrop::drop(&mut shared);
                shared = ManuallyDrop::new(copy);
                word.write_unaligned(Arc::as_ptr(&shared));
            }
            edit(Arc::get_mut(&mut shared).expect("this entry alone holds the block"))
        }
    }
    /// A second pointer to this entry.
    ///
    /// # Safety
    /// `Alias::entry` must not be called once the entry has been dropped.
    pub(super) unsafe fn alias(&self) -> Alias {
        Alias(self.0.0)
    }
}

impl Drop for OwnedEntry {
    fn drop(&mut self) {
        let layout = self.0.layout();
        // SAFETY: this owner is the last user of the allocation, which was made with the layout that the header describes.
        unsafe {
            if self.0.is_shared() {
                drop(Arc::from_raw(self.0.shared_pointer()));
            }
            dealloc(self.0.0.as_ptr().cast(), layout);
        }
    }
}

/// A non-owning pointer to an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, packed)]
pub(super) struct Alias(NonNull<Header>);

// SAFETY: as for `Entry`; an alias moves between threads only together with the entry's owner (both are in one `Db`).
unsafe impl Send for Alias {}

impl Alias {
    #[inline]
    pub(super) fn entry(&self) -> &Entry {
        // SAFETY: `Entry` is a transparent wrapper of this pointer; whoever made the alias vouched that the entry lives.
        unsafe { &*(&raw const self.0).cast::<Entry>() }
    }
}

/// Makes room for a string that grows to `end` bytes: amortised, but a big one does not double; it gets an eighth more than needed.
fn reserve(into: &mut Vec<u8>, end: usize) {
    if end > into.capacity() && !into.is_empty() {
        let slack = if end <= 1 << 20 { end } else { end / 8 };
        into.reserve_exact(end + slack - into.len());
    }
}

/// Overwrites `into` at `offset`, zero-padding and growing it as needed.
fn write_range(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    reserve(into, end);
    if into.len() < offset {
        into.resize(offset, 0);
    }
    let overlap = bytes.len().min(into.len() - offset);
    into[offset..offset + overlap].copy_from_slice(&bytes[..overlap]);
    into.extend_from_slice(&bytes[overlap..]);
}

/// Rounded up, as the allocator will, so that a value of about the same length can take another's place.
#[inline]
fn layout_of(size: usize) -> Layout {
    Layout::from_size_align(size.next_multiple_of(8), 1).expect("an entry is smaller than half the address space")
}
