//! SORT and SORT_RO: elements of a list, set or sorted set in another order, by themselves or by what a pattern names for each; shown themselves, or
//! what patterns name for them; replied or stored.
//!
//! Elements and what they are compared by stand one after another in one buffer while other keys are looked up.

use std::cmp::Ordering;
use std::ops::Range;

use super::key_range::key_range;
use super::{Acl, Begin, CmdResult, CommandError, Ctx, Find, Flags, KeySpec, Spec};
use crate::config::Events;
use crate::keyspace::{Entry, Kind, NewList, Side, StrRef};
use crate::types::listpack::Elem;

type Span = Range<usize>;

/// The request.
struct Options<'a> {
    descending: bool,
    alpha: bool,
    /// `LIMIT`: from where, and how many; negative for all.
    limit: (i64, i64),
    store: Option<&'a [u8]>,
    by: Option<&'a [u8]>,
    /// A pattern without `*` is the same for all: nothing is to be sorted.
    keep_order: bool,
    get: Vec<&'a [u8]>,
}

fn options<'a>(ctx: &Ctx<'a>) -> Result<Options<'a>, CommandError> {
    let args = ctx.args;
    let mut options = Options { descending: false, alpha: false, limit: (0, -1), store: None, by: None, keep_order: false, get: Vec::new() };
    let may_store = ctx.spec.flags.contains(Flags::WRITE);
    let mut at = 2;
    while let Some(option) = args.get(at) {
        let values = args.len() - at - 1;
        match option.to_ascii_uppercase().as_slice() {
            b"ASC" => options.descending = false,
            b"DESC" => options.descending = true,
            b"ALPHA" => options.alpha = true,
            b"LIMIT" if values >= 2 => {
                options.limit = (ctx.int(at + 1)?, ctx.int(at + 2)?);
                at += 2;
            }
            b"STORE" if values >= 1 && may_store => {
                options.store = Some(args.at(at + 1));
                at += 1;
            }
            b"BY" if values >= 1 => {
                options.by = Some(args.at(at + 1));
                options.keep_order |= !args.at(at + 1).contains(&b'*');
                at += 1;
            }
            b"GET" if values >= 1 => {
                options.get.push(args.at(at + 1));
                at += 1;
            }
            _ => return Err(CommandError::SYNTAX),
        }
        at += 1;
    }
    Ok(options)
}

/// The part of so many elements that LIMIT leaves.
fn limited((start, count): (i64, i64), len: usize) -> Span {
    let start = usize::try_from(start).unwrap_or(0).min(len);
    let count = usize::try_from(count).unwrap_or(len);
    start..start.saturating_add(count).min(len)
}

/// What an element is compared by.
enum Weight {
    Number(f64),
    /// Of another key, which may be missing.
    Text(Option<Span>),
    /// The element itself.
    Own,
}

struct Item {
    element: Span,
    weight: Weight,
    /// Where it stood: equal ones stay as they were.
    place: usize,
}

fn append(buffer: &mut Vec<u8>, elem: Elem<'_>) -> Span {
    let start = buffer.len();
    elem.append_to(buffer);
    start..buffer.len()
}

/// A number as Redis 8 reads it here: decimal, up to a NUL byte; nothing at all is 0, too much is infinite.
fn number(text: &[u8]) -> Result<f64, CommandError> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Ok(0.0);
    }
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).filter(|number: &f64| !number.is_nan());
    number.ok_or(CommandError::text("ERR One or more scores can't be converted into double"))
}

/// The elements of a value, in its order; in `part` of them where the order stays as it is.
fn load(entry: &Entry, part: Option<Span>, descending: bool, buffer: &mut Vec<u8>) -> Vec<Span> {
    let mut found = Vec::new();
    let mut add = |elem: Elem<'_>| found.push(append(buffer, elem));
    if let Some(list) = entry.list() {
        let Range { start, end } = part.unwrap_or(0..list.len() as usize);
        match descending {
            true => list.iter_back_from((list.len() as usize - start).wrapping_sub(1) as u64).take(end - start).for_each(add),
            false => list.iter_from(start as u64).take(end - start).for_each(add),
        }
    } else if let Some(sorted) = entry.zset() {
        let Range { start, end } = part.unwrap_or(0..sorted.len() as usize);
        sorted.for_range(start as u64..end as u64, descending, |elem, _| add(elem));
    } else if let Some(set) = entry.set() {
        let Range { start, end } = part.unwrap_or(0..set.len() as usize);
        set.iter().skip(start).take(end - start).for_each(add);
    }
    found
}

/// How many elements there are to sort, and of what; `None` without a key.
fn kind_and_len(entry: Option<&Entry>) -> Result<Option<(Kind, usize)>, CommandError> {
    let Some(entry) = entry else { return Ok(None) };
    let len = match entry.kind() {
        Kind::List => entry.list().map_or(0, |list| list.len()),
        Kind::Set => entry.set().map_or(0, |set| set.len()),
        Kind::ZSet => entry.zset().map_or(0, |sorted| sorted.len()),
        _ => return Err(CommandError::WRONG_TYPE),
    };
    Ok(Some((entry.kind(), len as usize)))
}

