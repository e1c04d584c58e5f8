//! The gradients of convolution, of full-connect layers and of batch normalization against the plain reference, over shapes
//! that take each way of computing them: parts of the pixels, panels that lie across taps,
//! transforms, strided phases, weights read in place.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use striate_ops_cpu::{Cpu, Level};
use striate_tensor::ops::{
    Activation, Algorithm, BatchNorm, Conv2d, Conv2dInputGrad, Conv2dWeightGrad, MatMul, ReduceKind,
};
use striate_tensor::{DType, Device, Op, RandomKey, Reference, Result, Tensor, TensorType};

/// Of the gradient's largest magnitude. Transforms lose about two bits more than a direct sum.
const TOLERANCE: f32 = 2e-5;

#[derive(Clone, Debug)]
struct Case {
    x: [usize; 4],
    out: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [[usize; 2]; 2],
    dilation: [usize; 2],
    groups: usize,
}

impl Case {
    fn square(x: [usize; 4], out: usize, kernel: usize, stride: usize, padding: usize) -> Self {
        let (kernel, stride, padding) = ([kernel; 2], [stride; 2], [[padding; 2]; 2]);
        Case { x, out, kernel, stride, padding, dilation: [1, 1], groups: 1 }
    }

    fn conv(&self) -> Conv2d {
        let Case { stride, padding, dilation, groups, .. } = *self;
        Conv2d { stride, padding, dilation, groups, ..Conv2d::default() }
    }

    fn weights(&self) -> [usize; 4] {
        [self.out, self.kernel[0], self.kernel[1], self.x[3] / self.groups]
    }
}

fn compare(case: &Case, level: Level, op: &Op, inputs: &[&Tensor], plain: &Device) {
    let ours = inputs[0].device().execute(op, inputs).unwrap().to_vec::<f32>().unwrap();
    let inputs: Vec<Tensor> = inputs.iter().map(|x| x.to(plain).unwrap()).collect();
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let expected = plain.execute(op, &inputs).unwrap().to_vec::<f32>().unwrap();
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
    for (at, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
        let error = (ours - expected).abs() / scale;
        assert!(error <= TOLERANCE, "{op:?} {case:?} {level}: {ours} for {expected} at {at}");
    }
}

fn check(case: &Case, level: Level) {
    let device = Device::new(Cpu::with_level(Some(2), level).unwrap());
    let plain = Device::new(Reference::new());
    let normal = |shape: &[usize], stream| {
        Tensor::normal(shape, 0.0, 1.0, RandomKey::new(7, stream), &device).unwrap()
    };
    let (x, weights) = (normal(&case.x, 0), normal(&case.weights(), 1));
    let types: [TensorType; 2] = [*x.ty(), *weights.ty()];
    let y = Op::from(case.conv()).output(&types).unwrap();
    let dy = normal(y.shape.dims(), 2);
    for algorithm in [Algorithm::Auto, Algorithm::Direct] {
        let conv = Conv2d { algorithm, ..case.conv() };
        let op = Conv2dWeightGrad { conv, kernel: case.kernel }.into();
        compare(case, level, &op, &[&x, &dy], &plain);
        let op = Conv2dInputGrad { conv, input: [case.x[1], case.x[2]] }.into();
        compare(case, level, &op, &[&dy, &weights], &plain);
    }
}

#[test]
fn layers_of_the_classic_networks() {
    let cases = [
        // Few weights and many pixels, which fall into parts; 3 channels, so panels across taps.
        Case::square([2, 99, 99, 3], 24, 11, 4, 1),
        Case::square([1, 75, 76, 3], 20, 7, 2, 1),
        Case::square([1, 60, 60, 3], 64, 3, 1, 0),
        // Channels in vectors, but not in whole panels; groups.
        Case { groups: 2, ..Case::square([2, 27, 27, 96], 64, 5, 1, 2) },
        // Transforms: several tiles, a tail, groups, several depths of the product.
        Case::square([6, 13, 13, 32], 64, 3, 1, 1),
        Case { groups: 2, ..Case::square([5, 14, 15, 64], 96, 3, 1, 1) },
        Case::square([1, 75, 74, 32], 32, 3, 1, 0),
        // Weights too large to be kept, in several pieces; padding as wide as the kernel allows, and
        // beyond it.
        Case::square([1, 14, 13, 272], 160, 3, 1, 2),
        Case { groups: 2, ..Case::square([1, 13, 14, 352], 288, 5, 1, 2) },
        Case::square([2, 9, 10, 32], 48, 3, 1, 3),
        // Dilated layers of a segmentation network, and one whose phases share its stride's taps.
        Case { dilation: [2, 2], ..Case::square([1, 28, 28, 32], 32, 3, 1, 2) },
        Case { dilation: [4, 4], ..Case::square([1, 28, 27, 16], 20, 3, 1, 4) },
        Case { dilation: [2, 3], ..Case::square([2, 21, 22, 20], 16, 3, 2, 2) },
    ];
    for case in &cases {
        for level in Level::available() {
            check(case, level);
        }
    }
}

