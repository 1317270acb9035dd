//! A GET without a socket beside the same GET over loopback: CPU nanoseconds of the whole process a GET, client and server together.
//!
//! One process, in which a node has a thread of its own where the client has a socket or is on another thread. Ways are measured in turns; the median counts.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use replikant::env::{Clock, RealClock};
use replikant::server::{Batch, Commands, Node, NodeHandle, RemoteClient};

use crate::median;
use crate::options::Options;

const PIPELINE: usize = 64;
const VALUE: [u8; 64] = [b'v'; 64];
/// GETs between two looks at the clock.
const STEP: u64 = 256;

/// Keys that a walk over all of them asks for in an order of no order.
struct Keys {
    count: u64,
    at: u64,
}

impl Keys {
    fn next(&mut self) -> String {
        self.at = (self.at + 7_368_787) % self.count;
        format!("key:{:012}", self.at)
    }
}

/// GETs done, with the CPU and the time that they took.
struct Measured {
    gets: u64,
    cpu_us: u64,
    wall: Duration,
}

fn measured(clock: &RealClock, run: impl FnOnce() -> u64) -> Measured {
    let cpu_us = || clock.cpu_usage().user_us + clock.cpu_usage().system_us;
    let (cpu_from, from) = (cpu_us(), Instant::now());
    let gets = run();
    Measured { gets, cpu_us: cpu_us() - cpu_from, wall: from.elapsed() }
}

/// Runs until the span is over; `batch` does some GETs and says how many.
fn until_over(span: Duration, mut batch: impl FnMut() -> u64) -> u64 {
    let from = Instant::now();
    let mut gets = 0;
    while from.elapsed() < span {
        gets += batch();
    }
    gets
}

async fn filled(keys: u64) -> NodeHandle {
    let node = Node::builder().start().await.expect("the node starts");
    let client = node.client();
    for key in 0..keys {
        client.set(format!("key:{key:012}"), VALUE).await.expect("SET");
    }
    node
}

async fn awaited(client: &impl Commands, keys: &mut Keys, span: Duration) -> u64 {
    let from = Instant::now();
    let mut gets = 0;
    while from.elapsed() < span {
        for _ in 0..STEP {
            assert_eq!(client.get(keys.next()).await.expect("GET").map(|value| value.len()), Some(VALUE.len()));
        }
        gets += STEP;
    }
    gets
}

pub fn measure(options: &Options) {
    let (tell, told) = mpsc::channel();
    let count = options.keys.min(200_000);
    let served = thread::spawn(move || {
        actix_rt::System::new().block_on(async {
            let node = filled(count).await;
            tell.send((node.port(), node.remote_client())).expect("somebody waits");
            node.stopped().await
        })
    });
    let (port, remote) = told.recv().expect("the node has started");
    let url = format!("redis://127.0.0.1:{port}/");
    let mut socket = redis::Client::open(url).and_then(|client| client.get_connection()).expect("connecting");

    println!("\nOne GET of {count} keys of 16 bytes, values of 64: client and server together; medians of {} rounds", options.rounds);
    let names = [
        "in the node's thread, awaited",
        "in the node's thread, 64 at once",
        "from another thread, awaited",
        "by loopback, awaited",
        "by loopback, 64 at once",
    ];
    let mut samples: Vec<[Vec<f64>; 2]> = names.iter().map(|_| Default::default()).collect();
    let clock = RealClock::default();
    let system = actix_rt::System::new();
    let local = system.block_on(filled(count));
    for _ in 0..options.rounds {
        for (way, sample) in samples.iter_mut().enumerate() {
            let mut keys = Keys { count, at: 0 };
            let measured = measured(&clock, || match way {
                0 => system.block_on(awaited(&local.client(), &mut keys, options.span)),
                1 => system.block_on(pipelined(&local, &mut keys, options.span)),
                2 => futures::executor::block_on(awaited(&remote, &mut keys, options.span)),
                3 => until_over(options.span, || by_socket(&mut socket, &mut keys)),
                _ => until_over(options.span, || by_socket_at_once(&mut socket, &mut keys)),
            });
            sample[0].push(measured.cpu_us as f64 * 1000.0 / measured.gets as f64);
            sample[1].push(measured.gets as f64 / measured.wall.as_secs_f64() / 1000.0);
        }
    }
    println!("{:<34} | {:>10} | {:>8}", "", "CPU ns", "k/s");
    for (name, [cpu, rate]) in names.iter().zip(&mut samples) {
        println!("{name:<34} | {:>10.0} | {:>8.1}", median(cpu), median(rate));
    }
    stop(&remote);
    served.join().expect("the node's thread ends well");
    system.block_on(local.stop(Some(false)));
}

fn stop(remote: &RemoteClient) {
    // The reply is that there is none.
    let _ = futures::executor::block_on(remote.call(&["SHUTDOWN", "NOSAVE"]));
}

async fn pipelined(node: &NodeHandle, keys: &mut Keys, span: Duration) -> u64 {
    let client = node.client();
    let from = Instant::now();
    let mut gets = 0;
    while from.elapsed() < span {
        let mut batch = Batch::new();
        (0..PIPELINE).for_each(|_| batch.push(&["GET", &keys.next()]));
        let values: Vec<Vec<u8>> = client.pipeline(&batch).await.expect("GET");
        assert!(values.len() == PIPELINE && values[0].len() == VALUE.len());
        gets += PIPELINE as u64;
    }
    gets
}

fn by_socket(socket: &mut redis::Connection, keys: &mut Keys) -> u64 {
    let value: Vec<u8> = redis::cmd("GET").arg(keys.next()).query(socket).expect("GET");
    assert_eq!(value.len(), VALUE.len());
    1
}

fn by_socket_at_once(socket: &mut redis::Connection, keys: &mut Keys) -> u64 {
    let mut pipe = redis::pipe();
    for _ in 0..PIPELINE {
        pipe.cmd("GET").arg(keys.next());
    }
    let values: Vec<Vec<u8>> = pipe.query(socket).expect("GET");
    assert!(values.len() == PIPELINE && values[0].len() == VALUE.len());
    PIPELINE as u64
}
