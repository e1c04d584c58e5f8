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
//!   [`Sgd`]: gradient descent; [`update_statistics`]: what batch normalization remembers.
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
mod shapes;
pub mod spec;
mod statistics;
mod summary;
mod verify;

pub use error::{Error, Result};
pub use init::Seed;
pub use layers::{
    AvgPool2d, BatchMoments, BatchNorm2d, Buffer, BufferKey, Context, Conv2d, Dropout, Flatten,
    FullConnect, GlobalAvgPool2d, Lrn, MaxPool2d, Module, Relu, Sequential, Visitor, VisitorMut,
    named_buffers, named_parameters, parameters_mut, require_grad,
};
pub use lower::{BufferInfo, ParameterInfo, Role};
pub use network::{LayerParameters, Metadata, Network, RunLimits};
pub use optimizer::{
    Parameters, Rates, Sgd, leaf_parameters, named_gradients, parameter_gradients,
};
pub use shapes::{LayerShape, MAX_ELEMENTS, Scan};
#[allow(deprecated, reason = "the old name is exported as long as it is there")]
pub use spec::conv;
pub use spec::{
    Activation, Auxiliary, BatchNormSpec, Branches, ChainLayer, ConvSpec, DropoutSpec,
    FullConnectSpec, Init, Inputs, LayerKind, LayerSpec, LrnSpec, Misplaced, NetworkSpec, Node,
    PerAxis, PerSide, PlainSpec, PoolSpec, activation, batch_norm, conv2d, full_connect, lrn, pool,
};
pub use statistics::update_statistics;
pub use striate_graph::{BufferId, Cancel, ParameterId};
pub use summary::{LayerSummary, Summary};
pub use verify::{CcvLimit, Verified};
