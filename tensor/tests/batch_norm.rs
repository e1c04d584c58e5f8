//! Batch normalization: by hand, its gradients against differences, and all of it against the
//! formula composed of other ops.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod differences;

use differences::{assert_gradients, assert_half_alike, device, halves, values};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use striate_tensor::ops::*;
use striate_tensor::{DType, RandomKey, Result, Tensor};

fn tensor<const N: usize>(dims: [usize; N], values: &[f32]) -> Tensor {
    Tensor::from_vec(values.to_vec(), dims, &device()).unwrap()
}

fn normal(dims: &[usize], mean: f32, stream: u64) -> Tensor {
    Tensor::normal(dims, mean, 1.0, RandomKey::new(5, stream), &device()).unwrap()
}

#[test]
fn moments_by_hand() {
    // 1 and 3: 2 ± 1; 10 and 16: 13 ± 3; a constant.
    let x = tensor([2, 1, 3], &[1., 10., 7., 3., 16., 7.]);
    assert_eq!(values(&x.moments().unwrap()), [2., 13., 7., 1., 9., 0.]);
    let nothing = tensor([0, 2], &[]);
    assert_eq!(values(&nothing.moments().unwrap()), [0.; 4]);
    assert_eq!(tensor([3, 0], &[]).moments().unwrap().dims(), [2, 0]);
    let infinite = tensor([2, 1], &[1., f32::INFINITY]).moments().unwrap();
    let infinite = values(&infinite);
    assert!(infinite[0] == f64::INFINITY && infinite[1].is_nan(), "{infinite:?}");
}

#[test]
fn normalization_by_hand() {
    // (5 - 1) · 3 / √(3 + 1) - 2 = 4, and (0 - 2) · 1 / √(0 + 1) + 1 = -1.
    let (x, moments) = (tensor([1, 2], &[5., 0.]), tensor([2, 2], &[1., 2., 3., 0.]));
    let (scale, shift) = (tensor([2], &[3., 1.]), tensor([2], &[-2., 1.]));
    let norm = BatchNorm { epsilon: 1.0, ..BatchNorm::default() };
    for batch in [false, true] {
        let norm = BatchNorm { batch, ..norm };
        let y = |norm| values(&x.batch_norm(&moments, &scale, &shift, norm).unwrap());
        assert_eq!(y(norm), [4., -1.]);
        assert_eq!(y(BatchNorm { activation: Activation::Relu, ..norm }), [4., 0.]);
        let clamp = Activation::Clamp { min: -0.5, max: 3.0 };
        assert_eq!(y(BatchNorm { activation: clamp, ..norm }), [3., -0.5]);
        // Added before the activation.
        let norm = BatchNorm { residual: true, activation: Activation::Relu, ..norm };
        let addend = tensor([1, 2], &[-3., 1.5]);
        let y = device().execute(&norm.into(), &[&x, &moments, &scale, &shift, &addend]).unwrap();
        assert_eq!(values(&y), [1., 0.5]);
    }
}

/// Without, ReLU, and a clamp of which both bounds cut something off.
const ACTIVATIONS: [Activation; 3] =
    [Activation::None, Activation::Relu, Activation::Clamp { min: -0.25, max: 1.0 }];

/// All activations with moments of the batch and with others, without an addend and with one.
fn norms(epsilon: f32) -> impl Iterator<Item = BatchNorm> {
    ACTIVATIONS.into_iter().flat_map(move |activation| {
        [(false, false), (true, false), (false, true), (true, true)]
            .map(|(batch, residual)| BatchNorm { epsilon, batch, residual, activation })
    })
}

/// The normalization of the first operand, where the moments are not those of the operand itself.
fn norm_of(t: &[&Tensor], moments: &Tensor, norm: BatchNorm) -> Result<Tensor> {
    let mut operands = vec![t[0], moments, t[1], t[2]];
    if norm.residual {
        operands.push(t[3]);
    }
    device().execute(&norm.into(), &operands)
}

/// The same by other ops: the moments of `x`, its normalization, the addend and the activation.
fn composed(t: &[&Tensor], norm: BatchNorm) -> Result<Tensor> {
    let (x, scale, shift) = (t[0], t[1], t[2]);
    let batch: Vec<usize> = (0..x.dims().len() - 1).collect();
    let centered = x.sub(&x.reduce(ReduceKind::Mean, &batch, true)?)?;
    let variance = centered.square()?.reduce(ReduceKind::Mean, &batch, true)?;
    let y = centered.mul(&variance.affine(1.0, norm.epsilon)?.rsqrt()?)?.mul(scale)?.add(shift)?;
    let y = if norm.residual { y.add(t[3])? } else { y };
    match norm.activation.kind() {
        Some(kind) => device().execute(&Unary { kind }.into(), &[&y]),
        None => Ok(y),
    }
}

