//! Striate's layers, modules and network specifications.
//!
//! A network is data: a [`NetworkSpec`] holds layers with what they see. It can be verified,
//! summarised, stored as JSON, lowered to a [graph](striate_graph) of ops, and built on a device into a
//! [`Network`]. Whoever wants more composes [`layers`] by hand: anything with a `forward` is a
//! [`Module`].
//!
//! * [`spec`]: the specification and its builder.
//! * [`shapes`](LayerShape), [`verify`](Verified), [`summary`](Summary): what follows from a
//!   specification without weights.
//! * [`Network`]: a specification with its weights on a device.
//! * [`layers`]: the same layers as modules; [`init`]: fresh weights; [`loss`]: what to minimise;
//!   [`Optimizer`]: how to go down a gradient, [`Sgd`]: as ccv does; [`update_statistics`]: what batch normalization remembers.
//!
//! Activations are `[n, rows, cols, channels]`, convolution weights `[out, kernel rows, kernel
//! cols, channels / groups]`, full-connect weights `[out, in]`. Weights may be half precision
//! everywhere; arithmetic is single precision.

mod error;
pub mod init;
pub mod layers;
pub mod loss;
mod lower;
mod network;
mod optimizer;
mod parameters;
mod shapes;
pub mod spec;
mod statistics;
mod summary;
mod verify;

pub use error::{Error, Result};
pub use init::Seed;
pub use layers::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, BatchMoments, BatchNorm2d, Buffer, BufferKey,
    ChannelShuffle, Context, Conv2d, ConvTranspose2d, DepthToSpace, Dropout, Flatten, FullConnect,
    GlobalAvgPool2d, GroupNorm, InstanceNorm2d, LayerNorm, LayerScale, Lrn, MaxPool2d, Module,
    ModuleField, Pad2d, Prelu, Relu, Resize2d, Sequential, SpaceToDepth, StochasticDepth, Visitor,
    VisitorMut, named_buffers, named_parameters, parameter_count, parameters_mut, require_grad,
    set_tensors, to,
};
pub use network::{Calibration, LayerParameters, Metadata, Network, RunLimits};
pub use optimizer::{
    Method, Optimizer, OptimizerState, ParameterStep, Parameters, Rates, Sgd, leaf_parameters,
    named_gradients, parameter_gradients,
};
pub use parameters::{BufferInfo, ParameterInfo, Role};
pub use shapes::{LayerShape, MAX_ELEMENTS, Scan};
#[allow(deprecated, reason = "the old name is exported as long as it is there")]
pub use spec::conv;
pub use spec::{
    Activation, AdaptivePoolSpec, Auxiliary, BatchNormSpec, BlockSpec, Border, Branches,
    ChainLayer, ChannelShuffleSpec, ChannelsSpec, ConvSpec, ConvTransposeSpec, CustomSpec,
    DropoutSpec, FullConnectSpec, GroupNormSpec, Init, Inputs, InstanceNormSpec, LayerKind,
    LayerNormSpec, LayerSpec, LrnSpec, Misplaced, NetworkSpec, Node, PadSpec, PerAxis, PerSide,
    PlainSpec, PoolSpec, PreluSpec, ResizeSpec, ScaleSpec, SqueezeExcite, StochasticDepthSpec,
    Target, activation, batch_norm, conv_transpose2d, conv2d, full_connect, group_norm,
    instance_norm, layer_norm, lrn, pad, pool, prelu, resize, squeeze_excite, upsample,
};
pub use statistics::update_statistics;
/// Makes a struct a module of its fields: it writes all of the trait [`Module`] but `forward`, for which
/// it calls the type's own method.
///
/// Each field is a [`ModuleField`]: a module, a parameter ([`Tensor`](striate_tensor::Tensor)), a [`Buffer`], or
/// an `Option`, a `Vec` or an array of one. It is shown under the field's name (its place, in a tuple
/// struct), in the order of the fields. On a field, `#[module(skip)]` leaves it out, for what is none of
/// these, and `#[module(name = "conv1")]` gives it another name. A type parameter that a field has must
/// be a module.
///
/// ```
/// use striate_nn::{BatchNorm2d, Context, Conv2d, Module, batch_norm, conv2d, named_parameters};
/// use striate_tensor::{Device, RandomKey, Reference, Result, Tensor};
///
/// #[derive(Module)]
/// struct Block {
///     conv: Conv2d,
///     norm: BatchNorm2d,
///     shortcut: Option<Conv2d>,
///     #[module(skip)]
///     times: usize,
/// }
///
/// impl Block {
///     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
///         let mut y = x.clone();
///         for _ in 0..self.times {
///             y = self.norm.forward(&self.conv.forward(&y, cx)?, cx)?.relu()?;
///         }
///         match &self.shortcut {
///             Some(shortcut) => y.add(&shortcut.forward(x, cx)?),
///             None => y.add(x),
///         }
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let device = Device::new(Reference::new());
/// let conv = Conv2d::new(conv2d(4, 3).padding(1), 4, RandomKey::new(7, 0), &device)?;
/// let norm = BatchNorm2d::new(batch_norm(), 4, &device)?;
/// let block = Block { conv, norm, shortcut: None, times: 2 };
/// let names: Vec<String> = named_parameters(&block).into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["conv.weight", "conv.bias", "norm.weight", "norm.bias"]);
/// let x = Tensor::ones([1, 5, 5, 4], &device)?;
/// assert_eq!(Module::forward(&block, &x, &Context::inference())?.shape(), x.shape());
/// # Ok(())
/// # }
/// ```
///
/// A type without a method `forward` of its own is refused, since the trait's would call itself:
///
/// ```compile_fail,E0034
/// use striate_nn::{FullConnect, Module};
///
/// #[derive(Module)]
/// struct Block { layer: FullConnect }
/// ```
///
/// So is a field that is no [`ModuleField`] and not skipped:
///
/// ```compile_fail,E0277
/// # use striate_nn::{Context, FullConnect, Module};
/// # use striate_tensor::{Result, Tensor};
/// #[derive(Module)]
/// struct Block { layer: FullConnect, times: usize }
/// # impl Block {
/// #     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> { self.layer.forward(x, cx) }
/// # }
/// ```
///
/// and an enum, whose parameters differ from value to value:
///
/// ```compile_fail
/// # use striate_nn::{Context, FullConnect, Module};
/// # use striate_tensor::{Result, Tensor};
/// #[derive(Module)]
/// enum Block { Layer(FullConnect), Nothing }
/// # impl Block {
/// #     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> { Ok(x.clone()) }
/// # }
/// ```
///
/// The macro finds this crate under its own name, or as `striate::nn` where the deriving crate depends on
/// the facade alone; `#[module(crate = some::path)]` on the struct says where else it is.
pub use striate_derive::Module;
/// What derived code names: no part of the interface.
#[doc(hidden)]
pub mod derive {
    pub use striate_tensor::{Result, Tensor};
}
pub use striate_graph::{BufferId, Cancel, ParameterId};
pub use summary::{LayerSummary, Summary};
pub use verify::{CcvLimit, Verified};
