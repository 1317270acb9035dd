//! The Lua side of scripts: interpreter, sandbox, libraries. Knows no commands and no clients: what a script asks of the server goes to a [`Host`].
//!
//! An interpreter lives on its node's thread and belongs to it alone. While a script runs, its functions reach the host through one scoped Lua
//! function (`Bridge::entry`), which ends with the run: no pointer to a node's state outlives the command that lent it.
//!
//! What differs from Redis's Lua is in `prelude.lua` (read-only tables) and `raise.rs` (errors).

mod api;
mod bits;
mod json;
mod library;
mod loading;
mod msgpack;
mod pairs;
mod raise;
mod random;
mod reply;
mod structs;
#[cfg(test)]
mod tests;

pub use api::hex;
pub use library::{BAD_NAME, Registered, is_good_name};
pub use random::Random;
pub use reply::error as error_reply;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::debug::HookTriggers;
use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};

use crate::resp::{ArgRange, Args, Proto, Reply};

/// The prelude's name on the stack.
const PRELUDE: &str = "=prelude";

/// What scripts ask of the server.
pub trait Host {
    /// `redis.call` and `redis.pcall`: the reply, or the error, goes to `out`.
    fn call(&mut self, args: Args<'_>, out: &mut Reply) -> Answer;
    /// `redis.acl_check_cmd`. `None`: no such command, or not with so many arguments.
    fn acl_check(&mut self, args: Args<'_>) -> Option<bool>;
    fn log(&mut self, level: LogLevel, text: &[u8]);
    /// `redis.set_repl`: whether effects go to slaves from now on.
    fn set_replicate(&mut self, on: bool);
    /// Comes again and again while a script runs. An error ends the script, whatever it catches.
    fn poll(&mut self) -> Result<(), &'static str>;
}

/// How a call of a command went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    #[default]
    Done,
    /// It did not run.
    Refused,
    /// It ran and failed, and the statistics know.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// One question to the host.
#[derive(Clone, Copy)]
enum Ask {
    Call,
    AclCheck,
    Log(LogLevel),
    Replicate(bool),
    Poll,
}

/// Between the functions that scripts call and the host. The buffers are kept from one call to the next.
#[derive(Default)]
struct Bridge {
    /// Asks the host of the running script.
    entry: RefCell<Option<Function>>,
    ask: Cell<Option<Ask>>,
    exchange: RefCell<Exchange>,
    /// `redis.setresp`.
    proto: Cell<Proto>,
    /// What the library that is being loaded has registered.
    registered: RefCell<Option<Vec<Registered>>>,
    /// The names of the flags that a function may have.
    flags: &'static [&'static str],
    /// Why the running script must end.
    ended: Cell<Option<&'static str>>,
}

#[derive(Default)]
struct Exchange {
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
    out: Reply,
    answer: Answer,
    allowed: Option<bool>,
}

impl Bridge {
    /// Has the host answer; false outside of a run.
    fn ask(&self, ask: Ask) -> mlua::Result<bool> {
        let Some(entry) = self.entry.borrow().clone() else { return Ok(false) };
        self.ask.set(Some(ask));
        entry.call::<()>(())?;
        Ok(true)
    }

    fn serve(&self, host: &mut dyn Host) {
        let Some(ask) = self.ask.take() else { return };
        let mut exchange = self.exchange.borrow_mut();
        let Exchange { bytes, ranges, out, answer, allowed } = &mut *exchange;
        let args = Args::new(bytes, ranges);
        match ask {
            Ask::Call => {
                out.buf.clear();
                out.proto = self.proto.get();
                *answer = host.call(args, out);
            }
            Ask::AclCheck => *allowed = host.acl_check(args),
            Ask::Log(level) => host.log(level, bytes),
            Ask::Replicate(on) => host.set_replicate(on),
            Ask::Poll => self.ended.set(host.poll().err()),
        }
    }
}

/// A script that has been compiled.
#[derive(Clone)]
pub struct Script(Function);

/// Why a script ended: the error, where it was raised.
#[derive(Debug, Default)]
pub struct Failure {
    pub err: Vec<u8>,
    pub source: Option<Vec<u8>>,
    pub line: i64,
    /// The error of a command, which the statistics know already.
    pub counted: bool,
}

impl Failure {
    /// The error as the client gets it: with the name of the script or function, and the place.
    pub fn message(&self, name: &str) -> Vec<u8> {
        let mut message = self.err.clone();
        message.extend_from_slice(format!(" script: {name}").as_bytes());
        if let Some(source) = &self.source {
            message.extend_from_slice(b", on ");
            message.extend_from_slice(source);
            message.extend_from_slice(format!(":{}.", self.line).as_bytes());
        }
        message
    }
}

/// What an interpreter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Scripts,
    Functions,
}

