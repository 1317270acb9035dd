//! The world outside: clock, randomness, network, disk, threads and the allocator, each behind a trait, so that a simulated
//! world can stand in for the real one. Nothing else in the crate names `SystemTime`, `tokio::net`, `std::fs`,
//! `std::thread` or a random source. A leaf: imports nothing of the crate.

mod allocator;
mod clock;
mod disk;
mod mistakes;
mod net;
mod random;
mod spawn;

use std::sync::Arc;

pub use allocator::{Allocator, UnknownAllocator};
pub use clock::{Clock, CpuUsage, RealClock, thread_cpu_ns};
pub use disk::{Disk, DiskFile, RealDisk};
pub use mistakes::Mistake;
pub use net::{Addr, ListenAddr, Listener, Net, RealNet, Socket};
pub use random::{Random, SeededRandom};
pub use spawn::{Feed, RealSpawner, Spawner, WorkerExit, is_unwinding};

/// Everything a node asks of the outside world. Cheap to clone; shared by all threads of a node.
#[derive(Clone)]
pub struct Env {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub net: Arc<dyn Net>,
    pub disk: Arc<dyn Disk>,
    pub spawner: Arc<dyn Spawner>,
    pub allocator: Arc<dyn Allocator>,
    /// What a test of the simulation has planted.
    #[cfg(feature = "sim")]
    pub mistake: Option<Mistake>,
    /// As a slave this node says no more of itself than stock Redis does, so that its master sends snapshots as `$EOF:` or `$<length>`, not
    /// in chunks.
    #[cfg(feature = "sim")]
    pub stock_replica: bool,
}

impl Env {
    /// The machine's own clock, entropy, sockets, files and threads.
    pub fn real() -> Env {
        Env {
            clock: Arc::new(RealClock::default()),
            random: Arc::new(SeededRandom::from_entropy()),
            net: Arc::new(RealNet),
            disk: Arc::new(RealDisk),
            spawner: Arc::new(RealSpawner),
            allocator: Arc::new(UnknownAllocator),
            #[cfg(feature = "sim")]
            mistake: None,
            #[cfg(feature = "sim")]
            stock_replica: false,
        }
    }
}
