//! Layer, group and instance normalization, and their gradients.
//!
//! Where each pixel is taken by itself (an image may have just one), a task takes some rows: the sums
//! of a row are made while it is in the cache. Where an image is taken whole, a task takes an image, and shares out the parts of
//! large ones; its channels are summed as for batch normalization, then those of a group together.
//! Short sums are in f32, sums of them in f64, in an order that follows from the shape alone.

use striate_tensor::ops::{GroupExtents, GroupNorm};
use striate_tensor::{Operand, Result, Shape, TensorType};

use crate::batch_norm::{Coefficients, Normalize};
use crate::channels::{self, Unmasked};
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// Vectors of sums side by side: enough that additions need not wait for each other.
const SUMS: usize = 4;
/// Numbers that are summed in f32.
const BLOCK: usize = 4096;
/// Rows whose terms are added to the sums of channels at a time.
const ROWS: usize = 4;
/// Rows that are summed in f32.
const BLOCK_ROWS: usize = 64;

/// The normalization: operands `x`, scale, shift.
pub(crate) fn group_norm(
    cx: &Context,
    op: &GroupNorm,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let e = op.extents(&output.shape)?;
    let mut y = cx.pool.take(4 * output.count())?;
    if output.count() == 0 {
        return cx.narrow(y, output);
    }
    let [x, scale, shift] = [0, 1, 2].map(|i| cx.widen(&inputs[i]));
    let (x, scale, shift) = (x?, scale?, shift?);
    let (x, scale, shift) = (x.slice(), scale.slice(), shift.slice());
    let (part, epsilon) = (part(e), op.epsilon);
    cx.threads.try_for_each_part(y.slice_mut::<f32>(), part, |index, y| {
        let x = &x[index * part..][..y.len()];
        if e.pixels == 1 {
            cx.level.run(Rows { x, y, scale, shift, e, epsilon });
            return Ok(());
        }
        let groups = of_image(cx, x, e, epsilon)?;
        let coefficients = Coefficients::new(cx, e.channels, |c| {
            let [mean, inverse] = groups[c / e.per_group()];
            [mean as f32, (inverse * f64::from(scale[c])) as f32, shift[c]]
        })?;
        let inner = coefficients.part();
        cx.threads.for_each_part(y, inner, |index, y| {
            let x = &x[index * inner..][..y.len()];
            cx.level.run(Normalize { x, y, lines: coefficients.lines(), last: |y| y });
        });
        Ok(())
    })?;
    cx.narrow(y, output)
}

/// The gradient in `x`: operands `x`, `dy`, scale.
pub(crate) fn grad(
    cx: &Context,
    op: &GroupNorm,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let e = op.extents(&output.shape)?;
    let mut dx = cx.pool.take(4 * output.count())?;
    if output.count() == 0 {
        return cx.narrow(dx, output);
    }
    let [x, dy, scale] = [0, 1, 2].map(|i| cx.widen(&inputs[i]));
    let (x, dy, scale) = (x?, dy?, scale?);
    let (x, dy, scale) = (x.slice(), dy.slice(), scale.slice());
    let (part, epsilon) = (part(e), op.epsilon);
    cx.threads.try_for_each_part(dx.slice_mut::<f32>(), part, |index, dx| {
        let here = index * part..index * part + dx.len();
        let (x, dy) = (&x[here.clone()], &dy[here]);
        if e.pixels == 1 {
            cx.level.run(RowsGrad { x, dy, dx, scale, e, epsilon });
            return Ok(());
        }
        let groups = of_image(cx, x, e, epsilon)?;
        let sums = products_of_image(cx, [x, dy], e, &groups)?;
        let (of_dy, of_products) = sums.slice::<f32>().split_at(e.channels);
        // `mean(scale · dy)` and `inverse² · mean(scale · dy · (x - mean))` of each group.
        let means: Vec<[f64; 2]> = (0..e.groups)
            .map(|group| {
                let channels = group * e.per_group()..(group + 1) * e.per_group();
                let mut means = [0.0; 2];
                for c in channels {
                    let scale = f64::from(scale[c]);
                    means[0] += scale * f64::from(of_dy[c]);
                    means[1] += scale * f64::from(of_products[c]);
                }
                let [_, inverse] = groups[group];
                let count = e.together() as f64;
                [means[0] / count, means[1] / count * inverse * inverse]
            })
            .collect();
        let coefficients = Coefficients::new(cx, e.channels, |c| {
            let group = c / e.per_group();
            let ([mean, inverse], [of_dy, along]) = (groups[group], means[group]);
            let slope = inverse * f64::from(scale[c]);
            [mean as f32, slope as f32, (inverse * of_dy) as f32, (inverse * along) as f32]
        })?;
        let inner = coefficients.part();
        cx.threads.for_each_part(dx, inner, |index, dx| {
            let here = index * inner..index * inner + dx.len();
            let (x, dy) = (&x[here.clone()], &dy[here]);
            cx.level.run(Gradient { x, dy, dx, lines: coefficients.lines() });
        });
        Ok(())
    })?;
    cx.narrow(dx, output)
}

