//! A client in the node's own process and thread: no socket, no copy into a kernel, the very turn of the sockets.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::batch::{Batch, transaction_result};
use super::convert::Typed;
use super::pubsub::Subscription;
use super::{ClientError, Commands, FromValue};
use crate::actor::{Awaited, LocalConn, Shell};
use crate::resp::Value;

/// A client of a node, on the node's thread.
///
/// Clones share one connection, as do the tasks that use them: their commands are executed in the order in which they were handed over, many in one turn.
/// State of a connection (the selected database, WATCH, MULTI said by hand) is therefore shared as well; [`Client::connect`] makes another connection,
/// which costs about as much as a command. A command is handed over by the call, not by `await`: two calls whose futures are awaited later share a turn.
/// It is executed even if its future is dropped; what [`Commands::call_blocking`], `blpop` and the like wait for has a connection of its own, and ends then.
///
/// The commands are in the trait [`Commands`]; whatever is missing there can be said by [`Commands::call`].
///
/// ```
/// use replikant::server::{Commands, Node};
///
/// # actix_rt::System::new().block_on(async {
/// let node = Node::builder().no_listener().start().await?;
/// let client = node.client();
/// client.set("greeting", "hello").await?;
/// assert_eq!(client.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
/// let lengths: Vec<i64> = client.call(&["EVAL", "return {1, 2}", "0"]).into_type().await?;
/// assert_eq!(lengths, [1, 2]);
/// node.stop(None).await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Client {
    conn: Rc<LocalConn>,
}

impl Client {
    pub(super) fn open(shell: &Rc<Shell>) -> Self {
        Client { conn: Rc::new(LocalConn::open(shell)) }
    }

    /// Another connection, in the same database.
    pub fn connect(&self) -> Client {
        Client { conn: Rc::new(self.conn.open_beside()) }
    }

    /// Executes a batch in one go: nothing of this connection comes between its commands, though other clients may. Each command has its own result; to
    /// have errors one by one, ask for `Vec<Result<_, ReplyError>>`.
    ///
    /// ```
    /// use replikant::server::{Batch, Commands, Node, ReplyError};
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let node = Node::builder().no_listener().start().await?;
    /// let client = node.client();
    /// let batch = Batch::new().cmd(&["SET", "n", "5"]).cmd(&["INCR", "n"]).cmd(&["LLEN", "n"]);
    /// let results: Vec<Result<replikant::server::Value, ReplyError>> = client.pipeline(&batch).await?;
    /// assert!(results[0].is_ok() && results[1].is_ok());
    /// assert_eq!(results[2].as_ref().unwrap_err().code(), "WRONGTYPE");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn pipeline<T: FromValue>(&self, batch: &Batch) -> Typed<Call, T> {
        Typed::new(self.start(batch, Kind::Pipeline))
    }

    /// Executes a batch as a transaction, MULTI to EXEC: all of it, with nobody between, or nothing. If a key that [`Commands::watch`] has named was
    /// changed meanwhile, the reply is null: ask for an `Option`. MULTI, EXEC, DISCARD and WATCH have no place in the batch.
    ///
    /// ```
    /// use replikant::server::{Batch, Commands, Node};
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let node = Node::builder().no_listener().start().await?;
    /// let client = node.client();
    /// let batch = Batch::new().cmd(&["INCR", "hits"]).cmd(&["RPUSH", "log", "a", "b"]);
    /// let (hits, len): (i64, i64) = client.transaction(&batch).await?;
    /// assert_eq!((hits, len), (1, 2));
    ///
    /// // Only if nobody else has touched the key since it was read:
    /// let own = client.connect();
    /// own.watch(&["hits"]).await?;
    /// let hits: i64 = own.get("hits").await?.map_or(0, |text| String::from_utf8_lossy(&text).parse().unwrap());
    /// client.incr("hits").await?;
    /// let done: Option<(bool,)> = own.transaction::<Option<Vec<bool>>>(&Batch::new().cmd(&["SET", "hits", &(hits * 2).to_string()])).await?.map(|_| (true,));
    /// assert_eq!(done, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn transaction<T: FromValue>(&self, batch: &Batch) -> Typed<Call, T> {
        Typed::new(self.start(batch, Kind::Transaction))
    }

    /// Listens to channels, by a connection of its own that lasts as long as the [`Subscription`].
    ///
    /// ```
    /// use futures::StreamExt;
    /// use replikant::server::{Commands, Node};
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let node = Node::builder().no_listener().start().await?;
    /// let client = node.client();
    /// let mut news = client.subscribe(&["news"]).await?;
    /// assert_eq!(client.publish("news", "it rains").await?, 1);
    /// let message = news.next().await.unwrap();
    /// assert_eq!((&message.channel[..], &message.payload[..]), (&b"news"[..], &b"it rains"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn subscribe<A: AsRef<[u8]>>(&self, channels: &[A]) -> Result<Subscription, ClientError> {
        let mut subscription = Subscription::new(self.conn.open_beside());
        subscription.subscribe(channels).await?;
        Ok(subscription)
    }

    /// Listens to the channels that match patterns.
    pub async fn psubscribe<A: AsRef<[u8]>>(&self, patterns: &[A]) -> Result<Subscription, ClientError> {
        let mut subscription = Subscription::new(self.conn.open_beside());
        subscription.psubscribe(patterns).await?;
        Ok(subscription)
    }

    pub(super) fn start(&self, batch: &Batch, kind: Kind) -> Call {
        if let Err(error) = batch.check(kind == Kind::Transaction) {
            return Call::failed(error);
        }
        Call::awaiting(self.conn.requests(kind.replies(batch), |input| kind.encode(batch, input)), kind)
    }
}

