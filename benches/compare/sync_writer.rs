//! Clients that write at a fixed rate, whether or not earlier writes were answered: a reply's delay counts from when its write was due.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::load::{EVENTS, Epoll, Op, Single, connect};

const CONNECTIONS: usize = 64;
const TICK: Duration = Duration::from_millis(1);

/// What goes on while writes are answered; delays are kept by it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between the others.
    Other,
    /// Nothing but the writes.
    Calm,
    /// A full sync.
    Sync,
    /// Other processes, as busy as the sync's were.
    Control,
}

const PHASES: usize = 4;
const STOP: usize = PHASES;

pub struct Writer {
    phase: Arc<AtomicUsize>,
    thread: JoinHandle<[Vec<u32>; PHASES]>,
}

impl Writer {
    pub fn start(port: u16, op: Op, rate: u64, keys: u64) -> Writer {
        let phase = Arc::new(AtomicUsize::new(Phase::Other as usize));
        let of_writer = phase.clone();
        Writer { phase, thread: thread::spawn(move || write(port, op, rate, keys, &of_writer)) }
    }

    pub fn set(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::SeqCst);
    }

    pub fn stop(self) -> Delays {
        self.phase.store(STOP, Ordering::SeqCst);
        Delays(self.thread.join().expect("the writer"))
    }
}

/// Of replies, in microseconds.
pub struct Delays([Vec<u32>; PHASES]);

impl Delays {
    pub fn quantile(&mut self, phase: Phase, share: f64) -> f64 {
        let delays = &mut self.0[phase as usize];
        delays.sort_unstable();
        let last = delays.len().checked_sub(1).expect("replies came");
        f64::from(delays[(last as f64 * share) as usize])
    }
}

fn write(port: u16, op: Op, rate: u64, keys: u64, phase: &AtomicUsize) -> [Vec<u32>; PHASES] {
    let epoll = Epoll::new();
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(port)).collect();
    for (number, stream) in streams.iter().enumerate() {
        epoll.watch(stream, number, false, false);
    }
    let mut request = Single::new(op, keys);
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    let mut delays: [Vec<u32>; PHASES] = Default::default();
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
            assert!(reply[0] == op.sign() && reply[..got].ends_with(b"\r\n"), "a reply: {}", reply[..got].escape_ascii());
            let delay = now.saturating_duration_since(due_on[number]).as_micros() as u32;
            delays[now_phase].push(delay);
            free.push(number);
        }
    }
}
