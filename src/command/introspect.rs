//! The COMMAND family: what the table of rows says, in the shape of COMMAND INFO, LIST and GETKEYS. COMMAND DOCS is in `docs`.

use super::docs::docs;
use super::help::help;
use super::key_specs::{has_keys, keys_of};
use super::{Acl, Begin, CmdResult, CommandError, CommandTable, Ctx, Find, Flags, KeySpec, Spec, full_name};
use crate::resp::Reply;
use crate::types::glob;

/// A row or subrow with the row it stands under, itself if it is no subrow.
type Named = (&'static Spec, &'static Spec);

/// The row of `get` or `config|get`, in any case.
pub(super) fn find(table: &CommandTable, name: &[u8]) -> Option<Named> {
    let mut parts = name.splitn(2, |byte| *byte == b'|');
    let parent = table.rows[table.find(parts.next()?)?];
    match parts.next() {
        None => Some((parent, parent)),
        Some(sub) => Some((parent, subcommand(parent, sub)?)),
    }
}

fn subcommand(parent: &'static Spec, name: &[u8]) -> Option<&'static Spec> {
    parent.subcommands.iter().find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))
}

/// Every row and subrow that clients can use, by name.
pub(super) fn everything(table: &CommandTable) -> impl Iterator<Item = Named> {
    table.usable().flat_map(|parent| std::iter::once((parent, parent)).chain(parent.subcommands.iter().map(move |sub| (parent, sub))))
}

/// The row's categories: those that follow from its flags, and those it names.
fn categories(spec: &Spec) -> Acl {
    let implied = [
        (Flags::WRITE, Acl::WRITE),
        (Flags::READONLY, Acl::READ),
        (Flags::ADMIN, Acl::ADMIN.union(Acl::DANGEROUS)),
        (Flags::PUBSUB, Acl::PUBSUB),
        (Flags::FAST, Acl::FAST),
        (Flags::BLOCKING, Acl::BLOCKING),
    ];
    let mut all = spec.acl;
    for (flag, acl) in implied {
        // EVAL_RO and its kin read, but count as scripting alone.
        if spec.flags.contains(flag) && !(flag == Flags::READONLY && spec.acl.contains(Acl::SCRIPTING)) {
            all |= acl;
        }
    }
    all.set(Acl::SLOW, !all.contains(Acl::FAST));
    all
}

fn flag_words(out: &mut Reply, words: impl Iterator<Item = String>) {
    let words: Vec<String> = words.collect();
    out.set(words.len());
    for word in words {
        out.simple(&word);
    }
}

/// One entry of COMMAND INFO, with the entries of its subcommands.
fn describe(out: &mut Reply, parent: &'static Spec, spec: &'static Spec) {
    out.array(10);
    out.bulk(full_name(parent, spec).as_bytes());
    out.int(spec.arity as i64);
    let shown = spec.flags - Flags::MAY_REPLICATE;
    flag_words(out, shown.iter_names().map(|(name, _)| name.to_ascii_lowercase()));
    let (first, last, step) = spec.keys;
    out.int(first as i64);
    out.int(last as i64);
    out.int(step as i64);
    flag_words(out, categories(spec).iter_names().map(|(name, _)| format!("@{}", name.to_ascii_lowercase())));
    out.set(spec.tips.len());
    for tip in spec.tips {
        out.bulk(tip.as_bytes());
    }
    out.set(spec.key_specs.len());
    for key_spec in spec.key_specs {
        describe_key_spec(out, key_spec);
    }
    out.set(spec.subcommands.len());
    for sub in spec.subcommands {
        describe(out, spec, sub);
    }
}

fn describe_key_spec(out: &mut Reply, spec: &KeySpec) {
    out.map(if spec.notes.is_empty() { 3 } else { 4 });
    if !spec.notes.is_empty() {
        out.bulk(b"notes");
        out.bulk(spec.notes.as_bytes());
    }
    out.bulk(b"flags");
    flag_words(out, spec.flags.iter().map(|flag| flag.to_string()));
    out.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(index) => typed(out, "index", &[("index", Field::Int(index))]),
        Begin::Keyword { keyword, start_from } => {
            typed(out, "keyword", &[("keyword", Field::Text(keyword)), ("startfrom", Field::Int(start_from))]);
        }
        Begin::Unknown => typed(out, "unknown", &[]),
    }
    out.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            typed(out, "range", &[("lastkey", Field::Int(last)), ("keystep", Field::Int(step)), ("limit", Field::Int(limit))]);
        }
        Find::KeyNum { keynum_index, first_key, step } => {
            typed(out, "keynum", &[("keynumidx", Field::Int(keynum_index)), ("firstkey", Field::Int(first_key)), ("keystep", Field::Int(step))]);
        }
        Find::Unknown => typed(out, "unknown", &[]),
    }
}

