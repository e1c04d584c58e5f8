//! One small case of every op and of every kind of it.
//!
//! Tests go through these to see that nothing leaves an op out: that each device executes it, that it
//! has the gradient that [`Op::TABLE`](crate::Op::TABLE) promises, that it refuses operands that it
//! cannot have. What the families of the suite ask of an op is far more.

use super::values::{Values, tensor};
use crate::ops::*;
use crate::{DType, HostTensor, RandomKey, Shape, TensorType, reference};

/// An op with operands that it accepts.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The op.
    pub op: Op,
    /// Its operands. Functions are smooth at these numbers, but for those that are flat.
    pub inputs: Vec<HostTensor>,
}

impl Sample {
    /// The types of the operands.
    pub fn types(&self) -> Vec<TensorType> {
        self.inputs.iter().map(HostTensor::ty).collect()
    }

    /// Whether the op gives an output; others update their operands.
    pub fn executes(&self) -> bool {
        !matches!(self.op, Op::SgdMomentum(_) | Op::Optimize(_))
    }
}

/// At least one sample of every name in [`Op::names`], in the order of [`Op::TABLE`]: a test says so.
///
/// # Panics
/// Where the reference refuses the operands of a sample.
pub fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    elementwise(&mut all);
    others(&mut all);
    let place = |op: &Op| Op::TABLE.iter().position(|facts| facts == op.facts());
    all.sort_by_key(|sample| place(&sample.op));
    all
}

/// Of both signs, no two equal, none at a kink of a function.
const NUMBERS: &[f32] = &[0.7, -0.3, 1.3, -2.2, 0.4, 2.6, -0.8, -1.4, 1.8];
/// Where all functions are defined.
const POSITIVE: &[f32] = &[0.7, 0.3, 1.3, 2.2, 0.4, 2.6, 0.8, 1.4, 1.8];

fn floats(dims: &[usize], seed: usize) -> HostTensor {
    let mut numbers = NUMBERS.to_vec();
    numbers.rotate_left(seed % NUMBERS.len());
    tensor(dims, DType::F32, Values::Cycle(&numbers), 0)
}

fn positive(dims: &[usize], seed: usize) -> HostTensor {
    let mut numbers = POSITIVE.to_vec();
    numbers.rotate_left(seed % POSITIVE.len());
    tensor(dims, DType::F32, Values::Cycle(&numbers), 0)
}

fn words(dims: &[usize], numbers: &[f32]) -> HostTensor {
    tensor(dims, DType::U32, Values::Cycle(numbers), 0)
}

fn elementwise(all: &mut Vec<Sample>) {
    let mut add = |op: Op, inputs: Vec<HostTensor>| all.push(Sample { op, inputs });
    for &kind in UnaryKind::ALL {
        let op = Op::from(Unary { kind });
        add(op.clone(), vec![positive(&[9], 0)]);
        // Beyond the bends of functions made of lines, too.
        let numbers = [NUMBERS, &[4.3, -5.2]].concat();
        let x = tensor(&[11], DType::F32, Values::Cycle(&numbers), 0);
        let y = reference::execute(&op, &[&x]).expect("a function of each element");
        // A logarithm has the positive ones alone.
        if y.values().as_slice::<f32>().is_some_and(|y| y.iter().all(|y| y.is_finite())) {
            add(op, vec![x]);
        }
    }
    for &kind in UnaryKind::ALL.iter().filter(|kind| UnaryGrad::takes(kind)) {
        add(UnaryGrad { kind }.into(), vec![positive(&[9], 0), floats(&[9], 3)]);
    }
    for &kind in BinaryKind::ALL {
        add(Binary { kind }.into(), vec![positive(&[2, 3], 0), positive(&[3], 4)]);
    }
    for &kind in CompareKind::ALL {
        add(Compare { kind }.into(), vec![floats(&[2, 3], 0), floats(&[3], 0)]);
    }
    for &kind in ReduceKind::ALL {
        let axes = Axes::new(&[1]).expect("the axes of a sample");
        add(Reduce { kind, axes, keep_axes: false }.into(), vec![floats(&[2, 3], 0)]);
    }
    for &kind in ArgReduceKind::ALL {
        add(ArgReduce { kind, axis: 1, keep_axis: false }.into(), vec![floats(&[2, 3], 0)]);
    }
    add(
        Reduce {
            kind: ReduceKind::Sum,
            axes: Axes::new(&[0]).expect("the axes of a sample"),
            keep_axes: true,
        }
        .into(),
        vec![words(&[3, 2], &[1.0, 5.0, 2.0])],
    );
    let sums = CumulativeSum { axis: 1, exclusive: false, reverse: false };
    add(sums.into(), vec![floats(&[2, 3], 0)]);
    add(CumulativeSum { exclusive: true, reverse: true, ..sums }.into(), vec![floats(&[2, 3], 1)]);
    add(ArgSort { axis: 1, descending: true, count: 2 }.into(), vec![floats(&[2, 3], 0)]);
    let condition = words(&[6], &[0.0, 1.0, 1.0]);
    add(Select.into(), vec![condition, floats(&[6], 0), floats(&[6], 3)]);
    add(ReluGrad.into(), vec![floats(&[6], 0), floats(&[6], 3)]);
    add(Cast { dtype: DType::F16 }.into(), vec![tensor(&[8], DType::F32, Values::Quarters, 1)]);
    add(Cast { dtype: DType::U32 }.into(), vec![positive(&[8], 0)]);
}

