//! What is in snapshots beside the plain values: libraries of functions, what streams know of their past, fields that expire. Who gets what: our own
//! file and slaves that tell a version all of it, stock slaves what 6.2 loads.

use std::path::Path;

use crate::support::daemon::run_to_end;
use crate::support::sync::{digest_when_loaded, link_is_up};
use crate::support::{Client, Daemon, Kind, Peer, SOON, Value, digest, replicate, wait_for, wait_in_sync, wait_link_up};

const LIBRARY: &str = "#!lua name=counting
redis.register_function('count', function(keys, args) return redis.call('incrby', keys[1], args[1]) end)
redis.register_function{function_name='look', callback=function(keys) return redis.call('get', keys[1]) end, flags={'no-writes'}}";

fn load_library(client: &mut Client) {
    assert_eq!(client.command(&["FUNCTION", "LOAD", LIBRARY]).text(), "counting");
    let other = "#!lua name=other\nredis.register_function('other', function() return 'other' end)";
    assert_eq!(client.command(&["FUNCTION", "LOAD", other]).text(), "other");
}

fn libraries(client: &mut Client) -> Vec<String> {
    let reply = client.run("FUNCTION LIST WITHCODE");
    let mut found: Vec<String> = reply.items().iter().map(|library| library.items().last().expect("its code").text()).collect();
    found.sort();
    found
}

/// Every type, in a server that has them all; fields that expire where it knows them.
fn fill(client: &mut Client, is_8: bool) {
    let lines = "SET n 5;SET text value PX 100000000;RPUSH list a b 1 2;SADD set a b;SADD ints 1 2 3;ZADD zset 1.5 a 2 b;HSET hash f v g 1;\
         XADD whole 1-1 f v;XADD whole 1-2 f w;XGROUP CREATE whole at-end 1-2;XGROUP CREATE whole at-start 0;\
         XADD cut 1-1 f v;XADD cut 1-2 f w;XADD cut 1-3 f x;XDEL cut 1-2;XGROUP CREATE cut g 1-3;\
         XADD read 1-1 f v;XADD read 1-2 f w;XADD read 1-3 f x;XGROUP CREATE read g 0;XREADGROUP GROUP g alice COUNT 1 STREAMS read >;\
         XADD empty 1-1 f v;XDEL empty 1-1;SELECT 3;SET other 1;SELECT 0";
    for line in lines.split(';') {
        let reply = client.run(line);
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    }
    for n in 0..1000 {
        client.command(&["SADD".to_owned(), "big-set".to_owned(), format!("member:{n}")]);
        client.command(&["ZADD".to_owned(), "big-zset".to_owned(), n.to_string(), format!("member:{n}")]);
        client.command(&["RPUSH".to_owned(), "big-list".to_owned(), format!("element:{n}").repeat(20)]);
        client.command(&["HSET".to_owned(), "big-hash".to_owned(), format!("field:{n}"), n.to_string()]);
    }
    if is_8 {
        for line in
            ["XGROUP CREATECONSUMER read g idle", "HPEXPIRE hash 100000000 FIELDS 1 f", "HPEXPIRE big-hash 100000000 FIELDS 2 field:1 field:2"]
        {
            let reply = client.run(line);
            assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
        }
    }
}

/// What a server knows of its streams, without what differs by the server: its own estimates, the times of consumers it has none for.
fn streams(client: &mut Client) -> Vec<String> {
    let of = |key: &str, client: &mut Client| format!("{:?}", client.command(&["XINFO", "STREAM", key, "FULL"]).items());
    ["whole", "cut", "read", "empty"].map(|key| of(key, client).split(", Bulk(\"idmp").next().unwrap_or_default().to_owned()).to_vec()
}

fn started_from(kind: Kind, file: &Path) -> Daemon {
    Daemon::prepared(kind, &[], |dir| {
        std::fs::copy(file, dir.join("dump.rdb")).unwrap();
    })
}

fn version_of(file: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(file).unwrap()[..9]).into_owned()
}

