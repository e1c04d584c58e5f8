//! The reference against numbers derived by hand: the source of each stands beside it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_tensor::ops::*;
use striate_tensor::{
    DType, Device, HostTensor, Op, RandomKey, Reference, Shape, Tensor, f16, reference,
};

fn device() -> Device {
    Device::new(Reference::new())
}

fn tensor<const N: usize>(dims: [usize; N], values: &[f32]) -> Tensor {
    Tensor::from_vec(values.to_vec(), dims, &device()).unwrap()
}

/// Tensors of one device, to be used together.
fn tensors<const N: usize>(operands: [(&[usize], &[f32]); N]) -> [Tensor; N] {
    let device = device();
    operands.map(|(dims, values)| {
        Tensor::from_vec(values.to_vec(), Shape::new(dims).unwrap(), &device).unwrap()
    })
}

fn values(x: &Tensor) -> Vec<f32> {
    x.to_vec().unwrap()
}

#[track_caller]
fn assert_close(got: &Tensor, want: &[f32]) {
    let got = values(got);
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        // Two units in the last place: the expected numbers are themselves rounded.
        assert!((g - w).abs() <= 2.5e-7 * w.abs(), "{got:?}, expected {want:?}");
    }
}

/// 1 to 9 in three rows.
const COUNT: &[f32] = &[1., 2., 3., 4., 5., 6., 7., 8., 9.];

#[test]
fn conv2d_correlates_and_does_not_flip() {
    // Top left: 1·1 + 2·2 + 4·3 + 5·4 = 37; a flipped kernel would give 23.
    let [x, w] = tensors([(&[1, 3, 3, 1], COUNT), (&[1, 2, 2, 1], &[1., 2., 3., 4.])]);
    let y = x.conv2d(&w, None, Conv2d::default()).unwrap();
    assert_eq!(y.dims(), [1, 2, 2, 1]);
    assert_eq!(values(&y), [37., 47., 67., 77.]);
}

#[test]
fn conv2d_counts_windows_from_the_padded_edge() {
    // Windows start at rows and cols -1 and 1. Top left sees pixel 1 under weight 4; top right sees
    // 2 and 3 under weights 3 and 4: 18; bottom left 4 and 7 under 2 and 4: 36.
    let [x, w] = tensors([(&[1, 3, 3, 1], COUNT), (&[1, 2, 2, 1], &[1., 2., 3., 4.])]);
    let conv = Conv2d { stride: [2, 2], padding: [[1; 2]; 2], ..Conv2d::default() };
    assert_eq!(values(&x.conv2d(&w, None, conv).unwrap()), [4., 18., 36., 77.]);
}

#[test]
fn conv2d_takes_weights_as_out_rows_cols_channels() {
    // Two pixels of two channels: each digit of the result says which value met which weight.
    let [x, w] =
        tensors([(&[1, 1, 2, 2], &[1., 2., 3., 4.]), (&[1, 1, 2, 2], &[1., 10., 100., 1000.])]);
    assert_eq!(values(&x.conv2d(&w, None, Conv2d::default()).unwrap()), [4321.]);
}

#[test]
fn conv2d_groups_see_their_own_channels() {
    let [x, w] =
        tensors([(&[1, 1, 1, 4], &[1., 2., 3., 4.]), (&[2, 1, 1, 2], &[10., 1., 100., 1000.])]);
    let conv = Conv2d { groups: 2, ..Conv2d::default() };
    assert_eq!(values(&x.conv2d(&w, None, conv).unwrap()), [12., 4300.]);
}

#[test]
fn conv2d_adds_the_bias_before_relu() {
    let [x, w, b] = tensors([
        (&[1, 1, 1, 1], &[1.]),
        (&[3, 1, 1, 1], &[-1., -1., f32::NAN]),
        (&[3], &[0.5, 1.5, 0.]),
    ]);
    let conv = Conv2d { activation: Activation::Relu, ..Conv2d::default() };
    let y = values(&x.conv2d(&w, Some(&b), conv).unwrap());
    assert_eq!(y[..2], [0., 0.5]);
    assert!(y[2].is_nan(), "ReLU keeps NaN");
}

