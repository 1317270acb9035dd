//! Virtual time. tokio's paused clock moves only when every task waits; a host's wall clock adds a skew that may jump.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::runtime::Handle;
use tokio::time::{Duration, Instant};

use crate::env::Clock;

/// Unix microseconds at the start of every world: 2023-11-14 22:13:20 UTC.
pub const UNIX_US_AT_START: i64 = 1_700_000_000_000_000;

/// The world's time since its start. Readable outside its runtime too, where tokio alone would give real time.
pub(super) struct Timeline {
    handle: Handle,
    start: Instant,
}

impl Timeline {
    pub fn new(handle: Handle) -> Self {
        let start = {
            let _runtime = handle.enter();
            Instant::now()
        };
        Timeline { handle, start }
    }

    pub fn now_ns(&self) -> u64 {
        let _runtime = self.handle.enter();
        self.start.elapsed().as_nanos() as u64
    }

    /// The moment for tokio's timers.
    pub fn instant(&self, ns: u64) -> Instant {
        self.start + Duration::from_nanos(ns)
    }
}

/// One host's clock.
pub struct SimClock {
    timeline: Arc<Timeline>,
    skew_us: Arc<AtomicI64>,
}

impl SimClock {
    pub(super) fn new(timeline: Arc<Timeline>, skew_us: Arc<AtomicI64>) -> Self {
        SimClock { timeline, skew_us }
    }
}

impl Clock for SimClock {
    fn unix_us(&self) -> i64 {
        UNIX_US_AT_START + (self.timeline.now_ns() / 1000) as i64 + self.skew_us.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> u64 {
        self.timeline.now_ns()
    }

    /// The real one would differ from run to run.
    fn thread_cpu_ns(&self) -> u64 {
        self.monotonic_ns()
    }
}
