//! A change feed of every real server and of ours: what it hands out makes an equal copy.

use std::collections::BTreeMap;
use std::time::Duration;

use replikant::feed::{ChangeFeed, FeedBuilder, FeedItem, SnapshotKey, SnapshotMode, SnapshotValue};
use replikant::server::{Commands, Node};

use crate::support::data::{churn, fill};
use crate::support::peers::Peer;
use crate::support::{Daemon, SOON, Value, digest, info, wait_for};

/// Applies the feed to a node in this process until that has the mark, and returns its digest.
fn copy_by_feed(port: u16, mark: &str) -> String {
    actix_rt::System::new().block_on(async {
        let node = Node::builder().no_listener().directive("enable-debug-command", &["yes"]).start().await.unwrap();
        let client = node.client();
        let mut feed = ChangeFeed::of("127.0.0.1", port).snapshot(SnapshotMode::Skip).open().unwrap();
        let mut db = 0;
        let copy = async {
            while client.get(mark).await.unwrap().is_none() {
                let FeedItem::Change(change) = feed.next().await.unwrap() else { panic!("nothing else was asked for") };
                if std::mem::replace(&mut db, change.db) != change.db {
                    client.call(&["SELECT", &change.db.to_string()]).await.unwrap();
                }
                client.call(&change.args).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(100), copy).await.expect("the mark comes");
        client.call(&["DEL", mark]).await.unwrap();
        client.call(&["DEBUG", "DIGEST"]).into_type::<String>().await.unwrap()
    })
}

fn makes_an_equal_copy(master: Daemon) {
    let mut client = master.client();
    let port = master.port;
    let copy = std::thread::spawn(move || copy_by_feed(port, "mark"));
    wait_for(SOON, "the feed's link", || info(&mut master.client(), "slave0")?.contains("state=online").then_some(()));
    fill(&mut client, "key", 300);
    churn(&mut client, 1, 2000);
    client.ok("SET mark 1");
    let copied = copy.join().unwrap();
    client.run("DEL mark");
    assert_eq!(copied, digest(&mut client));
}

#[test]
fn a_feed_of_ours_makes_an_equal_copy() {
    makes_an_equal_copy(Daemon::replikant(&[]));
}

#[test]
fn a_feed_of_redis_makes_an_equal_copy() {
    for peer in [Peer::V6, Peer::V7, Peer::V8] {
        makes_an_equal_copy(Daemon::redis(peer, &[]));
    }
}

#[test]
fn a_feed_of_valkey_makes_an_equal_copy() {
    makes_an_equal_copy(Daemon::redis(Peer::Valkey, &[]));
}

/// What a snapshot has beside plain values: all of it with numbers that the test knows.
const STREAMS: [&str; 16] = [
    "XADD s 1-1 f v",
    "XADD s 2-1 a 1 b 2",
    "XADD s 3-1 f v",
    "XADD s 4-1 f v",
    "XGROUP CREATE s g 0",
    "XGROUP CREATECONSUMER s g idler",
    "XREADGROUP GROUP g alice COUNT 2 STREAMS s >",
    "XREADGROUP GROUP g bob COUNT 1 STREAMS s >",
    "XACK s g 1-1",
    "XCLAIM s g bob 0 2-1 TIME 1700000000123 RETRYCOUNT 7 JUSTID",
    "XGROUP CREATE s late 2-5",
    "XDEL s 4-1 3-1",
    "HSET h a 1 b 2",
    "PEXPIREAT h 4102444800000",
    "ZADD z 1.5 m -inf n",
    "RPUSH l a 5 b",
];
const FIELD_TTLS: [&str; 3] = ["HSET t a 1 b 2", "HPEXPIREAT t 4102444800123 FIELDS 1 b", "HPEXPIREAT big 4102444800456 FIELDS 1 field:7"];

fn snapshot_of(port: u16) -> (Vec<Vec<u8>>, BTreeMap<Vec<u8>, SnapshotKey>) {
    actix_rt::System::new().block_on(async {
        let mut feed = ChangeFeed::of("127.0.0.1", port).snapshot(SnapshotMode::Deliver).open().unwrap();
        let (mut libraries, mut keys) = (Vec::new(), BTreeMap::new());
        loop {
            match tokio::time::timeout(SOON, feed.next()).await.expect("an item").unwrap() {
                FeedItem::SnapshotBegins { .. } => {}
                FeedItem::Library(code) => libraries.push(code),
                FeedItem::Key(key) => drop(keys.insert(key.key.clone(), key)),
                FeedItem::SnapshotEnds => return (libraries, keys),
                FeedItem::Change(change) => panic!("{change:?}"),
            }
        }
    })
}

/// What a server keeps that the one before it did not.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Keeps {
    OldStreams,
    CountsAndFunctions,
    ActiveTimes,
    FieldTtls,
}

