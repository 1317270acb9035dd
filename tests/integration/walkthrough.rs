//! The first things that a person tries, through the real redis-cli: a master, a slave, and what each shows.

use crate::support::peers::cli;
use crate::support::{Daemon, Kind, info, wait_for, wait_in_sync, wait_link_up};
use crate::support::{SOON, replicate};

/// The keys that redis-cli lists, without the numbers before them, sorted.
fn keys(port: u16) -> Vec<String> {
    let listing = cli(port, &["keys", "*"]);
    let mut keys: Vec<String> = listing.lines().map(|line| line.split_once(") ").map_or(line, |(_, key)| key).to_owned()).collect();
    keys.sort();
    keys
}

#[test]
fn a_master_and_a_slave_by_hand() {
    let (master, slave) = (Daemon::replikant(&[]), Daemon::replikant(&[]));
    assert_eq!(cli(master.port, &["flushdb"]), "OK");
    assert_eq!(cli(master.port, &["set", "mykey", "hello"]), "OK");
    assert_eq!(cli(master.port, &["set", "mykey2", "world"]), "OK");
    assert_eq!(keys(master.port), ["\"mykey\"", "\"mykey2\""]);

    assert_eq!(cli(slave.port, &["slaveof", "127.0.0.1", &master.port.to_string()]), "OK");
    wait_in_sync(&master, &slave);
    assert_eq!(keys(slave.port), ["\"mykey\"", "\"mykey2\""]);
    assert_eq!(cli(slave.port, &["get", "mykey"]), "\"hello\"");

    assert_eq!(cli(master.port, &["del", "mykey2"]), "(integer) 1");
    wait_in_sync(&master, &slave);
    assert_eq!(keys(master.port), ["\"mykey\""]);
    assert_eq!(keys(slave.port), ["\"mykey\""]);

    assert!(cli(slave.port, &["set", "mykey", "mine"]).starts_with("(error) READONLY"), "a write on the slave");
    assert_eq!(cli(slave.port, &["get", "mykey"]), "\"hello\"");
}

#[test]
fn promotion_and_the_way_back() {
    let (one, other) = (Daemon::replikant(&[]), Daemon::replikant(&[]));
    one.client().ok("SET from one");
    replicate(&other, one.port);
    wait_in_sync(&one, &other);

    assert_eq!(cli(other.port, &["slaveof", "no", "one"]), "OK");
    assert_eq!(cli(other.port, &["set", "from", "other"]), "OK");
    assert_eq!(cli(one.port, &["get", "from"]), "\"one\"");

    replicate(&one, other.port);
    wait_in_sync(&other, &one);
    assert_eq!(cli(one.port, &["get", "from"]), "\"other\"");
}

#[test]
fn a_restarted_slave_is_one_only_if_its_conf_says_so() {
    let master = Daemon::replikant(&[]);
    master.client().ok("SET mykey hello");
    let mut slave = Daemon::with_conf(Kind::under_test(), "# my slave\nsave \"\"\nenable-debug-command yes\n", &[]);
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);

    slave.terminate();
    slave.start_again();
    assert_eq!(info(&mut slave.client(), "role").unwrap(), "master", "SLAVEOF alone does not outlast a restart");

    replicate(&slave, master.port);
    assert_eq!(cli(slave.port, &["config", "rewrite"]), "OK");
    let conf = std::fs::read_to_string(slave.conf()).unwrap();
    assert!(conf.starts_with("# my slave\n"), "{conf}");
    slave.terminate();
    slave.start_again();
    wait_link_up(&slave);
    wait_in_sync(&master, &slave);
    assert_eq!(cli(slave.port, &["get", "mykey"]), "\"hello\"");

    slave.client().ok("SLAVEOF NO ONE");
    slave.client().ok("CONFIG REWRITE");
    slave.terminate();
    slave.start_again();
    assert_eq!(info(&mut slave.client(), "role").unwrap(), "master");
}

#[test]
fn info_tells_both_ends_of_the_link() {
    let (master, slave) = (Daemon::replikant(&[]), Daemon::replikant(&[]));
    let (mut at_master, mut at_slave) = (master.client(), slave.client());
    assert_eq!(info(&mut at_master, "role").unwrap(), "master");
    assert_eq!(info(&mut at_master, "connected_slaves").unwrap(), "0");
    replicate(&slave, master.port);
    wait_in_sync(&master, &slave);

    assert_eq!(info(&mut at_slave, "role").unwrap(), "slave");
    assert_eq!(info(&mut at_slave, "master_host").unwrap(), "127.0.0.1");
    assert_eq!(info(&mut at_slave, "master_port").unwrap(), master.port.to_string());
    assert_eq!(info(&mut at_slave, "master_link_status").unwrap(), "up");
    assert_eq!(info(&mut at_slave, "master_replid"), info(&mut at_master, "master_replid"));
    assert_eq!(info(&mut at_master, "connected_slaves").unwrap(), "1");
    let line = wait_for(SOON, "the slave to be online", || info(&mut at_master, "slave0").filter(|line| line.contains("state=online")));
    assert!(line.starts_with(&format!("ip=127.0.0.1,port={},state=online,offset=", slave.port)), "{line}");

    let role = at_master.run("ROLE");
    assert_eq!(role.items()[0].text(), "master");
    assert_eq!(role.items()[2].items()[0].items()[1].text(), slave.port.to_string());
    let role = at_slave.run("ROLE");
    assert_eq!(role.items()[0].text(), "slave");
    assert_eq!(role.items()[2].int(), i64::from(master.port));
    assert_eq!(role.items()[3].text(), "connected");
}
