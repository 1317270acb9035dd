//! Big collections, and any collection while it is being changed.
//!
//! A big collection hangs on its entry by a counted pointer, because a snapshot holds on to it as well: its elements are captured in steps, as
//! a database's keys are, even if its key is deleted, renamed or moved to another database meanwhile.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;

use super::Kind;
use super::entry::Form;
use super::list::ListBlocks;
use super::members::Members;
use super::snapshot::{CollectionId, Record};
use super::zset::Sorted;
use crate::types::listpack::Pack;
use crate::types::memory::size_class;
use crate::types::stream::Stream;

/// A collection that has outgrown the compact block.
pub enum Big {
    List(ListBlocks),
    Set(Members),
    Hash(Members),
    Stream(Stream),
    ZSet(Sorted),
}

impl Big {
    /// What it is.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Big::List(_) => Kind::List,
            Big::Set(_) => Kind::Set,
            Big::Hash(_) => Kind::Hash,
            Big::ZSet(_) => Kind::ZSet,
            Big::Stream(_) => Kind::Stream,
        }
    }
    /// Elements, as a snapshot writes them: fields of a hash, members of a set, entries of a stream.
    pub fn len(&self) -> u64 {
        match self {
            Big::List(blocks) => blocks.len(),
            Big::Set(members) | Big::Hash(members) => members.len(),
            Big::Stream(stream) => stream.len(),
            Big::ZSet(sorted) => sorted.len(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes allocated for it.
    pub(super) fn allocated(&self) -> usize {
        let own = match self {
            Big::List(blocks) => blocks.allocated(),
            Big::Set(members) | Big::Hash(members) => members.allocated(),
            Big::Stream(stream) => stream.allocated(),
            Big::ZSet(sorted) => sorted.allocated(),
        };
        own + size_class(size_of::<BigCell>() + 16)
    }
    /// OBJECT ENCODING.
    pub(super) fn encoding(&self) -> &'static str {
        match self {
            Big::List(_) => "quicklist",
            Big::Set(_) | Big::Hash(_) => "hashtable",
            Big::Stream(_) => "stream",
            Big::ZSet(_) => "skiplist",
        }
    }
    /// The elements' records, as a snapshot writes them where they come apart from the key: a list's and a stream's do not.
    pub fn elements(&self) -> impl Iterator<Item = Record<'_>> {
        let entries = match self {
            Big::Set(members) | Big::Hash(members) => Some(members.iter()),
            Big::List(_) | Big::Stream(_) => None,
            Big::ZSet(sorted) => Some(sorted.members().iter()),
        };
        entries.into_iter().flatten().map(|entry| Record { kind: self.kind(), ..Record::of(entry, CollectionId(0)) })
    }
    /// COPY, which costs what it costs in Redis.
    pub(super) fn deep_copy(&self) -> Big {
        match self {
            Big::List(blocks) => Big::List(blocks.clone()),
            Big::Set(members) => Big::Set(members.deep_copy()),
            Big::Hash(members) => Big::Hash(members.deep_copy()),
            Big::Stream(stream) => Big::Stream(stream.clone()),
            Big::ZSet(sorted) => Big::ZSet(sorted.deep_copy()),
        }
    }
    /// The table of elements, of those that have one: a snapshot captures it bucket by bucket.
    pub(super) fn members_mut(&mut self) -> Option<&mut Members> {
        match self {
            Big::List(_) => None,
            Big::Set(members) | Big::Hash(members) => Some(members),
            Big::Stream(_) => None,
            Big::ZSet(sorted) => Some(sorted.members_mut()),
        }
    }
}

/// A counted pointer to a big collection. It has one owner, its entry, through which it is changed; further counts belong to snapshots that
/// are capturing it, on the Keyspace's thread like the owner, and to an edit between `take_value` and `put_value`.
pub(super) struct BigBox(Arc<BigCell>);

struct BigCell(UnsafeCell<Big>);

// SAFETY: what is inside is `Send`. It is reached from several pointers, but all of them belong to one `Keyspace` and move between threads
// with it; whoever else holds one (the thread that frees garbage) only drops it.
unsafe impl Send for BigCell {}
// SAFETY: see above: no two threads look inside at once.
unsafe impl Sync for BigCell {}

impl BigBox {
    pub(super) fn new(big: Big) -> Self {
        BigBox(Arc::new(BigCell(UnsafeCell::new(big))))
    }
    pub(super) fn get(&self) -> &Big {
        // SAFETY: changes go through `get_mut`, whose borrows are short: nothing in the keyspace keeps a reference into a collection while it
        // changes it.
        unsafe { &*self.0.0.get() }
    }
    /// For changing it: by the owner, and by a snapshot for its own bookkeeping, one after the other.
    pub(super) fn get_mut(&mut self) -> &mut Big {
        // SAFETY: as in `get`.
        unsafe { &mut *self.0.0.get() }
    }
    pub(super) fn into_raw(self) -> NonNull<()> {
        // SAFETY: an `Arc`'s pointer is not null.
        unsafe { NonNull::new_unchecked(Arc::into_raw(self.0).cast::<()>().cast_mut()) }
    }
    pub(super) fn as_raw(&self) -> NonNull<()> {
        // SAFETY: as above.
        unsafe { NonNull::new_unchecked(Arc::as_ptr(&self.0).cast::<()>().cast_mut()) }
    }
    /// # Safety
    /// `raw` comes from `into_raw`, and its count passes to the result.
    pub(super) unsafe fn from_raw(raw: NonNull<()>) -> Self {
        // SAFETY: the caller's promise.
        BigBox(unsafe { Arc::from_raw(raw.as_ptr().cast::<BigCell>()) })
    }
    /// # Safety
    /// `raw` comes from `into_raw`, and its count is still held.
    pub(super) unsafe fn clone_raw(raw: NonNull<()>) -> Self {
        let pointer = raw.as_ptr().cast::<BigCell>();
        // SAFETY: the caller's promise; the count made here belongs to the result.
        unsafe {
            Arc::increment_strong_count(pointer);
            BigBox(Arc::from_raw(pointer))
        }
    }
    /// # Safety
    /// `raw` comes from `into_raw`, its count is held as long as the result is used, and nothing changes the collection meanwhile.
    pub(super) unsafe fn peek<'a>(raw: NonNull<()>) -> &'a Big {
        // SAFETY: the caller's promise.
        unsafe { &*(*raw.as_ptr().cast::<BigCell>()).0.get() }
    }
}

impl Clone for BigBox {
    fn clone(&self) -> Self {
        BigBox(self.0.clone())
    }
}

/// A collection's value while it is being made or changed. What edits it may turn a block into a big collection, never back but for lists.
pub(super) enum Value {
    Block(Form, Vec<u8>),
    Big(BigBox),
}

impl Value {
    /// An empty collection, in a listpack.
    pub(super) fn new(mut scratch: Vec<u8>) -> Self {
        scratch.clear();
        Value::Block(Form::ListPack, scratch)
    }
    /// Without elements.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Value::Block(Form::IntSet, bytes) => bytes.is_empty(),
            Value::Block(_, bytes) => Pack::new(bytes).is_empty(),
            Value::Big(big) => big.get().is_empty(),
        }
    }
    /// The buffer of a block that is not used any more.
    pub(super) fn into_scratch(self) -> Vec<u8> {
        match self {
            Value::Block(_, bytes) => bytes,
            Value::Big(_) => Vec::new(),
        }
    }
}
