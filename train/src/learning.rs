//! Whether a network learns at all: what it shows, beside what guessing would.

use crate::{History, Loss, Point, TrainOptions};

/// A loss or an error rate of at least this share of what guessing gives is no better than it.
const AS_GOOD_AS_GUESSING: f64 = 0.98;

/// Below this a set has nearly one class only, and guessing is nearly always right.
const MIN_LOSS: f64 = 0.05;

/// The loss is looked at over so many mini-batches at least, for a single one says little.
const MIN_MINI_BATCHES: u64 = 100;

/// An error rate of less than this share of what guessing gives is that of a network that has learned
/// much, here or before.
const KNOWS_MUCH: f64 = 0.7;

/// A loss of less than this share of the first one has fallen: less is chance, as dropout has it.
const HAS_FALLEN: f64 = 0.95;

/// A loss of more than so many times what guessing gives is still on its way there.
const FAR_FROM_GUESSING: f64 = 1.1;

/// A network that has not learned anything after so many moves of its weights is worth a warning.
const MOVES_TO_LEARN: u64 = 100;

/// What is reached without looking at the pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Guessing {
    /// The cross-entropy of always answering with the shares of the classes.
    pub(crate) loss: f64,
    /// The error rate of always answering with the most frequent class.
    pub(crate) error_rate: f64,
}

impl Guessing {
    /// For samples with these labels.
    pub(crate) fn of(labels: &[u32]) -> Self {
        let mut counts = std::collections::BTreeMap::<u32, u64>::new();
        for &label in labels {
            *counts.entry(label).or_default() += 1;
        }
        let all = labels.len().max(1) as f64;
        let shares = counts.values().map(|&count| count as f64 / all);
        let loss = shares.clone().map(|share| -share * share.ln()).sum();
        Guessing { loss, error_rate: 1.0 - shares.fold(1.0 / all, f64::max) }
    }

    /// For training samples with these labels, of which a loss with such options is told: that of always
    /// answering with what the labels ask for on average.
    fn of_training(labels: &[u32], options: &TrainOptions) -> Self {
        let plain = Self::of(labels);
        let TrainOptions { loss, label_smoothing, class_weights, .. } = options;
        let is_plain = *label_smoothing == 0.0 && class_weights.is_empty();
        if is_plain && *loss == Loss::CrossEntropy {
            return plain;
        }
        let smoothing = f64::from(*label_smoothing);
        let known = labels.iter().max().map_or(0, |&most| most as usize + 1);
        let classes = class_weights.len().max(known);
        let mut shares = vec![0.0; classes];
        for &label in labels {
            shares[label as usize] += 1.0 / labels.len() as f64;
        }
        let weight =
            |class: usize| class_weights.get(class).map_or(1.0, |&weight| f64::from(weight));
        let smooth = |share: f64| share * (1.0 - smoothing) + smoothing / classes as f64;
        if *loss == Loss::CrossEntropy {
            let asked = shares.iter().enumerate();
            let asked: Vec<f64> =
                asked.map(|(class, &share)| weight(class) * smooth(share)).collect();
            let all: f64 = asked.iter().sum();
            let loss = asked.iter().filter(|&&asked| asked > 0.0);
            let loss = loss.map(|asked| -asked * (asked / all).ln()).sum();
            return Guessing { loss, ..plain };
        }
        // Each class by itself, of samples that count as much as their label's class.
        let counts: Vec<f64> =
            shares.iter().enumerate().map(|(class, share)| weight(class) * share).collect();
        let all: f64 = counts.iter().sum();
        let entropy = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        let of_class = |count: &f64| {
            let share = count / all.max(f64::MIN_POSITIVE);
            match loss {
                Loss::MeanSquaredError => (1.0 - smoothing).powi(2) * share * (1.0 - share),
                _ => entropy(smooth(share)) + entropy(1.0 - smooth(share)),
            }
        };
        let loss = all * counts.iter().map(of_class).sum::<f64>() / classes.max(1) as f64;
        Guessing { loss, ..plain }
    }

    /// Whether a training loss is no better.
    pub(crate) fn reaches_loss(&self, loss: f64) -> bool {
        self.loss > MIN_LOSS && loss >= AS_GOOD_AS_GUESSING * self.loss
    }

    /// Whether an error rate is no better.
    pub(crate) fn reaches_error(&self, error_rate: f64) -> bool {
        self.error_rate > 0.0 && error_rate >= AS_GOOD_AS_GUESSING * self.error_rate
    }
}

/// Where the loss has gone.
pub(crate) struct Curve {
    /// The mean training loss over the first mini-batches,
    first: f64,
    /// and over the last ones,
    last: f64,
    /// and the error rate over these.
    last_error: f64,
}

