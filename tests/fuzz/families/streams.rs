//! Streams and their consumer groups. Ids are given, so that both servers have the same; times of delivery are compared with leeway.

use crate::compare::Rule;
use crate::grammar::{Family, Word};
use crate::reply::Reply;
use crate::source::{Source, Words};

/// Ids in a small range, so that entries are found again.
fn id(source: &mut Source) -> Vec<u8> {
    match source.below(14) {
        0 => source.pick(&["-", "+", "$", ">", "*", "x", "", "1-", "-1", "1-x", "18446744073709551615-18446744073709551615", "0", "5-*"]).into(),
        1 => source.below(60).to_string().into_bytes(),
        _ => format!("{}-{}", source.below(60), source.below(4)).into_bytes(),
    }
}

fn bound(source: &mut Source) -> Vec<u8> {
    match source.below(8) {
        0 | 1 => b"-".to_vec(),
        2 | 3 => b"+".to_vec(),
        4 => [b"(".to_vec(), id(source)].concat(),
        _ => id(source),
    }
}

/// An id that is mostly above those before it: they are counted over the run.
fn next(source: &mut Source) -> Vec<u8> {
    match source.below(10) {
        0 => id(source),
        1 => format!("{}-*", 1 + source.below(60)).into_bytes(),
        _ => format!("{}-{}", 1 + source.below(60), source.below(6)).into_bytes(),
    }
}

/// Times since a delivery, and counts, are small; entries' ids and values are strings.
fn same_but_times(_: &Words, ours: &Reply, real: &Reply) -> bool {
    const LEEWAY_MS: u64 = 60_000;
    match (ours, real) {
        (Reply::Items(a, ours), Reply::Items(b, real)) => {
            a == b && ours.len() == real.len() && ours.iter().zip(real).all(|(ours, real)| same_but_times(&Words::new(), ours, real))
        }
        _ => ours == real || ours.number().zip(real.number()).is_some_and(|(a, b)| a.abs_diff(b) < LEEWAY_MS),
    }
}

pub const FAMILY: Family = Family {
    name: "streams",
    keys: &["x1", "x2", "x3"],
    words: &[
        ("id", Word::Make(id)),
        ("next", Word::Make(next)),
        ("bound", Word::Make(bound)),
        ("group", Word::OneOf(&["g1", "g2", "g1", "g2", "nogroup", ""])),
        ("consumer", Word::OneOf(&["alice", "bob", "carol", ""])),
        ("ids", Word::Phrase("{IDS 1 id|IDS 2 id id|IDS 3 id id id|IDS integer id+}")),
        ("refs", Word::Phrase("[KEEPREF|DELREF|ACKED|BAD]")),
        ("trim", Word::Phrase("{MAXLEN|MINID} [=] id [LIMIT count]")),
        ("trimmed", Word::Phrase("{MAXLEN {=|} count|MINID id|MAXLEN ~ count|MINID ~ id LIMIT count}")),
    ],
    units: &[
        (16, "XADD key next member value"),
        (4, "XADD key next {member value}+"),
        (4, "XADD key [NOMKSTREAM] [trimmed] [refs] next member value"),
        (2, "XADD key [trim|NOMKSTREAM|refs|BAD]* id member value"),
        (4, "XLEN key"),
        (6, "XRANGE key bound bound [COUNT count|BAD]"),
        (5, "XREVRANGE key bound bound [COUNT count]"),
        (5, "XDEL key id+"),
        (4, "XDELEX key refs ids"),
        (4, "XACKDEL key group refs ids"),
        (4, "XTRIM key trimmed [refs]"),
        (1, "XTRIM key trim"),
        (2, "XSETID key id [ENTRIESADDED integer|MAXDELETEDID id|BAD]*"),
        (5, "XREAD [COUNT count] STREAMS key id"),
        (3, "XREAD [COUNT count|BLOCK 1|BAD]* STREAMS key key id id"),
        (1, "XREAD STREAMS key key '+' '+'"),
        (6, "XGROUP CREATE key group {id|0|$} [MKSTREAM|ENTRIESREAD integer|BAD]*"),
        (2, "XGROUP SETID key group {id|0|$} [ENTRIESREAD integer]"),
        (2, "XGROUP DESTROY key group"),
        (3, "XGROUP CREATECONSUMER key group consumer"),
        (2, "XGROUP DELCONSUMER key group consumer"),
        (1, "XGROUP {HELP|BAD key group}"),
        (10, "XREADGROUP GROUP group consumer [COUNT count|NOACK]* STREAMS key '>'"),
        (5, "XREADGROUP GROUP group consumer [COUNT count|NOACK|BAD]* STREAMS key id"),
        (2, "XREADGROUP GROUP group consumer STREAMS key key '>' id"),
        (5, "XACK key group id+"),
        (4, "XPENDING key group"),
        (4, "XPENDING key group [IDLE 0] bound bound count [consumer]"),
        (5, "XCLAIM key group consumer 0 id+ [IDLE 0|TIME 1000|RETRYCOUNT count|FORCE|JUSTID|LASTID id|BAD]*"),
        (4, "XAUTOCLAIM key group consumer 0 id [COUNT count|JUSTID|BAD]*"),
        (3, "XINFO STREAM key"),
        (2, "XINFO STREAM key FULL [COUNT count|BAD]"),
        (3, "XINFO GROUPS key"),
        (3, "XINFO CONSUMERS key group"),
        (1, "XINFO {HELP|BAD key}"),
        (3, "OBJECT ENCODING key"),
        (1, "DEL key"),
        (1, "COPY key key REPLACE"),
    ],
    rules: &[("XPENDING", Rule::Own(same_but_times)), ("XINFO STREAM", Rule::Own(same_but_times)), ("XINFO CONSUMERS", Rule::Own(same_but_times))],
};
