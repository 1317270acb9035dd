//! The active expiry cycle: a master deletes keys and fields of hashes that are due though nobody asks for them. It samples keys in small steps, and
//! knows what fields are due; it keeps to the time it is given, and resumes where it stopped. Each deletion is a unit of its own in the stream, as in
//! Redis, but for fields of one hash, which go together.

use super::NodeState;
use super::hash_due::FIELDS_PER_STEP;
use super::own_expires::OwnExpires;
use crate::config::Config;
use crate::env::Mistake;
use crate::keyspace::{DbIndex, Key, UnixMs};
use crate::replication::Role;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CycleKind {
    /// By the timer, `hz` times a second.
    Slow,
    /// Before the loop sleeps, where the cycles before have left too many keys that are due.
    Fast,
}

/// What one cycle leaves for the next, and what INFO shows.
#[derive(Clone, Debug, Default)]
pub struct ExpireCycle {
    next_db: u32,
    /// The last cycle ran out of time.
    out_of_time: bool,
    last_fast_ns: Option<u64>,
    /// INFO `expired_stale_perc`: how many of the keys with an expiry are probably due, a running average.
    pub stale_percent: f64,
    /// INFO `expired_time_cap_reached_count`
    pub time_cap_reached: u64,
    /// INFO `expire_cycle_cpu_milliseconds`, in nanoseconds.
    pub spent_ns: u64,
    due: Vec<Vec<u8>>,
    /// Of fields that are being deleted.
    pub(super) names: Vec<u8>,
    /// What a writable slave has to delete.
    pub own: OwnExpires,
}

impl ExpireCycle {
    /// CONFIG RESETSTAT.
    pub fn reset_stats(&mut self) {
        (self.stale_percent, self.time_cap_reached, self.spent_ns) = (0.0, 0, 0);
    }
}

/// `active-expire-effort`, 1 to 10, as the number that it adds to the defaults.
fn effort(config: &Config) -> u64 {
    u64::from(config.active_expire_effort.clamp(1, 10)) - 1
}

/// The time that all slow cycles together may take of one second.
pub fn slow_budget_ns_per_second(config: &Config) -> u64 {
    (25 + 2 * effort(config)) * 10_000_000
}

/// A slave waits for its master to say DEL.
fn deletes_due_keys(node: &NodeState) -> bool {
    matches!(node.role, Role::Master) || node.env.planted(Mistake::ReplicaExpires)
}

/// Runs one cycle for about `budget_ns`. True if it ran out of time, so that more keys are likely to be due.
pub fn active_expire_cycle(node: &mut NodeState, kind: CycleKind, budget_ns: u64) -> bool {
    if !node.active_expire || node.data_is_frozen() || node.loading.is_some() {
        return false;
    }
    if !deletes_due_keys(node) {
        if kind == CycleKind::Slow && !node.expire_cycle.own.is_empty() {
            node.expire_own();
        }
        return false;
    }
    if !node.expire_cycle.own.is_empty() {
        node.expire_cycle.own.clear();
    }
    let effort = effort(&node.config);
    let started_ns = node.env.clock.monotonic_ns();
    let state = &mut node.expire_cycle;
    if kind == CycleKind::Fast {
        let is_needed = state.out_of_time || state.stale_percent >= (10 - effort) as f64;
        let is_too_soon = state.last_fast_ns.is_some_and(|last| started_ns < last + 2 * budget_ns);
        if !is_needed || is_too_soon {
            return false;
        }
        state.last_fast_ns = Some(started_ns);
    }
    let mut due = std::mem::take(&mut state.due);
    // Half of the time is the keys', however many fields are due.
    let fields_left = sweep_fields(node, started_ns + budget_ns / 2);
    let mut totals = sweep(node, started_ns + budget_ns, effort, &mut due);
    totals.out_of_time |= fields_left;
    let spent_ns = node.env.clock.monotonic_ns() - started_ns;
    node.note_latency("expire-cycle", spent_ns);
    let state = &mut node.expire_cycle;
    state.due = due;
    state.spent_ns += spent_ns;
    state.out_of_time = totals.out_of_time;
    state.time_cap_reached += u64::from(totals.out_of_time && kind == CycleKind::Slow);
    let stale = if totals.sampled == 0 { 0.0 } else { totals.expired as f64 * 100.0 / totals.sampled as f64 };
    state.stale_percent = stale * 0.05 + state.stale_percent * 0.95;
    totals.out_of_time
}

