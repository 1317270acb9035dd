//! What goes wrong in a simulated cluster, and when: plain data, so that a schedule can be printed, read back, replayed and shrunk.
//!
//! Nodes are named by their number; 0 is the first master. A fault that lasts carries its own end, so that any part of a schedule is a schedule.

use std::fmt;
use std::str::FromStr;

use crate::env::{Random, SeededRandom};

/// One thing that happens, so many virtual milliseconds after the clients have begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at_ms: u64,
    pub kind: FaultKind,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// All connections between two nodes are reset.
    Cut { a: usize, b: usize },
    /// The same, once so many bytes more have gone from one to the other.
    CutAfter { from: usize, to: usize, bytes: u64 },
    /// Nothing goes from one to the other for so long.
    Partition { from: usize, to: usize, ms: u64 },
    /// Nothing goes from the node to any other, or back, for so long. Clients reach it.
    Isolate { node: usize, ms: u64 },
    /// What goes from one to the other takes up to so long on the way.
    Slow { from: usize, to: usize, by_ms: u64, ms: u64 },
    /// One byte of a snapshot on its way is changed, if there is one.
    Corrupt { from: usize, to: usize },
    /// The node's process stands still.
    Pause { node: usize, ms: u64 },
    /// The node's process ends without warning, and what was not synced is lost; it starts again with what its disk has.
    Crash { node: usize, ms: u64 },
    /// SHUTDOWN SAVE, and a start.
    Restart { node: usize },
    /// The node's wall clock jumps.
    Jump { node: usize, by_ms: i64 },
    /// BGSAVE.
    Save { node: usize },
    /// The disk fails after so many changes, until the process starts anew.
    DiskDies { node: usize, changes: u64 },
    /// REPLICAOF another node; at the end the node follows that one, if it still makes a tree.
    Follow { node: usize, of: usize },
    /// REPLICAOF NO ONE, and all others are told to follow the node.
    Promote { node: usize },
    /// The master, whichever node that is, is told to hand over: to any slave, and after so long FAILOVER ABORT if it has not come to an end;
    /// to one slave, with so long as TIMEOUT; or with FORCE as well.
    Failover { to: Option<usize>, force: bool, ms: u64 },
}

impl FaultKind {
    /// Its name and numbers.
    fn parts(&self) -> (&'static str, Vec<i64>) {
        let n = |number: usize| number as i64;
        match *self {
            FaultKind::Cut { a, b } => ("cut", vec![n(a), n(b)]),
            FaultKind::CutAfter { from, to, bytes } => ("cut-after", vec![n(from), n(to), bytes as i64]),
            FaultKind::Partition { from, to, ms } => ("partition", vec![n(from), n(to), ms as i64]),
            FaultKind::Isolate { node, ms } => ("isolate", vec![n(node), ms as i64]),
            FaultKind::Slow { from, to, by_ms, ms } => ("slow", vec![n(from), n(to), by_ms as i64, ms as i64]),
            FaultKind::Corrupt { from, to } => ("corrupt", vec![n(from), n(to)]),
            FaultKind::Pause { node, ms } => ("pause", vec![n(node), ms as i64]),
            FaultKind::Crash { node, ms } => ("crash", vec![n(node), ms as i64]),
            FaultKind::Restart { node } => ("restart", vec![n(node)]),
            FaultKind::Jump { node, by_ms } => ("jump", vec![n(node), by_ms]),
            FaultKind::Save { node } => ("save", vec![n(node)]),
            FaultKind::DiskDies { node, changes } => ("disk-dies", vec![n(node), changes as i64]),
            FaultKind::Follow { node, of } => ("follow", vec![n(node), n(of)]),
            FaultKind::Promote { node } => ("promote", vec![n(node)]),
            FaultKind::Failover { to: None, ms, .. } => ("failover", vec![ms as i64]),
            FaultKind::Failover { to: Some(node), force: false, ms } => ("failover-to", vec![n(node), ms as i64]),
            FaultKind::Failover { to: Some(node), force: true, ms } => ("failover-force", vec![n(node), ms as i64]),
        }
    }

    /// How long it lasts, if it does.
    pub(super) fn lasts_ms(&self) -> Option<u64> {
        match *self {
            FaultKind::Partition { ms, .. } | FaultKind::Isolate { ms, .. } | FaultKind::Slow { ms, .. } => Some(ms),
            FaultKind::Pause { ms, .. } | FaultKind::Crash { ms, .. } | FaultKind::Failover { to: None, ms, .. } => Some(ms),
            _ => None,
        }
    }

    /// The nodes that it names.
    pub(super) fn nodes(&self) -> Vec<usize> {
        match *self {
            FaultKind::Cut { a, b } => vec![a, b],
            FaultKind::CutAfter { from, to, .. } | FaultKind::Partition { from, to, .. } => vec![from, to],
            FaultKind::Slow { from, to, .. } | FaultKind::Corrupt { from, to } => vec![from, to],
            FaultKind::Follow { node, of } => vec![node, of],
            FaultKind::Isolate { node, .. } | FaultKind::Pause { node, .. } | FaultKind::Crash { node, .. } => vec![node],
            FaultKind::Restart { node } | FaultKind::Jump { node, .. } | FaultKind::Save { node } => vec![node],
            FaultKind::DiskDies { node, .. } | FaultKind::Promote { node } => vec![node],
            FaultKind::Failover { to, .. } => to.into_iter().collect(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, numbers) = self.kind.parts();
        write!(f, "{} {name}", self.at_ms)?;
        numbers.iter().try_for_each(|number| write!(f, " {number}"))
    }
}

/// A line that is no fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a fault: {0:?}")]
pub struct NotAFault(String);

impl FromStr for Fault {
    type Err = NotAFault;

