//! A TCP link between a slave and its master that breaks on order: after so many bytes in a direction, at once, or by falling silent.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the master to the slave.
    Down,
    /// From the slave to the master.
    Up,
}

/// No cut is ordered.
const UNLIMITED: i64 = i64::MAX;

struct Lane {
    /// Bytes that may still pass before the cut.
    allowance: AtomicI64,
    passed: AtomicU64,
}

impl Lane {
    fn new() -> Self {
        Lane { allowance: AtomicI64::new(UNLIMITED), passed: AtomicU64::new(0) }
    }
}

struct Shared {
    down: Lane,
    up: Lane,
    stalled: Mutex<bool>,
    resumed: Condvar,
    refusing: AtomicBool,
    refuse_after_cut: AtomicBool,
    closed: AtomicBool,
    cuts: AtomicU64,
    /// Both sockets of each connection that stands, by its number.
    open: Mutex<BTreeMap<u64, (TcpStream, TcpStream)>>,
}

/// Listens on a port of its own and passes every connection on to the target. All counts and orders are for all its connections
/// together; a slave has one at a time.
pub struct Link {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Link {
    #[track_caller]
    pub fn to(target: u16) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binding the link's port");
        let port = listener.local_addr().expect("the link's address").port();
        let shared = Arc::new(Shared {
            down: Lane::new(),
            up: Lane::new(),
            stalled: Mutex::new(false),
            resumed: Condvar::new(),
            refusing: AtomicBool::new(false),
            refuse_after_cut: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
            open: Mutex::new(BTreeMap::new()),
        });
        let of_acceptor = shared.clone();
        thread::spawn(move || accept(&listener, target, &of_acceptor));
        Link { port, shared }
    }

    /// Cuts the connection when so many more bytes have passed in this direction; connections after that one are not limited.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.shared.lane(direction).allowance.store(bytes as i64, Ordering::SeqCst);
    }

    /// As `cut_after`, and lets nothing through afterwards until `mend`.
    pub fn break_after(&self, direction: Direction, bytes: u64) {
        self.shared.refuse_after_cut.store(true, Ordering::SeqCst);
        self.cut_after(direction, bytes);
    }

    /// Takes back what `break_after` and `refuse` ordered.
    pub fn mend(&self) {
        self.shared.refuse_after_cut.store(false, Ordering::SeqCst);
        self.shared.refusing.store(false, Ordering::SeqCst);
        self.shared.down.allowance.store(UNLIMITED, Ordering::SeqCst);
        self.shared.up.allowance.store(UNLIMITED, Ordering::SeqCst);
    }

    /// Cuts what stands now.
    pub fn cut(&self) {
        self.shared.cut_all();
    }

    /// How many times the link was cut.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Keeps the connections open and passes nothing more.
    pub fn stall(&self) {
        *self.shared.stalled.lock().unwrap() = true;
    }

    pub fn resume(&self) {
        *self.shared.stalled.lock().unwrap() = false;
        self.shared.resumed.notify_all();
    }

    /// Closes new connections at once while set, as if the master were away.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refusing.store(refuse, Ordering::SeqCst);
    }

    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.lane(direction).passed.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.resume();
        self.shared.cut_all();
        // Wakes the acceptor, which then sees that it is to stop.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::Down => &self.down,
            Direction::Up => &self.up,
        }
    }

    fn cut_all(&self) {
        for (_, (one, other)) in std::mem::take(&mut *self.open.lock().unwrap()) {
            self.cuts.fetch_add(1, Ordering::SeqCst);
            let _ = one.shutdown(Shutdown::Both);
            let _ = other.shutdown(Shutdown::Both);
        }
    }

    fn close(&self, number: u64) {
        if let Some((one, other)) = self.open.lock().unwrap().remove(&number) {
            let _ = one.shutdown(Shutdown::Both);
            let _ = other.shutdown(Shutdown::Both);
        }
    }

    fn wait_while_stalled(&self) {
        let stalled = self.stalled.lock().unwrap();
        drop(self.resumed.wait_while(stalled, |stalled| *stalled).unwrap());
    }
}

fn accept(listener: &TcpListener, target: u16, shared: &Arc<Shared>) {
    for (number, incoming) in (0..).zip(listener.incoming()) {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(replica) = incoming else { continue };
        if shared.refusing.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(master) = TcpStream::connect(("127.0.0.1", target)) else { continue };
        let _ = (replica.set_nodelay(true), master.set_nodelay(true));
        let share = |socket: &TcpStream| socket.try_clone().expect("sharing a socket");
        let others = (share(&replica), share(&master));
        shared.open.lock().unwrap().insert(number, (share(&replica), share(&master)));
        let (of_down, of_up) = (shared.clone(), shared.clone());
        thread::spawn(move || pump(&of_down, Direction::Down, number, master, replica));
        thread::spawn(move || pump(&of_up, Direction::Up, number, others.0, others.1));
    }
}

fn pump(shared: &Shared, direction: Direction, number: u64, mut from: TcpStream, mut to: TcpStream) {
    let lane = shared.lane(direction);
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        shared.wait_while_stalled();
        let allowed = lane.allowance.load(Ordering::SeqCst);
        let pass = count.min(allowed.max(0) as usize);
        if to.write_all(&buffer[..pass]).is_err() {
            break;
        }
        lane.passed.fetch_add(pass as u64, Ordering::SeqCst);
        if allowed == UNLIMITED {
            continue;
        }
        // Only this pump lowers the allowance; a new order in between wins.
        let left = allowed - pass as i64;
        if left > 0 {
            let _ = lane.allowance.compare_exchange(allowed, left, Ordering::SeqCst, Ordering::SeqCst);
        } else {
            let _ = lane.allowance.compare_exchange(allowed, UNLIMITED, Ordering::SeqCst, Ordering::SeqCst);
            // Refuse first: the slave may be back before this thread runs again.
            let refuse = shared.refuse_after_cut.load(Ordering::SeqCst);
            shared.refusing.fetch_or(refuse, Ordering::SeqCst);
            shared.cuts.fetch_add(1, Ordering::SeqCst);
            break;
        }
    }
    shared.close(number);
}
