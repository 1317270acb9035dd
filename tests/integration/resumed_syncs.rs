//! The master's end of full syncs that resume: a replica made by hand takes its snapshot in chunks, breaks off, and comes back for the rest.

use std::path::Path;

use crate::support::chunks::{CHUNK_BYTES, ChunkTap};
use crate::support::data::fill_mb;
use crate::support::sync::digest_when_loaded;
use crate::support::tap::{StreamTap, TapOptions};
use crate::support::{Client, Daemon, Direction, Kind, Link, Peer, SOON, Value, digest, info, info_u64, replicate, wait_for, wait_in_sync};

fn assert_loads(snapshot: &[u8], expected: &str) {
    let server = Daemon::prepared(Kind::Real(Peer::V7), &[], |dir| std::fs::write(dir.join("dump.rdb"), snapshot).unwrap());
    assert_eq!(digest_when_loaded(&server), expected);
}

fn spools(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("temp-")).count()
}

fn wait_until_alone(client: &mut Client) {
    wait_for(SOON, "the replica to be forgotten", || (info_u64(client, "connected_slaves") == 0).then_some(()));
}

#[test]
fn a_broken_sync_goes_on_with_the_chunk_that_is_lacking() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    fill_mb(&mut client, 6);
    let at_cut = digest(&mut client);
    let mut whole = Vec::new();
    let mut resume: Option<(String, u64)> = None;
    let mut place = None;
    // After no chunk, after some, in the middle of one (which is sent again), after all but one, after all without the end line.
    for chunks in [0, 2, 5, 9, 4] {
        let mut tap = ChunkTap::attach(master.port, resume.as_ref().map(|(id, next)| (id.as_str(), *next)));
        for _ in 0..chunks {
            assert!(tap.chunk().unwrap());
        }
        whole.extend_from_slice(&tap.bytes);
        assert_eq!(*place.get_or_insert((tap.replid.clone(), tap.offset)), (tap.replid.clone(), tap.offset));
        assert!(resume.as_ref().is_none_or(|(id, _)| *id == tap.sync_id));
        resume = Some((tap.sync_id.clone(), tap.next));
        drop(tap);
        wait_until_alone(&mut client);
        client.command(&["SET", "written during", &format!("break {chunks}")]);
    }
    let (id, next) = resume.unwrap();
    let mut tap = ChunkTap::attach(master.port, Some((&id, next)));
    assert_eq!((&tap.sync_id, tap.offset), (&id, place.unwrap().1));
    tap.read_rest();
    assert_eq!(tap.permille, 1000);
    whole.extend_from_slice(&tap.bytes);
    assert!(whole.len() > 6 << 20);
    assert_eq!(whole.len().div_ceil(CHUNK_BYTES) as u64, tap.next);
    assert_loads(&whole, &at_cut);
    // The stream after the snapshot's place follows at once, from its beginning.
    let stream: Vec<String> = (0..6).map(|_| tap.client.reply().unwrap().items().last().unwrap().text()).collect();
    assert_eq!(stream, ["0", "break 0", "break 2", "break 5", "break 9", "break 4"]);
    assert_eq!(info_u64(&mut client, "rdb_saves"), 1, "one snapshot was enough");
    assert_eq!(master.log().matches("A broken full sync goes on").count(), 5 - 1, "{}", master.log());
    assert_eq!(spools(master.dir()), 1);
    tap.acknowledge();
    wait_for(SOON, "the snapshot to go", || (spools(master.dir()) == 0).then_some(()));
}

/// A slave takes the first chunk of a sync and is gone. Returns the sync's id, when the master knows.
fn break_off(master: &Daemon) -> String {
    let mut tap = ChunkTap::attach(master.port, None);
    tap.chunk().unwrap();
    let id = tap.sync_id.clone();
    drop(tap);
    wait_until_alone(&mut master.client());
    id
}

#[test]
fn what_can_not_be_resumed_starts_over_under_another_name() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    fill_mb(&mut client, 1);
    let id = break_off(&master);
    // Of a snapshot that never was; a chunk beyond the end; a place of another kind.
    for (asked, chunk) in [("f".repeat(40), 1), (id.clone(), 100), (id.clone(), i64::MAX as u64)] {
        let mut tap = ChunkTap::attach(master.port, Some((&asked, chunk)));
        assert_ne!(tap.sync_id, asked);
        tap.starts_over();
        tap.read_rest();
        assert_loads(&tap.bytes, &digest(&mut client));
    }
    for words in [&["resume-sync", "short", "1"][..], &["resume-sync", &id], &["resume-sync", &id, "-1"], &["resume-sync"]] {
        let reply = client.command(&[&["REPLCONF"], words].concat());
        assert!(reply.is_error("ERR"), "{words:?}: {reply:?}");
    }
}

#[test]
fn a_kept_snapshot_goes_when_its_time_is_over() {
    for (seconds, kept) in [("0", 0), ("1", 1)] {
        let master = Daemon::replikant(&["--repl-sync-keep-seconds", seconds]);
        let mut client = master.client();
        fill_mb(&mut client, 1);
        let id = break_off(&master);
        assert!(spools(master.dir()) >= kept);
        wait_for(SOON, "the snapshot to go", || (spools(master.dir()) == 0).then_some(()));
        assert_ne!(ChunkTap::attach(master.port, Some((&id, 1))).sync_id, id);
    }
}

