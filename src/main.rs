//! The daemon: command line and conf file to a running node; signals; what belongs to the process and not to a node (allocator, descriptors,
//! daemonize, pid file).

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use replikant::config::{Config, DisklessLoad, command_line, load};
use replikant::env::{Allocator, Env, RealDisk};
use replikant::log;
use replikant::server::{Node, NodeFailure, NodeHandle};
use slog::{Logger, o, warn};
use tokio::signal::unix::{SignalKind, signal};

/// The allocator is the daemon's choice; the library works with any.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code after a bug, so that a supervisor can tell it from a refusal to start (1).
const EXIT_BUG: u8 = 70;
/// Descriptors beside the clients': files, listeners, links.
const SPARE_DESCRIPTORS: u64 = 64;

const HELP: &str = "Usage: replikant [/path/to/replikant.conf] [options] [-]
       replikant - (read config from stdin)
       replikant pair (a master on 6379 and its slave on 6380, the quickest look)
       replikant -v or --version
       replikant -h or --help

Examples:
       replikant (run the server with default conf)
       echo 'maxmemory 128mb' | replikant -
       replikant /etc/replikant/6379.conf
       replikant --port 7777
       replikant --port 7777 --replicaof 127.0.0.1 8888
       replikant /etc/myredis.conf --loglevel verbose -
";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let word = match args.as_slice() {
        [only] => only.to_str().unwrap_or_default(),
        _ => "",
    };
    let run = match word {
        "-v" | "--version" => {
            println!("replikant v={} bits=64 redis_version={}", env!("CARGO_PKG_VERSION"), replikant::REDIS_VERSION_CLAIMED);
            return ExitCode::SUCCESS;
        }
        "-h" | "--help" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        "pair" => pair(),
        _ => daemon(args),
    };
    match run {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One node, as the command line asks for it.
fn daemon(args: Vec<std::ffi::OsString>) -> anyhow::Result<ExitCode> {
    let line = command_line(args);
    let stdin = line.stdin.then(|| std::io::read_to_string(std::io::stdin())).transpose().context("reading the configuration from stdin")?;
    let loaded = load(&RealDisk, line.conf.as_deref(), stdin.as_deref().map(str::as_bytes), &line.options)?;
    let mut config = loaded.config;
    config.dir = std::fs::canonicalize(&config.dir).with_context(|| format!("Can't chdir to '{}'", config.dir.display()))?;
    if !config.logfile.is_empty() {
        config.logfile = config.dir.join(&config.logfile).display().to_string();
    }
    let conf = line.conf.map(std::fs::canonicalize).transpose()?;
    if config.daemonize {
        daemonize()?;
    }
    let pidfile = write_pid(&config)?;
    let (logger, switch) = log::build(&config).context("opening the log")?;
    for warning in &loaded.warnings {
        warn!(logger, "{warning}");
    }
    if config.disable_thp {
        refuse_huge_pages();
    }
    raise_descriptors(&logger, u64::from(config.maxclients));
    let executable = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    let node =
        Node::new(config).env(Env { allocator: Mimalloc::purged_aside(), ..Env::real() }).log(logger).log_level(switch).origin(conf, executable);
    let code = run(vec![node]);
    if let Some(pidfile) = pidfile {
        let _ = std::fs::remove_file(pidfile);
    }
    code
}

/// `replikant pair`: nothing is saved, both log to the terminal.
fn pair() -> anyhow::Result<ExitCode> {
    let master = Config { save: Vec::new(), repl_diskless_load: DisklessLoad::SwapDb, ..Config::default() };
    let replica = Config { port: 6380, slaveof: Some(("127.0.0.1".to_owned(), master.port)), ..master.clone() };
    refuse_huge_pages();
    let (logger, _) = log::build(&master)?;
    println!("A master on port {} and its slave on port {}. Try, in another terminal:", master.port, replica.port);
    println!("  redis-cli -p {} set mykey hello", master.port);
    println!("  redis-cli -p {} get mykey", replica.port);
    let allocator = Mimalloc::purged_aside();
    // A dump file that lies here by chance is not this pair's data.
    let node = |config: Config, name: &'static str| {
        let config = Config { dbfilename: format!("{name}-pair.rdb"), ..config };
        let env = Env { allocator: allocator.clone(), ..Env::real() };
        Node::new(config).env(env).log(logger.new(o!("node" => name)))
    };
    run(vec![node(master, "master"), node(replica, "slave")])
}

