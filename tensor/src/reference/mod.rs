//! The plain implementation of every op: what each op means.
//!
//! Loops over indices, no blocking, no vectors: short enough to be believed by reading. Floats are
//! widened to f64, all arithmetic is done there, and the result is rounded once to the type of the
//! output. Other backends are tested against it, and use it for ops that they have no kernel for.

mod along;
mod arg_sort;
mod backend;
mod batch_norm;
mod binary;
mod cast;
mod compare;
mod concatenate;
mod conv2d;
mod conv2d_int8;
mod cross_entropy;
mod cumulative_sum;
mod dropout;
mod fill;
mod flip;
mod gather;
mod group_norm;
mod lrn;
mod matmul;
mod optimize;
mod pad;
mod permute;
mod pool2d;
mod random;
mod reduce;
mod relu;
mod resample;
mod select;
mod sgd;
mod slice;
mod softmax;
mod unary;
mod unary_grad;
mod values;

pub use backend::Reference;

use crate::{DType, Error, HostTensor, HostValues, Op, Result, TensorType};
pub(crate) use values::Floats;
use values::rounded as rounded_values;

/// Executes an op on tensors in host memory.
///
/// ```
/// use striate_tensor::{HostTensor, Op, Shape, ops::Softmax, reference};
///
/// # fn main() -> striate_tensor::Result<()> {
/// let x = HostTensor::new(Shape::new(&[2])?, vec![0.0f32, 2f32.ln()])?;
/// let y = reference::execute(&Op::from(Softmax { axis: 0, log: false }), &[&x])?;
/// assert_eq!(y.values().as_slice(), Some(&[1.0f32 / 3.0, 2.0 / 3.0][..]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What the op's shape rule says; [`Error::OutOfMemory`] for an output beyond all memory;
/// [`Error::Unsupported`] for an op that updates in place.
pub fn execute(op: &Op, inputs: &[&HostTensor]) -> Result<HostTensor> {
    let types: Vec<TensorType> = inputs.iter().map(|x| x.ty()).collect();
    let output = op.output(&types)?;
    check_memory(&output)?;

    let float = |i: usize| Floats::of(inputs[i]);
    let floats = |values: Vec<f64>| rounded_values(output.dtype, &values);
    let bias = |present: bool| present.then(|| float(2));
    let shape = &output.shape;

    let values: HostValues = match op {
        Op::Unary(op) => floats(unary::unary(op, &float(0))),
        Op::UnaryGrad(op) => floats(unary_grad::unary_grad(op, &float(0), &float(1))),
        Op::Binary(op) => binary::binary(op, inputs[0], inputs[1], &output),
        Op::Compare(op) => compare::compare(op, &float(0), &float(1), shape).into(),
        Op::Select(_) => select::select(inputs[0], inputs[1], inputs[2], shape),
        Op::MatMul(op) => floats(matmul::matmul(op, &float(0), &float(1), bias(op.bias).as_ref())?),
        Op::Reduce(op) if output.dtype == DType::U32 => {
            reduce::reduce_words(op, inputs[0], shape).into()
        }
        Op::Reduce(op) => floats(reduce::reduce(op, &float(0), shape)),
        Op::ArgReduce(op) => reduce::arg_reduce(op, &float(0))?.into(),
        Op::CumulativeSum(op) => {
            let mut sums = cumulative_sum::cumulative_sum(op, &float(0))?;
            if output.dtype == DType::U32 {
                // Integers are summed modulo 2^32.
                sums.iter_mut().for_each(|sum| *sum = sum.rem_euclid(4_294_967_296.0));
            }
            floats(sums)
        }
        Op::ArgSort(op) => arg_sort::arg_sort(op, &float(0))?.into(),
        Op::Softmax(op) => floats(softmax::softmax(op, &float(0))?),
        Op::CrossEntropy(_) => floats(cross_entropy::cross_entropy(&float(0), &float(1))),
        Op::CrossEntropyGrad(_) => {
            floats(cross_entropy::cross_entropy_grad(&float(0), &float(1), &float(2)))
        }
        Op::WeightedCrossEntropy(op) => {
            floats(cross_entropy::weighted_cross_entropy(op, &float(0), &float(1), &float(2)))
        }
        Op::WeightedCrossEntropyGrad(op) => floats(cross_entropy::weighted_cross_entropy_grad(
            &op.0,
            &float(0),
            &float(1),
            &float(2),
            &float(3),
        )),
        Op::ReluGrad(_) => floats(relu::relu_grad(&float(0), &float(1))),
        Op::Permute(op) => permute::permute(op, inputs[0], shape),
        Op::Slice(op) => slice::slice(op, inputs[0], shape),
        Op::Concatenate(op) => concatenate::concatenate(op, inputs, &output)?,
        Op::Pad(op) => pad::pad(op, inputs[0], shape),
        Op::PadImage(op) => {
            floats(resample::forward(|axis, extent| op.taps(axis, extent), &float(0), shape))
        }
        Op::PadImageGrad(op) => {
            let taps = [0, 1].map(|axis| op.pad.taps(axis, op.input[axis]));
            floats(resample::gradient(&taps, &float(0), shape))
        }
        Op::Gather(op) => gather::gather(op, inputs[0], &float(1), shape),
        Op::GatherGrad(op) => floats(gather::gather_grad(op, &float(0), &float(1), shape)),
        Op::TakeAlong(op) => along::take_along(op, inputs[0], &float(1), shape),
        Op::Scatter(op) if op.add => {
            floats(along::scatter_add(op, &float(0), &float(1), &float(2)))
        }
        Op::Scatter(op) => along::scatter(op, inputs[0], &float(1), inputs[2]),
        Op::Cast(_) => cast::cast(inputs[0], output.dtype),
        Op::Conv2d(op) => {
            let residual = op.residual.then(|| float(inputs.len() - 1));
            let added = [bias(op.bias), residual];
            floats(conv2d::conv2d(op, &float(0), &float(1), added, shape))
        }
        Op::Conv2dInt8(op) => floats(conv2d_int8::conv2d_int8(op, inputs, shape)),
        Op::Conv2dInputGrad(op) => {
            floats(conv2d::input_grad(&op.conv, &float(0), &float(1), shape))
        }
        Op::Conv2dWeightGrad(op) => {
            floats(conv2d::weight_grad(&op.conv, &float(0), &float(1), shape))
        }
        Op::ConvTranspose2d(op) => {
            let y = conv2d::input_grad(&op.conv(), &float(0), &float(1), shape);
            floats(conv2d::with_bias(y, bias(op.bias)))
        }
        Op::MaxPool2d(op) => floats(pool2d::max(op, &float(0), shape)),
        Op::MaxPool2dGrad(op) => floats(pool2d::max_grad(&op.0, &float(0), &float(1), &float(2))),
        Op::AvgPool2d(op) => floats(pool2d::average(&op.0, &float(0), shape)),
        Op::AvgPool2dGrad(op) => floats(pool2d::average_grad(&op.pool, &float(0), shape)),
        Op::Resize(op) => {
            floats(resample::forward(|axis, extent| op.taps(axis, extent), &float(0), shape))
        }
        Op::ResizeGrad(op) => {
            let taps = [0, 1].map(|axis| op.resize.taps(axis, op.input[axis]));
            floats(resample::gradient(&taps, &float(0), shape))
        }
        Op::Lrn(op) => floats(lrn::lrn(op, &float(0))),
        Op::LrnGrad(op) => floats(lrn::lrn_grad(&op.0, &float(0), &float(1))),
        Op::Moments(_) => floats(batch_norm::moments(&float(0))),
        Op::BatchNorm(op) => {
            let residual = op.residual.then(|| float(4));
            let of_channels = [&float(1), &float(2), &float(3)];
            floats(batch_norm::batch_norm(op, &float(0), of_channels, residual.as_ref()))
        }
        Op::BatchNormSums(op) => {
            let affine = (!op.activation.is_none()).then(|| [float(3), float(4)]);
            let affine = affine.as_ref().map(|[scale, shift]| [scale, shift]);
            floats(batch_norm::sums(op, [&float(0), &float(1), &float(2)], affine))
        }
        Op::BatchNormGrad(op) => {
            let shift = (!op.activation.is_none()).then(|| float(5));
            let operands = [&float(0), &float(1), &float(2), &float(3), &float(4)];
            floats(batch_norm::grad(op, operands, shift.as_ref()))
        }
        Op::BatchNormScaleGrad(op) => floats(batch_norm::scale_grad(op, &float(0), &float(1))),
        Op::RunningMoments(op) => floats(batch_norm::running_moments(op, &float(0), &float(1))),
        Op::GroupNorm(op) => floats(group_norm::group_norm(op, &float(0), &float(1), &float(2))?),
        Op::GroupNormSums(op) => floats(group_norm::sums(&op.0, &float(0), &float(1))?),
        Op::GroupNormGrad(op) => floats(group_norm::grad(&op.0, &float(0), &float(1), &float(2))?),
        Op::Dropout(op) => floats(dropout::dropout(op, &float(0))),
        Op::Uniform(op) => random::uniform(op).into(),
        Op::Normal(op) => random::normal(op).into(),
        Op::Fill(op) => fill::fill(op),
        Op::Flip(op) => flip::flip(op, inputs[0]),
        Op::SgdMomentum(_) | Op::Optimize(_) => return Err(in_place(op, true)),
        Op::Custom(op) => return op.reference(inputs, &output),
    };
    HostTensor::new(*shape, values)
}

