//! What families are made of, and how their templates become commands.
//!
//! A family is a list of weighted units; a unit is one command, or several that belong together with ` ; ` between them, as a template:
//!
//! - Words in lower case are generators: the family's own `words`, or those that all share (`shared` below): `key`, `value`, `integer`, `span_ms`
//!   and the like. `name@x` gives the same word wherever it stands in the unit.
//! - Other words stand for themselves, now and then in another case. `'*'` quotes what would mean something here.
//! - `[A|B x]` is one of these or nothing, `{A|B}` is one of these. After them or a generator `*` repeats up to three times, `+` one to four
//!   times, each time anew: `[NX|XX]*` gives options doubled and in odd combinations.
//!
//! A unit of one command is changed now and then: an argument too few or too many, one replaced by garbage, one moved. Units of several
//! commands are left as they are, so that they can put in order what chance has made of the two servers: `SPOP key@k ; DEL key@k`.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::Rule;
use super::source::{Source, Words};

pub enum Word {
    OneOf(&'static [&'static str]),
    Make(fn(&mut Source) -> Vec<u8>),
    /// Words as a template makes them.
    Phrase(&'static str),
}

pub struct Family {
    pub name: &'static str,
    /// Keys that mostly hold this family's type. `key` is one of them, seldom one of another family.
    pub keys: &'static [&'static str],
    pub words: &'static [(&'static str, Word)],
    /// Weight and template.
    pub units: &'static [(u32, &'static str)],
    /// By command, or command and subcommand, upper case: how replies are compared that need not be the same to the byte.
    pub rules: &'static [(&'static str, Rule)],
}

/// Commands that stay together, sent over one of two connections.
#[derive(Clone)]
pub struct Unit {
    pub connection: usize,
    pub steps: Vec<Words>,
}

enum Item {
    Literal(String),
    Generator { name: String, bound: Option<String>, repeat: Repeat },
    Choice { of: Vec<Vec<Item>>, optional: bool, repeat: Repeat },
}

#[derive(Clone, Copy, PartialEq)]
enum Repeat {
    Once,
    UpToThree,
    OneToFour,
}

struct Template {
    weight: u32,
    steps: Vec<Vec<Item>>,
}

struct Member {
    family: &'static Family,
    templates: Vec<Template>,
    phrases: BTreeMap<&'static str, Vec<Item>>,
    weight: u32,
}

/// Families ready to generate from.
pub struct Grammar {
    members: Vec<Member>,
    /// All families' keys, those that take no part as well: what is of a wrong type.
    keys: Vec<&'static str>,
    pub left_out: Vec<String>,
}

/// Keys that no family fills: empty, binary, long.
const ODD_KEYS: [&[u8]; 4] = [b"", b"\x00\xff\r\nk", b"missing", b"a-key-that-is-longer-than-what-short-strings-may-have-in-their-header"];
/// How long one command waits that blocks. 6.2 takes a thousandth of a second for ever.
const SHORT_TIMEOUT: &[u8] = b"0.002";
const HARMLESS_TIMEOUTS: [&[u8]; 3] = [b"0.002", b"-1", b"x"];

