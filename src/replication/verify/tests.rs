//! Digests of keyspaces that were written in different ways, and what a comparison makes of them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::keyspace::{DbIndex, Key, Keyspace, SetExpire, UnixMs};
use crate::replication::ReplOffset;
use crate::types::limits::Limits;
use crate::types::listpack::Elem;

fn keyspace(is_small: bool, seed: u64) -> Keyspace {
    let mut keyspace = Keyspace::new(4, seed);
    let few = if is_small { 2 } else { 1000 };
    keyspace.set_limits(Limits { hash_entries: few, intset_entries: few, set_entries: few, zset_entries: few, list_size: -5, ..Limits::default() });
    keyspace
}

/// One write: by its numbers a kind, a key and what is written.
type Write = (u8, u8, u8, u8);

fn apply(keyspace: &mut Keyspace, (what, key, a, b): Write) {
    let name = format!("{}:{}", what % 8, key % 4);
    let key = Key { bytes: name.as_bytes(), hash: keyspace.hash(name.as_bytes()) };
    let (member, value) = (format!("{}", a % 12), format!("value {b}"));
    let at = UnixMs(1_000_000 + i64::from(b));
    let db = keyspace.db_mut(DbIndex(u32::from(b % 2)));
    match what % 8 {
        0 => drop(db.set_string(key, value.as_bytes(), if a % 2 == 0 { SetExpire::At(at) } else { SetExpire::Clear })),
        1 => drop(db.set_string(key, a.to_string().as_bytes(), SetExpire::Keep)),
        2 | 3 => drop(
            db.edit_set(key, true, |set| if b % 4 == 0 { set.remove(Elem::of(member.as_bytes())) } else { set.add(Elem::of(member.as_bytes())) }),
        ),
        4 | 5 => drop(db.edit_hash(key, true, |hash| hash.set(member.as_bytes(), Elem::of(value.as_bytes()), SetExpire::At(at)))),
        _ => drop(db.edit_zset(key, true, |zset| zset.set(member.as_bytes(), if b == 0 { -0.0 } else { f64::from(b) / 3.0 }))),
    }
}

fn findings(keyspace: &mut Keyspace, scope: Scope) -> Findings {
    let id = keyspace.begin_snapshot();
    let mut digester = Digester::new(scope);
    loop {
        let step = keyspace.snapshot_step(id, 300, &mut || false);
        step.chunks.iter().for_each(|chunk| digester.push(chunk));
        if step.done {
            return digester.finish().unwrap();
        }
    }
}

fn expected(client: u64) -> Expected {
    Expected { client, address: format!("slave:{client}"), unable: None }
}

/// What a master that has `own` makes of a slave that has `its`.
fn compared(own: Findings, its: Findings) -> Outcome {
    let mut comparison = Comparison::new(1, ReplOffset(7), 4, vec![expected(5)], None);
    let mut report = |command: Vec<u8>| comparison.reported(5, &body(&command));
    report(Report::new(1, Message::Begun { offset: ReplOffset(7), behind: Vec::new() }).command());
    commands_of(1, its).into_iter().for_each(&mut report);
    assert!(!comparison.is_complete());
    comparison.own(own);
    assert!(comparison.is_complete());
    comparison.finish("")
}

/// The argument of a REPLCONF: behind two bulk strings and a length.
fn body(command: &[u8]) -> Vec<u8> {
    let at = command.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(5).unwrap().0 + 1;
    command[at..command.len() - 2].to_vec()
}

proptest! {
    #[test]
    fn the_same_data_have_the_same_digests_in_any_form(writes in prop::collection::vec(any::<Write>(), 0..120)) {
        let (mut big, mut small) = (keyspace(true, 1), keyspace(false, 2));
        writes.iter().for_each(|write| apply(&mut big, *write));
        writes.iter().for_each(|write| apply(&mut small, *write));
        for scope in [Scope::default(), Scope { db: Some(DbIndex(1)), ..Scope::default() }] {
            prop_assert_eq!(findings(&mut big, scope.clone()), findings(&mut small, scope));
        }
    }

    #[test]
    fn one_more_write_is_seen_in_its_slot_alone(writes in prop::collection::vec(any::<Write>(), 1..60), more in any::<Write>()) {
        let (mut master, mut slave) = (keyspace(true, 1), keyspace(false, 2));
        writes.iter().for_each(|write| apply(&mut master, *write));
        writes.iter().for_each(|write| apply(&mut slave, *write));
        let before = crate::keyspace::digest::dataset(&slave);
        apply(&mut slave, more);
        let is_changed = crate::keyspace::digest::dataset(&slave) != before;
        let name = format!("{}:{}", more.0 % 8, more.1 % 4);
        let id = SlotId { space: u32::from(more.3 % 2), slot: key_slot(name.as_bytes()) };
        let outcome = compared(findings(&mut master, Scope::default()), findings(&mut slave, Scope::default()));
        let slots: Vec<SlotId> = outcome.slots.keys().copied().collect();
        // Redis's digest does not look at times, so that more may differ than it sees.
        prop_assert!(slots == [id] || slots.is_empty() && !is_changed, "{:?}", slots);
        let scope = Scope { slots: Some(BTreeSet::from([id])), ..Scope::default() };
        let outcome = compared(findings(&mut master, scope.clone()), findings(&mut slave, scope));
        let wrong: Vec<_> = outcome.wrong.keys().cloned().collect();
        prop_assert!(wrong == [(id.space, name.into_bytes())] || slots.is_empty() && wrong.is_empty(), "{:?}", wrong);
    }
}

