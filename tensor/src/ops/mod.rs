//! Ops as data: what can be asked of a device.
//!
//! Each op is a small struct of its parameters, in the file of its name, with its shape rule, its
//! cost, its gradient rule and the [`Tensor`] methods that ask for it. [`Op`] is the sum of them.
//! What an op computes is defined by its plain version in [`reference`](mod@crate::reference).

mod activation;
mod adaptive;
mod along;
mod arg_sort;
mod batch_norm;
mod batch_statistics;
mod binary;
mod cast;
mod compare;
mod concatenate;
mod conv2d;
mod conv2d_int8;
mod conv_transpose2d;
mod cross_entropy;
mod cumulative_sum;
mod custom;
mod dropout;
mod fill;
mod flip;
mod gather;
mod gradient;
mod group_norm;
mod int8_weights;
mod kinds;
mod lrn;
mod matmul;
mod optimize;
mod pad;
mod pad_image;
mod permute;
mod phases;
mod pool2d;
mod random;
mod rearrange;
mod reduce;
mod registry;
mod relu;
mod resize;
mod select;
mod sgd;
mod slice;
mod softmax;
mod table;
mod taps;
mod unary;
mod unary_grad;
mod weighted_cross_entropy;

pub use activation::Activation;
pub use adaptive::adaptive_windows;
pub use along::{Scatter, TakeAlong};
pub use arg_sort::ArgSort;
pub use batch_norm::{BatchNorm, BatchNormGrad, BatchNormSums, Moments};
pub use batch_statistics::{BatchNormScaleGrad, RunningMoments};
pub use binary::{Binary, BinaryKind};
pub use cast::Cast;
pub use compare::{Compare, CompareKind};
pub use concatenate::Concatenate;
pub use conv_transpose2d::ConvTranspose2d;
pub use conv2d::{Algorithm, Conv2d, Conv2dInputGrad, Conv2dWeightGrad};
pub use conv2d_int8::{Conv2dInt8, Levels};
pub use cross_entropy::{CrossEntropy, CrossEntropyGrad};
pub use cumulative_sum::CumulativeSum;
pub use custom::{CpuKernel, Custom, CustomOp, MAX_SHADER_OPERANDS};
pub use dropout::Dropout;
pub use fill::Fill;
pub use flip::Flip;
pub use gather::{Gather, GatherGrad};
pub use gradient::{Backward, Saved};
pub use group_norm::{GroupExtents, GroupNorm, GroupNormGrad, GroupNormSums};
pub use int8_weights::int8_weights;
pub use lrn::Lrn;
pub use matmul::{MatMul, MatMulExtents};
pub use optimize::{Optimize, OptimizeFactors};
pub use pad::Pad;
pub use pad_image::{Border, PadImage, PadImageGrad};
pub use permute::Permute;
pub use phases::Phase;
pub use pool2d::{AvgPool2dGrad, Pool2d, Ties};
pub use random::{Normal, Uniform};
pub use rearrange::{BlockOrder, Rearrangement};
pub use reduce::{ArgReduce, ArgReduceKind, Axes, Reduce, ReduceKind};
pub use registry::CustomOps;
pub use relu::ReluGrad;
pub use resize::{Coordinates, Interpolation, Nearest, Resize, ResizeGrad};
pub use select::Select;
pub use sgd::SgdMomentum;
pub use slice::Slice;
pub use softmax::Softmax;
pub use table::{Differentiable, OpFacts};
pub use taps::Taps;
pub use unary::{Slope, Unary, UnaryKind};
pub use unary_grad::UnaryGrad;
pub use weighted_cross_entropy::{WeightedCrossEntropy, WeightedCrossEntropyGrad};

use crate::{DType, Error, Result, Shape, Tensor, TensorType};

/// What an op costs, by counting: the same on every device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Arithmetic operations; a multiplication and an addition count as two.
    pub flops: u64,
    /// Bytes of all operands, each read once.
    pub bytes_read: u64,
    /// Bytes of the output.
    pub bytes_written: u64,
}

/// What every op knows of itself.
pub trait OpRule {
    /// The name in errors, profiles and benchmarks: `conv2d`.
    fn name(&self) -> &'static str;

    /// The type of the output for such operands: the shape rule.
    ///
    /// # Errors
    /// Where operands or parameters do not fit; the message says what was expected.
    fn output(&self, inputs: &[TensorType]) -> Result<TensorType>;

