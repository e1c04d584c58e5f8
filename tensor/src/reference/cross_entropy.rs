//! Cross-entropy of logits against labels.

use super::softmax::max_and_sum_of_exponentials;
use super::values::Floats;
use crate::ops::WeightedCrossEntropy;

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

/// What a label asks of each class, and whether it is ignored or wrong.
fn wanted(op: &WeightedCrossEntropy, label: f64, weights: &[f64]) -> Result<Vec<f64>, f64> {
    let smoothing = f64::from(op.smoothing);
    if op.ignored.is_some_and(|ignored| label == f64::from(ignored)) {
        return Err(0.0);
    }
    if label as usize >= weights.len() {
        return Err(f64::NAN);
    }
    let spread = smoothing / weights.len() as f64;
    let wanted = weights.iter().enumerate().map(|(class, weight)| {
        let own = if class == label as usize { 1.0 - smoothing } else { 0.0 };
        weight * (own + spread)
    });
    Ok(wanted.collect())
}

pub(super) fn weighted_cross_entropy(
    op: &WeightedCrossEntropy,
    logits: &Floats,
    labels: &Floats,
    weights: &Floats,
) -> Vec<f64> {
    let classes = logits.shape.dims()[1];
    let loss = |(sample, &label): (usize, &f64)| {
        let logits = &logits.values[sample * classes..][..classes];
        let (max, sum) = max_and_sum_of_exponentials(logits);
        match wanted(op, label, &weights.values) {
            Ok(wanted) => (wanted.iter().zip(logits))
                .filter(|(wanted, _)| **wanted != 0.0)
                .map(|(wanted, logit)| wanted * (sum.ln() - (logit - max)))
                .sum(),
            Err(other) => other,
        }
    };
    labels.values.iter().enumerate().map(loss).collect()
}

pub(super) fn weighted_cross_entropy_grad(
    op: &WeightedCrossEntropy,
    logits: &Floats,
    labels: &Floats,
    weights: &Floats,
    dy: &Floats,
) -> Vec<f64> {
    let classes = logits.shape.dims()[1];
    let mut gradient = Vec::with_capacity(logits.values.len());
    for (sample, (&label, dy)) in labels.values.iter().zip(&dy.values).enumerate() {
        let logits = &logits.values[sample * classes..][..classes];
        let (max, sum) = max_and_sum_of_exponentials(logits);
        match wanted(op, label, &weights.values) {
            Ok(wanted) => {
                let all: f64 = wanted.iter().sum();
                let own = logits.iter().zip(&wanted);
                gradient.extend(own.map(|(x, wanted)| dy * ((x - max).exp() / sum * all - wanted)));
            }
            Err(other) => gradient.extend(logits.iter().map(|_| other)),
        }
    }
    gradient
}
