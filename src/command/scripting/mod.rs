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

use super::{CommandError, Flags, NodeState, Spec};
use crate::REDIS_VERSION_CLAIMED;
use crate::resp::Args;
use crate::script::{Interpreter, Purpose, Setup};

impl NodeState {
    /// The flags of a command that runs a script: where the script says something of itself, that decides whether it counts as a write, takes memory and may
    /// run on stale data.
    pub(super) fn script_flags(&self, spec: &Spec, args: Args<'_>) -> Flags {
        let body = args.at(1);
        let said = match spec.name {
            "eval" | "eval_ro" => shebang::read(body).ok().and_then(|(said, _)| said),
            "evalsha" | "evalsha_ro" => cache::parse_sha(body).and_then(|sha| self.scripts.flags_of(&sha)),
            _ => self.functions.find(body).map(|function| function.flags),
        };
        let Some(said) = said else { return spec.flags };
        let no_writes = said.contains(ScriptFlags::NO_WRITES);
        let mut flags = spec.flags - (Flags::STALE | Flags::DENYOOM | Flags::WRITE | Flags::MAY_REPLICATE);
        flags.set(Flags::WRITE, !no_writes);
        flags.set(Flags::DENYOOM, !no_writes && !said.contains(ScriptFlags::ALLOW_OOM));
        flags.set(Flags::STALE, said.contains(ScriptFlags::ALLOW_STALE));
        flags
    }

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
