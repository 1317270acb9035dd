//! Scripts as commands see them: the cache of EVAL's scripts, what a script may do, its calls of other commands. The interpreter is `script`'s.

mod cache;
mod commands;
mod run;
mod shebang;

use std::rc::Rc;

pub use cache::Scripts;
pub(super) use commands::ROWS;
pub(super) use shebang::ScriptFlags;

use super::{CommandError, NodeState};
use crate::REDIS_VERSION_CLAIMED;
use crate::script::Interpreter;

impl NodeState {
    /// The interpreter of EVAL's scripts, made when it is first needed.
    fn interpreter(&mut self) -> Result<Rc<Interpreter>, CommandError> {
        if let Some(interpreter) = &self.scripts.interpreter {
            return Ok(interpreter.clone());
        }
        let clock = self.env.clock.clone();
        let made = Interpreter::new(REDIS_VERSION_CLAIMED, Box::new(move || clock.monotonic_ns()), &self.scripts.random);
        let interpreter = Rc::new(made.map_err(|error| CommandError::from(format!("ERR {error}")))?);
        self.scripts.interpreter = Some(interpreter.clone());
        Ok(interpreter)
    }
}
