//! Gradient ops against finite differences of the ops that they belong to.
//!
//! Of `L = Σ y · dy` the gradient in `x` is what the gradient op makes of `dy`. Where `L` is linear
//! around the point, central differences are exact, whatever the step; the tests choose steps and
//! values (multiples of a quarter) that f32 holds exactly, and ask for equality.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_tensor::ops::*;
use striate_tensor::{HostTensor, Op, RandomKey, Shape, TensorType, reference};

fn host(dims: &[usize], values: Vec<f32>) -> HostTensor {
    HostTensor::new(Shape::new(dims).unwrap(), values).unwrap()
}

/// Multiples of a quarter from -2 to 2.
fn quarters(dims: &[usize], seed: u64) -> HostTensor {
    let key = RandomKey::new(seed, 0);
    let count = dims.iter().product::<usize>() as u64;
    host(dims, (0..count).map(|i| (key.unit(i) * 17.).floor() * 0.25 - 2.).collect())
}

fn floats(x: &HostTensor) -> &[f32] {
    x.values().as_slice().unwrap()
}

fn execute(op: impl Into<Op>, inputs: &[&HostTensor]) -> HostTensor {
    reference::execute(&op.into(), inputs).unwrap()
}

/// `dy` for an op on such operands.
fn output_gradient(op: &Op, inputs: &[&HostTensor], seed: u64) -> HostTensor {
    let types: Vec<TensorType> = inputs.iter().map(|x| x.ty()).collect();
    quarters(op.output(&types).unwrap().shape.dims(), seed)
}

/// The gradient of `L` in operand `which`, by central differences.
fn differences(
    op: &Op,
    inputs: &[&HostTensor],
    which: usize,
    dy: &HostTensor,
    step: f32,
) -> Vec<f64> {
    let loss = |place: usize, change: f32| {
        let mut moved = inputs[which].clone();
        let mut values: Vec<f32> = floats(&moved).to_vec();
        values[place] += change;
        *moved.values_mut() = values.into();
        let mut inputs = inputs.to_vec();
        inputs[which] = &moved;
        let y = reference::execute(op, &inputs).unwrap();
        (floats(&y).iter().zip(floats(dy)))
            .map(|(&y, &dy)| f64::from(y) * f64::from(dy))
            .sum::<f64>()
    };
    (0..inputs[which].ty().count())
        .map(|place| (loss(place, step) - loss(place, -step)) / (2. * f64::from(step)))
        .collect()
}

#[track_caller]
fn assert_same(got: &HostTensor, want: &[f64], tolerance: f64) {
    let scale = want.iter().fold(0f64, |scale, x| scale.max(x.abs()));
    assert_eq!(got.ty().count(), want.len());
    for (i, (&g, w)) in floats(got).iter().zip(want).enumerate() {
        assert!((f64::from(g) - w).abs() <= tolerance * scale, "element {i}: {g}, differences {w}");
    }
}

fn convolutions() -> Vec<([usize; 4], [usize; 4], Conv2d)> {
    let conv = Conv2d::default();
    vec![
        ([2, 4, 5, 3], [4, 3, 3, 3], conv),
        ([1, 5, 5, 2], [3, 3, 3, 2], Conv2d { padding: [[1; 2]; 2], ..conv }),
        ([1, 7, 6, 2], [2, 3, 2, 2], Conv2d { stride: [2, 3], padding: [[2; 2], [0; 2]], ..conv }),
        ([1, 5, 5, 4], [6, 3, 3, 2], Conv2d { groups: 2, padding: [[1; 2], [0; 2]], ..conv }),
        // A stride beyond the kernel: some pixels are seen by no window.
        ([1, 7, 7, 1], [2, 2, 2, 1], Conv2d { stride: [3, 3], ..conv }),
        // Sides that differ, and dilations beside strides.
        ([1, 5, 6, 2], [3, 3, 3, 2], Conv2d { padding: [[0, 2], [1, 0]], ..conv }),
        ([1, 7, 8, 2], [3, 3, 2, 2], Conv2d { dilation: [2, 3], padding: [[2, 1]; 2], ..conv }),
        (
            [1, 8, 9, 4],
            [4, 3, 3, 2],
            Conv2d { dilation: [2, 3], stride: [2; 2], groups: 2, ..conv },
        ),
        // Windows of nothing but padding.
        ([1, 2, 2, 2], [2, 2, 2, 2], Conv2d { padding: [[3; 2]; 2], ..conv }),
    ]
}

