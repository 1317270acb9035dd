//! The directive table: every directive this server has, a row each, in the order in which replikant.conf explains them.

use std::path::PathBuf;

use super::directive::{Directive, Unit, checked, choice, in_unit, list, number, parse_yes_no, text, yes_no};
use super::values::{Config, DisklessLoad, EnableWhere, EvictionPolicy, LogFormat, LogLevel, ReplDialect};
use super::{events, lists};

/// The row of a directive, by its name or its older name.
pub fn find(name: &str) -> Option<&'static Directive> {
    TABLE.iter().find(|directive| directive.is_called(name))
}

const INT_MAX: i64 = i32::MAX as i64;
const MB: i64 = 1024 * 1024;

const LOG_LEVELS: &[LogLevel] = &[LogLevel::Debug, LogLevel::Verbose, LogLevel::Notice, LogLevel::Warning, LogLevel::Nothing];
/// The last is what Valkey, which has a directive of this name too, calls the first.
const LOG_FORMATS: &[LogFormat] = &[LogFormat::Text, LogFormat::Json, LogFormat::Text];
const LOG_FORMAT_WORDS: &[&str] = &["text", "json", "legacy"];
const DISKLESS_LOADS: &[DisklessLoad] = &[DisklessLoad::Disabled, DisklessLoad::OnEmptyDb, DisklessLoad::SwapDb, DisklessLoad::FlushBeforeLoad];
const ENABLE_WHERE: &[EnableWhere] = &[EnableWhere::No, EnableWhere::Yes, EnableWhere::Local];
const FACILITIES: &[&str] = &["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"];
const POLICIES: &[EvictionPolicy] = &[
    EvictionPolicy::VolatileLru,
    EvictionPolicy::VolatileLfu,
    EvictionPolicy::VolatileRandom,
    EvictionPolicy::VolatileTtl,
    EvictionPolicy::AllkeysLru,
    EvictionPolicy::AllkeysLfu,
    EvictionPolicy::AllkeysRandom,
    EvictionPolicy::Noeviction,
];
const POLICY_WORDS: &[&str] =
    &["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction"];
const WHERE_WORDS: &[&str] = &["no", "yes", "local"];

const DIALECTS: &[ReplDialect] = &[ReplDialect::V6_2, ReplDialect::V7_0, ReplDialect::V7_2, ReplDialect::V8_2];
const DIALECT_WORDS: &[&str] = &["6.2", "7.0", "7.2", "8.2"];

fn index_of<T: PartialEq>(values: &[T], value: &T) -> usize {
    values.iter().position(|known| known == value).expect("every value of a choice has its word")
}

/// The server still does without an append-only file; saying `yes` to one would be a promise that is not kept.
fn set_appendonly(_: &mut Config, value: &str) -> Result<(), String> {
    match parse_yes_no(value)? {
        true => Err("appendonly is not available yet: persistence is by RDB files ('save') and replicas".to_owned()),
        false => Ok(()),
    }
}

fn set_dbfilename(config: &mut Config, value: &str) -> Result<(), String> {
    if value.contains('/') {
        return Err("dbfilename can't be a path, just a filename".to_owned());
    }
    value.clone_into(&mut config.dbfilename);
    Ok(())
}

fn path_text(path: Option<&PathBuf>) -> String {
    path.map_or_else(String::new, |path| path.to_string_lossy().into_owned())
}

fn set_unixsocket(config: &mut Config, value: &str) -> Result<(), String> {
    config.unixsocket = (!value.is_empty()).then(|| value.into());
    Ok(())
}

/// Whether there is such a folder is for the caller to find out.
fn set_dir(config: &mut Config, value: &str) -> Result<(), String> {
    config.dir = value.into();
    Ok(())
}

