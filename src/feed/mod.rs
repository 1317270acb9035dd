//! A change feed: follows the replication stream of a master, ours or any Redis or Valkey, as a slave does, and hands out what was written, command by
//! command, from a given place on. It keeps its place in a file and goes on from there after a restart; where the master can't, it says so, or takes a
//! snapshot's keys first.
//!
//! # What it hands out
//!
//! After a snapshot, where there is one: libraries of functions, then keys, with all that an equal copy needs. When a key was last used, and how often, is left
//! out. A key or field whose time is over may be among them: the master's DEL or HDEL follows. Then the commands of the stream, as [`Change`]s: effects of writes
//! in their order, and what else a slave is sent: PUBLISH, FUNCTION, SCRIPT, commands of modules.
//!
//! The feed reads only while [`ChangeFeed::next`] is awaited. If that does not happen for the master's `repl-timeout`, the link breaks, and the feed goes on from
//! the backlog, as after a restart. A snapshot is in memory as a whole until it has been handed out.
//!
//! # What the master sees
//!
//! A slave: it acknowledges what has been dealt with, WAIT and `min-replicas-to-write` count it, and it keeps the backlog alive. It listens nowhere and says so by
//! port 0, as `redis-cli --replica` does; [`FeedBuilder::announce`] has INFO and ROLE show something else. Sentinel lists a slave `127.0.0.1:0`, which it can't
//! reach and therefore neither promotes nor hands to clients, until `SENTINEL RESET`. A master of this crate's kind never picks it for FAILOVER; Redis's FAILOVER
//! might, so name the slave there (`FAILOVER TO`).
//!
//! ```
//! use replikant::feed::{ChangeFeed, FeedItem, SnapshotMode};
//! use replikant::server::{Commands, Node};
//!
//! # actix_rt::System::new().block_on(async {
//! let node = Node::builder().start().await?;
//! let client = node.client();
//! client.set("before", "1").await?;
//! let mut feed = ChangeFeed::of("127.0.0.1", node.port()).snapshot(SnapshotMode::Deliver).open()?;
//! loop {
//!     match feed.next().await? {
//!         FeedItem::SnapshotBegins { keys } => println!("forget what you know: {keys} keys follow"),
//!         FeedItem::Library(code) => println!("functions: {}", String::from_utf8_lossy(&code)),
//!         FeedItem::Key(key) => println!("{:?} is {:?}", key.key, key.value),
//!         FeedItem::SnapshotEnds => client.set("after", "2").await?,
//!         FeedItem::Change(change) => {
//!             assert_eq!(change.args, [&b"SET"[..], b"after", b"2"]);
//!             break;
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

#![warn(missing_docs)]

mod link;
mod place;
mod snapshot;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use place::Place;
pub use snapshot::{FieldValue, HashField, PendingEntry, SnapshotKey, SnapshotValue, StreamConsumer, StreamGroup, StreamItem, StreamValue};

use futures::future::LocalBoxFuture;

pub use crate::rdb::{LoadCause, LoadError};
pub use crate::replication::{LinkError, ReplId, ReplOffset, SyncReason};

use crate::env::Env;
use link::{Began, Link};

/// How often the master is told how far the feed is, and the file is written.
const TICK: Duration = Duration::from_secs(1);
/// The first wait after a link broke; doubled each time, up to the longest.
const BACKOFF_MIN_MS: u64 = 50;
const BACKOFF_MAX_MS: u64 = 2_000;

/// What to do when the master can't continue from the feed's place and sends a snapshot instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotMode {
    /// [`FeedError::FullSyncNeeded`]; the snapshot is not taken.
    #[default]
    Refuse,
    /// Its keys are handed out first.
    Deliver,
    /// It is read past, and changes after it are handed out: what was written between the feed's place and the snapshot is not.
    Skip,
}

/// What the feed hands out.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedItem {
    /// A snapshot follows: what was known before is void.
    SnapshotBegins {
        /// How many keys it has.
        keys: usize,
    },
    /// A library of functions of the snapshot: the text that FUNCTION LOAD was given. Libraries come before keys.
    Library(Vec<u8>),
    /// A key of the snapshot.
    Key(SnapshotKey),
    /// All keys have been handed out; changes follow.
    SnapshotEnds,
    /// Something was written.
    Change(Change),
}

/// A command of the stream that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The database it writes to.
    pub db: u32,
    /// The stream's offset behind it.
    pub offset: u64,
    /// The command's name and its arguments: the effect of what a client has said, such as `DEL` for a key that expired.
    pub args: Vec<Vec<u8>>,
    /// More of the same transaction follows: the place moves on with its last command only.
    pub more: bool,
}

