//! The fuzzing engine for [`fuzz::snapshot_file`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::snapshot_file(input));
