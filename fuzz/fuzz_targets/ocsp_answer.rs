//! The fuzzing engine for [`fuzz::ocsp_answer`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::ocsp_answer(input));
