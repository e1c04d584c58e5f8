//! Several threads of a program use one device at once.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

use striate_ops_cpu::Cpu;
use striate_tensor::ops::Conv2d;
use striate_tensor::{Device, RandomKey, Tensor};

/// The weights are packed at the first use, by whichever thread comes first; a thread of the pool
/// that waits for a part of that may take up another one's convolution with the same weights.
#[test]
fn convolutions_with_the_same_weights_at_once_end_and_agree() {
    for round in 0..20 {
        let device = Device::new(Cpu::new(Some(2)).unwrap());
        let normal = |shape: [usize; 4], stream| {
            Tensor::normal(shape, 0.0, 1.0, RandomKey::new(round, stream), &device).unwrap()
        };
        let (x, weights) = (normal([1, 40, 41, 64], 0), normal([96, 3, 3, 64], 1));
        let strided = normal([64, 5, 5, 64], 2);
        let run = || {
            let y = x.conv2d(&weights, None, Conv2d::default()).unwrap();
            let conv = Conv2d { stride: [2, 2], ..Conv2d::default() };
            let z = x.conv2d(&strided, None, conv).unwrap();
            (y.to_vec::<f32>().unwrap(), z.to_vec::<f32>().unwrap())
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(results.iter().all(|result| *result == results[0]));
    }
}
