//! The fuzzer's commands sent to a master, real or ours, whose slave is of the other make: at several points in the sequence the slave must
//! have come to the same data.
//!
//! A long run is `REPLIKANT_SEEDS=1000 cargo test --test fuzz replicate -- --nocapture`, with the variables of `main`; `REPLIKANT_ORACLE` picks
//! the one real server (all).

use std::collections::BTreeMap;
use std::io;

use super::grammar::{Grammar, Unit};
use super::play::{Difference, Session, Setup, commands, differing_keys, set_limits};
use super::source::Words;
use super::{DIFFERENCES_MAX, Run, families, shortest, versions};
use crate::support::{Daemon, Kind, Peer, Value, replicate, wait_link_up};

/// Where master and slave are compared, in every so many units.
const POINTS_EVERY: usize = 250;
const SYNC_MS: &str = "10000";
/// Commands without a form in the stream that servers before 7.4 know.
const UNKNOWN_TO_OLD: [&str; 9] = ["HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT", "HPERSIST", "HGETEX", "HSETEX", "FUNCTION", "FCALL"];

/// What servers before 7.2 make of these is not what the others do: the digits of distances, 2^63 taken from a number, groups told twice to
/// make their stream, HyperLogLogs with bytes that clients have changed.
fn differs_in_old(words: &Words) -> bool {
    let has = |name: &str| words.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let changes_hll = ["APPEND", "SETRANGE", "SETBIT"].iter().any(|name| words[0].eq_ignore_ascii_case(name.as_bytes()));
    let on_hll = words.get(1).is_some_and(|key| key.starts_with(b"p"));
    has("STOREDIST") || has("-9223372036854775808") || changes_hll && on_hll
}

struct Link {
    master: Daemon,
    slave: Daemon,
    /// Of them the one that is real.
    peer: Peer,
}

impl Link {
    fn new(master: Daemon, slave: Daemon, peer: Peer) -> Link {
        replicate(&slave, master.port);
        wait_link_up(&slave);
        if peer != Peer::V6 {
            master.client().ok("DEBUG SET-ACTIVE-EXPIRE 0");
        }
        Link { master, slave, peer }
    }

    /// Plays the units on an emptied master and compares at every point.
    fn play(&self, units: &[Unit], setup: Setup) -> Result<(), Difference> {
        let failed = |error: io::Error| Difference { words: Vec::new(), what: format!("the master does not answer: {error}") };
        // How a HyperLogLog is kept shows in its bytes.
        set_limits(&mut self.slave.client(), setup).map_err(failed)?;
        let mut master = Session::open(&self.master, setup).map_err(failed)?;
        for part in units.chunks(POINTS_EVERY) {
            master.run(part).map_err(failed)?;
            self.compare(&mut master)?;
        }
        Ok(())
    }

    fn compare(&self, master: &mut Session) -> Result<(), Difference> {
        let difference = |what: String| Err(Difference { words: Vec::new(), what });
        // WAIT waits for what its own client has written.
        master.control.command(&["SET", "the-point", "x"]);
        let acked = master.control.command(&["WAIT", "1", SYNC_MS]);
        if acked != Value::Int(1) {
            let log = self.slave.log();
            let lines: Vec<&str> = log.lines().collect();
            panic!("the slave does not come along: {acked:?}\n{}", lines[lines.len().saturating_sub(8)..].join("\n"));
        }
        let there = self.slave.client().command(&["DEBUG", "DIGEST"]);
        match master.digest() {
            Ok(here) if here == there => Ok(()),
            _ => difference(format!("of the master: {}", differing_keys(&self.master, &self.slave).replace("Redis has", "The slave has"))),
        }
    }

    fn run(&self, wanted: &Run) {
        let mut known = commands(&self.master);
        if self.slave.kind == Kind::Ours {
            let of_slave = commands(&self.slave);
            known.retain(|name| of_slave.contains(name));
        }
        let is_old = matches!(self.peer, Peer::V6 | Peer::V7);
        let knows = |name: &str| {
            let has_form = !is_old || !UNKNOWN_TO_OLD.contains(&name);
            known.contains(name) && has_form && !wanted.skip.iter().any(|skipped| skipped == name) || name == "NOSUCH"
        };
        let grammar = Grammar::new(families::ALL, &wanted.weights(), knows);
        let names = format!("{}, slave of {}", self.slave.kind.name(), self.master.kind.name());
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for seed in wanted.first_seed..wanted.first_seed + wanted.seeds {
            let mut units = grammar.sequence(seed, wanted.units);
            if is_old {
                units.retain(|unit| !unit.steps.iter().any(differs_in_old));
                units.iter_mut().flat_map(|unit| &mut unit.steps).for_each(versions::round_fractions);
            }
            let setup = Setup::of(seed);
            if let Err(difference) = self.play(&units, setup) {
                let text = shortest(seed, units, difference, |units| self.play(units, setup));
                let kind: String = text.lines().nth(1).unwrap_or(&text).chars().take(16).collect();
                if found.insert(kind, text.clone()).is_none() {
                    eprintln!("{names}, {text}\n");
                }
            }
            if wanted.talks && seed % 50 == 0 {
                eprintln!("{names}: seed {seed}, {} kinds of differences", found.len());
            }
            if found.len() >= DIFFERENCES_MAX {
                break;
            }
        }
        let texts: Vec<&str> = found.values().map(String::as_str).collect();
        assert!(texts.is_empty(), "{names}: {} kinds of differences\n\n{}", texts.len(), texts.join("\n\n"));
    }
}

fn run(peer: Peer, ours_is_master: bool) {
    let wanted = Run::by_environment();
    if wanted.oracle_named && wanted.oracle != peer {
        return;
    }
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(peer, &[]));
    let (mut master, mut slave) = if ours_is_master { (ours, real) } else { (real, ours) };
    master.quiet();
    slave.quiet();
    Link::new(master, slave, peer).run(&wanted);
}

#[test]
fn redis_6_replicates_ours() {
    run(Peer::V6, true);
}

#[test]
fn redis_7_replicates_ours() {
    run(Peer::V7, true);
}

#[test]
fn redis_8_replicates_ours() {
    run(Peer::V8, true);
}

#[test]
fn ours_replicates_redis_6() {
    run(Peer::V6, false);
}

#[test]
fn ours_replicates_redis_7() {
    run(Peer::V7, false);
}

#[test]
fn ours_replicates_redis_8() {
    run(Peer::V8, false);
}
