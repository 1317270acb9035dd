//! Lists: pushing, popping, reading and changing one list. Moving between lists and what waits is in `lists_move`.

use super::key_range::key_range;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::config::Events;
use crate::keyspace::{Entry, Key, ListRef, Side};
use crate::resp::Reply;
use crate::types::listpack::Elem;
use crate::types::number::parse_i64;

/// The value of a key that must hold a list.
pub(super) fn list_of(entry: Option<&Entry>) -> Result<Option<ListRef<'_>>, CommandError> {
    match entry {
        None => Ok(None),
        Some(entry) => entry.list().map(Some).ok_or(CommandError::WRONG_TYPE),
    }
}

/// How many elements the list at a key has that is to be changed; `None` without one.
pub(super) fn writable_len(ctx: &mut Ctx<'_>, key: Key<'_>) -> Result<Option<u64>, CommandError> {
    Ok(list_of(ctx.write(key))?.map(ListRef::len))
}

pub(super) fn reply_elem(out: &mut Reply, elem: Elem<'_>) {
    match elem {
        Elem::Int(number) => out.bulk_int(number),
        Elem::Bytes(bytes) => out.bulk(bytes),
    }
}

/// `LEFT` or `RIGHT`.
pub(super) fn parse_side(word: &[u8]) -> Result<Side, CommandError> {
    match word {
        word if word.eq_ignore_ascii_case(b"left") => Ok(Side::Left),
        word if word.eq_ignore_ascii_case(b"right") => Ok(Side::Right),
        _ => Err(CommandError::SYNTAX),
    }
}

pub(super) const fn push_event(side: Side) -> &'static str {
    match side {
        Side::Left => "lpush",
        Side::Right => "rpush",
    }
}

pub(super) const fn pop_event(side: Side) -> &'static str {
    match side {
        Side::Left => "lpop",
        Side::Right => "rpop",
    }
}

impl Ctx<'_> {
    /// Tells everybody that elements have gone from a list, and the list with the last of them.
    pub(super) fn elements_removed(&mut self, event: &str, key: &[u8], count: u64, emptied: bool) {
        self.notify(Events::LIST, event, key);
        if emptied {
            self.notify(Events::GENERIC, "del", key);
        }
        self.node.signal(self.db, key);
        self.node.dirty += count;
    }
}

/// The elements that a pop of `count` takes, in the order in which it replies them.
fn reply_ends(out: &mut Reply, list: ListRef<'_>, side: Side, count: u64) {
    match side {
        Side::Left => list.iter().take(count as usize).for_each(|elem| reply_elem(out, elem)),
        Side::Right => list.iter_back_from(list.len().wrapping_sub(1)).take(count as usize).for_each(|elem| reply_elem(out, elem)),
    }
}

/// Takes elements from the end of a list that has so many, replies them one after another, and tells everybody.
pub(super) fn pop_and_reply(ctx: &mut Ctx<'_>, key: Key<'_>, side: Side, count: u64) {
    let Ctx { node, out, db, .. } = ctx;
    let popped = node.keyspace.db_mut(*db).edit_list(key, false, |edit| {
        reply_ends(out, edit.read(), side, count);
        edit.pop(side, count);
    });
    let emptied = popped.is_some_and(|popped| popped.emptied);
    ctx.elements_removed(pop_event(side), key.bytes, count, emptied);
}

fn push(ctx: &mut Ctx<'_>, side: Side, create: bool) -> CmdResult {
    let (key, elements) = (ctx.key(1), ctx.args.tail(2));
    let old_len = writable_len(ctx, key)?;
    if old_len.is_none() && !create {
        ctx.out.int(0);
        return Ok(());
    }
    ctx.node.keyspace.db_mut(ctx.db).edit_list(key, true, |edit| {
        edit.expect(elements.len(), elements.iter().map(<[u8]>::len).sum());
        elements.iter().for_each(|element| edit.push(side, element));
    });
    ctx.notify_new(Events::LIST, push_event(side), old_len.is_none(), key.bytes);
    ctx.changed_by(elements.len(), key.bytes);
    ctx.out.int((old_len.unwrap_or(0) + elements.len() as u64) as i64);
    Ok(())
}

fn lpush(ctx: &mut Ctx<'_>) -> CmdResult {
    push(ctx, Side::Left, true)
}

fn rpush(ctx: &mut Ctx<'_>) -> CmdResult {
    push(ctx, Side::Right, true)
}

fn lpushx(ctx: &mut Ctx<'_>) -> CmdResult {
    push(ctx, Side::Left, false)
}

