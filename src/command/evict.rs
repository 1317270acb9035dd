//! `maxmemory`: what counts, which keys go, and how long a command may be kept for it.
//!
//! Before a command the node evicts until it is below the limit, or until the time that `maxmemory-eviction-tenacity` allows is over; then the
//! command runs all the same and the actor goes on evicting between turns. Only where nothing can be evicted are commands refused. Each
//! eviction is a unit of its own in the stream.

use super::NodeState;
use super::client_memory::client_memory;
use crate::config::{Events, EvictionPolicy};
use crate::keyspace::eviction::{Lfu, Pool, Ranking};
use crate::keyspace::{DbIndex, Key, UnixMs, lru_clock};
use crate::rdb::Access;
use crate::replication::Role;
use crate::resp::encode_command;

/// The clock is asked once in so many evictions.
const KEYS_A_STEP: u32 = 16;

/// What came of making room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Enough,
    /// The time was over first: there is more to evict.
    Unfinished,
    /// There is nothing to evict, or nothing may be.
    Impossible,
}

/// What one eviction leaves for the next.
#[derive(Default)]
pub struct Eviction {
    pool: Pool,
    /// Where random policies go on.
    next_db: u32,
    /// There was more to evict than time.
    pub(super) unfinished: bool,
    exceeded_since_ms: Option<i64>,
}

impl Eviction {
    /// Room is wanted before the next command asks for it.
    pub fn request(&mut self) {
        self.unfinished = true;
    }
    /// INFO `current_eviction_exceeded_time`
    pub fn exceeded_ms(&self, now_ms: i64) -> i64 {
        self.exceeded_since_ms.map_or(0, |since| now_ms - since)
    }
}

