//! When the `save` directive asks for a BGSAVE.

/// Seconds between a failed BGSAVE and the next one that a save point starts.
const RETRY_SECONDS: i64 = 5;

/// The last BGSAVE that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub succeeded: bool,
    pub seconds_ago: i64,
}

/// Whether a save point (seconds, changes) is reached: as many changes as it says, more than its seconds after the last good save. After a
/// failed try it waits.
pub fn save_due(points: &[(u64, u64)], changes: u64, seconds_since_save: i64, last_try: Attempt) -> bool {
    let may_try = last_try.succeeded || last_try.seconds_ago > RETRY_SECONDS;
    may_try && points.iter().any(|(seconds, least)| changes >= *least && seconds_since_save > i64::try_from(*seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Attempt = Attempt { succeeded: true, seconds_ago: 0 };

    #[test]
    fn any_point_suffices_and_both_its_numbers_count() {
        let points = [(3600, 1), (300, 100), (60, 10_000)];
        assert!(!save_due(&points, 0, 100_000, GOOD));
        assert!(!save_due(&points, 1, 3600, GOOD));
        assert!(save_due(&points, 1, 3601, GOOD));
        assert!(!save_due(&points, 9_999, 61, GOOD));
        assert!(save_due(&points, 10_000, 61, GOOD));
        assert!(!save_due(&[], u64::MAX, i64::MAX, GOOD));
    }

    #[test]
    fn a_failed_try_delays_the_next() {
        let failed = |seconds_ago| Attempt { succeeded: false, seconds_ago };
        assert!(!save_due(&[(1, 1)], 5, 100, failed(5)));
        assert!(save_due(&[(1, 1)], 5, 100, failed(6)));
    }

    #[test]
    fn a_clock_that_jumped_back_saves_nothing() {
        assert!(!save_due(&[(1, 1)], 5, -100, GOOD));
        assert!(!save_due(&[(u64::MAX, 1)], 5, i64::MAX, GOOD));
    }
}
