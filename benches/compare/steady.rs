//! What replication costs when nothing goes wrong: a master's CPU a write with and without a slave, and a slave's CPU a write that it applies, while it
//! answers reads. The other end is this process, so that it costs every server the same.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::cpu::{LOAD_CORE, SERVER_CORE};
use crate::load::{Generator, Op};
use crate::median;
use crate::options::Options;
use crate::support::process::{cpu_us, pin};
use crate::support::tap::{StreamTap, TapOptions};
use crate::support::{Client, Daemon, Kind, Peer, SOON, Value, info, wait_for};

const WARM_UP: Duration = Duration::from_millis(300);
/// So many bytes of the stream are written to a slave at a time.
const FEED_BYTES: usize = 1 << 20;
const HISTORY: &str = "0123456789012345678901234567890123456789";

pub fn measure(options: &Options) {
    pin(0, SERVER_CORE).expect("confining to the server's core");
    let servers: Vec<Daemon> = options.servers.iter().map(|kind| Daemon::start(*kind, &[])).collect();
    pin(0, LOAD_CORE).expect("confining to the load's core");
    masters(&servers, options);
    slaves(&servers, options);
}

/// CPU microseconds a SET.
fn cost_of_sets(server: &Daemon, pipeline: usize, options: &Options) -> f64 {
    let mut load = Generator::new(server.port, Op::Set, pipeline, options.connections[0], options.keys);
    load.run(WARM_UP);
    let cpu = cpu_us(server.pid());
    let replies = load.run(options.span);
    let cpu = cpu_us(server.pid()) - cpu;
    load.finish();
    cpu as f64 / replies as f64
}

fn masters(servers: &[Daemon], options: &Options) {
    for server in servers {
        Generator::fill(server.port, Op::Set, options.keys);
    }
    println!(
        "\nSteady state: CPU us a SET of a master with {} connections, alone and with a slave; medians of {} rounds",
        options.connections[0], options.rounds
    );
    println!("{:<22} | {:>8} {:>8} {:>8} {:>7}", "", "alone", "slave", "added", "ratio");
    for pipeline in &options.pipelines {
        let mut costs = vec![[Vec::new(), Vec::new()]; servers.len()];
        for _ in 0..options.rounds {
            for (server, costs) in servers.iter().zip(&mut costs) {
                // The backlog of a round before would cost the lonely master as well.
                server.client().ok("CONFIG SET repl-backlog-ttl 1");
                wait_for(SOON, "the backlog to go", || (info(&mut server.client(), "repl_backlog_active").unwrap() == "0").then_some(()));
                costs[0].push(cost_of_sets(server, *pipeline, options));
                let sink = Sink::attach(server.port);
                costs[1].push(cost_of_sets(server, *pipeline, options));
                sink.detach();
            }
        }
        for (server, [alone, slave]) in servers.iter().zip(&mut costs) {
            let (alone, slave) = (median(alone), median(slave));
            let name = format!("P{pipeline:<3} {}", server.kind.name());
            println!("{name:<22} | {alone:>8.3} {slave:>8.3} {:>8.3} {:>7.2}", slave - alone, slave / alone);
        }
    }
}

/// A slave that takes the stream and does nothing with it.
struct Sink {
    socket: TcpStream,
    reader: JoinHandle<()>,
}

impl Sink {
    fn attach(port: u16) -> Sink {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("connecting as a slave");
        socket.write_all(b"SYNC\r\n").expect("asking for a sync");
        let mut input = BufReader::with_capacity(256 << 10, socket.try_clone().expect("sharing the socket"));
        let mut line = String::new();
        while !line.starts_with('$') {
            line.clear();
            input.read_line(&mut line).expect("reading the snapshot's length");
        }
        let bytes: u64 = line[1..].trim_end().parse().expect("the snapshot's length");
        std::io::copy(&mut (&mut input).take(bytes), &mut std::io::sink()).expect("reading the snapshot");
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            while matches!(input.read(&mut buffer), Ok(1..)) {}
        });
        let mut client = Client::connect(port);
        wait_for(SOON, "the slave to be online", || info(&mut client, "slave0").filter(|text| text.contains("state=online")));
        Sink { socket, reader }
    }

    fn detach(self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        self.reader.join().expect("the slave's reader ends");
    }
}

