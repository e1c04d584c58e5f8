//! What a step holds, on paper.

use super::Plan;
use super::network::Layer;
use super::step::gradients;
use crate::parallel::Parallel;

/// Bytes of a number.
const NUMBER: u128 = 4;

impl Plan {
    /// The bytes that a rank holds at most in a step: weights and what the optimizer keeps of them; of
    /// gradients the largest on one device, where each goes as soon as its weight has moved, and all, and
    /// the largest once more, where they wait for those of the other ranks or for their norm; the activations that the backward
    /// pass needs, and of their gradients two at a time. Hybrid ranks have their share of the
    /// full-connect layers, but masks of dropout for the samples of all.
    ///
    /// What a device adds for itself is not in it: workspaces, packed weights, memory that its pool
    /// keeps.
    pub(super) fn memory(&self, parallel: Parallel, ranks: u64, samples: u64) -> u64 {
        let samples = u128::from(samples);
        let numbers = match parallel {
            _ if ranks <= 1 => self.whole(&self.layers, samples, self.holds_gradients),
            Parallel::Data => self.whole(&self.layers, samples, true),
            Parallel::Hybrid => {
                let (features, full) = self.halves();
                let pieces = self.pieces.unwrap_or(ranks).max(1);
                self.whole(features, samples, true) + self.split(full, samples, ranks, pieces)
            }
        };
        u64::try_from(numbers.saturating_mul(NUMBER)).unwrap_or(u64::MAX)
    }

    /// Numbers of layers that a rank has whole.
    fn whole(&self, layers: &[Layer], samples: u128, keeps_gradients: bool) -> u128 {
        let sum =
            |of: fn(&Layer) -> u64| layers.iter().map(|layer| u128::from(of(layer))).sum::<u128>();
        let most = |of: fn(&Layer) -> u64| layers.iter().map(of).max().map_or(0, u128::from);
        let parameters = sum(Layer::parameters);
        let largest = gradients(layers).into_iter().max().map_or(0, u128::from);
        let gradients = if keeps_gradients { parameters + largest } else { largest };
        let input = layers.first().map_or(0, |layer| u128::from(layer.input));
        let activations = input
            + sum(|layer| match layer.has_dropout {
                true => layer.output.saturating_mul(2),
                false => layer.output,
            });
        let on_the_way = most(|layer| layer.input.saturating_add(layer.output));
        (1 + u128::from(self.kept)) * parameters + gradients + samples * (activations + on_the_way)
    }

    /// Numbers of full-connect layers of which a rank has its share, for pieces of the samples of all.
    fn split(&self, full: &[Layer], samples: u128, ranks: u64, pieces: u64) -> u128 {
        let share = |layer: &Layer, all: u64| {
            let own = u128::from(layer.output.div_ceil(ranks));
            u128::from(all) * own / u128::from(layer.output.max(1))
        };
        let parameters: u128 = full.iter().map(|layer| share(layer, layer.parameters())).sum();
        let largest = full.iter().map(|layer| share(layer, layer.weights)).max().unwrap_or(0);
        let all = samples * u128::from(ranks);
        let of_dropout = full.iter().filter(|layer| layer.has_dropout);
        let masks: u128 = of_dropout.map(|layer| u128::from(layer.output)).sum();
        let width = full.first().map_or(0, |layer| u128::from(layer.input));
        let rows = samples.div_ceil(u128::from(pieces)) * u128::from(ranks);
        // Inputs of a piece and of the next one; of each layer its outputs, as they are without mask,
        // and their gradients.
        let outputs: u128 = full.iter().map(|layer| 3 * u128::from(layer.output)).sum();
        let piece = rows * (2 * width + outputs);
        // What the features gave and their gradients, on their way.
        (2 + u128::from(self.kept)) * parameters
            + largest
            + all * masks
            + piece
            + 2 * samples * width
    }
}
