//! What a server costs besides its first thread's time: memory, CPU of its threads and children; and processes that are just as busy, for a control.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::process::{rss, thread_us};

const SAMPLE_EVERY: Duration = Duration::from_millis(50);
/// A busy process works for its share of each of these.
const SLICE: Duration = Duration::from_millis(10);
/// The argument by which this program is asked to be one.
const ARGUMENT: &str = "--be-busy";

/// The memory of a server and of its children, sampled: the most that both held at once.
pub struct Memory {
    stop: Arc<AtomicBool>,
    top: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Memory {
    pub fn watch(pid: u32) -> Memory {
        let (stop, top) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, most) = (stop.clone(), top.clone());
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let own: u64 = children(pid).into_iter().map(private_dirty).sum();
                most.fetch_max(rss(pid) + own, Ordering::Relaxed);
                thread::sleep(SAMPLE_EVERY);
            }
        });
        Memory { stop, top, thread }
    }

    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sampler");
        self.top.load(Ordering::Relaxed)
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// What a child does not share with its parent: pages that one of both wrote to since the fork.
fn private_dirty(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Private_Dirty:"));
    let kib: u64 = line.and_then(|line| line.split_ascii_whitespace().nth(1)).and_then(|word| word.parse().ok()).unwrap_or(0);
    kib * 1024
}

/// CPU time in microseconds of all that belongs to a server but its first thread, which serves clients: other threads and children, also those that have
/// ended.
pub fn others_cpu_us(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("reading the process's times");
    // Behind the name, which may hold anything: utime, stime, cutime and cstime are the 14th to 17th fields.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    let ticks: u64 = fields.skip(11).take(4).filter_map(|word| word.parse::<u64>().ok()).sum();
    // A child that still runs is not in its parent's times.
    let running: u64 = children(pid).into_iter().map(thread_us).sum();
    // SAFETY: sysconf only reads.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64;
    (ticks * 1_000_000 / per_second + running).saturating_sub(thread_us(pid))
}

/// CPU time in microseconds of the calling thread.
pub fn own_cpu_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// Processes that together use so many cores, until they are dropped.
pub struct Busy(Vec<Child>);

impl Busy {
    pub fn start(cores: f64) -> Busy {
        let program = std::env::current_exe().expect("this program has a path");
        let mut shares = vec![1.0; cores as usize];
        shares.push(cores.fract());
        let start = |share: &f64| {
            // It ends when this end of its input does, whatever becomes of this process.
            let child = Command::new(&program).args([ARGUMENT, &share.to_string()]).stdin(Stdio::piped()).spawn();
            child.expect("starting a busy process")
        };
        Busy(shares.iter().map(start).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether this process is to be a busy one; then it never returns.
pub fn be_busy_if_asked() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some(ARGUMENT) {
        return;
    }
    let share: f64 = args.next().and_then(|share| share.parse().ok()).expect("a share of a core");
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    loop {
        let start = Instant::now();
        let until = own_cpu_us() + (SLICE.as_micros() as f64 * share) as u64;
        while own_cpu_us() < until {
            std::hint::spin_loop();
        }
        thread::sleep(SLICE.saturating_sub(start.elapsed()));
    }
}
