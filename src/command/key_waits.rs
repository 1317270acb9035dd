//! Clients that wait for keys: BLPOP and its like, for sorted sets and streams as well.
//!
//! A handler that finds nothing calls `Ctx::wait_for_keys` and replies nothing; the request is kept with the client. A write makes the key ready
//! (`NodeState::signal` notices it), and when the unit that wrote has ended and its effects are in the stream, whoever waits for the key has
//! its request executed again, those who came first first: a unit of its own. Then it has its reply, or waits on behind the others until its first
//! deadline. What the second execution does wakes others in turn.
//!
//! Invariants: a client is in `waiting` exactly while its `Wait` is `Keys`; a key has a queue exactly while somebody waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::blocked::Wait;
use super::client::{ClientFlags, Slot};
use super::execute::{admit, call};
use super::{CommandError, Ctx, NodeState, Spec};
use crate::keyspace::{DbIndex, Key, Kind};
use crate::resp::{ArgRange, Args, Reply};
use crate::types::number::{parse_f64, parse_i64};

/// What a request waits for.
pub(super) struct KeysWanted {
    kind: Kind,
    keys: Range<usize>,
    deadline_ms: Option<i64>,
    unblocks_without_key: bool,
    rewritten: Vec<(usize, Vec<u8>)>,
}

impl KeysWanted {
    /// One of the keys among the arguments holds this kind of value. Without a deadline (of the steady clock) it waits for ever.
    pub fn new(kind: Kind, keys: Range<usize>, deadline_ms: Option<i64>) -> Self {
        KeysWanted { kind, keys, deadline_ms, unblocks_without_key: false, rewritten: Vec::new() }
    }
    /// The request is executed again as well when a key is gone or holds something else (XREADGROUP).
    pub fn or_without_key(mut self) -> Self {
        self.unblocks_without_key = true;
        self
    }
    /// The request is executed again with this argument in the place of what it said (XREAD's `$`).
    pub fn rewrite(mut self, index: usize, argument: Vec<u8>) -> Self {
        self.rewritten.push((index, argument));
        self
    }
}

/// A request as it is to be executed again.
#[derive(Default)]
struct Request {
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
}

impl Request {
    fn new(args: Args<'_>, rewritten: &[(usize, Vec<u8>)]) -> Self {
        let mut request = Request::default();
        for (index, arg) in args.iter().enumerate() {
            let arg = rewritten.iter().find(|(at, _)| *at == index).map_or(arg, |(_, new)| new);
            request.ranges.push(ArgRange { start: request.bytes.len() as u32, len: arg.len() as u32 });
            request.bytes.extend_from_slice(arg);
        }
        request
    }
    fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges)
    }
}

struct Waiting {
    kind: Kind,
    db: DbIndex,
    keys: Vec<Box<[u8]>>,
    unblocks_without_key: bool,
    /// Its place in the queues.
    order: u64,
    deadline_ms: Option<i64>,
    row: usize,
    spec: &'static Spec,
    request: Request,
}

/// Who waits for one key.
#[derive(Default)]
struct Queue {
    /// By their order.
    clients: BTreeMap<u64, Slot>,
    /// How many of them want to hear as well that the key is gone.
    without_key: usize,
    /// The key stands in `ready`.
    is_ready: bool,
}

/// All clients that wait for keys.
#[derive(Default)]
pub(super) struct KeyWaits {
    waiting: BTreeMap<Slot, Waiting>,
    queues: BTreeMap<DbIndex, BTreeMap<Box<[u8]>, Queue>>,
    /// Keys that have become ready, in that order.
    ready: VecDeque<(DbIndex, Box<[u8]>)>,
    orders: u64,
    /// The deadline of the client whose request is being executed again.
    retained_deadline: Option<Option<i64>>,
    is_serving: bool,
}

