//! The same bits for the same operands: from run to run, and from thread count to thread count.

use super::Settings;
use super::cases::{Case, Tolerance};
use super::values::{SIGNED, Values, tensor};
use crate::ops::*;
use crate::{DType, Device, HostTensor, RandomKey, Shape, reference};

/// Ops large enough to be split among threads, whose bits depend on how.
pub(super) fn cases() -> Vec<Case> {
    let signed = |dims: &[usize], seed| tensor(dims, DType::F32, SIGNED, seed);
    let half = |dims: &[usize], seed| tensor(dims, DType::F16, SIGNED, seed);
    let case = |op: Op, inputs: Vec<HostTensor>| Case::new(op, inputs, Tolerance::Bits);
    let axes = |axes: &[usize]| Axes::new(axes).expect("the axes of a case");
    let reduce = |kind, set: &[usize]| Reduce { kind, axes: axes(set), keep_axes: false }.into();
    let weights =
        MatMul { transpose_b: true, bias: true, activation: Activation::Relu, ..MatMul::default() };
    let conv = Conv2d {
        padding: [[1; 2]; 2],
        bias: true,
        activation: Activation::Relu,
        ..Conv2d::default()
    };
    let first = Conv2d { stride: [4, 4], padding: [[1; 2]; 2], ..Conv2d::default() };
    let dilated = Conv2d { stride: [2, 2], dilation: [2, 3], padding: [[2, 3], [1, 2]], ..first };
    let pool = Pool2d::square(3, 2, 1);
    let first_pool = Pool2d { ties: Ties::First, ..pool };
    let lrn = Lrn { size: 5, kappa: 2.0, alpha: 0.1, beta: 0.75, groups: 2 };
    let image = || signed(&[3, 37, 41, 48], 1);
    let shape = Shape::new(&[77_777]).expect("the shape of a case");
    let statistics =
        || reference::execute(&Moments.into(), &[&image()]).expect("the moments of a case");
    let key = RandomKey::new(3, 4);
    let sigmoid = Unary { kind: UnaryKind::Sigmoid };
    let add = Binary { kind: BinaryKind::Add };
    let pooled = reference::execute(&Op::from(pool), &[&image()]).expect("the pooling of a case");
    let windows = pooled.shape().dims().to_vec();

    vec![
        case(sigmoid.into(), vec![signed(&[300, 401], 1)]),
        case(add.into(), vec![signed(&[300, 401], 1), signed(&[401], 2)]),
        case(MatMul::default().into(), vec![signed(&[130, 700], 1), signed(&[700, 270], 2)]),
        case(MatMul::default().into(), vec![signed(&[9, 31, 40], 1), signed(&[40, 270], 2)]),
        case(
            weights.into(),
            vec![signed(&[1, 2000], 1), signed(&[500, 2000], 2), signed(&[500], 3)],
        ),
        case(weights.into(), vec![signed(&[7, 2000], 1), half(&[500, 2000], 2), half(&[500], 3)]),
        case(
            Conv2dInt8 { conv, levels: Levels { scale: 0.01, zero: 100 } }.into(),
            vec![
                image(),
                tensor(&[70, 3, 3, 48], DType::I8, Values::Range(-127.9, 127.9), 2),
                signed(&[70], 3),
                signed(&[70], 4),
            ],
        ),
        case(reduce(ReduceKind::Sum, &[0]), vec![signed(&[200_003], 1)]),
        case(reduce(ReduceKind::Mean, &[0, 1, 2]), vec![image()]),
        case(reduce(ReduceKind::Sum, &[3]), vec![image()]),
        case(
            CumulativeSum { axis: 1, exclusive: false, reverse: true }.into(),
            vec![signed(&[70, 1000], 1)],
        ),
        case(
            Scatter { axis: 1, add: true }.into(),
            vec![
                signed(&[70, 100], 1),
                tensor(&[70, 900], DType::U32, Values::Range(0.0, 101.0), 2),
                signed(&[70, 900], 3),
            ],
        ),
        case(Softmax { axis: 1, log: false }.into(), vec![signed(&[70, 1000], 1)]),
        case(
            CrossEntropy.into(),
            vec![signed(&[70, 1000], 1), tensor(&[70], DType::U32, Values::Range(0.0, 1000.0), 2)],
        ),
        case(
            CrossEntropyGrad.into(),
            vec![
                signed(&[70, 1000], 1),
                tensor(&[70], DType::U32, Values::Range(0.0, 1000.0), 2),
                signed(&[70], 3),
            ],
        ),
        case(
            WeightedCrossEntropy { smoothing: 0.1, ignored: Some(3) }.into(),
            vec![
                signed(&[70, 1000], 1),
                tensor(&[70], DType::U32, Values::Range(0.0, 1000.0), 2),
                signed(&[1000], 4),
            ],
        ),
        case(
            WeightedCrossEntropyGrad(WeightedCrossEntropy { smoothing: 0.1, ignored: Some(3) })
                .into(),
            vec![
                signed(&[70, 1000], 1),
                tensor(&[70], DType::U32, Values::Range(0.0, 1000.0), 2),
                signed(&[1000], 4),
                signed(&[70], 3),
            ],
        ),
        case(
            UnaryGrad { kind: UnaryKind::Silu }.into(),
            vec![signed(&[300, 401], 1), signed(&[300, 401], 2)],
        ),
        case(ReluGrad.into(), vec![signed(&[300, 401], 1), signed(&[300, 401], 2)]),
        case(
            GatherGrad { axis: 0, extent: 40 }.into(),
            vec![tensor(&[300], DType::U32, Values::Range(0.0, 41.0), 1), signed(&[300, 401], 2)],
        ),
        case(conv.into(), vec![image(), signed(&[65, 3, 3, 48], 2), signed(&[65], 3)]),
        case(
            Conv2d { residual: true, ..conv }.into(),
            vec![
                image(),
                signed(&[64, 3, 3, 48], 2),
                signed(&[64], 3),
                signed(&[3, 37, 41, 64], 4),
            ],
        ),
        case(
            Conv2d { dilation: [2, 3], residual: true, ..conv }.into(),
            vec![
                image(),
                signed(&[65, 3, 3, 48], 2),
                signed(&[65], 3),
                signed(&[3, 35, 37, 65], 4),
            ],
        ),
        case(
            Conv2d { groups: 2, ..conv }.into(),
            vec![image(), signed(&[64, 3, 3, 24], 2), signed(&[64], 3)],
        ),
        case(first.into(), vec![signed(&[2, 99, 97, 3], 1), signed(&[40, 11, 11, 3], 2)]),
        case(
            Conv2dInputGrad { conv, input: [37, 41] }.into(),
            vec![signed(&[3, 37, 41, 16], 1), signed(&[16, 3, 3, 48], 2)],
        ),
        case(
            Conv2dWeightGrad { conv, kernel: [3, 3] }.into(),
            vec![image(), signed(&[3, 37, 41, 16], 2)],
        ),
        case(
            Conv2dInputGrad { conv: dilated, input: [37, 41] }.into(),
            vec![signed(&[3, 19, 19, 16], 1), signed(&[16, 3, 3, 48], 2)],
        ),
        case(
            Conv2dWeightGrad { conv: dilated, kernel: [3, 3] }.into(),
            vec![image(), signed(&[3, 19, 19, 16], 2)],
        ),
        case(
            Conv2d { groups: 48, ..conv }.into(),
            vec![image(), signed(&[48, 3, 3, 1], 2), signed(&[48], 3)],
        ),
        case(
            Conv2dInputGrad { conv: Conv2d { groups: 48, ..dilated }, input: [37, 41] }.into(),
            vec![signed(&[3, 19, 19, 48], 1), signed(&[48, 3, 3, 1], 2)],
        ),
        case(
            Conv2dWeightGrad { conv: Conv2d { groups: 48, ..conv }, kernel: [3, 3] }.into(),
            vec![image(), signed(&[3, 37, 41, 48], 2)],
        ),
        case(
            ConvTranspose2d { stride: [2, 2], bias: true, ..ConvTranspose2d::default() }.into(),
            vec![image(), signed(&[48, 2, 2, 33], 2), signed(&[33], 3)],
        ),
        case(
            PadImageGrad {
                pad: PadImage { widths: [[3, 1], [2, 4]], border: Border::Reflect },
                input: [33, 35],
            }
            .into(),
            vec![image()],
        ),
        case(pool.into(), vec![image()]),
        case(MaxPool2dGrad(pool).into(), vec![image(), pooled.clone(), signed(&windows, 3)]),
        case(MaxPool2dGrad(first_pool).into(), vec![image(), pooled, signed(&windows, 3)]),
        case(AvgPool2d(pool).into(), vec![image()]),
        case(AvgPool2dGrad { pool, input: [37, 41] }.into(), vec![signed(&windows, 3)]),
        case(Resize::linear([50, 61]).into(), vec![image()]),
        case(
            ResizeGrad { resize: Resize::cubic([50, 61]), input: [37, 41] }.into(),
            vec![signed(&[3, 50, 61, 48], 2)],
        ),
        case(lrn.into(), vec![image()]),
        case(LrnGrad(lrn).into(), vec![image(), signed(&[3, 37, 41, 48], 2)]),
        case(Moments.into(), vec![image()]),
        // Few channels and many rows.
        case(Moments.into(), vec![signed(&[100_003, 3], 1)]),
        case(
            BatchNorm { residual: true, activation: Activation::Relu, ..BatchNorm::default() }
                .into(),
            vec![image(), statistics(), signed(&[48], 2), signed(&[48], 3), image()],
        ),
        case(
            BatchNormSums::default().into(),
            vec![image(), signed(&[3, 37, 41, 48], 2), statistics()],
        ),
        case(
            BatchNormSums { epsilon: 1e-5, activation: Activation::Relu }.into(),
            vec![
                image(),
                signed(&[3, 37, 41, 48], 2),
                statistics(),
                signed(&[48], 4),
                signed(&[48], 5),
            ],
        ),
        case(
            BatchNormGrad { epsilon: 1e-5, activation: Activation::Relu }.into(),
            vec![
                image(),
                signed(&[3, 37, 41, 48], 2),
                statistics(),
                signed(&[2, 48], 3),
                signed(&[48], 4),
                signed(&[48], 5),
            ],
        ),
        case(BatchNormScaleGrad { epsilon: 1e-5 }.into(), vec![signed(&[2, 48], 3), statistics()]),
        case(
            RunningMoments { momentum: 0.1, count: 4551 }.into(),
            vec![signed(&[2, 48], 3), statistics()],
        ),
        case(GroupNorm::layer(1e-5).into(), vec![image(), signed(&[48], 2), signed(&[48], 3)]),
        case(GroupNorm::group(8, 1e-5).into(), vec![image(), signed(&[48], 2), signed(&[48], 3)]),
        case(
            GroupNormSums(GroupNorm::layer(1e-5)).into(),
            vec![image(), signed(&[3, 37, 41, 48], 2)],
        ),
        case(
            GroupNormSums(GroupNorm::group(8, 1e-5)).into(),
            vec![image(), signed(&[3, 37, 41, 48], 2)],
        ),
        case(
            GroupNormGrad(GroupNorm::layer(1e-5)).into(),
            vec![image(), signed(&[3, 37, 41, 48], 2), signed(&[48], 3)],
        ),
        case(
            GroupNormGrad(GroupNorm::group(8, 1e-5)).into(),
            vec![image(), signed(&[3, 37, 41, 48], 2), signed(&[48], 3)],
        ),
        case(Dropout { rate: 0.4, scale: 1.7, key }.into(), vec![image()]),
        case(Uniform { shape, low: -0.3, high: 0.9, key }.into(), vec![]),
        case(Normal { shape, mean: 0.1, deviation: 0.7, key }.into(), vec![]),
    ]
}

