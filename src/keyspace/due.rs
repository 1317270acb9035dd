//! Entries in the order of a moment: the fields of a big hash by their expiry, the hashes of a database by that of their first field. Its owner, `Db`,
//! keeps it in step, so every entry in here is alive and is found under the moment that it was put in with.

use super::UnixMs;
use super::entry::{Alias, Entry};
use crate::types::tree::{Cursor, Tree, Weigh};

/// An entry with its moment. Those of one moment go by address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Timed {
    pub at: UnixMs,
    pub alias: Alias,
}

// SAFETY: a tree wants it because clones of it may share nodes; `Due` makes no clones, so nodes belong to one `Db` and are on one thread at a time.
unsafe impl Sync for Timed {}

impl Weigh for Timed {
    type Hint = i64;
    const UNIFORM: bool = true;

    fn weight(&self) -> u64 {
        1
    }
    fn hint(&self) -> i64 {
        self.at.0
    }
}

#[derive(Default)]
pub(super) struct Due(Tree<Timed>);

impl Due {
    pub(super) fn len(&self) -> u64 {
        self.0.total()
    }
    pub(super) fn allocated(&self) -> usize {
        self.0.allocated()
    }
    pub(super) fn first(&self) -> Option<(UnixMs, &Entry)> {
        self.0.first().map(|timed| (timed.at, timed.alias.entry()))
    }
    /// How many are due before `now`.
    pub(super) fn before(&self, now: UnixMs) -> u64 {
        self.0.search(|at| Some(at < now.0), |_| unreachable!("moments decide")).position()
    }
    fn place(&self, timed: Timed) -> Cursor {
        let by_time = |at: i64| (at != timed.at.0).then_some(at < timed.at.0);
        self.0.search(by_time, |other| other.alias.address() < timed.alias.address())
    }
    /// `new` takes the place of `old`, where there is one.
    pub(super) fn moved(&mut self, old: Option<Timed>, new: Option<Timed>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            let removed = self.0.remove(&self.place(old));
            assert!(removed == Some(old), "an entry that expires is in the order");
        }
        if let Some(new) = new {
            self.0.insert(&self.place(new), new);
        }
    }
}
