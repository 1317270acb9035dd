//! Several commands that are handed over together.

use super::ClientError;
use super::client::check;
use crate::resp::{Value, encode_command};

/// Commands that say where a transaction begins and ends, and what it depends on.
const TRANSACTIONAL: [&[u8]; 4] = [b"multi", b"exec", b"discard", b"watch"];
/// Commands that change what a connection's later commands do.
const STATEFUL: [&[u8]; 7] = [b"select", b"multi", b"exec", b"discard", b"watch", b"unwatch", b"client"];

/// Commands for [`Client::pipeline`](super::Client::pipeline) and [`Client::transaction`](super::Client::transaction). Can be used again and again.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    len: usize,
    /// The first command that can't be said in a batch.
    refused: Option<ClientError>,
    /// The first command that changes its connection, which may be shared.
    stateful: Option<ClientError>,
    /// The first command that has no place inside a transaction.
    transactional: Option<ClientError>,
}

impl Batch {
    /// Without commands.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Adds a command: its name and its arguments.
    pub fn cmd<A: AsRef<[u8]>>(mut self, args: &[A]) -> Self {
        self.push(args);
        self
    }

    /// As [`Batch::cmd`], in place.
    pub fn push<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        let args: smallvec::SmallVec<[&[u8]; 16]> = args.iter().map(AsRef::as_ref).collect();
        match check(&args) {
            Ok(()) => {
                let is_in = |names: &[&[u8]]| names.iter().any(|name| name.eq_ignore_ascii_case(args[0]));
                let not_here = || ClientError::NotHere(String::from_utf8_lossy(args[0]).into_owned());
                if is_in(&STATEFUL) {
                    self.stateful.get_or_insert_with(not_here);
                }
                if is_in(&TRANSACTIONAL) {
                    self.transactional.get_or_insert_with(not_here);
                }
                encode_command(&mut self.bytes, &args);
                self.len += 1;
            }
            Err(error) => {
                self.refused.get_or_insert(error);
            }
        }
    }

    /// How many commands it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// For a connection that others have as well: refuses what would change it for them.
    pub(super) fn shared(mut self) -> Self {
        self.refused = self.refused.or_else(|| self.stateful.take());
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn check(&self, is_transaction: bool) -> Result<(), ClientError> {
        match self.refused.as_ref().or(self.transactional.as_ref().filter(|_| is_transaction)) {
            Some(error) => Err(error.clone()),
            None if self.is_empty() => Err(ClientError::Empty),
            None => Ok(()),
        }
    }
}

/// What EXEC has said; if it has refused, the reason is the reply of the command that could not be queued.
pub(super) fn transaction_result(mut replies: Vec<Value>) -> Result<Value, ClientError> {
    match replies.pop() {
        Some(Value::Error(aborted)) => {
            let cause = replies.into_iter().find_map(|reply| match reply {
                Value::Error(error) => Some(error),
                _ => None,
            });
            Err(ClientError::Refused(cause.unwrap_or(aborted)))
        }
        Some(value) => Ok(value),
        None => Err(ClientError::Closed),
    }
}