impl History {
    /// The loss over the first and the last quarter of an epoch, of so many mini-batches; over the
    /// first and second half of what there is where that is less.
    pub(crate) fn curve(&self, per_epoch: u64) -> Option<Curve> {
        let all = self.points.last()?.iteration;
        let window = (per_epoch / 4).max(MIN_MINI_BATCHES).min(all.div_ceil(2));
        let mean = |points: &mut dyn Iterator<Item = &Point>| {
            let sums = points.fold([0.0, 0.0, 0.0], |[loss, error, count], point| {
                [loss + point.loss, error + point.miss_rate, count + 1.0]
            });
            let [loss, error, count] = sums;
            (loss / f64::max(count, 1.0), error / f64::max(count, 1.0))
        };
        let (first, _) = mean(
            &mut self.points.iter().take_while(|point| point.iteration <= window.max(self.stride)),
        );
        let (last, last_error) =
            mean(&mut self.points.iter().rev().take_while(|point| point.iteration > all - window));
        Some(Curve { first, last, last_error })
    }
}

/// How far a training is.
pub(crate) struct Moment {
    /// Epochs that have ended.
    pub(crate) epochs: u64,
    /// Mini-batches in all.
    pub(crate) iterations: u64,
    /// Mini-batches an epoch.
    pub(crate) per_epoch: u64,
    /// Whether the training ends here.
    pub(crate) is_end: bool,
}

/// Compares a network with guessing.
pub(crate) struct Judge {
    train: Guessing,
    test: Option<Guessing>,
    /// Whether it was said that the network does not learn, or shown that it does.
    is_done: bool,
}

impl Judge {
    /// For training samples with these labels, and test samples with these.
    pub(crate) fn new(train: &[u32], test: Option<&[u32]>, options: &TrainOptions) -> Self {
        let train = Guessing::of_training(train, options);
        Judge { train, test: test.map(Guessing::of), is_done: false }
    }

    /// Whether the network is no better than guessing: by its lowest error rate on the test samples,
    /// else by its recent training loss and error rate.
    pub(crate) fn is_guessing(&self, history: &History, per_epoch: u64) -> bool {
        match (&self.test, history.best()) {
            (Some(test), Some(best)) => test.reaches_error(best),
            _ => history.curve(per_epoch).is_some_and(|curve| {
                self.train.reaches_loss(curve.last) && !self.knows_much(&curve)
            }),
        }
    }

    fn knows_much(&self, curve: &Curve) -> bool {
        curve.last_error < KNOWS_MUCH * self.train.error_rate
    }

