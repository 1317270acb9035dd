//! DEBUG DIGEST and DIGEST-VALUE: Redis's own algorithm (SHA-1, xor over keys), so that equal data gives equal digests on both.

use sha1::{Digest, Sha1};

use super::{DbIndex, Entry, Keyspace, StrRef, ValueRef};
use crate::types::listpack::ElemBuf;
use crate::types::number::DoubleBuf;
use crate::types::stream::StreamId;

/// The digest of all databases, 20 bytes; zeros when all are empty. Keys that are logically expired but not deleted count, as in Redis.
pub fn dataset(keyspace: &Keyspace) -> [u8; 20] {
    let mut total = [0; 20];
    for number in 0..keyspace.databases() {
        let db = keyspace.db(DbIndex(number));
        if db.is_empty() {
            continue;
        }
        mix(&mut total, &number.to_be_bytes());
        for entry in db.iter() {
            let mut digest = [0; 20];
            mix(&mut digest, entry.key());
            mix_value(&mut digest, entry);
            xor(&mut total, &digest);
        }
    }
    total
}

/// DEBUG DIGEST-VALUE of one entry.
pub fn value(entry: &Entry) -> [u8; 20] {
    let mut digest = [0; 20];
    mix_value(&mut digest, entry);
    digest
}

fn mix_value(digest: &mut [u8; 20], entry: &Entry) {
    mix(digest, &(entry.kind() as u32).to_be_bytes());
    match entry.value() {
        ValueRef::String(StrRef::Int(number)) => mix(digest, itoa::Buffer::new().format(number).as_bytes()),
        ValueRef::String(StrRef::Bytes(bytes)) => mix(digest, bytes),
        ValueRef::Block(..) | ValueRef::Big(_) => mix_collection(digest, entry),
    }
    if entry.expire_at().is_some() {
        xor(digest, b"!!expire!!");
    }
}

fn mix_collection(digest: &mut [u8; 20], entry: &Entry) {
    let mut buffer = ElemBuf::new();
    if let Some(list) = entry.list() {
        list.iter().for_each(|elem| mix(digest, elem.bytes(&mut buffer)));
    }
    if let Some(stream) = entry.stream() {
        let (mut field_text, mut value_text) = (ElemBuf::new(), ElemBuf::new());
        for entry in stream.range(StreamId::MIN, StreamId::MAX) {
            mix(digest, format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
            for (field, value) in entry.pairs() {
                mix(digest, field.bytes(&mut field_text));
                mix(digest, value.bytes(&mut value_text));
            }
        }
    }
    if let Some(set) = entry.set() {
        set.iter().for_each(|member| xor(digest, member.bytes(&mut buffer)));
    }
    if let Some(hash) = entry.hash() {
        let mut buffer = ElemBuf::new();
        for (name, field) in hash.iter() {
            let mut one = [0; 20];
            mix(&mut one, name.bytes(&mut buffer));
            mix(&mut one, field.value.bytes(&mut buffer));
            if field.expire.is_some() {
                xor(&mut one, b"!!hexpire!!");
            }
            xor(digest, &one);
        }
    }
    if let Some(zset) = entry.zset() {
        let (mut buffer, mut text) = (ElemBuf::new(), DoubleBuf::default());
        zset.for_each(|member, score| {
            let mut element = [0; 20];
            mix(&mut element, member.bytes(&mut buffer));
            mix(&mut element, text.shortest(score).as_bytes());
            xor(digest, &element);
        });
    }
}

/// Order does not matter: xors the hash of `data` in.
fn xor(digest: &mut [u8; 20], data: &[u8]) {
    for (into, from) in digest.iter_mut().zip(Sha1::digest(data)) {
        *into ^= from;
    }
}

/// Order matters.
fn mix(digest: &mut [u8; 20], data: &[u8]) {
    xor(digest, data);
    *digest = Sha1::digest(*digest).into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Key, SetExpire, UnixMs};

    fn hex(digest: [u8; 20]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    struct Data(Keyspace);

    impl Data {
        fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
            Key { bytes, hash: self.0.hash(bytes) }
        }
        fn set(&mut self, db: u32, key: &[u8], value: &[u8], expire: SetExpire) {
            let key = self.key(key);
            self.0.db_mut(DbIndex(db)).set_string(key, value, expire);
        }
        fn value(&self, key: &[u8]) -> String {
            self.0.db(DbIndex(0)).get(self.key(key)).map_or("absent".into(), |entry| hex(value(entry)))
        }
    }

    /// The constants are what Redis 7.0.15 and 8.2.3 answer for the same data.
    #[test]
    fn digests_are_those_of_redis() {
        let mut data = Data(Keyspace::new(16, 7));
        assert_eq!(hex(dataset(&data.0)), "0".repeat(40));
        data.set(0, b"a", b"hello", SetExpire::Clear);
        data.set(0, b"n", b"19345", SetExpire::Clear);
        data.set(0, b"e", b"ttl", SetExpire::At(UnixMs(4_102_444_800_000)));
        data.set(0, b"long", &[b'x'; 3000], SetExpire::Clear);
        data.set(0, b"bin", b"\x00\xff\r\n", SetExpire::Clear);
        data.set(0, b"app", b"124", SetExpire::Clear);
        for key in [b"sr".as_slice(), b"sr2"] {
            let key = data.key(key);
            data.0.db_mut(DbIndex(0)).set_range(key, 0, b"12");
        }
        data.set(0, b"n2", b"abc", SetExpire::Clear);
        data.set(0, b"q", b"5", SetExpire::Clear);
        data.set(0, b"q2", b"5", SetExpire::Clear);
        data.set(0, b"q3", b"-9223372036854775808", SetExpire::Clear);
        assert_eq!(hex(dataset(&data.0)), "b9c85fe1f2909bacff06030db455b4acc5bb50c9");
        data.set(3, b"a", b"hello", SetExpire::Clear);
        data.set(3, b"t", b"7", SetExpire::At(UnixMs(4_102_444_800_001)));
        assert_eq!(hex(dataset(&data.0)), "165b4f42eae843d7bb466641819b15bed13c79eb");
        assert_eq!(data.value(b"a"), "36b23a1456b2dce2c3ed252c456761301dba8060");
        assert_eq!(data.value(b"n"), "fdd64d8d9035f1b3efea10f4a3174c59cd149470");
        assert_eq!(data.value(b"e"), "4fa65e9e896a998fd976e538275f283741771fb4");
        assert_eq!(data.value(b"long"), "a9ed101e2754ca82ab8a1920cfde8248889257df");
        assert_eq!(data.value(b"bin"), "0be8cedfeef041d42343f84d3f6672142a3b9692");
        assert_eq!(data.value(b"app"), "080e4a3a4c815241de4cbdf4c65efcd9f36c4f54");
        assert_eq!(data.value(b"sr"), "655ac46b180ad2f61a3cee25f0b1780fa2ec879a");
    }
}