/// Why there is nothing to hand out. After any but `FullSyncNeeded` and `Refused`, `next` may be tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The master can't continue from the place, and the feed does not take snapshots.
    #[error("the master can't continue from {}: a full sync is needed ({})", place.map_or("nowhere".to_owned(), |place| place.to_string()), reason.code())]
    FullSyncNeeded {
        /// The feed's place, if it has one.
        place: Option<Place>,
        /// Why, as far as it can be told from the answer.
        reason: SyncReason,
    },
    /// The master refuses the feed: a wrong password, no permission.
    #[error("{0}")]
    Refused(LinkError),
    /// What came is not the protocol.
    #[error("{0}")]
    Protocol(String),
    /// The snapshot can't be read.
    #[error("the snapshot can't be read: {0}")]
    Snapshot(#[from] LoadError),
    /// The file with the feed's place can't be read or written.
    #[error("the feed's place: {0}")]
    Place(io::Error),
    /// The master can't be reached, or the link broke: told only to those who have asked not to try again.
    #[error("the link to the master: {0}")]
    Link(io::Error),
}

/// What a feed is to be.
#[derive(Clone)]
#[must_use = "a feed is opened by `open`"]
pub struct FeedBuilder {
    env: Env,
    host: String,
    port: u16,
    user: Option<String>,
    password: Option<String>,
    place: Option<Place>,
    file: Option<PathBuf>,
    announced_ip: Option<String>,
    announced_port: u16,
    snapshot: SnapshotMode,
    retry: bool,
    timeout: Duration,
}

impl FeedBuilder {
    /// The password of the master.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The user of the master's ACL that the password is for.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// From where on, where the file knows nothing yet.
    pub fn from(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Keeps the place in a file, and begins at the place that it tells, if it is there.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// What to do when the master can't continue.
    pub fn snapshot(mut self, mode: SnapshotMode) -> Self {
        self.snapshot = mode;
        self
    }

    /// What the master's INFO and ROLE show as this slave's address; the address that it comes from and port 0 unless told otherwise. Whoever finds slaves by
    /// INFO (Sentinel, FAILOVER, some client libraries) will take a port above 0 for that of a server.
    pub fn announce(mut self, ip: impl Into<String>, port: u16) -> Self {
        (self.announced_ip, self.announced_port) = (Some(ip.into()), port);
        self
    }

    /// Whether a broken link is mended in silence, for ever (as it is unless told otherwise), or is an error.
    pub fn retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// After how long a silent link is given up; a minute unless told otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Another world to live in.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Reads the file; the master is asked by the first [`ChangeFeed::next`].
    pub fn open(mut self) -> Result<ChangeFeed, FeedError> {
        if let Some(path) = &self.file {
            self.place = Place::load(&*self.env.disk, path).map_err(FeedError::Place)?.or(self.place);
        }
        let (place, saved) = (self.place, self.place);
        Ok(ChangeFeed {
            options: self,
            opening: None,
            link: None,
            place,
            saved,
            handed: None,
            ready: VecDeque::new(),
            wait_ms: 0,
            backoff_ms: BACKOFF_MIN_MS,
        })
    }
}

type Opening = LocalBoxFuture<'static, Result<(Link, Began), FeedError>>;

/// An item that waits to be handed out, and the place behind it.
struct Ready {
    item: FeedItem,
    /// `None` inside a snapshot or a transaction: from there nobody can go on.
    place: Option<Place>,
}

/// A feed of the changes of one master.
///
/// An item counts as dealt with when the next one is asked for, or by [`ChangeFeed::commit`]; the file is written about once a second. After a crash items
/// since then come again: at least once, in order.
pub struct ChangeFeed {
    options: FeedBuilder,
    /// A link that is not there yet. It outlives the future that has begun it: a snapshot may take longer than whoever asks has patience.
    opening: Option<Opening>,
    link: Option<Link>,
    /// All up to here has been dealt with.
    place: Option<Place>,
    saved: Option<Place>,
    /// The place behind the item that was handed out last.
    handed: Option<Place>,
    ready: VecDeque<Ready>,
    /// What passes before the next link.
    wait_ms: u64,
    backoff_ms: u64,
}

impl ChangeFeed {
    /// A feed of the master at this address. It does not take snapshots, unless told to: it needs a place to start from.
    pub fn of(host: impl Into<String>, port: u16) -> FeedBuilder {
        FeedBuilder {
            env: Env::real(),
            host: host.into(),
            port,
            user: None,
            password: None,
            place: None,
            file: None,
            announced_ip: None,
            announced_port: 0,
            snapshot: SnapshotMode::default(),
            retry: true,
            timeout: Duration::from_secs(60),
        }
    }

