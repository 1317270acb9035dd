//! HyperLogLogs: PFADD, PFCOUNT, PFMERGE and what looks inside. The values are strings in Redis's own format (`types::hll`).

use super::key_range::key_range;
use super::strings::string_of;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Propagate, Spec};
use crate::keyspace::{Entry, Key, SetExpire, StrRef};
use crate::replication::Role;
use crate::types::hll::{self, Corrupted, REGISTERS, Registers};

const NO_HLL: CommandError = CommandError::text("WRONGTYPE Key is not a valid HyperLogLog string value.");

impl From<Corrupted> for CommandError {
    fn from(_: Corrupted) -> Self {
        CommandError::text("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// The HyperLogLog in an entry, if there is one.
fn hll_of(entry: Option<&Entry>) -> Result<Option<&[u8]>, CommandError> {
    match string_of(entry)? {
        None => Ok(None),
        Some(StrRef::Bytes(bytes)) if hll::is_valid(bytes) => Ok(Some(bytes)),
        Some(_) => Err(NO_HLL),
    }
}

/// How long a value stays sparse.
fn sparse_bytes_max(ctx: &Ctx<'_>) -> u64 {
    ctx.node.config.hll_sparse_max_bytes
}

fn replace(ctx: &mut Ctx<'_>, key: Key<'_>, hll: Vec<u8>) {
    ctx.node.keyspace.db_mut(ctx.db).set_raw(key, hll, SetExpire::Keep);
}

fn pfadd(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    let (args, limit) = (ctx.args, sparse_bytes_max(ctx));
    let mut is_new = false;
    let changes = match hll_of(ctx.write(key))? {
        Some(dense) if hll::is_dense(dense) => {
            let Some(raising) = (2..args.len()).find(|index| hll::raises_dense(dense, hll::locate(args.at(*index)))) else {
                ctx.out.int(0);
                return Ok(());
            };
            let rest = args.tail(raising);
            ctx.node.keyspace.db_mut(ctx.db).modify_bytes(key, 0, |dense| {
                let raise = |element: &[u8]| {
                    let (index, count) = hll::locate(element);
                    hll::raise_dense(dense, index, count)
                };
                let raised = rest.iter().map(raise).filter(|raised| *raised).count();
                hll::invalidate(dense);
                raised
            })
        }
        sparse => {
            is_new = sparse.is_none();
            let mut changes = usize::from(is_new);
            // Worked on aside: a corrupted value is refused as a whole.
            let mut hll = sparse.map_or_else(hll::new, <[u8]>::to_vec);
            for element in args.tail(2).iter() {
                let (index, count) = hll::locate(element);
                changes += usize::from(hll::raise(&mut hll, index, count, limit)?);
            }
            if changes > 0 {
                hll::invalidate(&mut hll);
                replace(ctx, key, hll);
            }
            changes
        }
    };
    if changes > 0 {
        ctx.changed(key.bytes);
        ctx.notify_string("pfadd", is_new, key.bytes);
        ctx.node.dirty += changes as u64 - 1;
    }
    ctx.out.int((changes > 0).into());
    Ok(())
}

fn pfcount(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.args.len() > 2 {
        return pfcount_union(ctx);
    }
    let key = ctx.key(1);
    let (count, is_cached) = match hll_of(ctx.read(key))? {
        None => (0, true),
        Some(hll) => match hll::cached(hll) {
            Some(count) => (count, true),
            None => (hll::count(hll)?, false),
        },
    };
    // A slave keeps to its master's bytes: it caches when the master does.
    if !is_cached && (matches!(ctx.node.role, Role::Master) || ctx.node.applying_stream) {
        ctx.node.keyspace.db_mut(ctx.db).modify_bytes(key, 0, |hll| hll::set_cached(hll, count));
        ctx.changed(key.bytes);
    }
    ctx.out.int(count as i64);
    Ok(())
}

/// Raises `registers` to those of the keys from argument `first` on. True if one of the values is dense.
fn merge_keys(ctx: &mut Ctx<'_>, first: usize, registers: &mut Registers) -> Result<bool, CommandError> {
    let mut any_dense = false;
    for index in first..ctx.args.len() {
        let key = ctx.key(index);
        if let Some(hll) = hll_of(ctx.read(key))? {
            any_dense |= hll::is_dense(hll);
            hll::merge(registers, hll)?;
        }
    }
    Ok(any_dense)
}

fn pfcount_union(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut registers = Box::new([0; REGISTERS]);
    merge_keys(ctx, 1, &mut registers)?;
    ctx.out.int(hll::cardinality(&registers) as i64);
    Ok(())
}

fn pfmerge(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut registers = Box::new([0; REGISTERS]);
    // The destination is among them.
    let any_dense = merge_keys(ctx, 1, &mut registers)?;
    let key = ctx.key(1);
    let limit = sparse_bytes_max(ctx);
    let old = hll_of(ctx.write(key))?;
    let is_new = old.is_none();
    let mut hll = old.map_or_else(hll::new, <[u8]>::to_vec);
    if any_dense {
        hll = hll::to_dense(&hll)?;
    }
    for (index, count) in registers.iter().enumerate().filter(|(_, count)| **count > 0) {
        if hll::is_dense(&hll) {
            hll::set_dense(&mut hll, &registers);
            break;
        }
        hll::raise(&mut hll, index, *count, limit)?;
    }
    hll::invalidate(&mut hll);
    replace(ctx, key, hll);
    ctx.changed(key.bytes);
    ctx.notify_string("pfadd", is_new, key.bytes);
    ctx.out.ok();
    Ok(())
}

/// Makes a key's value dense; false if it was. What changes only the encoding reaches the stream as well.
fn make_dense(ctx: &mut Ctx<'_>, key: Key<'_>) -> Result<bool, CommandError> {
    let dense = match hll_of(ctx.write(key))? {
        Some(hll) if !hll::is_dense(hll) => hll::to_dense(hll)?,
        _ => return Ok(false),
    };
    replace(ctx, key, dense);
    ctx.changed(key.bytes);
    Ok(true)
}

fn pfdebug(ctx: &mut Ctx<'_>) -> CmdResult {
    let (args, key) = (ctx.args, ctx.key(2));
    let Some(hll) = hll_of(ctx.write(key))? else { return Err("ERR The specified key does not exist".into()) };
    match args.at(1).to_ascii_lowercase().as_slice() {
        b"encoding" => {
            let name = if hll::is_dense(hll) { "dense" } else { "sparse" };
            ctx.out.simple(name);
        }
        b"decode" if hll::is_dense(hll) => return Err("ERR HLL encoding is not sparse".into()),
        b"decode" => {
            let runs = hll::describe(hll);
            ctx.out.bulk(runs.as_bytes());
        }
        b"todense" => {
            let converted = make_dense(ctx, key)?;
            ctx.out.int(converted.into());
        }
        b"getreg" => {
            let registers = hll::registers(hll)?;
            make_dense(ctx, key)?;
            ctx.out.array(REGISTERS);
            registers.iter().for_each(|register| ctx.out.int(i64::from(*register)));
        }
        _ => return Err(format!("ERR Unknown PFDEBUG subcommand '{}'", String::from_utf8_lossy(args.at(1))).into()),
    }
    Ok(())
}

fn pfselftest(ctx: &mut Ctx<'_>) -> CmdResult {
    hll::self_test().map_err(|failure| CommandError::from(format!("TESTFAILED {failure}")))?;
    ctx.out.ok();
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("pfadd", -2, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), pfadd)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "insert"], 1, 0, 1)])
        .acl(Acl::HYPERLOGLOG)
        .docs("hyperloglog", "2.8.9", "O(1) to add every element.", "Adds elements to a HyperLogLog key. Creates the key if it doesn't exist."),
    // It caches what it has counted, and slaves do the same.
    Spec::new("pfcount", -2, Flags::READONLY.union(Flags::MAY_REPLICATE), pfcount)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["RW", "access"], 1, -1, 1)
            .notes("RW because it may change the internal representation of the key, and propagate to replicas")])
        .acl(Acl::HYPERLOGLOG)
        .propagate(Propagate::Verbatim)
        .docs(
            "hyperloglog",
            "2.8.9",
            "O(1) with a very small average constant time when called with a single key. O(N) with N being the number of keys, and much bigger \
             constant times, when called with multiple keys.",
            "Returns the approximated cardinality of the set(s) observed by the HyperLogLog key(s).",
        ),
    Spec::new("pfdebug", 3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::ADMIN), pfdebug)
        .keys(2, 2, 1)
        .key_specs(&[key_range(&["RW", "access"], 2, 0, 1)])
        .acl(Acl::HYPERLOGLOG)
        .docs("hyperloglog", "2.8.9", "N/A", "Internal commands for debugging HyperLogLog values."),
    Spec::new("pfmerge", -2, Flags::WRITE.union(Flags::DENYOOM), pfmerge)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["RW", "access", "insert"], 1, 0, 1), key_range(&["RO", "access"], 2, -1, 1)])
        .acl(Acl::HYPERLOGLOG)
        .docs(
            "hyperloglog",
            "2.8.9",
            "O(N) to merge N HyperLogLogs, but with high constant times.",
            "Merges one or more HyperLogLog values into a single key.",
        ),
    Spec::new("pfselftest", 1, Flags::ADMIN, pfselftest).acl(Acl::HYPERLOGLOG).docs(
        "hyperloglog",
        "2.8.9",
        "N/A",
        "An internal command for testing HyperLogLog values.",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn what_is_counted_is_cached_and_streamed() {
        let mut b = Bench::new();
        assert_eq!(b.streamed("pfadd h a b c"), ["pfadd h a b c"]);
        assert_eq!(b.say("pfadd h a b c"), ":0");
        assert_eq!(b.streamed("pfadd h a"), [""; 0]);
        assert_eq!(b.streamed("pfcount h"), ["pfcount h"]);
        assert_eq!(b.say("pfcount h"), ":3");
        assert_eq!(b.streamed("pfcount h"), [""; 0]);
        assert_eq!(b.streamed("pfcount h nokey"), [""; 0]);
        assert_eq!(b.say("pfcount nokey"), ":0");
        b.say("pfadd i c d");
        assert_eq!(b.say("pfcount h i nokey"), ":4");
    }

    #[test]
    fn a_new_key_counts_as_changed_and_an_expiry_stays() {
        let mut b = Bench::new();
        assert_eq!(b.say("pfadd h"), ":1");
        assert_eq!(b.say("pfadd h"), ":0");
        assert_eq!(b.say("object encoding h"), "$3 raw");
        b.say("pexpire h 4000");
        assert_eq!(b.say("pfadd h a"), ":1");
        assert_eq!(b.say("pfmerge h nokey"), "+OK");
        assert_eq!(b.say("pfcount h"), ":1");
        assert_eq!(b.say("pttl h"), ":4000");
    }

    #[test]
    fn merging_with_a_dense_value_makes_dense() {
        let mut b = Bench::new();
        b.say("pfadd a 1 2 3");
        b.say("pfadd b 3 4");
        assert_eq!(b.streamed("pfmerge c a b"), ["pfmerge c a b"]);
        assert_eq!(b.say("pfcount c"), ":4");
        assert_eq!(b.say("pfdebug encoding c"), "+sparse");
        assert_eq!(b.streamed("pfdebug todense b"), ["pfdebug todense b"]);
        assert_eq!(b.say("pfdebug todense b"), ":0");
        assert_eq!(b.say("pfadd b 4"), ":0");
        assert_eq!(b.say("pfadd b 5"), ":1");
        assert_eq!(b.say("pfmerge c b"), "+OK");
        assert_eq!(b.say("pfdebug encoding c"), "+dense");
        assert_eq!(b.say("pfcount c"), ":5");
        assert_eq!(b.say("pfselftest"), "+OK");
        b.node.config.hll_sparse_max_bytes = 0;
        b.say("pfadd d x");
        assert_eq!(b.say("pfdebug encoding d"), "+dense");
    }

    #[test]
    fn other_strings_and_corrupted_ones_are_refused() {
        let mut b = Bench::new();
        b.say("set a hello");
        for line in ["pfadd a 1", "pfcount a", "pfcount nokey a", "pfmerge b a", "pfmerge a b", "pfdebug encoding a"] {
            assert_eq!(b.say(line), "-WRONGTYPE Key is not a valid HyperLogLog string value.", "{line}");
        }
        // A header whose cache is stale, then half a run.
        b.say("set a HYLL\x01\0\0\0\0\0\0\0\0\0\0\0x");
        b.say("setrange a 15 \u{7f}");
        b.say("setbit a 120 1");
        for line in ["pfcount a", "pfcount a a", "pfmerge b a", "pfadd a 1 2 3", "pfdebug todense a", "pfdebug getreg a"] {
            assert_eq!(b.say(line), "-INVALIDOBJ Corrupted HLL object detected", "{line}");
        }
        assert_eq!(b.say("exists b"), ":0");
        assert_eq!(b.say("pfdebug foo a"), "-ERR Unknown PFDEBUG subcommand 'foo'");
        assert_eq!(b.say("pfdebug foo nokey"), "-ERR The specified key does not exist");
    }
}
