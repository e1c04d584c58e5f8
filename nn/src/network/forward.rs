//! Running a network, for inference and for training.

use std::ops::Range;

use striate_tensor::{RandomKey, Tensor};

use super::{LayerParameters, Metadata, Network, in_layer};
use crate::layers::Context;
use crate::{Error, LayerKind, LayerSpec, Result};

impl Network {
    /// The outputs of the last layer, `[n, classes]` logits for a classifier, of images `x [n,
    /// rows, cols, channels]` of the network's own size with the mean subtracted.
    ///
    /// # Errors
    /// [`Error::Network`] where `x` has another shape; [`Error::Op`] where the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.check_input(x)?;
        self.run(self.all(), x, &[], |_, _| Ok(()))
    }

    /// The output of the last of these layers for `x`, the input of the first: `[n, rows, cols,
    /// channels]`, or `[n, in]` before a full-connect layer, which flattens it. Layers before the
    /// first full-connect one take images of any size. An empty range gives `x`.
    ///
    /// # Errors
    /// [`Error::Range`] where there are no such layers; [`Error::Layer`] or [`Error::Op`] where `x`
    /// does not fit a layer, or the device fails.
    pub fn forward_layers(&self, layers: Range<usize>, x: &Tensor) -> Result<Tensor> {
        self.run(layers, x, &[], |_, _| Ok(()))
    }

    /// As [`forward`](Network::forward), in the context: in training, the outputs of full-connect
    /// layers with a dropout rate are muted at random, and those that are kept grow by `1 / (1 -
    /// rate)`, so that the network is the one of inference at every moment. (ccv does not scale
    /// while it trains and multiplies weights and biases by `1 - rate` in the end: ReLU keeps
    /// factors, so both compute the same.)
    ///
    /// Where the parameters are tracked ([`require_grad`](crate::require_grad)), the result can be
    /// differentiated.
    ///
    /// # Errors
    /// As [`forward`](Network::forward).
    pub fn forward_with(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.check_input(x)?;
        self.run(self.all(), x, &self.dropout_keys(cx), |_, _| Ok(()))
    }

    /// As [`forward_with`](Network::forward_with), to the same bits, in less memory: only the
    /// activations between blocks are kept for the gradient (a block ends in a pooling layer, or
    /// before the first full-connect layer), and the backward pass computes those within again,
    /// which makes a training step about a third longer.
    ///
    /// # Errors
    /// As [`forward`](Network::forward).
    pub fn forward_recomputed(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.check_input(x)?;
        let keys = self.dropout_keys(cx);
        let mut current = x.clone();
        for block in self.blocks() {
            let last = block.end.saturating_sub(1);
            if self.shapes[last].kind == LayerKind::FullConnect {
                // Its activations are small, and its weights are long to read.
                current = self.run(block, &current, &keys, |_, _| Ok(()))?;
                continue;
            }
            let (network, keys) = (self.only(&block), keys.clone());
            let forward = move |inputs: &[Tensor]| {
                let [x] = inputs else {
                    let got = inputs.len().to_string();
                    return Err(striate_tensor::Error::shape("recompute", "one input", got));
                };
                let y = network.run(block.clone(), x, &keys, |_, _| Ok(()));
                y.map_err(Error::into_tensor_error)
            };
            current = striate_tensor::checkpoint(&[&current], forward)
                .map_err(|source| in_layer(&self.shapes[last], source))?;
        }
        Ok(current)
    }

    /// As [`forward`](Network::forward), and every layer's output on the way, after its ReLU, is
    /// shown to `visit` with the layer's number.
    ///
    /// # Errors
    /// As [`forward`](Network::forward), and what `visit` gives (see [`Error::visit`]).
    pub fn activations(
        &self,
        x: &Tensor,
        visit: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        self.check_input(x)?;
        self.run(self.all(), x, &[], visit)
    }

    /// This network with the weights of these layers alone: what a block is run with again. It must
    /// not hold those of others, which may have been updated in place by then.
    fn only(&self, layers: &Range<usize>) -> Network {
        let own = |(layer, parameters): (usize, &Option<LayerParameters>)| {
            parameters.clone().filter(|_| layers.contains(&layer))
        };
        Network {
            spec: self.spec.clone(),
            shapes: self.shapes.clone(),
            parameters: self.parameters.iter().enumerate().map(own).collect(),
            device: self.device.clone(),
            mean: None,
            metadata: Metadata::default(),
        }
    }

    fn check_input(&self, x: &Tensor) -> Result<()> {
        if matches!(x.dims(), [_, image @ ..] if *image == self.spec.input) {
            return Ok(());
        }
        let [rows, cols, channels] = self.spec.input;
        let expected = format!("images [n, {rows}, {cols}, {channels}]");
        Err(Error::network(expected, x.shape()))
    }

    fn run(
        &self,
        layers: Range<usize>,
        x: &Tensor,
        keys: &[Option<RandomKey>],
        mut visit: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        if layers.start > layers.end || layers.end > self.spec.layers.len() {
            return Err(Error::Range { layers: self.spec.layers.len(), range: layers });
        }
        let mut current: Option<Tensor> = None;
        for layer in layers {
            // The assignment drops the layer's input: two activations live at a time, not all.
            let key = keys.get(layer).copied().flatten();
            current = Some(self.layer(layer, current.as_ref().unwrap_or(x), key)?);
            if let Some(activation) = &current {
                visit(layer, activation)?;
            }
        }
        Ok(current.unwrap_or_else(|| x.clone()))
    }

    fn layer(&self, layer: usize, x: &Tensor, key: Option<RandomKey>) -> Result<Tensor> {
        let shape = &self.shapes[layer];
        let result = match (&self.spec.layers[layer], &self.parameters[layer]) {
            (LayerSpec::Conv(conv), Some(LayerParameters { weight, bias })) => {
                x.conv2d(weight, Some(bias), conv.op())
            }
            (LayerSpec::MaxPool(pool), _) => x.max_pool2d(pool.op()),
            (LayerSpec::AvgPool(pool), _) => x.avg_pool2d(pool.op()),
            (LayerSpec::Lrn(lrn), _) => x.lrn(lrn.op()),
            (LayerSpec::FullConnect(full), Some(LayerParameters { weight, bias })) => {
                let x = self.flat(layer, x)?;
                let y = x.matmul_with(weight, Some(bias), full.op());
                match key {
                    Some(key) => y.and_then(|y| y.dropout(full.dropout, full.kept_scale(), key)),
                    None => y,
                }
            }
            // `new` refuses this; an error all the same, since this is no place to panic.
            (LayerSpec::Conv(_) | LayerSpec::FullConnect(_), None) => {
                return Err(Error::layer(layer, shape.kind, "weights", "none"));
            }
        };
        result.map_err(|source| in_layer(shape, source))
    }

    /// The input of a full-connect layer as `[n, in]`. Rows and cols must be right and not only
    /// their product: transposed, they would pass for what they are not.
    fn flat(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        let shape = &self.shapes[layer];
        let [rows, cols, channels] = shape.input;
        let inputs = rows * cols * channels;
        match x.dims() {
            [_, flat] if *flat == inputs => Ok(x.clone()),
            [_, image @ ..] if *image == shape.input => {
                x.flatten().map_err(|source| in_layer(shape, source))
            }
            _ => {
                let expected = format!("[n, {rows}, {cols}, {channels}] or [n, {inputs}]");
                Err(Error::layer(layer, LayerKind::FullConnect, expected, x.shape()))
            }
        }
    }

    fn all(&self) -> Range<usize> {
        0..self.spec.layers.len()
    }

    /// The random sequence of each layer that drops; none in inference.
    fn dropout_keys(&self, cx: &Context) -> Vec<Option<RandomKey>> {
        let key = |layer: &LayerSpec| match layer {
            LayerSpec::FullConnect(full) if full.dropout > 0.0 => cx.next_key(),
            _ => None,
        };
        self.spec.layers.iter().map(key).collect()
    }

    /// The layers in blocks: each ends in a pooling layer, and full-connect layers stand alone.
    fn blocks(&self) -> Vec<Range<usize>> {
        let mut blocks = Vec::new();
        let mut start = 0;
        for (layer, spec) in self.spec.layers.iter().enumerate() {
            match spec.kind() {
                LayerKind::Conv | LayerKind::Lrn => continue,
                LayerKind::MaxPool | LayerKind::AvgPool => blocks.push(start..layer + 1),
                LayerKind::FullConnect => {
                    if start < layer {
                        blocks.push(start..layer);
                    }
                    blocks.push(layer..layer + 1);
                }
            }
            start = layer + 1;
        }
        if start < self.spec.layers.len() {
            blocks.push(start..self.spec.layers.len());
        }
        blocks
    }
}
