//! From what a training remembers to what is drawn.

use striate::train::{EvaluationReport, History};

/// The part of all points that the smoothed curve looks back on where nothing else is asked for.
const SMOOTHED_PART: usize = 50;

/// Numbers beyond are a training that has diverged, and would flatten every other curve.
const LARGEST: f64 = 1e6;

/// A training with its name, ready to be drawn.
#[derive(Debug)]
pub(super) struct Curves {
    pub(super) name: String,
    pub(super) history: History,
    /// The smoothed loss at each point; `None` where no number has been.
    pub(super) smoothed: Vec<Option<f64>>,
}

/// A line: x and y of its points.
pub(super) type Line = Vec<(f64, f64)>;

/// What the horizontal axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Epochs,
    Iterations,
}

impl Curves {
    /// The curves of a history, smoothed over so many points.
    pub(super) fn new(name: String, history: History, smooth: Option<usize>) -> Self {
        let span = smooth.unwrap_or(history.points.len() / SMOOTHED_PART).max(1);
        let smoothed = smooth_losses(&history, span);
        Curves { name, history, smoothed }
    }

    /// So many mini-batches in epochs; `None` where no epoch has ended. Within an epoch and after
    /// the last one mini-batches are taken to be equally long.
    pub(super) fn epochs_at(&self, iteration: u64) -> Option<f64> {
        let ends = self.history.epochs.iter().map(|epoch| (epoch.iterations, epoch.epoch + 1));
        let mut before = (0u64, 0u64);
        let mut place = None;
        for end in ends {
            let (length, epochs) = (end.0.saturating_sub(before.0), end.1.saturating_sub(before.1));
            let within = iteration.saturating_sub(before.0) as f64;
            place = Some(before.1 as f64 + within * epochs as f64 / length.max(1) as f64);
            if iteration <= end.0 {
                break;
            }
            before = end;
        }
        place
    }

    fn place(&self, axis: Axis, iteration: u64) -> Option<f64> {
        match axis {
            Axis::Epochs => self.epochs_at(iteration),
            Axis::Iterations => Some(iteration as f64),
        }
    }

    /// The loss of the mini-batches.
    pub(super) fn losses(&self, axis: Axis) -> Line {
        let points = self.history.points.iter();
        points.filter_map(|p| sane(self.place(axis, p.iteration)?, p.loss)).collect()
    }

    /// The smoothed loss.
    pub(super) fn smoothed(&self, axis: Axis) -> Line {
        let points = self.history.points.iter().zip(&self.smoothed);
        points.filter_map(|(p, loss)| sane(self.place(axis, p.iteration)?, (*loss)?)).collect()
    }

    /// The miss rate of the training samples: of each epoch, or of the points where none has ended.
    pub(super) fn training_misses(&self, axis: Axis) -> Line {
        if self.history.epochs.is_empty() {
            let points = self.history.points.iter();
            return points
                .filter_map(|p| sane(self.place(axis, p.iteration)?, p.miss_rate))
                .collect();
        }
        let epochs = self.history.epochs.iter();
        epochs.filter_map(|e| sane(self.place(axis, e.iterations)?, e.miss_rate)).collect()
    }

    /// A number of the test samples after each epoch.
    pub(super) fn test(&self, axis: Axis, number: fn(&EvaluationReport) -> f64) -> Line {
        let epochs = self.history.epochs.iter();
        epochs
            .filter_map(|e| sane(self.place(axis, e.iterations)?, number(e.test.as_ref()?)))
            .collect()
    }
}

/// Epochs, unless a training has not ended one.
pub(super) fn axis(trainings: &[Curves]) -> Axis {
    match trainings.iter().any(|curves| curves.history.epochs.is_empty()) {
        true => Axis::Iterations,
        false => Axis::Epochs,
    }
}

/// A point that can be drawn.
fn sane(x: f64, y: f64) -> Option<(f64, f64)> {
    (x.is_finite() && y.abs() <= LARGEST).then_some((x, y))
}

/// The exponential moving average of the losses, with the weight of a mean over `span` points, and
/// without the pull to 0 that it would have at the start. What is no number is passed over.
fn smooth_losses(history: &History, span: usize) -> Vec<Option<f64>> {
    let keep = 1.0 - 2.0 / (span as f64 + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let smooth = |loss: f64| {
        if loss.abs() <= LARGEST {
            sum = sum * keep + loss;
            weight = weight * keep + 1.0;
        }
        (weight > 0.0).then_some(sum / weight)
    };
    history.points.iter().map(|point| point.loss).map(smooth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use striate::train::{EpochReport, Point};

    fn history(losses: &[f64], ends: &[u64]) -> History {
        let point = |(i, &loss): (usize, &f64)| Point {
            iteration: (i as u64 + 1) * 10,
            loss,
            miss_rate: 0.5,
        };
        let epoch = |(epoch, &iterations): (usize, &u64)| EpochReport {
            epoch: epoch as u64,
            iterations,
            samples: 1,
            skipped: 0,
            loss: 1.0,
            miss_rate: 0.25,
            test: None,
        };
        let mut history = History::default();
        history.points.extend(losses.iter().enumerate().map(point));
        history.epochs.extend(ends.iter().enumerate().map(epoch));
        history.stride = 10;
        history
    }

    #[test]
    fn mini_batches_become_epochs() {
        let curves = Curves::new("a".into(), history(&[1.0; 5], &[20, 40]), None);
        let epochs: Vec<f64> = curves.losses(Axis::Epochs).iter().map(|p| p.0).collect();
        assert_eq!(epochs, [0.5, 1.0, 1.5, 2.0, 2.5]);
        assert_eq!(curves.training_misses(Axis::Epochs), [(1.0, 0.25), (2.0, 0.25)]);
        let young = Curves::new("b".into(), history(&[1.0; 2], &[]), None);
        assert_eq!(young.epochs_at(10), None);
        assert_eq!(young.training_misses(Axis::Iterations), [(10.0, 0.5), (20.0, 0.5)]);
        assert_eq!(axis(&[curves, young]), Axis::Iterations);
    }

    #[test]
    fn smoothing_is_a_mean_that_forgets() {
        let losses = [3.0, f64::NAN, 1.0, f64::INFINITY];
        let plain = Curves::new("a".into(), history(&losses, &[]), Some(1));
        assert_eq!(plain.smoothed, [Some(3.0), Some(3.0), Some(1.0), Some(1.0)]);
        // A span of 3 keeps a half: (3 / 2 + 1) / (1 / 2 + 1).
        let smooth = Curves::new("a".into(), history(&losses, &[]), Some(3));
        assert_eq!(smooth.smoothed[2], Some(2.5 / 1.5));
        assert_eq!(plain.losses(Axis::Iterations), [(10.0, 3.0), (30.0, 1.0)]);
        let gone = Curves::new("a".into(), history(&[f64::NAN], &[]), None);
        assert_eq!(gone.smoothed, [None]);
    }
}
