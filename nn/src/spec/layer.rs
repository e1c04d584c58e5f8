//! A layer as data, of any kind.

use serde::{Deserialize, Serialize};

use super::{
    Activation, AdaptivePoolSpec, BatchNormSpec, BlockSpec, ChannelShuffleSpec, ChannelsSpec,
    ConvSpec, ConvTransposeSpec, CustomSpec, DropoutSpec, FullConnectSpec, GroupNormSpec,
    InstanceNormSpec, LayerNormSpec, LrnSpec, PadSpec, PoolSpec, PreluSpec, ResizeSpec, ScaleSpec,
    StochasticDepthSpec,
};
use crate::lower::Layer;

macro_rules! layers {
    ($($(#[$doc:meta])* $variant:ident($spec:ty) $name:literal,)*) => {
        /// A layer as data.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        #[non_exhaustive]
        pub enum LayerSpec {
            $($(#[$doc])* #[serde(rename = $name)] $variant($spec),)*
        }

        /// The kinds of layers, named as in the stored form.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum LayerKind {
            $(#[doc = concat!("`", $name, "`")] #[serde(rename = $name)] $variant,)*
        }

        impl LayerSpec {
            /// What kind of layer it is.
            pub fn kind(&self) -> LayerKind {
                match self { $(LayerSpec::$variant(_) => LayerKind::$variant,)* }
            }

            /// What every kind of layer knows of itself.
            pub(crate) fn rule(&self) -> &dyn Layer {
                match self { $(LayerSpec::$variant(spec) => spec,)* }
            }
        }

        impl LayerKind {
            /// All kinds.
            pub const ALL: &[LayerKind] = &[$(LayerKind::$variant,)*];

            /// The name in messages, tables and files.
            pub const fn name(self) -> &'static str {
                match self { $(LayerKind::$variant => $name,)* }
            }
        }
    };
}

layers! {
    /// A convolution, with bias and ReLU where it says so.
    Conv(ConvSpec) "conv",
    /// A transposed convolution, with a bias where it says so.
    ConvTranspose(ConvTransposeSpec) "conv-transpose",
    /// The maximum of each window.
    MaxPool(PoolSpec) "max-pool",
    /// The mean of each window.
    AvgPool(PoolSpec) "avg-pool",
    /// The mean of all pixels, for each channel.
    GlobalAvgPool(PlainSpec) "global-avg-pool",
    /// The maximum of all pixels, for each channel.
    GlobalMaxPool(PlainSpec) "global-max-pool",
    /// The means of as many windows as asked for.
    AdaptiveAvgPool(AdaptivePoolSpec) "adaptive-avg-pool",
    /// The maxima of as many windows as asked for.
    AdaptiveMaxPool(AdaptivePoolSpec) "adaptive-max-pool",
    /// Images of another size.
    Resize(ResizeSpec) "resize",
    /// A border around images.
    Pad(PadSpec) "pad",
    /// Local response normalization.
    Lrn(LrnSpec) "lrn",
    /// Batch normalization.
    BatchNorm(BatchNormSpec) "batch-norm",
    /// Normalization of each pixel over its channels.
    LayerNorm(LayerNormSpec) "layer-norm",
    /// Normalization of groups of channels, each image by itself.
    GroupNorm(GroupNormSpec) "group-norm",
    /// Normalization of each channel of an image by itself.
    InstanceNorm(InstanceNormSpec) "instance-norm",
    /// A learnt factor for each channel.
    Scale(ScaleSpec) "scale",
    /// A full-connect layer: every output sees every input.
    FullConnect(FullConnectSpec) "full-connect",
    /// A function of each element.
    Activation(Activation) "activation",
    /// ReLU with slopes below zero that are learnt.
    Prelu(PreluSpec) "prelu",
    /// Elements muted at random, in training.
    Dropout(DropoutSpec) "dropout",
    /// Whole images muted at random, in training: a branch is dropped.
    StochasticDepth(StochasticDepthSpec) "stochastic-depth",
    /// Channels of several groups in turn.
    ChannelShuffle(ChannelShuffleSpec) "channel-shuffle",
    /// Channels become blocks of pixels.
    DepthToSpace(BlockSpec) "depth-to-space",
    /// Blocks of pixels become channels.
    SpaceToDepth(BlockSpec) "space-to-depth",
    /// Each image as one row of numbers.
    Flatten(PlainSpec) "flatten",
    /// The sum of its inputs.
    Add(PlainSpec) "add",
    /// The product of its inputs.
    Multiply(PlainSpec) "multiply",
    /// Some of the channels.
    Channels(ChannelsSpec) "channels",
    /// The channels of its inputs, one after another.
    Concatenate(PlainSpec) "concatenate",
    /// A user's own op.
    Custom(CustomSpec) "custom",
}

/// The specification of a layer that has nothing to specify: its kind says all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainSpec {}

impl LayerSpec {
    /// Without what inference does not depend on: dropout and initial values.
    pub(crate) fn as_computed(&self) -> LayerSpec {
        let mut layer = self.clone();
        match &mut layer {
            LayerSpec::Conv(conv) => conv.init = Init::default(),
            LayerSpec::ConvTranspose(conv) => conv.init = Init::default(),
            LayerSpec::FullConnect(full) => (full.init, full.dropout) = (Init::default(), 0.0),
            LayerSpec::Dropout(dropout) => dropout.rate = 0.0,
            LayerSpec::Scale(scale) => scale.initial = 1.0,
            LayerSpec::StochasticDepth(depth) => depth.rate = 0.0,
            LayerSpec::Prelu(prelu) => prelu.initial = PreluSpec::default().initial,
            _ => {}
        }
        layer
    }

    /// Whether it does nothing in inference.
    pub(crate) fn is_for_training(&self) -> bool {
        matches!(self, LayerSpec::Dropout(_) | LayerSpec::StochasticDepth(_))
    }

    /// Its numbers in short, as in the table of a network: `11x11/4 pad 1`.
    pub fn detail(&self) -> String {
        self.rule().detail()
    }

    /// Whether it has parameters.
    pub fn has_parameters(&self) -> bool {
        matches!(
            self,
            LayerSpec::Conv(_)
                | LayerSpec::ConvTranspose(_)
                | LayerSpec::FullConnect(_)
                | LayerSpec::BatchNorm(_)
                | LayerSpec::LayerNorm(_)
                | LayerSpec::GroupNorm(_)
                | LayerSpec::InstanceNorm(_)
                | LayerSpec::Scale(_)
                | LayerSpec::Prelu(_)
        )
    }

    /// What a fresh layer starts with, where it has weights.
    pub fn init(&self) -> Option<Init> {
        match self {
            LayerSpec::Conv(conv) => Some(conv.init),
            LayerSpec::ConvTranspose(conv) => Some(conv.init),
            LayerSpec::FullConnect(full) => Some(full.init),
            _ => None,
        }
    }
}

impl std::fmt::Display for LayerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What a fresh layer starts with: weights uniform in `±gain / √(fan in + count)`, constant biases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Init {
    /// The factor of the weights' range, ccv's `glorot`.
    pub gain: f32,
    /// All biases.
    pub bias: f32,
}

impl Default for Init {
    /// A gain of √2, as all of ccv's networks have, and biases of 0.
    fn default() -> Self {
        Init { gain: std::f32::consts::SQRT_2, bias: 0.0 }
    }
}
