//! What `maxmemory` needs of the data: how an entry's access bits are read and wound on (LRU clock, LFU counter), and the pool of the best
//! candidates that sampling has met. Redis's algorithms, so that both evict alike; no clock, no configuration, no randomness of its own.

use super::{DbIndex, Entry, Keyspace};

/// The counter that a new key begins with under LFU, so that it is not evicted before it had a chance.
const LFU_INITIAL: u8 = 5;
/// Candidates kept from one eviction to the next.
const POOL_LEN: usize = 16;

/// How LFU reads the access bits: 16 bits of minutes since the counter was last wound, and 8 bits of a logarithmic counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lfu {
    pub minutes: u16,
    /// `lfu-log-factor`
    pub log_factor: u32,
    /// `lfu-decay-time`: minutes for which the counter loses one; 0: never.
    pub decay_minutes: u32,
}

impl Lfu {
    pub fn minutes_of(unix_ms: i64) -> u16 {
        (unix_ms / 60_000) as u16
    }
    /// The bits of a key that is new.
    pub fn initial(minutes: u16) -> u32 {
        u32::from(minutes) << 8 | u32::from(LFU_INITIAL)
    }
    /// The counter as it is by now.
    pub fn counter(self, bits: u32) -> u8 {
        let wound = (bits >> 8) as u16;
        // Redis wraps at 65535, one short of what the bits hold.
        let elapsed = if self.minutes >= wound { self.minutes - wound } else { u16::MAX - wound + self.minutes };
        match u32::from(elapsed).checked_div(self.decay_minutes) {
            Some(periods) => (bits as u8).saturating_sub(periods.min(255) as u8),
            None => bits as u8,
        }
    }
    /// The bits after an access; `chance` is a number from 0 to 1. The higher the counter, the less likely it grows.
    pub fn accessed(self, bits: u32, chance: f64) -> u32 {
        let counter = self.counter(bits);
        let above = f64::from(counter.saturating_sub(LFU_INITIAL));
        let grows = counter < u8::MAX && chance < 1.0 / (above * f64::from(self.log_factor) + 1.0);
        u32::from(self.minutes) << 8 | u32::from(counter + u8::from(grows))
    }
}

/// Seconds since the last access, as LRU reads the bits. The clock wraps.
pub fn idle_seconds(bits: u32, lru_clock: u32) -> u32 {
    lru_clock.wrapping_sub(bits) & 0x00ff_ffff
}

/// What makes one key a better victim than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranking {
    Lru {
        clock: u32,
    },
    Lfu(Lfu),
    /// The sooner it expires the better.
    Ttl,
}

impl Ranking {
    /// The higher, the sooner to be evicted.
    fn score(self, entry: &Entry) -> u64 {
        match self {
            Ranking::Lru { clock } => u64::from(idle_seconds(entry.lru(), clock)),
            Ranking::Lfu(lfu) => u64::from(255 - lfu.counter(entry.lru())),
            Ranking::Ttl => u64::MAX - entry.expire_at().map_or(u64::MAX, |at| at.0.max(0) as u64),
        }
    }
}

struct Candidate {
    score: u64,
    db: DbIndex,
    key: Vec<u8>,
}

/// The best candidates met so far, the best one last. They may be gone by now.
#[derive(Default)]
pub struct Pool {
    candidates: Vec<Candidate>,
}

impl Pool {
    /// Looks at `samples` keys of each database (`volatile`: of those that expire) and keeps the best. Returns how many keys there are to look at.
    pub fn fill(&mut self, keyspace: &Keyspace, volatile: bool, ranking: Ranking, samples: u32, random: &mut dyn FnMut() -> u64) -> u64 {
        let mut total = 0;
        for db in (0..keyspace.databases()).map(DbIndex) {
            let keys = keyspace.db(db);
            let len = if volatile { keys.expires_len() } else { keys.len() };
            total += len;
            for _ in 0..u64::from(samples).min(len) {
                let sampled = if volatile { keys.random_volatile(random) } else { keys.random(random) };
                if let Some(entry) = sampled {
                    self.offer(ranking.score(entry), db, entry.key());
                }
            }
        }
        total
    }

    fn offer(&mut self, score: u64, db: DbIndex, key: &[u8]) {
        let at = self.candidates.partition_point(|known| known.score < score);
        let full = self.candidates.len() == POOL_LEN;
        if at == 0 && full || self.candidates.iter().any(|known| known.db == db && known.key == key) {
            return;
        }
        // In a full pool the worst one goes; its buffer is used again.
        let (at, mut buffer) = if full { (at - 1, self.candidates.remove(0).key) } else { (at, Vec::new()) };
        buffer.clear();
        buffer.extend_from_slice(key);
        self.candidates.insert(at, Candidate { score, db, key: buffer });
    }

