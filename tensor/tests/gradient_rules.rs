//! The gradient rule of every op against central differences, and in half precision against single.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod differences;

use differences::{assert_gradients, assert_half_alike, device, halves};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use striate_tensor::ops::*;
use striate_tensor::{DType, RandomKey, Result, Tensor};

/// Rounding and the fifth derivative, for smooth functions at numbers of order 1.
const SMOOTH: f64 = 3e-4;
/// Functions that are linear in each operand, at numbers that f32 holds exactly.
const LINEAR: f64 = 1e-6;

#[track_caller]
fn check(operands: &[Tensor], tolerance: f64, function: impl Fn(&[Tensor]) -> Result<Tensor>) {
    assert_gradients(operands, &function, 1.0 / 16.0, tolerance);
    assert_half_alike(operands, &function);
}

/// From 0.75 to 4.25, half apart.
fn positive(dims: &[usize], seed: u64) -> Tensor {
    halves(dims, seed).affine(1.0, 2.5).unwrap()
}

/// Each number once, half apart, in an order that is neither up nor down.
fn different(dims: &[usize]) -> Tensor {
    let count: usize = dims.iter().product();
    let step = (count / 2..).find(|step| gcd(*step, count) == 1).unwrap();
    let numbers = (0..count).map(|i| ((i * step) % count) as f32 * 0.5 - 3.25);
    Tensor::from_vec(numbers.collect::<Vec<_>>(), dims, &device()).unwrap()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn labels(values: Vec<u32>) -> Tensor {
    let n = values.len();
    Tensor::from_vec(values, [n], &device()).unwrap()
}

#[test]
fn unary() {
    let any: [UnaryKind; 20] = [
        UnaryKind::Neg,
        UnaryKind::Abs,
        UnaryKind::Square,
        UnaryKind::Exp,
        UnaryKind::Sin,
        UnaryKind::Cos,
        UnaryKind::Tanh,
        UnaryKind::Sigmoid,
        UnaryKind::Relu,
        UnaryKind::LeakyRelu { slope: 0.25 },
        UnaryKind::Elu { alpha: 0.5 },
        UnaryKind::Silu,
        UnaryKind::Gelu,
        UnaryKind::GeluErf,
        UnaryKind::HardSigmoid,
        UnaryKind::Softplus,
        UnaryKind::Mish,
        UnaryKind::Erf,
        UnaryKind::Affine { scale: -2.5, shift: 0.75 },
        UnaryKind::Clamp { min: -1.0, max: 1.0 },
    ];
    let above_zero = [
        UnaryKind::Sqrt,
        UnaryKind::Rsqrt,
        UnaryKind::Recip,
        UnaryKind::Log,
        UnaryKind::Powf { exponent: 2.5 },
        UnaryKind::Powf { exponent: 1.0 },
        UnaryKind::Powf { exponent: -1.0 },
    ];
    let on = |x: Tensor, kind: UnaryKind| {
        check(&[x], SMOOTH, |t| t[0].device().execute(&Unary { kind }.into(), &[&t[0]]));
    };
    any.into_iter().for_each(|kind| on(halves(&[3, 5], 1), kind));
    above_zero.into_iter().for_each(|kind| on(positive(&[3, 5], 2), kind));
    on(halves(&[], 3), UnaryKind::Exp);
    on(halves(&[0], 3), UnaryKind::Exp);
}

#[test]
fn the_slope_of_gelu_and_its_like_is_flat_far_out() {
    let far = [-1e30f32, -1e4, -110.0, 21.0, 1e4, 1e30, f32::INFINITY];
    for function in [Tensor::gelu, Tensor::gelu_erf, Tensor::mish, Tensor::softplus] {
        let x = Tensor::from_vec(far.to_vec(), [7], &device()).unwrap().require_grad();
        let y = function(&x).unwrap();
        let dy = Tensor::ones([7], &device()).unwrap();
        let gradient = y.backward_with(&dy).unwrap().take(&x).unwrap();
        let slopes = gradient.to_vec::<f32>().unwrap();
        // As good as 0: Mish's and softplus's own is a power of e.
        assert!(slopes[..3].iter().all(|slope| slope.abs() < 1e-40), "{slopes:?}");
        assert_eq!(slopes[3..], [1.0; 4]);
    }
}

#[test]
fn where_a_function_is_flat_nothing_is_passed_on() {
    for kind in [
        UnaryKind::Sign,
        UnaryKind::Floor,
        UnaryKind::Ceil,
        UnaryKind::Round,
        UnaryKind::Powf { exponent: 0.0 },
    ] {
        let x = halves(&[4], 1).require_grad();
        let y = device().execute(&Unary { kind }.into(), &[&x]).unwrap();
        assert!(y.sum_all().unwrap().backward().unwrap().get(&x).is_none(), "{kind:?}");
    }
}

/// Shapes that broadcast to one.
fn broadcasting() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    let extents = prop::collection::vec((1..4usize, 0..3u8), 0..4);
    (extents, 0..4usize).prop_map(|(extents, missing)| {
        let pick = |one: u8| extents.iter().map(move |&(d, die)| if die == one { 1 } else { d });
        let (a, b): (Vec<usize>, Vec<usize>) = (pick(0).collect(), pick(1).collect());
        let missing = missing.min(b.len());
        (a, b[missing..].to_vec())
    })
}

