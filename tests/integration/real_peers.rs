//! Ours beside every real server, as its master and as its slave, in every framing of the snapshot, with data of every type, by full syncs and by partial
//! ones after a broken link: equal data at equal offsets.

use crate::support::data::{assert_same_ttls, churn, fill};
use crate::support::mixed::mix;
use crate::support::peers::{Peer, file};
use crate::support::sync::{digest_when_loaded, wait_in_sync_within};
use crate::support::tap::{Framing, StreamTap, TapOptions};
use crate::support::{Client, Daemon, Direction, Kind, LATER, Link, SOON, Value, digest, info, info_u64, replicate, wait_for, wait_in_sync};

/// A slave of every kind of link event: data of all types before the sync, writes after it, a broken link, expiry, several databases.
fn follow(master: &Daemon, slave: &Daemon) {
    let mut client = master.client();
    fill(&mut client, "before", 2000);
    mix(&mut client, 1, 5000);
    let functions = load_function(&mut client, "before", master.kind);
    let link = Link::to(master.port);
    replicate(slave, link.port);
    wait_in_sync(master, slave);
    let functions = functions && load_function(&mut client, "after", master.kind);
    fill(&mut client, "after", 500);
    churn(&mut client, 1, 3000);
    mix(&mut client, 2, 5000);
    wait_in_sync(master, slave);
    assert_same_ttls(&mut master.client(), &mut slave.client());
    goes_on_after_breaks(&link, master, slave);
    if functions {
        assert_eq!(slave.client().run("FCALL_RO f_before 0").text(), "before");
        assert_eq!(slave.client().run("FCALL_RO f_after 0").text(), "after");
    }

    client.ok("SELECT 7");
    client.ok("SET set-anew x EX 1");
    client.ok("SET set-anew y");
    client.ok("SET short-lived x PX 150");
    wait_in_sync(master, slave);
    let mut at_slave = slave.client();
    at_slave.ok("SELECT 7");
    wait_for(SOON, "the key to expire on the slave", || (at_slave.run("GET short-lived") == Value::Nil).then_some(()));
    wait_for(SOON, "the key to expire on the master", || (client.run("EXISTS short-lived") == Value::Int(0)).then_some(()));
    assert_eq!(at_slave.run("GET set-anew"), Value::bulk("y"));
    let reply = at_slave.run("SET refused x");
    assert!(reply.is_error("READONLY"), "{reply:?}");
    client.ok("FLUSHDB");
    wait_in_sync(master, slave);
    assert_eq!(at_slave.run("DBSIZE"), Value::Int(0));
}

/// A library of functions, where the slave gets to know of it: from masters that have functions, but not from ours if it is a stock one.
fn load_function(client: &mut Client, name: &str, master: Kind) -> bool {
    if matches!(master, Kind::Real(Peer::V6) | Kind::Ours) {
        return false;
    }
    let code = format!(
        "#!lua name={name}\nredis.register_function{{function_name='f_{name}', callback=function() return '{name}' end, flags={{'no-writes'}}}}"
    );
    assert_eq!(client.command(&["FUNCTION", "LOAD", &code]).text(), name);
    true
}

/// The link breaks within a command and while nothing is written; each time the slave is sent just what it lacks.
fn goes_on_after_breaks(link: &Link, master: &Daemon, slave: &Daemon) {
    let mut client = master.client();
    let (full, partial) = (info_u64(&mut client, "sync_full"), info_u64(&mut client, "sync_partial_ok"));
    let cuts = link.cuts();
    link.cut_after(Direction::Down, 10_007);
    mix(&mut client, 3, 1000);
    wait_for(SOON, "the cut", || (link.cuts() > cuts).then_some(()));
    wait_in_sync(master, slave);
    link.cut();
    wait_for(SOON, "the slave to be back", || (info_u64(&mut client, "sync_partial_ok") == partial + 2).then_some(()));
    mix(&mut client, 4, 1000);
    wait_in_sync(master, slave);
    assert_eq!(info_u64(&mut client, "sync_full"), full, "a broken link cost a full sync");
    let replid = info(&mut client, "master_replid");
    assert_eq!(replid, info(&mut slave.client(), "master_replid"));
}

fn real_follows_ours(peer: Peer) {
    follow(&Daemon::replikant(&["--repl-backlog-size", "16mb"]), &Daemon::redis(peer, &[]));
}

fn ours_follows_real(peer: Peer, args: &[&str]) {
    let args = [args, &["--repl-backlog-size", "16mb"]].concat();
    follow(&Daemon::redis(peer, &args), &Daemon::replikant(&[]));
}

#[test]
fn redis_6_follows_ours() {
    real_follows_ours(Peer::V6);
}

#[test]
fn redis_7_follows_ours() {
    real_follows_ours(Peer::V7);
}

#[test]
fn redis_8_follows_ours() {
    real_follows_ours(Peer::V8);
}

#[test]
fn valkey_follows_ours() {
    real_follows_ours(Peer::Valkey);
}

#[test]
fn ours_follows_redis_6() {
    ours_follows_real(Peer::V6, &[]);
}

#[test]
fn ours_follows_redis_7() {
    ours_follows_real(Peer::V7, &[]);
}

#[test]
fn ours_follows_redis_8() {
    ours_follows_real(Peer::V8, &[]);
}

#[test]
fn ours_follows_valkey() {
    ours_follows_real(Peer::Valkey, &[]);
}

/// A master that syncs by way of its disk tells the length before the snapshot.
#[test]
fn ours_follows_a_master_that_tells_lengths() {
    for peer in Peer::ALL {
        ours_follows_real(peer, &["--repl-diskless-sync", "no"]);
    }
}

