//! DUMP here, RESTORE there, and the other way round, with every real server: the same values.
//! Scores are such that DEBUG DIGEST shows them alike everywhere: 6.2 and 7.0 show 17 digits.

use crate::support::peers::Peer;
use crate::support::{Client, Daemon, Value, digest};

/// Every type that this server has, small and big, and what has a form of its own.
fn fill(client: &mut Client) {
    for line in ["SET int 12345", "SET long-int -9223372036854775808", "SET no-int 012", "SADD ints 1 -70000 5000000000", "SADD set a b 1 -5 300"] {
        let reply = client.run(line);
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    }
    client.command(&["SET", "binary", "\0\r\n\u{ff}"]);
    client.command(&["SET", "repeated", &"replication ".repeat(10_000)]);
    client.command(&["SET", "", "the empty key"]);
    for n in 0..1000 {
        client.command(&["SADD".to_owned(), "big-set".to_owned(), format!("member:{n}")]);
        client.command(&["ZADD".to_owned(), "big-zset".to_owned(), (f64::from(n) / 8.0).to_string(), format!("member:{n}")]);
        client.command(&["RPUSH".to_owned(), "big-list".to_owned(), format!("element:{n}").repeat(20)]);
        client.command(&["HSET".to_owned(), "big-hash".to_owned(), format!("field:{n}"), n.to_string()]);
        client.command(&["SADD".to_owned(), "big-ints".to_owned(), (n * 7919 - 3_000_000).to_string()]);
    }
}

fn carry(from: &mut Client, to: &mut Client) {
    let keys = from.run("KEYS *").items().iter().map(|key| key.text()).collect::<Vec<_>>();
    assert!(!keys.is_empty());
    for key in keys {
        let Value::Bulk(payload) = from.command(&["DUMP", &key]) else { panic!("no payload of {key}") };
        let reply = to.command(&[b"RESTORE", key.as_bytes(), b"0", &payload]);
        assert_eq!(reply, Value::ok(), "{key}");
        assert!(to.command(&[b"RESTORE", key.as_bytes(), b"0", &payload]).is_error("BUSYKEY"));
    }
    assert_eq!(digest(to), digest(from));
}

fn exchange(peer: Peer) {
    let (ours, theirs) = (Daemon::replikant(&[]), Daemon::redis(peer, &[]));
    fill(&mut ours.client());
    carry(&mut ours.client(), &mut theirs.client());
    ours.client().ok("FLUSHALL");
    carry(&mut theirs.client(), &mut ours.client());
    // What came from there goes on to every other server.
    theirs.client().ok("FLUSHALL");
    carry(&mut ours.client(), &mut theirs.client());
}

#[test]
fn payloads_to_and_from_redis_6() {
    exchange(Peer::V6);
}

#[test]
fn payloads_to_and_from_redis_7() {
    exchange(Peer::V7);
}

#[test]
fn payloads_to_and_from_redis_8() {
    exchange(Peer::V8);
}

#[test]
fn payloads_to_and_from_valkey() {
    exchange(Peer::Valkey);
}
