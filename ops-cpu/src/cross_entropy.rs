//! Cross-entropy of logits against labels, and its gradient.

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
