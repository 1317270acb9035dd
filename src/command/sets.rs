//! Sets: members one by one. Operations between sets are in `set_operations`.

use super::key_range::key_range;
use super::scan::{Found, Scan, scan_elements};
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Propagate, Spec};
use crate::config::Events;
use crate::keyspace::{Entry, Key, Kind, SetRef};
use crate::resp::Reply;
use crate::types::listpack::{Elem, ElemBuf};
use crate::types::number::parse_i64;

/// Members that one SREM of the stream names, at most.
const MEMBERS_PER_EFFECT: usize = 1024;
/// The most members that SRANDMEMBER repeats: Redis would try to answer with more than any memory.
const REPEATED_MAX: u64 = 1 << 32;

/// The set at a key, if there is one; WRONGTYPE if it is something else.
pub(super) fn set_of(entry: Option<&Entry>) -> Result<Option<SetRef<'_>>, CommandError> {
    entry.map_or(Ok(None), |entry| entry.set().map(Some).ok_or(CommandError::WRONG_TYPE))
}

pub(super) fn put_member(out: &mut Reply, member: Elem<'_>) {
    out.bulk(member.bytes(&mut ElemBuf::new()));
}

/// Tells of a key that has lost so many members; of its end as well if it has lost all.
fn removed(ctx: &mut Ctx<'_>, event: &'static str, key: &[u8], count: usize, emptied: bool) {
    ctx.changed_by(count, key);
    ctx.notify(Events::SET, event, key);
    if emptied {
        ctx.notify(Events::GENERIC, "del", key);
    }
}

fn sadd(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, members) = (ctx.key(1), ctx.args.tail(2));
    let is_new = set_of(ctx.write(key))?.is_none();
    let db = ctx.node.keyspace.db_mut(ctx.db);
    let edited = db.edit_set(key, true, |set| {
        set.expect(members.len() as u64, Elem::of(members.at(0)));
        members.iter().filter(|member| set.add(Elem::of(member))).count()
    });
    let added = edited.map_or(0, |edited| edited.result);
    if added > 0 {
        ctx.changed_by(added, key.bytes);
        ctx.notify_new(Events::SET, "sadd", is_new, key.bytes);
    }
    ctx.out.int(added as i64);
    Ok(())
}

fn srem(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, members) = (ctx.key(1), ctx.args.tail(2));
    set_of(ctx.write(key))?;
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_set(key, false, |set| members.iter().filter(|member| set.remove(Elem::of(member))).count());
    let count = edited.map_or(0, |edited| edited.result);
    if count > 0 {
        removed(ctx, "srem", key.bytes, count, edited.is_some_and(|edited| edited.emptied));
    }
    ctx.out.int(count as i64);
    Ok(())
}

fn smove(ctx: &mut Ctx<'_>) -> CmdResult {
    let (from, to, member) = (ctx.key(1), ctx.key(2), Elem::of(ctx.args.at(3)));
    let Some(is_member) = set_of(ctx.write(from))?.map(|set| set.contains(member)) else {
        ctx.out.int(0);
        return Ok(());
    };
    let is_new = set_of(ctx.write(to))?.is_none();
    ctx.out.int(is_member.into());
    if !is_member || from.bytes == to.bytes {
        return Ok(());
    }
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_set(from, false, |set| set.remove(member));
    removed(ctx, "srem", from.bytes, 1, edited.is_some_and(|edited| edited.emptied));
    let added = ctx.node.keyspace.db_mut(ctx.db).edit_set(to, true, |set| {
        set.expect(1, member);
        set.add(member)
    });
    if added.is_some_and(|added| added.result) {
        ctx.changed(to.bytes);
        ctx.notify_new(Events::SET, "sadd", is_new, to.bytes);
    }
    Ok(())
}

fn scard(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        out.int(set_of(entry)?.map_or(0, |set| set.len() as i64));
        Ok(())
    })
}

fn sismember(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, member) = (ctx.key(1), ctx.args.at(2));
    ctx.read_with(key, |entry, out| {
        out.int(set_of(entry)?.is_some_and(|set| set.contains(Elem::of(member))).into());
        Ok(())
    })
}

