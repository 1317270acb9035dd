//! Replies to Lua values and back, by the rules that scripts have for RESP2 and RESP3.

use mlua::{Lua, Table, Value};

use super::raise::error_table;
use crate::resp::{Proto, Reply};
use crate::types::number::parse_i64;

/// Deeper tables than this end in an error where they stand, as where Lua's stack is full in Redis.
const DEPTH_MAX: usize = 3990;
const TOO_DEEP: &str = "ERR reached lua stack limit";

/// Reads one reply from the front of `bytes`, which the node itself has encoded.
pub(super) fn decode(lua: &Lua, bytes: &mut &[u8]) -> mlua::Result<Value> {
    let kind = bytes[0];
    let line = take_line(bytes);
    let number = || parse_i64(line).expect("a reply's length is a number");
    match kind {
        b':' => Ok(Value::Number(number() as f64)),
        b'$' | b'=' if line == b"-1" => Ok(Value::Boolean(false)),
        b'$' => {
            let text = take(bytes, number() as usize);
            lua.create_string(text).map(Value::String)
        }
        b'+' => {
            let table = lua.create_table_with_capacity(0, 1)?;
            table.raw_set("ok", lua.create_string(line)?)?;
            Ok(Value::Table(table))
        }
        b'-' => error_table(lua, line, false).map(Value::Table),
        b'*' | b'>' if line == b"-1" => Ok(Value::Boolean(false)),
        b'*' | b'>' => {
            let len = number() as usize;
            let table = lua.create_table_with_capacity(len, 0)?;
            for index in 1..=len {
                let item = decode(lua, bytes)?;
                table.raw_set(index, item)?;
            }
            Ok(Value::Table(table))
        }
        b'_' => Ok(Value::Nil),
        b'#' => Ok(Value::Boolean(line == b"t")),
        b',' => wrapped(lua, "double", Value::Number(double(line))),
        b'(' => wrapped(lua, "big_number", Value::String(lua.create_string(line)?)),
        b'%' => {
            let members = lua.create_table()?;
            for _ in 0..number() {
                let name = decode(lua, bytes)?;
                let value = decode(lua, bytes)?;
                members.raw_set(name, value)?;
            }
            wrapped(lua, "map", Value::Table(members))
        }
        b'~' => {
            let members = lua.create_table()?;
            for _ in 0..number() {
                let member = decode(lua, bytes)?;
                members.raw_set(member, true)?;
            }
            wrapped(lua, "set", Value::Table(members))
        }
        b'=' => {
            let text = take(bytes, number() as usize);
            let (format, text) = (&text[..3], &text[4..]);
            let table = lua.create_table()?;
            table.raw_set("format", lua.create_string(format)?)?;
            table.raw_set("string", lua.create_string(text)?)?;
            wrapped(lua, "verbatim_string", Value::Table(table))
        }
        other => panic!("a reply begins with {other:?}"),
    }
}

fn wrapped(lua: &Lua, kind: &str, value: Value) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(kind, value)?;
    Ok(Value::Table(table))
}

fn double(line: &[u8]) -> f64 {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).expect("a double is a number")
}

/// The line without its kind and its end.
fn take_line<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr::memchr(b'\r', bytes).expect("a reply has a whole line");
    let line = &bytes[1..end];
    *bytes = &bytes[end + 2..];
    line
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let text = &bytes[..len];
    *bytes = &bytes[len + 2..];
    text
}

/// Encodes what a script returns. `script_proto` is what the script has chosen with `redis.setresp`. Returns the errors in it that are the script's own.
pub(super) fn encode(value: Value, script_proto: Proto, out: &mut Reply) -> Vec<String> {
    let mut encoder = Encoder { script_proto, out, errors: Vec::new() };
    encoder.encode(value, 0);
    encoder.errors
}

struct Encoder<'a> {
    script_proto: Proto,
    out: &'a mut Reply,
    errors: Vec<String>,
}

impl Encoder<'_> {
    fn encode(&mut self, value: Value, depth: usize) {
        let out = &mut *self.out;
        if depth > DEPTH_MAX {
            self.errors.push(TOO_DEEP.to_owned());
            return out.error(TOO_DEEP);
        }
        match value {
            Value::String(text) => out.bulk(&text.as_bytes()),
            Value::Integer(n) => out.int(n),
            Value::Number(n) => out.int(cut(n)),
            Value::Boolean(b) if self.script_proto == Proto::Resp3 => out.bool(b),
            Value::Boolean(true) => out.int(1),
            Value::Table(table) => self.table(&table, depth),
            _ => out.null(),
        }
    }
    fn table(&mut self, table: &Table, depth: usize) {
        let out = &mut *self.out;
        if let Value::String(text) = field(table, "err") {
            if !matches!(field(table, "ignore_error_stats_update"), Value::Boolean(true)) {
                self.errors.push(text.to_string_lossy());
            }
            return line(b'-', &text.as_bytes(), out);
        }
        if let Value::String(text) = field(table, "ok") {
            return line(b'+', &text.as_bytes(), out);
        }
        match field(table, "double") {
            Value::Number(n) => return out.double(n),
            Value::Integer(n) => return out.double(n as f64),
            _ => {}
        }
        if let Value::Table(members) = field(table, "map") {
            let pairs = pairs(&members);
            out.map(pairs.len());
            for (name, value) in pairs {
                self.encode(name, depth + 1);
                self.encode(value, depth + 1);
            }
            return;
        }
        if let Value::Table(members) = field(table, "set") {
            let pairs = pairs(&members);
            out.set(pairs.len());
            for (member, _) in pairs {
                self.encode(member, depth + 1);
            }
            return;
        }
        if let Value::String(digits) = field(table, "big_number") {
            let digits: String = digits.to_string_lossy().chars().map(|c| if matches!(c, '\r' | '\n') { ' ' } else { c }).collect();
            return out.big_number(&digits);
        }
        if let Value::Table(verbatim) = field(table, "verbatim_string")
            && let (Value::String(format), Value::String(text)) = (field(&verbatim, "format"), field(&verbatim, "string"))
        {
            return out.verbatim(&three_letters(&format.as_bytes()), &text.as_bytes());
        }
        let mut items = Vec::new();
        for index in 1i64.. {
            match table.raw_get(index) {
                Ok(Value::Nil) | Err(_) => break,
                Ok(item) => items.push(item),
            }
        }
        out.array(items.len());
        for item in items {
            self.encode(item, depth + 1);
        }
    }
}

/// A number as C makes an integer of it on the common machines: what does not fit is the least one.
fn cut(n: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&n) { n as i64 } else { i64::MIN }
}

fn field(table: &Table, name: &str) -> Value {
    table.raw_get(name).unwrap_or(Value::Nil)
}

fn pairs(table: &Table) -> Vec<(Value, Value)> {
    table.pairs::<Value, Value>().filter_map(Result::ok).collect()
}

/// A verbatim string's format has three letters on the wire.
fn three_letters(format: &[u8]) -> String {
    let mut letters: String = String::from_utf8_lossy(format).chars().filter(char::is_ascii).take(3).collect();
    while letters.len() < 3 {
        letters.push(' ');
    }
    letters
}

/// A line of any bytes; line ends become blanks.
fn line(kind: u8, text: &[u8], out: &mut Reply) {
    out.buf.push(kind);
    out.buf.extend(text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    out.buf.extend_from_slice(b"\r\n");
}

/// An error reply of any bytes.
pub fn error(message: &[u8], out: &mut Reply) {
    line(b'-', message, out);
}
