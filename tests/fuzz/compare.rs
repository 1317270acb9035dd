//! Whether two replies say the same. Equal bytes always do; else the command's rule decides. docs/differences.md lists all of it.

use std::collections::BTreeMap;

use super::reply::Reply;
use super::source::Words;

/// How the replies of a command are compared.
#[derive(Clone, Copy)]
pub enum Rule {
    /// Items in any order, unless all keys named have one of these encodings: there the order is the same on every server.
    Unordered(&'static [&'static str]),
    /// Items in any order, unless the hash is in one block; fields with their values, whether as a map, as pairs, or one after the other.
    UnorderedPairs,
    /// A cursor and items in any order: the same ones if the cursor in this word is 0 and COUNT is 100000, so that everything fits into one
    /// step. Other cursors mean something only to the server that has given them.
    Scan(usize),
    ScanPairs(usize),
    /// Numbers that are not negative may be apart by so much: what depends on the clock.
    Near(i64),
    /// What chance has chosen: as many items of the same types, each of them in the reply before if that was the whole collection's.
    Chosen,
    /// As types and lengths go.
    SameShape,
    /// Whether both servers say the same, when they do not in any of the other ways: the words, ours, theirs.
    Own(fn(&Words, &Reply, &Reply) -> bool),
}

pub struct Rules {
    /// What else is passed when the oracle is of an older version.
    pub may_differ: Option<fn(&Words, &Reply, &Reply) -> bool>,
    by_name: BTreeMap<String, Rule>,
}

/// A command and both replies.
pub struct Answered<'a> {
    pub words: &'a Words,
    pub ours: Reply,
    pub real: Reply,
}

/// Encodings that keep the order in which elements came, or one of their own.
pub const IN_A_BLOCK: &[&str] = &["listpack", "listpackex", "intset", "ziplist"];

/// Commands that tell all of a collection.
const LISTINGS: [&[u8]; 3] = [b"SMEMBERS", b"HGETALL", b"ZRANGE"];

