//! Chooses a kernel of this folder.

use striate_tensor::Result;

use super::convolution::{Asked, Convolution, Extents};
use super::{depthwise, simple, tiled, winograd};
use crate::choice::{Algorithm, Class, Size};
use crate::queue::Context;

/// Chooses a kernel for a convolution and launches it.
pub(super) fn launch(cx: &Context, convolution: &Convolution<'_>) -> Result<()> {
    let asked = convolution.asked();
    let algorithm = asked.algorithm(cx);
    cx.choices.record(|| asked.case(), algorithm);
    match algorithm {
        Algorithm::Simple | Algorithm::MatVec => simple::launch(cx, convolution),
        Algorithm::Wide => tiled::launch(cx, convolution, None),
        Algorithm::Tiled(tile) => tiled::launch(cx, convolution, Some(tile)),
        Algorithm::Winograd => winograd::launch(cx, convolution),
        Algorithm::Depthwise => depthwise::launch(cx, convolution),
    }
}

impl Asked<'_> {
    /// What the table says.
    fn usual(&self, cx: &Context) -> Algorithm {
        let Extents { out_rows, out_cols, out, groups, kernel, channels, .. } = *self.extents;
        match cx.class {
            Class::Simple => Algorithm::Simple,
            _ if winograd::is_usual(cx, self) => Algorithm::Winograd,
            // A channel by itself is no product of matrices.
            class if depthwise::takes(self.extents) && !matches!(class, Class::Tile(_)) => {
                Algorithm::Depthwise
            }
            class => {
                let size = Size {
                    m: self.images * out_rows * out_cols,
                    n: out / groups,
                    depth: kernel[0] * kernel[1] * (channels / groups),
                    batch: groups,
                };
                Algorithm::of_tile(size.tile(class))
            }
        }
    }

    /// The kernel for it.
    pub(super) fn algorithm(&self, cx: &Context) -> Algorithm {
        let takes = |algorithm| match algorithm {
            Algorithm::MatVec => false,
            Algorithm::Winograd => winograd::takes(cx, self),
            Algorithm::Depthwise => depthwise::takes(self.extents),
            Algorithm::Simple | Algorithm::Wide | Algorithm::Tiled(_) => true,
        };
        cx.choices.choose(|| self.case(), self.usual(cx), takes)
    }
}
