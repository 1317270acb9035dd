//! What a slave takes from its master and what it does not: masters that come back empty, and snapshots that lie, leave its data as it was, and it
//! says why.

use crate::support::data::fill;
use crate::support::sync::{digest_when_loaded, link_is_up};
use crate::support::tap::{StreamTap, TapOptions};
use crate::support::{Client, Daemon, HandMaster, Kind, LATER, Peer, SOON, Value, digest, info, info_u64, replicate, wait_for, wait_in_sync};

const OTHER: &str = "00112233445566778899aabbccddeeff00112233";

#[track_caller]
fn wait_for_refusal(slave: &Daemon, code: &str) -> String {
    let mut client = slave.client();
    let refused =
        wait_for(SOON, &format!("the sync to be refused: {code}"), || info(&mut client, "master_sync_refused").filter(|text| text.starts_with(code)));
    wait_for(SOON, "the reason in the log", || slave.log().contains(&refused).then_some(()));
    assert_eq!(info(&mut client, "master_link_status").unwrap(), "down");
    refused
}

/// A slave in sync with a master of ours that had 1000 keys; the master is killed.
fn slave_of_a_dead_master(args: &[&str]) -> (Daemon, Daemon, String) {
    let mut master = Daemon::replikant(&[]);
    fill(&mut master.client(), "key", 1000);
    let slave = Daemon::replikant(args);
    replicate(&slave, master.port);
    let digest = wait_in_sync(&master, &slave);
    master.kill();
    (master, slave, digest)
}

#[test]
fn a_master_that_comes_back_empty_does_not_empty_its_slave() {
    let (mut master, slave, had) = slave_of_a_dead_master(&[]);
    master.start_again();
    let refused = wait_for_refusal(&slave, "emptied-master");
    assert!(refused.contains("has 0 keys") && refused.contains("1000 keys"), "{refused}");
    assert_eq!(digest(&mut slave.client()), had);
    assert!(format!("{:?}", slave.client().run("REPLICATION STATUS")).contains("sync-refused"));
    // Once an operator says so, it is taken at once.
    slave.client().ok("REPLICATION ACCEPT");
    wait_in_sync(&master, &slave);
    let mut client = slave.client();
    assert_eq!(client.run("DBSIZE"), Value::Int(0));
    assert_eq!(info(&mut client, "master_sync_refused"), None);
    assert!(client.run("REPLICATION ACCEPT").is_error("ERR"));
    // It was for once.
    fill(&mut master.client(), "key", 500);
    wait_in_sync(&master, &slave);
    master.kill();
    master.start_again();
    wait_for_refusal(&slave, "emptied-master");
    // A client that names the master again means it.
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    assert_eq!(client.run("DBSIZE"), Value::Int(0));
}

#[test]
fn a_tiny_master_is_refused_and_one_with_much_of_the_data_is_not() {
    let (mut master, slave, had) = slave_of_a_dead_master(&[]);
    let dir = master.dir().to_owned();
    dump_with(99, &dir);
    master.start_again();
    let refused = wait_for_refusal(&slave, "emptied-master");
    assert!(refused.contains("has 99 keys"), "{refused}");
    assert_eq!(digest(&mut slave.client()), had);
    // With the directive off, the next attempt takes it.
    slave.client().ok("CONFIG SET replica-refuse-emptied-master no");
    wait_for(LATER, "the slow retry", || link_is_up(&mut slave.client()).then_some(()));
    wait_in_sync(&master, &slave);
    let (mut master, slave, _) = slave_of_a_dead_master(&[]);
    let dir = master.dir().to_owned();
    dump_with(300, &dir);
    master.start_again();
    wait_in_sync(&master, &slave);
    assert_eq!(slave.client().run("DBSIZE"), Value::Int(300 / 4));
}

/// Puts a dump file with so many keys there.
fn dump_with(keys: u64, dir: &std::path::Path) {
    let source = Daemon::replikant(&[]);
    fill(&mut source.client(), "other", keys);
    source.client().ok("SAVE");
    std::fs::copy(source.dir().join("dump.rdb"), dir.join("dump.rdb")).unwrap();
}

