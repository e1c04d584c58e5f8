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
/// streams keep memory as busy (on a Zen 4 a fifth to a third quicker than four); 16 are slower. And of
/// short rows, whose sums are soon at their end: 1000 × 1280 of f32 take 0.19 ms in place of 0.30.
const MORE_WEIGHT_ROWS: usize = 8;
/// Elements of a short row. Long ones of f32 are 5 % slower by eight.
const SHORT_ROW: usize = 4096;
/// The most left rows taken together with them. Six were slower at AVX-512, which has the registers.
const LEFT_ROWS: usize = 4;
/// Elements of a short run.
const SHORT_RUN: usize = 256;

/// Left rows that a level takes together: its sums stay in registers.
#[inline(always)]
fn left_rows(sums: usize) -> usize {
    (sums / WEIGHT_ROWS).clamp(1, LEFT_ROWS)
}

/// How a row of weights is cut, so that what was read is still in the first-level cache when it meets
/// the other left rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    /// Elements of a run: a multiple of every vector, or all.
    run: usize,
    /// How many runs before their products weights are asked for, where there are several passes.
    ahead: usize,
    /// Half-precision weights are widened before the passes, not in each.
    widened: bool,
}

impl Runs {
    /// For `m` left rows.
    pub(crate) fn of(m: usize, level: Level, half: bool) -> Self {
        Self::with_sums(m, level.sums(), half)
    }

    /// Short ones leave room for the left rows beside the weights, which pays where the weights are
    /// taken in several passes, though each run ends by adding its sums to the others: on a Zen 5, 16
    /// rows · 4096 × 9216 of f32 take 8.3 ms in place of 10.1 with long ones on one thread. Where a
    /// pass takes few rows, widening weights once is quicker as well (11.3 ms in place of 15.5 at
    /// AVX2); where it takes many, both cost more than they save (7.5 in place of 6.6 at AVX-512).
    #[inline(always)]
    fn with_sums(m: usize, sums: usize, half: bool) -> Self {
        let rows = left_rows(sums);
        match (m <= rows, half && rows == LEFT_ROWS) {
            // In one pass, nothing is met again.
            (true, _) => Runs { run: usize::MAX, ahead: 0, widened: false },
            (false, true) => Runs { run: 1024, ahead: 1, widened: false },
            (false, false) => Runs { run: SHORT_RUN, ahead: 2, widened: half },
        }
    }

    /// Whether the left rows have to be [cut](Self::cut).
    pub(crate) fn are_cut(self) -> bool {
        self.run < usize::MAX
    }

    /// Rows of `depth` floats as the kernel takes them: `[runs][rows][run]`, the last run being what
    /// is left.
    ///
    /// Where they lie a multiple of 4 KiB apart, as those of most layers do, the same run of all of
    /// them shares a few sets of the first-level cache with the weights, and has no room there.
    pub(crate) fn cut(self, rows: &[f32], depth: usize, to: &mut [f32]) {
        let m = rows.len() / depth.max(1);
        for (i, row) in rows.chunks_exact(depth.max(1)).enumerate() {
            for (index, from) in row.chunks(self.run).enumerate() {
                to[index * self.run * m + i * from.len()..][..from.len()].copy_from_slice(from);
            }
        }
    }
}

/// Weights of either precision.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
}

