//! INFO: the sections, under Redis's field names so that monitoring tools and Sentinel find them, and a few of our own (`longest_*`, `replikant_version`).
//! A field of Redis's that would have no meaning here (forks, jemalloc, defragmentation) is left out; one whose feature is absent but
//! is commonly asked for is shown as Redis shows the feature unused.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;

use super::stats::CommandStats;
use super::{Acl, ClientFlags, CmdResult, Ctx, Flags, NodeState, Spec};
use crate::keyspace::{DbIndex, UnixMs, lru_clock};

/// Writes one section, its title included.
type Section = fn(&mut NodeState, &mut String);

/// In the order in which they are shown. `default` ones are in a bare INFO.
const SECTIONS: &[(&str, bool, Section)] = &[
    ("server", true, server),
    ("clients", true, clients),
    ("memory", true, super::memory::section),
    ("persistence", true, persistence),
    ("threads", true, threads),
    ("stats", true, stats),
    ("replication", true, replication),
    ("cpu", true, cpu),
    ("modules", true, modules),
    ("commandstats", false, commandstats),
    ("errorstats", true, errorstats),
    ("latencystats", false, latencystats),
    ("cluster", true, cluster),
    ("keyspace", true, keyspace),
];

fn info(ctx: &mut Ctx<'_>) -> CmdResult {
    let asked = |name: &[u8]| ctx.args.iter().skip(1).any(|arg| arg.eq_ignore_ascii_case(name));
    let default = ctx.args.len() == 1 || asked(b"default");
    let all = asked(b"all") || asked(b"everything");
    let mut text = String::new();
    for (name, in_default, section) in SECTIONS {
        let wanted = all || (default && *in_default) || asked(name.as_bytes());
        if !wanted {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        section(ctx.node, &mut text);
    }
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

pub(super) fn title(out: &mut String, name: &str) {
    out.push_str("# ");
    out.push_str(name);
    out.push_str("\r\n");
}

pub(super) fn field(out: &mut String, name: &str, value: impl Display) {
    use std::fmt::Write;
    let _ = write!(out, "{name}:{value}\r\n");
}

/// A size, also in the form for people.
pub(super) fn size(out: &mut String, name: &str, bytes: u64) {
    field(out, name, bytes);
    field(out, &format!("{name}_human"), human(bytes));
}

/// `1.50M`, as Redis's `bytesToHuman`.
fn human(bytes: u64) -> String {
    let units = ["K", "M", "G", "T", "P", "E"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let power = (bytes.ilog2() / 10).min(units.len() as u32);
    format!("{:.2}{}", bytes as f64 / 1024f64.powi(power as i32), units[power as usize - 1])
}

/// A small file that the kernel makes up; `None` where there is no such file, as in a simulated world.
fn kernel_file(node: &NodeState, path: &str) -> Option<String> {
    let mut text = String::new();
    node.env.disk.open(Path::new(path)).ok()?.take(64 * 1024).read_to_string(&mut text).ok()?;
    Some(text)
}

/// A line `name: 123 kB` of such a file, in bytes.
pub(super) fn kernel_bytes(node: &NodeState, path: &str, name: &str) -> u64 {
    let kib = || kernel_file(node, path)?.lines().find_map(|line| line.strip_prefix(name)?.trim_end_matches("kB").trim().parse::<u64>().ok());
    kib().unwrap_or(0) * 1024
}

fn server(node: &mut NodeState, out: &mut String) {
    let uptime_seconds = (node.now_ms - node.started_ms) / 1000;
    let kernel = |name: &str| kernel_file(node, &format!("/proc/sys/kernel/{name}")).unwrap_or_default().trim().to_owned();
    title(out, "Server");
    field(out, "redis_version", crate::REDIS_VERSION_CLAIMED);
    field(out, "replikant_version", env!("CARGO_PKG_VERSION"));
    field(out, "redis_mode", "standalone");
    field(out, "os", format_args!("{} {} {}", kernel("ostype"), kernel("osrelease"), std::env::consts::ARCH));
    field(out, "arch_bits", usize::BITS);
    field(out, "multiplexing_api", "epoll");
    field(out, "process_id", std::process::id());
    field(out, "process_supervised", "no");
    field(out, "run_id", &node.run_id);
    field(out, "tcp_port", node.tcp_port);
    field(out, "server_time_usec", node.now_us);
    field(out, "uptime_in_seconds", uptime_seconds);
    field(out, "uptime_in_days", uptime_seconds / 86_400);
    field(out, "hz", node.config.hz);
    field(out, "configured_hz", node.config.hz);
    field(out, "lru_clock", lru_clock(UnixMs(node.now_ms)));
    field(out, "executable", &node.executable);
    field(out, "config_file", node.config_file.as_deref().unwrap_or(Path::new("")).display());
    field(out, "io_threads_active", 0);
    if let Some(ms) = node.shutdown_in_ms() {
        field(out, "shutdown_in_milliseconds", ms);
    }
    let bind: String = node.config.bind.iter().map(|addr| format!(",bind={addr}")).collect();
    field(out, "listener0", format_args!("name=tcp{bind},port={}", node.tcp_port));
    if let Some(path) = &node.config.unixsocket {
        field(out, "listener1", format_args!("name=unix,bind={}", path.display()));
    }
}

fn clients(node: &mut NodeState, out: &mut String) {
    let count = |wanted: &dyn Fn(&super::Client) -> bool| node.clients.iter().filter(|(_, client)| wanted(client)).count();
    title(out, "Clients");
    field(out, "connected_clients", count(&|client| !client.flags.intersects(ClientFlags::REPLICA | ClientFlags::MASTER)));
    field(out, "cluster_connections", 0);
    field(out, "maxclients", node.config.maxclients);
    field(out, "client_recent_max_input_buffer", node.clients.iter().map(|(_, client)| client.query_buffer).max().unwrap_or(0));
    field(out, "client_recent_max_output_buffer", node.clients.iter().map(|(_, client)| client.out.capacity()).max().unwrap_or(0));
    field(out, "blocked_clients", node.blocked.waiting());
    field(out, "tracking_clients", 0);
    field(out, "pubsub_clients", count(&|client| client.is(ClientFlags::PUBSUB)));
    field(out, "watching_clients", count(&|client| !client.watched.is_empty()));
    field(out, "clients_in_timeout_table", node.blocked.with_deadline());
    field(out, "total_watched_keys", node.clients.iter().map(|(_, client)| client.watched.len()).sum::<usize>());
    let (keys, without_key) = node.blocked.keys_waited_for();
    field(out, "total_blocking_keys", keys);
    field(out, "total_blocking_keys_on_nokey", without_key);
}

fn persistence(node: &mut NodeState, out: &mut String) {
    let save = &node.save;
    title(out, "Persistence");
    let loading = node.loading.as_ref();
    field(out, "loading", u8::from(loading.is_some_and(|loading| !loading.is_async)));
    field(out, "async_loading", u8::from(loading.is_some_and(|loading| loading.is_async)));
    // Nothing is forked, so nothing is copied by the kernel.
    ["current_cow_peak", "current_cow_size", "current_cow_size_age"].iter().for_each(|name| field(out, name, 0));
    let (keys_done, keys_total) = if save.bgsave_started_ms.is_some() { (save.keys_done, save.keys_total) } else { (0, 0) };
    field(out, "current_fork_perc", format_args!("{:.2}", keys_done as f64 * 100.0 / keys_total.max(1) as f64));
    field(out, "current_save_keys_processed", keys_done);
    field(out, "current_save_keys_total", keys_total);
    field(out, "rdb_changes_since_last_save", node.dirty.saturating_sub(save.dirty_at_last_save));
    field(out, "rdb_bgsave_in_progress", u8::from(save.bgsave_started_ms.is_some()));
    field(out, "rdb_last_save_time", save.last_save_unix);
    field(out, "rdb_last_bgsave_status", if save.last_bgsave_ok { "ok" } else { "err" });
    field(out, "rdb_last_bgsave_time_sec", save.last_bgsave_seconds);
    field(out, "rdb_current_bgsave_time_sec", save.bgsave_started_ms.map_or(-1, |started_ms| (node.now_ms - started_ms) / 1000));
    field(out, "rdb_saves", node.stats.snapshots);
    field(out, "rdb_last_cow_size", 0);
    field(out, "rdb_last_load_keys_expired", save.last_load_expired);
    field(out, "rdb_last_load_keys_loaded", save.last_load_keys);
    append_only_file(out);
    field(out, "module_fork_in_progress", 0);
    field(out, "module_fork_last_cow_size", 0);
    if let Some(loading) = loading {
        let seconds = (node.now_ms / 1000 - loading.started_unix).max(0) as u64;
        let rate = loading.loaded_bytes / seconds.max(1);
        field(out, "loading_start_time", loading.started_unix);
        field(out, "loading_total_bytes", loading.total_bytes);
        field(out, "loading_loaded_bytes", loading.loaded_bytes);
        let percent = loading.loaded_bytes as f64 * 100.0 / loading.total_bytes.max(1) as f64;
        field(out, "loading_loaded_perc", format_args!("{percent:.2}"));
        field(out, "loading_eta_seconds", loading.total_bytes.saturating_sub(loading.loaded_bytes) / rate.max(1));
    }
}

/// There is none: as in a Redis whose `appendonly` was never on.
fn append_only_file(out: &mut String) {
    field(out, "aof_enabled", 0);
    field(out, "aof_rewrite_in_progress", 0);
    field(out, "aof_rewrite_scheduled", 0);
    field(out, "aof_last_rewrite_time_sec", -1);
    field(out, "aof_current_rewrite_time_sec", -1);
    field(out, "aof_last_bgrewrite_status", "ok");
    field(out, "aof_rewrites", 0);
    field(out, "aof_rewrites_consecutive_failures", 0);
    field(out, "aof_last_write_status", "ok");
    field(out, "aof_last_cow_size", 0);
}

/// One thread serves the clients.
fn threads(node: &mut NodeState, out: &mut String) {
    title(out, "Threads");
    let (clients, stats) = (node.clients.len(), &node.stats);
    field(out, "io_thread_0", format_args!("clients={clients},reads={},writes={}", stats.reads_processed, stats.writes_processed));
}

fn stats(node: &mut NodeState, out: &mut String) {
    let stats = &node.stats;
    let kbps = |counter| format!("{:.2}", stats.rate(counter) / 1024.0);
    let turns_a_second = stats.rate(|sample| sample.turns);
    let turn_us = if turns_a_second > 0.0 { stats.rate(|sample| sample.turns_ns) / turns_a_second / 1000.0 } else { 0.0 };
    title(out, "Stats");
    field(out, "total_connections_received", stats.connections_received);
    field(out, "total_commands_processed", stats.commands_processed);
    field(out, "instantaneous_ops_per_sec", stats.rate(|sample| sample.commands) as u64);
    field(out, "total_net_input_bytes", stats.net_input_bytes);
    field(out, "total_net_output_bytes", stats.net_output_bytes);
    field(out, "total_net_repl_input_bytes", stats.net_repl_input_bytes);
    field(out, "total_net_repl_output_bytes", stats.net_repl_output_bytes);
    field(out, "instantaneous_input_kbps", kbps(|sample| sample.bytes_in));
    field(out, "instantaneous_output_kbps", kbps(|sample| sample.bytes_out));
    field(out, "instantaneous_input_repl_kbps", kbps(|sample| sample.repl_bytes_in));
    field(out, "instantaneous_output_repl_kbps", kbps(|sample| sample.repl_bytes_out));
    field(out, "rejected_connections", stats.connections_rejected);
    field(out, "sync_full", stats.sync_full);
    field(out, "sync_partial_ok", stats.sync_partial_ok);
    field(out, "sync_partial_err", stats.sync_partial_err);
    field(out, "expired_subkeys", stats.expired_subkeys);
    field(out, "expired_keys", stats.expired_keys);
    field(out, "expired_stale_perc", format_args!("{:.2}", node.expire_cycle.stale_percent));
    field(out, "expired_time_cap_reached_count", node.expire_cycle.time_cap_reached);
    field(out, "expire_cycle_cpu_milliseconds", node.expire_cycle.spent_ns / 1_000_000);
    field(out, "evicted_keys", stats.evicted_keys);
    field(out, "evicted_clients", stats.evicted_clients);
    field(out, "total_eviction_exceeded_time", stats.eviction_exceeded_ms);
    field(out, "current_eviction_exceeded_time", node.eviction.exceeded_ms(node.steady_ms));
    field(out, "keyspace_hits", stats.keyspace_hits);
    field(out, "keyspace_misses", stats.keyspace_misses);
    field(out, "pubsub_channels", node.pubsub.channels.len());
    field(out, "pubsub_patterns", node.pubsub.patterns.len());
    field(out, "pubsubshard_channels", node.pubsub.shards.len());
    field(out, "evicted_scripts", node.scripts.evicted);
    field(out, "latest_fork_usec", 0);
    field(out, "total_forks", 0);
    field(out, "migrate_cached_sockets", 0);
    field(out, "slave_expires_tracked_keys", node.expire_cycle.own.len());
    // None of these features is in use.
    let unused = [
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
        "tracking_total_keys",
        "tracking_total_items",
        "tracking_total_prefixes",
    ];
    unused.iter().for_each(|name| field(out, name, 0));
    field(out, "unexpected_error_replies", stats.unexpected_error_replies);
    field(out, "total_error_replies", stats.total_error_replies);
    field(out, "total_reads_processed", stats.reads_processed);
    field(out, "total_writes_processed", stats.writes_processed);
    field(out, "io_threaded_reads_processed", 0);
    field(out, "io_threaded_writes_processed", 0);
    field(out, "client_query_buffer_limit_disconnections", stats.query_limit_disconnections);
    field(out, "client_output_buffer_limit_disconnections", stats.output_limit_disconnections);
    field(out, "eventloop_cycles", stats.turns);
    field(out, "eventloop_duration_sum", stats.turns_ns / 1000);
    field(out, "eventloop_duration_cmd_sum", node.commands.named_stats().map(|(_, stats)| stats.ns).sum::<u64>() / 1000);
    field(out, "instantaneous_eventloop_cycles_per_sec", turns_a_second as u64);
    field(out, "instantaneous_eventloop_duration_usec", turn_us as u64);
    field(out, "longest_turn_us", stats.longest_turn_ns / 1000);
    field(out, "longest_turn_us_ever", stats.longest_turn_ever_ns / 1000);
    field(out, "longest_snapshot_step_us", stats.longest_snapshot_step_ns / 1000);
    field(out, "longest_snapshot_step_us_ever", stats.longest_snapshot_step_ever_ns / 1000);
    field(out, "repl_spilled_bytes", node.stream.backlog().map_or(0, |backlog| backlog.spilled_bytes()));
    field(out, "repl_spill_aborts", stats.spill_aborts);
    field(out, "repl_spill_last_abort", stats.spill_last_abort.map_or("", |refusal| refusal.code()));
    field(out, "longest_repair_step_us", stats.longest_repair_step_ns / 1000);
}

fn replication(node: &mut NodeState, out: &mut String) {
    super::role_info::info(node, out);
}

fn cpu(node: &mut NodeState, out: &mut String) {
    let usage = node.env.clock.cpu_usage();
    let seconds = |us: u64| us as f64 / 1e6;
    title(out, "CPU");
    field(out, "used_cpu_sys", format_args!("{:.6}", seconds(usage.system_us)));
    field(out, "used_cpu_user", format_args!("{:.6}", seconds(usage.user_us)));
    // There are no child processes.
    field(out, "used_cpu_sys_children", "0.000000");
    field(out, "used_cpu_user_children", "0.000000");
    field(out, "used_cpu_sys_main_thread", format_args!("{:.6}", seconds(usage.thread_system_us)));
    field(out, "used_cpu_user_main_thread", format_args!("{:.6}", seconds(usage.thread_user_us)));
}

fn modules(_node: &mut NodeState, out: &mut String) {
    title(out, "Modules");
}

fn commandstats(node: &mut NodeState, out: &mut String) {
    title(out, "Commandstats");
    for (name, stats) in node.commands.named_stats() {
        let &CommandStats { calls, ns, rejected, failed, .. } = stats;
        if calls + rejected + failed == 0 {
            continue;
        }
        let us = ns / 1000;
        let per_call = if calls == 0 { 0.0 } else { ns as f64 / 1000.0 / calls as f64 };
        field(
            out,
            &format!("cmdstat_{name}"),
            format_args!("calls={calls},usec={us},usec_per_call={per_call:.2},rejected_calls={rejected},failed_calls={failed}"),
        );
    }
}

fn errorstats(node: &mut NodeState, out: &mut String) {
    title(out, "Errorstats");
    for (code, count) in &node.stats.errors {
        field(out, &format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn latencystats(node: &mut NodeState, out: &mut String) {
    title(out, "Latencystats");
    if !node.config.latency_tracking {
        return;
    }
    let words = crate::config::percentiles(&node.config);
    let named: Vec<(&str, f64)> = words.split_terminator(' ').zip(node.config.latency_tracking_info_percentiles.iter().copied()).collect();
    for (name, stats) in node.commands.named_stats().filter(|(_, stats)| stats.latencies.total() > 0) {
        let us = |percent| stats.latencies.at_percentile(percent) as f64 / 1000.0;
        let shown: Vec<String> = named.iter().map(|(word, percent)| format!("p{word}={:.3}", us(*percent))).collect();
        field(out, &format!("latency_percentiles_usec_{name}"), shown.join(","));
    }
}

fn cluster(_node: &mut NodeState, out: &mut String) {
    title(out, "Cluster");
    field(out, "cluster_enabled", 0);
}

fn keyspace(node: &mut NodeState, out: &mut String) {
    title(out, "Keyspace");
    for index in 0..node.keyspace.databases() {
        let db = node.keyspace.db(DbIndex(index));
        if !db.is_empty() {
            let (keys, expires, avg_ttl, hashes) = (db.len(), db.expires_len(), db.avg_ttl(), db.expiring_hashes());
            field(out, &format!("db{index}"), format_args!("keys={keys},expires={expires},avg_ttl={avg_ttl},subexpiry={hashes}"));
        }
    }
}

pub(super) const ROWS: &[Spec] = &[Spec::new("info", -1, Flags::LOADING.union(Flags::STALE), info)
    .acl(Acl::DANGEROUS)
    .docs("server", "1.0.0", "O(1)", "Returns information and statistics about the server.")
    .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])];

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(reply: Vec<u8>) -> Vec<String> {
        String::from_utf8(reply).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn sections_come_in_their_own_order_whatever_was_asked() {
        let (mut node, slot) = NodeState::for_tests();
        let lines = fields(node.run(slot, &[b"INFO", b"CPU", b"server", b"nonsense", b"cpu"]));
        let titles: Vec<_> = lines.iter().filter(|line| line.starts_with("# ")).collect();
        assert_eq!(titles, ["# Server", "# CPU"]);
        assert_eq!(node.run(slot, &[b"INFO", b"nonsense"]), b"$0\r\n\r\n");
    }

    #[test]
    fn calls_and_errors_are_counted_by_name() {
        let (mut node, slot) = NodeState::for_tests();
        node.run(slot, &[b"PING"]);
        node.run(slot, &[b"CLIENT", b"GETNAME"]);
        node.run(slot, &[b"CLIENT", b"SETNAME", b"a b"]);
        node.run(slot, &[b"ECHO"]);
        let text = fields(node.run(slot, &[b"INFO", b"commandstats", b"errorstats"])).join("\n");
        assert!(text.contains("cmdstat_ping:calls=1,"), "{text}");
        assert!(text.contains("cmdstat_client|getname:calls=1,"), "{text}");
        assert!(text.contains("cmdstat_client|setname:calls=1,") && text.contains("rejected_calls=0,failed_calls=1"), "{text}");
        assert!(text.contains("cmdstat_echo:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0"), "{text}");
        assert!(text.contains("errorstat_ERR:count=2"), "{text}");
    }

    #[test]
    fn sizes_are_shown_as_redis_shows_them() {
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1024), "1.00K");
        assert_eq!(human(1_039_592), "1015.23K");
        assert_eq!(human(25_276_063_744), "23.54G");
    }
}
