//! What a directive is: names, type with bounds, whether CONFIG SET may change it; how its value is read from words and shown. No I/O.

use super::Config;
use crate::types::number::parse_i64;
use crate::types::split::quote;

/// One row of the table. Its default is what `Config::default()` says.
pub struct Directive {
    pub name: &'static str,
    /// Its older name: `slave-*`.
    pub alias: Option<&'static str>,
    /// A conf file or the command line sets it, CONFIG SET does not.
    pub immutable: bool,
    /// CONFIG SET changes it only where `enable-protected-configs` allows.
    pub protected: bool,
    /// CONFIG GET, SET and REWRITE do not know it: `rename-command`.
    pub file_only: bool,
    pub field: Field,
}

/// A directive's type, with the ways to and from `Config`.
pub enum Field {
    YesNo {
        get: fn(&Config) -> bool,
        set: fn(&mut Config, bool),
    },
    Number {
        unit: Unit,
        min: i64,
        max: i64,
        get: fn(&Config) -> i64,
        set: fn(&mut Config, i64),
    },
    Text {
        get: fn(&Config) -> &str,
        at: fn(&mut Config) -> &mut String,
    },
    /// Not kept as a text, or not any text will do.
    Checked {
        get: fn(&Config) -> String,
        set: fn(&mut Config, &str) -> Result<(), String>,
    },
    /// One of several words, by index.
    Choice {
        words: &'static [&'static str],
        get: fn(&Config) -> usize,
        set: fn(&mut Config, usize),
    },
    /// Several words, or several lines.
    List {
        get: fn(&Config) -> String,
        lines: fn(&Config) -> Vec<String>,
        set: fn(&mut Config, &[&str], Mode) -> Result<(), String>,
    },
}

/// How a number is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Plain,
    /// With `kb`, `mb`, `gb`.
    Memory,
    /// Also `5%`, kept as -5.
    MemoryOrPercent,
    Octal,
}

/// Whether a line adds to those before it in the same load (`save`), or says everything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Replace,
    Append,
}

pub const fn yes_no(name: &'static str, get: fn(&Config) -> bool, set: fn(&mut Config, bool)) -> Directive {
    row(name, Field::YesNo { get, set })
}

pub const fn number(name: &'static str, min: i64, max: i64, get: fn(&Config) -> i64, set: fn(&mut Config, i64)) -> Directive {
    in_unit(name, Unit::Plain, min, max, get, set)
}

pub const fn in_unit(name: &'static str, unit: Unit, min: i64, max: i64, get: fn(&Config) -> i64, set: fn(&mut Config, i64)) -> Directive {
    row(name, Field::Number { unit, min, max, get, set })
}

pub const fn text(name: &'static str, get: fn(&Config) -> &str, at: fn(&mut Config) -> &mut String) -> Directive {
    row(name, Field::Text { get, at })
}

pub const fn checked(name: &'static str, get: fn(&Config) -> String, set: fn(&mut Config, &str) -> Result<(), String>) -> Directive {
    row(name, Field::Checked { get, set })
}

pub const fn choice(name: &'static str, words: &'static [&'static str], get: fn(&Config) -> usize, set: fn(&mut Config, usize)) -> Directive {
    row(name, Field::Choice { words, get, set })
}

pub const fn list(
    name: &'static str,
    get: fn(&Config) -> String,
    lines: fn(&Config) -> Vec<String>,
    set: fn(&mut Config, &[&str], Mode) -> Result<(), String>,
) -> Directive {
    row(name, Field::List { get, lines, set })
}

const fn row(name: &'static str, field: Field) -> Directive {
    Directive { name, alias: None, immutable: false, protected: false, file_only: false, field }
}

impl Directive {
    pub const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }
    pub const fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }
    pub const fn protected(mut self) -> Self {
        self.protected = true;
        self
    }
    pub const fn file_only(mut self) -> Self {
        self.file_only = true;
        self
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.name].into_iter().chain(self.alias)
    }

    pub fn is_called(&self, name: &str) -> bool {
        self.names().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Sets the value from the words behind the name. An error leaves `config` in an undefined mixture: set a copy.
    pub fn set(&self, config: &mut Config, args: &[&str], mode: Mode) -> Result<(), String> {
        if let Field::List { set, .. } = self.field {
            return match *args {
                // One word stands for all of them, as CONFIG SET gives them.
                [""] => set(config, &[], Mode::Replace),
                [one] => set(config, &one.split(' ').collect::<Vec<_>>(), mode),
                _ => set(config, args, mode),
            };
        }
        let &[value] = args else { return Err("wrong number of arguments".to_owned()) };
        match self.field {
            Field::YesNo { set, .. } => set(config, parse_yes_no(value)?),
            Field::Number { unit, min, max, set, .. } => set(config, parse_number(value, unit, min, max)?),
            Field::Text { at, .. } => value.clone_into(at(config)),
            Field::Checked { set, .. } => set(config, value)?,
            Field::Choice { words, set, .. } => set(config, parse_choice(value, words)?),
            Field::List { .. } => {}
        }
        Ok(())
    }

    /// The value as CONFIG GET shows it.
    pub fn get(&self, config: &Config) -> String {
        match self.field {
            Field::YesNo { get, .. } => yes_or_no(get(config)).to_owned(),
            Field::Number { unit, get, .. } => match (unit, get(config)) {
                (Unit::Octal, value) => format!("{value:o}"),
                (Unit::MemoryOrPercent, value) if value < 0 => format!("{}%", -value),
                (_, value) => value.to_string(),
            },
            Field::Text { get, .. } => get(config).to_owned(),
            Field::Checked { get, .. } => get(config),
            Field::Choice { words, get, .. } => words[get(config)].to_owned(),
            Field::List { get, .. } => get(config),
        }
    }

    /// The lines that say this value in a conf file.
    pub fn lines(&self, config: &Config) -> Vec<String> {
        let values = match self.field {
            Field::List { lines, .. } => lines(config),
            Field::Text { .. } | Field::Checked { .. } => vec![quoted(&self.get(config))],
            Field::Number { unit: Unit::Memory | Unit::MemoryOrPercent, get, .. } if get(config) >= 0 => vec![format_memory(get(config) as u64)],
            _ => vec![self.get(config)],
        };
        values.into_iter().map(|value| format!("{} {value}", self.name)).collect()
    }
}

