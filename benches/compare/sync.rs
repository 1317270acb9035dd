//! What a full sync under writes costs: how long it takes, how long clients wait meanwhile, and how much memory it takes.
//!
//! Writes come at a fixed rate, whether or not earlier ones were answered, and a reply's delay counts from when its write was due. The
//! slave is a reader that does nothing with what it reads, so that the master is what is measured. Nothing is confined to a core: a
//! master's child or threads may use the other one.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{EVENTS, Epoll, Generator, Op, Single, connect};
use crate::median;
use crate::options::Options;
use crate::support::process::{rss, waited_us};
use crate::support::{Client, Daemon, Kind, offset};
use crate::support::{info, info_u64};

const CONNECTIONS: usize = 64;
const TICK: Duration = Duration::from_millis(1);
const SAMPLE_EVERY: Duration = Duration::from_millis(50);
const SETTLE: Duration = Duration::from_millis(500);

const CONTROL: u8 = 0;
const SYNCING: u8 = 1;
const STOP: u8 = 2;

#[derive(Default)]
struct Samples {
    snapshot_s: Vec<f64>,
    caught_up_s: Vec<f64>,
    turn_us: Vec<f64>,
    fork_us: Vec<f64>,
    calm_p999_us: Vec<f64>,
    calm_max_us: Vec<f64>,
    busy_p999_us: Vec<f64>,
    busy_max_us: Vec<f64>,
    waited_us: Vec<f64>,
    extra_mib: Vec<f64>,
}

pub fn measure(options: &Options) {
    for keys in &options.sync_keys {
        let servers: Vec<Daemon> = options.servers.iter().map(|kind| Daemon::start(*kind, &[])).collect();
        for server in &servers {
            Generator::fill(server.port, Op::Set, *keys);
        }
        println!("\nFull sync of {keys} keys under {} writes a second; medians of {} rounds, delays of replies in ms", options.rate, options.rounds);
        println!(
            "{:<14} | {:>10} {:>10} | {:>9} {:>9} | {:>10} {:>9} | {:>12} {:>8} {:>9} | {:>9}",
            "", "snapshot s", "in sync s", "p99.9", "max", "sync p99.9", "max", "longest turn", "fork ms", "no core", "extra MiB"
        );
        let mut samples: Vec<Samples> = servers.iter().map(|_| Samples::default()).collect();
        for round in 0..options.rounds {
            for turn in 0..servers.len() {
                let number = (turn + round) % servers.len();
                measure_once(&servers[number], *keys, options, &mut samples[number]);
            }
        }
        for (server, samples) in servers.iter().zip(&mut samples) {
            row(server.kind, samples);
        }
        println!("(no core: how long the thread that serves clients was ready to run during the sync and had none; delays include it)");
    }
}

fn row(kind: Kind, samples: &mut Samples) {
    // A dash where a server does not tell, as ours has no fork.
    let ms = |values: &mut Vec<f64>| match values.len() {
        0 => "-".to_owned(),
        _ => format!("{:.2}", median(values) / 1000.0),
    };
    println!(
        "{:<14} | {:>10.2} {:>10.2} | {:>9} {:>9} | {:>10} {:>9} | {:>12} {:>8} {:>9} | {:>9.1}",
        kind.name(),
        median(&mut samples.snapshot_s),
        median(&mut samples.caught_up_s),
        ms(&mut samples.calm_p999_us),
        ms(&mut samples.calm_max_us),
        ms(&mut samples.busy_p999_us),
        ms(&mut samples.busy_max_us),
        ms(&mut samples.turn_us),
        ms(&mut samples.fork_us),
        ms(&mut samples.waited_us),
        median(&mut samples.extra_mib),
    );
}

