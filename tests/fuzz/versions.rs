//! What Redis 7.0.15 does otherwise than 8.2.3, which is what this server does. Commands whose effects differ are left out or changed when
//! 7.0.15 is the oracle; replies that differ are passed.

use crate::grammar::{Unit, subscribes};
use crate::reply::Reply;
use crate::source::Words;

/// Options and operations that came after 7.0, or whose effects differ: command, word, since when or why.
const NEWER: [(&str, &str, &str); 19] = [
    ("BITOP", "DIFF", "8.2"),
    ("BITOP", "DIFF1", "8.2"),
    ("BITOP", "ANDOR", "8.2"),
    ("BITOP", "ONE", "8.2"),
    ("HSCAN", "NOVALUES", "7.4"),
    ("GEORADIUS", "STOREDIST", "digits of scores"),
    ("GEORADIUSBYMEMBER", "STOREDIST", "digits of scores"),
    ("GEOSEARCHSTORE", "STOREDIST", "digits of scores"),
    ("XADD", "KEEPREF", "8.2"),
    ("XADD", "DELREF", "8.2"),
    ("XADD", "ACKED", "8.2"),
    ("XTRIM", "KEEPREF", "8.2"),
    ("XTRIM", "DELREF", "8.2"),
    ("XTRIM", "ACKED", "8.2"),
    ("XREAD", "+", "7.4"),
    ("SORT", "STORE", "what is a number"),
    ("SCAN", "MATCH", "expired keys that do not match stay"),
    ("SCAN", "TYPE", "expired keys that do not match stay"),
    ("XGROUP", "ENTRIESREAD", "numbers that make no sense are put right since 8.0"),
];

/// Whether 7.0.15 and 8.2.3 do the same to the data for this command.
pub fn is_older(unit: &Unit) -> bool {
    // A subscriber's own message in a transaction comes before the transaction's replies in 7.0.
    !(unit.steps.len() > 1 && subscribes(&unit.steps) && unit.steps[0].iter().any(|word| word.eq_ignore_ascii_case(b"MULTI")))
        && unit.steps.iter().all(is_older_command)
}

fn is_older_command(words: &Words) -> bool {
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    // WITHSCORE came with 7.2.
    if is(&words[0], "ZRANK") && words.len() > 3 || is(&words[0], "ZREVRANK") && words.len() > 3 {
        return false;
    }
    let is_odd_index = |word: &Vec<u8>| word == b"-9223372036854775808";
    if is(&words[0], "LSET") && words.iter().any(is_odd_index) {
        return false;
    }
    let is_number = |word: &Vec<u8>| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    if is(&words[0], "SCAN") && !words.get(1).is_some_and(is_number) {
        return false;
    }
    !NEWER.iter().any(|(command, newer, _)| is(&words[0], command) && words[1..].iter().any(|word| is(word, newer)))
}

/// DEBUG DIGEST of scores has 17 digits in 7.0.15 and the shortest that read back the same in 8.2.3: fractions become quarters, which look alike,
/// large numbers small ones. What 7.0.15 alone takes for a number goes as well.
pub fn round_fractions(words: &mut Words) {
    // Its time-out must not become 0.
    if words[0].to_ascii_uppercase().starts_with(b"B") {
        return;
    }
    let is_scored = words[0][0].eq_ignore_ascii_case(&b'Z');
    for word in words.iter_mut().skip(1) {
        let text = String::from_utf8_lossy(word).into_owned();
        let (open, number) = text.strip_prefix('(').map_or(("", text.as_str()), |number| ("(", number));
        let is_decimal = number.contains(['.', 'e']) && number.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let is_strange = number.contains(['x', ' ']) || number.parse::<f64>().is_ok_and(|value| value.is_finite() && value.abs() > 1e9);
        // 6.2 keeps the sign of -0 in its ziplists.
        if is_scored && (is_strange || number == "-0") {
            *word = format!("{open}7").into_bytes();
        } else if let Some(value) = number.parse::<f64>().ok().filter(|value| is_decimal && value.is_finite()) {
            *word = format!("{open}{}", (value * 4.0).round() / 4.0).into_bytes();
        }
    }
}

/// Whether 7.0.15 may well answer so where ours answers as 8.2.3.
pub fn may_differ(words: &Words, ours: &Reply, real: &Reply) -> bool {
    let is = |at: usize, name: &str| words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    // Texts of errors have changed, and which of several errors comes first.
    (ours.is_error() && real.is_error())
        // 7.0 looks at the key before the arguments.
        || ours.is_error() && ["BITCOUNT", "BITPOS", "LPOS", "LREM", "SORT", "SORT_RO"].iter().any(|name| is(0, name))
        || (ours.is_error() || real.is_error()) && words[0].to_ascii_uppercase().ends_with(b"SCAN")
        // Small sets of strings have been in listpacks since 7.2, and what was short enough for `embstr` has changed.
        || is(0, "OBJECT") && is(1, "ENCODING")
        || is(1, "HELP")
        // Readers that found nothing count among a group's consumers since 7.2.
        || is(0, "XINFO")
        || words[0].to_ascii_uppercase().starts_with(b"GEO") && same_numbers(ours, real)
}

/// The same with numbers that differ in the last of seventeen digits.
fn same_numbers(ours: &Reply, real: &Reply) -> bool {
    match (ours, real) {
        (Reply::Items(a, ours), Reply::Items(b, real)) => {
            a == b && ours.len() == real.len() && ours.iter().zip(real).all(|(a, b)| same_numbers(a, b))
        }
        _ => {
            let number = |reply: &Reply| reply.text().and_then(|text| text.parse::<f64>().ok());
            ours == real || number(ours).zip(number(real)).is_some_and(|(a, b)| (a - b).abs() <= a.abs() * 1e-15 + 1e-12)
        }
    }
}
