//! How ours shows the two ends of its links beside real servers in the same small graph: INFO replication, ROLE, CLIENT LIST, CLIENT KILL.

use std::net::TcpListener;

use crate::support::hand_master::HandMaster;
use crate::support::{Client, Daemon, Kind, Peer, SOON, Value, info, replicate, wait_for, wait_in_sync, wait_link_up};

/// A master with two slaves, the first of which has one itself.
struct Graph {
    servers: [Daemon; 4],
}

const NAMES: [&str; 4] = ["<master>", "<slave>", "<other>", "<sub>"];

impl Graph {
    fn of(kind: Kind) -> Graph {
        // No ping falls between two looks.
        let servers = [(); 4].map(|()| Daemon::start(kind, &["--repl-ping-replica-period", "3600"]));
        for (slave, master) in [(1, 0), (2, 0), (3, 1)] {
            replicate(&servers[slave], servers[master].port);
            wait_link_up(&servers[slave]);
        }
        servers[0].client().ok("SET a 1");
        let graph = Graph { servers };
        for (slave, master) in [(1, 0), (2, 0), (3, 1)] {
            wait_in_sync(&graph.servers[master], &graph.servers[slave]);
            graph.wait_acknowledged(master);
        }
        graph
    }

    fn client(&self, at: usize) -> Client {
        self.servers[at].client()
    }

    /// Until all slaves of a server have acknowledged all of its stream.
    fn wait_acknowledged(&self, at: usize) {
        let mut client = self.client(at);
        wait_for(SOON, "the slaves' acknowledgements", || {
            let end = format!(",offset={},", info(&mut client, "master_repl_offset")?);
            let all = (0..4).filter_map(|number| info(&mut client, &format!("slave{number}"))).all(|line| line.contains(&end));
            all.then_some(())
        });
    }

    /// With names in the place of ports.
    fn anonymous(&self, mut text: String) -> String {
        for (server, name) in self.servers.iter().zip(NAMES) {
            text = text.replace(&server.port.to_string(), name);
        }
        text
    }
}

/// Fields of our own.
const OURS: &str = "repl_";
/// Fields that Redis has had since 7.4 or later.
const NEWER: [&str; 6] = [
    "replica_full_sync_buffer_size",
    "replica_full_sync_buffer_peak",
    "master_current_sync_attempts",
    "master_total_sync_attempts",
    "master_link_up_since_seconds",
    "total_disconnect_time_sec",
];

fn replication_fields(client: &mut Client) -> Vec<(String, String)> {
    let text = client.run("INFO replication").text();
    let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).filter(|(name, _)| !is_ours(name)).collect()
}

fn is_ours(name: &str) -> bool {
    name.starts_with(OURS) && !name.starts_with("repl_backlog") || matches!(name, "master_last_error" | "master_sync_refused")
}

/// What two servers in the same state need not have in common: identities, times, counts of attempts whose pace differs.
fn is_own(name: &str) -> bool {
    matches!(name, "master_replid" | "master_replid2")
        || name.contains("second") && name != "second_repl_offset"
        || name.ends_with("_sync_attempts")
        || name.ends_with("_sec")
}

fn comparable(fields: Vec<(String, String)>) -> Vec<String> {
    let strip_lag = |value: &str| value.split(",lag=").next().unwrap_or_default().to_owned();
    fields.into_iter().map(|(name, value)| if is_own(&name) { name } else { format!("{name}:{}", strip_lag(&value)) }).collect()
}

fn without_newer(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| !NEWER.iter().any(|newer| line.starts_with(newer))).collect()
}

fn views(kind: Kind) -> Vec<Vec<String>> {
    let graph = Graph::of(kind);
    let view = |at| {
        let mut client = graph.client(at);
        let mut lines = comparable(replication_fields(&mut client));
        lines.push(format!("{:?}", client.run("ROLE")));
        lines.into_iter().map(|line| graph.anonymous(line)).collect()
    };
    (0..4).map(view).collect()
}

#[test]
fn every_server_of_a_graph_shows_itself_as_redis_does() {
    let ours = views(Kind::under_test());
    assert_eq!(ours, views(Kind::Real(Peer::V8)));
    let older: Vec<_> = ours.into_iter().map(without_newer).collect();
    assert_eq!(older, views(Kind::Real(Peer::V7)));
}

const ID: &str = "0123456789abcdef0123456789abcdef01234567";

