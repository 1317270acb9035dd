//! A full sync whose link breaks goes on where it broke: the slave keeps the chunks that it has verified, for a while, and asks for the rest.

use replikant::rdb::crc64;
use replikant::replication::CHUNK_BYTES;

use crate::support::data::fill;
use crate::support::sync::{digest_when_loaded, link_is_up};
use crate::support::tap::{StreamTap, TapOptions};
use crate::support::{Daemon, HandLink, HandMaster, SOON, Value, digest, info, replicate, wait_for};

const REPLID: &str = "00112233445566778899aabbccddeeff00112233";
const SYNC_ID: &str = "ffeeddccbbaa99887766554433221100ffeeddcc";
const OTHER_ID: &str = "abababababababababababababababababababab";
/// Where in the history the snapshot is taken.
const OFFSET: u64 = 1000;

/// A snapshot of several chunks with what its digest is.
fn snapshot() -> (Vec<u8>, String) {
    let source = Daemon::replikant(&["--rdbcompression", "no"]);
    fill(&mut source.client(), "new", 16_000);
    let rdb = StreamTap::with(source.port, TapOptions::default()).snapshot;
    assert!(rdb.len() as u64 > 10 * CHUNK_BYTES, "{} bytes", rdb.len());
    (rdb, digest(&mut source.client()))
}

fn chunk(rdb: &[u8], number: usize) -> Vec<u8> {
    let mut chunks = rdb.chunks(CHUNK_BYTES as usize);
    let permille = (number + 1) * 1000 / chunks.len();
    let bytes = chunks.nth(number).expect("a chunk of this number");
    [format!("@{number} {} {:016x} {permille}\r\n", bytes.len(), crc64(bytes)).as_bytes(), bytes].concat()
}

fn chunks(rdb: &[u8], numbers: std::ops::Range<usize>) -> Vec<u8> {
    numbers.map(|number| chunk(rdb, number)).collect::<Vec<_>>().concat()
}

fn chunk_count(rdb: &[u8]) -> usize {
    rdb.len().div_ceil(CHUNK_BYTES as usize)
}

fn begin(link: &mut HandLink, id: &str) {
    link.say(format!("+FULLRESYNC {REPLID} {OFFSET}\r\n\n$CHUNKS:{id}\r\n").as_bytes());
}

/// The end of the snapshot, and a first command of the stream.
fn end(rdb: &[u8]) -> Vec<u8> {
    format!("@end {} {}\r\n*3\r\n$3\r\nSET\r\n$5\r\nafter\r\n$1\r\n1\r\n", chunk_count(rdb), rdb.len()).into_bytes()
}

fn wait_until_read(slave: &Daemon, bytes: u64) {
    let mut client = slave.client();
    let read = |client: &mut _| info(client, "master_sync_read_bytes").and_then(|read| read.parse().ok()) >= Some(bytes);
    wait_for(SOON, &format!("the slave to have read {bytes} bytes"), || read(&mut client).then_some(()));
}

/// What the slave asks for after a break: the number of the chunk that it lacks.
fn asked_chunk(link: &HandLink) -> Option<(String, usize)> {
    let words = link.option("resume-sync")?;
    Some((words[0].clone(), words[1].parse().expect("a number")))
}

fn finish(slave: &Daemon, link: &mut HandLink, rdb: &[u8], expected: &str) {
    let mut client = slave.client();
    wait_for(SOON, "the link to come up", || link_is_up(&mut client).then_some(()));
    wait_for(SOON, "the stream to be applied", || (client.run("GET after") == Value::bulk("1")).then_some(()));
    client.ok("CONFIG SET replica-read-only no");
    client.run("DEL after");
    assert_eq!(digest(&mut client), expected);
    // Its first word on the new link is how far it is.
    assert_eq!(link.read_request().unwrap()[..2], ["REPLCONF", "ACK"]);
    assert_eq!(info(&mut client, "slave_repl_offset").unwrap(), (OFFSET + end(rdb).len() as u64 - end_line(rdb)).to_string());
}

fn end_line(rdb: &[u8]) -> u64 {
    end(rdb).iter().position(|byte| *byte == b'\n').unwrap() as u64 + 1
}

#[test]
fn a_sync_cut_anywhere_goes_on_with_the_chunk_that_was_in_flight() {
    let (rdb, expected) = snapshot();
    let count = chunk_count(&rdb);
    for percent in [10, 50, 90] {
        let master = HandMaster::listen();
        let slave = Daemon::replikant(&[]);
        slave.client().ok("SET old 1");
        let old = digest(&mut slave.client());
        replicate(&slave, master.port);
        let mut link = master.accept();
        assert!(link.told.iter().any(|words| words.windows(2).any(|pair| pair == ["capa", "chunks"])), "{:?}", link.told);
        assert_eq!(asked_chunk(&link), None);
        begin(&mut link, SYNC_ID);
        let cut = rdb.len() * percent / 100;
        let (whole, part) = (cut / CHUNK_BYTES as usize, cut % CHUNK_BYTES as usize);
        link.say(&chunks(&rdb, 0..whole));
        link.say(&chunk(&rdb, whole)[..part]);
        wait_until_read(&slave, whole as u64 * CHUNK_BYTES);
        drop(link);
        // A second cut, right behind the place where the first one was.
        let mut link = master.accept();
        assert_eq!(asked_chunk(&link), Some((SYNC_ID.into(), whole)));
        assert_eq!(digest_when_loaded(&slave), old);
        begin(&mut link, SYNC_ID);
        link.say(&chunk(&rdb, whole));
        wait_until_read(&slave, (whole as u64 + 1) * CHUNK_BYTES);
        drop(link);
        let mut link = master.accept();
        assert_eq!(asked_chunk(&link), Some((SYNC_ID.into(), whole + 1)));
        begin(&mut link, SYNC_ID);
        link.say(&chunks(&rdb, whole + 1..count));
        link.say(&end(&rdb));
        finish(&slave, &mut link, &rdb, &expected);
        let history = slave.client().run("REPLICATION HISTORY");
        assert!(format!("{history:?}").contains("resumed"), "{history:?}");
    }
}