/// Each channel by itself: many rows, which fall into parts, and blocks of channels.
#[test]
fn depthwise_convolutions() {
    let cases = [
        Case { groups: 96, ..Case::square([3, 56, 57, 96], 96, 3, 1, 1) },
        Case { groups: 40, ..Case::square([2, 57, 56, 40], 40, 5, 2, 2) },
        Case { groups: 200, ..Case::square([2, 14, 15, 200], 200, 7, 1, 3) },
        Case { groups: 24, dilation: [2, 3], ..Case::square([2, 21, 22, 24], 24, 3, 2, 2) },
    ];
    for case in &cases {
        for level in Level::available() {
            check(case, level);
        }
    }
}

/// Each channel by itself, in rows of every length: tiles of seven and four outputs, and single ones, inside and at
/// the borders; kernels of any width, outputs side by side or leaping.
#[test]
fn depthwise_rows_of_every_length() {
    for level in Level::available() {
        for cols in 1..=17 {
            for (kernel, stride, padding) in [
                (1, 1, 0),
                (2, 1, 1),
                (3, 1, 1),
                (3, 2, 1),
                (4, 2, 0),
                (5, 1, 2),
                (5, 2, 2),
                (7, 2, 3),
                (2, 2, 0),
                (3, 2, 0),
                (3, 2, 2),
                (5, 2, 1),
                (7, 2, 2),
                (3, 3, 1),
            ] {
                if cols + 2 * padding >= kernel {
                    let case = Case::square([2, 7, cols, 24], 24, kernel, stride, padding);
                    check(&Case { groups: 24, ..case.clone() }, level);
                    check(&Case { groups: 12, ..case }, level);
                }
            }
        }
    }
}

/// The products of a full-connect layer and of its gradients: batches beyond what one pass over the
/// weights takes, weights of either precision.
#[test]
fn products_of_full_connect_layers() {
    let plain = Device::new(Reference::new());
    for level in Level::available() {
        let device = Device::new(Cpu::with_level(Some(2), level).unwrap());
        for (batch, inputs, outputs) in [(17, 300, 201), (33, 530, 97), (64, 129, 600), (3, 1, 2)] {
            let case = Case::square([batch, 1, 1, inputs], outputs, 1, 1, 0);
            let normal = |shape: [usize; 2], stream| {
                Tensor::normal(shape, 0.0, 1.0, RandomKey::new(8, stream), &device).unwrap()
            };
            let x = normal([batch, inputs], 0);
            let weights = normal([outputs, inputs], 1);
            let dy = normal([batch, outputs], 2);
            let bias = Tensor::ones([outputs], &device).unwrap();
            let forward = Op::from(MatMul {
                transpose_b: true,
                bias: true,
                activation: Activation::Relu,
                transpose_a: false,
            });
            let halves = weights.cast(DType::F16).unwrap();
            compare(&case, level, &forward, &[&x, &weights, &bias], &plain);
            compare(&case, level, &forward, &[&x, &halves, &bias], &plain);
            compare(&case, level, &MatMul::default().into(), &[&dy, &weights], &plain);
            let in_weights = MatMul { transpose_a: true, ..MatMul::default() };
            compare(&case, level, &in_weights.into(), &[&dy, &x], &plain);
        }
    }
}

