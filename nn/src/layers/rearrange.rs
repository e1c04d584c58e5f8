//! Elements that move between channels and pixels: channel shuffle, depth to space and back.

use serde::{Deserialize, Serialize};
use striate_graph::{NodeOp, Value};
use striate_tensor::ops::{BlockOrder, Permute, Rearrangement};
use striate_tensor::{Result, Tensor};

use super::{Context, Module};
use crate::LayerKind;
use crate::lower::{Layer, Lowering};

/// Channels of `groups` in turn, so that the groups of the next convolution see some of each (Zhang,
/// Zhou, Lin and Sun, "ShuffleNet", 2018): channel `group · size + place` becomes channel
/// `place · groups + group`. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ChannelShuffleSpec {
    /// How many groups there are; they divide the channels.
    pub groups: usize,
}

/// Channels that become blocks of pixels, or the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BlockSpec {
    /// Rows and cols of a block of pixels.
    pub block: usize,
    /// How its channels lie among those of one pixel: `dcr` (left out) or `crd`, as in ONNX.
    #[serde(default, with = "order", skip_serializing_if = "order::is_usual")]
    pub order: BlockOrder,
}

/// The stored form of an order.
mod order {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use striate_tensor::ops::BlockOrder;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(super) fn is_usual(order: &BlockOrder) -> bool {
        *order == BlockOrder::default()
    }

    pub(super) fn name(order: BlockOrder) -> &'static str {
        match order {
            BlockOrder::Dcr => "dcr",
            BlockOrder::Crd => "crd",
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(super) fn serialize<S: Serializer>(order: &BlockOrder, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name(*order))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BlockOrder, D::Error> {
        match &*String::deserialize(from)? {
            "dcr" => Ok(BlockOrder::Dcr),
            "crd" => Ok(BlockOrder::Crd),
            other => {
                let expected = "`dcr` or `crd`";
                Err(de::Error::invalid_value(de::Unexpected::Str(other), &expected))
            }
        }
    }
}

impl Layer for ChannelShuffleSpec {
    fn detail(&self) -> String {
        format!("{} groups", self.groups)
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let channels = cx.per_image(x).last().copied().unwrap_or(0);
        cx.divides(self.groups, "channels", channels)?;
        let to = Rearrangement::channel_shuffle(&cx.shape(x), self.groups);
        lower(cx, x, to)
    }
}

impl Layer for BlockSpec {
    fn detail(&self) -> String {
        let order = if order::is_usual(&self.order) { "" } else { " crd" };
        format!("block {}{order}", self.block)
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let [rows, cols, channels] = cx.image(x)?;
        cx.at_least_one("a block", self.block)?;
        let got = || format!("a block of {}", self.block);
        let shape = cx.shape(x);
        let to = match cx.kind() {
            LayerKind::SpaceToDepth => {
                if !rows.is_multiple_of(self.block) || !cols.is_multiple_of(self.block) {
                    let expected = format!("a block that divides {rows} rows and {cols} cols");
                    return Err(cx.error(expected, got()));
                }
                Rearrangement::space_to_depth(&shape, self.block, self.order)
            }
            _ => {
                let pixels = self.block.saturating_mul(self.block);
                if !channels.is_multiple_of(pixels) {
                    let expected = format!("a block whose pixels divide {channels} channels");
                    return Err(cx.error(expected, got()));
                }
                Rearrangement::depth_to_space(&shape, self.block, self.order)
            }
        };
        lower(cx, x, to)
    }
}

fn lower(cx: &mut Lowering<'_>, x: Value, to: Result<Rearrangement>) -> crate::Result<Value> {
    let Rearrangement { split, order, output } = to.map_err(|source| cx.op_error(source))?;
    let x = cx.push_node(NodeOp::Reshape(split), &[x], false)?;
    let x = cx.push(Permute { order }, &[x])?;
    cx.push_node(NodeOp::Reshape(output), &[x], false)
}

/// Channels of so many groups in turn: see [`ChannelShuffleSpec`]. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelShuffle(pub usize);

impl Module for ChannelShuffle {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.channel_shuffle(self.0)
    }
}

/// Channels become blocks of pixels: `[n, rows, cols, block² · channels]` to
/// `[n, rows · block, cols · block, channels]`. PyTorch's `PixelShuffle` is that of order
/// [`Crd`](BlockOrder::Crd).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthToSpace(pub BlockSpec);

impl Module for DepthToSpace {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.depth_to_space(self.0.block, self.0.order)
    }
}

/// Blocks of pixels become channels: `[n, rows · block, cols · block, channels]` to
/// `[n, rows, cols, block² · channels]`. PyTorch's `PixelUnshuffle` is that of order
/// [`Crd`](BlockOrder::Crd).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceToDepth(pub BlockSpec);

impl Module for SpaceToDepth {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.space_to_depth(self.0.block, self.0.order)
    }
}
