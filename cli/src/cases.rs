//! The named cases: ops at the shapes that networks ask for.
//!
//! Most follow from the classic networks' own specifications, so that there is no second table of
//! their shapes to keep right.

use striate::graph::{NodeOp, Source};
use striate::models;
use striate::nn::NetworkSpec;
use striate::tensor::ops::*;
use striate::tensor::{DType, RandomKey, Shape, TensorType};

use crate::error::{Error, Result};
use crate::model;

/// The networks whose cases are meant where only an op is named.
pub(crate) const USUAL_MODELS: [&str; 3] = ["alexnet", "mattnet", "vgg-d"];

/// An op with the types of its operands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OpCase {
    /// `conv2d/vgg-d/4_2`
    pub(crate) name: String,
    pub(crate) op: Op,
    pub(crate) inputs: Vec<TensorType>,
}

impl OpCase {
    /// `f32[1, 14, 14, 512], f32[512, 3, 3, 512], f32[512]`
    pub(crate) fn operands(&self) -> String {
        self.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Whether both time the same.
    pub(crate) fn same_work(&self, other: &OpCase) -> bool {
        self.op == other.op && self.inputs == other.inputs
    }
}

/// The cases that are listed: those of the usual networks, and of no network. Those of the other networks
/// are found by name.
pub(crate) fn all(batch: usize, dtype: DType) -> Result<Vec<OpCase>> {
    let usual = USUAL_MODELS.iter().filter_map(|name| models::find(name));
    of_networks(usual, batch, dtype)
}

/// The cases of these networks, and of no network.
fn of_networks<'a>(
    networks: impl IntoIterator<Item = &'a models::Model>,
    batch: usize,
    dtype: DType,
) -> Result<Vec<OpCase>> {
    let mut cases = Vec::new();
    for model in networks {
        of_network(&model.spec(), batch, |_| dtype, &mut cases)?;
    }
    others(batch, &mut cases)?;
    features(batch, &mut cases)?;
    Ok(cases)
}

/// The cases of every op that are timed where none is named: those of the usual networks, each
/// shape once, and what their training does most.
pub(crate) fn usual(batch: usize, dtype: DType) -> Result<Vec<OpCase>> {
    let mut cases = of_usual_networks(batch, dtype)?;
    cases.retain(|case| !case.name.ends_with(ASKED_FOR));
    Ok(cases)
}

/// The place of the cases that are timed only where their op is named.
const ASKED_FOR: &str = "/features";

/// The cases of every op, of networks those of the usual ones, each shape once.
fn of_usual_networks(batch: usize, dtype: DType) -> Result<Vec<OpCase>> {
    let mut cases: Vec<OpCase> = Vec::new();
    for case in all(batch, dtype)? {
        if !cases.iter().any(|other| other.same_work(&case)) {
            cases.push(case);
        }
    }
    // Ops side by side, not networks.
    cases.sort_by_key(|case| case.op.name());
    Ok(cases)
}

/// The cases of this name: of an op the usual ones, of an op and a network all, of a case itself.
pub(crate) fn find(name: &str, batch: usize, dtype: DType) -> Result<Vec<OpCase>> {
    if let Some((op, place)) = name.trim_end_matches('/').split_once('/') {
        let (network, rest) = place.split_once('/').unwrap_or((place, ""));
        let model = models::find(network);
        let network = model.map_or(network, |model| model.name);
        let whole = format!("{op}/{network}/{rest}");
        let whole = whole.trim_end_matches('/');
        let within = format!("{whole}/");
        let mut cases = of_networks(model, batch, dtype)?;
        cases.retain(|case| case.name == whole || case.name.starts_with(&within));
        return Ok(cases);
    }
    let mut cases = of_usual_networks(batch, dtype)?;
    cases.retain(|case| case.op.name() == name);
    Ok(cases)
}

/// What is wrong with a name that means none of them, nor a model or a file.
pub(crate) fn unknown(name: &str) -> Error {
    Error::Usage(format!("'{name}' is no op, case, model or file; {}", model::hint(name)))
}

