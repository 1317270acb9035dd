//! Simulated clusters under faults, as many as there is time for, or one again.
//!
//! ```text
//! cargo run --profile sim --features sim --example simulate -- --minutes 30
//! cargo run --profile sim --features sim --example simulate -- --seed 42 --trace trace.txt
//! ```
//!
//! `--minutes N` runs seeds from `--first` (1) on with all cores (or `--jobs`), and says how many a minute; `--seeds N` so many; with both,
//! what ends first. A failure is printed with the command that replays it, its schedule of faults is shrunk, and its trace goes to a file.
//!
//! `--seed N` runs that one alone, with `--faults 'a;b'` instead of those that the seed chooses, and writes what happened to `--trace FILE`.
//!
//! For every run: `--replicas N`, `--sub-replicas N`, `--seconds N`, `--heavy yes|no` (much data), `--stock yes|no` (nodes speak to each
//! other as stock Redis does), `--mistake Name`. Try: `--seed 1 --mistake SelectLost`, and look at the trace.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lexopt::{Arg, Parser, ValueExt};
use replikant::env::Mistake;
use replikant::sim::{Failure, Fault, Simulation};

const TRIES_TO_SHRINK: usize = 200;

/// What is asked for.
#[derive(Debug, Default)]
struct Options {
    help: bool,
    /// One run, and no others.
    seed: Option<u64>,
    trace: Option<OsString>,
    /// Many runs.
    minutes: Option<u64>,
    seeds: Option<u64>,
    first: Option<u64>,
    jobs: Option<NonZeroUsize>,
    /// Every run.
    faults: Option<Vec<Fault>>,
    seconds: Option<u64>,
    replicas: Option<usize>,
    sub_replicas: Option<usize>,
    heavy: Option<bool>,
    stock: Option<bool>,
    mistake: Option<Mistake>,
}

