//! The gradient of images that are bound, and the parts that its depth is computed in.

use striate_tensor::{Result, Shape, TensorType};

use crate::buffer::{Source, View};
use crate::kernels::constants::{BOTH, Constants, combinations};
use crate::kernels::conv2d::convolution::Extents;
use crate::kernels::gemm::sum;
use crate::pipelines::Shader;
use crate::queue::Context;

/// What launches of this folder are called.
pub(super) const OP: &str = "conv2d_weight_grad";

/// Pixels that a part has at least: fewer cost more to add than they bring. And at most: one sum loses
/// digits over many, and systems take back a GPU that is busy for seconds.
pub(super) const PIXELS: [usize; 2] = [512, 4096];

/// The gradient of images that are bound.
pub(super) struct Gradient<'a> {
    pub(super) extents: &'a Extents,
    pub(super) images: usize,
    pub(super) x: (&'a View, bool),
    pub(super) dy: (&'a View, bool),
    /// f32.
    pub(super) dw: &'a View,
    /// It is added to what `dw` holds.
    pub(super) accumulate: bool,
    /// There is room for so many parts.
    pub(super) most_parts: usize,
}

impl Gradient<'_> {
    /// The depth of the product.
    pub(super) fn pixels(&self) -> usize {
        self.images * self.extents.out_rows * self.extents.out_cols
    }

    /// Weights of an output: a cell of the kernel and a channel each.
    pub(super) fn columns(&self) -> usize {
        self.extents.kernel.iter().product::<usize>()
            * (self.extents.channels / self.extents.groups)
    }

    /// The parts of the pixels, for so many workgroups in all where one part has `groups` of them.
    pub(super) fn split(&self, groups: usize, wanted: usize) -> Split {
        Split::new(self.pixels(), groups, wanted, self.most_parts)
    }

    /// Outputs of a group.
    pub(super) fn rows(&self) -> usize {
        self.extents.out / self.extents.groups
    }
}

/// The parts that the depth of a product is split into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) parts: usize,
    /// Pixels of each but the last.
    pub(super) pixels: usize,
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
pub(super) fn in_parts(
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

/// Of a shader with loads of vectors of either operand, which are of f32.
pub(super) fn operand_variants(shader: &'static Shader) -> Vec<(&'static Shader, Constants)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_split_where_there_are_few_workgroups() {
        assert_eq!(Split::new(10_000, 1, 8, 100), Split { parts: 8, pixels: 1250 });
        assert_eq!(Split::new(10_000, 3, 8, 100), Split { parts: 3, pixels: 3334 });
        assert_eq!(Split::new(4000, 8, 8, 100), Split { parts: 1, pixels: 4000 });
        // Parts are neither too small nor too large, and there is one of nothing.
        assert_eq!(Split::new(1000, 1, 8, 100), Split { parts: 2, pixels: 512 });
        assert_eq!(Split::new(100_000, 8, 8, 100), Split { parts: 25, pixels: 4096 });
        assert_eq!(Split::new(0, 1, 8, 100), Split { parts: 1, pixels: 512 });
        // An image whose parts there is no room for has larger ones.
        assert_eq!(Split::new(100_000, 1, 8, 2), Split { parts: 2, pixels: 50_000 });
    }
}
