//! Nodes and their clients in one process.

use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, StreamExt};

use super::*;

async fn node() -> NodeHandle {
    Node::builder().no_listener().start().await.unwrap()
}

fn run(story: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(async { tokio::time::timeout(Duration::from_secs(60), story).await.expect("within a minute") });
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ErrorKind {
    match result {
        Err(ClientError::Refused(error)) => error.kind(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn commands_have_types() {
    run(async {
        let node = node().await;
        let client = node.client();
        assert_eq!(client.get("k").await, Ok(None));
        client.set("k", [0xff, 0]).await.unwrap();
        assert_eq!(client.get("k").await, Ok(Some(vec![0xff, 0])));
        assert_eq!(client.set_new("k", "x").await, Ok(false));
        assert_eq!(refusal(client.incr("k").await), ErrorKind::General);
        assert_eq!(client.zadd("z", &[(1.5, "a"), (f64::INFINITY, "b")]).await, Ok(2));
        assert_eq!(client.zrange("z", 0, -1).await, Ok(vec![(b"a".to_vec(), 1.5), (b"b".to_vec(), f64::INFINITY)]));
        assert_eq!(client.hset("h", &[("f", "1")]).await, Ok(1));
        assert_eq!(client.hgetall("h").await, Ok(vec![(b"f".to_vec(), b"1".to_vec())]));
        let id = client.xadd("s", &[("f", "v")]).await.unwrap();
        assert_eq!(client.xrange("s", "-", "+").await, Ok(vec![StreamEntry { id, fields: vec![(b"f".to_vec(), b"v".to_vec())] }]));
        assert_eq!(refusal(client.hgetall("k").await), ErrorKind::WrongType);
        let (cursor, mut keys) = client.scan(0, "*", 100).await.unwrap();
        keys.sort();
        assert_eq!((cursor, keys.len()), (0, 4));
        let sum: i64 = client.eval("return ARGV[1] + #KEYS", &["a", "b"], &["5", "x"]).await.unwrap();
        assert_eq!(sum, 7);
        assert_eq!(client.get("z").await.map_err(|error| refusal::<()>(Err(error))), Err(ErrorKind::WrongType));
        node.stop(None).await;
        assert_eq!(client.get("k").await, Err(ClientError::Closed));
        assert_eq!(node.client().get("k").await, Err(ClientError::Closed));
    });
}

#[test]
fn commands_of_many_tasks_share_turns_and_keep_their_order() {
    run(async {
        let node = node().await;
        let client = node.client();
        let turns = node.shell().state.borrow().stats.turns;
        let calls: Vec<_> = (0..50).map(|_| client.incr("n")).collect();
        let results: Vec<i64> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(results, (1..=50).collect::<Vec<_>>());
        assert_eq!(node.shell().state.borrow().stats.turns - turns, 1, "all in one turn");
        // Results that are awaited in another order, or not at all.
        let (a, b, dropped) = (client.incr("n"), client.incr("n"), client.incr("n"));
        drop(dropped);
        assert_eq!((b.await, a.await), (Ok(52), Ok(51)));
        assert_eq!(client.incr("n").await, Ok(54));
        // A call that is dropped unpolled is executed all the same, without another one behind it.
        let other = node.client();
        drop(client.set("dropped", "done"));
        while other.call(&["EXISTS", "dropped"]).await != Ok(Value::Int(1)) {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_task_that_only_awaits_replies_does_not_starve_others() {
    run(async {
        let node = node().await;
        let client = node.client();
        let flag = std::rc::Rc::new(std::cell::Cell::new(false));
        let set = flag.clone();
        actix_rt::spawn(async move { set.set(true) });
        let mut calls = 0;
        while !flag.get() {
            client.incr("n").await.unwrap();
            calls += 1;
            assert!(calls < 10_000, "the other task never came");
        }
    });
}

#[test]
fn waiting_commands_do_not_hold_others_up_and_end_with_their_futures() {
    run(async {
        let node = node().await;
        let client = node.client();
        let mut pop = client.brpop(&["list"], Duration::ZERO);
        assert!((&mut pop).now_or_never().is_none());
        assert_eq!(client.ping().await.as_deref(), Ok("PONG"));
        assert_eq!(client.rpush("list", &["a"]).await, Ok(1));
        assert_eq!(pop.await, Ok(Some((b"list".to_vec(), b"a".to_vec()))));
        assert_eq!(client.blpop(&["list"], Duration::from_millis(10)).await, Ok(None));

        let mut gone = client.blpop(&["list"], Duration::ZERO);
        assert!((&mut gone).now_or_never().is_none());
        let blocked = |info: String| info.contains("blocked_clients:1");
        assert!(blocked(client.info("clients").await.unwrap()));
        drop(gone);
        while blocked(client.info("clients").await.unwrap()) {
            tokio::task::yield_now().await;
        }
        // Nobody takes it any more.
        client.rpush("list", &["b"]).await.unwrap();
        assert_eq!(client.llen("list").await, Ok(1));
        assert_eq!(node.shell().state.borrow().clients.len(), 1);
    });
}

#[test]
fn batches_and_transactions() {
    run(async {
        let node = node().await;
        let client = node.client();
        let batch = Batch::new().cmd(&["SET", "a", "1"]).cmd(&["INCR", "a"]).cmd(&["LPUSH", "a", "x"]);
        let results: Vec<Result<Value, ReplyError>> = client.pipeline(&batch).await.unwrap();
        assert_eq!(results[1], Ok(Value::Int(2)));
        assert_eq!(results[2].as_ref().unwrap_err().kind(), ErrorKind::WrongType);
        let (n, list): (i64, u64) = client.transaction(&Batch::new().cmd(&["INCR", "a"]).cmd(&["RPUSH", "l", "x"])).await.unwrap();
        assert_eq!((n, list), (3, 1));
        // One that can't be queued undoes all, and is the error.
        let refused = client.transaction::<Value>(&Batch::new().cmd(&["INCR", "a"]).cmd(&["NOSUCH"])).await;
        assert!(matches!(&refused, Err(ClientError::Refused(error)) if error.text().contains("NOSUCH")), "{refused:?}");
        assert_eq!(client.get("a").await, Ok(Some(b"3".to_vec())));
        let own = client.connect();
        own.watch(&["a"]).await.unwrap();
        client.incr("a").await.unwrap();
        let batch = Batch::new().cmd(&["SET", "a", "0"]);
        assert_eq!(own.transaction::<Option<Vec<Value>>>(&batch).await, Ok(None));
        assert!(own.transaction::<Option<Vec<Value>>>(&batch).await.unwrap().is_some());
        assert_eq!(client.pipeline::<Value>(&Batch::new()).await, Err(ClientError::Empty));
        assert_eq!(client.pipeline::<Value>(&batch.cmd(&["Monitor"])).await, Err(ClientError::NotHere("Monitor".to_owned())));
        for name in ["subscribe", "HELLO", "reset", "quit", "psync"] {
            assert_eq!(client.call(&[name]).await, Err(ClientError::NotHere(name.to_owned())));
        }
        assert!(matches!(client.call(&["client", "reply", "off"]).await, Err(ClientError::NotHere(_))));
    });
}

#[test]
fn messages_come_as_a_stream_until_it_is_not_read() {
    run(async {
        let node = Node::builder().no_listener().directive("client-output-buffer-limit", &["pubsub", "2mb", "0", "0"]).start().await.unwrap();
        let client = node.client();
        let mut news = client.subscribe(&["a", "b"]).await.unwrap();
        news.psubscribe(&["a*"]).await.unwrap();
        assert_eq!(client.publish("a", "1").await, Ok(2));
        let plain = Message { pattern: None, channel: b"a".to_vec(), payload: b"1".to_vec() };
        assert_eq!(news.next().await.unwrap(), plain);
        assert_eq!(news.next().await.unwrap(), Message { pattern: Some(b"a*".to_vec()), ..plain });
        // A message that comes while a subscription changes is not lost.
        client.publish("b", "early").await.unwrap();
        news.unsubscribe(&["a"]).await.unwrap();
        assert_eq!(news.next().await.unwrap().payload, b"early");

        // More than a reader is kept waits as any client's output; what was held back comes when there is room.
        let big = "x".repeat(300_000);
        for _ in 0..6 {
            client.publish("b", &big).await.unwrap();
        }
        for _ in 0..6 {
            assert_eq!(news.next().await.unwrap().payload.len(), big.len());
        }
        // Who takes nothing is closed at the limit.
        let mut published = 0;
        while client.publish("b", &big).await.unwrap() > 0 {
            published += 1;
            assert!(published < 100);
            tokio::task::yield_now().await;
        }
        while news.next().await.is_some() {}
        drop(news);
        assert_eq!(client.ping().await.as_deref(), Ok("PONG"));
    });
}

#[test]
fn nodes_in_one_process_do_not_disturb_each_other() {
    run(async {
        let master = Node::builder().start().await.unwrap();
        let slave = Node::builder().replica_of("127.0.0.1", master.port()).start().await.unwrap();
        let lone = Node::builder().no_listener().databases(2).start().await.unwrap();
        assert_eq!((lone.port(), lone.addrs().len()), (0, 0));
        master.client().set("k", "of the master").await.unwrap();
        let (slave_client, lone_client) = (slave.client(), lone.client());
        while slave_client.get("k").await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        let dump_file = {
            let state = slave.shell().state.borrow();
            state.config.dir.join(&state.config.dbfilename)
        };
        assert!(!dump_file.exists(), "a node in memory alone leaves no file of its sync");
        assert_eq!(refusal(slave_client.set("k", "x").await), ErrorKind::ReadOnly);
        assert_eq!(lone_client.get("k").await, Ok(None));
        assert!(lone_client.call(&["SELECT", "2"]).await.is_err());
        master.stop(None).await;
        assert_eq!(slave_client.get("k").await, Ok(Some(b"of the master".to_vec())));
        slave_client.promote().await.unwrap();
        slave_client.set("k", "own").await.unwrap();
        assert_eq!(slave.stopped().now_or_never(), None);
    });
}

#[test]
fn what_was_said_last_counts_and_errors_are_types() {
    let node = |builder: NodeBuilder| builder.build();
    assert!(matches!(node(Node::builder().conf_text("port x")), Err(BuildError::Conf(_))));
    assert!(matches!(node(Node::builder().directive("nonsense", &["x"])), Err(BuildError::Directive(crate::config::DirectiveError::Unknown(_)))));
    run(async {
        let node = Node::builder().port(1).conf_text("hz 20\nmaxmemory 1mb\nbind ''").directive("maxmemory", &["2mb"]).start().await.unwrap();
        let client = node.client();
        assert_eq!(client.config_get("maxmemory").await, Ok(vec![("maxmemory".to_owned(), "2097152".to_owned())]));
        assert_eq!(client.config_get("hz").await, Ok(vec![("hz".to_owned(), "20".to_owned())]));
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let refused = Node::builder().port(port).start().await;
        assert!(matches!(refused, Err(BuildError::Start(StartError::Listen { .. }))));
    });
}

#[test]
fn events_tell_what_happens_to_replication() {
    run(async {
        let master = Node::builder().start().await.unwrap();
        let slave = Node::builder().start().await.unwrap();
        let (mut of_master, mut of_slave) = (master.events(), slave.events());
        let port = master.port();
        slave.client().replica_of("127.0.0.1", port).await.unwrap();
        let address = format!("127.0.0.1:{port}");
        assert_eq!(of_slave.next().await.unwrap(), NodeEvent::Follows { host: "127.0.0.1".to_owned(), port });
        let NodeEvent::SyncBegan(sync) = of_slave.next().await.unwrap() else { panic!("a sync begins") };
        assert_eq!((sync.direction, sync.peer, sync.reason), (Direction::FromMaster, address.clone(), SyncReason::Psync(PsyncRefusal::FirstSync)));
        let NodeEvent::SyncEnded(sync) = of_slave.next().await.unwrap() else { panic!("the sync ends") };
        assert_eq!(sync.outcome, SyncOutcome::Done);
        let NodeEvent::LinkUp { master: up, .. } = of_slave.next().await.unwrap() else { panic!("the link comes up") };
        assert_eq!(up, address);

        let NodeEvent::SyncBegan(sync) = of_master.next().await.unwrap() else { panic!("a sync begins") };
        assert_eq!(sync.direction, Direction::ToReplica);
        let named = format!("127.0.0.1:{}", slave.port());
        assert_eq!(of_master.next().await.unwrap(), NodeEvent::SlaveAttached { slave: named.clone() });
        assert!(matches!(of_master.next().await.unwrap(), NodeEvent::SyncEnded(_)));

        // The link breaks, and mends by itself.
        master.client().call(&["CLIENT", "KILL", "TYPE", "replica"]).await.unwrap();
        assert_eq!(of_master.next().await.unwrap(), NodeEvent::SlaveGone { slave: named });
        let down = of_slave.next().await.unwrap();
        assert!(matches!(down, NodeEvent::LinkDown { was_up: true, cause: LinkDownCause::Closed, .. }), "{down:?}");
        let NodeEvent::SyncBegan(sync) = of_slave.next().await.unwrap() else { panic!("it asks to continue") };
        assert_eq!(sync.reason, SyncReason::Continued);
        assert!(matches!(of_slave.next().await.unwrap(), NodeEvent::SyncEnded(_)));
        assert!(matches!(of_slave.next().await.unwrap(), NodeEvent::LinkUp { .. }));

        slave.client().promote().await.unwrap();
        assert!(matches!(of_slave.next().await.unwrap(), NodeEvent::Promoted { .. }));
        slave.stop(None).await;
        assert_eq!(of_slave.collect::<Vec<_>>().await.last(), Some(&NodeEvent::Stopped));
    });
}

#[test]
fn other_threads_speak_to_a_node_and_to_no_other_connection() {
    run(async {
        let node = node().await;
        let remote = node.remote_client();
        let other = std::thread::spawn(move || {
            futures::executor::block_on(async {
                let mut news = remote.subscribe(&["news"]).await?;
                remote.set("k", "v").await?;
                assert_eq!(remote.publish("news", "hi").await?, 1);
                assert_eq!(news.next().await.map(|message| message.payload), Some(b"hi".to_vec()));
                drop(news);
                let sums: Vec<i64> = remote.pipeline(&Batch::new().cmd(&["INCR", "n"]).cmd(&["INCR", "n"])).await?;
                assert_eq!(sums, [1, 2]);
                assert_eq!(remote.call(&["SELECT", "1"]).await, Err(ClientError::NotHere("SELECT".to_owned())));
                let batch = Batch::new().cmd(&["INCR", "n"]).cmd(&["client", "no-evict", "on"]);
                assert_eq!(remote.transaction::<Value>(&batch).await, Err(ClientError::NotHere("client".to_owned())));
                let mut waits = remote.blpop(&["list"], Duration::ZERO);
                assert!((&mut waits).now_or_never().is_none());
                assert_eq!(remote.blpop(&["list"], Duration::from_millis(5)).await, Ok(None));
                drop(waits);
                while remote.publish("news", "?").await? > 0 || remote.info("clients").await?.contains("blocked_clients:1") {}
                Ok::<_, ClientError>(remote)
            })
        });
        while !other.is_finished() {
            tokio::task::yield_now().await;
        }
        let remote = other.join().unwrap().unwrap();
        assert_eq!(node.client().get("k").await, Ok(Some(b"v".to_vec())));
        node.actor().send(StopNode { save: None }).await.unwrap();
        assert_eq!(node.stopped().await, None);
        assert_eq!(remote.get("k").await, Err(ClientError::Closed));
    });
}

struct Listener(tokio::sync::mpsc::UnboundedSender<NodeEvent>);

impl actix::Actor for Listener {
    type Context = actix::Context<Self>;
}

impl actix::Handler<NodeEventOccurred> for Listener {
    type Result = ();

    fn handle(&mut self, message: NodeEventOccurred, _: &mut Self::Context) {
        let _ = self.0.send(message.0);
    }
}

#[test]
fn actors_are_sent_events() {
    run(async {
        let node = node().await;
        let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let listener = actix::Actor::start(Listener(sender));
        node.actor().send(Listen(listener.recipient())).await.unwrap();
        node.client().replica_of("10.255.255.1", 1).await.unwrap();
        assert_eq!(heard.recv().await, Some(NodeEvent::Follows { host: "10.255.255.1".to_owned(), port: 1 }));
        node.stop(None).await;
        while heard.recv().await != Some(NodeEvent::Stopped) {}
    });
}

#[test]
fn a_node_that_ends_with_its_system_saves_first() {
    let dir = tempfile::tempdir().unwrap();
    let builder = || Node::builder().dir(dir.path()).no_listener().save_points([(3600, 1)]);
    let system = actix_rt::System::new();
    system.block_on(async {
        let node = builder().start().await.unwrap();
        node.client().set("k", "v").await.unwrap();
        actix_rt::System::current().stop();
    });
    system.run().unwrap();
    run(async {
        let node = builder().start().await.unwrap();
        node.ready().await;
        assert_eq!(node.client().get("k").await, Ok(Some(b"v".to_vec())));
    });
}

/// The whole embedding surface in virtual time, twice with the same trace.
#[cfg(feature = "sim")]
#[test]
fn a_simulated_world_has_clients_and_feeds_too() {
    use crate::feed::{ChangeFeed, FeedItem, SnapshotMode};
    use crate::sim::World;

    let story = |seed| {
        let world = World::new(seed);
        let (a, b) = (world.host("a"), world.host("b"));
        let node = Node::builder().bind([std::net::Ipv4Addr::UNSPECIFIED]).port(6379).directive("protected-mode", &["no"]);
        let node = node.env(world.env(a)).log(world.log(a));
        let env = world.env(b);
        world.run(async {
            let node = world.on(a, async { node.start().await.unwrap() }).await.unwrap();
            let (client, remote) = (node.client(), node.remote_client());
            let feed = ChangeFeed::of(a.ip().to_string(), 6379).snapshot(SnapshotMode::Deliver).file("/place").env(env);
            let changes = world.on(b, async move {
                let mut feed = feed.open().unwrap();
                while feed.next().await.unwrap() != FeedItem::SnapshotEnds {}
                let mut changes = Vec::new();
                while changes.len() < 3 {
                    let FeedItem::Change(change) = feed.next().await.unwrap() else { panic!("changes follow") };
                    changes.push(String::from_utf8(change.args.join(&b' ')).unwrap());
                }
                changes
            });
            let writes = world.on(a, async move {
                let mut waits = client.blpop(&["list"], Duration::ZERO);
                assert!((&mut waits).now_or_never().is_none());
                while !client.info("replication").await.unwrap().contains("state=online") {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                client.set("k", "1").await.unwrap();
                remote.rpush("list", &["x"]).await.unwrap();
                assert!(waits.await.unwrap().is_some());
                assert_eq!(client.blpop(&["list"], Duration::from_secs(30)).await, Ok(None));
            });
            let (changes, writes) = futures::join!(changes, writes);
            writes.unwrap();
            assert_eq!(changes.unwrap(), ["SET k 1", "RPUSH list x", "LPOP list"]);
            node.stop(None).await;
        });
        world.trace()
    };
    assert!(story(1) == story(1), "the same seed, the same trace");
}

/// On an actor's connection and on the one of all remote clients, which others need meanwhile.
#[test]
fn who_waits_holds_no_other_sender_up() {
    run(async {
        let node = node().await;
        let (actor, remote) = (node.actor(), node.remote_client());
        let mut said = Box::pin(actor.send(Say::new(&["BLPOP", "a", "0"])));
        let mut called = remote.call(&["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
        assert!((&mut said).now_or_never().is_none() && (&mut called).now_or_never().is_none());
        while !node.client().info("clients").await.unwrap().contains("blocked_clients:2") {
            tokio::task::yield_now().await;
        }
        assert_eq!(remote.rpush("a", &["x"]).await, Ok(1));
        let popped = said.await.unwrap().and_then(Vec::<String>::from_value);
        assert_eq!(popped, Ok(vec!["a".to_owned(), "x".to_owned()]));
        remote.xadd("s", &[("f", "v")]).await.unwrap();
        assert!(called.await.is_ok());
    });
}

#[test]
fn a_transaction_is_no_place_for_another() {
    run(async {
        let node = node().await;
        let client = node.client();
        for words in [&["MULTI"][..], &["watch", "k"], &["EXEC"], &["DISCARD"]] {
            let batch = Batch::new().cmd(&["SET", "k", "v"]).cmd(words);
            assert_eq!(client.transaction::<Value>(&batch).await, Err(ClientError::NotHere(words[0].to_owned())));
        }
        assert_eq!(client.get("k").await, Ok(None));
        // By hand on a connection, they are.
        let batch = Batch::new().cmd(&["WATCH", "k"]).cmd(&["MULTI"]).cmd(&["SET", "k", "v"]).cmd(&["EXEC"]);
        assert!(client.connect().pipeline::<Value>(&batch).await.is_ok());
        assert_eq!(client.get("k").await, Ok(Some(b"v".to_vec())));
    });
}

#[test]
fn what_a_directive_refuses_its_function_refuses_too() {
    let refused = |builder: NodeBuilder| matches!(builder.build(), Err(BuildError::Directive(_)));
    assert!(refused(Node::builder().databases(0)));
    assert!(refused(Node::builder().databases(u32::MAX)));
    assert!(refused(Node::builder().backlog_size(0)));
    assert!(refused(Node::builder().replication_timeout(Duration::MAX)));
    assert!(refused(Node::builder().dump_file("../dump.rdb")));
    assert!(refused(Node::builder().save_points([(0, 1)])));
    assert!(!refused(Node::builder().save_points([(60, 1), (1, 1000)])));
    assert!(!refused(Node::builder().save_points([])));
}

#[test]
fn a_directory_is_made_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(matches!(Node::builder().dir(dir.path().join("file/below")).build(), Err(BuildError::Dir { .. })));
    let below = dir.path().join("new/below");
    run(async {
        let node = Node::builder().dir(&below).no_listener().start().await.unwrap();
        node.client().set("k", "v").await.unwrap();
        node.stop(Some(true)).await;
    });
    assert!(below.join("dump.rdb").exists());
}

/// A System and a bare LocalSet, that end with the node in them, before its actors have run and after.
#[test]
fn what_outlives_its_runtime_is_told_that_all_is_closed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for has_run in [true, false] {
        let start = async {
            let node = Node::builder().start().await.unwrap();
            if has_run {
                node.client().set("k", "v").await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let client = node.client();
            let waits = client.blpop(&["list"], Duration::ZERO);
            (node.events(), client.subscribe(&["c"]).await.unwrap(), waits, client, node)
        };
        let check = |(events, mut news, mut waits, client, node): (NodeEvents, Subscription, Typed<Call, Option<Pair>>, Client, NodeHandle)| {
            assert_eq!((&mut waits).now_or_never(), Some(Err(ClientError::Closed)));
            assert_eq!(news.next().now_or_never(), Some(None));
            assert_eq!(client.get("k").now_or_never(), Some(Err(ClientError::Closed)));
            assert_eq!(node.client().get("k").now_or_never(), Some(Err(ClientError::Closed)));
            assert_eq!(node.remote_client().get("k").now_or_never(), Some(Err(ClientError::Closed)));
            assert!(events.filter(|event| futures::future::ready(matches!(event, NodeEvent::Stopped))).next().now_or_never().is_some());
            assert!(node.stopped().now_or_never().is_some_and(|failure| failure.is_none()));
            assert!(std::net::TcpStream::connect(("127.0.0.1", node.port())).is_err());
        };
        let system = actix_rt::System::new();
        let left = system.block_on(start);
        drop(system);
        check(left);
    }
    let local = tokio::task::LocalSet::new();
    let (client, node) = local.block_on(&runtime, async {
        let node = Node::builder().no_listener().start().await.unwrap();
        (node.client(), node)
    });
    drop(local);
    assert_eq!(client.get("k").now_or_never(), Some(Err(ClientError::Closed)));
    assert!(node.stopped().now_or_never().is_some());
}
