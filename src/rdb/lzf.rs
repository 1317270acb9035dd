//! LZF, the compression of RDB strings: bytes in, bytes out. Runs of up to 32 literals, and references of 3 to 264 bytes to at most 8 KiB back.
//!
//! Buffers are kept between calls. The table of recent positions is never cleared: positions rise from call to call, and one below the
//! call's own start is another string's.

const TABLE_BITS: u32 = 13;
const DISTANCE_MAX: usize = 1 << 13;
const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = 264;
const LITERALS_MAX: usize = 32;
/// No reference of `n` bytes yields more than this times `n`.
const EXPANSION_MAX: u64 = (MATCH_MAX / MATCH_MIN) as u64;

/// The compressed bytes can't be what they are said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged LZF data")]
pub struct Damaged;

pub struct Compressor {
    table: Box<[u32]>,
    /// The position of the next input's first byte; above all positions in the table.
    base: u32,
    out: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        Compressor { table: vec![0; 1 << TABLE_BITS].into_boxed_slice(), base: 1, out: Vec::new() }
    }
}

fn slot(a: u8, b: u8, c: u8) -> usize {
    let triple = u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c);
    (triple.wrapping_mul(0x9E37_79B1) >> (32 - TABLE_BITS)) as usize
}

fn match_len(input: &[u8], from: usize, at: usize) -> usize {
    let max = MATCH_MAX.min(input.len() - at);
    input[at..at + max].iter().zip(&input[from..]).take_while(|(a, b)| a == b).count()
}

impl Compressor {
    /// The compressed form, or `None` unless it saves more than four bytes (what its header may cost).
    pub fn compress(&mut self, input: &[u8]) -> Option<&[u8]> {
        let limit = input.len().checked_sub(4)?;
        let len = u32::try_from(input.len()).ok().filter(|len| *len <= u32::MAX / 2)?;
        if self.base > u32::MAX - len {
            self.table.fill(0);
            self.base = 1;
        }
        let base = self.base;
        self.base += len;
        self.out.clear();

        let (mut at, mut literals_from) = (0, 0);
        while at + MATCH_MIN <= input.len() {
            let hint = &mut self.table[slot(input[at], input[at + 1], input[at + 2])];
            let position = std::mem::replace(hint, base + at as u32);
            if position >= base {
                let from = (position - base) as usize;
                let len = if at - from <= DISTANCE_MAX { match_len(input, from, at) } else { 0 };
                if len >= MATCH_MIN {
                    push_literals(&mut self.out, &input[literals_from..at]);
                    push_reference(&mut self.out, at - from, len);
                    if self.out.len() >= limit {
                        return None;
                    }
                    at += len;
                    literals_from = at;
                    continue;
                }
            }
            // Through data that does not compress, in growing steps.
            at += 1 + ((at - literals_from) >> 7);
            if self.out.len() + (at - literals_from) > limit + MATCH_MIN {
                return None;
            }
        }
        push_literals(&mut self.out, &input[literals_from..]);
        (self.out.len() < limit).then_some(&self.out)
    }
}

fn push_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

fn push_reference(out: &mut Vec<u8>, distance: usize, len: usize) {
    let (distance, len) = (distance - 1, len - 2);
    let high = (distance >> 8) as u8;
    if len < 7 {
        out.push((len as u8) << 5 | high);
    } else {
        out.push(7 << 5 | high);
        out.push((len - 7) as u8);
    }
    out.push(distance as u8);
}

