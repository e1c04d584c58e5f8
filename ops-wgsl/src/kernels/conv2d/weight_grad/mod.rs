//! The gradient in the weights: a product of the outputs' gradients and the windows that they saw,
//! over all pixels. That depth is split into parts by the shapes alone, whose sums are added in their
//! order.

mod depthwise;
mod gradient;
mod simple;
mod tiled;
mod wide;

use std::ops::Range;

use striate_tensor::ops::Conv2dWeightGrad;
use striate_tensor::{DType, Result, TensorType};

use super::convolution::{Extents, image_parts};
use crate::buffer::{GpuBuffer, Source};
use crate::choice::{Class, Size};
use crate::kernels::constants::Constants;
use crate::kernels::elementwise::computed;
use crate::kernels::gemm::PARTS_BYTES;
use crate::pipelines::Shader;
use crate::queue::Context;
use gradient::{Gradient, PIXELS};

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = simple::variants();
    all.extend(wide::variants());
    all.extend(depthwise::variants());
    all
}

impl Gradient<'_> {
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
    }
}