/// Appends the value that a pattern names for an element: `prefix*suffix`, of a hash `prefix*suffix->field`, or `#`.
fn look_up(ctx: &mut Ctx<'_>, pattern: &[u8], element: Span, buffer: &mut Vec<u8>) -> Option<Span> {
    if pattern == b"#" {
        return Some(element);
    }
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let (prefix, rest) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = rest.windows(2).position(|two| two == b"->").filter(|arrow| arrow + 2 < rest.len());
    let (suffix, field) = arrow.map_or((rest, None), |arrow| (&rest[..arrow], Some(&rest[arrow + 2..])));
    let key = [prefix, &buffer[element], suffix].concat();
    let key = ctx.hashed(&key);
    let now = ctx.field_clock();
    let entry = ctx.read(key)?;
    let found = match (entry.string(), field) {
        (Some(StrRef::Int(number)), None) => Elem::Int(number),
        (Some(StrRef::Bytes(bytes)), None) => Elem::Bytes(bytes),
        (None, Some(field)) => entry.hash()?.get(field).filter(|field| !field.is_due(now))?.value,
        _ => return None,
    };
    Some(append(buffer, found))
}

fn weigh(ctx: &mut Ctx<'_>, options: &Options<'_>, element: &Span, buffer: &mut Vec<u8>) -> Result<Weight, CommandError> {
    let text = match options.by {
        None => Some(element.clone()),
        Some(pattern) => look_up(ctx, pattern, element.clone(), buffer),
    };
    Ok(match (options.alpha, options.by, text) {
        (true, None, _) => Weight::Own,
        (true, Some(_), text) => Weight::Text(text),
        (false, _, Some(text)) => Weight::Number(number(&buffer[text])?),
        (false, _, None) => Weight::Number(0.0),
    })
}

fn compare(a: &Item, b: &Item, buffer: &[u8], is_set: bool) -> Ordering {
    let text = |span: &Span| &buffer[span.clone()];
    let own = || text(&a.element).cmp(text(&b.element));
    match (&a.weight, &b.weight) {
        (Weight::Number(x), Weight::Number(y)) => x.partial_cmp(y).unwrap_or(Ordering::Equal).then_with(own),
        (Weight::Text(x), Weight::Text(y)) => {
            let order = x.as_ref().map(text).cmp(&y.as_ref().map(text));
            // A set has no order that slaves share.
            if is_set { order.then_with(own) } else { order }
        }
        _ => own(),
    }
}

/// The elements of the sorted key that are to be shown, in their order.
fn sorted(ctx: &mut Ctx<'_>, options: &mut Options<'_>, buffer: &mut Vec<u8>) -> Result<Vec<Span>, CommandError> {
    let key = ctx.key(1);
    let Some((kind, len)) = kind_and_len(ctx.read(key))? else { return Ok(Vec::new()) };
    let part = limited(options.limit, len);
    if options.keep_order && kind == Kind::Set && options.store.is_some() {
        // As in Redis: what is stored must not depend on the order of a table.
        (options.keep_order, options.alpha, options.by) = (false, true, None);
    }
    if kind == Kind::ZSet {
        // Redis needs the order, and leaves the set in the form that has it.
        ctx.node.keyspace.db_mut(ctx.db).edit_zset(key, false, |set| set.expect(u64::MAX, 0));
    }
    let entry = ctx.node.keyspace.db(ctx.db).get(key).expect("it has just been read");
    if options.keep_order {
        return Ok(load(entry, Some(part), options.descending, buffer));
    }
    let elements = load(entry, None, false, buffer);
    let mut items = Vec::with_capacity(elements.len());
    for (place, element) in elements.into_iter().enumerate() {
        let weight = weigh(ctx, options, &element, buffer)?;
        items.push(Item { element, weight, place });
    }
    let descending = options.descending;
    let order = |a: &Item, b: &Item| {
        let order = compare(a, b, buffer, kind == Kind::Set);
        if descending { order.reverse() } else { order }.then(a.place.cmp(&b.place))
    };
    if part.end < items.len() && part.end > 0 {
        // What stands behind the part that is wanted need not be in order.
        items.select_nth_unstable_by(part.end - 1, order);
        items.truncate(part.end);
    }
    items.sort_unstable_by(order);
    Ok(items.drain(part).map(|item| item.element).collect())
}

