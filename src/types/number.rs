//! Numbers in text, exactly as Redis reads and writes them.

/// `string2ll`: decimal, an optional `-`, no sign `+`, no leading zeros, no spaces, within i64. What Redis accepts as an integer argument
/// and what it stores with encoding `int`.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let _ = text;
    todo!()
}

/// `getLongDoubleFromObject`/`strtod` as INCRBYFLOAT and ZADD read it; `None` for NaN, empty, spaces, overflow.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let _ = text;
    todo!()
}

/// INCRBYFLOAT adds in `long double` (x87, 80 bits) and prints with `%.17Lf`, trailing zeros removed ("human friendly" ld2string). Returns the
/// exact text Redis would store for `a + b`, or `None` when the result is NaN or infinite. `a` and `b` are the decimal texts.
pub fn add_long_double(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let _ = (a, b);
    todo!()
}
