//! What the layers of a network cost on a device.

use striate_nn::{LayerKind, LayerSpec, NetworkSpec};

use super::Machine;
use crate::Result;

/// Bytes of a number, as arithmetic has them.
const NUMBER: f64 = 4.0;

/// A layer on paper.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) is_full: bool,
    /// Numbers that go in and come out, a sample.
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) weights: u64,
    pub(super) biases: u64,
    pub(super) has_dropout: bool,
    /// Whether anything before it learns, and so needs the gradient in its input.
    needs_input_gradient: bool,
    /// Arithmetic of the forward pass, a sample.
    flops: f64,
}

impl Layer {
    pub(super) fn parameters(&self) -> u64 {
        self.weights.saturating_add(self.biases)
    }

    /// An op of this layer over so many samples, of which it reads the inputs and writes the
    /// outputs, or the other way around; `share` of its outputs.
    fn op(&self, machine: &Machine, samples: f64, share: f64) -> f64 {
        let output = self.output as f64 * share;
        let activations = samples * (self.input as f64 + output);
        let bytes = NUMBER * (activations + self.weights as f64 * share);
        machine.seconds(self.flops * samples * share, bytes)
    }

    /// Seconds of the forward pass, for this share of the outputs.
    pub(super) fn forward(&self, machine: &Machine, samples: f64, share: f64) -> f64 {
        self.op(machine, samples, share)
    }

    /// How many times as long as the forward pass the backward pass is: gradients in the weights
    /// and in the input are as much arithmetic as the outputs. Of pooling and normalization, the
    /// gradient reads what the forward pass did and twice as much.
    fn back_ops(&self) -> f64 {
        match (self.weights > 0, self.needs_input_gradient) {
            (true, true) | (false, true) => 2.0,
            (true, false) => 1.0,
            (false, false) => 0.0,
        }
    }

    /// Seconds of the backward pass, for this share of the outputs.
    pub(super) fn backward(&self, machine: &Machine, samples: f64, share: f64) -> f64 {
        self.back_ops() * self.op(machine, samples, share)
    }

    /// Arithmetic of a step, a sample.
    pub(super) fn step_flops(&self) -> f64 {
        (1.0 + self.back_ops()) * self.flops
    }
}

/// The layers of a network that can be trained.
pub(super) fn layers(spec: &NetworkSpec) -> Result<Vec<Layer>> {
    spec.verify(spec.classes())?;
    let shapes = spec.shapes()?;
    let count = |dims: &[usize]| dims.iter().map(|&extent| extent as u64).product::<u64>();
    // Whether a layer, or anything that it sees, learns.
    let mut learns: Vec<bool> = Vec::with_capacity(shapes.len());
    let mut layers = Vec::with_capacity(shapes.len());
    for (node, shape) in spec.nodes.iter().zip(&shapes) {
        let seen = |input: &Option<usize>| match input {
            Some(before) => count(&shapes[*before].output),
            None => count(&spec.input),
        };
        let needs_input_gradient = shape.from.iter().flatten().any(|&before| learns[before]);
        // As the op counts them, without what a bias or a ReLU adds.
        let products = 2.0 * shape.macs as f64;
        layers.push(Layer {
            is_full: shape.kind == LayerKind::FullConnect,
            input: shape.from.iter().map(seen).sum(),
            output: shape.outputs(),
            weights: shape.weights(),
            biases: shape.parameter_count() - shape.weights(),
            has_dropout: match node.layer {
                LayerSpec::FullConnect(full) => full.dropout > 0.0,
                LayerSpec::Dropout(dropout) => dropout.rate > 0.0,
                LayerSpec::StochasticDepth(depth) => depth.rate > 0.0,
                _ => false,
            },
            needs_input_gradient,
            flops: if shape.macs > 0 { products } else { shape.flops as f64 },
        });
        learns.push(needs_input_gradient || !shape.parameters.is_empty());
    }
    Ok(layers)
}
