//! A graph of replication in one process: a master, its slaves, slaves of slaves. It is drawn, broken and healed.
//!
//! `cargo run --example graph` tells the story and then keeps the nodes until Ctrl-C: any Redis client can look at them, and break them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use replikant::server::{BuildError, Commands, Node, NodeEvent, NodeHandle};

#[allow(dead_code)] // The tests include this file and have a main function of their own.
fn main() -> anyhow::Result<()> {
    actix_rt::System::new().block_on(async {
        let graph = story(|text| println!("{text}")).await?;
        println!("They run until Ctrl-C. Try:");
        for (name, node) in &graph.nodes {
            println!("  redis-cli -p {} info replication     # {name}", node.port());
        }
        println!("  redis-cli -p {} client kill type replica     # all links of the master break, and mend", graph.nodes["left"].port());
        tokio::signal::ctrl_c().await?;
        for node in graph.nodes.values() {
            node.stop(None).await;
        }
        Ok(())
    })
}

/// Nodes by name.
pub struct Graph {
    pub nodes: BTreeMap<&'static str, NodeHandle>,
}

impl Graph {
    async fn add(&mut self, name: &'static str, master: Option<&str>) -> Result<(), BuildError> {
        let mut builder = Node::builder();
        if let Some(master) = master {
            builder = builder.replica_of("127.0.0.1", self.nodes[master].port());
        }
        let node = builder.start().await?;
        self.nodes.insert(name, node);
        Ok(())
    }

    /// Waits until every node has what the master has written.
    pub async fn converge(&self, master: &str, key: &str, value: &str) -> anyhow::Result<()> {
        self.nodes[master].client().set(key, value).await?;
        for (name, node) in &self.nodes {
            let client = node.client();
            let has_it = async {
                while client.get(key).await?.as_deref() != Some(value.as_bytes()) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok::<(), anyhow::Error>(())
            };
            tokio::time::timeout(Duration::from_secs(30), has_it).await.map_err(|_| anyhow::anyhow!("{name} never had {key}"))??;
        }
        Ok(())
    }

    /// The graph as its nodes tell it: who follows whom, and how far each is.
    pub async fn draw(&self) -> anyhow::Result<String> {
        let mut lines = String::new();
        let mut roots = Vec::new();
        let mut slaves: BTreeMap<u16, Vec<(&str, u16)>> = BTreeMap::new();
        for (name, node) in &self.nodes {
            let info = node.client().info("replication").await?;
            let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::to_owned);
            match field("master_port").and_then(|port| port.parse().ok()) {
                Some(port) => slaves.entry(port).or_default().push((name, node.port())),
                None => roots.push((*name, node.port())),
            }
        }
        for (name, port) in roots {
            self.draw_below(&slaves, name, port, 0, &mut lines).await?;
        }
        // Slaves of a master that is gone.
        let ports: Vec<u16> = self.nodes.values().map(NodeHandle::port).collect();
        for (gone, orphans) in slaves.iter().filter(|(master, _)| !ports.contains(master)) {
            lines.push_str(&format!("  (nobody on port {gone})\n"));
            for (name, port) in orphans {
                self.draw_below(&slaves, name, *port, 1, &mut lines).await?;
            }
        }
        Ok(lines)
    }

    async fn draw_below(
        &self,
        slaves: &BTreeMap<u16, Vec<(&str, u16)>>,
        name: &str,
        port: u16,
        depth: usize,
        lines: &mut String,
    ) -> anyhow::Result<()> {
        let info = self.nodes[name].client().info("replication").await?;
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("");
        let link = match (depth, field("master_link_status")) {
            (0, _) => "master".to_owned(),
            (_, status) => format!("link {status}"),
        };
        let branch = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
        lines.push_str(&format!("  {branch}{name} ({link}, offset {})\n", field("master_repl_offset")));
        for (slave, port) in slaves.get(&port).into_iter().flatten() {
            Box::pin(self.draw_below(slaves, slave, *port, depth + 1, lines)).await?;
        }
        Ok(())
    }
}

/// Builds the graph, breaks it and heals it.
pub async fn story(mut tell: impl FnMut(&str)) -> anyhow::Result<Graph> {
    let mut graph = Graph { nodes: BTreeMap::new() };
    graph.add("master", None).await?;
    for (name, master) in [("left", "master"), ("right", "master"), ("left-1", "left"), ("left-2", "left"), ("right-1", "right")] {
        graph.add(name, Some(master)).await?;
    }
    graph.converge("master", "step", "built").await?;
    tell(&format!("Six nodes, three floors:\n{}", graph.draw().await?));

    let left = graph.nodes["left"].clone();
    let mut events = left.events();
    graph.nodes["master"].client().call(&["CLIENT", "KILL", "TYPE", "replica"]).await?;
    while let Some(event) = events.next().await {
        match event {
            NodeEvent::LinkDown { why, .. } => tell(&format!("The master cuts its links. left says: {why}")),
            NodeEvent::SyncBegan(sync) => tell(&format!("left syncs again: {}", sync.reason.code())),
            NodeEvent::LinkUp { offset, .. } => {
                tell(&format!("left is linked again, at offset {offset}"));
                break;
            }
            _ => {}
        }
    }
    graph.converge("master", "step", "mended").await?;

    let master = graph.nodes.remove("master").expect("it was added");
    let port = master.port();
    let mut right_events = graph.nodes["right"].events();
    master.stop(None).await;
    for events in [&mut events, &mut right_events] {
        while events.next().await.is_some_and(|event| !matches!(event, NodeEvent::LinkDown { .. })) {}
    }
    tell(&format!("The master is gone; its slaves serve what they have:\n{}", graph.draw().await?));

    left.client().promote().await?;
    graph.nodes["right"].client().replica_of("127.0.0.1", left.port()).await?;
    graph.converge("left", "step", "promoted").await?;
    tell(&format!("left is promoted, right follows it:\n{}", graph.draw().await?));

    let back = Node::builder().port(port).replica_of("127.0.0.1", left.port()).start().await?;
    graph.nodes.insert("master", back);
    graph.converge("left", "step", "healed").await?;
    tell(&format!("The old master comes back as a slave:\n{}", graph.draw().await?));
    Ok(graph)
}
