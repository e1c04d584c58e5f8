//! What the fuzzer feeds: one function for each parser of bytes that a stranger may have written.
//!
//! A function takes any bytes and returns. It panics where the parser panics, and where what was
//! parsed breaks a promise: what was read is written and read back as the same, a decoder keeps its
//! limits, the same bytes give the same result twice. `fuzz_targets` hands these functions to
//! libFuzzer; the test `fuzz_seeds` of the main workspace runs them over `seeds` with any compiler.

// Shared by the fuzzer's crate and a test, which use different parts of it; a panic is a finding.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod caffe;
mod models;
mod onnx;
mod pictures;
mod sets;
mod text;

use std::path::PathBuf;

pub use caffe::{DEFINITION, caffe_blob, caffe_model, caffemodel, proto_bytes, prototxt};
pub use models::{ccv, ccv_rows, pickle, safetensors, small_training};
pub use onnx::onnx;
pub use pictures::{jpeg, other_pictures};
pub use sets::{cifar, dataset, idx, meta_mat, npy};
pub use text::{lists, options, recipe, spec};

/// A parser's function: any bytes, and it returns.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Target); 18] = [
    ("caffemodel", caffemodel),
    ("ccv", ccv),
    ("ccv_rows", ccv_rows),
    ("cifar", cifar),
    ("dataset", dataset),
    ("idx", idx),
    ("jpeg", jpeg),
    ("lists", lists),
    ("meta_mat", meta_mat),
    ("npy", npy),
    ("onnx", onnx),
    ("options", options),
    ("other_pictures", other_pictures),
    ("pickle", pickle),
    ("prototxt", prototxt),
    ("recipe", recipe),
    ("safetensors", safetensors),
    ("spec", spec),
];

/// A folder of its own for one input, gone afterwards; in `TMPDIR`, which may be memory.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path of a file with these bytes.
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// Two files in one input: the length of the first in two bytes (little-endian), then both.
fn two_files(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return (bytes, &[]) };
    rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()))
}

/// Whether `values` are the same bits, NaN included.
fn same_bits(one: &[f32], other: &[f32]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// The message of an error and of what caused it must be printable.
fn printed(error: &dyn std::error::Error) {
    let mut next = Some(error);
    while let Some(error) = next {
        assert!(!error.to_string().is_empty());
        next = error.source();
    }
}