/// Runs nodes until a signal, SHUTDOWN, or a failure.
fn run(nodes: Vec<Node>) -> anyhow::Result<ExitCode> {
    actix_rt::System::new().block_on(async {
        let mut handles = Vec::new();
        for node in nodes {
            handles.push(node.start().await?);
        }
        actix_rt::spawn(stop_on_signal(handles.clone()));
        for handle in handles {
            if let Some(reason) = handle.stopped().await {
                eprintln!("{reason}");
                return Ok(ExitCode::from(if matches!(reason, NodeFailure::Panic(_)) { EXIT_BUG } else { 1 }));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// SIGTERM and SIGINT stop as SHUTDOWN does; a second SIGINT does not wait for it.
async fn stop_on_signal(handles: Vec<NodeHandle>) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else { return };
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {
                if handles.iter().any(NodeHandle::is_stopping) {
                    std::process::exit(1);
                }
            }
        }
        for handle in &handles {
            handle.request_stop(None);
        }
    }
}

/// A fault on a huge page clears 2 MB at once: measured at more than 5 ms on a virtual machine, which no turn may take. What was allocated before stays as it is.
fn refuse_huge_pages() {
    // SAFETY: the call only sets a flag of this process. Where the kernel does not know it, huge pages stay as they are.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// mimalloc's option `purge_delay`: milliseconds after which freed memory goes back to the system.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// How often freed memory is given back.
const PURGE_PERIOD: std::time::Duration = std::time::Duration::from_secs(2);
/// mimalloc's report is shorter.
const STATS_BYTES_MAX: usize = 64 << 10;

/// The allocator with the thread that gives freed memory back. That takes milliseconds, so no thread does it in passing: one does nothing else.
struct Mimalloc {
    /// Without the thread the memory just stays for later use.
    janitor: Option<std::thread::JoinHandle<()>>,
}

impl Mimalloc {
    fn purged_aside() -> Arc<Mimalloc> {
        let never = std::ffi::c_long::from(i32::MAX);
        // SAFETY: options may be set at any time.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, never) };
        let janitor = std::thread::Builder::new().name("purge".to_owned()).spawn(|| {
            loop {
                std::thread::park_timeout(PURGE_PERIOD);
                // SAFETY: collects this thread's heap and what all threads have freed for good.
                unsafe { libmimalloc_sys::mi_collect(true) };
            }
        });
        Arc::new(Mimalloc { janitor: janitor.ok() })
    }
}

impl Allocator for Mimalloc {
    fn name(&self) -> &str {
        "mimalloc"
    }

    fn purge(&self) {
        if let Some(janitor) = &self.janitor {
            janitor.thread().unpark();
        }
    }

    fn stats(&self) -> Option<String> {
        unsafe extern "C" fn append(text: *const std::ffi::c_char, to: *mut std::ffi::c_void) {
            // SAFETY: mimalloc passes a text that ends in a zero, and the `String` below, which nobody else uses meanwhile.
            let (text, to) = unsafe { (std::ffi::CStr::from_ptr(text), &mut *to.cast::<String>()) };
            to.push_str(&text.to_string_lossy());
        }
        // It must not grow while the allocator counts.
        let mut text = String::with_capacity(STATS_BYTES_MAX);
        // SAFETY: the function gets what it expects, and is not kept.
        unsafe { libmimalloc_sys::mi_stats_print_out(Some(append), std::ptr::from_mut(&mut text).cast()) };
        Some(text)
    }
}

fn daemonize() -> anyhow::Result<()> {
    // SAFETY: no thread has been started yet.
    let rc = unsafe { libc::daemon(1, 0) };
    if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).context("daemonize") }
}

fn write_pid(config: &Config) -> anyhow::Result<Option<PathBuf>> {
    let path = match (config.pidfile.as_str(), config.daemonize) {
        ("", false) => return Ok(None),
        ("", true) => Path::new("/var/run/replikant.pid"),
        (path, _) => Path::new(path),
    };
    // A pid file that can't be written does not keep Redis from starting either.
    Ok(std::fs::write(path, format!("{}\n", std::process::id())).is_ok().then(|| path.to_owned()))
}

/// Lets the process have a descriptor for each client.
fn raise_descriptors(logger: &Logger, maxclients: u64) {
    let wanted = maxclients + SPARE_DESCRIPTORS;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the kernel to fill in and read.
    let rc = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    if rc != 0 || limit.rlim_cur >= wanted {
        return;
    }
    limit.rlim_cur = wanted.min(limit.rlim_max);
    // SAFETY: as above.
    let rc = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    if rc != 0 || limit.rlim_cur < wanted {
        warn!(logger, "The system allows fewer open files than maxclients needs"; "allowed" => limit.rlim_cur, "wanted" => wanted);
    }
}