/// From a real server's file to ours, saved, and back: by SAVE and by BGSAVE's sibling, a restart.
fn round(peer: Peer, version: &str) {
    let real = Daemon::redis(peer, &[]);
    let mut client = real.client();
    fill(&mut client, peer == Peer::V8);
    load_library(&mut client);
    let (expected, known, codes) = (digest(&mut client), streams(&mut client), libraries(&mut client));
    client.ok("SAVE");

    let mut ours = started_from(Kind::under_test(), &real.dir().join("dump.rdb"));
    assert_eq!(digest_when_loaded(&ours), expected, "the file of {}", peer.name());
    assert_eq!(libraries(&mut ours.client()), codes);
    ours.client().ok("SAVE");
    ours.kill();
    let file = ours.dir().join("dump.rdb");
    assert_eq!(version_of(&file), version);
    let back = started_from(Kind::Real(peer), &file);
    assert_eq!(digest_when_loaded(&back), expected, "{} on our file", peer.name());
    assert_eq!(streams(&mut back.client()), known);
    assert_eq!(libraries(&mut back.client()), codes);
    assert_eq!(back.client().run("FCALL count 1 n 2").int(), 7);

    ours.start_again();
    assert_eq!(digest_when_loaded(&ours), expected, "restarted");
    assert_eq!(libraries(&mut ours.client()), codes);
    assert_eq!(ours.client().run("FCALL count 1 n 2").int(), 7);
}

#[test]
fn redis_7_loads_all_that_ours_saves() {
    round(Peer::V7, "REDIS0010");
}

#[test]
fn redis_8_loads_all_that_ours_saves() {
    round(Peer::V8, "REDIS0012");
}

/// Functions reach slaves that are ours, which say so, and no stock ones, whose master says so.
#[test]
fn slaves_get_what_they_are_known_to_understand() {
    let master = Daemon::replikant(&[]);
    load_library(&mut master.client());
    master.client().ok("SET n 5");
    let slave = Daemon::replikant(&[]);
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    let codes = libraries(&mut master.client());
    assert_eq!(libraries(&mut slave.client()), codes);
    assert_eq!(slave.client().command(&["FCALL_RO", "look", "1", "n"]).text(), "5");
    let warning = "Left out of the snapshot";
    assert!(!master.log().contains(warning));
    for peer in [Peer::V6, Peer::V8] {
        let stock = Daemon::redis(peer, &[]);
        replicate(&stock, master.port);
        wait_in_sync(&master, &stock);
        if peer == Peer::V8 {
            assert_eq!(libraries(&mut stock.client()), Vec::<String>::new());
        }
    }
    assert_eq!(master.log().matches(warning).count(), 2, "{}", master.log());
    // Both kinds at once get snapshots of their own; a slave of ours passes on what it has.
    let (one, other) = (Daemon::replikant(&[]), Daemon::redis(Peer::V6, &[]));
    replicate(&one, slave.port);
    replicate(&other, slave.port);
    wait_in_sync(&slave, &one);
    wait_in_sync(&slave, &other);
    assert_eq!(libraries(&mut one.client()), codes);
}

