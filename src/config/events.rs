//! `notify-keyspace-events`: which classes of events are published, by their letters.

use bitflags::bitflags;

use super::directive::{Mode, quoted};
use super::values::Config;

bitflags! {
    /// Classes of keyspace events, and the two kinds of channels that they are published to.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Events: u32 {
        const GENERIC = 1 << 0;
        const STRING = 1 << 1;
        const LIST = 1 << 2;
        const SET = 1 << 3;
        const HASH = 1 << 4;
        const ZSET = 1 << 5;
        const EXPIRED = 1 << 6;
        const EVICTED = 1 << 7;
        const STREAM = 1 << 8;
        const MODULE = 1 << 9;
        const NEW = 1 << 10;
        const OVERWRITTEN = 1 << 11;
        const TYPE_CHANGED = 1 << 12;
        /// `__keyspace@<db>__:<key>`
        const KEYSPACE = 1 << 13;
        /// `__keyevent@<db>__:<event>`
        const KEYEVENT = 1 << 14;
        const KEY_MISS = 1 << 15;
    }
}

/// In the order in which Redis shows them.
const LETTERS: &[(char, Events)] = &[
    ('g', Events::GENERIC),
    ('$', Events::STRING),
    ('l', Events::LIST),
    ('s', Events::SET),
    ('h', Events::HASH),
    ('z', Events::ZSET),
    ('x', Events::EXPIRED),
    ('e', Events::EVICTED),
    ('t', Events::STREAM),
    ('d', Events::MODULE),
    ('n', Events::NEW),
    ('o', Events::OVERWRITTEN),
    ('c', Events::TYPE_CHANGED),
    ('K', Events::KEYSPACE),
    ('E', Events::KEYEVENT),
    ('m', Events::KEY_MISS),
];

/// What `A` stands for: the bits from `g` to `d`.
const ALL: Events = Events::from_bits_truncate((Events::NEW.bits()) - 1);
/// What Redis does not show beside `A`.
const HIDDEN_BY_ALL: Events = Events::NEW.union(Events::OVERWRITTEN).union(Events::TYPE_CHANGED);

fn parse(text: &str) -> Option<Events> {
    let mut events = Events::empty();
    for letter in text.chars() {
        events |= match letter {
            'A' => ALL,
            letter => LETTERS.iter().find(|(known, _)| *known == letter)?.1,
        };
    }
    Some(events)
}

fn letters(events: Events) -> String {
    let (all, rest) = if events.contains(ALL) { ("A", events - ALL) } else { ("", events) };
    let rest = LETTERS.iter().filter(|(_, class)| rest.contains(*class)).map(|(letter, _)| *letter);
    all.chars().chain(rest).collect()
}

/// As CONFIG GET shows them: where all are named, those that came later are not.
pub fn shown(config: &Config) -> String {
    let events = config.notify_keyspace_events;
    letters(if events.contains(ALL) { events - HIDDEN_BY_ALL } else { events })
}

/// A conf file says everything, or a restart would forget some.
pub fn conf_lines(config: &Config) -> Vec<String> {
    vec![quoted(&letters(config.notify_keyspace_events))]
}

pub fn set(config: &mut Config, words: &[&str], _: Mode) -> Result<(), String> {
    let parsed = parse(&words.join(" "));
    config.notify_keyspace_events = parsed.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_shown_as_redis_does() {
        for (given, shown_as, in_file) in [
            ("", "", ""),
            ("KEA", "AKE", "AKE"),
            ("AKEocmn", "AKEm", "AnocKEm"),
            ("odKcn", "dnocK", "dnocK"),
            ("KEg$lshzxetnmoc", "g$lshzxetnocKEm", "g$lshzxetnocKEm"),
            ("g$lshzxetdK", "AK", "AK"),
        ] {
            let mut config = Config::default();
            set(&mut config, &[given], Mode::Replace).unwrap();
            assert_eq!(shown(&config), shown_as, "{given}");
            assert_eq!(conf_lines(&config), [quoted(in_file)], "{given}");
        }
        for bad in ["q", "K E", "KEAQ"] {
            assert!(set(&mut Config::default(), &[bad], Mode::Replace).is_err(), "{bad}");
        }
    }
}