fn smismember(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, members) = (ctx.key(1), ctx.args.tail(2));
    ctx.read_with(key, |entry, out| {
        let set = set_of(entry)?;
        out.array(members.len());
        members.iter().for_each(|member| out.int(set.is_some_and(|set| set.contains(Elem::of(member))).into()));
        Ok(())
    })
}

fn smembers(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        let set = set_of(entry)?;
        out.set(set.map_or(0, |set| set.len() as usize));
        set.into_iter().flat_map(SetRef::iter).for_each(|member| put_member(out, member));
        Ok(())
    })
}

fn spop(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    match ctx.args.len() {
        2 => spop_one(ctx, key),
        3 => spop_count(ctx, key),
        _ => Err(CommandError::SYNTAX),
    }
}

fn spop_one(ctx: &mut Ctx<'_>, key: Key<'_>) -> CmdResult {
    if set_of(ctx.write(key))?.is_none() {
        ctx.out.null();
        return Ok(());
    }
    let random = ctx.node.env.random.clone();
    let popped = ctx.node.keyspace.db_mut(ctx.db).edit_set(key, false, |set| {
        let member = set.get().random(&mut || random.next_u64()).to_vec();
        set.remove(Elem::of(&member));
        member
    });
    let popped = popped.expect("the set was there");
    ctx.out.bulk(&popped.result);
    ctx.propagate(&[b"SREM", key.bytes, &popped.result]);
    removed(ctx, "spop", key.bytes, 1, popped.emptied);
    Ok(())
}

fn spop_count(ctx: &mut Ctx<'_>, key: Key<'_>) -> CmdResult {
    let out_of_range = CommandError::text("ERR value is out of range, must be positive");
    let count = parse_i64(ctx.args.at(2)).and_then(|count| u64::try_from(count).ok()).ok_or(out_of_range)?;
    let Some(len) = set_of(ctx.write(key))?.map(SetRef::len).filter(|_| count > 0) else {
        ctx.out.set(0);
        return Ok(());
    };
    if count >= len {
        let set = ctx.node.keyspace.db(ctx.db).get(key).and_then(Entry::set).expect("the set was there");
        ctx.out.set(len as usize);
        set.iter().for_each(|member| put_member(ctx.out, member));
        let lazy = ctx.node.config.lazyfree_lazy_server_del;
        ctx.node.keyspace.db_mut(ctx.db).remove(key, lazy);
        ctx.propagate(&[if lazy { b"UNLINK" } else { b"DEL" }, key.bytes]);
        removed(ctx, "spop", key.bytes, len as usize, true);
        return Ok(());
    }
    let random = ctx.node.env.random.clone();
    let popped = ctx.node.keyspace.db_mut(ctx.db).edit_set(key, false, |set| {
        let members: Vec<Vec<u8>> = set.get().sample(count as usize, &mut || random.next_u64()).into_iter().map(Elem::to_vec).collect();
        members.iter().for_each(|member| assert!(set.remove(Elem::of(member))));
        members
    });
    let popped = popped.expect("the set was there").result;
    ctx.out.set(popped.len());
    popped.iter().for_each(|member| ctx.out.bulk(member));
    for members in popped.chunks(MEMBERS_PER_EFFECT) {
        let effect: Vec<&[u8]> = [b"SREM", key.bytes].into_iter().chain(members.iter().map(Vec::as_slice)).collect();
        ctx.propagate(&effect);
    }
    removed(ctx, "spop", key.bytes, popped.len(), false);
    Ok(())
}

