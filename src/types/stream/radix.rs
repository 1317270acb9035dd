//! How many nodes Redis's radix tree has for a set of IDs: XINFO STREAM shows it.

use super::StreamId;

const KEY: usize = size_of::<[u8; 16]>();

/// `ids` rise.
///
/// A key is a path of 16 bytes to a leaf. Where keys part there is a node; bytes in which they don't part share one node, however many they are.
pub(super) fn nodes(ids: impl Iterator<Item = StreamId>) -> u64 {
    // Depths at which the path to the latest leaf branches, rising.
    let mut branches = Vec::with_capacity(KEY);
    let mut count = 0;
    let mut last: Option<[u8; KEY]> = None;
    for id in ids {
        let key = id.to_be_bytes();
        let Some(before) = last.replace(key) else {
            count = 2;
            continue;
        };
        let depth = key.iter().zip(&before).take_while(|(a, b)| a == b).count();
        if let Err(at) = branches.binary_search(&depth) {
            // The run of bytes that is cut here: from behind the branch above to the one below, or to the leaf.
            let start = at.checked_sub(1).map_or(0, |above: usize| branches[above] + 1);
            let end = branches.get(at).copied().unwrap_or(KEY);
            let runs = |from: usize, to: usize| u64::from(from < to);
            count += 1 + runs(start, depth) + runs(depth + 1, end) - runs(start, end);
            branches.insert(at, depth);
        }
        let at = branches.partition_point(|branch| *branch <= depth);
        branches.truncate(at);
        // The new leaf, with the run above it.
        count += 1 + u64::from(depth + 1 < KEY);
    }
    count.max(1)
}
