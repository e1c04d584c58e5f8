//! Winograd's convolution against the plain reference, with the products of every class of adapters.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use common::{default_limits, gpu};
use striate_ops_wgsl::{Class, Options, Wgpu};
use striate_tensor::ops::{Activation, Algorithm, Conv2d, SgdMomentum};
use striate_tensor::{DType, Device, RandomKey, Reference, Tensor};

/// Of the output's largest magnitude. The transforms lose about two bits more than a direct sum;
/// the contract for whole networks is five times this.
const TOLERANCE: f32 = 2e-5;

#[derive(Clone, Copy, Debug)]
struct Case {
    x: [usize; 4],
    out: usize,
    groups: usize,
    padding: [[usize; 2]; 2],
    activation: Activation,
    types: [DType; 2],
}

const F32S: [DType; 2] = [DType::F32; 2];

fn case(x: [usize; 4], out: usize, groups: usize) -> Case {
    Case { x, out, groups, padding: [[1; 2]; 2], activation: Activation::None, types: F32S }
}

/// Layers of the classic networks, and shapes around tiles, groups and padding.
fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case { activation: Activation::Relu, ..case([1, 13, 13, 384], 384, 2) },
        Case { activation: Activation::Relu, ..case([2, 13, 13, 64], 96, 1) },
        Case { padding: [[0; 2]; 2], ..case([1, 14, 14, 128], 64, 1) },
        case([3, 31, 30, 32], 40, 1),
        // One output, one channel, one tile, and not even a tile.
        case([1, 8, 8, 1], 1, 1),
        Case { padding: [[0; 2]; 2], ..case([1, 3, 3, 2], 3, 1) },
        // As many groups as channels.
        case([2, 9, 6, 12], 12, 12),
        // Padding beyond the kernel: tiles of nothing but zeros.
        Case {
            padding: [[5; 2], [0; 2]],
            activation: Activation::Relu,
            ..case([1, 4, 5, 3], 7, 1)
        },
        Case { padding: [[2; 2], [9; 2]], ..case([1, 1, 2, 4], 4, 2) },
        Case { padding: [[0, 2], [3, 0]], ..case([2, 9, 11, 6], 8, 2) },
        // Channels beyond a workgroup, and odd ones.
        case([1, 6, 7, 131], 67, 1),
    ];
    for types in [[DType::F16; 2], [DType::F32, DType::F16], [DType::F16, DType::F32]] {
        cases.push(Case { types, activation: Activation::Relu, ..case([2, 11, 9, 33], 35, 1) });
        cases.push(Case { types, ..case([1, 13, 13, 64], 64, 2) });
    }
    cases
}

/// Compares Winograd's algorithm with the reference, and says whether `options` really chose it:
/// direct sums have other bits.
fn check(device: &Device, case: &Case) -> bool {
    let plain = Device::new(Reference::new());
    let normal = |shape: &[usize], stream, dtype| {
        let x = Tensor::normal(shape, 0.0, 1.0, RandomKey::new(5, stream), &plain).unwrap();
        x.cast(dtype).unwrap()
    };
    let [x_type, w_type] = case.types;
    let x = normal(&case.x, 0, x_type);
    let weights = normal(&[case.out, 3, 3, case.x[3] / case.groups], 1, w_type);
    let bias = normal(&[case.out], 2, w_type);
    let conv = Conv2d {
        groups: case.groups,
        padding: case.padding,
        activation: case.activation,
        ..Conv2d::default()
    };
    let direct = Conv2d { algorithm: Algorithm::Direct, ..conv };
    let [rows, cols] =
        [0, 1].map(|axis| case.x[1 + axis] + case.padding[axis].iter().sum::<usize>() - 2);
    let residual = normal(&[case.x[0], rows, cols, case.out], 3, w_type);
    let run = |conv, device: &Device| {
        let x = x.to(device).unwrap();
        let (weights, bias) = (weights.to(device).unwrap(), bias.to(device).unwrap());
        let residual = residual.to(device).unwrap();
        let y = x.conv2d_residual(&weights, Some(&bias), &residual, conv).unwrap();
        y.cast(DType::F32).unwrap().to_vec::<f32>().unwrap()
    };
    let (ours, other) = (run(conv, device), run(direct, device));
    let expected = run(direct, &plain);
    let scale = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    // What f16 rounds the output by.
    let rounding = if x_type == DType::F16 { 1e-3 } else { 0.0 };
    for (at, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
        let error = (ours - expected).abs() / scale;
        assert!(error <= TOLERANCE + rounding, "{case:?}: {ours} for {expected} at {at}: {error}");
    }
    ours != other
}

