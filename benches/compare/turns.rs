//! What a collection of millions does to everybody else: it is grown, trimmed, expired and deleted, while another client asks for something small
//! all the time. The longest turn (only ours tells) and that client's longest wait, for each step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::support::client::encode;
use crate::support::{Client, Daemon};

struct Collection {
    name: &'static str,
    /// Adds the element of this number.
    add: fn(u64) -> Vec<String>,
    /// Takes some hundred elements away; repeated to trim.
    trim: &'static str,
}

const COLLECTIONS: &[Collection] = &[
    Collection { name: "list", add: |n| words(&["RPUSH", "big", &format!("element:{n:09}")]), trim: "LTRIM big 500 -1" },
    Collection { name: "hash", add: |n| words(&["HSET", "big", &format!("field:{n:09}"), "value"]), trim: "" },
    Collection { name: "set", add: |n| words(&["SADD", "big", &format!("member:{n:09}")]), trim: "SPOP big 500" },
    Collection {
        name: "sorted set",
        add: |n| words(&["ZADD", "big", &(n * 7919 % 1_000_003).to_string(), &format!("member:{n:09}")]),
        trim: "ZREMRANGEBYRANK big 0 499",
    },
    Collection {
        name: "stream",
        add: |n| words(&["XADD", "big", &format!("{}-1", n + 1), "place", &format!("p{n}")]),
        trim: "XTRIM big MAXLEN ~ 1000000 LIMIT 500",
    },
];

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

pub fn measure(options: &Options) {
    println!("\nCollections of {} elements: longest turn / longest wait of another client, ms", options.elements);
    println!("{:<12} {:<16} {:>18} {:>18} {:>18} {:>18}", "", "", "grown", "trimmed", "expired", "deleted");
    for collection in COLLECTIONS {
        for kind in &options.servers {
            let server = Daemon::start(*kind, &[]);
            let mut client = server.client();
            client.patience(Duration::from_secs(60)).expect("a longer patience");
            print!("{:<12} {:<16}", collection.name, kind.name());
            let grow = |client: &mut Client| send_all(client, options.elements, collection.add);
            print!(" {:>18}", watched(&server, &mut client, grow));
            let trim = |client: &mut Client| trim(client, collection, options.elements);
            print!(" {:>18}", watched(&server, &mut client, trim));
            let expire = |client: &mut Client| {
                client.run("PEXPIRE big 1");
                wait_until_gone(client);
            };
            print!(" {:>18}", watched(&server, &mut client, expire));
            send_all(&mut client, options.elements / 2, collection.add);
            let delete = |client: &mut Client| {
                client.run("UNLINK big");
            };
            println!(" {:>18}", watched(&server, &mut client, delete));
        }
    }
}

fn send_all(client: &mut Client, count: u64, add: fn(u64) -> Vec<String>) {
    let mut request = Vec::new();
    for first in (0..count).step_by(500) {
        request.clear();
        (first..count.min(first + 500)).for_each(|n| encode(&mut request, &add(n)));
        client.send(&request).expect("sending");
        (first..count.min(first + 500)).for_each(|_| assert!(!client.reply().expect("a reply").is_error("ERR")));
    }
}

fn trim(client: &mut Client, collection: &Collection, elements: u64) {
    for step in 0..elements / 5000 {
        if collection.trim.is_empty() {
            let fields = (0..500).map(|i| format!("field:{:09}", step * 500 + i));
            let request: Vec<String> = ["HDEL".to_owned(), "big".to_owned()].into_iter().chain(fields).collect();
            client.command(&request);
        } else {
            client.run(collection.trim);
        }
    }
}

fn wait_until_gone(client: &mut Client) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while client.run("DBSIZE").int() > 0 {
        assert!(Instant::now() < deadline, "the key has not expired");
        thread::yield_now();
    }
}

/// Runs a step while another client asks; what both show.
fn watched(server: &Daemon, client: &mut Client, step: impl FnOnce(&mut Client)) -> String {
    client.run("CONFIG RESETSTAT");
    let over = Arc::new(AtomicBool::new(false));
    let (mut other, over_too) = (server.client(), over.clone());
    other.patience(Duration::from_secs(60)).expect("a longer patience");
    let asking = thread::spawn(move || {
        let mut longest = Duration::ZERO;
        while !over_too.load(Ordering::Relaxed) {
            let asked = Instant::now();
            other.run("GET nothing");
            longest = longest.max(asked.elapsed());
            thread::sleep(Duration::from_micros(200));
        }
        longest
    });
    step(client);
    // What is freed in the background is part of it.
    thread::sleep(Duration::from_millis(300));
    over.store(true, Ordering::Relaxed);
    let longest = asking.join().expect("the asking thread");
    let info = client.command(&["INFO", "all"]).text();
    let turn = info.lines().find_map(|line| line.strip_prefix("longest_turn_us:")).and_then(|number| number.trim().parse::<f64>().ok());
    let turn = turn.map_or("-".to_owned(), |us| format!("{:.2}", us / 1000.0));
    format!("{turn} / {:.1}", longest.as_secs_f64() * 1000.0)
}
