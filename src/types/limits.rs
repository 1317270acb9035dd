//! How big a collection may get in its compact form, as the directives say.

/// The values of `hash-max-listpack-entries` and its like; defaults are those of Redis 8.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fields of a hash in a listpack, and the longest field or value, in bytes.
    pub hash_entries: u64,
    pub hash_value: u64,
    /// Integers in an intset.
    pub intset_entries: u64,
    pub set_entries: u64,
    pub set_value: u64,
    pub zset_entries: u64,
    pub zset_value: u64,
    /// `list-max-listpack-size`: elements of a list's block, or (negative, -1 to -5) 4 KB to 64 KB.
    pub list_size: i64,
    /// Blocks at each end of a list that Redis does not compress. Nothing is compressed here.
    pub list_compress_depth: u64,
    /// Bytes and entries of a stream's block; 0 for no limit.
    pub stream_node_bytes: u64,
    pub stream_node_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            hash_entries: 512,
            hash_value: 64,
            intset_entries: 512,
            set_entries: 128,
            set_value: 64,
            zset_entries: 128,
            zset_value: 64,
            list_size: -2,
            list_compress_depth: 0,
            stream_node_bytes: 4096,
            stream_node_entries: 100,
        }
    }
}
