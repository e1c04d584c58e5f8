//! The kinds of layers, a file each: the specification, what it lowers to, and the module for networks
//! composed by hand.
//!
//! Every module looks alike: a constructor from its specification (fresh weights) or from its
//! tensors, `forward`, `parameters`.

pub(crate) mod activation;
pub(crate) mod adaptive_pool;
pub(crate) mod batch_norm;
pub(crate) mod channels;
pub(crate) mod conv2d;
pub(crate) mod conv_transpose2d;
pub(crate) mod custom;
pub(crate) mod dropout;
mod field;
pub(crate) mod flatten;
pub(crate) mod full_connect;
pub(crate) mod group_norm;
pub(crate) mod join;
pub(crate) mod layer_norm;
pub(crate) mod lrn;
mod module;
pub(crate) mod pad;
pub(crate) mod pool;
pub(crate) mod prelu;
pub(crate) mod rearrange;
pub(crate) mod resize;
pub(crate) mod scale;
mod sequential;
pub(crate) mod stochastic_depth;

pub use activation::Relu;
pub use adaptive_pool::{AdaptiveAvgPool2d, AdaptiveMaxPool2d};
pub use batch_norm::BatchNorm2d;
pub use conv_transpose2d::ConvTranspose2d;
pub use conv2d::Conv2d;
pub use dropout::Dropout;
pub(crate) use field::Leaves;
pub use field::{ModuleField, parameter_count, set_tensors, to};
pub use flatten::Flatten;
pub use full_connect::FullConnect;
pub use group_norm::{GroupNorm, InstanceNorm2d};
pub use layer_norm::LayerNorm;
pub use lrn::Lrn;
pub(crate) use module::buffers_mut;
pub use module::{
    BatchMoments, Buffer, BufferKey, Context, Module, Visitor, VisitorMut, named_buffers,
    named_parameters, parameters_mut, require_grad,
};
pub use pad::Pad2d;
pub use pool::{AvgPool2d, GlobalAvgPool2d, MaxPool2d};
pub use prelu::Prelu;
pub use rearrange::{ChannelShuffle, DepthToSpace, SpaceToDepth};
pub use resize::Resize2d;
pub use scale::LayerScale;
pub use sequential::Sequential;
pub use stochastic_depth::StochasticDepth;
