//! Stories of a master and slaves, each told with a purpose: what goes wrong is chosen by hand, and when by the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use replikant::config::Config;
use replikant::env::{Random, SeededRandom};
use replikant::server::{Node, NodeHandle};
use replikant::sim::{Host, PORT, SimClient, Value, Workload, World, base_config};
use tokio::time::{Instant, sleep};

use super::{assert_same, number, show, trace_of_another_process};

const SEEDS: u64 = 10;
/// So much that nothing has to be sent anew, and so little that much has.
const BACKLOG_BYTES: u64 = 1 << 20;
const SMALL_BACKLOG_BYTES: u64 = 16 << 10;
/// So little that much goes to the disk.
const SPILL_MEMORY: u64 = 64 << 10;
const REPL_TIMEOUT: Duration = Duration::from_secs(10);

/// A master, slaves of it, and a host for clients.
struct Cluster<'a> {
    world: &'a World,
    random: SeededRandom,
    master: Host,
    slaves: Vec<Host>,
    backlog_bytes: u64,
    nodes: BTreeMap<Host, NodeHandle>,
}

fn config(master: Option<Host>, backlog_bytes: u64) -> Config {
    Config {
        slaveof: master.map(|master| (master.ip().to_string(), PORT)),
        repl_timeout: REPL_TIMEOUT.as_secs(),
        repl_backlog_size: backlog_bytes,
        repl_spill_memory: SPILL_MEMORY,
        ..base_config()
    }
}

impl<'a> Cluster<'a> {
    async fn start(world: &'a World, slaves: usize, backlog_bytes: u64) -> Self {
        let master = world.host("master");
        let slaves: Vec<Host> = (1..=slaves).map(|i| world.host(&format!("slave-{i}"))).collect();
        let mut cluster = Cluster { world, random: world.random(), master, slaves, backlog_bytes, nodes: BTreeMap::new() };
        world.network().set_window([2 << 10, 16 << 10, 64 << 10][cluster.random.below(3) as usize]);
        world.network().set_short_writes(cluster.random.below(10));
        cluster.start_node(master).await;
        for slave in cluster.slaves.clone() {
            cluster.start_node(slave).await;
        }
        cluster
    }

    async fn start_node(&mut self, host: Host) {
        let config = config((host != self.master).then_some(self.master), self.backlog_bytes);
        let node = Node::new(config).env(self.world.env(host)).log(self.world.log(host));
        let handle = self.world.on(host, node.start()).await.expect("the host stands").expect("the node starts");
        handle.ready().await;
        self.nodes.insert(host, handle);
    }

    async fn client(&self, host: Host) -> SimClient {
        let env = self.world.env(self.world.host("clients"));
        SimClient::connect(&env, &host.ip().to_string(), PORT).await.expect("the node accepts clients")
    }

    async fn replication(&self, host: Host, field: &str) -> Option<String> {
        self.client(host).await.info("replication", field).await.expect("INFO is answered")
    }

    async fn link_is(&self, slave: Host, state: &str) -> bool {
        self.replication(slave, "master_link_status").await.as_deref() == Some(state)
    }

    async fn connected_slaves(&self) -> Option<String> {
        self.replication(self.master, "connected_slaves").await
    }

    async fn offset(&self, host: Host) -> Option<u64> {
        let field = if host == self.master { "master_repl_offset" } else { "slave_repl_offset" };
        self.replication(host, field).await?.parse().ok()
    }

    /// Of all nodes together.
    async fn full_syncs(&self) -> u64 {
        let mut sum = 0;
        for host in self.slaves.iter().chain([&self.master]) {
            let count = self.client(*host).await.info("stats", "sync_full").await.expect("INFO is answered");
            sum += count.and_then(|count| count.parse::<u64>().ok()).expect("a number");
        }
        sum
    }

    async fn digest(&self, host: Host) -> String {
        self.client(host).await.digest().await.expect("DEBUG DIGEST is answered")
    }

