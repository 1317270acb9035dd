//! Running a script: what it needs before it may, the commands that it calls, its reply or its error.

use slog::{debug, info, warn};

use super::super::execute::{admit_write, call};
use super::super::{ClientFlags, CmdResult, CommandError, Ctx, Flags, NodeState, Room, Slot, Spec};
use super::ScriptFlags;
use crate::replication::Role;
use crate::resp::{Args, Reply};
use crate::script::{Answer, Host, Interpreter, LogLevel, Script, error_reply};

/// The script that runs now.
#[derive(Debug)]
pub struct Running;

/// One run of one script.
pub(super) struct Run<'a> {
    pub interpreter: &'a Interpreter,
    pub script: &'a Script,
    /// What errors call it: its SHA-1, or the function's name.
    pub name: &'a str,
    pub flags: Option<ScriptFlags>,
    pub read_only: bool,
    /// The position of the number of keys among the arguments.
    pub numkeys_at: usize,
}

/// The number of keys, which the arguments must suffice for.
pub(super) fn numkeys(ctx: &Ctx<'_>, at: usize) -> Result<usize, CommandError> {
    let given = ctx.int(at)?;
    if given > (ctx.args.len() - at - 1) as i64 {
        return Err("ERR Number of keys can't be greater than number of args".into());
    }
    usize::try_from(given).map_err(|_| "ERR Number of keys can't be negative".into())
}

/// Whether the script may run now, by what it says of itself. One that says nothing is judged by each of its calls.
fn admit(node: &NodeState, flags: Option<ScriptFlags>, read_only: bool, out_of_memory: bool) -> CmdResult {
    let Some(flags) = flags else { return Ok(()) };
    if is_stale(node) && !flags.contains(ScriptFlags::ALLOW_STALE) {
        return Err("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.".into());
    }
    if !flags.contains(ScriptFlags::NO_WRITES) {
        if read_only {
            return Err("ERR Can not execute a script with write flag using *_ro command.".into());
        }
        if !matches!(node.role, Role::Master) && node.config.replica_read_only {
            return Err("READONLY Can not run script with write flag on readonly replica".into());
        }
        admit_write(node)?;
        if out_of_memory && !flags.contains(ScriptFlags::ALLOW_OOM) {
            return Err("OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'".into());
        }
    }
    Ok(())
}

/// Whether this is a slave whose link is down and that must not answer with what it has.
fn is_stale(node: &NodeState) -> bool {
    matches!(&node.role, Role::Replica(link) if !link.is_up()) && !node.config.replica_serve_stale_data
}

impl Run<'_> {
    /// Runs the script and replies.
    pub fn execute(self, ctx: &mut Ctx<'_>) -> CmdResult {
        let numkeys = numkeys(ctx, self.numkeys_at)?;
        let out_of_memory = ctx.node.config.maxmemory > 0 && ctx.node.make_room() == Room::Impossible;
        admit(ctx.node, self.flags, self.read_only, out_of_memory)?;
        let first = self.numkeys_at + 1;
        let keys = ctx.args.iter().skip(first).take(numkeys);
        let argv = ctx.args.iter().skip(first + numkeys);
        let client = ctx.node.clients.at(ctx.slot);
        let (proto, last_command, last_subcommand) = (client.proto, client.last_command, client.last_subcommand);
        ctx.node.scripts.running = Some(Running);
        let mut host = ScriptHost {
            slot: ctx.slot,
            read_only: self.read_only || self.flags.is_some_and(|flags| flags.contains(ScriptFlags::NO_WRITES)),
            flags: self.flags.unwrap_or_default(),
            out_of_memory,
            has_written: false,
            replicates: true,
            node: ctx.node,
        };
        let ran = self.interpreter.run(self.script, keys, argv, &mut host, ctx.out);
        ctx.node.scripts.running = None;
        let client = ctx.node.clients.at_mut(ctx.slot);
        client.db = ctx.db;
        client.proto = proto;
        client.last_command = last_command;
        client.last_subcommand = last_subcommand;
        match ran {
            Ok(errors) => errors.iter().for_each(|error| ctx.node.stats.count_error(error)),
            Err(failure) => {
                let message = failure.message(self.name);
                if !failure.counted {
                    ctx.node.stats.count_error(&String::from_utf8_lossy(&message));
                }
                error_reply(&message, ctx.out);
                let row = ctx.node.commands.by_name[ctx.spec.name];
                ctx.node.commands.stats_mut(row, ctx.spec).failed += 1;
            }
        }
        Ok(())
    }
}

