//! A 1×1 convolution of images whose channels are scaled first: what follows a squeeze and an excitation
//! (Hu et al., "Squeeze-and-excitation networks", 2018), in one pass. The scaled images are never in memory
//! as a whole. Each number is computed as by the two ops alone.

use striate_tensor::ops::{Binary, BinaryKind};
use striate_tensor::{DType, Link, Op, Operand, Result, TensorType};

use super::chain::Convolution;
use super::direct::Pointwise;
use crate::buffer::elements;
use crate::context::Context;
use crate::memory::Memory;
use crate::threads::SharedOutput;

/// Bytes of the images from which on it is worth while: what a second-level cache does not hold.
const IMAGE_BYTES: usize = 1 << 20;
/// Bytes of the weights up to which each task may read all of them: they stay in the second-level cache.
const WEIGHT_BYTES: usize = 1 << 19;
/// Pixels of a task at least: two register blocks of the widest vectors.
const LEAST_PIXELS: usize = 28;
/// As many tasks keep the threads of a desktop processor busy to the end.
const TASKS: usize = 32;

/// The scale and the convolution.
struct Scaled<'a> {
    scale: Operand<'a>,
    conv: Convolution<'a>,
}

impl<'a> Scaled<'a> {
    /// Of the first two of these links, where they are such.
    fn new(x: &TensorType, links: &[Link<'a>]) -> Option<Self> {
        let [product, conv, ..] = links else { return None };
        let Op::Binary(Binary { kind: BinaryKind::Mul }) = product.op else { return None };
        let scale = *product.others.first()?;
        let conv = Convolution::new(product.output, conv).filter(Convolution::is_pointwise)?;
        let [n, _, _, channels] = *x.shape.dims() else { return None };
        let floats = x.dtype == DType::F32 && scale.ty.dtype == DType::F32;
        let scales =
            scale.ty.shape.dims() == [n, 1, 1, channels] && x.shape == product.output.shape;
        (floats && scales).then_some(Scaled { scale, conv })
    }

    /// Whether it is expected to win: by the shape alone.
    fn wins(&self) -> bool {
        let e = &self.conv.e;
        4 * e.n * e.rows * e.cols * e.channels >= IMAGE_BYTES
            && 4 * e.channels * e.out <= WEIGHT_BYTES
            && e.rows * e.cols >= LEAST_PIXELS
    }
}

/// How many of these links [`execute`] would rather do at once; 0 where none.
pub(crate) fn length(x: &TensorType, links: &[Link<'_>]) -> usize {
    if Scaled::new(x, links).is_some_and(|scaled| scaled.wins()) { 2 } else { 0 }
}

/// Executes two such links; none where they are others.
pub(crate) fn execute(cx: &Context, x: &Operand<'_>, links: &[Link<'_>]) -> Result<Option<Memory>> {
    let scaled = Scaled::new(x.ty, links).filter(|_| links.len() == 2);
    let Some(Scaled { scale, conv }) = scaled else { return Ok(None) };
    let e = &conv.e;
    let product = Pointwise::new(cx, conv.op, e, &conv.weights, conv.bias.as_ref())?;
    let (x, scale) = (elements::<f32>(x)?, elements::<f32>(&scale)?);
    let residual = conv.residual.as_ref().map(elements::<f32>).transpose()?;
    let pixels = e.rows * e.cols;
    let mut y = cx.pool.take(4 * e.n * pixels * e.out)?;
    // The partition: a function of the shape alone. An image is a whole number of parts.
    let parts = TASKS.div_ceil(e.n).min(pixels.div_ceil(LEAST_PIXELS)).max(1);
    let part = product.pointers(pixels.div_ceil(parts));
    let parts = pixels.div_ceil(part);
    let target = SharedOutput::new(y.slice_mut::<f32>());
    cx.threads.try_for_each(e.n * parts, |task| {
        let (n, first) = (task / parts, task % parts * part);
        let count = part.min(pixels - first);
        let mut pointers = cx.pool.take(8 * product.pointers(count))?;
        let mut scaled = cx.pool.take(4 * count * e.channels)?;
        let at = n * pixels + first;
        let scale = &scale[n * e.channels..(n + 1) * e.channels];
        let from = x[at * e.channels..(at + count) * e.channels].chunks_exact(e.channels);
        let to = scaled.slice_mut::<f32>().chunks_exact_mut(e.channels);
        for (from, to) in from.zip(to) {
            for ((to, x), scale) in to.iter_mut().zip(from).zip(scale) {
                *to = x * scale;
            }
        }
        // SAFETY: some pixels of the output, which are this task's alone until the loop is over.
        let to = unsafe { std::slice::from_raw_parts_mut(target.at(at * e.out), count * e.out) };
        let residual = residual.map(|residual| &residual[at * e.out..(at + count) * e.out]);
        product.row(cx.level, scaled.slice(), pointers.pointers_mut(), to, residual);
        Ok(())
    })?;
    Ok(Some(y))
}
