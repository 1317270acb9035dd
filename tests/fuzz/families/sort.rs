//! SORT and SORT_RO over lists, sets and sorted sets, with patterns that name other keys; DUMP and RESTORE.

use crate::compare::Rule;
use crate::grammar::{Family, Word};

pub const FAMILY: Family = Family {
    name: "sort",
    keys: &["o1", "o2", "o3"],
    words: &[
        ("by", Word::OneOf(&["weight-*", "nosort", "*", "hash-*->field", "no-star", "weight-*->", ""])),
        ("get", Word::OneOf(&["#", "value-*", "hash-*->field", "weight-*", "no-star", "*->x", ""])),
        ("option", Word::Phrase("{BY by|LIMIT index index|GET get|ASC|DESC|ALPHA}")),
    ],
    units: &[
        (6, "RPUSH key {count|member}+"),
        (4, "SADD key {count|member}+"),
        (4, "ZADD key {count member}+"),
        (4, "DEL key"),
        (3, "MSET 'weight-1' count 'weight-2' float 'weight-a' count 'value-1' value 'value-b' value"),
        (3, "HSET 'hash-1' 'field' count ; HSET 'hash-a' 'field' value"),
        (8, "SORT key [ASC|DESC]"),
        (8, "SORT key ALPHA [ASC|DESC]"),
        (12, "SORT key option+"),
        (6, "SORT key ALPHA [option]*"),
        (4, "SORT key [option|STORE key|BAD]*"),
        (5, "SORT_RO key [option|BAD]*"),
        (4, "SORT key ALPHA STORE key"),
        (3, "LRANGE key 0 -1"),
    ],
    rules: &[("SORT", Rule::Unordered(&["intset"])), ("SORT_RO", Rule::Unordered(&["intset"]))],
};
