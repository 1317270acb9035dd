//! Resident bytes a key: the server's memory after loading keys of 16 bytes with values of 64, less the memory before.

use crate::load::{Generator, Op};
use crate::options::Options;
use crate::support::Daemon;
use crate::support::process::{peak, rss};

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
