//! Families of the format, the names of object types, and how these are laid out. A number above 21 means different things in the two families,
//! so both are asked.

use super::compact::Form;
use crate::keyspace::Kind;

/// Who defines the format, as told by the magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Redis,
    Valkey,
}

pub(super) const STRING: u8 = 0;
pub(super) const LIST: u8 = 1;
pub(super) const SET: u8 = 2;
pub(super) const ZSET: u8 = 3;
pub(super) const HASH: u8 = 4;
pub(super) const ZSET_2: u8 = 5;
pub(super) const MODULE_EARLY: u8 = 6;
pub(super) const MODULE: u8 = 7;
pub(super) const STREAM_LISTPACKS: u8 = 15;
pub(super) const STREAM_LISTPACKS_2: u8 = 19;
pub(super) const STREAM_LISTPACKS_3: u8 = 21;
pub(super) const HASH_EXPIRES: u8 = 24;

/// How a collection's elements stand in the input.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// A count, and as many strings.
    Strings,
    /// One string.
    Compact(Form),
    /// A count, and as many strings, each a ziplist.
    Nodes,
    /// A count, and as many strings, each with a mark in front: an element, or a listpack.
    MarkedNodes,
    /// A count, and as many members, each with its score behind it.
    TextScores,
    BinaryScores,
    /// A count, and as many pairs of field and value.
    Pairs,
    /// Pairs, each with the milliseconds of its expiry in front: from the least one of all, plus 1, or (before the release) as such. 0 for none.
    ExpiresInFront {
        from_least: bool,
    },
    /// Pairs, with an expiry of 8 bytes behind each; -1 for none.
    ExpiresBehind,
    /// One string, a listpack of field, value and expiry in turn; in front the least of these, but not before the release.
    CompactExpires {
        least_in_front: bool,
    },
}

/// The collection behind a number, but for streams.
pub(super) fn layout(family: Family, number: u8) -> Option<(Kind, Layout)> {
    Some(match (family, number) {
        (_, LIST) => (Kind::List, Layout::Strings),
        (_, SET) => (Kind::Set, Layout::Strings),
        (_, ZSET) => (Kind::ZSet, Layout::TextScores),
        (_, HASH) => (Kind::Hash, Layout::Pairs),
        (_, ZSET_2) => (Kind::ZSet, Layout::BinaryScores),
        (_, 9) => (Kind::Hash, Layout::Compact(Form::Zipmap)),
        (_, 10) => (Kind::List, Layout::Compact(Form::Ziplist)),
        (_, 11) => (Kind::Set, Layout::Compact(Form::Intset)),
        (_, 12) => (Kind::ZSet, Layout::Compact(Form::Ziplist)),
        (_, 13) => (Kind::Hash, Layout::Compact(Form::Ziplist)),
        (_, 14) => (Kind::List, Layout::Nodes),
        (_, 16) => (Kind::Hash, Layout::Compact(Form::Listpack)),
        (_, 17) => (Kind::ZSet, Layout::Compact(Form::Listpack)),
        (_, 18) => (Kind::List, Layout::MarkedNodes),
        (_, 20) => (Kind::Set, Layout::Compact(Form::Listpack)),
        (Family::Redis, 22) => (Kind::Hash, Layout::ExpiresInFront { from_least: false }),
        (Family::Redis, 23) => (Kind::Hash, Layout::CompactExpires { least_in_front: false }),
        (Family::Redis, HASH_EXPIRES) => (Kind::Hash, Layout::ExpiresInFront { from_least: true }),
        (Family::Redis, 25) => (Kind::Hash, Layout::CompactExpires { least_in_front: true }),
        (Family::Valkey, 22) => (Kind::Hash, Layout::ExpiresBehind),
        _ => return None,
    })
}

/// Whether the number is that of a type that a key can have here.
pub(super) fn is_held(family: Family, number: u8) -> bool {
    matches!(number, STRING | STREAM_LISTPACKS | STREAM_LISTPACKS_2 | STREAM_LISTPACKS_3) || layout(family, number).is_some()
}

/// The object type behind a number: what TYPE says, and the encoding's own name.
pub(super) fn object_type(family: Family, number: u8) -> Option<(&'static str, &'static str)> {
    Some(match (family, number) {
        (_, 0) => ("string", "string"),
        (_, 1) => ("list", "list of strings"),
        (_, 2) => ("set", "set of strings"),
        (_, 3) => ("zset", "zset with scores as text"),
        (_, 4) => ("hash", "hash of strings"),
        (_, 5) => ("zset", "zset with binary scores"),
        (_, 6) => ("module", "module value of a pre-release"),
        (_, 7) => ("module", "module value"),
        (_, 9) => ("hash", "hash zipmap"),
        (_, 10) => ("list", "list ziplist"),
        (_, 11) => ("set", "set intset"),
        (_, 12) => ("zset", "zset ziplist"),
        (_, 13) => ("hash", "hash ziplist"),
        (_, 14) => ("list", "list quicklist"),
        (_, 15) => ("stream", "stream listpacks"),
        (_, 16) => ("hash", "hash listpack"),
        (_, 17) => ("zset", "zset listpack"),
        (_, 18) => ("list", "list quicklist 2"),
        (_, 19) => ("stream", "stream listpacks 2"),
        (_, 20) => ("set", "set listpack"),
        (_, 21) => ("stream", "stream listpacks 3"),
        (Family::Redis, 22) => ("hash", "hash with field TTLs of a pre-release"),
        (Family::Redis, 23) => ("hash", "hash listpack with field TTLs of a pre-release"),
        (Family::Redis, 24) => ("hash", "hash with field TTLs"),
        (Family::Redis, 25) => ("hash", "hash listpack with field TTLs"),
        (Family::Valkey, 22) => ("hash", "hash 2, with field TTLs"),
        (Family::Valkey, 23) => ("a type of Valkey 9.2", "number 23"),
        _ => return None,
    })
}

/// The nine characters that are a module type's name; ten more bits are its version.
pub(super) fn module_name(id: u64) -> String {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|at| char::from(CHARACTERS[(id >> (58 - 6 * at)) as usize & 0x3F])).collect()
}

/// How a type that can't be held is named to the user.
pub(super) fn refused_name(family: Family, number: u8) -> Option<String> {
    object_type(family, number).map(|(kind, encoding)| format!("key of type {kind} (RDB type {number}, {encoding})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_by_family() {
        assert_ne!(object_type(Family::Redis, 22), object_type(Family::Valkey, 22));
        assert_eq!(object_type(Family::Valkey, 24), None);
        assert_eq!(object_type(Family::Redis, 8), None);
        assert_eq!(refused_name(Family::Redis, 16).unwrap(), "key of type hash (RDB type 16, hash listpack)");
    }
}
