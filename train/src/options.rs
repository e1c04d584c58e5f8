//! How a network is trained.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use striate_nn::{Method, ParameterInfo, Rates, Role};

use crate::descent::AVERAGE;
use crate::{Error, Result, Schedule};

/// How a network is trained: everything that its result depends on, beside the network, the data
/// and how these are formed.
///
/// ```
/// use striate_train::TrainOptions;
///
/// let options = TrainOptions { mini_batch: 32, max_epoch: 10, ..TrainOptions::default() };
/// assert_eq!(options.weights.rate, 0.01); // as ccv trains ImageNet
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrainOptions {
    /// What all random numbers start from: order, augmentation, dropout.
    pub seed: u64,
    /// Samples of one pass through the network.
    pub mini_batch: usize,
    /// Mini-batches whose gradients are summed before the weights move. What is left over at the
    /// end of an epoch moves them then, at the rate of the last mini-batch.
    pub sgd_frequency: usize,
    /// Epochs in all.
    pub max_epoch: u64,
    /// Mini-batches in all, where that is to end earlier. What is left over then moves the weights.
    pub max_iterations: Option<u64>,
    /// How the learning rates change.
    pub schedule: Schedule,
    /// How weights move, given their gradients.
    #[serde(skip_serializing_if = "is_default")]
    pub optimizer: Method,
    /// How weights learn.
    pub weights: Rates,
    /// How biases learn, and the scales and shifts of normalization.
    pub biases: Rates,
    /// Roles that learn otherwise: `scale` and `shift` of normalization, for example, with a decay that
    /// biases do not have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<Role, Rates>,
    /// Layers that learn otherwise, by their number.
    pub layers: BTreeMap<usize, LayerRates>,
    /// Bounds of gradients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<Clip>,
    /// How much of an exponential moving average of the weights is kept with each step; none for no
    /// average. Where there is one, it is what is tested and what model files hold. It begins with less:
    /// of step t at most `(1 + t) / (10 + t)` is kept, so that early weights are soon forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// What training minimises.
    #[serde(skip_serializing_if = "is_default")]
    pub loss: Loss,
    /// The share of each training label that is spread over all classes.
    #[serde(skip_serializing_if = "is_default")]
    pub label_smoothing: f32,
    /// What the loss of the training samples of each class is multiplied by; nothing for 1 each. Their mean
    /// over the samples should be 1, as that of [`balanced`](TrainOptions::balanced) weights is: else the
    /// learning rate is another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class_weights: Vec<f32>,
    /// Gradients of layers with dropout times `(1 - rate)²`, as it is in ccv: its training weights
    /// are these divided by `1 - rate`, and learn with the same learning rate. For [`Method::Sgd`] alone,
    /// which is ccv's.
    pub ccv_dropout: bool,
    /// Computes activations again in the backward pass instead of keeping them
    /// ([`Network::forward_recomputed`](striate_nn::Network::forward_recomputed)): the same bits,
    /// less memory, more time.
    pub recompute: bool,
}

/// What training minimises, of the numbers that a network gives for the classes of a sample. Tests report the
/// cross-entropy whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Loss {
    /// The cross-entropy of their softmax: each sample is of one class.
    #[default]
    CrossEntropy,
    /// The binary cross-entropy of their sigmoids, the mean over the classes: each class is told from all
    /// others by itself (Wightman et al., "ResNet strikes back", 2021).
    #[serde(rename = "bce")]
    BinaryCrossEntropy,
    /// The squared distance from 1 for the sample's class and 0 for others, the mean over the classes.
    #[serde(rename = "mse")]
    MeanSquaredError,
}

impl Loss {
    /// All of them.
    pub const ALL: [Loss; 3] =
        [Loss::CrossEntropy, Loss::BinaryCrossEntropy, Loss::MeanSquaredError];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Loss::CrossEntropy => "cross-entropy",
            Loss::BinaryCrossEntropy => "bce",
            Loss::MeanSquaredError => "mse",
        }
    }

    /// The one of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Loss::ALL.into_iter().find(|loss| loss.name() == name)
    }
}

