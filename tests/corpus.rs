//! Replays the fuzzer's corpus: what it has found interesting once must hold with every build. A target is named as its folder.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use replikant::rdb::{LoadOptions, load, verify};

/// Gives every file of `fuzz/corpus/<target>` to the function that the target calls.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    for path in paths {
        println!("{}", path.display());
        check(&fs::read(&path).unwrap());
    }
}

#[test]
fn requests() {
    replay("request", replikant::resp::check_requests);
}

#[test]
fn conf() {
    replay("conf", replikant::config::check_conf);
}

#[test]
fn hyperloglog() {
    replay("hyperloglog", replikant::types::hll::check_value);
}

#[test]
fn rdb() {
    replay("rdb", |bytes| {
        let options = LoadOptions { checksum: false, ..LoadOptions::new(16, 1) };
        let loaded = load(bytes, &options, &mut |_| ControlFlow::Continue(()));
        let verified = verify(bytes, &options, &mut |_| ControlFlow::Continue(()));
        if let Ok(loaded) = loaded {
            let summary = verified.unwrap_or_else(|error| panic!("loaded, and not verified: {error}"));
            assert_eq!((loaded.keys_loaded, loaded.bytes), (summary.keys, summary.bytes));
        }
    });
}

#[test]
fn payloads() {
    replay("restore", replikant::rdb::check_payload);
}