impl Rules {
    pub fn new(rules: impl Iterator<Item = (&'static str, Rule)>) -> Self {
        Rules { may_differ: None, by_name: rules.map(|(name, rule)| (name.to_owned(), rule)).collect() }
    }

    pub fn of(&self, words: &Words) -> Option<Rule> {
        let upper = |word: &Vec<u8>| String::from_utf8_lossy(word).to_ascii_uppercase();
        let name = upper(words.first()?);
        let with_sub = words.get(1).map(|sub| format!("{name} {}", upper(sub)));
        with_sub.and_then(|name| self.by_name.get(&name)).or_else(|| self.by_name.get(&name)).copied()
    }

    /// `before`: what was asked before, the last last.
    pub fn same(&self, answered: &Answered, before: &[Answered]) -> bool {
        let Answered { words, ours, real } = answered;
        if ours == real || same_error(ours, real) || self.may_differ.is_some_and(|may_differ| may_differ(words, ours, real)) {
            return true;
        }
        match self.of(words) {
            None => false,
            Some(Rule::Unordered(ordered)) => in_any_order(ours, real) && !is_ordered(ordered, words, before),
            Some(Rule::UnorderedPairs) => pairs_in_any_order(ours, real) && !is_ordered(IN_A_BLOCK, words, before),
            Some(Rule::Scan(cursor)) => same_scan(is_whole_scan(words, cursor), ours, real, in_any_order),
            Some(Rule::ScanPairs(cursor))
                if words.iter().any(|word| word.eq_ignore_ascii_case(b"NOVALUES") || word.eq_ignore_ascii_case(b"NOSCORES")) =>
            {
                same_scan(is_whole_scan(words, cursor), ours, real, in_any_order)
            }
            Some(Rule::ScanPairs(cursor)) => same_scan(is_whole_scan(words, cursor), ours, real, pairs_in_any_order),
            Some(Rule::Near(leeway)) => near(ours, real, leeway),
            Some(Rule::Chosen) => {
                same_shape(ours, real) && [(ours, true), (real, false)].iter().all(|(reply, is_ours)| is_part(words, reply, *is_ours, before.last()))
            }
            Some(Rule::SameShape) => same_shape(ours, real),
            Some(Rule::Own(same)) => same(words, ours, real),
        }
    }
}

/// Errors that cite a request: ours show bytes that are no UTF-8 as U+FFFD.
fn same_error(ours: &Reply, real: &Reply) -> bool {
    let (Reply::Line(b'-', ours), Reply::Line(b'-', real)) = (ours, real) else { return false };
    *ours == String::from_utf8_lossy(real).as_bytes()
}

/// Whether the questions before were for encodings, and all that these keys have keep an order.
fn is_ordered(ordered: &[&str], words: &Words, before: &[Answered]) -> bool {
    let is_encoding =
        |asked: &&Answered| asked.words.len() == 3 && asked.words[1].eq_ignore_ascii_case(b"ENCODING") && words.contains(&asked.words[2]);
    let encodings: Vec<String> = before.iter().rev().take_while(is_encoding).filter_map(|asked| asked.real.encoding()).collect();
    !encodings.is_empty() && encodings.iter().all(|encoding| ordered.contains(&encoding.as_str()))
}

pub fn sorted(items: &[Reply]) -> Vec<String> {
    let mut texts: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    texts.sort();
    texts
}

fn in_any_order(ours: &Reply, real: &Reply) -> bool {
    match (ours, real) {
        (Reply::Items(a, ours), Reply::Items(b, real)) => a == b && sorted(ours) == sorted(real),
        _ => ours == real,
    }
}

fn pairs_in_any_order(ours: &Reply, real: &Reply) -> bool {
    let (Reply::Items(a, ours), Reply::Items(b, real)) = (ours, real) else { return ours == real };
    if a != b || ours.len() != real.len() {
        return false;
    }
    let nested = ours.first().is_some_and(|first| first.items().is_some());
    let pairs = |items: &[Reply]| sorted(&items.chunks(2).map(|pair| Reply::Items(b'*', pair.to_vec())).collect::<Vec<_>>());
    if nested { sorted(ours) == sorted(real) } else { pairs(ours) == pairs(real) }
}

fn is_whole_scan(words: &Words, cursor: usize) -> bool {
    let count = words.iter().rposition(|word| word.eq_ignore_ascii_case(b"COUNT")).and_then(|at| words.get(at + 1));
    words[cursor] == b"0" && count.is_some_and(|count| count == b"100000")
}

fn same_scan(whole: bool, ours: &Reply, real: &Reply, same: fn(&Reply, &Reply) -> bool) -> bool {
    match (ours.items(), real.items()) {
        (Some([cursor, items]), Some([real_cursor, real_items])) => !whole || (cursor == real_cursor && same(items, real_items)),
        _ => false,
    }
}

fn near(ours: &Reply, real: &Reply, leeway: i64) -> bool {
    match (ours, real) {
        (Reply::Items(a, ours), Reply::Items(b, real)) => {
            a == b && ours.len() == real.len() && ours.iter().zip(real).all(|(ours, real)| near(ours, real, leeway))
        }
        _ => match (ours.number(), real.number()) {
            (Some(a), Some(b)) if a >= 0 && b >= 0 => a.abs_diff(b) <= leeway as u64,
            _ => ours == real,
        },
    }
}

fn same_shape(ours: &Reply, real: &Reply) -> bool {
    match (ours, real) {
        (Reply::Items(a, ours), Reply::Items(b, real)) => a == b && ours.len() == real.len() && ours.iter().zip(real).all(|(a, b)| same_shape(a, b)),
        (Reply::Line(a, _), Reply::Line(b, _)) | (Reply::Blob(a, _), Reply::Blob(b, _)) => a == b && (*a != b'-' || ours == real),
        _ => false,
    }
}

/// Whether what was chosen is part of what the command before has shown of the same key.
fn is_part(words: &Words, reply: &Reply, is_ours: bool, before: Option<&Answered>) -> bool {
    let is_listing = |before: &&Answered| {
        let name = before.words[0].to_ascii_uppercase();
        LISTINGS.contains(&name.as_slice()) && before.words.len() > 1 && before.words.get(1) == words.get(1)
    };
    let Some(before) = before.filter(is_listing) else { return true };
    let whole = if is_ours { &before.ours } else { &before.real };
    if whole.items().is_none() {
        return true;
    }
    let (mut all, mut chosen) = (Vec::new(), Vec::new());
    leaves(whole, &mut all);
    leaves(reply, &mut chosen);
    chosen.iter().all(|item| all.contains(item))
}

fn leaves(reply: &Reply, out: &mut Vec<Option<String>>) {
    match reply {
        Reply::Items(_, items) => items.iter().for_each(|item| leaves(item, out)),
        Reply::Blob(..) => out.push(reply.text()),
        // Null, an error, a score: nothing chosen by name.
        Reply::Line(..) => {}
    }
}