/// A bound of gradients, which are means over the samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Clip {
    /// All gradients together are scaled down where their Euclidean norm is larger than this. A step then
    /// holds all gradients at once.
    Norm {
        /// The largest norm.
        most: f64,
    },
    /// Each number is brought into this range around 0.
    Value {
        /// The largest number.
        most: f32,
    },
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How a layer learns, where it is not as the others; 0 as a rate leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LayerRates {
    /// Its weights.
    pub weights: Option<Rates>,
    /// Its biases.
    pub biases: Option<Rates>,
}

impl Default for TrainOptions {
    /// As ccv's ImageNet program: learning rate 0.01, momentum 0.9, decay 0.0005 of weights and
    /// none of biases; mini-batches of 64, 100 epochs.
    fn default() -> Self {
        TrainOptions {
            seed: 1,
            mini_batch: 64,
            sgd_frequency: 1,
            max_epoch: 100,
            max_iterations: None,
            schedule: Schedule::default(),
            weights: Rates { rate: 0.01, momentum: 0.9, decay: 0.0005 },
            biases: Rates { rate: 0.01, momentum: 0.9, decay: 0.0 },
            optimizer: Method::Sgd,
            roles: BTreeMap::new(),
            layers: BTreeMap::new(),
            clip: None,
            ema: None,
            loss: Loss::default(),
            label_smoothing: 0.0,
            class_weights: Vec::new(),
            ccv_dropout: true,
            recompute: false,
        }
    }
}

/// Larger ones are slips of the pen: their logits alone would not fit in memory.
pub(crate) const MAX_BATCH: usize = 1 << 20;

impl TrainOptions {
    /// How the weights of a layer learn.
    pub fn weights_of(&self, layer: usize) -> Rates {
        self.layers.get(&layer).and_then(|l| l.weights).unwrap_or(self.weights)
    }

    /// How the biases of a layer learn.
    pub fn biases_of(&self, layer: usize) -> Rates {
        self.layers.get(&layer).and_then(|l| l.biases).unwrap_or(self.biases)
    }

    /// How a parameter learns: as its layer says, else its role, else as weights or biases do.
    pub fn rates_of(&self, parameter: &ParameterInfo) -> Rates {
        let layer = self.layers.get(&parameter.layer);
        let of_role = self.roles.get(&parameter.role).copied();
        let (own, usual) = match parameter.role {
            Role::Weight => (layer.and_then(|layer| layer.weights), self.weights),
            // Biases, slopes, and the scales and shifts of normalization are few: they learn alike.
            _ => (layer.and_then(|layer| layer.biases), self.biases),
        };
        own.or(of_role).unwrap_or(usual)
    }

    /// Weights with which all classes count as much, however many samples with these labels they have.
    ///
    /// ```
    /// use striate_train::TrainOptions;
    ///
    /// assert_eq!(TrainOptions::balanced(&[0, 0, 0, 1], 2), [4.0 / 6.0, 2.0]);
    /// ```
    pub fn balanced(labels: &[u32], classes: usize) -> Vec<f32> {
        let mut counts = vec![0usize; classes];
        for &label in labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        let seen = counts.iter().filter(|&&count| count > 0).count().max(1);
        let weight = |count: &usize| match count {
            // Of what no sample has, nothing is known.
            0 => 1.0,
            count => labels.len() as f32 / (seen * count) as f32,
        };
        counts.iter().map(weight).collect()
    }

    /// Refuses weights of other classes than so many.
    pub(crate) fn check_classes(&self, classes: usize) -> Result<()> {
        match self.class_weights.len() {
            0 => Ok(()),
            count if count == classes => Ok(()),
            count => Err(Error::Option {
                expected: format!("weights of the network's {classes} classes"),
                got: format!("{count} of them"),
            }),
        }
    }

