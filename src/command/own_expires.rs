//! Keys with an expiry that clients have written to a writable slave. The master knows nothing of them and never sends their DEL, so the slave deletes them itself
//! when they are due; all other keys of a slave are its master's. Owns their names alone, and forgets one when its key is gone or has no expiry any more.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::NodeState;
use crate::keyspace::{DbIndex, Key, UnixMs};

/// Keys that one cycle looks at.
const KEYS_PER_CYCLE: usize = 64;

/// The names, by database.
#[derive(Clone, Debug, Default)]
pub struct OwnExpires {
    keys: BTreeSet<(DbIndex, Vec<u8>)>,
    /// Where the next cycle goes on.
    after: Option<(DbIndex, Vec<u8>)>,
}

impl OwnExpires {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The node is a master, or has its master's data: the keys are like all others.
    pub fn clear(&mut self) {
        *self = OwnExpires::default();
    }

    /// The next names in their order, from the first again after the last.
    fn next(&mut self) -> Vec<(DbIndex, Vec<u8>)> {
        let from = self.after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<_> = self.keys.range((from, Bound::Unbounded)).take(KEYS_PER_CYCLE).cloned().collect();
        if next.len() == KEYS_PER_CYCLE {
            self.after = next.last().cloned();
        }
        next
    }
}

impl NodeState {
    /// A client of a writable slave has changed a key.
    #[cold]
    pub(super) fn note_own_write(&mut self, db: DbIndex, key: &[u8]) {
        let keyed = Key { bytes: key, hash: self.keyspace.hash(key) };
        if self.keyspace.db(db).get(keyed).is_some_and(|entry| entry.expire_at().is_some()) {
            self.expire_cycle.own.keys.insert((db, key.to_vec()));
        }
    }

    /// Deletes those that are due.
    pub(super) fn expire_own(&mut self) {
        let now = UnixMs(self.now_ms);
        for (db, name) in self.expire_cycle.own.next() {
            let key = Key { bytes: &name, hash: self.keyspace.hash(&name) };
            let due_at = self.keyspace.db(db).get(key).and_then(|entry| entry.expire_at());
            if due_at.is_some_and(|at| at > now) {
                continue;
            }
            if due_at.is_some() {
                self.delete_expired(db, key);
            }
            self.expire_cycle.own.keys.remove(&(db, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{CycleKind, active_expire_cycle};
    use crate::replication::{MasterLink, Role};

    fn cycle(b: &mut Bench) {
        active_expire_cycle(&mut b.node, CycleKind::Slow, 1_000_000_000);
    }

    fn writable_slave() -> Bench {
        let mut b = Bench::new();
        b.say("set masters 1 px 100");
        b.node.config.replica_read_only = false;
        b.node.role = Role::Replica(Box::new(MasterLink::new("h".to_owned(), 1, b.node.steady_ms)));
        b
    }

    #[test]
    fn a_writable_slave_deletes_what_its_clients_wrote_and_nothing_else() {
        let mut b = writable_slave();
        for line in [
            "set a 1 px 100",
            "set b 1",
            "pexpire b 100",
            "lpush c 1",
            "pexpire c 100",
            "persist c",
            "set later 1 ex 100",
            "copy a d",
            "set gone 1 px 100",
            "del gone",
        ] {
            b.say(line);
        }
        cycle(&mut b);
        assert_eq!((b.node.expire_cycle.own.len(), b.say("dbsize").as_str()), (4, ":6"), "a, b, d and later");
        b.pass_ms(100);
        cycle(&mut b);
        assert_eq!((b.node.expire_cycle.own.len(), b.say("dbsize").as_str()), (1, ":3"), "masters, c and later are left");
        assert_eq!(b.node.stats.expired_keys, 3);
    }

    #[test]
    fn many_keys_are_looked_at_in_turn() {
        let mut b = writable_slave();
        for number in 0..200 {
            b.say(&format!("set late:{number} 1 ex 100"));
        }
        b.say("set z 1 px 10");
        b.pass_ms(10);
        for _ in 0..4 {
            assert_eq!(b.node.expire_cycle.own.len(), 201);
            cycle(&mut b);
        }
        assert_eq!(b.node.expire_cycle.own.len(), 200);
        b.node.role = Role::Master;
        cycle(&mut b);
        assert!(b.node.expire_cycle.own.is_empty());
    }
}
