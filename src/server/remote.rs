//! A node spoken to from other threads, and by actors: one actor on the node's thread takes messages and says what they ask for.
//!
//! Owns: a connection without a socket, opened with the first message. Receives: [`Say`], [`SayTogether`], [`Listen`], [`Subscribe`], [`StopNode`]. Stops when the
//! node has stopped; messages that come later are refused as closed.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use actix::prelude::*;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, FutureExt, select};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::batch::Batch;
use super::client::{Client, Kind, waits_for_keys};
use super::convert::{FromValue, Typed};
use super::events::NodeEvents;
use super::pubsub::{Message as ChannelMessage, Subscription};
use super::{ClientError, Commands, NodeEvent};
use crate::actor::Shell;
use crate::command::{Request, ShutdownHow};
use crate::resp::Value;

/// Messages that wait to be taken by a listener on another thread; above it the node keeps them, within its limits.
const MESSAGES_MAX: usize = 1024;
/// Messages of other actors that wait in the mailbox before senders have to.
const MAILBOX_LEN: usize = 1024;

/// The actor through which other actors, on any thread, speak to a node: see the messages [`Say`], [`SayTogether`], [`Subscribe`], [`Listen`] and
/// [`StopNode`]. [`NodeHandle::actor`](super::NodeHandle::actor) gives its address.
///
/// ```
/// use replikant::server::{Batch, Node, Say, SayTogether, Value};
///
/// # actix_rt::System::new().block_on(async {
/// let node = Node::builder().no_listener().start().await?;
/// let address = node.actor();
/// assert_eq!(address.send(Say::new(&["INCR", "hits"])).await?, Ok(Value::Int(1)));
/// let both = address.send(SayTogether::transaction(Batch::new().cmd(&["INCR", "hits"]).cmd(&["DEL", "hits"]))).await?;
/// assert_eq!(both, Ok(Value::Array(vec![Value::Int(2), Value::Int(1)])));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct NodeActor {
    shell: Rc<Shell>,
    client: Option<Client>,
}

/// One command for the node. Commands that change their connection's state (SELECT, MULTI, WATCH, ...) are refused: all senders share it.
#[derive(Message)]
#[rtype(result = "Result<Value, ClientError>")]
pub struct Say {
    batch: Batch,
    blocks: bool,
}

impl Say {
    /// A command's name and arguments. One that may wait for keys, such as BLPOP, has a connection of its own, so that no other sender waits behind it. It goes
    /// on waiting, and takes what comes, when the sender waits no more; [`RemoteClient`]'s blocking calls end then.
    pub fn new<A: AsRef<[u8]>>(args: &[A]) -> Self {
        Say { batch: Batch::new().cmd(args).shared(), blocks: waits_for_keys(args) }
    }

    /// Any command on a connection of its own.
    pub fn blocking<A: AsRef<[u8]>>(args: &[A]) -> Self {
        Say { blocks: true, ..Say::new(args) }
    }
}

/// Several commands that nothing of the same connection comes between.
#[derive(Message)]
#[rtype(result = "Result<Value, ClientError>")]
pub struct SayTogether {
    batch: Batch,
    kind: Kind,
}

impl SayTogether {
    /// Each for itself: an array with an entry for each, which may be an error.
    pub fn pipeline(batch: Batch) -> Self {
        SayTogether { batch: batch.shared(), kind: Kind::Pipeline }
    }

    /// All or nothing, and nobody else between: what EXEC replies.
    pub fn transaction(batch: Batch) -> Self {
        SayTogether { batch: batch.shared(), kind: Kind::Transaction }
    }
}

/// Listens to channels and patterns: the reply is a stream of their messages.
#[derive(Message)]
#[rtype(result = "Result<RemoteSubscription, ClientError>")]
pub struct Subscribe {
    /// Channels by name.
    pub channels: Vec<Vec<u8>>,
    /// Channels by pattern.
    pub patterns: Vec<Vec<u8>>,
}

/// Sends every [`NodeEvent`] from now on to an actor, for as long as it lives.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Listen(pub Recipient<NodeEventOccurred>);

/// A [`NodeEvent`] as a message: what a [`Listen`]er is sent.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct NodeEventOccurred(pub NodeEvent);