/// The elements of a tensor, widened: what a plain version of an op computes with.
pub fn widened(x: &HostTensor) -> Vec<f64> {
    Floats::of(x).values
}

/// A tensor of these elements, each rounded once to the element type: what a plain version of an op
/// gives.
///
/// # Errors
/// [`Error::Shape`] where the shape has another number of elements.
pub fn rounded(ty: &TensorType, values: &[f64]) -> Result<HostTensor> {
    HostTensor::new(ty.shape, rounded_values(ty.dtype, values))
}

/// Executes an op that updates its targets in place: the optimizer steps, nothing else.
///
/// # Errors
/// What the op's shape rule says of targets and inputs together; [`Error::Unsupported`] for an op
/// that gives an output.
pub fn execute_in_place(
    op: &Op,
    targets: &mut [&mut HostTensor],
    inputs: &[&HostTensor],
) -> Result<()> {
    let types: Vec<TensorType> =
        targets.iter().map(|t| t.ty()).chain(inputs.iter().map(|x| x.ty())).collect();
    op.output(&types)?;
    match (op, targets, inputs) {
        (Op::SgdMomentum(op), [w, v], [gradient]) => sgd::sgd_momentum(op, w, v, gradient),
        (Op::Optimize(op), [w, state @ ..], [gradient]) if state.len() == op.states() => {
            optimize::optimize(op, w, state, gradient);
        }
        _ => {
            let updates = matches!(op, Op::SgdMomentum(_) | Op::Optimize(_));
            return Err(in_place(op, updates));
        }
    }
    Ok(())
}

fn in_place(op: &Op, updates: bool) -> Error {
    let reason = if updates {
        "it updates targets in place and takes their number exactly"
    } else {
        "it gives an output and updates nothing in place"
    };
    Error::Unsupported { device: "reference".into(), op: op.name(), reason: reason.into() }
}

/// Refuses outputs that no allocator would give, where `vec!` would abort the process.
fn check_memory(output: &TensorType) -> Result<()> {
    // The widened copy is the largest.
    Vec::<f64>::new().try_reserve_exact(output.count()).map_err(|_| Error::OutOfMemory {
        device: "reference".into(),
        bytes: output.count().saturating_mul(size_of::<f64>()),
    })
}
