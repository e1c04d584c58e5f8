//! A depthwise convolution with the 1×1 convolutions before and after it, in one pass over rows. Before it
//! there may be a network's first layer instead.
//!
//! That is the block of MobileNet (Sandler et al., "MobileNetV2: inverted residuals and linear
//! bottlenecks", 2018), whose expanded images are far larger than what goes in and comes out. A task makes
//! some rows of the output: those rows of the expansion that the kernel sees stand in a ring in the
//! second-level cache, and neither they nor the rows of the depthwise convolution go to memory. Each number
//! is summed as by the convolutions alone.

use striate_tensor::ops::Conv2d;
use striate_tensor::{DType, Link, Op, Operand, Result, TensorType};

use super::Extents;
use super::depthwise::{self, Filter};
use super::direct::{self, Direct, Pointwise};
use crate::buffer::elements;
use crate::context::Context;
use crate::memory::Memory;
use crate::simd::Level;
use crate::threads::SharedOutput;

/// Bytes of what is between the convolutions from which on it is worth while: what a second-level cache
/// does not hold beside what else is needed.
const BETWEEN_BYTES: usize = 1 << 20;
/// Pixels of a row at least: of fewer, the products' register blocks are not full.
const ROW_PIXELS: usize = 14;
/// Rows of the output that a task makes, at most: where the next begins, it expands some rows once more.
const TASK_ROWS: usize = 14;
/// And at least, where that makes enough tasks for many threads.
const LEAST_ROWS: usize = 4;

/// A convolution of a chain.
#[derive(Clone, Copy)]
pub(super) struct Convolution<'a> {
    pub(super) op: &'a Conv2d,
    pub(super) e: Extents,
    pub(super) weights: Operand<'a>,
    pub(super) bias: Option<Operand<'a>>,
    pub(super) residual: Option<Operand<'a>>,
}

impl<'a> Convolution<'a> {
    /// Of a link that reads `x`, where all is in f32 but the weights.
    pub(super) fn new(x: &TensorType, link: &Link<'a>) -> Option<Self> {
        let Op::Conv2d(op) = link.op else { return None };
        let mut others = link.others.iter().copied();
        let weights = others.next()?;
        let bias = if op.bias { Some(others.next()?) } else { None };
        let residual = if op.residual { Some(others.next()?) } else { None };
        let e = Extents::of("conv2d", x, weights.ty, link.output).ok()?;
        let rest = residual.iter().map(|residual| residual.ty.dtype);
        let mut all = [x.dtype, link.output.dtype].into_iter().chain(rest);
        let floats = all.all(|dtype| dtype == DType::F32) && link.output.count() > 0;
        floats.then_some(Convolution { op, e, weights, bias, residual })
    }

    pub(super) fn is_pointwise(&self) -> bool {
        let Conv2d { stride, padding, groups, .. } = *self.op;
        let alone = stride == [1, 1] && padding == [[0, 0]; 2] && groups == 1;
        self.e.kernel == [1, 1] && alone && self.e.channels > 0
    }

    /// One whose windows have no holes, so that rows come and go in their order.
    fn is_depthwise(&self, level: Level) -> bool {
        let takes = [depthwise::takes, depthwise::takes_groups];
        takes.iter().any(|takes| takes(level, self.op, &self.e)) && self.op.dilation == [1, 1]
    }
}

/// The convolutions of a chain.
struct Chain<'a> {
    expansion: Option<Convolution<'a>>,
    depthwise: Convolution<'a>,
    projection: Option<Convolution<'a>>,
}

impl<'a> Chain<'a> {
    /// Of the first of these links, as many as there are such, at least two.
    fn new(level: Level, x: &TensorType, links: &[Link<'a>]) -> Option<Self> {
        let types = [x].into_iter().chain(links.iter().map(|link| link.output));
        let mut convs =
            types.zip(links).map_while(|(x, link)| Convolution::new(x, link)).peekable();
        // A residual is added to what comes out at the end, and to nothing between.
        let expands = |conv: &Convolution<'_>| {
            (conv.is_pointwise() || direct::is_first(conv.op, &conv.e)) && conv.residual.is_none()
        };
        let expansion = convs.next_if(expands);
        let depthwise = convs.next().filter(|conv| conv.is_depthwise(level))?;
        let projection = match depthwise.residual {
            None => convs.next().filter(Convolution::is_pointwise),
            Some(_) => None,
        };
        let chain = Chain { expansion, depthwise, projection };
        (chain.len() > 1).then_some(chain)
    }

    fn len(&self) -> usize {
        1 + usize::from(self.expansion.is_some()) + usize::from(self.projection.is_some())
    }

    /// Whether it is expected to win: by the shape alone.
    fn wins(&self) -> bool {
        let Extents { n, rows, cols, channels, out_rows, out_cols, .. } = self.depthwise.e;
        let between = match self.expansion {
            Some(_) => n * rows * cols * channels,
            None => n * out_rows * out_cols * channels,
        };
        4 * between >= BETWEEN_BYTES && out_cols.min(cols) >= ROW_PIXELS
    }
}

