//! MONITOR: the lines that a real Redis 8.2.3 sends, word for word but for times and addresses; on slaves, and at the bounds of output.

use replikant::types::split::split;

use crate::support::{Client, Daemon, Peer, SOON, Value, replicate, wait_for, wait_in_sync};

const SESSION: &str = r#"
ping
set a b
get
set "a\n\x01\x07\b\t\"\\" "\xe9 "
config get maxmemory
auth x
auth default x
hello 3 auth default x setname foo
select 5
multi
set q 1
incr a
monitor
exec
nosuch a
client setname bar
client list x
debug sleep 0
slowlog get
exec
wait 0 0
subscribe ch
publish ch m
reset
"#;

fn watcher(daemon: &Daemon) -> Client {
    let mut client = daemon.client();
    client.ok("MONITOR");
    client
}

/// What a watcher is told up to the command that ends the session, without times and addresses.
fn seen(watcher: &mut Client, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = watcher.reply().expect("a line").text();
        let (time, rest) = line.split_once(' ').expect("a time first");
        let (seconds, micros) = time.split_once('.').expect("a fraction");
        assert!(seconds.parse::<u64>().is_ok() && micros.len() == 6, "{line}");
        let (db, rest) = rest.split_once(' ').expect("a database");
        let (_, command) = rest.split_once("] ").expect("an address");
        if command == last {
            return lines;
        }
        lines.push(format!("{db} {command}"));
    }
}

#[test]
fn lines_are_those_of_redis() {
    let told = [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])].map(|server| {
        let (mut watcher, mut client) = (watcher(&server), server.client());
        for line in SESSION.lines().filter(|line| !line.is_empty()) {
            client.command(&split(line.as_bytes()).expect("quotes are closed"));
        }
        client.run("echo end");
        seen(&mut watcher, r#""echo" "end""#)
    });
    assert_eq!(told[0], told[1]);
    assert!(told[0].len() > 10);
}

#[test]
fn a_slave_shows_what_its_master_sends() {
    let told = [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])].map(|slave| {
        let master = Daemon::redis(Peer::V8, &[]);
        replicate(&slave, master.port);
        wait_in_sync(&master, &slave);
        let mut writer = master.client();
        let mut watcher = watcher(&slave);
        for line in ["select 3", "set a 1", "multi", "incr a", "incr b", "exec", "set end 1"] {
            writer.run(line);
        }
        let mut lines = seen(&mut watcher, r#""set" "end" "1""#);
        lines.retain(|line| !line.contains("replconf") && !line.contains("ping") && !line.contains("info"));
        lines
    });
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].len(), 6, "{:?}", told[0]);
}

#[test]
fn a_watcher_that_does_not_read_is_closed_at_its_limit() {
    let server = Daemon::replikant(&["--client-output-buffer-limit", "normal 1mb 0 0"]);
    let (mut client, mut watcher) = (server.client(), watcher(&server));
    let large = "x".repeat(100_000);
    wait_for(SOON, "the watcher to go", || {
        client.command(&["ECHO", &large]);
        let left = client.run("client list").text();
        (!left.contains("flags=O")).then_some(())
    });
    assert!(watcher.closed_by_server());
    assert_eq!(client.run("ping"), Value::Simple("PONG".to_owned()));
}
