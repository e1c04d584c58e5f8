//! How a network does on test samples.

use serde::{Deserialize, Serialize};
use striate_data::loader::{BatchPosition, Loader};
use striate_nn::Network;
use striate_tensor::no_grad;

use crate::parallel::tensors;
use crate::trainer::misses;
use crate::{Observer, Result};

/// How many of the likeliest classes count for the second miss rate.
const TOP: usize = 5;

/// How a network does on test samples, one view of each: the recipe's
/// [`TestView`](striate_data::augment::TestView), which the network's metadata record and classifying
/// uses by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvaluationReport {
    /// Samples classified.
    pub samples: u64,
    /// Samples left out because they could not be read.
    pub skipped: u64,
    /// The mean cross-entropy.
    #[serde(deserialize_with = "crate::history::number_or_null")]
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

/// What a shard of a batch showed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tested {
    pub(crate) batch: usize,
    samples: u64,
    skipped: u64,
    loss: f64,
    misses: u64,
    misses_top5: u64,
}

impl Tested {
    /// All of them together, in their order.
    pub(crate) fn report(all: Vec<Tested>) -> EvaluationReport {
        let mut report = EvaluationReport::default();
        for tested in all {
            report.samples += tested.samples;
            report.skipped += tested.skipped;
            report.loss += tested.loss;
            report.misses += tested.misses;
            report.misses_top5 += tested.misses_top5;
        }
        report.loss /= report.samples.max(1) as f64;
        report
    }

    /// As numbers that other ranks get.
    pub(crate) fn to_numbers(self) -> [f64; 6] {
        let Tested { batch, samples, skipped, loss, misses, misses_top5 } = self;
        [batch as f64, samples as f64, skipped as f64, loss, misses as f64, misses_top5 as f64]
    }

    pub(crate) fn from_numbers(numbers: &[f64]) -> impl Iterator<Item = Tested> {
        numbers.chunks_exact(6).map(|numbers| Tested {
            batch: numbers[0] as usize,
            samples: numbers[1] as u64,
            skipped: numbers[2] as u64,
            loss: numbers[3],
            misses: numbers[4] as u64,
            misses_top5: numbers[5] as u64,
        })
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
    Ok(Tested::report(evaluate_shards(network, loader, observer)?))
}

/// As [`evaluate`], shard by shard of what the loader forms.
pub(crate) fn evaluate_shards(
    network: &Network,
    loader: &Loader,
    observer: &mut dyn Observer,
) -> Result<Vec<Tested>> {
    let mut all_tested = Vec::new();
    let all = loader.dataset().len();
    let mut batches = loader.batches(BatchPosition::default(), 1)?;
    while let Some(mut batch) = batches.next_batch()? {
        for skipped in &batch.skipped {
            observer.skipped(&skipped.to_string())?;
        }
        let number = batch.position.batch;
        let mut skipped = batch.missing as u64;
        for shard in tensors(&mut batch, network.device())? {
            let mut tested = Tested {
                batch: number,
                skipped: std::mem::take(&mut skipped),
                ..Tested::default()
            };
            if let Some((images, labels)) = shard {
                let (logits, losses) = no_grad(|| -> Result<_> {
                    let logits = network.forward(&images)?;
                    let losses = logits.cross_entropy(&labels)?.read_vec::<f32>();
                    Ok((logits, losses))
                })?;
                tested.samples = labels.dims()[0] as u64;
                let [first, top5] = misses(&logits, &labels, [1, TOP])?;
                tested.loss = losses.wait()?.iter().map(|&loss| f64::from(loss)).sum();
                (tested.misses, tested.misses_top5) = (first as u64, top5 as u64);
            }
            all_tested.push(tested);
        }
        let done = (number + 1).saturating_mul(all.div_ceil(loader.batches_per_epoch().max(1)));
        observer.testing(done.min(all), all)?;
    }
    Ok(all_tested)
}
