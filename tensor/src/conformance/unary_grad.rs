//! The gradients of functions of each element.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, finite_max, random, table};
use super::elementwise::{SHAPES, unary_kinds};
use super::strategies::{dims, float, seed};
use super::values::{EDGES, FLOATS, Values, tensor};
use crate::ops::{Slope, Unary, UnaryGrad, UnaryKind};
use crate::{DType, Device, HostTensor, reference};

/// Every function that has such a gradient, and some with other parameters than those of the table.
fn kinds() -> Vec<UnaryKind> {
    unary_kinds().into_iter().filter(UnaryGrad::takes).collect()
}

/// Numbers that the function takes.
fn inputs(kind: UnaryKind) -> Values<'static> {
    match kind {
        UnaryKind::Sqrt
        | UnaryKind::Rsqrt
        | UnaryKind::Recip
        | UnaryKind::Log
        | UnaryKind::Powf { .. } => Values::Range(0.1, 20.0),
        _ => Values::Range(-8.0, 8.0),
    }
}

/// What the op keeps of the function: `x`, or `y` as the reference computes it.
fn kept(kind: UnaryKind, x: HostTensor) -> HostTensor {
    match kind.slope() {
        Slope::OfOutput => reference::execute(&Unary { kind }.into(), &[&x]).expect("a function"),
        _ => x,
    }
}

fn case(kind: UnaryKind, kept: HostTensor, dy: HostTensor) -> Case {
    let floor = match kind {
        // One product, or a chain of them.
        UnaryKind::Abs
        | UnaryKind::Square
        | UnaryKind::Sqrt
        | UnaryKind::Rsqrt
        | UnaryKind::Recip
        | UnaryKind::Exp
        | UnaryKind::Log
        | UnaryKind::LeakyRelu { .. }
        | UnaryKind::HardSigmoid
        | UnaryKind::Powf { .. }
        | UnaryKind::Clamp { .. } => 0.0,
        // The slope goes through zero, or is a small rest: as exact as the function itself.
        _ => 0.1 * finite_max(&dy),
    };
    Case::new(UnaryGrad { kind }, [kept, dy], Tolerance::Each { floor })
}

fn random_case(kind: UnaryKind, dims: &[usize], dtype: DType, seed: u64) -> Case {
    let x = kept(kind, tensor(dims, dtype, inputs(kind), seed));
    case(kind, x, tensor(dims, dtype, Values::Range(-2.0, 2.0), seed ^ 1))
}

/// Edges of the function at which its gradient is defined sharply enough to be asked of every device.
fn edges(kind: UnaryKind) -> Vec<f32> {
    let keep = |x: &f32| match kind {
        // Periods lose their meaning in f32 far from zero.
        UnaryKind::Sin | UnaryKind::Cos => !x.is_finite() || x.abs() < 200.0,
        UnaryKind::Rsqrt => x.to_bits() != (-0.0f32).to_bits(),
        // Their slopes are beyond f32 where they are not 0.
        UnaryKind::Recip | UnaryKind::Powf { .. } => x.is_nan() || (0.1..1e3).contains(x),
        _ => true,
    };
    EDGES.iter().copied().filter(keep).collect()
}

/// Every [`UnaryGrad`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn unary_grad(device: &Device, settings: &Settings) {
    for kind in kinds() {
        for dtype in FLOATS {
            let shapes = SHAPES.iter().zip(0..);
            table(device, settings, shapes.map(|(s, i)| random_case(kind, s, dtype, i)));
            // Each edge in each lane of a vector, and in the remainder; as `x`, then as `dy`.
            let edges = edges(kind);
            for len in [edges.len(), 8 * edges.len() + 5] {
                let x = kept(kind, tensor(&[len], dtype, Values::Cycle(&edges), 0));
                let dy = tensor(&[len], dtype, Values::Range(0.5, 2.0), 1);
                table(device, settings, [case(kind, x, dy)]);
            }
            let x = kept(kind, tensor(&[100], dtype, inputs(kind), 2));
            let dy =
                tensor(&[100], dtype, Values::Cycle(&[f32::NAN, f32::INFINITY, -0.0, -2.5]), 0);
            table(device, settings, [case(kind, x, dy)]);
        }
    }
    let kinds = prop::sample::select(kinds());
    random(device, settings, (kinds, dims(0..=5), float(), seed()), |(kind, dims, dtype, seed)| {
        random_case(kind, &dims, dtype, seed)
    });
}
