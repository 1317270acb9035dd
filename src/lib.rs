//! replikant: a Redis-compatible in-memory database made of actors, built for replication.

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
pub mod server;
#[cfg(feature = "sim")]
pub mod sim;
pub mod types;

/// The version that clients, Sentinel and RDB's `redis-ver` are told: they decide by it what the server can do. 7.2 has what we have.
pub const REDIS_VERSION_CLAIMED: &str = "7.2.4";
