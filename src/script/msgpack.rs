//! The library `cmsgpack`, as lua-cmsgpack 0.4. Without recursion where what is read decides about depth.

use mlua::{Lua, MultiValue, Table, Value};

use super::raise::{Given, Raised, argument_error, error};

/// Deeper tables are packed as nil.
const NESTING_MAX: usize = 16;
/// What Lua's stack has room for in a C function.
const STACK_SLOTS: usize = 7900;

fn pack(lua: &Lua, values: MultiValue) -> mlua::Result<Value> {
    if values.is_empty() {
        return Err(argument_error(lua, 0, "MessagePack pack needs input."));
    }
    let mut out = Vec::new();
    for value in values {
        pack_value(&value, 0, &mut out)?;
    }
    lua.create_string(&out).map(Value::String)
}

fn pack_value(value: &Value, level: usize, out: &mut Vec<u8>) -> mlua::Result<()> {
    match value {
        Value::String(text) => pack_string(&text.as_bytes(), out),
        Value::Boolean(b) => out.push(if *b { 0xc3 } else { 0xc2 }),
        Value::Integer(n) => pack_int(*n, out),
        Value::Number(n) => pack_double(*n, out),
        Value::Table(table) if level < NESTING_MAX => return pack_table(table, level, out),
        _ => out.push(0xc0),
    }
    Ok(())
}

fn pack_string(text: &[u8], out: &mut Vec<u8>) {
    match text.len() {
        len @ ..32 => out.push(0xa0 | len as u8),
        len @ ..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
        len => pack_len(len, 0xda, out),
    }
    out.extend_from_slice(text);
}

