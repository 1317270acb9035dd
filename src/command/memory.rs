//! What the node has allocated, counted by itself so that it does not depend on the allocator: MEMORY, INFO memory.

use super::client_memory::client_memory;
use super::help::{container, help};
use super::key_range::key_range;
use super::memory_doctor::doctor;
use super::{ClientFlags, CmdResult, CommandError, Ctx, Flags, NodeState, Spec, info};
use crate::keyspace::{DbIndex, TableBytes};
use crate::types::number::parse_i64;

/// The parts of what is allocated, in bytes.
pub(super) struct Overview {
    pub used: u64,
    pub peak: u64,
    pub startup: u64,
    pub rss: u64,
    pub backlog: u64,
    /// All of the stream that is in memory, for the backlog and for slaves that are behind.
    pub replication_buffers: u64,
    pub replicas: u64,
    pub clients: u64,
    pub tables: Vec<(DbIndex, TableBytes)>,
    pub keys: u64,
    /// Keys and values without the tables.
    pub dataset: u64,
    /// The cached scripts, and the interpreter, which is not counted as used.
    pub scripts: (u64, u64),
}

impl Overview {
    pub fn of(node: &mut NodeState) -> Self {
        let (backlog, replicas, clients) = outside_the_keyspace(node);
        let used =
            node.keyspace.allocated() as u64 + backlog + replicas + clients + node.scripts.cache_bytes() as u64 + node.functions.cache_bytes() as u64;
        node.note_memory(used);
        let (mut tables, mut keys, mut dataset) = (Vec::new(), 0, node.keyspace.allocated());
        for index in (0..node.keyspace.databases()).map(DbIndex) {
            let db = node.keyspace.db(index);
            let bytes = db.table_bytes();
            keys += db.len();
            dataset -= bytes.keys + bytes.expires;
            if !db.is_empty() {
                tables.push((index, bytes));
            }
        }
        Overview {
            used,
            peak: node.stats.peak_memory,
            startup: node.startup_memory,
            rss: info::kernel_bytes(node, "/proc/self/status", "VmRSS:"),
            backlog,
            replication_buffers: node.stream.backlog().map_or(0, |backlog| backlog.memory_bytes()),
            replicas,
            clients,
            tables,
            keys,
            dataset: dataset as u64,
            scripts: (node.scripts.cache_bytes() as u64, node.scripts.interpreter_bytes() as u64),
        }
    }

