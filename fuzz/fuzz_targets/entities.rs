//! The fuzzing engine for [`fuzz::entities`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::entities(input));
