//! Mistakes that the simulation plants in a node, to show that it would find them. Without feature `sim` no node makes any.

/// A known mistake of replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mistake {
    /// A slave counts a transaction's bytes as they come, not when EXEC has applied them.
    CountedBeforeApplied,
    /// A partial resync begins one byte too late.
    BacklogOffByOne,
    /// A promoted slave keeps the name of its master's history.
    ReplidKept,
    /// A promoted slave lets others continue beyond the place where its history began.
    SwitchIgnored,
    /// A slave deletes keys that are due.
    ReplicaExpires,
    /// A slave takes a snapshot whose checksum was not looked at.
    SnapshotUnverified,
    /// The effects of one unit go into the stream in the wrong order.
    EffectsReversed,
    /// A slave that continues has forgotten the database that the stream has selected.
    SelectLost,
    /// Sub-slaves keep their links, and their offsets, when their master has been given other data.
    SubReplicasKept,
    /// A slave acknowledges what it has received.
    AckBeyondApplied,
    /// A promoted slave goes on applying what it still gets from its old master.
    OldMasterHeard,
    /// A sync that goes on where it broke off is told to be of the present place of the stream, not of that of its snapshot.
    ResumedElsewhere,
    /// What was last read from the spill, before the stream goes on in memory, is not sent.
    SpillEndLost,
    /// FAILOVER hands over to a slave that has not acknowledged all of the stream.
    FailoverUnwaited,
}

impl Mistake {
    pub const ALL: [Mistake; 14] = [
        Mistake::CountedBeforeApplied,
        Mistake::BacklogOffByOne,
        Mistake::ReplidKept,
        Mistake::SwitchIgnored,
        Mistake::ReplicaExpires,
        Mistake::SnapshotUnverified,
        Mistake::EffectsReversed,
        Mistake::SelectLost,
        Mistake::SubReplicasKept,
        Mistake::AckBeyondApplied,
        Mistake::OldMasterHeard,
        Mistake::ResumedElsewhere,
        Mistake::SpillEndLost,
        Mistake::FailoverUnwaited,
    ];
}

#[cfg(feature = "sim")]
impl super::Env {
    /// Whether this node makes the mistake.
    pub fn planted(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Whether this node says no more of itself to its master than stock Redis does.
    pub fn is_stock_replica(&self) -> bool {
        self.stock_replica
    }
}

#[cfg(not(feature = "sim"))]
impl super::Env {
    #[inline(always)]
    pub fn planted(&self, _: Mistake) -> bool {
        false
    }

    #[inline(always)]
    pub fn is_stock_replica(&self) -> bool {
        false
    }
}
