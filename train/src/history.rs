//! What a training remembers of its way: curves to plot, sums of the epoch that it is in.

use serde::{Deserialize, Serialize};

use crate::{EvaluationReport, Plateau, StepReport};

/// Points of the loss curve that are kept at most: more than a plot has pixels.
const MAX_POINTS: usize = 2048;

/// The curves of a training: kept in its working file, drawn by `striate plot`. It holds no times,
/// so that a training that was interrupted ends with the same file as one that was not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// The loss curve, a point for every [`stride`](History::stride) mini-batches.
    pub points: Vec<Point>,
    /// Mini-batches a point.
    pub stride: u64,
    /// The epochs that have ended.
    pub epochs: Vec<EpochReport>,
    /// Where the training is with a schedule that waits for plateaus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plateau: Option<Plateau>,
    /// The point that is being gathered.
    pub(crate) point: Sums,
    /// The epoch that is going on.
    pub(crate) epoch: Sums,
}

/// A point of the loss curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The mini-batches before it and in it.
    pub iteration: u64,
    /// The mean loss of its samples.
    pub loss: f64,
    /// The share of its samples that were not ranked first.
    pub miss_rate: f64,
}

/// What an epoch was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Counted from 0.
    pub epoch: u64,
    /// Mini-batches up to its end, over the whole training.
    pub iterations: u64,
    /// Training samples seen in it.
    pub samples: u64,
    /// Training samples left out because they could not be read.
    pub skipped: u64,
    /// The mean training loss, while the weights moved.
    pub loss: f64,
    /// The share of training samples that were not ranked first, while the weights moved.
    pub miss_rate: f64,
    /// How the network does on the test samples, where there are any.
    pub test: Option<EvaluationReport>,
}

/// Sums over mini-batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub(crate) batches: u64,
    pub(crate) samples: u64,
    pub(crate) skipped: u64,
    pub(crate) loss: f64,
    pub(crate) misses: u64,
}

impl Sums {
    fn add(&mut self, step: &StepReport, skipped: usize) {
        self.batches += 1;
        self.samples += step.samples as u64;
        self.skipped += skipped as u64;
        self.loss += step.loss_sum;
        self.misses += step.misses as u64;
    }

    pub(crate) fn mean_loss(&self) -> f64 {
        self.loss / self.samples.max(1) as f64
    }

    pub(crate) fn miss_rate(&self) -> f64 {
        self.misses as f64 / self.samples.max(1) as f64
    }
}

/// A number, or the null that JSON has for one that is not finite: finite weights can give a test
/// loss that is not, and a working file with it must still be read.
pub(crate) fn number_or_null<'de, D>(deserializer: D) -> Result<f64, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl History {
    /// Notes a mini-batch, number `iteration` of the training.
    pub(crate) fn step(&mut self, iteration: u64, step: &StepReport, skipped: usize) {
        self.stride = self.stride.max(1);
        self.epoch.add(step, skipped);
        self.point.add(step, skipped);
        if self.point.batches < self.stride {
            return;
        }
        let point = std::mem::take(&mut self.point);
        let (loss, miss_rate) = (point.mean_loss(), point.miss_rate());
        self.points.push(Point { iteration: iteration + 1, loss, miss_rate });
        if self.points.len() >= MAX_POINTS {
            self.halve();
        }
    }

    /// Joins pairs of points, and gathers twice as many mini-batches for each from now on.
    fn halve(&mut self) {
        let join = |pair: &[Point]| match *pair {
            [a, b] => Some(Point {
                iteration: b.iteration,
                loss: (a.loss + b.loss) / 2.0,
                miss_rate: (a.miss_rate + b.miss_rate) / 2.0,
            }),
            _ => None,
        };
        self.points = self.points.chunks(2).filter_map(join).collect();
        self.stride *= 2;
    }

    /// Notes the end of an epoch.
    pub(crate) fn end_epoch(
        &mut self,
        epoch: u64,
        iterations: u64,
        test: Option<EvaluationReport>,
    ) -> EpochReport {
        let sums = std::mem::take(&mut self.epoch);
        let report = EpochReport {
            epoch,
            iterations,
            samples: sums.samples,
            skipped: sums.skipped,
            loss: sums.mean_loss(),
            miss_rate: sums.miss_rate(),
            test,
        };
        self.epochs.push(report);
        report
    }

    /// Whether the last epoch did better on the test samples than all before it.
    pub(crate) fn last_is_best(&self) -> bool {
        let rate = |epoch: &EpochReport| Some(epoch.test?.miss_rate());
        let Some((last, before)) = self.epochs.split_last() else { return false };
        let best = before.iter().filter_map(rate).min_by(f64::total_cmp);
        rate(last).is_some_and(|rate| best.is_none_or(|best| rate < best))
    }

    /// The lowest error rate on the test samples so far.
    pub fn best(&self) -> Option<f64> {
        let rates = self.epochs.iter().filter_map(|epoch| Some(epoch.test?.miss_rate()));
        rates.min_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_stays_short_and_reads_back_to_the_bit() {
        let mut history = History::default();
        for iteration in 0..10_000 {
            let loss_sum = 1.0 / (iteration + 3) as f64;
            history.step(iteration, &StepReport { samples: 3, loss_sum, misses: 1 }, 0);
        }
        assert!(history.points.len() < MAX_POINTS && history.points.len() >= MAX_POINTS / 2);
        assert_eq!(history.stride, 8);
        assert_eq!(history.points[0].iteration, 8);
        assert!(history.points.windows(2).all(|w| w[0].loss > w[1].loss));
        assert_eq!(history.epoch.samples, 30_000);
        let text = serde_json::to_string(&history).unwrap();
        assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
    }

    #[test]
    fn a_test_loss_that_is_not_finite_reads_back() {
        let mut history = History::default();
        let test = EvaluationReport { samples: 3, loss: f64::INFINITY, ..Default::default() };
        history.end_epoch(0, 4, Some(test));
        let text = serde_json::to_string(&history).unwrap();
        let read: History = serde_json::from_str(&text).unwrap();
        assert!(read.epochs[0].test.unwrap().loss.is_nan());
    }
}
