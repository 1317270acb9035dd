//! replikant: a Redis-compatible in-memory database made of actors, built for replication.
//!
//! # Map
//!
//! Floors, from the top; imports go downward only.
//!
//! - `main.rs`: the process: command line, signals, allocator. No node logic.
//! - [`server`]: the embedding API: a node is built, started, asked for its addresses, stopped. [`sim`](crate) (feature `sim`): a simulated world for the same nodes.
//! - [`actor`]: the shells. Connections read, the Keyspace runs the turn, ReplicationMaster and ReplicaSessions feed slaves, ReplicaClient follows a
//!   master, SnapshotWorkers encode on threads of their own. No parsing of commands, no data structures.
//! - [`command`]: the table of commands, one file a family, the checks before and the effects after; the node's state that they work on. Never a socket.
//! - [`script`]: the Lua interpreter and its sandbox. No commands: a host runs those.
//! - [`persistence`]: snapshot files and spools. No encoding.
//! - [`keyspace`]: databases, the table, collections, expiry, capture for snapshots. No clients, no wire, no clock but what it is told.
//! - [`replication`]: the stream with its numbering and backlog, the PSYNC decision, the slave's handshake as a state machine. No I/O, no actors.
//! - [`rdb`]: bytes to values and back.
//! - [`resp`]: requests and replies. [`types`]: what values are made of. [`config`]: directives. [`env`]: clock, randomness, network, disk, threads: the only
//!   place that names the world outside.
//!
//! # A request
//!
//! A socket's bytes are read by its `Connection`'s pump into the connection's buffer; the connection goes to the node's inbox; the first one there sends
//! the `Keyspace` one `Drain`. The turn (`actor/turn.rs`) parses slices of the buffers, hashes keys, prefetches, executes in order
//! ([`command::execute`]), encodes into the clients' output, writes each socket once. Effects of writes are in the stream by then; `ReplicationMaster` has one
//! notice a turn.
//!
//! # Invariants
//!
//! - One core numbers the stream ([`replication::Stream`]); nothing else adds to its offset.
//! - A snapshot's cut is between two turns. Each key is captured once per snapshot.
//! - A slave's data is replaced only by a snapshot that was received whole and verified; its offset counts what has been applied.
//! - What a peer claims is never allocated before it arrives.

pub mod actor;
pub mod command;
pub mod config;
pub mod env;
pub mod keyspace;
pub mod log;
pub mod persistence;
pub mod rdb;
pub mod replication;
pub mod resp;
pub mod script;
pub mod server;
#[cfg(feature = "sim")]
pub mod sim;
pub mod types;

/// The version that clients, Sentinel and RDB's `redis-ver` are told: they decide by it what the server can do. 7.2 has what we have.
pub const REDIS_VERSION_CLAIMED: &str = "7.2.4";