impl Grammar {
    /// `knows`: whether the servers have the command; units with others are left out. `weights`: how often each family comes.
    pub fn new(all: &[&'static Family], weights: &[(&'static Family, u32)], knows: impl Fn(&str) -> bool) -> Self {
        let mut left_out = BTreeSet::new();
        let mut members = Vec::new();
        for (family, weight) in weights {
            let mut templates = Vec::new();
            for (weight, text) in family.units {
                let steps = parse(text);
                let unknown = steps.iter().find_map(|step| match &step[0] {
                    Item::Literal(name) if !knows(name) => Some(name.clone()),
                    _ => None,
                });
                match unknown {
                    Some(name) => drop(left_out.insert(name)),
                    None => templates.push(Template { weight: *weight, steps }),
                }
            }
            let phrases = family.words.iter().filter_map(|(name, word)| match word {
                Word::Phrase(text) => Some((*name, parse(text).remove(0))),
                _ => None,
            });
            if !templates.is_empty() {
                members.push(Member { family, templates, phrases: phrases.collect(), weight: *weight });
            }
        }
        let keys = all.iter().flat_map(|family| family.keys).copied().collect();
        Grammar { members, keys, left_out: left_out.into_iter().collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A sequence of so many units.
    pub fn sequence(&self, seed: u64, length: usize) -> Vec<Unit> {
        let mut source = Source::new(seed);
        let mut units = Vec::with_capacity(length);
        while units.len() < length {
            let connection = if source.one_in(30) { 1 } else { 0 };
            let unit = match source.one_in(25) {
                true => self.transaction(&mut source),
                false => self.unit(&mut source),
            };
            units.push(Unit { connection, steps: unit });
        }
        units
    }

    fn transaction(&self, source: &mut Source) -> Vec<Words> {
        let mut steps: Vec<Words> = vec![vec![b"MULTI".to_vec()]];
        for _ in 0..1 + source.below(4) {
            let unit = self.unit(source);
            if !subscribes(&unit) {
                steps.extend(unit);
            }
        }
        steps.push(vec![b"EXEC".to_vec()]);
        steps
    }

    fn unit(&self, source: &mut Source) -> Vec<Words> {
        let member = weighted(source, &self.members, |member| member.weight);
        let template = weighted(source, &member.templates, |template| template.weight);
        let mut bound = BTreeMap::new();
        let mut steps = Vec::new();
        for items in &template.steps {
            let mut words = Vec::new();
            self.fill(source, member, items, &mut bound, &mut words);
            if template.steps.len() == 1 {
                change(source, &mut words);
            }
            shorten_wait(&mut words);
            tame(&mut words);
            steps.push(words);
        }
        steps
    }

    fn fill(&self, source: &mut Source, member: &Member, items: &[Item], bound: &mut BTreeMap<String, Vec<u8>>, words: &mut Words) {
        for item in items {
            match item {
                Item::Literal(text) => words.push(in_some_case(source, text)),
                Item::Generator { name, bound: None, repeat } => {
                    for _ in 0..times(source, *repeat) {
                        self.generate(source, member, name, bound, words);
                    }
                }
                Item::Generator { name, bound: Some(label), .. } => {
                    if !bound.contains_key(label) {
                        let mut made = Vec::new();
                        self.generate(source, member, name, bound, &mut made);
                        bound.insert(label.clone(), made.swap_remove(0));
                    }
                    words.push(bound[label].clone());
                }
                Item::Choice { of, optional, repeat } => {
                    if *optional && *repeat == Repeat::Once && source.one_in(2) {
                        continue;
                    }
                    for _ in 0..times(source, *repeat) {
                        let chosen = &of[source.below(of.len())];
                        self.fill(source, member, chosen, bound, words);
                    }
                }
            }
        }
    }

    fn generate(&self, source: &mut Source, member: &Member, name: &str, bound: &mut BTreeMap<String, Vec<u8>>, words: &mut Words) {
        if let Some(items) = member.phrases.get(name) {
            return self.fill(source, member, items, bound, words);
        }
        let own = member.family.words.iter().find(|(own, _)| *own == name);
        words.push(match own {
            Some((_, Word::OneOf(of))) => source.pick(of).into(),
            Some((_, Word::Make(make))) => make(source),
            Some((_, Word::Phrase(_))) => unreachable!("looked up before"),
            None if name == "key" => self.key(source, member),
            None => shared(source, name).unwrap_or_else(|| panic!("the family {} has no generator {name}", member.family.name)),
        });
    }

    fn key(&self, source: &mut Source, member: &Member) -> Vec<u8> {
        match source.below(40) {
            0 => ODD_KEYS[source.below(ODD_KEYS.len())].to_vec(),
            1..=4 => source.pick(&self.keys).into(),
            _ if member.family.keys.is_empty() => source.pick(&self.keys).into(),
            _ => source.pick(member.family.keys).into(),
        }
    }
}

/// Whether the replies of these are not one a command.
pub fn subscribes(steps: &[Words]) -> bool {
    steps.iter().any(|words| words[0].to_ascii_uppercase().ends_with(b"SUBSCRIBE"))
}

/// The generators that every family has.
fn shared(source: &mut Source, name: &str) -> Option<Vec<u8>> {
    Some(match name {
        "value" => source.value(),
        "member" => source.member(),
        "integer" => source.integer(),
        "float" => source.float(),
        "count" => source.count(),
        "index" => source.index(),
        "pattern" => source.pattern(),
        "garbage" => source.garbage(),
        "span" => source.span(1),
        "span_ms" => source.span(1000),
        "moment" => source.moment(1),
        "moment_ms" => source.moment(1000),
        "db" => source.pick(&["0", "1", "2", "0", "-1", "99", "x", "15"]).into(),
        "cursor" => source.pick(&["0", "0", "0", "0", "x", "-1", "18446744073709551615", "18446744073709551616", "", "01"]).into(),
        "timeout" => source.pick(&["0.002", "0.002", "0", "-1", "x", "nan", "0.003"]).into(),
        _ => return None,
    })
}

fn weighted<'a, T>(source: &mut Source, of: &'a [T], weight: impl Fn(&T) -> u32) -> &'a T {
    let sum: u32 = of.iter().map(&weight).sum();
    let mut left = source.below(sum as usize) as u32;
    for item in of {
        if left < weight(item) {
            return item;
        }
        left -= weight(item);
    }
    unreachable!("a choice below the sum of weights")
}

