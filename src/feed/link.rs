//! One connection of a feed to its master: the handshake, a snapshot if it comes to that, then the stream's commands.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;

use super::snapshot::{ReadSnapshot, read};
use super::{Change, FeedBuilder, FeedError, FeedItem, Place, Ready, SnapshotMode, reason};
use crate::env::{Clock, Env, Feed, Socket};
use crate::rdb::LoadError;
use crate::replication::{HandshakeOptions, LinkError, LinkEvent, ReplId, ReplOffset, ReplicaHandshake};
use crate::resp::{ArgRange, Args, Decoder, Limits, encode_command};
use crate::types::number::parse_i64;

const READ_BYTES: usize = 64 << 10;
/// Snapshot bytes that wait for their reader: above it the socket waits.
const UNREAD_BYTES_MAX: usize = 16 << 20;

/// How a link has begun.
pub(super) enum Began {
    Continued(Place),
    Snapshot { snapshot: ReadSnapshot, place: Place },
}

/// What `hear` has come to.
pub(super) struct Heard {
    /// The tick is over.
    pub is_due: bool,
    /// The master wants to know how far the feed is.
    pub is_asked: bool,
}

/// A link whose stream is being read.
pub(super) struct Link {
    socket: Box<dyn Socket>,
    clock: std::sync::Arc<dyn Clock>,
    input: Vec<u8>,
    decoder: Decoder,
    limits: Limits,
    args: Vec<ArgRange>,
    /// Behind the last command that was read.
    at: Place,
    /// The changes of an open transaction.
    transaction: Option<Vec<Change>>,
    last_byte_ns: u64,
    told_ns: u64,
    unsent: Vec<u8>,
}

fn io_error(error: impl Into<io::Error>) -> FeedError {
    FeedError::Link(error.into())
}

fn link_error(error: LinkError) -> FeedError {
    match error {
        LinkError::Refused(_) => FeedError::Refused(error),
        LinkError::RetryLater(_) => FeedError::Link(io::Error::other(error)),
        LinkError::Protocol(text) => FeedError::Protocol(text),
    }
}

async fn within<T>(timeout: Duration, future: impl Future<Output = io::Result<T>>) -> Result<T, FeedError> {
    let timed_out = |_| FeedError::Link(io::ErrorKind::TimedOut.into());
    actix_rt::time::timeout(timeout, future).await.map_err(timed_out)?.map_err(FeedError::Link)
}

