#![no_main]

libfuzzer_sys::fuzz_target!(
    // libFuzzer's own hook would end the program at a panic that our guard around the decoders catches,
    // and the default one would take longer for its report than the input does. What is not caught
    // still ends the program.
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |bytes: &[u8]| striate_fuzz::jpeg(bytes)
);
