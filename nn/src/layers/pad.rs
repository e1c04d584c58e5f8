//! A border around images.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::ops::{self, PadImage};
use striate_tensor::{Op, Result, Tensor};

use super::{Context, Module};
use crate::lower::{Layer, Lowering};
use crate::spec::PerSide;

/// A border around images: `[n, rows, cols, channels]` to `[n, top + rows + bottom, left + cols + right,
/// channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PadSpec {
    /// How wide it is, `[[top, bottom], [left, right]]`.
    #[serde(with = "crate::spec::sides")]
    pub padding: [[usize; 2]; 2],
    /// What it is made of; left out for a value.
    #[serde(default, skip_serializing_if = "is_value")]
    pub border: Border,
    /// The value of a border of one value.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub value: f32,
}

/// What a border is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Border {
    /// One value.
    #[default]
    Value,
    /// The image, mirrored at its outermost pixels.
    Reflect,
    /// The outermost pixels again and again.
    Edge,
    /// The pixels of the other side.
    Wrap,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_value(border: &Border) -> bool {
    *border == Border::Value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(value: &f32) -> bool {
    value.to_bits() == 0
}

/// A border of zeros: one number of pixels, `[rows, cols]`, or `[[top, bottom], [left, right]]`.
pub fn pad(padding: impl PerSide) -> PadSpec {
    PadSpec { padding: padding.per_side(), border: Border::Value, value: 0.0 }
}

impl PadSpec {
    /// Of another value.
    #[must_use]
    pub fn value(self, value: f32) -> Self {
        PadSpec { border: Border::Value, value, ..self }
    }

    /// Of the image, mirrored at its outermost pixels: PyTorch's `ReflectionPad2d`.
    #[must_use]
    pub fn reflect(self) -> Self {
        PadSpec { border: Border::Reflect, ..self }
    }

    /// Of the outermost pixels: PyTorch's `ReplicationPad2d`.
    #[must_use]
    pub fn edge(self) -> Self {
        PadSpec { border: Border::Edge, ..self }
    }

    /// Of the pixels of the other side: PyTorch's `CircularPad2d`.
    #[must_use]
    pub fn wrap(self) -> Self {
        PadSpec { border: Border::Wrap, ..self }
    }

    fn op(&self) -> Op {
        let widths = self.padding;
        let border = match self.border {
            Border::Value => {
                let widths = vec![[0, 0], widths[0], widths[1], [0, 0]];
                return ops::Pad { widths, value: self.value }.into();
            }
            Border::Reflect => ops::Border::Reflect,
            Border::Edge => ops::Border::Edge,
            Border::Wrap => ops::Border::Wrap,
        };
        PadImage { widths, border }.into()
    }
}

impl Layer for PadSpec {
    fn detail(&self) -> String {
        let width = match self.padding {
            [[top, bottom], [left, right]] if [top; 3] == [bottom, left, right] => top.to_string(),
            [[top, bottom], [left, right]] => format!("{top},{bottom}x{left},{right}"),
        };
        match self.border {
            Border::Value => format!("{width} of {}", self.value),
            Border::Reflect => format!("{width} reflect"),
            Border::Edge => format!("{width} edge"),
            Border::Wrap => format!("{width} wrap"),
        }
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let [rows, cols, channels] = cx.image(x)?;
        let wide = |extent: usize, [before, after]: [usize; 2]| {
            extent.saturating_add(before).saturating_add(after)
        };
        let extents = [wide(rows, self.padding[0]), wide(cols, self.padding[1]), channels];
        cx.bounded(&extents, "outputs")?;
        cx.push(self.op(), &[x])
    }
}

/// A border around images: see [`PadSpec`] and [`pad`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pad2d(pub PadSpec);

impl Module for Pad2d {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.shape().nhwc("pad", "x")?;
        x.device().execute(&self.0.op(), &[x])
    }
}
