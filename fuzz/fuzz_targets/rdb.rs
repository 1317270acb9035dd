//! Any bytes load or are refused: no panic, no allocation out of proportion, and verifying agrees with loading.

#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use replikant::rdb::{LoadCause, LoadOptions, load, verify};

fuzz_target!(|bytes: &[u8]| {
    // A fuzzer does not find checksums; the rest is to be found.
    let options = LoadOptions { checksum: false, ..LoadOptions::new(16, 1) };
    let loaded = load(bytes, &options, &mut |_| ControlFlow::Continue(()));
    let verified = verify(bytes, &options, &mut |_| ControlFlow::Continue(()));
    match (loaded, verified) {
        (Ok(loaded), Ok(summary)) => assert_eq!((loaded.keys_loaded, loaded.bytes), (summary.keys, summary.bytes)),
        (Err(error), Ok(_)) => assert!(matches!(error.cause, LoadCause::DuplicateKey | LoadCause::DuplicateElement)),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => panic!("loaded, and not verified: {error}"),
    }
});