#[test]
fn conv2d_gradients_are_the_differences() {
    for (x, weights, conv) in convolutions() {
        let (x, weights) = (quarters(&x, 1), quarters(&weights, 2));
        let op = Op::from(conv);
        let dy = output_gradient(&op, &[&x, &weights], 3);
        let [_, rows, cols, _] = *x.shape().dims() else { unreachable!() };
        let dx = execute(Conv2dInputGrad { conv, input: [rows, cols] }, &[&dy, &weights]);
        assert_same(&dx, &differences(&op, &[&x, &weights], 0, &dy, 0.5), 0.);
        let [_, rows, cols, _] = *weights.shape().dims() else { unreachable!() };
        let dw = execute(Conv2dWeightGrad { conv, kernel: [rows, cols] }, &[&x, &dy]);
        assert_same(&dw, &differences(&op, &[&x, &weights], 1, &dy, 0.5), 0.);
    }
}

#[test]
fn conv2d_gradients_leave_bias_and_relu_to_others() {
    let (x, weights) = (quarters(&[1, 4, 4, 2], 1), quarters(&[3, 3, 3, 2], 2));
    let conv = Conv2d::default();
    let dy = output_gradient(&Op::from(conv), &[&x, &weights], 3);
    let fused = Conv2d { bias: true, activation: Activation::Relu, ..conv };
    let [plain, fused] =
        [conv, fused].map(|conv| execute(Conv2dWeightGrad { conv, kernel: [3, 3] }, &[&x, &dy]));
    assert_eq!(plain, fused);
}

fn pools() -> [Pool2d; 8] {
    let pool = Pool2d::square(3, 2, 1);
    [
        Pool2d::square(2, 2, 0),
        Pool2d::square(3, 2, 1),
        Pool2d { size: [2, 3], stride: [1, 2], padding: [[1; 2], [2; 2]], ..pool },
        Pool2d::square(2, 3, 0),
        Pool2d { padding: [[0, 2], [1, 0]], ..pool },
        Pool2d { count_padding: true, ties: Ties::First, ..pool },
        Pool2d { ties: Ties::First, ..Pool2d::square(3, 3, 0).with_ceil(5, 6) },
        Pool2d { padding: [[0, 1], [2, 0]], count_padding: true, ..pool }.with_ceil(5, 6),
    ]
}

#[test]
fn average_pool_gradient_is_the_differences() {
    for pool in pools() {
        let x = quarters(&[2, 5, 6, 3], 1);
        let op = Op::from(AvgPool2d(pool));
        let dy = output_gradient(&op, &[&x], 2);
        let dx = execute(AvgPool2dGrad { pool, input: [5, 6] }, &[&dy]);
        // A third is rounded.
        assert_same(&dx, &differences(&op, &[&x], 0, &dy, 0.5), 1e-6);
    }
}

#[test]
fn max_pool_gradient_without_ties_is_the_differences() {
    for pool in pools() {
        // Each value once, a whole number apart, in an order that is neither up nor down.
        let count = 2 * 5 * 6 * 3;
        let x = host(&[2, 5, 6, 3], (0..count).map(|i| (i * 77 % count) as f32).collect());
        let op = Op::from(pool);
        let dy = output_gradient(&op, &[&x], 2);
        let y = execute(pool, &[&x]);
        let dx = execute(MaxPool2dGrad(pool), &[&x, &y, &dy]);
        assert_same(&dx, &differences(&op, &[&x], 0, &dy, 0.25), 0.);
    }
}

#[test]
fn max_pool_gradient_goes_to_every_cell_that_is_the_maximum() {
    // As ccv's: ties are counted several times. NaN is equal to nothing.
    let pool = Pool2d::square(2, 2, 0);
    let x = host(&[1, 2, 4, 1], vec![3., 1., 5., f32::NAN, 3., 2., 5., 5.]);
    let y = execute(pool, &[&x]);
    let dy = host(&[1, 1, 2, 1], vec![7., 9.]);
    let dx = execute(MaxPool2dGrad(pool), &[&x, &y, &dy]);
    assert_eq!(floats(&dx), [7., 0., 0., 0., 7., 0., 0., 0.]);
}

