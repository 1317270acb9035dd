//! COMMAND GETKEYS and GETKEYSANDFLAGS: the keys of every family's commands, and of every command of Redis with words that chance has put together.
//! Numbers of keys are written plainly: where Redis can't read one by its key specs it tries `atoi`, and tells no flags.

use std::collections::BTreeSet;

use super::grammar::Grammar;
use super::source::{Source, Words};
use super::{families, shown};
use crate::support::{Client, Daemon, Peer, Value};

const SEEDS: u64 = 3;
const UNITS: usize = 2000;
/// Requests a command.
const TRIES: usize = 30;
/// What finds keys, or counts them.
const TELLING: [&str; 26] = [
    "1",
    "2",
    "3",
    "0",
    "-1",
    "STORE",
    "STOREDIST",
    "STREAMS",
    "KEYS",
    "GROUP",
    "BY",
    "GET",
    "LIMIT",
    "COUNT",
    "WEIGHTS",
    "AGGREGATE",
    "MIGRATE",
    "REPLACE",
    "AUTH",
    "AUTH2",
    "COPY",
    "DB",
    "FROMMEMBER",
    "BYRADIUS",
    "store",
    "streams",
];
struct Servers {
    ours: Client,
    real: Client,
}

impl Servers {
    /// Where the servers find other keys in these commands.
    fn differences(&mut self, commands: &[Words]) -> Vec<String> {
        let mut found = Vec::new();
        for question in ["GETKEYS", "GETKEYSANDFLAGS"] {
            let ask = |words: &Words| [&[b"COMMAND".to_vec(), question.as_bytes().to_vec()], words.as_slice()].concat();
            let requests: Vec<Words> = commands.iter().map(ask).collect();
            for (words, (ours, real)) in requests.iter().zip(self.ours.pipeline(&requests).iter().zip(&self.real.pipeline(&requests))) {
                if sorted_flags(ours) != sorted_flags(real) {
                    found.push(format!("{}: {ours:?}, in Redis {real:?}", shown(words)));
                }
            }
        }
        found
    }
}

/// Flags are a set.
fn sorted_flags(reply: &Value) -> String {
    match reply {
        Value::Set(items) => {
            let mut items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
            items.sort();
            format!("~{items:?}")
        }
        Value::Array(items) => format!("{:?}", items.iter().map(sorted_flags).collect::<Vec<_>>()),
        other => format!("{other:?}"),
    }
}

fn start() -> (Daemon, Daemon) {
    (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]))
}

#[test]
fn keys_of_families_are_found() {
    let (ours, real) = start();
    let mut servers = Servers { ours: ours.client(), real: real.client() };
    let weights: Vec<_> = families::ALL.iter().map(|family| (*family, 1)).collect();
    let grammar = Grammar::new(families::ALL, &weights, |_| true);
    let mut found = Vec::new();
    for seed in 1..=SEEDS {
        let commands: Vec<Words> = grammar.sequence(seed, UNITS).into_iter().flat_map(|unit| unit.steps).collect();
        found.extend(servers.differences(&commands));
    }
    assert!(found.is_empty(), "{} differences\n{}", found.len(), found[..found.len().min(40)].join("\n"));
}

#[test]
fn keys_of_every_command_are_found() {
    let (ours, real) = start();
    let mut servers = Servers { ours: ours.client(), real: real.client() };
    let list = |client: &mut Client| -> BTreeSet<String> {
        client.run("COMMAND LIST").items().iter().map(|name| name.text().to_ascii_lowercase()).collect()
    };
    // What this server lacks is the coverage test's matter.
    let names: BTreeSet<String> = list(&mut servers.real).intersection(&list(&mut servers.ours)).cloned().collect();
    let mut source = Source::new(1);
    let mut commands = Vec::new();
    for name in names {
        let first: Vec<&str> = name.split('|').collect();
        for _ in 0..TRIES {
            let mut words: Words = first.iter().map(|word| word.as_bytes().to_vec()).collect();
            for _ in 0..source.below(8) {
                words.push(if source.one_in(2) { source.pick(&TELLING).into() } else { vec![b'a' + source.below(12) as u8] });
            }
            commands.push(words);
        }
    }
    let found = servers.differences(&commands);
    assert!(found.is_empty(), "{} differences\n{}", found.len(), found[..found.len().min(40)].join("\n"));
}
