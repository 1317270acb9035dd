//! Any bytes as requests of a client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| replikant::resp::check_requests(data));
