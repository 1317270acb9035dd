//! Clients that wait in the middle of their requests: who, for what, until when, and how they go on.
//!
//! A handler calls `NodeState::suspend` and replies nothing; the client has the flag BLOCKED, the turn executes nothing more for it and what it
//! sends is kept. When what it waits for is there, or its time is over, it gets its reply and stands in `Blocked::resumed`, from where the
//! turn puts its connection back into the inbox. A client that closes is forgotten. A client whose request is only postponed (CLIENT PAUSE)
//! gets no reply: the request has not been consumed and is parsed again.
//!
//! Times are steady ms (`NodeState::steady_ms`).
//!
//! Invariant: a client has the flag BLOCKED exactly while it is in `suspended`.

use std::collections::{BTreeMap, BTreeSet};

use super::key_waits::KeyWaits;
use super::{ClientFlags, NodeState, ReplyMode, Slot};
use crate::replication::{GETACK, ReplOffset, ReplicaState, Role};
use crate::resp::Reply;

/// What a suspended client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// WAIT: so many slaves have acknowledged the stream up to `offset`.
    Acks { replicas: i64, offset: ReplOffset },
    /// WAITAOF: so many slaves have it in their append-only files.
    AofAcks { replicas: i64, offset: ReplOffset },
    /// Keys; `key_waits` knows which.
    Keys,
    /// The end of REPLICATION VERIFY or REPAIR.
    Verified,
    /// The end of CLIENT PAUSE.
    Unpause,
    /// That the node goes, or that it does not after all.
    Shutdown,
}

struct Suspended {
    wait: Wait,
    /// Clients go on in the order in which they were suspended.
    order: u64,
    deadline_ms: Option<i64>,
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    /// Only what writes, or could.
    pub writes_only: bool,
    pub until_ms: i64,
}

/// All suspended clients of a node.
#[derive(Default)]
pub struct Blocked {
    suspended: BTreeMap<Slot, Suspended>,
    deadlines: BTreeSet<(i64, u64, Slot)>,
    suspensions: u64,
    resumed: Vec<Slot>,
    /// Slaves have acknowledged something since waiting clients were last looked at.
    acks_are_news: bool,
    /// The stream is to ask slaves how far they are, once a turn.
    pub(super) getack_wanted: bool,
    pause: Option<Pause>,
    /// Writes are paused for FAILOVER, whatever CLIENT PAUSE and UNPAUSE say.
    failing_over: bool,
    /// So they are for SHUTDOWN.
    shutting_down: bool,
    pub(super) keys: KeyWaits,
}

impl Blocked {
    /// When `NodeState::end_waits` has something to do next.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        let first = self.deadlines.first().map(|(at, ..)| *at);
        first.into_iter().chain(self.pause.map(|pause| pause.until_ms)).min()
    }
    /// How many clients have a deadline, for INFO.
    pub fn with_deadline(&self) -> usize {
        self.deadlines.len()
    }
    /// The clients that go on, once.
    pub fn take_resumed(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.resumed)
    }
    /// Whether the turn has something to see to.
    pub fn has_news(&self) -> bool {
        self.acks_are_news || !self.resumed.is_empty() || self.keys.has_ready()
    }
    /// A slave has acknowledged.
    pub fn note_ack(&mut self) {
        self.acks_are_news = !self.suspended.is_empty();
    }
    pub(super) fn is_paused(&self) -> bool {
        self.pause.is_some() || self.failing_over || self.shutting_down
    }
    /// What is paused now.
    pub(super) fn pause(&self, now_ms: i64) -> Option<Pause> {
        let asked = self.pause.filter(|pause| pause.until_ms > now_ms);
        asked.or((self.failing_over || self.shutting_down).then_some(Pause { writes_only: true, until_ms: i64::MAX }))
    }
    pub(super) fn wait_of(&self, slot: Slot) -> Option<Wait> {
        self.suspended.get(&slot).map(|suspended| suspended.wait)
    }
    /// The suspended clients in the order in which they were suspended.
    fn in_order(&self) -> Vec<(Slot, Wait)> {
        let mut all: Vec<_> = self.suspended.iter().map(|(slot, suspended)| (suspended.order, *slot, suspended.wait)).collect();
        all.sort_by_key(|(order, ..)| *order);
        all.into_iter().map(|(_, slot, wait)| (slot, wait)).collect()
    }
    /// The clients that wait for this, in the order in which they were suspended.
    pub(super) fn waiting_for(&self, wanted: Wait) -> Vec<Slot> {
        self.in_order().into_iter().filter(|(_, wait)| *wait == wanted).map(|(slot, _)| slot).collect()
    }
    fn insert(&mut self, slot: Slot, wait: Wait, deadline_ms: Option<i64>) {
        self.suspensions += 1;
        let order = self.suspensions;
        let before = self.suspended.insert(slot, Suspended { wait, order, deadline_ms });
        assert!(before.is_none(), "a suspended client executes nothing");
        if let Some(at) = deadline_ms {
            self.deadlines.insert((at, order, slot));
        }
    }
    fn remove(&mut self, slot: Slot) -> bool {
        let Some(suspended) = self.suspended.remove(&slot) else { return false };
        if let Some(at) = suspended.deadline_ms {
            self.deadlines.remove(&(at, suspended.order, slot));
        }
        true
    }
    /// A client waits no longer.
    pub(super) fn end(&mut self, slot: Slot) -> bool {
        self.keys.remove(slot);
        self.remove(slot)
    }
    /// How many clients are suspended, for INFO.
    pub fn waiting(&self) -> usize {
        self.suspended.len()
    }
    /// Keys that clients wait for, and those of them whose going clients wait for: INFO.
    pub fn keys_waited_for(&self) -> (usize, usize) {
        self.keys.counts()
    }
    /// A client is closed.
    pub fn forget(&mut self, slot: Slot) {
        self.end(slot);
        self.resumed.retain(|resumed| *resumed != slot);
    }
}

