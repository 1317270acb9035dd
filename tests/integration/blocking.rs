//! Clients that wait for keys, on ours and on Redis 8.2.3 at once: who gets what and when, what a slave is told, what INFO counts.

use std::time::Duration;

use super::support::tap::StreamTap;
use super::support::{Client, Daemon, Peer, SOON, Value, info_u64, replicate, wait_for, wait_in_sync};

/// The same scene on one server.
struct Scene<'a> {
    server: &'a Daemon,
    main: Client,
    waiting: Vec<(&'static str, Client)>,
    seen: Vec<String>,
}

impl<'a> Scene<'a> {
    fn new(server: &'a Daemon) -> Self {
        Scene { server, main: server.client(), waiting: Vec::new(), seen: Vec::new() }
    }
    fn blocked(&mut self) -> u64 {
        info_u64(&mut self.main, "blocked_clients")
    }
    /// A client says something and waits.
    fn wait(&mut self, name: &'static str, line: &str) {
        let before = self.blocked();
        let mut client = self.server.client();
        client.send(format!("{line}\r\n").as_bytes()).unwrap();
        self.waiting.push((name, client));
        wait_for(SOON, &format!("{line:?} to wait"), || (self.blocked() > before).then_some(()));
    }
    fn say(&mut self, line: &str) {
        let reply = self.main.run(line);
        self.seen.push(format!("{line}: {reply:?}"));
    }
    /// What those who waited have got by now, in the order in which they are named.
    fn got(&mut self, names: &[&str]) {
        for name in names {
            let at = self.waiting.iter().position(|(other, _)| other == name).expect("somebody who waits");
            let reply = self.waiting[at].1.reply();
            self.seen.push(format!("{name} got {reply:?}"));
            self.waiting.remove(at);
        }
    }
    fn still_waits(&mut self, name: &str) {
        let client = &mut self.waiting.iter_mut().find(|(other, _)| *other == name).expect("somebody who waits").1;
        client.patience(Duration::from_millis(50)).unwrap();
        assert!(client.reply().is_err(), "{name} does not wait any more: {:?}", self.seen);
        client.patience(SOON).unwrap();
    }
    fn counts(&mut self) {
        for field in ["blocked_clients", "clients_in_timeout_table", "total_blocking_keys", "total_blocking_keys_on_nokey"] {
            let count = info_u64(&mut self.main, field);
            self.seen.push(format!("{field} {count}"));
        }
    }
}

/// Plays a scene on both servers; returns what was seen, which must be the same, and what slaves were told.
fn play(scene: impl Fn(&mut Scene<'_>)) {
    let [ours, real] = [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &["--repl-diskless-sync-delay", "0"])].map(|server| {
        let mut tap = StreamTap::attach(server.port);
        let mut played = Scene::new(&server);
        scene(&mut played);
        played.say("set end 1");
        (played.seen, tap.effects_until(&["set", "end", "1"]))
    });
    assert_eq!(ours.0, real.0);
    let lower = |effects: Vec<Vec<String>>| -> Vec<String> { effects.into_iter().map(|words| words.join(" ").to_lowercase()).collect() };
    assert_eq!(lower(ours.1), lower(real.1));
}

#[test]
fn clients_are_served_in_turn_after_the_unit_that_fed_them() {
    play(|scene| {
        scene.wait("a", "blpop k 0");
        scene.wait("b", "brpop j k 0");
        scene.wait("c", "blmpop 30 2 k j left count 2");
        scene.counts();
        scene.say("rpush k 1 2 3 4");
        scene.got(&["a", "b", "c"]);
        scene.counts();
        scene.wait("a", "blpop x y 0");
        for line in ["multi", "rpush y 1", "del y", "rpush y 2", "rpush x 3", "llen x", "exec"] {
            scene.say(line);
        }
        scene.got(&["a"]);
        scene.say("lrange y 0 -1");
        scene.wait("a", "blmove p q left right 0");
        scene.wait("b", "brpoplpush q r 0");
        scene.wait("c", "blpop r 0");
        scene.say("rpush p e");
        scene.got(&["a", "b", "c"]);
        scene.wait("a", "brpoplpush loop loop 0");
        scene.say("rpush loop 1 2");
        scene.got(&["a"]);
        scene.say("lrange loop 0 -1");
        scene.wait("a", "blpop s 0");
        let popped = scene.main.command(&["EVAL", "redis.call('rpush', 's', '1', '2') return redis.call('lpop', 's')", "1", "s"]);
        scene.seen.push(format!("{popped:?}"));
        scene.got(&["a"]);
    });
}

