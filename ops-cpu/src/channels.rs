//! Two sums for each channel over all rows of `[rows, channels]`: moments, and the sums of batch
//! normalization.
//!
//! Each operand is read once. The rows are cut into parts, and many channels into strips, by the
//! shape alone; the parts of a channel are joined in their order. Of products a few rows are summed in f32, all
//! others in f64. The sums of moments are in f64 throughout: their errors turn signs, and activations with them.

use striate_tensor::{Result, TensorType};

use crate::context::Context;
use crate::memory::Memory;
use crate::simd::{Kernel, Level, Simd};

/// Elements of a task.
const PART_ELEMS: usize = 1 << 16;
/// Channels of a task: their sums stay in the first-level cache while the rows pass.
const STRIP: usize = 512;
/// Columns that are summed side by side at least: fewer channels come several rows at a time.
const LEAST_COLUMNS: usize = 64;
/// Lines that are summed in f32 and added to a sum at a time.
const LINES: usize = 8;

/// Whether numbers with such a `Σ (x - mean)²` and `Σ x²` are so much nearer to each other than to 0 that too few digits
/// of f64 are left of the first, made of the second: then it is summed around the mean.
#[inline(always)]
pub(crate) fn is_far_from_0(spread: f64, squares: f64) -> bool {
    spread < 1e-6 * squares
}

/// Rows of a tensor that count as one line, so that it is as long as a loop over columns wants.
pub(crate) fn rows_in_line(channels: usize) -> usize {
    match channels {
        0 | LEAST_COLUMNS.. => 1,
        _ => LEAST_COLUMNS.div_ceil(channels),
    }
}

/// The mean and the variance of each channel, as f32 `[2, channels]`.
pub(crate) fn moments(
    cx: &Context,
    x: &[f32],
    channels: usize,
    output: &TensorType,
) -> Result<Memory> {
    let cut = Cut::new(x.len() / channels.max(1), channels);
    let partial = cut.partial(cx, [x, x], |strip, [first, second]| {
        strip.sum(cx.level, Powers, [&mut *first, &mut *second]);
        let rows = strip.rows as f64;
        let mut centers = vec![0.0; first.len()];
        let mut pairs = first.iter().zip(&*second);
        if pairs.any(|(sum, &squares)| is_far_from_0(squares - sum * sum / rows, squares)) {
            for (center, sum) in centers.iter_mut().zip(&*first) {
                // An infinite one would leave nothing of the others.
                let mean = sum / rows;
                *center = if mean.is_finite() { mean } else { 0.0 };
            }
            let of_line = centers.repeat(rows_in_line(channels));
            strip.sum(cx.level, Around { centers: &of_line }, [&mut *first, &mut *second]);
        }
        // The mean and `Σ (x - mean)²` of a part. With Δ = mean - center the second is Σ d² - rows · Δ².
        for ((first, second), center) in first.iter_mut().zip(second).zip(centers) {
            let off = *first / rows;
            let squares = *second - *first * off;
            *second = if squares < 0.0 { 0.0 } else { squares };
            *first = center + off;
        }
    })?;
    let count = cut.rows as f64;
    cut.joined(cx, &partial, output, |parts, [means, squares]| {
        for (part, [first, _]) in parts.clone() {
            let rows = cut.rows_of(part) as f64;
            means.iter_mut().zip(first).for_each(|(mean, first)| *mean += rows * first);
        }
        means.iter_mut().for_each(|mean| *mean /= count);
        for (part, [first, second]) in parts {
            let rows = cut.rows_of(part) as f64;
            for (((square, mean), first), second) in
                squares.iter_mut().zip(&*means).zip(first).zip(second)
            {
                let off = first - mean;
                *square += second + rows * off * off;
            }
        }
        squares.iter_mut().for_each(|square| *square /= count);
    })
}

