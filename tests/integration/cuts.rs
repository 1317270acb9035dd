//! The link, the master or the slave dies at any moment of a sync or of the stream: the slave keeps whole data, comes back by itself and
//! ends equal; a short break costs only what was missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::data::{churn, fill};
use crate::support::process::rss;
use crate::support::sync::{digest_when_loaded, link_is_up};
use crate::support::tap::{StreamTap, TapOptions};
use crate::support::{Client, Daemon, Direction, Kind, Link, Peer, SOON, Value, digest, info, info_u64, offset, replicate, wait_for, wait_in_sync};

/// Arguments with which the server under test keeps its old data while it syncs; ours always does.
fn keeping() -> &'static [&'static str] {
    match Kind::under_test() {
        Kind::Ours => &[],
        Kind::Real(_) => &["--repl-diskless-load", "swapdb"],
    }
}

/// A slave that was in sync with another master before, so that it has data to lose. That master is gone.
fn slave_with_old_data() -> (Daemon, String) {
    let former = Daemon::replikant(&[]);
    fill(&mut former.client(), "old", 300);
    let slave = Daemon::replikant(keeping());
    replicate(&slave, former.port);
    let digest = wait_in_sync(&former, &slave);
    (slave, digest)
}

/// Breaks the sync after each of these many bytes, each time on a link of its own so that no back-off is waited for; the last link is mended
/// and the slave comes back on it by itself.
fn sync_with_breaks(master: &Daemon, direction: Direction, points: &[u64]) {
    let (slave, old) = slave_with_old_data();
    let new = digest(&mut master.client());
    assert_ne!(old, new);
    let mut last = None;
    for point in points {
        let link = Link::to(master.port);
        link.break_after(direction, *point);
        replicate(&slave, link.port);
        wait_for(SOON, &format!("the break after {point} bytes"), || (link.cuts() == 1).then_some(()));
        wait_for(SOON, "the slave to see the break", || (!link_is_up(&mut slave.client())).then_some(()));
        assert_eq!(digest_when_loaded(&slave), old, "the slave's data after a break at {point} bytes {direction:?}");
        last = Some(link);
    }
    let last = last.expect("at least one break");
    last.mend();
    wait_in_sync(master, &slave);
    assert_eq!(digest(&mut slave.client()), new);
}

/// How many bytes a full sync from this server takes, from the handshake's first reply to the snapshot's end.
fn snapshot_bytes(master: &Daemon, eof: bool) -> u64 {
    StreamTap::with(master.port, TapOptions { eof, ..TapOptions::default() }).snapshot.len() as u64
}

#[test]
fn the_link_breaks_at_every_stage_of_a_sync_from_ours() {
    let master = Daemon::replikant(&[]);
    fill(&mut master.client(), "new", 2000);
    let all = snapshot_bytes(&master, true);
    let points = [0, 1, 7, 12, 30, 60, 80, 130, 200, all / 4, all / 2, all - 1000, all, all + 40];
    sync_with_breaks(&master, Direction::Down, &points);
}

#[test]
fn the_link_breaks_at_every_stage_of_a_sync_from_a_real_master() {
    for mode in ["yes", "no"] {
        let master = Daemon::redis(Peer::V7, &["--repl-diskless-sync", mode]);
        fill(&mut master.client(), "new", 2000);
        let all = snapshot_bytes(&master, mode == "yes");
        sync_with_breaks(&master, Direction::Down, &[0, 5, 50, 100, 190, all / 3, all / 2, all - 100, all]);
    }
}

#[test]
fn the_slave_end_of_the_handshake_breaks() {
    let master = Daemon::replikant(&[]);
    fill(&mut master.client(), "new", 500);
    sync_with_breaks(&master, Direction::Up, &[0, 1, 14, 20, 60, 100, 140]);
}

