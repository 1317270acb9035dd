//! The slave's end of a link: whom it follows and how far the link is.

use super::{ReplId, ReplOffset, SyncNumber};
use crate::keyspace::DbIndex;

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Master,
    Replica(Box<MasterLink>),
}

/// How far the link to the master is, as ROLE names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// `connect`: waits for the next attempt.
    Connect,
    /// `connecting`
    Connecting,
    /// `handshake`
    Handshake,
    /// `sync`: the snapshot is on its way or being loaded.
    Sync,
    /// `connected`: follows the stream.
    Connected,
}

impl LinkState {
    pub fn name(self) -> &'static str {
        match self {
            LinkState::Connect => "connect",
            LinkState::Connecting => "connecting",
            LinkState::Handshake => "handshake",
            LinkState::Sync => "sync",
            LinkState::Connected => "connected",
        }
    }
}

/// The link of a slave, as INFO and ROLE show it. Kept by ReplicaClient; it lives with the node's state so that commands can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterLink {
    pub host: String,
    pub port: u16,
    pub state: LinkState,
    /// Why the link went down last or a sync was refused.
    pub last_error: Option<String>,
    /// Steady ms (`NodeState::steady_ms`) of the last byte from the master.
    pub last_io_ms: i64,
    /// Steady ms (`NodeState::steady_ms`) since when the link is down; `None` while it is up or has not been up yet.
    pub down_since_ms: Option<i64>,
    /// Steady ms of when it came up last.
    pub up_since_ms: i64,
    /// How long it was down all in all, also with masters before, up to when it came up last.
    pub disconnected_ms: i64,
    /// How often it was tried to come up, since it was up before and since this master is followed.
    pub attempts: u64,
    pub total_attempts: u64,
    pub sync_read_bytes: u64,
    pub sync_total_bytes: Option<u64>,
    /// The master's estimate of how much of the sync has come, where it gives one.
    pub sync_permille: Option<u16>,
    /// Keys of the snapshot that are loaded, and how many it tells that there are.
    pub sync_keys: u64,
    pub sync_keys_told: u64,
    pub sync_last_io_ms: i64,
    /// The sync that runs.
    pub sync: Option<SyncNumber>,
    /// A client has asked for this master, or for its data: the next full sync is not refused. Until the link is up.
    pub consent: bool,
    /// Why the last full sync was refused; until the link is up.
    pub refused: Option<String>,
    /// The database that the stream has selected, and the history it belongs to; kept for a partial resync.
    pub stream_db: Option<DbIndex>,
    /// The master's history and how much of it was applied; `None` when there is nothing to continue from.
    pub cached: Option<(ReplId, ReplOffset)>,
    /// What was applied can't be continued (a transaction broke off, or the master has no history to name): `cached` stays empty.
    pub history_broken: bool,
    /// The master reads what is reported of a verification.
    pub takes_reports: bool,
}

impl MasterLink {
    pub fn new(host: String, port: u16, now_ms: i64) -> Self {
        MasterLink {
            host,
            port,
            state: LinkState::Connect,
            last_error: None,
            last_io_ms: now_ms,
            down_since_ms: None,
            up_since_ms: now_ms,
            disconnected_ms: 0,
            attempts: 0,
            total_attempts: 0,
            sync_read_bytes: 0,
            sync_total_bytes: None,
            sync_permille: None,
            sync_keys: 0,
            sync_keys_told: 0,
            sync_last_io_ms: now_ms,
            sync: None,
            consent: false,
            refused: None,
            stream_db: None,
            cached: None,
            history_broken: false,
            takes_reports: false,
        }
    }

    /// How much of the running sync has come, in percent; `None` where nothing tells it.
    pub fn sync_percent(&self) -> Option<f64> {
        let share = |part: u64, all: u64| part.min(all) as f64 / all as f64 * 100.0;
        match (self.sync_permille, self.sync_total_bytes) {
            (Some(permille), _) => Some(f64::from(permille) / 10.0),
            (None, Some(0)) => None,
            (None, Some(all)) => Some(share(self.sync_read_bytes, all)),
            (None, None) if self.sync_keys_told > 0 => Some(share(self.sync_keys, self.sync_keys_told)),
            (None, None) => None,
        }
    }

    /// The master as host and port.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub fn is_up(&self) -> bool {
        self.state == LinkState::Connected
    }

    pub fn begin_attempt(&mut self) {
        self.state = LinkState::Connecting;
        self.attempts += 1;
        self.total_attempts += 1;
    }

    pub fn come_up(&mut self, now_ms: i64) {
        self.disconnected_ms = self.total_disconnected_ms(now_ms);
        self.state = LinkState::Connected;
        self.down_since_ms = None;
        self.up_since_ms = now_ms;
        self.last_error = None;
        self.refused = None;
        // What comes next comes by itself.
        self.consent = false;
        self.last_io_ms = now_ms;
    }

    /// The link, or an attempt, has ended.
    pub fn go_down(&mut self, now_ms: i64) {
        if self.is_up() {
            self.down_since_ms = Some(now_ms);
            self.attempts = 0;
        }
        self.state = LinkState::Connect;
    }

    pub fn total_disconnected_ms(&self, now_ms: i64) -> i64 {
        self.disconnected_ms + self.down_since_ms.map_or(0, |since| (now_ms - since).max(0))
    }
}
