//! Scripts and functions as commands see them: the cache of EVAL's scripts, the libraries of functions, what a script may do, its calls of other
//! commands. The interpreter is `script`'s.

mod cache;
mod commands;
mod function_commands;
mod functions;
mod run;
mod shebang;

use std::rc::Rc;

pub use cache::Scripts;
pub(super) use commands::ROWS;
pub(super) use function_commands::ROWS as FUNCTION_ROWS;
pub use functions::Functions;
pub use run::Bystanders;
pub(super) use shebang::ScriptFlags;

use super::{CommandError, NodeState};
use crate::REDIS_VERSION_CLAIMED;
use crate::script::{Interpreter, Purpose, Setup};

impl NodeState {
    /// The interpreter of EVAL's scripts, made when it is first needed.
    fn interpreter(&mut self) -> Result<Rc<Interpreter>, CommandError> {
        if let Some(interpreter) = &self.scripts.interpreter {
            return Ok(interpreter.clone());
        }
        let interpreter = self.new_interpreter(Purpose::Scripts)?;
        self.scripts.interpreter = Some(interpreter.clone());
        Ok(interpreter)
    }

    /// The interpreter of functions.
    fn function_interpreter(&mut self) -> Result<Rc<Interpreter>, CommandError> {
        if let Some(interpreter) = &self.functions.interpreter {
            return Ok(interpreter.clone());
        }
        let interpreter = self.new_interpreter(Purpose::Functions)?;
        self.functions.interpreter = Some(interpreter.clone());
        Ok(interpreter)
    }

    fn new_interpreter(&self, purpose: Purpose) -> Result<Rc<Interpreter>, CommandError> {
        let clock = self.env.clock.clone();
        let setup = Setup {
            purpose,
            version: REDIS_VERSION_CLAIMED,
            clock_ns: Box::new(move || clock.monotonic_ns()),
            random: &self.scripts.random,
            flags: &ScriptFlags::NAMES,
        };
        Interpreter::new(setup).map(Rc::new).map_err(|error| CommandError::from(format!("ERR {error}")))
    }
}
