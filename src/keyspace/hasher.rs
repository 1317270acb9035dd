//! The one seeded hash of a keyspace: all its tables place keys by it.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;

#[derive(Clone)]
pub(super) struct KeyHasher {
    state: RandomState,
    seed: u64,
}

impl KeyHasher {
    pub(super) fn new(seed: u64) -> Self {
        let [a, b, c, d] = [1, 2, 3, 4].map(|n| mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n))));
        KeyHasher { state: RandomState::with_seeds(a, b, c, d), seed }
    }
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }
    #[inline]
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        // `write` alone: ahash mixes the length in itself, a prefix as `<[u8] as Hash>` adds would only cost.
        let mut hasher = self.state.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

/// The finalizer of splitmix64: spreads one seed over the four words that the hash wants.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
