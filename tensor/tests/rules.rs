//! Shape rules: what they give, what they cost, and what their errors say.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_tensor::ops::*;
use striate_tensor::{DType, Error, MAX_RANK, Op, RandomKey, Shape, TensorType};

fn f32(dims: &[usize]) -> TensorType {
    TensorType::f32(Shape::new(dims).unwrap())
}

fn f16(dims: &[usize]) -> TensorType {
    TensorType::new(Shape::new(dims).unwrap(), DType::F16)
}

fn u32(dims: &[usize]) -> TensorType {
    TensorType::new(Shape::new(dims).unwrap(), DType::U32)
}

#[track_caller]
fn gives(op: impl Into<Op>, inputs: &[TensorType], output: TensorType) {
    assert_eq!(op.into().output(inputs).unwrap(), output);
}

/// The op refuses, and the message says all of `parts`.
#[track_caller]
fn refuses(op: impl Into<Op>, inputs: &[TensorType], parts: &[&str]) {
    let op = op.into();
    let message = op.output(inputs).unwrap_err().to_string();
    for part in parts.iter().chain(&[op.name()]) {
        assert!(message.contains(part), "`{message}` does not say `{part}`");
    }
    assert!(op.cost(inputs).is_err());
}

const RELU: Unary = Unary { kind: UnaryKind::Relu };
const ADD: Binary = Binary { kind: BinaryKind::Add };
const DIV: Binary = Binary { kind: BinaryKind::Div };

fn conv() -> Conv2d {
    Conv2d::default()
}

fn sum(axes: &[usize], keep_axes: bool) -> Reduce {
    Reduce { kind: ReduceKind::Sum, axes: Axes::new(axes).unwrap(), keep_axes }
}

#[test]
fn outputs_have_the_type_that_the_op_says() {
    gives(RELU, &[f16(&[2, 3])], f16(&[2, 3]));
    gives(ADD, &[f16(&[2, 1]), f16(&[3])], f16(&[2, 3]));
    gives(Compare { kind: CompareKind::Lt }, &[f16(&[2]), f16(&[])], u32(&[2]));
    gives(Select, &[u32(&[2, 1]), f16(&[3]), f16(&[])], f16(&[2, 3]));
    gives(MatMul::default(), &[f16(&[2, 3]), f32(&[5, 3, 4])], f16(&[5, 2, 4]));
    gives(sum(&[0, 2], false), &[f32(&[2, 3, 4])], f32(&[3]));
    gives(sum(&[0, 2], true), &[f32(&[2, 3, 4])], f32(&[1, 3, 1]));
    let arg = ArgReduce { kind: ArgReduceKind::Max, axis: 1, keep_axis: false };
    gives(arg, &[f16(&[2, 3, 4])], u32(&[2, 4]));
    gives(CrossEntropy, &[f16(&[3, 10]), u32(&[3])], f32(&[3]));
    gives(Moments, &[f16(&[2, 3, 4])], f32(&[2, 4]));
    let normed = [f16(&[5, 3]), f32(&[2, 3]), f32(&[3]), f16(&[3])];
    gives(BatchNorm::default(), &normed, f16(&[5, 3]));
    let added = [&normed[..], &[f16(&[5, 3])]].concat();
    gives(BatchNorm { residual: true, ..BatchNorm::default() }, &added, f16(&[5, 3]));
    gives(BatchNormSums::default(), &[f32(&[5, 3]), f16(&[5, 3]), f32(&[2, 3])], f32(&[2, 3]));
    let operands = [f32(&[5, 3]), f16(&[5, 3]), f32(&[2, 3]), f32(&[2, 3]), f32(&[3])];
    gives(BatchNormGrad { epsilon: 0., ..BatchNormGrad::default() }, &operands, f16(&[5, 3]));
    let layer = GroupNorm::layer(0.);
    gives(layer, &[f16(&[5, 3]), f32(&[3]), f16(&[3])], f16(&[5, 3]));
    gives(GroupNormSums(layer), &[f16(&[5, 3]), f16(&[5, 3])], f32(&[2, 3]));
    gives(GroupNormGrad(layer), &[f32(&[5, 3]), f16(&[5, 3]), f32(&[3])], f16(&[5, 3]));
    gives(Permute { order: vec![2, 0, 1] }, &[u32(&[2, 3, 4])], u32(&[4, 2, 3]));
    gives(Concatenate { axis: 1 }, &[u32(&[2, 3]), u32(&[2, 0]), u32(&[2, 1])], u32(&[2, 4]));
    gives(Pad { widths: vec![[1, 2]], value: 0. }, &[f32(&[0])], f32(&[3]));
    gives(Gather { axis: 0 }, &[f16(&[9, 2]), u32(&[4])], f16(&[4, 2]));
    gives(Cast { dtype: DType::U32 }, &[f16(&[2])], u32(&[2]));
    gives(Fill { ty: f16(&[2]), value: 1. }, &[], f16(&[2]));
    gives(
        Conv2dWeightGrad { conv: conv(), kernel: [3, 3] },
        &[f16(&[1, 5, 5, 2]), f16(&[1, 3, 3, 4])],
        f32(&[4, 3, 3, 2]),
    );
}

