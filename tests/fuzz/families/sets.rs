//! Sets: members as integers, short strings and long ones, so that values go through all encodings.

use crate::compare::{IN_A_BLOCK, Rule};
use crate::grammar::{Family, Word};
use crate::source::Source;

/// Mostly integers, so that an intset lives for a while.
fn element(source: &mut Source) -> Vec<u8> {
    match source.below(10) {
        0 | 1 => source.member(),
        2 => source.integer(),
        3 => (source.below(1 << 20) as i64 * 65_537 - (1 << 34)).to_string().into_bytes(),
        _ => source.below(200).to_string().into_bytes(),
    }
}

pub const FAMILY: Family = Family {
    name: "sets",
    keys: &["t1", "t2", "t3", "t4"],
    words: &[
        ("element", Word::Make(element)),
        ("several", Word::Phrase("{element element|member member}+")),
        ("numkeys", Word::OneOf(&["1", "2", "2", "3", "0", "-1", "x", "10"])),
        ("amount", Word::OneOf(&["0", "1", "3", "10", "300", "-1", "-3", "-10", "x", "9223372036854775807", "-9223372036854775808", ""])),
    ],
    units: &[
        (14, "SADD key several"),
        (6, "SADD key element"),
        (4, "SADD key member"),
        (6, "SREM key several"),
        (5, "SMEMBERS key"),
        (4, "SCARD key"),
        (4, "SISMEMBER key element"),
        (3, "SMISMEMBER key element+"),
        (5, "SMOVE key key element"),
        (5, "SINTER key+"),
        (5, "SUNION key+"),
        (5, "SDIFF key+"),
        // What is stored has the order of a hash table that chance has seeded, whatever its encoding: it must not stay.
        (4, "SINTERSTORE key@k key+ ; DEBUG DIGEST-VALUE key@k ; OBJECT ENCODING key@k ; DEL key@k"),
        (4, "SUNIONSTORE key@k key+ ; DEBUG DIGEST-VALUE key@k ; OBJECT ENCODING key@k ; DEL key@k"),
        (4, "SDIFFSTORE key@k key+ ; DEBUG DIGEST-VALUE key@k ; OBJECT ENCODING key@k ; DEL key@k"),
        (1, "{SINTERSTORE|SUNIONSTORE|SDIFFSTORE} key"),
        (4, "SINTERCARD numkeys key+ [LIMIT count|BAD]*"),
        (3, "SSCAN key 0 COUNT 100000 [MATCH pattern]"),
        (2, "SSCAN key cursor [COUNT integer|MATCH pattern|NOVALUES|BAD]*"),
        (4, "SMEMBERS key@k ; SRANDMEMBER key@k"),
        (4, "SMEMBERS key@k ; SRANDMEMBER key@k amount"),
        (1, "SRANDMEMBER key {1.5|1 2}"),
        (3, "SMEMBERS key@k ; SPOP key@k ; DEL key@k"),
        (3, "SMEMBERS key@k ; SPOP key@k amount ; DEL key@k"),
        (1, "DEL key@k ; SPOP key@k {-1|0|'x'|1 2|100000}"),
        (1, "DEL key@k ; SADD key@k member ; SPOP key@k"),
        (4, "OBJECT ENCODING key"),
        (4, "DEL key"),
        (2, "COPY key key REPLACE"),
    ],
    rules: &[
        ("SMEMBERS", Rule::Unordered(IN_A_BLOCK)),
        ("SINTER", Rule::Unordered(IN_A_BLOCK)),
        ("SUNION", Rule::Unordered(&[])),
        ("SDIFF", Rule::Unordered(&[])),
        ("SSCAN", Rule::Scan(2)),
        ("SRANDMEMBER", Rule::Chosen),
        ("SPOP", Rule::Chosen),
    ],
};
