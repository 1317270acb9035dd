//! Logging in, CLIENT, CONFIG, COMMAND, DEBUG and their like: the same sessions to this server and to a real Redis 8.2.3, replies compared
//! word for word; and what only shows from outside: sockets that move or are closed.

use std::net::TcpListener;

use replikant::types::split::split;

use crate::support::{Client, Daemon, Peer, SOON, Value, info_u64, wait_for};

const LOGIN: &str = r#"
PING a b
ECHO
SELECT 15
SELECT 16
SELECT -1
SELECT abc
SELECT 2147483648
AUTH x
AUTH default x
AUTH nobody x
AUTH a b c
HELLO 4
HELLO abc
HELLO 3 AUTH a
HELLO 3 AUTH nobody x
HELLO 3 SETNAME
HELLO 3 SETNAME "a b"
HELLO 3 FOO
HELLO 3 SETNAME x SETNAME y AUTH a
CLIENT GETNAME
CONFIG SET requirepass secret
PING
RESET
PING
NOSUCH a
HELLO
HELLO 3 SETNAME foo
AUTH bad
AUTH default ""
AUTH default secret
CONFIG SET requirepass ""
RESET x
MULTI
AUTH x
CONFIG SET timeout abc
SELECT 99
EXEC
MULTI
RESET
EXEC
"#;

const CLIENT: &str = r#"
CLIENT
CLIENT FOO
CLIENT ID x
CLIENT SETNAME "a b"
CLIENT SETNAME "a\nb"
CLIENT SETNAME ""
CLIENT GETNAME
CLIENT SETNAME foo
CLIENT GETNAME
CLIENT LIST x
CLIENT LIST TYPE foo
CLIENT LIST TYPE master
CLIENT LIST TYPE slave
CLIENT LIST TYPE normal x
CLIENT LIST ID
CLIENT LIST ID abc
CLIENT LIST ID 999999 888888
CLIENT KILL
CLIENT KILL 1.2.3.4:5
CLIENT KILL ID abc
CLIENT KILL ID 0
CLIENT KILL ID 999999
CLIENT KILL ID 99999 ID
CLIENT KILL TYPE foo
CLIENT KILL TYPE pubsub
CLIENT KILL USER nobody
CLIENT KILL SKIPME maybe
CLIENT KILL SKIPME yes
CLIENT KILL MAXAGE abc
CLIENT KILL MAXAGE 0
CLIENT KILL ID 1000000 SKIPME no
CLIENT NO-EVICT foo
CLIENT NO-EVICT on
CLIENT NO-TOUCH on
CLIENT REPLY foo
CLIENT REPLY ON
CLIENT SETINFO lib-name "a b"
CLIENT SETINFO FOO bar
CLIENT SETINFO LIB-VER 1.2
CLIENT TRACKINGINFO
CLIENT GETREDIR
"#;

const CONFIG: &str = r#"
CONFIG
CONFIG GET nosuch
CONFIG GET TIMEOUT timeout
CONFIG GET max?lients
CONFIG SET timeout 5 hz
CONFIG SET nosuch x
CONFIG SET timeout 5 nosuch x
CONFIG SET timeout 5 Timeout 6
CONFIG SET databases 5
CONFIG SET dir /nonexistent
CONFIG SET dir /etc/passwd
CONFIG SET dbfilename a/b
CONFIG SET maxclients 0
CONFIG SET save "a b"
CONFIG SET save "60 1000 900 1"
CONFIG GET save
CONFIG SET save ""
CONFIG SET loglevel foo
CONFIG SET maxmemory 1xb
CONFIG SET client-output-buffer-limit "foo 1 2 3"
CONFIG SET bind foo.bar.invalid
CONFIG SET bind 192.0.2.1
CONFIG SET replicaof "h 1"
CONFIG REWRITE
CONFIG REWRITE x
CONFIG RESETSTAT
SLOWLOG GET abc
SLOWLOG GET 1 2
SLOWLOG FOO
CONFIG HELP
SLOWLOG HELP
COMMAND HELP
SHUTDOWN FOO
SHUTDOWN ABORT
SHUTDOWN SAVE NOSAVE
BGSAVE FOO
LATENCY
LATENCY HELP
LATENCY FOO
LATENCY LATEST
LATENCY HISTORY foo
LATENCY GRAPH foo
LATENCY RESET foo
LATENCY HISTOGRAM nosuch
CONFIG SET latency-tracking-info-percentiles abc
CONFIG SET latency-tracking-info-percentiles 101
CONFIG SET latency-tracking-info-percentiles "0 99.99 33.3333333333 1e1 100.0"
CONFIG GET latency-tracking-info*
CONFIG SET latency-monitor-threshold 100000
LATENCY DOCTOR
SAVE
INFO nosuch
LOLWUT VERSION abc
"#;

const COMMAND: &str = r#"
COMMAND FOO
COMMAND COUNT x
COMMAND INFO nosuch GET config|nosuch
COMMAND DOCS nosuch
COMMAND LIST FOO
COMMAND LIST FILTERBY FOO bar
COMMAND LIST FILTERBY MODULE foo
COMMAND LIST FILTERBY ACLCAT foo
COMMAND LIST FILTERBY PATTERN GET
COMMAND GETKEYS GET
COMMAND GETKEYS nosuch a
COMMAND GETKEYS PING
COMMAND GETKEYS MSET a 1 b 2
COMMAND GETKEYS MSET a 1 b
COMMAND GETKEYS CONFIG x
COMMAND GETKEYS MEMORY USAGE x
COMMAND GETKEYS DEL a b c
COMMAND GETKEYSANDFLAGS SET a b
COMMAND GETKEYSANDFLAGS SET a b GET
COMMAND GETKEYSANDFLAGS COPY a b
COMMAND GETKEYSANDFLAGS RENAME a b
MEMORY USAGE nosuch
MEMORY USAGE a SAMPLES
MEMORY USAGE a SAMPLES -1
MEMORY USAGE a FOO 1
MEMORY DOCTOR
MEMORY PURGE
MEMORY HELP
MEMORY STATS x
"#;

