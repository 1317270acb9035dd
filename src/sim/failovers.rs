//! FAILOVER in a simulated cluster. Who is master after it is what the nodes say, not what the driver has ordered, so they are looked at every
//! millisecond: whom the old master has asked to take over, and whether that node does, which may be long after FAILOVER ABORT.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::clients::Scene;
use super::cluster::PORT;
use crate::command::NodeState;
use crate::replication::{ReplOffset, Role};

const LOOK_EVERY: Duration = Duration::from_millis(1);
/// What was on its way has come.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// A slave that has been asked to take over, and may still do so.
struct Asked {
    from: usize,
    target: usize,
    /// The old master waits for its answer.
    awaited: bool,
    /// It has acknowledged this much, which is all, as long as nobody is let off after so many `Promises::changes`.
    complete: Option<(ReplOffset, u64)>,
}

pub(super) struct Failovers<'s, 'a> {
    scene: &'s Scene<'a>,
    /// FAILOVER has been ordered at some time.
    begun: Cell<bool>,
    wake: Notify,
    asked: RefCell<Vec<Asked>>,
    /// `Promises::changes` at the last look.
    changes: Cell<u64>,
}

impl<'s, 'a> Failovers<'s, 'a> {
    pub fn new(scene: &'s Scene<'a>) -> Self {
        Failovers { scene, begun: Cell::new(false), wake: Notify::new(), asked: RefCell::default(), changes: Cell::new(0) }
    }

    /// Tells the master to hand over.
    pub async fn begin(&self, to: Option<usize>, force: bool, ms: u64) {
        let cluster = self.scene.cluster;
        self.begun.set(true);
        self.wake.notify_one();
        let (ms, port) = (ms.to_string(), PORT.to_string());
        let ip = to.map(|to| cluster.host(to).ip().to_string());
        let mut words = vec!["FAILOVER"];
        if let Some(ip) = &ip {
            words.extend(["TO", ip, &port, "TIMEOUT", &ms]);
        }
        if force {
            words.push("FORCE");
        }
        cluster.order(cluster.root(), &words).await;
    }

    /// FAILOVER ABORT to all that it would concern.
    pub async fn abort(&self) {
        let cluster = self.scene.cluster;
        for node in 0..cluster.len() {
            if cluster.state(node, |state| state.failover.is_some()) == Some(true) {
                cluster.order(node, &["FAILOVER", "ABORT"]).await;
            }
        }
    }

    /// Ends what is still going on: by then it is known who is master.
    pub async fn end(&self) {
        if self.begun.get() {
            self.abort().await;
            sleep(ON_ITS_WAY).await;
        }
    }

    /// Looks on until it is dropped, or finds that something is lost.
    pub async fn watch(&self) -> Result<(), String> {
        self.wake.notified().await;
        loop {
            (0..self.scene.cluster.len()).for_each(|from| self.note_asked(from));
            self.changes.set(self.scene.promises.borrow().changes);
            self.note_taken_over().await?;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whom this node has asked since the last look. That one has acknowledged all of the stream, unless FORCE says that it need not.
    fn note_asked(&self, from: usize) {
        let (cluster, promises) = (self.scene.cluster, &self.scene.promises);
        let found = cluster.state(from, |state| match (&state.role, &state.failover) {
            (Role::Replica(link), Some(failover)) if failover.is_in_progress() => {
                let all = (!failover.is_forced()).then(|| state.stream.offset());
                Some((cluster.node_at(&link.host)?, all))
            }
            _ => None,
        });
        let found = found.flatten();
        let mut asked = self.asked.borrow_mut();
        for asked in asked.iter_mut().filter(|asked| asked.from == from) {
            asked.awaited &= found.is_some_and(|(target, _)| target == asked.target);
        }
        let Some((target, all)) = found else { return };
        if asked.iter().any(|asked| asked.from == from && asked.awaited) {
            return;
        }
        asked.retain(|asked| (asked.from, asked.target) != (from, target));
        // If somebody was let off since the last look, it may be the target, after it was asked.
        let changes = promises.borrow().changes;
        let complete = all.filter(|_| changes == self.changes.get()).map(|offset| (offset, changes));
        if complete.is_some() {
            promises.borrow_mut().has_all_of(target, from);
        }
        asked.push(Asked { from, target, awaited: true, complete });
    }

    async fn note_taken_over(&self) -> Result<(), String> {
        let cluster = self.scene.cluster;
        let is_master = |node: usize| cluster.state(node, |state| matches!(state.role, Role::Master)) == Some(true);
        // One that is told by REPLICAOF NO ONE meanwhile is master anyway.
        self.asked.borrow_mut().retain(|asked| cluster.master_of(asked.target).is_some());
        let at = self.asked.borrow().iter().position(|asked| is_master(asked.target));
        let Some(at) = at else { return Ok(()) };
        let Asked { from, target, awaited, complete } = self.asked.borrow_mut().remove(at);
        cluster.world().note(format_args!("node {target} has taken over from node {from}"));
        let switch = cluster.state(target, |state| state.stream.replid2.map(|(_, switch)| switch.before())).flatten();
        if let Some((all, changes)) = complete
            && changes == self.scene.promises.borrow().changes
            // One that has given up writes on, and may have been heard.
            && (switch < Some(all) || awaited && switch != Some(all))
        {
            return Err(format!("node {target} has taken over at {switch:?}, and node {from} had written up to {all}"));
        }
        let masters = cluster.taken_over(target);
        self.promises_are_kept(target)?;
        // Who follows the old master goes on doing so. That one knows by itself, unless it has given up or come back since; others do not.
        let knows = |state: &NodeState| state.failover.is_some() || matches!(state.role, Role::Replica(_));
        for old in masters.into_iter().filter(|old| *old != from || cluster.state(*old, knows) == Some(false)) {
            if cluster.master_of(old) == Some(target) {
                cluster.follow(old, target).await;
            }
        }
        // A master should have a file to come back with.
        cluster.order(target, &["BGSAVE"]).await;
        Ok(())
    }

    fn promises_are_kept(&self, target: usize) -> Result<(), String> {
        let (cluster, promises) = (self.scene.cluster, &self.scene.promises);
        cluster.look(|nodes| nodes.iter().filter(|node| node.index == target).try_for_each(|node| promises.borrow().check(node)))?;
        (0..cluster.len()).filter(|other| *other != target).for_each(|other| promises.borrow_mut().follows(other, target));
        self.changes.set(promises.borrow().changes);
        Ok(())
    }
}
