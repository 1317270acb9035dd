//! Clients that wait: WAIT and WAITAOF with slaves of either make, CLIENT UNBLOCK, CLIENT PAUSE; compared with Redis 8.2.3 where replies are alike.

use std::time::{Duration, Instant};

use super::support::{Client, Daemon, Kind, Peer, SOON, Value, info, info_u64, offset, replicate, wait_for, wait_in_sync};

fn both() -> [Daemon; 2] {
    [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])]
}

/// A request whose reply is read later.
fn send(client: &mut Client, line: &str) {
    client.send(format!("{line}\r\n").as_bytes()).expect("sending a request");
}

#[track_caller]
fn wait_blocked(server: &Daemon, count: u64) {
    let mut client = server.client();
    wait_for(SOON, &format!("{count} clients to be blocked"), || (info_u64(&mut client, "blocked_clients") == count).then_some(()));
}

#[track_caller]
fn is_silent(client: &mut Client) -> bool {
    client.patience(Duration::from_millis(100)).unwrap();
    let silent = client.reply().is_err();
    client.patience(SOON).unwrap();
    silent
}

#[test]
fn replies_and_errors_are_those_of_redis() {
    let [ours, real] = both();
    let lines = [
        "wait x 0",
        "wait -1 0",
        "wait 1 x",
        "wait 1 -1",
        "wait 0 0",
        "wait 1 20",
        "wait 99999999999999999999 0",
        "wait 1 9223372036854775807",
        "waitaof 0 0 0",
        "waitaof 1 0 0",
        "waitaof 2 0 0",
        "waitaof 0 1 20",
        "waitaof -1 1 20",
        "waitaof 0 -1 20",
        "waitaof x 1 20",
        "waitaof 0 1 -1",
        "waitaof 0 1 x",
        "client unblock x",
        "client unblock 999",
        "client unblock 1 foo",
        "client unblock -1",
        "client unblock 1 2 3",
        "client pause",
        "client pause x",
        "client pause -1",
        "client pause 1 foo",
        "client pause 1 2 3",
        "client pause 9223372036854775807",
        "client unpause",
        "client unpause x",
        "client pause 0",
        "client pause 0 write",
        "client unpause",
        "multi",
        "wait 5 0",
        "waitaof 0 5 0",
        "waitaof 1 5 0",
        "client pause 1",
        "exec",
    ];
    let (mut a, mut b) = (ours.client(), real.client());
    for line in lines {
        assert_eq!(a.run(line), b.run(line), "{line}");
    }
}

#[test]
fn a_replica_refuses_to_wait() {
    let master = Daemon::redis(Peer::V8, &[]);
    let replies: Vec<Vec<Value>> = both()
        .iter()
        .map(|server| {
            replicate(server, master.port);
            let mut client = server.client();
            ["wait 0 0", "waitaof 0 0 0", "waitaof 1 0 0", "waitaof 2 0 0", "wait x 0"].map(|line| client.run(line)).to_vec()
        })
        .collect();
    assert_eq!(replies[0], replies[1]);
}

