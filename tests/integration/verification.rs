//! REPLICATION VERIFY and REPAIR among whole servers: equal ones are found equal while they serve, what was corrupted is named exactly and mended, slaves
//! of slaves included, and servers that are not ours take the marks and the repair without noticing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use replikant::replication::verify::key_slot;

use crate::support::data::{churn, fill};
use crate::support::{Client, Daemon, Peer, SOON, Value, digest, info, info_u64, replicate, wait_for, wait_in_sync};

/// Ends what runs beside a test, also if that fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A deterministic sequence.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % below
    }
}

/// One write of any type to one of few keys. Those that meet another type fail, which does not matter.
fn any_write(random: &mut Sequence) -> String {
    let (key, n, m) = (random.next(40), random.next(400), random.next(400));
    match random.next(34) {
        0 => format!("SET s:{key} {n} PX {}", 40 + n * 1000),
        1 => format!("APPEND s:{key} tail{m}"),
        2 => format!("INCRBYFLOAT f:{key} 0.{n}"),
        3 => format!("SETRANGE s:{key} {n} {m}"),
        4 | 5 => format!("RPUSH l:{key} {n} text{m}"),
        6 => format!("LPUSH l:{key} {n}"),
        7 => format!("LINSERT l:{key} BEFORE {n} {m}"),
        8 => format!("LPOP l:{key} 2"),
        9 | 10 => format!("SADD i:{key} {n} {m}"),
        11 => format!("SADD t:{key} member{n} {m}"),
        12 => format!("SPOP t:{key}"),
        13 | 14 => format!("HSET h:{key} field{n} {m} other{m} {n}"),
        15 => format!("HPEXPIRE h:{key} {} FIELDS 1 field{n}", 30 + m * 1000),
        16 => format!("HDEL h:{key} field{n}"),
        17 => format!("HINCRBYFLOAT h:{key} float 1.{n}"),
        18 | 19 => format!("ZADD z:{key} {n}.5 m{m} -0 zero{n}"),
        20 => format!("ZINCRBY z:{key} 0.1 m{m}"),
        21 => format!("ZPOPMIN z:{key} 2"),
        22 => format!("ZREMRANGEBYRANK z:{key} 0 1"),
        23 => format!("PEXPIRE h:{key} {}", 30 + m * 1000),
        24 => format!("PEXPIRE z:{key} {}", 30 + m * 100),
        25 => format!("PERSIST s:{key}"),
        26 => format!("RENAME s:{key} s:{}", random.next(40)),
        27 => format!("COPY z:{key} z:{} REPLACE", random.next(40)),
        28 => format!("XADD x:{key} MAXLEN ~ 200 * f{n} {m}"),
        29 => format!("XGROUP CREATE x:{key} g 0"),
        30 => format!("XREADGROUP GROUP g c{} COUNT 2 STREAMS x:{key} >", random.next(3)),
        31 => format!("XDEL x:{key} {n}-0"),
        32 => format!("DEL l:{key}"),
        _ => format!("SUNIONSTORE t:{key} t:{} i:{}", random.next(40), random.next(40)),
    }
}

fn write_all(client: &mut Client, random: &mut Sequence, count: u64) {
    let db = random.next(3);
    client.ok(&format!("SELECT {db}"));
    let requests: Vec<Vec<String>> = (0..count).map(|_| any_write(random).split(' ').map(str::to_owned).collect()).collect();
    client.pipeline(&requests);
}

/// Runs a command whose replies are maps.
#[track_caller]
fn ask(server: &Daemon, line: &str) -> Value {
    let mut client = server.client();
    client.patience(Duration::from_secs(120)).unwrap();
    client.run("HELLO 3");
    client.run(line)
}

#[track_caller]
fn field(reply: &Value, name: &str) -> Value {
    let Value::Map(pairs) = reply else { panic!("no map: {reply:?}") };
    let found = pairs.iter().find(|(key, _)| key.text() == name);
    found.unwrap_or_else(|| panic!("no {name}: {reply:?}")).1.clone()
}

/// The slave at this port, of a result.
#[track_caller]
fn slave(reply: &Value, port: u16) -> Value {
    let all = field(reply, "slaves");
    let found = all.items().iter().find(|one| field(one, "address").text().ends_with(&format!(":{port}")));
    found.unwrap_or_else(|| panic!("no slave {port}: {reply:?}")).clone()
}

