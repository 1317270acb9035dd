//! Writes of every type to few keys in several databases, by seed: small collections and big ones, TTLs far and near, transactions, scripts, commands
//! whose outcome only their master decides. None is an error, and every server from 6.2 on knows them all.

use std::io;

use super::data::DATABASES;
use super::{Client, Value};

/// Requests sent at once.
const BATCH: usize = 200;
/// Members of the first key of each kind, which so outgrows the compact encodings, and of the others.
const MANY: u64 = 3000;
const FEW: u64 = 40;
const SCRIPT: &str = "for i = 2, #ARGV do redis.call('hset', KEYS[1], ARGV[i], ARGV[1]) end
redis.call('set', KEYS[2], ARGV[1]) redis.call('pexpire', KEYS[2], 90000000)
if redis.call('scard', KEYS[3]) > 1000 then redis.call('spop', KEYS[3], 300) end return redis.call('sadd', KEYS[3], ARGV[1])";

pub type Request = Vec<Vec<u8>>;

/// Commands without end.
pub struct Mixed {
    state: u64,
}

fn words(line: &str) -> Request {
    line.split_ascii_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

impl Mixed {
    pub fn new(seed: u64) -> Self {
        Mixed { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) % limit
    }

    fn key(&mut self, kind: &str) -> String {
        format!("{kind}:{}", self.below(8))
    }

    fn member(&mut self, key: &str) -> String {
        let number = self.below(if key.ends_with(":0") { MANY } else { FEW });
        // Some are integers, some too long for a compact encoding.
        match number % 7 {
            0 => number.to_string(),
            1 => format!("m{number}{}", "-long".repeat(number as usize % 20)),
            _ => format!("m{number}"),
        }
    }

    fn members(&mut self, key: &str, before: &str) -> String {
        (0..1 + self.below(8)).map(|_| format!("{before}{} ", self.member(key))).collect()
    }

    /// What one client sends next, whole: a command, or a transaction from MULTI to EXEC.
    pub fn unit(&mut self) -> Vec<Request> {
        match self.below(40) {
            0 => {
                let count = 1 + self.below(5);
                let inner = (0..count).map(|_| self.command()).collect::<Vec<_>>();
                [vec![words("MULTI")], inner, vec![words("EXEC")]].concat()
            }
            1 => vec![words(&format!("SELECT {}", DATABASES[self.below(DATABASES.len() as u64) as usize]))],
            2 => vec![self.script()],
            _ => vec![self.command()],
        }
    }

    fn script(&mut self) -> Request {
        let keys = [self.key("hash"), self.key("string"), self.key("set")];
        let arguments = self.members(&keys[0], "");
        let mut request = words("EVAL script 3");
        request[1] = SCRIPT.as_bytes().to_vec();
        request.extend(words(&format!("{} {} {} {arguments}", keys[0], keys[1], keys[2])));
        request
    }

    fn command(&mut self) -> Request {
        let line = match self.below(8) {
            0 | 1 => self.of_strings(),
            2 => self.of_lists(),
            3 => self.of_sets(),
            4 => self.of_hashes(),
            5 => self.of_zsets(),
            6 => self.of_streams(),
            _ => self.of_keys(),
        };
        words(&line)
    }

    fn of_strings(&mut self) -> String {
        let (key, other, number) = (self.key("string"), self.key("string"), self.below(100_000));
        match self.below(14) {
            0 => format!("SET {key} {number} EX 50000"),
            1 => format!("SET {key} {number} PX {}", 1 + number % 60),
            2 => format!("APPEND {key} {number}"),
            3 => format!("INCRBY counter:{} {number}", number % 5),
            4 => format!("INCRBYFLOAT float:{} 0.25", number % 5),
            5 => format!("SETRANGE {key} {} {number}", number % 500),
            6 => format!("SETBIT bits:{} {} 1", number % 5, number % 4000),
            7 => format!("BITOP XOR bits:7 bits:{} bits:{}", number % 5, number % 3),
            8 => format!("PFADD hll:{} {number} {other}", number % 3),
            9 => format!("PFMERGE hll:7 hll:{} hll:{}", number % 3, number % 2),
            10 => format!("GETEX {key} PX 90000000"),
            11 => format!("GETDEL {key}"),
            12 => format!("MSET {key} {number} {other} {}", "v".repeat(number as usize % 300 + 1)),
            _ => format!("SET {key} {number} KEEPTTL"),
        }
    }

    fn of_lists(&mut self) -> String {
        let (key, other) = (self.key("list"), self.key("list"));
        match self.below(9) {
            0..=2 => format!("RPUSH {key} {}", self.members(&key, "")),
            3 => format!("LPUSH {key} {}", self.members(&key, "")),
            4 => format!("LPOP {key} {}", 1 + self.below(9)),
            5 => format!("LTRIM {key} 0 {}", if key.ends_with(":0") { MANY } else { FEW }),
            6 => format!("LREM {key} 1 {}", self.member(&key)),
            7 => format!("LMOVE {key} {other} RIGHT LEFT"),
            _ => format!("LINSERT {key} BEFORE {} {}", self.member(&key), self.member(&key)),
        }
    }

    fn of_sets(&mut self) -> String {
        let (key, other) = (self.key("set"), self.key("set"));
        match self.below(9) {
            0..=3 => format!("SADD {key} {}", self.members(&key, "")),
            4 => format!("SREM {key} {}", self.members(&key, "")),
            5 => format!("SPOP {key} {}", 1 + self.below(4)),
            6 => format!("SMOVE {key} {other} {}", self.member(&key)),
            7 => format!("SUNIONSTORE set:6 {key} {other}"),
            _ => format!("SADD ints:{} {} {}", self.below(3), self.below(1000), self.below(100_000)),
        }
    }

    fn of_hashes(&mut self) -> String {
        let key = self.key("hash");
        let field = self.member(&key);
        match self.below(8) {
            0..=3 => format!("HSET {key} {field} {} {} x", self.below(1000), self.member(&key)),
            4 => format!("HDEL {key} {}", self.members(&key, "")),
            5 => format!("HINCRBY counts:{} {field} {}", self.below(4), self.below(1000)),
            6 => format!("HINCRBYFLOAT counts:{} {field} 3", self.below(4)),
            _ => format!("HSETNX {key} {field} first"),
        }
    }

    fn of_zsets(&mut self) -> String {
        let (key, other) = (self.key("zset"), self.key("zset"));
        match self.below(10) {
            0..=3 => {
                let score = self.below(100_000) as f64 / 8.0;
                format!("ZADD {key} {}", self.members(&key, &format!("{score} ")))
            }
            4 => format!("ZREM {key} {}", self.members(&key, "")),
            5 => format!("ZINCRBY {key} 1.5 {}", self.member(&key)),
            6 => format!("ZPOPMIN {key} {}", 1 + self.below(4)),
            7 => format!("ZREMRANGEBYRANK {key} {} -1", if key.ends_with(":0") { MANY } else { FEW }),
            8 => format!("ZUNIONSTORE zset:7 2 {key} {other} WEIGHTS 1 2"),
            _ => format!("GEOADD places:{} {}.5 {}.25 {}", self.below(3), self.below(180), self.below(80), self.member(&key)),
        }
    }

    fn of_streams(&mut self) -> String {
        let key = self.key("stream");
        match self.below(6) {
            0..=2 => format!("XADD {key} * field {} other {}", self.below(1000), self.below(1000)),
            3 => format!("XADD {key} MAXLEN ~ {} * field {}", 100 + self.below(1000), self.below(1000)),
            4 => format!("XTRIM {key} MAXLEN {}", 50 + self.below(1000)),
            _ => format!("XDEL {key} 1-1"),
        }
    }

    fn of_keys(&mut self) -> String {
        let kind = ["string", "list", "set", "hash", "zset", "stream"][self.below(6) as usize];
        let key = self.key(kind);
        match self.below(9) {
            0 if self.below(3) == 0 => format!("UNLINK {key}"),
            0 | 1 => format!("PEXPIRE {key} {}", 50_000_000 + self.below(1000)),
            2 => format!("PERSIST {key}"),
            3 => format!("COPY {key} {kind}:9 REPLACE"),
            4 => format!("EXPIREAT short:{} 1", self.below(4)),
            5 => format!("MOVE {key} 2"),
            6 => format!("SORT {} ALPHA LIMIT 0 20 STORE sorted:{}", self.key("set"), self.below(3)),
            7 => format!("EXISTS {key} {kind}:9"),
            _ => format!("SET short:{} x PX {}", self.below(4), 1 + self.below(40)),
        }
    }
}

/// Sends `count` units and checks that none is refused.
#[track_caller]
pub fn mix(client: &mut Client, seed: u64, count: u64) {
    client.ok("SELECT 0");
    try_mix(client, &mut Mixed::new(seed), count).unwrap_or_else(|error| panic!("{error}"));
    client.ok("SELECT 0");
}

/// The next `count` units. Fails when the connection does, or with the first reply that is an error.
pub fn try_mix(client: &mut Client, mixed: &mut Mixed, count: u64) -> io::Result<()> {
    let requests: Vec<Request> = (0..count).flat_map(|_| mixed.unit()).collect();
    for part in requests.chunks(BATCH) {
        for (reply, request) in client.try_pipeline(part)?.iter().zip(part) {
            if is_refused(reply) {
                let words: Vec<String> = request.iter().map(|word| word.escape_ascii().to_string()).collect();
                return Err(io::Error::other(format!("{words:?}: {reply:?}")));
            }
        }
    }
    Ok(())
}

fn is_refused(reply: &Value) -> bool {
    match reply {
        Value::Error(_) => true,
        Value::Array(items) => items.iter().any(is_refused),
        _ => false,
    }
}