/// `Σ dy` and `Σ dy · (x - mean) · inverse` of each channel: operands `x`, `dy`.
pub(crate) fn sums(
    cx: &Context,
    op: &GroupNorm,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (x, dy) = (cx.widen(&inputs[0])?, cx.widen(&inputs[1])?);
    let (x, dy) = (x.slice(), dy.slice());
    let e = op.extents(&inputs[0].ty.shape)?;
    let (part, epsilon, pair) = (part(e), op.epsilon, 2 * e.channels);
    let parts = x.len().div_ceil(part);
    let mut partial = cx.pool.take(8 * pair * parts)?;
    cx.threads.try_for_each_part(partial.slice_mut::<f64>(), pair, |index, sums| {
        let here = index * part..x.len().min((index + 1) * part);
        let (x, dy) = (&x[here.clone()], &dy[here]);
        if e.pixels == 1 {
            let mut near = cx.pool.take(4 * pair)?;
            let near = near.slice_mut();
            cx.level.run(RowsSums { x, dy, sums, near, e, epsilon });
            return Ok(());
        }
        let groups = of_image(cx, x, e, epsilon)?;
        let products = products_of_image(cx, [x, dy], e, &groups)?;
        for (sum, &product) in sums.iter_mut().zip(products.slice::<f32>()) {
            *sum = f64::from(product);
        }
        for (c, sum) in sums[e.channels..].iter_mut().enumerate() {
            *sum *= groups[c / e.per_group()][1];
        }
        Ok(())
    })?;
    let mut y = cx.pool.take(output.size_bytes())?;
    let mut whole = vec![0.0f64; pair];
    for sums in partial.slice::<f64>().chunks_exact(pair.max(1)) {
        whole.iter_mut().zip(sums).for_each(|(whole, sum)| *whole += sum);
    }
    y.slice_mut::<f32>().iter_mut().zip(whole).for_each(|(y, sum)| *y = sum as f32);
    Ok(y)
}

/// Elements of a task: an image, or some rows where each is normalized by itself.
fn part(e: GroupExtents) -> usize {
    let row = e.channels.max(1);
    match e.pixels {
        1 => (PART_ELEMS / row).max(1) * row,
        pixels => pixels.max(1) * row,
    }
}

