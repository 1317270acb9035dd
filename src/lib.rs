//! replikant: a Redis-compatible in-memory database made of actors, built for replication.

pub mod actor;
pub mod command;
pub mod config;
pub mod env;
pub mod keyspace;
pub mod persistence;
pub mod rdb;
pub mod replication;
pub mod resp;
#[cfg(feature = "sim")]
pub mod sim;
pub mod types;
