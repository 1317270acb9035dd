//! Directives of Redis 6.2 to 8.2 and Valkey 8.1 that this server does not have yet. A conf file written for those loads: a line that says
//! what their default says is passed over, another is a warning by name. Where passing over would be unsafe, it is an error.

use super::directive::parse_memory;

/// What to do with a line of a directive that is not in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It says what is so anyway.
    Default,
    /// It asks for something that does not happen.
    Missing,
    /// It asks for something without which the server must not start.
    Refused,
}

/// `None`: nobody knows this directive.
pub fn known(name: &str, args: &[String]) -> Option<Known> {
    let value = args.join(" ");
    let find = |rows: &'static [(&'static str, &'static [&'static str])]| rows.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    if let Some((_, harmless)) = find(REFUSED) {
        return Some(if same_as_any(&value, harmless) { Known::Default } else { Known::Refused });
    }
    let (_, defaults) = find(KNOWN)?;
    Some(if same_as_any(&value, defaults) { Known::Default } else { Known::Missing })
}

fn same_as_any(value: &str, defaults: &[&str]) -> bool {
    let bytes = parse_memory(value);
    defaults.iter().any(|default| default.eq_ignore_ascii_case(value) || bytes.is_some() && bytes == parse_memory(default))
}

/// Who relies on these must not get a server that is open, unencrypted, alone or without its commands.
const REFUSED: &[(&str, &[&str])] = &[
    ("aclfile", &[""]),
    ("cluster-enabled", &["no"]),
    ("loadmodule", &[]),
    ("tls-cluster", &["no"]),
    ("tls-port", &["0"]),
    ("tls-replication", &["no"]),
    ("user", &[]),
];