/// The mean and `1 / √(variance + epsilon)` of each group of an image.
fn of_image(cx: &Context, x: &[f32], e: GroupExtents, epsilon: f32) -> Result<Vec<[f64; 2]>> {
    let pairs = TensorType::f32(Shape::new(&[2, e.channels])?);
    let moments = channels::moments(cx, x, e.channels, &pairs)?;
    let (means, variances) = moments.slice::<f32>().split_at(e.channels);
    let per_group = e.per_group();
    let groups = means.chunks_exact(per_group).zip(variances.chunks_exact(per_group));
    let of_group = |(means, variances): (&[f32], &[f32])| {
        let count = per_group as f64;
        let mean = means.iter().map(|&mean| f64::from(mean)).sum::<f64>() / count;
        let within = variances.iter().map(|&variance| f64::from(variance)).sum::<f64>();
        let between = means.iter().map(|&each| (f64::from(each) - mean).powi(2)).sum::<f64>();
        [mean, inverse((within + between) / count, epsilon)]
    };
    Ok(groups.map(of_group).collect())
}

/// `Σ dy` and `Σ dy · (x - mean)` of each channel of an image, f32 `[2, channels]`.
fn products_of_image(
    cx: &Context,
    operands: [&[f32]; 2],
    e: GroupExtents,
    groups: &[[f64; 2]],
) -> Result<Memory> {
    let pairs = TensorType::f32(Shape::new(&[2, e.channels])?);
    let means: Vec<f32> = (0..e.channels).map(|c| groups[c / e.per_group()][0] as f32).collect();
    channels::products(cx, operands, &means, Unmasked, &pairs)
}

fn inverse(variance: f64, epsilon: f32) -> f64 {
    1.0 / (variance + f64::from(epsilon)).sqrt()
}

/// The sums of `N` terms of each place of some slices of one length: `terms` of vectors, `term` of what
/// is left. Sums of a block of places are in f32, those of blocks in f64.
#[inline(always)]
fn summed<S: Simd, const M: usize, const N: usize>(
    simd: S,
    slices: [&[f32]; M],
    terms: impl Fn([S::V; M]) -> [S::V; N],
    term: impl Fn([f32; M]) -> [f32; N],
) -> [f64; N] {
    let len = slices[0].len();
    let mut all = [0.0f64; N];
    for from in (0..len).step_by(BLOCK) {
        let blocks: [&[f32]; M] =
            std::array::from_fn(|m| &slices[m][from..slices[m].len().min(from + BLOCK)]);
        let places = blocks.iter().map(|block| block.len()).min().unwrap_or(0);
        let vectors = places / S::LANES;
        // SAFETY: a vector inside every block.
        let load = |i: usize| unsafe {
            std::array::from_fn(|m| simd.load(blocks[m].as_ptr().add(i * S::LANES)))
        };
        let mut sums = [[simd.splat(0.0); N]; SUMS];
        for first in (0..vectors - vectors % SUMS).step_by(SUMS) {
            for (i, sums) in sums.iter_mut().enumerate() {
                let terms = terms(load(first + i));
                for (sum, term) in sums.iter_mut().zip(terms) {
                    *sum = simd.add(*sum, term);
                }
            }
        }
        for i in vectors - vectors % SUMS..vectors {
            let terms = terms(load(i));
            for (sum, term) in sums[0].iter_mut().zip(terms) {
                *sum = simd.add(*sum, term);
            }
        }
        let mut rest = [0.0f32; N];
        for at in vectors * S::LANES..places {
            let terms = term(blocks.map(|block| block[at]));
            for (sum, term) in rest.iter_mut().zip(terms) {
                *sum += term;
            }
        }
        for (n, all) in all.iter_mut().enumerate() {
            let [a, b, c, d] = std::array::from_fn(|i| sums[i][n]);
            let sum = simd.sum(simd.add(simd.add(a, b), simd.add(c, d)));
            *all += f64::from(sum) + f64::from(rest[n]);
        }
    }
    all
}