fn rpushx(ctx: &mut Ctx<'_>) -> CmdResult {
    push(ctx, Side::Right, false)
}

fn pop(ctx: &mut Ctx<'_>, side: Side) -> CmdResult {
    if ctx.args.len() > 3 {
        return Err(CommandError::arity(ctx.spec.name));
    }
    let asked = match ctx.args.get(2) {
        None => None,
        Some(count) => {
            let count = parse_i64(count).and_then(|count| u64::try_from(count).ok());
            Some(count.ok_or(CommandError::text("ERR value is out of range, must be positive"))?)
        }
    };
    let key = ctx.key(1);
    match (writable_len(ctx, key)?, asked) {
        (None, None) => ctx.out.null(),
        (None, Some(_)) => ctx.out.null_array(),
        (Some(_), None) => pop_and_reply(ctx, key, side, 1),
        (Some(_), Some(0)) => ctx.out.array(0),
        (Some(len), Some(asked)) => {
            let count = asked.min(len);
            ctx.out.array(count as usize);
            pop_and_reply(ctx, key, side, count);
        }
    }
    Ok(())
}

fn lpop(ctx: &mut Ctx<'_>) -> CmdResult {
    pop(ctx, Side::Left)
}

fn rpop(ctx: &mut Ctx<'_>) -> CmdResult {
    pop(ctx, Side::Right)
}

fn llen(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        out.int(list_of(entry)?.map_or(0, ListRef::len) as i64);
        Ok(())
    })
}

/// The index that a negative one means, counted from the end.
fn from_front(index: i64, len: u64) -> Option<u64> {
    let index = if index < 0 { index + len as i64 } else { index };
    u64::try_from(index).ok().filter(|index| *index < len)
}

fn lindex(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, args) = (ctx.key(1), ctx.args);
    ctx.read_with(key, |entry, out| {
        let Some(list) = list_of(entry)? else {
            out.null();
            return Ok(());
        };
        let index = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
        match from_front(index, list.len()).and_then(|index| list.get(index)) {
            Some(elem) => reply_elem(out, elem),
            None => out.null(),
        }
        Ok(())
    })
}

/// The part of a list that LRANGE and LTRIM mean: from where, and how many.
fn clamp(start: i64, end: i64, len: u64) -> (u64, u64) {
    let len = len as i64;
    let absolute = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, end) = (absolute(start).max(0), absolute(end).min(len - 1));
    if start > end { (0, 0) } else { (start as u64, (end - start + 1) as u64) }
}

fn lrange(ctx: &mut Ctx<'_>) -> CmdResult {
    let (start, end) = (ctx.int(2)?, ctx.int(3)?);
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        let list = list_of(entry)?;
        let (start, count) = clamp(start, end, list.map_or(0, ListRef::len));
        out.array(count as usize);
        if let Some(list) = list
            && count > 0
        {
            list.iter_from(start).take(count as usize).for_each(|elem| reply_elem(out, elem));
        }
        Ok(())
    })
}

fn linsert(ctx: &mut Ctx<'_>) -> CmdResult {
    let after = match ctx.args.at(2) {
        word if word.eq_ignore_ascii_case(b"after") => true,
        word if word.eq_ignore_ascii_case(b"before") => false,
        _ => return Err(CommandError::SYNTAX),
    };
    let (key, args) = (ctx.key(1), ctx.args);
    let Some(len) = writable_len(ctx, key)? else {
        ctx.out.int(0);
        return Ok(());
    };
    // As in Redis, a list makes room before it looks for the pivot.
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_list(key, false, |edit| {
        edit.expect(1, args.at(4).len());
        let pivot = Elem::of(args.at(3));
        let index = edit.read().iter().position(|elem| elem == pivot);
        index.map(|index| edit.insert(index as u64, after, args.at(4))).is_some()
    });
    if !edited.is_some_and(|edited| edited.result) {
        ctx.out.int(-1);
        return Ok(());
    }
    ctx.notify(Events::LIST, "linsert", key.bytes);
    ctx.changed(key.bytes);
    ctx.out.int(len as i64 + 1);
    Ok(())
}

fn lset(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, args) = (ctx.key(1), ctx.args);
    let len = writable_len(ctx, key)?.ok_or(CommandError::NO_KEY)?;
    // Redis keeps the low 32 bits here, and here alone.
    let index = i64::from(ctx.int(2)? as i32);
    // As in Redis, a list makes room before it looks whether there is such an element.
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_list(key, false, |edit| {
        edit.expect(1, args.at(3).len());
        from_front(index, len).map(|index| edit.set(index, args.at(3))).is_some()
    });
    if !edited.is_some_and(|edited| edited.result) {
        return Err(CommandError::OUT_OF_RANGE);
    }
    ctx.notify(Events::LIST, "lset", key.bytes);
    ctx.changed(key.bytes);
    ctx.out.ok();
    Ok(())
}

