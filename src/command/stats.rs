//! Counters that INFO shows and CONFIG RESETSTAT clears.

use crate::replication::SpillRefusal;
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
    /// Fields of hashes.
    pub expired_subkeys: u64,
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
    /// The longest turn of the Keyspace's thread, with the snapshot steps that follow it, since the last reset; the one since the start is never cleared.
    /// In nanoseconds of CPU; a turn that a client of this process runs on the spot counts by the time that has passed, which is no less.
    pub longest_turn_ns: u64,
    pub longest_turn_ever_ns: u64,
    pub longest_snapshot_step_ns: u64,
    pub longest_snapshot_step_ever_ns: u64,
    /// Of the repair of slaves, between turns.
    pub longest_repair_step_ns: u64,
    pub turns: u64,
    /// Of all turns, measured as the longest is.
    pub turns_ns: u64,
    /// Clients closed because of `client-query-buffer-limit` and `client-output-buffer-limit`.
    pub query_limit_disconnections: u64,
    pub output_limit_disconnections: u64,
    /// Slaves given up because what they still needed of the stream could not be kept, and why the last one was.
    pub spill_aborts: u64,
    pub spill_last_abort: Option<SpillRefusal>,
    /// The last ones, a little apart, for the rates.
    pub samples: std::collections::VecDeque<Sample>,
    pub peak_memory: u64,
    /// When that was, in seconds since the epoch.
    pub peak_memory_unix: i64,
}

/// Counters as they were at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub ms: i64,
    pub commands: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub repl_bytes_in: u64,
    pub repl_bytes_out: u64,
    pub turns: u64,
    pub turns_ns: u64,
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
    pub fn sample(&self, ms: i64) -> Sample {
        Sample {
            ms,
            commands: self.commands_processed,
            bytes_in: self.net_input_bytes,
            bytes_out: self.net_output_bytes,
            repl_bytes_in: self.net_repl_input_bytes,
            repl_bytes_out: self.net_repl_output_bytes,
            turns: self.turns,
            turns_ns: self.turns_ns,
        }
    }

    /// What a counter has grown by in a second, of late.
    pub fn rate(&self, counter: fn(&Sample) -> u64) -> f64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return 0.0 };
        let ms = last.ms - first.ms;
        if ms <= 0 { 0.0 } else { counter(last).saturating_sub(counter(first)) as f64 * 1000.0 / ms as f64 }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_kept_samples() {
        let mut stats = Stats::default();
        assert_eq!(stats.rate(|sample| sample.commands), 0.0);
        for (ms, commands) in [(1000, 10), (1100, 40), (1500, 60)] {
            stats.commands_processed = commands;
            stats.samples.push_back(stats.sample(ms));
        }
        assert_eq!(stats.rate(|sample| sample.commands), 100.0);
        stats.samples.drain(1..);
        assert_eq!(stats.rate(|sample| sample.commands), 0.0);
    }
}
