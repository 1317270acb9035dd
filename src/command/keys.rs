//! Commands on keys whatever they hold: deleting, asking, renaming, copying, moving.

use super::key_range::key_range;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::config::Events;
use crate::keyspace::{DbIndex, Entry, Kind};
use crate::types::number::parse_i64;

fn delete(ctx: &mut Ctx<'_>, lazy: bool) -> CmdResult {
    let mut deleted = 0;
    for index in 1..ctx.args.len() {
        let key = ctx.key(index);
        if !ctx.is_expired(ctx.db, key, true) && ctx.node.keyspace.db_mut(ctx.db).remove(key, lazy) {
            ctx.changed(key.bytes);
            ctx.notify(Events::GENERIC, "del", key.bytes);
            deleted += 1;
        }
    }
    ctx.out.int(deleted);
    Ok(())
}

fn del(ctx: &mut Ctx<'_>) -> CmdResult {
    let lazy = ctx.node.config.lazyfree_lazy_user_del;
    delete(ctx, lazy)
}

fn unlink(ctx: &mut Ctx<'_>) -> CmdResult {
    delete(ctx, true)
}

fn exists(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut found = 0;
    for index in 1..ctx.args.len() {
        let key = ctx.key(index);
        found += ctx.peek_with(key, |entry, _| i64::from(entry.is_some()));
    }
    ctx.out.int(found);
    Ok(())
}

fn touch(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut found = 0;
    for index in 1..ctx.args.len() {
        let key = ctx.key(index);
        // CLIENT NO-TOUCH spares every command but this one.
        let exists = ctx.peek_with(key, |entry, _| entry.is_some());
        if exists && let Some(entry) = ctx.node.keyspace.db(ctx.db).get(key) {
            ctx.node.toucher(ctx.slot).note(entry);
        }
        found += i64::from(exists);
    }
    ctx.out.int(found);
    Ok(())
}

/// A type as TYPE and SCAN call it.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "string",
        Kind::List => "list",
        Kind::Set => "set",
        Kind::ZSet => "zset",
        Kind::Hash => "hash",
        Kind::Stream => "stream",
    }
}

fn type_of(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    ctx.peek_with(key, |entry, out| out.simple(entry.map_or("none", |entry| kind_name(entry.kind()))));
    Ok(())
}

/// Renames; `None` if there is no such key, false if `only_new` and the new name is taken.
fn rename_key(ctx: &mut Ctx<'_>, only_new: bool) -> Result<bool, CommandError> {
    let (from, to) = (ctx.key(1), ctx.key(2));
    if ctx.write(from).is_none() {
        return Err(CommandError::NO_KEY);
    }
    if from.bytes == to.bytes {
        return Ok(!only_new);
    }
    let old = ctx.write(to).map(Entry::kind);
    if old.is_some() && only_new {
        return Ok(false);
    }
    let db = ctx.node.keyspace.db_mut(ctx.db);
    let entry = db.take(from).expect("the key was there");
    let kind = entry.entry().kind();
    db.insert(to.hash, entry.with_key(to.bytes));
    ctx.changed(from.bytes);
    ctx.node.signal(ctx.db, to.bytes);
    // To Redis the new name is a new key even where it replaces one.
    ctx.notify(Events::NEW, "new", to.bytes);
    ctx.notify(Events::GENERIC, "rename_from", from.bytes);
    ctx.notify(Events::GENERIC, "rename_to", to.bytes);
    if let Some(old) = old {
        ctx.notify_overwritten(ctx.db, old, kind, to.bytes);
    }
    Ok(true)
}

fn rename(ctx: &mut Ctx<'_>) -> CmdResult {
    rename_key(ctx, false)?;
    ctx.out.ok();
    Ok(())
}

fn renamenx(ctx: &mut Ctx<'_>) -> CmdResult {
    let renamed = rename_key(ctx, true)?;
    ctx.out.int(i64::from(renamed));
    Ok(())
}

