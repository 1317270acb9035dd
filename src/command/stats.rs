//! Counters that INFO shows and CONFIG RESETSTAT clears.

use crate::types::histogram::Histogram;

/// Since the start or the last CONFIG RESETSTAT.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub connections_received: u64,
    pub connections_rejected: u64,
    pub commands_processed: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    pub net_repl_input_bytes: u64,
    pub net_repl_output_bytes: u64,
    pub sync_full: u64,
    pub sync_partial_ok: u64,
    pub sync_partial_err: u64,
    pub expired_keys: u64,
    pub evicted_keys: u64,
    /// Closed because of `maxmemory-clients`.
    pub evicted_clients: u64,
    /// How long `maxmemory` was exceeded in all.
    pub eviction_exceeded_ms: u64,
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub unexpected_error_replies: u64,
    pub total_error_replies: u64,
    pub reads_processed: u64,
    pub writes_processed: u64,
    pub snapshots: u64,
    /// Error replies by code (`ERR`, `WRONGTYPE`), for INFO errorstats.
    pub errors: std::collections::BTreeMap<String, u64>,
    /// The longest turn of the Keyspace's thread, in CPU nanoseconds, since the last reset; the one since the start is never cleared.
    pub longest_turn_ns: u64,
    pub longest_turn_ever_ns: u64,
    pub longest_snapshot_step_ns: u64,
    pub turns: u64,
    /// Ring of (ms, commands, bytes in, bytes out) samples for the instantaneous rates.
    pub samples: std::collections::VecDeque<(i64, u64, u64, u64)>,
    pub peak_memory: u64,
    /// When that was, in seconds since the epoch.
    pub peak_memory_unix: i64,
}

/// Calls of one command, for INFO commandstats and latencystats.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub ns: u64,
    pub rejected: u64,
    pub failed: u64,
    /// How long they took, while `latency-tracking` was on.
    pub latencies: Histogram,
}

/// How many different error codes are counted apart; a client can make codes up (by scripts), so there is a bound.
const ERROR_CODES_MAX: usize = 128;

impl Stats {
    /// Counts an error reply under its code.
    pub fn count_error(&mut self, text: &str) {
        self.total_error_replies += 1;
        let code = text.split(' ').next().unwrap_or("ERR");
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_CODES_MAX {
            self.errors.insert(code.to_owned(), 1);
        }
    }
}