#[test]
fn conv2d_padding_takes_part_in_products() {
    // 0 · ∞ is NaN wherever the infinite weight lies over the padding: all but the centre here.
    let mut weights = vec![1.0; 9];
    weights[0] = f32::INFINITY;
    let [x, w] = tensors([(&[1, 2, 2, 1], &[1.; 4]), (&[1, 3, 3, 1], &weights)]);
    let conv = Conv2d { padding: [[1; 2]; 2], ..Conv2d::default() };
    let y = values(&x.conv2d(&w, None, conv).unwrap());
    assert!(y[..3].iter().all(|y| y.is_nan()), "{y:?}");
    assert_eq!(y[3], f32::INFINITY);
}

#[test]
fn conv2d_pads_each_side_and_spreads_its_taps() {
    // One row and column of zeros above and left: 1·4; 1·3 + 2·4; ...
    let four: (&[usize], &[f32]) = (&[1, 2, 2, 1], &[1., 2., 3., 4.]);
    let [x, w, nine] = tensors([four, four, (&[1, 3, 3, 1], COUNT)]);
    let conv = Conv2d { padding: [[1, 0], [1, 0]], ..Conv2d::default() };
    assert_eq!(values(&x.conv2d(&w, None, conv).unwrap()), [4., 11., 14., 30.]);
    let conv = Conv2d { padding: [[0, 0], [0, 1]], ..Conv2d::default() };
    assert_eq!(values(&x.conv2d(&w, None, conv).unwrap()), [30., 14.]);
    // Taps two apart see the corners: 1 + 2·3 + 3·7 + 4·9.
    let conv = Conv2d { dilation: [2, 2], ..Conv2d::default() };
    assert_eq!(values(&nine.conv2d(&w, None, conv).unwrap()), [64.]);
}

#[test]
fn conv2d_adds_bias_then_residual_then_clips() {
    // 1·2 + 1 - 5 = -2, which becomes 0; 2·2 + 1 + 3 = 8.
    let [x, w, b, r] = tensors([
        (&[1, 1, 2, 1], &[1., 2.]),
        (&[1, 1, 1, 1], &[2.]),
        (&[1], &[1.]),
        (&[1, 1, 2, 1], &[-5., 3.]),
    ]);
    let conv = Conv2d { activation: Activation::Relu, ..Conv2d::default() };
    assert_eq!(values(&x.conv2d_residual(&w, Some(&b), &r, conv).unwrap()), [0., 8.]);
    let conv = Conv2d::default();
    assert_eq!(values(&x.conv2d_residual(&w, None, &r, conv).unwrap()), [-3., 7.]);
}

#[test]
fn average_pool_divides_by_the_cells_inside() {
    // Windows of 3x3 over a corner have four cells inside: (1 + 2 + 4 + 5) / 4 = 3.
    let x = tensor([1, 3, 3, 1], COUNT);
    let y = x.avg_pool2d(Pool2d::square(3, 2, 1)).unwrap();
    assert_eq!(values(&y), [3., 4., 6., 7.]);
}

/// By PyTorch's rule: the divisor counts the padding, not what rounding up adds.
#[test]
fn average_pool_counts_the_padding_where_asked() {
    let x = tensor([1, 3, 3, 1], COUNT);
    let pool = Pool2d { count_padding: true, ..Pool2d::square(3, 2, 1) };
    // (1 + 2 + 4 + 5) / 9, and so on.
    assert_eq!(values(&x.avg_pool2d(pool).unwrap()), [12. / 9., 16. / 9., 24. / 9., 28. / 9.]);
    // Windows of 2 without padding: the last ones see one column or row.
    let pool = Pool2d { count_padding: true, ..Pool2d::square(2, 2, 0) };
    let y = x.avg_pool2d(pool.with_ceil(3, 3)).unwrap();
    assert_eq!(values(&y), [3., 4.5, 7.5, 9.]);
    // One zero above counts; what lies below does not.
    let pool = Pool2d { padding: [[1, 0], [0, 0]], size: [3, 3], stride: [3, 1], ..pool };
    let pool = pool.with_ceil(3, 3);
    assert_eq!(pool.extra, [2, 0]);
    assert_eq!(values(&x.avg_pool2d(pool).unwrap()), [21. / 9., 8.]);
}