fn times(source: &mut Source, repeat: Repeat) -> usize {
    match repeat {
        Repeat::Once => 1,
        Repeat::UpToThree => source.below(4),
        Repeat::OneToFour => 1 + source.below(4),
    }
}

fn in_some_case(source: &mut Source, text: &str) -> Vec<u8> {
    match source.below(24) {
        0 | 1 => text.to_ascii_lowercase().into_bytes(),
        2 => text.bytes().enumerate().map(|(at, byte)| if at % 2 == 0 { byte.to_ascii_lowercase() } else { byte }).collect(),
        _ => text.as_bytes().to_vec(),
    }
}

/// Now and then breaks a command a little; not those on keys whose content has to be of one kind, nor SCAN's cursor.
fn change(source: &mut Source, words: &mut Words) {
    if words[0].eq_ignore_ascii_case(b"SCAN") || words.iter().any(|word| word.starts_with(b"lex-")) {
        return;
    }
    match source.below(120) {
        0 | 1 if words.len() > 1 => drop(words.pop()),
        2 => words.push(b"more".to_vec()),
        3 => words.push(source.garbage()),
        4 | 5 if words.len() > 1 => {
            let at = 1 + source.below(words.len() - 1);
            words[at] = source.garbage();
        }
        6 if words.len() > 2 => {
            let (from, to) = (1 + source.below(words.len() - 1), 1 + source.below(words.len() - 1));
            words.swap(from, to);
        }
        7 if words.len() > 1 => {
            let at = 1 + source.below(words.len() - 1);
            words.push(words[at].clone());
        }
        _ => {}
    }
}

/// A command that could block for long gets a time-out that ends at once; in a transaction too, which a unit inside may have ended.
fn shorten_wait(words: &mut Words) {
    if words.len() < 3 {
        return;
    }
    let name = words[0].to_ascii_uppercase();
    let at = match name.as_slice() {
        b"BLPOP" | b"BRPOP" | b"BZPOPMIN" | b"BZPOPMAX" | b"BRPOPLPUSH" | b"BLMOVE" => words.len() - 1,
        b"BLMPOP" | b"BZMPOP" => 1,
        b"XREAD" | b"XREADGROUP" => {
            for at in 1..words.len() - 1 {
                if words[at].eq_ignore_ascii_case(b"BLOCK") && words[at + 1].iter().all(u8::is_ascii_digit) {
                    words[at + 1] = b"1".to_vec();
                }
            }
            return;
        }
        b"WAIT" | b"WAITAOF" => {
            let last = words.len() - 1;
            if words[last].iter().all(u8::is_ascii_digit) {
                words[last] = b"1".to_vec();
            }
            return;
        }
        _ => return,
    };
    if !HARMLESS_TIMEOUTS.contains(&words[at].as_slice()) {
        words[at] = SHORT_TIMEOUT.to_vec();
    }
}

