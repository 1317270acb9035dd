//! Keyspace events beside a real Redis 8.2.3: the same commands, and what a subscriber to all events reads must be the same behind each.

use crate::support::{Client, Daemon, Peer, SOON, Value, replicate, wait_for, wait_in_sync, wait_link_up};

const COMMANDS: &[&str] = &[
    "set a 1",
    "set a 2",
    "set a 2 ex 100",
    "set a 3 keepttl",
    "set a 3 nx",
    "set b 3 nx get",
    "set b 3 xx get",
    "set z 3 xx",
    "set z 3 get px 100000",
    "setex a 100 1",
    "setex e 100 1",
    "psetex e 100000 1",
    "setnx a 1",
    "setnx f 1",
    "getset a 5",
    "getset g 5",
    "mset a 1 h 2 a 3",
    "msetnx a 1 i 2",
    "msetnx j 1 i 2 j 3",
    "append a x",
    "append k x",
    "setrange a 2 zzz",
    "setrange l 2 zzz",
    "incr n",
    "incr n",
    "incrby n 3",
    "decr n",
    "decrby n 3",
    "decr n2",
    "incrbyfloat n 1.5",
    "incrbyfloat n3 1.5",
    "get a",
    "get nokey",
    "mget a nokey nokey2",
    "getdel a",
    "getdel nokey",
    "getex b",
    "getex b ex 100",
    "getex b persist",
    "getex b persist",
    "getex b exat 1",
    "getex nokey ex 1",
    "strlen nokey",
    "getrange nokey 0 1",
    "substr nokey 0 1",
    "exists nokey nokey2 n",
    "touch nokey n",
    "type nokey",
    "ttl nokey",
    "pttl nokey",
    "expiretime nokey",
    "pexpiretime nokey",
    "object encoding nokey",
    "object idletime nokey",
    "object refcount nokey",
    "expire nokey 1",
    "expire n 100",
    "expire n 100 nx",
    "pexpire n 100000",
    "expireat n 9999999999",
    "pexpireat n 9999999999999",
    "persist n",
    "persist n",
    "expire n -1",
    "expire nokey -1",
    "set a 1",
    "set b 1",
    "rename a a",
    "rename a b",
    "rename b c",
    "rename nokey c",
    "renamenx c d",
    "set e 1",
    "renamenx d e",
    "copy d x",
    "copy d x",
    "copy d x replace",
    "copy d x db 1",
    "copy d x db 1 replace",
    "copy nokey x",
    "move d 1",
    "move nokey 1",
    "move x 1",
    "del x nokey e",
    "unlink h",
    "del nokey",
    "lcs nokey nokey2",
    "lcs l nokey",
    "watch nokey",
    "unwatch",
    "multi ; set t 1 ; incr t ; get nokey ; exec",
    "append t xxx",
    "incr t",
    "mset t",
    "set q 1 ex 0",
    "setbit bits 7 1",
    "setbit bits 7 1",
    "setbit bits 100 0",
    "getbit nokey 1",
    "bitcount nokey",
    "bitpos nokey 1",
    "bitop or dest bits nokey",
    "bitop or dest bits bits",
    "bitop or dest nokey nokey",
    "bitop or dest nokey nokey",
    "bitfield field set u8 0 5",
    "bitfield field set u8 0 5",
    "bitfield field get u8 0",
    "bitfield nokey get u8 0",
    "bitfield field incrby u8 0 1 get u8 0",
    "bitfield_ro nokey get u8 0",
    "pfadd hll a",
    "pfadd hll a",
    "pfadd hll2",
    "pfcount hll",
    "pfcount hll nokey",
    "pfcount nokey",
    "pfmerge merged hll hll2",
    "pfmerge merged hll",
    "pfcount merged",
    "swapdb 0 1",
    "swapdb 1 0",
    "flushdb",
    "flushall",
];

/// Commands on `due`, whose time is over. Each is run on a fresh one.
const ON_EXPIRED: &[&str] = &[
    "get due",
    "set due 1",
    "set due 1 nx",
    "set due 1 xx",
    "set due 1 get",
    "set due 1 keepttl",
    "set due 1 ex 100",
    "setex due 100 1",
    "setnx due 1",
    "getset due 1",
    "mset due 1",
    "msetnx due 1",
    "append due x",
    "setrange due 1 x",
    "incr due",
    "incrbyfloat due 1",
    "getdel due",
    "getex due",
    "getex due ex 100",
    "strlen due",
    "mget due due",
    "exists due",
    "touch due",
    "type due",
    "ttl due",
    "object encoding due",
    "expire due 100",
    "persist due",
    "del due",
    "unlink due",
    "rename due other",
    "rename there due",
    "renamenx there due",
    "copy due other",
    "copy there due",
    "copy there due replace",
    "move due 1",
    "keys due",
    "scan 0 match due count 1000",
    "lcs due due",
];

