//! Matrix products.
//!
//! A product is cut so that each part of each operand can be bound: see [`products`]. Each part is a
//! [`Product`], which a kernel of this folder computes; `simple` takes any.

mod matvec;
mod simple;
mod tiled;

use striate_tensor::ops::{MatMul, MatMulExtents};
use striate_tensor::{DType, Result, TensorType};

use super::choice::{Algorithm, Case};
use super::gemm::{Class, MAX_AXES, tile};
use super::indices::broadcast_strides;
use super::{Constants, computed};
use crate::buffer::{GpuBuffer, Source, View, parts};
use crate::pipelines::Shader;
use crate::queue::Context;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = simple::variants();
    all.extend(matvec::variants());
    all
}

/// A matrix as it is bound: where it begins, and the elements between its rows and its columns.
struct Matrix<'a> {
    view: &'a View,
    half: bool,
    row: usize,
    col: usize,
}

/// A leading axis: its extent, and the elements from one to the next in a, b and y.
type BatchAxis = (usize, [u32; 3]);

/// A product of matrices, all of whose parts are bound: `y = a b`, or `y + a b`, with bias and ReLU
/// at the end.
struct Product<'a> {
    m: usize,
    n: usize,
    k: usize,
    /// `[m, k]`.
    a: Matrix<'a>,
    /// `[k, n]`.
    b: Matrix<'a>,
    /// `[m, n]`, f32; columns next to each other.
    y: Matrix<'a>,
    bias: Option<(&'a View, bool)>,
    relu: bool,
    accumulate: bool,
    /// The last one first; none for a single product.
    batch: &'a [BatchAxis],
}

impl Product<'_> {
    /// What the table says.
    fn usual(&self, class: Class) -> Algorithm {
        let tiled = Algorithm::of_tile(tile(class, self.m, self.n, self.matrices()));
        match class {
            Class::Simple => Algorithm::Simple,
            _ if self.takes(Algorithm::MatVec) => Algorithm::MatVec,
            _ if self.takes(tiled) => tiled,
            _ => Algorithm::Simple,
        }
    }

    fn takes(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Simple => true,
            Algorithm::MatVec => matvec::takes(self),
            Algorithm::Wide | Algorithm::Tiled(_) => self.batch.len() <= MAX_AXES,
            Algorithm::Winograd => false,
        }
    }

    fn case(&self) -> Case {
        let extents = [self.m, self.n, self.k, self.matrices(), self.a.col, self.b.row];
        Case::matmul(extents, [self.a.half, self.b.half])
    }

    fn matrices(&self) -> usize {
        self.batch.iter().map(|(extent, _)| extent).product()
    }
}

/// Chooses a kernel for a product and launches it.
fn launch(cx: &Context, product: &Product<'_>) -> Result<()> {
    let takes = |algorithm| product.takes(algorithm);
    match cx.choices.choose(|| product.case(), product.usual(cx.class), takes) {
        Algorithm::Simple | Algorithm::Winograd => simple::launch(cx, product),
        Algorithm::MatVec => matvec::launch(cx, product),
        Algorithm::Wide => tiled::launch(cx, product, None),
        Algorithm::Tiled(tile) => tiled::launch(cx, product, Some(tile)),
    }
}

pub(super) fn matmul(
    cx: &Context,
    op: &MatMul,
    inputs: &[Source<'_>],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let extents = op.extents(&inputs[0].ty.shape, &inputs[1].ty.shape)?;
    computed(cx, output, |y| products(cx, op, &extents, inputs, y))
}

/// Leading axes as shaders walk them.
fn batch_axes(extents: &MatMulExtents, a: Source<'_>, b: Source<'_>) -> Result<Vec<BatchAxis>> {
    let rank = extents.batch.rank();
    let strides = |x: Source<'_>, matrix: usize| -> Result<Vec<u32>> {
        let dims = x.ty.shape.dims();
        let leading = striate_tensor::Shape::new(&dims[..dims.len() - 2])?;
        let strides = broadcast_strides(&leading, rank);
        Ok(strides.into_iter().map(|s| s * matrix as u32).collect())
    };
    let MatMulExtents { m, n, k, .. } = *extents;
    let (a, b) = (strides(a, m * k)?, strides(b, k * n)?);
    let own = extents.batch.strides();
    let axes: Vec<_> = (extents.batch.dims().iter().enumerate())
        .map(|(axis, &extent)| (extent, [a[axis], b[axis], (own[axis] * m * n) as u32]))
        .collect();
    Ok(super::indices::joined(&axes))
}

