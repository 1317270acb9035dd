//! What all types have in common: existence, names, databases, expiry, SCAN, OBJECT, SORT's kin. Its keys are all families' keys, and it
//! makes some of every type, so that each family meets values of the wrong type.

use crate::compare::Rule;
use crate::grammar::{Family, Word};
use crate::reply::Reply;
use crate::source::Words;

const SECONDS: i64 = 60;
const MILLISECONDS: i64 = SECONDS * 1000;

/// Redis 8 counts the key in, and the time at which it expires, when it decides what is short: it says raw where others say embstr.
fn same_encoding(_: &Words, ours: &Reply, real: &Reply) -> bool {
    let is = |reply: &Reply, name: &str| reply.text().as_deref() == Some(name);
    is(ours, "embstr") && is(real, "raw")
}

pub const FAMILY: Family = Family {
    name: "keys",
    keys: &[],
    words: &[
        ("condition", Word::Phrase("[NX|XX|GT|LT|BAD]*")),
        ("type", Word::OneOf(&["string", "list", "SET", "zset", "hash", "stream", "none", "bad", ""])),
    ],
    units: &[
        (4, "SET key value"),
        (2, "RPUSH key member+"),
        (2, "SADD key member+"),
        (2, "HSET key {member value}+"),
        (2, "ZADD key {count member}+"),
        (1, "XADD key 5-1 member value"),
        (10, "DEL key+"),
        (4, "UNLINK key+"),
        (6, "EXISTS key+"),
        (6, "TYPE key"),
        (4, "TOUCH key+"),
        (3, "KEYS pattern"),
        (4, "SCAN 0 COUNT 100000 [TYPE type] [MATCH pattern]"),
        // From cursors that mean something else to each server expired keys must not be met: KEYS deletes all of them.
        (2, "KEYS '*' ; SCAN cursor COUNT 100000 [TYPE type|MATCH pattern|COUNT 100000|BAD]*"),
        (2, "KEYS '*' ; SCAN garbage"),
        (1, "KEYS '*' ; SCAN cursor COUNT {0|-1|'x'|9223372036854775808}"),
        (3, "DBSIZE"),
        (8, "RENAME key key"),
        (5, "RENAMENX key key"),
        (8, "COPY key key [REPLACE|DB db|BAD]*"),
        (5, "MOVE key db"),
        (2, "SWAPDB db db"),
        (4, "SELECT db"),
        (10, "SELECT 0"),
        (6, "OBJECT ENCODING key"),
        (2, "OBJECT FREQ key"),
        (2, "OBJECT IDLETIME key"),
        (1, "OBJECT {HELP|BAD}"),
        (8, "EXPIRE key span condition"),
        (6, "PEXPIRE key span_ms condition"),
        (6, "EXPIREAT key moment condition"),
        (6, "PEXPIREAT key moment_ms condition"),
        (6, "TTL key"),
        (6, "PTTL key"),
        (4, "EXPIRETIME key"),
        (4, "PEXPIRETIME key"),
        (5, "PERSIST key"),
        // RANDOMKEY deletes expired keys that chance brings before it; KEYS deletes all of them.
        (1, "KEYS '*' ; RANDOMKEY"),
        (1, "FLUSHDB [SYNC|ASYNC|BAD]"),
        (1, "DEBUG DIGEST-VALUE key+"),
    ],
    rules: &[
        ("KEYS", Rule::Unordered(&[])),
        ("SCAN", Rule::Scan(1)),
        ("TTL", Rule::Near(SECONDS)),
        ("PTTL", Rule::Near(MILLISECONDS)),
        ("EXPIRETIME", Rule::Near(SECONDS)),
        ("PEXPIRETIME", Rule::Near(MILLISECONDS)),
        ("OBJECT IDLETIME", Rule::Near(SECONDS)),
        ("RANDOMKEY", Rule::SameShape),
        ("OBJECT ENCODING", Rule::Own(same_encoding)),
    ],
};
