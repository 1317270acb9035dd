//! Carries a schedule of faults out, ends them, and puts the cluster back into the shape that it was told to have.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::time::{Instant, sleep, sleep_until};

use super::clients::Scene;
use super::failovers::Failovers;
use super::faults::{Fault, FaultKind};
use super::wire::Latency;
use crate::command::NodeState;
use crate::replication::{ReplicaState, Role};

/// Where a node has its dump file.
const DUMP: &str = "/dump.rdb";
/// The beginning of keys that are in every dataset.
pub(super) const FILL_KEY: &[u8] = b"fill:";
/// How long a corruption waits for a snapshot to come by.
const CORRUPT_WITHIN_MS: u64 = 10_000;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Begin,
    End,
}

/// Carries the faults out from now on, for so long; then nothing lasts any more.
pub(super) async fn drive(scene: &Scene<'_>, faults: &[Fault], duration: Duration) -> Result<(), String> {
    let failovers = Failovers::new(scene);
    match select(pin!(carry_out(scene, &failovers, faults, duration)), pin!(failovers.watch())).await {
        Either::Left((outcome, _)) | Either::Right((outcome, _)) => outcome,
    }
}

async fn carry_out(scene: &Scene<'_>, failovers: &Failovers<'_, '_>, faults: &[Fault], duration: Duration) -> Result<(), String> {
    let start = Instant::now();
    let ends_at = start + duration;
    let mut steps: Vec<(u64, usize, Step)> = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        steps.push((fault.at_ms, index, Step::Begin));
        steps.extend(fault.kind.lasts_ms().map(|ms| (fault.at_ms + ms, index, Step::End)));
    }
    steps.sort_unstable();
    let mut corruptions = Vec::new();
    for (at_ms, index, step) in steps {
        let at = start + Duration::from_millis(at_ms);
        if at >= ends_at {
            break;
        }
        corrupt_until(scene, at, &mut corruptions).await;
        let fault = &faults[index];
        if fault.kind.nodes().iter().any(|node| *node >= scene.cluster.len()) {
            continue;
        }
        scene.cluster.world().note(format_args!("{} {fault}", if step == Step::Begin { "fault" } else { "end of" }));
        match (step, &fault.kind) {
            (Step::Begin, FaultKind::Corrupt { from, to }) => corruptions.push((*from, *to, at + Duration::from_millis(CORRUPT_WITHIN_MS))),
            (Step::Begin, FaultKind::Failover { to, force, ms }) => failovers.begin(*to, *force, *ms).await,
            (Step::End, FaultKind::Failover { .. }) => failovers.abort().await,
            (Step::Begin, kind) => begin(scene, kind).await?,
            (Step::End, kind) => end(scene, kind).await?,
        }
    }
    corrupt_until(scene, ends_at, &mut corruptions).await;
    heal(scene, failovers).await
}

