//! What is written while a slave can't take it: in memory up to a bound, then in files, and only when those have no room the slave is given up.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::data::fill;
use crate::support::tap::StreamTap;
use crate::support::{Client, Daemon, Direction, LATER, Link, Value, info, info_u64, replicate, wait_for, wait_in_sync};

const VALUE_BYTES: usize = 64 * 1024;

/// Writes so many values of 64 KiB, to a few keys.
fn write(client: &mut Client, count: usize) {
    client.patience(Duration::from_secs(20)).unwrap();
    for number in 0..count {
        let value = vec![b'a' + (number % 26) as u8; VALUE_BYTES];
        assert_eq!(client.command(&[b"SET".as_slice(), format!("big:{}", number % 7).as_bytes(), &value]), Value::ok());
    }
}

fn spill_files(master: &Daemon) -> usize {
    let names = fs::read_dir(master.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("temp-")).count()
}

/// The temporary files that the server has open. A file that is gone has another name there.
fn open_files(server: &Daemon) -> Vec<PathBuf> {
    let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let paths = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("temp-"))).collect()
}

/// A slave whose sync has begun and gets no further.
fn stalled_sync(master: &Daemon, slave: &Daemon) -> Link {
    fill(&mut master.client(), "old", 20_000);
    let link = Link::to(master.port);
    replicate(slave, link.port);
    wait_for(LATER, "some of the snapshot", || (link.passed(Direction::Down) > 20_000).then_some(()));
    link.stall();
    link
}

#[test]
fn what_is_written_during_a_sync_is_spilled_and_sent_when_the_link_takes_it() {
    let limit = ["--client-output-buffer-limit", "replica 1mb 1mb 1", "--repl-backlog-size", "64kb", "--repl-spill-memory", "1mb"];
    let (master, slave) = (Daemon::replikant(&limit), Daemon::replikant(&[]));
    let link = stalled_sync(&master, &slave);
    let mut client = master.client();
    // More than each of the limits, and than sockets hold.
    write(&mut client, 800);
    let spilled = wait_for(LATER, "the rest to be spilled", || {
        let spilled = info_u64(&mut client, "repl_spilled_bytes");
        (info_u64(&mut client, "mem_total_replication_buffers") < 2 << 20).then_some(spilled)
    });
    assert!(spilled > 20 << 20, "{spilled}");
    assert!(spill_files(&master) > 1);
    assert_eq!(info_u64(&mut client, "connected_slaves"), 1);
    link.resume();
    wait_in_sync(&master, &slave);
    assert_eq!((info_u64(&mut client, "sync_full"), info_u64(&mut client, "sync_partial_ok")), (1, 0));
    wait_for(LATER, "the files to go", || (spill_files(&master) == 0).then_some(()));
    assert_eq!(info_u64(&mut client, "repl_spilled_bytes"), 0);
}

/// Two slaves, one of which is slow: the other is sent from memory meanwhile, and both end alike.
#[test]
fn a_slow_slave_does_not_hold_up_another() {
    let limit = ["--repl-backlog-size", "64kb", "--repl-spill-memory", "1mb"];
    let (master, slow, quick) = (Daemon::replikant(&limit), Daemon::replikant(&[]), Daemon::replikant(&[]));
    let link = stalled_sync(&master, &slow);
    replicate(&quick, master.port);
    wait_in_sync(&master, &quick);
    write(&mut master.client(), 300);
    wait_in_sync(&master, &quick);
    assert!(info_u64(&mut master.client(), "repl_spilled_bytes") > 1 << 20);
    link.resume();
    wait_in_sync(&master, &slow);
    assert_eq!(info_u64(&mut master.client(), "sync_full"), 2);
}

fn given_up(master: &Daemon, slave: &Daemon, link: &Link, reason: &str) {
    let mut client = master.client();
    wait_for(LATER, "the slave to be given up", || (info_u64(&mut client, "repl_spill_aborts") > 0).then_some(()));
    assert_eq!(info(&mut client, "repl_spill_last_abort").unwrap(), reason);
    link.resume();
    wait_in_sync(master, slave);
    assert!(info_u64(&mut client, "sync_full") >= 2);
}

