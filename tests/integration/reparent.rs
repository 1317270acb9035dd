//! A slave that is sent to another server of the same history goes on there with what it has: the master, a sibling, a promoted slave, and back. So
//! does the old master under a slave of its own.

use crate::support::mixed::mix;
use crate::support::{Daemon, Peer, SOON, info, info_u64, replicate, wait_for, wait_in_sync};

/// Pings would give the master bytes that nobody asked for, which no promoted slave has.
const ARGS: &[&str] = &["--repl-backlog-size", "16mb", "--repl-ping-replica-period", "3600"];

struct Family {
    /// The master, two slaves, and a slave of the first slave, in the beginning.
    nodes: [Daemon; 4],
    master: usize,
    seed: u64,
}

impl Family {
    /// Ours where `None` is.
    fn start(makes: [Option<Peer>; 4]) -> Family {
        let nodes = makes.map(|make| make.map_or_else(|| Daemon::replikant(ARGS), |peer| Daemon::redis(peer, ARGS)));
        mix(&mut nodes[0].client(), 1, 500);
        for (node, parent) in [(1, 0), (2, 0), (3, 1)] {
            replicate(&nodes[node], nodes[parent].port);
            wait_in_sync(&nodes[parent], &nodes[node]);
        }
        Family { nodes, master: 0, seed: 1 }
    }

    fn full_syncs(&self) -> [u64; 4] {
        self.nodes.each_ref().map(|node| info_u64(&mut node.client(), "sync_full"))
    }

    /// Writes until every node has come along.
    fn write(&mut self) {
        self.seed += 1;
        mix(&mut self.nodes[self.master].client(), self.seed, 200);
        for node in self.others() {
            wait_in_sync(&self.nodes[self.master], &self.nodes[node]);
        }
    }

    fn others(&self) -> Vec<usize> {
        (0..4).filter(|node| *node != self.master).collect()
    }

    /// Sends a node to another parent.
    fn go(&mut self, node: usize, parent: usize) {
        let fulls = self.full_syncs();
        replicate(&self.nodes[node], self.nodes[parent].port);
        wait_for(SOON, "the node to be at its new parent", || {
            let mut client = self.nodes[node].client();
            let at = info(&mut client, "master_port") == Some(self.nodes[parent].port.to_string());
            (at && info(&mut client, "master_link_status").as_deref() == Some("up")).then_some(())
        });
        self.write();
        assert_eq!(self.full_syncs(), fulls, "node {node} at {parent}");
    }

    /// The node becomes the master of all: first the old master follows it, or not, then the others.
    fn promote(&mut self, node: usize, order: [usize; 3]) {
        let fulls = self.full_syncs();
        // Keys expire at any time, and who is promoted must not lack the DEL that the others have got.
        let mut former = self.nodes[self.master].client();
        former.ok("CLIENT PAUSE 60000 WRITE");
        for other in self.others() {
            wait_in_sync(&self.nodes[self.master], &self.nodes[other]);
        }
        self.nodes[node].client().ok("SLAVEOF NO ONE");
        self.master = node;
        mix(&mut self.nodes[node].client(), 1000 + self.seed, 100);
        for other in order {
            replicate(&self.nodes[other], self.nodes[node].port);
        }
        former.ok("CLIENT UNPAUSE");
        self.write();
        assert_eq!(self.full_syncs(), fulls, "node {node} promoted");
    }

    fn story(&mut self) {
        // The sub-slave: to the master, to its parent's sibling, back.
        for parent in [0, 2, 1] {
            self.go(3, parent);
        }
        // A slave with a slave: to its sibling, back.
        self.go(1, 2);
        self.go(1, 0);
        // The sibling takes over, the rest follow it in different orders; the old master takes over again.
        self.promote(2, [3, 1, 0]);
        self.go(3, 0);
        self.promote(0, [2, 1, 3]);
        self.go(1, 3);
        self.go(2, 1);
        self.promote(3, [0, 1, 2]);
    }
}

#[test]
fn ours_among_themselves() {
    Family::start([None; 4]).story();
}

/// Real ones of one version only: the older ones do not understand the newer.
fn beside(peer: Peer) {
    Family::start([None, Some(peer), None, Some(peer)]).story();
    Family::start([Some(peer), None, Some(peer), None]).story();
}

#[test]
fn beside_redis_6() {
    beside(Peer::V6);
}

#[test]
fn beside_redis_7() {
    beside(Peer::V7);
}

#[test]
fn beside_redis_8() {
    beside(Peer::V8);
}

#[test]
fn beside_valkey() {
    beside(Peer::Valkey);
}