/// The output of a function of `x`, scale and shift, and its gradients in these.
fn outcome(
    dims: &[usize],
    device: &Device,
    function: impl Fn([&Tensor; 3]) -> Result<Tensor>,
) -> [Vec<f32>; 4] {
    // The same numbers on every device.
    let normal = |dims: &[usize], mean: f32, stream| {
        let x = Tensor::normal(dims, mean, 1.0, RandomKey::new(9, stream), &Device::new(Reference));
        x.unwrap().to(device).unwrap()
    };
    let c = &dims[dims.len() - 1..];
    let operands = [normal(dims, 3.0, 0), normal(c, 1.0, 1), normal(c, 0.0, 2)];
    let [x, scale, shift] = operands.map(Tensor::require_grad);
    let y = function([&x, &scale, &shift]).unwrap();
    let output = y.to_vec::<f32>().unwrap();
    let gradients = y.backward_with(&normal(dims, 0.5, 3)).unwrap();
    let of = |x: &Tensor| gradients.get(x).unwrap().to_vec::<f32>().unwrap();
    [output, of(&x), of(&scale), of(&shift)]
}

/// By the formula, composed of other ops.
fn composed([x, scale, shift]: [&Tensor; 3], norm: BatchNorm) -> Result<Tensor> {
    let batch: Vec<usize> = (0..x.dims().len() - 1).collect();
    let centered = x.sub(&x.reduce(ReduceKind::Mean, &batch, true)?)?;
    let variance = centered.square()?.reduce(ReduceKind::Mean, &batch, true)?;
    let y = centered.mul(&variance.affine(1.0, norm.epsilon)?.rsqrt()?)?.mul(scale)?.add(shift)?;
    if norm.activation == Activation::Relu { y.relu() } else { Ok(y) }
}

/// Batch normalization and its gradients: few channels, which are taken several rows at a time; many,
/// which fall into strips; several parts.
#[test]
fn batch_normalization_is_the_formula_composed_of_other_ops() {
    let shapes: [&[usize]; 6] =
        [&[40, 7], &[3, 9, 11, 1], &[2, 150, 151, 3], &[2, 31, 33, 64], &[5, 700], &[3, 7, 1030]];
    let activations = [Activation::None, Activation::Relu];
    for (dims, activation) in shapes.into_iter().flat_map(|dims| activations.map(|a| (dims, a))) {
        let norm = BatchNorm { epsilon: 1e-3, batch: true, activation, ..BatchNorm::default() };
        let expected = outcome(dims, &Device::new(Reference), |t| composed(t, norm));
        for level in Level::available() {
            let device = Device::new(Cpu::with_level(Some(2), level).unwrap());
            let ours = outcome(dims, &device, |[x, scale, shift]| {
                x.batch_norm(&x.detach().moments()?, scale, shift, norm)
            });
            for (what, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
                let scale = expected.iter().fold(1e-2f32, |m, x| m.max(x.abs()));
                for (at, (ours, expected)) in ours.iter().zip(expected).enumerate() {
                    let error = (ours - expected).abs() / scale;
                    let of = ["y", "dx", "dscale", "dshift"][what];
                    assert!(
                        error <= 1e-5,
                        "{of} of {dims:?}, {norm:?} at {level}: {ours} for {expected} at {at}"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn odd_shapes(
        n in 1usize..4,
        image in prop::array::uniform2(4usize..24),
        channels in prop::sample::select(vec![1usize, 3, 8, 16, 20, 48]),
        out in prop::sample::select(vec![1usize, 5, 14, 33, 64]),
        kernel in prop::array::uniform2(1usize..5),
        stride in prop::array::uniform2(1usize..4),
        padding in prop::array::uniform2(prop::array::uniform2(0usize..6)),
        dilation in prop::array::uniform2(1usize..4),
        groups in 1usize..3,
    ) {
        let x = [n, image[0], image[1], channels * groups];
        // The kernel fits into the image.
        let fit = |axis: usize| kernel[axis].min((image[axis] - 1) / dilation[axis] + 1);
        let kernel = [fit(0), fit(1)];
        let case = Case { x, out: out * groups, kernel, stride, padding, dilation, groups };
        for level in Level::available() {
            check(&case, level);
        }
    }

    #[test]
    fn shapes_that_choose_the_transforms(
        n in 3usize..6,
        image in prop::array::uniform2(15usize..20),
        channels in 2usize..5,
        out in 2usize..5,
        padding in prop::array::uniform2(prop::array::uniform2(0usize..3)),
        groups in 1usize..3,
    ) {
        let x = [n, image[0], image[1], 16 * channels * groups];
        let out = 16 * out * groups;
        let case = Case { padding, groups, ..Case::square(x, out, 3, 1, 0) };
        for level in Level::available() {
            check(&case, level);
        }
    }
}
