//! Running a script: what it needs before it may, the commands that it calls, its reply or its error.

use slog::{debug, info, warn};

use super::super::execute::{admit_write, call};
use super::super::{ClientFlags, CmdResult, CommandError, Ctx, Flags, NodeState, Request, Room, Slot, Spec};
use super::ScriptFlags;
use super::Scripts;
use crate::replication::Role;
use crate::resp::{Args, Reply};
use crate::script::{Answer, Host, Interpreter, LogLevel, Script, error_reply};

/// Others than the script's client, whom nobody serves while the script has the thread.
pub trait Bystanders {
    /// Reads what they have sent, executes what is allowed, replies.
    fn serve(&self, node: &mut NodeState);
}

/// The script that runs now.
#[derive(Debug)]
pub struct Running {
    pub is_function: bool,
    pub started_ns: u64,
    /// Set when it runs for so long that others are served.
    pub slow: Option<Slow>,
    pub killed: bool,
    /// A script that has written goes on, whatever memory it takes: half of its effects would be worse.
    pub has_written: bool,
    pub from_master: bool,
}

/// What others may ask of a script that runs for too long.
#[derive(Debug)]
pub struct Slow {
    pub name: String,
    /// The request that runs it.
    pub command: Vec<Vec<u8>>,
}

/// What a killed script's client reads.
const KILLED: &str = "ERR Script killed by user with SCRIPT KILL...";
/// How long the code of a library may take to register its functions.
const LOAD_NS_MAX: u64 = 500_000_000;

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
    let may_be_stale = flags.is_some_and(|flags| flags.contains(ScriptFlags::ALLOW_STALE));
    if is_stale(node) && !may_be_stale {
        return Err("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.".into());
    }
    let Some(flags) = flags else { return Ok(()) };
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
        ctx.node.scripts.running = Some(Running {
            is_function: ctx.spec.name.starts_with("fcall"),
            started_ns: ctx.node.env.clock.monotonic_ns(),
            slow: None,
            killed: false,
            has_written: false,
            from_master: ctx.client().is(ClientFlags::MASTER),
        });
        let mut host = ScriptHost {
            slot: ctx.slot,
            name: self.name,
            args: ctx.args,
            read_only: self.read_only || self.flags.is_some_and(|flags| flags.contains(ScriptFlags::NO_WRITES)),
            flags: self.flags.unwrap_or_default(),
            out_of_memory,
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
    name: &'a str,
    args: Args<'a>,
    read_only: bool,
    flags: ScriptFlags,
    out_of_memory: bool,
    replicates: bool,
}

/// What the code of a library reaches while it is loaded: the log.
pub(super) struct LibraryHost<'a> {
    node: &'a mut NodeState,
    deadline_ns: u64,
}

impl<'a> LibraryHost<'a> {
    pub fn new(node: &'a mut NodeState) -> Self {
        LibraryHost { deadline_ns: node.env.clock.monotonic_ns() + LOAD_NS_MAX, node }
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
    fn poll(&mut self) -> Result<(), &'static str> {
        match self.node.env.clock.monotonic_ns() > self.deadline_ns {
            true => Err("ERR FUNCTION LOAD timeout"),
            false => Ok(()),
        }
    }
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
        if spec.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE) && self.read_only {
            return Err("ERR Write commands are not allowed from read-only scripts.".into());
        }
        if spec.flags.contains(Flags::WRITE) && !from_master {
            admit_write(node)?;
        }
        let is_bound = self.out_of_memory && !from_master && !self.has_written() && !self.flags.contains(ScriptFlags::ALLOW_OOM);
        if is_bound && spec.flags.contains(Flags::DENYOOM) {
            return Err("OOM command not allowed when used memory > 'maxmemory'.".into());
        }
        Ok(())
    }

    fn has_written(&self) -> bool {
        self.node.scripts.running.as_ref().is_some_and(|running| running.has_written)
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
        if let Some(running) = &mut self.node.scripts.running {
            running.has_written |= spec.flags.contains(Flags::WRITE);
        }
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

    fn poll(&mut self) -> Result<(), &'static str> {
        let now_ns = self.node.env.clock.monotonic_ns();
        let limit_ms = self.node.config.busy_reply_threshold;
        let Some(running) = &mut self.node.scripts.running else { return Ok(()) };
        if running.slow.is_none() {
            let elapsed_ms = now_ns.saturating_sub(running.started_ns) / 1_000_000;
            if limit_ms == 0 || elapsed_ms < limit_ms {
                return Ok(());
            }
            running.slow = Some(Slow { name: self.name.to_owned(), command: self.args.iter().map(<[u8]>::to_vec).collect() });
            warn!(
                self.node.log,
                "Slow script detected: still in execution after {elapsed_ms} milliseconds. You can try killing the script using the {} command. Script name is: {}.",
                running.kill_command(),
                self.name
            );
        }
        if let Some(bystanders) = self.node.bystanders.clone() {
            bystanders.serve(self.node);
        }
        let killed = self.node.scripts.running.as_ref().is_some_and(|running| running.killed);
        // Who shuts the node down does not wait for a script, and has said that nothing is to be saved.
        let ends = self.node.requests.iter().any(|request| matches!(request, Request::Shutdown(_)));
        if ends {
            // As if the process had ended under it.
            self.node.clients.at_mut(self.slot).flags |= ClientFlags::CLOSE_ASAP;
        }
        if killed || ends { Err(KILLED) } else { Ok(()) }
    }
}

impl Running {
    fn kill_command(&self) -> &'static str {
        if self.is_function { "FUNCTION KILL" } else { "SCRIPT KILL" }
    }
}

impl Scripts {
    /// The error for what is not allowed while a script runs for too long.
    #[inline]
    pub(in super::super) fn refuse_if_busy(&self) -> CmdResult {
        match &self.running {
            Some(running) if running.slow.is_some() => Err(busy(running)),
            _ => Ok(()),
        }
    }

    /// Nothing can be said of functions while a script of EVAL runs.
    pub(super) fn refuse_if_busy_with_scripts(&self) -> CmdResult {
        match &self.running {
            Some(running) if !running.is_function => Err(busy(running)),
            _ => Ok(()),
        }
    }

    /// SCRIPT KILL and FUNCTION KILL.
    pub(super) fn kill(&mut self, functions: bool) -> CmdResult {
        let Some(running) = &mut self.running else { return Err("NOTBUSY No scripts in execution right now.".into()) };
        if running.from_master {
            let text = "UNKILLABLE The busy script was sent by a master instance in the context of replication and cannot be killed.";
            return Err(text.into());
        }
        if running.has_written {
            return Err("UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill \
                        the server in a hard way using the SHUTDOWN NOSAVE command."
                .into());
        }
        if running.is_function != functions {
            return Err(busy(running));
        }
        running.killed = true;
        Ok(())
    }
}

fn busy(running: &Running) -> CommandError {
    format!("BUSY Redis is busy running a script. You can only call {} or SHUTDOWN NOSAVE.", running.kill_command()).into()
}