#[test]
fn keys_that_come_otherwise_are_served_as_well() {
    play(|scene| {
        for feed in [&["rpush o 1", "rename o k"][..], &["rpush o 2", "copy o k"], &["del o", "rpush o 3", "sort o store k"]] {
            scene.wait("a", "blpop k 0");
            feed.iter().for_each(|line| scene.say(line));
            scene.got(&["a"]);
        }
        for feed in [&["select 1", "rpush k 1", "move k 0", "select 0"][..], &["select 1", "rpush k 1", "swapdb 0 1", "select 0"]] {
            scene.wait("a", "blpop k 0");
            feed.iter().for_each(|line| scene.say(line));
            scene.got(&["a"]);
        }
        scene.wait("a", "blpop k 0");
        scene.say("set k x");
        scene.still_waits("a");
        scene.say("del k");
        scene.say("lpush k y");
        scene.got(&["a"]);
        scene.wait("a", "blmove p s left left 0");
        scene.say("set s x");
        scene.say("rpush p 1");
        scene.got(&["a"]);
        scene.say("lrange p 0 -1");
    });
}

#[test]
fn waits_end_by_time_by_others_and_with_the_connection() {
    play(|scene| {
        for line in ["blpop none 0.03", "brpoplpush none l 0.03", "blmpop 0.03 1 none left", "blmove none l left left 0.03"] {
            scene.wait("a", line);
            scene.got(&["a"]);
        }
        for how in ["", "timeout", "error"] {
            scene.wait("a", "blpop k 0");
            let list = scene.main.run("client list").text();
            let line = list.lines().find(|line| line.contains("cmd=blpop")).expect("a client that waits");
            let id = line.split_once("id=").and_then(|(_, rest)| rest.split(' ').next()).expect("its id").to_owned();
            assert!(line.contains("flags=b"), "{line}");
            let reply = scene.main.run(format!("client unblock {id} {how}").trim_end());
            scene.seen.push(format!("{how} {reply:?}"));
            scene.got(&["a"]);
        }
        scene.wait("gone", "blpop k 0");
        scene.wait("b", "blpop k 0");
        scene.waiting.remove(0);
        wait_for(SOON, "the client to be forgotten", || (scene.blocked() == 1).then_some(()));
        scene.say("rpush k 1 2");
        scene.got(&["b"]);
        scene.say("lrange k 0 -1");
        for line in ["multi", "blpop none 0", "brpoplpush none l 0", "blmpop 0 1 none left", "exec"] {
            scene.say(line);
        }
    });
}

#[test]
fn what_a_client_has_sent_behind_its_wait_comes_afterwards() {
    for server in [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])] {
        let (mut main, mut client) = (server.client(), server.client());
        client.send(b"blpop k 0\r\nrpush k 2\r\nblpop k 0\r\nping\r\n").unwrap();
        wait_for(SOON, "the client to wait", || (info_u64(&mut main, "blocked_clients") == 1).then_some(()));
        main.run("rpush k 1");
        let replies: Vec<Value> = (0..4).map(|_| client.reply().unwrap()).collect();
        assert_eq!(replies[0].items()[1], Value::bulk("1"));
        assert_eq!(replies[1].int(), 1);
        assert_eq!(replies[2].items()[1], Value::bulk("2"));
        assert_eq!(replies[3].text(), "PONG");
    }
}

#[test]
fn a_master_that_becomes_a_slave_sends_those_who_wait_away() {
    for server in [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])] {
        let other = Daemon::replikant(&[]);
        let (mut main, mut client) = (server.client(), server.client());
        client.send(b"blpop k 0\r\n").unwrap();
        wait_for(SOON, "the client to wait", || (info_u64(&mut main, "blocked_clients") == 1).then_some(()));
        main.ok(&format!("replicaof 127.0.0.1 {}", other.port));
        let reply = client.reply().unwrap();
        assert!(reply.is_error("UNBLOCKED"), "{reply:?}");
        assert!(client.closed_by_server());
    }
}

/// A client of a writable slave is served by what the master's stream brings; what it takes away is its slave's business alone.
#[test]
fn a_writable_slave_serves_its_clients_from_the_masters_stream() {
    let (master, slave) = (Daemon::replikant(&[]), Daemon::replikant(&["--replica-read-only", "no"]));
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);
    let (mut main, mut client) = (slave.client(), slave.client());
    client.send(b"blpop k 0\r\n").unwrap();
    wait_for(SOON, "the client to wait", || (info_u64(&mut main, "blocked_clients") == 1).then_some(()));
    let mut writer = master.client();
    writer.run("rpush k 1 2");
    assert_eq!(client.reply().unwrap().items()[1], Value::bulk("1"));
    assert_eq!(main.run("llen k").int(), 1);
    assert_eq!(writer.run("llen k").int(), 2);
}
