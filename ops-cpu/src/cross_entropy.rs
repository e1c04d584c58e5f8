//! Cross-entropy of logits against labels, and its gradient.

use striate_tensor::ops::WeightedCrossEntropy;
use striate_tensor::{Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;
use crate::softmax::{Line, Maximum, SumOfExponentials};

pub(crate) fn cross_entropy(
    cx: &Context,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [_, classes] = inputs[0].ty.shape.matrix("cross_entropy", "logits")?;
    let logits = cx.widen(&inputs[0])?;
    let logits = logits.slice();
    let labels = elements::<u32>(&inputs[1])?;
    let mut losses = cx.pool.take(4 * output.count())?;
    let part = PART_ELEMS.div_ceil(classes.max(1));
    cx.threads.for_each_part(losses.slice_mut::<f32>(), part, |index, losses| {
        let first = index * part;
        for (sample, loss) in (first..).zip(losses) {
            let logits = &logits[sample * classes..(sample + 1) * classes];
            let max = cx.level.run(Maximum(logits));
            let sum = cx.level.run(SumOfExponentials { x: logits, max });
            *loss = match logits.get(labels[sample] as usize) {
                Some(&logit) => (sum.ln() - (f64::from(logit) - f64::from(max))) as f32,
                None => f32::NAN,
            };
        }
    });
    Ok(losses)
}

/// The gradient of cross-entropy: operands `logits`, `labels` and `dy`.
pub(crate) fn cross_entropy_grad(
    cx: &Context,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [_, classes] = inputs[0].ty.shape.matrix("cross_entropy_grad", "logits")?;
    let (logits, dy) = (cx.widen(&inputs[0])?, cx.widen(&inputs[2])?);
    let (logits, dy) = (logits.slice(), dy.slice());
    let labels = elements::<u32>(&inputs[1])?;
    let mut gradient = cx.pool.take(4 * output.count())?;
    if classes > 0 {
        let part = PART_ELEMS.div_ceil(classes) * classes;
        cx.threads.for_each_part(gradient.slice_mut::<f32>(), part, |index, gradient| {
            let first = index * part / classes;
            for (sample, y) in (first..).zip(gradient.chunks_exact_mut(classes)) {
                let x = &logits[sample * classes..(sample + 1) * classes];
                cx.level.run(Line { x, y, log: false });
                match y.get_mut(labels[sample] as usize) {
                    Some(y) => *y -= 1.0,
                    None => y.fill(f32::NAN),
                }
                y.iter_mut().for_each(|y| *y *= dy[sample]);
            }
        });
    }
    cx.narrow(gradient, output)
}

/// What a label asks of a class that has this weight; its number is `class`.
struct Wanted {
    own: f64,
    spread: f64,
    label: usize,
}

impl Wanted {
    /// Of a label; otherwise what the loss and its gradient are.
    fn of(op: &WeightedCrossEntropy, label: u32, classes: usize) -> std::result::Result<Self, f32> {
        if op.ignored == Some(label) {
            return Err(0.0);
        }
        let (label, smoothing) = (label as usize, f64::from(op.smoothing));
        match label < classes {
            true => Ok(Wanted { own: 1.0 - smoothing, spread: smoothing / classes as f64, label }),
            false => Err(f32::NAN),
        }
    }

    fn by(&self, class: usize, weight: f32) -> f64 {
        let own = if class == self.label { self.own } else { 0.0 };
        f64::from(weight) * (own + self.spread)
    }
}

/// Operands `logits`, `labels` and `weights`.
pub(crate) fn weighted_cross_entropy(
    cx: &Context,
    op: &WeightedCrossEntropy,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [_, classes] = inputs[0].ty.shape.matrix("weighted_cross_entropy", "logits")?;
    let logits = cx.widen(&inputs[0])?;
    let logits = logits.slice();
    let (labels, weights) = (elements::<u32>(&inputs[1])?, elements::<f32>(&inputs[2])?);
    let mut losses = cx.pool.take(4 * output.count())?;
    let part = PART_ELEMS.div_ceil(classes.max(1));
    cx.threads.for_each_part(losses.slice_mut::<f32>(), part, |index, losses| {
        let first = index * part;
        for (sample, loss) in (first..).zip(losses) {
            let logits = &logits[sample * classes..(sample + 1) * classes];
            *loss = match Wanted::of(op, labels[sample], classes) {
                Err(other) => other,
                Ok(wanted) => {
                    let max = cx.level.run(Maximum(logits));
                    let sum = cx.level.run(SumOfExponentials { x: logits, max });
                    let (max, log) = (f64::from(max), sum.ln());
                    let mut all = 0.0;
                    for (class, (&logit, &weight)) in logits.iter().zip(weights).enumerate() {
                        let wanted = wanted.by(class, weight);
                        if wanted != 0.0 {
                            all += wanted * (log - (f64::from(logit) - max));
                        }
                    }
                    all as f32
                }
            };
        }
    });
    Ok(losses)
}

/// Its gradient: operands `logits`, `labels`, `weights` and `dy`.
pub(crate) fn weighted_cross_entropy_grad(
    cx: &Context,
    op: &WeightedCrossEntropy,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [_, classes] = inputs[0].ty.shape.matrix("weighted_cross_entropy_grad", "logits")?;
    let (logits, dy) = (cx.widen(&inputs[0])?, cx.widen(&inputs[3])?);
    let (logits, dy) = (logits.slice(), dy.slice());
    let (labels, weights) = (elements::<u32>(&inputs[1])?, elements::<f32>(&inputs[2])?);
    let mut gradient = cx.pool.take(4 * output.count())?;
    if classes > 0 {
        let part = PART_ELEMS.div_ceil(classes) * classes;
        cx.threads.for_each_part(gradient.slice_mut::<f32>(), part, |index, gradient| {
            let first = index * part / classes;
            for (sample, y) in (first..).zip(gradient.chunks_exact_mut(classes)) {
                let x = &logits[sample * classes..(sample + 1) * classes];
                let wanted = match Wanted::of(op, labels[sample], classes) {
                    Ok(wanted) => wanted,
                    Err(other) => {
                        y.fill(other);
                        continue;
                    }
                };
                cx.level.run(Line { x, y: &mut *y, log: false });
                let all: f64 = weights
                    .iter()
                    .enumerate()
                    .map(|(class, &weight)| wanted.by(class, weight))
                    .sum();
                for (class, (y, &weight)) in y.iter_mut().zip(weights).enumerate() {
                    let slope = f64::from(*y) * all - wanted.by(class, weight);
                    *y = (slope * f64::from(dy[sample])) as f32;
                }
            }
        });
    }
    cx.narrow(gradient, output)
}