fn winograd(class: Class, mut options: Options) -> Option<Device> {
    options.class = Some(class);
    options.winograd = Some(true);
    gpu(options).map(Device::new)
}

#[test]
fn layers_and_odd_shapes_with_the_tiles_of_every_class() {
    let classes = [Class::Software, Class::Tile(0), Class::Tile(1), Class::Tile(2), Class::Tile(3)];
    for class in classes {
        let Some(device) = winograd(class, default_limits()) else { return };
        let mut chosen = 0;
        for case in cases() {
            chosen += usize::from(check(&device, &case));
        }
        // f16 hides the difference now and then.
        assert!(chosen > cases().len() / 2, "{class:?}: {chosen}");
        device.synchronize().unwrap();
    }
}

/// Parts of the tiles: where a chunk takes a few of them only, images in bands, and as many parts as
/// bounded scratch memory asks for.
#[test]
fn tiles_in_parts() {
    for (chunk, case) in [
        (16 << 10, case([1, 29, 31, 8], 9, 1)),
        (16 << 10, Case { types: [DType::F16; 2], ..case([9, 13, 11, 6], 12, 2) }),
        // One image is more than a chunk.
        (16 << 10, Case { padding: [[2; 2], [1; 2]], ..case([2, 70, 61, 4], 5, 1) }),
        (64 << 10, Case { activation: Activation::Relu, ..case([5, 26, 27, 16], 16, 1) }),
        // 60 MiB of transformed tiles and results.
        (128 << 20, Case { activation: Activation::Relu, ..case([1, 225, 225, 64], 64, 1) }),
    ] {
        let mut options = default_limits();
        options.chunk_bytes = Some(chunk);
        let Some(device) = winograd(Class::Software, options) else { return };
        check(&device, &case);
        device.synchronize().unwrap();
    }
}

/// Transformed weights are kept from call to call, and made anew once the weights were written.
#[test]
fn written_weights_are_transformed_again() {
    let Some(device) = winograd(Class::Software, default_limits()) else { return };
    let x = Tensor::ones([1, 8, 8, 4], &device).unwrap();
    let mut w = Tensor::ones([4, 3, 3, 4], &device).unwrap();
    let conv = |w: &Tensor| {
        let y = x.conv2d(w, None, Conv2d::default()).unwrap();
        y.to_vec::<f32>().unwrap()[0]
    };
    let near = |got: f32, want: f32| assert!((got - want).abs() < 1e-4, "{got}, not {want}");
    near(conv(&w), 36.0);
    near(conv(&w), 36.0);
    let mut velocity = Tensor::zeros([4, 3, 3, 4], &device).unwrap();
    let gradient = Tensor::ones([4, 3, 3, 4], &device).unwrap();
    let step = SgdMomentum { rate: 0.5, momentum: 0.0, decay: 0.0, scale: 1.0 };
    w.sgd_momentum(&mut velocity, &gradient, step).unwrap();
    near(conv(&w), 18.0);
}

/// The adapter's own choice, and what insists on direct sums.
#[test]
fn direct_is_direct() {
    let mut options = default_limits();
    options.winograd = Some(true);
    options.class = Some(Class::Software);
    let Some(forced) = gpu(options.clone()) else { return };
    options.winograd = Some(false);
    let Some(never) = gpu(options) else { return };
    let conv = Conv2d { algorithm: Algorithm::Direct, ..Conv2d::default() };
    let run = |gpu: Wgpu, conv| {
        let device = Device::new(gpu);
        let normal = |shape: [usize; 4], stream| {
            Tensor::normal(shape, 0.0, 1.0, RandomKey::new(8, stream), &device).unwrap()
        };
        let (x, w) = (normal([1, 12, 12, 32], 0), normal([32, 3, 3, 32], 1));
        x.conv2d(&w, None, conv).unwrap().to_vec::<f32>().unwrap()
    };
    assert_eq!(run(forced, conv), run(never, Conv2d::default()));
}
