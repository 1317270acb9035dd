//! A differential fuzzer: random commands, by seed, to ours and to a real server. Every reply must be the same to the byte, but for what the
//! commands' rules allow, and so must DEBUG DIGEST after every batch. docs/differences.md lists the rules and the known differences.
//!
//! A family's commands are a file in `families`; `grammar` explains how to write one.
//!
//! Each family has a short run in the tests. A long run is
//!
//! ```text
//! REPLIKANT_SEEDS=1000 cargo test --test fuzz long_run -- --nocapture
//! ```
//!
//! with, if wanted, `REPLIKANT_FIRST_SEED` (1), `REPLIKANT_UNITS` a seed (1000), `REPLIKANT_FAMILIES=strings,keys` (all), `REPLIKANT_ORACLE`
//! (8.2.3; or 7.0.15; 6.2.14 as well where servers replicate, see `replicate`), `REPLIKANT_SKIP=LCS,SORT` (commands to leave out) and `REPLIKANT_STAND_IN` (a real server in the place of ours). A difference is
//! printed as the shortest sequence of commands that shows it; one seed that shows it again is `REPLIKANT_FIRST_SEED=n REPLIKANT_SEEDS=1`.

#[path = "../support/mod.rs"]
mod support;

mod compare;
mod families;
mod getkeys;
mod grammar;
mod play;
mod replicate;
mod reply;
mod shrink;
mod source;
mod versions;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::env;
use std::str::FromStr;
use std::time::Instant;

use compare::Rules;
use grammar::{Family, Grammar, Unit};
use play::{Difference, Pair, Setup, play};
use support::{Kind, Peer};

/// Seeds and units of the runs that are part of the tests.
const SHORT_SEEDS: u64 = 4;
const SHORT_UNITS: usize = 1000;
/// So many kinds of differences are enough for one run.
const DIFFERENCES_MAX: usize = 20;
const PROGRESS_EVERY: usize = 50_000;

struct Run {
    oracle: Peer,
    oracle_named: bool,
    /// Empty for all.
    families: Vec<String>,
    first_seed: u64,
    seeds: u64,
    units: usize,
    skip: Vec<String>,
    talks: bool,
}

impl Run {
    fn short(family: &str) -> Run {
        let families = vec![family.to_owned()];
        Run { oracle: Peer::V8, oracle_named: false, families, first_seed: 1, seeds: SHORT_SEEDS, units: SHORT_UNITS, skip: Vec::new(), talks: false }
    }

    fn by_environment() -> Run {
        let list = |name: &str| -> Vec<String> { env::var(name).map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default() };
        let named = env::var("REPLIKANT_ORACLE");
        let oracle_named = named.is_ok();
        let oracle = named.unwrap_or_else(|_| "8.2.3".to_owned());
        Run {
            oracle_named,
            oracle: Peer::named(&oracle).unwrap_or_else(|| panic!("REPLIKANT_ORACLE names no peer: {oracle}")),
            families: list("REPLIKANT_FAMILIES"),
            first_seed: number("REPLIKANT_FIRST_SEED", 1),
            seeds: number("REPLIKANT_SEEDS", 2),
            units: number("REPLIKANT_UNITS", SHORT_UNITS),
            skip: list("REPLIKANT_SKIP").iter().map(|name| name.to_ascii_uppercase()).collect(),
            talks: true,
        }
    }

    /// The wanted families, and with each the commands on keys.
    fn weights(&self) -> Vec<(&'static Family, u32)> {
        if self.families.is_empty() {
            return families::ALL.iter().map(|family| (*family, if family.name == "keys" { 4 } else { 2 })).collect();
        }
        let named = |name: &String| *families::ALL.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("no family {name}"));
        let mut weights: Vec<(&Family, u32)> = self.families.iter().map(|name| (named(name), 4)).collect();
        if !self.families.iter().any(|name| name == "keys") {
            weights.push((families::ALL[0], 1));
        }
        weights
    }
}

