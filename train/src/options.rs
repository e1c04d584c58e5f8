//! How a network is trained.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use striate_nn::Rates;

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
    /// How weights learn.
    pub weights: Rates,
    /// How biases learn.
    pub biases: Rates,
    /// Layers that learn otherwise, by their number.
    pub layers: BTreeMap<usize, LayerRates>,
    /// Gradients of layers with dropout times `(1 - rate)²`, as it is in ccv: its training weights
    /// are these divided by `1 - rate`, and learn with the same learning rate.
    pub ccv_dropout: bool,
    /// Computes activations again in the backward pass instead of keeping them
    /// ([`Network::forward_recomputed`](striate_nn::Network::forward_recomputed)): the same bits,
    /// less memory, more time.
    pub recompute: bool,
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
            layers: BTreeMap::new(),
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
        let given = self.layers.values().flat_map(|l| [l.weights, l.biases]).flatten();
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
