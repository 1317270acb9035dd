//! A master that is told to go lets its slaves have the last of the stream: what it says meanwhile, whom it waits for and how long, beside real servers.

use std::time::Instant;

use crate::support::process::signal;
use crate::support::tap::{StreamTap, TapOptions};
use crate::support::{Client, Daemon, Kind, Peer, SOON, Value, info, info_u64, replicate, wait_for, wait_in_sync, wait_link_up};

/// A slave that is online and acknowledges nothing more, and a write that it never acknowledges.
fn silent_slave(master: &Daemon) -> StreamTap {
    let tap = StreamTap::with(master.port, TapOptions { listening_port: 7, ..TapOptions::default() });
    let mut client = master.client();
    wait_for(SOON, "the slave to be online", || info(&mut client, "slave0")?.contains("state=online").then_some(()));
    client.ok("SET unseen 1");
    tap
}

/// Sends a line whose reply is read later.
fn said(server: &Daemon, line: &str) -> Client {
    let mut client = server.client();
    client.send(format!("{line}\r\n").as_bytes()).expect("sending a line");
    client
}

/// Says SHUTDOWN and returns once the server waits.
fn shutting_down(server: &Daemon, line: &str) -> Client {
    let client = said(server, line);
    wait_for(SOON, "the server to wait for slaves", || info(&mut server.client(), "shutdown_in_milliseconds"));
    client
}

/// The line of CLIENT LIST of the client that says this last.
fn listed(client: &mut Client, command: &str) -> Option<String> {
    let list = client.run("CLIENT LIST").text();
    list.lines().find(|line| line.contains(&format!("cmd={command} "))).map(str::to_owned)
}

/// The lines about slaves that the server logs when it goes, without numbers that differ.
fn last_words(server: &Daemon) -> Vec<String> {
    let log = server.log();
    let words = ["User requested", "Waiting for replicas", "Lagging replica", "in sync when", "manually aborted"];
    let told = log.lines().filter_map(|line| words.iter().find_map(|word| line.find(word).map(|at| (line, word, at))));
    told.map(|(line, word, at)| match *word {
        "in sync when" => line[at.saturating_sub("0 of 1 replicas are ".len())..].to_owned(),
        "Lagging replica" => line[at..].split(" reported offset ").next().unwrap_or_default().to_owned(),
        _ => line[at..].to_owned(),
    })
    .collect()
}

/// Every reply on the way through a shutdown that is aborted, and what is logged.
fn aborted(kind: Kind) -> Vec<String> {
    let master = Daemon::start(kind, &[]);
    let mut client = master.client();
    let mut replies = Vec::new();
    for line in ["SHUTDOWN ABORT", "SHUTDOWN abort ABORT", "SHUTDOWN ABORT NOW", "SHUTDOWN SAVE NOSAVE", "SHUTDOWN NOW FORCE x", "MULTI", "SHUTDOWN"]
    {
        replies.push(format!("{line}: {:?}", client.run(line)));
    }
    client.run("DISCARD");
    let _tap = silent_slave(&master);
    let mut first = shutting_down(&master, "SHUTDOWN");
    let flags = |line: String| line.split(' ').find(|word| word.starts_with("flags=")).map(str::to_owned);
    replies.push(format!("{:?}", listed(&mut client, "shutdown").and_then(flags)));
    replies.push(format!("blocked {:?}", info(&mut client, "blocked_clients")));
    let mut others = ["SET a 1", "PUBLISH a 1", "SHUTDOWN NOW", "SHUTDOWN SAVE"].map(|line| said(&master, line));
    wait_for(SOON, "all to wait", || {
        let list = client.run("CLIENT LIST").text();
        (["set", "publish"].iter().all(|word| list.contains(&format!("cmd={word}"))) && list.matches("cmd=shutdown").count() == 3).then_some(())
    });
    for line in ["GET unseen", "CLIENT UNPAUSE", "CONFIG SET shutdown-timeout 0", "CONFIG SET shutdown-timeout 10", "EVAL_RO return(1) 0", "GET a"] {
        replies.push(format!("{line}: {:?}", client.run(line)));
    }
    replies.push(format!("abort: {:?}", client.run("SHUTDOWN ABORT")));
    replies.push(format!("first: {:?}", first.reply()));
    replies.extend(others.iter_mut().map(|other| format!("other: {:?}", other.reply())));
    replies.push(format!("{:?}", info(&mut client, "shutdown_in_milliseconds")));
    for line in ["SHUTDOWN ABORT", "SET b 1", "GET a"] {
        replies.push(format!("{line}: {:?}", client.run(line)));
    }
    replies.extend(last_words(&master));
    replies
}

