//! What a stream knows that its entries don't tell, by which form of a snapshot is the first to hold it.

use super::{Group, Stream, StreamId};

/// In ascending order: a form for one holds those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Facts {
    /// Nothing: all counts are those of a stream from which nothing was ever deleted, and each consumer got entries when it was last seen.
    #[default]
    Derived,
    /// How many entries were added, which were deleted, or how many a group has read.
    History,
    /// When a consumer last got entries.
    Activity,
}

impl Facts {
    pub const KINDS: usize = 3;
}

impl Stream {
    /// What it knows.
    pub fn facts(&self) -> Facts {
        let is_counted = |group: &Group| group.entries_read == self.entries_added_up_to(group.last_id());
        match self.facts_at_most() {
            Facts::History if !self.has_history() && self.groups().all(|(_, group)| is_counted(group)) => Facts::Derived,
            facts => facts,
        }
    }

    /// The same from counts that are at hand: what groups have read is not looked at.
    pub fn facts_at_most(&self) -> Facts {
        if self.restless_groups > 0 {
            Facts::Activity
        } else if self.has_history() || self.groups_len() > 0 {
            Facts::History
        } else {
            Facts::Derived
        }
    }

    fn has_history(&self) -> bool {
        self.entries_added() != self.len() || self.max_deleted_id() != StreamId::MIN
    }
}
