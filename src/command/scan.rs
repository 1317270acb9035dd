//! Commands that walk through a database: SCAN, KEYS, RANDOMKEY, DBSIZE; what SCAN has in common with those that walk through a collection.

use super::keys::kind_name;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::keyspace::{Entry, Kind};
use crate::replication::Role;
use crate::resp::{Args, Proto, Reply};
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

/// What a scan goes through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Keys,
    Elements(Kind),
}

/// What SCAN or one of its kin asks for.
pub(super) struct Scan<'a> {
    pub cursor: u64,
    pub count: usize,
    pattern: Option<&'a [u8]>,
    /// SCAN's TYPE.
    kind: Option<&'a [u8]>,
    /// HSCAN's NOVALUES.
    pub novalues: bool,
}

impl<'a> Scan<'a> {
    fn parse(cursor: u64, options: Args<'a>, of: Of) -> Result<Self, CommandError> {
        let mut scan = Scan { cursor, count: 10, pattern: None, kind: None, novalues: false };
        let mut args = options.iter();
        while let Some(arg) = args.next() {
            if arg.eq_ignore_ascii_case(b"NOVALUES") {
                if of != Of::Elements(Kind::Hash) {
                    return Err("ERR NOVALUES option can only be used in HSCAN".into());
                }
                scan.novalues = true;
                continue;
            }
            let value = args.next().ok_or(CommandError::SYNTAX)?;
            if arg.eq_ignore_ascii_case(b"COUNT") {
                let count = parse_i64(value).ok_or(CommandError::NOT_INTEGER)?;
                scan.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(CommandError::SYNTAX)?;
            } else if arg.eq_ignore_ascii_case(b"MATCH") {
                scan.pattern = (value != b"*").then_some(value);
            } else if arg.eq_ignore_ascii_case(b"TYPE") && of == Of::Keys {
                scan.kind = Some(value);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(scan)
    }

    /// Whether a key or an element is asked for, by its name.
    pub fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, false))
    }

    fn wants_key(&self, entry: &Entry) -> bool {
        self.wants(entry.key()) && self.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(kind_name(entry.kind()).as_bytes()))
    }
}

/// What a scan has found, as it will be replied.
pub(super) struct Found {
    reply: Reply,
    count: usize,
}

impl Found {
    fn new(proto: Proto) -> Self {
        Found { reply: Reply::new(proto), count: 0 }
    }
    pub fn put(&mut self, bytes: &[u8]) {
        self.reply.bulk(bytes);
        self.count += 1;
    }
    /// Replies with the next cursor, 0 at the end, and what was found.
    fn reply(&self, out: &mut Reply, next: u64) {
        out.array(2);
        out.bulk(next.to_string().as_bytes());
        out.array(self.count);
        out.buf.extend_from_slice(&self.reply.buf);
    }
}

fn cursor_of(ctx: &Ctx<'_>, index: usize) -> Result<u64, CommandError> {
    parse_u64(ctx.args.at(index)).ok_or(CommandError::text("ERR invalid cursor"))
}

/// SSCAN, HSCAN, ZSCAN: `walk` goes through a collection of that kind from the cursor on, and returns the next one. Compact forms are walked to their
/// end at once, whatever COUNT says. Without a key nobody looks at the options.
pub(super) fn scan_elements(ctx: &mut Ctx<'_>, kind: Kind, walk: impl FnOnce(&Entry, &Scan<'_>, &mut Found) -> u64) -> CmdResult {
    let (key, cursor, options) = (ctx.key(1), cursor_of(ctx, 2)?, ctx.args.tail(3));
    ctx.read_with(key, |entry, out| {
        let mut found = Found::new(out.proto);
        let next = match entry {
            None => 0,
            Some(entry) if entry.kind() != kind => return Err(CommandError::WRONG_TYPE),
            Some(entry) => walk(entry, &Scan::parse(cursor, options, Of::Elements(kind))?, &mut found),
        };
        found.reply(out, next);
        Ok(())
    })
}

fn scan(ctx: &mut Ctx<'_>) -> CmdResult {
    let scan = Scan::parse(cursor_of(ctx, 1)?, ctx.args.tail(2), Of::Keys)?;
    let mut found = Found::new(ctx.out.proto);
    let mut due: Vec<Vec<u8>> = Vec::new();
    let (node, db) = (&*ctx.node, ctx.db);
    let next = node.keyspace.db(db).scan(scan.cursor, scan.count, &mut |entry| {
        if node.is_due(entry) {
            due.push(entry.key().to_vec());
        } else if scan.wants_key(entry) {
            found.put(entry.key());
        }
    });
    for key in &due {
        let key = ctx.hashed(key);
        ctx.is_expired(db, key, false);
    }
    found.reply(ctx.out, next);
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
