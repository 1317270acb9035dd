//! Numbers in text, exactly as Redis reads and writes them.

use rustc_apfloat::Float;
use rustc_apfloat::ieee::Double;

use super::grisu::{self, DIGITS_MAX};
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

/// A double as an integer, if `double2ll` takes it for one; -0 becomes 0.
#[inline]
pub fn whole(value: f64) -> Option<i64> {
    (value.abs() <= WHOLE_MAX && value == value.trunc()).then_some(value as i64)
}

/// A double as `%.17g` prints it: ZSCAN shows scores so where they do not come from a listpack.
pub fn format_17_digits(value: f64) -> String {
    const DIGITS: i32 = 17;
    if !value.is_finite() || value == 0.0 {
        return DoubleBuf::default().shortest(value).to_owned();
    }
    let text = format!("{value:.16e}");
    let (mantissa, exponent) = text.split_once('e').expect("an exponent was asked for");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let stripped = |text: &str| if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() };
    if (-4..DIGITS).contains(&exponent) {
        return stripped(&format!("{value:.*}", (DIGITS - 1 - exponent) as usize));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", stripped(mantissa), exponent.abs())
}

/// Room for the text of a double, as `itoa::Buffer` is for integers.
pub struct DoubleBuf {
    bytes: [u8; DOUBLE_TEXT_MAX],
    len: usize,
}

/// The longest text: sign, seventeen digits, and up to eight zeros or an exponent; an integer of up to 2^62 is shorter.
const DOUBLE_TEXT_MAX: usize = 32;

impl Default for DoubleBuf {
    fn default() -> Self {
        DoubleBuf { bytes: [0; DOUBLE_TEXT_MAX], len: 0 }
    }
}

impl DoubleBuf {
    /// As replies show it since Redis 7.2 (`d2string`): an integer whole, others in the fewest digits that read back the same; `inf`, `-inf`, `nan`.
    pub fn reply(&mut self, value: f64) -> &str {
        match whole(value) {
            Some(number) if number != 0 || value.is_sign_positive() => {
                self.len = 0;
                self.push(itoa::Buffer::new().format(number).as_bytes());
                self.text()
            }
            _ => self.shortest(value),
        }
    }

    /// In the fewest digits that read back the same (`fpconv_dtoa`), which has an exponent for long integers as well. DEBUG DIGEST mixes it in.
    pub fn shortest(&mut self, value: f64) -> &str {
        self.len = 0;
        if value.is_sign_negative() && !value.is_nan() {
            self.push(b"-");
        }
        match value {
            _ if value.is_nan() => self.push(b"nan"),
            _ if value.is_infinite() => self.push(b"inf"),
            0.0 => self.push(b"0"),
            _ => self.finite(value.abs()),
        }
        self.text()
    }

    fn finite(&mut self, value: f64) {
        let mut digits = [0; DIGITS_MAX];
        let (count, power) = grisu::digits(value, &mut digits);
        let digits = &digits[..count];
        let exponent = power + count as i32 - 1;
        if power >= 0 && exponent < count as i32 + 7 {
            self.push(digits);
            self.zeros(power);
        } else if power < 0 && (power > -7 || exponent.abs() < 4) {
            let point = count as i32 + power;
            let (whole, fraction) = digits.split_at(point.max(0) as usize);
            self.push(if point > 0 { whole } else { b"0" });
            self.push(b".");
            self.zeros(-point);
            self.push(fraction);
        } else {
            let (first, rest) = digits.split_at(1);
            self.push(first);
            self.push(if rest.is_empty() { b"" } else { b"." });
            self.push(rest);
            self.push(if exponent < 0 { b"e-" } else { b"e+" });
            self.push(itoa::Buffer::new().format(exponent.abs()).as_bytes());
        }
    }

    fn zeros(&mut self, count: i32) {
        for _ in 0..count {
            self.push(b"0");
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("digits and signs")
    }
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
    fn doubles_are_written_with_seventeen_digits() {
        let cases = [
            (0.99, "0.98999999999999999"),
            (3.0, "3"),
            (-0.0, "-0"),
            (1e20, "1e+20"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (-123456.789e-300, "-1.2345678899999999e-295"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in cases {
            assert_eq!(format_17_digits(value), text, "{value:?}");
        }
    }

    #[test]
    fn doubles_are_written_as_replies_show_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (3.15, "3.15"),
            (1e20, "1e+20"),
            (123456.0, "123456"),
            (1e7, "10000000"),
            (1e8, "100000000"),
            (859952890786666176.3, "859952890786666240"),
            (1234567890123456.7, "1234567890123456.7"),
            (-123456.789e-300, "-1.23456789e-295"),
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
            assert_eq!(DoubleBuf::default().reply(value), text, "{value:?}");
        }
    }
}