fn ltrim(ctx: &mut Ctx<'_>) -> CmdResult {
    let (start, end) = (ctx.int(2)?, ctx.int(3)?);
    let key = ctx.key(1);
    if let Some(len) = writable_len(ctx, key)? {
        let (start, count) = clamp(start, end, len);
        let trimmed = ctx.node.keyspace.db_mut(ctx.db).edit_list(key, false, |edit| {
            edit.remove_range(start + count, len);
            edit.remove_range(0, start);
        });
        ctx.elements_removed("ltrim", key.bytes, len - count, trimmed.is_some_and(|trimmed| trimmed.emptied));
    }
    ctx.out.ok();
    Ok(())
}

fn lrem(ctx: &mut Ctx<'_>) -> CmdResult {
    let count = ctx.int(2)?;
    if count == i64::MIN {
        return Err(OUT_OF_LONG);
    }
    let (key, args) = (ctx.key(1), ctx.args);
    if writable_len(ctx, key)?.is_none() {
        ctx.out.int(0);
        return Ok(());
    }
    let from = if count < 0 { Side::Right } else { Side::Left };
    let max = if count == 0 { u64::MAX } else { count.unsigned_abs() };
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_list(key, false, |edit| edit.remove_equal(from, args.at(3), max));
    let (removed, emptied) = edited.map_or((0, false), |edited| (edited.result, edited.emptied));
    if removed > 0 {
        ctx.elements_removed("lrem", key.bytes, removed, emptied);
    }
    ctx.out.int(removed as i64);
    Ok(())
}

pub(super) const OUT_OF_LONG: CommandError =
    CommandError::text("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");

