//! Random kills, restarts and partitions among a master, three slaves and two sub-slaves, under load: in the end all have the same data, and every full
//! sync was one that no backlog could have spared.
//!
//! A long run is
//!
//! ```text
//! REPLIKANT_FAULTS=50 REPLIKANT_SEEDS=20 cargo test --release --test integration random_kills -- --nocapture
//! ```
//!
//! with, if wanted, `REPLIKANT_FIRST_SEED` (1). All servers' logs of a run that fails are left in `target/tmp/chaos-<seed>`.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::mixed::{Mixed, try_mix};
use crate::support::sync::wait_in_sync_within;
use crate::support::{Client, Daemon, Direction, LATER, Link, SOON, digest, pace, wait_for};

/// Few enough for a test run among all others.
const FAULTS: u64 = 12;
const BACKLOG_BYTES: u64 = 64 << 10;
/// Whom each server follows; the first is the master.
const PARENTS: [Option<usize>; 6] = [None, Some(0), Some(0), Some(0), Some(1), Some(2)];
const NAMES: [&str; 6] = ["master", "slave 1", "slave 2", "slave 3", "sub-slave of 1", "sub-slave of 2"];
/// Units written between faults, and while one lasts: from what the backlog keeps easily to much more.
const BETWEEN: u64 = 300;
const LASTING: [u64; 4] = [20, 200, 800, 3000];
/// Units sent at once, and the pause after them.
const BATCH: u64 = 20;
const PAUSE: Duration = Duration::from_millis(4);

#[derive(Debug)]
enum Heal {
    Start(usize),
    Mend(usize),
    Resume(usize),
}

struct Cluster {
    seed: u64,
    choice: Mixed,
    nodes: Vec<Daemon>,
    /// To the parent, by the number of the follower less one.
    links: Vec<Link>,
    written: Arc<AtomicU64>,
    /// What ends when so many units are written.
    heals: Vec<(u64, Heal)>,
    /// How often the master was started again, and how often a link fell silent.
    masters_lost: u64,
    stalls: usize,
}

