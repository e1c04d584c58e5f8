//! The conformance suite on a graphics adapter: within WebGPU's default limits, with every check in
//! the shaders; with all that the adapter offers, without them; and with tensors in many small
//! chunks, as large ones are.
//!
//! Without an adapter the tests say so and pass; with `STRIATE_REQUIRE_GPU=1` they fail.

#![allow(clippy::unwrap_used)]

mod common;

use striate_ops_wgsl::Options;
use striate_tensor::Device;
use striate_tensor::conformance::{FAMILIES, Settings, run_family};

/// Graphics drivers may flush subnormal numbers.
const SETTINGS: Settings = Settings {
    cases: 64,
    tolerance: 1e-5,
    subnormals: false,
    // Every op has kernels.
    declines: &[],
    regressions: true,
};

/// Random cases for each op; `CONFORMANCE_CASES` asks for more or fewer.
fn cases() -> u32 {
    let asked = std::env::var("CONFORMANCE_CASES").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(SETTINGS.cases)
}

fn run(name: &str, options: Options) {
    run_within(name, options, SETTINGS.tolerance);
}

fn run_within(name: &str, options: Options, tolerance: f64) {
    let Some(gpu) = common::gpu(options) else { return };
    let device = Device::new(gpu);
    let report = run_family(name, &device, &Settings { cases: cases(), tolerance, ..SETTINGS });
    // Types that are storage only may be declined, and nothing else.
    let stored = ["f64", "i64", "i32", "i8", "u8", "bool"];
    let of_stored = |case: &String| stored.iter().any(|dtype| case.contains(dtype));
    assert!(report.declined.keys().all(of_stored), "{report}");
    // A refusal that came late belongs to this family.
    device.synchronize().unwrap();
}

macro_rules! families {
    ($(small $small:ident)* $(whole $whole:ident)*) => {
        mod default_limits {
            $(#[test] fn $small() { super::run(stringify!($small), super::common::default_limits()); })*
            $(#[test] fn $whole() { super::run(stringify!($whole), super::common::default_limits()); })*
        }
        mod full_limits {
            $(#[test] fn $small() { super::run(stringify!($small), super::common::full_limits()); })*
            $(#[test] fn $whole() { super::run(stringify!($whole), super::common::full_limits()); })*
        }
        mod small_chunks {
            $(#[test] fn $small() {
                super::run(stringify!($small), super::common::small_chunks(16 << 10));
            })*
        }
        const LISTED: &[&str] = &[$(stringify!($small),)* $(stringify!($whole)),*];
    };
}

families! {
    small unary small unary_grad small binary small select small compare small cast small reduce
    small arg_reduce small arg_sort small take_along
    small cross_entropy small cross_entropy_grad
    small weighted_cross_entropy small weighted_cross_entropy_grad
    small relu_grad small permute small slice small concatenate
    small pad small gather small gather_grad small flip small lrn small lrn_grad small dropout small uniform
    small batch_norm_scale_grad small running_moments
    small normal small fill small sgd_momentum small optimize small transfer
    // Products and sums over rows have tests of their own below. The others have images, lines and weights beyond
    // 16 KiB: `tests/large.rs` has others for them.
    whole matmul whole softmax whole conv2d whole conv2d_int8 whole conv2d_input_grad whole conv2d_weight_grad whole conv_transpose2d whole max_pool2d
    whole max_pool2d_grad whole avg_pool2d whole avg_pool2d_grad whole bad_operands
    whole same_bits_twice whole moments whole batch_norm whole batch_norm_sums whole batch_norm_grad
    whole group_norm whole group_norm_sums whole group_norm_grad
    whole cumulative_sum whole scatter whole resize whole resize_grad whole pad_image whole pad_image_grad
}

/// A product goes in as many dispatches as its operands have pairs of parts, so that the chunks of the
/// other families would make thousands of the larger ones; these cut them along all three extents as
/// well.
#[test]
fn small_chunks_matmul() {
    run("matmul", common::small_chunks(64 << 10));
}

/// A part of the rows is bound as a whole: these chunks have several, and end within one.
#[test]
fn small_chunks_batch_norm() {
    for family in ["moments", "batch_norm", "batch_norm_sums", "batch_norm_grad"] {
        run(family, common::small_chunks(256 << 10));
    }
}

/// An image is bound as a whole.
#[test]
fn small_chunks_group_norm() {
    for family in ["group_norm", "group_norm_sums", "group_norm_grad"] {
        run(family, common::small_chunks(512 << 10));
    }
}

// The tiles of every class of adapters, whatever this one is.
mod classes {
    use striate_ops_wgsl::Class;
    const CLASSES: [Class; 6] = [
        Class::Simple,
        Class::Software,
        Class::Tile(0),
        Class::Tile(1),
        Class::Tile(2),
        Class::Tile(3),
    ];
    /// Those whose gradients are computed otherwise than on this adapter.
    const CARDS: [Class; 3] = [Class::Tile(0), Class::Tile(1), Class::Tile(3)];
    fn each(family: &str) {
        each_within(family, &CLASSES, None, super::SETTINGS.tolerance);
    }
    fn each_within(family: &str, classes: &[Class], winograd: Option<bool>, tolerance: f64) {
        for &class in classes {
            let mut options = super::common::default_limits();
            options.class = Some(class);
            options.winograd = winograd;
            super::run_within(family, options, tolerance);
        }
    }
    #[test]
    fn matmul() {
        each("matmul");
    }
    #[test]
    fn conv2d() {
        each("conv2d");
    }
    // Winograd's algorithm for all that it can compute, not only where it wins: the contract for
    // single ops leaves it out, and this is what it may be off by.
    #[test]
    fn conv2d_by_winograd() {
        each_within("conv2d", &CLASSES, Some(true), 2e-5);
    }
    #[test]
    fn conv2d_input_grad() {
        each_within("conv2d_input_grad", &CARDS, None, super::SETTINGS.tolerance);
    }
    #[test]
    fn conv2d_input_grad_by_winograd() {
        each_within("conv2d_input_grad", &CARDS[..1], Some(true), 2e-5);
    }
    #[test]
    fn conv2d_weight_grad() {
        each_within("conv2d_weight_grad", &CARDS, None, super::SETTINGS.tolerance);
    }
    #[test]
    fn same_bits_twice() {
        each("same_bits_twice");
    }
}

#[test]
fn every_family_is_listed() {
    let mut families: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
    let mut listed = LISTED.to_vec();
    families.sort_unstable();
    listed.sort_unstable();
    assert_eq!(families, listed);
}