const BINARY: [BinaryKind; 8] = [
    BinaryKind::Add,
    BinaryKind::Sub,
    BinaryKind::Mul,
    BinaryKind::Div,
    BinaryKind::Maximum,
    BinaryKind::Minimum,
    BinaryKind::Pow,
    BinaryKind::Prelu,
];

proptest! {
    // Differences are only near the truth, now and then less so: the same cases every time.
    #![proptest_config(ProptestConfig {
        cases: 24,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn binary((a, b) in broadcasting(), seed in any::<u64>(), swap in any::<bool>()) {
        for kind in BINARY {
            let (a, b) = if swap { (&b, &a) } else { (&a, &b) };
            let (a, b) = match kind {
                BinaryKind::Div => (halves(a, seed), positive(b, seed ^ 1)),
                BinaryKind::Pow => (positive(a, seed), halves(b, seed ^ 1)),
                // A quarter apart at least.
                _ => (halves(a, seed), halves(b, seed ^ 1).affine(1.0, 0.25).unwrap()),
            };
            // Powers of what is near 0 bend the most.
            let tolerance = if kind == BinaryKind::Pow { 1e-2 } else { 1e-3 };
            check(&[a, b], tolerance, |t| {
                t[0].device().execute(&Binary { kind }.into(), &[&t[0], &t[1]])
            });
        }
    }

    #[test]
    fn select((a, b) in broadcasting(), seed in any::<u64>()) {
        let whole = halves(&a, seed).add(&halves(&b, 0)).unwrap();
        let condition = whole.gt(&halves(&[], seed ^ 5)).unwrap();
        check(&[halves(&a, seed ^ 1), halves(&b, seed ^ 2)], LINEAR, |t| {
            condition.select(&t[0], &t[1])
        });
    }

    /// All transposes, with and without bias and ReLU, one or the other batched or broadcast.
    #[test]
    fn matmul(
        [m, k, n] in [1..4usize, 1..5usize, 1..4usize],
        (batch_a, batch_b) in broadcasting(),
        [transpose_a, transpose_b, bias] in any::<[bool; 3]>(),
        activation in prop::sample::select(vec![Activation::None, Activation::Relu]),
        seed in any::<u64>(),
    ) {
        let with = |batch: &[usize], rows: usize, columns: usize, transposed: bool| {
            let (rows, columns) = if transposed { (columns, rows) } else { (rows, columns) };
            [batch, &[rows, columns]].concat()
        };
        let a = halves(&with(&batch_a, m, k, transpose_a), seed);
        let b = halves(&with(&batch_b, k, n, transpose_b), seed ^ 1);
        // Products are sixteenths, so sums with odd parts of 1/32 are never 0, and small steps do
        // not take them there.
        let c = halves(&[n], seed ^ 2).affine(0.125, 0.0).unwrap();
        let activation = if bias { activation } else { Activation::None };
        let op = MatMul { transpose_a, transpose_b, bias, activation };
        let function = |t: &[Tensor]| t[0].matmul_with(&t[1], t.get(2), op);
        let operands = if bias { vec![a, b, c] } else { vec![a, b] };
        assert_gradients(&operands, function, 1.0 / 128.0, LINEAR);
        assert_half_alike(&operands, function);
    }

    /// What an activation inside an op hands back is what it does as an op of its own.
    #[test]
    fn activations_of_convolutions_and_products(
        activation in prop::sample::select(Activation::ALL.to_vec()),
        [bias, residual] in any::<[bool; 2]>(),
        seed in any::<u64>(),
    ) {
        let alone = |y: Tensor| match activation.kind() {
            Some(kind) => y.device().execute(&Unary { kind }.into(), &[&y]),
            None => Ok(y),
        };
        let gradients = |operands: &[Tensor], f: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
            let operands: Vec<Tensor> = operands.iter().map(|x| x.clone().require_grad()).collect();
            let y = f(&operands).unwrap();
            let weights = halves(y.dims(), seed ^ 9);
            let values = y.to_vec::<f32>().unwrap();
            let gradients = y.backward_with(&weights).unwrap();
            let mut all = vec![values];
            all.extend(operands.iter().map(|x| gradients.get(x).unwrap().to_vec::<f32>().unwrap()));
            all
        };
        let conv = Conv2d { padding: [[1, 1], [0, 1]], ..Conv2d::default() };
        let mut operands = vec![halves(&[2, 4, 3, 2], seed), halves(&[3, 3, 2, 2], seed ^ 1)];
        operands.extend(bias.then(|| halves(&[3], seed ^ 2)));
        operands.extend(residual.then(|| halves(&[2, 4, 3, 3], seed ^ 3)));
        let convolve = |t: &[Tensor], conv: Conv2d| {
            let bias = bias.then(|| &t[2]);
            match residual {
                true => t[0].conv2d_residual(&t[1], bias, &t[t.len() - 1], conv),
                false => t[0].conv2d(&t[1], bias, conv),
            }
        };
        let inside = gradients(&operands, &|t| convolve(t, Conv2d { activation, ..conv }));
        prop_assert_eq!(inside, gradients(&operands, &|t| alone(convolve(t, conv)?)));

        let mut operands = vec![halves(&[2, 3, 4], seed), halves(&[4, 2], seed ^ 1)];
        operands.extend(bias.then(|| halves(&[2], seed ^ 2)));
        let multiply = |t: &[Tensor], op: MatMul| t[0].matmul_with(&t[1], t.get(2), op);
        let op = MatMul::default();
        let inside = gradients(&operands, &|t| multiply(t, MatMul { activation, ..op }));
        prop_assert_eq!(inside, gradients(&operands, &|t| alone(multiply(t, op)?)));
    }

    #[test]
    fn conv2d(
        [rows, cols, kernel_rows, kernel_cols] in [3..6usize, 3..6usize, 1..4usize, 1..4usize],
        stride in [1..4usize, 1..3usize],
        padding in [[0..3usize, 0..3usize], [0..3usize, 0..3usize]],
        dilation in [1..4usize, 1..4usize],
        [groups, per_group, outs] in [1..3usize, 1..3usize, 1..3usize],
        [bias, residual] in any::<[bool; 2]>(),
        activation in prop::sample::select(vec![Activation::None, Activation::Relu]),
        seed in any::<u64>(),
    ) {
        let x = halves(&[2, rows, cols, groups * per_group], seed);
        let w = halves(&[groups * outs, kernel_rows, kernel_cols, per_group], seed ^ 1);
        let b = halves(&[groups * outs], seed ^ 2).affine(0.125, 0.0).unwrap();
        let padded = |axis: usize, extent: usize| extent + padding[axis][0] + padding[axis][1];
        let dilation = [(0, rows, kernel_rows), (1, cols, kernel_cols)].map(|(axis, extent, taps)| {
            // As far as the kernel fits.
            dilation[axis].min((padded(axis, extent) - 1) / (taps - 1).max(1)).max(1)
        });
        let activation = if bias { activation } else { Activation::None };
        let conv = Conv2d { stride, padding, dilation, groups, activation, ..Conv2d::default() };
        let types = [*x.ty(), *w.ty()];
        let y = Op::from(Conv2d { bias: false, residual: false, ..conv }).output(&types).unwrap();
        let r = halves(y.shape.dims(), seed ^ 3).affine(0.5, 0.0).unwrap();
        let function = |t: &[Tensor]| {
            let bias = bias.then(|| &t[2]);
            match residual {
                true => t[0].conv2d_residual(&t[1], bias, &t[t.len() - 1], conv),
                false => t[0].conv2d(&t[1], bias, conv),
            }
        };
        let mut operands = vec![x, w];
        operands.extend(bias.then_some(b));
        operands.extend(residual.then_some(r));
        assert_gradients(&operands, function, 1.0 / 128.0, LINEAR);
        assert_half_alike(&operands, function);
    }

    #[test]
    fn reductions(dims in prop::collection::vec(1..4usize, 1..4), set in 0..8usize, keep in any::<bool>()) {
        let axes: Vec<usize> = (0..dims.len()).filter(|axis| set >> axis & 1 != 0).collect();
        let axes = Axes::new(&axes).unwrap();
        let of = |kind, x: Tensor, tolerance| {
            let op = Reduce { kind, axes, keep_axes: keep };
            check(&[x], tolerance, |t| t[0].device().execute(&op.into(), &[&t[0]]));
        };
        of(ReduceKind::Sum, halves(&dims, 1), LINEAR);
        of(ReduceKind::Mean, halves(&dims, 1), 1e-5);
        of(ReduceKind::Max, different(&dims), LINEAR);
        of(ReduceKind::Min, different(&dims), LINEAR);
        let count: usize = dims.iter().product();
        // A product of many halves leaves half precision.
        if count <= 8 {
            of(ReduceKind::Product, halves(&dims, 1), 1e-4);
        }
    }

    #[test]
    fn softmax(dims in prop::collection::vec(1..5usize, 1..4), axis in 0..3usize, log in any::<bool>()) {
        let axis = axis % dims.len();
        check(&[halves(&dims, 3)], SMOOTH, |t| match log {
            false => t[0].softmax(axis),
            true => t[0].log_softmax(axis),
        });
    }

    #[test]
    fn movement(dims in prop::collection::vec(1..5usize, 1..4), seed in any::<u64>()) {
        let rank = dims.len();
        let x = halves(&dims, seed);
        let x = std::slice::from_ref(&x);
        let turned: Vec<usize> = (0..rank).map(|axis| (axis + seed as usize % rank) % rank).collect();
        check(x, LINEAR, |t| t[0].permute(&turned));
        let inner: Vec<_> = dims.iter().map(|&d| d / 3..d - d / 4).collect();
        check(x, LINEAR, |t| t[0].slice(&inner));
        check(x, LINEAR, |t| t[0].pad(&vec![[1, 2]; rank], 7.0));
        check(x, LINEAR, |t| t[0].flip([rank - 1]));
        check(x, LINEAR, |t| t[0].reshape([t[0].ty().count()]));
        check(x, LINEAR, |t| t[0].dropout(0.5, 2.0, RandomKey::new(seed, 1)));
        for axis in 0..rank {
            let mut longer = dims.clone();
            longer[axis] += 2;
            let parts = [halves(&dims, 1), halves(&longer, 2), halves(&dims, 3)];
            check(&parts, LINEAR, |t| Tensor::concatenate(&[&t[0], &t[1], &t[0], &t[2]], axis));
            // Some again and again, one beyond.
            let last = dims[axis] as u32 - 1;
            let indices = labels(vec![last, 0, last, last, 0]);
            check(x, LINEAR, |t| t[0].gather(&indices, axis));
            check(x, LINEAR, |t| t[0].cumulative_sum(axis));
            // In each line one is taken twice; places are put to twice, and one is beyond.
            let mut own = dims.clone();
            own[axis] = 3;
            let count: usize = own.iter().product();
            let places: Vec<u32> = (0..count as u32).map(|i| i * 7 % 3 % (last + 2)).collect();
            let places = Tensor::from_vec(places, own.clone(), &device()).unwrap();
            let within: Vec<u32> = places.to_vec::<u32>().unwrap().iter().map(|&i| i.min(last)).collect();
            let within = Tensor::from_vec(within, own.clone(), &device()).unwrap();
            check(x, LINEAR, |t| t[0].take_along(&within, axis));
            let both = [halves(&dims, 4), halves(&own, 5)];
            check(&both, LINEAR, |t| t[0].scatter(axis, &places, &t[1]));
            check(&both, LINEAR, |t| t[0].scatter_add(axis, &places, &t[1]));
            check(x, LINEAR, |t| Tensor::stack(&[&t[0], &t[0]], axis));
            check(x, LINEAR, |t| t[0].unsqueeze(axis)?.repeat(&vec![2; rank + 1]));
        }
    }
}

