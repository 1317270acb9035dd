//! The cardinality behind registers: Ertl's improved estimator ("New cardinality estimation algorithms for HyperLogLog sketches", 2017), computed in
//! the same order as Redis does, so that the rounding is the same.

use super::{Histogram, INDEX_BITS, REGISTERS, Registers};

/// The highest count that a hash can give but one: its bits behind the index.
const BITS_LEFT: usize = 64 - INDEX_BITS as usize;
/// 1 / (2 ln 2)
const ALPHA: f64 = 0.721_347_520_444_481_7;

pub fn cardinality(registers: &Registers) -> u64 {
    let mut histogram: Histogram = [0; 64];
    registers.iter().for_each(|register| histogram[usize::from(*register & 63)] += 1);
    from_histogram(&histogram)
}

pub(super) fn from_histogram(histogram: &Histogram) -> u64 {
    let m = REGISTERS as f64;
    let share = |of: usize| f64::from(histogram[of]);
    let mut z = m * tau((m - share(BITS_LEFT + 1)) / m);
    for count in (1..=BITS_LEFT).rev() {
        z += share(count);
        z *= 0.5;
    }
    z += m * sigma(share(0) / m);
    let estimate = (ALPHA * m * m / z).round();
    // Registers that no hash gives can make it infinite; Redis's conversion on x86-64 then gives this number.
    if estimate < i64::MAX as f64 { estimate as u64 } else { 1 << 63 }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_have_an_answer() {
        assert_eq!(cardinality(&[0; REGISTERS]), 0);
        assert_eq!(cardinality(&[51; REGISTERS]), 1 << 63);
        assert_eq!(cardinality(&[63; REGISTERS]), 1 << 63);
        let mut one = [0; REGISTERS];
        one[7] = 1;
        assert_eq!(cardinality(&one), 1);
    }
}
