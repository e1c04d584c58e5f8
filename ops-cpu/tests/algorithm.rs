//! The names of the algorithms that the backend chooses.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

use striate_ops_cpu::{Cpu, Level};
use striate_tensor::ops::{
    Algorithm, Conv2d, Conv2dInputGrad, Conv2dWeightGrad, MatMul, Unary, UnaryKind,
};
use striate_tensor::{DType, Device, Op, Shape, TensorType};

fn ty(dims: &[usize]) -> TensorType {
    TensorType::f32(Shape::new(dims).unwrap())
}

/// The name of an op's algorithm, which is the same at every level.
fn name(op: impl Into<Op>, inputs: &[TensorType]) -> Option<String> {
    let op = op.into();
    let mut names = Level::available().into_iter().map(|level| {
        let device = Device::new(Cpu::with_level(Some(1), level).unwrap());
        device.algorithm(&op, inputs).unwrap()
    });
    let first = names.next().unwrap();
    assert!(names.all(|name| name == first), "{op:?} {inputs:?}");
    first
}

fn conv(stride: usize, padding: usize, groups: usize) -> Conv2d {
    Conv2d { stride: [stride; 2], padding: [[padding; 2]; 2], groups, ..Conv2d::default() }
}

#[test]
fn convolutions_say_which_form() {
    let vgg = [ty(&[1, 27, 27, 512]), ty(&[512, 3, 3, 512])];
    assert_eq!(name(conv(1, 1, 1), &vgg).unwrap(), "Winograd F(4×4, 3×3), far");
    let direct = Conv2d { algorithm: Algorithm::Direct, ..conv(1, 1, 1) };
    assert_eq!(name(direct, &vgg).unwrap(), "direct");
    assert_eq!(name(conv(2, 1, 1), &vgg).unwrap(), "direct");
    let dilated = Conv2d { dilation: [1, 2], ..conv(1, 2, 1) };
    assert_eq!(name(dilated, &vgg).unwrap(), "direct");
    let sides = Conv2d { padding: [[0, 1], [2, 0]], ..conv(1, 1, 1) };
    assert_eq!(name(sides, &vgg).unwrap(), "Winograd F(4×4, 3×3), far");
    let vgg = [ty(&[1, 223, 223, 64]), ty(&[64, 3, 3, 64])];
    assert_eq!(name(conv(1, 1, 1), &vgg).unwrap(), "Winograd F(4×4, 3×3), near");
    let resnet = [ty(&[1, 14, 14, 256]), ty(&[256, 3, 3, 256])];
    assert_eq!(name(conv(1, 1, 1), &resnet).unwrap(), "Winograd F(4×4, 3×3), few tiles");
    let resnet = |n| [ty(&[n, 7, 7, 512]), ty(&[512, 3, 3, 512])];
    assert_eq!(name(conv(1, 1, 1), &resnet(1)).unwrap(), "Winograd F(2×2, 3×3), few tiles");
    assert_eq!(name(conv(1, 1, 1), &resnet(2)).unwrap(), "Winograd F(2×2, 3×3), few tiles");
    assert_eq!(name(conv(1, 1, 1), &resnet(4)).unwrap(), "Winograd F(4×4, 3×3), far");
    let small = [ty(&[32, 4, 4, 256]), ty(&[256, 3, 3, 256])];
    assert_eq!(name(conv(1, 1, 1), &small).unwrap(), "Winograd F(4×4, 3×3), far");
    let alex = [ty(&[1, 27, 27, 96]), ty(&[256, 5, 5, 48])];
    assert_eq!(name(conv(1, 2, 2), &alex).unwrap(), "Winograd F(2×2, 5×5), near");
    let first = [ty(&[1, 225, 225, 3]), ty(&[96, 11, 11, 3])];
    assert_eq!(name(conv(4, 1, 1), &first).unwrap(), "direct");
}

#[test]
fn gradients_of_convolutions_say_which_form() {
    let [x, w, y] = [ty(&[4, 27, 27, 512]), ty(&[512, 3, 3, 512]), ty(&[4, 27, 27, 512])];
    let input = |conv| Conv2dInputGrad { conv, input: [27, 27] };
    let weight = |conv| Conv2dWeightGrad { conv, kernel: [3, 3] };
    let plain = conv(1, 1, 1);
    assert_eq!(name(input(plain), &[y, w]).unwrap(), "Winograd F(4×4, 3×3), far");
    assert_eq!(name(weight(plain), &[x, y]).unwrap(), "Winograd F(3×3, 4×4)");
    let direct = Conv2d { algorithm: Algorithm::Direct, ..plain };
    assert_eq!(name(input(direct), &[y, w]).unwrap(), "direct");
    assert_eq!(name(weight(direct), &[x, y]).unwrap(), "direct");

    // Weights that change are not kept, so it is the direct form of these.
    let [w, y] = [ty(&[512, 3, 3, 512]), ty(&[1, 7, 7, 512])];
    let few = Conv2dInputGrad { conv: plain, input: [7, 7] };
    assert_eq!(name(few, &[y, w]).unwrap(), "direct");
    let [w, y] = [ty(&[512, 3, 3, 512]), ty(&[4, 27, 27, 512])];

    let dilated = Conv2d { dilation: [2, 2], padding: [[2; 2]; 2], ..plain };
    assert_eq!(name(input(dilated), &[y, w]).unwrap(), "direct");
    assert_eq!(name(weight(dilated), &[x, y]).unwrap(), "direct");

    // A kernel of 6 × 6 at stride 2 falls into phases of 3 × 3 at stride 1.
    let [w, y] = [ty(&[64, 6, 6, 64]), ty(&[4, 28, 28, 64])];
    let input = Conv2dInputGrad { conv: conv(2, 2, 1), input: [56, 56] };
    assert_eq!(name(input, &[y, w]).unwrap(), "Winograd F(4×4, 3×3), near");
    // And one of 5 × 5 into phases of 3 × 3 and of less.
    let [w, y] = [ty(&[64, 5, 5, 64]), ty(&[4, 28, 28, 64])];
    let input = Conv2dInputGrad { conv: conv(2, 2, 1), input: [56, 56] };
    assert_eq!(name(input, &[y, w]).unwrap(), "Winograd F(4×4, 3×3), near and direct");
}

#[test]
fn products_say_how_they_read_their_operands() {
    let full = MatMul { transpose_b: true, ..MatMul::default() };
    let weights = ty(&[4096, 9216]);
    let rows = |m| name(full, &[ty(&[m, 9216]), weights]).unwrap();
    assert_eq!((rows(1), rows(16)), ("rows (matvec)".into(), "rows (matvec)".into()));
    assert_eq!((rows(32), rows(512)), ("weights in place".into(), "tiled".into()));
    let plain = |m| name(MatMul::default(), &[ty(&[m, 300]), ty(&[300, 300])]).unwrap();
    assert_eq!((plain(64), plain(300)), ("outer product".into(), "tiled".into()));
    let halves = TensorType::new(Shape::new(&[300, 300]).unwrap(), DType::F16);
    assert_eq!(name(MatMul::default(), &[ty(&[64, 300]), halves]).unwrap(), "tiled");
}

#[test]
fn other_ops_know_one_way_and_bad_shapes_are_refused() {
    assert_eq!(name(Unary { kind: UnaryKind::Relu }, &[ty(&[3])]), None);
    let device = Device::new(Cpu::new(Some(1)).unwrap());
    let op = Op::from(MatMul::default());
    assert!(device.algorithm(&op, &[ty(&[2, 3]), ty(&[2, 3])]).is_err());
}
