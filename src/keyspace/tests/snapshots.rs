//! Snapshots are exact, whatever happens to the databases while they are taken.

use proptest::prelude::*;

use super::*;

const DATABASES: u32 = 3;

/// Value and expiry of every key of every database.
type Image = BTreeMap<(u32, Vec<u8>), (Vec<u8>, Option<UnixMs>)>;

/// A snapshot that is being taken: what there was at its cut, and what has been captured so far.
struct Taken {
    id: SnapshotId,
    expected: Image,
    captured: Image,
    chunks: Vec<Chunk>,
}

impl Taken {
    fn begin(keyspace: &mut Keyspace, models: &[Model]) -> Self {
        let expected = models
            .iter()
            .zip(0..)
            .flat_map(|(model, db)| model.iter().map(move |(name, held)| ((db, name.clone()), (held.value.clone(), held.expire))))
            .collect();
        Taken { id: keyspace.begin_snapshot(), expected, captured: Image::new(), chunks: Vec::new() }
    }
    /// True when the snapshot is over, which must then be exact.
    fn step(&mut self, keyspace: &mut Keyspace, random: &mut Random) -> bool {
        let mut asked = random.below(20);
        let mut spent = || {
            asked = asked.saturating_sub(1);
            asked == 0
        };
        let step = keyspace.snapshot_step(self.id, random.below(30_000) as usize, &mut spent);
        self.chunks.extend(step.chunks);
        // Chunks are read late, so that later writes could still spoil what they share.
        if step.done || random.below(4) == 0 {
            self.read();
        }
        assert_eq!(keyspace.snapshot_pending(self.id), 0);
        assert_eq!(step.keys_total, self.expected.len() as u64);
        if step.done {
            assert_eq!(step.keys_done, step.keys_total);
            assert!(self.captured == self.expected);
        }
        step.done
    }
    fn read(&mut self) {
        for chunk in self.chunks.drain(..) {
            for record in chunk.iter() {
                assert_eq!(record.kind, Kind::String);
                let value = match record.value {
                    RecordValue::Int(number) => number.to_string().into_bytes(),
                    RecordValue::Bytes(bytes) => bytes.to_vec(),
                    _ => unreachable!("only strings are here"),
                };
                let again = self.captured.insert((chunk.db.0, record.key.to_vec()), (value, record.expire));
                assert!(again.is_none(), "{:?} captured twice", String::from_utf8_lossy(record.key));
            }
        }
    }
}

fn snapshots_under_writes(seed: u64, keys: u64, turns: u64) {
    let mut random = Random(seed);
    let mut keyspace = Keyspace::new(DATABASES, seed);
    let mut models = vec![Model::new(); DATABASES as usize];
    let mut running: Vec<Taken> = Vec::new();
    for _ in 0..turns {
        for _ in 0..random.below(60) {
            let db = random.below(u64::from(DATABASES)) as usize;
            write(&mut keyspace, DbIndex(db as u32), &mut models[db], &mut random, keys);
        }
        let (a, b) = (random.below(3) as usize, random.below(3) as usize);
        match random.below(60) {
            0 => {
                assert_eq!(keyspace.flush(DbIndex(a as u32)), models[a].len() as u64);
                models[a].clear();
            }
            1 => {
                keyspace.swap(DbIndex(a as u32), DbIndex(b as u32));
                models.swap(a, b);
            }
            2 => {
                let mut loaded = Keyspace::new(DATABASES, seed);
                models = vec![Model::new(); DATABASES as usize];
                for _ in 0..keys {
                    write(&mut loaded, DbIndex(a as u32), &mut models[a], &mut random, keys);
                }
                keyspace.replace(loaded);
            }
            3..=8 if running.len() < 4 => running.push(Taken::begin(&mut keyspace, &models)),
            9 if !running.is_empty() => {
                let dropped = running.swap_remove(random.below(running.len() as u64) as usize);
                keyspace.end_snapshot(dropped.id);
                assert!(keyspace.snapshot_step(dropped.id, 1, &mut || false).chunks.is_empty());
            }
            10..=11 => {
                keyspace.db_mut(DbIndex(a as u32)).shrink_step();
            }
            12 => drop(keyspace.take_garbage()),
            _ => {}
        }
        running.retain_mut(|taken| random.below(3) > 0 || !taken.step(&mut keyspace, &mut random));
    }
    for mut taken in running {
        while !taken.step(&mut keyspace, &mut random) {}
    }
    for (model, db) in models.iter().zip(0..) {
        check(&keyspace, DbIndex(db), model);
    }
}

proptest! {
    #![proptest_config(config(40))]
    #[test]
    fn snapshots_are_exact(seed: u64, keys in 1_u64..3000) {
        snapshots_under_writes(seed, scaled(keys).max(1), scaled(250));
    }
}

#[test]
fn a_snapshot_shares_long_values() {
    let mut keyspace = Keyspace::new(1, 9);
    let key = key(&keyspace, b"long");
    keyspace.db_mut(DbIndex(0)).set_string(key, &vec![b'x'; 100_000], SetExpire::Clear);
    let id = keyspace.begin_snapshot();
    let step = keyspace.snapshot_step(id, usize::MAX, &mut || false);
    assert!(step.done);
    assert_eq!(step.chunks.len(), 1);
    assert!(step.chunks[0].records.len() < 100 && step.chunks[0].size() >= 100_000);
    let before = step.chunks[0].first_shared();
    assert_eq!(keyspace.db_mut(DbIndex(0)).append(key, b"tail"), 100_004);
    let record = step.chunks[0].iter().next().map(|record| record.value);
    assert!(matches!(record, Some(RecordValue::Bytes(bytes)) if bytes == [b'x'; 100_000]));
    assert_eq!(step.chunks[0].first_shared(), before);
    // The copy is this entry's own, with room to grow: no more copies.
    let address = |keyspace: &Keyspace| match keyspace.db(DbIndex(0)).str_value(key) {
        Some(StrRef::Bytes(bytes)) => bytes.as_ptr(),
        _ => unreachable!(),
    };
    let own = address(&keyspace);
    for length in 100_005..100_100 {
        assert_eq!(keyspace.db_mut(DbIndex(0)).append(key, b"."), length);
    }
    assert_eq!(address(&keyspace), own);
}

#[test]
fn what_a_snapshot_needs_is_not_garbage_before_it_is_over() {
    let mut keyspace = Keyspace::new(1, 10);
    for number in 0..1000 {
        let name = name(number);
        let key = key(&keyspace, &name);
        keyspace.db_mut(DbIndex(0)).set_int(key, 1, SetExpire::Clear);
    }
    let allocated = keyspace.allocated();
    let id = keyspace.begin_snapshot();
    assert_eq!(keyspace.flush(DbIndex(0)), 1000);
    assert!(keyspace.take_garbage().is_none());
    assert!(keyspace.allocated() >= allocated);
    let mut keys = 0;
    while !keyspace.snapshot_step(id, 1000, &mut || false).done {
        keys += 1;
    }
    assert!(keys > 0);
    assert!(keyspace.take_garbage().is_some());
    assert!(keyspace.take_garbage().is_none());
    assert!(keyspace.allocated() < 1000);
}
