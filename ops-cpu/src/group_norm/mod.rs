//! Layer, group and instance normalization, and their gradients.
//!
//! Where each pixel is taken by itself (an image may have just one), a task takes some rows. Where an image is
//! taken whole, a task takes an image, and shares out the parts of large ones; its channels are summed as for batch
//! normalization, then those of a group together. Moments are summed in f64; other short sums are in f32, sums of
//! them in f64. The order follows from the shape alone.

mod rows;

use striate_tensor::ops::{GroupExtents, GroupNorm};
use striate_tensor::{Operand, Result, Shape, TensorType};

use crate::batch_norm::{Coefficients, Normalize};
use crate::channels::{self, Unmasked};
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};
use rows::{Rows, RowsGrad, RowsSums};

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