fn measure_once(server: &Daemon, keys: u64, options: &Options, samples: &mut Samples) {
    let mut client = server.client();
    let phase = Arc::new(AtomicU8::new(CONTROL));
    let of_writer = phase.clone();
    let (port, rate) = (server.port, options.rate);
    let writer = thread::spawn(move || write_at(port, rate, keys, &of_writer));
    thread::sleep(options.control);
    let before = rss(server.pid());
    let _ = client.run("CONFIG RESETSTAT");
    phase.store(SYNCING, Ordering::SeqCst);
    let memory = Memory::watch(server.pid());
    let waited = waited_us(server.pid());
    let reader = Reader::attach(server.port);
    let (snapshot, caught_up) = reader.follow(&mut client);
    let top = memory.stop();
    samples.waited_us.push((waited_us(server.pid()) - waited) as f64);
    phase.store(STOP, Ordering::SeqCst);
    let [mut calm, mut busy] = writer.join().expect("the writer");

    samples.snapshot_s.push(snapshot.as_secs_f64());
    samples.caught_up_s.push(caught_up.as_secs_f64());
    if info(&mut client, "longest_turn_us").is_some() {
        samples.turn_us.push(info_u64(&mut client, "longest_turn_us") as f64);
    }
    if server.kind != Kind::Ours {
        samples.fork_us.push(info_u64(&mut client, "latest_fork_usec") as f64);
    }
    samples.calm_p999_us.push(quantile(&mut calm, 0.999));
    samples.calm_max_us.push(quantile(&mut calm, 1.0));
    samples.busy_p999_us.push(quantile(&mut busy, 0.999));
    samples.busy_max_us.push(quantile(&mut busy, 1.0));
    samples.extra_mib.push(top.saturating_sub(before) as f64 / 1024.0 / 1024.0);
    // The next measurement begins when this one's reader is forgotten and children are gone.
    thread::sleep(SETTLE);
}

fn quantile(delays: &mut [u32], share: f64) -> f64 {
    delays.sort_unstable();
    let last = delays.len().checked_sub(1).expect("replies came");
    f64::from(delays[(last as f64 * share) as usize])
}

/// Writes at a fixed rate until told to stop: the delays of replies in microseconds, before the sync and during it.
fn write_at(port: u16, rate: u64, keys: u64, phase: &AtomicU8) -> [Vec<u32>; 2] {
    let epoll = Epoll::new();
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(port)).collect();
    for (number, stream) in streams.iter().enumerate() {
        epoll.watch(stream, number, false, false);
    }
    let mut request = Single::new(Op::Set, keys);
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    let mut delays = [Vec::new(), Vec::new()];
    let mut free: Vec<usize> = (0..CONNECTIONS).collect();
    // When the write on each connection was due; writes that no connection is free for wait here.
    let mut due_on = vec![Instant::now(); CONNECTIONS];
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let (start, mut sent) = (Instant::now(), 0);
    loop {
        let now_phase = phase.load(Ordering::Relaxed);
        if now_phase == STOP {
            return delays;
        }
        // All writes of a tick fall due together, at the tick.
        let ticks = (start.elapsed().as_nanos() / TICK.as_nanos()) as u64;
        let due = ticks * rate / 1000;
        while sent < due {
            waiting.push_back(start + Duration::from_nanos(TICK.as_nanos() as u64 * (sent * 1000 / rate + 1)));
            sent += 1;
        }
        while let (Some(due), Some(number)) = (waiting.front(), free.last()) {
            due_on[*number] = *due;
            streams[*number].write_all(request.next()).expect("writing one request");
            waiting.pop_front();
            free.pop();
        }
        let count = epoll.wait(&mut events, 1);
        let now = Instant::now();
        for event in &events[..count] {
            let number = event.u64 as usize;
            let mut reply = [0; 64];
            let got = streams[number].read(&mut reply).expect("reading one reply");
            assert_eq!(&reply[..got], b"+OK\r\n", "a reply to SET");
            let delay = now.saturating_duration_since(due_on[number]).as_micros() as u32;
            delays[usize::from(now_phase)].push(delay);
            free.push(number);
        }
    }
}

