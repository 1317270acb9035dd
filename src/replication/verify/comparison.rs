//! One round on the master: who is to answer, what they have answered, what differs. Works away from the node's thread.
//!
//! Memory is bounded whatever slaves claim: by slots and databases, by `NAMES_BYTES_MAX` for names, and in all by `HELD_BYTES_MAX`.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::size_of;

use super::digest::{Findings, Found, NAMES_BYTES_MAX, Named};
use super::report::{Message, Report, Sums};
use super::scope::SlotId;
use super::slot::{SLOTS, ranges};
use crate::replication::ReplOffset;

/// What all slaves' answers of one round may take.
const HELD_BYTES_MAX: usize = 256 << 20;
/// Slaves, theirs included.
const REPLICAS_MAX: usize = 1024;

/// A slave of this node when the mark was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The client's number, which never comes twice.
    pub client: u64,
    pub address: String,
    /// Why it can't answer, if it can't.
    pub unable: Option<&'static str>,
}

/// How a slave stands to the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Equal,
    /// By database the slots, as ranges; and how many they are in all.
    Differs {
        slots: u64,
        databases: Vec<(u32, Vec<String>)>,
    },
    /// It does not know how to answer.
    Unable(&'static str),
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    pub address: String,
    /// The slave that it follows; `None` for this node itself.
    pub via: Option<String>,
    pub verdict: Verdict,
}

/// How an item differs from the master's on one slave or the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    pub is_missing: bool,
    /// It is there with a value of another type.
    pub is_other_kind: bool,
}

/// The end of a round.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub items: u64,
    pub replicas: Vec<Compared>,
    /// The slots in which some slave differs, with how many items they have there, or here if that is more.
    pub slots: BTreeMap<SlotId, u64>,
    /// Why there is nothing else here.
    pub failed: Option<String>,
    /// After a round of names, what differs.
    pub wrong: BTreeMap<(u32, Vec<u8>), Wrong>,
}

enum State {
    Waits,
    Ended,
    Unable(&'static str),
    Failed(String),
}

struct Replica {
    client: u64,
    /// Nothing for the client itself.
    from: String,
    address: String,
    via: Option<String>,
    state: State,
    has_begun: bool,
    sums: Sums,
    names: Vec<Named>,
    bytes: usize,
}

impl Replica {
    fn new(client: u64, from: String, address: String, via: Option<String>, unable: Option<&'static str>) -> Self {
        let state = unable.map_or(State::Waits, State::Unable);
        Replica { client, from, address, via, state, has_begun: false, sums: Sums::new(), names: Vec::new(), bytes: 0 }
    }

    fn fail(&mut self, reason: impl Into<String>) {
        (self.sums, self.names) = (Sums::new(), Vec::new());
        self.bytes = 0;
        self.state = State::Failed(reason.into());
    }
}

/// A round that is going on.
pub struct Comparison {
    id: u64,
    offset: ReplOffset,
    databases: u32,
    /// The slave that is asked about, if not all are.
    only: Option<String>,
    own: Option<Findings>,
    replicas: Vec<Replica>,
}

impl Comparison {
    /// `offset`: where the mark begins. `spaces`: so many databases, or collections, are compared.
    pub fn new(id: u64, offset: ReplOffset, spaces: u32, expected: Vec<Expected>, only: Option<String>) -> Self {
        let replicas = expected.into_iter().map(|one| Replica::new(one.client, String::new(), one.address, None, one.unable)).collect();
        Comparison { id, offset, databases: spaces, only, own: None, replicas }
    }

    pub fn own(&mut self, findings: Findings) {
        self.own = Some(findings);
    }

    /// Nothing is awaited any more.
    pub fn is_complete(&self) -> bool {
        self.own.is_some() && !self.replicas.iter().any(|replica| matches!(replica.state, State::Waits))
    }

    /// A client has sent this.
    pub fn reported(&mut self, client: u64, body: &[u8]) {
        let report = Report::parse(body);
        let Some(report) = report else {
            let direct = self.replicas.iter_mut().find(|replica| replica.client == client && replica.from.is_empty());
            if let Some(replica) = direct {
                replica.fail("its report can't be read: another version?");
            }
            return;
        };
        if report.id != self.id {
            return;
        }
        let held: usize = self.replicas.iter().map(|replica| replica.bytes).sum();
        let Some(at) = self.replicas.iter().position(|replica| replica.client == client && replica.from == report.from) else { return };
        if !matches!(self.replicas[at].state, State::Waits) {
            return;
        }
        if held + body.len() > HELD_BYTES_MAX {
            return self.replicas[at].fail("the reports of this round take more memory than they may");
        }
        self.take(at, report.message);
    }

