//! The digits of a double as Redis prints them: Grisu2, by Florian Loitsch ("Printing floating-point numbers quickly and accurately with integers",
//! 2010). What it gives always reads back the same, and is the shortest text that does in all but a few cases. There Redis shows a digit more,
//! and so do we.

/// The most digits there are.
pub const DIGITS_MAX: usize = 17;

/// A significand of 64 bits and a binary exponent.
#[derive(Clone, Copy)]
struct Wide {
    bits: u64,
    exponent: i32,
}

const LOW: u64 = u32::MAX as u64;

impl Wide {
    /// Without zeros in front.
    fn normalized(self) -> Wide {
        let zeros = self.bits.leading_zeros();
        Wide { bits: self.bits << zeros, exponent: self.exponent - zeros as i32 }
    }
    /// The upper half of the product. As in the paper the lowest of the four partial products takes no part in the rounding but by its upper half.
    fn times(self, other: Wide) -> Wide {
        let (a, b, c, d) = (self.bits >> 32, self.bits & LOW, other.bits >> 32, other.bits & LOW);
        let middle = ((b * d) >> 32) + ((a * d) & LOW) + ((b * c) & LOW) + (1 << 31);
        let bits = a * c + ((a * d) >> 32) + ((b * c) >> 32) + (middle >> 32);
        Wide { bits, exponent: self.exponent + other.exponent + 64 }
    }
}

/// The digits of `value`, which is positive and finite, and the power of ten that they are to be multiplied by.
pub fn digits(value: f64, buffer: &mut [u8; DIGITS_MAX]) -> (usize, i32) {
    let (exact, low, high) = boundaries(value);
    let (power, ten) = cached_power(high.exponent);
    let (exact, low, high) = (exact.times(ten), low.times(ten), high.times(ten));
    // One less at either end, since the products are not exact.
    let (low, high) = (low.bits + 1, Wide { bits: high.bits - 1, ..high });
    let mut digits = Digits { buffer, count: 0, delta: high.bits - low };
    let dropped = digits.generate(high, high.bits - exact.bits);
    (digits.count, dropped - power)
}

/// The value, and the middles between it and its neighbours.
fn boundaries(value: f64) -> (Wide, Wide, Wide) {
    const FRACTION: u32 = f64::MANTISSA_DIGITS - 1;
    const HIDDEN: u64 = 1 << FRACTION;
    let (fraction, biased) = (value.to_bits() & (HIDDEN - 1), (value.to_bits() >> FRACTION) as i32);
    let bias = f64::MAX_EXP - 1 + FRACTION as i32;
    let exact = match biased {
        0 => Wide { bits: fraction, exponent: 1 - bias },
        _ => Wide { bits: fraction | HIDDEN, exponent: biased - bias },
    };
    let high = Wide { bits: exact.bits * 2 + 1, exponent: exact.exponent - 1 }.normalized();
    // The neighbour below a power of two is half as far away.
    let shift = if exact.bits == HIDDEN { 2 } else { 1 };
    let (bits, exponent) = ((exact.bits << shift) - 1, exact.exponent - shift);
    let low = Wide { bits: bits << (exponent - high.exponent), exponent: high.exponent };
    (exact.normalized(), low, high)
}

/// The least kept power of ten whose product with a number of this exponent has an exponent of -60 or more; it is below -32 then.
fn cached_power(exponent: i32) -> (i32, Wide) {
    let at = |index: usize| {
        let power = FIRST_POWER + index as i32 * POWER_STEP;
        // The logarithm of ten to the base two, times 2^19.
        (power, Wide { bits: POWERS[index], exponent: ((power * 1_741_647) >> 19) - 63 })
    };
    // Its logarithm to the base ten, roughly and not too large.
    let least = (((-61 - exponent) * 1233) >> 12) - 1;
    let mut index = ((least - FIRST_POWER) / POWER_STEP).max(0) as usize;
    while exponent + at(index).1.exponent + 64 < -60 {
        index += 1;
    }
    at(index)
}

struct Digits<'a> {
    buffer: &'a mut [u8; DIGITS_MAX],
    count: usize,
    /// How far below the upper boundary the digits may stay.
    delta: u64,
}

impl Digits<'_> {
    fn push(&mut self, digit: u64) {
        if digit > 0 || self.count > 0 {
            self.buffer[self.count] = b'0' + digit as u8;
            self.count += 1;
        }
    }

    /// The fewest digits of something within `delta` below `high`; `distance` is from there to the value itself. Returns how many more digits the whole
    /// part has, negative for digits of the fraction.
    fn generate(&mut self, high: Wide, distance: u64) -> i32 {
        let shift = -high.exponent as u32;
        let one = 1 << shift;
        let (mut whole, mut fraction) = (high.bits >> shift, high.bits & (one - 1));
        for left in (0..10).rev() {
            let unit = 10_u64.pow(left);
            self.push(whole / unit);
            whole %= unit;
            let rest = (whole << shift) + fraction;
            if rest <= self.delta {
                self.round(rest, unit << shift, distance);
                return left as i32;
            }
        }
        let mut scale = 1_u64;
        for behind in 1.. {
            (fraction, self.delta, scale) = (fraction * 10, self.delta * 10, scale.wrapping_mul(10));
            self.push(fraction >> shift);
            fraction &= one - 1;
            if fraction < self.delta {
                self.round(fraction, one, distance.wrapping_mul(scale));
                return -behind;
            }
        }
        unreachable!("the fraction comes to an end")
    }

    /// Lowers the last digit while that comes nearer to the value.
    fn round(&mut self, mut rest: u64, unit: u64, distance: u64) {
        while rest < distance && self.delta - rest >= unit && (rest + unit < distance || distance - rest > rest + unit - distance) {
            self.buffer[self.count - 1] -= 1;
            rest += unit;
        }
    }
}

