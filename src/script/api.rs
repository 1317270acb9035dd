//! The library `redis` of scripts.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};
use sha1::{Digest, Sha1};

use super::raise::{Given, Raised, error_table};
use super::{Answer, Ask, Bridge, LogLevel, Purpose, reply};
use crate::resp::{ArgRange, Proto};
use crate::types::number::DoubleBuf;

const REPL_AOF: i64 = 1;
const REPL_REPLICA: i64 = 2;
const REPL_ALL: i64 = REPL_AOF | REPL_REPLICA;

const LEVELS: [(&str, LogLevel); 4] =
    [("LOG_DEBUG", LogLevel::Debug), ("LOG_VERBOSE", LogLevel::Verbose), ("LOG_NOTICE", LogLevel::Notice), ("LOG_WARNING", LogLevel::Warning)];

/// Puts the arguments of a command into the exchange. False if one is neither a string nor a number.
fn put_args(bridge: &Bridge, given: &Given<'_>) -> bool {
    let mut exchange = bridge.exchange.borrow_mut();
    exchange.bytes.clear();
    exchange.ranges.clear();
    for value in &given.values {
        let start = exchange.bytes.len();
        match value {
            Value::String(text) => exchange.bytes.extend_from_slice(&text.as_bytes()),
            Value::Integer(n) => exchange.bytes.extend_from_slice(itoa::Buffer::new().format(*n).as_bytes()),
            // The sign of -0 is lost in Redis.
            Value::Number(n) if *n == 0.0 => exchange.bytes.push(b'0'),
            Value::Number(n) => exchange.bytes.extend_from_slice(DoubleBuf::default().reply(*n).as_bytes()),
            _ => return false,
        }
        let len = exchange.bytes.len() - start;
        exchange.ranges.push(ArgRange { start: start as u32, len: len as u32 });
    }
    u32::try_from(exchange.bytes.len()).is_ok()
}

/// The arguments as they must be for a command, or the error.
fn take_command(bridge: &Bridge, given: &Given<'_>) -> Result<(), &'static str> {
    if given.len() == 0 {
        return Err("ERR Please specify at least one argument for this redis lib call");
    }
    match put_args(bridge, given) {
        true => Ok(()),
        false => Err("ERR Lua redis lib command arguments must be strings or integers"),
    }
}

/// What a bridge keeps of a reply for the next one.
const KEPT_BYTES_MAX: usize = 64 << 10;

fn command(lua: &Lua, bridge: &Bridge, values: MultiValue, raise: bool) -> mlua::Result<Value> {
    let given = Given::new(lua, values);
    let refused = |text: &str| match raise {
        true => Err(Raised::reply(text)),
        false => error_table(lua, text.as_bytes(), false).map(Value::Table),
    };
    if let Err(text) = take_command(bridge, &given) {
        return refused(text);
    }
    if !bridge.ask(Ask::Call)? {
        return refused("ERR redis.call/pcall can only be called inside a script invocation");
    }
    let mut exchange = bridge.exchange.borrow_mut();
    let counted = exchange.answer == Answer::Failed;
    let bytes = std::mem::take(&mut exchange.out.buf);
    drop(exchange);
    if raise && bytes.first() == Some(&b'-') {
        let err = bytes[1..].strip_suffix(b"\r\n").unwrap_or(&bytes[1..]).to_vec();
        return Err(mlua::Error::external(Raised::Reply { err, counted }));
    }
    let value = reply::decode(lua, &mut &bytes[..]).and_then(|value| match &value {
        Value::Table(error) if counted => error.raw_set("ignore_error_stats_update", true).map(|()| value),
        _ => Ok(value),
    });
    if bytes.capacity() <= KEPT_BYTES_MAX {
        bridge.exchange.borrow_mut().out.buf = bytes;
    }
    value
}

fn acl_check(lua: &Lua, bridge: &Bridge, values: MultiValue) -> mlua::Result<Value> {
    let given = Given::new(lua, values);
    take_command(bridge, &given).map_err(Raised::reply)?;
    bridge.ask(Ask::AclCheck)?;
    match bridge.exchange.borrow().allowed {
        Some(allowed) => Ok(Value::Boolean(allowed)),
        None => Err(Raised::reply("ERR Invalid command passed to redis.acl_check_cmd()")),
    }
}

/// `{err=...}` as errors are written: with a code, without the dash, in one line's worth of text.
fn error_reply(lua: &Lua, values: MultiValue) -> mlua::Result<Value> {
    let Some(text) = single_text(&values) else { return wrong_type(lua) };
    let text = text.strip_prefix(b"-").unwrap_or(&text);
    let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    let text = &text[..end];
    let err = if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() };
    error_table(lua, &err, false).map(Value::Table)
}

fn status_reply(lua: &Lua, values: MultiValue) -> mlua::Result<Value> {
    let Some(text) = single_text(&values) else { return wrong_type(lua) };
    let table = lua.create_table()?;
    table.raw_set("ok", lua.create_string(text)?)?;
    Ok(Value::Table(table))
}

