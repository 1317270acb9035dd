//! Positions on the earth, kept in sorted sets.

use crate::compare::Rule;
use crate::grammar::{Family, Word};
use crate::reply::Reply;
use crate::source::{Source, Words};

/// Near one another or far apart, at the poles and at the date line.
fn longitude(source: &mut Source) -> Vec<u8> {
    match source.below(12) {
        0 => source.pick(&["180", "-180", "179.999", "181", "-180.0001", "x", "nan", "inf", ""]).into(),
        1..=5 => format!("13.{:03}", source.below(1000)).into_bytes(),
        _ => format!("{}.{:04}", source.below(360) as i64 - 180, source.below(10_000)).into_bytes(),
    }
}

fn latitude(source: &mut Source) -> Vec<u8> {
    match source.below(12) {
        0 => source.pick(&["85.05112878", "-85.05112878", "85.06", "90", "-90", "0", "x", "1e1", ""]).into(),
        1..=5 => format!("38.{:03}", source.below(1000)).into_bytes(),
        _ => format!("{}.{:04}", source.below(170) as i64 - 85, source.below(10_000)).into_bytes(),
    }
}

/// COUNT sorts only as far as it must, so that of places at one distance any come, in any order.
fn same_found(words: &Words, ours: &Reply, real: &Reply) -> bool {
    let counts = words.iter().any(|word| word.eq_ignore_ascii_case(b"COUNT"));
    let (Some(ours), Some(real)) = (ours.items(), real.items()) else { return false };
    counts && ours.len() == real.len()
}

pub const FAMILY: Family = Family {
    name: "geo",
    keys: &["g1", "g2"],
    words: &[
        ("lon", Word::Make(longitude)),
        ("lat", Word::Make(latitude)),
        ("unit", Word::OneOf(&["m", "km", "ft", "mi", "KM", "km", "km", "yd", ""])),
        ("radius", Word::OneOf(&["1", "100", "200.5", "1000", "5000", "20000", "40000", "0", "-1", "x", "nan", "1e10"])),
        ("from", Word::Phrase("{FROMMEMBER member|FROMLONLAT lon lat}")),
        ("by", Word::Phrase("{BYRADIUS radius unit|BYBOX radius radius unit}")),
        ("shown", Word::Phrase("[WITHCOORD|WITHDIST|WITHHASH|ASC|DESC|COUNT count|BAD]*")),
        ("stored", Word::Phrase("{STORE key|STOREDIST key}")),
    ],
    units: &[
        (20, "GEOADD key {lon lat member}+"),
        (6, "GEOADD key [NX|XX|CH|BAD]* {lon lat member}+"),
        (6, "GEOPOS key member+"),
        (6, "GEOHASH key member+"),
        (6, "GEODIST key member member [unit]"),
        (12, "GEOSEARCH key from by {ASC|DESC} [WITHCOORD|WITHDIST|WITHHASH|COUNT count]*"),
        (6, "GEOSEARCH key from by shown"),
        (2, "GEOSEARCH key [from|by|ASC|COUNT count ANY|BAD]*"),
        (6, "GEOSEARCHSTORE key key from by [ASC|DESC|COUNT count|STOREDIST|WITHDIST|BAD]*"),
        (4, "GEORADIUS key lon lat radius unit shown"),
        (2, "GEORADIUS key lon lat radius unit shown stored"),
        (3, "GEORADIUS_RO key lon lat radius unit shown"),
        (4, "GEORADIUSBYMEMBER key member radius unit shown"),
        (2, "GEORADIUSBYMEMBER key member radius unit [stored|shown]*"),
        (3, "GEORADIUSBYMEMBER_RO key member radius unit shown"),
        (4, "ZRANGE key 0 -1 WITHSCORES"),
        (2, "ZREM key member"),
        (1, "DEL key"),
    ],
    rules: &[
        ("GEOSEARCH", Rule::Own(same_found)),
        ("GEORADIUS", Rule::Own(same_found)),
        ("GEORADIUS_RO", Rule::Own(same_found)),
        ("GEORADIUSBYMEMBER", Rule::Own(same_found)),
        ("GEORADIUSBYMEMBER_RO", Rule::Own(same_found)),
    ],
};