/// Waits, looking out meanwhile for snapshots that are to be corrupted.
async fn corrupt_until(scene: &Scene<'_>, until: Instant, corruptions: &mut Vec<(usize, usize, Instant)>) {
    while Instant::now() < until {
        corruptions.retain(|(from, to, within)| Instant::now() < *within && !corrupt(scene, *from, *to));
        if corruptions.is_empty() {
            return sleep_until(until).await;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Changes a byte of the snapshot that one node is sending to the other now, if it is. What else goes over a link has no checksum but the
/// network's own.
fn corrupt(scene: &Scene<'_>, from: usize, to: usize) -> bool {
    let ip = scene.cluster.host(to).ip();
    let link = scene.cluster.state(from, |sender| {
        let mut slaves = sender.clients.replicas();
        let (_, client, _) = slaves.find(|(_, client, replica)| replica.state == ReplicaState::SendBulk && client.addr.ip() == Some(ip.into()))?;
        Some(client.addr.clone())
    });
    link.flatten().is_some_and(|addr| scene.cluster.world().network().corrupt(&addr))
}

async fn begin(scene: &Scene<'_>, kind: &FaultKind) -> Result<(), String> {
    let cluster = scene.cluster;
    let (world, network) = (cluster.world(), cluster.world().network());
    match *kind {
        FaultKind::Cut { a, b } => network.cut(cluster.host(a), cluster.host(b)),
        FaultKind::CutAfter { from, to, bytes } => network.cut_after(cluster.host(from), cluster.host(to), bytes),
        FaultKind::Partition { from, to, .. } => network.partition_one_way(cluster.host(from), cluster.host(to)),
        FaultKind::Isolate { node, .. } => {
            let others = (0..cluster.len()).filter(|other| *other != node);
            others.for_each(|other| network.partition(cluster.host(node), cluster.host(other)));
        }
        FaultKind::Slow { from, to, by_ms, .. } => {
            let latency = Latency { base_us: by_ms * 1000, jitter_us: by_ms * 200 };
            network.set_link_latency(cluster.host(from), cluster.host(to), latency);
        }
        // Seen to where the schedule is read: the one waits for something to corrupt, the other goes on by itself.
        FaultKind::Corrupt { .. } | FaultKind::Failover { .. } => {}
        FaultKind::Pause { node, .. } if cluster.is_up(node) => world.pause(cluster.host(node)),
        FaultKind::Pause { .. } => {}
        FaultKind::Crash { node, .. } => crash(scene, node),
        FaultKind::Restart { node } if cluster.is_up(node) && may_end(scene, node) => {
            scene.promises.borrow_mut().restarted(node, cluster);
            cluster.stop(node, true).await;
            cluster.start(node).await?;
        }
        FaultKind::Restart { .. } => {}
        FaultKind::Jump { node, by_ms } => world.jump_clock(cluster.host(node), by_ms * 1000),
        FaultKind::Save { node } => drop(cluster.order(node, &["BGSAVE"]).await),
        FaultKind::DiskDies { node, changes } => world.disk(cluster.host(node)).die_after(changes),
        FaultKind::Follow { node, of } => {
            // No circles, and somebody is master.
            if cluster.master_of(node).is_some() && !cluster.descends(of, node) {
                let below = (0..cluster.len()).filter(|other| cluster.descends(*other, node));
                below.for_each(|other| scene.promises.borrow_mut().follows(other, of));
                cluster.follow(node, of).await;
            }
        }
        FaultKind::Promote { node } => promote(scene, node).await?,
    }
    Ok(())
}

/// A master without a file would come back empty, and its slaves would follow it there: no operator lets it start by itself.
fn may_end(scene: &Scene<'_>, node: usize) -> bool {
    let cluster = scene.cluster;
    let dump = cluster.world().disk(cluster.host(node)).content(DUMP);
    cluster.master_of(node).is_some() || dump.is_some_and(|dump| dump.windows(FILL_KEY.len()).any(|bytes| bytes == FILL_KEY))
}

fn crash(scene: &Scene<'_>, node: usize) {
    let cluster = scene.cluster;
    if cluster.is_up(node) && may_end(scene, node) {
        scene.promises.borrow_mut().lost(node);
        cluster.crash(node);
    }
}

async fn end(scene: &Scene<'_>, kind: &FaultKind) -> Result<(), String> {
    let cluster = scene.cluster;
    let (world, network) = (cluster.world(), cluster.world().network());
    match *kind {
        FaultKind::Partition { from, to, .. } => network.heal_one_way(cluster.host(from), cluster.host(to)),
        FaultKind::Isolate { node, .. } => (0..cluster.len()).for_each(|other| network.heal(cluster.host(node), cluster.host(other))),
        FaultKind::Slow { from, to, .. } => network.clear_link_latency(cluster.host(from), cluster.host(to)),
        FaultKind::Pause { node, .. } => world.resume(cluster.host(node)),
        FaultKind::Crash { node, .. } if !cluster.is_up(node) => {
            scene.promises.borrow_mut().restarted(node, cluster);
            cluster.start(node).await?;
        }
        _ => {}
    }
    Ok(())
}

/// As Sentinel does: only a node that has data is promoted, and whatever WAIT has told its clients must be there.
async fn promote(scene: &Scene<'_>, node: usize) -> Result<(), String> {
    let cluster = scene.cluster;
    let has_data = cluster.look(|nodes| nodes.iter().any(|view| view.index == node && view.keys() > 0));
    if cluster.master_of(node).is_none() || !has_data || !cluster.promote(node).await {
        return Ok(());
    }
    let promises = &scene.promises;
    cluster.look(|nodes| {
        let promoted = nodes.iter().find(|view| view.index == node);
        promoted.map_or(Ok(()), |promoted| promises.borrow().check(promoted))
    })?;
    (0..cluster.len()).filter(|other| *other != node).for_each(|other| promises.borrow_mut().follows(other, node));
    // A master should have a file to come back with.
    cluster.order(node, &["BGSAVE"]).await;
    Ok(())
}

/// All nodes run, all links are open, and every node is told again whom it follows.
async fn heal(scene: &Scene<'_>, failovers: &Failovers<'_, '_>) -> Result<(), String> {
    let cluster = scene.cluster;
    let (world, network) = (cluster.world(), cluster.world().network());
    world.note("the faults are over");
    network.heal_all();
    network.clear_link_latencies();
    for node in 0..cluster.len() {
        world.resume(cluster.host(node));
        world.disk(cluster.host(node)).revive();
        if !cluster.is_up(node) {
            scene.promises.borrow_mut().restarted(node, cluster);
            cluster.start(node).await?;
        }
    }
    // What was ordered while a node stood still may come late.
    sleep(Duration::from_secs(1)).await;
    failovers.end().await;
    for node in 0..cluster.len() {
        match cluster.master_of(node) {
            None => drop(cluster.order(node, &["REPLICAOF", "NO", "ONE"]).await),
            Some(master) => cluster.follow(node, master).await,
        }
    }
    Ok(())
}

/// A node that was promoted after a crash may have little of what others had. Its slaves' slaves, whom nobody has told to follow it, then refuse its data until
/// an operator says that it is meant.
pub(super) async fn accept_refused(scene: &Scene<'_>) {
    let refuses = |state: &NodeState| matches!(&state.role, Role::Replica(link) if link.refused.is_some());
    for node in 0..scene.cluster.len() {
        if scene.cluster.state(node, refuses) == Some(true) {
            scene.cluster.order(node, &["REPLICATION", "ACCEPT"]).await;
        }
    }
}