/// A length of 16 bits with this code, or of 32 with the next.
fn pack_len(len: usize, code: u8, out: &mut Vec<u8>) {
    match u16::try_from(len) {
        Ok(len) => {
            out.push(code);
            out.extend_from_slice(&len.to_be_bytes());
        }
        Err(_) => {
            out.push(code + 1);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn pack_int(n: i64, out: &mut Vec<u8>) {
    let mut put = |code: u8, bytes: &[u8]| {
        out.push(code);
        out.extend_from_slice(bytes);
    };
    match n {
        0..=0x7f => put(n as u8, &[]),
        0x80..=0xff => put(0xcc, &[n as u8]),
        0x100..=0xffff => put(0xcd, &(n as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => put(0xce, &(n as u32).to_be_bytes()),
        0x1_0000_0000.. => put(0xcf, &n.to_be_bytes()),
        -32..0 => put(n as u8, &[]),
        -0x80..-32 => put(0xd0, &[n as u8]),
        -0x8000..-0x80 => put(0xd1, &(n as i16).to_be_bytes()),
        -0x8000_0000..-0x8000 => put(0xd2, &(n as i32).to_be_bytes()),
        _ => put(0xd3, &n.to_be_bytes()),
    }
}

fn pack_double(n: f64, out: &mut Vec<u8>) {
    // What does not fit is the least integer in C, which is not what it came from.
    if n == (n as i64) as f64 && n < 9_223_372_036_854_775_808.0 {
        return pack_int(n as i64, out);
    }
    let short = n as f32;
    if f64::from(short) == n {
        out.push(0xca);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&n.to_be_bytes());
    }
}

fn pack_table(table: &Table, level: usize, out: &mut Vec<u8>) -> mlua::Result<()> {
    let (mut count, mut max, mut is_array) = (0usize, 0i64, true);
    for pair in table.pairs::<Value, Value>() {
        count += 1;
        match pair?.0 {
            Value::Integer(n) if n > 0 => max = max.max(n),
            _ => is_array = false,
        }
    }
    if is_array && max == count as i64 {
        match count {
            ..=15 => out.push(0x90 | count as u8),
            _ => pack_len(count, 0xdc, out),
        }
        for index in 1..=count {
            pack_value(&table.raw_get(index)?, level + 1, out)?;
        }
        return Ok(());
    }
    match count {
        ..=15 => out.push(0x80 | count as u8),
        _ => pack_len(count, 0xde, out),
    }
    for pair in table.pairs::<Value, Value>() {
        let (name, member) = pair?;
        pack_value(&name, level + 1, out)?;
        pack_value(&member, level + 1, out)?;
    }
    Ok(())
}

/// Why unpacking stops.
enum Bad {
    Missing,
    Format,
    Stack(&'static str),
    NilIndex,
}

/// One value that stands for itself, or the beginning of a table with so many members.
enum Item<'a> {
    Value(Value),
    Text(&'a [u8]),
    Array(u64),
    Map(u64),
}

/// A table that is being filled.
enum Open {
    Array { table: Table, len: u64, left: u64 },
    Map { table: Table, name: Option<Value>, left: u64 },
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], Bad> {
        let rest = &self.bytes[self.at..];
        let len = usize::try_from(len).ok().filter(|len| *len <= rest.len()).ok_or(Bad::Missing)?;
        self.at += len;
        Ok(&rest[..len])
    }

    /// An unsigned number of so many bytes.
    fn uint(&mut self, len: u64) -> Result<u64, Bad> {
        Ok(self.take(len)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn item(&mut self) -> Result<Item<'a>, Bad> {
        // A length, or a number, is there as a whole before anything of it is read.
        let code = self.uint(1)?;
        let number = |n: f64| Item::Value(Value::Number(n));
        Ok(match code {
            0..=0x7f => number(code as f64),
            0x80..=0x8f => Item::Map(code & 0xf),
            0x90..=0x9f => Item::Array(code & 0xf),
            0xa0..=0xbf => Item::Text(self.take(code & 0x1f)?),
            0xc0 => Item::Value(Value::Nil),
            0xc2 | 0xc3 => Item::Value(Value::Boolean(code == 0xc3)),
            0xca => number(f64::from(f32::from_bits(self.uint(4)? as u32))),
            0xcb => number(f64::from_bits(self.uint(8)?)),
            0xcc..=0xce => number(self.uint(1 << (code - 0xcc))? as f64),
            // Unsigned ones of 64 bits pass through a signed integer.
            0xcf | 0xd3 => number(self.uint(8)? as i64 as f64),
            0xd0 => number(f64::from(self.uint(1)? as i8)),
            0xd1 => number(f64::from(self.uint(2)? as i16)),
            0xd2 => number(f64::from(self.uint(4)? as i32)),
            0xd9..=0xdb => {
                let len = self.uint(1 << (code - 0xd9))?;
                Item::Text(self.take(len)?)
            }
            0xdc | 0xdd => Item::Array(self.uint(2 << (code - 0xdc))?),
            0xde | 0xdf => Item::Map(self.uint(2 << (code - 0xde))?),
            0xe0.. => number(f64::from(code as u8 as i8)),
            _ => return Err(Bad::Format),
        })
    }
}

impl From<mlua::Error> for Failed {
    fn from(error: mlua::Error) -> Self {
        Failed::Lua(error)
    }
}

impl From<Bad> for Failed {
    fn from(bad: Bad) -> Self {
        Failed::Bad(bad)
    }
}

enum Failed {
    Bad(Bad),
    Lua(mlua::Error),
}

/// Reads one value with all that is in it.
fn unpack_value(lua: &Lua, reader: &mut Reader<'_>) -> Result<Value, Failed> {
    let mut open: Vec<Open> = Vec::new();
    loop {
        let mut value = match reader.item()? {
            Item::Value(value) => value,
            Item::Text(text) => Value::String(lua.create_string(text)?),
            Item::Array(left) => {
                check_depth(open.len(), "in function mp_decode_to_lua_array")?;
                let table = lua.create_table()?;
                if left > 0 {
                    open.push(Open::Array { table, len: 0, left });
                    continue;
                }
                Value::Table(table)
            }
            Item::Map(left) => {
                check_depth(open.len(), "in function mp_decode_to_lua_hash")?;
                let table = lua.create_table()?;
                if left > 0 {
                    open.push(Open::Map { table, name: None, left });
                    continue;
                }
                Value::Table(table)
            }
        };
        // Whatever the value completes is a value itself.
        loop {
            match open.pop() {
                None => return Ok(value),
                Some(Open::Array { table, len, left }) => {
                    table.raw_set(len + 1, value)?;
                    if left > 1 {
                        open.push(Open::Array { table, len: len + 1, left: left - 1 });
                        break;
                    }
                    value = Value::Table(table);
                }
                Some(Open::Map { table, name: None, left }) => {
                    open.push(Open::Map { table, name: Some(value), left });
                    break;
                }
                Some(Open::Map { table, name: Some(name), left }) => {
                    match &name {
                        Value::Nil => return Err(Bad::NilIndex.into()),
                        Value::Number(n) if n.is_nan() => return Err(Failed::Lua(Raised::plain("table index is NaN"))),
                        _ => table.raw_set(name, value)?,
                    }
                    if left > 1 {
                        open.push(Open::Map { table, name: None, left: left - 1 });
                        break;
                    }
                    value = Value::Table(table);
                }
            }
        }
    }
}

fn check_depth(depth: usize, function: &'static str) -> Result<(), Bad> {
    match (depth + 1) * 2 < STACK_SLOTS {
        true => Ok(()),
        false => Err(Bad::Stack(function)),
    }
}

/// Reads up to `limit` values from `offset` on; all of them if both are zero.
fn unpack_from(lua: &Lua, text: &[u8], limit: i64, offset: i64) -> mlua::Result<MultiValue> {
    let all = limit == 0 && offset == 0;
    if offset < 0 || limit < 0 {
        return Err(error(lua, format!("Invalid request to unpack with offset of {offset} and limit of {}.", text.len())));
    }
    let Some(at) = usize::try_from(offset).ok().filter(|at| *at <= text.len()) else {
        return Err(error(lua, format!("Start offset {offset} greater than input length {}.", text.len())));
    };
    let mut reader = Reader { bytes: text, at };
    let mut values = Vec::new();
    while reader.at < text.len() && (all || (values.len() as i64) < limit) {
        if values.len() + 2 >= STACK_SLOTS {
            return Err(too_deep(lua, "too many return values at once; use unpack_one or unpack_limit instead."));
        }
        match unpack_value(lua, &mut reader) {
            Ok(value) => values.push(value),
            Err(Failed::Lua(error)) => return Err(error),
            Err(Failed::Bad(Bad::Missing)) => return Err(error(lua, "Missing bytes in input.")),
            Err(Failed::Bad(Bad::Format)) => return Err(error(lua, "Bad data format in input.")),
            Err(Failed::Bad(Bad::Stack(function))) => return Err(too_deep(lua, function)),
            Err(Failed::Bad(Bad::NilIndex)) => return Err(Raised::plain("table index is nil")),
        }
    }
    if !all {
        let next = if reader.at == text.len() { -1 } else { reader.at as i64 };
        values.insert(0, Value::Integer(next));
    }
    Ok(MultiValue::from_vec(values))
}

fn too_deep(lua: &Lua, what: &str) -> mlua::Error {
    error(lua, format!("stack overflow ({what})"))
}

fn unpack(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let text = Given::new(lua, values).bytes(1)?;
    unpack_from(lua, &text.as_bytes(), 0, 0)
}

fn unpack_one(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let given = Given::new(lua, values);
    let offset = if given.is_none_or_nil(2) { 0 } else { given.number(2)? as i64 };
    let text = given.bytes(1)?;
    unpack_from(lua, &text.as_bytes(), 1, offset)
}

fn unpack_limit(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let given = Given::new(lua, values);
    let limit = given.number(2)? as i64;
    let offset = if given.is_none_or_nil(3) { 0 } else { given.number(3)? as i64 };
    let text = given.bytes(1)?;
    unpack_from(lua, &text.as_bytes(), limit, offset)
}

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("pack", lua.create_function(pack)?)?;
    table.set("unpack", lua.create_function(unpack)?)?;
    table.set("unpack_one", lua.create_function(unpack_one)?)?;
    table.set("unpack_limit", lua.create_function(unpack_limit)?)?;
    table.set("_NAME", "cmsgpack")?;
    table.set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(table)
}