/// The slots that differ, with their databases.
#[track_caller]
fn differences(slave: &Value) -> BTreeSet<(i64, u16)> {
    let mut found = BTreeSet::new();
    for database in field(slave, "databases").items() {
        for range in field(database, "slots").items() {
            let range = range.text();
            let (first, last) = range.split_once('-').unwrap_or((&range, &range));
            found.extend((first.parse().unwrap()..=last.parse::<u16>().unwrap()).map(|slot| (field(database, "db").int(), slot)));
        }
    }
    found
}

fn pair(options: &[&str]) -> (Daemon, Daemon) {
    let (master, slave) = (Daemon::replikant(options), Daemon::replikant(options));
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    (master, slave)
}

#[test]
fn equal_servers_are_found_equal_while_everything_is_written() {
    // Small limits, so that big collections occur; the slave has other forms than the master.
    let master = Daemon::replikant(&["--set-max-intset-entries", "20", "--hash-max-listpack-entries", "10"]);
    let (slave_one, end) = (Daemon::replikant(&["--zset-max-listpack-entries", "5", "--list-max-listpack-size", "4"]), Daemon::replikant(&[]));
    fill(&mut master.client(), "filled", 2000);
    replicate(&slave_one, master.port);
    wait_in_sync(&master, &slave_one);
    replicate(&end, slave_one.port);
    wait_in_sync(&slave_one, &end);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = End(&done);
        scope.spawn(|| {
            let (mut client, mut random) = (master.client(), Sequence(77));
            while !done.load(Ordering::Relaxed) {
                write_all(&mut client, &mut random, 50);
            }
        });
        for round in 0..8 {
            let reply = ask(&master, "REPLICATION VERIFY");
            assert_eq!(field(&reply, "state").text(), "equal", "round {round}: {reply:?}");
            assert_eq!(field(&slave(&reply, slave_one.port), "state").text(), "equal");
            assert_eq!(field(&slave(&reply, end.port), "via").text(), format!("127.0.0.1:{}", slave_one.port));
            assert!(field(&reply, "keys").int() >= 2000);
        }
    });
    assert_eq!(field(&ask(&master, "REPLICATION VERIFY STATUS"), "state").text(), "equal");
}

/// Every kind of value, small and big, in two databases. Only new servers know fields that expire.
fn fill_all_types(client: &mut Client, expiring_fields: bool) {
    fill(client, "filled", 1000);
    for db in [0, 3] {
        client.ok(&format!("SELECT {db}"));
        for n in 0..40 {
            client.run(&format!("RPUSH list:{n} a b c d {n}"));
            client.run(&format!("SADD set:{n} a b {n}"));
            client.run(&format!("HSET hash:{n} f 1 g {n}"));
            client.run(&format!("ZADD zset:{n} 1 a {n} b"));
            client.run(&format!("XADD stream:{n} 1-{n} f v"));
        }
        if expiring_fields {
            client.run("HPEXPIRE hash:1 100000000 FIELDS 1 f");
        }
        client.run("XGROUP CREATE stream:1 g 0");
        for name in ["big:set", "big:hash", "big:zset", "big:list"] {
            let requests: Vec<Vec<String>> = (0..3000)
                .map(|n| {
                    let line = match name {
                        "big:set" => format!("SADD {name} member:{n} {n}"),
                        "big:hash" => format!("HSET {name} field:{n} value:{n}"),
                        "big:zset" => format!("ZADD {name} {n} member:{n}"),
                        _ => format!("RPUSH {name} element:{n}"),
                    };
                    line.split(' ').map(str::to_owned).collect()
                })
                .collect();
            client.pipeline(&requests);
        }
    }
    client.ok("SELECT 0");
    client.command(&["SET", "long:string", &"0123456789".repeat(30_000), "PX", "100000000"]);
    let elements: Vec<String> = (0..6000).map(|n| format!("an element that is long enough for a list of many bytes, {n}")).collect();
    client.command(&[vec!["RPUSH".to_owned(), "long:list".to_owned()], elements].concat());
}

