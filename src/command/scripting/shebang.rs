//! The first line of a script: `#!lua flags=no-writes,allow-oom`.

use bitflags::bitflags;

use super::super::CommandError;
use crate::types::split::split;

bitflags! {
    /// What a script says of itself. A script without a first line says nothing at all.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ScriptFlags: u32 {
        const NO_WRITES = 1 << 0;
        const ALLOW_OOM = 1 << 1;
        const ALLOW_STALE = 1 << 2;
        const NO_CLUSTER = 1 << 3;
        const ALLOW_CROSS_SLOT_KEYS = 1 << 4;
    }
}

impl ScriptFlags {
    /// The names of the flags, in the order of their bits.
    pub const NAMES: [&'static str; 5] = ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];

    pub fn named(name: &[u8]) -> Option<ScriptFlags> {
        let bit = ScriptFlags::NAMES.iter().position(|known| known.as_bytes() == name)?;
        Some(ScriptFlags::from_bits_truncate(1 << bit))
    }

    /// The names of these flags, in their order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..).zip(ScriptFlags::NAMES).filter(move |(bit, _)| self.bits() & 1 << bit != 0).map(|(_, name)| name)
    }
}

/// Reads the first line of a script. Returns what it says, if it is one of these, and the code behind it, whose lines keep their numbers.
pub(super) fn read(body: &[u8]) -> Result<(Option<ScriptFlags>, &[u8]), CommandError> {
    if !body.starts_with(b"#!") {
        return Ok((None, body));
    }
    let Some(end) = memchr::memchr(b'\n', body) else { return Err("ERR Invalid script shebang".into()) };
    let words = split(&body[..end]).unwrap_or_default();
    let Some((engine, options)) = words.split_first() else { return Err("ERR Invalid engine in script shebang".into()) };
    let unexpected = |what: &str, given: &[u8]| CommandError::from(format!("ERR {what}: {}", String::from_utf8_lossy(given)));
    if engine != b"#!lua" {
        return Err(unexpected("Unexpected engine in script shebang", engine));
    }
    let mut flags = ScriptFlags::default();
    for option in options {
        let Some(names) = option.strip_prefix(b"flags=") else { return Err(unexpected("Unknown lua shebang option", option)) };
        if names.is_empty() {
            continue;
        }
        for name in names.split(|byte| *byte == b',') {
            flags |= ScriptFlags::named(name).ok_or_else(|| unexpected("Unexpected flag in script shebang", name))?;
        }
    }
    Ok((Some(flags), &body[end..]))
}