/// The `replicaof` line of a conf file is no command: data from disk is not given up for an empty master.
#[test]
fn a_slave_that_starts_with_data_refuses_an_empty_master_too() {
    let (mut master, mut slave, had) = slave_of_a_dead_master(&[]);
    slave.client().ok("SAVE");
    slave.kill();
    master.start_again();
    let port = master.port.to_string();
    slave.start_again_with(&["--replicaof", "127.0.0.1", &port]);
    wait_for_refusal(&slave, "emptied-master");
    assert_eq!(digest_when_loaded(&slave), had);
}

/// Real masters restart empty as well.
#[test]
fn a_real_master_that_comes_back_empty_is_refused() {
    for peer in [Peer::V6, Peer::V7] {
        let mut master = Daemon::redis(peer, &[]);
        fill(&mut master.client(), "key", 400);
        let slave = Daemon::replikant(&[]);
        replicate(&slave, master.port);
        let had = wait_in_sync(&master, &slave);
        master.kill();
        master.start_again();
        wait_for_refusal(&slave, "emptied-master");
        assert_eq!(digest(&mut slave.client()), had);
    }
}

/// A slave with 300 keys that follows a master made by hand, at offset 5000 of the history `OTHER`.
fn slave_of_hand_made(args: &[&str]) -> (HandMaster, crate::support::HandLink, Daemon, Vec<u8>) {
    let source = Daemon::replikant(&[]);
    fill(&mut source.client(), "key", 300);
    let rdb = StreamTap::with(source.port, TapOptions::default()).snapshot;
    let master = HandMaster::listen();
    let slave = Daemon::start(Kind::under_test(), args);
    replicate(&slave, master.port);
    let mut link = master.accept();
    link.say(&whole(OTHER, 5000, &rdb));
    let mut client = slave.client();
    wait_for(SOON, "the link to come up", || link_is_up(&mut client).then_some(()));
    assert_eq!(digest(&mut client), digest(&mut source.client()));
    (master, link, slave, rdb)
}

fn whole(replid: &str, offset: u64, rdb: &[u8]) -> Vec<u8> {
    [format!("+FULLRESYNC {replid} {offset}\r\n${}\r\n", rdb.len()).as_bytes(), rdb].concat()
}

fn with_checksum(mut rdb: Vec<u8>) -> Vec<u8> {
    let crc = replikant::rdb::crc64(&rdb);
    rdb.extend_from_slice(&crc.to_le_bytes());
    rdb
}

/// Each of these snapshots, in each mode: the slave keeps its data, tells why in INFO and in its log, and takes the next good one.
#[test]
fn snapshots_that_lie_change_nothing() {
    for mode in ["disabled", "swapdb", "flush-before-load"] {
        let (master, mut link, slave, good) = slave_of_hand_made(&["--repl-diskless-load", mode]);
        let mut client = slave.client();
        let had = digest(&mut client);
        let files = |slave: &Daemon| {
            let names = std::fs::read_dir(slave.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.ends_with(".rdb")).map(|name| (std::fs::read(slave.dir().join(&name)).unwrap(), name)).collect::<Vec<_>>()
        };
        let dump = files(&slave);
        let mut corrupt = good.clone();
        let middle = corrupt.len() / 2;
        corrupt[middle] ^= 0x40;
        let truncated = with_checksum(good[..middle].to_vec());
        let no_end = good[..middle].to_vec();
        let bad = [
            (b"REDIS0099\xff".to_vec(), "can't handle RDB format version 99"),
            (b"VALKEY099\xff".to_vec(), "can't handle RDB format version 99"),
            (b"HELLO0009\xff".to_vec(), "wrong magic"),
            (corrupt, "can't be loaded, the old data stays"),
            (truncated, "can't be loaded, the old data stays"),
            (no_end, "unexpected end of the RDB"),
            (Vec::new(), "unexpected end of the RDB"),
        ];
        for (rdb, why) in bad {
            drop(link);
            link = master.accept();
            link.say(&whole(OTHER, 6000, &rdb));
            let error =
                wait_for(SOON, &format!("INFO to tell: {why}"), || info(&mut client, "master_last_error").filter(|error| error.contains(why)));
            wait_for(SOON, "the reason in the log", || slave.log().contains(why).then_some(()));
            assert_eq!(digest(&mut client), had, "after {error}");
            // The next retry comes sooner by command; it is the same master.
            client.ok("REPLICAOF NO ONE");
            replicate(&slave, master.port);
            wait_for(SOON, "the dump file to be alone, and as it was", || (files(&slave) == dump).then_some(()));
        }
        drop(link);
        let mut link = master.accept();
        link.say(&whole(OTHER, 6000, &good));
        wait_for(SOON, "the link to come up", || link_is_up(&mut client).then_some(()));
        assert_eq!(digest(&mut client), had);
    }
}

