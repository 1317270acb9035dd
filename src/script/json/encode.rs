//! Lua values to JSON. Without recursion: nesting is bounded by a setting that scripts can change.

use mlua::{Function, Lua, Table, Value};

use super::super::pairs::Pairs;
use super::super::raise::{error, type_name};
use super::{InvalidNumbers, STACK_SLOTS, Settings};

/// An array or an object that is being written.
enum Open {
    Array { table: Table, next: i64, len: i64 },
    Object { table: Table, key: Option<Value>, first: bool },
}

struct Encoder<'a> {
    lua: &'a Lua,
    next: &'a Function,
    settings: &'a Settings,
    out: &'a mut Vec<u8>,
    open: Vec<Open>,
    /// What C would have on Lua's stack.
    slots: usize,
}

pub(super) fn encode(lua: &Lua, next: &Function, value: Value, settings: &Settings, out: &mut Vec<u8>) -> mlua::Result<()> {
    let mut encoder = Encoder { lua, next, settings, out, open: Vec::new(), slots: 0 };
    encoder.value(value)?;
    while let Some(open) = encoder.open.pop() {
        encoder.go_on(open)?;
    }
    Ok(())
}

impl Encoder<'_> {
    fn fail(&self, value: &Value, reason: &str) -> mlua::Error {
        error(self.lua, format!("Cannot serialise {}: {reason}", type_name(value)))
    }

    fn value(&mut self, value: Value) -> mlua::Result<()> {
        match &value {
            Value::String(text) => string(&text.as_bytes(), self.out),
            Value::Integer(n) => self.number(*n as f64)?,
            Value::Number(n) => self.number(*n)?,
            Value::Boolean(b) => self.out.extend_from_slice(if *b { b"true" } else { b"false" }),
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => self.out.extend_from_slice(b"null"),
            Value::Table(table) => return self.table(table),
            other => return Err(self.fail(other, "type not supported")),
        }
        Ok(())
    }

    /// Begins a table. Its members follow in `go_on`.
    fn table(&mut self, table: &Table) -> mlua::Result<()> {
        let depth = self.open.len() + 1;
        if depth > self.settings.encode_depth_max.get() as usize || self.slots + 3 > STACK_SLOTS {
            return Err(error(self.lua, format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_len(table)? {
            Some(len) => {
                self.out.push(b'[');
                self.slots += 1;
                self.open.push(Open::Array { table: table.clone(), next: 1, len });
            }
            None => {
                self.out.push(b'{');
                self.slots += 2;
                self.open.push(Open::Object { table: table.clone(), key: None, first: true });
            }
        }
        Ok(())
    }

    /// Writes members up to one that is a table itself, which comes first then.
    fn go_on(&mut self, open: Open) -> mlua::Result<()> {
        match open {
            Open::Array { table, mut next, len } => {
                while next <= len {
                    if next > 1 {
                        self.out.push(b',');
                    }
                    let item = element(&table, next)?;
                    next += 1;
                    if matches!(item, Value::Table(_)) {
                        self.open.push(Open::Array { table, next, len });
                        return self.value(item);
                    }
                    self.value(item)?;
                }
                self.slots -= 1;
                self.out.push(b']');
            }
            Open::Object { table, mut key, mut first } => {
                for pair in Pairs::after(self.next, &table, key.take()) {
                    let (name, member) = pair?;
                    if !std::mem::take(&mut first) {
                        self.out.push(b',');
                    }
                    self.name(&name)?;
                    if matches!(member, Value::Table(_)) {
                        self.open.push(Open::Object { table: table.clone(), key: Some(name), first });
                        return self.value(member);
                    }
                    self.value(if is_zero(&member) { signed(&table, &name)? } else { member })?;
                }
                self.slots -= 2;
                self.out.push(b'}');
            }
        }
        Ok(())
    }

    fn name(&mut self, name: &Value) -> mlua::Result<()> {
        match name {
            Value::String(text) => string(&text.as_bytes(), self.out),
            Value::Integer(_) | Value::Number(_) => {
                self.out.push(b'"');
                self.value(name.clone())?;
                self.out.push(b'"');
            }
            other => return Err(self.fail(other, "table key must be a number or string")),
        }
        self.out.push(b':');
        Ok(())
    }

    /// The length of a table that is an array: its keys are all positive integers, and not too sparse.
    fn array_len(&self, table: &Table) -> mlua::Result<Option<i64>> {
        let (mut max, mut items) = (0i64, 0i64);
        for pair in table.pairs::<Value, Value>() {
            match pair?.0 {
                Value::Integer(n) if n >= 1 => {
                    max = max.max(n);
                    items += 1;
                }
                _ => return Ok(None),
            }
        }
        let (ratio, safe) = (i64::from(self.settings.sparse_ratio.get()), i64::from(self.settings.sparse_safe.get()));
        if ratio > 0 && max > items.saturating_mul(ratio) && max > safe {
            if !self.settings.sparse_convert.get() {
                return Err(self.fail(&Value::Table(table.clone()), "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok((max > 0).then_some(max))
    }

    fn number(&mut self, n: f64) -> mlua::Result<()> {
        if !n.is_finite() {
            match self.settings.encode_invalid.get() {
                InvalidNumbers::Refused => return Err(self.fail(&Value::Number(n), "must not be NaN or Inf")),
                InvalidNumbers::Null => self.out.extend_from_slice(b"null"),
                InvalidNumbers::Written if n.is_nan() => self.out.extend_from_slice(b"nan"),
                InvalidNumbers::Written => self.out.extend_from_slice(if n > 0.0 { b"inf" } else { b"-inf" }),
            }
            return Ok(());
        }
        self.out.extend_from_slice(format_g(n, self.settings.precision.get() as usize).as_bytes());
        Ok(())
    }
}

fn is_zero(value: &Value) -> bool {
    matches!(value, Value::Integer(0))
}

/// mlua takes integral numbers for integers, and with it the sign of -0.
fn signed(table: &Table, key: &Value) -> mlua::Result<Value> {
    table.raw_get::<f64>(key).map(Value::Number)
}

fn element(table: &Table, index: i64) -> mlua::Result<Value> {
    let item: Value = table.raw_get(index)?;
    if is_zero(&item) { signed(table, &Value::Integer(index)) } else { Ok(item) }
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'/' => out.extend_from_slice(b"\\/"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A finite number as C prints it with `%.{precision}g`.
fn format_g(n: f64, precision: usize) -> String {
    let scientific = format!("{:.*e}", precision - 1, n);
    let (mantissa, exponent) = scientific.split_once('e').expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    trimmed(&format!("{:.*}", (precision as i32 - 1 - exponent) as usize, n))
}

#[cfg(test)]
mod tests {
    use super::format_g;

    #[test]
    fn numbers_are_those_of_printf() {
        let numbers = [0.0, -0.0, 1.0, 0.1, 1e14, 1e13, 123456789012345678.0, 1e-4, 1e-5, 1.0 / 3.0, 99999999999999.5, 2.5, -1e300];
        let texts: Vec<String> = numbers.iter().map(|n| format_g(*n, 14)).collect();
        let wanted = [
            "0",
            "-0",
            "1",
            "0.1",
            "1e+14",
            "10000000000000",
            "1.2345678901235e+17",
            "0.0001",
            "1e-05",
            "0.33333333333333",
            "1e+14",
            "2.5",
            "-1e+300",
        ];
        assert_eq!(texts, wanted);
        assert_eq!(format_g(std::f64::consts::PI, 1), "3");
    }
}
