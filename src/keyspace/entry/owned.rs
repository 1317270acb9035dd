//! Making and changing entries: who owns an entry's allocation.

use std::alloc::{alloc, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use super::{
    Alias, BIG, EXPIRE, Entry, FORM_SHIFT, Form, HEADER, Header, INLINE, INLINE_MAX, INT, Kind, LONG_KEY, RAW, SHARED, SharedBytes, StrRef, ValueRef,
    layout_of,
};
use crate::keyspace::UnixMs;
use crate::keyspace::big::{BigBox, Value};

/// An entry that has been taken out of its table (or not yet put in): for RENAME, COPY, MOVE, RDB loading, freeing elsewhere.
#[repr(transparent)]
pub struct OwnedEntry(Entry);

/// What a new entry's value is made of.
enum Parts<'a> {
    Int(i64),
    Inline(&'a [u8]),
    Shared(SharedBytes),
    Big(BigBox),
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
        Self::build(key, expire, 0, Kind::String, 0, parts)
    }
    /// SETRANGE on a key that is not there.
    pub(in crate::keyspace) fn new_range(key: &[u8], offset: usize, bytes: &[u8]) -> Self {
        let mut value = vec![0; offset];
        value.extend_from_slice(bytes);
        Self::build(key, None, 0, Kind::String, RAW, Parts::of(&mut value))
    }
    /// A string that commands change in place (a bitmap, a HyperLogLog).
    pub(in crate::keyspace) fn new_raw(key: &[u8], mut bytes: Vec<u8>, expire: Option<UnixMs>) -> Self {
        Self::build(key, expire, 0, Kind::String, RAW, Parts::of(&mut bytes))
    }
    /// A collection; `None` if it is empty, which only a stream may be.
    pub(in crate::keyspace) fn from_value(key: &[u8], kind: Kind, value: &mut Value, expire: Option<UnixMs>) -> Option<Self> {
        if value.is_empty() && kind != Kind::Stream {
            return None;
        }
        let (flags, parts) = value_parts(value);
        Some(Self::build(key, expire, 0, kind, flags, parts))
    }
    /// The same value under another key (RENAME); what is not inline is shared, so this one must be dropped, or a big collection would have two
    /// owners.
    pub fn with_key(&self, key: &[u8]) -> OwnedEntry {
        self.rebuilt(key, self.0.expire_at())
    }
    /// A copy of the value under another key (COPY); long strings and blocks are shared until one of them is changed.
    pub fn copy_with_key(&self, key: &[u8]) -> OwnedEntry {
        let copy = self.rebuilt(key, self.0.expire_at());
        match self.0.value() {
            ValueRef::Big(big) => {
                let parts = Parts::Big(BigBox::new(big.deep_copy()));
                Self::build(key, copy.0.expire_at(), copy.0.lru(), copy.0.kind(), 0, parts)
            }
            _ => copy,
        }
    }
    /// The same key and value with another expiry; as for `with_key`.
    pub(in crate::keyspace) fn with_expire(&self, expire: Option<UnixMs>) -> OwnedEntry {
        self.rebuilt(self.0.key(), expire)
    }
    fn rebuilt(&self, key: &[u8], expire: Option<UnixMs>) -> OwnedEntry {
        let parts = match self.0.encoding_bits() {
            SHARED => Parts::Shared(self.0.share().expect("a long value is shared")),
            BIG => Parts::Big(self.0.share_big().expect("a big collection is shared")),
            INT => match self.0.str_ref() {
                StrRef::Int(number) => Parts::Int(number),
                StrRef::Bytes(_) => unreachable!("the encoding says int"),
            },
            _ => Parts::Inline(self.0.bytes()),
        };
        Self::build(key, expire, self.0.lru(), self.0.kind(), self.0.header().flags & !EXPIRE, parts)
    }
    #[inline]
    pub fn entry(&self) -> &Entry {
        &self.0
    }

    fn build(key: &[u8], expire: Option<UnixMs>, lru: u32, kind: Kind, flags: u8, parts: Parts<'_>) -> Self {
        let (encoding, value_len, value_size) = match &parts {
            Parts::Int(_) => (INT, 0, 8),
            Parts::Inline(bytes) => (INLINE, bytes.len(), bytes.len()),
            Parts::Shared(_) => (SHARED, 0, 8),
            Parts::Big(_) => (BIG, 0, 8),
        };
        assert!(value_len <= INLINE_MAX);
        let long_key = key.len() >= usize::from(LONG_KEY);
        let key_start = HEADER + if expire.is_some() { 8 } else { 0 } + if long_key { 4 } else { 0 };
        let layout = layout_of(key_start + key.len() + value_size);
        let header = Header {
            meta: (lru << 8) | u32::from((kind as u8) << 4 | encoding),
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
                Parts::Big(big) => value.cast::<NonNull<()>>().write_unaligned(big.into_raw()),
                Parts::Inline(bytes) => value.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()),
            }
            OwnedEntry(Entry(pointer))
        }
    }

    /// Another string and expiry in this allocation, if it has the right size. The LRU bits stay.
    #[inline]
    pub(in crate::keyspace) fn overwrite(&mut self, value: StrRef<'_>, expire: Option<UnixMs>) -> bool {
        let mut header = self.0.header();
        let old_encoding = (header.meta & 0xf) as u8;
        let (encoding, len, size) = match value {
            StrRef::Int(_) => (INT, 0, 8),
            StrRef::Bytes(bytes) => (INLINE, bytes.len(), bytes.len()),
        };
        if len > INLINE_MAX || old_encoding > INLINE || !self.0.is_string() || expire.is_some() != (header.flags & EXPIRE != 0) {
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
    pub(in crate::keyspace) fn overwrite_expire(&mut self, expire: Option<UnixMs>) -> bool {
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
    pub(in crate::keyspace) fn write_at(&mut self, offset: usize, bytes: &[u8]) -> usize {
        self.write(|_| offset, bytes)
    }
    pub(in crate::keyspace) fn append(&mut self, bytes: &[u8]) -> usize {
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
    pub(in crate::keyspace) fn modify<R>(&mut self, len: usize, change: impl FnOnce(&mut [u8]) -> R) -> R {
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
        *self = Self::build(self.0.key(), self.0.expire_at(), self.0.lru(), Kind::String, RAW, Parts::of(&mut value));
        result
    }
    fn edit_shared<R>(&mut self, edit: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut header = self.0.header();
        header.flags |= RAW;
        // SAFETY: `&mut self` is the only access to the header.
        unsafe { self.0.0.as_ptr().write_unaligned(header) };
        self.edit_arc(edit)
    }
    /// Changes the bytes of a long value, a copy of them if they are shared.
    fn edit_arc<R>(&mut self, edit: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let word = self.0.value_word().cast::<*const Vec<u8>>();
        // SAFETY: with this encoding the word is a pointer from `Arc::into_raw` whose count this entry holds. The count moves into
        // `shared` and, perhaps as another block's, back into the word; `ManuallyDrop` keeps an unwinding `edit` from freeing it twice.
        unsafe {
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
    /// The value of a collection, for changing: a block moves out, or into `scratch`; a big one is counted once more.
    pub(in crate::keyspace) fn take_value(&mut self, mut scratch: Vec<u8>) -> Value {
        let form = self.0.form();
        match self.0.encoding_bits() {
            BIG => Value::Big(self.0.share_big().expect("the encoding says big")),
            SHARED => Value::Block(form, self.edit_arc(std::mem::take)),
            _ => {
                scratch.clear();
                scratch.extend_from_slice(self.0.bytes());
                Value::Block(form, scratch)
            }
        }
    }
    /// Puts back what `take_value` gave, after the change. Blocks that are inline leave `value` its buffer.
    pub(in crate::keyspace) fn put_value(&mut self, value: &mut Value) {
        let encoding = self.0.encoding_bits();
        match value {
            Value::Big(big) if encoding == BIG && big.as_raw() == self.0.big_pointer() => return,
            Value::Block(form, bytes) if encoding == INLINE && self.overwrite_block(*form, bytes) => return,
            Value::Block(form, bytes) if encoding == SHARED && bytes.len() > INLINE_MAX / 2 && *form == self.0.form() => {
                let bytes = std::mem::take(bytes);
                self.edit_arc(|long| *long = bytes);
                return;
            }
            _ => {}
        }
        let (flags, parts) = value_parts(value);
        *self = Self::build(self.0.key(), self.0.expire_at(), self.0.lru(), self.0.kind(), flags, parts);
    }
    /// Another block in this allocation, if it has the right size.
    fn overwrite_block(&mut self, form: Form, bytes: &[u8]) -> bool {
        let mut header = self.0.header();
        let start = self.0.value_start();
        if bytes.len() > INLINE_MAX || layout_of(start + bytes.len()) != layout_of(start + usize::from(header.value_len)) {
            return false;
        }
        header.flags = header.flags & EXPIRE | (form as u8) << FORM_SHIFT;
        header.value_len = bytes.len() as u16;
        // SAFETY: `&mut self` is the only access; the allocation has room for the block at `start`, as the equal layouts say.
        unsafe {
            self.0.0.as_ptr().write_unaligned(header);
            self.0.at(start).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        true
    }
    /// A second pointer to this entry.
    ///
    /// # Safety
    /// `Alias::entry` must not be called once the entry has been dropped.
    pub(in crate::keyspace) unsafe fn alias(&self) -> Alias {
        Alias(self.0.0)
    }
}

impl Drop for OwnedEntry {
    fn drop(&mut self) {
        let layout = self.0.layout();
        // SAFETY: this owner is the last user of the allocation, which was made with the layout that the header describes.
        unsafe {
            match self.0.encoding_bits() {
                SHARED => drop(Arc::from_raw(self.0.shared_pointer())),
                BIG => drop(BigBox::from_raw(self.0.big_pointer())),
                _ => {}
            }
            dealloc(self.0.0.as_ptr().cast(), layout);
        }
    }
}

/// What an entry is made of for a collection's value; a long block moves out of it.
fn value_parts(value: &mut Value) -> (u8, Parts<'_>) {
    match value {
        Value::Big(big) => (0, Parts::Big(big.clone())),
        Value::Block(form, bytes) => ((*form as u8) << FORM_SHIFT, Parts::of(bytes)),
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
