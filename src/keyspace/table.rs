//! The hash table: segments of 64-byte buckets, grown segment by segment.