pub static TABLE: &[Directive] = &[
    // Network
    list("bind", lists::bind, lists::bind_lines, lists::set_bind),
    number("port", 0, 65535, |c| c.port.into(), |c, v| c.port = v as u16),
    checked("unixsocket", |c| path_text(c.unixsocket.as_ref()), set_unixsocket).immutable(),
    in_unit("unixsocketperm", Unit::Octal, 0, 0o777, |c| c.unixsocketperm.into(), |c, v| c.unixsocketperm = v as u32).immutable(),
    number("tcp-backlog", 0, INT_MAX, |c| c.tcp_backlog.into(), |c, v| c.tcp_backlog = v as u32).immutable(),
    number("tcp-keepalive", 0, INT_MAX, |c| c.tcp_keepalive as i64, |c, v| c.tcp_keepalive = v as u64),
    number("timeout", 0, INT_MAX, |c| c.timeout as i64, |c, v| c.timeout = v as u64),
    number("maxclients", 1, u32::MAX as i64, |c| c.maxclients.into(), |c, v| c.maxclients = v as u32),
    yes_no("protected-mode", |c| c.protected_mode, |c, v| c.protected_mode = v),
    text("requirepass", |c| &c.requirepass, |c| &mut c.requirepass),
    in_unit("proto-max-bulk-len", Unit::Memory, MB, i64::MAX, |c| c.proto_max_bulk_len as i64, |c, v| c.proto_max_bulk_len = v as u64),
    in_unit(
        "client-query-buffer-limit",
        Unit::Memory,
        MB,
        i64::MAX,
        |c| c.client_query_buffer_limit as i64,
        |c, v| c.client_query_buffer_limit = v as u64,
    ),
    list("client-output-buffer-limit", lists::output_limits, lists::output_limit_lines, lists::set_output_limits),
    // General
    yes_no("daemonize", |c| c.daemonize, |c, v| c.daemonize = v).immutable(),
    text("pidfile", |c| &c.pidfile, |c| &mut c.pidfile).immutable(),
    choice(
        "loglevel",
        &["debug", "verbose", "notice", "warning", "nothing"],
        |c| index_of(LOG_LEVELS, &c.loglevel),
        |c, v| c.loglevel = LOG_LEVELS[v],
    ),
    text("logfile", |c| &c.logfile, |c| &mut c.logfile).immutable(),
    choice("log-format", LOG_FORMAT_WORDS, |c| index_of(LOG_FORMATS, &c.log_format), |c, v| c.log_format = LOG_FORMATS[v]).immutable(),
    yes_no("syslog-enabled", |c| c.syslog_enabled, |c, v| c.syslog_enabled = v).immutable(),
    text("syslog-ident", |c| &c.syslog_ident, |c| &mut c.syslog_ident).immutable(),
    choice(
        "syslog-facility",
        FACILITIES,
        |c| FACILITIES.iter().position(|&word| word == c.syslog_facility).unwrap_or(1),
        |c, v| FACILITIES[v].clone_into(&mut c.syslog_facility),
    )
    .immutable(),
    number("databases", 1, INT_MAX, |c| c.databases.into(), |c, v| c.databases = v as u32).immutable(),
    yes_no("always-show-logo", |c| c.always_show_logo, |c, v| c.always_show_logo = v).immutable(),
    // Redis takes any number and brings it between these.
    number("hz", 0, INT_MAX, |c| c.hz.into(), |c, v| c.hz = v.clamp(1, 500) as u32),
    number("active-expire-effort", 1, 10, |c| c.active_expire_effort.into(), |c, v| c.active_expire_effort = v as u32),
    number("shutdown-timeout", 0, INT_MAX, |c| c.shutdown_timeout as i64, |c, v| c.shutdown_timeout = v as u64),
    choice("enable-debug-command", WHERE_WORDS, |c| index_of(ENABLE_WHERE, &c.enable_debug_command), |c, v| c.enable_debug_command = ENABLE_WHERE[v])
        .immutable(),
    choice(
        "enable-protected-configs",
        WHERE_WORDS,
        |c| index_of(ENABLE_WHERE, &c.enable_protected_configs),
        |c, v| c.enable_protected_configs = ENABLE_WHERE[v],
    )
    .immutable(),
    list("rename-command", lists::rename_command, lists::rename_command_lines, lists::set_rename_command).file_only(),
    // Snapshots
    list("save", lists::save, lists::save_lines, lists::set_save),
    yes_no("stop-writes-on-bgsave-error", |c| c.stop_writes_on_bgsave_error, |c, v| c.stop_writes_on_bgsave_error = v),
    yes_no("rdbcompression", |c| c.rdbcompression, |c, v| c.rdbcompression = v),
    yes_no("disable-thp", |c| c.disable_thp, |c, v| c.disable_thp = v).immutable(),
    yes_no("rdbchecksum", |c| c.rdbchecksum, |c, v| c.rdbchecksum = v).immutable(),
    checked("dbfilename", |c| c.dbfilename.clone(), set_dbfilename).protected(),
    checked("dir", |c| path_text(Some(&c.dir)), set_dir).protected(),
    checked("appendonly", |_| "no".to_owned(), set_appendonly),
    // Replication
    list("replicaof", lists::replicaof, lists::replicaof_lines, lists::set_replicaof).alias("slaveof").immutable(),
    text("masterauth", |c| &c.masterauth, |c| &mut c.masterauth),
    text("masteruser", |c| &c.masteruser, |c| &mut c.masteruser),
    yes_no("replica-serve-stale-data", |c| c.replica_serve_stale_data, |c, v| c.replica_serve_stale_data = v).alias("slave-serve-stale-data"),
    yes_no("replica-read-only", |c| c.replica_read_only, |c, v| c.replica_read_only = v).alias("slave-read-only"),
    yes_no("repl-diskless-sync", |c| c.repl_diskless_sync, |c, v| c.repl_diskless_sync = v),
    number("repl-diskless-sync-delay", 0, INT_MAX, |c| c.repl_diskless_sync_delay as i64, |c, v| c.repl_diskless_sync_delay = v as u64),
    number(
        "repl-diskless-sync-max-replicas",
        0,
        INT_MAX,
        |c| c.repl_diskless_sync_max_replicas.into(),
        |c, v| c.repl_diskless_sync_max_replicas = v as u32,
    ),
    number("repl-max-concurrent-syncs", 1, INT_MAX, |c| c.repl_max_concurrent_syncs.into(), |c, v| c.repl_max_concurrent_syncs = v as u32),
    // Less than 16 KB a second is taken for 16 KB, but 0 is no limit.
    in_unit(
        "repl-sync-max-rate",
        Unit::Memory,
        0,
        i64::MAX,
        |c| c.repl_sync_max_rate as i64,
        |c, v| c.repl_sync_max_rate = if v == 0 { 0 } else { v.max(16 * 1024) as u64 },
    ),
    choice("repl-dialect", DIALECT_WORDS, |c| index_of(DIALECTS, &c.repl_dialect), |c, v| c.repl_dialect = DIALECTS[v]),
    choice("repl-dialect-loss", &["drop", "refuse"], |c| c.repl_dialect_refuses.into(), |c, v| c.repl_dialect_refuses = v == 1),
    choice(
        "repl-diskless-load",
        &["disabled", "on-empty-db", "swapdb", "flush-before-load"],
        |c| index_of(DISKLESS_LOADS, &c.repl_diskless_load),
        |c, v| c.repl_diskless_load = DISKLESS_LOADS[v],
    ),
    yes_no("rdb-del-sync-files", |c| c.rdb_del_sync_files, |c, v| c.rdb_del_sync_files = v),
    yes_no("replica-lazy-flush", |c| c.replica_lazy_flush, |c, v| c.replica_lazy_flush = v).alias("slave-lazy-flush"),
    yes_no("replica-refuse-emptied-master", |c| c.replica_refuse_emptied_master, |c, v| c.replica_refuse_emptied_master = v),
    number("repl-sync-keep-seconds", 0, INT_MAX, |c| c.repl_sync_keep_seconds as i64, |c, v| c.repl_sync_keep_seconds = v as u64),
    number("repl-ping-replica-period", 1, INT_MAX, |c| c.repl_ping_replica_period as i64, |c, v| c.repl_ping_replica_period = v as u64)
        .alias("repl-ping-slave-period"),
    number("repl-timeout", 1, INT_MAX, |c| c.repl_timeout as i64, |c, v| c.repl_timeout = v as u64),
    yes_no("repl-disable-tcp-nodelay", |c| c.repl_disable_tcp_nodelay, |c, v| c.repl_disable_tcp_nodelay = v),
    // Less than 16 KB is taken for 16 KB, as in Redis.
    in_unit("repl-backlog-size", Unit::Memory, 1, i64::MAX, |c| c.repl_backlog_size as i64, |c, v| c.repl_backlog_size = v.max(16 * 1024) as u64),
    number("repl-backlog-ttl", 0, i64::MAX, |c| c.repl_backlog_ttl as i64, |c, v| c.repl_backlog_ttl = v as u64),
    in_unit("repl-spill-memory", Unit::Memory, 1, i64::MAX, |c| c.repl_spill_memory as i64, |c, v| c.repl_spill_memory = v.max(64 * 1024) as u64),
    in_unit("repl-spill-disk-max", Unit::Memory, 0, i64::MAX, |c| c.repl_spill_disk_max as i64, |c, v| c.repl_spill_disk_max = v as u64),
    number("replica-priority", 0, INT_MAX, |c| c.replica_priority.into(), |c, v| c.replica_priority = v as u32).alias("slave-priority"),
    yes_no("replica-announced", |c| c.replica_announced, |c, v| c.replica_announced = v),
    number("min-replicas-to-write", 0, INT_MAX, |c| c.min_replicas_to_write.into(), |c, v| c.min_replicas_to_write = v as u32)
        .alias("min-slaves-to-write"),
    number("min-replicas-max-lag", 0, INT_MAX, |c| c.min_replicas_max_lag as i64, |c, v| c.min_replicas_max_lag = v as u64)
        .alias("min-slaves-max-lag"),
    text("replica-announce-ip", |c| &c.replica_announce_ip, |c| &mut c.replica_announce_ip).alias("slave-announce-ip"),
    number("replica-announce-port", 0, 65535, |c| c.replica_announce_port.into(), |c, v| c.replica_announce_port = v as u16)
        .alias("slave-announce-port"),
    // Memory
    in_unit("maxmemory", Unit::Memory, 0, i64::MAX, |c| c.maxmemory as i64, |c, v| c.maxmemory = v as u64),
    choice("maxmemory-policy", POLICY_WORDS, |c| index_of(POLICIES, &c.maxmemory_policy), |c, v| c.maxmemory_policy = POLICIES[v]),
    number("maxmemory-samples", 1, INT_MAX, |c| c.maxmemory_samples.into(), |c, v| c.maxmemory_samples = v as u32),
    number("maxmemory-eviction-tenacity", 0, 100, |c| c.maxmemory_eviction_tenacity.into(), |c, v| c.maxmemory_eviction_tenacity = v as u32),
    yes_no("replica-ignore-maxmemory", |c| c.replica_ignore_maxmemory, |c, v| c.replica_ignore_maxmemory = v).alias("slave-ignore-maxmemory"),
    in_unit("maxmemory-clients", Unit::MemoryOrPercent, -100, i64::MAX, |c| c.maxmemory_clients, |c, v| c.maxmemory_clients = v),
    number("busy-reply-threshold", 0, i64::MAX, |c| c.busy_reply_threshold as i64, |c, v| c.busy_reply_threshold = v as u64).alias("lua-time-limit"),
    number("lfu-log-factor", 0, INT_MAX, |c| c.lfu_log_factor.into(), |c, v| c.lfu_log_factor = v as u32),
    number("lfu-decay-time", 0, INT_MAX, |c| c.lfu_decay_time.into(), |c, v| c.lfu_decay_time = v as u32),
    in_unit("hll-sparse-max-bytes", Unit::Memory, 0, i64::MAX, |c| c.hll_sparse_max_bytes as i64, |c, v| c.hll_sparse_max_bytes = v as u64),
    yes_no("lazyfree-lazy-eviction", |c| c.lazyfree_lazy_eviction, |c, v| c.lazyfree_lazy_eviction = v),
    yes_no("lazyfree-lazy-expire", |c| c.lazyfree_lazy_expire, |c, v| c.lazyfree_lazy_expire = v),
    yes_no("lazyfree-lazy-server-del", |c| c.lazyfree_lazy_server_del, |c, v| c.lazyfree_lazy_server_del = v),
    yes_no("lazyfree-lazy-user-del", |c| c.lazyfree_lazy_user_del, |c, v| c.lazyfree_lazy_user_del = v),
    yes_no("lazyfree-lazy-user-flush", |c| c.lazyfree_lazy_user_flush, |c, v| c.lazyfree_lazy_user_flush = v),
    // Compact forms
    number("hash-max-listpack-entries", 0, i64::MAX, |c| c.limits.hash_entries as i64, |c, v| c.limits.hash_entries = v as u64)
        .alias("hash-max-ziplist-entries"),
    in_unit("hash-max-listpack-value", Unit::Memory, 0, i64::MAX, |c| c.limits.hash_value as i64, |c, v| c.limits.hash_value = v as u64)
        .alias("hash-max-ziplist-value"),
    number("set-max-intset-entries", 0, i64::MAX, |c| c.limits.intset_entries as i64, |c, v| c.limits.intset_entries = v as u64),
    number("set-max-listpack-entries", 0, i64::MAX, |c| c.limits.set_entries as i64, |c, v| c.limits.set_entries = v as u64),
    number("set-max-listpack-value", 0, i64::MAX, |c| c.limits.set_value as i64, |c, v| c.limits.set_value = v as u64),
    number("zset-max-listpack-entries", 0, i64::MAX, |c| c.limits.zset_entries as i64, |c, v| c.limits.zset_entries = v as u64)
        .alias("zset-max-ziplist-entries"),
    in_unit("zset-max-listpack-value", Unit::Memory, 0, i64::MAX, |c| c.limits.zset_value as i64, |c, v| c.limits.zset_value = v as u64)
        .alias("zset-max-ziplist-value"),
    in_unit("stream-node-max-bytes", Unit::Memory, 0, i64::MAX, |c| c.limits.stream_node_bytes as i64, |c, v| c.limits.stream_node_bytes = v as u64),
    number("stream-node-max-entries", 0, i64::MAX, |c| c.limits.stream_node_entries as i64, |c, v| c.limits.stream_node_entries = v as u64),
    number("list-max-listpack-size", -INT_MAX - 1, INT_MAX, |c| c.limits.list_size, |c, v| c.limits.list_size = v).alias("list-max-ziplist-size"),
    number("list-compress-depth", 0, INT_MAX, |c| c.limits.list_compress_depth as i64, |c, v| c.limits.list_compress_depth = v as u64),
    // Observation
    number("slowlog-log-slower-than", -1, i64::MAX, |c| c.slowlog_log_slower_than, |c, v| c.slowlog_log_slower_than = v),
    number("slowlog-max-len", 0, i64::MAX, |c| c.slowlog_max_len as i64, |c, v| c.slowlog_max_len = v as u64),
    number("latency-monitor-threshold", 0, i64::MAX, |c| c.latency_monitor_threshold as i64, |c, v| c.latency_monitor_threshold = v as u64),
    yes_no("latency-tracking", |c| c.latency_tracking, |c, v| c.latency_tracking = v),
    list("latency-tracking-info-percentiles", lists::percentiles, lists::percentile_lines, lists::set_percentiles),
    list("notify-keyspace-events", events::shown, events::conf_lines, events::set),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::directive::Mode;
    use crate::config::load_text;

    /// CONFIG GET * of a 7.0.15 without a conf file.
    #[rustfmt::skip]
    const REDIS_DEFAULTS: &[(&str, &str)] = &[
        ("active-expire-effort", "1"),
        ("always-show-logo", "no"),
        ("appendonly", "no"),
        ("bind", "* -::*"),
        ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
        ("client-query-buffer-limit", "1073741824"),
        ("daemonize", "no"),
        ("databases", "16"),
        ("dbfilename", "dump.rdb"),
        ("enable-debug-command", "no"),
        ("enable-protected-configs", "no"),
        ("hz", "10"),
        ("hll-sparse-max-bytes", "3000"),
        ("hash-max-listpack-entries", "512"),
        ("hash-max-listpack-value", "64"),
        ("set-max-intset-entries", "512"),
        ("set-max-listpack-entries", "128"),
        ("set-max-listpack-value", "64"),
        ("zset-max-listpack-entries", "128"),
        ("zset-max-listpack-value", "64"),
        ("stream-node-max-bytes", "4096"),
        ("stream-node-max-entries", "100"),
        ("list-max-listpack-size", "-2"),
        ("list-compress-depth", "0"),
        ("latency-monitor-threshold", "0"),
        ("latency-tracking", "yes"),
        ("latency-tracking-info-percentiles", "50 99 99.9"),
        ("lazyfree-lazy-eviction", "no"),
        ("lazyfree-lazy-expire", "no"),
        ("lazyfree-lazy-server-del", "no"),
        ("lazyfree-lazy-user-del", "no"),
        ("lazyfree-lazy-user-flush", "no"),
        ("lfu-decay-time", "1"),
        ("lfu-log-factor", "10"),
        ("loglevel", "notice"),
        ("masterauth", ""),
        ("masteruser", ""),
        ("maxclients", "10000"),
        ("maxmemory", "0"),
        ("maxmemory-clients", "0"),
        ("maxmemory-policy", "noeviction"),
        ("maxmemory-eviction-tenacity", "10"),
        ("maxmemory-samples", "5"),
        ("replica-ignore-maxmemory", "yes"),
        ("min-replicas-max-lag", "10"),
        ("min-replicas-to-write", "0"),
        ("min-slaves-max-lag", "10"),
        ("min-slaves-to-write", "0"),
        ("protected-mode", "yes"),
        ("notify-keyspace-events", ""),
        ("proto-max-bulk-len", "536870912"),
        ("disable-thp", "yes"),
        ("rdbchecksum", "yes"),
        ("rdbcompression", "yes"),
        ("repl-backlog-size", "1048576"),
        ("repl-backlog-ttl", "3600"),
        ("repl-disable-tcp-nodelay", "no"),
        ("rdb-del-sync-files", "no"),
        ("repl-diskless-load", "disabled"),
        ("repl-diskless-sync", "yes"),
        ("repl-diskless-sync-delay", "0"),
        ("repl-diskless-sync-max-replicas", "0"),
        ("repl-ping-replica-period", "10"),
        ("repl-ping-slave-period", "10"),
        ("repl-timeout", "60"),
        ("replica-announce-ip", ""),
        ("replica-announce-port", "0"),
        ("replica-announced", "yes"),
        ("replica-lazy-flush", "no"),
        ("slave-lazy-flush", "no"),
        ("replica-priority", "100"),
        ("replica-read-only", "yes"),
        ("replica-serve-stale-data", "yes"),
        ("replicaof", ""),
        ("requirepass", ""),
        ("save", "3600 1 300 100 60 10000"),
        ("shutdown-timeout", "10"),
        ("slave-announce-ip", ""),
        ("slave-announce-port", "0"),
        ("slave-priority", "100"),
        ("slave-read-only", "yes"),
        ("slave-serve-stale-data", "yes"),
        ("slaveof", ""),
        ("slowlog-log-slower-than", "10000"),
        ("busy-reply-threshold", "5000"),
        ("slowlog-max-len", "128"),
        ("stop-writes-on-bgsave-error", "yes"),
        ("syslog-enabled", "no"),
        ("syslog-facility", "local0"),
        ("syslog-ident", "redis"),
        ("tcp-backlog", "511"),
        ("tcp-keepalive", "300"),
        ("timeout", "0"),
        ("unixsocketperm", "0"),
        ("port", "6379"),
        ("unixsocket", ""),
        ("pidfile", ""),
        ("logfile", ""),
    ];

    #[test]
    fn defaults_show_as_in_redis() {
        let config = Config::default();
        for (name, value) in REDIS_DEFAULTS {
            assert_eq!(find(name).unwrap_or_else(|| panic!("{name}")).get(&config), *value, "{name}");
        }
        let compared = |directive: &Directive| REDIS_DEFAULTS.iter().any(|(name, _)| *name == directive.name);
        let own: Vec<_> = TABLE.iter().filter(|directive| !compared(directive)).map(|directive| directive.name).collect();
        let repl = ["max-concurrent-syncs", "sync-max-rate", "dialect", "dialect-loss", "sync-keep-seconds", "spill-memory", "spill-disk-max"];
        let repl = repl.map(|name| format!("repl-{name}"));
        let repl: Vec<&str> = repl.iter().map(String::as_str).collect();
        assert_eq!(own, [&["log-format", "rename-command", "dir"][..], &repl[..4], &["replica-refuse-emptied-master"], &repl[4..]].concat());
    }

    #[test]
    fn what_is_shown_can_be_set() {
        for directive in TABLE.iter().filter(|directive| !directive.file_only) {
            let mut config = Config::default();
            let shown = directive.get(&config);
            if directive.name != "replicaof" {
                directive.set(&mut config, &[&shown], Mode::Replace).unwrap_or_else(|reason| panic!("{}: {reason}", directive.name));
            }
            assert_eq!(config, Config::default(), "{}", directive.name);
        }
    }

    #[test]
    fn replikant_conf_names_every_directive_and_says_the_defaults() {
        let conf = include_str!("../../conf/replikant.conf");
        let loaded = load_text(conf.as_bytes()).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.warnings, Vec::<String>::new());
        let named: Vec<_> =
            conf.lines().filter_map(|line| find(line.trim_start_matches("# ").split(' ').next()?)).map(|directive| directive.name).collect();
        let missing: Vec<_> = TABLE.iter().map(|directive| directive.name).filter(|name| !named.contains(name)).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }

    #[test]
    fn the_pair_of_conf_files_loads() {
        let master = load_text(include_bytes!("../../conf/6379.conf")).unwrap().config;
        let replica = load_text(include_bytes!("../../conf/6380.conf")).unwrap().config;
        assert_eq!((master.port, &master.slaveof), (6379, &None));
        assert_eq!((replica.port, replica.slaveof), (6380, Some(("127.0.0.1".to_owned(), 6379))));
        assert_ne!(master.dbfilename, replica.dbfilename);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = TABLE.iter().flat_map(Directive::names).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
