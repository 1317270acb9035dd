//! The embedding API: a node is built, started within the caller's actix `System`, asked for its addresses, spoken to without a socket, stopped.
//! Several nodes live side by side in one thread or in many; nothing is static.

mod batch;
mod builder;
mod client;
mod commands;
mod convert;
mod error;
mod events;
mod node;
mod pubsub;
mod start;

pub use batch::Batch;
pub use builder::{BuildError, NodeBuilder};
pub use client::{Call, Client};
pub use commands::Commands;
pub use convert::{FromValue, StreamEntry, Typed};
pub use error::ClientError;
pub use events::NodeEvents;
pub use node::{Node, NodeHandle};
pub use pubsub::{Message, Subscription};

pub use crate::actor::{NodeFailure, StartError};
pub use crate::replication::{Direction, LinkDownCause, NodeEvent, PsyncRefusal, ReplOffset, SyncOutcome, SyncReason, SyncRecord};
pub use crate::resp::{ErrorKind, ReplyError, Value};

#[cfg(test)]
mod tests;
