//! Activations of results that were just computed, while they are in the first-level cache.

use striate_tensor::ops::Activation;

use crate::math::{clamp, sigmoid, tanh};
use crate::simd::{Kernel, Simd};
use crate::unary::{gelu, gelu_erf, hard_sigmoid, mish, silu};

/// What an activation makes of a vector, for those that are a single instruction or two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum InRegisters {
    None,
    Relu,
    Clamp(f32, f32),
}

impl InRegisters {
    /// An activation in two parts: what is done in registers, and what [`activate`] does after that.
    pub(crate) fn split(activation: Activation) -> (Self, Activation) {
        match activation {
            Activation::Relu => (InRegisters::Relu, Activation::None),
            Activation::Clamp { min, max } => (InRegisters::Clamp(min, max), Activation::None),
            after => (InRegisters::None, after),
        }
    }

    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, simd: S, x: S::V) -> S::V {
        match self {
            InRegisters::None => x,
            InRegisters::Relu => simd.relu(x),
            InRegisters::Clamp(min, max) => simd.clamp(x, simd.splat(min), simd.splat(max)),
        }
    }
}

/// Applies an activation to each. Inlined, so that it is compiled for the kernel's instructions; the
/// results are those of the op of the same name.
#[inline(always)]
pub(crate) fn activate(activation: Activation, values: &mut [f32]) {
    // One loop for each function, so that each is compiled into its own.
    macro_rules! by {
        ($f:expr) => {
            in_blocks(values, $f)
        };
    }
    match activation {
        Activation::Relu => by!(|x: f32| if x < 0.0 { 0.0 } else { x }),
        Activation::Clamp { min, max } => by!(|x: f32| clamp(x, min, max)),
        Activation::Sigmoid => by!(sigmoid),
        Activation::HardSigmoid => by!(hard_sigmoid),
        Activation::HardSwish => by!(|x: f32| x * hard_sigmoid(x)),
        Activation::Silu => by!(silu),
        Activation::Tanh => by!(tanh),
        Activation::Gelu => by!(gelu),
        Activation::GeluErf => by!(gelu_erf),
        Activation::Mish => by!(mish),
        _ => {}
    }
}

/// Floats of a block: whole vectors at every level.
const BLOCK: usize = 16;

/// `f` of each. A loop of unknown length would be unrolled to several vectors, of which the short rows of a
/// register block have none.
#[inline(always)]
fn in_blocks(values: &mut [f32], f: impl Fn(f32) -> f32) {
    let of_block = |block: &mut [f32; BLOCK]| {
        for x in block {
            *x = f(*x);
        }
    };
    let (blocks, rest) = values.as_chunks_mut::<BLOCK>();
    for block in blocks {
        of_block(block);
    }
    if !rest.is_empty() {
        let mut block = [0.0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        of_block(&mut block);
        rest.copy_from_slice(&block[..rest.len()]);
    }
}

/// [`activate`] on rows of `n` floats, `pitch` from one to the next.
///
/// # Safety
/// The rows must be valid, and the caller's alone.
#[inline(always)]
pub(crate) unsafe fn activate_rows(
    activation: Activation,
    to: *mut f32,
    rows: usize,
    n: usize,
    pitch: usize,
) {
    if activation.is_none() {
        return;
    }
    for row in 0..rows {
        // SAFETY: the caller's.
        activate(activation, unsafe { std::slice::from_raw_parts_mut(to.add(row * pitch), n) });
    }
}

/// [`activate`], compiled for a level.
pub(crate) struct Activate<'a> {
    pub(crate) activation: Activation,
    pub(crate) values: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        activate(self.activation, self.values);
    }
}
