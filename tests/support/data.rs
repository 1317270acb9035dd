//! Data for tests: strings of every shape that an RDB file distinguishes, with and without a TTL, in several databases.

use super::{Client, Value};

/// The databases that `fill` writes to.
pub const DATABASES: [u32; 4] = [0, 1, 7, 15];
/// A TTL that no test outlives.
const FAR_MS: u64 = 100_000_000;

fn value(number: u64) -> Vec<u8> {
    match number % 8 {
        0 => Vec::new(),
        1 => number.to_string().into_bytes(),
        2 => format!("-{}", number * 1_000_003).into_bytes(),
        3 => format!("value of number {number}").into_bytes(),
        // Compressible, across the sizes where encodings change.
        4 => vec![b'a' + (number % 26) as u8; (number % 300) as usize],
        5 => format!("{number} ").repeat(200).into_bytes(),
        // Every byte there is, line ends among them.
        6 => (0..=255u8).map(|byte| byte.wrapping_mul(31).wrapping_add(number as u8)).collect(),
        _ => b"9223372036854775807".to_vec(),
    }
}

/// Sets `count` keys `<prefix>:<n>`, spread over `DATABASES`; every third has a TTL far away.
#[track_caller]
pub fn fill(client: &mut Client, prefix: &str, count: u64) {
    for (lane, db) in DATABASES.iter().enumerate() {
        let mut requests = vec![words(&["SELECT", &db.to_string()])];
        for number in (lane as u64..count).step_by(DATABASES.len()) {
            let mut request = words(&["SET", &format!("{prefix}:{number}")]);
            request.push(value(number));
            if number % 3 == 0 {
                request.extend(words(&["PX", &(FAR_MS + number).to_string()]));
            }
            requests.push(request);
        }
        for reply in client.pipeline(&requests) {
            assert_eq!(reply, Value::ok());
        }
    }
    client.ok("SELECT 0");
}

fn words(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// `count` writes of many kinds to few keys, from a sequence that the seed decides, so that two runs write the same.
#[track_caller]
pub fn churn(client: &mut Client, seed: u64, count: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut requests = Vec::new();
    for number in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let key = format!("churn:{}", (state >> 8) % 1000);
        let text = number.to_string();
        let line: Vec<&str> = match state % 10 {
            0 => vec!["SET", &key, &text, "EX", "5000"],
            1 => vec!["DEL", &key],
            2 => vec!["APPEND", &key, &text],
            3 => vec!["EXPIRE", &key, "5000"],
            4 => vec!["PERSIST", &key],
            5 => vec!["INCR", "churn:counter"],
            6 => vec!["SET", &key, &text, "KEEPTTL"],
            7 => vec!["SETRANGE", &key, "3", &text],
            8 => vec!["GETSET", &key, &text],
            _ => vec!["SET", &key, &text],
        };
        requests.push(words(&line));
        if requests.len() == 500 {
            check(client, &std::mem::take(&mut requests));
        }
    }
    check(client, &requests);
}

fn check(client: &mut Client, requests: &[Vec<Vec<u8>>]) {
    for (reply, request) in client.pipeline(requests).iter().zip(requests) {
        assert!(!matches!(reply, Value::Error(_)), "{:?}: {reply:?}", request[0].escape_ascii().to_string());
    }
}

/// Every key's TTL on both sides, equal to within the time that asking takes.
#[track_caller]
pub fn assert_same_ttls(one: &mut Client, other: &mut Client) {
    const LEEWAY_MS: i64 = 20_000;
    for db in DATABASES {
        one.ok(&format!("SELECT {db}"));
        other.ok(&format!("SELECT {db}"));
        let keys = one.run("KEYS *").sorted_texts();
        assert_eq!(keys, other.run("KEYS *").sorted_texts(), "keys of database {db}");
        let requests: Vec<Vec<Vec<u8>>> = keys.iter().map(|key| words(&["PTTL", key])).collect();
        let (here, there) = (one.pipeline(&requests), other.pipeline(&requests));
        for ((here, there), key) in here.iter().zip(&there).zip(&keys) {
            let (here, there) = (here.int(), there.int());
            let same = if here < 0 { here == there } else { there > 0 && (here - there).abs() < LEEWAY_MS };
            assert!(same, "the TTL of {key} in database {db}: {here} and {there}");
        }
    }
    one.ok("SELECT 0");
    other.ok("SELECT 0");
}

/// So many megabytes that no form of compression makes fewer.
#[track_caller]
pub fn fill_mb(client: &mut Client, megabytes: u64) {
    let mut state = 88_172_645_463_325_252u64;
    for batch in 0..megabytes * 2 {
        let requests: Vec<Vec<Vec<u8>>> = (0..50)
            .map(|n| {
                let value = std::iter::repeat_with(|| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state.to_le_bytes()
                });
                vec![b"SET".to_vec(), format!("key:{batch}:{n}").into_bytes(), value.take(1311).flatten().collect()]
            })
            .collect();
        assert!(client.pipeline(&requests).iter().all(|reply| *reply == Value::ok()));
    }
}
