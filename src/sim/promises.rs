//! What WAIT has confirmed, and which nodes must still have it. A node is let off when it crashes, or when it is told to follow one that need
//! not have the write; what is left must be there whenever the node is promoted.

use std::collections::BTreeSet;

use super::cluster::{Cluster, NodeView};
use crate::command::NodeState;
use crate::env::Addr;
use crate::keyspace::{DbIndex, Key};

/// A database that only these writes touch.
pub(super) const PROMISES_DB: u32 = 15;

struct Promise {
    key: String,
    holders: BTreeSet<usize>,
}

/// Confirmed writes. Each has a key of its own, which is its value as well.
#[derive(Default)]
pub(super) struct Promises {
    made: Vec<Promise>,
    /// Grows when anybody is let off: who acknowledged before may not count any more.
    pub changes: u64,
}

fn has(state: &NodeState, key: &str) -> bool {
    let key = Key { bytes: key.as_bytes(), hash: state.keyspace.hash(key.as_bytes()) };
    let value = state.keyspace.db(DbIndex(PROMISES_DB)).str_value(key);
    matches!(value, Some(crate::keyspace::StrRef::Bytes(bytes)) if bytes == key.bytes)
}

impl Promises {
    /// WAIT has answered the connection with this CLIENT ID: the master and all who have acknowledged its last write have it.
    pub fn confirm(&mut self, key: String, master: &NodeView<'_>, client: u64, nodes: &[NodeView<'_>]) {
        let clients = &master.state.clients;
        let Some(written) = clients.by_id(client).and_then(|slot| clients.get(slot)).map(|client| client.last_write) else { return };
        let mut holders = BTreeSet::from([master.index]);
        for (_, client, replica) in clients.replicas() {
            let Addr::Ip(addr) = &client.addr else { continue };
            let node = nodes.iter().find(|node| addr.ip() == node.ip());
            holders.extend(node.filter(|_| replica.ack_offset >= written).map(|node| node.index));
        }
        self.made.push(Promise { key, holders });
    }

    /// The node's memory is gone.
    pub fn lost(&mut self, node: usize) {
        self.changes += 1;
        self.made.iter_mut().for_each(|promise| promise.holders.retain(|holder| *holder != node));
    }

    /// The node will have what that one has.
    pub fn follows(&mut self, node: usize, of: usize) {
        self.changes += 1;
        for promise in self.made.iter_mut().filter(|promise| !promise.holders.contains(&of)) {
            promise.holders.remove(&node);
        }
    }

    /// The node has acknowledged all that the other one has.
    pub fn has_all_of(&mut self, node: usize, other: usize) {
        for promise in self.made.iter_mut().filter(|promise| promise.holders.contains(&other)) {
            promise.holders.insert(node);
        }
    }

    /// A node comes back with what its disk has, and so will those who follow it.
    pub fn restarted(&mut self, node: usize, cluster: &Cluster<'_>) {
        (0..cluster.len()).filter(|other| cluster.descends(*other, node)).for_each(|other| self.lost(other));
    }

    /// How many the node must have.
    pub fn held_by(&self, node: usize) -> usize {
        self.made.iter().filter(|promise| promise.holders.contains(&node)).count()
    }

    /// The node has all that it must.
    pub fn check(&self, node: &NodeView<'_>) -> Result<(), String> {
        let lost = self.made.iter().filter(|promise| promise.holders.contains(&node.index)).find(|promise| !has(node.state, &promise.key));
        match lost {
            Some(promise) => Err(format!("{} was confirmed by WAIT, and {} does not have it", promise.key, node.name)),
            None => Ok(()),
        }
    }
}
