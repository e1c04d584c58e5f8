//! Activations of results that were just computed, while they are in the first-level cache.

use striate_tensor::ops::Activation;

use crate::math::{sigmoid, tanh};
use crate::simd::{Kernel, Simd};
use crate::unary::{gelu, gelu_erf, mish, silu};

/// What an activation makes of a vector, for those that are a few instructions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum InRegisters {
    None,
    Relu,
    Clamp(f32, f32),
    HardSigmoid,
    HardSwish,
}

impl InRegisters {
    /// The activation, where it is a few instructions.
    fn of(activation: Activation) -> Option<Self> {
        match activation {
            Activation::None => Some(InRegisters::None),
            Activation::Relu => Some(InRegisters::Relu),
            Activation::Clamp { min, max } => Some(InRegisters::Clamp(min, max)),
            Activation::HardSigmoid => Some(InRegisters::HardSigmoid),
            Activation::HardSwish => Some(InRegisters::HardSwish),
            _ => None,
        }
    }

    /// An activation in two parts: what is done in registers, and what [`activate`] does after that.
    pub(crate) fn split(activation: Activation) -> (Self, Activation) {
        match InRegisters::of(activation) {
            Some(in_registers) => (in_registers, Activation::None),
            None => (InRegisters::None, activation),
        }
    }

    /// [`split`](InRegisters::split) for kernels whose sums fill the registers: what needs more of them
    /// is done after, since it would send sums to memory.
    pub(crate) fn split_frugally(activation: Activation) -> (Self, Activation) {
        match activation {
            Activation::HardSigmoid | Activation::HardSwish => (InRegisters::None, activation),
            _ => InRegisters::split(activation),
        }
    }

    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, simd: S, x: S::V) -> S::V {
        match self {
            InRegisters::None => x,
            InRegisters::Relu => simd.relu(x),
            InRegisters::Clamp(min, max) => simd.clamp(x, simd.splat(min), simd.splat(max)),
            InRegisters::HardSigmoid => hard_sigmoid_vector(simd, x),
            InRegisters::HardSwish => simd.mul(x, hard_sigmoid_vector(simd, x)),
        }
    }

    /// [`apply`](InRegisters::apply) to each of some vectors, deciding once what it is.
    #[inline(always)]
    pub(crate) fn apply_all<S: Simd>(self, simd: S, all: &mut [S::V]) {
        match self {
            InRegisters::None => {}
            // Loops, not closures: those may be compiled by themselves, without the kernel's instructions.
            InRegisters::Relu => {
                for x in all {
                    *x = simd.relu(*x);
                }
            }
            InRegisters::Clamp(min, max) => {
                let (min, max) = (simd.splat(min), simd.splat(max));
                for x in all {
                    *x = simd.clamp(*x, min, max);
                }
            }
            InRegisters::HardSigmoid => {
                for x in all {
                    *x = hard_sigmoid_vector(simd, *x);
                }
            }
            InRegisters::HardSwish => {
                for x in all {
                    *x = simd.mul(*x, hard_sigmoid_vector(simd, *x));
                }
            }
        }
    }
}

/// [`hard_sigmoid`](crate::unary::hard_sigmoid), the same bits.
#[inline(always)]
fn hard_sigmoid_vector<S: Simd>(simd: S, x: S::V) -> S::V {
    let shifted = simd.add(x, simd.splat(3.0));
    let clamped = simd.clamp(shifted, simd.splat(0.0), simd.splat(6.0));
    simd.mul(clamped, simd.splat(1.0 / 6.0))
}

/// Applies an activation to each. Inlined, so that it is compiled for the kernel's instructions; the
/// results are those of the op of the same name.
#[inline(always)]
pub(crate) fn activate<S: Simd>(simd: S, activation: Activation, values: &mut [f32]) {
    // One loop for each function, so that each is compiled into its own.
    macro_rules! by {
        ($f:expr) => {
            in_blocks(values, $f)
        };
    }
    match activation {
        Activation::Sigmoid => by!(sigmoid),
        Activation::Silu => by!(silu),
        Activation::Tanh => by!(tanh),
        Activation::Gelu => by!(gelu),
        Activation::GeluErf => by!(gelu_erf),
        Activation::Mish => by!(mish),
        Activation::None => {}
        _ => {
            if let Some(function) = InRegisters::of(activation) {
                in_vectors(simd, values, function);
            }
        }
    }
}

/// A function of a few instructions of each. The compiler would read several blocks at a time, with a
/// gather for each of their elements, were it written by elements as those of [`in_blocks`].
#[inline(always)]
fn in_vectors<S: Simd>(simd: S, values: &mut [f32], function: InRegisters) {
    let mut vectors = values.chunks_exact_mut(S::LANES);
    for vector in &mut vectors {
        // SAFETY: of `LANES` floats.
        unsafe {
            let x = simd.load(vector.as_ptr());
            simd.store(vector.as_mut_ptr(), function.apply(simd, x));
        }
    }
    let rest = vectors.into_remainder();
    if !rest.is_empty() {
        // SAFETY: as many floats as are counted.
        unsafe {
            let x = simd.load_part(rest.as_ptr(), rest.len());
            simd.store_part(rest.as_mut_ptr(), function.apply(simd, x), rest.len());
        }
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
pub(crate) unsafe fn activate_rows<S: Simd>(
    simd: S,
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
        let row = unsafe { std::slice::from_raw_parts_mut(to.add(row * pitch), n) };
        activate(simd, activation, row);
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
    fn run<S: Simd>(self, simd: S) {
        activate(simd, self.activation, self.values);
    }
}
