//! Publish and subscribe. In RESP2 a subscriber may do little else, so every unit that subscribes also ends its subscriptions. Redis goes through several patterns, and
//! through the channels that UNSUBSCRIBE without names ends, in an order of its own: units have one of them at a time.

use crate::compare::Rule;
use crate::grammar::{Family, Word};

pub const FAMILY: Family = Family {
    name: "pubsub",
    keys: &[],
    words: &[("channel", Word::OneOf(&["c1", "c2", "c3", "", "h?llo"])), ("glob", Word::OneOf(&["c*", "*", "c[12]", "h\\?llo", ""]))],
    units: &[
        (6, "PUBLISH channel value"),
        (3, "SPUBLISH channel value"),
        (3, "PUBSUB {CHANNELS|SHARDCHANNELS} [glob]"),
        (3, "PUBSUB {NUMSUB|SHARDNUMSUB} channel*"),
        (2, "PUBSUB NUMPAT"),
        (1, "PUBSUB {BAD|HELP}"),
        (4, "SUBSCRIBE channel@a channel@b ; PING [value] ; UNSUBSCRIBE channel@b channel@a"),
        (4, "SUBSCRIBE channel@c ; UNSUBSCRIBE channel ; GET 'c1' ; PING ; UNSUBSCRIBE channel@c ; UNSUBSCRIBE"),
        (4, "PSUBSCRIBE glob ; PUBLISH channel value ; PUNSUBSCRIBE"),
        (4, "SSUBSCRIBE channel@a channel@b ; SPUBLISH channel value ; SUNSUBSCRIBE channel@a channel@b"),
        (2, "SUBSCRIBE channel ; PSUBSCRIBE glob ; SSUBSCRIBE channel ; PUNSUBSCRIBE ; SUNSUBSCRIBE ; UNSUBSCRIBE"),
        (2, "UNSUBSCRIBE channel*"),
        (2, "PUNSUBSCRIBE glob*"),
        (1, "SUNSUBSCRIBE channel*"),
        (2, "SUBSCRIBE channel ; RESET ; PING"),
        (2, "MULTI ; SUBSCRIBE channel ; PUBLISH channel value ; UNSUBSCRIBE ; EXEC"),
    ],
    rules: &[("PUBSUB CHANNELS", Rule::Unordered(&[])), ("PUBSUB SHARDCHANNELS", Rule::Unordered(&[]))],
};
