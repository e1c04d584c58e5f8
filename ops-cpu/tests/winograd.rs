//! Winograd's convolution against the plain reference, over the shapes that choose it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use striate_ops_cpu::{Cpu, Level};
use striate_tensor::ops::{Activation, Algorithm, Conv2d};
use striate_tensor::{DType, Device, RandomKey, Reference, Tensor};

/// Of the output's largest magnitude. The transforms lose about two bits more than a direct sum;
/// the contract for whole networks is ten times this.
const TOLERANCE: f32 = 2e-5;

#[derive(Clone, Debug)]
struct Case {
    x: [usize; 4],
    out: usize,
    /// Rows and columns of a kernel.
    kernel: usize,
    /// Of the weights.
    dtype: DType,
    groups: usize,
    padding: [[usize; 2]; 2],
    activation: Activation,
    residual: bool,
}

fn check(case: &Case, level: Level) {
    let device = Device::new(Cpu::with_level(Some(2), level).unwrap());
    let plain = Device::new(Reference::new());
    let normal = |shape: &[usize], stream| {
        Tensor::normal(shape, 0.0, 1.0, RandomKey::new(5, stream), &device).unwrap()
    };
    let x = normal(&case.x, 0);
    let weights = normal(&[case.out, case.kernel, case.kernel, case.x[3] / case.groups], 1);
    let weights = weights.cast(case.dtype).unwrap();
    let bias = normal(&[case.out], 2);
    let conv = Conv2d {
        groups: case.groups,
        padding: case.padding,
        activation: case.activation,
        ..Conv2d::default()
    };
    let run = |[x, weights, bias, residual]: [&Tensor; 4], conv| {
        let y = match case.residual {
            true => x.conv2d_residual(weights, Some(bias), residual, conv),
            false => x.conv2d(weights, Some(bias), conv),
        };
        y.unwrap().to_vec::<f32>().unwrap()
    };
    let [rows, cols] = [0, 1]
        .map(|axis| case.x[1 + axis] + case.padding[axis].iter().sum::<usize>() + 1 - case.kernel);
    let residual = normal(&[case.x[0], rows, cols, case.out], 3);
    let ours = run([&x, &weights, &bias, &residual], conv);
    let on_plain = [&x, &weights, &bias, &residual].map(|x| x.to(&plain).unwrap());
    let conv = Conv2d { algorithm: Algorithm::Direct, ..conv };
    let expected = run(on_plain.each_ref(), conv);
    // Rounding is of the sums, which an activation may make small; no slope is above 1.2.
    let sums = run(on_plain.each_ref(), Conv2d { activation: Activation::None, ..conv });
    let scale = sums.iter().fold(0f32, |m, x| m.max(x.abs()));
    for (at, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
        let error = (ours - expected).abs() / scale;
        assert!(error <= TOLERANCE, "{case:?} {level}: {ours} for {expected} at {at}");
    }
}

/// All forms, weights that are kept and weights that are not, several blocks of tiles, a tail of tiles.
#[test]
fn wide_and_narrow_layers_of_the_classic_networks() {
    for (x, out, kernel, groups, dtype) in [
        ([1, 13, 13, 384], 384, 3, 2, DType::F32),
        ([2, 13, 13, 256], 384, 3, 1, DType::F16),
        ([1, 27, 27, 256], 256, 3, 1, DType::F32),
        ([1, 55, 55, 64], 128, 3, 1, DType::F16),
        ([3, 31, 30, 32], 64, 3, 1, DType::F32),
        // More tiles than a task takes, in two blocks; outputs that do not fill the last task.
        ([3, 31, 33, 272], 112, 3, 1, DType::F32),
        // Few tiles: of 6×6, and of 4×4.
        ([1, 14, 14, 256], 256, 3, 1, DType::F32),
        ([1, 7, 7, 160], 96, 3, 1, DType::F16),
        ([2, 7, 8, 512], 272, 3, 1, DType::F32),
        ([1, 8, 5, 96], 128, 3, 2, DType::F32),
        ([1, 27, 27, 96], 256, 5, 2, DType::F32),
        ([2, 19, 18, 176], 144, 5, 1, DType::F16),
    ] {
        let padding = [[kernel / 2; 2]; 2];
        let case = Case {
            x,
            out,
            kernel,
            dtype,
            groups,
            padding,
            activation: Activation::Relu,
            residual: groups == 1,
        };
        for level in Level::available() {
            check(&case, level);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_shape_that_chooses_it(
        n in 1usize..3,
        rows in 5usize..20,
        cols in 5usize..20,
        channels in 2usize..5,
        out in 2usize..6,
        kernel in prop::sample::select(vec![3usize, 5]),
        half: bool,
        groups in 1usize..3,
        padding in prop::array::uniform2(prop::array::uniform2(0usize..3)),
        activation in prop::sample::select(Activation::ALL.to_vec()),
        residual: bool,
    ) {
        let x = [n, rows, cols, 16 * channels * groups];
        let dtype = if half { DType::F16 } else { DType::F32 };
        let case = Case { x, out: 16 * out * groups, kernel, dtype, groups, padding, activation, residual };
        for level in Level::available() {
            check(&case, level);
        }
    }
}