/// A slave's view of itself when its ROLE says so, and when INFO shows `field` as wanted.
fn in_state(client: &mut Client, state: &str, field: (&str, &str), port: u16) -> Vec<String> {
    wait_for(SOON, &format!("{state} with {field:?}"), || {
        let is_there = client.run("ROLE").items()[3] == Value::bulk(state) && info(client, field.0).as_deref() == Some(field.1);
        is_there.then_some(())
    });
    let lines = comparable(replication_fields(client));
    lines.into_iter().map(|line| line.replace(&port.to_string(), "<master>")).collect()
}

/// A slave that goes through all states of its link with masters that stop half-way.
fn states(kind: Kind) -> Vec<Vec<String>> {
    let slave = Daemon::start(kind, &[]);
    let mut client = slave.client();
    client.ok("SET a 1");
    let mut seen = Vec::new();
    replicate(&slave, 1);
    seen.push(in_state(&mut client, "connect", ("master_link_status", "down"), 1));
    let silent = TcpListener::bind("127.0.0.1:0").expect("binding a port");
    let port = silent.local_addr().expect("its address").port();
    replicate(&slave, port);
    seen.push(in_state(&mut client, "handshake", ("master_sync_in_progress", "0"), port));
    let cases: [(String, &str, (&str, &str)); 4] = [
        ("\n\n".to_owned(), "handshake", ("master_sync_in_progress", "0")),
        (format!("+FULLRESYNC {ID} 100\r\n"), "sync", ("master_sync_total_bytes", "-1")),
        (format!("+FULLRESYNC {ID} 100\r\n$1000\r\nREDIS0009"), "sync", ("master_sync_read_bytes", "9")),
        (format!("+FULLRESYNC {ID} 100\r\n$EOF:{ID}\r\nREDIS0009"), "sync", ("master_sync_read_bytes", "9")),
    ];
    for (said, state, field) in cases {
        let master = HandMaster::listen();
        replicate(&slave, master.port);
        let mut link = master.accept();
        link.say(said.as_bytes());
        seen.push(in_state(&mut client, state, field, master.port));
        assert_eq!(client.run("GET a"), Value::bulk("1"), "the old data is served");
    }
    let mut master = Daemon::start(kind, &[]);
    replicate(&slave, master.port);
    seen.push(in_state(&mut client, "connected", ("master_link_status", "up"), master.port));
    master.kill();
    seen.push(in_state(&mut client, "connect", ("master_link_status", "down"), master.port));
    seen
}

#[test]
fn a_slave_shows_each_state_of_its_link_as_redis_does() {
    let ours = states(Kind::under_test());
    assert_eq!(ours, states(Kind::Real(Peer::V8)));
    let older: Vec<_> = ours.into_iter().map(without_newer).collect();
    assert_eq!(older, states(Kind::Real(Peer::V7)));
}

/// How often a slave has tried: since this master is followed, and since the link was up.
#[test]
fn attempts_and_times_begin_anew_as_in_redis() {
    for kind in [Kind::under_test(), Kind::Real(Peer::V8)] {
        let (mut master, slave) = (Daemon::start(kind, &[]), Daemon::start(kind, &[]));
        let mut client = slave.client();
        let attempts = |client: &mut Client| [NEWER[2], NEWER[3]].map(|field| info(client, field).unwrap());
        replicate(&slave, 1);
        wait_for(SOON, "a second attempt", || (info(&mut client, NEWER[3]).as_deref() == Some("2")).then_some(()));
        replicate(&slave, master.port);
        wait_link_up(&slave);
        assert_eq!(attempts(&mut client), ["1", "1"]);
        assert_eq!(info(&mut client, "total_disconnect_time_sec").unwrap(), "0");
        assert_eq!(master.client().run("CLIENT KILL TYPE slave"), Value::Int(1));
        wait_for(SOON, "the link to come again", || (attempts(&mut client) == ["1", "2"]).then_some(()));
        wait_link_up(&slave);
        master.kill();
        wait_for(SOON, "the time to be counted", || {
            (info(&mut client, "total_disconnect_time_sec").unwrap() != "0" && info(&mut client, "master_link_down_since_seconds").unwrap() != "0")
                .then_some(())
        });
        master.start_again();
        wait_link_up(&slave);
        assert_ne!(info(&mut client, "total_disconnect_time_sec").unwrap(), "0");
        assert_eq!(info(&mut client, "master_link_down_since_seconds"), None);
    }
}

