//! How fast snapshots may leave together: each piece is given the moment at which it may go, in the order of asking, so that all links get their share.

/// What may be made up for after a pause: a timer that is late must not cost rate.
const CATCH_UP_NS: u64 = 50_000_000;

/// One for all snapshots of a node.
#[derive(Debug, Default)]
pub struct SendRate {
    /// When everything that was promised has gone.
    free_ns: u64,
}

impl SendRate {
    /// Bytes that are asked for at a time: a twentieth of a second's.
    pub fn piece(rate: u64) -> usize {
        (rate / 20).clamp(512, 64 << 10) as usize
    }

    /// The moment at which `bytes` may go, at `rate` bytes a second, which is not 0.
    pub fn reserve(&mut self, now_ns: u64, rate: u64, bytes: usize) -> u64 {
        let start_ns = self.free_ns.max(now_ns.saturating_sub(CATCH_UP_NS));
        let takes_ns = u128::from(bytes as u64) * 1_000_000_000 / u128::from(rate);
        self.free_ns = start_ns.saturating_add(u64::try_from(takes_ns).unwrap_or(u64::MAX));
        start_ns.max(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_second_passes_for_a_seconds_bytes() {
        let mut rates = SendRate::default();
        let (rate, mut now_ns, mut sent) = (1_000_000, 5 * SECOND, 0);
        while now_ns < 15 * SECOND {
            let piece = SendRate::piece(rate);
            now_ns = rates.reserve(now_ns, rate, piece);
            sent += piece as u64;
        }
        assert!((9_900_000..10_200_000).contains(&sent), "{sent}");
    }

    #[test]
    fn links_take_turns() {
        let mut rates = SendRate::default();
        let at: Vec<u64> = (0..4).map(|_| rates.reserve(10 * SECOND, 1000, 500)).collect();
        let first = 10 * SECOND;
        assert_eq!(at, [first, first + SECOND / 2 - CATCH_UP_NS, first + SECOND - CATCH_UP_NS, first + SECOND * 3 / 2 - CATCH_UP_NS]);
    }

    #[test]
    fn a_pause_is_not_saved_up() {
        let mut rates = SendRate::default();
        rates.reserve(SECOND, 1000, 1000);
        rates.reserve(100 * SECOND, 1000, 1000);
        assert!(rates.reserve(100 * SECOND, 1000, 1000) > 100 * SECOND + SECOND / 2);
    }

    #[test]
    fn no_rate_is_too_small_or_too_big() {
        assert_eq!(SendRate::piece(1), 512);
        let mut rates = SendRate::default();
        rates.reserve(0, 1, usize::MAX);
        assert_eq!(rates.reserve(5, 1, 512), u64::MAX);
        assert_eq!(SendRate::piece(u64::MAX), 64 << 10);
    }
}
