//! What can go wrong between a host application and its node, as types.

use crate::resp::{ReplyError, Value};

/// Why a command has no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The node has replied with an error; [`ReplyError::kind`] tells which.
    #[error("{0}")]
    Refused(ReplyError),
    /// The connection has been closed: the node has stopped, CLIENT KILL has been said, or messages were not taken for too long.
    #[error("the connection is closed")]
    Closed,
    /// The reply is of another type than what was asked for.
    #[error("the reply is of type {found}, where {wanted} was asked for")]
    Type {
        /// What the caller wanted.
        wanted: &'static str,
        /// What kind of value came.
        found: &'static str,
    },
    /// A command that changes what replies look like, or whose replies are no replies (SUBSCRIBE, MONITOR, HELLO, ...): there is another way for it, or
    /// none without a socket.
    #[error("'{0}' can't be said on this connection")]
    NotHere(String),
    /// No words: not even the command's name.
    #[error("an empty command")]
    Empty,
}

impl ClientError {
    pub(super) fn mismatch(wanted: &'static str, found: &Value) -> ClientError {
        match found {
            Value::Error(error) => ClientError::Refused(error.clone()),
            other => ClientError::Type { wanted, found: other.kind() },
        }
    }
}

impl From<crate::actor::Closed> for ClientError {
    fn from(_: crate::actor::Closed) -> Self {
        ClientError::Closed
    }
}