/// Sizes of well-known layers, from the papers that they are in.
#[test]
fn windows_are_counted_as_in_the_networks() {
    let of = |stride, padding| Conv2d { stride: [stride; 2], padding: [[padding; 2]; 2], ..conv() };
    let alexnet = [f32(&[1, 225, 225, 3]), f32(&[96, 11, 11, 3])];
    gives(of(4, 1), &alexnet, f32(&[1, 55, 55, 96]));
    let vgg = [f32(&[1, 224, 224, 3]), f32(&[64, 3, 3, 3])];
    gives(of(1, 1), &vgg, f32(&[1, 224, 224, 64]));
    gives(Pool2d::square(3, 2, 0), &[f32(&[1, 55, 55, 96])], f32(&[1, 27, 27, 96]));
    // A rest that no window fits into is left over.
    gives(Pool2d::square(2, 2, 0), &[f32(&[1, 5, 5, 1])], f32(&[1, 2, 2, 1]));
    // A dilated kernel of 3 covers 5 pixels; sides count one by one.
    let dilated = Conv2d { dilation: [2, 2], ..of(1, 2) };
    gives(dilated, &vgg, f32(&[1, 224, 224, 64]));
    let sides = Conv2d { padding: [[1, 2], [0, 1]], dilation: [1, 3], ..of(2, 0) };
    gives(sides, &vgg, f32(&[1, 113, 110, 64]));
    // GoogLeNet's first pool rounds up.
    let image = [f32(&[1, 112, 112, 64])];
    let pool = Pool2d::square(3, 2, 0);
    gives(pool, &image, f32(&[1, 55, 55, 64]));
    gives(pool.with_ceil(112, 112), &image, f32(&[1, 56, 56, 64]));
    let below = Pool2d { padding: [[0, 1], [0, 0]], ..pool };
    gives(below, &image, f32(&[1, 56, 55, 64]));
}

/// PyTorch's formula, over many shapes: `ceil((extent + before + after - size) / stride) + 1`, less
/// one where the last window would begin beyond the image and the padding before it.
#[test]
fn windows_are_rounded_up_as_in_pytorch() {
    for code in 0..7 * 5 * 4 * 3 * 3 {
        let (extent, size) = (code % 7, 1 + code / 7 % 5);
        let stride = 1 + code / 35 % 4;
        let (before, after) = (code / 140 % 3, code / 420 % 3);
        if before >= size || after >= size {
            continue;
        }
        let [e, k, s, b, a] = [extent, size, stride, before, after].map(|x| x as isize);
        let mut expected = (e + b + a - k + s - 1).div_euclid(s) + 1;
        if (expected - 1) * s >= e + b {
            expected -= 1;
        }
        let pool = Pool2d {
            size: [size, 1],
            stride: [stride, 1],
            padding: [[before, after], [0, 0]],
            ..Pool2d::default()
        };
        let ceil = pool.with_ceil(extent, 1);
        let image = [f32(&[1, extent, 1, 1])];
        let got = Op::from(ceil).output(&image).map_or(0, |ty| ty.shape.dims()[1] as isize);
        assert_eq!(got, expected.max(0), "{pool:?} over {extent}");
        if ceil.extra[0] > 0 {
            let less = Pool2d { extra: [ceil.extra[0] - 1, 0], ..ceil };
            let less = Op::from(less).output(&image).map_or(0, |ty| ty.shape.dims()[1] as isize);
            assert!(less < got, "{ceil:?} has more than it needs over {extent}");
        }
    }
}