/// How many of these links [`execute`] would rather do at once; 0 where none.
pub(crate) fn length(level: Level, x: &TensorType, links: &[Link<'_>]) -> usize {
    Chain::new(level, x, links).filter(Chain::wins).map_or(0, |chain| chain.len())
}

/// Executes a chain; none where it is no such chain, or a weight is not finite.
pub(crate) fn execute(cx: &Context, x: &Operand<'_>, links: &[Link<'_>]) -> Result<Option<Memory>> {
    let chain = Chain::new(cx.level, x.ty, links).filter(|chain| chain.len() == links.len());
    let Some(Chain { expansion, depthwise, projection }) = chain else { return Ok(None) };
    let bias = depthwise.bias.as_ref().map(|bias| cx.widen(bias)).transpose()?;
    let bias = bias.as_ref().map(|bias| bias.slice());
    let e = depthwise.e;
    let filter = Filter::new(cx, depthwise.op, &e, &depthwise.weights, bias)?;
    let Some(filter) = filter else { return Ok(None) };
    let product = |conv: &Convolution<'_>| {
        Pointwise::new(cx, conv.op, &conv.e, &conv.weights, conv.bias.as_ref())
    };
    let x = elements::<f32>(x)?;
    let (pointwise, stem) = match expansion.as_ref() {
        Some(conv) if conv.is_pointwise() => (Some(product(conv)?), None),
        Some(Convolution { op, e, weights, bias, .. }) => {
            (None, Some(Direct::new(cx, op, e, 1, x, weights, bias.as_ref())?))
        }
        None => (None, None),
    };
    let windows = stem.as_ref().map(Direct::windows);
    let project = projection.as_ref().map(product).transpose()?;
    let last = projection.as_ref().unwrap_or(&depthwise);
    let residual = last.residual.as_ref().map(elements::<f32>).transpose()?;

    let [source, filtered] = filter.lines();
    // The images that the rows of the depthwise convolution come from.
    let read = expansion.as_ref().map_or(e, |conv| conv.e);
    let (x_rows, x_line) = (read.rows, read.cols * read.channels);
    let line = e.out_cols * last.e.out;
    let mut y = cx.pool.take(4 * e.n * e.out_rows * line)?;
    // A row is the same bits in whatever part. An image is a whole number of parts.
    let shares = cx.threads.shares().div_ceil(e.n).min(e.out_rows / LEAST_ROWS);
    let parts = e.out_rows.div_ceil(TASK_ROWS).max(shares);
    let part = e.out_rows.div_ceil(parts);
    let parts = e.out_rows.div_ceil(part);
    let target = SharedOutput::new(y.slice_mut::<f32>());
    cx.threads.try_for_each(e.n * parts, |task| {
        let (n, first) = (task / parts, task % parts * part);
        let rows = first..(first + part).min(e.out_rows);
        let pointers = |product: &Option<Pointwise>, pixels| {
            product.as_ref().map_or(0, |product| product.pointers(pixels))
        };
        let of_stem = stem.as_ref().map_or(0, |stem| stem.pointers(e.cols));
        let mut expand_pointers = cx.pool.take(8 * pointers(&pointwise, e.cols).max(of_stem))?;
        let mut project_pointers = cx.pool.take(8 * pointers(&project, e.out_cols))?;
        let expands = expansion.is_some();
        let mut ring = cx.pool.take(if expands { 4 * e.kernel[0] * source } else { 0 })?;
        let mut between = cx.pool.take(if project.is_some() { 4 * filtered } else { 0 })?;
        let image = &x[n * x_rows * x_line..(n + 1) * x_rows * x_line];
        let mut seen = Vec::with_capacity(e.kernel[0]);
        // The first row of the expansion that has not been in the ring.
        let mut next = 0;
        for row in rows {
            seen.clear();
            for (row, tap) in filter.sources(row) {
                let slot = if expands { row % e.kernel[0] } else { row };
                seen.push((slot * source, tap));
                if !expands || row < next {
                    continue;
                }
                let to = &mut ring.slice_mut::<f32>()[slot * source..(slot + 1) * source];
                let pointers = expand_pointers.pointers_mut();
                if let Some(pointwise) = &pointwise {
                    let from = &image[row * x_line..(row + 1) * x_line];
                    pointwise.row(cx.level, from, pointers, to, None);
                } else if let (Some(stem), Some(windows)) = (&stem, &windows) {
                    stem.pixels(cx.level, windows, (n * e.rows + row) * e.cols, pointers, to);
                }
                next = row + 1;
            }
            let from = if expands { ring.slice() } else { image };
            let at = (n * e.out_rows + row) * line;
            // SAFETY: a row of the output, which is this task's alone until the loop is over.
            let to = unsafe { std::slice::from_raw_parts_mut(target.at(at), line) };
            let residual = residual.map(|residual| &residual[at..at + line]);
            match &project {
                None => filter.row(cx.level, from, &seen, to, residual),
                Some(project) => {
                    filter.row(cx.level, from, &seen, between.slice_mut(), None);
                    let pointers = project_pointers.pointers_mut();
                    project.row(cx.level, between.slice(), pointers, to, residual);
                }
            }
        }
        Ok(())
    })?;
    Ok(Some(y))
}
