//! DEBUG DIGEST and DIGEST-VALUE: Redis's own algorithm (SHA-1, xor over keys), so that equal data gives equal digests on both.

use super::{Entry, Keyspace, UnixMs};

/// The digest of all databases, 20 bytes; zeros when all are empty. Keys that are logically expired at `now` but not deleted count,
/// as in Redis.
pub fn dataset(keyspace: &Keyspace) -> [u8; 20] {
    let _ = keyspace;
    todo!()
}

/// DEBUG DIGEST-VALUE of one entry.
pub fn value(entry: &Entry) -> [u8; 20] {
    let _ = (entry, UnixMs(0));
    todo!()
}
