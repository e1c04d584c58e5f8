//! Batch normalization: moments, the normalization, and its gradients.

use striate_tensor::ops::{
    Activation, BatchNorm, BatchNormGrad, BatchNormScaleGrad, BatchNormSums, RunningMoments,
};
use striate_tensor::{Operand, Result, TensorType};

use crate::channels::{self, Mask, Unmasked, rows_in_line};
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// The number of channels.
fn channels_of(ty: &TensorType) -> usize {
    ty.shape.dims().last().copied().unwrap_or(1)
}

/// The moments of operand `x`.
pub(crate) fn moments(cx: &Context, inputs: &[Operand<'_>], output: &TensorType) -> Result<Memory> {
    let x = cx.widen(&inputs[0])?;
    channels::moments(cx, x.slice(), channels_of(inputs[0].ty), output)
}

/// Calls a function with the loop's own form of an activation, so that each is compiled into its own loop:
/// what it makes of a number, and whether its slope there is 1 and not 0.
macro_rules! by_activation {
    ($activation:expr, $run:expr) => {
        match $activation {
            // NaN stays, and passes what is NaN.
            Activation::Relu => {
                $run(|y: f32| if y < 0.0 { 0.0 } else { y }, |y: f32| y > 0.0 || y.is_nan())
            }
            Activation::Clamp { min, max } => $run(
                move |y: f32| {
                    let above = if y < min { min } else { y };
                    if above > max { max } else { above }
                },
                move |y: f32| y >= min && y <= max,
            ),
            // The ops take no others.
            _ => $run(|y: f32| y, |_: f32| true),
        }
    };
}

/// `dy` where an activation of the normalized `x` has a slope of 1, and 0 elsewhere.
#[derive(Clone, Copy)]
struct Passing<'a, P> {
    /// Mean, slope and shift, as in [`Normalize`]: the bits of the output are the same here.
    lines: [&'a [f32]; 3],
    passes: P,
}

impl<P: Fn(f32) -> bool + Copy + Sync> Mask for Passing<'_, P> {
    #[inline(always)]
    fn columns(self, column: usize, width: usize) -> Self {
        Passing { lines: self.lines.map(|line| &line[column..column + width]), ..self }
    }

    #[inline(always)]
    fn of(self, i: usize, x: f32, dy: f32) -> f32 {
        let [mean, slope, shift] = self.lines;
        if (self.passes)((x - mean[i]) * slope[i] + shift[i]) { dy } else { 0.0 }
    }
}

/// The sums of `dy` and of `dy · (x - mean)`: operands `x`, `dy`, moments, and with an activation scale and
/// shift.
pub(crate) fn sums(
    cx: &Context,
    op: &BatchNormSums,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (x, dy) = (cx.widen(&inputs[0])?, cx.widen(&inputs[1])?);
    let moments = cx.widen(&inputs[2])?;
    let channels = channels_of(output);
    let operands = [x.slice(), dy.slice()];
    let (means, variances) = moments.slice().split_at(channels);
    let [scale, shift] = match (op.activation.is_none(), inputs) {
        (false, [_, _, _, scale, shift]) => [cx.widen(scale)?, cx.widen(shift)?],
        _ => return channels::products(cx, operands, means, Unmasked, output),
    };
    let coefficients = Coefficients::new(cx, channels, |c| {
        let slope = slope(scale.slice()[c], variances[c], op.epsilon);
        [means[c], slope as f32, shift.slice()[c]]
    })?;
    let lines = coefficients.lines();
    by_activation!(op.activation, |_, passes| {
        channels::products(cx, operands, means, Passing { lines, passes }, output)
    })
}

/// Numbers of each channel for a line of some rows: `N` lines of them.
pub(crate) struct Coefficients<const N: usize> {
    memory: Memory,
    line: usize,
}

impl<const N: usize> Coefficients<N> {
    pub(crate) fn new(
        cx: &Context,
        channels: usize,
        of: impl Fn(usize) -> [f32; N],
    ) -> Result<Self> {
        let line = channels * rows_in_line(channels);
        let mut memory = cx.pool.take(4 * N * line)?;
        let all = memory.slice_mut::<f32>();
        for channel in 0..channels {
            for (number, to) in of(channel).into_iter().zip(all.chunks_exact_mut(line)) {
                to[channel..].iter_mut().step_by(channels).for_each(|to| *to = number);
            }
        }
        Ok(Coefficients { memory, line })
    }

