//! The fuzzing engine for [`fuzz::snapshot_nodes`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::snapshot_nodes(input));