/// How far the slaves that are online are, by what they have acknowledged.
struct Acks {
    applied: Vec<ReplOffset>,
    in_aof: Vec<ReplOffset>,
}

impl Acks {
    fn of(node: &NodeState) -> Self {
        let online = node.clients.replicas().filter(|(_, _, replica)| replica.state == ReplicaState::Online);
        let (applied, in_aof) = online.map(|(_, _, replica)| (replica.ack_offset, replica.aof_ack_offset)).unzip();
        Acks { applied, in_aof }
    }
    fn count(&self, wait: Wait) -> i64 {
        let (acks, offset) = match wait {
            Wait::Acks { offset, .. } => (&self.applied, offset),
            Wait::AofAcks { offset, .. } => (&self.in_aof, offset),
            Wait::Keys | Wait::Verified | Wait::Unpause | Wait::Shutdown => return 0,
        };
        acks.iter().filter(|ack| **ack >= offset).count() as i64
    }
}

/// The reply when so many slaves are known to have got where WAIT or WAITAOF want them, or when the time for keys is over. There is no append-only file
/// here.
fn reply_count(wait: Wait, count: i64, out: &mut Reply) {
    match wait {
        Wait::Acks { .. } => out.int(count),
        Wait::AofAcks { .. } => {
            out.array(2);
            out.int(0);
            out.int(count);
        }
        Wait::Keys => out.null_array(),
        Wait::Verified => out.error("ERR not ended within TIMEOUT; it goes on, and REPLICATION VERIFY STATUS tells how it ends"),
        Wait::Unpause | Wait::Shutdown => {}
    }
}

impl NodeState {
    /// Suspends a client until what it waits for is there, or until `deadline_ms`. Its handler must reply nothing.
    pub(super) fn suspend(&mut self, slot: Slot, wait: Wait, deadline_ms: Option<i64>) {
        self.clients.at_mut(slot).flags |= ClientFlags::BLOCKED;
        self.blocked.insert(slot, wait, deadline_ms);
    }

    /// WAIT and WAITAOF: replies at once if there are enough already, or if the client may not wait; else suspends it.
    pub(super) fn await_acks(&mut self, slot: Slot, wait: Wait, deadline_ms: Option<i64>, out: &mut Reply) {
        let count = Acks::of(self).count(wait);
        let (Wait::Acks { replicas, .. } | Wait::AofAcks { replicas, .. }) = wait else { return };
        // Inside EXEC nobody can wait.
        if count >= replicas || self.effects.depth > 1 {
            return reply_count(wait, count, out);
        }
        self.suspend(slot, wait, deadline_ms);
        self.blocked.getack_wanted = true;
    }

    /// Lets a client go on, with this reply.
    pub(super) fn resume(&mut self, slot: Slot, reply: impl FnOnce(&mut Reply)) {
        let was_for_keys = self.blocked.keys.remove(slot);
        if !self.blocked.remove(slot) {
            return;
        }
        let client = self.clients.at_mut(slot);
        client.flags -= ClientFlags::BLOCKED;
        let mut out = Reply::new(client.proto);
        reply(&mut out);
        if let Some((row, spec)) = was_for_keys {
            // It has not been counted when it was suspended.
            let stats = self.commands.stats_mut(row, spec);
            stats.calls += 1;
            stats.failed += u64::from(out.buf.starts_with(b"-"));
        }
        if let Some(error) = out.buf.strip_prefix(b"-") {
            self.stats.count_error(&String::from_utf8_lossy(error));
        }
        self.deliver(slot, out);
    }

