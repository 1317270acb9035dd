//! What must hold in every cluster at every moment. A test adds checks of its own by the same trait.

use std::collections::{BTreeMap, HashMap};

use super::cluster::NodeView;
use super::digest::difference;
use super::panics;
use crate::command::{ClientFlags, Request};
use crate::env::Addr;
use crate::replication::{ReplId, Role};

/// A rule over all nodes that run. It is shown the cluster at short intervals, and may remember what it has seen.
pub trait Check {
    /// The cluster at one moment. An error ends the run.
    fn look(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String>;

    /// The cluster after the faults are over and all nodes have converged.
    fn end(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String> {
        self.look(nodes)
    }
}

/// The rules of replication that every run is held to.
pub fn standard_checks() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(Healthy::default()),
        Box::<EqualDigests>::default(),
        Box::new(AcksInOrder),
        Box::<Histories>::default(),
        Box::<NeverEmpty>::default(),
    ]
}

/// No task panics, no node stops by itself, and no slave finds a command that it can't apply.
pub struct Healthy {
    panics_before: u64,
}

impl Default for Healthy {
    fn default() -> Self {
        Healthy { panics_before: panics::count() }
    }
}

impl Check for Healthy {
    fn look(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String> {
        if panics::count() != self.panics_before {
            return Err(format!("a task panicked: {}", panics::last()));
        }
        for node in nodes {
            if node.is_stopping {
                return Err(format!("{} stops by itself", node.name));
            }
            if let Role::Replica(link) = &node.state.role
                && let Some(error) = link.last_error.as_deref().filter(|error| error.contains("can't be applied"))
            {
                return Err(format!("{}: {error}", node.name));
            }
        }
        Ok(())
    }
}

/// Nodes at the same offset of the same history have the same data, whenever they were there.
#[derive(Default)]
pub struct EqualDigests {
    seen: HashMap<(ReplId, u64), (u64, String)>,
}

impl EqualDigests {
    fn compare(&mut self, node: &NodeView<'_>, position: (ReplId, u64), nodes: &[NodeView<'_>]) -> Result<(), String> {
        let (digest, before) = self.seen.entry(position).or_insert_with(|| (node.digest(), node.name.to_owned()));
        if *digest == node.digest() {
            return Ok(());
        }
        let (replid, offset) = position;
        // Where somebody still has what was there, the difference can be told.
        let holder = nodes.iter().find(|other| other.digest() == *digest);
        let difference = holder.map(|holder| difference(&node.state.keyspace, &holder.state.keyspace)).unwrap_or_default();
        let (name, own) = (node.name, node.digest());
        Err(format!("{name} has other data at {replid}:{offset} than {before} had there: {own:016x}, {digest:016x} {difference}"))
    }
}