#[derive(Default)]
struct Totals {
    sampled: usize,
    expired: usize,
    out_of_time: bool,
}

/// Every database in turn, from the one after that where the last cycle stopped, each until few of its samples are due.
fn sweep(node: &mut NodeState, deadline_ns: u64, effort: u64, due: &mut Vec<Vec<u8>>) -> Totals {
    let now = UnixMs(node.now_ms);
    let keys_a_step = (20 + 5 * effort) as usize;
    let acceptable_percent = (10 - effort) as usize;
    let mut totals = Totals::default();
    let databases = node.keyspace.databases();
    for _ in 0..databases {
        let db = DbIndex(node.expire_cycle.next_db % databases);
        // Moved on first: a database full of due keys must not keep the others waiting in the next cycle.
        node.expire_cycle.next_db = (db.0 + 1) % databases;
        while node.keyspace.db(db).expires_len() > 0 {
            due.clear();
            let sampled = node.keyspace.db_mut(db).expire_sample(now, keys_a_step, due);
            totals.sampled += sampled;
            totals.expired += due.len();
            for key in due.iter() {
                let key = Key { bytes: key, hash: node.keyspace.hash(key) };
                node.delete_expired(db, key);
                node.flush_effects();
            }
            if node.env.clock.monotonic_ns() >= deadline_ns {
                totals.out_of_time = true;
                return totals;
            }
            if due.len() * 100 <= sampled * acceptable_percent {
                break;
            }
        }
    }
    totals
}

/// Every database's hashes, those first of which a field expires first, until no field is due. True if time ran out before.
fn sweep_fields(node: &mut NodeState, deadline_ns: u64) -> bool {
    let now = UnixMs(node.now_ms);
    for db in (0..node.keyspace.databases()).map(DbIndex) {
        while let Some((_, entry)) = node.keyspace.db(db).first_expiring_hash().filter(|(at, _)| *at < now) {
            let key = entry.key().to_vec();
            let key = Key { bytes: &key, hash: node.keyspace.hash(&key) };
            node.expire_fields(db, key, FIELDS_PER_STEP);
            node.flush_effects();
            if node.env.clock.monotonic_ns() >= deadline_ns {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn bench(keys: usize) -> Bench {
        let mut b = Bench::new();
        for i in 0..keys {
            b.say(&format!("set key:{i} x px 10"));
        }
        b.say("set stays x px 100000");
        b.pass_ms(11);
        b.stream();
        b
    }

    fn count(b: &Bench) -> u64 {
        b.node.keyspace.db(DbIndex(0)).len()
    }

    #[test]
    fn everything_due_goes_and_each_deletion_is_a_unit() {
        let mut b = bench(500);
        // A cycle may stop where few of its samples are due; some more see to the rest.
        let mut cycles = 0;
        while count(&b) > 1 {
            active_expire_cycle(&mut b.node, CycleKind::Slow, SECOND_NS);
            cycles += 1;
            assert!(cycles < 100);
        }
        assert_eq!(b.say("exists stays"), ":1");
        assert_eq!(b.node.stats.expired_keys, 500);
        let stream = b.stream();
        assert_eq!(stream.len(), 500);
        assert!(stream.iter().all(|command| command.starts_with("DEL key:")));
    }

    #[test]
    fn a_cycle_without_time_makes_one_step_and_says_so() {
        let mut b = bench(500);
        assert!(active_expire_cycle(&mut b.node, CycleKind::Slow, 0));
        let left = count(&b);
        assert!(left < 501 && left > 400, "{left}");
        assert_eq!(b.node.expire_cycle.time_cap_reached, 1);
        // Now the fast cycle has a reason to run.
        active_expire_cycle(&mut b.node, CycleKind::Fast, SECOND_NS);
        assert!(count(&b) < left);
        let left = count(&b);
        b.node.expire_cycle.out_of_time = true;
        assert!(!active_expire_cycle(&mut b.node, CycleKind::Fast, SECOND_NS), "too soon after the last");
        assert_eq!(count(&b), left);
    }

    #[test]
    fn only_a_master_that_may_expires() {
        let mut b = bench(50);
        b.node.active_expire = false;
        assert!(!active_expire_cycle(&mut b.node, CycleKind::Slow, SECOND_NS));
        assert_eq!(count(&b), 51);
    }
}
