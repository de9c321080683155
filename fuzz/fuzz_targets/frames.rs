#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| saga_core::store::fuzz_frames(data));
