//! Loading a library of functions: what its code may do, which is to register functions, and what it registers.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::raise::{Given, Raised};
use super::{Bridge, Failure, Host, Interpreter, Script, api};

/// A function that a library has registered.
pub struct Registered {
    pub name: Vec<u8>,
    pub script: Script,
    pub description: Option<Vec<u8>>,
    pub flags: Vec<Vec<u8>>,
}

/// What names of libraries and functions are made of.
pub fn is_good_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

pub const BAD_NAME: &str = "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

impl Interpreter {
    /// Runs a library's code and returns what it registers.
    pub fn load_library(&self, code: &Script, host: &mut dyn Host) -> Result<Vec<Registered>, Failure> {
        self.bridge.registered.replace(Some(Vec::new()));
        let ran = self.switch.call::<()>(true).and_then(|()| self.invoke(code, None, host));
        let registered = self.bridge.registered.take().unwrap_or_default();
        let back = self.switch.call::<()>(false);
        ran.and(back.map(|()| registered)).map_err(|error| self.failure(error))
    }
}

fn text(value: &Value, lua: &Lua) -> Option<Vec<u8>> {
    match value {
        Value::String(_) | Value::Integer(_) | Value::Number(_) => {
            lua.coerce_string(value.clone()).ok().flatten().map(|text| text.as_bytes().to_vec())
        }
        _ => None,
    }
}

/// Arguments by name.
fn named(lua: &Lua, table: &Table) -> mlua::Result<Registered> {
    let (mut name, mut description, mut callback, mut flags) = (None, None, None, Vec::new());
    let refused = |reason: &str| Err(Raised::reply(format!("ERR {reason}")));
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let key = if let Value::String(key) = &key { key.as_bytes().to_vec() } else { Vec::new() };
        match &key[..] {
            b"function_name" => match text(&value, lua) {
                Some(text) => name = Some(text),
                None => return refused("function_name argument given to redis.register_function must be a string"),
            },
            b"description" => match text(&value, lua) {
                Some(text) => description = Some(text),
                None => return refused("description argument given to redis.register_function must be a string"),
            },
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => return refused("callback argument given to redis.register_function must be a function"),
            },
            b"flags" => match value {
                Value::Table(list) => flags = flag_names(&list)?,
                _ => return refused("flags argument to redis.register_function must be a table representing function flags"),
            },
            _ => return refused("unknown argument given to redis.register_function"),
        }
    }
    let Some(name) = name else { return refused("redis.register_function must get a function name argument") };
    let Some(callback) = callback else { return refused("redis.register_function must get a callback argument") };
    Ok(Registered { name, script: Script(callback), description, flags })
}

fn flag_names(list: &Table) -> mlua::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for item in list.sequence_values::<Value>() {
        match item? {
            Value::String(name) => names.push(name.as_bytes().to_vec()),
            _ => return Err(Raised::reply("ERR unknown flag given")),
        }
    }
    Ok(names)
}

fn positional(given: &Given<'_>) -> mlua::Result<Registered> {
    let argument = |index: usize| given.get(index).cloned().unwrap_or_default();
    let Some(name) = text(&argument(1), given.lua) else {
        return Err(Raised::reply("ERR first argument to redis.register_function must be a string"));
    };
    let Value::Function(callback) = argument(2) else {
        return Err(Raised::reply("ERR second argument to redis.register_function must be a function"));
    };
    Ok(Registered { name, script: Script(callback), description: None, flags: Vec::new() })
}

fn register(lua: &Lua, bridge: &Bridge, values: MultiValue) -> mlua::Result<()> {
    let given = Given::new(lua, values);
    let function = match (given.len(), given.get(1)) {
        (1, Some(Value::Table(table))) => named(lua, table)?,
        (1, _) => {
            return Err(Raised::reply(
                "ERR calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
            ));
        }
        (2, _) => positional(&given)?,
        _ => return Err(Raised::reply("ERR wrong number of arguments to redis.register_function")),
    };
    let mut registered = bridge.registered.borrow_mut();
    let Some(registered) = &mut *registered else {
        return Err(Raised::reply("ERR redis.register_function can only be called on FUNCTION LOAD command"));
    };
    if !function.flags.iter().all(|flag| bridge.flags.iter().any(|known| known.as_bytes() == flag)) {
        return Err(Raised::reply("ERR unknown flag given"));
    }
    if !is_good_name(&function.name) {
        return Err(Raised::reply(BAD_NAME));
    }
    // Functions are called in any case.
    if registered.iter().any(|other| other.name.eq_ignore_ascii_case(&function.name)) {
        return Err(Raised::reply("ERR Function already exists in the library"));
    }
    registered.push(function);
    Ok(())
}

/// `redis`, as a library sees it that is being loaded.
pub(super) fn members(lua: &Lua, bridge: &Rc<Bridge>, version: &str) -> mlua::Result<Table> {
    let table = api::basics(lua, bridge, version)?;
    let bridge = bridge.clone();
    let function: Function = lua.create_function(move |lua, values| register(lua, &bridge, values))?;
    table.set("register_function", function)?;
    Ok(table)
}
