//! The actors: thin shells around the plain cores. All of a node's actors but the workers live on one thread and share `Shell`.
//!
//! - `Connection`: one client socket. Reads what is there, marks itself ready.
//! - `LocalConn`: one client of this process, without a socket and without an actor.
//! - `Keyspace`: owns the turn: parses, executes and answers what the ready connections have read.
//! - `ReplicationMaster`: owns the stream's readers: starts snapshots, watches over slaves.
//! - `ReplicaSession`: the master's end of one link: writes snapshot and stream to one slave.
//! - `ReplicaClient`: the slave's end: connects, syncs, follows, reconnects.
//! - `SnapshotWorker`: encodes captured chunks to RDB on a thread of its own.
//! - `SpillWorker`: writes and reads, on a thread of its own, what slaves that are far behind still need of the stream.
//! - `Verifier`: compares slaves with their master, and repairs them. `DigestWorker`: digests captured chunks for it on a thread of its own.

mod bystanders;
mod connection;
mod cron;
mod digest_worker;
mod inline;
mod keyspace;
mod listeners;
mod local;
mod replica_attempt;
mod replica_client;
mod replica_load;
mod replica_session;
mod replica_swap;
mod replica_watch;
mod replication_master;
mod shell;
mod snapshot_worker;
mod spill_worker;
mod sync_snapshots;
mod timer;
mod turn;
mod verifier;
mod verifier_plan;

pub(crate) use bystanders::ServeBystanders;
pub use connection::Connection;
pub use keyspace::{Drain, Keyspace};
pub use listeners::StartError;
pub(crate) use listeners::{accept_all, first_port, listen};
pub(crate) use local::{Awaited, Closed, LocalConn};
pub use replica_client::ReplicaClient;
pub use replication_master::ReplicationMaster;
pub use shell::{Addresses, NodeFailure, Shell};
pub use verifier::Verifier;
