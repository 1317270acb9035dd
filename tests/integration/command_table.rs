//! Every row of the command table against a real Redis 8.2.3: COMMAND INFO and COMMAND DOCS of all commands and subcommands that both have.

use std::collections::BTreeMap;

use crate::support::{Client, Daemon, Peer, Value};

/// Commands that Redis does not have.
const OURS: &[&str] = &[
    "replication",
    "replication|help",
    "replication|accept",
    "replication|history",
    "replication|repair",
    "replication|status",
    "replication|verify",
];

/// Where a row differs, and why: command, field, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// A value with what has no order put in order, so that replies can be compared.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Set(items) => {
            let mut items: Vec<Value> = items.iter().map(sorted).collect();
            items.sort_by_key(|item| format!("{item:?}"));
            Value::Set(items)
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Map(pairs) => {
            let mut pairs: Vec<(Value, Value)> = pairs.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            pairs.sort_by_key(|(name, _)| format!("{name:?}"));
            Value::Map(pairs)
        }
        other => other.clone(),
    }
}

/// COMMAND INFO's fields, in their order.
const FIELDS: [&str; 9] = ["name", "arity", "flags", "first key", "last key", "step", "categories", "tips", "key specs"];
const SUBCOMMANDS: usize = 9;

/// All entries by full name, subcommands among them.
fn infos(client: &mut Client) -> BTreeMap<String, Vec<Value>> {
    let mut all = BTreeMap::new();
    let reply = client.command(&["COMMAND"]);
    let mut open: Vec<&Value> = reply.items().iter().collect();
    while let Some(entry) = open.pop() {
        let fields = entry.items();
        open.extend(fields[SUBCOMMANDS].items());
        all.insert(fields[0].text(), fields[..SUBCOMMANDS].iter().map(sorted).collect());
    }
    all
}

/// The fields of COMMAND DOCS by full name; subcommands apart.
fn docs(client: &mut Client) -> BTreeMap<String, BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    let mut open = vec![client.command(&["COMMAND", "DOCS"])];
    while let Some(reply) = open.pop() {
        let Value::Map(commands) = reply else { panic!("no map: {reply:?}") };
        for (name, fields) in commands {
            let Value::Map(fields) = fields else { panic!("no map: {fields:?}") };
            let mut fields: BTreeMap<String, Value> = fields.iter().map(|(field, value)| (field.text(), sorted(value))).collect();
            open.extend(fields.remove("subcommands"));
            all.insert(name.text(), fields);
        }
    }
    all
}

fn resp3(daemon: &Daemon) -> Client {
    let mut client = daemon.client();
    client.command(&["HELLO", "3"]);
    client
}

fn is_excepted(name: &str, field: &str) -> bool {
    EXCEPTIONS.iter().any(|(command, excepted, _)| *command == name && *excepted == field)
}

#[test]
fn rows_are_those_of_redis() {
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    let (ours, real) = (infos(&mut resp3(&ours)), infos(&mut resp3(&real)));
    assert!(ours.len() > 100, "{} commands", ours.len());
    let mut wrong = Vec::new();
    for (name, fields) in &ours {
        let Some(wanted) = real.get(name) else {
            if !OURS.contains(&name.as_str()) {
                wrong.push(format!("{name}: Redis has no such command"));
            }
            continue;
        };
        for (index, field) in FIELDS.iter().enumerate() {
            if (fields[index] != wanted[index]) != is_excepted(name, field) {
                wrong.push(format!("{name}, {field}: {:?}, in Redis {:?}", fields[index], wanted[index]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn documentation_is_that_of_redis() {
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    let (ours, real) = (docs(&mut resp3(&ours)), docs(&mut resp3(&real)));
    assert!(ours.len() > 100, "{} commands", ours.len());
    let mut wrong = Vec::new();
    for (name, fields) in ours.iter().filter(|(name, _)| !OURS.contains(&name.as_str())) {
        let Some(wanted) = real.get(name) else {
            wrong.push(format!("{name}: Redis has no such command"));
            continue;
        };
        let mut names: Vec<&String> = fields.keys().chain(wanted.keys()).collect();
        names.sort();
        names.dedup();
        for field in names {
            if (fields.get(field) != wanted.get(field)) != is_excepted(name, field) {
                wrong.push(format!("{name}, {field}: {:?}, in Redis {:?}", fields.get(field), wanted.get(field)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
