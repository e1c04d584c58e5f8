//! The pictures of the README and the book are made by their commands.

#![cfg(all(unix, feature = "embedded-photos", feature = "plot"))]
// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Width and height, from a PNG's header.
fn extents(path: &Path) -> [u32; 2] {
    let bytes = std::fs::read(path).unwrap();
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{}", path.display());
    [16, 20].map(|at| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()))
}

/// Their pixels may differ: confidences are printed in them, whose last digit depends on the processor.
#[test]
fn the_script_makes_every_picture() {
    let book = PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("book");
    let made = tempfile::tempdir().unwrap();
    let status = Command::new(book.join("pictures.sh"))
        .arg(made.path())
        .env("STRIATE", env!("CARGO_BIN_EXE_striate"))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let mut pictures = 0;
    for entry in std::fs::read_dir(book.join("src/pictures")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "png") {
            assert_eq!(extents(&made.path().join(path.file_name().unwrap())), extents(&path));
            pictures += 1;
        }
    }
    assert_eq!(pictures, std::fs::read_dir(made.path()).unwrap().count());
}
