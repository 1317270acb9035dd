//! Integers of 1 to 64 bits at any bit of a string, as BITFIELD reads, writes and adds to them.

/// An integer type: `i16`, `u8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldType {
    pub signed: bool,
    /// 1 to 64, or 63 without a sign.
    pub bits: u32,
}

/// What happens to a result that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl FieldType {
    pub fn parse(text: &[u8]) -> Option<FieldType> {
        let (signed, bits_max) = match text.first()? {
            b'i' => (true, 64),
            b'u' => (false, 63),
            _ => return None,
        };
        let bits = super::number::parse_i64(&text[1..])?;
        (1..=bits_max).contains(&bits).then_some(FieldType { signed, bits: bits as u32 })
    }

    /// The bits that a value has, the lowest ones.
    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// The number that the lowest bits stand for.
    fn narrow(self, raw: u64) -> i64 {
        let spare = 64 - self.bits;
        if self.signed { ((raw << spare) as i64) >> spare } else { (raw & self.mask()) as i64 }
    }

    /// Reads the field at a bit offset; bits beyond the end are 0.
    pub fn get(self, bytes: &[u8], offset: u64) -> i64 {
        let mut window = [0u8; 9];
        if let Some(there) = usize::try_from(offset / 8).ok().and_then(|start| bytes.get(start..)) {
            let len = there.len().min(9);
            window[..len].copy_from_slice(&there[..len]);
        }
        let wide = window.iter().fold(0u128, |wide, byte| wide << 8 | u128::from(*byte));
        self.narrow((wide >> (72 - offset % 8 - u64::from(self.bits))) as u64)
    }

    /// Writes the field; its bits must be there.
    pub fn set(self, bytes: &mut [u8], offset: u64, value: i64) {
        let start = (offset / 8) as usize;
        let end = ((offset + u64::from(self.bits) - 1) / 8) as usize;
        let window = &mut bytes[start..=end];
        let shift = window.len() as u64 * 8 - offset % 8 - u64::from(self.bits);
        let mut wide = window.iter().fold(0u128, |wide, byte| wide << 8 | u128::from(*byte));
        wide = wide & !(u128::from(self.mask()) << shift) | u128::from(value as u64 & self.mask()) << shift;
        for byte in window.iter_mut().rev() {
            *byte = wide as u8;
            wide >>= 8;
        }
    }

    /// `value + increment` as the type holds it; `None` if it does not fit and must fail.
    pub fn add(self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        let limit = if self.signed { self.signed_limit(value, increment) } else { self.unsigned_limit(value as u64, increment) };
        match (limit, overflow) {
            (Some(_), Overflow::Fail) => None,
            (Some(limit), Overflow::Saturate) => Some(limit),
            _ => Some(self.narrow(value.wrapping_add(increment) as u64)),
        }
    }

    /// Where an addition ends that leaves the type's range. The differences wrap, as Redis's do: SET with OVERFLOW SAT takes a number far below the
    /// range for one above it.
    fn signed_limit(self, value: i64, increment: i64) -> Option<i64> {
        let max = (self.mask() >> 1) as i64;
        let min = -max - 1;
        let narrow = self.bits != 64;
        let (room_above, room_below) = (max.wrapping_sub(value), min.wrapping_sub(value));
        if value > max || narrow && increment > room_above || value >= 0 && increment > 0 && increment > room_above {
            return Some(max);
        }
        let below = value < min || narrow && increment < room_below || value < 0 && increment < 0 && increment < room_below;
        below.then_some(min)
    }

    fn unsigned_limit(self, value: u64, increment: i64) -> Option<i64> {
        let max = self.mask();
        let (room_above, room_below) = (max.wrapping_sub(value) as i64, value.wrapping_neg() as i64);
        if value > max || increment > 0 && increment > room_above {
            return Some(max as i64);
        }
        (increment < 0 && increment < room_below).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> FieldType {
        FieldType::parse(text.as_bytes()).expect("a type")
    }

    #[test]
    fn types_have_limits() {
        for text in ["", "i", "u", "x8", "i0", "u64", "i65", "u-1", "I8", "i08"] {
            assert_eq!(FieldType::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(field("i64"), FieldType { signed: true, bits: 64 });
        assert_eq!(field("u63"), FieldType { signed: false, bits: 63 });
    }

    #[test]
    fn what_is_written_is_read_and_its_neighbours_stay() {
        for bits in 1..=64 {
            for signed in [false, true] {
                if !signed && bits == 64 {
                    continue;
                }
                let field = FieldType { signed, bits };
                for offset in 0..20 {
                    for background in [0x00, 0xff] {
                        let mut bytes = [background; 12];
                        let value = field.narrow(0x9234_5678_9abc_def1_u64 ^ u64::from(background));
                        field.set(&mut bytes, offset, value);
                        assert_eq!(field.get(&bytes, offset), value, "{field:?} at {offset}");
                        for at in (0..96).filter(|at| !(offset..offset + u64::from(bits)).contains(at)) {
                            assert_eq!(super::super::bits::get(&bytes, at), background != 0, "{field:?} at {offset}, bit {at}");
                        }
                    }
                }
            }
        }
        assert_eq!(field("u8").get(&[0xab], 4), 0xb0);
        assert_eq!(field("i64").get(&[], u64::MAX - 64), 0);
    }

    #[test]
    fn results_wrap_stop_or_fail() {
        use Overflow::{Fail, Saturate, Wrap};
        let cases = [
            ("i8", 127, 1, [Some(-128), Some(127), None]),
            ("i8", -128, -1, [Some(127), Some(-128), None]),
            ("i8", 100, -100, [Some(0), Some(0), Some(0)]),
            ("i8", 300, 0, [Some(44), Some(127), None]),
            ("i8", i64::MIN, 0, [Some(0), Some(127), None]),
            ("i64", i64::MAX, 1, [Some(i64::MIN), Some(i64::MAX), None]),
            ("i64", i64::MIN, -1, [Some(i64::MAX), Some(i64::MIN), None]),
            ("i64", -1, i64::MAX, [Some(i64::MAX - 1), Some(i64::MAX - 1), Some(i64::MAX - 1)]),
            ("u8", 255, 1, [Some(0), Some(255), None]),
            ("u8", 0, -1, [Some(255), Some(0), None]),
            ("u8", -1, 0, [Some(255), Some(255), None]),
            ("u63", i64::MAX, 1, [Some(0), Some(i64::MAX), None]),
            ("u63", 5, -6, [Some(i64::MAX), Some(0), None]),
        ];
        for (name, value, increment, wanted) in cases {
            let got = [Wrap, Saturate, Fail].map(|overflow| field(name).add(value, increment, overflow));
            assert_eq!(got, wanted, "{name} {value} {increment}");
        }
    }
}
