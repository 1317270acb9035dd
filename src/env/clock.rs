//! Wall clock, monotonic clock and the CPU time of a thread.

/// Time as a node sees it. Wall time may jump; monotonic time does not.
pub trait Clock: Send + Sync {
    /// Microseconds since the Unix epoch.
    fn unix_us(&self) -> i64;
    /// Nanoseconds since some fixed moment; never goes back.
    fn monotonic_ns(&self) -> u64;
    /// CPU nanoseconds that the calling thread has used. A simulated clock returns its monotonic time.
    fn thread_cpu_ns(&self) -> u64;

    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> i64 {
        self.unix_us() / 1000
    }
}

/// The machine's clocks: the TSC for monotonic time where it is usable.
pub struct RealClock {
    quanta: quanta::Clock,
    start: quanta::Instant,
}

impl Default for RealClock {
    fn default() -> Self {
        let quanta = quanta::Clock::new();
        let start = quanta.now();
        RealClock { quanta, start }
    }
}

impl Clock for RealClock {
    fn unix_us(&self) -> i64 {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i64,
            Err(before) => -(before.duration().as_micros() as i64),
        }
    }

    fn monotonic_ns(&self) -> u64 {
        self.quanta.now().duration_since(self.start).as_nanos() as u64
    }

    fn thread_cpu_ns(&self) -> u64 {
        thread_cpu_ns()
    }
}

/// CPU nanoseconds of the calling thread, from the kernel.
pub fn thread_cpu_ns() -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid timespec for the kernel to fill in.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut ts) };
    assert_eq!(rc, 0, "clock_gettime(CLOCK_THREAD_CPUTIME_ID)");
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}
