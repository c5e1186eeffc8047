//! The fuzzing engine for [`fuzz::native_frames`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::native_frames(input));
