//! Files: who writes them and who does not, and that every server loads what another wrote.

use std::path::Path;

use crate::support::data::{assert_same_ttls, fill};
use crate::support::sync::digest_when_loaded;
use crate::support::{Daemon, Kind, Peer, SOON, Value, digest, info, info_u64, replicate, wait_for, wait_in_sync};

fn rdb_files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| !name.starts_with("log.")).collect()
}

/// Starts a server of this kind on another's file.
fn started_from(kind: Kind, file: &Path) -> Daemon {
    Daemon::prepared(kind, &[], |dir| {
        std::fs::copy(file, dir.join("dump.rdb")).unwrap();
    })
}

#[test]
fn the_master_writes_nothing_and_the_slave_saves_everything() {
    let (mut master, mut slave) = (Daemon::replikant(&[]), Daemon::replikant(&["--save", "1 1"]));
    fill(&mut master.client(), "key", 2000);
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    let saved_before = info_u64(&mut slave.client(), "rdb_last_save_time");
    fill(&mut master.client(), "more", 100);
    let expected = wait_in_sync(&master, &slave);

    let mut client = slave.client();
    wait_for(SOON, "the slave's save point", || (info_u64(&mut client, "rdb_last_save_time") > saved_before).then_some(()));
    wait_for(SOON, "a save with all changes", || {
        let idle = info(&mut client, "rdb_bgsave_in_progress").unwrap() == "0";
        (idle && info_u64(&mut client, "rdb_changes_since_last_save") == 0).then_some(())
    });
    assert_eq!(info(&mut client, "rdb_last_bgsave_status").unwrap(), "ok");
    assert!(master.terminate().success());
    assert_eq!(rdb_files(master.dir()), Vec::<String>::new(), "a master with `save \"\"` leaves no file");
    slave.kill();
    assert_eq!(rdb_files(slave.dir()), ["dump.rdb"]);

    let file = slave.dir().join("dump.rdb");
    let ours = started_from(Kind::under_test(), &file);
    assert_eq!(digest_when_loaded(&ours), expected);
    for peer in Peer::ALL {
        let real = started_from(Kind::Real(peer), &file);
        assert_eq!(digest_when_loaded(&real), expected, "{} on our file", peer.name());
        assert_same_ttls(&mut ours.client(), &mut real.client());
    }
}

#[test]
fn ours_loads_the_files_of_real_servers() {
    for peer in Peer::ALL {
        let mut real = Daemon::redis(peer, &[]);
        fill(&mut real.client(), "key", 2000);
        let expected = digest(&mut real.client());
        real.client().ok("SAVE");
        let ours = started_from(Kind::under_test(), &real.dir().join("dump.rdb"));
        assert_eq!(digest_when_loaded(&ours), expected, "the file of {}", peer.name());
        assert_same_ttls(&mut real.client(), &mut ours.client());
        real.kill();
    }
}

#[test]
fn save_and_bgsave_survive_a_crash() {
    for command in ["SAVE", "BGSAVE"] {
        let mut server = Daemon::replikant(&[]);
        let mut client = server.client();
        fill(&mut client, "key", 1000);
        let expected = digest(&mut client);
        let before = client.run("LASTSAVE").int();
        let reply = client.run(command);
        assert!(matches!(reply, Value::Simple(_)), "{reply:?}");
        wait_for(SOON, "the save", || (info(&mut client, "rdb_bgsave_in_progress").unwrap() == "0").then_some(()));
        assert_eq!(info(&mut client, "rdb_last_bgsave_status").unwrap(), "ok");
        assert!(client.run("LASTSAVE").int() >= before);
        client.ok("SET lost yes");
        server.kill();
        server.start_again();
        assert_eq!(digest_when_loaded(&server), expected, "{command}");
        assert_eq!(server.client().run("EXISTS lost"), Value::Int(0));
    }
}

#[test]
fn a_stop_saves_if_there_are_save_points() {
    let mut server = Daemon::replikant(&["--save", "3600 1"]);
    fill(&mut server.client(), "key", 300);
    let expected = digest(&mut server.client());
    assert!(server.terminate().success());
    assert_eq!(rdb_files(server.dir()), ["dump.rdb"]);
    server.start_again();
    assert_eq!(digest_when_loaded(&server), expected);
}

/// A damaged file must not come up as an empty server.
#[test]
fn a_damaged_file_stops_the_start() {
    let mut server = Daemon::replikant(&[]);
    fill(&mut server.client(), "key", 300);
    server.client().ok("SAVE");
    server.kill();
    let whole = std::fs::read(server.dir().join("dump.rdb")).unwrap();
    let half = &whole[..whole.len() / 2];
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x40;
    for bytes in [half, &flipped] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dump.rdb"), bytes).unwrap();
        let args = ["--port", "0", "--save", "", "--unixsocket", "server.sock", "--dir", dir.path().to_str().unwrap()];
        let (status, output) = crate::support::daemon::run_to_end(Kind::under_test(), &args);
        assert!(!status.success(), "{output}");
    }
}

/// A slave that restarts from its own file continues the stream where the file ends.
#[test]
fn a_restarted_slave_continues_from_its_file() {
    let master = Daemon::replikant(&[]);
    let conf = format!("slaveof 127.0.0.1 {}\nsave 3600 1\nenable-debug-command yes\n", master.port);
    let mut slave = Daemon::with_conf(Kind::under_test(), &conf, &[]);
    fill(&mut master.client(), "key", 1000);
    wait_in_sync(&master, &slave);
    slave.terminate();
    fill(&mut master.client(), "more", 100);
    let full = info_u64(&mut master.client(), "sync_full");
    slave.start_again();
    wait_in_sync(&master, &slave);
    assert_eq!(info_u64(&mut master.client(), "sync_full"), full, "a restart from a file costs a partial resync");
}

#[test]
fn an_expired_key_in_a_file_is_not_served() {
    let mut server = Daemon::replikant(&[]);
    let mut client = server.client();
    client.ok("SET gone x PX 50");
    client.ok("SET stays x");
    client.ok("SAVE");
    server.kill();
    server.start_again();
    digest_when_loaded(&server);
    let mut client = server.client();
    wait_for(SOON, "the key to expire", || (client.run("GET gone") == Value::Nil).then_some(()));
    assert_eq!(client.run("GET stays"), Value::bulk("x"));
    assert_eq!(client.run("DBSIZE"), Value::Int(1));
}
