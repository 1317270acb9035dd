//! The 16384 slots of Redis Cluster: by them differences are named, so that an operator can ask `CLUSTER KEYSLOT` of any server which keys are meant.

use crc::{CRC_16_XMODEM, Crc, Table};

pub const SLOTS: u16 = 16384;

const CRC16: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);

/// A key's slot: of what stands between the first `{` and the `}` next to it, if that is anything, else of the whole key.
pub fn key_slot(key: &[u8]) -> u16 {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let rest = &key[open + 1..];
        memchr::memchr(b'}', rest).filter(|len| *len > 0).map(|len| &rest[..len])
    });
    CRC16.checksum(tag.unwrap_or(key)) % SLOTS
}

/// Slots as an operator reads them: `7`, `100-200`. They must ascend.
pub fn ranges(slots: impl Iterator<Item = u16>) -> Vec<String> {
    let mut found: Vec<(u16, u16)> = Vec::new();
    for slot in slots {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == slot => *last = slot,
            _ => found.push((slot, slot)),
        }
    }
    found.into_iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The constants are what Redis 7.0.15 answers to CLUSTER KEYSLOT.
    #[test]
    fn slots_are_those_of_redis() {
        for (key, slot) in [
            (&b"somekey"[..], 11058),
            (b"foo{hash_tag}", 2515),
            (b"bar{hash_tag}", 2515),
            (b"123456789", 12739),
            (b"", 0),
            (b"{}", 15257),
            (b"a{}b", 13694),
            (b"{user1000}.following", 3443),
            (b"foo{{bar}}zap", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"{open", 7674),
        ] {
            assert_eq!(key_slot(key), slot, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn neighbours_are_joined() {
        assert_eq!(ranges([0, 1, 2, 7, 16382, 16383].into_iter()), ["0-2", "7", "16382-16383"]);
    }
}
