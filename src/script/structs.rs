//! The library `struct`: C structures in strings.

use mlua::{Lua, MultiValue, Table, Value};

use super::raise::{Given, argument_error, error};

/// The largest integer, in bytes.
const INT_BYTES_MAX: usize = 32;
/// What `!` alone aligns to.
const ALIGN_DEFAULT: usize = 8;
/// What Lua's stack has room for in a C function.
const RESULTS_MAX: usize = 7900;

/// A format as it is read, with what it has said so far about order and alignment.
struct Format<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
    big: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(lua: &'a Lua, text: &'a [u8]) -> Self {
        Format { lua, text, at: 0, big: cfg!(target_endian = "big"), align: 1 }
    }

    /// The number at this place, or the default.
    fn number(&mut self, default: usize) -> mlua::Result<usize> {
        let mut number = None;
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.at) {
            let digit = usize::from(digit - b'0');
            let before = number.unwrap_or(0);
            if before > (i32::MAX as usize - digit) / 10 {
                return Err(error(self.lua, "integral size overflow"));
            }
            number = Some(before * 10 + digit);
            self.at += 1;
        }
        Ok(number.unwrap_or(default))
    }

    /// The next option and its size, padding before it included in neither.
    fn next(&mut self) -> mlua::Result<Option<(u8, usize)>> {
        let Some(&option) = self.text.get(self.at).filter(|option| **option != 0) else { return Ok(None) };
        self.at += 1;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > INT_BYTES_MAX {
                    return Err(error(self.lua, format!("integral size {size} is larger than limit of {INT_BYTES_MAX}")));
                }
                size
            }
            _ => 0,
        };
        Ok(Some((option, size)))
    }

    /// Bytes before an option of that size at that place.
    fn padding(&self, at: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        size.wrapping_sub(at & size.wrapping_sub(1)) & size.wrapping_sub(1)
    }

    /// Options that are about the others.
    fn control(&mut self, option: u8) -> mlua::Result<()> {
        match option {
            b' ' => {}
            b'<' => self.big = false,
            b'>' => self.big = true,
            b'!' => {
                let align = self.number(ALIGN_DEFAULT)?;
                if align == 0 || !align.is_power_of_two() {
                    return Err(error(self.lua, format!("alignment {align} is not a power of 2")));
                }
                self.align = align;
            }
            other => return Err(argument_error(self.lua, 1, &format!("invalid format option '{}'", char::from(other)))),
        }
        Ok(())
    }
}

/// A number as C makes an unsigned integer of it on the common machines.
fn to_u64(n: f64) -> u64 {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    let signed = |n: f64| if (-TWO_63..TWO_63).contains(&n) { n as i64 as u64 } else { 1 << 63 };
    if n >= TWO_63 { signed(n - TWO_63) ^ 1 << 63 } else { signed(n) }
}

fn put_int(value: u64, size: usize, big: bool, out: &mut Vec<u8>) {
    let from = out.len();
    out.extend((0..size).map(|at| if at < 8 { (value >> (8 * at)) as u8 } else { 0 }));
    if big {
        out[from..].reverse();
    }
}

fn get_int(bytes: &[u8], big: bool, is_signed: bool) -> f64 {
    let shifted = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    let value = if big { bytes.iter().fold(0, shifted) } else { bytes.iter().rev().fold(0, shifted) };
    if !is_signed {
        return value as f64;
    }
    let mask = u64::MAX << ((bytes.len() * 8).wrapping_sub(1) & 63);
    let extended = if value & mask != 0 { value | mask } else { value };
    extended as i64 as f64
}

