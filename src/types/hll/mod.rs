//! HyperLogLog values, byte for byte as Redis keeps them in strings: a header of 16 bytes (`HYLL`, encoding, three zeros, the cached
//! cardinality), then 16384 registers, dense (6 bits each, the lowest bits first) or sparse (runs, see `sparse`).
//!
//! The bytes come from clients. All functions but `is_valid` want what that has accepted; runs that are not those of 16384 registers are
//! `Corrupted`, and so is never a panic or a value that grows without bounds.

mod check;
mod estimate;
mod sparse;

pub use check::check_value;
pub use estimate::cardinality;
use sparse::Outcome;
pub use sparse::describe;

/// 14 bits of a hash choose the register.
pub const REGISTERS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 14;
const HEADER: usize = 16;
const DENSE_LEN: usize = HEADER + REGISTERS * 6 / 8;
/// Where the encoding is, and its two values.
const ENCODING: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// The cached cardinality, little-endian. Its highest bit says that it is out of date.
const CACHED: std::ops::Range<usize> = 8..16;
const STALE: u8 = 0x80;

/// The runs do not make up 16384 registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupted HyperLogLog")]
pub struct Corrupted;

/// All registers, one in a byte.
pub type Registers = [u8; REGISTERS];

/// An empty value: sparse, a single run of zeros.
pub fn new() -> Vec<u8> {
    let mut hll = vec![0; HEADER];
    hll[..4].copy_from_slice(b"HYLL");
    hll[ENCODING] = SPARSE;
    hll.extend_from_slice(&sparse::EMPTY);
    hll
}

/// Whether a string looks like a HyperLogLog from outside.
pub fn is_valid(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && bytes.starts_with(b"HYLL") && bytes[ENCODING] <= SPARSE && (bytes[ENCODING] == SPARSE || bytes.len() == DENSE_LEN)
}

pub fn is_dense(hll: &[u8]) -> bool {
    hll[ENCODING] == DENSE
}

/// The cardinality that was counted last, unless it is out of date.
pub fn cached(hll: &[u8]) -> Option<u64> {
    let bytes = hll[CACHED].try_into().expect("eight bytes");
    (hll[CACHED.end - 1] & STALE == 0).then(|| u64::from_le_bytes(bytes))
}

pub fn set_cached(hll: &mut [u8], cardinality: u64) {
    hll[CACHED].copy_from_slice(&cardinality.to_le_bytes());
}

pub fn invalidate(hll: &mut [u8]) {
    hll[CACHED.end - 1] |= STALE;
}

/// The register that an element belongs to, and what it counts: the zeros at the low end of the rest of its hash, and one.
pub fn locate(element: &[u8]) -> (usize, u8) {
    let hash = murmur_64a(element, 0xadc8_3b19);
    let rest = hash >> INDEX_BITS | 1 << (64 - INDEX_BITS);
    ((hash as usize) & (REGISTERS - 1), rest.trailing_zeros() as u8 + 1)
}

/// MurmurHash64A, as on a little-endian machine.
fn murmur_64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 47;
        hash = (hash ^ word.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ word).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(M);
    hash ^ hash >> 47
}