/// Names with their defaults, of whichever server has them.
#[rustfmt::skip]
const KNOWN: &[(&str, &[&str])] = &[
    ("acl-pubsub-default", &["allchannels", "resetchannels"]),
    ("acllog-max-len", &["128"]),
    ("active-defrag-cycle-max", &["25"]),
    ("active-defrag-cycle-min", &["1"]),
    ("active-defrag-cycle-us", &["500"]),
    ("active-defrag-ignore-bytes", &["104857600"]),
    ("active-defrag-max-scan-fields", &["1000"]),
    ("active-defrag-threshold-lower", &["10"]),
    ("active-defrag-threshold-upper", &["100"]),
    ("activedefrag", &["no"]),
    ("activerehashing", &["yes"]),
    ("aof-disable-auto-gc", &["no"]),
    ("aof-load-truncated", &["yes"]),
    ("aof-rewrite-cpulist", &[""]),
    ("aof-rewrite-incremental-fsync", &["yes"]),
    ("aof-timestamp-enabled", &["no"]),
    ("aof-use-rdb-preamble", &["yes"]),
    ("aof_rewrite_cpulist", &[""]),
    ("appenddirname", &["appendonlydir"]),
    ("appendfilename", &["appendonly.aof"]),
    ("appendfsync", &["everysec"]),
    ("auto-aof-rewrite-min-size", &["67108864"]),
    ("auto-aof-rewrite-percentage", &["100"]),
    ("availability-zone", &[""]),
    ("bgsave-cpulist", &[""]),
    ("bgsave_cpulist", &[""]),
    ("bind-source-addr", &[""]),
    ("bio-cpulist", &[""]),
    ("bio_cpulist", &[""]),
    ("cluster-allow-pubsubshard-when-down", &["yes"]),
    ("cluster-allow-reads-when-down", &["no"]),
    ("cluster-allow-replica-migration", &["yes"]),
    ("cluster-announce-bus-port", &["0"]),
    ("cluster-announce-client-ipv4", &[""]),
    ("cluster-announce-client-ipv6", &[""]),
    ("cluster-announce-hostname", &[""]),
    ("cluster-announce-human-nodename", &[""]),
    ("cluster-announce-ip", &[""]),
    ("cluster-announce-port", &["0"]),
    ("cluster-announce-tls-port", &["0"]),
    ("cluster-blacklist-ttl", &["60"]),
    ("cluster-compatibility-sample-ratio", &["0"]),
    ("cluster-config-file", &["nodes.conf"]),
    ("cluster-link-sendbuf-limit", &["0"]),
    ("cluster-manual-failover-timeout", &["5000"]),
    ("cluster-migration-barrier", &["1"]),
    ("cluster-node-timeout", &["15000"]),
    ("cluster-port", &["0"]),
    ("cluster-preferred-endpoint-type", &["ip"]),
    ("cluster-replica-no-failover", &["no"]),
    ("cluster-replica-validity-factor", &["10"]),
    ("cluster-require-full-coverage", &["yes"]),
    ("cluster-slave-no-failover", &["no"]),
    ("cluster-slave-validity-factor", &["10"]),
    ("cluster-slot-stats-enabled", &["no"]),
    ("commandlog-execution-slower-than", &["10000"]),
    ("commandlog-large-reply-max-len", &["128"]),
    ("commandlog-large-request-max-len", &["128"]),
    ("commandlog-reply-larger-than", &["1048576"]),
    ("commandlog-request-larger-than", &["1048576"]),
    ("commandlog-slow-execution-max-len", &["128"]),
    ("crash-log-enabled", &["yes"]),
    ("crash-memcheck-enabled", &["yes"]),
    ("dual-channel-replication-enabled", &["no"]),
    ("dynamic-hz", &["yes"]),
    ("enable-module-command", &["no"]),
    ("extended-redis-compatibility", &["no"]),
    ("gopher-enabled", &["no"]),
    ("hide-user-data-from-log", &["no", "yes"]),
    ("ignore-warnings", &[""]),
    ("import-mode", &["no"]),
    ("io-threads", &["1"]),
    ("io-threads-do-reads", &["no"]),
    ("jemalloc-bg-thread", &["yes"]),
    ("key-load-delay", &["0"]),
    ("list-max-ziplist-entries", &[]),
    ("list-max-ziplist-value", &[]),
    ("locale-collate", &[""]),
    ("log-timestamp-format", &["legacy"]),
    ("lua-enable-deprecated-api", &[]),
    ("lua-replicate-commands", &["yes"]),
    ("max-new-connections-per-cycle", &["10"]),
    ("max-new-tls-connections-per-cycle", &["1"]),
    ("no-appendfsync-on-rewrite", &["no"]),
    ("oom-score-adj", &["no"]),
    ("oom-score-adj-values", &["0 200 800"]),
    ("prefetch-batch-max-size", &["16"]),
    ("primaryauth", &[""]),
    ("primaryuser", &[""]),
    ("proc-title-template", &["{title} {listen-addr} {server-mode}"]),
    ("propagation-error-behavior", &["ignore"]),
    ("rdb-key-save-delay", &["0"]),
    ("rdb-save-incremental-fsync", &["yes"]),
    ("rdb-version-check", &["strict"]),
    ("rdma-bind", &[""]),
    ("rdma-completion-vector", &["-1"]),
    ("rdma-port", &["0"]),
    ("rdma-rx-size", &["1048576"]),
    ("replica-full-sync-buffer-limit", &["0"]),
    ("replica-ignore-disk-write-errors", &["no"]),
    ("sanitize-dump-payload", &["no", "yes", "clients"]),
    ("server-cpulist", &[""]),
    ("server_cpulist", &[""]),
    ("set-proc-title", &["yes"]),
    ("shutdown-on-sigint", &["default"]),
    ("shutdown-on-sigterm", &["default"]),
    ("socket-mark-id", &["0"]),
    ("supervised", &["no"]),
    ("tls-auth-clients", &["yes"]),
    ("tls-ca-cert-dir", &[""]),
    ("tls-ca-cert-file", &[""]),
    ("tls-cert-file", &[""]),
    ("tls-ciphers", &[""]),
    ("tls-ciphersuites", &[""]),
    ("tls-client-cert-file", &[""]),
    ("tls-client-key-file", &[""]),
    ("tls-client-key-file-pass", &[""]),
    ("tls-dh-params-file", &[""]),
    ("tls-key-file", &[""]),
    ("tls-key-file-pass", &[""]),
    ("tls-prefer-server-ciphers", &["no"]),
    ("tls-protocols", &[""]),
    ("tls-session-cache-size", &["20480"]),
    ("tls-session-cache-timeout", &["300"]),
    ("tls-session-caching", &["yes"]),
    ("tracking-table-max-keys", &["1000000"]),
    ("unixsocketgroup", &[""]),
    ("use-exit-on-panic", &["no"]),
    ("vset-force-single-threaded-execution", &["no"]),
    ("watchdog-period", &["0"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table;

    fn ask(line: &str) -> Option<Known> {
        let mut words = line.split(' ').map(str::to_owned);
        let name = words.next().unwrap();
        known(&name, &words.collect::<Vec<_>>())
    }

    #[test]
    fn tells_defaults_from_wishes() {
        assert_eq!(ask("auto-aof-rewrite-min-size 64mb"), Some(Known::Default));
        assert_eq!(ask("auto-aof-rewrite-min-size 1gb"), Some(Known::Missing));
        assert_eq!(ask("OOM-score-adj NO"), Some(Known::Default));
        assert_eq!(ask("oom-score-adj-values 0 200 800"), Some(Known::Default));
        assert_eq!(ask("cluster-enabled no"), Some(Known::Default));
        assert_eq!(ask("cluster-enabled yes"), Some(Known::Refused));
        assert_eq!(ask("user default on nopass"), Some(Known::Refused));
        assert_eq!(ask("list-max-ziplist-entries 5"), Some(Known::Missing));
        assert_eq!(ask("port-forward 1"), None);
    }

    #[test]
    fn what_we_have_is_not_called_missing() {
        for (name, _) in KNOWN.iter().chain(REFUSED) {
            assert!(table::find(name).is_none(), "{name}");
        }
        assert!(KNOWN.is_sorted_by_key(|(name, _)| name));
    }
}
