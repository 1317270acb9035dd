//! The fewest faults that still fail: delta debugging over a schedule.

use super::faults::Fault;
use super::simulation::{Failure, Simulation};

/// Leaves out what it can of a list, so that `fails` still says so: halves first, then ever smaller parts. `fails` is asked at most `tries` times.
pub fn fewest<T: Clone>(all: &[T], tries: usize, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut kept = all.to_vec();
    let mut tries = tries;
    let mut part = kept.len().div_ceil(2);
    while part > 0 && !kept.is_empty() {
        let mut at = 0;
        let mut left_out = false;
        while at < kept.len() {
            if tries == 0 {
                return kept;
            }
            tries -= 1;
            let mut fewer = kept.clone();
            fewer.drain(at..(at + part).min(kept.len()));
            if fails(&fewer) {
                kept = fewer;
                left_out = true;
            } else {
                at += part;
            }
        }
        // Singles are tried again, as long as one of them could go: they may have needed each other.
        if part > 1 || !left_out {
            part /= 2;
        }
    }
    kept
}

impl Simulation {
    /// The same failure, or another, with as few faults as can be found in so many runs.
    pub fn shrink(&self, failure: Box<Failure>, tries: usize) -> Box<Failure> {
        let with = |faults: &[Fault]| self.clone().faults(faults.to_vec());
        let faults = fewest(&failure.faults, tries, |faults| with(faults).finds().is_some());
        with(&faults).run().err().unwrap_or(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failure_needs_is_found_among_many() {
        let all: Vec<u32> = (0..40).collect();
        let mut asked = 0;
        let fails = |some: &[u32]| {
            asked += 1;
            some.contains(&7) && (some.contains(&23) || some.contains(&39))
        };
        assert_eq!(fewest(&all, 1000, fails), [7, 39]);
        assert!(asked < 100, "{asked}");
        assert_eq!(fewest(&all, 1000, |_| true), [0u32; 0]);
        assert_eq!(fewest(&all, 1000, |some| some.len() == 40), all);
        assert_eq!(fewest(&all, 3, |some| some.len() > 10).len(), 20);
    }
}
