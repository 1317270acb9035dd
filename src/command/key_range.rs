//! Key specs as most rows need them: keys from a fixed index on, or as many as an argument says.

use super::{Begin, Find, KeySpec};

/// Keys from argument `index` to `last` (relative to the first, or negative from the end), every `step` arguments.
pub(super) const fn key_range(flags: &'static [&'static str], index: i32, last: i32, step: i32) -> KeySpec {
    KeySpec { flags, begin: Begin::Index(index), find: Find::Range { last, step, limit: 0 }, notes: "" }
}

/// As many keys as the argument at `index` says, right behind it.
pub(super) const fn key_num(flags: &'static [&'static str], index: i32) -> KeySpec {
    KeySpec { flags, begin: Begin::Index(index), find: Find::KeyNum { keynum_index: 0, first_key: 1, step: 1 }, notes: "" }
}

impl KeySpec {
    pub(super) const fn notes(mut self, notes: &'static str) -> KeySpec {
        self.notes = notes;
        self
    }
}