/// The lines of CLIENT LIST for the clients of a type: the names of all fields, and those values that must be the same.
fn listed(client: &mut Client, kind: &str) -> Vec<(Vec<String>, Vec<String>)> {
    const SAME: [&str; 14] = ["name", "flags", "db", "sub", "psub", "ssub", "multi", "watch", "obl", "cmd", "user", "redir", "resp", "lib-name"];
    let text = client.run(&format!("CLIENT LIST TYPE {kind}")).text();
    let fields =
        |line: &str| line.split(' ').filter_map(|field| field.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect::<Vec<_>>();
    text.lines()
        .map(|line| {
            let all = fields(line);
            let same = all.iter().filter(|(name, _)| SAME.contains(&name.as_str())).map(|(name, value)| format!("{name}={value}")).collect();
            (all.into_iter().map(|(name, _)| name).collect(), same)
        })
        .collect()
}

#[test]
fn clients_at_both_ends_of_a_link_are_listed_as_in_redis() {
    let graphs = [Kind::under_test(), Kind::Real(Peer::V8)].map(Graph::of);
    for (at, name) in NAMES.iter().enumerate() {
        for kind in ["normal", "master", "replica", "slave", "pubsub"] {
            let [ours, real] = graphs.each_ref().map(|graph| listed(&mut graph.client(at), kind));
            // Others of the test may still be connected.
            if kind != "normal" {
                assert_eq!(ours, real, "{kind} at {name}");
            }
        }
    }
    let field = |graph: &Graph, at: usize, kind: &str, name: &str| -> u64 {
        let text = graph.client(at).run(&format!("CLIENT LIST TYPE {kind}")).text();
        let line = text.lines().next().expect("a client");
        line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('=')).expect("the field").parse().expect("a number")
    };
    for graph in &graphs {
        let written = info(&mut graph.client(0), "master_repl_offset").unwrap().parse::<u64>().unwrap();
        assert_eq!(field(graph, 1, "master", "tot-net-in"), written, "what has come from the master");
        assert!(field(graph, 0, "slave", "tot-net-out") > written, "the handshake and the stream");
    }
}

/// What a slave has not been sent yet is told as its output.
#[test]
fn a_slave_that_reads_nothing_is_seen_by_its_output() {
    let master = Daemon::replikant(&["--client-output-buffer-limit", "replica 0 0 0"]);
    let _tap = crate::support::tap::StreamTap::attach(master.port);
    let mut client = master.client();
    let omem = |client: &mut Client| -> u64 {
        let text = client.run("CLIENT LIST TYPE replica").text();
        text.split(' ').find_map(|field| field.strip_prefix("omem=")).expect("a slave").parse().expect("a number")
    };
    assert_eq!(omem(&mut client), 0);
    let value = "x".repeat(1 << 20);
    wait_for(SOON, "the socket to be full", || {
        assert_eq!(client.command(&["SET", "a", &value]), Value::ok());
        (omem(&mut client) > 1 << 20).then_some(())
    });
}

fn kills(kind: Kind) -> Vec<String> {
    let graph = Graph::of(kind);
    let mut said = Vec::new();
    let all_back = || {
        for (slave, master) in [(1, 0), (2, 0), (3, 1)] {
            wait_for(SOON, "the slave to be back", || {
                let count = if master == 0 { "2" } else { "1" };
                (info(&mut graph.client(master), "connected_slaves").as_deref() == Some(count)).then_some(())
            });
            wait_link_up(&graph.servers[slave]);
        }
    };
    for (at, line) in [
        (0, "CLIENT KILL TYPE master"),
        (0, "CLIENT KILL TYPE slave"),
        (1, "CLIENT KILL TYPE replica"),
        (1, "CLIENT KILL TYPE MASTER"),
        (3, "CLIENT KILL TYPE master SKIPME no"),
        (0, "CLIENT KILL TYPE slaves"),
        (0, "CLIENT LIST TYPE replicas"),
        (1, "CLIENT KILL TYPE pubsub"),
        (1, "CLIENT KILL USER (superuser)"),
    ] {
        said.push(format!("{line} at {}: {:?}", NAMES[at], graph.client(at).run(line)));
        all_back();
    }
    said.push(format!("{:?}", graph.servers.each_ref().map(|server| info(&mut server.client(), "sync_full").unwrap())));
    said
}

#[test]
fn links_are_killed_by_their_type_and_come_back_by_partial_resync() {
    let ours = kills(Kind::under_test());
    for peer in [Peer::V7, Peer::V8] {
        assert_eq!(ours, kills(Kind::Real(peer)), "beside {}", peer.name());
    }
}
