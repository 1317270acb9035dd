//! The keys of a database that expire: a second table, of pointers to the same entries. Its owner, `Db`, keeps it in step: an entry with an
//! expiry is in here from when it enters the main table until it leaves it or loses the expiry, under its present address.

use super::UnixMs;
use super::entry::{Alias, Entry};
use super::hasher::KeyHasher;
use super::table::{Slot, Table, Unguarded};

impl Slot for Alias {
    #[inline]
    fn hash(&self, hasher: &KeyHasher) -> u64 {
        hasher.hash(self.entry().key())
    }
    #[inline]
    fn prefetch(&self) {
        self.entry().prefetch();
    }
}

pub(super) struct Expires {
    table: Table<Alias>,
    /// Where sampling goes on.
    cursor: u64,
    avg_ttl: i64,
}

impl Expires {
    pub(super) fn new() -> Self {
        Expires { table: Table::new(), cursor: 0, avg_ttl: 0 }
    }
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
    pub(super) fn allocated(&self) -> usize {
        self.table.allocated()
    }
    pub(super) fn avg_ttl(&self) -> i64 {
        self.avg_ttl
    }
    /// The entry `new` (if it expires) takes the place of `old` (if that did), both under the key with `hash`. To be called while `old` is
    /// alive, before it is dropped, and once `new` stays where it is.
    pub(super) fn moved(&mut self, hash: u64, old: Option<Alias>, new: Option<Alias>, hasher: &KeyHasher) {
        match (old, new) {
            _ if old == new => {}
            (None, None) => {}
            (None, Some(new)) => self.table.insert_new(hash, new, hasher, &mut Unguarded),
            (Some(old), None) => {
                let removed = self.table.remove(hash, |alias| *alias == old, hasher, &mut Unguarded);
                assert!(removed.is_some(), "an entry that expires is in the index");
            }
            (Some(old), Some(new)) => {
                let place = self.table.get_mut(hash, |alias| *alias == old, &mut Unguarded);
                *place.expect("an entry that expires is in the index") = new;
            }
        }
    }
    pub(super) fn random(&self, random: &mut dyn FnMut() -> u64) -> Option<&Entry> {
        self.table.random(random).map(Alias::entry)
    }
    /// Looks at about `count` entries behind those of the last call; adds the keys that are due at `now` to `due`. Returns how many it looked at.
    pub(super) fn sample(&mut self, now: UnixMs, count: usize, hasher: &KeyHasher, due: &mut Vec<Vec<u8>>) -> usize {
        if self.table.len() == 0 {
            (self.cursor, self.avg_ttl) = (0, 0);
            return 0;
        }
        let (mut looked_at, mut ttl_sum, mut alive) = (0, 0_i64, 0_i64);
        self.cursor = self.table.scan(self.cursor, count, hasher, &mut |alias| {
            let entry = alias.entry();
            let Some(at) = entry.expire_at() else { return };
            looked_at += 1;
            if at <= now {
                due.push(entry.key().to_vec());
            } else {
                ttl_sum = ttl_sum.saturating_add(at.0.saturating_sub(now.0));
                alive += 1;
            }
        });
        if alive > 0 {
            let mean = ttl_sum / alive;
            // A running average as Redis keeps it: a fiftieth of each new sample.
            self.avg_ttl = if self.avg_ttl == 0 { mean } else { self.avg_ttl / 50 * 49 + mean / 50 };
        }
        looked_at
    }
    pub(super) fn shrink_step(&mut self, hasher: &KeyHasher) -> bool {
        self.table.shrink_step(hasher, &mut Unguarded)
    }
}
