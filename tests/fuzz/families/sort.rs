//! SORT and SORT_RO over lists, sets and sorted sets, with patterns that name other keys.

use crate::compare::{Rule, sorted};
use crate::grammar::{Family, Word};
use crate::reply::Reply;
use crate::source::Words;

/// Redis may find the error of an earlier command's number where it converts its own. ALPHA and BY leave elements in an undefined order whose keys are the same text, or missing; LIMIT then takes any of them.
fn same_sorted(words: &Words, ours: &Reply, real: &Reply) -> bool {
    let has = |option: &str| words.iter().any(|word| word.eq_ignore_ascii_case(option.as_bytes()));
    if real.is_line(b'-', "ERR One or more scores can't be converted into double") {
        return true;
    }
    let (Some(ours), Some(real)) = (ours.items(), real.items()) else { return false };
    has("BY") && ours.len() == real.len() && (has("LIMIT") || sorted(ours) == sorted(real))
}

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
        (4, "SORT key ALPHA [LIMIT index index|GET get|ASC|DESC|STORE key|BAD]*"),
        (5, "SORT_RO key [option|BAD]*"),
        (4, "SORT key ALPHA STORE key"),
        (3, "LRANGE key 0 -1"),
    ],
    rules: &[("SORT", Rule::Own(same_sorted)), ("SORT_RO", Rule::Own(same_sorted))],
};