#[test]
fn max_pool_leaves_the_padding_out_and_keeps_nan() {
    let negative: Vec<f32> = COUNT.iter().map(|x| -x).collect();
    let y = tensor([1, 3, 3, 1], &negative).max_pool2d(Pool2d::square(3, 2, 1)).unwrap();
    assert_eq!(values(&y), [-1., -2., -4., -5.]);
    let mut with_nan = COUNT.to_vec();
    with_nan[0] = f32::NAN;
    let y = tensor([1, 3, 3, 1], &with_nan).max_pool2d(Pool2d::square(2, 1, 0)).unwrap();
    let y = values(&y);
    assert!(y[0].is_nan());
    assert_eq!(y[1..], [6., 8., 9.]);
}

#[test]
fn pools_of_no_cells_are_as_reductions_of_nothing() {
    let x = tensor([1, 0, 1, 1], &[]);
    let pool = Pool2d { size: [3, 1], padding: [[2; 2], [0; 2]], ..Pool2d::default() };
    assert_eq!(values(&x.max_pool2d(pool).unwrap()), [f32::NEG_INFINITY; 2]);
    assert!(values(&x.avg_pool2d(pool).unwrap()).iter().all(|y| y.is_nan()));
    let counted = Pool2d { count_padding: true, ..pool };
    assert_eq!(values(&x.avg_pool2d(counted).unwrap()), [0.; 2]);
}

#[test]
fn lrn_is_its_formula() {
    // Sums of squares over neighbours: 1 + 4, 1 + 4 + 9, 4 + 9; alpha is not divided by the size.
    let x = tensor([1, 3], &[1., 2., 3.]);
    let lrn = Lrn { size: 3, kappa: 2., alpha: 0.5, beta: 1., groups: 1 };
    assert_close(&x.lrn(lrn).unwrap(), &[1. / 4.5, 2. / 9., 3. / 8.5]);
    // Each channel alone: sums 1, 4, 9.
    let apart = Lrn { groups: 3, ..lrn };
    assert_close(&x.lrn(apart).unwrap(), &[1. / 2.5, 2. / 4., 3. / 6.5]);
    let even = Lrn { size: 2, ..lrn };
    assert_eq!(values(&x.lrn(even).unwrap()), values(&x.lrn(lrn).unwrap()), "2 / 2 = 3 / 2");
    // 4 · (0 + 1 · 16)^-0.75 = 4 / 8.
    let x = tensor([1], &[4.]);
    let power = Lrn { size: 1, kappa: 0., alpha: 1., beta: 0.75, groups: 1 };
    assert_close(&x.lrn(power).unwrap(), &[0.5]);
}

#[test]
fn softmax_of_zero_and_log_two_is_a_third_and_two() {
    let x = tensor([1, 2], &[0., 2f32.ln()]);
    assert_close(&x.softmax(1).unwrap(), &[1. / 3., 2. / 3.]);
    assert_close(&x.log_softmax(1).unwrap(), &[-(3f32.ln()), (2f32 / 3.).ln()]);
    // Along an axis of one everything is certain.
    assert_eq!(values(&x.softmax(0).unwrap()), [1., 1.]);
    // e^1000 is beyond f32 and f64; the maximum is taken off first.
    let large = tensor([2], &[1000., 1000.]);
    assert_eq!(values(&large.softmax(0).unwrap()), [0.5, 0.5]);
}

#[test]
fn cross_entropy_is_minus_the_logarithm_at_the_label() {
    let device = device();
    let logits = Tensor::from_vec([[0f32, 2f32.ln()]; 3].concat(), [3, 2], &device).unwrap();
    let labels = Tensor::from_vec(vec![0u32, 1, 2], [3], &device).unwrap();
    let losses = values(&logits.cross_entropy(&labels).unwrap());
    assert!((losses[0] - 3f32.ln()).abs() < 1e-6);
    assert!((losses[1] - 1.5f32.ln()).abs() < 1e-6);
    assert!(losses[2].is_nan(), "2 is no class");
}

