//! The gradient in the weights: a product of the outputs' gradients and the windows that they saw,
//! over all pixels. That depth is split into parts by the shapes alone, whose sums are added in their
//! order.

mod depthwise;
mod simple;
mod tiled;
mod wide;

use std::ops::Range;

use striate_tensor::ops::Conv2dWeightGrad;
use striate_tensor::{DType, Result, Shape, TensorType};

use super::{Extents, image_parts};
use crate::buffer::{GpuBuffer, Source, View};
use crate::choice::{Class, Size};
use crate::kernels::constants::{BOTH, Constants, combinations};
use crate::kernels::elementwise::computed;
use crate::kernels::gemm::{PARTS_BYTES, sum};
use crate::pipelines::Shader;
use crate::queue::Context;

/// What [`Launch`]es of this folder are called.
const OP: &str = "conv2d_weight_grad";

/// Pixels that a part has at least: fewer cost more to add than they bring. And at most: one sum loses
/// digits over many, and systems take back a GPU that is busy for seconds.
const PIXELS: [usize; 2] = [512, 4096];

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = simple::variants();
    all.extend(wide::variants());
    all.extend(depthwise::variants());
    all
}

/// Of a shader with loads of vectors of either operand, which are of f32.
fn operand_variants(shader: &'static Shader) -> Vec<(&'static Shader, Constants)> {
    let plain: &[f64] = &[0.0];
    let mut all = Vec::new();
    for (half_x, vector_x) in [(BOTH, plain), (plain, &[1.0])] {
        for (half_dy, vector_dy) in [(BOTH, plain), (plain, &[1.0])] {
            let constants = [
                ("HALF_X", half_x),
                ("HALF_DY", half_dy),
                ("VECTOR_X", vector_x),
                ("VECTOR_DY", vector_dy),
                ("ACCUMULATE", BOTH),
            ];
            all.extend(combinations(shader, &constants));
        }
    }
    all
}

/// The gradient of images that are bound.
struct Gradient<'a> {
    extents: &'a Extents,
    images: usize,
    x: (&'a View, bool),
    dy: (&'a View, bool),
    /// f32.
    dw: &'a View,
    /// It is added to what `dw` holds.
    accumulate: bool,
    /// There is room for so many parts.
    most_parts: usize,
}

impl Gradient<'_> {
    /// The depth of the product.
    fn pixels(&self) -> usize {
        self.images * self.extents.out_rows * self.extents.out_cols
    }

    /// Weights of an output: a cell of the kernel and a channel each.
    fn columns(&self) -> usize {
        self.extents.kernel.iter().product::<usize>()
            * (self.extents.channels / self.extents.groups)
    }

    /// Chooses a kernel and launches it.
    fn launch(&self, cx: &Context) -> Result<()> {
        let batch = self.extents.groups * (self.pixels() / PIXELS[0]).max(1);
        let size = Size { m: self.rows(), n: self.columns(), depth: 0, batch };
        match (cx.class, size.tile(cx.class)) {
            (Class::Simple, _) => simple::launch(cx, self),
            _ if super::depthwise::takes(self.extents) => depthwise::launch(cx, self),
            (_, Some(tile)) => tiled::launch(cx, self, tile),
            (_, None) => wide::launch(cx, self),
        }
    }

    /// The parts of the pixels, for so many workgroups in all where one part has `groups` of them.
    fn split(&self, groups: usize, wanted: usize) -> Split {
        Split::new(self.pixels(), groups, wanted, self.most_parts)
    }

    /// Outputs of a group.
    fn rows(&self) -> usize {
        self.extents.out / self.extents.groups
    }
}

/// The parts that the depth of a product is split into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    parts: usize,
    /// Pixels of each but the last.
    pixels: usize,
}

impl Split {
    /// See [`Gradient::split`].
    fn new(pixels: usize, groups: usize, wanted: usize, most_parts: usize) -> Self {
        let parts = wanted.div_ceil(groups.max(1)).max(1);
        let [least, most] = PIXELS;
        let each = pixels.div_ceil(parts).clamp(least, most).max(pixels.div_ceil(most_parts));
        Split { parts: pixels.div_ceil(each).max(1), pixels: each }
    }
}