/// Stops the node as SHUTDOWN does: `save` as asked, or (`None`) by the save points. It is done when [`NodeEvent::Stopped`] comes.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopNode {
    /// Whether to save first.
    pub save: Option<bool>,
}

/// A command that may wait, and whose sender may give up.
#[derive(Message)]
#[rtype(result = "()")]
struct SayUntilGone {
    batch: Batch,
    reply: oneshot::Sender<Result<Value, ClientError>>,
}

impl NodeActor {
    pub(super) fn new(shell: Rc<Shell>) -> Self {
        NodeActor { shell, client: None }
    }

    fn client(&mut self) -> &Client {
        self.client.get_or_insert_with(|| Client::open(&self.shell))
    }
}

impl Actor for NodeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX_LEN);
        let shell = self.shell.clone();
        let stopped = async move { shell.wait_stopped().await };
        ctx.spawn(stopped.into_actor(self).map(|_, _, ctx| ctx.stop()));
    }
}

impl Handler<Say> for NodeActor {
    type Result = ResponseFuture<Result<Value, ClientError>>;

    fn handle(&mut self, message: Say, _: &mut Context<Self>) -> Self::Result {
        let client = self.client();
        match message.blocks {
            true => Box::pin(client.connect().start(&message.batch, Kind::One)),
            false => Box::pin(client.start(&message.batch, Kind::One)),
        }
    }
}

impl Handler<SayTogether> for NodeActor {
    type Result = ResponseFuture<Result<Value, ClientError>>;

    fn handle(&mut self, message: SayTogether, _: &mut Context<Self>) -> Self::Result {
        Box::pin(self.client().start(&message.batch, message.kind))
    }
}

impl Handler<SayUntilGone> for NodeActor {
    type Result = ();

    fn handle(&mut self, mut message: SayUntilGone, ctx: &mut Context<Self>) {
        let call = self.client().connect().start(&message.batch, Kind::One);
        let wait = async move {
            let done = match select(call, message.reply.cancellation()).await {
                Either::Left((result, _)) => Some(result),
                Either::Right(((), _)) => None,
            };
            if let Some(result) = done {
                // The sender may just have given up.
                let _ = message.reply.send(result);
            }
        };
        ctx.spawn(wait.into_actor(self));
    }
}

impl Handler<Subscribe> for NodeActor {
    type Result = ResponseFuture<Result<RemoteSubscription, ClientError>>;

    fn handle(&mut self, message: Subscribe, _: &mut Context<Self>) -> Self::Result {
        let client = self.client().clone();
        Box::pin(async move {
            let mut subscription = match message.channels.is_empty() {
                false => client.subscribe(&message.channels).await?,
                true => client.psubscribe(&message.patterns).await?,
            };
            if !message.channels.is_empty() && !message.patterns.is_empty() {
                subscription.psubscribe(&message.patterns).await?;
            }
            let (sender, messages) = mpsc::channel(MESSAGES_MAX);
            actix_rt::spawn(forward(subscription, sender));
            Ok(RemoteSubscription { messages })
        })
    }
}

/// Hands messages on until the other end is dropped, or the subscription ends.
async fn forward(mut subscription: Subscription, to: mpsc::Sender<ChannelMessage>) {
    loop {
        let message = match select(subscription.next(), pin!(to.closed())).await {
            Either::Left((Some(message), _)) => message,
            Either::Left((None, _)) | Either::Right(_) => return,
        };
        if to.send(message).await.is_err() {
            return;
        }
    }
}

impl Handler<Listen> for NodeActor {
    type Result = ();

    fn handle(&mut self, message: Listen, _: &mut Context<Self>) {
        let mut events = NodeEvents::new(self.shell.state.borrow().syncs.events.listen());
        let tell = async move {
            while let Some(event) = events.next().await {
                if message.0.send(NodeEventOccurred(event)).await.is_err() {
                    return;
                }
            }
        };
        // Outlives this actor, so that the last event is told.
        actix_rt::spawn(tell);
    }
}

impl Handler<StopNode> for NodeActor {
    type Result = ();

    fn handle(&mut self, message: StopNode, _: &mut Context<Self>) {
        self.shell.state.borrow_mut().requests.push(Request::Shutdown(ShutdownHow { save: message.save, ..ShutdownHow::default() }));
        self.shell.wake();
    }
}

