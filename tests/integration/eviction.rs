//! `maxmemory`: every policy beside Redis 8.2.3, the slaves' part, and how good the choice of victims is.

use super::support::{Client, Daemon, Kind, Peer, SOON, Value, digest, info, info_u64, replicate, wait_for, wait_in_sync};

const POLICIES: [&str; 8] =
    ["noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"];

fn words(line: String) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Makes the server hold about this much more than it does now.
fn limit(client: &mut Client, bytes: u64) {
    let used = info_u64(client, "used_memory");
    client.ok(&format!("config set maxmemory {}", used + bytes));
}

/// What came of writing more than fits.
struct Outcome {
    refused: bool,
    evicted: bool,
    /// Of the keys that are left: how many have no expiry.
    lasting_percent: usize,
}

/// 4000 keys of 500 bytes into room for about a quarter of them; every other one expires.
fn fill(server: &Daemon, policy: &str) -> Outcome {
    let mut client = server.client();
    client.ok(&format!("config set maxmemory-policy {policy}"));
    limit(&mut client, 600_000);
    let value = "x".repeat(500);
    let set = |i: u32| match i % 2 {
        0 => format!("set lasting:{i} {value}"),
        _ => format!("set expiring:{i} {value} ex {}", 10_000 + i * 10),
    };
    let replies = client.pipeline(&(0..4000).map(|i| words(set(i))).collect::<Vec<_>>());
    let keys = client.run("keys *").sorted_texts();
    Outcome {
        refused: replies.iter().any(|reply| reply.is_error("OOM")),
        evicted: info_u64(&mut client, "evicted_keys") > 0,
        lasting_percent: keys.iter().filter(|key| key.starts_with("lasting")).count() * 100 / keys.len(),
    }
}

#[test]
fn every_policy_does_what_it_does_in_redis() {
    for policy in POLICIES {
        let [ours, real] = [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])].map(|server| {
            let outcome = fill(&server, policy);
            assert_eq!(info(&mut server.client(), "maxmemory_policy").as_deref(), Some(policy));
            outcome
        });
        assert_eq!((ours.refused, ours.evicted), (real.refused, real.evicted), "{policy}");
        let (ours, real) = (ours.lasting_percent, real.lasting_percent);
        assert!(ours.abs_diff(real) < 15, "{policy}: {ours}% and {real}% of the keys left have no expiry");
    }
}

#[test]
fn ttl_takes_those_that_expire_first() {
    for server in [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])] {
        let mut client = server.client();
        client.ok("config set maxmemory-policy volatile-ttl");
        let value = "x".repeat(500);
        server.client().pipeline(&(0..2000).map(|i| words(format!("set key:{i} {value} ex {}", 10_000 + i * 10))).collect::<Vec<_>>());
        // The buffers of the one who has written count as well.
        wait_for(SOON, "the writer to be gone", || (info_u64(&mut client, "connected_clients") == 1).then_some(()));
        let used = info_u64(&mut client, "used_memory");
        client.ok(&format!("config set maxmemory {}", used - 600_000));
        wait_for(SOON, "eviction to make room", || (client.run("dbsize").int() < 1200).then_some(()));
        let keys = client.run("keys *").sorted_texts();
        let late = keys.iter().filter(|key| key.trim_start_matches("key:").parse::<u32>().unwrap() >= 1000).count();
        assert!(late * 100 > keys.len() * 85, "{}: {late} of the 1000 that expire last, of {} in all", server.kind.name(), keys.len());
    }
}

#[test]
fn evictions_reach_slaves_which_evict_nothing_themselves() {
    let (master, slave) = (Daemon::replikant(&["--lazyfree-lazy-eviction", "yes"]), Daemon::redis(Peer::V8, &[]));
    let own = Daemon::replikant(&["--maxmemory", "1mb", "--maxmemory-policy", "allkeys-lru"]);
    for slave in [&slave, &own] {
        replicate(slave, master.port);
        wait_in_sync(&master, slave);
    }
    let mut client = master.client();
    client.ok("config set maxmemory-policy allkeys-lru");
    limit(&mut client, 3_000_000);
    let value = "x".repeat(500);
    client.pipeline(&(0..20_000).map(|i| words(format!("set key:{i} {value}"))).collect::<Vec<_>>());
    assert!(info_u64(&mut client, "evicted_keys") > 5000);
    assert!(client.run("dbsize").int() > 1000);
    for slave in [&slave, &own] {
        wait_in_sync(&master, slave);
        assert_eq!(info_u64(&mut slave.client(), "evicted_keys"), 0);
    }
    assert_eq!(digest(&mut client), digest(&mut own.client()));
}

#[test]
fn a_lower_limit_is_reached_between_turns() {
    let server = Daemon::replikant(&["--maxmemory-policy", "allkeys-random", "--lazyfree-lazy-eviction", "yes"]);
    let mut client = server.client();
    client.run("debug populate 100000 key 100");
    client.ok("config set maxmemory 2mb");
    // No command asks for room: INFO and DBSIZE could, so only few of them are sent.
    wait_for(SOON, "eviction to make room", || (info_u64(&mut client, "used_memory") <= 2 << 20).then_some(()));
    assert!(info_u64(&mut client, "longest_turn_us") < 500_000);
}

