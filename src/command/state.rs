//! Everything on the node's thread that commands read and change. Actors share it and act on `requests`.

use std::path::PathBuf;
use std::rc::Rc;

use slog::Logger;

use super::slowlog::Slowlog;
use super::{Blocked, Bystanders, Clients, CommandTable, Eviction, ExpireCycle, Functions, Latency, PubSub, Scripts, Slot, Stats};
use super::{Marked, Shutdown, ShutdownHow, Verification};
use crate::config::Config;
use crate::env::Env;
use crate::keyspace::{DbIndex, Keyspace, UnixMs, Watches};
use crate::log::LevelSwitch;
use crate::rdb::Dumper;
use crate::replication::{Direction, Failover, Moment, ReplId, ReplOffset, Role, Stream, StreamMarks, SyncHistory, SyncReason};

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
    /// A slave has acknowledged.
    ReplicaAcked(Slot),
    /// Drop the links to our slaves, so that they come back by PSYNC.
    DropReplicas,
    /// BGSAVE.
    BackgroundSave,
    /// Close this client now.
    Close(Slot),
    /// SHUTDOWN, a signal, or who embeds the node.
    Shutdown(ShutdownHow),
    /// CONFIG SET of port, bind, unixsocket.
    Relisten,
    /// Directives have changed that actors hold copies of (keepalive, hz, backlog size, log level, ...).
    Reconfigure,
    /// A verification has been ordered: `Verification::running` says which.
    Verify,
    StopVerifying(String),
    /// The master's stream has a mark, and the cut is made.
    Digest(Box<Marked>),
    /// Slaves have sent something for the verification.
    ReadReports,
    /// A command of the master's stream can't be applied here.
    StopLink(String),
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
    /// Of the last file or snapshot that was loaded.
    pub last_load_keys: u64,
    pub last_load_expired: u64,
    /// Progress of the running BGSAVE.
    pub keys_done: u64,
    pub keys_total: u64,
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

/// Where an effect ends in the unit's bytes.
pub struct EffectEnd {
    pub db: DbIndex,
    pub end: usize,
    /// It stays out of the unit's MULTI: an old slave that does not know the command would refuse all of the transaction.
    pub is_apart: bool,
}

/// Effects of the unit (command, EXEC, script) that runs now, encoded; appended to the stream when it ends.
#[derive(Default)]
pub struct Effects {
    pub bytes: Vec<u8>,
    pub ends: Vec<EffectEnd>,
    /// Units nest: EXEC and scripts hold theirs open.
    pub depth: u32,
}

impl Effects {
    /// Every effect with its bytes, in order.
    pub fn each(&self) -> impl Iterator<Item = (&EffectEnd, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |effect| {
            let bytes = &self.bytes[start..effect.end];
            start = effect.end;
            (effect, bytes)
        })
    }

    /// The same effects in the wrong order, for a mistake that the simulation must find.
    pub(super) fn reversed(&self) -> Effects {
        let mut reversed = Effects { depth: self.depth, ..Effects::default() };
        let each: Vec<_> = self.each().collect();
        for (effect, bytes) in each.into_iter().rev() {
            reversed.bytes.extend_from_slice(bytes);
            reversed.ends.push(EffectEnd { db: effect.db, end: reversed.bytes.len(), is_apart: effect.is_apart });
        }
        reversed
    }
}

