//! Both ends' commands against a node's state, without sockets and actors.

use super::*;
use crate::env::Addr;
use crate::keyspace::DbIndex;
use crate::replication::LinkState;

const ID: &[u8] = b"0123456789abcdef0123456789abcdef01234567";

fn run(node: &mut NodeState, slot: Slot, line: &str) -> String {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    String::from_utf8(node.run(slot, &args)).unwrap()
}

fn another_client(node: &mut NodeState) -> Slot {
    let addr = |port| Addr::Ip(([10, 0, 0, 9], port).into());
    let mut client = super::super::Client::new(node.clients.next_id(), addr(4000), addr(6379), -1, node.steady_ms);
    client.flags |= ClientFlags::AUTHENTICATED;
    node.clients.insert(client)
}

/// The node as a slave whose link is up, at offset 1000 of `ID`; and the master's client.
fn linked(node: &mut NodeState) -> Slot {
    let mut link = MasterLink::new("10.0.0.1".to_owned(), 6379, node.steady_ms);
    link.state = LinkState::Connected;
    node.role = Role::Replica(Box::new(link));
    node.stream.adopt(ReplId::parse(ID).unwrap(), ReplOffset(1000));
    let master = another_client(node);
    node.clients.at_mut(master).flags |= ClientFlags::MASTER;
    node.clients.at_mut(master).db = DbIndex(3);
    master
}

fn link(node: &NodeState) -> &MasterLink {
    match &node.role {
        Role::Replica(link) => link,
        Role::Master => panic!("the node follows a master"),
    }
}

fn replica(node: &NodeState, slot: Slot) -> &Replica {
    node.clients.at(slot).replica.as_deref().unwrap()
}

#[test]
fn the_first_slave_starts_a_history_and_waits_for_a_snapshot() {
    let (mut node, slot) = NodeState::for_tests();
    let before = node.stream.replid;
    assert_eq!(run(&mut node, slot, "PSYNC ? -1"), "");
    assert!(node.stream.is_active() && node.stream.replid != before);
    assert_eq!(node.requests, [Request::FullSync(slot)]);
    assert_eq!(replica(&node, slot).state, ReplicaState::WaitSnapshot);
    assert_eq!((node.stats.sync_full, node.stats.sync_partial_err), (1, 0));
    let id = node.stream.replid;
    for again in ["PSYNC ? -1", "SYNC"] {
        assert_eq!(run(&mut node, slot, again), "");
    }
    assert_eq!((node.requests.len(), node.stats.sync_full), (1, 1), "a second request is ignored");
    let second = another_client(&mut node);
    assert_eq!(run(&mut node, second, "SYNC"), "");
    assert!(replica(&node, second).plain_sync);
    assert_eq!(node.stream.replid, id, "later slaves share the history");
}

#[test]
fn a_slave_that_can_go_on_is_told_to_at_once() {
    let (mut node, _) = NodeState::for_tests();
    node.stream.activate(None);
    node.stream.append(&[b'x'; 50]);
    let id = node.stream.replid.to_string();
    let plain = another_client(&mut node);
    assert_eq!(run(&mut node, plain, &format!("PSYNC {} 51", id.to_uppercase())), "+CONTINUE\r\n");
    let named = another_client(&mut node);
    assert_eq!(run(&mut node, named, "REPLCONF capa eof capa psync2 capa news"), "+OK\r\n");
    assert_eq!(run(&mut node, named, &format!("PSYNC {id} 11")), format!("+CONTINUE {id}\r\n"));
    assert_eq!((replica(&node, named).sent, replica(&node, named).state), (ReplOffset(10), ReplicaState::Online));
    assert_eq!(node.requests, [Request::ContinueSync(plain), Request::ContinueSync(named)]);
    assert_eq!((node.stats.sync_partial_ok, node.stats.sync_full), (2, 0));
}

