//! The fuzzing engine for [`fuzz::kong_conf`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::kong_conf(input));
