//! `repl-diskless-load`: where a slave puts its master's snapshot, which files that leaves, and what clients see meanwhile.

use crate::support::data::fill;
use crate::support::{Daemon, Peer, SOON, Value, digest, info, info_u64, replicate, wait_for, wait_in_sync};

fn dump_files(server: &Daemon) -> Vec<String> {
    let names = std::fs::read_dir(server.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".rdb")).collect()
}

/// As 7.0.15 leaves it in each of these modes.
#[test]
fn the_snapshot_becomes_the_dump_file_where_it_goes_through_one() {
    let old = include_bytes!("../../fuzz/corpus/rdb/redis-7.0");
    for (args, file) in [
        (&["--repl-diskless-load", "disabled"][..], "new"),
        (&["--repl-diskless-load", "swapdb"], "old"),
        (&["--repl-diskless-load", "on-empty-db"], "new"),
        (&["--repl-diskless-load", "swapdb", "--rdb-del-sync-files", "yes"], "old"),
        (&["--rdb-del-sync-files", "yes"], "none"),
        (&["--rdb-del-sync-files", "yes", "--save", "3600 1"], "new"),
        (&["--repl-diskless-load", "flush-before-load"], "new"),
    ] {
        for master in [Daemon::replikant(&[]), Daemon::redis(Peer::V7, &["--repl-diskless-sync", "no"])] {
            fill(&mut master.client(), "key", 400);
            let mut slave = Daemon::prepared(crate::support::Kind::under_test(), args, |dir| std::fs::write(dir.join("dump.rdb"), old).unwrap());
            replicate(&slave, master.port);
            let expected = wait_in_sync(&master, &slave);
            let changes = info_u64(&mut slave.client(), "rdb_changes_since_last_save");
            let wanted: &[&str] = if file == "none" { &[] } else { &["dump.rdb"] };
            wait_for(SOON, &format!("the files of {args:?}"), || (dump_files(&slave) == wanted).then_some(()));
            assert_eq!(changes, u64::from(file == "old"), "{args:?}");
            if file == "none" {
                continue;
            }
            slave.kill();
            if file == "old" {
                assert_eq!(std::fs::read(slave.dir().join("dump.rdb")).unwrap(), old);
                continue;
            }
            // What was received is whole, and the slave can go on from it.
            let full = info_u64(&mut master.client(), "sync_full");
            let port = master.port.to_string();
            slave.start_again_with(&["--replicaof", "127.0.0.1", &port]);
            assert_eq!(wait_in_sync(&master, &slave), expected);
            assert_eq!(info_u64(&mut master.client(), "sync_full"), full, "{args:?} continues from its file");
        }
    }
}

/// Old and new data don't fit together: the file is verified before the old data goes.
#[test]
fn two_data_sets_that_do_not_fit_are_held_one_after_the_other() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    let values = |prefix: &str, count: usize| -> Vec<Vec<Vec<u8>>> {
        (0..count).map(|n| vec![b"SET".to_vec(), format!("{prefix}:{n}").into_bytes(), vec![b'x'; 1000]]).collect()
    };
    client.pipeline(&values("key", 8000));
    let former = Daemon::replikant(&[]);
    former.client().pipeline(&values("old", 6000));
    let slave = Daemon::replikant(&["--maxmemory", "11mb"]);
    replicate(&slave, former.port);
    wait_in_sync(&former, &slave);
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    let log = slave.log();
    assert!(log.contains("don't fit maxmemory together") && log.contains("Flushing old data"), "{log}");
    let mut at_slave = slave.client();
    assert_eq!(digest(&mut at_slave), digest(&mut client));
    assert_eq!(info(&mut at_slave, "loading").unwrap(), "0");
    client.ok("SET after 1");
    wait_for(SOON, "the stream", || (at_slave.run("GET after") == Value::bulk("1")).then_some(()));
    assert_eq!(dump_files(&slave), ["dump.rdb"]);
}

#[test]
fn a_folder_that_takes_no_files_does_not_hold_a_sync_up() {
    let master = Daemon::replikant(&[]);
    fill(&mut master.client(), "key", 300);
    for mode in ["disabled", "flush-before-load"] {
        let slave = Daemon::replikant(&["--enable-protected-configs", "yes", "--repl-diskless-load", mode]);
        let mut client = slave.client();
        client.ok("SET old 1");
        let gone = slave.dir().join("gone");
        std::fs::create_dir(&gone).unwrap();
        client.ok(&format!("CONFIG SET dir {}", gone.display()));
        std::fs::remove_dir(&gone).unwrap();
        replicate(&slave, master.port);
        if mode == "disabled" {
            wait_in_sync(&master, &slave);
            assert!(slave.log().contains("does not become the dump file"), "{}", slave.log());
        } else {
            let error = wait_for(SOON, "INFO to tell", || info(&mut client, "master_last_error").filter(|error| !error.is_empty()));
            assert!(error.contains("can't be written to a file"), "{error}");
            assert_eq!(client.run("GET old"), Value::bulk("1"));
        }
    }
}
