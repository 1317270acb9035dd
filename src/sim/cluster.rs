//! Nodes in a simulated world: who follows whom, who runs, and ways to look at all of them at one moment.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::client::SimClient;
use super::digest::{digest, keys};
use super::world::{Host, World};
use crate::command::NodeState;
use crate::config::{Config, EnableWhere};
use crate::env::{Env, Mistake};
use crate::replication::{ReplId, Role};
use crate::server::{Node, NodeHandle};

/// Where every node listens, on an address of its own.
pub const PORT: u16 = 6379;
/// How long the operator waits for an answer.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(1);
const START_PATIENCE: Duration = Duration::from_secs(60);

struct Member {
    name: String,
    host: Host,
    /// `None`: its process does not run.
    handle: Option<NodeHandle>,
    /// Whom it was told to follow.
    master: Option<usize>,
    starts: u64,
}

/// Changes the configuration that a node starts with.
type Configure = Box<dyn Fn(&mut Config)>;

/// Nodes on hosts of their own. They are named by their number, in the order in which they were added.
pub struct Cluster<'w> {
    world: &'w World,
    members: RefCell<Vec<Member>>,
    configure: RefCell<Configure>,
    mistake: Cell<Option<Mistake>>,
    stock_replicas: Cell<bool>,
    digests: RefCell<BTreeMap<usize, (Stamp, u64)>>,
}

/// As long as this is the same, so is the node's dataset.
type Stamp = (u64, ReplId, u64, u64, usize);

/// A running node as a checker sees it: between two turns.
#[derive(Clone, Copy)]
pub struct NodeView<'a> {
    pub index: usize,
    pub name: &'a str,
    /// How often its process has started.
    pub starts: u64,
    /// Whom it was told to follow.
    pub master: Option<usize>,
    pub is_stopping: bool,
    pub state: &'a NodeState,
    digest: u64,
    ip: std::net::Ipv4Addr,
}

impl NodeView<'_> {
    /// The history that the node is in, and how much of it the node has.
    pub fn position(&self) -> (ReplId, u64) {
        (self.state.stream.replid, self.state.stream.offset().0)
    }

    /// Names the whole dataset, times of expiry and consumer groups included.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Keys in all databases.
    pub fn keys(&self) -> u64 {
        keys(&self.state.keyspace)
    }

    pub fn ip(&self) -> std::net::Ipv4Addr {
        self.ip
    }

    /// Whether it is in the role that it was told, its link up if it is a slave.
    pub fn is_settled(&self) -> bool {
        match (&self.state.role, self.master) {
            (Role::Master, None) => true,
            (Role::Replica(link), Some(_)) => link.is_up(),
            _ => false,
        }
    }
}

/// What nodes of a simulated cluster start with: all interfaces, no save points, short time-outs, DEBUG allowed.
pub fn base_config() -> Config {
    Config {
        bind: vec!["0.0.0.0".to_owned()],
        port: PORT,
        protected_mode: false,
        save: Vec::new(),
        enable_debug_command: EnableWhere::Yes,
        repl_timeout: 10,
        // Shorter than those wait who stop a node.
        shutdown_timeout: 2,
        repl_ping_replica_period: 2,
        repl_diskless_sync_delay: 0,
        repl_backlog_size: 1 << 20,
        ..Config::default()
    }
}

impl<'w> Cluster<'w> {
    pub fn new(world: &'w World) -> Self {
        Cluster {
            world,
            members: RefCell::default(),
            configure: RefCell::new(Box::new(|_| ())),
            mistake: Cell::new(None),
            stock_replicas: Cell::new(false),
            digests: RefCell::default(),
        }
    }

    /// What is changed in `base_config` for nodes that start from now on.
    pub fn configure(&self, change: impl Fn(&mut Config) + 'static) {
        *self.configure.borrow_mut() = Box::new(change);
    }

    /// Nodes that start from now on make this mistake.
    pub fn plant(&self, mistake: Option<Mistake>) {
        self.mistake.set(mistake);
    }

    /// Nodes that start from now on say no more of themselves to their masters than stock Redis does, or all there is.
    pub fn stock_replicas(&self, stock: bool) {
        self.stock_replicas.set(stock);
    }

