//! Strings.

use crate::grammar::{Family, Word};

pub const FAMILY: Family = Family {
    name: "strings",
    keys: &["s1", "s2", "s3", "s4"],
    words: &[
        ("expiry", Word::Phrase("{EX span|PX span_ms|EXAT moment|PXAT moment_ms}")),
        // An offset that makes no value long.
        ("offset", Word::OneOf(&["0", "1", "3", "10", "100", "0", "2", "536870912", "4294967296", "-1", "x", "9223372036854775807"])),
    ],
    units: &[
        (20, "SET key value"),
        (8, "SET key integer"),
        (10, "SET key value [NX|XX|GET|KEEPTTL|expiry|PERSIST|BAD]*"),
        (6, "SET key value expiry [NX|XX|GET]"),
        (15, "GET key"),
        (4, "GETSET key value"),
        (4, "GETDEL key"),
        (6, "GETEX key [expiry|PERSIST|KEEPTTL|BAD]*"),
        (4, "GETEX key expiry"),
        (5, "MGET key+"),
        (5, "MSET {key value}+"),
        (3, "MSETNX {key value}+"),
        (3, "SETNX key value"),
        (3, "SETEX key span value"),
        (3, "PSETEX key span_ms value"),
        (8, "APPEND key value"),
        (4, "STRLEN key"),
        (6, "GETRANGE key index index"),
        (2, "SUBSTR key integer integer"),
        (6, "SETRANGE key offset value"),
        (6, "INCR key"),
        (4, "DECR key"),
        (6, "INCRBY key integer"),
        (4, "DECRBY key integer"),
        (8, "INCRBYFLOAT key float"),
        (4, "LCS key key [LEN|IDX|WITHMATCHLEN|MINMATCHLEN integer|BAD]*"),
        (2, "LCS key key IDX [MINMATCHLEN count] [WITHMATCHLEN]"),
        (4, "OBJECT ENCODING key"),
        (4, "DEL key"),
        (2, "EXPIRE key span"),
    ],
    rules: &[],
};
