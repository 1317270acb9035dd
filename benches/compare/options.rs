//! What to measure, from the command line.

use std::time::Duration;

use crate::load::Op;
use crate::support::{Kind, Peer};

pub const USAGE: &str = "cargo bench --bench compare -- [options]
  --only PARTS        of cpu, embed (a GET without a socket), memory, shapes (memory by type), turns (collections of millions), steady
                      (replication), sync; separated by commas (default: all)
  --against PEERS     of 6.2.14, 7.0.15, 8.2.3, valkey (default: 7.0.15)
  --without-ours      measure only the peers
  --rounds N          alternating rounds, of which the median counts (default: 3)
  --seconds S         how long each is measured a round (default: 2)
  --ops OPS           of set, get, incr
  --pipelines N,N     (default: 1,16,64)
  --connections N,N   (default: 50,500)
  --keys N            keys of the cpu, memory, shapes and steady parts (default: 1000000)
  --elements N        elements of the turns part (default: 5000000)
  --sync-keys N,N     keys, or members of the sorted set, of the sync part (default: 5000000)
  --sync-shapes S     of keys, zset: many keys, or one sorted set (default: both)
  --links N,N         speeds of the slave's link in MB/s, 0 for the loopback's own (default: 0,20)
  --rate N            writes a second during a sync (default: 20000)
  --quick             one short round of everything, to see that it works";

#[derive(Clone, Debug)]
pub struct Options {
    pub parts: Vec<String>,
    pub servers: Vec<Kind>,
    pub rounds: usize,
    pub span: Duration,
    pub ops: Vec<Op>,
    pub pipelines: Vec<usize>,
    pub connections: Vec<usize>,
    pub keys: u64,
    pub elements: u64,
    pub sync_keys: Vec<u64>,
    pub sync_shapes: Vec<Op>,
    pub links: Vec<u64>,
    pub rate: u64,
    pub control: Duration,
}

impl Options {
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            parts: ["cpu", "embed", "memory", "shapes", "turns", "steady", "sync"].map(str::to_owned).to_vec(),
            servers: Vec::new(),
            rounds: 3,
            span: Duration::from_secs(2),
            ops: vec![Op::Set, Op::Get, Op::Incr],
            pipelines: vec![1, 16, 64],
            connections: vec![50, 500],
            keys: 1_000_000,
            elements: 5_000_000,
            sync_keys: vec![5_000_000],
            sync_shapes: vec![Op::SetNoise, Op::Zadd],
            links: vec![0, 20],
            rate: 20_000,
            control: Duration::from_secs(5),
        };
        let (mut peers, mut ours) = (vec![Peer::V7], true);
        let mut args = args;
        while let Some(arg) = args.next() {
            match arg.as_str() {
                // cargo says this to every benchmark.
                "--bench" => continue,
                "--without-ours" => {
                    ours = false;
                    continue;
                }
                "--quick" => {
                    options.quick();
                    continue;
                }
                "--help" | "-h" => return Err(USAGE.to_owned()),
                _ => {}
            }
            let value = args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"))?;
            let items: Vec<&str> = value.split(',').collect();
            let wrong = || format!("{arg} {value}?\n{USAGE}");
            let numbers = || items.iter().map(|item| item.parse::<u64>().ok()).collect::<Option<Vec<u64>>>().ok_or_else(wrong);
            let number = || value.parse::<u64>().map_err(|_| wrong());
            match arg.as_str() {
                "--only" => options.parts = items.iter().map(|item| item.to_string()).collect(),
                "--against" => peers = items.iter().map(|item| Peer::named(item)).collect::<Option<_>>().ok_or_else(wrong)?,
                "--rounds" => options.rounds = number()?.max(1) as usize,
                "--seconds" => options.span = Duration::from_secs_f64(value.parse().map_err(|_| wrong())?),
                "--ops" => options.ops = items.iter().map(|item| op(item)).collect::<Option<_>>().ok_or_else(wrong)?,
                "--pipelines" => options.pipelines = numbers()?.into_iter().map(|number| number as usize).collect(),
                "--connections" => options.connections = numbers()?.into_iter().map(|number| number as usize).collect(),
                "--keys" => options.keys = number()?,
                "--elements" => options.elements = number()?,
                "--sync-keys" => options.sync_keys = numbers()?,
                "--sync-shapes" => options.sync_shapes = items.iter().map(|item| shape(item)).collect::<Option<_>>().ok_or_else(wrong)?,
                "--links" => options.links = numbers()?,
                "--rate" => options.rate = number()?,
                _ => return Err(format!("{arg}?\n{USAGE}")),
            }
        }
        options.servers = ours.then_some(Kind::Ours).into_iter().chain(peers.into_iter().map(Kind::Real)).collect();
        Ok(options)
    }

    fn quick(&mut self) {
        self.rounds = 1;
        self.span = Duration::from_millis(300);
        self.keys = 100_000;
        self.elements = 200_000;
        self.sync_keys = vec![200_000];
        self.control = Duration::from_secs(1);
    }

    pub fn wants(&self, part: &str) -> bool {
        self.parts.iter().any(|wanted| wanted == part)
    }
}

fn shape(name: &str) -> Option<Op> {
    match name {
        "keys" => Some(Op::SetNoise),
        "zset" => Some(Op::Zadd),
        _ => None,
    }
}

fn op(name: &str) -> Option<Op> {
    match name {
        "set" => Some(Op::Set),
        "get" => Some(Op::Get),
        "incr" => Some(Op::Incr),
        _ => None,
    }
}
