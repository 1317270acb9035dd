//! HGETEX, HSETEX, HGETDEL: reading or setting fields, and what becomes of them then, in one.

use super::error::cited;
use super::hash_expiry::{BAD_COUNT, moment, names_at};
use super::hashes::{hash_of, put, visible};
use super::key_range::key_range;
use super::set::Unit;
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Propagate, Spec};
use crate::config::Events;
use crate::keyspace::{HashEdit, Key, SetExpire, UnixMs};
use crate::resp::{Args, Reply};
use crate::types::listpack::Elem;
use crate::types::number::parse_i64;

/// What HGETEX does to the fields that it reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Persist,
    Expire(UnixMs),
}

/// Looks a hash up for writing, without those of the fields that are past their time. `None` if there is none.
fn look_up<'n>(ctx: &mut Ctx<'_>, key: Key<'_>, names: impl Iterator<Item = &'n [u8]> + Clone) -> Option<()> {
    let now = ctx.field_clock();
    let hash = ctx.write(key).and_then(|entry| entry.hash())?;
    if names.clone().any(|name| hash.get(name).is_some_and(|field| field.is_due(now))) {
        ctx.delete_due_fields(key, names);
        ctx.write(key)?;
    }
    Some(())
}

/// Replies with a field's value, null if there is none; true if there is one.
fn reply_field(out: &mut Reply, hash: &HashEdit<'_>, name: &[u8], now: UnixMs) -> bool {
    let value = visible(Some(hash.get()), name, now, &mut false);
    match value {
        Some(value) => put(out, value),
        None => out.null(),
    }
    value.is_some()
}

/// HGETEX's option, and where the names begin.
fn then_of(ctx: &Ctx<'_>) -> Result<(Then, usize), CommandError> {
    let option = ctx.args.at(2);
    if option.eq_ignore_ascii_case(b"PERSIST") {
        return Ok((Then::Persist, 3));
    }
    match Unit::named(option) {
        Some(unit) => Ok((Then::Expire(moment(ctx, ctx.args.at(3), unit)?), 4)),
        None => Ok((Then::Nothing, 2)),
    }
}

fn hgetex(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, now) = (ctx.key(1), ctx.field_clock());
    hash_of(ctx.write(key))?;
    let (then, index) = then_of(ctx)?;
    let names = names_at(ctx.args, index, ctx.spec.name, BAD_COUNT)?;
    ctx.out.array(names.len());
    if look_up(ctx, key, names.iter()).is_none() {
        names.iter().for_each(|_| ctx.out.null());
        return Ok(());
    }
    let deletes = matches!(then, Then::Expire(at) if ctx.deletes_at_once(at));
    let mut changed: Vec<&[u8]> = Vec::new();
    let out = &mut *ctx.out;
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_hash(key, false, |hash| {
        if then != Then::Nothing {
            hash.keep_times();
        }
        for name in names.iter() {
            if !reply_field(out, hash, name, now) {
                continue;
            }
            let is_changed = match then {
                Then::Nothing => false,
                Then::Persist => hash.get().get(name).is_some_and(|field| field.expire.is_some()) && hash.set_expire(name, None),
                Then::Expire(_) if deletes => hash.remove(name),
                Then::Expire(at) => hash.set_expire(name, Some(at)),
            };
            if is_changed {
                changed.push(name);
            }
        }
    });
    match then {
        Then::Expire(at) => ctx.fields_expire_at(key, &changed, at, deletes, edited.is_some_and(|edited| edited.emptied)),
        Then::Persist if !changed.is_empty() => {
            ctx.changed_by(changed.len(), key.bytes);
            ctx.notify(Events::HASH, "hpersist", key.bytes);
            ctx.propagate_fields(&[b"HPERSIST", key.bytes], &changed);
        }
        _ => {}
    }
    Ok(())
}

fn hgetdel(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, now) = (ctx.key(1), ctx.field_clock());
    hash_of(ctx.write(key))?;
    let names = names_at(ctx.args, 2, ctx.spec.name, BAD_COUNT)?;
    ctx.out.array(names.len());
    if look_up(ctx, key, names.iter()).is_none() {
        names.iter().for_each(|_| ctx.out.null());
        return Ok(());
    }
    let mut deleted: Vec<&[u8]> = Vec::new();
    let out = &mut *ctx.out;
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_hash(key, false, |hash| {
        deleted.extend(names.iter().filter(|name| reply_field(out, hash, name, now) && hash.remove(name)));
    });
    if !deleted.is_empty() {
        ctx.changed_by(deleted.len(), key.bytes);
        ctx.fields_deleted(key, &deleted, edited.is_some_and(|edited| edited.emptied));
    }
    Ok(())
}

