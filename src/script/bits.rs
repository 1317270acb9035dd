//! The library `bit`: operations on 32 bits, as LuaBitOp has them.

use mlua::{Lua, MultiValue, Table, Value};

use super::raise::Given;

/// A number as 32 bits: modulo 2^32, rounded to even.
fn bits_of(number: f64) -> u32 {
    // Adding 2^52 + 2^51 leaves the integer in the low bits of the mantissa.
    (number + 6_755_399_441_055_744.0).to_bits() as u32
}

fn argument(given: &Given<'_>, index: usize) -> mlua::Result<u32> {
    given.number(index).map(bits_of)
}

fn folded(given: &Given<'_>, op: fn(u32, u32) -> u32) -> mlua::Result<u32> {
    let mut bits = argument(given, 1)?;
    for index in 2..=given.len() {
        bits = op(bits, argument(given, index)?);
    }
    Ok(bits)
}

fn shifted(given: &Given<'_>, op: fn(u32, u32) -> u32) -> mlua::Result<u32> {
    Ok(op(argument(given, 1)?, argument(given, 2)? & 31))
}

fn to_hex(lua: &Lua, given: &Given<'_>) -> mlua::Result<Value> {
    let bits = argument(given, 1)?;
    let wanted = if given.is_none_or_nil(2) { 8 } else { argument(given, 2)? as i32 };
    let digits = wanted.unsigned_abs().min(8) as usize;
    let text = if wanted < 0 { format!("{bits:08X}") } else { format!("{bits:08x}") };
    lua.create_string(&text[8 - digits..]).map(Value::String)
}

type Operation = fn(&Given<'_>) -> mlua::Result<u32>;

const OPERATIONS: [(&str, Operation); 11] = [
    ("tobit", |given| argument(given, 1)),
    ("bnot", |given| argument(given, 1).map(|bits| !bits)),
    ("bswap", |given| argument(given, 1).map(u32::swap_bytes)),
    ("band", |given| folded(given, |a, b| a & b)),
    ("bor", |given| folded(given, |a, b| a | b)),
    ("bxor", |given| folded(given, |a, b| a ^ b)),
    ("lshift", |given| shifted(given, |bits, by| bits << by)),
    ("rshift", |given| shifted(given, |bits, by| bits >> by)),
    ("arshift", |given| shifted(given, |bits, by| (bits as i32 >> by) as u32)),
    ("rol", |given| shifted(given, u32::rotate_left)),
    ("ror", |given| shifted(given, u32::rotate_right)),
];

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, operation) in OPERATIONS {
        let function = lua.create_function(move |lua, values: MultiValue| {
            // Results are signed.
            operation(&Given::new(lua, values)).map(|bits| Value::Integer(i64::from(bits as i32)))
        })?;
        table.set(name, function)?;
    }
    table.set("tohex", lua.create_function(|lua, values| to_hex(lua, &Given::new(lua, values)))?)?;
    Ok(table)
}