fn pack(lua: &Lua, values: MultiValue) -> mlua::Result<Value> {
    let mut given = Given::new(lua, values);
    let text = given.bytes(1)?;
    let text = text.as_bytes();
    // Missing arguments count as nil.
    given.values.push_back(Value::Nil);
    let mut format = Format::new(lua, &text);
    let mut out: Vec<u8> = Vec::new();
    let mut argument = 2;
    while let Some((option, size)) = format.next()? {
        let padding = format.padding(out.len(), option, size);
        out.resize(out.len() + padding, 0);
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let number = given.number(argument)?;
                argument += 1;
                put_int(to_u64(number), size, format.big, &mut out);
            }
            b'x' => out.push(0),
            b'f' => {
                let number = given.number(argument)? as f32;
                argument += 1;
                out.extend_from_slice(&if format.big { number.to_be_bytes() } else { number.to_le_bytes() });
            }
            b'd' => {
                let number = given.number(argument)?;
                argument += 1;
                out.extend_from_slice(&if format.big { number.to_be_bytes() } else { number.to_le_bytes() });
            }
            b'c' | b's' => {
                let string = given.bytes(argument)?;
                argument += 1;
                let bytes = string.as_bytes();
                let size = if size == 0 { bytes.len() } else { size };
                if bytes.len() < size {
                    return Err(argument_error(lua, argument, "string too short"));
                }
                out.extend_from_slice(&bytes[..size]);
                if option == b's' {
                    out.push(0);
                }
            }
            other => format.control(other)?,
        }
    }
    lua.create_string(&out).map(Value::String)
}

fn unpack(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let given = Given::new(lua, values);
    let (text, data) = (given.bytes(1)?, given.bytes(2)?);
    let (text, data) = (text.as_bytes(), data.as_bytes());
    let first = if given.is_none_or_nil(3) { 1 } else { given.number(3)? as i64 };
    if first == 0 {
        return Err(argument_error(lua, 3, "offset must be 1 or greater"));
    }
    let too_short = || argument_error(lua, 2, "data string too short");
    // A negative offset is a huge one.
    let mut at = usize::try_from(first - 1).unwrap_or(usize::MAX);
    let mut format = Format::new(lua, &text);
    let mut results: Vec<Value> = Vec::new();
    while let Some((option, size)) = format.next()? {
        at = at.saturating_add(format.padding(at, option, size));
        let take = |at: usize, size: usize| at.checked_add(size).and_then(|end| data.get(at..end)).ok_or_else(too_short);
        let mut bytes = take(at, size)?;
        if results.len() >= RESULTS_MAX {
            return Err(error(lua, "stack overflow (too many results)"));
        }
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                results.push(Value::Number(get_int(bytes, format.big, option.is_ascii_lowercase())));
            }
            b'x' => {}
            b'f' => {
                let raw = get_int(bytes, format.big, false) as u32;
                results.push(Value::Number(f64::from(f32::from_bits(raw))));
            }
            b'd' => {
                let raw: [u8; 8] = bytes.try_into().expect("a double has eight bytes");
                results.push(Value::Number(if format.big { f64::from_be_bytes(raw) } else { f64::from_le_bytes(raw) }));
            }
            b'c' => {
                if size == 0 {
                    let size = match results.pop().map(|value| lua.coerce_number(value)).transpose()?.flatten() {
                        Some(size) => to_u64(size),
                        None => return Err(error(lua, "format 'c0' needs a previous size")),
                    };
                    bytes = take(at, usize::try_from(size).unwrap_or(usize::MAX))?;
                }
                results.push(Value::String(lua.create_string(bytes)?));
            }
            b's' => {
                let Some(len) = data[at..].iter().position(|byte| *byte == 0) else { return Err(error(lua, "unfinished string in data")) };
                results.push(Value::String(lua.create_string(&data[at..at + len])?));
                bytes = &data[at..=at + len];
            }
            other => format.control(other)?,
        }
        at += bytes.len();
    }
    results.push(Value::Number(at.wrapping_add(1) as f64));
    Ok(MultiValue::from_vec(results))
}

fn size(lua: &Lua, values: MultiValue) -> mlua::Result<Value> {
    let text = Given::new(lua, values).bytes(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(lua, &text);
    let mut at = 0usize;
    while let Some((option, size)) = format.next()? {
        at = at.saturating_add(format.padding(at, option, size));
        match option {
            b's' => return Err(argument_error(lua, 1, "option 's' has no fixed size")),
            b'c' if size == 0 => return Err(argument_error(lua, 1, "option 'c0' has no fixed size")),
            other if !other.is_ascii_alphanumeric() => format.control(other)?,
            _ => {}
        }
        at = at.saturating_add(size);
    }
    Ok(Value::Number(at as f64))
}

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("pack", lua.create_function(pack)?)?;
    table.set("unpack", lua.create_function(unpack)?)?;
    table.set("size", lua.create_function(size)?)?;
    Ok(table)
}
