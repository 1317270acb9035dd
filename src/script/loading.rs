//! Compiling Lua: scripts, and the sandbox's `load` and `loadstring`. Only text: bytecode can break the interpreter.

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, MultiValue, Table, Value};

use super::raise::{Given, argument_error, error};

/// Compiles a chunk named as Lua names them (`@file`, `=name`, or its own text).
pub(super) fn compile(lua: &Lua, name: &str, code: &[u8]) -> Result<Function, Vec<u8>> {
    // Behind a blank the parser sees what would mark bytecode, and complains of it as Redis's does.
    let spaced: Vec<u8>;
    let code = if code.first() == Some(&0x1b) {
        spaced = [b" ", code].concat();
        &spaced
    } else {
        code
    };
    lua.load(code).set_name(name).set_mode(ChunkMode::Text).into_function().map_err(|error| match error {
        mlua::Error::SyntaxError { message, .. } => message.into_bytes(),
        other => other.to_string().into_bytes(),
    })
}

/// `function`, or nil and the reason.
fn compiled(lua: &Lua, name: &[u8], code: &[u8]) -> mlua::Result<MultiValue> {
    // What stands behind a NUL is no part of a name.
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let results = match compile(lua, &String::from_utf8_lossy(name), code) {
        Ok(function) => vec![Value::Function(function)],
        Err(message) => vec![Value::Nil, Value::String(lua.create_string(message)?)],
    };
    Ok(MultiValue::from_vec(results))
}

fn load_string(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let given = Given::new(lua, values);
    let code = given.bytes(1)?;
    let name = if given.is_none_or_nil(2) { code.clone() } else { given.bytes(2)? };
    compiled(lua, &name.as_bytes(), &code.as_bytes())
}

/// Asks a function for pieces until it gives none.
fn load(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let given = Given::new(lua, values);
    let Some(Value::Function(reader)) = given.get(1).cloned() else { return Err(given.type_error(1, "function")) };
    let name = if given.is_none_or_nil(2) { b"=(load)".to_vec() } else { given.bytes(2)?.as_bytes().to_vec() };
    // Lua runs inside of this function: other arguments must not be held meanwhile.
    drop(given);
    let mut code = Vec::new();
    loop {
        let piece = match reader.call::<Value>(())? {
            Value::Nil => break,
            Value::String(piece) => piece,
            number @ (Value::Integer(_) | Value::Number(_)) => match lua.coerce_string(number)? {
                Some(piece) => piece,
                None => break,
            },
            _ => {
                let reason = lua.create_string("reader function must return a string")?;
                return Ok(MultiValue::from_vec(vec![Value::Nil, Value::String(reason)]));
            }
        };
        if piece.as_bytes().is_empty() {
            break;
        }
        code.extend_from_slice(&piece.as_bytes());
    }
    compiled(lua, &name, &code)
}

/// So many values fit on the stack in Redis. mlua has a bound as well, and panics there.
const RESULTS_MAX: i64 = 7900;

fn unpack(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let given = Given::new(lua, values);
    let Some(Value::Table(table)) = given.get(1) else { return Err(given.type_error(1, "table")) };
    let first = if given.is_none_or_nil(2) { 1 } else { given.number(2)? as i64 as i32 };
    let last = if given.is_none_or_nil(3) { table.raw_len() as i64 as i32 } else { given.number(3)? as i64 as i32 };
    if i64::from(last) - i64::from(first) >= RESULTS_MAX {
        return Err(error(lua, "too many results to unpack"));
    }
    (first..=last).map(|index| table.raw_get::<Value>(index)).collect()
}

/// As Lua's, but that scripts may not stop the collector for all others.
fn collect_garbage(lua: &Lua, values: MultiValue) -> mlua::Result<Value> {
    let given = Given::new(lua, values);
    let option = if given.is_none_or_nil(1) { None } else { Some(given.bytes(1)?) };
    match option.as_ref().map(|option| option.as_bytes().to_vec()).as_deref() {
        None | Some(b"collect") => lua.gc_collect().map(|()| Value::Integer(0)),
        Some(b"count") => Ok(Value::Number(lua.used_memory() as f64 / 1024.0)),
        Some(b"step") => lua.gc_step().map(Value::Boolean),
        Some(b"stop" | b"restart") => Ok(Value::Integer(0)),
        Some(b"setpause" | b"setstepmul") => Ok(Value::Integer(200)),
        Some(other) => Err(argument_error(lua, 1, &format!("invalid option '{}'", String::from_utf8_lossy(other)))),
    }
}

/// `error` is raised in the name of whoever has called the running function.
pub(super) fn wrong_count(lua: &Lua) -> mlua::Error {
    error(lua, "wrong number of arguments")
}

/// The globals that replace Lua's own.
pub(super) fn globals(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("unpack", lua.create_function(unpack)?)?;
    table.set("load", lua.create_function(load)?)?;
    table.set("loadstring", lua.create_function(load_string)?)?;
    table.set("collectgarbage", lua.create_function(collect_garbage)?)?;
    Ok(table)
}
