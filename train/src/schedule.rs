//! How learning rates change while training goes on.

use serde::{Deserialize, Serialize};

/// A factor of all learning rates over the epochs.
///
/// ```
/// use striate_train::{Decay, Schedule};
///
/// // As ImageNet networks were trained with ccv: a tenth at epochs 30, 60 and 80.
/// let schedule = Schedule { decay: Decay::steps([30, 60, 80]), ..Schedule::default() };
/// assert_eq!(schedule.factor(29.9, 100), 1.0);
/// assert!((schedule.factor(60.0, 100) - 0.01).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Schedule {
    /// Epochs (or a part of one) in which the factor rises in a straight line, to 1 at the last
    /// mini-batch of them; 0 for none.
    pub warm_up: f64,
    /// What comes then.
    pub decay: Decay,
}

/// How learning rates fall.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// By a factor at the beginning of each of these epochs.
    Steps {
        /// The epochs, counted from 0.
        epochs: Vec<u64>,
        /// The factor.
        factor: f64,
    },
    /// Along half a cosine, from 1 at the first epoch to `last` at the end of the last one
    /// (Loshchilov and Hutter 2017, without restarts).
    Cosine {
        /// The factor at the end.
        last: f64,
    },
    /// By this factor over each epoch, a part of it with each mini-batch.
    Exponential {
        /// The factor.
        factor: f64,
    },
    /// Along half cosines, each from 1 to `last`, one after another.
    CosineRestarts {
        /// Epochs of the first.
        epochs: u64,
        /// Each is so many times as long as the one before.
        #[serde(default = "once")]
        times: u64,
        /// The factor at the end of each.
        #[serde(default)]
        last: f64,
    },
    /// Up to 1 and down again, along half cosines, over all epochs (Smith and Topin 2018).
    OneCycle {
        /// The share of the training in which it rises.
        #[serde(default = "usual_rise")]
        rise: f64,
        /// The factor at the beginning.
        #[serde(default = "usual_first")]
        first: f64,
        /// The factor at the end.
        #[serde(default = "usual_last")]
        last: f64,
    },
    /// By a factor where the loss stops falling: the loss on the test samples where there are any, else
    /// that on the training samples.
    Plateau {
        /// The factor.
        #[serde(default = "tenth")]
        factor: f64,
        /// Epochs without a better loss that are waited for.
        #[serde(default = "usual_patience")]
        patience: u64,
        /// By this share a loss has to be below the best one to be better.
        #[serde(default = "usual_threshold")]
        threshold: f64,
        /// The smallest factor.
        #[serde(default)]
        last: f64,
    },
}

fn once() -> u64 {
    1
}

fn usual_rise() -> f64 {
    0.3
}

fn usual_first() -> f64 {
    1.0 / 25.0
}

fn usual_last() -> f64 {
    usual_first() / 1e4
}

fn tenth() -> f64 {
    0.1
}

fn usual_patience() -> u64 {
    10
}

fn usual_threshold() -> f64 {
    1e-4
}

/// Where a training with [`Decay::Plateau`] is: kept with its curves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plateau {
    /// The factor now.
    pub factor: f64,
    /// The lowest loss so far.
    pub best: Option<f64>,
    /// Epochs since it was better than before.
    pub waited: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Plateau { factor: 1.0, best: None, waited: 0 }
    }
}

impl Plateau {
    /// Takes the loss of another epoch; with a schedule that has no plateaus nothing changes.
    pub fn see(&mut self, decay: &Decay, loss: f64) {
        let Decay::Plateau { factor, patience, threshold, last } = *decay else { return };
        // A loss that is no number is not better.
        if self.best.map_or(!loss.is_nan(), |best| loss < best * (1.0 - threshold)) {
            (self.best, self.waited) = (Some(loss), 0);
            return;
        }
        self.waited += 1;
        if self.waited > patience {
            self.waited = 0;
            self.factor = (self.factor * factor).max(last.min(self.factor));
        }
    }
}

impl Decay {
    /// A tenth at the beginning of each of these epochs.
    pub fn steps(epochs: impl Into<Vec<u64>>) -> Self {
        Decay::Steps { epochs: epochs.into(), factor: tenth() }
    }

    /// One cycle: up from a 25th over 30 % of the training, then down to nearly nothing.
    pub fn one_cycle() -> Self {
        Decay::OneCycle { rise: usual_rise(), first: usual_first(), last: usual_last() }
    }

    /// A tenth after ten epochs without a better loss.
    pub fn plateau() -> Self {
        Decay::Plateau {
            factor: tenth(),
            patience: usual_patience(),
            threshold: usual_threshold(),
            last: 0.0,
        }
    }
}

