//! Publish and subscribe beside a real Redis 8.2.3: the same sessions of several clients, in RESP2 and RESP3, and everything that each of them
//! reads must be the same. Then subscribers of slaves.

use crate::support::{Client, Daemon, Peer, SOON, Value, replicate, wait_for, wait_link_up};

/// Sends a ping that names itself and reads up to its answer: all that the client was sent before.
fn drain(client: &mut Client, mark: &str) -> Vec<Value> {
    let mut read = vec![client.command(&["PING", mark])];
    let is_mark = |value: &Value| *value == Value::bulk(mark) || *value == Value::Array(vec![Value::bulk("pong"), Value::bulk(mark)]);
    while !is_mark(read.last().expect("one at least")) {
        read.push(client.reply().expect("a message or the ping's answer"));
    }
    read
}

/// Puts what one message brought by several patterns in order: Redis goes through its patterns in no order.
fn sorted(mut read: Vec<Value>) -> Vec<Value> {
    let is_by_pattern = |value: &Value| matches!(value, Value::Array(items) | Value::Push(items) if items.first() == Some(&Value::bulk("pmessage")));
    for run in read.chunk_by_mut(|before, after| is_by_pattern(before) && is_by_pattern(after)) {
        run.sort_by_key(|value| format!("{value:?}"));
    }
    read
}

/// Runs a session: lines of a client's number and its command. What each client read behind each line.
fn session(server: &Daemon, protocols: &[&str], lines: &[&str]) -> Vec<(String, Vec<Vec<Value>>)> {
    let mut clients: Vec<Client> = protocols.iter().map(|_| server.client()).collect();
    for (client, protocol) in clients.iter_mut().zip(protocols) {
        client.command(&["HELLO", protocol]);
    }
    let mut transcript = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let (client, command) = line.split_once(' ').expect("a client and a command");
        let client: usize = client.parse().expect("a client's number");
        let mut request = Vec::new();
        for command in command.split(" ; ") {
            let words: Vec<&str> = command.split(' ').map(|word| if word == "\"\"" { "" } else { word }).collect();
            crate::support::client::encode(&mut request, &words);
        }
        clients[client].send(&request).expect("sending a command");
        // The one that has asked first, so that the others' pings come behind what it has caused.
        let mut read: Vec<(usize, &mut Client)> = clients.iter_mut().enumerate().collect();
        read.sort_by_key(|(index, _)| *index != client);
        let mut heard: Vec<(usize, Vec<Value>)> =
            read.into_iter().map(|(index, client)| (index, sorted(drain(client, &format!("mark{number}"))))).collect();
        heard.sort_by_key(|(index, _)| *index);
        transcript.push((line.to_string(), heard.into_iter().map(|(_, values)| values).collect()));
    }
    transcript
}

const SESSION: &[&str] = &[
    "0 SUBSCRIBE a b a",
    "1 PSUBSCRIBE a* *",
    "1 SUBSCRIBE a",
    "2 SSUBSCRIBE a s",
    "3 PUBLISH a hello",
    "3 PUBLISH nobody hello",
    "3 PUBLISH \"\" empty",
    "3 SPUBLISH a hello",
    "3 SPUBLISH s \"\"",
    "0 GET a",
    "0 CLIENT LIST TYPE x",
    "0 PUBSUB NUMPAT",
    "0 NOSUCH",
    "0 PING",
    "0 PING a b",
    "2 SET a 1",
    "3 PUBSUB CHANNELS b*",
    "3 PUBSUB CHANNELS nothing",
    "3 PUBSUB CHANNELS a b",
    "3 PUBSUB NUMSUB",
    "3 PUBSUB NUMSUB a b c",
    "3 PUBSUB NUMPAT",
    "3 PUBSUB SHARDCHANNELS s",
    "3 PUBSUB SHARDNUMSUB a s c",
    "3 PUBSUB HELP",
    "3 PUBSUB",
    "3 PUBSUB WHAT",
    "3 PUBSUB NUMPAT x",
    "1 UNSUBSCRIBE a nosuch",
    "1 PUNSUBSCRIBE a*",
    "1 UNSUBSCRIBE",
    "1 SUNSUBSCRIBE",
    "3 PUBLISH a again",
    "3 MULTI ; PUBLISH a one ; SPUBLISH s two ; SUBSCRIBE late ; PUBLISH late self ; EXEC",
    "3 UNSUBSCRIBE late",
    "2 SUNSUBSCRIBE a nosuch",
    "2 SUNSUBSCRIBE",
    "0 RESET",
    "0 PUBLISH b gone",
    "1 PUNSUBSCRIBE",
    "1 GET a",
    "3 PUBSUB CHANNELS",
    "3 PUBSUB NUMPAT",
    "3 SUBSCRIBE",
    "3 PUBLISH a",
];

