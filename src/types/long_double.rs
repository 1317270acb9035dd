//! x87 `long double`: 64 bits of mantissa. Redis's INCRBYFLOAT and HINCRBYFLOAT compute in it, and the text they store shows every bit, so
//! that a slave (or a test against a real server) sees the difference to `f64`. Arithmetic is that of `rustc_apfloat`; texts are ours.

use rustc_apfloat::ieee::X87DoubleExtended;
use rustc_apfloat::{Float, Round, Status};

/// `string2ld` refuses longer texts (MAX_LONG_DOUBLE_CHARS).
const TEXT_BYTES_MAX: usize = 5 * 1024;

/// Digits after the point that `%.17Lf` prints.
const FRACTION_DIGITS: usize = 17;

/// A number that is not NaN; infinity is one, as `strtold` reads it.
#[derive(Clone, Copy, Debug)]
pub struct LongDouble(X87DoubleExtended);

impl LongDouble {
    /// `string2ld`: `None` for what `strtold` does not read to its end, NaN, overflow and underflow to zero.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= TEXT_BYTES_MAX {
            return None;
        }
        parse_float(text).map(LongDouble)
    }

    pub fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// The sum, rounded once; `None` when it is NaN or infinite.
    #[allow(clippy::should_implement_trait)] // The result is an Option.
    pub fn add(self, other: LongDouble) -> Option<LongDouble> {
        let sum = (self.0 + other.0).value;
        sum.is_finite().then_some(LongDouble(sum))
    }

    /// `ld2string` in its human form: `%.17Lf` without trailing zeros, and no `-0`. Infinity prints as `inf`.
    pub fn to_text(self) -> Vec<u8> {
        let bits = self.0.to_bits();
        let negative = bits >> 79 & 1 == 1;
        if !self.0.is_finite() {
            return if negative { b"-inf".to_vec() } else { b"inf".to_vec() };
        }
        let mantissa = bits as u64;
        // The mantissa is an integer here, so the exponent is less by its 63 fraction bits. A denormal has the exponent of the least normal.
        let exponent = ((bits >> 64 & 0x7fff) as i32).max(1) - 16383 - 63;
        let mut text = if exponent >= 0 { shifted_to_text(mantissa, exponent as u32) } else { fraction_to_text(mantissa, exponent.unsigned_abs()) };
        if text.contains(&b'.') {
            let kept = text.iter().rposition(|&byte| byte != b'0').map_or(0, |last| last + 1);
            text.truncate(kept - usize::from(text[kept - 1] == b'.'));
        }
        if negative && text != b"0" {
            text.insert(0, b'-');
        }
        text
    }
}

/// `mantissa / 2^shift` with all its fraction digits, rounded half to even as printf does.
fn fraction_to_text(mantissa: u64, shift: u32) -> Vec<u8> {
    // 64 + 57 bits: the scaled value fits, and beyond 127 bits of shift it is certainly less than a half.
    let scaled = u128::from(mantissa) * 10u128.pow(FRACTION_DIGITS as u32);
    let rounded = if shift > 127 {
        0
    } else {
        let (whole, rest, half) = (scaled >> shift, scaled & ((1 << shift) - 1), 1u128 << (shift - 1));
        whole + u128::from(rest > half || rest == half && whole & 1 == 1)
    };
    let unit = 10u128.pow(FRACTION_DIGITS as u32);
    format!("{}.{:0width$}", rounded / unit, rounded % unit, width = FRACTION_DIGITS).into_bytes()
}

/// `mantissa * 2^shift` in decimal. The largest has 4933 digits.
fn shifted_to_text(mantissa: u64, mut shift: u32) -> Vec<u8> {
    const BASE: u64 = 1_000_000_000;
    // Least significant first.
    let mut limbs = vec![mantissa % BASE, mantissa / BASE % BASE, mantissa / BASE / BASE];
    while shift > 0 {
        let step = shift.min(32);
        let mut carry = 0;
        for limb in &mut limbs {
            let product = (*limb << step) + carry;
            (*limb, carry) = (product % BASE, product / BASE);
        }
        while carry > 0 {
            limbs.push(carry % BASE);
            carry /= BASE;
        }
        shift -= step;
    }
    while limbs.len() > 1 && limbs.last() == Some(&0) {
        limbs.pop();
    }
    let mut text = limbs.pop().unwrap_or(0).to_string();
    for limb in limbs.iter().rev() {
        text.push_str(&format!("{limb:09}"));
    }
    text.into_bytes()
}

/// `strtold` of the whole text, with the errors that Redis takes for errors.
fn parse_float(text: &[u8]) -> Option<X87DoubleExtended> {
    if let Some(hex) = parse_hex_float(text) {
        return hex;
    }
    let (negative, unsigned) = split_sign(text);
    if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
        return Some(if negative { -X87DoubleExtended::INFINITY } else { X87DoubleExtended::INFINITY });
    }
    let exponent_at = unsigned.iter().position(|byte| byte | 0x20 == b'e');
    let (digits, exponent) = unsigned.split_at(exponent_at.unwrap_or(unsigned.len()));
    check_digits(digits, u8::is_ascii_digit)?;
    if !exponent.is_empty() {
        check_exponent(&exponent[1..])?;
    }
    convert(text)
}

