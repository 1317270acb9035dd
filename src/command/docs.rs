//! COMMAND DOCS: what the rows say in words, and what `docs.txt` beside this file adds: history, deprecation, the syntax of the arguments.
//!
//! `docs.txt` has a line with a command's full name, then lines that begin with `!` (`!history version text`, `!deprecated since instead`, `!syscmd`),
//! then one line an argument, indented by its depth: name, type, then `display=`, `key_spec=`, `token=`, `since=`, `deprecated=` and flags.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::introspect::find;
use super::{CmdResult, Ctx, Spec, full_name};
use crate::resp::Reply;

/// The lines of each command.
static TEXTS: LazyLock<BTreeMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let mut texts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut lines: Option<&mut Vec<&str>> = None;
    for line in include_str!("docs.txt").lines() {
        match &mut lines {
            Some(lines) if line.starts_with([' ', '!']) => lines.push(line),
            _ => lines = Some(texts.entry(line).or_default()),
        }
    }
    texts
});

/// One argument of a command's syntax, with those inside it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Argument {
    name: &'static str,
    kind: &'static str,
    /// Field names with their texts, in the order in which they are shown.
    texts: Vec<(&'static str, &'static str)>,
    key_spec: Option<i64>,
    flags: Vec<&'static str>,
    inner: Vec<Argument>,
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Reads the arguments at `at_depth` from the front of `lines`.
fn arguments(lines: &mut &[&'static str], at_depth: usize) -> Vec<Argument> {
    let mut arguments = Vec::new();
    while let Some((line, rest)) = lines.split_first()
        && depth(line) == at_depth
    {
        *lines = rest;
        let mut argument = argument(line);
        argument.inner = self::arguments(lines, at_depth + 1);
        arguments.push(argument);
    }
    arguments
}

fn argument(line: &'static str) -> Argument {
    let mut words = line.split_ascii_whitespace();
    let name = words.next().unwrap_or_default();
    let kind = words.next().unwrap_or_default();
    let mut argument = Argument { name, kind, ..Argument::default() };
    // What an argument is called in a syntax line: its name, unless told. Groups have no such name.
    let mut display = (!matches!(kind, "oneof" | "block")).then_some(name);
    let mut texts = Vec::new();
    for word in words {
        match word.split_once('=') {
            None => argument.flags.push(word),
            Some(("display", text)) => display = Some(text),
            Some(("key_spec", number)) => argument.key_spec = number.parse().ok(),
            Some(("token", text)) => texts.push(("token", text.trim_matches('"'))),
            Some(("deprecated", text)) => texts.push(("deprecated_since", text)),
            Some(("since", text)) => texts.push(("since", text)),
            Some((field, _)) => panic!("docs.txt: unknown field {field} in {line:?}"),
        }
    }
    argument.texts = display.map(|text| ("display_text", text)).into_iter().chain(texts).collect();
    argument
}

fn text_field(out: &mut Reply, name: &str, text: &str) {
    out.bulk(name.as_bytes());
    out.bulk(text.as_bytes());
}

fn reply_argument(out: &mut Reply, argument: &Argument) {
    let optional_fields = [argument.key_spec.is_some(), !argument.flags.is_empty(), !argument.inner.is_empty()];
    out.map(2 + argument.texts.len() + optional_fields.iter().filter(|there| **there).count());
    text_field(out, "name", argument.name);
    text_field(out, "type", argument.kind);
    let (display, others) = argument.texts.split_at(usize::from(argument.texts.first().is_some_and(|(name, _)| *name == "display_text")));
    display.iter().for_each(|(name, text)| text_field(out, name, text));
    if let Some(number) = argument.key_spec {
        out.bulk(b"key_spec_index");
        out.int(number);
    }
    others.iter().for_each(|(name, text)| text_field(out, name, text));
    if !argument.flags.is_empty() {
        out.bulk(b"flags");
        out.set(argument.flags.len());
        argument.flags.iter().for_each(|flag| out.simple(flag));
    }
    if !argument.inner.is_empty() {
        out.bulk(b"arguments");
        out.array(argument.inner.len());
        argument.inner.iter().for_each(|inner| reply_argument(out, inner));
    }
}

/// `!history` and `!deprecated` lines: the version and the text of each.
fn notes(lines: &[&'static str], mark: &str) -> Vec<(&'static str, &'static str)> {
    lines.iter().filter_map(|line| line.strip_prefix(mark)?.strip_prefix(' ')?.split_once(' ')).collect()
}

/// The value in COMMAND DOCS of one command; its name has been written.
fn describe(out: &mut Reply, parent: &'static Spec, spec: &'static Spec) {
    let lines = TEXTS.get(full_name(parent, spec).as_str()).map(Vec::as_slice).unwrap_or_default();
    let history = notes(lines, "!history");
    let deprecated = notes(lines, "!deprecated").first().copied();
    let from = lines.iter().position(|line| line.starts_with(' ')).unwrap_or(lines.len());
    let arguments = arguments(&mut &lines[from..], 1);
    let texts = [("summary", spec.summary), ("since", spec.since), ("group", spec.group), ("complexity", spec.complexity)];
    let texts: Vec<_> = texts.into_iter().filter(|(_, text)| !text.is_empty()).collect();
    let flag = if deprecated.is_some() { Some("deprecated") } else { lines.contains(&"!syscmd").then_some("syscmd") };
    let optional_fields = [flag.is_some(), !history.is_empty(), !arguments.is_empty(), !spec.subcommands.is_empty()];
    let deprecated_fields = if deprecated.is_some() { 2 } else { 0 };
    out.map(texts.len() + deprecated_fields + optional_fields.iter().filter(|there| **there).count());
    texts.into_iter().for_each(|(name, text)| text_field(out, name, text));
    if let Some(flag) = flag {
        out.bulk(b"doc_flags");
        out.set(1);
        out.simple(flag);
    }
    if let Some((since, instead)) = deprecated {
        text_field(out, "deprecated_since", since);
        text_field(out, "replaced_by", instead);
    }
    if !history.is_empty() {
        out.bulk(b"history");
        out.set(history.len());
        for (version, change) in history {
            out.array(2);
            out.bulk(version.as_bytes());
            out.bulk(change.as_bytes());
        }
    }
    if !arguments.is_empty() {
        out.bulk(b"arguments");
        out.array(arguments.len());
        arguments.iter().for_each(|argument| reply_argument(out, argument));
    }
    if !spec.subcommands.is_empty() {
        out.bulk(b"subcommands");
        out.map(spec.subcommands.len());
        for sub in spec.subcommands {
            out.bulk(full_name(spec, sub).as_bytes());
            describe(out, spec, sub);
        }
    }
}

pub(super) fn docs(ctx: &mut Ctx<'_>) -> CmdResult {
    let table = &ctx.node.commands;
    let asked: Vec<_> = match ctx.args.len() {
        2 => table.usable().map(|row| (row, row)).collect(),
        _ => ctx.args.iter().skip(2).filter_map(|name| find(table, name)).collect(),
    };
    ctx.out.map(asked.len());
    for (parent, spec) in asked {
        ctx.out.bulk(full_name(parent, spec).as_bytes());
        describe(ctx.out, parent, spec);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{CommandTable, NodeState};
    use super::*;

    #[test]
    fn every_text_belongs_to_a_row() {
        let commands = CommandTable::new(&[]).expect("the table is good");
        for name in TEXTS.keys() {
            assert!(find(&commands, name.as_bytes()).is_some(), "docs.txt has {name}, which is no command");
        }
    }

    #[test]
    fn arguments_nest_by_indentation() {
        let mut lines: &[&str] =
            &[" key key key_spec=0", " how oneof since=2.6.12 optional", "  nx pure-token token=NX", " n integer display=count multiple"];
        let read = arguments(&mut lines, 1);
        assert!(lines.is_empty());
        assert_eq!(read.len(), 3);
        assert_eq!((read[0].key_spec, read[0].texts.as_slice()), (Some(0), &[("display_text", "key")][..]));
        assert_eq!((read[1].flags.as_slice(), read[1].inner.len(), read[1].texts.as_slice()), (&["optional"][..], 1, &[("since", "2.6.12")][..]));
        assert_eq!(read[2].texts, [("display_text", "count")]);
    }

    #[test]
    fn a_command_is_documented() {
        let (mut node, slot) = NodeState::for_tests();
        let reply = String::from_utf8(node.run(slot, &[b"COMMAND", b"DOCS", b"ping", b"nosuch"])).unwrap();
        assert!(reply.starts_with("*2\r\n$4\r\nping\r\n*10\r\n$7\r\nsummary\r\n"), "{reply}");
        assert!(reply.ends_with("$9\r\narguments\r\n*1\r\n*8\r\n$4\r\nname\r\n$7\r\nmessage\r\n$4\r\ntype\r\n$6\r\nstring\r\n$12\r\ndisplay_text\r\n$7\r\nmessage\r\n$5\r\nflags\r\n*1\r\n+optional\r\n"));
    }
}