    /// Arithmetic operations for operands that the shape rule accepted.
    fn flops(&self, inputs: &[TensorType], output: &TensorType) -> u64;

    /// What [`gradient`](OpRule::gradient) needs of the forward pass, where these operands want a
    /// gradient; nothing else is kept.
    fn saved(&self, _wanted: &[bool]) -> Saved {
        Saved::NOTHING
    }

    /// The gradient rule: for each operand its gradient, made of other ops from that of the output;
    /// none where it is 0 everywhere, or [not wanted](Backward::wants).
    ///
    /// # Errors
    /// [`Error::Gradient`] where there is no rule; what the ops say.
    fn gradient(&self, _cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Err(Error::gradient(self.name(), "this op has no gradient rule"))
    }
}

macro_rules! ops {
    ($($(#[$doc:meta])* $variant:ident($rule:ty): $names:expr, $gradient:expr;)*) => {
        /// An op: what to compute, without the operands.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Op {
            $($(#[$doc])* $variant($rule),)*
        }

        impl Op {
            /// What is known of each op without its parameters. Lists of ops are made of it, or
            /// tests compare them with it, so that an op cannot be left out of one unseen.
            pub const TABLE: &'static [OpFacts] = &[
                $(OpFacts {
                    variant: stringify!($variant),
                    names: $names,
                    gradient: $gradient,
                },)*
            ];

            fn rule(&self) -> &dyn OpRule {
                match self { $(Op::$variant(rule) => rule,)* }
            }

            /// What the table says of this op.
            pub fn facts(&self) -> &'static OpFacts {
                enum Variant { $($variant,)* }
                let place = match self { $(Op::$variant(_) => Variant::$variant as usize,)* };
                &Op::TABLE[place]
            }
        }

        $(impl From<$rule> for Op {
            fn from(rule: $rule) -> Self { Op::$variant(rule) }
        })*
    };
}

use Differentiable::{All, Of, Without};
use table::{CONSTANT, SECOND};

ops! {
    /// One number to one number, element by element.
    Unary(Unary): UnaryKind::NAMES, Of(&[0]);
    /// The gradient of a function of each element.
    UnaryGrad(UnaryGrad): &["unary_grad"], Without(SECOND);
    /// Two numbers to one, with broadcasting.
    Binary(Binary): BinaryKind::NAMES, Of(&[0, 1]);
    /// Two numbers to a truth value, with broadcasting.
    Compare(Compare): CompareKind::NAMES, Without("a truth value has no slope");
    /// One of two values by a truth value, with broadcasting.
    Select(Select): &["select"], Of(&[1, 2]);
    /// Matrix product, with bias and ReLU where asked.
    MatMul(MatMul): &["matmul"], Of(&[0, 1, 2]);
    /// Sum, mean, product, maximum or minimum over axes.
    Reduce(Reduce): ReduceKind::NAMES, Of(&[0]);
    /// The index of the maximum or minimum along an axis.
    ArgReduce(ArgReduce): ArgReduceKind::NAMES, Without("an index has no slope");
    /// For each entry along an axis the sum of those up to it.
    CumulativeSum(CumulativeSum): &["cumulative_sum"], Of(&[0]);
    /// The indices that put an axis in order.
    ArgSort(ArgSort): &["arg_sort"], Without("an index has no slope");
    /// Softmax or its logarithm along an axis.
    Softmax(Softmax): &["softmax", "log_softmax"], Of(&[0]);
    /// Cross-entropy of logits against labels.
    CrossEntropy(CrossEntropy): &["cross_entropy"], Of(&[0]);
    /// The gradient of cross-entropy in the logits.
    CrossEntropyGrad(CrossEntropyGrad): &["cross_entropy_grad"], Without(SECOND);
    /// Cross-entropy with smoothed labels, weights of classes and ignored labels.
    WeightedCrossEntropy(WeightedCrossEntropy): &["weighted_cross_entropy"], Of(&[0]);
    /// The gradient of that in the logits.
    WeightedCrossEntropyGrad(WeightedCrossEntropyGrad): &["weighted_cross_entropy_grad"],
        Without(SECOND);
    /// The gradient of ReLU.
    ReluGrad(ReluGrad): &["relu_grad"], Without(SECOND);
    /// Axes in another order.
    Permute(Permute): &["permute"], Of(&[0]);
    /// A range of each axis.
    Slice(Slice): &["slice"], Of(&[0]);
    /// Tensors end to end along an axis.
    Concatenate(Concatenate): &["concatenate"], All;
    /// A border of one value around a tensor.
    Pad(Pad): &["pad"], Of(&[0]);
    /// A border of an image's own pixels around it.
    PadImage(PadImage): &["pad_image"], Of(&[0]);
    /// The gradient of a border of an image's own pixels.
    PadImageGrad(PadImageGrad): &["pad_image_grad"], Without(SECOND);
    /// Entries of an axis by index.
    Gather(Gather): &["gather"], Of(&[0]);
    /// The gradient of taking entries by index.
    GatherGrad(GatherGrad): &["gather_grad"], Without(SECOND);
    /// For each index the entry along an axis that it names, in its own line.
    TakeAlong(TakeAlong): &["take_along"], Of(&[0]);
    /// Entries along an axis replaced, or added to, by an index each.
    Scatter(Scatter): &["scatter", "scatter_add"], Of(&[0, 2]);
    /// Another element type.
    Cast(Cast): &["cast"], Of(&[0]);
    /// Convolution, with bias and ReLU where asked.
    Conv2d(Conv2d): &["conv2d"], Of(&[0, 1, 2, 3]);
    /// Convolution with integers of 8 bits.
    Conv2dInt8(Conv2dInt8): &["conv2d_int8"], Without("it rounds its operands: inference only");
    /// The gradient of a convolution in its input.
    Conv2dInputGrad(Conv2dInputGrad): &["conv2d_input_grad"], Without(SECOND);
    /// The gradient of a convolution in its weights.
    Conv2dWeightGrad(Conv2dWeightGrad): &["conv2d_weight_grad"], Without(SECOND);
    /// Transposed convolution, with bias where asked.
    ConvTranspose2d(ConvTranspose2d): &["conv_transpose2d"], Of(&[0, 1, 2]);
    /// The maximum of each window.
    MaxPool2d(Pool2d): &["max_pool2d"], Of(&[0]);
    /// The gradient of max pooling.
    MaxPool2dGrad(pool2d::MaxPool2dGrad): &["max_pool2d_grad"], Without(SECOND);
    /// The mean of each window.
    AvgPool2d(pool2d::AvgPool2d): &["avg_pool2d"], Of(&[0]);
    /// The gradient of average pooling.
    AvgPool2dGrad(AvgPool2dGrad): &["avg_pool2d_grad"], Without(SECOND);
    /// Images of another size.
    Resize(Resize): &["resize"], Of(&[0]);
    /// The gradient of images of another size.
    ResizeGrad(ResizeGrad): &["resize_grad"], Without(SECOND);
    /// Local response normalization across channels.
    Lrn(Lrn): &["lrn"], Of(&[0]);
    /// The gradient of local response normalization.
    LrnGrad(lrn::LrnGrad): &["lrn_grad"], Without(SECOND);
    /// The mean and the variance of each channel.
    Moments(Moments): &["moments"], Of(&[0]);
    /// Batch normalization, with an addend and an activation where asked.
    BatchNorm(BatchNorm): &["batch_norm"], Of(&[0, 1, 2, 3, 4]);
    /// The sums that the gradients of batch normalization are made of.
    BatchNormSums(BatchNormSums): &["batch_norm_sums"], Without(SECOND);
    /// The gradient of batch normalization in its input.
    BatchNormGrad(BatchNormGrad): &["batch_norm_grad"], Without(SECOND);
    /// The gradient of batch normalization in its scale.
    BatchNormScaleGrad(BatchNormScaleGrad): &["batch_norm_scale_grad"], Without(SECOND);
    /// Running moments, one mini-batch on.
    RunningMoments(RunningMoments): &["running_moments"],
        Without("what a network keeps of mini-batches is not trained");
    /// Normalization of groups of channels: layer, group and instance normalization.
    GroupNorm(GroupNorm): &["group_norm"], Of(&[0, 1, 2]);
    /// The gradients of group normalization in scale and shift.
    GroupNormSums(GroupNormSums): &["group_norm_sums"], Without(SECOND);
    /// The gradient of group normalization in its input.
    GroupNormGrad(GroupNormGrad): &["group_norm_grad"], Without(SECOND);
    /// Elements zeroed at random.
    Dropout(Dropout): &["dropout"], Of(&[0]);
    /// Uniform random numbers.
    Uniform(Uniform): &["uniform"], Without(CONSTANT);
    /// Normal random numbers.
    Normal(Normal): &["normal"], Without(CONSTANT);
    /// One value everywhere.
    Fill(Fill): &["fill"], Without(CONSTANT);
    /// Axes reversed.
    Flip(Flip): &["flip"], Of(&[0]);
    /// A step of gradient descent with momentum, in place.
    SgdMomentum(SgdMomentum): &["sgd_momentum"], Without("it updates its operands in place");
    /// A step of another optimizer, in place.
    Optimize(Optimize): Optimize::NAMES, Without("it updates its operands in place");
    /// A user's own op: its names and its gradient are its own.
    Custom(Custom): &[], Without("a user's own op says itself whether it has one");
}

pub use lrn::LrnGrad;
pub use pool2d::{AvgPool2d, MaxPool2dGrad};

impl Op {
    /// The name in errors, profiles and benchmarks: `conv2d`.
    pub fn name(&self) -> &'static str {
        self.rule().name()
    }

    /// The type of the output for operands of these types: the shape rule.
    ///
    /// # Errors
    /// Where operands or parameters do not fit; the message says what was expected.
    pub fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        self.rule().output(inputs).map_err(|error| match error {
            // An output too large to exist: the shape does not know which op asked for it.
            Error::Shape { op: "shape", expected, got } => {
                Error::Shape { op: self.name(), expected, got }
            }
            error => error,
        })
    }

    /// What the gradient rule needs of the forward pass.
    pub(crate) fn saved(&self, wanted: &[bool]) -> Saved {
        self.rule().saved(wanted)
    }

    /// The gradient rule.
    pub(crate) fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        self.rule().gradient(cx)
    }

    /// Arithmetic and memory traffic for operands that the shape rule accepted.
    ///
    /// # Errors
    /// As [`output`](Op::output).
    pub fn cost(&self, inputs: &[TensorType]) -> Result<Cost> {
        let output = self.output(inputs)?;
        Ok(Cost {
            flops: self.rule().flops(inputs, &output),
            bytes_read: inputs.iter().map(|ty| ty.size_bytes() as u64).sum(),
            bytes_written: output.size_bytes() as u64,
        })
    }
}

