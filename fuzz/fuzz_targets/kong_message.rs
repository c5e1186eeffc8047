//! The fuzzing engine for [`fuzz::kong_message`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::kong_message(input));
