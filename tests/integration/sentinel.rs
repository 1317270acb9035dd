//! Debian's redis-sentinel, as it comes, keeps a group of ours (and of real servers among them) available.

use std::fs;

use crate::support::sentinel::{GROUP, Sentinel};
use crate::support::{Client, Daemon, Kind, Peer, SOON, Value, info_u64, wait_for, wait_in_sync};

/// A server whose role is in its conf file, where Sentinel's CONFIG REWRITE changes it.
fn server(kind: Kind, master_port: Option<u16>, priority: u32) -> Daemon {
    let replicaof = master_port.map_or_else(String::new, |port| format!("replicaof 127.0.0.1 {port}\n"));
    let conf = format!("save \"\"\nrepl-diskless-sync-delay 0\nenable-debug-command yes\nreplica-priority {priority}\n{replicaof}");
    Daemon::with_conf(kind, &conf, &[])
}

/// Sentinels that know one another and both slaves.
fn watch(master: &Daemon, slaves: &[&Daemon], count: usize) -> Vec<Sentinel> {
    let sentinels: Vec<Sentinel> = (0..count).map(|_| Sentinel::watch(master.port, (count / 2 + 1) as u32)).collect();
    let mut ports: Vec<u16> = slaves.iter().map(|slave| slave.port).collect();
    ports.sort();
    for sentinel in &sentinels {
        wait_for(SOON, "the sentinels to know all there is", || {
            let known: Vec<u16> = sentinel.slaves("flags").into_iter().map(|(port, _)| port).collect();
            (known == ports && sentinel.of_master("num-other-sentinels") == (count - 1).to_string()).then_some(())
        });
    }
    sentinels
}

/// Sentinel closes all clients of a server whose role it changes, so that they ask it for the master again.
fn follows(slave: &Daemon, port: u16) -> bool {
    let answer = Client::try_connect(slave.port).and_then(|mut client| client.try_command(&["INFO", "replication"]));
    let Ok(text) = answer.map(|reply| reply.text()) else { return false };
    ["role:slave", "master_link_status:up", &format!("master_port:{port}")].iter().all(|wanted| text.lines().any(|line| line == *wanted))
}

/// Waits until all sentinels name `port` as the master and `slaves` follow it.
fn wait_for_new_master(sentinels: &[Sentinel], port: u16, slaves: &[&Daemon]) {
    for sentinel in sentinels {
        wait_for(SOON, "the sentinels to agree", || (sentinel.master_port() == port).then_some(()));
    }
    for slave in slaves {
        wait_for(SOON, "the slave to follow the new master", || follows(slave, port).then_some(()));
    }
}

fn replicaof_lines(server: &Daemon) -> Vec<String> {
    let conf = fs::read_to_string(server.conf()).expect("reading the conf file");
    conf.lines().filter(|line| line.starts_with("replicaof")).map(str::to_owned).collect()
}

fn write(server: &Daemon, prefix: &str) {
    let requests: Vec<Vec<String>> = (0..500).map(|number| vec!["SET".to_owned(), format!("{prefix}:{number}"), number.to_string()]).collect();
    assert!(server.client().pipeline(&requests).iter().all(|reply| *reply == Value::ok()));
}

#[test]
fn a_dead_master_is_replaced_and_comes_back_as_a_slave() {
    let mut master = server(Kind::under_test(), None, 100);
    let chosen = server(Kind::under_test(), Some(master.port), 10);
    let other = server(Kind::under_test(), Some(master.port), 100);
    let sentinels = watch(&master, &[&chosen, &other], 3);
    write(&master, "before");
    for slave in [&chosen, &other] {
        wait_in_sync(&master, slave);
    }
    let syncs = info_u64(&mut chosen.client(), "sync_full");
    master.kill();
    wait_for_new_master(&sentinels, chosen.port, &[&other]);
    assert_eq!(info_u64(&mut chosen.client(), "sync_full"), syncs, "the other slave continues the history");
    write(&chosen, "after");
    master.start_again();
    wait_for_new_master(&sentinels, chosen.port, &[&master, &other]);
    for slave in [&master, &other] {
        wait_in_sync(&chosen, slave);
    }
    assert_eq!(chosen.client().run("DBSIZE"), Value::Int(1000));
    assert_eq!(replicaof_lines(&chosen), [] as [&str; 0]);
    for slave in [&master, &other] {
        assert_eq!(replicaof_lines(slave), [format!("replicaof 127.0.0.1 {}", chosen.port)]);
    }
}

/// SENTINEL FAILOVER: the place goes from `first` to `second`, whose priority is the better one.
fn moved_by_an_operator(first: Kind, second: Kind) {
    let master = server(first, None, 100);
    let chosen = server(second, Some(master.port), 10);
    let other = server(first, Some(master.port), 100);
    let sentinels = watch(&master, &[&chosen, &other], 1);
    write(&master, "before");
    for slave in [&chosen, &other] {
        wait_in_sync(&master, slave);
    }
    wait_for(SOON, "a slave that suits", || (sentinels[0].client().run(&format!("SENTINEL FAILOVER {GROUP}")) == Value::ok()).then_some(()));
    wait_for_new_master(&sentinels, chosen.port, &[&other]);
    write(&chosen, "after");
    wait_for_new_master(&sentinels, chosen.port, &[&master, &other]);
    for slave in [&master, &other] {
        wait_in_sync(&chosen, slave);
    }
    assert_eq!(chosen.client().run("DBSIZE"), Value::Int(1000));
}

#[test]
fn an_operator_moves_the_place_from_ours_to_a_real_server() {
    moved_by_an_operator(Kind::under_test(), Kind::Real(Peer::V7));
}

#[test]
fn an_operator_moves_the_place_from_a_real_server_to_ours() {
    moved_by_an_operator(Kind::Real(Peer::V7), Kind::under_test());
}