fn sort(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut options = options(ctx)?;
    let mut buffer = Vec::new();
    let elements = sorted(ctx, &mut options, &mut buffer)?;
    if options.get.is_empty() {
        options.get.push(b"#");
    }
    let results = elements.len() * options.get.len();
    let Some(target) = options.store else {
        ctx.out.array(results);
        let len = buffer.len();
        for element in elements {
            for pattern in &options.get {
                match look_up(ctx, pattern, element.clone(), &mut buffer) {
                    Some(found) => ctx.out.bulk(&buffer[found]),
                    None => ctx.out.null(),
                }
                buffer.truncate(len);
            }
        }
        return Ok(());
    };
    let mut list = ctx.node.keyspace.db(ctx.db).new_list();
    let len = buffer.len();
    for element in elements {
        for pattern in &options.get {
            let found = look_up(ctx, pattern, element.clone(), &mut buffer).unwrap_or(0..0);
            let mut edit = list.edit();
            edit.expect(1, found.len());
            edit.push(Side::Right, &buffer[found]);
            buffer.truncate(len);
        }
    }
    store(ctx, target, list, results);
    Ok(())
}

/// Puts the result in the place of whatever the key held.
fn store(ctx: &mut Ctx<'_>, target: &[u8], list: NewList, results: usize) {
    let target = ctx.hashed(target);
    let old = ctx.write(target).map(Entry::kind);
    if ctx.node.keyspace.db_mut(ctx.db).store_list(target, list) {
        ctx.changed_by(results, target.bytes);
        if let Some(old) = old {
            ctx.notify_overwritten(ctx.db, old, Kind::List, target.bytes);
        }
        ctx.notify_new(Events::LIST, "sortstore", old.is_none(), target.bytes);
    } else if old.is_some() {
        ctx.changed(target.bytes);
        ctx.notify(Events::GENERIC, "del", target.bytes);
    }
    ctx.out.int(results as i64);
}

const BY_GET_NOTE: &str = "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort";

pub(super) const ROWS: &[Spec] = &[
    Spec::new("sort", -2, Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS), sort)
        .keys(1, 1, 1)
        .key_specs(&[
            key_range(&["RO", "access"], 1, 0, 1),
            KeySpec { flags: &["RO", "access"], begin: Begin::Unknown, find: Find::Unknown, notes: BY_GET_NOTE },
            KeySpec {
                flags: &["OW", "update"],
                begin: Begin::Unknown,
                find: Find::Unknown,
                notes: "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array",
            },
        ])
        .acl(Acl::SET.union(Acl::SORTEDSET).union(Acl::LIST).union(Acl::DANGEROUS))
        .docs(
            "generic",
            "1.0.0",
            "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. \
             When the elements are not sorted, complexity is O(N).",
            "Sorts the elements in a list, a set, or a sorted set, optionally storing the result.",
        ),
    Spec::new("sort_ro", -2, Flags::READONLY.union(Flags::MOVABLEKEYS), sort)
        .keys(1, 1, 1)
        .key_specs(&[
            key_range(&["RO", "access"], 1, 0, 1),
            KeySpec { flags: &["RO", "access"], begin: Begin::Unknown, find: Find::Unknown, notes: BY_GET_NOTE },
        ])
        .acl(Acl::SET.union(Acl::SORTEDSET).union(Acl::LIST).union(Acl::DANGEROUS))
        .docs(
            "generic",
            "7.0.0",
            "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. \
             When the elements are not sorted, complexity is O(N).",
            "Returns the sorted elements of a list, a set, or a sorted set.",
        ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn elements_are_sorted_by_what_patterns_name() {
        let mut b = Bench::new();
        b.say("rpush l 3 1 2 10");
        b.say("mset w_1 5 w_2 2 w_3 9 o_2 two");
        b.say("hset h_1 f 7");
        assert_eq!(b.say("sort l desc limit 1 2"), "*2 $1 3 $1 2");
        assert_eq!(b.say("sort l alpha"), "*4 $1 1 $2 10 $1 2 $1 3");
        assert_eq!(b.say("sort l by w_* get o_* get #"), "*8 $-1 $2 10 $3 two $1 2 $-1 $1 1 $-1 $1 3");
        assert_eq!(b.say("sort l by h_*->f desc limit 0 1 get h_*->f"), "*1 $1 7");
        assert_eq!(b.say("sort l by nosort desc limit 1 2"), "*2 $1 2 $1 1");
        assert_eq!(b.say("sort none"), "*0");
        assert_eq!(b.say("sort_ro l store d"), "-ERR syntax error");
        b.say("rpush words b a 1x");
        assert_eq!(b.say("sort words"), "-ERR One or more scores can't be converted into double");
    }

    #[test]
    fn what_is_stored_replaces_a_key_or_deletes_it() {
        let mut b = Bench::new();
        b.say("sadd s b a c");
        b.say("set d x ex 100");
        assert_eq!(b.streamed("sort s by nosort get # get none* store d"), ["sort s by nosort get # get none* store d"]);
        assert_eq!(b.say("lrange d 0 -1"), "*6 $1 a $0  $1 b $0  $1 c $0");
        assert_eq!(b.say("ttl d"), ":-1");
        assert_eq!(b.say("sort none store d"), ":0");
        assert_eq!(b.say("exists d"), ":0");
        assert_eq!(b.streamed("sort none store d"), [""; 0]);
    }
}
