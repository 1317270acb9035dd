//! Clusters under random faults: a fixed set of seeds, those that have failed before, and how a failure is told.

use std::time::Instant;

use replikant::sim::{Check, Fault, NodeView, Simulation};

use super::{assert_same, number, show, trace_of_another_process};

const SEEDS: u64 = 8;

/// Seeds that have failed, and what it was.
const REGRESSIONS: &[(u64, &str)] = &[(6, "EXEC ran the writes of a master that had been made a slave since they were queued")];

#[track_caller]
fn run(seed: u64) {
    if let Err(failure) = Simulation::new(seed).run() {
        panic!("{failure}");
    }
}

#[test]
fn random_faults_do_no_harm() {
    if let Some(seed) = number("REPLIKANT_SEED") {
        let outcome = Simulation::new(seed).traced(true).run();
        show(outcome.as_ref().map_or_else(|failure| &failure.trace, |report| &report.trace));
        return outcome.map(drop).unwrap_or_else(|failure| panic!("{failure}"));
    }
    let first = number("REPLIKANT_FIRST_SEED").unwrap_or(1);
    let seeds = number("REPLIKANT_SEEDS").unwrap_or(SEEDS);
    let start = Instant::now();
    (first..first + seeds).for_each(run);
    println!("{seeds} seeds, {:.0} a minute", seeds as f64 * 60.0 / start.elapsed().as_secs_f64());
}

#[test]
fn what_has_failed_once_stays_mended() {
    for (seed, what) in REGRESSIONS {
        if let Err(failure) = Simulation::new(*seed).run() {
            panic!("again: {what}\n{failure}");
        }
    }
}

#[test]
fn a_seed_has_one_trace() {
    let simulation = Simulation::new(5).seconds(4).traced(true);
    let trace = simulation.run().unwrap().trace;
    if number("REPLIKANT_SEED").is_some() {
        return show(&trace);
    }
    assert!(trace.lines().count() > 1000);
    assert_same(&trace, &simulation.run().unwrap().trace, "the same process");
    assert_same(&trace, &trace_of_another_process("clusters::a_seed_has_one_trace", 5), "another process");
}

/// A rule that does not hold, for a failure that is made to order: nobody's clock may be off.
struct NoJumps;

impl Check for NoJumps {
    fn look(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String> {
        let clocks = nodes.iter().map(|node| node.state.now_ms - node.state.steady_ms);
        match clocks.clone().max() > clocks.min().map(|least| least + 1000) {
            true => Err("a clock is off".to_owned()),
            false => Ok(()),
        }
    }
}

#[test]
fn a_failure_is_told_replayed_and_shrunk() {
    let lines = ["500 cut 0 1", "1000 save 0", "1500 jump 1 -60000", "2000 pause 2 400", "2500 cut-after 0 2 100"];
    let faults: Vec<Fault> = lines.iter().map(|line| line.parse().unwrap()).collect();
    let simulation = Simulation::new(1).replicas(2).sub_replicas(0).seconds(4).faults(faults.clone()).check(|| NoJumps);
    let failure = simulation.run().unwrap_err();
    assert_eq!((failure.what.as_str(), &failure.faults), ("a clock is off", &faults));
    assert_eq!(simulation.run().unwrap_err(), failure);
    assert!(failure.trace.contains("fault 1500 jump 1 -60000"));
    let told = failure.to_string();
    assert!(told.contains("--seed 1 --seconds 4 --replicas 2 --sub-replicas 0 --faults '500 cut 0 1;1000 save 0;"), "{told}");
    let shrunk = simulation.shrink(failure, 30);
    assert_eq!(shrunk.faults, [faults[2].clone()]);
    assert_eq!(shrunk.what, "a clock is off");
}
