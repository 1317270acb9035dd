//! One command from its arguments to its reply and effects.

use super::{NodeState, Slot};
use crate::resp::{Args, Reply};

/// Executes one request.
pub fn execute(node: &mut NodeState, slot: Slot, args: Args<'_>, hint: Option<(usize, u64)>, out: &mut Reply) {
    let _ = (node, slot, args, hint, out);
    todo!()
}
