//! Feeds of nodes in one process.

use std::time::Duration;

use super::*;
use crate::server::{Batch, Commands, Node, NodeHandle, Value};

fn run(story: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(async { tokio::time::timeout(Duration::from_secs(60), story).await.expect("within a minute") });
}

async fn change(feed: &mut ChangeFeed) -> (u32, String, bool) {
    match feed.next().await.unwrap() {
        FeedItem::Change(change) => {
            let words: Vec<_> = change.args.iter().map(|arg| String::from_utf8_lossy(arg)).collect();
            (change.db, words.join(" "), change.more)
        }
        other => panic!("{other:?}"),
    }
}

fn feed(node: &NodeHandle) -> FeedBuilder {
    ChangeFeed::of("127.0.0.1", node.port())
}

#[test]
fn a_snapshot_comes_first_then_every_change_with_its_database() {
    run(async {
        let node = Node::builder().start().await.unwrap();
        let client = node.client();
        client.set("s", "1").await.unwrap();
        client.rpush("l", &["a", "b"]).await.unwrap();
        client.sadd("set", &["m"]).await.unwrap();
        client.hset("h", &[("f", "v")]).await.unwrap();
        client.zadd("z", &[(2.5, "m")]).await.unwrap();
        client.call(&["XADD", "x", "7-1", "f", "v"]).await.unwrap();
        client.call(&["PEXPIREAT", "s", "99999999999999"]).await.unwrap();
        let mut feed = feed(&node).snapshot(SnapshotMode::Deliver).open().unwrap();
        assert_eq!(feed.next().await.unwrap(), FeedItem::SnapshotBegins { keys: 6 });
        let mut keys = Vec::new();
        loop {
            match feed.next().await.unwrap() {
                FeedItem::Key(key) => keys.push(key),
                FeedItem::SnapshotEnds => break,
                other => panic!("{other:?}"),
            }
        }
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        let bytes = |text: &str| text.as_bytes().to_vec();
        let pair = || vec![(bytes("f"), bytes("v"))];
        let field = HashField { field: bytes("f"), value: bytes("v"), expires_unix_ms: None };
        let (last_id, max_deleted_id) = ("7-1".to_owned(), "0-0".to_owned());
        let stream = StreamValue { entries: vec![("7-1".to_owned(), pair())], last_id, max_deleted_id, entries_added: 1, groups: vec![] };
        let expected = [
            ("h", SnapshotValue::Hash(vec![field])),
            ("l", SnapshotValue::List(vec![bytes("a"), bytes("b")])),
            ("s", SnapshotValue::String(bytes("1"))),
            ("set", SnapshotValue::Set(vec![bytes("m")])),
            ("x", SnapshotValue::Stream(stream)),
            ("z", SnapshotValue::SortedSet(vec![(bytes("m"), 2.5)])),
        ];
        for (key, (name, value)) in keys.iter().zip(expected) {
            assert_eq!((key.db, &key.key[..], &key.value), (0, name.as_bytes(), &value));
            assert_eq!(key.expires_unix_ms, (name == "s").then_some(99_999_999_999_999));
        }

        client.set("k", "1").await.unwrap();
        assert_eq!(change(&mut feed).await, (0, "SET k 1".to_owned(), false));
        let other = client.connect();
        other.call(&["SELECT", "3"]).await.unwrap();
        let _: Value = other.transaction(&Batch::new().cmd(&["INCR", "n"]).cmd(&["INCR", "n"]).cmd(&["GET", "n"])).await.unwrap();
        let first = change(&mut feed).await;
        assert_eq!((first.0, first.2), (3, true));
        assert!(!change(&mut feed).await.2);
        // WAIT counts the feed, once it has dealt with what was written.
        let wait = client.connect();
        wait.set("w", "1").await.unwrap();
        assert_eq!(change(&mut feed).await.1, "SET w 1");
        let (acked, more) = futures::join!(wait.wait_for_replicas(1, Duration::from_secs(30)), async {
            tokio::time::timeout(Duration::from_secs(2), feed.next()).await.is_err()
        });
        assert_eq!((acked, more), (Ok(1), true));
    });
}

