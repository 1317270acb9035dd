//! Whether a slave takes what its master offers. A master that came back empty, or not as far as it was, must not take the data with it: on a reconnect
//! that nobody asked for, such a snapshot is refused. Knows what the slave has and what it is offered, nothing else.

use super::{ReplId, ReplOffset};

/// A snapshot of an unrelated history with fewer than one key for so many that the slave has is what remains of a dataset, not its next state.
const KEYS_PER_KEY: u64 = 10;

/// What the slave has.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// The histories that its data is of.
    pub replid: ReplId,
    pub replid2: Option<ReplId>,
    /// How far it could continue the first one.
    pub offset: Option<ReplOffset>,
    pub keys: u64,
}

/// Why a full sync is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncRefusal {
    #[error(
        "emptied-master: the master has {offered} keys and an unrelated history, this server {held} keys; REPLICATION ACCEPT takes the master's data"
    )]
    EmptiedMaster { held: u64, offered: u64 },
    #[error(
        "offset-regression: the master is at offset {offered} of a history of which this server has {held}; REPLICATION ACCEPT takes the master's data"
    )]
    OffsetRegression { held: ReplOffset, offered: ReplOffset },
}

impl Held {
    /// Looks at the place of the snapshot, which is told before it is sent.
    pub fn admits_place(&self, replid: ReplId, offered: ReplOffset) -> Result<(), SyncRefusal> {
        match self.offset {
            Some(held) if replid == self.replid && offered < held => Err(SyncRefusal::OffsetRegression { held, offered }),
            _ => Ok(()),
        }
    }

    /// Looks at how many keys the snapshot has, once it has come; a master that knows only SYNC names no history.
    pub fn admits_keys(&self, replid: Option<ReplId>, offered: u64) -> Result<(), SyncRefusal> {
        let is_related = replid.is_some_and(|replid| replid == self.replid || Some(replid) == self.replid2);
        if is_related || offered.saturating_mul(KEYS_PER_KEY) >= self.keys {
            return Ok(());
        }
        Err(SyncRefusal::EmptiedMaster { held: self.keys, offered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededRandom;

    #[test]
    fn what_remains_of_an_unrelated_dataset_is_refused() {
        let random = SeededRandom::from_seed(1);
        let [ours, before, other] = [(); 3].map(|()| ReplId::random(&random));
        let held = |keys| Held { replid: ours, replid2: Some(before), offset: None, keys };
        for (keys, offered, taken) in [(0, 0, true), (1, 0, false), (10, 0, false), (10, 1, true), (1000, 99, false), (1000, 100, true), (5, 9, true)]
        {
            assert_eq!(held(keys).admits_keys(Some(other), offered).is_ok(), taken, "{offered} for {keys}");
            assert_eq!(held(keys).admits_keys(None, offered).is_ok(), taken);
            // Who flushes a master whose history the slave follows wants just that.
            assert!(held(keys).admits_keys(Some(ours), offered).is_ok() && held(keys).admits_keys(Some(before), offered).is_ok());
        }
        assert!(held(u64::MAX).admits_keys(Some(other), u64::MAX).is_ok());
    }

    #[test]
    fn a_history_does_not_go_back() {
        let random = SeededRandom::from_seed(1);
        let [ours, other] = [(); 2].map(|()| ReplId::random(&random));
        let held = |offset| Held { replid: ours, replid2: None, offset, keys: 1 };
        let at = |offset| held(Some(ReplOffset(100))).admits_place(ours, ReplOffset(offset));
        assert_eq!(at(99), Err(SyncRefusal::OffsetRegression { held: ReplOffset(100), offered: ReplOffset(99) }));
        assert_eq!((at(100), at(101)), (Ok(()), Ok(())));
        assert_eq!(held(Some(ReplOffset(100))).admits_place(other, ReplOffset(1)), Ok(()));
        assert_eq!(held(None).admits_place(ours, ReplOffset(1)), Ok(()));
    }
}