#[test]
fn a_shutdown_that_waits_says_what_redis_says() {
    let ours = aborted(Kind::under_test());
    for peer in [Peer::V7, Peer::V8] {
        assert_eq!(ours, aborted(Kind::Real(peer)), "beside {}", peer.name());
    }
}

/// The exit code, whether the clients that wait are closed, and the log.
fn too_long(kind: Kind) -> (Option<i32>, bool, Vec<String>) {
    let mut master = Daemon::start(kind, &["--shutdown-timeout", "1"]);
    let _tap = silent_slave(&master);
    let mut blocked = said(&master, "BLPOP q 0");
    let mut first = shutting_down(&master, "SHUTDOWN");
    let mut writer = said(&master, "SET a 1");
    let status = master.wait_for_exit();
    let closed = [&mut blocked, &mut first, &mut writer].into_iter().all(Client::closed_by_server);
    (status.code(), closed, last_words(&master))
}

#[test]
fn a_slave_that_never_catches_up_is_waited_for_as_long_as_the_directive_says() {
    let ours = too_long(Kind::under_test());
    assert!(ours.2.contains(&"0 of 1 replicas are in sync when shutting down.".to_owned()), "{:?}", ours.2);
    for peer in [Peer::V7, Peer::V8] {
        assert_eq!(ours, too_long(Kind::Real(peer)), "beside {}", peer.name());
    }
}

/// A slave that is stopped while its master is told to go, and then goes on.
fn catches_up(master: Kind, slave: Kind, stop: impl Fn(&Daemon)) {
    let mut master = Daemon::start(master, &["--shutdown-timeout", "600"]);
    let slave = Daemon::start(slave, &[]);
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    signal(slave.pid(), libc::SIGSTOP);
    for n in 0..100 {
        master.client().ok(&format!("SET last:{n} {n}"));
    }
    stop(&master);
    wait_for(SOON, "the master to wait", || info(&mut master.client(), "shutdown_in_milliseconds"));
    signal(slave.pid(), libc::SIGCONT);
    let status = master.wait_for_exit();
    assert!(status.success(), "{}", master.log());
    assert_eq!(last_words(&master).last().map(String::as_str), Some("1 of 1 replicas are in sync when shutting down."));
    assert_eq!(slave.client().run("GET last:99"), Value::bulk("99"));
}

#[test]
fn a_slave_that_stood_still_has_everything_when_its_master_has_gone() {
    let ours = Kind::under_test();
    for slave in [ours, Kind::Real(Peer::V7)] {
        catches_up(ours, slave, |master| drop(said(master, "SHUTDOWN")));
    }
    catches_up(ours, Kind::Real(Peer::V8), |master| signal(master.pid(), libc::SIGTERM));
    catches_up(Kind::Real(Peer::V7), ours, |master| drop(said(master, "SHUTDOWN")));
}

/// Nobody waits for the second in which slaves acknowledge by themselves: they are asked.
#[test]
fn a_slave_that_is_at_hand_delays_nothing() {
    let mut master = Daemon::replikant(&["--shutdown-timeout", "600", "--save", "1000 1000"]);
    let slave = Daemon::replikant(&[]);
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    for round in 0..3 {
        master.client().ok(&format!("SET round {round}"));
        let from = Instant::now();
        assert!(master.terminate().success());
        println!("stopped after {:?}", from.elapsed());
        assert_eq!(last_words(&master).last().map(String::as_str), Some("1 of 1 replicas are in sync when shutting down."));
        assert_eq!(slave.client().run("GET round"), Value::bulk(round.to_string()));
        master.start_again();
        wait_link_up(&slave);
        wait_in_sync(&master, &slave);
        assert_eq!(info_u64(&mut master.client(), "sync_full"), 0, "what asks is part of the history that both have");
    }
}

