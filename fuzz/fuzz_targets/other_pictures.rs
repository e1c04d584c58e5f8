#![no_main]

libfuzzer_sys::fuzz_target!(
    // libFuzzer's own hook would end the program at a panic that our guard around the decoders catches.
    // What is not caught there still ends it.
    init: drop(std::panic::take_hook()),
    |bytes: &[u8]| striate_fuzz::other_pictures(bytes)
);