fn others(all: &mut Vec<Sample>) {
    let mut add = |op: Op, inputs: Vec<HostTensor>| all.push(Sample { op, inputs });
    let shape = Shape::new(&[5]).expect("the shape of a sample");
    let key = RandomKey::new(5, 6);

    let (a, b) = (floats(&[2, 3], 0), floats(&[3, 4], 2));
    add(MatMul::default().into(), vec![a.clone(), b.clone()]);
    add(MatMul { bias: true, ..MatMul::default() }.into(), vec![a, b, floats(&[4], 5)]);
    for log in [false, true] {
        add(Softmax { axis: 1, log }.into(), vec![floats(&[2, 4], 0)]);
    }
    let labels = words(&[2], &[3.0, 1.0]);
    add(CrossEntropy.into(), vec![floats(&[2, 4], 0), labels.clone()]);
    add(CrossEntropyGrad.into(), vec![floats(&[2, 4], 0), labels.clone(), floats(&[2], 3)]);
    let weighted = WeightedCrossEntropy { smoothing: 0.25, ignored: Some(7) };
    let mut inputs = vec![floats(&[2, 4], 0), labels, positive(&[4], 1)];
    add(weighted.into(), inputs.clone());
    inputs.push(floats(&[2], 3));
    add(WeightedCrossEntropyGrad(weighted).into(), inputs);

    add(Permute { order: vec![1, 0] }.into(), vec![floats(&[2, 3], 0)]);
    add(Slice { ranges: vec![0..2, 1..3] }.into(), vec![floats(&[2, 3], 0)]);
    let parts = vec![floats(&[2, 3], 0), floats(&[2, 1], 3), floats(&[2, 2], 5)];
    add(Concatenate { axis: 1 }.into(), parts);
    add(Pad { widths: vec![[1, 2], [0, 1]], value: 0.5 }.into(), vec![floats(&[2, 3], 0)]);
    let images = || floats(&[1, 2, 3, 2], 3);
    let pad = PadImage { widths: [[1, 0], [2, 1]], border: Border::Reflect };
    add(pad.into(), vec![images()]);
    add(PadImageGrad { pad, input: [2, 3] }.into(), vec![floats(&[1, 3, 6, 2], 0)]);
    let resize = Resize::linear([3, 4]);
    add(resize.into(), vec![images()]);
    add(ResizeGrad { resize, input: [2, 3] }.into(), vec![floats(&[1, 3, 4, 2], 0)]);
    let indices = words(&[4], &[2.0, 0.0, 2.0, 1.0]);
    add(Gather { axis: 0 }.into(), vec![floats(&[3, 2], 0), indices.clone()]);
    add(GatherGrad { axis: 0, extent: 3 }.into(), vec![indices, floats(&[4, 2], 0)]);
    let chosen = words(&[2, 4], &[2.0, 0.0, 2.0, 1.0, 7.0]);
    add(TakeAlong { axis: 1 }.into(), vec![floats(&[2, 3], 0), words(&[2, 2], &[2.0, 0.0, 1.0])]);
    for add_up in [false, true] {
        let op = Scatter { axis: 1, add: add_up };
        add(op.into(), vec![floats(&[2, 3], 0), chosen.clone(), floats(&[2, 4], 5)]);
    }
    let axes = Axes::new(&[1]).expect("the axes of a sample");
    add(Flip { axes }.into(), vec![floats(&[2, 3], 0)]);

    let conv = Conv2d { padding: [[1; 2]; 2], ..Conv2d::default() };
    let (image, weights) = (floats(&[1, 4, 5, 2], 0), floats(&[3, 3, 3, 2], 4));
    let like_output = floats(&[1, 4, 5, 3], 7);
    add(conv.into(), vec![image.clone(), weights.clone()]);
    let whole = Conv2d { bias: true, residual: true, ..conv };
    let operands = vec![image.clone(), weights.clone(), floats(&[3], 2), like_output.clone()];
    add(whole.into(), operands);
    let integers =
        tensor(&[3, 3, 3, 2], DType::I8, Values::Cycle(&[3.0, -7.0, 127.0, -90.0, 0.0]), 0);
    let operands =
        vec![image.clone(), integers, positive(&[3], 1), floats(&[3], 2), like_output.clone()];
    add(Conv2dInt8 { conv: whole, levels: Levels { scale: 0.02, zero: 128 } }.into(), operands);
    let input_grad = Conv2dInputGrad { conv, input: [4, 5] };
    add(input_grad.into(), vec![like_output.clone(), weights]);
    let weight_grad = Conv2dWeightGrad { conv, kernel: [3, 3] };
    add(weight_grad.into(), vec![image.clone(), like_output]);

    let padding = [[1, 0], [0, 1]];
    let back =
        ConvTranspose2d { stride: [2, 1], output_padding: [1, 0], padding, ..Default::default() };
    let operands = vec![floats(&[1, 2, 3, 2], 0), floats(&[2, 3, 2, 3], 4)];
    add(back.into(), operands.clone());
    let operands = [operands, vec![floats(&[3], 2)]].concat();
    add(ConvTranspose2d { bias: true, ..back }.into(), operands);

    let pool = Pool2d::square(2, 1, 0);
    let windows = || floats(&[1, 3, 4, 2], 1);
    let largest = reference::execute(&pool.into(), &[&image]).expect("the pooling of a sample");
    add(pool.into(), vec![image.clone()]);
    add(MaxPool2dGrad(pool).into(), vec![image.clone(), largest, windows()]);
    add(AvgPool2d(pool).into(), vec![image.clone()]);
    add(AvgPool2dGrad { pool, input: [4, 5] }.into(), vec![windows()]);
    let lrn = Lrn { size: 3, kappa: 2.0, alpha: 0.5, beta: 0.75, groups: 1 };
    add(lrn.into(), vec![floats(&[2, 4], 0)]);
    add(LrnGrad(lrn).into(), vec![floats(&[2, 4], 0), floats(&[2, 4], 3)]);

    let x = floats(&[5, 3], 0);
    let moments = reference::execute(&Moments.into(), &[&x]).expect("the moments of a sample");
    let of_channels = |seed| floats(&[3], seed);
    add(Moments.into(), vec![x.clone()]);
    let norm = BatchNorm::default();
    let operands = vec![x.clone(), positive(&[2, 3], 2), of_channels(1), of_channels(4)];
    add(norm.into(), operands.clone());
    let operands = [operands, vec![floats(&[5, 3], 5)]].concat();
    let clamp = Activation::Clamp { min: 0.0, max: 1.0 };
    add(BatchNorm { residual: true, activation: clamp, ..norm }.into(), operands);
    let dy = floats(&[5, 3], 4);
    let operands = vec![x.clone(), dy.clone(), moments.clone()];
    add(BatchNormSums::default().into(), operands.clone());
    let operands = [operands, vec![of_channels(1), of_channels(4)]].concat();
    add(BatchNormSums { epsilon: 1e-5, activation: clamp }.into(), operands);
    let sums = floats(&[2, 3], 6);
    let operands = vec![x.clone(), dy, moments, sums, of_channels(1)];
    add(BatchNormGrad::default().into(), operands.clone());
    let operands = [operands, vec![of_channels(4)]].concat();
    add(BatchNormGrad { epsilon: 1e-5, activation: Activation::Relu }.into(), operands);
    let pairs = vec![floats(&[2, 3], 6), positive(&[2, 3], 2)];
    add(BatchNormScaleGrad { epsilon: 1e-5 }.into(), pairs.clone());
    add(RunningMoments { momentum: 0.1, count: 5 }.into(), pairs);

    let norm = GroupNorm::group(2, 1e-5);
    let images = floats(&[2, 2, 4], 0);
    let of_channels = |seed| floats(&[4], seed);
    add(norm.into(), vec![images.clone(), of_channels(1), of_channels(4)]);
    add(GroupNorm::layer(1e-5).into(), vec![images.clone(), of_channels(1), of_channels(4)]);
    add(GroupNormSums(norm).into(), vec![images.clone(), floats(&[2, 2, 4], 4)]);
    add(GroupNormGrad(norm).into(), vec![images, floats(&[2, 2, 4], 4), of_channels(1)]);

    add(Dropout { rate: 0.4, scale: 1.5, key }.into(), vec![x]);
    add(Uniform { shape, low: -1.0, high: 2.0, key }.into(), vec![]);
    add(Normal { shape, mean: 0.5, deviation: 2.0, key }.into(), vec![]);
    add(Fill { ty: TensorType::f32(shape), value: 1.5 }.into(), vec![]);
    let step = SgdMomentum { rate: 0.1, momentum: 0.9, decay: 0.01, scale: 0.5 };
    add(step.into(), vec![floats(&[5], 0), floats(&[5], 2), floats(&[5], 4)]);
    for step in super::optimize::STEPS {
        let mut inputs = vec![floats(&[5], 0)];
        inputs.extend((0..step.states()).map(|i| positive(&[5], i)));
        inputs.push(floats(&[5], 4));
        add(step.into(), inputs);
    }
}
