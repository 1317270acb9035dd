//! FAILOVER between ours and real servers: what it says, whom it waits for, what it leaves behind when it fails, and that no acknowledged write is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::support::tap::{StreamTap, TapOptions};
use crate::support::{Client, Daemon, Kind, Peer, SOON, Value, info, info_u64, offset, replicate, wait_for, wait_in_sync, wait_link_up};

fn state(client: &mut Client) -> String {
    info(client, "master_failover_state").expect("INFO shows the state")
}

fn wait_for_state(client: &mut Client, wanted: &str) {
    wait_for(SOON, wanted, || (state(client) == wanted).then_some(()));
}

fn role(client: &mut Client) -> String {
    info(client, "role").expect("INFO shows the role")
}

/// A slave that is online and says nothing more, so that it never has what is written from now on.
fn silent_slave(master: &Daemon, listening_port: u16) -> StreamTap {
    let tap = StreamTap::with(master.port, TapOptions { listening_port, ..TapOptions::default() });
    let mut client = master.client();
    wait_for(SOON, "the slave to be online", || {
        let slaves = (0..4).filter_map(|number| info(&mut client, &format!("slave{number}")));
        slaves.into_iter().any(|slave| slave.contains(&format!("port={listening_port},state=online"))).then_some(())
    });
    client.ok("SET unseen 1");
    tap
}

/// Sends a write whose reply is read later.
fn write_later(master: &Daemon) -> Client {
    let mut writer = master.client();
    writer.send(b"SET paused 1\r\n").expect("sending a write");
    writer
}

const WRONG: [&str; 21] = [
    "FAILOVER ABORT",
    "FAILOVER ABORT ABORT",
    "FAILOVER ABORT TIMEOUT 5",
    "FAILOVER nonsense",
    "FAILOVER TO",
    "FAILOVER TO 127.0.0.1",
    "FAILOVER TO 127.0.0.1 x",
    "FAILOVER TO 127.0.0.1 99999999999999999999",
    "FAILOVER TO 127.0.0.1 70000",
    "FAILOVER TO 127.0.0.1 3",
    "FAILOVER TO localhost 1",
    "FAILOVER TO 127.0.0.1 1 TO 127.0.0.1 1",
    "FAILOVER TIMEOUT",
    "FAILOVER TIMEOUT x",
    "FAILOVER TIMEOUT 0",
    "FAILOVER TIMEOUT -1",
    "FAILOVER TIMEOUT 5 TIMEOUT 5",
    "FAILOVER FORCE",
    "FAILOVER FORCE FORCE",
    "FAILOVER FORCE TIMEOUT 5",
    "FAILOVER TO 127.0.0.1 1 FORCE",
];

/// In the place of a command.
const STATE: &str = "the state";

/// Every reply on the way through a failover that never succeeds.
fn transcript(kind: Kind) -> Vec<(String, String)> {
    let (master, slave) = (Daemon::start(kind, &[]), Daemon::start(kind, &[]));
    let mut said = Vec::new();
    let mut say = |client: &mut Client, line: &str| {
        let reply = if line == STATE { state(client) } else { format!("{:?}", client.run(line)) };
        said.push((line.to_owned(), reply));
    };
    let mut client = master.client();
    for line in WRONG.iter().chain(&["FAILOVER", "FAILOVER TIMEOUT 5", "FAILOVER TO 127.0.0.1 1"]) {
        say(&mut client, line);
    }
    let _tap = silent_slave(&master, 1);
    for line in WRONG {
        say(&mut client, line);
    }
    for line in
        ["FAILOVER to 127.0.0.1 1", "FAILOVER", "FAILOVER nonsense", "FAILOVER TIMEOUT 1", "REPLICAOF NO ONE", "SLAVEOF 127.0.0.1 1", "PSYNC ? -1"]
    {
        say(&mut client, line);
    }
    say(&mut client, STATE);
    for line in ["GET unseen", "FAILOVER abort", "FAILOVER ABORT", "SET b 1"] {
        say(&mut client, line);
    }
    say(&mut client, STATE);
    replicate(&slave, master.port);
    wait_link_up(&slave);
    let replid = info(&mut slave.client(), "master_replid").expect("INFO shows the replid");
    for line in ["FAILOVER", "FAILOVER TO 127.0.0.1 1 FORCE", "FAILOVER ABORT", &format!("PSYNC {} 1 FAILOVER", "f".repeat(40))] {
        say(&mut slave.client(), line);
    }
    say(&mut client, &format!("PSYNC {replid} 1 FAILOVER"));
    // The id is another one at each server.
    said.iter_mut().for_each(|(line, _)| *line = line.replace(&replid, "<replid>"));
    said
}