/// The only argument, if that is what was given, and a string.
fn single_text(values: &MultiValue) -> Option<Vec<u8>> {
    match (values.len(), values.front()) {
        (1, Some(Value::String(text))) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

fn wrong_type(lua: &Lua) -> mlua::Result<Value> {
    error_table(lua, b"ERR wrong number or type of arguments", false).map(Value::Table)
}

fn sha1hex(lua: &Lua, values: MultiValue) -> mlua::Result<String> {
    let given = Given::new(lua, values);
    if given.len() != 1 {
        return Err(Raised::reply("ERR wrong number of arguments"));
    }
    // What is no string counts as an empty one.
    let text = given.bytes(1).map(|text| text.as_bytes().to_vec()).unwrap_or_default();
    Ok(hex(&Sha1::digest(text)))
}

/// Lower-case digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn log(lua: &Lua, bridge: &Bridge, values: MultiValue) -> mlua::Result<()> {
    let given = Given::new(lua, values);
    if given.len() < 2 {
        return Err(Raised::reply("ERR redis.log() requires two arguments or more."));
    }
    let level = match given.get(1) {
        Some(Value::Integer(level)) => *level,
        Some(Value::Number(level)) => *level as i64,
        _ => return Err(Raised::reply("ERR First argument must be a number (log level).")),
    };
    let level = usize::try_from(level).ok().and_then(|level| LEVELS.get(level));
    let Some((_, level)) = level else { return Err(Raised::reply("ERR Invalid log level.")) };
    let mut exchange = bridge.exchange.borrow_mut();
    exchange.bytes.clear();
    exchange.ranges.clear();
    for index in 2..=given.len() {
        let Ok(text) = given.bytes(index) else { continue };
        if !exchange.bytes.is_empty() {
            exchange.bytes.push(b' ');
        }
        exchange.bytes.extend_from_slice(&text.as_bytes());
    }
    drop(exchange);
    bridge.ask(Ask::Log(*level)).map(|_| ())
}

fn setresp(lua: &Lua, bridge: &Bridge, values: MultiValue) -> mlua::Result<()> {
    let given = Given::new(lua, values);
    if given.len() != 1 {
        return Err(Raised::reply("ERR redis.setresp() requires one argument."));
    }
    let proto = match given.number(1).map_or(0, |version| version as i64) {
        2 => Proto::Resp2,
        3 => Proto::Resp3,
        _ => return Err(Raised::reply("ERR RESP version must be 2 or 3.")),
    };
    bridge.proto.set(proto);
    Ok(())
}

fn set_repl(lua: &Lua, bridge: &Bridge, values: MultiValue) -> mlua::Result<()> {
    let given = Given::new(lua, values);
    if given.len() != 1 {
        return Err(Raised::reply("ERR redis.set_repl() requires one argument."));
    }
    let flags = given.number(1).map_or(0, |flags| flags as i64);
    if flags & !REPL_ALL != 0 {
        return Err(Raised::reply("ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."));
    }
    bridge.ask(Ask::Replicate(flags & REPL_REPLICA != 0)).map(|_| ())
}

/// `redis`, with its members for scripts and functions.
pub(super) fn library(lua: &Lua, bridge: &Rc<Bridge>, version: &str, purpose: Purpose) -> mlua::Result<Table> {
    let table = basics(lua, bridge, version)?;
    for (name, raise) in [("call", true), ("pcall", false)] {
        let bridge = bridge.clone();
        table.set(name, lua.create_function(move |lua, values| command(lua, &bridge, values, raise))?)?;
    }
    let asked = bridge.clone();
    table.set("acl_check_cmd", lua.create_function(move |lua, values| acl_check(lua, &asked, values))?)?;
    table.set("setresp", with_bridge(lua, bridge, setresp)?)?;
    table.set("set_repl", with_bridge(lua, bridge, set_repl)?)?;
    table.set("error_reply", lua.create_function(error_reply)?)?;
    table.set("status_reply", lua.create_function(status_reply)?)?;
    table.set("sha1hex", lua.create_function(sha1hex)?)?;
    let numbers = [("REPL_NONE", 0), ("REPL_AOF", REPL_AOF), ("REPL_SLAVE", REPL_REPLICA), ("REPL_REPLICA", REPL_REPLICA), ("REPL_ALL", REPL_ALL)];
    for (name, number) in numbers {
        table.set(name, number)?;
    }
    if purpose == Purpose::Scripts {
        // Effects are all that is replicated, and there is no debugger.
        table.set("replicate_commands", lua.create_function(|_, _: MultiValue| Ok(true))?)?;
        table.set("breakpoint", lua.create_function(|_, _: MultiValue| Ok(false))?)?;
        table.set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    }
    Ok(table)
}

fn with_bridge(lua: &Lua, bridge: &Rc<Bridge>, f: fn(&Lua, &Bridge, MultiValue) -> mlua::Result<()>) -> mlua::Result<Function> {
    let bridge = bridge.clone();
    lua.create_function(move |lua, values| f(lua, &bridge, values))
}

/// The members that libraries of functions have as well while they are loaded.
pub(super) fn basics(lua: &Lua, bridge: &Rc<Bridge>, version: &str) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("log", with_bridge(lua, bridge, log)?)?;
    for (number, (name, _)) in LEVELS.iter().enumerate() {
        table.set(*name, number)?;
    }
    table.set("REDIS_VERSION", version)?;
    let number = version.split('.').filter_map(|part| part.parse::<i64>().ok()).fold(0, |number, part| number << 8 | part);
    table.set("REDIS_VERSION_NUM", number)?;
    Ok(table)
}

/// `os`: the clock alone, which is the node's.
pub(super) fn os(lua: &Lua, clock_ns: Box<dyn Fn() -> u64>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("clock", lua.create_function(move |_, _: MultiValue| Ok(clock_ns() as f64 / 1e9))?)?;
    Ok(table)
}
