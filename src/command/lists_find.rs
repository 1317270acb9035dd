//! LPOS: where in a list an element stands.

use super::key_range::key_range;
use super::lists::{OUT_OF_LONG, list_of};
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::types::listpack::Elem;
use crate::types::number::parse_i64;

/// What LPOS is to find.
struct Wanted {
    rank: i64,
    /// `None` for the first match alone, 0 for all.
    count: Option<u64>,
    /// How many elements are looked at; 0 for all.
    max_len: u64,
}

fn lpos_options(ctx: &Ctx<'_>) -> Result<Wanted, CommandError> {
    let mut wanted = Wanted { rank: 1, count: None, max_len: 0 };
    let not_negative =
        |at: usize, error: &'static str| parse_i64(ctx.args.at(at)).and_then(|n| u64::try_from(n).ok()).ok_or(CommandError::text(error));
    let mut at = 3;
    while let Some(option) = ctx.args.get(at) {
        if at + 1 == ctx.args.len() {
            return Err(CommandError::SYNTAX);
        }
        match option.to_ascii_uppercase().as_slice() {
            b"RANK" => {
                wanted.rank = ctx.int(at + 1)?;
                match wanted.rank {
                    i64::MIN => return Err(OUT_OF_LONG),
                    0 => {
                        return Err("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start \
                                    from the end of the list"
                            .into());
                    }
                    _ => {}
                }
            }
            b"COUNT" => wanted.count = Some(not_negative(at + 1, "ERR COUNT can't be negative")?),
            b"MAXLEN" => wanted.max_len = not_negative(at + 1, "ERR MAXLEN can't be negative")?,
            _ => return Err(CommandError::SYNTAX),
        }
        at += 2;
    }
    Ok(wanted)
}

fn lpos(ctx: &mut Ctx<'_>) -> CmdResult {
    let wanted = lpos_options(ctx)?;
    let (key, args) = (ctx.key(1), ctx.args);
    let mut found: Vec<u64> = Vec::new();
    ctx.read_with(key, |entry, out| {
        let text = Elem::of(args.at(2));
        if let Some(list) = list_of(entry)? {
            let len = list.len();
            let look = if wanted.max_len == 0 { len } else { wanted.max_len.min(len) } as usize;
            let skip = (wanted.rank.unsigned_abs() - 1) as usize;
            let take = match wanted.count {
                None => 1,
                Some(0) => usize::MAX,
                Some(count) => count as usize,
            };
            let is_it = |(_, elem): &(u64, Elem<'_>)| *elem == text;
            match wanted.rank > 0 {
                true => found.extend((0..).zip(list.iter()).take(look).filter(is_it).map(|(at, _)| at).skip(skip).take(take)),
                false => {
                    let back = (0..len).rev().zip(list.iter_back_from(len.wrapping_sub(1)));
                    found.extend(back.take(look).filter(is_it).map(|(at, _)| at).skip(skip).take(take));
                }
            }
        }
        match (wanted.count, found.first()) {
            (None, None) => out.null(),
            (None, Some(at)) => out.int(*at as i64),
            (Some(_), _) => {
                out.array(found.len());
                found.iter().for_each(|at| out.int(*at as i64));
            }
        }
        Ok(())
    })
}

pub(super) const ROWS: &[Spec] =
    &[Spec::new("lpos", -3, Flags::READONLY, lpos).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::LIST).docs(
        "list",
        "6.0.6",
        "O(N) where N is the number of elements in the list, for the average case. When searching for elements near the head or \
             the tail of the list, or when the MAXLEN option is provided, the command may run in constant time.",
        "Returns the index of matching elements in a list.",
    )];
