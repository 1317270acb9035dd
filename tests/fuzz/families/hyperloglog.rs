//! HyperLogLogs, whole and with bytes that clients have changed.

use crate::grammar::{Family, Word};
use crate::source::Source;

/// One of so many that values go through their sparse forms before they are dense.
fn element(source: &mut Source) -> Vec<u8> {
    source.below(3000).to_string().into_bytes()
}

pub const FAMILY: Family = Family {
    name: "hyperloglog",
    keys: &["p1", "p2", "p3"],
    words: &[
        ("element", Word::Make(element)),
        ("some", Word::Phrase("element*")),
        ("many", Word::Phrase("some some some some some some some some some some some some some some some some some some some some")),
        ("bit", Word::OneOf(&["0", "1"])),
    ],
    units: &[
        (20, "PFADD key some"),
        (6, "PFADD key many"),
        (10, "PFCOUNT key+"),
        (6, "PFMERGE key key*"),
        (2, "PFDEBUG ENCODING key"),
        (1, "PFDEBUG DECODE key"),
        (1, "PFDEBUG TODENSE key"),
        (1, "PFDEBUG GETREG key"),
        (1, "PFDEBUG BAD key"),
        (6, "GET key"),
        (3, "OBJECT ENCODING key"),
        (4, "DEL key"),
        (2, "COPY key key REPLACE"),
        // Bytes that a client has changed: the stale cache, a register, a run.
        (1, "SETBIT key 120 bit"),
        (1, "SETBIT key 5000 bit"),
        (1, "SETRANGE key 4 value"),
    ],
    rules: &[],
};