#[test]
fn nobody_is_waited_for_when_told_so() {
    for (args, line) in [(&[][..], "SHUTDOWN NOW"), (&["--shutdown-timeout", "0"], "SHUTDOWN")] {
        let mut master = Daemon::replikant(args);
        let _tap = silent_slave(&master);
        said(&master, line);
        assert!(master.wait_for_exit().success());
        assert!(!last_words(&master).iter().any(|line| line.starts_with("Waiting")), "{}", master.log());
    }
}

#[test]
fn a_slave_that_dies_is_not_waited_for_any_more() {
    let mut master = Daemon::replikant(&["--shutdown-timeout", "600"]);
    let tap = silent_slave(&master);
    shutting_down(&master, "SHUTDOWN");
    drop(tap);
    assert!(master.wait_for_exit().success());
}

/// A directory in the place of the dump file: it can't be replaced.
#[test]
fn a_node_that_can_not_save_goes_on_unless_forced() {
    let mut master = Daemon::replikant(&["--shutdown-timeout", "1", "--save", "1000 1000", "--dbfilename", "taken"]);
    std::fs::create_dir_all(master.dir().join("taken/inside")).expect("making a directory");
    let _tap = silent_slave(&master);
    let mut first = shutting_down(&master, "SHUTDOWN");
    let mut writer = said(&master, "SET a 1");
    assert_eq!(first.reply().expect("a reply"), Value::Error("ERR Errors trying to SHUTDOWN. Check logs.".to_owned()));
    assert_eq!(writer.reply().expect("a reply"), Value::ok());
    assert_eq!(info(&mut first, "shutdown_in_milliseconds"), None);
    said(&master, "SHUTDOWN FORCE");
    assert!(master.wait_for_exit().success());
}

#[test]
fn signals_wait_as_the_command_does() {
    let mut master = Daemon::replikant(&["--shutdown-timeout", "600"]);
    let _tap = silent_slave(&master);
    let mut client = master.client();
    for number in [libc::SIGTERM, libc::SIGINT] {
        signal(master.pid(), number);
        wait_for(SOON, "the master to wait", || info(&mut client, "shutdown_in_milliseconds"));
        client.ok("SHUTDOWN ABORT");
        client.ok("SET a 1");
    }
    signal(master.pid(), libc::SIGTERM);
    wait_for(SOON, "the master to wait", || info(&mut client, "shutdown_in_milliseconds"));
    signal(master.pid(), libc::SIGINT);
    assert_eq!(master.wait_for_exit().code(), Some(1), "who insists is not kept waiting");
}

/// A slave that goes lets its own slaves have what it has; it takes no more from its master meanwhile, as Redis.
#[test]
fn a_slave_in_the_middle_waits_for_its_own_slaves() {
    for kind in [Kind::under_test(), Kind::Real(Peer::V7)] {
        let master = Daemon::replikant(&[]);
        let mut middle = Daemon::start(kind, &["--shutdown-timeout", "600"]);
        let leaf = Daemon::replikant(&[]);
        replicate(&middle, master.port);
        wait_in_sync(&master, &middle);
        replicate(&leaf, middle.port);
        wait_in_sync(&master, &leaf);
        signal(leaf.pid(), libc::SIGSTOP);
        let mut client = master.client();
        client.ok("SET first 1");
        wait_in_sync(&master, &middle);
        shutting_down(&middle, "SHUTDOWN");
        let before = info_u64(&mut middle.client(), "slave_repl_offset");
        client.ok("SET second 1");
        assert_eq!(middle.client().run("GET second"), Value::Nil);
        assert_eq!(info_u64(&mut middle.client(), "slave_repl_offset"), before);
        signal(leaf.pid(), libc::SIGCONT);
        assert!(middle.wait_for_exit().success());
        assert_eq!(leaf.client().run("GET first"), Value::bulk("1"), "behind {}", kind.name());
    }
}