#[test]
fn costs_count_products_and_bytes() {
    // VGG's second layer, as its authors' tables count: 224² · 64 · 3² · 64 products.
    let op = Op::from(Conv2d { padding: [[1; 2]; 2], ..conv() });
    let inputs = [f32(&[1, 224, 224, 64]), f16(&[64, 3, 3, 64])];
    let cost = op.cost(&inputs).unwrap();
    assert_eq!(cost.flops, 2 * 1_849_688_064);
    assert_eq!(cost.bytes_read, 224 * 224 * 64 * 4 + 64 * 9 * 64 * 2);
    assert_eq!(cost.bytes_written, 224 * 224 * 64 * 4);
    let op = Op::from(MatMul { transpose_b: true, ..MatMul::default() });
    assert_eq!(op.cost(&[f32(&[2, 300]), f32(&[50, 300])]).unwrap().flops, 2 * 2 * 300 * 50);
    let nothing = op.cost(&[f32(&[0, 300]), f32(&[50, 300])]).unwrap();
    assert_eq!((nothing.flops, nothing.bytes_written), (0, 0));
}

#[test]
fn operands_are_counted() {
    refuses(RELU, &[], &["expected 1", "got 0"]);
    refuses(ADD, &[f32(&[1]); 3], &["expected 2", "got 3"]);
    let biased = MatMul { bias: true, ..MatMul::default() };
    refuses(biased, &[f32(&[1, 1]); 2], &["expected 3", "got 2"]);
    refuses(Concatenate { axis: 0 }, &[], &["1 or more", "got 0"]);
    refuses(Fill { ty: f32(&[1]), value: 0. }, &[f32(&[1])], &["expected 0", "got 1"]);
}

#[test]
fn types_are_checked() {
    refuses(RELU, &[u32(&[2])], &["f32 or f16", "u32"]);
    refuses(ADD, &[f32(&[2]), f16(&[2])], &["b of type f32", "f16"]);
    refuses(DIV, &[u32(&[2]); 2], &["f32 or f16", "u32"]);
    refuses(Select, &[f32(&[2]); 3], &["condition", "u32", "f32"]);
    refuses(CrossEntropy, &[f32(&[2, 3]), f32(&[2])], &["labels", "u32"]);
    refuses(Gather { axis: 0 }, &[f32(&[2]), f32(&[2])], &["indices", "u32"]);
    refuses(conv(), &[f32(&[1, 5, 5, 2]), u32(&[4, 3, 3, 2])], &["weights", "u32"]);
    let normed = [f32(&[5, 3]), f16(&[2, 3]), f32(&[3]), f32(&[3])];
    refuses(BatchNorm::default(), &normed, &["moments of type f32", "f16"]);
    let step = SgdMomentum { rate: 0.1, momentum: 0.9, decay: 0., scale: 1. };
    refuses(step, &[f32(&[2]), f16(&[2]), f32(&[2])], &["v of type f32", "f16"]);
}

