//! Every directive's value, typed, and its default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::events::Events;
use crate::types::limits::Limits;

/// Every directive's value, typed. Sizes in bytes, times in the unit of the name.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub bind: Vec<String>,
    pub port: u16,
    pub unixsocket: Option<PathBuf>,
    pub unixsocketperm: u32,
    pub tcp_backlog: u32,
    pub tcp_keepalive: u64,
    pub timeout: u64,
    pub maxclients: u32,
    pub protected_mode: bool,
    pub requirepass: String,
    pub databases: u32,
    pub dir: PathBuf,
    pub dbfilename: String,
    /// `save`: (seconds, changes).
    pub save: Vec<(u64, u64)>,
    pub rdbcompression: bool,
    /// `disable-thp`: no huge pages. They save CPU, but one fault on one may take longer than a turn should.
    pub disable_thp: bool,
    pub rdbchecksum: bool,
    pub stop_writes_on_bgsave_error: bool,
    pub loglevel: LogLevel,
    pub logfile: String,
    /// Ours: `text` or `json` lines in `logfile`.
    pub log_format: LogFormat,
    pub syslog_enabled: bool,
    pub syslog_ident: String,
    pub syslog_facility: String,
    pub hz: u32,
    pub proto_max_bulk_len: u64,
    pub client_query_buffer_limit: u64,
    /// normal, replica, pubsub: hard bytes, soft bytes, soft seconds.
    pub client_output_buffer_limit: [OutputLimit; 3],
    pub slaveof: Option<(String, u16)>,
    pub masterauth: String,
    pub masteruser: String,
    pub replica_read_only: bool,
    pub replica_serve_stale_data: bool,
    pub replica_priority: u32,
    pub replica_announce_ip: String,
    pub replica_announce_port: u16,
    pub replica_announced: bool,
    pub repl_ping_replica_period: u64,
    pub repl_timeout: u64,
    pub repl_backlog_size: u64,
    pub repl_backlog_ttl: u64,
    /// Ours: what slaves that are behind may hold of the stream in memory, beyond the backlog; more goes to a file.
    pub repl_spill_memory: u64,
    /// Ours: the most that file may have; 0 for no limit.
    pub repl_spill_disk_max: u64,
    pub repl_diskless_sync: bool,
    /// So many waiting slaves end the delay; 0: none do.
    pub repl_diskless_sync_max_replicas: u32,
    /// 0, where Redis waits 5 s: slaves that come while a snapshot is made share it anyway.
    pub repl_diskless_sync_delay: u64,
    /// Snapshots for slaves that are made or sent at a time.
    pub repl_max_concurrent_syncs: u32,
    /// Bytes a second of all snapshots to slaves together; 0: no limit.
    pub repl_sync_max_rate: u64,
    /// What slaves that tell no version are sent.
    pub repl_dialect: ReplDialect,
    /// A slave whose dialect cannot hold all there is gets nothing, instead of less.
    pub repl_dialect_refuses: bool,
    /// For how long both ends of a broken sync keep what they have of its snapshot.
    pub repl_sync_keep_seconds: u64,
    pub repl_diskless_load: DisklessLoad,
    pub rdb_del_sync_files: bool,
    /// Read for those who set it: what a sync replaces is always freed on another thread.
    pub replica_lazy_flush: bool,
    /// Ours: a full sync that would replace the data by next to nothing, of another history, is refused unless a client has asked for it.
    pub replica_refuse_emptied_master: bool,
    pub repl_disable_tcp_nodelay: bool,
    pub min_replicas_to_write: u32,
    pub min_replicas_max_lag: u64,
    pub maxmemory: u64,
    pub hll_sparse_max_bytes: u64,
    pub lazyfree_lazy_eviction: bool,
    pub lazyfree_lazy_expire: bool,
    pub lazyfree_lazy_server_del: bool,
    pub lazyfree_lazy_user_del: bool,
    pub lazyfree_lazy_user_flush: bool,
    pub enable_debug_command: EnableWhere,
    /// Whether CONFIG SET may change `dir` and `dbfilename`.
    pub enable_protected_configs: EnableWhere,
    pub rename_command: Vec<(String, String)>,
    pub daemonize: bool,
    pub pidfile: String,
    pub always_show_logo: bool,
    pub shutdown_timeout: u64,
    pub active_expire_effort: u32,
    pub maxmemory_policy: EvictionPolicy,
    pub maxmemory_samples: u32,
    pub maxmemory_eviction_tenacity: u32,
    pub replica_ignore_maxmemory: bool,
    /// Bytes, or (negative) percent of `maxmemory`.
    pub maxmemory_clients: i64,
    /// Of compact forms.
    pub limits: Limits,
    /// Milliseconds after which a script lets others be served; 0: never.
    pub busy_reply_threshold: u64,
    pub lfu_log_factor: u32,
    pub lfu_decay_time: u32,
    /// Microseconds; negative: off.
    pub slowlog_log_slower_than: i64,
    pub slowlog_max_len: u64,
    pub notify_keyspace_events: Events,
    /// Milliseconds; 0: off.
    pub latency_monitor_threshold: u64,
    pub latency_tracking: bool,
    pub latency_tracking_info_percentiles: Vec<f64>,
    /// Directives of Redis and Valkey that we do not have yet: what stood behind the name. CONFIG REWRITE does not lose them.
    pub kept: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
    Nothing,
}

