//! Cross-entropy of logits against labels.

use super::softmax::max_and_sum_of_exponentials;
use super::values::Floats;

pub(super) fn cross_entropy(logits: &Floats, labels: &Floats) -> Vec<f64> {
    let classes = logits.shape.dims()[1];
    (labels.values.iter().enumerate())
        .map(|(sample, &label)| {
            let logits = &logits.values[sample * classes..][..classes];
            let (max, sum) = max_and_sum_of_exponentials(logits);
            match logits.get(label as usize) {
                Some(logit) => sum.ln() - (logit - max),
                None => f64::NAN,
            }
        })
        .collect()
}