/// What an interpreter is made with.
pub struct Setup<'a> {
    pub purpose: Purpose,
    /// What scripts are told.
    pub version: &'a str,
    /// What `os.clock` reads.
    pub clock_ns: Box<dyn Fn() -> u64>,
    /// Outlives the interpreter.
    pub random: &'a Rc<Random>,
    /// The names of the flags that a function may have.
    pub flags: &'static [&'static str],
}

/// One interpreter with its sandbox.
pub struct Interpreter {
    lua: Lua,
    bridge: Rc<Bridge>,
    run: Function,
    next: Function,
    /// The globals: the real table, which holds the KEYS and ARGV of a script.
    globals: Table,
    /// Changes to the globals of loading, and back.
    switch: Function,
    purpose: Purpose,
}

/// The interpreter itself has failed, which is for want of memory only.
#[derive(Debug, thiserror::Error)]
#[error("the Lua interpreter failed: {0}")]
pub struct Broken(#[from] mlua::Error);

impl Interpreter {
    pub fn new(setup: Setup<'_>) -> Result<Self, Broken> {
        let Setup { purpose, version, clock_ns, random, .. } = setup;
        let libraries = StdLib::TABLE | StdLib::OS | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let bridge = Rc::new(Bridge { flags: setup.flags, ..Bridge::default() });
        let host = lua.create_table()?;
        host.set(
            "error_value",
            lua.create_function(|lua, value: Value| match &value {
                Value::Error(error) => raise::Raised::value(lua, error),
                _ => Ok(value),
            })?,
        )?;
        host.set("is_native", lua.create_function(|_, f: Function| Ok(f.info().what == "C"))?)?;
        host.set("raised_at", lua.create_function(|lua, ()| raised_at(lua))?)?;
        host.set("globals", loading::globals(&lua)?)?;
        let libraries = lua.create_table()?;
        let next: Function = lua.globals().get("next")?;
        libraries.set("bit", bits::library(&lua)?)?;
        libraries.set("cjson", json::library(&lua, &next)?)?;
        libraries.set("cmsgpack", msgpack::library(&lua)?)?;
        libraries.set("struct", structs::library(&lua)?)?;
        libraries.set("math", random::library(&lua, random)?)?;
        libraries.set("os", api::os(&lua, clock_ns)?)?;
        host.set("libraries", libraries)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name(PRELUDE);
        let (make_globals, run): (Function, Function) = prelude.call(host)?;
        let loading = match purpose {
            Purpose::Scripts => None,
            Purpose::Functions => Some(library::members(&lua, &bridge, version)?),
        };
        let redis = api::library(&lua, &bridge, version, purpose)?;
        let (globals, seen, switch): (Table, Table, Function) = make_globals.call((redis, loading))?;
        lua.set_globals(seen)?;
        watch(&lua, &bridge, false)?;
        Ok(Interpreter { lua, bridge, run, next, globals, switch, purpose })
    }

    /// Compiles a script; errors are Lua's own texts, which name places in `chunk`.
    pub fn compile(&self, chunk: &str, code: &[u8]) -> Result<Script, Vec<u8>> {
        loading::compile(&self.lua, &format!("@{chunk}"), code).map(Script)
    }

    /// Bytes that the interpreter holds.
    pub fn used_memory(&self) -> usize {
        self.lua.used_memory()
    }

    /// Runs a script with these keys and arguments, its reply goes to `out`. Returns the errors inside the reply that are no command's.
    pub fn run<'a>(
        &self,
        script: &Script,
        keys: impl Iterator<Item = &'a [u8]>,
        argv: impl Iterator<Item = &'a [u8]>,
        host: &mut dyn Host,
        out: &mut Reply,
    ) -> Result<Vec<String>, Failure> {
        self.bridge.proto.set(Proto::Resp2);
        let ran = self.arguments(keys, argv).and_then(|given| self.invoke(script, given, host));
        match ran {
            Ok(results) => {
                let value = results.into_iter().next().unwrap_or(Value::Nil);
                reply::encode(value, &self.next, self.bridge.proto.get(), out).map_err(|error| self.failure(error))
            }
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Keys and arguments: globals of a script, arguments of a function.
    fn arguments<'a>(&self, keys: impl Iterator<Item = &'a [u8]>, argv: impl Iterator<Item = &'a [u8]>) -> mlua::Result<Option<(Table, Table)>> {
        let (keys, argv) = (self.list(keys)?, self.list(argv)?);
        if self.purpose == Purpose::Functions {
            return Ok(Some((keys, argv)));
        }
        self.globals.raw_set("KEYS", keys)?;
        self.globals.raw_set("ARGV", argv)?;
        Ok(None)
    }

    fn list<'a>(&self, items: impl Iterator<Item = &'a [u8]>) -> mlua::Result<Table> {
        let list = self.lua.create_table()?;
        for (index, item) in items.enumerate() {
            list.raw_set(index + 1, self.lua.create_string(item)?)?;
        }
        Ok(list)
    }

    /// Runs it with the host in reach. What it raises comes as the table that the prelude's handler has made.
    fn invoke(&self, script: &Script, given: Option<(Table, Table)>, host: &mut dyn Host) -> mlua::Result<MultiValue> {
        let bridge = &self.bridge;
        self.lua.scope(|scope| {
            let entry = scope.create_function_mut(|_, ()| {
                bridge.serve(host);
                Ok(())
            })?;
            bridge.entry.replace(Some(entry));
            let ended = match given {
                Some((keys, argv)) => self.run.call::<MultiValue>((&script.0, keys, argv)),
                None => self.run.call::<MultiValue>(&script.0),
            };
            bridge.entry.replace(None);
            if bridge.ended.take().is_some() {
                watch(&self.lua, bridge, false)?;
            }
            let mut results = ended?;
            match results.pop_front() {
                Some(Value::Boolean(true)) => Ok(results),
                _ => Err(mlua::Error::external(Ended(results.pop_front().unwrap_or(Value::Nil)))),
            }
        })
    }

    fn failure(&self, error: mlua::Error) -> Failure {
        let table = match error.downcast_ref::<Ended>() {
            Some(Ended(Value::Table(table))) => table,
            Some(Ended(other)) => {
                let text = other.to_string().unwrap_or_default();
                return Failure { err: format!("ERR {text}").into_bytes(), ..Failure::default() };
            }
            None => return Failure { err: format!("ERR {error}").into_bytes(), ..Failure::default() },
        };
        let text = |name: &str| match table.raw_get::<Value>(name) {
            Ok(Value::String(text)) => Some(text.as_bytes().to_vec()),
            Ok(number @ (Value::Integer(_) | Value::Number(_))) => self.lua.coerce_string(number).ok().flatten().map(|text| text.as_bytes().to_vec()),
            _ => None,
        };
        Failure {
            err: text("err").unwrap_or_else(|| b"ERR unknown error".to_vec()),
            source: text("source"),
            line: table.raw_get::<i64>("line").unwrap_or(0),
            counted: table.raw_get::<bool>("ignore_error_stats_update").unwrap_or(false),
        }
    }
}