    fn overhead(&self) -> u64 {
        self.used - self.dataset
    }
    fn dataset_percent(&self) -> f64 {
        percent(self.dataset, self.used - self.startup.min(self.used))
    }
    pub fn fragmentation(&self) -> f64 {
        if self.used == 0 { 0.0 } else { self.rss as f64 / self.used as f64 }
    }
    pub fn fragmentation_bytes(&self) -> i64 {
        self.rss as i64 - self.used as i64
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// Bytes of the replication backlog, of slaves and of other clients.
fn outside_the_keyspace(node: &NodeState) -> (u64, u64, u64) {
    let buffers = node.stream.backlog().map_or(0, |backlog| backlog.memory_bytes());
    // As Redis does: what is beyond the backlog's size is there for slaves.
    let backlog = buffers.min(node.config.repl_backlog_size);
    let (mut replicas, mut normal) = (buffers - backlog, 0);
    for (_, client) in node.clients.iter() {
        let sum = if client.is(ClientFlags::REPLICA) { &mut replicas } else { &mut normal };
        *sum += client_memory(client) as u64;
    }
    (backlog, replicas, normal)
}

impl NodeState {
    /// Keeps the most that has been in use, and when that was.
    pub fn note_memory(&mut self, used: u64) {
        if used > self.stats.peak_memory {
            self.stats.peak_memory = used;
            self.stats.peak_memory_unix = self.now_ms / 1000;
        }
    }
}

fn scripts(node: &NodeState, out: &mut String) {
    use info::{field, size};
    let (vm, cache) = (node.scripts.interpreter_bytes() as u64, node.scripts.cache_bytes() as u64);
    let (functions_vm, libraries) = (node.functions.interpreter_bytes() as u64, node.functions.cache_bytes() as u64);
    size(out, "used_memory_lua", vm);
    field(out, "used_memory_vm_eval", vm);
    field(out, "used_memory_scripts_eval", cache);
    field(out, "number_of_cached_scripts", node.scripts.len());
    field(out, "number_of_functions", node.functions.functions_len());
    field(out, "number_of_libraries", node.functions.libraries_len());
    field(out, "used_memory_vm_functions", functions_vm);
    size(out, "used_memory_vm_total", vm + functions_vm);
    field(out, "used_memory_functions", libraries);
    size(out, "used_memory_scripts", cache + libraries);
}

/// INFO memory. There are no forks and no defragmentation; the allocator is not asked, so what it holds is what the process has.
pub(super) fn section(node: &mut NodeState, out: &mut String) {
    use info::{field, size, title};
    let memory = Overview::of(node);
    title(out, "Memory");
    size(out, "used_memory", memory.used);
    size(out, "used_memory_rss", memory.rss);
    size(out, "used_memory_peak", memory.peak);
    field(out, "used_memory_peak_time", node.stats.peak_memory_unix);
    field(out, "used_memory_peak_perc", format_args!("{:.2}%", percent(memory.used, memory.peak)));
    field(out, "used_memory_overhead", memory.overhead());
    field(out, "used_memory_startup", memory.startup);
    field(out, "used_memory_dataset", memory.dataset);
    field(out, "used_memory_dataset_perc", format_args!("{:.2}%", memory.dataset_percent()));
    field(out, "allocator_allocated", memory.used);
    field(out, "allocator_active", memory.rss);
    field(out, "allocator_resident", memory.rss);
    field(out, "allocator_muzzy", 0);
    size(out, "total_system_memory", info::kernel_bytes(node, "/proc/meminfo", "MemTotal:"));
    scripts(node, out);
    size(out, "maxmemory", node.config.maxmemory);
    let policy = crate::config::get(&node.config, [&b"maxmemory-policy"[..]]).into_iter().map(|(_, value)| value).next().unwrap_or_default();
    field(out, "maxmemory_policy", policy);
    field(out, "allocator_frag_ratio", format_args!("{:.2}", memory.fragmentation()));
    field(out, "allocator_frag_bytes", memory.fragmentation_bytes());
    field(out, "allocator_rss_ratio", "1.00");
    field(out, "allocator_rss_bytes", 0);
    field(out, "rss_overhead_ratio", "1.00");
    field(out, "rss_overhead_bytes", 0);
    field(out, "mem_fragmentation_ratio", format_args!("{:.2}", memory.fragmentation()));
    field(out, "mem_fragmentation_bytes", memory.fragmentation_bytes());
    field(out, "mem_not_counted_for_evict", node.uncounted_memory());
    field(out, "mem_replication_backlog", memory.backlog);
    field(out, "mem_total_replication_buffers", memory.replication_buffers);
    field(out, "mem_replica_full_sync_buffer", 0);
    field(out, "mem_clients_slaves", memory.replicas);
    field(out, "mem_clients_normal", memory.clients);
    field(out, "mem_cluster_links", 0);
    field(out, "mem_aof_buffer", 0);
    field(out, "mem_allocator", node.env.allocator.name());
    field(out, "mem_overhead_db_hashtable_rehashing", 0);
    field(out, "active_defrag_running", 0);
}

/// What the key's entry has allocated. SAMPLES is checked and has nothing to do: sizes are kept, not sampled.
fn usage(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut at = 3;
    while at < ctx.args.len() {
        let (true, Some(count)) = (ctx.args.at(at).eq_ignore_ascii_case(b"SAMPLES"), ctx.args.get(at + 1)) else {
            return Err(CommandError::SYNTAX);
        };
        if parse_i64(count).ok_or(CommandError::NOT_INTEGER)? < 0 {
            return Err(CommandError::SYNTAX);
        }
        at += 2;
    }
    let key = ctx.key(2);
    match ctx.node.keyspace.db(ctx.db).get(key).map(|entry| entry.allocated()) {
        Some(bytes) => ctx.out.int(bytes as i64),
        None => ctx.out.null(),
    }
    Ok(())
}

fn stats(ctx: &mut Ctx<'_>) -> CmdResult {
    let memory = Overview::of(ctx.node);
    let out = &mut *ctx.out;
    let tables: usize = memory.tables.iter().map(|(_, bytes)| bytes.keys + bytes.expires).sum();
    let before: [(&str, u64); 12] = [
        ("peak.allocated", memory.peak),
        ("total.allocated", memory.used),
        ("startup.allocated", memory.startup),
        ("replication.backlog", memory.backlog),
        ("replica.fullsync.buffer", 0),
        ("clients.slaves", memory.replicas),
        ("clients.normal", memory.clients),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", memory.scripts.0),
        ("functions.caches", 0),
        ("script.VMs", memory.scripts.1),
    ];
    let after: [(&str, i64); 7] = [
        ("overhead.db.hashtable.lut", tables as i64),
        ("overhead.db.hashtable.rehashing", 0),
        ("overhead.total", memory.overhead() as i64),
        ("db.dict.rehashing.count", 0),
        ("keys.count", memory.keys as i64),
        ("keys.bytes-per-key", memory.dataset.checked_div(memory.keys).unwrap_or(0) as i64),
        ("dataset.bytes", memory.dataset as i64),
    ];
    let allocator: [(&str, i64); 4] = [
        ("allocator.allocated", memory.used as i64),
        ("allocator.active", memory.rss as i64),
        ("allocator.resident", memory.rss as i64),
        ("allocator.muzzy", 0),
    ];
    let ratios: [(&str, f64, &str, i64); 4] = [
        ("allocator-fragmentation.ratio", memory.fragmentation(), "allocator-fragmentation.bytes", memory.fragmentation_bytes()),
        ("allocator-rss.ratio", 1.0, "allocator-rss.bytes", 0),
        ("rss-overhead.ratio", 1.0, "rss-overhead.bytes", 0),
        ("fragmentation", memory.fragmentation(), "fragmentation.bytes", memory.fragmentation_bytes()),
    ];
    out.map(before.len() + memory.tables.len() + after.len() + 2 + allocator.len() + ratios.len() * 2);
    for (name, value) in before {
        out.bulk(name.as_bytes());
        out.int(value as i64);
    }
    for (db, bytes) in &memory.tables {
        out.bulk(format!("db.{}", db.0).as_bytes());
        out.map(2);
        out.bulk(b"overhead.hashtable.main");
        out.int(bytes.keys as i64);
        out.bulk(b"overhead.hashtable.expires");
        out.int(bytes.expires as i64);
    }
    for (name, value) in after {
        out.bulk(name.as_bytes());
        out.int(value);
    }
    for (name, value) in [("dataset.percentage", memory.dataset_percent()), ("peak.percentage", percent(memory.used, memory.peak))] {
        out.bulk(name.as_bytes());
        out.double(value);
    }
    for (name, value) in allocator {
        out.bulk(name.as_bytes());
        out.int(value);
    }
    for (name, ratio, bytes_name, bytes) in ratios {
        out.bulk(name.as_bytes());
        out.double(ratio);
        out.bulk(bytes_name.as_bytes());
        out.int(bytes);
    }
    Ok(())
}

fn memory_doctor(ctx: &mut Ctx<'_>) -> CmdResult {
    let memory = Overview::of(ctx.node);
    let text = doctor(ctx.node, &memory);
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn purge(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.node.env.allocator.purge();
    ctx.out.ok();
    Ok(())
}

fn malloc_stats(ctx: &mut Ctx<'_>) -> CmdResult {
    match ctx.node.env.allocator.stats() {
        Some(text) => ctx.out.verbatim("txt", text.as_bytes()),
        None => ctx.out.bulk(b"Stats not supported for the current allocator"),
    }
    Ok(())
}

fn memory_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(ctx.out, "MEMORY", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
];

const TIPS: &[&str] = &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];
const HOW_LONG: &str = "Depends on how much memory is allocated, could be slow";

const MEMORY_ROWS: &[Spec] = &[
    Spec::new("doctor", 2, Flags::empty(), memory_doctor).tips(TIPS).docs("server", "4.0.0", "O(1)", "Outputs a memory problems report."),
    Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), memory_help).docs(
        "server",
        "4.0.0",
        "O(1)",
        "Returns helpful text about the different subcommands.",
    ),
    Spec::new("malloc-stats", 2, Flags::empty(), malloc_stats).tips(TIPS).docs("server", "4.0.0", HOW_LONG, "Returns the allocator statistics."),
    Spec::new("purge", 2, Flags::empty(), purge).tips(&["request_policy:all_shards", "response_policy:all_succeeded"]).docs(
        "server",
        "4.0.0",
        HOW_LONG,
        "Asks the allocator to release memory.",
    ),
    Spec::new("stats", 2, Flags::empty(), stats).tips(TIPS).docs("server", "4.0.0", "O(1)", "Returns details about memory usage."),
    Spec::new("usage", -3, Flags::READONLY, usage).keys(2, 2, 1).key_specs(&[key_range(&["RO"], 2, 0, 1)]).docs(
        "server",
        "4.0.0",
        "O(N) where N is the number of samples.",
        "Estimates the memory usage of a key.",
    ),
];

pub(super) const ROWS: &[Spec] = &[Spec::new("memory", -2, Flags::empty(), container)
    .docs("server", "4.0.0", "Depends on subcommand.", "A container for memory diagnostics commands.")
    .subcommands(MEMORY_ROWS)];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn the_parts_add_up() {
        let mut b = Bench::new();
        for i in 0..1000 {
            b.say(&format!("set key:{i} {} ex 1000", "x".repeat(100)));
        }
        let memory = Overview::of(&mut b.node);
        assert!(memory.overhead() > memory.startup + memory.backlog);
        assert_eq!((memory.keys, memory.tables.len()), (1000, 1));
        assert!((120_000..200_000).contains(&memory.dataset), "{}", memory.dataset);
        assert!(memory.tables[0].1.expires > 0 && memory.startup > 0 && memory.backlog > 100_000);
        let before = memory.used;
        b.say("flushall");
        let memory = Overview::of(&mut b.node);
        assert!(memory.used < before && memory.peak >= before, "{} {before} {}", memory.used, memory.peak);
        assert_eq!(memory.dataset, 0);
    }
}
