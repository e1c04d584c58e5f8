//! Products with few rows: each weight is read once for all of them.
//!
//! A full-connect layer at batch 1 is bound by reading its weights, so they are read in the
//! precision that they are stored in and widened in registers, and a batch of up to
//! [`MAX_ROWS`] shares one pass over them.

use half::f16;

use crate::simd::{Element, Kernel, Level, Simd};

/// The most rows of the left side.
pub(crate) const MAX_ROWS: usize = 16;
/// Weight rows taken together: as many independent sums hide the latency of an addition.
const WEIGHT_ROWS: usize = 4;
/// The same of half-precision weights, for one left row. They are half as long, so as many more
/// streams keep memory as busy (on a Zen 4 a fifth to a third quicker than four); 16 are slower.
const HALF_WEIGHT_ROWS: usize = 8;
/// Left rows taken together with them.
const LEFT_ROWS: usize = 4;
/// Weights of a row taken before going to other left rows, so that they are still in the
/// first-level cache.
const RUN: usize = 1024;

/// Weights of either precision.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
}

/// `output[i][j] = left[i] · weights[j]` for a few rows of weights.
pub(crate) struct MatVec<'a> {
    /// `[m, depth]`, at most [`MAX_ROWS`] rows.
    pub(crate) left: &'a [f32],
    /// `[n, depth]`
    pub(crate) weights: Weights<'a>,
    pub(crate) depth: usize,
    /// Gets `(i, j, sum)`.
    pub(crate) m: usize,
    /// `[n, m]`: transposed, so that a part of the weights has its own part of the output.
    pub(crate) output: &'a mut [f32],
}

impl MatVec<'_> {
    pub(crate) fn run(self, level: Level) {
        level.run(self);
    }
}

impl Kernel for MatVec<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.weights {
            Weights::F32(w) => rows(simd, self.left, w, self.depth, self.m, self.output),
            Weights::F16(w) => rows(simd, self.left, w, self.depth, self.m, self.output),
        }
    }
}

#[inline(always)]
fn rows<S: Simd, W: Element>(
    simd: S,
    left: &[f32],
    weights: &[W],
    depth: usize,
    m: usize,
    output: &mut [f32],
) {
    let n = output.len() / m.max(1);
    assert!(m <= MAX_ROWS && left.len() == m * depth && weights.len() == n * depth);
    let mut next = 0;
    if m == 1 && is_half::<W>() {
        next = blocks::<S, W, HALF_WEIGHT_ROWS>(simd, left, weights, depth, m, output, next);
    }
    next = blocks::<S, W, WEIGHT_ROWS>(simd, left, weights, depth, m, output, next);
    blocks::<S, W, 1>(simd, left, weights, depth, m, output, next);
}

/// Whether weights are smaller than what they are widened to.
#[inline(always)]
fn is_half<W>() -> bool {
    size_of::<W>() < size_of::<f32>()
}

/// The rows of weights from `first` on, as far as `W_ROWS` of them are left; gives the next one.
#[inline(always)]
fn blocks<S: Simd, W: Element, const W_ROWS: usize>(
    simd: S,
    left: &[f32],
    weights: &[W],
    depth: usize,
    m: usize,
    output: &mut [f32],
    first: usize,
) -> usize {
    let n = output.len() / m.max(1);
    let mut j = first;
    while j + W_ROWS <= n {
        let w = &weights[j * depth..(j + W_ROWS) * depth];
        some::<S, W, W_ROWS>(simd, left, w, depth, m, &mut output[j * m..(j + W_ROWS) * m]);
        j += W_ROWS;
    }
    j
}

/// `W_ROWS` rows of weights against all left rows.
#[inline(always)]
fn some<S: Simd, W: Element, const W_ROWS: usize>(
    simd: S,
    left: &[f32],
    weights: &[W],
    depth: usize,
    m: usize,
    output: &mut [f32],
) {
    let whole = depth - depth % S::LANES;
    let mut sums = [[simd.splat(0.0); MAX_ROWS]; W_ROWS];
    let passes = m / LEFT_ROWS + m % LEFT_ROWS / 2 + m % 2;
    let mut k = 0;
    while k < whole {
        let run = RUN.min(whole - k);
        // What comes next of these rows; at their end, of the rows that follow.
        let next = if k + run < whole { k + run } else { W_ROWS * depth };
        let mut i = 0;
        for pass in 0..passes {
            // SAFETY: `k + run <= whole <= depth`, and rows `i ..` are inside `left`.
            unsafe {
                let w = weights.as_ptr().add(k);
                let x = left.as_ptr().add(i * depth + k);
                let ahead = match passes {
                    1 => Fetched::in_step::<S>(w.wrapping_add(ahead::<W>(m)), ahead::<W>(m) > 0),
                    _ => Fetched::in_part::<S>(weights.as_ptr().wrapping_add(next), pass, passes),
                };
                i += match m - i {
                    LEFT_ROWS.. => {
                        dots::<S, W, W_ROWS, LEFT_ROWS>(simd, x, w, depth, run, &mut sums, i, ahead)
                    }
                    2.. => dots::<S, W, W_ROWS, 2>(simd, x, w, depth, run, &mut sums, i, ahead),
                    _ => dots::<S, W, W_ROWS, 1>(simd, x, w, depth, run, &mut sums, i, ahead),
                };
            }
        }
        k += run;
    }
    for j in 0..W_ROWS {
        for i in 0..m {
            let mut sum = simd.sum(sums[j][i]);
            for k in whole..depth {
                sum += left[i * depth + k] * weights[j * depth + k].get();
            }
            output[j * m + i] = sum;
        }
    }
}