    /// Waits in virtual time; panics with the trace's end if the condition does not come true.
    async fn until(&self, what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + within;
        while !condition().await {
            if Instant::now() > deadline {
                let trace = self.world.trace();
                let lines: Vec<&str> = trace.lines().filter(|line| line.contains(" log ") || line.contains(" note ")).collect();
                panic!("not within {within:?}: {what}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn all_linked(&self) {
        for &slave in &self.slaves {
            self.until("a slave's link is up", Duration::from_secs(60), async || self.link_is(slave, "up").await).await;
        }
    }

    async fn have_converged(&self) -> bool {
        let offset = self.offset(self.master).await;
        let digest = self.digest(self.master).await;
        for &slave in &self.slaves {
            if self.offset(slave).await != offset || self.digest(slave).await != digest {
                return false;
            }
        }
        // What came between the questions would make them differ.
        self.offset(self.master).await == offset
    }

    /// Every node comes to the master's offset and dataset.
    async fn converge(&self) {
        self.all_linked().await;
        self.until("all nodes have one offset and digest", Duration::from_secs(120), async || self.have_converged().await).await;
        self.world.note(format_args!("converged at {:?} with {}", self.offset(self.master).await, self.digest(self.master).await));
    }

    /// Sends requests for some virtual time, about twenty a second, and closes an open transaction.
    async fn write(&self, client: &mut SimClient, workload: &mut Workload, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let next = if Instant::now() < end { Some(workload.next_request()) } else { workload.last_request() };
            let Some(request) = next else { return };
            let reply = client.command(&request).await.expect("the master answers");
            if let Value::Error(error) = &reply {
                // A value that is no integer is part of the story.
                assert!(!error.contains("unknown command"), "{error}");
            }
            sleep(self.up_to_ms(100)).await;
        }
    }

    /// Writes so much that a full sync takes a while.
    async fn fill(&self, client: &mut SimClient) {
        for batch in 0..20 {
            let mut request = vec![b"MSET".to_vec()];
            for key in 0..50 {
                request.push(format!("fill:{batch}:{key}").into_bytes());
                // Nothing that compresses.
                request.push(self.random.hex(200).into_bytes());
            }
            assert!(client.command(&request).await.expect("the master answers").is_ok());
        }
    }

    /// Writes a megabyte or two.
    async fn write_much(&self, client: &mut SimClient) {
        for number in 0..24 + self.random.below(8) {
            let value = self.random.hex(64 << 10);
            let request = ["SET".to_owned(), format!("much:{}", number % 5), value];
            assert!(client.command(&request).await.expect("the master answers").is_ok());
        }
    }

    async fn follow(&self, host: Host, master: Host) {
        let reply = self.client(host).await.line(&format!("REPLICAOF {} {PORT}", master.ip())).await.expect("an answer");
        assert!(reply.text().starts_with("OK"), "{reply}");
    }

    fn up_to_ms(&self, ms: u64) -> Duration {
        Duration::from_millis(self.random.below(ms))
    }

    /// Something happens between the master and a slave, or to one of them.
    async fn fault(&mut self, slave: Host, client: &mut SimClient, workload: &mut Workload) {
        let (world, network, master) = (self.world, self.world.network(), self.master);
        match self.random.below(9) {
            0 => network.cut(master, slave),
            1 => network.cut_after(master, slave, self.random.below(3000)),
            2 => network.cut_after(slave, master, self.random.below(200)),
            3 => {
                world.crash(slave);
                self.write(client, workload, self.up_to_ms(4000)).await;
                self.start_node(slave).await;
            }
            4 => {
                // A full sync that does not come to its end.
                world.crash(slave);
                self.start_node(slave).await;
                sleep(self.up_to_ms(100)).await;
                network.cut_after(master, slave, self.random.below(300_000));
            }
            5 => {
                world.pause(slave);
                self.write(client, workload, self.up_to_ms(25_000)).await;
                world.resume(slave);
            }
            6 => {
                world.pause(master);
                sleep(self.up_to_ms(25_000)).await;
                world.resume(master);
            }
            7 => {
                network.partition(master, slave);
                self.write(client, workload, self.up_to_ms(25_000)).await;
                network.heal_all();
            }
            _ => {
                let host = [master, slave][self.random.below(2) as usize];
                world.jump_clock(host, self.random.below(120_000_000) as i64 - 60_000_000);
            }
        }
    }

    async fn stop(self) {
        for node in self.nodes.values() {
            node.stop(Some(false)).await;
        }
    }
}

/// One node alone, saving and crashing at any change of its disk: it comes back with the dataset of one of its two last saves, and with the
/// last one if that was acknowledged.
async fn saving_story(world: &World) {
    let mut cluster = Cluster::start(world, 0, BACKLOG_BYTES).await;
    let node = cluster.master;
    let mut workload = Workload::new(world.random(), 50);
    // What expires would change the dataset between two looks at it.
    workload.expiry = false;
    let mut client = cluster.client(node).await;
    cluster.fill(&mut client).await;
    for _ in 0..5 {
        let time = cluster.up_to_ms(4000);
        cluster.write(&mut client, &mut workload, time).await;
        assert!(client.line("SAVE").await.expect("an answer").is_ok());
        let saved = cluster.digest(node).await;
        let time = cluster.up_to_ms(2000);
        cluster.write(&mut client, &mut workload, time).await;
        let newer = cluster.digest(node).await;
        world.disk(node).die_after(cluster.random.below(10));
        client.line("BGSAVE").await.expect("an answer");
        let field = "rdb_bgsave_in_progress";
        let ended = async || client.info("persistence", field).await.expect("an answer").as_deref() == Some("0");
        cluster.until("the save ends", Duration::from_secs(10), ended).await;
        let acknowledged = client.info("persistence", "rdb_last_bgsave_status").await.expect("an answer").as_deref() == Some("ok");
        world.crash(node);
        cluster.start_node(node).await;
        let found = cluster.digest(node).await;
        world.note(format_args!("acknowledged {acknowledged}, newer {}", found == newer));
        assert!(found == newer || found == saved && !acknowledged, "the dataset is not that of the save");
        client = cluster.client(node).await;
    }
    cluster.stop().await;
}

/// A slave is cut off for so long that both ends notice; writes go on; then the network heals.
async fn partition_story(world: &World) {
    let cluster = Cluster::start(world, 2, BACKLOG_BYTES).await;
    let mut workload = Workload::new(world.random(), 50);
    let mut client = cluster.client(cluster.master).await;
    cluster.write(&mut client, &mut workload, Duration::from_secs(1)).await;
    cluster.all_linked().await;
    cluster.write(&mut client, &mut workload, Duration::from_secs(5)).await;

    let (master, lost, other) = (cluster.master, cluster.slaves[0], cluster.slaves[1]);
    match cluster.random.below(3) {
        0 => world.network().partition_one_way(master, lost),
        1 => world.network().partition_one_way(lost, master),
        _ => world.network().partition(master, lost),
    }
    cluster.write(&mut client, &mut workload, REPL_TIMEOUT * 3).await;
    cluster.until("one slave is left", REPL_TIMEOUT, async || cluster.connected_slaves().await.as_deref() == Some("1")).await;
    cluster.until("the lost slave knows", REPL_TIMEOUT, async || cluster.link_is(lost, "down").await).await;
    assert!(cluster.link_is(other, "up").await, "the other slave is not affected");

    world.network().heal_all();
    cluster.write(&mut client, &mut workload, Duration::from_secs(5)).await;
    cluster.converge().await;
    cluster.stop().await;
}

/// A slave stands still during its sync while much is written, and another one follows. At times the master's disk has no room for what the slave
/// still needs: then it starts over, and its master has said why.
async fn spill_story(world: &World) {
    let mut cluster = Cluster::start(world, 2, SMALL_BACKLOG_BYTES).await;
    world.network().set_window(64 << 10);
    let mut client = cluster.client(cluster.master).await;
    cluster.fill(&mut client).await;
    cluster.all_linked().await;
    let (master, slave) = (cluster.master, cluster.slaves[0]);
    world.crash(slave);
    cluster.start_node(slave).await;
    let has_room = cluster.random.below(3) > 0;
    sleep(cluster.up_to_ms(300)).await;
    world.pause(slave);
    if !has_room {
        world.disk(master).set_capacity(Some(0));
    }
    cluster.write_much(&mut client).await;
    let mut spilled = async || -> u64 {
        let field = client.info("stats", "repl_spilled_bytes").await.expect("an answer").expect("a field");
        field.parse().expect("a number")
    };
    let bytes = spilled().await;
    world.note(format_args!("spilled {bytes}, room {has_room}"));
    assert!(has_room || bytes == 0);
    world.resume(slave);
    world.disk(master).set_capacity(None);
    cluster.converge().await;
    cluster.until("the files go", Duration::from_secs(2), async || spilled().await == 0).await;
    cluster.stop().await;
}

/// Links are cut at any byte, nodes stop for a while or crash, clocks jump, under writes that go on.
async fn faults_story(world: &World) {
    let backlog_bytes = [SMALL_BACKLOG_BYTES, BACKLOG_BYTES][(world.seed() % 2) as usize];
    let mut cluster = Cluster::start(world, 2, backlog_bytes).await;
    let mut workload = Workload::new(world.random(), 50);
    let mut client = cluster.client(cluster.master).await;
    cluster.fill(&mut client).await;
    for _ in 0..8 {
        let slave = cluster.slaves[cluster.random.below(2) as usize];
        cluster.fault(slave, &mut client, &mut workload).await;
        // Shorter than a retry, at times: the next fault then meets a link that is coming up.
        let pause = cluster.up_to_ms(4000);
        cluster.write(&mut client, &mut workload, pause).await;
    }
    cluster.converge().await;
    cluster.stop().await;
}

/// The master is lost after all had its data; a slave is promoted, the other follows it with what it has, the old master comes back empty.
async fn failover_story(world: &World) {
    let mut cluster = Cluster::start(world, 2, BACKLOG_BYTES).await;
    let mut workload = Workload::new(world.random(), 50);
    let mut client = cluster.client(cluster.master).await;
    cluster.write(&mut client, &mut workload, Duration::from_secs(5)).await;
    cluster.converge().await;

    let (old, new, other) = (cluster.master, cluster.slaves[0], cluster.slaves[1]);
    world.crash(old);
    let mut client = cluster.client(new).await;
    assert!(client.line("REPLICAOF NO ONE").await.expect("an answer").is_ok());
    cluster.write(&mut client, &mut workload, Duration::from_secs(2)).await;
    cluster.follow(other, new).await;
    (cluster.master, cluster.slaves) = (new, vec![other, old]);
    cluster.write(&mut client, &mut workload, Duration::from_secs(2)).await;
    cluster.start_node(old).await;
    cluster.write(&mut client, &mut workload, Duration::from_secs(2)).await;
    cluster.converge().await;
    let partial = client.info("stats", "sync_partial_ok").await.expect("INFO is answered");
    assert_eq!(partial.as_deref(), Some("1"), "the other slave continues the history that it shares");
    cluster.stop().await;
}

/// Two masters for a while: a slave is promoted behind a partition, both sides take writes, and the old master then follows the new one.
async fn split_story(world: &World) {
    let mut cluster = Cluster::start(world, 2, BACKLOG_BYTES).await;
    let mut workload = Workload::new(world.random(), 50);
    let mut client = cluster.client(cluster.master).await;
    cluster.write(&mut client, &mut workload, Duration::from_secs(3)).await;
    cluster.all_linked().await;

    let (old, new, other) = (cluster.master, cluster.slaves[0], cluster.slaves[1]);
    world.network().partition(old, new);
    world.network().partition(old, other);
    let lost = cluster.up_to_ms(15_000);
    cluster.write(&mut client, &mut workload, lost).await;
    let mut new_client = cluster.client(new).await;
    assert!(new_client.line("REPLICAOF NO ONE").await.expect("an answer").is_ok());
    cluster.follow(other, new).await;
    let kept = cluster.up_to_ms(15_000);
    cluster.write(&mut new_client, &mut workload, kept).await;
    world.network().heal_all();
    let late = cluster.up_to_ms(3000);
    cluster.write(&mut new_client, &mut workload, late).await;
    cluster.follow(old, new).await;
    (cluster.master, cluster.slaves) = (new, vec![other, old]);
    cluster.write(&mut new_client, &mut workload, Duration::from_secs(2)).await;
    cluster.converge().await;
    cluster.stop().await;
}

/// Slaves of slaves: each follows any node before it, and changes its mind, while links between them are cut. In the end one of the slaves takes over. All
/// of it is one history, so nobody needs a full sync again if the backlog is big enough.
async fn chain_story(world: &World) {
    let backlog_bytes = [SMALL_BACKLOG_BYTES, BACKLOG_BYTES][(world.seed() % 2) as usize];
    let mut cluster = Cluster::start(world, 3, backlog_bytes).await;
    let mut workload = Workload::new(world.random(), 50);
    let mut client = cluster.client(cluster.master).await;
    cluster.converge().await;
    let first_syncs = cluster.full_syncs().await;
    let nodes: Vec<Host> = std::iter::once(cluster.master).chain(cluster.slaves.iter().copied()).collect();
    for _ in 0..12 {
        let at = 1 + cluster.random.below(3) as usize;
        let above = nodes[cluster.random.below(at as u64) as usize];
        if cluster.random.below(3) == 0 {
            world.network().cut_after(above, nodes[at], cluster.random.below(2000));
        } else {
            cluster.follow(nodes[at], above).await;
        }
        let pause = cluster.up_to_ms(4000);
        cluster.write(&mut client, &mut workload, pause).await;
    }
    // The old master's pings and what expires there would be bytes that the new one does not have.
    for line in ["CONFIG SET repl-ping-replica-period 3600", "CLIENT PAUSE 3600000 WRITE"] {
        assert!(client.line(line).await.expect("an answer").is_ok());
    }
    cluster.converge().await;
    let new = cluster.slaves.remove(cluster.random.below(3) as usize);
    cluster.slaves.push(std::mem::replace(&mut cluster.master, new));
    let mut client = cluster.client(new).await;
    assert!(client.line("REPLICAOF NO ONE").await.expect("an answer").is_ok());
    for &slave in &cluster.slaves {
        cluster.follow(slave, new).await;
        // What is written elsewhere is held back too as long as the pause lasts.
        assert!(cluster.client(slave).await.line("CLIENT UNPAUSE").await.expect("an answer").is_ok());
        let pause = cluster.up_to_ms(1000);
        cluster.write(&mut client, &mut workload, pause).await;
    }
    cluster.converge().await;
    if backlog_bytes == BACKLOG_BYTES {
        assert_eq!(cluster.full_syncs().await, first_syncs, "a full sync within one history");
    }
    cluster.stop().await;
}

/// What a map, told as an array, has under a name.
fn told(reply: &Value, name: &str) -> Option<Value> {
    let Value::Array(items) = reply else { return None };
    items.chunks(2).find(|pair| pair[0].text() == name).map(|pair| pair[1].clone())
}

/// Links are cut while slaves are compared with the master: each that is lost is named with a reason, nobody is found different, and the next comparison of
/// healed links finds all equal. What was done to a slave behind its master's back is mended.
async fn verification_story(world: &World) {
    let mut cluster = Cluster::start(world, 2, BACKLOG_BYTES).await;
    let mut workload = Workload::new(world.random(), 50);
    let mut client = cluster.client(cluster.master).await;
    cluster.fill(&mut client).await;
    cluster.all_linked().await;
    for _ in 0..4 {
        let mut operator = cluster.client(cluster.master).await;
        operator.timeout = Duration::from_secs(300);
        operator.send(&["REPLICATION", "VERIFY"]).await.expect("the master listens");
        sleep(cluster.up_to_ms(20)).await;
        let slave = cluster.slaves[cluster.random.below(2) as usize];
        cluster.fault(slave, &mut client, &mut workload).await;
        let reply = operator.reply().await.expect("a comparison ends");
        let state = told(&reply, "state").map(|state| state.text()).unwrap_or_default();
        assert!(matches!(state.as_str(), "equal" | "incomplete" | "failed") || reply.text() == "ERR no slave is online", "{reply}");
        if let Some(Value::Array(slaves)) = told(&reply, "slaves").filter(|_| state == "incomplete") {
            let with_reason = |one: &&Value| told(one, "error").is_some_and(|error| !error.text().is_empty());
            assert!(slaves.iter().any(|one| with_reason(&one)), "{reply}");
        }
        world.note(format_args!("compared: {state}"));
        cluster.all_linked().await;
    }
    assert!(client.line("SET lie:1 no").await.expect("an answer").is_ok());
    cluster.converge().await;
    let mut liar = cluster.client(cluster.slaves[0]).await;
    for line in ["CONFIG SET replica-read-only no", "SET lie:1 yes", "SET lie:2 1", "SADD lie:3 1"] {
        liar.line(line).await.expect("an answer");
    }
    let mut operator = cluster.client(cluster.master).await;
    operator.timeout = Duration::from_secs(300);
    let reply = operator.line("REPLICATION REPAIR").await.expect("an answer");
    assert_eq!(told(&reply, "state").map(|state| state.text()).as_deref(), Some("equal"), "{reply}");
    assert_eq!(told(&reply, "repaired"), Some(Value::Int(3)), "{reply}");
    cluster.converge().await;
    cluster.stop().await;
}

/// Tells the seed of a story that fails, and its trace if that is wanted.
struct Telling<'a>(&'a str, &'a World);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} fails with REPLIKANT_SEED={}", self.0, self.1.seed());
            if let Ok(file) = std::env::var("REPLIKANT_TRACE") {
                let _ = std::fs::write(file, self.1.trace());
            }
        }
    }
}

