//! The same random commands to ours and to a real Redis 8.2.3: strings, bitmaps, HyperLogLogs, keys, expiry, transactions. Every reply must be the same, and what an
//! attached slave gets must mean the same.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::tap::StreamTap;
use crate::support::{Client, Daemon, Peer, Value, digest};

const SEEDS: std::ops::Range<u64> = 1..5;
const COMMANDS: usize = 1500;

type Words = Vec<Vec<u8>>;

const KEYS: [&[u8]; 8] = [b"a", b"b", b"c", b"a", b"b", b"d", b"", b"\x00\xff\r\nk"];
const VALUES: [&[u8]; 18] = [
    b"",
    b"0",
    b"1",
    b"-1",
    b"10",
    b"3.5",
    b"hello world",
    b"01",
    b" 1",
    b"1e3",
    b"inf",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"-0",
    b"\r\n\x00\xff",
    b"\xc3\xa4",
    b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
];
const NUMBERS: [&str; 14] =
    ["0", "1", "-1", "5", "-5", "100", "-100", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "4294967296", "x", "1.5", "01"];
/// Spans that are refused, or mean at once.
const ODD_SPANS: [&str; 6] = ["0", "-1", "9223372036854775807", "9223372036854775", "-9223372036854775808", "x"];
const FLOATS: [&str; 12] = ["0.1", "1.5", "-3", "1e10", "1e-5", "inf", "nan", "x", "1e400", "0x1p3", " 1", "123456789.123456789"];

const OFFSETS: [&str; 14] = ["0", "1", "7", "8", "9", "63", "64", "100", "300", "#0", "#1", "#5", "-1", "x"];
const BITS: [&str; 5] = ["0", "1", "0", "1", "2"];
const FIELDS: [&str; 9] = ["u1", "u8", "i8", "i5", "u63", "i64", "u64", "i16", "x"];
const OPS: [&str; 9] = ["AND", "or", "XOR", "NOT", "DIFF", "diff1", "ANDOR", "ONE", "nand"];

const HLLS: [&str; 6] = ["h1", "h2", "h3", "h1", "h2", "a"];

/// xorshift: the same seed gives the same commands.
struct Source {
    state: u64,
    spans: u64,
    now_s: u64,
}

