//! Operations between sets: intersection, union, difference, and their storing forms.

use super::key_range::{key_num, key_range};
use super::sets::{put_member, set_of};
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::config::Events;
use crate::keyspace::{Db, Entry, Key, NewSet, SetRef};
use crate::resp::Reply;
use crate::types::listpack::Elem;
use crate::types::number::parse_i64;

/// Looks the keys up for reading: which of them hold sets. WRONGTYPE if one holds something else.
fn look_up<'a>(ctx: &mut Ctx<'a>, keys: &[Key<'a>]) -> Result<Vec<Option<Key<'a>>>, CommandError> {
    keys.iter().map(|key| Ok(set_of(ctx.read(*key))?.map(|_| *key))).collect()
}

/// The set at a key that `look_up` has found.
fn found<'d>(db: &'d Db, key: Key<'_>) -> SetRef<'d> {
    db.get(key).and_then(Entry::set).expect("it has just been looked up")
}

fn keys_from<'a>(ctx: &Ctx<'a>, first: usize) -> Vec<Key<'a>> {
    (first..ctx.args.len()).map(|index| ctx.key(index)).collect()
}

/// Members that are in all sets, from the smallest one's, until `f` says stop.
fn intersect(db: &Db, keys: &[Option<Key<'_>>], mut f: impl FnMut(Elem<'_>) -> bool) {
    let Some(mut sets) = keys.iter().map(|key| key.map(|key| found(db, key))).collect::<Option<Vec<_>>>() else { return };
    sets.sort_by_key(|set| set.len());
    for member in sets[0].iter() {
        if sets[1..].iter().all(|set| set.contains(member)) && !f(member) {
            return;
        }
    }
}

fn union(db: &Db, keys: &[Option<Key<'_>>]) -> NewSet {
    let mut result = db.new_set();
    let mut edit = result.edit();
    for member in keys.iter().flatten().flat_map(|key| found(db, *key).iter()) {
        edit.add(member);
    }
    result
}

/// Members of the first set that are in none of the others: looked for in each, or removed from a copy, whichever is less work.
fn difference(db: &Db, keys: &[Option<Key<'_>>]) -> NewSet {
    let mut result = db.new_set();
    let Some(first) = keys[0].map(|key| found(db, key)) else { return result };
    let others: Vec<SetRef<'_>> = keys[1..].iter().flatten().map(|key| found(db, *key)).collect();
    let looking = first.len() * (others.len() as u64 + 1) / 2;
    let removing = first.len() + others.iter().map(|set| set.len()).sum::<u64>();
    let mut edit = result.edit();
    if looking <= removing {
        first.iter().filter(|member| !others.iter().any(|set| set.contains(*member))).for_each(|member| {
            edit.add(member);
        });
    } else {
        first.iter().for_each(|member| {
            edit.add(member);
        });
        others.iter().flat_map(|set| set.iter()).for_each(|member| {
            edit.remove(member);
        });
    }
    result
}

#[derive(Clone, Copy)]
enum Operation {
    Inter,
    Union,
    Diff,
}

fn result_of(db: &Db, operation: Operation, keys: &[Option<Key<'_>>]) -> NewSet {
    match operation {
        Operation::Union => union(db, keys),
        Operation::Diff => difference(db, keys),
        Operation::Inter => {
            let mut result = db.new_set();
            let mut edit = result.edit();
            intersect(db, keys, |member| {
                edit.add(member);
                true
            });
            result
        }
    }
}

fn reply(ctx: &mut Ctx<'_>, operation: Operation) -> CmdResult {
    let keys = keys_from(ctx, 1);
    let keys = look_up(ctx, &keys)?;
    let mut result = result_of(ctx.node.keyspace.db(ctx.db), operation, &keys);
    let edit = result.edit();
    let set = edit.get();
    ctx.out.set(set.len() as usize);
    set.iter().for_each(|member| put_member(ctx.out, member));
    Ok(())
}

fn store(ctx: &mut Ctx<'_>, operation: Operation, event: &'static str) -> CmdResult {
    let to = ctx.key(1);
    let keys = keys_from(ctx, 2);
    let keys = look_up(ctx, &keys)?;
    let existed = ctx.write(to).is_some();
    let mut result = result_of(ctx.node.keyspace.db(ctx.db), operation, &keys);
    let len = result.edit().get().len();
    if ctx.node.keyspace.db_mut(ctx.db).store_set(to, result) {
        ctx.changed_by(len as usize, to.bytes);
        ctx.notify_new(Events::SET, event, !existed, to.bytes);
    } else if existed {
        ctx.changed(to.bytes);
        ctx.notify(Events::GENERIC, "del", to.bytes);
    }
    ctx.out.int(len as i64);
    Ok(())
}

/// Members as they come, in the smallest set's order.
fn sinter(ctx: &mut Ctx<'_>) -> CmdResult {
    let keys = keys_from(ctx, 1);
    let keys = look_up(ctx, &keys)?;
    let mut found = Reply::new(ctx.out.proto);
    let mut count = 0;
    intersect(ctx.node.keyspace.db(ctx.db), &keys, |member| {
        put_member(&mut found, member);
        count += 1;
        true
    });
    ctx.out.set(count);
    ctx.out.buf.extend_from_slice(&found.buf);
    Ok(())
}
fn sunion(ctx: &mut Ctx<'_>) -> CmdResult {
    reply(ctx, Operation::Union)
}
fn sdiff(ctx: &mut Ctx<'_>) -> CmdResult {
    reply(ctx, Operation::Diff)
}
fn sinterstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store(ctx, Operation::Inter, "sinterstore")
}
fn sunionstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store(ctx, Operation::Union, "sunionstore")
}
fn sdiffstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store(ctx, Operation::Diff, "sdiffstore")
}