/// The gradient at one place, for `dy` of ones.
fn gradient(x: Vec<f32>, function: impl Fn(&Tensor) -> Result<Tensor>) -> Vec<f32> {
    let n = x.len();
    let x = Tensor::from_vec(x, [n], &device()).unwrap().require_grad();
    let y = function(&x).unwrap().sum_all().unwrap();
    y.backward().unwrap().take(&x).unwrap().to_vec().unwrap()
}

#[test]
fn products_with_zeros() {
    let product = |x: &Tensor| x.product([0]);
    assert_eq!(gradient(vec![2.0, 0.0, 3.0], product), [0.0, 6.0, 0.0]);
    assert_eq!(gradient(vec![0.0, 5.0, 0.0], product), [0.0, 0.0, 0.0]);
    assert_eq!(gradient(vec![2.0, -4.0, 3.0], product), [-12.0, 6.0, -8.0]);
}

#[test]
fn ties_share_the_gradient_and_nan_is_nobodys() {
    let max = |x: &Tensor| x.max([0]);
    assert_eq!(gradient(vec![2.0, 1.0, 2.0], max), [0.5, 0.0, 0.5]);
    assert_eq!(gradient(vec![2.0, f32::NAN, 2.0], max), [0.0, 0.0, 0.0]);
    let two = |x: &Tensor| x.maximum(&Tensor::full([], 1.0, DType::F32, &device())?);
    assert_eq!(gradient(vec![0.0, 1.0, 2.0, f32::NAN], two), [0.0, 0.5, 1.0, 0.0]);
    // Of a tensor with itself, all of it.
    assert_eq!(gradient(vec![1.0], |x| x.minimum(x)), [1.0]);
}

