//! Clusters under random faults: a fixed set of seeds, those that have failed before, and how a failure is told.

use std::time::Instant;

use replikant::config::{Config, DisklessLoad};
use replikant::sim::{Check, Fault, NodeView, Simulation};

use super::{assert_same, number, show, trace_of_another_process};

const SEEDS: u64 = 8;

/// A run that has failed before.
struct Regression {
    what: &'static str,
    seed: u64,
    /// Slaves, and slaves of slaves.
    shape: (usize, usize),
    /// Much data.
    heavy: bool,
    faults: &'static str,
    configure: fn(&mut Config),
}

const REGRESSIONS: &[Regression] = &[
    Regression {
        what: "EXEC ran the writes of a master that had been made a slave since they were queued",
        seed: 6,
        shape: (2, 1),
        heavy: false,
        faults: "316 cut-after 0 2 195;889 follow 0 3;5185 jump 3 17797;5432 follow 1 0;5893 promote 1;7163 promote 0;9732 promote 2;\
        11272 cut-after 2 0 2258;12679 slow 2 0 297 1447;17332 cut-after 1 3 43294;17458 disk-dies 0 8;18841 restart 1",
        configure: |config| {
            config.repl_diskless_load = DisklessLoad::Disabled;
            config.repl_sync_max_rate = 0;
        },
    },
    Regression {
        what: "a node was started while its host stood still, and the run never ended",
        seed: 20833,
        shape: (1, 1),
        heavy: false,
        faults: "16622 crash 0 197;16744 pause 0 231",
        configure: |_| (),
    },
    Regression {
        what: "a slave's slave refuses for ever what little a promoted node has",
        seed: 65328,
        shape: (2, 0),
        heavy: true,
        faults: "17944 failover-to 2 24694;18198 crash 2 78;18605 promote 2",
        configure: |_| (),
    },
];

impl Regression {
    fn simulation(&self) -> Simulation {
        let faults = self.faults.split(';').map(|fault| fault.parse().expect("a fault"));
        let (replicas, sub_replicas) = self.shape;
        let simulation = Simulation::new(self.seed).replicas(replicas).sub_replicas(sub_replicas).stock(false).heavy(self.heavy);
        simulation.faults(faults.collect()).configure(self.configure)
    }
}

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
    for regression in REGRESSIONS {
        if let Err(failure) = regression.simulation().run() {
            panic!("again: {}\n{failure}", regression.what);
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
