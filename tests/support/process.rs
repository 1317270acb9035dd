//! Processes as /proc shows them, and limits of this one.

use std::fs;
use std::io;

/// Bytes of a field of /proc/<pid>/status that is told in kB: `VmRSS`, `VmHWM`.
pub fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("reading the process's status");
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("no {field} of process {pid}"));
    let kib: u64 = line.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number of kB");
    kib * 1024
}

pub fn rss(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// Makes the largest resident size (`VmHWM`) count from now on.
pub fn reset_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("resetting the peak of the resident size");
}

pub fn peak(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map(|entries| entries.count()).unwrap_or(0)
}

/// CPU time of all threads in microseconds, user and system. The scheduler's own account is exact to the nanosecond where ticks are
/// not; threads that have ended are missing from it, so measure over spans in which none ends.
pub fn cpu_us(pid: u32) -> u64 {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).expect("listing the process's threads").flatten() {
        if let Ok(text) = fs::read_to_string(task.path().join("schedstat")) {
            nanos += text.split_ascii_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    nanos / 1000
}

/// CPU time of the process's first thread in microseconds.
pub fn thread_us(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap_or_default();
    text.split_ascii_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) / 1000
}

/// How long the process's first thread, the one that serves clients, has been ready to run without a core, in microseconds.
pub fn waited_us(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) / 1000
}

/// Raises this process's limit of open files to what is wanted, or as far as it may; processes started later inherit it. Tells the
/// limit that is then in force.
pub fn raise_open_files(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a live rlimit, which the calls fill or read.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        if limit.rlim_cur < wanted {
            // Root may raise the hard limit too.
            let beyond = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
            let within = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), rlim_max: limit.rlim_max };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &beyond) != 0 {
                libc::setrlimit(libc::RLIMIT_NOFILE, &within);
            }
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        }
    }
    limit.rlim_cur
}

/// Sends a signal to a process that this one started.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: kill has no memory effects here; the pid is of a child not yet waited for.
    unsafe { libc::kill(pid as i32, signal) };
}

/// Confines a process (0: the calling thread) to one core.
pub fn pin(pid: u32, core: usize) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set; CPU_SET writes within it; the call reads it.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(pid as i32, std::mem::size_of::<libc::cpu_set_t>(), &set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
