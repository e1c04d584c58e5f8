//! What the comparisons with ccv share.

// Each test file uses its own part of this.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub(crate) mod formula;
pub(crate) mod torch;

use std::path::{Path, PathBuf};

use striate::image::npy;
use striate::prelude::*;

/// Of the tensor's largest magnitude: the project's contract for whole networks.
pub(crate) const TOLERANCE: f32 = 1e-4;

/// A folder of values that ccv computed.
pub(crate) struct Golden {
    folder: PathBuf,
    /// All that was recorded, and not the part that is in this repository.
    pub(crate) is_whole: bool,
}

impl Golden {
    /// The part in this repository, which is always there.
    pub(crate) fn fixtures() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ccv");
        Golden { folder, is_whole: false }
    }

    /// All that was recorded, where it is beside the repository; it must be there where
    /// `STRIATE_REQUIRE_GOLDEN=1` says so.
    pub(crate) fn whole() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/ccv-golden");
        if folder.is_dir() {
            return Some(Golden { folder, is_whole: true });
        }
        let required = std::env::var("STRIATE_REQUIRE_GOLDEN").is_ok_and(|value| value == "1");
        assert!(!required, "the golden values are required and {} is not there", folder.display());
        None
    }

    /// The fixtures, and the whole where it is there.
    pub(crate) fn all() -> Vec<Self> {
        [Self::fixtures()].into_iter().chain(Self::whole()).collect()
    }

    /// The most that there is.
    pub(crate) fn most() -> Self {
        Self::whole().unwrap_or_else(Self::fixtures)
    }

    pub(crate) fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.folder.join(file)
    }

    /// The small networks of which there are values.
    pub(crate) fn nets(&self) -> &'static [&'static str] {
        if self.is_whole { &["tiny", "tiny2", "tiny-nolrn"] } else { &["tiny"] }
    }

    /// The pictures of which there are ranks, by name.
    pub(crate) fn pictures(&self) -> Vec<(&'static str, Image)> {
        let names: &[(&str, &str)] = if self.is_whole {
            &[("dex", "samples/dex.png"), ("box", "samples/box.png")]
        } else {
            &[("dex", "samples/dex.webp")]
        };
        names.iter().map(|(name, file)| (*name, image::open(self.path(file)).unwrap())).collect()
    }

    /// What was recorded under this name. The fixtures may lack it; the whole may not.
    pub(crate) fn recorded(&self, file: &str) -> Option<Vec<f32>> {
        let path = self.path(file);
        (self.is_whole || path.exists()).then(|| npy::read(path).unwrap().values)
    }
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

/// A GPU (software will do) that neither reads nor writes the caches of its user, where there is one; it must
/// be there where `STRIATE_REQUIRE_GPU=1` says so.
#[cfg(feature = "gpu")]
#[allow(
    clippy::print_stdout,
    reason = "who reads the test's output wants to know what was not tested"
)]
pub(crate) fn gpu() -> Option<striate::ops_wgsl::Wgpu> {
    use striate::ops_wgsl::{AdapterChoice, Options, Wgpu};

    let mut options = Options::default();
    options.cache = None;
    match Wgpu::new(&AdapterChoice::Gpu, options) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            let required = std::env::var_os("STRIATE_REQUIRE_GPU").is_some_and(|v| v == "1");
            assert!(!required, "STRIATE_REQUIRE_GPU is set, and {error}");
            println!("skipped: {error}");
            None
        }
    }
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