fn sintercard(ctx: &mut Ctx<'_>) -> CmdResult {
    let too_few = CommandError::text("ERR numkeys should be greater than 0");
    let count = parse_i64(ctx.args.at(1)).and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0).ok_or(too_few)?;
    if count > ctx.args.len() - 2 {
        return Err(CommandError::text("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = 0;
    let mut options = ctx.args.tail(2 + count).iter();
    while let Some(option) = options.next() {
        let value = options.next().filter(|_| option.eq_ignore_ascii_case(b"LIMIT")).ok_or(CommandError::SYNTAX)?;
        let negative = CommandError::text("ERR LIMIT can't be negative");
        limit = parse_i64(value).and_then(|limit| u64::try_from(limit).ok()).ok_or(negative)?;
    }
    let keys: Vec<Key<'_>> = (2..2 + count).map(|index| ctx.key(index)).collect();
    let keys = look_up(ctx, &keys)?;
    let mut found = 0;
    intersect(ctx.node.keyspace.db(ctx.db), &keys, |_| {
        found += 1;
        limit == 0 || found < limit
    });
    ctx.out.int(found as i64);
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("sdiff", -2, Flags::READONLY, sdiff)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, -1, 1)])
        .acl(Acl::SET)
        .tips(&["nondeterministic_output_order"])
        .docs("set", "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Returns the difference of multiple sets."),
    Spec::new("sdiffstore", -3, Flags::WRITE.union(Flags::DENYOOM), sdiffstore)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["OW", "update"], 1, 0, 1), key_range(&["RO", "access"], 2, -1, 1)])
        .acl(Acl::SET)
        .docs("set", "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Stores the difference of multiple sets in a key."),
    Spec::new("sinter", -2, Flags::READONLY, sinter)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, -1, 1)])
        .acl(Acl::SET)
        .tips(&["nondeterministic_output_order"])
        .docs(
            "set",
            "1.0.0",
            "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
            "Returns the intersect of multiple sets.",
        ),
    Spec::new("sintercard", -3, Flags::READONLY.union(Flags::MOVABLEKEYS), sintercard)
        .key_specs(&[key_num(&["RO", "access"], 1)])
        .acl(Acl::SET)
        .docs(
            "set",
            "7.0.0",
            "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
            "Returns the number of members of the intersect of multiple sets.",
        ),
    Spec::new("sinterstore", -3, Flags::WRITE.union(Flags::DENYOOM), sinterstore)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["OW", "update"], 1, 0, 1), key_range(&["RO", "access"], 2, -1, 1)])
        .acl(Acl::SET)
        .docs(
            "set",
            "1.0.0",
            "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
            "Stores the intersect of multiple sets in a key.",
        ),
    Spec::new("sunion", -2, Flags::READONLY, sunion)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, -1, 1)])
        .acl(Acl::SET)
        .tips(&["nondeterministic_output_order"])
        .docs("set", "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Returns the union of multiple sets."),
    Spec::new("sunionstore", -3, Flags::WRITE.union(Flags::DENYOOM), sunionstore)
        .keys(1, -1, 1)
        .key_specs(&[key_range(&["OW", "update"], 1, 0, 1), key_range(&["RO", "access"], 2, -1, 1)])
        .acl(Acl::SET)
        .docs("set", "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Stores the union of multiple sets in a key."),
];