#[test]
fn shapes_are_named_in_errors() {
    refuses(ADD, &[f32(&[2, 3]), f32(&[4])], &["[2, 3]", "[4]"]);
    let weights = MatMul { transpose_b: true, ..MatMul::default() };
    refuses(weights, &[f32(&[2, 3]), f32(&[5, 4])], &["a [2, 3]", "b [5, 4] (transposed)"]);
    refuses(MatMul::default(), &[f32(&[3]), f32(&[3, 4])], &["2 or more axes", "[3]"]);
    refuses(MatMul::default(), &[f32(&[2, 1, 1]), f32(&[3, 1, 1])], &["[2]", "[3]"]);
    let biased = MatMul { bias: true, ..MatMul::default() };
    refuses(biased, &[f32(&[2, 3]), f32(&[3, 4]), f32(&[3])], &["bias", "[4]", "[3]"]);
    refuses(conv(), &[f32(&[5, 5, 2]), f32(&[4, 3, 3, 2])], &["x of 4 axes", "[5, 5, 2]"]);
    let message = ["[out, rows, cols, 2]", "[4, 3, 3, 3]"];
    refuses(conv(), &[f32(&[1, 5, 5, 2]), f32(&[4, 3, 3, 3])], &message);
    let residual = Conv2d { residual: true, ..conv() };
    let two = [f32(&[1, 5, 5, 2]), f32(&[4, 3, 3, 2])];
    gives(residual, &[two[0], two[1], f16(&[1, 3, 3, 4])], f32(&[1, 3, 3, 4]));
    refuses(residual, &two, &["expected 3", "got 2"]);
    let biased = Conv2d { bias: true, ..residual };
    refuses(biased, &[two[0], two[1], f32(&[4])], &["expected 4", "got 3"]);
    refuses(residual, &[two[0], two[1], u32(&[1, 3, 3, 4])], &["residual", "u32"]);
    let message = ["residual of shape [1, 3, 3, 4]", "[1, 3, 3, 1]"];
    refuses(biased, &[two[0], two[1], f32(&[4]), f32(&[1, 3, 3, 1])], &message);
    let message = ["window of 6", "5 with padding 0"];
    refuses(conv(), &[f32(&[1, 5, 5, 2]), f32(&[4, 6, 3, 2])], &message);
    let grad = Conv2dInputGrad { conv: conv(), input: [5, 5] };
    refuses(grad, &[f32(&[1, 4, 3, 4]), f32(&[4, 3, 3, 2])], &["[1, 3, 3, 4]", "[1, 4, 3, 4]"]);
    let grad = MaxPool2dGrad(Pool2d::square(2, 2, 0));
    let message = ["y of shape [1, 2, 2, 3]", "[1, 3, 2, 3]"];
    refuses(grad, &[f32(&[1, 4, 4, 3]), f32(&[1, 3, 2, 3]), f32(&[1, 2, 2, 3])], &message);
    refuses(sum(&[2], false), &[f32(&[4, 4])], &["axis 2", "[4, 4]"]);
    refuses(Softmax { axis: 1, log: true }, &[f32(&[3])], &["axis 1", "[3]"]);
    let arg = ArgReduce { kind: ArgReduceKind::Min, axis: 0, keep_axis: true };
    refuses(arg, &[f32(&[0, 2])], &["axis 0", "[0, 2]"]);
    refuses(CrossEntropy, &[f32(&[2, 3]), u32(&[3])], &["labels of shape [2]", "[3]"]);
    refuses(Moments, &[f32(&[3])], &["2 or more axes", "[3]"]);
    let norm =
        |moments: &[usize], shift: &[usize]| [f32(&[5, 3]), f32(moments), f32(&[3]), f32(shift)];
    let message = ["moments of shape [2, 3]", "[3, 2]"];
    refuses(BatchNorm::default(), &norm(&[3, 2], &[3]), &message);
    refuses(BatchNorm::default(), &norm(&[2, 3], &[5]), &["shift of shape [3]", "[5]"]);
    let added = BatchNorm { residual: true, ..BatchNorm::default() };
    refuses(added, &norm(&[2, 3], &[3]), &["5", "4"]);
    let operands = [&norm(&[2, 3], &[3])[..], &[f32(&[3])]].concat();
    refuses(added, &operands, &["residual of shape [5, 3]", "[3]"]);
    let activation = Activation::Clamp { min: 1.0, max: 0.0 };
    let clamp = BatchNorm { activation, ..BatchNorm::default() };
    refuses(clamp, &norm(&[2, 3], &[3]), &["min", "at most max = 0"]);
    let masked = BatchNormSums { epsilon: 0.0, activation: Activation::Relu };
    refuses(masked, &[f32(&[5, 3]), f32(&[5, 3]), f32(&[2, 3])], &["5", "3"]);
    let message = ["dy of shape [5, 3]", "[3, 5]"];
    refuses(BatchNormSums::default(), &[f32(&[5, 3]), f32(&[3, 5]), f32(&[2, 3])], &message);
    let group = GroupNorm::group(1, 0.);
    refuses(group, &[f32(&[3]), f32(&[3]), f32(&[3])], &["2 or more axes", "[3]"]);
    refuses(group, &[f32(&[2, 3]), f32(&[3]), f32(&[2])], &["shift of shape [3]", "[2]"]);
    refuses(GroupNormSums(group), &[f32(&[5, 3]), f32(&[3, 5])], &["dy of shape [5, 3]"]);
    let back = ConvTranspose2d { stride: [2, 2], ..ConvTranspose2d::default() };
    gives(back, &[f16(&[1, 5, 4, 3]), f32(&[3, 2, 3, 7])], f16(&[1, 10, 9, 7]));
    let groups = ConvTranspose2d { groups: 3, output_padding: [1, 0], ..back };
    gives(groups, &[f32(&[1, 5, 4, 3]), f32(&[3, 2, 3, 7])], f32(&[1, 11, 9, 21]));
    refuses(back, &[f32(&[1, 5, 4, 3]), f32(&[2, 2, 3, 7])], &["weights [3, rows", "[2, 2, 3, 7]"]);
    let biased = [f32(&[1, 5, 4, 3]), f32(&[3, 2, 3, 7]), f32(&[3])];
    refuses(ConvTranspose2d { bias: true, ..back }, &biased, &["bias of shape [7]", "[3]"]);
    let few = [f32(&[1, 1, 1, 3]), f32(&[3, 2, 2, 7])];
    let message = ["1 pixels, windows of 2, padding 1 and 1"];
    refuses(ConvTranspose2d { padding: [[1; 2]; 2], ..back }, &few, &message);
    let message = ["output_padding", "less than the stride [2, 2]", "[0, 2]"];
    refuses(ConvTranspose2d { output_padding: [0, 2], ..back }, &few, &message);
    refuses(ConvTranspose2d { stride: [0, 1], ..back }, &few, &["stride", "at least 1"]);
    refuses(ConvTranspose2d { groups: 2, ..back }, &few, &["groups", "3 channels", "got 2"]);
    refuses(back, &[f32(&[1, 0, 1, 3]), few[1]], &["0 pixels"]);
    refuses(Concatenate { axis: 1 }, &[f32(&[2, 3]), f32(&[3, 3])], &["axis 1 only", "[3, 3]"]);
    refuses(Gather { axis: 0 }, &[f32(&[2]), u32(&[2, 2])], &["indices of 1 axis", "[2, 2]"]);
    refuses(Gather { axis: 1 }, &[f32(&[2]), u32(&[2])], &["axis 1", "[2]"]);
}

