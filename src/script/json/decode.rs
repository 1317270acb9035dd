//! JSON to Lua values, with the leniencies of lua-cjson (numbers of C, control characters in strings). Without recursion.

use mlua::{Lua, Table, Value};
use rustc_apfloat::ieee::Double;

use super::super::raise::error;
use super::{STACK_SLOTS, Settings};
use crate::types::long_double::parse_hex_float;

/// What stands at a place of the text.
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// Its bytes are in `Decoder::string`.
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(what) => what,
        }
    }
}

enum Open {
    Array { table: Table, len: i64 },
    Object { table: Table, name: Value },
}

struct Decoder<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    text: &'a [u8],
    at: usize,
    /// Where the last token begins, or where it is wrong.
    token_at: usize,
    string: Vec<u8>,
    open: Vec<Open>,
    slots: usize,
}

pub(super) fn decode(lua: &Lua, text: &[u8], settings: &Settings) -> mlua::Result<Value> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(error(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut decoder = Decoder { lua, settings, text, at: 0, token_at: 0, string: Vec::new(), open: Vec::new(), slots: 0 };
    decoder.document()
}

impl Decoder<'_> {
    fn document(&mut self) -> mlua::Result<Value> {
        let mut token = self.token();
        loop {
            let Some(mut value) = self.value(token)? else {
                // Something has been opened: its first member is next.
                token = self.token();
                continue;
            };
            // Whatever the value completes is a value itself.
            loop {
                let Some(open) = self.open.pop() else {
                    return match self.token() {
                        Token::End => Ok(value),
                        other => Err(self.unexpected("the end", &other)),
                    };
                };
                match self.member(open, value)? {
                    Some(completed) => value = completed,
                    None => break,
                }
            }
            token = self.token();
        }
    }

    /// A value, or `None` if an array or object has begun whose members come first.
    fn value(&mut self, token: Token) -> mlua::Result<Option<Value>> {
        let value = match token {
            Token::String => Value::String(self.lua.create_string(&self.string)?),
            Token::Number(n) => Value::Number(n),
            Token::Boolean(b) => Value::Boolean(b),
            Token::Null => Value::NULL,
            Token::ArrayBegin => return self.begin_array(),
            Token::ObjectBegin => return self.begin_object(),
            other => return Err(self.unexpected("value", &other)),
        };
        Ok(Some(value))
    }

    fn begin_array(&mut self) -> mlua::Result<Option<Value>> {
        self.descend(1)?;
        let table = self.lua.create_table()?;
        let before = self.at;
        match self.token() {
            Token::ArrayEnd => {
                self.slots -= 1;
                Ok(Some(Value::Table(table)))
            }
            _ => {
                self.at = before;
                self.open.push(Open::Array { table, len: 0 });
                Ok(None)
            }
        }
    }

    fn begin_object(&mut self) -> mlua::Result<Option<Value>> {
        self.descend(2)?;
        let table = self.lua.create_table()?;
        match self.token() {
            Token::ObjectEnd => {
                self.slots -= 2;
                Ok(Some(Value::Table(table)))
            }
            token => {
                self.name(table, token)?;
                Ok(None)
            }
        }
    }

    /// The name of a member and its colon.
    fn name(&mut self, table: Table, token: Token) -> mlua::Result<()> {
        let Token::String = token else { return Err(self.unexpected("object key string", &token)) };
        let name = Value::String(self.lua.create_string(&self.string)?);
        match self.token() {
            Token::Colon => self.open.push(Open::Object { table, name }),
            other => return Err(self.unexpected("colon", &other)),
        }
        Ok(())
    }

    /// Puts a member where it belongs. Returns what is complete with it.
    fn member(&mut self, open: Open, value: Value) -> mlua::Result<Option<Value>> {
        match open {
            Open::Array { table, len } => {
                table.raw_set(len + 1, value)?;
                match self.token() {
                    Token::ArrayEnd => {
                        self.slots -= 1;
                        Ok(Some(Value::Table(table)))
                    }
                    Token::Comma => {
                        self.open.push(Open::Array { table, len: len + 1 });
                        Ok(None)
                    }
                    other => Err(self.unexpected("comma or array end", &other)),
                }
            }
            Open::Object { table, name } => {
                table.raw_set(name, value)?;
                match self.token() {
                    Token::ObjectEnd => {
                        self.slots -= 2;
                        Ok(Some(Value::Table(table)))
                    }
                    Token::Comma => {
                        let token = self.token();
                        self.name(table, token)?;
                        Ok(None)
                    }
                    other => Err(self.unexpected("comma or object end", &other)),
                }
            }
        }
    }

    fn descend(&mut self, slots: usize) -> mlua::Result<()> {
        let depth = self.open.len() + 1;
        self.slots += slots;
        if depth > self.settings.decode_depth_max.get() as usize || self.slots + 1 >= STACK_SLOTS {
            return Err(error(self.lua, format!("Found too many nested data structures ({depth}) at character {}", self.at)));
        }
        Ok(())
    }

    fn unexpected(&self, wanted: &str, found: &Token) -> mlua::Error {
        error(self.lua, format!("Expected {wanted} but found {} at character {}", found.name(), self.token_at + 1))
    }

    fn token(&mut self) -> Token {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.token_at = self.at;
        let rest = &self.text[self.at..];
        let single = |token: Token| (token, 1);
        let (token, len) = match rest.first() {
            None => (Token::End, 0),
            // C sees the end of the text at a NUL.
            Some(0) => (Token::End, 0),
            Some(b'{') => single(Token::ObjectBegin),
            Some(b'}') => single(Token::ObjectEnd),
            Some(b'[') => single(Token::ArrayBegin),
            Some(b']') => single(Token::ArrayEnd),
            Some(b',') => single(Token::Comma),
            Some(b':') => single(Token::Colon),
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') => {
                if !self.settings.decode_invalid.get() && is_invalid_number(rest) {
                    return Token::Error("invalid number");
                }
                return self.number();
            }
            Some(b't') if rest.starts_with(b"true") => (Token::Boolean(true), 4),
            Some(b'f') if rest.starts_with(b"false") => (Token::Boolean(false), 5),
            Some(b'n') if rest.starts_with(b"null") => (Token::Null, 4),
            Some(b'+' | b'i' | b'I' | b'n' | b'N') if self.settings.decode_invalid.get() && is_invalid_number(rest) => return self.number(),
            Some(_) => return Token::Error("invalid token"),
        };
        self.at += len;
        token
    }

    fn number(&mut self) -> Token {
        match parse_number(&self.text[self.at..]) {
            Some((number, len)) => {
                self.at += len;
                Token::Number(number)
            }
            None => Token::Error("invalid number"),
        }
    }

    fn wrong_string(&mut self, what: &'static str) -> Token {
        self.token_at = self.at;
        Token::Error(what)
    }

    fn string(&mut self) -> Token {
        self.string.clear();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0)).unwrap_or(rest.len());
            self.string.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match self.text.get(self.at) {
                None | Some(0) => return self.wrong_string("unexpected end of string"),
                Some(b'"') => {
                    self.at += 1;
                    return Token::String;
                }
                Some(_) => {}
            }
            let plain = match self.text.get(self.at + 1) {
                Some(b'u') => {
                    let Some((c, len)) = unicode_escape(&self.text[self.at..]) else { return self.wrong_string("invalid unicode escape code") };
                    let mut utf8 = [0; 4];
                    self.string.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
                    self.at += len;
                    continue;
                }
                Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
                Some(b'b') => 0x08,
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'f') => 0x0c,
                Some(b'r') => b'\r',
                _ => return self.wrong_string("invalid escape code"),
            };
            self.string.push(plain);
            self.at += 2;
        }
    }
}

