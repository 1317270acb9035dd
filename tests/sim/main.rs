//! Whole nodes in the simulated world: told stories, random schedules of faults, planted mistakes, many nodes at once.
//!
//! Each run is a function of its seed. `REPLIKANT_SEEDS=n` runs so many seeds instead of a few, from `REPLIKANT_FIRST_SEED` (1) on;
//! `REPLIKANT_SEED=n` runs that seed alone and prints its trace (into the file `REPLIKANT_TRACE`, if that is given).

mod clusters;
mod many;
mod planted;
mod shutdown;
mod stories;

/// The number that an environment variable has, if it is set.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Panics with the first line that differs.
fn assert_same(a: &str, b: &str, place: &str) {
    let differs = a.lines().zip(b.lines()).enumerate().find(|(_, (a, b))| a != b);
    assert!(a == b, "the same seed has another trace in {place}, first at {differs:?}");
}

/// The trace that another process has of this test's run with the seed.
fn trace_of_another_process(test: &str, seed: u64) -> String {
    let folder = tempfile::tempdir().expect("a folder for the trace");
    let file = folder.path().join("trace");
    let mut replay = std::process::Command::new(std::env::current_exe().expect("this program has a path"));
    replay.args(["--exact", test]).env("REPLIKANT_SEED", seed.to_string()).env("REPLIKANT_TRACE", &file);
    assert!(replay.output().expect("the replay runs").status.success());
    std::fs::read_to_string(&file).expect("the replay has written its trace")
}

/// Writes a trace where `REPLIKANT_TRACE` says, or prints it.
fn show(trace: &str) {
    match std::env::var("REPLIKANT_TRACE") {
        Ok(file) => std::fs::write(file, trace).expect("the trace can be written"),
        Err(_) => print!("{trace}"),
    }
}