impl Schedule {
    /// The factor at a moment, in epochs and parts of one, of a training of `epochs` epochs. It is 0
    /// at the very beginning of a warm-up; the steps of a training have that of
    /// [`step_factor`](Self::step_factor). What a [plateau](Decay::Plateau) adds to it is not in it:
    /// [`Plateau::factor`] is.
    pub fn factor(&self, moment: f64, epochs: u64) -> f64 {
        self.warm_factor(moment) * self.decay_factor(moment, epochs, None)
    }

    /// The factor of a mini-batch, number `iteration` from 0 over a training of `epochs` epochs of
    /// `per_epoch` mini-batches each. The decay is that of its beginning. The warm-up is that of its
    /// end: of n mini-batches the first has 1/n and the last 1, so that none is for nothing.
    ///
    /// ```
    /// use striate_train::Schedule;
    ///
    /// let schedule = Schedule { warm_up: 1.0, ..Schedule::default() };
    /// assert_eq!(schedule.step_factor(0, 4, 10), 0.25);
    /// assert_eq!(schedule.step_factor(3, 4, 10), 1.0);
    /// assert_eq!(schedule.step_factor(0, 1, 10), 1.0);
    /// ```
    pub fn step_factor(&self, iteration: u64, per_epoch: u64, epochs: u64) -> f64 {
        let per_epoch = per_epoch.max(1) as f64;
        let end = iteration.saturating_add(1) as f64 / per_epoch;
        let moment = iteration as f64 / per_epoch;
        self.warm_factor(end) * self.decay_factor(moment, epochs, Some(per_epoch))
    }

    fn warm_factor(&self, moment: f64) -> f64 {
        if moment < self.warm_up { moment / self.warm_up } else { 1.0 }
    }

    /// At a moment; of mini-batches, so many an epoch, where that is given.
    fn decay_factor(&self, moment: f64, epochs: u64, per_epoch: Option<f64>) -> f64 {
        match &self.decay {
            Decay::Constant | Decay::Plateau { .. } => 1.0,
            Decay::Steps { epochs, factor } => {
                let passed = epochs.iter().filter(|&&epoch| epoch as f64 <= moment).count();
                factor.powi(i32::try_from(passed).unwrap_or(i32::MAX))
            }
            Decay::Cosine { last } => cosine(1.0, *last, moment / (epochs.max(1) as f64)),
            Decay::Exponential { factor } => factor.powf(moment),
            Decay::CosineRestarts { epochs, times, last } => {
                let (mut begins, mut length) = (0.0, *epochs as f64);
                if *times <= 1 {
                    begins = (moment / length).floor() * length;
                } else {
                    while begins + length <= moment {
                        begins += length;
                        length *= *times as f64;
                    }
                }
                cosine(1.0, *last, (moment - begins) / length)
            }
            Decay::OneCycle { rise, first, last } => {
                // The last mini-batch of the rise has the full rate, and the last of all the lowest.
                let per_epoch = per_epoch.unwrap_or(f64::INFINITY);
                let (all, one) = (epochs.max(1) as f64, per_epoch.recip());
                let (top, end) = (rise * all - one, all - one);
                // A cycle of a mini-batch or two has no way to go up.
                let way = |from: f64, to: f64| match to - from {
                    length if length > 0.0 => (moment - from) / length,
                    _ => 1.0,
                };
                match moment <= top {
                    true => cosine(*first, 1.0, way(0.0, top)),
                    false => cosine(1.0, *last, way(top, end)),
                }
            }
        }
    }

    /// What makes no sense in it, if anything does not.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        let not = |what: f64| !what.is_finite() || what < 0.0;
        if not(self.warm_up) {
            return Some(("warm-up: 0 or more epochs", self.warm_up.to_string()));
        }
        match &self.decay {
            Decay::Steps { factor, .. } if not(*factor) => {
                Some(("decay steps: a factor of 0 or more", factor.to_string()))
            }
            Decay::Cosine { last } | Decay::CosineRestarts { last, .. } if not(*last) => {
                Some(("cosine decay: a last factor of 0 or more", last.to_string()))
            }
            Decay::CosineRestarts { epochs, times, .. } if *epochs == 0 || *times == 0 => Some((
                "cosine decay with restarts: an epoch or more, 1 or more times as long each time",
                format!("{epochs} epochs, {times} times"),
            )),
            Decay::Exponential { factor } if not(*factor) || *factor == 0.0 => {
                Some(("exponential decay: a factor above 0", factor.to_string()))
            }
            Decay::OneCycle { rise, .. } if !(0.0..=1.0).contains(rise) => Some((
                "one cycle: a share of the training to rise in, from 0 to 1",
                rise.to_string(),
            )),
            Decay::OneCycle { first, last, .. } if not(*first) || not(*last) => Some((
                "one cycle: factors of 0 or more at its beginning and end",
                format!("{first} and {last}"),
            )),
            Decay::OneCycle { .. } if self.warm_up > 0.0 => Some((
                "one cycle without a warm-up: it rises by itself",
                format!("a warm-up of {} epochs", self.warm_up),
            )),
            Decay::Plateau { factor, threshold, last, .. }
                if !(0.0..1.0).contains(factor)
                    || !(0.0..1.0).contains(threshold)
                    || !(0.0..=1.0).contains(last) =>
            {
                Some((
                    "plateau: a factor and a threshold from 0 to less than 1, and a smallest factor of at \
                     most 1",
                    format!("{factor}, {threshold} and {last}"),
                ))
            }
            _ => None,
        }
    }
}