#[test]
fn failover_says_what_redis_says() {
    let ours = transcript(Kind::under_test());
    for peer in [Peer::V7, Peer::V8] {
        for (ours, real) in ours.iter().zip(transcript(Kind::Real(peer))) {
            assert_eq!(*ours, real, "beside {}", peer.name());
        }
    }
}

/// Nothing makes the stream longer while the failover waits: not writes, pings, questions for ACKs, expired keys.
#[test]
fn the_stream_stands_still_until_the_time_is_over() {
    let master = Daemon::replikant(&["--repl-ping-replica-period", "1"]);
    let mut client = master.client();
    let _tap = silent_slave(&master, 1);
    client.ok("SET due 1 PX 50");
    client.ok("FAILOVER TIMEOUT 2500");
    assert_eq!(state(&mut client), "waiting-for-sync");
    let before = offset(&mut client);
    let mut writer = write_later(&master);
    let mut waiter = master.client();
    waiter.send(b"WAIT 1 60000\r\n").expect("sending");
    client.ok("CLIENT UNPAUSE");
    wait_for(SOON, "the key to expire", || (client.run("GET due") == Value::Nil).then_some(()));
    assert_eq!(client.run("GET paused"), Value::Nil, "UNPAUSE does not end this pause");
    assert_eq!((state(&mut client).as_str(), offset(&mut client)), ("waiting-for-sync", before));
    let mut last = before;
    wait_for(SOON, "the time to be over", || {
        let now = offset(&mut client);
        if state(&mut client) == "no-failover" {
            return Some(());
        }
        last = now;
        None
    });
    assert_eq!(last, before);
    assert_eq!(writer.reply().expect("the reply"), Value::ok());
    assert_eq!(role(&mut client), "master");
    wait_for(SOON, "pings again", || (offset(&mut client) > before + 200).then_some(()));
}

/// By the clock a target gets the place that it can't take; the old master follows it until an operator says otherwise.
#[test]
fn a_dead_target_is_asked_until_the_failover_is_aborted() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    let _tap = silent_slave(&master, 1);
    let replid = info(&mut client, "master_replid").unwrap();
    client.ok("FAILOVER TO 127.0.0.1 1 FORCE TIMEOUT 100");
    let mut writer = write_later(&master);
    wait_for_state(&mut client, "failover-in-progress");
    assert_eq!(role(&mut client), "slave");
    assert_eq!((info(&mut client, "master_port").unwrap().as_str(), info(&mut client, "master_link_status").unwrap().as_str()), ("1", "down"));
    assert!(client.run("SET b 1").is_error("READONLY"));
    assert_eq!(client.run("PSYNC ? -1"), Value::Error("NOMASTERLINK Can't SYNC while failing over".to_owned()));
    wait_for(SOON, "a second attempt", || (master.log().matches("Connecting to MASTER").count() > 1).then_some(()));
    assert_eq!(state(&mut client), "failover-in-progress");
    client.ok("FAILOVER ABORT");
    assert_eq!(writer.reply().expect("the reply"), Value::ok(), "what was paused is written after all");
    assert_eq!((role(&mut client).as_str(), state(&mut client).as_str()), ("master", "no-failover"));
    assert_eq!(info(&mut client, "master_replid2").unwrap(), replid, "another may have gone on with the old history");
}

/// A target that says no, which a master does, gets nobody as its slave.
#[test]
fn a_target_that_refuses_leaves_the_master_as_it_was() {
    for refusing in [Kind::under_test(), Kind::Real(Peer::V7)] {
        let (master, stranger) = (Daemon::replikant(&[]), Daemon::start(refusing, &[]));
        let mut client = master.client();
        let _tap = silent_slave(&master, stranger.port);
        client.ok(&format!("FAILOVER TO 127.0.0.1 {} FORCE TIMEOUT 50", stranger.port));
        let mut writer = write_later(&master);
        assert_eq!(writer.reply().expect("the reply"), Value::ok());
        assert_eq!((role(&mut client).as_str(), state(&mut client).as_str()), ("master", "no-failover"));
        assert_eq!(client.run("GET unseen"), Value::bulk("1"));
        assert_eq!(stranger.client().run("DBSIZE"), Value::Int(0));
    }
}

/// The target lacks what was written last; with FORCE it takes over all the same, and the old master takes its data.
#[test]
fn force_loses_what_the_target_has_not_got() {
    let (master, target) = (Daemon::replikant(&[]), Daemon::replikant(&[]));
    let link = crate::support::Link::to(master.port);
    master.client().ok("SET kept 1");
    replicate(&target, link.port);
    wait_in_sync(&master, &target);
    link.stall();
    master.client().ok("SET lost 1");
    master.client().ok(&format!("FAILOVER TO 127.0.0.1 {} FORCE TIMEOUT 50", target.port));
    wait_for(SOON, "the target to take over", || (role(&mut target.client()) == "master").then_some(()));
    wait_in_sync(&target, &master);
    assert_eq!(master.client().run("KEYS *").sorted_texts(), ["kept"]);
    assert_eq!(state(&mut master.client()), "no-failover");
}

