//! Any bytes as a conf file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| replikant::config::check_conf(data));
