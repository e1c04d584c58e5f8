//! The named cases: ops at the shapes that networks ask for.
//!
//! Most follow from the classic networks' own specifications, so that there is no second table of
//! their shapes to keep right.

use striate::models;
use striate::nn::{LayerShape, LayerSpec, NetworkSpec};
use striate::tensor::ops::{
    AvgPool2d, Axes, BatchNorm, BatchNormGrad, BatchNormSums, Binary, BinaryKind, Cast, MatMul,
    Moments, Op, Reduce, ReduceKind, Softmax, Unary, UnaryKind,
};
use striate::tensor::{DType, Shape, TensorType};

use crate::error::{Error, Result};

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

/// All cases.
pub(crate) fn all(batch: usize, dtype: DType) -> Result<Vec<OpCase>> {
    let mut cases = Vec::new();
    for model in models::names() {
        of_network(&model.spec(), batch, |_| dtype, &mut cases)?;
    }
    others(batch, &mut cases)?;
    Ok(cases)
}

/// The cases of every op that are timed where none is named: those of the usual networks, each
/// shape once.
pub(crate) fn usual(batch: usize, dtype: DType) -> Result<Vec<OpCase>> {
    let is_usual = |case: &OpCase| {
        let network = case.name.split('/').nth(1).unwrap_or_default();
        USUAL_MODELS.contains(&network) || models::by_name(network).is_err()
    };
    let mut cases: Vec<OpCase> = Vec::new();
    for case in all(batch, dtype)? {
        if is_usual(&case) && !cases.iter().any(|other| other.same_work(&case)) {
            cases.push(case);
        }
    }
    // Ops side by side, not networks.
    cases.sort_by_key(|case| case.op.name());
    Ok(cases)
}

/// The cases of this name: of an op the usual ones, of an op and a network all, of a case itself.
pub(crate) fn find(name: &str, batch: usize, dtype: DType) -> Result<Vec<OpCase>> {
    if name.contains('/') {
        let prefix = format!("{}/", name.trim_end_matches('/'));
        let mut cases = all(batch, dtype)?;
        cases.retain(|case| case.name == name || case.name.starts_with(&prefix));
        return Ok(cases);
    }
    let mut cases = usual(batch, dtype)?;
    cases.retain(|case| case.op.name() == name);
    Ok(cases)
}

/// What is wrong with a name that means none of them, nor a model or a file.
pub(crate) fn unknown(name: &str) -> Error {
    let models = models::by_name(name).err().map(|e| e.to_string()).unwrap_or_default();
    Error::Usage(format!(
        "'{name}' is no op, case, model or file ({models}); see 'striate bench --list'"
    ))
}

/// The op that computes a layer, and the types of its operands for inputs of type `x`.
pub(crate) fn of_layer(
    layer: &LayerSpec,
    x: TensorType,
    parameters: Option<[TensorType; 2]>,
) -> (Op, Vec<TensorType>) {
    let op = match layer {
        LayerSpec::Conv(conv) => conv.op().into(),
        LayerSpec::MaxPool(pool) => pool.op().into(),
        LayerSpec::AvgPool(pool) => AvgPool2d(pool.op()).into(),
        LayerSpec::Lrn(lrn) => lrn.op().into(),
        LayerSpec::FullConnect(full) => full.op().into(),
    };
    (op, [x].into_iter().chain(parameters.into_iter().flatten()).collect())
}

/// The type of a layer's input: a full-connect layer sees it flat.
pub(crate) fn input_type(
    layer: &LayerSpec,
    shape: &LayerShape,
    batch: usize,
) -> Result<TensorType> {
    let [rows, cols, channels] = shape.input;
    let shape = match layer {
        LayerSpec::FullConnect(_) => Shape::new(&[batch, rows * cols * channels]),
        _ => Shape::new(&[batch, rows, cols, channels]),
    };
    Ok(TensorType::f32(shape?))
}

/// A case for each layer: convolutions by block (a pooling ends one) and number in it, the others by
/// their number. `dtype` is the precision of the parameters of a layer.
pub(crate) fn of_network(
    spec: &NetworkSpec,
    batch: usize,
    dtype: impl Fn(usize) -> DType,
    cases: &mut Vec<OpCase>,
) -> Result<()> {
    let (mut block, mut in_block, mut pools, mut lrns, mut fulls) = (1, 0, 0, 0, 0);
    for (index, (layer, shape)) in spec.nodes.iter().zip(spec.shapes()?).enumerate() {
        let place = match layer {
            LayerSpec::Conv(_) => {
                in_block += 1;
                format!("{block}_{in_block}")
            }
            LayerSpec::MaxPool(_) | LayerSpec::AvgPool(_) => {
                (block, in_block) = (block + 1, 0);
                pools += 1;
                format!("{pools}")
            }
            LayerSpec::Lrn(_) => {
                lrns += 1;
                format!("{lrns}")
            }
            LayerSpec::FullConnect(_) => {
                fulls += 1;
                format!("fc{fulls}")
            }
        };
        let x = input_type(layer, &shape, batch)?;
        let parameters = match (shape.weight, shape.bias) {
            (Some(weight), Some(bias)) => {
                Some([weight, bias].map(|shape| TensorType::new(shape, dtype(index))))
            }
            _ => None,
        };
        let (op, inputs) = of_layer(layer, x, parameters);
        cases.push(OpCase { name: format!("{}/{}/{place}", op.name(), spec.name), op, inputs });
    }
    Ok(())
}

/// Cases that no layer asks for: what a plain tensor program does.
fn others(batch: usize, cases: &mut Vec<OpCase>) -> Result<()> {
    let mut add = |place: &str, op: Op, inputs: &[(&[usize], DType)]| -> Result<()> {
        let types =
            inputs.iter().map(|(dims, dtype)| Ok(TensorType::new(Shape::new(dims)?, *dtype)));
        let inputs = types.collect::<Result<Vec<_>>>()?;
        cases.push(OpCase { name: format!("{}/{place}", op.name()), op, inputs });
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
    let norm = BatchNorm { epsilon: 1e-5, batch: true, relu: true };
    add("activation", Moments.into(), &[x])?;
    add("activation", norm.into(), &[x, pairs, each, each])?;
    add("activation", BatchNormSums.into(), &[x, x, pairs])?;
    let grad = BatchNormGrad { epsilon: norm.epsilon };
    add("activation", grad.into(), &[x, x, pairs, pairs, each])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_one_that_its_op_accepts_and_has_a_name_of_its_own() {
        let cases = all(2, DType::F16).unwrap();
        assert!(cases.len() > 100);
        for (i, case) in cases.iter().enumerate() {
            assert!(case.op.cost(&case.inputs).is_ok(), "{}", case.name);
            assert!(cases[..i].iter().all(|other| other.name != case.name), "{}", case.name);
        }
    }

    #[test]
    fn cases_are_found_by_op_network_and_place() {
        let found = |name| find(name, 1, DType::F32).unwrap();
        let [case] = &found("conv2d/vgg-d/4_2")[..] else { panic!("one case") };
        assert_eq!(case.inputs[1].shape.dims(), [512, 3, 3, 512]);
        assert_eq!(case.inputs[0].shape.dims()[3], 512);
        assert_eq!(found("conv2d/vgg-d").len(), 13);
        assert_eq!(found("matmul/square").len(), 3);
        assert!(found("conv2d").len() > 15 && found("lrn").len() > 2);
        assert!(found("conv2d/none").is_empty() && found("vgg-d").is_empty());
    }
}