/// What a running script reaches of the node.
struct ScriptHost<'a> {
    node: &'a mut NodeState,
    slot: Slot,
    read_only: bool,
    flags: ScriptFlags,
    out_of_memory: bool,
    /// A script that has written goes on, whatever memory it takes: half of its effects would be worse.
    has_written: bool,
    replicates: bool,
}

/// What the code of a library reaches while it is loaded: the log.
pub(super) struct LibraryHost<'a> {
    node: &'a mut NodeState,
}

impl<'a> LibraryHost<'a> {
    pub fn new(node: &'a mut NodeState) -> Self {
        LibraryHost { node }
    }
}

impl Host for LibraryHost<'_> {
    fn call(&mut self, _: Args<'_>, out: &mut Reply) -> Answer {
        out.error("ERR redis.call/pcall can only be called inside a script invocation");
        Answer::Refused
    }
    fn acl_check(&mut self, _: Args<'_>) -> Option<bool> {
        None
    }
    fn log(&mut self, level: LogLevel, text: &[u8]) {
        log(self.node, level, text);
    }
    fn set_replicate(&mut self, _: bool) {}
}

fn log(node: &NodeState, level: LogLevel, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    match level {
        LogLevel::Debug => debug!(node.log, "{text}"),
        LogLevel::Verbose | LogLevel::Notice => info!(node.log, "{text}"),
        LogLevel::Warning => warn!(node.log, "{text}"),
    }
}

/// The row of a command, or of its subcommand.
fn find(node: &NodeState, args: Args<'_>) -> Option<(usize, &'static Spec)> {
    let row = node.commands.find(args.at(0))?;
    let parent = node.commands.rows[row];
    match args.get(1) {
        Some(name) if !parent.subcommands.is_empty() => {
            Some((row, parent.subcommands.iter().find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))?))
        }
        _ => Some((row, parent)),
    }
}

impl ScriptHost<'_> {
    /// Whether the script may call the command now.
    fn admit(&self, spec: &Spec, args: Args<'_>) -> CmdResult {
        let node = &*self.node;
        if !spec.arity_fits(args.len()) {
            return Err("ERR Wrong number of args calling Redis command from script".into());
        }
        if spec.flags.contains(Flags::NOSCRIPT) {
            return Err("ERR This Redis command is not allowed from script".into());
        }
        if is_stale(node) && !spec.flags.contains(Flags::STALE) {
            return Err("ERR Can not execute the command on a stale replica".into());
        }
        let from_master = node.clients.at(self.slot).is(ClientFlags::MASTER);
        if spec.flags.intersects(Flags::WRITE) {
            if self.read_only {
                return Err("ERR Write commands are not allowed from read-only scripts.".into());
            }
            if !from_master {
                admit_write(node)?;
            }
        }
        let is_bound = self.out_of_memory && !from_master && !self.has_written && !self.flags.contains(ScriptFlags::ALLOW_OOM);
        if is_bound && spec.flags.contains(Flags::DENYOOM) {
            return Err("OOM command not allowed when used memory > 'maxmemory'.".into());
        }
        Ok(())
    }

    fn effects_len(&self) -> (usize, usize) {
        (self.node.effects.bytes.len(), self.node.effects.ends.len())
    }
}

impl Host for ScriptHost<'_> {
    fn call(&mut self, args: Args<'_>, out: &mut Reply) -> Answer {
        let Some((row, spec)) = find(self.node, args) else {
            out.error("ERR Unknown Redis command called from script");
            return Answer::Refused;
        };
        if let Err(error) = self.admit(spec, args) {
            self.node.commands.stats_mut(row, spec).rejected += 1;
            out.error(&error.0);
            return Answer::Refused;
        }
        self.node.clients.at_mut(self.slot).proto = out.proto;
        self.has_written |= spec.flags.contains(Flags::WRITE);
        let before = self.effects_len();
        let result = call(self.node, self.slot, row, spec, args, None, out);
        if !self.replicates {
            self.node.effects.bytes.truncate(before.0);
            self.node.effects.ends.truncate(before.1);
        }
        match result {
            Ok(()) => Answer::Done,
            Err(error) => {
                out.buf.clear();
                out.error(&error.0);
                Answer::Failed
            }
        }
    }

    fn acl_check(&mut self, args: Args<'_>) -> Option<bool> {
        // There is one user, who may do everything.
        find(self.node, args).map(|_| true)
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        log(self.node, level, text);
    }

    fn set_replicate(&mut self, on: bool) {
        self.replicates = on;
    }
}
