//! What training minimises.

use striate_tensor::ops::WeightedCrossEntropy;
use striate_tensor::{Result, Tensor};

/// The mean cross-entropy of `logits [n, classes]` against `labels [n]` (u32): a tensor without
/// axes. A label that is no class gives NaN; so does an empty batch.
///
/// # Errors
/// Where types or shapes do not fit, or the device fails.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    logits.cross_entropy(labels)?.mean_all()
}

/// What a cross-entropy asks for, beside the labels themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropyOptions<'a> {
    /// The share of each label that is spread over all classes.
    pub smoothing: f32,
    /// The weights of the classes `[classes]`; 1 each where there are none.
    pub weights: Option<&'a Tensor>,
    /// The label of samples that do not count.
    pub ignored: Option<u32>,
}

/// As [`cross_entropy`], with smoothed labels, weights of classes and ignored labels: the sum over the samples
/// ([`WeightedCrossEntropy`]) divided by the sum of the weights of their labels, as in PyTorch. NaN where
/// all labels are ignored.
///
/// ```
/// use striate_nn::loss::{CrossEntropyOptions, cross_entropy_with};
/// use striate_tensor::{Device, Reference, Tensor};
///
/// # fn main() -> striate_tensor::Result<()> {
/// let device = Device::new(Reference::new());
/// let logits = Tensor::from_vec(vec![2.0f32, 0.0, 0.0, 0.0, 1.0, 0.0], [2, 3], &device)?;
/// let labels = Tensor::from_vec(vec![0u32, 255], [2], &device)?;
/// let options = CrossEntropyOptions { ignored: Some(255), ..CrossEntropyOptions::default() };
/// let loss = cross_entropy_with(&logits, &labels, options)?.to_scalar::<f32>()?;
/// assert!((loss - 0.2395).abs() < 1e-4, "{loss}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Where types or shapes do not fit, the smoothing is no share, or the device fails.
pub fn cross_entropy_with(
    logits: &Tensor,
    labels: &Tensor,
    options: CrossEntropyOptions<'_>,
) -> Result<Tensor> {
    let CrossEntropyOptions { smoothing, weights, ignored } = options;
    let device = logits.device();
    let weights = match weights {
        Some(weights) => weights.detach(),
        None => Tensor::ones([logits.dims().last().copied().unwrap_or(0)], device)?,
    };
    let sum = logits
        .weighted_cross_entropy(labels, &weights, WeightedCrossEntropy { smoothing, ignored })?
        .sum_all()?;
    let mut counted = weights.gather(labels, 0)?;
    if let Some(ignored) = ignored {
        // What is ignored may be beyond the classes, where there is no weight.
        let none = Tensor::scalar(0.0f32, device)?;
        counted = labels.eq(&Tensor::scalar(ignored, device)?)?.select(&none, &counted)?;
    }
    sum.div(&counted.sum_all()?)
}

/// The mean squared difference of `values` and `targets`, of one shape: a tensor without axes.
///
/// # Errors
/// Where types or shapes do not fit, or the device fails.
pub fn mse(values: &Tensor, targets: &Tensor) -> Result<Tensor> {
    values.sub(targets)?.square()?.mean_all()
}

/// The mean binary cross-entropy of `logits` and `targets` from 0 to 1, of one shape: a tensor without axes. What
/// targets ask for counts `weight` times as much as what they do not; 1 is usual. Neither overflows at large
/// logits.
///
/// ```
/// use striate_nn::loss::binary_cross_entropy;
/// use striate_tensor::{Device, Reference, Tensor};
///
/// # fn main() -> striate_tensor::Result<()> {
/// let device = Device::new(Reference::new());
/// let logits = Tensor::from_vec(vec![0.0f32, 500.0], [2], &device)?;
/// let targets = Tensor::from_vec(vec![1.0f32, 1.0], [2], &device)?;
/// let loss = binary_cross_entropy(&logits, &targets, 1.0)?.to_scalar::<f32>()?;
/// assert!((loss - 2f32.ln() / 2.0).abs() < 1e-6, "{loss}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Where types or shapes do not fit, or the device fails.
pub fn binary_cross_entropy(logits: &Tensor, targets: &Tensor, weight: f32) -> Result<Tensor> {
    let count = logits.ty().count();
    let column = |x: &Tensor| x.reshape([count, 1]);
    // The logarithms of sigmoid(x) and of sigmoid(-x) are those of a softmax of x and 0.
    let zeros = Tensor::zeros([count, 1], logits.device())?;
    let logarithms = Tensor::concatenate(&[&column(logits)?, &zeros], 1)?.log_softmax(1)?;
    let wanted = column(&targets.affine(-weight, 0.0)?)?;
    let unwanted = column(&targets.affine(1.0, -1.0)?)?;
    let each = Tensor::concatenate(&[&wanted, &unwanted], 1)?.mul(&logarithms)?;
    // Two terms for each of the logits.
    each.sum_all()?.affine(1.0 / count as f32, 0.0)
}
