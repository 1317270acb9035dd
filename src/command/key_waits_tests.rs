//! Who waits for keys is served in order, once, after the unit that fed it.

use super::testing::Bench;
use super::{Client, ClientFlags, Slot};

fn client(b: &mut Bench) -> Slot {
    let addr = b.node.clients.at(b.slot).addr.clone();
    let mut client = Client::new(b.node.clients.next_id(), addr.clone(), addr, -1, b.node.steady_ms);
    client.flags |= ClientFlags::AUTHENTICATED;
    b.node.clients.insert(client)
}

/// A client that waits after this command.
fn waiting(b: &mut Bench, line: &str) -> Slot {
    let slot = client(b);
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    assert!(b.node.run(slot, &words).is_empty(), "{line}");
    assert!(b.node.clients.at(slot).is(ClientFlags::BLOCKED), "{line}");
    slot
}

fn got(b: &mut Bench, slot: Slot) -> String {
    let out = std::mem::take(&mut b.node.clients.at_mut(slot).out);
    String::from_utf8(out).unwrap().trim_end().replace("\r\n", " ")
}

#[test]
fn clients_are_served_in_the_order_in_which_they_came() {
    let mut b = Bench::new();
    let first = waiting(&mut b, "blpop k 0");
    let second = waiting(&mut b, "brpop j k 0");
    let third = waiting(&mut b, "blmpop 0 1 k left count 5");
    assert_eq!(b.node.blocked.keys_waited_for(), (2, 0));
    assert_eq!(b.streamed("rpush k 1 2"), ["rpush k 1 2", "LPOP k", "RPOP k"]);
    assert_eq!((got(&mut b, first), got(&mut b, second)), ("*2 $1 k $1 1".to_owned(), "*2 $1 k $1 2".to_owned()));
    assert_eq!(got(&mut b, third), "");
    assert_eq!(b.node.blocked.take_resumed(), [first, second]);
    assert_eq!(b.streamed("rpush k 1 2"), ["rpush k 1 2", "LPOP k 2"]);
    assert_eq!(got(&mut b, third), "*2 $1 k *2 $1 1 $1 2");
    assert_eq!(b.node.blocked.keys_waited_for(), (0, 0));
    assert_eq!(b.say("exists k"), ":0");
}

#[test]
fn keys_are_served_when_the_transaction_has_ended() {
    let mut b = Bench::new();
    let first = waiting(&mut b, "blpop x y 0");
    for line in ["multi", "rpush y 1", "del y", "rpush y 2", "rpush x 3", "exec"] {
        b.say(line);
    }
    // Ready because of y, it looks at its keys in its own order.
    assert_eq!(got(&mut b, first), "*2 $1 x $1 3");
    assert_eq!(b.stream(), ["MULTI", "rpush y 1", "del y", "rpush y 2", "rpush x 3", "EXEC", "LPOP x"]);
    assert_eq!(b.say("lrange y 0 -1"), "*1 $1 2");
}

#[test]
fn who_is_served_feeds_others() {
    let mut b = Bench::new();
    let first = waiting(&mut b, "blmove p q left right 0");
    let second = waiting(&mut b, "brpoplpush q r 0");
    let third = waiting(&mut b, "blpop r 0");
    assert_eq!(b.streamed("rpush p e"), ["rpush p e", "LMOVE p q left right", "RPOPLPUSH q r", "LPOP r"]);
    for slot in [first, second] {
        assert_eq!(got(&mut b, slot), "$1 e");
    }
    assert_eq!(got(&mut b, third), "*2 $1 r $1 e");
    assert_eq!(b.say("exists p q r"), ":0");
}

#[test]
fn other_types_leave_a_client_waiting_and_wrong_targets_end_it() {
    let mut b = Bench::new();
    let first = waiting(&mut b, "blpop k 0");
    b.say("set k x");
    b.say("del k");
    b.say("sadd k x");
    assert_eq!(got(&mut b, first), "");
    b.say("rpush l 1");
    b.say("rename l k");
    assert_eq!(got(&mut b, first), "*2 $1 k $1 1");
    let second = waiting(&mut b, "blmove p s left left 0");
    b.say("set s x");
    b.say("rpush p 1");
    assert_eq!(got(&mut b, second), "-WRONGTYPE Operation against a key holding the wrong kind of value");
    assert_eq!(b.say("llen p"), ":1");
}

#[test]
fn copies_moves_and_swapped_databases_bring_keys() {
    let mut b = Bench::new();
    for feed in [
        &["rpush o 1", "copy o k"][..],
        &["select 1", "rpush k 1", "move k 0"],
        &["select 1", "rpush k 1", "swapdb 0 1"],
        &["rpush o 2", "sort o store k"],
    ] {
        b.say("flushall");
        b.say("select 0");
        let slot = waiting(&mut b, "blpop k 0");
        for line in feed {
            assert_eq!(got(&mut b, slot), "", "{feed:?} too early");
            b.say(line);
        }
        assert!(got(&mut b, slot).starts_with("*2 $1 k "), "{feed:?}");
    }
}

#[test]
fn time_runs_out_and_a_client_can_be_broken_off() {
    let mut b = Bench::new();
    let first = waiting(&mut b, "blpop k 0.1");
    let second = waiting(&mut b, "brpoplpush k l 0.0501");
    b.pass_ms(51);
    b.node.end_waits();
    assert_eq!((got(&mut b, first), got(&mut b, second)), (String::new(), "*-1".to_owned()));
    b.pass_ms(49);
    b.node.end_waits();
    assert_eq!(got(&mut b, first), "*-1");
    let third = waiting(&mut b, "blpop k 0");
    let id = b.node.clients.at(third).id;
    assert_eq!(b.say(&format!("client unblock {id} error")), ":1");
    assert_eq!(got(&mut b, third), "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
    let fourth = waiting(&mut b, "blpop k 0");
    b.node.blocked.forget(fourth);
    b.say("rpush k 1");
    assert_eq!(got(&mut b, fourth), "");
    assert_eq!(b.say("llen k"), ":1");
    assert_eq!((b.node.blocked.keys_waited_for(), b.node.blocked.next_deadline_ms()), ((0, 0), None));
    for (timeout, error) in
        [("x", "is not a float or out of range"), ("-1", "is negative"), ("inf", "is out of range"), ("nan", "is not a float or out of range")]
    {
        assert_eq!(b.say(&format!("blpop none {timeout}")), format!("-ERR timeout {error}"));
    }
}

#[test]
fn nobody_waits_inside_a_transaction_or_a_script() {
    let mut b = Bench::new();
    for line in ["multi", "blpop k 0", "brpoplpush k l 0", "blmpop 0 1 k left"] {
        b.say(line);
    }
    assert_eq!(b.say("exec"), "*3 *-1 $-1 *-1");
    assert_eq!(b.node.run(b.slot, &[b"EVAL", b"return redis.call('blpop','k','0')", b"0"]), b"$-1\r\n");
    assert_eq!(b.node.blocked.waiting(), 0);
}

#[test]
fn a_command_counts_once_when_it_is_over() {
    let mut b = Bench::new();
    let first = waiting(&mut b, "blpop k 0");
    let calls = |b: &mut Bench| b.node.commands.named_stats().find(|(name, _)| name == "blpop").map(|(_, stats)| stats.calls);
    assert_eq!(calls(&mut b), Some(0));
    b.say("rpush k 1");
    assert_eq!(calls(&mut b), Some(1));
    assert_eq!(got(&mut b, first), "*2 $1 k $1 1");
}
