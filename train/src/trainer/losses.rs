//! The loss of a mini-batch, and what it showed.

use striate_nn::{Module, named_parameters};
use striate_tensor::ops::WeightedCrossEntropy;
use striate_tensor::{DType, HostTensor, Tensor, no_grad};

use crate::{Result, TrainOptions};

/// What a mini-batch showed, before the weights moved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepReport {
    /// Samples in it.
    pub samples: usize,
    /// The sum of their cross-entropies.
    pub loss_sum: f64,
    /// How many of them were not ranked first.
    pub misses: usize,
}

impl StepReport {
    /// The mean cross-entropy.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.samples.max(1) as f64
    }
}

/// The summed cross-entropy of `logits [n, classes]`, with labels and classes as the options have them.
pub(crate) fn loss_sum(logits: &Tensor, labels: &Tensor, options: &TrainOptions) -> Result<Tensor> {
    let TrainOptions { label_smoothing, class_weights, .. } = options;
    if *label_smoothing == 0.0 && class_weights.is_empty() {
        return Ok(logits.cross_entropy(labels)?.sum_all()?);
    }
    let device = logits.device();
    let weights = match &class_weights[..] {
        [] => Tensor::ones([logits.dims().last().copied().unwrap_or(0)], device)?,
        weights => Tensor::from_vec(weights.to_vec(), [weights.len()], device)?,
    };
    let op = WeightedCrossEntropy { smoothing: *label_smoothing, ignored: None };
    Ok(logits.weighted_cross_entropy(labels, &weights, op)?.sum_all()?)
}

/// The loss of `logits [n, classes]`, and what they showed.
pub(crate) fn loss_of(
    logits: &Tensor,
    labels: &Tensor,
    options: &TrainOptions,
) -> Result<(Tensor, StepReport)> {
    let loss = loss_sum(logits, labels, options)?;
    let samples = logits.dims().first().copied().unwrap_or(0);
    // Both numbers in one read: it waits for the device.
    let numbers = no_grad(|| {
        let misses = logits.arg_max(1)?.ne(labels)?.cast(DType::F32)?.sum_all()?;
        Tensor::stack(&[&loss, &misses], 0)?.to_vec::<f32>()
    })?;
    let number = |i: usize| numbers.get(i).copied().unwrap_or(f32::NAN);
    let (loss_sum, misses) = (f64::from(number(0)), number(1) as usize);
    Ok((loss, StepReport { samples, loss_sum, misses }))
}

/// Whether all parameters of a module are finite.
pub(crate) fn is_finite(module: &dyn Module) -> Result<bool> {
    for (_, tensor) in named_parameters(module) {
        // NaN and infinities survive a sum of squares; what overflows it has diverged too.
        let squares = no_grad(|| tensor.mul(&tensor)?.sum_all())?;
        if !squares.to_scalar::<f32>()?.is_finite() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How many rows of `logits [n, classes]` do not have their label among the so many likeliest
/// classes, for each number of `tops`. Ties go to the smaller class, as in ccv's ranks.
///
/// # Errors
/// Where the device fails.
pub(crate) fn misses<const N: usize>(
    logits: &Tensor,
    labels: &Tensor,
    tops: [usize; N],
) -> Result<[usize; N]> {
    let (logits, labels) = (logits.to_host()?, labels.to_vec::<u32>()?);
    Ok(tops.map(|top| count_misses(&logits, &labels, top)))
}

fn count_misses(logits: &HostTensor, labels: &[u32], top: usize) -> usize {
    let classes = logits.ty().shape.dims().last().copied().unwrap_or(0).max(1);
    let Some(values) = logits.values().as_slice::<f32>() else { return labels.len() };
    let hit = |row: &[f32], label: usize| {
        let Some(&own) = row.get(label) else { return false };
        let above = row.iter().enumerate().filter(|&(class, &value)| {
            // NaN is above everything: a network that gives it knows nothing.
            value.is_nan() || value > own || (value == own && class < label)
        });
        !own.is_nan() && above.count() < top
    };
    let rows = values.chunks(classes).zip(labels);
    rows.filter(|&(row, &label)| !hit(row, label as usize)).count()
}

#[cfg(test)]
mod tests {
    use striate_tensor::Shape;

    use super::*;

    #[test]
    fn ranks_ties_by_class_and_takes_nan_for_a_miss() {
        let values = vec![1.0f32, 1.0, 0.0, f32::NAN, 2.0, 1.0, 3.0, 2.0, 1.0];
        let logits = HostTensor::new(Shape::new(&[3, 3]).unwrap(), values).unwrap();
        assert_eq!(count_misses(&logits, &[0, 1, 0], 1), 1);
        assert_eq!(count_misses(&logits, &[1, 1, 1], 1), 3);
        assert_eq!(count_misses(&logits, &[1, 1, 1], 2), 0);
        assert_eq!(count_misses(&logits, &[9, 0, 2], 3), 2);
    }
}
