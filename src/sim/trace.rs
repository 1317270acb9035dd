//! What happened in a simulated world, a line an event, with the virtual time. The same seed gives the same lines to the byte.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use slog::{Drain, KV, Level, Never, OwnedKVList, Record};

use super::clock::Timeline;

/// The world's record. Lines are only ever added.
pub struct Trace {
    timeline: Arc<Timeline>,
    lines: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Trace {
    pub(super) fn new(timeline: Arc<Timeline>) -> Self {
        Trace { timeline, lines: Mutex::new(Vec::new()), stopped: AtomicBool::new(false) }
    }

    /// Adds a line, stamped with the virtual time in seconds.
    pub fn event(&self, text: fmt::Arguments<'_>) {
        if self.is_stopped() {
            return;
        }
        let now = self.timeline.now_ns() / 1000;
        let line = format!("{}.{:06} {text}", now / 1_000_000, now % 1_000_000);
        self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(line);
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// All lines so far, each with its line end.
    pub fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut out = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for line in lines.iter() {
            out.push_str(line);
            out.push('\n');
        }
        out
    }
}

/// A host's log, as lines of the trace.
pub(super) struct LogLines {
    pub trace: Arc<Trace>,
    pub host: String,
}

impl Drain for LogLines {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        if record.level().is_at_least(Level::Info) && !self.trace.is_stopped() {
            let mut pairs = Pairs(String::new());
            // Writing to a string does not fail.
            let _ = record.kv().serialize(record, &mut pairs);
            self.trace.event(format_args!("log {} {} {}{}", self.host, record.level().as_short_str(), record.msg(), pairs.0));
        }
        Ok(())
    }
}

struct Pairs(String);

impl slog::Serializer for Pairs {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}

/// Names bytes in the trace, the same in every process: FNV-1a over words of 8 bytes, the last one padded, and the length.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    let mut hash = step(0xcbf2_9ce4_8422_2325, bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = step(hash, u64::from_le_bytes(word));
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_becomes_lines() {
        let world = crate::sim::World::new(1);
        let log = world.log(world.host("a"));
        slog::info!(log, "Saved {}", 3; "bytes" => 7, "why" => "asked");
        slog::debug!(log, "unseen");
        assert_eq!(world.trace(), "0.000000 host a 10.0.0.1\n0.000000 log a INFO Saved 3 why=asked bytes=7\n");
    }

    #[test]
    fn fingerprints_tell_bytes_apart() {
        let texts = [&b""[..], b"\0", b"\0\0", b"12345678", b"12345679", b"123456789", b"923456781", b"12345678\0"];
        let hashes: std::collections::BTreeSet<u64> = texts.iter().map(|text| fingerprint(text)).collect();
        assert_eq!(hashes.len(), texts.len());
    }
}
