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

pub(super) fn cross_entropy_grad(logits: &Floats, labels: &Floats, dy: &Floats) -> Vec<f64> {
    let classes = logits.shape.dims()[1];
    let mut gradient = Vec::with_capacity(logits.values.len());
    for (sample, (&label, dy)) in labels.values.iter().zip(&dy.values).enumerate() {
        let logits = &logits.values[sample * classes..][..classes];
        let (max, sum) = max_and_sum_of_exponentials(logits);
        let is_class = (label as usize) < classes;
        gradient.extend(logits.iter().enumerate().map(|(class, logit)| {
            let one_hot = if class == label as usize { 1.0 } else { 0.0 };
            if is_class { dy * ((logit - max).exp() / sum - one_hot) } else { f64::NAN }
        }));
    }
    gradient
}
