//! Commands that a seed chooses: writes of all types over few keys, so that they meet each other, in several databases, with expiry,
//! transactions, scripts and now and then a big value.

use crate::env::{Random, SeededRandom};

/// An endless story of requests for one connection. Every request is valid; a reply may still be an error such as a value of another type.
pub struct Workload {
    random: SeededRandom,
    keys: u64,
    in_multi: bool,
    /// Whether a part of the writes set times of expiry.
    pub expiry: bool,
    /// Whether big values come often.
    pub heavy: bool,
}

/// Databases that it uses, from 0 on. The others are the test's own: nothing here touches them.
pub const WORKLOAD_DATABASES: u64 = 4;

/// A request as words: those in lower case between angle brackets are made anew each time, the rest stands for itself.
const WRITES: &[&str] = &[
    "SET <str> <value>",
    "SET <str> <value> KEEPTTL",
    "SET <str> <value> GET",
    "APPEND <str> <value>",
    "SETRANGE <str> <int> patch",
    "MSET <str> <value> <str> <value>",
    "INCRBY <counter> <int>",
    "DECR <counter>",
    "INCRBYFLOAT <float> 0.25",
    "GETDEL <str>",
    "GETSET <str> <value>",
    "SETBIT <str> <int> 1",
    "BITFIELD <str> SET u8 #<small> <small> INCRBY i5 #<small> 1",
    "BITOP XOR <str> <str> <str>",
    "PFADD <hll> <word> <word>",
    "PFMERGE <hll> <hll>",
    "LPUSH <list> <value> <word>",
    "RPUSH <list> <word> <word> <word>",
    "LPOP <list> <small>",
    "RPOP <list>",
    "LINSERT <list> BEFORE <word> <word>",
    "LSET <list> <small> <word>",
    "LREM <list> 0 <word>",
    "LTRIM <list> 0 30",
    "LMOVE <list> <list> LEFT RIGHT",
    "LMPOP 2 <list> <list> RIGHT COUNT 2",
    "HSET <hash> <word> <value> <word> <word>",
    "HINCRBY <hash> n <int>",
    "HINCRBYFLOAT <hash> f 1.5",
    "HDEL <hash> <word> <word>",
    "SADD <set> <word> <word> <int>",
    "SREM <set> <word>",
    "SPOP <set>",
    "SPOP <set> <small>",
    "SMOVE <set> <set> <word>",
    "SUNIONSTORE <set> <set> <set>",
    "SDIFFSTORE <set> <set> <set>",
    "ZADD <zset> <int> <word> <int> <word>",
    "ZADD <zset> GT CH <int> <word>",
    "ZINCRBY <zset> 0.1 <word>",
    "ZREM <zset> <word>",
    "ZPOPMIN <zset> <small>",
    "ZREMRANGEBYRANK <zset> 20 -1",
    "ZUNIONSTORE <zset> 2 <zset> <zset> WEIGHTS 2 1",
    "ZRANGESTORE <zset> <zset> 0 <small>",
    "GEOADD <zset> 13.361389 38.115556 <word>",
    "XADD <stream> * <word> <value>",
    "XADD <stream> MAXLEN ~ 20 * <word> <word>",
    "XTRIM <stream> MAXLEN <small>",
    "XGROUP CREATE <stream> g 0 MKSTREAM",
    "XREADGROUP GROUP g <name> COUNT 2 STREAMS <stream> >",
    "XAUTOCLAIM <stream> g <name> 0 0 COUNT 2",
    "XACK <stream> g 0-1",
    "XGROUP DELCONSUMER <stream> g <name>",
    "DEL <any> <any>",
    "UNLINK <any>",
    "RENAME <any> <any>",
    "RENAMENX <any> <any>",
    "COPY <any> <any> REPLACE",
    "COPY <any> <any> DB <db>",
    "MOVE <any> <db>",
    "SORT <list> ALPHA STORE <list>",
    "PUBLISH news <word>",
    "EVAL return{redis.call('set',KEYS[1],ARGV[1]),redis.call('incr',KEYS[2]),redis.call('get',KEYS[1])} 2 <str> <counter> <word>",
    "EVAL for|i=1,3|do|redis.call('rpush',KEYS[1],ARGV[1]..i)|end|redis.call('ltrim',KEYS[1],0,20)|return|redis.call('lrange',KEYS[1],0,-1) 1 <list> <word>",
    "EVAL local|m=redis.call('spop',KEYS[1])|if|m|then|redis.call('zadd',KEYS[2],1,m)|end|return|m 2 <set> <zset>",
];

