//! 1×1 convolutions whose pixels share sets of a cache, and groups that fill no vector evenly, against the
//! plain reference, at every level and on several numbers of threads.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_ops_cpu::{Cpu, Level};
use striate_tensor::ops::{Activation, Conv2d};
use striate_tensor::{Device, RandomKey, Reference, Tensor};

/// Of the largest sum; one of a thousand products rounds to about 1e-6.
const TOLERANCE: f32 = 5e-6;

struct Case {
    x: [usize; 4],
    out: usize,
    kernel: usize,
    conv: Conv2d,
}

impl Case {
    fn operands(&self, device: &Device) -> [Tensor; 4] {
        let normal = |shape: &[usize], stream| {
            Tensor::normal(shape, 0.0, 1.0, RandomKey::new(11, stream), device).unwrap()
        };
        let [n, rows, cols, channels] = self.x;
        let of = |extent: usize, axis: usize| {
            let padded = extent + self.conv.padding[axis].iter().sum::<usize>();
            (padded - self.kernel) / self.conv.stride[axis] + 1
        };
        let weights = [self.out, self.kernel, self.kernel, channels / self.conv.groups];
        [
            normal(&self.x, 0),
            normal(&weights, 1),
            normal(&[self.out], 2),
            normal(&[n, of(rows, 0), of(cols, 1), self.out], 3),
        ]
    }

    fn run(&self, operands: &[Tensor; 4], activation: Activation) -> Vec<f32> {
        let [x, weights, bias, residual] = operands;
        let conv = Conv2d { activation, ..self.conv };
        x.conv2d_residual(weights, Some(bias), residual, conv).unwrap().to_vec().unwrap()
    }
}

fn check(case: &Case, activation: Activation) {
    let plain = Device::new(Reference::new());
    let made = case.operands(&Device::new(Cpu::new(Some(1)).unwrap()));
    let operands = made.each_ref().map(|x| x.to(&plain).unwrap());
    let expected = case.run(&operands, activation);
    let sums = case.run(&operands, Activation::None);
    let scale = sums.iter().fold(0f32, |most, x| most.max(x.abs()));
    for level in Level::available() {
        let mut alone = None;
        for threads in [1, 2, 3, 16] {
            let device = Device::new(Cpu::with_level(Some(threads), level).unwrap());
            let ours = case.run(&made.each_ref().map(|x| x.to(&device).unwrap()), activation);
            for (at, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
                let error = (ours - expected).abs() / scale;
                let (x, groups) = (case.x, case.conv.groups);
                assert!(
                    error <= TOLERANCE,
                    "{x:?} in {groups} groups, {activation:?} at {level}: {ours} for {expected} at {at}"
                );
            }
            let bits: Vec<u32> = ours.iter().map(|y| y.to_bits()).collect();
            assert_eq!(*alone.get_or_insert(bits.clone()), bits, "{threads} threads at {level}");
        }
    }
}

#[test]
fn pixels_that_lie_a_page_apart() {
    for (rows, channels, out, stride, activation) in [
        (5, 1024, 40, 1, Activation::GeluErf),
        (7, 512, 33, 2, Activation::RELU6),
        (3, 2048, 17, 1, Activation::None),
        (4, 1040, 16, 1, Activation::Silu),
        (1, 96, 7, 1, Activation::HardSwish),
    ] {
        let conv = Conv2d { stride: [stride; 2], bias: true, ..Conv2d::default() };
        check(&Case { x: [2, rows, rows, channels], out, kernel: 1, conv }, activation);
    }
}

#[test]
fn groups_that_fill_no_vector_evenly() {
    for (groups, channels, out) in [(13, 8, 8), (5, 4, 4), (3, 2, 6), (7, 6, 3), (2, 24, 24)] {
        let conv = Conv2d { padding: [[1; 2]; 2], groups, bias: true, ..Conv2d::default() };
        let x = [2, 6, 5, groups * channels];
        for activation in [Activation::Relu, Activation::Mish] {
            check(&Case { x, out: groups * out, kernel: 3, conv }, activation);
        }
    }
}
