//! A step on paper: what the ranks do in [`parallel`](crate::parallel), one after another, with a
//! clock that runs as fast as the device computes and the wire carries.

use super::Plan;
use super::network::Layer;
use super::wire::{Group, Shares, Wire};
use crate::parallel::bucket_ends;

/// A rank's clock, and the wire beside it.
pub(super) struct Step<'a> {
    plan: &'a Plan,
    group: Group<'a>,
    samples: u64,
    pub(super) wire: Wire,
    /// Where the rank is.
    pub(super) now: f64,
    /// How much of it was spent computing.
    pub(super) computed: f64,
}

impl<'a> Step<'a> {
    /// Before a step of so many samples a rank.
    pub(super) fn new(plan: &'a Plan, ranks: u64, samples: u64) -> Self {
        let group = Group { ranks, link: &plan.link };
        Step { plan, group, samples, wire: Wire::default(), now: 0.0, computed: 0.0 }
    }

    fn compute(&mut self, seconds: f64) {
        self.now += seconds;
        self.computed += seconds;
    }

    fn wait_for(&mut self, moment: f64) {
        self.now = self.now.max(moment);
    }

    /// Everybody tells something short, and waits for the others.
    fn report(&mut self, bytes: u64) {
        let done = self.wire.ask(self.now, self.group.report(bytes));
        self.wait_for(done);
    }

    fn forward(&mut self, layers: &[Layer]) {
        for layer in layers {
            self.compute(layer.forward(&self.plan.machine, self.samples as f64, 1.0));
        }
    }

    /// Back through layers whose gradients are summed over the ranks, in buckets as the trainer
    /// fills them; waits for the last of them.
    fn backward(&mut self, layers: &[Layer]) {
        let counts = gradients(layers);
        let ends = bucket_ends(counts.iter().map(|&count| count as usize));
        let (mut given, mut start, mut sent) = (0, 0, 0.0);
        let mut ends = ends.into_iter().peekable();
        for layer in layers.iter().rev() {
            self.compute(layer.backward(&self.plan.machine, self.samples as f64, 1.0));
            given += gradients(std::slice::from_ref(layer)).len();
            while let Some(end) = ends.next_if(|&end| end <= given) {
                let numbers = counts[start..end].iter().fold(0u64, |sum, &n| sum.saturating_add(n));
                sent = self.wire.ask(self.now, self.group.all_reduce(numbers));
                start = end;
            }
        }
        self.wait_for(sent);
    }

    fn update(&mut self, parameters: f64) {
        // The weight, what the optimizer keeps of it and its gradient are read, all but the last written.
        let numbers = 2.0 * (1.0 + self.plan.kept as f64) + 1.0;
        self.compute(self.plan.machine.moving(4.0 * numbers * parameters));
    }

    /// Data parallel, a shard a rank.
    pub(super) fn data(mut self) -> Self {
        let layers = &self.plan.layers;
        self.forward(layers);
        self.backward(layers);
        // Missing samples, whether to stop; samples, loss and misses of the shard.
        self.report(8 * 5);
        self.update(parameters(layers));
        self
    }

    /// Hybrid.
    pub(super) fn hybrid(mut self) -> Self {
        let (features, full) = self.plan.halves();
        let (ranks, samples) = (self.group.ranks, self.samples);
        // Missing samples, whether to stop, labels.
        self.report(self.samples.saturating_add(2).saturating_mul(8));
        self.forward(features);

        let width = full.first().map_or(0, |layer| layer.input);
        // Of more pieces than samples all others are empty.
        let pieces = self.plan.pieces.unwrap_or(ranks).clamp(1, samples.max(1));
        let joined = move |piece: u64| {
            let end = |piece: u64| u128::from(samples) * u128::from(piece) / u128::from(pieces);
            let rows = (end(piece + 1) - end(piece)) as u64;
            // As many things as samples of all: every rank has as many.
            (rows, Shares { things: rows * ranks, numbers: width })
        };
        let mut coming = self.wire.ask(self.now, self.group.gather(joined(0).1));
        let mut gone = 0.0;
        for piece in 0..pieces {
            let (rows, shares) = joined(piece);
            self.wait_for(coming);
            if piece + 1 < pieces {
                coming = self.wire.ask(self.now, self.group.gather(joined(piece + 1).1));
            }
            self.classify(full, rows * ranks);
            gone = self.wire.ask(self.now, self.group.scatter(shares));
        }
        self.wait_for(gone);

        self.backward(features);
        // Loss and misses.
        self.report(8 * 2);
        let own = full.iter().map(|layer| layer.parameters() as f64 * self.share(layer));
        self.update(parameters(features) + own.sum::<f64>());
        self
    }

    /// The full-connect layers over so many samples, forward and back: after each layer its outputs
    /// come together, and on the way back their gradients go where they were computed.
    fn classify(&mut self, full: &[Layer], rows: u64) {
        let machine = &self.plan.machine;
        let outputs = |layer: &Layer| Shares { things: layer.output, numbers: rows };
        for layer in full {
            self.compute(layer.forward(machine, rows as f64, self.share(layer)));
            let done = self.wire.ask(self.now, self.group.gather(outputs(layer)));
            self.wait_for(done);
        }
        for (at, layer) in full.iter().enumerate().rev() {
            self.compute(layer.backward(machine, rows as f64, self.share(layer)));
            if let Some(before) = at.checked_sub(1) {
                let done = self.wire.ask(self.now, self.group.scatter(outputs(&full[before])));
                self.wait_for(done);
            }
        }
    }

    /// What of a layer's outputs the rank has that has the most.
    fn share(&self, layer: &Layer) -> f64 {
        layer.output.div_ceil(self.group.ranks) as f64 / layer.output.max(1) as f64
    }
}

/// The gradients of layers in the order in which they are complete.
pub(super) fn gradients(layers: &[Layer]) -> Vec<u64> {
    let learning = layers.iter().rev().filter(|layer| layer.weights > 0);
    learning.flat_map(|layer| [layer.biases, layer.weights]).collect()
}

fn parameters(layers: &[Layer]) -> f64 {
    layers.iter().map(|layer| layer.parameters() as f64).sum()
}
