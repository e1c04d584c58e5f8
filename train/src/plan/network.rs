//! What the layers of a network cost on a device.

use striate_nn::{LayerKind, LayerShape, LayerSpec, NetworkSpec};
use striate_tensor::ops::{AvgPool2d, Op};
use striate_tensor::{Shape, TensorType};

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
    let mut learns = false;
    let mut layers = Vec::with_capacity(spec.nodes.len());
    for (layer, shape) in spec.nodes.iter().zip(spec.shapes()?) {
        let flops = match shape.weight {
            Some(_) => 2.0 * shape.macs as f64,
            None => flops(layer, &shape)?,
        };
        layers.push(Layer {
            is_full: shape.kind == LayerKind::FullConnect,
            input: shape.input.iter().map(|&extent| extent as u64).product(),
            output: shape.outputs(),
            weights: shape.weights(),
            biases: shape.parameters() - shape.weights(),
            has_dropout: matches!(layer, LayerSpec::FullConnect(full) if full.dropout > 0.0),
            needs_input_gradient: learns,
            flops,
        });
        learns |= shape.weight.is_some();
    }
    Ok(layers)
}

/// Arithmetic of a layer without weights, for one image.
fn flops(layer: &LayerSpec, shape: &LayerShape) -> Result<f64> {
    let op: Op = match layer {
        LayerSpec::MaxPool(pool) => pool.op().into(),
        LayerSpec::AvgPool(pool) => AvgPool2d(pool.op()).into(),
        LayerSpec::Lrn(lrn) => lrn.op().into(),
        LayerSpec::Conv(_) | LayerSpec::FullConnect(_) => return Ok(0.0),
    };
    let [rows, cols, channels] = shape.input;
    let image = TensorType::f32(Shape::new(&[1, rows, cols, channels])?);
    Ok(op.cost(&[image])?.flops as f64)
}
