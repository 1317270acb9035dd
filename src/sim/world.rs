//! The simulated world: one thread, one tokio runtime with paused time, and a LocalSet for each host, so that a crash can drop all
//! tasks of a host and a pause can stop them.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio::time::Duration;

use super::clock::{SimClock, Timeline};
use super::disk::SimDisk;
use super::net::{Carrier, Network, SimNet};
use super::panics;
use super::spawn::{Jobs, SimSpawner, run_jobs};
use super::trace::{LogLines, Trace};
use crate::env::{Env, Random, SeededRandom, UnknownAllocator};

/// Virtual time after which `run` takes a test for stuck.
const RUN_TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A host of a world: the machine of one node, or of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host(u8);

impl Host {
    /// 10.0.0.1 for the first host of a world, and so on.
    pub fn ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, self.0 + 1)
    }
}

/// A host's tasks.
struct Tasks {
    local: LocalSet,
    paused: bool,
    waker: Option<Waker>,
}

struct Machine {
    name: String,
    disk: SimDisk,
    skew_us: Arc<AtomicI64>,
    jobs: Arc<Jobs>,
    random: Arc<SeededRandom>,
    tasks: Rc<RefCell<Tasks>>,
}

/// Hosts, their network, disks and clocks, and the trace of what they do. Everything is a function of the seed.
pub struct World {
    machines: RefCell<Vec<Machine>>,
    local: LocalSet,
    network: Network,
    trace: Arc<Trace>,
    timeline: Arc<Timeline>,
    seed: u64,
    // Dropped last: tasks hold its timers.
    runtime: Runtime,
}

