//! Errors that our functions raise in scripts. What is raised is a [`Raised`] inside mlua's own error value; the prelude turns it into the text or the
//! table that a script may see, wherever it can be caught. May touch: the interpreter's stack, for the line that an error names.

use std::fmt;

use mlua::{Lua, MultiValue, Value};

/// What a script catches.
#[derive(Debug)]
pub(super) enum Raised {
    /// A text, as Lua's own functions raise it: the place stands before it.
    Text(Vec<u8>),
    /// `{err=...}`, as the functions of `redis` raise it. `counted`: a command has failed, and the statistics know already.
    Reply { err: Vec<u8>, counted: bool },
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Raised::Text(text) | Raised::Reply { err: text, .. }) = self;
        f.write_str(&String::from_utf8_lossy(text))
    }
}

impl std::error::Error for Raised {}

impl Raised {
    /// `{err=text}`
    pub fn reply(err: impl Into<Vec<u8>>) -> mlua::Error {
        mlua::Error::external(Raised::Reply { err: err.into(), counted: false })
    }

    /// A text without a place.
    pub fn plain(text: &str) -> mlua::Error {
        mlua::Error::external(Raised::Text(text.as_bytes().to_vec()))
    }

    /// The value that a script sees in place of a caught error. Failures of the interpreter itself are texts.
    pub fn value(lua: &Lua, error: &mlua::Error) -> mlua::Result<Value> {
        match error {
            mlua::Error::CallbackError { cause, .. } => Raised::value(lua, cause),
            mlua::Error::ExternalError(inner) => match inner.downcast_ref::<Raised>() {
                Some(Raised::Text(text)) => lua.create_string(text).map(Value::String),
                Some(Raised::Reply { err, counted }) => error_table(lua, err, *counted).map(Value::Table),
                None => lua.create_string(inner.to_string()).map(Value::String),
            },
            mlua::Error::MemoryError(_) => lua.create_string("not enough memory").map(Value::String),
            other => lua.create_string(other.to_string()).map(Value::String),
        }
    }
}

/// `{err=...}`; a failed command's says that it has been counted.
pub(super) fn error_table(lua: &Lua, err: &[u8], counted: bool) -> mlua::Result<mlua::Table> {
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(err)?)?;
    if counted {
        table.raw_set("ignore_error_stats_update", true)?;
    }
    Ok(table)
}

/// `user_script:1: `, for the function at that level of the stack; nothing for one that is not Lua.
fn place(lua: &Lua, level: usize) -> String {
    let place = lua.inspect_stack(level, |frame| {
        let line = frame.current_line().filter(|line| *line > 0)?;
        Some(format!("{}:{line}: ", frame.source().short_src.unwrap_or_default()))
    });
    place.flatten().unwrap_or_default()
}

/// A text with the line that called the running function, as `luaL_error`.
pub(super) fn error(lua: &Lua, text: impl AsRef<[u8]>) -> mlua::Error {
    let mut message = place(lua, 1).into_bytes();
    message.extend_from_slice(text.as_ref());
    mlua::Error::external(Raised::Text(message))
}

/// `bad argument #1 to 'f' (what)`, as `luaL_argerror`. Counts from one.
pub(super) fn argument_error(lua: &Lua, mut index: usize, what: &str) -> mlua::Error {
    let name = lua.inspect_stack(0, |frame| {
        let names = frame.names();
        (names.name.map(|name| name.into_owned()), names.name_what == Some("method"))
    });
    let (name, is_method) = name.unwrap_or_default();
    let name = name.unwrap_or_else(|| "?".to_owned());
    if is_method {
        index -= 1;
        if index == 0 {
            return error(lua, format!("calling '{name}' on bad self ({what})"));
        }
    }
    error(lua, format!("bad argument #{index} to '{name}' ({what})"))
}

/// The arguments of a call, read as Lua's own C functions read theirs.
pub(super) struct Given<'a> {
    pub lua: &'a Lua,
    pub values: MultiValue,
}

impl<'a> Given<'a> {
    pub fn new(lua: &'a Lua, values: MultiValue) -> Self {
        Given { lua, values }
    }
    pub fn len(&self) -> usize {
        self.values.len()
    }
    /// Counts from one, as all here.
    pub fn get(&self, index: usize) -> Option<&Value> {
        self.values.get(index - 1)
    }
    pub fn is_none_or_nil(&self, index: usize) -> bool {
        matches!(self.get(index), None | Some(Value::Nil))
    }
    pub fn type_error(&self, index: usize, wanted: &str) -> mlua::Error {
        let got = self.get(index).map_or("no value", type_name);
        argument_error(self.lua, index, &format!("{wanted} expected, got {got}"))
    }
    pub fn number(&self, index: usize) -> mlua::Result<f64> {
        let number = match self.get(index) {
            Some(Value::Integer(n)) => Some(*n as f64),
            Some(Value::Number(n)) => Some(*n),
            Some(Value::String(text)) => self.lua.coerce_number(Value::String(text.clone()))?,
            _ => None,
        };
        number.ok_or_else(|| self.type_error(index, "number"))
    }
    pub fn bytes(&self, index: usize) -> mlua::Result<mlua::LuaString> {
        let text = match self.get(index) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(number @ (Value::Integer(_) | Value::Number(_))) => self.lua.coerce_string(number.clone())?,
            _ => None,
        };
        text.ok_or_else(|| self.type_error(index, "string"))
    }
}

/// The name that Lua has for a value's type; mlua's differ.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}
