//! EVAL and its kin against a real Redis 8.2.3: what scripts may see and do, every error text, conversions in both protocols, what slaves get.

use crate::support::tap::StreamTap;
use crate::support::{Client, Daemon, Peer, Value};

const FILES: [&str; 2] = [include_str!("scripts.txt"), include_str!("functions.txt")];

fn commands(file: &str) -> impl Iterator<Item = Vec<String>> {
    file.lines().skip(1).map(|line| {
        let text = |part: &str| part.replace("\\N", "\n");
        match line.strip_prefix("> ") {
            Some(words) => words.split('|').map(text).collect(),
            None => vec!["EVAL".to_owned(), text(line), "0".to_owned()],
        }
    })
}

fn pair(proto: &str) -> [(Daemon, Client); 2] {
    [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])].map(|daemon| {
        let mut client = daemon.client();
        client.command(&["HELLO", proto]);
        (daemon, client)
    })
}

#[test]
fn replies_are_those_of_redis() {
    for proto in ["2", "3"] {
        let [(_here, mut ours), (_there, mut real)] = pair(proto);
        let mut wrong = Vec::new();
        for words in FILES.into_iter().flat_map(commands) {
            let (here, there) = (ours.command(&words), real.command(&words));
            // NaN is not equal to itself.
            if format!("{here:?}") != format!("{there:?}") {
                wrong.push(format!("{words:?}: {here:?}, Redis says {there:?}"));
            }
        }
        assert!(wrong.is_empty(), "RESP{proto}: {}", wrong.join("\n"));
    }
}

/// Scripts that write, and what each must bring into the stream.
const WRITERS: [&str; 9] = [
    "redis.call('set','a',1) redis.call('incr','a') return 1",
    "redis.call('set','a',1)",
    "redis.call('get','a')",
    "redis.call('select',3) redis.call('set','a',1) redis.call('select',2) return redis.call('set','b',2)",
    "redis.set_repl(redis.REPL_NONE) redis.call('set','c',1) redis.set_repl(redis.REPL_ALL) redis.call('set','d',1)",
    "redis.set_repl(redis.REPL_AOF) redis.call('set','c',1) redis.set_repl(redis.REPL_REPLICA) redis.call('set','e',1)",
    "redis.call('set','f',1) error('after a write')",
    "redis.call('set','f',1) redis.call('nonsense')",
    "for i=1,3 do redis.call('publish','ch',i) end return redis.call('append','g','x')",
];

#[test]
fn effects_reach_slaves_as_those_of_redis() {
    let pair = pair("2");
    let mut streams = Vec::new();
    for (daemon, mut client) in pair {
        let mut tap = StreamTap::attach(daemon.port);
        for script in WRITERS {
            client.command(&["EVAL", script, "0"]);
        }
        client.command(&["MULTI"]);
        client.command(&["EVAL", WRITERS[0], "0"]);
        client.command(&["SET", "h", "1"]);
        client.command(&["EXEC"]);
        client.command(&["SCRIPT", "LOAD", "return 1"]);
        client.command(&["SCRIPT", "FLUSH"]);
        assert_eq!(client.command(&["GET", "a"]).text(), "2");
        client.ok("SELECT 9");
        client.ok("SET the-end 1");
        let mut stream: Vec<String> = tap.effects_until(&["SET", "the-end"]).iter().map(|words| words.join(" ")).collect();
        // Redis says SELECT inside of a transaction, ours before.
        for at in 1..stream.len() {
            if stream[at - 1] == "MULTI" && stream[at].starts_with("SELECT") {
                stream.swap(at - 1, at);
            }
        }
        streams.push(stream);
    }
    assert_eq!(streams[0], streams[1]);
    assert!(streams[0].len() > 20, "{:?}", streams[0]);
}

#[test]
fn scripts_of_eval_are_forgotten_those_loaded_stay() {
    for daemon in [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])] {
        let mut client = daemon.client();
        let loaded = client.command(&["SCRIPT", "LOAD", "return 'loaded'"]).text();
        let first = "return 'first'";
        client.command(&["EVAL", first, "0"]);
        // It is known already, and remains one of EVAL's.
        client.command(&["EVAL", "return 'both'", "0"]);
        let both = client.command(&["SCRIPT", "LOAD", "return 'both'"]).text();
        for number in 0..498 {
            client.command(&["EVAL", &format!("return {number}"), "0"]);
        }
        client.command(&["EVAL", first, "0"]);
        for number in 498..600 {
            client.command(&["EVAL", &format!("return {number}"), "0"]);
        }
        assert_eq!(client.command(&["EVALSHA", &loaded, "0"]).text(), "loaded");
        assert!(client.command(&["EVALSHA", &both, "0"]).is_error("NOSCRIPT"));
        let info = client.command(&["INFO", "everything"]).text();
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(str::to_owned));
        assert_eq!(field("number_of_cached_scripts").as_deref(), Some("501"), "{}", daemon.port);
        assert_eq!(field("evicted_scripts").as_deref(), Some("102"), "{}", daemon.port);
    }
}

const LIBRARY: &str = "#!lua name=counting
redis.register_function('count', function(keys, args) return redis.call('incrby', keys[1], args[1]) end)
redis.register_function{function_name='look', callback=function(keys) return redis.call('get', keys[1]) end, flags={'no-writes'}, description='Reads.'}";

/// What comes of libraries: in the stream, in payloads that either server restores.
#[test]
fn libraries_go_from_server_to_server() {
    let mut pair = pair("3");
    let (mut streams, mut dumps) = (Vec::new(), Vec::new());
    for (daemon, client) in &mut pair {
        let mut tap = StreamTap::attach(daemon.port);
        assert_eq!(client.command(&["FUNCTION", "LOAD", LIBRARY]).text(), "counting");
        assert_eq!(client.command(&["FCALL", "count", "1", "n", "5"]).int(), 5);
        let Value::Bulk(dump) = client.command(&["FUNCTION", "DUMP"]) else { panic!("no payload") };
        dumps.push(dump);
        client.command(&["FUNCTION", "LOAD", LIBRARY]);
        client.command(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
        client.command(&["FUNCTION", "DELETE", "counting"]);
        client.command(&["FUNCTION", "DELETE", "counting"]);
        client.ok("FUNCTION FLUSH");
        client.ok("SELECT 9");
        client.ok("SET the-end 1");
        streams.push(tap.effects_until(&["SET", "the-end"]));
    }
    assert_eq!(streams[0], streams[1]);
    assert_eq!(streams[0].iter().filter(|words| words[0] == "FUNCTION").count(), 4, "{:?}", streams[0]);
    // Each restores what the other has dumped.
    dumps.reverse();
    for ((_, client), dump) in pair.iter_mut().zip(dumps) {
        let restore = |policy: &str| [b"FUNCTION".to_vec(), b"RESTORE".to_vec(), dump.clone(), policy.as_bytes().to_vec()];
        assert_eq!(client.command(&restore("FLUSH")), Value::ok());
        assert_eq!(client.command(&restore("APPEND")), Value::Error("ERR Library counting already exists".to_owned()));
        assert_eq!(client.command(&restore("REPLACE")), Value::ok());
        client.ok("SELECT 0");
        assert_eq!(client.command(&["FCALL_RO", "LOOK", "1", "n"]).text(), "5");
    }
}