/// The argument at `index` as a database of this node.
fn db_index(ctx: &Ctx<'_>, index: usize) -> Result<DbIndex, CommandError> {
    let given = parse_i64(ctx.args.at(index)).ok_or(CommandError::NOT_INTEGER)?;
    if i32::try_from(given).is_err() {
        return Err("ERR value is out of range, value must between -2147483648 and 2147483647".into());
    }
    match u32::try_from(given) {
        Ok(db) if db < ctx.node.keyspace.databases() => Ok(DbIndex(db)),
        _ => Err(CommandError::DB_OUT_OF_RANGE),
    }
}

const SAME_OBJECT: CommandError = CommandError::text("ERR source and destination objects are the same");

fn copy(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut to_db = ctx.db;
    let mut replace = false;
    let mut index = 3;
    while index < ctx.args.len() {
        if ctx.args[index].eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if ctx.args[index].eq_ignore_ascii_case(b"DB") && index + 1 < ctx.args.len() {
            index += 1;
            to_db = db_index(ctx, index)?;
        } else {
            return Err(CommandError::SYNTAX);
        }
        index += 1;
    }
    let (from, to) = (ctx.key(1), ctx.key(2));
    if to_db == ctx.db && from.bytes == to.bytes {
        return Err(SAME_OBJECT);
    }
    let found = ctx.read(from).is_some();
    let old = if found { ctx.lookup_in(to_db, to).map(Entry::kind) } else { None };
    let copies = found && (old.is_none() || replace);
    if copies {
        let entry = ctx.node.keyspace.db(ctx.db).copy_of(from).expect("the key was there");
        let kind = entry.entry().kind();
        ctx.node.keyspace.db_mut(to_db).insert(to.hash, entry.with_key(to.bytes));
        ctx.node.changed(to_db, to.bytes);
        ctx.node.notify(Events::NEW, "new", to_db, to.bytes);
        ctx.node.notify(Events::GENERIC, "copy_to", to_db, to.bytes);
        if let Some(old) = old {
            ctx.notify_overwritten(to_db, old, kind, to.bytes);
        }
    }
    ctx.out.int(i64::from(copies));
    Ok(())
}