fn slaves(servers: &[Daemon], options: &Options) {
    let empty = Daemon::redis(Peer::V7, &[]);
    let snapshot = StreamTap::with(empty.port, TapOptions { eof: false, ..TapOptions::default() }).snapshot;
    println!("\nSteady state: CPU us a SET that a slave applies, and how long it takes to answer a GET meanwhile (ms)");
    println!(
        "(the reader shares a core with the stream's writer, which a fast slave keeps busy: p50 is the slave's, p99 is also what the reader waits)"
    );
    println!("{:<22} | {:>8} {:>8} {:>8} {:>8} {:>8}", "", "us", "k/s", "p50", "p99", "longest");
    let mut costs = vec![(Vec::new(), Vec::new(), Vec::new()); servers.len()];
    for (server, (cpu, rate, reads)) in servers.iter().zip(&mut costs) {
        let mut feed = Feed::to(server, &snapshot, options.keys);
        // Keys that are there already are what is measured.
        feed.run(Amount::Keys);
        for _ in 0..options.rounds {
            let reader = Reads::begin(server.port);
            let (from, start) = (cpu_us(server.pid()), Instant::now());
            let writes = feed.run(Amount::Time(options.span)) as f64;
            cpu.push((cpu_us(server.pid()) - from) as f64 / writes);
            rate.push(writes / start.elapsed().as_secs_f64() / 1000.0);
            reads.extend(reader.end());
        }
        server.client().command(&["REPLICAOF", "NO", "ONE"]);
    }
    let mut own = None;
    for (server, (cpu, rate, reads)) in servers.iter().zip(&mut costs) {
        reads.sort_by(f64::total_cmp);
        let at = |share: f64| reads[((reads.len() - 1) as f64 * share) as usize];
        let cpu = median(cpu);
        print!("{:<22} | {cpu:>8.3} {:>8.1} {:>8.2} {:>8.2} {:>8.2}", server.kind.name(), median(rate), at(0.5), at(0.99), at(1.0));
        match own {
            None if server.kind == Kind::Ours => own = Some(cpu),
            Some(own) => print!("  {:.2} times ours", cpu / own),
            None => {}
        }
        println!();
    }
}

enum Amount {
    /// Each key once.
    Keys,
    Time(Duration),
}

/// A master of which only the stream is real.
struct Feed {
    socket: TcpStream,
    answers: BufReader<TcpStream>,
    offset: u64,
    keys: u64,
    random: u64,
}

impl Feed {
    fn to(slave: &Daemon, snapshot: &[u8], keys: u64) -> Feed {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binding the master's port");
        let port = listener.local_addr().expect("the master's address").port();
        slave.client().command(&["REPLICAOF", "127.0.0.1", &port.to_string()]);
        let (socket, _) = listener.accept().expect("the slave connects");
        let answers = BufReader::new(socket.try_clone().expect("sharing the socket"));
        let mut feed = Feed { socket, answers, offset: 0, keys, random: 88_172_645_463_325_252 };
        loop {
            let words = feed.words();
            match words[0].to_ascii_uppercase().as_str() {
                "PING" => feed.say(b"+PONG\r\n"),
                "PSYNC" => break,
                _ => feed.say(b"+OK\r\n"),
            }
        }
        feed.say(format!("+FULLRESYNC {HISTORY} 0\r\n${}\r\n", snapshot.len()).as_bytes());
        feed.say(snapshot);
        feed.stream(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n");
        feed.wait_applied();
        feed
    }

    fn say(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("writing to the slave");
    }

    fn stream(&mut self, bytes: &[u8]) {
        self.say(bytes);
        self.offset += bytes.len() as u64;
    }

    /// The slave's next request; it sends arrays of bulk strings.
    fn words(&mut self) -> Vec<String> {
        let mut line = || {
            let mut text = String::new();
            self.answers.read_line(&mut text).expect("reading from the slave");
            assert!(!text.is_empty(), "the slave has closed the link");
            text.trim_end().to_owned()
        };
        let mut first = line();
        while !first.starts_with('*') {
            first = line();
        }
        let count: usize = first[1..].parse().expect("a count of words");
        (0..count)
            .map(|_| {
                line();
                line()
            })
            .collect()
    }

    fn wait_applied(&mut self) {
        let wanted = self.offset;
        self.stream(b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n");
        while self.words().get(2).and_then(|offset| offset.parse::<u64>().ok()).is_none_or(|offset| offset < wanted) {}
    }

    fn run(&mut self, amount: Amount) -> u64 {
        let (start, mut writes, mut piece) = (Instant::now(), 0, Vec::with_capacity(FEED_BYTES + 200));
        let value = "v".repeat(crate::load::VALUE_BYTES);
        loop {
            let left = match amount {
                Amount::Keys => writes < self.keys,
                Amount::Time(span) => start.elapsed() < span,
            };
            if !left {
                break;
            }
            piece.clear();
            while piece.len() < FEED_BYTES {
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                let key = if let Amount::Keys = amount { writes % self.keys } else { ((self.random >> 32) * self.keys) >> 32 };
                write!(piece, "*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n$64\r\n{value}\r\n").expect("writing to memory");
                writes += 1;
            }
            let bytes = std::mem::take(&mut piece);
            self.stream(&bytes);
            piece = bytes;
        }
        self.wait_applied();
        writes
    }
}

/// A client that reads one key after the other.
struct Reads {
    ends: Arc<AtomicBool>,
    reader: JoinHandle<Vec<f64>>,
}

impl Reads {
    fn begin(port: u16) -> Reads {
        let ends = Arc::new(AtomicBool::new(false));
        let ends_there = ends.clone();
        let reader = thread::spawn(move || {
            let mut client = Client::connect(port);
            let mut times = Vec::new();
            while !ends_there.load(Ordering::Relaxed) {
                let start = Instant::now();
                assert!(matches!(client.run("GET key:000000000007"), Value::Bulk(_)));
                times.push(start.elapsed().as_secs_f64() * 1000.0);
                thread::sleep(Duration::from_millis(1));
            }
            times
        });
        Reads { ends, reader }
    }

    fn end(self) -> Vec<f64> {
        self.ends.store(true, Ordering::Relaxed);
        self.reader.join().expect("the reader ends")
    }
}
