//! Listening to channels.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::StreamExt;

use super::ClientError;
use crate::actor::LocalConn;
use crate::resp::Value;

/// What somebody has published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The pattern by which it was heard, if it was by one.
    pub pattern: Option<Vec<u8>>,
    /// Where it was published.
    pub channel: Vec<u8>,
    /// What was published.
    pub payload: Vec<u8>,
}

/// The messages of channels, as a stream. It ends when the node stops, or closes the connection because messages were not taken for too long
/// (`client-output-buffer-limit pubsub`). Dropping it ends the subscriptions.
pub struct Subscription {
    conn: Rc<LocalConn>,
    /// Messages that came before the confirmation of a later subscription.
    early: std::collections::VecDeque<Message>,
}

impl Subscription {
    pub(super) fn new(conn: LocalConn) -> Self {
        Subscription { conn: Rc::new(conn), early: Default::default() }
    }

    /// Listens to more channels. Returns when the node has confirmed it.
    pub async fn subscribe<A: AsRef<[u8]>>(&mut self, channels: &[A]) -> Result<(), ClientError> {
        self.change(b"SUBSCRIBE", channels).await
    }

    /// Listens to the channels that match more patterns.
    pub async fn psubscribe<A: AsRef<[u8]>>(&mut self, patterns: &[A]) -> Result<(), ClientError> {
        self.change(b"PSUBSCRIBE", patterns).await
    }

    /// Listens to more shard channels.
    pub async fn ssubscribe<A: AsRef<[u8]>>(&mut self, channels: &[A]) -> Result<(), ClientError> {
        self.change(b"SSUBSCRIBE", channels).await
    }

    /// Listens no more to these channels.
    pub async fn unsubscribe<A: AsRef<[u8]>>(&mut self, channels: &[A]) -> Result<(), ClientError> {
        self.change(b"UNSUBSCRIBE", channels).await
    }

    /// Listens no more by these patterns.
    pub async fn punsubscribe<A: AsRef<[u8]>>(&mut self, patterns: &[A]) -> Result<(), ClientError> {
        self.change(b"PUNSUBSCRIBE", patterns).await
    }

    async fn change<A: AsRef<[u8]>>(&mut self, command: &[u8], names: &[A]) -> Result<(), ClientError> {
        if names.is_empty() {
            return Err(ClientError::Empty);
        }
        let args: Vec<&[u8]> = std::iter::once(command).chain(names.iter().map(AsRef::as_ref)).collect();
        // Each name is confirmed by a push, which is no reply.
        self.conn.say(&args);
        let mut left = names.len();
        while left > 0 {
            let conn = self.conn.clone();
            let parts = futures::future::poll_fn(|cx| conn.poll_push(cx)).await.ok_or(ClientError::Closed)?;
            match message(parts) {
                Some(message) => self.early.push_back(message),
                None => left -= 1,
            }
        }
        Ok(())
    }

    /// The next message; `None` when the subscription has ended.
    pub async fn next_message(&mut self) -> Option<Message> {
        self.next().await
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some(message) = self.early.pop_front() {
            return Poll::Ready(Some(message));
        }
        loop {
            let Some(parts) = ready!(self.conn.poll_push(cx)) else { return Poll::Ready(None) };
            if let Some(message) = message(parts) {
                return Poll::Ready(Some(message));
            }
        }
    }
}

/// A message, or `None` for the confirmation of a subscription or its end.
fn message(parts: Vec<Value>) -> Option<Message> {
    let mut parts = parts.into_iter().map(|part| match part {
        Value::Bulk(bytes) => bytes,
        _ => Vec::new(),
    });
    let mut next = || parts.next().unwrap_or_default();
    match next().as_slice() {
        b"message" | b"smessage" => Some(Message { pattern: None, channel: next(), payload: next() }),
        b"pmessage" => Some(Message { pattern: Some(next()), channel: next(), payload: next() }),
        _ => None,
    }
}