/// The memory of a server and of its children, sampled: the most that both held at once.
struct Memory {
    stop: Arc<AtomicBool>,
    top: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Memory {
    fn watch(pid: u32) -> Memory {
        let (stop, top) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, most) = (stop.clone(), top.clone());
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let own: u64 = children(pid).into_iter().map(private_dirty).sum();
                most.fetch_max(rss(pid) + own, Ordering::Relaxed);
                thread::sleep(SAMPLE_EVERY);
            }
        });
        Memory { stop, top, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sampler");
        self.top.load(Ordering::Relaxed)
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// What a child does not share with its parent: pages that one of both wrote to since the fork.
fn private_dirty(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Private_Dirty:"));
    let kib: u64 = line.and_then(|line| line.split_ascii_whitespace().nth(1)).and_then(|word| word.parse().ok()).unwrap_or(0);
    kib * 1024
}

/// A slave that only reads.
struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: Instant,
    /// Where the snapshot was cut.
    cut: u64,
}

const MARK_BYTES: usize = 40;

impl Reader {
    fn attach(port: u16) -> Reader {
        let start = Instant::now();
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connecting the reader");
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("setting a time-out");
        stream.set_nodelay(true).expect("setting TCP_NODELAY");
        let mut reader = Reader { stream, buffer: vec![0; 256 * 1024], start, cut: 0 };
        for line in ["REPLCONF listening-port 1\r\n", "REPLCONF capa eof capa psync2\r\n"] {
            reader.stream.write_all(line.as_bytes()).expect("shaking hands");
            assert_eq!(reader.line(), "+OK");
        }
        // Redis refuses PSYNC from a client that has replies to read, so it does not share a write with the others.
        reader.stream.write_all(b"PSYNC ? -1\r\n").expect("asking for a sync");
        let answer = reader.line();
        let position = answer.strip_prefix("+FULLRESYNC ").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        reader.cut = position.unwrap_or_else(|| panic!("no full sync: {answer}"));
        reader
    }

    fn some(&mut self, most: usize) -> usize {
        loop {
            match self.stream.read(&mut self.buffer[..most]) {
                Ok(0) => panic!("the master closed the link"),
                Ok(count) => return count,
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    assert!(self.start.elapsed() < Duration::from_secs(300), "the sync does not end");
                }
                Err(error) => panic!("reading the link: {error}"),
            }
        }
    }

    /// The next line of the handshake that is not empty, byte by byte so as to leave what follows.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            self.some(1);
            match self.buffer[0] {
                b'\n' if !line.is_empty() => return String::from_utf8_lossy(&line).into_owned(),
                b'\r' | b'\n' => {}
                byte => line.push(byte),
            }
        }
    }

    fn ack(&mut self, offset: u64) {
        let text = offset.to_string();
        let request = format!("*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n${}\r\n{text}\r\n", text.len());
        self.stream.write_all(request.as_bytes()).expect("sending an ACK");
    }

    /// Reads the snapshot, then the stream until it has everything that was written up to the snapshot's end: how long both took.
    fn follow(mut self, client: &mut Client) -> (Duration, Duration) {
        let header = self.line();
        match header.strip_prefix("$EOF:") {
            Some(mark) => self.read_to_mark(mark.as_bytes()),
            None => {
                let mut left: usize = header[1..].parse().expect("a length");
                while left > 0 {
                    left -= self.some(left.min(self.buffer.len()));
                }
            }
        }
        let snapshot = self.start.elapsed();
        let goal = offset(client);
        let mut have = self.cut;
        let mut acked = Instant::now();
        self.ack(have);
        while have < goal {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => panic!("the master closed the link"),
                Ok(count) => have += count as u64,
                Err(_) => assert!(self.start.elapsed() < Duration::from_secs(300), "the stream does not start"),
            }
            if acked.elapsed() > Duration::from_millis(100) {
                acked = Instant::now();
                self.ack(have);
            }
        }
        (snapshot, self.start.elapsed())
    }

    /// No byte follows the mark before the first ACK, so only the end of what was read matters.
    fn read_to_mark(&mut self, mark: &[u8]) {
        let mut tail = Vec::new();
        while tail != mark {
            let count = self.some(self.buffer.len());
            tail.extend_from_slice(&self.buffer[count.saturating_sub(MARK_BYTES)..count]);
            let surplus = tail.len().saturating_sub(MARK_BYTES);
            tail.drain(..surplus);
        }
    }
}
