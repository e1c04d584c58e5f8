//! The kernels: for each op, how its shader is launched.
//!
//! Each `.wgsl` stands beside the `.rs` that launches it, behind `prelude.wgsl`. Ops that compute
//! write f32, which is narrowed afterwards where the output is f16; ops that move numbers move bits.

mod activations;
mod along;
mod batch_norm;
mod channels;
mod constants;
mod conv2d;
mod counted;
mod custom;
mod elementwise;
mod gemm;
mod gradients;
mod group_norm;
mod images;
mod indices;
mod lrn;
mod matmul;
mod movement;
mod optimize;
mod pool2d;
mod reduce;
mod resample;
mod softmax;
mod sort;
mod weighted_cross_entropy;

use striate_tensor::ops::Activation;
use striate_tensor::{DType, Error, Op, Result, TensorType};

use crate::buffer::{GpuBuffer, Source};
use crate::pipelines::Shader;
use crate::queue::Context;
use constants::Constants;
pub(crate) use optimize::{GATHERED_BYTES, Update};

/// A shader and the constants of one of its pipelines.
#[derive(Clone, Debug, PartialEq)]
pub struct Specialisation {
    /// The shader's file.
    pub shader: &'static str,
    /// What it does to its results before it writes them, where it can do anything.
    pub activation: Activation,
    /// Its WGSL.
    pub source: &'static str,
    /// The values of its `override` constants.
    pub constants: Vec<(&'static str, f64)>,
}

/// Every pipeline that an op may ask for, for tests that translate them all.
pub fn specialisations() -> Vec<Specialisation> {
    let all = [
        along::variants(),
        batch_norm::variants(),
        channels::variants(),
        conv2d::variants(),
        counted::variants(),
        elementwise::variants(),
        gemm::variants(),
        gradients::variants(),
        group_norm::variants(),
        lrn::variants(),
        matmul::variants(),
        movement::variants(),
        optimize::variants(),
        pool2d::variants(),
        reduce::variants(),
        resample::variants(),
        softmax::variants(),
        sort::variants(),
        weighted_cross_entropy::variants(),
    ];
    let make = |(shader, constants): (&'static Shader, Constants)| Specialisation {
        shader: shader.name,
        activation: shader.activation.unwrap_or_default(),
        source: shader.source(),
        constants,
    };
    all.into_iter().flatten().map(make).collect()
}

/// A number that changes with the shaders that can be chosen: times of others say nothing.
pub(crate) fn fingerprint() -> u64 {
    let mut sources: Vec<&str> = Vec::new();
    for (shader, _) in [conv2d::variants(), gemm::variants(), matmul::variants()].concat() {
        // The texts of all activations differ in the name of a function alone.
        let stands_for_others = shader.activation.is_none_or(Activation::is_none);
        if stands_for_others && !sources.contains(&shader.source()) {
            sources.push(shader.source());
        }
    }
    crate::file::hash(sources.concat().as_bytes())
}

/// Executes an op.
pub(crate) fn execute(
    cx: &Context,
    op: &Op,
    inputs: &[Source<'_>],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let types = inputs.iter().map(|x| x.ty.dtype).chain([output.dtype]);
    if let Some(dtype) = unsupported_type(op, types) {
        let reason = format!("it has no kernel for {dtype} here; the CPU has one");
        return Err(cx.gpu.unsupported(op.name(), reason));
    }
    if output.count() == 0 {
        return cx.allocate(0);
    }
    run(cx, op, inputs, output).map_err(|error| named(error, op))
}

/// Names the op in what memory says of its operands.
fn named(error: Error, op: &Op) -> Error {
    match error {
        Error::Unsupported { device, op: "", reason } => {
            Error::Unsupported { device, op: op.name(), reason }
        }
        error => error,
    }
}

fn run(cx: &Context, op: &Op, x: &[Source<'_>], output: &TensorType) -> Result<GpuBuffer> {
    match op {
        Op::Unary(op) => elementwise::unary(cx, op, x[0]),
        Op::UnaryGrad(op) => gradients::unary_grad(cx, op, [x[0], x[1]]),
        Op::Binary(op) => elementwise::binary(cx, op, [x[0], x[1]], output),
        Op::Compare(op) => elementwise::compare(cx, op, [x[0], x[1]], output),
        Op::Select(_) => elementwise::select(cx, [x[0], x[1], x[2]], output),
        Op::Cast(_) => elementwise::cast(cx, x[0], output.dtype),
        Op::MatMul(op) => matmul::matmul(cx, op, x, output),
        Op::Reduce(op) => reduce::reduce(cx, op, x[0], output),
        Op::ArgReduce(op) => reduce::arg_reduce(cx, op, x[0], output),
        Op::CumulativeSum(op) => sort::cumulative_sum(cx, op, x[0], output),
        Op::ArgSort(op) => sort::arg_sort(cx, op, x[0], output),
        Op::Softmax(op) => softmax::softmax(cx, op, x[0], output),
        Op::CrossEntropy(_) => softmax::cross_entropy(cx, x[0], x[1], output),
        Op::CrossEntropyGrad(_) => gradients::cross_entropy_grad(cx, [x[0], x[1], x[2]], output),
        Op::WeightedCrossEntropy(op) => {
            weighted_cross_entropy::weighted_cross_entropy(cx, op, [x[0], x[1], x[2]], None, output)
        }
        Op::WeightedCrossEntropyGrad(op) => weighted_cross_entropy::weighted_cross_entropy(
            cx,
            &op.0,
            [x[0], x[1], x[2]],
            Some(x[3]),
            output,
        ),
        Op::ReluGrad(_) => gradients::relu_grad(cx, [x[0], x[1]]),
        Op::Permute(op) => movement::permute(cx, op, x[0], output),
        Op::Slice(op) => movement::slice(cx, op, x[0], output),
        Op::Concatenate(op) => movement::concatenate(cx, op, x, output),
        Op::Pad(op) => movement::pad(cx, op, x[0], output),
        Op::Flip(op) => movement::flip(cx, op, x[0], output),
        Op::PadImage(pad) => resample::forward(cx, op.name(), |a, n| pad.taps(a, n), x[0], output),
        Op::PadImageGrad(grad) => {
            resample::gradient(cx, op.name(), |a, n| grad.pad.taps(a, n), x[0], output)
        }
        Op::Gather(op) => movement::gather(cx, op, x[0], x[1], output),
        Op::GatherGrad(op) => gradients::gather_grad(cx, op, [x[0], x[1]], output),
        Op::TakeAlong(op) => along::take_along(cx, op, [x[0], x[1]], output),
        Op::Scatter(op) => along::scatter(cx, op, [x[0], x[1], x[2]], output),
        Op::Conv2d(op) => conv2d::conv2d(cx, op, x, output),
        Op::Conv2dInputGrad(op) => conv2d::input_grad(cx, op, [x[0], x[1]], output),
        Op::Conv2dWeightGrad(op) => conv2d::weight_grad(cx, op, [x[0], x[1]], output),
        Op::ConvTranspose2d(op) => conv2d::transposed(cx, op, x, output),
        Op::MaxPool2d(op) => pool2d::pool(cx, op, false, x[0], output),
        Op::AvgPool2d(op) => pool2d::pool(cx, &op.0, true, x[0], output),
        Op::MaxPool2dGrad(op) => pool2d::max_grad(cx, &op.0, [x[0], x[1], x[2]], output),
        Op::AvgPool2dGrad(op) => pool2d::average_grad(cx, &op.pool, x[0], output),
        Op::Resize(resize) => {
            resample::forward(cx, op.name(), |a, n| resize.taps(a, n), x[0], output)
        }
        Op::ResizeGrad(grad) => {
            resample::gradient(cx, op.name(), |a, n| grad.resize.taps(a, n), x[0], output)
        }
        Op::Lrn(op) => lrn::lrn(cx, op, x[0], output),
        Op::LrnGrad(op) => lrn::lrn_grad(cx, &op.0, [x[0], x[1]], output),
        Op::Moments(_) => batch_norm::moments(cx, x[0], output),
        Op::BatchNorm(op) => batch_norm::batch_norm(cx, op, x, output),
        Op::BatchNormSums(op) => batch_norm::sums(cx, op, x, output),
        Op::BatchNormGrad(op) => batch_norm::grad(cx, op, x, output),
        Op::BatchNormScaleGrad(op) => batch_norm::scale_grad(cx, op, [x[0], x[1]], output),
        Op::RunningMoments(op) => batch_norm::running_moments(cx, op, [x[0], x[1]], output),
        Op::GroupNorm(op) => group_norm::group_norm(cx, op, [x[0], x[1], x[2]], output),
        Op::GroupNormSums(op) => group_norm::sums(cx, &op.0, [x[0], x[1]], output),
        Op::GroupNormGrad(op) => group_norm::grad(cx, &op.0, [x[0], x[1], x[2]], output),
        Op::Dropout(op) => counted::dropout(cx, op, x[0]),
        Op::Uniform(op) => counted::uniform(cx, op, output),
        Op::Normal(op) => counted::normal(cx, op, output),
        Op::Fill(op) => counted::fill(cx, op, output),
        Op::Custom(op) => custom::custom(cx, op, x, output),
        other => Err(cx.gpu.unsupported(other.name(), "there is no kernel for it")),
    }
}

/// The first of these types of operands and output that there is no kernel of the op for.
fn unsupported_type(op: &Op, types: impl IntoIterator<Item = DType>) -> Option<DType> {
    let moves = matches!(
        op,
        Op::Select(_)
            | Op::Permute(_)
            | Op::Slice(_)
            | Op::Concatenate(_)
            | Op::Pad(_)
            | Op::Flip(_)
            | Op::Gather(_)
            | Op::TakeAlong(_)
            | Op::Scatter(_)
            | Op::Fill(_)
    );
    let takes = |dtype: &DType| match dtype {
        DType::F32 | DType::F16 | DType::U32 => true,
        dtype => moves && movement::moves(*dtype),
    };
    types.into_iter().find(|dtype| !takes(dtype))
}

/// Whether there is a kernel for an op.
pub(crate) fn supports(op: &Op, inputs: &[TensorType]) -> bool {
    let output = match op {
        Op::Cast(op) => Some(op.dtype),
        Op::Fill(op) => Some(op.ty.dtype),
        Op::Custom(_) => op.output(inputs).ok().map(|ty| ty.dtype),
        // That of an operand, or one that there always are kernels for.
        _ => None,
    };
    if unsupported_type(op, inputs.iter().map(|x| x.dtype).chain(output)).is_some() {
        return false;
    }
    if let Op::Custom(op) = op {
        return custom::supports(op, inputs);
    }
    // A list, since `Op` grows and a new one has no kernel here yet.
    matches!(
        op,
        Op::Unary(_)
            | Op::UnaryGrad(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Select(_)
            | Op::Cast(_)
            | Op::MatMul(_)
            | Op::Reduce(_)
            | Op::ArgReduce(_)
            | Op::CumulativeSum(_)
            | Op::ArgSort(_)
            | Op::Softmax(_)
            | Op::CrossEntropy(_)
            | Op::CrossEntropyGrad(_)
            | Op::WeightedCrossEntropy(_)
            | Op::WeightedCrossEntropyGrad(_)
            | Op::ReluGrad(_)
            | Op::Permute(_)
            | Op::Slice(_)
            | Op::Concatenate(_)
            | Op::Pad(_)
            | Op::PadImage(_)
            | Op::PadImageGrad(_)
            | Op::Flip(_)
            | Op::Gather(_)
            | Op::GatherGrad(_)
            | Op::TakeAlong(_)
            | Op::Scatter(_)
            | Op::Conv2d(_)
            | Op::Conv2dInputGrad(_)
            | Op::Conv2dWeightGrad(_)
            | Op::ConvTranspose2d(_)
            | Op::MaxPool2d(_)
            | Op::MaxPool2dGrad(_)
            | Op::AvgPool2d(_)
            | Op::AvgPool2dGrad(_)
            | Op::Resize(_)
            | Op::ResizeGrad(_)
            | Op::Lrn(_)
            | Op::LrnGrad(_)
            | Op::Moments(_)
            | Op::BatchNorm(_)
            | Op::BatchNormSums(_)
            | Op::BatchNormGrad(_)
            | Op::BatchNormScaleGrad(_)
            | Op::RunningMoments(_)
            | Op::GroupNorm(_)
            | Op::GroupNormSums(_)
            | Op::GroupNormGrad(_)
            | Op::Dropout(_)
            | Op::Uniform(_)
            | Op::Normal(_)
            | Op::Fill(_)
            | Op::SgdMomentum(_)
            | Op::Optimize(_)
    )
}

/// The names of the kernels that an op would be computed by, where there are several to choose from.
pub(crate) fn algorithm(
    cx: &Context,
    op: &Op,
    inputs: &[TensorType],
    output: &TensorType,
) -> Option<String> {
    let algorithms = match op {
        Op::Conv2d(op) => conv2d::algorithms(cx, op, inputs, output),
        Op::MatMul(op) => matmul::algorithms(cx, op, inputs, output),
        _ => return None,
    };
    // What cannot be computed here has none; nor has what has no elements.
    let names: Vec<String> = algorithms.ok()?.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// Executes ops that update their targets.
pub(crate) fn execute_updates(cx: &Context, updates: &[Update<'_>]) -> Result<()> {
    for Update { op, targets, inputs } in updates {
        let states = match op {
            Op::SgdMomentum(_) => Some(1),
            Op::Optimize(step) => Some(step.states()),
            _ => None,
        };
        if inputs.len() != 1 || states.is_none_or(|states| targets.len() != 1 + states) {
            return Err(cx.gpu.unsupported(op.name(), "it updates no such targets in place"));
        }
    }
    optimize::update(cx, updates)
}

#[cfg(test)]
mod tests {
    use striate_tensor::conformance::samples;

    /// The ops without a kernel, and why.
    const DECLINED: &[(&str, &str)] = &[(
        "conv2d_int8",
        "WGSL has products of integers of 8 bits on few adapters; f32 runs instead",
    )];

    #[test]
    fn every_op_is_supported_but_for_those_that_are_listed() {
        for sample in samples() {
            let name = sample.op.name();
            let listed = DECLINED.iter().any(|(listed, _)| *listed == name);
            let supported = super::supports(&sample.op, &sample.types());
            assert!(
                supported != listed,
                "{:?} supported: {supported}, listed: {listed}",
                sample.op
            );
        }
    }
}
