//! Any bytes as the value of a key that PFADD, PFCOUNT and PFMERGE meet.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| replikant::types::hll::check_value(data));
