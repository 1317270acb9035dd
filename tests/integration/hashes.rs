//! Hashes on the wire between servers: what a master's changes become at its slaves, fields that expire among them.

use crate::support::peers::Peer;
use crate::support::{Client, Daemon, LATER, Value, replicate, wait_for, wait_in_sync};

/// Changes of every kind, to small and to big hashes.
fn change(client: &mut Client, hash: &str) {
    for field in 0..40 {
        client.run(&format!("HSET {hash} f{field} {field}"));
    }
    for line in [
        "HSET h f1 one new 2",
        "HDEL h f2 f3",
        "HINCRBY h f4 10",
        "HEXPIRE h 1000 FIELDS 4 f4 f5 f6 nope",
        "HEXPIRE h 2000 GT FIELDS 2 f4 f7",
        "HINCRBYFLOAT h f4 0.5",
        "HINCRBYFLOAT h f8 0.5",
        "HPERSIST h FIELDS 2 f5 f8",
        "HSETEX h EX 500 FIELDS 2 f9 nine e1 x",
        "HSETEX h KEEPTTL FIELDS 2 f9 9 f10 10",
        "HSETEX h FNX PXAT 1 FIELDS 1 gone x",
        "HGETEX h PX 700000 FIELDS 2 f11 f12",
        "HGETEX h PERSIST FIELDS 1 f12",
        "HGETDEL h FIELDS 2 f13 f14",
        "HPEXPIRE h 0 FIELDS 2 f15 nope",
        "HSET h f6 again",
        "HPEXPIRE h 30 FIELDS 3 f16 f17 f18",
        "HSETEX h PX 30 FIELDS 1 f19 x",
    ] {
        let reply = client.run(&line.replacen(" h ", &format!(" {hash} "), 1));
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    }
}

fn digest(client: &mut Client) -> String {
    client.run("DEBUG DIGEST").text()
}

/// Fields expire on the master, and their slaves hear of it.
#[test]
fn slaves_keep_fields_and_their_expiry() {
    let master = Daemon::replikant(&["--hash-max-listpack-entries", "50"]);
    let slaves = [Daemon::redis(Peer::V8, &[]), Daemon::replikant(&[])];
    slaves.iter().for_each(|slave| replicate(slave, master.port));
    for slave in &slaves {
        wait_in_sync(&master, slave);
    }
    let mut client = master.client();
    change(&mut client, "small");
    client.ok("CONFIG SET hash-max-listpack-entries 8");
    change(&mut client, "big");
    for hash in ["small", "big"] {
        wait_for(LATER, "fields to expire", || (client.run(&format!("HLEN {hash}")) == Value::Int(33)).then_some(()));
        assert_eq!(client.run(&format!("HMGET {hash} f4 f9 f16")), Value::Array(vec![Value::bulk("14.5"), Value::bulk("9"), Value::Nil]));
    }
    for slave in &slaves {
        wait_in_sync(&master, slave);
        let mut at_slave = slave.client();
        // With every field's expiry.
        assert_eq!(digest(&mut client), digest(&mut at_slave));
        for hash in ["small", "big"] {
            let times = format!("HPEXPIRETIME {hash} FIELDS 8 f4 f5 f6 f7 f9 e1 f11 f12");
            assert_eq!(client.run(&times), at_slave.run(&times));
        }
    }
}

/// A slave that is too old to know that fields expire has them until its master says HDEL.
#[test]
fn a_slave_that_knows_no_expiry_of_fields_has_the_same_fields() {
    let master = Daemon::replikant(&[]);
    let slave = Daemon::redis(Peer::V6, &[]);
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    let mut client = master.client();
    change(&mut client, "h");
    wait_for(LATER, "fields to expire", || (client.run("HLEN h") == Value::Int(33)).then_some(()));
    // Their digests differ: the master's counts which fields expire.
    let wanted = client.run("HGETALL h").sorted_texts();
    let mut at_slave = slave.client();
    wait_for(LATER, "the slave to have the same fields", || (at_slave.run("HGETALL h").sorted_texts() == wanted).then_some(()));
}

/// What Redis 8.2 sends for the same changes is understood as it means it.
#[test]
fn ours_follows_a_master_whose_fields_expire() {
    let master = Daemon::redis(Peer::V8, &[]);
    let slave = Daemon::replikant(&[]);
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    let mut client = master.client();
    change(&mut client, "h");
    wait_for(LATER, "fields to expire", || (client.run("HLEN h") == Value::Int(33)).then_some(()));
    wait_in_sync(&master, &slave);
    assert_eq!(digest(&mut client), digest(&mut slave.client()));
}