#[test]
fn a_bad_chunk_costs_itself() {
    let (rdb, expected) = snapshot();
    let count = chunk_count(&rdb);
    let master = HandMaster::listen();
    let slave = Daemon::replikant(&[]);
    replicate(&slave, master.port);
    let mut link = master.accept();
    begin(&mut link, SYNC_ID);
    link.say(&chunks(&rdb, 0..2));
    let mut damaged = chunk(&rdb, 2);
    damaged[5000] ^= 1;
    link.say(&damaged);
    assert_eq!(link.read_request(), None, "the slave closes the link");
    wait_for(SOON, "the reason in the log", || slave.log().contains("chunk 2 of the snapshot says checksum").then_some(()));
    let mut link = master.accept();
    assert_eq!(asked_chunk(&link), Some((SYNC_ID.into(), 2)));
    // The master does not have it any more.
    begin(&mut link, OTHER_ID);
    link.say(&chunks(&rdb, 0..1));
    wait_until_read(&slave, CHUNK_BYTES);
    drop(link);
    let mut link = master.accept();
    assert_eq!(asked_chunk(&link), Some((OTHER_ID.into(), 1)));
    // The same snapshot can't be of two places.
    link.say(format!("+FULLRESYNC {REPLID} {}\r\n$CHUNKS:{OTHER_ID}\r\n", OFFSET - 1).as_bytes());
    assert_eq!(link.read_request(), None, "the slave closes the link");
    let mut link = master.accept();
    assert_eq!(asked_chunk(&link), None);
    begin(&mut link, SYNC_ID);
    link.say(&chunks(&rdb, 0..count));
    link.say(&end(&rdb));
    finish(&slave, &mut link, &rdb, &expected);
}

#[test]
fn what_has_come_is_kept_for_a_while_only() {
    let (rdb, _) = snapshot();
    for (seconds, keeps) in [("0", false), ("1", false), ("60", true)] {
        let master = HandMaster::listen();
        let slave = Daemon::replikant(&["--repl-sync-keep-seconds", seconds]);
        replicate(&slave, master.port);
        let mut link = master.accept();
        begin(&mut link, SYNC_ID);
        link.say(&chunks(&rdb, 0..1));
        wait_until_read(&slave, CHUNK_BYTES);
        drop(link);
        if seconds == "1" {
            let gone = "What has come of the master's snapshot is not kept any longer";
            // Links that bring nothing don't lengthen the time.
            wait_for(SOON, "the time to be over", || {
                drop(master.accept());
                slave.log().contains(gone).then_some(())
            });
        }
        let asked = asked_chunk(&master.accept());
        assert_eq!(asked.is_some(), keeps, "{seconds} s: {asked:?}");
    }
    // Another master by command: nothing is asked for.
    let (master, other) = (HandMaster::listen(), HandMaster::listen());
    let slave = Daemon::replikant(&[]);
    replicate(&slave, master.port);
    let mut link = master.accept();
    begin(&mut link, SYNC_ID);
    link.say(&chunks(&rdb, 0..1));
    wait_until_read(&slave, CHUNK_BYTES);
    replicate(&slave, other.port);
    assert_eq!(asked_chunk(&other.accept()), None);
}

/// A master that has what was written since continues the stream; what came of its snapshot is of no use then.
#[test]
fn a_continued_stream_wins() {
    let (rdb, _) = snapshot();
    let master = HandMaster::listen();
    let slave = Daemon::replikant(&[]);
    replicate(&slave, master.port);
    let mut link = master.accept();
    begin(&mut link, OTHER_ID);
    link.say(&chunks(&rdb, 0..chunk_count(&rdb)));
    link.say(&end(&rdb));
    let mut client = slave.client();
    wait_for(SOON, "the stream to be applied", || (client.run("GET after") == Value::bulk("1")).then_some(()));
    drop(link);
    let mut link = master.accept();
    // Later in the history: one that went back would be refused.
    link.say(format!("+FULLRESYNC {REPLID} {}\r\n$CHUNKS:{SYNC_ID}\r\n", OFFSET + 5000).as_bytes());
    link.say(&chunks(&rdb, 0..3));
    wait_until_read(&slave, 3 * CHUNK_BYTES);
    drop(link);
    let mut link = master.accept();
    assert_eq!(asked_chunk(&link), Some((SYNC_ID.into(), 3)));
    assert_eq!(link.asked[1], REPLID);
    link.say(b"+CONTINUE\r\n*3\r\n$3\r\nSET\r\n$5\r\nafter\r\n$1\r\n2\r\n");
    wait_for(SOON, "the stream to be applied", || (client.run("GET after") == Value::bulk("2")).then_some(()));
    drop(link);
    assert_eq!(asked_chunk(&master.accept()), None);
}