#[test]
fn parameters_are_named_in_errors() {
    let image = [f32(&[1, 5, 5, 4])];
    let both = [image[0], f32(&[6, 3, 3, 4])];
    refuses(Conv2d { stride: [1, 0], ..conv() }, &both, &["stride", "from 1 to", "0"]);
    refuses(Conv2d { dilation: [1, 0], ..conv() }, &both, &["dilation", "from 1 to", "[1, 0]"]);
    let message = ["window of 1 to 7", "9 over 5 with padding 2 before and 0 after"];
    let sides = [[0, 0], [2, 0]];
    refuses(Conv2d { dilation: [1, 4], padding: sides, ..conv() }, &both, &message);
    refuses(Conv2d { groups: 0, ..conv() }, &both, &["groups", "4 channels", "6 outputs"]);
    refuses(Conv2d { groups: 4, ..conv() }, &both, &["groups", "divisor", "got 4"]);
    refuses(Pool2d::square(2, 1, 2), &image, &["padding", "[2, 2]"]);
    let pool = Pool2d { padding: [[0, 0], [1, 3]], ..Pool2d::square(3, 1, 0) };
    refuses(pool, &image, &["padding", "less than the window [3, 3]", "[[0, 0], [1, 3]]"]);
    let pool = Pool2d { padding: [[0, 1], [0, 0]], extra: [2, 0], ..pool };
    refuses(AvgPool2d(pool), &image, &["extra", "[3, 3] without its padding after", "[2, 0]"]);
    let pool = Pool2d { size: [9, 1], padding: [[1, 2], [0, 0]], ..Pool2d::default() };
    refuses(pool, &image, &["window of 1 to 8", "9 over 5 with padding 1 before and 2 after"]);
    refuses(AvgPool2d(Pool2d::square(2, 0, 0)), &image, &["stride"]);
    let lrn = Lrn { size: 0, kappa: 1., alpha: 1., beta: 1., groups: 1 };
    refuses(lrn, &image, &["size", "at least 1"]);
    refuses(Lrn { size: 5, groups: 3, ..lrn }, &image, &["groups", "4 channels", "got 3"]);
    refuses(LrnGrad(lrn), &[image[0]; 2], &["size"]);
    refuses(Lrn { size: 5, ..lrn }, &[f32(&[])], &["channel axis", "[]"]);
    for epsilon in [-1e-5, f32::NAN, f32::INFINITY] {
        let normed = [f32(&[5, 3]), f32(&[2, 3]), f32(&[3]), f32(&[3])];
        let norm = BatchNorm { epsilon, ..BatchNorm::default() };
        refuses(norm, &normed, &["epsilon", "not negative"]);
    }
    let normed = [f32(&[2, 4]), f32(&[4]), f32(&[4])];
    refuses(GroupNorm::group(3, 0.), &normed, &["groups", "divisor of the 4 channels", "got 3"]);
    refuses(GroupNorm::group(0, 0.), &normed, &["groups", "divisor of the 4 channels", "got 0"]);
    refuses(GroupNorm::layer(-1.), &normed, &["epsilon", "not negative"]);
    for order in [vec![0, 0], vec![0], vec![0, 2], vec![0, 1, 2]] {
        refuses(Permute { order }, &[f32(&[2, 3])], &["order", "2 axes once"]);
    }
    #[allow(clippy::reversed_empty_ranges, clippy::single_range_in_vec_init, reason = "as meant")]
    for ranges in [vec![0..2], vec![0..2, 0..4], vec![2..1, 0..3]] {
        refuses(Slice { ranges }, &[f32(&[2, 3])], &["ranges", "inside [2, 3]"]);
    }
    refuses(Pad { widths: vec![[1, 1]], value: 0. }, &[f32(&[2, 3])], &["widths", "[2, 3]"]);
    let clamp = |min, max| Unary { kind: UnaryKind::Clamp { min, max } };
    refuses(clamp(2., 1.), &[f32(&[1])], &["min", "at most max = 1", "2"]);
    refuses(clamp(f32::NAN, 1.), &[f32(&[1])], &["min", "NaN"]);
    let key = RandomKey::default();
    for rate in [-0.1, 1.1, f32::NAN] {
        refuses(Dropout { rate, scale: 1., key }, &[f32(&[1])], &["rate", "from 0 to 1"]);
    }
    let shape = Shape::scalar();
    for (low, high) in [(1., 0.), (f32::NAN, 1.), (0., f32::INFINITY), (f32::MIN, f32::MAX)] {
        refuses(Uniform { shape, low, high, key }, &[], &["low", "at most high"]);
    }
    for deviation in [-1., f32::NAN] {
        refuses(Normal { shape, mean: 0., deviation, key }, &[], &["deviation", "not negative"]);
    }
    for axes in [&[0, 0][..], &[MAX_RANK]] {
        assert!(matches!(Axes::new(axes), Err(Error::Parameter { .. })));
    }
}