/// Those that set times of expiry, or take them away.
const EXPIRING: &[&str] = &[
    "PEXPIRE <any> <ms>",
    "PEXPIRE <any> <ms> GT",
    "EXPIRE <any> <small>",
    "SET <str> brief PX <ms>",
    "GETEX <str> PX <ms>",
    "PERSIST <any>",
    "PEXPIRE <any> 1",
    "EVAL redis.call('set',KEYS[1],ARGV[1],'px',ARGV[2])|return|redis.call('pttl',KEYS[1]) 1 <str> <word> <ms>",
    "HPEXPIRE <hash> <ms> FIELDS 2 <word> <word>",
    "HPERSIST <hash> FIELDS 1 <word>",
];

/// Those that change whole databases.
const SWEEPING: &[&str] = &["FLUSHDB", "SWAPDB <db> <db>", "FLUSHDB ASYNC"];

/// Those that wait, for a while.
const BLOCKING: &[&str] = &[
    "BLPOP <list> <list> <wait>",
    "BRPOP <list> <wait>",
    "BLMOVE <list> <list> LEFT RIGHT <wait>",
    "BLMPOP <wait> 2 <list> <list> LEFT COUNT 2",
    "BZPOPMIN <zset> <zset> <wait>",
    "BZMPOP <wait> 1 <zset> MAX",
    "XREAD BLOCK 300 STREAMS <stream> $",
    "XREADGROUP GROUP g <name> BLOCK 300 STREAMS <stream> >",
];

const READS: &[&str] = &[
    "GET <str>",
    "LRANGE <list> 0 -1",
    "HGETALL <hash>",
    "SMEMBERS <set>",
    "ZRANGE <zset> 0 -1 WITHSCORES",
    "XRANGE <stream> - +",
    "PTTL <any>",
    "TYPE <any>",
    "EXISTS <any> <any>",
    "SCAN 0 COUNT 20",
    "DBSIZE",
];

const KINDS: [(&str, &str); 9] = [
    ("<str>", "key"),
    ("<counter>", "counter"),
    ("<float>", "float"),
    ("<hll>", "hll"),
    ("<list>", "list"),
    ("<hash>", "hash"),
    ("<set>", "set"),
    ("<zset>", "zset"),
    ("<stream>", "stream"),
];

impl Workload {
    pub fn new(random: SeededRandom, keys: u64) -> Self {
        Workload { random, keys: keys.max(1), in_multi: false, expiry: true, heavy: false }
    }

    /// Mostly short, one in 64 (or 4) of up to 100 KB; binary.
    fn value(&self) -> Vec<u8> {
        let len = if self.random.below(if self.heavy { 4 } else { 64 }) == 0 { self.random.below(100_000) } else { self.random.below(40) };
        let word = self.random.next_u64().to_le_bytes();
        (0..len as usize).map(|i| word[i % 8].wrapping_add((i / 8) as u8)).collect()
    }

    /// One of the commands, its words made anew.
    fn one_of(&self, templates: &[&str]) -> Vec<Vec<u8>> {
        let template = templates[self.random.below(templates.len() as u64) as usize];
        template.split(' ').map(|word| self.word(word)).collect()
    }

