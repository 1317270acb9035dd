//! A change feed: prints what is written to a server, ours or any Redis or Valkey, and goes on after a restart where it was.
//!
//! `cargo run --example feed` starts a node with something that writes to it; `cargo run --example feed -- 127.0.0.1:6379` follows a server of yours. The place is
//! kept in `feed.place`, or in the file that a second argument names. (The node of the first form is a new one each time: its feed starts over.)
//!
//! Try: stop it with Ctrl-C, write something to your server, and start it again: what was written meanwhile comes first. Write more than the server's
//! `repl-backlog-size` meanwhile, and the whole data set comes, since nobody knows what has changed.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use replikant::feed::{ChangeFeed, FeedError, FeedItem, SnapshotMode, SnapshotValue};
use replikant::server::{Commands, Node, NodeHandle};

#[allow(dead_code)] // The tests include this file and have a main function of their own.
fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next();
    let file = args.next().unwrap_or_else(|| "feed.place".to_owned());
    actix_rt::System::new().block_on(async {
        let (host, port, own) = match address {
            Some(address) => {
                let (host, port) = address.rsplit_once(':').context("host:port, please")?;
                (host.to_owned(), port.parse()?, None)
            }
            None => {
                let node = busy_node().await?;
                println!("A node on port {port}; try: redis-cli -p {port} set mykey hello", port = node.port());
                ("127.0.0.1".to_owned(), node.port(), Some(node))
            }
        };
        tokio::select! {
            result = follow(&host, port, Path::new(&file), |line| println!("{line}")) => result?,
            _ = tokio::signal::ctrl_c() => {}
        }
        if let Some(node) = own {
            node.stop(None).await;
        }
        Ok(())
    })
}

/// A node to which something is written every second.
async fn busy_node() -> anyhow::Result<NodeHandle> {
    let node = Node::builder().start().await?;
    let client = node.client();
    actix_rt::spawn(async move {
        // It ends with the node.
        while client.incr("seconds").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    Ok(node)
}

/// Tells every change, a line each, for ever.
pub async fn follow(host: &str, port: u16, file: &Path, mut tell: impl FnMut(String)) -> anyhow::Result<()> {
    let feed = || ChangeFeed::of(host, port).file(file);
    let mut changes = feed().open()?;
    loop {
        match changes.next().await {
            Ok(FeedItem::Change(change)) => {
                let words: Vec<_> = change.args.iter().map(|arg| text(arg)).collect();
                tell(format!("{} db{} {}", change.offset, change.db, words.join(" ")));
            }
            Ok(FeedItem::SnapshotBegins { keys }) => tell(format!("all data: {keys} keys")),
            Ok(FeedItem::Library(code)) => tell(format!("functions: {}", text(&code))),
            Ok(FeedItem::Key(key)) => tell(format!("db{} {}: {}", key.db, text(&key.key), value(&key.value))),
            Ok(FeedItem::SnapshotEnds) => tell("changes:".to_owned()),
            Err(error @ FeedError::FullSyncNeeded { .. }) => {
                tell(error.to_string());
                changes = feed().snapshot(SnapshotMode::Deliver).open()?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Bytes that may be no text.
fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// A value of the snapshot in a line.
fn value(value: &SnapshotValue) -> String {
    let words = |items: &[Vec<u8>]| items.iter().map(|item| text(item)).collect::<Vec<_>>().join(" ");
    match value {
        SnapshotValue::String(bytes) => text(bytes),
        SnapshotValue::List(items) => format!("list {}", words(items)),
        SnapshotValue::Set(items) => format!("set {}", words(items)),
        SnapshotValue::SortedSet(members) => {
            let members: Vec<_> = members.iter().map(|(member, score)| format!("{}={score}", text(member))).collect();
            format!("sorted set {}", members.join(" "))
        }
        SnapshotValue::Hash(fields) => {
            let fields: Vec<_> = fields.iter().map(|field| format!("{}={}", text(&field.field), text(&field.value))).collect();
            format!("hash {}", fields.join(" "))
        }
        SnapshotValue::Stream(stream) => format!("stream of {} entries, {} groups", stream.entries.len(), stream.groups.len()),
    }
}
