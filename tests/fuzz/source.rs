//! Where a run's choices come from: one seeded generator, and the arguments that all families share. The same seed gives the same words, whatever
//! the clock says. Numbers are either small or so large that every command refuses them: nothing here may make a server allocate much.

use replikant::env::{Random, SeededRandom};

pub type Words = Vec<Vec<u8>>;

const VALUES: [&[u8]; 22] = [
    b"",
    b"0",
    b"1",
    b"-1",
    b"10",
    b"3.5",
    b"hello world",
    b"a",
    b"foo",
    b"01",
    b" 1",
    b"1e3",
    b"inf",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"-0",
    b"\r\n\x00\xff",
    b"\xc3\xa4",
    b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    b"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
];
const INTEGERS: [&str; 22] = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "-2",
    "5",
    "-5",
    "10",
    "100",
    "-100",
    "127",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551616",
    "x",
    "1.5",
    "01",
    "",
    " 1",
    "+1",
];
const FLOATS: [&str; 24] = [
    "0",
    "1",
    "-1",
    "0.1",
    "1.5",
    "-3",
    "2",
    "10",
    "1e10",
    "1e-5",
    "inf",
    "-inf",
    "+inf",
    "Infinity",
    "nan",
    "x",
    "1e400",
    "0x1p3",
    " 1",
    "",
    "-0",
    "123456789.123456789",
    "9007199254740993",
    "3.0000000000000001",
];
const PATTERNS: [&str; 14] = ["*", "?", "[a-c]*", "??", "*1", "[^a]*", "a*", "\\*", "[", "*[12]", "", "h?llo", "[\\a-z]*", "nothing"];
/// Spans that are refused, or end at once.
const ODD_SPANS: [&str; 7] = ["0", "-1", "9223372036854775807", "9223372036854775", "-9223372036854775808", "x", ""];
/// Seconds. Moments are counted from here, far from any span that begins now.
const YEAR_2100: u64 = 4_102_444_800;

pub struct Source {
    random: SeededRandom,
    spans: u64,
}

impl Source {
    pub fn new(seed: u64) -> Self {
        Source { random: SeededRandom::from_seed(seed), spans: 0 }
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    pub fn value(&mut self) -> Vec<u8> {
        match self.below(8) {
            0 => self.below(1000).to_string().into_bytes(),
            1 => format!("value:{}", self.below(20)).into_bytes(),
            _ => VALUES[self.below(VALUES.len())].to_vec(),
        }
    }

    /// One of few, so that members, fields and elements meet again.
    pub fn member(&mut self) -> Vec<u8> {
        match self.below(12) {
            0 => self.value(),
            1..=4 => self.below(40).to_string().into_bytes(),
            _ => vec![b'a' + self.below(12) as u8],
        }
    }

    pub fn integer(&mut self) -> Vec<u8> {
        self.pick(&INTEGERS).into()
    }

    pub fn float(&mut self) -> Vec<u8> {
        self.pick(&FLOATS).into()
    }

    pub fn pattern(&mut self) -> Vec<u8> {
        self.pick(&PATTERNS).into()
    }

    /// Small enough to be a count of something that is there; now and then refused.
    pub fn count(&mut self) -> Vec<u8> {
        if self.one_in(12) { self.integer() } else { self.below(8).to_string().into_bytes() }
    }

    /// An index that is mostly near one of the ends.
    pub fn index(&mut self) -> Vec<u8> {
        if self.one_in(15) { self.integer() } else { (self.below(14) as i64 - 7).to_string().into_bytes() }
    }

    /// Seconds from now, or milliseconds with `unit` 1000; no two alike within the leeway of a run, so that GT and LT have one answer.
    pub fn span(&mut self, unit: u64) -> Vec<u8> {
        if self.one_in(8) {
            return self.pick(&ODD_SPANS).into();
        }
        self.spans += 1;
        let seconds = 5000 + self.spans * 7919 % 100_003 * 100;
        (seconds * unit).to_string().into_bytes()
    }

    /// A moment in seconds, or milliseconds with `unit` 1000: of the far future, or past.
    pub fn moment(&mut self, unit: u64) -> Vec<u8> {
        match self.below(12) {
            0 => self.pick(&ODD_SPANS).into(),
            1 => b"1".to_vec(),
            _ => {
                self.spans += 1;
                ((YEAR_2100 + self.spans * 7919 % 100_003) * unit).to_string().into_bytes()
            }
        }
    }

    /// Anything.
    pub fn garbage(&mut self) -> Vec<u8> {
        match self.below(5) {
            0 => self.value(),
            1 => self.integer(),
            2 => self.float(),
            3 => self.member(),
            _ => self.pattern(),
        }
    }
}