/// A client of a node for any thread: cheap to clone, `Send` and `Sync`. Its commands are those of [`Commands`], with two differences to a
/// [`Client`](super::Client): a future that is dropped before it was awaited may not have said anything, and commands that change the connection's state
/// are refused, since all remote clients of a node share one.
///
/// ```
/// use replikant::server::{Commands, Node};
///
/// # actix_rt::System::new().block_on(async {
/// let node = Node::builder().no_listener().start().await?;
/// let client = node.remote_client();
/// let thread = std::thread::spawn(move || {
///     futures::executor::block_on(async {
///         client.set("from", "another thread").await?;
///         client.get("from").await
///     })
/// });
/// while !thread.is_finished() {
///     tokio::task::yield_now().await;
/// }
/// assert_eq!(thread.join().unwrap()?.as_deref(), Some(&b"another thread"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct RemoteClient {
    node: Addr<NodeActor>,
}

impl RemoteClient {
    pub(super) fn new(node: Addr<NodeActor>) -> Self {
        RemoteClient { node }
    }

    /// As [`Client::pipeline`](super::Client::pipeline).
    pub fn pipeline<T: FromValue>(&self, batch: &Batch) -> Typed<RemoteCall, T> {
        Typed::new(RemoteCall::of(self.node.send(SayTogether::pipeline(batch.clone()))))
    }

    /// As [`Client::transaction`](super::Client::transaction), without WATCH.
    pub fn transaction<T: FromValue>(&self, batch: &Batch) -> Typed<RemoteCall, T> {
        Typed::new(RemoteCall::of(self.node.send(SayTogether::transaction(batch.clone()))))
    }

    /// Listens to channels.
    pub async fn subscribe<A: AsRef<[u8]>>(&self, channels: &[A]) -> Result<RemoteSubscription, ClientError> {
        let channels = channels.iter().map(|channel| channel.as_ref().to_vec()).collect();
        self.node.send(Subscribe { channels, patterns: Vec::new() }).await.map_err(|_| ClientError::Closed)?
    }

    /// Listens to the channels that match patterns.
    pub async fn psubscribe<A: AsRef<[u8]>>(&self, patterns: &[A]) -> Result<RemoteSubscription, ClientError> {
        let patterns = patterns.iter().map(|pattern| pattern.as_ref().to_vec()).collect();
        self.node.send(Subscribe { channels: Vec::new(), patterns }).await.map_err(|_| ClientError::Closed)?
    }
}

impl Commands for RemoteClient {
    type Reply = RemoteCall;

    fn send(&self, args: &[&[u8]]) -> RemoteCall {
        let say = Say::new(args);
        if say.blocks {
            return self.send_blocking(args);
        }
        RemoteCall::of(self.node.send(say))
    }

    fn send_blocking(&self, args: &[&[u8]]) -> RemoteCall {
        let Say { batch, .. } = Say::new(args);
        let node = self.node.clone();
        RemoteCall(Box::pin(async move {
            let (reply, result) = oneshot::channel();
            node.send(SayUntilGone { batch, reply }).await.map_err(|_| ClientError::Closed)?;
            result.await.unwrap_or(Err(ClientError::Closed))
        }))
    }
}

/// The reply to come of a [`RemoteClient`]'s command.
#[must_use = "the result, and errors, come when it is awaited"]
pub struct RemoteCall(BoxFuture<'static, Result<Value, ClientError>>);

impl RemoteCall {
    fn of<M>(request: actix::dev::Request<NodeActor, M>) -> Self
    where
        M: Message<Result = Result<Value, ClientError>> + Send + Unpin + 'static,
        NodeActor: Handler<M>,
    {
        RemoteCall(request.map(|answered| answered.unwrap_or(Err(ClientError::Closed))).boxed())
    }

    /// The reply as a type of Rust.
    pub fn into_type<T: FromValue>(self) -> Typed<RemoteCall, T> {
        Typed::new(self)
    }
}

impl Future for RemoteCall {
    type Output = Result<Value, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.0.poll_unpin(cx)))
    }
}

/// The messages of channels, on any thread. It ends as a [`Subscription`] does; dropping it ends the subscription.
pub struct RemoteSubscription {
    messages: mpsc::Receiver<ChannelMessage>,
}

impl Stream for RemoteSubscription {
    type Item = ChannelMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<ChannelMessage>> {
        self.messages.poll_recv(cx)
    }
}
