//! Directives of both ends of a link, beside real servers: writable slaves and their expiry, memory, slaves that a master must have, passwords, names that are
//! announced, commands that are renamed.

use crate::support::process::signal;
use crate::support::{Client, Daemon, Kind, Peer, SOON, Value, info, offset, replicate, wait_for, wait_in_sync, wait_link_up};

/// What was said, and what it was answered.
#[derive(Default)]
struct Transcript(Vec<String>);

impl Transcript {
    fn say(&mut self, who: &str, client: &mut Client, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let reply = client.command(&words);
        self.0.push(format!("{who}: {line}: {reply:?}"));
    }

    fn note(&mut self, what: &str, value: impl std::fmt::Debug) {
        self.0.push(format!("{what}: {value:?}"));
    }
}

#[track_caller]
fn same_as_redis(transcript: impl Fn(Kind) -> Transcript) {
    let ours = transcript(Kind::under_test()).0;
    for peer in [Peer::V7, Peer::V8] {
        assert_eq!(ours, transcript(Kind::Real(peer)).0, "beside {}", peer.name());
    }
}

fn wait_up(client: &mut Client) {
    wait_for(SOON, "the link to come up", || (info(client, "master_link_status").as_deref() == Some("up")).then_some(()));
}

/// A slave that may be written to keeps what is written to itself, deletes its own keys when they are due, and leaves those of its master to the master.
fn writable(kind: Kind) -> Transcript {
    let quiet = ["--repl-ping-replica-period", "3600"];
    let (master, sub) = (Daemon::start(kind, &quiet), Daemon::start(kind, &quiet));
    let slave = Daemon::start(kind, &["--replica-read-only", "no", "--repl-ping-replica-period", "3600"]);
    replicate(&slave, master.port);
    wait_link_up(&slave);
    replicate(&sub, slave.port);
    wait_link_up(&sub);
    let (mut top, mut client, mut below) = (master.client(), slave.client(), sub.client());
    top.ok("SET a 1");
    top.ok("SET b 1");
    wait_in_sync(&master, &slave);
    wait_in_sync(&slave, &sub);
    let before = offset(&mut client);
    let mut said = Transcript::default();
    for line in [
        "SET own 1",
        "SET due 1 PX 200",
        "LPUSH l 1 2",
        "BLPOP l 1",
        "PEXPIRE a 200",
        "SET kept 1 PX 200",
        "PERSIST kept",
        "EXPIRE l 1000",
        "WAIT 0 0",
        "PUBLISH c m",
        "MULTI",
        "SET own 2",
        "INCR own",
        "EXEC",
        "EVAL return(redis.call('incr','own')) 0",
    ] {
        said.say("slave", &mut client, line);
    }
    said.note("the offset stands", offset(&mut client) == before);
    wait_for(SOON, "own keys to be deleted", || (client.run("DBSIZE") == Value::Int(4)).then_some(()));
    said.note("keys", client.run("KEYS *").sorted_texts());
    said.note("tracked", info(&mut client, "slave_expires_tracked_keys"));
    for line in ["GET a", "EXISTS due", "DEL b", "GET b"] {
        said.say("slave", &mut client, line);
    }
    for line in ["GET own", "GET a", "GET b", "SET x 1", "DBSIZE"] {
        said.say("sub", &mut below, line);
    }
    // A key of the master's that is due is missing here, and stays until the master says DEL.
    top.ok("SET c 1 PX 200");
    top.ok("DEBUG SET-ACTIVE-EXPIRE 0");
    wait_for(SOON, "the key at the bottom", || (below.run("DBSIZE") == Value::Int(3)).then_some(()));
    wait_for(SOON, "its time", || (client.run("GET c") == Value::Nil).then_some(()));
    for line in ["EXISTS c", "TTL c", "TYPE c", "DBSIZE", "SCAN 0 MATCH c", "OBJECT ENCODING c", "GETEX c", "STRLEN c"] {
        said.say("sub", &mut below, line);
    }
    // A read deletes nothing on a slave; a write of a client does.
    for line in ["GET c", "DBSIZE", "APPEND c x", "TTL c", "DBSIZE"] {
        said.say("slave", &mut client, line);
    }
    said.say("master", &mut top, "GET c");
    wait_for(SOON, "the master's DEL", || (below.run("DBSIZE") == Value::Int(2)).then_some(()));
    said.note("link", info(&mut client, "master_link_status"));
    said
}

#[test]
fn a_writable_slave_keeps_its_writes_to_itself_as_in_redis() {
    same_as_redis(writable);
}

/// `maxmemory` of a slave counts only where it must not ignore it.
fn memory(kind: Kind) -> Transcript {
    let master = Daemon::start(kind, &[]);
    let slave = Daemon::start(kind, &["--maxmemory", "1", "--maxmemory-policy", "allkeys-lru"]);
    replicate(&slave, master.port);
    wait_link_up(&slave);
    let (mut top, mut client) = (master.client(), slave.client());
    let mut said = Transcript::default();
    top.ok("SET a 1");
    wait_for(SOON, "the key", || (client.run("GET a") == Value::bulk("1")).then_some(()));
    client.ok("CONFIG SET replica-read-only no");
    said.say("slave", &mut client, "SET own 1");
    said.say("slave", &mut client, "DBSIZE");
    client.ok("CONFIG SET replica-ignore-maxmemory no");
    said.say("slave", &mut client, "SET own 1");
    wait_for(SOON, "all to be evicted", || (client.run("DBSIZE") == Value::Int(0)).then_some(()));
    top.ok("SET b 1");
    wait_for(SOON, "the write to have come", || (offset(&mut client) >= offset(&mut top)).then_some(()));
    wait_for(SOON, "it to be evicted", || (client.run("DBSIZE") == Value::Int(0)).then_some(()));
    said.note("link", info(&mut client, "master_link_status"));
    said.say("master", &mut top, "DBSIZE");
    said
}