/// Writes the parts of a gradient by `launch`, which gets where to and whether it adds to that; and
/// adds them.
fn in_parts(
    cx: &Context,
    gradient: &Gradient<'_>,
    split: Split,
    launch: impl FnOnce(&View, bool) -> Result<()>,
) -> Result<()> {
    if split.parts == 1 {
        return launch(gradient.dw, gradient.accumulate);
    }
    let count = gradient.extents.out * gradient.columns();
    let ty = TensorType::f32(Shape::new(&[split.parts, count])?);
    let sums = cx.allocate_for(&ty)?;
    let view = cx.whole(Source { buffer: &sums, ty })?;
    launch(&view, false)?;
    sum(cx, OP, (&view, split.parts), (gradient.dw, count), gradient.accumulate)
}

pub(in crate::kernels) fn weight_grad(
    cx: &Context,
    op: &Conv2dWeightGrad,
    [x, dy]: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let extents = Extents::new(&op.conv, &x.ty.shape, &output.shape, &dy.ty.shape)?;
    computed(cx, output, |dw| {
        let written = cx.written(dw.buffer, DType::F32, 0..output.count())?;
        let room = PARTS_BYTES.min(cx.gpu.chunk_bytes() as usize);
        let most_parts = (room / (4 * output.count())).max(1);
        let all = image_parts(cx, &extents, x, dy);
        let mut images = in_room(&all, extents.out_rows * extents.out_cols, most_parts);
        if images.is_empty() {
            // A sum of nothing is still to be written.
            images.push(0..0);
        }
        for (i, images) in images.into_iter().enumerate() {
            let range = images.start * extents.image()..images.end * extents.image();
            let x_view = cx.view(x, range)?;
            let range = images.start * extents.out_image()..images.end * extents.out_image();
            let dy_view = cx.view(dy, range)?;
            let gradient = Gradient {
                extents: &extents,
                images: images.len(),
                x: (&x_view, x.half()),
                dy: (&dy_view, dy.half()),
                dw: &written.view,
                accumulate: i > 0,
                most_parts,
            };
            gradient.launch(cx)?;
        }
        cx.finish(dw.buffer, &written)
    })
}

/// Images of so many pixels in ranges whose parts there is room for, unless it is one image.
fn in_room(images: &[Range<usize>], pixels: usize, most_parts: usize) -> Vec<Range<usize>> {
    let most = (most_parts.saturating_mul(PIXELS[1]) / pixels.max(1)).max(1);
    let cut = |all: &Range<usize>| {
        let end = all.end;
        all.clone().step_by(most).map(move |start| start..start.saturating_add(most).min(end))
    };
    images.iter().flat_map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_taken_as_there_is_room_for_their_parts() {
        // Parts of 4096 pixels: two of an image each.
        assert_eq!(in_room(&[0..5, 5..6], 8192, 4), [0..2, 2..4, 4..5, 5..6]);
        assert_eq!(in_room(&[0..2, 2..3], 8192, 1), [0..1, 1..2, 2..3]);
        assert_eq!(in_room(&[0..4, 4..5], 1, usize::MAX), [0..4, 4..5]);
        // An image whose parts there is no room for has larger ones.
        assert_eq!(Split::new(100_000, 1, 8, 2), Split { parts: 2, pixels: 50_000 });
    }

    #[test]
    fn depth_is_split_where_there_are_few_workgroups() {
        assert_eq!(Split::new(10_000, 1, 8, 100), Split { parts: 8, pixels: 1250 });
        assert_eq!(Split::new(10_000, 3, 8, 100), Split { parts: 3, pixels: 3334 });
        assert_eq!(Split::new(4000, 8, 8, 100), Split { parts: 1, pixels: 4000 });
        // Parts are neither too small nor too large, and there is one of nothing.
        assert_eq!(Split::new(1000, 1, 8, 100), Split { parts: 2, pixels: 512 });
        assert_eq!(Split::new(100_000, 8, 8, 100), Split { parts: 25, pixels: 4096 });
        assert_eq!(Split::new(0, 1, 8, 100), Split { parts: 1, pixels: 512 });
    }
}