#[test]
fn max_pool_gradient_goes_to_the_first_maximum() {
    let pool = Pool2d { ties: Ties::First, ..Pool2d::square(2, 1, 0) };
    let x = host(&[1, 2, 4, 1], vec![3., 5., -0., f32::NAN, 5., 5., 0., 0.]);
    let y = execute(pool, &[&x]);
    let dy = host(&[1, 1, 3, 1], vec![7., 9., 1.]);
    // The first window has its maximum three times, the second twice, the third is NaN.
    let dx = execute(MaxPool2dGrad(pool), &[&x, &y, &dy]);
    assert_eq!(floats(&dx), [0., 16., 0., 0., 0., 0., 0., 0.]);
    // Row by row: above comes before left.
    let x = host(&[1, 2, 2, 1], vec![1., 2., 2., 2.]);
    let y = execute(pool, &[&x]);
    let dx = execute(MaxPool2dGrad(pool), &[&x, &y, &host(&[1, 1, 1, 1], vec![7.])]);
    assert_eq!(floats(&dx), [0., 7., 0., 0.]);
}

#[test]
fn lrn_gradient_is_the_differences() {
    let base = Lrn { size: 3, kappa: 2., alpha: 0.5, beta: 0.75, groups: 1 };
    for lrn in [base, Lrn { size: 5, groups: 2, ..base }, Lrn { size: 40, beta: 0.5, ..base }] {
        let x = quarters(&[3, 8], 1);
        let op = Op::from(lrn);
        let dy = output_gradient(&op, &[&x], 2);
        let dx = execute(LrnGrad(lrn), &[&x, &dy]);
        // Differences with step h are off by h² / 6 of a third derivative of order 1, and by the
        // rounding of y over h: 1e-5 and 4e-6 here.
        assert_same(&dx, &differences(&op, &[&x], 0, &dy, 1. / 64.), 2e-4);
    }
}

#[test]
fn cross_entropy_gradient_is_softmax_minus_one_hot() {
    let logits = quarters(&[4, 5], 1);
    let labels = HostTensor::new(Shape::new(&[4]).unwrap(), vec![0u32, 3, 4, 1]).unwrap();
    let dy = host(&[4], vec![1.; 4]);
    let by_differences =
        differences(&Op::from(CrossEntropy), &[&logits, &labels], 0, &dy, 1. / 64.);
    let got = execute(CrossEntropyGrad, &[&logits, &labels, &dy]);
    assert_same(&got, &by_differences, 2e-4);
    let mut gradient = floats(&execute(Softmax { axis: 1, log: false }, &[&logits])).to_vec();
    for (sample, &label) in labels.values().as_slice::<u32>().unwrap().iter().enumerate() {
        gradient[sample * 5 + label as usize] -= 1.;
    }
    assert_same(&got, &gradient.into_iter().map(f64::from).collect::<Vec<_>>(), 1e-6);
    // Each row times its dy.
    let dy = host(&[4], vec![2., 0., -1., 0.5]);
    let weighed = execute(CrossEntropyGrad, &[&logits, &labels, &dy]);
    for (row, dy) in floats(&dy).iter().enumerate() {
        let [of_one, of_dy] = [&got, &weighed].map(|x| &floats(x)[row * 5..][..5]);
        assert!(of_one.iter().zip(of_dy).all(|(one, w)| (one * dy - w).abs() < 1e-6));
    }
}

#[test]
fn relu_gradient_is_that_of_what_is_above_zero() {
    let y = host(&[6], vec![-1., -0., 0., 1e-30, 2., f32::NAN]);
    let dy = host(&[6], vec![1., 2., 3., 4., -5., 6.]);
    assert_eq!(floats(&execute(ReluGrad, &[&y, &dy])), [0., 0., 0., 4., -5., 6.]);
}

#[test]
fn gather_gradient_is_the_differences() {
    let x = quarters(&[2, 3, 4], 1);
    let indices = HostTensor::new(Shape::new(&[5]).unwrap(), vec![2u32, 0, 2, 2, 0]).unwrap();
    let op = Op::from(Gather { axis: 1 });
    let dy = output_gradient(&op, &[&x, &indices], 2);
    let dx = execute(GatherGrad { axis: 1, extent: 3 }, &[&indices, &dy]);
    assert_same(&dx, &differences(&op, &[&x, &indices], 0, &dy, 0.5), 0.);
    // An index beyond took from nowhere.
    let indices = HostTensor::new(Shape::new(&[2]).unwrap(), vec![1u32, 9]).unwrap();
    let dx = execute(GatherGrad { axis: 0, extent: 3 }, &[&indices, &host(&[2], vec![7., 8.])]);
    assert_eq!(floats(&dx), [0., 7., 0.]);
}