/// The output and the gradients in `x`, scale, shift and the addend.
fn run(
    operands: &[Tensor],
    function: impl Fn(&[&Tensor]) -> Result<Tensor>,
) -> Vec<(&'static str, Vec<f64>)> {
    let leaves: Vec<Tensor> = operands.iter().map(|x| x.detach().require_grad()).collect();
    let y = function(&leaves.iter().collect::<Vec<_>>()).unwrap();
    let (dy, y_values) = (normal(y.dims(), 0.5, 99), values(&y));
    let gradients = y.backward_with(&dy).unwrap();
    let of = leaves.iter().filter_map(|leaf| gradients.get(leaf));
    let of = ["dx", "dscale", "dshift", "dresidual"].into_iter().zip(of.map(values));
    [("y", y_values)].into_iter().chain(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// With `batch`, with fixed moments that gradients go on from by themselves, and by other ops:
    /// three ways to one result.
    #[test]
    fn is_the_formula_composed_of_other_ops(
        rows in 3..40usize, cols in 1..4usize, c in 1..7usize, which in 0..12usize, stream in any::<u64>(),
    ) {
        let norm = norms(1e-3).nth(which).unwrap();
        let x = normal(&[rows, cols, c], 2.0, stream);
        let mut operands = vec![x, normal(&[c], 1.0, stream ^ 1), normal(&[c], 0.0, stream ^ 2)];
        if norm.residual {
            operands.push(normal(&[rows, cols, c], 0.0, stream ^ 3));
        }
        let want = run(&operands, |t| composed(t, norm));
        assert_eq!(want.len(), 4 + usize::from(norm.residual));
        let norm = BatchNorm { batch: true, ..norm };
        let fused = run(&operands, |t| norm_of(t, &t[0].detach().moments()?, norm));
        // The moments keep their history here, and get no gradient.
        let attached = run(&operands, |t| norm_of(t, &t[0].moments()?, norm));
        assert_eq!(&fused, &attached);
        let norm = BatchNorm { batch: false, ..norm };
        let apart = run(&operands, |t| norm_of(t, &t[0].moments()?, norm));
        for got in [fused, apart] {
            assert_eq!(got.len(), want.len());
            for ((what, got), (_, want)) in got.iter().zip(&want) {
                let scale = want.iter().fold(1e-2f64, |scale, x| scale.max(x.abs()));
                for (got, want) in got.iter().zip(want) {
                    prop_assert!((got - want).abs() <= 1e-5 * scale, "{what}: {got}, composed {want}");
                }
            }
        }
    }
}

/// Around -1.5 and 1.5: with a small shift few elements are near the kink of ReLU.
fn two_sided(dims: &[usize], seed: u64) -> Tensor {
    let x = halves(dims, seed);
    let small = halves(dims, seed ^ 1).affine(0.125, 0.0).unwrap();
    x.sign().unwrap().affine(1.5, 0.0).unwrap().add(&small).unwrap()
}

/// A clamp whose bounds are in the widest gaps of the lower and of the upper half of these numbers.
fn clamp_in_gaps(mut given: Vec<f64>) -> Activation {
    given.sort_by(f64::total_cmp);
    let bound = |numbers: &[f64]| {
        let gaps = numbers.windows(2).max_by(|a, b| (a[1] - a[0]).total_cmp(&(b[1] - b[0])));
        gaps.map_or(0.0, |gap| ((gap[0] + gap[1]) / 2.0) as f32)
    };
    let (lower, upper) = given.split_at(given.len() / 2);
    Activation::Clamp { min: bound(lower), max: bound(upper) }
}

#[test]
fn gradients_are_the_differences() {
    for norm in norms(0.25) {
        for dims in [&[7usize, 3][..], &[2, 3, 2, 1], &[3, 4, 5]] {
            let c = *dims.last().unwrap();
            let x = two_sided(dims, 1);
            let scale = halves(&[c], 2);
            let shift = halves(&[c], 3).affine(0.0625, 0.0).unwrap();
            let moments = tensor([2, 1], &[0.125, 1.75]);
            let moments = moments.mul(&Tensor::ones([2, c], &device()).unwrap()).unwrap();
            let mut operands = vec![x, scale, shift];
            if norm.residual {
                operands.push(halves(dims, 4).affine(0.0625, 0.0).unwrap());
            }
            if !norm.batch {
                operands.push(moments);
            }
            let normalized = |t: &[Tensor], norm: BatchNorm| {
                let all: Vec<&Tensor> = t.iter().collect();
                match norm.batch {
                    true => norm_of(&all, &t[0].detach().moments()?, norm),
                    // Half-precision operands: moments are single.
                    false => norm_of(&all, &t[t.len() - 1].cast(DType::F32)?, norm),
                }
            };
            let plain = BatchNorm { activation: Activation::None, ..norm };
            let activation = match norm.activation {
                Activation::Clamp { .. } => {
                    clamp_in_gaps(values(&normalized(&operands, plain).unwrap()))
                }
                other => other,
            };
            let function = |t: &[Tensor]| normalized(t, BatchNorm { activation, ..norm });
            // Small steps, which take nothing across the kink.
            let step = if norm.activation.is_none() { 1.0 / 32.0 } else { 1.0 / 512.0 };
            assert_gradients(&operands, function, step, 5e-4);
            assert_half_alike(&operands, function);
        }
    }
}

#[test]
fn gradients_of_moments_are_the_differences() {
    for dims in [&[4usize, 3][..], &[2, 3, 1], &[1, 5]] {
        let x = halves(dims, 1);
        assert_gradients(std::slice::from_ref(&x), |t| t[0].moments(), 1.0 / 16.0, 3e-4);
        assert_half_alike(&[x], |t| t[0].moments());
    }
}

/// Each set of operands that may want a gradient gets it, and the same one.
#[test]
fn operands_may_want_gradients_alone() {
    for norm in norms(1e-5) {
        let mut operands = vec![
            two_sided(&[5, 3], 1),
            tensor([2, 3], &[0.5, 0., -0.25, 1., 2., 0.5]),
            halves(&[3], 2),
            halves(&[3], 3),
        ];
        if norm.residual {
            operands.push(halves(&[5, 3], 5));
        }
        let gradients = |wanted: usize| {
            let t: Vec<Tensor> = (operands.iter().enumerate())
                .map(
                    |(i, x)| {
                        if wanted >> i & 1 == 1 { x.clone().require_grad() } else { x.clone() }
                    },
                )
                .collect();
            let y = device().execute(&norm.into(), &t.iter().collect::<Vec<_>>()).unwrap();
            let gradients = y.backward_with(&halves(&[5, 3], 4)).unwrap();
            t.iter().map(|x| gradients.get(x).map(values)).collect::<Vec<_>>()
        };
        let every = (1 << operands.len()) - 1;
        let all = gradients(every);
        assert_eq!(all[1].is_none(), norm.batch, "moments of the batch get no gradient");
        for wanted in 1..every {
            for (i, (got, all)) in gradients(wanted).iter().zip(&all).enumerate() {
                let expected = all.as_ref().filter(|_| wanted >> i & 1 == 1);
                assert_eq!(got.is_some(), expected.is_some(), "operand {i} of {wanted:05b}");
                for (got, want) in got.iter().flatten().zip(expected.into_iter().flatten()) {
                    assert!((got - want).abs() < 1e-6, "operand {i} of {wanted:05b}");
                }
            }
        }
    }
}

/// At the kinks the gradients are those of the functions by themselves: ReLU's is 0 at 0, a clamp passes what
/// is at a bound.
#[test]
fn constant_channels_sit_at_the_kink() {
    for (activation, slope) in
        [(Activation::Relu, 0.0), (Activation::Clamp { min: 0.0, max: 6.0 }, 1.0)]
    {
        let norm = BatchNorm { batch: true, activation, ..BatchNorm::default() };
        let x = tensor([2, 1], &[3., 3.]).require_grad();
        let (scale, shift) = (tensor([1], &[2.]), tensor([1], &[0.]).require_grad());
        let y = norm_of(&[&x, &scale, &shift], &x.detach().moments().unwrap(), norm).unwrap();
        let gradients = y.backward_with(&tensor([2, 1], &[1., 2.])).unwrap();
        assert_eq!(values(gradients.get(&shift).unwrap()), [3.0 * slope]);
    }
}

#[test]
fn an_empty_batch_and_one_value_have_gradients() {
    let norm = BatchNorm { batch: true, ..BatchNorm::default() };
    for rows in [0, 1] {
        let x = Tensor::ones([rows, 2], &device()).unwrap();
        let operands = [x, normal(&[2], 1.0, 1), normal(&[2], 0.0, 2)];
        let all = run(&operands, |t| t[0].batch_norm(&t[0].moments()?, t[1], t[2], norm));
        // One value is its own mean: nothing changes with it.
        assert_eq!(all[1].1, vec![0.0; 2 * rows]);
        assert_eq!(all[2].1, [0.0; 2]);
    }
}
