//! Hashes against models: random changes of a few of them, in every form, while snapshots run.

use proptest::prelude::*;

use super::*;
use crate::types::limits::Limits;
use crate::types::listpack::Elem;

const DB: DbIndex = DbIndex(0);

/// Value and expiry by field.
type Fields = BTreeMap<Vec<u8>, (Vec<u8>, Option<UnixMs>)>;
type Hashes = BTreeMap<Vec<u8>, Fields>;

/// A field, as the keyspace shows it.
type Shown = (Vec<u8>, (Vec<u8>, Option<UnixMs>));

fn shown((name, field): (Elem<'_>, Field<'_>)) -> Shown {
    (name.to_vec(), (field.value.to_vec(), field.expire))
}

fn moment(random: &mut Random) -> UnixMs {
    UnixMs(1 + random.below(500) as i64)
}

fn next_expiry(fields: &Fields) -> Option<UnixMs> {
    fields.values().filter_map(|(_, expire)| *expire).min()
}

/// One random change to a hash and its model.
fn change(keyspace: &mut Keyspace, model: &mut Hashes, random: &mut Random, fields: u64) {
    let name = name(random.below(6));
    let key = key(keyspace, &name);
    let db = keyspace.db_mut(DB);
    let mut expected = model.remove(&name).unwrap_or_default();
    let existed = !expected.is_empty();
    let field = format!("f{}", random.below(fields)).into_bytes();
    let (edited, wanted) = match random.below(12) {
        0..=5 => {
            let value = some_value(random);
            let expire = match random.below(6) {
                0 => SetExpire::Keep,
                1 => SetExpire::At(moment(random)),
                _ => SetExpire::Clear,
            };
            let edited = db.edit_hash(key, true, |hash| u64::from(hash.set(&field, Elem::of(&value), expire)));
            let old = expected.get(&field).cloned();
            let at = match expire {
                SetExpire::Keep => old.as_ref().and_then(|(_, at)| *at),
                SetExpire::At(at) => Some(at),
                SetExpire::Clear => None,
            };
            expected.insert(field, (value, at));
            (edited, u64::from(old.is_some()))
        }
        6..=7 => {
            let edited = db.edit_hash(key, false, |hash| u64::from(hash.remove(&field)));
            (edited, u64::from(expected.remove(&field).is_some()))
        }
        8..=9 => {
            let expire = (random.below(4) > 0).then(|| moment(random));
            let edited = db.edit_hash(key, false, |hash| u64::from(hash.set_expire(&field, expire)));
            let found = expected.get_mut(&field).map(|(_, at)| *at = expire);
            (edited, u64::from(found.is_some()))
        }
        10 => {
            let now = moment(random);
            let max = 1 + random.below(40) as usize;
            let mut taken = Vec::new();
            let edited = db.edit_hash(key, false, |hash| hash.take_due(now, max, &mut |name| taken.push(name.to_vec())) as u64);
            let due = expected.values().filter(|(_, at)| at.is_some_and(|at| at < now)).count();
            // The first ones go first, in any order within a moment.
            let moments: Vec<_> = taken.iter().map(|name| expected.remove(name).expect("a field that was there").1).collect();
            assert!(moments.is_sorted() && moments.iter().all(|at| at.is_some_and(|at| at < now)));
            assert!(next_expiry(&expected).is_none_or(|next| moments.last().is_none_or(|last| last.is_some_and(|last| last <= next))));
            assert_eq!(taken.len(), due.min(max).min(if existed { max } else { 0 }));
            (edited, taken.len() as u64)
        }
        _ => {
            // Renamed, or deleted.
            let taken = db.take(key);
            assert_eq!(taken.is_some(), existed);
            let other = self::name(random.below(6));
            if let Some(taken) = taken.filter(|_| random.below(4) > 0) {
                let hash = keyspace.hash(&other);
                keyspace.db_mut(DB).insert(hash, taken.with_key(&other));
                model.insert(other, expected);
            }
            return;
        }
    };
    assert_eq!(edited.map(|edited| edited.result), (existed || edited.is_some()).then_some(wanted));
    assert_eq!(edited.is_some_and(|edited| edited.emptied), edited.is_some() && expected.is_empty());
    if !expected.is_empty() {
        model.insert(name, expected);
    }
}

fn check(keyspace: &Keyspace, model: &Hashes) {
    let db = keyspace.db(DB);
    assert_eq!(db.len(), model.len() as u64);
    let nexts = model.values().filter_map(next_expiry);
    assert_eq!(db.expiring_hashes(), nexts.clone().count() as u64);
    assert_eq!(db.first_expiring_hash().map(|(at, _)| at), nexts.min());
    for (name, fields) in model {
        let entry = db.get(key(keyspace, name)).expect("a hash that has fields");
        let hash = entry.hash().expect("it is a hash");
        assert_eq!(hash.len(), fields.len() as u64);
        assert_eq!(hash.next_expiry(), next_expiry(fields));
        let all: Vec<Shown> = hash.iter().map(shown).collect();
        assert_eq!(all.len(), fields.len());
        assert!(all.into_iter().collect::<Fields>() == *fields);
        for (field, (value, expire)) in fields {
            let found = hash.get(field).expect("a field that was set");
            assert!(found.value.is(value) && found.expire == *expire);
        }
        let now = UnixMs(250);
        let live = fields.values().filter(|(_, at)| at.is_none_or(|at| at >= now)).count();
        assert_eq!(hash.live_len(now), live as u64);
        assert_eq!(hash.live(now).count(), live);
    }
}

