//! A consumer group: how far it has read, what is delivered and not acknowledged, its consumers.
//!
//! Invariants: an entry is pending for one consumer, who has its ID in its own list; every consumer of a pending entry is there.

use std::sync::Arc;

use smallvec::SmallVec;

use super::StreamId;
use crate::types::memory::size_class;
use crate::types::tree::{Cursor, Tree, Weigh};

/// A consumer's name, shared by what is pending for it.
pub type Name = Arc<[u8]>;

/// An entry that was delivered and is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub id: StreamId,
    pub consumer: Name,
    /// When it was delivered last, in Unix ms.
    pub delivered_ms: i64,
    pub deliveries: u64,
}

impl Weigh for Pending {
    type Hint = StreamId;
    const UNIFORM: bool = true;

    fn weight(&self) -> u64 {
        1
    }

    fn hint(&self) -> StreamId {
        self.id
    }
}

impl Weigh for StreamId {
    type Hint = StreamId;
    const UNIFORM: bool = true;

    fn weight(&self) -> u64 {
        1
    }

    fn hint(&self) -> StreamId {
        *self
    }
}

#[derive(Clone)]
pub struct Consumer {
    name: Name,
    /// When it was last heard of, in Unix ms.
    pub seen_ms: i64,
    /// When it last got entries, in Unix ms; -1 for never.
    pub active_ms: i64,
    pending: Tree<StreamId>,
}

impl Weigh for Arc<Consumer> {
    type Hint = ();
    const UNIFORM: bool = true;

    fn weight(&self) -> u64 {
        1
    }

    fn hint(&self) {}
}

impl Consumer {
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// How many entries it has to acknowledge.
    pub fn pending_len(&self) -> u64 {
        self.pending.total()
    }

    /// The IDs of these entries from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = StreamId> {
        self.pending.iter_from(&place(&self.pending, start)).copied()
    }

    /// Whether it has been seen at another time than when it last got entries.
    fn is_restless(&self) -> bool {
        self.active_ms != self.seen_ms
    }

    pub(super) fn allocated(&self) -> usize {
        size_class(16 + size_of::<Consumer>()) + size_class(16 + self.name.len()) + self.pending.allocated()
    }
}

#[derive(Clone)]
pub struct Group {
    last_id: StreamId,
    /// How many entries it has read of all that were ever added; unknown after deletions, or where it began in the middle.
    pub entries_read: Option<u64>,
    pending: Tree<Pending>,
    consumers: Tree<Arc<Consumer>>,
    consumer_bytes: usize,
    restless_consumers: usize,
}

/// The place of an ID in a tree of what has IDs.
fn place<T: Weigh<Hint = StreamId>>(tree: &Tree<T>, id: StreamId) -> Cursor {
    // Mostly they come in order.
    if tree.last().is_none_or(|last| last.hint() < id) {
        return tree.end();
    }
    tree.search(|other| Some(other < id), |_| unreachable!("hints decide"))
}

impl Group {
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Self {
        Group { last_id, entries_read, pending: Tree::new(), consumers: Tree::new(), consumer_bytes: 0, restless_consumers: 0 }
    }

    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    pub fn set_last_id(&mut self, id: StreamId) {
        self.last_id = id;
    }

    pub(super) fn allocated(&self) -> usize {
        self.allocated_but_for_consumers() + self.consumer_bytes
    }

    pub(super) fn allocated_but_for_consumers(&self) -> usize {
        size_class(16 + size_of::<Group>()) + self.pending.allocated() + self.consumers.allocated()
    }

    /// Whether some consumer has been seen at another time than when it last got entries.
    pub(super) fn is_restless(&self) -> bool {
        self.restless_consumers > 0
    }

    /// Entries that are pending.
    pub fn pending_len(&self) -> u64 {
        self.pending.total()
    }

    pub fn pending(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(&place(&self.pending, id)).filter(|pending| pending.id == id)
    }

