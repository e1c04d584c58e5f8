//! A device for tests.

// Each test file uses a part of it.
#![allow(dead_code)]

use striate_ops_wgsl::{AdapterChoice, Options, Wgpu};

/// A device, where there is an adapter; else says so, or fails with `STRIATE_REQUIRE_GPU=1`.
pub(crate) fn gpu(options: Options) -> Option<Wgpu> {
    match Wgpu::new(&AdapterChoice::Gpu, options) {
        Ok(gpu) => Some(gpu),
        Err(error) if required() => panic!("STRIATE_REQUIRE_GPU is set, and {error}"),
        Err(error) => {
            #[allow(clippy::print_stdout)]
            {
                println!("skipped: {error}");
            }
            None
        }
    }
}

/// Whether a test that cannot run has failed.
pub(crate) fn required() -> bool {
    std::env::var_os("STRIATE_REQUIRE_GPU").is_some_and(|value| value == "1")
}

/// What WebGPU promises everywhere, and every check in the shaders.
pub(crate) fn default_limits() -> Options {
    let mut options = Options::default();
    options.default_limits = true;
    options.checked = true;
    options.cache = None;
    options
}

/// All that the adapter offers.
pub(crate) fn full_limits() -> Options {
    let mut options = Options::default();
    options.cache = None;
    options
}

/// Default limits, and tensors cut into chunks of so many bytes.
pub(crate) fn small_chunks(bytes: u64) -> Options {
    let mut options = default_limits();
    options.chunk_bytes = Some(bytes);
    options
}
