//! What the HELP subcommands print, and what a container command answers by itself.

use super::{CmdResult, CommandError, Ctx};
use crate::resp::Reply;

/// `name` in capitals, as Redis heads its HELP; then the lines, then HELP itself.
pub(super) fn help(out: &mut Reply, name: &str, lines: &[&str]) {
    out.array(lines.len() + 3);
    out.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        out.simple(line);
    }
    out.simple("HELP");
    out.simple("    Print this help.");
}

/// The handler of a command that is nothing but its subcommands: never reached with a good subcommand, nor without one.
pub(super) fn container(ctx: &mut Ctx<'_>) -> CmdResult {
    Err(CommandError::unknown_subcommand(ctx.args.get(1).unwrap_or_default(), ctx.spec.name))
}

/// What handlers that look at their own subcommand say of one they do not know.
pub(super) fn unknown_or_arity(subcommand: &[u8], parent: &str) -> CommandError {
    let given = String::from_utf8_lossy(&subcommand[..subcommand.len().min(128)]).into_owned();
    CommandError(format!("ERR unknown subcommand or wrong number of arguments for '{given}'. Try {parent} HELP.").into())
}