    /// Takes the best candidate that still has a key (`volatile`: one that expires).
    pub fn take_best(&mut self, keyspace: &Keyspace, volatile: bool) -> Option<(DbIndex, Vec<u8>)> {
        while let Some(Candidate { db, key, .. }) = self.candidates.pop() {
            let hash = keyspace.hash(&key);
            let entry = keyspace.db(db).get(super::Key { bytes: &key, hash });
            if entry.is_some_and(|entry| !volatile || entry.expire_at().is_some()) {
                return Some((db, key));
            }
        }
        None
    }

    /// Forgets the candidates: their scores were of another policy.
    pub fn clear(&mut self) {
        self.candidates.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Key, SetExpire, UnixMs};
    use super::*;

    const LFU: Lfu = Lfu { minutes: 100, log_factor: 10, decay_minutes: 1 };

    #[test]
    fn an_lfu_counter_decays_by_the_minute_and_wraps() {
        assert_eq!(LFU.counter(100 << 8 | 7), 7);
        assert_eq!(LFU.counter(98 << 8 | 7), 5);
        assert_eq!(LFU.counter(1 << 8 | 7), 0);
        assert_eq!(Lfu { decay_minutes: 0, ..LFU }.counter(1 << 8 | 7), 7);
        assert_eq!(Lfu { decay_minutes: 10, ..LFU }.counter(75 << 8 | 7), 5);
        assert_eq!(Lfu { minutes: 1, ..LFU }.counter(65_534 << 8 | 7), 5, "over the end of the clock");
    }

    #[test]
    fn an_lfu_counter_grows_more_and_more_slowly() {
        assert_eq!(LFU.accessed(Lfu::initial(100), 0.99), 100 << 8 | 6, "at first always");
        assert_eq!(LFU.accessed(100 << 8 | 6, 1.0 / 11.0), 100 << 8 | 6);
        assert_eq!(LFU.accessed(100 << 8 | 6, 0.09), 100 << 8 | 7);
        assert_eq!(LFU.accessed(100 << 8 | 255, 0.0), 100 << 8 | 255);
        assert_eq!(LFU.accessed(99 << 8 | 9, 0.99), 100 << 8 | 8, "decay comes first, and the clock is wound");
    }

    #[test]
    fn idle_time_counts_over_the_end_of_the_clock() {
        assert_eq!(idle_seconds(10, 15), 5);
        assert_eq!(idle_seconds(0x00ff_fffe, 3), 5);
    }

    fn keyspace(keys: u32) -> Keyspace {
        let mut keyspace = Keyspace::new(2, 7);
        for i in 0..keys {
            let name = format!("key:{i}");
            let key = Key { bytes: name.as_bytes(), hash: keyspace.hash(name.as_bytes()) };
            let expire = if i % 2 == 0 { SetExpire::Clear } else { SetExpire::At(UnixMs(1000 + i64::from(i))) };
            let db = keyspace.db_mut(DbIndex(i % 4 / 2));
            db.set_string(key, b"x", expire);
            db.get(key).unwrap().set_lru(1 + i);
        }
        keyspace
    }

    fn random() -> impl FnMut() -> u64 {
        let mut state = 1_u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.rotate_left(32) ^ state
        }
    }

    #[test]
    fn the_oldest_of_many_samples_is_taken_first() {
        let keyspace = keyspace(40);
        let (mut pool, mut random) = (Pool::default(), random());
        for _ in 0..20 {
            assert_eq!(pool.fill(&keyspace, false, Ranking::Lru { clock: 100 }, 20, &mut random), 40);
        }
        assert_eq!(pool.candidates.len(), POOL_LEN);
        let (db, key) = pool.take_best(&keyspace, false).unwrap();
        assert_eq!((db, &key[..]), (DbIndex(0), &b"key:0"[..]));
        assert_eq!(pool.take_best(&keyspace, false).unwrap().1, b"key:1");
    }

    #[test]
    fn volatile_policies_pass_over_keys_that_stay() {
        let mut keyspace = keyspace(40);
        let (mut pool, mut random) = (Pool::default(), random());
        for _ in 0..20 {
            assert_eq!(pool.fill(&keyspace, true, Ranking::Ttl, 20, &mut random), 20);
        }
        let key = Key { bytes: b"key:1", hash: keyspace.hash(b"key:1") };
        keyspace.db_mut(DbIndex(0)).set_expire(key, None);
        assert_eq!(pool.take_best(&keyspace, true).unwrap().1, b"key:3", "the first one stays now");
        while let Some((db, key)) = pool.take_best(&keyspace, true) {
            let key = Key { bytes: &key, hash: keyspace.hash(&key) };
            assert!(keyspace.db(db).get(key).unwrap().expire_at().is_some());
        }
        assert_eq!(Pool::default().fill(&Keyspace::new(2, 7), false, Ranking::Ttl, 5, &mut random), 0);
    }
}