#[test]
fn a_slave_minds_maxmemory_where_redis_does() {
    same_as_redis(memory);
}

/// A master without enough good slaves takes no writes, whatever kind.
fn good_slaves(kind: Kind) -> Transcript {
    let master = Daemon::start(kind, &["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"]);
    let slave = Daemon::start(kind, &[]);
    let mut top = master.client();
    let mut said = Transcript::default();
    said.say("alone", &mut top, "SET a 1");
    said.note("good", info(&mut top, "min_slaves_good_slaves"));
    replicate(&slave, master.port);
    wait_for(SOON, "a good slave", || (top.run("SET a 1") == Value::ok()).then_some(()));
    said.note("good", info(&mut top, "min_slaves_good_slaves"));
    signal(slave.pid(), libc::SIGSTOP);
    wait_for(SOON, "the slave to lag", || top.run("SET a 1").is_error("NOREPLICAS").then_some(()));
    said.note("good", info(&mut top, "min_slaves_good_slaves"));
    for line in [
        "GET a",
        "LPUSH l 1",
        "DEL a",
        "FLUSHALL",
        "PUBLISH a b",
        "EVAL return(redis.call('set','a','1')) 0",
        "EVAL return(1) 0",
        "MULTI",
        "SET a 1",
        "EXEC",
    ] {
        said.say("lagging", &mut top, line);
    }
    top.ok("CONFIG SET min-replicas-max-lag 0");
    said.say("without a lag", &mut top, "SET a 1");
    said.note("good", info(&mut top, "min_slaves_good_slaves"));
    signal(slave.pid(), libc::SIGCONT);
    said
}

#[test]
fn a_master_wants_as_many_good_slaves_as_in_redis() {
    same_as_redis(good_slaves);
}

/// Passwords and users of the link, taken when it is made the next time; and what a slave says of itself.
fn passwords_and_names(kind: Kind) -> Transcript {
    let master = Daemon::start(kind, &["--requirepass", "pw"]);
    let args = ["--replica-announce-ip", "9.9.9.9", "--replica-announce-port", "77", "--replica-announced", "no", "--replica-priority", "7"];
    let slave = Daemon::start(kind, &args);
    let mut client = slave.client();
    let mut top = master.client();
    top.ok("AUTH pw");
    let mut said = Transcript::default();
    let refused = |client: &mut Client, top: &mut Client, said: &mut Transcript, what: &str| {
        // A link that fails is tried again within a second or two; it would be up by then.
        let errors = |top: &mut Client| info(top, "total_error_replies").unwrap().parse::<u64>().unwrap();
        let before = errors(top);
        wait_for(SOON, "the master to refuse", || (errors(top) >= before + 2).then_some(()));
        said.note(what, info(client, "master_link_status"));
    };
    replicate(&slave, master.port);
    refused(&mut client, &mut top, &mut said, "no password");
    client.ok("CONFIG SET masterauth wrong");
    refused(&mut client, &mut top, &mut said, "the wrong password");
    client.ok("CONFIG SET masterauth pw");
    wait_up(&mut client);
    // ROLE lists it only when the master, too, takes it for online.
    let online = |top: &mut Client| info(top, "slave0").filter(|seen| seen.contains("state=online"));
    let seen = wait_for(SOON, "the slave to be online", || online(&mut top));
    said.note("announced", seen.split(',').take(3).map(str::to_owned).collect::<Vec<_>>());
    said.note("role", &top.run("ROLE").items()[2].items()[0].items()[..2]);
    said.note("shown", ["replica_announced", "slave_priority"].map(|field| info(&mut client, field)));
    client.ok("CONFIG SET masteruser nobody");
    said.say("master", &mut top, "CLIENT KILL TYPE replica");
    refused(&mut client, &mut top, &mut said, "a user that is not there");
    client.ok("CONFIG SET masteruser default");
    wait_up(&mut client);
    said
}

#[test]
fn links_use_passwords_and_announce_names_as_in_redis() {
    same_as_redis(passwords_and_names);
}

/// A master without PSYNC is followed by SYNC, one without CONFIG or with another SET as any.
fn renamed(kind: Kind) -> Transcript {
    let mut said = Transcript::default();
    for lines in
        ["rename-command SYNC \"\"", "rename-command PSYNC \"\"", "rename-command CONFIG \"\"", "rename-command SET hidden\nrename-command DEL \"\""]
    {
        let conf = format!("save \"\"\nrepl-diskless-sync-delay 0\nenable-debug-command yes\n{lines}\n");
        let (master, slave) = (Daemon::with_conf(kind, &conf, &[]), Daemon::start(kind, &[]));
        let (mut top, mut client) = (master.client(), slave.client());
        top.run("APPEND a 1");
        replicate(&slave, master.port);
        wait_up(&mut client);
        top.run("APPEND a 2");
        wait_for(SOON, "the write", || (client.run("GET a") == Value::bulk("12")).then_some(()));
        said.say(lines, &mut top, "SET b 1");
        said.say(lines, &mut top, "PSYNC");
        said.say(lines, &mut top, "DEL a");
    }
    said
}

#[test]
fn masters_with_renamed_commands_are_followed_as_in_redis() {
    same_as_redis(renamed);
}