#[test]
fn matmul_by_hand() {
    let [a, b, bias] =
        tensors([(&[2, 2], &[1., 2., 3., 4.]), (&[2, 2], &[5., 6., 7., 8.]), (&[2], &[-20., 1.])]);
    assert_eq!(values(&a.matmul(&b).unwrap()), [19., 22., 43., 50.]);
    let of = |transpose_a, transpose_b| MatMul { transpose_a, transpose_b, ..MatMul::default() };
    // [1 3; 2 4] · b, a · [5 7; 6 8], and both.
    assert_eq!(values(&a.matmul_with(&b, None, of(true, false)).unwrap()), [26., 30., 38., 44.]);
    assert_eq!(values(&a.matmul_with(&b, None, of(false, true)).unwrap()), [17., 23., 39., 53.]);
    assert_eq!(values(&a.matmul_with(&b, None, of(true, true)).unwrap()), [23., 31., 34., 46.]);
    let relu = MatMul { activation: Activation::Relu, ..MatMul::default() };
    assert_eq!(values(&a.matmul_with(&b, Some(&bias), relu).unwrap()), [0., 23., 23., 51.]);
}

#[test]
fn matmul_broadcasts_batches() {
    // Rows [1 2] and [3 4] with columns [1 1] and [1 -1].
    let [a, b] = tensors([(&[2, 1, 1, 2], &[1., 2., 3., 4.]), (&[1, 2, 2, 1], &[1., 1., 1., -1.])]);
    let y = a.matmul(&b).unwrap();
    assert_eq!(y.dims(), [2, 2, 1, 1]);
    assert_eq!(values(&y), [3., -1., 7., -1.]);
}

#[test]
fn matmul_of_nothing_is_the_bias() {
    let [a, b, bias] = tensors([(&[1, 0], &[]), (&[0, 2], &[]), (&[2], &[-1., 2.])]);
    let relu = MatMul { activation: Activation::Relu, ..MatMul::default() };
    assert_eq!(values(&a.matmul_with(&b, Some(&bias), relu).unwrap()), [0., 2.]);
}

#[test]
fn reductions_by_hand() {
    let x = tensor([2, 3], &[1., 2., 3., 4., 5., 6.]);
    assert_eq!(values(&x.sum([0]).unwrap()), [5., 7., 9.]);
    assert_eq!(values(&x.sum([1]).unwrap()), [6., 15.]);
    assert_eq!(values(&x.mean([0, 1]).unwrap()), [3.5]);
    assert_eq!(values(&x.product([1]).unwrap()), [6., 120.]);
    assert_eq!(values(&x.max([0]).unwrap()), [4., 5., 6.]);
    assert_eq!(values(&x.min([0; 0]).unwrap()), values(&x));
    assert_eq!(x.reduce(ReduceKind::Sum, [1], true).unwrap().dims(), [2, 1]);

    let nothing = tensor([0], &[]);
    assert_eq!(values(&nothing.sum_all().unwrap()), [0.]);
    assert!(nothing.mean_all().unwrap().to_scalar::<f32>().unwrap().is_nan());
    assert_eq!(values(&nothing.product([0]).unwrap()), [1.]);
    assert_eq!(values(&nothing.max([0]).unwrap()), [f32::NEG_INFINITY]);
    assert_eq!(values(&nothing.min([0]).unwrap()), [f32::INFINITY]);
}

#[test]
fn half_precision_sums_wide_and_rounds_once() {
    // f16 cannot count beyond 2048 by ones.
    let ones = Tensor::full([5000], 1., DType::F16, &device()).unwrap();
    assert_eq!(ones.sum_all().unwrap().to_scalar::<f16>().unwrap(), f16::from_f32(5000.));
}

#[test]
fn arg_reductions_take_the_first() {
    let x = tensor([2, 4], &[1., 3., 3., 2., 5., f32::NAN, 7., f32::NAN]);
    assert_eq!(x.arg_max(1).unwrap().to_vec::<u32>().unwrap(), [1, 1]);
    assert_eq!(x.arg_min(1).unwrap().to_vec::<u32>().unwrap(), [0, 1]);
    assert_eq!(x.arg_max(0).unwrap().to_vec::<u32>().unwrap(), [1, 1, 1, 1]);
}

