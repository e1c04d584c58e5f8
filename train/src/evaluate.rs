//! How a network does on test samples.

use serde::{Deserialize, Serialize};
use striate_data::loader::{Batch, Loader, Position as BatchPosition};
use striate_nn::Network;
use striate_tensor::{Device, HostTensor, Shape, Tensor, no_grad};

use crate::trainer::misses;
use crate::{Observer, Result};

/// How many of the likeliest classes count for the second miss rate.
const TOP: usize = 5;

/// How a network does on test samples, one centre view of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvaluationReport {
    /// Samples classified.
    pub samples: u64,
    /// Samples left out because they could not be read.
    pub skipped: u64,
    /// The mean cross-entropy.
    pub loss: f64,
    /// Samples whose class was not ranked first.
    pub misses: u64,
    /// Samples whose class was not among the first five.
    pub misses_top5: u64,
}

impl EvaluationReport {
    /// The share of samples whose class was not ranked first.
    pub fn miss_rate(&self) -> f64 {
        self.misses as f64 / self.samples.max(1) as f64
    }

    /// The share of samples whose class was not among the first five.
    pub fn miss_rate_top5(&self) -> f64 {
        self.misses_top5 as f64 / self.samples.max(1) as f64
    }
}

/// Classifies all samples of a loader that is made for testing.
///
/// # Errors
/// Where samples do not fit the network, the device fails or the observer refuses.
pub fn evaluate(
    network: &Network,
    loader: &Loader,
    observer: &mut dyn Observer,
) -> Result<EvaluationReport> {
    let mut report = EvaluationReport::default();
    let mut loss_sum = 0.0;
    let all = loader.dataset().len();
    let mut batches = loader.batches(BatchPosition::default(), 1)?;
    while let Some(mut batch) = batches.next_batch()? {
        for skipped in &batch.skipped {
            observer.skipped(&skipped_reason(skipped))?;
        }
        report.skipped += batch.missing as u64;
        if !batch.is_empty() {
            let (images, labels) = tensors(&mut batch, network.device())?;
            let (logits, losses) = no_grad(|| -> Result<_> {
                let logits = network.forward(&images)?;
                let losses = logits.cross_entropy(&labels)?.to_vec::<f32>()?;
                Ok((logits, losses))
            })?;
            report.samples += labels.dims()[0] as u64;
            loss_sum += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            let [first, top5] = misses(&logits, &labels, [1, TOP])?;
            report.misses += first as u64;
            report.misses_top5 += top5 as u64;
        }
        observer.testing((report.samples + report.skipped) as usize, all)?;
    }
    report.loss = loss_sum / report.samples.max(1) as f64;
    Ok(report)
}

/// A batch as tensors: images `[n, rows, cols, channels]` and labels `[n]`.
pub(crate) fn tensors(batch: &mut Batch, device: &Device) -> Result<(Tensor, Tensor)> {
    let shape = Shape::new(&batch.shape())?;
    let images = HostTensor::new(shape, std::mem::take(&mut batch.images))?;
    let count = batch.labels.len();
    let labels = HostTensor::new(Shape::new(&[count])?, std::mem::take(&mut batch.labels))?;
    Ok((Tensor::from_host(images, device)?, Tensor::from_host(labels, device)?))
}

pub(crate) fn skipped_reason(skipped: &striate_data::loader::Skipped) -> String {
    format!("{}: {}", skipped.name, skipped.error)
}
