//! The embedding API: nodes in your own process, and ways to talk to them without a socket.
//!
//! # Nodes
//!
//! [`Node::builder`] takes everything that a conf file would say, [`NodeBuilder::start`] starts the node's actors on the calling thread, and the
//! [`NodeHandle`] tells its addresses and stops it. Several nodes live side by side, in one thread or in many: nothing is static. Errors are types:
//! [`BuildError`] and [`StartError`] before it runs, [`NodeFailure`] should it stop by itself, [`ClientError`] for commands.
//!
//! # Clients
//!
//! | | thread | waits for replies | one connection |
//! |---|---|---|---|
//! | [`Client`] | the node's own | by futures, in the turn that sockets have | shared by its clones |
//! | [`RemoteClient`] | any (`Send`) | by futures, through the node's [`NodeActor`] | shared by all remote clients |
//! | [`NodeActor`] | any | as actix does: messages and `Addr`s | the same |
//!
//! All of them have the common commands with types, by the trait [`Commands`], and say any other as words or bytes, with the reply as a [`Value`] or as
//! any type that [`FromValue`] knows. A [`Batch`] is several commands in one go, or a transaction. Blocking commands are futures: drop one, and it ends.
//! [`Client::subscribe`] listens to channels; [`NodeHandle::events`] tells what happens to replication.
//!
//! # Shutdown
//!
//! [`NodeHandle::stop`] is the way to stop a node: it waits for slaves that lag (`shutdown-timeout`) and saves as SHUTDOWN does, closes its sockets when replies are written, and returns when all is done. If the
//! `System` ends first (`System::stop`, or `block_on` returns), actix drops the node's actors where they stand, and nothing can be awaited any more: then
//! the node saves if it has save points, on the spot, and its sockets close. Replies that were not written, and the last of the stream to slaves, may be lost;
//! slaves go on from there when they find a master again. What still waits for a reply is told [`ClientError::Closed`]. A bare `LocalSet` that is dropped ends the
//! node as well, without saving. A panic while a node works stops that node alone ([`NodeFailure::Panic`]).

#![warn(missing_docs)]

mod batch;
mod builder;
mod client;
mod commands;
mod convert;
mod error;
mod events;
mod node;
mod pubsub;
mod remote;
mod start;

pub use batch::Batch;
pub use builder::{BuildError, NodeBuilder};
pub use client::{Call, Client};
pub use commands::Commands;
pub use convert::{FromValue, KeyEntries, Pair, StreamEntry, Typed};
pub use error::ClientError;
pub use events::NodeEvents;
pub use node::{Node, NodeHandle};
pub use pubsub::{Message, Subscription};
pub use remote::{Listen, NodeActor, NodeEventOccurred, RemoteCall, RemoteClient, RemoteSubscription, Say, SayTogether, StopNode, Subscribe};

pub use crate::actor::{NodeFailure, StartError};
pub use crate::replication::{
    Direction, LinkDownCause, NodeEvent, PsyncRefusal, ReplId, ReplOffset, StreamPos, SyncNumber, SyncOutcome, SyncReason, SyncRecord,
};
pub use crate::resp::{ErrorKind, ReplyError, Value};

#[cfg(test)]
mod tests;
