//! Sorted sets.

use crate::compare::Rule;
use crate::grammar::{Family, Word};
use crate::source::Source;

/// Few, so that members share one and are in order by name.
fn score(source: &mut Source) -> Vec<u8> {
    match source.below(12) {
        0 => source.float(),
        1 | 2 => format!("{}.{}", source.below(4), source.below(100)).into_bytes(),
        3 => format!("-{}", source.below(5)).into_bytes(),
        _ => source.below(7).to_string().into_bytes(),
    }
}

fn bound(source: &mut Source) -> Vec<u8> {
    match source.below(12) {
        0 => b"-inf".to_vec(),
        1 => b"+inf".to_vec(),
        2 => source.garbage(),
        3..=5 => [b"(".to_vec(), score(source)].concat(),
        _ => score(source),
    }
}

fn lex(source: &mut Source) -> Vec<u8> {
    match source.below(12) {
        0..=2 => b"-".to_vec(),
        3..=5 => b"+".to_vec(),
        6 => source.garbage(),
        7 | 8 => [b"(".to_vec(), source.member()].concat(),
        _ => [b"[".to_vec(), source.member()].concat(),
    }
}

pub const FAMILY: Family = Family {
    name: "zsets",
    keys: &["z1", "z2", "z3"],
    words: &[
        ("score", Word::Make(score)),
        ("bound", Word::Make(bound)),
        ("lex", Word::Make(lex)),
        // Ranges by member mean something only where all scores are the same, which `lex-` tells the grammar to leave as they are.
        ("lexkey", Word::OneOf(&["lex-1", "lex-2"])),
        ("numkeys", Word::OneOf(&["1", "2", "2", "3", "0", "-1", "x", "10"])),
        ("amount", Word::OneOf(&["0", "1", "3", "10", "300", "-1", "-3", "-10", "x", "-9223372036854775808", ""])),
        ("combination", Word::Phrase("[WEIGHTS float float|WEIGHTS count+|AGGREGATE {SUM|MIN|MAX|BAD}]*")),
        ("limit", Word::Phrase("LIMIT index index")),
    ],
    units: &[
        (12, "ZADD key {score member}+"),
        (8, "ZADD key [NX|XX|GT|LT|CH]* {score member}+"),
        (4, "ZADD key [NX|XX|GT|LT|CH|INCR|BAD]* score member"),
        (4, "ZINCRBY key float member"),
        (4, "ZREM key member+"),
        (3, "ZCARD key"),
        (4, "ZCOUNT key bound bound"),
        (3, "ZLEXCOUNT lexkey lex lex"),
        (4, "ZSCORE key member"),
        (3, "ZMSCORE key member+"),
        (4, "ZRANK key member [WITHSCORE|BAD]"),
        (3, "ZREVRANK key member [WITHSCORE]"),
        (6, "ZRANGE key index index [REV|WITHSCORES|BAD]*"),
        (5, "ZRANGE key bound bound BYSCORE [REV|WITHSCORES|limit]*"),
        (4, "ZRANGE lexkey lex lex BYLEX [REV|limit|WITHSCORES]*"),
        (2, "ZRANGE key garbage garbage [REV|BYSCORE|limit|WITHSCORES]*"),
        (2, "ZRANGE lexkey garbage garbage [REV|BYLEX|limit|WITHSCORES]*"),
        (4, "ZADD lexkey {0 member}+"),
        (4, "ZRANGESTORE key key index index [REV|BAD]"),
        (3, "ZRANGESTORE key key bound bound BYSCORE [REV|limit]*"),
        (2, "ZRANGESTORE key lexkey lex lex BYLEX [REV|limit]*"),
        (3, "ZREVRANGE key index index [WITHSCORES|BAD]"),
        (4, "ZRANGEBYSCORE key bound bound [WITHSCORES|limit|BAD]*"),
        (3, "ZREVRANGEBYSCORE key bound bound [WITHSCORES|limit|BAD]*"),
        (3, "ZRANGEBYLEX lexkey lex lex [limit|BAD]"),
        (3, "ZREVRANGEBYLEX lexkey lex lex [limit]"),
        (3, "ZREMRANGEBYRANK key index index"),
        (3, "ZREMRANGEBYSCORE key bound bound"),
        (3, "ZREMRANGEBYLEX lexkey lex lex"),
        (4, "ZPOPMIN key [count]"),
        (4, "ZPOPMAX key [count]"),
        (4, "ZMPOP numkeys key+ {MIN|MAX|BAD} [COUNT count|BAD]*"),
        (1, "BZPOPMIN key+ timeout"),
        (1, "BZPOPMAX key+ timeout"),
        (1, "BZMPOP timeout numkeys key+ {MIN|MAX} [COUNT count]"),
        (4, "ZUNION numkeys key key combination [WITHSCORES]"),
        (4, "ZINTER numkeys key key combination [WITHSCORES]"),
        (3, "ZDIFF numkeys key+ [WITHSCORES|BAD]"),
        (4, "ZUNIONSTORE key numkeys key key combination"),
        (4, "ZINTERSTORE key numkeys key key combination"),
        (3, "ZDIFFSTORE key numkeys key+"),
        (3, "ZINTERCARD numkeys key+ [LIMIT count|BAD]*"),
        (3, "ZSCAN key 0 COUNT 100000 [MATCH pattern]"),
        (2, "ZSCAN key cursor [COUNT integer|MATCH pattern|NOSCORES|BAD]*"),
        (3, "ZRANGE key@k 0 -1 ; ZRANDMEMBER key@k"),
        (3, "ZRANGE key@k 0 -1 WITHSCORES ; ZRANDMEMBER key@k amount [WITHSCORES|BAD]"),
        (4, "OBJECT ENCODING key"),
        (3, "DEL key"),
        (2, "COPY key key REPLACE"),
    ],
    rules: &[("ZSCAN", Rule::ScanPairs(2)), ("ZRANDMEMBER", Rule::Chosen)],
};
