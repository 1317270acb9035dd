//! What a full sync under writes costs: how long it takes, how long clients wait meanwhile, and how much memory it takes. With many keys, and with one
//! sorted set of as many members that is written all the time; by the loopback and by a slow link.
//!
//! Delays of replies during a sync are set beside those of a control run of the same length, in which other processes, strangers to the server, are as
//! busy as the sync's were: its threads or its child, and the reader. Nothing is confined to a core.

use std::thread;
use std::time::Duration;

use crate::busy::{Busy, Memory, others_cpu_us, own_cpu_us};
use crate::load::{Generator, Op};
use crate::median;
use crate::options::Options;
use crate::support::process::{rss, waited_us};
use crate::support::{Client, Daemon, Kind, info};
use crate::sync_reader::Reader;
use crate::sync_writer::{Phase, Writer};

const SETTLE: Duration = Duration::from_millis(500);
/// The least and the most that a control run lasts.
const CONTROL: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(30)];
const MIB: f64 = 1024.0 * 1024.0;
/// Neither makes a slave on a slow link start over: what it can't take yet is kept.
const ARGS: &[&str] = &["--client-output-buffer-limit", "replica 0 0 0"];
/// What a sync may cost: the longest turn in ms, and memory.
const TURN_MS_MAX: f64 = 2.0;
const EXTRA_MIB_MAX: f64 = 64.0;

#[derive(Default)]
struct Samples(Vec<Vec<f64>>);

/// The columns of the table.
#[derive(Clone, Copy)]
enum Column {
    Snapshot,
    SnapshotMib,
    InSync,
    CalmP999,
    ControlP999,
    SyncP999,
    CalmMax,
    ControlMax,
    SyncMax,
    Turn,
    Step,
    Fork,
    ExtraMemory,
    Copied,
    Busy,
    ControlNoCore,
    SyncNoCore,
}

const COLUMNS: [(Column, &str); 17] = [
    (Column::Snapshot, "snapshot s"),
    (Column::SnapshotMib, "snapshot MiB"),
    (Column::InSync, "in sync s"),
    (Column::CalmP999, "calm p99.9"),
    (Column::ControlP999, "control p99.9"),
    (Column::SyncP999, "SYNC p99.9"),
    (Column::CalmMax, "calm max"),
    (Column::ControlMax, "control max"),
    (Column::SyncMax, "SYNC max"),
    (Column::Turn, "longest turn"),
    (Column::Step, "longest step"),
    (Column::Fork, "fork"),
    (Column::ExtraMemory, "extra MiB"),
    (Column::Copied, "copied MiB"),
    (Column::Busy, "busy cores"),
    (Column::ControlNoCore, "control no core"),
    (Column::SyncNoCore, "SYNC no core"),
];

impl Samples {
    fn put(&mut self, column: Column, value: Option<f64>) {
        self.0.resize(COLUMNS.len(), Vec::new());
        self.0[column as usize].extend(value);
    }

    fn median(&self, column: Column) -> Option<f64> {
        let mut values = self.0.get(column as usize).cloned().unwrap_or_default();
        (!values.is_empty()).then(|| median(&mut values))
    }
}

pub fn measure(options: &Options) {
    for keys in &options.sync_keys {
        for op in [Op::SetNoise, Op::Zadd].into_iter().filter(|op| options.sync_shapes.contains(op)) {
            let servers: Vec<Daemon> = options.servers.iter().map(|kind| Daemon::start(*kind, ARGS)).collect();
            for server in &servers {
                Generator::fill(server.port, op, *keys);
            }
            for link in &options.links {
                measure_by(&servers, op, *keys, *link, options);
            }
        }
    }
}

/// One table: a shape of the data and a link.
fn measure_by(servers: &[Daemon], op: Op, keys: u64, link: u64, options: &Options) {
    let shape = if op == Op::Zadd { format!("a sorted set of {keys} members") } else { format!("{keys} keys") };
    let by = if link == 0 { "the loopback".to_owned() } else { format!("a link of {link} MB/s") };
    println!("\nFull sync of {shape} by {by} under {} writes a second to them; medians of {} rounds, delays in ms", options.rate, options.rounds);
    let mut samples: Vec<Samples> = servers.iter().map(|_| Samples::default()).collect();
    for round in 0..options.rounds {
        for turn in 0..servers.len() {
            let number = (turn + round) % servers.len();
            measure_once(&servers[number], op, keys, link, options, &mut samples[number]);
        }
    }
    print!("{:<16}", "");
    servers.iter().for_each(|server| print!(" {:>14}", server.kind.name()));
    println!();
    for (column, name) in COLUMNS {
        print!("{name:<16}");
        for samples in &samples {
            // A dash where a server does not tell, as ours has no fork.
            print!(" {:>14}", samples.median(column).map_or("-".to_owned(), |value| format!("{value:.2}")));
        }
        println!();
    }
    servers.iter().zip(&samples).filter(|(server, _)| server.kind == Kind::Ours).for_each(|(_, ours)| judge(ours, &samples[1..]));
    println!(
        "(no core: how long the thread that serves clients was ready to run and had none; delays include it. busy cores: used by others in sync and control)"
    );
}

