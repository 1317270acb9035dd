//! ZADD and ZINCRBY.

use smallvec::SmallVec;

use super::look_up;
use crate::command::key_range::key_range;
use crate::command::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::config::Events;
use crate::keyspace::{Key, ZSetEdit};
use crate::types::number::parse_f64;

/// The options of ZADD.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::command) struct AddOptions {
    pub nx: bool,
    pub xx: bool,
    gt: bool,
    lt: bool,
    pub ch: bool,
    incr: bool,
}

impl AddOptions {
    /// Takes an argument if it is one of them.
    fn take(&mut self, arg: &[u8]) -> bool {
        let options: [(&[u8], &mut bool); 6] = [
            (b"NX", &mut self.nx),
            (b"XX", &mut self.xx),
            (b"CH", &mut self.ch),
            (b"INCR", &mut self.incr),
            (b"GT", &mut self.gt),
            (b"LT", &mut self.lt),
        ];
        let option = options.into_iter().find(|(name, _)| arg.eq_ignore_ascii_case(name));
        option.map(|(_, option)| *option = true).is_some()
    }
    fn check(self, pairs: usize) -> CmdResult {
        if self.nx && self.xx {
            return Err("ERR XX and NX options at the same time are not compatible".into());
        }
        if self.gt && self.lt || self.nx && (self.gt || self.lt) {
            return Err("ERR GT, LT, and/or NX options at the same time are not compatible".into());
        }
        if self.incr && pairs > 1 {
            return Err("ERR INCR option supports a single increment-element pair".into());
        }
        Ok(())
    }
}

/// What has come of the pairs.
#[derive(Default)]
struct Added {
    added: u64,
    updated: u64,
    /// The score of a member that an option has not spared.
    score: Option<f64>,
    is_nan: bool,
}

impl Added {
    /// The score that a member gets, if it gets another one.
    fn decide(&mut self, options: AddOptions, old: Option<f64>, given: f64) -> Option<f64> {
        let Some(old) = old else {
            if options.xx {
                return None;
            }
            self.added += 1;
            self.score = Some(given);
            return self.score;
        };
        if options.nx {
            return None;
        }
        let new = if options.incr { old + given } else { given };
        if new.is_nan() {
            self.is_nan = true;
            return None;
        }
        if options.lt && new >= old || options.gt && new <= old {
            return None;
        }
        self.score = Some(new);
        if new == old {
            return None;
        }
        self.updated += 1;
        self.score
    }
    fn run(options: AddOptions, pairs: &[(f64, &[u8])], zset: &mut ZSetEdit<'_>) -> Self {
        let mut added = Added::default();
        // How long the first member is counts where the set is new, as in Redis: whether a score has been in a listpack shows where it is -0.
        let first = pairs.first().filter(|_| zset.view().is_empty()).map_or(0, |(_, member)| member.len());
        zset.expect(pairs.len() as u64, first);
        for &(score, member) in pairs {
            zset.update(member, |old| added.decide(options, old, score));
        }
        added
    }
}

/// Adds pairs of score and member.
pub(in crate::command) fn add_pairs(ctx: &mut Ctx<'_>, key: Key<'_>, options: AddOptions, pairs: &[(f64, &[u8])]) -> CmdResult {
    let existed = look_up(ctx, key)?;
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_zset(key, !options.xx, |zset| Added::run(options, pairs, zset));
    let added = edited.map(|edited| edited.result).unwrap_or_default();
    if added.is_nan {
        return Err("ERR resulting score is not a number (NaN)".into());
    }
    let changes = added.added + added.updated;
    match (options.incr, added.score) {
        (true, Some(score)) => ctx.out.double(score),
        (true, None) => ctx.out.null(),
        _ => ctx.out.int(if options.ch { changes } else { added.added } as i64),
    }
    if changes > 0 {
        ctx.changed_by(changes as usize, key.bytes);
        ctx.notify_new(Events::ZSET, if options.incr { "zincr" } else { "zadd" }, !existed, key.bytes);
    }
    Ok(())
}

fn zadd(ctx: &mut Ctx<'_>) -> CmdResult {
    let (args, key) = (ctx.args, ctx.key(1));
    let mut options = AddOptions::default();
    let mut first = 2;
    while args.get(first).is_some_and(|arg| options.take(arg)) {
        first += 1;
    }
    let given = args.tail(first);
    if given.is_empty() || given.len() % 2 > 0 {
        return Err(CommandError::SYNTAX);
    }
    options.check(given.len() / 2)?;
    let mut pairs = SmallVec::<[(f64, &[u8]); 8]>::new();
    for index in (0..given.len()).step_by(2) {
        pairs.push((parse_f64(given.at(index)).ok_or(CommandError::NOT_FLOAT)?, given.at(index + 1)));
    }
    add_pairs(ctx, key, options, &pairs)
}

fn zincrby(ctx: &mut Ctx<'_>) -> CmdResult {
    let (args, key) = (ctx.args, ctx.key(1));
    // To Redis this is ZADD, and an option without what should follow.
    if AddOptions::default().take(args.at(2)) {
        return Err(CommandError::SYNTAX);
    }
    let increment = parse_f64(args.at(2)).ok_or(CommandError::NOT_FLOAT)?;
    add_pairs(ctx, key, AddOptions { incr: true, ..AddOptions::default() }, &[(increment, args.at(3))])
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("zadd", -4, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), zadd)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "1.2.0",
            "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
            "Adds one or more members to a sorted set, or updates their scores. Creates the key if it doesn't exist.",
        ),
    Spec::new("zincrby", 4, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), zincrby)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1)])
        .acl(Acl::SORTEDSET)
        .docs(
            "sorted-set",
            "1.2.0",
            "O(log(N)) where N is the number of elements in the sorted set.",
            "Increments the score of a member in a sorted set.",
        ),
];
