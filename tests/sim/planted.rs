//! Known mistakes, planted in every node: the simulation must find each of them, and says how many seeds that takes.

use std::time::{Duration, Instant};

use replikant::config::Config;
use replikant::env::{Mistake, SeededRandom};
use replikant::sim::{FaultKind, Simulation, random_faults};

/// A mistake that is not found in so many seeds is not found.
const SEEDS_MAX: u64 = 60;
/// Each is looked for until it has been found so often, or so long.
const FINDS: u64 = 3;
const TIME_EACH: Duration = Duration::from_secs(3);

const SECONDS: u64 = 8;
const FAULTS: usize = 14;

fn simulation(seed: u64, mistake: Option<Mistake>) -> Simulation {
    let any = Simulation::new(seed).replicas(2).sub_replicas(1).clients(5).seconds(SECONDS).fault_count(FAULTS).mistake(mistake);
    // What can find one of these is rare among all that happens: they are looked for where they would be.
    let about = |is_about: fn(&FaultKind) -> bool| {
        let mut faults = random_faults(&SeededRandom::from_seed(seed), 4, 8 * FAULTS, SECONDS * 1000);
        faults.retain(|fault| is_about(&fault.kind));
        faults
    };
    match mistake {
        // Snapshots of several chunks.
        Some(Mistake::ResumedElsewhere) => any.heavy(true),
        Some(Mistake::FailoverUnwaited) => {
            let is_about = |kind: &FaultKind| matches!(kind, FaultKind::Failover { .. } | FaultKind::Slow { .. } | FaultKind::Partition { .. });
            any.heavy(false).faults(about(is_about))
        }
        // Syncs that take seconds, while much is written.
        Some(Mistake::SpillEndLost) => {
            let is_about = |kind: &FaultKind| matches!(kind, FaultKind::Crash { .. } | FaultKind::Slow { .. });
            let slowly = |config: &mut Config| (config.repl_backlog_size, config.repl_sync_max_rate) = (16 << 10, 200_000);
            any.heavy(true).faults(about(is_about)).configure(slowly)
        }
        _ => any.heavy(false),
    }
}

#[test]
fn every_planted_mistake_is_found() {
    let mut unfound = Vec::new();
    for mistake in Mistake::ALL {
        let start = Instant::now();
        let (mut seeds, mut finds, mut first) = (0, 0, String::new());
        while seeds < SEEDS_MAX && finds < FINDS && (finds == 0 || start.elapsed() < TIME_EACH) {
            seeds += 1;
            if let Some(what) = simulation(seeds, Some(mistake)).finds() {
                finds += 1;
                first = if finds == 1 { what.chars().take(120).collect() } else { first };
            }
        }
        match finds {
            0 => unfound.push(mistake),
            _ => println!("{mistake:?}: one in {:.1} seeds finds it, {:?}: {first}", seeds as f64 / finds as f64, start.elapsed()),
        }
    }
    assert!(unfound.is_empty(), "not found: {unfound:?}");
}

#[test]
fn without_a_mistake_the_same_seeds_find_nothing() {
    for seed in 1..=3 {
        simulation(seed, None).run().unwrap_or_else(|failure| panic!("{failure}"));
    }
}
