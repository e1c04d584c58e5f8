//! Reductions over axes.
//!
//! Floats are accumulated in f64, which memory is too slow to notice, and in an order that the shape
//! alone decides.

use half::f16;
use striate_tensor::ops::{ArgReduce, ArgReduceKind, Reduce, ReduceKind};
use striate_tensor::{DType, Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::{PART_ELEMS, is_half};
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// Independent results of a line.
const LANES: usize = 16;
/// Columns whose results stay in the first-level cache while the rows pass.
const COLUMNS: usize = 512;
/// With so many columns, there is enough to do side by side without cutting them.
const MANY_COLUMNS: usize = 1 << 12;

/// What two numbers become.
trait Fold {
    /// What is folded: wider than floats, and integers as they are.
    type Wide: Copy + bytemuck::Pod + Send + Sync;
    /// What nothing gives.
    const START: Self::Wide;
    fn join(a: Self::Wide, b: Self::Wide) -> Self::Wide;
}

macro_rules! folds {
    ($($name:ident: $wide:ty, $start:expr, |$a:ident, $b:ident| $join:expr;)*) => {$(
        struct $name;

        impl Fold for $name {
            type Wide = $wide;
            const START: $wide = $start;
            #[inline(always)]
            fn join($a: $wide, $b: $wide) -> $wide {
                $join
            }
        }
    )*};
}

folds! {
    Sum: f64, 0.0, |a, b| a + b;
    Product: f64, 1.0, |a, b| a * b;
    Max: f64, f64::NEG_INFINITY, |a, b| if a > b || a.is_nan() { a } else { b };
    Min: f64, f64::INFINITY, |a, b| if a < b || a.is_nan() { a } else { b };
    // Of integers, modulo 2^32.
    WordSum: u32, 0, |a, b| a.wrapping_add(b);
    WordProduct: u32, 1, |a, b| a.wrapping_mul(b);
    WordMax: u32, u32::MIN, |a, b| a.max(b);
    WordMin: u32, u32::MAX, |a, b| a.min(b);
}

pub(crate) fn reduce(
    cx: &Context,
    op: &Reduce,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Option<Memory>> {
    if output.dtype == DType::U32 {
        return match op.kind {
            ReduceKind::Sum => words::<WordSum>(cx, op, inputs, output),
            ReduceKind::Product => words::<WordProduct>(cx, op, inputs, output),
            ReduceKind::Max => words::<WordMax>(cx, op, inputs, output),
            ReduceKind::Min => words::<WordMin>(cx, op, inputs, output),
            _ => return Ok(None),
        }
        .map(Some);
    }
    match op.kind {
        ReduceKind::Sum | ReduceKind::Mean => floats::<Sum>(cx, op, inputs, output),
        ReduceKind::Product => floats::<Product>(cx, op, inputs, output),
        ReduceKind::Max => floats::<Max>(cx, op, inputs, output),
        ReduceKind::Min => floats::<Min>(cx, op, inputs, output),
        _ => return Ok(None),
    }
    .map(Some)
}

fn floats<F: Fold<Wide = f64>>(
    cx: &Context,
    op: &Reduce,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let x = cx.widen(&inputs[0])?;
    let dims = inputs[0].ty.shape.dims();
    let reduced = passes::<f32, F>(cx, op, x.slice(), dims)?;
    let each: usize = op.axes.iter().map(|axis| dims[axis]).product();
    let divisor = if op.kind == ReduceKind::Mean { each as f64 } else { 1.0 };
    let mut y = cx.pool.take(output.size_bytes())?;
    match &reduced {
        None => store(cx, x.slice(), divisor, output, &mut y),
        Some(memory) => store(cx, memory.slice::<f64>(), divisor, output, &mut y),
    }
    Ok(y)
}

fn words<F: Fold<Wide = u32>>(
    cx: &Context,
    op: &Reduce,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let x = elements::<u32>(&inputs[0])?;
    if let Some(y) = passes::<u32, F>(cx, op, x, inputs[0].ty.shape.dims())? {
        return Ok(y);
    }
    let mut y = cx.pool.take(output.size_bytes())?;
    y.slice_mut().copy_from_slice(x);
    Ok(y)
}

/// One set of neighbouring axes after another; none where nothing is reduced.
fn passes<T: Copy + Into<F::Wide> + Sync, F: Fold>(
    cx: &Context,
    op: &Reduce,
    x: &[T],
    dims: &[usize],
) -> Result<Option<Memory>> {
    // Neighbouring axes that are reduced together are one; the innermost of these goes first.
    let mut reduced: Option<Memory> = None;
    let mut inner = 1;
    let mut end = dims.len();
    while end > 0 {
        let reduces = op.axes.contains(end - 1);
        let start = (0..end).rposition(|axis| op.axes.contains(axis) != reduces);
        let start = start.map_or(0, |axis| axis + 1);
        let extent: usize = dims[start..end].iter().product();
        if reduces {
            let extents = [dims[..start].iter().product(), extent, inner];
            reduced = Some(match reduced {
                None => pass::<T, F>(cx, x, extents)?,
                Some(memory) => pass::<F::Wide, F>(cx, memory.slice(), extents)?,
            });
        } else {
            inner *= extent;
        }
        end = start;
    }
    Ok(reduced)
}

/// Divides, and rounds to the type of the output.
fn store<T: Copy + Into<f64> + Sync>(
    cx: &Context,
    x: &[T],
    divisor: f64,
    output: &TensorType,
    y: &mut Memory,
) {
    let single = |x: T| (x.into() / divisor) as f32;
    if is_half(output) {
        cx.threads.for_each_part(y.slice_mut::<f16>(), PART_ELEMS, |part, y| {
            for (y, &x) in y.iter_mut().zip(&x[part * PART_ELEMS..]) {
                *y = f16::from_f32(single(x));
            }
        });
    } else {
        cx.threads.for_each_part(y.slice_mut::<f32>(), PART_ELEMS, |part, y| {
            for (y, &x) in y.iter_mut().zip(&x[part * PART_ELEMS..]) {
                *y = single(x);
            }
        });
    }
}

/// `[outer, extent, inner]` to `[outer, inner]`.
fn pass<T: Copy + Into<F::Wide> + Sync, F: Fold>(
    cx: &Context,
    x: &[T],
    [outer, extent, inner]: [usize; 3],
) -> Result<Memory> {
    // Long lines are cut into chunks of a fixed number of rows, which become partial results.
    let chunk = match inner {
        MANY_COLUMNS.. => extent,
        _ => (PART_ELEMS / inner.max(1)).min(extent),
    };
    let chunks = extent.div_ceil(chunk.max(1)).max(1);
    let mut partial = cx.pool.take(size_of::<F::Wide>() * outer * chunks * inner)?;
    let part = PART_ELEMS.div_ceil(chunk.max(1));
    cx.threads.for_each_part(partial.slice_mut::<F::Wide>(), part, |index, to| {
        let first = index * part;
        cx.level.run(Partial {
            x,
            extent,
            inner,
            chunk,
            chunks,
            first,
            to,
            fold: std::marker::PhantomData::<F>,
        });
    });
    if chunks == 1 {
        return Ok(partial);
    }
    pass::<F::Wide, F>(cx, partial.slice(), [outer, chunks, inner])
}

/// Partial results `[outer, chunks, inner]` of `[outer, extent, inner]`: some of them, from `first`
/// on.
struct Partial<'a, T, F: Fold> {
    x: &'a [T],
    extent: usize,
    inner: usize,
    chunk: usize,
    chunks: usize,
    first: usize,
    to: &'a mut [F::Wide],
    fold: std::marker::PhantomData<F>,
}

impl<T: Copy + Into<F::Wide>, F: Fold> Kernel for Partial<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Partial { x, extent, inner, chunk, chunks, first, to, fold: _ } = self;
        let (mut at, mut to) = (first, to);
        while !to.is_empty() {
            let (row, col) = (at / inner, at % inner);
            let len = (inner - col).min(to.len()).min(COLUMNS);
            let (here, others) = to.split_at_mut(len);
            let (outer, index) = (row / chunks, row % chunks);
            let rows =
                outer * extent + index * chunk..outer * extent + extent.min((index + 1) * chunk);
            if inner == 1 {
                here[0] = line::<T, F>(&x[rows]);
            } else {
                here.fill(F::START);
                for row in rows {
                    let x = &x[row * inner + col..][..len];
                    for (to, &x) in here.iter_mut().zip(x) {
                        *to = F::join(*to, x.into());
                    }
                }
            }
            (at, to) = (at + len, others);
        }
    }
}