    /// Pending entries from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = &Pending> {
        self.pending.iter_from(&place(&self.pending, start))
    }

    pub fn last_pending(&self) -> Option<&Pending> {
        self.pending.last()
    }

    /// By name.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter().map(|consumer| &**consumer)
    }

    pub fn consumers_len(&self) -> usize {
        self.consumers.items()
    }

    fn consumer_place(&self, name: &[u8]) -> Cursor {
        self.consumers.partition_point(|consumer| *consumer.name < *name)
    }

    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(&self.consumer_place(name)).map(|consumer| &**consumer).filter(|consumer| *consumer.name == *name)
    }

    /// False if it is there.
    pub fn create_consumer(&mut self, name: &[u8], seen_ms: i64) -> bool {
        let at = self.consumer_place(name);
        if self.consumers.get(&at).is_some_and(|consumer| *consumer.name == *name) {
            return false;
        }
        let consumer = Consumer { name: name.into(), seen_ms, active_ms: -1, pending: Tree::new() };
        self.consumer_bytes += consumer.allocated();
        self.restless_consumers += usize::from(consumer.is_restless());
        self.consumers.insert(&at, Arc::new(consumer));
        true
    }

    /// Changes a consumer, and counts what that costs; `None` if there is none.
    pub fn edit_consumer<R>(&mut self, name: &[u8], change: impl FnOnce(&mut Consumer) -> R) -> Option<R> {
        let at = self.consumer_place(name);
        self.consumers.get(&at).filter(|consumer| *consumer.name == *name)?;
        let (bytes, restless) = (&mut self.consumer_bytes, &mut self.restless_consumers);
        Some(self.consumers.edit(&at, |consumer| {
            let consumer = Arc::make_mut(consumer);
            *bytes -= consumer.allocated();
            *restless -= usize::from(consumer.is_restless());
            let result = change(consumer);
            *bytes += consumer.allocated();
            *restless += usize::from(consumer.is_restless());
            result
        }))
    }

    /// With all that is pending for it. Returns how much that was; `None` if there is none.
    pub fn delete_consumer(&mut self, name: &[u8]) -> Option<u64> {
        let at = self.consumer_place(name);
        self.consumers.get(&at).filter(|consumer| *consumer.name == *name)?;
        let consumer = self.consumers.remove(&at)?;
        self.consumer_bytes -= consumer.allocated();
        self.restless_consumers -= usize::from(consumer.is_restless());
        for id in consumer.pending.iter() {
            let at = place(&self.pending, *id);
            self.pending.remove(&at);
        }
        Some(consumer.pending_len())
    }

    /// An entry is pending for a consumer, whoever had it; the consumer is created if need be.
    pub fn assign(&mut self, id: StreamId, consumer: &[u8], delivered_ms: i64, deliveries: u64) {
        self.assign_all(&[id], consumer, delivered_ms, deliveries);
    }

    /// The same for several.
    pub fn assign_all(&mut self, ids: &[StreamId], consumer: &[u8], delivered_ms: i64, deliveries: u64) {
        self.create_consumer(consumer, delivered_ms);
        let name = self.consumer(consumer).expect("it is there").name.clone();
        let mut new_ids: SmallVec<[StreamId; 16]> = SmallVec::new();
        for &id in ids {
            let pending = Pending { id, consumer: name.clone(), delivered_ms, deliveries };
            let at = place(&self.pending, id);
            match self.pending.get(&at) {
                Some(old) if old.id == id => {
                    let old = self.pending.edit(&at, |old| std::mem::replace(old, pending)).consumer;
                    if old == name {
                        continue;
                    }
                    self.forget(&old, id);
                }
                _ => self.pending.insert(&at, pending),
            }
            new_ids.push(id);
        }
        if new_ids.is_empty() {
            return;
        }
        self.edit_consumer(consumer, |consumer| {
            for id in new_ids {
                let at = place(&consumer.pending, id);
                consumer.pending.insert(&at, id);
            }
        });
    }

    /// A consumer has an entry no longer.
    fn forget(&mut self, consumer: &[u8], id: StreamId) {
        self.edit_consumer(consumer, |consumer| {
            let at = place(&consumer.pending, id);
            let was = consumer.pending.remove(&at);
            assert_eq!(was, Some(id), "a pending entry that its consumer doesn't know");
        });
    }

    /// False if it was not pending.
    pub fn ack(&mut self, id: StreamId) -> bool {
        let at = place(&self.pending, id);
        if self.pending.get(&at).is_none_or(|pending| pending.id != id) {
            return false;
        }
        let pending = self.pending.remove(&at).expect("it has just been there");
        self.forget(&pending.consumer, id);
        true
    }
}
