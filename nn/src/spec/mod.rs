//! Networks as data: what [`NetworkSpec`] and its layers hold, and how they are stored.
//!
//! The JSON form is kebab-case and stable: fields are added, never renamed. What has a default may
//! be left out; a field that does not exist is an error, so that a slip of the pen is found.

mod builder;

use serde::{Deserialize, Serialize};
use striate_tensor::ops;

pub use builder::{Misplaced, conv, full_connect, lrn, pool};

use crate::Result;

/// A network as data: its input and its layers, without weights.
///
/// ```
/// use striate_nn::{NetworkSpec, conv, pool};
///
/// # fn main() -> striate_nn::Result<()> {
/// let spec = NetworkSpec::new([28, 28, 1])
///     .conv(conv(20, 5)).max_pool(pool(2).stride(2))
///     .conv(conv(50, 5)).max_pool(pool(2).stride(2))
///     .full_connect(500).relu().dropout(0.5)
///     .full_connect(10);
/// let summary = spec.verify(10)?.summary();
/// assert_eq!(summary.parameters, 431_080);
/// println!("{summary}"); // a table: shapes, parameters, MACs
///
/// assert_eq!(NetworkSpec::from_json(&spec.to_json()?)?, spec);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "StoredNetworkSpec")]
pub struct NetworkSpec {
    /// The name, for people; may be empty.
    pub name: String,
    /// What the network sees: rows, cols, channels.
    pub input: [usize; 3],
    /// Rows and cols of the whole image that views are cut from, and of the mean image.
    pub image: [usize; 2],
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
    /// Methods of the builder that were called where they cannot be, such as
    /// [`relu`](NetworkSpec::relu) after a pooling layer. Empty for a sound network; one with any is
    /// refused by [`shapes`](NetworkSpec::shapes), [`verify`](NetworkSpec::verify),
    /// [`build`](NetworkSpec::build) and as JSON.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "refuse_misplaced")]
    pub misplaced: Vec<Misplaced>,
}

/// What was asked and cannot be has no stored form, and must not be lost in silence.
fn refuse_misplaced<S: serde::Serializer>(
    misplaced: &[Misplaced],
    _: S,
) -> std::result::Result<S::Ok, S::Error> {
    let calls: Vec<String> = (misplaced.iter())
        .map(|call| format!("{} after {} layers", call.method, call.layers))
        .collect();
    Err(serde::ser::Error::custom(format!("the builder was asked for {}", calls.join(" and for "))))
}

/// The stored form: a file may leave out the name, and the image where it is as large as the input.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct StoredNetworkSpec {
    #[serde(default)]
    name: String,
    input: [usize; 3],
    image: Option<[usize; 2]>,
    layers: Vec<LayerSpec>,
}

impl From<StoredNetworkSpec> for NetworkSpec {
    fn from(stored: StoredNetworkSpec) -> Self {
        let StoredNetworkSpec { name, input, image, layers } = stored;
        let image = image.unwrap_or([input[0], input[1]]);
        NetworkSpec { name, input, image, layers, misplaced: Vec::new() }
    }
}

impl NetworkSpec {
    /// Where another specification computes something else: what this one has there, and what the
    /// other has. Names, dropout and what fresh weights are drawn from do not count.
    pub fn difference(&self, other: &NetworkSpec) -> Option<(String, String)> {
        let sizes = |spec: &NetworkSpec| {
            format!("input {:?}, image {:?}, {} layers", spec.input, spec.image, spec.layers.len())
        };
        if sizes(self) != sizes(other) {
            return Some((sizes(self), sizes(other)));
        }
        let layers = self.layers.iter().zip(&other.layers).enumerate();
        for (number, (own, other)) in layers {
            let (own, other) = (own.as_computed(), other.as_computed());
            if own != other {
                let text = |layer: &LayerSpec| {
                    let json = serde_json::to_string(layer).unwrap_or_default();
                    format!("layer {number} as {json}")
                };
                return Some((text(&own), text(&other)));
            }
        }
        None
    }

    /// The specification that this JSON text holds. Only its form is checked:
    /// [`verify`](NetworkSpec::verify) says whether it makes sense.
    ///
    /// # Errors
    /// [`Error::Json`](crate::Error::Json) with the line and column where it is not one.
    pub fn from_json(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    /// The specification as JSON text, indented.
    ///
    /// # Errors
    /// [`Error::Json`](crate::Error::Json) where it cannot be written: where it was built of methods
    /// that cannot be where they were called.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

/// A layer as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LayerSpec {
    /// A convolution, with ReLU unless it says otherwise.
    Conv(ConvSpec),
    /// The maximum of each window.
    MaxPool(PoolSpec),
    /// The mean of each window.
    AvgPool(PoolSpec),
    /// Local response normalization.
    Lrn(LrnSpec),
    /// A full-connect layer: every output sees every input.
    FullConnect(FullConnectSpec),
}

impl LayerSpec {
    /// What kind of layer it is.
    pub fn kind(&self) -> LayerKind {
        match self {
            LayerSpec::Conv(_) => LayerKind::Conv,
            LayerSpec::MaxPool(_) => LayerKind::MaxPool,
            LayerSpec::AvgPool(_) => LayerKind::AvgPool,
            LayerSpec::Lrn(_) => LayerKind::Lrn,
            LayerSpec::FullConnect(_) => LayerKind::FullConnect,
        }
    }

    /// Without what inference does not depend on: dropout and initial values.
    fn as_computed(&self) -> LayerSpec {
        let mut layer = self.clone();
        match &mut layer {
            LayerSpec::Conv(conv) => conv.init = Init::default(),
            LayerSpec::FullConnect(full) => (full.init, full.dropout) = (Init::default(), 0.0),
            LayerSpec::MaxPool(_) | LayerSpec::AvgPool(_) | LayerSpec::Lrn(_) => {}
        }
        layer
    }

