//! Wall clock, monotonic clock, CPU time of the process and of a thread.

use std::time::Duration;

/// Time as a node sees it. Wall time may jump; monotonic time does not.
pub trait Clock: Send + Sync {
    /// Microseconds since the Unix epoch.
    fn unix_us(&self) -> i64;
    /// Nanoseconds since some fixed moment; never goes back.
    fn monotonic_ns(&self) -> u64;
    /// CPU nanoseconds that the calling thread has used. A simulated clock returns its monotonic time.
    fn thread_cpu_ns(&self) -> u64;

    /// What the process has used so far; zeros in a simulated world.
    fn cpu_usage(&self) -> CpuUsage {
        CpuUsage::default()
    }
    /// Holds the calling thread up. In a simulated world time passes between events only, so there it returns at once.
    fn block_for(&self, time: Duration) {
        let _ = time;
    }

    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> i64 {
        self.unix_us() / 1000
    }
}

/// CPU microseconds of the process and of the calling thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuUsage {
    pub user_us: u64,
    pub system_us: u64,
    pub thread_user_us: u64,
    pub thread_system_us: u64,
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

    fn cpu_usage(&self) -> CpuUsage {
        let (user_us, system_us) = resource_usage(libc::RUSAGE_SELF);
        let (thread_user_us, thread_system_us) = resource_usage(libc::RUSAGE_THREAD);
        CpuUsage { user_us, system_us, thread_user_us, thread_system_us }
    }

    fn block_for(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// User and system microseconds, from the kernel.
fn resource_usage(who: libc::c_int) -> (u64, u64) {
    // SAFETY: all zeros is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid rusage for the kernel to fill in.
    let rc = unsafe { libc::getrusage(who, &mut usage) };
    assert_eq!(rc, 0, "getrusage");
    let us = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    (us(usage.ru_utime), us(usage.ru_stime))
}

/// CPU nanoseconds of the calling thread, from the kernel.
pub fn thread_cpu_ns() -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid timespec for the kernel to fill in.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut ts) };
    assert_eq!(rc, 0, "clock_gettime(CLOCK_THREAD_CPUTIME_ID)");
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}
