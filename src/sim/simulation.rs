//! A whole run: a cluster, clients, faults, checks, and the demand that everything is well in the end. All of it is a function of the seed and of
//! the schedule of faults.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{LocalBoxFuture, try_join_all};
use tokio::time::{sleep, timeout};

use super::checks::{Check, standard_checks};
use super::clients::Scene;
use super::cluster::Cluster;
use super::digest::noise;
use super::drive::{accept_refused, drive};
use super::faults::{Fault, random_faults};
use super::wire::Latency;
use super::world::World;
use crate::config::{Config, DisklessLoad, ReplDialect};
use crate::env::{Mistake, Random, SeededRandom};

/// How often the checks look.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After the faults all nodes must be of one mind within this time: longer than every time-out and back-off.
const CONVERGE_WITHIN: Duration = Duration::from_secs(180);
/// Some chunks of a snapshot, of which the last is not whole.
const HEAVY_FILL_BYTES: usize = 900_000;
/// Whoever takes part in a run has ended so long after the faults: the slowest waits for the nodes to converge.
const END_WITHIN: Duration = Duration::from_secs(600);

/// A simulated cluster under load and faults. What is not set is chosen by the seed.
///
/// ```
/// use replikant::sim::Simulation;
///
/// let report = Simulation::new(7).replicas(2).sub_replicas(1).seconds(5).run().unwrap();
/// assert!(report.requests > 100);
/// ```
#[derive(Clone)]
pub struct Simulation {
    seed: u64,
    replicas: Option<usize>,
    sub_replicas: Option<usize>,
    clients: usize,
    duration: Duration,
    faults: Option<Vec<Fault>>,
    fault_count: Option<usize>,
    mistake: Option<Mistake>,
    stock: Option<bool>,
    heavy: Option<bool>,
    configure: Rc<dyn Fn(&mut Config)>,
    checks: Vec<Rc<dyn Fn() -> Box<dyn Check>>>,
    traced: bool,
}

/// A run that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    /// The schedule that was carried out.
    pub faults: Vec<Fault>,
    /// Requests of all clients, and replies that were awaited.
    pub requests: u64,
    /// Writes that WAIT has confirmed and that nobody was let off from having.
    pub confirmed: usize,
    /// Virtual time.
    pub took: Duration,
    /// Empty unless it was asked for.
    pub trace: String,
}

/// A run that did not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    pub seed: u64,
    /// What was found.
    pub what: String,
    /// The schedule that led there.
    pub faults: Vec<Fault>,
    /// Virtual time when it was found.
    pub at: Duration,
    /// All that happened.
    pub trace: String,
    /// The numbers of nodes, where they were set.
    options: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} fails after {:?} of virtual time: {}", self.seed, self.at, self.what)?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "    {fault}"))?;
        write!(f, "replay: {}", self.replay())
    }
}

impl Failure {
    /// The command that runs the same again and writes its trace.
    pub fn replay(&self) -> String {
        let faults: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        let (seed, options) = (self.seed, &self.options);
        format!("cargo run --features sim --example simulate -- --seed {seed}{options} --faults '{}' --trace trace.txt", faults.join(";"))
    }
}

impl Simulation {
    pub fn new(seed: u64) -> Self {
        Simulation {
            seed,
            replicas: None,
            sub_replicas: None,
            clients: 6,
            duration: Duration::from_secs(20),
            faults: None,
            fault_count: None,
            mistake: None,
            stock: None,
            heavy: None,
            configure: Rc::new(|_| ()),
            checks: Vec::new(),
            traced: false,
        }
    }

