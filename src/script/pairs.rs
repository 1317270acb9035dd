//! Going through a table in pieces: with what is inside a member in between, and without holding more than one member at a time.

use mlua::table::TablePairs;
use mlua::{Function, Table, Value};

/// The members of a table from one on, in the order of `next`.
pub(super) enum Pairs<'a> {
    FromStart(TablePairs<'a, Value, Value>),
    After { next: &'a Function, table: &'a Table, key: Value },
    Done,
}

impl<'a> Pairs<'a> {
    /// Those after `key`; all without one. `next` is Lua's own.
    pub fn after(next: &'a Function, table: &'a Table, key: Option<Value>) -> Self {
        match key {
            None => Pairs::FromStart(table.pairs()),
            Some(key) => Pairs::After { next, table, key },
        }
    }
}

impl Iterator for Pairs<'_> {
    type Item = mlua::Result<(Value, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Pairs::FromStart(pairs) => pairs.next(),
            Pairs::After { next, table, key } => match next.call::<(Value, Value)>((&**table, &*key)) {
                Ok((Value::Nil, _)) => {
                    *self = Pairs::Done;
                    None
                }
                Ok((name, member)) => {
                    *key = name.clone();
                    Some(Ok((name, member)))
                }
                Err(error) => {
                    *self = Pairs::Done;
                    Some(Err(error))
                }
            },
            Pairs::Done => None,
        }
    }
}
