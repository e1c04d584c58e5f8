//! The fuzzer's functions over its seeds, which hold every input that was ever a finding: so that a
//! regression is found by any compiler, without fuzzing.

#[path = "../fuzz/src/lib.rs"]
mod parsers;

use std::path::Path;

#[test]
fn every_seed_passes_its_target() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, target) in parsers::TARGETS {
        let folder = seeds.join(name);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{folder:?} is empty");
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let outcome = std::panic::catch_unwind(|| target(&bytes));
            assert!(outcome.is_ok(), "{name} fails on {}", file.display());
        }
    }
}

#[test]
fn every_target_has_a_binary_and_every_binary_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(folder).unwrap();
    let stem = |path: std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut binaries: Vec<_> = entries.map(|entry| stem(entry.unwrap().path())).collect();
    binaries.sort();
    assert_eq!(binaries, parsers::TARGETS.map(|(name, _)| name));
}

/// No target may pass because it looks at nothing: of each, a seed is parsed to the end. The
/// parsers' own tests say what they make of it.
#[test]
fn the_fuzzers_training_is_sound() {
    let (network, state) = parsers::small_training();
    assert_eq!(state.velocities.len(), network.spec().layers.len());
}