enum Field {
    Int(i32),
    Text(&'static str),
}

fn typed(out: &mut Reply, kind: &str, fields: &[(&str, Field)]) {
    out.map(2);
    out.bulk(b"type");
    out.bulk(kind.as_bytes());
    out.bulk(b"spec");
    out.map(fields.len());
    for (name, value) in fields {
        out.bulk(name.as_bytes());
        match value {
            Field::Int(number) => out.int(*number as i64),
            Field::Text(text) => out.bulk(text.as_bytes()),
        }
    }
}

fn all_infos(ctx: &mut Ctx<'_>) -> CmdResult {
    let rows: Vec<_> = ctx.node.commands.usable().collect();
    ctx.out.array(rows.len());
    for row in rows {
        describe(ctx.out, row, row);
    }
    Ok(())
}

fn info(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.args.len() == 2 {
        return all_infos(ctx);
    }
    ctx.out.array(ctx.args.len() - 2);
    for name in ctx.args.iter().skip(2) {
        match find(&ctx.node.commands, name) {
            Some((parent, spec)) => describe(ctx.out, parent, spec),
            None => ctx.out.null(),
        }
    }
    Ok(())
}

fn count(ctx: &mut Ctx<'_>) -> CmdResult {
    let count = ctx.node.commands.usable().count();
    ctx.out.int(count as i64);
    Ok(())
}

fn list(ctx: &mut Ctx<'_>) -> CmdResult {
    let args = ctx.args;
    let all = everything(&ctx.node.commands);
    let names: Vec<String> = if args.len() == 2 {
        all.map(|(parent, spec)| full_name(parent, spec)).collect()
    } else if args.len() == 5 && args.at(2).eq_ignore_ascii_case(b"FILTERBY") {
        let value = args.at(4);
        match args.at(3).to_ascii_uppercase().as_slice() {
            b"MODULE" => Vec::new(),
            b"ACLCAT" => {
                let wanted = std::str::from_utf8(value).ok().and_then(|name| Acl::from_name(&name.to_ascii_uppercase()));
                let is_in = |spec| wanted.is_some_and(|wanted| categories(spec).contains(wanted));
                all.filter(|(_, spec)| is_in(spec)).map(|(parent, spec)| full_name(parent, spec)).collect()
            }
            b"PATTERN" => all.map(|(parent, spec)| full_name(parent, spec)).filter(|name| glob::matches(value, name.as_bytes(), true)).collect(),
            _ => return Err(CommandError::SYNTAX),
        }
    } else {
        return Err(CommandError::SYNTAX);
    };
    ctx.out.array(names.len());
    for name in names {
        ctx.out.bulk(name.as_bytes());
    }
    Ok(())
}

type AskedKey<'a> = (&'a [u8], &'static [&'static str]);

/// The keys of the request that COMMAND GETKEYS is asked about.
fn asked_keys<'a>(ctx: &Ctx<'a>) -> Result<Vec<AskedKey<'a>>, CommandError> {
    let request = ctx.args.tail(2);
    let table = &ctx.node.commands;
    let invalid = || CommandError::text("ERR Invalid command specified");
    let parent = table.rows[table.find(request.at(0)).ok_or_else(invalid)?];
    let spec = match request.get(1) {
        Some(sub) if !parent.subcommands.is_empty() => subcommand(parent, sub).ok_or_else(invalid)?,
        _ => parent,
    };
    if !has_keys(spec) {
        return Err("ERR The command has no key arguments".into());
    }
    if !spec.arity_fits(request.len()) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    let keys = keys_of(spec, request).ok_or(CommandError::text("ERR Invalid arguments specified for command"))?;
    Ok(keys.into_iter().map(|(at, flags)| (request.at(at), flags)).collect())
}

fn getkeys(ctx: &mut Ctx<'_>) -> CmdResult {
    let keys = asked_keys(ctx)?;
    ctx.out.array(keys.len());
    for (key, _) in keys {
        ctx.out.bulk(key);
    }
    Ok(())
}

fn getkeysandflags(ctx: &mut Ctx<'_>) -> CmdResult {
    let keys = asked_keys(ctx)?;
    ctx.out.array(keys.len());
    for (key, flags) in keys {
        ctx.out.array(2);
        ctx.out.bulk(key);
        flag_words(ctx.out, flags.iter().map(|flag| flag.to_string()));
    }
    Ok(())
}