impl KeyWaits {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
    /// Keys that somebody waits for, and those of them whose going somebody waits for: INFO.
    pub fn counts(&self) -> (usize, usize) {
        let queues = || self.queues.values().flat_map(BTreeMap::values);
        (queues().count(), queues().filter(|queue| queue.without_key > 0).count())
    }
    fn queue(&mut self, db: DbIndex, key: &[u8]) -> Option<&mut Queue> {
        self.queues.get_mut(&db)?.get_mut(key)
    }
    fn insert(&mut self, slot: Slot, mut waiting: Waiting) {
        self.orders += 1;
        waiting.order = self.orders;
        let queues = self.queues.entry(waiting.db).or_default();
        for key in &waiting.keys {
            let queue = queues.entry(key.clone()).or_default();
            // A key may be named twice.
            if queue.clients.insert(waiting.order, slot).is_none() {
                queue.without_key += usize::from(waiting.unblocks_without_key);
            }
        }
        self.waiting.insert(slot, waiting);
    }
    pub fn remove(&mut self, slot: Slot) -> Option<(usize, &'static Spec)> {
        self.take(slot).map(|waiting| (waiting.row, waiting.spec))
    }
    fn take(&mut self, slot: Slot) -> Option<Waiting> {
        let waiting = self.waiting.remove(&slot)?;
        let queues = self.queues.get_mut(&waiting.db)?;
        for key in &waiting.keys {
            let Some(queue) = queues.get_mut(key) else { continue };
            if queue.clients.remove(&waiting.order).is_some() {
                queue.without_key -= usize::from(waiting.unblocks_without_key);
            }
            if queue.clients.is_empty() {
                queues.remove(key);
            }
        }
        if queues.is_empty() {
            self.queues.remove(&waiting.db);
        }
        Some(waiting)
    }
    /// Whether a client would go on for a key that holds this.
    fn wakes(&self, slot: Slot, holds: Option<Kind>) -> bool {
        self.waiting.get(&slot).is_some_and(|waiting| waiting.unblocks_without_key || holds == Some(waiting.kind))
    }
}

/// A time-out in seconds at `index`, as a moment of the steady clock; `None` for 0: for ever.
pub(super) fn timeout_seconds(ctx: &Ctx<'_>, index: usize) -> Result<Option<i64>, CommandError> {
    let seconds = parse_f64(ctx.args.at(index)).ok_or(CommandError::text("ERR timeout is not a float or out of range"))?;
    let ms = (seconds * 1000.0).ceil();
    if ms >= i64::MAX as f64 {
        return Err(OUT_OF_RANGE);
    }
    deadline(ctx, ms as i64)
}

/// The same in milliseconds.
pub(super) fn timeout_ms(ctx: &Ctx<'_>, index: usize) -> Result<Option<i64>, CommandError> {
    let ms = parse_i64(ctx.args.at(index)).ok_or(CommandError::text("ERR timeout is not an integer or out of range"))?;
    deadline(ctx, ms)
}

const OUT_OF_RANGE: CommandError = CommandError::text("ERR timeout is out of range");

fn deadline(ctx: &Ctx<'_>, ms: i64) -> Result<Option<i64>, CommandError> {
    match ms {
        ..0 => Err("ERR timeout is negative".into()),
        0 => Ok(None),
        // Redis adds to Unix time, and so refuses what is too late for that.
        _ if ctx.node.now_ms.checked_add(ms).is_none() => Err(OUT_OF_RANGE),
        _ => Ok(ctx.node.steady_ms.checked_add(ms)),
    }
}

impl Ctx<'_> {
    /// Suspends the client until one of the keys is ready: then the request is executed again, which may call this again. False where nobody can
    /// wait (inside EXEC and scripts, in the master's stream): it is as if the time were over at once.
    pub(super) fn wait_for_keys(&mut self, wanted: KeysWanted) -> bool {
        if self.node.effects.depth > 1 || self.node.applying_stream {
            return false;
        }
        let deadline_ms = self.node.blocked.keys.retained_deadline.unwrap_or(wanted.deadline_ms);
        let row = self.node.commands.by_name[self.spec.name];
        let waiting = Waiting {
            kind: wanted.kind,
            db: self.db,
            keys: wanted.keys.map(|index| self.args.at(index).into()).collect(),
            unblocks_without_key: wanted.unblocks_without_key,
            order: 0,
            deadline_ms,
            row,
            spec: self.spec,
            request: Request::new(self.args, &wanted.rewritten),
        };
        self.node.suspend(self.slot, Wait::Keys, deadline_ms);
        self.node.blocked.keys.insert(self.slot, waiting);
        true
    }
}

