//! EVAL and its kin against a real Redis 8.2.3: what scripts may see and do, every error text, conversions in both protocols, what slaves get.

use crate::support::client::encode;
use crate::support::tap::StreamTap;
use crate::support::{Client, Daemon, Peer, SOON, Value, wait_for};

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

const BUSY: &str = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const BUSY_FUNCTION: &str = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";

#[track_caller]
fn refused(client: &mut Client, command: &str, error: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!(client.command(&words), Value::Error(error.to_owned()), "{command}");
}

/// Sends a command whose reply is read later.
fn send(client: &mut Client, words: &[&str]) {
    let mut bytes = Vec::new();
    encode(&mut bytes, words);
    client.send(&bytes).expect("the server reads");
}

/// Waits until the server says that it is busy.
fn until_busy(client: &mut Client) -> String {
    wait_for(SOON, "the server to be busy", || match client.command(&["GET", "x"]) {
        Value::Error(text) => Some(text),
        _ => None,
    })
}

#[test]
fn a_script_that_runs_for_too_long_lets_others_in_and_can_be_killed() {
    for daemon in [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])] {
        let (mut runs, mut other) = (daemon.client(), daemon.client());
        other.ok("CONFIG SET lua-time-limit 20");
        assert_eq!(other.command(&["CONFIG", "GET", "busy-reply-threshold"]).items()[1].text(), "20");
        refused(&mut other, "SCRIPT KILL", "NOTBUSY No scripts in execution right now.");
        // What it catches does not help it.
        send(&mut runs, &["EVAL", "while true do pcall(function() while true do end end) end", "0"]);
        assert_eq!(until_busy(&mut other), BUSY);
        for command in ["PING", "EVAL return 0", "FUNCTION KILL", "FUNCTION STATS"] {
            refused(&mut other, command, BUSY);
        }
        other.ok("MULTI");
        refused(&mut other, "SET a 1", BUSY);
        other.ok("DISCARD");
        let mut new = daemon.client();
        refused(&mut new, "PING", BUSY);
        new.ok("SCRIPT KILL");
        let error = format!("{:?}", runs.reply().expect("a reply"));
        assert!(error.starts_with("-ERR Script killed by user with SCRIPT KILL... script: "), "{error}");
        assert_eq!(other.command(&["PING"]).text(), "PONG");

        send(&mut runs, &["EVAL", "redis.call('set','written',1) while true do if redis.call('exists','stop') == 1 then return 'x' end end", "0"]);
        assert_eq!(until_busy(&mut other), BUSY);
        let error = other.command(&["SCRIPT", "KILL"]);
        assert!(error.is_error("UNKILLABLE"), "{error:?}");
        // Nothing but the end of the server ends it.
        send(&mut other, &["SHUTDOWN", "NOSAVE"]);
        assert!(runs.reply().is_err());
    }
}

#[test]
fn a_function_that_runs_for_too_long_can_be_killed() {
    for daemon in [Daemon::replikant(&["--busy-reply-threshold", "20"]), Daemon::redis(Peer::V8, &["--busy-reply-threshold", "20"])] {
        let (mut runs, mut other) = (daemon.client(), daemon.client());
        other.command(&["FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('spin', function() while true do end end)"]);
        send(&mut runs, &["FCALL", "spin", "1", "k", "a"]);
        assert_eq!(until_busy(&mut other), BUSY_FUNCTION);
        refused(&mut other, "SCRIPT KILL", BUSY_FUNCTION);
        let stats = other.command(&["FUNCTION", "STATS"]);
        let running = &stats.items()[1];
        assert_eq!(running.items()[1].text(), "spin");
        let command: Vec<String> = running.items()[3].items().iter().map(Value::text).collect();
        assert_eq!(command, ["FCALL", "spin", "1", "k", "a"]);
        assert!(running.items()[5].int() >= 20);
        other.ok("FUNCTION KILL");
        let error = format!("{:?}", runs.reply().expect("a reply"));
        assert_eq!(error, "-ERR Script killed by user with SCRIPT KILL... script: spin, on @user_function:2.");
        let error = other.command(&["FUNCTION", "LOAD", "#!lua name=m\nwhile true do end"]);
        assert_eq!(error, Value::Error("ERR Error registering functions: ERR FUNCTION LOAD timeout".to_owned()));
    }
}

/// Random texts, from what the formats are made of, to the decoders of both.
#[test]
fn decoders_read_random_bytes_as_those_of_redis() {
    const SCRIPT: &str = "
        local show = function(ok, ...)
            local out = {tostring(ok)}
            for i = 1, select('#', ...) do
                local value = select(i, ...)
                out[#out + 1] = type(value) == 'table' and cmsgpack.pack(value) or tostring(value)
            end
            return out
        end
        return {
            show(pcall(cjson.decode, ARGV[1])), show(pcall(cmsgpack.unpack, ARGV[2])), show(pcall(cmsgpack.unpack_limit, ARGV[2], 2, 1)),
            show(pcall(struct.unpack, ARGV[3], ARGV[2])), show(pcall(struct.pack, ARGV[3], 1, -2, 3.5, '4', 5, 6)), show(pcall(struct.size, ARGV[3])),
            show(pcall(function() return cjson.encode(cmsgpack.unpack_one(ARGV[2])) end)),
        }";
    const JSON: [&str; 30] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"b\"",
        "1",
        "-2.5",
        "1e3",
        "0x1p3",
        "nan",
        "-inf",
        "true",
        "false",
        "null",
        " ",
        "\"\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "\"",
        "\\",
        "+1",
        "00",
        "1e400",
        "\"c\":1,",
        "[1,2]",
        "{}",
        "[]",
        "\u{7f}\u{1}",
    ];
    const FORMAT: &[u8] = b"<>! bBhHlLTiIfdsc0123489x=q";
    let [(_here, mut ours), (_there, mut real)] = pair("2");
    let mut state = 88_172_645_463_325_252u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % bound
    };
    for number in 0..3000 {
        let json: String = (0..below(9)).map(|_| JSON[below(JSON.len())]).collect();
        // Short lengths, so that there is something in what they announce.
        let packed: Vec<u8> = (0..below(24))
            .map(|_| match below(3) {
                0 => below(4) as u8,
                1 => [0x81, 0x91, 0x92, 0xa1, 0xc0, 0xc2, 0xca, 0xcb, 0xcc, 0xcf, 0xd1, 0xd3, 0xd9, 0xdc, 0xde][below(15)],
                _ => below(256) as u8,
            })
            .collect();
        let format: Vec<u8> = (0..below(8)).map(|_| FORMAT[below(FORMAT.len())]).collect();
        let words: [&[u8]; 6] = [b"EVAL", SCRIPT.as_bytes(), b"0", json.as_bytes(), &packed, &format];
        let (here, there) = (ours.command(&words), real.command(&words));
        let shown = (json, packed.escape_ascii().to_string(), String::from_utf8_lossy(&format).into_owned());
        assert_eq!(here, there, "number {number}: {shown:?}");
    }
}
