//! Cross-entropy of logits against labels.

use striate_tensor::{Operand, Result, TensorType};

use crate::backend::Context;
use crate::buffer::elements;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;
use crate::softmax::{Maximum, SumOfExponentials};

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