/// A case for each op of a network's graph: convolutions by block (a pooling ends one) and number in it,
/// the others by their number. `dtype` is the precision of the parameters of a layer.
pub(crate) fn of_network(
    spec: &NetworkSpec,
    batch: usize,
    dtype: impl Fn(usize) -> DType,
    cases: &mut Vec<OpCase>,
) -> Result<()> {
    let graph = spec.graph(batch)?;
    let (mut block, mut in_block, mut products) = (1, 0, 0);
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for node in graph.nodes() {
        let NodeOp::Op(op) = &node.op else { continue };
        let place = match op {
            Op::Conv2d(_) => {
                in_block += 1;
                format!("{block}_{in_block}")
            }
            Op::MatMul(_) => {
                products += 1;
                format!("fc{products}")
            }
            other => {
                if matches!(other, Op::MaxPool2d(_) | Op::AvgPool2d(_)) {
                    (block, in_block) = (block + 1, 0);
                }
                let kind = match other {
                    // Both kinds of pooling are counted as one.
                    Op::MaxPool2d(_) | Op::AvgPool2d(_) => "pool",
                    other => other.name(),
                };
                let count = counts.entry(kind).or_default();
                *count += 1;
                count.to_string()
            }
        };
        let types = node.inputs.iter().map(|&input| match graph.source(input) {
            // A factor is widened to the type of what it multiplies before it gets there.
            Source::Parameter(_) if !matches!(op, Op::Binary(_)) => {
                TensorType::new(graph.ty(input).shape, dtype(node.origin.unwrap_or(0)))
            }
            _ => *graph.ty(input),
        });
        let (op, inputs) = (op.clone(), types.collect());
        cases.push(OpCase { name: format!("{}/{}/{place}", op.name(), spec.name), op, inputs });
    }
    Ok(())
}

/// The case of an op on operands of these shapes and types.
fn case(place: &str, op: Op, inputs: &[(&[usize], DType)]) -> Result<OpCase> {
    let types = inputs.iter().map(|(dims, dtype)| Ok(TensorType::new(Shape::new(dims)?, *dtype)));
    let inputs = types.collect::<Result<Vec<_>>>()?;
    Ok(OpCase { name: format!("{}/{place}", op.name()), op, inputs })
}

/// Ops of which a benchmark of single ops says nothing, and why.
#[cfg(test)]
const NOT_TIMED: [(&str, &str); 6] = [
    ("conv2d_int8", "networks alone are calibrated: `striate bench` times a quantized model"),
    ("sgd_momentum", IN_PLACE),
    ("sgd", IN_PLACE),
    ("adam", IN_PLACE),
    ("rms_prop", IN_PLACE),
    ("average", IN_PLACE),
];

/// Why steps of optimizers are among them.
#[cfg(test)]
const IN_PLACE: &str = "it updates in place: `striate bench --pass step` has its time";

