//! Transactions beyond those that all families' units are now and then put into: watched keys, changed by either connection; errors that
//! spoil what is queued. Keys are touched before they are watched: WATCH deletes those that are past their time, and Redis leaves them.

use crate::grammar::{Family, Word};

pub const FAMILY: Family = Family {
    name: "transactions",
    keys: &["w1", "w2"],
    words: &[("write", Word::Phrase("{SET key value|DEL key|EXPIRE key span|EXPIRE key -1|APPEND key value|GET key|INCR key}"))],
    units: &[
        (6, "TOUCH key@a key@b ; WATCH key@a key@b"),
        (2, "UNWATCH"),
        (8, "SET key value"),
        (3, "DEL key"),
        (3, "EXPIRE key {-1|5000}"),
        (3, "MULTI ; GET key ; INCR key ; EXEC"),
        (3, "TOUCH key@k ; WATCH key@k ; GET key@k ; MULTI ; SET key@k value ; EXEC"),
        (3, "TOUCH key@k ; WATCH key@k ; SET key@k value ; MULTI ; SET key@k value ; EXEC"),
        (2, "TOUCH key@k ; WATCH key@k ; MULTI ; GET key ; DISCARD ; EXEC"),
        (2, "MULTI ; SET key ; GET key ; EXEC"),
        (2, "MULTI ; NOSUCH key ; EXEC"),
        (2, "MULTI ; MULTI ; WATCH key ; UNWATCH ; EXEC"),
        (1, "MULTI ; SWAPDB 0 1 ; EXEC"),
        (1, "MULTI ; SELECT db ; SET key value ; EXEC ; GET key ; SELECT 0"),
        (1, "MULTI ; FLUSHALL ; EXEC"),
        (1, "MULTI ; RESET ; EXEC"),
        (1, "EXEC garbage"),
        (1, "EXEC"),
        (1, "DISCARD"),
        (1, "MULTI garbage"),
    ],
    rules: &[],
};
