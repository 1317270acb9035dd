//! FUNCTION, FCALL, FCALL_RO.

use super::super::help::{container, help, unknown_or_arity};
use super::super::{Acl, CmdResult, CommandError, Ctx, Flags, NodeState, Spec};
use super::Functions;
use super::commands::{ANY, ANY_RO, GROUP, RUNS, RUNS_RO};
use super::run::Run;
use crate::rdb::{RestoreError, functions_of, functions_payload};
use crate::resp::Reply;
use crate::types::glob;

/// The libraries are others now: slaves that know functions are told so as this server was.
fn changed(ctx: &mut Ctx<'_>) {
    ctx.node.dirty += 1;
    let words: Vec<&[u8]> = ctx.args.iter().collect();
    ctx.propagate_apart(&words);
}

fn fcall_with(ctx: &mut Ctx<'_>, read_only: bool) -> CmdResult {
    ctx.show_to_monitors();
    let name = ctx.args.at(1);
    let function = ctx.node.functions.find(name).ok_or(CommandError::text("ERR Function not found"))?;
    let (script, flags) = (function.script.clone(), function.flags);
    let shown = String::from_utf8_lossy(&function.name).into_owned();
    ctx.int(2).map_err(|_| CommandError::text("ERR Bad number of keys provided"))?;
    let interpreter = ctx.node.function_interpreter()?;
    Run { interpreter: &interpreter, script: &script, name: &shown, flags: Some(flags), read_only, numkeys_at: 2 }.execute(ctx)
}

fn fcall(ctx: &mut Ctx<'_>) -> CmdResult {
    fcall_with(ctx, false)
}

fn fcall_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    fcall_with(ctx, true)
}

fn function_load(ctx: &mut Ctx<'_>) -> CmdResult {
    let last = ctx.args.len() - 1;
    let mut replace = false;
    for option in ctx.args.iter().take(last).skip(2) {
        if !option.eq_ignore_ascii_case(b"REPLACE") {
            return Err(format!("ERR Unknown option given: {}", String::from_utf8_lossy(option)).into());
        }
        replace = true;
    }
    // What a master has loaded is loaded: a snapshot may have brought the library already.
    replace |= ctx.node.applying_stream;
    let name = ctx.node.load_library(ctx.args.at(last), replace)?;
    changed(ctx);
    ctx.out.bulk(&name);
    Ok(())
}

fn function_delete(ctx: &mut Ctx<'_>) -> CmdResult {
    // A master whose snapshots are for 6.2 has not told us of its libraries.
    if !ctx.node.functions.delete(ctx.args.at(2)) && !ctx.node.applying_stream {
        return Err("ERR Library not found".into());
    }
    changed(ctx);
    ctx.out.ok();
    Ok(())
}

fn function_flush(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.args.len() > 3 {
        return Err(unknown_or_arity(ctx.args.at(1), "FUNCTION"));
    }
    // The interpreter is freed at once either way: it belongs to this thread.
    if let Some(mode) = ctx.args.get(2)
        && !mode.eq_ignore_ascii_case(b"SYNC")
        && !mode.eq_ignore_ascii_case(b"ASYNC")
    {
        return Err("ERR FUNCTION FLUSH only supports SYNC|ASYNC option".into());
    }
    ctx.node.functions.flush();
    changed(ctx);
    ctx.out.ok();
    Ok(())
}

fn reply_functions(functions: &Functions, name: &[u8], with_code: bool, out: &mut Reply) {
    let library = &functions.libraries[name];
    out.map(3 + usize::from(with_code));
    out.bulk(b"library_name");
    out.bulk(name);
    out.bulk(b"engine");
    out.bulk(b"LUA");
    out.bulk(b"functions");
    out.array(library.functions.len());
    for function in &library.functions {
        out.map(3);
        out.bulk(b"name");
        out.bulk(&function.name);
        out.bulk(b"description");
        match &function.description {
            Some(text) => out.bulk(text),
            None => out.null(),
        }
        out.bulk(b"flags");
        let flags: Vec<&str> = function.flags.names().collect();
        out.set(flags.len());
        flags.iter().for_each(|flag| out.simple(flag));
    }
    if with_code {
        out.bulk(b"library_code");
        out.bulk(&library.code);
    }
}

