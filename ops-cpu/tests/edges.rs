//! Cases that went wrong once, by name: extents of 0, and infinities beside zeros. The conformance
//! suite asks for many more of their kinds.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_ops_cpu::{Cpu, Level};
use striate_tensor::ops::{
    AvgPool2dGrad, Conv2d, Conv2dInputGrad, MaxPool2dGrad, Pool2d, Resize, ResizeGrad,
};
use striate_tensor::{DType, Device, Op, Reference, Tensor};

/// The CPU at every level that the processor has.
fn devices() -> impl Iterator<Item = Device> {
    Level::available()
        .into_iter()
        .flat_map(|level| [1, 2].map(|threads| Cpu::with_level(Some(threads), level).unwrap()))
        .map(Device::new)
}

fn values(x: &Tensor) -> Vec<f32> {
    x.cast(DType::F32).unwrap().to_vec::<f32>().unwrap()
}

#[test]
fn an_image_without_rows_or_columns_is_pooled() {
    let down = Pool2d { size: [2, 1], padding: [[1; 2], [0; 2]], ..Pool2d::default() };
    let across = Pool2d { size: [1, 2], padding: [[0; 2], [1; 2]], ..Pool2d::default() };
    for device in devices() {
        for (dims, pool) in [([1, 0, 1, 9], down), ([1, 1, 0, 9], across), ([2, 3, 0, 1], across)] {
            let x = Tensor::ones(dims, &device).unwrap();
            let y = x.max_pool2d(pool).unwrap();
            assert_eq!(y.dims(), [dims[0], dims[1].max(1), dims[2].max(1), dims[3]]);
            assert!(values(&y).iter().all(|&y| y == f32::NEG_INFINITY), "{y:?}");
            let mean = x.avg_pool2d(pool).unwrap();
            assert!(values(&mean).iter().all(|y| y.is_nan()), "{mean:?}");
            let of_max = device.execute(&MaxPool2dGrad(pool).into(), &[&x, &y, &y]).unwrap();
            let of_mean = AvgPool2dGrad { pool, input: [dims[1], dims[2]] }.into();
            let of_mean = device.execute(&of_mean, &[&mean]).unwrap();
            assert_eq!([of_max.dims(), of_mean.dims()], [dims, dims]);
        }
    }
}

#[test]
fn an_infinite_weight_reaches_only_the_pixels_that_saw_it() {
    for device in devices() {
        // Three pixels, a window of two, stride 2: no window covers the last pixel.
        let weights = vec![f32::INFINITY, 1.0];
        for dtype in [DType::F32, DType::F16] {
            let w = Tensor::from_vec(weights.clone(), [1, 2, 1, 1], &device).unwrap();
            let w = w.cast(dtype).unwrap();
            let x = Tensor::ones([1, 3, 1, 1], &device).unwrap().require_grad();
            let conv = Conv2d { stride: [2, 1], ..Conv2d::default() };
            let y = x.conv2d(&w, None, conv).unwrap();
            let gradients = y.sum_all().unwrap().backward().unwrap();
            assert_eq!(values(gradients.get(&x).unwrap()), [f32::INFINITY, 1.0, 0.0]);
            // Stride 1: the last pixel is covered, by the finite weight alone.
            let dy = Tensor::ones([1, 2, 1, 1], &device).unwrap();
            let op = Conv2dInputGrad { conv: Conv2d::default(), input: [3, 1] }.into();
            let dx = device.execute(&op, &[&dy, &w]).unwrap();
            assert_eq!(values(&dx), [f32::INFINITY, f32::INFINITY, 1.0]);
        }
    }
}