#[test]
fn kinks_and_ends() {
    // At the bends themselves the slope is that of outside.
    let x = vec![f32::NEG_INFINITY, -9.0, -3.0, 0.0, 1.5, 3.0, 9.0, f32::INFINITY];
    let swish = gradient(x.clone(), Tensor::hard_swish);
    assert_eq!(swish, [0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0]);
    let sigmoid = gradient(x, Tensor::hard_sigmoid);
    let sixth = 1.0 / 6.0;
    assert_eq!(sigmoid, [0.0, 0.0, 0.0, sixth, sixth, 0.0, 0.0, 0.0]);
    assert_eq!(gradient(vec![-1.0, 0.0, 2.0], Tensor::relu), [0.0, 0.0, 1.0]);
    assert_eq!(gradient(vec![-1.0, 0.0, 2.0], Tensor::abs), [-1.0, 0.0, 1.0]);
    let slope = |x: &Tensor| x.prelu(&Tensor::full([], 0.25, DType::F32, &device())?);
    assert_eq!(gradient(vec![-1.0, 0.0, 2.0], slope), [0.25, 0.25, 1.0]);
    let of_slope = |s: &Tensor| Tensor::from_vec(vec![-3.0f32, 0.0, 2.0], [3], &device())?.prelu(s);
    assert_eq!(gradient(vec![0.5, 0.5, 0.5], of_slope), [-3.0, 0.0, 0.0]);
    let clamp = |x: &Tensor| x.clamp(-1.0, 1.0);
    assert_eq!(gradient(vec![-2.0, -1.0, 0.5, 1.0, 1.5], clamp), [0.0, 1.0, 1.0, 1.0, 0.0]);
    // Powers at 0, where the letter of the rule has 0 · ∞.
    let cube = |x: &Tensor| x.pow(&Tensor::from_vec(vec![3.0f32, 0.0, 1.0], [3], &device())?);
    assert_eq!(gradient(vec![0.0, 0.0, 0.0], cube), [0.0, 0.0, 1.0]);
    let base = |x: &Tensor| Tensor::zeros([2], &device())?.pow(x);
    assert_eq!(gradient(vec![2.0, 0.5], base), [0.0, 0.0]);
}