    /// The names of the tensors that are kept of each parameter beside its value: those of the optimizer
    /// ([`Method::state`]), and `average` where there is an average.
    pub fn state(&self) -> Vec<&'static str> {
        let mut kinds = self.optimizer.state(self.momentum()).to_vec();
        if self.ema.is_some() {
            kinds.push(AVERAGE);
        }
        kinds
    }

    /// Whether a file may hold such tensors for a training like this: a momentum may have been another
    /// one, and an average may be asked for no more.
    pub(crate) fn may_have(&self, kind: &str) -> bool {
        kind == AVERAGE || self.optimizer.state(1.0).contains(&kind)
    }

    /// The largest momentum that anything has.
    fn momentum(&self) -> f32 {
        let layers = self.layers.values().flat_map(|l| [l.weights, l.biases]).flatten();
        let all = layers.chain(self.roles.values().copied()).chain([self.weights, self.biases]);
        all.map(|rates| rates.momentum).fold(0.0, f32::max)
    }

    /// These options with another optimizer and its [usual rates](Method::usual_rates): none of biases and
    /// of normalization decays.
    ///
    /// ```
    /// use striate_nn::Method;
    /// use striate_train::TrainOptions;
    ///
    /// let options = TrainOptions::default().with_optimizer(Method::adamw());
    /// assert_eq!((options.weights.rate, options.weights.decay), (0.001, 0.01));
    /// assert_eq!(options.biases.decay, 0.0);
    /// ```
    #[must_use]
    pub fn with_optimizer(mut self, optimizer: Method) -> Self {
        self.optimizer = optimizer;
        self.weights = optimizer.usual_rates();
        self.biases = Rates { decay: 0.0, ..self.weights };
        self
    }

    /// Refuses what makes no sense, for a network of so many layers.
    ///
    /// # Errors
    /// [`Error::Option`] with what would be right.
    pub fn check(&self, layers: usize) -> Result<()> {
        let refuse = |expected: String, got: String| Err(Error::Option { expected, got });
        for (name, value) in
            [("mini-batch", self.mini_batch), ("sgd-frequency", self.sgd_frequency)]
        {
            if value == 0 || value > MAX_BATCH {
                return refuse(format!("{name}: from 1 to {MAX_BATCH}"), value.to_string());
            }
        }
        if let Some((expected, got)) = self.schedule.fault() {
            return refuse(expected.into(), got);
        }
        if let Some((layer, _)) = self.layers.range(layers..).next() {
            return refuse(
                format!("rates of one of the layers 0 to {}", layers.saturating_sub(1)),
                format!("of layer {layer}"),
            );
        }
        if let Some((expected, got)) = self.optimizer.fault() {
            return refuse(format!("for {}: {expected}", self.optimizer.name()), got);
        }
        match self.clip {
            Some(Clip::Norm { most }) if !(most > 0.0 && most.is_finite()) => {
                return refuse("a largest norm above 0".into(), most.to_string());
            }
            Some(Clip::Value { most }) if !(most > 0.0 && most.is_finite()) => {
                return refuse("a largest gradient above 0".into(), most.to_string());
            }
            _ => {}
        }
        if let Some(ema) = self.ema
            && !(0.0..1.0).contains(&ema)
        {
            let expected = "a share of the average that is kept, from 0 to less than 1";
            return refuse(expected.into(), ema.to_string());
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            let expected = "label smoothing from 0 to less than 1";
            return refuse(expected.into(), self.label_smoothing.to_string());
        }
        let not = |weight: &&f32| !(weight.is_finite() && **weight >= 0.0);
        if let Some(weight) = self.class_weights.iter().find(not) {
            return refuse("weights of classes of 0 or more".into(), weight.to_string());
        }
        let given = self.layers.values().flat_map(|l| [l.weights, l.biases]).flatten();
        let given = given.chain(self.roles.values().copied());
        for rates in given.chain([self.weights, self.biases]) {
            let Rates { rate, momentum, decay } = rates;
            if !(rate >= 0.0 && rate.is_finite() && decay >= 0.0 && decay.is_finite()) {
                return refuse(
                    "a learning rate and a decay of 0 or more".into(),
                    format!("{rate} and {decay}"),
                );
            }
            if !(0.0..1.0).contains(&momentum) {
                return refuse("a momentum from 0 to less than 1".into(), momentum.to_string());
            }
        }
        Ok(())
    }
}