fn srandmember(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    let count = match ctx.args.get(2) {
        None => None,
        Some(_) if ctx.args.len() > 3 => return Err(CommandError::SYNTAX),
        Some(text) => Some(parse_i64(text).ok_or(CommandError::NOT_INTEGER)?),
    };
    if count == Some(i64::MIN) {
        return Err(CommandError::text("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"));
    }
    let random = ctx.node.env.random.clone();
    let mut random = || random.next_u64();
    ctx.read_with(key, |entry, out| {
        let set = set_of(entry)?;
        let Some(count) = count else {
            match set {
                None => out.null(),
                Some(set) => put_member(out, set.random(&mut random)),
            }
            return Ok(());
        };
        let Some(set) = set.filter(|_| count != 0) else {
            out.array(0);
            return Ok(());
        };
        if count < 0 {
            let count = count.unsigned_abs();
            if count > REPEATED_MAX {
                return Err(CommandError::text("ERR value is out of range"));
            }
            out.array(count as usize);
            (0..count).for_each(|_| put_member(out, set.random(&mut random)));
        } else if count as u64 >= set.len() {
            out.array(set.len() as usize);
            set.iter().for_each(|member| put_member(out, member));
        } else {
            out.array(count as usize);
            set.sample(count as usize, &mut random).into_iter().for_each(|member| put_member(out, member));
        }
        Ok(())
    })
}

