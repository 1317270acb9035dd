//! What a slave refuses, and with which words: stale data, writes, scripts; and a master without enough slaves. The same as a real server does, command by
//! command.

use crate::support::hand_master::HandMaster;
use crate::support::{Client, Daemon, Kind, Peer, SOON, Value, info, replicate, wait_for, wait_link_up};

/// Commands that this would not come back from, or that have no counterpart at the other side.
const SPARED: [&str; 21] = [
    "acl",
    "asking",
    "bgrewriteaof",
    "bgsave",
    "cluster",
    "debug",
    "failover",
    "hello",
    "migrate",
    "module",
    "monitor",
    "psync",
    "quit",
    "readonly",
    "readwrite",
    "replicaof",
    "save",
    "shutdown",
    "slaveof",
    "subscribe",
    "sync",
];

/// An error's text, or that there was another reply.
fn outcome(reply: &Value) -> String {
    match reply {
        Value::Error(text) => text.clone(),
        _ => "served".to_owned(),
    }
}

/// Every command of Redis 8.2.3 that ours has too, with arguments of the right number that mean nothing.
fn requests() -> Vec<Vec<String>> {
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    let known = |line: &str| ours.client().run(line).sorted_texts();
    let known = known("COMMAND LIST");
    let mut requests: Vec<Vec<String>> = real
        .client()
        .run("COMMAND")
        .items()
        .iter()
        .map(|entry| (entry.items()[0].text(), entry.items()[1].int().unsigned_abs() as usize))
        .filter(|(name, _)| known.contains(name) && !SPARED.contains(&name.as_str()) && !name.ends_with("subscribe"))
        .map(|(name, arity)| std::iter::once(name).chain(std::iter::repeat_n("1".to_owned(), arity - 1)).collect())
        .collect();
    requests.sort();
    requests
}

fn refusals(kind: Kind, requests: &[Vec<String>]) -> Vec<String> {
    let slave = Daemon::start(kind, &["--replica-serve-stale-data", "no"]);
    slave.client().ok("SET a 1");
    let master = HandMaster::listen();
    let mut said = Vec::new();
    let mut ask_all = |state: &str| {
        for request in requests {
            said.push(format!("{state}: {}: {}", request[0], outcome(&slave.client().command(request))));
        }
        let mut client = slave.client();
        for line in ["MULTI", "SET a 2", "EXEC", "MULTI", "CONFIG GET maxmemory", "EXEC", "WATCH a", "SUBSCRIBE c"] {
            said.push(format!("{state}: {line}: {}", outcome(&client.run(line))));
        }
        for line in ["BGSAVE", "SAVE", "HELLO 3", "CLIENT ID", "CONFIG GET maxmemory"] {
            said.push(format!("{state}: {line}: {}", outcome(&slave.client().run(line))));
        }
    };
    replicate(&slave, 1);
    ask_all("no master");
    replicate(&slave, master.port);
    let mut link = master.accept();
    link.say(b"+FULLRESYNC 0123456789abcdef0123456789abcdef01234567 100\r\n$1000\r\nREDIS0009");
    wait_for(SOON, "the sync", || (info(&mut slave.client(), "master_sync_in_progress").as_deref() == Some("1")).then_some(()));
    ask_all("first sync");
    said
}

