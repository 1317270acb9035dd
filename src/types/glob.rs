//! Redis's glob patterns: `*`, `?`, `[a-z]`, `[^a]`, `\x`. Used by KEYS, SCAN, CONFIG GET, PSUBSCRIBE.

/// Whether `text` matches `pattern`. Bounded in time: no exponential backtracking (Redis 7's `stringmatchlen` limits it too).
pub fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    let _ = (pattern, text, ignore_case);
    todo!()
}
