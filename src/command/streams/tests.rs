//! What stream commands answer, and what they become in the replication stream.

use super::super::testing::Bench;

/// A stream of entries 0-1 to 0-`n`.
fn filled(n: u64) -> Bench {
    let mut b = Bench::new();
    for seq in 1..=n {
        b.say(&format!("xadd k 0-{seq} f {seq}"));
    }
    b
}

#[test]
fn ids_are_chosen_once() {
    let mut b = Bench::new();
    b.node.now_ms = 1000;
    assert_eq!(b.streamed("xadd k * f v"), ["XADD k 1000-0 f v"]);
    assert_eq!(b.say("xadd k * f v"), "$6 1000-1");
    b.node.now_ms = 900;
    assert_eq!(b.say("xadd k * f v"), "$6 1000-2");
    assert_eq!(b.streamed("xadd k 1000-* f v g w"), ["XADD k 1000-3 f v g w"]);
    assert_eq!(b.streamed("xadd k 1001 f v"), ["xadd k 1001 f v"]);
    assert_eq!(b.say("xadd k 1000-* f v"), "-ERR The ID specified in XADD is equal or smaller than the target stream top item");
    assert_eq!(b.streamed("xadd none nomkstream * f v"), [""; 0]);
    assert_eq!(b.streamed("xadd k nomkstream 1002-0 f v"), ["XADD k 1002-0 f v"]);
    b.say("xadd k 18446744073709551615-18446744073709551615 f v");
    assert_eq!(b.say("xadd k * f v"), "-ERR The stream has exhausted the last possible ID, unable to add more items");
    assert_eq!(b.say("object encoding k"), "$6 stream");
    assert_eq!(b.say("type k"), "+stream");
}

#[test]
fn trims_are_told_by_what_they_leave() {
    let mut b = filled(10);
    assert_eq!(b.streamed("xtrim k maxlen 8"), ["xtrim k maxlen 8"]);
    assert_eq!(b.streamed("xtrim k maxlen 8"), [""; 0]);
    assert_eq!(b.streamed("xadd k maxlen ~ 2 0-11 f 11"), ["XADD k 0-11 f 11"]);
    assert_eq!(b.streamed("xadd k maxlen 4 0-* f 12"), ["XADD k MAXLEN = 4 0-12 f 12"]);
    assert_eq!(b.streamed("xadd k minid = 0-11 0-13 f 13"), ["XADD k MAXLEN = 3 0-13 f 13"]);
    // A block of one entry each goes whole.
    b.node.config.limits.stream_node_entries = 1;
    b.node.keyspace.set_limits(b.node.config.limits);
    b.say("del k");
    (1..=6).for_each(|seq| assert!(b.say(&format!("xadd k {seq} f v")).starts_with('$')));
    assert_eq!(b.streamed("xtrim k minid ~ 3"), ["XTRIM k MAXLEN = 4"]);
    assert_eq!(b.streamed("xtrim k maxlen ~ 0 limit 1"), ["XTRIM k MAXLEN = 3"]);
    assert_eq!(b.streamed("xtrim k maxlen ~ 0"), ["XTRIM k MAXLEN = 0"]);
    assert_eq!(b.say("exists k"), ":1");
    assert_eq!(b.say("xlen k"), ":0");
}

#[test]
fn what_groups_have_a_say_in_is_told_entry_by_entry() {
    let mut b = filled(6);
    b.say("xgroup create k g 0");
    b.say("xreadgroup group g c count 5 streams k >");
    b.say("xack k g 0-1 0-3");
    assert_eq!(b.streamed("xtrim k maxlen 2 acked"), ["XDEL k 0-1 0-3"]);
    assert_eq!(b.say("xlen k"), ":4");
    assert_eq!(b.streamed("xdelex k acked ids 2 0-2 0-6"), [""; 0]);
    assert_eq!(b.say("xdelex k acked ids 2 0-2 0-6"), "*2 :2 :2");
    assert_eq!(b.streamed("xdelex k delref ids 2 0-2 0-9"), ["MULTI", "XDEL k 0-2", "XACK k g 0-2", "EXEC"]);
    assert_eq!(b.streamed("xadd k delref maxlen 2 0-7 f 7"), ["MULTI", "XADD k MAXLEN = 2 0-7 f 7", "XACK k g 0-4 0-5", "EXEC"]);
    b.say("xreadgroup group g c streams k >");
    assert_eq!(b.streamed("xackdel k g ids 2 0-6 0-9"), ["MULTI", "XACK k g 0-6", "XDEL k 0-6", "EXEC"]);
    assert_eq!(b.say("xackdel k g ids 2 0-7 0-9"), "*2 :1 :-1");
    assert_eq!(b.say("xpending k g"), "*4 :0 $-1 $-1 *-1");
}

#[test]
fn deliveries_are_claims_that_6_2_knows() {
    let mut b = filled(4);
    b.node.now_ms = 5000;
    assert_eq!(b.streamed("xgroup create k g 0 entriesread 0"), ["MULTI", "XGROUP create k g 0", "XGROUP SETID k g 0 ENTRIESREAD 0", "EXEC"]);
    let claim = "XCLAIM k g alice 0 0-1 0-2 TIME 5000 RETRYCOUNT 1 FORCE JUSTID LASTID 0-2";
    assert_eq!(b.streamed("xreadgroup group g alice count 2 streams k >"), [claim]);
    assert_eq!(b.streamed("xreadgroup group g bob streams k 0"), ["XGROUP CREATECONSUMER k g bob"]);
    assert_eq!(b.streamed("xreadgroup group g bob count 1 noack streams k >"), ["XGROUP SETID k g 0-3"]);
    assert_eq!(b.streamed("xreadgroup group g alice streams k 0"), [""; 0]);
    assert_eq!(b.say("xpending k g - + 9"), "*2 *4 $3 0-1 $5 alice :0 :2 *4 $3 0-2 $5 alice :0 :2");
    b.node.now_ms = 6000;
    let claim = "XCLAIM k g bob 0 0-1 0-2 TIME 6000 RETRYCOUNT 3 FORCE JUSTID LASTID 0-3";
    assert_eq!(b.streamed("xautoclaim k g bob 500 0"), [claim]);
    b.say("xdel k 0-2");
    let effects = ["MULTI", "XCLAIM k g alice 0 0-1 TIME 1000 RETRYCOUNT 3 FORCE JUSTID LASTID 0-3", "XACK k g 0-2", "EXEC"];
    assert_eq!(b.streamed("xclaim k g alice 0 0-1 0-2 0-4 justid time 1000"), effects);
    assert_eq!(b.streamed("xclaim k g alice 0 9-9 lastid 0-4"), ["XCLAIM k g alice 0 0-0 JUSTID LASTID 0-4"]);
    assert_eq!(b.streamed("xclaim k g carol 0 9-9"), ["XGROUP CREATECONSUMER k g carol"]);
    assert_eq!(b.streamed("xgroup setid k g $"), ["xgroup setid k g $"]);
}

#[test]
fn a_slave_counts_what_groups_have_read_as_its_master_does() {
    let mut b = filled(5);
    b.say("xgroup create k g 0");
    b.node.applying_stream = true;
    b.say("xclaim k g c 0 0-1 0-2 time 1 retrycount 1 force justid lastid 0-2");
    let groups = b.say("xinfo groups k");
    assert!(groups.ends_with("$12 entries-read :2 $3 lag :3"), "{groups}");
    b.say("xclaim k g c 0 0-1 time 1 retrycount 2 force justid lastid 0-2");
    assert_eq!(b.say("xinfo groups k"), groups);
}
