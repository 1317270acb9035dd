//! Randomness: one seeded generator a node; the real one is seeded from the machine's entropy.

use std::sync::Mutex;

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Where a node's random numbers come from: hash seeds, replids, sampling, jitter.
pub trait Random: Send + Sync {
    /// A uniformly distributed number.
    fn next_u64(&self) -> u64;

    /// A uniformly distributed number below `bound` (which is above 0).
    fn below(&self, bound: u64) -> u64 {
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }

    /// `len` lower-case hexadecimal digits, as in replids and run ids.
    fn hex(&self, len: usize) -> String {
        let mut out = String::with_capacity(len + 16);
        while out.len() < len {
            out.push_str(&format!("{:016x}", self.next_u64()));
        }
        out.truncate(len);
        out
    }
}

/// xoshiro256++ behind a lock; the same seed gives the same numbers.
pub struct SeededRandom(Mutex<Xoshiro256PlusPlus>);

impl SeededRandom {
    pub fn from_seed(seed: u64) -> Self {
        SeededRandom(Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed)))
    }

    pub fn from_entropy() -> Self {
        let seed = getrandom::u64().expect("the machine has a source of entropy");
        Self::from_seed(seed)
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next_u64()
    }
}