/// A slave that loads by way of its disk and one that loads from the socket.
#[test]
fn real_slaves_load_our_snapshot_from_disk_and_from_the_socket() {
    let master = Daemon::replikant(&[]);
    fill(&mut master.client(), "key", 3000);
    for mode in ["disabled", "on-empty-db", "swapdb"] {
        let slave = Daemon::redis(Peer::V7, &["--repl-diskless-load", mode]);
        replicate(&slave, master.port);
        wait_in_sync(&master, &slave);
    }
}

/// Writes go on while slaves of every version take their snapshots at once, and all end equal.
#[test]
fn every_version_syncs_during_a_hundred_thousand_writes() {
    let master = Daemon::replikant(&[]);
    fill(&mut master.client(), "key", 20_000);
    let slaves: Vec<Daemon> = Peer::ALL.iter().map(|peer| Daemon::redis(*peer, &[])).chain([Daemon::replikant(&[])]).collect();
    let port = master.port;
    let writer = std::thread::spawn(move || churn(&mut Client::connect(port), 7, 100_000));
    for slave in &slaves {
        replicate(slave, master.port);
    }
    writer.join().expect("writing");
    let digests: Vec<String> = slaves.iter().map(|slave| wait_in_sync_within(LATER, &master, slave)).collect();
    assert!(digests.iter().all(|other| *other == digests[0]));
    assert!(info_u64(&mut master.client(), "sync_full") >= 1);
}

#[test]
fn ours_syncs_from_a_real_master_during_a_hundred_thousand_writes() {
    let master = Daemon::redis(Peer::V7, &[]);
    fill(&mut master.client(), "key", 20_000);
    let port = master.port;
    let writer = std::thread::spawn(move || churn(&mut Client::connect(port), 8, 100_000));
    let slave = Daemon::replikant(&[]);
    replicate(&slave, master.port);
    writer.join().expect("writing");
    wait_in_sync_within(LATER, &master, &slave);
}

/// Starts a real server from a snapshot and compares its data with the master's.
fn assert_loads_in(peer: Peer, snapshot: &[u8], expected: &str) {
    let server = Daemon::prepared(Kind::Real(peer), &[], |dir| std::fs::write(dir.join("dump.rdb"), snapshot).unwrap());
    assert_eq!(digest_when_loaded(&server), expected, "{} on our snapshot", peer.name());
}

fn snapshot_by(options: TapOptions, framing: Framing) {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    fill(&mut client, "key", 1000);
    let expected = digest(&mut client);
    let mut tap = StreamTap::with(master.port, options);
    assert_eq!(tap.framing, framing);
    for peer in Peer::ALL {
        assert_loads_in(peer, &tap.snapshot, &expected);
    }
    client.ok("SELECT 3");
    client.ok("SET after sync");
    assert_eq!(tap.effect(), ["SELECT", "3"]);
    assert_eq!(tap.effect(), ["SET", "after", "sync"]);
}

#[test]
fn a_snapshot_for_a_peer_that_knows_the_mark() {
    snapshot_by(TapOptions::default(), Framing::Mark);
}

#[test]
fn a_snapshot_for_a_peer_that_wants_the_length() {
    snapshot_by(TapOptions { eof: false, ..TapOptions::default() }, Framing::Length);
}

#[test]
fn a_snapshot_by_plain_sync() {
    snapshot_by(TapOptions { plain_sync: true, ..TapOptions::default() }, Framing::Length);
}

/// redis-cli asks by SYNC, as tools of all ages do.
#[test]
fn redis_cli_takes_a_snapshot_to_a_file() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    fill(&mut client, "key", 1000);
    let expected = digest(&mut client);
    let target = master.dir().join("taken.rdb");
    let output = std::process::Command::new(file("7.0.15/redis-cli"))
        .args(["-p", &master.port.to_string(), "--rdb"])
        .arg(&target)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_loads_in(Peer::V7, &std::fs::read(&target).unwrap(), &expected);
}

#[test]
fn what_writes_become_in_the_stream() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    let mut tap = StreamTap::attach(master.port);
    client.ok("SET k v PXAT 99999999999999");
    assert_eq!(tap.effect(), ["SELECT", "0"]);
    assert_eq!(tap.effect(), ["SET", "k", "v", "PXAT", "99999999999999"]);
    client.ok("SET k v EX 1000");
    let effect = tap.effect();
    assert_eq!(effect[..4], ["SET", "k", "v", "PXAT"], "a relative time becomes an absolute one");
    client.run("EXPIRE k 5000");
    assert_eq!(tap.effect()[..2], ["PEXPIREAT", "k"]);
    client.run("EXPIRE k -1");
    let effect = tap.effect();
    assert!(effect[0].eq_ignore_ascii_case("DEL") || effect[0].eq_ignore_ascii_case("UNLINK"), "{effect:?}");
    // Neither a read nor a write without effect shows.
    client.run("GET k");
    client.run("DEL no-such-key");
    client.run("EXPIRE no-such-key 10");
    client.ok("MULTI");
    client.run("SET a 1");
    client.run("INCR a");
    client.run("EXEC");
    assert_eq!(tap.effect(), ["MULTI"]);
    assert_eq!(tap.effect(), ["SET", "a", "1"]);
    assert_eq!(tap.effect(), ["INCR", "a"]);
    assert_eq!(tap.effect(), ["EXEC"]);
    client.run("GETDEL a");
    assert_eq!(tap.effect()[1], "a");
    client.run("INCRBYFLOAT f 1.5");
    assert_eq!(tap.effect(), ["SET", "f", "1.5", "KEEPTTL"]);
    client.ok("FLUSHALL");
    assert_eq!(tap.effect()[0].to_ascii_uppercase(), "FLUSHALL");
}
