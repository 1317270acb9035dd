//! The directive table: one row a directive with name, aliases, type, bounds, default, and whether CONFIG SET may change it.

use std::path::PathBuf;

/// Every directive's value, typed. Sizes in bytes, times in the unit of the name.
#[derive(Clone, Debug)]
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
    pub repl_diskless_sync: bool,
    pub repl_diskless_sync_delay: u64,
    pub repl_disable_tcp_nodelay: bool,
    pub min_replicas_to_write: u32,
    pub min_replicas_max_lag: u64,
    pub maxmemory: u64,
    pub lazyfree_lazy_expire: bool,
    pub lazyfree_lazy_server_del: bool,
    pub lazyfree_lazy_user_del: bool,
    pub lazyfree_lazy_user_flush: bool,
    pub enable_debug_command: EnableWhere,
    pub rename_command: Vec<(String, String)>,
    pub daemonize: bool,
    pub pidfile: String,
    pub always_show_logo: bool,
    pub shutdown_timeout: u64,
    pub active_expire_effort: u32,
    // H: the directive table's owner adds what else Redis's conf needs.
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
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

impl Default for Config {
    fn default() -> Self {
        todo!()
    }
}