impl Source {
    fn new(seed: u64) -> Self {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
        Source { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, spans: 0, now_s }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % bound
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// Seconds, no two alike within the leeway of a test run, so that GT and LT have one answer whatever the clock says.
    fn span(&mut self) -> u64 {
        self.spans += 1;
        5000 + self.spans * 7919 % 100_003 * 100
    }

    fn moment(&mut self, unit: &str) -> String {
        if self.one_in(5) {
            return self.pick(&ODD_SPANS).to_owned();
        }
        let span = self.span();
        let number = match unit {
            "EX" => span,
            "PX" => span * 1000,
            "EXAT" => self.now_s + span,
            _ => (self.now_s + span) * 1000,
        };
        number.to_string()
    }

    fn expiry_option(&mut self) -> Words {
        let unit = self.pick(&["EX", "PX", "EXAT", "PXAT"]);
        let moment = self.moment(unit);
        [unit.as_bytes(), moment.as_bytes()].map(<[u8]>::to_vec).to_vec()
    }

    /// Fills in a template: `k` a key, `v` a value, `n` a number, `f` a float, `s`, `ms` a span, `S`, `M` a moment in seconds or ms; `o`, `b`,
    /// `t`, `op` what bitmaps take; `h` a HyperLogLog, `e` elements for it; `*` repeats
    /// the word before it up to twice; `?` may add one of SET's options, `!` one of GETEX's, `=` one of EXPIRE's; other words stand for themselves.
    fn fill(&mut self, template: &str) -> Words {
        let mut words: Words = Vec::new();
        let mut before = "";
        for word in template.split(' ') {
            match word {
                "*" => {
                    for _ in 0..self.below(3) {
                        let more = self.word(before);
                        words.extend(more);
                    }
                }
                word => words.extend(self.word(word)),
            }
            before = word;
        }
        if self.one_in(60) && words.len() > 1 {
            words.pop();
        } else if self.one_in(60) {
            words.push(b"more".to_vec());
        }
        words
    }

    fn word(&mut self, word: &str) -> Words {
        let text = match word {
            "k" => return vec![KEYS[self.below(KEYS.len())].to_vec()],
            "v" => return vec![VALUES[self.below(VALUES.len())].to_vec()],
            "?" | "!" if self.one_in(2) => return self.expiry_option(),
            "?" => self.pick(&["NX", "XX", "GET", "KEEPTTL", "nx", "get", "PERSIST", "bad"]).to_owned(),
            "!" => self.pick(&["PERSIST", "persist", "KEEPTTL", "bad"]).to_owned(),
            "=" => self.pick(&["NX", "XX", "GT", "LT", "gt", "bad"]).to_owned(),
            "n" => self.pick(&NUMBERS).to_owned(),
            "f" => self.pick(&FLOATS).to_owned(),
            "o" => self.pick(&OFFSETS).to_owned(),
            "b" => self.pick(&BITS).to_owned(),
            "t" => self.pick(&FIELDS).to_owned(),
            "h" => self.pick(&HLLS).to_owned(),
            "e" => return self.elements(),
            "op" => self.pick(&OPS).to_owned(),
            "s" => self.moment("EX"),
            "ms" => self.moment("PX"),
            // EXPIREAT deletes at once what SET would leave for a moment that the clock decides, so only here is the past an option.
            "S" | "M" if self.one_in(8) => "1".to_owned(),
            "S" => self.moment("EXAT"),
            "M" => self.moment("PXAT"),
            "db" => self.pick(&["0", "1", "2", "-1", "99", "x"]).to_owned(),
            word => word.to_owned(),
        };
        vec![text.into_bytes()]
    }

    /// Mostly few, so that a value goes through its sparse forms before it is dense.
    fn elements(&mut self) -> Words {
        let count = if self.one_in(4) { 60 } else { 3 };
        (0..count).map(|_| self.below(3000).to_string().into_bytes()).collect()
    }

    fn command(&mut self) -> Words {
        let template = TEMPLATES[self.below(TEMPLATES.len())];
        self.fill(template)
    }
}

const TEMPLATES: [&str; 100] = [
    "SET k v",
    "set k v",
    "SET k v ? *",
    "SET k v ? *",
    "SET k v ?",
    "GET k",
    "get k",
    "GETSET k v",
    "GETDEL k",
    "GETEX k",
    "GETEX k ! *",
    "GETEX k !",
    "MGET k k *",
    "MSET k v",
    "MSET k v k v",
    "MSETNX k v k v",
    "SETNX k v",
    "SETEX k s v",
    "PSETEX k ms v",
    "APPEND k v",
    "APPEND k v",
    "STRLEN k",
    "GETRANGE k n n",
    "SUBSTR k n n",
    "SETRANGE k 3 v",
    "SETRANGE k n v",
    "INCR k",
    "DECR k",
    "INCRBY k n",
    "DECRBY k n",
    "INCRBYFLOAT k f",
    "INCRBYFLOAT k f",
    "LCS k k",
    "LCS k k LEN",
    "LCS k k IDX MINMATCHLEN n",
    "LCS k k IDX WITHMATCHLEN",
    "SETBIT k o b",
    "SETBIT k o b",
    "GETBIT k o",
    "BITCOUNT k",
    "BITCOUNT k n n",
    "BITCOUNT k n n BIT",
    "BITPOS k b n",
    "BITPOS k b n n BYTE",
    "BITPOS k b n n bit",
    "BITOP op k k",
    "BITOP op k k k *",
    "BITFIELD k GET t o",
    "BITFIELD k SET t o n INCRBY t o n",
    "BITFIELD k OVERFLOW SAT SET t o n INCRBY t o n",
    // The first step makes a change that Redis sends on: what has failed and still made the string longer it does not.
    "BITFIELD k SET u8 400 1 OVERFLOW FAIL INCRBY t o n SET t o n",
    "BITFIELD_RO k GET t o GET t o",
    "PFADD h e",
    "PFADD h e",
    "PFADD h e",
    "PFADD h1",
    "PFCOUNT h",
    "PFCOUNT h h *",
    "PFMERGE h h *",
    "PFDEBUG ENCODING h",
    "PFDEBUG decode h",
    "PFDEBUG bad h",
    "GET h",
    "GET h",
    "OBJECT ENCODING h",
    "DEL h",
    "COPY h h",
    // Bytes that a client has changed: no header, a stale cache, a register, a run.
    "SETRANGE h 4 b",
    "SETBIT h 120 b",
    "SETBIT h 5000 b",
    "DEL k k *",
    "UNLINK k *",
    "EXISTS k k *",
    "TYPE k",
    "TOUCH k k *",
    "KEYS [a-c]",
    "KEYS *?",
    "SCAN 0 COUNT 100000 TYPE string",
    "SCAN 0 COUNT 100000 MATCH ?",
    "SCAN n COUNT 0",
    "DBSIZE",
    "RENAME k k",
    "RENAMENX k k",
    "COPY k k",
    "COPY k k REPLACE DB db",
    "MOVE k db",
    "SWAPDB db db",
    "OBJECT ENCODING k",
    "OBJECT FREQ k",
    "EXPIRE k s = *",
    "PEXPIRE k ms =",
    "EXPIREAT k S = *",
    "PEXPIREAT k M",
    "TTL k",
    "PTTL k",
    "EXPIRETIME k",
    "PEXPIRETIME k",
    "PERSIST k",
    "SELECT 0",
    "SELECT db",
];

fn is(words: &Words, index: usize, name: &str) -> bool {
    words.get(index).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

/// Commands whose replies are compared with some tolerance, which EXEC's reply is not.
const INEXACT: [&str; 7] = ["KEYS", "SCAN", "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "OBJECT"];

/// How far clocks that were asked one after the other may be apart.
const LEEWAY_MS: i64 = 20_000;

/// Whether both replies answer the command with the same.
fn same_reply(words: &Words, ours: &Value, real: &Value) -> bool {
    match (ours, real) {
        (Value::Int(a), Value::Int(b)) if (is(words, 0, "PTTL") || is(words, 0, "PEXPIRETIME")) && *b > 0 => (a - b).abs() < LEEWAY_MS,
        (Value::Int(a), Value::Int(b)) if (is(words, 0, "TTL") || is(words, 0, "EXPIRETIME")) && *b > 0 => (a - b).abs() < LEEWAY_MS / 1000,
        (Value::Array(a), Value::Array(b)) if is(words, 0, "KEYS") => in_order(a) == in_order(b),
        (Value::Array(a), Value::Array(b)) if is(words, 0, "SCAN") => a[0] == b[0] && in_order(a[1].items()) == in_order(b[1].items()),
        // Redis 8 counts the key in when it decides what is short: it says raw where others say embstr.
        (Value::Bulk(a), Value::Bulk(b)) if is(words, 0, "OBJECT") && b == b"raw" => a == b || a == b"embstr",
        _ => ours == real,
    }
}

fn in_order(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    texts.sort();
    texts
}

/// A command of the stream in the one form that ours and Redis's forms of it have in common, after its database. A moment is a word of its
/// own, the last, as it may differ by as much as the clocks.
fn canonical(effects: Vec<Vec<String>>) -> Vec<(Vec<String>, i64)> {
    let mut db = String::new();
    let mut commands = Vec::new();
    for mut words in effects {
        words[0].make_ascii_uppercase();
        match words[0].as_str() {
            "SELECT" => {
                db = words.remove(1);
                continue;
            }
            "MULTI" | "EXEC" => {
                commands.push((words, 0));
                continue;
            }
            _ => {}
        }
        let mut moment = 0;
        if words[0] == "PEXPIREAT" {
            // Redis passes conditions on that have been met.
            moment = words[2].parse().expect("a moment");
            words.truncate(2);
        } else if words[0] == "SET" {
            // Redis 8 sends a request with PXAT as it came, and 7.0 rewrites it.
            if let Some(at) = words.iter().skip(3).rposition(|word| word.eq_ignore_ascii_case("PXAT")) {
                moment = words[3 + at + 1].parse().expect("a moment");
                words.truncate(3);
            }
        }
        words.insert(0, db.clone());
        commands.push((words, moment));
    }
    commands
}

/// Whether `ours` is what came of a BITOP in Redis's stream that slaves before 8.2 would not know.
fn is_result_of_bitop(ours: &[String], real: &[String]) -> bool {
    let ([db, verb, dest, ..], [real_db, name, op, real_dest, ..]) = (ours, real) else { return false };
    let is_newer = ["DIFF", "DIFF1", "ANDOR", "ONE"].iter().any(|newer| op.eq_ignore_ascii_case(newer));
    name == "BITOP" && is_newer && (verb == "SET" || verb == "DEL") && (db, dest) == (real_db, real_dest)
}

fn connect(daemon: &Daemon, resp3: bool) -> Client {
    let mut client = daemon.client();
    if resp3 {
        client.command(&["HELLO", "3"]);
    }
    client
}

fn run(seed: u64) {
    let daemons = [Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[])];
    let mut taps = [StreamTap::attach(daemons[0].port), StreamTap::attach(daemons[1].port)];
    let [mut ours, mut real] = [&daemons[0], &daemons[1]].map(|daemon| connect(daemon, seed % 2 == 1));
    let mut source = Source::new(seed);
    for number in 0..COMMANDS {
        // Now and then a transaction; what a command inside it replies is seen in EXEC's reply.
        let transaction = source.one_in(20);
        let mut batch: Vec<Words> = (0..if transaction { 3 } else { 1 }).map(|_| source.command()).collect();
        if transaction {
            batch.retain(|words| !INEXACT.iter().any(|name| is(words, 0, name)));
            batch.insert(0, vec![b"MULTI".to_vec()]);
            batch.push(vec![b"EXEC".to_vec()]);
        }
        let shown: Vec<String> = batch.iter().map(|words| words.join(&b' ').escape_ascii().to_string()).collect();
        for words in batch {
            let (here, there) = (ours.command(&words), real.command(&words));
            assert!(same_reply(&words, &here, &there), "seed {seed}, number {number}, {shown:?}: {here:?}, Redis says {there:?}");
        }
    }
    for daemon in &daemons {
        let mut client = daemon.client();
        client.ok("SELECT 9");
        client.ok("SET the-end 1");
    }
    assert_eq!(digest(&mut ours), digest(&mut real), "seed {seed}");
    let [here, there] = taps.each_mut().map(|tap| canonical(tap.effects_until(&["SET", "the-end"])));
    for (number, (a, b)) in here.iter().zip(&there).enumerate() {
        let same = (a.0 == b.0 || is_result_of_bitop(&a.0, &b.0)) && (a.1 == b.1 || a.1.abs_diff(b.1) < LEEWAY_MS as u64);
        assert!(same, "seed {seed}, command {number} of the stream: {a:?}, Redis says {b:?}");
    }
    assert_eq!(here.len(), there.len(), "seed {seed}");
}

#[test]
fn replies_and_stream_are_those_of_redis() {
    for seed in SEEDS {
        run(seed);
    }
}