    /// Whether it has weights and biases.
    pub fn has_parameters(&self) -> bool {
        matches!(self, LayerSpec::Conv(_) | LayerSpec::FullConnect(_))
    }

    /// What a fresh layer starts with, where it has weights.
    pub fn init(&self) -> Option<Init> {
        match self {
            LayerSpec::Conv(conv) => Some(conv.init),
            LayerSpec::FullConnect(full) => Some(full.init),
            _ => None,
        }
    }
}

/// The kinds of layers, named as in the stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// `conv`
    Conv,
    /// `max-pool`
    MaxPool,
    /// `avg-pool`
    AvgPool,
    /// `lrn`
    Lrn,
    /// `full-connect`
    FullConnect,
}

impl LayerKind {
    /// The name in messages, tables and files.
    pub const fn name(self) -> &'static str {
        match self {
            LayerKind::Conv => "conv",
            LayerKind::MaxPool => "max-pool",
            LayerKind::AvgPool => "avg-pool",
            LayerKind::Lrn => "lrn",
            LayerKind::FullConnect => "full-connect",
        }
    }
}

impl std::fmt::Display for LayerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A convolution: `[n, rows, cols, channels]` to `[n, out rows, out cols, count]`, where `out rows
/// = (rows + 2 · padding - kernel rows) / stride + 1`, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "StoredConvSpec")]
pub struct ConvSpec {
    /// Output channels.
    pub count: usize,
    /// Rows and cols of the kernel.
    pub kernel: [usize; 2],
    /// Pixels from one output to the next.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: usize,
    /// Parts that the channels fall into, ccv's input partition: an output sees its own part only.
    pub groups: usize,
    /// ccv's output partition: as many as `groups` where JSON leaves it out. It has no effect, but
    /// it must divide `count`, and ccv's files (so training, too) want a multiple of `groups`.
    pub out_groups: usize,
    /// Negative outputs become 0. ccv cannot switch this off.
    pub relu: bool,
    /// What a fresh layer starts with.
    pub init: Init,
}

/// The stored form: what has a default may be left out.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct StoredConvSpec {
    count: usize,
    kernel: [usize; 2],
    #[serde(default = "one")]
    stride: usize,
    #[serde(default)]
    padding: usize,
    #[serde(default = "one")]
    groups: usize,
    out_groups: Option<usize>,
    #[serde(default = "yes")]
    relu: bool,
    #[serde(default)]
    init: Init,
}

impl From<StoredConvSpec> for ConvSpec {
    fn from(stored: StoredConvSpec) -> Self {
        let StoredConvSpec { count, kernel, stride, padding, groups, out_groups, relu, init } =
            stored;
        let out_groups = out_groups.unwrap_or(groups);
        ConvSpec { count, kernel, stride, padding, groups, out_groups, relu, init }
    }
}

impl ConvSpec {
    /// The op that computes it, bias included.
    pub fn op(&self) -> ops::Conv2d {
        ops::Conv2d {
            stride: [self.stride; 2],
            padding: [[self.padding; 2]; 2],
            groups: self.groups,
            bias: true,
            relu: self.relu,
            ..ops::Conv2d::default()
        }
    }
}

/// Pooling: `[n, rows, cols, channels]` to `[n, out rows, out cols, channels]`, counted as for a
/// convolution. Windows are clipped to the image: padding takes no part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PoolSpec {
    /// Rows and cols of the window.
    pub size: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// How far windows reach over the edge; less than the size.
    #[serde(default)]
    pub padding: usize,
    /// ccv's partition: stored; it has no effect.
    #[serde(default = "one")]
    pub groups: usize,
}

impl PoolSpec {
    /// The op that computes it (as max pooling; wrap it for average pooling).
    pub fn op(&self) -> ops::Pool2d {
        ops::Pool2d::square(self.size, self.stride, self.padding)
    }
}

/// Local response normalization: `y = x · (kappa + alpha · Σ x²)^-beta`, summed over `size`
/// channels around each, clipped to its own part. As in ccv, `alpha` is not divided by the size,
/// and an even size equals the next odd one. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LrnSpec {
    /// Channels in the window.
    pub size: usize,
    /// The constant of the denominator.
    pub kappa: f32,
    /// The factor of the sum of squares.
    pub alpha: f32,
    /// The power of the denominator.
    pub beta: f32,
    /// Parts that the channels fall into.
    #[serde(default = "one")]
    pub groups: usize,
}

impl LrnSpec {
    /// The op that computes it.
    pub fn op(&self) -> ops::Lrn {
        let LrnSpec { size, kappa, alpha, beta, groups } = *self;
        ops::Lrn { size, kappa, alpha, beta, groups }
    }
}

/// A full-connect layer: `[n, ..]`, flattened row, col, channel, to `[n, count]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FullConnectSpec {
    /// Outputs.
    pub count: usize,
    /// Negative outputs become 0.
    #[serde(default)]
    pub relu: bool,
    /// The probability with which training mutes an output (after the ReLU); 0 for none.
    #[serde(default)]
    pub dropout: f32,
    /// What a fresh layer starts with.
    #[serde(default)]
    pub init: Init,
}

impl FullConnectSpec {
    /// The op that computes it on `[n, in]` and weights `[count, in]`, bias included.
    pub fn op(&self) -> ops::MatMul {
        ops::MatMul { transpose_a: false, transpose_b: true, bias: true, relu: self.relu }
    }

    /// What training multiplies the outputs by that dropout keeps: `1 / (1 - rate)`.
    pub fn kept_scale(&self) -> f32 {
        1.0 / (1.0 - self.dropout)
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

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}
