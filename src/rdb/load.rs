//! From a snapshot's bytes to a new keyspace, aside from the one in use: nothing is kept of a snapshot that fails.

use std::io::Read;
use std::ops::ControlFlow;

use super::build::Builder;
use super::error::{LoadCause, LoadError};
use super::reader::{Item, Reader, Value};
use super::value::{Nowhere, Part, Sink};
use super::{Access, Aux, Library, STRING_BYTES_MAX};
use crate::keyspace::{DbIndex, Keyspace, Kind, OwnedEntry, UnixMs};
use crate::types::limits::Limits;
use crate::types::number;

const PROGRESS_BYTES: u64 = 2 * 1024 * 1024;
const PROGRESS_KEYS: u64 = 10_000;
/// Entries whose buckets are asked for before the first is put in.
const BATCH: usize = 32;

#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    pub databases: u32,
    /// For the new keyspace: the same as that of the keyspace which it will replace.
    pub hash_seed: u64,
    /// A master drops keys that were due before this moment; a slave (`None`) keeps them until its master says DEL. They stay as well where the snapshot
    /// names its place in a stream: slaves that go on from there have them, and have to be told when they go.
    pub drop_expired_at: Option<UnixMs>,
    /// `rdbchecksum`.
    pub checksum: bool,
    pub string_bytes_max: u64,
    pub access: Access,
    pub limits: Limits,
    /// A load that takes more memory fails.
    pub memory_max: Option<u64>,
}

impl LoadOptions {
    pub fn new(databases: u32, hash_seed: u64) -> Self {
        LoadOptions {
            databases,
            hash_seed,
            drop_expired_at: None,
            checksum: true,
            string_bytes_max: STRING_BYTES_MAX,
            access: Access::Ignored,
            limits: Limits::default(),
            memory_max: None,
        }
    }
}

/// How far a load has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub bytes: u64,
    pub keys: u64,
    /// How many keys the databases that have begun are said to have.
    pub keys_told: u64,
}

/// What a snapshot contains, without the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub version: u32,
    pub aux: Aux,
    pub libraries: Vec<Library>,
    pub keys: u64,
    /// Keys with an expiry.
    pub expires: u64,
    /// The snapshot's length: header to checksum.
    pub bytes: u64,
    /// Bytes that were read from the input behind the end. Redis ignores what follows in a file.
    pub read_ahead: u64,
}

pub struct Loaded {
    pub keyspace: Keyspace,
    /// Libraries of functions, as they stand there: whether they compile is for their new owner to see.
    pub libraries: Vec<Library>,
    pub version: u32,
    pub aux: Aux,
    pub keys_loaded: u64,
    pub keys_expired: u64,
    pub bytes: u64,
    pub read_ahead: u64,
}