#[test]
fn a_slave_that_cannot_go_on_gets_a_snapshot_and_is_counted() {
    let (mut node, _) = NodeState::for_tests();
    node.stream.activate(None);
    let id = node.stream.replid.to_string();
    for (asked, counted) in [(format!("{id} 7"), 1), (format!("{id} -5"), 2), ("abc 1".to_owned(), 3), ("? 1".to_owned(), 3)] {
        let slot = another_client(&mut node);
        assert_eq!(run(&mut node, slot, &format!("PSYNC {asked}")), "");
        assert_eq!(node.stats.sync_partial_err, counted, "{asked}");
        assert_eq!(node.requests.pop(), Some(Request::FullSync(slot)));
    }
    let slot = another_client(&mut node);
    assert_eq!(run(&mut node, slot, "PSYNC ? x"), "-ERR value is not an integer or out of range\r\n");
    assert!(!node.clients.at(slot).is(ClientFlags::REPLICA));
}

#[test]
fn a_slave_without_its_master_serves_no_slaves() {
    let (mut node, slot) = NodeState::for_tests();
    run(&mut node, slot, "REPLICAOF 10.0.0.1 6379");
    for sync in ["PSYNC ? -1", "SYNC"] {
        assert_eq!(run(&mut node, slot, sync), "-NOMASTERLINK Can't SYNC while not connected with my master\r\n");
    }
    run(&mut node, slot, "MULTI");
    assert_eq!(run(&mut node, slot, "SYNC"), "-ERR Command not allowed inside a transaction\r\n");
}

#[test]
fn replconf_answers_as_redis_does() {
    let (mut node, slot) = NodeState::for_tests();
    let long = format!("REPLCONF ip-address {}", "a".repeat(260));
    let cases = [
        ("REPLCONF", "+OK"),
        ("REPLCONF a", "-ERR syntax error"),
        ("REPLCONF capa eof capa", "-ERR syntax error"),
        ("REPLCONF A b", "-ERR Unrecognized REPLCONF option: A"),
        ("REPLCONF listening-port x", "-ERR value is not an integer or out of range"),
        ("REPLCONF LISTENING-PORT 6380", "+OK"),
        ("REPLCONF ip-address 1.2.3.4", "+OK"),
        (&long, "-ERR REPLCONF ip-address provided by replica instance is too long: 260 bytes"),
        ("REPLCONF ip-address a\nslave9:", "-ERR Invalid ip-address"),
        ("REPLCONF version 8.1.0", "+OK"),
        ("REPLCONF rdb-channel 1", "-ERR Unrecognized REPLCONF option: rdb-channel"),
    ];
    for (line, reply) in cases {
        assert_eq!(run(&mut node, slot, line), format!("{reply}\r\n"), "{line}");
    }
    let told = replica(&node, slot);
    assert_eq!((told.listening_port, told.announced_ip.as_deref(), told.version.as_deref()), (6380, Some("1.2.3.4"), Some("8.1.0")));
    for silent in ["REPLCONF ACK 5", "REPLCONF ack x", "REPLCONF getack *"] {
        assert_eq!(run(&mut node, slot, silent), "", "{silent}");
    }
    assert_eq!(node.requests, [], "who is no slave acknowledges nothing");
}

#[test]
fn an_ack_opens_the_stream_and_never_goes_back() {
    let (mut node, slot) = NodeState::for_tests();
    run(&mut node, slot, "PSYNC ? -1");
    node.requests.clear();
    node.clients.at_mut(slot).replica.as_deref_mut().unwrap().state = ReplicaState::WaitAck;
    for (ack, offset) in [("0", 0), ("70 FACK 60", 70), ("50", 70), ("-1", 70), ("x", 70)] {
        assert_eq!(run(&mut node, slot, &format!("REPLCONF ACK {ack}")), "");
        assert_eq!(replica(&node, slot).ack_offset, ReplOffset(offset));
    }
    assert_eq!(replica(&node, slot).state, ReplicaState::Online);
    assert_eq!(node.requests, vec![Request::ReplicaAcked(slot); 3]);
}