fn trace_of(name: &str, seed: u64, story: impl AsyncFn(&World)) -> String {
    let world = World::new(seed);
    let _telling = Telling(name, &world);
    world.run(story(&world));
    world.trace()
}

/// Runs a story for each seed; the first is run again, here and in a process of its own.
fn run_seeds(name: &str, story: impl AsyncFn(&World)) {
    if let Some(seed) = number("REPLIKANT_SEED") {
        let trace = trace_of(name, seed, &story);
        show(&trace);
        return;
    }
    let first = number("REPLIKANT_FIRST_SEED").unwrap_or(1);
    let seeds = number("REPLIKANT_SEEDS").unwrap_or(SEEDS);
    let start = std::time::Instant::now();
    for seed in first..first + seeds {
        trace_of(name, seed, &story);
    }
    println!("{name}: {seeds} seeds, {:.1} a second", seeds as f64 / start.elapsed().as_secs_f64());

    let trace = trace_of(name, first, &story);
    assert_same(&trace, &trace_of(name, first, &story), "the same process");
    assert_same(&trace, &trace_of_another_process(&format!("stories::{name}"), first), "another process");
}

#[test]
fn saves_survive_crashes() {
    run_seeds("saves_survive_crashes", saving_story);
}

#[test]
fn slaves_converge_after_a_partition() {
    run_seeds("slaves_converge_after_a_partition", partition_story);
}

#[test]
fn what_a_slave_can_not_take_is_spilled() {
    run_seeds("what_a_slave_can_not_take_is_spilled", spill_story);
}

#[test]
fn slaves_converge_after_cuts_pauses_and_crashes() {
    run_seeds("slaves_converge_after_cuts_pauses_and_crashes", faults_story);
}

#[test]
fn slaves_follow_a_promoted_slave() {
    run_seeds("slaves_follow_a_promoted_slave", failover_story);
}

#[test]
fn slaves_of_slaves_converge() {
    run_seeds("slaves_of_slaves_converge", chain_story);
}

#[test]
fn a_split_history_is_mended() {
    run_seeds("a_split_history_is_mended", split_story);
}

#[test]
fn slaves_are_verified_whatever_is_cut() {
    run_seeds("slaves_are_verified_whatever_is_cut", verification_story);
}
