//! Two sums for each channel over all rows of `[rows, channels]`: moments, and the sums of batch
//! normalization.
//!
//! Each operand is read once. The rows are cut into parts, and many channels into strips, by the
//! shape alone; the parts of a channel are joined in their order. A few rows are summed in f32, all
//! others in f64. The sums of means are in f64 throughout: their errors turn signs, and activations with them.

use std::marker::PhantomData;

use striate_tensor::{Result, TensorType};

use crate::context::Context;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// Elements of a task.
const PART_ELEMS: usize = 1 << 16;
/// Channels of a task: their sums stay in the first-level cache while the rows pass.
const STRIP: usize = 512;
/// Columns that are summed side by side at least: fewer channels come several rows at a time.
const LEAST_COLUMNS: usize = 64;
/// Lines that are summed in f32 and added to a sum at a time.
const LINES: usize = 8;

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
    let partial =
        cut.partial::<Squares, _>(cx, [x, x], None, Unmasked, |centers, rows, pairs| {
            // The mean and `Σ (x - mean)²` of a part. With Δ = mean - center the second is Σ d² -
            // rows · Δ².
            let rows = rows as f64;
            for ((first, second), &center) in pairs.zip(centers) {
                let off = *first / rows;
                let squares = *second - *first * off;
                *second = if squares < 0.0 { 0.0 } else { squares };
                *first = f64::from(center) + off;
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
    let partial = cut.partial::<Products, M>(cx, operands, Some(means), mask, |_, _, _| {})?;
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

    /// The sums of each part and strip, `[parts, strips, 2, strip]`, as `finish` leaves them. It is
    /// given the centers, the number of rows, and the pairs of sums. A center is what is taken off
    /// `x`: a number of the part itself where none are given.
    fn partial<T: Terms, M: Mask>(
        &self,
        cx: &Context,
        [x, dy]: [&[f32]; 2],
        centers: Option<&[f32]>,
        mask: M,
        finish: impl Fn(&[f32], usize, std::iter::Zip<Each<'_>, Each<'_>>) + Sync,
    ) -> Result<Memory> {
        let Cut { channels, strip, strips, .. } = *self;
        let mut partial = cx.pool.take(8 * 2 * strip * strips * self.parts)?;
        cx.threads.for_each_part(partial.slice_mut::<f64>(), 2 * strip, |index, sums| {
            let (part, column) = (index / strips, index % strips * strip);
            let rows = self.rows_of(part);
            let from = part * self.part * channels;
            let here = from..from + rows * channels;
            let (x, dy) = (&x[here.clone()], &dy[here]);
            let columns = column..channels.min(column + strip);
            let mut own = [0.0; STRIP];
            let own = &mut own[..columns.len()];
            let row = |row: usize| &x[row * channels..][columns.clone()];
            let three = row(0).iter().zip(row(rows / 2)).zip(row(rows - 1));
            match centers {
                Some(centers) => own.copy_from_slice(&centers[columns.clone()]),
                // The middle one of three is seldom far from all others, whose squares would be lost
                // beside that of the distance.
                None => own.iter_mut().zip(three).for_each(|(own, ((&a, &b), &c))| {
                    let middle = a.min(b).max(a.max(b).min(c));
                    // An infinite one would leave nothing of the others.
                    *own = if middle.is_finite() { middle } else { 0.0 };
                }),
            }
            let (first, second) = sums.split_at_mut(strip);
            let (first, second) = (&mut first[..own.len()], &mut second[..own.len()]);
            let sums = [&mut *first, &mut *second];
            let terms = PhantomData::<T>;
            cx.level.run(Sums { x, dy, channels, column, centers: own, sums, mask, terms });
            finish(own, rows, first.iter_mut().zip(second));
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

/// A number for each channel of a strip.
type Each<'a> = std::slice::IterMut<'a, f64>;

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

/// What of an element is summed.
trait Terms {
    /// Whether all sums of the first term are in f64.
    const IS_EXACT: bool;

    /// From `x` less the center, and `dy`.
    fn terms(difference: f32, dy: f32) -> [f32; 2];
}

/// `d` and `d²`
struct Squares;

impl Terms for Squares {
    const IS_EXACT: bool = true;

    #[inline(always)]
    fn terms(difference: f32, _: f32) -> [f32; 2] {
        [difference, difference * difference]
    }
}

/// `dy` and `dy · d`
struct Products;

impl Terms for Products {
    const IS_EXACT: bool = false;

    #[inline(always)]
    fn terms(difference: f32, dy: f32) -> [f32; 2] {
        [dy, dy * difference]
    }
}

/// The sums of some rows, for the channels from `column` on.
struct Sums<'a, T, M> {
    /// `[rows, channels]`
    x: &'a [f32],
    dy: &'a [f32],
    channels: usize,
    column: usize,
    centers: &'a [f32],
    sums: [&'a mut [f64]; 2],
    mask: M,
    terms: PhantomData<T>,
}

impl<T: Terms, M: Mask> Kernel for Sums<'_, T, M> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Sums { x, dy, channels, column, centers, sums: [first, second], mask, terms: _ } = self;
        first.fill(0.0);
        second.fill(0.0);
        let in_line = rows_in_line(channels);
        if in_line == 1 {
            let matrix = Matrix { x, dy, pitch: channels, column, mask };
            return matrix.add::<T>(x.len() / channels, centers, first, second);
        }
        // Few channels: all of them, several rows at a time, then those of a channel together.
        let width = in_line * channels;
        let mut wide_centers = [0.0; 2 * LEAST_COLUMNS];
        let [a, b] = &mut [[0.0; 2 * LEAST_COLUMNS]; 2];
        let (a, b) = (&mut a[..width], &mut b[..width]);
        let wide_centers = &mut wide_centers[..width];
        for centers_of_row in wide_centers.chunks_exact_mut(channels) {
            centers_of_row.copy_from_slice(centers);
        }
        let lines = x.len() / width;
        let matrix = Matrix { x, dy, pitch: width, column: 0, mask };
        matrix.add::<T>(lines, wide_centers, a, b);
        let (rest, rest_dy) = (&x[lines * width..], &dy[lines * width..]);
        let rows = rest.len() / channels;
        let matrix = Matrix { x: rest, dy: rest_dy, pitch: channels, column: 0, mask };
        matrix.add::<T>(rows, centers, first, second);
        for (a, b) in a.chunks_exact(channels).zip(b.chunks_exact(channels)) {
            first.iter_mut().zip(a).for_each(|(sum, a)| *sum += a);
            second.iter_mut().zip(b).for_each(|(sum, b)| *sum += b);
        }
    }
}

/// Columns of two matrices, from `column` on, with `pitch` elements from one line to the next.
struct Matrix<'a, M> {
    x: &'a [f32],
    dy: &'a [f32],
    pitch: usize,
    column: usize,
    mask: M,
}

impl<M: Mask> Matrix<'_, M> {
    /// Adds the terms of so many lines to the sums of the columns, of which there are as many as
    /// centers.
    #[inline(always)]
    fn add<T: Terms>(&self, lines: usize, centers: &[f32], first: &mut [f64], second: &mut [f64]) {
        let width = centers.len();
        let (first, second) = (&mut first[..width], &mut second[..width]);
        let mask = self.mask.columns(self.column, width);
        let line = |of: usize| {
            let at = of * self.pitch + self.column;
            (&self.x[at..at + width], &self.dy[at..at + width])
        };
        for at in (0..lines - lines % LINES).step_by(LINES) {
            let of: [_; LINES] = std::array::from_fn(|i| line(at + i));
            for i in 0..width {
                let term = |(x, dy): (&[f32], &[f32])| {
                    T::terms(x[i] - centers[i], mask.of(i, x[i], dy[i]))
                };
                let [mut a, mut b] = term(of[0]);
                let mut exact = f64::from(a);
                for &line in &of[1..] {
                    let [more_a, more_b] = term(line);
                    match T::IS_EXACT {
                        true => exact += f64::from(more_a),
                        false => a += more_a,
                    }
                    b += more_b;
                }
                first[i] += if T::IS_EXACT { exact } else { f64::from(a) };
                second[i] += f64::from(b);
            }
        }
        for at in lines - lines % LINES..lines {
            let (x, dy) = line(at);
            for i in 0..width {
                let [a, b] = T::terms(x[i] - centers[i], mask.of(i, x[i], dy[i]));
                first[i] += f64::from(a);
                second[i] += f64::from(b);
            }
        }
    }
}
