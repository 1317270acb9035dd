//! Redis's glob patterns: `*`, `?`, `[a-z]`, `[^a]`, `\x`. Used by KEYS, SCAN, CONFIG GET, PSUBSCRIBE.
//! The quirks are those of `stringmatchlen` in 7.0: an unclosed `[` ends with the pattern, `[]` matches nothing and `[^]` anything, ranges may
//! be turned round and compare signed bytes, an escape inside a class never ignores case, and the empty text matches only the empty
//! pattern and, as KEYS and SCAN see to it, a single `*`.

/// Whether `text` matches `pattern`. Goes back to the last `*` only, so its time is bounded by the product of both lengths.
pub fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty() || pattern == b"*";
    }
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last star did not match: behind the star, with one byte of text more eaten by it.
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
            continue;
        }
        match match_byte(pattern, p, text[t], ignore_case) {
            Some(next) => (p, t) = (next, t + 1),
            None => match &mut retry {
                Some((behind_star, eaten)) => {
                    *eaten += 1;
                    (p, t) = (*behind_star, *eaten);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Matches one byte against the element of `pattern` at `p`, which is no star. Returns the place behind the element.
fn match_byte(pattern: &[u8], p: usize, byte: u8, ignore_case: bool) -> Option<usize> {
    let literal = |p: usize| same(*pattern.get(p)?, byte, ignore_case).then_some(p + 1);
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => match_class(pattern, p + 1, byte, ignore_case),
        b'\\' if p + 1 < pattern.len() => literal(p + 1),
        _ => literal(p),
    }
}

/// `p` is behind the `[`.
fn match_class(pattern: &[u8], mut p: usize, byte: u8, ignore_case: bool) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match pattern[p.min(pattern.len())..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                p += 2;
            }
            [b']', ..] => {
                p += 1;
                break;
            }
            [first, b'-', last, ..] => {
                found |= in_range(first, last, byte, ignore_case);
                p += 3;
            }
            [one, ..] => {
                found |= same(one, byte, ignore_case);
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

fn same(a: u8, b: u8, ignore_case: bool) -> bool {
    a == b || ignore_case && a.eq_ignore_ascii_case(&b)
}

/// C's `char` is signed where Redis runs; the ends are put in order before letters are folded.
fn in_range(first: u8, last: u8, byte: u8, ignore_case: bool) -> bool {
    let (low, high) = if first as i8 <= last as i8 { (first, last) } else { (last, first) };
    let fold = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte } as i8;
    (fold(low)..=fold(high)).contains(&fold(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asked of a 7.0.15's KEYS.
    const CASES: [(&str, &str, bool); 35] = [
        ("*", "a", true),
        ("*", "", true),
        ("**", "", false),
        ("", "", true),
        ("a*", "a", true),
        ("a**", "a", true),
        ("*a", "ba", true),
        ("*a*b*", "xaxbx", true),
        ("*ab", "aab", true),
        ("?", "a", true),
        ("??", "a", false),
        ("h[ae]llo", "hello", true),
        ("h[^e]llo", "hello", false),
        ("h[^e]llo", "hallo", true),
        ("[a-c]", "b", true),
        ("[c-a]", "b", true),
        ("[a-]", "-", false),
        ("[a-]", "a", true),
        ("[]", "a", false),
        ("[^]", "a", true),
        ("[]a]", "a", false),
        ("[a", "a", true),
        ("[^a", "b", true),
        ("[", "[", false),
        ("[\\]]", "]", true),
        ("[\\", "\\", true),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("\\", "\\", true),
        ("a\\", "a\\", true),
        ("\\a", "a", true),
        ("[a-z]*[0-9]", "key9", true),
        ("*?", "", false),
        ("a", "ab", false),
        ("ab", "a", false),
    ];

    #[test]
    fn matches_as_redis_does() {
        for (pattern, text, expected) in CASES {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), false), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn ranges_are_of_signed_bytes() {
        assert!(matches(b"[a-\xff]", b"A", false));
        assert!(!matches(b"[a-\xff]", b"b", false));
    }

    #[test]
    fn case_is_ignored_on_request_except_behind_an_escape_in_a_class() {
        for (pattern, text, expected) in
            [("MAX*", "maxmemory", true), ("[A-C]", "b", true), ("[b]", "B", true), ("[\\B]", "b", false), ("\\B", "b", true)]
        {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), true), expected, "{pattern:?} {text:?}");
        }
        assert!(!matches(b"MAX*", b"maxmemory", false));
    }

    #[test]
    fn many_stars_take_bounded_time() {
        let pattern = "a*".repeat(2_000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(10_000).as_bytes(), false));
    }
}