#[test]
fn a_promoted_or_turned_master_resumes_nothing() {
    let (master, other) = (Daemon::replikant(&[]), Daemon::replikant(&[]));
    replicate(&master, other.port);
    wait_in_sync(&other, &master);
    fill_mb(&mut other.client(), 1);
    wait_in_sync(&other, &master);
    let mut tap = ChunkTap::attach(master.port, None);
    tap.chunk().unwrap();
    let id = tap.sync_id.clone();
    master.client().ok("SLAVEOF NO ONE");
    wait_until_alone(&mut master.client());
    wait_for(SOON, "the snapshot to go", || (spools(master.dir()) == 0).then_some(()));
    let after = ChunkTap::attach(master.port, Some((&id, 1)));
    assert!(after.sync_id != id && after.replid != tap.replid);
}

/// Whoever comes while a snapshot is sent or kept is sent the same one: under one name, in every framing.
#[test]
fn slaves_share_a_snapshot_and_its_name() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    fill_mb(&mut client, 4);
    let at_cut = digest(&mut client);
    let mut one = ChunkTap::attach(master.port, None);
    one.chunk().unwrap();
    client.ok("SET after 1");
    let mut two = ChunkTap::attach(master.port, None);
    assert_eq!((&two.sync_id, two.offset), (&one.sync_id, one.offset));
    let marked = StreamTap::attach(master.port);
    let counted = StreamTap::with(master.port, TapOptions { eof: false, ..TapOptions::default() });
    assert_eq!((marked.start, counted.start), (one.offset, one.offset));
    one.read_rest();
    two.read_rest();
    for bytes in [&two.bytes, &marked.snapshot, &counted.snapshot] {
        assert!(*bytes == one.bytes);
    }
    assert_loads(&one.bytes, &at_cut);
    assert_eq!(info_u64(&mut client, "rdb_saves"), 1);
    // When all have it, or are past being waited for, the next one gets its own.
    [one, two].iter_mut().for_each(ChunkTap::acknowledge);
    drop((marked, counted));
}

/// A sync that breaks again and again, of a stock slave, does not cost a snapshot each time.
#[test]
fn a_loop_of_broken_syncs_makes_one_snapshot() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    fill_mb(&mut client, 1);
    for _ in 0..10 {
        drop(StreamTap::with(master.port, TapOptions { eof: false, ..TapOptions::default() }));
        wait_until_alone(&mut client);
        client.run("INCR written");
    }
    assert_eq!(info_u64(&mut client, "rdb_saves"), 1);
    assert_eq!(info(&mut client, "sync_full").unwrap(), "10");
    let real = Daemon::redis(Peer::V7, &[]);
    replicate(&real, master.port);
    wait_in_sync(&master, &real);
    assert_eq!(info_u64(&mut client, "rdb_saves"), 1);
}

/// However much is written meanwhile: what a replica lacks of its snapshot, and all of the stream after it, is there when it comes back.
#[test]
fn writes_beyond_the_size_of_the_snapshot_do_not_end_a_sync() {
    let master = Daemon::replikant(&["--repl-backlog-size", "16kb"]);
    let mut client = master.client();
    fill_mb(&mut client, 2);
    let mut tap = ChunkTap::attach(master.port, None);
    for _ in 0..3 {
        assert!(tap.chunk().unwrap());
    }
    let (id, next) = (tap.sync_id.clone(), tap.next);
    drop(tap);
    wait_until_alone(&mut client);
    fill_mb(&mut client, 6);
    let mut tap = ChunkTap::attach(master.port, Some((&id, next)));
    assert_eq!(tap.sync_id, id);
    tap.read_rest();
    // Every write of six megabytes, behind SELECT.
    let commands: Vec<Vec<String>> = (0..601)
        .map(|_| {
            tap.client.reply().unwrap().items().iter().take(2).map(|word| String::from_utf8_lossy(word.text().as_bytes()).into_owned()).collect()
        })
        .collect();
    assert_eq!((commands[0].join(" "), commands[1].join(" ")), ("SELECT 0".to_owned(), "SET key:0:0".to_owned()));
    assert_eq!(commands[600].join(" "), "SET key:11:49");
    // A slave that can't resume is better served with a new one.
    let mut stock = ChunkTap::ask(master.port, "7002", None);
    stock.open().unwrap();
    assert_ne!(stock.sync_id, id);
}

/// Both ends are ours, and the link is cut at 10, 50 and 90 % of the snapshot: what is sent again is at most the chunk that was under way.
#[test]
fn a_cut_between_two_of_ours_costs_at_most_a_chunk() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    fill_mb(&mut client, 8);
    let mut tap = ChunkTap::attach(master.port, None);
    tap.read_rest();
    tap.acknowledge();
    let whole = tap.bytes.len() as u64;
    drop(tap);
    for (saves, percent) in (2..).zip([10, 50, 90]) {
        let slave = Daemon::replikant(&[]);
        let link = Link::to(master.port);
        link.cut_after(Direction::Down, whole * percent / 100);
        replicate(&slave, link.port);
        wait_in_sync(&master, &slave);
        assert_eq!(link.cuts(), 1);
        let again = link.passed(Direction::Down).saturating_sub(whole);
        // Handshakes, chunk lines and pings come on top.
        assert!(again <= CHUNK_BYTES as u64 + 16 * 1024, "{again} bytes of {whole} were sent again after a cut at {percent} %");
        assert_eq!(info_u64(&mut client, "rdb_saves"), saves);
        let last = client.run("REPLICATION HISTORY COUNT 1");
        let last = last.items()[0].items();
        let resumed = last.iter().position(|item| *item == Value::bulk("resumed")).expect("a field of it");
        assert_eq!(last[resumed + 1], Value::Int(1), "{last:?}");
    }
}
