//! The fuzzing engine for [`fuzz::http1_requests`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::http1_requests(input));