#[test]
fn a_feed_goes_on_from_its_file_or_says_that_it_cannot() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let node = Node::builder().backlog_size(16 << 10).directive("repl-backlog-ttl", &["0"]).start().await.unwrap();
        let client = node.client();
        let file = dir.path().join("place");
        let refused = feed(&node).file(&file).open().unwrap().next().await;
        assert!(matches!(refused, Err(FeedError::FullSyncNeeded { place: None, .. })), "{refused:?}");

        let mut first = feed(&node).file(&file).snapshot(SnapshotMode::Skip).open().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(1500), first.next()).await.is_err(), "nothing is written");
        client.set("a", "1").await.unwrap();
        client.set("b", "1").await.unwrap();
        assert_eq!(change(&mut first).await.1, "SET a 1");
        assert_eq!(change(&mut first).await.1, "SET b 1");
        // `b` has been handed out, and nobody has said that it was dealt with.
        drop(first);
        client.set("c", "1").await.unwrap();
        let mut second = feed(&node).file(&file).open().unwrap();
        assert_eq!(change(&mut second).await.1, "SET b 1");
        assert_eq!(change(&mut second).await.1, "SET c 1");
        second.commit().unwrap();
        // A link that breaks is mended, and nothing comes twice.
        client.call(&["CLIENT", "KILL", "TYPE", "replica"]).await.unwrap();
        client.set("d", "1").await.unwrap();
        assert_eq!(change(&mut second).await.1, "SET d 1");
        drop(second);

        // What a slave still needs is kept; this one has gone.
        while !client.info("replication").await.unwrap().contains("connected_slaves:0") {
            tokio::task::yield_now().await;
        }
        let big = "x".repeat(10_000);
        for _ in 0..50 {
            client.set("big", &big).await.unwrap();
        }
        let late = feed(&node).file(&file).open().unwrap().next().await;
        let Err(FeedError::FullSyncNeeded { place: Some(_), reason }) = late else { panic!("{late:?}") };
        assert_eq!(reason.code(), "out-of-backlog");
        let mut again = feed(&node).file(&file).snapshot(SnapshotMode::Deliver).open().unwrap();
        assert_eq!(again.next().await.unwrap(), FeedItem::SnapshotBegins { keys: 5 });
        while again.next().await.unwrap() != FeedItem::SnapshotEnds {}
        again.commit().unwrap();
        drop(again);
        client.set("e", "1").await.unwrap();
        assert_eq!(change(&mut feed(&node).file(&file).open().unwrap()).await.1, "SET e 1");
    });
}

#[test]
fn who_does_not_want_to_try_again_is_told_why() {
    run(async {
        let node = Node::builder().password("secret").start().await.unwrap();
        let refused = feed(&node).password("wrong").snapshot(SnapshotMode::Skip).open().unwrap().next().await;
        assert!(matches!(refused, Err(FeedError::Refused(_))), "{refused:?}");
        let mut right = feed(&node).password("secret").snapshot(SnapshotMode::Skip).retry(false).open().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(300), right.next()).await.is_err());
        node.stop(None).await;
        assert!(matches!(right.next().await, Err(FeedError::Link(_))));
        assert!(matches!(right.next().await, Err(FeedError::Link(_))));
    });
}

#[test]
fn a_sync_goes_on_though_nobody_has_the_patience_for_it() {
    run(async {
        let node = Node::builder().directive("repl-diskless-sync-delay", &["1"]).start().await.unwrap();
        let client = node.client();
        client.set("k", "1").await.unwrap();
        let mut feed = feed(&node).snapshot(SnapshotMode::Deliver).open().unwrap();
        let mut given_up = 0;
        let first = loop {
            match tokio::time::timeout(Duration::from_millis(20), feed.next()).await {
                Ok(item) => break item,
                Err(_) => given_up += 1,
            }
        };
        assert!(given_up > 0, "the sync has taken a second");
        assert_eq!(first.unwrap(), FeedItem::SnapshotBegins { keys: 1 });
        assert!(client.info("stats").await.unwrap().contains("sync_full:1\r\n"));
    });
}