/// Replaces what is in `out` by the `raw_len` bytes that `input` holds. Allocates in proportion to `input`, whatever `raw_len` says.
pub fn decompress(input: &[u8], raw_len: u64, out: &mut Vec<u8>) -> Result<(), Damaged> {
    out.clear();
    if raw_len > input.len() as u64 * EXPANSION_MAX {
        return Err(Damaged);
    }
    let raw_len = raw_len as usize;
    out.reserve(raw_len);
    let mut rest = input;
    while let Some((&control, tail)) = rest.split_first() {
        rest = tail;
        if control < 32 {
            let literals = rest.get(..usize::from(control) + 1).ok_or(Damaged)?;
            if out.len() + literals.len() > raw_len {
                return Err(Damaged);
            }
            out.extend_from_slice(literals);
            rest = &rest[literals.len()..];
            continue;
        }
        let mut len = usize::from(control >> 5) + 2;
        if control >> 5 == 7 {
            let (&more, tail) = rest.split_first().ok_or(Damaged)?;
            len += usize::from(more);
            rest = tail;
        }
        let (&low, tail) = rest.split_first().ok_or(Damaged)?;
        rest = tail;
        let distance = (usize::from(control & 31) << 8 | usize::from(low)) + 1;
        if distance > out.len() || out.len() + len > raw_len {
            return Err(Damaged);
        }
        let from = out.len() - distance;
        if distance >= len {
            out.extend_from_within(from..from + len);
        } else {
            for at in from..from + len {
                out.push(out[at]);
            }
        }
    }
    if out.len() == raw_len { Ok(()) } else { Err(Damaged) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(compressor: &mut Compressor, input: &[u8]) -> bool {
        let Some(packed) = compressor.compress(input).map(<[u8]>::to_vec) else { return false };
        assert!(packed.len() + 4 < input.len());
        let mut out = Vec::new();
        decompress(&packed, input.len() as u64, &mut out).unwrap();
        assert_eq!(out, input);
        // What the field's own implementation makes of it.
        assert_eq!(::lzf::decompress(&packed, input.len()).unwrap(), input);
        true
    }

    #[test]
    fn one_compressor_for_many_strings() {
        let mut compressor = Compressor::default();
        assert!(!round(&mut compressor, b""));
        assert!(!round(&mut compressor, b"abcd"));
        assert!(round(&mut compressor, &[b'a'; 21]));
        for n in 1..2000usize {
            let text: Vec<u8> = (0..n).map(|i| b"user:session:"[i % 13] ^ (i / 700) as u8).collect();
            assert_eq!(round(&mut compressor, &text), n > 20, "{n}");
        }
        assert!(round(&mut compressor, &vec![0; 3_000_000]));
    }

    #[test]
    fn positions_start_anew_before_they_wrap() {
        let mut compressor = Compressor { base: u32::MAX - 150, ..Compressor::default() };
        for _ in 0..4 {
            assert!(round(&mut compressor, &[b'x'; 100]));
        }
        assert!(compressor.base < 1000);
    }

    #[test]
    fn what_other_compressors_write() {
        for text in [b"a".repeat(5000), b"abcabcabd".repeat(40), (0..=255u8).cycle().take(3000).collect()] {
            let packed = ::lzf::compress(&text).unwrap();
            let mut out = Vec::new();
            decompress(&packed, text.len() as u64, &mut out).unwrap();
            assert_eq!(out, text);
        }
    }

    #[test]
    fn hostile_lengths_allocate_nothing() {
        let mut out = Vec::new();
        assert_eq!(decompress(&[0, b'a'], u64::MAX, &mut out), Err(Damaged));
        assert_eq!(decompress(&[0, b'a'], 1 << 40, &mut out), Err(Damaged));
        assert_eq!(out.capacity(), 0);
        assert_eq!(decompress(&[0, b'a'], 2, &mut out), Err(Damaged));
        assert_eq!(decompress(&[31, b'a'], 32, &mut out), Err(Damaged));
        assert_eq!(decompress(&[0, b'a', 0x20, 1], 4, &mut out), Err(Damaged), "a reference to before the start");
        assert_eq!(decompress(&[0, b'a', 0xE0], 300, &mut out), Err(Damaged));
        assert_eq!(decompress(&[], 0, &mut out), Ok(()));
    }

    proptest! {
        #[test]
        fn roundtrip(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 1..6), picks in prop::collection::vec(any::<usize>(), 0..400)) {
            let text: Vec<u8> = picks.iter().flat_map(|pick| words[pick % words.len()].clone()).collect();
            round(&mut Compressor::default(), &text);
        }

        #[test]
        fn any_bytes_decompress_or_fail(input in prop::collection::vec(any::<u8>(), 0..200), raw_len in 0u64..5000) {
            let mut out = Vec::new();
            if decompress(&input, raw_len, &mut out).is_ok() {
                prop_assert_eq!(out.len() as u64, raw_len);
            }
        }
    }
}
