//! Convolution with integers.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, finite_max, random, table};
use super::strategies::seed;
use super::values::{NON_FINITE, SIGNED, Values, sprinkled, tensor};
use crate::ops::{Activation, Conv2d, Conv2dInt8, Levels};
use crate::{DType, Device, HostTensor, Op, reference};

/// A convolution and the sizes that it is asked for.
#[derive(Clone, Copy, Debug)]
struct Setup {
    /// `[n, rows, cols, channels]`.
    x: [usize; 4],
    out: usize,
    kernel: [usize; 2],
    op: Conv2dInt8,
}

/// A square kernel, `stride` and `padding` the same both ways, with a bias and ReLU.
fn square(x: [usize; 4], out: usize, kernel: usize, stride: usize, padding: usize) -> Setup {
    let conv = Conv2d {
        stride: [stride; 2],
        padding: [[padding; 2]; 2],
        bias: true,
        activation: Activation::Relu,
        ..Conv2d::default()
    };
    let levels = Levels { scale: 1.0 / 128.0, zero: 100 };
    Setup { x, out, kernel: [kernel; 2], op: Conv2dInt8 { conv, levels } }
}

impl Setup {
    fn with(self, change: impl FnOnce(&mut Conv2dInt8)) -> Self {
        let mut op = self.op;
        change(&mut op);
        Setup { op, ..self }
    }

    fn x(&self, seed: u64) -> HostTensor {
        tensor(&self.x, DType::F32, SIGNED, seed)
    }

    fn of(&self, x: HostTensor, weights: Values<'_>, seed: u64) -> Case {
        let dims = [self.out, self.kernel[0], self.kernel[1], self.x[3]];
        let weights = tensor(&dims, DType::I8, weights, seed ^ 1);
        let scales = tensor(&[self.out], DType::F32, Values::Range(0.001, 0.01), seed ^ 2);
        let mut inputs = vec![x, weights, scales];
        // The size of what is added up: each addition rounds by that.
        let plain =
            Conv2d { bias: false, residual: false, activation: Activation::None, ..self.op.conv };
        let plain = Op::from(Conv2dInt8 { conv: plain, ..self.op });
        let sums = reference::execute(&plain, &inputs.iter().collect::<Vec<_>>());
        let sums = sums.expect("the convolution of a case");
        let mut floor = finite_max(&sums);
        if self.op.conv.bias {
            inputs.push(tensor(&[self.out], DType::F32, SIGNED, seed ^ 3));
            floor += 1.0;
        }
        if self.op.conv.residual {
            inputs.push(tensor(sums.shape().dims(), DType::F32, SIGNED, seed ^ 4));
            floor += 1.0;
        }
        Case::new(self.op, inputs, Tolerance::Each { floor })
    }

    fn case(&self, seed: u64) -> Case {
        self.of(self.x(seed), Values::Range(-127.9, 127.9), seed)
    }
}

/// Channels and outputs at and around the widths of vectors and tiles; kernels, strides, dilations, and
/// padding of each side; no pixels, no channels.
fn setups() -> Vec<Setup> {
    let mut setups = vec![
        square([1, 1, 1, 1], 1, 1, 1, 0),
        square([0, 3, 3, 2], 3, 1, 1, 0),
        square([1, 3, 3, 0], 3, 1, 1, 0),
        square([1, 3, 3, 2], 0, 1, 1, 0),
        square([2, 5, 7, 3], 17, 3, 1, 1),
        square([1, 14, 14, 3], 16, 7, 2, 3),
        square([1, 7, 7, 5], 33, 3, 2, 1),
        square([2, 6, 5, 9], 40, 1, 2, 0),
        square([1, 4, 4, 6], 5, 1, 2, 1),
        square([1, 2, 2, 3], 4, 5, 1, 2),
        square([5, 1, 1, 130], 70, 1, 1, 0),
        square([1, 12, 11, 32], 64, 3, 1, 1).with(|op| op.conv.dilation = [2, 3]),
        square([1, 9, 8, 7], 8, 3, 1, 0).with(|op| op.conv.padding = [[2, 0], [0, 3]]),
        square([1, 9, 8, 7], 8, 3, 1, 0).with(|op| op.conv.stride = [3, 2]),
    ];
    setups.extend((1..=20).map(|pixels| square([1, 1, pixels, 4], 20, 1, 1, 0)));
    setups.extend((1..=9).map(|channels| square([1, 3, 3, channels], 3, 3, 1, 1)));
    setups
}

fn parameters() -> impl Strategy<Value = (Setup, u64)> {
    let sizes = (1..3usize, 1..10usize, 1..10usize, 1..40usize, 1..70usize);
    let window = ([1..4usize, 1..4usize], [1..3usize, 1..3usize], [1..3usize, 1..3usize]);
    let padding = [[0..3usize, 0..3usize], [0..3usize, 0..3usize]];
    let epilogue = (any::<bool>(), any::<bool>(), prop::sample::select(Activation::ALL.to_vec()));
    let levels = (0.002f32..0.02, any::<u8>());
    (sizes, window, padding, epilogue, levels, seed()).prop_map(
        |(
            (n, rows, cols, channels, out),
            (kernel, stride, dilation),
            padding,
            epilogue,
            levels,
            seed,
        )| {
            let (bias, residual, activation) = epilogue;
            let mut conv = Conv2d {
                stride,
                dilation,
                padding,
                bias,
                residual,
                activation,
                ..Conv2d::default()
            };
            // A window fits, whatever its size.
            let window = conv.window(kernel);
            conv.padding = [0, 1].map(|axis| {
                let [before, after] = conv.padding[axis];
                let missing = window[axis].saturating_sub([rows, cols][axis] + before + after);
                [before, after + missing]
            });
            let (scale, zero) = levels;
            let op = Conv2dInt8 { conv, levels: Levels { scale, zero } };
            (Setup { x: [n, rows, cols, channels], out, kernel, op }, seed)
        },
    )
}

/// [`Conv2dInt8`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn conv2d_int8(device: &Device, settings: &Settings) {
    let check = |case: Case| table(device, settings, [case]);
    for (setup, seed) in setups().into_iter().zip(0..) {
        check(setup.case(seed));
        check(setup.with(|op| op.conv.residual = true).case(seed));
    }
    for (activation, seed) in Activation::ALL.into_iter().zip(0..) {
        let setup = square([1, 6, 7, 20], 17, 3, 1, 1);
        check(setup.with(|op| op.conv.activation = activation).case(seed));
    }
    // The largest sums: what instructions for pairs of integers would saturate at.
    let deep = square([1, 2, 2, 4096], 20, 1, 1, 0);
    for (weight, zero) in [(127.0, 0), (-127.0, 0), (127.0, 255), (-128.0, 255)] {
        let deep = deep.with(|op| op.levels.zero = zero);
        let ends = if zero == 0 { [5.0, 9.0] } else { [-5.0, -9.0] };
        let x = tensor(&deep.x, DType::F32, Values::Among(&ends), 3);
        check(deep.of(x, Values::Among(&[weight]), 4));
    }
    // Ties between levels, the ends, and what is no number.
    let setup = square([1, 6, 5, 13], 9, 3, 1, 1);
    for zero in [0, 1, 128, 255] {
        let setup = setup.with(|op| op.levels = Levels { scale: 0.5, zero });
        let x = tensor(&setup.x, DType::F32, Values::Quarters, 5);
        check(setup.of(sprinkled(x, NON_FINITE, 9, 6), Values::Range(-127.9, 127.9), 7));
    }
    random(device, settings, parameters(), |(setup, seed)| setup.case(seed));
}