fn move_key(ctx: &mut Ctx<'_>) -> CmdResult {
    let to_db = db_index(ctx, 2)?;
    if to_db == ctx.db {
        return Err(SAME_OBJECT);
    }
    let key = ctx.key(1);
    let moves = ctx.write(key).is_some() && ctx.lookup_in(to_db, key).is_none();
    if moves {
        let entry = ctx.node.keyspace.db_mut(ctx.db).take(key).expect("the key was there");
        ctx.node.keyspace.db_mut(to_db).insert(key.hash, entry);
        ctx.changed(key.bytes);
        ctx.node.signal(to_db, key.bytes);
        ctx.node.notify(Events::NEW, "new", to_db, key.bytes);
        ctx.notify(Events::GENERIC, "move_from", key.bytes);
        ctx.node.notify(Events::GENERIC, "move_to", to_db, key.bytes);
    }
    ctx.out.int(i64::from(moves));
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("copy", -3, Flags::WRITE.union(Flags::DENYOOM), copy)
        .keys(1, 2, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1), key_range(&["OW", "update"], 2, 0, 1)])
        .acl(Acl::KEYSPACE)
        .docs(
            "generic",
            "6.2.0",
            "O(N) worst case for collections, where N is the number of nested items. O(1) for string values.",
            "Copies the value of a key to a new key.",
        ),
    Spec::new("del", -2, Flags::WRITE, del)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["RM", "delete"], 1, -1, 1)])
        .acl(Acl::KEYSPACE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs(
            "generic",
            "1.0.0",
            "O(N) where N is the number of keys that will be removed. When a key to remove holds a value other than a string, the individual \
             complexity for this key is O(M) where M is the number of elements in the list, set, sorted set or hash. Removing a single key that \
             holds a string value is O(1).",
            "Deletes one or more keys.",
        ),
    Spec::new("exists", -2, Flags::READONLY.union(Flags::FAST), exists)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["RO"], 1, -1, 1)])
        .acl(Acl::KEYSPACE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs("generic", "1.0.0", "O(N) where N is the number of keys to check.", "Determines whether one or more keys exist."),
    Spec::new("move", 3, Flags::WRITE.union(Flags::FAST), move_key)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .docs("generic", "1.0.0", "O(1)", "Moves a key to another database."),
    Spec::new("rename", 3, Flags::WRITE, rename)
        .keys(1, 2, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1), key_range(&["OW", "update"], 2, 0, 1)])
        .acl(Acl::KEYSPACE)
        .docs("generic", "1.0.0", "O(1)", "Renames a key and overwrites the destination."),
    Spec::new("renamenx", 3, Flags::WRITE.union(Flags::FAST), renamenx)
        .keys(1, 2, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1), key_range(&["OW", "insert"], 2, 0, 1)])
        .acl(Acl::KEYSPACE)
        .docs("generic", "1.0.0", "O(1)", "Renames a key only when the target key name doesn't exist."),
    Spec::new("touch", -2, Flags::READONLY.union(Flags::FAST), touch)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["RO"], 1, -1, 1)])
        .acl(Acl::KEYSPACE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs(
            "generic",
            "3.2.1",
            "O(N) where N is the number of keys that will be touched.",
            "Returns the number of existing keys out of those specified after updating the time they were last accessed.",
        ),
    Spec::new("type", 2, Flags::READONLY.union(Flags::FAST), type_of)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO"], 1, 0, 1)])
        .acl(Acl::KEYSPACE)
        .docs("generic", "1.0.0", "O(1)", "Determines the type of value stored at a key."),
    Spec::new("unlink", -2, Flags::WRITE.union(Flags::FAST), unlink)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["RM", "delete"], 1, -1, 1)])
        .acl(Acl::KEYSPACE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs(
            "generic",
            "4.0.0",
            "O(1) for each key removed regardless of its size. Then the command does O(N) work in a different thread in order to reclaim memory, \
             where N is the number of allocations the deleted objects where composed of.",
            "Asynchronously deletes one or more keys.",
        ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn rename_takes_the_expiry_along() {
        let mut b = Bench::new();
        b.say("set a 1 px 5000");
        b.say("set b 2");
        assert_eq!(b.say("renamenx a b"), ":0");
        assert_eq!(b.streamed("rename a b"), ["rename a b"]);
        assert_eq!(b.say("mget a b"), "*2 $-1 $1 1");
        assert_eq!(b.say("pttl b"), ":5000");
        assert_eq!(b.say("rename a b"), "-ERR no such key");
        assert_eq!(b.streamed("rename b b"), [""; 0]);
        assert_eq!(b.say("renamenx b b"), ":0");
    }

    #[test]
    fn copy_and_move_cross_databases() {
        let mut b = Bench::new();
        b.say("set a 1 px 5000");
        assert_eq!(b.say("copy a b db 1"), ":1");
        assert_eq!(b.say("copy a b db 1"), ":0");
        assert_eq!(b.say("copy a b db 1 replace"), ":1");
        assert_eq!(b.say("copy a a"), "-ERR source and destination objects are the same");
        assert_eq!(b.say("copy a b db 16"), "-ERR DB index is out of range");
        assert_eq!(b.say("move a 99999999999"), "-ERR value is out of range, value must between -2147483648 and 2147483647");
        assert_eq!(b.say("move a 1"), ":1");
        assert_eq!(b.say("dbsize"), ":0");
        b.say("swapdb 0 1");
        assert_eq!(b.say("mget a b"), "*2 $1 1 $1 1");
        assert_eq!(b.say("pttl b"), ":5000");
    }

    #[test]
    fn deletion_counts_each_key_once() {
        let mut b = Bench::new();
        b.say("mset a 1 b 2 c 3");
        assert_eq!(b.streamed("del a a nokey b"), ["del a a nokey b"]);
        assert_eq!(b.say("exists c c a"), ":2");
        assert_eq!(b.streamed("unlink a"), [""; 0]);
        assert_eq!(b.say("type c"), "+string");
        assert_eq!(b.say("type a"), "+none");
    }
}
