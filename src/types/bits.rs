//! Bits of a string, numbered as SETBIT does: bit 0 is the highest of the first byte. Plain functions on bytes.

use std::ops::Range;

/// The bit at `offset`; those beyond the end are 0.
pub fn get(bytes: &[u8], offset: u64) -> bool {
    usize::try_from(offset / 8).ok().and_then(|at| bytes.get(at)).is_some_and(|byte| byte & mask(offset) != 0)
}

/// Sets the bit at `offset`, which must be there; returns what it was.
pub fn set(bytes: &mut [u8], offset: u64, on: bool) -> bool {
    let byte = &mut bytes[(offset / 8) as usize];
    let old = *byte & mask(offset) != 0;
    *byte = if on { *byte | mask(offset) } else { *byte & !mask(offset) };
    old
}

fn mask(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}

/// A range of bits, cut where whole bytes begin and end.
struct Cut<'a> {
    /// The byte in front with its bits outside the range cleared, and which those are.
    head: Option<(u8, u8)>,
    whole: &'a [u8],
    tail: Option<(u8, u8)>,
}

/// `range` must lie within `bytes`.
fn cut(bytes: &[u8], range: Range<u64>) -> Cut<'_> {
    if range.is_empty() {
        return Cut { head: None, whole: &[], tail: None };
    }
    let from_mask = 0xffu8 >> (range.start % 8);
    let to_mask = !0xffu8.checked_shr((range.end % 8) as u32).unwrap_or(0);
    let (first, last) = ((range.start / 8) as usize, (range.end / 8) as usize);
    let masked = |at: usize, mask: u8| Some((bytes[at] & mask, !mask));
    if first == last {
        return Cut { head: masked(first, from_mask & to_mask), whole: &[], tail: None };
    }
    let head = if from_mask == 0xff { None } else { masked(first, from_mask) };
    let tail = if to_mask == 0 { None } else { masked(last, to_mask) };
    Cut { head, whole: &bytes[first + usize::from(head.is_some())..last], tail }
}

