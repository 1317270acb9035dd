//! A node's events as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::{BoxStream, StreamExt, unfold};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::replication::NodeEvent;

/// What happens to a node's replication, from the moment of [`NodeHandle::events`](super::NodeHandle::events) on. It can be sent to another thread, and ends
/// when the node has stopped. One that is not read for long loses the oldest events, and is told so by [`NodeEvent::Missed`].
///
/// ```
/// use futures::StreamExt;
/// use replikant::server::{Commands, Node, NodeEvent};
///
/// # actix_rt::System::new().block_on(async {
/// let master = Node::builder().start().await?;
/// let slave = Node::builder().start().await?;
/// let mut events = slave.events();
/// slave.client().replica_of("127.0.0.1", master.port()).await?;
/// while let Some(event) = events.next().await {
///     match event {
///         NodeEvent::SyncBegan(sync) => println!("a {} sync, because: {}", if sync.reason.is_full() { "full" } else { "partial" }, sync.reason.code()),
///         NodeEvent::LinkUp { master, offset } => {
///             println!("linked to {master} at {}", offset.0);
///             break;
///         }
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct NodeEvents {
    events: BoxStream<'static, NodeEvent>,
}

impl NodeEvents {
    pub(super) fn new(receiver: Receiver<NodeEvent>) -> Self {
        let events = unfold(Some(receiver), async |receiver| {
            let mut receiver = receiver?;
            let event = match receiver.recv().await {
                Ok(NodeEvent::Stopped) => return Some((NodeEvent::Stopped, None)),
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => NodeEvent::Missed(missed),
                Err(RecvError::Closed) => return None,
            };
            Some((event, Some(receiver)))
        });
        NodeEvents { events: events.boxed() }
    }
}

impl Stream for NodeEvents {
    type Item = NodeEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<NodeEvent>> {
        self.events.poll_next_unpin(cx)
    }
}