/// The operands as an array of the number that the op takes.
fn operands<const N: usize>(op: &'static str, inputs: &[TensorType]) -> Result<[TensorType; N]> {
    <[TensorType; N]>::try_from(inputs).map_err(|_| Error::Operands {
        op,
        expected: N.to_string(),
        got: inputs.len(),
    })
}

/// The operands where the last one is present only if `optional`.
fn operands_and_bias(
    op: &'static str,
    inputs: &[TensorType],
    bias: bool,
) -> Result<(TensorType, TensorType, Option<TensorType>)> {
    match (inputs, bias) {
        (&[a, b], false) => Ok((a, b, None)),
        (&[a, b, c], true) => Ok((a, b, Some(c))),
        _ => Err(Error::Operands {
            op,
            expected: if bias { "3" } else { "2" }.into(),
            got: inputs.len(),
        }),
    }
}

fn float(op: &'static str, what: &'static str, ty: &TensorType) -> Result<()> {
    if ty.dtype.is_float() {
        return Ok(());
    }
    Err(Error::DType { op, what, expected: "f32 or f16", got: ty.dtype })
}

/// Refuses the types that are storage only.
fn number(op: &'static str, what: &'static str, ty: &TensorType) -> Result<()> {
    if ty.dtype.is_float() || ty.dtype == DType::U32 {
        return Ok(());
    }
    Err(Error::DType { op, what, expected: "f32, f16 or u32", got: ty.dtype })
}

fn of_dtype(op: &'static str, what: &'static str, ty: &TensorType, dtype: DType) -> Result<()> {
    if ty.dtype == dtype {
        return Ok(());
    }
    Err(Error::DType { op, what, expected: dtype.name(), got: ty.dtype })
}

fn same_shape(op: &'static str, what: &str, expected: &Shape, got: &Shape) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::shape(op, format!("{what} of shape {expected}"), got))
}
