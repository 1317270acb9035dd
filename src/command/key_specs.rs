//! Which arguments of a request are keys, and what the command does to each: the rows' key specs, evaluated. A new command needs nothing here but its
//! row; only what key specs cannot say (SORT's STORE, MIGRATE's empty key, flags that depend on options) has a function of its own.

use smallvec::SmallVec;

use super::{Begin, Find, Flags, KeySpec, Spec};
use crate::resp::Args;
use crate::types::number::parse_i64;

/// A key's place among the arguments, and its flags as COMMAND GETKEYSANDFLAGS shows them.
pub(super) type FoundKey = (usize, &'static [&'static str]);
type Found = SmallVec<[FoundKey; 4]>;

const READ: &[&str] = &["RO", "access"];
const STORE: &[&str] = &["OW", "update"];
const MODIFY: &[&str] = &["RW", "access", "update"];
const MOVE: &[&str] = &["RW", "access", "delete"];

/// Whether the command has keys at all: shard channels have key specs too.
pub(super) fn has_keys(spec: &Spec) -> bool {
    spec.key_specs.iter().any(|key_spec| !key_spec.flags.contains(&"not_key"))
}

/// The keys of a request in the order of its key specs. `None` if its arguments can't be right: counts that do not fit, no key where
/// the command needs one.
pub(super) fn keys_of(spec: &'static Spec, args: Args<'_>) -> Option<Found> {
    let found = match spec.name {
        "migrate" => migrate(args),
        "sort" | "sort_ro" => sort(spec, args),
        _ => by_specs(spec, args),
    };
    match found {
        Some(keys) if !keys.is_empty() => Some(keys),
        _ if spec.flags.contains(Flags::NO_MANDATORY_KEYS) => Some(Found::new()),
        _ => None,
    }
}

fn by_specs(spec: &'static Spec, args: Args<'_>) -> Option<Found> {
    let mut keys = Found::new();
    for key_spec in spec.key_specs.iter().filter(|key_spec| !key_spec.flags.contains(&"not_key")) {
        let Some(begin) = begin_of(key_spec.begin, args) else { continue };
        let (first, last, step) = range_of(key_spec.find, begin, args)?;
        if first > last || last >= args.len() {
            return None;
        }
        let flags = variable_flags(spec, key_spec, args);
        keys.extend((first..=last).step_by(step).map(|at| (at, flags)));
    }
    Some(keys)
}

/// Where the search for keys begins; `None` without the keyword, whose keys are optional then.
fn begin_of(begin: Begin, args: Args<'_>) -> Option<i64> {
    let count = args.len() as i64;
    match begin {
        Begin::Index(index) => Some(index.into()),
        Begin::Keyword { keyword, start_from } => {
            // A keyword at the very end has no keys behind it.
            let is_it = |at: &usize| at + 1 < args.len() && args.at(*at).eq_ignore_ascii_case(keyword.as_bytes());
            let found = if start_from >= 0 {
                (start_from as usize..args.len()).find(is_it)
            } else {
                (1..(count + i64::from(start_from) + 1).max(1) as usize).rev().find(is_it)
            };
            found.map(|at| at as i64 + 1)
        }
        Begin::Unknown => None,
    }
}

/// First and last position and step of the keys from `begin` on.
fn range_of(find: Find, begin: i64, args: Args<'_>) -> Option<(usize, usize, usize)> {
    let count = args.len() as i64;
    let (first, last, step) = match find {
        Find::Range { last, step, limit: _ } if last >= 0 => (begin, begin + i64::from(last), step),
        Find::Range { last, step, limit } if limit > 1 => (begin, begin + (count - begin) / i64::from(limit) + i64::from(last), step),
        Find::Range { last, step, .. } => (begin, count + i64::from(last), step),
        Find::KeyNum { keynum_index, first_key, step } => {
            let keys = parse_i64(args.get(usize::try_from(begin + i64::from(keynum_index)).ok()?)?)?;
            let first = begin + i64::from(first_key);
            (first, first.checked_add(keys.checked_sub(1)?.checked_mul(step.into())?)?, step)
        }
        Find::Unknown => return None,
    };
    Some((usize::try_from(first).ok()?, usize::try_from(last).ok()?, usize::try_from(step).ok().filter(|step| *step > 0)?))
}

