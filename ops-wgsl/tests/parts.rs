//! Products whose depth is computed in parts against the plain reference, by every tile: what is added
//! at the end, groups, batches, matrices that lie either way, and outputs with others between them.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use common::{default_limits, gpu};
use striate_ops_wgsl::{Class, Options, Wgpu};
use striate_tensor::ops::{Activation, Algorithm, Conv2d, ConvTranspose2d, MatMul};
use striate_tensor::{DType, Device, RandomKey, Reference, Result, Tensor};

/// Of the output's largest magnitude.
const TOLERANCE: f32 = 1e-5;

fn normal(shape: &[usize], stream: u64, dtype: DType) -> Tensor {
    let plain = Device::new(Reference::new());
    Tensor::normal(shape, 0.0, 1.0, RandomKey::new(11, stream), &plain)
        .unwrap()
        .cast(dtype)
        .unwrap()
}

/// Computes on the device and by the reference; on the device in so many dispatches or more.
fn check(
    gpu: &Wgpu,
    dispatches: u64,
    inputs: &[Tensor],
    run: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    check_within(gpu, dispatches, inputs, TOLERANCE, run);
}

/// As [`check`], of other rounding.
fn check_within(
    gpu: &Wgpu,
    dispatches: u64,
    inputs: &[Tensor],
    tolerance: f32,
    run: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let on =
        |device: &Device| -> Vec<Tensor> { inputs.iter().map(|x| x.to(device).unwrap()).collect() };
    let expected = run(&on(&Device::new(Reference::new()))).unwrap().to_vec::<f32>().unwrap();
    let inputs = on(&Device::new(gpu.clone()));
    let before = gpu.profile();
    let got = run(&inputs).unwrap();
    assert!(gpu.profile().since(&before).dispatches >= dispatches);
    let got = got.to_vec::<f32>().unwrap();
    let again = run(&inputs).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(got, again, "the same bits");
    let scale = expected.iter().fold(0.0f32, |most, y| most.max(y.abs()));
    assert_eq!(got.len(), expected.len());
    for (i, (y, expected)) in got.iter().zip(&expected).enumerate() {
        assert!((y - expected).abs() <= tolerance * scale, "{i}: {y}, not {expected}");
    }
}

fn convolutions(gpu: &Wgpu) {
    // The depth of a group is 585: parts that end within a cell, and loads one by one.
    let x = normal(&[2, 6, 5, 130], 0, DType::F32);
    let weights = normal(&[14, 3, 3, 65], 1, DType::F32);
    let conv = Conv2d { groups: 2, padding: [[1; 2]; 2], ..Conv2d::default() };
    check(gpu, 2, &[x, weights], |of| of[0].conv2d(&of[1], None, conv));
    for dtype in [DType::F32, DType::F16] {
        // The dispatch that adds the parts applies the activation.
        let activation =
            if dtype == DType::F32 { Activation::HardSwish } else { Activation::RELU6 };
        let conv = Conv2d { stride: [2, 1], dilation: [1, 2], activation, ..Conv2d::default() };
        let inputs = [
            normal(&[1, 9, 13, 64], 2, DType::F32),
            normal(&[37, 3, 3, 64], 3, dtype),
            normal(&[37], 4, dtype),
            normal(&[1, 4, 9, 37], 5, dtype),
        ];
        check(gpu, 2, &inputs, |of| of[0].conv2d_residual(&of[1], Some(&of[2]), &of[3], conv));
    }
    // Of f16, which is written as such where outputs are pairs.
    for out in [38, 37] {
        let inputs = [
            normal(&[1, 7, 6, 64], 12, DType::F16),
            normal(&[out, 3, 3, 64], 13, DType::F16),
            normal(&[1, 5, 4, out], 14, DType::F16),
        ];
        let dispatches = if out == 38 { 2 } else { 3 };
        let conv = Conv2d { activation: Activation::Silu, ..Conv2d::default() };
        let run = |of: &[Tensor]| of[0].conv2d_residual(&of[1], None, &of[2], conv);
        let device = Device::new(gpu.clone());
        let plain: Vec<Tensor> = inputs.iter().map(|x| x.to(&device).unwrap()).collect();
        let before = gpu.profile();
        let y = run(&plain).unwrap();
        assert_eq!(gpu.profile().since(&before).dispatches, dispatches);
        assert_eq!(y.dtype(), DType::F16);
        check_within(gpu, dispatches, &inputs, 1e-3, |of| run(of)?.cast(DType::F32));
    }
    // Four convolutions of 2 x 2 cells write every second row and column. In one part, 9 dispatches.
    let inputs = [normal(&[1, 4, 3, 160], 6, DType::F32), normal(&[160, 4, 4, 12], 7, DType::F32)];
    let conv = ConvTranspose2d { stride: [2, 2], ..ConvTranspose2d::default() };
    check(gpu, 13, &inputs, |of| of[0].conv_transpose2d(&of[1], None, conv));
}

fn matrices(gpu: &Wgpu) {
    for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let options =
            MatMul { transpose_a, transpose_b, activation: Activation::Relu, ..MatMul::default() };
        for k in [1040, 1031] {
            let shape = |transposed, [rows, cols]: [usize; 2]| match transposed {
                true => [cols, rows],
                false => [rows, cols],
            };
            let [a, b] = [shape(transpose_a, [21, k]), shape(transpose_b, [k, 36])];
            let inputs = [
                normal(&[&[3, 1], &a[..]].concat(), 8, DType::F32),
                normal(&[&[2], &b[..]].concat(), 9, DType::F32),
                normal(&[36], 10, DType::F32),
            ];
            check(gpu, 2, &inputs, |of| of[0].matmul_with(&of[1], Some(&of[2]), options));
        }
    }
}

fn device(place: usize) -> Option<Wgpu> {
    of_class(Class::Tile(place))
}

fn of_class(class: Class) -> Option<Wgpu> {
    let mut options: Options = default_limits();
    options.class = Some(class);
    options.winograd = Some(false);
    gpu(options)
}

#[test]
fn depth_in_parts_by_large_tiles() {
    let Some(gpu) = device(0) else { return };
    convolutions(&gpu);
    matrices(&gpu);
}

#[test]
fn depth_in_parts_by_small_tiles() {
    let Some(gpu) = device(3) else { return };
    convolutions(&gpu);
    matrices(&gpu);
}

/// A driver on a processor sums blocks of the depth, and then these. All terms are positive; one sum of all
/// 1,728 of them is off by 1e-6 or more somewhere.
#[test]
fn software_sums_in_blocks() {
    let plain = Device::new(Reference::new());
    let uniform = |shape: &[usize], stream| {
        Tensor::uniform(shape, 0.0, 1.0, RandomKey::new(11, stream), &plain).unwrap()
    };
    let inputs = [uniform(&[1, 10, 10, 192], 0), uniform(&[32, 3, 3, 192], 1)];
    let conv = Conv2d { algorithm: Algorithm::Direct, ..Conv2d::default() };
    let Some(gpu) = of_class(Class::Software) else { return };
    check_within(&gpu, 1, &inputs, 5e-7, |of| of[0].conv2d(&of[1], None, conv));
    // Cells of fewer channels than a block, and matrices.
    let inputs = [uniform(&[1, 24, 24, 5], 2), uniform(&[16, 17, 17, 5], 3)];
    check_within(&gpu, 1, &inputs, 5e-7, |of| of[0].conv2d(&of[1], None, conv));
    let inputs = [uniform(&[40, 1731], 4), uniform(&[1731, 24], 5)];
    check_within(&gpu, 1, &inputs, 5e-7, |of| of[0].matmul(&of[1]));
}