/// A skewed pattern of accesses: the square of a uniform number.
struct Skewed(u64);

impl Skewed {
    fn next(&mut self, keys: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unit = (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
        (unit * unit * unit * keys as f64) as u64
    }
}

const CACHED_KEYS: u64 = 20_000;

fn unix_second(client: &mut Client) -> String {
    client.run("time").items()[0].text()
}

/// Uses the server as a cache that holds a quarter of the keys; the share of hits once it is warm.
fn hit_ratio(kind: Kind, policy: &str) -> f64 {
    let server = Daemon::start(kind, &["--maxmemory-policy", policy, "--maxmemory-samples", "5", "--lfu-log-factor", "1"]);
    let mut client = server.client();
    let value = "x".repeat(400);
    let put = |key: u64| words(format!("set key:{key:06} {value}"));
    client.pipeline(&(0..CACHED_KEYS / 4).map(|i| put(CACHED_KEYS * 2 + i)).collect::<Vec<_>>());
    let mut limit = info_u64(&mut client, "used_memory");
    client.ok(&format!("config set maxmemory {limit}"));
    let mut pattern = Skewed(7);
    let (mut hits, mut asked) = (0, 0);
    const ROUNDS: u64 = 240;
    for round in 0..ROUNDS {
        let keys: Vec<u64> = (0..500).map(|_| pattern.next(CACHED_KEYS)).collect();
        let replies = client.pipeline(&keys.iter().map(|key| words(format!("get key:{key:06}"))).collect::<Vec<_>>());
        let missed: Vec<u64> = keys.iter().zip(&replies).filter(|(_, reply)| **reply == Value::Nil).map(|(key, _)| *key).collect();
        client.pipeline(&missed.iter().map(|key| put(*key)).collect::<Vec<_>>());
        if round < ROUNDS / 2 {
            // Turns the limit until a quarter of the keys fits, whatever a key and the client's buffers take in this server.
            let missing = CACHED_KEYS as i64 / 4 - client.run("dbsize").int();
            limit = (limit as i64 + missing * 250) as u64;
            client.ok(&format!("config set maxmemory {limit}"));
        } else {
            asked += keys.len();
            hits += keys.len() - missed.len();
        }
        // The LRU clock has seconds only: without some of them all keys look alike.
        if round % 30 == 29 {
            let second = unix_second(&mut client);
            wait_for(SOON, "the next second", || (unix_second(&mut client) != second).then_some(()));
        }
    }
    let kept = client.run("dbsize").int() as f64;
    assert!((kept / (CACHED_KEYS / 4) as f64 - 1.0).abs() < 0.05, "{} holds {kept} keys", kind.name());
    hits as f64 / asked as f64
}

#[test]
fn victims_are_chosen_as_well_as_by_redis() {
    let ratios: Vec<[f64; 2]> = std::thread::scope(|scope| {
        let policies = ["allkeys-lru", "allkeys-lfu", "allkeys-random"];
        let runs = policies.map(|policy| [Kind::under_test(), Kind::Real(Peer::V8)].map(|kind| scope.spawn(move || hit_ratio(kind, policy))));
        runs.map(|run| run.map(|thread| thread.join().unwrap())).to_vec()
    });
    println!("hits, ours and Redis's: {ratios:.3?}");
    for [ours, real] in &ratios {
        assert!((ours - real).abs() < 0.02, "{ratios:.3?}");
    }
    assert!(ratios[0][0] > ratios[2][0] + 0.01 && ratios[1][0] > ratios[2][0] + 0.01, "better than chance: {ratios:.3?}");
}

#[test]
fn clients_that_hold_too_much_are_closed_but_for_those_that_may_not_be() {
    for server in [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])] {
        let (mut control, mut greedy, mut spared) = (server.client(), server.client(), server.client());
        control.ok("client no-evict on");
        spared.ok("client no-evict on");
        control.ok("config set maxmemory-clients 20mb");
        let begun = |of: usize, sent: usize| format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${of}\r\n{}", "x".repeat(sent));
        spared.send(begun(4_000_000, 3_000_000).as_bytes()).expect("it may hold more than fits");
        wait_for(SOON, "the spared client's buffer to count", || {
            let list = control.run("client list").text();
            list.lines().any(|line| line.split(' ').any(|field| field.strip_prefix("tot-mem=").is_some_and(|bytes| bytes.len() > 6))).then_some(())
        });
        assert_eq!(info_u64(&mut control, "evicted_clients"), 0);
        // It may be closed before it has sent everything.
        let _ = greedy.send(begun(40_000_000, 24_000_000).as_bytes());
        assert!(greedy.closed_by_server());
        assert_eq!(info_u64(&mut control, "evicted_clients"), 1);
        control.ok("config set maxmemory-clients 0");
        spared.send(&vec![b'x'; 1_000_000]).expect("the rest");
        spared.send(b"\r\n").expect("the end");
        assert_eq!(spared.reply().expect("a reply"), Value::ok());
    }
}