pub fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    quote(text.as_bytes(), &mut out);
    out.into_iter().map(char::from).collect()
}

/// Words as a conf line says them: in quotes where they would not come back otherwise.
pub fn joined<T: AsRef<str>>(words: &[T]) -> String {
    let plain = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\'));
    let words = words.iter().map(AsRef::as_ref).map(|word| if plain(word) { word.to_owned() } else { quoted(word) });
    words.collect::<Vec<_>>().join(" ")
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

pub fn parse_yes_no(text: &str) -> Result<bool, String> {
    match text {
        _ if text.eq_ignore_ascii_case("yes") => Ok(true),
        _ if text.eq_ignore_ascii_case("no") => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".to_owned()),
    }
}

fn parse_choice(text: &str, words: &[&str]) -> Result<usize, String> {
    let found = words.iter().position(|word| word.eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("argument(s) must be one of the following: {}", words.join(", ")))
}

fn parse_number(text: &str, unit: Unit, min: i64, max: i64) -> Result<i64, String> {
    let value = match unit {
        Unit::Plain => parse_i64(text.as_bytes()).ok_or("argument couldn't be parsed into an integer")?,
        Unit::Octal => i64::from_str_radix(text, 8).map_err(|_| "argument couldn't be parsed as an octal number")?,
        Unit::Memory => parse_memory(text).ok_or("argument must be a memory value")?,
        Unit::MemoryOrPercent => parse_memory_or_percent(text)?,
    };
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(match unit {
        Unit::Octal => format!("argument must be between {min:o} and {max:o} inclusive"),
        Unit::MemoryOrPercent if value < 0 => format!("percentage argument must be less or equal to {}", -min),
        _ => format!("argument must be between {min} and {max} inclusive"),
    })
}

fn parse_memory_or_percent(text: &str) -> Result<i64, &'static str> {
    let percent = text.strip_suffix('%').and_then(|digits| parse_i64(digits.as_bytes())).filter(|&percent| percent >= 0);
    percent.map(|percent| -percent).or_else(|| parse_memory(text)).ok_or("argument must be a memory or percent value")
}

/// `memtoull`: digits and a unit. `k` is 1000, `kb` 1024; beyond 63 bits is refused, where Redis wraps.
pub fn parse_memory(text: &str) -> Option<i64> {
    let digits_end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1024,
        "m" => 1000 * 1000,
        "mb" => 1024 * 1024,
        "g" => 1000 * 1000 * 1000,
        "gb" => 1024 * 1024 * 1024,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(factor)
}

/// As CONFIG REWRITE writes sizes: in the largest unit that loses nothing.
pub fn format_memory(bytes: u64) -> String {
    let units = [(1u64 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
    match units.iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_units() {
        for (text, bytes) in
            [("0", 0), ("1k", 1000), ("1KB", 1024), ("2m", 2_000_000), ("2mb", 2 << 20), ("1g", 1_000_000_000), ("3Gb", 3 << 30), ("7b", 7)]
        {
            assert_eq!(parse_memory(text), Some(bytes), "{text}");
        }
        for text in ["", "kb", "1.5gb", "1tb", "-1", "1 kb", "9223372036854775807kb", "+1"] {
            assert_eq!(parse_memory(text), None, "{text}");
        }
        for (bytes, text) in [(0, "0"), (1000, "1000"), (1024, "1kb"), (1536, "1536"), (64 << 20, "64mb"), (5 << 30, "5gb")] {
            assert_eq!(format_memory(bytes), text);
        }
    }

    #[test]
    fn percentages_are_negative_numbers() {
        let parse = |text| parse_number(text, Unit::MemoryOrPercent, -100, i64::MAX);
        assert_eq!(parse("5%"), Ok(-5));
        assert_eq!(parse("1mb"), Ok(1 << 20));
        assert_eq!(parse("101%").unwrap_err(), "percentage argument must be less or equal to 100");
        assert_eq!(parse("-5%").unwrap_err(), "argument must be a memory or percent value");
    }
}
