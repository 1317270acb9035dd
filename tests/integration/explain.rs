//! REPLICATION HISTORY and STATUS tell of every sync what it was and why a full one was needed, on both ends, also of real peers.

use std::collections::BTreeMap;

use crate::support::sync::link_is_up;
use crate::support::{Client, Daemon, Direction, Kind, Link, Peer, SOON, Value, info, info_u64, replicate, wait_for, wait_in_sync};

type Record = BTreeMap<String, String>;

fn history(client: &mut Client) -> Vec<Record> {
    let reply = client.run("REPLICATION HISTORY");
    let text = |value: &Value| match value {
        Value::Int(n) => n.to_string(),
        other => other.text(),
    };
    let record = |record: &Value| record.items().chunks(2).map(|pair| (pair[0].text(), text(&pair[1]))).collect();
    reply.items().iter().map(record).collect()
}

fn told(client: &mut Client) -> Vec<String> {
    let line = |record: &Record| ["direction", "kind", "reason", "state"].map(|field| record[field].as_str()).join(" ");
    history(client).iter().map(line).collect()
}

fn number(record: &Record, field: &str) -> u64 {
    record[field].parse().unwrap()
}

#[test]
fn both_ends_say_why_a_sync_was_needed() {
    let master = Daemon::replikant(&["--repl-backlog-size", "16kb", "--client-output-buffer-limit", "replica 0 0 0"]);
    let slave = Daemon::replikant(&[]);
    master.client().ok("SET key value");
    let link = Link::to(master.port);
    replicate(&slave, link.port);
    wait_in_sync(&master, &slave);
    assert_eq!(told(&mut master.client()), ["to-replica full first-sync done"]);
    assert_eq!(told(&mut slave.client()), ["from-master full first-sync done"]);
    for at in [&master, &slave] {
        let record = &history(&mut at.client())[0];
        assert!(number(record, "bytes") > 40 && number(record, "took-ms") < 60_000, "{record:?}");
    }
    assert_eq!(history(&mut slave.client())[0]["peer"], format!("127.0.0.1:{}", link.port));
    assert_eq!(history(&mut master.client())[0]["peer"], format!("127.0.0.1:{}", slave.port));

    link.cut();
    wait_for(SOON, "the slave to be back", || (told(&mut slave.client()).len() == 2).then_some(()));
    wait_in_sync(&master, &slave);
    assert_eq!(told(&mut slave.client())[0], "from-master partial continued done");
    assert_eq!(told(&mut master.client())[0], "to-replica partial continued done");

    // More is written than the backlog keeps while the slave is away.
    link.refuse(true);
    link.cut();
    wait_for(SOON, "the master to see the slave gone", || (info_u64(&mut master.client(), "connected_slaves") == 0).then_some(()));
    let value = "x".repeat(100_000);
    for n in 0..20 {
        master.client().ok(&format!("SET big:{n} {value}"));
    }
    link.refuse(false);
    wait_in_sync(&master, &slave);
    assert_eq!(told(&mut slave.client())[0], "from-master full out-of-backlog done");
    assert_eq!(told(&mut master.client())[0], "to-replica full out-of-backlog done");
    let shown = info(&mut master.client(), "repl_last_full_sync").unwrap();
    assert!(shown.starts_with("direction=to-replica,") && shown.contains(",reason=out-of-backlog,state=done,"), "{shown}");
}

#[test]
fn a_broken_sync_says_how_it_ended() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    for n in 0..200 {
        client.ok(&format!("SET key:{n} {}", "v".repeat(1000)));
    }
    client.ok("CONFIG SET rdbcompression no");
    let slave = Daemon::replikant(&[]);
    let link = Link::to(master.port);
    link.break_after(Direction::Down, 100_000);
    replicate(&slave, link.port);
    wait_for(SOON, "the break", || (link.cuts() == 1).then_some(()));
    wait_for(SOON, "the slave to see it", || (!link_is_up(&mut slave.client())).then_some(()));
    let ended = |client: &mut Client| told(client).last().filter(|line| line.ends_with("failed")).cloned();
    assert_eq!(wait_for(SOON, "the slave's record", || ended(&mut slave.client())), "from-master full first-sync failed");
    assert!(!history(&mut slave.client()).last().unwrap()["error"].is_empty());
    link.mend();
    wait_in_sync(&master, &slave);
}

#[test]
fn real_peers_are_explained_as_well() {
    let master = Daemon::redis(Peer::V7, &[]);
    let middle = Daemon::replikant(&[]);
    let slave = Daemon::start(Kind::Real(Peer::V8), &[]);
    replicate(&middle, master.port);
    wait_in_sync(&master, &middle);
    replicate(&slave, middle.port);
    wait_in_sync(&middle, &slave);
    // A fresh Redis asks to continue the history that it has begun as a master.
    assert_eq!(told(&mut middle.client()), ["to-replica full other-history done", "from-master full first-sync done"]);
    let status = format!("{:?}", middle.client().run("REPLICATION STATUS"));
    for word in ["connected", "online", &format!("127.0.0.1:{}", slave.port), &format!("127.0.0.1:{}", master.port)] {
        assert!(status.contains(word), "{word}: {status}");
    }
}