/// What is done to a slave behind its master's back, with the keys that it concerns.
const CORRUPTIONS: &[(i64, &str, &str)] = &[
    (0, "filled:8", "SET filled:8 wrong KEEPTTL"),
    (0, "filled:12", "PEXPIRE filled:12 5000000"),
    (0, "filled:24", "PERSIST filled:24"),
    (0, "filled:20", "DEL filled:20"),
    (0, "extra", "SET extra 1"),
    (0, "extra:{tag}", "ZADD extra:{tag} 1 a"),
    (0, "list:1", "LPOP list:1"),
    (3, "list:2", "LSET list:2 0 wrong"),
    (0, "set:3", "SADD set:3 wrong"),
    (3, "hash:4", "HSET hash:4 f wrong"),
    (3, "hash:1", "HPEXPIRE hash:1 5000000 FIELDS 1 g"),
    (0, "zset:5", "ZADD zset:5 77 a"),
    (0, "stream:6", "XADD stream:6 9-9 f wrong"),
    (3, "stream:1", "XGROUP SETID stream:1 g 1-1"),
    (0, "string-now", "SET string-now 1"),
    (3, "set:9", "SET set:9 string"),
    (0, "big:set", "SREM big:set member:7 8"),
    (0, "big:set", "SADD big:set one two"),
    (0, "big:hash", "HSET big:hash field:100 wrong more 1"),
    (3, "big:hash", "DEL big:hash"),
    (0, "big:zset", "ZADD big:zset 5.5 member:2000"),
    (0, "big:zset", "PEXPIRE big:zset 5000000"),
    (3, "big:zset", "SET big:zset 1"),
    (0, "big:list", "LSET big:list 1500 wrong"),
    (0, "long:string", "SETRANGE long:string 150000 wrong"),
    (0, "long:list", "LSET long:list 3000 wrong"),
];

fn corrupt(slave: &Daemon, which: &[(i64, &str, &str)]) -> BTreeSet<(i64, u16)> {
    let mut client = slave.client();
    client.ok("CONFIG SET replica-read-only no");
    for (db, _, line) in which {
        client.ok(&format!("SELECT {db}"));
        let reply = client.run(line);
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    }
    client.ok("CONFIG SET replica-read-only yes");
    which.iter().map(|(db, key, _)| (*db, key_slot(key.as_bytes()))).collect()
}

#[test]
fn what_was_corrupted_is_named_exactly_and_mended_all_the_way_down() {
    let (master, middle) = pair(&[]);
    let end = Daemon::replikant(&[]);
    replicate(&end, middle.port);
    wait_in_sync(&middle, &end);
    fill_all_types(&mut master.client(), true);
    let good = wait_in_sync(&master, &middle);
    assert_eq!(wait_in_sync(&middle, &end), good);
    let wrong = corrupt(&middle, CORRUPTIONS);
    let wrong_at_end = corrupt(&end, &CORRUPTIONS[5..9]);
    let reply = ask(&master, "REPLICATION VERIFY");
    assert_eq!(field(&reply, "state").text(), "differs", "{reply:?}");
    assert_eq!(differences(&slave(&reply, middle.port)), wrong);
    assert_eq!(differences(&slave(&reply, end.port)), wrong_at_end);
    let one = ask(&master, &format!("REPLICATION VERIFY 127.0.0.1 {} DB 3", middle.port));
    assert_eq!(field(&one, "slaves").items().len(), 1);
    assert_eq!(differences(&slave(&one, middle.port)), wrong.iter().copied().filter(|(db, _)| *db == 3).collect());
    let data = digest(&mut master.client());
    let reply = ask(&master, "REPLICATION REPAIR");
    assert_eq!(field(&reply, "state").text(), "equal", "{reply:?}");
    assert_eq!(differences(&field(&reply, "before").items()[0]), wrong, "{reply:?}");
    assert_eq!(field(&reply, "left").items(), []);
    assert_eq!(digest(&mut master.client()), data, "the master's own data stay");
    assert_eq!(wait_in_sync(&master, &middle), data);
    assert_eq!(wait_in_sync(&middle, &end), data);
    assert_eq!(info_u64(&mut master.client(), "sync_full"), 1);
}