#[test]
fn getack_is_answered_to_the_master_alone() {
    let (mut node, slot) = NodeState::for_tests();
    let master = linked(&mut node);
    run(&mut node, slot, "REPLCONF GETACK *");
    assert!(node.clients.at(slot).out.is_empty() && node.written.is_empty());
    assert_eq!(run(&mut node, master, "REPLCONF GETACK *"), "");
    assert_eq!(node.clients.at(master).out, b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$4\r\n1000\r\n");
    assert_eq!(node.written, [master]);
}

#[test]
fn a_slave_that_wants_a_reply_is_disconnected() {
    let (mut node, slot) = NodeState::for_tests();
    run(&mut node, slot, "PSYNC ? -1");
    node.requests.clear();
    assert_eq!(run(&mut node, slot, "PING"), "");
    assert_eq!(node.requests, [Request::Close(slot)]);
    assert!(node.clients.at(slot).is(ClientFlags::CLOSE_ASAP));
}

#[test]
fn replicaof_checks_as_redis_and_refuses_itself() {
    let (mut node, slot) = NodeState::for_tests();
    node.tcp_port = 6379;
    for bad in ["x", "70000", "-1", "99999999999999999999"] {
        assert_eq!(run(&mut node, slot, &format!("REPLICAOF h {bad}")), "-ERR Invalid master port\r\n");
    }
    for own in ["127.0.0.1", "LOCALHOST", "::1", "0.0.0.0"] {
        let reply = run(&mut node, slot, &format!("SLAVEOF {own} 6379"));
        assert_eq!(reply, "-ERR REPLICAOF refused: that is the address of this server itself\r\n", "{own}");
    }
    assert_eq!(node.role, Role::Master);
    let through_it = another_client(&mut node);
    node.clients.at_mut(through_it).laddr = Addr::Ip(([10, 0, 0, 5], 6379).into());
    assert!(run(&mut node, through_it, "SLAVEOF 10.0.0.5 6379").starts_with("-ERR REPLICAOF refused"));
    // Bound elsewhere, the loopback address may be another server's.
    node.config.bind = vec!["10.0.0.5".to_owned()];
    assert_eq!(run(&mut node, slot, "SLAVEOF 127.0.0.1 6379"), "+OK\r\n");
    assert_eq!(run(&mut node, slot, "REPLICAOF 127.0.0.1 6379"), "+OK Already connected to specified master\r\n");
    assert_eq!(node.requests, [Request::Follow]);
}

#[test]
fn a_master_that_steps_down_asks_to_go_on_with_its_own_history() {
    let (mut node, slot) = NodeState::for_tests();
    run(&mut node, slot, "REPLICAOF h 1");
    assert_eq!(link(&node).cached, None, "nothing was numbered");
    run(&mut node, slot, "REPLICAOF NO ONE");
    node.stream.activate(None);
    node.stream.select(DbIndex(2));
    run(&mut node, slot, "REPLICAOF h 2");
    assert_eq!(link(&node).cached, Some((node.stream.replid, node.stream.offset())));
    assert_eq!((link(&node).stream_db, link(&node).down_since_ms), (Some(DbIndex(2)), None));
}

#[test]
fn a_slave_takes_its_history_to_another_master() {
    let (mut node, slot) = NodeState::for_tests();
    let master = linked(&mut node);
    assert_eq!(run(&mut node, slot, "REPLICAOF 10.0.0.2 6379"), "+OK\r\n");
    let now = link(&node).clone();
    assert_eq!((now.cached, now.stream_db), (Some((ReplId::parse(ID).unwrap(), ReplOffset(1000))), Some(DbIndex(3))));
    assert_eq!(now.down_since_ms, Some(node.steady_ms));
    assert!(node.clients.at(master).is(ClientFlags::CLOSE_ASAP), "the old stream is not applied any more");
    // Not linked up with the second one, it still has the first one's history for a third.
    run(&mut node, slot, "REPLICAOF 10.0.0.3 6379");
    assert_eq!(link(&node).cached, now.cached);
    assert_eq!(node.requests, [Request::Follow, Request::Follow]);
}

#[test]
fn promotion_inside_exec_shifts_the_id_and_sends_the_slaves_away() {
    let (mut node, slot) = NodeState::for_tests();
    let master = linked(&mut node);
    for line in ["MULTI", "SLAVEOF NO ONE", "ROLE", "SLAVEOF NO ONE"] {
        run(&mut node, slot, line);
    }
    assert_eq!(run(&mut node, slot, "EXEC"), "*3\r\n+OK\r\n*3\r\n$6\r\nmaster\r\n:1000\r\n*0\r\n+OK\r\n");
    assert_eq!(node.stream.replid2, Some((ReplId::parse(ID).unwrap(), StreamPos(1001))));
    assert_eq!(node.stream.selected(), None);
    assert_eq!(node.requests, [Request::StopFollowing]);
    assert!(node.clients.at(master).is(ClientFlags::CLOSE_ASAP));
}

#[test]
fn a_broken_history_is_not_offered_after_promotion() {
    let (mut node, slot) = NodeState::for_tests();
    linked(&mut node);
    if let Role::Replica(link) = &mut node.role {
        link.history_broken = true;
    }
    run(&mut node, slot, "REPLICAOF h 1");
    assert!(link(&node).history_broken && link(&node).cached.is_none());
    run(&mut node, slot, "REPLICAOF NO ONE");
    assert_eq!(node.stream.replid2, None);
    assert_ne!(node.stream.replid.as_str().as_bytes(), ID);
}

#[test]
fn a_coordinated_failover_hands_over_by_psync() {
    let (mut node, slot) = NodeState::for_tests();
    let ask = format!("PSYNC {} 1001 FAILOVER", String::from_utf8_lossy(ID));
    assert_eq!(run(&mut node, slot, &ask), "-ERR PSYNC FAILOVER can't be sent to a master.\r\n");
    linked(&mut node);
    let other = format!("PSYNC {} 1001 FAILOVER", "f".repeat(40));
    assert_eq!(run(&mut node, slot, &other), "-ERR PSYNC FAILOVER replid must match my replid.\r\n");
    let before = another_client(&mut node);
    node.clients.make_replica(before).replica.get_or_insert_default();
    assert_eq!(run(&mut node, slot, &ask), "+CONTINUE\r\n");
    assert_eq!(node.role, Role::Master);
    let asked = [Request::StopFollowing, Request::Close(before), Request::ContinueSync(slot)];
    assert_eq!(node.requests, asked, "the slaves from before must ask again, the new one stays");
}

fn info(node: &mut NodeState) -> String {
    let mut text = String::new();
    super::super::role_info::info(node, &mut text);
    text.replace("\r\n", "|")
}

#[test]
fn info_of_a_master_is_redis_own_to_the_letter() {
    let (mut node, slot) = NodeState::for_tests();
    let id = node.stream.replid;
    let zeros = "0".repeat(40);
    assert_eq!(
        info(&mut node),
        format!(
            "# Replication|role:master|connected_slaves:0|master_failover_state:no-failover|master_replid:{id}|master_replid2:{zeros}|\
             master_repl_offset:0|second_repl_offset:-1|repl_backlog_active:0|repl_backlog_size:1048576|repl_backlog_first_byte_offset:0|repl_backlog_histlen:0|"
        )
    );
    run(&mut node, slot, "REPLCONF listening-port 6666");
    run(&mut node, slot, "PSYNC ? -1");
    assert!(info(&mut node).contains("|connected_slaves:1|slave0:ip=127.0.0.1,port=6666,state=wait_bgsave,offset=0,lag=0|master_failover"));
    node.stream.append(&[0; 14]);
    let told = node.clients.at_mut(slot).replica.as_deref_mut().unwrap();
    told.state = ReplicaState::Online;
    told.announced_ip = Some("hello".to_owned());
    run(&mut node, slot, "REPLCONF ACK 14");
    node.steady_ms += 1500;
    let text = info(&mut node);
    assert!(text.contains("|slave0:ip=hello,port=6666,state=online,offset=14,lag=1|"), "{text}");
    assert!(text.contains("|master_repl_offset:14|second_repl_offset:-1|repl_backlog_active:1|repl_backlog_size:1048576|repl_backlog_first_byte_offset:1|repl_backlog_histlen:14|"));
    let reader = another_client(&mut node);
    assert_eq!(run(&mut node, reader, "ROLE"), "*3\r\n$6\r\nmaster\r\n:14\r\n*1\r\n*3\r\n$5\r\nhello\r\n$4\r\n6666\r\n$2\r\n14\r\n");
}

#[test]
fn info_of_a_slave_follows_its_link() {
    let (mut node, slot) = NodeState::for_tests();
    run(&mut node, slot, "REPLICAOF 10.0.0.1 6379");
    let down = "# Replication|role:slave|master_host:10.0.0.1|master_port:6379|master_link_status:down|master_last_io_seconds_ago:-1|";
    let attempts = "replica_full_sync_buffer_size:0|replica_full_sync_buffer_peak:0|master_current_sync_attempts:0|master_total_sync_attempts:0|";
    let own =
        "total_disconnect_time_sec:0|slave_priority:100|slave_read_only:1|replica_announced:1|connected_slaves:0|master_failover_state:no-failover|";
    let text = info(&mut node);
    let beginning =
        format!("{down}master_sync_in_progress:0|slave_read_repl_offset:0|slave_repl_offset:0|{attempts}master_link_down_since_seconds:-1|{own}");
    assert!(text.starts_with(&beginning), "{text}");
    assert_eq!(run(&mut node, slot, "ROLE"), "*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.1\r\n:6379\r\n$10\r\nconnecting\r\n:-1\r\n");

    let sync = |total, read, node: &mut NodeState| {
        let Role::Replica(link) = &mut node.role else { unreachable!() };
        (link.state, link.sync_total_bytes, link.sync_read_bytes) = (LinkState::Sync, total, read);
        let text = info(node);
        let from = text.find("master_sync_total_bytes").unwrap();
        text[from..text.find("|master_sync_last_io").unwrap()].to_owned()
    };
    let expected = |total, read, left, percent: &str| {
        format!("master_sync_total_bytes:{total}|master_sync_read_bytes:{read}|master_sync_left_bytes:{left}|master_sync_perc:{percent}")
    };
    assert_eq!(sync(None, 0, &mut node), expected(-1, 0, -1, "-0.00"));
    assert_eq!(sync(Some(171), 100, &mut node), expected(171, 100, 71, "58.48"));
    assert_eq!(sync(None, 100, &mut node), expected(0, 100, -100, "0.00"));

    // What no size tells, keys and the master's own estimate do.
    let Role::Replica(link) = &mut node.role else { unreachable!() };
    (link.sync_keys, link.sync_keys_told) = (30, 40);
    assert_eq!(sync(None, 100, &mut node), expected(0, 100, -100, "75.00"));
    let Role::Replica(link) = &mut node.role else { unreachable!() };
    link.sync_permille = Some(333);
    assert_eq!(sync(None, 100, &mut node), expected(0, 100, -100, "33.30"));

    let master = linked(&mut node);
    node.unapplied = vec![0; 42];
    node.steady_ms += 2000;
    let text = info(&mut node);
    let up = "master_link_status:up|master_last_io_seconds_ago:2|master_sync_in_progress:0|slave_read_repl_offset:1042|slave_repl_offset:1000|";
    assert!(text.contains(&format!("|{up}{attempts}master_link_up_since_seconds:2|total_disconnect_time_sec:0|slave_priority:100|")), "{text}");
    assert_eq!(run(&mut node, master, "ROLE"), "*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:1000\r\n");
}

/// As 7.0.15 and 8.2.3, which say so before they have begun to connect.
#[test]
fn role_inside_the_exec_of_a_replicaof_says_connecting() {
    let (mut node, slot) = NodeState::for_tests();
    for words in [&[&b"MULTI"[..]][..], &[b"REPLICAOF", b"127.0.0.1", b"1"], &[b"ROLE"]] {
        node.run(slot, words);
    }
    let reply = node.run(slot, &[b"EXEC"]);
    assert_eq!(reply, b"*2\r\n+OK\r\n*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$10\r\nconnecting\r\n:-1\r\n");
}
