//! Families of the format and the names of object types. A number above 21 means different things in the two families, so both are asked.

/// Who defines the format, as told by the magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Redis,
    Valkey,
}

pub(super) const STRING: u8 = 0;
pub(super) const SET: u8 = 2;

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