#[test]
fn a_master_that_lies_about_its_offset_is_not_believed() {
    let (master, mut link, slave, good) = slave_of_hand_made(&[]);
    let mut client = slave.client();
    let had = digest(&mut client);
    for lie in ["9223372036854775807", "-5", "5e3", "18446744073709551616", "x"] {
        drop(link);
        link = master.accept();
        link.say(format!("+FULLRESYNC {OTHER} {lie}\r\n").as_bytes());
        wait_for(SOON, "INFO to tell", || info(&mut client, "master_last_error").filter(|error| error.contains("bad offset") && error.contains(lie)));
        assert_eq!(digest(&mut client), had);
    }
    // Back in the history that both have.
    drop(link);
    link = master.accept();
    assert_eq!(link.asked[1..], [OTHER, "5001"]);
    link.say(&whole(OTHER, 4999, &good));
    let refused = wait_for_refusal(&slave, "offset-regression");
    assert!(refused.contains("offset 4999") && refused.contains("has 5000"), "{refused}");
    assert_eq!(digest(&mut client), had);
    drop(link);
    // The master has caught up.
    link = master.accept();
    link.say(b"+CONTINUE\r\n");
    wait_for(SOON, "the link to come up", || link_is_up(&mut client).then_some(()));
    assert_eq!(info_u64(&mut client, "slave_repl_offset"), 5000);
    // Or an operator takes what there is.
    drop(link);
    link = master.accept();
    link.say(&whole(OTHER, 4000, &good));
    wait_for_refusal(&slave, "offset-regression");
    client.ok("REPLICATION ACCEPT");
    drop(link);
    link = master.accept();
    link.say(&whole(OTHER, 4000, &good));
    wait_for(SOON, "the link to come up", || link_is_up(&mut client).then_some(()));
    assert_eq!(info_u64(&mut client, "slave_repl_offset"), 4000);
}

/// The emptied master in the modes in which the new data is not in memory when it is judged.
#[test]
fn an_empty_snapshot_is_refused_before_anything_is_flushed() {
    let empty = StreamTap::with(Daemon::replikant(&[]).port, TapOptions::default()).snapshot;
    for mode in ["flush-before-load", "swapdb"] {
        let (master, link, slave, _) = slave_of_hand_made(&["--repl-diskless-load", mode]);
        let had = digest(&mut slave.client());
        drop(link);
        let mut link = master.accept();
        link.say(&whole(&OTHER.replace('0', "f"), 7000, &empty));
        wait_for_refusal(&slave, "emptied-master");
        assert_eq!(digest(&mut slave.client()), had);
    }
}

#[test]
fn a_master_that_is_busy_is_asked_again_later() {
    let master = HandMaster::listen();
    let slave = Daemon::replikant(&[]);
    let mut client: Client = slave.client();
    replicate(&slave, master.port);
    for reply in ["-TRYAGAIN too many full syncs", "-LOADING Redis is loading the dataset in memory", "-NOMASTERLINK Can't SYNC while not connected"]
    {
        let mut link = master.accept();
        link.say(format!("{reply}\r\n").as_bytes());
        wait_for(SOON, "INFO to tell", || info(&mut client, "master_last_error").filter(|error| error.contains(reply)));
    }
    let mut link = master.accept();
    let empty = StreamTap::with(Daemon::replikant(&[]).port, TapOptions::default()).snapshot;
    link.say(&whole(OTHER, 1, &empty));
    wait_for(SOON, "the link to come up", || link_is_up(&mut client).then_some(()));
    assert_eq!(info(&mut client, "master_last_error"), None);
}