    /// Gives a client that was suspended its reply, and what it has sent since its turn.
    pub(super) fn deliver(&mut self, slot: Slot, mut out: Reply) {
        let client = self.clients.at_mut(slot);
        match client.reply_mode {
            ReplyMode::On => client.out.append(&mut out.buf),
            ReplyMode::SkipThis => client.reply_mode = ReplyMode::On,
            ReplyMode::Off | ReplyMode::SkipNext => {}
        }
        self.written.push(slot);
        self.blocked.resumed.push(slot);
    }

    /// Lets those go on for whom enough slaves have acknowledged.
    pub fn wake_acked(&mut self) {
        if !std::mem::take(&mut self.blocked.acks_are_news) {
            return;
        }
        let acks = Acks::of(self);
        for (slot, wait) in self.blocked.in_order() {
            let (Wait::Acks { replicas, .. } | Wait::AofAcks { replicas, .. }) = wait else { continue };
            let count = acks.count(wait);
            if count >= replicas {
                self.resume(slot, |out| reply_count(wait, count, out));
            }
        }
    }

    /// A client's time is over, or CLIENT UNBLOCK says so: it gets the reply of a time-out.
    pub(super) fn time_out(&mut self, slot: Slot) {
        if let Some(wait) = self.blocked.wait_of(slot) {
            let count = Acks::of(self).count(wait);
            self.resume(slot, |out| reply_count(wait, count, out));
        }
    }

    /// CLIENT UNBLOCK ERROR.
    pub(super) fn unblock_with_error(&mut self, slot: Slot, error: &str) {
        self.resume(slot, |out| out.error(error));
    }

    /// What the clock ends: waits with a deadline, a pause.
    pub fn end_waits(&mut self) {
        if self.blocked.pause.is_some_and(|pause| pause.until_ms <= self.steady_ms) {
            self.unpause();
        }
        while let Some(&(at, _, slot)) = self.blocked.deadlines.first()
            && at <= self.steady_ms
        {
            self.time_out(slot);
        }
    }

    /// The node becomes a slave: nobody can wait here for what only a master sees. Postponed requests are refused when they come again.
    pub(super) fn unblock_all_on_role_change(&mut self) {
        for (slot, wait) in self.blocked.in_order() {
            if !matches!(wait, Wait::Unpause | Wait::Shutdown) {
                self.unblock_with_error(slot, "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)");
                self.clients.at_mut(slot).flags |= ClientFlags::CLOSE_AFTER_REPLY;
            }
        }
    }

    /// CLIENT PAUSE. A pause that lasts longer already keeps its end, as in Redis.
    pub(super) fn pause_clients(&mut self, writes_only: bool, until_ms: i64) {
        let until_ms = self.blocked.pause.map_or(until_ms, |pause| pause.until_ms.max(until_ms));
        self.unpause();
        self.blocked.pause = Some(Pause { writes_only, until_ms });
    }

    /// CLIENT PAUSE is over: postponed requests come again in their order.
    pub(super) fn unpause(&mut self) {
        if self.blocked.pause.take().is_some() {
            self.resume_postponed();
        }
    }

    /// FAILOVER begins or ends.
    pub(super) fn pause_for_failover(&mut self, paused: bool) {
        if std::mem::replace(&mut self.blocked.failing_over, paused) {
            self.resume_postponed();
        }
    }

    /// SHUTDOWN begins to wait, or comes to nothing.
    pub(super) fn pause_for_shutdown(&mut self, paused: bool) {
        if std::mem::replace(&mut self.blocked.shutting_down, paused) {
            self.resume_postponed();
        }
    }

    /// Those who wait for the end of a pause look again whether they must.
    fn resume_postponed(&mut self) {
        for (slot, wait) in self.blocked.in_order() {
            if wait == Wait::Unpause {
                self.blocked.remove(slot);
                self.clients.at_mut(slot).flags -= ClientFlags::BLOCKED;
                self.blocked.resumed.push(slot);
            }
        }
    }

    /// Whether expiry and eviction must leave the data alone: a pause promises that a slave can come to the very same state.
    #[inline]
    pub(super) fn data_is_frozen(&self) -> bool {
        self.blocked.is_paused()
    }

    /// Once a turn: asks the slaves how far they are if somebody waits to know. Nothing enters the stream while clients are paused.
    pub fn ask_for_acks(&mut self) {
        if self.blocked.getack_wanted && !self.blocked.is_paused() {
            self.blocked.getack_wanted = false;
            if matches!(self.role, Role::Master) {
                self.stream.append(GETACK);
            }
        }
    }
}
