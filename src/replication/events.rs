//! What happens to a node's replication, told to whoever in the process wants to hear it. Emitted where the state changes; nobody waits for a listener: one
//! that is too slow loses the oldest events, and is told how many.

use tokio::sync::broadcast;

use super::{ReplOffset, SyncRecord};

/// Events that a listener may be behind.
const EVENTS_MAX: usize = 1024;

/// Something that has happened to a node's replication.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// The link to the master is up: the stream is followed from here on.
    LinkUp {
        /// The master, as host and port.
        master: String,
        /// What has been applied of its stream.
        offset: ReplOffset,
    },
    /// The link to the master has ended, or an attempt to link up has failed. The node tries again by itself.
    LinkDown {
        /// The master, as host and port.
        master: String,
        /// Whether the link had been up.
        was_up: bool,
        /// What kind of failure it was.
        cause: LinkDownCause,
        /// The failure in words, as INFO tells it.
        why: String,
    },
    /// A sync begins, with the master or with a slave ([`SyncRecord::direction`]). [`SyncRecord::reason`] tells why a full one is needed.
    SyncBegan(SyncRecord),
    /// A sync is over: [`SyncRecord::outcome`] tells how.
    SyncEnded(SyncRecord),
    /// A slave has all that it lacked, and gets the stream.
    SlaveAttached {
        /// Where it serves, as host and port.
        slave: String,
    },
    /// A slave's connection has ended.
    SlaveGone {
        /// Where it served, as host and port.
        slave: String,
    },
    /// The node was a slave, and is a master: by REPLICAOF NO ONE, or by a failover.
    Promoted {
        /// The name of its history from now on.
        replid: String,
    },
    /// The node follows this master from now on, whatever it was before.
    Follows {
        /// The master's host.
        host: String,
        /// The master's port.
        port: u16,
    },
    /// The listener was too slow: so many events are lost.
    Missed(u64),
    /// The node has stopped: the last event.
    Stopped,
}

/// What kind of failure ended a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkDownCause {
    /// The master has closed the connection, or it was closed from this side.
    Closed,
    /// The network.
    Io,
    /// Nothing came for `repl-timeout`.
    Timeout,
    /// The master refuses, or is not ready, or breaks the protocol.
    Refused,
    /// The snapshot can't be loaded.
    Snapshot,
    /// A command of the stream can't be applied here.
    Stream,
    /// Something else.
    Other,
}

/// Where events go. Without listeners an event costs a look at a counter.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<NodeEvent>);

impl Default for Events {
    fn default() -> Self {
        Events(broadcast::Sender::new(EVENTS_MAX))
    }
}

impl Events {
    /// Tells an event, which is made only if somebody listens.
    pub fn emit(&self, event: impl FnOnce() -> NodeEvent) {
        if self.0.receiver_count() > 0 {
            // The last listener may just have gone.
            let _ = self.0.send(event());
        }
    }

    /// Events from now on.
    pub fn listen(&self) -> broadcast::Receiver<NodeEvent> {
        self.0.subscribe()
    }
}
