//! The fuzzing engine for [`fuzz::http2_connection`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::http2_connection(input));