#[test]
fn a_slave_without_fresh_data_refuses_what_redis_refuses() {
    let requests = requests();
    assert!(requests.len() > 200);
    let ours = refusals(Kind::under_test(), &requests);
    let real = refusals(Kind::Real(Peer::V8), &requests);
    let differing: Vec<_> = ours.iter().zip(&real).filter(|(ours, real)| ours != real).collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

const FLAGS: [Option<&str>; 6] = [None, Some(""), Some("allow-stale"), Some("no-writes"), Some("no-writes,allow-stale"), Some("allow-oom")];
const BODIES: [&str; 6] = [
    "return 1",
    "return redis.call('get','a')",
    "return redis.pcall('set','a','1')",
    "return redis.call('ping')",
    "return redis.call('publish','a','b')",
    "return redis.call('pfcount','h')",
];
const LIBRARY: &str = "#!lua name=l
local get = function() return redis.call('get', 'a') end
redis.register_function('plain', get)
redis.register_function{function_name='reads', callback=get, flags={'no-writes'}}
redis.register_function{function_name='stale', callback=get, flags={'allow-stale'}}
redis.register_function{function_name='reads_stale', callback=get, flags={'no-writes', 'allow-stale'}}
redis.register_function{function_name='lies', callback=function() return redis.call('set', 'a', 1) end, flags={'no-writes'}}
";

const NO_MEMORY: &str = "no memory";

/// Every script and function by every command that runs one, alone and inside MULTI.
fn run_scripts(server: &Daemon, state: &str, said: &mut Vec<String>) {
    let mut client = server.client();
    let mut say = |client: &mut Client, words: &[&str]| {
        let reply = client.command(words);
        said.push(format!("{state}: {words:?}: {reply:?}"));
    };
    for flags in FLAGS {
        for body in BODIES {
            let script = flags.map_or_else(|| body.to_owned(), |flags| format!("#!lua flags={flags}\n{body}"));
            for command in ["EVAL", "EVAL_RO"] {
                say(&mut client, &[command, &script, "0"]);
            }
            let sha = client.command(&["SCRIPT", "LOAD", &script]).text();
            for command in ["EVALSHA", "EVALSHA_RO"] {
                say(&mut client, &[command, &sha, "0"]);
            }
        }
    }
    for function in ["plain", "reads", "stale", "reads_stale", "lies", "nosuch"] {
        for command in ["FCALL", "FCALL_RO"] {
            say(&mut client, &[command, function, "0"]);
        }
    }
    if state == NO_MEMORY {
        // What MULTI queues then differs from 7.0 to 8.2.
        return;
    }
    for script in ["return redis.call('get','a')", "#!lua\nreturn 1", "#!lua flags=no-writes\nreturn 1"] {
        say(&mut client, &["MULTI"]);
        say(&mut client, &["EVAL", script, "0"]);
        say(&mut client, &["EXEC"]);
    }
}

fn script_transcript(kind: Kind) -> Vec<String> {
    let (mut master, server) = (Daemon::start(kind, &[]), Daemon::start(kind, &[]));
    let mut said = Vec::new();
    let mut client = server.client();
    assert_eq!(server.client().command(&["FUNCTION", "LOAD", LIBRARY]), Value::bulk("l"));
    client.ok("CONFIG SET maxmemory 1");
    run_scripts(&server, NO_MEMORY, &mut said);
    client.ok("CONFIG SET maxmemory 0");
    client.ok("CONFIG SET min-replicas-to-write 1");
    run_scripts(&server, "no slaves", &mut said);
    client.ok("CONFIG SET min-replicas-to-write 0");
    // A slave has its master's functions.
    master.client().command(&["FUNCTION", "LOAD", LIBRARY]);
    replicate(&server, master.port);
    wait_link_up(&server);
    for (state, setting) in [("read-only", "yes"), ("writable", "no")] {
        client.ok(&format!("CONFIG SET replica-read-only {setting}"));
        run_scripts(&server, state, &mut said);
    }
    master.kill();
    wait_for(SOON, "the link to go down", || (info(&mut client, "master_link_status").as_deref() == Some("down")).then_some(()));
    for (stale, read_only) in [("yes", "yes"), ("no", "yes"), ("no", "no")] {
        client.ok(&format!("CONFIG SET replica-read-only {read_only} replica-serve-stale-data {stale}"));
        run_scripts(&server, &format!("stale {stale}, read-only {read_only}"), &mut said);
    }
    said
}

/// What a script says of itself decides like the flags of a command.
#[test]
fn scripts_are_refused_as_redis_refuses_them() {
    let ours = script_transcript(Kind::under_test());
    for peer in [Peer::V7, Peer::V8] {
        let real = script_transcript(Kind::Real(peer));
        assert_eq!(ours.len(), real.len());
        let differing: Vec<_> = ours.iter().zip(&real).filter(|(ours, real)| ours != real).collect();
        assert!(differing.is_empty(), "beside {}: {differing:#?}", peer.name());
    }
}

/// A pause of writes holds back what could put something into the stream: PUBLISH, PFCOUNT, scripts that do not promise to write nothing.
#[test]
fn a_pause_of_writes_holds_back_what_it_holds_back_in_redis() {
    let lines: [&[&str]; 12] = [
        &["GET", "a"],
        &["SET", "a", "1"],
        &["PUBLISH", "a", "b"],
        &["SPUBLISH", "a", "b"],
        &["PFCOUNT", "h"],
        &["EVAL", "return 1", "0"],
        &["EVAL_RO", "return 1", "0"],
        &["EVAL", "#!lua\nreturn 1", "0"],
        &["EVAL_RO", "#!lua\nreturn 1", "0"],
        &["EVAL", "#!lua flags=no-writes\nreturn 1", "0"],
        &["SCRIPT", "LOAD", "return 1"],
        &["XADD", "s", "*", "a", "1"],
    ];
    for kind in [Kind::under_test(), Kind::Real(Peer::V7), Kind::Real(Peer::V8)] {
        let server = Daemon::start(kind, &[]);
        let mut clients: Vec<Client> = lines.iter().map(|_| server.client()).collect();
        let mut admin = server.client();
        admin.ok("CLIENT PAUSE 100000 WRITE");
        let ids: Vec<i64> = clients.iter_mut().map(|client| client.run("CLIENT ID").int()).collect();
        for (client, line) in clients.iter_mut().zip(lines) {
            let mut bytes = Vec::new();
            crate::support::client::encode(&mut bytes, line);
            client.send(&bytes).expect("sending");
        }
        let mut blocked = Vec::new();
        wait_for(SOON, "all to be served or held back", || {
            let listed = admin.run("CLIENT LIST").text();
            blocked.clear();
            for (id, line) in ids.iter().zip(lines) {
                let entry = listed.lines().find(|entry| entry.starts_with(&format!("id={id} ")))?;
                let is_blocked = entry.contains(" flags=b ");
                // Until its request has come, it shows CLIENT ID.
                if !is_blocked && entry.contains("cmd=client|id") {
                    return None;
                }
                if is_blocked {
                    blocked.push(line.join(" "));
                }
            }
            Some(())
        });
        let held = [
            "SET a 1",
            "PUBLISH a b",
            "SPUBLISH a b",
            "PFCOUNT h",
            "EVAL return 1 0",
            "EVAL #!lua\nreturn 1 0",
            "EVAL_RO #!lua\nreturn 1 0",
            "XADD s * a 1",
        ];
        assert_eq!(blocked, held, "{}", kind.name());
    }
}