/// `Σ dy` and `Σ dy · (x - mean)` of each channel, as f32 `[2, channels]`, with what takes the place of `dy`.
pub(crate) fn products<M: Mask>(
    cx: &Context,
    operands: [&[f32]; 2],
    means: &[f32],
    mask: M,
    output: &TensorType,
) -> Result<Memory> {
    let channels = means.len();
    let cut = Cut::new(operands[0].len() / channels.max(1), channels);
    let means = means.repeat(rows_in_line(channels));
    let partial = cut.partial(cx, operands, |strip, sums| {
        strip.sum(cx.level, Products { means: &means, mask }, sums);
    })?;
    cut.joined(cx, &partial, output, |parts, [firsts, seconds]| {
        for (_, [first, second]) in parts {
            firsts.iter_mut().zip(first).for_each(|(sum, first)| *sum += first);
            seconds.iter_mut().zip(second).for_each(|(sum, second)| *sum += second);
        }
    })
}

/// What takes the place of `dy` in sums.
pub(crate) trait Mask: Copy + Sync {
    /// Of so many columns from one on. A line is one row of all channels, or several where these are few.
    fn columns(self, column: usize, width: usize) -> Self;

    /// For column `i` of a line.
    fn of(self, i: usize, x: f32, dy: f32) -> f32;
}

/// `dy` itself.
#[derive(Clone, Copy)]
pub(crate) struct Unmasked;

impl Mask for Unmasked {
    #[inline(always)]
    fn columns(self, _: usize, _: usize) -> Self {
        Unmasked
    }

    #[inline(always)]
    fn of(self, _: usize, _: f32, dy: f32) -> f32 {
        dy
    }
}

/// How the work is cut.
#[derive(Clone, Copy)]
struct Cut {
    rows: usize,
    channels: usize,
    /// Channels of a strip, of which the last may have fewer.
    strip: usize,
    strips: usize,
    /// Rows of a part, of which the last may have fewer.
    part: usize,
    parts: usize,
}

impl Cut {
    fn new(rows: usize, channels: usize) -> Self {
        let strip = channels.clamp(1, STRIP);
        let in_line = rows_in_line(channels);
        let part = (PART_ELEMS / (strip * in_line)).max(1) * in_line;
        let (strips, parts) = (channels.div_ceil(strip), rows.div_ceil(part));
        Cut { rows, channels, strip, strips, part, parts }
    }

    fn rows_of(&self, part: usize) -> usize {
        self.part.min(self.rows - part * self.part)
    }

    /// Numbers of each part and strip, `[parts, strips, 2, strip]`, as `of` makes them.
    fn partial(
        &self,
        cx: &Context,
        [x, dy]: [&[f32]; 2],
        of: impl Fn(&Strip<'_>, [&mut [f64]; 2]) + Sync,
    ) -> Result<Memory> {
        let Cut { channels, strip, strips, .. } = *self;
        let mut partial = cx.pool.take(8 * 2 * strip * strips * self.parts)?;
        cx.threads.for_each_part(partial.slice_mut::<f64>(), 2 * strip, |index, numbers| {
            let (part, column) = (index / strips, index % strips * strip);
            let rows = self.rows_of(part);
            let from = part * self.part * channels;
            let here = from..from + rows * channels;
            let (x, dy) = (&x[here.clone()], &dy[here]);
            let width = strip.min(channels - column);
            let (first, second) = numbers.split_at_mut(strip);
            let numbers = [&mut first[..width], &mut second[..width]];
            of(&Strip { x, dy, rows, channels, column, width }, numbers);
        });
        Ok(partial)
    }

    /// Joins the parts, and rounds to `[2, channels]`. For each strip `join` is given the pairs of
    /// sums of its parts, and zeros to add them to.
    fn joined(
        &self,
        cx: &Context,
        partial: &Memory,
        output: &TensorType,
        join: impl Fn(Parts<'_>, [&mut [f64]; 2]),
    ) -> Result<Memory> {
        let Cut { channels, strip, strips, parts, .. } = *self;
        let mut y = cx.pool.take(output.size_bytes())?;
        let (first, second) = y.slice_mut::<f32>().split_at_mut(channels);
        first.fill(0.0);
        second.fill(0.0);
        if parts == 0 {
            return Ok(y);
        }
        let all = first.chunks_mut(strip).zip(second.chunks_mut(strip));
        for (index, (first, second)) in all.enumerate() {
            let mut sums = [[0.0; STRIP]; 2];
            let [a, b] = &mut sums;
            let (a, b) = (&mut a[..first.len()], &mut b[..first.len()]);
            let pairs =
                Parts { partial: partial.slice(), strip, strips, index, len: a.len(), part: 0 };
            join(pairs, [&mut *a, &mut *b]);
            for (to, sums) in [(first, a), (second, b)] {
                to.iter_mut().zip(sums).for_each(|(to, sum)| *to = *sum as f32);
            }
        }
        Ok(y)
    }
}

/// Some channels of a part.
struct Strip<'a> {
    /// `[rows, channels]`
    x: &'a [f32],
    dy: &'a [f32],
    rows: usize,
    channels: usize,
    /// The first channel, and how many.
    column: usize,
    width: usize,
}

impl Strip<'_> {
    /// The sums of its channels.
    fn sum<T: Terms>(&self, level: Level, terms: T, sums: [&mut [f64]; 2]) {
        level.run(Sums { strip: self, sums, terms });
    }
}

