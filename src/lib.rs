//! replikant: a Redis-compatible in-memory database made of actors, built for replication. A node is a value in your program.
//!
//! ```
//! use replikant::server::{Batch, Commands, Node};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! actix_rt::System::new().block_on(async {
//!     let master = Node::builder().start().await?; // in memory, on a port that the system chooses
//!     let slave = Node::builder().replica_of("127.0.0.1", master.port()).start().await?;
//!     let client = master.client(); // no socket: the same turn, a microsecond
//!     client.set("greeting", "hello").await?;
//!     let (hits, len): (i64, u64) = client.transaction(&Batch::new().cmd(&["INCR", "hits"]).cmd(&["LPUSH", "log", "x"])).await?;
//!     client.wait_for_replicas(1, std::time::Duration::from_secs(5)).await?;
//!     println!("{hits} {len}; any Redis client can talk to {}", slave.addrs()[0]);
//!     slave.stop(None).await;
//!     master.stop(None).await;
//!     Ok(())
//! })
//! # }
//! ```
//!
//! - [`server`]: nodes, and clients of this process: typed commands, batches, transactions, channels, blocking commands, events, an actor for other actors.
//! - [`feed`]: a change feed that follows the stream of any master, survives restarts, and knows its place.
//! - [`config`], [`env`](mod@env), [`log`]: what a node is told, the world it lives in, where it logs.
//! - `sim` (feature `sim`): a simulated world for the same nodes, by seed.
//!
//! A node lives on the thread that starts it, in that thread's actix `System` (any tokio `LocalSet` will do), uses the `slog` logger that it is given, and
//! shares nothing with other nodes. When the `System` ends first, the node ends with it: see [`server`].
//!
//! # Map
//!
//! Floors, from the top; imports go downward only.
//!
//! - `main.rs`: the process: command line, signals, allocator. No node logic.
//! - `server`: the embedding API; `feed`: a slave that is no node; `sim`: the simulated world.
//! - `actor`: the shells. Connections read, the Keyspace runs the turn, ReplicationMaster and ReplicaSessions feed slaves, ReplicaClient follows a
//!   master, SnapshotWorkers encode on threads of their own. No parsing of commands, no data structures.
//! - `command`: the table of commands, one file a family, the checks before and the effects after; the node's state that they work on. Never a socket.
//! - `script`: the Lua interpreter and its sandbox. No commands: a host runs those.
//! - `persistence`: snapshot files and spools. No encoding.
//! - `keyspace`: databases, the table, collections, expiry, capture for snapshots. No clients, no wire, no clock but what it is told.
//! - `replication`: the stream with its numbering and backlog, the PSYNC decision, the slave's handshake as a state machine. No I/O, no actors.
//! - `rdb`: bytes to values and back.
//! - `resp`: requests and replies. `types`: what values are made of. `config`: directives. `env`: clock, randomness, network, disk, threads: the only
//!   place that names the world outside.
//!
//! # A request
//!
//! A socket's bytes are read by its `Connection`'s pump into the connection's buffer; the connection goes to the node's inbox; the first one there sends
//! the `Keyspace` one `Drain`. The turn (`actor/turn.rs`) parses slices of the buffers, hashes keys, prefetches, executes in order
//! (`command/execute.rs`), encodes into the clients' output, writes each socket once. Effects of writes are in the stream by then; `ReplicationMaster` has one
//! notice a turn.
//!
//! # Invariants
//!
//! - One core numbers the stream (`replication/stream`); nothing else adds to its offset.
//! - A snapshot's cut is between two turns. Each key is captured once per snapshot.
//! - A slave's data is replaced only by a snapshot that was received whole and verified; its offset counts what has been applied.
//! - What a peer claims is never allocated before it arrives.

mod actor;
mod command;
pub mod config;
pub mod env;
pub mod feed;
// Hidden modules are public for the fuzz targets and what these name.
#[doc(hidden)]
pub mod keyspace;
pub mod log;
mod persistence;
#[doc(hidden)]
pub mod rdb;
#[doc(hidden)]
pub mod replication;
#[doc(hidden)]
pub mod resp;
mod script;
pub mod server;
#[cfg(feature = "sim")]
pub mod sim;
#[doc(hidden)]
pub mod types;

/// The version that clients, Sentinel and RDB's `redis-ver` are told: they decide by it what the server can do. 7.2 has what we have.
pub const REDIS_VERSION_CLAIMED: &str = "7.2.4";