/// `maxmemory-eviction-tenacity` as the time for one command, as in Redis: linear up to 500 us, then half a sixth more each, at the end no limit.
fn budget_ns(tenacity: u32) -> u64 {
    match tenacity {
        0..=10 => u64::from(tenacity) * 50_000,
        11..=99 => (500_000.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64,
        _ => u64::MAX,
    }
}

impl NodeState {
    /// Memory that the limit does not count: what slaves have not been sent yet. Evicting for it would write more to them.
    pub fn uncounted_memory(&self) -> u64 {
        let backlog = self.stream.backlog().map_or(0, |backlog| backlog.memory_bytes());
        let replicas = self.clients.replicas();
        replicas.map(|(_, client, _)| client_memory(client) as u64).sum::<u64>() + backlog.saturating_sub(self.config.repl_backlog_size)
    }

    fn counted_memory(&self) -> u64 {
        let backlog = self.stream.backlog().map_or(0, |backlog| backlog.memory_bytes());
        self.keyspace.allocated() as u64 + backlog.min(self.config.repl_backlog_size) + self.clients.counted_bytes() as u64
    }

    /// The access bits under LFU, as of now.
    pub(super) fn lfu(&self) -> Lfu {
        Lfu { minutes: Lfu::minutes_of(self.now_ms), log_factor: self.config.lfu_log_factor, decay_minutes: self.config.lfu_decay_time }
    }

    /// What the access bits mean now, for a file that is being loaded.
    pub fn access_when_loading(&self) -> Access {
        match self.config.maxmemory_policy.is_lfu() {
            true => Access::Lfu { minutes: Lfu::minutes_of(self.now_ms) },
            false => Access::Lru { clock: lru_clock(UnixMs(self.now_ms)) },
        }
    }

    /// What a snapshot says of accesses: nothing where no policy asks for them.
    pub fn access_when_writing(&self) -> Access {
        let policy = self.config.maxmemory_policy;
        if policy.is_lfu() || policy.is_lru() { self.access_when_loading() } else { Access::Ignored }
    }

    /// `maxmemory-policy` has changed: the bits mean something else now, and adjust as keys are used.
    pub(super) fn policy_changed(&mut self) {
        self.keyspace.set_lfu(self.config.maxmemory_policy.is_lfu());
        self.eviction.pool.clear();
        self.tick();
    }

    /// Evicts on, if a command had no time for it. True if there is still more.
    pub fn evict_more(&mut self) -> bool {
        self.eviction.unfinished && self.make_room() == Room::Unfinished
    }

    /// Evicts until `maxmemory` is kept or the time is over.
    #[cold]
    pub fn make_room(&mut self) -> Room {
        self.eviction.unfinished = false;
        let follows = matches!(self.role, Role::Replica(_)) && self.config.replica_ignore_maxmemory;
        if self.config.maxmemory == 0 || self.loading.is_some() || follows || self.data_is_frozen() {
            return Room::Enough;
        }
        let room = self.evict_until_below();
        match (room, self.eviction.exceeded_since_ms) {
            (Room::Enough, Some(since_ms)) => {
                self.stats.eviction_exceeded_ms += (self.steady_ms - since_ms) as u64;
                self.eviction.exceeded_since_ms = None;
            }
            (Room::Enough, None) | (_, Some(_)) => {}
            (_, None) => self.eviction.exceeded_since_ms = Some(self.steady_ms),
        }
        self.eviction.unfinished = room == Room::Unfinished;
        room
    }

    fn evict_until_below(&mut self) -> Room {
        if self.counted_memory() <= self.config.maxmemory {
            return Room::Enough;
        }
        let policy = self.config.maxmemory_policy;
        if policy == EvictionPolicy::Noeviction {
            return Room::Impossible;
        }
        let started_ns = self.env.clock.monotonic_ns();
        let room = self.evict_from(policy, started_ns);
        self.note_latency("eviction-cycle", self.env.clock.monotonic_ns() - started_ns);
        room
    }

    fn evict_from(&mut self, policy: EvictionPolicy, started_ns: u64) -> Room {
        let budget_ns = budget_ns(self.config.maxmemory_eviction_tenacity);
        let mut evicted = 0;
        while self.counted_memory() > self.config.maxmemory {
            let Some((db, key)) = self.victim(policy) else { return Room::Impossible };
            let key = Key { bytes: &key, hash: self.keyspace.hash(&key) };
            self.evict(db, key);
            evicted += 1;
            if evicted % KEYS_A_STEP == 0 && self.env.clock.monotonic_ns() - started_ns >= budget_ns {
                return Room::Unfinished;
            }
        }
        Room::Enough
    }

    fn victim(&mut self, policy: EvictionPolicy) -> Option<(DbIndex, Vec<u8>)> {
        let volatile = policy.is_volatile();
        let ranking = match policy {
            EvictionPolicy::AllkeysLru | EvictionPolicy::VolatileLru => Ranking::Lru { clock: self.keyspace.access_clock() },
            EvictionPolicy::AllkeysLfu | EvictionPolicy::VolatileLfu => Ranking::Lfu(self.lfu()),
            EvictionPolicy::VolatileTtl => Ranking::Ttl,
            EvictionPolicy::AllkeysRandom | EvictionPolicy::VolatileRandom => return self.random_victim(volatile),
            EvictionPolicy::Noeviction => return None,
        };
        let env = self.env.clone();
        let mut random = || env.random.next_u64();
        // All candidates may be gone by the time that one is wanted.
        while self.eviction.pool.fill(&self.keyspace, volatile, ranking, self.config.maxmemory_samples, &mut random) > 0 {
            if let Some(best) = self.eviction.pool.take_best(&self.keyspace, volatile) {
                return Some(best);
            }
        }
        None
    }

    /// A random key of the next database that has one.
    fn random_victim(&mut self, volatile: bool) -> Option<(DbIndex, Vec<u8>)> {
        let env = self.env.clone();
        let mut random = || env.random.next_u64();
        let databases = self.keyspace.databases();
        for _ in 0..databases {
            let index = DbIndex(self.eviction.next_db % databases);
            self.eviction.next_db = (index.0 + 1) % databases;
            let db = self.keyspace.db(index);
            let sampled = if volatile { db.random_volatile(&mut random) } else { db.random(&mut random) };
            if let Some(entry) = sampled {
                return Some((index, entry.key().to_vec()));
            }
        }
        None
    }

    fn evict(&mut self, db: DbIndex, key: Key<'_>) {
        let lazy = self.config.lazyfree_lazy_eviction;
        if self.keyspace.db_mut(db).remove(key, lazy) {
            self.stats.evicted_keys += 1;
            self.signal(db, key.bytes);
            self.notify(Events::EVICTED, "evicted", db, key.bytes);
            let verb: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            self.add_effect(db, |out| encode_command(out, &[verb, key.bytes]));
            self.flush_effects();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";

    /// A node with `keys` keys, every other one with an expiry, and a limit at what they take.
    fn bench(policy: &str, keys: u32) -> Bench {
        let mut b = Bench::new();
        // The backlog counts up to its size, so it is full from the beginning; all of it is kept, as for a slave that is far behind.
        b.node.stream.hold_from(Some(crate::replication::ReplOffset(0)));
        b.say(&format!("config set maxmemory-policy {policy} repl-backlog-size 16kb"));
        b.say(&format!("set filler {}", "x".repeat(40_000)));
        b.say("del filler");
        for i in 0..keys {
            let expire = if i % 2 == 0 { String::new() } else { format!(" px {}", 1_000_000 + i) };
            b.say(&format!("set key:{i} {}{expire}", "x".repeat(200)));
        }
        // With a limit clients count as well.
        b.say("config set maxmemory 1gb");
        let used = b.node.counted_memory();
        b.say(&format!("config set maxmemory {used}"));
        b.stream();
        b
    }

    #[test]
    fn without_eviction_writes_that_need_memory_are_refused() {
        let mut b = bench("noeviction", 50);
        assert_eq!(b.say(&format!("set new {}", "x".repeat(200))), "+OK");
        assert_eq!(b.say("set new 1"), OOM);
        assert_eq!(b.say("get key:1").len(), 205);
        b.say("multi");
        assert_eq!(b.say("get key:1"), OOM, "what is queued takes memory too");
        assert!(b.say("exec").starts_with("-EXECABORT"));
        assert_eq!(b.say("del new"), ":1");
        assert_eq!(b.say("set new 1"), "+OK");
        assert_eq!(b.node.stats.evicted_keys, 0);
    }

    #[test]
    fn every_policy_makes_room_from_the_keys_that_it_may_take() {
        for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
            let mut b = bench(policy, 200);
            for i in 0..50 {
                assert_eq!(b.say(&format!("set new:{i} {}", "x".repeat(200))), "+OK", "{policy}");
            }
            b.node.make_room();
            assert!(b.node.counted_memory() <= b.node.config.maxmemory, "{policy}");
            let evicted = b.node.stats.evicted_keys;
            assert!((40..80).contains(&evicted), "{policy}: {evicted}");
            let deleted: Vec<String> = b.stream().into_iter().filter(|line| line.starts_with("DEL ")).collect();
            assert_eq!(deleted.len() as u64, evicted, "{policy}");
            if policy.starts_with("volatile") {
                let number = |line: &String| line.strip_prefix("DEL key:").unwrap().parse::<u32>().unwrap();
                assert!(deleted.iter().all(|line| number(line) % 2 == 1), "{policy}");
            }
            if policy == "volatile-ttl" {
                let early = deleted.iter().filter(|line| line.len() < "DEL key:100".len()).count();
                assert!(early * 4 > deleted.len() * 3, "{early} of {} from the half that expires first", deleted.len());
            }
        }
    }

    #[test]
    fn a_volatile_policy_has_nothing_to_evict_where_nothing_expires() {
        let mut b = bench("volatile-lru", 1);
        b.say(&format!("set new {}", "x".repeat(200)));
        assert_eq!(b.say("set another 1"), OOM);
    }

    #[test]
    fn slaves_and_paused_nodes_leave_it_to_others() {
        let mut b = bench("allkeys-random", 50);
        b.say("client pause 100000 write");
        let lower = b.node.config.maxmemory - 2000;
        b.say(&format!("config set maxmemory {lower}"));
        assert_eq!(b.node.make_room(), Room::Enough);
        b.say("replicaof 127.0.0.1 1");
        b.say("client unpause");
        assert_eq!(b.node.make_room(), Room::Enough);
        assert_eq!(b.node.stats.evicted_keys, 0);
        b.say("config set replica-ignore-maxmemory no lazyfree-lazy-eviction yes");
        assert_eq!(b.node.make_room(), Room::Enough);
        assert!(b.node.stats.evicted_keys > 0);
    }

    #[test]
    fn eviction_stops_when_its_time_is_over_and_goes_on_later() {
        let mut b = bench("allkeys-random", 200);
        b.say("config set maxmemory-eviction-tenacity 0 lazyfree-lazy-eviction yes maxmemory 1");
        assert_eq!(b.node.make_room(), Room::Unfinished);
        assert_eq!(b.node.stats.evicted_keys, u64::from(KEYS_A_STEP));
        assert!(b.node.evict_more());
        assert!(b.stream().iter().all(|line| line.starts_with("UNLINK key:")));
        assert_eq!(budget_ns(10), 500_000);
        assert_eq!(budget_ns(11), 575_000);
    }

    #[test]
    fn files_are_read_and_written_as_the_policy_means_the_bits() {
        let (mut node, _) = NodeState::for_tests();
        node.now_ms = 120_000;
        assert_eq!(node.access_when_loading(), Access::Lru { clock: 120 });
        assert_eq!(node.access_when_writing(), Access::Ignored);
        node.config.maxmemory_policy = EvictionPolicy::VolatileLru;
        assert_eq!(node.access_when_writing(), Access::Lru { clock: 120 });
        node.config.maxmemory_policy = EvictionPolicy::AllkeysLfu;
        assert_eq!(node.access_when_loading(), Access::Lfu { minutes: 2 });
        assert_eq!(node.access_when_writing(), Access::Lfu { minutes: 2 });
    }

    #[test]
    fn frequency_is_shown_under_lfu_only() {
        let mut b = Bench::new();
        b.say("config set maxmemory-policy allkeys-lfu lfu-log-factor 0");
        b.say("set a 1");
        assert_eq!(b.say("object freq a"), ":5");
        b.say("get a");
        b.say("set a 2");
        b.say("touch a");
        b.say("append a 2");
        assert_eq!(b.say("object freq a"), ":9");
        b.pass_ms(3 * 60_000);
        assert_eq!(b.say("object freq a"), ":6");
        assert!(b.say("object idletime a").starts_with("-ERR An LFU maxmemory policy is selected"));
    }
}
