//! Looking a command up by name, with `rename-command`; statistics a command. One table a node.

use std::collections::BTreeMap;

use super::stats::CommandStats;
use super::{Spec, families};

/// The rows under the names that clients use.
pub struct CommandTable {
    /// Open addressing by a cheap hash of the lower-case name; a power of two, at most half full.
    slots: Vec<Option<Row>>,
    /// Statistics by number of the row, and of its subcommands in their order.
    stats: Vec<CommandStats>,
    sub_stats: Vec<Vec<CommandStats>>,
    /// All rows by their own names, sorted.
    pub by_name: BTreeMap<&'static str, usize>,
    pub rows: Vec<&'static Spec>,
}

#[derive(Clone)]
struct Row {
    /// The name that clients use, lower case.
    name: Box<[u8]>,
    index: usize,
}

const NAME_BYTES_MAX: usize = 64;

fn slot_hash(name: &[u8]) -> usize {
    let mut hash = name.len() as u64;
    for byte in name {
        hash = (hash ^ *byte as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    (hash >> 32) as usize
}

impl CommandTable {
    /// `renames`: pairs of old and new name; an empty new name takes the command away.
    pub fn new(renames: &[(String, String)]) -> Result<Self, String> {
        let rows: Vec<&'static Spec> = families().into_iter().flatten().collect();
        let mut by_name = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            let before = by_name.insert(row.name, index);
            assert!(before.is_none(), "the command {} has two rows", row.name);
        }
        let mut used: BTreeMap<String, usize> = by_name.iter().map(|(name, index)| (name.to_string(), *index)).collect();
        for (old, new) in renames {
            let index = used.remove(&old.to_ascii_lowercase()).ok_or_else(|| "No such command in rename-command".to_owned())?;
            if !new.is_empty() && used.insert(new.to_ascii_lowercase(), index).is_some() {
                return Err("Target command name already exists".to_owned());
            }
        }
        let mut slots = vec![None; (used.len() * 4).next_power_of_two()];
        for (name, index) in used {
            let mut at = slot_hash(name.as_bytes()) & (slots.len() - 1);
            while slots[at].is_some() {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = Some(Row { name: name.into_bytes().into(), index });
        }
        let stats = vec![CommandStats::default(); rows.len()];
        let sub_stats = rows.iter().map(|row| vec![CommandStats::default(); row.subcommands.len()]).collect();
        Ok(CommandTable { slots, stats, sub_stats, by_name, rows })
    }

    /// The statistics of a row, or of that subcommand of it.
    pub fn stats_mut(&mut self, row: usize, spec: &'static Spec) -> &mut CommandStats {
        match self.rows[row].subcommands.iter().position(|sub| std::ptr::eq(sub, spec)) {
            Some(sub) => &mut self.sub_stats[row][sub],
            None => &mut self.stats[row],
        }
    }

    /// Everyone's statistics by full name, sorted; subcommands after their command.
    pub fn named_stats(&self) -> impl Iterator<Item = (String, &CommandStats)> {
        self.by_name.values().flat_map(|&row| {
            let parent = self.rows[row];
            let subs = parent.subcommands.iter().zip(&self.sub_stats[row]);
            std::iter::once((parent, &self.stats[row])).chain(subs).map(|(spec, stats)| (super::full_name(parent, spec), stats))
        })
    }

    /// CONFIG RESETSTAT.
    pub fn reset_stats(&mut self) {
        self.stats.fill(CommandStats::default());
        self.sub_stats.iter_mut().for_each(|stats| stats.fill(CommandStats::default()));
    }

    /// The rows that clients can use, by their own names, sorted: all but those that `rename-command` took away.
    pub fn usable(&self) -> impl Iterator<Item = &'static Spec> {
        let mut rows: Vec<&'static Spec> = self.slots.iter().flatten().map(|row| self.rows[row.index]).collect();
        rows.sort_by_key(|row| row.name);
        rows.into_iter()
    }

    /// The row's number by the name a client sent, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let mut lower = [0u8; NAME_BYTES_MAX];
        for (to, from) in lower.iter_mut().zip(name) {
            *to = from.to_ascii_lowercase();
        }
        let lower = &lower[..name.len()];
        let mut at = slot_hash(lower) & (self.slots.len() - 1);
        while let Some(row) = &self.slots[at] {
            if *row.name == *lower {
                return Some(row.index);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        None
    }

    /// The row by its own name, whatever clients must call it.
    pub fn own(&self, name: &str) -> Option<&'static Spec> {
        self.by_name.get(name).map(|index| self.rows[*index])
    }
}
