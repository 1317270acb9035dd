//! Hashes: fields at random, and scanning.

use super::hashes::{hash_of, put};
use super::key_range::key_range;
use super::scan::{Found, Scan, scan_elements};
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::keyspace::{Entry, Field, HashRef, Kind, UnixMs, field_of};
use crate::resp::{Proto, Reply};
use crate::types::listpack::{Elem, ElemBuf};
use crate::types::number::parse_i64;

/// The most fields that HRANDFIELD repeats: Redis would try to answer with more than any memory.
const REPEATED_MAX: u64 = 1 << 32;

const OUT_OF_RANGE: CommandError = CommandError::text("ERR value is out of range");

/// HRANDFIELD's count, and whether it wants values as well.
fn count_and_values(ctx: &Ctx<'_>) -> Result<Option<(i64, bool)>, CommandError> {
    let Some(text) = ctx.args.get(2) else { return Ok(None) };
    let count = parse_i64(text).ok_or(CommandError::NOT_INTEGER)?;
    if count == i64::MIN {
        return Err("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807".into());
    }
    let with_values = match ctx.args.get(3) {
        None => false,
        Some(word) if ctx.args.len() == 4 && word.eq_ignore_ascii_case(b"WITHVALUES") => true,
        Some(_) => return Err(CommandError::SYNTAX),
    };
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(OUT_OF_RANGE);
    }
    Ok(Some((count, with_values)))
}

fn hrandfield(ctx: &mut Ctx<'_>) -> CmdResult {
    let wanted = count_and_values(ctx)?;
    let (key, now, random) = (ctx.key(1), ctx.field_clock(), ctx.node.env.random.clone());
    let mut random = || random.next_u64();
    ctx.delete_some_due_fields(key);
    ctx.read_with(key, |entry, out| {
        let hash = hash_of(entry)?;
        match (wanted, hash) {
            (Some((count, with_values)), Some(hash)) => return many(out, hash, count, with_values, now, &mut random),
            (Some(_), None) => out.array(0),
            (None, hash) => match hash.and_then(|hash| hash.random(now, &mut random)) {
                Some((name, _)) => put(out, name),
                None => out.null(),
            },
        }
        Ok(())
    })
}

/// Fields, all different if `count` is positive. In RESP3 each stands in a pair with its value.
fn many(out: &mut Reply, hash: HashRef<'_>, count: i64, with_values: bool, now: UnixMs, random: &mut dyn FnMut() -> u64) -> CmdResult {
    let live = hash.live_len(now);
    if count < 0 && count.unsigned_abs() > REPEATED_MAX && live > 0 {
        return Err(OUT_OF_RANGE);
    }
    let fields = if count < 0 && live > 0 { count.unsigned_abs() } else { live.min(count.max(0) as u64) } as usize;
    let in_pairs = with_values && out.proto == Proto::Resp3;
    out.array(if with_values && !in_pairs { 2 * fields } else { fields });
    let mut show = |(name, field): (Elem<'_>, Field<'_>)| {
        if in_pairs {
            out.array(2);
        }
        put(out, name);
        if with_values {
            put(out, field.value);
        }
    };
    if count < 0 {
        (0..fields).for_each(|_| show(hash.random(now, random).expect("a hash with fields")));
    } else if fields as u64 == live {
        hash.live(now).for_each(show);
    } else {
        hash.sample(fields, now, random).into_iter().for_each(show);
    }
    Ok(())
}