/// The mean and `1 / √(variance + epsilon)` of each of some slices. They are computed step by step beside
/// each other, so that none waits for its own divisions.
#[inline(always)]
fn moments<S: Simd, const N: usize>(simd: S, slices: [&[f32]; N], epsilon: f32) -> [[f64; 2]; N] {
    let count = slices[0].len() as f64;
    let mut sums = [0.0; N];
    for (sum, x) in sums.iter_mut().zip(slices) {
        [*sum] = summed(simd, [x], |x| x, |x| x);
    }
    // What these estimates are off by is corrected in both.
    let estimates = sums.map(|sum| (sum / count) as f32);
    let mut pairs = [[0.0; 2]; N];
    for (pair, (x, estimate)) in pairs.iter_mut().zip(slices.into_iter().zip(estimates)) {
        let center = simd.splat(estimate);
        *pair = summed(
            simd,
            [x],
            |[x]| {
                let d = simd.sub(x, center);
                [d, simd.mul(d, d)]
            },
            |[x]| {
                let d = x - estimate;
                [d, d * d]
            },
        );
    }
    for (pair, estimate) in pairs.iter_mut().zip(estimates) {
        let [sum, squares] = *pair;
        let off = sum / count;
        let variance = squares / count - off * off;
        // NaN stays.
        let variance = if variance < 0.0 { 0.0 } else { variance };
        *pair = [f64::from(estimate) + off, inverse(variance, epsilon)];
    }
    pairs
}

/// The normalization of rows.
struct Rows<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    e: GroupExtents,
    epsilon: f32,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Rows { x, y, scale, shift, e, epsilon } = self;
        let group = e.per_group();
        let mut affine = scale.chunks_exact(group).zip(shift.chunks_exact(group)).cycle();
        let some = x.chunks(ROWS * group).zip(y.chunks_mut(ROWS * group));
        for (x, y) in some {
            let mut found = [[0.0; 2]; ROWS];
            if x.len() == ROWS * group {
                let slices = std::array::from_fn(|i| &x[i * group..(i + 1) * group]);
                found = moments::<S, ROWS>(simd, slices, epsilon);
            } else {
                for (x, found) in x.chunks_exact(group).zip(&mut found) {
                    [*found] = moments(simd, [x], epsilon);
                }
            }
            let groups = x.chunks_exact(group).zip(y.chunks_exact_mut(group));
            // The coefficients last, so that none are taken for a group that is not there.
            for (((x, y), [mean, inverse]), (scale, shift)) in groups.zip(found).zip(&mut affine) {
                let (mean, inverse) = (mean as f32, inverse as f32);
                for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(scale).zip(shift) {
                    *y = (x - mean) * inverse * scale + shift;
                }
            }
        }
    }
}

/// The gradient of rows in `x`.
struct RowsGrad<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    scale: &'a [f32],
    e: GroupExtents,
    epsilon: f32,
}

impl Kernel for RowsGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RowsGrad { x, dy, dx, scale, e, epsilon } = self;
        let (group, count) = (e.per_group(), e.per_group() as f64);
        let rows = x.chunks_exact(group).zip(dy.chunks_exact(group));
        let scales = scale.chunks_exact(group).cycle();
        for (((x, dy), dx), scale) in rows.zip(dx.chunks_exact_mut(group)).zip(scales) {
            let [[mean, inverse]] = moments(simd, [x], epsilon);
            let (center, wide_center) = (mean as f32, simd.splat(mean as f32));
            let [of_dy, of_products] = summed(
                simd,
                [x, dy, scale],
                |[x, dy, scale]| {
                    let slope = simd.mul(scale, dy);
                    [slope, simd.mul(slope, simd.sub(x, wide_center))]
                },
                |[x, dy, scale]| {
                    let slope = scale * dy;
                    [slope, slope * (x - center)]
                },
            );
            let of_dy = (of_dy / count) as f32;
            let along = (of_products / count * inverse * inverse) as f32;
            let (mean, inverse) = (mean as f32, inverse as f32);
            for (((dx, x), dy), scale) in dx.iter_mut().zip(x).zip(dy).zip(scale) {
                *dx = inverse * (scale * dy - of_dy - (x - mean) * along);
            }
        }
    }
}