#[test]
fn every_client_reads_what_it_would_of_redis() {
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    for protocols in [["2", "2", "2", "2"], ["3", "3", "3", "3"], ["2", "3", "2", "3"], ["3", "2", "3", "2"]] {
        // In RESP2 nobody who listens can publish, so those lines end in the same error at both.
        let (here, there) = (session(&ours, &protocols, SESSION), session(&real, &protocols, SESSION));
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here, there, "protocols {protocols:?}");
        }
    }
}

#[test]
fn one_hears_oneself_behind_the_reply() {
    let lines = [
        "0 SUBSCRIBE a",
        "0 PSUBSCRIBE ?",
        "0 PUBLISH a x",
        "0 PUBLISH a y ; INCR n ; PUBLISH b z",
        "0 MULTI ; PUBLISH a y ; INCR n ; EXEC",
        "0 SSUBSCRIBE t",
        "0 SPUBLISH t z",
    ];
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    assert_eq!(session(&ours, &["3"], &lines), session(&real, &["3"], &lines));
}

/// What a silenced client still reads.
fn silenced(server: &Daemon, mode: &str) -> Vec<Value> {
    let mut client = server.client();
    client.command(&["HELLO", "3"]);
    let mut requests = Vec::new();
    for line in [mode, "SUBSCRIBE a", "GET nokey", "PUBLISH a x", "UNSUBSCRIBE a", "CLIENT REPLY ON"] {
        crate::support::client::encode(&mut requests, &line.split(' ').collect::<Vec<_>>());
    }
    client.send(&requests).expect("sending a pipeline");
    drain(&mut client, "mark")
}

#[test]
fn messages_come_through_where_replies_do_not() {
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    for mode in ["CLIENT REPLY OFF", "CLIENT REPLY SKIP"] {
        assert_eq!(silenced(&ours, mode), silenced(&real, mode), "{mode}");
    }
}

#[test]
fn subscribers_are_listed_counted_and_killed() {
    let ours = Daemon::replikant(&[]);
    let (mut listener, mut other) = (ours.client(), ours.client());
    listener.command(&["HELLO", "3"]);
    for line in ["SUBSCRIBE a", "PSUBSCRIBE x*", "SSUBSCRIBE s"] {
        listener.run(line);
    }
    let list = other.run("CLIENT LIST TYPE pubsub").text();
    assert!(list.lines().count() == 1 && list.contains(" flags=P db=0 sub=1 psub=1 ssub=1 "), "{list}");
    let info = other.run("INFO everything").text();
    for field in ["pubsub_clients:1", "pubsub_channels:1", "pubsub_patterns:1", "pubsubshard_channels:1"] {
        assert!(info.contains(field), "{field}");
    }
    assert_eq!(other.run("CLIENT KILL TYPE pubsub"), Value::Int(1));
    assert!(listener.closed_by_server());
    wait_for(SOON, "the subscriptions to end", || (other.run("PUBSUB CHANNELS") == Value::Array(vec![])).then_some(()));
    assert_eq!(other.run("PUBSUB NUMPAT"), Value::Int(0));
    assert_eq!(other.run("PUBLISH a x"), Value::Int(0));
}

#[test]
fn a_subscriber_that_does_not_read_is_closed() {
    let ours = Daemon::replikant(&["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let (mut listener, mut other) = (ours.client(), ours.client());
    listener.run("SUBSCRIBE a");
    let message = "x".repeat(256 << 10);
    wait_for(SOON, "the subscriber to be closed", || (other.command(&["PUBLISH", "a", &message]) == Value::Int(0)).then_some(()));
    assert!(listener.closed_by_server());
}

/// A master and its slave, with a subscriber at the slave.
fn published_to_slave(master: Daemon, replica: Daemon) {
    replicate(&replica, master.port);
    wait_link_up(&replica);
    let mut listener = replica.client();
    listener.command(&["HELLO", "3"]);
    listener.run("SUBSCRIBE a");
    listener.run("SSUBSCRIBE a");
    let mut publisher = master.client();
    assert_eq!(publisher.run("PUBLISH a one"), Value::Int(0));
    assert_eq!(publisher.run("SPUBLISH a two"), Value::Int(0));
    publisher.run("MULTI");
    publisher.run("SET k 1");
    publisher.run("PUBLISH a three");
    publisher.run("EXEC");
    let push = |kind: &str, text: &str| Value::Push([kind, "a", text].map(Value::bulk).to_vec());
    for expected in [push("message", "one"), push("smessage", "two"), push("message", "three")] {
        assert_eq!(listener.reply().expect("a message"), expected);
    }
}

#[test]
fn a_slaves_subscriber_hears_the_master() {
    published_to_slave(Daemon::replikant(&[]), Daemon::replikant(&[]));
    published_to_slave(Daemon::redis(Peer::V8, &[]), Daemon::replikant(&[]));
    published_to_slave(Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    published_to_slave(Daemon::replikant(&[]), Daemon::redis(Peer::V7, &[]));
}
