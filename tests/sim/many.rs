//! Many nodes at once: in one thread of the machine itself, and in the simulated world.

use std::time::{Duration, Instant};

use replikant::config::Config;
use replikant::server::{Node, NodeHandle};
use replikant::sim::{Cluster, World};

fn has_key(node: &NodeHandle) -> bool {
    node.shell().state.borrow().keyspace.db(Default::default()).len() == 1
}

/// What takes a second on a busy machine must not take many.
const REAL_TIME_MAX: Duration = Duration::from_secs(5);

#[test]
fn ten_real_nodes_start_replicate_and_stop_in_a_moment() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = |slaveof| Config {
        bind: vec!["127.0.0.1".to_owned()],
        port: 0,
        save: Vec::new(),
        dir: folder.path().to_owned(),
        repl_diskless_sync_delay: 0,
        slaveof,
        ..Config::default()
    };
    let start = Instant::now();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let master = Node::new(config(None)).start().await.unwrap();
        let mut nodes = Vec::new();
        for _ in 0..9 {
            nodes.push(Node::new(config(Some(("127.0.0.1".to_owned(), master.port())))).start().await.unwrap());
        }
        let mut client = tokio::net::TcpStream::connect(("127.0.0.1", master.port())).await.unwrap();
        let mut reply = [0; 5];
        tokio::io::AsyncWriteExt::write_all(&mut client, b"SET a 1\r\n").await.unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut client, &mut reply).await.unwrap();
        assert_eq!(&reply, b"+OK\r\n");
        while !nodes.iter().all(has_key) {
            assert!(start.elapsed() < REAL_TIME_MAX, "nine slaves have the key");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        nodes.push(master);
        for node in &nodes {
            node.stop(Some(false)).await;
        }
    });
    let took = start.elapsed();
    println!("ten nodes started, replicated and stopped in {took:?}");
    assert!(took < REAL_TIME_MAX, "{took:?}");
}

#[test]
fn two_hundred_nodes_fit_in_one_world() {
    let world = World::new(1);
    world.stop_tracing();
    world.run(async {
        let cluster = Cluster::new(&world);
        cluster.add("master", None);
        // Ten slaves, and the rest below them.
        for number in 1..200 {
            let master = if number <= 10 { 0 } else { 1 + number % 10 };
            cluster.add(&format!("slave-{number}"), Some(master));
        }
        cluster.start_all().await.unwrap();
        let mut client = cluster.connect(0).await.unwrap();
        for number in 0..100 {
            assert!(client.line(&format!("SET key:{number} {number}")).await.unwrap().is_ok());
        }
        cluster.converge(Duration::from_secs(60)).await.unwrap();
        cluster.look(|nodes| assert!(nodes.len() == 200 && nodes.iter().all(|node| node.keys() == 100)));
    });
}
