//! A change feed of every real server and of ours: what it hands out makes an equal copy.

use std::time::Duration;

use replikant::feed::{ChangeFeed, FeedItem, SnapshotMode};
use replikant::server::{Commands, Node};

use crate::support::data::{churn, fill};
use crate::support::peers::Peer;
use crate::support::{Daemon, SOON, digest, info, wait_for};

/// Applies the feed to a node in this process until that has the mark, and returns its digest.
fn copy_by_feed(port: u16, mark: &str) -> String {
    actix_rt::System::new().block_on(async {
        let node = Node::builder().no_listener().directive("enable-debug-command", &["yes"]).start().await.unwrap();
        let client = node.client();
        let mut feed = ChangeFeed::of("127.0.0.1", port).snapshot(SnapshotMode::Skip).open().unwrap();
        let mut db = 0;
        let copy = async {
            while client.get(mark).await.unwrap().is_none() {
                let FeedItem::Change(change) = feed.next().await.unwrap() else { panic!("nothing else was asked for") };
                if std::mem::replace(&mut db, change.db) != change.db {
                    client.call(&["SELECT", &change.db.to_string()]).await.unwrap();
                }
                client.call(&change.args).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(100), copy).await.expect("the mark comes");
        client.call(&["DEL", mark]).await.unwrap();
        client.call(&["DEBUG", "DIGEST"]).into_type::<String>().await.unwrap()
    })
}

fn makes_an_equal_copy(master: Daemon) {
    let mut client = master.client();
    let port = master.port;
    let copy = std::thread::spawn(move || copy_by_feed(port, "mark"));
    wait_for(SOON, "the feed's link", || info(&mut master.client(), "slave0")?.contains("state=online").then_some(()));
    fill(&mut client, "key", 300);
    churn(&mut client, 1, 2000);
    client.ok("SET mark 1");
    let copied = copy.join().unwrap();
    client.run("DEL mark");
    assert_eq!(copied, digest(&mut client));
}

#[test]
fn a_feed_of_ours_makes_an_equal_copy() {
    makes_an_equal_copy(Daemon::replikant(&[]));
}

#[test]
fn a_feed_of_redis_makes_an_equal_copy() {
    for peer in [Peer::V6, Peer::V7, Peer::V8] {
        makes_an_equal_copy(Daemon::redis(peer, &[]));
    }
}

#[test]
fn a_feed_of_valkey_makes_an_equal_copy() {
    makes_an_equal_copy(Daemon::redis(Peer::Valkey, &[]));
}
