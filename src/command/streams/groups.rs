//! XGROUP: groups and their consumers are made, placed, and go.

use super::super::error::cited;
use super::super::help::{container, help, unknown_or_arity};
use super::super::key_range::key_range;
use super::super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use super::{any_id, stream_of, strict_id};
use crate::config::Events;
use crate::keyspace::Key;
use crate::types::number::parse_i64;
use crate::types::stream::{Group, Stream};

const NO_STREAM: CommandError = CommandError::text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream \
     automatically.",
);

/// What stands behind the ID of CREATE and SETID.
#[derive(Default)]
struct Options {
    mkstream: bool,
    /// As given: -1 for unknown.
    entries_read: Option<i64>,
}

impl Options {
    fn parse(ctx: &Ctx<'_>, takes_mkstream: bool) -> Result<Self, CommandError> {
        let (mut options, args) = (Options::default(), ctx.args);
        let mut at = 5;
        while at < args.len() {
            if takes_mkstream && args.at(at).eq_ignore_ascii_case(b"mkstream") {
                options.mkstream = true;
                at += 1;
            } else if args.at(at).eq_ignore_ascii_case(b"entriesread") && at + 1 < args.len() {
                let count = parse_i64(args.at(at + 1)).ok_or(CommandError::NOT_INTEGER)?;
                if count < -1 {
                    return Err("ERR value for ENTRIESREAD must be positive or -1".into());
                }
                options.entries_read = Some(count);
                at += 2;
            } else {
                return Err(bad_arguments(ctx));
            }
        }
        Ok(options)
    }

    /// No more can have been read than have been added.
    fn entries_read(&self, added: u64) -> Option<u64> {
        self.entries_read.and_then(|count| u64::try_from(count).ok()).map(|count| count.min(added))
    }
}

fn bad_arguments(ctx: &Ctx<'_>) -> CommandError {
    unknown_or_arity(ctx.args.at(1), "XGROUP")
}

fn no_group(key: Key<'_>, group: &[u8]) -> CommandError {
    format!("NOGROUP No such consumer group '{}' for key name '{}'", cited(group, usize::MAX), cited(key.bytes, usize::MAX)).into()
}

/// The stream of a subcommand that works on an existing group.
fn grouped<'a>(ctx: &'a mut Ctx<'_>, key: Key<'_>) -> Result<&'a Stream, CommandError> {
    let group = ctx.args.at(3);
    let stream = stream_of(ctx.write(key))?.ok_or(NO_STREAM)?;
    if stream.group(group).is_some() { Ok(stream) } else { Err(no_group(key, group)) }
}

/// Tells of a changed group. Those who watch the key do not hear of it.
fn changed(ctx: &mut Ctx<'_>, event: &'static str, key: Key<'_>) {
    ctx.node.dirty += 1;
    ctx.notify(Events::STREAM, event, key.bytes);
}

/// The request, and what 6.2 would refuse of it apart, so that it has the rest.
fn propagate_entries_read(ctx: &mut Ctx<'_>, options: &Options) {
    let Some(count) = options.entries_read else { return };
    let args = ctx.args;
    let [key, group, id] = [args.at(2), args.at(3), args.at(4)];
    let mkstream: &[&[u8]] = if options.mkstream { &[b"MKSTREAM"] } else { &[] };
    ctx.propagate(&[&[b"XGROUP", args.at(1), key, group, id], mkstream].concat());
    if count >= 0 {
        ctx.propagate(&[b"XGROUP", b"SETID", key, group, id, b"ENTRIESREAD", itoa::Buffer::new().format(count).as_bytes()]);
    }
}

fn xgroup_create(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name) = (ctx.key(2), ctx.args.at(3));
    let options = Options::parse(ctx, true)?;
    let last_id = stream_of(ctx.write(key))?.map(Stream::last_id);
    if last_id.is_none() && !options.mkstream {
        return Err(NO_STREAM);
    }
    if ctx.args.len() > 8 {
        return Err(bad_arguments(ctx));
    }
    let id = match ctx.args.at(4) {
        b"$" => last_id.unwrap_or_default(),
        id => strict_id(id, 0)?,
    };
    let created = ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, true, |stream, _| {
        let group = Group::new(id, options.entries_read(stream.entries_added()));
        stream.create_group(name, group)
    });
    if created != Some(true) {
        return Err("BUSYGROUP Consumer Group name already exists".into());
    }
    if last_id.is_none() {
        ctx.node.signal(ctx.db, key.bytes);
        ctx.notify(Events::NEW, "new", key.bytes);
    }
    changed(ctx, "xgroup-create", key);
    propagate_entries_read(ctx, &options);
    ctx.out.ok();
    Ok(())
}

fn xgroup_setid(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name) = (ctx.key(2), ctx.args.at(3));
    let options = Options::parse(ctx, false)?;
    let last_id = grouped(ctx, key)?.last_id();
    if !matches!(ctx.args.len(), 5 | 7) {
        return Err(bad_arguments(ctx));
    }
    let id = match ctx.args.at(4) {
        b"$" => last_id,
        id => any_id(id, 0)?,
    };
    ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, false, |stream, _| {
        let entries_read = options.entries_read(stream.entries_added());
        stream.edit_group(name, |group| {
            group.set_last_id(id);
            group.entries_read = entries_read;
        })
    });
    changed(ctx, "xgroup-setid", key);
    propagate_entries_read(ctx, &options);
    ctx.out.ok();
    Ok(())
}

