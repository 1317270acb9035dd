//! The simulated world (feature `sim`): hosts, network, disks and clocks behind the traits of `env`, all on one thread and in virtual
//! time, so that the very actors of the server run in it and a seed decides everything that happens.
//!
//! [`World`] holds hosts; [`World::env`] is what a node on a host is given; [`Network`] and [`SimDisk`] take the faults; [`SimClient`]
//! talks to a server as any client does; [`World::trace`] tells what happened, the same to the byte for the same seed.
//! What could break that promise, and is not to be used by code that runs here: `tokio::select!` without `biased`, a randomly seeded
//! map's order, real time, and threads.

mod client;
mod clock;
mod disk;
mod net;
mod panics;
mod spawn;
mod trace;
mod wire;
mod workload;
mod world;

pub use client::{SimClient, Value};
pub use clock::{SimClock, UNIX_US_AT_START};
pub use disk::SimDisk;
pub use net::{ConnInfo, Network, SimNet};
pub use spawn::SimSpawner;
pub use trace::Trace;
pub use wire::Latency;
pub use workload::Workload;
pub use world::{Host, World};

#[cfg(test)]
mod tests;