/// How many weights ahead of the products are asked for where one pass takes them, with `m` left rows.
/// Of half-precision ones 512 bytes in each of eight rows, or 2 KiB in each of four; of single ones
/// 1 KiB, and none for one row, which takes them as fast as the processor fetches ahead itself.
#[inline(always)]
fn ahead<W>(m: usize) -> usize {
    match (is_half::<W>(), m) {
        (true, 1) => 256,
        (true, _) => 1024,
        (false, 1) => 0,
        (false, _) => 256,
    }
}

/// Weights to ask for: of the first row, from an address on, so many in a step of two vectors.
#[derive(Clone, Copy)]
struct Fetched<W> {
    from: *const W,
    step: usize,
}

impl<W> Fetched<W> {
    /// As many as are multiplied.
    #[inline(always)]
    fn in_step<S: Simd>(from: *const W, wanted: bool) -> Self {
        Fetched { from, step: if wanted { 2 * S::LANES } else { 0 } }
    }

    /// A part of the next run: memory is read in all passes over this one, not just in the first.
    #[inline(always)]
    fn in_part<S: Simd>(next: *const W, pass: usize, passes: usize) -> Self {
        let step = (2 * S::LANES).div_ceil(passes);
        Fetched { from: next.wrapping_add(pass * step * (RUN / (2 * S::LANES))), step }
    }
}

/// Adds `run` products (a multiple of the vector) of each pair of rows to `sums[..][first ..]`, and
/// asks for the weights `ahead`, if any. Gives the count of left rows.
///
/// # Safety
/// All rows must have `run` readable elements, `depth` apart.
#[allow(clippy::too_many_arguments, reason = "the inside of a loop, kept apart for its instances")]
#[inline(always)]
unsafe fn dots<S: Simd, W: Element, const W_ROWS: usize, const L_ROWS: usize>(
    simd: S,
    left: *const f32,
    weights: *const W,
    depth: usize,
    run: usize,
    sums: &mut [[S::V; MAX_ROWS]; W_ROWS],
    first: usize,
    ahead: Fetched<W>,
) -> usize {
    let mut local = [[simd.splat(0.0); L_ROWS]; W_ROWS];
    let Fetched { mut from, step: ahead } = ahead;
    let mut k = 0;
    // SAFETY: the caller's.
    unsafe {
        while k + 2 * S::LANES <= run {
            for j in 0..if ahead > 0 { W_ROWS } else { 0 } {
                simd.prefetch(from.wrapping_add(j * depth).cast());
            }
            from = from.wrapping_add(ahead);
            step::<S, W, W_ROWS, L_ROWS>(simd, left.add(k), weights.add(k), depth, &mut local);
            k += S::LANES;
            step::<S, W, W_ROWS, L_ROWS>(simd, left.add(k), weights.add(k), depth, &mut local);
            k += S::LANES;
        }
        if k < run {
            step::<S, W, W_ROWS, L_ROWS>(simd, left.add(k), weights.add(k), depth, &mut local);
        }
    }
    for (row, local) in sums.iter_mut().zip(&local) {
        for (sum, &local) in row[first..].iter_mut().zip(local) {
            *sum = simd.add(*sum, local);
        }
    }
    L_ROWS
}

/// Adds a vector of products of each pair of rows.
///
/// # Safety
/// All rows must have a vector of readable elements, `depth` apart.
#[inline(always)]
unsafe fn step<S: Simd, W: Element, const W_ROWS: usize, const L_ROWS: usize>(
    simd: S,
    left: *const f32,
    weights: *const W,
    depth: usize,
    sums: &mut [[S::V; L_ROWS]; W_ROWS],
) {
    let mut x = [simd.splat(0.0); L_ROWS];
    for (i, x) in x.iter_mut().enumerate() {
        // SAFETY: the caller's.
        *x = unsafe { simd.load(left.add(i * depth)) };
    }
    for (j, row) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's.
        let w = unsafe { W::load(simd, weights.add(j * depth)) };
        for (sum, &x) in row.iter_mut().zip(&x) {
            *sum = simd.mul_add(w, x, *sum);
        }
    }
}