    /// Slaves of the first master.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = Some(count);
        self
    }

    /// Slaves of those slaves, shared out among them.
    pub fn sub_replicas(mut self, count: usize) -> Self {
        self.sub_replicas = Some(count);
        self
    }

    /// Clients: writers, one that uses WAIT, one that blocks, one that reads from any node.
    pub fn clients(mut self, count: usize) -> Self {
        self.clients = count;
        self
    }

    /// For how much virtual time there are faults.
    pub fn seconds(mut self, seconds: u64) -> Self {
        self.duration = Duration::from_secs(seconds);
        self
    }

    /// These faults, instead of those that the seed chooses.
    pub fn faults(mut self, faults: Vec<Fault>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// So many faults, of the seed's choice.
    pub fn fault_count(mut self, count: usize) -> Self {
        self.fault_count = Some(count);
        self
    }

    /// Plants a mistake in every node.
    pub fn mistake(mut self, mistake: Option<Mistake>) -> Self {
        self.mistake = mistake;
        self
    }

    /// Whether nodes say no more of themselves to each other than stock Redis does: then snapshots come as `$EOF:` or `$<length>`, else in chunks.
    pub fn stock(mut self, stock: bool) -> Self {
        self.stock = Some(stock);
        self
    }

    /// Whether there is much data: snapshots of several chunks, and a stream that slaves fall behind.
    pub fn heavy(mut self, heavy: bool) -> Self {
        self.heavy = Some(heavy);
        self
    }

    /// Changes every node's configuration, after the seed has.
    pub fn configure(mut self, change: impl Fn(&mut Config) + 'static) -> Self {
        self.configure = Rc::new(change);
        self
    }

    /// One more rule that must hold at every moment. It is made anew for each run.
    pub fn check<C: Check + 'static>(mut self, make: impl Fn() -> C + 'static) -> Self {
        self.checks.push(Rc::new(move || Box::new(make())));
        self
    }

    /// Keeps the trace of a run that goes well, too.
    pub fn traced(mut self, traced: bool) -> Self {
        self.traced = traced;
        self
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Runs it. A failure brings its trace along.
    pub fn run(&self) -> Result<Report, Box<Failure>> {
        match self.once(self.traced) {
            Err(_) if !self.traced => self.once(true),
            outcome => outcome,
        }
    }

    /// What is found, if anything is: a run without a trace takes half the time.
    pub fn finds(&self) -> Option<String> {
        self.once(false).err().map(|failure| failure.what)
    }

    fn once(&self, traced: bool) -> Result<Report, Box<Failure>> {
        let world = World::new(self.seed);
        if !traced {
            world.stop_tracing();
        }
        let plan = Plan::new(self, world.random());
        let outcome = world.run_whatever_panics(plan.carry_out(self, &world));
        let (seed, took, faults, trace) = (self.seed, world.elapsed(), plan.faults.clone(), world.trace());
        match outcome {
            Ok((requests, confirmed)) => Ok(Report { seed, faults, requests, confirmed, took, trace }),
            Err(what) => Err(Box::new(Failure { seed, what, faults, at: took, trace, options: self.options() })),
        }
    }

    fn options(&self) -> String {
        let mut text = format!(" --seconds {}", self.duration.as_secs());
        for (name, count) in [("replicas", self.replicas), ("sub-replicas", self.sub_replicas)] {
            text.extend(count.map(|count| format!(" --{name} {count}")));
        }
        for (name, choice) in [("stock", self.stock), ("heavy", self.heavy)] {
            text.extend(choice.map(|choice| format!(" --{name} {}", if choice { "yes" } else { "no" })));
        }
        text.extend(self.mistake.map(|mistake| format!(" --mistake {mistake:?}")));
        text
    }
}

/// What the seed has chosen. Each part has numbers of its own, so that other faults do not change what else happens.
struct Plan {
    replicas: usize,
    sub_replicas: usize,
    faults: Vec<Fault>,
    network: SeededRandom,
    client_seeds: Vec<u64>,
    directives: Directives,
    stock: bool,
    heavy: bool,
    fill: Vec<u8>,
}

/// What the seed configures in every node.
#[derive(Clone, Copy)]
struct Directives {
    backlog_bytes: u64,
    diskless_sync: bool,
    diskless_load: DisklessLoad,
    /// Bytes a second; 0: as fast as the network takes them.
    sync_max_rate: u64,
}

const DISKLESS_LOADS: [DisklessLoad; 4] = [DisklessLoad::Disabled, DisklessLoad::OnEmptyDb, DisklessLoad::SwapDb, DisklessLoad::FlushBeforeLoad];

impl Directives {
    fn apply(self, config: &mut Config) {
        config.repl_backlog_size = self.backlog_bytes;
        config.repl_diskless_sync = self.diskless_sync;
        config.repl_diskless_load = self.diskless_load;
        config.repl_sync_max_rate = self.sync_max_rate;
        // All of them read everything, whether they say so or not.
        config.repl_dialect = ReplDialect::V8_2;
        // What slaves that are behind need goes to files soon.
        config.repl_spill_memory = 64 << 10;
    }
}

impl Plan {
    fn new(simulation: &Simulation, random: SeededRandom) -> Self {
        let [shape, network, clients, faults, data, syncs] = [(); 6].map(|()| SeededRandom::from_seed(random.next_u64()));
        let replicas = simulation.replicas.unwrap_or(1 + shape.below(3) as usize);
        let sub_replicas = simulation.sub_replicas.unwrap_or(if replicas == 0 { 0 } else { shape.below(3) as usize });
        let count = simulation.fault_count.unwrap_or(1 + shape.below(16) as usize);
        let within_ms = simulation.duration.as_millis() as u64;
        let chosen = || random_faults(&faults, 1 + replicas + sub_replicas, count, within_ms);
        let fill_bytes = [2_000, 20_000, 100_000][shape.below(3) as usize];
        // So little that much has to be sent anew, and so much that nothing has.
        let backlog_bytes = [16 << 10, 1 << 20][shape.below(2) as usize];
        let diskless_sync = shape.below(3) > 0;
        let diskless_load = DISKLESS_LOADS[syncs.below(4) as usize];
        let stock = syncs.below(3) == 0;
        let heavy = simulation.heavy.unwrap_or(syncs.below(8) == 0);
        // Then a sync takes seconds, in which much can happen to it.
        let slow = fill_bytes.max(if heavy { HEAVY_FILL_BYTES } else { 0 }) as u64 / 3;
        let sync_max_rate = if syncs.below(4) == 0 { slow.max(16 << 10) } else { 0 };
        Plan {
            replicas,
            sub_replicas,
            faults: simulation.faults.clone().unwrap_or_else(chosen),
            network,
            client_seeds: (0..simulation.clients).map(|_| clients.next_u64()).collect(),
            directives: Directives { backlog_bytes, diskless_sync, diskless_load, sync_max_rate },
            stock: simulation.stock.unwrap_or(stock),
            heavy,
            fill: noise(&data, if heavy { HEAVY_FILL_BYTES } else { fill_bytes }),
        }
    }