async fn read_more(socket: &mut Box<dyn Socket>, input: &mut Vec<u8>) -> io::Result<()> {
    match poll_fn(|cx| socket.poll_read(cx, input, READ_BYTES)).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn write(socket: &mut Box<dyn Socket>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => poll_fn(|cx| socket.poll_write_ready(cx)).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Link {
    /// Links up and asks to continue from `place`.
    pub async fn open(options: FeedBuilder, place: Option<Place>) -> Result<(Link, Began), FeedError> {
        let env = options.env.clone();
        let socket = within(options.timeout, env.net.connect(&options.host, options.port, None)).await?;
        let handshake = ReplicaHandshake::new(HandshakeOptions {
            user: options.user.clone(),
            password: options.password.clone(),
            listening_port: options.announced_port,
            announce_ip: options.announced_ip.clone(),
            ask: place.map(|place| (place.replid, place.offset.next())),
            keeps_nothing: true,
            ..HandshakeOptions::default()
        });
        let mut opening = Opening { options: &options, env, socket, input: Vec::new(), handshake, snapshot: None };
        let began = opening.run(place).await?;
        let at = match &began {
            Began::Continued(place) | Began::Snapshot { place, .. } => *place,
        };
        let Opening { env, socket, input, .. } = opening;
        let now_ns = env.clock.monotonic_ns();
        let link = Link {
            socket,
            clock: env.clock,
            input,
            decoder: Decoder::default(),
            limits: Limits::new(u64::MAX, false),
            args: Vec::new(),
            at,
            transaction: None,
            last_byte_ns: now_ns,
            told_ns: now_ns,
            unsent: Vec::new(),
        };
        Ok((link, began))
    }

    /// Reads what comes until the next tick, and puts it into `ready`.
    pub async fn hear(&mut self, ready: &mut VecDeque<Ready>, tick: Duration, timeout: Duration) -> Result<Heard, FeedError> {
        let due_ns = self.told_ns + tick.as_nanos() as u64;
        let left = Duration::from_nanos(due_ns.saturating_sub(self.clock.monotonic_ns()));
        let read = actix_rt::time::timeout(left, read_more(&mut self.socket, &mut self.input)).await;
        let now_ns = self.clock.monotonic_ns();
        let mut is_asked = false;
        match read {
            Ok(read) => {
                read.map_err(io_error)?;
                self.last_byte_ns = now_ns;
                is_asked = self.parse(ready)?;
            }
            Err(_) if now_ns - self.last_byte_ns > timeout.as_nanos() as u64 => return Err(io_error(io::ErrorKind::TimedOut)),
            Err(_) => {}
        }
        Ok(Heard { is_due: now_ns >= due_ns, is_asked })
    }

    /// Reads all whole commands. True: the master asks for an ACK.
    pub fn parse(&mut self, ready: &mut VecDeque<Ready>) -> Result<bool, FeedError> {
        let input = std::mem::take(&mut self.input);
        let mut used = 0;
        let mut is_asked = false;
        while let Some(len) =
            self.decoder.decode(&input[used..], &self.limits, &mut self.args).map_err(|error| FeedError::Protocol(error.to_string()))?
        {
            let inline = self.decoder.inline_bytes().map(<[u8]>::to_vec);
            let ranges = std::mem::take(&mut self.args);
            let args = Args::new(inline.as_deref().unwrap_or(&input[used..]), &ranges);
            used += len;
            self.at.offset = ReplOffset(self.at.offset.0 + len as u64);
            if !args.is_empty() {
                is_asked |= self.command(args, ready)?;
            }
            self.args = ranges;
        }
        self.input = input;
        self.input.drain(..used);
        Ok(is_asked)
    }

    fn command(&mut self, args: Args<'_>, ready: &mut VecDeque<Ready>) -> Result<bool, FeedError> {
        let name = args.at(0).to_ascii_lowercase();
        match (name.as_slice(), args.len()) {
            (b"select", 2) => {
                let db = parse_i64(args.at(1)).and_then(|db| u32::try_from(db).ok());
                self.at.db = db.ok_or_else(|| FeedError::Protocol("SELECT of no database".to_owned()))?;
            }
            (b"ping", _) => {}
            (b"replconf", _) => return Ok(args.get(1).is_some_and(|option| option.eq_ignore_ascii_case(b"getack"))),
            (b"multi", 1) => self.transaction = Some(Vec::new()),
            (b"exec", 1) => {
                let mut changes = self.transaction.take().unwrap_or_default();
                let last = changes.len();
                for (index, change) in changes.iter_mut().enumerate() {
                    change.more = index + 1 < last;
                }
                if let Some(last) = changes.last_mut() {
                    last.offset = self.at.offset.0;
                }
                for change in changes {
                    let place = (!change.more).then_some(self.at);
                    ready.push_back(Ready { item: FeedItem::Change(change), place });
                }
            }
            _ => {
                let change = Change { db: self.at.db, offset: self.at.offset.0, args: args.iter().map(<[u8]>::to_vec).collect(), more: false };
                match &mut self.transaction {
                    Some(changes) => changes.push(change),
                    None => ready.push_back(Ready { item: FeedItem::Change(change), place: Some(self.at) }),
                }
            }
        }
        Ok(false)
    }

    /// Whether it is time to tell the master how far the feed is.
    pub fn is_due(&self, tick: Duration) -> bool {
        self.clock.monotonic_ns() >= self.told_ns + tick.as_nanos() as u64
    }

    /// Where the stream is, unless that is inside a transaction.
    pub fn idle_place(&self) -> Option<Place> {
        self.transaction.is_none().then_some(self.at)
    }

    /// Tells the master how far the feed is. What the socket does not take is sent with the next one: nothing is awaited, so nothing is cut.
    pub fn acknowledge(&mut self, place: Option<Place>) -> Result<(), FeedError> {
        self.told_ns = self.clock.monotonic_ns();
        // While a snapshot is handed out, the place may be one of another history.
        let offset = place.filter(|place| place.replid == self.at.replid).map_or(ReplOffset(0), |place| place.offset);
        if self.unsent.is_empty() {
            encode_command(&mut self.unsent, &[b"REPLCONF", b"ACK", offset.to_string().as_bytes()]);
        }
        match self.socket.try_write(&self.unsent) {
            Ok(n) => drop(self.unsent.drain(..n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(io_error(error)),
        }
        Ok(())
    }
}

/// What comes of a snapshot's reader.
type Reading = oneshot::Receiver<Result<ReadSnapshot, LoadError>>;

/// A link that is not there yet.
struct Opening<'a> {
    options: &'a FeedBuilder,
    env: Env,
    socket: Box<dyn Socket>,
    input: Vec<u8>,
    handshake: ReplicaHandshake,
    snapshot: Option<(Box<dyn Feed>, Reading)>,
}

impl Opening<'_> {
    async fn run(&mut self, asked: Option<Place>) -> Result<Began, FeedError> {
        let hello = self.handshake.start();
        self.write(&hello).await?;
        let mut history = None;
        loop {
            let mut used = 0;
            loop {
                let (n, event) = self.handshake.next(&self.input[used..]).map_err(link_error)?;
                used += n;
                let Some(event) = event else { break };
                match event {
                    LinkEvent::Send(bytes) => self.write(&bytes).await?,
                    LinkEvent::Notice(_) => {}
                    LinkEvent::Continue { replid } => {
                        self.input.drain(..used);
                        let mut place = asked.ok_or_else(|| FeedError::Protocol("CONTINUE of nothing".to_owned()))?;
                        place.replid = replid.unwrap_or(place.replid);
                        return Ok(Began::Continued(place));
                    }
                    LinkEvent::FullSync { history: at } => {
                        if self.options.snapshot == SnapshotMode::Refuse {
                            return Err(FeedError::FullSyncNeeded { place: asked, reason: reason(asked, at.map(|(replid, _)| replid)) });
                        }
                        history = at;
                    }
                    LinkEvent::SnapshotBegin(_) => self.begin_read()?,
                    LinkEvent::SnapshotBytes(bytes) | LinkEvent::SnapshotChunk { bytes, .. } => {
                        let bytes = Bytes::copy_from_slice(bytes);
                        self.feed(bytes).await?;
                    }
                    LinkEvent::SnapshotEnd => {
                        self.input.drain(..used);
                        return self.end_read(history).await;
                    }
                }
            }
            self.input.drain(..used);
            within(self.options.timeout, read_more(&mut self.socket, &mut self.input)).await?;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), FeedError> {
        within(self.options.timeout, write(&mut self.socket, bytes)).await
    }

    fn begin_read(&mut self) -> Result<(), FeedError> {
        let (sender, result) = oneshot::channel();
        let skip = self.options.snapshot == SnapshotMode::Skip;
        let job = move |input: Box<dyn io::Read + Send>| {
            // Whoever wanted it may have gone.
            let _ = sender.send(read(input, skip));
        };
        self.snapshot = Some((self.env.spawner.spawn_reader("feed-snapshot", Box::new(job)).map_err(io_error)?, result));
        Ok(())
    }

    async fn feed(&mut self, bytes: Bytes) -> Result<(), FeedError> {
        let Some((feed, _)) = &mut self.snapshot else { return Ok(()) };
        // A reader that has ended early says why in its result.
        if feed.push(bytes).is_err() {
            return self.result().await.map(drop);
        }
        while self.snapshot.as_ref().is_some_and(|(feed, _)| feed.pending() > UNREAD_BYTES_MAX) {
            actix_rt::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn result(&mut self) -> Result<ReadSnapshot, FeedError> {
        let gone = || io_error(io::Error::other("the snapshot's reader has ended without a result"));
        let (feed, result) = self.snapshot.take().ok_or_else(gone)?;
        feed.finish();
        Ok(result.await.map_err(|_| gone())??)
    }

    async fn end_read(&mut self, history: Option<(ReplId, ReplOffset)>) -> Result<Began, FeedError> {
        let snapshot = self.result().await?;
        // A master that knows only SYNC names no history: its stream can be followed, and not gone on with.
        let (replid, offset) = history.unwrap_or((ReplId::ZERO, ReplOffset(0)));
        let place = Place { replid, offset, db: snapshot.selected.unwrap_or(0) };
        // The first ACK opens a stream that came by `$EOF`.
        let mut ack = Vec::new();
        encode_command(&mut ack, &[b"REPLCONF", b"ACK", offset.to_string().as_bytes()]);
        self.write(&ack).await?;
        Ok(Began::Snapshot { snapshot, place })
    }
}