const DEBUG: &str = r#"
SET a foo
SET n 12345 EX 1000
DEBUG
DEBUG FOO
DEBUG JMAP
DEBUG DIGEST-VALUE a nosuch
DEBUG DIGEST-VALUE
DEBUG OBJECT nosuch
DEBUG OBJECT
DEBUG SLEEP 0
DEBUG SET-ACTIVE-EXPIRE 0
DEBUG SET-ACTIVE-EXPIRE 1
DEBUG POPULATE abc
DEBUG POPULATE 3 q 10
DEBUG POPULATE 2
MGET q:0 q:2 q:3 key:1
DEBUG DIGEST
DEBUG CHANGE-REPL-ID
DEBUG STRINGMATCH-LEN 3 a*
DEBUG RELOAD
DEBUG RELOAD NOSAVE
OBJECT IDLETIME a
DEBUG DIGEST-VALUE a q:1 key:0
DEBUG PROTOCOL foo
DEBUG PROTOCOL double
DEBUG PROTOCOL null
DEBUG PROTOCOL set
DEBUG PROTOCOL map
DEBUG PROTOCOL verbatim
DEBUG PROTOCOL true
DEBUG PROTOCOL bignum
DEBUG ERROR "FOO a\r\nb"
FLUSHALL
DEBUG DIGEST
"#;

fn say(client: &mut Client, line: &str) -> Value {
    client.command(&split(line.as_bytes()).expect("quotes are closed"))
}

/// Runs one session on both, in either protocol.
#[track_caller]
fn same_replies(session: &str) {
    let args = ["--enable-protected-configs", "yes"];
    let (ours, real) = (Daemon::replikant(&args), Daemon::redis(Peer::V8, &args));
    for proto in ["2", "3"] {
        let (mut our_client, mut real_client) = (ours.client(), real.client());
        for client in [&mut our_client, &mut real_client] {
            client.command(&["HELLO", proto]);
        }
        let mut differing = Vec::new();
        for line in session.lines().filter(|line| !line.is_empty()) {
            let (got, wanted) = (say(&mut our_client, line), say(&mut real_client, line));
            if got != wanted {
                differing.push(format!("RESP{proto} {line}\n   ours {got:?}\n  Redis {wanted:?}"));
            }
        }
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }
}

#[test]
fn logging_in_is_as_in_redis() {
    same_replies(LOGIN);
}

#[test]
fn client_is_as_in_redis() {
    same_replies(CLIENT);
}

#[test]
fn config_and_its_like_are_as_in_redis() {
    same_replies(CONFIG);
}

#[test]
fn command_is_as_in_redis() {
    same_replies(COMMAND);
}

#[test]
fn debug_is_as_in_redis() {
    same_replies(DEBUG);
}

fn field_names(line: &str) -> Vec<&str> {
    line.split_ascii_whitespace().filter_map(|field| field.split('=').next()).collect()
}

#[test]
fn a_client_line_has_redis_fields_in_its_order() {
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    let line = |daemon: &Daemon| daemon.client().run("CLIENT INFO").text();
    assert_eq!(field_names(&line(&ours)), field_names(&line(&real)));
}

#[test]
fn listeners_move_and_the_node_stays_within_reach() {
    let ours = Daemon::replikant(&[]);
    let mut client = ours.client();
    client.ok("CONFIG SET bind 127.0.0.1");
    wait_for(SOON, "the same port again", || Client::try_connect(ours.port).ok());
    // The system's choice, given back for the server to take.
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port").port();
    client.ok(&format!("CONFIG SET port {port}"));
    let mut there = wait_for(SOON, "the new port", || Client::try_connect(port).ok());
    assert_eq!(info_u64(&mut there, "tcp_port"), u64::from(port));
    assert!(Client::try_connect(ours.port).is_err());
    // What can't be had is refused, and nothing moves.
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let refused = client.run(&format!("CONFIG SET port {}", taken.local_addr().expect("it listens").port()));
    let text = "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs.";
    assert_eq!(refused, Value::Error(text.to_owned()));
    assert_eq!(there.run("PING"), Value::Simple("PONG".to_owned()));
    Client::connect(port);
}

#[test]
fn a_killed_client_is_closed() {
    let ours = Daemon::replikant(&[]);
    let (mut killer, mut killed) = (ours.client(), ours.client());
    let id = killed.run("CLIENT ID").int();
    assert_eq!(killer.run(&format!("CLIENT KILL ID {id}")), Value::Int(1));
    assert!(killed.closed_by_server());
    assert_eq!(killer.run(&format!("CLIENT KILL ID {id}")), Value::Int(0));
    // Itself: the reply comes first.
    let own = killer.run("CLIENT ID").int();
    assert_eq!(killer.run(&format!("CLIENT KILL ID {own} SKIPME no")), Value::Int(1));
    assert!(killer.closed_by_server());
}