#[test]
fn a_spill_that_may_not_grow_gives_the_slave_up_and_says_why() {
    let limit = ["--repl-backlog-size", "64kb", "--repl-spill-memory", "1mb", "--repl-spill-disk-max", "2mb"];
    let (master, slave) = (Daemon::replikant(&limit), Daemon::replikant(&[]));
    let link = stalled_sync(&master, &slave);
    write(&mut master.client(), 900);
    given_up(&master, &slave, &link, "spill-disk-max");
    assert!(master.log().contains("spill-disk-max"), "{}", master.log());
}

#[test]
fn without_a_disk_the_slave_is_given_up_at_the_bound_of_memory() {
    let args = ["--repl-backlog-size", "64kb", "--repl-spill-memory", "1mb", "--enable-protected-configs", "yes"];
    let (master, slave) = (Daemon::replikant(&args), Daemon::replikant(&[]));
    let link = stalled_sync(&master, &slave);
    fs::remove_dir_all(master.dir()).unwrap();
    write(&mut master.client(), 900);
    // Without a directory no snapshot can be made either.
    fs::create_dir(master.dir()).unwrap();
    assert!(master.client().command(&["CONFIG", "SET", "dir", master.dir().to_str().unwrap()]).text().contains("OK"));
    given_up(&master, &slave, &link, "spill-disk-failed");
}

/// A master that is killed in the middle of a sync leaves its files; the next one in that directory removes them, and no other's.
#[test]
fn what_a_killed_master_left_goes_when_one_starts_there_again() {
    let limit = ["--repl-backlog-size", "64kb", "--repl-spill-memory", "1mb"];
    let (mut master, slave, other_slave) = (Daemon::replikant(&limit), Daemon::replikant(&[]), Daemon::replikant(&[]));
    let dir = master.dir().to_str().unwrap().to_owned();
    let lives = Daemon::replikant(&[&limit[..], &["--dir", &dir, "--dbfilename", "other.rdb"]].concat());
    let link = stalled_sync(&master, &slave);
    let live_link = stalled_sync(&lives, &other_slave);
    write(&mut lives.client(), 800);
    write(&mut master.client(), 800);
    fs::write(master.dir().join("temp-4711.rdb"), b"of a Redis").unwrap();
    let left = open_files(&master);
    master.kill();
    assert!(left.len() > 1 && left.iter().all(|path| path.exists()), "{left:?}");
    master.start_again();
    let remaining: Vec<_> = left.iter().filter(|path| path.exists()).collect();
    assert!(remaining.is_empty(), "{remaining:?} of {left:?}");
    assert!(master.log().contains("Removed temporary files of a process that has ended"), "{}", master.log());
    let of_live_one = open_files(&lives);
    assert!(of_live_one.len() > 1 && of_live_one.iter().all(|path| path.exists()), "{of_live_one:?}");
    assert!(master.dir().join("temp-4711.rdb").exists());
    live_link.resume();
    wait_in_sync(&lives, &other_slave);
    assert_eq!(info_u64(&mut lives.client(), "sync_full"), 1);
    drop(link);
}

/// What the stream takes in memory with so many slaves, none of which reads it: of all buffers, of the backlog's part, and of the server in all.
fn memory_with(slaves: usize) -> [u64; 3] {
    let master = Daemon::replikant(&["--repl-backlog-size", "4mb"]);
    let mut client = master.client();
    let taps: Vec<StreamTap> = (0..slaves).map(|_| StreamTap::attach(master.port)).collect();
    write(&mut client, 200);
    assert_eq!((info_u64(&mut client, "connected_slaves"), taps.len()), (slaves as u64, slaves));
    assert!(info_u64(&mut client, "repl_backlog_histlen") >= 4 << 20);
    assert_eq!(info_u64(&mut client, "mem_replica_full_sync_buffer"), 0);
    ["mem_total_replication_buffers", "mem_replication_backlog", "used_memory"].map(|field| info_u64(&mut client, field))
}

#[test]
fn a_hundred_slaves_share_one_backlog() {
    let (one, many) = (memory_with(1), memory_with(100));
    assert_eq!(one[1], 4 << 20);
    for (field, (one, many)) in one.into_iter().zip(many).enumerate() {
        // Each connection has small buffers of its own.
        assert!(many < one + (2 << 20), "{field}: {one} with one slave, {many} with a hundred");
    }
}