impl Options {
    fn read(mut args: Parser) -> Result<Options> {
        let mut options = Options::default();
        while let Some(arg) = args.next()? {
            let name = match arg {
                Arg::Short('h') => "help".to_owned(),
                Arg::Long(name) => name.to_owned(),
                other => return Err(other.unexpected().into()),
            };
            options.set(&name, &mut args).map_err(|error| anyhow!("--{name}: {error}"))?;
        }
        let is_many = options.minutes.is_some() || options.seeds.is_some();
        match options.seed {
            _ if options.help => {}
            Some(_) if is_many || options.first.is_some() || options.jobs.is_some() => {
                bail!("--seed is for one run, --minutes, --seeds, --first and --jobs are for many")
            }
            None if options.trace.is_some() => bail!("--trace is for one run: --seed N"),
            None if !is_many => bail!("how many? --minutes N, --seeds N, or one: --seed N"),
            _ => {}
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, args: &mut Parser) -> Result<()> {
        match name {
            "help" => self.help = true,
            "seed" => self.seed = Some(args.value()?.parse()?),
            "trace" => self.trace = Some(args.value()?),
            "minutes" => self.minutes = Some(args.value()?.parse()?),
            "seeds" => self.seeds = Some(args.value()?.parse()?),
            "first" => self.first = Some(args.value()?.parse()?),
            "jobs" => self.jobs = Some(args.value()?.parse()?),
            "faults" => self.faults = Some(faults(&args.value()?.string()?)?),
            "seconds" => self.seconds = Some(args.value()?.parse()?),
            "replicas" => self.replicas = Some(args.value()?.parse()?),
            "sub-replicas" => self.sub_replicas = Some(args.value()?.parse()?),
            "heavy" => self.heavy = Some(args.value()?.parse_with(yes_or_no)?),
            "stock" => self.stock = Some(args.value()?.parse_with(yes_or_no)?),
            "mistake" => self.mistake = Some(args.value()?.parse_with(mistake)?),
            _ => bail!("there is no such option; --help tells which there are"),
        }
        Ok(())
    }

    /// The run of one seed.
    fn simulation(&self, seed: u64) -> Simulation {
        let mut simulation = Simulation::new(seed).mistake(self.mistake);
        if let Some(seconds) = self.seconds {
            simulation = simulation.seconds(seconds);
        }
        if let Some(replicas) = self.replicas {
            simulation = simulation.replicas(replicas);
        }
        if let Some(replicas) = self.sub_replicas {
            simulation = simulation.sub_replicas(replicas);
        }
        if let Some(heavy) = self.heavy {
            simulation = simulation.heavy(heavy);
        }
        if let Some(stock) = self.stock {
            simulation = simulation.stock(stock);
        }
        match &self.faults {
            Some(faults) => simulation.faults(faults.clone()),
            None => simulation,
        }
    }
}

fn faults(lines: &str) -> Result<Vec<Fault>> {
    let lines = lines.split(';').filter(|line| !line.trim().is_empty());
    Ok(lines.map(str::parse::<Fault>).collect::<Result<_, _>>()?)
}

fn yes_or_no(word: &str) -> Result<bool> {
    ensure!(matches!(word, "yes" | "no"), "yes or no");
    Ok(word == "yes")
}

fn mistake(name: &str) -> Result<Mistake> {
    let found = Mistake::ALL.into_iter().find(|mistake| format!("{mistake:?}") == name);
    found.with_context(|| format!("the mistakes are {:?}", Mistake::ALL))
}

fn main() -> ExitCode {
    let outcome = Options::read(Parser::from_env()).and_then(|options| match options.seed {
        _ if options.help => {
            help();
            Ok(true)
        }
        Some(seed) => one(&options, seed),
        None => many(&options),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What stands at the head of this file.
fn help() {
    for line in include_str!("simulate.rs").lines().map_while(|line| line.strip_prefix("//!")) {
        println!("{}", line.strip_prefix(' ').unwrap_or(line));
    }
}

/// One seed, with its trace. False: it fails.
fn one(options: &Options, seed: u64) -> Result<bool> {
    let outcome = options.simulation(seed).traced(true).run();
    let trace = outcome.as_ref().map_or_else(|failure| &failure.trace, |report| &report.trace);
    if let Some(file) = &options.trace {
        std::fs::write(file, trace).with_context(|| file.display().to_string())?;
    }
    match &outcome {
        Ok(report) => {
            println!("seed {seed} is well: {} requests, {} confirmed, {:?} of virtual time", report.requests, report.confirmed, report.took)
        }
        Err(failure) => println!("{failure}"),
    }
    Ok(outcome.is_ok())
}

/// Seeds on all cores, until the time is over. False: some fail.
fn many(options: &Options) -> Result<bool> {
    let first = options.first.unwrap_or(1);
    let jobs = options.jobs.map_or_else(std::thread::available_parallelism, Ok)?;
    let started = Instant::now();
    let (next, done) = (AtomicU64::new(first), AtomicU64::new(0));
    let failed = Mutex::new(Vec::new());
    let is_over = |seed: u64| {
        let by_time = options.minutes.is_some_and(|minutes| started.elapsed() > Duration::from_secs(minutes * 60));
        by_time || options.seeds.is_some_and(|seeds| seed - first >= seeds)
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.get() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if is_over(seed) {
                        return;
                    }
                    let simulation = options.simulation(seed);
                    // A panic of the world itself, not of a node in it, is a failure as well, and must not end the other runs.
                    let outcome = catch_unwind(AssertUnwindSafe(|| simulation.run()));
                    if !matches!(outcome, Ok(Ok(_))) {
                        failed.lock().expect("nobody panics with the list").push(seed);
                    }
                    match outcome {
                        Ok(Ok(_)) => {}
                        Ok(Err(failure)) => report(&simulation, failure),
                        Err(_) => println!("seed {seed} panics"),
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
    Ok(failed.is_empty())
}

fn report(simulation: &Simulation, failure: Box<Failure>) {
    let found = failure.faults.len();
    let failure = simulation.shrink(failure, TRIES_TO_SHRINK);
    let file = std::env::temp_dir().join(format!("simulation-{}.txt", failure.seed));
    let written = std::fs::write(&file, &failure.trace).map_or_else(|error| error.to_string(), |()| file.display().to_string());
    println!("{failure}\n{} of {found} faults are enough; the trace: {written}", failure.faults.len());
}