/// A link that passes half a snapshot and then nothing: the slave answers with its old data meanwhile.
#[test]
fn a_stalled_snapshot_leaves_the_slave_answering() {
    let master = Daemon::replikant(&[]);
    fill(&mut master.client(), "new", 20_000);
    let (slave, old) = slave_with_old_data();
    let link = Link::to(master.port);
    replicate(&slave, link.port);
    wait_for(SOON, "some of the snapshot", || (link.passed(Direction::Down) > 20_000).then_some(()));
    link.stall();
    let have = digest_when_loaded(&slave);
    let half = info(&mut slave.client(), "master_sync_in_progress").unwrap() == "1";
    // On a fast machine the snapshot may be through before the stall; then it must be whole.
    assert_eq!(have, if half { old } else { digest(&mut master.client()) });
    link.resume();
    wait_in_sync(&master, &slave);
}

/// Every answer during a whole sync is of the old data or of the new, in this order, and never an error.
#[test]
fn a_slave_answers_with_its_old_data_until_the_new_is_there() {
    let master = Daemon::replikant(&[]);
    fill(&mut master.client(), "new", 20_000);
    master.client().ok("SET which new");
    let former = Daemon::replikant(&[]);
    former.client().ok("SET which old");
    let slave = Daemon::replikant(&[]);
    replicate(&slave, former.port);
    wait_in_sync(&former, &slave);

    let (port, done) = (slave.port, Arc::new(AtomicBool::new(false)));
    let until = done.clone();
    let reader = std::thread::spawn(move || {
        let mut client = Client::connect(port);
        let mut answers: Vec<Value> = Vec::new();
        while !until.load(Ordering::SeqCst) {
            let answer = client.run("GET which");
            if answers.last() != Some(&answer) {
                answers.push(answer);
            }
        }
        answers
    });
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    done.store(true, Ordering::SeqCst);
    let answers = reader.join().expect("reading");
    assert_eq!(answers, [Value::bulk("old"), Value::bulk("new")]);
}

#[test]
fn the_slave_is_killed_during_a_sync_and_starts_again() {
    let master = Daemon::replikant(&[]);
    fill(&mut master.client(), "new", 5000);
    let all = snapshot_bytes(&master, true);
    let link = Link::to(master.port);
    let conf = format!("slaveof 127.0.0.1 {}\nsave \"\"\nenable-debug-command yes\n", link.port);
    let mut slave = Daemon::with_conf(Kind::under_test(), &conf, &[]);
    for point in [1, 100, all / 2, all - 10] {
        slave.kill();
        let before = link.passed(Direction::Down);
        slave.start_again();
        // A slave that had the whole snapshot on its disk when it was killed continues without another.
        wait_for(SOON, "some of the sync to pass", || {
            (link.passed(Direction::Down) >= before + point || link_is_up(&mut slave.client())).then_some(())
        });
    }
    slave.kill();
    churn(&mut master.client(), 2, 1000);
    slave.start_again();
    wait_in_sync(&master, &slave);
    let mut at_master = master.client();
    wait_for(SOON, "the dead slaves to be forgotten", || (info_u64(&mut at_master, "connected_slaves") == 1).then_some(()));
}

#[test]
fn the_master_is_killed_during_a_sync_and_starts_again() {
    let mut master = Daemon::replikant(&["--save", "3600 1"]);
    fill(&mut master.client(), "new", 5000);
    master.client().ok("SAVE");
    let all = snapshot_bytes(&master, true);
    let (slave, old) = slave_with_old_data();
    let link = Link::to(master.port);
    for point in [60, 200, all / 2] {
        let before = link.passed(Direction::Down);
        replicate(&slave, link.port);
        wait_for(SOON, "some of the sync to pass", || (link.passed(Direction::Down) >= before + point).then_some(()));
        link.stall();
        master.kill();
        link.cut();
        link.resume();
        let have = digest_when_loaded(&slave);
        master.start_again();
        digest_when_loaded(&master);
        // A snapshot that was through before the kill must be whole.
        assert!(have == old || have == digest(&mut master.client()), "after {point} bytes of a sync");
    }
    wait_in_sync(&master, &slave);
}

/// The link is cut at odd places of the stream while writes go on: each time the slave continues where it was.
#[test]
fn short_cuts_cost_a_partial_resync_each() {
    short_cuts(&Daemon::replikant(&["--repl-backlog-size", "64mb"]), &Daemon::replikant(&[]));
}

