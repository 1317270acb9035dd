//! Lists: moving elements from one to another, and popping from the first of several that has some. What has to wait for an element is executed again
//! when there is one (`key_waits`), and reaches the stream as what it does in the end.

use std::ops::Range;

use smallvec::SmallVec;

use super::key_range::{key_num, key_range};
use super::key_waits::{KeysWanted, timeout_seconds};
use super::lists::{list_of, parse_side, pop_and_reply, pop_event, push_event, writable_len};
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Propagate, Spec};
use crate::config::Events;
use crate::keyspace::{Kind, Side};
use crate::types::listpack::ElemBuf;
use crate::types::number::parse_i64;

/// From which end of a list an element goes, and to which of another.
#[derive(Clone, Copy)]
struct Ends {
    from: Side,
    to: Side,
}

const RIGHT_TO_LEFT: Ends = Ends { from: Side::Right, to: Side::Left };

fn parse_ends(ctx: &Ctx<'_>) -> Result<Ends, CommandError> {
    Ok(Ends { from: parse_side(ctx.args.at(3))?, to: parse_side(ctx.args.at(4))? })
}

/// Moves an element from the first argument's list to the second's and replies it; false if there is none.
fn move_element(ctx: &mut Ctx<'_>, ends: Ends) -> Result<bool, CommandError> {
    let (source, target) = (ctx.key(1), ctx.key(2));
    let Some(list) = list_of(ctx.write(source))? else { return Ok(false) };
    let index = if ends.from == Side::Left { 0 } else { list.len() - 1 };
    let mut buffer = ElemBuf::new();
    let element = list.get(index).expect("a list has an element").bytes(&mut buffer);
    let element: SmallVec<[u8; 128]> = SmallVec::from_slice(element);
    let is_new = writable_len(ctx, target)?.is_none();
    let db = ctx.node.keyspace.db_mut(ctx.db);
    let emptied = if source.bytes == target.bytes {
        db.edit_list(source, false, |edit| {
            edit.pop(ends.from, 1);
            edit.expect(1, element.len());
            edit.push(ends.to, &element);
        });
        false
    } else {
        db.edit_list(target, true, |edit| {
            edit.expect(1, element.len());
            edit.push(ends.to, &element);
        });
        db.edit_list(source, false, |edit| edit.pop(ends.from, 1)).is_some_and(|popped| popped.emptied)
    };
    ctx.node.signal(ctx.db, target.bytes);
    ctx.notify_new(Events::LIST, push_event(ends.to), is_new, target.bytes);
    ctx.out.bulk(&element);
    ctx.elements_removed(pop_event(ends.from), source.bytes, 1, emptied);
    Ok(true)
}

fn lmove(ctx: &mut Ctx<'_>) -> CmdResult {
    let ends = parse_ends(ctx)?;
    if !move_element(ctx, ends)? {
        ctx.out.null();
    }
    Ok(())
}

fn rpoplpush(ctx: &mut Ctx<'_>) -> CmdResult {
    if !move_element(ctx, RIGHT_TO_LEFT)? {
        ctx.out.null();
    }
    Ok(())
}

/// Moves an element, or waits for one; true if one has been moved.
fn move_or_wait(ctx: &mut Ctx<'_>, ends: Ends, deadline_ms: Option<i64>) -> Result<bool, CommandError> {
    if move_element(ctx, ends)? {
        return Ok(true);
    }
    if !ctx.wait_for_keys(KeysWanted::new(Kind::List, 1..2, deadline_ms)) {
        ctx.out.null();
    }
    Ok(false)
}

fn blmove(ctx: &mut Ctx<'_>) -> CmdResult {
    let ends = parse_ends(ctx)?;
    let deadline_ms = timeout_seconds(ctx, 5)?;
    if move_or_wait(ctx, ends, deadline_ms)? {
        let word = |side| if side == Side::Left { &b"left"[..] } else { b"right" };
        let args = ctx.args;
        ctx.propagate(&[b"LMOVE", args.at(1), args.at(2), word(ends.from), word(ends.to)]);
    }
    Ok(())
}

