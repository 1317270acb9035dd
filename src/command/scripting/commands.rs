//! EVAL and its kin, SCRIPT.

use super::super::help::{container, help};
use super::super::{Acl, Begin, CmdResult, CommandError, Ctx, Find, Flags, KeySpec, Spec};
use super::cache::{Cached, Sha, parse_sha, sha_of};
use super::run::{Run, numkeys};
use super::shebang;
use crate::script::hex;

const CHUNK: &str = "user_script";
const NO_SCRIPT: CommandError = CommandError::text("NOSCRIPT No matching script. Please use EVAL.");

/// Compiles a script that is not cached yet.
fn compile(ctx: &mut Ctx<'_>, sha: Sha, body: &[u8], by_eval: bool) -> Result<Cached, CommandError> {
    let (flags, code) = shebang::read(body)?;
    let interpreter = ctx.node.interpreter()?;
    let script = interpreter.compile(CHUNK, code).map_err(|message| {
        let message = String::from_utf8_lossy(&message).into_owned();
        CommandError::from(format!("ERR Error compiling script (new function): {message}"))
    })?;
    Ok(ctx.node.scripts.insert(sha, script, flags, body.len(), by_eval))
}

fn run(ctx: &mut Ctx<'_>, sha: Sha, cached: &Cached, read_only: bool) -> CmdResult {
    let interpreter = ctx.node.interpreter()?;
    let name = hex(&sha);
    Run { interpreter: &interpreter, script: &cached.script, name: &name, flags: cached.flags, read_only, numkeys_at: 2 }.execute(ctx)
}

fn eval_with(ctx: &mut Ctx<'_>, read_only: bool) -> CmdResult {
    ctx.show_to_monitors();
    numkeys(ctx, 2)?;
    let body = ctx.args.at(1);
    let sha = sha_of(body);
    let cached = match ctx.node.scripts.find(&sha) {
        Some(cached) => cached,
        None => compile(ctx, sha, body, true)?,
    };
    run(ctx, sha, &cached, read_only)
}

fn evalsha_with(ctx: &mut Ctx<'_>, read_only: bool) -> CmdResult {
    ctx.show_to_monitors();
    let sha = parse_sha(ctx.args.at(1));
    if ctx.args.at(1).len() != 40 {
        return Err(NO_SCRIPT);
    }
    numkeys(ctx, 2)?;
    let sha = sha.ok_or(NO_SCRIPT)?;
    let cached = ctx.node.scripts.find(&sha).ok_or(NO_SCRIPT)?;
    run(ctx, sha, &cached, read_only)
}

fn eval(ctx: &mut Ctx<'_>) -> CmdResult {
    eval_with(ctx, false)
}

fn eval_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    eval_with(ctx, true)
}

fn evalsha(ctx: &mut Ctx<'_>) -> CmdResult {
    evalsha_with(ctx, false)
}

fn evalsha_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    evalsha_with(ctx, true)
}

fn script_load(ctx: &mut Ctx<'_>) -> CmdResult {
    let body = ctx.args.at(2);
    let sha = sha_of(body);
    if !ctx.node.scripts.contains(&sha) {
        compile(ctx, sha, body, false)?;
    }
    ctx.out.bulk(hex(&sha).as_bytes());
    Ok(())
}

fn script_exists(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.array(ctx.args.len() - 2);
    for given in ctx.args.iter().skip(2) {
        let known = parse_sha(given).is_some_and(|sha| ctx.node.scripts.contains(&sha));
        ctx.out.int(i64::from(known));
    }
    Ok(())
}

fn script_flush(ctx: &mut Ctx<'_>) -> CmdResult {
    // The interpreter is freed at once either way: it is small, and belongs to this thread.
    match ctx.args.get(2) {
        None => {}
        Some(mode) if ctx.args.len() == 3 && (mode.eq_ignore_ascii_case(b"SYNC") || mode.eq_ignore_ascii_case(b"ASYNC")) => {}
        Some(_) => return Err("ERR SCRIPT FLUSH only support SYNC|ASYNC option".into()),
    }
    ctx.node.scripts.flush();
    ctx.out.ok();
    Ok(())
}

fn script_kill(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.node.scripts.kill(false)?;
    ctx.out.ok();
    Ok(())
}

fn script_debug(ctx: &mut Ctx<'_>) -> CmdResult {
    let mode = ctx.args.at(2);
    if mode.eq_ignore_ascii_case(b"NO") {
        ctx.out.ok();
        return Ok(());
    }
    match mode.eq_ignore_ascii_case(b"YES") || mode.eq_ignore_ascii_case(b"SYNC") {
        true => Err("ERR The Lua debugger is not supported".into()),
        false => Err("ERR Use SCRIPT DEBUG YES/SYNC/NO".into()),
    }
}