/// Rows show the most that a command may do; options tell what it does.
fn variable_flags(spec: &'static Spec, key_spec: &KeySpec, args: Args<'_>) -> &'static [&'static str] {
    match spec.name {
        "set" if args.iter().skip(3).any(|arg| arg.eq_ignore_ascii_case(b"GET")) => MODIFY,
        "set" => STORE,
        "bitfield" if only_gets(args) => READ,
        "bitfield" => MODIFY,
        _ => key_spec.flags,
    }
}

/// Whether BITFIELD only reads. GET has two arguments, OVERFLOW one; others write.
fn only_gets(args: Args<'_>) -> bool {
    let mut at = 2;
    while let Some(operation) = args.get(at) {
        match operation.to_ascii_uppercase().as_slice() {
            b"GET" if at + 2 < args.len() => at += 3,
            b"OVERFLOW" if at + 1 < args.len() => at += 2,
            _ => return false,
        }
    }
    true
}

/// The sorted key, and of SORT the key behind the last STORE.
fn sort(spec: &'static Spec, args: Args<'_>) -> Option<Found> {
    let mut keys = Found::new();
    keys.push((1, READ));
    let mut at = 2;
    while let Some(option) = args.get(at) {
        match option.to_ascii_uppercase().as_slice() {
            b"LIMIT" => at += 3,
            b"GET" | b"BY" => at += 2,
            b"STORE" if spec.name == "sort" && at + 1 < args.len() => {
                keys.truncate(1);
                keys.push((at + 1, STORE));
                at += 2;
            }
            _ => at += 1,
        }
    }
    Some(keys)
}

