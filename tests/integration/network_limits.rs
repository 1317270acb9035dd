//! Peers that are slow, silent, many or boundless: memory stays bounded and others are served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::process::{open_files, raise_open_files, rss};
use crate::support::{Client, Daemon, SOON, Value, info, info_u64, wait_for};

const MIB: u64 = 1024 * 1024;

/// Demands that others are served at once. A bound for a hang, not for speed.
#[track_caller]
fn assert_served(client: &mut Client) {
    let start = Instant::now();
    client.ok("SET served yes");
    assert_eq!(client.run("GET served"), Value::bulk("yes"));
    assert!(start.elapsed() < Duration::from_secs(5), "others waited {:?}", start.elapsed());
}

/// Writes until the server closes, `total` bytes at most; how many it took.
fn pour(stream: &mut TcpStream, chunk: &[u8], total: u64, mut meanwhile: impl FnMut()) -> u64 {
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut sent = 0;
    while sent < total {
        match stream.write(chunk) {
            Ok(count) => sent += count as u64,
            Err(_) => return sent,
        }
        if sent.is_multiple_of(16 * MIB) {
            meanwhile();
        }
    }
    sent
}

#[test]
fn a_line_without_end_is_cut_off_at_its_limit() {
    let server = Daemon::replikant(&[]);
    let mut other = server.client();
    let before = rss(server.pid());
    let mut endless = server.client();
    let sent = pour(&mut endless.reader.get_ref().try_clone().unwrap(), &[b'a'; 64 * 1024], 256 * MIB, || assert_served(&mut other));
    assert!(sent < 32 * MIB, "{sent} bytes of one line went in");
    assert!(endless.closed_by_server());
    assert_served(&mut other);
    assert!(rss(server.pid()) < before + 32 * MIB);
}

#[test]
fn a_line_just_beyond_the_limit_gets_an_error_and_one_within_it_an_answer() {
    let server = Daemon::replikant(&[]);
    let mut within = server.client();
    let argument = "x".repeat(60_000);
    within.send(format!("SET k {argument}\r\n").as_bytes()).unwrap();
    assert_eq!(within.reply().unwrap(), Value::ok());
    let mut beyond = server.client();
    beyond.send(&vec![b'y'; 65 * 1024]).unwrap();
    let reply = beyond.reply().unwrap();
    assert_eq!(reply, Value::Error("ERR Protocol error: too big inline request".to_owned()));
    assert!(beyond.closed_by_server());
}

#[test]
fn bad_counts_and_lengths_are_refused() {
    let server = Daemon::replikant(&[]);
    let mut other = server.client();
    for (request, message) in [
        ("*2147483648\r\n", "invalid multibulk length"),
        ("*abc\r\n", "invalid multibulk length"),
        ("*1\r\n$-5\r\n", "invalid bulk length"),
        ("*1\r\n$99999999999\r\n", "invalid bulk length"),
        ("*1\r\n:1\r\n", "expected '$', got ':'"),
        ("SET \"open\r\n", "unbalanced quotes in request"),
    ] {
        let mut client = server.client();
        client.send(request.as_bytes()).unwrap();
        assert_eq!(client.reply().unwrap(), Value::Error(format!("ERR Protocol error: {message}")), "{request:?}");
        assert!(client.closed_by_server(), "{request:?}");
        assert_served(&mut other);
    }
}

/// A request that announces much and sends little costs only what it sent.
#[test]
fn announced_sizes_cost_nothing() {
    let server = Daemon::replikant(&[]);
    let mut other = server.client();
    let before = rss(server.pid());
    let announcing: Vec<Client> = (0..50)
        .map(|_| {
            let mut client = server.client();
            client.send(b"*1000000\r\n$3\r\nSET\r\n$536870912\r\nabc").unwrap();
            client
        })
        .collect();
    assert_served(&mut other);
    let grown = rss(server.pid()).saturating_sub(before);
    assert!(grown < 64 * MIB, "50 announcements cost {grown} bytes");
    drop(announcing);
    assert_served(&mut other);
}

/// A client that asks for much and reads nothing is closed at its output limit; the others do not notice.
#[test]
fn a_client_that_never_reads_is_closed_at_its_limit() {
    let server = Daemon::replikant(&["--client-output-buffer-limit", "normal 16mb 0 0"]);
    let mut other = server.client();
    let value = vec![b'v'; MIB as usize];
    assert_eq!(other.command(&[b"SET".as_slice(), b"big", &value]), Value::ok());
    let before = rss(server.pid());
    let deaf = server.client();
    let mut stream = deaf.stream().try_clone().unwrap();
    let mut requests = Vec::new();
    for _ in 0..100 {
        requests.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n");
    }
    // 1000 replies of 1 MiB each would be 1 GB.
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    for _ in 0..10 {
        if stream.write_all(&requests).is_err() {
            break;
        }
        assert_served(&mut other);
        let grown = rss(server.pid()).saturating_sub(before);
        assert!(grown < 128 * MIB, "a deaf client holds {grown} bytes");
    }
    wait_for(SOON, "the deaf client to be closed", || (info_u64(&mut other, "connected_clients") == 1).then_some(()));
    wait_for(SOON, "its memory to be free", || (rss(server.pid()) < before + 64 * MIB).then_some(()));
}

