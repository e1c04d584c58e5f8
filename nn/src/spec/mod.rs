//! Networks as data: what [`NetworkSpec`] and its layers hold, and how they are stored.
//!
//! The JSON form is kebab-case and stable: fields are added, never renamed. What has a default may
//! be left out; a field that does not exist is an error, so that a slip of the pen is found. What an
//! older version of this crate wrote is read, and what an older version knows is written as it was.

mod axes;
pub(crate) use axes::{pair, sides};
mod builder;
mod chain;
mod custom;
mod layer;
mod network;
mod node;
mod pixels;
mod squeeze_excite;

pub use axes::{PerAxis, PerSide};
pub use builder::{Branches, Misplaced};
pub use chain::ChainLayer;
pub use layer::{Init, LayerKind, LayerSpec, PlainSpec};
pub use network::{Auxiliary, NetworkSpec};
pub(crate) use node::INPUT;
pub use node::{Inputs, Node};
pub use squeeze_excite::{SqueezeExcite, squeeze_excite};

pub use crate::layers::activation::{Activation, activation};
pub use crate::layers::adaptive_pool::AdaptivePoolSpec;
pub use crate::layers::batch_norm::{BatchNormSpec, batch_norm};
pub use crate::layers::channels::ChannelsSpec;
pub use crate::layers::conv_transpose2d::{ConvTransposeSpec, conv_transpose2d};
#[allow(deprecated, reason = "the old name is exported as long as it is there")]
pub use crate::layers::conv2d::{ConvSpec, conv, conv2d};
pub use crate::layers::custom::CustomSpec;
pub use crate::layers::dropout::DropoutSpec;
pub use crate::layers::full_connect::{FullConnectSpec, full_connect};
pub use crate::layers::group_norm::{GroupNormSpec, InstanceNormSpec, group_norm, instance_norm};
pub use crate::layers::layer_norm::{LayerNormSpec, layer_norm};
pub use crate::layers::lrn::{LrnSpec, lrn};
pub use crate::layers::pad::{Border, PadSpec, pad};
pub use crate::layers::pool::{PoolSpec, pool};
pub use crate::layers::prelu::{PreluSpec, prelu};
pub use crate::layers::rearrange::{BlockSpec, ChannelShuffleSpec};
pub use crate::layers::resize::{ResizeSpec, Target, resize, upsample};
pub use crate::layers::scale::ScaleSpec;
pub use crate::layers::stochastic_depth::StochasticDepthSpec;