/// One key, or an empty one and those behind KEYS. A password may be called KEYS.
fn migrate(args: Args<'_>) -> Option<Found> {
    let mut at = 6;
    while let Some(option) = args.get(at) {
        match option.to_ascii_uppercase().as_slice() {
            b"AUTH" => at += 2,
            b"AUTH2" => at += 3,
            b"KEYS" if args.at(3).is_empty() => return Some((at + 1..args.len()).map(|at| (at, MOVE)).collect()),
            b"KEYS" => return None,
            _ => at += 1,
        }
    }
    Some(std::iter::once((3, MOVE)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::CmdResult;
    use super::*;

    /// Runs `f` on a request of words.
    fn with_args<T>(words: &[&str], f: impl FnOnce(Args<'_>) -> T) -> T {
        let mut bytes = Vec::new();
        let mut ranges = Vec::new();
        for word in words {
            ranges.push(crate::resp::ArgRange { start: bytes.len() as u32, len: word.len() as u32 });
            bytes.extend_from_slice(word.as_bytes());
        }
        f(Args::new(&bytes, &ranges))
    }

    fn found(begin: Begin, find: Find, words: &[&str]) -> Option<(usize, usize, usize)> {
        with_args(words, |args| range_of(find, begin_of(begin, args)?, args))
    }

    #[test]
    fn key_specs_find_ranges_counts_and_keywords() {
        let all = Find::Range { last: -1, step: 2, limit: 0 };
        assert_eq!(found(Begin::Index(1), all, &["mset", "a", "1", "b", "2"]), Some((1, 4, 2)));
        let counted = Find::KeyNum { keynum_index: 0, first_key: 1, step: 1 };
        assert_eq!(found(Begin::Index(2), counted, &["eval", "s", "2", "a", "b", "c"]), Some((3, 4, 1)));
        assert_eq!(found(Begin::Index(2), counted, &["eval", "s", "0"]), Some((3, 2, 1)));
        assert_eq!(found(Begin::Index(2), counted, &["eval", "s", "9223372036854775807"]), None);
        assert_eq!(found(Begin::Index(2), counted, &["eval", "s", "many"]), None);
        let streams = Begin::Keyword { keyword: "STREAMS", start_from: 1 };
        let half = Find::Range { last: -1, step: 1, limit: 2 };
        assert_eq!(found(streams, half, &["xread", "streams", "a", "b", "0", "0"]), Some((2, 3, 1)));
        assert_eq!(found(streams, half, &["xread", "count", "a"]), None);
        assert_eq!(found(streams, half, &["xread", "count", "streams"]), None);
        let keys = Begin::Keyword { keyword: "KEYS", start_from: -2 };
        assert_eq!(found(keys, Find::Range { last: -1, step: 1, limit: 0 }, &["migrate", "h", "p", "keys", "a", "b"]), Some((4, 5, 1)));
    }

    fn nothing(_: &mut super::super::Ctx<'_>) -> CmdResult {
        Ok(())
    }

    /// The keys of a request by a row, as words with the first flag of each.
    fn keys(spec: &'static Spec, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split(' ').map(|word| if word == "\"\"" { "" } else { word }).collect();
        with_args(&words, |args| {
            let keys: Vec<String> = keys_of(spec, args)?.iter().map(|(at, flags)| format!("{}:{}", words[*at], flags[0])).collect();
            Some(keys.join(" "))
        })
    }

    static STORING: Spec = Spec::new("zunionstore", -4, Flags::WRITE, nothing).key_specs(&[
        KeySpec { flags: STORE, begin: Begin::Index(1), find: Find::Range { last: 0, step: 1, limit: 0 }, notes: "" },
        KeySpec { flags: READ, begin: Begin::Index(2), find: Find::KeyNum { keynum_index: 0, first_key: 1, step: 1 }, notes: "" },
    ]);
    static SCRIPT: Spec = Spec::new("eval", -3, Flags::NO_MANDATORY_KEYS, nothing).key_specs(&[KeySpec {
        flags: MODIFY,
        begin: Begin::Index(2),
        find: Find::KeyNum { keynum_index: 0, first_key: 1, step: 1 },
        notes: "",
    }]);
    static SORT: Spec = Spec::new("sort", -2, Flags::WRITE, nothing);
    static MIGRATE: Spec = Spec::new("migrate", -6, Flags::WRITE, nothing);

    #[test]
    fn counts_must_fit_and_scripts_may_have_no_keys() {
        assert_eq!(keys(&STORING, "zunionstore d 2 a b").as_deref(), Some("d:OW a:RO b:RO"));
        for wrong in ["zunionstore d 5 a b", "zunionstore d 0 a", "zunionstore d x a", "zunionstore d -1 a"] {
            assert_eq!(keys(&STORING, wrong), None, "{wrong}");
        }
        for (line, wanted) in [("eval s 2 a b c", "a:RW b:RW"), ("eval s 0", ""), ("eval s 3 a", ""), ("eval s x a", "")] {
            assert_eq!(keys(&SCRIPT, line).as_deref(), Some(wanted), "{line}");
        }
    }

    #[test]
    fn what_specs_cannot_say_is_found_too() {
        for (line, wanted) in [
            ("sort a", "a:RO"),
            ("sort a BY w STORE b STORE c", "a:RO c:OW"),
            ("sort a GET STORE b", "a:RO"),
            ("sort a LIMIT STORE x STORE c", "a:RO c:OW"),
            ("sort a store", "a:RO"),
        ] {
            assert_eq!(keys(&SORT, line).as_deref(), Some(wanted), "{line}");
        }
        for (line, wanted) in [
            ("migrate h 1 k 0 100", Some("k:RW")),
            ("migrate h 1 \"\" 0 100 AUTH KEYS KEYS a b", Some("a:RW b:RW")),
            ("migrate h 1 \"\" 0 100 COPY AUTH2 KEYS pw keys a", Some("a:RW")),
            ("migrate h 1 k 0 100 KEYS a b", None),
        ] {
            assert_eq!(keys(&MIGRATE, line).as_deref(), wanted, "{line}");
        }
    }
}
