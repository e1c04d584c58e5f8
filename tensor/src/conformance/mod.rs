//! The suite that every backend passes (feature `conformance`).
//!
//! Each family of ops is one function that takes a [`Device`] and panics, naming the op, its
//! parameters, the shapes, the index and both values, where the device disagrees with the plain
//! [`reference`](mod@crate::reference). A backend's test file is one line,
//! which makes one `#[test]` of each family:
//!
//! ```
//! use striate_tensor::{Device, Reference, conformance::Settings, conformance_tests};
//!
//! conformance_tests!(Device::new(Reference::new()), Settings::default());
//! ```
//!
//! The cases of a family are a table of edges (empty, one, around vector widths and tile sizes,
//! windows larger than strides and the reverse, groups, half precision, NaN and infinities) and
//! random ones, made by property tests from a fixed seed: the same cases every time.
//!
//! # Tolerances
//! Ops that move numbers give the same bits; ops that choose among numbers give equal ones. The
//! others may differ by [`Settings::tolerance`] times
//! - the magnitude of each element, where an op works element by element;
//! - for sums, the root of the number of terms times the largest term that the operands can make
//!   (what random signs let a sum grow to, and its rounding errors with it), or the largest element
//!   of the output where that is larger (signs that are not random).
//!
//! Results of half precision may differ by one unit in the last place besides. Where the reference
//! is NaN the device is NaN, and where it is infinite the same infinity.
//!
//! A transformed convolution ([`Algorithm::Auto`](crate::ops::Algorithm)) computes tiles of outputs
//! together, so NaN and infinities may spread further than the definition takes them, but only so
//! far, and they never vanish:
//! - in the convolution, from `x` to outputs of the same image and group whose tile (up to 4 outputs
//!   along each axis) saw the pixel, and from the weights to outputs of the same channel;
//! - in the gradient in the input, from `dy` to pixels of the same image and group in such a tile.
//!   The weights spread nothing: a pixel meets the weights that it saw and no other;
//! - in the gradient in the weights, from `x` to weights of the same input channel, and from `dy` to
//!   weights of the same output channel.
//!
//! An output that a device [writes as a part](crate::Backend::execute_part) of a wider tensor has the same
//! bits as one that stands alone, and so has one that it [writes over](crate::Backend::execute_over) an operand.
//!
//! # What must be executed
//! Every op is executed by every backend, on operands and results of f32 and u32, unless
//! [`Settings::declines`] names it. What a backend says that it does not [support](crate::Backend::supports) must give [`Error::Unsupported`](crate::Error::Unsupported),
//! and stands in the [report](FamilyReport).

// It is a test suite, though another crate's tests run it: failing is what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod along;
mod batch_norm;
mod bits;
mod cases;
mod conv2d;
mod conv2d_int8;
mod elementwise;
mod group_norm;
mod lrn;
mod matmul;
mod memory;
mod movement;
mod optimize;
mod over;
mod parts;
mod pool2d;
mod random;
mod reduce;
mod report;
mod resample;
mod samples;
mod softmax;
mod strategies;
mod unary_grad;
mod values;

pub use bits::{bits, digest};
pub use report::{FamilyReport, run, run_family};
pub use samples::{Sample, samples};

use crate::Device;

/// How thorough the suite is, and what it asks of the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Random cases for each op.
    pub cases: u32,
    /// What f32 arithmetic may be off by, relative to the scale of the result.
    pub tolerance: f64,
    /// The device keeps subnormal numbers. Where it flushes them to zero, as graphics drivers may,
    /// they are left out of operands.
    pub subnormals: bool,
    /// The ops, by their [names](crate::Op::name), that the backend does not execute, or not on all
    /// shapes. All others it must execute: see the [module](self).
    pub declines: &'static [&'static str],
    /// Seeds of random cases that fail are kept in `proptest-regressions/conformance.txt` of the
    /// crate under test, and tried first in later runs.
    pub regressions: bool,
}

impl Default for Settings {
    /// 64 random cases, the 1e-5 of Striate's numerical contract, subnormals kept, no op declined,
    /// failures kept.
    fn default() -> Self {
        Settings { cases: 64, tolerance: 1e-5, subnormals: true, declines: &[], regressions: true }
    }
}

// The list of families stands once; `$d` is a dollar sign for the macro that the macro defines.
macro_rules! families {
    ($d:tt $($module:ident::$name:ident,)*) => {
        $(pub use $module::$name;)*

        /// The name and the function of each family.
        pub const FAMILIES: &[(&str, fn(&Device, &Settings))] =
            &[$((stringify!($name), $name),)*];

        /// Makes one `#[test]` of each family of the conformance suite. Takes expressions for the
        /// [`Device`](crate::Device) and the
        /// [`Settings`](crate::conformance::Settings), evaluated in each test.
        #[macro_export]
        macro_rules! conformance_tests {
            ($d device:expr, $d settings:expr) => {
                $(
                    #[test]
                    fn $name() {
                        let name = stringify!($name);
                        let report = $d crate::conformance::run_family(name, &$d device, &$d settings);
                        if !report.declined.is_empty() {
                            // The tests of a crate may print; the crates themselves do not.
                            #[allow(clippy::print_stderr)]
                            {
                                eprintln!("{report}");
                            }
                        }
                    }
                )*
            };
        }
    };
}

families! { $
    elementwise::unary,
    unary_grad::unary_grad,
    elementwise::binary,
    elementwise::compare,
    elementwise::select,
    elementwise::cast,
    elementwise::relu_grad,
    matmul::matmul,
    reduce::reduce,
    reduce::arg_reduce,
    along::cumulative_sum,
    along::arg_sort,
    along::take_along,
    along::scatter,
    softmax::softmax,
    softmax::cross_entropy,
    softmax::cross_entropy_grad,
    softmax::weighted_cross_entropy,
    softmax::weighted_cross_entropy_grad,
    movement::permute,
    movement::slice,
    movement::concatenate,
    movement::pad,
    resample::pad_image,
    resample::pad_image_grad,
    movement::gather,
    movement::gather_grad,
    movement::flip,
    conv2d::conv2d,
    conv2d_int8::conv2d_int8,
    conv2d::conv2d_input_grad,
    conv2d::conv2d_weight_grad,
    conv2d::conv_transpose2d,
    pool2d::max_pool2d,
    pool2d::max_pool2d_grad,
    pool2d::avg_pool2d,
    pool2d::avg_pool2d_grad,
    resample::resize,
    resample::resize_grad,
    lrn::lrn,
    lrn::lrn_grad,
    batch_norm::moments,
    batch_norm::batch_norm,
    batch_norm::batch_norm_sums,
    batch_norm::batch_norm_grad,
    batch_norm::batch_norm_scale_grad,
    batch_norm::running_moments,
    group_norm::group_norm,
    group_norm::group_norm_sums,
    group_norm::group_norm_grad,
    random::dropout,
    random::uniform,
    random::normal,
    random::fill,
    memory::sgd_momentum,
    optimize::optimize,
    memory::transfer,
    memory::bad_operands,
    bits::same_bits_twice,
}

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