/// Instructions between two polls of the host, as in Redis.
const POLL_EVERY: u32 = 100_000;

/// Has Lua ask now and then whether the script may go on. One that must end fails `at_once`, at every instruction: it can't catch that for long.
fn watch(lua: &Lua, bridge: &Rc<Bridge>, at_once: bool) -> mlua::Result<()> {
    let bridge = bridge.clone();
    let every = HookTriggers::new().every_nth_instruction(if at_once { 1 } else { POLL_EVERY });
    lua.set_global_hook(every, move |lua, frame| {
        if bridge.ended.get().is_none() {
            bridge.ask(Ask::Poll)?;
            if bridge.ended.get().is_some() {
                watch(lua, &bridge, true)?;
            }
        }
        match bridge.ended.get() {
            // The handler of the error has to run to its end.
            Some(reason) if frame.source().source.as_deref() != Some(PRELUDE) => Err(raise::Raised::reply(reason)),
            _ => Ok(VmState::Continue),
        }
    })
}

/// What the handler has made of a script's error.
#[derive(Debug)]
struct Ended(Value);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Ended {}

/// For the handler: source and line of the function that has raised, or that has called the native one that has. What the prelude does for a
/// native function counts as native.
fn raised_at(lua: &Lua) -> mlua::Result<MultiValue> {
    /// `raised_at` itself, the handler, then who has raised.
    const RAISED: usize = 2;
    let found = |level: usize| {
        lua.inspect_stack(level, |frame| {
            let source = frame.source();
            let line = frame.current_line().map_or(-1, |line| line as i64);
            (source.what == "C", source.source.map(Cow::into_owned).unwrap_or_default(), line)
        })
    };
    let mut level = RAISED;
    if matches!(found(level), Some((true, ..))) {
        level += 1;
    }
    while matches!(found(level), Some((_, source, _)) if source == PRELUDE) {
        level += 1;
    }
    match found(level) {
        Some((_, source, line)) => Ok(MultiValue::from_vec(vec![Value::String(lua.create_string(source)?), Value::Integer(line)])),
        None => Ok(MultiValue::new()),
    }
}