/// Along half a cosine; `way` is from 0 to 1, and beyond it is the end.
fn cosine(from: f64, to: f64, way: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * way.clamp(0.0, 1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_in_a_line_and_falls_along_the_cosine() {
        let schedule = Schedule { warm_up: 2.0, decay: Decay::Cosine { last: 0.0 } };
        assert_eq!(schedule.factor(0.0, 10), 0.0);
        let plain = Schedule { warm_up: 0.0, ..schedule.clone() };
        assert_eq!(schedule.factor(1.0, 10), 0.5 * plain.factor(1.0, 10));
        assert_eq!(schedule.factor(2.0, 10), plain.factor(2.0, 10));
        assert!((plain.factor(5.0, 10) - 0.5).abs() < 1e-12);
        assert!(plain.factor(10.0, 10).abs() < 1e-12);
        // Beyond the end, after --max-epoch was lowered: the last value.
        assert!(plain.factor(11.0, 10).abs() < 1e-12);
    }

    #[test]
    fn a_warm_up_has_no_step_for_nothing_and_ends_at_the_full_rate() {
        for (warm_up, per_epoch, steps) in
            [(1.0, 1, 1), (1.0, 5, 5), (0.5, 1, 1), (0.5, 5, 3), (2.0, 3, 6), (0.0, 3, 1)]
        {
            let schedule = Schedule { warm_up, ..Schedule::default() };
            let factors: Vec<f64> =
                (0..steps + 2).map(|i| schedule.step_factor(i, per_epoch, 9)).collect();
            assert!(factors[0] > 0.0, "{warm_up} {per_epoch}: {factors:?}");
            assert!(factors.windows(2).all(|w| w[0] < w[1] || w[0] == 1.0), "{factors:?}");
            assert_eq!(factors[steps as usize - 1], 1.0, "{warm_up} {per_epoch}: {factors:?}");
        }
        // Decays begin where they did.
        let schedule = Schedule { warm_up: 0.0, decay: Decay::steps([1]) };
        assert_eq!((schedule.step_factor(4, 5, 9), schedule.step_factor(5, 5, 9)), (1.0, 0.1));
    }

    #[test]
    fn a_plateau_waits_and_falls_to_its_floor() {
        let decay = Decay::Plateau { factor: 0.5, patience: 1, threshold: 0.1, last: 0.2 };
        let mut plateau = Plateau::default();
        let mut factors = Vec::new();
        for loss in [f64::NAN, 2.0, 1.9, 1.85, 1.0, f64::NAN, 1.0, 1.0, 1.0, 1.0, 1.0] {
            plateau.see(&decay, loss);
            factors.push(plateau.factor);
        }
        assert_eq!(factors, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]);
        let before = plateau;
        plateau.see(&Decay::Constant, 9.0);
        assert_eq!(plateau, before);
    }

    #[test]
    fn one_cycle_has_no_warm_up_and_a_short_one_no_nan() {
        let schedule = Schedule { warm_up: 1.0, decay: Decay::one_cycle() };
        assert!(schedule.fault().unwrap().0.contains("rises by itself"));
        let schedule = Schedule { warm_up: 0.0, ..schedule };
        for (per_epoch, epochs) in [(1, 1), (1, 2), (2, 1), (1, 3), (7, 9)] {
            let all = per_epoch * epochs;
            let factors = (0..all + 2).map(|i| schedule.step_factor(i, per_epoch, epochs));
            assert!(factors.into_iter().all(|factor| (0.0..=1.0).contains(&factor)));
        }
        assert_eq!(schedule.factor(3.0, 10), 1.0);
    }

    #[test]
    fn a_stored_schedule_reads_back() {
        let schedule = Schedule { warm_up: 0.5, decay: Decay::steps([30, 60]) };
        let text = serde_json::to_string(&schedule).unwrap();
        assert_eq!(
            text,
            r#"{"warm-up":0.5,"decay":{"kind":"steps","epochs":[30,60],"factor":0.1}}"#
        );
        assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
        assert_eq!(serde_json::from_str::<Schedule>("{}").unwrap(), Schedule::default());
    }
}