impl Cluster {
    fn start(seed: u64) -> Cluster {
        let backlog = BACKLOG_BYTES.to_string();
        let common = ["--repl-backlog-size", &backlog, "--repl-timeout", "5", "--repl-ping-replica-period", "1"];
        let (mut nodes, mut links): (Vec<Daemon>, Vec<Link>) = Default::default();
        for parent in PARENTS {
            let mut args = common.to_vec();
            let follows = parent.map(|parent| {
                links.push(Link::to(nodes[parent].port));
                format!("127.0.0.1 {}", links.last().expect("just made").port)
            });
            if let Some(follows) = &follows {
                args.extend(["--slaveof", follows]);
            }
            let mut node = Daemon::replikant(&args);
            node.quiet();
            nodes.push(node);
        }
        let choice = Mixed::new(seed);
        Cluster { seed, choice, nodes, links, written: Arc::default(), heals: Vec::new(), masters_lost: 0, stalls: 0 }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    fn lasting(&mut self) -> u64 {
        LASTING[self.choice.below(LASTING.len() as u64) as usize]
    }

    /// Waits for writes, ending on the way what is due to end.
    fn let_write(&mut self, units: u64) {
        let until = self.written() + units;
        loop {
            let goal = self.heals.iter().map(|(at, _)| *at).fold(until, u64::min);
            wait_for(SOON, "writes to go on", || (self.written() >= goal).then_some(()));
            let written = self.written();
            while let Some(number) = self.heals.iter().position(|(at, _)| *at <= written) {
                let (_, heal) = self.heals.remove(number);
                self.heal(heal);
            }
            if written >= until {
                return;
            }
        }
    }

    fn heal(&mut self, heal: Heal) {
        eprintln!("at {}: {heal:?}", self.written());
        match heal {
            Heal::Start(node) => self.nodes[node].start_again(),
            Heal::Mend(link) => self.links[link].mend(),
            Heal::Resume(link) => self.links[link].resume(),
        }
    }

    fn is_dead(&self, node: usize) -> bool {
        self.heals.iter().any(|(_, heal)| matches!(heal, Heal::Start(dead) if *dead == node))
    }

    fn fault(&mut self) {
        let link = self.choice.below(self.links.len() as u64) as usize;
        let until = self.written() + self.lasting();
        let kind = self.choice.below(9);
        eprintln!("at {}: fault {kind}, link {link}, until {until}", self.written());
        match kind {
            0..4 => self.kill(until),
            4 => self.links[link].cut(),
            5 => {
                let bytes = self.choice.below(200_000);
                self.links[link].cut_after(Direction::Down, bytes);
            }
            6 | 7 => {
                self.links[link].refuse(true);
                self.links[link].cut();
                self.heals.push((until, Heal::Mend(link)));
            }
            _ => {
                self.stalls += 1;
                self.links[link].stall();
                self.heals.push((until, Heal::Resume(link)));
            }
        }
    }

    /// Kills a server that lives. A slave may have saved before; the master has, since one that comes back empty is another story.
    fn kill(&mut self, until: u64) {
        // With the master its history goes, and so does every chance of a partial sync: every other seed leaves it alone.
        let node = match self.choice.below(20) {
            0..2 if self.seed % 2 == 1 => 0,
            number => 1 + number as usize % self.links.len(),
        };
        if self.is_dead(node) {
            return;
        }
        let saves = node == 0 || self.choice.below(2) == 0;
        eprintln!("  kills the {}{}", NAMES[node], if saves { ", which has saved" } else { "" });
        if saves {
            // A slave that is being loaded can't save; it has an older file or none.
            let _ = self.nodes[node].client().run("SAVE");
        }
        self.nodes[node].kill();
        if node == 0 {
            self.masters_lost += 1;
            self.nodes[0].start_again();
        } else {
            self.heals.push((until, Heal::Start(node)));
        }
    }

    fn heal_all(&mut self) {
        for (_, heal) in std::mem::take(&mut self.heals) {
            self.heal(heal);
        }
        self.links.iter().for_each(Link::mend);
    }

    /// Waits until every server has what its parent has, then until all have what the master has.
    fn wait_until_equal(&self) {
        // On a busy machine digests take longer than a second, and a link may be silent for as long.
        for node in &self.nodes {
            node.client().ok("CONFIG SET repl-ping-replica-period 10 repl-timeout 60");
        }
        for (node, parent) in PARENTS.iter().enumerate() {
            if let Some(parent) = parent {
                wait_in_sync_within(LATER, &self.nodes[*parent], &self.nodes[node]);
            }
        }
        wait_for(SOON, "all to have the master's data", || {
            let digests: Vec<String> = self.nodes.iter().map(|node| digest(&mut node.client())).collect();
            digests.iter().all(|digest| *digest == digests[0]).then_some(())
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{}", self.seed));
            let _ = std::fs::create_dir_all(&target);
            for (name, node) in NAMES.iter().zip(&self.nodes) {
                for (number, log) in node.logs().iter().enumerate() {
                    let _ = std::fs::write(target.join(format!("{name}.{number}.{}", node.port)), log);
                }
            }
            eprintln!("seed {}: the logs are in {}", self.seed, target.display());
        }
    }
}

/// Writes until told to stop, also across the master's death.
fn write(port: u16, seed: u64, written: &AtomicU64, stop: &AtomicBool) {
    let mut mixed = Mixed::new(seed);
    let mut client = None;
    let mut last_write = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        let result = match &mut client {
            None => Client::try_connect(port).map(|connected| client = Some(connected)),
            Some(client) => try_mix(client, &mut mixed, BATCH).map(|()| {
                last_write = Instant::now();
                written.fetch_add(BATCH, Ordering::SeqCst);
            }),
        };
        if let Err(error) = result {
            let text = error.to_string();
            assert!(!text.contains(": -") || text.contains(": -LOADING"), "{text}");
            assert!(last_write.elapsed() < SOON, "the master is not back: {text}");
            client = None;
        }
        pace(PAUSE);
    }
}

/// What a log says of a full sync that was asked for.
struct FullSync<'a> {
    line: &'a str,
    time: &'a str,
    slave_port: u16,
    reason: &'a str,
    asked_id: &'a str,
    asked_byte: i64,
    have_id: &'a str,
    kept: [i64; 2],
}

const TIME_CHARS: usize = "Nov 22 21:47:00.426".len();
const FULL: &str = "Full resync requested by replica";
const LOADED: &str = "sync: Finished with success";
const CONTINUED: &str = "Successful partial resynchronization";
const FROM_FILE: &str = "Replicas can continue from the file";

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!("{name}: ")).unwrap_or_else(|| panic!("no {name} in {line:?}"));
    rest.split(", ").next().expect("a split has a first part").trim()
}