fn hscan(ctx: &mut Ctx<'_>) -> CmdResult {
    let now = ctx.field_clock();
    let show = |scan: &Scan<'_>, found: &mut Found, (name, field): (Elem<'_>, Field<'_>)| {
        let mut buffer = ElemBuf::new();
        let name = name.bytes(&mut buffer);
        if !field.is_due(now) && scan.wants(name) {
            found.put(name);
            if !scan.novalues {
                found.put(field.value.bytes(&mut ElemBuf::new()));
            }
        }
    };
    scan_elements(ctx, Kind::Hash, |entry, scan, found| match entry.hash() {
        Some(HashRef::Table(members)) => members.scan(scan.cursor, scan.count, &mut |entry: &Entry| show(scan, found, field_of(entry))),
        Some(hash) => {
            hash.iter().for_each(|field| show(scan, found, field));
            0
        }
        None => unreachable!("only hashes come here"),
    })
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("hrandfield", -2, Flags::READONLY, hrandfield)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::HASH)
        .tips(&["nondeterministic_output"])
        .docs("hash", "6.2.0", "O(N) where N is the number of fields returned", "Returns one or more random fields from a hash."),
    Spec::new("hscan", -3, Flags::READONLY, hscan)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::HASH)
        .tips(&["nondeterministic_output"])
        .docs("hash", "2.8.0", "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.", "Iterates over fields and values of a hash."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::testing::Bench;

    fn filled(fields: usize) -> Bench {
        let mut b = Bench::new();
        for i in 0..fields {
            b.say(&format!("hset h f{i} v{i}"));
        }
        b
    }

    fn words<'r>(reply: &'r str, begin: &str) -> Vec<&'r str> {
        reply.split(' ').filter(|word| word.starts_with(begin)).collect()
    }

    #[test]
    fn random_fields_are_different_unless_asked_otherwise() {
        for fields in [5, 600] {
            let mut b = filled(fields);
            assert!(b.say("hrandfield h").contains(" f"));
            for count in [1, 3, 4, 150, 450] {
                let reply = b.say(&format!("hrandfield h {count} withvalues"));
                let names: BTreeSet<&str> = words(&reply, "f").into_iter().collect();
                let values = words(&reply, "v").into_iter().map(|value| value.replace('v', "f"));
                assert_eq!(names.len(), count.min(fields));
                assert!(values.eq(words(&reply, "f")));
            }
            assert_eq!(words(&b.say("hrandfield h -2000"), "f").len(), 2000);
            assert_eq!(b.say("hrandfield h 0"), "*0");
        }
        let mut b = filled(1);
        for (line, reply) in [
            ("hrandfield nope", "$-1"),
            ("hrandfield nope -5 withvalues", "*0"),
            ("hrandfield h x", "-ERR value is not an integer or out of range"),
            ("hrandfield h 1 with", "-ERR syntax error"),
            ("hrandfield h 1 withvalues x", "-ERR syntax error"),
            ("hrandfield h -9223372036854775808", "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"),
            ("hrandfield h 4611686018427387904 withvalues", "-ERR value is out of range"),
            ("hello 3", ""),
            ("hrandfield h 5 withvalues", "*1 *2 $2 f0 $2 v0"),
            ("hgetall h", "%1 $2 f0 $2 v0"),
            ("hkeys h", "*1 $2 f0"),
        ] {
            let said = b.say(line);
            assert!(said == reply || reply.is_empty(), "{line}: {said}");
        }
    }

    #[test]
    fn a_scan_sees_every_field() {
        let mut b = filled(700);
        let mut seen = BTreeSet::new();
        let mut cursor = "0".to_owned();
        for _ in 0..1000 {
            let reply = b.say(&format!("hscan h {cursor} count 7 match f* novalues"));
            cursor = reply.split(' ').nth(2).unwrap_or_default().to_owned();
            assert!(words(&reply, "v").is_empty());
            seen.extend(words(&reply, "f").into_iter().map(str::to_owned));
            if cursor == "0" {
                break;
            }
        }
        assert_eq!((seen.len(), cursor.as_str()), (700, "0"));
        let mut b = filled(3);
        for (line, reply) in [
            ("hscan h 0 count 1", "*2 $1 0 *6 $2 f0 $2 v0 $2 f1 $2 v1 $2 f2 $2 v2"),
            ("hscan h 0 match *1", "*2 $1 0 *2 $2 f1 $2 v1"),
            ("hscan h 0 type hash", "-ERR syntax error"),
            ("hscan h 0 count 0", "-ERR syntax error"),
            ("hscan nope 0 count 0", "*2 $1 0 *0"),
            ("hscan nope x", "-ERR invalid cursor"),
            ("scan 0 novalues", "-ERR NOVALUES option can only be used in HSCAN"),
        ] {
            assert_eq!(b.say(line), reply, "{line}");
        }
    }
}