/// Loads a snapshot. `progress` is told about every 2 MB or 10,000 keys, and may stop the load.
pub fn load(input: impl Read, options: &LoadOptions, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Loaded, LoadError> {
    let mut keyspace = Keyspace::new(options.databases, options.hash_seed);
    keyspace.set_limits(options.limits);
    let builder = Builder::new(&keyspace);
    let mut loader = Loader { keyspace, options, builder, batch: Vec::with_capacity(BATCH), keys_expired: 0, has_place: false };
    let summary = read_all(input, options, progress, &mut loader)?;
    loader.put_in_batch()?;
    let Loader { keyspace, keys_expired, .. } = loader;
    let Summary { version, aux, libraries, keys, bytes, read_ahead, .. } = summary;
    Ok(Loaded { keyspace, libraries, version, aux, keys_loaded: keys - keys_expired, keys_expired, bytes, read_ahead })
}

/// Reads a snapshot to its end and checks everything but duplicate keys, which only a table could tell.
pub fn verify(input: impl Read, options: &LoadOptions, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Summary, LoadError> {
    read_all(input, options, progress, &mut Nowhere)
}

/// A key of the input.
struct Incoming<'a> {
    db: DbIndex,
    key: &'a [u8],
    expire: Option<UnixMs>,
    idle: Option<u64>,
    freq: Option<u8>,
    value: Value<'a>,
    offset: u64,
}

/// Takes what a snapshot contains: first a collection's parts, then its key.
trait Target: Sink {
    fn key(&mut self, key: Incoming<'_>) -> Result<(), LoadError>;
    /// What the snapshot says of itself, before its keys.
    fn head(&mut self, _: &Aux) {}
}

impl Target for Nowhere {
    fn key(&mut self, _: Incoming<'_>) -> Result<(), LoadError> {
        Ok(())
    }
}

fn read_all(
    input: impl Read,
    options: &LoadOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    target: &mut impl Target,
) -> Result<Summary, LoadError> {
    let mut reader = Reader::new(input)?;
    reader.limit_strings(options.string_bytes_max);
    reader.limit_databases(options.databases);
    if !options.checksum {
        reader.ignore_checksum();
    }
    let mut summary = Summary { version: reader.version(), ..Summary::default() };
    let mut told = Progress::default();
    loop {
        let offset = reader.offset();
        match reader.next_item(target)? {
            Item::Aux { name, value } => {
                summary.aux.set(name, value);
                target.head(&summary.aux);
            }
            Item::Key { db, key, expire, idle, freq, value } => {
                // An empty collection is no key. Redis writes none, and drops those of files that have one.
                if matches!(value, Value::Collection { kind, elements: 0 } if kind != Kind::Stream) {
                    continue;
                }
                summary.keys += 1;
                summary.expires += u64::from(expire.is_some());
                target.key(Incoming { db, key, expire, idle, freq, value, offset })?;
            }
            Item::Library { code } => summary.libraries.push(Library { offset, code: code.to_vec() }),
            Item::End => break,
        }
        if reader.offset() - told.bytes >= PROGRESS_BYTES || summary.keys - told.keys >= PROGRESS_KEYS {
            let now = Progress { bytes: reader.offset(), keys: summary.keys, keys_told: reader.keys_told() };
            told = now;
            if progress(now).is_break() {
                return Err(LoadCause::Stopped.at(now.bytes));
            }
        }
    }
    summary.bytes = reader.offset();
    summary.read_ahead = reader.unread().len() as u64;
    Ok(summary)
}

impl Aux {
    fn set(&mut self, name: &[u8], value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"redis-ver" | b"valkey-ver" => self.redis_ver = Some(text()),
            b"ctime" => self.ctime = number::parse_i64(value),
            b"used-mem" => self.used_mem = number::parse_i64(value).and_then(|bytes| u64::try_from(bytes).ok()),
            b"repl-stream-db" => self.repl_stream_db = number::parse_i64(value),
            b"repl-id" => self.repl_id = Some(text()),
            b"repl-offset" => self.repl_offset = number::parse_i64(value),
            b"aof-base" | b"aof-preamble" => self.aof_base = number::parse_i64(value).map(|flag| flag != 0),
            _ => {}
        }
    }
}

struct Pending {
    db: DbIndex,
    hash: u64,
    entry: OwnedEntry,
    offset: u64,
}

struct Loader<'o> {
    keyspace: Keyspace,
    options: &'o LoadOptions,
    builder: Builder,
    batch: Vec<Pending>,
    keys_expired: u64,
    has_place: bool,
}

impl Sink for Loader<'_> {
    fn begin(&mut self, kind: Kind) {
        self.builder.begin(kind);
    }
    fn part(&mut self, part: Part<'_>) -> Result<(), LoadCause> {
        self.builder.part(part)
    }
}

