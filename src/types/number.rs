//! Numbers in text, exactly as Redis reads and writes them.

use rustc_apfloat::Float;
use rustc_apfloat::ieee::Double;

use super::long_double::{LongDouble, parse_hex_float};

/// `string2ll`: decimal, an optional `-`, no sign `+`, no leading zeros, no spaces, within i64. What Redis accepts as an integer argument
/// and what it stores with encoding `int`.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    // Nineteen digits fit in 64 bits without a sign.
    let mut value = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    if negative { (value <= 1 << 63).then(|| (value as i64).wrapping_neg()) } else { i64::try_from(value).ok() }
}

/// `string2ull`, by which cursors and stream IDs are read: what `parse_i64` takes, and besides whatever `strtoull` takes: white space in front, signs, leading
/// zeros, up to the largest u64; a negative number in one of these forms wraps around.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_i64(text) {
        return u64::try_from(number).ok();
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let text = &text[text.iter().take_while(|byte| is_space(byte)).count()..];
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// `getDoubleFromObject`/`strtod` as ZADD reads it: decimal or hexadecimal, `inf` and `infinity` with a sign or none. `None` for NaN, empty,
/// spaces, overflow, and for underflow to zero; a denormal is a number.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if let Some(hex) = parse_hex_float::<Double>(text) {
        return hex.map(|value| f64::from_bits(value.to_bits() as u64));
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let mantissa = text.split(|byte| byte | 0x20 == b'e').next().unwrap_or_default();
    let infinite_in_text = text.iter().any(|byte| byte | 0x20 == b'i');
    let zero_in_text = !mantissa.iter().any(|byte| (b'1'..=b'9').contains(byte));
    let in_range = !value.is_nan() && (!value.is_infinite() || infinite_in_text) && (value != 0.0 || zero_in_text);
    in_range.then_some(value)
}

/// INCRBYFLOAT adds in `long double` (x87, 80 bits) and prints with `%.17Lf`, trailing zeros removed ("human friendly" ld2string). Returns the
/// exact text Redis would store for `a + b`, or `None` when one is no number or the result is NaN or infinite. `a` and `b` are the decimal
/// texts; `LongDouble::parse` tells which of them is no number.
pub fn add_long_double(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    LongDouble::parse(a)?.add(LongDouble::parse(b)?).map(LongDouble::to_text)
}

/// Integers beyond this are shown with an exponent where that is shorter (`double2ll`).
const WHOLE_MAX: f64 = (1u64 << 62) as f64;

/// A double as replies show it since Redis 7.2 (`d2string`): an integer whole, others in the shortest digits that read back the same; `inf`,
/// `-inf`, `nan`.
pub fn format_f64(value: f64) -> String {
    if !value.is_finite() {
        let text = if value.is_nan() { "nan" } else { "inf" };
        return if value.is_sign_negative() && !value.is_nan() { format!("-{text}") } else { text.to_owned() };
    }
    if value == value.trunc() && value.abs() <= WHOLE_MAX {
        return (value as i64).to_string();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let (digits, power) = shortest_digits(value.abs());
    let count = digits.len() as i32;
    let exponent = power + count - 1;
    if power >= 0 && exponent < count + 7 {
        return format!("{sign}{digits}{}", "0".repeat(power as usize));
    }
    if power < 0 && (power > -7 || exponent.abs() < 4) {
        let point = count + power;
        return if point <= 0 {
            format!("{sign}0.{}{digits}", "0".repeat(-point as usize))
        } else {
            let (whole, fraction) = digits.split_at(point as usize);
            format!("{sign}{whole}.{fraction}")
        };
    }
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}e{exponent:+}")
}

/// `value` is `digits * 10^power`, with no zero at either end of the digits.
fn shortest_digits(value: f64) -> (String, i32) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let power = exponent.parse::<i32>().expect("ryu writes an exponent") - fraction.len() as i32;
    let kept = all.trim_end_matches('0');
    (kept.trim_start_matches('0').to_owned(), power + (all.len() - kept.len()) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_strict() {
        for (text, value) in [("0", 0), ("-1", -1), ("10", 10), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)] {
            assert_eq!(parse_i64(text.as_bytes()), Some(value), "{text}");
        }
        let refused = ["", "-", "+1", "-0", "00", "01", "-01", " 1", "1 ", "1.0", "0x1", "a", "9223372036854775808", "-9223372036854775809"];
        for text in refused.into_iter().chain(["18446744073709551616", "99999999999999999999", "1\0"]) {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn cursors_and_ids_are_read_as_strtoull_does() {
        let max = u64::MAX;
        for (text, number) in [("0", 0), (" 0", 0), ("+7", 7), ("018", 18), ("18446744073709551615", max), ("-0", 0), ("-05", 5u64.wrapping_neg())] {
            assert_eq!(parse_u64(text.as_bytes()), Some(number), "{text:?}");
        }
        assert_eq!((parse_u64(b"\x0b\t5"), parse_u64(b" -18446744073709551615")), (Some(5), Some(1)));
        for text in ["", " ", "-", "-1", "x", "0 ", "+", "++1", "+ 1", "18446744073709551616", " -18446744073709551616"] {
            assert_eq!(parse_u64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn doubles_are_read_as_strtod_does() {
        let cases = [
            ("1", 1.0),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("-1e3", -1000.0),
            ("1E+2", 100.0),
            ("0x10", 16.0),
            ("-0x1.8p1", -3.0),
            ("0X.8P-1", 0.25),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("+INF", f64::INFINITY),
            ("0e999", 0.0),
            ("-0", -0.0),
            ("4.9e-324", 5e-324),
            ("1e-310", 1e-310),
        ];
        for (text, value) in cases {
            assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
        for text in [
            "", ".", "+", "e1", "1e", "1e+", " 1", "1 ", "nan", "-nan", "1e400", "-1e400", "1e-400", "0x", "0x.", "0x1p", "0xg", "1_0", "infi",
            "1.2.3",
        ] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn doubles_are_written_as_replies_show_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (3.0, "3"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (3.15, "3.15"),
            (1e20, "1e+20"),
            (123456.0, "123456"),
            (1e7, "10000000"),
            (1e8, "100000000"),
            (859952890786666176.3, "859952890786666240"),
            (4611686018427387904.0, "4611686018427387904"),
            (9e18, "9e+18"),
            (1.5e300, "1.5e+300"),
            (1.5e-7, "1.5e-7"),
            (1e-5, "0.00001"),
            (1e100, "1e+100"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (value, text) in cases {
            assert_eq!(format_f64(value), text, "{value:?}");
        }
    }
}
