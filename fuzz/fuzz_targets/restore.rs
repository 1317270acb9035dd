//! Any bytes as a payload of RESTORE.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| replikant::rdb::check_payload(data));