/// How many bits are set in a range of bits that lies within `bytes`.
pub fn count(bytes: &[u8], range: Range<u64>) -> u64 {
    let Cut { head, whole, tail } = cut(bytes, range);
    let ends = [head, tail].into_iter().flatten().map(|(byte, _)| u64::from(byte.count_ones())).sum::<u64>();
    let (words, rest) = whole.as_chunks::<8>();
    let words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    ends + words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The first bit that is `bit` in a range of bits that lies within `bytes`.
pub fn first(bytes: &[u8], bit: bool, range: Range<u64>) -> Option<u64> {
    let Cut { head, whole, tail } = cut(bytes, range.clone());
    // Looking for a 0 is looking for a 1 in what is flipped.
    let flip = if bit { 0u8 } else { 0xff };
    let in_byte = |(byte, outside): (u8, u8)| {
        let wanted = (byte ^ flip) & !outside;
        (wanted != 0).then(|| u64::from(wanted.leading_zeros()))
    };
    if let Some(at) = head.and_then(in_byte) {
        return Some(range.start / 8 * 8 + at);
    }
    let whole_start = if head.is_some() { range.start / 8 * 8 + 8 } else { range.start };
    if let Some(at) = first_in_bytes(whole, flip) {
        return Some(whole_start + at);
    }
    tail.and_then(in_byte).map(|at| whole_start + whole.len() as u64 * 8 + at)
}

fn first_in_bytes(bytes: &[u8], flip: u8) -> Option<u64> {
    let flip_word = u64::from_ne_bytes([flip; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    if let Some(at) = words.iter().position(|word| u64::from_ne_bytes(*word) != flip_word) {
        return Some(at as u64 * 64 + u64::from((u64::from_be_bytes(words[at]) ^ flip_word).leading_zeros()));
    }
    let at = rest.iter().position(|byte| *byte != flip)?;
    Some((words.len() * 8 + at) as u64 * 8 + u64::from((rest[at] ^ flip).leading_zeros()))
}

/// What BITOP does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    And,
    Or,
    Xor,
    Not,
    /// In the first source and in none of the others.
    Diff,
    /// In one of the others and not in the first.
    Diff1,
    /// In the first and in one of the others.
    AndOr,
    /// In exactly one source.
    One,
}

impl Op {
    pub fn parse(name: &[u8]) -> Option<Op> {
        let ops = [
            ("and", Op::And),
            ("or", Op::Or),
            ("xor", Op::Xor),
            ("not", Op::Not),
            ("diff", Op::Diff),
            ("diff1", Op::Diff1),
            ("andor", Op::AndOr),
            ("one", Op::One),
        ];
        ops.into_iter().find(|(own, _)| own.as_bytes().eq_ignore_ascii_case(name)).map(|(_, op)| op)
    }
}

/// The result of BITOP, as long as the longest source; missing bytes are zeros. `sources` must not be empty.
pub fn combine(op: Op, sources: &[&[u8]]) -> Vec<u8> {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let (first, others) = sources.split_first().expect("BITOP has sources");
    let mut result = Vec::with_capacity(len);
    if !matches!(op, Op::Diff1 | Op::AndOr) {
        result.extend_from_slice(first);
    }
    result.resize(len, 0);
    match op {
        Op::And => others.iter().for_each(|source| and(&mut result, source)),
        Op::Or => others.iter().for_each(|source| or(&mut result, source)),
        Op::Xor => others.iter().for_each(|source| zip(&mut result, source, |to, from| *to ^= from)),
        Op::Not => result.iter_mut().for_each(|byte| *byte = !*byte),
        Op::Diff => others.iter().for_each(|source| and_not(&mut result, source)),
        Op::Diff1 => {
            others.iter().for_each(|source| or(&mut result, source));
            and_not(&mut result, first);
        }
        Op::AndOr => {
            others.iter().for_each(|source| or(&mut result, source));
            and(&mut result, first);
        }
        Op::One => {
            // What more than one source has; gathered beside what any has, so that a third does not bring a bit back.
            let mut several = vec![0u8; len];
            for source in others {
                for ((several, any), from) in several.iter_mut().zip(&mut result).zip(*source) {
                    *several |= *any & from;
                    *any |= from;
                }
            }
            and_not(&mut result, &several);
        }
    }
    result
}

/// Byte by byte, as far as `from` goes; compiles to the widest words there are.
fn zip(to: &mut [u8], from: &[u8], change: impl Fn(&mut u8, u8)) {
    to.iter_mut().zip(from).for_each(|(to, from)| change(to, *from));
}

fn or(to: &mut [u8], from: &[u8]) {
    zip(to, from, |to, from| *to |= from);
}

fn and_not(to: &mut [u8], from: &[u8]) {
    zip(to, from, |to, from| *to &= !from);
}

fn and(to: &mut [u8], from: &[u8]) {
    zip(to, from, |to, from| *to &= from);
    to[from.len()..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Runs of equal bytes, so that searches go through whole words.
            if state & 0x700 == 0 { (state >> 16) as u8 } else { [0x00, 0xff][(seed % 2) as usize] }
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn ranges_are_counted_and_searched_bit_by_bit_and_by_words_alike() {
        for seed in 0..6 {
            let bytes = random_bytes(seed, 37);
            let bits = bytes.len() as u64 * 8;
            for from in 0..=bits {
                for to in from..=bits {
                    let slow = (from..to).filter(|at| get(&bytes, *at)).count() as u64;
                    assert_eq!(count(&bytes, from..to), slow, "{seed} {from} {to}");
                    for bit in [false, true] {
                        let slow = (from..to).find(|at| get(&bytes, *at) == bit);
                        assert_eq!(first(&bytes, bit, from..to), slow, "{seed} {bit} {from} {to}");
                    }
                }
            }
        }
    }

    #[test]
    fn bits_are_set_and_cleared_from_the_highest_on() {
        let mut bytes = [0u8; 2];
        assert!(!set(&mut bytes, 1, true));
        assert!(!set(&mut bytes, 15, true));
        assert_eq!(bytes, [0x40, 0x01]);
        assert!(set(&mut bytes, 1, false));
        assert_eq!(bytes, [0, 1]);
        assert!(get(&bytes, 15));
        assert!(!get(&bytes, 16));
        assert!(!get(&bytes, u64::MAX));
    }

    #[test]
    fn operations_are_those_of_the_truth_table() {
        let sources = [random_bytes(2, 30), random_bytes(3, 41), random_bytes(5, 7)];
        let names = ["AND", "or", "xor", "diff", "DIFF1", "andor", "one"];
        for op in names.map(|name| Op::parse(name.as_bytes()).expect("an operation")) {
            for used in 1..=3 {
                let sources: Vec<&[u8]> = sources[..used].iter().map(Vec::as_slice).collect();
                let result = combine(op, &sources);
                assert_eq!(result.len(), if used == 1 { 30 } else { 41 });
                for at in 0..result.len() as u64 * 8 {
                    let has: Vec<bool> = sources.iter().map(|source| get(source, at)).collect();
                    let total = has.iter().filter(|has| **has).count();
                    let others = has[1..].contains(&true);
                    let wanted = match op {
                        Op::And => total == used,
                        Op::Or => total > 0,
                        Op::Xor => total % 2 == 1,
                        Op::Diff => has[0] && !others,
                        Op::Diff1 => !has[0] && others,
                        Op::AndOr => has[0] && others,
                        Op::One => total == 1,
                        Op::Not => unreachable!(),
                    };
                    assert_eq!(get(&result, at), wanted, "{op:?} of {used}, bit {at}");
                }
            }
        }
        assert_eq!(combine(Op::Not, &[&[0xf0, 0x00]]), [0x0f, 0xff]);
        assert_eq!(Op::parse(b"nand"), None);
    }
}