/// What a snapshot's chunks say, to be compared with what there was at its cut.
#[derive(Default)]
struct Image {
    hashes: Hashes,
    /// Names and lengths of the big ones, by number.
    big: BTreeMap<CollectionId, (Vec<u8>, u64)>,
}

impl Image {
    fn read(&mut self, chunk: &Chunk) {
        for record in chunk.iter() {
            assert_eq!(record.kind, Kind::Hash);
            match (chunk.elements_of, record.value) {
                (None, RecordValue::Block(form, bytes)) => {
                    let fields = FieldPack::new(form, bytes).iter().map(shown).collect();
                    assert!(self.hashes.insert(record.key.to_vec(), fields).is_none());
                }
                (None, RecordValue::Elements { id, len, .. }) => {
                    self.big.insert(id, (record.key.to_vec(), len));
                    assert!(self.hashes.insert(record.key.to_vec(), Fields::new()).is_none());
                }
                (Some(id), value) => {
                    let value = match value {
                        RecordValue::Int(number) => number.to_string().into_bytes(),
                        RecordValue::Bytes(bytes) => bytes.to_vec(),
                        _ => panic!("a field whose value is no string"),
                    };
                    let fields = self.hashes.get_mut(&self.big[&id].0).expect("its record came before");
                    assert!(fields.insert(record.key.to_vec(), (value, record.expire)).is_none());
                }
                (None, _) => panic!("a hash in a form that none has"),
            }
        }
    }
}

fn under_snapshots(seed: u64, fields: u64, turns: u64) {
    let mut random = Random(seed);
    let mut keyspace = Keyspace::new(1, seed);
    keyspace.set_limits(Limits { hash_entries: random.below(60), hash_value: 64, ..Limits::default() });
    let mut model = Hashes::new();
    let mut running: Option<(SnapshotId, Hashes, Image)> = None;
    for _ in 0..turns {
        for _ in 0..random.below(50) {
            change(&mut keyspace, &mut model, &mut random, fields);
        }
        if random.below(8) == 0 {
            check(&keyspace, &model);
        }
        let Some((id, expected, image)) = &mut running else {
            if random.below(4) == 0 {
                running = Some((keyspace.begin_snapshot(), model.clone(), Image::default()));
            }
            continue;
        };
        let step = keyspace.snapshot_step(*id, random.below(4000) as usize, &mut || false);
        step.chunks.iter().for_each(|chunk| image.read(chunk));
        drop(keyspace.take_garbage());
        if step.done {
            assert!(image.hashes == *expected);
            assert!(image.big.values().all(|(name, len)| expected[name].len() as u64 == *len));
            running = None;
        }
    }
    check(&keyspace, &model);
    let copied: Vec<_> = model.keys().map(|name| keyspace.db(DB).copy_of(key(&keyspace, name)).expect("it is there")).collect();
    for (entry, fields) in copied.iter().zip(model.values()) {
        let hash = entry.entry().hash().expect("a copy of a hash");
        assert!(hash.iter().map(shown).collect::<Fields>() == *fields);
        assert_eq!(hash.next_expiry(), next_expiry(fields));
    }
}

proptest! {
    #![proptest_config(config(40))]
    #[test]
    fn hashes_are_what_was_set(seed: u64, fields in 1_u64..300) {
        under_snapshots(seed, fields, scaled(200));
    }
}

#[test]
fn blocks_keep_redis_order() {
    let mut keyspace = Keyspace::new(1, 3);
    let key = key(&keyspace, b"h");
    let mut names = |change: &dyn Fn(&mut HashEdit<'_>)| {
        let edited = keyspace.db_mut(DB).edit_hash(key, true, |hash| {
            change(hash);
            hash.get().iter().map(|(name, _)| String::from_utf8(name.to_vec()).unwrap()).collect::<Vec<_>>().concat()
        });
        edited.unwrap().result
    };
    let at = |at: i64| Some(UnixMs(at));
    // As 8.2.3 answered HKEYS.
    assert_eq!(
        names(&|hash| [b"a", b"b", b"c", b"d"].iter().for_each(|name| {
            hash.set(*name, Elem::Int(1), SetExpire::Clear);
        })),
        "abcd"
    );
    for (field, expire, order) in [
        (b"c", at(100), "cabd"),
        (b"a", at(50), "acbd"),
        (b"b", at(100), "abcd"),
        (b"a", None, "bcda"),
        (b"d", at(100), "dbca"),
        (b"b", at(200), "dcba"),
        (b"d", at(300), "cbda"),
    ] {
        assert_eq!(
            names(&|hash| {
                hash.set_expire(field, expire);
            }),
            order
        );
    }
}