fn encoded(line: &str) -> Vec<u8> {
    let mut request = Vec::new();
    for command in line.split(" ; ") {
        crate::support::client::encode(&mut request, &command.split(' ').collect::<Vec<_>>());
    }
    request
}

/// A server with its commander and a subscriber to all events.
struct Watched {
    commander: Client,
    listener: Client,
    _server: Daemon,
}

impl Watched {
    fn new(server: Daemon, events: &str) -> Watched {
        let mut commander = server.client();
        commander.run("DEBUG SET-ACTIVE-EXPIRE 0");
        commander.ok(&format!("CONFIG SET notify-keyspace-events {events}"));
        let mut listener = server.client();
        listener.run("PSUBSCRIBE __key*__:*");
        Watched { commander, listener, _server: server }
    }

    /// Runs a line, and returns the replies with the events that it has caused, as channel and message.
    fn run(&mut self, line: &str) -> (Vec<Value>, Vec<String>) {
        self.commander.send(&encoded(line)).expect("sending a command");
        let replies = line.split(" ; ").map(|_| self.commander.reply().expect("a reply")).collect();
        (replies, self.events())
    }

    fn events(&mut self) -> Vec<String> {
        self.commander.run("PUBLISH __key__:end x");
        let mut events = Vec::new();
        loop {
            let message = self.listener.reply().expect("an event");
            let [_, _, channel, text] = message.items() else { panic!("no event: {message:?}") };
            if channel.text() == "__key__:end" {
                return events;
            }
            events.push(format!("{} {}", channel.text(), text.text()));
        }
    }
}

fn both(events: &str) -> (Watched, Watched) {
    (Watched::new(Daemon::replikant(&[]), events), Watched::new(Daemon::redis(Peer::V8, &[]), events))
}

#[test]
fn commands_cause_the_events_that_they_do_in_redis() {
    for events in ["AKEnomc", "KEA", "Eg", "K$", "Am", "Kx"] {
        let (mut ours, mut real) = both(events);
        for line in COMMANDS {
            assert_eq!(ours.run(line), real.run(line), "{line}, with {events}");
        }
    }
}

#[test]
fn expired_keys_cause_the_events_that_they_do_in_redis() {
    let (mut ours, mut real) = both("AEnom");
    for line in ON_EXPIRED {
        let [here, there] = [&mut ours, &mut real].map(|server| {
            server.commander.ok("FLUSHALL");
            server.commander.ok("SET there 1");
            server.commander.ok("SET due 1 PX 1");
            server.events();
            let now = std::time::Instant::now();
            wait_for(SOON, "a millisecond or two", || (now.elapsed().as_millis() >= 5).then_some(()));
            server.run(line)
        });
        assert_eq!(here, there, "{line}");
    }
}

#[test]
fn the_expiry_cycle_tells_of_what_it_deletes() {
    let mut ours = Watched::new(Daemon::replikant(&[]), "Ex");
    ours.commander.run("DEBUG SET-ACTIVE-EXPIRE 1");
    ours.commander.ok("SET due 1 PX 1");
    let message = ours.listener.reply().expect("an event");
    assert_eq!(message.items()[2..], [Value::bulk("__keyevent@0__:expired"), Value::bulk("due")]);
}

/// What a slave's subscriber hears of the master's commands.
fn events_of_slave(replica: Daemon) -> Vec<String> {
    let master = Daemon::redis(Peer::V8, &[]);
    replicate(&replica, master.port);
    wait_link_up(&replica);
    let mut listener = replica.client();
    replica.client().ok("CONFIG SET notify-keyspace-events AKEnom");
    listener.run("PSUBSCRIBE __key*__:*");
    let mut commander = master.client();
    for line in COMMANDS.iter().filter(|line| !line.contains(';') && !line.starts_with("watch")) {
        commander.run(line);
    }
    commander.ok("SET due 1 PX 1");
    wait_for(SOON, "the key to expire", || (commander.run("GET due") == Value::Nil).then_some(()));
    wait_in_sync(&master, &replica);
    commander.run("PUBLISH __key__:end x");
    let mut events = Vec::new();
    loop {
        let message = listener.reply().expect("an event");
        let line = format!("{} {}", message.items()[2].text(), message.items()[3].text());
        if line == "__key__:end x" {
            return events;
        }
        events.push(line);
    }
}

#[test]
fn a_slave_makes_its_own_events() {
    assert_eq!(events_of_slave(Daemon::replikant(&[])), events_of_slave(Daemon::redis(Peer::V8, &[])));
}

#[test]
fn the_directive_is_that_of_redis() {
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    let (mut ours, mut real) = (ours.client(), real.client());
    for letters in ["KEA", "AKEocmn", "odKcn", "g$lshzxetdK", "", "q", "K E", "kea", "Eg"] {
        for words in [vec!["CONFIG", "SET", "notify-keyspace-events", letters], vec!["CONFIG", "GET", "notify-keyspace-events"]] {
            assert_eq!(ours.command(&words), real.command(&words), "{letters}");
        }
    }
}
