//! Matrix products.
//!
//! A product is cut so that each part of each operand can be bound: see [`products`]. Each part is a
//! [`Product`], which a kernel of this folder computes; `simple` takes any.

mod matvec;
mod product;
mod simple;
mod tiled;

use std::ops::Range;

use striate_tensor::ops::{Activation, MatMul, MatMulExtents};
use striate_tensor::{DType, Result, TensorType};

use super::constants::Constants;
use super::elementwise::computed;
use super::gemm::MAX_AXES;
use super::indices::broadcast_strides;
use crate::buffer::{GpuBuffer, Source, View, parts};
use crate::choice::{Algorithm, Class, Size};
use crate::pipelines::Shader;
use crate::queue::Context;
use product::{Asked, BatchAxis, Matrix, Product, Steps};

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = simple::variants();
    all.extend(matvec::variants());
    all
}

impl Asked<'_> {
    /// What the table says.
    fn usual(&self, class: Class) -> Algorithm {
        let size = Size { m: self.m, n: self.n, depth: self.k, batch: self.matrices() };
        let tiled = Algorithm::of_tile(size.tile(class));
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
            Algorithm::Winograd | Algorithm::Depthwise => false,
        }
    }

    /// The kernel for it.
    fn algorithm(&self, cx: &Context) -> Algorithm {
        cx.choices.choose(|| self.case(), self.usual(cx.class), |algorithm| self.takes(algorithm))
    }
}

/// Chooses a kernel for a product and launches it.
fn launch(cx: &Context, product: &Product<'_>) -> Result<()> {
    let asked = product.asked();
    let algorithm = asked.algorithm(cx);
    cx.choices.record(|| asked.case(), algorithm);
    match algorithm {
        Algorithm::Simple | Algorithm::Winograd | Algorithm::Depthwise => {
            simple::launch(cx, product)
        }
        Algorithm::MatVec => matvec::launch(cx, product),
        Algorithm::Wide => tiled::launch(cx, product, None),
        Algorithm::Tiled(tile) => tiled::launch(cx, product, Some(tile)),
    }
}