/// Every op that no other list has, on the features of a convolution in the middle of a network.
fn features(batch: usize, cases: &mut Vec<OpCase>) -> Result<()> {
    let f32 = |dims: &'static [usize]| (dims, DType::F32);
    let dims = &[batch, 56, 56, 64][..];
    let (x, condition) = ((dims, DType::F32), (dims, DType::U32));
    let rows = [batch * 56 * 56];
    let indices = (&rows[..], DType::U32);
    let place = ASKED_FOR.trim_start_matches('/');
    for &kind in UnaryKind::ALL.iter().filter(|kind| UnaryGrad::takes(kind)) {
        let place = format!("{}/{place}", kind.name());
        cases.push(case(&place, UnaryGrad { kind }.into(), &[x, x])?);
    }
    let mut add = |op: Op, inputs: &[(&[usize], DType)]| -> Result<()> {
        cases.push(case(place, op, inputs)?);
        Ok(())
    };
    for &kind in UnaryKind::ALL {
        add(Unary { kind }.into(), &[x])?;
    }
    for &kind in BinaryKind::ALL {
        add(Binary { kind }.into(), &[x, x])?;
    }
    for &kind in CompareKind::ALL {
        add(Compare { kind }.into(), &[x, x])?;
    }
    for &kind in ReduceKind::ALL {
        add(Reduce { kind, axes: Axes::new(&[1, 2])?, keep_axes: false }.into(), &[x])?;
    }
    for &kind in ArgReduceKind::ALL {
        add(ArgReduce { kind, axis: 3, keep_axis: false }.into(), &[x])?;
    }
    add(CumulativeSum { axis: 3, exclusive: false, reverse: false }.into(), &[x])?;
    add(TakeAlong { axis: 3 }.into(), &[x, condition])?;
    for added in [false, true] {
        add(Scatter { axis: 3, add: added }.into(), &[x, condition, x])?;
    }
    add(Select.into(), &[condition, x, x])?;
    add(ReluGrad.into(), &[x, x])?;
    add(Permute { order: vec![0, 3, 1, 2] }.into(), &[x])?;
    add(Slice { ranges: vec![0..batch, 1..55, 1..55, 0..64] }.into(), &[x])?;
    add(Concatenate { axis: 3 }.into(), &[x, x])?;
    add(Pad { widths: vec![[0, 0], [1, 1], [1, 1], [0, 0]], value: 0.0 }.into(), &[x])?;
    let pad = PadImage { widths: [[1, 1]; 2], border: Border::Reflect };
    add(pad.into(), &[x])?;
    add(PadImageGrad { pad, input: [54, 54] }.into(), &[x])?;
    let resize = Resize::linear([112, 112]);
    add(resize.into(), &[x])?;
    let larger = (&[batch, 112, 112, 64][..], DType::F32);
    add(ResizeGrad { resize, input: [56, 56] }.into(), &[larger])?;
    add(Flip { axes: Axes::new(&[2])? }.into(), &[x])?;
    add(Gather { axis: 0 }.into(), &[f32(&[1000, 64]), indices])?;
    add(GatherGrad { axis: 0, extent: 1000 }.into(), &[indices, (&[rows[0], 64], DType::F32)])?;

    let logits = (&[batch, 1000][..], DType::F32);
    let (labels, losses) = ((&[batch][..], DType::U32), (&[batch][..], DType::F32));
    add(ArgSort { axis: 1, descending: true, count: 5 }.into(), &[logits])?;
    add(CrossEntropy.into(), &[logits, labels])?;
    add(CrossEntropyGrad.into(), &[logits, labels, losses])?;
    let (smoothed, weights) =
        (WeightedCrossEntropy { smoothing: 0.1, ignored: None }, f32(&[1000]));
    add(smoothed.into(), &[logits, labels, weights])?;
    add(WeightedCrossEntropyGrad(smoothed).into(), &[logits, labels, weights, losses])?;

    let conv = Conv2d { padding: [[1; 2]; 2], ..Conv2d::default() };
    add(Conv2dInputGrad { conv, input: [56, 56] }.into(), &[x, f32(&[64, 3, 3, 64])])?;
    add(Conv2dWeightGrad { conv, kernel: [3, 3] }.into(), &[x, x])?;
    let pool = Pool2d::square(2, 2, 0);
    let windows = (&[batch, 28, 28, 64][..], DType::F32);
    add(MaxPool2dGrad(pool).into(), &[x, windows, windows])?;
    add(AvgPool2d(pool).into(), &[x])?;
    add(AvgPool2dGrad { pool, input: [56, 56] }.into(), &[windows])?;
    let lrn = Lrn { size: 5, kappa: 2.0, alpha: 1e-4, beta: 0.75, groups: 1 };
    add(LrnGrad(lrn).into(), &[x, x])?;

    let (shape, key) = (Shape::new(dims)?, RandomKey::new(1, 2));
    add(Dropout { rate: 0.5, scale: 2.0, key }.into(), &[x])?;
    add(Uniform { shape, low: 0.0, high: 1.0, key }.into(), &[])?;
    add(Normal { shape, mean: 0.0, deviation: 1.0, key }.into(), &[])?;
    add(Fill { ty: TensorType::f32(shape), value: 1.0 }.into(), &[])
}

