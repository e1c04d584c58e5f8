//! Which variants of kernels an adapter's features enable.

use crate::queue::Context;

/// A variant of kernels that needs more than WebGPU promises on every adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variant {
    /// The feature that it uses.
    pub name: &'static str,
    /// Whether it is used on this device.
    pub enabled: bool,
    /// What it does where it is enabled, or why it is not.
    pub why: &'static str,
}

pub(crate) fn variants(cx: &Context) -> Vec<Variant> {
    let offered = |feature| cx.gpu.features.contains(feature);
    let variant = |name, enabled, why| Variant { name, enabled, why };
    let f16 = if offered(wgpu::Features::SHADER_F16) {
        "f16 is widened on integers: as fast where it was measured, and exact on every adapter"
    } else {
        "the adapter does not offer it; f16 is widened on integers"
    };
    let subgroups = if offered(wgpu::Features::SUBGROUP) {
        "sums go in one order on all adapters, whatever the size of their subgroups"
    } else {
        "the adapter offers none"
    };
    let clock = offered(wgpu::Features::TIMESTAMP_QUERY);
    let cache = offered(wgpu::Features::PIPELINE_CACHE);
    let large = cx.gpu.chunk_bytes() > DEFAULT_BINDING_BYTES;
    vec![
        variant("shader-f16", false, f16),
        variant("subgroups", false, subgroups),
        variant(
            "cooperative matrices",
            false,
            "wgpu has them as an experiment; in f16 they are outside the numerical contract",
        ),
        variant(
            "bindings beyond 128 MiB",
            large,
            if large {
                "large tensors are cut less often"
            } else {
                "the adapter takes no larger ones"
            },
        ),
        variant(
            "timestamps",
            clock,
            if clock { "ops are timed by the GPU's clock" } else { "the adapter offers no clock" },
        ),
        variant(
            "pipeline cache",
            cache,
            if cache { "compiled shaders can be kept on disk" } else { "the driver keeps its own" },
        ),
    ]
}

/// What WebGPU promises that one binding takes.
const DEFAULT_BINDING_BYTES: u64 = 128 << 20;