fn number<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// Runs the seeds and panics with all differences, each kind once.
fn run(wanted: &Run) {
    let mut pair = Pair::start(wanted.oracle, &[]);
    let common = pair.common_commands();
    let knows = |name: &str| common.contains(name) && !wanted.skip.iter().any(|skipped| skipped == name) || name == "NOSUCH";
    let grammar = Grammar::new(families::ALL, &wanted.weights(), knows);
    if wanted.talks && !grammar.left_out.is_empty() {
        eprintln!("left out, as not both servers know them: {}", grammar.left_out.join(" "));
    }
    assert!(!grammar.is_empty(), "no unit is left of {:?}", wanted.families);
    let mut rules = Rules::new(families::ALL.iter().flat_map(|family| family.rules).copied());
    if wanted.oracle == Peer::V7 {
        rules.may_differ = Some(versions::may_differ);
    }
    let (start, mut commands, mut told) = (Instant::now(), 0, 0);
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for seed in wanted.first_seed..wanted.first_seed + wanted.seeds {
        let mut units = grammar.sequence(seed, wanted.units);
        if wanted.oracle == Peer::V7 {
            make_older(&mut units);
        }
        if let Err(difference) = play(&mut pair, &rules, &units, Setup::of(seed))
            && let Entry::Vacant(place) = found.entry(kind_of(&difference))
        {
            let text = report(&mut pair, &rules, seed, units.clone(), difference);
            eprintln!("{text}\n");
            place.insert(text);
        }
        commands += units.iter().map(|unit| unit.steps.len()).sum::<usize>();
        if wanted.talks && commands / PROGRESS_EVERY > told {
            told = commands / PROGRESS_EVERY;
            eprintln!("seed {seed}: {commands} commands in {:.0} s, {} kinds of differences", start.elapsed().as_secs_f64(), found.len());
        }
        if found.len() >= DIFFERENCES_MAX {
            break;
        }
    }
    if wanted.talks {
        eprintln!("{commands} commands in {:.1} s", start.elapsed().as_secs_f64());
    }
    pair.quiet();
    let texts: Vec<&str> = found.values().map(String::as_str).collect();
    assert!(texts.is_empty(), "{} kinds of differences from {}:\n\n{}", texts.len(), Kind::Real(wanted.oracle).name(), texts.join("\n\n"));
}

/// Leaves out what 7.0.15 does otherwise.
fn make_older(units: &mut Vec<Unit>) {
    units.retain(versions::is_older);
    units.iter_mut().flat_map(|unit| &mut unit.steps).for_each(versions::round_fractions);
}

/// Differences of one kind are probably of one cause.
fn kind_of(difference: &Difference) -> String {
    let name = difference.words.first().map(|name| name.to_ascii_uppercase().escape_ascii().to_string()).unwrap_or_default();
    format!("{name} {}", difference.what.chars().take(12).collect::<String>())
}

/// The shortest sequence that shows a difference, with what it shows.
fn report(pair: &mut Pair, rules: &Rules, seed: u64, units: Vec<Unit>, first: Difference) -> String {
    shortest(seed, units, first, |units| play(pair, rules, units, Setup::of(seed)))
}

fn shortest(seed: u64, units: Vec<Unit>, first: Difference, mut play: impl FnMut(&[Unit]) -> Result<(), Difference>) -> String {
    let mut last = first;
    if play(&units).is_ok() {
        return format!("seed {seed}, not when played again: {}: {}", shown(&last.words), last.what);
    }
    let units = shrink::shrink(units, |units| match play(units) {
        Ok(()) => false,
        Err(difference) => {
            last = difference;
            true
        }
    });
    let setup = Setup::of(seed);
    let mut lines =
        vec![format!("seed {seed}, RESP{}{}:", if setup.resp3 { 3 } else { 2 }, if setup.few_in_a_block { ", low encoding limits" } else { "" })];
    for unit in &units {
        for words in &unit.steps {
            let connection = if unit.connection == 0 { "" } else { "(the other connection) " };
            lines.push(format!("  {connection}{}", shown(words)));
        }
    }
    lines.push(format!("{}: {}", shown(&last.words), last.what));
    lines.join("\n")
}

/// Words as redis-cli takes them.
fn shown(words: &source::Words) -> String {
    let word = |word: &Vec<u8>| {
        let plain = !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(byte));
        if plain { String::from_utf8_lossy(word).into_owned() } else { format!("\"{}\"", word.escape_ascii()) }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn keys() {
    run(&Run::short("keys"));
}

#[test]
fn strings() {
    run(&Run::short("strings"));
}

#[test]
fn bitmaps() {
    run(&Run::short("bitmaps"));
}

#[test]
fn hyperloglog() {
    run(&Run::short("hyperloglog"));
}

#[test]
fn transactions() {
    run(&Run::short("transactions"));
}

#[test]
fn pubsub() {
    run(&Run::short("pubsub"));
}

#[test]
fn sets() {
    run(&Run::short("sets"));
}

#[test]
fn streams() {
    run(&Run::short("streams"));
}

#[test]
fn hashes() {
    run(&Run::short("hashes"));
}

#[test]
fn lists() {
    run(&Run::short("lists"));
}

#[test]
fn zsets() {
    run(&Run::short("zsets"));
}

#[test]
fn scripts() {
    run(&Run::short("scripts"));
}

#[test]
fn geo() {
    run(&Run::short("geo"));
}

#[test]
fn sort() {
    run(&Run::short("sort"));
}

/// All families among each other, or what the environment asks for.
#[test]
fn long_run() {
    run(&Run::by_environment());
}