impl NodeState {
    /// Keys that have become ready are served when the unit ends.
    #[cold]
    pub(super) fn note_ready(&mut self, db: DbIndex, key: &[u8]) {
        let holds = self.kind_at(db, key);
        let waits = &mut self.blocked.keys;
        let Some(queue) = waits.queues.get(&db).and_then(|queues| queues.get(key)) else { return };
        if queue.is_ready || !queue.clients.values().any(|slot| waits.wakes(*slot, holds)) {
            return;
        }
        waits.ready.push_back((db, key.into()));
        waits.queue(db, key).expect("a queue that was there").is_ready = true;
    }

    /// A database has got other contents.
    pub(super) fn note_all_ready(&mut self, db: DbIndex) {
        let keys: Vec<Box<[u8]>> = self.blocked.keys.queues.get(&db).map_or(Vec::new(), |queues| queues.keys().cloned().collect());
        for key in keys {
            self.note_ready(db, &key);
        }
    }

    fn kind_at(&self, db: DbIndex, key: &[u8]) -> Option<Kind> {
        let entry = self.keyspace.db(db).get(Key { bytes: key, hash: self.keyspace.hash(key) })?;
        (!self.is_due(entry)).then(|| entry.kind())
    }

    /// Lets those go on who wait for keys that are ready; between two units.
    #[cold]
    pub fn serve_ready_keys(&mut self) {
        // Whom a served client wakes is served by the loop that runs already.
        if std::mem::replace(&mut self.blocked.keys.is_serving, true) {
            return;
        }
        // They act for themselves, whoever has made their keys ready.
        let applying_stream = std::mem::take(&mut self.applying_stream);
        while let Some((db, key)) = self.blocked.keys.ready.pop_front() {
            if let Some(queue) = self.blocked.keys.queue(db, &key) {
                queue.is_ready = false;
                self.serve_key(db, &key);
            }
        }
        self.applying_stream = applying_stream;
        self.blocked.keys.is_serving = false;
    }

    /// One round through a key's queue, in the order of arrival.
    fn serve_key(&mut self, db: DbIndex, key: &[u8]) {
        let last = self.blocked.keys.orders;
        let mut next = 0;
        loop {
            let holds = self.kind_at(db, key);
            let Some(queue) = self.blocked.keys.queue(db, key) else { return };
            if holds.is_none() && queue.without_key == 0 {
                return;
            }
            // Those who wait on after their turn stand behind `last`.
            let Some((order, slot)) = queue.clients.range(next..).next().map(|(order, slot)| (*order, *slot)).filter(|(order, _)| *order <= last)
            else {
                return;
            };
            next = order + 1;
            if self.blocked.keys.wakes(slot, holds) {
                self.execute_again(slot);
            }
        }
    }

    /// Executes the request of a client that waits for keys once more.
    fn execute_again(&mut self, slot: Slot) {
        if self.clients.at(slot).is(ClientFlags::CLOSE_ASAP) {
            return;
        }
        let waiting = self.blocked.keys.take(slot).expect("a client that waits");
        self.blocked.end(slot);
        let client = self.clients.at_mut(slot);
        client.flags -= ClientFlags::BLOCKED;
        let mut out = Reply::new(client.proto);
        let Waiting { row, spec, request, deadline_ms, .. } = &waiting;
        self.blocked.keys.retained_deadline = Some(*deadline_ms);
        let out_of_memory = self.is_out_of_memory();
        let result = match admit(self, slot, spec, spec, spec.flags, out_of_memory) {
            Ok(()) => call(self, slot, *row, spec, request.args(), None, &mut out),
            Err(error) => Err(error),
        };
        self.blocked.keys.retained_deadline = None;
        if let Err(error) = result {
            out.error(&error.0);
        }
        if !self.clients.at(slot).is(ClientFlags::BLOCKED) {
            self.deliver(slot, out);
        }
    }
}