fn brpoplpush(ctx: &mut Ctx<'_>) -> CmdResult {
    let deadline_ms = timeout_seconds(ctx, 3)?;
    if move_or_wait(ctx, RIGHT_TO_LEFT, deadline_ms)? {
        let args = ctx.args;
        ctx.propagate(&[b"RPOPLPUSH", args.at(1), args.at(2)]);
    }
    Ok(())
}

/// Pops from the first list that there is: one element, or so many; false if there is none. In the stream it is that pop.
fn pop_first(ctx: &mut Ctx<'_>, keys: Range<usize>, side: Side, count: Option<u64>) -> Result<bool, CommandError> {
    let verb: &[u8] = if side == Side::Left { b"LPOP" } else { b"RPOP" };
    for index in keys {
        let key = ctx.key(index);
        let Some(len) = writable_len(ctx, key)? else { continue };
        ctx.out.array(2);
        ctx.out.bulk(key.bytes);
        match count {
            None => {
                pop_and_reply(ctx, key, side, 1);
                ctx.propagate(&[verb, key.bytes]);
            }
            Some(count) => {
                let count = count.min(len);
                ctx.out.array(count as usize);
                pop_and_reply(ctx, key, side, count);
                ctx.propagate(&[verb, key.bytes, itoa::Buffer::new().format(count).as_bytes()]);
            }
        }
        return Ok(true);
    }
    Ok(false)
}

fn pop_or_wait(ctx: &mut Ctx<'_>, side: Side) -> CmdResult {
    let last = ctx.args.len() - 1;
    let deadline_ms = timeout_seconds(ctx, last)?;
    if !pop_first(ctx, 1..last, side, None)? && !ctx.wait_for_keys(KeysWanted::new(Kind::List, 1..last, deadline_ms)) {
        ctx.out.null_array();
    }
    Ok(())
}

fn blpop(ctx: &mut Ctx<'_>) -> CmdResult {
    pop_or_wait(ctx, Side::Left)
}

fn brpop(ctx: &mut Ctx<'_>) -> CmdResult {
    pop_or_wait(ctx, Side::Right)
}

/// What LMPOP is asked for, from its `numkeys` on.
fn mpop_arguments(ctx: &Ctx<'_>, numkeys: usize) -> Result<(Range<usize>, Side, u64), CommandError> {
    let positive = |at: usize, error: &'static str| {
        let number = parse_i64(ctx.args.at(at)).filter(|number| *number > 0);
        number.map(|number| number as u64).ok_or(CommandError::text(error))
    };
    let keys = positive(numkeys, "ERR numkeys should be greater than 0")?;
    let end = usize::try_from(keys).ok().and_then(|keys| keys.checked_add(numkeys + 1)).ok_or(CommandError::SYNTAX)?;
    let side = parse_side(ctx.args.get(end).ok_or(CommandError::SYNTAX)?)?;
    let count = match ctx.args.get(end + 1) {
        None => 1,
        Some(word) if word.eq_ignore_ascii_case(b"count") && ctx.args.len() > end + 2 => {
            let count = positive(end + 2, "ERR count should be greater than 0")?;
            if ctx.args.len() > end + 3 {
                return Err(CommandError::SYNTAX);
            }
            count
        }
        Some(_) => return Err(CommandError::SYNTAX),
    };
    Ok((numkeys + 1..end, side, count))
}

fn lmpop(ctx: &mut Ctx<'_>) -> CmdResult {
    let (keys, side, count) = mpop_arguments(ctx, 1)?;
    if !pop_first(ctx, keys, side, Some(count))? {
        ctx.out.null_array();
    }
    Ok(())
}