    /// Elements of a task: whole lines.
    pub(crate) fn part(&self) -> usize {
        PART_ELEMS.div_ceil(self.line) * self.line
    }

    pub(crate) fn lines(&self) -> [&[f32]; N] {
        let all = self.memory.slice::<f32>();
        std::array::from_fn(|i| &all[i * self.line..(i + 1) * self.line])
    }
}

/// `scale / √(variance + epsilon)`, of the numbers of a channel.
fn slope(scale: f32, variance: f32, epsilon: f32) -> f64 {
    f64::from(scale) / (f64::from(variance) + f64::from(epsilon)).sqrt()
}

/// The normalization: operands `x`, moments, scale, shift, and an addend where there is one.
pub(crate) fn batch_norm(
    cx: &Context,
    op: &BatchNorm,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let channels = channels_of(output);
    let mut y = cx.pool.take(4 * output.count())?;
    if output.count() == 0 {
        return cx.narrow(y, output);
    }
    let x = cx.widen(&inputs[0])?;
    let [moments, scale, shift] = [1, 2, 3].map(|i| cx.widen(&inputs[i]));
    let (moments, scale, shift) = (moments?, scale?, shift?);
    let residual = inputs.get(4).map(|residual| cx.widen(residual)).transpose()?;
    let (means, variances) = moments.slice().split_at(channels);
    let (scale, shift) = (scale.slice(), shift.slice());
    let coefficients = Coefficients::new(cx, channels, |c| {
        [means[c], slope(scale[c], variances[c], op.epsilon) as f32, shift[c]]
    })?;
    let (x, part) = (x.slice(), coefficients.part());
    let residual = residual.as_ref().map(|residual| residual.slice());
    cx.threads.for_each_part(y.slice_mut::<f32>(), part, |index, y| {
        let here = index * part..index * part + y.len();
        let (x, lines) = (&x[here.clone()], coefficients.lines());
        by_activation!(op.activation, |last, _| match residual {
            None => cx.level.run(Normalize { x, y, lines, last }),
            Some(residual) => {
                cx.level.run(Added { x, residual: &residual[here], y, lines, last });
            }
        });
    });
    cx.narrow(y, output)
}

pub(crate) struct Normalize<'a, F> {
    pub(crate) x: &'a [f32],
    pub(crate) y: &'a mut [f32],
    /// Mean, slope and shift.
    pub(crate) lines: [&'a [f32]; 3],
    /// What is done to the result.
    pub(crate) last: F,
}

impl<F: Fn(f32) -> f32> Kernel for Normalize<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [mean, slope, shift] = self.lines;
        for (x, y) in self.x.chunks(mean.len()).zip(self.y.chunks_mut(mean.len())) {
            let coefficients = mean.iter().zip(slope).zip(shift);
            for ((y, &x), ((&mean, &slope), &shift)) in y.iter_mut().zip(x).zip(coefficients) {
                *y = (self.last)((x - mean) * slope + shift);
            }
        }
    }
}

/// [`Normalize`] with an addend.
struct Added<'a, F> {
    x: &'a [f32],
    residual: &'a [f32],
    y: &'a mut [f32],
    /// Mean, slope and shift.
    lines: [&'a [f32]; 3],
    /// What is done to the result.
    last: F,
}

impl<F: Fn(f32) -> f32> Kernel for Added<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [mean, slope, shift] = self.lines;
        let line = mean.len();
        let rows = self.x.chunks(line).zip(self.residual.chunks(line));
        for ((x, residual), y) in rows.zip(self.y.chunks_mut(line)) {
            let coefficients = mean.iter().zip(slope).zip(shift);
            let elements = y.iter_mut().zip(x).zip(residual);
            for (((y, x), residual), ((mean, slope), shift)) in elements.zip(coefficients) {
                *y = (self.last)((x - mean) * slope + shift + residual);
            }
        }
    }
}

