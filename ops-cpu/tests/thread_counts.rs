//! Convolutions that are cut into more tasks for more threads give the same bits with any number of them.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_ops_cpu::{Cpu, Level};
use striate_tensor::ops::Conv2d;
use striate_tensor::{Device, RandomKey, Tensor};

/// Images, outputs, kernel, stride, groups: for each way to compute a convolution a shape that fewer tasks
/// than 16 would do, and one that does not divide.
const SHAPES: [([usize; 4], usize, usize, usize, usize); 14] = [
    // Winograd with small weights, and few tiles.
    ([1, 56, 56, 64], 64, 3, 1, 1),
    ([1, 28, 28, 128], 128, 3, 1, 1),
    ([2, 19, 23, 64], 96, 3, 1, 1),
    ([1, 14, 14, 256], 256, 3, 1, 1),
    ([1, 7, 7, 512], 512, 3, 1, 1),
    ([3, 9, 11, 64], 48, 5, 1, 1),
    // Direct: products of few pixels, of one panel, of strided and of first layers.
    ([1, 14, 14, 576], 96, 1, 1, 1),
    ([1, 7, 7, 1024], 2048, 1, 1, 1),
    ([1, 13, 5, 72], 24, 1, 1, 1),
    ([1, 14, 14, 256], 512, 3, 2, 1),
    ([1, 61, 47, 3], 32, 3, 2, 1),
    // Depthwise, and groups that share a vector.
    ([1, 14, 14, 384], 384, 3, 1, 384),
    ([1, 7, 7, 960], 960, 5, 1, 960),
    ([1, 15, 9, 64], 64, 3, 1, 16),
];

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    for level in Level::available() {
        for (x, out, kernel, stride, groups) in SHAPES {
            let padding = [[kernel / 2; 2]; 2];
            let conv =
                Conv2d { stride: [stride; 2], padding, groups, bias: true, ..Conv2d::default() };
            let mut alone: Option<Vec<u32>> = None;
            for threads in [1, 2, 3, 5, 8, 16, 64] {
                let device = Device::new(Cpu::with_level(Some(threads), level).unwrap());
                let normal = |dims: &[usize], stream| {
                    Tensor::normal(dims, 0.0, 1.0, RandomKey::new(1, stream), &device).unwrap()
                };
                let weights = normal(&[out, kernel, kernel, x[3] / groups], 1);
                let y = normal(&x, 0).conv2d(&weights, Some(&normal(&[out], 2)), conv).unwrap();
                let bits = y.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect();
                let first = alone.get_or_insert_with(|| Vec::clone(&bits));
                assert!(
                    *first == bits,
                    "{x:?} to {out} in {groups} groups, {threads} threads, {level}"
                );
            }
        }
    }
}