/// Cases that no layer asks for: what a plain tensor program does.
fn others(batch: usize, cases: &mut Vec<OpCase>) -> Result<()> {
    let mut add = |place: &str, op: Op, inputs: &[(&[usize], DType)]| -> Result<()> {
        cases.push(case(place, op, inputs)?);
        Ok(())
    };
    for n in [512, 1024, 2048] {
        let square = (&[n, n][..], DType::F32);
        add(&format!("square/{n}"), MatMul::default().into(), &[square, square])?;
    }
    // The largest activation of VGG, and the logits of ImageNet.
    let activation = (&[batch, 225, 225, 64][..], DType::F32);
    let logits = (&[batch, 1000][..], DType::F32);
    for log in [false, true] {
        add("logits", Softmax { axis: 1, log }.into(), &[logits])?;
    }
    add("activation", Unary { kind: UnaryKind::Relu }.into(), &[activation])?;
    add("activation", Unary { kind: UnaryKind::Exp }.into(), &[activation])?;
    add("activation", Binary { kind: BinaryKind::Add }.into(), &[activation, activation])?;
    add("activation", Cast { dtype: DType::F16 }.into(), &[activation])?;
    let axes = Axes::new(&[0, 1, 2])?;
    let sum = Reduce { kind: ReduceKind::Sum, axes, keep_axes: false };
    add("channels", sum.into(), &[activation])?;
    // After the first convolution of a residual network.
    let x = (&[batch, 112, 112, 64][..], DType::F32);
    let (pairs, each) = ((&[2, 64][..], DType::F32), (&[64][..], DType::F32));
    let activation = Activation::Relu;
    let norm = BatchNorm { batch: true, activation, ..BatchNorm::default() };
    add("activation", Moments.into(), &[x])?;
    add("activation", norm.into(), &[x, pairs, each, each])?;
    let residual = BatchNorm { residual: true, ..norm };
    add("activation/residual", residual.into(), &[x, pairs, each, each, x])?;
    add("activation", BatchNormSums::default().into(), &[x, x, pairs])?;
    let sums = BatchNormSums { epsilon: norm.epsilon, activation };
    add("activation/masked", sums.into(), &[x, x, pairs, each, each])?;
    add("activation", BatchNormGrad::default().into(), &[x, x, pairs, pairs, each])?;
    let grad = BatchNormGrad { epsilon: norm.epsilon, activation };
    add("activation/masked", grad.into(), &[x, x, pairs, pairs, each, each])?;
    add("channels", BatchNormScaleGrad { epsilon: norm.epsilon }.into(), &[pairs, pairs])?;
    add("channels", RunningMoments { momentum: 0.1, count: 12_544 }.into(), &[pairs, pairs])?;
    let f32 = |dims: &'static [usize]| (dims, DType::F32);
    // Depthwise, as MobileNetV2, EfficientNet and ConvNeXt have them.
    for (place, rows, channels, kernel, stride) in [
        ("depthwise/3x3", 112, 32, 3, 1),
        ("depthwise/3x3-wide", 28, 192, 3, 1),
        ("depthwise/3x3-stride-2", 112, 96, 3, 2),
        ("depthwise/5x5", 28, 240, 5, 1),
        ("depthwise/7x7", 56, 96, 7, 1),
        ("depthwise/7x7-last", 7, 768, 7, 1),
    ] {
        let padding = [[kernel / 2; 2]; 2];
        let conv = Conv2d { stride: [stride; 2], padding, groups: channels, ..Conv2d::default() };
        let x = [batch, rows, rows, channels];
        let out = rows.div_ceil(stride);
        let y = [batch, out, out, channels];
        let (x, y) = ((&x[..], DType::F32), (&y[..], DType::F32));
        let weights = [channels, kernel, kernel, 1];
        let weights = (&weights[..], DType::F32);
        add(place, conv.into(), &[x, weights])?;
        add(place, Conv2dInputGrad { conv, input: [rows, rows] }.into(), &[y, weights])?;
        add(place, Conv2dWeightGrad { conv, kernel: [kernel; 2] }.into(), &[x, y])?;
    }
    // The groups of a ResNeXt.
    let conv = Conv2d { padding: [[1; 2]; 2], groups: 32, ..Conv2d::default() };
    let x = (&[batch, 56, 56, 128][..], DType::F32);
    add("groups/resnext", conv.into(), &[x, f32(&[128, 3, 3, 4])])?;
    // The groups of a RegNet, which no register block is a multiple of.
    let conv = Conv2d { groups: 13, ..conv };
    let x = (&[batch, 28, 28, 104][..], DType::F32);
    add("groups/regnet", conv.into(), &[x, f32(&[104, 3, 3, 8])])?;
    // Products of pixels: MobileNetV2's expansions and projections, from its first rows to its last.
    for (place, rows, channels, out) in [
        ("pointwise/112x16-96", 112, 16, 96),
        ("pointwise/56x24-144", 56, 24, 144),
        ("pointwise/56x144-24", 56, 144, 24),
        ("pointwise/14x96-576", 14, 96, 576),
        ("pointwise/14x576-96", 14, 576, 96),
        ("pointwise/7x160-960", 7, 160, 960),
        ("pointwise/7x960-160", 7, 960, 160),
    ] {
        let conv = Conv2d { bias: true, activation: Activation::RELU6, ..Conv2d::default() };
        let (x, weights, bias) = ([batch, rows, rows, channels], [out, 1, 1, channels], [out]);
        let inputs = [&x[..], &weights, &bias].map(|dims| (dims, DType::F32));
        add(place, conv.into(), &inputs)?;
    }
    // A first layer of today, on three channels.
    let conv = Conv2d { padding: [[1; 2]; 2], stride: [2; 2], bias: true, ..Conv2d::default() };
    let x = (&[batch, 224, 224, 3][..], DType::F32);
    add("first/3x3-stride-2", conv.into(), &[x, f32(&[32, 3, 3, 3]), f32(&[32])])?;
    // Twice the size, as a decoder and as a network that draws have it.
    let twice = ConvTranspose2d { stride: [2, 2], bias: true, ..ConvTranspose2d::default() };
    let x = (&[batch, 28, 28, 128][..], DType::F32);
    add("twice/2x2", twice.into(), &[x, f32(&[128, 2, 2, 64]), f32(&[64])])?;
    let drawn = ConvTranspose2d { padding: [[1; 2]; 2], ..twice };
    add("twice/4x4", drawn.into(), &[x, f32(&[128, 4, 4, 64]), f32(&[64])])?;
    // In the first stage of a ConvNeXt, and group normalization where a residual network has it.
    let (wide, each_wide) = ((&[batch, 56, 56, 96][..], DType::F32), (&[96][..], DType::F32));
    let (x, each) = ((&[batch, 56, 56, 64][..], DType::F32), (&[64][..], DType::F32));
    let norms = [
        ("layer", GroupNorm::layer(1e-6), wide, each_wide),
        ("group", GroupNorm::group(32, 1e-5), x, each),
    ];
    for (place, norm, x, each) in norms {
        add(place, norm.into(), &[x, each, each])?;
        add(place, GroupNormSums(norm).into(), &[x, x])?;
        add(place, GroupNormGrad(norm).into(), &[x, x, each])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_one_that_its_op_accepts_and_has_a_name_of_its_own() {
        let cases = of_networks(models::all(), 2, DType::F16).unwrap();
        assert!(cases.len() > 100);
        let mut names = std::collections::HashSet::new();
        for case in &cases {
            assert!(case.op.cost(&case.inputs).is_ok(), "{}", case.name);
            assert!(names.insert(&case.name), "{}", case.name);
        }
    }

    #[test]
    fn every_op_has_a_case_or_a_reason_why_not() {
        let cases = of_usual_networks(1, DType::F32).unwrap();
        for name in Op::names() {
            let timed = cases.iter().any(|case| case.op.name() == name);
            let excused = NOT_TIMED.iter().any(|(excused, _)| *excused == name);
            assert!(timed != excused, "`{name}` timed: {timed}, excused: {excused}");
        }
        let usual = usual(1, DType::F32).unwrap();
        assert!(usual.iter().all(|case| case.op.name() != "arg_max"), "only where it is named");
    }

    #[test]
    fn cases_are_found_by_op_network_and_place() {
        let found = |name| find(name, 1, DType::F32).unwrap();
        let [case] = &found("conv2d/vgg-d/4_2")[..] else { panic!("one case") };
        assert_eq!(case.inputs[1].shape.dims(), [512, 3, 3, 512]);
        assert_eq!(case.inputs[0].shape.dims()[3], 512);
        assert_eq!(found("conv2d/vgg-d").len(), 13);
        assert_eq!(found("conv2d/resnet18").len(), 20);
        assert_eq!(found("conv2d/mobilenet_v2"), found("conv2d/mobilenet-v2/"));
        assert_eq!(found("matmul/square").len(), 3);
        assert!(found("conv2d").len() > 15 && found("lrn").len() > 2);
        assert!(found("conv2d/none").is_empty() && found("vgg-d").is_empty());
    }
}
