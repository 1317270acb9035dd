//! Random operations against a `BTreeMap`; the expiry index; memory.

use proptest::prelude::*;

use super::*;

const DB: DbIndex = DbIndex(0);

fn run(seed: u64, keys: u64, writes: u64) {
    let mut random = Random(seed);
    let mut keyspace = Keyspace::new(1, seed);
    let mut model = Model::new();
    for turn in 0..writes {
        write(&mut keyspace, DB, &mut model, &mut random, keys);
        if turn % 1024 == 0 {
            keyspace.db_mut(DB).shrink_step();
            drop(keyspace.take_garbage());
        }
    }
    check(&keyspace, DB, &model);
    check_index(&mut keyspace, &model);
    for name in model.keys() {
        let key = key(&keyspace, name);
        assert!(keyspace.db_mut(DB).remove(key, false));
    }
    while keyspace.db_mut(DB).shrink_step() {}
    check(&keyspace, DB, &Model::new());
    assert_eq!(keyspace.allocated(), Keyspace::new(1, seed).allocated());
}

/// A full turn of the sampling cursor finds exactly the keys that are due.
fn check_index(keyspace: &mut Keyspace, model: &Model) {
    let now = UnixMs(500_000);
    let expiring = keyspace.db(DB).expires_len();
    let mut due = Vec::new();
    let mut seen = 0;
    while seen < expiring {
        seen += keyspace.db_mut(DB).expire_sample(now, 20, &mut due) as u64;
    }
    assert_eq!(seen, expiring);
    due.sort();
    let expected: Vec<_> = model.iter().filter(|(_, held)| held.expire.is_some_and(|at| at <= now)).map(|(name, _)| name.clone()).collect();
    assert_eq!(due, expected);
}

proptest! {
    #![proptest_config(config(24))]
    #[test]
    fn a_database_is_a_map(seed: u64, keys in 1_u64..3000) {
        run(seed, keys, scaled(6000));
    }
}

#[test]
fn a_database_grows_and_empties_again() {
    let mut keyspace = Keyspace::new(1, 3);
    let count = scaled(1_000_000) as i64;
    for number in 0..count {
        let name = format!("key:{number:012}");
        let key = key(&keyspace, name.as_bytes());
        assert!(!keyspace.db_mut(DB).set_int(key, number, SetExpire::Clear));
    }
    let full = keyspace.allocated() as i64 - count * 32;
    let per_key = full as f64 / count as f64;
    assert!(cfg!(miri) || (10.0..12.0).contains(&per_key), "{per_key} bytes of table a key");
    for number in 0..count {
        let name = format!("key:{number:012}");
        assert_eq!(keyspace.db(DB).str_value(key(&keyspace, name.as_bytes())), Some(StrRef::Int(number)));
    }
    for number in 0..count {
        let name = format!("key:{number:012}");
        let key = key(&keyspace, name.as_bytes());
        assert!(keyspace.db_mut(DB).remove(key, false));
        assert!(!keyspace.db_mut(DB).remove(key, false));
    }
    while keyspace.db_mut(DB).shrink_step() {}
    assert_eq!(keyspace.allocated(), Keyspace::new(1, 3).allocated());
}

#[test]
fn emptied_by_deletes_the_table_is_small_again() {
    let mut keyspace = Keyspace::new(1, 4);
    for number in 0..scaled(100_000) {
        let name = name(number);
        let key = key(&keyspace, &name);
        keyspace.db_mut(DB).set_int(key, 1, SetExpire::At(UnixMs(1)));
    }
    for number in 0..scaled(99_000) {
        let name = name(number);
        let key = key(&keyspace, &name);
        keyspace.db_mut(DB).remove(key, false);
    }
    while keyspace.db_mut(DB).shrink_step() {}
    let entries: usize = keyspace.db(DB).iter().map(Entry::allocated).sum();
    let tables = keyspace.allocated() - entries;
    assert!(tables < 2 * scaled(1000) as usize * 20, "{tables} bytes of tables for 1000 keys");
}

#[test]
fn random_keys_are_uniform() {
    let mut keyspace = Keyspace::new(1, 5);
    let mut random = Random(5);
    assert!(keyspace.db(DB).random(&mut || random.next()).is_none());
    for number in 0..1000 {
        let name = number.to_string();
        let key = key(&keyspace, name.as_bytes());
        keyspace.db_mut(DB).set_int(key, number, SetExpire::Clear);
    }
    let mut hits = [0_i64; 1000];
    if cfg!(miri) {
        return;
    }
    for _ in 0..200_000 {
        let StrRef::Int(number) = keyspace.db(DB).random(&mut || random.next()).and_then(Entry::string).unwrap() else { unreachable!() };
        hits[number as usize] += 1;
    }
    // 999 degrees of freedom: 1200 is more than four standard deviations off.
    let chi_squared: f64 = hits.iter().map(|hit| (hit - 200).pow(2) as f64 / 200.0).sum();
    assert!(chi_squared < 1200.0, "{chi_squared}");
}

#[test]
fn average_ttl_follows_the_samples() {
    let mut keyspace = Keyspace::new(1, 6);
    for number in 0..100 {
        let name = name(number);
        let key = key(&keyspace, &name);
        keyspace.db_mut(DB).set_int(key, 1, SetExpire::At(UnixMs(5000)));
    }
    let db = keyspace.db_mut(DB);
    assert_eq!(db.avg_ttl(), 0);
    db.expire_sample(UnixMs(1000), 200, &mut Vec::new());
    assert_eq!(db.avg_ttl(), 4000);
    db.expire_sample(UnixMs(3000), 200, &mut Vec::new());
    assert_eq!(db.avg_ttl(), 4000 / 50 * 49 + 2000 / 50);
}

#[test]
fn the_access_bits_outlive_a_rewrite() {
    let mut keyspace = Keyspace::new(1, 7);
    let key = key(&keyspace, b"k");
    let db = keyspace.db_mut(DB);
    db.set_string(key, b"value", SetExpire::Clear);
    db.get(key).unwrap().set_lru(0xabcdef);
    db.set_string(key, &[b'x'; 2000], SetExpire::At(UnixMs(9)));
    db.append(key, b"more");
    db.set_expire(key, None);
    let entry = db.get(key).unwrap();
    assert_eq!((entry.lru(), entry.kind(), entry.expire_at()), (0xabcdef, Kind::String, None));
}
