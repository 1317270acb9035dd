//! What happened in a simulated world, a line an event, with the virtual time. The same seed gives the same lines to the byte.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::clock::Timeline;

/// The world's record. Lines are only ever added.
pub struct Trace {
    timeline: Arc<Timeline>,
    lines: Mutex<Vec<String>>,
}

impl Trace {
    pub(super) fn new(timeline: Arc<Timeline>) -> Self {
        Trace { timeline, lines: Mutex::new(Vec::new()) }
    }

    /// Adds a line, stamped with the virtual time in seconds.
    pub fn event(&self, text: fmt::Arguments<'_>) {
        let now = self.timeline.now_ns() / 1000;
        let line = format!("{}.{:06} {text}", now / 1_000_000, now % 1_000_000);
        self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(line);
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

/// FNV-1a: names bytes in the trace, the same in every process.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_is_fnv1a() {
        assert_eq!(fingerprint(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
