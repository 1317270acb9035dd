//! Splits a line into arguments as Redis's `sdssplitargs` does, for inline requests and for conf lines. Bytes only.
//! `"a b"` with `\xHH \n \r \t \b \a` escapes, `'a b'` with `\'` alone, and a closing quote must be followed by a blank.

/// A quote that is not closed, or is followed by something other than a blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unbalanced quotes")]
pub struct UnbalancedQuotes;

/// Appends the unescaped arguments of `line` to `out`, one after another, and tells each one's end. Arguments are contiguous: each starts
/// where the one before ended. On an error `out` holds what came before it.
pub fn split_into(line: &[u8], out: &mut Vec<u8>, mut argument_ends: impl FnMut(usize)) -> Result<(), UnbalancedQuotes> {
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|&byte| is_space(byte)) {
            at += 1;
        }
        if at == line.len() {
            return Ok(());
        }
        at = split_one(line, at, out)?;
        argument_ends(out.len());
    }
}

/// The arguments of a line, each on its own.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    split_into(line, &mut bytes, |end| ends.push(end))?;
    let starts = std::iter::once(0).chain(ends.iter().copied());
    Ok(starts.zip(&ends).map(|(start, &end)| bytes[start..end].to_vec()).collect())
}

/// Reads one argument that begins at `at` and returns the place behind it.
fn split_one(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, UnbalancedQuotes> {
    while let Some(&byte) = line.get(at) {
        match byte {
            // Not the same set as `is_space`: as in Redis, a vertical tab inside a word belongs to it.
            b' ' | b'\n' | b'\r' | b'\t' => break,
            b'"' => return double_quoted(line, at + 1, out),
            b'\'' => return single_quoted(line, at + 1, out),
            _ => out.push(byte),
        }
        at += 1;
    }
    Ok(at)
}

fn double_quoted(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, UnbalancedQuotes> {
    loop {
        match line[at..] {
            [] => return Err(UnbalancedQuotes),
            [b'"', ..] => return closed(line, at + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_digit(high) << 4 | hex_digit(low));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 2;
            }
            [byte, ..] => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

fn single_quoted(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, UnbalancedQuotes> {
    loop {
        match line[at..] {
            [] => return Err(UnbalancedQuotes),
            [b'\\', b'\'', ..] => {
                out.push(b'\'');
                at += 2;
            }
            [b'\'', ..] => return closed(line, at + 1),
            [byte, ..] => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// Behind a closing quote there is a blank or nothing.
fn closed(line: &[u8], at: usize) -> Result<usize, UnbalancedQuotes> {
    match line.get(at) {
        Some(&byte) if !is_space(byte) => Err(UnbalancedQuotes),
        _ => Ok(at),
    }
}

/// C's `isspace`, which unlike Rust's `is_ascii_whitespace` includes the vertical tab.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte - b'A' + 10,
    }
}

/// `sdscatrepr`: the bytes in double quotes, escaped so that `split` reads them back.
pub fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend([b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split(line.as_bytes()).ok()?;
        Some(words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect())
    }

    #[test]
    fn splits_at_blanks_and_keeps_quoted_ones() {
        assert_eq!(words("  set  a\tb \r\n").unwrap(), ["set", "a", "b"]);
        assert_eq!(words("\x0b\x0ca\x0bb c").unwrap(), ["a\x0bb", "c"]);
        assert_eq!(words(r#"a "b c" 'd e' "" ''"#).unwrap(), ["a", "b c", "d e", "", ""]);
        assert_eq!(words(r#"ab"cd ef""#).unwrap(), ["abcd ef"]);
        assert!(words("").unwrap().is_empty());
        assert!(words(" \t ").unwrap().is_empty());
    }

    #[test]
    fn unescapes_as_redis() {
        assert_eq!(words(r#""\x41\n\r\t\b\a\q\xzz\x4""#).unwrap(), ["A\n\r\t\x08\x07qxzzx4"]);
        assert_eq!(words(r#""\X41 \" \\""#).unwrap(), ["X41 \" \\"]);
        assert_eq!(words(r"'a\nb\'c'").unwrap(), [r"a\nb'c"]);
        assert_eq!(split(br#""\xff""#).unwrap(), [[0xff]]);
    }

    #[test]
    fn refuses_unbalanced_quotes() {
        for line in ["\"a", "'a", r#""a"b"#, "'a'b", r#"ab"cd"ef"#, r#""a\"#, r#""a\""#, "'"] {
            assert_eq!(split(line.as_bytes()), Err(UnbalancedQuotes), "{line}");
        }
    }

    proptest! {
        #[test]
        fn quoted_bytes_come_back(bytes: Vec<u8>) {
            let mut line = Vec::new();
            quote(&bytes, &mut line);
            prop_assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert_eq!(split(&line).unwrap(), [bytes]);
        }
    }
}