/// XADD takes an id from the clock where it is given none. LSET overflows where it counts back from the end by 2^63. The runs of a HyperLogLog stay
/// whole: what Redis leaves of one that it finds broken on its way is of no use to anyone.
fn tame(words: &mut Words) {
    if words.len() > 3 && words[0].eq_ignore_ascii_case(b"SETRANGE") && words[1].starts_with(b"p") {
        words[2] = b"4".to_vec();
        words[3].truncate(4);
    }
    if words[0].eq_ignore_ascii_case(b"LSET") {
        words.iter_mut().filter(|word| *word == b"-9223372036854775808").for_each(|word| *word = b"-100".to_vec());
    }
    if words[0].eq_ignore_ascii_case(b"XADD") {
        words.iter_mut().filter(|word| *word == b"*").for_each(|word| *word = b"61-*".to_vec());
    }
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ' ' => {
                rest = &rest[1..];
                continue;
            }
            '\'' => 2 + rest[1..].find('\'').unwrap_or_else(|| panic!("an open quote in {text}")),
            '[' | '{' | '|' | ';' => 1,
            ']' | '}' => 1 + usize::from(rest[1..].starts_with(['*', '+'])),
            _ => rest.find([' ', ']', '}', '|', '[', '{']).unwrap_or(rest.len()),
        };
        tokens.push(rest[..length].to_owned());
        rest = &rest[length..];
    }
    tokens
}

fn parse(text: &str) -> Vec<Vec<Item>> {
    let mut tokens = tokens(text).into_iter();
    let mut steps = Vec::new();
    loop {
        let (items, end) = parse_items(&mut tokens, text);
        assert!(!items.is_empty(), "an empty command in {text}");
        steps.push(items);
        match end.as_deref() {
            None => return steps,
            Some(";") => {}
            Some(other) => panic!("{other} in {text}"),
        }
    }
}

/// The items up to what ends them.
fn parse_items(tokens: &mut impl Iterator<Item = String>, text: &str) -> (Vec<Item>, Option<String>) {
    let mut items = Vec::new();
    while let Some(token) = tokens.next() {
        match token.chars().next().expect("no token is empty") {
            '|' | ']' | '}' | ';' => return (items, Some(token)),
            '[' | '{' => {
                let mut of = Vec::new();
                let end = loop {
                    let (items, end) = parse_items(tokens, text);
                    of.push(items);
                    let end = end.unwrap_or_else(|| panic!("an open bracket in {text}"));
                    if end != "|" {
                        break end;
                    }
                };
                items.push(Item::Choice { of, optional: token == "[", repeat: repeat_of(&end) });
            }
            '\'' => items.push(Item::Literal(token.trim_matches('\'').to_owned())),
            'a'..='z' => {
                let repeat = repeat_of(&token);
                let name = token.trim_end_matches(['*', '+']);
                let (name, bound) = name.split_once('@').map_or((name, None), |(name, label)| (name, Some(label.to_owned())));
                items.push(Item::Generator { name: name.to_owned(), bound, repeat });
            }
            _ => items.push(Item::Literal(token)),
        }
    }
    (items, None)
}

fn repeat_of(token: &str) -> Repeat {
    match token.chars().last() {
        Some('*') => Repeat::UpToThree,
        Some('+') => Repeat::OneToFour,
        _ => Repeat::Once,
    }
}
