//! What a verification does next: compare; and for a repair, name the keys of slots that differ, say them anew, compare the elements of big collections, and
//! compare all again. Decides only; the Verifier does it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::command::{Mend, VerifyOrder, VerifyProgress, VerifyResult};
use crate::keyspace::DbIndex;
use crate::replication::ReplOffset;
use crate::replication::verify::{Compared, Outcome, Scope, SlotId};

/// So often a repair begins anew with what is different still.
const ATTEMPTS_MAX: u32 = 4;
/// Items that a round asks for by name, unless one slot has more.
const NAMES_MAX: u64 = 200_000;
/// Slots in one mark.
const SLOTS_MAX: usize = 4096;
/// Collections in one mark, and how long their keys may be.
const COLLECTIONS_MAX: usize = 64;
const KEY_BYTES_MAX: usize = 4 << 10;

pub(super) enum Next {
    Round(Scope),
    Mend,
    End,
}

/// A round that is to come, or that is going on.
enum Work {
    /// All slots.
    Compare,
    /// The keys, or the elements, of slots.
    Names(Scope),
    /// The elements of collections, by slots.
    Elements(Scope),
}

/// The plan of one verification.
pub(super) struct Plan {
    order: VerifyOrder,
    work: VecDeque<Work>,
    current: Option<Work>,
    mends: VecDeque<Mend>,
    /// Big collections whose elements are to be compared.
    collections: Vec<(DbIndex, Vec<u8>)>,
    attempts: u32,
    rounds: u64,
    mended: u64,
    left: BTreeSet<(DbIndex, Vec<u8>)>,
    failed: Option<String>,
    offset: ReplOffset,
    keys: u64,
    replicas: Vec<Compared>,
    before: Vec<Compared>,
}

impl Plan {
    pub fn new(order: VerifyOrder) -> Self {
        Plan {
            order,
            work: VecDeque::from([Work::Compare]),
            current: None,
            mends: VecDeque::new(),
            collections: Vec::new(),
            attempts: 0,
            rounds: 0,
            mended: 0,
            left: BTreeSet::new(),
            failed: None,
            offset: ReplOffset(0),
            keys: 0,
            replicas: Vec::new(),
            before: Vec::new(),
        }
    }

    pub fn next(&mut self) -> Next {
        if self.failed.is_some() {
            return Next::End;
        }
        if !self.mends.is_empty() {
            return Next::Mend;
        }
        if !self.collections.is_empty() {
            let rest = self.collections.split_off(self.collections.len().min(COLLECTIONS_MAX));
            let collections = std::mem::replace(&mut self.collections, rest);
            self.work.push_front(Work::Elements(Scope { collections, ..Scope::default() }));
        }
        let Some(work) = self.work.pop_front() else { return Next::End };
        let scope = match &work {
            Work::Compare => Scope { db: self.order.db, ..Scope::default() },
            Work::Names(scope) | Work::Elements(scope) => scope.clone(),
        };
        self.current = Some(work);
        Next::Round(scope)
    }

    /// The slave that is asked about, if not all are.
    pub fn only_shown(&self) -> Option<String> {
        self.order.only.clone()
    }

    pub fn round_begins(&mut self, offset: ReplOffset) {
        self.rounds += 1;
        self.offset = offset;
    }

    pub fn round_ended(&mut self, outcome: Outcome) {
        match self.current.take() {
            Some(Work::Compare) => self.compared(outcome),
            Some(Work::Elements(scope)) => {
                let expiries = scope.collections.iter().cloned().map(|(db, key)| Mend::Expiry { db, key });
                self.mends.extend(expiries);
                self.ask_for_names(&scope, &outcome.slots);
            }
            Some(Work::Names(scope)) => self.named(&scope, outcome),
            None => {}
        }
    }

    fn compared(&mut self, outcome: Outcome) {
        self.keys = outcome.items;
        self.failed = outcome.failed;
        if self.failed.is_none() && outcome.replicas.is_empty() {
            self.failed = Some(match &self.order.only {
                Some(address) => format!("no slave at {address}"),
                None => "no slave is left".to_owned(),
            });
        }
        self.replicas = outcome.replicas;
        if self.attempts == 0 {
            self.before.clone_from(&self.replicas);
        }
        self.attempts += 1;
        if self.order.repair && !outcome.slots.is_empty() && self.attempts < ATTEMPTS_MAX {
            self.left.clear();
            self.ask_for_names(&Scope { db: self.order.db, ..Scope::default() }, &outcome.slots);
            self.work.push_back(Work::Compare);
        }
    }

    /// Rounds for the items of these slots, a bounded number at a time.
    fn ask_for_names(&mut self, scope: &Scope, slots: &BTreeMap<SlotId, u64>) {
        let (mut asked, mut items) = (BTreeSet::new(), 0);
        let mut rounds = Vec::new();
        for (id, count) in slots {
            if !asked.is_empty() && (items + count > NAMES_MAX || asked.len() >= SLOTS_MAX) {
                rounds.push(std::mem::take(&mut asked));
                items = 0;
            }
            asked.insert(*id);
            items += count;
        }
        rounds.extend(Some(asked).filter(|asked| !asked.is_empty()));
        for slots in rounds.into_iter().rev() {
            self.work.push_front(Work::Names(Scope { slots: Some(slots), ..scope.clone() }));
        }
    }

    fn named(&mut self, scope: &Scope, outcome: Outcome) {
        for ((space, name), wrong) in outcome.wrong {
            self.mends.push_back(match scope.collections.get(space as usize) {
                Some((db, key)) => Mend::Element { db: *db, key: key.clone(), name },
                None => Mend::Key { db: DbIndex(space), key: name, wrong },
            });
        }
    }

    pub fn take_mend(&mut self) -> Option<Mend> {
        self.mends.pop_front()
    }

    pub fn mended(&mut self) {
        self.mended += 1;
    }

    pub fn mend_next(&mut self, mend: Mend) {
        self.mends.push_front(mend);
    }

    /// The elements of a key's value must be compared before they can be said.
    pub fn compare_elements(&mut self, mend: Mend) {
        match mend {
            Mend::Key { db, key, .. } if key.len() <= KEY_BYTES_MAX => self.collections.push((db, key)),
            mend => self.leave(mend),
        }
    }

    /// It stays as it is.
    pub fn leave(&mut self, mend: Mend) {
        let (Mend::Key { db, key, .. }
        | Mend::Element { db, key, .. }
        | Mend::Expiry { db, key }
        | Mend::Fill { db, key, .. }
        | Mend::Copy { db, key, .. }) = mend;
        self.left.insert((db, key));
    }

    pub fn show(&self, progress: &mut VerifyProgress) {
        progress.rounds = self.rounds;
        progress.mended = self.mended;
        progress.phase = if self.mends.is_empty() { "comparing" } else { "repairing" };
    }

    pub fn result(self, error: Option<String>) -> VerifyResult {
        VerifyResult {
            order: self.order,
            error: error.or(self.failed),
            offset: self.offset,
            keys: self.keys,
            took_ms: 0,
            rounds: self.rounds,
            replicas: self.replicas,
            before: self.before,
            mended: self.mended,
            left: self.left.into_iter().collect(),
        }
    }
}