/// The sums of some rows, `[2, channels]`.
struct RowsSums<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    sums: &'a mut [f64],
    /// Room for the sums of some of them, `[2, channels]`.
    near: &'a mut [f32],
    e: GroupExtents,
    epsilon: f32,
}

/// The channels of a group in all rows.
#[derive(Clone, Copy)]
struct Columns<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    channels: usize,
    first: usize,
    group: usize,
    epsilon: f32,
}

impl<'a> Columns<'a> {
    /// Those of some rows, with their mean and `1 / √(variance + epsilon)`. It is no closure: one that is
    /// called in several places is not inlined, and so compiled without the instruction set.
    #[inline(always)]
    fn rows<S: Simd, const N: usize>(
        &self,
        simd: S,
        row: usize,
    ) -> [(&'a [f32], &'a [f32], [f32; 2]); N] {
        let at = |i: usize| (row + i) * self.channels + self.first;
        let x = std::array::from_fn(|i| &self.x[at(i)..at(i) + self.group]);
        let moments = moments::<S, N>(simd, x, self.epsilon);
        std::array::from_fn(|i| {
            let [mean, inverse] = moments[i];
            (x[i], &self.dy[at(i)..at(i) + self.group], [mean as f32, inverse as f32])
        })
    }
}

impl Kernel for RowsSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RowsSums { x, dy, sums, near, e, epsilon } = self;
        sums.fill(0.0);
        let (channels, group) = (e.channels, e.per_group());
        let rows = x.len() / channels;
        for block in (0..rows).step_by(BLOCK_ROWS) {
            let range = block..rows.min(block + BLOCK_ROWS);
            near.fill(0.0);
            let (of_dy, of_products) = near.split_at_mut(channels);
            for first in (0..channels).step_by(group) {
                let of_dy = &mut of_dy[first..first + group];
                let of_products = &mut of_products[first..first + group];
                let here = Columns { x, dy, channels, first, group, epsilon };
                let term =
                    |x: f32, dy: f32, [mean, inverse]: [f32; 2]| [dy, dy * ((x - mean) * inverse)];
                let whole = range.start + range.len() / ROWS * ROWS;
                for at in (range.start..whole).step_by(ROWS) {
                    let [(x0, dy0, m0), (x1, dy1, m1), (x2, dy2, m2), (x3, dy3, m3)] =
                        here.rows(simd, at);
                    for i in 0..group {
                        let [a0, b0] = term(x0[i], dy0[i], m0);
                        let [a1, b1] = term(x1[i], dy1[i], m1);
                        let [a2, b2] = term(x2[i], dy2[i], m2);
                        let [a3, b3] = term(x3[i], dy3[i], m3);
                        of_dy[i] += (a0 + a1) + (a2 + a3);
                        of_products[i] += (b0 + b1) + (b2 + b3);
                    }
                }
                for at in whole..range.end {
                    let [(x, dy, moments)] = here.rows(simd, at);
                    for i in 0..group {
                        let [a, b] = term(x[i], dy[i], moments);
                        of_dy[i] += a;
                        of_products[i] += b;
                    }
                }
            }
            sums.iter_mut().zip(&*near).for_each(|(sum, near)| *sum += f64::from(*near));
        }
    }
}

/// The gradient of an image in `x`.
struct Gradient<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    /// Mean, how much of `dy` is in it, what is taken off, and how much of `x - mean`.
    lines: [&'a [f32]; 4],
}

impl Kernel for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [mean, slope, constant, along] = self.lines;
        let line = mean.len();
        let rows = self.x.chunks(line).zip(self.dy.chunks(line)).zip(self.dx.chunks_mut(line));
        for ((x, dy), dx) in rows {
            let coefficients = mean.iter().zip(slope).zip(constant).zip(along);
            let elements = dx.iter_mut().zip(x).zip(dy);
            for (((dx, x), dy), (((mean, slope), constant), along)) in elements.zip(coefficients) {
                *dx = slope * dy - constant - (x - mean) * along;
            }
        }
    }
}
