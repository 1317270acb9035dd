//! Hashes, and the expiry of their fields.

use crate::compare::{IN_A_BLOCK, Rule};
use crate::grammar::{Family, Word};

const SECONDS: i64 = 60;
const MILLISECONDS: i64 = SECONDS * 1000;

pub const FAMILY: Family = Family {
    name: "hashes",
    keys: &["h1", "h2", "h3"],
    words: &[
        ("amount", Word::OneOf(&["0", "1", "3", "10", "300", "-1", "-3", "-10", "x", "9223372036854775807", "-9223372036854775808", ""])),
        ("condition", Word::Phrase("[NX|XX|GT|LT|BAD]")),
        ("fields", Word::Phrase("{FIELDS 1 member|FIELDS 2 member member|FIELDS 3 member member member|FIELDS integer member+|BAD 1 member}")),
        ("expiry", Word::Phrase("{EX span|PX span_ms|EXAT moment|PXAT moment_ms|KEEPTTL|PERSIST}")),
        ("pairs", Word::Phrase("{FIELDS 1 member value|FIELDS 2 member value member value|FIELDS integer {member value}+|BAD 1 member value}")),
    ],
    units: &[
        (14, "HSET key {member value}+"),
        (3, "HMSET key {member value}+"),
        (4, "HSETNX key member value"),
        (6, "HGET key member"),
        (4, "HMGET key member+"),
        (6, "HGETALL key"),
        (3, "HKEYS key"),
        (3, "HVALS key"),
        (4, "HLEN key"),
        (3, "HEXISTS key member"),
        (3, "HSTRLEN key member"),
        (6, "HDEL key member+"),
        (6, "HINCRBY key member integer"),
        (6, "HINCRBYFLOAT key member float"),
        (3, "HSCAN key 0 COUNT 100000 [MATCH pattern]"),
        (2, "HSCAN key 0 COUNT 100000 NOVALUES"),
        (2, "HSCAN key cursor [COUNT integer|MATCH pattern|NOVALUES|BAD]*"),
        (3, "HGETALL key@k ; HRANDFIELD key@k"),
        (4, "HGETALL key@k ; HRANDFIELD key@k amount [WITHVALUES|BAD]"),
        (5, "HEXPIRE key span condition fields"),
        (4, "HPEXPIRE key span_ms condition fields"),
        (4, "HEXPIREAT key moment condition fields"),
        (4, "HPEXPIREAT key moment_ms condition fields"),
        (3, "HTTL key fields"),
        (3, "HPTTL key fields"),
        (3, "HEXPIRETIME key fields"),
        (3, "HPEXPIRETIME key fields"),
        (4, "HPERSIST key fields"),
        (4, "HGETEX key [expiry|BAD] fields"),
        (4, "HGETDEL key fields"),
        (5, "HSETEX key [FNX|FXX] [expiry] pairs"),
        (2, "HSETEX key [FNX|FXX|expiry|BAD]* pairs"),
        (4, "OBJECT ENCODING key"),
        (4, "DEL key"),
        (2, "COPY key key REPLACE"),
    ],
    rules: &[
        ("HGETALL", Rule::UnorderedPairs),
        ("HKEYS", Rule::Unordered(IN_A_BLOCK)),
        ("HVALS", Rule::Unordered(IN_A_BLOCK)),
        ("HSCAN", Rule::ScanPairs(2)),
        ("HRANDFIELD", Rule::Chosen),
        ("HTTL", Rule::Near(SECONDS)),
        ("HPTTL", Rule::Near(MILLISECONDS)),
        ("HEXPIRETIME", Rule::Near(SECONDS)),
        ("HPEXPIRETIME", Rule::Near(MILLISECONDS)),
    ],
};
