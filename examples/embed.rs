//! Two nodes in one process: a master and its slave, on ports that the system chooses, and a client without a socket.
//!
//! `cargo run --example embed`, then talk to both with any Redis client; Ctrl-C stops them.

use futures::StreamExt;
use replikant::server::{Commands, Node, NodeEvent};

#[allow(dead_code)] // The tests include this file and have a main function of their own.
fn main() -> anyhow::Result<()> {
    actix_rt::System::new().block_on(async {
        let (master, slave) = pair().await?;
        println!("A master and its slave. Try:");
        println!("  redis-cli -p {} set mykey hello", master.port());
        println!("  redis-cli -p {} get mykey", slave.port());
        println!("  redis-cli -p {} replication history", slave.port());
        tokio::signal::ctrl_c().await?;
        slave.stop(None).await;
        master.stop(None).await;
        Ok(())
    })
}

/// Starts both, and returns when the slave has what was written before it came.
pub async fn pair() -> anyhow::Result<(replikant::server::NodeHandle, replikant::server::NodeHandle)> {
    let master = Node::builder().start().await?;
    master.client().set("greeting", "hello from the same process").await?;
    let slave = Node::builder().replica_of("127.0.0.1", master.port()).start().await?;
    let mut events = slave.events();
    while let Some(event) = events.next().await {
        if matches!(event, NodeEvent::LinkUp { .. }) {
            break;
        }
    }
    let greeting = slave.client().get("greeting").await?.unwrap_or_default();
    println!("The slave says: {}", String::from_utf8_lossy(&greeting));
    Ok((master, slave))
}
