//! Whole servers, driven from outside: ours as processes beside the real ones. One file a family.
//! `REPLIKANT_STAND_IN=7.0.15` runs a real server in the place of ours, which shows whether a failing test is right about Redis.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod admission;
mod blocking;
mod chain;
mod chaos;
mod clients;
mod command_keys;
mod command_table;
mod config_cli;
mod coverage;
mod cuts;
mod differential;
mod eviction;
mod explain;
mod failover;
mod feed;
mod hashes;
mod info_fields;
mod load_modes;
mod monitor;
mod network_limits;
mod notifications;
mod payloads;
mod persistence;
mod pubsub;
mod real_peers;
mod reparent;
mod replica_directives;
mod replica_refusals;
mod replication_views;
mod restarts;
mod resume;
mod resumed_syncs;
mod safe_swap;
mod scripts;
mod sentinel;
mod shutdown;
mod snapshots;
mod spill;
mod streams;
mod suspension;
mod verification;
mod walkthrough;
mod zsets;