    fn word(&self, word: &str) -> Vec<u8> {
        let random = &self.random;
        let kind = match word {
            "<any>" => Some(KINDS[random.below(KINDS.len() as u64) as usize].1),
            _ => KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind),
        };
        if let Some(kind) = kind {
            return format!("{kind}:{}", random.below(self.keys)).into_bytes();
        }
        match word {
            "<value>" => self.value(),
            "<word>" => format!("w{}", random.below(12)).into_bytes(),
            "<name>" => format!("consumer-{}", random.below(3)).into_bytes(),
            "<int>" => random.below(1000).to_string().into_bytes(),
            "<small>" => (1 + random.below(5)).to_string().into_bytes(),
            "<ms>" => (1 + random.below(20_000)).to_string().into_bytes(),
            "<wait>" => format!("0.{}", 1 + random.below(5)).into_bytes(),
            "<db>" => random.below(WORKLOAD_DATABASES).to_string().into_bytes(),
            // A script's blanks.
            _ if word.contains('|') => word.replace('|', " ").into_bytes(),
            _ => word.replace("#<small>", &format!("#{}", random.below(8))).into_bytes(),
        }
    }

    /// The next request.
    pub fn next_request(&mut self) -> Vec<Vec<u8>> {
        match self.random.below(40) {
            0..=1 if self.in_multi => {
                self.in_multi = false;
                self.one_of(&["EXEC"])
            }
            0 => {
                self.in_multi = true;
                self.one_of(&["MULTI"])
            }
            1 => self.one_of(&["SELECT <db>"]),
            2 if self.random.below(8) == 0 => self.one_of(SWEEPING),
            3..=8 if self.expiry => self.one_of(EXPIRING),
            _ => self.one_of(WRITES),
        }
    }

    /// What ends the story where it stands: closes an open transaction.
    pub fn last_request(&mut self) -> Option<Vec<Vec<u8>>> {
        std::mem::take(&mut self.in_multi).then(|| self.one_of(&["EXEC"]))
    }

    /// One that may wait up to half a second for its reply.
    pub fn blocking_request(&mut self) -> Vec<Vec<u8>> {
        match self.random.below(6) {
            0 => self.one_of(&["SELECT <db>"]),
            _ => self.one_of(BLOCKING),
        }
    }

    /// One that changes nothing.
    pub fn read_request(&mut self) -> Vec<Vec<u8>> {
        self.one_of(READS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Cluster, Value, World};

    #[test]
    fn a_seed_decides_the_requests_and_transactions_are_closed() {
        let story = |seed| {
            let mut workload = Workload::new(SeededRandom::from_seed(seed), 10);
            let mut requests: Vec<_> = (0..2000).map(|_| workload.next_request()).collect();
            requests.extend(workload.last_request());
            requests
        };
        assert_eq!(story(1), story(1));
        assert_ne!(story(1), story(2));
        let count = |word: &[u8]| story(1).iter().filter(|request| request[0] == word).count();
        assert_eq!(count(b"MULTI"), count(b"EXEC"));
        for word in [&b"SET"[..], b"INCRBY", b"PEXPIRE", b"SELECT", b"MULTI", b"RENAME", b"SWAPDB", b"EVAL"] {
            assert!(count(word) > 0, "{}", String::from_utf8_lossy(word));
        }
    }

    /// Errors must come from what the data is, never from how a request is written.
    #[test]
    fn every_request_is_valid() {
        let world = World::new(1);
        world.run(async {
            let cluster = Cluster::new(&world);
            let node = cluster.add("node", None);
            cluster.start(node).await.unwrap();
            let mut client = cluster.connect(node).await.unwrap();
            let workload = Workload::new(SeededRandom::from_seed(1), 2);
            for template in [WRITES, EXPIRING, SWEEPING, BLOCKING, READS].concat() {
                for _ in 0..5 {
                    let reply = client.command(&workload.one_of(&[template])).await.unwrap();
                    let Value::Error(error) = reply else { continue };
                    let by_data = ["WRONGTYPE", "BUSYGROUP", "NOGROUP", "ERR no such key", "ERR index out of range", "ERR value is not"];
                    let by_data = by_data.iter().any(|start| error.starts_with(start))
                        || error.contains("of the same")
                        || error.contains("same object")
                        || error.contains("objects are the same");
                    assert!(by_data, "{template}: {error}");
                }
            }
        });
    }
}
