//! A master that was stopped cleanly goes on with its history from its file, so that its slaves, ours and real ones, need no new copy.

use crate::support::data::{churn, fill};
use crate::support::{Daemon, Kind, Peer, SOON, Value, info, info_u64, replicate, wait_for, wait_in_sync};

const KEEPING: [&str; 4] = ["--save", "3600 1000000", "--repl-diskless-sync-delay", "0"];

/// Slaves of a master that restarts, while a key expires that they all have.
fn restart(mut master: Daemon, slaves: &[Daemon]) {
    for slave in slaves {
        replicate(slave, master.port);
        wait_in_sync(&master, slave);
    }
    let mut client = master.client();
    fill(&mut client, "old", 500);
    client.ok("SELECT 7");
    client.ok("SET soon gone PX 1");
    client.ok("SET number 1");
    let replid = info(&mut client, "master_replid").unwrap();
    master.terminate();
    master.start_again();
    let mut client =
        wait_for(SOON, "the data to be loaded", || Some(master.client()).filter(|_| info(&mut master.client(), "loading").unwrap() == "0"));
    assert_eq!(info(&mut client, "master_replid2").unwrap(), replid);
    client.ok("SELECT 7");
    assert_eq!(client.run("INCR number"), Value::Int(2));
    churn(&mut client, 3, 500);
    for slave in slaves {
        wait_in_sync(&master, slave);
        assert_eq!(info(&mut slave.client(), "master_replid2").unwrap(), replid, "{}", slave.kind.name());
    }
    let counts = ["sync_full", "sync_partial_ok", "sync_partial_err"].map(|field| info_u64(&mut client, field));
    assert_eq!(counts, [0, slaves.len() as u64, 0], "{}", master.log());
    assert_eq!(client.run("EXISTS soon"), Value::Int(0));
}

#[test]
fn slaves_of_ours_continue_after_its_clean_restart() {
    let slaves = [Kind::Ours, Kind::Real(Peer::V7), Kind::Real(Peer::V8), Kind::Real(Peer::Valkey)].map(|kind| Daemon::start(kind, &[]));
    restart(Daemon::replikant(&KEEPING), &slaves);
}

#[test]
fn ours_continues_after_the_clean_restart_of_a_real_master() {
    restart(Daemon::redis(Peer::V7, &KEEPING), &[Daemon::replikant(&[])]);
}

/// The file is older than what the slave has: only a whole copy brings both together.
#[test]
fn a_slave_that_is_ahead_of_its_master_s_file_starts_over() {
    let (mut master, slave) = (Daemon::replikant(&KEEPING), Daemon::replikant(&[]));
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    let mut client = master.client();
    fill(&mut client, "old", 500);
    client.ok("SAVE");
    client.ok("SET lost 1");
    wait_in_sync(&master, &slave);
    master.kill();
    master.start_again();
    let mut client = master.client();
    wait_in_sync(&master, &slave);
    assert_eq!((info_u64(&mut client, "sync_full"), info_u64(&mut client, "sync_partial_ok")), (1, 0));
    assert_eq!(slave.client().run("EXISTS lost"), Value::Int(0));
}