/// The outputs of a fixed set of cases, each with its op's name, but for those that the device does
/// not support. A backend compares what one thread gives with what many give.
///
/// # Panics
/// Where the device fails.
pub fn bits(device: &Device) -> Vec<(&'static str, Vec<u8>)> {
    (cases().iter())
        .filter_map(|case| match case.execute(device) {
            Ok(output) => output.map(|y| (case.op.name(), y.values().bytes().to_vec())),
            Err(error) => panic!("{:?} on {:?}: {error}", case.op, case.types()),
        })
        .collect()
}

/// One number of all [`bits`] (FNV-1a), for processes to compare.
///
/// # Panics
/// Where the device fails.
pub fn digest(device: &Device) -> u64 {
    let bytes = bits(device).into_iter().flat_map(|(_, bytes)| bytes);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The same op on the same operands gives the same bits, every time.
///
/// # Panics
/// Where it does not, or the device declines an op that it must execute.
pub fn same_bits_twice(device: &Device, settings: &Settings) {
    for case in cases() {
        if !device.backend().supports(&case.op, &case.types())
            && let Err(message) = case.declined(device, settings)
        {
            panic!("{:?} on {:?}: {message}", case.op, case.types());
        }
    }
    for ((op, first), (_, second)) in bits(device).iter().zip(bits(device)) {
        let differs = first.iter().zip(&second).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{op}: byte {differs:?} differs from one run to the next");
    }
}
