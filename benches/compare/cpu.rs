//! Requests a second and the server's CPU microseconds a request, by operation, pipeline depth and number of connections.

use std::time::{Duration, Instant};

use crate::load::{Generator, Op};
use crate::median;
use crate::options::Options;
use crate::support::process::{cpu_us, pin};
use crate::support::{Daemon, Kind};

pub const SERVER_CORE: usize = 0;
pub const LOAD_CORE: usize = 1;
const WARM_UP: Duration = Duration::from_millis(200);

#[derive(Clone, Default)]
struct Sample {
    rate: Vec<f64>,
    cpu: Vec<f64>,
    busy: Vec<f64>,
}

pub fn measure(options: &Options) {
    // Children inherit the core of the thread that starts them.
    pin(0, SERVER_CORE).expect("confining to the server's core");
    let servers: Vec<Daemon> = options.servers.iter().map(|kind| Daemon::start(*kind, &[])).collect();
    pin(0, LOAD_CORE).expect("confining to the load's core");
    for server in &servers {
        Generator::fill(server.port, Op::Set, options.keys);
        if options.ops.contains(&Op::Incr) {
            Generator::fill(server.port, Op::Counter, options.keys);
        }
    }
    println!(
        "\nThroughput: {} keys of 16 bytes, values of 64; server on one core, load on another; medians of {} rounds",
        options.keys, options.rounds
    );
    header(&options.servers);
    for connections in &options.connections {
        for pipeline in &options.pipelines {
            for op in &options.ops {
                let mut samples = vec![Sample::default(); servers.len()];
                for round in 0..options.rounds {
                    for turn in 0..servers.len() {
                        // Each round begins with another server, so that none always follows the same.
                        let number = (turn + round) % servers.len();
                        measure_once(&servers[number], *op, *pipeline, *connections, options, &mut samples[number]);
                    }
                }
                row(&format!("{:<5} P{:<3} {:>4} conns", op.name(), pipeline, connections), &mut samples);
            }
        }
    }
    println!("(k/s: thousand requests a second; us: the server's CPU microseconds a request; busy: share of its core that the server used)");
}

fn measure_once(server: &Daemon, op: Op, pipeline: usize, connections: usize, options: &Options, sample: &mut Sample) {
    let mut load = Generator::new(server.port, op, pipeline, connections, options.keys);
    load.run(WARM_UP);
    let (cpu, start) = (cpu_us(server.pid()), Instant::now());
    let replies = load.run(options.span);
    let (cpu, wall) = (cpu_us(server.pid()) - cpu, start.elapsed());
    load.finish();
    sample.rate.push(replies as f64 / wall.as_secs_f64() / 1000.0);
    sample.cpu.push(cpu as f64 / replies as f64);
    sample.busy.push(cpu as f64 / wall.as_micros() as f64);
}

fn header(servers: &[Kind]) {
    print!("{:<22}", "");
    for kind in servers {
        print!(" | {:^24}", kind.name());
    }
    for kind in &servers[1..] {
        print!(" | {:^16}", format!("x {}", kind.name()));
    }
    print!("\n{:<22}", "");
    for _ in servers {
        print!(" | {:>8} {:>8} {:>6}", "k/s", "us", "busy");
    }
    for _ in &servers[1..] {
        print!(" | {:>7} {:>8}", "k/s", "us");
    }
    println!();
}

fn row(name: &str, samples: &mut [Sample]) {
    let medians: Vec<[f64; 3]> =
        samples.iter_mut().map(|sample| [median(&mut sample.rate), median(&mut sample.cpu), median(&mut sample.busy)]).collect();
    print!("{name:<22}");
    for [rate, cpu, busy] in &medians {
        print!(" | {rate:>8.1} {cpu:>8.3} {:>5.0}%", busy * 100.0);
    }
    let [own_rate, own_cpu, _] = medians[0];
    for [rate, cpu, _] in &medians[1..] {
        print!(" | {:>7.2} {:>8.2}", own_rate / rate, cpu / own_cpu);
    }
    println!();
}
