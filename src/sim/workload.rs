//! Commands that a seed chooses: writes of many kinds over few keys, so that they meet each other, in several databases,
//! with expiry, transactions and now and then a big value.

use crate::env::{Random, SeededRandom};

/// An endless story of requests for one connection. Every request is valid; a reply may still be an error such as a value that is no integer.
pub struct Workload {
    random: SeededRandom,
    keys: u64,
    in_multi: bool,
    /// Whether a part of the writes set times of expiry.
    pub expiry: bool,
}

fn request(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

impl Workload {
    pub fn new(random: SeededRandom, keys: u64) -> Self {
        Workload { random, keys: keys.max(1), in_multi: false, expiry: true }
    }

    fn key(&mut self) -> String {
        format!("key:{}", self.random.below(self.keys))
    }

    /// Mostly short, one in 64 of up to 100 KB; binary.
    fn value(&mut self) -> Vec<u8> {
        let len = if self.random.below(64) == 0 { self.random.below(100_000) } else { self.random.below(40) };
        let word = self.random.next_u64().to_le_bytes();
        (0..len as usize).map(|i| word[i % 8].wrapping_add((i / 8) as u8)).collect()
    }

    /// The next request.
    pub fn next_request(&mut self) -> Vec<Vec<u8>> {
        match self.random.below(40) {
            0 if self.in_multi => {
                self.in_multi = false;
                request(&["EXEC"])
            }
            0 => {
                self.in_multi = true;
                request(&["MULTI"])
            }
            1 => request(&["SELECT", &self.random.below(3).to_string()]),
            2 if self.random.below(20) == 0 => request(&["FLUSHDB"]),
            3..=8 if self.expiry => self.expiring(),
            _ => self.write(),
        }
    }

    /// What ends the story where it stands: closes an open transaction.
    pub fn last_request(&mut self) -> Option<Vec<Vec<u8>>> {
        std::mem::take(&mut self.in_multi).then(|| request(&["EXEC"]))
    }

    fn write(&mut self) -> Vec<Vec<u8>> {
        let key = self.key();
        let other = self.key();
        let number = self.random.below(1000).to_string();
        match self.random.below(12) {
            0..=3 => vec![b"SET".to_vec(), key.into_bytes(), self.value()],
            4 => vec![b"APPEND".to_vec(), key.into_bytes(), self.value()],
            5 => request(&["INCRBY", &format!("counter:{}", self.random.below(self.keys)), &number]),
            6 => request(&["DEL", &key, &other]),
            7 => request(&["SETRANGE", &key, &number, "patch"]),
            8 => vec![b"MSET".to_vec(), key.into_bytes(), self.value(), other.into_bytes(), self.value()],
            9 => request(&["RENAME", &key, &other]),
            10 => request(&["GETDEL", &key]),
            _ => request(&["INCRBYFLOAT", &format!("float:{}", self.random.below(self.keys)), "0.25"]),
        }
    }

    fn expiring(&mut self) -> Vec<Vec<u8>> {
        let key = self.key();
        let ms = (1 + self.random.below(20_000)).to_string();
        match self.random.below(4) {
            0 => request(&["PEXPIRE", &key, &ms]),
            1 => request(&["SET", &key, "brief", "PX", &ms]),
            2 => request(&["GETEX", &key, "PX", &ms]),
            _ => request(&["PERSIST", &key]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for word in [&b"SET"[..], b"INCRBY", b"PEXPIRE", b"SELECT", b"MULTI", b"RENAME"] {
            assert!(count(word) > 0, "{}", String::from_utf8_lossy(word));
        }
    }
}