/// The kernels that [`matmul`] launches, each once.
pub(super) fn algorithms(
    cx: &Context,
    op: &MatMul,
    inputs: &[TensorType],
    output: &TensorType,
) -> Result<Vec<Algorithm>> {
    let (a, b) = (inputs[0], inputs[1]);
    let extents = op.extents(&a.shape, &b.shape)?;
    let whole = Whole { op, extents: &extents, types: [a, b, TensorType::f32(output.shape)] };
    let axes = batch_axes(&extents, &a, &b)?;
    let mut all = Vec::new();
    for part in whole.parts(cx, &axes) {
        for k in &part.k {
            let [a, b] = whole.operands(&part, k).map(|operand| operand.steps(cx));
            let Part { m, n, batch, .. } = &part;
            let asked = Asked { m: m.len(), n: n.len(), k: k.len(), a, b, batch };
            let algorithm = asked.algorithm(cx);
            if !all.contains(&algorithm) {
                all.push(algorithm);
            }
        }
    }
    Ok(all)
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
fn batch_axes(extents: &MatMulExtents, a: &TensorType, b: &TensorType) -> Result<Vec<BatchAxis>> {
    let rank = extents.batch.rank();
    let strides = |x: &TensorType, matrix: usize| -> Result<Vec<u32>> {
        let dims = x.shape.dims();
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
    let axes = batch_axes(extents, &a.ty, &b.ty)?;
    let bias = match inputs.get(2) {
        Some(&bias) => Some((cx.whole(bias)?, bias.half())),
        None => None,
    };
    let bias = bias.as_ref().map(|(view, half)| (view, *half));
    let whole = Whole { op, extents, types: [a.ty, b.ty, y.ty] };
    for part in whole.parts(cx, &axes) {
        whole.compute(cx, &part, [a, b, y], bias)?;
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

/// A part of a product: of all matrices at once where `batch` says how they lie, else of the one
/// that begins at the elements `first` of a, b and y. The parts of k are summed.
struct Part<'a> {
    batch: &'a [BatchAxis],
    first: [usize; 3],
    m: Range<usize>,
    n: Range<usize>,
    k: Vec<Range<usize>>,
}

/// A matrix of a part of a product: what is bound of its tensor, and the elements of that before
/// its first one.
struct Bound {
    dtype: DType,
    range: Range<usize>,
    inside: usize,
    row: usize,
    col: usize,
}

impl Bound {
    fn half(&self) -> bool {
        self.dtype == DType::F16
    }

    fn view(&self, cx: &Context, of: Source<'_>) -> Result<View> {
        let mut view = cx.view(of, self.range.clone())?;
        view.skip += self.inside as u32;
        Ok(view)
    }

    /// Of its [`view`](Bound::view).
    fn steps(&self, cx: &Context) -> Steps {
        let skip = cx.skip(self.dtype, &self.range) as usize + self.inside;
        Steps { half: self.half(), row: self.row, col: self.col, skip }
    }
}

/// All of a product.
struct Whole<'a> {
    op: &'a MatMul,
    extents: &'a MatMulExtents,
    /// Of a, b and y.
    types: [TensorType; 3],
}

impl Whole<'_> {
    /// The parts that can be bound.
    fn parts<'a>(&self, cx: &Context, axes: &'a [BatchAxis]) -> Vec<Part<'a>> {
        let Whole { op, types: [a, b, y], .. } = self;
        let MatMulExtents { m, n, k, .. } = *self.extents;
        let fits = |x: &TensorType| x.size_bytes() as u64 <= cx.gpu.chunk_bytes();
        if self.types.iter().all(fits) {
            let k = std::iter::once(0..k).collect();
            return vec![Part { batch: axes, first: [0; 3], m: 0..m, n: 0..n, k }];
        }
        // One matrix at a time, in parts: the rows that each of the three is stored in are those of
        // m, n or k.
        let mut all = Vec::new();
        for index in 0..self.extents.batch.count() {
            let mut first = [0; 3];
            let mut rest = index;
            for (extent, strides) in axes {
                for (first, stride) in first.iter_mut().zip(strides) {
                    *first += rest % extent * *stride as usize;
                }
                rest /= extent;
            }
            // Chunks do not begin at matrices: a matrix is cut where its own rows are.
            let cuts = |x: &TensorType, first: usize, rows: usize, row: usize| {
                let size = x.dtype.size_bytes();
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
            let ks = match k {
                // A sum of nothing is still to be written.
                0 => std::iter::once(0..k).collect(),
                _ => parts(&ks),
            };
            for m in parts(&ms) {
                for n in parts(&ns) {
                    all.push(Part { batch: &[], first, m: m.clone(), n, k: ks.clone() });
                }
            }
        }
        all
    }

    /// What a part binds of a and b for some of the depth.
    fn operands(&self, part: &Part<'_>, k_range: &Range<usize>) -> [Bound; 2] {
        let MatMulExtents { m, n, k, .. } = *self.extents;
        let [a, b, _] = &self.types;
        // Along the rows and the columns of the matrix as it is multiplied.
        let bound =
            |ty: &TensorType, first, [rows, cols]: [usize; 2], transposed, across, along| {
                let (down, inside, pitch): (&Range<usize>, &Range<usize>, _) =
                    if transposed { (along, across, rows) } else { (across, along, cols) };
                let (range, inside) = match part.batch.is_empty() {
                    false => (0..ty.count(), 0),
                    // What was not cut along rows begins within the row.
                    true => (first + down.start * pitch..first + down.end * pitch, inside.start),
                };
                let (row, col) = if transposed { (1, rows) } else { (cols, 1) };
                Bound { dtype: ty.dtype, range, inside, row, col }
            };
        [
            bound(a, part.first[0], [m, k], self.op.transpose_a, &part.m, k_range),
            bound(b, part.first[1], [k, n], self.op.transpose_b, k_range, &part.n),
        ]
    }

    /// Computes a part.
    fn compute(
        &self,
        cx: &Context,
        part: &Part<'_>,
        [a, b, y]: [Source<'_>; 3],
        bias: Option<(&View, bool)>,
    ) -> Result<()> {
        let Whole { op, extents, .. } = *self;
        let MatMulExtents { n, .. } = *extents;
        let y_range = match part.batch.is_empty() {
            false => 0..y.ty.count(),
            true => part.first[2] + part.m.start * n..part.first[2] + part.m.end * n,
        };
        let written = cx.written(y.buffer, DType::F32, y_range)?;
        let bias = bias.map(|(view, half)| {
            let mut view = view.clone();
            view.skip += part.n.start as u32;
            (view, half)
        });
        // A part of the columns begins within the row.
        let mut y_view = written.view.clone();
        y_view.skip += part.n.start as u32;
        let last = part.k.len() - 1;
        for (i, k_range) in part.k.iter().enumerate() {
            let [a_bound, b_bound] = self.operands(part, k_range);
            let (a_view, b_view) = (a_bound.view(cx, a)?, b_bound.view(cx, b)?);
            let matrix = |view, bound: &Bound| {
                let Bound { row, col, .. } = *bound;
                Matrix { view, half: bound.half(), row, col }
            };
            launch(
                cx,
                &Product {
                    m: part.m.len(),
                    n: part.n.len(),
                    k: k_range.len(),
                    a: matrix(&a_view, &a_bound),
                    b: matrix(&b_view, &b_bound),
                    y: Matrix { view: &y_view, half: false, row: n, col: 1 },
                    bias: bias.as_ref().filter(|_| i == last).map(|(view, half)| (view, *half)),
                    activation: if i == last { op.activation } else { Activation::None },
                    accumulate: i > 0,
                    batch: part.batch,
                },
            )?;
        }
        cx.finish(y.buffer, &written)
    }
}