#[inline(always)]
fn line<T: Copy + Into<F::Wide>, F: Fold>(x: &[T]) -> F::Wide {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut total = F::START;
    if !whole.is_empty() {
        let mut lanes = [F::START; LANES];
        for chunk in whole {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane = F::join(*lane, x.into());
            }
        }
        total = lanes.iter().fold(total, |a, &b| F::join(a, b));
    }
    rest.iter().fold(total, |a, &b| F::join(a, b.into()))
}

pub(crate) fn arg_reduce(
    cx: &Context,
    op: &ArgReduce,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [_, extent, inner] = inputs[0].ty.shape.around(op.axis, "arg_reduce")?;
    let x = cx.widen(&inputs[0])?;
    let x = x.slice();
    let sign = match op.kind {
        ArgReduceKind::Max => 1.0,
        ArgReduceKind::Min => -1.0,
    };
    let mut y = cx.pool.take(output.size_bytes())?;
    let part = PART_ELEMS.div_ceil(extent.max(1));
    cx.threads.for_each_part(y.slice_mut::<u32>(), part, |index, to| {
        cx.level.run(Best { x, extent, inner, first: index * part, sign, to });
    });
    Ok(y)
}

/// Columns that are looked at side by side.
const BEST_COLUMNS: usize = 64;