fn blmpop(ctx: &mut Ctx<'_>) -> CmdResult {
    let (keys, side, count) = mpop_arguments(ctx, 2)?;
    let deadline_ms = timeout_seconds(ctx, 1)?;
    if !pop_first(ctx, keys.clone(), side, Some(count))? && !ctx.wait_for_keys(KeysWanted::new(Kind::List, keys, deadline_ms)) {
        ctx.out.null_array();
    }
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("blmove", 6, Flags::WRITE.union(Flags::DENYOOM).union(Flags::BLOCKING), blmove)
        .keys(1, 2, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1), key_range(&["RW", "insert"], 2, 0, 1)])
        .propagate(Propagate::Effects)
        .acl(Acl::LIST)
        .docs(
            "list",
            "6.2.0",
            "O(1)",
            "Pops an element from a list, pushes it to another list and returns it. Blocks until an element is available otherwise. \
             Deletes the list if the last element was moved.",
        ),
    Spec::new("blmpop", -5, Flags::WRITE.union(Flags::BLOCKING).union(Flags::MOVABLEKEYS), blmpop)
        .key_specs(&[key_num(&["RW", "access", "delete"], 2)])
        .propagate(Propagate::Effects)
        .acl(Acl::LIST)
        .docs(
            "list",
            "7.0.0",
            "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
            "Pops the first element from one of multiple lists. Blocks until an element is available otherwise. Deletes the list if \
             the last element was popped.",
        ),
    Spec::new("blpop", -3, Flags::WRITE.union(Flags::BLOCKING), blpop)
        .keys(1, -2, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, -2, 1)])
        .propagate(Propagate::Effects)
        .acl(Acl::LIST)
        .docs(
            "list",
            "2.0.0",
            "O(N) where N is the number of provided keys.",
            "Removes and returns the first element in a list. Blocks until an element is available otherwise. Deletes the list if \
             the last element was popped.",
        ),
    Spec::new("brpop", -3, Flags::WRITE.union(Flags::BLOCKING), brpop)
        .keys(1, -2, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, -2, 1)])
        .propagate(Propagate::Effects)
        .acl(Acl::LIST)
        .docs(
            "list",
            "2.0.0",
            "O(N) where N is the number of provided keys.",
            "Removes and returns the last element in a list. Blocks until an element is available otherwise. Deletes the list if \
             the last element was popped.",
        ),
    Spec::new("brpoplpush", 4, Flags::WRITE.union(Flags::DENYOOM).union(Flags::BLOCKING), brpoplpush)
        .keys(1, 2, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1), key_range(&["RW", "insert"], 2, 0, 1)])
        .propagate(Propagate::Effects)
        .acl(Acl::LIST)
        .docs(
            "list",
            "2.2.0",
            "O(1)",
            "Pops an element from a list, pushes it to another list and returns it. Block until an element is available otherwise. \
             Deletes the list if the last element was popped.",
        ),
    Spec::new("lmove", 5, Flags::WRITE.union(Flags::DENYOOM), lmove)
        .keys(1, 2, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1), key_range(&["RW", "insert"], 2, 0, 1)])
        .acl(Acl::LIST)
        .docs(
            "list",
            "6.2.0",
            "O(1)",
            "Returns an element after popping it from one list and pushing it to another. Deletes the list if the last element was moved.",
        ),
    Spec::new("lmpop", -4, Flags::WRITE.union(Flags::MOVABLEKEYS), lmpop)
        .key_specs(&[key_num(&["RW", "access", "delete"], 1)])
        .propagate(Propagate::Effects)
        .acl(Acl::LIST)
        .docs(
            "list",
            "7.0.0",
            "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
            "Returns multiple elements from a list after removing them. Deletes the list if the last element was popped.",
        ),
    Spec::new("rpoplpush", 3, Flags::WRITE.union(Flags::DENYOOM), rpoplpush)
        .keys(1, 2, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1), key_range(&["RW", "insert"], 2, 0, 1)])
        .acl(Acl::LIST)
        .docs(
            "list",
            "1.2.0",
            "O(1)",
            "Returns the last element of a list after removing and pushing it to another list. Deletes the list if the last element \
             was popped.",
        ),
];
