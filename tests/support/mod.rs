//! What tests of whole servers share: a client, daemons (ours and the real ones), a replica made by hand, a link that breaks on order,
//! and waiting for a condition with a deadline. Used by several crates, none of which uses all of it.
#![allow(dead_code, unused_imports)]

pub mod chunks;
pub mod client;
pub mod daemon;
pub mod data;
pub mod hand_master;
pub mod link;
pub mod mixed;
pub mod peers;
pub mod process;
pub mod sentinel;
pub mod sync;
pub mod tap;

use std::time::{Duration, Instant};

pub use client::{Client, Value};
pub use daemon::{Daemon, Kind};
pub use hand_master::{HandLink, HandMaster};
pub use link::{Direction, Link};
pub use peers::Peer;
pub use sync::{digest, info, info_u64, offset, replicate, wait_in_sync, wait_link_up};

/// How long a condition may take that a healthy server meets in well under a second. Machines that run tests are slow and shared.
pub const SOON: Duration = Duration::from_secs(30);
/// The same for a whole sync of a large data set.
pub const LATER: Duration = Duration::from_secs(150);

const POLL: Duration = Duration::from_millis(10);

/// Leaves the others a moment, in a loop that only keeps a server busy; nothing is waited for.
pub fn pace(pause: Duration) {
    std::thread::sleep(pause);
}

/// Asks until there is an answer; panics with `what` at the deadline.
#[track_caller]
pub fn wait_for<T>(deadline: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} for {what}");
        std::thread::sleep(POLL);
    }
}