/// Without a limit the default for normal clients holds: replies wait, but a deaf client's requests are not executed without end.
#[test]
fn a_slow_client_gets_all_its_replies() {
    let server = Daemon::replikant(&[]);
    let mut other = server.client();
    let value = vec![b'v'; 256 * 1024];
    assert_eq!(other.command(&[b"SET".as_slice(), b"big", &value]), Value::ok());
    let mut slow = server.client();
    let mut requests = Vec::new();
    for _ in 0..200 {
        requests.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n");
    }
    slow.send(&requests).unwrap();
    assert_served(&mut other);
    for number in 0..200 {
        let reply = slow.reply().unwrap();
        assert!(reply == Value::bulk(&value), "reply {number}");
        if number % 50 == 0 {
            assert_served(&mut other);
        }
    }
    assert_eq!(slow.run("PING"), Value::Simple("PONG".to_owned()));
}

/// Bytes that come one at a time make the same commands.
#[test]
fn a_request_that_drips_is_understood() {
    let server = Daemon::replikant(&[]);
    let (mut dripping, mut other) = (server.client(), server.client());
    for byte in b"*3\r\n$3\r\nSET\r\n$4\r\ndrip\r\n$4\r\ndrop\r\nGET drip\r\n" {
        dripping.send(&[*byte]).unwrap();
        assert_eq!(other.run("PING"), Value::Simple("PONG".to_owned()));
    }
    assert_eq!(dripping.reply().unwrap(), Value::ok());
    assert_eq!(dripping.reply().unwrap(), Value::bulk("drop"));
}

#[test]
fn an_idle_client_is_closed_after_its_timeout_and_an_active_one_is_not() {
    let server = Daemon::replikant(&["--timeout", "2"]);
    let (mut idle, mut active) = (server.client(), server.client());
    idle.ok("SET a 1");
    let mut byte = [0];
    idle.stream().set_nonblocking(true).unwrap();
    wait_for(SOON, "the idle client to be closed", || {
        active.run("PING");
        matches!(idle.reader.get_mut().read(&mut byte), Ok(0)).then_some(())
    });
    assert_eq!(active.run("GET a"), Value::bulk("1"));
}

#[test]
fn ten_thousand_idle_connections() {
    const CONNECTIONS: usize = 10_000;
    let limit = raise_open_files(12_000);
    assert!(limit >= 10_500, "this machine allows {limit} open files a process; 10,000 connections need 10,500");
    let server = Daemon::replikant(&["--maxclients", "10100"]);
    let mut other = server.client();
    let before = rss(server.pid());
    let mut idle: Vec<TcpStream> = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        idle.push(TcpStream::connect(("127.0.0.1", server.port)).expect("connecting"));
    }
    wait_for(SOON, "all to be accepted", || (info_u64(&mut other, "connected_clients") > CONNECTIONS as u64).then_some(()));
    assert_served(&mut other);
    let each = (rss(server.pid()) - before) / CONNECTIONS as u64;
    println!("an idle connection costs {each} bytes");
    assert!(each < 16 * 1024, "an idle connection costs {each} bytes");
    for stream in idle.iter_mut().step_by(100) {
        stream.write_all(b"PING\r\n").unwrap();
        let mut reply = [0; 7];
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"+PONG\r\n");
    }
    assert!(open_files(server.pid()) >= CONNECTIONS);
    drop(idle);
    wait_for(SOON, "all to be forgotten", || (info_u64(&mut other, "connected_clients") == 1).then_some(()));
    wait_for(SOON, "their descriptors to be closed", || (open_files(server.pid()) < 200).then_some(()));
    assert_served(&mut other);
}

#[test]
fn one_connection_more_than_maxclients_is_told_so() {
    let server = Daemon::replikant(&["--maxclients", "10"]);
    let mut clients: Vec<Client> = Vec::new();
    // Connections of the start may still count for a moment.
    wait_for(SOON, "the first connections to be forgotten", || {
        clients.clear();
        clients = (0..10).map(|_| server.client()).collect();
        clients.iter_mut().all(|client| client.try_command(&["PING"]).is_ok_and(|reply| !reply.is_error("ERR"))).then_some(())
    });
    let mut beyond = server.client();
    assert_eq!(beyond.reply().unwrap(), Value::Error("ERR max number of clients reached".to_owned()));
    assert!(beyond.closed_by_server());
    clients.pop();
    let mut other = clients.pop().unwrap();
    wait_for(SOON, "a place to be free", || (info_u64(&mut other, "connected_clients") <= 9).then_some(()));
    assert_eq!(server.client().run("PING"), Value::Simple("PONG".to_owned()));
    assert!(info(&mut other, "rejected_connections").unwrap().parse::<u64>().unwrap() >= 1);
}

/// A replication peer that says nothing holds no one up.
#[test]
fn silent_peers_hold_no_one_up() {
    let server = Daemon::replikant(&[]);
    let mut other = server.client();
    let mut half = server.client();
    half.send(b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n").unwrap();
    let mut deaf = server.client();
    deaf.send(b"PSYNC ? -1\r\n").unwrap();
    // A master that accepts and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_served(&mut other);
    other.ok(&format!("SLAVEOF 127.0.0.1 {port}"));
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!(other.run("GET served"), Value::bulk("yes"));
    other.ok("SLAVEOF NO ONE");
    assert_served(&mut other);
    drop(accepted);
}
