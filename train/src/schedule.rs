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
}

impl Decay {
    /// A tenth at the beginning of each of these epochs.
    pub fn steps(epochs: impl Into<Vec<u64>>) -> Self {
        Decay::Steps { epochs: epochs.into(), factor: 0.1 }
    }
}

impl Schedule {
    /// The factor at a moment, in epochs and parts of one, of a training of `epochs` epochs. It is 0
    /// at the very beginning of a warm-up; the steps of a training have that of
    /// [`step_factor`](Self::step_factor).
    pub fn factor(&self, moment: f64, epochs: u64) -> f64 {
        self.warm_factor(moment) * self.decay_factor(moment, epochs)
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
        self.warm_factor(end) * self.decay_factor(iteration as f64 / per_epoch, epochs)
    }

    fn warm_factor(&self, moment: f64) -> f64 {
        if moment < self.warm_up { moment / self.warm_up } else { 1.0 }
    }

    fn decay_factor(&self, moment: f64, epochs: u64) -> f64 {
        match &self.decay {
            Decay::Constant => 1.0,
            Decay::Steps { epochs, factor } => {
                let passed = epochs.iter().filter(|&&epoch| epoch as f64 <= moment).count();
                factor.powi(i32::try_from(passed).unwrap_or(i32::MAX))
            }
            Decay::Cosine { last } => {
                let way = (moment / (epochs.max(1) as f64)).clamp(0.0, 1.0);
                last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * way).cos())
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
            Decay::Cosine { last } if not(*last) => {
                Some(("cosine decay: a last factor of 0 or more", last.to_string()))
            }
            _ => None,
        }
    }
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
