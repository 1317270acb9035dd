//! Sorted sets. Here: how their commands look keys up, reply pairs, and tell of what has changed.

mod add;
mod combine;
mod pop;
mod random;
mod range;
mod range_args;
mod read;
mod remove;
mod store;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use super::{CommandError, Ctx, Spec};
use crate::config::Events;
use crate::keyspace::{Key, ZSetRef};
use crate::resp::{Proto, Reply};
use crate::types::listpack::{Elem, ElemBuf};

pub(super) use add::{AddOptions, add_pairs};
pub(super) use store::store;

pub(super) const ROWS: [&[Spec]; 8] = [add::ROWS, combine::ROWS, pop::ROWS, random::ROWS, range::ROWS, read::ROWS, remove::ROWS, store::ROWS];

/// Reads a sorted set; `f` gets `None` if there is no such key.
pub(super) fn read<R>(ctx: &mut Ctx<'_>, key: Key<'_>, f: impl FnOnce(Option<ZSetRef<'_>>, &mut Reply) -> R) -> Result<R, CommandError> {
    ctx.read_with(key, |entry, out| match entry {
        None => Ok(f(None, out)),
        Some(entry) => Ok(f(Some(entry.zset().ok_or(CommandError::WRONG_TYPE)?), out)),
    })
}

/// Looks a sorted set up for writing: whether it is there.
fn look_up(ctx: &mut Ctx<'_>, key: Key<'_>) -> Result<bool, CommandError> {
    match ctx.write(key) {
        None => Ok(false),
        Some(entry) if entry.zset().is_some() => Ok(true),
        Some(_) => Err(CommandError::WRONG_TYPE),
    }
}

/// So many members have changed, which is called `event`; `emptied` if the key is gone by it.
fn tell(ctx: &mut Ctx<'_>, key: Key<'_>, count: u64, event: &str, emptied: bool) {
    if count == 0 {
        return;
    }
    ctx.changed_by(count as usize, key.bytes);
    ctx.notify(Events::ZSET, event, key.bytes);
    if emptied {
        ctx.notify(Events::GENERIC, "del", key.bytes);
    }
}

pub(super) fn reply_member(out: &mut Reply, member: Elem<'_>) {
    match member {
        Elem::Int(number) => out.bulk_int(number),
        Elem::Bytes(bytes) => out.bulk(bytes),
    }
}

pub(super) fn compare_members(a: Elem<'_>, b: Elem<'_>) -> Ordering {
    a.cmp_bytes(b.bytes(&mut ElemBuf::new()))
}

/// A reply of members, perhaps with their scores: in RESP3 these come in pairs, in RESP2 one behind the other.
#[derive(Clone, Copy)]
struct Listing {
    with_scores: bool,
}

impl Listing {
    fn begin(self, out: &mut Reply, count: u64) {
        let flat = self.with_scores && out.proto == Proto::Resp2;
        out.array(if flat { count * 2 } else { count } as usize);
    }
    fn put(self, out: &mut Reply, elem: Elem<'_>, score: f64) {
        if self.with_scores && out.proto == Proto::Resp3 {
            out.array(2);
        }
        reply_member(out, elem);
        if self.with_scores {
            out.double(score);
        }
    }
}
