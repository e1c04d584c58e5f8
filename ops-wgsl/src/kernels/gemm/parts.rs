//! Products whose depth is computed in parts, for more workgroups. Each part is written for itself, and
//! they are added in their order: the shapes and the device alone decide where the depth is split.

use striate_tensor::ops::Activation;
use striate_tensor::{Result, Shape, TensorType};

use super::product::{Added, Gemm, Parts, SUMS, Side, Windows};
use crate::buffer::{Source, View};
use crate::choice::{Size, Tile};
use crate::kernels::activations::{Activated, activated};
use crate::kernels::constants::{BOTH, Constants, sets};
use crate::pipelines::{Shader, flag};
use crate::queue::{Context, Groups, Launch};

static SUM: Activated = activated!("gemm/sum.wgsl", 1, 4, "gemm/product.wgsl");

/// Columns of an invocation, and invocations of a workgroup.
const COLUMNS: usize = 4;
const INVOCATIONS: usize = 64;
/// Parts begin at multiples of so many steps, which `tiled.wgsl` takes at a time.
const DEPTH: usize = 16;
/// The parts that exist at a time take no more than this.
pub(in crate::kernels) const PARTS_BYTES: usize = 64 << 20;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let names = ["HALF_BIAS", "BIAS"].map(|name| (name, BOTH));
    let fixed: [(&str, &[f64]); 2] = [("HALF_A", &[0.0]), ("HALF_B", &[0.0])];
    let of = |sums: &[_]| sets(&[&fixed[..], &names, sums].concat());
    SUM.variants(&SUMS.into_iter().flat_map(of).collect::<Vec<_>>())
}

/// Writes to `y` the sum of parts that hold `count` elements each and follow each other in `sums`; or
/// adds it to what `y` holds.
pub(in crate::kernels) fn sum(
    cx: &Context,
    op: &'static str,
    (sums, parts): (&View, usize),
    (y, count): (&View, usize),
    accumulate: bool,
) -> Result<()> {
    let side = Side { view: sums, half: false, line: count, step: count };
    let row = Gemm {
        op,
        m: 1,
        n: count,
        channels: parts,
        windows: Windows::matrix(1),
        a: side,
        b: side,
        y,
        half_y: false,
        row_y: count,
        strided: None,
        bias: None,
        step_bias: 0,
        residual: None,
        activation: Activation::None,
        accumulate,
        pixels: None,
        parts: None,
        axes: &[],
    };
    row.sum(cx)
}

impl Gemm<'_> {
    /// Elements of all products.
    fn count(&self) -> usize {
        self.batch() * self.m * self.n
    }

    /// The parts that the depth is to be split into, if it is.
    pub(super) fn split(&self, cx: &Context, tile: Tile) -> Option<Parts> {
        let (depth, count) = (self.depth(), self.count());
        let size = Size { m: self.m, n: self.n, depth, batch: self.batch() };
        let room = PARTS_BYTES.min(cx.gpu.chunk_bytes() as usize) / (4 * count).max(1);
        let parts = size.parts(cx.class, tile).min(room).max(1);
        let steps = depth.div_ceil(parts).next_multiple_of(DEPTH).max(DEPTH);
        let parts = Parts { count: depth.div_ceil(steps), steps, y: count };
        (parts.count > 1).then_some(parts)
    }

    /// Launches the kernel of a tile for each of the parts, and adds these.
    pub(super) fn launch_parts(&self, cx: &Context, tile: Tile, parts: Parts) -> Result<()> {
        let ty = TensorType::f32(Shape::new(&[parts.count, parts.y])?);
        let buffer = cx.allocate_for(&ty)?;
        let sums = cx.whole(Source { buffer: &buffer, ty })?;
        // In a part, products follow each other.
        let mut step = (self.m * self.n) as u32;
        let mut to = Vec::with_capacity(self.axes.len());
        let mut from = Vec::with_capacity(self.axes.len());
        for &(extent, [a, b, y]) in self.axes {
            to.push((extent, [a, b, step]));
            from.push((extent, [step, step, y]));
            step *= extent as u32;
        }
        let products = Gemm {
            y: &sums,
            half_y: false,
            row_y: self.n,
            strided: None,
            bias: None,
            residual: None,
            activation: Activation::None,
            accumulate: false,
            parts: Some(parts),
            axes: &to,
            ..*self
        };
        products.launch_tiles(cx, Some(tile))?;
        let side = Side { view: &sums, half: false, line: self.n, step: parts.y };
        let end = Gemm {
            channels: parts.count,
            // The rows of y lie as before.
            windows: Windows { kernel: [1, 1], ..self.windows },
            a: side,
            b: side,
            axes: &from,
            ..*self
        };
        end.sum(cx)
    }

    /// The sum over the depth of `a`, with what is added to it.
    fn sum(&self, cx: &Context) -> Result<()> {
        let (bias, half_bias) = self.bias.unwrap_or((self.a.view, false));
        let a = self.a.view;
        let rows = self.batch() * self.m;
        cx.launch(Launch {
            op: self.op,
            shader: SUM.of(self.activation),
            constants: &[
                ("HALF_A", 0.0),
                ("HALF_B", 0.0),
                ("HALF_BIAS", flag(half_bias)),
                ("BIAS", flag(self.bias.is_some())),
                ("RESIDUAL", Added::flag(self.residual.as_ref())),
                ("ACCUMULATE", flag(self.accumulate)),
                ("HALF_Y", flag(self.half_y)),
            ],
            params: &self.params(),
            outputs: &[self.y],
            inputs: &[a, a, bias, self.residual.map_or(a, |residual| residual.view)],
            groups: Groups::Flat((rows * self.n.div_ceil(COLUMNS)).div_ceil(INVOCATIONS)),
        })
    }
}
