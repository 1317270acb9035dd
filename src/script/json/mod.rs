//! The library `cjson`, as lua-cjson 2.1 with the settings of Redis: byte for byte what it writes, error texts included. Settings belong to a library
//! table, not to a script; `cjson.new` makes another.

mod decode;
mod encode;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::raise::{Given, argument_error};

/// What Lua's stack has room for in a C function, which bounds nesting whatever the settings say.
const STACK_SLOTS: usize = 7900;

#[derive(Clone, Copy, PartialEq, Eq)]
enum InvalidNumbers {
    Refused,
    Written,
    Null,
}

struct Settings {
    sparse_convert: Cell<bool>,
    sparse_ratio: Cell<i32>,
    sparse_safe: Cell<i32>,
    encode_depth_max: Cell<i32>,
    decode_depth_max: Cell<i32>,
    precision: Cell<i32>,
    keep_buffer: Cell<bool>,
    encode_invalid: Cell<InvalidNumbers>,
    decode_invalid: Cell<bool>,
    buffer: RefCell<Vec<u8>>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sparse_convert: Cell::new(false),
            sparse_ratio: Cell::new(2),
            sparse_safe: Cell::new(10),
            encode_depth_max: Cell::new(1000),
            decode_depth_max: Cell::new(1000),
            precision: Cell::new(14),
            keep_buffer: Cell::new(true),
            encode_invalid: Cell::new(InvalidNumbers::Refused),
            decode_invalid: Cell::new(true),
            buffer: RefCell::default(),
        }
    }
}

/// A buffer above this is not kept.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// At most so many arguments may be given.
fn bounded<'a>(lua: &'a Lua, values: MultiValue, max: usize) -> mlua::Result<Given<'a>> {
    match values.len() <= max {
        true => Ok(Given::new(lua, values)),
        false => Err(argument_error(lua, max + 1, "found too many arguments")),
    }
}

/// Sets what is given, and returns what holds.
fn integer_option(given: &Given<'_>, index: usize, setting: &Cell<i32>, min: i32, max: i32) -> mlua::Result<Value> {
    if !given.is_none_or_nil(index) {
        let value = given.number(index)? as i64 as i32;
        if !(min..=max).contains(&value) {
            // lua-cjson complains of the first argument, whichever it was.
            return Err(argument_error(given.lua, 1, &format!("expected integer between {min} and {max}")));
        }
        setting.set(value);
    }
    Ok(Value::Integer(i64::from(setting.get())))
}

/// The position among `options` of what is given; true and false stand for the last two.
fn choice(given: &Given<'_>, index: usize, options: &[&str]) -> mlua::Result<Option<usize>> {
    match given.get(index) {
        None | Some(Value::Nil) => Ok(None),
        Some(Value::Boolean(on)) => Ok(Some(usize::from(*on))),
        Some(_) => {
            let name = given.bytes(index)?;
            let found = options.iter().position(|option| option.as_bytes() == &*name.as_bytes());
            found.map(Some).ok_or_else(|| argument_error(given.lua, index, &format!("invalid option '{}'", name.to_string_lossy())))
        }
    }
}

fn bool_option(given: &Given<'_>, index: usize, setting: &Cell<bool>) -> mlua::Result<Value> {
    if let Some(chosen) = choice(given, index, &["off", "on"])? {
        setting.set(chosen == 1);
    }
    Ok(Value::Boolean(setting.get()))
}

fn sparse_array(given: &Given<'_>, settings: &Settings) -> mlua::Result<MultiValue> {
    Ok(MultiValue::from_vec(vec![
        bool_option(given, 1, &settings.sparse_convert)?,
        integer_option(given, 2, &settings.sparse_ratio, 0, i32::MAX)?,
        integer_option(given, 3, &settings.sparse_safe, 0, i32::MAX)?,
    ]))
}

fn encode_invalid_numbers(given: &Given<'_>, settings: &Settings) -> mlua::Result<Value> {
    const OPTIONS: [InvalidNumbers; 3] = [InvalidNumbers::Refused, InvalidNumbers::Written, InvalidNumbers::Null];
    if let Some(chosen) = choice(given, 1, &["off", "on", "null"])? {
        settings.encode_invalid.set(OPTIONS[chosen]);
    }
    match settings.encode_invalid.get() {
        InvalidNumbers::Refused => Ok(Value::Boolean(false)),
        InvalidNumbers::Written => Ok(Value::Boolean(true)),
        InvalidNumbers::Null => given.lua.create_string("null").map(Value::String),
    }
}

fn single<'a>(lua: &'a Lua, values: MultiValue) -> mlua::Result<Given<'a>> {
    match values.len() {
        1 => Ok(Given::new(lua, values)),
        _ => Err(argument_error(lua, 1, "expected 1 argument")),
    }
}

fn encode(lua: &Lua, next: &Function, values: MultiValue, settings: &Settings) -> mlua::Result<Value> {
    let mut given = single(lua, values)?;
    let mut out = settings.buffer.take();
    out.clear();
    encode::encode(lua, next, given.values.pop_front().unwrap_or_default(), settings, &mut out)?;
    let text = lua.create_string(&out)?;
    if settings.keep_buffer.get() && out.capacity() <= KEPT_BYTES_MAX {
        settings.buffer.replace(out);
    }
    Ok(Value::String(text))
}

fn decode(lua: &Lua, values: MultiValue, settings: &Settings) -> mlua::Result<Value> {
    let text = single(lua, values)?.bytes(1)?;
    decode::decode(lua, &text.as_bytes(), settings)
}

/// The library table, with settings of its own; `next` is Lua's own.
pub(super) fn library(lua: &Lua, next: &Function) -> mlua::Result<Table> {
    let settings = Rc::new(Settings::default());
    let table = lua.create_table()?;
    let set = |name: &str, args_max: usize, f: fn(&Given<'_>, &Settings) -> mlua::Result<Value>| {
        let settings = settings.clone();
        table.set(name, lua.create_function(move |lua, values| f(&bounded(lua, values, args_max)?, &settings))?)
    };
    set("encode_max_depth", 1, |given, settings| integer_option(given, 1, &settings.encode_depth_max, 1, i32::MAX))?;
    set("decode_max_depth", 1, |given, settings| integer_option(given, 1, &settings.decode_depth_max, 1, i32::MAX))?;
    set("encode_number_precision", 1, |given, settings| integer_option(given, 1, &settings.precision, 1, 14))?;
    set("encode_keep_buffer", 1, |given, settings| bool_option(given, 1, &settings.keep_buffer))?;
    set("encode_invalid_numbers", 1, encode_invalid_numbers)?;
    set("decode_invalid_numbers", 1, |given, settings| bool_option(given, 1, &settings.decode_invalid))?;
    let shared = settings.clone();
    table.set("encode_sparse_array", lua.create_function(move |lua, values| sparse_array(&bounded(lua, values, 3)?, &shared))?)?;
    let (shared, iterate) = (settings.clone(), next.clone());
    table.set("encode", lua.create_function(move |lua, values| encode(lua, &iterate, values, &shared))?)?;
    let shared = settings.clone();
    table.set("decode", lua.create_function(move |lua, values| decode(lua, values, &shared))?)?;
    let next = next.clone();
    table.set("new", lua.create_function(move |lua, _: MultiValue| library(lua, &next))?)?;
    table.set("null", Value::NULL)?;
    table.set("_NAME", "cjson")?;
    table.set("_VERSION", "2.1.0")?;
    Ok(table)
}
