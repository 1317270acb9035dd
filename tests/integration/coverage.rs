//! Every command and subcommand of Redis 7.0.15 and 8.2.3 is here, but for those listed with a reason.

use std::collections::BTreeSet;

use crate::support::{Client, Daemon, Peer};

/// Commands by name, or by the beginning of their names where that ends in `*`, and why this server has none.
const MISSING: &[(&str, &[&str])] = &[
    ("a module of Redis 8: vector sets are out of scope, and say so when called", &["v*"]),
    ("modules are compiled for Redis's own interface; out of scope, and says so when called", &["module", "module|*"]),
    ("to come with access control", &["acl", "acl|*"]),
    ("to come with cluster mode", &["cluster", "cluster|*", "asking", "readonly", "readwrite", "migrate"]),
    ("to come with client-side caching", &["client|tracking", "client|caching"]),
];

fn names(client: &mut Client) -> BTreeSet<String> {
    client.run("COMMAND LIST").items().iter().map(|name| name.text().to_ascii_lowercase()).collect()
}

fn is_listed(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// COMMAND LIST tells subcommands as well, as `parent|sub`.
#[test]
fn every_command_of_redis_is_here() {
    let ours = names(&mut Daemon::replikant(&[]).client());
    let mut wanted = names(&mut Daemon::redis(Peer::V7, &[]).client());
    wanted.append(&mut names(&mut Daemon::redis(Peer::V8, &[]).client()));
    let patterns: Vec<&str> = MISSING.iter().flat_map(|(_, patterns)| *patterns).copied().collect();
    let is_excused = |name: &str| patterns.iter().any(|pattern| is_listed(name, pattern));
    let missing: Vec<&String> = wanted.difference(&ours).filter(|name| !is_excused(name)).collect();
    assert!(missing.is_empty(), "commands that Redis has: {missing:?}");
    let needless: Vec<&&str> = patterns.iter().filter(|pattern| !wanted.difference(&ours).any(|name| is_listed(name, pattern))).collect();
    assert!(needless.is_empty(), "listed as missing, and here: {needless:?}");
}

#[test]
fn commands_out_of_scope_say_so() {
    let daemon = Daemon::replikant(&[]);
    let mut client = daemon.client();
    for (line, what) in [("VADD key 1", "vector sets"), ("vsim key", "vector sets"), ("MODULE LIST", "modules"), ("VLINKS", "vector sets")] {
        let reply = client.run(line);
        assert!(reply.is_error("ERR"), "{line}: {reply:?}");
        assert!(format!("{reply:?}").contains(what), "{line}: {reply:?}");
    }
}