fn function_list(ctx: &mut Ctx<'_>) -> CmdResult {
    let (mut pattern, mut with_code) = (None, false);
    let mut options = ctx.args.iter().skip(2);
    while let Some(option) = options.next() {
        if !with_code && option.eq_ignore_ascii_case(b"WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && option.eq_ignore_ascii_case(b"LIBRARYNAME") {
            let given = options.next().ok_or(CommandError::text("ERR library name argument was not given"))?;
            pattern = Some(given);
        } else {
            return Err(format!("ERR Unknown argument {}", String::from_utf8_lossy(option)).into());
        }
    }
    let functions = &ctx.node.functions;
    let names: Vec<&Vec<u8>> = functions.libraries.keys().filter(|name| pattern.is_none_or(|pattern| glob::matches(pattern, name, true))).collect();
    ctx.out.array(names.len());
    for name in names {
        reply_functions(functions, name, with_code, ctx.out);
    }
    Ok(())
}

fn function_stats(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.node.scripts.refuse_if_busy_with_scripts()?;
    let (functions, now_ns) = (&ctx.node.functions, ctx.node.env.clock.monotonic_ns());
    ctx.out.map(2);
    ctx.out.bulk(b"running_script");
    let running = ctx.node.scripts.running.as_ref().filter(|running| running.is_function);
    match running.and_then(|running| Some((running, running.slow.as_ref()?))) {
        None => ctx.out.null(),
        Some((running, slow)) => {
            ctx.out.map(3);
            ctx.out.bulk(b"name");
            ctx.out.bulk(slow.name.as_bytes());
            ctx.out.bulk(b"command");
            ctx.out.array(slow.command.len());
            slow.command.iter().for_each(|word| ctx.out.bulk(word));
            ctx.out.bulk(b"duration_ms");
            ctx.out.int((now_ns.saturating_sub(running.started_ns) / 1_000_000) as i64);
        }
    }
    ctx.out.bulk(b"engines");
    ctx.out.map(1);
    ctx.out.bulk(b"LUA");
    ctx.out.map(2);
    ctx.out.bulk(b"libraries_count");
    ctx.out.int(functions.libraries_len() as i64);
    ctx.out.bulk(b"functions_count");
    ctx.out.int(functions.functions_len() as i64);
    Ok(())
}

fn function_dump(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.bulk(&functions_payload(ctx.node.functions.libraries()));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Flush,
    Append,
    Replace,
}

/// Loads all libraries, or none.
fn restore(node: &mut NodeState, codes: &[Vec<u8>], policy: Policy) -> CmdResult {
    let before: Vec<Vec<u8>> = node.functions.libraries().map(<[u8]>::to_vec).collect();
    if policy == Policy::Flush {
        node.functions.flush();
    }
    let loaded = codes.iter().try_for_each(|code| {
        let name = node.load_library(code, policy == Policy::Replace);
        name.map(drop).map_err(|error| CommandError::from(error.0.replace("Library '", "Library ").replace("' already exists", " already exists")))
    });
    if loaded.is_err() {
        node.functions.flush();
        for code in before {
            node.load_library(&code, false)?;
        }
    }
    loaded
}

fn function_restore(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.args.len() > 4 {
        return Err(unknown_or_arity(ctx.args.at(1), "FUNCTION"));
    }
    let policy = match ctx.args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"append") => Policy::Append,
        Some(b"flush") => Policy::Flush,
        Some(b"replace") => Policy::Replace,
        Some(_) => return Err("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.".into()),
    };
    let codes = functions_of(ctx.args.at(2)).map_err(|error| match error {
        RestoreError::Footer => CommandError::text("ERR DUMP payload version or checksum are wrong"),
        RestoreError::Value(_) => CommandError::text("ERR failed loading functions from the payload"),
    })?;
    restore(ctx.node, &codes, policy)?;
    changed(ctx);
    ctx.out.ok();
    Ok(())
}

fn function_kill(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.node.scripts.kill(true)?;
    ctx.out.ok();
    Ok(())
}