fn xgroup_destroy(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name) = (ctx.key(2), ctx.args.at(3));
    let is_there = stream_of(ctx.write(key))?.ok_or(NO_STREAM)?.group(name).is_some();
    if is_there {
        ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, false, |stream, _| stream.destroy_group(name));
        changed(ctx, "xgroup-destroy", key);
        // Who waits to read for it waits in vain.
        ctx.node.note_ready(ctx.db, key.bytes);
    }
    ctx.out.int(is_there.into());
    Ok(())
}

fn xgroup_createconsumer(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name, consumer) = (ctx.key(2), ctx.args.at(3), ctx.args.at(4));
    let is_new = grouped(ctx, key)?.group(name).is_some_and(|group| group.consumer(consumer).is_none());
    if is_new {
        let now_ms = ctx.node.now_ms;
        ctx.node
            .keyspace
            .db_mut(ctx.db)
            .edit_stream(key, false, |stream, _| stream.edit_group(name, |group| group.create_consumer(consumer, now_ms)));
        changed(ctx, "xgroup-createconsumer", key);
    }
    ctx.out.int(is_new.into());
    Ok(())
}

fn xgroup_delconsumer(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name, consumer) = (ctx.key(2), ctx.args.at(3), ctx.args.at(4));
    let is_there = grouped(ctx, key)?.group(name).is_some_and(|group| group.consumer(consumer).is_some());
    let mut pending = None;
    if is_there {
        let deleted =
            ctx.node.keyspace.db_mut(ctx.db).edit_stream(key, false, |stream, _| stream.edit_group(name, |group| group.delete_consumer(consumer)));
        pending = deleted.flatten().flatten();
        changed(ctx, "xgroup-delconsumer", key);
    }
    ctx.out.int(pending.unwrap_or(0) as i64);
    Ok(())
}

fn xgroup_help(ctx: &mut Ctx<'_>) -> CmdResult {
    let lines = [
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a new consumer group. Options are:",
        "    * MKSTREAM",
        "      Create the empty stream if it does not exist.",
        "    * ENTRIESREAD entries_read",
        "      Set the group's entries_read counter (internal use).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a new consumer in the specified group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove the specified consumer.",
        "DESTROY <key> <groupname>",
        "    Remove the specified group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the current group ID and entries_read counter.",
    ];
    help(ctx.out, "XGROUP", &lines);
    Ok(())
}

const SUBCOMMANDS: &[Spec] = &[
    Spec::new("create", -5, Flags::WRITE.union(Flags::DENYOOM), xgroup_create)
        .keys(2, 2, 1)
        .key_specs(&[key_range(&["RW", "insert"], 2, 0, 1)])
        .acl(Acl::STREAM)
        .docs("stream", "5.0.0", "O(1)", "Creates a consumer group."),
    Spec::new("createconsumer", 5, Flags::WRITE.union(Flags::DENYOOM), xgroup_createconsumer)
        .keys(2, 2, 1)
        .key_specs(&[key_range(&["RW", "insert"], 2, 0, 1)])
        .acl(Acl::STREAM)
        .docs("stream", "6.2.0", "O(1)", "Creates a consumer in a consumer group."),
    Spec::new("delconsumer", 5, Flags::WRITE, xgroup_delconsumer)
        .keys(2, 2, 1)
        .key_specs(&[key_range(&["RW", "delete"], 2, 0, 1)])
        .acl(Acl::STREAM)
        .docs("stream", "5.0.0", "O(1)", "Deletes a consumer from a consumer group."),
    Spec::new("destroy", 4, Flags::WRITE, xgroup_destroy).keys(2, 2, 1).key_specs(&[key_range(&["RW", "delete"], 2, 0, 1)]).acl(Acl::STREAM).docs(
        "stream",
        "5.0.0",
        "O(N) where N is the number of entries in the group's pending entries list (PEL).",
        "Destroys a consumer group.",
    ),
    Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), xgroup_help).acl(Acl::STREAM).docs(
        "stream",
        "5.0.0",
        "O(1)",
        "Returns helpful text about the different subcommands.",
    ),
    Spec::new("setid", -5, Flags::WRITE, xgroup_setid).keys(2, 2, 1).key_specs(&[key_range(&["RW", "update"], 2, 0, 1)]).acl(Acl::STREAM).docs(
        "stream",
        "5.0.0",
        "O(1)",
        "Sets the last-delivered ID of a consumer group.",
    ),
];

pub(in crate::command) const ROWS: &[Spec] = &[Spec::new("xgroup", -2, Flags::empty(), container)
    .docs("stream", "5.0.0", "Depends on subcommand.", "A container for consumer groups commands.")
    .subcommands(SUBCOMMANDS)];
