#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| striate_fuzz::prototxt(bytes));