/// Clients that write numbered keys to whichever of the servers takes them.
struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    threads: Vec<JoinHandle<u64>>,
}

const WRITERS: u64 = 3;

impl Writers {
    fn start(ports: Vec<u16>) -> Writers {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..WRITERS)
            .map(|writer| {
                let (stop, written, ports) = (stop.clone(), written.clone(), ports.clone());
                std::thread::spawn(move || write_on(writer, &ports, &stop, &written))
            })
            .collect();
        Writers { stop, written, threads }
    }

    fn wait_for_more(&self, count: u64) {
        let from = self.written.load(Ordering::SeqCst);
        wait_for(SOON, "writes", || (self.written.load(Ordering::SeqCst) >= from + count).then_some(()));
    }

    /// How many keys each has written.
    fn finish(self) -> Vec<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().map(|thread| thread.join().expect("a writer")).collect()
    }
}

/// Writes key after key, each until it is acknowledged.
fn write_on(writer: u64, ports: &[u16], stop: &AtomicBool, written: &AtomicU64) -> u64 {
    let mut at = 0;
    let mut client = Client::connect(ports[at]);
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        match client.try_command(&["SET", &format!("{writer}:{number}"), &number.to_string()]) {
            Ok(reply) if reply == Value::ok() => {
                number += 1;
                written.fetch_add(1, Ordering::SeqCst);
            }
            answer => {
                assert!(!matches!(&answer, Ok(reply) if !reply.is_error("READONLY")), "{answer:?}");
                at = (at + 1) % ports.len();
                client = Client::connect(ports[at]);
            }
        }
    }
    number
}

/// Under writes the place goes from one server to the next and back; a third slave follows wherever the history goes.
fn hand_over_under_writes(first: Kind, second: Kind, third: Kind) {
    let servers = [first, second, third].map(|kind| Daemon::start(kind, &[]));
    let [one, two, bystander] = &servers;
    one.client().ok("SET before 1");
    for slave in [two, bystander] {
        replicate(slave, one.port);
        wait_in_sync(one, slave);
    }
    let fulls = || -> u64 { servers.iter().map(|server| info_u64(&mut server.client(), "sync_full")).sum() };
    let fulls_before = fulls();
    let writers = Writers::start(vec![one.port, two.port]);
    writers.wait_for_more(200);
    for (from, to) in [(one, two), (two, one)] {
        from.client().ok(&format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 20000", to.port));
        wait_for(SOON, "the target to take over", || (role(&mut to.client()) == "master").then_some(()));
        wait_for_state(&mut from.client(), "no-failover");
        assert_eq!(role(&mut from.client()), "slave");
        wait_link_up(from);
        writers.wait_for_more(200);
    }
    let written = writers.finish();
    for slave in [two, bystander] {
        wait_in_sync(one, slave);
    }
    let mut client = one.client();
    let lost: Vec<String> = (0..WRITERS)
        .flat_map(|writer| (0..written[writer as usize]).map(move |number| format!("{writer}:{number}")))
        .filter(|key| client.command(&["EXISTS", key]) == Value::Int(0))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(fulls(), fulls_before, "every link continues the one history");
}

#[test]
fn no_write_is_lost_between_two_of_ours() {
    hand_over_under_writes(Kind::under_test(), Kind::under_test(), Kind::under_test());
}

#[test]
fn no_write_is_lost_between_ours_and_redis_7() {
    hand_over_under_writes(Kind::under_test(), Kind::Real(Peer::V7), Kind::under_test());
}

#[test]
fn no_write_is_lost_between_redis_8_and_ours() {
    hand_over_under_writes(Kind::Real(Peer::V8), Kind::under_test(), Kind::Real(Peer::V8));
}

#[test]
fn without_a_target_the_first_that_has_everything_takes_over() {
    let (master, slave) = (Daemon::replikant(&[]), Daemon::replikant(&[]));
    let _tap = silent_slave(&master, 1);
    replicate(&slave, master.port);
    wait_link_up(&slave);
    master.client().ok("SET a 1");
    master.client().ok("FAILOVER");
    wait_for(SOON, "the slave to take over", || (role(&mut slave.client()) == "master").then_some(()));
    wait_in_sync(&slave, &master);
    assert_eq!(state(&mut master.client()), "no-failover");
}
