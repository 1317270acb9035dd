//! Two nodes in one process: a master and its slave, on ports that the system chooses.
//!
//! `cargo run --example embed`, then talk to both with any Redis client; Ctrl-C stops them.

use replikant::config::Config;
use replikant::server::Node;

fn main() -> anyhow::Result<()> {
    actix_rt::System::new().block_on(async {
        // Nothing is saved: both live in memory. Port 0 lets the system choose.
        let config = Config { port: 0, save: Vec::new(), ..Config::default() };
        let master = Node::new(Config { dbfilename: "embed-master.rdb".to_owned(), ..config.clone() }).start().await?;
        let slaveof = Some(("127.0.0.1".to_owned(), master.port()));
        let replica = Node::new(Config { slaveof, dbfilename: "embed-replica.rdb".to_owned(), ..config }).start().await?;
        master.ready().await;
        replica.ready().await;
        println!("A master and its slave. Try:");
        println!("  redis-cli -p {} set mykey hello", master.port());
        println!("  redis-cli -p {} get mykey", replica.port());
        println!("  redis-cli -p {} info replication", replica.port());
        tokio::signal::ctrl_c().await?;
        replica.stop(Some(false)).await;
        master.stop(Some(false)).await;
        Ok(())
    })
}
