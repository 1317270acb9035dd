//! Sparse registers: runs of equal ones, each in one or two bytes.
//!
//! `00llllll` is a run of 1 to 64 zeros, `01llllll llllllll` one of 1 to 16384, `1cccccll` one of 1 to 4 registers that count 1 to 32. Runs are
//! split and joined exactly as Redis does, so that the bytes stay the same.

use super::{Corrupted, HEADER, REGISTERS};

/// The run of an empty value.
pub(super) const EMPTY: [u8; 2] = [0x7f, 0xff];

const COUNT_MAX: u8 = 32;
const SHORT_ZEROS_MAX: usize = 64;
const COUNTED_MAX: usize = 4;
/// How many runs Redis looks at to join them, from the one before the change on.
const JOINS_MAX: usize = 5;

/// One run. A count of 0 is a run of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    count: u8,
    len: usize,
    /// Bytes that it takes.
    size: usize,
}

/// The run that begins at `at`, which must be there. The second byte of a long run may be missing: Redis reads a zero there.
fn run_at(bytes: &[u8], at: usize) -> Run {
    let byte = bytes[at];
    match byte >> 6 {
        0 => Run { count: 0, len: usize::from(byte & 0x3f) + 1, size: 1 },
        1 => {
            let low = bytes.get(at + 1).copied().unwrap_or(0);
            Run { count: 0, len: (usize::from(byte & 0x3f) << 8 | usize::from(low)) + 1, size: 2 }
        }
        _ => Run { count: (byte >> 2 & 0x1f) + 1, len: usize::from(byte & 3) + 1, size: 1 },
    }
}

fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = 0;
    std::iter::from_fn(move || {
        (at < bytes.len()).then(|| {
            let run = run_at(bytes, at);
            at += run.size;
            run
        })
    })
}

/// Calls `f` with the first register, the count and the length of every run, zeros included.
pub(super) fn for_each_run(hll: &[u8], mut f: impl FnMut(usize, u8, usize)) -> Result<(), Corrupted> {
    let mut at = 0;
    for run in runs(&hll[HEADER..]) {
        if at + run.len > REGISTERS {
            return Err(Corrupted);
        }
        f(at, run.count, run.len);
        at += run.len;
    }
    if at == REGISTERS { Ok(()) } else { Err(Corrupted) }
}

/// The runs as PFDEBUG DECODE shows them.
pub fn describe(hll: &[u8]) -> String {
    let show = |run: Run| match (run.count, run.size) {
        (0, 1) => format!("z:{}", run.len),
        (0, _) => format!("Z:{}", run.len),
        (count, _) => format!("v:{count},{}", run.len),
    };
    runs(&hll[HEADER..]).map(show).collect::<Vec<_>>().join(" ")
}

pub(super) enum Outcome {
    Kept,
    Raised,
    /// Only a dense value can hold it.
    TooMuch,
}

fn counted(count: u8, len: usize) -> u8 {
    0x80 | (count - 1) << 2 | (len - 1) as u8
}

/// The runs that take the place of one.
#[derive(Default)]
struct Replacement {
    bytes: [u8; 5],
    len: usize,
}

impl Replacement {
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// A run with the count of the one it is cut from.
    fn push_rest(&mut self, count: u8, len: usize) {
        match len {
            0 => {}
            _ if count > 0 => self.push(counted(count, len)),
            1..=SHORT_ZEROS_MAX => self.push((len - 1) as u8),
            _ => {
                self.push(0x40 | ((len - 1) >> 8) as u8);
                self.push((len - 1) as u8);
            }
        }
    }
}