/// `\u00e9`, or a pair of surrogates, with its length.
fn unicode_escape(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0u32, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
    };
    let first = unit(0)?;
    match first {
        0xD800..0xDC00 => {
            let second = unit(6).filter(|second| (0xDC00..0xE000).contains(second))?;
            Some((char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))?, 12))
        }
        _ => Some((char::from_u32(first)?, 6)),
    }
}

/// Numbers that C reads and JSON does not have.
fn is_invalid_number(text: &[u8]) -> bool {
    if text.first() == Some(&b'+') {
        return true;
    }
    let text = text.strip_prefix(b"-").unwrap_or(text);
    match text {
        [b'0', next, ..] => next | 0x20 == b'x' || next.is_ascii_digit(),
        [b'0'..=b'9', ..] => false,
        _ => is_word(text, b"inf") || is_word(text, b"nan"),
    }
}

fn is_word(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// The number at the front of the text and its length, as `strtod` finds it.
fn parse_number(text: &[u8]) -> Option<(f64, usize)> {
    let signs = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let negative = text.first() == Some(&b'-');
    let rest = &text[signs..];
    let signed = |value: f64, len: usize| Some((if negative { -value } else { value }, signs + len));
    if is_word(rest, b"inf") {
        return signed(f64::INFINITY, if is_word(rest, b"infinity") { 8 } else { 3 });
    }
    if is_word(rest, b"nan") {
        return signed(f64::NAN, 3);
    }
    if is_word(rest, b"0x")
        && let Some(len) = hex_len(rest)
    {
        let value = parse_hex_float::<Double>(&rest[..len])?;
        return signed(value.map_or(f64::INFINITY, |value| f64::from_bits(rustc_apfloat::Float::to_bits(value) as u64)), len);
    }
    let digits = |from: usize| rest[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let mut len = whole;
    let mut fraction = 0;
    if rest.get(len) == Some(&b'.') {
        fraction = digits(len + 1);
        if whole + fraction > 0 {
            len += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return None;
    }
    if let Some(b'e' | b'E') = rest.get(len) {
        let sign = usize::from(matches!(rest.get(len + 1), Some(b'-' | b'+')));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    signed(std::str::from_utf8(&rest[..len]).ok()?.parse().ok()?, len)
}

/// The length of a hexadecimal number at the front, if there are digits behind its `0x`.
fn hex_len(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| text[from.min(text.len())..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let whole = digits(2);
    let mut len = 2 + whole;
    let mut fraction = 0;
    if text.get(len) == Some(&b'.') {
        fraction = digits(len + 1);
        len += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if let Some(b'p' | b'P') = text.get(len) {
        let sign = usize::from(matches!(text.get(len + 1), Some(b'-' | b'+')));
        let exponent = text[(len + 1 + sign).min(text.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    Some(len)
}