#[test]
fn real_servers_take_marks_and_repairs_and_hand_them_on() {
    let (master, ours, end) = (Daemon::replikant(&[]), Daemon::replikant(&[]), Daemon::replikant(&[]));
    let real = Peer::ALL.map(|peer| Daemon::redis(peer, &[]));
    fill(&mut master.client(), "filled", 1000);
    for slave in real.iter().chain([&ours]) {
        replicate(slave, master.port);
    }
    real.iter().chain([&ours]).for_each(|slave| drop(wait_in_sync(&master, slave)));
    // Ours behind a real one gets marks, and must not report to it.
    replicate(&end, real[1].port);
    wait_in_sync(&real[1], &end);
    churn(&mut master.client(), 9, 1000);
    fill_all_types(&mut master.client(), false);
    let good = wait_in_sync(&master, &ours);
    let reply = ask(&master, "REPLICATION VERIFY");
    assert_eq!(field(&reply, "state").text(), "incomplete", "{reply:?}");
    assert_eq!(field(&slave(&reply, ours.port), "state").text(), "equal");
    // What is wrong on the real ones can't be seen from here; what a repair says reaches them all the same.
    let old: Vec<_> = CORRUPTIONS.iter().filter(|(.., line)| !line.starts_with("HPEXPIRE")).copied().collect();
    for slave in real.iter().chain([&ours, &end]) {
        corrupt(slave, &old);
    }
    let reply = ask(&master, &format!("REPLICATION REPAIR 127.0.0.1 {}", ours.port));
    assert_eq!(field(&reply, "state").text(), "equal", "{reply:?}");
    assert_eq!(wait_in_sync(&master, &ours), good);
    assert_eq!(wait_in_sync(&real[1], &end), good);
    for slave in &real {
        assert_eq!(wait_in_sync(&master, slave), good, "{}", slave.kind.name());
        assert!(!slave.log().contains("CRITICAL"), "{}", slave.log());
    }
    assert_eq!(info_u64(&mut real[1].client(), "sync_full"), 1, "no link has been lost for it");
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    let master = Daemon::replikant(&[]);
    let slave_one = Daemon::replikant(&[]);
    let mut client = master.client();
    let error = |client: &mut Client, line: &str| match client.run(line) {
        Value::Error(text) => text,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(error(&mut client, "REPLICATION VERIFY"), "ERR no slave is online");
    assert_eq!(client.run("REPLICATION VERIFY STATUS"), Value::Array(vec![Value::bulk("state"), Value::bulk("none")]));
    replicate(&slave_one, master.port);
    wait_in_sync(&master, &slave_one);
    assert!(error(&mut slave_one.client(), "REPLICATION VERIFY").starts_with("ERR a verification starts at the master"));
    for line in ["REPLICATION VERIFY DB 16", "REPLICATION REPAIR DB x"] {
        assert_eq!(error(&mut client, line), "ERR DB index is out of range");
    }
    for line in ["REPLICATION VERIFY 127.0.0.1", "REPLICATION VERIFY ALL ALL", "REPLICATION VERIFY 127.0.0.1 x", "REPLICATION REPAIR NOW"] {
        assert_eq!(error(&mut client, line), "ERR syntax error", "{line}");
    }
    assert_eq!(error(&mut client, "REPLICATION VERIFY STOP"), "ERR no verification is running");
    let reply = ask(&master, "REPLICATION VERIFY 10.1.2.3 99");
    assert_eq!((field(&reply, "state").text(), field(&reply, "error").text()), ("failed".to_owned(), "no slave at 10.1.2.3:99".to_owned()));
    assert!(info(&mut client, "repl_last_verify").is_some_and(|last| last.starts_with("command=verify,state=failed,slaves=0,")));
    assert_eq!(client.run("REPLICATION VERIFY ALL NOWAIT").text(), "OK started");
    wait_for(SOON, "the result", || {
        let reply = ask(&master, "REPLICATION VERIFY STATUS");
        (field(&reply, "state").text() == "equal").then_some(())
    });
    assert!(info(&mut client, "repl_last_verify").is_some_and(|last| last.starts_with("command=verify,state=equal,slaves=1,equal=1,offset=")));
    client.ok("CLIENT PAUSE 100000 WRITE");
    assert_eq!(error(&mut client, "REPLICATION VERIFY"), "ERR clients are paused: nothing may enter the stream");
}