fn delivers_a_whole_snapshot(master: Daemon, keeps: Keeps) {
    let mut client = master.client();
    let big: Vec<String> = (0..1000).flat_map(|number| [format!("field:{number}"), number.to_string()]).collect();
    client.command(&[vec!["HSET".to_owned(), "big".to_owned()], big].concat());
    let field_ttls = if keeps >= Keeps::FieldTtls { &FIELD_TTLS[..] } else { &[] };
    for line in STREAMS.iter().chain(field_ttls) {
        let reply = client.run(line);
        assert!(!reply.is_error(""), "{line}: {reply:?}");
    }
    let code = b"#!lua name=lib\nredis.register_function('one', function() return 1 end)";
    if keeps >= Keeps::CountsAndFunctions {
        assert_eq!(client.command(&[&b"FUNCTION"[..], b"LOAD", code]), Value::bulk("lib"));
    }
    let (libraries, keys) = snapshot_of(master.port);
    assert_eq!(libraries, if keeps >= Keeps::CountsAndFunctions { vec![code.to_vec()] } else { vec![] });

    let bytes = |text: &str| text.as_bytes().to_vec();
    assert_eq!(keys[&b"l"[..]].value, SnapshotValue::List(vec![bytes("a"), bytes("5"), bytes("b")]));
    assert_eq!(keys[&b"z"[..]].value, SnapshotValue::SortedSet(vec![(bytes("n"), f64::NEG_INFINITY), (bytes("m"), 1.5)]));
    assert_eq!(keys[&b"h"[..]].expires_unix_ms, Some(4_102_444_800_000));
    let fields = |key: &str| match &keys[key.as_bytes()].value {
        SnapshotValue::Hash(fields) => fields.clone(),
        other => panic!("{other:?}"),
    };
    let timed =
        |key: &str| -> Vec<(Vec<u8>, i64)> { fields(key).into_iter().filter_map(|field| Some((field.field, field.expires_unix_ms?))).collect() };
    assert_eq!((fields("h").len(), fields("big").len()), (2, 1000));
    if keeps >= Keeps::FieldTtls {
        assert_eq!(timed("t"), [(bytes("b"), 4_102_444_800_123)]);
        assert_eq!(timed("big"), [(bytes("field:7"), 4_102_444_800_456)]);
    }

    let SnapshotValue::Stream(stream) = &keys[&b"s"[..]].value else { panic!("{:?}", keys[&b"s"[..]]) };
    let pair = |field: &str, value: &str| (bytes(field), bytes(value));
    assert_eq!(stream.entries, [("1-1".to_owned(), vec![pair("f", "v")]), ("2-1".to_owned(), vec![pair("a", "1"), pair("b", "2")])]);
    let counts = keeps >= Keeps::CountsAndFunctions;
    let history = (stream.last_id.as_str(), stream.max_deleted_id.as_str(), stream.entries_added);
    assert_eq!(history, if counts { ("4-1", "4-1", 4) } else { ("4-1", "0-0", 2) });
    let groups: Vec<_> = stream.groups.iter().map(|group| (group.name.as_slice(), group.last_id.as_str(), group.entries_read)).collect();
    assert_eq!(groups, [(&b"g"[..], "3-1", counts.then_some(3)), (b"late", "2-5", None)]);
    let consumers = &stream.groups[0].consumers;
    let names: Vec<_> = consumers.iter().map(|consumer| consumer.name.as_slice()).collect();
    assert_eq!(names, [&b"alice"[..], b"bob", b"idler"]);
    assert!(consumers.iter().all(|consumer| consumer.seen_unix_ms > 1_600_000_000_000));
    assert_eq!(consumers[2].active_unix_ms.is_none(), keeps >= Keeps::ActiveTimes);
    let pending: Vec<_> = consumers[1].pending.iter().map(|entry| (entry.id.as_str(), entry.deliveries)).collect();
    assert_eq!((pending, consumers[0].pending.len()), (vec![("2-1", 7), ("3-1", 1)], 0));
    assert_eq!(consumers[1].pending[0].delivered_unix_ms, 1_700_000_000_123);
}

#[test]
fn a_snapshot_of_ours_is_delivered_whole() {
    delivers_a_whole_snapshot(Daemon::replikant(&[]), Keeps::FieldTtls);
}

#[test]
fn a_snapshot_of_real_servers_is_delivered_whole() {
    let peers =
        [(Peer::V6, Keeps::OldStreams), (Peer::V7, Keeps::CountsAndFunctions), (Peer::V8, Keeps::FieldTtls), (Peer::Valkey, Keeps::ActiveTimes)];
    for (peer, keeps) in peers {
        delivers_a_whole_snapshot(Daemon::redis(peer, &[]), keeps);
    }
}

#[test]
fn a_feed_is_shown_as_a_slave_that_nobody_can_reach_unless_told_otherwise() {
    for master in [Daemon::replikant(&[]), Daemon::redis(Peer::V7, &[])] {
        let mut client = master.client();
        let mut shown = |feed: FeedBuilder, expected: &str| {
            actix_rt::System::new().block_on(async {
                let mut feed = feed.snapshot(SnapshotMode::Skip).open().unwrap();
                let is_shown = async {
                    while !info(&mut client, "slave0").is_some_and(|slave| slave.starts_with(expected) && slave.contains("state=online")) {
                        assert!(tokio::time::timeout(Duration::from_millis(50), feed.next()).await.is_err(), "nothing is written");
                    }
                };
                tokio::time::timeout(SOON, is_shown).await.expect(expected);
            });
            wait_for(SOON, "the feed's end", || (info(&mut client, "connected_slaves")? == "0").then_some(()));
        };
        shown(ChangeFeed::of("127.0.0.1", master.port), "ip=127.0.0.1,port=0,");
        shown(ChangeFeed::of("127.0.0.1", master.port).announce("10.1.2.3", 4567), "ip=10.1.2.3,port=4567,");
    }
}