/// Where Winograd's algorithm is taken, too: it would mix the pixels of a tile.
#[test]
fn an_infinite_weight_keeps_to_its_pixels_where_tiles_are_transformed() {
    let plain = Device::new(Reference::new());
    for device in devices() {
        let mut weights = vec![0.5f32; 32 * 3 * 3 * 32];
        // The upper left tap of one output and channel: the last row and column do not see it.
        weights[7] = f32::INFINITY;
        let conv = Conv2d::default();
        let op = Conv2dInputGrad { conv, input: [14, 14] }.into();
        let run = |device: &Device| {
            let w = Tensor::from_vec(weights.clone(), [32, 3, 3, 32], device).unwrap();
            let dy = Tensor::ones([1, 12, 12, 32], device).unwrap();
            values(&device.execute(&op, &[&dy, &w]).unwrap())
        };
        let (ours, expected) = (run(&device), run(&plain));
        assert!(expected.iter().any(|x| x.is_finite()) && expected.contains(&f32::INFINITY));
        for (at, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
            let close = (ours - expected).abs() <= 1e-3 || ours == expected;
            assert!(close, "{ours} for {expected} at {at} of {:?}", device.info());
        }
    }
}

/// The gradient in the input falls into as many kinds of columns as the stride has: more than a word has
/// bits.
#[test]
fn a_depthwise_convolution_may_leap_far() {
    let conv = Conv2d { stride: [1, 70], groups: 16, ..Conv2d::default() };
    let plain = Device::new(Reference::new());
    let numbers = |count: usize| (0..count).map(|i| (i % 23) as f32 - 11.0).collect::<Vec<f32>>();
    let dx = |device: &Device| {
        let dy = Tensor::from_vec(numbers(2 * 6 * 16), [1, 2, 6, 16], device).unwrap();
        let w = Tensor::from_vec(numbers(16 * 9), [16, 3, 3, 1], device).unwrap();
        let op = Conv2dInputGrad { conv, input: [4, 360] }.into();
        values(&device.execute(&op, &[&dy, &w]).unwrap())
    };
    let expected = dx(&plain);
    for device in devices() {
        assert!(dx(&device) == expected, "{}", device.info().description);
    }
}

/// Rows of small pixels are resized by permutations where there are instructions for them: the same bits as one
/// number after the other, also beside what is not finite.
#[test]
fn pixels_are_resized_to_the_same_bits_at_every_level() {
    for (channels, rows, cols, output) in [
        (1, 3, 40, [6, 80]),
        (2, 2, 9, [5, 31]),
        (3, 4, 112, [8, 224]),
        (3, 5, 33, [3, 20]),
        (3, 1, 7, [2, 6]),
        (4, 3, 16, [3, 17]),
        (5, 2, 11, [4, 44]),
        (7, 2, 30, [2, 61]),
        (9, 3, 4, [3, 9]),
        (3, 9, 112, [4, 56]),
        (16, 3, 9, [7, 18]),
        (21, 2, 8, [5, 25]),
    ] {
        let numbers = |count: usize| -> Vec<f32> {
            let number = |i: usize| match i % 41 {
                17 => f32::INFINITY,
                18 => -0.0,
                29 => 1e-42,
                _ => (i * 37 % 101) as f32 / 7.0 - 6.0,
            };
            (0..count).map(number).collect()
        };
        let resized = |level: Level, op: &Op, [rows, cols]: [usize; 2]| {
            let device = Device::new(Cpu::with_level(Some(1), level).unwrap());
            let dims = [1, rows, cols, channels];
            let x = Tensor::from_vec(numbers(dims.iter().product()), dims, &device).unwrap();
            let y = device.execute(op, &[&x]).unwrap();
            let bits = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
            values(&y).iter().map(bits).collect::<Vec<u32>>()
        };
        for resize in [Resize::linear(output), Resize::cubic(output), Resize::nearest(output)] {
            let grad = ResizeGrad { resize, input: [rows, cols] };
            for (op, from) in [(Op::from(resize), [rows, cols]), (grad.into(), output)] {
                let expected = resized(Level::PORTABLE, &op, from);
                for level in Level::available() {
                    let found = resized(level, &op, from);
                    assert_eq!(found, expected, "{level}, {channels} channels, {op:?}");
                }
            }
        }
    }
}