fn command_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(ctx.out, "COMMAND", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
];

const ANY_TIME: Flags = Flags::LOADING.union(Flags::STALE);

const COMMAND_ROWS: &[Spec] = &[
    Spec::new("count", 2, ANY_TIME, count).acl(Acl::CONNECTION).docs("server", "2.8.13", "O(1)", "Returns a count of commands."),
    Spec::new("docs", -2, ANY_TIME, docs)
        .acl(Acl::CONNECTION)
        .docs(
            "server",
            "7.0.0",
            "O(N) where N is the number of commands to look up",
            "Returns documentary information about one, multiple or all commands.",
        )
        .tips(&["nondeterministic_output_order"]),
    Spec::new("getkeys", -3, ANY_TIME, getkeys).acl(Acl::CONNECTION).docs(
        "server",
        "2.8.13",
        "O(N) where N is the number of arguments to the command",
        "Extracts the key names from an arbitrary command.",
    ),
    Spec::new("getkeysandflags", -3, ANY_TIME, getkeysandflags).acl(Acl::CONNECTION).docs(
        "server",
        "7.0.0",
        "O(N) where N is the number of arguments to the command",
        "Extracts the key names and access flags for an arbitrary command.",
    ),
    Spec::new("help", 2, ANY_TIME, command_help).acl(Acl::CONNECTION).docs(
        "server",
        "5.0.0",
        "O(1)",
        "Returns helpful text about the different subcommands.",
    ),
    Spec::new("info", -2, ANY_TIME, info)
        .acl(Acl::CONNECTION)
        .docs("server", "2.8.13", "O(N) where N is the number of commands to look up", "Returns information about one, multiple or all commands.")
        .tips(&["nondeterministic_output_order"]),
    Spec::new("list", -2, ANY_TIME, list)
        .acl(Acl::CONNECTION)
        .docs("server", "7.0.0", "O(N) where N is the total number of Redis commands", "Returns a list of command names.")
        .tips(&["nondeterministic_output_order"]),
];

pub(super) const ROWS: &[Spec] = &[Spec::new("command", -1, ANY_TIME, all_infos)
    .acl(Acl::CONNECTION)
    .docs("server", "2.8.13", "O(N) where N is the total number of Redis commands", "Returns detailed information about all commands.")
    .tips(&["nondeterministic_output_order"])
    .subcommands(COMMAND_ROWS)];

#[cfg(test)]
mod tests {
    use super::super::NodeState;
    use super::*;

    #[test]
    fn every_row_is_described_and_counted() {
        let (mut node, slot) = NodeState::for_tests();
        let count = node.commands.rows.len();
        assert_eq!(node.run(slot, &[b"COMMAND", b"COUNT"]), format!(":{count}\r\n").into_bytes());
        assert!(node.run(slot, &[b"COMMAND"]).starts_with(format!("*{count}\r\n*10\r\n").as_bytes()));
        assert_eq!(node.run(slot, &[b"COMMAND", b"INFO", b"nosuch", b"config|nosuch"]), b"*2\r\n$-1\r\n$-1\r\n");
        assert_eq!(
            node.run(slot, &[b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN", b"client|set*"]),
            b"*2\r\n$14\r\nclient|setinfo\r\n$14\r\nclient|setname\r\n"
        );
    }

    #[test]
    fn categories_follow_from_flags() {
        let commands = CommandTable::new(&[]).expect("the table is good");
        let (_, kill) = find(&commands, b"Client|KILL").unwrap();
        assert_eq!(categories(kill), Acl::ADMIN | Acl::SLOW | Acl::DANGEROUS | Acl::CONNECTION);
        let (_, ping) = find(&commands, b"ping").unwrap();
        assert_eq!(categories(ping), Acl::FAST | Acl::CONNECTION);
    }

    #[test]
    fn keys_are_asked_of_subcommands_too() {
        let (mut node, slot) = NodeState::for_tests();
        assert_eq!(node.run(slot, &[b"COMMAND", b"GETKEYS", b"memory", b"usage", b"k"]), b"*1\r\n$1\r\nk\r\n");
        assert_eq!(node.run(slot, &[b"COMMAND", b"GETKEYS", b"memory", b"nosuch"]), b"-ERR Invalid command specified\r\n");
        assert_eq!(node.run(slot, &[b"COMMAND", b"GETKEYS", b"ping"]), b"-ERR The command has no key arguments\r\n");
        assert_eq!(node.run(slot, &[b"COMMAND", b"GETKEYS", b"memory", b"usage"]), b"-ERR Invalid number of arguments specified for command\r\n");
    }
}