/// Raises a register to `count`.
pub(super) fn raise(hll: &mut Vec<u8>, index: usize, count: u8, bytes_max: u64) -> Result<Outcome, Corrupted> {
    if count > COUNT_MAX {
        return Ok(Outcome::TooMuch);
    }
    let (mut at, mut before, mut first) = (HEADER, None, 0);
    let run = loop {
        if at >= hll.len() {
            return Err(Corrupted);
        }
        let run = run_at(hll, at);
        if index < first + run.len {
            break run;
        }
        before = Some(at);
        at += run.size;
        first += run.len;
    };
    if at + run.size > hll.len() {
        return Err(Corrupted);
    }
    if run.count >= count {
        return Ok(Outcome::Kept);
    }
    let mut replacement = Replacement::default();
    replacement.push_rest(run.count, index - first);
    replacement.push(counted(count, 1));
    replacement.push_rest(run.count, first + run.len - 1 - index);
    if replacement.len > run.size && (hll.len() + replacement.len - run.size) as u64 > bytes_max {
        return Ok(Outcome::TooMuch);
    }
    hll.splice(at..at + run.size, replacement.bytes[..replacement.len].iter().copied());
    join(hll, before.unwrap_or(HEADER));
    Ok(Outcome::Raised)
}

/// Joins neighbours of the same count, where the sum of their lengths fits into one run.
fn join(hll: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOINS_MAX {
        if at >= hll.len() {
            return;
        }
        let run = run_at(hll, at);
        if run.count > 0 && at + 1 < hll.len() {
            let next = run_at(hll, at + 1);
            if next.count == run.count && run.len + next.len <= COUNTED_MAX {
                hll[at + 1] = counted(run.count, run.len + next.len);
                hll.remove(at);
                continue;
            }
        }
        at += run.size;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{new, registers, to_dense};
    use super::*;

    fn with_runs(runs: &[u8]) -> Vec<u8> {
        let mut hll = new();
        hll.truncate(HEADER);
        hll.extend_from_slice(runs);
        hll
    }

    #[test]
    fn runs_are_split_and_joined() {
        let mut hll = new();
        let mut step = |index, count, wanted: &str| {
            let outcome = raise(&mut hll, index, count, 3000).expect("valid");
            assert_eq!(describe(&hll), wanted);
            matches!(outcome, Outcome::Raised)
        };
        assert!(step(100, 3, "Z:100 v:3,1 Z:16283"));
        assert!(step(0, 1, "v:1,1 Z:99 v:3,1 Z:16283"));
        assert!(step(101, 3, "v:1,1 Z:99 v:3,2 Z:16282"));
        assert!(step(102, 3, "v:1,1 Z:99 v:3,3 Z:16281"));
        assert!(!step(101, 2, "v:1,1 Z:99 v:3,3 Z:16281"));
        assert!(step(101, 9, "v:1,1 Z:99 v:3,1 v:9,1 v:3,1 Z:16281"));
        assert!(step(16383, 32, "v:1,1 Z:99 v:3,1 v:9,1 v:3,1 Z:16280 v:32,1"));
        assert!(step(50, 2, "v:1,1 z:49 v:2,1 z:49 v:3,1 v:9,1 v:3,1 Z:16280 v:32,1"));
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_dense_encoding() {
        let mut hll = new();
        assert!(matches!(raise(&mut hll, 5, 33, 3000), Ok(Outcome::TooMuch)));
        assert!(matches!(raise(&mut hll, 5, 1, 19), Ok(Outcome::TooMuch)));
        assert_eq!(hll, new());
        assert!(matches!(raise(&mut hll, 5, 1, 20), Ok(Outcome::Raised)));
    }

    #[test]
    fn runs_that_do_not_add_up_are_corrupted() {
        for runs in [&[][..], &[0x3f], &[0x7f], &[0x7f, 0xff, 0x80], &[0x00, 0x7f, 0xff], &[0x7f, 0xfe], &[0xff; 4097]] {
            let mut hll = with_runs(runs);
            assert_eq!(registers(&hll), Err(Corrupted), "{runs:?}");
            assert_eq!(to_dense(&hll), Err(Corrupted));
            assert_eq!(super::super::count(&hll), Err(Corrupted));
            // Whatever this says, it does not panic.
            for index in [0, 1, 64, 16129, REGISTERS - 1] {
                let _ = super::super::raise(&mut hll, index, 7, 3000);
                let _ = super::super::raise(&mut hll, index, 40, 3000);
            }
        }
        assert_eq!(registers(&with_runs(&[0xff; 4096])).map(|registers| *registers), Ok([32; REGISTERS]));
    }
}