const FIRST_POWER: i32 = -348;
const POWER_STEP: i32 = 8;

/// Significands of the powers of ten, rounded.
const POWERS: [u64; 87] = [
    0xfa8fd5a0081c0288,
    0xbaaee17fa23ebf76,
    0x8b16fb203055ac76,
    0xcf42894a5dce35ea,
    0x9a6bb0aa55653b2d,
    0xe61acf033d1a45df,
    0xab70fe17c79ac6ca,
    0xff77b1fcbebcdc4f,
    0xbe5691ef416bd60c,
    0x8dd01fad907ffc3c,
    0xd3515c2831559a83,
    0x9d71ac8fada6c9b5,
    0xea9c227723ee8bcb,
    0xaecc49914078536d,
    0x823c12795db6ce57,
    0xc21094364dfb5637,
    0x9096ea6f3848984f,
    0xd77485cb25823ac7,
    0xa086cfcd97bf97f4,
    0xef340a98172aace5,
    0xb23867fb2a35b28e,
    0x84c8d4dfd2c63f3b,
    0xc5dd44271ad3cdba,
    0x936b9fcebb25c996,
    0xdbac6c247d62a584,
    0xa3ab66580d5fdaf6,
    0xf3e2f893dec3f126,
    0xb5b5ada8aaff80b8,
    0x87625f056c7c4a8b,
    0xc9bcff6034c13053,
    0x964e858c91ba2655,
    0xdff9772470297ebd,
    0xa6dfbd9fb8e5b88f,
    0xf8a95fcf88747d94,
    0xb94470938fa89bcf,
    0x8a08f0f8bf0f156b,
    0xcdb02555653131b6,
    0x993fe2c6d07b7fac,
    0xe45c10c42a2b3b06,
    0xaa242499697392d3,
    0xfd87b5f28300ca0e,
    0xbce5086492111aeb,
    0x8cbccc096f5088cc,
    0xd1b71758e219652c,
    0x9c40000000000000,
    0xe8d4a51000000000,
    0xad78ebc5ac620000,
    0x813f3978f8940984,
    0xc097ce7bc90715b3,
    0x8f7e32ce7bea5c70,
    0xd5d238a4abe98068,
    0x9f4f2726179a2245,
    0xed63a231d4c4fb27,
    0xb0de65388cc8ada8,
    0x83c7088e1aab65db,
    0xc45d1df942711d9a,
    0x924d692ca61be758,
    0xda01ee641a708dea,
    0xa26da3999aef774a,
    0xf209787bb47d6b85,
    0xb454e4a179dd1877,
    0x865b86925b9bc5c2,
    0xc83553c5c8965d3d,
    0x952ab45cfa97a0b3,
    0xde469fbd99a05fe3,
    0xa59bc234db398c25,
    0xf6c69a72a3989f5c,
    0xb7dcbf5354e9bece,
    0x88fcf317f22241e2,
    0xcc20ce9bd35c78a5,
    0x98165af37b2153df,
    0xe2a0b5dc971f303a,
    0xa8d9d1535ce3b396,
    0xfb9b7cd9a4a7443c,
    0xbb764c4ca7a44410,
    0x8bab8eefb6409c1a,
    0xd01fef10a657842c,
    0x9b10a4e5e9913129,
    0xe7109bfba19c0c9d,
    0xac2820d9623bf429,
    0x80444b5e7aa7cf85,
    0xbf21e44003acdd2d,
    0x8e679c2f5e44ff8f,
    0xd433179d9c8cb841,
    0x9e19db92b4e31ba9,
    0xeb96bf6ebadf77d9,
    0xaf87023b9bf0ee6b,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut buffer = [0; DIGITS_MAX];
        let (count, power) = digits(value, &mut buffer);
        format!("{}e{power}", std::str::from_utf8(&buffer[..count]).unwrap())
    }

    #[test]
    fn digits_are_those_of_redis() {
        for (value, digits) in [
            (1.0, "1e0"),
            (0.1, "1e-1"),
            (2.5e-7, "25e-8"),
            (1e23, "9999999999999999e7"),
            (5e-324, "5e-324"),
            (f64::MAX, "17976931348623157e292"),
            (f64::MIN_POSITIVE, "22250738585072014e-324"),
            // Not the shortest.
            (57.93443253610263, "57934432536102634e-15"),
        ] {
            assert_eq!(text(value), digits, "{value:?}");
        }
    }

    #[test]
    fn digits_read_back_the_same() {
        let mut bits = 1_u64;
        let mut shortest = 0;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits >> 1);
            if value.is_finite() {
                assert_eq!(text(value).parse::<f64>(), Ok(value));
                let least = format!("{value:e}").split('e').next().map(|digits| digits.replace('.', "").len());
                shortest += usize::from(text(value).find('e') == least);
            }
        }
        assert!(shortest > 150_000, "{shortest}");
    }
}