    /// How far everything has been dealt with; `None` before the first sync.
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// The item that was handed out last has been dealt with: writes the place, so that it does not come again.
    pub fn commit(&mut self) -> Result<(), FeedError> {
        self.settle();
        self.save()
    }

    fn settle(&mut self) {
        if let Some(place) = self.handed.take() {
            self.place = Some(place);
        }
    }

    fn save(&mut self) -> Result<(), FeedError> {
        if let (Some(path), Some(place)) = (&self.options.file, self.place)
            && self.saved != Some(place)
        {
            place.save(&*self.options.env.disk, path).map_err(FeedError::Place)?;
            self.saved = Some(place);
        }
        Ok(())
    }

    /// The next item; waits until there is one. The future may be dropped at any time without losing any.
    pub async fn next(&mut self) -> Result<FeedItem, FeedError> {
        self.settle();
        loop {
            if let Some(ready) = self.ready.pop_front() {
                self.handed = ready.place;
                self.show_life();
                return Ok(ready.item);
            }
            if let Err(error) = self.advance().await {
                self.link = None;
                self.recover(error)?;
            }
        }
    }

    /// Links up, or reads what comes.
    async fn advance(&mut self) -> Result<(), FeedError> {
        let Some(link) = &mut self.link else { return self.link_up().await };
        let heard = link.hear(&mut self.ready, TICK, self.options.timeout).await?;
        self.backoff_ms = BACKOFF_MIN_MS;
        if heard.is_due || heard.is_asked {
            self.tell()?;
        }
        Ok(())
    }

    /// While much is handed out, the master hears of the feed as well. A link that is found broken is mended when all of it has been.
    fn show_life(&mut self) {
        if let Some(link) = &mut self.link
            && link.is_due(TICK)
            && link.acknowledge(self.place).is_err()
        {
            self.link = None;
        }
    }

    /// Writes the place and tells the master.
    fn tell(&mut self) -> Result<(), FeedError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if self.ready.is_empty() {
            // All that has been read is dealt with, down to what is no change: PING, SELECT.
            self.place = link.idle_place().or(self.place);
        }
        link.acknowledge(self.place)?;
        self.save()
    }

    async fn link_up(&mut self) -> Result<(), FeedError> {
        let opening = self.opening.get_or_insert_with(|| {
            let (options, place, wait) = (self.options.clone(), self.place, Duration::from_millis(self.wait_ms));
            Box::pin(async move {
                actix_rt::time::sleep(wait).await;
                Link::open(options, place).await
            })
        });
        let opened = opening.await;
        self.opening = None;
        let (mut link, began) = opened?;
        self.wait_ms = 0;
        match began {
            Began::Continued(place) => self.place = Some(place),
            Began::Snapshot { snapshot, place } => {
                if self.options.snapshot == SnapshotMode::Deliver {
                    let inside = |item| Ready { item, place: None };
                    self.ready.push_back(inside(FeedItem::SnapshotBegins { keys: snapshot.keys.len() }));
                    self.ready.extend(snapshot.libraries.into_iter().map(|code| inside(FeedItem::Library(code))));
                    self.ready.extend(snapshot.keys.into_iter().map(|key| inside(FeedItem::Key(key))));
                    self.ready.push_back(Ready { item: FeedItem::SnapshotEnds, place: Some(place) });
                } else {
                    self.place = Some(place);
                }
            }
        }
        // The first of the stream may have come already.
        let is_asked = link.parse(&mut self.ready)?;
        self.link = Some(link);
        if is_asked { self.tell() } else { Ok(()) }
    }

    /// After a link has broken: there is to be another after a while, unless nothing is to be gained by it.
    fn recover(&mut self, error: FeedError) -> Result<(), FeedError> {
        if !self.options.retry || !matches!(error, FeedError::Link(_)) {
            return Err(error);
        }
        self.wait_ms = self.backoff_ms / 2 + self.options.env.random.below(self.backoff_ms / 2 + 1);
        self.backoff_ms = (self.backoff_ms * 2).min(BACKOFF_MAX_MS);
        Ok(())
    }
}

impl Drop for ChangeFeed {
    fn drop(&mut self) {
        // What can't be written comes again.
        let _ = self.save();
    }
}

/// Why the master has sent a snapshot.
fn reason(asked: Option<Place>, answered: Option<ReplId>) -> SyncReason {
    SyncReason::seen_by_replica(asked.map(|place| place.replid), answered)
}

#[cfg(test)]
mod tests;