/// The state of a node.
pub struct NodeState {
    pub env: Env,
    pub log: Logger,
    /// What CONFIG SET loglevel turns, where the host application has given it.
    pub log_level: Option<LevelSwitch>,
    pub config: Config,
    /// The file that the configuration came from: CONFIG REWRITE writes it.
    pub config_file: Option<PathBuf>,
    pub commands: CommandTable,
    pub keyspace: Keyspace,
    pub watches: Watches,
    pub clients: Clients,
    pub blocked: Blocked,
    pub pubsub: PubSub,
    pub scripts: Scripts,
    pub functions: Functions,
    /// Who serves others while a script runs for too long.
    pub bystanders: Option<Rc<dyn Bystanders>>,
    pub role: Role,
    /// FAILOVER, until it has ended.
    pub failover: Option<Failover>,
    /// SHUTDOWN, while it waits for slaves.
    pub shutdown: Option<Shutdown>,
    pub stream: Stream,
    /// When its bytes came to be.
    pub stream_marks: StreamMarks,
    /// The last syncs, with slaves and with the master.
    pub syncs: SyncHistory,
    pub verification: Verification,
    pub stats: Stats,
    pub slowlog: Slowlog,
    pub latency: Latency,
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
    /// Milliseconds on the clock that never jumps: what time-outs and ages are measured by.
    pub steady_ms: i64,
    /// When the last command ended, or the first one of a group began: the next one's time is counted from there, with one reading a command.
    pub clock_ns: u64,
    pub started_ms: i64,
    /// Allocated before there was any data.
    pub startup_memory: u64,
    pub run_id: String,
    /// The port that was really bound (the system may have chosen it).
    pub tcp_port: u16,
    pub executable: String,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: bool,
    pub expire_cycle: ExpireCycle,
    pub eviction: Eviction,
    /// True while a command of the master's stream is executed: nothing counts as expired, errors stop the link.
    pub applying_stream: bool,
    /// Bytes of an open MULTI of the master's stream: applied, and counted, when its EXEC has been.
    pub unapplied: Vec<u8>,
    /// DUMP's buffers.
    pub dumper: Dumper,
}

impl NodeState {
    /// A node with empty databases that listens nowhere and follows nobody yet.
    pub fn new(env: Env, log: Logger, config: Config) -> Result<Self, String> {
        let commands = CommandTable::new(&config.rename_command)?;
        let now_us = env.clock.unix_us();
        let now_ms = now_us / 1000;
        let mut keyspace = Keyspace::new(config.databases, env.random.next_u64());
        keyspace.set_lfu(config.maxmemory_policy.is_lfu());
        keyspace.set_limits(config.limits);
        Ok(NodeState {
            commands,
            startup_memory: keyspace.allocated() as u64,
            keyspace,
            watches: Watches::default(),
            clients: Clients::default(),
            blocked: Blocked::default(),
            eviction: Eviction::default(),
            pubsub: PubSub::default(),
            scripts: Scripts::default(),
            functions: Functions::default(),
            bystanders: None,
            role: Role::Master,
            failover: None,
            shutdown: None,
            stream_marks: StreamMarks::default(),
            stream: Stream::new(ReplId::random(&*env.random), config.repl_backlog_size),
            syncs: SyncHistory::default(),
            verification: Verification::default(),
            stats: Stats::default(),
            slowlog: Slowlog::default(),
            latency: Latency::default(),
            save: SaveState {
                dirty_at_last_save: 0,
                last_save_unix: now_ms / 1000,
                last_bgsave_ok: true,
                last_bgsave_seconds: -1,
                bgsave_started_ms: None,
                last_try_ms: 0,
                scheduled: false,
                last_load_keys: 0,
                last_load_expired: 0,
                keys_done: 0,
                keys_total: 0,
            },
            loading: None,
            effects: Effects::default(),
            requests: Vec::new(),
            written: Vec::new(),
            dirty: 0,
            now_ms,
            now_us,
            steady_ms: (env.clock.monotonic_ns() / 1_000_000) as i64,
            clock_ns: env.clock.monotonic_ns(),
            started_ms: now_ms,
            run_id: env.random.hex(40),
            tcp_port: config.port,
            executable: String::new(),
            active_expire: true,
            expire_cycle: ExpireCycle::default(),
            applying_stream: false,
            unapplied: Vec::new(),
            dumper: Dumper::default(),
            config_file: None,
            log_level: None,
            env,
            log,
            config,
        })
    }

    /// The link to the master must end, for a reason that an operator has to see. After a transaction that broke off in the middle nothing can be
    /// continued: the next link begins with a full sync.
    pub fn stop_link(&mut self, reason: String) {
        let broken_inside_exec = !self.unapplied.is_empty();
        if let Role::Replica(link) = &mut self.role
            && broken_inside_exec
        {
            link.cached = None;
            link.history_broken = true;
        }
        self.unapplied.clear();
        self.requests.push(Request::StopLink(reason));
    }

