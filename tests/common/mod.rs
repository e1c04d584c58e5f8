//! What the comparisons with ccv share.

// Each test file uses its own part of this.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub(crate) mod formula;

use std::path::{Path, PathBuf};

use striate::image::npy;
use striate::prelude::*;

/// Of the tensor's largest magnitude: the project's contract for whole networks.
pub(crate) const TOLERANCE: f32 = 1e-4;

pub(crate) fn golden() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/ccv-golden");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("STRIATE_REQUIRE_GOLDEN").is_none(),
        "the golden values are required and {} is not there",
        folder.display()
    );
    None
}

/// The CPU, and the GPU (software will do) where there is one; it must be there where
/// `STRIATE_REQUIRE_GPU=1` says so.
pub(crate) fn devices() -> Vec<Device> {
    let mut devices = vec![Device::cpu(None).unwrap()];
    match Device::by_name("gpu", &DeviceOptions::default()) {
        Ok(gpu) => devices.push(gpu),
        Err(error) => {
            assert!(
                std::env::var_os("STRIATE_REQUIRE_GPU").is_none(),
                "a GPU is required: {error}"
            );
        }
    }
    devices
}

pub(crate) fn recorded(path: impl AsRef<Path>) -> Vec<f32> {
    npy::read(path).unwrap().values
}

/// The largest difference, as a part of the largest recorded magnitude.
#[track_caller]
pub(crate) fn assert_close(what: &str, ours: &[f32], ccv: &[f32]) {
    assert_eq!(ours.len(), ccv.len(), "{what}");
    let scale = ccv.iter().fold(0.0f32, |m, x| m.max(x.abs())).max(1e-30);
    let (at, error) = ours
        .iter()
        .zip(ccv)
        .map(|(a, b)| (a - b).abs() / scale)
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((0, 0.0));
    let found = (ours.get(at), ccv.get(at));
    assert!(error <= TOLERANCE, "{what}: {error:e} of the scale {scale} at {at}: {found:?}");
}