pub(super) const ROWS: &[Spec] = &[
    Spec::new("lindex", 3, Flags::READONLY, lindex).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::LIST).docs(
        "list",
        "1.0.0",
        "O(N) where N is the number of elements to traverse to get to the element at index. This makes asking for the first or \
             the last element of the list O(1).",
        "Returns an element from a list by its index.",
    ),
    Spec::new("linsert", 5, Flags::WRITE.union(Flags::DENYOOM), linsert)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "insert"], 1, 0, 1)])
        .acl(Acl::LIST)
        .docs(
            "list",
            "2.2.0",
            "O(N) where N is the number of elements to traverse before seeing the value pivot. This means that inserting somewhere \
             on the left end on the list (head) can be considered O(1) and inserting somewhere on the right end (tail) is O(N).",
            "Inserts an element before or after another element in a list.",
        ),
    Spec::new("llen", 2, Flags::READONLY.union(Flags::FAST), llen).keys(1, 1, 1).key_specs(&[key_range(&["RO"], 1, 0, 1)]).acl(Acl::LIST).docs(
        "list",
        "1.0.0",
        "O(1)",
        "Returns the length of a list.",
    ),
    Spec::new("lpop", -2, Flags::WRITE.union(Flags::FAST), lpop)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1)])
        .acl(Acl::LIST)
        .docs(
            "list",
            "1.0.0",
            "O(N) where N is the number of elements returned",
            "Returns the first elements in a list after removing it. Deletes the list if the last element was popped.",
        ),
    Spec::new("lpush", -3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), lpush)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "insert"], 1, 0, 1)])
        .acl(Acl::LIST)
        .docs(
            "list",
            "1.0.0",
            "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
            "Prepends one or more elements to a list. Creates the key if it doesn't exist.",
        ),
    Spec::new("lpushx", -3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), lpushx)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "insert"], 1, 0, 1)])
        .acl(Acl::LIST)
        .docs(
            "list",
            "2.2.0",
            "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
            "Prepends one or more elements to a list only when the list exists.",
        ),
    Spec::new("lrange", 4, Flags::READONLY, lrange).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::LIST).docs(
        "list",
        "1.0.0",
        "O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or TAIL) for large \
             lists; and N is the number of elements in the specified range.",
        "Returns a range of elements from a list.",
    ),
    Spec::new("lrem", 4, Flags::WRITE, lrem).keys(1, 1, 1).key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)]).acl(Acl::LIST).docs(
        "list",
        "1.0.0",
        "O(N+M) where N is the length of the list and M is the number of elements removed.",
        "Removes elements from a list. Deletes the list if the last element was removed.",
    ),
    Spec::new("lset", 4, Flags::WRITE.union(Flags::DENYOOM), lset)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::LIST)
        .docs(
            "list",
            "1.0.0",
            "O(N) where N is the length of the list. Setting either the first or the last element of the list is O(1).",
            "Sets the value of an element in a list by its index.",
        ),
    Spec::new("ltrim", 4, Flags::WRITE, ltrim).keys(1, 1, 1).key_specs(&[key_range(&["RW", "delete"], 1, 0, 1)]).acl(Acl::LIST).docs(
        "list",
        "1.0.0",
        "O(N) where N is the number of elements to be removed by the operation.",
        "Removes elements from both ends a list. Deletes the list if all elements were trimmed.",
    ),
    Spec::new("rpop", -2, Flags::WRITE.union(Flags::FAST), rpop)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1)])
        .acl(Acl::LIST)
        .docs(
            "list",
            "1.0.0",
            "O(N) where N is the number of elements returned",
            "Returns and removes the last elements of a list. Deletes the list if the last element was popped.",
        ),
    Spec::new("rpush", -3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), rpush)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "insert"], 1, 0, 1)])
        .acl(Acl::LIST)
        .docs(
            "list",
            "1.0.0",
            "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
            "Appends one or more elements to a list. Creates the key if it doesn't exist.",
        ),
    Spec::new("rpushx", -3, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), rpushx)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "insert"], 1, 0, 1)])
        .acl(Acl::LIST)
        .docs(
            "list",
            "2.2.0",
            "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
            "Appends an element to a list only when the list exists.",
        ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn pops_and_ranges_answer_as_redis_does() {
        let mut b = Bench::new();
        assert_eq!(b.streamed("rpush l a b c a 1"), ["rpush l a b c a 1"]);
        assert_eq!(b.say("lrange l -4 -2"), "*3 $1 b $1 c $1 a");
        assert_eq!(b.say("lrange l 3 1"), "*0");
        assert_eq!(b.say("rpop l 2"), "*2 $1 1 $1 a");
        assert_eq!(b.say("lpop l 0"), "*0");
        assert_eq!(b.streamed("lpop l 0"), [""; 0]);
        assert_eq!(b.say("lpop none"), "$-1");
        assert_eq!(b.say("lpop none 0"), "*-1");
        assert_eq!(b.say("lpop l -1"), "-ERR value is out of range, must be positive");
        assert_eq!(b.say("lpop l 9"), "*3 $1 a $1 b $1 c");
        assert_eq!(b.say("exists l"), ":0");
        assert_eq!(b.say("lpushx l x"), ":0");
        assert_eq!(b.say("lindex none x"), "$-1");
    }

    #[test]
    fn elements_are_found_changed_and_removed() {
        let mut b = Bench::new();
        b.say("rpush l a b c a");
        assert_eq!(b.say("lpos l a rank -1 count 0"), "*2 :3 :0");
        assert_eq!(b.say("lpos l a rank 2 maxlen 3"), "$-1");
        assert_eq!(b.say("linsert l after c d"), ":5");
        assert_eq!(b.say("linsert l before x d"), ":-1");
        assert_eq!(b.say("lset l -1 z"), "+OK");
        assert_eq!(b.say("lset l 5 z"), "-ERR index out of range");
        assert_eq!(b.say("lrem l -1 a"), ":1");
        assert_eq!(b.streamed("lrem l 0 a"), [""; 0]);
        assert_eq!(b.streamed("ltrim l 0 -1"), [""; 0]);
        assert_eq!(b.streamed("ltrim l 1 2"), ["ltrim l 1 2"]);
        assert_eq!(b.say("lrange l 0 -1"), "*2 $1 c $1 d");
        b.say("ltrim l 5 6");
        assert_eq!(b.say("exists l"), ":0");
        b.say("set s x");
        for line in ["lpush s a", "llen s", "lpop s", "lset s 0 a", "lrem s 0 a", "ltrim s 0 0", "lpos s a", "linsert s before a b"] {
            assert_eq!(b.say(line), "-WRONGTYPE Operation against a key holding the wrong kind of value", "{line}");
        }
    }

    /// Redis converts a list before it looks for what is to be changed.
    #[test]
    fn a_list_makes_room_even_for_what_does_not_come() {
        let mut b = Bench::new();
        b.say("config set list-max-listpack-size 3");
        b.say("rpush l a b c");
        assert_eq!(b.say("object encoding l"), "$8 listpack");
        b.say("lset l 7 x");
        assert_eq!(b.say("object encoding l"), "$9 quicklist");
        b.say("lpop l 2");
        assert_eq!(b.say("object encoding l"), "$8 listpack");
    }
}