impl World {
    pub fn new(seed: u64) -> Self {
        panics::watch();
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without I/O can be built");
        let timeline = Arc::new(Timeline::new(runtime.handle().clone()));
        let trace = Arc::new(Trace::new(timeline.clone()));
        let network = Network::new(SeededRandom::from_seed(stream(seed, 0)), timeline.clone(), trace.clone());
        let local = LocalSet::new();
        local.spawn_local(Carrier::new(network.clone()));
        World { machines: RefCell::new(Vec::new()), local, network, trace, timeline, seed, runtime }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The host of this name, added if it is new. Its name can be connected to, as its address can.
    pub fn host(&self, name: &str) -> Host {
        let mut machines = self.machines.borrow_mut();
        let index = machines.iter().position(|machine| machine.name == name).unwrap_or(machines.len());
        let host = Host(u8::try_from(index).ok().filter(|&index| index < 254).expect("a world has at most 254 hosts"));
        if index == machines.len() {
            let machine = Machine {
                name: name.to_owned(),
                disk: SimDisk::default(),
                skew_us: Arc::default(),
                jobs: Arc::default(),
                random: Arc::new(SeededRandom::from_seed(stream(self.seed, index as u64 + 1))),
                tasks: Rc::new(RefCell::new(Tasks { local: LocalSet::new(), paused: false, waker: None })),
            };
            self.local.spawn_local(HostTasks(machine.tasks.clone()));
            machine.start_jobs();
            self.network.add_host(name, host.ip());
            self.trace.event(format_args!("host {name} {}", host.ip()));
            machines.push(machine);
        }
        host
    }

    fn with<T>(&self, host: Host, f: impl FnOnce(&Machine) -> T) -> T {
        f(&self.machines.borrow()[usize::from(host.0)])
    }

    /// The world as the host sees it.
    pub fn env(&self, host: Host) -> Env {
        self.with(host, |machine| Env {
            clock: Arc::new(SimClock::new(self.timeline.clone(), machine.skew_us.clone())),
            random: machine.random.clone(),
            net: Arc::new(SimNet::new(self.network.clone(), host)),
            disk: Arc::new(machine.disk.clone()),
            spawner: Arc::new(SimSpawner::new(machine.jobs.clone())),
            allocator: Arc::new(UnknownAllocator),
            mistake: None,
            stock_replica: false,
        })
    }

    /// A log that becomes part of the trace, from `info` up.
    pub fn log(&self, host: Host) -> slog::Logger {
        let name = self.with(host, |machine| machine.name.clone());
        slog::Logger::root(LogLines { trace: self.trace.clone(), host: name }, slog::o!())
    }

    /// The host's files, for faults and for looking at them.
    pub fn disk(&self, host: Host) -> SimDisk {
        self.with(host, |machine| machine.disk.clone())
    }

    /// The network, for faults.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Runs the test's own story, and with it all that is spawned, until the story ends. Tasks of the hosts then stand still until
    /// the next call. Panics if any task panicked meanwhile: what an actor asserts must not pass in silence.
    pub fn run<F: Future>(&self, story: F) -> F::Output {
        let before = panics::count();
        let out = self.run_whatever_panics(story);
        assert_eq!(panics::count(), before, "a task of the simulated world panicked (seed {})", self.seed);
        out
    }

    /// The same for a story that looks at `panics` itself.
    pub(super) fn run_whatever_panics<F: Future>(&self, story: F) -> F::Output {
        let story = self.local.run_until(async { tokio::time::timeout(RUN_TIME_MAX, story).await });
        self.runtime.block_on(story).expect("the story ends within a week of virtual time")
    }

    /// Runs a future among the host's tasks: what it spawns (actors, too) is the host's, and ends when the host crashes.
    /// `None`: it ended that way itself.
    pub async fn on<F>(&self, host: Host, future: F) -> Option<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let task = self.with(host, |machine| machine.tasks.borrow().local.spawn_local(future));
        match task.await {
            Ok(out) => Some(out),
            Err(error) if error.is_cancelled() => None,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The host's process ends without warning: its tasks are dropped where they stand, its connections reset, its listeners gone,
    /// and what was not synced is not on its disk. `on` may start a new process at once. Not to be called from a task of that host.
    pub fn crash(&self, host: Host) {
        self.trace.event(format_args!("crash {}", host.ip()));
        let (disk, jobs, tasks) = self.with(host, |machine| (machine.disk.clone(), machine.jobs.clone(), machine.tasks.clone()));
        self.network.crash(host);
        disk.crash();
        jobs.clear();
        let old = {
            let mut tasks = tasks.borrow_mut();
            tasks.paused = false;
            std::mem::replace(&mut tasks.local, LocalSet::new())
        };
        drop(old);
        self.with(host, Machine::start_jobs);
        tasks.borrow_mut().wake();
    }

    /// Stops all tasks of the host, as SIGSTOP does; time and network go on.
    pub fn pause(&self, host: Host) {
        self.trace.event(format_args!("pause {}", host.ip()));
        self.with(host, |machine| machine.tasks.borrow_mut().paused = true);
    }

    pub fn resume(&self, host: Host) {
        self.trace.event(format_args!("resume {}", host.ip()));
        self.with(host, |machine| {
            let mut tasks = machine.tasks.borrow_mut();
            tasks.paused = false;
            tasks.wake();
        });
    }

    /// The host's wall clock jumps.
    pub fn jump_clock(&self, host: Host, by_us: i64) {
        self.trace.event(format_args!("clock {} {by_us:+} us", host.ip()));
        self.with(host, |machine| machine.skew_us.fetch_add(by_us, Ordering::Relaxed));
    }

    /// A number of the story's own stream, for workloads that the seed decides.
    pub fn random(&self) -> SeededRandom {
        SeededRandom::from_seed(stream(self.seed, u64::MAX))
    }

    /// Virtual time since the world's start.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.timeline.now_ns())
    }

    /// Adds a line of the test's own to the trace.
    pub fn note(&self, text: impl fmt::Display) {
        self.trace.event(format_args!("note {text}"));
    }

    /// Keeps no trace from now on, which takes half of the time of a long run.
    pub fn stop_tracing(&self) {
        self.trace.stop();
    }

    /// All that has happened, a line an event.
    pub fn trace(&self) -> String {
        self.trace.text()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Actors that are dropped with their tasks may still look at the time.
        let _runtime = self.runtime.enter();
        for machine in self.machines.get_mut() {
            machine.tasks.borrow_mut().local = LocalSet::new();
        }
        self.local = LocalSet::new();
    }
}

impl Machine {
    fn start_jobs(&self) {
        let random = SeededRandom::from_seed(self.random.next_u64());
        self.tasks.borrow().local.spawn_local(run_jobs(self.jobs.clone(), random));
    }
}

impl Tasks {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Drives a host's tasks, for as long as the world stands.
struct HostTasks(Rc<RefCell<Tasks>>);

impl Future for HostTasks {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut tasks = self.0.borrow_mut();
        tasks.waker = Some(cx.waker().clone());
        if !tasks.paused {
            // Ready only says that there is no task now.
            let _ = Pin::new(&mut tasks.local).poll(cx);
        }
        Poll::Pending
    }
}

/// The seed of one of the world's independent streams of numbers.
fn stream(seed: u64, index: u64) -> u64 {
    let mixed = SeededRandom::from_seed(seed).next_u64();
    mixed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
