//! Which slaves get a snapshot when: company is waited for, few snapshots are made at a time, those who break off wait, and a rate bounds what leaves.

use std::time::{Duration, Instant};

use crate::support::chunks::ChunkTap;
use crate::support::data::fill_mb;
use crate::support::tap::{StreamTap, TapOptions};
use crate::support::{Client, Daemon, LATER, Peer, SOON, Value, info, info_u64, replicate, wait_for, wait_in_sync, wait_link_up};

fn states(client: &mut Client) -> Vec<String> {
    let count = info_u64(client, "connected_slaves");
    let line = |number, client: &mut Client| info(client, &format!("slave{number}")).unwrap_or_default();
    (0..count).map(|number| line(number, client).split("state=").nth(1).unwrap_or_default().split(',').next().unwrap().to_owned()).collect()
}

/// What there is of snapshots for slaves.
fn spool_bytes(master: &Daemon) -> u64 {
    let files = std::fs::read_dir(master.dir()).unwrap().map(|entry| entry.unwrap());
    files.filter(|file| file.file_name().to_string_lossy().ends_with(".rdb")).map(|file| file.metadata().map_or(0, |data| data.len())).sum()
}

#[test]
fn slaves_that_come_together_share_a_snapshot() {
    let master = Daemon::replikant(&["--repl-diskless-sync-delay", "3600", "--repl-diskless-sync-max-replicas", "3"]);
    let mut client = master.client();
    fill_mb(&mut client, 1);
    let slaves = [Daemon::redis(Peer::V6, &[]), Daemon::redis(Peer::V7, &[]), Daemon::redis(Peer::Valkey, &[])];
    for slave in &slaves[..2] {
        replicate(slave, master.port);
    }
    wait_for(SOON, "two to wait", || (states(&mut client) == ["wait_bgsave"; 2]).then_some(()));
    assert!(master.log().contains("diskless-sync-delay"));
    assert_eq!(info_u64(&mut client, "rdb_saves"), 0);
    // The third is enough company.
    replicate(&slaves[2], master.port);
    for slave in &slaves {
        wait_in_sync(&master, slave);
    }
    assert_eq!(info_u64(&mut client, "rdb_saves"), 1);
    assert_eq!(states(&mut client), ["online"; 3]);
    // Without 'diskless' nobody is waited for.
    let last = Daemon::redis(Peer::V7, &[]);
    client.ok("CONFIG SET repl-diskless-sync no");
    replicate(&last, master.port);
    wait_in_sync(&master, &last);
}

/// As 7.0.15 with a disk-backed sync: a slave waits for the length, then gets the bulk.
#[test]
fn a_slave_that_wants_the_length_waits_for_it() {
    let master = Daemon::replikant(&["--repl-diskless-sync", "no"]);
    fill_mb(&mut master.client(), 1);
    let tap = StreamTap::attach(master.port);
    assert_eq!(tap.framing, crate::support::tap::Framing::Length);
    assert_eq!(states(&mut master.client()), ["online"]);
}

#[test]
fn further_syncs_wait_until_there_is_room() {
    let master = Daemon::replikant(&["--repl-max-concurrent-syncs", "1"]);
    let mut client = master.client();
    fill_mb(&mut client, 24);
    // It does not read on, so that its snapshot stays in the making or on the way.
    let mut first = ChunkTap::ask(master.port, "7001", None);
    first.open().unwrap();
    wait_for(LATER, "the snapshot to be made", || (spool_bytes(&master) > 24 << 20).then_some(()));
    // More is written than the snapshot has: it is of no use to others.
    fill_mb(&mut client, 30);
    let mut second = ChunkTap::ask(master.port, "7002", None);
    wait_for(SOON, "the second to be told of as waiting", || master.log().contains("sync-limit").then_some(()));
    assert_eq!(states(&mut client), ["send_bulk", "wait_bgsave"]);
    let status = format!("{:?}", client.run("REPLICATION STATUS"));
    assert!(status.contains("sync-limit") && status.contains("sync-permille"), "{status}");
    first.read_rest();
    second.open().unwrap();
    assert!(second.sync_id != first.sync_id && second.offset > first.offset);
    second.read_rest();
    assert_eq!(info_u64(&mut client, "rdb_saves"), 2);
}

/// A slave for which snapshots are made again and again in vain waits longer each time, and hears from its master meanwhile.
#[test]
fn who_breaks_off_is_held_back() {
    let master = Daemon::replikant(&["--repl-sync-keep-seconds", "0"]);
    let mut client = master.client();
    fill_mb(&mut client, 1);
    for _ in 0..3 {
        drop(StreamTap::with(master.port, TapOptions { eof: false, ..TapOptions::default() }));
        wait_for(SOON, "the replica to be forgotten", || (info_u64(&mut client, "connected_slaves") == 0).then_some(()));
    }
    assert_eq!(master.log().matches("back-off").count(), 1, "{}", master.log());
    let mut held = ChunkTap::ask(master.port, "1", None);
    held.open().unwrap();
    assert!(held.signs_of_life > 0);
    assert_eq!(master.log().matches("back-off").count(), 2);
    // Another one does not suffer for it.
    let start = Instant::now();
    ChunkTap::ask(master.port, "2", None).open().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1) && master.log().matches("back-off").count() == 2);
}

#[test]
fn a_rate_bounds_snapshots_and_not_the_stream() {
    let master = Daemon::replikant(&["--repl-sync-max-rate", "1mb"]);
    let mut client = master.client();
    let online = Daemon::redis(Peer::V7, &[]);
    replicate(&online, master.port);
    wait_link_up(&online);
    let start = Instant::now();
    // The stream of three megabytes is there long before a snapshot of that size would be.
    fill_mb(&mut client, 3);
    wait_in_sync(&master, &online);
    let streamed = start.elapsed();
    let start = Instant::now();
    let mut taps = [ChunkTap::attach(master.port, None), ChunkTap::attach(master.port, None)];
    let two = std::thread::scope(|scope| {
        let [one, two] = &mut taps;
        scope.spawn(|| one.read_rest());
        two.read_rest();
        start.elapsed()
    });
    let together = taps.iter().map(|tap| tap.bytes.len() as u64).sum::<u64>();
    let seconds = together as f64 / f64::from(1 << 20);
    assert!((seconds * 0.9..seconds * 2.0).contains(&two.as_secs_f64()), "{together} bytes in {two:?}, streamed in {streamed:?}");
    client.ok("CONFIG SET repl-sync-max-rate 0");
    let start = Instant::now();
    ChunkTap::ask(master.port, "7003", None).open().unwrap();
    assert!(start.elapsed() < LATER);
    assert_eq!(client.run("CONFIG GET repl-sync-max-rate").items()[1], Value::bulk("0"));
}