#[test]
fn elements_are_compared_like_keys() {
    let (mut master, mut slave) = (keyspace(true, 1), keyspace(false, 2));
    for n in 0..200 {
        apply(&mut master, (4, 0, n, 2 * (n % 64)));
        apply(&mut slave, (4, 0, n, 2 * (n % 64)));
    }
    let key = Key { bytes: b"4:0", hash: slave.hash(b"4:0") };
    slave.db_mut(DbIndex(0)).edit_hash(key, false, |hash| hash.set(b"7", Elem::of(b"wrong"), SetExpire::Clear));
    slave.db_mut(DbIndex(0)).edit_hash(key, false, |hash| hash.set(b"more", Elem::of(b"x"), SetExpire::Clear));
    let scope = Scope { collections: vec![(DbIndex(3), b"other".to_vec()), (DbIndex(0), b"4:0".to_vec())], ..Scope::default() };
    let outcome = compared(findings(&mut master, scope.clone()), findings(&mut slave, scope.clone()));
    let slots: BTreeSet<SlotId> = [&b"7"[..], b"more"].map(|name| SlotId { space: 1, slot: key_slot(name) }).into();
    assert_eq!(outcome.slots.keys().copied().collect::<BTreeSet<_>>(), slots);
    let scope = Scope { slots: Some(slots), ..scope };
    let outcome = compared(findings(&mut master, scope.clone()), findings(&mut slave, scope));
    assert_eq!(outcome.wrong.into_keys().collect::<Vec<_>>(), [(1, b"7".to_vec()), (1, b"more".to_vec())]);
}

#[test]
fn who_does_not_answer_rightly_is_named_with_the_reason() {
    let own = Findings { items: 0, found: Found::Sums(Default::default()) };
    let unable = Expected { unable: Some(UNABLE), ..expected(6) };
    let mut comparison = Comparison::new(9, ReplOffset(7), 4, vec![expected(1), expected(2), expected(3), expected(4), expected(5), unable], None);
    comparison.own(own.clone());
    let begun = |offset| Message::Begun { offset: ReplOffset(offset), behind: vec![Behind { address: "end:1".to_owned(), reports: true }] };
    comparison.reported(1, &body(&Report::new(9, begun(8)).command()));
    comparison.reported(2, &body(&Report::new(9, Message::Ended { items: 0 }).command()));
    comparison.reported(3, b"junk");
    comparison.lost(4);
    comparison.reported(5, &body(&Report::new(9, begun(7)).command()));
    // Of another round, of nobody that was asked.
    comparison.reported(5, &body(&Report::new(8, Message::Failed("old".to_owned())).command()));
    comparison.reported(77, &body(&Report::new(9, begun(7)).command()));
    comparison.reported(5, &body(&Report::new(9, Message::Ended { items: 0 }).command()));
    assert!(!comparison.is_complete(), "the one behind it is awaited");
    let outcome = comparison.finish("too late");
    let verdicts: Vec<String> = outcome
        .replicas
        .iter()
        .map(|one| match &one.verdict {
            Verdict::Equal => "equal".to_owned(),
            Verdict::Failed(why) => why.clone(),
            Verdict::Unable(why) => (*why).to_owned(),
            Verdict::Differs { slots, .. } => slots.to_string(),
        })
        .collect();
    let wanted = [
        "it made its cut at offset 8 and not at 7",
        "it has not told where its cut is",
        "its report can't be read: another version?",
        "the link was lost before it had answered",
        "equal",
        UNABLE,
        "too late",
    ];
    assert_eq!(verdicts, wanted);
    assert_eq!(outcome.replicas[6].via.as_deref(), Some("slave:5"));
}

/// Whatever a slave claims, what is kept of it is bounded.
#[test]
fn claims_beyond_databases_and_slots_are_not_kept() {
    let digest = SlotDigest { sum: 1, items: 1 };
    let claim = |space, slot| (SlotId { space, slot }, digest);
    let its = Message::Sums(vec![claim(4, 0), claim(u32::MAX, 1), claim(0, 16384), claim(3, 16383)]);
    let mut comparison = Comparison::new(1, ReplOffset(7), 4, vec![expected(5)], None);
    for message in [Message::Begun { offset: ReplOffset(7), behind: Vec::new() }, its, Message::Ended { items: 4 }] {
        comparison.reported(5, &body(&Report::new(1, message).command()));
    }
    comparison.own(Findings { items: 0, found: Found::Sums(Default::default()) });
    let outcome = comparison.finish("");
    assert_eq!(outcome.slots.into_keys().collect::<Vec<_>>(), [SlotId { space: 3, slot: 16383 }]);
}