/// A directive says what stock slaves are sent, which never tell what they know.
#[test]
fn stock_slaves_are_sent_what_the_directive_says() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    load_library(&mut client);
    let codes = libraries(&mut client);
    client.run("HSET hash kept 1 timed 2");
    assert_eq!(client.run("HPEXPIRE hash 100000000 FIELDS 1 timed").items()[0].int(), 1);
    for n in 0..1000 {
        client.run(&format!("HSET big-hash field:{n} {n}"));
    }
    client.run("HPEXPIRE big-hash 100000000 FIELDS 1 field:7");
    let synced = |peer: Peer| {
        let slave = Daemon::redis(peer, &[]);
        replicate(&slave, master.port);
        wait_link_up(&slave);
        assert_eq!(slave.client().run("HGETALL hash").sorted_texts(), ["1", "2", "kept", "timed"]);
        assert_eq!(slave.client().run("HLEN big-hash").int(), 1000);
        slave
    };
    for (dialect, peer, has_libraries, has_times) in [
        ("6.2", Peer::V6, false, false),
        ("6.2", Peer::V8, false, false),
        ("7.0", Peer::V7, true, false),
        ("7.2", Peer::V8, true, false),
        ("8.2", Peer::V8, true, true),
        // It tells its version.
        ("6.2", Peer::Valkey, true, false),
    ] {
        client.ok(&format!("CONFIG SET repl-dialect {dialect}"));
        let slave = synced(peer);
        if peer != Peer::V6 {
            assert_eq!(libraries(&mut slave.client()), if has_libraries { codes.clone() } else { Vec::new() }, "{dialect} {}", peer.name());
        }
        if peer == Peer::V8 {
            let mut at_slave = slave.client();
            for (key, field) in [("hash", "timed"), ("big-hash", "field:7")] {
                let left = at_slave.run(&format!("HPTTL {key} FIELDS 1 {field}")).items()[0].int();
                assert_eq!(left > 0, has_times, "{dialect}: {left}");
            }
        }
    }
    // Ours is sent everything, whatever the directive says.
    let ours = Daemon::replikant(&[]);
    replicate(&ours, master.port);
    wait_in_sync(&master, &ours);
    assert!(ours.client().run("HPTTL hash FIELDS 1 timed").items()[0].int() > 0);
}

/// Where nothing may be lost, a slave that can't hold it gets nothing.
#[test]
fn a_slave_that_would_lose_something_is_refused_if_so_directed() {
    let master = Daemon::replikant(&["--repl-dialect-loss", "refuse"]);
    let mut client = master.client();
    client.ok("SET n 5");
    let slave = Daemon::redis(Peer::V7, &[]);
    slave.client().ok("SET own 1");
    load_library(&mut client);
    replicate(&slave, master.port);
    let refused = "dialect-loss";
    wait_for(SOON, "the refusal", || master.log().contains(refused).then_some(()));
    assert_eq!(slave.client().run("GET own").text(), "1");
    client.ok("CONFIG SET repl-dialect 7.0");
    wait_in_sync(&master, &slave);
    assert_eq!(libraries(&mut slave.client()), libraries(&mut client));
    // What it does not know of the stream is not sent to it either, and it is taken back when there is nothing of the kind any more.
    client.run("HSET hash f v");
    wait_in_sync(&master, &slave);
    client.run("HPEXPIRE hash 100000000 FIELDS 1 f");
    wait_for(SOON, "the slave to be given up", || (!link_is_up(&mut slave.client())).then_some(()));
    client.ok("SET n 6");
    assert_eq!(slave.client().run("GET n").text(), "5");
    client.run("DEL hash");
    wait_in_sync(&master, &slave);
}

/// What the master has not replaces what was there.
#[test]
fn a_slave_has_the_functions_of_its_master() {
    let (master, slave) = (Daemon::redis(Peer::V8, &[]), Daemon::replikant(&[]));
    load_library(&mut master.client());
    let own = "#!lua name=own\nredis.register_function('own', function() return 1 end)";
    slave.client().command(&["FUNCTION", "LOAD", own]);
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    assert_eq!(libraries(&mut slave.client()), libraries(&mut master.client()));
}

#[test]
fn a_file_with_functions_that_do_not_compile_stops_the_start() {
    let mut bytes = b"REDIS0010\xF5\x1B#!lua name=bad\nnot a word !\xFF".to_vec();
    bytes.extend_from_slice(&[0; 8]);
    let early = [b"REDIS0010\xF6\x01x\xFF".as_slice(), &[0; 8]].concat();
    for (bytes, reason) in [(bytes, "a library of functions that can't be loaded: ERR Error compiling function"), (early, "(opcode 246)")] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dump.rdb"), bytes).unwrap();
        let args = ["--port", "0", "--save", "", "--unixsocket", "server.sock", "--dir", dir.path().to_str().unwrap()];
        let (status, output) = run_to_end(Kind::under_test(), &args);
        assert!(!status.success() && output.contains(reason), "{output}");
    }
}