/// The pairs of sums of a strip, part by part.
#[derive(Clone)]
struct Parts<'a> {
    /// `[parts, strips, 2, strip]`
    partial: &'a [f64],
    strip: usize,
    strips: usize,
    /// Of this strip, which has so many channels.
    index: usize,
    len: usize,
    part: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = (usize, [&'a [f64]; 2]);

    fn next(&mut self) -> Option<Self::Item> {
        let pair = 2 * self.strip;
        let at = (self.part * self.strips + self.index) * pair;
        let (first, second) = self.partial.get(at..at + pair)?.split_at(self.strip);
        self.part += 1;
        Some((self.part - 1, [&first[..self.len], &second[..self.len]]))
    }
}

/// What is summed.
trait Terms: Copy + Sync {
    /// Of so many columns from one on. A line is one row of all channels, or several where these are few.
    fn columns(self, column: usize, width: usize) -> Self;

    /// Adds the terms of so many lines to the sums of the columns.
    fn add<S: Simd>(self, simd: S, matrix: Matrix<'_>, lines: usize, sums: [&mut [f64]; 2]);
}

/// `x` and `x²`
#[derive(Clone, Copy)]
struct Powers;

/// `d` and `d²`, of `x` less a center.
#[derive(Clone, Copy)]
struct Around<'a> {
    /// Of the columns of a strip, or of a line of all channels.
    centers: &'a [f64],
}

/// `dy` and `dy · (x - mean)`
#[derive(Clone, Copy)]
struct Products<'a, M> {
    /// Of the columns of a line.
    means: &'a [f32],
    mask: M,
}

/// The sums of a strip.
struct Sums<'a, T> {
    strip: &'a Strip<'a>,
    sums: [&'a mut [f64]; 2],
    terms: T,
}

impl<T: Terms> Kernel for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Sums { strip, sums: [first, second], terms } = self;
        let Strip { x, dy, channels, column, width, .. } = *strip;
        first.fill(0.0);
        second.fill(0.0);
        let in_line = rows_in_line(channels);
        if in_line == 1 {
            let matrix = Matrix { x, dy, pitch: channels, column };
            let terms = terms.columns(column, width);
            return terms.add(simd, matrix, x.len() / channels, [first, second]);
        }
        // Few channels: all of them, several rows at a time, then those of a channel together.
        let width = in_line * channels;
        let [a, b] = &mut [[0.0; 2 * LEAST_COLUMNS]; 2];
        let (a, b) = (&mut a[..width], &mut b[..width]);
        let lines = x.len() / width;
        let matrix = Matrix { x, dy, pitch: width, column: 0 };
        terms.columns(0, width).add(simd, matrix, lines, [&mut *a, &mut *b]);
        let (rest, rest_dy) = (&x[lines * width..], &dy[lines * width..]);
        let rows = rest.len() / channels;
        let matrix = Matrix { x: rest, dy: rest_dy, pitch: channels, column: 0 };
        terms.columns(0, channels).add(simd, matrix, rows, [&mut *first, &mut *second]);
        for (a, b) in a.chunks_exact(channels).zip(b.chunks_exact(channels)) {
            first.iter_mut().zip(a).for_each(|(sum, a)| *sum += a);
            second.iter_mut().zip(b).for_each(|(sum, b)| *sum += b);
        }
    }
}