    fn take(&mut self, at: usize, message: Message) {
        let replica = &mut self.replicas[at];
        match message {
            Message::Begun { offset, .. } if offset != self.offset => {
                replica.fail(format!("it made its cut at offset {offset} and not at {}", self.offset));
            }
            Message::Begun { behind, .. } => {
                replica.has_begun = true;
                let (client, via) = (replica.client, replica.address.clone());
                for one in behind {
                    if self.replicas.len() >= REPLICAS_MAX {
                        break;
                    }
                    let unable = (!one.reports).then_some(UNABLE);
                    self.replicas.push(Replica::new(client, one.address.clone(), one.address, Some(via.clone()), unable));
                }
            }
            Message::Sums(_) | Message::Names(_) | Message::Ended { .. } if !replica.has_begun => replica.fail("it has not told where its cut is"),
            Message::Sums(sums) => {
                let databases = self.databases;
                let is_one = |id: SlotId| id.space < databases && id.slot < SLOTS;
                replica.sums.extend(sums.into_iter().filter(|(id, _)| is_one(*id)));
                // A map's node holds more than its values.
                replica.bytes = replica.sums.len() * 2 * size_of::<(SlotId, u128, u64)>();
            }
            Message::Names(names) => {
                replica.bytes += names.iter().map(|named| named.name.len() + size_of::<Named>()).sum::<usize>();
                if replica.bytes > 2 * NAMES_BYTES_MAX {
                    return replica.fail("it names more keys than are compared one by one");
                }
                let databases = self.databases;
                replica.names.extend(names.into_iter().filter(|named| named.space < databases));
            }
            Message::Ended { .. } => replica.state = State::Ended,
            Message::Working => {}
            Message::Failed(reason) => replica.fail(reason),
        }
    }

    /// A slave has gone, and with it those behind it.
    pub fn lost(&mut self, client: u64) {
        for replica in self.replicas.iter_mut().filter(|replica| replica.client == client) {
            if matches!(replica.state, State::Waits) {
                replica.fail("the link was lost before it had answered");
            }
        }
    }

    /// What there is at the end, or when nobody waits any longer, for `reason`.
    pub fn finish(mut self, reason: &str) -> Outcome {
        if let Some(only) = &self.only {
            self.replicas.retain(|replica| replica.address == *only);
        }
        let Some(own) = self.own.take() else {
            let failed = |replica: Replica| {
                let verdict = Verdict::Failed(reason.to_owned());
                Compared { address: replica.address, via: replica.via, verdict }
            };
            let replicas = self.replicas.into_iter().map(failed).collect();
            return Outcome { replicas, failed: Some(reason.to_owned()), ..Outcome::default() };
        };
        let mut outcome = Outcome { items: own.items, ..Outcome::default() };
        for replica in self.replicas {
            let Replica { address, via, state, sums, mut names, .. } = replica;
            let verdict = match state {
                State::Waits => Verdict::Failed(reason.to_owned()),
                State::Unable(why) => Verdict::Unable(why),
                State::Failed(why) => Verdict::Failed(why),
                State::Ended => match &own.found {
                    Found::Sums(own) => outcome.add_slots(own, &sums),
                    Found::Names(own) => {
                        names.sort();
                        outcome.add_names(own, &names)
                    }
                },
            };
            outcome.replicas.push(Compared { address, via, verdict });
        }
        outcome
    }
}

/// Why a slave can't answer that is not ours, or follows one that is not.
pub const UNABLE: &str = "not replikant, or of another version: it takes the mark and answers nothing";

impl Outcome {
    fn add_slots(&mut self, own: &Sums, its: &Sums) -> Verdict {
        let all: BTreeSet<SlotId> = own.keys().chain(its.keys()).copied().collect();
        let mut slots: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
        for id in all {
            let (mine, theirs) = (own.get(&id).copied().unwrap_or_default(), its.get(&id).copied().unwrap_or_default());
            if mine != theirs {
                slots.entry(id.space).or_default().push(id.slot);
                let weight = self.slots.entry(id).or_default();
                *weight = (*weight).max(mine.items).max(theirs.items);
            }
        }
        verdict_of(slots)
    }

    /// Both are sorted.
    fn add_names(&mut self, own: &[Named], its: &[Named]) -> Verdict {
        let mut slots: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
        let (mut own, mut its) = (own.iter().peekable(), its.iter().peekable());
        loop {
            let order = match (own.peek(), its.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(mine), Some(theirs)) => (mine.space, &mine.name).cmp(&(theirs.space, &theirs.name)),
            };
            let mine = if order.is_le() { own.next() } else { None };
            let theirs = if order.is_ge() { its.next() } else { None };
            if mine == theirs {
                continue;
            }
            let Some(named) = mine.or(theirs) else { break };
            let wrong = self.wrong.entry((named.space, named.name.clone())).or_default();
            wrong.is_missing |= theirs.is_none();
            wrong.is_other_kind |= theirs.is_some_and(|theirs| mine.is_some_and(|mine| mine.kind != theirs.kind));
            slots.entry(named.space).or_default().insert(super::slot::key_slot(&named.name));
        }
        verdict_of(slots.into_iter().map(|(space, slots)| (space, slots.into_iter().collect())).collect())
    }
}

fn verdict_of(slots: BTreeMap<u32, Vec<u16>>) -> Verdict {
    if slots.is_empty() {
        return Verdict::Equal;
    }
    let count = slots.values().map(|slots| slots.len() as u64).sum();
    let databases = slots.into_iter().map(|(space, slots)| (space, ranges(slots.into_iter()))).collect();
    Verdict::Differs { slots: count, databases }
}