/// `output[i][j] = left[i] · weights[j]` for a few rows of weights.
pub(crate) struct MatVec<'a> {
    /// `[m, depth]`, [cut](Runs::cut) to the runs of as many rows; at most [`MAX_ROWS`].
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
    if m == 1 && (is_half::<W>() || depth <= SHORT_ROW) {
        next = blocks::<S, W, MORE_WEIGHT_ROWS>(simd, left, weights, depth, m, output, next);
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
    // A run of each row, widened.
    let mut wide = [[0.0f32; SHORT_RUN]; W_ROWS];
    let mut j = first;
    while j + W_ROWS <= n {
        let w = &weights[j * depth..(j + W_ROWS) * depth];
        let to = &mut output[j * m..(j + W_ROWS) * m];
        some::<S, W, W_ROWS>(simd, left, w, depth, m, &mut wide, to);
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
    wide: &mut [[f32; SHORT_RUN]; W_ROWS],
    output: &mut [f32],
) {
    let whole = depth - depth % S::LANES;
    let runs = Runs::with_sums(m, S::SUMS, is_half::<W>());
    let mut sums = [[simd.splat(0.0); MAX_ROWS]; W_ROWS];
    let passes = m.div_ceil(left_rows(S::SUMS));
    let mut k = 0;
    while k < whole {
        let run = runs.run.min(whole - k);
        // With what is less than a vector, if this is the last one.
        let pitch = runs.run.min(depth - k);
        // What comes of these rows after a while; at their end, of the rows that follow.
        let far = k.saturating_add(runs.ahead * runs.run);
        let next = if far < whole { far } else { W_ROWS * depth + (far - whole) };
        let w = Rows { from: weights.as_ptr().wrapping_add(k), pitch: depth };
        if runs.widened {
            for (j, wide) in wide.iter_mut().enumerate() {
                for at in (0..run).step_by(S::LANES) {
                    // SAFETY: `at + LANES <= run <= SHORT_RUN`, which both rows have.
                    unsafe {
                        let v = W::load(simd, w.from.add(j * depth + at));
                        simd.store(wide.as_mut_ptr().add(at), v);
                    }
                }
            }
        }
        let mut i = 0;
        for pass in 0..passes {
            let ahead = match passes {
                1 => Fetched::in_step::<S, W>(w, ahead::<W>(m)),
                _ => {
                    let from = weights.as_ptr().wrapping_add(next);
                    Fetched::in_part::<S, W>(Rows { from, ..w }, runs.run, pass, passes)
                }
            };
            let x = Rows { from: left.as_ptr().wrapping_add(m * k + i * pitch), pitch };
            // As many in each pass, or one more.
            let rows = (m - i).div_ceil(passes - pass);
            // SAFETY: `k + run <= whole <= depth`, and rows `i ..` are inside the run of `left`.
            unsafe {
                match runs.widened {
                    true => {
                        let w = Rows { from: wide.as_ptr().cast::<f32>(), pitch: SHORT_RUN };
                        pass_over(simd, rows, x, w, run, &mut sums, i, ahead);
                    }
                    false => pass_over(simd, rows, x, w, run, &mut sums, i, ahead),
                }
            }
            i += rows;
        }
        k += run;
    }
    // The last run has what is less than a vector.
    let last = depth - depth % runs.run;
    for j in 0..W_ROWS {
        for i in 0..m {
            let mut sum = simd.sum(sums[j][i]);
            for k in whole..depth {
                let x = left[last * m + i * (depth - last) + (k - last)];
                sum += x * weights[j * depth + k].get();
            }
            output[j * m + i] = sum;
        }
    }
}

/// Rows, by the first one's address and the elements from one to the next.
#[derive(Clone, Copy)]
struct Rows<T> {
    from: *const T,
    pitch: usize,
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

/// Memory to ask for: in each row of weights as many bytes in a step of two vectors.
#[derive(Clone, Copy)]
struct Fetched {
    rows: Rows<u8>,
    step: usize,
}

impl Fetched {
    #[inline(always)]
    fn new<W>(rows: Rows<W>, step: usize) -> Self {
        let rows = Rows { from: rows.from.cast(), pitch: size_of::<W>() * rows.pitch };
        Fetched { rows, step: size_of::<W>() * step }
    }

    /// As many weights as are multiplied, `ahead` of them; 0 asks for nothing.
    #[inline(always)]
    fn in_step<S: Simd, W>(weights: Rows<W>, ahead: usize) -> Self {
        let from = weights.from.wrapping_add(ahead);
        Self::new(Rows { from, ..weights }, if ahead > 0 { 2 * S::LANES } else { 0 })
    }

    /// A part of a later run: memory is read in all passes over this one, not just in the first.
    #[inline(always)]
    fn in_part<S: Simd, W>(later: Rows<W>, run: usize, pass: usize, passes: usize) -> Self {
        let step = (2 * S::LANES).div_ceil(passes);
        let from = later.from.wrapping_add(pass * step * (run / (2 * S::LANES)));
        Self::new(Rows { from, ..later }, step)
    }
}

/// [`dots`] of so many left rows, at most [`LEFT_ROWS`].
///
/// # Safety
/// As for `dots`.
#[allow(clippy::too_many_arguments, reason = "the inside of a loop, kept apart for its instances")]
#[inline(always)]
unsafe fn pass_over<S: Simd, W: Element, const W_ROWS: usize>(
    simd: S,
    rows: usize,
    left: Rows<f32>,
    weights: Rows<W>,
    run: usize,
    sums: &mut [[S::V; MAX_ROWS]; W_ROWS],
    first: usize,
    ahead: Fetched,
) {
    // SAFETY: the caller's.
    unsafe {
        match rows {
            1 => dots::<S, W, W_ROWS, 1>(simd, left, weights, run, sums, first, ahead),
            2 => dots::<S, W, W_ROWS, 2>(simd, left, weights, run, sums, first, ahead),
            3 => dots::<S, W, W_ROWS, 3>(simd, left, weights, run, sums, first, ahead),
            _ => dots::<S, W, W_ROWS, LEFT_ROWS>(simd, left, weights, run, sums, first, ahead),
        }
    }
}

/// Adds `run` products (a multiple of the vector) of each pair of rows to `sums[..][first ..]`, and
/// asks for the memory `ahead`, if any.
///
/// # Safety
/// All rows must have `run` readable elements.
#[inline(always)]
unsafe fn dots<S: Simd, W: Element, const W_ROWS: usize, const L_ROWS: usize>(
    simd: S,
    left: Rows<f32>,
    weights: Rows<W>,
    run: usize,
    sums: &mut [[S::V; MAX_ROWS]; W_ROWS],
    first: usize,
    ahead: Fetched,
) {
    let mut local = [[simd.splat(0.0); L_ROWS]; W_ROWS];
    let Fetched { rows: Rows { mut from, pitch }, step: ahead } = ahead;
    let mut k = 0;
    // SAFETY: the caller's.
    unsafe {
        while k + 2 * S::LANES <= run {
            for j in 0..if ahead > 0 { W_ROWS } else { 0 } {
                simd.prefetch(from.wrapping_add(j * pitch).cast());
            }
            from = from.wrapping_add(ahead);
            step::<S, W, W_ROWS, L_ROWS>(simd, left, weights, k, &mut local);
            k += S::LANES;
            step::<S, W, W_ROWS, L_ROWS>(simd, left, weights, k, &mut local);
            k += S::LANES;
        }
        if k < run {
            step::<S, W, W_ROWS, L_ROWS>(simd, left, weights, k, &mut local);
        }
    }
    for (row, local) in sums.iter_mut().zip(&local) {
        for (sum, &local) in row[first..].iter_mut().zip(local) {
            *sum = simd.add(*sum, local);
        }
    }
}

/// Adds a vector of products of each pair of rows, from element `k` on.
///
/// # Safety
/// All rows must have a vector of readable elements there.
#[inline(always)]
unsafe fn step<S: Simd, W: Element, const W_ROWS: usize, const L_ROWS: usize>(
    simd: S,
    left: Rows<f32>,
    weights: Rows<W>,
    k: usize,
    sums: &mut [[S::V; L_ROWS]; W_ROWS],
) {
    let mut x = [simd.splat(0.0); L_ROWS];
    for (i, x) in x.iter_mut().enumerate() {
        // SAFETY: the caller's.
        *x = unsafe { simd.load(left.from.add(i * left.pitch + k)) };
    }
    for (j, row) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's.
        let w = unsafe { W::load(simd, weights.from.add(j * weights.pitch + k)) };
        for (sum, &x) in row.iter_mut().zip(&x) {
            *sum = simd.mul_add(w, x, *sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_rows_depth_and_precision_at_every_level() {
        // Small integers: every sum is exact, in whatever order.
        let value = |i: usize| ((i * 7 + i / 11) % 9) as f32 - 4.0;
        for level in Level::available() {
            for m in 1..=MAX_ROWS {
                for depth in [1, 7, 16, 255, 256, 257, 515, 1024, 1300, 2049] {
                    let n = 1 + (m + depth) % 13;
                    let left: Vec<f32> = (0..m * depth).map(value).collect();
                    let wide: Vec<f32> = (0..n * depth).map(|i| value(i + 3)).collect();
                    let halves: Vec<f16> = wide.iter().map(|&w| f16::from_f32(w)).collect();
                    for weights in [Weights::F32(&wide), Weights::F16(&halves)] {
                        let half = matches!(weights, Weights::F16(_));
                        let runs = Runs::of(m, level, half);
                        let mut cut = vec![f32::NAN; m * depth];
                        runs.cut(&left, depth, &mut cut);
                        assert!(runs.are_cut() || cut == left);
                        let mut output = vec![f32::NAN; n * m];
                        MatVec { left: &cut, weights, depth, m, output: &mut output }.run(level);
                        for (at, &got) in output.iter().enumerate() {
                            let (j, i) = (at / m, at % m);
                            let rows = left[i * depth..].iter().zip(&wide[j * depth..]);
                            let expected: f32 = rows.take(depth).map(|(x, w)| x * w).sum();
                            assert_eq!(got, expected, "{level} {m} {n} {depth} {half}: {i} {j}");
                        }
                    }
                }
            }
        }
    }
}
