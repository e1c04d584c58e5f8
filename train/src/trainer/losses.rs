//! The loss of a mini-batch, and what it showed.

use striate_nn::{Module, named_parameters};
use striate_tensor::ops::WeightedCrossEntropy;
use striate_tensor::{DType, Error as TensorError, HostTensor, Pending, Tensor, no_grad};

use crate::{Error, Loss, Result, TrainOptions};

/// What a mini-batch showed, before the weights moved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepReport {
    /// Samples in it.
    pub samples: usize,
    /// The sum of their losses.
    pub loss_sum: f64,
    /// How many of them were not ranked first.
    pub misses: usize,
}

impl StepReport {
    /// The mean loss.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.samples.max(1) as f64
    }
}

/// The summed loss of `logits [n, classes]`, with labels and classes as the options have them. A label that is
/// no class gives NaN.
pub(crate) fn loss_sum(logits: &Tensor, labels: &Tensor, options: &TrainOptions) -> Result<Tensor> {
    let TrainOptions { loss, label_smoothing, class_weights, .. } = options;
    if *loss == Loss::CrossEntropy && *label_smoothing == 0.0 && class_weights.is_empty() {
        return Ok(logits.cross_entropy(labels)?.sum_all()?);
    }
    let &[samples, classes] = logits.dims() else {
        return Err(TensorError::shape("loss", "logits [n, classes]", logits.shape()).into());
    };
    // One label would be repeated for all samples.
    if labels.dims() != [samples] {
        let expected = format!("a label for each of {samples} samples");
        return Err(TensorError::shape("loss", expected, labels.shape()).into());
    }
    let device = logits.device();
    let weights = match &class_weights[..] {
        [] => Tensor::ones([classes], device)?,
        weights => Tensor::from_vec(weights.to_vec(), [weights.len()], device)?,
    };
    // What is asked of each class.
    let targets = || {
        let spread = *label_smoothing / classes as f32;
        labels.one_hot(classes)?.affine(1.0 - *label_smoothing, spread)
    };
    let each = match loss {
        Loss::CrossEntropy => {
            let op = WeightedCrossEntropy { smoothing: *label_smoothing, ignored: None };
            return Ok(logits.weighted_cross_entropy(labels, &weights, op)?.sum_all()?);
        }
        // Of a logit x and a target t: ln(1 + e^x) - t · x.
        Loss::BinaryCrossEntropy => logits.softplus()?.sub(&logits.mul(&targets()?)?)?,
        Loss::MeanSquaredError => logits.sub(&targets()?)?.square()?,
    };
    let each = each.mul(&weights.gather(labels, 0)?.reshape([samples, 1])?)?;
    Ok(each.sum_all()?.affine(1.0 / classes.max(1) as f32, 0.0)?)
}

/// The loss of `logits [n, classes]`, and what they showed, which the host has not waited for.
pub(crate) fn loss_of(
    logits: &Tensor,
    labels: &Tensor,
    options: &TrainOptions,
) -> Result<(Tensor, Pending<StepReport>)> {
    let loss = loss_sum(logits, labels, options)?;
    let samples = logits.dims().first().copied().unwrap_or(0);
    // Both numbers in one read.
    let numbers = no_grad(|| -> Result<_> {
        let misses = logits.arg_max(1)?.ne(labels)?.cast(DType::F32)?.sum_all()?;
        Ok(Tensor::stack(&[&loss, &misses], 0)?.read_vec::<f32>())
    })?;
    let report = numbers.and_then(move |numbers| {
        let number = |i: usize| numbers.get(i).copied().unwrap_or(f32::NAN);
        let (loss_sum, misses) = (f64::from(number(0)), number(1) as usize);
        Ok(StepReport { samples, loss_sum, misses })
    });
    Ok((loss, report))
}

/// A mini-batch that has been learned, and what it showed, which may be on its way from the device: see
/// [`Trainer::step_pending`](super::Trainer::step_pending).
#[derive(Debug)]
#[must_use = "a loss that is not finite is found when the report is looked at"]
pub struct PendingStep {
    iteration: u64,
    report: Pending<StepReport>,
}

impl PendingStep {
    pub(crate) fn new(iteration: u64, report: Pending<StepReport>) -> Self {
        PendingStep { iteration, report }
    }

    /// Whether the report was there at once: on devices that compute in host memory.
    pub fn is_ready(&self) -> bool {
        self.report.is_ready()
    }