/// Columns of two matrices, from `column` on, with `pitch` elements from one line to the next.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    pitch: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    /// So many columns of a line.
    #[inline(always)]
    fn line(self, of: usize, width: usize) -> (&'a [f32], &'a [f32]) {
        let at = of * self.pitch + self.column;
        (&self.x[at..at + width], &self.dy[at..at + width])
    }
}

impl Terms for Powers {
    #[inline(always)]
    fn columns(self, _: usize, _: usize) -> Self {
        self
    }

    #[inline(always)]
    fn add<S: Simd>(
        self,
        simd: S,
        matrix: Matrix<'_>,
        lines: usize,
        [first, second]: [&mut [f64]; 2],
    ) {
        let width = first.len().min(second.len());
        let vectors = width - width % S::LANES;
        for at in (0..lines).step_by(LINES) {
            let some = LINES.min(lines - at);
            let from = matrix.line(at, width).0.as_ptr();
            // The lines between lie between.
            assert!(matrix.line(at + some - 1, width).0.len() == width);
            let mut column = 0;
            while column < vectors {
                // SAFETY: a vector inside the sums and each line.
                unsafe {
                    let to = first.as_mut_ptr().add(column);
                    let to_squares = second.as_mut_ptr().add(column);
                    let mut sums = [simd.load_wide(to), simd.load_wide(to_squares)];
                    if some == LINES {
                        for line in 0..LINES {
                            let from = from.add(line * matrix.pitch + column);
                            sums = simd.add_powers(sums, from);
                        }
                    } else {
                        for line in 0..some {
                            let from = from.add(line * matrix.pitch + column);
                            sums = simd.add_powers(sums, from);
                        }
                    }
                    simd.store_wide(to, sums[0]);
                    simd.store_wide(to_squares, sums[1]);
                }
                column += S::LANES;
            }
            for line in at..at + some {
                let (x, _) = matrix.line(line, width);
                for column in vectors..width {
                    let x = f64::from(x[column]);
                    first[column] += x;
                    second[column] += x * x;
                }
            }
        }
    }
}

impl Terms for Around<'_> {
    #[inline(always)]
    fn columns(self, _: usize, width: usize) -> Self {
        Around { centers: &self.centers[..width] }
    }

    #[inline(always)]
    fn add<S: Simd>(
        self,
        _: S,
        matrix: Matrix<'_>,
        lines: usize,
        [first, second]: [&mut [f64]; 2],
    ) {
        let centers = self.centers;
        let width = centers.len();
        let (first, second) = (&mut first[..width], &mut second[..width]);
        for line in 0..lines {
            let (x, _) = matrix.line(line, width);
            for i in 0..width {
                let off = f64::from(x[i]) - centers[i];
                first[i] += off;
                second[i] += off * off;
            }
        }
    }
}

impl<M: Mask> Terms for Products<'_, M> {
    #[inline(always)]
    fn columns(self, column: usize, width: usize) -> Self {
        Products {
            means: &self.means[column..column + width],
            mask: self.mask.columns(column, width),
        }
    }

    #[inline(always)]
    fn add<S: Simd>(
        self,
        _: S,
        matrix: Matrix<'_>,
        lines: usize,
        [first, second]: [&mut [f64]; 2],
    ) {
        let Products { means, mask } = self;
        let width = means.len();
        let (first, second) = (&mut first[..width], &mut second[..width]);
        for at in (0..lines - lines % LINES).step_by(LINES) {
            let of: [_; LINES] = std::array::from_fn(|i| matrix.line(at + i, width));
            for i in 0..width {
                let term = |(x, dy): (&[f32], &[f32])| {
                    let dy = mask.of(i, x[i], dy[i]);
                    [dy, dy * (x[i] - means[i])]
                };
                let [mut a, mut b] = term(of[0]);
                for &line in &of[1..] {
                    let [more_a, more_b] = term(line);
                    a += more_a;
                    b += more_b;
                }
                first[i] += f64::from(a);
                second[i] += f64::from(b);
            }
        }
        for at in lines - lines % LINES..lines {
            let (x, dy) = matrix.line(at, width);
            for i in 0..width {
                let dy = mask.of(i, x[i], dy[i]);
                first[i] += f64::from(dy);
                second[i] += f64::from(dy * (x[i] - means[i]));
            }
        }
    }
}