    /// Reads what `Display` writes: `1200 crash 2 500`.
    fn from_str(line: &str) -> Result<Fault, NotAFault> {
        read(line).ok_or_else(|| NotAFault(line.to_owned()))
    }
}

fn read(line: &str) -> Option<Fault> {
    let mut words = line.split_whitespace();
    let at_ms = words.next()?.parse().ok()?;
    let name = words.next()?;
    let numbers: Vec<i64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let node = |at: usize| numbers.get(at).and_then(|&number| usize::try_from(number).ok());
    let ms = |at: usize| numbers.get(at).and_then(|&number| u64::try_from(number).ok());
    let kind = match name {
        "cut" => FaultKind::Cut { a: node(0)?, b: node(1)? },
        "cut-after" => FaultKind::CutAfter { from: node(0)?, to: node(1)?, bytes: ms(2)? },
        "partition" => FaultKind::Partition { from: node(0)?, to: node(1)?, ms: ms(2)? },
        "isolate" => FaultKind::Isolate { node: node(0)?, ms: ms(1)? },
        "slow" => FaultKind::Slow { from: node(0)?, to: node(1)?, by_ms: ms(2)?, ms: ms(3)? },
        "corrupt" => FaultKind::Corrupt { from: node(0)?, to: node(1)? },
        "pause" => FaultKind::Pause { node: node(0)?, ms: ms(1)? },
        "crash" => FaultKind::Crash { node: node(0)?, ms: ms(1)? },
        "restart" => FaultKind::Restart { node: node(0)? },
        "jump" => FaultKind::Jump { node: node(0)?, by_ms: *numbers.get(1)? },
        "save" => FaultKind::Save { node: node(0)? },
        "disk-dies" => FaultKind::DiskDies { node: node(0)?, changes: ms(1)? },
        "follow" => FaultKind::Follow { node: node(0)?, of: node(1)? },
        "promote" => FaultKind::Promote { node: node(0)? },
        "failover" => FaultKind::Failover { to: None, force: false, ms: ms(0)? },
        "failover-to" => FaultKind::Failover { to: Some(node(0)?), force: false, ms: ms(1)? },
        "failover-force" => FaultKind::Failover { to: Some(node(0)?), force: true, ms: ms(1)? },
        _ => return None,
    };
    (kind.parts().1.len() == numbers.len()).then_some(Fault { at_ms, kind })
}

/// So many faults among `nodes` nodes, spread over the time, in its order.
pub fn random_faults(random: &SeededRandom, nodes: usize, count: usize, within_ms: u64) -> Vec<Fault> {
    let mut faults: Vec<Fault> = (0..count).map(|_| Fault { at_ms: random.below(within_ms.max(1)), kind: random_kind(random, nodes) }).collect();
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

fn random_kind(random: &SeededRandom, nodes: usize) -> FaultKind {
    let node = random.below(nodes as u64) as usize;
    // Another node, if there is one.
    let other = (node + 1 + random.below(nodes.max(2) as u64 - 1) as usize) % nodes;
    // Some are shorter than what anybody notices, some longer than every time-out.
    let ms = [300, 3000, 25_000][random.below(3) as usize];
    let ms = 1 + random.below(ms);
    match random.below(34) {
        0..=1 => FaultKind::Cut { a: node, b: other },
        2..=7 => FaultKind::CutAfter { from: node, to: other, bytes: random.below([200, 3000, 60_000, 600_000][random.below(4) as usize]) },
        8..=9 => FaultKind::Partition { from: node, to: other, ms },
        10 => FaultKind::Isolate { node, ms },
        11..=12 => FaultKind::Slow { from: node, to: other, by_ms: 1 + random.below(400), ms },
        13..=15 => FaultKind::Corrupt { from: node, to: other },
        16 => FaultKind::Pause { node, ms },
        17..=19 => FaultKind::Crash { node, ms: ms.min(5000) },
        20 => FaultKind::Restart { node },
        21..=22 => FaultKind::Jump { node, by_ms: random.below(120_000) as i64 - 60_000 },
        23 => FaultKind::Save { node },
        24 => FaultKind::DiskDies { node, changes: random.below(20) },
        25..=27 => FaultKind::Follow { node, of: other },
        28..=29 => FaultKind::Promote { node },
        30..=31 => FaultKind::Failover { to: None, force: false, ms },
        32 => FaultKind::Failover { to: Some(node), force: false, ms },
        _ => FaultKind::Failover { to: Some(node), force: random.below(2) == 0, ms: ms.min(3000) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_back_as_it_was_printed() {
        let faults = random_faults(&SeededRandom::from_seed(1), 5, 500, 10_000);
        let read: Vec<Fault> = faults.iter().map(|fault| fault.to_string().parse().unwrap()).collect();
        assert_eq!(read, faults);
        let mut names: Vec<_> = faults.iter().map(|fault| fault.kind.parts().0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 17, "every kind comes: {names:?}");
        assert!(faults.iter().all(|fault| fault.kind.nodes().iter().all(|node| *node < 5)));
    }

    #[test]
    fn other_lines_are_no_faults() {
        for line in ["", "5", "5 crash", "5 crash 1", "5 crash 1 2 3", "x crash 1 2", "5 fall 1", "5 crash -1 2", "5 cut 1 x"] {
            assert_eq!(line.parse::<Fault>(), Err(NotAFault(line.to_owned())));
        }
    }
}