/// HSETEX's options and fields.
struct SetEx<'a> {
    /// Sets if all fields are there (FXX), or if none is (FNX).
    if_there: Option<bool>,
    expire: SetExpire,
    pairs: Args<'a>,
}

impl<'a> SetEx<'a> {
    fn parse(ctx: &Ctx<'a>) -> Result<Self, CommandError> {
        let (mut if_there, mut expire) = (None, None);
        let arity = || CommandError::arity(ctx.spec.name);
        let mut index = 2;
        loop {
            let option = ctx.args.get(index).ok_or_else(arity)?;
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            index += 1;
            if is("FIELDS") {
                break;
            } else if is("FNX") || is("FXX") {
                if if_there.replace(is("FXX")).is_some() {
                    return Err("ERR Only one of FXX or FNX arguments can be specified".into());
                }
                continue;
            }
            let unit = Unit::named(option);
            if unit.is_none() && !is("KEEPTTL") {
                return Err(format!("ERR unknown argument: {}", cited(option, usize::MAX)).into());
            }
            if expire.is_some() {
                return Err("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified".into());
            }
            expire = Some(match unit {
                None => SetExpire::Keep,
                Some(unit) => {
                    let at = moment(ctx, ctx.args.get(index).ok_or_else(arity)?, unit)?;
                    index += 1;
                    SetExpire::At(at)
                }
            });
        }
        // Room for the count, a field and its value is looked for first.
        if ctx.args.len() < index + 3 {
            return Err(arity());
        }
        let count = parse_i64(ctx.args.at(index)).and_then(|count| i32::try_from(count).ok());
        let count = count.filter(|count| *count > 0).ok_or(CommandError::text("ERR invalid number of fields"))?;
        let pairs = ctx.args.tail(index + 1);
        if pairs.len() as u64 != 2 * count as u64 {
            return Err(arity());
        }
        Ok(SetEx { if_there, expire: expire.unwrap_or(SetExpire::Clear), pairs })
    }
    fn names(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let pairs = self.pairs;
        (0..pairs.len() / 2).map(move |pair| pairs.at(2 * pair))
    }
    fn is_met(&self, ctx: &mut Ctx<'_>, key: Key<'_>) -> bool {
        let Some(wanted) = self.if_there else { return true };
        let now = ctx.field_clock();
        let is_there = look_up(ctx, key, self.names()).is_some();
        let hash = ctx.node.keyspace.db(ctx.db).get(key).filter(|_| is_there).and_then(|entry| entry.hash());
        self.names().all(|name| visible(hash, name, now, &mut false).is_some() == wanted)
    }
}