    pub fn world(&self) -> &'w World {
        self.world
    }

    /// A node that does not run yet.
    pub fn add(&self, name: &str, master: Option<usize>) -> usize {
        let host = self.world.host(name);
        let mut members = self.members.borrow_mut();
        members.push(Member { name: name.to_owned(), host, handle: None, master, starts: 0 });
        members.len() - 1
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.members.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn host(&self, node: usize) -> Host {
        self.members.borrow()[node].host
    }

    /// Whom the node was told to follow.
    pub fn master_of(&self, node: usize) -> Option<usize> {
        self.members.borrow()[node].master
    }

    /// The node that follows nobody; the first, should there be several.
    pub fn root(&self) -> usize {
        self.members.borrow().iter().position(|member| member.master.is_none()).expect("some node follows nobody")
    }

    pub fn is_up(&self, node: usize) -> bool {
        self.members.borrow()[node].handle.is_some()
    }

    /// The running node, for its embedding API.
    pub fn handle(&self, node: usize) -> Option<NodeHandle> {
        self.members.borrow()[node].handle.clone()
    }

    /// Looks at the state of a node that runs, and at nothing else of it: a digest takes time.
    pub(super) fn state<T>(&self, node: usize, look: impl FnOnce(&NodeState) -> T) -> Option<T> {
        self.handle(node).map(|handle| look(&handle.shell().state.borrow()))
    }

    /// Starts the node's process, with what its disk has.
    pub async fn start(&self, node: usize) -> Result<(), String> {
        let (host, name, master) = {
            let members = self.members.borrow();
            (members[node].host, members[node].name.clone(), members[node].master)
        };
        let mut config = base_config();
        config.slaveof = master.map(|master| (self.host(master).ip().to_string(), PORT));
        (self.configure.borrow())(&mut config);
        let env = Env { mistake: self.mistake.get(), stock_replica: self.stock_replicas.get(), ..self.world.env(host) };
        let starting = Node::new(config).env(env).log(self.world.log(host)).start();
        let Some(started) = self.world.on(host, starting).await else { return Ok(()) };
        let handle = started.map_err(|error| format!("{name} does not start: {error}"))?;
        {
            let member = &mut self.members.borrow_mut()[node];
            member.handle = Some(handle.clone());
            member.starts += 1;
        }
        // A load that has failed is found by those who look at the node.
        let _ = timeout(START_PATIENCE, handle.ready()).await;
        Ok(())
    }

    /// Starts every node, in their order.
    pub async fn start_all(&self) -> Result<(), String> {
        for node in 0..self.len() {
            self.start(node).await?;
        }
        Ok(())
    }

    /// The node's process ends without warning.
    pub fn crash(&self, node: usize) {
        let handle = self.members.borrow_mut()[node].handle.take();
        self.world.crash(self.host(node));
        drop(handle);
    }

    /// Stops the node as SHUTDOWN does. One that does not want to, or can't, is crashed.
    pub async fn stop(&self, node: usize, save: bool) {
        let Some(handle) = self.members.borrow_mut()[node].handle.take() else { return };
        handle.request_stop(Some(save));
        let stopped = timeout(Duration::from_secs(5), handle.stopped()).await;
        self.world.note(format_args!("node {node} has stopped: {}", stopped.is_ok()));
        drop(handle);
        self.world.crash(self.host(node));
    }

    /// Connects as a client does, from a host that no partition concerns.
    pub async fn connect(&self, node: usize) -> io::Result<SimClient> {
        let env = self.world.env(self.world.host("clients"));
        SimClient::connect(&env, &self.host(node).ip().to_string(), PORT).await
    }

    /// Sends one command over a connection of its own, as an operator does who does not wait for long. `None`: no answer.
    pub async fn order(&self, node: usize, words: &[&str]) -> Option<super::Value> {
        let asked = async {
            let mut client = self.connect(node).await?;
            client.command(words).await
        };
        let answer = timeout(OPERATOR_PATIENCE, asked).await.ok().and_then(Result::ok);
        let text = answer.as_ref().map_or("no answer".to_owned(), |value| value.to_string());
        self.world.note(format_args!("order node {node}: {} -> {}", words.join(" "), text.lines().next().unwrap_or_default()));
        answer
    }

    /// The node that listens there.
    pub(super) fn node_at(&self, host: &str) -> Option<usize> {
        (0..self.len()).find(|node| self.host(*node).ip().to_string() == host)
    }

    /// A slave has become master without REPLICAOF. It counts as the one that follows nobody from now on; returns those who did until now.
    pub(super) fn taken_over(&self, node: usize) -> Vec<usize> {
        let mut members = self.members.borrow_mut();
        let before: Vec<usize> = (0..members.len()).filter(|other| members[*other].master.is_none()).collect();
        members[node].master = None;
        before.iter().for_each(|other| members[*other].master = Some(node));
        before
    }

    /// REPLICAOF. From now on the node counts as a slave of that one, whether it has answered or not.
    pub async fn follow(&self, node: usize, of: usize) {
        self.members.borrow_mut()[node].master = Some(of);
        let ip = self.host(of).ip().to_string();
        self.order(node, &["REPLICAOF", &ip, &PORT.to_string()]).await;
    }

    /// Whether `node` is the other one, or follows it over any number of others.
    pub fn descends(&self, node: usize, from: usize) -> bool {
        let members = self.members.borrow();
        let mut at = Some(node);
        // Nodes follow in a circle only by mistake: the walk ends all the same.
        for _ in 0..=members.len() {
            match at {
                Some(at) if at == from => return true,
                Some(next) => at = members[next].master,
                None => return false,
            }
        }
        false
    }

    /// REPLICAOF NO ONE, and REPLICAOF to all that would be left without it. False: the node has not answered, and nothing has changed.
    pub async fn promote(&self, node: usize) -> bool {
        if !self.order(node, &["REPLICAOF", "NO", "ONE"]).await.is_some_and(|reply| reply.is_ok()) {
            return false;
        }
        self.members.borrow_mut()[node].master = None;
        for other in 0..self.len() {
            if self.master_of(node).is_some() {
                // Another one has taken over meanwhile, by FAILOVER.
                break;
            }
            let (master, is_below) = (self.master_of(other), self.descends(other, node));
            // What follows a node that is itself told to follow need not move.
            if !is_below && master.is_none_or(|master| self.master_of(master).is_none()) {
                self.follow(other, node).await;
            }
        }
        true
    }

    /// Calls `look` with every node that runs, at one moment.
    pub fn look<T>(&self, look: impl FnOnce(&[NodeView<'_>]) -> T) -> T {
        let members = self.members.borrow();
        let running = members.iter().enumerate().filter_map(|(index, member)| Some((index, member, member.handle.as_ref()?)));
        let states: Vec<_> = running.map(|(index, member, handle)| (index, member, handle, handle.shell().state.borrow())).collect();
        let views: Vec<NodeView<'_>> = states
            .iter()
            .map(|(index, member, handle, state)| NodeView {
                index: *index,
                name: &member.name,
                starts: member.starts,
                master: member.master,
                is_stopping: handle.shell().is_stopping(),
                state,
                digest: self.digest_of(*index, member.starts, state),
                ip: member.host.ip(),
            })
            .collect();
        look(&views)
    }

    fn digest_of(&self, node: usize, starts: u64, state: &NodeState) -> u64 {
        let stamp = (starts, state.stream.replid, state.stream.offset().0, state.dirty, state.keyspace.allocated());
        let mut digests = self.digests.borrow_mut();
        match digests.get(&node) {
            Some((known, digest)) if *known == stamp => *digest,
            _ => {
                let digest = digest(&state.keyspace);
                digests.insert(node, (stamp, digest));
                digest
            }
        }
    }

    /// Why the nodes are not all of one history, offset and dataset, in the roles that they were told; `None` when they are.
    pub fn disagreement(&self) -> Option<String> {
        let down = (0..self.len()).find(|node| !self.is_up(*node));
        if let Some(down) = down {
            return Some(format!("node {down} does not run"));
        }
        self.look(|nodes| {
            let first = nodes.first()?;
            let stray = nodes.iter().find(|node| !node.is_settled());
            if let Some(node) = stray {
                let why = match &node.state.role {
                    Role::Replica(link) => format!("link {}, {}", link.state.name(), link.last_error.as_deref().unwrap_or("no error")),
                    Role::Master => "is master".to_owned(),
                };
                return Some(format!("{} was told to follow {:?}: {why}", node.name, node.master));
            }
            let other = nodes.iter().find(|node| node.position() != first.position() || node.digest() != first.digest())?;
            let tell = |node: &NodeView<'_>| format!("{} at {:?} with {:016x}", node.name, node.position(), node.digest());
            Some(format!("{}, {}", tell(first), tell(other)))
        })
    }

    /// Waits until all nodes agree.
    pub async fn converge(&self, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within;
        while let Some(why) = self.disagreement() {
            if Instant::now() > deadline {
                return Err(format!("the nodes have not converged within {within:?}: {why}"));
            }
            sleep(Duration::from_millis(50)).await;
        }
        let (position, digest) = self.look(|nodes| nodes.first().map(|node| (node.position(), node.digest()))).unzip();
        self.world.note(format_args!("converged at {position:?} with {digest:?}"));
        Ok(())
    }
}