impl<'a> FullSync<'a> {
    fn parse(line: &'a str) -> FullSync<'a> {
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{line}"));
        let (asked_id, asked_byte) = field(line, "asked").split_once(':').unwrap_or_else(|| panic!("{line}"));
        let (have_id, kept) = field(line, "have").split_once(':').unwrap_or_else(|| panic!("{line}"));
        let (first, last) = kept.split_once("..").unwrap_or_else(|| panic!("{line}"));
        let (_, port) = field(line, "replica").rsplit_once(':').unwrap_or_else(|| panic!("{line}"));
        FullSync {
            line,
            time: &line[..TIME_CHARS],
            slave_port: port.parse().unwrap_or_else(|_| panic!("{line}")),
            reason: field(line, "reason"),
            asked_id,
            asked_byte: number(asked_byte),
            have_id,
            kept: [number(first), number(last)],
        }
    }
}

impl Cluster {
    /// Every full sync had a cause that no backlog helps against.
    fn assert_no_needless_full_sync(&self) {
        let (mut needless, mut reasons) = (Vec::new(), BTreeMap::<String, usize>::new());
        for (name, node) in NAMES.iter().zip(&self.nodes) {
            for (run, log) in node.logs().iter().enumerate() {
                *reasons.entry("partial".to_owned()).or_default() += log.matches("Partial resynchronization request accepted").count();
                for (at, line) in log.lines().enumerate().filter(|(_, line)| line.contains(FULL)) {
                    let sync = FullSync::parse(line);
                    *reasons.entry(sync.reason.to_owned()).or_default() += 1;
                    let before: Vec<&str> = log.lines().take(at).collect();
                    if let Err(why) = self.judge(&sync, &before) {
                        needless.push(format!("{why}: {name}, run {run}: {}", sync.line));
                    }
                }
            }
        }
        eprintln!("syncs: {reasons:?}");
        // A slave whose link was silent may be heard once more after it has come back by another one.
        let late = needless.iter().filter(|text| text.starts_with(HAD_HISTORY)).count();
        assert!(needless.len() == late && late <= self.stalls, "full syncs that were not needed:\n{}", needless.join("\n"));
    }

    fn judge(&self, sync: &FullSync, before: &[&str]) -> Result<(), &'static str> {
        match sync.reason {
            "first-sync" => match self.had_history(sync) {
                true => Err(HAD_HISTORY),
                false => Ok(()),
            },
            "other-history" if self.masters_lost == 0 => Err("there has been one history only"),
            "other-history" if sync.asked_id == sync.have_id => Err("the history is the same"),
            "other-history" => Ok(()),
            // The master has come back with a file that is older than what its slaves have got of it.
            "beyond-switch" if self.masters_lost > 0 => Ok(()),
            "out-of-backlog" if sync.asked_byte <= sync.kept[0] => {
                // All bytes that must be kept were, or are those that there are since this server took its own place in the history.
                let joined = |line: &&str| line.contains(LOADED) || line.contains(CONTINUED) || line.contains(FROM_FILE);
                let begins = before.iter().any(|line| joined(line) && line.contains("offset: ") && field(line, "offset") == sync.kept[0].to_string());
                let is_full = sync.kept[1] - sync.kept[0] >= BACKLOG_BYTES as i64;
                if begins || is_full { Ok(()) } else { Err("the backlog is too short") }
            }
            "out-of-backlog" if sync.asked_byte > sync.kept[1] + 1 => Ok(()),
            _ => Err("no reason"),
        }
    }

    /// Whether the slave had a place in a history when it asked.
    fn had_history(&self, sync: &FullSync) -> bool {
        let slave = self.nodes.iter().find(|node| node.port == sync.slave_port).expect("a slave of this cluster");
        let logs = slave.logs();
        let run = logs.iter().rev().find(|log| log.get(..TIME_CHARS).is_some_and(|start| start <= sync.time));
        run.is_some_and(|run| run.lines().any(|line| (line.contains(LOADED) || line.contains(CONTINUED)) && line[..TIME_CHARS] < *sync.time))
    }
}

const HAD_HISTORY: &str = "the slave had a history";

fn story(seed: u64, faults: u64) {
    let start = Instant::now();
    let mut cluster = Cluster::start(seed);
    let (stop, written, port) = (Arc::new(AtomicBool::new(false)), cluster.written.clone(), cluster.nodes[0].port);
    let until = stop.clone();
    let writer = thread::spawn(move || write(port, seed, &written, &until));
    cluster.let_write(BETWEEN);
    for _ in 0..faults {
        cluster.fault();
        let units = cluster.choice.below(2 * BETWEEN);
        cluster.let_write(units);
    }
    cluster.heal_all();
    cluster.let_write(BETWEEN);
    stop.store(true, Ordering::SeqCst);
    writer.join().expect("writing");
    cluster.wait_until_equal();
    cluster.assert_no_needless_full_sync();
    eprintln!("seed {seed}: {faults} faults, {} units written, {:.1} s", cluster.written(), start.elapsed().as_secs_f64());
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn random_kills_and_partitions_end_in_equal_data_and_no_needless_full_sync() {
    let first = number("REPLIKANT_FIRST_SEED", 1);
    for seed in first..first + number("REPLIKANT_SEEDS", 2) {
        story(seed, number("REPLIKANT_FAULTS", FAULTS));
    }
}
