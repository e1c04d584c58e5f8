//! Rules of this repository that no compiler checks.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

use std::path::{Path, PathBuf};

/// Every Rust file of the workspace and of the fuzzer.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// A failing case is worth a file, unless the cases are the same every time. Below `src` that is
/// proptest's default; in `tests` it has to be asked for.
#[test]
fn failing_cases_of_property_tests_are_kept() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let is_fixed = text.contains("RngSeed::Fixed") || text.contains("deterministic_rng");
        if !text.contains("proptest! {") || is_fixed || path.ends_with("tests/repository.rs") {
            continue;
        }
        let in_tests = path.parent().unwrap().ends_with("tests");
        let asked = text.contains("FileFailurePersistence::WithSource(");
        assert!(!in_tests || asked, "{}: see CONTRIBUTING.md, property tests", path.display());
        let refused = text.contains("failure_persistence: None");
        assert!(!refused, "{}: a failing case would be lost", path.display());
    }
}