/// A hexadecimal float as C reads it, if the text begins as one: then the inner `None` says that it is malformed or out of range.
pub fn parse_hex_float<F: Float>(text: &[u8]) -> Option<Option<F>> {
    let (_, unsigned) = split_sign(text);
    let [b'0', b'x' | b'X', body @ ..] = unsigned else { return None };
    Some(parse_hex_body(text, body))
}

fn parse_hex_body<F: Float>(text: &[u8], body: &[u8]) -> Option<F> {
    let exponent_at = body.iter().position(|byte| byte | 0x20 == b'p');
    let (digits, exponent) = body.split_at(exponent_at.unwrap_or(body.len()));
    check_digits(digits, u8::is_ascii_hexdigit)?;
    if exponent.is_empty() {
        // C does without the exponent, the library does not.
        return convert(&[text, b"p0"].concat());
    }
    check_exponent(&exponent[1..])?;
    convert(text)
}

/// The text's syntax has been checked. Overflow and underflow to zero are errors, as in `string2ld`.
fn convert<F: Float>(text: &[u8]) -> Option<F> {
    let text = std::str::from_utf8(text).ok()?;
    let converted = F::from_str_r(text.strip_prefix('+').unwrap_or(text), Round::NearestTiesToEven).ok()?;
    let lost = converted.value.is_zero() && converted.status.intersects(Status::INEXACT | Status::UNDERFLOW);
    (converted.value.is_finite() && !lost).then_some(converted.value)
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Digits with at most one point, at least one digit.
fn check_digits(text: &[u8], is_digit: fn(&u8) -> bool) -> Option<()> {
    let points = text.iter().filter(|&&byte| byte == b'.').count();
    let digits = text.iter().filter(|byte| is_digit(byte)).count();
    (points <= 1 && digits > 0 && points + digits == text.len()).then_some(())
}

fn check_exponent(text: &[u8]) -> Option<()> {
    let (_, digits) = split_sign(text);
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then_some(())
}

#[cfg(test)]
mod tests {
    use crate::types::number::add_long_double;

    /// Asked of a 7.0.15: SET k a, INCRBYFLOAT k b. An empty text is an error.
    const SUMS: [(&str, &str, &str); 35] = [
        ("0.1", "0.2", "0.3"),
        ("10.50", "0.1", "10.6"),
        ("5.0e3", "200", "5200"),
        ("1", "-1.0", "0"),
        ("-0", "-0", "0"),
        ("3", "1.1", "4.1"),
        ("4.35", "0", "4.35"),
        ("0.3", "-0.1", "0.2"),
        ("+.5", "5.", "5.5"),
        ("0x1.8p1", "0x.8", "3.5"),
        ("0.00000000000000001", "0", "0.00000000000000001"),
        ("0.000000000000000005", "0", "0"),
        ("0.0000000000000000050001", "0", "0.00000000000000001"),
        ("0.000000000000000015", "0", "0.00000000000000002"),
        ("3.0e-17", "2.5e-17", "0.00000000000000005"),
        ("-0.000000000000000001", "0", "0"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("18446744073709551615", "1", "18446744073709551616"),
        ("18446744073709551616", "1", "18446744073709551616"),
        ("18446744073709551617", "2", "18446744073709551618"),
        ("1e17", "0.1", "100000000000000000.1015625"),
        ("1e20", "-0.5", "100000000000000000000"),
        ("123456789.123456789123456789", "-0.000000000123456789", "123456789.12345678899873747"),
        ("1e-4950", "0", "0"),
        ("1e-4951", "1", ""),
        ("1e4932", "1e4932", ""),
        ("1.18973149535723176509e4932", "0", ""),
        ("inf", "1", ""),
        ("inf", "-inf", ""),
        ("nan", "1", ""),
        ("", "1", ""),
        (" 1", "1", ""),
        ("1 ", "1", ""),
        ("1e", "1", ""),
        ("0x", "1", ""),
    ];

    #[test]
    fn sums_are_those_of_redis() {
        for (a, b, sum) in SUMS {
            let ours = add_long_double(a.as_bytes(), b.as_bytes()).unwrap_or_default();
            assert_eq!(String::from_utf8(ours).unwrap(), sum, "{a} + {b}");
        }
    }

    #[test]
    fn large_numbers_print_every_digit() {
        for (number, len, first, last) in
            [("1e300", 301, "100000000000", "915104006144"), ("1.18973149535723176502e4932", 4933, "118973149535", "811989770240")]
        {
            let text = String::from_utf8(add_long_double(number.as_bytes(), b"0").unwrap()).unwrap();
            assert_eq!((text.len(), &text[..12]), (len, first));
            assert_eq!(&text[len - 12..], last);
        }
    }

    #[test]
    fn long_texts_are_refused() {
        let text = |len: usize| [b"1.".as_slice(), &vec![b'0'; len - 2]].concat();
        assert_eq!(add_long_double(&text(5119), b"1").unwrap(), b"2");
        assert_eq!(add_long_double(&text(5120), b"1"), None);
    }
}
