//! `math.random` of scripts: the generator of `drand48`. It begins alike in each node and goes on from script to script, so that it gives what it gives
//! in Redis.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::loading::wrong_count;
use super::raise::{Given, argument_error};

/// The 48 bits of the generator.
pub struct Random(Cell<u64>);

impl Default for Random {
    fn default() -> Self {
        Random(Cell::new(0x1234_ABCD_330E))
    }
}

impl Random {
    fn seed(&self, seed: u32) {
        self.0.set(u64::from(seed) << 16 | 0x330E);
    }

    /// 31 bits.
    fn next(&self) -> u32 {
        let next = self.0.get().wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & ((1 << 48) - 1);
        self.0.set(next);
        (next >> 17) as u32
    }
}

fn random(lua: &Lua, random: &Random, values: MultiValue) -> mlua::Result<f64> {
    const MAX: u32 = i32::MAX as u32;
    let share = f64::from(random.next() % MAX) / f64::from(MAX);
    let given = Given::new(lua, values);
    let whole = |index: usize| given.number(index).map(|n| n as i64 as i32);
    match given.len() {
        0 => Ok(share),
        1 => {
            let upper = whole(1)?;
            if upper < 1 {
                return Err(argument_error(lua, 1, "interval is empty"));
            }
            Ok((share * f64::from(upper)).floor() + 1.0)
        }
        2 => {
            let (lower, upper) = (whole(1)?, whole(2)?);
            if lower > upper {
                return Err(argument_error(lua, 2, "interval is empty"));
            }
            Ok((share * f64::from(upper.wrapping_sub(lower).wrapping_add(1))).floor() + f64::from(lower))
        }
        _ => Err(wrong_count(lua)),
    }
}

pub(super) fn library(lua: &Lua, state: &Rc<Random>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let shared = state.clone();
    table.set("random", lua.create_function(move |lua, values| random(lua, &shared, values).map(Value::Number))?)?;
    let shared = state.clone();
    table.set(
        "randomseed",
        lua.create_function(move |lua, values| {
            shared.seed(Given::new(lua, values).number(1)? as i64 as u32);
            Ok(())
        })?,
    )?;
    Ok(table)
}
