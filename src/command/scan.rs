//! Commands that walk through a database: SCAN, KEYS, RANDOMKEY, DBSIZE.

use super::keys::kind_name;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::keyspace::Entry;
use crate::replication::Role;
use crate::resp::Reply;
use crate::types::glob;
use crate::types::number::{parse_i64, parse_u64};

fn dbsize(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.int(ctx.node.keyspace.db(ctx.db).len() as i64);
    Ok(())
}

fn keys(ctx: &mut Ctx<'_>) -> CmdResult {
    let pattern = ctx.args.at(1);
    let mut found = Reply::new(ctx.out.proto);
    let mut count = 0;
    for entry in ctx.node.keyspace.db(ctx.db).iter() {
        if (pattern == b"*" || glob::matches(pattern, entry.key(), false)) && !ctx.is_due(entry) {
            found.bulk(entry.key());
            count += 1;
        }
    }
    ctx.out.array(count);
    ctx.out.buf.extend_from_slice(&found.buf);
    Ok(())
}

/// A slave cannot delete what is due; after so many due keys in a row it answers with one.
const RANDOM_TRIES_ON_REPLICA: u32 = 100;

fn randomkey(ctx: &mut Ctx<'_>) -> CmdResult {
    let is_master = matches!(ctx.node.role, Role::Master);
    for tries in 1.. {
        let random = &*ctx.node.env.random;
        let due = match ctx.node.keyspace.db(ctx.db).random(&mut || random.next_u64()) {
            None => {
                ctx.out.null();
                break;
            }
            Some(entry) if !ctx.is_due(entry) || !is_master && tries == RANDOM_TRIES_ON_REPLICA => {
                ctx.out.bulk(entry.key());
                break;
            }
            Some(entry) => entry.key().to_vec(),
        };
        // Each round deletes a key, so a master comes to an end too.
        let key = ctx.hashed(&due);
        ctx.is_expired(ctx.db, key, false);
    }
    Ok(())
}

struct Filter<'a> {
    count: usize,
    pattern: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
}

impl<'a> Filter<'a> {
    fn parse(ctx: &Ctx<'a>, first: usize) -> Result<Self, CommandError> {
        let mut filter = Filter { count: 10, pattern: None, kind: None };
        let mut args = ctx.args.tail(first).iter();
        while let Some(arg) = args.next() {
            let value = args.next().ok_or(CommandError::SYNTAX)?;
            if arg.eq_ignore_ascii_case(b"COUNT") {
                let count = parse_i64(value).ok_or(CommandError::NOT_INTEGER)?;
                filter.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(CommandError::SYNTAX)?;
            } else if arg.eq_ignore_ascii_case(b"MATCH") {
                filter.pattern = (value != b"*").then_some(value);
            } else if arg.eq_ignore_ascii_case(b"TYPE") {
                filter.kind = Some(value);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(filter)
    }

    fn passes(&self, entry: &Entry) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, entry.key(), false))
            && self.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(kind_name(entry.kind()).as_bytes()))
    }
}

fn scan(ctx: &mut Ctx<'_>) -> CmdResult {
    let cursor = parse_u64(ctx.args.at(1)).ok_or(CommandError::text("ERR invalid cursor"))?;
    let filter = Filter::parse(ctx, 2)?;
    let mut found = Reply::new(ctx.out.proto);
    let mut count = 0;
    let mut due: Vec<Vec<u8>> = Vec::new();
    let (node, db) = (&*ctx.node, ctx.db);
    let next = node.keyspace.db(db).scan(cursor, filter.count, &mut |entry| {
        if node.is_due(entry) {
            due.push(entry.key().to_vec());
        } else if filter.passes(entry) {
            found.bulk(entry.key());
            count += 1;
        }
    });
    for key in &due {
        let key = ctx.hashed(key);
        ctx.is_expired(db, key, false);
    }
    ctx.out.array(2);
    ctx.out.bulk(next.to_string().as_bytes());
    ctx.out.array(count);
    ctx.out.buf.extend_from_slice(&found.buf);
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("dbsize", 1, Flags::READONLY.union(Flags::FAST), dbsize)
        .acl(Acl::KEYSPACE)
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .docs("server", "1.0.0", "O(1)", "Returns the number of keys in the database."),
    Spec::new("keys", 2, Flags::READONLY, keys)
        .acl(Acl::KEYSPACE.union(Acl::DANGEROUS))
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .docs(
            "generic",
            "1.0.0",
            "O(N) with N being the number of keys in the database, under the assumption that the key names in the database and the given pattern \
             have limited length.",
            "Returns all key names that match a pattern.",
        ),
    Spec::new("randomkey", 1, Flags::READONLY, randomkey)
        .acl(Acl::KEYSPACE)
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"])
        .docs("generic", "1.0.0", "O(1)", "Returns a random key name from the database."),
    Spec::new("scan", -2, Flags::READONLY, scan)
        .acl(Acl::KEYSPACE)
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .docs(
            "generic",
            "2.8.0",
            "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the \
             number of elements inside the collection.",
            "Iterates over the key names in the database.",
        ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn a_scan_sees_every_key() {
        let mut b = Bench::new();
        for i in 0..300 {
            b.say(&format!("set key:{i} x"));
        }
        let mut seen = std::collections::BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let reply = b.say(&format!("scan {cursor} count 7 match key:* type string"));
            let words: Vec<&str> = reply.split(' ').collect();
            cursor = words[2].to_owned();
            seen.extend(words[4..].iter().filter(|word| word.starts_with("key:")).map(|word| word.to_string()));
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 300);
        assert_eq!(b.say("scan 0 type list count 1000"), "*2 $1 0 *0");
    }

    #[test]
    fn expired_keys_are_not_shown() {
        let mut b = Bench::new();
        b.say("set a 1 px 10");
        b.pass_ms(11);
        assert_eq!(b.say("keys *"), "*0");
        assert_eq!(b.say("dbsize"), ":1");
        assert_eq!(b.streamed("scan 0"), ["DEL a"]);
        b.say("set a 1 px 10");
        b.pass_ms(11);
        assert_eq!(b.say("randomkey"), "$-1");
        assert_eq!(b.say("dbsize"), ":0");
    }
}