impl Check for EqualDigests {
    fn look(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String> {
        for node in nodes.iter().filter(|node| has_history(node)) {
            self.compare(node, node.position(), nodes)?;
            // The place where it left the history before is in both.
            if let Some((before, switch)) = node.state.stream.replid2
                && switch.before() == node.state.stream.offset()
            {
                self.compare(node, (before, switch.before().0), nodes)?;
            }
        }
        Ok(())
    }
}

/// Whether the node's offset says anything: before the first slave, and before the first sync, nothing is numbered.
fn has_history(node: &NodeView<'_>) -> bool {
    let broken = matches!(&node.state.role, Role::Replica(link) if link.history_broken);
    node.state.stream.is_active() && node.state.loading.is_none() && !broken
}

/// On every link: what the master takes for acknowledged is applied, what is applied was sent, what was sent exists.
pub struct AcksInOrder;

impl Check for AcksInOrder {
    fn look(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String> {
        // Links by the slave's address.
        let mut applied: BTreeMap<&Addr, &NodeView<'_>> = BTreeMap::new();
        for node in nodes {
            let masters = node.state.clients.iter().filter(|(_, client)| client.is(ClientFlags::MASTER) && !client.is(ClientFlags::CLOSE_ASAP));
            applied.extend(masters.map(|(_, client)| (&client.laddr, node)));
        }
        // One that has just been given another history is about to close its slaves' links.
        let closes_links = |node: &&NodeView<'_>| !node.state.requests.contains(&Request::DropReplicas);
        for master in nodes.iter().filter(closes_links) {
            let offset = master.state.stream.offset();
            for (_, client, replica) in master.state.clients.replicas() {
                let tell = |what: &str| Err(format!("{} and its slave at {}: {what}: {replica:?}, master at {offset}", master.name, client.addr));
                if replica.ack_offset > offset || replica.sent > offset {
                    return tell("beyond the stream's end");
                }
                let Some(slave) = applied.get(&client.addr) else { continue };
                let at = slave.state.stream.offset();
                if replica.ack_offset > at {
                    return tell(&format!("acknowledged, but only {at} is applied"));
                }
                if at > offset && matches!(slave.state.role, Role::Replica(_)) {
                    return tell(&format!("the slave has applied {at}"));
                }
            }
        }
        Ok(())
    }
}

/// Bytes of one history, as the first node that had them showed them.
struct Tape {
    start: u64,
    bytes: Vec<u8>,
}

impl Tape {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Every node's backlog has the same bytes at the same place of the same history.
#[derive(Default)]
pub struct Histories {
    tapes: HashMap<ReplId, Tape>,
    /// How far each node's backlog has been compared.
    compared: BTreeMap<usize, (u64, ReplId, u64)>,
}

impl Histories {
    /// Compares what the node has had since the last look; all that it keeps, if `whole`.
    fn compare(&mut self, node: &NodeView<'_>, whole: bool) -> Result<(), String> {
        let stream = &node.state.stream;
        let Some(backlog) = stream.backlog() else { return Ok(()) };
        let (replid, offset) = node.position();
        // Older bytes belong to the history before.
        let began = stream.replid2.map_or(0, |(_, switch)| switch.before().0);
        // What is in a file alone was seen when it was in memory.
        let kept = (offset - backlog.memory_bytes()).max(began);
        let from = match self.compared.get(&node.index) {
            Some((starts, id, to)) if !whole && (*starts, *id) == (node.starts, replid) => kept.max(*to),
            _ => kept,
        };
        self.compared.insert(node.index, (node.starts, replid, offset));
        if from >= offset {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity((offset - from) as usize);
        backlog.read(crate::replication::ReplOffset(from), |piece| {
            bytes.extend_from_slice(piece);
            true
        });
        if bytes.len() as u64 != offset - from {
            return Err(format!("{}: the backlog has {} bytes from {from} to {offset}", node.name, bytes.len()));
        }
        let tape = self.tapes.entry(replid).or_insert(Tape { start: from, bytes: Vec::new() });
        if from > tape.end() || offset < tape.start {
            // Nobody has looked at what lies between.
            *tape = Tape { start: from, bytes };
            return Ok(());
        }
        let common_from = from.max(tape.start);
        let common_to = offset.min(tape.end());
        let (own, known) = (&bytes[(common_from - from) as usize..], &tape.bytes[(common_from - tape.start) as usize..]);
        let common = (common_to - common_from) as usize;
        if own[..common] != known[..common] {
            let at = (0..common).find(|&at| own[at] != known[at]).unwrap_or(0);
            let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[at.saturating_sub(40)..bytes.len().min(at + 40)]).escape_debug().to_string();
            let place = common_from + at as u64 + 1;
            return Err(format!("{}: byte {place} of {replid} is another one: {} instead of {}", node.name, text(own), text(known)));
        }
        tape.bytes.extend_from_slice(&own[common..]);
        Ok(())
    }
}

impl Check for Histories {
    fn look(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String> {
        nodes.iter().filter(|node| has_history(node)).try_for_each(|node| self.compare(node, false))
    }

    fn end(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String> {
        nodes.iter().filter(|node| has_history(node)).try_for_each(|node| self.compare(node, true))
    }
}

/// A node that has data does not lose all of it while its process lives: a run keeps some that nobody deletes.
#[derive(Default)]
pub struct NeverEmpty {
    had: BTreeMap<usize, (u64, u64)>,
}

impl Check for NeverEmpty {
    fn look(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String> {
        // With `repl-diskless-load flush-before-load` the old data goes when the new is verified, and clients are told LOADING until that is there.
        for node in nodes.iter().filter(|node| node.state.loading.is_none()) {
            let keys = node.keys();
            let before = self.had.insert(node.index, (node.starts, keys));
            if keys == 0
                && let Some((starts, had)) = before
                && starts == node.starts
                && had > 0
            {
                return Err(format!("{} had {had} keys and has become empty", node.name));
            }
        }
        Ok(())
    }
}