fn sscan(ctx: &mut Ctx<'_>) -> CmdResult {
    let show = |scan: &Scan<'_>, found: &mut Found, member: &[u8]| {
        if scan.wants(member) {
            found.put(member);
        }
    };
    scan_elements(ctx, Kind::Set, |entry, scan, found| match entry.set() {
        Some(SetRef::Table(members)) => members.scan(scan.cursor, scan.count, &mut |entry| show(scan, found, entry.key())),
        Some(set) => {
            set.iter().for_each(|member| show(scan, found, member.bytes(&mut ElemBuf::new())));
            0
        }
        None => unreachable!("only sets come here"),
    })
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("sadd", -3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), sadd)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "insert"], 1, 0, 1)])
        .acl(Acl::SET)
        .docs(
            "set",
            "1.0.0",
            "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
            "Adds one or more members to a set. Creates the key if it doesn't exist.",
        ),
    Spec::new("scard", 2, Flags::READONLY.union(Flags::FAST), scard).keys(1, 1, 1).key_specs(&[key_range(&["RO"], 1, 0, 1)]).acl(Acl::SET).docs(
        "set",
        "1.0.0",
        "O(1)",
        "Returns the number of members in a set.",
    ),
    Spec::new("sismember", 3, Flags::READONLY.union(Flags::FAST), sismember)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO"], 1, 0, 1)])
        .acl(Acl::SET)
        .docs("set", "1.0.0", "O(1)", "Determines whether a member belongs to a set."),
    Spec::new("smembers", 2, Flags::READONLY, smembers)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SET)
        .tips(&["nondeterministic_output_order"])
        .docs("set", "1.0.0", "O(N) where N is the set cardinality.", "Returns all members of a set."),
    Spec::new("smismember", -3, Flags::READONLY.union(Flags::FAST), smismember)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SET)
        .docs(
            "set",
            "6.2.0",
            "O(N) where N is the number of elements being checked for membership",
            "Determines whether multiple members belong to a set.",
        ),
    Spec::new("smove", 4, Flags::WRITE.union(Flags::FAST), smove)
        .keys(1, 2, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1), key_range(&["RW", "insert"], 2, 0, 1)])
        .acl(Acl::SET)
        .docs("set", "1.0.0", "O(1)", "Moves a member from one set to another."),
    Spec::new("spop", -2, Flags::WRITE.union(Flags::FAST), spop)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1)])
        .acl(Acl::SET)
        .tips(&["nondeterministic_output"])
        .propagate(Propagate::Effects)
        .docs(
            "set",
            "1.0.0",
            "Without the count argument O(1), otherwise O(N) where N is the value of the passed count.",
            "Returns one or more random members from a set after removing them. Deletes the set if the last member was popped.",
        ),
    Spec::new("srandmember", -2, Flags::READONLY, srandmember)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SET)
        .tips(&["nondeterministic_output"])
        .docs(
            "set",
            "1.0.0",
            "Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.",
            "Get one or multiple random members from a set",
        ),
    Spec::new("srem", -3, Flags::WRITE.union(Flags::FAST), srem)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)])
        .acl(Acl::SET)
        .docs(
            "set",
            "1.0.0",
            "O(N) where N is the number of members to be removed.",
            "Removes one or more members from a set. Deletes the set if the last member was removed.",
        ),
    Spec::new("sscan", -3, Flags::READONLY, sscan)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::SET)
        .tips(&["nondeterministic_output"])
        .docs("set", "2.8.0", "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.", "Iterates over members of a set."),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn forms_follow_the_members() {
        let mut b = Bench::new();
        assert_eq!(b.say("sadd s 3 1 2 1"), ":3");
        assert_eq!(b.say("object encoding s"), "$6 intset");
        assert_eq!(b.say("smembers s"), "*3 $1 1 $1 2 $1 3");
        assert_eq!(b.say("sadd s a"), ":1");
        assert_eq!(b.say("object encoding s"), "$8 listpack");
        assert_eq!(b.say("smembers s"), "*4 $1 1 $1 2 $1 3 $1 a");
        assert_eq!(b.say(&format!("sadd s {}", "x".repeat(65))), ":1");
        assert_eq!(b.say("object encoding s"), "$9 hashtable");
        assert_eq!(b.say("smismember s 1 a z"), "*3 :1 :1 :0");
        assert_eq!(b.say("srem s 1 2 3 a z"), ":4");
        assert_eq!(b.say("scard s"), ":1");
        assert_eq!(b.say(&format!("srem s {}", "x".repeat(65))), ":1");
        assert_eq!(b.say("exists s"), ":0");
        let ints: Vec<String> = (0..513).map(|n| n.to_string()).collect();
        b.say(&format!("sadd i {}", ints[..512].join(" ")));
        assert_eq!(b.say("object encoding i"), "$6 intset");
        b.say("sadd i 512");
        assert_eq!(b.say("object encoding i"), "$9 hashtable");
        assert_eq!(b.say("sismember i 511"), ":1");
    }

    #[test]
    fn what_chance_decides_goes_into_the_stream() {
        let mut b = Bench::new();
        b.say("sadd s a b c");
        let effects = b.streamed("spop s");
        let left = b.say("scard s");
        assert_eq!((effects.len(), left.as_str()), (1, ":2"));
        assert!(["srem s a", "srem s b", "srem s c"].contains(&effects[0].to_lowercase().as_str()), "{effects:?}");
        assert_eq!(b.streamed("spop s 2"), ["DEL s"]);
        assert_eq!(b.streamed("spop s"), [""; 0]);
        b.say("sadd s 1 2 3 4 5 6 7 8");
        let effects = b.streamed("spop s 3");
        assert!(effects.len() == 1 && effects[0].split(' ').count() == 5, "{effects:?}");
        assert_eq!(b.say("scard s"), ":5");
        assert_eq!(b.streamed("smove s t 99"), [""; 0]);
        assert_eq!(b.streamed("sadd s 100"), ["sadd s 100"]);
        assert_eq!(b.streamed("smove s t 100"), ["smove s t 100"]);
        assert_eq!(b.say("smembers t"), "*1 $3 100");
    }

    #[test]
    fn operations_store_what_they_find() {
        let mut b = Bench::new();
        b.say("sadd a 1 2 3");
        b.say("sadd b 3 x 2");
        assert_eq!(b.say("sinterstore d a b"), ":2");
        assert_eq!(b.say("object encoding d"), "$6 intset");
        assert_eq!(b.say("sunion a b"), "*4 $1 1 $1 2 $1 3 $1 x");
        assert_eq!(b.say("sdiff a b nokey"), "*1 $1 1");
        assert_eq!(b.say("sdiff nokey a"), "*0");
        assert_eq!(b.say("sintercard 2 a b limit 1"), ":1");
        assert_eq!(b.say("sintercard 2 a b"), ":2");
        assert_eq!(b.streamed("sdiffstore d nokey a"), ["sdiffstore d nokey a"]);
        assert_eq!(b.say("exists d"), ":0");
        assert_eq!(b.streamed("sdiffstore d nokey a"), [""; 0]);
        b.say("set str 1");
        assert_eq!(b.say("sinter nokey str"), "-WRONGTYPE Operation against a key holding the wrong kind of value");
    }
}