/// Whether the count is more than a dense value has in that register.
pub fn raises_dense(hll: &[u8], (index, count): (usize, u8)) -> bool {
    let (at, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let pair = u16::from(hll[at]) | u16::from(hll.get(at + 1).copied().unwrap_or(0)) << 8;
    count > (pair >> shift) as u8 & 63
}

/// Raises a register of a dense value; true if it was lower.
pub fn raise_dense(hll: &mut [u8], index: usize, count: u8) -> bool {
    let raises = raises_dense(hll, (index, count));
    if raises {
        let (at, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
        let put = |byte: &mut u8, mask: u16, bits: u16| *byte = *byte & !(mask as u8) | bits as u8;
        let (mask, bits) = (63u16 << shift, u16::from(count) << shift);
        put(&mut hll[at], mask, bits);
        // The last register ends with the last byte.
        if let Some(next) = hll.get_mut(at + 1) {
            put(next, mask >> 8, bits >> 8);
        }
    }
    raises
}

/// Raises a register in either encoding; true if it was lower. A sparse value becomes dense when it can't hold the count, or would grow beyond
/// `sparse_bytes_max`. The cached cardinality is left to the caller, as is what was changed before `Corrupted` came.
pub fn raise(hll: &mut Vec<u8>, index: usize, count: u8, sparse_bytes_max: u64) -> Result<bool, Corrupted> {
    if !is_dense(hll) {
        match sparse::raise(hll, index, count, sparse_bytes_max)? {
            Outcome::Kept => return Ok(false),
            Outcome::Raised => return Ok(true),
            Outcome::TooMuch => *hll = to_dense(hll)?,
        }
    }
    Ok(raise_dense(hll, index, count))
}

/// The four registers in three bytes.
fn unpack(three: [u8; 3]) -> [u8; 4] {
    let bits = u32::from_le_bytes([three[0], three[1], three[2], 0]);
    [0, 6, 12, 18].map(|shift| (bits >> shift) as u8 & 63)
}

fn dense_registers(hll: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    hll[HEADER..].as_chunks::<3>().0.iter().map(|three| unpack(*three))
}

/// Raises `registers` to those of a value.
pub fn merge(registers: &mut Registers, hll: &[u8]) -> Result<(), Corrupted> {
    if !is_dense(hll) {
        return sparse::for_each_run(hll, |at, count, len| registers[at..at + len].iter_mut().for_each(|register| *register = count.max(*register)));
    }
    for (four, from) in registers.as_chunks_mut::<4>().0.iter_mut().zip(dense_registers(hll)) {
        four.iter_mut().zip(from).for_each(|(register, from)| *register = from.max(*register));
    }
    Ok(())
}

/// All registers of a value.
pub fn registers(hll: &[u8]) -> Result<Box<Registers>, Corrupted> {
    let mut registers = Box::new([0; REGISTERS]);
    merge(&mut registers, hll)?;
    Ok(registers)
}

/// Overwrites all registers of a dense value.
pub fn set_dense(hll: &mut [u8], registers: &Registers) {
    for (three, four) in hll[HEADER..].as_chunks_mut::<3>().0.iter_mut().zip(registers.as_chunks::<4>().0) {
        let bits = four.iter().rev().fold(0u32, |bits, register| bits << 6 | u32::from(*register & 63));
        three.copy_from_slice(&bits.to_le_bytes()[..3]);
    }
}

/// The same value in dense encoding, its header kept.
pub fn to_dense(hll: &[u8]) -> Result<Vec<u8>, Corrupted> {
    if is_dense(hll) {
        return Ok(hll.to_vec());
    }
    let registers = registers(hll)?;
    let mut dense = hll[..HEADER].to_vec();
    dense[ENCODING] = DENSE;
    dense.resize(DENSE_LEN, 0);
    set_dense(&mut dense, &registers);
    Ok(dense)
}

/// How many registers have each value: what the cardinality is estimated from.
type Histogram = [u32; 64];

/// Counts a value's cardinality, whatever it has cached.
pub fn count(hll: &[u8]) -> Result<u64, Corrupted> {
    let mut histogram: Histogram = [0; 64];
    if is_dense(hll) {
        dense_registers(hll).flatten().for_each(|register| histogram[usize::from(register)] += 1);
    } else {
        sparse::for_each_run(hll, |_, count, len| histogram[usize::from(count)] += len as u32)?;
    }
    Ok(estimate::from_histogram(&histogram))
}

/// PFSELFTEST: whether both encodings hold the same, whatever is put in, and the estimates stay near the truth. Says what does not.
pub fn self_test() -> Result<(), String> {
    let (mut sparse, mut dense) = (new(), to_dense(&new()).map_err(|error| error.to_string())?);
    for n in 1..=100_000u64 {
        let (index, rank) = locate(&n.to_le_bytes());
        let raised = raise_dense(&mut dense, index, rank);
        if raise(&mut sparse, index, rank, 3000) != Ok(raised) {
            return Err(format!("Register {index} is not {rank} in both encodings"));
        }
        if n.is_power_of_two() || n == 100_000 {
            let estimate = count(&dense).map_err(|error| error.to_string())?;
            // Four times the standard error of 16384 registers.
            if estimate.abs_diff(n) > 1 + n * 13 / 400 || count(&sparse) != Ok(estimate) {
                return Err(format!("Too big error. card:{n} abserr:{}", estimate.abs_diff(n)));
            }
        }
    }
    let mut copy = vec![0; DENSE_LEN];
    let unpacked = registers(&dense).map_err(|error| error.to_string())?;
    set_dense(&mut copy, &unpacked);
    if copy[HEADER..] == dense[HEADER..] { Ok(()) } else { Err("Registers are not packed as they were".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: u32) -> Vec<u8> {
        n.to_string().into_bytes()
    }

    #[test]
    fn elements_are_hashed_as_redis_does() {
        // As a real server shows them: PFADD of one element, then PFDEBUG DECODE.
        let cases = [
            ("", (5938, 2)),
            ("a", (12711, 2)),
            ("hello", (9216, 1)),
            ("hello world", (9399, 4)),
            ("0123456789abcdef", (5949, 1)),
            ("0123456789abcdefXYZ12", (5435, 1)),
        ];
        for (element, place) in cases {
            assert_eq!(locate(element.as_bytes()), place, "{element}");
        }
    }

    #[test]
    fn both_encodings_hold_the_same() {
        let (mut sparse, mut dense) = (new(), to_dense(&new()).expect("valid"));
        for n in 0..700 {
            let (index, count) = locate(&number(n));
            let raised = raise(&mut sparse, index, count, 3000).expect("valid");
            assert_eq!(raise_dense(&mut dense, index, count), raised, "{n}");
        }
        assert!(!is_dense(&sparse));
        assert!(is_valid(&sparse) && is_valid(&dense));
        assert!(to_dense(&sparse).expect("valid") == dense);
        assert_eq!(count(&sparse), count(&dense));
        assert_eq!(count(&dense), Ok(cardinality(&registers(&dense).expect("valid"))));
    }

    #[test]
    fn encodings_agree_and_estimates_are_close() {
        assert_eq!(self_test(), Ok(()));
    }

    #[test]
    fn registers_are_packed_without_touching_their_neighbours() {
        for index in [0, 1, 2, 3, 4, 8191, REGISTERS - 2, REGISTERS - 1] {
            let mut hll = to_dense(&new()).expect("valid");
            assert!(raise_dense(&mut hll, index, 51));
            assert!(!raise_dense(&mut hll, index, 51));
            let registers = registers(&hll).expect("valid");
            assert_eq!(registers.iter().position(|register| *register == 51), Some(index));
            assert_eq!(registers.iter().filter(|register| **register != 0).count(), 1);
            let mut again = to_dense(&new()).expect("valid");
            set_dense(&mut again, &registers);
            assert!(again == hll);
        }
    }

    #[test]
    fn the_cache_is_read_while_it_is_fresh() {
        let mut hll = new();
        assert_eq!(cached(&hll), Some(0));
        set_cached(&mut hll, 12345);
        assert_eq!(cached(&hll), Some(12345));
        invalidate(&mut hll);
        assert_eq!(cached(&hll), None);
    }

    #[test]
    fn other_strings_are_not_taken_for_one() {
        assert!(is_valid(&new()));
        let dense = to_dense(&new()).expect("valid");
        for bytes in
            [&b""[..], b"HYLL", &new()[..15], &dense[..dense.len() - 1], b"HYLX\x01\0\0\0\0\0\0\0\0\0\0\0", b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0"]
        {
            assert!(!is_valid(bytes), "{bytes:?}");
        }
    }
}