#[test]
fn unary_functions_at_known_points() {
    let at = |x: f32, f: fn(&Tensor) -> striate_tensor::Result<Tensor>| {
        f(&tensor([], &[x])).unwrap().to_scalar::<f32>().unwrap()
    };
    let close = |got: f32, want: f64| {
        assert!((f64::from(got) - want).abs() <= 1e-7 * want.abs(), "{got}, expected {want}");
    };
    // From tables: e, π / 4 identities, tanh 1; the last three follow from their formulas.
    close(at(1., Tensor::exp), std::f64::consts::E);
    close(at(1., Tensor::tanh), 0.761_594_155_955_764_9);
    close(at(1., Tensor::sigmoid), 0.731_058_578_630_004_9);
    close(at(1., Tensor::silu), 0.731_058_578_630_004_9);
    close(at(1., Tensor::gelu), 0.841_191_990_608_306_8);
    close(at(-1., |x| x.elu(2.)), 2. * (1. / std::f64::consts::E - 1.));
    assert_eq!(at(16., Tensor::rsqrt), 0.25);
    assert_eq!(at(4., Tensor::recip), 0.25);
    assert_eq!(at(-3., |x| x.leaky_relu(0.5)), -1.5);
    assert_eq!(at(3., |x| x.affine(2., -1.)), 5.);
    assert_eq!(at(4., |x| x.powf(-0.5)), 0.5);
    assert_eq!(at(-2., |x| x.powf(3.)), -8.);
    assert!(at(-2., |x| x.powf(0.5)).is_nan());
    // Halves go to even.
    assert_eq!([0.5, 1.5, 2.5, -0.5].map(|x| at(x, Tensor::round)), [0., 2., 2., 0.]);
    for keeps_nan in [Tensor::relu, Tensor::sign, |x: &Tensor| x.clamp(0., 1.)] {
        assert!(at(f32::NAN, keeps_nan).is_nan());
    }
}

#[test]
fn unsigned_integers_wrap_around() {
    let device = device();
    let a = Tensor::from_vec(vec![u32::MAX, 0, 1 << 31], [3], &device).unwrap();
    let b = Tensor::from_vec(vec![2u32, 1, 2], [3], &device).unwrap();
    assert_eq!(a.add(&b).unwrap().to_vec::<u32>().unwrap(), [1, 1, (1 << 31) + 2]);
    assert_eq!(
        a.sub(&b).unwrap().to_vec::<u32>().unwrap(),
        [u32::MAX - 2, u32::MAX, (1 << 31) - 2]
    );
    assert_eq!(a.mul(&b).unwrap().to_vec::<u32>().unwrap(), [u32::MAX - 1, 0, 0]);
}

#[test]
fn comparisons_broadcast_and_nan_is_unequal() {
    let [a, b] = tensors([(&[3], &[1., 2., f32::NAN]), (&[1], &[2.])]);
    let truth = |x: striate_tensor::Result<Tensor>| x.unwrap().to_vec::<u32>().unwrap();
    assert_eq!(truth(a.lt(&b)), [1, 0, 0]);
    assert_eq!(truth(a.ge(&b)), [0, 1, 0]);
    assert_eq!(truth(a.eq(&a)), [1, 1, 0]);
    assert_eq!(truth(a.ne(&a)), [0, 0, 1]);
    let chosen = a.eq(&a).unwrap().select(&a, &b).unwrap();
    assert_eq!(values(&chosen), [1., 2., 2.]);
    assert!(a.maximum(&b).unwrap().to_vec::<f32>().unwrap()[2].is_nan());
}

#[test]
fn movements_by_hand() {
    let x = tensor([2, 3], &[1., 2., 3., 4., 5., 6.]);
    assert_eq!(values(&x.transpose().unwrap()), [1., 4., 2., 5., 3., 6.]);
    assert_eq!(values(&x.slice(&[1..2, 0..2]).unwrap()), [4., 5.]);
    assert_eq!(values(&x.narrow(1, 2..3).unwrap()), [3., 6.]);
    assert_eq!(values(&x.flip([1]).unwrap()), [3., 2., 1., 6., 5., 4.]);
    let padded = x.pad(&[[0, 0], [1, 0]], 9.).unwrap();
    assert_eq!(values(&padded), [9., 1., 2., 3., 9., 4., 5., 6.]);
    let joined = Tensor::concatenate(&[&x, &x], 1).unwrap();
    assert_eq!(values(&joined), [1., 2., 3., 1., 2., 3., 4., 5., 6., 4., 5., 6.]);
    let indices = Tensor::from_vec(vec![2u32, 0, 3], [3], x.device()).unwrap();
    let gathered = values(&x.gather(&indices, 1).unwrap());
    assert_eq!(gathered[..2], [3., 1.]);
    assert!(gathered[2].is_nan() && gathered[5].is_nan(), "beyond the axis");
}