/// The indices `[outer, inner]` of the largest of `[outer, extent, inner]` times the sign: some of
/// them, from `first` on.
struct Best<'a> {
    x: &'a [f32],
    extent: usize,
    inner: usize,
    first: usize,
    sign: f32,
    to: &'a mut [u32],
}

impl Kernel for Best<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Best { x, extent, inner, first, sign, to } = self;
        if inner == 1 {
            let lines = x[first * extent..].chunks_exact(extent);
            for (to, line) in to.iter_mut().zip(lines) {
                *to = best(line, sign);
            }
            return;
        }
        let (mut at, mut to) = (first, to);
        while !to.is_empty() {
            let (outer, col) = (at / inner, at % inner);
            let len = (inner - col).min(to.len()).min(BEST_COLUMNS);
            let (here, others) = to.split_at_mut(len);
            let rows = x[outer * extent * inner..(outer + 1) * extent * inner].chunks_exact(inner);
            let mut best = [f32::NEG_INFINITY; BEST_COLUMNS];
            here.fill(0);
            for (row, index) in rows.zip(0u32..) {
                let row = &row[col..col + len];
                for ((best, to), &x) in best.iter_mut().zip(&mut *here).zip(row) {
                    let x = sign * x;
                    let better = !best.is_nan() & ((x > *best) | x.is_nan());
                    *to = if better { index } else { *to };
                    *best = if better { x } else { *best };
                }
            }
            (at, to) = (at + len, others);
        }
    }
}

/// The index of the first NaN, else of the first of the largest.
#[inline(always)]
fn best(line: &[f32], sign: f32) -> u32 {
    let (whole, rest) = line.as_chunks::<LANES>();
    let larger = |a: f32, b: f32| if a > b || a.is_nan() { a } else { b };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in whole {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, sign * x);
        }
    }
    let best = lanes.iter().fold(f32::NEG_INFINITY, |a, &b| larger(a, b));
    let best = rest.iter().fold(best, |a, &b| larger(a, sign * b));
    let is_best = |x: f32| (sign * x == best) | (x.is_nan() & best.is_nan());
    // Chunk by chunk, so that the search is in vectors too.
    let chunk = whole.iter().position(|chunk| chunk.iter().fold(false, |is, &x| is | is_best(x)));
    let first = chunk.unwrap_or(whole.len()) * LANES;
    let place = line[first..].iter().position(|&x| is_best(x));
    (first + place.unwrap_or(0)) as u32
}