/// Says which of the bounds hold.
fn judge(ours: &Samples, peers: &[Samples]) {
    let told =
        |name: &str, value: f64, most: f64| println!("{} {name}: {value:.2}, at most {most:.2}", if value <= most { "holds: " } else { "BROKEN:" });
    let ours = |column| ours.median(column).unwrap_or(f64::NAN);
    told("longest turn, ms", ours(Column::Turn), TURN_MS_MAX);
    told("p99.9 beside the control's, ms", ours(Column::SyncP999), ours(Column::ControlP999));
    told("extra memory, MiB", ours(Column::ExtraMemory), EXTRA_MIB_MAX);
    for peer in peers {
        told("seconds until in sync, beside the peer's", ours(Column::InSync), peer.median(Column::InSync).unwrap_or(f64::NAN));
    }
}

fn measure_once(server: &Daemon, op: Op, keys: u64, link: u64, options: &Options, samples: &mut Samples) {
    let (pid, mut client) = (server.pid(), server.client());
    let writer = Writer::start(server.port, op, options.rate, keys);
    thread::sleep(SETTLE);
    writer.set(Phase::Calm);
    thread::sleep(options.control);
    let before = rss(pid);
    let _ = client.run("CONFIG RESETSTAT");
    let (others, own, waited) = (others_cpu_us(pid), own_cpu_us(), waited_us(pid));
    let memory = Memory::watch(pid);
    writer.set(Phase::Sync);
    let times = Reader::attach(server.port, (link > 0).then_some(link * 1_000_000)).follow(&mut client);
    writer.set(Phase::Other);
    samples.put(Column::SyncNoCore, Some((waited_us(pid) - waited) as f64 / 1000.0));
    samples.put(Column::ExtraMemory, Some(memory.stop().saturating_sub(before) as f64 / MIB));
    let busy_us = others_cpu_us(pid).saturating_sub(others) + own_cpu_us() - own;
    let cores = busy_us as f64 / times.caught_up.as_micros() as f64;
    tell(server.kind, &mut client, samples);
    thread::sleep(SETTLE);

    let busy = Busy::start(cores);
    thread::sleep(SETTLE);
    let waited = waited_us(pid);
    let span = times.caught_up.clamp(CONTROL[0], CONTROL[1]);
    writer.set(Phase::Control);
    thread::sleep(span);
    writer.set(Phase::Other);
    // As if it had lasted as long as the sync.
    let share = times.caught_up.as_secs_f64() / span.as_secs_f64();
    samples.put(Column::ControlNoCore, Some((waited_us(pid) - waited) as f64 / 1000.0 * share));
    drop(busy);

    let mut delays = writer.stop();
    let mut put = |column, phase, quantile| samples.put(column, Some(delays.quantile(phase, quantile) / 1000.0));
    put(Column::CalmP999, Phase::Calm, 0.999);
    put(Column::CalmMax, Phase::Calm, 1.0);
    put(Column::ControlP999, Phase::Control, 0.999);
    put(Column::ControlMax, Phase::Control, 1.0);
    put(Column::SyncP999, Phase::Sync, 0.999);
    put(Column::SyncMax, Phase::Sync, 1.0);
    samples.put(Column::Snapshot, Some(times.snapshot.as_secs_f64()));
    samples.put(Column::SnapshotMib, Some(times.snapshot_bytes as f64 / MIB));
    samples.put(Column::InSync, Some(times.caught_up.as_secs_f64()));
    samples.put(Column::Busy, Some(cores));
    // The next measurement begins when this one's reader is forgotten and children are gone.
    thread::sleep(SETTLE);
}

/// What the server itself tells of the sync.
fn tell(kind: Kind, client: &mut Client, samples: &mut Samples) {
    let mut number = |field: &str| info(client, field).and_then(|value| value.parse::<f64>().ok());
    samples.put(Column::Turn, number("longest_turn_us").map(|us| us / 1000.0));
    samples.put(Column::Step, number("longest_snapshot_step_us").map(|us| us / 1000.0));
    if kind != Kind::Ours {
        samples.put(Column::Fork, number("latest_fork_usec").map(|us| us / 1000.0));
        samples.put(Column::Copied, number("rdb_last_cow_size").map(|bytes| bytes / MIB));
    }
}