/// Sizes that overflow are refused; none panics.
#[test]
fn extremes_are_refused() {
    let image = [f32(&[1, 5, 5, 4])];
    let both = [image[0], f32(&[6, 3, 3, 4])];
    let most = usize::MAX;
    for padding in [most, most / 2, most / 2 - 2, most / 4] {
        refuses(Conv2d { padding: [[padding; 2]; 2], ..conv() }, &both, &[]);
        refuses(Conv2d { padding: [[0, padding], [0, 0]], ..conv() }, &both, &[]);
        refuses(Conv2d { dilation: [1, padding], ..conv() }, &both, &[]);
        // A window and a stride to go with it would give one output.
        let size = padding.saturating_add(1);
        refuses(Pool2d::square(size, most, padding), &image, &[]);
        refuses(Pool2d::square(size, most, padding).with_ceil(5, 5), &image, &[]);
        let after = Pool2d { padding: [[0, padding], [0, 0]], ..Pool2d::square(size, 1, 0) };
        refuses(after, &image, &[]);
    }
    refuses(Pad { widths: vec![[most, 1]; 4], value: 0. }, &image, &[]);
    refuses(sum(&[7], false), &image, &[]);
    refuses(Softmax { axis: most, log: false }, &image, &[]);
    refuses(Conv2dInputGrad { conv: conv(), input: [most, most] }, &both, &[]);
    refuses(Conv2dWeightGrad { conv: conv(), kernel: [most, 1] }, &[image[0]; 2], &[]);
    refuses(Conv2dWeightGrad { conv: Conv2d { groups: 0, ..conv() }, kernel: [1, 1] }, &both, &[]);
    let halves = [f32(&[1 << 30, 0, 1 << 30]), f32(&[1 << 30, 0, 1 << 30])];
    refuses(Concatenate { axis: 0 }, &[halves[0]; 4], &[]);
    refuses(MatMul::default(), &[f32(&[1 << 40, 1]), f32(&[1, 1 << 40])], &[]);
    // The largest costs saturate.
    let wide = [f32(&[1 << 30, 1 << 30]), f32(&[1 << 30, 1 << 30])];
    assert_eq!(Op::from(MatMul::default()).cost(&wide).unwrap().flops, u64::MAX);
}
