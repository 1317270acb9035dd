//! The clients of a simulated run: writers, waiters, readers and those that block, each on connections of its own, while faults come and go.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::time::sleep;

use super::client::{SimClient, Value};
use super::cluster::Cluster;
use super::promises::{PROMISES_DB, Promises};
use super::workload::Workload;
use crate::env::{Random, SeededRandom};

/// Keys that always change together, in a database of their own: whoever sees two values sees half of something.
const PAIRS_DB: &str = "14";
const PAIRS: usize = 8;
/// How long a client waits for a reply before it connects anew.
const PATIENCE: Duration = Duration::from_secs(3);
const KEYS: u64 = 12;

/// What clients, faults and checks share.
pub(super) struct Scene<'a> {
    pub cluster: &'a Cluster<'a>,
    pub promises: RefCell<Promises>,
    /// Clients go on.
    pub open: Cell<bool>,
    pub requests: Cell<u64>,
    /// Big values come often.
    heavy: bool,
    pairs_written: Cell<u64>,
}

type Outcome = Result<(), String>;

impl<'a> Scene<'a> {
    pub fn new(cluster: &'a Cluster<'a>, heavy: bool) -> Self {
        Scene { cluster, promises: RefCell::default(), open: Cell::new(true), requests: Cell::new(0), heavy, pairs_written: Cell::new(0) }
    }

    /// Client number `number`. It ends when the scene closes, or when it sees what must not be.
    pub fn client(&'a self, number: usize, seed: u64) -> LocalBoxFuture<'a, Outcome> {
        Box::pin(async move {
            let random = SeededRandom::from_seed(seed);
            let mut workload = Workload::new(SeededRandom::from_seed(random.next_u64()), KEYS);
            workload.heavy = self.heavy;
            while self.open.get() {
                let node = match number % 5 {
                    3 => random.below(self.cluster.len() as u64) as usize,
                    _ => self.cluster.root(),
                };
                let session = self.session(number, node, &random, &mut workload);
                match session.await {
                    Ok(outcome) => outcome?,
                    // Connections break in a world of faults.
                    Err(_) => sleep(Duration::from_millis(20 + random.below(200))).await,
                }
            }
            Ok(())
        })
    }

    /// A connection and what is done over it, up to a change of master.
    async fn session(&self, number: usize, node: usize, random: &SeededRandom, workload: &mut Workload) -> io::Result<Outcome> {
        let connecting = tokio::time::timeout(PATIENCE, self.cluster.connect(node));
        let mut client = connecting.await??;
        client.timeout = PATIENCE;
        match number % 5 {
            0 | 4 => self.write(&mut client, node, random, workload).await,
            1 => self.wait(&mut client, node, random).await,
            2 => self.block(&mut client, node, random, workload).await,
            _ => self.read(&mut client, random, workload).await,
        }
    }

    fn goes_on(&self, node: usize) -> bool {
        self.requests.set(self.requests.get() + 1);
        self.open.get() && self.cluster.root() == node
    }

    async fn write(&self, client: &mut SimClient, node: usize, random: &SeededRandom, workload: &mut Workload) -> io::Result<Outcome> {
        // A transaction that was open has ended with its connection.
        workload.last_request();
        while self.goes_on(node) {
            // Some at once: they come in one turn.
            let burst = 1 + random.below(4);
            for _ in 0..burst {
                client.send(&workload.next_request()).await?;
            }
            for _ in 0..burst {
                client.reply().await?;
            }
            sleep(Duration::from_millis(random.below(60))).await;
        }
        Ok(Ok(()))
    }

    /// Writes that are confirmed by WAIT, and those that belong together.
    async fn wait(&self, client: &mut SimClient, node: usize, random: &SeededRandom) -> io::Result<Outcome> {
        let Value::Int(id) = client.line("CLIENT ID").await? else { return Err(io::ErrorKind::InvalidData.into()) };
        while self.goes_on(node) {
            self.write_pairs(client, random).await?;
            let changes = self.promises.borrow().changes;
            client.line(&format!("SELECT {PROMISES_DB}")).await?;
            let key = format!("promise:{}", self.requests.get());
            let written = client.command(&["SET", &key, &key]).await?.is_ok();
            let confirmed = client.line(&format!("WAIT {} {}", 1 + random.below(2), 1 + random.below(300))).await?;
            if written && matches!(confirmed, Value::Int(1..)) && self.promises.borrow().changes == changes {
                self.cluster.look(|nodes| {
                    if let Some(master) = nodes.iter().find(|view| view.index == node) {
                        self.promises.borrow_mut().confirm(key, master, id as u64, nodes);
                    }
                });
            }
            sleep(Duration::from_millis(random.below(100))).await;
        }
        Ok(Ok(()))
    }

    async fn write_pairs(&self, client: &mut SimClient, random: &SeededRandom) -> io::Result<()> {
        self.pairs_written.set(self.pairs_written.get() + 1);
        let value = self.pairs_written.get().to_string();
        client.line(&format!("SELECT {PAIRS_DB}")).await?;
        if random.below(2) == 0 {
            let pairs: String = (0..PAIRS).map(|at| format!(" pair:{at} {value}")).collect();
            client.line(&format!("MSET{pairs}")).await?;
            return Ok(());
        }
        client.line("MULTI").await?;
        for at in 0..PAIRS {
            client.line(&format!("SET pair:{at} {value}")).await?;
        }
        client.line("EXEC").await?;
        Ok(())
    }

    async fn block(&self, client: &mut SimClient, node: usize, random: &SeededRandom, workload: &mut Workload) -> io::Result<Outcome> {
        while self.goes_on(node) {
            client.command(&workload.blocking_request()).await?;
            sleep(Duration::from_millis(random.below(50))).await;
        }
        Ok(Ok(()))
    }

    /// Reads for a while from any node, slaves that sync among them.
    async fn read(&self, client: &mut SimClient, random: &SeededRandom, workload: &mut Workload) -> io::Result<Outcome> {
        for _ in 0..random.below(100) {
            if !self.goes_on(self.cluster.root()) {
                break;
            }
            client.command(&workload.read_request()).await?;
            client.line(&format!("SELECT {PAIRS_DB}")).await?;
            let names: String = (0..PAIRS).map(|at| format!(" pair:{at}")).collect();
            if let Value::Array(values) = client.line(&format!("MGET{names}")).await?
                && values.windows(2).any(|pair| pair[0] != pair[1])
            {
                return Ok(Err(format!("a client has read half of a dataset: {}", Value::Array(values))));
            }
            client.line(&format!("SELECT {}", random.below(3))).await?;
            sleep(Duration::from_millis(random.below(80))).await;
        }
        Ok(Ok(()))
    }
}
