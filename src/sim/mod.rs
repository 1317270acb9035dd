//! The simulated world (feature `sim`): hosts, network, disks and clocks behind the traits of `env`, all on one thread and in virtual
//! time, so that the very actors of the server run in it and a seed decides everything that happens.
//!
//! - [`Simulation`] is a whole run: a [`Cluster`], clients, a schedule of [`Fault`]s, [`Check`]s. A [`Failure`] says how it is replayed, and can be shrunk.
//! - [`Cluster`] has nodes that follow each other, for stories of one's own: [`NodeView`] is what is to be seen of them at one moment.
//! - [`World`] holds hosts; [`World::env`] is what a node on a host is given; [`Network`] and [`SimDisk`] take the faults; [`SimClient`] talks to a
//!   server as any client does; [`World::trace`] tells what happened, the same to the byte for the same seed.
//!
//! What could break that promise, and is not to be used by code that runs here: `tokio::select!` without `biased`, a randomly seeded
//! map's order, real time, and threads.
//!
#![doc = include_str!("../../docs/simulation.md")]

mod checks;
mod client;
mod clients;
mod clock;
mod cluster;
mod digest;
mod disk;
mod drive;
mod failovers;
mod faults;
mod net;
mod panics;
mod promises;
mod shrink;
mod simulation;
mod spawn;
mod trace;
mod wire;
mod workload;
mod world;

pub use checks::{AcksInOrder, Check, EqualDigests, Healthy, Histories, NeverEmpty, standard_checks};
pub use client::{SimClient, Value};
pub use clock::{SimClock, UNIX_US_AT_START};
pub use cluster::{Cluster, NodeView, PORT, base_config};
pub use disk::SimDisk;
pub use faults::{Fault, FaultKind, NotAFault, random_faults};
pub use net::{ConnInfo, Network, SimNet};
pub use shrink::fewest;
pub use simulation::{Failure, Report, Simulation};
pub use spawn::SimSpawner;
pub use trace::Trace;
pub use wire::Latency;
pub use workload::{WORKLOAD_DATABASES, Workload};
pub use world::{Host, World};

#[cfg(test)]
mod tests;
