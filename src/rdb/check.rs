//! What any bytes that RESTORE may be given are held to: the fuzzer calls this with its inventions, a test with those that it has kept.

use super::dump::{Dumper, Payload, add_footer};
use super::{Dialect, VALKEY_VERSIONS, VERSIONS};
use crate::keyspace::{Key, Keyspace, OwnedEntry, digest};

/// The bytes of a payload's footer.
const FOOTER: usize = 10;

/// Restores `data`, its last ten bytes replaced by a right footer, as a payload of Redis and as one of Valkey. What can be restored is restored from
/// its own dump as the same value. Panics where something is wrong.
pub fn check_payload(data: &[u8]) {
    let value = &data[..data.len().saturating_sub(FOOTER)];
    for version in [*VERSIONS.end(), *VALKEY_VERSIONS.start()] {
        let mut bytes = value.to_vec();
        add_footer(&mut bytes, version);
        let mut keyspace = Keyspace::new(1, 1);
        let payload = Payload::new(&bytes).expect("the footer is right");
        if let Ok(entry) = payload.restore(b"key", None, &keyspace) {
            let first = digest_of(&mut keyspace, entry);
            let entry = keyspace.db(Default::default()).get(key(&keyspace)).expect("it has just been put");
            let dumped = Dumper::default().dump(entry, Dialect::Full, true).to_vec();
            let again = Payload::new(&dumped).and_then(|payload| payload.restore(b"key", None, &keyspace));
            assert_eq!(digest_of(&mut keyspace, again.expect("a dump can be restored")), first);
        }
    }
}

fn key(keyspace: &Keyspace) -> Key<'static> {
    Key { bytes: b"key", hash: keyspace.hash(b"key") }
}

fn digest_of(keyspace: &mut Keyspace, entry: OwnedEntry) -> [u8; 20] {
    let key = key(keyspace);
    keyspace.db_mut(Default::default()).insert(key.hash, entry);
    digest::dataset(keyspace)
}
