//! How long a slave waits between its attempts to link up: longer each time, up to a bound that the reason decides, and never as long as another slave.

use crate::env::Random;

/// What the last attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The master was not there, or the link broke.
    Broken,
    /// The master is there, and not ready.
    Busy,
    /// A snapshot came that can't be loaded: the next one may cost the master as much and be no better.
    Costly,
    /// An operator has to see to it.
    Operator,
}

impl Pace {
    /// The first wait, and the longest.
    fn bounds_ms(self) -> (u64, u64) {
        match self {
            Pace::Broken => (100, 5_000),
            Pace::Busy => (500, 10_000),
            Pace::Costly => (1_000, 60_000),
            Pace::Operator => (30_000, 300_000),
        }
    }
}

/// The waits of one series of attempts.
#[derive(Debug, Default)]
pub struct Backoff {
    last: Option<(Pace, u64)>,
}

impl Backoff {
    /// An attempt has come to its end: the next failure is the first again.
    pub fn reset(&mut self) {
        self.last = None;
    }

    /// The wait before the next attempt. Half of it is left to chance: the slaves of a master that has come back must not ask all at once.
    pub fn next_ms(&mut self, pace: Pace, random: &dyn Random) -> u64 {
        let (first, longest) = pace.bounds_ms();
        let ms = match self.last {
            Some((before, ms)) if before == pace => (ms * 2).min(longest),
            _ => first,
        };
        self.last = Some((pace, ms));
        ms / 2 + random.below(ms / 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededRandom;

    #[test]
    fn waits_double_up_to_their_bound_and_differ() {
        let random = SeededRandom::from_seed(1);
        for pace in [Pace::Broken, Pace::Busy, Pace::Costly, Pace::Operator] {
            let (first, longest) = pace.bounds_ms();
            let mut backoff = Backoff::default();
            let mut full = first;
            for _ in 0..20 {
                let ms = backoff.next_ms(pace, &random);
                assert!((full / 2..=full).contains(&ms), "{ms} of {full}");
                full = (full * 2).min(longest);
            }
            backoff.reset();
            assert!(backoff.next_ms(pace, &random) <= first);
        }
        let mut slaves: Vec<u64> = (0..20).map(|_| Backoff::default().next_ms(Pace::Operator, &random)).collect();
        slaves.sort_unstable();
        slaves.dedup();
        assert!(slaves.len() > 15, "{slaves:?}");
    }

    #[test]
    fn another_reason_begins_another_series() {
        let random = SeededRandom::from_seed(1);
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.next_ms(Pace::Operator, &random);
        }
        assert!(backoff.next_ms(Pace::Broken, &random) <= 100);
        assert!(backoff.next_ms(Pace::Operator, &random) <= 30_000);
    }
}