fn script_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(ctx.out, "SCRIPT", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "DEBUG (YES|SYNC|NO)",
    "    Set the debug mode for subsequent scripts executed.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Return information about the existence of the scripts in the script cache.",
    "FLUSH [ASYNC|SYNC]",
    "    Flush the Lua scripts cache. Very dangerous on replicas.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the scripts cache.",
    "    * SYNC: Synchronously flush the scripts cache.",
    "KILL",
    "    Kill the currently executing Lua script.",
    "LOAD <script>",
    "    Load a script into the scripts cache without executing it.",
];

const BEGIN: Begin = Begin::Index(2);
const COUNTED: Find = Find::KeyNum { keynum_index: 0, first_key: 1, step: 1 };
const RW: &[&str] = &["RW", "access", "update"];
const RO: &[&str] = &["RO", "access"];
pub(super) const ANY: &[KeySpec] =
    &[KeySpec { flags: RW, begin: BEGIN, find: COUNTED, notes: "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE" }];
pub(super) const ANY_RO: &[KeySpec] =
    &[KeySpec { flags: RO, begin: BEGIN, find: COUNTED, notes: "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS" }];
const BY_SHA: &[KeySpec] = &[KeySpec { flags: RW, begin: BEGIN, find: COUNTED, notes: "" }];
const BY_SHA_RO: &[KeySpec] = &[KeySpec { flags: RO, begin: BEGIN, find: COUNTED, notes: "" }];

const RUNS_ANY: Flags = Flags::NOSCRIPT.union(Flags::STALE).union(Flags::SKIP_MONITOR).union(Flags::NO_MANDATORY_KEYS).union(Flags::MOVABLEKEYS);
pub(super) const RUNS: Flags = RUNS_ANY.union(Flags::MAY_REPLICATE);
pub(super) const RUNS_RO: Flags = RUNS_ANY.union(Flags::READONLY);
pub(super) const GROUP: &str = "scripting";
const DEPENDS: &str = "Depends on the script that is executed.";

const SUBCOMMANDS: &[Spec] = &[
    Spec::new("exists", -3, Flags::NOSCRIPT, script_exists)
        .acl(Acl::SCRIPTING)
        .docs(
            GROUP,
            "2.6.0",
            "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
            "Determines whether server-side Lua scripts exist in the script cache.",
        )
        .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"]),
    Spec::new("flush", -2, Flags::NOSCRIPT, script_flush)
        .acl(Acl::SCRIPTING)
        .docs(GROUP, "2.6.0", "O(N) with N being the number of scripts in cache", "Removes all server-side Lua scripts from the script cache.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    Spec::new("load", 3, Flags::NOSCRIPT.union(Flags::STALE), script_load)
        .acl(Acl::SCRIPTING)
        .docs(GROUP, "2.6.0", "O(N) with N being the length in bytes of the script body.", "Loads a server-side Lua script to the script cache.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), script_help).acl(Acl::SCRIPTING).docs(
        GROUP,
        "5.0.0",
        "O(1)",
        "Returns helpful text about the different subcommands.",
    ),
    Spec::new("kill", 2, Flags::NOSCRIPT.union(Flags::ALLOW_BUSY), script_kill)
        .acl(Acl::SCRIPTING)
        .docs(GROUP, "2.6.0", "O(1)", "Terminates a server-side Lua script during execution.")
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
    Spec::new("debug", 3, Flags::NOSCRIPT, script_debug).acl(Acl::SCRIPTING).docs(
        GROUP,
        "3.2.0",
        "O(1)",
        "Sets the debug mode of server-side Lua scripts.",
    ),
];

pub(in super::super) const ROWS: &[Spec] = &[
    Spec::new("eval", -3, RUNS, eval).acl(Acl::SCRIPTING).key_specs(ANY).docs(GROUP, "2.6.0", DEPENDS, "Executes a server-side Lua script."),
    Spec::new("eval_ro", -3, RUNS_RO, eval_ro).acl(Acl::SCRIPTING).key_specs(ANY_RO).docs(
        GROUP,
        "7.0.0",
        DEPENDS,
        "Executes a read-only server-side Lua script.",
    ),
    Spec::new("evalsha", -3, RUNS, evalsha).acl(Acl::SCRIPTING).key_specs(BY_SHA).docs(
        GROUP,
        "2.6.0",
        DEPENDS,
        "Executes a server-side Lua script by SHA1 digest.",
    ),
    Spec::new("evalsha_ro", -3, RUNS_RO, evalsha_ro).acl(Acl::SCRIPTING).key_specs(BY_SHA_RO).docs(
        GROUP,
        "7.0.0",
        DEPENDS,
        "Executes a read-only server-side Lua script by SHA1 digest.",
    ),
    Spec::new("script", -2, Flags::empty(), container).subcommands(SUBCOMMANDS).docs(
        GROUP,
        "2.6.0",
        "Depends on subcommand.",
        "A container for Lua scripts management commands.",
    ),
];