/// `repl-diskless-load`: where the master's snapshot goes while the old data is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisklessLoad {
    /// Into memory, and into a file that becomes the dump file; only into the file where old and new data don't fit `maxmemory`.
    Disabled,
    /// Into memory alone if there is no old data.
    OnEmptyDb,
    /// Into memory alone.
    SwapDb,
    /// Into the file alone. Valkey flushes first and then loads from the socket.
    FlushBeforeLoad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// `repl-dialect`: the first version that reads what slaves are sent which tell none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplDialect {
    V6_2,
    V7_0,
    V7_2,
    V8_2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnableWhere {
    Yes,
    Local,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    pub hard: u64,
    pub soft: u64,
    pub soft_seconds: u64,
}

/// `maxmemory-policy`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionPolicy {
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
    AllkeysLru,
    AllkeysLfu,
    AllkeysRandom,
    Noeviction,
}

impl EvictionPolicy {
    pub fn is_lru(self) -> bool {
        matches!(self, EvictionPolicy::VolatileLru | EvictionPolicy::AllkeysLru)
    }
    pub fn is_lfu(self) -> bool {
        matches!(self, EvictionPolicy::VolatileLfu | EvictionPolicy::AllkeysLfu)
    }
    /// Takes only keys that expire.
    pub fn is_volatile(self) -> bool {
        matches!(self, EvictionPolicy::VolatileLru | EvictionPolicy::VolatileLfu | EvictionPolicy::VolatileRandom | EvictionPolicy::VolatileTtl)
    }
}

const MB: u64 = 1024 * 1024;

/// Redis 7.0's defaults.
impl Default for Config {
    fn default() -> Self {
        Config {
            bind: vec!["*".to_owned(), "-::*".to_owned()],
            port: 6379,
            unixsocket: None,
            unixsocketperm: 0,
            tcp_backlog: 511,
            tcp_keepalive: 300,
            timeout: 0,
            maxclients: 10_000,
            protected_mode: true,
            requirepass: String::new(),
            databases: 16,
            dir: PathBuf::from("."),
            dbfilename: "dump.rdb".to_owned(),
            save: vec![(3600, 1), (300, 100), (60, 10_000)],
            rdbcompression: true,
            disable_thp: true,
            rdbchecksum: true,
            stop_writes_on_bgsave_error: true,
            loglevel: LogLevel::Notice,
            logfile: String::new(),
            log_format: LogFormat::Text,
            syslog_enabled: false,
            syslog_ident: "redis".to_owned(),
            syslog_facility: "local0".to_owned(),
            hz: 10,
            proto_max_bulk_len: 512 * MB,
            client_query_buffer_limit: 1024 * MB,
            client_output_buffer_limit: [
                OutputLimit { hard: 0, soft: 0, soft_seconds: 0 },
                OutputLimit { hard: 256 * MB, soft: 64 * MB, soft_seconds: 60 },
                OutputLimit { hard: 32 * MB, soft: 8 * MB, soft_seconds: 60 },
            ],
            slaveof: None,
            masterauth: String::new(),
            masteruser: String::new(),
            replica_read_only: true,
            replica_serve_stale_data: true,
            replica_priority: 100,
            replica_announce_ip: String::new(),
            replica_announce_port: 0,
            replica_announced: true,
            repl_ping_replica_period: 10,
            repl_timeout: 60,
            repl_backlog_size: MB,
            repl_backlog_ttl: 3600,
            repl_spill_memory: 16 * MB,
            repl_spill_disk_max: 4096 * MB,
            repl_diskless_sync: true,
            repl_diskless_sync_delay: 0,
            repl_diskless_sync_max_replicas: 0,
            repl_max_concurrent_syncs: 3,
            repl_sync_max_rate: 0,
            repl_dialect: ReplDialect::V6_2,
            repl_dialect_refuses: false,
            repl_sync_keep_seconds: 60,
            repl_diskless_load: DisklessLoad::Disabled,
            rdb_del_sync_files: false,
            replica_lazy_flush: false,
            replica_refuse_emptied_master: true,
            repl_disable_tcp_nodelay: false,
            min_replicas_to_write: 0,
            min_replicas_max_lag: 10,
            maxmemory: 0,
            hll_sparse_max_bytes: 3000,
            maxmemory_policy: EvictionPolicy::Noeviction,
            maxmemory_samples: 5,
            maxmemory_eviction_tenacity: 10,
            replica_ignore_maxmemory: true,
            maxmemory_clients: 0,
            busy_reply_threshold: 5000,
            lfu_log_factor: 10,
            limits: Limits::default(),
            lfu_decay_time: 1,
            lazyfree_lazy_eviction: false,
            lazyfree_lazy_expire: false,
            lazyfree_lazy_server_del: false,
            lazyfree_lazy_user_del: false,
            lazyfree_lazy_user_flush: false,
            enable_debug_command: EnableWhere::No,
            enable_protected_configs: EnableWhere::No,
            rename_command: Vec::new(),
            daemonize: false,
            pidfile: String::new(),
            always_show_logo: false,
            shutdown_timeout: 10,
            active_expire_effort: 1,
            slowlog_log_slower_than: 10_000,
            slowlog_max_len: 128,
            notify_keyspace_events: Events::empty(),
            latency_monitor_threshold: 0,
            latency_tracking: true,
            latency_tracking_info_percentiles: vec![50.0, 99.0, 99.9],
            kept: BTreeMap::new(),
        }
    }
}
