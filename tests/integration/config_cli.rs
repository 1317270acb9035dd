//! The conf files that come with the project, the command line, and a stop by signal.

use std::path::PathBuf;

use crate::support::daemon::run_to_end;
use crate::support::{Daemon, Kind, Value, info};

fn shipped(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_shipped_conf_files_load() {
    for name in ["6379.conf", "6380.conf", "replikant.conf"] {
        let mut server = Daemon::with_conf(Kind::Ours, &shipped(name), &["--logfile", "", "--daemonize", "no"]);
        assert!(!server.client().run("INFO").is_error("ERR"), "{name}");
        assert!(server.terminate().success(), "{name}");
    }
}

/// CONFIG GET shows values as Redis does, whichever way they were given.
#[test]
fn values_from_the_conf_and_from_arguments() {
    let conf = "# comment\nmaxmemory 100mb\nrepl-backlog-size 1gb\nsave 900 1\nsave 300 10\nslave-read-only no\ntimeout 17\nappendonly no\n";
    let server = Daemon::with_conf(Kind::under_test(), conf, &["--timeout", "18", "--loglevel", "verbose"]);
    let mut client = server.client();
    let mut get = |name: &str| client.command(&["CONFIG", "GET", name]).items()[1].text();
    assert_eq!(get("maxmemory"), "104857600");
    assert_eq!(get("repl-backlog-size"), "1073741824");
    assert_eq!(get("save"), "900 1 300 10");
    assert_eq!(get("replica-read-only"), "no");
    assert_eq!(get("timeout"), "18");
    assert_eq!(get("loglevel"), "verbose");
}

#[test]
fn an_unknown_directive_stops_the_start_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.conf");
    std::fs::write(&path, "port 0\n# a comment\ntimeout 3\nno-such-directive yes\n").unwrap();
    let (status, output) = run_to_end(Kind::under_test(), &[path.to_str().unwrap()]);
    assert!(!status.success());
    assert!(output.contains("no-such-directive"), "{output}");
    if Kind::under_test() == Kind::Ours {
        assert!(output.contains("bad.conf"), "the file's name: {output}");
    }
    assert!(output.contains('4'), "the line's number: {output}");
}

#[test]
fn a_bad_value_stops_the_start_with_its_place() {
    for (line, word) in [("timeout many", "timeout"), ("maxmemory 12xb", "maxmemory"), ("daemonize perhaps", "daemonize"), ("save 10", "save")] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.conf");
        std::fs::write(&path, format!("port 0\n\n{line}\n")).unwrap();
        let (status, output) = run_to_end(Kind::under_test(), &[path.to_str().unwrap()]);
        assert!(!status.success(), "{line}");
        assert!(output.contains(word) && output.contains('3'), "{line}: {output}");
    }
}

#[test]
fn a_missing_conf_file_stops_the_start() {
    let (status, output) = run_to_end(Kind::under_test(), &["/nowhere/no.conf"]);
    assert!(!status.success());
    assert!(output.contains("/nowhere/no.conf"), "{output}");
}

#[test]
fn version_and_help() {
    let (status, output) = run_to_end(Kind::under_test(), &["--version"]);
    assert!(status.success());
    assert!(output.contains("v="), "{output}");
    let (_, output) = run_to_end(Kind::under_test(), &["--help"]);
    assert!(output.to_ascii_lowercase().contains("usage"), "{output}");
}

#[test]
fn config_rewrite_keeps_comments_and_order() {
    let conf = "# The first comment.\n\ntimeout 10\n# About saving.\nsave 900 1\n\n# The last comment.\nmaxclients 200\n";
    let mut server = Daemon::with_conf(Kind::under_test(), conf, &[]);
    let mut client = server.client();
    client.ok("CONFIG SET timeout 77");
    client.ok("CONFIG SET maxmemory 10mb");
    assert_eq!(client.command(&["CONFIG", "SET", "save", "60 5"]), Value::ok());
    client.ok("CONFIG REWRITE");
    let text = std::fs::read_to_string(server.conf()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = |line: &str| lines.iter().position(|have| *have == line).unwrap_or_else(|| panic!("no line {line:?} in:\n{text}"));
    assert_eq!(at("# The first comment."), 0);
    assert_eq!(at("timeout 77"), 2);
    assert!(at("# About saving.") < at("save 60 5"));
    assert!(at("# The last comment.") < at("maxclients 200"));
    assert!(!text.contains("save 900 1"), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("maxmemory ")), "{text}");

    server.terminate();
    server.start_again();
    let mut client = server.client();
    assert_eq!(client.run("CONFIG GET timeout").items()[1].text(), "77");
    assert_eq!(client.run("CONFIG GET maxmemory").items()[1].text(), "10485760");
    assert_eq!(client.run("CONFIG GET save").items()[1].text(), "60 5");
}

#[test]
fn rewrite_without_a_conf_file_says_so() {
    let server = Daemon::replikant(&[]);
    let reply = server.client().run("CONFIG REWRITE");
    assert_eq!(reply, Value::Error("ERR The server is running without a config file".to_owned()));
}

#[test]
fn a_password_is_asked_for() {
    let server = Daemon::with_conf(Kind::under_test(), "requirepass secret\nsave \"\"\n", &[]);
    let mut client = server.client();
    assert!(client.run("GET a").is_error("NOAUTH"));
    assert!(client.run("AUTH wrong").is_error("WRONGPASS"));
    client.ok("AUTH secret");
    client.ok("SET a 1");
}

#[test]
fn a_slave_gives_its_masters_password() {
    let master = Daemon::replikant(&["--requirepass", "secret"]);
    let slave = Daemon::replikant(&["--masterauth", "secret"]);
    let mut client = master.client();
    client.ok("AUTH secret");
    client.ok("SET a 1");
    crate::support::replicate(&slave, master.port);
    crate::support::wait_link_up(&slave);
    assert_eq!(slave.client().run("GET a"), Value::bulk("1"));
}

#[test]
fn a_stop_by_signal_is_clean() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut server = Daemon::replikant(&[]);
        let mut client = server.client();
        client.ok("SET a 1");
        crate::support::process::signal(server.pid(), signal);
        let status = server.wait_for_exit();
        assert!(status.success(), "{status}");
        assert!(client.closed_by_server());
    }
}

#[test]
fn shutdown_stops_and_nosave_saves_nothing() {
    let mut server = Daemon::replikant(&["--save", "3600 1"]);
    let mut client = server.client();
    client.ok("SET a 1");
    client.send(b"SHUTDOWN NOSAVE\r\n").unwrap();
    assert!(server.wait_for_exit().success());
    assert!(!server.dir().join("dump.rdb").exists());
}

#[test]
fn a_port_in_use_stops_the_start() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let (status, output) = run_to_end(Kind::under_test(), &["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
    assert!(!status.success(), "{output}");
    assert!(output.contains(&port), "{output}");
}

#[test]
fn the_server_tells_its_port_and_uptime() {
    let server = Daemon::replikant(&[]);
    let mut client = server.client();
    assert_eq!(info(&mut client, "tcp_port").unwrap(), server.port.to_string());
    assert_eq!(info(&mut client, "process_id").unwrap(), server.pid().to_string());
    assert!(info(&mut client, "uptime_in_seconds").is_some());
}
