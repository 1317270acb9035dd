//! Streams between servers: clients that wait for entries, compared with Redis 8.2.3; what a master's commands become at slaves of every make.

use std::time::Duration;

use crate::support::peers::Peer;
use crate::support::{Client, Daemon, SOON, Value, info_u64, replicate, wait_for, wait_in_sync};

/// What happens to clients that wait: commands before, requests that wait, commands then.
struct Scene {
    before: &'static [&'static str],
    waiting: &'static [&'static str],
    then: &'static [&'static str],
}

const GROUP: &[&str] = &["XGROUP CREATE k g $ MKSTREAM"];
const FOR_GROUP: &[&str] = &["XREADGROUP GROUP g a BLOCK 0 STREAMS k >"];

const SCENES: &[Scene] = &[
    Scene { before: &["XADD k 1 f v"], waiting: &["XREAD BLOCK 0 STREAMS k $", "XREAD BLOCK 0 STREAMS k $"], then: &["XADD k 2 f v"] },
    Scene {
        before: &["XADD k 1 f v"],
        waiting: &["XREAD BLOCK 0 STREAMS k $", "XREAD COUNT 1 BLOCK 0 STREAMS l k $ $"],
        then: &["MULTI", "XADD k 2 f v", "XADD l 3 f v", "XADD k 4 f v", "EXEC"],
    },
    Scene { before: &[], waiting: &["XREAD BLOCK 0 STREAMS k +", "XREAD BLOCK 0 STREAMS k 5"], then: &["XADD k 1 f v", "XADD k 6 f v"] },
    Scene { before: &[], waiting: &["XREAD BLOCK 0 STREAMS k $"], then: &["SET k 1", "DEL k", "LPUSH k 1", "DEL k", "XADD k 3 f v"] },
    Scene { before: &[], waiting: &["XREAD BLOCK 0 STREAMS k 0"], then: &["XADD l 1 f v", "RENAME l k"] },
    Scene { before: GROUP, waiting: &[FOR_GROUP[0], "XREADGROUP GROUP g b BLOCK 0 STREAMS k >"], then: &["XADD k 1 f v"] },
    Scene {
        before: GROUP,
        waiting: &[FOR_GROUP[0], "XREADGROUP GROUP g b BLOCK 0 NOACK STREAMS k >"],
        then: &["XADD k 1 f v", "XADD k 2 f v", "XACK k g 1"],
    },
    Scene { before: GROUP, waiting: FOR_GROUP, then: &["DEL k"] },
    Scene { before: GROUP, waiting: FOR_GROUP, then: &["SET k 1"] },
    Scene { before: GROUP, waiting: FOR_GROUP, then: &["RENAME k l"] },
    Scene { before: GROUP, waiting: FOR_GROUP, then: &["XGROUP DESTROY k g"] },
    Scene { before: GROUP, waiting: FOR_GROUP, then: &["FLUSHALL"] },
    Scene { before: &["XADD k 1 f v", "XGROUP CREATE k g $"], waiting: FOR_GROUP, then: &["XSETID k 5", "XGROUP SETID k g 0"] },
    Scene { before: &["XADD k 1 f v", "XGROUP CREATE k g $"], waiting: FOR_GROUP, then: &["XGROUP SETID k g 0", "XADD k 9 f v"] },
];

/// Plays a scene; tells what each waiting client has got in the end, if anything.
fn play(server: &Daemon, scene: &Scene) -> Vec<Option<Value>> {
    let mut client = server.client();
    wait_for(SOON, "the last scene's clients to be gone", || (info_u64(&mut client, "blocked_clients") == 0).then_some(()));
    client.run("FLUSHALL");
    scene.before.iter().for_each(|line| drop(client.run(line)));
    let mut waiting = Vec::new();
    for line in scene.waiting {
        let mut other = server.client();
        other.send(format!("{line}\r\n").as_bytes()).expect("sending a request");
        waiting.push(other);
        let count = waiting.len() as u64;
        wait_for(SOON, "a client to wait", || (info_u64(&mut client, "blocked_clients") == count).then_some(()));
    }
    for line in scene.then {
        assert!(!matches!(client.run(line), Value::Error(_)), "{line}");
    }
    // What they get is on its way by now, or never comes.
    let mut answered = |mut other: Client| {
        other.patience(Duration::from_millis(200)).expect("a time-out");
        other.reply().ok()
    };
    waiting.drain(..).map(&mut answered).collect()
}

#[test]
fn who_waits_for_entries_gets_what_redis_gives() {
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    for scene in SCENES {
        let told = format!("{:?} {:?} {:?}", scene.before, scene.waiting, scene.then);
        assert_eq!(play(&ours, scene), play(&real, scene), "{told}");
    }
}