impl Commands for Client {
    type Reply = Call;

    fn send(&self, args: &[&[u8]]) -> Call {
        match check(args) {
            Ok(()) => Call::awaiting(self.conn.request(args), Kind::One),
            Err(error) => Call::failed(error),
        }
    }

    fn send_blocking(&self, args: &[&[u8]]) -> Call {
        self.connect().send(args)
    }
}

/// What becomes of the replies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    One,
    Pipeline,
    Transaction,
}

impl Kind {
    fn replies(self, batch: &Batch) -> usize {
        batch.len() + if self == Kind::Transaction { 2 } else { 0 }
    }

    fn encode(self, batch: &Batch, input: &mut Vec<u8>) {
        if self == Kind::Transaction {
            input.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
        }
        input.extend_from_slice(batch.bytes());
        if self == Kind::Transaction {
            input.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        }
    }
}

/// The reply to come of a [`Client`]'s command.
#[must_use = "the result, and errors, come when it is awaited"]
pub struct Call {
    state: State,
    kind: Kind,
}

enum State {
    Awaiting(Awaited),
    Failed(ClientError),
}

impl Call {
    fn awaiting(awaited: Awaited, kind: Kind) -> Self {
        Call { state: State::Awaiting(awaited), kind }
    }

    fn failed(error: ClientError) -> Self {
        Call { state: State::Failed(error), kind: Kind::One }
    }

    /// The reply as a type of Rust.
    pub fn into_type<T: FromValue>(self) -> Typed<Call, T> {
        Typed::new(self)
    }
}

impl Future for Call {
    type Output = Result<Value, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut replies = match &mut self.state {
            State::Awaiting(awaited) => ready!(Pin::new(awaited).poll(cx))?,
            State::Failed(error) => return Poll::Ready(Err(error.clone())),
        };
        Poll::Ready(match self.kind {
            Kind::One => match replies.pop() {
                Some(Value::Error(error)) => Err(ClientError::Refused(error)),
                Some(value) => Ok(value),
                None => Err(ClientError::Closed),
            },
            Kind::Pipeline => Ok(Value::Array(replies.into_vec())),
            Kind::Transaction => transaction_result(replies.into_vec()),
        })
    }
}

/// Whether a command may wait until others write. WAIT is not among these: it is about what its own connection has written.
pub(super) fn waits_for_keys<A: AsRef<[u8]>>(args: &[A]) -> bool {
    const WAIT: [&str; 8] = ["blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin"];
    let is = |word: &A, name: &str| word.as_ref().eq_ignore_ascii_case(name.as_bytes());
    args.first().is_some_and(|name| {
        let reads_streams = is(name, "xread") || is(name, "xreadgroup");
        WAIT.iter().any(|waits| is(name, waits)) || reads_streams && args.iter().any(|word| is(word, "block"))
    })
}

/// Commands that change what a connection's replies look like, or that have none.
pub(super) fn check(args: &[&[u8]]) -> Result<(), ClientError> {
    const ELSEWHERE: [&[u8]; 12] = [
        b"subscribe",
        b"unsubscribe",
        b"psubscribe",
        b"punsubscribe",
        b"ssubscribe",
        b"sunsubscribe",
        b"monitor",
        b"sync",
        b"psync",
        b"hello",
        b"reset",
        b"quit",
    ];
    let Some(name) = args.first() else { return Err(ClientError::Empty) };
    // Most names are told by their first letter and length not to be among them.
    let may_be = matches!(name.first().map(u8::to_ascii_lowercase), Some(b's' | b'u' | b'p' | b'm' | b'h' | b'r' | b'q')) && name.len() >= 4;
    let is_elsewhere = may_be && ELSEWHERE.iter().any(|other| other.eq_ignore_ascii_case(name));
    let silences = name.eq_ignore_ascii_case(b"client") && args.get(1).is_some_and(|sub| sub.eq_ignore_ascii_case(b"reply"));
    match is_elsewhere || silences {
        true => Err(ClientError::NotHere(String::from_utf8_lossy(name).into_owned())),
        false => Ok(()),
    }
}
