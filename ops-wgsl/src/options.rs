//! How a device is opened.

use std::path::PathBuf;

use crate::choice::Class;
use crate::file::default_folder;

/// How a device is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Ask for no more than WebGPU promises on every adapter (128 MiB a binding, 16 KiB of
    /// workgroup memory, no features), though this one offers it: for tests.
    pub default_limits: bool,
    /// Shaders check every index and divisor, at some cost: for tests.
    pub checked: bool,
    /// Cut tensors into chunks of at most so many bytes (a power of two from 256), though more can be
    /// bound: for tests.
    pub chunk_bytes: Option<u64>,
    /// Choose kernels for another class of adapters than the one that this one is of: for tests and
    /// comparisons.
    pub class: Option<Class>,
    /// Use Winograd's algorithm for each convolution that it is for, or for none; by default where it
    /// is expected to win: for tests and comparisons.
    pub winograd: Option<bool>,
    /// Take the time of each op on the GPU's own clock. Each batch is waited for.
    pub profile: bool,
    /// Where compiled pipelines and the winners of `tune` are kept from run to run; nowhere if none.
    pub cache: Option<PathBuf>,
}

impl Default for Options {
    /// All that the adapter offers, no checks, no times, and pipelines kept in the user's cache
    /// folder.
    fn default() -> Self {
        Options {
            default_limits: false,
            checked: false,
            chunk_bytes: None,
            class: None,
            winograd: None,
            profile: false,
            cache: default_folder(),
        }
    }
}
