//! Errors that a client gets as a reply; the connection lives.

use std::borrow::Cow;

/// What a handler returns.
pub type CmdResult = Result<(), CommandError>;

/// An error reply; the text begins with its code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(pub Cow<'static, str>);

impl CommandError {
    pub const fn text(text: &'static str) -> Self {
        CommandError(Cow::Borrowed(text))
    }
    pub const SYNTAX: Self = Self::text("ERR syntax error");
    pub const WRONG_TYPE: Self = Self::text("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub const NOT_INTEGER: Self = Self::text("ERR value is not an integer or out of range");
    pub const NOT_FLOAT: Self = Self::text("ERR value is not a valid float");
    pub const NO_KEY: Self = Self::text("ERR no such key");
    pub const OUT_OF_RANGE: Self = Self::text("ERR index out of range");
    pub const OVERFLOW: Self = Self::text("ERR increment or decrement would overflow");
    pub const DB_OUT_OF_RANGE: Self = Self::text("ERR DB index is out of range");

    /// `ERR wrong number of arguments for 'name' command`; a subcommand's name is `parent|sub`.
    pub fn arity(name: &str) -> Self {
        CommandError(format!("ERR wrong number of arguments for '{name}' command").into())
    }
    /// `ERR unknown subcommand 'x'. Try PARENT HELP.`
    pub fn unknown_subcommand(given: &[u8], parent: &str) -> Self {
        let given = cited(given, 128);
        CommandError(format!("ERR unknown subcommand '{given}'. Try {} HELP.", parent.to_ascii_uppercase()).into())
    }
}

/// What a client has sent, as errors show it by `%.*s`: up to a zero byte, and not all of what is long. Bytes that are no UTF-8 are U+FFFD.
pub(super) fn cited(given: &[u8], max: usize) -> String {
    let shown = given.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(&shown[..shown.len().min(max)]).into_owned()
}

impl From<String> for CommandError {
    fn from(text: String) -> Self {
        CommandError(text.into())
    }
}

impl From<&'static str> for CommandError {
    fn from(text: &'static str) -> Self {
        CommandError::text(text)
    }
}