/// The gradient through the moments: operands `x`, `dy`, moments, sums, scale, and with an activation the
/// shift.
pub(crate) fn grad(
    cx: &Context,
    op: &BatchNormGrad,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let channels = channels_of(output);
    let mut dx = cx.pool.take(4 * output.count())?;
    if output.count() == 0 {
        return cx.narrow(dx, output);
    }
    let (x, dy) = (cx.widen(&inputs[0])?, cx.widen(&inputs[1])?);
    let [moments, sums, scale] = [2, 3, 4].map(|i| cx.widen(&inputs[i]));
    let (moments, sums, scale) = (moments?, sums?, scale?);
    let shift = inputs.get(5).map(|shift| cx.widen(shift)).transpose()?;
    let (means, variances) = moments.slice().split_at(channels);
    let (of_dy, of_products) = sums.slice().split_at(channels);
    let scale = scale.slice();
    let count = (output.count() / channels) as f64;
    let coefficients = Coefficients::new(cx, channels, |c| {
        let along =
            f64::from(of_products[c]) / count / (f64::from(variances[c]) + f64::from(op.epsilon));
        let slope = slope(scale[c], variances[c], op.epsilon) as f32;
        let shift = shift.as_ref().map_or(0.0, |shift| shift.slice()[c]);
        [means[c], slope, shift, (f64::from(of_dy[c]) / count) as f32, along as f32]
    })?;
    let (x, dy, part) = (x.slice(), dy.slice(), coefficients.part());
    cx.threads.for_each_part(dx.slice_mut::<f32>(), part, |index, dx| {
        let here = index * part..index * part + dx.len();
        let (x, dy, lines) = (&x[here.clone()], &dy[here], coefficients.lines());
        by_activation!(op.activation, |_, passes| {
            cx.level.run(Gradient { x, dy, dx, lines, passes });
        });
    });
    cx.narrow(dx, output)
}

struct Gradient<'a, P> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    /// Mean, slope and shift, the mean of `dy`, and how much of `x - mean` is in it.
    lines: [&'a [f32]; 5],
    /// Whether `dy` goes through the activation of such a number.
    passes: P,
}

impl<P: Fn(f32) -> bool> Kernel for Gradient<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [mean, slope, shift, mean_dy, along] = self.lines;
        let line = mean.len();
        let rows = self.x.chunks(line).zip(self.dy.chunks(line)).zip(self.dx.chunks_mut(line));
        for ((x, dy), dx) in rows {
            let coefficients = mean.iter().zip(slope).zip(shift).zip(mean_dy).zip(along);
            let elements = dx.iter_mut().zip(x).zip(dy).zip(coefficients);
            for (((dx, x), dy), ((((mean, slope), shift), mean_dy), along)) in elements {
                let off = x - mean;
                let dy = if (self.passes)(off * slope + shift) { *dy } else { 0.0 };
                *dx = slope * (dy - mean_dy - off * along);
            }
        }
    }
}

/// The gradient in the scale: operands sums and moments. Few numbers: one thread.
pub(crate) fn scale_grad(
    cx: &Context,
    op: &BatchNormScaleGrad,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (sums, moments) = (cx.widen(&inputs[0])?, cx.widen(&inputs[1])?);
    let channels = output.count();
    let mut y = cx.pool.take(4 * channels)?;
    let rows = sums.slice()[channels..].iter().zip(&moments.slice()[channels..]);
    for (y, (&sum, &variance)) in y.slice_mut::<f32>().iter_mut().zip(rows) {
        *y = (f64::from(sum) * slope(1.0, variance, op.epsilon)) as f32;
    }
    Ok(y)
}

/// Running moments, one mini-batch on: operands running and batch. Few numbers: one thread.
pub(crate) fn running_moments(
    cx: &Context,
    op: &RunningMoments,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (running, batch) = (cx.widen(&inputs[0])?, cx.widen(&inputs[1])?);
    let [kept, of_mean, of_variance] = op.factors();
    let channels = output.count() / 2;
    let mut y = cx.pool.take(4 * output.count())?;
    let pairs = running.slice().iter().zip(batch.slice()).enumerate();
    for (y, (at, (running, batch))) in y.slice_mut::<f32>().iter_mut().zip(pairs) {
        *y = kept * running + batch * if at < channels { of_mean } else { of_variance };
    }
    Ok(y)
}