#[test]
fn wait_returns_when_slaves_of_either_make_have_the_write() {
    let master = Daemon::replikant(&[]);
    let slaves = [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]), Daemon::redis(Peer::V7, &["--appendonly", "no"])];
    for slave in &slaves {
        replicate(slave, master.port);
        wait_in_sync(&master, slave);
    }
    let mut client = master.client();
    let started = Instant::now();
    for i in 0..20 {
        client.ok(&format!("set key {i}"));
        assert_eq!(client.run("wait 3 20000"), Value::Int(3), "round {i}");
    }
    // Slaves acknowledge once a second by themselves: to be this fast they must have been asked.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let started = Instant::now();
    client.ok("set key end");
    assert_eq!(client.run("wait 4 300"), Value::Int(3));
    assert!((300..2000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(master.client().run("wait 3 0"), Value::Int(3), "a client that has written nothing");
    assert_eq!(slaves[0].client().run("get key"), Value::bulk("end"));
}

#[test]
fn our_slave_lets_a_real_master_wait() {
    let (master, slave) = (Daemon::redis(Peer::V8, &[]), Daemon::replikant(&[]));
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    let mut client = master.client();
    for i in 0..10 {
        client.ok(&format!("set key {i}"));
        assert_eq!(client.run("wait 1 20000"), Value::Int(1));
    }
}

#[test]
fn waitaof_sees_the_append_only_file_of_a_real_slave() {
    let master = Daemon::replikant(&[]);
    let slave = Daemon::redis(Peer::V8, &["--appendonly", "yes", "--appendfsync", "always"]);
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    let mut client = master.client();
    client.ok("set key 1");
    assert_eq!(client.run("waitaof 0 1 20000"), Value::Array(vec![Value::Int(0), Value::Int(1)]));
}

#[test]
fn what_is_pipelined_behind_a_wait_is_done_after_it() {
    for server in both() {
        let (mut waiting, mut admin) = (server.client(), server.client());
        let id = waiting.run("client id").int();
        let rounds =
            [("", Value::Int(0)), (" timeout", Value::Int(0)), (" error", Value::Error("UNBLOCKED client unblocked via CLIENT UNBLOCK".to_owned()))];
        for (how, reply) in rounds {
            send(&mut waiting, "wait 5 0\r\nset a 1\r\nget a");
            wait_blocked(&server, 1);
            let line = admin.run(&format!("client list id {id}")).text();
            assert!(line.contains(" flags=b ") && line.contains(" cmd=wait "), "{line}");
            assert_eq!(admin.run("exists a"), Value::Int(0));
            assert_eq!(admin.run(&format!("client unblock {id}{how}")), Value::Int(1));
            let replies: Vec<Value> = (0..3).map(|_| waiting.reply().unwrap()).collect();
            assert_eq!(replies, [reply, Value::ok(), Value::bulk("1")], "{}", server.kind.name());
            assert_eq!(admin.run("del a"), Value::Int(1));
        }
        // One that goes away while it waits is forgotten.
        send(&mut waiting, "wait 5 0");
        wait_blocked(&server, 1);
        drop(waiting);
        wait_blocked(&server, 0);
        assert_eq!(admin.run(&format!("client unblock {id}")), Value::Int(0));
    }
}

#[test]
fn a_master_that_becomes_a_slave_lets_nobody_wait() {
    let replies = both().map(|server| {
        let mut waiting = server.client();
        send(&mut waiting, "wait 5 0");
        wait_blocked(&server, 1);
        server.client().run("replicaof 127.0.0.1 1");
        let reply = waiting.reply().unwrap();
        assert!(waiting.closed_by_server());
        reply
    });
    assert_eq!(replies[0], replies[1]);
}

#[test]
fn a_pause_of_writes_postpones_them() {
    for server in both() {
        let [mut a, mut b, mut admin] = [server.client(), server.client(), server.client()];
        a.ok("set due x px 50");
        b.ok("multi");
        assert_eq!(b.run("get a"), Value::Simple("QUEUED".to_owned()));
        admin.ok("client pause 100000 write");
        assert_eq!(b.run("exec"), Value::Array(vec![Value::Nil]));
        send(&mut a, "set a 1\r\nget a\r\nincr a");
        assert!(is_silent(&mut a));
        b.ok("multi");
        send(&mut b, "incr a\r\nexec");
        assert!(is_silent(&mut b));
        assert_eq!(info(&mut admin, "blocked_clients").as_deref(), Some("2"));
        let id = admin.run("client list").text().lines().find(|line| line.contains(" cmd=set ")).map(|line| {
            assert!(line.contains(" flags=b "), "{line}");
            line.split(' ').next().unwrap().trim_start_matches("id=").to_owned()
        });
        assert_eq!(admin.run(&format!("client unblock {}", id.expect("the postponed client is listed"))), Value::Int(0));
        wait_for(SOON, "the key to expire", || (admin.run("get due") == Value::Nil).then_some(()));
        assert_eq!(admin.run("dbsize"), Value::Int(1), "{}: it is there all the same", server.kind.name());
        admin.ok("client unpause");
        let replies: Vec<Value> = (0..3).map(|_| a.reply().unwrap()).collect();
        assert_eq!(replies, [Value::ok(), Value::bulk("1"), Value::Int(2)]);
        assert_eq!(b.reply().unwrap(), Value::Simple("QUEUED".to_owned()));
        assert_eq!(b.reply().unwrap(), Value::Array(vec![Value::Int(3)]));
        wait_for(SOON, "the expired key to go", || (admin.run("dbsize") == Value::Int(1)).then_some(()));
    }
}

#[test]
fn a_pause_of_all_ends_by_itself() {
    for server in both() {
        let [mut a, mut admin] = [server.client(), server.client()];
        let started = Instant::now();
        admin.ok("client pause 400");
        assert_eq!(a.run("ping"), Value::Simple("PONG".to_owned()));
        assert!((390..2000).contains(&started.elapsed().as_millis()), "{}: {:?}", server.kind.name(), started.elapsed());
        assert_eq!(admin.run("client unpause"), Value::ok());
    }
}

#[test]
fn the_stream_stands_still_and_slaves_stay_during_a_pause() {
    let (master, slave) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    let mut admin = master.client();
    admin.ok("set due x px 100");
    admin.ok("client pause 100000 write");
    let mut writer = master.client();
    send(&mut writer, "set a 1");
    assert!(is_silent(&mut writer));
    wait_for(SOON, "the key to expire", || (admin.run("exists due") == Value::Int(0)).then_some(()));
    // Only pings may come.
    assert_eq!(info(&mut admin, "connected_slaves").as_deref(), Some("1"));
    let before = offset(&mut admin);
    assert_eq!((offset(&mut admin) - before) % 14, 0);
    admin.ok("client unpause");
    assert_eq!(writer.reply().unwrap(), Value::ok());
    wait_in_sync(&master, &slave);
}

#[test]
fn a_paused_replica_applies_its_stream_later() {
    for kind in [Kind::under_test(), Kind::Real(Peer::V8)] {
        let (master, slave) = (Daemon::redis(Peer::V8, &[]), Daemon::start(kind, &[]));
        replicate(&slave, master.port);
        wait_in_sync(&master, &slave);
        let mut at_slave = slave.client();
        at_slave.ok("client pause 100000 write");
        master.client().ok("set a 1");
        wait_blocked(&slave, 1);
        assert_eq!(at_slave.run("get a"), Value::Nil, "{}", slave.kind.name());
        at_slave.ok("client unpause");
        wait_in_sync(&master, &slave);
        assert_eq!(at_slave.run("get a"), Value::bulk("1"));
    }
}
