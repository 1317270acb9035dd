//! The daemon: arguments and conf files to a running node.

use anyhow::Context;
use replikant::config::Config;
use replikant::server::Node;
use slog::{Drain, Logger, o};

/// The allocator is the daemon's choice; the library works with any.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let mut config = Config::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().context("a directive needs a value")?;
        match arg.as_str() {
            "--port" => config.port = value.parse()?,
            "--dir" => config.dir = value.into(),
            "--slaveof" => config.slaveof = Some((value, args.next().context("slaveof needs a port")?.parse()?)),
            _ => anyhow::bail!("unknown argument {arg}"),
        }
    }
    let decorator = slog_term::TermDecorator::new().build();
    let drain = slog_term::FullFormat::new(decorator).build();
    let log = Logger::root(std::sync::Mutex::new(drain).fuse(), o!());
    actix_rt::System::new().block_on(async {
        let node = Node::new(config).log(log).start().await?;
        match node.stopped().await {
            None => Ok(()),
            Some(reason) => anyhow::bail!(reason),
        }
    })
}