    /// A full sync from the master begins.
    pub fn sync_from_master_began(&mut self, history: Option<(ReplId, ReplOffset)>) {
        self.sync_from_master_failed("another one has begun");
        let at = self.moment();
        let Role::Replica(link) = &mut self.role else { return };
        let reason = SyncReason::seen_by_replica(link.cached.map(|(replid, _)| replid), history.map(|(replid, _)| replid));
        let offset = history.map_or(ReplOffset(0), |(_, offset)| offset);
        link.sync = Some(self.syncs.begin(at, Direction::FromMaster, link.address(), reason, offset));
    }

    /// The snapshot is in place.
    pub fn sync_from_master_done(&mut self, bytes: u64) {
        let at = self.moment();
        let Role::Replica(link) = &mut self.role else { return };
        if let Some(number) = link.sync.take() {
            self.syncs.done(number, at, bytes);
        }
    }

    /// The rest of the snapshot follows, after the link broke in the midst of it.
    pub fn sync_from_master_resumed(&mut self) {
        let Role::Replica(link) = &self.role else { return };
        if let Some(number) = link.sync {
            self.syncs.resumed(number);
        }
    }

    /// The link has ended, or will; nothing happens unless a full sync runs.
    pub fn sync_from_master_failed(&mut self, why: &str) {
        let at = self.moment();
        let Role::Replica(link) = &mut self.role else { return };
        if let Some(number) = link.sync.take() {
            self.syncs.failed(number, at, link.sync_read_bytes, why);
        }
    }

    /// The stream goes on where it was left.
    pub fn continued_from_master(&mut self, offset: ReplOffset) {
        let at = self.moment();
        let Role::Replica(link) = &self.role else { return };
        let number = self.syncs.begin(at, Direction::FromMaster, link.address(), SyncReason::Continued, offset);
        self.syncs.done(number, at, 0);
    }

    /// Now, as of the last tick.
    pub fn moment(&self) -> Moment {
        Moment { unix_ms: self.now_ms, steady_ms: self.steady_ms }
    }

    /// Whether something is left to do behind a turn that commands have asked for.
    pub fn has_work(&self) -> bool {
        !self.requests.is_empty()
            || self.blocked.getack_wanted
            || self.blocked.has_news()
            || self.eviction.unfinished
            || self.failover.is_some()
            || self.shutdown.is_some()
    }

    /// Reads the clock for the commands to come.
    pub fn tick(&mut self) {
        self.now_us = self.env.clock.unix_us();
        self.now_ms = self.now_us / 1000;
        self.clock_ns = self.env.clock.monotonic_ns();
        self.steady_ms = (self.clock_ns / 1_000_000) as i64;
        self.keyspace.set_clock(UnixMs(self.now_ms));
    }

    /// A node for unit tests, with one client that is logged in: seeded, no log, default configuration.
    #[cfg(test)]
    pub fn for_tests() -> (Self, Slot) {
        use super::{Client, ClientFlags};
        use crate::env::{Addr, SeededRandom};
        let env = Env { random: std::sync::Arc::new(SeededRandom::from_seed(7)), ..Env::real() };
        let mut node = NodeState::new(env, Logger::root(slog::Discard, slog::o!()), Config::default()).expect("the default configuration is good");
        let addr = Addr::Ip(([127, 0, 0, 1], 1).into());
        let mut client = Client::new(node.clients.next_id(), addr.clone(), addr, -1, node.steady_ms);
        client.flags |= ClientFlags::AUTHENTICATED;
        let slot = node.clients.insert(client);
        (node, slot)
    }

    /// Executes one command in a unit test and returns its encoded reply.
    #[cfg(test)]
    pub fn run(&mut self, slot: Slot, args: &[&[u8]]) -> Vec<u8> {
        use crate::resp::{ArgRange, Args, Reply};
        let mut bytes = Vec::new();
        let ranges: Vec<ArgRange> = args
            .iter()
            .map(|arg| {
                bytes.extend_from_slice(arg);
                ArgRange { start: (bytes.len() - arg.len()) as u32, len: arg.len() as u32 }
            })
            .collect();
        let mut out = Reply::new(self.clients.at(slot).proto);
        let row = self.commands.find(args[0]);
        super::execute(self, slot, Args::new(&bytes, &ranges), row, None, &mut out);
        out.buf
    }
}
