//! Replies to Lua values and back, by the rules that scripts have for RESP2 and RESP3.

use mlua::{Function, Lua, Table, Value};

use super::pairs::Pairs;
use super::raise::error_table;
use crate::resp::{Proto, Reply};
use crate::types::number::parse_i64;

/// What Lua's stack has room for while Redis converts (a little less: mlua takes its own part), and what each kind of table takes of it. Deeper ones end
/// in an error where they stand.
const STACK_SLOTS: usize = 7900;
const ARRAY_SLOTS: usize = 1;
const MAP_SLOTS: usize = 3;
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

/// Encodes what a script returns. `script_proto` is what the script has chosen with `redis.setresp`, `next` is Lua's own. Returns the errors in it that
/// are the script's own.
pub(super) fn encode(value: Value, next: &Function, script_proto: Proto, out: &mut Reply) -> mlua::Result<Vec<String>> {
    let mut encoder = Encoder { script_proto, out, open: Vec::new(), errors: Vec::new() };
    encoder.value(value, 0);
    while let Some(open) = encoder.open.pop() {
        encoder.go_on(open, next)?;
    }
    Ok(encoder.errors)
}

/// A table that is being written, with what C would have on Lua's stack below its members.
enum Open {
    Array {
        table: Table,
        next: i64,
        len: i64,
        slots: usize,
    },
    Map {
        table: Table,
        key: Option<Value>,
        slots: usize,
    },
    /// A map's member whose name is a table: the name comes first.
    Member {
        value: Value,
        slots: usize,
    },
    Set {
        table: Table,
        key: Option<Value>,
        slots: usize,
    },
}

/// Without recursion: a script's tables may be as deep as Lua's stack.
struct Encoder<'a> {
    script_proto: Proto,
    out: &'a mut Reply,
    open: Vec<Open>,
    errors: Vec<String>,
}

impl Encoder<'_> {
    fn value(&mut self, value: Value, slots: usize) {
        if slots >= STACK_SLOTS {
            self.errors.push(TOO_DEEP.to_owned());
            return self.out.error(TOO_DEEP);
        }
        match value {
            Value::String(text) => self.out.bulk(&text.as_bytes()),
            Value::Integer(n) => self.out.int(n),
            Value::Number(n) => self.out.int(cut(n)),
            Value::Boolean(b) if self.script_proto == Proto::Resp3 => self.out.bool(b),
            Value::Boolean(true) => self.out.int(1),
            Value::Table(table) => self.table(table, slots),
            _ => self.out.null(),
        }
    }

    /// Writes a table, or begins to: members follow in `go_on`.
    fn table(&mut self, table: Table, slots: usize) {
        if let Value::String(text) = field(&table, "err") {
            if !matches!(field(&table, "ignore_error_stats_update"), Value::Boolean(true)) {
                self.errors.push(text.to_string_lossy());
            }
            return line(b'-', &text.as_bytes(), self.out);
        }
        if let Value::String(text) = field(&table, "ok") {
            return line(b'+', &text.as_bytes(), self.out);
        }
        match field(&table, "double") {
            Value::Number(n) => return self.out.double(n),
            Value::Integer(n) => return self.out.double(n as f64),
            _ => {}
        }
        if let Value::Table(members) = field(&table, "map") {
            self.out.map(members.pairs::<Value, Value>().count());
            return self.open.push(Open::Map { table: members, key: None, slots: slots + MAP_SLOTS });
        }
        if let Value::Table(members) = field(&table, "set") {
            self.out.set(members.pairs::<Value, Value>().count());
            return self.open.push(Open::Set { table: members, key: None, slots: slots + MAP_SLOTS });
        }
        if let Value::String(digits) = field(&table, "big_number") {
            return self.out.big_number(&digits.to_string_lossy().replace(['\r', '\n'], " "));
        }
        if let Value::Table(verbatim) = field(&table, "verbatim_string")
            && let (Value::String(format), Value::String(text)) = (field(&verbatim, "format"), field(&verbatim, "string"))
        {
            return self.out.verbatim(&three_letters(&format.as_bytes()), &text.as_bytes());
        }
        // Up to the first hole.
        let len = (1i64..).take_while(|index| !matches!(table.raw_get(*index), Ok(Value::Nil) | Err(_))).count();
        self.out.array(len);
        self.open.push(Open::Array { table, next: 1, len: len as i64, slots: slots + ARRAY_SLOTS });
    }

    /// Writes members up to one that is a table itself, which comes first then.
    fn go_on(&mut self, open: Open, lua_next: &Function) -> mlua::Result<()> {
        match open {
            Open::Array { table, mut next, len, slots } => {
                while next <= len {
                    let item: Value = table.raw_get(next)?;
                    next += 1;
                    if matches!(item, Value::Table(_)) {
                        self.open.push(Open::Array { table, next, len, slots });
                        self.value(item, slots);
                        return Ok(());
                    }
                    self.value(item, slots);
                }
            }
            Open::Map { table, mut key, slots } => {
                for pair in Pairs::after(lua_next, &table, key.take()) {
                    let (name, member) = pair?;
                    if matches!(name, Value::Table(_)) || matches!(member, Value::Table(_)) {
                        self.open.push(Open::Map { table: table.clone(), key: Some(name.clone()), slots });
                        self.open.push(Open::Member { value: member, slots });
                        self.value(name, slots);
                        return Ok(());
                    }
                    self.value(name, slots);
                    self.value(member, slots);
                }
            }
            Open::Member { value, slots } => self.value(value, slots),
            Open::Set { table, mut key, slots } => {
                for pair in Pairs::after(lua_next, &table, key.take()) {
                    let (name, _) = pair?;
                    if matches!(name, Value::Table(_)) {
                        self.open.push(Open::Set { table: table.clone(), key: Some(name.clone()), slots });
                        self.value(name, slots);
                        return Ok(());
                    }
                    self.value(name, slots);
                }
            }
        }
        Ok(())
    }
}

fn field(table: &Table, name: &str) -> Value {
    table.raw_get(name).unwrap_or(Value::Nil)
}

/// A number as C makes an integer of it on the common machines: what does not fit is the least one.
fn cut(n: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&n) { n as i64 } else { i64::MIN }
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