/// A seeded sequence of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
    fn id(&mut self) -> String {
        format!("{}-{}", self.below(40), self.below(3))
    }
    fn ids(&mut self) -> String {
        (0..1 + self.below(4)).map(|_| self.id()).collect::<Vec<_>>().join(" ")
    }
    fn trim(&mut self) -> String {
        match self.below(4) {
            0 => format!("MAXLEN {}", self.below(20)),
            1 => format!("MAXLEN ~ {} LIMIT {}", self.below(20), self.below(12)),
            2 => format!("MINID {}", self.id()),
            _ => format!("MINID ~ {}", self.id()),
        }
    }
    /// A command on streams; entries come at `next`.
    fn command(&mut self, next: u64) -> String {
        let (key, group, consumer) = (self.pick(&["k", "l"]), self.pick(&["g", "h"]), self.pick(&["a", "b", "c"]));
        let refs = self.pick(&["", "", "DELREF", "ACKED"]);
        match self.below(20) {
            0..5 => format!("XADD {key} {next}-* f {next}"),
            5 => format!("XADD {key} {refs} {} {next}-1 f v g w", self.trim()),
            6 => format!("XTRIM {key} {} {refs}", self.trim()),
            7 => format!("XDEL {key} {}", self.ids()),
            8 => format!("XDELEX {key} {refs} IDS 2 {} {}", self.id(), self.id()),
            9 => format!("XACKDEL {key} {group} {refs} IDS 2 {} {}", self.id(), self.id()),
            10 => format!("XGROUP CREATE {key} {group} {} MKSTREAM", self.pick(&["0", "$", "7"])),
            11 => format!("XGROUP {} {key} {group} {consumer}", self.pick(&["CREATECONSUMER", "CREATECONSUMER", "DELCONSUMER"])),
            12..16 => format!("XREADGROUP GROUP {group} {consumer} COUNT 3 {} STREAMS {key} >", self.pick(&["", "", "NOACK"])),
            16 => format!("XACK {key} {group} {}", self.ids()),
            17 => format!("XCLAIM {key} {group} {consumer} 0 {} {}", self.ids(), self.pick(&["", "FORCE", "JUSTID", "TIME 1000 RETRYCOUNT 5"])),
            18 => format!("XAUTOCLAIM {key} {group} {consumer} 0 {} COUNT 3", self.id()),
            _ => format!("XGROUP SETID {key} {group} {}", self.pick(&["$", "0", "11-0"])),
        }
    }
}

/// What there is of groups at a server: IDs that they have come to, and what is pending for whom.
fn groups(client: &mut Client, with_consumers: bool) -> Vec<String> {
    let mut seen = Vec::new();
    for key in ["k", "l"] {
        for group in client.run(&format!("XINFO GROUPS {key}")).items() {
            let fields: Vec<String> = group.items().iter().map(|value| format!("{value:?}")).collect();
            let at = fields.iter().position(|field| field.contains("last-delivered-id")).expect("a field of every version");
            seen.push(format!("{key} {} {}", fields[1], fields[at + 1]));
        }
        for group in ["g", "h"] {
            for pending in client.run(&format!("XPENDING {key} {group} - + 1000")).items() {
                let [id, consumer, _, count] = pending.items() else { continue };
                seen.push(format!("{key} {group} {} {} {count:?}", id.text(), consumer.text()));
            }
            for consumer in client.run(&format!("XINFO CONSUMERS {key} {group}")).items() {
                if with_consumers && let Some(name) = consumer.items().get(1) {
                    seen.push(format!("{key} {group} {}", name.text()));
                }
            }
        }
    }
    seen
}

fn run_random(client: &mut Client, seed: u64, count: u64) {
    let mut random = Random(seed);
    for step in 0..count {
        client.run(&random.command(1 + step / 8));
    }
}

#[test]
fn slaves_of_every_version_have_the_same_streams_and_groups() {
    let master = Daemon::replikant(&["--stream-node-max-entries", "4"]);
    let slaves: Vec<Daemon> = Peer::ALL.iter().map(|peer| Daemon::redis(*peer, &[])).chain([Daemon::replikant(&[])]).collect();
    slaves.iter().for_each(|slave| replicate(slave, master.port));
    for slave in &slaves {
        wait_in_sync(&master, slave);
    }
    for seed in 1..4 {
        let mut client = master.client();
        client.run("FLUSHALL");
        run_random(&mut client, seed, 300);
        for slave in &slaves {
            // With the same digest.
            wait_in_sync(&master, slave);
            assert_eq!(groups(&mut client, true), groups(&mut slave.client(), true), "seed {seed}");
        }
    }
}

#[test]
fn ours_follows_masters_of_every_version() {
    for peer in Peer::ALL {
        let (master, slave) = (Daemon::redis(peer, &["--stream-node-max-entries", "4"]), Daemon::replikant(&[]));
        replicate(&slave, master.port);
        wait_in_sync(&master, &slave);
        let mut client = master.client();
        run_random(&mut client, 5, 300);
        wait_in_sync(&master, &slave);
        // Redis does not tell its slaves of consumers who have got nothing.
        assert_eq!(groups(&mut client, false), groups(&mut slave.client(), false));
    }
}