fn function_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(ctx.out, "FUNCTION", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Create a new library with the given library name and code.",
    "DELETE <LIBRARY NAME>",
    "    Delete the given library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return general information on all the libraries:",
    "    * Library name",
    "    * The engine used to run the Library",
    "    * Functions list",
    "    * Library code (if WITHCODE is given)",
    "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
    "STATS",
    "    Return information about the current function running:",
    "    * Function name",
    "    * Command used to run the function",
    "    * Duration in MS that the function is running",
    "    If no function is running, return nil",
    "    In addition, returns a list of available engines.",
    "KILL",
    "    Kill the current running function.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all the libraries.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the libraries.",
    "    * SYNC: Synchronously flush the libraries.",
    "DUMP",
    "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
    "    control how to handle existing libraries (default APPEND):",
    "    * FLUSH: delete all existing libraries.",
    "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
    "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
    "      libraries with the new libraries (notice that even on this option there is a chance of failure",
    "      in case of functions name collision with another library).",
];

const WRITES: Flags = Flags::WRITE.union(Flags::NOSCRIPT);
const WRITES_MUCH: Flags = WRITES.union(Flags::DENYOOM);
const EVERYWHERE: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

const SUBCOMMANDS: &[Spec] = &[
    Spec::new("flush", -2, WRITES, function_flush).acl(Acl::SCRIPTING).tips(EVERYWHERE).docs(
        GROUP,
        "7.0.0",
        "O(N) where N is the number of functions deleted",
        "Deletes all libraries and functions.",
    ),
    Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), function_help).acl(Acl::SCRIPTING).docs(
        GROUP,
        "7.0.0",
        "O(1)",
        "Returns helpful text about the different subcommands.",
    ),
    Spec::new("load", -3, WRITES_MUCH, function_load).acl(Acl::SCRIPTING).tips(EVERYWHERE).docs(
        GROUP,
        "7.0.0",
        "O(1) (considering compilation time is redundant)",
        "Creates a library.",
    ),
    Spec::new("restore", -3, WRITES_MUCH, function_restore).acl(Acl::SCRIPTING).tips(EVERYWHERE).docs(
        GROUP,
        "7.0.0",
        "O(N) where N is the number of functions on the payload",
        "Restores all libraries from a payload.",
    ),
    Spec::new("kill", 2, Flags::NOSCRIPT.union(Flags::ALLOW_BUSY), function_kill)
        .acl(Acl::SCRIPTING)
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .docs(GROUP, "7.0.0", "O(1)", "Terminates a function during execution."),
    Spec::new("list", -2, Flags::NOSCRIPT, function_list).acl(Acl::SCRIPTING).tips(&["nondeterministic_output_order"]).docs(
        GROUP,
        "7.0.0",
        "O(N) where N is the number of functions",
        "Returns information about all libraries.",
    ),
    Spec::new("dump", 2, Flags::NOSCRIPT, function_dump).acl(Acl::SCRIPTING).docs(
        GROUP,
        "7.0.0",
        "O(N) where N is the number of functions",
        "Dumps all libraries into a serialized binary payload.",
    ),
    Spec::new("stats", 2, Flags::NOSCRIPT.union(Flags::ALLOW_BUSY), function_stats)
        .acl(Acl::SCRIPTING)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .docs(GROUP, "7.0.0", "O(1)", "Returns information about a function during execution."),
    Spec::new("delete", 3, WRITES, function_delete).acl(Acl::SCRIPTING).tips(EVERYWHERE).docs(
        GROUP,
        "7.0.0",
        "O(1)",
        "Deletes a library and its functions.",
    ),
];

const DEPENDS: &str = "Depends on the function that is executed.";

pub(in super::super) const ROWS: &[Spec] = &[
    Spec::new("fcall", -3, RUNS, fcall).acl(Acl::SCRIPTING).key_specs(ANY).docs(GROUP, "7.0.0", DEPENDS, "Invokes a function."),
    Spec::new("fcall_ro", -3, RUNS_RO, fcall_ro).acl(Acl::SCRIPTING).key_specs(ANY_RO).docs(GROUP, "7.0.0", DEPENDS, "Invokes a read-only function."),
    Spec::new("function", -2, Flags::empty(), container).subcommands(SUBCOMMANDS).docs(
        GROUP,
        "7.0.0",
        "Depends on subcommand.",
        "A container for function commands.",
    ),
];