    /// The report; blocks until it is there.
    ///
    /// # Errors
    /// [`Error::Diverged`] where the loss is not finite, or the device failed.
    pub fn wait(self) -> Result<StepReport> {
        checked(self.iteration, self.report.wait()?)
    }

    /// The report, for programs that must not block.
    ///
    /// # Errors
    /// As [`wait`](PendingStep::wait).
    pub async fn report(self) -> Result<StepReport> {
        checked(self.iteration, self.report.await?)
    }
}

/// Refuses a loss that is not finite.
pub(super) fn checked(iteration: u64, report: StepReport) -> Result<StepReport> {
    match report.loss_sum.is_finite() {
        true => Ok(report),
        false => Err(Error::Diverged { iteration, loss: report.loss() }),
    }
}

/// Whether all parameters of a module are finite.
pub(crate) fn is_finite(module: &dyn Module) -> Result<bool> {
    // NaN and infinities survive a sum of squares; what overflows it has diverged too.
    let squares = no_grad(|| {
        let parameters = named_parameters(module).into_iter();
        let squares =
            parameters.map(|(_, tensor)| Ok(tensor.mul(&tensor)?.sum_all()?.read_scalar()));
        squares.collect::<Result<Vec<Pending<f32>>>>()
    })?;
    // All are asked for before the first is waited for.
    let mut finite = true;
    for square in squares {
        finite &= square.wait()?.is_finite();
    }
    Ok(finite)
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
    let (logits, labels) = (logits.read(), labels.read_vec::<u32>());
    let (logits, labels) = (logits.wait()?, labels.wait()?);
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
    use striate_nn::loss::{binary_cross_entropy, mse};
    use striate_tensor::{Device, RandomKey, Reference, Shape};

    use super::*;

    #[test]
    fn losses_are_those_of_the_layer_library() {
        let device = Device::new(Reference::new());
        let logits = Tensor::uniform([4, 3], -3.0, 3.0, RandomKey::new(1, 0), &device).unwrap();
        let labels = Tensor::from_vec(vec![2u32, 0, 1, 1], [4], &device).unwrap();
        let scalar = |tensor: Tensor| f64::from(tensor.to_scalar::<f32>().unwrap());
        for smoothing in [0.0f32, 0.3] {
            let targets =
                labels.one_hot(3).unwrap().affine(1.0 - smoothing, smoothing / 3.0).unwrap();
            for (loss, expected) in [
                (Loss::BinaryCrossEntropy, binary_cross_entropy(&logits, &targets, 1.0).unwrap()),
                (Loss::MeanSquaredError, mse(&logits, &targets).unwrap()),
            ] {
                let options =
                    TrainOptions { loss, label_smoothing: smoothing, ..TrainOptions::default() };
                // Theirs are means over all numbers, this is a sum over the samples.
                let sum = scalar(loss_sum(&logits, &labels, &options).unwrap());
                let expected = 4.0 * scalar(expected);
                assert!((sum - expected).abs() < 1e-5, "{loss:?}: {sum} for {expected}");
                // A class that counts nothing: what is left is the loss of the other samples.
                let class_weights = vec![1.0, 0.0, 2.0];
                let options = TrainOptions { class_weights, ..options };
                let weighted = scalar(loss_sum(&logits, &labels, &options).unwrap());
                let row = |row: usize| {
                    let rows = [&logits, &targets].map(|all| {
                        let values = all.to_vec::<f32>().unwrap()[3 * row..3 * row + 3].to_vec();
                        Tensor::from_vec(values, [1, 3], &device).unwrap()
                    });
                    scalar(match loss {
                        Loss::MeanSquaredError => mse(&rows[0], &rows[1]).unwrap(),
                        _ => binary_cross_entropy(&rows[0], &rows[1], 1.0).unwrap(),
                    })
                };
                let expected = 2.0 * row(0) + row(1);
                assert!((weighted - expected).abs() < 1e-5, "{loss:?}: {weighted} for {expected}");
                let of = |labels: Vec<u32>| {
                    let count = labels.len();
                    let labels = Tensor::from_vec(labels, [count], &device).unwrap();
                    loss_sum(&logits, &labels, &options)
                };
                assert!(scalar(of(vec![0, 1, 3, 2]).unwrap()).is_nan(), "3 is no class");
                let error = of(vec![0]).unwrap_err().to_string();
                assert!(error.contains("a label for each of 4 samples"), "{error}");
            }
        }
    }

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
