//! Simulated clusters under faults, as many as there is time for, or one again.
//!
//! ```text
//! cargo run --profile sim --features sim --example simulate -- --minutes 30
//! cargo run --profile sim --features sim --example simulate -- --seed 42 --trace trace.txt
//! ```
//!
//! `--minutes N` runs seeds from `--first` (1) on with all cores (or `--jobs`), and says how many a minute; `--seeds N` so many. A failure is printed with
//! the command that replays it, its schedule of faults is shrunk, and its trace goes to a file. `--seed N` runs that one alone, with `--faults 'a;b'`
//! instead of those that the seed chooses. `--replicas`, `--sub-replicas`, `--seconds`, `--mistake Name` hold for every run.
//! Try: `--seed 1 --mistake SelectLost`, and look at the trace.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use replikant::env::Mistake;
use replikant::sim::{Failure, Fault, Simulation};

const TRIES_TO_SHRINK: usize = 200;

struct Options(BTreeMap<String, String>);

impl Options {
    fn read() -> Result<Options> {
        let mut found = BTreeMap::new();
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let name = name.strip_prefix("--").with_context(|| format!("{name} is no option"))?.to_owned();
            let value = args.next().with_context(|| format!("--{name} wants a value"))?;
            found.insert(name, value);
        }
        Ok(Options(found))
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        self.0.get(name).map(|text| text.parse().with_context(|| format!("--{name} wants a number"))).transpose()
    }

    /// The run of one seed.
    fn simulation(&self, seed: u64) -> Result<Simulation> {
        let mut simulation = Simulation::new(seed);
        if let Some(seconds) = self.number("seconds")? {
            simulation = simulation.seconds(seconds);
        }
        if let Some(replicas) = self.number("replicas")? {
            simulation = simulation.replicas(replicas as usize);
        }
        if let Some(replicas) = self.number("sub-replicas")? {
            simulation = simulation.sub_replicas(replicas as usize);
        }
        if let Some(name) = self.0.get("mistake") {
            let mistake = Mistake::ALL.into_iter().find(|mistake| format!("{mistake:?}") == *name);
            simulation = simulation.mistake(Some(mistake.with_context(|| format!("the mistakes are {:?}", Mistake::ALL))?));
        }
        if let Some(faults) = self.0.get("faults") {
            let lines = faults.split(';').filter(|line| !line.trim().is_empty());
            simulation = simulation.faults(lines.map(str::parse::<Fault>).collect::<Result<_, _>>()?);
        }
        Ok(simulation)
    }
}

fn main() -> Result<ExitCode> {
    let options = Options::read()?;
    match options.number("seed")? {
        Some(seed) => one(&options, seed),
        None => many(&options),
    }
}

/// One seed, with its trace.
fn one(options: &Options, seed: u64) -> Result<ExitCode> {
    let outcome = options.simulation(seed)?.traced(true).run();
    let trace = match &outcome {
        Ok(report) => &report.trace,
        Err(failure) => &failure.trace,
    };
    if let Some(file) = options.0.get("trace") {
        std::fs::write(file, trace)?;
    }
    match outcome {
        Ok(report) => {
            println!("seed {seed} is well: {} requests, {} confirmed, {:?} of virtual time", report.requests, report.confirmed, report.took);
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            println!("{failure}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Seeds on all cores, until the time is over.
fn many(options: &Options) -> Result<ExitCode> {
    let first = options.number("first")?.unwrap_or(1);
    let seeds = options.number("seeds")?;
    let minutes = options.number("minutes")?;
    if seeds.is_none() && minutes.is_none() {
        bail!("how many? --minutes N, --seeds N, or one: --seed N");
    }
    let jobs = match options.number("jobs")? {
        Some(jobs) => jobs as usize,
        None => std::thread::available_parallelism()?.get(),
    };
    let started = Instant::now();
    let (next, done) = (AtomicU64::new(first), AtomicU64::new(0));
    let failed = Mutex::new(Vec::new());
    // Options are good if they are for one seed.
    options.simulation(first)?;
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let is_over = |seed: u64| {
                    let by_time = minutes.is_some_and(|minutes| started.elapsed() > Duration::from_secs(minutes * 60));
                    by_time || seeds.is_some_and(|seeds| seed >= first + seeds)
                };
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if is_over(seed) {
                        return;
                    }
                    let Ok(simulation) = options.simulation(seed) else { return };
                    if let Err(failure) = simulation.run() {
                        failed.lock().expect("nobody panics with the list").push(seed);
                        report(&simulation, failure);
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done % 500 == 0 {
                        println!("{done} seeds, {:.0} a minute", done as f64 * 60.0 / started.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    let (done, failed) = (done.into_inner(), failed.into_inner().expect("nobody panics with the list"));
    let rate = done as f64 * 60.0 / started.elapsed().as_secs_f64();
    println!("{done} seeds in {:.0} s, {rate:.0} a minute; {} failed: {failed:?}", started.elapsed().as_secs_f64(), failed.len());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(simulation: &Simulation, failure: Box<Failure>) {
    let found = failure.faults.len();
    let failure = simulation.shrink(failure, TRIES_TO_SHRINK);
    let file = std::env::temp_dir().join(format!("simulation-{}.txt", failure.seed));
    let written = std::fs::write(&file, &failure.trace).map_or_else(|error| error.to_string(), |()| file.display().to_string());
    println!("{failure}\n{} of {found} faults are enough; the trace: {written}", failure.faults.len());
}
