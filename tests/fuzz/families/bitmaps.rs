//! Bits in strings: SETBIT and its kin, BITOP, BITFIELD.

use crate::grammar::{Family, Word};

pub const FAMILY: Family = Family {
    name: "bitmaps",
    keys: &["b1", "b2", "b3", "b4"],
    words: &[
        ("offset", Word::OneOf(&["0", "1", "7", "8", "9", "63", "64", "100", "300", "2000", "-1", "x", "4294967296", "9223372036854775808", ""])),
        ("place", Word::OneOf(&["0", "1", "7", "8", "64", "100", "#0", "#1", "#5", "-1", "x", "#", "#-1", "4294967295000", ""])),
        ("bit", Word::OneOf(&["0", "1", "0", "1", "0", "1", "2", "-1", "x"])),
        ("field", Word::OneOf(&["u1", "u8", "i8", "i5", "u63", "i64", "u64", "i16", "I8", "x", "u0", "i65", "u", "i1", "u32", "i63"])),
        ("operation", Word::OneOf(&["AND", "or", "XOR", "NOT", "DIFF", "diff1", "ANDOR", "ONE", "nand"])),
        ("step", Word::Phrase("{GET field place|SET field place integer|INCRBY field place integer|OVERFLOW {WRAP|SAT|FAIL|BAD}}")),
        ("range", Word::Phrase("[index index|index|index index {BYTE|BIT|BAD}]")),
    ],
    units: &[
        (20, "SETBIT key offset bit"),
        (4, "SET key value"),
        (6, "GETBIT key offset"),
        (6, "BITCOUNT key range"),
        (2, "BITCOUNT key range BIT"),
        (10, "BITPOS key bit range"),
        (12, "BITOP operation key key+"),
        (20, "BITFIELD key step+"),
        (4, "BITFIELD_RO key {GET field place}+"),
        (2, "BITFIELD_RO key step+"),
        (4, "GET key"),
        (3, "DEL key"),
    ],
    rules: &[],
};
