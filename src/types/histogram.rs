//! A histogram of durations from 1 ns to 1 s in two significant digits, with the bucket bounds of HdrHistogram, so that what is read from it is what
//! Redis would show. Recording is a shift and an addition.

/// What is shorter or longer counts as this.
const NS_MIN: u64 = 1;
const NS_MAX: u64 = 1_000_000_000;
/// 2 significant digits need 256 buckets of width 1; each doubling of the width adds 128.
const SUB_BITS: u32 = 8;
const HALF: usize = 1 << (SUB_BITS - 1);
/// The first bound that no bucket holds.
const END: u64 = 1 << 30;
/// The lowest bound of `cumulative`.
const FIRST_LEVEL: u64 = 1024;

/// Grows with the longest duration that it has seen: most need a few KB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

#[inline]
fn index_of(ns: u64) -> usize {
    let width_bits = (u64::BITS - (ns | ((1 << SUB_BITS) - 1)).leading_zeros()) - SUB_BITS;
    width_bits as usize * HALF + (ns >> width_bits) as usize
}

fn lowest(index: usize) -> u64 {
    match index / HALF {
        0 | 1 => index as u64,
        group => ((index % HALF + HALF) as u64) << (group - 1),
    }
}

fn highest(index: usize) -> u64 {
    lowest(index + 1) - 1
}

impl Histogram {
    #[inline]
    pub fn record(&mut self, ns: u64) {
        let index = index_of(ns.clamp(NS_MIN, NS_MAX));
        self.total += 1;
        match self.counts.get_mut(index) {
            Some(count) => *count += 1,
            None => self.grow(index),
        }
    }

    #[cold]
    fn grow(&mut self, index: usize) {
        self.counts.resize((index / HALF + 1) * HALF, 0);
        self.counts[index] += 1;
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// The duration that so many percent do not exceed: the upper bound of its bucket, at 0 the lower one.
    pub fn at_percentile(&self, percent: f64) -> u64 {
        let wanted = ((percent / 100.0 * self.total as f64 + 0.5) as u64).max(1);
        let mut passed = 0;
        for (index, count) in self.counts.iter().enumerate() {
            passed += count;
            if passed >= wanted {
                return if percent == 0.0 { lowest(index) } else { highest(index) };
            }
        }
        0
    }

    /// Bounds that double from about 1 us, each with the number of durations up to it, where that number grows.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut bounds = Vec::new();
        let (mut level, mut passed, mut told) = (FIRST_LEVEL, 0, 0);
        let mut index = 0;
        while told < self.total {
            let bound = if level >= END { END - 1 } else { highest(index_of(level)) };
            while index < self.counts.len() && lowest(index) <= bound {
                passed += self.counts[index];
                index += 1;
            }
            if passed > told {
                bounds.push((bound, passed));
                told = passed;
            }
            level *= 2;
        }
        bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        for index in 0..index_of(NS_MAX) {
            assert_eq!(index_of(lowest(index)), index);
            assert_eq!(index_of(highest(index)), index);
            assert_eq!(highest(index) + 1, lowest(index + 1));
        }
        assert_eq!((lowest(index_of(1000)), highest(index_of(1000))), (1000, 1003));
    }

    #[test]
    fn percentiles_are_those_that_redis_shows() {
        let mut histogram = Histogram::default();
        for ns in [0, 1_000] {
            histogram.record(ns);
        }
        assert_eq!([50.0, 99.0, 100.0, 0.0].map(|percent| histogram.at_percentile(percent)), [1, 1003, 1003, 1]);
        histogram.record(5_000_000_000);
        assert_eq!(histogram.at_percentile(99.9), 1_002_438_655);
        assert_eq!(Histogram::default().at_percentile(50.0), 0);
    }

    #[test]
    fn distributions_are_those_that_redis_shows() {
        let shown = |values: &[u64]| {
            let mut histogram = Histogram::default();
            values.iter().for_each(|us| histogram.record(us * 1000));
            histogram.cumulative().into_iter().map(|(ns, count)| (ns / 1000, count)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&[]), []);
        assert_eq!(shown(&[0, 1]), [(1, 2)]);
        assert_eq!(shown(&[9, 9, 20, 40]), [(16, 2), (33, 3), (66, 4)]);
        assert_eq!(shown(&[78, 1_200_000]), [(132, 1), (1_073_741, 2)]);
        assert_eq!(shown(&[400_000, 900_000]), [(541_065, 1), (1_073_741, 2)]);
    }
}