#[test]
fn short_cuts_between_ours_and_a_real_slave() {
    short_cuts(&Daemon::replikant(&["--repl-backlog-size", "64mb"]), &Daemon::redis(Peer::V7, &[]));
}

#[test]
fn short_cuts_between_a_real_master_and_ours() {
    short_cuts(&Daemon::redis(Peer::V7, &["--repl-backlog-size", "64mb"]), &Daemon::replikant(&[]));
}

fn short_cuts(master: &Daemon, slave: &Daemon) {
    let mut client = master.client();
    let link = Link::to(master.port);
    fill(&mut client, "key", 500);
    replicate(slave, link.port);
    wait_in_sync(master, slave);
    let (full, partial) = (info_u64(&mut client, "sync_full"), info_u64(&mut client, "sync_partial_ok"));
    let rounds = [1, 13, 22, 37, 100, 1001, 4999, 20_011];
    for (round, bytes) in (1..).zip(rounds) {
        let before = link.cuts();
        link.cut_after(Direction::Down, bytes);
        churn(&mut client, round, 2000);
        wait_for(SOON, "the cut", || (link.cuts() > before).then_some(()));
        wait_in_sync(master, slave);
        assert_eq!(info_u64(&mut client, "sync_full"), full, "a cut after {bytes} bytes of the stream led to a full sync");
        assert_eq!(info_u64(&mut client, "sync_partial_ok"), partial + round);
    }
}

/// Cuts at places that only chance decides, in full syncs and in the stream, while writes go on: nothing is lost, nothing is applied twice.
fn breaks_under_writes(master: &Daemon, slave: &Daemon) {
    let mut client = master.client();
    fill(&mut client, "key", 5000);
    let link = Link::to(master.port);
    let (port, done) = (master.port, Arc::new(AtomicBool::new(false)));
    let until = done.clone();
    let writer = std::thread::spawn(move || {
        let mut client = Client::connect(port);
        for seed in 1.. {
            churn(&mut client, seed, 500);
            if until.load(Ordering::SeqCst) {
                return;
            }
        }
    });
    replicate(slave, link.port);
    // From a few bytes to more than a snapshot; each follows from the one before.
    let mut bytes = 17;
    for cut in 1..=25 {
        link.cut_after(Direction::Down, bytes);
        wait_for(SOON, &format!("cut {cut} after {bytes} bytes"), || (link.cuts() >= cut).then_some(()));
        bytes = bytes * 7919 % 600_011;
    }
    done.store(true, Ordering::SeqCst);
    writer.join().expect("writing");
    wait_in_sync(master, slave);
}

#[test]
fn breaks_under_writes_between_ours() {
    breaks_under_writes(&Daemon::replikant(&[]), &Daemon::replikant(&[]));
}

#[test]
fn breaks_under_writes_between_ours_and_a_real_slave() {
    breaks_under_writes(&Daemon::replikant(&[]), &Daemon::redis(Peer::V6, &[]));
}

#[test]
fn breaks_under_writes_between_a_real_master_and_ours() {
    breaks_under_writes(&Daemon::redis(Peer::V7, &[]), &Daemon::replikant(&[]));
}

#[test]
fn a_cut_longer_than_the_backlog_costs_a_full_resync() {
    let (master, slave) = (Daemon::replikant(&["--repl-backlog-size", "16kb"]), Daemon::replikant(&[]));
    let mut client = master.client();
    let link = Link::to(master.port);
    replicate(&slave, link.port);
    wait_in_sync(&master, &slave);
    let full = info_u64(&mut client, "sync_full");
    link.refuse(true);
    link.cut();
    churn(&mut client, 9, 5000);
    link.mend();
    wait_in_sync(&master, &slave);
    assert_eq!(info_u64(&mut client, "sync_full"), full + 1);
}