#[test]
fn cast() {
    let to_half = |x: &Tensor| x.cast(DType::F16);
    assert_eq!(gradient(vec![0.5, 2.0], to_half), [1.0, 1.0]);
    let back = |x: &Tensor| x.cast(DType::F16)?.square()?.cast(DType::F32);
    assert_eq!(gradient(vec![0.5, 2.0], back), [1.0, 4.0]);
}

#[test]
fn cross_entropy() {
    let labels = labels(vec![0, 3, 4, 1]);
    check(&[halves(&[4, 5], 1)], SMOOTH, |t| t[0].cross_entropy(&labels));
}

#[test]
fn a_label_that_is_no_class_gives_nan_in_its_row_alone() {
    let x = halves(&[2, 3], 1).require_grad();
    let loss = x.cross_entropy(&labels(vec![3, 1])).unwrap().sum_all().unwrap();
    let gradient: Vec<f32> = loss.backward().unwrap().take(&x).unwrap().to_vec().unwrap();
    assert!(gradient[..3].iter().all(|x| x.is_nan()), "{gradient:?}");
    assert!(gradient[3..].iter().all(|x| x.is_finite()), "{gradient:?}");
}

#[test]
fn pools() {
    let pool = Pool2d::square(3, 2, 1);
    let other =
        Pool2d { padding: [[0, 2], [1, 0]], count_padding: true, ties: Ties::First, ..pool };
    let ceil = other.with_ceil(5, 4);
    for pool in [Pool2d::square(2, 2, 0), pool, Pool2d::square(2, 3, 1), other, ceil] {
        check(&[different(&[2, 5, 4, 3])], LINEAR, |t| t[0].max_pool2d(pool));
        check(&[halves(&[2, 5, 4, 3], 1)], 1e-5, |t| t[0].avg_pool2d(pool));
    }
}