impl Target for Loader<'_> {
    fn key(&mut self, incoming: Incoming<'_>) -> Result<(), LoadError> {
        let Incoming { db, key, expire, idle, freq, value, offset } = incoming;
        if let (Some(now), Some(at)) = (self.options.drop_expired_at, expire)
            && at < now
            && !self.has_place
        {
            self.keys_expired += 1;
            return Ok(());
        }
        let hash = self.keyspace.hash(key);
        self.keyspace.db(db).prefetch_bucket(hash);
        let entry = self.builder.entry(key, value, expire).map_err(|cause| cause.at(offset))?;
        if let Some(bits) = self.options.access.bits(idle, freq) {
            entry.entry().set_lru(bits);
        }
        self.batch.push(Pending { db, hash, entry, offset });
        if self.batch.len() == BATCH { self.put_in_batch() } else { Ok(()) }
    }

    fn head(&mut self, aux: &Aux) {
        self.has_place = aux.has_place();
    }
}

impl Loader<'_> {
    fn put_in_batch(&mut self) -> Result<(), LoadError> {
        let offset = self.batch.first().map_or(0, |pending| pending.offset);
        for Pending { db, hash, entry, offset } in self.batch.drain(..) {
            if self.keyspace.db_mut(db).insert(hash, entry) {
                return Err(LoadCause::DuplicateKey.at(offset));
            }
        }
        match self.options.memory_max {
            Some(max) if self.keyspace.allocated() as u64 > max => Err(LoadCause::Memory { max }.at(offset)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Assembly, Dialect, Head, LFU_INITIAL, VERSION_WRITTEN, Writer, WriterOptions, version_for};
    use super::*;
    use crate::keyspace::{Key, Kind, Record, RecordValue, SetExpire, StrRef, digest};
    use crate::types::listpack::Elem;

    const SEED: u64 = 7;

    fn options() -> LoadOptions {
        LoadOptions::new(16, SEED)
    }

    fn go(_: Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn loaded(bytes: &[u8]) -> Result<Loaded, LoadError> {
        load(bytes, &options(), &mut go)
    }

    /// Database, key, expiry and value.
    type Row<'a> = (u32, &'a [u8], Option<i64>, &'a [u8]);

    /// Strings written one by one.
    fn snapshot(keys: &[Row<'_>]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), WriterOptions::default());
        writer.header(&Head::default()).unwrap();
        for (db, key, expire, value) in keys {
            let record = Record { key, kind: Kind::String, expire: expire.map(UnixMs), lru: 0, value: RecordValue::Bytes(value) };
            writer.record(DbIndex(*db), &record).unwrap();
        }
        writer.finish().unwrap().0
    }

    fn write_all(keyspace: &mut Keyspace, options: WriterOptions) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), options);
        writer.header(&Head::default()).unwrap();
        let mut assembly = Assembly::new(writer, Box::new(|| unreachable!("little is kept aside")));
        let snapshot = keyspace.begin_snapshot();
        loop {
            let step = keyspace.snapshot_step(snapshot, 1000, &mut || false);
            step.chunks.iter().for_each(|chunk| assembly.push(chunk).unwrap());
            if step.done {
                return assembly.finish().unwrap().0;
            }
        }
    }

    fn text(keyspace: &Keyspace, db: u32, key: &[u8]) -> Option<(Vec<u8>, Option<i64>)> {
        let entry = keyspace.db(DbIndex(db)).get(Key { bytes: key, hash: keyspace.hash(key) })?;
        let value = match entry.string().unwrap() {
            StrRef::Int(number) => number.to_string().into_bytes(),
            StrRef::Bytes(bytes) => bytes.to_vec(),
        };
        Some((value, entry.expire_at().map(|at| at.0)))
    }

    fn hex(digest: [u8; 20]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Small files that the real servers have written from the same commands.
    const PEERS: [(&str, u32, &[u8]); 4] = [
        ("redis-6.2", 9, include_bytes!("../../fuzz/corpus/rdb/redis-6.2")),
        ("redis-7.0", 10, include_bytes!("../../fuzz/corpus/rdb/redis-7.0")),
        ("redis-8.2", 12, include_bytes!("../../fuzz/corpus/rdb/redis-8.2")),
        ("valkey-8.1", 11, include_bytes!("../../fuzz/corpus/rdb/valkey-8.1")),
    ];

    #[test]
    fn files_of_real_servers() {
        for (peer, version, bytes) in PEERS {
            let loaded = loaded(bytes).unwrap();
            assert_eq!((loaded.version, loaded.keys_loaded, loaded.bytes, loaded.read_ahead), (version, 12, bytes.len() as u64, 0), "{peer}");
            // What DEBUG DIGEST said on each of them.
            assert_eq!(hex(digest::dataset(&loaded.keyspace)), "e7b47d498cd9b9cffdc922633e8fadc62fcb6daf", "{peer}");
            assert_eq!(text(&loaded.keyspace, 0, b"due"), Some((b"v".to_vec(), Some(4_102_444_800_123))));
            assert_eq!(text(&loaded.keyspace, 9, b"other"), Some((b"1".to_vec(), Some(4_102_444_800_000))));
            assert_eq!(text(&loaded.keyspace, 0, b"bin\0\xFF\r\n"), Some((b"\0\x01\xFF".to_vec(), None)));
            let summary = verify(bytes, &options(), &mut go).unwrap();
            assert_eq!((summary.keys, summary.expires, summary.bytes), (12, 2, bytes.len() as u64));
        }
    }

    /// Every type, in compact forms and others: what DEBUG DIGEST says on Valkey and on 8.2.3. The first three have the same data; DEBUG DIGEST of 6.2 and
    /// 7.0 shows scores with 17 digits.
    #[test]
    fn types_of_real_servers() {
        for (file, digest) in [
            (include_bytes!("../../fuzz/corpus/rdb/redis-6.2-types").as_slice(), "861643d9dfc587826aec7d03fb8bfcf4c16d5001"),
            (include_bytes!("../../fuzz/corpus/rdb/redis-7.0-types"), "861643d9dfc587826aec7d03fb8bfcf4c16d5001"),
            (include_bytes!("../../fuzz/corpus/rdb/valkey-8.1-types"), "861643d9dfc587826aec7d03fb8bfcf4c16d5001"),
            (include_bytes!("../../fuzz/corpus/rdb/redis-8.2-types"), "90eac0a45a1f82d4d5b9b85186ab433188acdc6c"),
        ] {
            assert_eq!(hex(digest::dataset(&loaded(file).unwrap().keyspace)), digest);
        }
    }

    #[test]
    fn numbers_are_numbers_again() {
        let bytes = snapshot(&[(0, b"a", None, b"12345678901"), (0, b"b", None, b"012"), (0, b"c", None, b"-5")]);
        let loaded = loaded(&bytes).unwrap();
        let encodings =
            [b"a", b"b", b"c"].map(|key| loaded.keyspace.db(DbIndex(0)).get(Key { bytes: key, hash: loaded.keyspace.hash(key) }).unwrap().encoding());
        assert_eq!(encodings, ["int", "embstr", "int"]);
    }

    #[test]
    fn a_master_drops_what_is_expired_and_a_slave_keeps_it() {
        let bytes = snapshot(&[(0, b"past", Some(999), b"1"), (0, b"now", Some(1000), b"2"), (3, b"never", None, b"3")]);
        let master = LoadOptions { drop_expired_at: Some(UnixMs(1000)), ..options() };
        let loaded_by_master = load(bytes.as_slice(), &master, &mut go).unwrap();
        assert_eq!((loaded_by_master.keys_loaded, loaded_by_master.keys_expired), (2, 1));
        assert_eq!(text(&loaded_by_master.keyspace, 0, b"past"), None);
        assert_eq!(text(&loaded_by_master.keyspace, 0, b"now"), Some((b"2".to_vec(), Some(1000))));
        let loaded_by_slave = loaded(&bytes).unwrap();
        assert_eq!((loaded_by_slave.keys_loaded, loaded_by_slave.keys_expired), (3, 0));
        assert_eq!(text(&loaded_by_slave.keyspace, 0, b"past"), Some((b"1".to_vec(), Some(999))));
        assert_eq!(loaded_by_slave.keyspace.db(DbIndex(0)).expires_len(), 2);
    }

    #[test]
    fn a_load_that_takes_too_much_memory_fails() {
        let value = vec![b'x'; 100_000];
        let bytes = snapshot(&[(0, b"a", None, &value), (1, b"b", None, &value), (2, b"c", None, &value)]);
        let within = |memory_max| load(bytes.as_slice(), &LoadOptions { memory_max, ..options() }, &mut go).map(|loaded| loaded.keys_loaded);
        assert_eq!([None, Some(10_000_000)].map(|max| within(max).unwrap()), [3, 3]);
        assert!(matches!(within(Some(200_000)).unwrap_err().cause, LoadCause::Memory { max: 200_000 }));
    }

    #[test]
    fn duplicates_and_databases_out_of_range_are_refused() {
        let twice = snapshot(&[(0, b"k", None, b"1"), (1, b"k", None, b"1"), (0, b"k", None, b"2")]);
        assert!(matches!(loaded(&twice).err().unwrap(), LoadError { offset: 37, cause: LoadCause::DuplicateKey }));
        let far = snapshot(&[(15, b"k", None, b"1"), (16, b"k", None, b"1")]);
        let error = loaded(&far).err().unwrap();
        assert!(matches!(error.cause, LoadCause::DatabaseOutOfRange { found: 16, databases: 16 }), "{error}");
        assert!(matches!(verify(far.as_slice(), &options(), &mut go), Err(LoadError { cause: LoadCause::DatabaseOutOfRange { .. }, .. })));
    }

    #[test]
    fn progress_is_told_and_can_stop() {
        let names: Vec<String> = (0..25_000).map(|n| format!("key:{n}")).collect();
        let keys: Vec<Row> = names.iter().map(|name| (0, name.as_bytes(), None, &b"value"[..])).collect();
        let bytes = snapshot(&keys);
        let mut told = Vec::new();
        load(bytes.as_slice(), &options(), &mut |progress| {
            told.push(progress.keys);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(told, [10_000, 20_000]);
        let stopped = load(bytes.as_slice(), &options(), &mut |_| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(LoadError { cause: LoadCause::Stopped, .. })));
        let long = snapshot(&[(0, b"k", None, &(0..5_000_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect::<Vec<_>>())]);
        let mut bytes_told = 0;
        load(long.as_slice(), &options(), &mut |progress| {
            bytes_told = progress.bytes;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(bytes_told > 4_000_000);
    }

    #[test]
    fn access_information_is_kept_where_it_means_something() {
        let lru = LoadOptions { access: Access::Lru { clock: 5 }, ..options() };
        let lfu = LoadOptions { access: Access::Lfu { minutes: 3 }, ..options() };
        let bits = |file: usize, options: &LoadOptions| {
            let keyspace = load(PEERS[file].2, options, &mut go).unwrap().keyspace;
            keyspace.db(DbIndex(0)).get(Key { bytes: b"due", hash: keyspace.hash(b"due") }).unwrap().lru()
        };
        assert_eq!(bits(1, &lru), 5, "idle for no second");
        assert_eq!(bits(2, &lfu), 3 << 8 | 6);
        assert_eq!(bits(0, &lfu), 3 << 8 | LFU_INITIAL, "a file without FREQ");
        assert_eq!(Access::Lru { clock: 5 }.bits(Some(7), None), Some(0xFF_FFFE), "the clock is 24 bits wide");
        assert_eq!(Access::Lru { clock: 5 }.bits(Some(u64::MAX), None), Some(6));
    }

    #[test]
    fn every_file_of_the_fuzzer_loads_or_fails() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/rdb");
        let mut files = 0;
        for file in std::fs::read_dir(corpus).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let loads = loaded(&bytes).is_ok();
            assert!(!loads || verify(bytes.as_slice(), &options(), &mut go).is_ok());
            files += 1;
        }
        assert!(files >= PEERS.len());
    }

    /// A small hash and a big one, each with fields that expire and one that does not; the version follows from them.
    #[test]
    fn fields_keep_their_expiry() {
        let mut keyspace = Keyspace::new(16, SEED);
        assert_eq!(version_for(&keyspace, false, Dialect::Full), VERSION_WRITTEN);
        for (key, fields) in [(&b"small"[..], 3), (b"big", 2000)] {
            let key = Key { bytes: key, hash: keyspace.hash(key) };
            keyspace.db_mut(DbIndex(3)).edit_hash(key, true, |hash| {
                for n in 0..fields {
                    let expire = if n == 1 { SetExpire::Clear } else { SetExpire::At(UnixMs(5_000_000_000_000 - n * 1000)) };
                    hash.set(format!("field:{n}").as_bytes(), Elem::Int(n), expire);
                }
            });
        }
        let version = version_for(&keyspace, false, Dialect::Full);
        assert_eq!(version, 12);
        let loaded = loaded(&write_all(&mut keyspace, WriterOptions { version, ..WriterOptions::default() })).unwrap();
        assert_eq!(digest::dataset(&loaded.keyspace), digest::dataset(&keyspace));
        for (key, field, at) in
            [(&b"small"[..], "field:2", Some(4_999_999_998_000)), (b"big", "field:1", None), (b"big", "field:1999", Some(4_999_998_001_000))]
        {
            let entry = loaded.keyspace.db(DbIndex(3)).get(Key { bytes: key, hash: loaded.keyspace.hash(key) }).unwrap();
            assert_eq!(entry.hash().unwrap().get(field.as_bytes()).unwrap().expire.map(|at| at.0), at, "{field}");
        }
    }

    fn string_value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            9 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
            9 => (-40_000i64..40_000).prop_map(|number| number.to_string().into_bytes()),
            9 => prop::collection::vec(any::<u8>(), 0..100),
            9 => ("[a-c]{0,30}", 0usize..60).prop_map(|(text, times)| text.repeat(times).into_bytes()),
            1 => (any::<u8>(), 60_000usize..140_000).prop_map(|(byte, len)| (0..len).map(|at| byte ^ ((at * at) >> 9) as u8).collect()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn roundtrip(
            keys in prop::collection::vec((0u32..16, string_value(), prop::option::of(any::<i64>()), string_value()), 0..40),
            version in 9u32..=12, compress: bool, checksum: bool,
        ) {
            let mut keyspace = Keyspace::new(16, SEED);
            for (db, key, expire, value) in &keys {
                let hash = keyspace.hash(key);
                let expire = expire.map_or(SetExpire::Clear, |at| SetExpire::At(UnixMs(at)));
                keyspace.db_mut(DbIndex(*db)).set_string(Key { bytes: key, hash }, value, expire);
            }
            let bytes = write_all(&mut keyspace, WriterOptions { version, compress, checksum, access: Access::Ignored });
            let loaded = loaded(&bytes).unwrap();
            prop_assert_eq!(digest::dataset(&loaded.keyspace), digest::dataset(&keyspace));
            prop_assert_eq!(loaded.bytes, bytes.len() as u64);
            for (db, key, ..) in &keys {
                prop_assert_eq!(text(&loaded.keyspace, *db, key), text(&keyspace, *db, key));
            }
        }

        #[test]
        fn any_bytes_load_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = loaded(&[b"REDIS0009", bytes.as_slice()].concat());
        }
    }
}
