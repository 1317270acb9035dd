//! Everything on the node's thread that commands read and change. Actors share it and act on `requests`.

use std::path::PathBuf;

use slog::Logger;

use super::{Clients, CommandTable, Slot, Stats};
use crate::config::Config;
use crate::env::Env;
use crate::keyspace::{DbIndex, Keyspace, Watches};
use crate::replication::{Role, Stream};

/// What a command asks of the actors; carried out when the turn ends, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The role has changed to replica, or to another master: connect.
    Follow,
    /// The role has changed to master: drop the link.
    StopFollowing,
    /// A slave waits for a snapshot.
    FullSync(Slot),
    /// A slave continues from `Replica::sent`.
    ContinueSync(Slot),
    /// Drop the links to our slaves, so that they come back by PSYNC.
    DropReplicas,
    /// BGSAVE.
    BackgroundSave,
    /// Close this client now.
    Close(Slot),
    /// SHUTDOWN: `save` as asked (`None`: by save points).
    Shutdown { save: Option<bool>, now: bool, force: bool },
    /// CONFIG SET of port, bind, unixsocket.
    Relisten,
    /// Directives have changed that actors hold copies of (keepalive, hz, backlog size, log level, ...).
    Reconfigure,
}

/// SAVE and BGSAVE, for INFO persistence.
#[derive(Clone, Debug)]
pub struct SaveState {
    /// `dirty` when the last good save began.
    pub dirty_at_last_save: u64,
    pub last_save_unix: i64,
    pub last_bgsave_ok: bool,
    pub last_bgsave_seconds: i64,
    pub bgsave_started_ms: Option<i64>,
    /// Unix ms of the last attempt: save points wait 5 s after a failure.
    pub last_try_ms: i64,
    pub scheduled: bool,
}

/// Progress of a load at start.
#[derive(Clone, Debug, Default)]
pub struct Loading {
    pub started_unix: i64,
    pub total_bytes: u64,
    pub loaded_bytes: u64,
    pub loaded_keys: u64,
    /// A slave that loads its master's data answers with its old data: `async_loading`.
    pub is_async: bool,
}

/// Effects of the unit (command, EXEC, script) that runs now, encoded; appended to the stream when it ends.
#[derive(Default)]
pub struct Effects {
    pub bytes: Vec<u8>,
    /// The database of each effect and where it ends in `bytes`.
    pub ends: Vec<(DbIndex, usize)>,
    /// Units nest: EXEC and scripts hold theirs open.
    pub depth: u32,
}

/// The state of a node.
pub struct NodeState {
    pub env: Env,
    pub log: Logger,
    pub config: Config,
    /// The file that the configuration came from: CONFIG REWRITE writes it.
    pub config_file: Option<PathBuf>,
    pub commands: CommandTable,
    pub keyspace: Keyspace,
    pub watches: Watches,
    pub clients: Clients,
    pub role: Role,
    pub stream: Stream,
    pub stats: Stats,
    pub save: SaveState,
    pub loading: Option<Loading>,
    pub effects: Effects,
    pub requests: Vec<Request>,
    /// Clients that another client's command has written to: the turn flushes them too.
    pub written: Vec<Slot>,
    /// Changes since the start (never reset): write commands add to it.
    pub dirty: u64,
    /// Unix time, as of the running group of commands.
    pub now_ms: i64,
    pub now_us: i64,
    pub started_ms: i64,
    pub run_id: String,
    /// The port that was really bound (the system may have chosen it).
    pub tcp_port: u16,
    pub executable: String,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: bool,
    /// True while a command of the master's stream is executed: nothing counts as expired, errors stop the link.
    pub applying_stream: bool,
}
