//! Resident bytes a key: the server's memory after loading keys of one shape, less the memory before; `used_memory` beside it.

use crate::load::{Generator, Op};
use crate::options::Options;
use crate::support::client::encode;
use crate::support::process::{peak, rss};
use crate::support::{Client, Daemon, Kind};

pub fn measure(options: &Options) {
    println!("\nMemory: resident bytes a key, keys of 16 bytes, values of 64");
    println!("{:<16} {:>10} {:>12} {:>14}", "", "keys", "bytes a key", "at the peak");
    for keys in [options.keys, options.keys * 14 / 10] {
        for kind in &options.servers {
            let server = Daemon::start(*kind, &[]);
            // The first connections and commands claim memory that belongs to no key.
            Generator::fill(server.port, Op::Set, 1);
            let before = rss(server.pid());
            Generator::fill(server.port, Op::Set, keys);
            let each = |bytes: u64| (bytes - before) as f64 / keys as f64;
            println!("{:<16} {:>10} {:>12.1} {:>14.1}", kind.name(), keys, each(rss(server.pid())), each(peak(server.pid())));
        }
    }
}

/// Keys of one kind, or elements of one big key.
struct Shape {
    name: &'static str,
    /// Divides the number of keys of strings.
    fewer: u64,
    /// The words of the command that makes the key or element of this number.
    command: fn(u64) -> Vec<String>,
}

/// A command whose arguments behind the key are made from the numbers 0 to 9.
fn ten(command: &str, n: u64, arguments: impl Fn(u64) -> Vec<String>) -> Vec<String> {
    let mut words = vec![command.to_owned(), format!("key:{n:012}")];
    words.extend((0..10).flat_map(|i| arguments(i + n % 7)));
    words
}

fn set(n: u64, value: String) -> Vec<String> {
    vec!["SET".into(), format!("key:{n:012}"), value]
}

const SHAPES: &[Shape] = &[
    Shape { name: "string, 8 bytes", fewer: 1, command: |n| set(n, format!("v{:07}", n % 10_000_000)) },
    Shape { name: "string, 64 bytes", fewer: 1, command: |n| set(n, format!("v{n:063}")) },
    Shape { name: "integer", fewer: 1, command: |n| set(n, (n * 7919 + 100_000).to_string()) },
    Shape {
        name: "string, 8 bytes, with TTL",
        fewer: 1,
        command: |n| [set(n, format!("v{:07}", n % 10_000_000)), vec!["EX".into(), "100000".into()]].concat(),
    },
    Shape { name: "hash of 10 fields", fewer: 4, command: |n| ten("HSET", n, |i| vec![format!("field{i}"), format!("value:{i}")]) },
    Shape { name: "list of 10", fewer: 4, command: |n| ten("RPUSH", n, |i| vec![format!("element:{i}")]) },
    Shape { name: "set of 10", fewer: 4, command: |n| ten("SADD", n, |i| vec![format!("member:{i}")]) },
    Shape { name: "set of 10 integers", fewer: 4, command: |n| ten("SADD", n, |i| vec![(i * 1000).to_string()]) },
    Shape { name: "sorted set of 10", fewer: 4, command: |n| ten("ZADD", n, |i| vec![(i * 10).to_string(), format!("member:{i}")]) },
    Shape {
        name: "member of a big sorted set",
        fewer: 1,
        command: |n| vec!["ZADD".into(), "big".into(), (n * 7919 % 1_000_003).to_string(), format!("member:{n:09}")],
    },
    Shape { name: "field of a big hash", fewer: 1, command: |n| vec!["HSET".into(), "big".into(), format!("field:{n:09}"), format!("value:{n:09}")] },
    Shape { name: "member of a big set", fewer: 1, command: |n| vec!["SADD".into(), "big".into(), format!("member:{n:09}")] },
    Shape { name: "element of a big list", fewer: 1, command: |n| vec!["RPUSH".into(), "big".into(), format!("element:{n:09}")] },
    Shape {
        name: "entry of a big stream",
        fewer: 1,
        command: |n| {
            vec!["XADD".into(), "big".into(), "*".into(), "temperature".into(), (n % 50).to_string(), "place".into(), format!("p{}", n % 1000)]
        },
    },
];

/// Every shape on every server, side by side.
pub fn shapes(options: &Options) {
    println!("\nMemory by shape: resident bytes (used_memory) for each key or element");
    print!("{:<28} {:>9}", "", "number");
    options.servers.iter().for_each(|kind| print!(" {:>20}", kind.name()));
    println!();
    for shape in SHAPES {
        let number = options.keys / shape.fewer;
        print!("{:<28} {number:>9}", shape.name);
        for kind in &options.servers {
            let (resident, used) = fill(*kind, shape, number);
            print!(" {:>20}", format!("{resident:.1} ({used:.1})"));
        }
        println!();
    }
}

fn fill(kind: Kind, shape: &Shape, number: u64) -> (f64, f64) {
    let server = Daemon::start(kind, &[]);
    let mut client = server.client();
    client.command(&(shape.command)(0));
    let before = (rss(server.pid()), used_memory(&mut client));
    let mut request = Vec::new();
    for first in (1..=number).step_by(1000) {
        let count = 1000.min(number + 1 - first);
        request.clear();
        (first..first + count).for_each(|n| encode(&mut request, &(shape.command)(n)));
        client.send(&request).expect("sending");
        (0..count).for_each(|_| assert!(!client.reply().expect("a reply").is_error("")));
    }
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / number as f64;
    (each(rss(server.pid()), before.0), each(used_memory(&mut client), before.1))
}

fn used_memory(client: &mut Client) -> u64 {
    let info = client.command(&["INFO", "memory"]).text();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.and_then(|number| number.trim().parse().ok()).expect("used_memory")
}