/// A link that is silent but open is noticed by its time-out on both sides.
#[test]
fn a_silent_link_times_out_and_comes_back() {
    let short = ["--repl-timeout", "4", "--repl-ping-replica-period", "1"];
    let (master, slave) = (Daemon::replikant(&short), Daemon::replikant(&short));
    let mut client = master.client();
    let link = Link::to(master.port);
    replicate(&slave, link.port);
    wait_in_sync(&master, &slave);
    link.stall();
    client.ok("SET during silence");
    wait_for(SOON, "the slave to give the link up", || (!link_is_up(&mut slave.client())).then_some(()));
    wait_for(SOON, "the master to give the slave up", || (info_u64(&mut client, "connected_slaves") == 0).then_some(()));
    link.resume();
    wait_in_sync(&master, &slave);
    assert_eq!(slave.client().run("GET during"), Value::bulk("silence"));
}

/// A slave that stops reading while writes go on is dropped at its output limit, and comes back; the master's clients do not wait for it.
#[test]
fn a_slave_that_does_not_read_is_dropped_at_its_limit() {
    let args = ["--client-output-buffer-limit", "replica 4mb 0 0", "--repl-backlog-size", "1mb"];
    let (master, slave) = (Daemon::replikant(&args), Daemon::replikant(&[]));
    let mut client = master.client();
    let link = Link::to(master.port);
    replicate(&slave, link.port);
    wait_in_sync(&master, &slave);
    link.stall();
    client.patience(Duration::from_secs(10)).unwrap();
    let value = vec![b'x'; 64 * 1024];
    for _ in 0..400 {
        assert_eq!(client.command(&[b"SET".as_slice(), b"big", &value]), Value::ok());
    }
    wait_for(SOON, "the slave to be dropped", || (info_u64(&mut client, "connected_slaves") == 0).then_some(()));
    link.cut();
    link.resume();
    wait_in_sync(&master, &slave);
    assert!(offset(&mut client) > 400 * 64 * 1024);
}

/// Slaves come and go all the time, so that snapshots end while others begin: each gets its own whole, and at once.
#[test]
fn syncs_that_end_while_others_begin_all_come_to_their_end() {
    let master = Daemon::replikant(&[]);
    fill(&mut master.client(), "key", 50);
    let port = master.port;
    let takers: Vec<_> = (0..6)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..60 {
                    drop(StreamTap::attach(port));
                }
            })
        })
        .collect();
    takers.into_iter().for_each(|taker| taker.join().expect("taking snapshots"));
}

/// What a hundred slaves have not been sent yet is kept once.
#[test]
fn a_hundred_slaves_that_are_behind_share_what_is_kept_for_them() {
    const SLAVES: usize = 100;
    const VALUE: usize = 64 << 10;
    const WRITES: usize = 150;
    let master = Daemon::replikant(&["--repl-backlog-size", "1mb", "--client-output-buffer-limit", "replica 0 0 0"]);
    let mut client = master.client();
    let mut taps = vec![StreamTap::attach(master.port)];
    let place = (taps[0].replid.clone(), taps[0].offset + 1);
    for _ in 1..SLAVES {
        taps.push(StreamTap::with(master.port, TapOptions { continue_from: Some(place.clone()), ..TapOptions::default() }));
    }
    wait_for(SOON, "all slaves", || (info_u64(&mut client, "connected_slaves") == SLAVES as u64).then_some(()));
    let (start, before) = (offset(&mut client), rss(master.pid()));
    for number in 0..WRITES {
        let value = vec![b'a' + (number % 26) as u8; VALUE];
        assert_eq!(client.command(&[b"SET".as_slice(), b"key", &value]), Value::ok());
    }
    let (written, grown) = ((offset(&mut client) - start) as usize, rss(master.pid()).saturating_sub(before));
    assert!(written >= WRITES * VALUE);
    // Each has some hundred KB in the kernel's buffers at the most, the rest is kept here, and with a copy for each it would be sixty times this.
    assert!(grown < 2 * written as u64, "{grown} bytes for a stream of {written}");
    let sent = taps[0].bytes(written);
    for tap in &mut taps[1..] {
        assert!(tap.bytes(written) == sent, "all are sent the same");
    }
}