#[test]
fn integers_gathered_beyond_the_axis_are_the_largest() {
    let x = Tensor::from_vec(vec![7u32], [1], &device()).unwrap();
    let indices = Tensor::from_vec(vec![0u32, u32::MAX], [2], x.device()).unwrap();
    assert_eq!(x.gather(&indices, 0).unwrap().to_vec::<u32>().unwrap(), [7, u32::MAX]);
}

#[test]
fn casts_round_to_even_and_cut_toward_zero() {
    let x = tensor([5], &[-1.5, 2.9, 1e20, f32::NAN, 65_520.]);
    assert_eq!(x.cast(DType::U32).unwrap().to_vec::<u32>().unwrap(), [0, 2, u32::MAX, 0, 65_520]);
    // 65520 lies halfway between the largest f16, 65504, and the next that would follow: to even.
    assert_eq!(x.cast(DType::F16).unwrap().to_vec::<f16>().unwrap()[4], f16::INFINITY);
    let ties = tensor([2], &[2049., 2051.]);
    let halves = ties.cast(DType::F16).unwrap().cast(DType::F32).unwrap();
    assert_eq!(values(&halves), [2048., 2052.]);
}

#[test]
fn dropout_zeroes_what_its_sequence_says() {
    let key = RandomKey::new(5, 6);
    let x = tensor([200], &[2.; 200]);
    let y = values(&x.dropout(0.25, 1.5, key).unwrap());
    for (i, y) in y.iter().enumerate() {
        assert_eq!(*y, if key.unit(i as u64) < 0.25 { 0. } else { 3. });
    }
    assert!(values(&x.dropout(1., 1., key).unwrap()).iter().all(|&y| y == 0.));
    assert_eq!(values(&x.dropout(0., 1., key).unwrap()), values(&x));
}

#[test]
fn random_tensors_count_from_the_first_element() {
    let key = RandomKey::new(5, 6);
    let [few, many] =
        [3, 1001].map(|n| values(&Tensor::uniform([n], -2., 2., key, &device()).unwrap()));
    assert_eq!(few, many[..3]);
    assert_eq!(few[1], -2. + 4. * key.unit(1));
    let [few, many] =
        [3, 1001].map(|n| values(&Tensor::normal([n], 1., 2., key, &device()).unwrap()));
    assert_eq!(few, many[..3]);
}

#[test]
fn sgd_momentum_steps_as_ccv_does() {
    // v = 0.9 · 0.5 - 0.01 · 0.1 · 1 - 0.1 · 0.25 · 4 = 0.349; w = 1 + v.
    let step = SgdMomentum { rate: 0.1, momentum: 0.9, decay: 0.01, scale: 0.25 };
    let [mut w, mut v, gradient] = tensors([(&[1], &[1.]), (&[1], &[0.5]), (&[1], &[4.])]);
    let clone = w.clone();
    w.sgd_momentum(&mut v, &gradient, step).unwrap();
    assert_close(&v, &[0.349]);
    assert_close(&w, &[1.349]);
    assert_eq!(values(&clone), [1.], "a clone stays");
}

#[test]
fn ops_in_place_and_ops_with_outputs_are_told_apart() {
    let x = HostTensor::new(Shape::scalar(), vec![1f32]).unwrap();
    let step = Op::from(SgdMomentum { rate: 0.1, momentum: 0.9, decay: 0., scale: 1. });
    let message = reference::execute(&step, &[&x, &x, &x]).unwrap_err().to_string();
    assert!(message.contains("sgd_momentum"), "{message}");
    let relu = Op::from(Unary { kind: UnaryKind::Relu });
    let message =
        reference::execute_in_place(&relu, &mut [&mut x.clone()], &[]).unwrap_err().to_string();
    assert!(message.contains("relu"), "{message}");
}

#[test]
fn an_output_beyond_all_memory_is_an_error() {
    let huge = Tensor::zeros([1 << 40, 1 << 18], &device());
    assert!(huge.unwrap_err().to_string().contains("no memory"));
}
