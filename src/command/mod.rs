//! Commands: the table of rows, the checks before and the effects after, one file a family with its rows at the foot. Never sockets:
//! replies go to a buffer, wishes to actors into `NodeState::requests`.

mod blocked;
mod client;
mod clients;
mod context;
mod error;
mod evict;
mod execute;
mod spec;
mod state;
mod stats;
mod table;

mod bitfield;
mod bitmaps;
mod client_commands;
mod client_list;
mod client_memory;
mod config;
mod connection;
mod debug;
mod docs;
mod dump;
mod expire;
mod expire_cycle;
mod explain;
mod failover;
mod flush;
mod geo;
mod hash_due;
mod hash_ex;
mod hash_expiry;
mod hash_walks;
mod hashes;
mod help;
mod hyperloglog;
mod info;
mod introspect;
mod key_range;
mod key_specs;
mod key_waits;
#[cfg(test)]
mod key_waits_tests;
mod keys;
mod latency;
mod latency_report;
mod lcs;
mod lists;
mod lists_find;
mod lists_move;
mod memory;
mod memory_doctor;
mod mend;
mod mend_copy;
mod monitor;
mod notify;
mod object;
mod own_expires;
mod pubsub;
mod pubsub_commands;
mod replication;
mod role_info;
mod scan;
mod scripting;
mod server;
mod set;
mod set_operations;
mod sets;
mod shutdown;
mod slowlog;
mod snapshot;
mod sort;
mod streams;
mod strings;
#[cfg(test)]
mod testing;
mod transaction;
mod verify;
mod verify_link;
mod wait;
mod zset;

pub use blocked::Blocked;
pub use client::{Client, ClientFlags, ReplyMode, Slot};
pub use clients::Clients;
pub use context::Ctx;
pub use error::{CmdResult, CommandError};
pub use evict::{Eviction, Room};
pub use execute::{Executed, execute, full_name};
pub use expire_cycle::{CycleKind, ExpireCycle, active_expire_cycle, slow_budget_ns_per_second};
pub use latency::Latency;
pub use mend::{Mend, Mended};
pub use pubsub::PubSub;
pub use role_info::replica_address;
pub use scripting::{Bystanders, Functions, Scripts};
pub use shutdown::{Shutdown, ShutdownHow};
pub use spec::{Acl, Begin, Find, Flags, KeySpec, Propagate, Spec};
pub use state::{Effects, Loading, NodeState, Request};
pub use stats::Stats;
pub use table::CommandTable;
pub(crate) use transaction::discard;
pub use verify::{Verification, VerifyOrder, VerifyProgress, VerifyResult};
pub use verify_link::Marked;

/// Every row, family by family: the one list of commands.
pub(crate) fn families() -> Vec<&'static [Spec]> {
    let families = [
        bitfield::ROWS,
        bitmaps::ROWS,
        client_commands::ROWS,
        config::ROWS,
        connection::ROWS,
        debug::ROWS,
        dump::ROWS,
        expire::ROWS,
        explain::ROWS,
        failover::ROWS,
        flush::ROWS,
        hash_ex::ROWS,
        hash_expiry::ROWS,
        hash_walks::ROWS,
        hashes::ROWS,
        hyperloglog::ROWS,
        info::ROWS,
        introspect::ROWS,
        keys::ROWS,
        latency::ROWS,
        lcs::ROWS,
        lists::ROWS,
        lists_find::ROWS,
        lists_move::ROWS,
        memory::ROWS,
        monitor::ROWS,
        object::ROWS,
        pubsub_commands::ROWS,
        replication::ROWS,
        scan::ROWS,
        scripting::ROWS,
        scripting::FUNCTION_ROWS,
        server::ROWS,
        shutdown::ROWS,
        set::ROWS,
        set_operations::ROWS,
        sets::ROWS,
        slowlog::ROWS,
        sort::ROWS,
        streams::append::ROWS,
        streams::claim::ROWS,
        streams::groups::ROWS,
        streams::info::ROWS,
        streams::pending::ROWS,
        streams::range::ROWS,
        streams::read::ROWS,
        streams::remove::ROWS,
        strings::ROWS,
        transaction::ROWS,
        wait::ROWS,
    ];
    families.into_iter().chain(geo::ALL).chain(zset::ROWS).collect()
}