#[test]
fn images_of_another_size_and_with_a_border() {
    let x = || halves(&[2, 4, 5, 2], 1);
    let sizes = [[7, 6], [2, 9], [4, 5], [1, 1]];
    for output in sizes {
        let area = Resize::area(output);
        for resize in [Resize::nearest(output), Resize::linear(output), Resize::cubic(output), area]
        {
            check(&[x()], 1e-4, |t| t[0].resize(resize));
        }
        check(&[x()], 1e-4, |t| t[0].adaptive_avg_pool2d(output));
        check(&[different(&[2, 4, 5, 2])], LINEAR, |t| t[0].adaptive_max_pool2d(output));
    }
    for border in [Border::Reflect, Border::Edge, Border::Wrap] {
        check(&[x()], LINEAR, |t| t[0].pad_image([[2, 1], [0, 3]], border));
    }
    check(&[halves(&[2, 3, 2, 8], 1)], LINEAR, |t| t[0].channel_shuffle(4));
    for order in [BlockOrder::Dcr, BlockOrder::Crd] {
        check(&[halves(&[2, 3, 2, 8], 1)], LINEAR, |t| t[0].depth_to_space(2, order));
        check(&[halves(&[2, 4, 2, 3], 1)], LINEAR, |t| t[0].space_to_depth(2, order));
    }
}

#[test]
fn lrn() {
    let base = Lrn { size: 3, kappa: 2., alpha: 0.5, beta: 0.75, groups: 1 };
    for lrn in [base, Lrn { size: 5, groups: 2, ..base }] {
        check(&[halves(&[2, 3, 8], 1)], SMOOTH, |t| t[0].lrn(lrn));
    }
}

/// f32 activations with f16 weights, as stored networks have them: each gradient of its own type.
#[test]
fn mixed_precision() {
    let x = halves(&[3, 4], 1).require_grad();
    let w = halves(&[2, 4], 2).cast(DType::F16).unwrap().require_grad();
    let b = halves(&[2], 3).cast(DType::F16).unwrap().require_grad();
    let op = MatMul { transpose_b: true, ..MatMul::default() };
    let y = x.matmul_with(&w, Some(&b), op).unwrap();
    let dy = halves(&[3, 2], 4);
    let gradients = y.backward_with(&dy).unwrap();
    let wide = w.detach().cast(DType::F32).unwrap();
    let dx = dy.matmul(&wide).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(gradients.get(&x).unwrap().to_vec::<f32>().unwrap(), dx);
    assert_eq!(gradients.get(&w).unwrap().dtype(), DType::F16);
    let db = dy.sum([0]).unwrap().cast(DType::F16).unwrap();
    assert_eq!(gradients.get(&b).unwrap().to_host().unwrap(), db.to_host().unwrap());
    for transpose_a in [false, true] {
        let a = halves(&[4, 4], 5).require_grad();
        let y = a.matmul_with(&wide.cast(DType::F16).unwrap(), None, MatMul { transpose_a, ..op });
        let gradients = y.unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(gradients.get(&a).unwrap().dtype(), DType::F32);
    }
}