fn products(
    cx: &Context,
    op: &MatMul,
    extents: &MatMulExtents,
    inputs: &[Source<'_>],
    y: Source<'_>,
) -> Result<()> {
    let (a, b) = (inputs[0], inputs[1]);
    let axes = batch_axes(extents, a, b)?;
    let bias = match inputs.get(2) {
        Some(&bias) => Some((cx.whole(bias)?, bias.half())),
        None => None,
    };
    let bias = bias.as_ref().map(|(view, half)| (view, *half));
    let whole = Whole { op, extents, operands: [a, b, y], bias };
    let fits = |x: Source<'_>| x.ty.size_bytes() as u64 <= cx.gpu.chunk_bytes();
    if fits(a) && fits(b) && fits(y) {
        return whole.part(cx, &axes, [0; 3], Ranges::whole(extents));
    }
    // One matrix at a time, in parts: the rows that each of the three is stored in are those of m,
    // n or k.
    for index in 0..extents.batch.count() {
        let mut first = [0; 3];
        let mut rest = index;
        for (extent, strides) in &axes {
            for (first, stride) in first.iter_mut().zip(strides) {
                *first += rest % extent * *stride as usize;
            }
            rest /= extent;
        }
        let MatMulExtents { m, n, k, .. } = *extents;
        // Chunks do not begin at matrices: a matrix is cut where its own rows are.
        let cuts = |x: Source<'_>, first: usize, rows: usize, row: usize| {
            let size = x.ty.dtype.size_bytes();
            cuts_within(cx, first * size, rows, row * size)
        };
        let (mut ms, mut ns, mut ks) = (vec![vec![0, m]], vec![vec![0, n]], vec![vec![0, k]]);
        ms.push(cuts(y, first[2], m, n));
        match op.transpose_a {
            false => ms.push(cuts(a, first[0], m, k)),
            true => ks.push(cuts(a, first[0], k, m)),
        }
        match op.transpose_b {
            false => ks.push(cuts(b, first[1], k, n)),
            true => ns.push(cuts(b, first[1], n, k)),
        }
        for m in parts(&ms) {
            for n in parts(&ns) {
                let ranges = Ranges { m: m.clone(), n, k: parts(&ks) };
                whole.part(cx, &[], first, ranges)?;
            }
        }
    }
    Ok(())
}

/// As [`Context::cuts`], for rows that begin `before` bytes into a tensor.
fn cuts_within(cx: &Context, before: usize, rows: usize, row_bytes: usize) -> Vec<usize> {
    let chunk = cx.gpu.chunk_bytes() as usize;
    let mut cuts = vec![0];
    let end = before + rows * row_bytes;
    let mut boundary = (before / chunk + 1) * chunk;
    while boundary < end {
        let row = (boundary - before) / row_bytes;
        cuts.push(row);
        if !(boundary - before).is_multiple_of(row_bytes) {
            cuts.push(row + 1);
        }
        boundary += chunk;
    }
    cuts.push(rows);
    cuts
}

/// A part of a product; the parts of k are summed.
struct Ranges {
    m: std::ops::Range<usize>,
    n: std::ops::Range<usize>,
    k: Vec<std::ops::Range<usize>>,
}

impl Ranges {
    fn whole(extents: &MatMulExtents) -> Self {
        // No k is a sum of nothing, which is still to be written.
        Ranges { m: 0..extents.m, n: 0..extents.n, k: std::iter::once(0..extents.k).collect() }
    }
}

/// All of a product.
struct Whole<'a> {
    op: &'a MatMul,
    extents: &'a MatMulExtents,
    /// a, b and y.
    operands: [Source<'a>; 3],
    bias: Option<(&'a View, bool)>,
}

impl Whole<'_> {
    /// Computes a part: of all matrices at once where `batch` says how they lie, else of the one
    /// that begins at the elements `first` of a, b and y.
    fn part(
        &self,
        cx: &Context,
        batch: &[BatchAxis],
        first: [usize; 3],
        ranges: Ranges,
    ) -> Result<()> {
        let Whole { op, extents, operands: [a, b, y], bias } = *self;
        let MatMulExtents { m, n, k, .. } = *extents;
        let whole = !batch.is_empty();
        let rows = |first: usize, range: &std::ops::Range<usize>, row: usize| {
            first + range.start * row..first + range.end * row
        };
        let y_range = if whole { 0..y.ty.count() } else { rows(first[2], &ranges.m, n) };
        let written = cx.written(y.buffer, DType::F32, y_range)?;
        let bias = match bias {
            Some((view, half)) if ranges.n.start > 0 => {
                let mut part = view.clone();
                part.skip += ranges.n.start as u32;
                Some((part, half))
            }
            Some((view, half)) => Some((view.clone(), half)),
            None => None,
        };
        // A part of the columns begins within the row.
        let mut y_view = written.view.clone();
        y_view.skip += ranges.n.start as u32;
        let last = ranges.k.len() - 1;
        for (i, k_range) in ranges.k.iter().enumerate() {
            let a_range = match (whole, op.transpose_a) {
                (true, _) => 0..a.ty.count(),
                (false, false) => rows(first[0], &ranges.m, k),
                (false, true) => rows(first[0], k_range, m),
            };
            let b_range = match (whole, op.transpose_b) {
                (true, _) => 0..b.ty.count(),
                (false, false) => rows(first[1], k_range, n),
                (false, true) => rows(first[1], &ranges.n, k),
            };
            let mut a_view = cx.view(a, a_range)?;
            let mut b_view = cx.view(b, b_range)?;
            if !whole {
                // What was not cut along rows begins within the row.
                let (a_col, b_col) = (
                    if op.transpose_a { ranges.m.start } else { k_range.start },
                    if op.transpose_b { k_range.start } else { ranges.n.start },
                );
                a_view.skip += a_col as u32;
                b_view.skip += b_col as u32;
            }
            let strides = |transposed, rows, cols| if transposed { (1, rows) } else { (cols, 1) };
            let (a_row, a_step) = strides(op.transpose_a, m, k);
            let (b_row, b_step) = strides(op.transpose_b, k, n);
            launch(
                cx,
                &Product {
                    m: ranges.m.len(),
                    n: ranges.n.len(),
                    k: k_range.len(),
                    a: Matrix { view: &a_view, half: a.half(), row: a_row, col: a_step },
                    b: Matrix { view: &b_view, half: b.half(), row: b_row, col: b_step },
                    y: Matrix { view: &y_view, half: false, row: n, col: 1 },
                    bias: bias.as_ref().filter(|_| i == last).map(|(view, half)| (view, *half)),
                    relu: op.relu && i == last,
                    accumulate: i > 0,
                    batch,
                },
            )?;
        }
        cx.finish(y.buffer, &written)
    }
}