    /// A warning, once, of a network whose loss does not fall, or has fallen to what guessing gives:
    /// after an epoch by whose end it should have begun to learn, and at the end of the training.
    pub(crate) fn warning(
        &mut self,
        at: &Moment,
        history: &History,
        options: &TrainOptions,
    ) -> Option<String> {
        let moves = at.iterations / (options.sgd_frequency as u64).clamp(1, at.per_epoch.max(1));
        let is_time = moves >= MOVES_TO_LEARN || (at.is_end && at.epochs > 0);
        if self.is_done || !is_time || self.train.loss <= MIN_LOSS {
            return None;
        }
        let curve = history.curve(at.per_epoch)?;
        let Curve { first, last, .. } = curve;
        let has_fallen = last < HAS_FALLEN * first;
        let beats_guessing =
            !self.train.reaches_loss(last) || !self.is_guessing(history, at.per_epoch);
        // Who was trained before, on other samples perhaps, has nothing more to learn.
        if self.knows_much(&curve) || (has_fallen && beats_guessing) {
            self.is_done = true;
            return None;
        }
        if has_fallen && last > FAR_FROM_GUESSING * self.train.loss {
            // From a bad beginning it falls yet.
            return None;
        }
        self.is_done = true;
        Some(format!(
            "after {} mini-batches the training loss is {last:.4}; it was {first:.4} at the beginning, \
             and guessing would give {:.4}: the network has hardly learned anything yet. Try a tenth \
             of the learning rate (it is {}), or a warm-up; if the loss does not move, a higher rate \
             or more epochs; and check the labels",
            at.iterations, self.train.loss, options.weights.rate
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Point;

    #[test]
    fn guessing_knows_the_shares_of_the_classes_only() {
        let ten: Vec<u32> = (0..100).map(|i| i % 10).collect();
        let guessing = Guessing::of(&ten);
        assert!((guessing.loss - 10f64.ln()).abs() < 1e-12);
        assert!((guessing.error_rate - 0.9).abs() < 1e-12);
        assert!(guessing.reaches_loss(2.2999) && guessing.reaches_error(0.887));
        assert!(!guessing.reaches_loss(2.2) && !guessing.reaches_error(0.8));
        // A class alone: nothing to learn, and nothing to say.
        let one = Guessing::of(&[3; 9]);
        assert!(!one.reaches_loss(0.0) && !one.reaches_error(0.0));
        assert_eq!(Guessing::of(&[]).loss, 0.0);
        // Nine of ten are of a class.
        let rare: Vec<u32> = (0..100).map(|i| u32::from(i % 10 == 0)).collect();
        assert!(Guessing::of(&rare).reaches_error(0.1) && !Guessing::of(&rare).reaches_error(0.05));
    }

    #[test]
    fn guessing_knows_weights_of_classes_and_smoothed_labels() {
        // Nine of ten are of a class: by balanced weights both are as frequent.
        let labels: Vec<u32> = (0..100).map(|i| u32::from(i % 10 == 0)).collect();
        let class_weights = TrainOptions::balanced(&labels, 2);
        let options = TrainOptions { class_weights, ..TrainOptions::default() };
        let guessing = Guessing::of_training(&labels, &options);
        assert!((guessing.loss - 2f64.ln()).abs() < 1e-6, "{guessing:?}");
        assert!((guessing.error_rate - 0.1).abs() < 1e-12);
        let options = TrainOptions { label_smoothing: 0.5, ..TrainOptions::default() };
        let loss = |share: f64| -share * share.ln();
        let guessing = Guessing::of_training(&labels, &options);
        assert!((guessing.loss - loss(0.7) - loss(0.3)).abs() < 1e-12, "{guessing:?}");
    }

    #[test]
    fn guessing_knows_the_loss() {
        let labels: Vec<u32> = (0..100).map(|i| u32::from(i % 10 == 0)).collect();
        let with = |loss, class_weights: &[f32]| {
            let class_weights = class_weights.to_vec();
            let options = TrainOptions { loss, class_weights, ..TrainOptions::default() };
            Guessing::of_training(&labels, &options).loss
        };
        let entropy = -0.1 * 0.1f64.ln() - 0.9 * 0.9f64.ln();
        assert!((with(Loss::BinaryCrossEntropy, &[]) - entropy).abs() < 1e-12);
        assert!((with(Loss::MeanSquaredError, &[]) - 0.09).abs() < 1e-12);
        // As frequent as each other: a half of each, times the mean weight.
        let balanced = TrainOptions::balanced(&labels, 2);
        assert!((with(Loss::MeanSquaredError, &balanced) - 0.25).abs() < 1e-6);
    }

    #[test]
    fn a_network_that_only_guesses_is_told_once_and_one_that_learns_never() {
        let labels: Vec<u32> = (0..100).map(|i| i % 10).collect();
        // From one loss to another, with this share of errors.
        let history = |from: f64, to: f64, miss_rate: f64| {
            let loss = |i: u64| if i <= 100 { from } else { to };
            let point = |i: u64| Point { iteration: i, loss: loss(i), miss_rate };
            History { points: (1..=200).map(point).collect(), ..History::default() }
        };
        let at = |iterations: u64, is_end: bool| Moment {
            epochs: iterations / 50,
            iterations,
            per_epoch: 50,
            is_end,
        };
        let options = TrainOptions::default();
        let told = |from: f64, to: f64, miss_rate: f64| {
            let mut judge = Judge::new(&labels, None, &options);
            let history = history(from, to, miss_rate);
            let moments = [at(50, false), at(100, false), at(150, false), at(150, true)];
            moments.map(|at| judge.warning(&at, &history, &options).is_some())
        };
        let once = [false, true, false, false];
        // Dead after a loss that was large: it says no more than how frequent the classes are.
        assert_eq!(told(40.0, 2.31, 0.9), once);
        // Better than guessing by luck, and it stays so.
        assert_eq!(told(2.2, 2.2, 0.85), once);
        assert_eq!(told(2.31, 1.9, 0.8), [false; 4]);
        // It falls yet; or it has fallen, to a loss of few errors that are far off.
        assert_eq!(told(40.0, 12.0, 0.9), [false; 4]);
        assert_eq!(told(40.0, 2.31, 0.1), [false; 4]);
        // A network that begins with what another one has learned, and does not get any better.
        assert_eq!(told(0.1, 0.1, 0.03), [false; 4]);
        assert_eq!(told(1.2, 1.2, 0.5), [false; 4]);
        // Too short to say anything before its end.
        let mut judge = Judge::new(&labels, None, &options);
        assert!(judge.warning(&at(49, true), &history(2.31, 2.31, 0.9), &options).is_none());
        assert!(judge.warning(&at(50, true), &history(2.31, 2.31, 0.9), &options).is_some());
    }

    #[test]
    fn the_curve_is_looked_at_over_quarters_of_an_epoch_or_halves_of_what_there_is() {
        let point = |i: u64| Point { iteration: i, loss: i as f64, miss_rate: 0.5 };
        let curve = |count: u64, per_epoch: u64| {
            let history = History {
                points: (1..=count).map(point).collect(),
                stride: 1,
                ..History::default()
            };
            history.curve(per_epoch).map(|curve| (curve.first, curve.last, curve.last_error))
        };
        assert_eq!(curve(400, 400), Some((50.5, 350.5, 0.5)));
        assert_eq!(curve(400, 4), Some((50.5, 350.5, 0.5)));
        assert_eq!(curve(4, 4), Some((1.5, 3.5, 0.5)));
        assert_eq!(curve(1, 1), Some((1.0, 1.0, 0.5)));
        assert_eq!(curve(0, 4), None);
    }
}