    /// Returns the number of requests, and of confirmed writes that the last master has to have.
    async fn carry_out(&self, simulation: &Simulation, world: &World) -> Result<(u64, usize), String> {
        let network = world.network();
        network.set_window([2 << 10, 16 << 10, 64 << 10][self.network.below(3) as usize]);
        network.set_short_writes(self.network.below(10));
        network.set_latency(Latency { base_us: self.network.below(3000), jitter_us: self.network.below(8000) });
        let cluster = self.cluster(simulation, world);
        cluster.start_all().await?;
        self.fill(&cluster).await.ok_or("the master does not take its first data")?;
        let scene = Scene::new(&cluster, self.heavy);
        let mut parts: Vec<(String, LocalBoxFuture<'_, Result<(), String>>)> = Vec::new();
        parts.extend(self.client_seeds.iter().enumerate().map(|(number, seed)| (format!("client {number}"), scene.client(number, *seed))));
        parts.push(("the checks".to_owned(), Box::pin(watch(&scene, simulation))));
        let faults = async {
            drive(&scene, &self.faults, simulation.duration).await?;
            sleep(Duration::from_millis(500)).await;
            scene.open.set(false);
            Ok(())
        };
        parts.push(("the faults".to_owned(), Box::pin(faults)));
        all_end(parts, simulation.duration + END_WITHIN).await?;
        Ok((scene.requests.get(), scene.promises.borrow().held_by(cluster.root())))
    }

    fn cluster<'w>(&self, simulation: &Simulation, world: &'w World) -> Cluster<'w> {
        let cluster = Cluster::new(world);
        let (change, directives) = (simulation.configure.clone(), self.directives);
        cluster.configure(move |config| {
            directives.apply(config);
            change(config);
        });
        cluster.plant(simulation.mistake);
        cluster.stock_replicas(self.stock);
        cluster.add("node-0", None);
        for replica in 1..=self.replicas {
            cluster.add(&format!("node-{replica}"), Some(0));
        }
        for sub in 0..self.sub_replicas {
            let name = format!("node-{}", self.replicas + 1 + sub);
            cluster.add(&name, Some(if self.replicas == 0 { 0 } else { 1 + sub % self.replicas }));
        }
        cluster
    }

    /// Data that nobody deletes, saved, so that the master has something to come back with.
    async fn fill(&self, cluster: &Cluster<'_>) -> Option<()> {
        let mut client = cluster.connect(cluster.root()).await.ok()?;
        client.line("SELECT 13").await.ok()?;
        for (number, value) in self.fill.chunks(500).enumerate() {
            let key = format!("fill:{number}");
            client.command(&[b"SET", key.as_bytes(), value]).await.ok().filter(|reply| reply.is_ok())?;
        }
        client.line("SAVE").await.ok().filter(|reply| reply.is_ok()).map(drop)
    }
}

/// Runs all at once until the last ends, or the first finds something. None may go on for longer than `within`.
async fn all_end(parts: Vec<(String, LocalBoxFuture<'_, Result<(), String>>)>, within: Duration) -> Result<(), String> {
    let at_work = RefCell::new(BTreeSet::new());
    let parts = parts.into_iter().map(async |(name, part)| {
        at_work.borrow_mut().insert(name.clone());
        part.await?;
        at_work.borrow_mut().remove(&name);
        Ok(())
    });
    match timeout(within, try_join_all(parts)).await {
        Ok(ended) => ended.map(drop),
        Err(_) => Err(format!("still at work after {within:?}: {:?}", at_work.borrow())),
    }
}

/// Looks at all nodes until the faults are over, then demands that everything comes to rest, and looks once more.
async fn watch(scene: &Scene<'_>, simulation: &Simulation) -> Result<(), String> {
    let mut checks = standard_checks();
    checks.extend(simulation.checks.iter().map(|make| make()));
    let mut settled = None;
    loop {
        scene.cluster.look(|nodes| checks.iter_mut().try_for_each(|check| check.look(nodes)))?;
        if !scene.open.get() {
            let why = scene.cluster.disagreement();
            let Some(why) = why else { break };
            accept_refused(scene).await;
            let since = *settled.get_or_insert_with(tokio::time::Instant::now);
            if since.elapsed() > CONVERGE_WITHIN {
                return Err(format!("the nodes have not converged within {CONVERGE_WITHIN:?}: {why}"));
            }
        }
        sleep(LOOK_EVERY).await;
    }
    scene.cluster.look(|nodes| {
        checks.iter_mut().try_for_each(|check| check.end(nodes))?;
        // All are alike now, so all have what the master must have.
        let root = scene.cluster.root();
        nodes.iter().filter(|node| node.index == root).try_for_each(|node| scene.promises.borrow().check(node))
    })
}
