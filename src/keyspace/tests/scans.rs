//! SCAN's guarantee while the table grows, shrinks, splits and merges.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const DB: DbIndex = DbIndex(0);

fn scan_under_change(seed: u64, stay: u64, come_and_go: u64, step: u64, count: usize) {
    let mut random = Random(seed);
    let mut keyspace = Keyspace::new(1, seed);
    let put = |keyspace: &mut Keyspace, name: String| {
        let key = key(keyspace, name.as_bytes());
        keyspace.db_mut(DB).set_int(key, 1, SetExpire::Clear);
    };
    for number in 0..stay {
        put(&mut keyspace, format!("stays:{number}"));
    }
    let (mut seen, mut times) = (BTreeSet::new(), 0);
    let (mut cursor, mut there) = (0, 0);
    let mut grows = random.below(2) == 0;
    loop {
        cursor = keyspace.db(DB).scan(cursor, count, &mut |entry| {
            if entry.key().starts_with(b"stays") {
                seen.insert(entry.key().to_vec());
                times += 1;
            }
        });
        if cursor == 0 {
            break;
        }
        for _ in 0..random.below(step + 1) {
            if grows {
                put(&mut keyspace, format!("goes:{there}"));
                there += 1;
            } else if there > 0 {
                there -= 1;
                let name = format!("goes:{there}");
                let key = key(&keyspace, name.as_bytes());
                assert!(keyspace.db_mut(DB).remove(key, false));
            }
        }
        keyspace.db_mut(DB).shrink_step();
        if there >= come_and_go || there == 0 || random.below(20) == 0 {
            grows = there < come_and_go && (there == 0 || random.below(2) == 0);
        }
    }
    assert_eq!(seen.len() as u64, stay);
    // A cursor is rounded down by so little that hardly ever an entry comes twice.
    assert!(times <= stay + 1);
}

proptest! {
    #![proptest_config(config(48))]
    #[test]
    fn a_scan_sees_all_that_stays(seed: u64, stay in 0_u64..1500, come_and_go in 1_u64..6000, step in 0_u64..2000, count in 1_usize..60) {
        scan_under_change(seed, scaled(stay), scaled(come_and_go).max(1), scaled(step), count);
    }
}

#[test]
fn a_foreign_cursor_does_no_harm() {
    let mut keyspace = Keyspace::new(1, 8);
    for number in 0..1000 {
        let name = name(number);
        let key = key(&keyspace, &name);
        keyspace.db_mut(DB).set_int(key, 1, SetExpire::Clear);
    }
    for cursor in [1, 17, (1 << 48) - 1, 1 << 48, u64::MAX] {
        let next = keyspace.db(DB).scan(cursor, 10, &mut |_| {});
        assert!(next == 0 || next > cursor);
    }
    assert_eq!(keyspace.db(DB).scan(0, usize::MAX, &mut |_| {}), 0);
}