fn hsetex(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.key(1);
    let request = SetEx::parse(ctx)?;
    hash_of(ctx.write(key))?;
    let is_met = request.is_met(ctx, key);
    ctx.out.int(is_met.into());
    if !is_met {
        return Ok(());
    }
    let is_new = ctx.write(key).is_none();
    let (pairs, expire) = (request.pairs, request.expire);
    let past = match expire {
        SetExpire::At(at) if ctx.deletes_at_once(at) => Some(at),
        _ => None,
    };
    let edited = ctx.node.keyspace.db_mut(ctx.db).edit_hash(key, true, |hash| {
        hash.expect(pairs.len() as u64 / 2);
        if matches!(expire, SetExpire::At(_)) {
            hash.keep_times();
        }
        for (pair, name) in request.names().enumerate() {
            hash.set(name, Elem::of(pairs.at(2 * pair + 1)), if past.is_some() { SetExpire::Clear } else { expire });
            if past.is_some() {
                hash.remove(name);
            }
        }
    });
    ctx.notify_new(Events::HASH, "hset", is_new, key.bytes);
    let names: Vec<&[u8]> = request.names().collect();
    if let Some(at) = past {
        ctx.fields_expire_at(key, &names, at, true, edited.is_some_and(|edited| edited.emptied));
        return Ok(());
    }
    let set: Vec<&[u8]> = pairs.iter().collect();
    ctx.propagate(&[&[b"HSET", key.bytes], set.as_slice()].concat());
    match expire {
        SetExpire::At(at) => {
            ctx.end_unit();
            ctx.fields_expire_at(key, &names, at, false, false);
        }
        SetExpire::Keep => {
            ctx.changed_by(names.len(), key.bytes);
            names.iter().for_each(|name| ctx.propagate_expiry(key, name));
        }
        SetExpire::Clear => ctx.changed_by(names.len(), key.bytes),
    }
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("hgetdel", -5, Flags::WRITE.union(Flags::FAST), hgetdel)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "delete"], 1, 0, 1)])
        .acl(Acl::HASH)
        .propagate(Propagate::Effects)
        .docs("hash", "8.0.0", "O(N) where N is the number of specified fields", "Returns the value of a field and deletes it from the hash."),
    Spec::new("hgetex", -5, Flags::WRITE.union(Flags::FAST), hgetex)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "access", "update"], 1, 0, 1).notes("RW and UPDATE because it changes the TTL")])
        .acl(Acl::HASH)
        .propagate(Propagate::Effects)
        .docs(
            "hash",
            "8.0.0",
            "O(N) where N is the number of specified fields",
            "Get the value of one or more fields of a given hash key, and optionally set their expiration.",
        ),
    Spec::new("hsetex", -6, Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), hsetex)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::HASH)
        .propagate(Propagate::Effects)
        .docs(
            "hash",
            "8.0.0",
            "O(N) where N is the number of fields being set.",
            "Set the value of one or more fields of a given hash key, and optionally set their expiration.",
        ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn fields_are_read_and_given_an_expiry() {
        let mut b = Bench::new();
        b.say("hset h a 1 b 2 c 3");
        let at = b.node.now_ms + 10_000;
        for (line, reply, effects) in [
            ("hgetex h FIELDS 2 a nope", "*2 $1 1 $-1", vec![]),
            ("hgetex h EX 10 FIELDS 2 a nope", "*2 $1 1 $-1", vec![format!("HPEXPIREAT h {at} FIELDS 1 a")]),
            ("hgetex h PERSIST FIELDS 2 a b", "*2 $1 1 $1 2", vec!["HPERSIST h FIELDS 1 a".to_owned()]),
            ("hgetex h PXAT 1 FIELDS 3 a a b", "*3 $1 1 $-1 $1 2", vec!["HDEL h a b".to_owned()]),
            ("hgetex h EX 10 PX 10 FIELDS 1 a", "-ERR Mandatory argument FIELDS is missing or not at the right position", vec![]),
            ("hgetex h EX 10 FIELDS", "-ERR wrong number of arguments for 'hgetex' command", vec![]),
            ("hgetex h EX -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0", vec![]),
            ("hgetdel h FIELDS 2 c c", "*2 $1 3 $-1", vec!["HDEL h c".to_owned()]),
            ("exists h", ":0", vec![]),
            ("hgetdel h FIELDS 1 c", "*1 $-1", vec![]),
            ("hgetex h PX 5 FIELDS 1 c", "*1 $-1", vec![]),
        ] {
            b.stream();
            assert_eq!(b.say(line), reply, "{line}");
            assert_eq!(b.stream(), effects, "{line}");
        }
    }

    #[test]
    fn fields_are_set_with_an_expiry() {
        let mut b = Bench::new();
        let at = b.node.now_ms + 10_000;
        let moved = |fields: &str| format!("HPEXPIREAT h {at} FIELDS {fields}");
        for (line, reply, effects) in [
            ("hsetex h FXX EX 10 FIELDS 1 a 1", ":0", vec![]),
            ("hsetex h EX 10 FIELDS 2 a 1 b 2", ":1", vec!["HSET h a 1 b 2".to_owned(), moved("2 a b")]),
            ("hsetex h FNX FIELDS 2 a 1 c 2", ":0", vec![]),
            ("hsetex h FXX FIELDS 2 a 1 c 2", ":0", vec![]),
            ("hsetex h KEEPTTL FIELDS 2 a 3 c 3", ":1", vec!["HSET h a 3 c 3".to_owned(), moved("1 a")]),
            ("hsetex h FXX FIELDS 1 a 4", ":1", vec!["HSET h a 4".to_owned()]),
            ("httl h FIELDS 3 a b c", "*3 :-1 :10 :-1", vec![]),
            ("hsetex h PXAT 1 FIELDS 2 b 1 d 2", ":1", vec!["HDEL h b d".to_owned()]),
            ("hsetex new PXAT 1 FIELDS 1 b 1", ":1", vec!["HDEL new b".to_owned()]),
            ("exists new", ":0", vec![]),
            ("hsetex h ZZ FIELDS 1 a 1", "-ERR unknown argument: ZZ", vec![]),
            ("hsetex h FNX FXX FIELDS 1 a 1", "-ERR Only one of FXX or FNX arguments can be specified", vec![]),
            ("hsetex h EX 1 KEEPTTL FIELDS 1 a 1", "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified", vec![]),
            ("hsetex h FIELDS 0 a 1", "-ERR invalid number of fields", vec![]),
            ("hsetex h PX 5 FIELDS 0", "-ERR wrong number of arguments for 'hsetex' command", vec![]),
            ("hsetex h FIELDS 1 a 1 EX 10", "-ERR wrong number of arguments for 'hsetex' command", vec![]),
        ] {
            b.stream();
            assert_eq!(b.say(line), reply, "{line}");
            assert_eq!(b.stream(), effects, "{line}");
        }
    }
}
