//! LCS: the longest common subsequence of two strings.

use super::key_range::key_range;
use super::strings::with_bytes;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::keyspace::Key;
use crate::types::number::parse_i64;

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

impl Options {
    fn parse(ctx: &Ctx<'_>, first: usize) -> Result<Self, CommandError> {
        let mut options = Options::default();
        let mut args = ctx.args.tail(first).iter();
        while let Some(arg) = args.next() {
            let is = |name: &str| arg.eq_ignore_ascii_case(name.as_bytes());
            if is("IDX") {
                options.idx = true;
            } else if is("LEN") {
                options.len = true;
            } else if is("WITHMATCHLEN") {
                options.with_match_len = true;
            } else if is("MINMATCHLEN") {
                let given = parse_i64(args.next().ok_or(CommandError::SYNTAX)?).ok_or(CommandError::NOT_INTEGER)?;
                options.min_match_len = given.max(0);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        if options.idx && options.len {
            return Err("ERR If you want both the length and indexes, please just use IDX.".into());
        }
        Ok(options)
    }
}

/// The lengths of the longest common subsequences of all pairs of prefixes.
struct Lengths {
    cells: Vec<u32>,
    width: usize,
}

impl Lengths {
    /// `None` if there is not enough memory. The time is the product of both lengths, which the caller has bounded.
    fn of(a: &[u8], b: &[u8]) -> Option<Lengths> {
        let width = b.len() + 1;
        let count = (a.len() + 1) * width;
        let mut cells = Vec::new();
        cells.try_reserve_exact(count).ok()?;
        cells.resize(count, 0u32);
        for (i, x) in a.iter().enumerate() {
            let (above, row) = cells[i * width..(i + 2) * width].split_at_mut(width);
            for (j, y) in b.iter().enumerate() {
                row[j + 1] = if x == y { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Some(Lengths { cells, width })
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }
}

/// A run of bytes that both strings have in common: where it starts in each, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    a: usize,
    b: usize,
    len: usize,
}

/// The runs of the subsequence from the last to the first, going back through the table as Redis does where there is a choice.
fn runs(a: &[u8], b: &[u8], lengths: &Lengths) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            match runs.last_mut() {
                Some(run) if run.a == i && run.b == j => *run = Run { a: i - 1, b: j - 1, len: run.len + 1 },
                _ => runs.push(Run { a: i - 1, b: j - 1, len: 1 }),
            }
            i -= 1;
            j -= 1;
        } else if lengths.at(i - 1, j) > lengths.at(i, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    runs
}

fn value_of(ctx: &mut Ctx<'_>, key: Key<'_>) -> Result<Vec<u8>, CommandError> {
    match ctx.read_string(key) {
        Ok(value) => Ok(value.map(|value| with_bytes(value, <[u8]>::to_vec)).unwrap_or_default()),
        Err(_) => Err("ERR The specified keys must contain string values".into()),
    }
}

fn lcs(ctx: &mut Ctx<'_>) -> CmdResult {
    let (first, second) = (ctx.key(1), ctx.key(2));
    let (a, b) = (value_of(ctx, first)?, value_of(ctx, second)?);
    let options = Options::parse(ctx, 3)?;
    if a.len() >= u32::MAX as usize - 1 || b.len() >= u32::MAX as usize - 1 {
        return Err("ERR String too long for LCS".into());
    }
    if (a.len() as u128 + 1) * (b.len() as u128 + 1) * 4 > u128::from(ctx.node.config.proto_max_bulk_len) {
        return Err("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len".into());
    }
    let lengths = Lengths::of(&a, &b).ok_or(CommandError::text("ERR Insufficient memory, failed allocating transient memory for LCS"))?;
    let total = lengths.at(a.len(), b.len());
    if options.len {
        ctx.out.int(i64::from(total));
        return Ok(());
    }
    let runs = runs(&a, &b, &lengths);
    if !options.idx {
        let common: Vec<u8> = runs.iter().rev().flat_map(|run| &a[run.a..run.a + run.len]).copied().collect();
        ctx.out.bulk(&common);
        return Ok(());
    }
    let shown: Vec<&Run> = runs.iter().filter(|run| run.len as i64 >= options.min_match_len).collect();
    ctx.out.map(2);
    ctx.out.bulk(b"matches");
    ctx.out.array(shown.len());
    for run in shown {
        ctx.out.array(if options.with_match_len { 3 } else { 2 });
        for start in [run.a, run.b] {
            ctx.out.array(2);
            ctx.out.int(start as i64);
            ctx.out.int((start + run.len - 1) as i64);
        }
        if options.with_match_len {
            ctx.out.int(run.len as i64);
        }
    }
    ctx.out.bulk(b"len");
    ctx.out.int(i64::from(total));
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[Spec::new("lcs", -3, Flags::READONLY, lcs)
    .keys(1, 2, 1)
    .key_specs(&[key_range(&["RO", "access"], 1, 1, 1)])
    .acl(Acl::STRING)
    .docs("string", "7.0.0", "O(N*M) where N and M are the lengths of s1 and s2, respectively", "Finds the longest common substring.")];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn answers_as_the_documentation_shows() {
        let mut b = Bench::new();
        b.say("mset a ohmytext b mynewtext");
        assert_eq!(b.say("lcs a b"), "$6 mytext");
        assert_eq!(b.say("lcs a b len"), ":6");
        assert_eq!(b.say("lcs a b idx minmatchlen 4 withmatchlen"), "*4 $7 matches *1 *3 *2 :4 :7 *2 :5 :8 :4 $3 len :6");
        assert_eq!(b.say("lcs a b idx"), "*4 $7 matches *2 *2 *2 :4 :7 *2 :5 :8 *2 *2 :2 :3 *2 :0 :1 $3 len :6");
        assert_eq!(b.say("lcs a nokey idx"), "*4 $7 matches *0 $3 len :0");
        assert_eq!(b.say("lcs a b idx len"), "-ERR If you want both the length and indexes, please just use IDX.");
    }

    #[test]
    fn memory_is_bounded() {
        let mut b = Bench::new();
        b.say("mset a 12345678 b 12345678");
        b.node.config.proto_max_bulk_len = 9 * 9 * 4;
        assert_eq!(b.say("lcs a b len"), ":8");
        b.node.config.proto_max_bulk_len -= 1;
        assert_eq!(b.say("lcs a b len"), "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    }
}
